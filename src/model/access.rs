//! Access tokens: what a client gets for an API key, good for a while. Sealed like other tokens, looked up nowhere.
//!
//! ```text
//! 1000.    as ZeptoMail's begin
//! byte 0        version 1 (high 3 bits) | key id (low 5 bits)
//! bytes 1..17   credential id
//! bytes 17..25  when it ends, milliseconds since the epoch, big endian
//! last 16       HMAC-SHA256(key, "acc1" 00 | all before), first half
//! as lower-case hexadecimal digits
//! ```

use hmac::Mac;
use subtle::ConstantTimeEq;

use super::id::CredentialId;
use super::time::Timestamp;
use super::token::{KeyRing, MAC_BYTES, half};

const PREFIX: &str = "1000.";
const VERSION: u8 = 1 << 5;
const KEY_ID_MASK: u8 = 0x1f;
const SAID_BYTES: usize = 25;

/// The token's text; `None` when the ring is empty.
pub fn seal(ring: &KeyRing, credential: CredentialId, expires_at: Timestamp) -> Option<String> {
    let key_id = ring.newest()?;
    let mut bytes = Vec::with_capacity(SAID_BYTES + MAC_BYTES);
    bytes.push(VERSION | (key_id & KEY_ID_MASK));
    bytes.extend_from_slice(credential.as_bytes());
    bytes.extend_from_slice(&expires_at.as_millis().to_be_bytes());
    let mac = sealed(ring, key_id, &bytes)?;
    bytes.extend_from_slice(&mac);
    Some(bytes.iter().fold(PREFIX.to_owned(), |text, byte| text + &format!("{byte:02x}")))
}

/// The credential that a token stands for; `None` for what we did not seal, and for what has ended by `now`.
pub fn open(ring: &KeyRing, text: &str, now: Timestamp) -> Option<CredentialId> {
    let digits = text.strip_prefix(PREFIX).filter(|digits| digits.len() == 2 * (SAID_BYTES + MAC_BYTES))?;
    let digits = digits.as_bytes().chunks(2).map(|pair| u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok());
    let bytes: Vec<u8> = digits.collect::<Option<_>>()?;
    let (said, mac) = bytes.split_at_checked(SAID_BYTES)?;
    let first = *said.first()?;
    let expected = sealed(ring, first & KEY_ID_MASK, said)?;
    let expires_at = i64::from_be_bytes(said.get(17..25)?.try_into().ok()?);
    let is_good = first & !KEY_ID_MASK == VERSION && bool::from(expected.ct_eq(mac)) && now.as_millis() < expires_at;
    is_good.then_some(CredentialId::from_bytes(said.get(1..17)?.try_into().ok()?))
}

fn sealed(ring: &KeyRing, key_id: u8, said: &[u8]) -> Option<[u8; MAC_BYTES]> {
    Some(half(ring.derived(key_id, b"access", "")?.chain_update(b"acc1\0").chain_update(said)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::token::Key;

    #[test]
    fn only_what_was_sealed_here_opens_and_only_for_a_while() {
        let ring = |secret| KeyRing::new(vec![Key { id: 3, secret: [secret; 32] }]);
        let (credential, end) = (CredentialId::from_bytes([9; 16]), Timestamp::from_millis(1_000));
        let token = seal(&ring(1), credential, end).unwrap();
        let before = Timestamp::from_millis(999);
        assert_eq!((token.len(), open(&ring(1), &token, before)), (87, Some(credential)));
        assert_eq!(open(&ring(1), &token, end), None);
        assert_eq!(open(&ring(2), &token, before), None);
        for at in 0..token.len() {
            let mut other = token.clone().into_bytes();
            other[at] = if other[at] == b'0' { b'1' } else { b'0' };
            assert_eq!(open(&ring(1), std::str::from_utf8(&other).unwrap(), before), None, "{at}");
        }
        for text in ["", "1000.", "1000.zz", &token[..86], "é"] {
            assert_eq!(open(&ring(1), text, before), None, "{text}");
        }
        assert_eq!(seal(&KeyRing::default(), credential, end), None);
    }
}
