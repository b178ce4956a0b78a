//! A report comes home: whose delivery, which verdict, suppress or not.
//!
//! The sealed return path decides whose delivery a report is about, never the report's own text: a forged report
//! cannot bounce a stranger's mail. Complaints may come to one address of ours instead; they are linked by the sealed
//! reference that we put into the header of each copy. Whatever cannot be linked is kept for a person to see and
//! changes nothing.

use bytes::Bytes;

use super::Intake;
use crate::mail::report::{self, Action, Kind, Recipient, Report};
use crate::model::address::Address;
use crate::model::delivery::{self, Delivery};
use crate::model::event::{Detail, Event, EventKind};
use crate::model::id::{DeliveryId, EventId};
use crate::model::reason::{Cause, Reason};
use crate::model::suppression::Suppression;
use crate::model::token;
use crate::store::StoreError;
use crate::store::reports::{KeptReport, ReportChange, ReportSettlement};

/// How often a report is judged anew because its delivery moved meanwhile. A delivery moves a few times in its life.
const JUDGEMENTS_MAX: usize = 8;

/// Where a mail without authentication may come to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ReportTo {
    /// The return path of this delivery.
    Delivery(DeliveryId),
    /// The address for complaints.
    Complaints,
    /// The postmaster (RFC 5321 §4.5.1).
    Postmaster,
}

/// The store cannot keep a report now; the sender should try again.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the report cannot be kept now")]
pub struct Unavailable;

impl Intake {
    /// What mail to this address is, when it is for us at all: a return path that we sealed and that is not too old,
    /// the complaint address, or the postmaster. Anything else is to be refused before any data.
    pub fn report_recipient(&self, address: &Address) -> Option<ReportTo> {
        let settings = &self.0.settings;
        if address.domain() != settings.return_path_domain {
            return None;
        }
        let local = address.local_part();
        let now = self.0.clock.now();
        if local.eq_ignore_ascii_case("postmaster") {
            Some(ReportTo::Postmaster)
        } else if local.eq_ignore_ascii_case(&settings.complaint_local_part) {
            Some(ReportTo::Complaints)
        } else {
            token::open_return_path(&self.0.ring, local, now, token::COMPLAINT_AGE_MAX).map(ReportTo::Delivery)
        }
    }

    /// Takes a report in; what it changed, and the report itself, are durable when this returns. The same report
    /// again changes nothing.
    ///
    /// # Errors
    /// [`Unavailable`]: nothing was kept.
    pub async fn report(&self, to: &ReportTo, from: Option<&Address>, content: Bytes) -> Result<(), Unavailable> {
        let report = report::read(&content);
        let sender = from.map(Address::to_string).unwrap_or_default();
        for _ in 0..JUDGEMENTS_MAX {
            let judged = self.judge(to, &report).await.map_err(|fault| unavailable(&fault))?;
            let kept = KeptReport {
                id: EventId::from_uuid(self.0.ids.uuid(self.0.clock.now())),
                delivery: judged.delivery,
                kind: report.kind.as_str().to_owned(),
                received_at: self.0.clock.now(),
                sender: sender.clone(),
                outcome: judged.outcome.clone(),
                content: content.to_vec(),
            };
            tracing::info!(
                report.kind = report.kind.as_str(),
                delivery.id = judged.delivery.map(tracing::field::display),
                outcome = judged.outcome,
                "report received"
            );
            match self.0.store.settle_report(kept, judged.settlement).await {
                // The delivery's state has moved since it was read.
                Err(StoreError::LostLease) => {}
                Err(fault) => return Err(unavailable(&fault)),
                Ok(()) => return Ok(()),
            }
        }
        Err(Unavailable)
    }

    async fn judge(&self, to: &ReportTo, report: &Report) -> Result<Judged, StoreError> {
        let Some(delivery) = self.about(to, report).await? else {
            return Ok(Judged::unlinked("it names no delivery of ours"));
        };
        let now = self.0.clock.now();
        let age = now.since(delivery.id.message.drawn_at());
        Ok(match report.kind {
            Kind::Bounce if age > token::BOUNCE_AGE_MAX => Judged::noted(&delivery, "too old to bounce anything"),
            Kind::Bounce => self.bounced(&delivery, report),
            Kind::Complaint => self.complained(&delivery, report),
            Kind::Delayed | Kind::Success | Kind::Relayed | Kind::Autoreply | Kind::Ordinary => {
                Judged::noted(&delivery, "it changes nothing")
            }
        })
    }

    /// Whose delivery it is: what the return path says; for the complaint address, what a reference that we sealed says.
    async fn about(&self, to: &ReportTo, report: &Report) -> Result<Option<Delivery>, StoreError> {
        let now = self.0.clock.now();
        let sealed = |text: &String| {
            let local_part = text.split('@').next().unwrap_or(text);
            token::open_return_path(&self.0.ring, local_part, now, token::COMPLAINT_AGE_MAX)
        };
        let id = match to {
            ReportTo::Delivery(id) => Some(*id),
            ReportTo::Complaints => report.references.iter().find_map(sealed),
            ReportTo::Postmaster => None,
        };
        match id {
            Some(id) => self.0.store.delivery(id).await,
            None => Ok(None),
        }
    }

    fn bounced(&self, delivery: &Delivery, report: &Report) -> Judged {
        let Some(cause) = cause_for(delivery, report) else {
            return Judged::noted(delivery, "it is about another recipient");
        };
        let Some((state, kind, detail)) = delivery::after_report(delivery.state, cause) else {
            return Judged::noted(delivery, "the delivery had ended already");
        };
        let now = self.0.clock.now();
        let settlement = ReportSettlement {
            change: Some(ReportChange {
                id: delivery.id,
                from: delivery.state,
                to: state,
                reason: cause.reason,
                at: now,
            }),
            events: vec![self.told_of(delivery, kind, detail)],
            suppression: Suppression::of_bounce(delivery, cause, now),
        };
        Judged { delivery: Some(delivery.id), outcome: format!("bounced: {}", cause.reason), settlement }
    }

    fn complained(&self, delivery: &Delivery, report: &Report) -> Judged {
        let Some(complaint) = report.complaint.as_ref().filter(|complaint| complaint.suppresses()) else {
            return Judged::noted(delivery, "nobody asked to be left alone");
        };
        let reason = if complaint.feedback_type == "opt-out" { Reason::Unsubscribed } else { Reason::Complaint };
        let detail = Detail::Complained {
            feedback_type: complaint.feedback_type.clone(),
            reported_by: complaint.reported_by.clone().unwrap_or_default(),
            return_path: complaint.return_path.clone().unwrap_or_default(),
            source_ip: complaint.source_ip.clone().unwrap_or_default(),
        };
        let settlement = ReportSettlement {
            change: None,
            events: vec![self.told_of(delivery, EventKind::Complained, detail)],
            suppression: Some(Suppression::for_good(delivery, reason, self.0.clock.now())),
        };
        Judged { delivery: Some(delivery.id), outcome: format!("complained: {reason}"), settlement }
    }

    fn told_of(&self, delivery: &Delivery, kind: EventKind, detail: Detail) -> Event {
        let now = self.0.clock.now();
        delivery.tells(EventId::from_uuid(self.0.ids.uuid(now)), kind, detail, now)
    }
}

/// What a report is judged to be, and what that changes.
struct Judged {
    delivery: Option<DeliveryId>,
    outcome: String,
    settlement: ReportSettlement,
}

impl Judged {
    fn unlinked(outcome: &str) -> Self {
        Self { delivery: None, outcome: outcome.to_owned(), settlement: ReportSettlement::default() }
    }

    fn noted(delivery: &Delivery, outcome: &str) -> Self {
        Self { delivery: Some(delivery.id), ..Self::unlinked(outcome) }
    }
}

/// What the report says of this delivery's recipient. The token has said whose it is; a report about one recipient is
/// about them, under whatever name, since aliases and forwards change it.
fn cause_for<'a>(delivery: &Delivery, report: &'a Report) -> Option<&'a Cause> {
    let failed: Vec<&Recipient> = report.recipients.iter().filter(|one| one.action == Action::Failed).collect();
    let folded = delivery.address.folded();
    let named = failed.iter().find(|recipient| recipient.address.to_lowercase() == folded);
    match (named, failed.as_slice()) {
        (Some(named), _) => Some(&named.cause),
        (None, [only]) => Some(&only.cause),
        (None, _) => None,
    }
}

fn unavailable(fault: &StoreError) -> Unavailable {
    tracing::error!(%fault, "a report could not be kept");
    Unavailable
}
