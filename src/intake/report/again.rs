//! History read again by the rules of today: kept reports, and refusals in SMTP dialogues.
//!
//! What is understood now and was not takes its full effect, with events. What was told to webhooks stays told and stays
//! the delivery's state; but its reason is put right, and so is the suppression list: an address that should not have
//! been suppressed is let go, one that should have been is left alone from now on, for what is left of its time.

use super::judge::{self, Judged};
use super::{Intake, ReportTo};
use crate::mail::reply::Stage;
use crate::mail::report;
use crate::model::bearing::{Bearing, Naming};
use crate::model::delivery::State;
use crate::model::id::{DeliveryId, EventId, ReportId};
use crate::model::reason::{Cause, Class};
use crate::store::StoreError;
use crate::store::refusals::Refusal;
use crate::store::reports::{Effect, KeptReport, Rejudged, ReportSettlement};

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

impl Intake {
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
        let mut link = self.link(&to, &report, kept.received_at).await?;
        let delivery = link.as_ref().map(|link| link.delivery.clone());
        let was_settled = matches!(kept.effect, Effect::Bounced | Effect::Complained);
        if let Some(link) = link.as_mut().filter(|link| was_settled && link.delivery.state == State::Bounced) {
            // As it stood before this very report.
            link.delivery.state = State::Delivered;
        }
        let now = if was_settled { kept.received_at } else { self.0.clock.now() };
        let draw = || EventId::from_uuid(self.0.ids.uuid(now));
        let judged = judge::judge(&report, link, &self.0.settings.suppression, now, draw);
        let fresh = self.kept(&to, &report, &judged, kept.received_at);
        let is_open = judged.is_open && (kept.is_open || was_settled);
        let fresh = KeptReport { id, sender: kept.sender.clone(), is_open, ..fresh };
        let (before, after) = (Verdict::of(&kept), Verdict::of(&fresh));
        if before.essence() == after.essence() && kept.effect == judged.effect {
            return Ok(None);
        }
        let replayed = Replayed { delivery: fresh.delivery, before, after };
        if apply {
            let lift = delivery.filter(|_| was_settled && !matches!(judged.settlement.bearing, Bearing::Suppressed(_)));
            let settlement = if was_settled { only_bearing(judged) } else { judged.settlement };
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

/// What was told stays told: only what follows for the address is made anew.
fn only_bearing(judged: Judged) -> ReportSettlement {
    ReportSettlement { bearing: judged.settlement.bearing, ..ReportSettlement::default() }
}
