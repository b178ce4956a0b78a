//! A submitted mail: what its header says, and the mail as we keep it.
//!
//! [`read`] takes out what acceptance and later events need: the people, the subject, the switches that a submitter
//! set by header. [`kept`] makes the bytes that are stored and rendered from: switches, `Bcc` and `Return-Path` are
//! gone, `Received` is on top, a missing `Date`, `Message-ID` or `From` is there, and lines that are too long are
//! encoded or folded. Everything else stays byte for byte. RFC 6409 §8 says what a submission server may do.

use std::time::Duration;

use mail_parser::parsers::MessageStream;
use mail_parser::{Address as Parsed, HeaderValue};
use memchr::memmem;
use serde_json::{Map, Value};

use super::headers::{self, Field};
use super::mend::{self, Need};
use super::parts::{self, Excess};
pub use super::parts::{NESTING_MAX, PARTS_MAX};
use crate::model::address::Mailbox;
use crate::model::dsn::Wishes;
use crate::model::message::{TlsWish, Way};
use crate::model::retry::AHEAD_MAX;
use crate::model::time::Timestamp;

/// Largest header block, in bytes.
pub const HEADER_BYTES_MAX: usize = 100 * 1024;
/// `Received` fields after which a mail is taken for one that goes round in a circle (RFC 5321 §6.3).
pub const HOPS_MAX: usize = 100;
/// Those of them that may be ours: a mail may come to us from one that we sent, but not again and again.
pub const OWN_HOPS_MAX: usize = 3;
/// Of a field's name, so much is shown to whoever has to change it.
const FIELD_NAME_SHOWN: usize = 76;
/// Tags of one message.
pub const TAGS_MAX: usize = 10;
/// Files of the cache that one message may name.
pub const FILE_KEYS_MAX: usize = 60;

/// What a submitter may set about one message, by header or by API field.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Switches {
    /// Add a pixel; `None` leaves it to the agent.
    pub track_opens: Option<bool>,
    /// Rewrite links; `None` leaves it to the agent.
    pub track_clicks: Option<bool>,
    /// Where links are rewritten, leave those alone that let their holder in, whatever the agent has set.
    pub spares_secrets: bool,
    /// Add a `List-Unsubscribe` of one click; `None` leaves it to the agent.
    pub list_unsubscribe: Option<bool>,
    /// The submitter's own reference.
    pub client_reference: String,
    /// Tags.
    pub tags: Vec<String>,
    /// Metadata, in the order given.
    pub metadata: Map<String, Value>,
    /// Not to be sent before this time.
    pub send_at: Option<Timestamp>,
    /// Given up so long after it was first due; `None`, or more than the installation's own, leaves it to that.
    pub time_to_live: Option<Duration>,
    /// The bounce address that payloads show; empty leaves it to the agent.
    pub bounce_address: String,
    /// What is wanted of TLS on the way.
    pub tls: TlsWish,
    /// Of what the submitter wants to hear by mail; only SMTP can say.
    pub wishes: Wishes,
    /// As what it is handed in; only the APIs can say.
    pub way: Way,
}

/// What the header of a submitted mail says.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Submitted {
    /// The first mailbox of `From`.
    pub from: Option<Mailbox>,
    /// The others of `From`.
    pub further_authors: Vec<Mailbox>,
    /// `Sender`: who handed it in for those of `From`.
    pub sender: Vec<Mailbox>,
    /// `To`.
    pub to: Vec<Mailbox>,
    /// `Cc`.
    pub cc: Vec<Mailbox>,
    /// `Bcc`, which is gone from the mail as it is kept.
    pub bcc: Vec<Mailbox>,
    /// `Reply-To`.
    pub reply_to: Vec<Mailbox>,
    /// `Subject`, decoded.
    pub subject: String,
    /// `Message-ID` without angle brackets; empty when absent.
    pub message_id: String,
    /// `Date` is there.
    pub has_date: bool,
    /// It comes from a program that answers by itself, or from a list: its sender is never told anything by mail.
    pub is_automatic: bool,
    /// Switches set by header.
    pub switches: Switches,
    /// Files of the agent's cache that are to be attached.
    pub files: Vec<CachedFile>,
}

/// A file of the agent's cache, as `X-TM-FILE-KEY` names it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CachedFile {
    /// Its key.
    pub key: String,
    /// What the reader is to see; empty for the name that it has in the cache.
    pub name: String,
}

/// Why a submitted mail cannot be taken.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Unreadable {
    /// It has no header field at all.
    #[error("the message has no header")]
    NoHeader,
    /// Its header is larger than [`HEADER_BYTES_MAX`].
    #[error("the header is larger than {HEADER_BYTES_MAX} bytes")]
    HeaderTooLarge,
    /// A line of its header is no field (RFC 5322 §2.2).
    #[error("a line of the header is not a field")]
    NotAField,
    /// A field of its header has a blank or an 8-bit character in its name.
    #[error("a field of the header has a name that is none")]
    BadName,
    /// A line of its header is longer than mail may have, and cannot be folded (RFC 5322 §2.1.1).
    #[error("the field {0} has a line of more than 998 characters that cannot be folded")]
    LongLine(String),
    /// A field stands more than once that may stand once (RFC 5322 §3.6).
    #[error("the header has more than one {0}")]
    Twice(&'static str),
    /// A switch has a value that makes no sense.
    #[error("{0} has a value that cannot be understood")]
    Switch(&'static str),
    /// It is to be sent later than can be waited for.
    #[error("X-Postback-Send-At is more than {} days ahead", AHEAD_MAX.as_secs() / 86_400)]
    TooFarAhead,
    /// Its key came with another message before.
    #[error("the idempotency key was used for another message")]
    KeyTaken,
    /// It holds a NUL, which no mail may (RFC 5322 §2.1).
    #[error("the message holds a NUL")]
    Nul,
    /// It has more than [`PARTS_MAX`] parts.
    #[error("the message has more than {PARTS_MAX} parts")]
    TooManyParts,
    /// It has parts inside more than [`NESTING_MAX`] parts.
    #[error("the message has parts inside more than {NESTING_MAX} parts")]
    TooDeep,
    /// It has passed more than [`HOPS_MAX`] mail servers, or us more than [`OWN_HOPS_MAX`] times, or says twice that it
    /// was delivered here.
    #[error("the message has passed too many mail servers")]
    Loop,
}

const ONCE: &[&str] = &["From", "Subject", "Date", "Message-ID", "To", "Cc", "Reply-To", "Sender"];

/// Fields that are gone from the mail as it is kept.
fn is_dropped(field: &Field<'_>) -> bool {
    const DROPPED: &[&str] = &[
        "Bcc",
        "Resent-Bcc",
        "Return-Path",
        "Authentication-Results",
        "X-TM-CLIENT-REF",
        "X-TM-OPEN-TRACK",
        "X-TM-CLICK-TRACK",
        "X-TM-FILE-KEY",
    ];
    const OURS: &[u8] = b"x-postback-";
    DROPPED.iter().any(|name| field.is(name))
        || field.name.get(..OURS.len()).is_some_and(|start| start.eq_ignore_ascii_case(OURS))
}

/// Reads the header of a submitted mail. `hostname` is what we call ourselves in `Received`.
///
/// # Errors
/// Whatever makes the mail one that must not be sent on; see [`Unreadable`].
pub fn read(message: &[u8], hostname: &str) -> Result<Submitted, Unreadable> {
    if headers::body_start(message) > HEADER_BYTES_MAX {
        return Err(Unreadable::HeaderTooLarge);
    }
    let mut submitted = Submitted::default();
    let mut seen: Vec<&'static str> = Vec::new();
    let own_hop = format!("by {hostname} (Postback) ");
    let (mut hops, mut own_hops, mut own_marks, mut count) = (0, 0, 0, 0);
    for field in headers::fields(message) {
        count += 1;
        if field.name.is_empty() {
            return Err(Unreadable::NotAField);
        }
        if !field.name.iter().all(|byte| matches!(byte, 33..=126)) {
            return Err(Unreadable::BadName);
        }
        if !is_dropped(&field) && !mend::can_be_short(&message[field.range.clone()]) {
            let name = &field.name[..field.name.len().min(FIELD_NAME_SHOWN)];
            return Err(Unreadable::LongLine(String::from_utf8_lossy(name).into_owned()));
        }
        if let Some(name) = ONCE.iter().find(|name| field.is(name)) {
            if seen.contains(name) {
                return Err(Unreadable::Twice(name));
            }
            seen.push(name);
        }
        if field.is("Received") {
            hops += 1;
            own_hops += usize::from(memmem::find(field.value, own_hop.as_bytes()).is_some());
        }
        own_marks += usize::from(is_own_mark(&field, hostname));
        take(&mut submitted, &field)?;
    }
    if count == 0 {
        return Err(Unreadable::NoHeader);
    }
    if hops > HOPS_MAX || own_hops > OWN_HOPS_MAX || own_marks > 1 {
        return Err(Unreadable::Loop);
    }
    match parts::excess(message) {
        None => Ok(submitted),
        Some(Excess::Parts) => Err(Unreadable::TooManyParts),
        Some(Excess::Nesting) => Err(Unreadable::TooDeep),
    }
}

/// Whether this field says that the mail was here: with our name, or with an address of it.
fn is_own_mark(field: &Field<'_>, hostname: &str) -> bool {
    (field.is("Delivered-To") || field.is("X-Loop")) && !hostname.is_empty() && {
        let text = field.text();
        let name = text.rsplit('@').next().unwrap_or_default();
        name.trim_matches(['<', '>', ' ']).eq_ignore_ascii_case(hostname)
    }
}

fn take(submitted: &mut Submitted, field: &Field<'_>) -> Result<(), Unreadable> {
    match String::from_utf8_lossy(field.name).to_ascii_lowercase().as_str() {
        "from" => {
            let mut authors = mailboxes(field).into_iter();
            (submitted.from, submitted.further_authors) = (authors.next(), authors.collect());
        }
        "sender" => submitted.sender = mailboxes(field),
        "to" => submitted.to = mailboxes(field),
        "cc" => submitted.cc = mailboxes(field),
        "bcc" => submitted.bcc.extend(mailboxes(field)),
        "reply-to" => submitted.reply_to = mailboxes(field),
        "subject" => submitted.subject = field.decoded(),
        "message-id" => submitted.message_id = field.text().trim_matches(['<', '>']).to_owned(),
        "date" => submitted.has_date = true,
        "auto-submitted" | "list-id" | "precedence" => submitted.is_automatic |= is_automatic(field),
        "x-tm-file-key" => {
            submitted.files.extend(cached_files(field));
            if submitted.files.len() > FILE_KEYS_MAX {
                return Err(Unreadable::Switch("X-TM-FILE-KEY"));
            }
        }
        _ => switch(&mut submitted.switches, field)?,
    }
    Ok(())
}

/// `key,key` or `key:name,key:name`; keys without names may also stand with blanks between them.
fn cached_files(field: &Field<'_>) -> Vec<CachedFile> {
    let text = field.text();
    let named = text.split(',').map(|item| item.split_once(':').unwrap_or((item, "")));
    let files = named.flat_map(|(keys, name)| {
        let name = Field { value: name.as_bytes(), ..field.clone() }.decoded().trim().to_owned();
        keys.split_ascii_whitespace().map(move |key| CachedFile { key: key.to_owned(), name: name.clone() })
    });
    files.collect()
}

/// Whether this field says that a report would reach a program or a list (RFC 3834 §2, §5), which may answer it.
fn is_automatic(field: &Field<'_>) -> bool {
    let text = field.text().to_ascii_lowercase();
    let word = text.split([';', '(']).next().unwrap_or_default().trim();
    match () {
        () if field.is("Auto-Submitted") => word != "no",
        () if field.is("Precedence") => matches!(word, "bulk" | "list" | "junk"),
        () => field.is("List-Id"),
    }
}

fn switch(switches: &mut Switches, field: &Field<'_>) -> Result<(), Unreadable> {
    if field.is("X-TM-CLIENT-REF") {
        switches.client_reference = field.decoded();
    } else if field.is("X-TM-OPEN-TRACK") || field.is("X-Postback-Track-Opens") {
        switches.track_opens = Some(truth(field).ok_or(Unreadable::Switch("the switch for opens"))?);
    } else if field.is("X-TM-CLICK-TRACK") || field.is("X-Postback-Track-Clicks") {
        switches.spares_secrets = field.text().eq_ignore_ascii_case("auto");
        let is_on = if switches.spares_secrets { Some(true) } else { truth(field) };
        switches.track_clicks = Some(is_on.ok_or(Unreadable::Switch("the switch for clicks"))?);
    } else if field.is("TLS-Required") && field.text().eq_ignore_ascii_case("no") {
        switches.tls = TlsWish::Waived;
    } else if field.is("X-Postback-Unsubscribe") {
        let wish = truth(field).ok_or(Unreadable::Switch("X-Postback-Unsubscribe"))?;
        switches.list_unsubscribe = Some(wish);
    } else if field.is("X-Postback-Tag") {
        let tags = field.decoded();
        let tags = tags.split(',').map(str::trim).filter(|tag| !tag.is_empty()).map(str::to_owned);
        switches.tags.extend(tags.take(TAGS_MAX - switches.tags.len().min(TAGS_MAX)));
    } else if field.is("X-Postback-Metadata") {
        let metadata = serde_json::from_str(&field.decoded());
        switches.metadata = metadata.map_err(|_| Unreadable::Switch("X-Postback-Metadata"))?;
    } else if field.is("X-Postback-Send-At") {
        let at = Timestamp::from_rfc3339(&field.text()).ok_or(Unreadable::Switch("X-Postback-Send-At"))?;
        switches.send_at = Some(at);
    } else if field.is("X-Postback-Time-To-Live") {
        let secs = field.text().parse().ok().filter(|secs| *secs > 0);
        let secs = secs.ok_or(Unreadable::Switch("X-Postback-Time-To-Live"))?;
        switches.time_to_live = Some(Duration::from_secs(secs));
    }
    Ok(())
}

fn truth(field: &Field<'_>) -> Option<bool> {
    match field.text().to_ascii_lowercase().as_str() {
        "true" | "yes" | "on" | "1" => Some(true),
        "false" | "no" | "off" | "0" => Some(false),
        _ => None,
    }
}

/// The mailboxes of an address field, groups flattened; what has no address is left out.
pub(super) fn mailboxes(field: &Field<'_>) -> Vec<Mailbox> {
    let line = [headers::legible(field.value).as_bytes(), b"\n"].concat();
    let parsed = match MessageStream::new(&line).parse_address() {
        HeaderValue::Address(Parsed::List(list)) => list,
        HeaderValue::Address(Parsed::Group(groups)) => groups.into_iter().flat_map(|group| group.addresses).collect(),
        _ => Vec::new(),
    };
    let mailbox = |addr: mail_parser::Addr<'_>| {
        let address = addr.address?.into_owned();
        Some(Mailbox { address, name: addr.name.map(std::borrow::Cow::into_owned).unwrap_or_default() })
    };
    parsed.into_iter().filter_map(mailbox).collect()
}

/// A mail with line ends of any kind, with those that mail has.
///
/// # Errors
/// `Nul`.
pub fn canonical(mail: &[u8]) -> Result<Vec<u8>, Unreadable> {
    let mut lines = Vec::with_capacity(mail.len() + mail.len() / 32);
    let mut rest = mail;
    while let Some(place) = memchr::memchr3(b'\r', b'\n', 0, rest) {
        let (line, end) = rest.split_at(place);
        lines.extend_from_slice(line);
        lines.extend_from_slice(b"\r\n");
        rest = match end {
            [b'\r', b'\n', after @ ..] | [b'\r' | b'\n', after @ ..] => after,
            _ => return Err(Unreadable::Nul),
        };
    }
    lines.extend_from_slice(rest);
    Ok(lines)
}

/// What is added to a mail that lacks it.
#[derive(Clone, Debug)]
pub struct Additions<'a> {
    /// The whole `Received` value, without the name.
    pub received: &'a str,
    /// For `Date`.
    pub date: &'a str,
    /// For `Message-ID`, without angle brackets.
    pub message_id: &'a str,
    /// For `From`.
    pub from: &'a str,
}

/// The mail as it is kept.
pub fn kept(message: &[u8], submitted: &Submitted, additions: &Additions<'_>) -> Vec<u8> {
    let mut top = format!("Received: {}\r\n", additions.received);
    if !submitted.has_date {
        top.push_str(&format!("Date: {}\r\n", additions.date));
    }
    if submitted.message_id.is_empty() {
        top.push_str(&format!("Message-ID: <{}>\r\n", additions.message_id));
    }
    if submitted.from.is_none() {
        top.push_str(&format!("From: {}\r\n", additions.from));
    }
    let is_empty = |field: &Field<'_>| {
        (field.is("Message-ID") && submitted.message_id.is_empty()) || (field.is("From") && submitted.from.is_none())
    };
    let stays = headers::without(message, |field| is_dropped(field) || is_empty(field));
    headers::with_on_top(top.as_bytes(), &mend::mended(&stays, Need::ShortLines))
}

#[cfg(test)]
mod tests {
    use super::*;

    const ADDITIONS: Additions<'_> = Additions {
        received: "by mail.example",
        date: "Mon, 02 Mar 2026 08:15:00 +0000",
        message_id: "1@mail.example",
        from: "a@b.example",
    };

    #[test]
    fn people_subject_and_switches() {
        let mail = b"From: =?utf-8?q?J=C3=B6rg?= <joerg@acme.example>\r\nTo: a@x.example, \"B, C\" <b@x.example>\r\n\
            Cc: Team: c@x.example, d@x.example;\r\nSubject: =?utf-8?q?Gr=C3=BC=C3=9Fe?=\r\nMessage-ID: <7@acme.example>\r\n\
            X-TM-CLIENT-REF: order-7\r\nx-tm-open-track: FALSE\r\nX-Postback-Tag: a, b\r\nX-TM-FILE-KEY: k1, k2\r\n\
            X-Postback-Metadata: {\"z\":1,\"a\":\"x\"}\r\n\r\nHi\r\n";
        let submitted = read(mail, "mail.example").unwrap();
        assert_eq!(submitted.from, Some(Mailbox { address: "joerg@acme.example".into(), name: "Jörg".into() }));
        assert_eq!(submitted.to[1].name, "B, C");
        assert_eq!(submitted.cc.len(), 2);
        assert_eq!(submitted.subject, "Grüße");
        assert_eq!(submitted.message_id, "7@acme.example");
        assert_eq!(submitted.switches.client_reference, "order-7");
        assert_eq!(submitted.switches.track_opens, Some(false));
        assert_eq!(submitted.switches.tags, ["a", "b"]);
        assert_eq!(submitted.files.iter().map(|file| file.key.as_str()).collect::<Vec<_>>(), ["k1", "k2"]);
        assert_eq!(submitted.switches.metadata.keys().collect::<Vec<_>>(), ["z", "a"]);
        let kept = String::from_utf8(kept(mail, &submitted, &ADDITIONS)).unwrap();
        assert!(kept.starts_with("Received: by mail.example\r\nDate: Mon"));
        let old = read(b"To: Ren\xe9e <r@x.example>\r\nSubject: Gr\xfc\xdfe\r\n\r\n", "mail.example").unwrap();
        assert_eq!((old.to[0].name.as_str(), old.subject.as_str()), ("Renée", "Grüße"));
        assert!(!kept.to_lowercase().contains("x-tm-") && !kept.to_lowercase().contains("x-postback-"));
        assert!(kept.contains("Message-ID: <7@acme.example>\r\n\r\nHi\r\n"));
    }

    #[test]
    fn what_is_missing_is_added_and_what_is_secret_goes() {
        let mail = b"Subject: x\r\nBcc: hidden@x.example\r\nReturn-Path: <e@x.example>\r\n\r\nbody";
        let kept = String::from_utf8(kept(mail, &read(mail, "mail.example").unwrap(), &ADDITIONS)).unwrap();
        assert_eq!(
            kept,
            "Received: by mail.example\r\nDate: Mon, 02 Mar 2026 08:15:00 +0000\r\nMessage-ID: <1@mail.example>\r\n\
             From: a@b.example\r\nSubject: x\r\n\r\nbody"
        );
    }

    #[test]
    fn files_of_the_cache() {
        let check = |value: &str, expected: &[(&str, &str)]| {
            let mail = format!("X-TM-FILE-KEY: {value}\r\n\r\n");
            let files = read(mail.as_bytes(), "mail.example").unwrap().files;
            let files: Vec<(&str, &str)> = files.iter().map(|file| (file.key.as_str(), file.name.as_str())).collect();
            assert_eq!(files, expected, "{value}");
        };
        check("a", &[("a", "")]);
        check("a,b c , ,", &[("a", ""), ("b", ""), ("c", "")]);
        check("a:x.jpg,b:y.pdf", &[("a", "x.jpg"), ("b", "y.pdf")]);
        check("a : my holiday: 1.jpg ,\r\n\tb:, c", &[("a", "my holiday: 1.jpg"), ("b", ""), ("c", "")]);
        check("a:=?utf-8?q?gr=C3=BCn=2C_2.jpg?=,b:grün", &[("a", "grün, 2.jpg"), ("b", "grün")]);
        check(":x", &[]);
    }

    #[test]
    fn who_is_never_told_by_mail() {
        let check = |field: &str, expected| {
            let mail = format!("Subject: x\r\n{field}\r\n\r\n");
            assert_eq!(read(mail.as_bytes(), "mail.example").unwrap().is_automatic, expected, "{field}");
        };
        check("Auto-Submitted: auto-generated", true);
        check("auto-submitted:\r\n\tAuto-Replied; owner-email=\"a@b.example\"", true);
        check("Auto-Submitted: No\r\nAuto-Submitted: auto-notified", true);
        check("List-Id: News <news.acme.example>", true);
        check("Precedence: bulk\r\nPrecedence: first-class", true);
        check("PRECEDENCE: List (of us)", true);
        check("Auto-Submitted: NO (a person)", false);
        check("Precedence: first-class\r\nX-List-Id: a", false);
    }

    #[test]
    fn line_ends_of_every_kind() {
        let check = |mail: &str, expected: &str| assert_eq!(canonical(mail.as_bytes()).unwrap(), expected.as_bytes());
        check("a\nb\r\nc\rd\n\n\r\r\n", "a\r\nb\r\nc\r\nd\r\n\r\n\r\n\r\n");
        check("", "");
        check("a", "a");
        assert_eq!(canonical(b"a\0b"), Err(Unreadable::Nul));
    }

    #[test]
    fn what_must_not_be_sent_on() {
        let check =
            |mail: &str, expected| assert_eq!(read(mail.as_bytes(), "mail.example").err(), Some(expected), "{mail}");
        check("", Unreadable::NoHeader);
        check("\r\nbody", Unreadable::NoHeader);
        check("From: a@b.example\r\nFrom: c@d.example\r\n\r\n", Unreadable::Twice("From"));
        check("Subject: a\r\nsubject: b\r\n\r\n", Unreadable::Twice("Subject"));
        check("hello world\r\n\r\n", Unreadable::NotAField);
        check("Sub ject: a\r\n\r\n", Unreadable::BadName);
        check("Gr\u{fc}: a\r\n\r\n", Unreadable::BadName);
        check("X-TM-OPEN-TRACK: maybe\r\n\r\n", Unreadable::Switch("the switch for opens"));
        check("X-Postback-Metadata: [1]\r\n\r\n", Unreadable::Switch("X-Postback-Metadata"));
        check("X-Postback-Time-To-Live: -1\r\n\r\n", Unreadable::Switch("X-Postback-Time-To-Live"));
        check(&format!("{}\r\n", "Received: x\r\n".repeat(101)), Unreadable::Loop);
        let own = "Received: from a ([192.0.2.1])\r\n\tby mail.example (Postback) with ESMTPA\r\n\tid 1; now\r\n";
        assert!(read(format!("{}\r\n", own.repeat(3)).as_bytes(), "mail.example").is_ok());
        check(&format!("{}\r\n", own.repeat(4)), Unreadable::Loop);
        check(&format!("X: {}\r\n\r\n", "a".repeat(HEADER_BYTES_MAX)), Unreadable::HeaderTooLarge);
        let long = "a".repeat(1_000);
        check(&format!("Message-ID: <{long}@b.example>\r\n\r\n"), Unreadable::LongLine("Message-ID".into()));
        check(&format!("{long}: b\r\n\r\n"), Unreadable::LongLine(long[..FIELD_NAME_SHOWN].into()));
        assert!(read(format!("X-TM-CLIENT-REF: {long}\r\nSubject: {long}\r\n\r\n").as_bytes(), "mail.example").is_ok());
    }
}
