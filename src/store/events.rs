//! Events, and the dispatches that they owe.
//!
//! Owns the `events` table. An event and its dispatches are written in the transaction of the change that it tells of,
//! so that one cannot exist without the other. The same (delivery, kind, ordinal) is written once; a second is left
//! out, with its dispatches.

use std::collections::HashSet;

use super::db::{Result, Tx};
use super::messages::delivery_id;
use super::statistics::{Share, Tally};
use super::value::{Row, Value, json};
use super::webhooks::tags_from;
use crate::model::event::{Event, EventKind};
use crate::model::id::{AgentId, EventId, TenantId};
use crate::model::message::Facts;

const INSERT: &str = "
    insert into events (id, message_id, recipient, tenant_id, agent_id, kind, kind_bit, ordinal, at, address, detail,
        relay, relay_at, is_test)
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

/// What writing events came to.
#[derive(Default)]
pub(super) struct Told {
    /// Any dispatch is owed.
    pub(super) owes: bool,
    /// Those that had not been told before.
    pub(super) new: HashSet<EventId>,
}

/// Writes events, counts those that are new, and fans them out to the webhooks that want them.
pub(super) async fn insert(tx: &mut Tx, events: &[&Event], tally: &mut Tally) -> Result<Told> {
    const NEW: &str = concat!("on conflict do nothing returning id, ", listeners!());
    let rows = events.iter().map(|event| values(event)).collect();
    let written = tx.many(INSERT, NEW, rows).await?;
    let new: HashSet<EventId> =
        written.iter().map(|row| Ok(EventId::from_bytes(row.id("id")?))).collect::<Result<_>>()?;
    let Some(listeners) = written.first().map(Listeners::read).transpose()? else { return Ok(Told::default()) };
    let told: Vec<_> = events.iter().filter(|event| new.contains(&event.id)).collect();
    told.iter().for_each(|event| tally.event(event));
    let owes = fan_out(tx, told.iter().map(|event| vec![event.id.into()]).collect(), listeners).await?;
    Ok(Told { owes, new })
}

/// Writes and counts the events of a transaction that is not a writer's; whether any dispatch is owed.
pub(super) async fn tell(tx: &mut Tx, events: &[&Event]) -> Result<bool> {
    let mut tally = Tally::default();
    let is_owed = insert(tx, events, &mut tally).await?.owes;
    tally.write(tx, Share::COMMON).await?;
    Ok(is_owed)
}

/// Owes an event that is written already to the webhooks that want it; whether any dispatch is owed.
pub(super) async fn owe(tx: &mut Tx, event: EventId) -> Result<bool> {
    let row = tx.row(concat!("select ", listeners!()), vec![]).await?;
    let Some(listeners) = row.as_ref().map(Listeners::read).transpose()? else { return Ok(false) };
    fan_out(tx, vec![vec![event.into()]], listeners).await
}

/// Owes events to the webhooks that want them; whether any dispatch is owed.
async fn fan_out(tx: &mut Tx, events: Vec<Vec<Value>>, listeners: Listeners) -> Result<bool> {
    let is_owed_to_tagged = listeners.to_tagged && fan_out_by_tag(tx, events.clone()).await?;
    let is_owed_to_all = listeners.to_all && fan_out_to_all(tx, events).await?;
    Ok(is_owed_to_all || is_owed_to_tagged)
}

/// Writes an event that nobody is told of but those whom the caller names.
pub(super) async fn insert_alone(tx: &mut Tx, event: &Event) -> Result<()> {
    tx.many(INSERT, "", vec![values(event)]).await.map(drop)
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

async fn fan_out_to_all(tx: &mut Tx, events: Vec<Vec<Value>>) -> Result<bool> {
    const HEAD: &str = "
        with told (id) as (values";
    const TAIL: &str = concat!(
        ")
        insert into dispatches (event_id, webhook_id, state, lane, due_at, attempts, created_at)
        select events.id, webhooks.id, 'queued', 'fresh', events.relay_at, 0, events.at
        from told
        join events on events.id = told.id ",
        wanted_by_webhooks!(),
        " and webhooks.tags = ''
        where true
        on conflict do nothing
        returning 1 as owed"
    );
    Ok(!tx.many(HEAD, TAIL, events).await?.is_empty())
}

/// Webhooks that want events about some mail only are few; its tags are looked at here.
async fn fan_out_by_tag(tx: &mut Tx, events: Vec<Vec<Value>>) -> Result<bool> {
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
    let mut owed: Vec<Vec<Value>> = Vec::new();
    for row in tx.many(HEAD, TAIL, events).await? {
        let wanted = row.word("tags", tags_from)?;
        let facts: Facts = row.json("facts")?;
        if facts.tags.iter().any(|tag| wanted.contains(tag)) {
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
    let is_owed = !owed.is_empty();
    tx.many(DISPATCHES, "on conflict do nothing", owed).await?;
    Ok(is_owed)
}

pub(super) fn values(event: &Event) -> Vec<Value> {
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
