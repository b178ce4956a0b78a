//! Sending domains and the keys that sign for them.
//!
//! | state | its record must be published | it signs | left by |
//! |---|---|---|---|
//! | waiting | to go on | no | its record being seen, or a person: to signing |
//! | signing | yes | yes | another key of its algorithm beginning to sign: to retired |
//! | retired | for [`RETIRED_KEPT`] yet: mail is still under way | no | that time's end |
//!
//! Keys belong to a tenant and a domain; all mail agents of the tenant sign with them.

use std::time::Duration;

use super::id::TenantId;
use super::time::Timestamp;

/// How long the record of a retired key stays published, and the key stays with us.
pub const RETIRED_KEPT: Duration = Duration::from_secs(7 * 86_400);
/// Longest string of a TXT record (RFC 1035 §3.3.14).
const STRING_BYTES_MAX: usize = 255;

/// How a key signs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Algorithm {
    /// RSA with SHA-256 (RFC 8301).
    Rsa,
    /// Ed25519 with SHA-256 (RFC 8463).
    Ed25519,
}

impl Algorithm {
    /// Both.
    pub const ALL: [Algorithm; 2] = [Algorithm::Rsa, Algorithm::Ed25519];

    /// `rsa` or `ed25519`: the `k=` of a DKIM record.
    pub const fn as_str(self) -> &'static str {
        match self {
            Algorithm::Rsa => "rsa",
            Algorithm::Ed25519 => "ed25519",
        }
    }

    /// The algorithm with this word.
    pub fn from_word(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|algorithm| algorithm.as_str() == word)
    }
}

/// Where a key stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum KeyState {
    /// Its record has not been seen yet.
    Waiting,
    /// It signs.
    Signing,
    /// It signs no more.
    Retired,
}

impl KeyState {
    /// Every state.
    pub const ALL: [KeyState; 3] = [KeyState::Waiting, KeyState::Signing, KeyState::Retired];

    /// Its word, as stored and printed.
    pub const fn as_str(self) -> &'static str {
        match self {
            KeyState::Waiting => "waiting",
            KeyState::Signing => "signing",
            KeyState::Retired => "retired",
        }
    }

    /// The state with this word.
    pub fn from_word(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|state| state.as_str() == word)
    }
}

/// A key that signs for a domain, without its private half.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SigningKey {
    /// Whose.
    pub tenant: TenantId,
    /// For which domain; lower-case A-labels.
    pub domain: String,
    /// Under which name its record stands.
    pub selector: String,
    /// How it signs.
    pub algorithm: Algorithm,
    /// Where it stands.
    pub state: KeyState,
    /// Its public half, as the `p=` of its record.
    pub public: String,
    /// When it was made or imported.
    pub created_at: Timestamp,
    /// Since when it stands there.
    pub state_since: Timestamp,
}

impl SigningKey {
    /// Where its record stands.
    pub fn record_name(&self) -> String {
        format!("{}._domainkey.{}", self.selector, self.domain)
    }

    /// What its record says (RFC 6376 §3.6.1).
    pub fn record(&self) -> String {
        format!("v=DKIM1; k={}; p={}", self.algorithm.as_str(), self.public)
    }

    /// Whether a published record makes this key's signatures valid.
    pub fn is_published_as(&self, record: &str) -> bool {
        let tags = tags(record);
        let tag = |name: &str| tags.iter().find(|(tag, _)| tag == name).map(|(_, value)| value.as_str());
        tag("v").is_none_or(|version| version == "DKIM1")
            && tag("k").unwrap_or("rsa") == self.algorithm.as_str()
            && tag("p") == Some(&self.public)
            && tag("h").is_none_or(|hashes| hashes.split(':').any(|hash| hash == "sha256"))
            && tag("s").is_none_or(|services| services.split(':').any(|service| matches!(service, "*" | "email")))
    }

    /// Whether it and its record may go.
    pub fn may_go(&self, now: Timestamp) -> bool {
        self.state == KeyState::Retired && now.since(self.state_since) >= RETIRED_KEPT
    }
}

/// The tags of a record (RFC 6376 §3.2), white space taken out.
pub fn tags(record: &str) -> Vec<(String, String)> {
    let bare = |text: &str| text.chars().filter(|char| !char.is_ascii_whitespace()).collect();
    record.split(';').filter_map(|tag| tag.split_once('=')).map(|(name, value)| (bare(name), bare(value))).collect()
}

/// Whether a text can be a selector: a name of one label or more (RFC 6376 §3.1).
pub fn is_selector(text: &str) -> bool {
    let is_label = |label: &str| {
        (1..=63).contains(&label.len())
            && !label.starts_with('-')
            && !label.ends_with('-')
            && label
                .bytes()
                .all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || matches!(byte, b'-' | b'_'))
    };
    text.len() <= 120 && text.split('.').all(is_label)
}

/// A TXT record's text as a zone file has it: in quoted strings, none longer than a string may be.
pub fn in_strings(text: &str) -> String {
    let quoted = |chunk: &[u8]| {
        let plain = String::from_utf8_lossy(chunk).replace('\\', "\\\\").replace('"', "\\\"");
        format!("\"{plain}\"")
    };
    text.as_bytes().chunks(STRING_BYTES_MAX).map(quoted).collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key() -> SigningKey {
        SigningKey {
            tenant: TenantId::from_bytes([1; 16]),
            domain: "example.com".into(),
            selector: "pb1".into(),
            algorithm: Algorithm::Rsa,
            state: KeyState::Retired,
            public: "MIIB+/=".into(),
            created_at: Timestamp::from_millis(0),
            state_since: Timestamp::from_millis(0),
        }
    }

    #[test]
    fn a_record_is_recognised_as_people_publish_it() {
        let check = |record: &str, expected| assert_eq!(key().is_published_as(record), expected, "{record}");
        check(&key().record(), true);
        check("p=MIIB+/=", true);
        check("v=DKIM1;k=rsa;h=sha1:sha256;s=email;t=s;p=MII B+/=;", true);
        check("v=DKIM1; k=ed25519; p=MIIB+/=", false);
        check("v=DKIM1; k=rsa; p=", false);
        check("v=DKIM1; k=rsa; h=sha1; p=MIIB+/=", false);
        check("v=DKIM1; k=rsa; s=other; p=MIIB+/=", false);
        check("v=spf1 -all", false);
        check("", false);
    }

    #[test]
    fn selectors() {
        for (text, expected) in
            [("pb1", true), ("a.b-c_d", true), ("", false), ("A", false), ("-a", false), ("a..b", false)]
        {
            assert_eq!(is_selector(text), expected, "{text}");
        }
    }

    #[test]
    fn long_texts_stand_in_several_strings() {
        assert_eq!(in_strings("v=DKIM1"), "\"v=DKIM1\"");
        let long = in_strings(&"x".repeat(300));
        assert_eq!(long, format!("\"{}\" \"{}\"", "x".repeat(255), "x".repeat(45)));
        assert_eq!(in_strings("a\"b\\"), "\"a\\\"b\\\\\"");
    }

    #[test]
    fn a_retired_key_stays_for_mail_under_way() {
        let after = |days: u64| Timestamp::from_millis(0) + Duration::from_secs(days * 86_400);
        assert!(!key().may_go(after(6)) && key().may_go(after(7)));
        assert!(!SigningKey { state: KeyState::Signing, ..key() }.may_go(after(700)));
    }
}
