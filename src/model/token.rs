//! Sealed references that leave the house and come back: pixel, link, unsubscribe, return path.
//!
//! A token is judged without any look-up: it names its key, carries what it refers to, and ends in half an
//! HMAC-SHA256. A link carries its target, so it works when the database is down and after the mail is forgotten.
//!
//! ```text
//! track:  byte 0        version 1 (high 3 bits) | key id (low 5 bits)
//!         bytes 1..17   message id
//!         bytes 17..19  recipient, big endian
//!         bytes 19..21  kind (2 bits) | link index (14 bits), big endian
//!         bytes 21..n   target, UTF-8 (links only)
//!         last 16       HMAC-SHA256(key of the host, "trk1" 00 | host | 00 | all before), first half
//!         as base64url without padding, then the letter x: mail readers that make links of text drop a final - or _
//! return: byte 0        version 2 | key id
//!         bytes 1..19   message id, recipient
//!         last 16       HMAC-SHA256(key, "ret1" 00 | all before), first half
//!         as 56 characters of lower-case base32, since many hosts fold the case of local parts
//! ```

mod ring;

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use hmac::{Hmac, Mac};
use sha2::Sha256;
use subtle::ConstantTimeEq;

use self::ring::KEY_ID_MASK;
pub use self::ring::{KEYS_MAX, Key, KeyRing};
use super::hit::HitKind;
use super::id::{DeliveryId, MessageId};
use super::time::Timestamp;

/// Longest token text that is looked at.
pub const TOKEN_CHARS_MAX: usize = 24_000;
/// A link within this length is never pushed over it: it stays as it was instead.
pub const URL_CHARS_MAX: usize = 2_000;
/// Links of one mail that can be told apart.
pub const LINK_INDEX_MAX: u16 = (1 << 14) - 1;
/// The link that no reader sees.
pub const HIDDEN_LINK: u16 = LINK_INDEX_MAX;
/// How long a bounce report may follow its message.
pub const BOUNCE_AGE_MAX: Duration = Duration::from_secs(60 * 86_400);
/// How long a complaint may follow its message.
pub const COMPLAINT_AGE_MAX: Duration = Duration::from_secs(180 * 86_400);

const TRACK_VERSION: u8 = 1 << 5;
const RETURN_VERSION: u8 = 2 << 5;
const HEAD_BYTES: usize = 21;
pub(super) const MAC_BYTES: usize = 16;
const RETURN_BYTES: usize = 35;
const END: char = 'x';

pub(super) fn half(mac: Hmac<Sha256>) -> [u8; MAC_BYTES] {
    let full: [u8; 32] = mac.finalize().into_bytes().into();
    let mut half = [0; MAC_BYTES];
    half.copy_from_slice(&full[..MAC_BYTES]);
    half
}

/// What a tracking token refers to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Reference {
    /// The pixel.
    Open,
    /// A link of the HTML part.
    Click {
        /// Which link of the mail.
        link: u16,
        /// Where it leads.
        target: String,
    },
    /// A link of the text part.
    TextClick {
        /// Which link of the mail.
        link: u16,
        /// Where it leads.
        target: String,
    },
    /// The unsubscribe link.
    Unsubscribe,
}

impl Reference {
    /// Pixel or link, as hits are counted.
    pub fn hit_kind(&self) -> Option<HitKind> {
        match self {
            Reference::Open => Some(HitKind::Open),
            Reference::Click { .. } | Reference::TextClick { .. } => Some(HitKind::Click),
            Reference::Unsubscribe => None,
        }
    }

    fn bits(&self) -> u16 {
        match self {
            Reference::Open => 0,
            Reference::Click { link, .. } => (1 << 14) | (link & LINK_INDEX_MAX),
            Reference::TextClick { link, .. } => (2 << 14) | (link & LINK_INDEX_MAX),
            Reference::Unsubscribe => 3 << 14,
        }
    }

    fn target(&self) -> &str {
        match self {
            Reference::Click { target, .. } | Reference::TextClick { target, .. } => target,
            Reference::Open | Reference::Unsubscribe => "",
        }
    }
}

/// Seals and opens tracking tokens of one host.
#[derive(Clone)]
pub struct Sealer {
    key_id: u8,
    mac: Hmac<Sha256>,
}

impl Sealer {
    /// For tokens under `host` (name and port as they stand in the URL, lower case), with key `key_id`; `None` when
    /// the ring does not have it.
    pub fn new(ring: &KeyRing, key_id: u8, host: &str) -> Option<Self> {
        let mut mac = ring.derived(key_id, b"track", host)?;
        mac.update(b"trk1\0");
        mac.update(host.as_bytes());
        mac.update(&[0]);
        Some(Self { key_id, mac })
    }

    /// The token's text.
    pub fn seal(&self, delivery: DeliveryId, reference: &Reference) -> String {
        let target = reference.target().as_bytes();
        let mut bytes = Vec::with_capacity(HEAD_BYTES + target.len() + MAC_BYTES);
        bytes.push(TRACK_VERSION | (self.key_id & KEY_ID_MASK));
        bytes.extend_from_slice(delivery.message.as_bytes());
        bytes.extend_from_slice(&delivery.recipient.to_be_bytes());
        bytes.extend_from_slice(&reference.bits().to_be_bytes());
        bytes.extend_from_slice(target);
        let mac = half(self.mac.clone().chain_update(&bytes));
        bytes.extend_from_slice(&mac);
        let mut text = URL_SAFE_NO_PAD.encode(bytes);
        text.push(END);
        text
    }
}

/// Opens a tracking token that came under `host`. `None` for anything that we did not seal for that host: wrong
/// length, version, encoding, key or MAC; the caller learns no more than that.
pub fn open(ring: &KeyRing, host: &str, text: &str) -> Option<(DeliveryId, Reference)> {
    opened(text, |key_id| Sealer::new(ring, key_id, &host.to_ascii_lowercase()))
}

/// Opens as [`open`] does, and has the keys of one host ready: the host that nearly all tokens come under.
pub struct Opener {
    ring: KeyRing,
    host: String,
    ready: ArcSwap<Ready>,
}

/// The keys of the one host, made from the ring as it was.
struct Ready {
    keys: Arc<Vec<Key>>,
    sealers: Vec<Sealer>,
}

impl fmt::Debug for Opener {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "Opener({}, {:?})", self.host, self.ring)
    }
}

impl Opener {
    /// With the keys of `host` ready.
    pub fn new(ring: KeyRing, host: &str) -> Self {
        let host = host.to_ascii_lowercase();
        let ready = ArcSwap::from_pointee(Ready::new(&ring, &host));
        Self { ring, host, ready }
    }

    /// The token that came under `host`, whichever that is.
    pub fn open(&self, host: &str, text: &str) -> Option<(DeliveryId, Reference)> {
        if !host.eq_ignore_ascii_case(&self.host) {
            return open(&self.ring, host, text);
        }
        let mut ready = self.ready.load_full();
        if !Arc::ptr_eq(&ready.keys, &self.ring.keys()) {
            ready = Arc::new(Ready::new(&self.ring, &self.host));
            self.ready.store(ready.clone());
        }
        opened(text, |key_id| ready.sealers.iter().find(|sealer| sealer.key_id == key_id).cloned())
    }
}

impl Ready {
    fn new(ring: &KeyRing, host: &str) -> Self {
        let keys = ring.keys();
        let sealers = keys.iter().filter_map(|key| Sealer::new(ring, key.id, host)).collect();
        Self { keys, sealers }
    }
}

fn opened(text: &str, sealer: impl FnOnce(u8) -> Option<Sealer>) -> Option<(DeliveryId, Reference)> {
    if text.len() > TOKEN_CHARS_MAX {
        return None;
    }
    let bytes = URL_SAFE_NO_PAD.decode(text.strip_suffix(END)?).ok()?;
    let (said, mac) = bytes.split_at_checked(bytes.len().checked_sub(MAC_BYTES)?)?;
    let first = *said.first()?;
    if first & !KEY_ID_MASK != TRACK_VERSION || said.len() < HEAD_BYTES {
        return None;
    }
    let expected = half(sealer(first & KEY_ID_MASK)?.mac.chain_update(said));
    if !bool::from(expected.ct_eq(mac)) {
        return None;
    }
    let target = std::str::from_utf8(said.get(HEAD_BYTES..)?).ok()?.to_owned();
    let bits = u16::from_be_bytes([*said.get(19)?, *said.get(20)?]);
    Some((delivery_of(said)?, reference_of(bits, target)?))
}

fn reference_of(bits: u16, target: String) -> Option<Reference> {
    let link = bits & LINK_INDEX_MAX;
    match bits >> 14 {
        0 if target.is_empty() => Some(Reference::Open),
        1 if is_followable(&target) => Some(Reference::Click { link, target }),
        2 if is_followable(&target) => Some(Reference::TextClick { link, target }),
        3 if target.is_empty() => Some(Reference::Unsubscribe),
        _ => None,
    }
}

fn delivery_of(said: &[u8]) -> Option<DeliveryId> {
    let message = <[u8; 16]>::try_from(said.get(1..17)?).ok()?;
    let recipient = u16::from_be_bytes([*said.get(17)?, *said.get(18)?]);
    Some(DeliveryId { message: MessageId::from_bytes(message), recipient })
}

/// Whether a redirect may lead there: http or https (any case), a host, no user info, no control characters.
/// Asked when a token is sealed and again when it is opened.
pub fn is_followable(target: &str) -> bool {
    let Some(rest) = strip_scheme(target) else { return false };
    let authority = rest.split(['/', '?', '#', '\\']).next().unwrap_or("");
    !authority.is_empty() && !authority.contains('@') && !target.chars().any(char::is_control)
}

fn strip_scheme(target: &str) -> Option<&str> {
    ["http://", "https://"].into_iter().find_map(|scheme| {
        let head = target.get(..scheme.len())?;
        head.eq_ignore_ascii_case(scheme).then(|| &target[scheme.len()..])
    })
}

/// The local part of the return path of one delivery: `b+` and 56 characters. `None` when the ring lacks the key.
pub fn seal_return_path(ring: &KeyRing, key_id: u8, delivery: DeliveryId) -> Option<String> {
    let mut bytes = Vec::with_capacity(RETURN_BYTES);
    bytes.push(RETURN_VERSION | (key_id & KEY_ID_MASK));
    bytes.extend_from_slice(delivery.message.as_bytes());
    bytes.extend_from_slice(&delivery.recipient.to_be_bytes());
    let mac = half(ring.derived(key_id, b"return", "")?.chain_update(b"ret1\0").chain_update(&bytes));
    bytes.extend_from_slice(&mac);
    Some(format!("b+{}", base32(&bytes)))
}

/// Whose report comes to this local part; `None` unless we sealed it and `now` is within `age_max` of the message.
/// The case of letters does not matter.
pub fn open_return_path(ring: &KeyRing, local_part: &str, now: Timestamp, age_max: Duration) -> Option<DeliveryId> {
    let folded = local_part.to_ascii_lowercase();
    let bytes = unbase32(folded.strip_prefix("b+").filter(|text| text.len() == RETURN_BYTES / 5 * 8)?)?;
    let (said, mac) = bytes.split_at_checked(RETURN_BYTES - MAC_BYTES)?;
    let first = *said.first()?;
    if first & !KEY_ID_MASK != RETURN_VERSION {
        return None;
    }
    let expected = half(ring.derived(first & KEY_ID_MASK, b"return", "")?.chain_update(b"ret1\0").chain_update(said));
    let delivery = delivery_of(said)?;
    let is_ours = bool::from(expected.ct_eq(mac));
    (is_ours && now.since(delivery.message.drawn_at()) <= age_max).then_some(delivery)
}

const ALPHABET: &[u8; 32] = b"abcdefghijklmnopqrstuvwxyz234567";

/// RFC 4648 §6 in lower case, of bytes in fives, which take no padding. Thirty-five are exactly fifty-six characters.
pub(super) fn base32(bytes: &[u8]) -> String {
    bytes
        .chunks(5)
        .flat_map(|chunk| {
            let mut group = [0; 8];
            group[3..3 + chunk.len()].copy_from_slice(chunk);
            let bits = u64::from_be_bytes(group);
            (0..8).map(move |place| char::from(ALPHABET[(bits >> (35 - 5 * place)) as usize & 31]))
        })
        .collect()
}

pub(super) fn unbase32(text: &str) -> Option<Vec<u8>> {
    if !text.len().is_multiple_of(8) {
        return None;
    }
    let mut bytes = Vec::with_capacity(text.len() / 8 * 5);
    for chunk in text.as_bytes().chunks(8) {
        let bits = chunk.iter().try_fold(0u64, |bits, char| {
            let value = ALPHABET.iter().position(|known| known == char)?;
            Some((bits << 5) | value as u64)
        })?;
        bytes.extend_from_slice(&bits.to_be_bytes()[3..]);
    }
    Some(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const HOST: &str = "track.example.com";

    fn ring() -> KeyRing {
        KeyRing::new(vec![Key { id: 3, secret: [9; 32] }, Key { id: 2, secret: [8; 32] }])
    }

    fn delivery() -> DeliveryId {
        DeliveryId { message: MessageId::from_bytes(*b"0123456789abcdef"), recipient: 513 }
    }

    fn click(target: &str) -> Reference {
        Reference::Click { link: 77, target: target.into() }
    }

    #[test]
    fn what_was_sealed_opens_and_nothing_else_does() {
        let sealed = Sealer::new(&ring(), 3, HOST).unwrap().seal(delivery(), &click("https://example.com/a?b=c#d"));
        assert_eq!(open(&ring(), HOST, &sealed), Some((delivery(), click("https://example.com/a?b=c#d"))));
        assert_eq!(open(&ring(), "TRACK.example.com", &sealed), open(&ring(), HOST, &sealed));
        assert_eq!(open(&ring(), "other.example.com", &sealed), None);
        assert_eq!(open(&KeyRing::default(), HOST, &sealed), None);
        for ready in [HOST, "other.example.com"] {
            let opener = Opener::new(ring(), ready);
            for host in [HOST, "TRACK.example.com", "other.example.com"] {
                assert_eq!(opener.open(host, &sealed), open(&ring(), host, &sealed), "{ready} {host}");
            }
        }
        let bytes = URL_SAFE_NO_PAD.decode(sealed.trim_end_matches('x')).unwrap();
        for bit in 0..bytes.len() * 8 {
            let mut flipped = bytes.clone();
            flipped[bit / 8] ^= 1 << (bit % 8);
            assert_eq!(open(&ring(), HOST, &(URL_SAFE_NO_PAD.encode(&flipped) + "x")), None, "bit {bit}");
        }
    }

    #[test]
    fn a_revoked_key_opens_nothing_any_more() {
        let ring = ring();
        let opener = Opener::new(ring.clone(), HOST);
        let sealed =
            |key_id| Sealer::new(&ring, key_id, HOST).unwrap().seal(delivery(), &click("https://example.com/"));
        let (old, new) = (sealed(2), sealed(3));
        assert!(opener.open(HOST, &old).is_some() && opener.open(HOST, &new).is_some());
        let kept = ring.keys().iter().filter(|key| key.id == 3).cloned().collect();
        ring.replace(kept);
        assert!(opener.open(HOST, &old).is_none() && opener.open(HOST, &new).is_some());
        assert!(Sealer::new(&ring, 2, HOST).is_none());
    }

    #[test]
    fn other_spellings_of_a_token_are_refused() {
        let sealed = Sealer::new(&ring(), 3, HOST).unwrap().seal(delivery(), &Reference::Open);
        let inner = sealed.strip_suffix('x').unwrap();
        for spelling in [
            inner.to_owned(),
            format!("{inner}=x"),
            format!("{inner}==x"),
            format!("{sealed}x"),
            String::new(),
            "x".into(),
        ] {
            assert_eq!(open(&ring(), HOST, &spelling), None, "{spelling}");
        }
        assert!(open(&ring(), HOST, &sealed).is_some());
    }

    #[test]
    fn targets_that_must_not_be_followed() {
        for target in [
            "",
            "javascript:alert(1)",
            "//example.com",
            "https://",
            "https:///x",
            "http://a@b.example/",
            "https://example.com/\r\nx",
            "ftp://example.com",
        ] {
            assert!(!is_followable(target), "{target}");
        }
        for target in ["https://example.com", "HTTP://Example.com:8080/?q=a@b#@", "https://[2606:4700::1111]/"] {
            assert!(is_followable(target), "{target}");
        }
    }

    #[test]
    fn return_paths() {
        let sealed = seal_return_path(&ring(), 2, delivery()).unwrap();
        assert_eq!(sealed.len(), 58);
        let sent = delivery().message.drawn_at();
        let opens = |text: &str, days: u64| {
            open_return_path(&ring(), text, sent + Duration::from_secs(days * 86_400), BOUNCE_AGE_MAX)
        };
        assert_eq!(opens(&sealed, 59), Some(delivery()));
        assert_eq!(opens(&sealed.to_uppercase(), 0), Some(delivery()));
        assert_eq!(opens(&sealed, 61), None);
        assert_eq!(opens("b+", 0), None);
        assert_eq!(opens("postmaster", 0), None);
        for place in 2..58 {
            let mut forged = sealed.clone().into_bytes();
            forged[place] = if forged[place] == b'a' { b'b' } else { b'a' };
            assert_eq!(opens(std::str::from_utf8(&forged).unwrap(), 0), None, "{place}");
        }
    }

    proptest! {
        #[test]
        fn opening_never_panics(text in "\\PC*") {
            prop_assert_eq!(open(&ring(), HOST, &text), None);
            prop_assert_eq!(open_return_path(&ring(), &text, Timestamp::default(), BOUNCE_AGE_MAX), None);
        }

        #[test]
        fn base32_survives(bytes in proptest::collection::vec(any::<u8>(), 35)) {
            prop_assert_eq!(unbase32(&base32(&bytes)), Some(bytes));
        }
    }
}
