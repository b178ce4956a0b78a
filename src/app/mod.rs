//! Composition root: builds every part once, starts doors and workers, stops them in order.
//!
//! Nobody else knows all parts. Ports are bound before anything is written, so that a start that cannot succeed leaves
//! nothing behind; nothing is accepted on them before everything stands. Going down: not ready, doors shut, workers
//! finish what they hold, store closed. Callers: `main`, and the demo, which runs a whole one inside itself.

mod acme;
mod chores;
mod first_run;
pub mod hosts;
mod house;
mod lock;
mod master_key;
mod metrics;
mod notices;
pub mod outward;
mod places;
mod privacy;
mod rehearsal;
mod sockets;
pub mod tls_reports;

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use tokio::sync::watch;
use tokio::task::JoinSet;

use crate::clock::{Clock, Stopwatch};
use crate::config::{Role, Settings};
use crate::deliver;
use crate::deliver::tls_sessions::TlsSessions;
use crate::dns::{self, Resolver};
use crate::egress::{Guard, Trust};
use crate::enrich::Enricher;
use crate::fetch::Fetcher;
use crate::http;
use crate::http::admin::Admin;
use crate::ids::IdSource;
use crate::intake::{self, Intake};
use crate::mail::rules::Rules;
use crate::model::token::KeyRing;
use crate::smtp;
use crate::store::db::{ANSWER_WITHIN, Options};
use crate::store::retention::Keep;
use crate::store::{Store, StoreError};
use crate::tls::Certificates;
use crate::tls::challenges::Challenges;
use crate::wake::Wake;
use crate::webhooks;
use crate::worker::Worker;

pub use crate::intake::provision;
pub use first_run::FirstRun;
use hosts::Checker;
pub use lock::DataLock;
use metrics::Figures;
use outward::Outward;
pub use places::{fetched_places, open_geo};
pub use rehearsal::rehearse;
pub use sockets::Addresses;
use sockets::{HttpKind, Sockets};

/// Deliveries that may be handed from acceptance to delivery in memory.
const HANDOFF_MAX: usize = 4096;

/// What the program takes from outside itself.
#[derive(Clone, Debug)]
pub struct World {
    /// The time.
    pub clock: Clock,
    /// Ids and secrets.
    pub ids: IdSource,
    /// Names of hosts.
    pub resolver: Arc<dyn Resolver>,
}

impl World {
    /// As it is, with names looked up as `settings` say.
    ///
    /// # Errors
    /// There is nobody to ask.
    pub fn real(settings: &dns::Settings) -> anyhow::Result<Self> {
        let resolver = Arc::new(dns::Network::new(settings).context("dns")?);
        Ok(Self { clock: Clock::system(), ids: IdSource::system(), resolver })
    }
}

/// The program, running.
pub struct App {
    /// Where it can be reached.
    pub addresses: Addresses,
    /// What was made because there was nothing.
    pub first_run: Option<FirstRun>,
    store: Store,
    intake: Intake,
    /// Told to the doors; each returns when it has finished what it holds.
    stopping: watch::Sender<bool>,
    doors: JoinSet<()>,
    workers: Workers,
    /// Rung when changed files should be looked for at once.
    look: Wake,
    /// Ended at any point without loss.
    background: JoinSet<()>,
    patience: Duration,
    /// Held as long as the program runs.
    _lock: DataLock,
}

/// What works by itself, as far as this node's roles go.
struct Workers {
    deliver: Option<Worker>,
    webhooks: Option<webhooks::Running>,
}

/// What is there before any part is built.
struct Ground {
    settings: Settings,
    world: World,
    store: Store,
    ring: KeyRing,
    enricher: Arc<Enricher>,
    rules: Rules,
    challenges: Challenges,
    addresses: Addresses,
    /// What is counted of TLS, where reports are sent.
    tls_sessions: Option<Arc<TlsSessions>>,
}

impl App {
    /// Builds and starts everything that `settings` ask for.
    ///
    /// # Errors
    /// Whatever stands in the way, said so that a person knows what to change. Nothing runs then.
    pub async fn start(settings: &Settings, world: World) -> anyhow::Result<Self> {
        make_data_folder(&settings.data)
            .with_context(|| format!("make the data folder {}", settings.data.display()))?;
        let lock = DataLock::take(&settings.data, settings.database.sqlite_path())?;
        privacy::shut(settings);
        let sockets = Sockets::bind(settings)?;
        let certificates = Certificates::open(&settings.tls, &settings.data, &settings.hostname)
            .context("prepare the certificate of the doors")?;
        let ground = Ground::lay(settings, world, sockets.addresses()?).await?;
        let intake = ground.intake();
        intake.refresh().await.context("read what is set about tracking")?;
        chores::review_captured(&ground.store, settings.is_capture()).await.context("look through the domains")?;
        let smtp = ground.smtp(&certificates, intake.clone());
        let http = ground.http(intake.clone(), &certificates)?;
        let (deliveries, dispatches) = Default::default();
        let workers = ground.workers(&deliveries, &dispatches).await?;
        // Last of what may fail: credentials are shown once, so they must not be made for a start that fails.
        let Ground { world: World { clock, ids, .. }, store, enricher, .. } = &ground;
        let first_run = first_run::make(store, clock, ids).await.context("make the first tenant")?;

        let (stopping, stop) = watch::channel(false);
        let registry = metrics::registry(Figures {
            smtp: smtp.clone(),
            http: http.clone(),
            deliver: deliveries,
            webhooks: dispatches,
            intake: intake.clone(),
            enricher: enricher.clone(),
            wal: settings.database.sqlite_path().map(|path| PathBuf::from(format!("{}-wal", path.display()))),
            data: settings.data.clone(),
        });
        let look = Wake::default();
        let mut background = JoinSet::new();
        let token = settings.admin.token.clone();
        let admin = Admin::new(intake.clone(), store.clone(), clock.clone(), token, registry, stop.clone());
        background.spawn(admin.serve(sockets.admin));
        background.spawn(chores::index(store.clone(), clock.clone()));
        background.spawn(chores::end_waits(intake.clone(), clock.clone()));
        background.spawn(chores::say_that_we_run(store.clone(), ground.facts(), clock.clone()));
        background.spawn(chores::forget(
            store.clone(),
            keep(settings),
            days(settings.retention.dialogues_days),
            clock.clone(),
        ));
        if !settings.is_capture() && settings.roles.contains(&Role::Deliver) {
            background.spawn(chores::look_for_keys(store.clone(), ground.world.resolver.clone(), clock.clone()));
        }
        if settings.roles.contains(&Role::Webhooks) {
            background.spawn(notices::mail(store.clone(), intake.clone(), clock.clone()));
        }
        let (free_bytes_min, data) = (settings.disk_free_bytes_min, settings.data.clone());
        background.spawn(chores::watch_disk(intake.clone(), data, free_bytes_min, clock.clone()));
        tls_reports::start(&ground, &mut background)?;
        if let Some(orders) = ground.orders(&certificates)? {
            background.spawn(acme::keep(orders, clock.clone()));
        }
        background.spawn(chores::reload(certificates.clone(), enricher.clone(), clock.clone(), look.clone()));
        background.spawn(hosts::watch(store.clone(), intake.clone(), ground.checker()?, clock.clone()));

        let mut doors = JoinSet::new();
        for (listener, socket) in sockets.smtp {
            doors.spawn(smtp.clone().serve(socket, listener, stop.clone()));
        }
        for (kind, socket) in sockets.http {
            let tls = (kind == HttpKind::Tls).then(|| certificates.web_acceptor());
            let (http, stop) = (http.clone(), stop.clone());
            doors.spawn(async move { http.serve(socket, tls, stop).await });
        }
        Ok(Self {
            addresses: ground.addresses,
            first_run,
            store: ground.store,
            intake,
            stopping,
            doors,
            workers,
            look,
            background,
            patience: Duration::from_secs(settings.shutdown_timeout_secs.into()),
            _lock: lock,
        })
    }

    /// The store, for those who want to look into it.
    pub fn store(&self) -> &Store {
        &self.store
    }

    /// Looks for changed certificates and place databases now, not within the minute.
    pub fn reload(&self) {
        self.look.ring();
    }

    /// Returns when nothing may be acknowledged any more: a commit could not be synced. The program must exit at
    /// once; the next start recovers what was committed.
    pub async fn broken(&self) {
        self.store.failed().await;
    }

    /// Stops in order: not ready, doors shut, workers finish what they hold, store closed. Work that is not done
    /// within `shutdown_timeout_secs` is left to the next start: its leases end by themselves.
    pub async fn stop(mut self) {
        let stopwatch = Stopwatch::start();
        self.stopping.send_replace(true);
        // The doors get half of the time at most: a slow client must not cost deliveries theirs.
        let shut = async { while self.doors.join_next().await.is_some() {} };
        if tokio::time::timeout(self.patience / 2, shut).await.is_err() {
            tracing::warn!("clients that were not done are cut off; nothing was promised to them");
            self.doors.shutdown().await;
        }
        let left = self.patience.saturating_sub(stopwatch.elapsed());
        let mut drains = JoinSet::new();
        drains.extend(self.workers.deliver.map(|worker| worker.drain(left)));
        drains.extend(self.workers.webhooks.map(|running| running.drain(left)));
        drains.spawn(async move {
            if tokio::time::timeout(left, self.intake.drain()).await.is_err() {
                tracing::error!(hits = self.intake.hits_waiting(), "hits are lost: the database takes none");
            }
        });
        drains.join_all().await;
        self.background.shutdown().await;
        if let Err(fault) = self.store.node_stops().await {
            tracing::warn!(%fault, "this node is listed for a while yet");
        }
        self.store.close().await;
    }
}

impl Ground {
    async fn lay(settings: &Settings, world: World, addresses: Addresses) -> anyhow::Result<Self> {
        let handoff = if settings.roles.contains(&Role::Deliver) { HANDOFF_MAX } else { 0 };
        let store = open_store(settings, handoff, &world.clock, &world.ids).await?;
        store.collect_orphans().await.context("look for content files that no message points to")?;
        let ring = store.key_ring(world.ids.bytes()).await.context("read the token keys")?;
        let enricher = Arc::new(Enricher::new(open_geo(settings)?));
        let rules = settings.rules()?;
        let (challenges, tls_sessions) = (Challenges::default(), tls_reports::sessions(settings));
        Ok(Self {
            settings: settings.clone(),
            world,
            store,
            ring,
            enricher,
            rules,
            challenges,
            addresses,
            tls_sessions,
        })
    }

    /// What checks tracking hosts.
    fn checker(&self) -> anyhow::Result<Checker> {
        let fetcher = open_fetcher(&self.settings, self.world.resolver.clone())?;
        Ok(Checker { fetcher, ring: self.ring.clone(), ids: self.world.ids.clone() })
    }

    /// What orders certificates, where an authority is set and this node has doors for it to look at.
    fn orders(&self, certificates: &Certificates) -> anyhow::Result<Option<acme::Orders>> {
        let has_doors = self.settings.roles.contains(&Role::Doors);
        let Some(settings) = self.settings.tls.acme.clone().filter(|_| has_doors) else { return Ok(None) };
        let names = match settings.names.as_slice() {
            [] => vec![self.settings.hostname.clone()],
            names => names.to_vec(),
        };
        Ok(Some(acme::Orders {
            settings,
            names,
            account: self.settings.data.join("tls").join("acme.json"),
            data: self.settings.data.clone(),
            store: self.store.clone(),
            certificates: certificates.clone(),
            challenges: self.challenges.clone(),
            fetcher: open_fetcher(&self.settings, self.world.resolver.clone())?,
        }))
    }

    fn intake(&self) -> Intake {
        let base_url = match self.settings.tracking.base_url.as_str() {
            "" => self.addresses.base_url().unwrap_or_default(),
            set => set.to_owned(),
        };
        Intake::start(intake::Parts {
            store: self.store.clone(),
            clock: self.world.clock.clone(),
            ids: self.world.ids.clone(),
            ring: self.ring.clone(),
            enricher: self.enricher.clone(),
            rules: self.rules.clone(),
            settings: intake_settings(&self.settings, base_url),
        })
    }

    fn smtp(&self, certificates: &Certificates, intake: Intake) -> Arc<smtp::server::Server> {
        let settings = Arc::new(self.settings.smtp.clone());
        smtp::server::Server::new(settings, Some(certificates.mail_acceptor()), intake, self.world.clock.clone())
    }

    fn http(&self, intake: Intake, certificates: &Certificates) -> anyhow::Result<http::Server> {
        Ok(http::Server::new(http::Parts {
            settings: self.settings.http.clone(),
            intake,
            store: self.store.clone(),
            clock: self.world.clock.clone(),
            ids: self.world.ids.clone(),
            outward: Arc::new(self.outward()?),
            resolver: self.world.resolver.clone(),
            challenges: self.challenges.clone(),
            house: self.house(certificates),
        }))
    }

    /// The way out, for whoever connects to where a stranger says.
    fn outward(&self) -> anyhow::Result<Outward> {
        Outward::new(&self.settings, self.addresses.all(), self.world.resolver.clone())
    }

    fn webhooks(&self, counters: &Arc<webhooks::Counters>) -> anyhow::Result<webhooks::Parts> {
        Ok(self.outward()?.parts(&self.store, &self.world.clock, counters))
    }

    async fn workers(
        &self,
        deliveries: &Arc<deliver::Counters>,
        dispatches: &Arc<webhooks::Counters>,
    ) -> anyhow::Result<Workers> {
        let mut workers = Workers { deliver: None, webhooks: None };
        if self.settings.roles.contains(&Role::Deliver) {
            let outward = self.outward()?;
            let parts = deliver::Parts {
                store: self.store.clone(),
                clock: self.world.clock.clone(),
                ids: self.world.ids.clone(),
                ring: self.ring.clone(),
                resolver: self.world.resolver.clone(),
                guard: outward.guard().clone(),
                tls: outward.trust().client(),
                hostname: self.settings.hostname.clone(),
                return_path_domain: self.settings.reports.return_path_domain.clone(),
                rules: self.rules.clone(),
                suppression: self.settings.suppression,
                counters: deliveries.clone(),
                tls_sessions: self.tls_sessions.clone(),
            };
            workers.deliver = Some(deliver::start(parts, &self.settings.deliver).await.context("start delivering")?);
        }
        if self.settings.roles.contains(&Role::Webhooks) {
            workers.webhooks = Some(webhooks::start(&self.webhooks(dispatches)?, &self.settings.webhooks));
        }
        Ok(workers)
    }
}

/// Opens the store that `settings` name, for a node that keeps at most `handoff` accepted deliveries in memory.
///
/// # Errors
/// The database cannot be opened, or must not be used.
pub async fn open_store(settings: &Settings, handoff: usize, clock: &Clock, ids: &IdSource) -> anyhow::Result<Store> {
    let run = ids.uuid(clock.now()).simple().to_string();
    let key = master_key::find(settings, ids)?;
    let options = Options {
        url: settings.database.reveal().to_owned(),
        content_dir: settings.data.join("content"),
        holder: format!("{}-{}-{}", settings.hostname, std::process::id(), &run[run.len() - 8..]),
        handoff,
        master: key.master.clone(),
        sync: settings.sync,
        answer_within: ANSWER_WITHIN,
    };
    let opened = Store::open(options, clock.clone()).await;
    let missing = if matches!(opened, Err(StoreError::Corrupt(_))) { key.is_refused() } else { None };
    let missing = missing.map_or(String::new(), |missing| format!("; {missing}"));
    opened.with_context(|| format!("open the database {}{missing}", settings.database))
}

/// What fetches on our own behalf, from where webhooks may go too, and from our own doors: a tracking host leads there.
///
/// # Errors
/// A setting of `egress` makes no sense.
pub fn open_fetcher(settings: &Settings, resolver: Arc<dyn Resolver>) -> anyhow::Result<Fetcher> {
    let guard = Guard::new(settings.egress_policy()?, resolver);
    let tls = Trust::open(settings.egress.ca_file.as_deref()).context("egress.ca_file")?.client();
    Ok(Fetcher::new(Arc::new(guard), tls))
}

/// Intake beside a running server, on a store of its own: what `postback send` goes through.
///
/// # Errors
/// The token keys cannot be read.
pub async fn intake_of_a_guest(
    settings: &Settings,
    store: &Store,
    clock: &Clock,
    ids: &IdSource,
) -> anyhow::Result<Intake> {
    let base_url = match settings.tracking.base_url.as_str() {
        "" => format!("http://{}", settings.http.address),
        set => set.to_owned(),
    };
    let intake = Intake::start(intake::Parts {
        store: store.clone(),
        clock: clock.clone(),
        ids: ids.clone(),
        ring: store.key_ring(ids.bytes()).await.context("read the token keys")?,
        enricher: Arc::default(),
        rules: settings.rules()?,
        settings: intake::Settings { hits_journal: None, ..intake_settings(settings, base_url) },
    });
    intake.refresh().await.context("read what is set about tracking")?;
    Ok(intake)
}

/// Makes the folder, if it is not there, for its owner alone: it will hold keys.
fn make_data_folder(folder: &Path) -> std::io::Result<()> {
    let mut builder = std::fs::DirBuilder::new();
    #[cfg(unix)]
    std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
    builder.recursive(true).create(folder)
}

fn intake_settings(settings: &Settings, tracking_base_url: String) -> intake::Settings {
    intake::Settings {
        is_capture: settings.is_capture(),
        hostname: settings.hostname.clone(),
        tracking_base_url,
        return_path_domain: settings.reports.return_path_domain.clone(),
        complaint_local_part: settings.reports.complaint_local_part.clone(),
        complaint_sources: settings.reports.complaint_sources.clone(),
        recipients_max: settings.smtp.recipients_max.into(),
        message_bytes_max: usize::try_from(settings.smtp.message_bytes_max).unwrap_or(usize::MAX),
        suppression: settings.suppression,
        hits_journal: Some(settings.data.join("hits.journal")),
        hits_journal_bytes_max: settings.tracking.journal_bytes_max,
        hits_wait_max: Duration::from_secs(settings.tracking.durable_wait_seconds.into()),
        lifetime: settings.deliver.lifetime(),
        ..intake::Settings::default()
    }
}

fn keep(settings: &Settings) -> Keep {
    let kept = &settings.retention;
    Keep {
        messages: days(kept.messages_days),
        events: days(kept.events_days),
        reports: days(kept.reports_days),
        webhook_log: days(kept.webhook_log_days),
    }
}

fn days(days: u32) -> Duration {
    Duration::from_secs(u64::from(days) * 86_400)
}
