//! A mail taken apart into what can be evidence: header, prose, report fields, and what was returned.
//!
//! Nothing is concluded here; see `verdict`.

use std::borrow::Cow;

use super::addresses;
use super::parts::{self, Head, Part};
use super::prose;
use crate::mail::dsn::{self, Dsn};
use crate::mail::rules::Rules;
use crate::model::time::Timestamp;

/// How much of the returned message is looked at: its header.
const RETURNED_BYTES_MAX: usize = 64 * 1024;
/// How much prose is read.
const PROSE_BYTES_MAX: usize = 64 * 1024;
/// The header that we put on every mail, with its sealed reference.
const REFERENCE_HEADER: &str = "X-Postback-Ref";
/// What the local parts of our return paths start with, and how long the sealed part is (see `model::token`).
const RETURN_PATH_LEAD: &str = "b+";
const RETURN_PATH_CHARS: usize = 56;
/// How many sealed references are kept.
const REFERENCES_MAX: usize = 8;

/// A mail taken apart.
#[derive(Debug)]
pub struct Letter<'a> {
    /// By which it is read.
    pub rules: &'a Rules,
    /// Its header.
    pub head: Head<'a>,
    /// Its type: `multipart/report` and the like.
    pub media: String,
    /// The `report-type` of a `multipart/report`.
    pub report_type: String,
    /// What a program or a person wrote, without what was returned.
    pub prose: String,
    /// Whether the prose had to be taken from HTML.
    pub from_html: bool,
    /// The fields of a delivery status notification, from their part or from the prose.
    pub dsn: Dsn,
    /// Whether there was a part for them.
    pub has_dsn_part: bool,
    /// The fields of a disposition notification.
    pub mdn: Option<Dsn>,
    /// The text of a feedback report.
    pub feedback: Option<String>,
    /// What was returned.
    pub returned: Option<Returned>,
    /// The returned message, where it is a report itself: some gateways wrap what they pass on.
    pub enclosed: Option<Vec<u8>>,
    /// Sealed references of ours.
    pub references: Vec<String>,
}

/// The header of the returned message.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Returned {
    /// `Message-ID`.
    pub message_id: Option<String>,
    /// `Date`.
    pub date: Option<Timestamp>,
    /// Addresses in `To`, `Cc`, `Delivered-To` and the like.
    pub to: Vec<String>,
    /// The recipient that Hotmail's complaints name in the message itself.
    pub complained: Option<String>,
    /// Whether it is a report itself.
    is_report: bool,
    /// Sealed references of ours.
    references: Vec<String>,
}

impl<'a> Letter<'a> {
    /// Takes apart a mail with `\n` line ends.
    pub fn read(mail: &'a [u8], rules: &'a Rules) -> Self {
        let (head, body) = Head::read(mail);
        let (whole, leaves) = parts::parts(&head, body);
        let mut letter = Letter {
            rules,
            references: references_in(&head),
            head,
            media: whole.media,
            report_type: whole.parameters.report_type.unwrap_or_default(),
            prose: String::new(),
            from_html: false,
            dsn: Dsn::default(),
            has_dsn_part: false,
            mdn: None,
            feedback: None,
            returned: None,
            enclosed: None,
        };
        for part in &leaves {
            letter.take(part);
        }
        letter.take_prose(&leaves);
        for reference in letter.returned.iter().flat_map(|returned| &returned.references) {
            if !letter.references.contains(reference) {
                letter.references.push(reference.clone());
            }
        }
        letter.references.truncate(REFERENCES_MAX);
        letter
    }

    fn take(&mut self, part: &Part<'_>) {
        match part.media.as_str() {
            "message/delivery-status" | "message/global-delivery-status" | "message/deliverystatus" => {
                let text = part.text();
                return_paths_in(text.as_bytes(), &mut self.references);
                let dsn = dsn::read(&text);
                self.has_dsn_part = true;
                if self.dsn.groups.is_empty() {
                    self.dsn = dsn;
                } else {
                    self.dsn.groups.extend(dsn.groups);
                    self.dsn.cut |= self.dsn.groups.len() > dsn::RECIPIENTS_MAX;
                    self.dsn.groups.truncate(dsn::RECIPIENTS_MAX);
                }
            }
            "message/disposition-notification" | "message/global-disposition-notification" => {
                self.mdn = self.mdn.take().or_else(|| Some(dsn::read(&part.text())));
            }
            "message/feedback-report" => {
                let text = part.text();
                return_paths_in(text.as_bytes(), &mut self.references);
                self.feedback.get_or_insert(text);
            }
            _ if part.is_returned() => {
                self.take_returned(&part.bytes());
            }
            _ => {}
        }
    }

    /// Keeps what was returned, unless something with a Message-ID was before.
    fn take_returned(&mut self, message: &[u8]) {
        if self.returned.as_ref().is_some_and(|known| known.message_id.is_some()) {
            return;
        }
        if let Some(returned) = Returned::read(message) {
            self.enclosed = returned.is_report.then(|| message.to_vec());
            self.returned = Some(returned);
        }
    }

    /// The prose: plain text where there is any, else what HTML says.
    fn take_prose(&mut self, leaves: &[Part<'_>]) {
        let text_of = |wanted: fn(&str) -> bool| {
            let mut text = String::new();
            for part in leaves.iter().filter(|part| wanted(&part.media)) {
                text.push_str(&part.text());
                text.push('\n');
                if text.len() > PROSE_BYTES_MAX {
                    break;
                }
            }
            text
        };
        let mut text =
            text_of(|media| media == "text/plain" || media == "text/enriched" || media.starts_with("multipart/"));
        if !text.contains(char::is_alphanumeric) {
            text = text_of(|media| media == "text/html");
            self.from_html = true;
        }
        if text.contains('\\') {
            text = addresses::without_octal(&text);
        }
        let (prose, returned) = prose::split_returned(&text, self.rules);
        self.take_returned(unquoted(prose::from_header(returned)).as_bytes());
        let prose = crate::mail::phrases::head(prose, PROSE_BYTES_MAX);
        if self.dsn.groups.is_empty()
            && let Some(at) = dsn::starts_in(prose)
        {
            self.dsn = dsn::read(&unquoted(prose.get(at..).unwrap_or_default()));
        }
        self.prose = prose.to_owned();
    }
}

/// The text without the marks of quoting, if its first line has one.
fn unquoted(text: &str) -> Cow<'_, str> {
    match text.starts_with(['>', '|']) {
        true => Cow::Owned(text.lines().flat_map(|line| [prose::unquoted(line), "\n"]).collect()),
        false => Cow::Borrowed(text),
    }
}

impl Returned {
    /// Reads the header of a returned message; `None` when there is none.
    fn read(message: &[u8]) -> Option<Self> {
        let (head, _) = Head::read(message.get(..RETURNED_BYTES_MAX).unwrap_or(message));
        if head.len() == 0 {
            return None;
        }
        let mut returned = Returned {
            message_id: head.text("Message-ID").as_deref().and_then(message_id),
            date: head.text("Date").as_deref().and_then(date),
            complained: head.text("X-HmXmrOriginalRecipient").and_then(|value| addresses::of_field(&value)),
            is_report: is_report(&head),
            references: references_in(&head),
            to: Vec::new(),
        };
        for name in ["To", "Delivered-To", "X-Original-To", "Cc", "X-Rcpt-To"] {
            let value = head.text(name).unwrap_or_default();
            returned.to.extend(addresses::spotted(&value).into_iter().map(|spot| spot.address.to_owned()));
        }
        Some(returned)
    }
}

fn date(value: &str) -> Option<Timestamp> {
    let date = mail_parser::DateTime::parse_rfc822(value).filter(mail_parser::DateTime::is_valid)?;
    date.to_timestamp().checked_mul(1000).map(Timestamp::from_millis)
}

/// Whether a header is that of a delivery status notification.
fn is_report(head: &Head<'_>) -> bool {
    let kind = head.text("Content-Type").unwrap_or_default().to_ascii_lowercase();
    let from = head.text("From").unwrap_or_default().to_ascii_lowercase();
    kind.contains("delivery-status") || from.contains("mailer-daemon") || from.contains("mail delivery s")
}

/// A Message-ID as it is compared: the first token in angle brackets, else the first word in new ones.
pub fn message_id(value: &str) -> Option<String> {
    if let Some((_, after)) = value.split_once('<') {
        let id: String = after.split('>').next()?.split_whitespace().collect();
        return (!id.is_empty()).then(|| format!("<{id}>"));
    }
    let word = value.split_whitespace().next()?;
    Some(format!("<{}>", word.trim_matches(['<', '>'])))
}

/// Sealed references in a header: our own field, return paths in any field (those of `Received` and of who checked the
/// sender keep them), and the link of `List-Unsubscribe`, which is left where addresses are blanked.
fn references_in(head: &Head<'_>) -> Vec<String> {
    let mut found: Vec<String> = head.text(REFERENCE_HEADER).into_iter().filter(|value| !value.is_empty()).collect();
    head.values().for_each(|value| return_paths_in(value, &mut found));
    let unsubscribe = head.text("List-Unsubscribe").unwrap_or_default();
    let links = unsubscribe.split(['<', '>', ' ', ',']).filter(|link| link.contains("://") && link.contains("/u/"));
    found.extend(links.map(str::to_owned));
    found.truncate(REFERENCES_MAX);
    found
}

/// The local parts of sealed return paths in a text. Whoever knows one has seen the copy, wherever he puts it.
fn return_paths_in(text: &[u8], found: &mut Vec<String>) {
    for at in memchr::memchr_iter(b'+', text) {
        let is_led = at.checked_sub(1).and_then(|lead| text.get(lead)).is_some_and(|lead| matches!(lead, b'b' | b'B'));
        let before = at.checked_sub(2).and_then(|before| text.get(before));
        let Some((sealed, after)) = text.get(at + 1..).and_then(|rest| rest.split_at_checked(RETURN_PATH_CHARS)) else {
            return;
        };
        let stands_alone = [before, after.first()].into_iter().flatten().all(|byte| !byte.is_ascii_alphanumeric());
        if is_led && stands_alone && sealed.iter().all(u8::is_ascii_alphanumeric) && found.len() < REFERENCES_MAX {
            let local = format!("{RETURN_PATH_LEAD}{}", String::from_utf8_lossy(sealed).to_ascii_lowercase());
            if !found.contains(&local) {
                found.push(local);
            }
        }
    }
}
