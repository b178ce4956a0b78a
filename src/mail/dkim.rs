//! DKIM signatures over a finished mail: RSA and Ed25519 at once.
//!
//! RFC 6376 with RFC 8301 (SHA-256, keys of at least 2,048 bits) and RFC 8463, canonicalised relaxed/relaxed. Header and
//! body are canonicalised and hashed once for all keys. The fields that make a mail what it is are named once more than
//! they stand there, so that none can be added. The same mail, keys and time give the same signature. Nothing may change
//! a mail after this but the transport's dots. Called by `deliver`, last of all; keys come from `store::domains`.

use aws_lc_rs::digest::{self, SHA256};
use aws_lc_rs::encoding::{AsDer, Pkcs8V1Der, PublicKeyX509Der};
use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::signature::{Ed25519KeyPair, KeyPair, RSA_PKCS1_SHA256, RsaKeyPair};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use memchr::{memchr_iter, memchr2};
use rustls::pki_types::PrivateKeyDer;
use rustls::pki_types::pem::PemObject;

use super::headers::{self, Field};
use crate::model::id::TenantId;
use crate::model::signing_key::{Algorithm, KeyState, SigningKey};
use crate::model::time::Timestamp;

/// Fields that are signed where they are present, and whether one more of them is ruled out.
const SIGNED: &[(&str, Extra)] = &[
    ("From", Extra::RuledOut),
    ("Reply-To", Extra::RuledOut),
    ("To", Extra::RuledOut),
    ("Cc", Extra::RuledOut),
    ("Subject", Extra::RuledOut),
    ("Date", Extra::RuledOut),
    ("Message-ID", Extra::RuledOut),
    ("MIME-Version", Extra::RuledOut),
    ("Content-Type", Extra::RuledOut),
    ("Content-Transfer-Encoding", Extra::RuledOut),
    ("List-Unsubscribe", Extra::RuledOut),
    ("List-Unsubscribe-Post", Extra::RuledOut),
    ("Sender", Extra::Allowed),
    ("In-Reply-To", Extra::Allowed),
    ("References", Extra::Allowed),
    ("Auto-Submitted", Extra::Allowed),
    ("List-Id", Extra::Allowed),
    ("List-Help", Extra::Allowed),
    ("List-Subscribe", Extra::Allowed),
    ("List-Owner", Extra::Allowed),
    ("List-Archive", Extra::Allowed),
    ("Feedback-ID", Extra::Allowed),
    ("X-Postback-Ref", Extra::Allowed),
];

/// Whether somebody on the way may add one more of a field.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Extra {
    RuledOut,
    Allowed,
}

/// Signature text and field names go up to here in a line.
const LINE_CHARS: usize = 72;
/// Canonical body that is gathered before it is hashed.
const GATHERED_BYTES: usize = 16 * 1024;

/// A private key that cannot sign.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadKey {
    /// No PEM with a private key in it.
    #[error("there is no private key in it (PEM, PKCS#8 or PKCS#1, without a passphrase)")]
    NoKey,
    /// Neither RSA of 2,048 bits or more nor Ed25519.
    #[error("it is neither an RSA key of at least 2048 bits nor an Ed25519 key")]
    Unusable,
}

/// A key, ready to sign.
pub struct Key(Pair);

enum Pair {
    Rsa(RsaKeyPair),
    Ed25519(Ed25519KeyPair),
}

impl std::fmt::Debug for Key {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(out, "Key({})", self.algorithm().as_str())
    }
}

impl Key {
    /// A key from its PKCS#8 form, as it is kept.
    ///
    /// # Errors
    /// `Unusable`.
    pub fn from_pkcs8(der: &[u8]) -> Result<Self, BadKey> {
        let rsa = || RsaKeyPair::from_pkcs8(der).map(Pair::Rsa);
        let ed25519 = || Ed25519KeyPair::from_pkcs8_maybe_unchecked(der).map(Pair::Ed25519);
        ed25519().or_else(|_| rsa()).map(Self).map_err(|_| BadKey::Unusable)
    }

    /// A key from a PEM file as OpenSSL writes it.
    ///
    /// # Errors
    /// [`BadKey`].
    pub fn from_pem(pem: &[u8]) -> Result<Self, BadKey> {
        match PrivateKeyDer::from_pem_slice(pem).map_err(|_| BadKey::NoKey)? {
            PrivateKeyDer::Pkcs8(der) => Self::from_pkcs8(der.secret_pkcs8_der()),
            PrivateKeyDer::Pkcs1(der) => {
                let pair = RsaKeyPair::from_der(der.secret_pkcs1_der());
                pair.map(|pair| Self(Pair::Rsa(pair))).map_err(|_| BadKey::Unusable)
            }
            _ => Err(BadKey::Unusable),
        }
    }

    /// Its PKCS#8 form, to be kept.
    ///
    /// # Errors
    /// `Unusable`; never for a key that was read.
    pub fn to_pkcs8(&self) -> Result<Vec<u8>, BadKey> {
        match &self.0 {
            Pair::Rsa(pair) => {
                let der: Pkcs8V1Der<'_> = pair.as_der().map_err(|_| BadKey::Unusable)?;
                Ok(der.as_ref().to_vec())
            }
            Pair::Ed25519(pair) => Ok(pair.to_pkcs8v1().map_err(|_| BadKey::Unusable)?.as_ref().to_vec()),
        }
    }

    /// How it signs.
    pub fn algorithm(&self) -> Algorithm {
        match self.0 {
            Pair::Rsa(_) => Algorithm::Rsa,
            Pair::Ed25519(_) => Algorithm::Ed25519,
        }
    }

    /// Its public half as the `p=` of a record has it.
    ///
    /// # Errors
    /// `Unusable`; never for a key that was read.
    pub fn public(&self) -> Result<String, BadKey> {
        match &self.0 {
            Pair::Rsa(pair) => {
                let der: PublicKeyX509Der<'_> = pair.public_key().as_der().map_err(|_| BadKey::Unusable)?;
                Ok(STANDARD.encode(der.as_ref()))
            }
            Pair::Ed25519(pair) => Ok(STANDARD.encode(pair.public_key().as_ref())),
        }
    }

    /// The key as it is kept: waiting for its record to be seen.
    ///
    /// # Errors
    /// `Unusable`; never for a key that was read.
    pub fn described(
        &self,
        tenant: TenantId,
        domain: &str,
        selector: &str,
        now: Timestamp,
    ) -> Result<SigningKey, BadKey> {
        Ok(SigningKey {
            tenant,
            domain: domain.to_owned(),
            selector: selector.to_owned(),
            algorithm: self.algorithm(),
            state: KeyState::Waiting,
            public: self.public()?,
            created_at: now,
            state_since: now,
        })
    }

    /// The signature of a header's canonical form; empty when the library fails, which it has no reason to.
    fn sign(&self, header: &[u8]) -> Vec<u8> {
        match &self.0 {
            Pair::Rsa(pair) => {
                let mut signature = vec![0; pair.public_modulus_len()];
                let signed = pair.sign(&RSA_PKCS1_SHA256, &SystemRandom::new(), header, &mut signature);
                signed.map(|()| signature).unwrap_or_default()
            }
            Pair::Ed25519(pair) => pair.sign(digest::digest(&SHA256, header).as_ref()).as_ref().to_vec(),
        }
    }
}

/// A key with its place in the DNS.
#[derive(Debug)]
pub struct Signer {
    /// The domain that answers for the mail: the author's, or one above it.
    pub domain: String,
    /// The name of the key there.
    pub selector: String,
    /// The key.
    pub key: Key,
}

/// The `DKIM-Signature` fields of `message`, one for each signer, to be put on top of it. `message` has CRLF line ends;
/// what the last line lacks the transport adds, which these signatures allow for.
pub fn signatures(message: &[u8], signers: &[Signer], at: Timestamp) -> String {
    let body_hash = STANDARD.encode(body_digest(&message[headers::body_start(message)..]));
    let (names, canonical) = header(message);
    signers.iter().map(|signer| signature(signer, &names, &canonical, &body_hash, at)).collect()
}

fn signature(signer: &Signer, names: &[&str], canonical: &[u8], body_hash: &str, at: Timestamp) -> String {
    let Signer { domain, selector, key } = signer;
    let mut field = format!(
        "DKIM-Signature: v=1; a={}-sha256; c=relaxed/relaxed; d={domain};\r\n\ts={selector}; t={};\r\n\th=",
        key.algorithm().as_str(),
        at.as_secs(),
    );
    let mut line_start = field.len();
    for (place, name) in names.iter().enumerate() {
        if place > 0 {
            field.push(':');
        }
        if field.len() - line_start + name.len() > LINE_CHARS {
            field.push_str("\r\n\t");
            line_start = field.len();
        }
        field.push_str(name);
    }
    field.push_str(&format!(";\r\n\tbh={body_hash};\r\n\tb="));
    let mut signed = canonical.to_vec();
    canonical_field(&headers::fields(field.as_bytes()).next().expect("it is a field"), &mut signed);
    // The field being made is the one without a line end (RFC 6376 §3.7).
    signed.truncate(signed.len() - 2);
    let signature = STANDARD.encode(key.sign(&signed));
    for (place, chunk) in signature.as_bytes().chunks(LINE_CHARS).enumerate() {
        field.push_str(if place > 0 { "\r\n\t" } else { "" });
        field.push_str(&String::from_utf8_lossy(chunk));
    }
    field.push_str("\r\n");
    field
}

/// The names for `h=` and the canonical fields that they stand for (RFC 6376 §5.4.2: of several, from the bottom up).
fn header(message: &[u8]) -> (Vec<&'static str>, Vec<u8>) {
    let fields: Vec<Field<'_>> = headers::fields(message).collect();
    let (mut names, mut canonical) = (Vec::new(), Vec::new());
    for (name, extra) in SIGNED {
        for field in fields.iter().rev().filter(|field| field.is(name)) {
            names.push(*name);
            canonical_field(field, &mut canonical);
        }
        names.extend((*extra == Extra::RuledOut).then_some(*name));
    }
    (names, canonical)
}

/// RFC 6376 §3.4.2.
fn canonical_field(field: &Field<'_>, into: &mut Vec<u8>) {
    into.extend(field.name.iter().map(u8::to_ascii_lowercase));
    into.push(b':');
    let start = into.len();
    for byte in field.value.iter().copied().filter(|byte| !matches!(byte, b'\r' | b'\n')) {
        match byte {
            b' ' | b'\t' if into.len() == start || into.ends_with(b" ") => {}
            b' ' | b'\t' => into.push(b' '),
            _ => into.push(byte),
        }
    }
    if into.len() > start && into.ends_with(b" ") {
        into.pop();
    }
    into.extend_from_slice(b"\r\n");
}

/// SHA-256 of the body's canonical form (RFC 6376 §3.4.4).
fn body_digest(body: &[u8]) -> digest::Digest {
    let mut hash = digest::Context::new(&SHA256);
    let mut gathered = Vec::with_capacity(GATHERED_BYTES + 1024);
    let mut empty_lines = 0;
    let mut start = 0;
    for end in memchr_iter(b'\n', body).chain([body.len()]) {
        let line = body.get(start..end).unwrap_or_default();
        start = end + 1;
        let line = line.strip_suffix(b"\r").unwrap_or(line);
        let kept = line.iter().rposition(|byte| !is_blank(*byte)).map_or(0, |last| last + 1);
        if kept == 0 {
            empty_lines += 1;
            continue;
        }
        for _ in 0..std::mem::take(&mut empty_lines) {
            gathered.extend_from_slice(b"\r\n");
        }
        squeeze(&line[..kept], &mut gathered);
        gathered.extend_from_slice(b"\r\n");
        if gathered.len() >= GATHERED_BYTES {
            hash.update(&gathered);
            gathered.clear();
        }
    }
    hash.update(&gathered);
    hash.finish()
}

/// Each run of blanks becomes one.
fn squeeze(mut line: &[u8], into: &mut Vec<u8>) {
    while let Some(blank) = memchr2(b' ', b'\t', line) {
        into.extend_from_slice(&line[..blank]);
        into.push(b' ');
        let rest = &line[blank..];
        line = &rest[rest.iter().position(|byte| !is_blank(*byte)).unwrap_or(rest.len())..];
    }
    into.extend_from_slice(line);
}

fn is_blank(byte: u8) -> bool {
    matches!(byte, b' ' | b'\t')
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hash_of(body: &str) -> String {
        STANDARD.encode(body_digest(body.as_bytes()))
    }

    fn plain(canonical: &str) -> String {
        STANDARD.encode(digest::digest(&SHA256, canonical.as_bytes()))
    }

    #[test]
    fn bodies() {
        let check = |body: &str, canonical: &str| assert_eq!(hash_of(body), plain(canonical), "{body:?}");
        check(" C \r\nD \t E\r\n\r\n\r\n", " C\r\nD E\r\n");
        for empty in ["", "\r\n", "\r\n\r\n", " \r\n\t\r\n", "  "] {
            check(empty, "");
        }
        check("hello\r\n  \r\n", "hello\r\n");
        check("hello", "hello\r\n");
        check("\r\n\r\nhello \t\r\n \r\nbye", "\r\n\r\nhello\r\n\r\nbye\r\n");
        check(&format!("{}\r\n", "x y\t ".repeat(20_000)), &format!("{}\r\n", "x y ".repeat(20_000).trim_end()));
        let rfc_8463 = "Hi.\r\n\r\nWe lost the game.  Are you hungry yet?\r\n\r\nJoe.\r\n";
        assert_eq!(hash_of(rfc_8463), "2jUSOH9NhtVGCQWNr9BrIAPreKQjO6Sn7XIkfJVOzv8=");
    }

    #[test]
    fn fields() {
        let check = |field: &str, canonical: &str| {
            let mut into = Vec::new();
            canonical_field(&headers::fields(field.as_bytes()).next().unwrap(), &mut into);
            assert_eq!(String::from_utf8(into).unwrap(), canonical, "{field:?}");
        };
        check("A: X\r\n", "a:X\r\n");
        check("B : Y\t\r\n\tZ  \r\n", "b:Y Z\r\n");
        check("Subject:\r\n", "subject:\r\n");
        check("Subject: \t \r\n \r\n", "subject:\r\n");
        check("Subject:  ü  =?x?=\r\n", "subject:ü =?x?=\r\n");
    }

    #[test]
    fn what_is_signed_cannot_be_said_twice() {
        let message = b"From: a@b.example\r\nReferences: <1>\r\nX-Other: x\r\nreferences: <2>\r\n\r\nbody\r\n";
        let (names, canonical) = header(message);
        let names = names.join(":");
        assert!(names.starts_with("From:From:Reply-To:To:Cc:Subject:"), "{names}");
        assert!(names.ends_with("List-Unsubscribe-Post:References:References"), "{names}");
        assert_eq!(String::from_utf8(canonical).unwrap(), "from:a@b.example\r\nreferences:<2>\r\nreferences:<1>\r\n");
    }

    #[test]
    fn keys_are_read_and_written() {
        let pair = Ed25519KeyPair::from_seed_unchecked(&[7; 32]).unwrap();
        let key = Key(Pair::Ed25519(pair));
        let again = Key::from_pkcs8(&key.to_pkcs8().unwrap()).unwrap();
        assert_eq!((again.public(), again.algorithm()), (key.public(), Algorithm::Ed25519));
        let pem = format!(
            "-----BEGIN PRIVATE KEY-----\n{}\n-----END PRIVATE KEY-----\n",
            STANDARD.encode(key.to_pkcs8().unwrap())
        );
        assert_eq!(Key::from_pem(pem.as_bytes()).unwrap().public(), key.public());
        assert_eq!(Key::from_pem(b"no key").unwrap_err(), BadKey::NoKey);
        assert_eq!(Key::from_pkcs8(b"no key").unwrap_err(), BadKey::Unusable);
    }

    #[test]
    fn a_signature_has_short_lines_and_the_same_bytes_each_time() {
        let signer = |seed: u8| Signer {
            domain: "example.com".into(),
            selector: "sel".into(),
            key: Key(Pair::Ed25519(Ed25519KeyPair::from_seed_unchecked(&[seed; 32]).unwrap())),
        };
        let message = b"From: a@example.com\r\nSubject: x\r\n\r\nbody\r\n";
        let sign = || signatures(message, &[signer(1), signer(2)], Timestamp::from_millis(1_800_000_000_000));
        assert_eq!(sign(), sign());
        assert!(sign().lines().all(|line| line.len() <= 78 + 2), "{}", sign());
        assert_eq!(sign().matches("DKIM-Signature: v=1; a=ed25519-sha256;").count(), 2);
        assert_eq!(signatures(message, &[], Timestamp::default()), "");
    }
}
