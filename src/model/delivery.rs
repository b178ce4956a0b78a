//! One recipient's copy of a message and its fate.
//!
//! | state | due_at | lease | left by |
//! |---|---|---|---|
//! | queued | when to try next | none | lease |
//! | queued | when the lease ends | held | settle, or the lease's end |
//! | handed_over | when its report is waited for no more | none | a report, or that time |
//! | delivered | none | none | a later report, to bounced |
//! | bounced, expired, suppressed, cancelled | none | none | final |
//!
//! "Deferred" is *queued with attempts > 0*, and an event. The whole table is [`after`] and [`after_report`].

use std::time::Duration;

use super::address::Address;
use super::event::{Detail, Event, EventKind, relay};
use super::id::{AgentId, DeliveryId, EventId, TenantId};
use super::reason::{Cause, Class, Reason};
use super::retry;
use super::time::Timestamp;

/// Where a delivery stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum State {
    /// Waiting for an attempt, or in one.
    Queued,
    /// Taken by the next hop, whose report that it arrived is waited for.
    HandedOver,
    /// Taken by the next hop, or reported to have arrived.
    Delivered,
    /// Refused by the other side, by reply or report.
    Bounced,
    /// Given up after its lifetime.
    Expired,
    /// Never attempted: the address is suppressed.
    Suppressed,
    /// Never attempted, or no more: a person or client cancelled it, or it could not be rendered.
    Cancelled,
}

impl State {
    /// Every state.
    pub const ALL: [State; 7] = [
        State::Queued,
        State::HandedOver,
        State::Delivered,
        State::Bounced,
        State::Expired,
        State::Suppressed,
        State::Cancelled,
    ];

    /// Its word, as stored and printed.
    pub const fn as_str(self) -> &'static str {
        match self {
            State::Queued => "queued",
            State::HandedOver => "handed_over",
            State::Delivered => "delivered",
            State::Bounced => "bounced",
            State::Expired => "expired",
            State::Suppressed => "suppressed",
            State::Cancelled => "cancelled",
        }
    }

    /// The state with this word.
    pub fn from_word(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|state| state.as_str() == word)
    }
}

/// One recipient's copy of a message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Delivery {
    /// Which message, which recipient.
    pub id: DeliveryId,
    /// Whose.
    pub tenant: TenantId,
    /// Whose, within the tenant.
    pub agent: AgentId,
    /// To whom.
    pub address: Address,
    /// Where it stands.
    pub state: State,
    /// Attempts begun. Counted by the lease, before the network is touched.
    pub attempts: u32,
    /// When the message was accepted.
    pub accepted_at: Timestamp,
    /// After this time it is given up.
    pub expires_at: Timestamp,
}

impl Delivery {
    /// An event of this delivery, of interest to every webhook that wants its kind.
    pub fn tells(&self, id: EventId, kind: EventKind, detail: Detail, at: Timestamp) -> Event {
        Event {
            id,
            delivery: self.id,
            tenant: self.tenant,
            agent: self.agent,
            kind,
            ordinal: if kind == EventKind::Deferred { self.attempts } else { 0 },
            at,
            recipient: self.address.to_string(),
            detail,
            relay: relay::ALL,
            relay_at: at,
            is_test: false,
        }
    }

    /// The event that tells that somebody cancelled it.
    pub fn cancelled(&self, id: EventId, now: Timestamp) -> Event {
        let cause = Cause {
            reason: Reason::Cancelled,
            class: Class::Undetermined,
            code: None,
            status: None,
            diagnostic: "the delivery was cancelled".into(),
            rule: "cancelled".into(),
        };
        self.tells(id, EventKind::Failed, Detail::Failed { cause }, now)
    }
}

/// The right to work on a delivery or dispatch until a given time. Every settlement names it; a result under a lease
/// that is no longer held changes nothing.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Lease {
    /// Which run of which node holds it.
    pub holder: String,
    /// The attempt that it was given for. A row leased again has a higher one, which fences off the older.
    pub attempt: u32,
}

/// What an attempt came to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// The next hop took responsibility.
    Delivered {
        /// Its reply, escaped, at most 1,024 bytes.
        reply: String,
        /// It was told what the submitter wants to be told, and tells it (RFC 3461 §5.2): a success is not ours to tell.
        next_hop_tells: bool,
    },
    /// The next hop took responsibility, and was asked to report that the mail arrived: that is what counts.
    HandedOver {
        /// Its reply, escaped, at most 1,024 bytes.
        reply: String,
        /// How long its report is waited for.
        wait: Duration,
    },
    /// Not now.
    Deferred {
        /// Why.
        cause: Cause,
        /// The other side's own wish for the wait, when its text named one.
        wait: Option<Duration>,
    },
    /// Never.
    Refused {
        /// Why.
        cause: Cause,
    },
    /// Nothing was tried, for a cause on our side that will not go away.
    Unsendable {
        /// Why.
        cause: Cause,
    },
    /// Nothing was tried: since it was accepted, the address was put on a suppression list.
    Suppressed {
        /// Why.
        cause: Cause,
    },
}

/// What becomes of a delivery.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Next {
    /// It ends in this state.
    Ends(State),
    /// It waits until this time.
    Waits(Timestamp),
    /// It has left, and its report is waited for until this time.
    Awaits(Timestamp),
}

/// What an attempt's outcome makes of a queued delivery, and what there is to tell about it, if anything.
///
/// `delivery.attempts` counts the attempt that just ended; `schedule` has the waits, the last of which repeats.
/// A wish of the other side can only lengthen a wait, and never past four hours. A delivery whose next try would
/// come after its expiry ends now: `expired`, told as a soft bounce.
pub fn after(
    delivery: &Delivery,
    outcome: &Outcome,
    now: Timestamp,
    schedule: &[Duration],
) -> (Next, Option<(EventKind, Detail)>) {
    let (next, kind, detail) = match outcome {
        Outcome::Delivered { reply, next_hop_tells } => {
            let detail =
                Detail::Delivered { reply: reply.clone(), next_hop_tells: *next_hop_tells, has_arrived: false };
            (Next::Ends(State::Delivered), EventKind::Delivered, detail)
        }
        Outcome::HandedOver { wait, .. } => return (Next::Awaits(now + *wait), None),
        Outcome::Refused { cause } => bounced(cause),
        Outcome::Unsendable { cause } => {
            (Next::Ends(State::Cancelled), EventKind::Failed, Detail::Failed { cause: cause.clone() })
        }
        Outcome::Suppressed { cause } => {
            (Next::Ends(State::Suppressed), EventKind::Failed, Detail::Failed { cause: cause.clone() })
        }
        Outcome::Deferred { cause, wait } => deferred(delivery, cause, *wait, now, schedule),
    };
    (next, Some((kind, detail)))
}

/// What is told of a delivery whose next hop took it and reported nothing for as long as that was waited for: its reply
/// counts then. A success is still the next hop's to tell.
pub fn unreported() -> Detail {
    let reply = "the next hop took it, and sent no report within its time".to_owned();
    Detail::Delivered { reply, next_hop_tells: true, has_arrived: false }
}

fn bounced(cause: &Cause) -> (Next, EventKind, Detail) {
    let kind = match cause.class {
        Class::Hard => EventKind::HardBounced,
        Class::Soft | Class::Undetermined => EventKind::SoftBounced,
    };
    (Next::Ends(State::Bounced), kind, Detail::Bounced { cause: cause.clone() })
}

/// A peer's wish is obeyed up to here.
const WISH_MAX: Duration = Duration::from_secs(4 * 3600);

fn deferred(
    delivery: &Delivery,
    cause: &Cause,
    wish: Option<Duration>,
    now: Timestamp,
    schedule: &[Duration],
) -> (Next, EventKind, Detail) {
    let seed = retry::seed(delivery.id.message.as_bytes()) ^ u64::from(delivery.id.recipient);
    let own = retry::wait(schedule, true, delivery.attempts.max(1), seed).unwrap_or(WISH_MAX);
    let next_at = now + own.max(wish.unwrap_or_default().min(WISH_MAX));
    if next_at > delivery.expires_at {
        let cause = Cause { class: Class::Soft, ..given_up(cause) };
        return (Next::Ends(State::Expired), EventKind::SoftBounced, Detail::Bounced { cause });
    }
    (Next::Waits(next_at), EventKind::Deferred, Detail::Deferred { cause: cause.clone(), next_at: Some(next_at) })
}

/// When whoever waits for a mail is told that it is late, counted from its first due time.
pub const LATE: Duration = Duration::from_secs(4 * 3600);

/// Whether a delivery that waits until `next_at` is late, when it was to go out at `first_due`.
pub fn is_late(first_due: Timestamp, next_at: Timestamp) -> bool {
    next_at.since(first_due) >= LATE
}

/// The last cause stays visible in the diagnostic; the reason says that we gave up, unless the mailbox was full,
/// which is worth more to know.
fn given_up(cause: &Cause) -> Cause {
    match cause.reason {
        Reason::MailboxFull | Reason::UserUnknown => cause.clone(),
        _ => Cause { reason: Reason::Expired, ..cause.clone() },
    }
}

/// What a final report makes of a delivery in `state`; `None` when it changes nothing: the delivery has already
/// ended otherwise, or the same was known.
pub fn after_report(state: State, cause: &Cause) -> Option<(State, EventKind, Detail)> {
    match state {
        State::Queued | State::HandedOver | State::Delivered => {
            let (_, kind, detail) = bounced(cause);
            Some((State::Bounced, kind, detail))
        }
        State::Bounced | State::Expired | State::Suppressed | State::Cancelled => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::id::MessageId;

    fn delivery(attempts: u32) -> Delivery {
        Delivery {
            id: DeliveryId { message: MessageId::from_bytes([7; 16]), recipient: 0 },
            tenant: TenantId::from_bytes([1; 16]),
            agent: AgentId::from_bytes([2; 16]),
            address: "reader@example.com".parse().unwrap(),
            state: State::Queued,
            attempts,
            accepted_at: Timestamp::from_millis(0),
            expires_at: Timestamp::from_millis(0) + retry::MAIL_LIFETIME,
        }
    }

    fn cause(reason: Reason, class: Class) -> Cause {
        Cause { reason, class, code: Some(450), status: None, diagnostic: "450 later".into(), rule: "test".into() }
    }

    #[test]
    fn every_outcome_of_an_attempt() {
        let now = Timestamp::from_millis(1000);
        let check = |outcome, state, kind| {
            let (next, told) = after(&delivery(1), &outcome, now, retry::MAIL);
            assert_eq!((next, told.map(|(kind, _)| kind)), (Next::Ends(state), Some(kind)));
        };
        let handed_over = Outcome::HandedOver { reply: "250 ok".into(), wait: LATE };
        assert_eq!(after(&delivery(1), &handed_over, now, retry::MAIL), (Next::Awaits(now + LATE), None));
        check(
            Outcome::Delivered { reply: "250 ok".into(), next_hop_tells: false },
            State::Delivered,
            EventKind::Delivered,
        );
        check(
            Outcome::Refused { cause: cause(Reason::UserUnknown, Class::Hard) },
            State::Bounced,
            EventKind::HardBounced,
        );
        check(Outcome::Refused { cause: cause(Reason::Spam, Class::Soft) }, State::Bounced, EventKind::SoftBounced);
        check(
            Outcome::Unsendable { cause: cause(Reason::CannotRender, Class::Soft) },
            State::Cancelled,
            EventKind::Failed,
        );
        check(
            Outcome::Suppressed { cause: cause(Reason::Suppressed, Class::Undetermined) },
            State::Suppressed,
            EventKind::Failed,
        );
    }

    #[test]
    fn a_wish_lengthens_a_wait_and_never_shortens_it() {
        let now = Timestamp::from_millis(0);
        let at = |wait| match after(
            &delivery(1),
            &Outcome::Deferred { cause: cause(Reason::Greylisted, Class::Soft), wait },
            now,
            retry::MAIL,
        ) {
            (Next::Waits(at), Some((EventKind::Deferred, _))) => at.since(now),
            other => panic!("{other:?}"),
        };
        assert!(at(None) >= retry::MAIL[0]);
        assert_eq!(at(Some(Duration::from_secs(1))), at(None));
        assert_eq!(at(Some(Duration::from_secs(600))), Duration::from_secs(600));
        assert_eq!(at(Some(Duration::from_secs(999_999))), WISH_MAX);
    }

    #[test]
    fn any_run_of_deferrals_ends_before_the_lifetime_does() {
        let mut delivery = delivery(0);
        let mut now = delivery.accepted_at;
        let outcome = Outcome::Deferred { cause: cause(Reason::NetworkError, Class::Soft), wait: None };
        for _ in 0..100 {
            delivery.attempts += 1;
            match after(&delivery, &outcome, now, retry::MAIL) {
                (Next::Waits(at), _) => now = at,
                (Next::Ends(State::Expired), Some((EventKind::SoftBounced, Detail::Bounced { cause }))) => {
                    assert_eq!(cause.reason, Reason::Expired);
                    assert!(now <= delivery.expires_at);
                    return;
                }
                other => panic!("{other:?}"),
            }
        }
        panic!("never ended");
    }

    #[test]
    fn a_report_moves_only_what_has_not_failed_yet() {
        let cause = cause(Reason::UserUnknown, Class::Hard);
        for state in State::ALL {
            let moved = after_report(state, &cause).is_some();
            assert_eq!(moved, matches!(state, State::Queued | State::HandedOver | State::Delivered), "{state:?}");
        }
    }
}
