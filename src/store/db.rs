//! The store's ground: two pools, transactions, migrations, and the one small error.
//!
//! SQLite: one connection writes (WAL, `synchronous=FULL`), others read. PostgreSQL: one pool, shared by any number of
//! nodes. A query is one text for both; [`Value`] and [`Row`] carry what goes in and comes out, in the types that the
//! two share: bigint, text, bytes, boolean.

use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use sqlx::migrate::MigrateError;
use sqlx::postgres::PgConnectOptions;
use sqlx::{AssertSqlSafe, ConnectOptions, Connection as _};
use tokio::time::timeout;

use super::connection::{Connection, Reach, silence};
use super::dispatches::Handoff;
use super::files::Files;
use super::messages::make_folder;
use super::schema::{SCHEMA, migrator, newer};
use super::sealing;
use super::statistics::Share;
pub(super) use super::tx::{Steady, Tx};
use super::value::{LENGTHS, Places, Row, Value, pieces};
use super::writer::{self, Ground, Writer};
use crate::clock::Clock;
use crate::model::seal::MasterKey;
use crate::model::time::Timestamp;
use crate::wake::Wake;

/// Why the store could not do it. One variant for each thing that a caller does differently.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// There is one already.
    #[error("already there")]
    Conflict,
    /// The lease that a settlement named is no longer held; nothing was changed.
    #[error("the lease is no longer held")]
    LostLease,
    /// More than may be sent in a day; nothing was changed.
    #[error("the daily limit is reached")]
    OverLimit,
    /// A row does not read back as what we wrote.
    #[error("the store holds something unreadable: {0}")]
    Corrupt(String),
    /// The database is away, full, locked or failing. Temporary as far as a client is concerned.
    #[error("the database is not available: {0}")]
    Unavailable(#[source] sqlx::Error),
    /// The answer to a commit was lost: it is done or not.
    #[error("the database did not say whether it is done: {0}")]
    Unclear(#[source] sqlx::Error),
    /// The writer has stopped; the program is going down.
    #[error("the store is closed")]
    Closed,
}

impl From<sqlx::Error> for StoreError {
    fn from(error: sqlx::Error) -> Self {
        match &error {
            sqlx::Error::Database(refusal) if refusal.is_unique_violation() => StoreError::Conflict,
            sqlx::Error::ColumnDecode { .. } | sqlx::Error::ColumnNotFound(_) => StoreError::Corrupt(error.to_string()),
            _ => StoreError::Unavailable(error),
        }
    }
}

/// What the store gives back.
pub type Result<T> = std::result::Result<T, StoreError>;

/// How the store is opened.
#[derive(Clone, Debug)]
pub struct Options {
    /// `sqlite:<path>` or `postgres://…`.
    pub url: String,
    /// Where contents too large for a SQLite row go. Unused on PostgreSQL.
    pub content_dir: PathBuf,
    /// Names this run of this node in leases.
    pub holder: String,
    /// Deliveries that may be handed to `deliver` in memory at one time; 0 when this node does not deliver.
    pub handoff: usize,
    /// What secrets are sealed with. A database keeps to the first that it was opened with.
    pub master: MasterKey,
    /// SQLite's `synchronous`. Anything but `Full` breaks the promise and is for showing that it does.
    pub sync: Sync,
    /// How long PostgreSQL may take to answer before it counts as away.
    pub answer_within: Duration,
}

/// How hard SQLite syncs.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Sync {
    /// Each commit reaches the disk.
    #[default]
    Full,
    /// Commits may be lost with the power. For the test that proves the other tests can fail.
    Normal,
}

/// The store. Cheap to clone; clones share everything.
#[derive(Clone, Debug)]
pub struct Store(pub(super) Arc<Inner>);

#[derive(Debug)]
pub(super) struct Inner {
    pub(super) db: Db,
    pub(super) writer: Writer,
    pub(super) handoff: Arc<Handoff>,
    pub(super) clock: Clock,
    pub(super) time: Steady,
    pub(super) master: MasterKey,
    pub(super) holder: String,
    pub(super) contents: PathBuf,
    pub(super) wakes: Wakes,
}

/// Who is told after a commit.
#[derive(Clone, Debug, Default)]
pub struct Wakes {
    /// Deliveries may be due.
    pub deliveries: Wake,
    /// Dispatches may be due that were never tried.
    pub dispatches: Wake,
    /// Dispatches may be due that were tried before.
    pub retries: Wake,
    /// Tests may be due that somebody waits for.
    pub trials: Wake,
    /// Events may be to be told again.
    pub replays: Wake,
    /// Notices may be to go by mail.
    pub notices: Wake,
}

impl Wakes {
    /// There may be work of any kind.
    pub(super) fn ring_all(&self) {
        let Self { deliveries, dispatches, retries, trials, replays, notices } = self;
        for wake in [deliveries, dispatches, retries, trials, replays, notices] {
            wake.ring();
        }
    }
}

#[derive(Clone, Debug)]
pub(super) enum Db {
    Sqlite(Files),
    Postgres(Reach),
}

/// Prepared statements that a connection keeps; lists of each length count.
pub(super) const STATEMENTS: usize = 800;
/// What the log of a SQLite database comes to at most, while nobody reads for long.
pub const LOG_BYTES_MAX: u64 = 128_000 << 10;
/// How long PostgreSQL may take to answer, unless told otherwise: well within a lease, and what nothing of ours needs.
pub const ANSWER_WITHIN: Duration = Duration::from_secs(30);
/// How PostgreSQL knows our connections from others.
pub(super) const APPLICATION: &str = "postback";
/// How long to wait for a connection or a lock before the database counts as away.
pub(super) const PATIENCE: Duration = Duration::from_secs(5);

impl Store {
    /// Opens the store, creates it when there is none, and brings its schema up to date.
    ///
    /// # Errors
    /// `Unavailable` when the database cannot be reached, opened or migrated; `Corrupt` when its SQLite is older than
    /// 3.51.3 (which can lose WAL commits), its PostgreSQL does not sync commits, or its secrets are sealed with another
    /// master key.
    pub async fn open(options: Options, clock: Clock) -> Result<Self> {
        let db = Db::open(&options).await?;
        db.migrate().await?;
        db.check_promise(options.sync).await?;
        let time = Steady::new(clock.clone());
        sealing::begin(&db, &time, &options.master).await?;
        let wakes = Wakes::default();
        let Options { master, handoff: slots, holder, .. } = &options;
        let handoff = Arc::new(Handoff::new(holder));
        let ground = Ground {
            db: db.clone(),
            clock: clock.clone(),
            time: time.clone(),
            wakes: wakes.clone(),
            master: master.clone(),
            handoff: handoff.clone(),
            share: Share::COMMON,
        };
        let writer = writer::start(ground, *slots, holder);
        match &db {
            Db::Sqlite(files) => files.hear(wakes.clone()),
            Db::Postgres(reach) => super::listen::start(reach.clone(), wakes.clone(), holder.clone()),
        }
        let Options { master, holder, content_dir: contents, .. } = options;
        Ok(Self(Arc::new(Inner { db, writer, handoff, clock, time, master, holder, contents, wakes })))
    }

    /// Who is told after a commit.
    pub fn wakes(&self) -> &Wakes {
        &self.0.wakes
    }

    /// The name of this run of this node in leases.
    pub fn holder(&self) -> &str {
        &self.0.holder
    }

    /// Whether other nodes may write to it beside this one.
    pub fn is_shared(&self) -> bool {
        matches!(self.0.db, Db::Postgres(_))
    }

    pub(super) fn now(&self) -> Timestamp {
        self.0.clock.now()
    }

    /// Whether the database answers and takes writes, within five seconds.
    ///
    /// # Errors
    /// `Unavailable` when not.
    pub async fn probe(&self) -> Result<()> {
        self.transaction(|tx| {
            Box::pin(async move {
                // Nothing changes, but it is written: a full disk can be read.
                let sql = "
                    update token_keys set created_at = created_at
                    where id = (select min(id) from token_keys)";
                tx.run(sql, vec![]).await.map(drop)
            })
        })
        .await
    }

    /// Returns when the writer has hit a fault after which nothing may be acknowledged any more: a failed sync. The
    /// program must exit; recovery replays what was committed.
    pub async fn failed(&self) {
        self.0.writer.failed().await;
    }

    /// Waits for everything handed to the writer and closes the database.
    pub async fn close(&self) {
        self.0.writer.drain().await;
        match &self.0.db {
            Db::Sqlite(files) => files.close().await,
            Db::Postgres(reach) => reach.close().await,
        }
    }

    /// Runs one statement on a reader and gives its rows.
    pub(super) async fn rows(&self, sql: &'static str, values: Vec<Value>) -> Result<Vec<Row>> {
        let db = self.0.db.clone();
        on_own_task(async move { db.reader().await?.rows(sql, values).await }).await
    }

    /// The first row of [`Self::rows`].
    pub(super) async fn row(&self, sql: &'static str, values: Vec<Value>) -> Result<Option<Row>> {
        Ok(self.rows(sql, values).await?.into_iter().next())
    }

    /// Runs `head`, a list of value tuples and `tail` on a reader, as [`Tx::many`] does in a transaction.
    pub(super) async fn lookup(
        &self,
        head: &'static str,
        tail: &'static str,
        tuples: Vec<Vec<Value>>,
    ) -> Result<Vec<Row>> {
        let db = self.0.db.clone();
        on_own_task(async move {
            let (mut reader, mut rows) = (db.reader().await?, Vec::new());
            for (sql, values) in pieces(db.places(), head, tail, tuples) {
                rows.extend(reader.rows(AssertSqlSafe(sql), values).await?);
            }
            Ok(rows)
        })
        .await
    }

    /// Runs a statement on a reader in which `$list` stands for ids in brackets, possibly none. The list is filled up to
    /// one of a few fixed lengths, so that prepared statements are found again; what does not fit the longest is left
    /// out.
    pub(super) async fn rows_listed(
        &self,
        sql: &'static str,
        mut values: Vec<Value>,
        mut list: Vec<Value>,
    ) -> Result<Vec<Row>> {
        let length = LENGTHS.into_iter().rev().find(|length| *length >= list.len()).unwrap_or(LENGTHS[0]);
        list.resize(length, Value::Bytes(Some(Vec::new())));
        let places: Vec<String> = (1..=length).map(|place| format!("${}", values.len() + place)).collect();
        values.append(&mut list);
        let sql = AssertSqlSafe(sql.replace("$list", &places.join(", ")));
        let db = self.0.db.clone();
        on_own_task(async move { db.reader().await?.rows(sql, values).await }).await
    }

    /// Runs `work` in a transaction of its own, on its own task: a caller that goes away cannot cut it off, and
    /// PostgreSQL's pool never gets back a connection inside an open transaction.
    pub(super) async fn transaction<T, F>(&self, work: F) -> Result<T>
    where
        T: Send + 'static,
        F: for<'t> FnOnce(&'t mut Tx) -> Pin<Box<dyn Future<Output = Result<T>> + Send + 't>> + Send + 'static,
    {
        let (db, time) = (self.0.db.clone(), self.0.time.clone());
        on_own_task(async move {
            let mut tx = db.begin(&time).await?;
            let done = work(&mut tx).await?;
            tx.commit().await?;
            Ok(done)
        })
        .await
    }

    /// Runs one changing statement in a transaction of its own; the number of rows changed.
    pub(super) async fn run(&self, sql: &'static str, values: Vec<Value>) -> Result<u64> {
        self.transaction(move |tx| Box::pin(async move { tx.run(sql, values).await })).await
    }
}

pub(super) async fn on_own_task<T: Send + 'static>(
    work: impl Future<Output = Result<T>> + Send + 'static,
) -> Result<T> {
    // Boxed, there is one kind of task for each kind of answer, not for each statement: that is a megabyte of program.
    let work: Pin<Box<dyn Future<Output = Result<T>> + Send>> = Box::pin(work);
    tokio::spawn(work).await.map_err(|_| StoreError::Closed)?
}

impl Db {
    async fn open(options: &Options) -> Result<Self> {
        match options.url.strip_prefix("sqlite:") {
            Some(path) => {
                make_folder(&options.content_dir).map_err(sqlx::Error::Io)?;
                Ok(Db::Sqlite(Files::open(Path::new(path.trim_start_matches("//")), options.sync).await?))
            }
            None => Self::open_postgres(&options.url, options.answer_within).await,
        }
    }

    async fn open_postgres(url: &str, answer_within: Duration) -> Result<Self> {
        let options: PgConnectOptions = url.parse().map_err(StoreError::Unavailable)?;
        let options = options
            .application_name(APPLICATION)
            .statement_cache_capacity(STATEMENTS)
            .options([("idle_in_transaction_session_timeout", "60000")]);
        // Once by hand: an unreachable server would otherwise show as a pool that timed out.
        let once = timeout(answer_within, options.connect()).await;
        once.map_err(|_| StoreError::Unavailable(silence(answer_within).into()))??.close().await?;
        Ok(Db::Postgres(Reach::open(options, answer_within).await?))
    }

    async fn migrate(&self) -> Result<()> {
        let done = match self {
            Db::Sqlite(Files { write, .. }) => {
                // PostgreSQL has a lock for this, SQLite has not. Of processes that start together one makes each
                // step, and the others fail on what is there already: they look again, at most once a step.
                let mut done = migrator(|step| step.sqlite).run(write).await;
                for _ in SCHEMA {
                    if done.is_err() {
                        done = migrator(|step| step.sqlite).run(write).await;
                    }
                }
                done
            }
            Db::Postgres(Reach { pool, .. }) => migrator(|step| step.postgres).run(pool).await,
        };
        done.map_err(|fault| match fault {
            MigrateError::VersionMissing(step) => newer(step),
            fault => StoreError::Unavailable(fault.into()),
        })
    }

    async fn check_promise(&self, sync: Sync) -> Result<()> {
        match self {
            Db::Sqlite(Files { write, .. }) => {
                let version: String = sqlx::query_scalar("select sqlite_version()").fetch_one(write).await?;
                let parts: Vec<u32> = version.split('.').filter_map(|part| part.parse().ok()).collect();
                if parts < vec![3, 51, 3] {
                    return Err(StoreError::Corrupt(format!("SQLite {version} can lose commits; 3.51.3 is needed")));
                }
            }
            Db::Postgres(Reach { pool, .. }) => {
                for setting in ["synchronous_commit", "fsync"] {
                    let sql = "select current_setting($1)";
                    let value: String = sqlx::query_scalar(sql).bind(setting).fetch_one(pool).await?;
                    if value == "off" && sync == Sync::Full && setting == "synchronous_commit" {
                        return Err(StoreError::Corrupt(format!(
                            "PostgreSQL runs with {setting}=off and may lose mail"
                        )));
                    }
                    if value == "off" {
                        tracing::warn!(setting, "PostgreSQL does not sync; a power cut may lose mail");
                    }
                }
            }
        }
        Ok(())
    }

    fn places(&self) -> Places {
        match self {
            Db::Sqlite(_) => Places::Counted,
            Db::Postgres(_) => Places::Numbered,
        }
    }

    pub(super) async fn begin(&self, time: &Steady) -> Result<Tx> {
        Ok(match self {
            Db::Sqlite(files) => files.begin(time).await?,
            Db::Postgres(reach) => reach.begin(time).await?,
        })
    }

    async fn reader(&self) -> Result<Connection> {
        match self {
            Db::Sqlite(Files { read, .. }) => Ok(Connection::Sqlite(read.acquire().await?)),
            Db::Postgres(reach) => reach.connection().await,
        }
    }
}
