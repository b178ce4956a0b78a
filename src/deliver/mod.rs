//! OUTWARD: mail. Lease or take from the hand-over, render, route, send, judge, settle.
//!
//! Each recipient is a transaction of its own, with tokens of its own. What an attempt came to is a value; `judge` says
//! what it means, the store writes state, attempt, event and suppression in one commit. The hot path reads nothing from
//! the database: acceptance hands a delivery over already leased, content and all. Mail leaves at least once: a
//! connection that dies after the final dot is tried again, and the attempt says so.
//!
//! | file | is |
//! |---|---|
//! | `settings`, `route`, `throttle` | where mail goes, and how much at once |
//! | `opening`, `transport` | one conversation; under it `wire` (the stream), `reply`, `offers`, `encryption`, `dialogue` |
//! | `attempt` | one delivery tried once |
//! | `judge` | what that means |
//!
//! Started by `app`.

mod attempt;
pub mod dialogue;
pub mod encryption;
pub mod judge;
pub mod offers;
pub mod opening;
pub mod reply;
pub mod route;
pub mod settings;
pub mod throttle;
pub mod transport;
pub mod wire;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use tokio::task::JoinSet;

use crate::clock::{Clock, Stopwatch};
use crate::dns::Resolver;
use crate::ids::IdSource;
use crate::model::delivery::{Lease, Next, Outcome};
use crate::model::id::{DeliveryId, EventId};
use crate::model::time::Timestamp;
use crate::model::token::KeyRing;
use crate::store::deliveries::{Attempt, Leased, Settlement};
use crate::store::{Store, StoreError};
use crate::worker::{Again, Bounds, Queue, Worker};

use attempt::Tried;
use encryption::BadCaFile;
use route::Routes;
pub use settings::Settings;
use transport::Connection;

/// Deliveries leased ahead, for each that is performed.
const AHEAD: usize = 4;

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
    /// Who we are in EHLO, unless a route says otherwise.
    pub hostname: String,
    /// The domain that reports come back to.
    pub return_path_domain: String,
    /// What is counted.
    pub counters: Arc<Counters>,
}

/// What happened since the start.
#[derive(Debug, Default)]
pub struct Counters {
    /// Attempts that ended with a 2yz to the final dot, or in the capture.
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
    let routes = Routes::new(settings, &parts.hostname)?;
    let at_once = settings.at_once.into();
    let ahead = at_once * AHEAD;
    let bounds = Bounds { at_once, at_once_each: at_once, ahead, batch: ahead / 2 };
    let (clock, wake) = (parts.clock.clone(), parts.store.wakes().deliveries.clone());
    let handed = parts.store.take_handoff().await;
    Ok(Worker::start(Arc::new(Deliver { parts, routes }), clock, bounds, wake, handed))
}

/// The queue of deliveries, and how they are made.
#[derive(Debug)]
struct Deliver {
    parts: Parts,
    routes: Routes,
}

impl Queue for Deliver {
    type Id = DeliveryId;
    type Leased = Leased;
    type Party = ();
    type Fault = StoreError;

    const NAME: &'static str = "delivery";

    fn held(leased: &Leased) -> (DeliveryId, Lease) {
        (leased.delivery.id, leased.lease.clone())
    }

    fn party(_: &Leased) {}

    async fn lease(&self, limit: u32, _: Vec<()>) -> Result<Vec<Leased>, StoreError> {
        self.sweep();
        self.parts.store.lease_deliveries(limit).await
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

    async fn perform(&self, leased: Leased) -> Option<Timestamp> {
        let started_at = self.parts.clock.now();
        let stopwatch = Stopwatch::start();
        self.parts.counters.under_way.fetch_add(1, Ordering::Relaxed);
        let tried = self.attempt(&leased, started_at).await;
        self.parts.counters.under_way.fetch_sub(1, Ordering::Relaxed);
        let tried = tried?;
        self.tell(&leased, &tried, stopwatch);
        self.settle(settled(&self.parts, leased, tried, started_at)).await
    }

    async fn close(&self) {
        let connections = self.routes.hosts().flat_map(|host| host.throttle.all());
        let goodbyes: JoinSet<()> = connections.map(Connection::close).collect();
        goodbyes.join_all().await;
    }
}

impl Deliver {
    /// Lets go of connections that were kept too long.
    fn sweep(&self) {
        let now = self.parts.clock.now();
        for connection in self.routes.hosts().flat_map(|host| host.throttle.stale(now)) {
            tokio::spawn(connection.close());
        }
    }

    /// The mail log's line, and the counters.
    fn tell(&self, leased: &Leased, tried: &Tried, stopwatch: Stopwatch) {
        let counters = &self.parts.counters;
        let counter = match &tried.outcome {
            Outcome::Delivered { .. } => &counters.delivered,
            Outcome::Deferred { .. } => &counters.deferred,
            Outcome::Refused { .. } => &counters.refused,
            Outcome::Unsendable { .. } => &counters.unsendable,
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
            code = tried.code,
            reason = cause.map(|cause| cause.reason.as_str()),
            duration_ms = u64::try_from(stopwatch.elapsed().as_millis()).unwrap_or(u64::MAX),
            "delivery attempted"
        );
    }

    /// Writes what came of an attempt. A store that is away is waited for: the mail has left, and must not leave again.
    async fn settle(&self, settlement: Settlement) -> Option<Timestamp> {
        let mut again = Again::default();
        let written = loop {
            match self.parts.store.settle_delivery(settlement.clone()).await {
                Err(StoreError::Unavailable(_)) => again.wait().await,
                written => break written,
            }
        };
        match written {
            Ok(()) => match settlement.next {
                Next::Waits(until) => Some(until),
                Next::Ends(_) => None,
            },
            Err(StoreError::LostLease) => {
                self.parts.counters.leases_lost.fetch_add(1, Ordering::Relaxed);
                tracing::warn!(delivery.id = %settlement.id, "the lease was lost; the result is dropped");
                None
            }
            Err(fault) => {
                tracing::error!(delivery.id = %settlement.id, %fault, "the result of an attempt cannot be written");
                None
            }
        }
    }
}

fn settled(parts: &Parts, leased: Leased, tried: Tried, started_at: Timestamp) -> Settlement {
    let now = parts.clock.now();
    let event = EventId::from_uuid(parts.ids.uuid(now));
    let consequence = judge::consequence(&leased.delivery, &tried.outcome, now, event);
    let cause = judge::cause(&tried.outcome);
    let diagnostic = match &tried.outcome {
        Outcome::Delivered { reply } => reply.clone(),
        Outcome::Deferred { cause, .. } | Outcome::Refused { cause } | Outcome::Unsendable { cause } => {
            cause.diagnostic.clone()
        }
    };
    let attempt = Attempt {
        started_at,
        ended_at: now,
        route: tried.route.to_owned(),
        peer: tried.peer,
        tls: tried.tls,
        outcome: judge::outcome_word(&tried.outcome).to_owned(),
        code: tried.code,
        diagnostic,
        rule: cause.map(|cause| cause.rule.clone()).unwrap_or_default(),
        dialogue: tried.dialogue,
    };
    Settlement {
        id: leased.delivery.id,
        lease: leased.lease,
        attempt,
        next: consequence.next,
        reason: consequence.reason,
        events: vec![consequence.event],
        suppression: consequence.suppression,
    }
}
