//! Composition root: builds every part once, starts doors and workers, stops them in order.
//!
//! Nobody else knows all parts. Ports are bound before anything is written, so that a start that cannot succeed leaves
//! nothing behind; nothing is accepted on them before everything stands. Going down: not ready, doors shut, workers
//! finish what they hold, store closed. Callers: `main`, and the demo, which runs a whole one inside itself.

mod chores;
mod first_run;
mod lock;
mod metrics;
pub mod provision;
mod sockets;

use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use tokio::sync::watch;
use tokio::task::JoinSet;

use crate::clock::Clock;
use crate::config::{Role, Settings};
use crate::enrich::Enricher;
use crate::http::admin::Admin;
use crate::ids::IdSource;
use crate::intake::{self, Intake};
use crate::smtp;
use crate::store::Store;
use crate::store::db::{Options, Sync};
use crate::store::retention::Keep;
use crate::tls::Certificates;

pub use first_run::FirstRun;
pub use lock::DataLock;
use metrics::Figures;
pub use sockets::Addresses;
use sockets::Sockets;

/// Deliveries that may be handed from acceptance to delivery in memory.
const HANDOFF_MAX: usize = 4096;

/// The program, running.
pub struct App {
    /// Where it can be reached.
    pub addresses: Addresses,
    /// What was made because there was nothing.
    pub first_run: Option<FirstRun>,
    store: Store,
    intake: Intake,
    /// Told to all who work in the foreground; each returns when it has finished what it holds.
    stopping: watch::Sender<bool>,
    foreground: JoinSet<()>,
    /// Ended at any point without loss.
    background: JoinSet<()>,
    patience: Duration,
    /// Held as long as the program runs.
    _lock: DataLock,
}

impl App {
    /// Builds and starts everything that `settings` ask for.
    ///
    /// # Errors
    /// Whatever stands in the way, said so that a person knows what to change. Nothing runs then.
    pub async fn start(settings: &Settings, clock: Clock, ids: IdSource) -> anyhow::Result<Self> {
        let has = |role| settings.roles.contains(&role);
        std::fs::create_dir_all(&settings.data)
            .with_context(|| format!("make the data folder {}", settings.data.display()))?;
        let lock = DataLock::take(&settings.data)?;
        let sockets = Sockets::bind(settings).await?;
        let addresses = sockets.addresses()?;
        let certificates = Certificates::open(&settings.tls, &settings.data, &settings.hostname)
            .context("prepare the certificate of the doors")?;

        let handoff = if has(Role::Deliver) { HANDOFF_MAX } else { 0 };
        let store = open_store(settings, handoff, &clock, &ids).await?;
        store.collect_orphans().await.context("look for content files that no message points to")?;
        let first_run = first_run::make(&store, &clock, &ids).await.context("make the first tenant")?;
        let intake = start_intake(settings, &store, &clock, &ids).await?;

        let (stopping, stop) = watch::channel(false);
        let mut foreground = JoinSet::new();
        let smtp = smtp::server::Server::new(
            Arc::new(settings.smtp.clone()),
            Some(certificates.acceptor(&[])),
            intake.clone(),
            clock.clone(),
        );
        for (listener, socket) in sockets.smtp {
            foreground.spawn(smtp.clone().serve(socket, listener, stop.clone()));
        }

        let mut background = JoinSet::new();
        let registry = metrics::registry(Figures { smtp: smtp.clone(), intake: intake.clone() });
        background.spawn(Arc::new(Admin::new(store.clone(), clock.clone(), registry, stop)).serve(sockets.admin));
        background.spawn(chores::forget(store.clone(), keep(settings), clock.clone()));
        background.spawn(chores::reload(certificates, clock));
        let patience = Duration::from_secs(settings.shutdown_timeout_secs.into());
        Ok(Self { addresses, first_run, store, intake, stopping, foreground, background, patience, _lock: lock })
    }

    /// The store, for those who want to look into it.
    pub fn store(&self) -> &Store {
        &self.store
    }

    /// Returns when nothing may be acknowledged any more: a commit could not be synced. The program must exit at
    /// once; the next start recovers what was committed.
    pub async fn broken(&self) {
        self.store.failed().await;
    }

    /// Stops in order: not ready, doors shut, workers finish what they hold, store closed. Work that is not done
    /// within `shutdown_timeout_secs` is left to the next start: its leases end by themselves.
    pub async fn stop(mut self) {
        self.stopping.send_replace(true);
        let finished = async { while self.foreground.join_next().await.is_some() {} };
        if tokio::time::timeout(self.patience, finished).await.is_err() {
            tracing::warn!("work under way did not end in time; its leases end by themselves");
            self.foreground.shutdown().await;
        }
        drop(self.intake);
        self.background.shutdown().await;
        self.store.close().await;
    }
}

/// Opens the store that `settings` name, for a node that keeps at most `handoff` accepted deliveries in memory.
///
/// # Errors
/// The database cannot be opened, or must not be used.
pub async fn open_store(settings: &Settings, handoff: usize, clock: &Clock, ids: &IdSource) -> anyhow::Result<Store> {
    let run = ids.uuid(clock.now()).simple().to_string();
    let options = Options {
        url: settings.database.reveal().to_owned(),
        content_dir: settings.data.join("content"),
        holder: format!("{}-{}-{}", settings.hostname, std::process::id(), &run[run.len() - 8..]),
        handoff,
        sync: Sync::Full,
    };
    let opened = Store::open(options, clock.clone()).await;
    opened.with_context(|| format!("open the database {}", settings.database))
}

/// Starts intake on a store: what the doors and `postback send` go through.
///
/// # Errors
/// The token keys cannot be read.
pub async fn start_intake(settings: &Settings, store: &Store, clock: &Clock, ids: &IdSource) -> anyhow::Result<Intake> {
    let ring = store.key_ring(ids.bytes()).await.context("read the token keys")?;
    Ok(Intake::start(intake::Parts {
        store: store.clone(),
        clock: clock.clone(),
        ids: ids.clone(),
        ring,
        enricher: Arc::new(Enricher::default()),
        settings: intake_settings(settings),
    }))
}

fn intake_settings(settings: &Settings) -> intake::Settings {
    intake::Settings {
        hostname: settings.hostname.clone(),
        return_path_domain: settings.reports.return_path_domain.clone(),
        complaint_local_part: settings.reports.complaint_local_part.clone(),
        recipients_max: settings.smtp.recipients_max.into(),
        message_bytes_max: usize::try_from(settings.smtp.message_bytes_max).unwrap_or(usize::MAX),
        ..intake::Settings::default()
    }
}

fn keep(settings: &Settings) -> Keep {
    let days = |days: u32| Duration::from_secs(u64::from(days) * 86_400);
    Keep { messages: days(settings.retention.messages_days), reports: days(settings.retention.reports_days) }
}
