//! History read again by the rules of today: kept reports, and refusals in SMTP dialogues.
//!
//! What is understood now and was not takes its full effect, with events. What was told to webhooks stays told and stays
//! the delivery's state; but its reason is put right, and so is the suppression list: an address that should not have
//! been suppressed is let go, one that should have been is left alone from now on, for what is left of its time.

use std::fmt;
use std::str::FromStr;

use super::judge::{self, Judged};
use super::link::{Link, Returned};
use super::{Intake, ReportTo};
use crate::mail::reply::Stage;
use crate::mail::report;
use crate::model::bearing::{Bearing, Naming};
use crate::model::delivery::{Delivery, State};
use crate::model::id::{BadId, DeliveryId, EventId, MessageId, ReportId};
use crate::model::reason::{Cause, Class};
use crate::model::time::Timestamp;
use crate::store::StoreError;
use crate::store::refusals::Refusal;
use crate::store::reports::{Effect, KeptReport, Rejudged, ReportFilter, ReportSettlement};

/// A verdict, for people to compare.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Verdict {
    /// The kind of the report; `refusal` for a reply in a dialogue.
    pub kind: String,
    /// Why.
    pub cause: Option<Cause>,
    /// What followed.
    pub outcome: String,
}

impl Verdict {
    fn of(report: &KeptReport) -> Self {
        Self { kind: report.kind.clone(), cause: report.cause.clone(), outcome: report.outcome.clone() }
    }

    /// What decides over the delivery and its address.
    fn essence(&self) -> (&str, Option<(&str, Class)>) {
        (&self.kind, self.cause.as_ref().map(|cause| (cause.reason.as_str(), cause.class)))
    }
}

/// A verdict that is another one today.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Replayed {
    /// Over which delivery.
    pub delivery: Option<DeliveryId>,
    /// As it was.
    pub before: Verdict,
    /// As it is.
    pub after: Verdict,
}

/// How far a walk through history has come: first through the reports, then through the refusals.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reached {
    /// This report was the last.
    Report(ReportId),
    /// This delivery's refusal was the last; none of the reports is left.
    Refusal(DeliveryId),
}

impl fmt::Display for Reached {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Reached::Report(id) => id.fmt(out),
            Reached::Refusal(id) => id.fmt(out),
        }
    }
}

impl FromStr for Reached {
    type Err = BadId;

    fn from_str(text: &str) -> Result<Self, BadId> {
        text.parse().map(Reached::Report).or_else(|_| text.parse().map(Reached::Refusal))
    }
}

/// A piece of history, judged again.
#[derive(Debug, Default)]
pub struct Walked {
    /// Reports that were read.
    pub reports: u32,
    /// Refusals that were read.
    pub refusals: u32,
    /// Of both, those with another verdict, by the id of the report or the delivery.
    pub changed: Vec<(String, Replayed)>,
    /// Reports whose delivery moved just then; they are as they were.
    pub moving: Vec<ReportId>,
    /// Where to go on; `None` at the end.
    pub next: Option<Reached>,
}

impl Intake {
    /// Judges reports and refusals since a time again, at most `limit`, from where the last piece ended. With `apply`,
    /// puts right what follows.
    ///
    /// # Errors
    /// As the store.
    pub async fn walk_again(
        &self,
        since: Timestamp,
        after: Option<Reached>,
        limit: u32,
        apply: bool,
    ) -> Result<Walked, StoreError> {
        match after.unwrap_or(Reached::Report(ReportId::first_at(since))) {
            Reached::Report(after) => {
                let walked = self.walk_reports(after, limit, apply).await?;
                let refusals = Reached::Refusal(DeliveryId { message: MessageId::first_at(since), recipient: 0 });
                Ok(Walked { next: walked.next.or(Some(refusals)), ..walked })
            }
            Reached::Refusal(after) => self.walk_refusals(after, limit, apply).await,
        }
    }

    async fn walk_reports(&self, after: ReportId, limit: u32, apply: bool) -> Result<Walked, StoreError> {
        let filter = ReportFilter { after: Some(after), ..ReportFilter::default() };
        let page = self.0.store.reports(&filter, limit).await?;
        let mut walked = Walked { next: page.last().map(|last| Reached::Report(last.id)), ..Walked::default() };
        for report in page {
            walked.reports += 1;
            match self.replay_report(report.id, apply).await {
                Ok(None) => {}
                Ok(Some(replayed)) => walked.changed.push((report.id.to_string(), replayed)),
                Err(StoreError::LostLease) => walked.moving.push(report.id),
                Err(fault) => return Err(fault),
            }
        }
        Ok(walked)
    }

    async fn walk_refusals(&self, after: DeliveryId, limit: u32, apply: bool) -> Result<Walked, StoreError> {
        let page = self.0.store.refusals(after, limit).await?;
        let mut walked =
            Walked { next: page.last().map(|last| Reached::Refusal(last.delivery.id)), ..Walked::default() };
        for refusal in page {
            walked.refusals += 1;
            if let Some(replayed) = self.replay_refusal(&refusal, apply).await? {
                walked.changed.push((refusal.delivery.id.to_string(), replayed));
            }
        }
        Ok(walked)
    }

    /// Reads a kept report again; `None` when the verdict is what it was. With `apply`, puts right what follows from it.
    ///
    /// # Errors
    /// As the store; `LostLease` when the delivery moved meanwhile.
    pub async fn replay_report(&self, id: ReportId, apply: bool) -> Result<Option<Replayed>, StoreError> {
        let Some(kept) = self.0.store.report(id).await? else { return Ok(None) };
        let to = match (kept.came_to.as_str(), kept.delivery) {
            ("complaints", _) => ReportTo::Complaints,
            ("postmaster", _) | (_, None) => ReportTo::Postmaster,
            (_, Some(delivery)) => ReportTo::Delivery(delivery),
        };
        let report = report::read(&kept.content, &self.0.rules);
        let mut link = self.link(&to, &report, kept.is_vouched, kept.received_at).await?;
        if let (Ok(link), Some(id)) = (&mut link, kept.delivery.filter(|_| kept.is_vouched))
            && link.message == Returned::Untold
            && let Some(then) = self.0.store.delivery(id).await?
        {
            // It gave an address alone, and what was the latest delivery to it is so no more.
            link.delivery = then;
        }
        let linked: Vec<Delivery> = link.iter().flat_map(Link::deliveries).cloned().collect();
        let was_settled = matches!(kept.effect, Effect::Bounced | Effect::Complained);
        if let Some(link) = link.as_mut().ok().filter(|link| was_settled && link.delivery.state == State::Bounced) {
            // As it stood before this very report.
            link.delivery.state = State::Delivered;
        }
        let now = if was_settled { kept.received_at } else { self.0.clock.now() };
        let draw = || EventId::from_uuid(self.0.ids.uuid(now));
        let judged = judge::judge(&report, link, &self.0.settings.suppression, now, draw);
        let fresh = self.kept(&to, &report, &judged, kept.received_at);
        let is_open = judged.is_open && (kept.is_open || was_settled);
        let fresh = KeptReport { id, sender: kept.sender.clone(), is_vouched: kept.is_vouched, is_open, ..fresh };
        let (before, after) = (Verdict::of(&kept), Verdict::of(&fresh));
        if before.essence() == after.essence() && kept.effect == judged.effect {
            return Ok(None);
        }
        let replayed = Replayed { delivery: fresh.delivery, before, after };
        if apply {
            let suppresses = judged.settlement.bearings.iter().any(|one| matches!(one, Bearing::Suppressed(_)));
            let lift = if was_settled && !suppresses { linked } else { Vec::new() };
            let settlement = if was_settled { only_bearings(judged) } else { judged.settlement };
            self.0.store.rejudge_report(Rejudged { report: fresh, settlement, lift }).await?;
        }
        Ok(Some(replayed))
    }

    /// Judges a refusal in a dialogue again; `None` when the verdict is what it was. With `apply`, puts right what
    /// follows from it.
    ///
    /// # Errors
    /// As the store.
    pub async fn replay_refusal(&self, refusal: &Refusal, apply: bool) -> Result<Option<Replayed>, StoreError> {
        let judged = |stage| self.0.rules.judge(refusal.code, &refusal.diagnostic, stage);
        // The stage is not kept; it matters to few rules.
        let stages = [Stage::Mail, Stage::Rcpt, Stage::Data];
        let is_own = refusal.rule.starts_with("deliver.");
        if is_own || stages.iter().any(|stage| judged(*stage).rule == refusal.rule) {
            return Ok(None);
        }
        let cause = judged(Stage::Rcpt);
        if cause.reason == refusal.reason {
            return Ok(None);
        }
        let verdict = |cause: Option<Cause>, reason: String| Verdict { kind: "refusal".into(), cause, outcome: reason };
        let before = verdict(None, format!("{} [rule {}]", refusal.reason, refusal.rule));
        let after = verdict(Some(cause.clone()), format!("{} [rule {}]", cause.reason, cause.rule));
        if apply {
            let policy = &self.0.settings.suppression;
            let bearing = policy.bearing(&refusal.delivery, &cause, Naming::Ours, refusal.ended_at);
            self.0.store.rejudge_refusal(refusal.clone(), cause, bearing).await?;
        }
        Ok(Some(Replayed { delivery: Some(refusal.delivery.id), before, after }))
    }
}

/// What was told stays told: only what follows for the addresses is made anew.
fn only_bearings(judged: Judged) -> ReportSettlement {
    ReportSettlement { bearings: judged.settlement.bearings, ..ReportSettlement::default() }
}
