//! Signatures of webhook requests: three schemes, all HMAC-SHA256, one with Ed25519 beside it. Pure.
//!
//! They differ in key, input and spelling, and receivers compare byte for byte, so each is written once, here. All
//! sign the exact text that is sent. Whether a scheme applies to a webhook is decided in `formats`.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;

use crate::model::time::Timestamp;
use crate::model::webhook_key::WebhookKey;

/// How secrets of Standard Webhooks begin.
pub const STANDARD_PREFIX: &str = "whsec_";

/// `X-Mailtura-Signature`: 64 lower-case hexadecimal digits over the body. The key is the secret as it is shown,
/// prefix and all.
pub fn mailtura(secret: &str, body: &[u8]) -> String {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    let digit = |nibble: u8| char::from(DIGITS[usize::from(nibble & 15)]);
    mac(secret.as_bytes(), &[body]).into_iter().flat_map(|byte| [digit(byte >> 4), digit(byte)]).collect()
}

/// `producer-signature` over the JSON text, form-encoded or not. The time of the attempt goes along, unsigned. Every
/// `+`, `/` and `=` of the base64 is percent-encoded: receivers decode the whole header as a form before they split it,
/// which makes a bare `+` a space.
pub fn producer(authentication_key: &str, json: &[u8], attempt_at: Timestamp) -> String {
    let code = STANDARD.encode(mac(authentication_key.as_bytes(), &[json]));
    let code = code.replace('+', "%2B").replace('/', "%2F").replace('=', "%3D");
    format!("ts={};s={code};s-algorithm=HmacSHA256", attempt_at.as_millis())
}

/// `webhook-signature` of Standard Webhooks 1.0.0: `v1,` and the base64 of an HMAC over id, seconds of the attempt, and
/// body, where the secret is a `whsec_` one; `v1a,` and that of an Ed25519 signature, where it is a `whsk_` one. The key is
/// what the secret's base64 stands for. `None` for any other secret or one that has no key in it, or when the id has a dot,
/// which separates the signed parts.
pub fn standard(secret: &str, id: &str, attempt_at_secs: i64, body: &[u8]) -> Option<String> {
    if id.contains('.') {
        return None;
    }
    let head = format!("{id}.{attempt_at_secs}.");
    if let Some(key) = WebhookKey::of(secret) {
        return Some(format!("v1a,{}", STANDARD.encode(key.sign(&[head.as_bytes(), body].concat()))));
    }
    let key = STANDARD.decode(secret.strip_prefix(STANDARD_PREFIX)?).ok().filter(|key| !key.is_empty())?;
    Some(format!("v1,{}", STANDARD.encode(mac(&key, &[head.as_bytes(), body]))))
}

fn mac(key: &[u8], parts: &[&[u8]]) -> [u8; 32] {
    let mut mac = Hmac::<Sha256>::new_from_slice(key).expect("HMAC takes keys of any length");
    parts.iter().for_each(|part| mac.update(part));
    mac.finalize().into_bytes().into()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// RFC 4231 §4.3.
    #[test]
    fn mailtura_is_hex_of_the_body() {
        assert_eq!(
            mailtura("Jefe", b"what do ya want for nothing?"),
            "5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843"
        );
    }

    #[test]
    fn producer_is_three_parts_without_a_bare_plus() {
        let at = Timestamp::from_millis(1_596_109_465_823);
        assert_eq!(
            producer("Jefe", b"what do ya want for nothing?", at),
            "ts=1596109465823;s=W9zBRr9gdU5qBCQmCJV1x1oAPwidJzmDnexYuWTsOEM%3D;s-algorithm=HmacSHA256"
        );
        let (mut pluses, mut slashes) = (0, 0);
        for n in 0..100_u32 {
            let header = producer("key", &n.to_be_bytes(), at);
            assert!(header.is_ascii() && !header.contains(['+', '/', ' ']), "{header}");
            pluses += header.matches("%2B").count();
            slashes += header.matches("%2F").count();
            assert_eq!(header.matches('=').count(), 3, "{header}");
        }
        assert!(pluses > 10 && slashes > 10);
    }

    #[test]
    fn standard_agrees_with_published_vectors() {
        let check = |secret, id, at, body: &str, expected| {
            assert_eq!(standard(secret, id, at, body.as_bytes()).as_deref(), expected, "{secret} {id}");
        };
        check(
            "whsec_C2FVsBQIhrscChlQIMV+b5sSYspob7oD",
            "msg_27UH4WbU6Z5A5EzD8u03UvzRbpk",
            1_649_367_553,
            r#"{"email":"test@example.com","username":"test_user"}"#,
            Some("v1,tZ1I4/hDygAJgO5TYxiSd6Sd0kDW6hPenDe+bTa3Kkw="),
        );
        check(
            "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw",
            "msg_p5jXN8AQM9LWM0D4loKWxJek",
            1_614_265_330,
            r#"{"test": 2432232314}"#,
            Some("v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="),
        );
        // Made with Python's cryptography.
        check(
            "whsk_TM0Imyj/ltqdtsNG7BFOD1uKMZ81q6Yk2oz27U+4pvs=",
            "msg_p5jXN8AQM9LWM0D4loKWxJek",
            1_614_265_330,
            r#"{"test": 2432232314}"#,
            Some("v1a,7anDmyOh9LNskt5GJUTacHmbvyUkT0/S1jnxFAp+h2hcVXnQLWhtWA2+wP6vO0AUwEYP23IIZVuneGRhNj7hDQ=="),
        );
        check("MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw", "msg_1", 1, "", None);
        check("whsec_", "msg_1", 1, "", None);
        check("whsec_not base64", "msg_1", 1, "", None);
        check("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw", "msg.1", 1, "", None);
    }
}
