//! Checks tracking hosts: whether a reader who follows a link of ours would arrive here, by https, with a certificate
//! that browsers believe. Mail is rewritten for a host only while its last check passed.

use std::time::Duration;

use crate::clock::Clock;
use crate::fetch::{Ask, Fetcher};
use crate::http::track::{CHALLENGE_PATH, proof_text};
use crate::ids::IdSource;
use crate::intake::Intake;
use crate::model::time::Timestamp;
use crate::model::token::KeyRing;
use crate::model::tracking::TrackingHost;
use crate::store::{Store, StoreError};

/// How often what administrators may have changed is read again.
const REFRESH_EVERY: Duration = Duration::from_secs(5);
/// How often a host that passed is checked again, and one that did not.
const RECHECK_EVERY: Duration = Duration::from_secs(600);
const RETRY_EVERY: Duration = Duration::from_secs(60);
/// Hosts checked in one round.
const ROUND_MAX: usize = 50;

const ASK: Ask = Ask { bytes_max: 1024, patience: Duration::from_secs(10), authorization: None };

/// What checking takes.
pub struct Checker {
    /// Asks the host.
    pub fetcher: Fetcher,
    /// Knows what it must answer.
    pub ring: KeyRing,
    /// Draws what is asked.
    pub ids: IdSource,
}

impl Checker {
    /// What is wrong with a tracking host; `None` when links under it arrive here.
    pub async fn fault(&self, host: &TrackingHost) -> Option<String> {
        let challenge: String = self.ids.bytes::<16>().iter().map(|byte| format!("{byte:02x}")).collect();
        let url = format!("{}{CHALLENGE_PATH}{challenge}", host.base_url());
        let fetched = match self.fetcher.get(&url, &ASK).await {
            Ok(fetched) => fetched,
            Err(fault) => return Some(fault.to_string()),
        };
        let proofs = self.ring.proofs(&host.host, &challenge);
        let is_ours = proofs.iter().any(|proof| fetched.body.as_ref() == proof_text(proof).as_bytes());
        let status = fetched.status.as_u16();
        (!is_ours).then(|| format!("it answers {status}, but it is not this installation that answers"))
    }

    async fn round(&self, store: &Store, now: Timestamp) -> Result<(), StoreError> {
        let due = store.tracking_hosts().await?.into_iter().filter(|host| is_due(host, now)).take(ROUND_MAX);
        for host in due {
            let fault = self.fault(&host).await.unwrap_or_default();
            if fault != host.fault || host.checked_at.is_none() {
                match fault.as_str() {
                    "" => tracing::info!(host = host.host, "the tracking host passed its check"),
                    _ => tracing::warn!(
                        host = host.host,
                        fault,
                        "mail goes untracked: the tracking host failed its check"
                    ),
                }
            }
            store.tracking_host_checked(&host.host, &fault).await?;
        }
        Ok(())
    }
}

fn is_due(host: &TrackingHost, now: Timestamp) -> bool {
    let every = if host.is_ready() { RECHECK_EVERY } else { RETRY_EVERY };
    host.checked_at.is_none_or(|at| now.since(at) >= every)
}

/// Reads what administrators may have changed and checks the hosts that are due, for ever.
pub(super) async fn watch(store: Store, intake: Intake, checker: Checker, clock: Clock) {
    let mut is_told = false;
    loop {
        let done = match checker.round(&store, clock.now()).await {
            Ok(()) => intake.refresh().await,
            Err(fault) => Err(fault),
        };
        // The store says itself that it is away; once is enough here.
        if let (Err(fault), false) = (&done, is_told) {
            tracing::warn!(%fault, "cannot read what is set about tracking; what was read last holds");
        }
        is_told = done.is_err();
        clock.sleep_until(clock.now() + REFRESH_EVERY).await;
    }
}
