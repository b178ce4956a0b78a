//! One `serve` to a data folder. Administration commands take no lock: they are guests in the same database.

use std::fs::{File, OpenOptions, TryLockError};
use std::io::{Read, Seek, Write};
use std::path::Path;

use anyhow::{Context, bail};

/// The right to serve from a data folder. Given back by the system when the program ends, however it ends.
#[derive(Debug)]
pub struct DataLock(#[expect(dead_code, reason = "held for what dropping it does")] Vec<File>);

impl DataLock {
    /// Takes the lock of `folder`, which exists, and that of a `database` file, wherever it lies and whatever leads to it.
    ///
    /// # Errors
    /// Another process serves from one of them, or a lock file cannot be written.
    pub fn take(folder: &Path, database: Option<&Path>) -> anyhow::Result<Self> {
        let advice = "stop it first, or give this one a folder of its own with --data";
        let mut locks = vec![lock(&folder.join("postback.lock"), folder, advice)?];
        if let Some(database) = database {
            let home = database.parent().filter(|home| !home.as_os_str().is_empty()).unwrap_or(Path::new("."));
            super::make_data_folder(home)?;
            let database = database.canonicalize().unwrap_or_else(|_| database.to_owned());
            let beside = database.with_added_extension("lock");
            locks.push(lock(&beside, &database, "stop it first; nodes that share a database need PostgreSQL")?);
        }
        Ok(Self(locks))
    }
}

/// The file at `path`, locked for whoever serves from `what`.
fn lock(path: &Path, what: &Path, advice: &str) -> anyhow::Result<File> {
    let opened = OpenOptions::new().create(true).truncate(false).read(true).write(true).open(path);
    let mut file = opened.with_context(|| format!("open {}", path.display()))?;
    match file.try_lock() {
        Ok(()) => {}
        Err(TryLockError::WouldBlock) => {
            let mut holder = String::new();
            let _ = file.read_to_string(&mut holder);
            let holder = if holder.is_empty() { "another process" } else { holder.trim_end() };
            bail!("{} is in use: {holder} serves from it; {advice}", what.display());
        }
        Err(TryLockError::Error(fault)) => {
            return Err(fault).with_context(|| format!("lock {}", path.display()));
        }
    }
    // Only for people to read; the lock is what counts.
    let noted = file.set_len(0).and_then(|()| file.rewind());
    noted.and_then(|()| writeln!(file, "process {}", std::process::id())).context("write the lock file")?;
    Ok(file)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_at_a_time_and_the_next_is_told_who() {
        let folder = tempfile::tempdir().unwrap();
        let first = DataLock::take(folder.path(), None).unwrap();
        let told = DataLock::take(folder.path(), None).unwrap_err().to_string();
        assert!(told.contains(&format!("process {} serves from it", std::process::id())), "{told}");
        drop(first);
        DataLock::take(folder.path(), None).unwrap();
    }

    #[test]
    fn a_database_is_served_by_one_whatever_its_folder() {
        let [home, other] = [(); 2].map(|()| tempfile::tempdir().unwrap());
        let database = home.path().join("postback.db");
        let is_refused = |folder: &Path, database: &Path| {
            let told = DataLock::take(folder, Some(database)).unwrap_err().to_string();
            assert!(told.contains("postback.db is in use"), "{told}");
        };
        for first in [home.path(), &home.path().join("nodes")] {
            std::fs::create_dir_all(first).unwrap();
            let _first = DataLock::take(first, Some(&database)).unwrap();
            is_refused(other.path(), &database);
        }
        // By another name it is the same.
        std::fs::write(&database, "").unwrap();
        let link = other.path().join("link.db");
        std::os::unix::fs::symlink(&database, &link).unwrap();
        let _first = DataLock::take(home.path(), Some(&database)).unwrap();
        is_refused(other.path(), &link);
    }
}
