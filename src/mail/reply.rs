//! Judges what the other side said: an SMTP reply, or the diagnostic of a report, becomes a [`Cause`].
//!
//! The knowledge is data: `rules/*.toml`, read once. A rule asks for phrases, for codes, or for both; of the rules that
//! fit, the first decides, and its name is kept for people who ask why. Class follows the address: a
//! reply is hard only where the rule says that the address is no good and the reply is final; 4yz is never hard.

use std::borrow::Cow;
use std::sync::LazyLock;
use std::time::Duration;

use serde::Deserialize;

use super::phrases::{self, Phrases, Plain};
use super::report::addresses;
use crate::model::reason::{Cause, Class, Reason};

/// Longest diagnostic that is kept, in bytes (see [`Cause::diagnostic`]).
pub const DIAGNOSTIC_BYTES_MAX: usize = 1024;
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

/// Judges a reply, or the text of one. `code` is the reply code where it is known apart from the text.
pub fn judge(code: Option<u16>, text: &str, stage: Stage) -> Cause {
    let heard = Heard::new(code, None, text, Cow::Owned(plain_of(text)), stage);
    heard.cause(RULES.first(&heard, |_| true))
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

/// Judges the diagnostic of a report with the status that its fields give; says how surely.
pub(super) fn weigh(status: Option<&str>, text: &str) -> (Cause, Weight) {
    weigh_by(Heard::new(None, status, text, Cow::Owned(plain_of(text)), Stage::Report), |_| true)
}

/// The same for prose, where broad words mean little.
pub(super) fn weigh_prose(status: Option<&str>, text: &str, plain: &Plain) -> (Cause, Weight) {
    weigh_by(Heard::new(None, status, text, Cow::Borrowed(plain), Stage::Report), |rule| !rule.broad)
}

fn weigh_by(heard: Heard<'_>, wanted: fn(&Rule) -> bool) -> (Cause, Weight) {
    let rule = RULES.first(&heard, wanted);
    let weight = rule.map_or(Weight::Nothing, |rule| if rule.has_words() { Weight::Words } else { Weight::Code });
    (heard.cause(rule), weight)
}

fn plain_of(text: &str) -> Plain {
    if text.contains('\\') { phrases::plain(&addresses::without_octal(text)) } else { phrases::plain(text) }
}

/// What was said, taken apart.
struct Heard<'a> {
    code: Option<u16>,
    status: Option<Status>,
    stage: Stage,
    text: &'a str,
    plain: Cow<'a, Plain>,
}

impl<'a> Heard<'a> {
    fn new(code: Option<u16>, status: Option<&str>, text: &'a str, plain: Cow<'a, Plain>, stage: Stage) -> Self {
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

    fn cause(&self, rule: Option<&Rule>) -> Cause {
        let reason = rule.map_or(Reason::Unknown, |rule| rule.reason);
        let class = rule.and_then(|rule| rule.class).unwrap_or(reason.class());
        Cause {
            reason,
            class: if class == Class::Hard && self.is_transient() { Class::Soft } else { class },
            code: self.code,
            status: self.status.map(|status| status.to_string()),
            diagnostic: shown(self.text),
            rule: rule.map_or("none", |rule| &rule.name).to_owned(),
        }
    }
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
struct Status {
    class: u16,
    subject: u16,
    detail: u16,
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

/// Where in the dialogue a report says that it happened.
fn stage_in(words: &str) -> Stage {
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

/// One rule of the file.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Rule {
    /// Its name; unique.
    name: String,
    /// What it concludes.
    reason: Reason,
    /// Where the class is not the reason's own.
    class: Option<Class>,
    /// Phrases, one of which must stand in the text.
    #[serde(default)]
    any: Vec<String>,
    /// Or a piece of a URL in the text.
    #[serde(default)]
    url: Vec<String>,
    /// Phrases that must not.
    #[serde(default)]
    unless: Vec<String>,
    /// Enhanced codes, one of which must be given; `*` stands for any number.
    #[serde(default)]
    status: Vec<StatusPattern>,
    /// Reply codes, one of which must be given.
    #[serde(default)]
    code: Vec<u16>,
    /// Stages, one of which it must be.
    #[serde(default)]
    stage: Vec<Stage>,
    /// Its words are too common to mean much outside a diagnostic.
    #[serde(default)]
    broad: bool,
    /// Texts that it must decide.
    #[cfg_attr(not(test), allow(dead_code))]
    examples: Vec<String>,
}

impl Rule {
    fn has_words(&self) -> bool {
        !self.any.is_empty() || !self.url.is_empty()
    }

    /// Whether the codes and the stage fit.
    fn allows(&self, heard: &Heard<'_>) -> bool {
        let status = || self.status.iter().any(|pattern| heard.status.is_some_and(|status| pattern.fits(status)));
        (self.code.is_empty() || heard.code.is_some_and(|code| self.code.contains(&code)))
            && (self.status.is_empty() || status())
            && (self.stage.is_empty() || self.stage.contains(&heard.stage))
    }
}

/// `5.1.1`, where `*` stands for any number.
#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(try_from = "String")]
struct StatusPattern([Option<u16>; 3]);

impl TryFrom<String> for StatusPattern {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        let part = |part: &str| if part == "*" { Some(None) } else { part.parse().ok().map(Some) };
        let parts: Option<Vec<Option<u16>>> = text.split('.').map(part).collect();
        let parts = parts.and_then(|parts| parts.try_into().ok());
        parts.map(Self).ok_or_else(|| format!("{text:?} is no pattern of an enhanced code"))
    }
}

impl StatusPattern {
    fn fits(self, status: Status) -> bool {
        let parts = [status.class, status.subject, status.detail];
        self.0.iter().zip(parts).all(|(wanted, part)| wanted.is_none_or(|wanted| wanted == part))
    }
}

#[derive(Deserialize)]
struct RuleFile {
    rule: Vec<Rule>,
}

/// The rules, ready to be asked.
struct Rules {
    rules: Vec<Rule>,
    /// The phrases of the rules by number; those of their `unless` follow, as if every rule came twice.
    phrases: Phrases,
    /// The rules that ask for codes alone.
    coded: Vec<usize>,
    /// The rules that ask for URLs.
    linked: Vec<usize>,
}

/// The files of rules, in the order in which they are read.
const FILES: [&str; 5] = [
    include_str!("rules/room.toml"),
    include_str!("rules/sender.toml"),
    include_str!("rules/recipient.toml"),
    include_str!("rules/way.toml"),
    include_str!("rules/codes.toml"),
];

static RULES: LazyLock<Rules> = LazyLock::new(|| Rules::read(&FILES).expect("a test reads the files"));

impl Rules {
    fn read(files: &[&str]) -> Result<Self, String> {
        let mut rules: Vec<Rule> = Vec::new();
        for file in files {
            rules.extend(toml::from_str::<RuleFile>(file).map_err(|bad| bad.to_string())?.rule);
        }
        let mut phrases = Phrases::default();
        for (number, rule) in rules.iter().enumerate() {
            let any = rule.any.iter().find(|phrase| !phrases.add(phrase, number));
            let unless = rule.unless.iter().find(|phrase| !phrases.add(phrase, rules.len() + number));
            if let Some(bad) = any.or(unless) {
                return Err(format!("rule {}: no use can be made of {bad:?}", rule.name));
            }
        }
        let numbers = |wanted: fn(&Rule) -> bool| -> Vec<usize> {
            rules.iter().enumerate().filter(|(_, rule)| wanted(rule)).map(|(number, _)| number).collect()
        };
        let coded = numbers(|rule| !rule.has_words());
        let linked = numbers(|rule| !rule.url.is_empty());
        Ok(Self { phrases, coded, linked, rules })
    }

    /// The first rule that fits and is wanted.
    fn first(&self, heard: &Heard<'_>, wanted: impl Fn(&Rule) -> bool) -> Option<&Rule> {
        let (mut candidates, mut excepted) = (Vec::new(), Vec::new());
        self.phrases.each(&heard.plain.words, |number| match number.checked_sub(self.rules.len()) {
            Some(number) => excepted.push(number),
            None => candidates.push(number),
        });
        if !heard.plain.urls.is_empty() {
            let named = |number: &&usize| {
                let rule = self.rules.get(**number);
                rule.is_some_and(|rule| rule.url.iter().any(|piece| heard.plain.urls.contains(piece.as_str())))
            };
            candidates.extend(self.linked.iter().filter(named));
        }
        let fits = |number: &usize| {
            let rule = self.rules.get(*number).filter(|rule| rule.allows(heard) && wanted(rule));
            rule.is_some() && !excepted.contains(number)
        };
        let best = candidates.iter().chain(&self.coded).copied().filter(fits).min();
        best.and_then(|best| self.rules.get(best))
    }
}

#[cfg(test)]
mod tests;
