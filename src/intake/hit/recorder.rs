//! The one task that records hits: describe, judge, judge again what later hits shed light on, write.
//!
//! | the database | a hit goes to | and then |
//! |---|---|---|
//! | answers | the store, with others | is done |
//! | is away | the journal, behind those before it | waits for the database |
//! | is back | the queue in memory | waits until the journal is recorded |
//!
//! Hits are judged in the order they came. A hit that later ones show to be a scanner's is judged again within
//! `REJUDGE`; the store takes back what it owed to webhooks that have not been told. Readers who wait are let go when
//! their hit is on the disk, in the store or in the journal; those whose mail agent does not ask for that, when it shows.

use std::collections::{HashMap, HashSet};
use std::time::Duration;

use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;

use super::copy::{Changed, Copy, Judged, key};
use super::journal::Journal;
use super::window::{COPY_MAX, Remembered, Visiting, Window};
use super::{Held, Parts, Queued, Waiting};
use crate::enrich::Seen;
use crate::enrich::machine::{self, FanOut};
use crate::mail::render::tracked_links;
use crate::model::hit::{EarlierHit, Who};
use crate::model::id::{DeliveryId, EventId, MessageId};
use crate::store::hits::{HitBatch, HitContext, Rejudged};
use crate::store::{Store, StoreError};

/// Hits recorded in one commit.
const BATCH_MAX: usize = 1024;
/// How long to wait before asking an absent database again.
const AWAY: Duration = Duration::from_secs(1);
/// How long the look-up of hits that have waited before may take.
const PATIENCE: Duration = Duration::from_secs(60);
/// Mails whose number of links is remembered.
const LINKS_KNOWN_MAX: usize = 100_000;
/// Mails whose links are counted at a time.
const COUNTED_AT_ONCE: usize = 8;
/// Links of a larger mail are not counted.
const COUNTED_BYTES_MAX: u64 = 1 << 20;

/// Records hits.
pub(super) struct Recorder {
    parts: Parts,
    journal: Journal,
    window: Window,
    links: HashMap<MessageId, Option<u16>>,
}

/// Hits by the copies that they are on.
type ByCopy<'a> = HashMap<DeliveryId, Vec<&'a Waiting>>;

impl Recorder {
    pub(super) fn new(parts: Parts, journal: Journal) -> Self {
        Self { parts, journal, window: Window::default(), links: HashMap::new() }
    }

    /// Records what comes until nothing more can come, or the store is closed.
    pub(super) async fn run(mut self, mut waiting: mpsc::Receiver<Queued>, count: watch::Sender<u64>) {
        let mut queued = Vec::with_capacity(BATCH_MAX);
        loop {
            if !self.journal.is_empty() && !self.outlast(&mut waiting, &count).await {
                return;
            }
            if waiting.recv_many(&mut queued, BATCH_MAX).await == 0 {
                return;
            }
            let (batch, mut held): (Vec<Waiting>, Vec<Held>) = queued.drain(..).unzip();
            match self.record(&batch, &mut held, Time::First).await {
                Ok(()) => {}
                Err(StoreError::Closed) => {
                    self.put_aside(&batch).await;
                    return;
                }
                Err(fault) => {
                    tracing::warn!(%fault, hits = batch.len(), "hits wait for the database");
                    if !self.keep(&batch, held).await {
                        return;
                    }
                }
            }
            count.send_modify(|recorded| *recorded += batch.len() as u64);
        }
    }

    /// Puts hits where they wait for the database; false when the store is closed before that was possible.
    async fn keep(&mut self, batch: &[Waiting], held: Vec<Held>) -> bool {
        let is_safe = self.put_aside(batch).await;
        // Safe, or nowhere safe for as long as nobody can tell: no reader waits for that.
        drop(held);
        is_safe || self.insist(batch).await
    }

    /// Writes hits to the journal; whether it could.
    async fn put_aside(&mut self, batch: &[Waiting]) -> bool {
        let written = self.journal.append(batch).await;
        if let Err(fault) = &written {
            tracing::error!(%fault, hits = batch.len(), "hits cannot be written to the journal and wait in memory");
        }
        written.is_ok()
    }

    /// Tries hits that have nowhere else to go until they are recorded; false when the store is closed.
    async fn insist(&mut self, batch: &[Waiting]) -> bool {
        loop {
            self.parts.clock.sleep_until(self.parts.clock.now() + AWAY).await;
            match self.record(batch, &mut [], Time::Again).await {
                Ok(()) => return true,
                Err(StoreError::Closed) => return false,
                Err(_) => {}
            }
        }
    }

    /// Puts what comes behind what is in the journal until the database answers, and then records the journal; false
    /// when nothing more can come: the next start finds the journal.
    async fn outlast(&mut self, waiting: &mut mpsc::Receiver<Queued>, count: &watch::Sender<u64>) -> bool {
        let mut queued = Vec::with_capacity(BATCH_MAX);
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
                    taken = waiting.recv_many(&mut queued, BATCH_MAX) => {
                        let (batch, held): (Vec<Waiting>, Vec<Held>) = queued.drain(..).unzip();
                        if taken == 0 || !self.keep(&batch, held).await {
                            return false;
                        }
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
                self.record(batch, &mut [], Time::Again).await?;
            }
            hits += bite.hits.len();
            if let Err(fault) = self.journal.done(&bite).await {
                tracing::error!(%fault, "the journal of hits cannot be removed");
            }
        }
        tracing::info!(hits, "the journal of hits is recorded");
        Ok(())
    }

    /// Judges and writes a batch. Those of its readers whom it lets go before the end need not wait for it.
    async fn record(&mut self, batch: &[Waiting], held: &mut [Held], time: Time) -> Result<(), StoreError> {
        let mut by_copy = ByCopy::new();
        batch.iter().for_each(|waiting| by_copy.entry(waiting.delivery).or_default().push(waiting));
        let contexts = self.contexts(&by_copy, time).await?;
        for (waiting, held) in batch.iter().zip(held) {
            if contexts.get(&waiting.delivery).is_none_or(|context| !context.is_durable) {
                *held = None;
            }
        }
        let mut copies = self.copies(contexts, &by_copy).await?;
        let mut judged: Vec<Judged<'_>> = Vec::with_capacity(batch.len());
        let mut crowded: HashMap<(DeliveryId, EventId), FanOut> = HashMap::new();
        for waiting in batch {
            // A delivery that is no longer known: the link works, nothing is left to record the hit with.
            let Some(copy) = copies.get_mut(&waiting.delivery) else { continue };
            let fan_out = self.window.visit(visiting(waiting, copy));
            if fan_out.is_crowd() {
                let elsewhere = self.window.elsewhere(visiting(waiting, copy));
                crowded.extend(elsewhere.into_iter().map(|hit| (hit, fan_out)));
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
        changed.extend(self.found_in_a_crowd(crowded, &judged));
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
        let hits = judged.iter().filter_map(|hit| Some(copies.get(&hit.waiting.delivery)?.recorded(hit)));
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

    /// What is stored about the deliveries of a batch and not remembered: what is remembered is whole, what is stored may
    /// be all that was kept.
    async fn contexts(&self, by_copy: &ByCopy<'_>, time: Time) -> Result<HashMap<DeliveryId, HitContext>, StoreError> {
        let ids: Vec<DeliveryId> = by_copy.keys().copied().collect();
        let patience = match time {
            Time::First => self.parts.patience,
            Time::Again => PATIENCE,
        };
        self.parts.store.hit_contexts(&ids, |hit| self.window.knows(hit), patience).await
    }

    /// The copies that these hits are on, with all that is known of the hits before.
    async fn copies(
        &mut self,
        contexts: HashMap<DeliveryId, HitContext>,
        by_copy: &ByCopy<'_>,
    ) -> Result<HashMap<DeliveryId, Copy>, StoreError> {
        let mut copies = HashMap::new();
        let mut countable = HashSet::new();
        for (delivery, context) in contexts {
            let new = by_copy.get(&delivery).map_or(&[][..], Vec::as_slice);
            let copy = Copy::new(context, self.window.hits(delivery).map(|known| known.hit.clone()), new);
            if copy.asks_for_links(new) {
                countable.insert(delivery.message);
            }
            copies.insert(delivery, copy);
        }
        self.count_links(&countable).await?;
        for (delivery, copy) in &mut copies {
            copy.links = self.links.get(&delivery.message).copied().flatten();
        }
        Ok(copies)
    }

    /// Finds out how many links of these mails are tracked, where that is not known.
    async fn count_links(&mut self, messages: &HashSet<MessageId>) -> Result<(), StoreError> {
        let unknown: Vec<MessageId> = messages.iter().filter(|id| !self.links.contains_key(*id)).copied().collect();
        if self.links.len() + unknown.len() > LINKS_KNOWN_MAX {
            self.links.retain(|id, _| messages.contains(id));
        }
        for some in unknown.chunks(COUNTED_AT_ONCE) {
            let store = &self.parts.store;
            let counting: JoinSet<_> = some.iter().map(|id| counted(store.clone(), *id)).collect();
            for counted in counting.join_all().await {
                let (id, links) = counted?;
                self.links.insert(id, links);
            }
        }
        Ok(())
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

    /// The verdicts on hits whose visitors turned up at the mail of many others since.
    fn found_in_a_crowd(&self, crowded: HashMap<(DeliveryId, EventId), FanOut>, judged: &[Judged<'_>]) -> Changed {
        let of_the_batch: HashMap<EventId, &Judged<'_>> = match crowded.is_empty() {
            true => HashMap::new(),
            false => judged.iter().map(|judged| (judged.waiting.id, judged)).collect(),
        };
        let found = crowded.into_iter().filter_map(|((delivery, hit), fan_out)| {
            let known = match of_the_batch.get(&hit) {
                Some(judged) if judged.visitor.machine.verdict != Who::Person => return None,
                Some(judged) => judged.as_earlier(),
                None => self.window.hits(delivery).find(|known| known.id == hit)?.hit.clone(),
            };
            let ip = known.visitor.place.ip_address.parse().ok()?;
            let verdict = machine::judge_in_a_crowd(&known, fan_out, self.parts.enricher.geo().network(ip))?;
            Some((key(delivery, &known), verdict))
        });
        found.collect()
    }
}

/// How many links of a mail are tracked; `None` when that cannot be known.
async fn counted(store: Store, id: MessageId) -> Result<(MessageId, Option<u16>), StoreError> {
    let found = store.message(id).await?.filter(|message| message.size_bytes <= COUNTED_BYTES_MAX);
    let links = match found {
        None => None,
        Some(found) => store.content(id).await?.map(|content| tracked_links(&content, &found.facts)),
    };
    Ok((id, links))
}

/// Whether a batch is recorded for the first time, or may have been before.
#[derive(Clone, Copy)]
enum Time {
    First,
    Again,
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
