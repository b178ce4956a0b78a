//! THE THREE ARRIVALS: a submission, a report, a hit. Protocol-free; the only way in.
//!
//! `caller` says who is asking, `provision` makes those who may, `once` says whether they asked before, `submission`
//! makes a mail durable and promises it, `report` learns what became of one, `hit` learns who looked at one; `rules`
//! holds what administrators have set about links. Doors hand in values and turn what comes back into replies; nothing
//! here knows SMTP or HTTP. A promise is given only after the store's commit.

pub mod caller;

pub mod provision;

pub mod once;

pub mod submission;
pub mod unsubscribe;

pub mod report;

pub mod hit;

mod links;

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use tokio::sync::Semaphore;

use crate::clock::Clock;
use crate::enrich::Enricher;
use crate::ids::IdSource;
use crate::mail::render::{Rendered, Signature, author_domain, render};
use crate::mail::rules::Rules;
use crate::model::bearing::Policy;
use crate::model::id::DeliveryId;
use crate::model::message::Message;
use crate::model::network::Network;
use crate::model::retry::MAIL_LIFETIME;
use crate::model::token::{KeyRing, Opener};
use crate::store::{Store, StoreError};

/// What intake needs to know about the installation.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Nothing leaves the machine. A mail agent without domains may then send from any.
    pub is_capture: bool,
    /// Our own name in `Received` and in message ids.
    pub hostname: String,
    /// Base of tracked URLs, without a final slash.
    pub tracking_base_url: String,
    /// The domain of sealed return paths.
    pub return_path_domain: String,
    /// Local part, in that domain, that complaints come to.
    pub complaint_local_part: String,
    /// Who is believed about whose mail a complaint is about, when it gives an address alone.
    pub complaint_sources: Vec<Network>,
    /// Recipients of one submission.
    pub recipients_max: usize,
    /// Size of one mail as handed in, in bytes.
    pub message_bytes_max: usize,
    /// How long a message is tried.
    pub lifetime: Duration,
    /// Hits that may wait in memory to be recorded.
    pub hits_max: usize,
    /// When addresses are left alone.
    pub suppression: Policy,
    /// Where hits wait on the disk while the database is away; `None`: they wait in memory.
    pub hits_journal: Option<PathBuf>,
    /// Bytes of hits that may wait there.
    pub hits_journal_bytes_max: u64,
    /// How long a reader may wait for a hit to be safe, where a mail agent asks for that.
    pub hits_wait_max: Duration,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            is_capture: true,
            hostname: "localhost".into(),
            tracking_base_url: "http://127.0.0.1:8080".into(),
            return_path_domain: "bounces.localhost".into(),
            complaint_local_part: "complaints".into(),
            complaint_sources: Vec::new(),
            recipients_max: 1000,
            message_bytes_max: 25 << 20,
            lifetime: MAIL_LIFETIME,
            hits_max: 400_000,
            suppression: Policy::default(),
            hits_journal: None,
            hits_journal_bytes_max: 256 << 20,
            hits_wait_max: Duration::from_secs(3),
        }
    }
}

/// The three arrivals. Cheap to clone; clones share everything.
#[derive(Clone, Debug)]
pub struct Intake(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    store: Store,
    clock: Clock,
    ids: IdSource,
    ring: KeyRing,
    opener: Opener,
    rules: Rules,
    settings: Settings,
    callers: caller::Known,
    links: links::Links,
    running: Arc<once::Running>,
    hits: hit::Queue,
    batches: Semaphore,
    /// The disk has room for mail.
    has_room: AtomicBool,
}

/// What intake works with.
#[derive(Debug)]
pub struct Parts {
    /// Where promises are kept.
    pub store: Store,
    /// The time.
    pub clock: Clock,
    /// Ids.
    pub ids: IdSource,
    /// What tokens are sealed with.
    pub ring: KeyRing,
    /// Who is behind a hit.
    pub enricher: Arc<Enricher>,
    /// By which reports are read.
    pub rules: Rules,
    /// What intake needs to know about the installation.
    pub settings: Settings,
}

impl Intake {
    /// Starts intake, and the task that records hits.
    pub fn start(parts: Parts) -> Self {
        let Parts { store, clock, ids, ring, enricher, rules, settings } = parts;
        let recording = hit::Parts {
            store: store.clone(),
            clock: clock.clone(),
            ids: ids.clone(),
            enricher,
            journal: settings.hits_journal.clone(),
            journal_bytes_max: settings.hits_journal_bytes_max,
            // The journal is quicker than a database that does not answer, and as safe.
            patience: settings.hits_wait_max * 2 / 3,
        };
        let hits = hit::start(recording, settings.hits_max);
        let host = settings.tracking_base_url.split_once("://").map_or("", |(_, host)| host);
        let (opener, callers) = (Opener::new(ring.clone(), host), caller::Known::default());
        let (links, running) = (links::Links::default(), Arc::default());
        let batches = Semaphore::new(submission::BATCHES_AT_ONCE);
        let has_room = AtomicBool::new(true);
        Self(Arc::new(Inner {
            store,
            clock,
            ids,
            ring,
            opener,
            rules,
            settings,
            callers,
            links,
            running,
            hits,
            batches,
            has_room,
        }))
    }

    /// Whether mail may come in, as far as the disk is concerned. Nothing is accepted while it is not; a door that asks
    /// first need not read it.
    pub fn has_room(&self) -> bool {
        self.0.has_room.load(Ordering::Relaxed)
    }

    /// Whoever watches the disk says how it is.
    pub fn set_room(&self, has_room: bool) {
        self.0.has_room.store(has_room, Ordering::Relaxed);
    }

    /// What intake knows about the installation.
    pub fn settings(&self) -> &Settings {
        &self.0.settings
    }

    /// Whether mail of this message's author is signed when it is sent.
    ///
    /// # Errors
    /// `Unavailable`.
    pub async fn signature(&self, message: &Message) -> Result<Signature, StoreError> {
        let is_signed = self.0.store.signs_for(message.tenant, &author_domain(&message.facts)).await?;
        Ok(if is_signed { Signature::Follows } else { Signature::None })
    }

    /// One recipient's copy of a message as it is sent, signatures aside, to be looked at; `None` without a key.
    pub fn copy(
        &self,
        content: &[u8],
        message: &Message,
        delivery: DeliveryId,
        signature: Signature,
    ) -> Option<Rendered> {
        let domain = &self.0.settings.return_path_domain;
        render(content, message, delivery, domain, &self.0.ring, signature)
    }
}
