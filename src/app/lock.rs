//! One `serve` to a data folder. Administration commands take no lock: they are guests in the same database.

use std::fs::{File, OpenOptions, TryLockError};
use std::io::{Read, Seek, Write};
use std::path::Path;

use anyhow::{Context, bail};

/// The right to serve from a data folder. Given back by the system when the program ends, however it ends.
#[derive(Debug)]
pub struct DataLock(#[expect(dead_code, reason = "held for what dropping it does")] File);

impl DataLock {
    /// Takes the lock of `folder`, which exists.
    ///
    /// # Errors
    /// Another process serves from it, or the lock file cannot be written.
    pub fn take(folder: &Path) -> anyhow::Result<Self> {
        let path = folder.join("postback.lock");
        let mut file = OpenOptions::new()
            .create(true)
            .truncate(false)
            .read(true)
            .write(true)
            .open(&path)
            .with_context(|| format!("open {}", path.display()))?;
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                let mut holder = String::new();
                let _ = file.read_to_string(&mut holder);
                bail!(
                    "{} is in use: {} serves from it; stop it first, or give this one a folder of its own with --data",
                    folder.display(),
                    if holder.is_empty() { "another process" } else { holder.trim_end() },
                );
            }
            Err(TryLockError::Error(fault)) => {
                return Err(fault).with_context(|| format!("lock {}", path.display()));
            }
        }
        // Only for people to read; the lock is what counts.
        let noted = file.set_len(0).and_then(|()| file.rewind());
        noted.and_then(|()| writeln!(file, "process {}", std::process::id())).context("write the lock file")?;
        Ok(Self(file))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_at_a_time_and_the_next_is_told_who() {
        let folder = tempfile::tempdir().unwrap();
        let first = DataLock::take(folder.path()).unwrap();
        let told = DataLock::take(folder.path()).unwrap_err().to_string();
        assert!(told.contains(&format!("process {} serves from it", std::process::id())), "{told}");
        drop(first);
        DataLock::take(folder.path()).unwrap();
    }
}
