//! A hit arrives: open its token, answer at once, describe the visitor later, record.
//!
//! Hits go through a bounded queue to one task (`recorder`), which looks up what is known of their deliveries, judges
//! them in the order they came (`judge`, `copy`), and records them many at a time. While the database is away they go to a journal
//! on the disk (`journal`) and are recorded when it is back. How much of a reader is kept is `kept`'s affair; what is
//! remembered of the last minutes, so that bursts and crowds show, is `window`'s.
//!
//! | the mail agent | a hit is answered | what a crash loses |
//! |---|---|---|
//! | as it is made | at once | what waits in memory: milliseconds, or the excess of a flood |
//! | with `durable_hits` | when it is committed, or synced in the journal | nothing that was answered |
//!
//! A reader always gets the answer: no wait is longer than `hits_wait_max`, and a hit for which there is no room in
//! [`ROOM_WAIT_MAX`] is lost; both are counted.

mod copy;
mod journal;
mod judge;
mod kept;
mod recorder;
mod window;

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use serde::{Deserialize, Serialize};
use tokio::sync::mpsc::error::TrySendError;
use tokio::sync::{mpsc, oneshot, watch};
use tokio::time::timeout;

use super::Intake;
use crate::clock::Clock;
use crate::enrich::Enricher;
use crate::ids::IdSource;
use crate::model::hit::{HitKind, HitRequest};
use crate::model::id::{DeliveryId, EventId};
use crate::model::time::Timestamp;
use crate::model::token::Reference;
use crate::store::Store;
use journal::Journal;
use recorder::Recorder;

/// How long a reader may wait for room in a full queue: a flood is slowed down to the pace at which hits are recorded.
const ROOM_WAIT_MAX: Duration = Duration::from_secs(2);

/// What a token under a tracking host asks for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Answer {
    /// The pixel.
    Pixel,
    /// A redirect to this target.
    Redirect(String),
    /// The unsubscribe page of this delivery.
    Unsubscribe(DeliveryId),
}

/// A token that we sealed, opened.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Opened {
    /// Whose copy of the mail it is from.
    pub delivery: DeliveryId,
    /// What it asks for.
    pub answer: Answer,
    kind: HitKind,
    link: u16,
}

/// Hits on their way to being recorded.
#[derive(Debug)]
pub(super) struct Queue {
    sender: mpsc::Sender<Queued>,
    taken: AtomicU64,
    /// How many of those taken are recorded or in the journal, or nothing is left to record them with.
    recorded: watch::Receiver<u64>,
    counts: Arc<Counts>,
}

/// What became of hits that were not simply recorded.
#[derive(Debug, Default)]
struct Counts {
    /// Lost to a full queue or a full journal, or unreadable there.
    lost: AtomicU64,
    /// Answered after the longest wait, safe or not.
    unsafe_answers: AtomicU64,
    /// Bytes in the journal.
    journaled_bytes: AtomicU64,
}

/// A hit that nobody has judged yet.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Waiting {
    /// Its id from the start, so that recording it twice records it once.
    id: EventId,
    delivery: DeliveryId,
    kind: HitKind,
    link: u16,
    target: String,
    at: Timestamp,
    request: HitRequest,
}

/// A hit in the queue, and the reader who waits for it.
type Queued = (Waiting, Held);

/// What holds the answer to a reader back, where something does; dropping it lets the answer go.
type Held = Option<oneshot::Sender<()>>;

/// What recording works with.
#[derive(Debug)]
pub(super) struct Parts {
    pub(super) store: Store,
    pub(super) clock: Clock,
    pub(super) ids: IdSource,
    pub(super) enricher: Arc<Enricher>,
    /// Where hits go while the database is away; `None`: they wait in memory.
    pub(super) journal: Option<PathBuf>,
    pub(super) journal_bytes_max: u64,
    /// How long the look-up of new hits may take before they go to the journal.
    pub(super) patience: Duration,
}

pub(super) fn start(parts: Parts, waiting_max: usize) -> Queue {
    let (sender, receiver) = mpsc::channel(waiting_max);
    let (count, recorded) = watch::channel(0);
    let counts = Arc::new(Counts::default());
    let journal = Journal::new(parts.journal.clone(), parts.journal_bytes_max, counts.clone());
    tokio::spawn(Recorder::new(parts, journal, count).run(receiver));
    Queue { sender, taken: AtomicU64::new(0), recorded, counts }
}

impl Intake {
    /// What the token asks for; `None` unless we sealed it for `host` (as the `Host` header names it).
    pub fn open(&self, host: &str, token: &str) -> Option<Opened> {
        let (delivery, reference) = self.0.opener.open(host, token)?;
        let (kind, link, answer) = match reference {
            Reference::Open => (HitKind::Open, 0, Answer::Pixel),
            Reference::Click { link, target } | Reference::TextClick { link, target } => {
                (HitKind::Click, link, Answer::Redirect(target))
            }
            Reference::Unsubscribe => (HitKind::Click, 0, Answer::Unsubscribe(delivery)),
        };
        Some(Opened { delivery, answer, kind, link })
    }

    /// Queues the hit that an opened token and its request make, and returns when it may be answered. Only a GET of a
    /// pixel or link counts.
    pub async fn hit(&self, opened: &Opened, request: HitRequest) {
        let target = match &opened.answer {
            Answer::Pixel => String::new(),
            Answer::Redirect(target) => target.clone(),
            Answer::Unsubscribe(_) => return,
        };
        if !request.is_get {
            return;
        }
        let at = self.0.clock.now();
        let id = EventId::from_uuid(self.0.ids.uuid(at));
        let (delivery, kind, link) = (opened.delivery, opened.kind, opened.link);
        // Whose mail it is shows only when it is looked up, so that all wait for that where any agent asks for it.
        let (held, safe) = self.any_durable_hits().then(oneshot::channel).unzip();
        let hits = &self.0.hits;
        hits.push((Waiting { id, delivery, kind, link, target, at, request }, held)).await;
        if let Some(safe) = safe
            && timeout(self.0.settings.hits_wait_max, safe).await.is_err()
        {
            hits.counts.unsafe_answers.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Hits that were lost to a full queue or journal, or were unreadable there, since the start.
    pub fn hits_lost(&self) -> u64 {
        self.0.hits.counts.lost.load(Ordering::Relaxed)
    }

    /// Hits that were answered, after a wait, without their being known to be safe, since the start.
    pub fn hits_answered_unsafe(&self) -> u64 {
        self.0.hits.counts.unsafe_answers.load(Ordering::Relaxed)
    }

    /// Hits that wait in memory to be recorded.
    pub fn hits_waiting(&self) -> u64 {
        self.0.hits.taken.load(Ordering::Relaxed).saturating_sub(*self.0.hits.recorded.borrow())
    }

    /// Bytes of hits that wait in the journal for the database.
    pub fn hits_journaled_bytes(&self) -> u64 {
        self.0.hits.counts.journaled_bytes.load(Ordering::Relaxed)
    }

    /// Returns when every hit that was answered before is recorded, or in the journal.
    pub async fn drain(&self) {
        let taken = self.0.hits.taken.load(Ordering::Relaxed);
        // A recorder that has ended, with the store, records nothing more.
        let _ = self.0.hits.recorded.clone().wait_for(|recorded| *recorded >= taken).await;
    }
}

impl Queue {
    async fn push(&self, queued: Queued) {
        let is_taken = match self.sender.try_send(queued) {
            Ok(()) => true,
            Err(TrySendError::Closed(_)) => false,
            Err(TrySendError::Full(queued)) => {
                timeout(ROOM_WAIT_MAX, self.sender.send(queued)).await.is_ok_and(|sent| sent.is_ok())
            }
        };
        let counter = if is_taken { &self.taken } else { &self.counts.lost };
        counter.fetch_add(1, Ordering::Relaxed);
    }
}
