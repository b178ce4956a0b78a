//! What the HTTP door has done, as numbers for `/metrics`.

use std::sync::atomic::{AtomicU64, Ordering};

use hyper::StatusCode;

/// Counters since the start; read them with [`read`].
#[derive(Debug, Default)]
pub struct Counters {
    /// Connections taken.
    pub connections: AtomicU64,
    /// Connections turned away because their address had too many.
    pub turned_away: AtomicU64,
    /// TLS handshakes that failed.
    pub failed_handshakes: AtomicU64,
    /// Requests for a pixel or a tracked link with a good token.
    pub hits: AtomicU64,
    /// Those with a token that we did not seal.
    pub bad_tokens: AtomicU64,
    /// Mails accepted.
    pub messages: AtomicU64,
    /// Answers of the APIs with a 2xx status.
    pub answered: AtomicU64,
    /// Answers of the APIs with a 4xx status.
    pub refused: AtomicU64,
    /// Answers of the APIs with a 5xx status.
    pub failed: AtomicU64,
    /// Requests with a wrong credential or none.
    pub failed_logins: AtomicU64,
}

impl Counters {
    pub(super) fn answered(&self, status: StatusCode) {
        if status == StatusCode::UNAUTHORIZED {
            add(&self.failed_logins, 1);
        }
        let counter = match status.as_u16() {
            500.. => &self.failed,
            400.. => &self.refused,
            _ => &self.answered,
        };
        add(counter, 1);
    }
}

/// The value of a counter.
pub fn read(counter: &AtomicU64) -> u64 {
    counter.load(Ordering::Relaxed)
}

pub(super) fn add(counter: &AtomicU64, by: u64) {
    counter.fetch_add(by, Ordering::Relaxed);
}
