//! Answers that are kept, so that the same request again is answered again instead of being carried out again.

use std::time::Duration;

use super::id::AgentId;
use super::time::Timestamp;

/// How long an answer is kept.
pub const KEPT: Duration = Duration::from_secs(86_400);
/// How long a key waits for a request of which nothing more is heard: its node has died.
pub const RESERVED: Duration = Duration::from_secs(120);
/// Characters of a key.
pub const KEY_CHARS_MAX: usize = 255;

/// What was answered.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Answered {
    /// The status, or the code of the reply.
    pub status: u16,
    /// Where what was made can be found; empty for nowhere.
    pub location: String,
    /// The body, or the text of the reply.
    pub body: String,
}

/// Which request of whom: what its sender calls it, and what it said.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Asked {
    /// Whose request; keys of different mail agents have nothing to do with each other.
    pub agent: AgentId,
    /// SHA-256 of the key that came with it.
    pub key: [u8; 32],
    /// SHA-256 of everything that it said.
    pub fingerprint: [u8; 32],
}

/// What there is to a key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Kept {
    /// A request is being carried out.
    Running,
    /// It was carried out.
    Done {
        /// SHA-256 of everything that it said.
        fingerprint: [u8; 32],
        /// What was answered.
        answer: Answered,
    },
}

/// An answer, as it is kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeptAnswer {
    /// To what.
    pub asked: Asked,
    /// What.
    pub answer: Answered,
    /// Until when.
    pub until: Timestamp,
}

/// The key as it was meant: a bare text, or one in quotes as the draft of the header's standard has it
/// (draft-ietf-httpapi-idempotency-key-header-07 §2.1). `None` when it is none.
pub fn key(text: &str) -> Option<&str> {
    let text = text.trim();
    let bare = text.strip_prefix('"').and_then(|text| text.strip_suffix('"')).unwrap_or(text);
    let is_key = (1..=KEY_CHARS_MAX).contains(&bare.len()) && bare.bytes().all(|byte| matches!(byte, b' '..=b'~'));
    is_key.then_some(bare)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys() {
        let check = |text: &str, expected: Option<&str>| assert_eq!(key(text), expected, "{text:?}");
        check("8e03978e-40d5-43dd-bc93-6894a57f9324", Some("8e03978e-40d5-43dd-bc93-6894a57f9324"));
        check(" \"order 12\" ", Some("order 12"));
        check("\"", Some("\""));
        check("", None);
        check("\"\"", None);
        check("é", None);
        check("a\nb", None);
        check(&"x".repeat(255), Some(&"x".repeat(255)));
        check(&"x".repeat(256), None);
    }
}
