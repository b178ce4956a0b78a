//! Letting go what failures put off: whoever enables a webhook need not wait out the hours between attempts.

use super::super::db::{Result, Store};
use crate::model::id::WebhookId;

/// Dispatches of one transaction.
const BITE: u32 = 500;

macro_rules! hurry {
    ($skip:literal) => {
        concat!(
            "with put_off as (
                select event_id, webhook_id
                from dispatches
                where state = 'queued' and lane = 'retry' and webhook_id = $1 and due_at > $2 and lease is null
                order by due_at
                limit $3 ",
            $skip,
            ")
            update dispatches
            set due_at = $2
            from put_off
            where dispatches.event_id = put_off.event_id and dispatches.webhook_id = put_off.webhook_id"
        )
    };
}

impl Store {
    /// Makes due now what is queued for a webhook and has been tried; how many that are. What is under way, or held
    /// back for another reason than a failure, is left alone.
    ///
    /// # Errors
    /// `Unavailable`; what was made due before stays so.
    pub async fn hurry_dispatches(&self, webhook: WebhookId) -> Result<u64> {
        let sql = if self.is_shared() { hurry!("for update of dispatches skip locked") } else { hurry!("") };
        let (now, mut hurried) = (self.now(), 0);
        loop {
            let values = vec![webhook.into(), now.into(), BITE.into()];
            let bite = self.transaction(move |tx| Box::pin(async move { tx.run(sql, values).await })).await?;
            hurried += bite;
            self.wakes().retries.ring();
            if bite < u64::from(BITE) {
                return Ok(hurried);
            }
        }
    }
}
