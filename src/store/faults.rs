//! Which faults of a database mean what to the writer.

use super::db::StoreError;

/// Whether the database is away or busy, whatever it is asked: no connection to it (SQLSTATE 57P and 53300: it ends, or
/// takes no more of them), or SQLite's lock not free in time.
pub(super) fn is_away(fault: &sqlx::Error) -> bool {
    const SQLITE_BUSY: i64 = 5;
    match fault {
        sqlx::Error::Io(_) | sqlx::Error::PoolTimedOut | sqlx::Error::PoolClosed => true,
        sqlx::Error::Database(refusal) => refusal.code().is_some_and(|code| {
            // The low byte of SQLite's extended codes is the code.
            let is_sqlite = refusal.try_downcast_ref::<sqlx::sqlite::SqliteError>().is_some();
            let is_busy = code.parse().is_ok_and(|code: i64| code & 0xff == SQLITE_BUSY);
            if is_sqlite { is_busy } else { code.starts_with("57P") || code == "53300" }
        }),
        _ => false,
    }
}

/// Whether the database ended this transaction because another waited for it in turn (SQLSTATE 40P01).
pub(super) fn is_deadlock(fault: &StoreError) -> bool {
    matches!(fault, StoreError::Unavailable(sqlx::Error::Database(refusal)) if refusal.code().is_some_and(|code| code == "40P01"))
}

/// Whether a commit may have been lost by the operating system: then nothing that we read back can be trusted to be on
/// the disk, and only a restart finds out (SQLite's extended codes for a failed fsync, directory sync, or write).
pub(super) fn is_sync_failure(fault: &StoreError) -> bool {
    const IOERR_WRITE: &str = "778";
    const IOERR_FSYNC: &str = "1034";
    const IOERR_DIR_FSYNC: &str = "1290";
    match fault {
        StoreError::Unavailable(sqlx::Error::Database(refusal)) => {
            refusal.code().is_some_and(|code| [IOERR_WRITE, IOERR_FSYNC, IOERR_DIR_FSYNC].contains(&&*code))
                && refusal.try_downcast_ref::<sqlx::sqlite::SqliteError>().is_some()
        }
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn a_database_that_is_away_is_told_from_a_work_that_it_refuses() {
        let broken = std::io::Error::from(std::io::ErrorKind::BrokenPipe);
        assert!(is_away(&sqlx::Error::Io(broken)) && is_away(&sqlx::Error::PoolTimedOut));
        assert!(is_away(&sqlx::Error::PoolClosed));
        assert!(!is_away(&sqlx::Error::RowNotFound));
    }

    #[tokio::test]
    async fn a_lock_that_is_not_free_is_nobodys_fault() {
        use sqlx::sqlite::SqliteConnectOptions;
        use sqlx::{ConnectOptions, Executor};
        let folder = tempfile::tempdir().unwrap();
        let options = SqliteConnectOptions::new().filename(folder.path().join("db")).create_if_missing(true);
        let options = options.busy_timeout(Duration::ZERO);
        let (mut first, mut second) = (options.connect().await.unwrap(), options.connect().await.unwrap());
        first.execute("create table things (id bigint)").await.unwrap();
        first.execute("begin immediate").await.unwrap();
        assert!(is_away(&second.execute("begin immediate").await.unwrap_err()));
        assert!(!is_away(&second.execute("select nothing from nowhere").await.unwrap_err()));
    }
}
