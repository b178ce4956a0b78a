//! Weighs the evidence of a letter: which kind of mail it is, whom it is about, and why.
//!
//! Fields are believed before prose, and prose only where enough points the same way: one word of one subject makes no
//! bounce. `Auto-Submitted: auto-replied` decides nothing alone, since half of all bounces carry it.

use super::letter::{Letter, message_id};
use super::notices::{Notice, Notices, notices_in};
use super::prose::{self, Rank, Told};
use super::{Kind, Recipient, Report, addresses, nothing_wrong, notification};
use crate::mail::arf;
use crate::mail::dsn::{Action, Group, RECIPIENTS_MAX};
use crate::mail::reply::{self, Weight};
use crate::model::reason::{Cause, Class, Reason};

/// How many points make a bounce of prose that names a recipient, and of prose that names none.
const POINTS_WITH_RECIPIENT: i32 = 5;
const POINTS_WITHOUT: i32 = 6;

/// The verdict on a letter. One that only wraps a report is judged by what it wraps.
pub fn of(letter: &Letter<'_>) -> Report {
    let wraps = letter.dsn.groups.is_empty() && letter.mdn.is_none() && letter.feedback.is_none();
    if let Some(enclosed) = letter.enclosed.as_ref().filter(|_| wraps) {
        let mut inner = Letter::read(enclosed);
        inner.references.extend(letter.references.iter().cloned());
        if !inner.dsn.groups.is_empty() {
            return of_one(&inner);
        }
    }
    of_one(letter)
}

fn of_one(letter: &Letter<'_>) -> Report {
    let tells = Tells::of(letter);
    let mut report = complaint(letter, &tells)
        .or_else(|| notification::read(&letter.prose))
        .or_else(|| by_type(letter))
        .or_else(|| by_fields(letter, &tells))
        .or_else(|| by_prose(letter, &tells))
        .unwrap_or_else(|| Report { kind: leftover(letter, &tells), ..Report::ordinary() });
    if !matches!(report.kind, Kind::Autoreply | Kind::Ordinary) {
        report.original_message_id = report.original_message_id.or_else(|| original_message_id(letter));
        report.original_envelope_id.clone_from(&letter.dsn.envelope_id);
        report.reporting_mta = report.reporting_mta.or_else(|| letter.dsn.reporting_mta.clone());
        report.cut = letter.dsn.cut;
    }
    report.references.clone_from(&letter.references);
    report
}

/// What the header and the prose tell.
struct Tells {
    subject: Notices,
    subject_text: String,
    body: Notices,
    from: String,
    /// The subject answers one of ours.
    answers: bool,
}

impl Tells {
    fn of(letter: &Letter<'_>) -> Self {
        let subject = letter.head.text("Subject").unwrap_or_default();
        let lower = subject.trim_start().to_ascii_lowercase();
        Self {
            subject: notices_in(&subject),
            subject_text: subject,
            body: notices_in(&letter.prose),
            from: letter.head.text("From").unwrap_or_default(),
            answers: ["re:", "aw:", "sv:", "antw:", "odp:", "vs:"].iter().any(|mark| lower.starts_with(mark)),
        }
    }

    /// Whether the subject gives a reason by itself, as `User unknown`.
    fn subject_judged(&self) -> bool {
        reply::weigh_prose(None, &self.subject_text).1 == Weight::Words
    }

    /// Whether a mail system sent it, by its own words.
    fn is_from_daemon(&self) -> bool {
        let from = self.from.to_ascii_lowercase();
        let names = [
            "mailer-daemon",
            "mailer daemon",
            "maildaemon",
            "mail-daemon",
            "postmaster",
            "post_master",
            "mdaemon",
            "mail delivery",
            "mail deliver",
            "mail.delivery",
            "delivery subsystem",
            "delivery system",
            "delivery service",
            "system administrator",
            "mail administrator",
            "mail system",
            "mailsystem",
            "microsoft outlook",
            "microsoft exchange",
            "interscan",
            "imss@",
            "symantec",
            "delivery agent",
            "mail router",
            "lsmtp",
            "bounce@",
            "noreply-bounce",
        ];
        from.trim_matches(['<', '>', ' ', '"']).is_empty() || names.iter().any(|name| from.contains(name))
    }
}

/// A complaint: by its fields, or in the forms that some providers used before there were any.
fn complaint(letter: &Letter<'_>, tells: &Tells) -> Option<Report> {
    let hotmail = letter.returned.as_ref().and_then(|returned| returned.complained.clone());
    let fields = letter.feedback.as_deref().or_else(|| arf::is_in(&letter.prose).then_some(letter.prose.as_str()));
    let by_subject = tells.subject.has(Notice::SubjectComplaint) && letter.returned.is_some() && !letter.has_dsn_part;
    let opts_out =
        tells.subject.has(Notice::SubjectOptout) && letter.returned.is_none() && letter.media == "text/plain";
    if fields.is_none() && hotmail.is_none() && !by_subject && !opts_out && letter.report_type != "feedback-report" {
        return None;
    }
    let mut complaint = arf::read(fields.unwrap_or_default());
    if opts_out {
        complaint.feedback_type = "opt-out".into();
        complaint.original_recipients.extend(addresses::first(&tells.from).map(str::to_owned));
    }
    if complaint.original_recipients.is_empty() {
        let returned = letter.returned.iter().flat_map(|returned| &returned.to).take(1).cloned();
        complaint.original_recipients.extend(hotmail.into_iter().chain(returned).take(1));
    }
    let recipients = complaint.original_recipients.iter().map(|address| Recipient {
        address: address.clone(),
        action: Action::Delivered,
        cause: Cause { reason: Reason::Complaint, rule: "complaint".into(), ..nothing_wrong(None, "") },
    });
    Some(Report {
        kind: Kind::Complaint,
        recipients: recipients.collect(),
        original_message_id: complaint.message_id.as_deref().and_then(message_id),
        reporting_mta: complaint.reported_by.clone(),
        complaint: Some(complaint),
        ..Report::ordinary()
    })
}

/// What its type says to be ordinary: aggregate reports and read receipts.
fn by_type(letter: &Letter<'_>) -> Option<Report> {
    let aggregate = matches!(letter.report_type.as_str(), "tlsrpt" | "tls-report" | "dmarc");
    aggregate.then(Report::ordinary)
}

/// A notification with fields.
fn by_fields(letter: &Letter<'_>, tells: &Tells) -> Option<Report> {
    if let Some(refused) = refused_by_disposition(letter, tells) {
        return Some(refused);
    }
    let has_verdict = |group: &&Group| group.action.is_some() || group.status.is_some() || group.diagnostic.is_some();
    if letter.mdn.is_some() || !letter.dsn.groups.iter().any(|group| has_verdict(&group)) {
        return None;
    }
    let asks =
        |group: &Group| group.diagnostic.as_deref().is_some_and(|text| notices_in(text).has(Notice::BodyChallenge));
    if letter.dsn.groups.iter().all(asks) {
        return Some(Report { kind: Kind::Autoreply, ..Report::ordinary() });
    }
    let told_nothing =
        !tells.is_from_daemon() && !tells.body.has(Notice::BodyFailed) && !tells.subject.has(Notice::SubjectFailed);
    if letter.dsn.groups.iter().all(|group| group.action.is_none()) && told_nothing {
        return Some(Report { kind: Kind::Autoreply, ..Report::ordinary() });
    }
    let told = prose::recipients(&letter.prose, &parties(letter, tells));
    let mut recipients: Vec<Recipient> = Vec::new();
    for group in letter.dsn.groups.iter().filter(has_verdict) {
        let Some(address) = address_of(group, letter, &told) else { continue };
        let action = group.action.unwrap_or_else(|| presumed_action(group, tells));
        let known = recipients.iter().any(|known| known.address == address && known.action == action);
        if !known {
            let cause = cause_of(group, action, &address, letter, &told);
            recipients.push(Recipient { address, action, cause });
        }
    }
    let kind = kind_of(&recipients)
        .or_else(|| letter.dsn.groups.iter().any(|group| group.action.is_some()).then_some(Kind::Bounce))?;
    Some(Report { kind, recipients, ..Report::ordinary() })
}

/// A disposition notification that tells of a refusal: what Sieve's `reject` sends.
fn refused_by_disposition(letter: &Letter<'_>, tells: &Tells) -> Option<Report> {
    let mdn = letter.mdn.as_ref()?;
    let disposition = mdn.disposition.as_deref().unwrap_or("").to_ascii_lowercase();
    let automatic = disposition.contains("automatic-action");
    let refused = disposition.contains("deleted") || disposition.contains("denied") || disposition.contains("failed");
    if !(automatic && refused && (tells.body.has(Notice::BodyFailed) || tells.subject.has(Notice::SubjectFailed))) {
        return None;
    }
    let group = mdn.groups.first()?;
    let address = group.address()?.to_owned();
    let cause = from_prose(&letter.prose, None).unwrap_or_else(|| reply::weigh(None, &letter.prose).0);
    Some(Report {
        kind: Kind::Bounce,
        recipients: vec![Recipient { address, action: Action::Failed, cause }],
        original_message_id: mdn.message_id.as_deref().and_then(message_id),
        ..Report::ordinary()
    })
}

/// The address of a group; where it names none or half of one, what the prose or the returned message names.
fn address_of(group: &Group, letter: &Letter<'_>, told: &[Told]) -> Option<String> {
    let given = group.address();
    if let Some(whole) = given.filter(|address| address.contains('@')) {
        return Some(whole.to_owned());
    }
    let returned = letter.returned.iter().flat_map(|returned| returned.to.iter());
    let failed = failed_recipients(letter);
    let told = told.iter().map(|told| told.address.as_str());
    let named: Vec<&str> = failed.iter().map(String::as_str).chain(told).chain(returned.map(String::as_str)).collect();
    match given {
        Some(local) => {
            let fits = |address: &&&str| address.split('@').next().is_some_and(|name| name.eq_ignore_ascii_case(local));
            let host = letter.dsn.reporting_mta.as_deref().filter(|host| host.contains('.'));
            let composed = || host.map(|host| format!("{local}@{host}"));
            named.iter().find(fits).map(|address| (*address).to_owned()).or_else(composed).or(Some(local.to_owned()))
        }
        None => named.first().map(|address| (*address).to_owned()),
    }
}

/// What was done where no `Action` tells.
fn presumed_action(group: &Group, tells: &Tells) -> Action {
    match group.status.as_deref().and_then(|status| status.chars().next()) {
        Some('2') => Action::Delivered,
        Some('4') if tells.subject.has(Notice::SubjectDelayed) || tells.body.has(Notice::BodyDelayed) => {
            Action::Delayed
        }
        _ => Action::Failed,
    }
}

fn kind_of(recipients: &[Recipient]) -> Option<Kind> {
    let any = |action: Action| recipients.iter().any(|recipient| recipient.action == action);
    match recipients {
        [] => None,
        _ if any(Action::Failed) => Some(Kind::Bounce),
        _ if any(Action::Delayed) => Some(Kind::Delayed),
        _ if any(Action::Delivered) || any(Action::Expanded) => Some(Kind::Success),
        _ => Some(Kind::Relayed),
    }
}

/// Why, for a group: its diagnostic; else what the prose says of the address; else its code.
fn cause_of(group: &Group, action: Action, address: &str, letter: &Letter<'_>, told: &[Told]) -> Cause {
    let status = group.status.as_deref();
    let diagnostic = group.diagnostic.as_deref().unwrap_or("");
    if !matches!(action, Action::Failed | Action::Delayed) {
        return nothing_wrong(status, diagnostic);
    }
    let (mut cause, weight) = reply::weigh(status, diagnostic);
    let vague = weight == Weight::Nothing || status.is_none_or(|status| status.ends_with(".0"));
    if weight != Weight::Words && vague {
        let comment = group.status_comment.as_deref().map(|comment| reply::weigh(status, comment));
        let told = told.iter().find(|told| told.address.eq_ignore_ascii_case(address));
        let near = told.map(|told| reply::weigh(status, &told.near)).filter(|(_, better)| *better > weight);
        let prose = if letter.dsn.groups.len() == 1 { Some(letter.prose.as_str()) } else { None };
        let better = comment.filter(|(_, weight)| *weight == Weight::Words).map(|(cause, _)| cause);
        let better = better.or(near.map(|(cause, _)| cause));
        let better = better.or_else(|| told.and_then(|told| from_prose(&told.said, status)));
        let better = better.or_else(|| prose.and_then(|prose| from_prose(prose, status)));
        if let Some(better) = better {
            let diagnostic = if diagnostic.is_empty() { better.diagnostic } else { cause.diagnostic };
            cause = Cause { diagnostic, code: cause.code.or(better.code), ..better };
        }
    }
    settled(cause, status, action)
}

/// A cause with the status that the fields give, and no harder than the action allows.
fn settled(mut cause: Cause, status: Option<&str>, action: Action) -> Cause {
    let says_more = |status: &&str| !status.ends_with(".0.0");
    if let Some(status) = status.filter(says_more).or(cause.status.as_deref().is_none().then_some(status).flatten()) {
        cause.status = Some(status.to_owned());
    }
    if action == Action::Delayed {
        if cause.reason == Reason::Unknown {
            cause = Cause { reason: Reason::Expired, class: Class::Soft, rule: "delayed".into(), ..cause };
        }
        if cause.class == Class::Hard {
            cause.class = Class::Soft;
        }
    }
    cause
}

/// What prose says, where its words say it.
fn from_prose(prose: &str, status: Option<&str>) -> Option<Cause> {
    let (cause, weight) = reply::weigh_prose(status, prose);
    (weight == Weight::Words).then_some(cause)
}

/// Addresses in a letter's header: who reports, and to whom.
fn parties(letter: &Letter<'_>, tells: &Tells) -> Vec<String> {
    let mut parties: Vec<String> =
        addresses::spotted(&tells.from).into_iter().map(|spot| spot.address.to_owned()).collect();
    for name in ["To", "Delivered-To", "X-Original-To", "Reply-To", "Sender", "Return-Path"] {
        let value = letter.head.text(name).unwrap_or_default();
        parties.extend(addresses::spotted(&value).into_iter().map(|spot| spot.address.to_owned()));
    }
    parties
}

/// A report in prose.
fn by_prose(letter: &Letter<'_>, tells: &Tells) -> Option<Report> {
    let listed: Vec<String> = failed_recipients(letter);
    let told = prose::recipients(&letter.prose, &parties(letter, tells));
    let points = points(letter, tells) + i32::from(!listed.is_empty()) * 3;
    let named = told.first().is_some_and(|told| told.rank > Rank::Mentioned) || !listed.is_empty();
    let known = reply::weigh_prose(None, &letter.prose).1 == Weight::Words;
    let known_by_subject = known && tells.subject_judged();
    let points = points + i32::from(named) + i32::from(known) + i32::from(known_by_subject);
    if points < if named { POINTS_WITH_RECIPIENT } else { POINTS_WITHOUT } {
        return None;
    }
    let delayed = is_delayed(tells);
    let action = if delayed { Action::Delayed } else { Action::Failed };
    let addresses: Vec<String> = match (listed.is_empty(), named) {
        (false, _) => listed,
        (true, true) => told.iter().map(|told| told.address.clone()).collect(),
        (true, false) => prose::local_part_alone(&letter.prose)
            .and_then(|local| Some(format!("{local}@{}", addresses::first(&tells.from)?.rsplit('@').next()?)))
            .or_else(|| sole_recipient(letter))
            .into_iter()
            .collect(),
    };
    let recipients = addresses.into_iter().take(RECIPIENTS_MAX).map(|address| {
        let told = told.iter().find(|told| told.address.eq_ignore_ascii_case(&address));
        let cause = settled(cause_in_prose(told, &letter.prose), None, action);
        Recipient { address, action, cause }
    });
    let kind = if delayed { Kind::Delayed } else { Kind::Bounce };
    Some(Report { kind, recipients: recipients.collect(), ..Report::ordinary() })
}

/// Whether prose speaks of a delay. The subject alone is believed when it says nothing else.
fn is_delayed(tells: &Tells) -> bool {
    let subject = tells.subject.has(Notice::SubjectDelayed);
    let body = tells.body.has(Notice::BodyDelayed);
    match (subject, body) {
        (true, true) => true,
        (true, false) => !tells.subject.has(Notice::SubjectFailed),
        (false, body) => body && !tells.body.has(Notice::BodyFinal),
    }
}

/// `X-Failed-Recipients`, which Exim and others write.
fn failed_recipients(letter: &Letter<'_>) -> Vec<String> {
    let mut failed: Vec<String> = Vec::new();
    for value in letter.head.all("X-Failed-Recipients") {
        let value = addresses::without_octal(&parts_text(value));
        for spot in addresses::spotted(&value) {
            if failed.len() < RECIPIENTS_MAX && !failed.iter().any(|known| known == spot.address) {
                failed.push(spot.address.to_owned());
            }
        }
    }
    failed
}

fn parts_text(value: &[u8]) -> String {
    super::parts::charset_text(value, None)
}

/// The recipient of the returned message, when it had one.
fn sole_recipient(letter: &Letter<'_>) -> Option<String> {
    match letter.returned.as_ref()?.to.as_slice() {
        [only] => Some(only.clone()),
        _ => None,
    }
}

/// Why, in prose: what stands with the address, else what is said of it, else all that is said.
fn cause_in_prose(told: Option<&Told>, prose: &str) -> Cause {
    let near = told.map(|told| reply::weigh(None, &told.near));
    if let Some((cause, Weight::Words)) = near {
        return cause;
    }
    let said = told.map(|told| reply::weigh_prose(None, &told.said));
    let all = reply::weigh_prose(None, prose);
    let shown = said.as_ref().map_or(&all, |said| said).0.diagnostic.clone();
    let heard = [said, Some(all), near].into_iter().flatten();
    let best = heard.rev().max_by_key(|(_, weight)| *weight);
    let status = told.and_then(|told| reply::enhanced_code(&told.said)).or_else(|| reply::enhanced_code(prose));
    let cause = best.map_or_else(|| reply::weigh(None, prose).0, |(cause, _)| cause);
    Cause { status: cause.status.clone().or(status), diagnostic: shown, ..cause }
}

/// How much speaks for a report in prose.
fn points(letter: &Letter<'_>, tells: &Tells) -> i32 {
    let head = &letter.head;
    let automatic = head.text("Auto-Submitted").unwrap_or_default().to_ascii_lowercase();
    let null_path = head.raw("Return-Path").is_some_and(|path| path == b"<>" || path.is_empty());
    let daemon = tells.is_from_daemon();
    let failed = tells.subject.has(Notice::SubjectFailed);
    let about = [
        (daemon, 2),
        (failed || tells.subject.has(Notice::SubjectDelayed), 2),
        (tells.body.has(Notice::BodyFailed) || tells.body.has(Notice::BodyDelayed), 2),
        (tells.body.has(Notice::BodyFinal), 1),
        (letter.returned.is_some(), 1),
        (null_path, 1),
        (automatic.starts_with("auto-") && !automatic.contains("vacation"), 1),
        (letter.report_type == "delivery-status", 2),
        (tells.body.has(Notice::BodyLure), -4),
        (tells.answers && !daemon && (head.has("In-Reply-To") || head.has("References")), -3),
        ((head.has("List-Id") || head.has("List-Unsubscribe")) && !daemon, -3),
        (tells.subject.has(Notice::SubjectAutoreply) && !failed, -2),
        (tells.subject.has(Notice::SubjectChallenge) && !failed, -2),
        (tells.subject.has(Notice::SubjectModerated) && !failed, -4),
        (tells.body.has(Notice::BodyAutoreply), -2),
        (letter.mdn.is_some(), -8),
    ];
    about.into_iter().filter(|(holds, _)| *holds).map(|(_, points)| points).sum()
}

/// An automatic reply, or mail.
fn leftover(letter: &Letter<'_>, tells: &Tells) -> Kind {
    let head = &letter.head;
    if letter.mdn.is_some() || tells.subject.has(Notice::SubjectModerated) {
        return Kind::Ordinary;
    }
    let automatic = head.text("Auto-Submitted").unwrap_or_default().to_ascii_lowercase();
    let precedence = head.text("Precedence").unwrap_or_default().to_ascii_lowercase();
    let marked = [
        "X-Autoreply",
        "X-Autorespond",
        "X-Auto-Response",
        "X-Autoresponder",
        "X-Mail-Autoreply",
        "X-Vacation",
        "Auto-Reply",
    ];
    let marked = marked.iter().any(|name| head.has(name));
    let in_bulk = head.has("List-Id") || head.has("List-Unsubscribe");
    let by_subject = tells.subject.has(Notice::SubjectAutoreply) || tells.subject.has(Notice::SubjectChallenge);
    let suppresses = head.has("X-Auto-Response-Suppress") || precedence.contains("auto");
    let by_machine = automatic.starts_with("auto-") || suppresses || precedence == "junk" || precedence == "bulk";
    let is_ticket = by_machine && tells.subject.has(Notice::SubjectTicket);
    let replies =
        automatic.starts_with("auto-replied") || automatic.starts_with("auto-notified") || precedence.contains("auto");
    if replies || marked || is_ticket || (by_subject && !in_bulk) || (tells.body.has(Notice::BodyAutoreply) && !in_bulk)
    {
        return Kind::Autoreply;
    }
    Kind::Ordinary
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
    let lower = line.to_ascii_lowercase();
    let at = lower.find("message-id").or_else(|| lower.find("message id")).or_else(|| lower.find("messageid"))?;
    let value = line.get(at..)?;
    value.contains('@').then(|| message_id(value.get(value.find('<')?..)?))?
}
