//! The dispatches of one lane, and how they are posted: alone, or together with what else is due to their webhook.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tokio::task::JoinSet;

use super::client::{Answer, Destination, Fault};
use super::company::{Company, Kept};
use super::formats::{self, Attempt};
use super::gate::{Gates, Pass};
use super::{Counters, Parts};
use crate::egress::Identity;
use crate::model::delivery::Lease;
use crate::model::id::{EventId, WebhookId};
use crate::model::queue::Mark;
use crate::model::time::Timestamp;
use crate::model::webhook::{self, DispatchId, DispatchNext, DispatchState, Post, Webhook};
use crate::model::webhook_attempt::{self, ARRIVED_BODY_KEPT_BYTES_MAX, HEADERS_KEPT_BYTES_MAX, Phases, Trace};
use crate::model::webhook_options::BATCH_EVENTS_MAX;
use crate::store::db::Wakes;
use crate::store::dispatches::{DispatchSettlement, Lane, LeasedDispatch};
use crate::store::webhook_health::REFUSED;
use crate::store::{Store, StoreError};
use crate::wake::Wake;
use crate::worker::{Again, Ahead, Done, Full, Later, Lines, Looked, Queue};

/// The bell that rings for a lane.
pub(super) fn wake(wakes: &Wakes, lane: Lane) -> &Wake {
    match lane {
        Lane::Fresh => &wakes.dispatches,
        Lane::Retry => &wakes.retries,
        Lane::Trial => &wakes.trials,
    }
}

/// The dispatches of one lane.
#[derive(Debug)]
pub(super) struct Dispatches {
    pub(super) parts: Parts,
    pub(super) lane: Lane,
    /// `None`: nobody is held back.
    pub(super) gates: Option<Arc<Gates>>,
    pub(super) company: Company,
}

impl Queue for Dispatches {
    type Id = DispatchId;
    type Leased = LeasedDispatch;
    type Party = WebhookId;
    type Owner = ();
    type Turn = Option<Pass>;
    type Fault = StoreError;

    const NAME: &'static str = "dispatch";

    fn held(leased: &LeasedDispatch) -> (DispatchId, Lease) {
        (leased.id, leased.lease.clone())
    }

    fn ends_at(leased: &LeasedDispatch) -> Timestamp {
        leased.until
    }

    fn party(&self, leased: &LeasedDispatch) -> WebhookId {
        leased.id.webhook
    }

    fn owner(_: &LeasedDispatch) {}

    fn admit(&self, leased: &LeasedDispatch, ahead: Ahead) -> Result<(), Later> {
        // What was looked for is what there is room for; what is handed over may be too much.
        let may = !leased.is_handed || !ahead.is_crowded;
        may.then_some(()).ok_or_else(|| Later { until: self.parts.clock.now(), mark: Mark::None })
    }

    fn turn(&self, _: &WebhookId, next: &LeasedDispatch) -> Result<Option<Pass>, Full> {
        let Some(gates) = &self.gates else { return Ok(None) };
        gates.enter(&next.webhook, self.lane).map(Some)
    }

    async fn freed(&self) -> WebhookId {
        match &self.gates {
            Some(gates) => gates.freed(self.lane).await,
            None => std::future::pending().await,
        }
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
        self.parts.store.renew_dispatches(self.company.with(held)).await
    }

    async fn release(&self, unused: Vec<(DispatchId, Lease)>) -> Result<(), StoreError> {
        self.parts.store.release_dispatches(unused).await
    }

    async fn put_off(&self, rows: Vec<(DispatchId, Lease, Later)>) -> Result<(), StoreError> {
        self.release(rows.into_iter().map(|(id, lease, _)| (id, lease)).collect()).await
    }

    async fn perform(&self, leased: LeasedDispatch, turn: Option<Pass>) -> Done<LeasedDispatch> {
        let webhook = leased.webhook.clone();
        let is_awaited = leased.is_awaited;
        let (together, _kept) = self.with_company(leased).await;
        let settlements = self.post(&webhook, together).await;
        let is_back = is_awaited && settlements.iter().any(|settlement| settlement.error.is_none());
        // The next request may begin while this one's end is written.
        drop(turn);
        let parts = &self.parts;
        let settling = settlements.into_iter().map(|each| settle(parts.store.clone(), parts.counters.clone(), each));
        let next = settling.collect::<JoinSet<_>>().join_all().await.into_iter().flatten().min();
        if is_back || webhook.options.in_order {
            // Others waited for this one, whatever lane they stand in.
            self.parts.store.wakes().dispatches.ring();
            self.parts.store.wakes().retries.ring();
        }
        Done::Settled(self.due_again(next))
    }
}

impl Dispatches {
    /// A dispatch with all that goes together with it, held with it.
    async fn with_company(&self, first: LeasedDispatch) -> (Vec<LeasedDispatch>, Option<Kept<'_>>) {
        if !first.webhook.options.batch || self.lane == Lane::Trial {
            return (vec![first], None);
        }
        let room = u32::try_from(BATCH_EVENTS_MAX - 1).unwrap_or_default();
        let company = self.parts.store.lease_company(self.lane, first.id.webhook, room).await;
        let company = company.unwrap_or_else(|fault| {
            tracing::warn!(%fault, "an event goes alone");
            Vec::new()
        });
        if company.len() + 1 == BATCH_EVENTS_MAX {
            // There may be more for another request.
            wake(self.parts.store.wakes(), self.lane).ring();
        }
        // Those that are signed with the key of another mail agent go by themselves.
        let (company, others): (Vec<_>, Vec<_>) =
            company.into_iter().partition(|other| other.webhook.secret == first.webhook.secret);
        let kept = self.company.keep(first.id, &company);
        self.give_back(others).await;
        (std::iter::once(first).chain(company).collect(), Some(kept))
    }

    async fn give_back(&self, unused: Vec<LeasedDispatch>) {
        if unused.is_empty() {
            return;
        }
        let unused = unused.into_iter().map(|dispatch| (dispatch.id, dispatch.lease)).collect();
        if let Err(fault) = self.parts.store.release_dispatches(unused).await {
            tracing::warn!(%fault, "leases could not be given back; what they are for comes due with their end");
        }
        wake(self.parts.store.wakes(), self.lane).ring();
    }

    /// Posts these in one request; what is to be written of each.
    async fn post(&self, webhook: &Webhook, mut together: Vec<LeasedDispatch>) -> Vec<DispatchSettlement> {
        let started_at = self.parts.clock.now();
        let Some(first) = together.first() else { return Vec::new() };
        let attempt = Attempt { at: started_at, number: first.lease.attempt };
        let signing = first.webhook.clone();
        let (request, count) = if webhook.options.batch && self.lane != Lane::Trial {
            let events: Vec<_> = together.iter().map(|dispatch| (&dispatch.event, &dispatch.message)).collect();
            formats::build_together(&signing, &events, attempt)
        } else {
            (formats::build(&signing, &first.event, &first.message, attempt), 1)
        };
        self.give_back(together.split_off(count)).await;
        let is_signed = signing.signs(started_at);
        let answer = match is_signed {
            true => {
                let (identity, timeout) = (Identity::from(webhook), webhook.options.timeout());
                let to = Destination { url: &webhook.url, identity, timeout };
                self.parts.client.post(to, &request).await
            }
            false => self.parts.client.kept_back(Fault::Unsigned),
        };
        let at = self.parts.clock.now();
        let content_type = std::iter::once(("Content-Type", request.content_type));
        let headers = request.headers.iter().map(|(name, value)| (name.as_str(), value.as_str()));
        let sent = webhook_attempt::digest(&signing, content_type.chain(headers), &request.body);
        let trace = trace(webhook, &answer, together.len(), sent);
        let ids: Vec<EventId> = together.iter().map(|dispatch| dispatch.id.event).collect();
        let settle = |(place, dispatch): (usize, LeasedDispatch)| {
            let trace = placed(trace.clone(), place, &ids, attempt.number);
            let settlement = settlement(&dispatch, &answer, started_at, at, trace);
            let (outcome, _) = outcome(&settlement);
            tell(&dispatch, &answer, outcome);
            // One request shows one thing, however many events went in it.
            DispatchSettlement { bears: settlement.bears && place == 0, ..settlement }
        };
        let mut settlements: Vec<_> = together.into_iter().enumerate().map(settle).collect();
        if let [first, others @ ..] = settlements.as_mut_slice() {
            let given_up = others.iter().filter(|other| other.is_given_up()).count();
            first.given_up_beside = u32::try_from(given_up).unwrap_or(u32::MAX);
        }
        settlements
    }

    /// When this lane should look again.
    fn due_again(&self, next: Option<Timestamp>) -> Option<Timestamp> {
        match self.lane {
            Lane::Retry => next,
            Lane::Fresh if next.is_some() => {
                // It is the other lane's from now on.
                self.parts.store.wakes().retries.ring();
                None
            }
            Lane::Fresh | Lane::Trial => None,
        }
    }
}

/// What came of an attempt, in a word, and where it is counted.
fn outcome(settlement: &DispatchSettlement) -> (&'static str, fn(&Counters) -> &AtomicU64) {
    match (&settlement.error, settlement.next) {
        (None, _) => ("arrived", |counters| &counters.arrived),
        (Some(_), DispatchNext::Ends(_)) => ("exhausted", |counters| &counters.exhausted),
        (Some(_), DispatchNext::Waits(_) | DispatchNext::WaitsSwitchedOff(_)) => {
            ("failed", |counters| &counters.failed)
        }
    }
}

fn tell(dispatch: &LeasedDispatch, answer: &Answer, outcome: &str) {
    tracing::info!(
        webhook.id = %dispatch.id.webhook,
        event.id = %dispatch.id.event,
        event.kind = dispatch.event.kind.as_str(),
        attempt = dispatch.lease.attempt,
        outcome,
        status = answer.status,
        error = answer.fault.as_ref().map(tracing::field::display),
        peer = answer.peer.map(tracing::field::display),
        duration_ms = u64::try_from(answer.timings.total.as_millis()).unwrap_or(u64::MAX),
        "webhook attempted"
    );
}

fn settlement(
    dispatch: &LeasedDispatch,
    answer: &Answer,
    started_at: Timestamp,
    at: Timestamp,
    trace: Trace,
) -> DispatchSettlement {
    let attempts = dispatch.lease.attempt.saturating_sub(dispatch.attempts_before);
    let next = match (&answer.post, dispatch.event.is_test) {
        // Somebody waits to see whether it works; nobody wants to hear of a test three days later.
        (Post::Failed { .. } | Post::Refused { .. } | Post::Gone, true) => DispatchNext::Ends(DispatchState::Exhausted),
        (post, _) => webhook::after(dispatch.id, attempts, post, at),
    };
    let (error, wish) = match &answer.post {
        Post::Arrived { .. } => (None, None),
        Post::Failed { error, wait, .. } => (Some((*error).to_owned()), *wait),
        Post::Refused { .. } => (Some(REFUSED.to_owned()), None),
        Post::Gone => (Some("gone".to_owned()), None),
    };
    DispatchSettlement {
        id: dispatch.id,
        lease: dispatch.lease.clone(),
        next,
        started_at,
        at,
        status: answer.status,
        error,
        wish,
        trace,
        bears: !dispatch.event.is_test,
        given_up_beside: 0,
    }
}

/// What is kept of an answer.
fn trace(webhook: &Webhook, answer: &Answer, together: usize, sent: String) -> Trace {
    let micros = |span: Duration| u64::try_from(span.as_micros()).unwrap_or(u64::MAX);
    let timings = &answer.timings;
    let kept = match &answer.post {
        Post::Arrived { .. } => ARRIVED_BODY_KEPT_BYTES_MAX,
        Post::Failed { .. } | Post::Refused { .. } | Post::Gone => usize::MAX,
    };
    let body = answer.body_head.get(..kept).unwrap_or(&answer.body_head);
    let mut left = HEADERS_KEPT_BYTES_MAX;
    let headers = answer.headers.iter().filter(|_| !answer.is_hidden).map_while(|(name, value)| {
        let (name, value) = (name.as_str().to_owned(), String::from_utf8_lossy(value.as_bytes()).into_owned());
        left = left.checked_sub(name.len() + value.len())?;
        Some((name, value))
    });
    Trace {
        url: webhook.url.clone(),
        peer: answer.peer.map_or(String::new(), |peer| peer.to_string()),
        is_reused: answer.is_reused,
        tls: answer.tls.clone(),
        is_exception: answer.is_hidden,
        phases: Phases {
            dns: timings.dns.map(micros),
            connect: timings.connect.map(micros),
            tls: timings.tls.map(micros),
            head: timings.head.map(micros),
            total: micros(timings.total),
        },
        why: why(answer),
        headers: headers.collect(),
        // PostgreSQL's text holds no zero bytes.
        body: String::from_utf8_lossy(body).replace('\0', "\u{fffd}"),
        together: u32::try_from(together).ok().filter(|count| *count > 1),
        sent,
        ..Trace::default()
    }
}

/// The trace of one that went with others: the first names them all, and they it, so that the request can be made again.
fn placed(trace: Trace, place: usize, ids: &[EventId], attempt: u32) -> Trace {
    match (place, ids) {
        (0, [_, others @ ..]) => Trace { followed_by: others.to_vec(), ..trace },
        (_, [first, ..]) => Trace { led_by: Some((*first, attempt)), ..trace },
        (_, []) => trace,
    }
}

/// What went wrong, for people.
fn why(answer: &Answer) -> String {
    match (&answer.post, answer.fault) {
        (Post::Gone, _) => "the receiver answered that it wants no more; the webhook is switched off".to_owned(),
        (Post::Refused { .. }, _) => "the receiver answered that it will never take this event".to_owned(),
        (_, Some(super::client::Fault::Status)) => {
            let status = answer.status.unwrap_or_default();
            match answer.redirect_host() {
                Some(host) => {
                    format!("the receiver answered {status}, a redirect to {host}; redirects are not followed")
                }
                None => format!("the receiver answered {status} instead of 2xx"),
            }
        }
        (_, Some(fault)) => fault.to_string(),
        (_, None) => String::new(),
    }
}

/// Writes what came of an attempt; when it comes due again. A store that is away is waited for: the receiver has heard,
/// and need not hear it again.
async fn settle(store: Store, counters: Arc<Counters>, settlement: DispatchSettlement) -> Option<Timestamp> {
    let mut again = Again::default();
    let written = loop {
        match store.settle_dispatch(settlement.clone()).await {
            Err(StoreError::Unavailable(_) | StoreError::Unclear(_)) => again.wait().await,
            written => break written,
        }
    };
    match written {
        Ok(()) => {
            let (_, counter) = outcome(&settlement);
            counter(&counters).fetch_add(1, Ordering::Relaxed);
            match settlement.next {
                DispatchNext::Waits(until) => Some(until),
                DispatchNext::Ends(_) | DispatchNext::WaitsSwitchedOff(_) => None,
            }
        }
        Err(StoreError::LostLease) => {
            counters.leases_lost.fetch_add(1, Ordering::Relaxed);
            tracing::warn!(dispatch.id = %settlement.id, "the lease was lost; the result is dropped");
            None
        }
        Err(fault) => {
            tracing::error!(dispatch.id = %settlement.id, %fault, "the result of an attempt cannot be written");
            None
        }
    }
}
