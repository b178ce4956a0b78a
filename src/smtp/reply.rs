//! The words of the SMTP door: every reply, and which fault or rejection gets which (RFC 5321 §4.2, RFC 3463).
//!
//! Pure. A reply that begins with 5 tells the client that trying again is of no use, one with 4 that it is: the types
//! decide which (a `Rejection` is the client's fault, `Unavailable` is ours), never this table.

use std::borrow::Cow;

use crate::intake::submission::{Refusal, Rejection, Unreadable};

use super::auth::AuthFault;
use super::command::Fault;
use super::data::DataFault;

/// Longest reply line, CRLF included (RFC 5321 §4.5.3.1.5).
const LINE_BYTES_MAX: usize = 512;

/// One reply of one line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reply {
    /// The three digits.
    pub code: u16,
    /// The enhanced code (RFC 3463); empty where RFC 2034 wants none.
    pub enhanced: &'static str,
    /// The text. Cut, and cleaned of what is not visible ASCII, when it is written.
    pub text: Cow<'static, str>,
    /// What happens to the connection.
    pub then: Then,
}

/// What happens to the connection after a reply.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Then {
    /// It goes on.
    GoOn,
    /// We end it.
    Close,
}

const fn reply(code: u16, enhanced: &'static str, text: &'static str) -> Reply {
    Reply { code, enhanced, text: Cow::Borrowed(text), then: Then::GoOn }
}

const fn last(code: u16, enhanced: &'static str, text: &'static str) -> Reply {
    Reply { code, enhanced, text: Cow::Borrowed(text), then: Then::Close }
}

fn told(code: u16, enhanced: &'static str, text: String) -> Reply {
    Reply { code, enhanced, text: Cow::Owned(text), then: Then::GoOn }
}

pub(super) const HELP: Reply = reply(214, "2.0.0", "EHLO HELO MAIL RCPT DATA BDAT RSET NOOP VRFY AUTH STARTTLS QUIT");
pub(super) const TLS_READY: Reply = reply(220, "2.0.0", "ready to start TLS");
pub(super) const BYE: Reply = last(221, "2.0.0", "bye");
pub(super) const AUTHENTICATED: Reply = reply(235, "2.7.0", "authenticated");
pub(super) const OK: Reply = reply(250, "2.0.0", "ok");
pub(super) const SENDER_OK: Reply = reply(250, "2.1.0", "ok");
pub(super) const RECIPIENT_OK: Reply = reply(250, "2.1.5", "ok");
pub(super) const REPORT_TAKEN: Reply = reply(250, "2.0.0", "report taken");
pub(super) const CANNOT_VERIFY: Reply = reply(252, "2.1.5", "send the mail and see");
pub(super) const SEND_TEXT: Reply = reply(354, "", "end with <CRLF>.<CRLF>");

pub(super) const TOO_MANY_ERRORS: Reply = last(421, "4.7.0", "too many errors");
pub(super) const TOO_MUCH_JUNK: Reply = last(421, "4.7.0", "too many commands that do nothing");
pub(super) const TOO_MANY_LOGINS: Reply = last(421, "4.7.0", "too many failed logins");
pub(super) const SESSION_SPENT: Reply = last(421, "4.7.0", "enough for one session, please connect again");
pub(super) const TOO_SLOW: Reply = last(421, "4.4.2", "timed out waiting for you");
pub(super) const LOGIN_REVOKED: Reply = last(421, "4.7.0", "your password is no longer good, please log in again");
pub(super) const STOPPING: Reply = last(421, "4.3.2", "shutting down, please connect again");
pub(super) const TOO_MANY_SESSIONS: Reply = last(421, "4.3.2", "too many sessions, please try again later");
pub(super) const TOO_MANY_FROM_YOU: Reply = last(421, "4.7.0", "too many sessions from your address");
pub(super) const TOO_OFTEN_FROM_YOU: Reply = last(421, "4.7.0", "too many connections from your address in one minute");

pub(super) const UNAVAILABLE: Reply = reply(451, "4.3.0", "cannot take it now, please try again later");
pub(super) const TOO_MANY_RECIPIENTS: Reply = reply(452, "4.5.3", "too many recipients");
pub(super) const ONE_REPORT_ONE_RECIPIENT: Reply = reply(452, "4.5.3", "a report has one recipient");
pub(super) const DISK_IS_FULL: Reply = reply(452, "4.3.1", "no room on the disk, please try again later");
pub(super) const LOGIN_UNAVAILABLE: Reply = reply(454, "4.7.0", "cannot check it now, please try again later");
pub(super) const LOGIN_TOO_SOON: Reply = reply(454, "4.7.0", "too many failed logins, please try again later");

pub(super) const LINE_TOO_LONG: Reply = reply(500, "5.5.6", "line too long");
pub(super) const LINE_FAR_TOO_LONG: Reply = last(500, "5.5.6", "line too long");
pub(super) const LONE_LF: Reply = last(500, "5.5.2", "a line ends in CR LF");
pub(super) const NOT_SMTP: Reply = last(500, "5.5.2", "this is SMTP without TLS");
pub(super) const NO_TLS_HERE: Reply = reply(502, "5.5.1", "TLS is not offered here");
pub(super) const NO_AUTH_HERE: Reply = reply(502, "5.5.1", "AUTH is not offered here");
pub(super) const HELLO_FIRST: Reply = reply(503, "5.5.1", "say EHLO first");
pub(super) const MAIL_FIRST: Reply = reply(503, "5.5.1", "say MAIL first");
pub(super) const RCPT_FIRST: Reply = reply(503, "5.5.1", "say RCPT first");
pub(super) const MAIL_AGAIN: Reply = reply(503, "5.5.1", "a mail transaction is open");
pub(super) const TLS_AGAIN: Reply = reply(503, "5.5.1", "TLS is on already");
pub(super) const BDAT_GOES_ON: Reply = reply(503, "5.5.1", "BDAT has begun, say BDAT or RSET");
pub(super) const CHUNK_TOO_LARGE: Reply = last(552, "5.3.4", "the chunk is too large");
pub(super) const LOGIN_AGAIN: Reply = reply(503, "5.5.1", "you are authenticated already");
pub(super) const LOGIN_FIRST: Reply = reply(530, "5.7.0", "Authentication required");
pub(super) const TLS_FIRST: Reply = reply(530, "5.7.0", "Must issue a STARTTLS command first");
pub(super) const REQUIRETLS_NEEDS_TLS: Reply = reply(530, "5.7.10", "REQUIRETLS needs TLS, say STARTTLS first");
pub(super) const LOGIN_NEEDS_TLS: Reply = reply(538, "5.7.11", "Must issue a STARTTLS command first");
pub(super) const WRONG_LOGIN: Reply = reply(535, "5.7.8", "Authentication Failed");
pub(super) const NO_SUCH_RECIPIENT: Reply = reply(550, "5.1.1", "no such recipient here");
pub(super) const NO_RELAYING: Reply = reply(550, "5.7.1", "Relaying denied");
pub(super) const MESSAGE_TOO_LARGE: Reply = reply(552, "5.3.4", "message too large");
pub(super) const NEEDS_SMTPUTF8: Reply = reply(553, "5.6.7", "the address needs SMTPUTF8");
pub(super) const NO_VALID_RECIPIENT: Reply = reply(554, "5.5.1", "no valid recipients");
pub(super) const OUT_OF_TURN: Reply = last(554, "5.5.0", "you must wait for the reply before you go on");
pub(super) const TOO_FAR_AHEAD: Reply = reply(554, "5.5.4", "that is later than FUTURERELEASE offers");
pub(super) const NOT_OFFERED: Reply = reply(555, "5.5.4", "parameter not offered");
pub(super) const NEEDS_EHLO: Reply = reply(555, "5.5.4", "parameters need EHLO");

impl Reply {
    /// The same, and then the connection ends.
    #[must_use]
    pub fn and_close(self) -> Self {
        Self { then: Then::Close, ..self }
    }

    /// Appends the line, CRLF included.
    pub fn write(&self, out: &mut Vec<u8>) {
        let start = out.len();
        let digit = |place: u16| b'0' + u8::try_from(self.code / place % 10).unwrap_or(0);
        out.extend_from_slice(&[digit(100), digit(10), digit(1), b' ']);
        if !self.enhanced.is_empty() {
            out.extend_from_slice(self.enhanced.as_bytes());
            out.push(b' ');
        }
        let room = LINE_BYTES_MAX.saturating_sub(out.len() - start + 2);
        let text = self.text.bytes().take(room);
        out.extend(text.map(|byte| if matches!(byte, b' '..=b'~') { byte } else { b'?' }));
        out.extend_from_slice(b"\r\n");
    }
}

/// A chunk is taken, and more will follow.
pub(super) fn chunk_taken(bytes: u64) -> Reply {
    told(250, "2.0.0", format!("{bytes} octets received"))
}

/// The promise that a message is kept.
pub(super) fn queued(id: impl std::fmt::Display) -> Reply {
    told(250, "2.0.0", format!("{id} queued"))
}

/// For a line that is not a command.
pub(super) fn command_fault(fault: Fault) -> Reply {
    match fault {
        Fault::Unknown => reply(500, "5.5.1", "command not recognised"),
        Fault::NotImplemented => reply(502, "5.5.1", "command not implemented"),
        Fault::Chunk => last(501, "5.5.4", "it is: BDAT size [LAST]"),
        Fault::OtherProtocol => last(502, "5.7.0", "this is SMTP"),
        Fault::Nul => last(500, "5.5.2", "a command has no NUL"),
        Fault::Characters => reply(500, "5.5.2", "a command is printable ASCII"),
        Fault::Usage(usage) => told(501, "5.5.4", format!("it is: {usage}")),
        Fault::Sender(why) => told(501, "5.1.7", why.to_string()),
        Fault::Recipient(why) => told(501, "5.1.3", why.to_string()),
        Fault::NeedsSmtpUtf8 => NEEDS_SMTPUTF8,
        Fault::Parameter(name) => told(501, "5.5.4", format!("bad value of {name}, or {name} twice")),
        Fault::UnknownParameter => reply(555, "5.5.4", "parameter not offered"),
        Fault::Mechanism => reply(504, "5.5.4", "mechanism not offered"),
    }
}

/// For an AUTH exchange that leads nowhere.
pub(super) fn auth_fault(fault: AuthFault) -> Reply {
    match fault {
        AuthFault::Cancelled => reply(501, "5.0.0", "authentication cancelled"),
        AuthFault::NotBase64 => reply(501, "5.5.2", "not base64"),
        AuthFault::Malformed => reply(501, "5.5.2", "not the fields of this mechanism"),
        AuthFault::Refused => WRONG_LOGIN,
    }
}

/// For a text that broke a rule of the wire.
pub(super) fn data_fault(fault: DataFault) -> Reply {
    match fault {
        DataFault::LineEnds => reply(550, "5.5.2", "lines end in CR LF, and neither stands alone"),
        DataFault::Nul => reply(554, "5.6.0", "the message has a NUL"),
        DataFault::NotLines => reply(550, "5.6.0", "the message is not lines of text that end in CR LF"),
        DataFault::Empty => reply(554, "5.6.0", "the message is empty"),
        DataFault::LongLine => reply(554, "5.6.0", "the message has a line of more than 998 characters"),
        DataFault::LongHeader => reply(552, "5.3.4", "the header of the message is too large"),
        DataFault::TooLarge => MESSAGE_TOO_LARGE,
        DataFault::NoRoom => reply(452, "4.3.1", "no room for it now, please try again later"),
    }
}

/// For a submission that was not taken.
pub(super) fn refusal(refusal: &Refusal) -> Reply {
    match refusal {
        Refusal::Rejected(why) => rejection(why),
        Refusal::DailyLimit { .. } => reply(452, "4.7.1", "the daily limit is reached, please try again tomorrow"),
        Refusal::Raced | Refusal::Unavailable => UNAVAILABLE,
    }
}

/// For a submission that will never be taken as it is.
pub(super) fn rejection(rejection: &Rejection) -> Reply {
    match rejection {
        Rejection::SenderNotAllowed { domain } => told(553, "5.7.1", format!("Relaying disallowed as <{domain}>")),
        Rejection::AgentShutDown => told(554, "5.7.1", rejection.to_string()),
        Rejection::BounceNotAllowed { .. } => told(553, "5.7.1", rejection.to_string()),
        Rejection::BadSender(_) => told(553, "5.1.7", rejection.to_string()),
        Rejection::NoRecipients => NO_VALID_RECIPIENT,
        Rejection::TooManyRecipients { .. } => told(554, "5.5.3", rejection.to_string()),
        Rejection::TooLarge { .. } => MESSAGE_TOO_LARGE,
        Rejection::NoSender | Rejection::NoSuchFile { .. } | Rejection::Unfit(_) => {
            told(554, "5.6.0", rejection.to_string())
        }
        Rejection::Unreadable(why) => {
            let (code, enhanced) = match why {
                Unreadable::NoHeader | Unreadable::NotAField | Unreadable::Nul | Unreadable::Switch(_) => {
                    (554, "5.6.0")
                }
                Unreadable::TooManyParts | Unreadable::TooDeep | Unreadable::LongLine(_) | Unreadable::TooFarAhead => {
                    (554, "5.6.0")
                }
                Unreadable::HeaderTooLarge => (552, "5.3.4"),
                Unreadable::Twice(_) | Unreadable::BadName | Unreadable::KeyTaken => (550, "5.6.0"),
                Unreadable::Loop => (554, "5.4.6"),
            };
            told(code, enhanced, why.to_string())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::address::BadAddress;

    fn line(reply: Reply) -> String {
        let mut out = Vec::new();
        reply.write(&mut out);
        let text = String::from_utf8(out).unwrap();
        let text = text.strip_suffix("\r\n").unwrap();
        if reply.then == Then::Close { format!("{text} (close)") } else { text.to_owned() }
    }

    #[test]
    fn faults_of_commands() {
        let check = |fault, expected: &str| assert_eq!(line(command_fault(fault)), expected);
        check(Fault::Unknown, "500 5.5.1 command not recognised");
        check(Fault::NotImplemented, "502 5.5.1 command not implemented");
        check(Fault::Chunk, "501 5.5.4 it is: BDAT size [LAST] (close)");
        check(Fault::OtherProtocol, "502 5.7.0 this is SMTP (close)");
        check(Fault::Nul, "500 5.5.2 a command has no NUL (close)");
        check(Fault::Characters, "500 5.5.2 a command is printable ASCII");
        check(Fault::Usage("EHLO name"), "501 5.5.4 it is: EHLO name");
        check(Fault::Sender(BadAddress::TooLong), "501 5.1.7 the address is too long");
        check(Fault::Recipient(BadAddress::Domain), "501 5.1.3 the part after the @ is not a domain name");
        check(Fault::NeedsSmtpUtf8, "553 5.6.7 the address needs SMTPUTF8");
        check(Fault::Parameter("SIZE"), "501 5.5.4 bad value of SIZE, or SIZE twice");
        check(Fault::UnknownParameter, "555 5.5.4 parameter not offered");
        check(Fault::Mechanism, "504 5.5.4 mechanism not offered");
    }

    #[test]
    fn faults_of_logins_and_texts() {
        let auth = |fault, expected: &str| assert_eq!(line(auth_fault(fault)), expected);
        auth(AuthFault::Cancelled, "501 5.0.0 authentication cancelled");
        auth(AuthFault::NotBase64, "501 5.5.2 not base64");
        auth(AuthFault::Malformed, "501 5.5.2 not the fields of this mechanism");
        auth(AuthFault::Refused, "535 5.7.8 Authentication Failed");
        let data = |fault, expected: &str| assert_eq!(line(data_fault(fault)), expected);
        data(DataFault::LineEnds, "550 5.5.2 lines end in CR LF, and neither stands alone");
        data(DataFault::Nul, "554 5.6.0 the message has a NUL");
        data(DataFault::NotLines, "550 5.6.0 the message is not lines of text that end in CR LF");
        data(DataFault::Empty, "554 5.6.0 the message is empty");
        data(DataFault::LongLine, "554 5.6.0 the message has a line of more than 998 characters");
        data(DataFault::LongHeader, "552 5.3.4 the header of the message is too large");
        data(DataFault::TooLarge, "552 5.3.4 message too large");
        data(DataFault::NoRoom, "452 4.3.1 no room for it now, please try again later");
    }

    #[test]
    fn rejections() {
        let check = |why, expected: &str| assert_eq!(line(refusal(&Refusal::Rejected(why))), expected);
        check(
            Rejection::SenderNotAllowed { domain: "a.example".into() },
            "553 5.7.1 Relaying disallowed as <a.example>",
        );
        check(Rejection::NoSender, "554 5.6.0 there is no sender");
        check(Rejection::BadSender("x\n".into()), "553 5.1.7 \"x\\n\" is not an address to send from");
        check(Rejection::NoRecipients, "554 5.5.1 no valid recipients");
        check(Rejection::TooManyRecipients { max: 9 }, "554 5.5.3 more than 9 recipients");
        check(Rejection::TooLarge { max_bytes: 9 }, "552 5.3.4 message too large");
        check(Unreadable::NoHeader.into(), "554 5.6.0 the message has no header");
        check(Unreadable::HeaderTooLarge.into(), "552 5.3.4 the header is larger than 102400 bytes");
        check(Unreadable::NotAField.into(), "554 5.6.0 a line of the header is not a field");
        check(Unreadable::BadName.into(), "550 5.6.0 a field of the header has a name that is none");
        check(Unreadable::TooManyParts.into(), "554 5.6.0 the message has more than 1000 parts");
        check(Unreadable::TooDeep.into(), "554 5.6.0 the message has parts inside more than 50 parts");
        check(Unreadable::Twice("From").into(), "550 5.6.0 the header has more than one From");
        check(
            Unreadable::Switch("X-TM-OPEN-TRACK").into(),
            "554 5.6.0 X-TM-OPEN-TRACK has a value that cannot be understood",
        );
        check(Unreadable::Loop.into(), "554 5.4.6 the message has passed too many mail servers");
        assert_eq!(line(refusal(&Refusal::Unavailable)), "451 4.3.0 cannot take it now, please try again later");
    }

    #[test]
    fn text_of_others_is_cleaned_and_cut() {
        assert_eq!(line(told(550, "5.0.0", "a\r\n250 ok\u{1b}é".into())), "550 5.0.0 a??250 ok???");
        assert_eq!(line(told(550, "5.0.0", "x".repeat(600))).len(), 510);
        assert_eq!(line(queued("msg_1")), "250 2.0.0 msg_1 queued");
    }
}
