//! Lines on their way to where they are written, by a thread of its own.
//!
//! A disk that is being synced for mail holds up a write to it, and who logs must not wait for that. A line that comes
//! alone is written at once; what comes within [`GATHERING`] of a write is one write. Nothing is lost when the program
//! ends in order, since [`Written`] is held until then; one that is killed loses what was gathered.

use std::io::{self, Write};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// Bytes that may wait to be written; then who logs waits.
const WAITING_BYTES_MAX: usize = 1 << 20;
/// How long lines are gathered after a write.
const GATHERING: Duration = Duration::from_millis(10);

/// Where lines go in.
#[derive(Clone, Debug)]
pub(super) struct Lines(Arc<Queue>);

/// Dropping it returns when every line that went in before is written.
#[derive(Debug)]
#[must_use = "lines are lost when the program ends without waiting for them"]
pub struct Written(Arc<Queue>);

#[derive(Debug, Default)]
struct Queue {
    waiting: Mutex<Waiting>,
    /// Something waits.
    come: Condvar,
    /// Something was written.
    gone: Condvar,
}

#[derive(Debug, Default)]
struct Waiting {
    bytes: Vec<u8>,
    is_writing: bool,
}

/// Starts a thread that writes to `out`; it ends with the program.
pub(super) fn start(out: impl Write + Send + 'static) -> (Lines, Written) {
    let queue = Arc::new(Queue::default());
    let writing = queue.clone();
    std::thread::spawn(move || writing.run(out));
    (Lines(queue.clone()), Written(queue))
}

impl Write for Lines {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let is_full = |waiting: &mut Waiting| waiting.bytes.len() >= WAITING_BYTES_MAX;
        let waiting = self.0.gone.wait_while(self.0.waiting(), is_full);
        let mut waiting = waiting.unwrap_or_else(PoisonError::into_inner);
        waiting.bytes.extend_from_slice(bytes);
        if waiting.bytes.len() == bytes.len() {
            self.0.come.notify_one();
        }
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Drop for Written {
    fn drop(&mut self) {
        let is_going_on = |waiting: &mut Waiting| waiting.is_writing || !waiting.bytes.is_empty();
        drop(self.0.gone.wait_while(self.0.waiting(), is_going_on));
    }
}

impl Queue {
    fn run(&self, mut out: impl Write) {
        let mut bytes = Vec::new();
        loop {
            let waiting = self.come.wait_while(self.waiting(), |waiting| waiting.bytes.is_empty());
            let mut waiting = waiting.unwrap_or_else(PoisonError::into_inner);
            std::mem::swap(&mut waiting.bytes, &mut bytes);
            waiting.is_writing = true;
            drop(waiting);
            // Nobody could be told.
            let _ = out.write_all(&bytes);
            bytes.clear();
            self.waiting().is_writing = false;
            self.gone.notify_all();
            std::thread::sleep(GATHERING);
        }
    }

    fn waiting(&self) -> MutexGuard<'_, Waiting> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Clone, Default)]
    struct Kept(Arc<Mutex<Vec<u8>>>);

    impl Write for Kept {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().unwrap().extend_from_slice(bytes);
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn every_line_is_written_in_order_before_the_end() {
        let kept = Kept::default();
        let (mut lines, written) = start(kept.clone());
        let line = |number: usize| format!("{number:01000}\n");
        for number in 0..5_000 {
            lines.write_all(line(number).as_bytes()).unwrap();
        }
        drop(written);
        let expected: String = (0..5_000).map(line).collect();
        assert!(*kept.0.lock().unwrap() == expected.as_bytes());
    }
}
