//! The loop that both outward parts share: lease, perform, settle, wait.
//!
//! A [`Worker`] keeps rows of one [`Queue`] under lease and performs a bounded number at once. Rows come from the
//! store, oldest first, and, where acceptance hands them over, from memory. Whatever is held, waiting here or being
//! performed, is renewed in one statement every [`RENEW_EVERY`]; what a renewal does not confirm is not begun, because
//! another node may have. At most one statement of the loop itself is at the store at a time, and after a fault the
//! first is a renewal: a store that was away finds our old leases extended before anybody here asks for new ones.
//!
//! The worker decides nothing: what a row is and what becomes of it is the queue's affair. Wakes are hints; looking
//! again every [`LOOK_EVERY`] is the truth.

use std::collections::{HashMap, HashSet};
use std::fmt::Display;
use std::hash::Hash;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{mpsc, watch};
use tokio::task::{self, JoinHandle, JoinSet};
use tokio::time::timeout;

use crate::clock::Clock;
use crate::model::delivery::Lease;
use crate::model::retry::LEASE;
use crate::model::time::Timestamp;
use crate::wake::Wake;

mod waiting;

use waiting::Waiting;

/// How often what is held is renewed: three chances within a lease.
pub const RENEW_EVERY: Duration = Duration::from_secs(30);
/// How often the store is looked into when nothing else is heard.
pub const LOOK_EVERY: Duration = Duration::from_secs(5);

/// How often it is looked into while there is work in hand anyway.
const LOOK_EVERY_BUSY: Duration = Duration::from_secs(1);
/// The shortest time between two looks that found nothing, however soon the store says that something is due.
const LOOK_AGAIN: Duration = Duration::from_millis(100);
/// What is left of a lease for an attempt to be begun under it.
const LEASE_LEFT_MIN: Duration = Duration::from_secs(15);
/// The first wait after a fault of the store; it doubles up to [`FAULT_WAIT_MAX`].
const FAULT_WAIT: Duration = Duration::from_millis(100);
/// The longest wait after a fault of the store.
const FAULT_WAIT_MAX: Duration = Duration::from_secs(5);

/// Rows of the store that are leased, performed and settled.
pub trait Queue: Send + Sync + 'static {
    /// What names a row.
    type Id: Copy + Eq + Hash + Display + Send + Sync;
    /// A row under lease.
    type Leased: Send;
    /// Who gets it. A slow one must not hold up the others.
    type Party: Clone + Eq + Hash + Send;
    /// Why the store could not.
    type Fault: Display + Send;

    /// What logs call it.
    const NAME: &'static str;

    /// The row's name and lease.
    fn held(leased: &Self::Leased) -> (Self::Id, Lease);
    /// Who gets it.
    fn party(leased: &Self::Leased) -> Self::Party;
    /// Leases up to `limit` rows that are due, oldest first; none of the parties in `except`.
    fn lease(
        &self,
        limit: u32,
        except: Vec<Self::Party>,
    ) -> impl Future<Output = Result<Vec<Self::Leased>, Self::Fault>> + Send;
    /// When the next row comes due.
    fn next_due(&self) -> impl Future<Output = Result<Option<Timestamp>, Self::Fault>> + Send;
    /// Extends these leases; those that were still held.
    fn renew(&self, held: Vec<(Self::Id, Lease)>) -> impl Future<Output = Result<Vec<Self::Id>, Self::Fault>> + Send;
    /// Gives back leases unused.
    fn release(&self, unused: Vec<(Self::Id, Lease)>) -> impl Future<Output = Result<(), Self::Fault>> + Send;
    /// Performs and settles; when the row comes due again, if it does.
    fn perform(&self, leased: Self::Leased) -> impl Future<Output = Option<Timestamp>> + Send;
    /// The last thing that a drain does.
    fn close(&self) -> impl Future<Output = ()> + Send {
        std::future::ready(())
    }
}

/// How much a worker takes on.
#[derive(Clone, Copy, Debug)]
pub struct Bounds {
    /// Rows performed at once.
    pub at_once: usize,
    /// Of these, rows of one party.
    pub at_once_each: usize,
    /// Rows leased ahead, beyond those being performed. Handed-over rows have a bound of their own.
    pub ahead: usize,
    /// Rows leased by one statement. Well below `ahead`, so that one party's rows cannot fill it.
    pub batch: usize,
}

/// A loop at work. Dropping it stops it at once, which is safe: what it held comes due when its leases end.
#[derive(Debug)]
pub struct Worker {
    stop: watch::Sender<Option<Duration>>,
    task: JoinHandle<()>,
}

impl Worker {
    /// Starts the loop. `wake` is heard for rows that may be due; `handed` brings rows that are leased already.
    pub fn start<Q: Queue>(
        queue: Arc<Q>,
        clock: Clock,
        bounds: Bounds,
        wake: Wake,
        handed: Option<mpsc::UnboundedReceiver<Q::Leased>>,
    ) -> Self {
        let (stop, stopped) = watch::channel(None);
        let now = clock.now();
        let run = Run {
            queue,
            clock,
            bounds,
            wake,
            handed,
            stopped,
            waiting: Waiting::new(bounds.at_once_each),
            held: HashMap::new(),
            running: JoinSet::new(),
            ids: HashMap::new(),
            left_out: HashSet::new(),
            errand: None,
            look_at: now,
            news_at: NEVER,
            renew_at: now + RENEW_EVERY,
            faults: 0,
        };
        Self { stop, task: tokio::spawn(run.run()) }
    }

    /// Stops taking rows on, gives back those not begun, and returns when the others have ended, or after `limit`:
    /// then they are cut off and come due when their leases end.
    pub async fn drain(mut self, limit: Duration) {
        let _ = self.stop.send(Some(limit));
        let _ = (&mut self.task).await;
    }
}

impl Drop for Worker {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// Growing waits for a store that is away. Whoever has something to record waits and writes again: the worker keeps the
/// lease meanwhile, so that what happened in the world is recorded late rather than done again.
#[derive(Debug, Default)]
pub struct Again {
    faults: u32,
}

impl Again {
    /// Returns when it is time to try again.
    pub async fn wait(&mut self) {
        tokio::time::sleep(fault_wait(self.faults)).await;
        self.faults = self.faults.saturating_add(1);
    }
}

fn fault_wait(faults: u32) -> Duration {
    FAULT_WAIT.saturating_mul(1 << faults.min(16)).min(FAULT_WAIT_MAX)
}

const NEVER: Timestamp = Timestamp::from_millis(i64::MAX);

/// What the store answered to the loop itself.
enum Answer<Q: Queue> {
    Leased { at: Timestamp, limit: usize, rows: Result<Vec<Q::Leased>, Q::Fault> },
    NextDue { at: Timestamp, due: Result<Option<Timestamp>, Q::Fault> },
    Renewed { at: Timestamp, asked: Vec<Q::Id>, held: Result<Vec<Q::Id>, Q::Fault> },
}

struct Held {
    lease: Lease,
    until: Timestamp,
}

struct Run<Q: Queue> {
    queue: Arc<Q>,
    clock: Clock,
    bounds: Bounds,
    wake: Wake,
    handed: Option<mpsc::UnboundedReceiver<Q::Leased>>,
    stopped: watch::Receiver<Option<Duration>>,
    waiting: Waiting<Q::Party, Q::Leased>,
    /// Everything under lease: what waits and what is performed.
    held: HashMap<Q::Id, Held>,
    running: JoinSet<Option<Timestamp>>,
    /// Whose task is whose, so that a panic costs one attempt and not a lease for ever.
    ids: HashMap<task::Id, (Q::Id, Q::Party)>,
    /// Parties that the last look left out, because enough of theirs was waiting.
    left_out: HashSet<Q::Party>,
    /// The one statement under way.
    errand: Option<Pin<Box<dyn Future<Output = Answer<Q>> + Send>>>,
    look_at: Timestamp,
    /// When something may be due, as far as was heard since the last look began.
    news_at: Timestamp,
    renew_at: Timestamp,
    /// Statements that failed since the last that did not.
    faults: u32,
}

impl<Q: Queue> Run<Q> {
    async fn run(mut self) {
        while self.stopped.borrow().is_none() {
            self.begin();
            self.plan_errand();
            let until = self.next_time();
            tokio::select! {
                biased;
                _ = self.stopped.changed() => {}
                Some(ended) = self.running.join_next_with_id() => self.end(ended),
                answer = on_errand(&mut self.errand) => self.answered(answer),
                Some(leased) = from_hand(&mut self.handed) => self.take(leased),
                () = self.wake.heard() => self.look_soon(self.clock.now()),
                () = self.clock.sleep_until(until) => {}
            }
            while let Some(ended) = self.running.try_join_next_with_id() {
                self.end(ended);
            }
            while let Some(leased) = self.handed.as_mut().and_then(|handed| handed.try_recv().ok()) {
                self.take(leased);
            }
        }
        self.drain().await;
    }

    /// Starts what waits, as far as the bounds go.
    fn begin(&mut self) {
        let enough = self.clock.now() + LEASE_LEFT_MIN;
        while self.running.len() < self.bounds.at_once {
            let Some((party, leased)) = self.waiting.next() else { return };
            let (id, _) = Q::held(&leased);
            if self.held.get(&id).is_none_or(|held| held.until < enough) {
                self.held.remove(&id);
                self.waiting.ended(&party);
                tracing::debug!(%id, "a lease ended before its {} began", Q::NAME);
                continue;
            }
            let queue = self.queue.clone();
            let task = self.running.spawn(async move { queue.perform(leased).await });
            self.ids.insert(task.id(), (id, party));
        }
    }

    fn end(&mut self, ended: Result<(task::Id, Option<Timestamp>), task::JoinError>) {
        let (task, again) = match ended {
            Ok(ended) => ended,
            Err(fault) => {
                tracing::error!(%fault, "an attempt at a {} broke off; it comes due with its lease's end", Q::NAME);
                (fault.id(), None)
            }
        };
        if let Some((id, party)) = self.ids.remove(&task) {
            self.held.remove(&id);
            self.waiting.ended(&party);
            if self.left_out.contains(&party) && !self.waiting.is_crowded(&party) {
                self.left_out.remove(&party);
                self.look_soon(self.clock.now());
            }
        }
        if let Some(again) = again {
            self.look_soon(again);
        }
    }

    /// Something may be due then; an answer that is on its way cannot know of it.
    fn look_soon(&mut self, at: Timestamp) {
        self.look_at = self.look_at.min(at);
        self.news_at = self.news_at.min(at);
    }

    fn take(&mut self, leased: Q::Leased) {
        let (id, lease) = Q::held(&leased);
        if self.held.contains_key(&id) {
            tracing::warn!(%id, "a {} was leased again while it is being performed", Q::NAME);
            return;
        }
        self.held.insert(id, Held { lease, until: self.clock.now() + LEASE });
        self.waiting.push(Q::party(&leased), leased);
    }

    /// Sends the next statement on its way, when one is due and none is under way.
    fn plan_errand(&mut self) {
        if self.errand.is_some() {
            return;
        }
        let now = self.clock.now();
        let queue = self.queue.clone();
        if !self.held.is_empty() && now >= self.renew_at {
            let asked = self.held.keys().copied().collect();
            let held = self.held.iter().map(|(id, held)| (*id, held.lease.clone())).collect();
            self.errand =
                Some(Box::pin(async move { Answer::Renewed { at: now, asked, held: queue.renew(held).await } }));
        } else if self.may_lease() && now >= self.look_at {
            let limit = self.bounds.batch.min(self.bounds.ahead - self.waiting.len());
            let except = self.waiting.crowded();
            self.left_out = except.iter().cloned().collect();
            let asked = u32::try_from(limit).unwrap_or(u32::MAX);
            self.news_at = NEVER;
            self.errand =
                Some(Box::pin(
                    async move { Answer::Leased { at: now, limit, rows: queue.lease(asked, except).await } },
                ));
        }
    }

    /// Whether there is room for a batch worth its statement.
    fn may_lease(&self) -> bool {
        self.waiting.len() * 2 <= self.bounds.ahead
    }

    /// When there is something to do even if nothing is heard.
    fn next_time(&self) -> Timestamp {
        let now = self.clock.now();
        let mut next = now + RENEW_EVERY;
        if self.errand.is_none() && self.may_lease() {
            next = next.min(self.look_at);
        }
        if self.errand.is_none() && !self.held.is_empty() {
            next = next.min(self.renew_at);
        }
        next
    }

    fn answered(&mut self, answer: Answer<Q>) {
        self.errand = None;
        let now = self.clock.now();
        match answer {
            Answer::Leased { at, limit, rows: Ok(rows) } => {
                self.faults = 0;
                let (is_full, is_empty) = (rows.len() >= limit, rows.is_empty());
                rows.into_iter().for_each(|leased| self.take(leased));
                if is_full {
                    return;
                }
                self.look_at = self.news_at.min(at + LOOK_EVERY_BUSY);
                if is_empty && self.held.is_empty() {
                    let queue = self.queue.clone();
                    self.errand = Some(Box::pin(async move { Answer::NextDue { at, due: queue.next_due().await } }));
                }
            }
            Answer::NextDue { at, due: Ok(due) } => {
                let due = due.unwrap_or(NEVER).clamp(at + LOOK_AGAIN, at + LOOK_EVERY);
                self.look_at = self.news_at.min(due);
            }
            Answer::Renewed { at, asked, held: Ok(ids) } => {
                self.faults = 0;
                self.renew_at = at + RENEW_EVERY;
                // What is not confirmed is lost now, not when its old end comes.
                asked.iter().for_each(|id| self.holds_until(id, Timestamp::default()));
                ids.iter().for_each(|id| self.holds_until(id, at + LEASE));
            }
            Answer::Leased { rows: Err(fault), .. }
            | Answer::NextDue { due: Err(fault), .. }
            | Answer::Renewed { held: Err(fault), .. } => self.fault(&fault, now),
        }
    }

    fn holds_until(&mut self, id: &Q::Id, until: Timestamp) {
        if let Some(held) = self.held.get_mut(id) {
            held.until = until;
        }
    }

    /// The store is away. When it is back, what is held is renewed before anything is leased.
    fn fault(&mut self, fault: &Q::Fault, now: Timestamp) {
        tracing::warn!(%fault, "the store does not answer for {}; trying again", Q::NAME);
        let again = now + fault_wait(self.faults);
        self.faults = self.faults.saturating_add(1);
        self.look_at = again;
        self.renew_at = again;
    }

    /// Stops: what has not begun is given back, what has is waited for.
    async fn drain(mut self) {
        let limit = self.stopped.borrow().unwrap_or_default();
        if timeout(limit, self.finish()).await.is_err() {
            tracing::warn!(left = self.running.len(), "stopped before every {} had ended", Q::NAME);
        }
        self.running.shutdown().await;
        self.give_back().await;
        self.queue.close().await;
    }

    async fn finish(&mut self) {
        if self.errand.is_some() {
            let answer = on_errand(&mut self.errand).await;
            self.answered(answer);
        }
        self.give_back().await;
        while !self.running.is_empty() {
            if self.clock.now() >= self.renew_at {
                self.plan_errand();
            }
            let renew_at = self.renew_at;
            tokio::select! {
                Some(ended) = self.running.join_next_with_id() => self.end(ended),
                answer = on_errand(&mut self.errand) => self.answered(answer),
                () = self.clock.sleep_until(renew_at), if self.errand.is_none() => {}
            }
        }
    }

    /// Gives back what waits, the handed-over included.
    async fn give_back(&mut self) {
        while let Some(leased) = self.handed.as_mut().and_then(|handed| handed.try_recv().ok()) {
            self.take(leased);
        }
        let unused: Vec<_> = self.waiting.drain().map(|leased| Q::held(&leased)).collect();
        unused.iter().for_each(|(id, _)| drop(self.held.remove(id)));
        if unused.is_empty() {
            return;
        }
        if !matches!(timeout(FAULT_WAIT_MAX, self.queue.release(unused)).await, Ok(Ok(()))) {
            tracing::warn!("leases could not be given back; what they are for comes due with their end");
        }
    }
}

async fn on_errand<T>(errand: &mut Option<Pin<Box<dyn Future<Output = T> + Send>>>) -> T {
    match errand {
        Some(errand) => errand.await,
        None => std::future::pending().await,
    }
}

async fn from_hand<T>(handed: &mut Option<mpsc::UnboundedReceiver<T>>) -> Option<T> {
    match handed {
        Some(receiver) => receiver.recv().await,
        None => std::future::pending().await,
    }
}

#[cfg(test)]
mod tests;
