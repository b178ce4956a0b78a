//! OUTWARD: events. Lease, build, sign, post, judge, settle.
//!
//! Two lanes, each a worker of its own: a first attempt never waits behind retries, and no receiver gets more than a
//! few requests at once, so that a slow or dead one holds up nobody else. Body and signature are made anew for each
//! attempt; the event's id stays. A dispatch arrives at least once: a receiver whose 200 was lost hears it again.
//!
//! | file | is |
//! |---|---|
//! | `formats` | pure: an event as body and headers of each format |
//! | `signature` | pure: what proves that it was us |
//! | `client` | one request to a stranger, guarded and capped |
//!
//! Started by `app`.

pub mod client;
pub mod formats;
pub mod signature;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use serde::{Deserialize, Serialize};

use crate::clock::{Clock, Stopwatch};
use crate::model::delivery::Lease;
use crate::model::id::WebhookId;
use crate::model::time::Timestamp;
use crate::model::webhook::{self, DispatchId, DispatchNext, DispatchState, Post};
use crate::store::dispatches::{DispatchSettlement, Lane, LeasedDispatch};
use crate::store::{Store, StoreError};
use crate::worker::{Again, Bounds, Done, Full, Later, Lines, Looked, Queue, Worker};

use client::{Answer, Client};
use formats::Attempt;

/// Dispatches leased ahead, for each that is posted.
const AHEAD: usize = 16;
/// Dispatches leased by one statement, for each that is posted. So many fewer than [`AHEAD`] that one receiver's rows
/// cannot fill the lane.
const BATCH: usize = 2;

/// How hard webhooks are posted to.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Settings {
    /// First attempts posted at once.
    pub fresh_at_once: u16,
    /// Retries posted at once.
    pub retries_at_once: u16,
    /// Of either, to one webhook.
    pub at_once_each: u16,
}

impl Default for Settings {
    fn default() -> Self {
        Self { fresh_at_once: 64, retries_at_once: 32, at_once_each: 8 }
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
        zero.map(|(name, _)| format!("webhooks.{name}: 0 would never post anything"))
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

/// Starts posting what is due: the workers of both lanes.
pub fn start(parts: &Parts, settings: &Settings) -> Vec<Worker> {
    let worker = |lane, at_once: u16| {
        let at_once = usize::from(at_once);
        let at_once_each = settings.at_once_each.into();
        let bounds = Bounds { at_once, at_once_each, ahead: at_once * AHEAD, batch: at_once * BATCH };
        let wakes = parts.store.wakes();
        let wake = match lane {
            Lane::Fresh => wakes.dispatches.clone(),
            Lane::Retry => wakes.retries.clone(),
        };
        Worker::start(Arc::new(Dispatch { parts: parts.clone(), lane }), parts.clock.clone(), bounds, wake, None)
    };
    vec![worker(Lane::Fresh, settings.fresh_at_once), worker(Lane::Retry, settings.retries_at_once)]
}

/// The dispatches of one lane, and how they are posted.
#[derive(Debug)]
struct Dispatch {
    parts: Parts,
    lane: Lane,
}

impl Queue for Dispatch {
    type Id = DispatchId;
    type Leased = LeasedDispatch;
    type Party = WebhookId;
    type Owner = ();
    type Turn = ();
    type Fault = StoreError;

    const NAME: &'static str = "dispatch";

    fn held(leased: &LeasedDispatch) -> (DispatchId, Lease) {
        (leased.id, leased.lease.clone())
    }

    fn party(&self, leased: &LeasedDispatch) -> WebhookId {
        leased.id.webhook
    }

    fn owner(_: &LeasedDispatch) {}

    fn turn(&self, _: &WebhookId, _: &LeasedDispatch) -> Result<(), Full> {
        Ok(())
    }

    async fn lease(&self, limit: u32, lines: Lines<WebhookId>) -> Result<Looked<LeasedDispatch>, StoreError> {
        let rows = self.parts.store.lease_dispatches(self.lane, limit, lines.crowded().collect()).await?;
        let has_more = rows.len() >= limit as usize;
        Ok(Looked { rows, has_more })
    }

    async fn next_due(&self) -> Result<Option<Timestamp>, StoreError> {
        self.parts.store.next_dispatch_due(self.lane).await
    }

    async fn renew(&self, held: Vec<(DispatchId, Lease)>) -> Result<Vec<DispatchId>, StoreError> {
        self.parts.store.renew_dispatches(held).await
    }

    async fn release(&self, unused: Vec<(DispatchId, Lease)>) -> Result<(), StoreError> {
        self.parts.store.release_dispatches(unused).await
    }

    async fn put_off(&self, _: Vec<(DispatchId, Lease, Later)>) -> Result<(), StoreError> {
        // Every row is admitted.
        Ok(())
    }

    async fn perform(&self, leased: LeasedDispatch, (): ()) -> Done<LeasedDispatch> {
        let stopwatch = Stopwatch::start();
        let attempt = Attempt { at: self.parts.clock.now(), number: leased.lease.attempt };
        let request = formats::build(&leased.webhook, &leased.event, &leased.message, attempt);
        let answer = self.parts.client.post(&leased.webhook.url, &request).await;
        let at = self.parts.clock.now();
        let next = match (&answer.post, leased.event.is_test) {
            // Somebody waits to see whether it works; nobody wants to hear of a test three days later.
            (Post::Failed { .. } | Post::Gone, true) => DispatchNext::Ends(DispatchState::Exhausted),
            (post, _) => webhook::after(leased.id, leased.lease.attempt, post, at),
        };
        self.tell(&leased, &answer, next, stopwatch);
        let error = match &answer.post {
            Post::Arrived { .. } => None,
            Post::Failed { error, .. } => Some((*error).to_owned()),
            Post::Gone => Some("gone".to_owned()),
        };
        let settlement =
            DispatchSettlement { id: leased.id, lease: leased.lease, next, at, status: answer.status, error };
        Done::Settled(self.settle(settlement).await)
    }
}

impl Dispatch {
    fn tell(&self, leased: &LeasedDispatch, answer: &Answer, next: DispatchNext, stopwatch: Stopwatch) {
        let counters = &self.parts.counters;
        let (counter, outcome) = match (&answer.post, next) {
            (Post::Arrived { .. }, _) => (&counters.arrived, "arrived"),
            (_, DispatchNext::Ends(_)) => (&counters.exhausted, "exhausted"),
            (_, DispatchNext::Waits(_) | DispatchNext::WaitsSwitchedOff(_)) => (&counters.failed, "failed"),
        };
        counter.fetch_add(1, Ordering::Relaxed);
        tracing::info!(
            webhook.id = %leased.id.webhook,
            event.id = %leased.id.event,
            event.kind = leased.event.kind.as_str(),
            attempt = leased.lease.attempt,
            outcome,
            status = answer.status,
            error = answer.fault.as_ref().map(tracing::field::display),
            peer = answer.peer.map(tracing::field::display),
            duration_ms = u64::try_from(stopwatch.elapsed().as_millis()).unwrap_or(u64::MAX),
            "webhook attempted"
        );
    }

    /// Writes what came of an attempt. A store that is away is waited for: the receiver has heard, and need not hear it
    /// again.
    async fn settle(&self, settlement: DispatchSettlement) -> Option<Timestamp> {
        let mut again = Again::default();
        let written = loop {
            match self.parts.store.settle_dispatch(settlement.clone()).await {
                Err(StoreError::Unavailable(_)) => again.wait().await,
                written => break written,
            }
        };
        match written {
            Ok(()) => self.due_again(settlement.next),
            Err(StoreError::LostLease) => {
                self.parts.counters.leases_lost.fetch_add(1, Ordering::Relaxed);
                tracing::warn!(dispatch.id = %settlement.id, "the lease was lost; the result is dropped");
                None
            }
            Err(fault) => {
                tracing::error!(dispatch.id = %settlement.id, %fault, "the result of an attempt cannot be written");
                None
            }
        }
    }

    fn due_again(&self, next: DispatchNext) -> Option<Timestamp> {
        match (next, self.lane) {
            (DispatchNext::Waits(until), Lane::Retry) => Some(until),
            (DispatchNext::Waits(_), Lane::Fresh) => {
                // It is the other lane's from now on.
                self.parts.store.wakes().retries.ring();
                None
            }
            (DispatchNext::Ends(_) | DispatchNext::WaitsSwitchedOff(_), _) => None,
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
    }
}
