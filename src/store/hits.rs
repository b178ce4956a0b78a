//! Hits, what they add up to, and which of them are firsts.
//!
//! Owns the `hits`, `firsts` and `hit_counts` tables. Every hit is kept, but for agents that want counts alone. The first
//! of a recipient (per link, for clicks) that is no scanner's, and the first by a person, each claim a row of `firsts`;
//! whoever's insert wins makes the event, so that any number of hits at once make one. A hit that is judged again gives
//! its claims back, and the next hit in line takes them (`firsts`).

pub mod counts;
mod firsts;

use std::collections::{HashMap, HashSet};

use super::db::{Result, Store, StoreError, Tx};
use super::messages::delivery_id;
use super::value::{Row, Value, json};
use super::writer::Work;
use crate::model::event::Event;
use crate::model::hit::{EarlierHit, Hit, HitKind, Verdict};
use crate::model::id::{AgentId, DeliveryId, EventId, TenantId};
use crate::model::tenant::{AgentSettings, Privacy};
use crate::model::time::Timestamp;
use counts::Deltas;

/// What judging a hit needs to know about its delivery.
#[derive(Clone, Debug)]
pub struct HitContext {
    /// Which.
    pub delivery: DeliveryId,
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
    /// Earlier hits of this recipient, newest first, at most 50, with as much of their visitors as was kept.
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
    /// Nothing of it is written but that there was one.
    pub is_only_counted: bool,
}

/// Which firsts of its recipient, kind and link a hit is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Firsts {
    /// The first that is no scanner's.
    pub by_anyone: bool,
    /// The first by a person.
    pub by_person: bool,
}

/// A new verdict on a hit that was written before.
#[derive(Clone, Debug)]
pub struct Rejudged {
    /// Which hit.
    pub hit: HitKey,
    /// Who it was after all.
    pub verdict: Verdict,
    /// The id of the event that tells of it, where the hit itself has been told already.
    pub told_as: EventId,
}

/// What tells a hit from others, as far as judging goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct HitKey {
    /// On whose copy.
    pub delivery: DeliveryId,
    /// Pixel or link.
    pub kind: HitKind,
    /// Which link.
    pub link: u16,
    /// When.
    pub at: Timestamp,
}

/// Hits, and verdicts that they changed.
#[derive(Clone, Debug)]
pub struct HitBatch {
    /// New hits.
    pub hits: Vec<RecordedHit>,
    /// Old hits that are seen otherwise now.
    pub rejudged: Vec<Rejudged>,
    /// When.
    pub now: Timestamp,
    /// Some of the hits may have been recorded before, by a commit whose end nobody saw.
    pub is_again: bool,
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
    pub async fn record_hits(&self, batch: HitBatch) -> Result<()> {
        self.0.writer.write(Work::Hits(batch)).await
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
        delivery: delivery_id(row)?,
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

/// Writes hits and changed verdicts; the events that they owe.
pub(super) async fn insert(tx: &mut Tx, batches: &[&HitBatch]) -> Result<Vec<Event>> {
    const HEAD: &str = "
        insert into hits (id, message_id, recipient, kind, link, target, at, verdict, visitor)
        values";
    let mut deltas = Deltas::default();
    let mut events = Vec::new();
    // First what is given back, so that the new may take it.
    for batch in batches {
        for rejudged in &batch.rejudged {
            events.extend(firsts::judge_again(tx, rejudged, batch.now, &mut deltas).await?);
        }
    }
    let (counted, kept): (Vec<&RecordedHit>, Vec<&RecordedHit>) =
        batches.iter().flat_map(|batch| &batch.hits).partition(|hit| hit.is_only_counted);
    counted.into_iter().for_each(|hit| deltas.add(hit));
    let rows = kept.iter().map(|hit| hit_values(hit)).collect();
    let fresh = if batches.iter().any(|batch| batch.is_again) {
        let written = tx.many(HEAD, "on conflict do nothing returning id", rows).await?;
        let written: HashSet<EventId> =
            written.iter().map(|row| row.id("id").map(EventId::from_bytes)).collect::<Result<_>>()?;
        kept.into_iter().filter(|hit| written.contains(&hit.id)).collect()
    } else {
        tx.many(HEAD, "on conflict do nothing", rows).await?;
        kept
    };
    fresh.iter().for_each(|hit| deltas.add(hit));
    events.extend(firsts::claim(tx, &fresh, &mut deltas).await?);
    deltas.write(tx).await?;
    Ok(events)
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
