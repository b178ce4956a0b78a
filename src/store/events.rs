//! Events, and the dispatches that they owe.
//!
//! Owns the `events` table. An event and its dispatches are written in the transaction of the change that it tells of,
//! so that one cannot exist without the other. The same (delivery, kind, ordinal) is written once; a second is left
//! out, with its dispatches.

use std::collections::HashSet;

use super::db::{Result, Tx};
use super::dispatches::dispatch_id;
use super::messages::delivery_id;
use super::statistics::{Share, Tally};
use super::value::{Row, Value, json};
use super::webhooks::tags_from;
use crate::model::event::{Event, EventKind};
use crate::model::id::{AgentId, EventId, TenantId, WebhookId};
use crate::model::message::Facts;
use crate::model::retry::LEASE;
use crate::model::time::Timestamp;
use crate::model::webhook::DispatchId;

const INSERT: &str = "
    insert into events (id, message_id, recipient, tenant_id, agent_id, kind, kind_bit, ordinal, at, address, detail,
        relay, relay_at, is_test, listed_at)
    values";

/// Whether any webhook wants events, of all mail or of some: where nobody listens there is nothing to look for.
#[derive(Clone, Copy)]
struct Listeners {
    to_all: bool,
    to_tagged: bool,
}

macro_rules! listeners {
    () => {
        "exists (select 1 from webhooks where tags = '') as to_all,
            exists (select 1 from webhooks where tags <> '') as to_tagged"
    };
}

impl Listeners {
    fn read(row: &Row) -> Result<Self> {
        Ok(Self { to_all: row.flag("to_all")?, to_tagged: row.flag("to_tagged")? })
    }
}

/// Who takes dispatches on that are due as they are written.
pub(super) struct Hands<'h> {
    pub(super) holder: &'h str,
    pub(super) now: Timestamp,
}

/// What writing events came to.
#[derive(Default)]
pub(super) struct Told {
    /// To whom dispatches are owed that somebody has to look for.
    pub(super) owes: HashSet<WebhookId>,
    /// Dispatches that are leased already.
    pub(super) handed: Vec<DispatchId>,
    /// Those that had not been told before.
    pub(super) new: HashSet<EventId>,
}

/// Writes events, counts those that are new, and fans them out to the webhooks that want them: leased, as far as there
/// are `hands` for what can go at once.
pub(super) async fn insert(
    tx: &mut Tx,
    events: &[&Event],
    tally: &mut Tally,
    hands: Option<&Hands<'_>>,
) -> Result<Told> {
    const NEW: &str = concat!("on conflict do nothing returning id, ", listeners!());
    let rows = events.iter().map(|event| values(event, tx)).collect();
    let written = tx.many(INSERT, NEW, rows).await?;
    let new: HashSet<EventId> =
        written.iter().map(|row| Ok(EventId::from_bytes(row.id("id")?))).collect::<Result<_>>()?;
    let Some(listeners) = written.first().map(Listeners::read).transpose()? else { return Ok(Told::default()) };
    let told: Vec<_> = events.iter().filter(|event| new.contains(&event.id)).collect();
    told.iter().for_each(|event| tally.event(event));
    let ids: Vec<EventId> = told.iter().map(|event| event.id).collect();
    let owed = fan_out(tx, &ids, listeners, hands).await?;
    Ok(Told { new, ..owed })
}

/// Forgets the notices about a webhook or a mail agent, by its number.
pub(super) async fn forget_notices(tx: &mut Tx, about: [u8; 16]) -> Result<()> {
    for sql in [
        "delete from notices where event_id in (select id from events where message_id = $1)",
        "delete from dispatches where event_id in (select id from events where message_id = $1)",
        "delete from events where message_id = $1",
    ] {
        tx.run(sql, vec![about.to_vec().into()]).await?;
    }
    Ok(())
}

/// Writes and counts the events of a transaction that is not a writer's; whether any dispatch is owed.
pub(super) async fn tell(tx: &mut Tx, events: &[&Event]) -> Result<bool> {
    let mut tally = Tally::default();
    let is_owed = !insert(tx, events, &mut tally, None).await?.owes.is_empty();
    tally.write(tx, Share::COMMON).await?;
    Ok(is_owed)
}

/// Owes an event that is written already to the webhooks that want it; whether any dispatch is owed.
pub(super) async fn owe(tx: &mut Tx, event: EventId) -> Result<bool> {
    let row = tx.row(concat!("select ", listeners!()), vec![]).await?;
    let Some(listeners) = row.as_ref().map(Listeners::read).transpose()? else { return Ok(false) };
    Ok(!fan_out(tx, &[event], listeners, None).await?.owes.is_empty())
}

/// Owes events to the webhooks that want them.
async fn fan_out(tx: &mut Tx, events: &[EventId], listeners: Listeners, hands: Option<&Hands<'_>>) -> Result<Told> {
    let tagged = if listeners.to_tagged { fan_out_by_tag(tx, events).await? } else { HashSet::new() };
    let mut told = if listeners.to_all { fan_out_to_all(tx, events, hands).await? } else { Told::default() };
    told.owes.extend(tagged);
    Ok(told)
}

/// Writes an event that nobody is told of but those whom the caller names.
pub(super) async fn insert_alone(tx: &mut Tx, event: &Event) -> Result<()> {
    let row = values(event, tx);
    tx.many(INSERT, "", vec![row]).await.map(drop)
}

/// Which webhooks want an event, but for tags. One that its owner switched off gets nothing new; one that we switched
/// off does, for later.
macro_rules! wanted_by_webhooks {
    () => {
        "join webhooks on webhooks.tenant_id = events.tenant_id
            and (webhooks.agent_id is null or webhooks.agent_id = events.agent_id)
            and (webhooks.events & events.kind_bit) <> 0
            and (webhooks.relay & events.relay) <> 0
            and webhooks.switch in ('on', 'off_by_us') "
    };
}

/// What can go at once is written leased: what is due to a webhook that is on and well, that nothing older waits for,
/// and that is told of each event by itself.
async fn fan_out_to_all(tx: &mut Tx, events: &[EventId], hands: Option<&Hands<'_>>) -> Result<Told> {
    const HEAD: &str = "
        with told (id, holder, now, until) as (values";
    const TAIL: &str = concat!(
        "), owed (event_id, webhook_id, relay_at, at, holder, until, is_handed) as materialized (
            select events.id, webhooks.id, events.relay_at, events.at, holder, until,
                holder is not null and events.relay_at <= now and webhooks.switch = 'on' and webhooks.goes_alone
                    and not exists (select 1 from webhook_health where webhook_health.webhook_id = webhooks.id)
                    and not exists (
                        select 1 from dispatches
                        where state = 'queued' and lane = 'fresh' and dispatches.webhook_id = webhooks.id
                            and due_at <= now)
            from told
            join events on events.id = told.id ",
        wanted_by_webhooks!(),
        " and webhooks.tags = ''
        )
        insert into dispatches (event_id, webhook_id, state, lane, due_at, lease, attempts, created_at)
        select event_id, webhook_id, 'queued', case when is_handed then 'retry' else 'fresh' end,
            case when is_handed then until else relay_at end, case when is_handed then holder end,
            case when is_handed then 1 else 0 end, at
        from owed
        where true
        on conflict do nothing
        returning event_id, webhook_id, attempts, exists (
            select 1 from webhook_health
            where webhook_health.webhook_id = dispatches.webhook_id and paused_until > dispatches.due_at) as is_paused"
    );
    let holder = hands.map(|hands| hands.holder);
    let (now, until) = hands.map_or_else(Default::default, |hands| (hands.now, hands.now + LEASE));
    let rows = events.iter().map(|id| vec![(*id).into(), holder.into(), now.into(), until.into()]).collect();
    let mut told = Told::default();
    for row in tx.many(HEAD, TAIL, rows).await? {
        match row.int("attempts")? {
            // Whoever looks finds nothing to do before the pause is over.
            0 if row.flag("is_paused")? => {}
            0 => {
                told.owes.insert(dispatch_id(&row)?.webhook);
            }
            _ => told.handed.push(dispatch_id(&row)?),
        }
    }
    Ok(told)
}

/// Webhooks that want events about some mail only are few; its tags are looked at here.
async fn fan_out_by_tag(tx: &mut Tx, events: &[EventId]) -> Result<HashSet<WebhookId>> {
    const HEAD: &str = "
        with told (id) as (values";
    const TAIL: &str = concat!(
        ")
        select events.id as event_id, webhooks.id as webhook_id, events.relay_at, events.at, webhooks.tags, facts
        from told
        join events on events.id = told.id ",
        wanted_by_webhooks!(),
        " and webhooks.tags <> ''
        join messages on messages.id = events.message_id"
    );
    const DISPATCHES: &str = "
        insert into dispatches (event_id, webhook_id, state, lane, due_at, attempts, created_at)
        values";
    let (mut owed, mut to): (Vec<Vec<Value>>, HashSet<WebhookId>) = Default::default();
    let events = events.iter().map(|id| vec![(*id).into()]).collect();
    for row in tx.many(HEAD, TAIL, events).await? {
        let wanted = row.word("tags", tags_from)?;
        let facts: Facts = row.json("facts")?;
        if facts.tags.iter().any(|tag| wanted.contains(tag)) {
            to.insert(WebhookId::from_bytes(row.id("webhook_id")?));
            owed.push(vec![
                row.bytes("event_id")?.into(),
                row.bytes("webhook_id")?.into(),
                "queued".into(),
                "fresh".into(),
                row.time("relay_at")?.into(),
                0u32.into(),
                row.time("at")?.into(),
            ]);
        }
    }
    tx.many(DISPATCHES, "on conflict do nothing", owed).await?;
    Ok(to)
}

fn values(event: &Event, tx: &Tx) -> Vec<Value> {
    vec![
        event.id.into(),
        event.delivery.message.into(),
        event.delivery.recipient.into(),
        event.tenant.into(),
        event.agent.into(),
        event.kind.as_str().into(),
        event.kind.bit().into(),
        event.ordinal.into(),
        event.at.into(),
        event.recipient.as_str().into(),
        json(&event.detail).into(),
        event.relay.into(),
        event.relay_at.into(),
        event.is_test.into(),
        tx.begun_at().max(event.relay_at).into(),
    ]
}

/// An event from a row that has all its columns; its id is in `event_id`.
pub(super) fn read(row: &Row) -> Result<Event> {
    Ok(Event {
        id: EventId::from_bytes(row.id("event_id")?),
        delivery: delivery_id(row)?,
        tenant: TenantId::from_bytes(row.id("tenant_id")?),
        agent: AgentId::from_bytes(row.id("agent_id")?),
        kind: row.word("kind", EventKind::from_word)?,
        ordinal: row.small("ordinal")?,
        at: row.time("at")?,
        recipient: row.text("address")?,
        detail: row.json("detail")?,
        relay: row.small("relay")?,
        relay_at: row.time("relay_at")?,
        is_test: row.flag("is_test")?,
    })
}
