//! What the SMTP doors have done, as numbers for `/metrics`.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// Upper bounds of [`Counters::dot_to_reply`]'s buckets, in milliseconds; the last bucket has none.
pub const DOT_TO_REPLY_MILLIS: [u64; 9] = [1, 2, 5, 10, 25, 50, 100, 250, 1_000];

/// Counters since the start; read them with [`read`].
#[derive(Debug, Default)]
pub struct Counters {
    /// Connections taken.
    pub connections: AtomicU64,
    /// Connections turned away because there were too many.
    pub turned_away: AtomicU64,
    /// Sessions open now.
    pub sessions: AtomicU64,
    /// TLS handshakes that failed.
    pub failed_handshakes: AtomicU64,
    /// Wrong passwords.
    pub failed_logins: AtomicU64,
    /// Permanent errors answered, of any kind.
    pub errors: AtomicU64,
    /// Messages taken.
    pub messages: AtomicU64,
    /// Bytes of the messages taken.
    pub message_bytes: AtomicU64,
    /// Messages refused for good by intake.
    pub rejected: AtomicU64,
    /// Messages and reports put off because they could not be kept.
    pub unavailable: AtomicU64,
    /// Reports taken.
    pub reports: AtomicU64,
    /// Time from the end of a text to its reply: how many fell into each bucket (not cumulative).
    pub dot_to_reply: [AtomicU64; DOT_TO_REPLY_MILLIS.len() + 1],
    /// Sum of those times, in microseconds.
    pub dot_to_reply_micros: AtomicU64,
}

impl Counters {
    pub(super) fn replied(&self, took: Duration) {
        let bucket = DOT_TO_REPLY_MILLIS.partition_point(|bound| Duration::from_millis(*bound) < took);
        if let Some(counter) = self.dot_to_reply.get(bucket) {
            add(counter, 1);
        }
        add(&self.dot_to_reply_micros, u64::try_from(took.as_micros()).unwrap_or(u64::MAX));
    }
}

/// The value of a counter.
pub fn read(counter: &AtomicU64) -> u64 {
    counter.load(Ordering::Relaxed)
}

pub(super) fn add(counter: &AtomicU64, by: u64) {
    counter.fetch_add(by, Ordering::Relaxed);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_fall_into_their_buckets() {
        let counters = Counters::default();
        for millis in [1, 2, 1_000, 1_001] {
            counters.replied(Duration::from_millis(millis));
        }
        let filled: Vec<u64> = counters.dot_to_reply.iter().map(read).collect();
        assert_eq!(filled, [1, 1, 0, 0, 0, 0, 0, 0, 1, 1]);
        assert_eq!(read(&counters.dot_to_reply_micros), 2_004_000);
    }
}
