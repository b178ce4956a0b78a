//! The loop that both outward parts share: lease, perform, settle, wait.
//!
//! A [`Worker`] keeps rows of one [`Queue`] under lease and performs a bounded number at once. Rows come from the
//! store, oldest first, and, where acceptance hands them over, from memory. Whatever is held, waiting here or being
//! performed, is renewed in one statement every [`RENEW_EVERY`]; what a renewal does not confirm is not begun, because
//! another node may have. A row begins when its party gives it a turn; the line of a party that gives none stands aside
//! and counts for nothing, and rows that would wait long in one are put off. At most one statement of the loop itself is
//! at the store at a time, and after a fault the first is a renewal: a store that was away finds our old leases extended
//! before anybody here asks for new ones.
//!
//! The worker decides nothing: what a row is and what becomes of it is the queue's affair. Wakes are hints; looking
//! again every [`LOOK_EVERY`] is the truth.

use std::collections::HashMap;
use std::fmt::Display;
use std::hash::Hash;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{mpsc, watch};
use tokio::task::JoinHandle;

use crate::clock::Clock;
use crate::model::delivery::Lease;
use crate::model::queue::Mark;
use crate::model::time::Timestamp;
use crate::wake::Wake;

mod run;
mod waiting;

use run::Run;

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
    /// Whose it is. In one party's line the owners take turns.
    type Owner: PartialEq + Send;
    /// The right to perform one row; given back when it is dropped.
    type Turn: Send;
    /// Why the store could not.
    type Fault: Display + Send;

    /// What logs call it.
    const NAME: &'static str;

    /// The row's name and lease.
    fn held(leased: &Self::Leased) -> (Self::Id, Lease);
    /// When its lease ends, unless it is renewed.
    fn ends_at(leased: &Self::Leased) -> Timestamp;
    /// Whether it came by hand: such rows have a bound of their own, and keep nobody from leasing others.
    fn is_handed_over(_leased: &Self::Leased) -> bool {
        false
    }
    /// Who gets it, as far as is known.
    fn party(&self, leased: &Self::Leased) -> Self::Party;
    /// Whose it is.
    fn owner(leased: &Self::Leased) -> Self::Owner;
    /// Whether a row may join its party's line, in which others wait already; else until when it is put off.
    fn admit(&self, _leased: &Self::Leased, _ahead: Ahead) -> Result<(), Later> {
        Ok(())
    }
    /// The right to perform `next`, which is the party's.
    ///
    /// # Errors
    /// [`Full`]: the party can take no more for now.
    fn turn(&self, party: &Self::Party, next: &Self::Leased) -> Result<Self::Turn, Full>;
    /// A party that was full and may have room again.
    fn freed(&self) -> impl Future<Output = Self::Party> + Send {
        std::future::pending()
    }
    /// Leases up to `limit` rows that are due, oldest first; none of the parties in `lines` that have enough waiting.
    fn lease(
        &self,
        limit: u32,
        lines: Lines<Self::Party>,
    ) -> impl Future<Output = Result<Looked<Self::Leased>, Self::Fault>> + Send;
    /// When the next row comes due.
    fn next_due(&self) -> impl Future<Output = Result<Option<Timestamp>, Self::Fault>> + Send;
    /// Extends these leases, and those of what the queue performs together with them; those that were still held.
    fn renew(&self, held: Vec<(Self::Id, Lease)>) -> impl Future<Output = Result<Vec<Self::Id>, Self::Fault>> + Send;
    /// Gives back leases unused.
    fn release(&self, unused: Vec<(Self::Id, Lease)>) -> impl Future<Output = Result<(), Self::Fault>> + Send;
    /// Gives back leases unused, each row to come due later.
    fn put_off(&self, rows: Vec<(Self::Id, Lease, Later)>) -> impl Future<Output = Result<(), Self::Fault>> + Send;
    /// Performs and settles.
    fn perform(&self, leased: Self::Leased, turn: Self::Turn) -> impl Future<Output = Done<Self::Leased>> + Send;
    /// The last thing that a drain does.
    fn close(&self) -> impl Future<Output = ()> + Send {
        std::future::ready(())
    }
}

/// What a look into the store brought.
#[derive(Debug)]
pub struct Looked<L> {
    /// Rows under lease.
    pub rows: Vec<L>,
    /// Others may be due.
    pub has_more: bool,
}

/// Who waits in a party's line.
#[derive(Clone, Copy, Debug)]
pub struct Ahead {
    /// So many rows.
    pub rows: usize,
    /// They are more than it will need soon.
    pub is_crowded: bool,
}

/// How many rows wait in memory, by party.
#[derive(Debug)]
pub struct Lines<P> {
    /// Of each party that has any.
    pub waiting: HashMap<P, usize>,
    /// From how many on a party needs no more.
    enough: usize,
}

impl<P: Clone> Lines<P> {
    /// Parties that have more waiting than they will need soon.
    pub fn crowded(&self) -> impl Iterator<Item = P> {
        self.waiting.iter().filter(|(_, count)| **count >= self.enough).map(|(party, _)| party.clone())
    }
}

/// What performing a row came to.
#[derive(Debug)]
pub enum Done<L> {
    /// It is settled, and comes due again at this time, if it does.
    Settled(Option<Timestamp>),
    /// It was found out to be another party's; it waits in that one's line.
    Misplaced(L),
    /// It was not tried, and is put off.
    PutOff(L, Later),
}

/// When a row that is put off comes due, and why it waits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Later {
    /// When.
    pub until: Timestamp,
    /// Why.
    pub mark: Mark,
}

/// Why there is no turn.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Full {
    /// Until one of the party's turns is given back; [`Queue::freed`] tells.
    UntilFreed,
    /// Until this time.
    Until(Timestamp),
    /// For long: whatever waits is asked anew whether it may.
    ForLong,
}

/// How much a worker takes on.
#[derive(Clone, Copy, Debug)]
pub struct Bounds {
    /// Rows performed at once.
    pub at_once: usize,
    /// Of these, rows of one party.
    pub at_once_each: usize,
    /// Rows of one party that wait here, from which on no more of them are leased.
    pub enough_each: usize,
    /// Rows that wait here, whether their parties can take any or not. Where there are many already, less is enough of
    /// each party.
    pub waiting: usize,
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
        let run = Run::new(queue, clock, bounds, wake, handed, stopped);
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

#[cfg(test)]
mod tests;
