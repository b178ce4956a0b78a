//! Nudges between tasks: there may be work. A hint, never the truth; whoever is nudged looks in the store.

use std::sync::Arc;

use tokio::sync::Notify;

/// One bell. Clones ring and hear the same one; a ring that nobody hears is kept for the next listener, once.
#[derive(Clone, Debug, Default)]
pub struct Wake(Arc<Notify>);

impl Wake {
    /// There may be work.
    pub fn ring(&self) {
        self.0.notify_one();
    }

    /// Returns at the next ring, or at once when one was missed.
    pub async fn heard(&self) {
        self.0.notified().await;
    }
}
