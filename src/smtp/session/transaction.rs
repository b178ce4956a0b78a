//! From MAIL to the reply to a text: one transaction of a session (RFC 5321 §3.3, RFC 3030). Pure.
//!
//! The text is read into the transaction, so that whatever ends it, RSET or a new EHLO, throws the text away too. A
//! `BDAT` is always read to its end, even one that comes when it must not: what follows it is no command.

use std::sync::Arc;

use crate::intake::report::{NotHere, ReportTo, Unavailable};
use crate::intake::submission::{Hop, Refusal};
use crate::model::address::Address;
use crate::model::dsn::{Wish, Wishes};
use crate::model::retry::AHEAD_MAX;
use crate::model::tenant::Grant;
use crate::model::time::Timestamp;

use super::super::command::envelope::{Hold, Mail, Rcpt, Recipient};
use super::super::data::{DataFault, DataReader, Framing, Limits};
use super::super::reply::{self, Reply};
use super::super::settings::Kind;
use super::super::step::{HandedIn, NotNow, Step, Tail, Tls, Turn};
use super::{Dialect, Session};

/// Longest line of a text from somebody unknown, without CRLF (RFC 5321 §4.5.3.1.6).
const TEXT_LINE_BYTES_MAX: usize = 998;
/// Largest header of a text.
const HEADER_BYTES_MAX: usize = 100 * 1024;
/// Most lines of a header.
const HEADER_LINES_MAX: usize = 1_000;
/// A chunk below this, unless it is the last, counts as a command without effect.
const CHUNK_BYTES_MIN: u64 = 512;

/// What was said since MAIL.
#[derive(Debug, Default)]
pub(super) struct Transaction {
    mail: Mail,
    /// When it is to be sent, if not at once.
    send_at: Option<Timestamp>,
    recipients: Vec<Address>,
    reports: Vec<ReportTo>,
    wishes: Vec<(u16, Wish)>,
    pub(super) refused_any: bool,
    /// The text that is coming in.
    text: Option<Box<DataReader>>,
}

impl Session {
    pub(super) fn mail(&mut self, mail: Mail, now: Timestamp) -> Turn {
        let Some(dialect) = self.dialect else { return self.say(reply::HELLO_FIRST) };
        let spent = self.summary.messages.saturating_add(self.summary.reports) >= self.settings.session_messages_max
            || now.since(self.started).as_secs() >= self.settings.session_secs_max.into();
        let send_at = mail.hold.map(|hold| match hold {
            Hold::For(time) => now + time,
            Hold::Until(at) => at,
        });
        let is_for_mail_only = mail.wishes() || mail.hold.is_some();
        let refusal = if self.transaction.is_some() {
            reply::MAIL_AGAIN
        } else if mail.extended && dialect == Dialect::Smtp {
            reply::NEEDS_EHLO
        } else if mail.requires_tls && !matches!(self.tls, Tls::Active(_)) {
            reply::REQUIRETLS_NEEDS_TLS
        } else if (is_for_mail_only && !self.is_for_mail()) || (mail.requires_tls && !self.requiretls_is_offered()) {
            reply::NOT_OFFERED
        } else if self.grant.is_none() && (mail.hold.is_some() || !self.listener.is_for_reports()) {
            self.login_first()
        } else if mail.size_bytes.is_some_and(|size| size > self.settings.message_bytes_max) {
            reply::MESSAGE_TOO_LARGE
        } else if send_at.is_some_and(|at| at > now + AHEAD_MAX) {
            reply::TOO_FAR_AHEAD
        } else if spent {
            reply::SESSION_SPENT
        } else {
            let asked = Step::JudgeSender { grant: self.grant.clone(), sender: mail.sender.clone() };
            self.transaction = Some(Transaction { mail, send_at, ..Transaction::default() });
            return Turn::Ask(asked);
        };
        self.say(refusal)
    }

    fn login_first(&self) -> Reply {
        if self.tls == Tls::Offered && !self.auth_is_offered() { reply::TLS_FIRST } else { reply::LOGIN_FIRST }
    }

    /// Takes the answer to [`Step::JudgeSender`]: the grant as it is now.
    pub(in super::super) fn sender_judged(&mut self, answer: Result<Option<Arc<Grant>>, NotNow>) -> Turn {
        let refusal = match answer {
            Ok(grant) => {
                self.grant = grant;
                return self.say(reply::SENDER_OK);
            }
            Err(NotNow::Rejected(rejection)) => reply::rejection(&rejection),
            Err(NotNow::Revoked) => reply::LOGIN_REVOKED,
            Err(NotNow::Unavailable) => reply::UNAVAILABLE,
            Err(NotNow::NoRoom) => reply::DISK_IS_FULL,
        };
        self.transaction = None;
        self.say(refusal)
    }

    pub(super) fn rcpt(&mut self, rcpt: Rcpt) -> Turn {
        let is_for_mail = self.is_for_mail();
        let Rcpt { recipient, wish, extended } = rcpt;
        let Some(transaction) = &mut self.transaction else {
            return self.say(if self.dialect.is_some() { reply::MAIL_FIRST } else { reply::HELLO_FIRST });
        };
        if transaction.text.is_some() {
            return self.say(reply::BDAT_GOES_ON);
        }
        if extended && (self.dialect == Some(Dialect::Smtp) || !is_for_mail) {
            return self.say(reply::NOT_OFFERED);
        }
        if matches!(recipient, Recipient::Address { unicode: true, .. }) && !transaction.mail.smtputf8 {
            transaction.refused_any = true;
            return self.say(reply::NEEDS_SMTPUTF8);
        }
        let taken = transaction.recipients.len() + transaction.reports.len();
        let place = u16::try_from(taken).ok().filter(|place| *place < self.settings.recipients_max);
        let Some(place) = place else { return self.say(reply::TOO_MANY_RECIPIENTS) };
        if self.grant.is_none() && transaction.mail.sender.is_none() && taken > 0 {
            return self.say(reply::ONE_REPORT_ONE_RECIPIENT);
        }
        let address = match recipient {
            Recipient::Address { address, .. } if self.grant.is_none() => {
                return Turn::Ask(Step::JudgeRecipient(address));
            }
            Recipient::Address { address, .. } => Ok(address),
            // Ours, whoever asks (RFC 5321 §4.5.1): a person reads it.
            Recipient::Postmaster if self.grant.is_none() => return self.recipient_judged(Ok(ReportTo::Postmaster)),
            Recipient::Postmaster => format!("postmaster@{}", self.settings.hostname).parse(),
        };
        let Ok(address) = address else { return self.say(reply::NO_SUCH_RECIPIENT) };
        transaction.recipients.push(address);
        if extended {
            transaction.wishes.push((place, wish));
        }
        self.say(reply::RECIPIENT_OK)
    }

    /// Takes the answer to [`Step::JudgeRecipient`].
    pub(in super::super) fn recipient_judged(&mut self, answer: Result<ReportTo, NotHere>) -> Turn {
        let Some(transaction) = &mut self.transaction else { return self.say(reply::MAIL_FIRST) };
        match (answer, self.listener.kind) {
            (Ok(report), _) => {
                transaction.reports.push(report);
                self.say(reply::RECIPIENT_OK)
            }
            (Err(why), kind) => {
                transaction.refused_any = true;
                let refusal = match (why, kind) {
                    // Whoever logs in will not find it either.
                    (NotHere::Unknown, _) => reply::NO_SUCH_RECIPIENT,
                    (NotHere::Elsewhere, Kind::Submission) => self.login_first(),
                    (NotHere::Elsewhere, Kind::Inbound) => reply::NO_RELAYING,
                };
                self.say(refusal)
            }
        }
    }

    pub(super) fn data(&mut self, tail: Tail) -> Turn {
        if let Some(refusal) = self.no_text_now() {
            return self.say(refusal);
        }
        if self.transaction.as_ref().is_some_and(|transaction| transaction.text.is_some()) {
            return self.say(reply::BDAT_GOES_ON);
        }
        if tail == Tail::More {
            return self.say(reply::OUT_OF_TURN);
        }
        self.begin_text(Framing::Dots, None);
        self.say(reply::SEND_TEXT);
        Turn::Text
    }

    /// A chunk is coming, wanted or not.
    pub(super) fn bdat(&mut self, size_bytes: u64, is_last: bool) -> Turn {
        if size_bytes > self.settings.message_bytes_max.saturating_mul(2) {
            return self.say(reply::CHUNK_TOO_LARGE);
        }
        let has_begun = self.transaction.as_ref().is_some_and(|transaction| transaction.text.is_some());
        if self.no_text_now().is_none() && !has_begun {
            self.begin_text(Framing::Counted, is_last.then_some(size_bytes));
        }
        Turn::Chunk { size_bytes, is_last }
    }

    /// Takes the end of a chunk.
    pub(in super::super) fn chunk_ended(&mut self, size_bytes: u64, is_last: bool) -> Turn {
        let text = self.transaction.as_ref().and_then(|transaction| transaction.text.as_ref());
        let Some(is_refused) = text.map(|text| text.is_refused()) else {
            let refusal = self.no_text_now().unwrap_or(reply::MAIL_FIRST);
            return self.say(refusal);
        };
        if is_last || is_refused {
            return self.text_ended(true);
        }
        if size_bytes < CHUNK_BYTES_MIN {
            self.junk(reply::chunk_taken(size_bytes))
        } else {
            self.say(reply::chunk_taken(size_bytes))
        }
    }

    /// Why there can be no text now.
    fn no_text_now(&self) -> Option<Reply> {
        match &self.transaction {
            None if self.dialect.is_none() => Some(reply::HELLO_FIRST),
            None => Some(reply::MAIL_FIRST),
            Some(Transaction { recipients, reports, .. }) if !(recipients.is_empty() && reports.is_empty()) => None,
            Some(Transaction { refused_any: true, .. }) => Some(reply::NO_VALID_RECIPIENT),
            Some(_) => Some(reply::RCPT_FIRST),
        }
    }

    fn begin_text(&mut self, framing: Framing, expected_bytes: Option<u64>) {
        let limits = Limits {
            content_bytes_max: usize::try_from(self.settings.message_bytes_max).unwrap_or(usize::MAX),
            line_bytes_max: if self.grant.is_some() { None } else { Some(TEXT_LINE_BYTES_MAX) },
            header_bytes_max: HEADER_BYTES_MAX,
            header_lines_max: HEADER_LINES_MAX,
            lone_lf: self.listener.line_endings.lone_lf(),
        };
        if let Some(transaction) = &mut self.transaction {
            let expected_bytes = expected_bytes.or(transaction.mail.size_bytes);
            transaction.text = Some(Box::new(DataReader::new(limits, framing, expected_bytes)));
        }
    }

    /// The text that is coming in.
    pub(in super::super) fn text(&mut self) -> Option<&mut DataReader> {
        self.transaction.as_mut()?.text.as_deref_mut()
    }

    /// Bytes of memory held for a text.
    pub(in super::super) fn text_bytes(&self) -> usize {
        let text = self.transaction.as_ref().and_then(|transaction| transaction.text.as_ref());
        text.map_or(0, |text| text.held_bytes())
    }

    /// Takes a text, whose end was found or not.
    pub(in super::super) fn text_ended(&mut self, is_whole: bool) -> Turn {
        let Transaction { mail, send_at, recipients, reports, wishes, text, .. } =
            self.transaction.take().unwrap_or_default();
        let Some(text) = text else { return self.say(reply::MAIL_FIRST) };
        let is_misframed = text.is_misframed() || !is_whole;
        let text = if is_whole { text.finish() } else { Err(DataFault::TooLarge) };
        let content = match text {
            Ok(content) => content,
            Err(fault) => {
                let reply = reply::data_fault(fault);
                return self.conclude(if is_misframed { reply.and_close() } else { reply });
            }
        };
        let Some(grant) = self.grant.clone() else {
            return Turn::Ask(Step::Report { to: reports, sender: mail.sender, content });
        };
        let hop = self.hop(mail.smtputf8);
        let Mail { sender, returned, envelope_id, requires_tls, .. } = mail;
        let wishes =
            Wishes { envelope_id: envelope_id.unwrap_or_default(), returned, recipients: wishes.into_iter().collect() };
        let handed_in = HandedIn { grant, sender, recipients, wishes, requires_tls, send_at, hop, content };
        Turn::Ask(Step::Submit(Box::new(handed_in)))
    }

    /// For `Received`: who hands it in, and how (RFC 3848, RFC 6531 §4.3).
    fn hop(&self, smtputf8: bool) -> Hop {
        let tls = match &self.tls {
            Tls::Active(facts) => Some(facts.clone()),
            Tls::Offered | Tls::Unavailable => None,
        };
        let protocol = match (smtputf8, tls.is_some()) {
            (false, false) => "ESMTPA",
            (false, true) => "ESMTPSA",
            (true, false) => "UTF8SMTPA",
            (true, true) => "UTF8SMTPSA",
        };
        Hop { client: self.summary.client.clone(), peer: self.peer, protocol, tls }
    }

    /// Takes the answer to [`Step::Submit`]: the id of a message that is kept, or why it is not.
    pub(in super::super) fn submitted(&mut self, answer: Result<String, Refusal>) -> Turn {
        match answer {
            Ok(id) => {
                self.summary.messages += 1;
                self.forgive();
                self.conclude(reply::queued(id))
            }
            Err(refusal) => self.conclude(reply::refusal(&refusal)),
        }
    }

    /// Takes the answer to [`Step::Report`].
    pub(in super::super) fn reported(&mut self, answer: Result<(), Unavailable>) -> Turn {
        match answer {
            Ok(()) => {
                self.summary.reports += 1;
                self.forgive();
                self.conclude(reply::REPORT_TAKEN)
            }
            Err(Unavailable) => self.conclude(reply::UNAVAILABLE),
        }
    }
}
