//! Reports in prose: whether it is one, whom it is about, and why.
//!
//! No word decides. Who sends it, what subject and text say, whether something is returned, whether a recipient and a
//! reason are named: each is worth points, and so is what speaks against, as in a newsletter about bounces or in a
//! bounce that fishes for passwords.

use super::case::Case;
use super::notices::Notice;
use super::prose::{self, Rank, Told};
use super::stated::settled;
use super::{Kind, Recipient, Report, addresses, nothing_wrong};
use crate::mail::dsn::{Action, RECIPIENTS_MAX};
use crate::mail::phrases;
use crate::mail::reply::{self, Weight};
use crate::model::reason::{Cause, Class, Reason};

/// How many points make a report of prose that names a recipient.
const POINTS_WITH_RECIPIENT: i32 = 5;
/// And of prose that names none.
const POINTS_WITHOUT: i32 = 6;

/// How much a report says that explains at length.
const LENGTHY_BYTES: usize = 600;

/// The report that a letter is, if enough speaks for it.
pub fn report(case: &Case<'_>) -> Option<Report> {
    let failed = case.failed_recipients();
    let told = case.told();
    let named = !failed.is_empty() || told.first().is_some_and(|told| told.rank > Rank::Mentioned);
    let known = case.said(None).is_some();
    // Who fishes for passwords speaks of an address of the reader's own house, has a link, and has nothing to return.
    let of_reader = failed.is_empty()
        && case.letter.returned.is_none()
        && (case.letter.from_html || case.letter.prose.contains("://"))
        && told.first().is_some_and(|told| case.is_to_domain_of(&told.address));
    let found =
        [(!failed.is_empty(), 3), (named, 1), (known, 1), (known && case.subject_gives_reason(), 1), (of_reader, -4)];
    let points = weight_of(&found) + weight_of(&evidence(case));
    if points < if named { POINTS_WITH_RECIPIENT } else { POINTS_WITHOUT } {
        return None;
    }
    let (kind, action) = match () {
        () if is_delivered(case) && !known => (Kind::Success, Action::Delivered),
        () if is_delayed(case) => (Kind::Delayed, Action::Delayed),
        () => (Kind::Bounce, Action::Failed),
    };
    let addresses = match (failed.is_empty(), named) {
        (false, _) => failed,
        (true, true) => told.iter().map(|told| told.address.clone()).collect(),
        (true, false) => unnamed(case).into_iter().collect(),
    };
    let recipients = addresses.into_iter().take(RECIPIENTS_MAX).map(|address| {
        let about = told.iter().find(|told| told.address.eq_ignore_ascii_case(&address));
        let cause = match action {
            Action::Failed | Action::Delayed => {
                let cause = case.letter.rules.at(cause(about, case), || case.stage(about));
                settled(case.of_whom(cause, &address), None, action)
            }
            _ => nothing_wrong(None, about.map_or("", |about| &about.near)),
        };
        Recipient { address, action, cause }
    });
    Some(Report { kind, recipients: recipients.collect(), ..Report::ordinary() })
}

fn weight_of(evidence: &[(bool, i32)]) -> i32 {
    evidence.iter().filter(|(holds, _)| *holds).map(|(_, points)| points).sum()
}

/// What speaks for a report, and what against.
fn evidence(case: &Case<'_>) -> [(bool, i32); 16] {
    let head = &case.letter.head;
    let automatic = case.lower("Auto-Submitted");
    let null_path = head.raw("Return-Path").is_some_and(|path| path == b"<>" || path.is_empty());
    let daemon = case.is_from_daemon();
    let failed = case.subject.has(Notice::SubjectFailed);
    let answered = head.has("In-Reply-To") || head.has("References");
    let in_bulk = head.has("List-Id") || head.has("List-Unsubscribe");
    [
        (daemon, 2),
        (failed || case.subject.has(Notice::SubjectDelayed) || is_delivered(case), 2),
        (case.body.has(Notice::BodyFailed) || case.body.has(Notice::BodyDelayed) || is_delivered(case), 2),
        (case.body.has(Notice::BodyFinal), 1),
        (case.letter.returned.is_some(), 1),
        (null_path, 1),
        (automatic.starts_with("auto-") && !automatic.contains("vacation"), 1),
        (case.letter.report_type == "delivery-status", 2),
        (case.body.has(Notice::BodyLure), -4),
        (((case.answers() && answered) || case.forwards()) && !daemon, -3),
        (in_bulk && !daemon, -3),
        (case.subject.has(Notice::SubjectAutoreply) && !failed, -2),
        (case.subject.has(Notice::SubjectChallenge) && !failed, -2),
        (case.subject.has(Notice::SubjectModerated) && !failed, -4),
        (case.body.has(Notice::BodyAutoreply), -2),
        (case.letter.mdn.is_some(), -8),
    ]
}

/// Whether prose speaks of a delay. The subject alone is believed when it says nothing else.
fn is_delayed(case: &Case<'_>) -> bool {
    match (case.subject.has(Notice::SubjectDelayed), case.body.has(Notice::BodyDelayed)) {
        (true, true) => true,
        (true, false) => !case.subject.has(Notice::SubjectFailed),
        (false, body) => body && !case.body.has(Notice::BodyFinal),
    }
}

/// Whether subject and prose say that the message arrived.
fn is_delivered(case: &Case<'_>) -> bool {
    case.subject.has(Notice::SubjectDelivered) && case.body.has(Notice::BodyDelivered)
}

/// Whether a reply of which no word is known outweighs what is said elsewhere: that may be about anybody, and what it
/// would do to the address lasts.
pub fn outweighs(reply: &Cause, said: &Cause) -> bool {
    let is_reply = reply.code.is_some() && reply.reason == Reason::Unknown && reply.class == Class::Soft;
    is_reply && said.class == Class::Hard
}

/// The recipient that no address names: a lone local part, or the only one of the returned message.
fn unnamed(case: &Case<'_>) -> Option<String> {
    let composed = || {
        let local = prose::local_part_alone(&case.letter.prose, case.letter.rules)?;
        let host = addresses::first(&case.from)?.rsplit('@').next()?;
        Some(format!("{local}@{host}"))
    };
    composed().or_else(|| match case.returned_to() {
        [only] => Some(only.clone()),
        _ => None,
    })
}

/// Why: what stands with the address, else what is said of it, else all that is said.
fn cause(about: Option<&Told>, case: &Case<'_>) -> Cause {
    let rules = case.letter.rules;
    let near = about.map(|about| rules.weigh(None, &about.near));
    if let (Some((cause, Weight::Words)), Some(about)) = (&near, about) {
        return with_code_of(cause.clone(), &about.said);
    }
    let near = near.map(|(cause, _)| cause);
    let is_believed = |said: &Cause| near.as_ref().is_none_or(|near| !outweighs(near, said));
    let said = about.and_then(|about| rules.said_in(&about.said, None)).or_else(|| case.said(None));
    let known = said.filter(is_believed).or_else(|| near.clone().filter(|near| near.reason != Reason::Unknown));
    let cause = known.unwrap_or_else(|| {
        let all = rules.weigh_prose(None, &case.letter.prose, &case.plain).0;
        if all.reason != Reason::Unknown && is_believed(&all) { all } else { near.clone().unwrap_or(all) }
    });
    let text = about.map_or(case.letter.prose.as_str(), |about| &about.said);
    let cause = with_code_of(cause, text);
    // Whatever it says, it says of this recipient; and who explains at length has more to say than that nobody is there.
    let is_told = cause.reason == Reason::Unknown
        && match about {
            Some(about) => reply::has_words(&phrases::plain(&about.said).words),
            None => case.plain.words.len() >= LENGTHY_BYTES,
        };
    let class = if is_told { Class::Soft } else { cause.class };
    Cause { class, diagnostic: reply::shown(text), ..cause }
}

/// A cause with the enhanced code that stands further on in what is said of the recipient, where it has none.
fn with_code_of(cause: Cause, said: &str) -> Cause {
    let Some(status) = reply::enhanced_code(said).filter(|_| cause.status.is_none()) else { return cause };
    let may_pass = status.starts_with('4') && cause.code.is_none_or(|code| code < 500);
    let class = if may_pass && cause.class == Class::Hard { Class::Soft } else { cause.class };
    Cause { status: Some(status), class, ..cause }
}
