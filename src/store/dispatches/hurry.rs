//! Letting go what failures put off: whoever enables a webhook need not wait out the hours between attempts.
//!
//! A bite at a time: the first for whoever asks, the others by whoever tells webhooks, after a restart too. From the last
//! due to the first, so that what fails again meanwhile is not let go for ever. Owns the `hurries` table.

use super::super::db::{Result, Store, Tx};
use super::super::value::Value;
use crate::model::id::WebhookId;
use crate::model::time::Timestamp;

/// Dispatches of one transaction.
const BITE: usize = 500;

/// What was let go at once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LetGo {
    /// Dispatches that are due now.
    pub hurried: u64,
    /// Others follow, whoever waits.
    pub has_more: bool,
}

/// What is still to be let go.
struct Hurry {
    webhook: WebhookId,
    /// When it was asked for, and all is due.
    since: Timestamp,
    /// What is due later has been let go.
    below: Timestamp,
}

impl Store {
    /// Makes due now what is queued for a webhook and has been tried: what one transaction holds of it, the rest by and
    /// by. What is under way, or held back for another reason than a failure, is left alone.
    ///
    /// # Errors
    /// `Unavailable`.
    pub async fn let_go_dispatches(&self, webhook: WebhookId) -> Result<LetGo> {
        let all = Hurry { webhook, since: self.now(), below: Timestamp::from_millis(i64::MAX) };
        let let_go = self.transaction(move |tx| Box::pin(async move { take(tx, &all).await })).await?;
        self.tell_let_go(let_go);
        Ok(let_go)
    }

    /// Takes the next bite of what is still to be let go; nothing, where nothing is.
    ///
    /// # Errors
    /// `Unavailable`.
    pub async fn let_go_more(&self) -> Result<LetGo> {
        let let_go = self.transaction(|tx| Box::pin(next(tx))).await?;
        self.tell_let_go(let_go);
        Ok(let_go)
    }

    fn tell_let_go(&self, let_go: LetGo) {
        if let_go.hurried > 0 {
            self.wakes().retries.ring();
        }
        if let_go.has_more {
            self.wakes().replays.ring();
        }
    }
}

async fn next(tx: &mut Tx) -> Result<LetGo> {
    macro_rules! next {
        ($skip:literal) => {
            concat!("select webhook_id, since, below from hurries order by below desc limit 1 ", $skip)
        };
    }
    let sql = if tx.is_shared() { next!("for update skip locked") } else { next!("") };
    let Some(row) = tx.row(sql, vec![]).await? else { return Ok(LetGo { hurried: 0, has_more: false }) };
    let webhook = WebhookId::from_bytes(row.id("webhook_id")?);
    take(tx, &Hurry { webhook, since: row.time("since")?, below: row.time("below")? }).await
}

/// Takes a bite, and remembers what is left.
async fn take(tx: &mut Tx, hurry: &Hurry) -> Result<LetGo> {
    const REST: &str = "
        insert into hurries (webhook_id, since, below)
        select id, $2, $3
        from webhooks
        where id = $1
        on conflict (webhook_id) do update
        set since = excluded.since, below = excluded.below";
    let (hurried, below) = bite(tx, hurry).await?;
    match below {
        Some(below) => tx.run(REST, vec![hurry.webhook.into(), hurry.since.into(), below.into()]).await?,
        None => tx.run("delete from hurries where webhook_id = $1", vec![hurry.webhook.into()]).await?,
    };
    Ok(LetGo { hurried, has_more: below.is_some() })
}

/// How many were let go, and below which time others may wait.
async fn bite(tx: &mut Tx, hurry: &Hurry) -> Result<(u64, Option<Timestamp>)> {
    macro_rules! put_off {
        ($skip:literal) => {
            concat!(
                "select event_id, due_at
                from dispatches
                where state = 'queued' and lane = 'retry' and webhook_id = $1 and due_at > $2 and due_at <= $3
                    and lease is null
                order by due_at desc
                limit $4 ",
                $skip
            )
        };
    }
    const HEAD: &str = "with put_off (event_id, webhook_id, due_at) as (values";
    const TAIL: &str = ")
        update dispatches
        set due_at = put_off.due_at
        from put_off
        where dispatches.event_id = put_off.event_id and dispatches.webhook_id = put_off.webhook_id";
    let sql = if tx.is_shared() { put_off!("for update skip locked") } else { put_off!("") };
    let limit = u32::try_from(BITE).unwrap_or(u32::MAX);
    let (webhook, since) = (hurry.webhook, hurry.since);
    let found = tx.rows(sql, vec![webhook.into(), since.into(), hurry.below.into(), limit.into()]).await?;
    let below = match found.last() {
        Some(last) if found.len() == BITE => Some(last.time("due_at")?),
        _ => None,
    };
    let mut rows: Vec<Vec<Value>> = Vec::with_capacity(found.len());
    for row in &found {
        rows.push(vec![row.id("event_id")?.to_vec().into(), webhook.into(), since.into()]);
    }
    tx.many(HEAD, TAIL, rows).await?;
    Ok((u64::try_from(found.len()).unwrap_or_default(), below))
}
