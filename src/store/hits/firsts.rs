//! Who was first: of all, of those who are no scanners, and of people. What a first owes, and what becomes of it when it
//! is seen otherwise later.
//!
//! The first of all is counted, and stays it whoever it turns out to be. A hit that turns out to be a scanner's gives its
//! other claims back. The events that it made and nobody has been told of are
//! taken back with them; one that has been told, to a webhook or to whoever fetches events, stays as it was told, and those
//! who ask hear of the change by another event. The next hit in line, if there is one already, takes the claims and is told instead.

use std::collections::{HashMap, HashSet};

use super::super::db::{Result, Tx};
use super::super::events;
use super::super::value::{Row, Value, json};
use super::counts::Deltas;
use super::{Firsts, HitKey, RecordedHit, Rejudged, kind_word, readable};
use crate::model::event::{Detail, Event, EventKind, relay};
use crate::model::hit::{Hit, HitKind, Visitor};
use crate::model::id::{AgentId, EventId, TenantId};
use crate::model::time::Timestamp;

/// Hits that are looked at for the next in line.
const IN_LINE_MAX: u32 = 100;

/// What a claim is called in the table.
mod who {
    pub(super) const OF_ALL: &str = "all";
    pub(super) const OF_READERS: &str = "anyone";
    pub(super) const OF_PEOPLE: &str = "person";
}

fn take(firsts: &mut Firsts, who: &str) {
    match who {
        who::OF_ALL => firsts.by_anyone = true,
        who::OF_PEOPLE => firsts.by_person = true,
        _ => firsts.by_reader = true,
    }
}

/// The rows that a hit claims.
fn claims(hit: &RecordedHit) -> impl Iterator<Item = Vec<Value>> {
    let Firsts { by_anyone, by_reader, by_person } = hit.first;
    let all = [(by_anyone, who::OF_ALL), (by_reader, who::OF_READERS), (by_person, who::OF_PEOPLE)];
    all.into_iter().filter(|(is_claimed, _)| *is_claimed).map(|(_, who)| claim_values(hit, who))
}

/// Claims the firsts that these hits are; the events that they owe.
pub(super) async fn claim(tx: &mut Tx, hits: &[&RecordedHit], deltas: &mut Deltas) -> Result<Vec<Event>> {
    if hits.is_empty() {
        return Ok(Vec::new());
    }
    let won = win(tx, hits.iter().flat_map(|hit| claims(hit)).collect()).await?;
    let curious = tenants_that_want_every_hit(tx).await?;
    let mut owed = Vec::new();
    for hit in hits {
        let won = won.get(&hit.id).copied().unwrap_or_default();
        deltas.won(hit, won);
        if won.is_told() || curious.contains(&hit.tenant) {
            owed.push(event(hit, won));
        }
    }
    Ok(owed)
}

async fn win(tx: &mut Tx, claims: Vec<Vec<Value>>) -> Result<HashMap<EventId, Firsts>> {
    const HEAD: &str = "
        insert into firsts (message_id, recipient, kind, link, who, hit_id)
        values";
    let mut won: HashMap<EventId, Firsts> = HashMap::new();
    for row in tx.many(HEAD, "on conflict do nothing returning hit_id, who", claims).await? {
        take(won.entry(EventId::from_bytes(row.id("hit_id")?)).or_default(), &row.text("who")?);
    }
    Ok(won)
}

async fn tenants_that_want_every_hit(tx: &mut Tx) -> Result<HashSet<TenantId>> {
    let rows = tx.rows("select distinct tenant_id from webhooks where hits = 'all'", vec![]).await?;
    rows.iter().map(|row| row.id("tenant_id").map(TenantId::from_bytes)).collect()
}

/// Puts a new verdict on a hit that was written before; the events that are owed for it now.
pub(super) async fn judge_again(
    tx: &mut Tx,
    rejudged: &Rejudged,
    now: Timestamp,
    deltas: &mut Deltas,
) -> Result<Vec<Event>> {
    let Some(mut recorded) = written(tx, rejudged, now).await? else { return Ok(Vec::new()) };
    let claims = give_back(tx, &recorded).await?;
    deltas.take_back(&recorded, claims);
    recorded.hit.visitor.machine = rejudged.verdict.clone();
    deltas.add(&recorded);
    if claims.by_anyone {
        let won = win(tx, vec![claim_values(&recorded, who::OF_ALL)]).await?;
        deltas.won(&recorded, won.get(&recorded.id).copied().unwrap_or_default());
    }
    change(tx, &recorded).await?;
    let mut owed: Vec<Event> = take_back(tx, &recorded, rejudged.told_as).await?.into_iter().collect();
    if claims.is_told() {
        owed.extend(next_in_line(tx, &recorded, now, deltas).await?);
    }
    Ok(owed)
}

async fn change(tx: &mut Tx, recorded: &RecordedHit) -> Result<()> {
    const SQL: &str = "
        update hits
        set verdict = $1, visitor = $2
        where message_id = $3 and recipient = $4 and id = $5";
    let hit = &recorded.hit;
    let (verdict, visitor) = (hit.visitor.machine.verdict.as_str(), json(&hit.visitor));
    let (message, recipient) = (hit.delivery.message, hit.delivery.recipient);
    let values = vec![verdict.into(), visitor.into(), message.into(), recipient.into(), recorded.id.into()];
    tx.run(SQL, values).await.map(drop)
}

/// The hit as it was written; `None` when it was no person's any more, cannot be read, has been forgotten, or its
/// delivery has.
async fn written(tx: &mut Tx, rejudged: &Rejudged, now: Timestamp) -> Result<Option<RecordedHit>> {
    const SQL: &str = "
        select hits.id, hits.target, hits.visitor, deliveries.tenant_id, deliveries.agent_id, deliveries.address
        from hits
        join deliveries on deliveries.message_id = hits.message_id and deliveries.recipient = hits.recipient
        where hits.message_id = $1 and hits.recipient = $2 and hits.kind = $3 and hits.link = $4 and hits.at = $5
            and hits.verdict = 'person'
        order by hits.id
        limit 1";
    let HitKey { delivery, kind, link, at } = rejudged.hit;
    let key = vec![delivery.message.into(), delivery.recipient.into(), kind_word(kind).into(), link.into(), at.into()];
    let Some(row) = tx.row(SQL, key).await? else { return Ok(None) };
    let Some(visitor) = readable(row.json("visitor"))? else { return Ok(None) };
    let hit = Hit { delivery, kind, link, target: row.text("target")?, at, visitor };
    Ok(Some(RecordedHit {
        id: EventId::from_bytes(row.id("id")?),
        hit,
        tenant: TenantId::from_bytes(row.id("tenant_id")?),
        agent: AgentId::from_bytes(row.id("agent_id")?),
        address: row.text("address")?,
        relay_at: now,
        first: Firsts::default(),
        is_only_counted: false,
    }))
}

/// Gives back the firsts that a hit claimed; which those were.
async fn give_back(tx: &mut Tx, recorded: &RecordedHit) -> Result<Firsts> {
    const SQL: &str = "
        delete from firsts
        where message_id = $1 and recipient = $2 and kind = $3 and link = $4 and hit_id = $5
        returning who";
    let hit = &recorded.hit;
    let (message, recipient) = (hit.delivery.message, hit.delivery.recipient);
    let of = vec![message.into(), recipient.into(), kind_word(hit.kind).into(), hit.link.into(), recorded.id.into()];
    let mut claims = Firsts::default();
    for row in tx.rows(SQL, of).await? {
        take(&mut claims, &row.text("who")?);
    }
    Ok(claims)
}

/// Takes back the event that a hit made. Where a webhook has been told of it already it stays, and another tells of the
/// change; where only those may have it who fetch events, that other is for them alone.
async fn take_back(tx: &mut Tx, recorded: &RecordedHit, told_as: EventId) -> Result<Option<Event>> {
    const STANDING: &str = "
        select listed_at < $2 as is_listed, exists (
                select 1 from dispatches
                where event_id = events.id and (attempts > 0 or state <> 'queued')) as is_told
        from events
        where id = $1";
    const UNTOLD: &str = "
        delete from dispatches
        where event_id = $1 and attempts = 0 and state = 'queued'
            and webhook_id in (select id from webhooks where (relay & $2) = 0)";
    let id = recorded.id;
    let standing = tx.row(STANDING, vec![id.into(), tx.begun_at().into()]).await?;
    let Some(standing) = standing else { return Ok(None) };
    let is_told = standing.flag("is_told")?;
    let ordinal = own_ordinal(id);
    let event = event(recorded, Firsts::default());
    if is_told {
        // Its ordinal makes room for the hit that is the first in truth.
        tx.run("update events set ordinal = $1 where id = $2", vec![ordinal.into(), id.into()]).await?;
    } else {
        let sql = "update events set ordinal = $1, relay = $2, detail = $3 where id = $4";
        tx.run(sql, vec![ordinal.into(), relay::EVERY.into(), json(&event.detail).into(), id.into()]).await?;
        tx.run(UNTOLD, vec![id.into(), relay::EVERY.into()]).await?;
    }
    let relay = if is_told { relay::ALL } else { 0 };
    if relay == 0 && !standing.flag("is_listed")? {
        return Ok(None);
    }
    let kind = match recorded.hit.kind {
        HitKind::Open => EventKind::OpenReclassified,
        HitKind::Click => EventKind::ClickReclassified,
    };
    let (ordinal, relay_at) = (own_ordinal(told_as), recorded.relay_at);
    Ok(Some(Event { id: told_as, kind, ordinal, relay, relay_at, ..event }))
}

/// Gives the claims that came free to the hits that would have had them; the events that those owe.
async fn next_in_line(tx: &mut Tx, before: &RecordedHit, now: Timestamp, deltas: &mut Deltas) -> Result<Vec<Event>> {
    const SQL: &str = "
        select id, target, at, visitor
        from hits
        where message_id = $1 and recipient = $2 and kind = $3 and link = $4 and verdict <> 'scanner'
        order by id
        limit $5";
    let hit = &before.hit;
    let (message, recipient) = (hit.delivery.message, hit.delivery.recipient);
    let of = vec![message.into(), recipient.into(), kind_word(hit.kind).into(), hit.link.into(), IN_LINE_MAX.into()];
    let rows = tx.rows(SQL, of).await?;
    let line = rows.iter().filter_map(|row| readable(in_line(row, before, now)).transpose());
    let line: Vec<RecordedHit> = line.collect::<Result<_>>()?;
    let person = line.iter().find(|next| next.hit.visitor.machine.verdict.is_person());
    let claims = line.first().map(|next| claim_values(next, who::OF_READERS)).into_iter();
    let claims = claims.chain(person.map(|next| claim_values(next, who::OF_PEOPLE)));
    let won = win(tx, claims.collect()).await?;
    let mut owed = Vec::new();
    for next in line {
        let Some(won) = won.get(&next.id).copied() else { continue };
        deltas.won(&next, won);
        let event = event(&next, won);
        // A tenant that wants every hit has its event already.
        let sql = "update events set ordinal = $1, relay = $2 where id = $3";
        if tx.run(sql, vec![event.ordinal.into(), event.relay.into(), event.id.into()]).await? == 0 {
            owed.push(event);
        } else {
            events::owe(tx, event.id).await?;
        }
    }
    Ok(owed)
}

fn in_line(row: &Row, before: &RecordedHit, now: Timestamp) -> Result<RecordedHit> {
    let (target, at, visitor): (_, _, Visitor) = (row.text("target")?, row.time("at")?, row.json("visitor")?);
    let hit = Hit { target, at, visitor, ..before.hit.clone() };
    Ok(RecordedHit { id: EventId::from_bytes(row.id("id")?), hit, relay_at: now, ..before.clone() })
}

/// A number that no first has, from an id.
fn own_ordinal(id: EventId) -> u32 {
    let [.., a, b, c, d] = *id.as_bytes();
    u32::from_be_bytes([a, b, c, d]) | 1 << 31
}

/// The ordinal tells hits of one delivery apart: links and the two firsts have fixed ones, so that a first is told
/// once whatever happens; any other takes one from its id.
fn event(recorded: &RecordedHit, won: Firsts) -> Event {
    let hit = &recorded.hit;
    let ordinal = match won {
        Firsts { by_reader: true, .. } => u32::from(hit.link) << 1,
        Firsts { by_person: true, .. } => (u32::from(hit.link) << 1) | 1,
        Firsts { .. } => own_ordinal(recorded.id),
    };
    let first = if won.is_told() { relay::FIRST } else { 0 };
    let person = if won.by_person { relay::FIRST_PERSON } else { 0 };
    let (kind, detail) = match hit.kind {
        HitKind::Open => (EventKind::Opened, Detail::Opened { visitor: hit.visitor.clone() }),
        HitKind::Click => {
            (EventKind::Clicked, Detail::Clicked { url: hit.target.clone(), visitor: hit.visitor.clone() })
        }
    };
    Event {
        id: recorded.id,
        delivery: hit.delivery,
        tenant: recorded.tenant,
        agent: recorded.agent,
        kind,
        ordinal,
        at: hit.at,
        recipient: recorded.address.clone(),
        detail,
        relay: relay::EVERY | first | person,
        relay_at: recorded.relay_at,
        is_test: false,
    }
}

fn claim_values(recorded: &RecordedHit, who: &str) -> Vec<Value> {
    let hit = &recorded.hit;
    vec![
        hit.delivery.message.into(),
        hit.delivery.recipient.into(),
        kind_word(hit.kind).into(),
        hit.link.into(),
        who.into(),
        recorded.id.into(),
    ]
}
