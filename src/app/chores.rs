//! What is done now and then: forgetting what is too old.

use std::time::Duration;

use crate::clock::Clock;
use crate::store::Store;
use crate::store::retention::Keep;

/// How often there is a look for what is too old.
const FORGET_EVERY: Duration = Duration::from_secs(3600);

/// Forgets, bite by bite, what is older than `keep` allows, for ever.
pub(super) async fn forget(store: Store, keep: Keep, clock: Clock) {
    loop {
        loop {
            match store.forget(keep).await {
                Ok(true) => {}
                Ok(false) => break,
                Err(fault) => {
                    tracing::warn!(%fault, "could not forget what is too old; it is tried again in an hour");
                    break;
                }
            }
        }
        clock.sleep_until(clock.now() + FORGET_EVERY).await;
    }
}
