//! Judges the hits of a batch: looks up what is known of their deliveries, describes and judges each in the order they
//! came, and judges again what they shed light on.
//!
//! What is judged is remembered at once, so that the next batch sees it while this one is still being written; what
//! could not be written is taken back. A verdict that changed on a hit of an earlier batch is owed to the store until it
//! is written.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use tokio::task::JoinSet;

use super::copy::{Changed, Copy, Judged, key};
use super::window::{Remembered, Visiting, Window};
use super::{Held, Parts, Waiting};
use crate::enrich::machine::{self, FanOut};
use crate::enrich::{Enricher, Seen};
use crate::mail::render::tracked_links;
use crate::model::hit::Who;
use crate::model::id::{DeliveryId, EventId, MessageId};
use crate::store::hits::{HitContext, RecordedHit};
use crate::store::{Store, StoreError};

/// How long the look-up of hits that have waited before may take.
const PATIENCE: Duration = Duration::from_secs(60);
/// Mails whose number of links is remembered.
const LINKS_KNOWN_MAX: usize = 100_000;
/// Mails whose links are counted at a time.
const COUNTED_AT_ONCE: usize = 8;
/// Links of a larger mail are not counted.
const COUNTED_BYTES_MAX: u64 = 1 << 20;

/// Who judges hits, with what is remembered of those before.
pub(super) struct Judge {
    store: Store,
    enricher: Arc<Enricher>,
    patience: Duration,
    window: Window,
    links: HashMap<MessageId, Option<u16>>,
    /// Verdicts on hits of earlier batches that changed and are not on their way into the store.
    pub(super) changed: Changed,
}

/// Hits by the copies that they are on.
type ByCopy<'a> = HashMap<DeliveryId, Vec<&'a Waiting>>;

/// Whether a batch is recorded for the first time, or may have been before.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Time {
    First,
    Again,
}

impl Judge {
    pub(super) fn new(parts: &Parts) -> Self {
        let (store, enricher, patience) = (parts.store.clone(), parts.enricher.clone(), parts.patience);
        let (window, links, changed) = (Window::default(), HashMap::new(), Changed::new());
        Self { store, enricher, patience, window, links, changed }
    }

    /// The hits of a batch as they are to be written. Those of its readers whom nothing holds are let go.
    ///
    /// # Errors
    /// As the look-up fails; nothing was judged.
    pub(super) async fn judge(
        &mut self,
        batch: &[Waiting],
        held: &mut [Held],
        time: Time,
    ) -> Result<Vec<RecordedHit>, StoreError> {
        let mut by_copy = ByCopy::new();
        batch.iter().for_each(|waiting| by_copy.entry(waiting.delivery).or_default().push(waiting));
        let contexts = self.contexts(batch, &by_copy, time).await?;
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
        self.judge_again(&mut judged, &mut copies, &by_copy, crowded);
        Ok(judged.iter().filter_map(|hit| Some(copies.get(&hit.waiting.delivery)?.recorded(hit))).collect())
    }

    /// These hits, and verdicts that changed with them, could not be written: the hits will come again, or are lost.
    pub(super) fn take_back(&mut self, hits: &[Waiting], changed: Changed) {
        hits.iter().for_each(|hit| self.window.take_back(hit.delivery, hit.id));
        for (hit, verdict) in changed {
            self.changed.entry(hit).or_insert(verdict);
        }
    }

    /// Judges again what the hits of a batch shed light on, in the batch and before it, and remembers all of it.
    fn judge_again(
        &mut self,
        judged: &mut [Judged<'_>],
        copies: &mut HashMap<DeliveryId, Copy>,
        by_copy: &ByCopy<'_>,
        crowded: HashMap<(DeliveryId, EventId), FanOut>,
    ) {
        let mut changed = Changed::new();
        for (delivery, copy) in &*copies {
            changed.extend(copy.judged_again(by_copy.get(delivery).map_or(&[], Vec::as_slice)));
        }
        changed.extend(self.found_in_a_crowd(crowded, judged));
        for copy in copies.values_mut() {
            copy.see_as(&changed);
        }
        for hit in judged {
            if let Some(verdict) = changed.remove(&hit.waiting.key()) {
                Arc::make_mut(&mut hit.visitor).machine = verdict;
            }
            self.window.remember(hit.waiting.delivery, Remembered { id: hit.waiting.id, hit: hit.as_earlier() });
        }
        for (hit, verdict) in &changed {
            self.window.see_as(*hit, verdict);
        }
        self.changed.extend(changed);
    }

    /// What is stored about the deliveries of a batch. What is remembered of their hits is whole, what is stored may be
    /// all that was kept: it is read where it is not remembered, or where other nodes write too.
    async fn contexts(
        &mut self,
        batch: &[Waiting],
        by_copy: &ByCopy<'_>,
        time: Time,
    ) -> Result<HashMap<DeliveryId, HitContext>, StoreError> {
        let patience = match time {
            Time::First => self.patience,
            Time::Again => PATIENCE,
        };
        let now = batch.iter().map(|waiting| waiting.at).max().unwrap_or_default();
        self.window.age(by_copy.keys().copied(), now);
        let ids: Vec<DeliveryId> = by_copy.keys().copied().collect();
        let (window, is_alone) = (&self.window, !self.store.is_shared());
        let remembers = |id| is_alone && window.is_whole(id);
        let mut contexts = self.store.hit_contexts(&ids, remembers, |hit| window.knows(hit), patience).await?;
        for id in ids {
            match contexts.get_mut(&id) {
                Some(context) => {
                    if let Some(stored) = context.earlier.take() {
                        self.window.learn(id, stored, now);
                    }
                }
                None => self.window.forget(id),
            }
        }
        Ok(contexts)
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
            let copy = Copy::new(context, self.window.earlier(delivery), new);
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
            let store = &self.store;
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
        let network = waiting.request.ip.and_then(|ip| self.enricher.geo().network(ip));
        let earlier = std::mem::take(&mut copy.hits);
        let links = copy.links;
        let alone = Seen::alone(kind, link, at, copy.context.delivered_at);
        let seen = Seen { earlier, links, fan_out, network, ..alone };
        let (visitor, hold) = self.enricher.visitor(&waiting.request, &seen);
        copy.hits = seen.earlier;
        let visitor = copy.add(waiting, visitor);
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
            let verdict = machine::judge_in_a_crowd(&known, fan_out, self.enricher.geo().network(ip))?;
            Some((key(delivery, &known), verdict))
        });
        found.collect()
    }
}

/// How many links of a mail are tracked; `None` when that cannot be known.
async fn counted(store: Store, id: MessageId) -> Result<(MessageId, Option<u16>), StoreError> {
    match links(&store, id).await {
        Ok(links) => Ok((id, links)),
        Err(StoreError::Corrupt(fault)) => {
            tracing::error!(message.id = %id, fault, "the links of a mail cannot be counted");
            Ok((id, None))
        }
        Err(fault) => Err(fault),
    }
}

async fn links(store: &Store, id: MessageId) -> Result<Option<u16>, StoreError> {
    let found = store.message(id).await?.filter(|message| message.size_bytes <= COUNTED_BYTES_MAX);
    let Some(found) = found else { return Ok(None) };
    Ok(store.content(id).await?.map(|content| tracked_links(&content, &found.facts)))
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
