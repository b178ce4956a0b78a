//! Events told again: one, or many by a filter, a bite at a time. Owns the `replays` table.
//!
//! A bite is one short transaction: it looks at the next events in the order of their ids, queues those that the filter
//! takes, and moves on. Any node may take it; two never take the same. How fast is said by the replay, so that what is
//! old does not crowd out what happens now. A webhook has a few at one time, and tenants take turns, so that nobody's crowd
//! out another's.

use std::time::Duration;

use super::db::{Result, Store, Tx};
use super::events;
use super::value::{Row, Value, json};
use super::webhooks;
use crate::model::event::Event;
use crate::model::id::{EventId, ReplayId, TenantId, WebhookId};
use crate::model::message::Facts;
use crate::model::replay::{Fate, Replay, ReplayState};
use crate::model::seal::MasterKey;
use crate::model::time::Timestamp;
use crate::model::webhook::{DispatchId, DispatchState, Webhook};

/// Events looked at in one transaction.
const BITE: u32 = 500;
/// Replays of one webhook that run at one time.
pub const RUNNING_MAX: u32 = 5;
/// How often a replay queues what it may queue a second.
const SECOND: Duration = Duration::from_secs(1);
/// How much later than what it tells an event may have got its id.
const LATE_MAX: Duration = Duration::from_secs(3600);

macro_rules! select_replays {
    ($($rest:literal)*) => {
        concat!(
            "select id, webhook_id, tenant_id, filter, per_second, state, cursor, seen, queued, created_at, ended_at
            from replays ",
            $($rest),*
        )
    };
}

impl Store {
    /// Tells an event to a webhook again, now: it is queued anew with all its attempts, or, when it is waiting, due at
    /// once. The event keeps its id. Whether there is such an event of this tenant.
    ///
    /// # Errors
    /// `Unavailable`, `Corrupt`.
    pub async fn replay_dispatch(&self, tenant: TenantId, id: DispatchId) -> Result<bool> {
        let Some((event, _)) = self.event(tenant, id.event).await? else { return Ok(false) };
        let now = self.now();
        self.transaction(move |tx| Box::pin(async move { owe(tx, id.webhook, &[&event], now).await })).await?;
        self.wakes().retries.ring();
        self.wakes().trials.ring();
        Ok(true)
    }

    /// Begins to tell events again, unless [`RUNNING_MAX`] of the webhook's replays run; whether it did.
    ///
    /// # Errors
    /// `Conflict` when the id is taken; `Unavailable`.
    pub async fn add_replay(&self, replay: &Replay) -> Result<bool> {
        let row: Vec<Value> = vec![
            replay.id.into(),
            replay.webhook.into(),
            replay.tenant.into(),
            json(&replay.filter).into(),
            replay.per_second.into(),
            replay.created_at.into(),
            EventId::first_at(replay.filter.from).into(),
            RUNNING_MAX.into(),
        ];
        let webhook = replay.webhook;
        let added = self.transaction(move |tx| Box::pin(async move { add(tx, webhook, row).await })).await?;
        self.wakes().replays.ring();
        Ok(added)
    }

    /// Ends a replay that is running; whether one was.
    ///
    /// # Errors
    /// `Unavailable`.
    pub async fn cancel_replay(&self, webhook: WebhookId, id: ReplayId) -> Result<bool> {
        const SQL: &str = "
            update replays
            set state = 'cancelled', due_at = null, ended_at = $1
            where webhook_id = $2 and id = $3 and state = 'running'";
        Ok(self.run(SQL, vec![self.now().into(), webhook.into(), id.into()]).await? > 0)
    }

    /// A webhook's replay.
    ///
    /// # Errors
    /// `Unavailable`, `Corrupt`.
    pub async fn replay(&self, webhook: WebhookId, id: ReplayId) -> Result<Option<Replay>> {
        let sql = select_replays!("where webhook_id = $1 and id = $2");
        self.row(sql, vec![webhook.into(), id.into()]).await?.as_ref().map(read).transpose()
    }

    /// A webhook's replays before `before`, newest first, at most `limit`.
    ///
    /// # Errors
    /// `Unavailable`, `Corrupt`.
    pub async fn replays(&self, webhook: WebhookId, before: Option<ReplayId>, limit: u32) -> Result<Vec<Replay>> {
        let sql = select_replays!("where webhook_id = $1 and id < $2 order by id desc limit $3");
        let before = before.map_or(vec![0xff; 17], |id| id.as_bytes().to_vec());
        self.rows(sql, vec![webhook.into(), before.into(), limit.into()]).await?.iter().map(read).collect()
    }

    /// Takes one bite of a replay that is due, if one is: of the tenant that comes after `turn`, which becomes that
    /// tenant, the one that has waited longest. When the next is due, if any is running.
    ///
    /// # Errors
    /// `Unavailable`, `Corrupt`.
    pub async fn advance_replays(&self, turn: &mut Option<TenantId>) -> Result<Option<Timestamp>> {
        let (now, master, last) = (self.now(), self.0.master.clone(), *turn);
        let (queued, next);
        (*turn, queued, next) =
            self.transaction(move |tx| Box::pin(async move { advance(tx, now, last, &master).await })).await?;
        if queued > 0 {
            self.wakes().retries.ring();
        }
        Ok(next)
    }
}

/// Whether there was room for one more.
async fn add(tx: &mut Tx, webhook: WebhookId, row: Vec<Value>) -> Result<bool> {
    const LOCK: &str = "select id from webhooks where id = $1 for no key update";
    const SQL: &str = "
        insert into replays (id, webhook_id, tenant_id, filter, per_second, state, due_at, cursor, seen, queued,
            created_at)
        select $1, $2, $3, $4, $5, 'running', $6, $7, 0, 0, $6
        where (select count(*) from replays where webhook_id = $2 and state = 'running') < $8";
    if tx.is_shared() {
        // Two at one time are counted one by one.
        tx.row(LOCK, vec![webhook.into()]).await?;
    }
    Ok(tx.run(SQL, row).await? > 0)
}

macro_rules! due {
    ($tail:literal) => {
        select_replays!(
            "where state = 'running' and due_at <= $1
            order by case when tenant_id > $2 then 0 else 1 end, tenant_id, due_at
            limit 1"
            $tail
        )
    };
}

/// Of which tenant a bite was taken, how many were queued, and when the next bite is due.
async fn advance(
    tx: &mut Tx,
    now: Timestamp,
    last: Option<TenantId>,
    master: &MasterKey,
) -> Result<(Option<TenantId>, u64, Option<Timestamp>)> {
    let due = if tx.is_shared() { due!(" for update skip locked") } else { due!("") };
    let after = last.map_or_else(Vec::new, |last| last.as_bytes().to_vec());
    let (mut turn, mut queued) = (last, 0);
    if let Some(row) = tx.row(due, vec![now.into(), after.into()]).await? {
        let replay = read(&row)?;
        turn = Some(replay.tenant);
        queued = bite(tx, &replay, row.bytes("cursor")?, now, master).await?;
    }
    let next = tx.row("select min(due_at) as due_at from replays where state = 'running'", vec![]).await?;
    Ok((turn, queued, next.map_or(Ok(None), |row| row.maybe_time("due_at"))?))
}

async fn bite(tx: &mut Tx, replay: &Replay, cursor: Vec<u8>, now: Timestamp, master: &MasterKey) -> Result<u64> {
    const EVENTS: &str = "
        select events.id as event_id, events.message_id, recipient, events.tenant_id, events.agent_id, kind, ordinal, at,
            address, detail, relay, relay_at, is_test, state, facts
        from events
        left join dispatches on dispatches.event_id = events.id and dispatches.webhook_id = $1
        left join messages on messages.id = events.message_id
        where events.tenant_id = $2 and events.id > $3 and events.id < $4
        order by events.id
        limit $5";
    const MOVE: &str = "
        update replays
        set cursor = $1, seen = seen + $2, queued = queued + $3, due_at = $4, state = $5, ended_at = $6
        where id = $7";
    let Some(webhook) = webhooks::find(tx, replay.webhook, master).await? else { return Ok(0) };
    let end = EventId::first_at(replay.filter.to + LATE_MAX);
    let values = vec![replay.webhook.into(), replay.tenant.into(), cursor.clone().into(), end.into(), BITE.into()];
    let rows = tx.rows(EVENTS, values).await?;
    let quota = usize::from(replay.per_second);
    let (mut taken, mut seen, mut last) = (Vec::new(), 0u64, cursor);
    for row in &rows {
        if taken.len() == quota {
            break;
        }
        let event = events::read(row)?;
        last = event.id.as_bytes().to_vec();
        seen += 1;
        if is_taken(replay, &webhook, &event, row)? {
            taken.push(event);
        }
    }
    owe(tx, replay.webhook, &taken.iter().collect::<Vec<_>>(), now).await?;
    let queued = u64::try_from(taken.len()).unwrap_or(u64::MAX);
    let is_done = rows.len() < BITE as usize && seen == u64::try_from(rows.len()).unwrap_or(u64::MAX);
    let due_at = if taken.len() == quota { now + SECOND } else { now };
    let state = if is_done { ReplayState::Done } else { ReplayState::Running };
    let moved: Vec<Value> = vec![
        last.into(),
        seen.into(),
        queued.into(),
        (!is_done).then_some(due_at).into(),
        state.as_str().into(),
        is_done.then_some(now).into(),
        replay.id.into(),
    ];
    tx.run(MOVE, moved).await?;
    Ok(queued)
}

fn is_taken(replay: &Replay, webhook: &Webhook, event: &Event, row: &Row) -> Result<bool> {
    let state = row.maybe_text("state")?;
    let fate = Fate::of(state.as_deref().and_then(DispatchState::from_word));
    let wants_tags = replay.filter.tag.is_some() || !webhook.tags.is_empty();
    let facts = if wants_tags { row.maybe_text("facts")? } else { None };
    let tags = facts.and_then(|facts| serde_json::from_str::<Facts>(&facts).ok()).unwrap_or_default().tags;
    Ok(replay.filter.takes(webhook, event, fate, &tags))
}

/// Owes these events to a webhook (again), due now, with all their attempts, in the lane that they were in: a test stays a
/// test. One that is being tried is left alone.
async fn owe(tx: &mut Tx, webhook: WebhookId, events: &[&Event], now: Timestamp) -> Result<()> {
    const HEAD: &str = "
        insert into dispatches (event_id, webhook_id, state, lane, due_at, attempts, created_at)
        values";
    const TAIL: &str = "
        on conflict (event_id, webhook_id) do update
        set state = 'queued', due_at = excluded.due_at, settled_at = null,
            attempts_before = dispatches.attempts
        where dispatches.state <> 'queued' or dispatches.lease is null";
    let rows = events.iter().map(|event| -> Vec<Value> {
        vec![event.id.into(), webhook.into(), "queued".into(), "retry".into(), now.into(), 0u32.into(), event.at.into()]
    });
    tx.many(HEAD, TAIL, rows.collect()).await.map(drop)
}

fn read(row: &Row) -> Result<Replay> {
    let cursor = EventId::from_bytes(row.id("cursor")?);
    Ok(Replay {
        id: ReplayId::from_bytes(row.id("id")?),
        webhook: WebhookId::from_bytes(row.id("webhook_id")?),
        tenant: TenantId::from_bytes(row.id("tenant_id")?),
        filter: row.json("filter")?,
        per_second: row.small("per_second")?,
        state: row.word("state", ReplayState::from_word)?,
        reached: cursor.drawn_at(),
        seen: row.small("seen")?,
        queued: row.small("queued")?,
        created_at: row.time("created_at")?,
        ended_at: row.maybe_time("ended_at")?,
    })
}
