//! Hits that came while the database was away, on the disk until it is back.
//!
//! One file, a line of JSON a hit, synced as it is written; bounded, and what does not fit is counted and dropped. It is
//! read from the start, recorded many hits at a time, and removed when all of it is. A hit carries its id, so a journal
//! that is read again after a crash records nothing twice. A line that was cut off by a crash is ended before another is
//! written; it is passed over and counted as lost, as any that cannot be read.

use std::io::{self, SeekFrom};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::Ordering;

use tokio::fs::{File, OpenOptions};
use tokio::io::{AsyncReadExt, AsyncSeekExt, AsyncWriteExt};

use super::{Counts, Waiting};

/// What is read of the journal at one time, in bytes; many times the longest line.
const BITE_BYTES: usize = 1 << 20;

/// The journal of one node.
#[derive(Debug)]
pub(super) struct Journal {
    path: Option<PathBuf>,
    bytes_max: u64,
    /// Bytes in the file.
    bytes: u64,
    /// Bytes of it that are recorded.
    done: u64,
    /// It may end in the middle of a line.
    is_torn: bool,
    counts: Arc<Counts>,
}

/// Part of a journal: its hits, and how far it reaches.
pub(super) struct Bite {
    pub(super) hits: Vec<Waiting>,
    /// Lines that are no hits.
    unreadable: u64,
    end: u64,
}

impl Journal {
    /// The journal at `path`, with what an earlier run left in it.
    pub(super) fn new(path: Option<PathBuf>, bytes_max: u64, counts: Arc<Counts>) -> Self {
        let bytes = path.as_ref().and_then(|path| std::fs::metadata(path).ok()).map_or(0, |file| file.len());
        counts.journaled_bytes.store(bytes, Ordering::Relaxed);
        // Whether a crash cut the last line off is not looked at: an empty line does no harm.
        Self { path, bytes_max, bytes, done: 0, is_torn: bytes > 0, counts }
    }

    /// Whether hits wait in it.
    pub(super) fn is_empty(&self) -> bool {
        self.bytes == self.done
    }

    /// Appends hits and syncs them. Those past the bound are dropped and counted.
    ///
    /// # Errors
    /// There is no journal, or nothing could be written: the caller still has the hits.
    pub(super) async fn append(&mut self, hits: &[Waiting]) -> io::Result<()> {
        let path = self.path.as_ref().ok_or_else(|| io::Error::other("there is no journal"))?;
        let mut lines = if self.is_torn { vec![b'\n'] } else { Vec::new() };
        let mut dropped = 0;
        for hit in hits {
            let line = serde_json::to_vec(hit)?;
            if self.bytes + (lines.len() + line.len()) as u64 >= self.bytes_max {
                dropped += 1;
                continue;
            }
            lines.extend_from_slice(&line);
            lines.push(b'\n');
        }
        let mut options = OpenOptions::new();
        #[cfg(unix)]
        options.mode(0o600);
        let mut file = options.create(true).append(true).open(path).await?;
        let folder = Some(path).filter(|_| self.bytes == 0).map(|path| folder_of(path));
        if let Err(fault) = written(&mut file, &lines, folder).await {
            // What was half written would swallow the next line.
            if file.set_len(self.bytes).await.is_err() {
                self.is_torn = true;
                self.set_bytes(file.metadata().await.map_or(self.bytes, |file| file.len()));
            }
            return Err(fault);
        }
        self.is_torn = false;
        self.counts.lost.fetch_add(dropped, Ordering::Relaxed);
        self.set_bytes(self.bytes + lines.len() as u64);
        Ok(())
    }

    /// The next hits that are not recorded; `None` at the end. What cannot be read is passed over.
    ///
    /// # Errors
    /// The file cannot be read.
    pub(super) async fn bite(&self) -> io::Result<Option<Bite>> {
        let Some(path) = self.path.as_ref().filter(|_| !self.is_empty()) else { return Ok(None) };
        let mut file = File::open(path).await?;
        file.seek(SeekFrom::Start(self.done)).await?;
        let mut bytes = Vec::with_capacity(BITE_BYTES);
        file.take(BITE_BYTES as u64).read_to_end(&mut bytes).await?;
        let is_last = self.done + bytes.len() as u64 >= self.bytes;
        let whole = match bytes.iter().rposition(|byte| *byte == b'\n') {
            Some(end) if !is_last => end + 1,
            _ => bytes.len(),
        };
        let lines = bytes[..whole].split(|byte| *byte == b'\n').filter(|line| !line.is_empty());
        let (mut hits, mut unreadable) = (Vec::new(), 0);
        for line in lines {
            match serde_json::from_slice(line) {
                Ok(hit) => hits.push(hit),
                Err(_) => unreadable += 1,
            }
        }
        let end = if is_last { self.bytes } else { self.done + whole as u64 };
        Ok(Some(Bite { hits, unreadable, end }))
    }

    /// The hits of this bite are recorded; the file goes when none is left.
    ///
    /// # Errors
    /// The file cannot be removed.
    pub(super) async fn done(&mut self, bite: &Bite) -> io::Result<()> {
        self.done = bite.end;
        if bite.unreadable > 0 {
            tracing::error!(lines = bite.unreadable, "lines of the journal of hits cannot be read and are lost");
            self.counts.lost.fetch_add(bite.unreadable, Ordering::Relaxed);
        }
        if let Some(path) = self.path.as_ref().filter(|_| self.is_empty()) {
            tokio::fs::remove_file(path).await?;
            self.done = 0;
            self.is_torn = false;
            self.set_bytes(0);
        }
        Ok(())
    }

    /// Gives up a file that cannot be read.
    pub(super) fn abandon(&mut self) {
        self.done = self.bytes;
    }

    fn set_bytes(&mut self, bytes: u64) {
        self.bytes = bytes;
        self.counts.journaled_bytes.store(bytes, Ordering::Relaxed);
    }
}

/// Writes and syncs lines, and the folder of a file that may be new.
async fn written(file: &mut File, lines: &[u8], folder: Option<&Path>) -> io::Result<()> {
    file.write_all(lines).await?;
    file.flush().await?;
    file.sync_data().await?;
    match folder {
        Some(folder) => File::open(folder).await?.sync_all().await,
        None => Ok(()),
    }
}

fn folder_of(path: &Path) -> &Path {
    path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::hit::{HitKind, HitRequest};
    use crate::model::id::{DeliveryId, EventId, MessageId};
    use crate::model::time::Timestamp;

    fn hit(number: u8) -> Waiting {
        Waiting {
            id: EventId::from_bytes([number; 16]),
            delivery: DeliveryId { message: MessageId::from_bytes([1; 16]), recipient: 3 },
            kind: HitKind::Click,
            link: 2,
            target: "https://example.com/\n".into(),
            at: Timestamp::from_millis(1_800_000_000_000),
            request: HitRequest {
                is_get: true,
                ip: Some([192, 0, 2, 7].into()),
                user_agent: "Reader/1".into(),
                headers: vec![("accept".into(), "*/*".into())],
                is_https: true,
            },
        }
    }

    async fn read(journal: &mut Journal) -> Vec<u8> {
        let mut read = Vec::new();
        while let Some(bite) = journal.bite().await.unwrap() {
            read.extend(bite.hits.iter().map(|hit| hit.id.as_bytes()[0]));
            journal.done(&bite).await.unwrap();
        }
        read
    }

    #[tokio::test]
    async fn what_is_written_is_read_once_and_survives_a_stop() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("hits.journal");
        let open = || Journal::new(Some(path.clone()), 1 << 20, Arc::default());
        let mut journal = open();
        assert!(journal.is_empty() && journal.bite().await.unwrap().is_none());
        journal.append(&[hit(1), hit(2)]).await.unwrap();
        journal.append(&[hit(3)]).await.unwrap();
        assert_eq!(journal.bite().await.unwrap().unwrap().hits[0], hit(1));
        let cut = [std::fs::read(&path).unwrap(), b"{\"id\":\"evt_0".to_vec()].concat();
        std::fs::write(&path, cut).unwrap();
        let mut journal = open();
        assert!(!journal.is_empty());
        assert_eq!(read(&mut journal).await, [1, 2, 3]);
        assert!(journal.is_empty() && !path.exists());
        journal.append(&[hit(4)]).await.unwrap();
        assert_eq!(read(&mut journal).await, [4]);
    }

    #[tokio::test]
    async fn what_comes_behind_a_line_that_was_cut_off_is_read() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("hits.journal");
        let counts = Arc::new(Counts::default());
        let open = || Journal::new(Some(path.clone()), 1 << 20, counts.clone());
        open().append(&[hit(1), hit(2)]).await.unwrap();
        let whole = std::fs::read(&path).unwrap();
        std::fs::write(&path, &whole[..whole.len() - 9]).unwrap();
        let mut journal = open();
        journal.append(&[hit(3)]).await.unwrap();
        journal.append(&[hit(4)]).await.unwrap();
        assert_eq!((read(&mut journal).await, counts.lost.load(Ordering::Relaxed)), (vec![1, 3, 4], 1));
        // One that ends well takes no harm either.
        open().append(&[hit(5)]).await.unwrap();
        let mut journal = open();
        journal.append(&[hit(6)]).await.unwrap();
        assert_eq!((read(&mut journal).await, counts.lost.load(Ordering::Relaxed)), (vec![5, 6], 1));
    }

    #[tokio::test]
    async fn it_has_a_bound() {
        let folder = tempfile::tempdir().unwrap();
        let counts = Arc::new(Counts::default());
        let line = serde_json::to_vec(&hit(1)).unwrap().len() as u64 + 1;
        let mut journal = Journal::new(Some(folder.path().join("j")), 3 * line, counts.clone());
        let many: Vec<Waiting> = (0..5).map(hit).collect();
        journal.append(&many).await.unwrap();
        journal.append(&many).await.unwrap();
        assert_eq!((read(&mut journal).await, counts.lost.load(Ordering::Relaxed)), (vec![0, 1, 2], 7));
    }

    #[tokio::test]
    async fn long_journals_are_read_in_bites() {
        let folder = tempfile::tempdir().unwrap();
        let mut journal = Journal::new(Some(folder.path().join("j")), 1 << 30, Arc::default());
        let many: Vec<Waiting> = (0..250).map(hit).collect();
        for _ in 0..20 {
            journal.append(&many).await.unwrap();
        }
        assert!(journal.bytes > BITE_BYTES as u64);
        let expected: Vec<u8> = (0..20).flat_map(|_| 0..250).collect();
        assert_eq!(read(&mut journal).await, expected);
    }
}
