//! The one task that records hits: describe, judge, judge again what later hits shed light on, write.
//!
//! | the database | a hit goes to | and then |
//! |---|---|---|
//! | answers | the store, with others | is done |
//! | is away | the journal, behind those before it | waits for the database |
//! | is back | the queue in memory | waits until the journal is recorded |
//!
//! Hits are judged in the order they came. A hit that later ones show to be a scanner's is judged again within
//! `REJUDGE`; the store takes back what it owed to webhooks that have not been told.

use std::collections::{HashMap, HashSet};
use std::time::Duration;

use tokio::sync::{mpsc, watch};

use super::journal::Journal;
use super::kept::kept;
use super::window::{COPY_MAX, Remembered, Visiting, Window};
use super::{Parts, Waiting};
use crate::enrich::Seen;
use crate::enrich::machine::{self, FanOut};
use crate::mail::render::tracked_links;
use crate::model::hit::{EarlierHit, Hit, HitKind, Verdict, Visitor, Who};
use crate::model::id::{DeliveryId, EventId, MessageId};
use crate::model::tenant::Privacy;
use crate::model::time::Timestamp;
use crate::store::StoreError;
use crate::store::hits::{Firsts, HitBatch, HitContext, HitKey, RecordedHit, Rejudged};

/// Hits recorded in one commit.
const BATCH_MAX: usize = 1024;
/// How long to wait before asking an absent database again.
const AWAY: Duration = Duration::from_secs(1);
/// Clicks this close to each other, or to the delivery, are looked at with the number of the mail's links in mind.
const CLOSE: Duration = Duration::from_secs(10);
const SOON: Duration = Duration::from_secs(60);
/// Mails whose number of links is remembered.
const LINKS_KNOWN_MAX: usize = 10_000;
/// Links of a larger mail are not counted.
const COUNTED_BYTES_MAX: u64 = 1 << 20;

/// Records hits.
pub(super) struct Recorder {
    parts: Parts,
    journal: Journal,
    window: Window,
    links: HashMap<MessageId, Option<u16>>,
}

/// One recipient's copy of a mail while hits on it are judged.
struct Copy {
    context: HitContext,
    /// Hits on it, newest first.
    hits: Vec<EarlierHit>,
    links: Option<u16>,
}

/// Hits by the copies that they are on.
type ByCopy<'a> = HashMap<DeliveryId, Vec<&'a Waiting>>;

/// Verdicts that changed.
type Changed = HashMap<HitKey, Verdict>;

/// A hit of the batch with its visitor, whole.
struct Judged<'a> {
    waiting: &'a Waiting,
    visitor: Visitor,
    hold: Option<Duration>,
}

impl Recorder {
    pub(super) fn new(parts: Parts, journal: Journal) -> Self {
        Self { parts, journal, window: Window::default(), links: HashMap::new() }
    }

    /// Records what comes until nothing more can come, or the store is closed.
    pub(super) async fn run(mut self, mut waiting: mpsc::Receiver<Waiting>, count: watch::Sender<u64>) {
        let mut batch = Vec::with_capacity(BATCH_MAX);
        loop {
            if !self.journal.is_empty() && !self.outlast(&mut waiting, &count).await {
                return;
            }
            if waiting.recv_many(&mut batch, BATCH_MAX).await == 0 {
                return;
            }
            let taken = batch.len() as u64;
            match self.record(&batch, Time::First).await {
                Ok(()) => batch.clear(),
                Err(StoreError::Closed) => {
                    self.put_aside(&mut batch).await;
                    return;
                }
                Err(fault) => {
                    tracing::warn!(%fault, hits = taken, "hits wait for the database");
                    if !self.put_aside(&mut batch).await && !self.insist(&batch).await {
                        return;
                    }
                    batch.clear();
                }
            }
            count.send_modify(|recorded| *recorded += taken);
        }
    }

    /// Writes hits to the journal; whether it could.
    async fn put_aside(&mut self, batch: &mut Vec<Waiting>) -> bool {
        match self.journal.append(batch).await {
            Ok(()) => {
                batch.clear();
                true
            }
            Err(fault) => {
                tracing::error!(%fault, hits = batch.len(), "hits cannot be written to the journal and wait in memory");
                false
            }
        }
    }

    /// Tries hits that have nowhere else to go until they are recorded; false when the store is closed.
    async fn insist(&mut self, batch: &[Waiting]) -> bool {
        loop {
            self.parts.clock.sleep_until(self.parts.clock.now() + AWAY).await;
            match self.record(batch, Time::Again).await {
                Ok(()) => return true,
                Err(StoreError::Closed) => return false,
                Err(_) => {}
            }
        }
    }

    /// Puts what comes behind what is in the journal until the database answers, and then records the journal; false
    /// when nothing more can come: the next start finds the journal.
    async fn outlast(&mut self, waiting: &mut mpsc::Receiver<Waiting>, count: &watch::Sender<u64>) -> bool {
        let mut batch = Vec::with_capacity(BATCH_MAX);
        loop {
            let (store, clock) = (self.parts.store.clone(), self.parts.clock.clone());
            let back = async move {
                while store.probe().await.is_err() {
                    clock.sleep_until(clock.now() + AWAY).await;
                }
            };
            tokio::pin!(back);
            loop {
                tokio::select! {
                    () = &mut back => break,
                    taken = waiting.recv_many(&mut batch, BATCH_MAX) => {
                        if taken == 0 {
                            return false;
                        }
                        if !self.put_aside(&mut batch).await && !self.insist(&batch).await {
                            return false;
                        }
                        batch.clear();
                        count.send_modify(|recorded| *recorded += taken as u64);
                    }
                }
            }
            match self.replay().await {
                Ok(()) => return true,
                Err(StoreError::Closed) => return false,
                Err(fault) => tracing::warn!(%fault, "the journal of hits waits for the database"),
            }
        }
    }

    /// Records what the journal holds.
    async fn replay(&mut self) -> Result<(), StoreError> {
        let mut hits = 0;
        loop {
            let bite = match self.journal.bite().await {
                Ok(Some(bite)) => bite,
                Ok(None) => break,
                Err(fault) => {
                    tracing::error!(%fault, "the journal of hits cannot be read and is given up");
                    self.journal.abandon();
                    break;
                }
            };
            for batch in bite.hits.chunks(BATCH_MAX) {
                self.record(batch, Time::Again).await?;
            }
            hits += bite.hits.len();
            if let Err(fault) = self.journal.done(&bite).await {
                tracing::error!(%fault, "the journal of hits cannot be removed");
            }
        }
        tracing::info!(hits, "the journal of hits is recorded");
        Ok(())
    }

    async fn record(&mut self, batch: &[Waiting], time: Time) -> Result<(), StoreError> {
        let mut by_copy = ByCopy::new();
        batch.iter().for_each(|waiting| by_copy.entry(waiting.delivery).or_default().push(waiting));
        let mut copies = self.copies(&by_copy).await?;
        let mut judged: Vec<Judged<'_>> = Vec::with_capacity(batch.len());
        let mut crowded = Vec::new();
        for waiting in batch {
            // A delivery that is no longer known: the link works, nothing is left to record the hit with.
            let Some(copy) = copies.get_mut(&waiting.delivery) else { continue };
            let fan_out = self.window.visit(visiting(waiting, copy));
            if fan_out.is_crowd() {
                crowded.extend(self.window.elsewhere(visiting(waiting, copy)).into_iter().map(|hit| (hit, fan_out)));
            }
            judged.push(self.judged(waiting, copy, fan_out));
        }
        if judged.is_empty() {
            return Ok(());
        }
        let mut changed = Changed::new();
        for (delivery, copy) in &copies {
            changed.extend(copy.judged_again(by_copy.get(delivery).map_or(&[], Vec::as_slice)));
        }
        for ((delivery, hit), fan_out) in crowded {
            changed.extend(self.one_of_a_crowd(delivery, hit, fan_out, &judged));
        }
        for copy in copies.values_mut() {
            copy.see_as(&changed);
        }
        for hit in &mut judged {
            if let Some(verdict) = changed.remove(&hit.waiting.key()) {
                hit.visitor.machine = verdict;
            }
        }
        self.write(judged, changed, &copies, time).await
    }

    /// Writes the hits of a batch and the verdicts that changed, and remembers both.
    async fn write(
        &mut self,
        judged: Vec<Judged<'_>>,
        changed: Changed,
        copies: &HashMap<DeliveryId, Copy>,
        time: Time,
    ) -> Result<(), StoreError> {
        let now = self.parts.clock.now();
        let rejudged = changed.iter().map(|(hit, verdict)| Rejudged {
            hit: *hit,
            verdict: verdict.clone(),
            told_as: EventId::from_uuid(self.parts.ids.uuid(now)),
        });
        let hits = judged.iter().filter_map(|hit| Some(recorded(hit, copies.get(&hit.waiting.delivery)?)));
        let is_again = matches!(time, Time::Again);
        let batch = HitBatch { hits: hits.collect(), rejudged: rejudged.collect(), now, is_again };
        self.parts.store.record_hits(batch).await?;
        for Judged { waiting, visitor, .. } in judged {
            let Waiting { id, delivery, kind, link, at, .. } = *waiting;
            self.window.remember(delivery, Remembered { id, hit: EarlierHit { kind, link, at, visitor } });
        }
        for (hit, verdict) in changed {
            self.window.see_as(hit, &verdict);
        }
        Ok(())
    }

    /// What is known of the deliveries of a batch.
    async fn copies(&mut self, by_copy: &ByCopy<'_>) -> Result<HashMap<DeliveryId, Copy>, StoreError> {
        let ids: Vec<DeliveryId> = by_copy.keys().copied().collect();
        let mut copies = HashMap::new();
        for (delivery, mut context) in self.parts.store.hit_contexts(&ids).await? {
            let new = by_copy.get(&delivery).map_or(&[][..], Vec::as_slice);
            // What is remembered is whole; what is stored may be all that is known.
            let mut hits: Vec<EarlierHit> = self.window.hits(delivery).map(|known| known.hit.clone()).collect();
            let mut seen: HashSet<HitKey> = hits.iter().map(|hit| key(delivery, hit)).collect();
            let stored = std::mem::take(&mut context.earlier).into_iter();
            hits.extend(stored.filter(|hit| seen.insert(key(delivery, hit))));
            // What is tried again must not meet itself.
            let new_keys: HashSet<HitKey> = new.iter().map(|waiting| waiting.key()).collect();
            hits.retain(|hit| !new_keys.contains(&key(delivery, hit)));
            hits.sort_by_key(|hit| std::cmp::Reverse(hit.at));
            let links = match asks_for_links(&context, &hits, new) {
                true => self.links_of(delivery.message).await?,
                false => None,
            };
            copies.insert(delivery, Copy { context, hits, links });
        }
        Ok(copies)
    }

    /// How many links of a mail are tracked; `None` when that is not known.
    async fn links_of(&mut self, message: MessageId) -> Result<Option<u16>, StoreError> {
        if let Some(known) = self.links.get(&message) {
            return Ok(*known);
        }
        let (store, id) = (&self.parts.store, message);
        let found = store.message(id).await?.filter(|message| message.size_bytes <= COUNTED_BYTES_MAX);
        let links = match found {
            None => None,
            Some(found) => store.content(id).await?.map(|content| tracked_links(&content, &found.facts)),
        };
        if self.links.len() >= LINKS_KNOWN_MAX {
            self.links.clear();
        }
        self.links.insert(message, links);
        Ok(links)
    }

    /// The hit with its visitor. Later hits of the batch see this one.
    fn judged<'a>(&self, waiting: &'a Waiting, copy: &mut Copy, fan_out: FanOut) -> Judged<'a> {
        let Waiting { kind, link, at, .. } = *waiting;
        let network = waiting.request.ip.and_then(|ip| self.parts.enricher.geo().network(ip));
        let earlier = std::mem::take(&mut copy.hits);
        let links = copy.links;
        let alone = Seen::alone(kind, link, at, copy.context.delivered_at);
        let seen = Seen { earlier, links, fan_out, network, ..alone };
        let (visitor, hold) = self.parts.enricher.visitor(&waiting.request, &seen);
        copy.hits = seen.earlier;
        copy.hits.insert(0, EarlierHit { kind, link, at, visitor: visitor.clone() });
        copy.hits.truncate(COPY_MAX);
        Judged { waiting, visitor, hold }
    }

    /// Judges a hit again whose visitor turned up at the mail of many others.
    fn one_of_a_crowd(
        &self,
        delivery: DeliveryId,
        hit: EventId,
        fan_out: FanOut,
        judged: &[Judged<'_>],
    ) -> Option<(HitKey, Verdict)> {
        let of_the_batch = judged.iter().find(|judged| judged.waiting.id == hit).map(|judged| {
            let Waiting { kind, link, at, .. } = *judged.waiting;
            EarlierHit { kind, link, at, visitor: judged.visitor.clone() }
        });
        let known = of_the_batch.or_else(|| {
            let known = self.window.hits(delivery).find(|known| known.id == hit);
            known.map(|known| known.hit.clone())
        })?;
        let ip = known.visitor.place.ip_address.parse().ok()?;
        let verdict = machine::judge_in_a_crowd(&known, fan_out, self.parts.enricher.geo().network(ip))?;
        Some((key(delivery, &known), verdict))
    }
}

/// Whether a batch is recorded for the first time, or may have been before.
#[derive(Clone, Copy)]
enum Time {
    First,
    Again,
}

impl Waiting {
    fn key(&self) -> HitKey {
        HitKey { delivery: self.delivery, kind: self.kind, link: self.link, at: self.at }
    }
}

fn key(delivery: DeliveryId, hit: &EarlierHit) -> HitKey {
    HitKey { delivery, kind: hit.kind, link: hit.link, at: hit.at }
}

impl Copy {
    /// The verdicts on hits that the clicks of this batch shed light on.
    fn judged_again(&self, new: &[&Waiting]) -> Changed {
        let clicks: Vec<Timestamp> =
            new.iter().filter(|waiting| waiting.kind == HitKind::Click).map(|waiting| waiting.at).collect();
        let is_near = |at: Timestamp| clicks.iter().any(|click| click.since(at).max(at.since(*click)) <= CLOSE);
        let again = self.hits.iter().filter(|hit| is_near(hit.at)).filter_map(|hit| {
            let verdict = machine::judge_again(hit, &self.hits, self.links)?;
            Some((key(self.context.delivery, hit), verdict))
        });
        again.collect()
    }

    /// Puts the verdicts that changed on its hits.
    fn see_as(&mut self, changed: &Changed) {
        for hit in &mut self.hits {
            if let Some(verdict) = changed.get(&key(self.context.delivery, hit)) {
                hit.visitor.machine = verdict.clone();
            }
        }
    }

    /// Which firsts a hit may be: those that no earlier one has taken.
    fn firsts(&self, waiting: &Waiting, who: Who) -> Firsts {
        let own = |hit: &&EarlierHit| hit.kind == waiting.kind && hit.link == waiting.link && hit.at < waiting.at;
        let is_taken = |by: fn(Who) -> bool| self.hits.iter().filter(own).any(|hit| by(hit.visitor.machine.verdict));
        Firsts {
            by_anyone: who != Who::Scanner && !is_taken(|who| who != Who::Scanner),
            by_person: who.is_person() && !is_taken(Who::is_person),
        }
    }
}

/// Whether anything about these clicks depends on how many links the mail has: finding out is not free.
fn asks_for_links(context: &HitContext, hits: &[EarlierHit], new: &[&Waiting]) -> bool {
    let clicks: Vec<Timestamp> =
        new.iter().filter(|waiting| waiting.kind == HitKind::Click).map(|waiting| waiting.at).collect();
    let is_close = |at: &Timestamp| {
        let is_soon = context.delivered_at.is_some_and(|delivered| at.since(delivered) <= SOON);
        is_soon || hits.iter().any(|hit| hit.kind == HitKind::Click && at.since(hit.at) <= CLOSE)
    };
    clicks.len() > 1 || clicks.iter().any(is_close)
}

fn visiting<'a>(waiting: &'a Waiting, copy: &'a Copy) -> Visiting<'a> {
    Visiting {
        ip: waiting.request.ip,
        user_agent: &waiting.request.user_agent,
        reader: &copy.context.address,
        at: waiting.at,
        delivery: waiting.delivery,
        hit: waiting.id,
    }
}

/// The hit as it is written: with as much of its visitor as the agent keeps.
fn recorded(judged: &Judged<'_>, copy: &Copy) -> RecordedHit {
    let Judged { waiting, visitor, hold } = judged;
    let Waiting { id, delivery, kind, link, at, .. } = **waiting;
    let context = &copy.context;
    let first = copy.firsts(waiting, visitor.machine.verdict);
    let visitor = kept(visitor.clone(), &waiting.request, kind, context.privacy);
    RecordedHit {
        id,
        hit: Hit { delivery, kind, link, target: waiting.target.clone(), at, visitor },
        tenant: context.tenant,
        agent: context.agent,
        address: context.address.clone(),
        relay_at: at + hold.unwrap_or_default(),
        first,
        is_only_counted: context.privacy == Privacy::AggregateOnly,
    }
}
