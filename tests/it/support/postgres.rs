//! A fresh PostgreSQL database for each test, on the cluster that `tests/postgres` started for this run.
//!
//! The cluster's address comes in `POSTBACK_TEST_POSTGRES`. Without it these tests fail: a suite that did not run must
//! not look like one that passed.

use std::sync::atomic::{AtomicU32, Ordering};

use sqlx::{AssertSqlSafe, Connection, Executor, PgConnection};

/// Names the cluster: the URL of its maintenance database.
pub const VARIABLE: &str = "POSTBACK_TEST_POSTGRES";

/// A database of one test. It goes with [`Database::remove`]; what a failed test leaves goes with the cluster.
#[derive(Debug)]
pub struct Database {
    cluster: String,
    name: String,
}

impl Database {
    /// Makes an empty one.
    pub async fn fresh() -> Self {
        static MADE: AtomicU32 = AtomicU32::new(0);
        let cluster = std::env::var(VARIABLE).unwrap_or_else(|_| {
            panic!("{VARIABLE} names no PostgreSQL: run `tests/postgres cargo test …`, which starts one for the run")
        });
        let name = format!("test_{}_{}", std::process::id(), MADE.fetch_add(1, Ordering::Relaxed));
        let database = Self { cluster, name };
        database.run(format!("drop database if exists {} with (force)", database.name)).await;
        database.run(format!("create database {}", database.name)).await;
        database
    }

    /// How the program is told of it.
    pub fn url(&self) -> String {
        let mut url = url::Url::parse(&self.cluster).unwrap();
        url.set_path(&self.name);
        url.into()
    }

    /// Throws it away, with whoever is still connected.
    pub async fn remove(self) {
        self.run(format!("drop database {} with (force)", self.name)).await;
    }

    async fn run(&self, sql: String) {
        let connected = PgConnection::connect(&self.cluster).await;
        let mut connection = connected.unwrap_or_else(|fault| panic!("connect to {}: {fault}", self.cluster));
        connection.execute(AssertSqlSafe(sql)).await.unwrap();
        connection.close().await.unwrap();
    }
}

/// What another node has written and not yet committed.
#[derive(Debug)]
pub struct Meanwhile {
    connection: PgConnection,
}

impl Meanwhile {
    /// Begins, and runs `sql`.
    pub async fn writes(url: &str, sql: &'static str) -> Self {
        let mut connection = PgConnection::connect(url).await.unwrap();
        connection.execute("begin").await.unwrap();
        connection.execute(sql).await.unwrap();
        Self { connection }
    }

    /// Commits once somebody waits for what was written, or for somebody who does: so many in all.
    pub async fn commits_when_awaited_by(mut self, waiting: i64) {
        const WAITING: &str = "
            select count(*) from pg_stat_activity where datname = current_database() and wait_event_type = 'Lock'";
        // Within a transaction PostgreSQL shows those connections that there were at the first look, unless told to forget.
        const FORGET: &str = "select pg_stat_clear_snapshot()";
        while sqlx::query_scalar::<_, i64>(WAITING).fetch_one(&mut self.connection).await.unwrap() < waiting {
            self.connection.execute(FORGET).await.unwrap();
        }
        self.connection.execute("commit").await.unwrap();
        self.connection.close().await.unwrap();
    }
}
