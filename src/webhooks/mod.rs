//! OUTWARD: events. Lease, build, sign, post, judge, settle.
//!
//! Three lanes, each a worker of its own: a first attempt never waits behind retries, a person's test behind nobody. No
//! receiver gets more than a few requests at once, over all lanes, and fewer where many hang, so that slow or dead ones
//! hold up nobody else. Body
//! and signature are made anew for each attempt; the event's id stays. A dispatch arrives at least once: a receiver whose
//! 200 was lost hears it again.
//!
//! | file | is |
//! |---|---|
//! | `formats` | pure: an event as body and headers of each format |
//! | `signature` | pure: what proves that it was us |
//! | `client` | one request to a stranger, guarded and capped |
//! | `lane` | the dispatches of one lane, and how they are posted |
//! | `company` | what is held because it is told together with another |
//! | `handing` | what goes out as soon as it is written |
//! | `gate` | how many requests to each webhook at once, and how fast |
//!
//! Started by `app`.

pub mod client;
mod company;
pub mod formats;
mod gate;
mod handing;
mod lane;
pub mod signature;

use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use tokio::sync::mpsc;
use tokio::task::AbortHandle;
use tokio::time::timeout;

use crate::clock::Clock;
use crate::model::webhook_options::AT_ONCE_MAX;
use crate::store::Store;
use crate::store::dispatches::{Lane, LeasedDispatch};
use crate::worker::{Bounds, Worker};

use client::Client;
use company::Company;
use gate::Gates;
use handing::Handing;
use lane::Dispatches;

/// Dispatches leased ahead, for each that is posted, and at most.
const AHEAD: usize = 8;
const AHEAD_MAX: usize = 1024;
/// Dispatches leased by one statement, for each that is posted, and at most.
const BATCH: usize = 2;
const BATCH_MAX: usize = 256;
/// Dispatches of one webhook that wait in memory, for each that it may have at once.
const ENOUGH_EACH: usize = 16;
/// Dispatches that wait in memory, those of webhooks included that can take no more for now.
const WAITING_MAX: usize = 4096;
/// Tests posted at once.
const TRIALS_AT_ONCE: usize = 16;
/// How often there is a look for replays, and for what is to be let go, when nothing is heard of any.
const REPLAYS_LOOK: Duration = Duration::from_secs(5);

/// How hard webhooks are posted to.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Settings {
    /// First attempts posted at once.
    pub fresh_at_once: u16,
    /// Retries posted at once.
    pub retries_at_once: u16,
    /// Of both together, to one webhook that says nothing else.
    pub at_once_each: u16,
    /// Requests a second to one webhook that says nothing else; 0: as many as there are.
    pub per_second_each: u16,
}

impl Default for Settings {
    fn default() -> Self {
        Self { fresh_at_once: 512, retries_at_once: 128, at_once_each: 8, per_second_each: 0 }
    }
}

impl Settings {
    /// What makes no sense, in one line.
    pub fn complaint(&self) -> Option<String> {
        let named = [
            ("fresh_at_once", self.fresh_at_once),
            ("retries_at_once", self.retries_at_once),
            ("at_once_each", self.at_once_each),
        ];
        let zero = named.into_iter().find(|(_, value)| *value == 0);
        let zero = zero.map(|(name, _)| format!("webhooks.{name}: 0 would never post anything"));
        let many = (self.at_once_each > AT_ONCE_MAX)
            .then(|| format!("webhooks.at_once_each: {} is more than {AT_ONCE_MAX}", self.at_once_each));
        zero.or(many)
    }
}

/// What the loop works with.
#[derive(Clone, Debug)]
pub struct Parts {
    /// Where dispatches come from and go to.
    pub store: Store,
    /// The time.
    pub clock: Clock,
    /// Posts.
    pub client: Arc<Client>,
    /// What is counted.
    pub counters: Arc<Counters>,
}

/// What happened since the start.
#[derive(Debug, Default)]
pub struct Counters {
    /// Attempts that a receiver answered with 2xx.
    pub arrived: AtomicU64,
    /// Attempts that failed and will be repeated.
    pub failed: AtomicU64,
    /// Dispatches whose last attempt failed.
    pub exhausted: AtomicU64,
    /// Results that came too late to be written, because the lease was lost.
    pub leases_lost: AtomicU64,
}

/// What tells webhooks, running. Dropping it stops it at once.
#[derive(Debug)]
pub struct Running {
    handing: Handing,
    workers: Vec<Worker>,
    replays: AbortHandle,
}

impl Running {
    /// Stops taking dispatches on and returns when those begun have ended, or after `limit`.
    pub async fn drain(mut self, limit: Duration) {
        self.replays.abort();
        if timeout(limit, self.handing.end()).await.is_err() {
            tracing::warn!("what was handed over last could not be given back; it comes due with its lease's end");
        }
        let drains: tokio::task::JoinSet<()> = self.workers.drain(..).map(|worker| worker.drain(limit)).collect();
        drains.join_all().await;
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.replays.abort();
    }
}

/// Starts posting what is due: the workers of all lanes, and what queues replays.
pub fn start(parts: &Parts, settings: &Settings) -> Running {
    let gates = Gates::new(settings, parts.clock.clone());
    let (handing, handed) = Handing::start(parts.store.clone(), parts.clock.clone());
    let worker = |lane, at_once: u16, handed| {
        let at_once = usize::from(at_once);
        let bounds = Bounds {
            at_once,
            at_once_each: at_once.min(AT_ONCE_MAX.into()),
            enough_each: usize::from(settings.at_once_each) * ENOUGH_EACH,
            waiting: WAITING_MAX,
            ahead: AHEAD_MAX.min(at_once * AHEAD),
            batch: BATCH_MAX.min(at_once * BATCH),
        };
        start_lane(parts, lane, bounds, Some(gates.clone()), handed)
    };
    let workers = vec![
        worker(Lane::Fresh, settings.fresh_at_once, Some(handed)),
        worker(Lane::Retry, settings.retries_at_once, None),
        start_trials(parts),
    ];
    let replays = tokio::spawn(replay(parts.store.clone(), parts.clock.clone()));
    Running { handing, workers, replays: replays.abort_handle() }
}

/// Starts posting the tests that people wait for, and nothing else: what the command line does for its own.
pub fn start_trials(parts: &Parts) -> Worker {
    let bounds = Bounds {
        at_once: TRIALS_AT_ONCE,
        at_once_each: TRIALS_AT_ONCE,
        enough_each: TRIALS_AT_ONCE,
        waiting: WAITING_MAX,
        ahead: TRIALS_AT_ONCE,
        batch: TRIALS_AT_ONCE,
    };
    start_lane(parts, Lane::Trial, bounds, None, None)
}

fn start_lane(
    parts: &Parts,
    lane: Lane,
    bounds: Bounds,
    gates: Option<Arc<Gates>>,
    handed: Option<mpsc::UnboundedReceiver<LeasedDispatch>>,
) -> Worker {
    let wake = lane::wake(parts.store.wakes(), lane).clone();
    let dispatches = Arc::new(Dispatches { parts: parts.clone(), lane, gates, company: Company::default() });
    Worker::start(dispatches, parts.clock.clone(), bounds, wake, handed)
}

/// Queues what replays ask for, and lets go what waits for webhooks that were enabled, bite by bite, for ever.
async fn replay(store: Store, clock: Clock) {
    let mut turn = None;
    loop {
        let now = clock.now();
        let look = now + REPLAYS_LOOK;
        let next = match store.advance_replays(&mut turn).await {
            Ok(next) => next.unwrap_or(look).min(look),
            Err(fault) => {
                tracing::warn!(%fault, "replays do not advance; trying again");
                look
            }
        };
        let next = match store.let_go_more().await {
            Ok(let_go) if let_go.has_more => now,
            Ok(_) => next,
            Err(fault) => {
                tracing::warn!(%fault, "what waits for enabled webhooks is not let go; trying again");
                next
            }
        };
        tokio::select! {
            () = clock.sleep_until(next) => {}
            () = store.wakes().replays.heard() => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn settings_that_post_nothing_make_no_sense() {
        assert_eq!(Settings::default().complaint(), None);
        let idle = Settings { at_once_each: 0, ..Settings::default() };
        assert_eq!(idle.complaint().as_deref(), Some("webhooks.at_once_each: 0 would never post anything"));
        let many = Settings { at_once_each: 65, ..Settings::default() };
        assert_eq!(many.complaint().as_deref(), Some("webhooks.at_once_each: 65 is more than 64"));
    }
}
