//! What an attempt came to is written: state, attempt, event, and what it means for the address, in one commit.

use std::sync::atomic::Ordering;
use std::time::Duration;

use super::attempt::Tried;
use super::{Deliver, Parts, judge};
use crate::model::bearing::Bearing;
use crate::model::delivery::{Next, Outcome, is_late};
use crate::model::event::{Event, EventKind};
use crate::model::id::EventId;
use crate::model::time::Timestamp;
use crate::store::StoreError;
use crate::store::deliveries::{Attempt, Leased, Settlement};
use crate::worker::Again;

impl Deliver {
    /// Writes what came of an attempt. A store that is away is waited for: the mail has left, and must not leave again.
    pub(super) async fn settle(&self, settlement: Settlement) -> Option<Timestamp> {
        let mut again = Again::default();
        let written = loop {
            match self.parts.store.settle_delivery(settlement.clone()).await {
                Err(StoreError::Unavailable(_) | StoreError::Unclear(_)) => again.wait().await,
                written => break written,
            }
        };
        match written {
            Ok(()) => match settlement.next {
                Next::Waits(until) => Some(until),
                Next::Ends(_) | Next::Awaits(_) => None,
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

/// The event that tells that a delivery which waits will be late. Told once: the second of its kind is left out.
fn lateness(parts: &Parts, leased: &Leased, next: &Next, told: Option<&Event>) -> Option<Event> {
    let (Next::Waits(next_at), Some(told)) = (next, told) else { return None };
    let first_due = leased.message.facts.send_at.unwrap_or(leased.delivery.accepted_at);
    let id = EventId::from_uuid(parts.ids.uuid(told.at));
    is_late(first_due, *next_at).then(|| leased.delivery.tells(id, EventKind::Delayed, told.detail.clone(), told.at))
}

/// What is written of an attempt.
pub(super) fn settled(
    parts: &Parts,
    schedule: &[Duration],
    leased: Leased,
    tried: Tried,
    started_at: Timestamp,
) -> Settlement {
    let now = parts.clock.now();
    let event = EventId::from_uuid(parts.ids.uuid(now));
    let policy = &parts.suppression;
    let consequence = judge::consequence(&leased.delivery, &tried.outcome, policy, now, event, schedule);
    let late = lateness(parts, &leased, &consequence.next, consequence.event.as_ref());
    let cause = judge::cause(&tried.outcome);
    let diagnostic = match &tried.outcome {
        Outcome::Delivered { reply, .. } | Outcome::HandedOver { reply, .. } => reply.clone(),
        Outcome::Deferred { cause, .. }
        | Outcome::Refused { cause }
        | Outcome::Unsendable { cause }
        | Outcome::Suppressed { cause } => cause.diagnostic.clone(),
    };
    let attempt = Attempt {
        started_at,
        ended_at: now,
        route: tried.route,
        peer: tried.peer,
        tls: tried.tls,
        outcome: judge::outcome_word(&tried.outcome).to_owned(),
        code: tried.code,
        diagnostic,
        rule: cause.map(|cause| cause.rule.clone()).unwrap_or_default(),
        dialogue: tried.dialogue,
    };
    let settlement = Settlement {
        id: leased.delivery.id,
        lease: leased.lease,
        attempt,
        next: consequence.next,
        reason: consequence.reason,
        events: consequence.event.into_iter().chain(late).collect(),
        bearing: consequence.bearing,
        letter: None,
    };
    match leased.message.facts.is_report {
        // A report of ours is nobody's mail: its fate is told to nobody, and counts for nothing.
        true => Settlement { events: Vec::new(), bearing: Bearing::Nothing, ..settlement },
        false => settlement,
    }
}
