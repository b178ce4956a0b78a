//! How many requests go to each webhook at once, and how fast, over all lanes of this node.
//!
//! A [`Pass`] is the right to one request, until it is dropped. A lane that is turned away because the webhook has its
//! requests, in whichever lane, is told when one of them ends. Rates are leaky buckets that hold one second's worth.
//!
//! However many webhooks hang at once, a lane keeps room for the others. A webhook without a request in it may begin one;
//! another only while it has fewer than [a part](share) of what the lane has left, and a smaller part when it is slow and
//! the lane half full. So no webhook need know of another, and none is forgotten: whoever is turned away has a request
//! under way, whose end tells it to come again.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::mpsc;

use super::Settings;
use crate::clock::Clock;
use crate::model::id::WebhookId;
use crate::model::time::Timestamp;
use crate::model::webhook::Webhook;
use crate::store::dispatches::Lane;
use crate::worker::Full;

/// A request that takes longer shows that its webhook is slow, until one takes less.
const SLOW_AFTER: Duration = Duration::from_secs(1);
/// One webhook's part of what a lane has left: alone, it comes to an eighth of all, which is the most that one may have.
const PART: usize = 7;
/// The part of one that is slow.
const PART_SLOW: usize = 63;

/// The gates of all webhooks that are told something.
#[derive(Debug)]
pub(super) struct Gates {
    clock: Clock,
    at_once: u16,
    per_second: Option<u16>,
    /// Requests at once in each lane.
    room: [usize; 2],
    open: Mutex<Open>,
    bells: [Bell; 2],
}

/// What is under way.
#[derive(Debug, Default)]
struct Open {
    gates: HashMap<WebhookId, Gate>,
    /// Requests in each lane.
    running: [usize; 2],
}

/// Tells a lane whose turn it may be. A webhook is in it at most once, so it needs no bound of its own.
#[derive(Debug)]
struct Bell {
    ring: mpsc::UnboundedSender<WebhookId>,
    hear: tokio::sync::Mutex<mpsc::UnboundedReceiver<WebhookId>>,
}

impl Bell {
    fn new() -> Self {
        let (ring, hear) = mpsc::unbounded_channel();
        Self { ring, hear: tokio::sync::Mutex::new(hear) }
    }
}

#[derive(Debug, Default)]
struct Gate {
    /// When the requests began that are under way, in each lane.
    begun: [Vec<Timestamp>; 2],
    /// Which lanes wait for an end.
    waits: [bool; 2],
    /// The last that ended took long.
    was_slow: bool,
    /// When the bucket is empty, in microseconds since the epoch.
    empty_at: i64,
}

/// The right to one request.
#[derive(Debug)]
pub(super) struct Pass {
    gates: Arc<Gates>,
    webhook: WebhookId,
    place: usize,
    began: Timestamp,
}

impl Gates {
    pub(super) fn new(settings: &Settings, clock: Clock) -> Arc<Self> {
        Arc::new(Self {
            clock,
            at_once: settings.at_once_each,
            per_second: Some(settings.per_second_each).filter(|rate| *rate > 0),
            room: [settings.fresh_at_once.into(), settings.retries_at_once.into()],
            open: Mutex::default(),
            bells: [Bell::new(), Bell::new()],
        })
    }

    /// A pass, or when to come again.
    pub(super) fn enter(self: &Arc<Self>, webhook: &Webhook, lane: Lane) -> Result<Pass, Full> {
        let at_once = webhook.options.at_once.unwrap_or(self.at_once);
        let (place, now) = (place(lane), self.clock.now());
        let mut open = self.lock();
        let Open { gates, running } = &mut *open;
        let gate = gates.entry(webhook.id).or_default();
        let own = gate.begun[place].len();
        let share = share(self.room[place], running[place], gate.is_slow(now));
        if gate.begun.iter().map(Vec::len).sum::<usize>() >= usize::from(at_once) || own >= share {
            gate.waits[place] = true;
            return Err(Full::UntilFreed);
        }
        if let Some(rate) = webhook.options.per_second.or(self.per_second) {
            gate.pour(rate, now).map_err(Full::Until)?;
        }
        gate.begun[place].push(now);
        running[place] += 1;
        Ok(Pass { gates: self.clone(), webhook: webhook.id, place, began: now })
    }

    /// A webhook that turned this lane away and may have room again.
    pub(super) async fn freed(&self, lane: Lane) -> WebhookId {
        match self.bells[place(lane)].hear.lock().await.recv().await {
            Some(webhook) => webhook,
            None => std::future::pending().await,
        }
    }

    fn leave(&self, pass: &Pass) {
        let now = self.clock.now();
        let mut open = self.lock();
        open.running[pass.place] -= 1;
        let Some(gate) = open.gates.get_mut(&pass.webhook) else { return };
        let begun = &mut gate.begun[pass.place];
        if let Some(at) = begun.iter().position(|began| *began == pass.began) {
            begun.swap_remove(at);
        }
        gate.was_slow = now.since(pass.began) >= SLOW_AFTER;
        let waits = std::mem::take(&mut gate.waits);
        // A gate that limits a rate, or knows that its webhook is slow, is kept; the others go.
        if gate.begun.iter().all(Vec::is_empty) && gate.empty_at == 0 && !gate.was_slow {
            open.gates.remove(&pass.webhook);
        }
        drop(open);
        for (bell, _) in self.bells.iter().zip(waits).filter(|(_, waits)| *waits) {
            // Nobody hears it when the program ends.
            let _ = bell.ring.send(pass.webhook);
        }
    }

    fn lock(&self) -> MutexGuard<'_, Open> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Where a lane's figures stand. Tests that people ask for pass no gate.
fn place(lane: Lane) -> usize {
    usize::from(lane == Lane::Retry)
}

/// From how many requests on a webhook may begin no other in a lane that has so much room and so many under way.
fn share(room: usize, running: usize, is_slow: bool) -> usize {
    let left = room.saturating_sub(running);
    let part = if is_slow && left * 2 < room { PART_SLOW } else { PART };
    (left / part).max(1)
}

impl Gate {
    fn is_slow(&self, now: Timestamp) -> bool {
        self.was_slow || self.begun.iter().flatten().any(|began| now.since(*began) >= SLOW_AFTER)
    }

    /// Puts one request into the bucket, or says when there is room.
    fn pour(&mut self, rate: u16, now: Timestamp) -> Result<(), Timestamp> {
        const SECOND: i64 = 1_000_000;
        let now_micros = now.as_millis().saturating_mul(1000);
        let drop = SECOND / i64::from(rate.max(1));
        // What is further off than a full bucket was poured before the clock was put back.
        let empty_at = if self.empty_at > now_micros + SECOND + drop { 0 } else { self.empty_at };
        let filled = empty_at.max(now_micros).saturating_add(drop);
        let over = filled.saturating_sub(now_micros.saturating_add(SECOND));
        if over > 0 {
            let wait = u64::try_from(over).unwrap_or_default().div_ceil(1000);
            return Err(now + Duration::from_millis(wait));
        }
        self.empty_at = filled;
        Ok(())
    }
}

impl Drop for Pass {
    fn drop(&mut self) {
        self.gates.leave(self);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::id::TenantId;
    use crate::model::webhook_options::Options;

    const NOW: Timestamp = Timestamp::from_millis(1_800_000_000_000);

    fn gates(settings: &Settings) -> (Arc<Gates>, Clock) {
        let clock = Clock::standing(NOW);
        (Gates::new(settings, clock.clone()), clock)
    }

    fn webhook(number: u16, at_once: Option<u16>, per_second: Option<u16>) -> Webhook {
        let options = Options { at_once, per_second, ..Options::default() };
        let mut id = [0; 16];
        id[..2].copy_from_slice(&number.to_be_bytes());
        let id = WebhookId::from_bytes(id);
        Webhook { options, ..Webhook::new(id, TenantId::from_bytes([1; 16]), "https://example.com/", NOW) }
    }

    #[tokio::test]
    async fn both_lanes_share_a_webhook_s_requests() {
        let (gates, _) = gates(&Settings { at_once_each: 2, ..Settings::default() });
        let hook = webhook(1, None, None);
        let first = gates.enter(&hook, Lane::Fresh).unwrap();
        let second = gates.enter(&hook, Lane::Fresh).unwrap();
        assert_eq!(gates.enter(&hook, Lane::Retry).unwrap_err(), Full::UntilFreed);
        gates.enter(&webhook(2, None, None), Lane::Retry).unwrap();
        drop(first);
        assert_eq!(gates.freed(Lane::Retry).await, hook.id);
        let third = gates.enter(&hook, Lane::Retry).unwrap();
        assert_eq!(gates.enter(&hook, Lane::Fresh).unwrap_err(), Full::UntilFreed);
        drop((second, third));
        assert_eq!(gates.freed(Lane::Fresh).await, hook.id);
        assert!(gates.lock().gates.is_empty());
        let alone = webhook(3, Some(1), None);
        let _only = gates.enter(&alone, Lane::Fresh).unwrap();
        assert_eq!(gates.enter(&alone, Lane::Fresh).unwrap_err(), Full::UntilFreed);
        let (gates, _) = self::gates(&Settings::default());
        let many = webhook(4, Some(64), None);
        assert_eq!(all(&gates, &many).len(), 64, "as many as it may have, where nobody else is");
    }

    #[test]
    fn a_rate_holds_over_any_while() {
        let (gates, clock) = gates(&Settings { per_second_each: 10, ..Settings::default() });
        let hook = webhook(1, None, None);
        let (end, mut count) = (NOW + Duration::from_secs(10), 0);
        while clock.now() < end {
            match gates.enter(&hook, Lane::Fresh) {
                Ok(_) => count += 1,
                Err(Full::Until(until)) => {
                    assert!(until > clock.now());
                    clock.advance(until.since(clock.now()));
                }
                Err(other) => panic!("{other:?}"),
            }
        }
        assert!((100..=110).contains(&count), "{count}");
        clock.put_back(Duration::from_secs(86_400));
        assert!(gates.enter(&hook, Lane::Fresh).is_ok(), "a bucket from before the clock was put back is empty");
        let slow = webhook(2, None, Some(1));
        drop(gates.enter(&slow, Lane::Fresh).unwrap());
        let later = Full::Until(clock.now() + Duration::from_secs(1));
        assert_eq!(gates.enter(&slow, Lane::Retry).unwrap_err(), later);
    }

    /// As many passes as a webhook gets that would take any number.
    fn all(gates: &Arc<Gates>, hook: &Webhook) -> Vec<Pass> {
        std::iter::from_fn(|| gates.enter(hook, Lane::Fresh).ok()).collect()
    }

    /// So many webhooks hang for as long as requests may take, again and again, as much as they are let; how many
    /// requests one that does not hang may have at once: at first, and whenever they have begun anew.
    fn room_beside(hanging: u16) -> [usize; 3] {
        const LONGEST: Duration = Duration::from_secs(15);
        let (gates, clock) = gates(&Settings::default());
        let good = webhook(u16::MAX, None, None);
        let hooks: Vec<Webhook> = (0..hanging).map(|number| webhook(number, None, None)).collect();
        [0; 3].map(|_| {
            let mut passes = Vec::new();
            // In turn, as a lane has them begin.
            loop {
                let before = passes.len();
                passes.extend(hooks.iter().filter_map(|hook| gates.enter(hook, Lane::Fresh).ok()));
                if passes.len() == before {
                    break;
                }
            }
            let room = all(&gates, &good).len();
            clock.advance(LONGEST);
            room
        })
    }

    #[test]
    fn webhooks_that_hang_leave_room_for_one_that_does_not() {
        assert_eq!(room_beside(0), [8, 8, 8]);
        assert_eq!(room_beside(1), [8, 8, 8]);
        assert_eq!(room_beside(16), [8, 8, 8]);
        assert_eq!(room_beside(64), [7, 8, 8]);
        assert_eq!(room_beside(200), [2, 8, 8]);
        assert_eq!(room_beside(500), [1, 1, 1]);
    }
}
