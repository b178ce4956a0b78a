//! The one task that records hits: judge, write, and see to those that cannot be written.
//!
//! | the database | a hit goes to | and then |
//! |---|---|---|
//! | answers | the store, with others | is done |
//! | is away | the journal, behind those before it | waits for the database |
//! | is back | the queue in memory | waits until the journal is recorded |
//!
//! Hits are judged (`judge`) in the order they came. While a batch is written the next is judged, but written only when
//! the one before is: what it changes about earlier hits must find them. A hit that later ones show to be a scanner's is
//! judged again within `REJUDGE`; the store takes back what it owed to webhooks that have not been told. Readers who wait
//! are let go when their hit is on the disk, in the store or in the journal; those whose mail agent does not ask for
//! that, when it shows.

use std::time::Duration;

use tokio::sync::{mpsc, watch};
use tokio::task::JoinHandle;

use super::copy::Changed;
use super::journal::Journal;
use super::judge::{Judge, Time};
use super::{Held, Parts, Queued, Waiting};
use crate::model::id::EventId;
use crate::store::hits::{HitBatch, RecordedHit, Rejudged};
use crate::store::{Store, StoreError};

/// Hits recorded in one commit.
const BATCH_MAX: usize = 1024;
/// How long to wait before asking an absent database again.
const AWAY: Duration = Duration::from_secs(1);

/// Records hits.
pub(super) struct Recorder {
    parts: Parts,
    journal: Journal,
    judge: Judge,
    count: watch::Sender<u64>,
}

/// Hits out of the queue that are neither in the store nor in the journal, in the order they came.
#[derive(Default)]
struct Taken {
    hits: Vec<Waiting>,
    held: Vec<Held>,
}

/// A batch on its way into the store.
type Writing = JoinHandle<Result<(), Unwritten>>;

/// A batch that could not be judged or written, whole again.
struct Unwritten {
    taken: Taken,
    changed: Changed,
    fault: StoreError,
}

impl Taken {
    /// What waits, once there is something; empty when nothing more can come.
    async fn first(queue: &mut mpsc::Receiver<Queued>) -> Self {
        let mut taken = Self::default();
        taken.fill(queue, 1).await;
        taken
    }

    /// Takes what waits until there are so many, or nothing more can come. What was taken stays when it is cut short.
    async fn fill(&mut self, queue: &mut mpsc::Receiver<Queued>, at_least: usize) {
        let mut queued = Vec::new();
        while self.hits.len() < at_least {
            if queue.recv_many(&mut queued, BATCH_MAX - self.hits.len()).await == 0 {
                return;
            }
            let (hits, held): (Vec<_>, Vec<_>) = queued.drain(..).unzip();
            self.hits.extend(hits);
            self.held.extend(held);
        }
    }

    fn is_empty(&self) -> bool {
        self.hits.is_empty()
    }
}

impl Recorder {
    pub(super) fn new(parts: Parts, journal: Journal, count: watch::Sender<u64>) -> Self {
        let judge = Judge::new(&parts);
        Self { parts, journal, judge, count }
    }

    /// Records what comes until nothing more can come, or the store is closed.
    pub(super) async fn run(mut self, mut queue: mpsc::Receiver<Queued>) {
        let mut taken = Taken::default();
        let mut writing: Option<Writing> = None;
        loop {
            if !self.journal.is_empty() && !self.outlast(&mut queue).await {
                return;
            }
            // Only a full batch is judged while another is written: a commit costs nearly as much for one hit as for many.
            let at_least = if writing.is_some() { BATCH_MAX } else { 1 };
            let step = tokio::select! {
                biased;
                end = end_of(&mut writing) => end,
                () = taken.fill(&mut queue, at_least) => match &writing {
                    None if taken.is_empty() => return,
                    Some(_) if taken.is_empty() => end_of(&mut writing).await,
                    _ => self.advance(&mut taken, &mut writing).await,
                }
            };
            if let Err(unwritten) = step
                && !self.put_off(unwritten, &mut taken).await
            {
                return;
            }
        }
    }

    /// Judges what was taken while the batch before it is written, and then has it written.
    async fn advance(&mut self, taken: &mut Taken, writing: &mut Option<Writing>) -> Result<(), Unwritten> {
        let judged = self.judge.judge(&taken.hits, &mut taken.held, Time::First).await;
        if writing.is_some() {
            end_of(writing).await?;
        }
        let taken = std::mem::take(taken);
        match judged {
            Ok(judged) => *writing = Some(self.write(taken, judged)),
            Err(fault) => return Err(Unwritten { taken, changed: Changed::new(), fault }),
        }
        Ok(())
    }

    /// Has a batch written. Its readers are let go as soon as it is.
    fn write(&mut self, taken: Taken, judged: Vec<RecordedHit>) -> Writing {
        let changed = std::mem::take(&mut self.judge.changed);
        let batch = self.batch(judged, &changed, Time::First);
        let (store, count) = (self.parts.store.clone(), self.count.clone());
        tokio::spawn(async move {
            if let Err(fault) = recorded(&store, batch).await {
                return Err(Unwritten { taken, changed, fault });
            }
            count.send_modify(|recorded| *recorded += taken.hits.len() as u64);
            Ok(())
        })
    }

    fn batch(&self, hits: Vec<RecordedHit>, changed: &Changed, time: Time) -> HitBatch {
        let now = self.parts.clock.now();
        let rejudged = changed.iter().map(|(hit, verdict)| Rejudged {
            hit: *hit,
            verdict: verdict.clone(),
            told_as: EventId::from_uuid(self.parts.ids.uuid(now)),
        });
        HitBatch { hits, rejudged: rejudged.collect(), now, is_again: time == Time::Again }
    }

    /// Puts a batch that could not be written where it waits for the database, and behind it what was taken since; false
    /// when the store is closed.
    async fn put_off(&mut self, unwritten: Unwritten, behind: &mut Taken) -> bool {
        let Unwritten { taken, changed, fault } = unwritten;
        self.judge.take_back(&taken.hits, changed);
        self.judge.take_back(&behind.hits, Changed::new());
        if matches!(fault, StoreError::Closed) {
            self.put_aside(&[taken.hits, std::mem::take(&mut behind.hits)].concat()).await;
            return false;
        }
        tracing::warn!(%fault, hits = taken.hits.len(), "hits wait for the database");
        if !self.keep(taken).await {
            return false;
        }
        // Where the first could be recorded after all, the others are judged in their turn.
        self.journal.is_empty() || behind.is_empty() || self.keep(std::mem::take(behind)).await
    }

    /// Puts hits where they wait for the database; false when the store is closed before that was possible.
    async fn keep(&mut self, taken: Taken) -> bool {
        let is_safe = self.put_aside(&taken.hits).await;
        // Safe, or nowhere safe for as long as nobody can tell: no reader waits for that.
        drop(taken.held);
        let is_kept = is_safe || self.insist(&taken.hits).await;
        if is_kept {
            self.count.send_modify(|recorded| *recorded += taken.hits.len() as u64);
        }
        is_kept
    }

    /// Writes hits to the journal; whether it could.
    async fn put_aside(&mut self, hits: &[Waiting]) -> bool {
        let written = self.journal.append(hits).await;
        if let Err(fault) = &written {
            tracing::error!(%fault, hits = hits.len(), "hits cannot be written to the journal and wait in memory");
        }
        written.is_ok()
    }

    /// Tries hits that have nowhere else to go until they are recorded; false when the store is closed.
    async fn insist(&mut self, hits: &[Waiting]) -> bool {
        loop {
            self.parts.clock.sleep_until(self.parts.clock.now() + AWAY).await;
            match self.record_again(hits).await {
                Ok(()) => return true,
                Err(StoreError::Closed) => return false,
                Err(_) => {}
            }
        }
    }

    /// Puts what comes behind what is in the journal until the database answers, and then records the journal; false
    /// when nothing more can come: the next start finds the journal.
    async fn outlast(&mut self, queue: &mut mpsc::Receiver<Queued>) -> bool {
        let mut has_failed = false;
        loop {
            let (store, clock) = (self.parts.store.clone(), self.parts.clock.clone());
            let back = async move {
                while has_failed || store.probe().await.is_err() {
                    clock.sleep_until(clock.now() + AWAY).await;
                    has_failed = false;
                }
            };
            tokio::pin!(back);
            loop {
                tokio::select! {
                    () = &mut back => break,
                    taken = Taken::first(queue) => if taken.is_empty() || !self.keep(taken).await {
                        return false;
                    }
                }
            }
            match self.replay().await {
                Ok(()) => return true,
                Err(StoreError::Closed) => return false,
                Err(fault) => tracing::warn!(%fault, "the journal of hits waits for the database"),
            }
            has_failed = true;
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
                self.record_again(batch).await?;
            }
            hits += bite.hits.len();
            if let Err(fault) = self.journal.done(&bite).await {
                tracing::error!(%fault, "the journal of hits cannot be removed");
            }
        }
        tracing::info!(hits, "the journal of hits is recorded");
        Ok(())
    }

    /// Judges and writes hits that may have been recorded before.
    async fn record_again(&mut self, hits: &[Waiting]) -> Result<(), StoreError> {
        let judged = self.judge.judge(hits, &mut [], Time::Again).await?;
        let changed = std::mem::take(&mut self.judge.changed);
        let batch = self.batch(judged, &changed, Time::Again);
        let recorded = recorded(&self.parts.store, batch).await;
        if recorded.is_err() {
            self.judge.take_back(hits, changed);
        }
        recorded
    }
}

/// Records a batch, if there is anything in it.
async fn recorded(store: &Store, batch: HitBatch) -> Result<(), StoreError> {
    if batch.hits.is_empty() && batch.rejudged.is_empty() {
        return Ok(());
    }
    store.record_hits(batch).await
}

/// How a writing ends; never, where there is none.
async fn end_of(writing: &mut Option<Writing>) -> Result<(), Unwritten> {
    let Some(task) = writing else { return std::future::pending().await };
    let end = task.await;
    *writing = None;
    end.expect("writing a batch neither panics nor is cancelled")
}
