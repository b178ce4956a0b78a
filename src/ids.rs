//! Ids, secrets and other randomness. Nobody else draws any.
//!
//! An [`IdSource`] is the system's randomness, or, in tests, a counter from a seed: the same run gives the same ids.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use aws_lc_rs::encoding::{AsDer, Pkcs8V1Der};
use aws_lc_rs::rsa::{KeyPair as RsaKeyPair, KeySize};
use aws_lc_rs::signature::Ed25519KeyPair;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use sha2::{Digest, Sha256};
use uuid::Uuid;

use crate::model::time::Timestamp;
use crate::model::webhook_key::{self, PRIVATE_PREFIX};

/// Where ids and secrets come from. Cheap to clone; clones share their source.
#[derive(Clone, Debug)]
pub struct IdSource(Option<Arc<Counter>>);

#[derive(Debug)]
struct Counter {
    seed: u64,
    drawn: AtomicU64,
}

impl IdSource {
    /// The operating system's randomness.
    pub fn system() -> Self {
        Self(None)
    }

    /// A repeatable source for tests. Its secrets are not secret.
    pub fn seeded(seed: u64) -> Self {
        Self(Some(Arc::new(Counter { seed, drawn: AtomicU64::new(0) })))
    }

    /// A UUIDv7 (RFC 9562 §5.7) of this time.
    pub fn uuid(&self, now: Timestamp) -> Uuid {
        let millis = u64::try_from(now.as_millis()).unwrap_or(0);
        uuid::Builder::from_unix_timestamp_millis(millis, &self.bytes()).into_uuid()
    }

    /// `N` random bytes.
    pub fn bytes<const N: usize>(&self) -> [u8; N] {
        let mut bytes = [0; N];
        self.fill(&mut bytes);
        bytes
    }

    /// A password or key of 262 bits: 44 letters and digits after `prefix`. With `pb_` that is not one byte more than 45:
    /// sendEmail encodes 45 bytes at a time and leaves a single `0` out.
    pub fn secret(&self, prefix: &str) -> String {
        format!("{prefix}{}", self.letters(44))
    }

    /// A password of 142 bits: 24 letters and digits, for programs that cut what is longer.
    pub fn password(&self) -> String {
        self.letters(24)
    }

    fn letters(&self, count: usize) -> String {
        const LETTERS: &[u8; 62] = b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";
        let mut text = String::new();
        while text.len() < count {
            let drawn = self.bytes::<64>();
            let usable = drawn.iter().filter(|byte| **byte < 248);
            text.extend(usable.take(count - text.len()).map(|byte| char::from(LETTERS[usize::from(byte % 62)])));
        }
        text
    }

    /// A webhook secret in the form of Standard Webhooks: `whsec_` and the base64 of 32 bytes.
    pub fn webhook_secret(&self) -> String {
        format!("whsec_{}", STANDARD.encode(self.bytes::<32>()))
    }

    /// The secret that somebody gave a webhook: `whsk_` alone stands for a fresh Ed25519 key.
    pub fn given_secret(&self, text: &str) -> String {
        if text == PRIVATE_PREFIX { webhook_key::private(&self.bytes()) } else { text.to_owned() }
    }

    /// A fresh secret of the kind of another.
    pub fn secret_like(&self, other: &str) -> String {
        if webhook_key::is_private(other) { self.given_secret(PRIVATE_PREFIX) } else { self.webhook_secret() }
    }

    /// An Ed25519 key in PKCS#8.
    pub fn ed25519_key(&self) -> Vec<u8> {
        let pair = Ed25519KeyPair::from_seed_unchecked(&self.bytes::<32>()).expect("any 32 bytes are a seed");
        pair.to_pkcs8v1().expect("a pair can be written").as_ref().to_vec()
    }

    /// An RSA key of 2,048 bits in PKCS#8. The library draws it: it is another each time, from a seeded source too.
    /// Takes a tenth of a second.
    pub fn rsa_key(&self) -> Vec<u8> {
        let pair = RsaKeyPair::generate(KeySize::Rsa2048).expect("the operating system has randomness");
        let der: Pkcs8V1Der<'_> = pair.as_der().expect("a pair can be written");
        der.as_ref().to_vec()
    }

    #[allow(clippy::disallowed_methods, reason = "the one place that draws randomness")]
    fn fill(&self, bytes: &mut [u8]) {
        match &self.0 {
            None => getrandom::fill(bytes).expect("the operating system has randomness"),
            Some(counter) => {
                for chunk in bytes.chunks_mut(32) {
                    let drawn = counter.drawn.fetch_add(1, Ordering::Relaxed);
                    let digest = Sha256::digest([counter.seed.to_be_bytes(), drawn.to_be_bytes()].concat());
                    chunk.copy_from_slice(&digest[..chunk.len()]);
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn seeded_sources_repeat_and_system_ones_do_not() {
        let draw = |source: IdSource| (source.uuid(Timestamp::from_millis(5)), source.secret("pb_"));
        assert_eq!(draw(IdSource::seeded(1)), draw(IdSource::seeded(1)));
        assert_ne!(draw(IdSource::seeded(1)), draw(IdSource::seeded(2)));
        assert_ne!(draw(IdSource::system()), draw(IdSource::system()));
    }

    #[test]
    fn secrets_have_their_length() {
        assert_eq!(IdSource::system().secret("pb_").len(), 47);
        assert_eq!(IdSource::system().password().len(), 24);
        assert_eq!(IdSource::system().webhook_secret().len(), "whsec_".len() + 44);
        let key = IdSource::system().given_secret("whsk_");
        assert!(webhook_key::WebhookKey::of(&key).is_some() && IdSource::system().secret_like(&key) != key);
        assert_eq!(IdSource::system().given_secret("own"), "own");
    }
}
