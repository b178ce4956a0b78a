//! Dispatches that go out as soon as they are committed, without being looked for.
//!
//! What is due when its event is written is written leased to the node that writes it, and named to its lane when the
//! transaction is committed: no look into the store, and no second commit, stands between the event and the request.
//! `events` says which may be. What is lost on the way comes due with its lease's end.

use std::collections::{HashMap, HashSet};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::mpsc;

use super::super::db::{Result, Store};
use super::super::events::Hands;
use super::super::value::Value;
use super::super::webhooks::{self, webhook_columns};
use super::lease::{Line, Taken};
use super::{Lane, LeasedDispatch};
use crate::model::id::WebhookId;
use crate::model::time::Timestamp;
use crate::model::webhook::DispatchId;

/// Dispatches on their way from the writer to the lane, beyond which they are written for whoever looks.
const ON_THE_WAY_MAX: usize = 1024;
/// Dispatches that are read at one time.
const READ_MAX: usize = 256;

/// Where dispatches go that are written leased. The channel has no bound of its own: when as many are in it as may be,
/// no more are written so.
#[derive(Debug)]
pub(in super::super) struct Handoff {
    holder: String,
    way: Mutex<Option<Way>>,
    /// Webhooks of which the lane has as much as it can use for now: it looks by itself when it can use more.
    has_enough_of: Mutex<HashSet<WebhookId>>,
}

/// The way to the lane that takes them.
#[derive(Debug)]
struct Way {
    sender: mpsc::UnboundedSender<InHand>,
    on_it: Arc<AtomicUsize>,
}

/// A dispatch that is handed over.
#[derive(Clone, Copy, Debug)]
pub struct InHand {
    /// Which.
    pub id: DispatchId,
    /// When its lease ends, unless it is renewed.
    pub until: Timestamp,
}

impl Handoff {
    pub(in super::super) fn new(holder: &str) -> Self {
        Self { holder: holder.to_owned(), way: Mutex::default(), has_enough_of: Mutex::default() }
    }

    /// In whose name.
    pub(in super::super) fn holder(&self) -> &str {
        &self.holder
    }

    /// In whose name they are to be leased, from `now`; `None` while nobody takes any.
    pub(in super::super) fn hands(&self, now: Timestamp) -> Option<Hands<'_>> {
        let has_room = |way: &Way| !way.sender.is_closed() && way.on_it.load(Ordering::Relaxed) < ON_THE_WAY_MAX;
        let has_room = self.lock().as_ref().is_some_and(has_room);
        has_room.then(|| Hands { holder: &self.holder, now })
    }

    /// Names what has been committed, under leases that end then.
    pub(in super::super) fn hand_over(&self, ids: Vec<DispatchId>, until: Timestamp) {
        let Some(way) = &*self.lock() else { return };
        way.on_it.fetch_add(ids.len(), Ordering::Relaxed);
        for id in ids {
            // Nobody listening any more is no loss: the leases end.
            let _ = way.sender.send(InHand { id, until });
        }
    }

    /// The lane looks for what is due, but for what is owed to these. Said before it looks: what is committed before
    /// that, it finds.
    pub(in super::super) fn looks_for_all_but(&self, webhooks: HashSet<WebhookId>) {
        *self.has_enough_of.lock().unwrap_or_else(PoisonError::into_inner) = webhooks;
    }

    /// Whether the lane should look for what is owed to one of these, which has been committed.
    pub(in super::super) fn wants_any(&self, webhooks: &HashSet<WebhookId>) -> bool {
        let has_enough_of = self.has_enough_of.lock().unwrap_or_else(PoisonError::into_inner);
        webhooks.iter().any(|webhook| !has_enough_of.contains(webhook))
    }

    fn lock(&self) -> MutexGuard<'_, Option<Way>> {
        self.way.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What was handed over, for the lane. While there is one, dispatches are written leased.
#[derive(Debug)]
pub struct Handed {
    receiver: mpsc::UnboundedReceiver<InHand>,
    on_the_way: Arc<AtomicUsize>,
}

impl Handed {
    /// The next, at least one.
    pub async fn next(&mut self) -> Vec<InHand> {
        let mut taken = Vec::new();
        if self.receiver.recv_many(&mut taken, READ_MAX).await == 0 {
            std::future::pending::<()>().await;
        }
        self.on_the_way.fetch_sub(taken.len(), Ordering::Relaxed);
        taken
    }

    /// The last; from now on nothing is handed over.
    pub fn close(mut self) -> Vec<DispatchId> {
        self.receiver.close();
        let left: Vec<_> = std::iter::from_fn(|| self.receiver.try_recv().ok()).map(|left| left.id).collect();
        self.on_the_way.fetch_sub(left.len(), Ordering::Relaxed);
        left
    }
}

impl Store {
    /// Where dispatches arrive, from now on, that are written already leased to this node.
    pub fn take_handed_dispatches(&self) -> Handed {
        let (sender, receiver) = mpsc::unbounded_channel();
        let on_it = Arc::default();
        *self.0.handoff.lock() = Some(Way { sender, on_it: Arc::clone(&on_it) });
        Handed { receiver, on_the_way: on_it }
    }

    /// What these dispatches are that were handed over, with all that telling them needs.
    ///
    /// # Errors
    /// `Unavailable`.
    pub async fn handed_dispatches(&self, handed: &[InHand]) -> Result<Vec<LeasedDispatch>> {
        const HEAD: &str = "with wanted (webhook_id) as (values";
        const TAIL: &str = concat!(
            ") select ",
            webhook_columns!(),
            " from wanted
            join webhooks on webhooks.id = wanted.webhook_id"
        );
        let look = self.look(Lane::Fresh);
        let mut of_webhook: HashMap<WebhookId, Vec<Taken>> = HashMap::new();
        for InHand { id, until } in handed.iter().copied() {
            of_webhook.entry(id.webhook).or_default().push(Taken { id, attempt: 1, attempts_before: 0, until });
        }
        let keys: Vec<Vec<Value>> = of_webhook.keys().map(|id| vec![(*id).into()]).collect();
        let mut lines = Vec::with_capacity(of_webhook.len());
        for row in self.lookup(HEAD, TAIL, keys).await? {
            match webhooks::read(&row, &look.master) {
                Ok(webhook) => {
                    let taken = of_webhook.remove(&webhook.id).unwrap_or_default();
                    lines.push(Line::handed(webhook, look.now, taken));
                }
                Err(fault) => tracing::error!(%fault, "a webhook cannot be read; what is owed to it waits"),
            }
        }
        let (head, tail, keys) = look.facts(&lines);
        let facts = self.lookup(head, tail, keys).await?;
        Ok(look.all_leased(lines, &facts))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nobody_is_told_of_what_the_lane_has_enough_of() {
        let [busy, idle] = [1, 2].map(|byte| WebhookId::from_bytes([byte; 16]));
        let handoff = Handoff::new("node");
        let check = |owed: &[WebhookId], expected: bool| {
            assert_eq!(handoff.wants_any(&owed.iter().copied().collect()), expected, "{owed:?}");
        };
        check(&[], false);
        check(&[busy], true);
        handoff.looks_for_all_but([busy].into());
        check(&[busy], false);
        check(&[busy, idle], true);
        handoff.looks_for_all_but(HashSet::new());
        check(&[busy], true);
    }
}
