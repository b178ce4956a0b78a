//! A letter together with what its words tell: what the verdicts are drawn from.

use std::cell::LazyCell;

use super::letter::{Letter, Returned};
use super::notices::{Notice, Notices};
use super::prose::{self, Told};
use super::{addresses, parts};
use crate::mail::dsn::RECIPIENTS_MAX;
use crate::mail::phrases::{self, Plain};
use crate::mail::reply::{self, Stage, Weight};
use crate::model::reason::{Cause, Class, Reason};

/// What mail systems call themselves in `From`.
const DAEMONS: [&str; 34] = [
    "mailer-daemon",
    "mailer daemon",
    "maildaemon",
    "mail-daemon",
    "mdaemon",
    "postmaster",
    "post_master",
    "bounce@",
    "noreply-bounce",
    "mail delivery",
    "mail deliver",
    "mail.delivery",
    "mail system",
    "mailsystem",
    "mail router",
    "mail administrator",
    "system administrator",
    "delivery agent",
    "delivery service",
    "delivery subsystem",
    "delivery system",
    "microsoft exchange",
    "microsoft outlook",
    "interscan",
    "imss@",
    "lsmtp",
    "ndr@",
    "dsn@",
    "mailerdaemon",
    "mailer_daemon",
    "mail-system",
    "mailserver",
    "mail server",
    "symantec",
];
/// What a subject starts with that answers another.
const ANSWER_MARKS: [&str; 6] = ["re:", "aw:", "sv:", "antw:", "odp:", "vs:"];
/// What a subject starts with that passes another on.
const FORWARD_MARKS: [&str; 7] = ["fwd:", "fw:", "wg:", "tr:", "rv:", "enc:", "pd:"];

/// A letter and what it tells.
pub struct Case<'a> {
    /// The letter.
    pub letter: &'a Letter<'a>,
    /// What its subject tells.
    pub subject: Notices,
    /// What its prose tells.
    pub body: Notices,
    /// Its prose, made plain.
    pub plain: Plain,
    /// `From`, decoded.
    pub from: String,
    subject_text: String,
}

impl<'a> Case<'a> {
    /// Opens the case of a letter.
    pub fn of(letter: &'a Letter<'a>) -> Self {
        let subject_text = letter.head.text("Subject").unwrap_or_default();
        let plain = phrases::plain(&letter.prose);
        Self {
            letter,
            subject: letter.rules.notices_in(&subject_text),
            body: letter.rules.notices_in_words(&plain.words),
            plain,
            from: letter.head.text("From").unwrap_or_default(),
            subject_text,
        }
    }

    /// Whether subject or prose say that something was not delivered.
    pub fn speaks_of_failure(&self) -> bool {
        self.subject.has(Notice::SubjectFailed) || self.body.has(Notice::BodyFailed)
    }

    /// Whether subject or prose say that something comes later.
    pub fn speaks_of_delay(&self) -> bool {
        self.subject.has(Notice::SubjectDelayed) || self.body.has(Notice::BodyDelayed)
    }

    /// Whether the subject gives a reason by itself, as `User unknown`.
    pub fn subject_gives_reason(&self) -> bool {
        self.letter.rules.said_in(&self.subject_text, None).is_some()
    }

    /// Whether the subject answers another.
    pub fn answers(&self) -> bool {
        let subject = self.subject_text.trim_start().to_ascii_lowercase();
        ANSWER_MARKS.iter().any(|mark| subject.starts_with(mark))
    }

    /// Whether the subject passes another on.
    pub fn forwards(&self) -> bool {
        let subject = self.subject_text.trim_start().to_ascii_lowercase();
        FORWARD_MARKS.iter().any(|mark| subject.starts_with(mark))
    }

    /// Whether a mail system sent it, by its own words.
    pub fn is_from_daemon(&self) -> bool {
        let from = self.from.to_ascii_lowercase();
        from.trim_matches(['<', '>', ' ', '"']).is_empty() || DAEMONS.iter().any(|name| from.contains(name))
    }

    /// A field of the header in lower case, empty where there is none.
    pub fn lower(&self, name: &str) -> String {
        self.letter.head.text(name).unwrap_or_default().to_lowercase()
    }

    /// The recipients of whom the prose tells.
    pub fn told(&self) -> LazyCell<Vec<Told>, impl FnOnce() -> Vec<Told> + '_> {
        LazyCell::new(|| prose::recipients(&self.letter.prose, &self.parties(), self.letter.rules))
    }

    /// Addresses in the header: who reports, and to whom.
    fn parties(&self) -> Vec<String> {
        let fields = ["From", "To", "Delivered-To", "X-Original-To", "Reply-To", "Sender", "Return-Path"];
        let values = fields.iter().filter_map(|name| self.letter.head.text(name));
        values.flat_map(|value| addresses::all(&value)).collect()
    }

    /// Whether the letter is addressed to the domain of this address.
    pub fn is_to_domain_of(&self, address: &str) -> bool {
        let domain = |address: &str| address.rsplit('@').next().unwrap_or_default().to_ascii_lowercase();
        let values = ["To", "Delivered-To", "X-Original-To"].iter().filter_map(|name| self.letter.head.text(name));
        values.flat_map(|value| addresses::all(&value)).any(|to| domain(&to) == domain(address))
    }

    /// `X-Failed-Recipients`, which Exim and others write.
    pub fn failed_recipients(&self) -> Vec<String> {
        let mut failed: Vec<String> = Vec::new();
        for value in self.letter.head.all("X-Failed-Recipients") {
            for address in addresses::all(&addresses::without_octal(&parts::charset_text(value, None))) {
                if failed.len() < RECIPIENTS_MAX && !failed.contains(&address) {
                    failed.push(address);
                }
            }
        }
        failed
    }

    /// Whom the returned message was for.
    pub fn returned_to(&self) -> &[String] {
        self.letter.returned.as_ref().map_or(&[], |returned: &Returned| &returned.to)
    }

    /// At which stage of the dialogue it happened, as what is said of a recipient tells, or a transcript.
    pub fn stage(&self, about: Option<&Told>) -> Stage {
        let words = about.map(|about| phrases::plain(&about.near).words);
        match words.map_or(Stage::Report, |words| reply::stage_in(&words)) {
            Stage::Report => reply::stage_of_transcript(&self.letter.prose),
            stage => stage,
        }
    }

    /// A cause that seems to be about the recipient, put right where its words name the sender and not the recipient.
    pub fn of_whom(&self, cause: Cause, recipient: &str) -> Cause {
        let is_about_address = cause.reason.class() == Class::Hard;
        let named = if is_about_address { addresses::all(&cause.diagnostic) } else { Vec::new() };
        let names = |address: &str| named.iter().any(|name| name.eq_ignore_ascii_case(address));
        let sender = || addresses::all(&self.letter.head.text("To").unwrap_or_default());
        if named.is_empty() || names(recipient) || !sender().iter().any(|sender| names(sender)) {
            return cause;
        }
        Cause { reason: Reason::SenderRejected, class: Class::Soft, rule: "sender-named".into(), ..cause }
    }

    /// What the whole prose says, where its words say it.
    pub fn said(&self, status: Option<&str>) -> Option<Cause> {
        let (cause, weight) = self.letter.rules.weigh_prose(status, &self.letter.prose, &self.plain);
        (weight == Weight::Words).then_some(cause)
    }
}
