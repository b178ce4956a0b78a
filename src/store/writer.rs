//! Group commit: many arrivals, one commit, then every waiter is answered.
//!
//! Acceptances, settlements, reports and hits come through one bounded channel. The writer takes what is waiting, writes
//! it in one transaction with one statement a table, commits, and only then answers. While it commits, the next batch
//! gathers in `batch`. A batch that fails is tried again one by one, so that one bad arrival cannot fail its neighbours,
//! unless the database is away for all of them. A commit that fails to sync is never tried again: the writer stops for
//! good.

mod batch;

use std::collections::HashSet;
use std::io;
use std::sync::Arc;

use tokio::sync::{Mutex, OwnedSemaphorePermit, Semaphore, mpsc, oneshot, watch};

use self::batch::Gathering;
use super::db::{Db, Result, Steady, StoreError, Tx, Wakes};
use super::deliveries::{Leased, Settlement};
use super::dispatches::DispatchSettlement;
use super::faults::{is_away, is_deadlock, is_sync_failure};
use super::hits::HitBatch;
use super::messages::Terms;
use super::reports::Arrived;
use super::statistics::{Judged, Share, Tally};
use super::{
    address_history, deliveries, dispatches, events, hits, idempotency, messages, reports, statistics, webhook_health,
};
use crate::clock::Clock;
use crate::model::event::Event;
use crate::model::id::WebhookId;
use crate::model::message::{Letter, Plan};
use crate::model::retry::LEASE;
use crate::model::seal::MasterKey;
use crate::model::time::Timestamp;
use crate::model::webhook::DispatchId;

/// Arrivals that may wait for the writer.
const WAITING_MAX: usize = 4096;
/// How often one work may lose against others before it is refused.
const DEADLOCKS_MAX: u32 = 5;
/// Writers of a PostgreSQL store, whose commits can overlap when each is worth it. SQLite has one.
const POSTGRES_WRITERS: usize = 4;

/// One thing to write.
pub(super) enum Work {
    /// Plans that belong together: all of them are written, or none.
    Accept(Box<Together>),
    Settle(Box<Settlement>),
    SettleDispatch(Box<DispatchSettlement>),
    Hits(HitBatch),
    Report(Box<Arrived>),
    /// Nothing; what came before it waits for nobody any more.
    Flush,
}

/// A plan on its way in.
pub(super) struct Accept {
    pub(super) plan: Arc<Plan>,
    /// The file that holds the content, when it is too large for a row.
    pub(super) file: Option<String>,
    /// The lease that its due deliveries are accepted under; `None`: they are due for whoever leases them.
    pub(super) holder: Option<String>,
    /// What is due by then counts as due now.
    pub(super) now: Timestamp,
}

/// Plans on their way in together.
pub(super) struct Together {
    pub(super) accepts: Vec<Accept>,
    pub(super) terms: Terms,
    /// When they came.
    pub(super) now: Timestamp,
}

struct Arrival {
    work: Work,
    /// When it was written: leases that it brought count from then.
    answer: oneshot::Sender<Result<Timestamp>>,
}

/// The way to the writer.
#[derive(Debug)]
pub(super) struct Writer {
    arrivals: mpsc::Sender<Arrival>,
    failed: watch::Receiver<bool>,
    handoff: Handoff,
}

impl std::fmt::Debug for Arrival {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        out.write_str("Arrival")
    }
}

/// Where accepted deliveries go without being read again. The channel has no bound of its own: each entry holds one of
/// `slots`, so it holds at most as many as there are slots.
#[derive(Debug)]
struct Handoff {
    slots: Arc<Semaphore>,
    sender: mpsc::UnboundedSender<Leased>,
    receiver: Mutex<Option<mpsc::UnboundedReceiver<Leased>>>,
}

/// Starts writing. `slots` is how many deliveries may be handed over at one time.
pub(super) fn start(ground: Ground, slots: usize, holder: &str) -> Writer {
    let (arrivals, receiver) = mpsc::channel(WAITING_MAX);
    let (fail, failed) = watch::channel(false);
    let gathering = Arc::new(Mutex::new(Gathering::new(receiver)));
    let fail = Arc::new(fail);
    let writers = match ground.db {
        Db::Sqlite(_) => 1,
        Db::Postgres(_) => POSTGRES_WRITERS,
    };
    for writer in 0..writers {
        let ground = Ground { share: Share::of(holder, writer), ..ground.clone() };
        tokio::spawn(run(ground, gathering.clone(), fail.clone()));
    }
    let (sender, leased) = mpsc::unbounded_channel();
    let handoff = Handoff { slots: Arc::new(Semaphore::new(slots)), sender, receiver: Mutex::new(Some(leased)) };
    Writer { arrivals, failed, handoff }
}

impl Writer {
    /// Hands `work` to the writer and returns when it is committed: the time from which leases count that it brought.
    pub(super) async fn write(&self, work: Work) -> Result<Timestamp> {
        let (answer, committed) = oneshot::channel();
        self.arrivals.send(Arrival { work, answer }).await.map_err(|_| StoreError::Closed)?;
        committed.await.map_err(|_| StoreError::Closed)?
    }

    /// Room for `count` deliveries to be handed over in memory; `None` when there is not enough, and they wait in
    /// the store instead.
    pub(super) fn slots(&self, count: usize) -> Option<Vec<OwnedSemaphorePermit>> {
        let count = u32::try_from(count).ok()?;
        let mut all = self.handoff.slots.clone().try_acquire_many_owned(count).ok()?;
        (0..count).map(|_| all.split(1)).collect()
    }

    /// Hands a delivery over. Nobody listening is no loss: its lease ends and it comes due.
    pub(super) fn hand_over(&self, leased: Leased) {
        let _ = self.handoff.sender.send(leased);
    }

    pub(super) async fn take_handoff(&self) -> Option<mpsc::UnboundedReceiver<Leased>> {
        self.handoff.receiver.lock().await.take()
    }

    pub(super) async fn failed(&self) {
        let mut failed = self.failed.clone();
        if failed.wait_for(|failed| *failed).await.is_err() {
            std::future::pending::<()>().await;
        }
    }

    /// Returns when everything handed in before has been answered.
    pub(super) async fn drain(&self) {
        let _ = self.write(Work::Flush).await;
    }
}

/// What writers work with.
#[derive(Clone)]
pub(super) struct Ground {
    pub(super) db: Db,
    pub(super) clock: Clock,
    pub(super) time: Steady,
    pub(super) wakes: Wakes,
    pub(super) master: MasterKey,
    pub(super) handoff: Arc<dispatches::Handoff>,
    pub(super) share: Share,
}

async fn run(ground: Ground, gathering: Arc<Mutex<Gathering>>, fail: Arc<watch::Sender<bool>>) {
    let mut batch = Vec::new();
    loop {
        let Some(under_way) = gathering.lock().await.gather(&mut batch).await else { return };
        let (works, answers): (Vec<_>, Vec<_>) =
            batch.drain(..).map(|arrival: Arrival| (arrival.work, arrival.answer)).unzip();
        let results = commit(&ground, works).await;
        let sync_failed = results.iter().any(|result| matches!(result, Err(fault) if is_sync_failure(fault)));
        for (result, answer) in results.into_iter().zip(answers) {
            let _ = answer.send(result);
        }
        drop(under_way);
        if sync_failed {
            tracing::error!("a commit could not be synced; nothing more will be acknowledged");
            fail.send_replace(true);
            return;
        }
    }
}

/// Commits a batch; one result for each of its works, in their order.
async fn commit(ground: &Ground, works: Vec<Work>) -> Vec<Result<Timestamp>> {
    let works: Vec<Arc<Work>> = works.into_iter().map(Arc::new).collect();
    match write_batch(ground, &works).await {
        Ok(written) => written.announce(ground, works.len()),
        Err(fault) if is_deadlock(&fault) && works.len() == 1 => vec![write_again(ground, &works).await],
        Err(fault) if works.len() == 1 || is_sync_failure(&fault) => {
            let mut results = vec![Err(fault)];
            results.resize_with(works.len(), || Err(StoreError::Closed));
            results
        }
        // None of them can be the cause, and each would wait for it again.
        Err(StoreError::Unclear(fault)) => works.iter().map(|_| Err(StoreError::Unclear(same(&fault)))).collect(),
        Err(StoreError::Unavailable(fault)) if is_away(&fault) => {
            works.iter().map(|_| Err(StoreError::Unavailable(same(&fault)))).collect()
        }
        Err(_) => {
            let mut results = Vec::with_capacity(works.len());
            for work in &works {
                results.push(write_again(ground, std::slice::from_ref(work)).await);
            }
            results
        }
    }
}

/// A fault once more, for another who hears of it.
fn same(fault: &sqlx::Error) -> sqlx::Error {
    sqlx::Error::Io(io::Error::other(fault.to_string()))
}

/// Writes one work by itself. PostgreSQL ends one of two transactions that wait for each other: that one is tried again.
async fn write_again(ground: &Ground, alone: &[Arc<Work>]) -> Result<Timestamp> {
    let mut deadlocks = 0;
    loop {
        match write_batch(ground, alone).await {
            Ok(written) => return written.announce(ground, 1).remove(0),
            Err(fault) if is_deadlock(&fault) && deadlocks < DEADLOCKS_MAX => deadlocks += 1,
            Err(fault) => return Err(fault),
        }
    }
}

/// What a batch did beyond being written.
struct Written {
    /// When.
    at: Timestamp,
    /// Places in the batch whose lease was no longer held.
    lost: Vec<usize>,
    /// Places of arrivals that would pass a daily limit; nothing of them was written.
    over: Vec<usize>,
    has_due_deliveries: bool,
    /// Webhooks that dispatches are owed to which somebody has to look for.
    owes: HashSet<WebhookId>,
    handed: Vec<DispatchId>,
    has_notices: bool,
}

impl Written {
    fn at(at: Timestamp) -> Self {
        let (lost, over, owes, handed) = Default::default();
        Self { at, lost, over, has_due_deliveries: false, owes, handed, has_notices: false }
    }

    fn announce(self, Ground { wakes, handoff, .. }: &Ground, works: usize) -> Vec<Result<Timestamp>> {
        handoff.hand_over(self.handed, self.at + LEASE);
        if self.has_due_deliveries {
            wakes.deliveries.ring();
        }
        if handoff.wants_any(&self.owes) {
            wakes.dispatches.ring();
        }
        if self.has_notices {
            wakes.notices.ring();
        }
        let result = |at| match at {
            _ if self.lost.contains(&at) => Err(StoreError::LostLease),
            _ if self.over.contains(&at) => Err(StoreError::OverLimit),
            _ => Ok(self.at),
        };
        (0..works).map(result).collect()
    }
}

async fn write_batch(ground: &Ground, works: &[Arc<Work>]) -> Result<Written> {
    let mut tx = ground.db.begin(&ground.time).await?;
    let (mut written, mut tally) = (Written::at(ground.clock.now()), Tally::default());
    let (accepts, warnings) = accept(&mut tx, works, &mut written).await?;

    let settled = settle(&mut tx, works, &mut written).await?;
    let notices = settle_dispatches(&mut tx, works, &mut written, &ground.master).await?;
    written.has_notices = !notices.is_empty();
    let reported = settle_reports(&mut tx, works, &mut written).await?;
    let bearings = settled.iter().map(|settlement| &settlement.bearing);
    let bearings = bearings.chain(reported.iter().flat_map(|arrived| &arrived.settlement.bearings));
    address_history::bear(&mut tx, bearings).await?;
    let recorded: Vec<&HitBatch> = works
        .iter()
        .filter_map(|work| match &**work {
            Work::Hits(batch) => Some(batch),
            _ => None,
        })
        .collect();
    let from_hits = hits::insert(&mut tx, &recorded).await?;

    let all: Vec<&Event> = accepts
        .iter()
        .flat_map(|accept| &accept.plan.events)
        .chain(settled.iter().flat_map(|settlement| &settlement.events))
        .chain(reported.iter().flat_map(|arrived| &arrived.settlement.events))
        .chain(&from_hits)
        .chain(&notices)
        .chain(&warnings)
        .collect();
    let told = events::insert(&mut tx, &all, &mut tally, ground.handoff.hands(written.at).as_ref()).await?;
    let warnings: Vec<&Event> = warnings.iter().filter(|warning| told.new.contains(&warning.id)).collect();
    webhook_health::mail(&mut tx, warnings.iter().copied()).await?;
    written.has_notices |= !warnings.is_empty();
    written.owes = told.owes;
    written.handed = told.handed;
    let letters = settled.iter().filter_map(|settlement| settlement.letter.as_ref());
    let letters = letters.chain(reported.iter().filter_map(|arrived| arrived.settlement.letter.as_ref()));
    written.has_due_deliveries |=
        send(&mut tx, letters.filter(|letter| letter.event.is_none_or(|event| told.new.contains(&event)))).await?;
    tally.write(&mut tx, ground.share).await?;
    if tx.is_shared() {
        // What is owed to webhooks of which this node has enough the others may take.
        let owes = (!written.owes.is_empty()).then(|| ground.handoff.holder());
        super::listen::announce(&mut tx, written.has_due_deliveries, owes).await?;
    }
    tx.commit().await?;
    Ok(written)
}

/// Writes the mails of a batch; those that were within their limits, and the warnings that follow.
async fn accept<'a>(
    tx: &mut Tx,
    works: &'a [Arc<Work>],
    written: &mut Written,
) -> Result<(Vec<&'a Accept>, Vec<Event>)> {
    let arrived = works.iter().enumerate().filter_map(|(at, work)| match &**work {
        Work::Accept(together) => Some((at, &**together)),
        _ => None,
    });
    let mut arrived: Vec<(usize, &Together)> = arrived.collect();
    let Judged { over, warnings } = statistics::judge(tx, &arrived).await?;
    written.over = over;
    arrived.retain(|(at, _)| !written.over.contains(at));
    let accepts: Vec<&Accept> = arrived.iter().flat_map(|(_, together)| &together.accepts).collect();
    messages::insert(tx, &accepts, written.at).await?;
    for (_, together) in arrived {
        idempotency::insert(tx, together.terms.kept.iter(), together.now).await?;
    }
    written.has_due_deliveries = accepts.iter().any(|accept| accept.holder.is_none());
    Ok((accepts, warnings))
}

/// Accepts letters of our own, each due for whoever leases it; whether there are any.
async fn send(tx: &mut Tx, letters: impl Iterator<Item = &Letter>) -> Result<bool> {
    let accepts: Vec<Accept> = letters
        .map(|letter| Accept {
            plan: letter.plan.clone(),
            file: None,
            holder: None,
            now: letter.plan.message.accepted_at,
        })
        .collect();
    // Nothing of them is leased.
    messages::insert(tx, &accepts.iter().collect::<Vec<_>>(), Timestamp::default()).await?;
    Ok(!accepts.is_empty())
}

/// Settles the deliveries of a batch; those whose lease was held.
async fn settle<'a>(tx: &mut Tx, works: &'a [Arc<Work>], written: &mut Written) -> Result<Vec<&'a Settlement>> {
    let settlements: Vec<(usize, &Settlement)> = works
        .iter()
        .enumerate()
        .filter_map(|(at, work)| match &**work {
            Work::Settle(settlement) => Some((at, &**settlement)),
            _ => None,
        })
        .collect();
    let held = deliveries::settle(tx, settlements.iter().map(|(_, settlement)| *settlement)).await?;
    let (kept, lost): (Vec<_>, Vec<_>) =
        settlements.into_iter().partition(|(_, settlement)| held.contains(&settlement.id));
    written.lost.extend(lost.into_iter().map(|(at, _)| at));
    Ok(kept.into_iter().map(|(_, settlement)| settlement).collect())
}

/// Settles the dispatches of a batch; the notices about webhooks that follow.
async fn settle_dispatches(
    tx: &mut Tx,
    works: &[Arc<Work>],
    written: &mut Written,
    master: &MasterKey,
) -> Result<Vec<Event>> {
    let settlements: Vec<(usize, &DispatchSettlement)> = works
        .iter()
        .enumerate()
        .filter_map(|(at, work)| match &**work {
            Work::SettleDispatch(settlement) => Some((at, &**settlement)),
            _ => None,
        })
        .collect();
    if settlements.is_empty() {
        return Ok(Vec::new());
    }
    let settled = dispatches::settle(tx, settlements.iter().map(|(_, settlement)| *settlement), master).await?;
    let is_held = |settlement: &DispatchSettlement| settled.held.contains(&settlement.id);
    written.lost.extend(settlements.iter().filter(|(_, settlement)| !is_held(settlement)).map(|(at, _)| *at));
    Ok(settled.notices)
}

/// Keeps the reports of a batch and makes their changes; those whose delivery had not moved.
async fn settle_reports<'a>(tx: &mut Tx, works: &'a [Arc<Work>], written: &mut Written) -> Result<Vec<&'a Arrived>> {
    let arrived: Vec<(usize, &Arrived)> = works
        .iter()
        .enumerate()
        .filter_map(|(at, work)| match &**work {
            Work::Report(arrived) => Some((at, &**arrived)),
            _ => None,
        })
        .collect();
    let lost = reports::insert(tx, &arrived).await?;
    let kept = arrived.into_iter().filter(|(at, _)| !lost.contains(at)).map(|(_, arrived)| arrived).collect();
    written.lost.extend(lost);
    Ok(kept)
}
