//! A connection to either engine, and how long its answers are waited for.
//!
//! A file answers or fails. A host that is gone may never say so: PostgreSQL has a limit for each answer, and a
//! connection that passed it is closed, with whatever it had begun.

use std::io;
use std::time::Duration;

use sqlx::pool::PoolConnection;
use sqlx::postgres::{PgConnectOptions, PgPool, PgPoolOptions, PgQueryResult, PgRow};
use sqlx::{Connection as _, Executor, Postgres, SqlSafeStr, SqlStr, Sqlite};
use tokio::time::timeout;

use super::db::{PATIENCE, Result, StoreError};
use super::tx::{Steady, Tx};
use super::value::{Row, Value, bound};

/// Connections to PostgreSQL of one node.
const CONNECTIONS: u32 = 16;
/// A connection that was idle for so long is asked whether it is well before it is used, and has so long to say so.
const ASK_AFTER: Duration = Duration::from_secs(1);
const ASK_WITHIN: Duration = Duration::from_secs(1);

/// Connections to PostgreSQL, and how long each answer may take.
#[derive(Clone, Debug)]
pub(super) struct Reach {
    pub(super) pool: PgPool,
    pub(super) answer_within: Duration,
}

impl Reach {
    pub(super) async fn open(options: PgConnectOptions, answer_within: Duration) -> Result<Self> {
        let pool = PgPoolOptions::new().max_connections(CONNECTIONS).acquire_timeout(PATIENCE);
        // A connection that was used a moment ago need not be asked whether it is well: that would be a way there and
        // back for each transaction.
        let pool = pool.test_before_acquire(false).before_acquire(|connection, of| {
            Box::pin(async move {
                let is_fresh = of.idle_for < ASK_AFTER;
                Ok(is_fresh || matches!(timeout(ASK_WITHIN, connection.ping()).await, Ok(Ok(()))))
            })
        });
        // The pool asks whoever comes back, and would wait for an answer for ever.
        let pool = pool.after_release(move |connection, _| {
            Box::pin(async move { Ok(matches!(timeout(answer_within, connection.ping()).await, Ok(Ok(())))) })
        });
        Ok(Self { pool: pool.connect_with(options).await?, answer_within })
    }

    pub(super) async fn connection(&self) -> Result<Connection> {
        Ok(Connection::Postgres(Remote { inner: self.pool.acquire().await?, answer_within: self.answer_within }))
    }

    /// Closes all connections; those that nothing is heard of any more are left behind.
    pub(super) async fn close(&self) {
        let _ = timeout(self.answer_within, self.pool.close()).await;
    }

    /// A transaction. Connections that broke while nobody used them are passed over.
    pub(super) async fn begin(&self, time: &Steady) -> Result<Tx> {
        let mut broken = 0;
        loop {
            match Tx::postgres(self.connection().await?, time).await {
                Err(StoreError::Unavailable(sqlx::Error::Io(fault)))
                    if fault.kind() != io::ErrorKind::TimedOut && broken < CONNECTIONS =>
                {
                    broken += 1;
                }
                begun => return begun,
            }
        }
    }
}

/// A connection on loan from a pool, to which it goes back when this is dropped.
pub(super) enum Connection {
    Sqlite(PoolConnection<Sqlite>),
    Postgres(Remote),
}

pub(super) struct Remote {
    inner: PoolConnection<Postgres>,
    answer_within: Duration,
}

impl Connection {
    /// Runs a statement and gives its rows.
    pub(super) async fn rows(&mut self, sql: impl SqlSafeStr, values: Vec<Value>) -> Result<Vec<Row>> {
        let sql = sql.into_sql_str();
        Ok(match self {
            Self::Sqlite(inner) => {
                let rows = bound!(sql, values).fetch_all(&mut **inner).await?;
                rows.into_iter().map(Row::Sqlite).collect()
            }
            Self::Postgres(remote) => remote.rows(sql, values).await?.into_iter().map(Row::Postgres).collect(),
        })
    }

    /// Runs a statement; the number of rows changed.
    pub(super) async fn run(&mut self, sql: &'static str, values: Vec<Value>) -> Result<u64> {
        Ok(match self {
            Self::Sqlite(inner) => bound!(sql, values).execute(&mut **inner).await?.rows_affected(),
            Self::Postgres(remote) => remote.run(sql, values).await?.rows_affected(),
        })
    }

    /// Begins or ends a transaction.
    pub(super) async fn say(&mut self, word: &'static str) -> Result<()> {
        match self {
            Self::Sqlite(inner) => Ok(inner.execute(word).await.map(|_| ())?),
            Self::Postgres(remote) => remote.say(word).await,
        }
    }

    /// It is not used again.
    pub(super) fn spoil(&mut self) {
        match self {
            Self::Sqlite(inner) => inner.close_on_drop(),
            Self::Postgres(remote) => remote.inner.close_on_drop(),
        }
    }
}

impl Remote {
    async fn rows(&mut self, sql: SqlStr, values: Vec<Value>) -> Result<Vec<PgRow>> {
        let answer = timeout(self.answer_within, bound!(sql, values).fetch_all(&mut *self.inner)).await;
        self.heard(answer.ok())
    }

    async fn run(&mut self, sql: &'static str, values: Vec<Value>) -> Result<PgQueryResult> {
        let answer = timeout(self.answer_within, bound!(sql, values).execute(&mut *self.inner)).await;
        self.heard(answer.ok())
    }

    async fn say(&mut self, word: &'static str) -> Result<()> {
        let answer = timeout(self.answer_within, self.inner.execute(word)).await;
        self.heard(answer.ok()).map(drop)
    }

    /// An answer; without one, the host counts as gone.
    fn heard<T>(&mut self, answer: Option<sqlx::Result<T>>) -> Result<T> {
        let Some(answer) = answer else {
            self.inner.close_on_drop();
            return Err(StoreError::Unavailable(sqlx::Error::Io(silence(self.answer_within))));
        };
        Ok(answer?)
    }
}

/// The fault of a host that does not answer.
pub(super) fn silence(within: Duration) -> io::Error {
    io::Error::new(io::ErrorKind::TimedOut, format!("no answer within {} s", within.as_secs_f32()))
}
