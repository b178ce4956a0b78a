//! TLS for each destination: the usual, or with the roots and the certificate that a webhook brings of its own.
//!
//! Making one takes a while and most are used again, so the latest are kept.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use sha2::{Digest, Sha256};
use tokio_rustls::TlsConnector;

use super::Fault;
use crate::egress::{Identity, Trust};

/// Destinations of their own kind whose TLS is kept ready.
const KEPT_MAX: usize = 256;

/// Connectors by what their destinations want.
pub(super) struct Identities {
    trust: Trust,
    usual: TlsConnector,
    kept: Mutex<HashMap<[u8; 32], TlsConnector>>,
}

impl std::fmt::Debug for Identities {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        out.write_str("Identities")
    }
}

impl Identities {
    pub(super) fn new(trust: Trust) -> Self {
        let usual = connector(trust.client());
        Self { trust, usual, kept: Mutex::default() }
    }

    /// What speaks TLS to a destination.
    pub(super) fn connector(&self, identity: Identity<'_>) -> Result<TlsConnector, Fault> {
        let Some(digest) = digest(identity) else { return Ok(self.usual.clone()) };
        let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(connector) = kept.get(&digest) {
            return Ok(connector.clone());
        }
        let made = connector(self.trust.client_for(identity).map_err(Fault::TlsIdentity)?);
        if kept.len() >= KEPT_MAX {
            kept.clear();
        }
        kept.insert(digest, made.clone());
        Ok(made)
    }
}

fn connector(mut config: rustls::ClientConfig) -> TlsConnector {
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    TlsConnector::from(Arc::new(config))
}

/// What tells one identity from another; `None` for the usual.
pub(super) fn digest(identity: Identity<'_>) -> Option<[u8; 32]> {
    if identity.is_usual() {
        return None;
    }
    let mut digest = Sha256::new();
    digest.update([u8::from(identity.is_anybody)]);
    for part in [identity.ca, identity.certificate, identity.key] {
        digest.update((part.len() as u64).to_be_bytes());
        digest.update(part);
    }
    Some(digest.finalize().into())
}
