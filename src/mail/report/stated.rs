//! Reports that state what they have to say in fields: RFC 3464, and disposition notifications that refuse.
//!
//! Fields say who and what; why is taken from the diagnostic, from the prose where that says nothing, and from the codes
//! last. What the fields leave out (half an address, the action) is filled in from the rest of the letter.

use super::case::Case;
use super::inferred::outweighs;
use super::letter::message_id;
use super::notices::Notice;
use super::prose::Told;
use super::{Kind, Recipient, Report, nothing_wrong};
use crate::mail::dsn::{Action, Group};
use crate::mail::reply::{self, Stage, Weight};
use crate::model::reason::{Cause, Class, Reason, Retry};

/// What the fields of a letter state, if it has any.
pub fn report(case: &Case<'_>) -> Option<Report> {
    refusal(case).or_else(|| notification(case))
}

/// A disposition notification that tells of a refusal: what Sieve's `reject` sends. A read receipt is none.
fn refusal(case: &Case<'_>) -> Option<Report> {
    let mdn = case.letter.mdn.as_ref()?;
    let disposition = mdn.disposition.as_deref().unwrap_or("").to_ascii_lowercase();
    let refused = ["deleted", "denied", "failed"].iter().any(|word| disposition.contains(word));
    if !disposition.contains("automatic-action") || !refused || !case.speaks_of_failure() {
        return None;
    }
    let address = mdn.groups.first()?.address()?.to_owned();
    let cause = case.letter.rules.weigh_prose(None, &case.letter.prose, &case.plain).0;
    let cause = match cause.reason {
        // It is the recipient's own filter that speaks.
        Reason::Unknown => {
            Cause { reason: Reason::RecipientFiltered, class: Class::Soft, rule: "recipient-s-filter".into(), ..cause }
        }
        _ => cause,
    };
    Some(Report {
        kind: Kind::Bounce,
        recipients: vec![Recipient { address, action: Action::Failed, cause }],
        original_message_id: mdn.message_id.as_deref().and_then(message_id),
        ..Report::ordinary()
    })
}

fn notification(case: &Case<'_>) -> Option<Report> {
    let groups: Vec<&Group> = case.letter.dsn.groups.iter().filter(|group| group.has_verdict()).collect();
    if groups.is_empty() || case.letter.mdn.is_some() {
        return None;
    }
    if is_challenge(case, &groups) {
        return Some(Report { kind: Kind::Autoreply, ..Report::ordinary() });
    }
    let told = case.told();
    let mut recipients: Vec<Recipient> = Vec::new();
    for group in &groups {
        let Some(address) = address(group, case, || &told) else { continue };
        let action = group.action.unwrap_or_else(|| presumed_action(group, case));
        if !recipients.iter().any(|known| known.address == address && known.action == action) {
            let cause = cause(group, action, &address, case, || &told);
            recipients.push(Recipient { address, action, cause });
        }
    }
    let kind =
        kind(&recipients).or_else(|| groups.iter().any(|group| group.action.is_some()).then_some(Kind::Bounce))?;
    Some(Report { kind, recipients, ..Report::ordinary() })
}

/// Whether a report only asks the sender to prove himself: some services dress that as a notification.
fn is_challenge(case: &Case<'_>, groups: &[&Group]) -> bool {
    let asks = |text: &String| case.letter.rules.notices_in(text).has(Notice::BodyChallenge);
    let says_nothing = !case.is_from_daemon() && !case.speaks_of_failure();
    groups.iter().all(|group| group.diagnostic.as_ref().is_some_and(asks))
        || (says_nothing && groups.iter().all(|group| (group.action.is_none() || case.answers()) && !is_final(group)))
}

fn is_final(group: &Group) -> bool {
    group.status.as_deref().is_some_and(|status| status.starts_with('5'))
}

/// The address of a group; where it names none or half of one, what the letter names elsewhere.
fn address<'t>(group: &Group, case: &Case<'_>, told: impl Fn() -> &'t Vec<Told>) -> Option<String> {
    let given = group.address();
    if let Some(whole) = given.filter(|address| address.contains('@')) {
        return Some(whole.to_owned());
    }
    let mut named = case.failed_recipients();
    named.extend(told().iter().map(|told| told.address.clone()));
    named.extend_from_slice(case.returned_to());
    let Some(local) = given else { return named.into_iter().next() };
    let fits = |address: &String| address.split('@').next().is_some_and(|name| name.eq_ignore_ascii_case(local));
    let host = case.letter.dsn.reporting_mta.as_deref().filter(|host| host.contains('.'));
    let composed = host.map_or_else(|| local.to_owned(), |host| format!("{local}@{host}"));
    Some(named.into_iter().find(fits).unwrap_or(composed))
}

/// What was done where no `Action` tells.
fn presumed_action(group: &Group, case: &Case<'_>) -> Action {
    match group.status.as_deref().and_then(|status| status.chars().next()) {
        Some('2') => Action::Delivered,
        Some('4') if case.speaks_of_delay() => Action::Delayed,
        _ => Action::Failed,
    }
}

fn kind(recipients: &[Recipient]) -> Option<Kind> {
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
fn cause<'t>(group: &Group, action: Action, address: &str, case: &Case<'_>, told: impl Fn() -> &'t Vec<Told>) -> Cause {
    let status = group.status.as_deref();
    let diagnostic = group.diagnostic.as_deref().unwrap_or("");
    if !matches!(action, Action::Failed | Action::Delayed) {
        return nothing_wrong(status, diagnostic);
    }
    let rules = case.letter.rules;
    let about = || told().iter().find(|told| told.address.eq_ignore_ascii_case(address));
    let (mut cause, mut weight) = rules.weigh(status, diagnostic);
    // What is refused in so many words is told apart by when.
    if matches!(cause.reason, Reason::Policy | Reason::Unknown) && !diagnostic.is_empty() {
        let stage = case.stage(about());
        if stage != Stage::Report {
            (cause, weight) = rules.weigh_at(stage, status, diagnostic);
        }
    }
    // That it was given up says when, not why; but what was tried until then was for a while.
    let is_given_up = cause.reason == Reason::Expired;
    let says_little = is_given_up || status.is_none_or(|status| status.ends_with(".0"));
    if weight != Weight::Words && (weight == Weight::Nothing || says_little) {
        let comment = group.status_comment.as_deref().map(|comment| rules.weigh(status, comment));
        let comment = comment.filter(|(_, weight)| *weight == Weight::Words);
        let near = || about().map(|about| rules.weigh(status, &about.near)).filter(|(_, better)| *better > weight);
        let sole = case.letter.dsn.groups.len() == 1;
        let better = comment.or_else(near).map(|(cause, _)| cause);
        let better = better.or_else(|| rules.said_in(&about()?.said, status));
        let told_of_all = || case.said(status).filter(|said| sole && !outweighs(&cause, said));
        let of_program = || group.by_program.then(|| rules.weigh(status, "x-unix").0);
        let better = better.or_else(told_of_all).or_else(of_program);
        if let Some(better) = better.filter(|better| !is_given_up || better.reason.retry() == Retry::Later) {
            cause = Cause { diagnostic: cause.diagnostic, code: cause.code.or(better.code), ..better };
        }
    }
    if cause.diagnostic.is_empty() {
        cause.diagnostic = about().map(|about| reply::shown(&about.near)).unwrap_or_default();
    }
    settled(case.of_whom(rules.at(cause, || case.stage(about())), address), status, action)
}

/// A cause with the status that the fields give, and no harder than the action allows.
pub fn settled(mut cause: Cause, status: Option<&str>, action: Action) -> Cause {
    let says_more = status.filter(|status| !status.ends_with(".0.0"));
    let given = says_more.or(status.filter(|_| cause.status.is_none()));
    cause.status = given.map(str::to_owned).or(cause.status);
    if action == Action::Delayed && cause.reason == Reason::Unknown {
        cause = Cause { reason: Reason::Expired, class: Class::Soft, rule: "delayed".into(), ..cause };
    }
    if action == Action::Delayed && cause.class == Class::Hard {
        cause.class = Class::Soft;
    }
    cause
}
