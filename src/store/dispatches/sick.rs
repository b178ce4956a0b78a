//! The one request that finds out whether the receiver of a sick webhook is back: whose it is.
//!
//! Of a sick webhook the latest due is retried, which is what was tried last, as soon as its wait is over; first attempts
//! wait for it. So a few dispatches go through all their attempts, and show in days that the receiver is gone, instead of
//! each of a million being tried once.

use super::super::db::{Result, Tx};
use super::super::webhook_health;
use super::Lane;
use super::lease::{Line, Look, any, in_order};
use crate::model::id::WebhookId;

/// Whether one that was tried before may be tried again.
macro_rules! may_retry {
    ($order:ident) => {
        concat!(
            "select 1 as one
            from dispatches
            where state = 'queued' and lane = 'retry' and webhook_id = $1 and due_at <= $2 ",
            $order!(),
            " limit 1"
        )
    };
}

impl Look {
    /// Without the sick webhooks whose one request another lane or node has begun meanwhile, or that a retry is owed.
    pub(super) async fn allowed(&self, tx: &mut Tx, lines: Vec<Line>) -> Result<Vec<Line>> {
        let mut sick: Vec<WebhookId> = lines.iter().filter(|line| line.is_sick).map(|line| line.webhook.id).collect();
        if sick.is_empty() {
            return Ok(lines);
        }
        sick.sort_unstable();
        let healths = webhook_health::load(tx, sick.into_iter()).await?;
        let mut allowed = Vec::with_capacity(lines.len());
        for line in lines {
            let is_paused = healths.get(&line.webhook.id).is_some_and(|health| health.is_paused(self.now));
            if line.is_sick && (is_paused || self.lane == Lane::Fresh && self.has_retry(tx, &line).await?) {
                continue;
            }
            allowed.push(line);
        }
        Ok(allowed)
    }

    async fn has_retry(&self, tx: &mut Tx, line: &Line) -> Result<bool> {
        let sql = if line.webhook.options.in_order { may_retry!(in_order) } else { may_retry!(any) };
        Ok(!tx.rows(sql, vec![line.webhook.id.into(), self.now.into()]).await?.is_empty())
    }
}
