//! A hit arrives: open its token, answer at once, describe the visitor later, record.
//!
//! The answer never waits for the database: hits go through a bounded queue to a task that looks up what is known of
//! their deliveries, judges them in the order they came, and records them many at a time. While the database is away
//! the task waits with what it holds; a hit that finds the queue full is counted and lost, and still answered.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tokio::sync::{mpsc, watch};

use super::Intake;
use crate::clock::Clock;
use crate::enrich::{Enricher, Seen};
use crate::ids::IdSource;
use crate::model::hit::{Client, EarlierHit, Hit, HitKind, HitRequest, Place, Visitor, Who};
use crate::model::id::{DeliveryId, EventId};
use crate::model::tenant::Privacy;
use crate::model::time::Timestamp;
use crate::model::token::Reference;
use crate::store::hits::{Firsts, HitContext, RecordedHit};
use crate::store::{Store, StoreError};

/// Hits recorded in one commit.
const BATCH_MAX: usize = 1024;
/// Earlier hits of one delivery that are looked at.
const EARLIER_MAX: usize = 50;
/// How long to wait before asking an absent database again.
const AWAY: Duration = Duration::from_secs(1);

/// What a token under a tracking host asks for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Answer {
    /// The pixel.
    Pixel,
    /// A redirect to this target.
    Redirect(String),
    /// The unsubscribe page of this delivery.
    Unsubscribe(DeliveryId),
}

/// Hits on their way to being recorded.
#[derive(Debug)]
pub(super) struct Queue {
    sender: mpsc::Sender<Waiting>,
    taken: AtomicU64,
    /// How many of those taken are recorded, or nothing is left to record them with.
    recorded: watch::Receiver<u64>,
    lost: AtomicU64,
}

/// A hit that nobody has judged yet.
#[derive(Debug)]
struct Waiting {
    delivery: DeliveryId,
    kind: HitKind,
    link: u16,
    target: String,
    at: Timestamp,
    request: HitRequest,
}

/// What recording works with.
#[derive(Debug)]
pub(super) struct Recorder {
    pub(super) store: Store,
    pub(super) clock: Clock,
    pub(super) ids: IdSource,
    pub(super) enricher: Arc<Enricher>,
}

pub(super) fn start(recorder: Recorder, waiting_max: usize) -> Queue {
    let (sender, receiver) = mpsc::channel(waiting_max);
    let (count, recorded) = watch::channel(0);
    tokio::spawn(recorder.run(receiver, count));
    Queue { sender, taken: AtomicU64::new(0), recorded, lost: AtomicU64::new(0) }
}

impl Intake {
    /// What the token asks for; `None` unless we sealed it for `host` (as the `Host` header names it). The hit is
    /// queued when the request is a GET: only those count.
    pub fn hit(&self, host: &str, token: &str, request: HitRequest) -> Option<Answer> {
        let (delivery, reference) = self.0.opener.open(host, token)?;
        let (kind, link, target, answer) = match reference {
            Reference::Open => (HitKind::Open, 0, String::new(), Answer::Pixel),
            Reference::Click { link, target } | Reference::TextClick { link, target } => {
                (HitKind::Click, link, target.clone(), Answer::Redirect(target))
            }
            Reference::Unsubscribe => return Some(Answer::Unsubscribe(delivery)),
        };
        if request.is_get {
            let at = self.0.clock.now();
            self.0.hits.push(Waiting { delivery, kind, link, target, at, request });
        }
        Some(answer)
    }

    /// Hits that were lost to a full queue, since the start.
    pub fn hits_lost(&self) -> u64 {
        self.0.hits.lost.load(Ordering::Relaxed)
    }

    /// Hits that wait to be recorded.
    pub fn hits_waiting(&self) -> u64 {
        self.0.hits.taken.load(Ordering::Relaxed).saturating_sub(*self.0.hits.recorded.borrow())
    }

    /// Returns when every hit that was answered before is recorded. While the database is away it waits with them.
    pub async fn drain(&self) {
        let taken = self.0.hits.taken.load(Ordering::Relaxed);
        // A recorder that has ended, with the store, records nothing more.
        let _ = self.0.hits.recorded.clone().wait_for(|recorded| *recorded >= taken).await;
    }
}

impl Queue {
    fn push(&self, waiting: Waiting) {
        let counter = if self.sender.try_send(waiting).is_ok() { &self.taken } else { &self.lost };
        counter.fetch_add(1, Ordering::Relaxed);
    }
}

impl Recorder {
    async fn run(self, mut waiting: mpsc::Receiver<Waiting>, count: watch::Sender<u64>) {
        let mut batch = Vec::with_capacity(BATCH_MAX);
        while waiting.recv_many(&mut batch, BATCH_MAX).await > 0 {
            while let Err(fault) = self.record(&batch).await {
                if matches!(fault, StoreError::Closed) {
                    return;
                }
                tracing::warn!(%fault, hits = batch.len(), "hits wait for the database");
                self.clock.sleep_until(self.clock.now() + AWAY).await;
            }
            count.send_modify(|recorded| *recorded += batch.len() as u64);
            batch.clear();
        }
    }

    async fn record(&self, batch: &[Waiting]) -> Result<(), StoreError> {
        let ids: Vec<DeliveryId> = batch.iter().map(|waiting| waiting.delivery).collect();
        let mut contexts = self.store.hit_contexts(&ids).await?;
        let recorded: Vec<RecordedHit> =
            batch.iter().filter_map(|waiting| self.judged(waiting, &mut contexts)).collect();
        if recorded.is_empty() { Ok(()) } else { self.store.record_hits(recorded).await }
    }

    /// The hit with its visitor; `None` when its delivery is no longer known: the link still works, nothing is left
    /// to record it with. Later hits of the batch see this one.
    fn judged(&self, waiting: &Waiting, contexts: &mut HashMap<DeliveryId, HitContext>) -> Option<RecordedHit> {
        let context = contexts.get_mut(&waiting.delivery)?;
        let alone = Seen::alone(waiting.kind, waiting.link, waiting.at, context.delivered_at);
        let seen = Seen { earlier: std::mem::take(&mut context.earlier), ..alone };
        let (visitor, hold) = self.enricher.visitor(&waiting.request, &seen);
        context.earlier = seen.earlier;
        let (kind, link, at) = (waiting.kind, waiting.link, waiting.at);
        let first = firsts(kind, link, visitor.machine.verdict, &context.earlier);
        // In memory the whole visitor is judged with; what is written is what the agent keeps.
        context.earlier.insert(0, EarlierHit { kind, link, at, visitor: visitor.clone() });
        context.earlier.truncate(EARLIER_MAX);
        let visitor = kept(visitor, &waiting.request, waiting.kind, context.privacy);
        Some(RecordedHit {
            id: EventId::from_uuid(self.ids.uuid(at)),
            hit: Hit { delivery: waiting.delivery, kind, link, target: waiting.target.clone(), at, visitor },
            tenant: context.tenant,
            agent: context.agent,
            address: context.address.clone(),
            relay_at: at + hold.unwrap_or_default(),
            first,
        })
    }
}

/// Which firsts a hit may be: those that no earlier one has taken.
fn firsts(kind: HitKind, link: u16, who: Who, earlier: &[EarlierHit]) -> Firsts {
    let is_alike = |hit: &&EarlierHit| hit.kind == kind && hit.link == link;
    let is_taken = |by: fn(Who) -> bool| earlier.iter().filter(is_alike).any(|hit| by(hit.visitor.machine.verdict));
    Firsts {
        by_anyone: who != Who::Scanner && !is_taken(|who| who != Who::Scanner),
        by_person: who.is_person() && !is_taken(Who::is_person),
    }
}

/// As much of a visitor as the agent keeps. A reader who asks not to be tracked (`Sec-GPC`, `DNT`) is counted on
/// clicks and not described.
fn kept(visitor: Visitor, request: &HitRequest, kind: HitKind, privacy: Privacy) -> Visitor {
    let objects =
        request.headers.iter().any(|(name, value)| matches!(name.as_str(), "sec-gpc" | "dnt") && value == "1");
    if privacy == Privacy::AggregateOnly || (objects && kind == HitKind::Click) {
        return Visitor {
            place: Place::default(),
            client: Client::default(),
            user_agent: String::new(),
            machine: visitor.machine,
        };
    }
    if privacy == Privacy::TruncatedAddress {
        let place = Place { ip_address: truncated(&visitor.place.ip_address), ..visitor.place };
        return Visitor { place, ..visitor };
    }
    visitor
}

/// The address cut to its /24 or /48.
fn truncated(address: &str) -> String {
    match address.parse() {
        Ok(IpAddr::V4(v4)) => {
            let [a, b, c, _] = v4.octets();
            Ipv4Addr::new(a, b, c, 0).to_string()
        }
        Ok(IpAddr::V6(v6)) => {
            let [a, b, c, ..] = v6.segments();
            Ipv6Addr::new(a, b, c, 0, 0, 0, 0, 0).to_string()
        }
        Err(_) => String::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_cut() {
        assert_eq!(truncated("81.2.69.142"), "81.2.69.0");
        assert_eq!(truncated("2001:db8:1:2:3:4:5:6"), "2001:db8:1::");
        assert_eq!(truncated(""), "");
    }

    #[test]
    fn a_reader_who_objects_is_counted_and_not_described() {
        let request = HitRequest {
            is_get: true,
            ip: None,
            user_agent: "x".into(),
            headers: vec![("sec-gpc".into(), "1".into())],
            is_https: true,
        };
        let visitor = Visitor { user_agent: "x".into(), ..Visitor::default() };
        let check = |kind, privacy, expected: &str| {
            assert_eq!(kept(visitor.clone(), &request, kind, privacy).user_agent, expected);
        };
        check(HitKind::Click, Privacy::Full, "");
        check(HitKind::Open, Privacy::Full, "x");
        check(HitKind::Open, Privacy::AggregateOnly, "");
    }
}
