//! What is done now and then: forgetting what is too old, taking changed files into use.

use std::time::Duration;

use crate::clock::Clock;
use crate::store::Store;
use crate::store::retention::Keep;
use crate::tls::Certificates;

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

/// How often there is a look for changed files.
const RELOAD_EVERY: Duration = Duration::from_secs(60);

/// Takes changed certificates into use, for ever. A bad one is told of once, and the old one stays.
pub(super) async fn reload(certificates: Certificates, clock: Clock) {
    let mut told = None;
    loop {
        clock.sleep_until(clock.now() + RELOAD_EVERY).await;
        let certificates = certificates.clone();
        let read = tokio::task::spawn_blocking(move || certificates.reload());
        let fault = match read.await {
            Ok(Ok(())) => None,
            Ok(Err(fault)) => Some(format!("{:#}", anyhow::Error::new(fault))),
            Err(fault) => Some(fault.to_string()),
        };
        if let Some(fault) = fault.as_ref().filter(|_| fault != told) {
            tracing::error!(fault, "cannot use the certificate's files; the certificate before stays in use");
        }
        told = fault;
    }
}
