//! What waits to be written, and what of it goes together.
//!
//! Settlements of deliveries alone, which no client waits for, wait [`COMPANY`] for others, so that the next mail of a
//! lone session shares its commit with the end of the one before. Those of dispatches, which nothing follows from, stand
//! aside for [`ASIDE`]: what somebody waits for goes first and alone, and they go together. Beside a commit that is under
//! way only [`ENOUGH_BESIDE`] begin another at once, since one costs much the same whatever is in it; fewer wait for its
//! end, unless that is long in coming.

use std::time::Duration;

use tokio::sync::{mpsc, watch};
use tokio::time::{Instant, timeout_at};

use super::{Arrival, Work};

/// Arrivals in one commit, of each of the two kinds.
const BATCH_MAX: usize = 256;
/// How long settlements wait for something that a client waits for, or until they are [`GATHERED_MAX`].
const COMPANY: Duration = Duration::from_millis(2);
/// Settlements that wait no longer.
const GATHERED_MAX: usize = 16;
/// Arrivals that are worth a commit of their own beside one that is under way.
const ENOUGH_BESIDE: usize = 16;
/// How long fewer wait: a commit may hang for as long as its connection does.
const BESIDE: Duration = Duration::from_millis(50);
/// How long settlements of dispatches let others go first, and wait for each other unless they are [`ASIDE_ENOUGH`].
const ASIDE: Duration = Duration::from_millis(10);
/// Settlements of dispatches that are worth a commit of their own.
const ASIDE_ENOUGH: usize = 32;

/// What waits to be written.
pub(super) struct Gathering {
    arrivals: mpsc::Receiver<Arrival>,
    is_open: bool,
    /// Settlements of dispatches, the oldest first. There are no more of them than requests under way have events.
    aside: Vec<Arrival>,
    /// Since when the oldest has waited.
    aside_since: Instant,
    /// Batches that were gathered and are not yet committed.
    under_way: watch::Sender<usize>,
    /// How long few wait for the end of one.
    patience: Duration,
}

/// A batch is being committed.
#[derive(Debug)]
pub(super) struct UnderWay(watch::Sender<usize>);

impl Drop for UnderWay {
    fn drop(&mut self) {
        self.0.send_modify(|count| *count -= 1);
    }
}

impl Gathering {
    pub(super) fn new(arrivals: mpsc::Receiver<Arrival>) -> Self {
        let under_way = watch::Sender::new(0);
        let aside_since = Instant::now();
        Self { arrivals, is_open: true, aside: Vec::new(), aside_since, under_way, patience: BESIDE }
    }

    /// Takes what is to be written together; `None` at the end.
    pub(super) async fn gather(&mut self, batch: &mut Vec<Arrival>) -> Option<UnderWay> {
        while self.is_open && batch.is_empty() && !self.is_due() {
            let until = (!self.aside.is_empty()).then_some(self.aside_since + ASIDE);
            self.hear(batch, until).await;
        }
        let can_wait = |batch: &[Arrival]| {
            let is_settlement = |arrival: &Arrival| matches!(arrival.work, Work::Settle(_));
            (1..GATHERED_MAX).contains(&batch.len()) && batch.iter().all(is_settlement)
        };
        let until = Instant::now() + COMPANY;
        while self.is_open && can_wait(batch) && Instant::now() < until {
            self.hear(batch, Some(until)).await;
        }
        self.wait_for_enough(batch).await;
        let is_last = batch.iter().any(|arrival| matches!(arrival.work, Work::Flush));
        if batch.is_empty() || is_last || self.has_waited() {
            let count = self.aside.len().min(BATCH_MAX);
            batch.extend(self.aside.drain(..count));
        }
        (!batch.is_empty()).then(|| {
            self.under_way.send_modify(|count| *count += 1);
            UnderWay(self.under_way.clone())
        })
    }

    /// Waits until no commit is under way, there is enough for another, or it has waited for long enough.
    async fn wait_for_enough(&mut self, batch: &mut Vec<Arrival>) {
        let until = Instant::now() + self.patience;
        let mut under_way = self.under_way.subscribe();
        while self.is_open && (1..ENOUGH_BESIDE).contains(&batch.len()) && *under_way.borrow_and_update() > 0 {
            tokio::select! {
                () = self.hear(batch, Some(until)) => {}
                _ = under_way.changed() => {}
            }
            if Instant::now() >= until {
                return;
            }
        }
    }

    /// Waits for what comes, until then.
    async fn hear(&mut self, batch: &mut Vec<Arrival>, until: Option<Instant>) {
        let mut come = Vec::new();
        let heard = self.arrivals.recv_many(&mut come, BATCH_MAX);
        self.is_open = match until {
            None => heard.await > 0,
            Some(until) => timeout_at(until, heard).await.map_or(true, |count| count > 0),
        };
        for arrival in come {
            if !matches!(arrival.work, Work::SettleDispatch(_)) {
                batch.push(arrival);
                continue;
            }
            if self.aside.is_empty() {
                self.aside_since = Instant::now();
            }
            self.aside.push(arrival);
        }
    }

    /// Whether what stands aside goes even if nothing else does.
    fn is_due(&self) -> bool {
        self.aside.len() >= ASIDE_ENOUGH || self.has_waited()
    }

    fn has_waited(&self) -> bool {
        !self.aside.is_empty() && self.aside_since.elapsed() >= ASIDE
    }
}

#[cfg(test)]
mod tests {
    use tokio::sync::oneshot;

    use super::*;
    use crate::model::delivery::Lease;
    use crate::model::id::{EventId, WebhookId};
    use crate::model::time::Timestamp;
    use crate::model::webhook::{DispatchId, DispatchNext, DispatchState};
    use crate::model::webhook_attempt::Trace;
    use crate::store::dispatches::DispatchSettlement;
    use crate::store::hits::HitBatch;

    fn arrival(work: Work) -> Arrival {
        Arrival { work, answer: oneshot::channel().0 }
    }

    fn settlement() -> Arrival {
        let now = Timestamp::default();
        arrival(Work::SettleDispatch(Box::new(DispatchSettlement {
            id: DispatchId { event: EventId::from_bytes([0; 16]), webhook: WebhookId::from_bytes([0; 16]) },
            lease: Lease { holder: String::new(), attempt: 1 },
            next: DispatchNext::Ends(DispatchState::Arrived),
            started_at: now,
            at: now,
            status: None,
            error: None,
            wish: None,
            trace: Trace::default(),
            bears: true,
            given_up_beside: 0,
        })))
    }

    #[tokio::test]
    async fn what_stands_aside_goes_together_after_what_somebody_waits_for() {
        let (sender, arrivals) = mpsc::channel(100);
        let mut gathering = Gathering::new(arrivals);
        let check = async |gathering: &mut Gathering, expected: usize| {
            let mut batch = Vec::new();
            assert_eq!((gathering.gather(&mut batch).await.is_some(), batch.len()), (expected > 0, expected));
        };
        for _ in 0..ASIDE_ENOUGH {
            sender.send(settlement()).await.unwrap();
        }
        check(&mut gathering, ASIDE_ENOUGH).await;
        sender.send(settlement()).await.unwrap();
        check(&mut gathering, 1).await;
        for _ in 0..3 {
            sender.send(settlement()).await.unwrap();
        }
        sender.send(arrival(Work::Flush)).await.unwrap();
        check(&mut gathering, 4).await;

        // However busy the machine is: what came last has not waited.
        sender.send(settlement()).await.unwrap();
        let hits = HitBatch { hits: Vec::new(), rejudged: Vec::new(), now: Timestamp::default(), is_again: false };
        sender.send(arrival(Work::Hits(hits))).await.unwrap();
        let mut batch = Vec::new();
        gathering.hear(&mut batch, None).await;
        assert_eq!((batch.len(), gathering.aside.len()), (1, 1));
        drop(sender);
        check(&mut gathering, 1).await;
        check(&mut gathering, 0).await;
    }

    #[tokio::test]
    async fn few_wait_for_the_commit_before() {
        let (sender, arrivals) = mpsc::channel(100);
        let mut gathering = Gathering::new(arrivals);
        let come = async |count| {
            for _ in 0..count {
                let (hits, rejudged, now) = Default::default();
                sender.send(arrival(Work::Hits(HitBatch { hits, rejudged, now, is_again: false }))).await.unwrap();
            }
        };
        // What is ready without waiting.
        let ready = async |gathering: &mut Gathering, batch: &mut Vec<Arrival>| {
            tokio::select! {
                biased;
                gathered = gathering.gather(batch) => gathered,
                () = std::future::ready(()) => None,
            }
        };
        gathering.patience = Duration::from_secs(3600);
        let mut batch = Vec::new();
        come(1).await;
        let first = ready(&mut gathering, &mut batch).await;
        assert!(first.is_some());
        come(ENOUGH_BESIDE - 1).await;
        batch.clear();
        assert!(ready(&mut gathering, &mut batch).await.is_none());
        come(1).await;
        let second = ready(&mut gathering, &mut batch).await;
        assert!(second.is_some());
        assert_eq!(batch.len(), ENOUGH_BESIDE);

        drop(first);
        come(1).await;
        batch.clear();
        assert!(ready(&mut gathering, &mut batch).await.is_none());
        drop(second);
        let third = ready(&mut gathering, &mut batch).await;
        assert!(third.is_some());

        // One that hangs is not waited for without end.
        gathering.patience = Duration::ZERO;
        come(1).await;
        batch.clear();
        assert!(gathering.gather(&mut batch).await.is_some());
    }
}
