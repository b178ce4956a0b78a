//! The reports that we write: what became of a mail, for whoever handed it in and asked to be told (RFC 3461, 3464).
//!
//! One report tells what became of the recipients of one message whose fates are known at one time: of all that were left
//! alone when it was accepted, otherwise of one, since each recipient's copy has a way of its own. It has a text for people,
//! fields for programs, and what `RET` asked back; leaves with the null sender, and is never reported on. All of it but a returned mail's own bytes
//! is ASCII; what is not is escaped as RFC 6533 §3 has it, so that any host can carry the report. Pure: the caller draws
//! the id and decides when. Read back by `report`.

use std::fmt::Write;

use bytes::Bytes;

use super::compose::encoded_words;
use super::headers;
use super::mend::packed;
use crate::model::address::Mailbox;
use crate::model::dsn::{DsnRequest, Occasion, Returned};
use crate::model::event::{Detail, Event, EventKind};
use crate::model::id::MessageId;
use crate::model::message::{Facts, Letter, Message, Plan};
use crate::model::reason::{Cause, Reason};
use crate::model::retry::MAIL_LIFETIME;
use crate::model::time::Timestamp;

/// A mail that is larger comes back without its body, whatever was asked.
pub const RETURNED_BYTES_MAX: usize = 100 * 1024;
/// Of a subject, so many characters stand in ours.
const SUBJECT_CHARS_MAX: usize = 150;
/// Lines are folded at blanks from here on.
const LINE_BYTES: usize = 76;
/// A word that is longer is broken.
const WORD_BYTES_MAX: usize = 900;

/// Something to tell.
#[derive(Clone, Copy, Debug)]
pub struct News<'a> {
    /// The message that was handed in.
    pub message: &'a Message,
    /// What became of its recipients.
    pub entries: &'a [Entry<'a>],
    /// What was handed in, if it is still there.
    pub content: Option<&'a [u8]>,
}

/// What became of one recipient.
#[derive(Clone, Copy, Debug)]
pub struct Entry<'a> {
    /// The event that tells of it.
    pub event: &'a Event,
    /// The host that was talked to last; empty when there was none.
    pub remote: &'a str,
    /// Until when it is tried; `None` when that is not ours to say.
    pub expires_at: Option<Timestamp>,
}

/// What an event means for whoever asked to be told; `None` when nobody did, or nobody is to hear of this: nor of a
/// mail whose next hop was asked to tell, until it does (RFC 3461 §5.2.2).
pub fn occasion(message: &Message, event: &Event) -> Option<Occasion> {
    let occasion = match event.kind {
        EventKind::Delivered => match event.detail {
            Detail::Delivered { next_hop_tells: true, .. } => return None,
            Detail::Delivered { has_arrived: true, .. } => Occasion::Arrived,
            _ => Occasion::Relayed,
        },
        EventKind::HardBounced | EventKind::SoftBounced | EventKind::Failed => Occasion::Failed,
        EventKind::Delayed => Occasion::Delayed,
        _ => return None,
    };
    let dsn = message.facts.dsn.as_ref()?;
    dsn.wants(event.delivery.recipient, occasion).then_some(occasion)
}

/// The report, as a mail that is written with the first event that it tells of; `None` when nobody asked for any. It is
/// about one occasion, the first's.
pub fn letter(news: &News<'_>, hostname: &str, id: MessageId) -> Option<Letter> {
    let of = |entry: &Entry<'_>| occasion(news.message, entry.event);
    let occasion = news.entries.iter().find_map(of)?;
    let entries: Vec<Entry<'_>> = news.entries.iter().filter(|entry| of(entry) == Some(occasion)).copied().collect();
    let event = entries.first()?.event;
    let dsn = news.message.facts.dsn.as_ref()?;
    let (old, at) = (news.message, event.at);
    let own = Own { hostname, id, dsn, occasion, entries, at };
    let content = Bytes::from(own.write(news));
    let facts = Facts {
        from: Mailbox { name: SENDER_NAME.to_owned(), address: own.sender() },
        to: vec![Mailbox::bare(dsn.to.to_string())],
        subject: own.subject(&old.facts.subject),
        email_reference: own.message_id(),
        is_report: true,
        ..Facts::default()
    };
    let message = Message {
        id,
        tenant: old.tenant,
        agent: old.agent,
        agent_key: old.agent_key.clone(),
        source: old.source,
        accepted_at: at,
        facts,
        size_bytes: content.len() as u64,
    };
    let plan = Plan::of_ours(message, content, dsn.to.clone(), MAIL_LIFETIME);
    Some(Letter { event: Some(event.id), plan: plan.into() })
}

const SENDER_NAME: &str = "Mail Delivery System";

/// A report being written.
struct Own<'a> {
    hostname: &'a str,
    id: MessageId,
    dsn: &'a DsnRequest,
    occasion: Occasion,
    entries: Vec<Entry<'a>>,
    at: Timestamp,
}

impl Own<'_> {
    fn sender(&self) -> String {
        format!("mailer-daemon@{}", self.hostname)
    }

    fn message_id(&self) -> String {
        format!("{}@{}", self.id.uuid().simple(), self.hostname)
    }

    fn subject(&self, of: &str) -> String {
        let what = match self.occasion {
            Occasion::Failed => "Not delivered",
            Occasion::Delayed => "Not delivered yet",
            Occasion::Relayed => "Passed on",
            Occasion::Arrived => "Delivered",
        };
        let of: String =
            of.chars().take(SUBJECT_CHARS_MAX).map(|char| if char.is_control() { ' ' } else { char }).collect();
        if of.is_empty() { what.to_owned() } else { format!("{what}: {of}") }
    }

    fn write(&self, news: &News<'_>) -> Vec<u8> {
        let boundary = format!("=_{}", self.id.uuid().simple());
        let subject = self.subject(&news.message.facts.subject);
        let subject = if subject.is_ascii() { subject } else { encoded_words(&subject) };
        let mut text = String::with_capacity(4096);
        for (name, value) in [
            ("From", format!("{SENDER_NAME} <{}>", self.sender())),
            ("To", format!("<{}>", self.dsn.to)),
            ("Subject", subject),
            ("Date", self.at.rfc5322()),
            ("Message-ID", format!("<{}>", self.message_id())),
            ("References", message_id(&news.message.facts.email_reference)),
            ("Auto-Submitted", "auto-replied".to_owned()),
            ("MIME-Version", "1.0".to_owned()),
            ("Content-Type", format!("multipart/report; report-type=delivery-status; boundary=\"{boundary}\"")),
        ] {
            push_field(&mut text, name, &value);
        }
        text.push_str("\r\n");
        let _ = write!(text, "--{boundary}\r\nContent-Type: text/plain; charset=us-ascii\r\n\r\n");
        self.push_text(&mut text);
        let _ = write!(text, "\r\n--{boundary}\r\nContent-Type: message/delivery-status\r\n\r\n");
        self.push_fields(&mut text, news);
        let mut report = text.into_bytes();
        if let Some(content) = news.content {
            report.extend_from_slice(format!("\r\n--{boundary}\r\n").as_bytes());
            self.push_returned(&mut report, content);
        }
        report.extend_from_slice(format!("\r\n--{boundary}--\r\n").as_bytes());
        report
    }

    fn push_text(&self, text: &mut String) {
        let _ = write!(text, "This is the mail system at {}.\r\n\r\n", self.hostname);
        let whom = if self.entries.len() > 1 { "these recipients" } else { "this recipient" };
        let what = match self.occasion {
            Occasion::Failed => format!("Your message was not delivered to {whom}, and will not be tried again:"),
            Occasion::Delayed => format!("Your message was not delivered to {whom} yet:"),
            Occasion::Relayed => format!(
                "Your message was taken by the mail server of {whom}, which need not tell us what becomes of it:"
            ),
            Occasion::Arrived => format!("Your message was delivered to {whom}, as their mail server says:"),
        };
        push_folded(text, "", &what);
        for entry in &self.entries {
            let _ = write!(text, "\r\n    <{}>\r\n\r\n", ascii(&entry.event.recipient));
            if let Some(cause) = cause(&entry.event.detail) {
                push_folded(text, "    ", &format!("{}.", cause.reason.sentence()));
                push_folded(text, "    ", &ascii(&cause.diagnostic));
            }
            if let (Occasion::Delayed, Some(until)) = (self.occasion, entry.expires_at) {
                let until = until.rfc5322();
                push_folded(text, "", &format!("It is tried until {until}. You need not send it again."));
            }
        }
    }

    /// RFC 3464 §2.2, and §2.3 for each recipient.
    fn push_fields(&self, text: &mut String, news: &News<'_>) {
        push_field(text, "Original-Envelope-Id", &self.dsn.envelope_id);
        push_field(text, "Reporting-MTA", &format!("dns; {}", self.hostname));
        push_field(text, "Arrival-Date", &news.message.accepted_at.rfc5322());
        for entry in &self.entries {
            text.push_str("\r\n");
            self.push_recipient(text, entry);
        }
    }

    fn push_recipient(&self, text: &mut String, entry: &Entry<'_>) {
        let (event, recipient) = (entry.event, entry.event.delivery.recipient);
        let original = self.dsn.recipients.get(&recipient).map_or("", |wish| wish.original.as_str());
        let original = original.split_once(';').map(|(kind, address)| format!("{kind}; {address}"));
        push_field(text, "Original-Recipient", &original.unwrap_or_default());
        push_field(text, "Final-Recipient", &typed(&event.recipient));
        let (action, status) = match self.occasion {
            Occasion::Failed => ("failed", cause(&event.detail).map_or("5.0.0".to_owned(), failed_status)),
            Occasion::Delayed => ("delayed", cause(&event.detail).map_or("4.0.0".to_owned(), delayed_status)),
            Occasion::Relayed => ("relayed", "2.0.0".to_owned()),
            Occasion::Arrived => ("delivered", "2.0.0".to_owned()),
        };
        push_field(text, "Action", action);
        push_field(text, "Status", &status);
        let host = entry.remote.split([' ', '[', ':']).next().unwrap_or_default();
        push_field(text, "Remote-MTA", &if host.is_empty() { String::new() } else { format!("dns; {}", ascii(host)) });
        push_field(text, "Diagnostic-Code", &diagnostic(&event.detail));
        push_field(text, "Last-Attempt-Date", &event.at.rfc5322());
        if let (Occasion::Delayed, Some(until)) = (self.occasion, entry.expires_at) {
            push_field(text, "Will-Retry-Until", &until.rfc5322());
        }
    }

    /// RFC 3461 §4.3: all of a mail that failed, if that was asked for; else its header.
    fn push_returned(&self, report: &mut Vec<u8>, content: &[u8]) {
        let is_whole = self.occasion == Occasion::Failed
            && self.dsn.returned == Returned::Full
            && content.len() <= RETURNED_BYTES_MAX;
        let header = content.get(..headers::body_start(content)).unwrap_or(content);
        let returned = if is_whole { content } else { &header[..lines_within(header, RETURNED_BYTES_MAX)] };
        // Only an ASCII header may stand in a message/rfc822 (RFC 6532 §3.7).
        let kind = match (is_whole, header.is_ascii()) {
            (true, true) => "message/rfc822",
            (true, false) => "message/global",
            (false, true) => "text/rfc822-headers",
            (false, false) => "message/global-headers",
        };
        let encoding = match (returned.is_ascii(), header.is_ascii()) {
            (true, _) => "7bit",
            (false, true) => "8bit",
            (false, false) => "base64",
        };
        let head = format!("Content-Type: {kind}\r\nContent-Transfer-Encoding: {encoding}\r\n\r\n");
        report.extend_from_slice(head.as_bytes());
        match encoding {
            "base64" => report.extend_from_slice(&packed(returned)),
            _ => report.extend_from_slice(returned),
        }
    }
}

fn cause(detail: &Detail) -> Option<&Cause> {
    match detail {
        Detail::Bounced { cause } | Detail::Failed { cause } | Detail::Deferred { cause, .. } => Some(cause),
        _ => None,
    }
}

/// What the other side said, or we, when it said nothing.
fn diagnostic(detail: &Detail) -> String {
    match detail {
        Detail::Delivered { reply, .. } if reply.starts_with('2') => format!("smtp; {}", ascii(reply)),
        _ => match cause(detail) {
            Some(cause) if cause.code.is_some() => format!("smtp; {}", ascii(&cause.diagnostic)),
            Some(cause) if !cause.diagnostic.is_empty() => format!("x-postback; {}", ascii(&cause.diagnostic)),
            _ => String::new(),
        },
    }
}

/// RFC 3464 §2.3.4. A mail that was given up keeps the status of its last attempt.
fn failed_status(cause: &Cause) -> String {
    match (status(cause), cause.code) {
        (Some(status), _) => status.to_owned(),
        (None, Some(code)) => format!("{}.0.0", if code >= 500 { 5 } else { 4 }),
        (None, None) if cause.reason == Reason::Expired => "4.4.7".to_owned(),
        (None, None) => "5.0.0".to_owned(),
    }
}

fn delayed_status(cause: &Cause) -> String {
    status(cause).filter(|status| status.starts_with('4')).unwrap_or("4.0.0").to_owned()
}

fn status(cause: &Cause) -> Option<&str> {
    let is_status = |status: &&str| status.bytes().all(|byte| byte.is_ascii_digit() || byte == b'.');
    cause.status.as_deref().filter(is_status)
}

/// An address with its type. One that is not ASCII is escaped as RFC 6533 §3 has it.
fn typed(address: &str) -> String {
    if address.is_ascii() {
        return format!("rfc822; {address}");
    }
    let escape = |char: char| match char {
        '!'..='~' if !matches!(char, '\\' | '+' | '=') => char.to_string(),
        _ => format!("\\x{{{:X}}}", u32::from(char)),
    };
    format!("utf-8; {}", address.chars().map(escape).collect::<String>())
}

/// The text in printable ASCII; other characters as `\x{…}`.
fn ascii(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for char in text.chars() {
        match char {
            ' '..='~' => out.push(char),
            _ if char.is_ascii_control() => out.push(' '),
            _ => {
                let _ = write!(out, "\\x{{{:X}}}", u32::from(char));
            }
        }
    }
    out
}

fn message_id(reference: &str) -> String {
    if reference.is_empty() { String::new() } else { format!("<{reference}>") }
}

/// A header field, folded; nothing for a value that is empty.
pub(super) fn push_field(text: &mut String, name: &str, value: &str) {
    if !value.is_empty() {
        push_words(text, &format!("{name}: "), " ", value);
    }
}

/// A paragraph of text.
fn push_folded(text: &mut String, indent: &str, value: &str) {
    push_words(text, indent, indent, value);
}

/// Words behind `start`, on lines that go on with `indent`.
fn push_words(text: &mut String, start: &str, indent: &str, value: &str) {
    text.push_str(start);
    let mut column = start.len();
    // Nothing ends a line but we.
    let words = value.split(|char: char| char == ' ' || char.is_control()).filter(|word| !word.is_empty());
    for (place, word) in words.flat_map(pieces).enumerate() {
        if place > 0 && column + 1 + word.len() > LINE_BYTES {
            text.push_str("\r\n");
            text.push_str(indent);
            column = indent.len();
        } else if place > 0 {
            text.push(' ');
            column += 1;
        }
        text.push_str(word);
        column += word.len();
    }
    text.push_str("\r\n");
}

/// A word, in pieces that fit into a line.
fn pieces(word: &str) -> impl Iterator<Item = &str> {
    let mut rest = word;
    std::iter::from_fn(move || {
        let (piece, after) = rest.split_at(rest.floor_char_boundary(WORD_BYTES_MAX));
        rest = after;
        (!piece.is_empty()).then_some(piece)
    })
}

/// Where the last whole line within so many bytes ends.
fn lines_within(bytes: &[u8], max: usize) -> usize {
    match bytes.get(..max) {
        None => bytes.len(),
        Some(within) => memchr::memrchr(b'\n', within).map_or(0, |end| end + 1),
    }
}

#[cfg(test)]
mod tests;
