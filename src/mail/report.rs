//! What a mail that came back is: a bounce, a warning, a success, a complaint, an automatic reply, or just mail.
//!
//! [`read`] is the one way in. It never fails, does no look-ups, and looks at a bounded part of the mail (see
//! [`parts`]). What it finds is what the mail claims; whether to believe it is decided by who asks, since anybody can
//! write a report: only the sealed return path proves that it is about a message of ours.
//!
//! Order of evidence: a feedback report, the fields of a delivery status notification (in a part of their own or in the
//! text), then prose. Called by `intake::report` and the `inspect` command.

mod verdict;

mod case;
mod inferred;
mod letter;
pub(in crate::mail) mod notices;
mod notification;
mod prose;
mod stated;

pub(in crate::mail) mod addresses;
pub(in crate::mail) mod parts;

use serde_json::{Value, json};

pub use super::arf::Complaint;
pub use super::dsn::Action;
use super::rules::Rules;
use crate::model::reason::{Cause, Class, Reason};
use crate::model::time::Timestamp;
pub use parts::BYTES_MAX;

/// What a mail is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// At least one recipient was given up.
    Bounce,
    /// Nobody was given up yet; somebody still waits.
    Delayed,
    /// Delivered, or expanded to a list.
    Success,
    /// Handed to a system that will not tell more.
    Relayed,
    /// Somebody complained, or asked to be left alone.
    Complaint,
    /// A program answered in somebody's absence, or asks us to prove that we are a person.
    Autoreply,
    /// Everything else: read receipts, aggregate reports, mail from people.
    Ordinary,
}

impl Kind {
    /// Every kind.
    pub const ALL: [Kind; 7] =
        [Kind::Bounce, Kind::Delayed, Kind::Success, Kind::Relayed, Kind::Complaint, Kind::Autoreply, Kind::Ordinary];

    /// The word for it.
    pub fn as_str(self) -> &'static str {
        match self {
            Kind::Bounce => "bounce",
            Kind::Delayed => "delayed",
            Kind::Success => "success",
            Kind::Relayed => "relayed",
            Kind::Complaint => "complaint",
            Kind::Autoreply => "autoreply",
            Kind::Ordinary => "ordinary",
        }
    }
}

/// What a report says of one recipient.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Recipient {
    /// The address as the report gives it: the one that we sent to, where it tells. Not checked.
    pub address: String,
    /// What was done.
    pub action: Action,
    /// Why, in our words and in theirs.
    pub cause: Cause,
}

/// What a mail that came back says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Report {
    /// What it is.
    pub kind: Kind,
    /// Whom it is about, at most [`RECIPIENTS_MAX`](super::dsn::RECIPIENTS_MAX); empty for automatic replies and ordinary mail.
    pub recipients: Vec<Recipient>,
    /// The Message-ID of the message that it is about, with its angle brackets.
    pub original_message_id: Option<String>,
    /// When that message was written, by its `Date`.
    pub original_date: Option<Timestamp>,
    /// The envelope id of that message (RFC 3461 §4.4).
    pub original_envelope_id: Option<String>,
    /// The host that reports.
    pub reporting_mta: Option<String>,
    /// What was complained about, when it is a complaint.
    pub complaint: Option<Complaint>,
    /// Sealed references of ours found in it: values of `X-Postback-Ref`, return paths, and links to unsubscribe. Not
    /// opened here.
    pub references: Vec<String>,
    /// Whether the mail was longer, or had more recipients, than is read; such a report is for a person to see.
    pub cut: bool,
}

impl Report {
    fn ordinary() -> Self {
        Self {
            kind: Kind::Ordinary,
            recipients: Vec::new(),
            original_message_id: None,
            original_date: None,
            original_envelope_id: None,
            reporting_mta: None,
            complaint: None,
            references: Vec::new(),
            cut: false,
        }
    }
}

/// Reads a mail that came back. Never fails; work is linear in its size.
pub fn read(mail: &[u8], rules: &Rules) -> Report {
    let lines = parts::with_line_feeds(mail);
    let letter = letter::Letter::read(&lines, rules);
    let mut report = verdict::of(&letter);
    report.cut |= mail.len() > parts::BYTES_MAX;
    report
}

/// The texts of a mail in which phrases are looked for: for measuring what a reading rests on.
pub fn texts(mail: &[u8]) -> Vec<String> {
    let (lines, rules) = (parts::with_line_feeds(mail), Rules::default());
    let letter = letter::Letter::read(&lines, &rules);
    let fields = letter.dsn.groups.iter().flat_map(|group| [&group.diagnostic, &group.status_comment]);
    let fields: Vec<String> = fields.flatten().cloned().collect();
    letter.head.text("Subject").into_iter().chain([letter.prose]).chain(fields).collect()
}

/// A report as `inspect bounce --jsonl` prints it: in this shape for good, since people script against it.
pub fn inspect_line(file: &str, report: &Report) -> Value {
    let recipients: Vec<Value> = report
        .recipients
        .iter()
        .map(|recipient| {
            json!({
                "address": recipient.address,
                "action": recipient.action.as_str(),
                "status": recipient.cause.status,
                "diagnostic": recipient.cause.diagnostic,
                "class": recipient.cause.class.as_str(),
                "reason": recipient.cause.reason.as_str(),
            })
        })
        .collect();
    json!({
        "file": file,
        "kind": report.kind.as_str(),
        "recipients": recipients,
        "original_message_id": report.original_message_id,
        "reporting_mta": report.reporting_mta,
    })
}

/// A cause for what did not fail.
fn nothing_wrong(status: Option<&str>, diagnostic: &str) -> Cause {
    Cause {
        reason: Reason::Unknown,
        class: Class::Undetermined,
        code: None,
        status: status.map(str::to_owned),
        diagnostic: super::reply::shown(diagnostic),
        rule: "action".into(),
    }
}

#[cfg(test)]
mod tests;
