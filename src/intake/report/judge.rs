//! What a report means for the delivery that it is about. Pure.
//!
//! | the report tells | and | then |
//! |---|---|---|
//! | bounce | names our address, or nobody else's | the delivery bounces, whatever it was before |
//! | bounce | names one other address, and nothing speaks against it | the same, but it takes several to suppress |
//! | delayed | the delivery had left us | events tell of it |
//! | success, relayed | | the delivery has arrived; mostly that was known, but to who waits for this report |
//! | complaint | abuse, or the wish to leave | an event tells of it, and the address is left alone; of each that it is about |
//! | complaint | `not-spam` | nothing |
//! | complaint | anything in it is sealed for another copy | nothing, and it waits for a person |
//! | anything else | | nothing, and it waits for a person |

use super::link::{Link, Proof, Returned, Unlinked, is_same};
use crate::mail::arf::Wish;
use crate::mail::report::{Action, Complaint, Kind, Recipient, Report};
use crate::model::bearing::{Bearing, Naming, Policy};
use crate::model::delivery::{self, Delivery, State};
use crate::model::event::{Detail, Event, EventKind};
use crate::model::id::{DeliveryId, EventId};
use crate::model::reason::{Cause, Reason};
use crate::model::suppression::Suppression;
use crate::model::time::Timestamp;
use crate::model::token;
use crate::store::reports::{Effect, ReportChange, ReportSettlement};

/// What a report is judged to be, and what that changes.
#[derive(Clone, Debug, Default)]
pub(super) struct Judged {
    /// Whose delivery it is about.
    pub(super) delivery: Option<DeliveryId>,
    /// Whom it names for it.
    pub(super) about: Option<Recipient>,
    /// What it changes.
    pub(super) settlement: ReportSettlement,
    /// The same in a word.
    pub(super) effect: Effect,
    /// The same in a sentence.
    pub(super) outcome: String,
    /// Whether a person should look at it.
    pub(super) is_open: bool,
}

/// Judges a report that was linked to a delivery, or to none.
pub(super) fn judge(
    report: &Report,
    link: Result<Link, Unlinked>,
    policy: &Policy,
    now: Timestamp,
    draw: impl Fn() -> EventId,
) -> Judged {
    let first = report.recipients.first().cloned();
    let link = match link {
        Ok(link) => link,
        Err(why) => return Judged { about: first, ..Judged::open(unlinked(why)) },
    };
    let about = about(&link, report).map(|(recipient, naming)| (recipient.clone(), naming));
    let named = about.as_ref().map(|(recipient, _)| recipient.clone()).or(first);
    let case = Case { delivery: &link.delivery, policy, now, draw: &draw };
    let judged = match (report.kind, about) {
        _ if report.cut => Judged::open("it is longer, or has more recipients, than a program should judge"),
        (Kind::Complaint, _) if link.message == Returned::OtherCopy => Judged::open("it is about another message"),
        (Kind::Complaint, _) => case.complained(report.complaint.as_ref(), &link),
        (Kind::Autoreply, _) => Judged::open("an automatic reply"),
        (Kind::Ordinary, _) => Judged::open("a mail from a person or program"),
        _ if link.proof != Proof::Sealed => Judged::open("it returns nothing that proves it was sent by us"),
        (_, None) if matches!(link.message, Returned::OtherCopy | Returned::OtherId) => {
            Judged::open("it is about another message")
        }
        (_, None) => Judged::open("it is about another recipient"),
        (_, Some((recipient, naming))) => case.reported(&recipient, naming),
    };
    Judged { delivery: Some(link.delivery.id), about: named, ..judged }
}

/// What it means for a delivery that its report did not come in time.
pub(super) fn unreported(delivery: &Delivery, now: Timestamp, event: EventId) -> ReportSettlement {
    let change = ReportChange { id: delivery.id, from: delivery.state, to: State::Delivered, reason: None, at: now };
    ReportSettlement {
        change: Some(change),
        events: vec![delivery.tells(event, EventKind::Delivered, delivery::unreported(), now)],
        bearings: vec![Policy::success(delivery, now)],
        letter: None,
    }
}

fn unlinked(why: Unlinked) -> &'static str {
    match why {
        Unlinked::Nothing => "it names no delivery of ours",
        Unlinked::Several => "it may be about several deliveries, and nothing tells which",
        Unlinked::NotVouched => "it gives an address alone, and who handed it in is none of reports.complaint_sources",
    }
}

/// What the report says of this delivery's recipient. The seal has said whose it is; a report about one recipient is
/// about them, under whatever name, since aliases and forwards change it, unless it tells of another message.
fn about<'a>(link: &Link, report: &'a Report) -> Option<(&'a Recipient, Naming)> {
    let named = report.recipients.iter().find(|recipient| is_same(&link.delivery.address, &recipient.address));
    match (link.message, named, report.recipients.as_slice()) {
        (Returned::OtherCopy, _, _) => None,
        (_, Some(named), _) => Some((named, Naming::Ours)),
        (Returned::Same | Returned::Untold, None, [only]) => Some((only, Naming::Another)),
        (Returned::OtherId, None, _) | (_, None, _) => None,
    }
}

/// A delivery to which something is reported.
struct Case<'a, D> {
    delivery: &'a Delivery,
    policy: &'a Policy,
    now: Timestamp,
    draw: &'a D,
}

impl<D: Fn() -> EventId> Case<'_, D> {
    fn reported(&self, recipient: &Recipient, naming: Naming) -> Judged {
        let age = self.now.since(self.delivery.id.message.drawn_at());
        match recipient.action {
            _ if age > token::BOUNCE_AGE_MAX => Judged::open("it comes too late to be about a delivery"),
            Action::Failed => self.bounced(&recipient.cause, naming),
            Action::Delayed => self.delayed(&recipient.cause),
            Action::Delivered | Action::Expanded => self.delivered(&recipient.cause, true),
            Action::Relayed => self.delivered(&recipient.cause, false),
        }
    }

    fn bounced(&self, cause: &Cause, naming: Naming) -> Judged {
        let Some((state, kind, detail)) = delivery::after_report(self.delivery.state, cause) else {
            return Judged::noted("the delivery had ended already");
        };
        let settlement = ReportSettlement {
            change: Some(self.change(state, Some(cause.reason))),
            events: vec![self.told(kind, detail)],
            bearings: vec![self.policy.bearing(self.delivery, cause, naming, self.now)],
            letter: None,
        };
        let outcome = format!("bounced: {} ({})", cause.reason, cause.class.as_str());
        Judged { effect: Effect::Bounced, settlement, ..Judged::noted(&outcome) }
    }

    /// Who has the mail now cannot pass it on. While it is still ours, our own attempts tell that.
    fn delayed(&self, cause: &Cause) -> Judged {
        if !matches!(self.delivery.state, State::HandedOver | State::Delivered) {
            return Judged::noted("a delay of a delivery that is not under way there");
        }
        let detail = Detail::Deferred { cause: cause.clone(), next_at: None };
        // Who reports a delay has waited for hours.
        let events = [EventKind::Deferred, EventKind::Delayed].map(|kind| self.told(kind, detail.clone())).into();
        let settlement = ReportSettlement { events, ..ReportSettlement::default() };
        Judged { effect: Effect::Delayed, settlement, ..Judged::noted(&format!("delayed: {}", cause.reason)) }
    }

    /// Where an attempt broke off after the final dot, this is how we learn that it need not be repeated.
    fn delivered(&self, cause: &Cause, has_arrived: bool) -> Judged {
        let change = match self.delivery.state {
            State::Queued | State::HandedOver => Some(self.change(State::Delivered, None)),
            State::Delivered => None,
            State::Bounced | State::Expired | State::Suppressed | State::Cancelled => {
                return Judged::noted("the delivery had ended already");
            }
        };
        let detail = Detail::Delivered { reply: cause.diagnostic.clone(), next_hop_tells: false, has_arrived };
        let settlement = ReportSettlement {
            change,
            events: vec![self.told(EventKind::Delivered, detail)],
            bearings: vec![Policy::success(self.delivery, self.now)],
            letter: None,
        };
        Judged { effect: Effect::Delivered, settlement, ..Judged::noted("delivered") }
    }

    fn complained(&self, complaint: Option<&Complaint>, link: &Link) -> Judged {
        let Some(complaint) = complaint else { return Judged::open("a complaint without a word") };
        let reason = match complaint.wish() {
            Wish::Nothing => return Judged::noted("it says that the mail was no spam"),
            Wish::Attention => {
                return Judged::open(&format!("a report of {}, which is no wish to leave", complaint.feedback_type));
            }
            _ if link.proof == Proof::Weak => return Judged::open("everybody who got the mail could have written it"),
            Wish::Peace => Reason::Complaint,
            Wish::Leave => Reason::Unsubscribed,
        };
        let detail = Detail::Complained {
            feedback_type: complaint.feedback_type.clone(),
            reported_by: complaint.reported_by.clone().unwrap_or_default(),
            return_path: complaint.return_path.clone().unwrap_or_default(),
            source_ip: complaint.source_ip.clone().unwrap_or_default(),
        };
        let tells = |one: &Delivery| one.tells((self.draw)(), EventKind::Complained, detail.clone(), self.now);
        let leaves = |one| Bearing::Suppressed(Suppression::for_good(one, reason, self.now));
        let settlement = ReportSettlement {
            change: None,
            events: link.deliveries().map(tells).collect(),
            bearings: link.deliveries().map(leaves).collect(),
            letter: None,
        };
        let others: Vec<String> = link.others.iter().map(|other| other.address.to_string()).collect();
        let also = if others.is_empty() { String::new() } else { format!("; so did {}", others.join(", ")) };
        Judged { effect: Effect::Complained, settlement, ..Judged::noted(&format!("complained: {reason}{also}")) }
    }

    fn change(&self, to: State, reason: Option<Reason>) -> ReportChange {
        ReportChange { id: self.delivery.id, from: self.delivery.state, to, reason, at: self.now }
    }

    fn told(&self, kind: EventKind, detail: Detail) -> Event {
        self.delivery.tells((self.draw)(), kind, detail, self.now)
    }
}

impl Judged {
    /// Something that a person should look at.
    fn open(outcome: &str) -> Self {
        Self { is_open: true, ..Self::noted(outcome) }
    }

    /// Something that is understood.
    fn noted(outcome: &str) -> Self {
        Self { outcome: outcome.to_owned(), ..Self::default() }
    }
}
