//! Secrets at rest: sealed under the installation's master key, so that a copy of the database alone tells none of them.
//!
//! AES-256-GCM-SIV (RFC 8452) with a key of its own for each place, derived by HKDF-Expand (RFC 5869 §2.3), and the
//! place as associated data: what is sealed for one row and column opens nowhere else. The nonce is fixed, which this
//! cipher allows: sealing needs no randomness, and a reader of the database learns no more than whether the secret of
//! one place is still the same.
//!
//! ```text
//! sealed1. base64url( ciphertext | tag )
//! ```
//!
//! The empty text stays empty. The key comes from `app`, which keeps it out of the database; only `store` seals.

use std::fmt;

use aws_lc_rs::aead::{AES_256_GCM_SIV, Aad, LessSafeKey, Nonce, UnboundKey};
use base64::Engine;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;

const PREFIX: &str = "sealed1.";
const NONCE: [u8; 12] = [0; 12];

/// The key of all secrets of an installation. `Debug` prints none of it.
#[derive(Clone, PartialEq, Eq)]
pub struct MasterKey([u8; 32]);

/// What is stored was sealed with another key, for another place, or is damaged.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("it was sealed with another master key, for another place, or is damaged")]
pub struct Unopened;

impl fmt::Debug for MasterKey {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str("MasterKey(***)")
    }
}

impl MasterKey {
    /// The key of these bytes.
    pub const fn new(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }

    /// The key that a text stands for: the base64 of 32 bytes, blanks around it aside.
    pub fn from_text(text: &str) -> Option<Self> {
        STANDARD.decode(text.trim()).ok()?.try_into().ok().map(Self)
    }

    /// The key as text, for the file that keeps it.
    pub fn reveal(&self) -> String {
        STANDARD.encode(self.0)
    }

    /// Seals `text` for `place`, which names table, column and row. The same text at the same place seals the same.
    pub fn seal(&self, place: &str, text: &str) -> String {
        if text.is_empty() {
            return String::new();
        }
        let mut bytes = text.as_bytes().to_vec();
        let key = self.cipher(place);
        let tag = key
            .seal_in_place_separate_tag(Nonce::assume_unique_for_key(NONCE), Aad::from(place), &mut bytes)
            .expect("texts are far shorter than 64 GiB");
        bytes.extend_from_slice(tag.as_ref());
        format!("{PREFIX}{}", URL_SAFE_NO_PAD.encode(bytes))
    }

    /// The text that was sealed for `place`. One that was stored before there was sealing is given back as it is.
    ///
    /// # Errors
    /// Another key, another place, or damage.
    pub fn open(&self, place: &str, sealed: &str) -> Result<String, Unopened> {
        let Some(text) = sealed.strip_prefix(PREFIX) else { return Ok(sealed.to_owned()) };
        let mut bytes = URL_SAFE_NO_PAD.decode(text).map_err(|_| Unopened)?;
        let key = self.cipher(place);
        let opened = key.open_in_place(Nonce::assume_unique_for_key(NONCE), Aad::from(place), &mut bytes);
        let text = opened.map_err(|_| Unopened)?;
        String::from_utf8(text.to_vec()).map_err(|_| Unopened)
    }

    /// One block of HKDF-Expand is the 32 bytes that the cipher takes.
    fn cipher(&self, place: &str) -> LessSafeKey {
        let mut expand: Hmac<Sha256> = Hmac::new_from_slice(&self.0).expect("HMAC takes a key of any length");
        expand.update(b"seal1\0");
        expand.update(place.as_bytes());
        expand.update(&[1]);
        let key = UnboundKey::new(&AES_256_GCM_SIV, &expand.finalize().into_bytes());
        LessSafeKey::new(key.expect("the cipher takes 32 bytes"))
    }
}

/// Whether a stored text is sealed. One that is not was stored before there was sealing.
pub fn is_sealed(stored: &str) -> bool {
    stored.is_empty() || stored.starts_with(PREFIX)
}

#[cfg(test)]
mod tests {
    use super::*;

    const KEY: MasterKey = MasterKey::new([7; 32]);

    #[test]
    fn what_is_sealed_opens_in_its_place_with_its_key_only() {
        for text in ["x", "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw", "sealed1.", "é\u{1f511}\n\0"] {
            let sealed = KEY.seal("webhooks.secret/1", text);
            assert!(is_sealed(&sealed) && (text.len() < 9 || !sealed.contains(text)), "{sealed}");
            assert_eq!(sealed, KEY.seal("webhooks.secret/1", text));
            assert_eq!(KEY.open("webhooks.secret/1", &sealed).as_deref(), Ok(text));
            assert_eq!(KEY.open("webhooks.secret/2", &sealed), Err(Unopened));
            assert_eq!(MasterKey::new([8; 32]).open("webhooks.secret/1", &sealed), Err(Unopened));
            assert_ne!(sealed, KEY.seal("webhooks.secret/2", text));
            for at in PREFIX.len()..sealed.len() {
                let mut damaged = sealed.clone().into_bytes();
                damaged[at] = if damaged[at] == b'A' { b'B' } else { b'A' };
                assert_eq!(KEY.open("webhooks.secret/1", &String::from_utf8(damaged).unwrap()), Err(Unopened));
            }
        }
    }

    #[test]
    fn nothing_stays_nothing_and_old_rows_stay_readable() {
        assert_eq!(KEY.seal("a", ""), "");
        assert_eq!(KEY.open("a", "").as_deref(), Ok(""));
        assert_eq!(KEY.open("a", "plain").as_deref(), Ok("plain"));
        assert!(is_sealed("") && !is_sealed("plain"));
        for damaged in ["sealed1.", "sealed1.AAAA", "sealed1.*"] {
            assert_eq!(KEY.open("a", damaged), Err(Unopened), "{damaged}");
        }
    }

    #[test]
    fn keys_are_text_in_their_file() {
        assert_eq!(MasterKey::from_text(&format!(" {}\n", KEY.reveal())), Some(KEY));
        assert_eq!(MasterKey::from_text("AAAA"), None);
        assert_eq!(format!("{KEY:?}"), "MasterKey(***)");
    }
}
