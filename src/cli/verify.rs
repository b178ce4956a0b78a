//! Whether a webhook request is what it says: the checks that receivers make, for those who write one and for the demo.
//!
//! Knows secrets as a customer does and shares no code with the signing side: a signature that passes here was made by
//! the rules of the documents, not by our own hand twice.

use std::collections::HashMap;

use aws_lc_rs::signature::{ED25519, UnparsedPublicKey};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use hmac::{Hmac, KeyInit, Mac};
use hyper::HeaderMap;
use postback::model::time::Timestamp;
use postback::model::webhook::Format;
use sha2::Sha256;

/// How far a request's time may be off, in milliseconds.
const AGE_MAX_MILLIS: i64 = 5 * 60 * 1000;

/// A request, read.
pub(super) struct Verified {
    /// The JSON text, as it was signed.
    pub(super) json: Vec<u8>,
    /// Each signature that there was, by its header, and what is wrong with it, if anything.
    pub(super) signatures: Vec<(&'static str, Result<(), &'static str>)>,
}

impl Verified {
    /// Whether there was a signature, and none was wrong.
    pub(super) fn is_good(&self) -> bool {
        !self.signatures.is_empty() && self.signatures.iter().all(|(_, checked)| checked.is_ok())
    }
}

/// Reads and checks a request; its age too, when it is known what time it is.
pub(super) fn verify(
    format: Format,
    secret: &str,
    headers: &HeaderMap,
    body: &[u8],
    now: Option<Timestamp>,
) -> Verified {
    let json = if format == Format::Transmail { form_value(body) } else { body.to_vec() };
    let mut signatures = Vec::new();
    let header = |name: &str| headers.get(name).and_then(|value| value.to_str().ok());
    if let Some(signature) = header("x-mailtura-signature") {
        signatures.push(("X-Mailtura-Signature", mailtura(secret, signature, body)));
    }
    if let Some(signature) = header("producer-signature") {
        signatures.push(("producer-signature", producer(secret, signature, &json, now)));
    }
    if let Some(listed) = header("webhook-signature") {
        let named = header("webhook-id").zip(header("webhook-timestamp"));
        let checked = named.map_or(Err("webhook-id or webhook-timestamp is missing"), |(id, at)| {
            standard(secret, listed, id, at, body, now)
        });
        signatures.push(("webhook-signature", checked));
    }
    Verified { json, signatures }
}

/// What stands after the first `=` of a form, as TransMail's sample reads it.
fn form_value(body: &[u8]) -> Vec<u8> {
    let spaced: Vec<u8> = body.iter().map(|byte| if *byte == b'+' { b' ' } else { *byte }).collect();
    let decoded: Vec<u8> = percent_encoding::percent_decode(&spaced).collect();
    let at = decoded.iter().position(|byte| *byte == b'=').map_or(decoded.len(), |at| at + 1);
    decoded.get(at..).unwrap_or_default().to_vec()
}

/// As Mailtura's samples do: HMAC-SHA256 of the raw body with the secret's text, in lower-case hexadecimal.
fn mailtura(secret: &str, signature: &str, body: &[u8]) -> Result<(), &'static str> {
    let hexadecimal: String = mac(secret.as_bytes(), &[body]).iter().map(|byte| format!("{byte:02x}")).collect();
    if hexadecimal == signature { Ok(()) } else { Err("it was made with another secret, or over another body") }
}

/// As TransMail's sample does: the whole header is URL-decoded, split, and `s` compared as bytes.
fn producer(secret: &str, signature: &str, json: &[u8], now: Option<Timestamp>) -> Result<(), &'static str> {
    let spaced = signature.replace('+', " ");
    let decoded = percent_encoding::percent_decode_str(&spaced).decode_utf8_lossy().into_owned();
    let fields: HashMap<&str, &str> = decoded.split(';').filter_map(|field| field.split_once('=')).collect();
    let at = fields.get("ts").filter(|ts| ts.len() == 13).and_then(|ts| ts.parse::<i64>().ok());
    let Some(at) = at else { return Err("ts is not 13 digits") };
    if fields.get("s-algorithm") != Some(&"HmacSHA256") {
        return Err("s-algorithm is not HmacSHA256");
    }
    if is_old(at, now) {
        return Err("it is older than five minutes");
    }
    let given = fields.get("s").and_then(|given| STANDARD.decode(given).ok());
    let is_right = given.as_deref() == Some(&mac(secret.as_bytes(), &[json])[..]);
    if is_right { Ok(()) } else { Err("it was made with another key, or over another text") }
}

/// As the Standard Webhooks libraries do: one good `v1` among those listed will do, or `v1a` for who has a public key.
fn standard(
    secret: &str,
    listed: &str,
    id: &str,
    at: &str,
    body: &[u8],
    now: Option<Timestamp>,
) -> Result<(), &'static str> {
    let key = |prefix: &str| secret.strip_prefix(prefix).and_then(|text| STANDARD.decode(text).ok());
    let (public, key) = (key("whpk_"), key("whsec_").filter(|key| !key.is_empty()));
    let Ok(secs) = at.parse::<i64>() else { return Err("webhook-timestamp is not a number") };
    if is_old(secs.saturating_mul(1000), now) {
        return Err("it is older than five minutes");
    }
    let text = [id.as_bytes(), b".", at.as_bytes(), b".", body];
    let is_right = match (public, key) {
        (Some(public), _) => {
            let key = UnparsedPublicKey::new(&ED25519, public);
            let given = listed.split(' ').filter_map(|each| STANDARD.decode(each.strip_prefix("v1a,")?).ok());
            let text = text.concat();
            given.into_iter().any(|given| key.verify(&text, &given).is_ok())
        }
        (None, Some(key)) => {
            let expected = STANDARD.encode(mac(&key, &text));
            listed.split(' ').any(|each| each.strip_prefix("v1,") == Some(expected.as_str()))
        }
        (None, None) => return Err("the secret is neither a whsec_ one nor a whpk_ key"),
    };
    if is_right { Ok(()) } else { Err("none of those listed was made with this secret over this body") }
}

fn is_old(at: i64, now: Option<Timestamp>) -> bool {
    now.is_some_and(|now| now.as_millis().saturating_sub(at).abs() > AGE_MAX_MILLIS)
}

fn mac(key: &[u8], parts: &[&[u8]]) -> [u8; 32] {
    let mut mac: Hmac<Sha256> = Hmac::new_from_slice(key).expect("HMAC takes a key of any length");
    parts.iter().for_each(|part| mac.update(part));
    mac.finalize().into_bytes().into()
}
