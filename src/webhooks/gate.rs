//! How many requests go to each webhook at once, and how fast, over all lanes of this node.
//!
//! A [`Pass`] is the right to one request, until it is dropped. A lane that is turned away because the webhook has its
//! requests, in whichever lane, is told when one of them ends. Rates are leaky buckets that hold one second's worth.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::mpsc;

use super::Settings;
use crate::model::id::WebhookId;
use crate::model::time::Timestamp;
use crate::model::webhook::Webhook;
use crate::store::dispatches::Lane;
use crate::worker::Full;

/// The gates of all webhooks that are told something.
#[derive(Debug)]
pub(super) struct Gates {
    at_once: u16,
    per_second: Option<u16>,
    gates: Mutex<HashMap<WebhookId, Gate>>,
    fresh: Bell,
    retries: Bell,
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
    running: u16,
    /// When the bucket is empty, in microseconds since the epoch.
    empty_at: i64,
    fresh_waits: bool,
    retries_wait: bool,
}

/// The right to one request.
#[derive(Debug)]
pub(super) struct Pass {
    gates: Arc<Gates>,
    webhook: WebhookId,
}

impl Gates {
    pub(super) fn new(settings: &Settings) -> Arc<Self> {
        Arc::new(Self {
            at_once: settings.at_once_each,
            per_second: Some(settings.per_second_each).filter(|rate| *rate > 0),
            gates: Mutex::default(),
            fresh: Bell::new(),
            retries: Bell::new(),
        })
    }

    /// A pass, or when to come again.
    pub(super) fn enter(self: &Arc<Self>, webhook: &Webhook, lane: Lane, now: Timestamp) -> Result<Pass, Full> {
        let at_once = webhook.options.at_once.unwrap_or(self.at_once);
        let mut gates = self.lock();
        let gate = gates.entry(webhook.id).or_default();
        if gate.running >= at_once {
            match lane {
                Lane::Fresh => gate.fresh_waits = true,
                Lane::Retry => gate.retries_wait = true,
                Lane::Trial => {}
            }
            return Err(Full::UntilFreed);
        }
        if let Some(rate) = webhook.options.per_second.or(self.per_second) {
            gate.pour(rate, now).map_err(Full::Until)?;
        }
        gate.running += 1;
        Ok(Pass { gates: self.clone(), webhook: webhook.id })
    }

    /// A webhook that turned this lane away and may have room again.
    pub(super) async fn freed(&self, lane: Lane) -> WebhookId {
        let bell = match lane {
            Lane::Fresh => &self.fresh,
            Lane::Retry => &self.retries,
            Lane::Trial => return std::future::pending().await,
        };
        match bell.hear.lock().await.recv().await {
            Some(webhook) => webhook,
            None => std::future::pending().await,
        }
    }

    fn leave(&self, webhook: WebhookId) {
        let mut gates = self.lock();
        let Some(gate) = gates.get_mut(&webhook) else { return };
        gate.running = gate.running.saturating_sub(1);
        let waiting = [
            (std::mem::take(&mut gate.fresh_waits), &self.fresh),
            (std::mem::take(&mut gate.retries_wait), &self.retries),
        ];
        // A gate that limits a rate remembers it; the others go.
        if gate.running == 0 && gate.empty_at == 0 {
            gates.remove(&webhook);
        }
        drop(gates);
        for (_, bell) in waiting.into_iter().filter(|(waits, _)| *waits) {
            // Nobody hears it when the program ends.
            let _ = bell.ring.send(webhook);
        }
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<WebhookId, Gate>> {
        self.gates.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Gate {
    /// Puts one request into the bucket, or says when there is room.
    fn pour(&mut self, rate: u16, now: Timestamp) -> Result<(), Timestamp> {
        const SECOND: i64 = 1_000_000;
        let now_micros = now.as_millis().saturating_mul(1000);
        let drop = SECOND / i64::from(rate.max(1));
        let filled = self.empty_at.max(now_micros).saturating_add(drop);
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
        self.gates.leave(self.webhook);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::id::TenantId;
    use crate::model::webhook_options::Options;

    const NOW: Timestamp = Timestamp::from_millis(1_800_000_000_000);

    fn webhook(number: u8, at_once: Option<u16>, per_second: Option<u16>) -> Webhook {
        let options = Options { at_once, per_second, ..Options::default() };
        let id = WebhookId::from_bytes([number; 16]);
        Webhook { options, ..Webhook::new(id, TenantId::from_bytes([1; 16]), "https://example.com/", NOW) }
    }

    #[tokio::test]
    async fn both_lanes_share_a_webhook_s_requests() {
        let gates = Gates::new(&Settings { at_once_each: 2, ..Settings::default() });
        let hook = webhook(1, None, None);
        let first = gates.enter(&hook, Lane::Fresh, NOW).unwrap();
        let second = gates.enter(&hook, Lane::Fresh, NOW).unwrap();
        assert_eq!(gates.enter(&hook, Lane::Retry, NOW).unwrap_err(), Full::UntilFreed);
        gates.enter(&webhook(2, None, None), Lane::Retry, NOW).unwrap();
        drop(first);
        assert_eq!(gates.freed(Lane::Retry).await, hook.id);
        let third = gates.enter(&hook, Lane::Retry, NOW).unwrap();
        assert_eq!(gates.enter(&hook, Lane::Fresh, NOW).unwrap_err(), Full::UntilFreed);
        drop((second, third));
        assert_eq!(gates.freed(Lane::Fresh).await, hook.id);
        assert!(gates.lock().is_empty());
        let alone = webhook(3, Some(1), None);
        let _only = gates.enter(&alone, Lane::Fresh, NOW).unwrap();
        assert_eq!(gates.enter(&alone, Lane::Fresh, NOW).unwrap_err(), Full::UntilFreed);
    }

    #[test]
    fn a_rate_holds_over_any_while() {
        let gates = Gates::new(&Settings { per_second_each: 10, ..Settings::default() });
        let hook = webhook(1, None, None);
        let (mut now, mut count) = (NOW, 0);
        let end = NOW + Duration::from_secs(10);
        while now < end {
            match gates.enter(&hook, Lane::Fresh, now) {
                Ok(_) => count += 1,
                Err(Full::Until(until)) => {
                    assert!(until > now);
                    now = until;
                }
                Err(other) => panic!("{other:?}"),
            }
        }
        assert!((100..=110).contains(&count), "{count}");
        let slow = webhook(2, None, Some(1));
        drop(gates.enter(&slow, Lane::Fresh, NOW).unwrap());
        let later = Full::Until(NOW + Duration::from_secs(1));
        assert_eq!(gates.enter(&slow, Lane::Retry, NOW).unwrap_err(), later);
    }
}
