//! Hits, what they add up to, and which of them are firsts.
//!
//! Owns the `hits`, `counted_hits`, `firsts` and `hit_counts` tables. Every hit is kept, but for agents that want counts
//! alone: of theirs the id is, for a week, so that one that is recorded again is not counted again. The first
//! of a recipient (per link, for clicks), the first that is no scanner's, and the first by a person each claim a row of
//! `firsts`; whoever's insert wins is counted and makes the event, so that any number of hits at once make one. A hit that
//! is judged again gives its claims back, and the next hit in line takes them (`firsts`).

pub mod counts;
mod firsts;

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use tokio::time::timeout;

use super::db::{Result, Store, StoreError, Tx};
use super::messages::delivery_id;
use super::value::{Row, Value, json};
use super::writer::Work;
use crate::model::event::Event;
use crate::model::hit::{EarlierHit, Hit, HitKind, Verdict, Visitor};
use crate::model::id::{AgentId, DeliveryId, EventId, TenantId};
use crate::model::tenant::{AgentSettings, Privacy};
use crate::model::time::Timestamp;
use counts::Deltas;

/// Earlier hits that are read of a delivery.
pub const EARLIER_MAX: usize = 50;

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
    /// A hit is answered only when it is written.
    pub is_durable: bool,
    /// Earlier hits of this recipient, newest first, at most [`EARLIER_MAX`], with as much of their visitors as was kept;
    /// `None` where the caller has them.
    pub earlier: Option<Vec<EarlierHit>>,
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
    /// Nothing of it is written but that there was one, and for a week its id.
    pub is_only_counted: bool,
}

/// Which firsts of its recipient, kind and link a hit is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Firsts {
    /// The first of all, whoever it is by.
    pub by_anyone: bool,
    /// The first that is no scanner's.
    pub by_reader: bool,
    /// The first by a person.
    pub by_person: bool,
}

impl Firsts {
    /// Whether it is one that is told: a scanner's is only counted.
    fn is_told(self) -> bool {
        self.by_reader || self.by_person
    }
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
    /// What is known about these deliveries. Those that are not (any more) in the store are absent. Reading what is behind
    /// earlier hits is most of the work: of deliveries whose earlier hits the caller `remembers` they are not read, and
    /// of others those are left out that the caller says are `known`.
    ///
    /// # Errors
    /// `Unavailable`, also when it took longer than `patience`; `Corrupt`.
    pub async fn hit_contexts(
        &self,
        ids: &[DeliveryId],
        remembers: impl Fn(DeliveryId) -> bool,
        known: impl Fn(&HitKey) -> bool,
        patience: Duration,
    ) -> Result<HashMap<DeliveryId, HitContext>> {
        let ids: HashSet<DeliveryId> = ids.iter().copied().collect();
        let (remembered, others): (Vec<_>, Vec<_>) = ids.into_iter().partition(|id| remembers(*id));
        let key = |id: DeliveryId| -> Vec<Value> { vec![id.message.into(), id.recipient.into()] };
        let read = async {
            let alone = self.lookup(WANTED, CONTEXTS, remembered.into_iter().map(key).collect()).await?;
            let with_earlier = self.lookup(WANTED, CONTEXTS_AND_EARLIER, others.into_iter().map(key).collect()).await?;
            Ok::<_, StoreError>((alone, with_earlier))
        };
        let late = |_| StoreError::Unavailable(sqlx::Error::PoolTimedOut);
        let (alone, with_earlier) = timeout(patience, read).await.map_err(late)??;
        let mut contexts = HashMap::with_capacity(alone.len() + with_earlier.len());
        let mut wishes = Wishes::default();
        for row in alone {
            contexts.insert(delivery_id(&row)?, context(&row, &mut wishes)?);
        }
        for row in with_earlier {
            let id = delivery_id(&row)?;
            let earlier = row.maybe_text("earlier")?.map_or(Vec::new(), |lines| earlier(id, &lines, &known));
            contexts.insert(id, HitContext { earlier: Some(earlier), ..context(&row, &mut wishes)? });
        }
        Ok(contexts)
    }

    /// Whether any mail agent wants its hits written before they are answered.
    ///
    /// # Errors
    /// `Unavailable`.
    pub async fn has_durable_hits(&self) -> Result<bool> {
        // As the index on them says it.
        let sql = r#"select id from agents where settings like '%"durable_hits":true%' order by id limit 1"#;
        Ok(self.row(sql, vec![]).await?.is_some())
    }

    /// Records hits and makes the events that they owe, in one commit shared with others.
    ///
    /// # Errors
    /// `Unavailable`, `Closed`: nothing was recorded.
    pub async fn record_hits(&self, batch: HitBatch) -> Result<()> {
        self.0.writer.write(Work::Hits(batch)).await.map(drop)
    }
}

const WANTED: &str = "
    with wanted (message_id, recipient) as (values";

macro_rules! contexts {
    ($earlier:literal) => {
        concat!(
            ")
    select deliveries.message_id, deliveries.recipient, deliveries.tenant_id, agent_id, address, state, settled_at,
        settings",
            $earlier,
            "
    from wanted
    join deliveries on deliveries.message_id = wanted.message_id and deliveries.recipient = wanted.recipient
    left join agents on agents.id = deliveries.agent_id"
        )
    };
}

const CONTEXTS: &str = contexts!("");

// The earlier hits of a delivery come as one text: a row each would cost more than all the rest.
const CONTEXTS_AND_EARLIER: &str = contexts!(
    ", (
            select string_agg(kind || ' ' || link || ' ' || at || ' ' || visitor, '\n')
            from (
                select kind, link, at, visitor
                from hits
                where hits.message_id = wanted.message_id and hits.recipient = wanted.recipient
                order by id desc
                limit 50
            ) as latest
        ) as earlier"
);

/// Earlier hits, newest first, out of the lines that `CONTEXTS_AND_EARLIER` makes; JSON as we write it has no line ends.
/// One that cannot be read is passed over: that makes a judgement less sharp, and an error would hold up all hits.
fn earlier(delivery: DeliveryId, lines: &str, known: impl Fn(&HitKey) -> bool) -> Vec<EarlierHit> {
    let mut hits = Vec::new();
    // One visitor makes many hits, one after the other.
    let mut last: Option<(&str, Arc<Visitor>)> = None;
    for line in lines.lines() {
        let Some((key, text)) = earlier_hit(delivery, line) else {
            tracing::error!(%delivery, "an earlier hit cannot be read");
            continue;
        };
        if known(&key) {
            continue;
        }
        let visitor = match &last {
            Some((read, visitor)) if *read == text => visitor.clone(),
            _ => match serde_json::from_str(text) {
                Ok(visitor) => Arc::new(visitor),
                Err(fault) => {
                    tracing::error!(%delivery, %fault, "the visitor of an earlier hit cannot be read");
                    continue;
                }
            },
        };
        last = Some((text, visitor.clone()));
        let HitKey { kind, link, at, .. } = key;
        hits.push(EarlierHit { kind, link, at, visitor });
    }
    hits.sort_by_key(|hit| std::cmp::Reverse(hit.at));
    hits
}

fn earlier_hit(delivery: DeliveryId, line: &str) -> Option<(HitKey, &str)> {
    let mut words = line.splitn(4, ' ');
    let (kind, link) = (kind_from(words.next()?)?, words.next()?.parse().ok()?);
    let at = Timestamp::from_millis(words.next()?.parse().ok()?);
    Some((HitKey { delivery, kind, link, at }, words.next()?))
}

/// What was read; `None`, and a line in the log, where it does not read back as it was written: what is spoilt in one hit
/// must not hold up the others.
fn readable<T>(read: Result<T>) -> Result<Option<T>> {
    match read {
        Ok(read) => Ok(Some(read)),
        Err(StoreError::Corrupt(fault)) => {
            tracing::error!(fault, "a hit cannot be read");
            Ok(None)
        }
        Err(fault) => Err(fault),
    }
}

/// What mail agents want of their hits, read once for all the hits of one.
#[derive(Default)]
struct Wishes(HashMap<AgentId, (Privacy, bool)>);

impl Wishes {
    fn of(&mut self, agent: AgentId, row: &Row) -> Result<(Privacy, bool)> {
        if let Some(known) = self.0.get(&agent) {
            return Ok(*known);
        }
        let settings = row.maybe_text("settings")?.and_then(|text| serde_json::from_str::<AgentSettings>(&text).ok());
        let settings = settings.unwrap_or_default();
        Ok(*self.0.entry(agent).or_insert((settings.privacy, settings.durable_hits)))
    }
}

/// All but the earlier hits.
fn context(row: &Row, wishes: &mut Wishes) -> Result<HitContext> {
    let is_delivered = row.text("state")? != "queued";
    let (delivery, agent) = (delivery_id(row)?, AgentId::from_bytes(row.id("agent_id")?));
    let (privacy, is_durable) = wishes.of(agent, row)?;
    Ok(HitContext {
        delivery,
        tenant: TenantId::from_bytes(row.id("tenant_id")?),
        agent,
        address: row.text("address")?,
        delivered_at: row.maybe_time("settled_at")?.filter(|_| is_delivered),
        privacy,
        is_durable,
        earlier: None,
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
    const COUNTED: &str = "
        insert into counted_hits (id)
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
    let is_again = batches.iter().any(|batch| batch.is_again);
    let counted = insert_new(tx, COUNTED, counted, |hit| vec![hit.id.into()], is_again).await?;
    let fresh = insert_new(tx, HEAD, kept, hit_values, is_again).await?;
    counted.iter().chain(&fresh).for_each(|hit| deltas.add(hit));
    events.extend(firsts::claim(tx, &fresh, &mut deltas).await?);
    deltas.write(tx).await?;
    Ok(events)
}

/// Writes a row for each of these hits; those that had none. Where none can have one, that is not asked.
async fn insert_new<'h>(
    tx: &mut Tx,
    head: &str,
    hits: Vec<&'h RecordedHit>,
    row: fn(&RecordedHit) -> Vec<Value>,
    is_again: bool,
) -> Result<Vec<&'h RecordedHit>> {
    let rows = hits.iter().map(|hit| row(hit)).collect();
    if !is_again {
        tx.many(head, "on conflict do nothing", rows).await?;
        return Ok(hits);
    }
    let written = tx.many(head, "on conflict do nothing returning id", rows).await?;
    let written: HashSet<EventId> =
        written.iter().map(|row| row.id("id").map(EventId::from_bytes)).collect::<Result<_>>()?;
    Ok(hits.into_iter().filter(|hit| written.contains(&hit.id)).collect())
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
