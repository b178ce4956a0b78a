//! Events owed to webhooks: lease, renew, settle, await.
//!
//! Owns the `dispatches` table; its rows are born in `events`. The queue works as that of deliveries does. Two lanes: a
//! first attempt never waits behind retries, so that one dead receiver cannot hold up a healthy one.

use std::collections::hash_map::Entry;
use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use super::db::{Result, Store, Tx};
use super::value::{Row, Value};
use super::writer::Work;
use super::{events, messages, webhooks};
use crate::model::delivery::Lease;
use crate::model::event::Event;
use crate::model::id::{EventId, WebhookId};
use crate::model::message::Message;
use crate::model::retry::LEASE;
use crate::model::secret::Secret;
use crate::model::tenant::AgentSettings;
use crate::model::time::Timestamp;
use crate::model::webhook::{DispatchId, DispatchNext, DispatchState, Format, Webhook};

/// Which dispatches to lease.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Lane {
    /// Those never tried.
    Fresh,
    /// Those tried before.
    Retry,
}

/// A dispatch that this node may work on until its lease ends.
#[derive(Clone, Debug)]
pub struct LeasedDispatch {
    /// Which.
    pub id: DispatchId,
    /// The right to do it; its `attempt` is the number of this attempt.
    pub lease: Lease,
    /// What is owed.
    pub event: Event,
    /// About which message.
    pub message: Message,
    /// To whom.
    pub webhook: Arc<Webhook>,
}

/// What came of an attempt at a dispatch.
#[derive(Clone, Debug)]
pub struct DispatchSettlement {
    /// Which.
    pub id: DispatchId,
    /// Under which lease.
    pub lease: Lease,
    /// What becomes of it.
    pub next: DispatchNext,
    /// When the attempt ended.
    pub at: Timestamp,
    /// The receiver's status, when it answered.
    pub status: Option<u16>,
    /// What went wrong, in a word; `None` when it arrived.
    pub error: Option<String>,
}

/// Where a dispatch stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DispatchStanding {
    /// Which.
    pub id: DispatchId,
    /// Where it stands.
    pub state: DispatchState,
    /// Attempts begun.
    pub attempts: u32,
    /// When the next is due.
    pub due_at: Option<Timestamp>,
    /// When it ended.
    pub settled_at: Option<Timestamp>,
    /// The last status.
    pub last_status: Option<u16>,
    /// The last error.
    pub last_error: Option<String>,
}

impl Store {
    /// Leases up to `limit` due dispatches of one lane, oldest first, and counts an attempt for each. Those of
    /// webhooks that are switched off wait, and so do those of the webhooks in `except`, which have enough to do.
    ///
    /// # Errors
    /// `Unavailable`, `Corrupt`.
    pub async fn lease_dispatches(
        &self,
        lane: Lane,
        limit: u32,
        except: Vec<WebhookId>,
    ) -> Result<Vec<LeasedDispatch>> {
        let now = self.now();
        let holder = self.0.holder.clone();
        self.transaction(move |tx| Box::pin(async move { lease(tx, lane, limit, except, now, &holder).await })).await
    }

    /// When the next dispatch of this lane, of a webhook that is on, comes due; `None` when none waits.
    ///
    /// # Errors
    /// `Unavailable`.
    pub async fn next_dispatch_due(&self, lane: Lane) -> Result<Option<Timestamp>> {
        macro_rules! next_due {
            ($tried:literal) => {
                concat!(
                    "select due_at
                    from dispatches
                    join webhooks on webhooks.id = dispatches.webhook_id
                    where state = 'queued' and switch = 'on' and ",
                    $tried,
                    " order by due_at
                    limit 1"
                )
            };
        }
        let sql = match lane {
            Lane::Fresh => next_due!("attempts = 0"),
            Lane::Retry => next_due!("attempts > 0"),
        };
        self.row(sql, vec![]).await?.map_or(Ok(None), |row| row.maybe_time("due_at"))
    }

    /// Extends the leases that this node still works under by a full term; those that were still held.
    ///
    /// # Errors
    /// `Unavailable`, `Corrupt`.
    pub async fn renew_dispatches(&self, leases: Vec<(DispatchId, Lease)>) -> Result<Vec<DispatchId>> {
        const HEAD: &str = "with held (event_id, webhook_id, lease, attempts, due_at) as (values";
        const TAIL: &str = ")
            update dispatches
            set due_at = held.due_at
            from held
            where dispatches.event_id = held.event_id and dispatches.webhook_id = held.webhook_id
                and dispatches.lease = held.lease and dispatches.attempts = held.attempts
                and dispatches.state = 'queued'
            returning dispatches.event_id, dispatches.webhook_id";
        let due_at = self.now() + LEASE;
        let rows = leases.into_iter().map(|(id, lease)| {
            vec![id.event.into(), id.webhook.into(), lease.holder.into(), lease.attempt.into(), due_at.into()]
        });
        let rows: Vec<_> = rows.collect();
        let held = self.transaction(move |tx| Box::pin(async move { tx.many(HEAD, TAIL, rows).await })).await?;
        held.iter().map(dispatch_id).collect()
    }

    /// Gives back leases unused, so that another node need not wait for their end.
    ///
    /// # Errors
    /// `Unavailable`.
    pub async fn release_dispatches(&self, leases: Vec<(DispatchId, Lease)>) -> Result<()> {
        const SQL: &str = "
            update dispatches
            set due_at = $1, lease = null, attempts = attempts - 1
            where event_id = $2 and webhook_id = $3 and lease = $4 and attempts = $5 and state = 'queued'";
        let now = self.now();
        self.transaction(move |tx| {
            Box::pin(async move {
                for (id, lease) in leases {
                    let held =
                        vec![now.into(), id.event.into(), id.webhook.into(), lease.holder.into(), lease.attempt.into()];
                    tx.run(SQL, held).await?;
                }
                Ok(())
            })
        })
        .await
    }

    /// Writes what came of an attempt, in one commit shared with others.
    ///
    /// # Errors
    /// `LostLease` when the lease is no longer held: then nothing was written. `Unavailable`, `Closed`.
    pub async fn settle_dispatch(&self, settlement: DispatchSettlement) -> Result<()> {
        self.0.writer.write(Work::SettleDispatch(Box::new(settlement))).await
    }

    /// Where a dispatch stands.
    ///
    /// # Errors
    /// `Unavailable`, `Corrupt`.
    pub async fn dispatch(&self, id: DispatchId) -> Result<Option<DispatchStanding>> {
        const SQL: &str = "
            select event_id, webhook_id, state, attempts, due_at, settled_at, last_status, last_error
            from dispatches
            where event_id = $1 and webhook_id = $2";
        self.row(SQL, vec![id.event.into(), id.webhook.into()]).await?.as_ref().map(read_standing).transpose()
    }

    /// Writes a test event and owes it to one webhook, whatever that is subscribed to, due now.
    ///
    /// # Errors
    /// `Unavailable`.
    pub async fn dispatch_test(&self, message: Message, event: Event, webhook: WebhookId) -> Result<DispatchId> {
        let id = DispatchId { event: event.id, webhook };
        let wake = self.wakes().dispatches.clone();
        self.transaction(move |tx| Box::pin(async move { insert_test(tx, &message, &event, webhook).await })).await?;
        wake.ring();
        Ok(id)
    }
}

async fn insert_test(tx: &mut Tx, message: &Message, event: &Event, webhook: WebhookId) -> Result<()> {
    const DISPATCH: &str = "
        insert into dispatches (event_id, webhook_id, state, due_at, attempts, created_at)
        values ($1, $2, 'queued', $3, 0, $3)";
    const EVENT: &str = "
        insert into events (id, message_id, recipient, tenant_id, agent_id, kind, kind_bit, ordinal, at, address,
            detail, relay, relay_at, is_test)
        values";
    messages::insert_message(tx, message).await?;
    tx.many(EVENT, "", vec![events::values(event)]).await?;
    tx.run(DISPATCH, vec![event.id.into(), webhook.into(), event.relay_at.into()]).await.map(drop)
}

async fn lease(
    tx: &mut Tx,
    lane: Lane,
    limit: u32,
    except: Vec<WebhookId>,
    now: Timestamp,
    holder: &str,
) -> Result<Vec<LeasedDispatch>> {
    // `exists`, not `in`: SQLite would begin at the list of webhooks, and go through everything that was ever owed to them.
    macro_rules! lease_due {
        ($tried:literal, $skip:literal) => {
            concat!(
                "with due as (
                    select event_id, webhook_id
                    from dispatches
                    where state = 'queued' and due_at <= $1 and ",
                $tried,
                " and exists (
                            select 1 from webhooks where webhooks.id = dispatches.webhook_id and switch = 'on'
                        )
                        and webhook_id not in ($list)
                    order by due_at
                    limit $2 ",
                $skip,
                ")
                update dispatches
                set lease = $3, due_at = $4, attempts = attempts + 1
                from due
                where dispatches.event_id = due.event_id and dispatches.webhook_id = due.webhook_id
                returning dispatches.event_id, dispatches.webhook_id, dispatches.attempts"
            )
        };
    }
    let sql = match (lane, tx.is_shared()) {
        (Lane::Fresh, false) => lease_due!("attempts = 0", ""),
        (Lane::Fresh, true) => lease_due!("attempts = 0", "for update skip locked"),
        (Lane::Retry, false) => lease_due!("attempts > 0", ""),
        (Lane::Retry, true) => lease_due!("attempts > 0", "for update skip locked"),
    };
    let except = except.into_iter().map(Value::from).collect();
    let rows = tx.rows_listed(sql, vec![now.into(), limit.into(), holder.into(), (now + LEASE).into()], except).await?;
    load(tx, rows, holder).await
}

async fn load(tx: &mut Tx, rows: Vec<Row>, holder: &str) -> Result<Vec<LeasedDispatch>> {
    const HEAD: &str = "
        with leased (event_id, webhook_id, attempts) as (values";
    const TAIL: &str = ")
        select leased.event_id, leased.webhook_id, leased.attempts,
            events.message_id, recipient, events.tenant_id, events.agent_id, kind, ordinal, at, address, detail,
            relay, relay_at, is_test,
            messages.id, agent_key, source, accepted_at, size_bytes, facts, settings
        from leased
        join events on events.id = leased.event_id
        join messages on messages.id = events.message_id
        left join agents on agents.id = events.agent_id";
    let mut known: HashMap<WebhookId, Arc<Webhook>> = HashMap::new();
    let mut keys = Vec::with_capacity(rows.len());
    for row in &rows {
        let webhook = WebhookId::from_bytes(row.id("webhook_id")?);
        if let Entry::Vacant(unknown) = known.entry(webhook)
            && let Some(found) = webhooks::find(tx, webhook).await?
        {
            unknown.insert(Arc::new(found));
        }
        keys.push(vec![row.bytes("event_id")?.into(), webhook.into(), row.int("attempts")?.into()]);
    }
    let mut leased = Vec::with_capacity(keys.len());
    for row in tx.many(HEAD, TAIL, keys).await? {
        match read_leased(&row, &known, holder) {
            Ok(Some(dispatch)) => leased.push(dispatch),
            Ok(None) => {}
            Err(fault) => tracing::error!(%fault, "a queued dispatch cannot be read"),
        }
    }
    Ok(leased)
}

fn read_leased(row: &Row, known: &HashMap<WebhookId, Arc<Webhook>>, holder: &str) -> Result<Option<LeasedDispatch>> {
    let id = dispatch_id(row)?;
    let Some(webhook) = known.get(&id.webhook) else { return Ok(None) };
    Ok(Some(LeasedDispatch {
        id,
        lease: Lease { holder: holder.to_owned(), attempt: row.small("attempts")? },
        event: events::read(row)?,
        message: messages::read(row)?,
        webhook: with_key_of_agent(webhook, row)?,
    }))
}

/// TransMail's authentication key belongs to the mail agent: a webhook of its formats without a secret is signed with
/// that.
fn with_key_of_agent(webhook: &Arc<Webhook>, row: &Row) -> Result<Arc<Webhook>> {
    if webhook.format == Format::Mailtura || !webhook.secret.reveal().is_empty() {
        return Ok(webhook.clone());
    }
    let settings = row.maybe_text("settings")?.and_then(|text| serde_json::from_str::<AgentSettings>(&text).ok());
    let key = settings.map(|settings| settings.authentication_key).unwrap_or_default();
    Ok(Arc::new(Webhook { secret: Secret::new(key), ..(**webhook).clone() }))
}

fn dispatch_id(row: &Row) -> Result<DispatchId> {
    Ok(DispatchId {
        event: EventId::from_bytes(row.id("event_id")?),
        webhook: WebhookId::from_bytes(row.id("webhook_id")?),
    })
}

/// Where a dispatch stands, from a row that has all its columns.
pub(super) fn read_standing(row: &Row) -> Result<DispatchStanding> {
    Ok(DispatchStanding {
        id: dispatch_id(row)?,
        state: row.word("state", DispatchState::from_word)?,
        attempts: row.small("attempts")?,
        due_at: row.maybe_time("due_at")?,
        settled_at: row.maybe_time("settled_at")?,
        last_status: row.maybe_int("last_status")?.and_then(|status| u16::try_from(status).ok()),
        last_error: row.maybe_text("last_error")?,
    })
}

/// Writes these settlements; the dispatches whose lease was held. The others are left alone.
pub(super) async fn settle<'a>(
    tx: &mut Tx,
    settlements: impl Iterator<Item = &'a DispatchSettlement>,
) -> Result<HashSet<DispatchId>> {
    const HEAD: &str = "
        with settled (event_id, webhook_id, lease, attempts, state, due_at, settled_at, status, error) as (values";
    const TAIL: &str = ")
        update dispatches
        set state = settled.state, due_at = settled.due_at, lease = null, settled_at = settled.settled_at,
            last_status = settled.status, last_error = settled.error
        from settled
        where dispatches.event_id = settled.event_id and dispatches.webhook_id = settled.webhook_id
            and dispatches.lease = settled.lease and dispatches.attempts = settled.attempts
            and dispatches.state = 'queued'
        returning dispatches.event_id, dispatches.webhook_id";
    let settlements: Vec<&DispatchSettlement> = settlements.collect();
    let rows = tx.many(HEAD, TAIL, settlements.iter().map(|settlement| settled_values(settlement)).collect()).await?;
    for settlement in &settlements {
        if let DispatchNext::WaitsSwitchedOff(_) = settlement.next {
            webhooks::switch_off(tx, settlement.id.webhook, settlement.at).await?;
        }
    }
    rows.iter().map(dispatch_id).collect()
}

fn settled_values(settlement: &DispatchSettlement) -> Vec<Value> {
    let (state, due_at, settled_at) = match settlement.next {
        DispatchNext::Ends(state) => (state, None, Some(settlement.at)),
        DispatchNext::Waits(until) | DispatchNext::WaitsSwitchedOff(until) => {
            (DispatchState::Queued, Some(until), None)
        }
    };
    vec![
        settlement.id.event.into(),
        settlement.id.webhook.into(),
        settlement.lease.holder.as_str().into(),
        settlement.lease.attempt.into(),
        state.as_str().into(),
        due_at.into(),
        settled_at.into(),
        settlement.status.into(),
        settlement.error.clone().into(),
    ]
}
