//! Hits, and which of them are firsts.
//!
//! Owns the `hits` and `firsts` tables. Every hit is kept. The first of a recipient (per link, for clicks) that is no
//! scanner's, and the first by a person, each claim a row of `firsts`; whoever's insert wins makes the event, so that
//! any number of hits at once make one.

use std::collections::{HashMap, HashSet};

use super::db::{Result, Store, StoreError, Tx};
use super::messages::delivery_id;
use super::value::{Row, Value, json};
use super::writer::Work;
use crate::model::event::{Detail, Event, EventKind, relay};
use crate::model::hit::{EarlierHit, Hit, HitKind};
use crate::model::id::{AgentId, DeliveryId, EventId, TenantId};
use crate::model::tenant::{AgentSettings, Privacy};
use crate::model::time::Timestamp;

/// What judging a hit needs to know about its delivery.
#[derive(Clone, Debug)]
pub struct HitContext {
    /// Whose.
    pub tenant: TenantId,
    /// Whose, within the tenant.
    pub agent: AgentId,
    /// The recipient's address.
    pub address: String,
    /// When the next hop took it; `None` while it has not.
    pub delivered_at: Option<Timestamp>,
    /// How much of a reader the agent keeps.
    pub privacy: Privacy,
    /// Earlier hits of this recipient, newest first, at most 50.
    pub earlier: Vec<EarlierHit>,
}

/// A hit that has been described and judged.
#[derive(Clone, Debug)]
pub struct RecordedHit {
    /// Its id, and the id of the event that it makes, if it makes one.
    pub id: EventId,
    /// The hit.
    pub hit: Hit,
    /// Whose.
    pub tenant: TenantId,
    /// Whose, within the tenant.
    pub agent: AgentId,
    /// The recipient's address.
    pub address: String,
    /// When webhooks may hear of it.
    pub relay_at: Timestamp,
    /// Which firsts it may be, by what is known of the hits before it.
    pub first: Firsts,
}

/// Which firsts of its recipient, kind and link a hit is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Firsts {
    /// The first that is no scanner's.
    pub by_anyone: bool,
    /// The first by a person.
    pub by_person: bool,
}

impl Store {
    /// What is known about these deliveries. Those that are not (any more) in the store are absent.
    ///
    /// # Errors
    /// `Unavailable`, `Corrupt`.
    pub async fn hit_contexts(&self, ids: &[DeliveryId]) -> Result<HashMap<DeliveryId, HitContext>> {
        let ids: HashSet<DeliveryId> = ids.iter().copied().collect();
        let ids: Vec<Vec<Value>> = ids.iter().map(|id| vec![id.message.into(), id.recipient.into()]).collect();
        let mut contexts = HashMap::new();
        for row in self.lookup(WANTED, CONTEXTS, ids).await? {
            contexts.insert(delivery_id(&row)?, context(&row)?);
        }
        Ok(contexts)
    }

    /// Records hits and makes the events that they owe, in one commit shared with others.
    ///
    /// # Errors
    /// `Unavailable`, `Closed`: nothing was recorded.
    pub async fn record_hits(&self, hits: Vec<RecordedHit>) -> Result<()> {
        self.0.writer.write(Work::Hits(hits)).await
    }
}

const WANTED: &str = "
    with wanted (message_id, recipient) as (values";

// The earlier hits of a delivery come as one text: a row each would cost more than all the rest.
const CONTEXTS: &str = ")
    select deliveries.message_id, deliveries.recipient, deliveries.tenant_id, agent_id, address, state, settled_at,
        settings, (
            select string_agg(kind || ' ' || link || ' ' || at || ' ' || visitor, '\n')
            from (
                select kind, link, at, visitor
                from hits
                where hits.message_id = wanted.message_id and hits.recipient = wanted.recipient
                order by id desc
                limit 50
            ) as latest
        ) as earlier
    from wanted
    join deliveries on deliveries.message_id = wanted.message_id and deliveries.recipient = wanted.recipient
    left join agents on agents.id = deliveries.agent_id";

/// Earlier hits, newest first, out of the lines that `CONTEXTS` makes; JSON as we write it has no line ends.
fn earlier(lines: &str) -> Result<Vec<EarlierHit>> {
    let mut hits = lines.lines().map(earlier_hit).collect::<Option<Vec<_>>>();
    let hits = hits.as_mut().ok_or_else(|| StoreError::Corrupt("an earlier hit cannot be read".to_owned()))?;
    hits.sort_by_key(|hit| std::cmp::Reverse(hit.at));
    Ok(std::mem::take(hits))
}

fn earlier_hit(line: &str) -> Option<EarlierHit> {
    let mut words = line.splitn(4, ' ');
    Some(EarlierHit {
        kind: kind_from(words.next()?)?,
        link: words.next()?.parse().ok()?,
        at: Timestamp::from_millis(words.next()?.parse().ok()?),
        visitor: serde_json::from_str(words.next()?).ok()?,
    })
}

fn context(row: &Row) -> Result<HitContext> {
    let is_delivered = row.text("state")? != "queued";
    let settings = row.maybe_text("settings")?.and_then(|text| serde_json::from_str::<AgentSettings>(&text).ok());
    let settings = settings.unwrap_or_default();
    Ok(HitContext {
        tenant: TenantId::from_bytes(row.id("tenant_id")?),
        agent: AgentId::from_bytes(row.id("agent_id")?),
        address: row.text("address")?,
        delivered_at: row.maybe_time("settled_at")?.filter(|_| is_delivered),
        privacy: settings.privacy,
        earlier: row.maybe_text("earlier")?.map_or(Ok(Vec::new()), |lines| earlier(&lines))?,
    })
}

fn kind_word(kind: HitKind) -> &'static str {
    match kind {
        HitKind::Open => "open",
        HitKind::Click => "click",
    }
}

pub(super) fn kind_from(word: &str) -> Option<HitKind> {
    match word {
        "open" => Some(HitKind::Open),
        "click" => Some(HitKind::Click),
        _ => None,
    }
}

/// Writes hits; the events that they owe.
pub(super) async fn insert(tx: &mut Tx, hits: &[&RecordedHit]) -> Result<Vec<Event>> {
    const HEAD: &str = "
        insert into hits (id, message_id, recipient, kind, link, target, at, verdict, visitor)
        values";
    if hits.is_empty() {
        return Ok(Vec::new());
    }
    tx.many(HEAD, "on conflict do nothing", hits.iter().map(|hit| hit_values(hit)).collect()).await?;
    let won = claim_firsts(tx, hits).await?;
    let curious = tenants_that_want_every_hit(tx).await?;
    let events = hits.iter().filter_map(|hit| {
        let won = won.get(&hit.id).copied().unwrap_or_default();
        (won != Firsts::default() || curious.contains(&hit.tenant)).then(|| event(hit, won))
    });
    Ok(events.collect())
}

async fn claim_firsts(tx: &mut Tx, hits: &[&RecordedHit]) -> Result<HashMap<EventId, Firsts>> {
    const HEAD: &str = "
        insert into firsts (message_id, recipient, kind, link, who, hit_id)
        values";
    let claims = hits.iter().flat_map(|hit| {
        let anyone = hit.first.by_anyone.then_some("anyone");
        let person = hit.first.by_person.then_some("person");
        anyone.into_iter().chain(person).map(move |who| claim_values(hit, who))
    });
    let mut won: HashMap<EventId, Firsts> = HashMap::new();
    for row in tx.many(HEAD, "on conflict do nothing returning hit_id, who", claims.collect()).await? {
        let entry = won.entry(EventId::from_bytes(row.id("hit_id")?)).or_default();
        match row.text("who")?.as_str() {
            "person" => entry.by_person = true,
            _ => entry.by_anyone = true,
        }
    }
    Ok(won)
}

async fn tenants_that_want_every_hit(tx: &mut Tx) -> Result<HashSet<TenantId>> {
    let rows = tx.rows("select distinct tenant_id from webhooks where hits = 'all'", vec![]).await?;
    rows.iter().map(|row| row.id("tenant_id").map(TenantId::from_bytes)).collect()
}

/// The ordinal tells hits of one delivery apart: links and the two firsts have fixed ones, so that a first is told
/// once whatever happens; any other takes one from its id.
fn event(recorded: &RecordedHit, won: Firsts) -> Event {
    let hit = &recorded.hit;
    let own = u32::from_be_bytes([
        recorded.id.as_bytes()[12],
        recorded.id.as_bytes()[13],
        recorded.id.as_bytes()[14],
        recorded.id.as_bytes()[15],
    ]);
    let ordinal = match won {
        Firsts { by_anyone: true, .. } => u32::from(hit.link) << 1,
        Firsts { by_person: true, .. } => (u32::from(hit.link) << 1) | 1,
        Firsts { .. } => own | 1 << 31,
    };
    let first = if won == Firsts::default() { 0 } else { relay::FIRST };
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

fn hit_values(recorded: &RecordedHit) -> Vec<Value> {
    let hit = &recorded.hit;
    vec![
        recorded.id.into(),
        hit.delivery.message.into(),
        hit.delivery.recipient.into(),
        kind_word(hit.kind).into(),
        hit.link.into(),
        hit.target.as_str().into(),
        hit.at.into(),
        hit.visitor.machine.verdict.as_str().into(),
        json(&hit.visitor).into(),
    ]
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
