//! One-time codes of six digits that change each half minute (RFC 6238, with HMAC-SHA-1 as all of its apps expect), and
//! recovery codes for the day the telephone is gone.

use aws_lc_rs::hmac;

use super::secret::Secret;
use super::time::Timestamp;
use super::token::{base32, unbase32};

/// Seconds of a step.
const STEP_SECS: i64 = 30;
/// Bytes of a secret (RFC 4226 §4, R6).
pub const SECRET_BYTES: usize = 20;
/// Recovery codes that are given out together.
pub const RECOVERY_CODES: usize = 10;

/// The second factor of a person.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SecondFactor {
    /// The shared secret, in base32.
    pub secret: Secret,
    /// SHA-256 of the recovery codes that are left, in hexadecimal.
    pub recovery: Vec<String>,
}

/// The code of a step; `None` when the secret is no base32.
fn code(secret: &Secret, step: i64) -> Option<String> {
    let key = unbase32(&secret.reveal().to_lowercase())?;
    let key = hmac::Key::new(hmac::HMAC_SHA1_FOR_LEGACY_USE_ONLY, &key);
    let tag = hmac::sign(&key, &step.to_be_bytes());
    let tag = tag.as_ref();
    let offset = usize::from(tag.last()? & 0x0f);
    let part: [u8; 4] = tag.get(offset..offset + 4)?.try_into().ok()?;
    let number = u32::from_be_bytes(part) & 0x7fff_ffff;
    Some(format!("{:06}", number % 1_000_000))
}

/// The step that `typed` is the code of at `now`, one step early or late allowed (RFC 6238 §5.2); `None` when it is wrong.
pub fn step_of(secret: &Secret, typed: &str, now: Timestamp) -> Option<i64> {
    let typed: String = typed.chars().filter(|c| !c.is_whitespace()).collect();
    let current = now.as_millis().div_euclid(STEP_SECS * 1000);
    let is_right = |step: &i64| {
        let code = code(secret, *step).unwrap_or_default();
        !code.is_empty() && bool::from(subtle::ConstantTimeEq::ct_eq(code.as_bytes(), typed.as_bytes()))
    };
    [current, current - 1, current + 1].into_iter().find(is_right)
}

/// What apps are shown: as a picture, or to be typed.
pub fn uri(secret: &Secret, email: &str) -> String {
    let encoded: String = form_urlencoded::byte_serialize(email.as_bytes()).collect();
    format!("otpauth://totp/Postback:{encoded}?secret={}&issuer=Postback", secret.reveal())
}

/// A secret of these bytes.
pub fn secret_of(bytes: [u8; SECRET_BYTES]) -> Secret {
    Secret::new(base32(&bytes).to_uppercase())
}

/// A recovery code of these bytes: `abcde-fghij`.
pub fn recovery_code(bytes: [u8; 10]) -> String {
    let text = base32(&bytes);
    let (first, second) = text.split_at(8);
    format!("{first}-{second}")
}

/// A recovery code as it was typed, without blanks, hyphens and capitals.
pub fn folded(typed: &str) -> String {
    typed.chars().filter(char::is_ascii_alphanumeric).map(|c| c.to_ascii_lowercase()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// RFC 6238, appendix B, in six digits.
    #[test]
    fn the_codes_of_the_rfc() {
        let secret = secret_of(*b"12345678901234567890");
        let check = |secs: i64, expected: &str| {
            let now = Timestamp::from_millis(secs * 1000);
            assert_eq!(step_of(&secret, expected, now), Some(secs / 30), "{secs}");
            assert_eq!(code(&secret, secs / 30).as_deref(), Some(expected));
        };
        check(59, "287082");
        check(1_111_111_109, "081804");
        check(1_234_567_890, "005924");
        check(20_000_000_000, "353130");
    }

    #[test]
    fn early_late_and_wrong() {
        let secret = secret_of(*b"12345678901234567890");
        let check = |secs: i64, typed: &str, expected: Option<i64>| {
            assert_eq!(step_of(&secret, typed, Timestamp::from_millis(secs * 1000)), expected, "{secs} {typed}");
        };
        check(59 + 30, "287082", Some(1));
        check(59 - 30, " 287 082 ", Some(1));
        check(59 + 61, "287082", None);
        check(59, "287083", None);
        check(59, "", None);
        assert_eq!(step_of(&Secret::new("not base 32!"), "", Timestamp::from_millis(0)), None);
    }

    #[test]
    fn texts() {
        let code = recovery_code([7; 10]);
        assert_eq!((code.len(), folded(&code.to_uppercase())), (17, code.replace('-', "")));
        let uri = uri(&secret_of([0; 20]), "ann+x@example.com");
        assert_eq!(
            uri,
            format!("otpauth://totp/Postback:ann%2Bx%40example.com?secret={}&issuer=Postback", "A".repeat(32))
        );
    }
}
