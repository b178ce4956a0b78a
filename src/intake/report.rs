//! A report comes home: whose delivery, which verdict, suppress or not.
//!
//! The sealed return path decides whose delivery a report is about, never the report's own text: a forged report
//! cannot bounce a stranger's mail. A report that came elsewhere is linked by the recipient that it names, the Message-ID
//! that it gives and what is sealed in the header that it returns. Only what is sealed is as good as the return path.
//! A Message-ID is known to all recipients of a mail, and is enough for a complaint about a mail that had one and for
//! nothing else; an address is known to anybody, and is enough for a complaint that one of `complaint_sources` handed in,
//! whose word counts for the Message-ID too. Then what the report says is checked against the delivery. What does not
//! fit, or is not understood, changes nothing and stays open until a person has seen it.
//!
//! | file | is |
//! |---|---|
//! | `report` | taking in |
//! | `report/link` | whose delivery |
//! | `report/judge` | what follows for it |
//! | `report/again` | what would follow by the rules of today |

mod again;
mod judge;
mod link;

use std::net::IpAddr;

use bytes::Bytes;

pub use again::{Reached, Replayed, Verdict, Walked};

use super::Intake;
use crate::mail::report::{self, BYTES_MAX, Report};
use crate::mail::reporting::{self, Entry, News};
use crate::model::address::Address;
use crate::model::event::{Event, EventKind};
use crate::model::id::{DeliveryId, EventId, MessageId, ReportId};
use crate::model::message::Letter;
use crate::model::time::Timestamp;
use crate::model::token;
use crate::store::StoreError;
use crate::store::reports::{Effect, KeptReport, ReportSettlement};
use judge::Judged;

/// How often a report is judged anew because its delivery moved meanwhile. A delivery moves a few times in its life.
const JUDGEMENTS_MAX: usize = 8;
/// Waits for reports that are ended in one go.
const WAITS_MAX: u32 = 500;

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

impl ReportTo {
    fn as_str(&self) -> &'static str {
        match self {
            ReportTo::Delivery(_) => "delivery",
            ReportTo::Complaints => "complaints",
            ReportTo::Postmaster => "postmaster",
        }
    }
}

/// Who handed a report in.
#[derive(Clone, Copy, Debug)]
pub struct Origin<'a> {
    /// The envelope sender; `None` is `<>`.
    pub sender: Option<&'a Address>,
    /// The client's address.
    pub client: IpAddr,
}

/// Why mail to an address does not come in here without authentication.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NotHere {
    /// It is of our domain for reports, and is none that we sealed.
    Unknown,
    /// It is somebody else's.
    Elsewhere,
}

/// The store cannot keep a report now; the sender should try again.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the report cannot be kept now")]
pub struct Unavailable;

impl Intake {
    /// What mail to this address is, when it is for us at all: a return path that we sealed and that is not too old,
    /// the complaint address, or the postmaster.
    ///
    /// # Errors
    /// [`NotHere`]: to be refused before any data.
    pub fn report_recipient(&self, address: &Address) -> Result<ReportTo, NotHere> {
        let settings = &self.0.settings;
        if address.domain() != settings.return_path_domain {
            return Err(NotHere::Elsewhere);
        }
        let local = address.local_part();
        let now = self.0.clock.now();
        if local.eq_ignore_ascii_case("postmaster") {
            Ok(ReportTo::Postmaster)
        } else if local.eq_ignore_ascii_case(&settings.complaint_local_part) {
            Ok(ReportTo::Complaints)
        } else {
            let sealed = token::open_return_path(&self.0.ring, local, now, token::COMPLAINT_AGE_MAX);
            sealed.map(ReportTo::Delivery).ok_or(NotHere::Unknown)
        }
    }

    /// Takes a report in; what it changed, and the report itself, are durable when this returns. The same report
    /// again changes nothing. Of one that is longer than is read, the beginning is kept.
    ///
    /// # Errors
    /// [`Unavailable`]: nothing was kept.
    pub async fn report(&self, to: &ReportTo, from: Origin<'_>, content: Bytes) -> Result<(), Unavailable> {
        let report = report::read(&content, &self.0.rules);
        let sender = from.sender.map(Address::to_string).unwrap_or_default();
        let is_vouched = self.0.settings.complaint_sources.iter().any(|source| source.has(from.client));
        for _ in 0..JUDGEMENTS_MAX {
            let now = self.0.clock.now();
            let judged = self.judge(to, &report, is_vouched, now).await.map_err(|fault| unavailable(&fault))?;
            let kept = KeptReport {
                sender: sender.clone(),
                is_vouched,
                content: content.get(..=BYTES_MAX).unwrap_or(&content).to_vec(),
                ..self.kept(to, &report, &judged, now)
            };
            tracing::info!(
                report.kind = report.kind.as_str(),
                delivery.id = judged.delivery.map(tracing::field::display),
                rule = kept.cause.as_ref().map(|cause| cause.rule.as_str()),
                outcome = judged.outcome,
                "report received"
            );
            let letter = self.letter(&judged.settlement).await.map_err(|fault| unavailable(&fault))?;
            match self.0.store.settle_report(kept, ReportSettlement { letter, ..judged.settlement }).await {
                // The delivery's state has moved since it was read.
                Err(StoreError::LostLease) => {}
                Err(fault) => return Err(unavailable(&fault)),
                Ok(()) => return Ok(()),
            }
        }
        Err(Unavailable)
    }

    /// Ends the wait for reports that did not come in time: the reply of who took the mail counts then. How many there
    /// were, at most a few hundred at a time.
    ///
    /// # Errors
    /// As the store.
    pub async fn end_waits(&self) -> Result<usize, StoreError> {
        let overdue = self.0.store.unreported(WAITS_MAX).await?;
        for delivery in &overdue {
            let now = self.0.clock.now();
            let settlement = judge::unreported(delivery, now, EventId::from_uuid(self.0.ids.uuid(now)));
            match self.0.store.settle_unreported(settlement).await {
                // Its report has just come, or another node was quicker.
                Ok(()) | Err(StoreError::LostLease) => {}
                Err(fault) => return Err(fault),
            }
        }
        Ok(overdue.len())
    }

    async fn judge(
        &self,
        to: &ReportTo,
        report: &Report,
        is_vouched: bool,
        now: Timestamp,
    ) -> Result<Judged, StoreError> {
        let link = self.link(to, report, is_vouched, now).await?;
        let draw = || EventId::from_uuid(self.0.ids.uuid(now));
        Ok(judge::judge(report, link, &self.0.settings.suppression, now, draw))
    }

    /// The mail that tells the submitter of what a report says, where that was asked for. A success was told before only
    /// if a report told it: that the next hop took the mail is less.
    async fn letter(&self, settlement: &ReportSettlement) -> Result<Option<Letter>, StoreError> {
        let is_news = |event: &&Event| {
            use EventKind::{Delayed, Delivered, HardBounced, SoftBounced};
            matches!(event.kind, Delivered | Delayed | HardBounced | SoftBounced)
        };
        let Some(event) = settlement.events.iter().find(is_news) else { return Ok(None) };
        let Some(message) = self.0.store.message(event.delivery.message).await? else { return Ok(None) };
        if reporting::occasion(&message, event).is_none() {
            return Ok(None);
        }
        let is_success = event.kind == EventKind::Delivered;
        if is_success {
            let before = self.0.store.reports_about(event.delivery).await?;
            if before.iter().any(|report| report.effect == Effect::Delivered) {
                return Ok(None);
            }
        }
        let content = self.0.store.content(message.id).await.ok().flatten();
        let entry = Entry { event, remote: "", expires_at: None };
        let news = News { message: &message, entries: &[entry], content: content.as_deref() };
        let id = MessageId::from_uuid(self.0.ids.uuid(event.at));
        let letter = reporting::letter(&news, &self.0.settings.hostname, id);
        Ok(letter.map(|letter| if is_success { Letter { event: None, ..letter } } else { letter }))
    }

    /// A report as it is kept, without sender and content.
    fn kept(&self, to: &ReportTo, report: &Report, judged: &Judged, now: Timestamp) -> KeptReport {
        let about = judged.about.clone();
        KeptReport {
            id: ReportId::from_uuid(self.0.ids.uuid(now)),
            delivery: judged.delivery,
            came_to: to.as_str().to_owned(),
            kind: report.kind.as_str().to_owned(),
            received_at: now,
            sender: String::new(),
            is_vouched: false,
            about: about.as_ref().map(|about| about.address.clone()).unwrap_or_default(),
            cause: about.map(|about| about.cause),
            effect: judged.effect,
            outcome: judged.outcome.clone(),
            is_open: judged.is_open,
            content: Vec::new(),
        }
    }
}

fn unavailable(fault: &StoreError) -> Unavailable {
    tracing::error!(%fault, "a report could not be kept");
    Unavailable
}
