//! Reports written for people: where the returned message starts, who failed, and what is said of them.
//!
//! A third of all bounces have no machine-readable part. Their formats differ, their habits do not: an address stands
//! alone on a line, at the head of one, after a word like `Recipient:`, or inside a sentence that says "delivered"; the
//! reason follows it; the returned message comes last. No format is known by its program here.

use std::borrow::Cow;
use std::cell::LazyCell;

use super::addresses::{self, Spotted};
use super::notices::Notice;
use crate::mail::dsn::RECIPIENTS_MAX;
use crate::mail::phrases;
use crate::mail::rules::Rules;

/// How many lines of prose are read.
const LINES_MAX: usize = 600;
/// How long what is said of one recipient may be.
const SAID_BYTES_MAX: usize = 2_000;
/// A longer line is no heading.
const HEADING_BYTES_MAX: usize = 160;

/// Splits a text at the returned message: what the program wrote, and what it returned.
pub fn split_returned<'t>(text: &'t str, rules: &Rules) -> (&'t str, &'t str) {
    let lines: Vec<(usize, &str)> = offsets(text).take(LINES_MAX).collect();
    for (number, (at, line)) in lines.iter().enumerate() {
        let rest = lines.get(number..).unwrap_or_default();
        if is_header_start(rest) {
            return text.split_at(*at);
        }
        let after = rest.get(1..).unwrap_or_default();
        if leads_to_header(after) && is_heading(line, rules) {
            return text.split_at(at + line.len());
        }
    }
    text.split_at(text.len())
}

/// What was returned, from its first header field on: rules and blank lines may stand above.
pub fn from_header(returned: &str) -> &str {
    let start = offsets(returned).take(5).find(|(_, line)| header_name(unquoted(line)).is_some());
    start.and_then(|(at, _)| returned.get(at..)).unwrap_or_default()
}

fn offsets(text: &str) -> impl Iterator<Item = (usize, &str)> {
    let mut at = 0;
    text.split_inclusive('\n').map(move |line| {
        at += line.len();
        (at - line.len(), line)
    })
}

/// `------ This is a copy of the message ------` and its like.
fn is_heading(line: &str, rules: &Rules) -> bool {
    line.len() <= HEADING_BYTES_MAX && rules.notices_in(line).has(Notice::Separator)
}

fn leads_to_header(lines: &[(usize, &str)]) -> bool {
    let mut filled = lines.iter().map(|(_, line)| unquoted(line)).filter(|line| !line.trim().is_empty());
    filled.by_ref().take(2).any(|line| header_name(line).is_some_and(is_mail_header))
}

/// A line without the marks of quoting.
pub fn unquoted(line: &str) -> &str {
    match line.trim_start_matches(['>', '|']) {
        rest if rest.len() == line.len() => line,
        rest => rest.strip_prefix(' ').unwrap_or(rest),
    }
}

fn header_name(line: &str) -> Option<&str> {
    let (name, _) = line.split_once(':')?;
    let named = !name.is_empty() && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-');
    named.then_some(name)
}

fn is_mail_header(name: &str) -> bool {
    let begins = |start: &str| name.get(..start.len()).is_some_and(|head| head.eq_ignore_ascii_case(start));
    is_one_of(name, &TRACE_HEADERS) || is_one_of(name, &COMMON_HEADERS) || begins("x-") || begins("arc-")
}

fn is_one_of(name: &str, names: &[&str]) -> bool {
    names.iter().any(|known| known.eq_ignore_ascii_case(name))
}

/// Fields that programs write and reports do not quote singly.
const TRACE_HEADERS: [&str; 7] = [
    "received",
    "return-path",
    "message-id",
    "dkim-signature",
    "mime-version",
    "received-spf",
    "authentication-results",
];
const COMMON_HEADERS: [&str; 10] =
    ["from", "to", "cc", "subject", "date", "sender", "reply-to", "delivered-to", "list-id", "precedence"];

/// Whether a whole header starts here, without a heading: three fields and more, one of them a trace.
fn is_header_start(lines: &[(usize, &str)]) -> bool {
    let Some(first) = lines.first().and_then(|(_, line)| header_name(unquoted(line))) else { return false };
    if !is_mail_header(first) {
        return false;
    }
    let (mut fields, mut traces) = (0, 0);
    for (_, line) in lines.iter().take(40) {
        let line = unquoted(line);
        match header_name(line) {
            Some(name) if is_mail_header(name) || name.to_ascii_lowercase().starts_with("content-") => {
                fields += 1;
                traces += usize::from(is_one_of(name, &TRACE_HEADERS));
            }
            _ if line.starts_with([' ', '\t']) && !line.trim().is_empty() => {}
            Some(_) => {}
            None => break,
        }
        if fields >= 3 && traces >= 1 {
            return true;
        }
    }
    false
}

/// A recipient of whom the text tells.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Told {
    /// The address.
    pub address: String,
    /// What stands with it, up to the next blank line.
    pub near: String,
    /// All that is said of it.
    pub said: String,
    /// How plainly it is named.
    pub rank: Rank,
}

/// How plainly an address is named as the one that failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Rank {
    /// It only occurs.
    Mentioned,
    /// As what an undisclosed address was made of.
    Alias,
    /// In the transcript of a dialogue.
    Dialogue,
    /// As the `To` of a message that is described.
    Described,
    /// In a sentence about delivery.
    Sentence,
    /// At the head of a line, or after a label.
    Listed,
}

/// A lone word on the line after one that ends in a colon and says that nothing was delivered: some services name their
/// own users without the domain.
pub fn local_part_alone<'t>(prose: &'t str, rules: &Rules) -> Option<&'t str> {
    let mut lines = prose.lines().map(str::trim).filter(|line| !line.is_empty());
    let mut before = String::new();
    lines.by_ref().take(LINES_MAX).find(|line| {
        let sentence = format!("{before} {line}");
        before = (*line).to_owned();
        line.ends_with(':') && rules.notices_in(&sentence).has(Notice::BodyFailed)
    })?;
    let word = lines.next()?;
    let plausible =
        word.len() <= 64 && word.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"._-+".contains(&byte));
    plausible.then_some(word)
}

struct Candidate<'a> {
    line: usize,
    spot: Spotted<'a>,
    rank: Rank,
}

/// The recipients that a text names most plainly. Those in `others` (the sender, the reporter) only if nobody else is.
pub fn recipients(prose: &str, others: &[String], rules: &Rules) -> Vec<Told> {
    let lines: Vec<&str> = prose.lines().take(LINES_MAX).collect();
    let mut found: Vec<Candidate<'_>> = Vec::new();
    for (number, line) in lines.iter().enumerate().filter(|(_, line)| line.contains('@')) {
        let asked = Asked {
            line,
            url: line.find("://"),
            dialogue: line.find("<<<"),
            fails: LazyCell::new(|| rules.notices_in(line).has(Notice::BodyFailed)),
        };
        let mut before: Option<(usize, Rank)> = None;
        for spot in addresses::spotted(line) {
            let joined =
                before.filter(|(end, _)| line.get(*end..spot.start).is_some_and(is_joint)).map(|(_, rank)| rank);
            let rank = joined.or_else(|| rank(&asked, &spot, rules));
            before = rank.map(|rank| (spot.end, rank));
            if let Some(rank) = rank {
                found.push(Candidate { line: number, spot, rank });
            }
        }
    }
    let is_other =
        |candidate: &Candidate<'_>| others.iter().any(|other| other.eq_ignore_ascii_case(candidate.spot.address));
    let strangers = found.iter().filter(|candidate| !is_other(candidate)).map(|candidate| candidate.rank).max();
    let best = strangers.or(found.iter().map(|candidate| candidate.rank).max());
    found.retain(|candidate| Some(candidate.rank) == best && (strangers.is_none() || !is_other(candidate)));
    if best == Some(Rank::Listed) {
        let least = found.iter().filter_map(|candidate| lines.get(candidate.line)).map(|line| indent(line)).min();
        found.retain(|candidate| lines.get(candidate.line).map(|line| indent(line)) == least);
    }
    told(&lines, &found)
}

/// What may stand between two addresses of one list.
fn is_joint(between: &str) -> bool {
    let between = between.trim_matches([' ', ',', ';', '<', '>', '"']);
    between.is_empty() || between == "and"
}

/// How far a line is indented: what is wrapped stands deeper than what is listed.
fn indent(line: &str) -> usize {
    line.len() - line.trim_start().len()
}

fn told(lines: &[&str], found: &[Candidate<'_>]) -> Vec<Told> {
    let mut told: Vec<Told> = Vec::new();
    let mut before = 0;
    for (number, candidate) in found.iter().enumerate() {
        let next = found.get(number + 1).map_or(lines.len(), |next| next.line.max(candidate.line + 1));
        let range = match candidate.rank {
            Rank::Dialogue => before..candidate.line + 1,
            _ => candidate.line..next,
        };
        before = candidate.line + 1;
        let about = lines.get(range).unwrap_or_default();
        let blank = about.iter().position(|line| line.trim().is_empty()).unwrap_or(about.len());
        let (near, said) = (said(about.get(..blank).unwrap_or_default()), said(about));
        let address = candidate.spot.address;
        if let Some(known) = told.iter_mut().find(|told| told.address.eq_ignore_ascii_case(address)) {
            if known.said.len() < SAID_BYTES_MAX {
                known.said.push(' ');
                known.said.push_str(&said);
            }
        } else if told.len() < RECIPIENTS_MAX {
            told.push(Told { address: address.to_owned(), near, said, rank: candidate.rank });
        }
    }
    told
}

fn said(lines: &[&str]) -> String {
    let mut said = String::new();
    for line in lines {
        if said.len() + line.len() > SAID_BYTES_MAX {
            said.push_str(phrases::head(line, SAID_BYTES_MAX - said.len().min(SAID_BYTES_MAX)));
            break;
        }
        said.push_str(line.trim());
        said.push(' ');
    }
    said
}

/// A line of which something is asked for each of its addresses: what it costs must not grow with their number.
struct Asked<'a, F> {
    line: &'a str,
    /// Where the first URL has its `://`.
    url: Option<usize>,
    /// Where the first `<<<` is.
    dialogue: Option<usize>,
    /// Whether it says that nothing was delivered.
    fails: LazyCell<bool, F>,
}

/// How plainly a line names this address; `None` when it is somebody else's.
fn rank<F: FnOnce() -> bool>(asked: &Asked<'_, F>, spot: &Spotted<'_>, rules: &Rules) -> Option<Rank> {
    let before = asked.line.get(..spot.start)?;
    let is_before = |at: Option<usize>| at.is_some_and(|at| at + 3 <= before.len());
    let local = spot.address.split('@').next().unwrap_or("");
    let machine = ["postmaster", "mailer-daemon", "abuse", "hostmaster", "noreply", "no-reply"];
    if machine.iter().any(|name| local.eq_ignore_ascii_case(name)) || is_before(asked.url) {
        return None;
    }
    let before = ends(before);
    let lead = before.trim_matches(|char: char| char.is_whitespace() || "<>\"'([*-|•·:=#`".contains(char));
    let x400 = lead.contains("dda:") || lead.get(..2).is_some_and(|start| start.eq_ignore_ascii_case("c="));
    if lead.is_empty() || x400 {
        return Some(Rank::Listed);
    }
    if lead.eq_ignore_ascii_case("to") || lead.to_ascii_lowercase().starts_with("to:") {
        return Some(Rank::Described);
    }
    if lead.ends_with("mailto") {
        return None;
    }
    let words = phrases::plain(lead).words;
    if words.ends_with(" generated from ") || words.ends_with(" expanded from ") {
        return Some(Rank::Alias);
    }
    let notices = rules.notices_in_words(phrases_tail(&words));
    if notices.has(Notice::LabelOther) {
        return None;
    }
    if lead.starts_with(|char: char| char.is_ascii_digit()) || lead.starts_with("RCPT") || is_before(asked.dialogue) {
        return Some(Rank::Dialogue);
    }
    let labelled = notices.has(Notice::LabelRecipient) && words.split(' ').filter(|word| !word.is_empty()).count() <= 4;
    let sentence = notices.has(Notice::LabelRecipient) || *asked.fails;
    Some(match (labelled, sentence) {
        (true, _) => Rank::Listed,
        (_, true) => Rank::Sentence,
        _ => Rank::Mentioned,
    })
}

/// A text, or the two ends of a long one.
fn ends(text: &str) -> Cow<'_, str> {
    let head = phrases::head(text, HEADING_BYTES_MAX);
    let tail = (text.len().saturating_sub(HEADING_BYTES_MAX)..).find_map(|from| text.get(from..)).unwrap_or_default();
    if head.len() + tail.len() >= text.len() { Cow::Borrowed(text) } else { Cow::Owned(format!("{head} {tail}")) }
}

/// The last words before an address: what stands far from it says nothing about it.
fn phrases_tail(words: &str) -> &str {
    let from = words.len().saturating_sub(60);
    match words.get(from..) {
        Some(tail) if from > 0 => tail.find(' ').and_then(|space| tail.get(space..)).unwrap_or(tail),
        Some(tail) => tail,
        None => words,
    }
}
