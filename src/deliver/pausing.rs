//! What people have stopped: heard of at every look into the store, and put off until it goes on.

use std::sync::Arc;
use std::time::Duration;

use super::{Deliver, locked};
use crate::model::queue::{Mark, Pause};
use crate::store::StoreError;
use crate::worker::Later;

/// How long mail that is paused is put off: a resumption makes it due at once.
const PAUSED_FOR: Duration = Duration::from_secs(600);

impl Deliver {
    /// What people have stopped by now. Mail that we put off for a pause of which we had not heard yet that it was over
    /// goes on at the second look from there: by then whatever we put off is written.
    pub(super) async fn hear_pauses(&self) -> Result<Arc<Vec<Pause>>, StoreError> {
        let now = Arc::new(self.parts.store.pauses().await?);
        let before = self.pauses.swap(now.clone());
        let ended = before.iter().filter(|pause| !now.contains(pause)).cloned().collect();
        let ended = std::mem::replace(&mut *locked(&self.resumed), ended);
        for Pause { scope, domain, .. } in ended {
            self.parts.store.let_go_on(scope, domain.as_deref()).await?;
        }
        Ok(now)
    }

    pub(super) fn paused(&self) -> Later {
        Later { until: self.parts.clock.now() + PAUSED_FOR, mark: Mark::Paused }
    }
}
