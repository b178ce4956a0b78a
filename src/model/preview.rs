//! A test that was shown before it is sent, and what it takes to send exactly that.
//!
//! The ids of a test follow from a seed and a time: its [`Draw`]. Who was shown a test may hand the draw back, and the same
//! test is made again; ids of somebody's choice cannot be had that way. A digest of where it goes and of its body tells
//! whether anything has changed since. Nothing is stored, so that any node can send what another showed.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use sha2::{Digest, Sha256};
use uuid::Uuid;

use super::event::EventKind;
use super::time::Timestamp;

/// How long what was shown can be sent: receivers refuse what is older than five minutes.
pub const GOOD_FOR: Duration = Duration::from_secs(4 * 60);
/// How far ahead the clock of the node may be that showed it.
const AHEAD_MAX: Duration = Duration::from_secs(60);

const PREFIX: &str = "prv_";
const SEED_BYTES: usize = 16;
const DIGEST_BYTES: usize = 16;
/// Characters of seed, time and digest.
const CHARS: usize = 54;

/// What the ids and times of a test follow from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Draw {
    seed: [u8; SEED_BYTES],
    at: Timestamp,
}

impl Draw {
    /// Of a random seed, now.
    pub const fn new(seed: [u8; SEED_BYTES], now: Timestamp) -> Self {
        Self { seed, at: now }
    }

    /// When the test happens, as far as it tells.
    pub const fn at(&self) -> Timestamp {
        self.at
    }

    /// The id of a part of the test.
    pub fn id(&self, part: &str) -> Uuid {
        let mut digest = Sha256::new();
        digest.update(self.seed);
        digest.update(self.at.as_millis().to_be_bytes());
        digest.update(part);
        let digest: [u8; 32] = digest.finalize().into();
        let mut random = [0; 10];
        random.copy_from_slice(&digest[..10]);
        let millis = u64::try_from(self.at.as_millis()).unwrap_or_default();
        uuid::Builder::from_unix_timestamp_millis(millis, &random).into_uuid()
    }
}

/// What was shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Preview {
    /// How it was made.
    pub draw: Draw,
    /// Of which kind.
    pub kind: EventKind,
    digest: [u8; DIGEST_BYTES],
}

/// The text was not one of a preview's.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("expected what a preview gave, which begins with \"{PREFIX}\"")]
pub struct BadPreview;

/// Why what was shown cannot be sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stale {
    /// It is too old.
    Old,
    /// It would not be what was shown.
    Changed,
    /// It was sent.
    Sent,
}

impl Stale {
    /// For people.
    pub const fn why(self) -> &'static str {
        match self {
            Stale::Old => "The preview is older than four minutes, and receivers refuse what is old: preview again",
            Stale::Changed => "The test would not be what was previewed any more: preview again",
            Stale::Sent => "What was previewed was sent already: preview again",
        }
    }
}

impl Preview {
    /// Of a test of this kind that goes to `url` and has this body.
    pub fn of(draw: Draw, kind: EventKind, url: &str, body: &[u8]) -> Self {
        Self { draw, kind, digest: digest(url, body) }
    }

    /// Until when it can be sent.
    pub fn good_until(&self) -> Timestamp {
        self.draw.at + GOOD_FOR
    }

    /// Whether it can be sent at this time, and what would be sent to `url` is what was shown.
    ///
    /// # Errors
    /// Why not.
    pub fn check(&self, url: &str, body: &[u8], now: Timestamp) -> Result<(), Stale> {
        if now > self.good_until() || self.draw.at > now + AHEAD_MAX {
            return Err(Stale::Old);
        }
        if self.digest == digest(url, body) { Ok(()) } else { Err(Stale::Changed) }
    }
}

fn digest(url: &str, body: &[u8]) -> [u8; DIGEST_BYTES] {
    let mut digest = Sha256::new();
    digest.update(url);
    digest.update([0]);
    digest.update(body);
    let whole: [u8; 32] = digest.finalize().into();
    let mut half = [0; DIGEST_BYTES];
    half.copy_from_slice(&whole[..DIGEST_BYTES]);
    half
}

impl fmt::Display for Preview {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let bytes = [&self.draw.seed[..], &self.draw.at.as_millis().to_be_bytes(), &self.digest].concat();
        write!(out, "{PREFIX}{}{}", URL_SAFE_NO_PAD.encode(bytes), self.kind.as_str())
    }
}

impl FromStr for Preview {
    type Err = BadPreview;

    fn from_str(text: &str) -> Result<Self, BadPreview> {
        let (code, kind) = text.strip_prefix(PREFIX).and_then(|rest| rest.split_at_checked(CHARS)).ok_or(BadPreview)?;
        let bytes = URL_SAFE_NO_PAD.decode(code).map_err(|_| BadPreview)?;
        let (seed, rest) = bytes.split_first_chunk().ok_or(BadPreview)?;
        let (at, rest) = rest.split_first_chunk().ok_or(BadPreview)?;
        let at = Timestamp::from_millis(i64::from_be_bytes(*at));
        let kind = EventKind::from_word(kind).ok_or(BadPreview)?;
        Ok(Self { draw: Draw { seed: *seed, at }, kind, digest: rest.try_into().map_err(|_| BadPreview)? })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Timestamp = Timestamp::from_millis(1_800_000_000_000);

    #[test]
    fn what_was_shown_is_told_from_all_else() {
        let preview = Preview::of(Draw::new([7; 16], NOW), EventKind::Clicked, "https://a.example/", b"{}");
        assert_eq!(preview.to_string().parse(), Ok(preview));
        let check = |url: &str, body: &str, after: Duration, expected| {
            assert_eq!(preview.check(url, body.as_bytes(), NOW + after), expected, "{url} {body} {after:?}");
        };
        check("https://a.example/", "{}", Duration::ZERO, Ok(()));
        check("https://a.example/", "{}", GOOD_FOR, Ok(()));
        check("https://a.example/", "{}", GOOD_FOR + Duration::from_millis(1), Err(Stale::Old));
        check("https://b.example/", "{}", Duration::ZERO, Err(Stale::Changed));
        check("https://a.example/", "{ }", Duration::ZERO, Err(Stale::Changed));
        let before = NOW - Duration::from_secs(3600);
        assert_eq!(preview.check("https://a.example/", b"{}", before), Err(Stale::Old));
    }

    #[test]
    fn ids_follow_from_the_draw() {
        let draw = Draw::new([7; 16], NOW);
        assert_eq!(draw.id("event"), Draw::new([7; 16], NOW).id("event"));
        let others = [draw.id("message"), Draw::new([8; 16], NOW).id("event")];
        assert!(!others.contains(&draw.id("event")));
        assert_eq!(draw.id("event").get_version_num(), 7);
    }

    #[test]
    fn other_texts_are_none() {
        let whole = Preview::of(Draw::new([7; 16], NOW), EventKind::Sent, "", b"").to_string();
        let bad =
            ["", "prv_", "evt_1", whole.trim_end_matches("sent"), &whole.replace("prv_", ""), &format!("{whole}é")];
        for text in bad {
            assert_eq!(text.parse::<Preview>(), Err(BadPreview), "{text}");
        }
        assert!(format!("prv_{}é{}", "A".repeat(53), "sent").parse::<Preview>().is_err());
    }
}
