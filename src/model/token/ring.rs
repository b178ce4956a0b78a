//! The secrets of an installation: the newest seals, all of them open.
//!
//! A ring is shared by all who hold a clone of it, so that a rotation or a revocation reaches every part at once. Keys
//! are per installation, at most 32; each tracking host has its own, derived with HKDF-Expand (RFC 5869 §2.3).

use std::fmt;
use std::sync::Arc;

use arc_swap::ArcSwap;
use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;

/// Keys in a ring, at most.
pub const KEYS_MAX: usize = 32;
/// The bits of a token that name its key.
pub(super) const KEY_ID_MASK: u8 = 0x1f;

/// The secrets of an installation, newest first. `Debug` shows only how many there are.
#[derive(Clone, Default)]
pub struct KeyRing(Arc<ArcSwap<Vec<Key>>>);

/// One secret of the ring.
#[derive(Clone, PartialEq, Eq)]
pub struct Key {
    /// 0 to 31.
    pub id: u8,
    /// 32 random bytes.
    pub secret: [u8; 32],
}

impl fmt::Debug for Key {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "Key({})", self.id)
    }
}

impl fmt::Debug for KeyRing {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "KeyRing({} keys)", self.0.load().len())
    }
}

impl KeyRing {
    /// A ring of these keys, the one to sign with first. Keys with an id above 31 are left out.
    pub fn new(keys: Vec<Key>) -> Self {
        let ring = Self::default();
        ring.replace(keys);
        ring
    }

    /// Puts these keys in place of those before, for all who share the ring; whether that changed anything.
    pub fn replace(&self, keys: Vec<Key>) -> bool {
        let keys: Vec<Key> = keys.into_iter().filter(|key| key.id <= KEY_ID_MASK).take(KEYS_MAX).collect();
        let is_new = **self.0.load() != keys;
        if is_new {
            self.0.store(Arc::new(keys));
        }
        is_new
    }

    /// The id of the key that new tokens are sealed with.
    pub fn newest(&self) -> Option<u8> {
        self.0.load().first().map(|key| key.id)
    }

    /// The keys as they are now.
    pub fn keys(&self) -> Arc<Vec<Key>> {
        self.0.load_full()
    }

    /// HKDF-Expand of the key `id` for one label and host: one block is enough for 32 bytes.
    pub(in crate::model) fn derived(&self, id: u8, label: &[u8], host: &str) -> Option<Hmac<Sha256>> {
        let keys = self.0.load();
        let secret = &keys.iter().find(|key| key.id == id)?.secret;
        let mut expand = keyed(secret);
        expand.update(label);
        expand.update(&[0]);
        expand.update(host.as_bytes());
        expand.update(&[1]);
        Some(keyed(&expand.finalize().into_bytes()))
    }

    /// What proves to a stranger who asks `challenge` of `host` that one of our keys answers: one proof for each key,
    /// the newest first. It opens nothing.
    pub fn proofs(&self, host: &str, challenge: &str) -> Vec<[u8; 32]> {
        let ids: Vec<u8> = self.0.load().iter().map(|key| key.id).collect();
        let proof = |id| {
            let mac = self.derived(id, b"proof", host)?;
            Some(mac.chain_update(b"prf1\0").chain_update(challenge.as_bytes()).finalize().into_bytes().into())
        };
        ids.into_iter().filter_map(proof).collect()
    }
}

fn keyed(key: &[u8]) -> Hmac<Sha256> {
    Hmac::new_from_slice(key).expect("HMAC takes a key of any length")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_who_share_a_ring_see_a_change() {
        let key = |id| Key { id, secret: [id; 32] };
        let ring = KeyRing::new(vec![key(1), key(99)]);
        let shared = ring.clone();
        assert_eq!((shared.newest(), shared.keys().len()), (Some(1), 1));
        assert!(ring.replace(vec![key(2), key(1)]));
        assert!(!ring.replace(vec![key(2), key(1)]));
        assert_eq!((shared.newest(), format!("{shared:?}")), (Some(2), "KeyRing(2 keys)".to_owned()));
        assert!(shared.derived(1, b"x", "h").is_some());
        ring.replace(vec![key(2)]);
        assert!(shared.derived(1, b"x", "h").is_none());
    }

    #[test]
    fn a_proof_is_of_one_host_and_challenge() {
        let ring = KeyRing::new(vec![Key { id: 3, secret: [9; 32] }, Key { id: 2, secret: [8; 32] }]);
        let proofs = ring.proofs("a.example", "1");
        assert_eq!((proofs.len(), proofs[0] == proofs[1]), (2, false));
        assert_ne!(proofs, ring.proofs("b.example", "1"));
        assert_ne!(proofs, ring.proofs("a.example", "2"));
    }
}
