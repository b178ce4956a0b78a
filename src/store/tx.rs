//! A write transaction on either engine.
//!
//! SQLite works on a thread of its own, and the way there and back costs more than most statements: those whose rows
//! nobody wants wait for the next that has to be run, and go together, `begin` and `commit` too. PostgreSQL runs each at
//! once. A transaction knows when it began, so that whoever lists by time can tell what may still be on its way.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

use sqlx::pool::PoolConnection;
use sqlx::{AssertSqlSafe, SqlSafeStr, Sqlite};
use tokio::runtime::Handle;

use super::connection::Connection;
use super::db::{Result, StoreError};
use super::value::{Places, Row, Value, pieces};
use crate::clock::Clock;
use crate::model::time::Timestamp;

/// Values of statements that go together, at most: their text is prepared and kept as a whole, and there are as many
/// texts as there are ways to fill a batch.
const TOGETHER_MAX: usize = 256;
/// Takes the lock for writing at once: a transaction that asked for it later could be refused.
const BEGIN: &str = "begin immediate";

/// The time by which transactions begin: a clock that is put back stands until it has caught up, so that what is written
/// later is never listed before.
#[derive(Clone, Debug)]
pub(super) struct Steady {
    clock: Clock,
    latest: Arc<AtomicI64>,
}

impl Steady {
    pub(super) fn new(clock: Clock) -> Self {
        Self { clock, latest: Arc::new(AtomicI64::new(i64::MIN)) }
    }

    pub(super) fn now(&self) -> Timestamp {
        let now = self.clock.now().as_millis();
        Timestamp::from_millis(self.latest.fetch_max(now, Ordering::Relaxed).max(now))
    }
}

/// A write transaction. Dropped before [`Self::commit`], it never was.
pub(super) struct Tx {
    open: Open,
    is_shared: bool,
    begun_at: Timestamp,
    /// What SQLite has still to run: texts in which values are counted, and their values.
    waiting: Vec<(String, Vec<Value>)>,
}

/// The connection that writes. Dropped with a transaction begun and not ended, it rolls back first.
struct Open {
    connection: Option<Connection>,
    has_begun: bool,
}

impl Open {
    fn begun(&mut self) -> Result<&mut Connection> {
        self.has_begun = true;
        self.connection.as_mut().ok_or(StoreError::Closed)
    }
}

impl Drop for Open {
    fn drop(&mut self) {
        let (Some(mut connection), Ok(runtime)) = (self.connection.take(), Handle::try_current()) else { return };
        if !self.has_begun {
            return;
        }
        runtime.spawn(async move {
            // SQLite has rolled back by itself when the disk was full, and PostgreSQL when it is gone: then this fails,
            // and a new connection is as good.
            if connection.say("rollback").await.is_err() {
                connection.spoil();
            }
        });
    }
}

impl Tx {
    pub(super) fn sqlite(connection: PoolConnection<Sqlite>, time: &Steady) -> Self {
        let open = Open { connection: Some(Connection::Sqlite(connection)), has_begun: false };
        let waiting = vec![(BEGIN.to_owned(), Vec::new())];
        Self { open, is_shared: false, begun_at: time.now(), waiting }
    }

    pub(super) async fn postgres(connection: Connection, time: &Steady) -> Result<Self> {
        let mut open = Open { connection: Some(connection), has_begun: false };
        open.begun()?.say("begin").await?;
        Ok(Self { open, is_shared: true, begun_at: time.now(), waiting: Vec::new() })
    }

    /// When it began: nobody else writes to this SQLite since, and PostgreSQL has known of it by then.
    pub(super) fn begun_at(&self) -> Timestamp {
        self.begun_at
    }

    /// Runs a statement; the number of rows changed.
    pub(super) async fn run(&mut self, sql: &'static str, values: Vec<Value>) -> Result<u64> {
        self.settle_up().await?;
        self.open.begun()?.run(sql, values).await
    }

    /// Runs a statement and gives its rows.
    pub(super) async fn rows(&mut self, sql: &'static str, values: Vec<Value>) -> Result<Vec<Row>> {
        self.settle_up().await?;
        self.rows_safe(sql, values).await
    }

    /// The first row.
    pub(super) async fn row(&mut self, sql: &'static str, values: Vec<Value>) -> Result<Option<Row>> {
        Ok(self.rows(sql, values).await?.into_iter().next())
    }

    /// The first row of a plain selection from one table. Nobody else changes it before this transaction ends: what is
    /// written in its place has missed nothing.
    pub(super) async fn held(&mut self, sql: &'static str, values: Vec<Value>) -> Result<Option<Row>> {
        self.settle_up().await?;
        let lock = if self.is_shared { " for no key update" } else { "" };
        Ok(self.rows_safe(AssertSqlSafe(format!("{sql}{lock}")), values).await?.into_iter().next())
    }

    /// Runs `head`, a list of value tuples made of placeholders, and `tail`, for all of `tuples`; the rows that it
    /// returns. Long lists are cut into pieces of a few fixed sizes, so that prepared statements are found again.
    pub(super) async fn many(&mut self, head: &str, tail: &str, tuples: Vec<Vec<Value>>) -> Result<Vec<Row>> {
        let mut rows = Vec::new();
        for (sql, values) in pieces(self.places(), head, tail, tuples) {
            let (sql, values) = self.with_waiting(sql, values).await?;
            rows.extend(self.rows_safe(AssertSqlSafe(sql), values).await?);
        }
        Ok(rows)
    }

    /// As [`Self::many`] for what returns no rows: it is run before whatever is run next, and a fault shows there.
    pub(super) async fn later(&mut self, head: &str, tail: &str, tuples: Vec<Vec<Value>>) -> Result<()> {
        let statements = pieces(self.places(), head, tail, tuples);
        if !self.is_shared {
            self.waiting.extend(statements);
            return Ok(());
        }
        for (sql, values) in statements {
            self.rows_safe(AssertSqlSafe(sql), values).await?;
        }
        Ok(())
    }

    /// What waits and this statement as one, or this alone when they would be too large.
    async fn with_waiting(&mut self, sql: String, values: Vec<Value>) -> Result<(String, Vec<Value>)> {
        let waiting: usize = self.waiting.iter().map(|(_, values)| values.len()).sum();
        if waiting + values.len() > TOGETHER_MAX {
            self.settle_up().await?;
        }
        self.waiting.push((sql, values));
        Ok(joined(std::mem::take(&mut self.waiting)))
    }

    /// Runs what waits, as few statements as it makes.
    async fn settle_up(&mut self) -> Result<()> {
        let (mut together, mut count) = (Vec::new(), 0);
        for (sql, values) in std::mem::take(&mut self.waiting) {
            if count + values.len() > TOGETHER_MAX {
                self.run_joined(std::mem::take(&mut together)).await?;
                count = 0;
            }
            count += values.len();
            together.push((sql, values));
        }
        self.run_joined(together).await
    }

    async fn run_joined(&mut self, statements: Vec<(String, Vec<Value>)>) -> Result<()> {
        if statements.is_empty() {
            return Ok(());
        }
        let (sql, values) = joined(statements);
        self.rows_safe(AssertSqlSafe(sql), values).await.map(drop)
    }

    async fn rows_safe(&mut self, sql: impl SqlSafeStr, values: Vec<Value>) -> Result<Vec<Row>> {
        self.open.begun()?.rows(sql, values).await
    }

    /// The engine's own fragment where the two truly differ: rows that another node is leasing are passed over.
    pub(super) fn is_shared(&self) -> bool {
        self.is_shared
    }

    fn places(&self) -> Places {
        if self.is_shared() { Places::Numbered } else { Places::Counted }
    }

    pub(super) async fn commit(mut self) -> Result<()> {
        if self.is_shared {
            self.open.begun()?.say("commit").await.map_err(unclear)?;
        } else if self.open.has_begun || self.waiting.len() > 1 {
            self.waiting.push(("commit".to_owned(), Vec::new()));
            self.settle_up().await?;
        }
        drop(self.open.connection.take());
        Ok(())
    }
}

/// A commit that PostgreSQL refused is not done. Of one whose answer is lost nobody knows.
fn unclear(fault: StoreError) -> StoreError {
    match fault {
        StoreError::Unavailable(fault) if fault.as_database_error().is_none() => StoreError::Unclear(fault),
        fault => fault,
    }
}

/// Rows in the order in which all of us lock them, so that no two transactions wait for each other.
pub(super) fn in_lock_order<T, K: Ord>(mut rows: Vec<T>, key: impl Fn(&T) -> K) -> Vec<T> {
    rows.sort_by_key(key);
    rows
}

fn joined(statements: Vec<(String, Vec<Value>)>) -> (String, Vec<Value>) {
    let (texts, values): (Vec<String>, Vec<Vec<Value>>) = statements.into_iter().unzip();
    (texts.join(";"), values.into_iter().flatten().collect())
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn a_clock_that_is_put_back_stands_until_it_has_caught_up() {
        let (minute, start) = (Duration::from_secs(60), Timestamp::from_millis(1_800_000_000_000));
        let clock = Clock::standing(start);
        let time = Steady::new(clock.clone());
        assert_eq!(time.now(), start);
        clock.put_back(minute);
        assert_eq!(time.clone().now(), start);
        clock.advance(minute * 2);
        assert_eq!(time.now(), start + minute);
    }
}
