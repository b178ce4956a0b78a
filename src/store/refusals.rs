//! Deliveries that a host has refused in the dialogue, to be judged again by the rules of today. See `intake::report`.

use super::db::{Result, Store};
use super::value::Row;
use super::{address_history, deliveries, suppressions};
use crate::model::bearing::Bearing;
use crate::model::delivery::Delivery;
use crate::model::id::DeliveryId;
use crate::model::reason::{Cause, Reason};
use crate::model::time::Timestamp;

/// A delivery that a host has refused in the dialogue.
#[derive(Clone, Debug)]
pub struct Refusal {
    /// The delivery.
    pub delivery: Delivery,
    /// Which attempt ended it.
    pub attempt: u32,
    /// When that ended.
    pub ended_at: Timestamp,
    /// The reply code.
    pub code: Option<u16>,
    /// The reply.
    pub diagnostic: String,
    /// The rule that judged it.
    pub rule: String,
    /// What it made of it.
    pub reason: Reason,
}

impl Store {
    /// Deliveries that were refused in the dialogue, after `after`, in the order of their messages, at most `limit`.
    ///
    /// # Errors
    /// `Unavailable`, `Corrupt`.
    pub async fn refusals(&self, after: DeliveryId, limit: u32) -> Result<Vec<Refusal>> {
        const SQL: &str = "
            select deliveries.message_id, deliveries.recipient, tenant_id, agent_id, address, state,
                deliveries.attempts, accepted_at, expires_at, reason, number, ended_at, code, diagnostic, rule
            from deliveries
            join attempts on attempts.message_id = deliveries.message_id
                and attempts.recipient = deliveries.recipient and attempts.outcome = 'refused'
            where (deliveries.message_id, deliveries.recipient) > ($1, $2) and deliveries.state = 'bounced'
                and deliveries.reason is not null
            order by deliveries.message_id, deliveries.recipient
            limit $3";
        let after = vec![after.message.into(), after.recipient.into(), limit.into()];
        self.rows(SQL, after).await?.iter().map(read_refusal).collect()
    }

    /// Gives a refusal its new cause, and what that means for the address.
    ///
    /// # Errors
    /// `Unavailable`.
    pub async fn rejudge_refusal(&self, refusal: Refusal, cause: Cause, bearing: Bearing) -> Result<()> {
        const REASON: &str = "
            update deliveries
            set reason = $1
            where message_id = $2 and recipient = $3 and state = 'bounced'";
        const RULE: &str = "
            update attempts
            set rule = $1
            where message_id = $2 and recipient = $3 and number = $4";
        self.transaction(move |tx| {
            Box::pin(async move {
                let id = refusal.delivery.id;
                let reason = cause.reason.as_str().into();
                tx.run(REASON, vec![reason, id.message.into(), id.recipient.into()]).await?;
                let rule = cause.rule.as_str().into();
                tx.run(RULE, vec![rule, id.message.into(), id.recipient.into(), refusal.attempt.into()]).await?;
                suppressions::lift(tx, &refusal.delivery, refusal.ended_at).await?;
                address_history::bear(tx, [&bearing]).await
            })
        })
        .await
    }
}

fn read_refusal(row: &Row) -> Result<Refusal> {
    Ok(Refusal {
        delivery: deliveries::read(row)?,
        attempt: row.small("number")?,
        ended_at: row.time("ended_at")?,
        code: row.maybe_int("code")?.and_then(|code| u16::try_from(code).ok()),
        diagnostic: row.text("diagnostic")?,
        rule: row.text("rule")?,
        reason: row.word("reason", |word| word.parse().ok())?,
    })
}
