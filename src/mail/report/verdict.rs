//! The verdict on a letter: which kind of mail it is, and what it says.
//!
//! In this order: a complaint, a notification in JSON, what its type says to be ordinary, a report in fields, a report in
//! prose; what is left is an automatic reply or mail. `Auto-Submitted: auto-replied` decides nothing before the end, since
//! half of all bounces carry it.

use super::case::Case;
use super::letter::{Letter, message_id};
use super::notices::Notice;
use super::{Kind, Recipient, Report, addresses, inferred, nothing_wrong, notification, stated};
use crate::mail::arf;
use crate::mail::dsn::Action;
use crate::model::reason::{Cause, Reason};

/// Fields that only automatic replies carry.
const AUTOREPLY_FIELDS: [&str; 7] = [
    "X-Autoreply",
    "X-Autorespond",
    "X-Auto-Response",
    "X-Autoresponder",
    "X-Mail-Autoreply",
    "X-Vacation",
    "Auto-Reply",
];

/// The verdict on a letter. One that only wraps a report is judged by what it wraps.
pub fn of(letter: &Letter<'_>) -> Report {
    let wraps = letter.dsn.groups.is_empty() && letter.mdn.is_none() && letter.feedback.is_none();
    if let Some(enclosed) = letter.enclosed.as_ref().filter(|_| wraps) {
        let mut inner = Letter::read(enclosed, letter.rules);
        inner.references.extend(letter.references.iter().cloned());
        if !inner.dsn.groups.is_empty() {
            return of_one(&inner);
        }
    }
    of_one(letter)
}

fn of_one(letter: &Letter<'_>) -> Report {
    let case = Case::of(letter);
    let aggregate = matches!(letter.report_type.as_str(), "tlsrpt" | "tls-report" | "dmarc");
    let mut report = complaint(&case)
        .or_else(|| notification::read(&letter.prose, letter.rules))
        .or_else(|| aggregate.then(Report::ordinary))
        .or_else(|| stated::report(&case))
        .or_else(|| inferred::report(&case))
        .unwrap_or_else(|| Report { kind: leftover(&case), ..Report::ordinary() });
    if !matches!(report.kind, Kind::Autoreply | Kind::Ordinary) {
        report.original_message_id = report.original_message_id.or_else(|| original_message_id(letter));
        report.original_date = letter.returned.as_ref().and_then(|returned| returned.date);
        report.original_envelope_id.clone_from(&letter.dsn.envelope_id);
        report.reporting_mta = report.reporting_mta.or_else(|| letter.dsn.reporting_mta.clone());
        report.cut = letter.dsn.cut;
    }
    report.references.clone_from(&letter.references);
    report
}

/// A complaint: by its fields, or in the forms that some providers used before there were any.
fn complaint(case: &Case<'_>) -> Option<Report> {
    let letter = case.letter;
    let complained = letter.returned.as_ref().and_then(|returned| returned.complained.clone());
    let fields = letter.feedback.as_deref().or_else(|| arf::is_in(&letter.prose).then_some(letter.prose.as_str()));
    let named = case.subject.has(Notice::SubjectComplaint) && letter.returned.is_some() && !letter.has_dsn_part;
    let leaves = case.subject.has(Notice::SubjectOptout) && letter.returned.is_none() && letter.media == "text/plain";
    if fields.is_none() && complained.is_none() && !named && !leaves && letter.report_type != "feedback-report" {
        return None;
    }
    let mut complaint = arf::read(fields.unwrap_or_default());
    if leaves {
        complaint.feedback_type = "opt-out".into();
        complaint.original_recipients.extend(addresses::first(&case.from).map(str::to_owned));
    }
    complaint.original_recipients.extend(complained.filter(|_| complaint.original_recipients.is_empty()));
    // Who complains without a name is likely whom the mail was for, when that was one.
    let presumed = match case.returned_to() {
        [only] if complaint.original_recipients.is_empty() => Some(only),
        _ => None,
    };
    Some(Report {
        kind: Kind::Complaint,
        recipients: complaint.original_recipients.iter().chain(presumed).map(|address| complainant(address)).collect(),
        original_message_id: complaint.message_id.as_deref().and_then(message_id),
        reporting_mta: complaint.reported_by.clone(),
        complaint: Some(complaint),
        ..Report::ordinary()
    })
}

/// The recipient who complained.
pub fn complainant(address: &str) -> Recipient {
    let cause = Cause { reason: Reason::Complaint, rule: "complaint".into(), ..nothing_wrong(None, "") };
    Recipient { address: address.to_owned(), action: Action::Delivered, cause }
}

/// An automatic reply, or mail.
fn leftover(case: &Case<'_>) -> Kind {
    let head = &case.letter.head;
    if case.letter.mdn.is_some() || case.subject.has(Notice::SubjectModerated) {
        return Kind::Ordinary;
    }
    let (automatic, precedence) = (case.lower("Auto-Submitted"), case.lower("Precedence"));
    let replies = ["auto-replied", "auto-notified"].iter().any(|word| automatic.starts_with(word));
    let marked = AUTOREPLY_FIELDS.iter().any(|name| head.has(name)) || precedence.contains("auto");
    let suppresses = head.has("X-Auto-Response-Suppress");
    let by_machine = automatic.starts_with("auto-") || suppresses || matches!(precedence.as_str(), "junk" | "bulk");
    let is_ticket = by_machine && case.subject.has(Notice::SubjectTicket);
    let in_bulk = head.has("List-Id") || head.has("List-Unsubscribe");
    let says_so = [Notice::SubjectAutoreply, Notice::SubjectChallenge].iter().any(|notice| case.subject.has(*notice))
        || case.body.has(Notice::BodyAutoreply);
    if replies || marked || is_ticket || (says_so && !in_bulk) { Kind::Autoreply } else { Kind::Ordinary }
}

/// The Message-ID of the message that this is about: returned, told in a field, told in the text, answered.
fn original_message_id(letter: &Letter<'_>) -> Option<String> {
    let returned = letter.returned.as_ref().and_then(|returned| returned.message_id.clone());
    let field = || letter.dsn.message_id.as_deref().and_then(message_id);
    let told = || letter.prose.lines().find_map(id_in_line);
    let answered = || letter.head.text("In-Reply-To").as_deref().and_then(message_id);
    let referred = || letter.head.text("References")?.split_whitespace().next_back().and_then(message_id);
    returned.or_else(field).or_else(told).or_else(answered).or_else(referred)
}

/// `Message-ID: <…>` in a line of prose.
fn id_in_line(line: &str) -> Option<String> {
    let id = line.get(line.find('<')?..).filter(|rest| rest.contains('@'))?;
    let lower = line.to_ascii_lowercase();
    let named = ["message-id", "message id", "messageid"].iter().any(|name| lower.contains(name));
    named.then(|| message_id(id))?
}
