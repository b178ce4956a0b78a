//! OUTWARD: mail. Lease or take from the hand-over, render, route, send, judge, settle.
//!
//! Each recipient is a transaction of its own, with tokens of its own. What an attempt came to is a value; `judge` says
//! what it means, the store writes state, attempt, event and suppression in one commit. The hot path reads nothing from
//! the database: acceptance hands a delivery over already leased, content and all. Mail leaves at least once: a
//! connection that dies after the final dot is tried again, and the attempt says so.
//!
//! | file | is |
//! |---|---|
//! | `settings`, `route`, `exchangers` | where mail goes |
//! | `throttle`, `health` | which connections are kept, and which hosts are left alone for a while |
//! | `sites`, `pace`, `presets` | how much each destination takes, learned and as data |
//! | `pausing` | what people have stopped |
//! | `sources` | from which addresses of ours, and how new ones grow warm |
//! | `policy`, `sts`, `dane` | what a domain wants of TLS |
//! | `tls_sessions` | what came of TLS, counted for reports |
//! | `signing` | our signatures |
//! | `opening`, `transport` | one conversation; under it `wire` (the stream), `reply`, `offers`, `envelope`, `encryption`, `dialogue` |
//! | `attempt`, `copy` | one delivery tried once; what its recipient gets |
//! | `letters` | what its submitter gets |
//! | `judge`, `settling` | what that means, and that it is written |
//!
//! Started by `app`.

mod attempt;
mod copy;
pub mod dane;
pub mod dialogue;
pub mod encryption;
pub mod envelope;
pub mod exchangers;
pub mod health;
pub mod judge;
mod letters;
pub mod offers;
pub mod opening;
pub mod pace;
mod pausing;
pub mod policy;
pub mod presets;
pub mod reply;
pub mod route;
pub mod settings;
mod settling;
pub mod signing;
pub mod sites;
pub mod sources;
pub mod sts;
pub mod throttle;
pub mod tls_sessions;
pub mod transport;
pub mod wire;

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use arc_swap::ArcSwap;
use rustls::ClientConfig;
use tokio::task::JoinSet;

use crate::clock::{Clock, Stopwatch};
use crate::dns::Resolver;
use crate::egress::Guard;
use crate::fetch::Fetcher;
use crate::ids::IdSource;
use crate::mail::rules::Rules;
use crate::model::bearing::Policy;
use crate::model::delivery::{Lease, Outcome};
use crate::model::id::{AgentId, DeliveryId};
use crate::model::queue::{Mark, Pause};
use crate::model::time::Timestamp;
use crate::model::token::KeyRing;
use crate::store::deliveries::Leased;
use crate::store::leasing::{Batch, Due};
use crate::store::{Store, StoreError};
use crate::worker::{Ahead, Bounds, Done, Full, Later, Lines, Looked, Queue, Worker};

use attempt::{Attempted, Tried};
use copy::Room;
use encryption::BadCaFile;
use pace::{PutOff, Wait};
use policy::Policies;
use route::{Hop, Owner, Routes};
use settings::CAPTURE;
pub use settings::Settings;
use settling::settled;
use signing::Signing;
use sites::{Site, Sites, Turn};
use sources::Sources;
use tls_sessions::TlsSessions;
use transport::Connection;

/// Deliveries leased ahead, for each that is performed.
const AHEAD: usize = 4;
/// Deliveries leased by one statement.
const BATCH_MAX: usize = 128;

/// What delivery works with.
#[derive(Clone, Debug)]
pub struct Parts {
    /// Where deliveries come from and go to.
    pub store: Store,
    /// The time.
    pub clock: Clock,
    /// Names events.
    pub ids: IdSource,
    /// Seals return paths and tracked links.
    pub ring: KeyRing,
    /// Looks up hosts.
    pub resolver: Arc<dyn Resolver>,
    /// Says which mail exchangers and policies we may connect to.
    pub guard: Arc<Guard>,
    /// Whom we believe when policies are fetched.
    pub tls: ClientConfig,
    /// Who we are in EHLO, unless a route says otherwise.
    pub hostname: String,
    /// The domain that reports come back to.
    pub return_path_domain: String,
    /// By which replies are judged.
    pub rules: Rules,
    /// When addresses are left alone.
    pub suppression: Policy,
    /// What is counted.
    pub counters: Arc<Counters>,
    /// What is counted of TLS, where reports are sent about it.
    pub tls_sessions: Option<Arc<TlsSessions>>,
}

/// What happened since the start.
#[derive(Debug, Default)]
pub struct Counters {
    /// Attempts that ended with a 2yz to the final dot, whatever counts as delivered, or in the capture.
    pub delivered: AtomicU64,
    /// Attempts that ended with "not now".
    pub deferred: AtomicU64,
    /// Attempts that ended with "never".
    pub refused: AtomicU64,
    /// Deliveries that could not be rendered.
    pub unsendable: AtomicU64,
    /// Attempts that broke off after the final dot: these may have made a duplicate.
    pub unclear: AtomicU64,
    /// Results that came too late to be written, because the lease was lost.
    pub leases_lost: AtomicU64,
    /// Connections made.
    pub connections: AtomicU64,
    /// Attempts under way.
    pub under_way: AtomicU64,
}

/// Starts delivering what is due.
///
/// # Errors
/// The CA file of a route cannot be used.
pub async fn start(parts: Parts, settings: &Settings) -> Result<Worker, BadCaFile> {
    let routes = Arc::new(Routes::new(settings, &parts.hostname, parts.guard.clone())?);
    let fetcher = Fetcher::new(parts.guard.clone(), parts.tls.clone());
    let signing = Signing::new(parts.store.clone(), parts.clock.clone());
    let (store, resolver) = (parts.store.clone(), parts.resolver.clone());
    let policies = Policies::new(resolver, store, parts.clock.clone(), fetcher, settings.mx.clone());
    let at_once = settings.at_once.into();
    let ahead = at_once * AHEAD;
    let (enough_each, batch) = (at_once * 16, BATCH_MAX.min(ahead / 2));
    // What would wait for long is put off, so that all of them together need no bound.
    let bounds = Bounds { at_once, at_once_each: at_once, enough_each, waiting: usize::MAX, ahead, batch };
    let (clock, wake) = (parts.clock.clone(), parts.store.wakes().deliveries.clone());
    let handed = parts.store.take_handoff().await;
    let sites = Arc::new(Sites::new(clock.clone()));
    // A store that is away now is asked again at the first look.
    let pauses = ArcSwap::from_pointee(parts.store.pauses().await.unwrap_or_default());
    let (room, after, resumed, owners) = Default::default();
    let schedule = settings.schedule();
    let sources = Sources::new(settings);
    let deliver =
        Deliver { parts, routes, signing, policies, sites, sources, schedule, room, pauses, resumed, after, owners };
    Ok(Worker::start(Arc::new(deliver), clock, bounds, wake, handed))
}

/// The queue of deliveries, and how they are made.
#[derive(Debug)]
struct Deliver {
    parts: Parts,
    routes: Arc<Routes>,
    signing: Signing,
    policies: Policies,
    sites: Arc<Sites>,
    sources: Sources,
    /// Waits between attempts.
    schedule: Vec<Duration>,
    /// For copies in memory.
    room: Room,
    /// What people have stopped, as of the last look into the store.
    pauses: ArcSwap<Vec<Pause>>,
    /// What people let go on between the last two looks.
    resumed: Mutex<Vec<Pause>>,
    /// Whose turn was last.
    after: Mutex<Option<AgentId>>,
    owners: Owners,
}

/// The names of mail agents that mail was met of; they never change, and there are as many as agents.
type Owners = Arc<Mutex<HashMap<AgentId, Owner>>>;

impl Queue for Deliver {
    type Id = DeliveryId;
    type Leased = Leased;
    type Party = Site;
    type Owner = AgentId;
    type Turn = Turn;
    type Fault = StoreError;

    const NAME: &'static str = "delivery";

    fn held(leased: &Leased) -> (DeliveryId, Lease) {
        (leased.delivery.id, leased.lease.clone())
    }

    fn ends_at(leased: &Leased) -> Timestamp {
        leased.until
    }

    fn is_handed_over(leased: &Leased) -> bool {
        leased.is_handed_over()
    }

    fn party(&self, leased: &Leased) -> Site {
        let now = self.parts.clock.now();
        if now > leased.delivery.expires_at {
            // It ends here, and takes nobody's turn.
            return CAPTURE.into();
        }
        let owner = self.owner_if_known(leased.delivery.agent);
        let domain = leased.delivery.address.domain();
        let hops = self.routes.of_message(domain, &leased.message.facts, &owner);
        site(hops, domain, &self.sites, now)
    }

    fn owner(leased: &Leased) -> AgentId {
        leased.delivery.agent
    }

    fn admit(&self, leased: &Leased, ahead: Ahead) -> Result<(), Later> {
        let delivery = &leased.delivery;
        if self.parts.clock.now() > delivery.expires_at {
            return Ok(());
        }
        let pauses = self.pauses.load();
        if pauses.iter().any(|pause| pause.stops(delivery.tenant, delivery.agent, delivery.address.domain())) {
            return Err(self.paused());
        }
        if leased.mark == Mark::Asked {
            return Ok(());
        }
        let site = self.party(leased);
        let later = |PutOff { until, mark }| Later { until, mark };
        self.sites.admit(&site, self.routes.limits(&site), ahead.rows).map_err(later)
    }

    fn turn(&self, site: &Site, next: &Leased) -> Result<Turn, Full> {
        if next.mark == Mark::Asked {
            return Ok(self.sites.asked_turn(site, self.routes.limits(site)));
        }
        self.sites.turn(site, self.routes.limits(site)).map_err(|wait| match wait {
            Wait::ForOther => Full::UntilFreed,
            Wait::Until(until) => Full::Until(until),
            Wait::ForLong => Full::ForLong,
        })
    }

    async fn freed(&self) -> Site {
        self.sites.freed().await
    }

    async fn lease(&self, limit: u32, lines: Lines<Site>) -> Result<Looked<Leased>, StoreError> {
        transport::let_go(self.routes.stale(self.parts.clock.now()));
        self.share_source_use().await?;
        let pauses = self.hear_pauses().await?;
        let after = *self.after.lock().unwrap_or_else(PoisonError::into_inner);
        let put_off = self.choice(pauses, lines);
        let Batch { leased, has_more, after } = self.parts.store.lease_chosen(limit, after, put_off).await?;
        *self.after.lock().unwrap_or_else(PoisonError::into_inner) = after;
        Ok(Looked { rows: leased, has_more })
    }

    async fn next_due(&self) -> Result<Option<Timestamp>, StoreError> {
        self.parts.store.next_delivery_due().await
    }

    async fn renew(&self, held: Vec<(DeliveryId, Lease)>) -> Result<Vec<DeliveryId>, StoreError> {
        self.parts.store.renew_deliveries(held).await
    }

    async fn release(&self, unused: Vec<(DeliveryId, Lease)>) -> Result<(), StoreError> {
        self.parts.store.release_deliveries(unused).await
    }

    async fn put_off(&self, rows: Vec<(DeliveryId, Lease, Later)>) -> Result<(), StoreError> {
        let rows = rows.into_iter().map(|(id, lease, later)| (id, lease, later.until, later.mark)).collect();
        self.parts.store.put_off_deliveries(rows).await
    }

    async fn perform(&self, mut leased: Leased, turn: Turn) -> Done<Leased> {
        let started_at = self.parts.clock.now();
        let stopwatch = Stopwatch::start();
        self.parts.counters.under_way.fetch_add(1, Ordering::Relaxed);
        let tried = self.attempt(&leased, started_at, &turn.site).await;
        self.parts.counters.under_way.fetch_sub(1, Ordering::Relaxed);
        let tried = match tried {
            Attempted::Tried(tried) => tried,
            Attempted::StoreAway => return Done::Settled(None),
            Attempted::Misplaced => {
                leased.was_misplaced = true;
                return Done::Misplaced(leased);
            }
            Attempted::PutOff(until) => return Done::PutOff(leased, Later { until, mark: Mark::Room }),
        };
        if let Some(signal) = tried.signal {
            turn.learn(signal);
        }
        // The next conversation need not wait for our commit.
        drop(turn);
        self.tell(&leased, &tried, stopwatch);
        let asked = letters::asked(&leased);
        let mut settlement = settled(&self.parts, &self.schedule, leased, tried, started_at);
        if let Some(asked) = asked {
            settlement.letter = self.letter(&asked, &settlement).await;
        }
        Done::Settled(self.settle(settlement).await)
    }

    async fn close(&self) {
        if let Err(fault) = self.share_source_use().await {
            tracing::warn!(%fault, "what went out from new addresses cannot be written down");
        }
        if let Some(sessions) = &self.parts.tls_sessions
            && let Err(fault) = sessions.keep(&self.parts.store).await
        {
            tracing::warn!(%fault, "what came of TLS within the last minute cannot be written down");
        }
        let goodbyes: JoinSet<()> = self.routes.all().into_iter().map(Connection::close).collect();
        goodbyes.join_all().await;
    }
}

impl Deliver {
    /// Whose mail it is, if that was asked for before.
    fn owner_if_known(&self, agent: AgentId) -> Owner {
        locked(&self.owners).get(&agent).cloned().unwrap_or_default()
    }

    /// Tells the store what went out from addresses that are warming, and hears what the other nodes sent.
    async fn share_source_use(&self) -> Result<(), StoreError> {
        if !self.sources.are_warming() {
            return Ok(());
        }
        let unsaved = self.sources.unsaved();
        if !unsaved.is_empty() {
            self.parts.store.add_source_use(unsaved).await?;
        }
        let today = sources::day(self.parts.clock.now());
        self.sources.saved(self.parts.store.source_use(today).await?);
        Ok(())
    }

    /// Says of each delivery that is due whether it is put off instead of leased: what is paused, and what its site has no
    /// room for beside the `lines` in memory. What has expired needs no room: it ends when it is leased.
    fn choice(
        &self,
        pauses: Arc<Vec<Pause>>,
        mut lines: Lines<Site>,
    ) -> impl FnMut(&Due) -> Option<(Timestamp, Mark)> + Send + use<> {
        let (sites, routes, owners) = (self.sites.clone(), self.routes.clone(), self.owners.clone());
        let (paused, now) = (self.paused(), self.parts.clock.now());
        move |due| {
            if now > due.expires_at {
                return None;
            }
            if pauses.iter().any(|pause| pause.stops(due.tenant, due.agent, &due.domain)) {
                return Some((paused.until, paused.mark));
            }
            if due.mark == Mark::Asked {
                return None;
            }
            if routes.ask_for_tags() {
                // Which way it goes is known when it is here.
                return None;
            }
            let owner = locked(&owners).get(&due.agent).cloned().unwrap_or_default();
            let site = site(routes.of(&due.domain, &[], &owner), &due.domain, &sites, now);
            let limits = routes.limits(&site);
            let ahead = lines.waiting.entry(site.clone()).or_default();
            match sites.admit(&site, limits, *ahead) {
                Ok(()) => {
                    *ahead += 1;
                    None
                }
                Err(PutOff { until, mark }) => Some((until, mark)),
            }
        }
    }

    /// The mail log's line, and the counters.
    fn tell(&self, leased: &Leased, tried: &Tried, stopwatch: Stopwatch) {
        let counters = &self.parts.counters;
        let counter = match &tried.outcome {
            Outcome::Delivered { .. } | Outcome::HandedOver { .. } => &counters.delivered,
            Outcome::Deferred { .. } => &counters.deferred,
            Outcome::Refused { .. } => &counters.refused,
            Outcome::Unsendable { .. } | Outcome::Suppressed { .. } => &counters.unsendable,
        };
        counter.fetch_add(1, Ordering::Relaxed);
        let cause = judge::cause(&tried.outcome);
        tracing::info!(
            delivery.id = %leased.delivery.id,
            message.id = %leased.message.id,
            attempt = leased.lease.attempt,
            route = tried.route,
            peer = tried.peer,
            outcome = judge::outcome_word(&tried.outcome),
            domain = leased.delivery.address.domain(),
            code = tried.code,
            reason = cause.map(|cause| cause.reason.as_str()),
            diagnostic = cause.map(|cause| head(&cause.diagnostic)),
            duration_ms = u64::try_from(stopwatch.elapsed().as_millis()).unwrap_or(u64::MAX),
            "delivery attempted"
        );
    }
}

/// As much of the other side's words as a line of the log holds.
fn head(diagnostic: &str) -> &str {
    const BYTES_MAX: usize = 200;
    &diagnostic[..diagnostic.floor_char_boundary(BYTES_MAX)]
}

/// Who answers for mail that goes this way, as far as is known: the first of its hosts that does not rest.
fn site(hops: &[Hop], domain: &str, sites: &Sites, now: Timestamp) -> Site {
    match first_fit(hops, sites, now) {
        Some(Hop::Smarthost(host)) => host.site.clone(),
        Some(Hop::Exchangers(_)) => sites.of(domain),
        Some(Hop::Capture) | None => CAPTURE.into(),
    }
}

/// The first hop that can be tried; the first of all where each rests.
fn first_fit<'a>(hops: &'a [Hop], sites: &Sites, now: Timestamp) -> Option<&'a Hop> {
    let is_fit = |hop: &&Hop| match hop {
        Hop::Smarthost(host) => {
            !host.health.is_resting(now) && sites.shown(&host.site).is_none_or(|(_, rest)| rest.is_none())
        }
        Hop::Exchangers(_) | Hop::Capture => true,
    };
    hops.iter().find(is_fit).or(hops.first())
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
