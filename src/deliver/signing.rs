//! Our signatures on the mail that leaves: whose keys, and the work of signing where it holds up nobody.
//!
//! The keys are those of the author's domain, or of the nearest domain above it that has any, so that what signs is
//! always aligned with `From` (RFC 7489 §3.1.1). They are read from the store and kept for half a minute: a key that
//! begins or ends to sign does so on every node within that time. An RSA signature costs more than all else that is done
//! for a mail; as many are made at once as there are processors.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::Semaphore;

use crate::clock::Clock;
use crate::mail::dkim::{Key, Signer, signatures};
use crate::model::id::TenantId;
use crate::model::time::Timestamp;
use crate::store::{Store, StoreError};

/// How long keys are used before there is a look for others.
const FRESH: Duration = Duration::from_secs(30);
/// Domains whose keys are kept in memory.
const DOMAINS_MAX: usize = 10_000;

/// The keys in use.
#[derive(Debug)]
pub struct Signing {
    store: Store,
    clock: Clock,
    known: Mutex<HashMap<(TenantId, String), Known>>,
    turns: Semaphore,
}

#[derive(Debug)]
struct Known {
    at: Timestamp,
    signers: Arc<[Signer]>,
}

impl Signing {
    /// No key is known yet.
    pub fn new(store: Store, clock: Clock) -> Self {
        let processors = std::thread::available_parallelism().map_or(1, usize::from);
        Self { store, clock, known: Mutex::default(), turns: Semaphore::new(processors) }
    }

    /// Who signs mail of this author's domain; nobody when the tenant has no key for it.
    ///
    /// # Errors
    /// `Unavailable`; `Corrupt` when a key cannot be opened.
    pub async fn signers(&self, tenant: TenantId, author: &str) -> Result<Arc<[Signer]>, StoreError> {
        let mut domain = author;
        while domain.contains('.') {
            let signers = self.of_domain(tenant, domain).await?;
            if !signers.is_empty() {
                return Ok(signers);
            }
            domain = domain.split_once('.').map_or("", |(_, above)| above);
        }
        Ok(Arc::new([]))
    }

    async fn of_domain(&self, tenant: TenantId, domain: &str) -> Result<Arc<[Signer]>, StoreError> {
        let now = self.clock.now();
        let place = (tenant, domain.to_owned());
        if let Some(known) = self.known.lock().unwrap_or_else(PoisonError::into_inner).get_mut(&place) {
            if now.since(known.at) < FRESH {
                return Ok(known.signers.clone());
            }
            // One looks for others; whoever comes meanwhile signs with these.
            known.at = now;
        }
        let mut signers = Vec::new();
        for (key, pkcs8) in self.store.private_keys(tenant, domain).await? {
            match Key::from_pkcs8(&pkcs8) {
                Ok(pair) => signers.push(Signer { domain: key.domain, selector: key.selector, key: pair }),
                Err(fault) => return Err(StoreError::Corrupt(format!("the key {}: {fault}", key.record_name()))),
            }
        }
        let signers: Arc<[Signer]> = signers.into();
        let mut all = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        if all.len() >= DOMAINS_MAX {
            all.clear();
        }
        all.insert(place, Known { at: now, signers: signers.clone() });
        Ok(signers)
    }

    /// Does `work` on a thread of its own, when it is its turn; `None` when it panicked.
    pub async fn apart<T: Send + 'static>(&self, work: impl FnOnce() -> T + Send + 'static) -> Option<T> {
        let _turn = self.turns.acquire().await.ok()?;
        tokio::task::spawn_blocking(work).await.ok()
    }
}

/// `mail` with the signers' signatures on top. The time in them is the mail's own, so that each try sends the same bytes.
pub fn signed(mail: Vec<u8>, signers: &[Signer], accepted_at: Timestamp) -> Vec<u8> {
    if signers.is_empty() {
        return mail;
    }
    let mut bytes = signatures(&mail, signers, accepted_at).into_bytes();
    bytes.extend_from_slice(&mail);
    bytes
}
