//! SQLite's files: opened, written to by one connection, and still the ones that were opened.
//!
//! Commits go to a log, whose pages are moved to the database beside the writer: whoever commits does not wait for it.
//! A file that has been removed or replaced can be written to until it is closed, and then it is gone with everything
//! in it; so each write transaction first looks whether the path still leads to the file. A disk that was full takes
//! writes again when there is room. What commands write from a process of their own is heard of at once. Called by `db`.

use std::fs::Metadata;
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use sqlx::Row as _;
use sqlx::sqlite::{SqliteConnectOptions, SqliteJournalMode, SqlitePool, SqlitePoolOptions, SqliteSynchronous};
use tokio::sync::mpsc;
use tokio::time::sleep;

use super::db::{LOG_BYTES_MAX, PATIENCE, STATEMENTS, Sync, Wakes};
use super::messages::make_folder;
use super::tx::{Steady, Tx};

/// Pages that are in the log alone from which on they are moved to the database, each that was written often only once:
/// fewer at a time cost more writing in all, and more commits that wait for the disk beside it.
const CHECKPOINT_PAGES: i64 = 8_000;
/// How often the log is looked at, while there is writing.
const CHECKPOINT_LOOK: Duration = Duration::from_millis(50);
/// Pages of the log after which the writer moves what is left and begins the log anew, which holds up the commit that
/// comes to it. Mostly the log begins anew in a pause before. After a crash it is read again, 64 MiB in about a second.
const LOG_PAGES_MAX: u64 = LOG_BYTES_MAX / PAGE_BYTES;
/// SQLite's own choice.
const PAGE_BYTES: u64 = 4096;
/// How often there is a look whether another process has written.
const OTHERS_LOOK: Duration = Duration::from_millis(250);
/// Readers; one OS thread each.
const READERS: u32 = 4;

/// An open SQLite database.
#[derive(Clone, Debug)]
pub(super) struct Files {
    pub(super) read: SqlitePool,
    pub(super) write: SqlitePool,
    checkpoint: SqlitePool,
    /// Told of each transaction. The checkpoints end with the last of these.
    written: mpsc::Sender<()>,
    path: PathBuf,
    opened: Identity,
}

/// What tells a file from any other: its device and its number there.
type Identity = (u64, u64);

impl Files {
    pub(super) async fn open(path: &Path, sync: Sync) -> sqlx::Result<Self> {
        if let Some(folder) = path.parent() {
            make_folder(folder)?;
        }
        let write = SqliteConnectOptions::new()
            .filename(path)
            .create_if_missing(true)
            .journal_mode(SqliteJournalMode::Wal)
            .synchronous(match sync {
                Sync::Full => SqliteSynchronous::Full,
                Sync::Normal => SqliteSynchronous::Normal,
            })
            .busy_timeout(PATIENCE)
            .foreign_keys(true)
            .statement_cache_capacity(STATEMENTS)
            .pragma("temp_store", "memory")
            .pragma("wal_autocheckpoint", LOG_PAGES_MAX.to_string())
            .pragma("cache_size", "-8192");
        let beside = write.clone().create_if_missing(false);
        let read = beside.clone().read_only(true);
        // A file does not hang up: there is nothing to ask before use.
        let pool = |readers| {
            SqlitePoolOptions::new().max_connections(readers).acquire_timeout(PATIENCE).test_before_acquire(false)
        };
        let write = pool(1).idle_timeout(None).max_lifetime(None).connect_with(write).await?;
        let opened = identity(&path.metadata()?);
        let checkpoint = pool(1).connect_lazy_with(beside);
        let (written, heard) = mpsc::channel(1);
        tokio::spawn(checkpoints(checkpoint.clone(), heard));
        let read = pool(READERS).connect_lazy_with(read);
        Ok(Self { read, write, checkpoint, written, path: path.to_owned(), opened })
    }

    /// Rings for whatever others may have written, until all connections are closed.
    pub(super) fn hear(&self, wakes: Wakes) {
        let write = self.write.clone();
        tokio::spawn(async move {
            let mut known = None;
            while !write.is_closed() {
                // Who writes goes first. What this connection writes itself does not change the number.
                if let Some(mut connection) = write.try_acquire() {
                    let version = sqlx::query_scalar::<_, i64>("pragma data_version").fetch_one(&mut *connection);
                    if let Ok(found) = version.await
                        && known.replace(found).is_some_and(|known| known != found)
                    {
                        wakes.ring_all();
                    }
                }
                sleep(OTHERS_LOOK).await;
            }
        });
    }

    /// Closes all connections; the last moves what is left in the log.
    pub(super) async fn close(&self) {
        self.checkpoint.close().await;
        self.read.close().await;
        self.write.close().await;
    }

    /// A transaction, which takes the write lock with its first statement.
    pub(super) async fn begin(&self, time: &Steady) -> sqlx::Result<Tx> {
        self.are_there()?;
        // One that was not heard yet is enough.
        let _ = self.written.try_send(());
        Ok(Tx::sqlite(self.write.acquire().await?, time))
    }

    fn are_there(&self) -> io::Result<()> {
        if self.path.metadata().is_ok_and(|found| identity(&found) == self.opened) {
            return Ok(());
        }
        let path = self.path.display();
        Err(io::Error::other(format!("{path} was removed or replaced; put it back as it was, or start again")))
    }
}

/// Moves pages from the log to the database while there is writing.
async fn checkpoints(pool: SqlitePool, mut written: mpsc::Receiver<()>) {
    while written.recv().await.is_some() && !pool.is_closed() {
        sleep(CHECKPOINT_LOOK).await;
        if let Err(fault) = checkpoint(&pool).await {
            // The log grows until the writer sees to it.
            tracing::debug!(%fault, "no checkpoint");
        }
    }
}

async fn checkpoint(pool: &SqlitePool) -> sqlx::Result<()> {
    let row = sqlx::query("pragma wal_checkpoint(noop)").fetch_one(pool).await?;
    let (in_log, moved): (i64, i64) = (row.try_get(1)?, row.try_get(2)?);
    if in_log - moved >= CHECKPOINT_PAGES {
        sqlx::query("pragma wal_checkpoint(passive)").fetch_one(pool).await?;
    }
    Ok(())
}

#[cfg(unix)]
fn identity(file: &Metadata) -> Identity {
    use std::os::unix::fs::MetadataExt;
    (file.dev(), file.ino())
}

#[cfg(not(unix))]
fn identity(_: &Metadata) -> Identity {
    (0, 0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::Clock;
    use crate::store::db::Result;

    async fn opened(path: &Path) -> Files {
        let files = Files::open(path, Sync::Full).await.unwrap();
        sqlx::query("create table heap (content blob)").execute(&files.write).await.unwrap();
        files
    }

    async fn insert(files: &Files, bytes: usize) -> Result<()> {
        let mut tx = files.begin(&Steady::new(Clock::system())).await?;
        tx.run("insert into heap values ($1)", vec![vec![0_u8; bytes].into()]).await?;
        tx.commit().await
    }

    #[tokio::test]
    async fn a_full_database_takes_writes_again_when_there_is_room() {
        let folder = tempfile::tempdir().unwrap();
        let files = opened(&folder.path().join("postback.db")).await;
        // The limit is the connection's, as a full disk is everybody's.
        sqlx::query("pragma max_page_count = 10").execute(&files.write).await.unwrap();
        let refused = insert(&files, 1 << 20).await.unwrap_err();
        assert!(refused.to_string().ends_with("(code: 13) database or disk is full"));
        insert(&files, 10).await.unwrap();
    }

    #[tokio::test]
    async fn the_log_is_moved_to_the_database_beside_the_writer() {
        let folder = tempfile::tempdir().unwrap();
        let files = opened(&folder.path().join("postback.db")).await;
        let only_in_log = async || {
            let row = sqlx::query("pragma wal_checkpoint(noop)").fetch_one(&files.checkpoint).await.unwrap();
            row.get::<i64, _>(1) - row.get::<i64, _>(2)
        };
        // A transaction is heard of as it begins; the next is heard of after it.
        insert(&files, 32 << 20).await.unwrap();
        insert(&files, 1).await.unwrap();
        while only_in_log().await >= CHECKPOINT_PAGES {
            tokio::task::yield_now().await;
        }
    }

    #[tokio::test]
    async fn a_file_that_was_removed_or_replaced_takes_nothing() {
        let folder = tempfile::tempdir().unwrap();
        let (path, elsewhere) = (folder.path().join("postback.db"), folder.path().join("elsewhere.db"));
        let files = opened(&path).await;
        std::fs::rename(&path, &elsewhere).unwrap();
        assert!(insert(&files, 1).await.unwrap_err().to_string().contains("postback.db was removed or replaced"));
        std::fs::copy(&elsewhere, &path).unwrap();
        assert!(insert(&files, 1).await.is_err());
        std::fs::rename(&elsewhere, &path).unwrap();
        insert(&files, 1).await.unwrap();
    }
}
