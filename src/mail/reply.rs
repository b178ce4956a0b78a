//! What a mail system said, taken apart: an SMTP reply, or the diagnostic of a report.
//!
//! Codes, stage and words are found here; what they mean is in [`rules`](super::rules), whose verdict becomes a
//! [`Cause`]. Class follows the address: a reply is hard only where the rule says that the address is no good and the
//! reply is final; 4yz is never hard.

use std::borrow::Cow;
use std::time::Duration;

use serde::Deserialize;

use super::phrases::{self, Plain};
use crate::model::reason::{Cause, Class, Reason};

/// Longest diagnostic that is kept, in bytes (see [`Cause::diagnostic`]).
pub const DIAGNOSTIC_BYTES_MAX: usize = 1024;
/// With fewer words, a reply says nothing but its code.
const WORDS_MIN: usize = 3;
/// How far a transcript is followed.
const TRANSCRIPT_LINES_MAX: usize = 200;
/// Longest wait that a reply may wish for.
pub const WISHED_WAIT_MAX: Duration = Duration::from_secs(86_400);

/// Where in the dialogue a reply was given.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Stage {
    /// The greeting, or no connection at all.
    Connect,
    /// EHLO or HELO.
    Hello,
    /// STARTTLS and the handshake.
    StartTls,
    /// AUTH.
    Auth,
    /// MAIL FROM.
    Mail,
    /// RCPT TO.
    Rcpt,
    /// DATA, BDAT and the end of the content.
    Data,
    /// Told by a report; the stage is looked for in its words.
    Report,
}

/// How surely a rule speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Weight {
    /// Nothing fits.
    Nothing,
    /// Only a code says so.
    Code,
    /// Words say so.
    Words,
}

/// What was said, taken apart.
pub(super) struct Heard<'a> {
    pub(super) code: Option<u16>,
    pub(super) status: Option<Status>,
    pub(super) stage: Stage,
    pub(super) plain: Cow<'a, Plain>,
    text: &'a str,
}

impl<'a> Heard<'a> {
    /// `code` and `status` are what is known apart from the text.
    pub(super) fn new(
        code: Option<u16>,
        status: Option<&str>,
        text: &'a str,
        plain: Cow<'a, Plain>,
        stage: Stage,
    ) -> Self {
        let text = phrases::head(text, phrases::TEXT_BYTES_MAX);
        let given = status.and_then(Status::read);
        let said = enhanced_code(text).and_then(|code| Status::read(&code));
        let status = [said, given].into_iter().flatten().find(|status| !status.is_bare()).or(said).or(given);
        let stage = if stage == Stage::Report { stage_in(&plain.words) } else { stage };
        Self { code: code.or_else(|| reply_code(text)), status, stage, text, plain }
    }

    /// Whether the reply says "later": the reply code decides, else the enhanced one.
    fn is_transient(&self) -> bool {
        match (self.code, self.status) {
            (Some(code), _) => (400..500).contains(&code),
            (None, Some(status)) => status.class == 4,
            (None, None) => false,
        }
    }

    /// Whether it has words of its own. Where nobody knows them they are seldom about the address: what is said of those
    /// is known best.
    pub(super) fn has_words(&self) -> bool {
        has_words(&self.plain.words)
    }

    /// Whether it is a reply, by its codes.
    pub(super) fn has_code(&self) -> bool {
        self.code.is_some() || self.status.is_some_and(|status| status.subject != 0)
    }

    /// The cause that a rule makes of it.
    pub(super) fn cause(&self, reason: Reason, class: Class, rule: &str) -> Cause {
        Cause {
            reason,
            class: if class == Class::Hard && self.is_transient() { Class::Soft } else { class },
            code: self.code,
            status: self.status.map(|status| status.to_string()),
            diagnostic: shown(self.text),
            rule: rule.to_owned(),
        }
    }
}

/// Whether a plain text says more than a code would.
pub(super) fn has_words(words: &str) -> bool {
    words.split(' ').filter(|word| word.chars().count() > 1).count() >= WORDS_MIN
}

/// A text as it is kept: white space joined, control characters escaped, at most [`DIAGNOSTIC_BYTES_MAX`] bytes.
pub(super) fn shown(text: &str) -> String {
    let mut shown = String::with_capacity(text.len().min(DIAGNOSTIC_BYTES_MAX));
    for word in text.split_whitespace() {
        if !shown.is_empty() {
            shown.push(' ');
        }
        for char in word.chars() {
            if char.is_control() {
                shown.extend(char.escape_default());
            } else {
                shown.push(char);
            }
        }
        if shown.len() > DIAGNOSTIC_BYTES_MAX {
            break;
        }
    }
    phrases::head(&shown, DIAGNOSTIC_BYTES_MAX).to_owned()
}

/// An enhanced status code (RFC 3463).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Status {
    pub(super) class: u16,
    pub(super) subject: u16,
    pub(super) detail: u16,
}

impl Status {
    fn read(text: &str) -> Option<Self> {
        let mut parts = text.split('.').map(|part| part.parse().ok());
        let status = Status { class: parts.next()??, subject: parts.next()??, detail: parts.next()?? };
        parts.next().is_none().then_some(status)
    }

    /// `x.0.0`: says no more than the reply code.
    fn is_bare(self) -> bool {
        self.subject == 0 && self.detail == 0
    }
}

impl std::fmt::Display for Status {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(out, "{}.{}.{}", self.class, self.subject, self.detail)
    }
}

/// The enhanced code that stands in a text; one that says something before `x.0.0`. Addresses and versions are not taken.
pub(super) fn enhanced_code(text: &str) -> Option<String> {
    let bytes = text.as_bytes();
    let mut bare = None;
    for dot in memchr::memchr_iter(b'.', bytes) {
        let Some(code) = code_around(bytes, dot) else { continue };
        if !code.ends_with(".0.0") {
            return Some(code);
        }
        bare = bare.or(Some(code));
    }
    bare
}

/// `x.y.z` whose first dot is at `dot`, if it stands alone.
fn code_around(bytes: &[u8], dot: usize) -> Option<String> {
    let class = dot.checked_sub(1).and_then(|at| bytes.get(at)).filter(|byte| matches!(byte, b'2' | b'4' | b'5'))?;
    let before = dot.checked_sub(2).and_then(|at| bytes.get(at)).copied().unwrap_or(b' ');
    let rest = bytes.get(dot + 1..)?;
    let subject = rest.iter().take_while(|byte| byte.is_ascii_digit()).count();
    let after = rest.get(subject..)?.strip_prefix(b".")?;
    let detail = after.iter().take_while(|byte| byte.is_ascii_digit()).count();
    let next = after.get(detail).copied().unwrap_or(b' ');
    let more = after.get(detail + 1).is_some_and(u8::is_ascii_alphanumeric);
    let glued_before = before.is_ascii_alphanumeric() || matches!(before, b'.' | b'/' | b'@');
    let glued_after = next.is_ascii_alphanumeric() || (matches!(next, b'.' | b'/' | b'_') && more);
    let small = subject == 1 && rest.first().is_some_and(|digit| *digit <= b'7') && (1..=3).contains(&detail);
    let digits = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    let (subject, detail) = (rest.get(..subject)?, after.get(..detail)?);
    (small && !glued_before && !glued_after)
        .then(|| format!("{}.{}.{}", char::from(*class), digits(subject), digits(detail)))
}

/// The reply code that a text starts with, or that it quotes.
pub(super) fn reply_code(text: &str) -> Option<u16> {
    let bytes = text.as_bytes();
    let digits = bytes
        .windows(3)
        .enumerate()
        .filter(|(_, window)| matches!(window, [b'2' | b'4' | b'5', b'0'..=b'5', b'0'..=b'9']));
    for (at, window) in digits {
        let before = bytes.get(..at).unwrap_or_default().trim_ascii_end();
        let led = before.last().is_none_or(|byte| b":;<>[\"'(#=".contains(byte)) || before.ends_with(b"said");
        let glued = at.checked_sub(1).and_then(|at| bytes.get(at)).is_some_and(u8::is_ascii_alphanumeric);
        let after = bytes.get(at + 3..).unwrap_or_default();
        let ended = !after.first().is_some_and(|byte| byte.is_ascii_alphanumeric() || *byte == b'.');
        let enhanced = after.get(1..).is_some_and(|rest| code_around(rest, 1).is_some());
        if (led || enhanced) && !glued && ended {
            return std::str::from_utf8(window).ok()?.parse().ok();
        }
    }
    None
}

/// Where in the dialogue a transcript breaks off: the last command before the first refusal. `>>>` and `<<<` are
/// sendmail's marks; other programs put the command on a line of its own. Who sends several commands at once reads the
/// refusal of the recipient after DATA: then a reply follows that there is none left.
pub(super) fn stage_of_transcript(prose: &str) -> Stage {
    let mut stage = Stage::Report;
    if prose.contains("<<< 503") || prose.contains("no valid recipients") {
        return stage;
    }
    for line in prose.lines().take(TRANSCRIPT_LINES_MAX).map(str::trim) {
        let said = line.strip_prefix(">>>").map(str::trim);
        let verb = said.unwrap_or(line).split([' ', ':']).next().unwrap_or_default().to_ascii_uppercase();
        match verb.as_str() {
            "DATA" | "." | "BDAT" if said.is_some() || line.len() == verb.len() => stage = Stage::Data,
            "RCPT" if said.is_some() => stage = Stage::Rcpt,
            "MAIL" if said.is_some() => stage = Stage::Mail,
            _ if line.strip_prefix("<<<").is_some_and(|reply| reply.trim().starts_with(['4', '5'])) => break,
            _ => {}
        }
    }
    stage
}

/// Where in the dialogue a report says that it happened.
pub(super) fn stage_in(words: &str) -> Stage {
    let stages = [
        ("initial connection", Stage::Connect),
        ("rcpt to", Stage::Rcpt),
        ("mail from", Stage::Mail),
        ("end of data", Stage::Data),
        ("data command", Stage::Data),
        ("starttls", Stage::StartTls),
        ("ehlo", Stage::Hello),
        ("helo", Stage::Hello),
    ];
    let after = ["in reply to ", "response to ", " after ", "in response to "];
    let at = after.iter().find_map(|lead| words.find(lead).map(|at| at + lead.len()));
    let named = at.and_then(|at| words.get(at..)).map(|words| phrases::head(words, 40)).unwrap_or("");
    stages.into_iter().find(|(word, _)| named.contains(word)).map_or(Stage::Report, |(_, stage)| stage)
}

/// How long a 4yz reply asks us to wait: `try again in 5 minutes`. At most [`WISHED_WAIT_MAX`].
pub fn wished_wait(text: &str) -> Option<Duration> {
    let plain = phrases::plain(text);
    let asks =
        ["again", "retry", "wait", "later", "come back", "greylist", "graylist", "postpone", "seconds", "minutes"];
    if !asks.iter().any(|word| plain.words.contains(word)) {
        return None;
    }
    let words: Vec<&str> = plain.words.split_whitespace().collect();
    words.iter().enumerate().find_map(|(at, word)| {
        let digits = word.bytes().take_while(u8::is_ascii_digit).count();
        let (number, unit) = word.split_at_checked(digits)?;
        let unit = if unit.is_empty() { words.get(at + 1).copied().unwrap_or("") } else { unit };
        let seconds = match unit {
            "s" | "sec" | "secs" | "second" | "seconds" => 1,
            "m" | "min" | "mins" | "minute" | "minutes" => 60,
            "h" | "hr" | "hrs" | "hour" | "hours" => 3600,
            _ => return None,
        };
        let wait = Duration::from_secs(number.parse::<u64>().ok()?.checked_mul(seconds)?);
        (!wait.is_zero()).then(|| wait.min(WISHED_WAIT_MAX))
    })
}

#[cfg(test)]
mod tests;
