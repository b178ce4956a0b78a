//! Ed25519 keys of webhooks, as Standard Webhooks writes them: who verifies needs no secret. Pure.
//!
//! | text | is the base64 of |
//! |---|---|
//! | `whsk_…` | what signs: a seed of 32 bytes, alone or with its public key behind it (64) |
//! | `whpk_…` | what receivers verify with: the public key, 32 bytes |
//!
//! A signing key stands where a webhook's secret does. HMAC with it would prove nothing to who has the public key, so
//! such a webhook has no header but those of Standard Webhooks, which forms have none of.

use aws_lc_rs::signature::{Ed25519KeyPair, KeyPair};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;

/// How keys that sign begin. Alone it stands for one that is still to be made.
pub const PRIVATE_PREFIX: &str = "whsk_";
/// How keys that verify begin.
pub const PUBLIC_PREFIX: &str = "whpk_";

const SEED_BYTES: usize = 32;

/// A key that signs.
#[derive(Debug)]
pub struct WebhookKey(Ed25519KeyPair);

impl WebhookKey {
    /// The key that a webhook's secret is; `None` when it is a secret of another kind, or no key.
    pub fn of(secret: &str) -> Option<Self> {
        let bytes = STANDARD.decode(secret.strip_prefix(PRIVATE_PREFIX)?).ok()?;
        let (seed, public) = bytes.split_at_checked(SEED_BYTES)?;
        let pair = match public {
            [] => Ed25519KeyPair::from_seed_unchecked(seed),
            public => Ed25519KeyPair::from_seed_and_public_key(seed, public),
        };
        pair.ok().map(Self)
    }

    /// The signature of a text (RFC 8032 §5.1.6), 64 bytes, the same each time.
    pub fn sign(&self, text: &[u8]) -> Vec<u8> {
        self.0.sign(text).as_ref().to_vec()
    }

    /// What receivers verify with: `whpk_…`.
    pub fn public(&self) -> String {
        format!("{PUBLIC_PREFIX}{}", STANDARD.encode(self.0.public_key().as_ref()))
    }
}

/// Whether a secret is, or would be, a key that signs.
pub fn is_private(secret: &str) -> bool {
    secret.starts_with(PRIVATE_PREFIX)
}

/// The text of the key with this seed.
pub fn private(seed: &[u8; SEED_BYTES]) -> String {
    let pair = Ed25519KeyPair::from_seed_unchecked(seed).expect("any 32 bytes are a seed");
    let whole = [seed.as_slice(), pair.public_key().as_ref()].concat();
    format!("{PRIVATE_PREFIX}{}", STANDARD.encode(whole))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// RFC 8032 §7.1, test 2.
    const SEED: &str = "4ccd089b28ff96da9db6c346ec114e0f5b8a319f35aba624da8cf6ed4fb8a6fb";
    const PUBLIC: &str = "3d4017c3e843895a92b70aa74d1b7ebc9c982ccf2ec4968cc0cd55f12af4660c";
    const SIGNATURE: &str = "92a009a9f0d4cab8720e820b5f642540a2b27b5416503f8fb3762223ebdb69da\
                             085ac1e43e15996e458f3613d0f11d8c387b2eaeb4302aeeb00d291612bb0c00";

    fn bytes(hexadecimal: &str) -> Vec<u8> {
        let digits = hexadecimal.as_bytes().chunks(2).map(|pair| std::str::from_utf8(pair).unwrap());
        digits.map(|pair| u8::from_str_radix(pair, 16).unwrap()).collect()
    }

    #[test]
    fn keys_are_read_with_and_without_their_public_half() {
        let seed: [u8; 32] = bytes(SEED).try_into().unwrap();
        let alone = format!("whsk_{}", STANDARD.encode(seed));
        for text in [private(&seed), alone] {
            let key = WebhookKey::of(&text).unwrap();
            assert_eq!(key.public(), format!("whpk_{}", STANDARD.encode(bytes(PUBLIC))));
            assert_eq!(key.sign(&[0x72]), bytes(SIGNATURE));
        }
        let torn = STANDARD.encode([bytes(SEED), bytes(SEED)].concat());
        for text in ["", "whsk_", "whsk_!", "whsk_AAAA", "whsec_AAAA", &format!("whsk_{torn}")] {
            assert!(WebhookKey::of(text).is_none(), "{text}");
        }
    }
}
