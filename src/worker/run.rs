//! The loop itself: what it holds, what it does next.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{mpsc, watch};
use tokio::task::{self, JoinSet};
use tokio::time::timeout;

use super::waiting::Waiting;
use super::{
    Ahead, Bounds, Done, FAULT_WAIT_MAX, Full, LEASE_LEFT_MIN, LOOK_AGAIN, LOOK_EVERY, LOOK_EVERY_BUSY, Later, Looked,
    Queue, RENEW_EVERY, fault_wait,
};
use crate::clock::Clock;
use crate::model::delivery::Lease;
use crate::model::queue::Mark;
use crate::model::retry::LEASE;
use crate::model::time::Timestamp;
use crate::wake::Wake;

const NEVER: Timestamp = Timestamp::from_millis(i64::MAX);
/// Rows put off with one statement.
const PUT_OFF_MAX: usize = 1024;

/// What the store answered to the loop itself.
enum Answer<Q: Queue> {
    Leased { at: Timestamp, looked: Result<Looked<Q::Leased>, Q::Fault> },
    PutOff(Result<(), Q::Fault>),
    NextDue { at: Timestamp, due: Result<Option<Timestamp>, Q::Fault> },
    Renewed { at: Timestamp, asked: Vec<Q::Id>, held: Result<Vec<Q::Id>, Q::Fault> },
}

struct Held {
    lease: Lease,
    until: Timestamp,
}

pub(super) struct Run<Q: Queue> {
    queue: Arc<Q>,
    clock: Clock,
    bounds: Bounds,
    wake: Wake,
    handed: Option<mpsc::UnboundedReceiver<Q::Leased>>,
    stopped: watch::Receiver<Option<Duration>>,
    waiting: Waiting<Q::Party, Q::Owner, Q::Leased>,
    /// Everything under lease: what waits and what is performed.
    held: HashMap<Q::Id, Held>,
    running: JoinSet<Done<Q::Leased>>,
    /// Whose task is whose, so that a panic costs one attempt and not a lease for ever.
    ids: HashMap<task::Id, (Q::Id, Q::Party)>,
    /// Parties that the last look left out, because enough of theirs was waiting.
    left_out: HashSet<Q::Party>,
    /// Rows to be put off, with the next statement.
    later: Vec<(Q::Id, Lease, Later)>,
    /// Parties that are full until then.
    full: BTreeMap<Timestamp, Vec<Q::Party>>,
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
    pub(super) fn new(
        queue: Arc<Q>,
        clock: Clock,
        bounds: Bounds,
        wake: Wake,
        handed: Option<mpsc::UnboundedReceiver<Q::Leased>>,
        stopped: watch::Receiver<Option<Duration>>,
    ) -> Self {
        let now = clock.now();
        Self {
            queue,
            clock,
            bounds,
            wake,
            handed,
            stopped,
            waiting: Waiting::new(bounds.at_once_each, bounds.enough_each, bounds.waiting, Q::is_handed_over),
            held: HashMap::new(),
            running: JoinSet::new(),
            ids: HashMap::new(),
            left_out: HashSet::new(),
            later: Vec::new(),
            full: BTreeMap::new(),
            errand: None,
            look_at: now,
            news_at: NEVER,
            renew_at: now + RENEW_EVERY,
            faults: 0,
        }
    }

    pub(super) async fn run(mut self) {
        let queue = self.queue.clone();
        while self.stopped.borrow().is_none() {
            self.begin();
            self.plan_errand();
            let until = self.next_time();
            tokio::select! {
                biased;
                _ = self.stopped.changed() => {}
                party = queue.freed() => self.waiting.let_back(&party),
                Some(ended) = self.running.join_next_with_id() => self.end(ended),
                answer = on_errand(&mut self.errand) => self.answered(answer),
                Some(leased) = from_hand(&mut self.handed) => self.take(leased),
                () = self.wake.heard() => self.look_soon(self.clock.now()),
                // A clock that was put back would make it a longer wait.
                _ = timeout(RENEW_EVERY, self.clock.sleep_until(until)) => {}
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
        let now = self.clock.now();
        while let Some(first) = self.full.first_entry().filter(|first| *first.key() <= now) {
            first.remove().iter().for_each(|party| self.waiting.let_back(party));
        }
        while self.running.len() < self.bounds.at_once {
            let Some((party, leased)) = self.waiting.next() else { return };
            let (id, _) = Q::held(&leased);
            let until = self.held.get(&id).map_or_else(Timestamp::default, |held| held.until);
            if until < now + LEASE_LEFT_MIN {
                tracing::debug!(%id, "a lease ended before its {} began", Q::NAME);
                self.waiting.ended(&party);
                // A renewal may be on its way: without this it would keep the row from everybody.
                self.put_off(&leased, Later { until: now, mark: Mark::None });
                continue;
            }
            match self.queue.turn(&party, &leased) {
                Ok(turn) => {
                    let queue = self.queue.clone();
                    let task = self.running.spawn(async move { queue.perform(leased, turn).await });
                    self.ids.insert(task.id(), (id, party));
                }
                Err(full) => self.stand_aside(party, leased, full),
            }
        }
    }

    /// The party has no turn to give: its line waits elsewhere.
    fn stand_aside(&mut self, party: Q::Party, leased: Q::Leased, full: Full) {
        self.waiting.put_back(&party, Q::owner(&leased), leased);
        match full {
            Full::UntilFreed => self.waiting.set_aside(&party),
            Full::Until(until) => {
                self.waiting.set_aside(&party);
                self.full.entry(until).or_default().push(party);
            }
            Full::ForLong => {
                let line: Vec<_> = self.waiting.clear(&party).collect();
                line.into_iter().for_each(|leased| self.line_up(leased));
            }
        }
    }

    fn end(&mut self, ended: Result<(task::Id, Done<Q::Leased>), task::JoinError>) {
        let (task, done) = match ended {
            Ok(ended) => ended,
            Err(fault) => {
                tracing::error!(%fault, "an attempt at a {} broke off; it comes due with its lease's end", Q::NAME);
                (fault.id(), Done::Settled(None))
            }
        };
        if let Some((id, party)) = self.ids.remove(&task) {
            if let Done::Settled(_) = done {
                self.held.remove(&id);
            }
            self.waiting.ended(&party);
            if self.left_out.contains(&party) && !self.waiting.is_crowded(&party) {
                self.left_out.remove(&party);
                self.look_soon(self.clock.now());
            }
        }
        match done {
            Done::Settled(Some(again)) => self.look_soon(again),
            Done::Settled(None) => {}
            Done::Misplaced(leased) => self.line_up(leased),
            Done::PutOff(leased, later) => self.put_off(&leased, later),
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
        let until = Q::ends_at(&leased);
        // What took long to come is renewed the sooner.
        self.renew_at = self.renew_at.min(until - (LEASE - RENEW_EVERY));
        self.held.insert(id, Held { lease, until });
        self.line_up(leased);
    }

    /// Puts a row that is held into its party's line, or off.
    fn line_up(&mut self, leased: Q::Leased) {
        let party = self.queue.party(&leased);
        let ahead = Ahead { rows: self.waiting.len_of(&party), is_crowded: self.waiting.is_crowded(&party) };
        match self.queue.admit(&leased, ahead) {
            Ok(()) => self.waiting.push(party, Q::owner(&leased), leased),
            Err(later) => self.put_off(&leased, later),
        }
    }

    fn put_off(&mut self, leased: &Q::Leased, later: Later) {
        let (id, lease) = Q::held(leased);
        self.held.remove(&id);
        self.later.push((id, lease, later));
        self.look_soon(later.until);
    }

    /// Sends the next statement on its way, when one is due and none is under way.
    fn plan_errand(&mut self) {
        if self.errand.is_some() {
            return;
        }
        let now = self.clock.now();
        let queue = self.queue.clone();
        if !self.held.is_empty() && is_time(self.renew_at, now, RENEW_EVERY) {
            let asked = self.held.keys().copied().collect();
            let held = self.held.iter().map(|(id, held)| (*id, held.lease.clone())).collect();
            self.errand =
                Some(Box::pin(async move { Answer::Renewed { at: now, asked, held: queue.renew(held).await } }));
        } else if !self.later.is_empty() {
            let rows = self.later.split_off(self.later.len().saturating_sub(PUT_OFF_MAX));
            self.errand = Some(Box::pin(async move { Answer::PutOff(queue.put_off(rows).await) }));
        } else if self.may_lease() && is_time(self.look_at, now, LOOK_EVERY) {
            let limit = self.bounds.batch.min(self.bounds.ahead - self.waiting.ahead());
            let lines = self.waiting.lines();
            self.left_out = lines.crowded().collect();
            let limit = u32::try_from(limit).unwrap_or(u32::MAX);
            self.news_at = NEVER;
            self.errand =
                Some(Box::pin(async move { Answer::Leased { at: now, looked: queue.lease(limit, lines).await } }));
        }
    }

    /// Whether there is room for a batch worth its statement.
    fn may_lease(&self) -> bool {
        self.waiting.ahead() * 2 <= self.bounds.ahead && !self.waiting.is_full()
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
        if let Some(freed) = self.full.first_key_value() {
            next = next.min(*freed.0);
        }
        next
    }

    fn answered(&mut self, answer: Answer<Q>) {
        self.errand = None;
        let now = self.clock.now();
        match answer {
            Answer::Leased { at, looked: Ok(Looked { rows, has_more }) } => {
                self.faults = 0;
                let is_empty = rows.is_empty();
                rows.into_iter().for_each(|leased| self.take(leased));
                if has_more {
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
                // What is not confirmed is lost now, not when its old end comes.
                asked.iter().for_each(|id| self.holds_until(id, Timestamp::default()));
                ids.iter().for_each(|id| self.holds_until(id, at + LEASE));
                // What came meanwhile may end sooner than what was renewed.
                let ends = self.held.values().map(|held| held.until).filter(|until| *until > at);
                self.renew_at = ends.min().unwrap_or(at + LEASE) - (LEASE - RENEW_EVERY);
            }
            Answer::PutOff(Ok(())) => self.faults = 0,
            Answer::PutOff(Err(fault)) => {
                tracing::warn!(%fault, "what was to be put off comes due with its lease's end");
            }
            Answer::Leased { looked: Err(fault), .. }
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
            if is_time(self.renew_at, self.clock.now(), RENEW_EVERY) {
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
        let mut unused: Vec<_> = self.waiting.drain().map(|leased| Q::held(&leased)).collect();
        unused.iter().for_each(|(id, _)| drop(self.held.remove(id)));
        unused.extend(std::mem::take(&mut self.later).into_iter().map(|(id, lease, _)| (id, lease)));
        if unused.is_empty() {
            return;
        }
        if !matches!(timeout(FAULT_WAIT_MAX, self.queue.release(unused)).await, Ok(Ok(()))) {
            tracing::warn!("leases could not be given back; what they are for comes due with their end");
        }
    }
}

/// Whether it is time for what is done at least so often. A time that is further off was set before the clock was put
/// back.
fn is_time(at: Timestamp, now: Timestamp, every: Duration) -> bool {
    now >= at || at > now + every
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
