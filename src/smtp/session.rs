//! The state machine of one SMTP session: a line in, replies and a [`Step`] out (RFC 5321 §4.1.4).
//! `session/transaction` has the part from MAIL to the reply to a text.
//!
//! Pure. Knows what may come when, and asks for what it does not know: whether a password is right, a sender allowed,
//! a recipient one of our return paths, a message kept. `connection` feeds it, `server` does what it asks.
//!
//! ```text
//! state         left by                       also taken
//! new           EHLO, HELO → greeted          STARTTLS NOOP RSET HELP VRFY QUIT, in every state but text
//! greeted       MAIL → transaction            AUTH → authenticated (after EHLO; submission; under TLS or by setting)
//! transaction   DATA → text; BDAT → chunks    RCPT; EHLO, HELO, RSET → greeted
//! text          CR LF . CR LF → greeted       nothing
//! chunks        BDAT … LAST → greeted         BDAT; EHLO, HELO, RSET → greeted
//! any           STARTTLS → new                all that was said is forgotten (RFC 3207 §4.2)
//! ```
//!
//! Whoever is authenticated hands in mail. Whoever is not may, where the listener is for reports, hand in mail to our
//! return paths and to nobody else: judged at RCPT, before any text.

mod transaction;

use std::net::IpAddr;
use std::sync::Arc;

use crate::intake::caller::AuthFailure;
use crate::model::retry::AHEAD_MAX;
use crate::model::tenant::Grant;
use crate::model::time::Timestamp;

use super::auth::{self, AuthFault, Exchange, Progress};
use super::command::{self, Command, Fault, Mechanism, Strictness};
use super::reply::{self, Reply, Then};
use super::settings::{Kind, Listener, Settings, TlsMode};
use super::step::{Step, Tail, Tls, Turn};

use transaction::Transaction;

/// Permanent errors that a session may make for each message it hands in.
const ERRORS_MAX: u32 = 20;
/// Commands without effect that a session may give for each message it hands in.
const JUNK_MAX: u32 = 100;
/// Wrong passwords that end a session.
const FAILED_LOGINS_MAX: u32 = 3;

/// What a session came to, for its log line.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Summary {
    /// What the client calls itself; empty when it never said.
    pub client: String,
    /// Whether TLS was on at the end.
    pub secured: bool,
    /// Messages taken.
    pub messages: u32,
    /// Reports taken.
    pub reports: u32,
    /// Permanent errors answered.
    pub errors: u32,
}

/// One session.
#[derive(Debug)]
pub struct Session {
    settings: Arc<Settings>,
    listener: Arc<Listener>,
    peer: IpAddr,
    started: Timestamp,
    tls: Tls,
    dialect: Option<Dialect>,
    exchange: Option<Exchange>,
    grant: Option<Arc<Grant>>,
    transaction: Option<Transaction>,
    stopping: bool,
    /// Errors and junk since the last message taken.
    errors: u32,
    junk: u32,
    failed_logins: u32,
    summary: Summary,
    pub(super) out: Vec<u8>,
}

/// How the client has introduced itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Dialect {
    /// HELO.
    Smtp,
    /// EHLO.
    Esmtp,
}

impl Session {
    /// A session that has not been greeted.
    pub(super) fn new(
        settings: Arc<Settings>,
        listener: Arc<Listener>,
        tls: Tls,
        peer: IpAddr,
        started: Timestamp,
    ) -> Self {
        let tls = match listener.tls {
            // Under implicit TLS the handshake comes before the greeting.
            TlsMode::Starttls | TlsMode::Implicit => tls,
            TlsMode::Off => Tls::Unavailable,
        };
        Self {
            settings,
            listener,
            peer,
            started,
            summary: Summary { secured: matches!(tls, Tls::Active(_)), ..Summary::default() },
            tls,
            dialect: None,
            exchange: None,
            grant: None,
            transaction: None,
            stopping: false,
            errors: 0,
            junk: 0,
            failed_logins: 0,
            out: Vec::new(),
        }
    }

    /// The greeting. Input that is there before it is from somebody who does not speak SMTP.
    pub(super) fn greet(&mut self, tail: Tail) -> Turn {
        if tail == Tail::More {
            return self.say(reply::OUT_OF_TURN);
        }
        self.out.extend_from_slice(format!("220 {} ESMTP Postback\r\n", self.settings.hostname).as_bytes());
        Turn::Next
    }

    /// Takes one line, without its CRLF.
    pub(super) fn line(&mut self, line: &[u8], tail: Tail, now: Timestamp) -> Turn {
        if let Some(exchange) = self.exchange.take() {
            return self.proceed(exchange.answer(line));
        }
        match command::parse(line, self.strictness()) {
            Ok(command) => self.carry_out(command, tail, now),
            Err(fault) => {
                if let (Fault::Recipient(_), Some(transaction)) = (fault, &mut self.transaction) {
                    transaction.refused_any = true;
                }
                self.say(reply::command_fault(fault))
            }
        }
    }

    fn carry_out(&mut self, command: Command<'_>, tail: Tail, now: Timestamp) -> Turn {
        match command {
            Command::Ehlo(name) => self.hello(name, Dialect::Esmtp, tail, now),
            Command::Helo(name) => self.hello(name, Dialect::Smtp, tail, now),
            Command::Mail(mail) => self.mail(mail, now),
            Command::Rcpt(rcpt) => self.rcpt(rcpt),
            Command::Data => self.data(tail),
            Command::Bdat { size_bytes, is_last } => self.bdat(size_bytes, is_last),
            Command::Rset => self.reset(),
            Command::Noop => self.junk(reply::OK),
            Command::Help => self.junk(reply::HELP),
            Command::Vrfy => self.junk(reply::CANNOT_VERIFY),
            Command::Quit => self.say(reply::BYE),
            Command::StartTls => self.start_tls(tail),
            Command::Auth { mechanism, initial } => self.auth(mechanism, initial),
        }
    }

    /// Writes a reply, unless it is one error too many.
    pub(super) fn say(&mut self, reply: Reply) -> Turn {
        if reply.code >= 500 {
            self.errors += 1;
            self.summary.errors += 1;
            if self.errors > ERRORS_MAX {
                return self.say(reply::TOO_MANY_ERRORS);
            }
        }
        reply.write(&mut self.out);
        match reply.then {
            Then::GoOn => Turn::Next,
            Then::Close => Turn::Ask(Step::Close),
        }
    }

    fn junk(&mut self, reply: Reply) -> Turn {
        self.junk += 1;
        if self.junk > JUNK_MAX { self.say(reply::TOO_MUCH_JUNK) } else { self.say(reply) }
    }

    fn hello(&mut self, name: &str, dialect: Dialect, tail: Tail, now: Timestamp) -> Turn {
        if tail == Tail::More {
            return self.say(reply::OUT_OF_TURN);
        }
        if self.dialect.is_some() {
            self.junk += 1;
            if self.junk > JUNK_MAX {
                return self.say(reply::TOO_MUCH_JUNK);
            }
        }
        self.transaction = None;
        self.summary.client = name.to_owned();
        self.dialect = Some(dialect);
        let answer = match dialect {
            Dialect::Esmtp => self.offers(now),
            Dialect::Smtp => format!("250 {}\r\n", self.settings.hostname),
        };
        self.out.extend_from_slice(answer.as_bytes());
        Turn::Next
    }

    /// The reply to EHLO.
    fn offers(&self, now: Timestamp) -> String {
        let Settings { hostname, message_bytes_max, recipients_max, session_messages_max, .. } = &*self.settings;
        let starttls = if self.tls == Tls::Offered { "250-STARTTLS\r\n" } else { "" };
        let auth = if self.auth_is_offered() { "250-AUTH PLAIN LOGIN\r\n" } else { "" };
        let for_mail = if self.is_for_mail() {
            let (secs, until) = (AHEAD_MAX.as_secs(), (now + AHEAD_MAX).rfc3339_seconds());
            format!("250-DSN\r\n250-FUTURERELEASE {secs} {until}\r\n")
        } else {
            String::new()
        };
        let requiretls = if self.requiretls_is_offered() { "250-REQUIRETLS\r\n" } else { "" };
        format!(
            "250-{hostname}\r\n250-PIPELINING\r\n250-SIZE {message_bytes_max}\r\n{starttls}{auth}\
             250-ENHANCEDSTATUSCODES\r\n250-8BITMIME\r\n{for_mail}{requiretls}250-CHUNKING\r\n\
             250-LIMITS RCPTMAX={recipients_max} MAILMAX={session_messages_max}\r\n250 SMTPUTF8\r\n"
        )
    }

    /// Mail that we send on comes in here; reports are neither reported about nor held.
    fn is_for_mail(&self) -> bool {
        self.listener.kind == Kind::Submission
    }

    /// To somebody who came over TLS, about mail that we send on (RFC 8689 §2).
    fn requiretls_is_offered(&self) -> bool {
        matches!(self.tls, Tls::Active(_)) && self.is_for_mail()
    }

    fn reset(&mut self) -> Turn {
        self.transaction = None;
        self.junk(reply::OK)
    }

    fn start_tls(&mut self, tail: Tail) -> Turn {
        match self.tls {
            Tls::Unavailable => self.say(reply::NO_TLS_HERE),
            Tls::Active(_) => self.say(reply::TLS_AGAIN),
            // What follows in the clear was put there by somebody who wants it run inside (CVE-2011-0411).
            Tls::Offered if tail == Tail::More => self.say(reply::OUT_OF_TURN),
            Tls::Offered if self.transaction.is_some() => self.say(reply::MAIL_AGAIN),
            Tls::Offered => {
                self.say(reply::TLS_READY);
                Turn::Ask(Step::StartTls)
            }
        }
    }

    /// TLS is on, with this version and cipher: whatever was said in the clear is forgotten.
    pub(super) fn secured(&mut self, facts: String) {
        self.tls = Tls::Active(facts);
        self.summary.secured = true;
        self.dialect = None;
        self.exchange = None;
        self.grant = None;
        self.transaction = None;
    }

    fn auth_is_offered(&self) -> bool {
        self.is_for_mail() && (matches!(self.tls, Tls::Active(_)) || self.listener.trusts_wire_from(self.peer))
    }

    fn auth(&mut self, mechanism: Mechanism, initial: Option<&str>) -> Turn {
        let refusal = if self.listener.kind == Kind::Inbound {
            reply::NO_AUTH_HERE
        } else if !self.auth_is_offered() {
            reply::LOGIN_NEEDS_TLS
        } else if self.dialect != Some(Dialect::Esmtp) {
            reply::HELLO_FIRST
        } else if self.grant.is_some() {
            reply::LOGIN_AGAIN
        } else if self.transaction.is_some() {
            reply::MAIL_AGAIN
        } else {
            return self.proceed(auth::begin(mechanism, initial));
        };
        self.say(refusal)
    }

    fn proceed(&mut self, progress: Result<Progress, AuthFault>) -> Turn {
        match progress {
            Ok(Progress::Challenge(exchange)) => {
                self.out.extend_from_slice(format!("334 {}\r\n", exchange.challenge()).as_bytes());
                self.exchange = Some(exchange);
                Turn::Next
            }
            Ok(Progress::Credentials { username, secret }) => {
                Turn::Ask(Step::Authenticate { username, secret, peer: self.peer })
            }
            Err(AuthFault::Refused) => self.authenticated(Err(AuthFailure::Wrong)),
            Err(fault) => self.say(reply::auth_fault(fault)),
        }
    }

    /// Takes the answer to [`Step::Authenticate`].
    pub(super) fn authenticated(&mut self, answer: Result<Arc<Grant>, AuthFailure>) -> Turn {
        match answer {
            Ok(grant) => {
                self.grant = Some(grant);
                self.say(reply::AUTHENTICATED)
            }
            Err(AuthFailure::Unavailable) => self.say(reply::LOGIN_UNAVAILABLE),
            Err(AuthFailure::Wrong | AuthFailure::NotFromHere) => {
                self.failed_logins += 1;
                let is_last = self.failed_logins >= FAILED_LOGINS_MAX;
                self.say(if is_last { reply::TOO_MANY_LOGINS } else { reply::WRONG_LOGIN })
            }
        }
    }

    fn forgive(&mut self) {
        self.errors = 0;
        self.junk = 0;
    }

    /// Answers for a message, and says goodbye if that was waited for.
    fn conclude(&mut self, reply: Reply) -> Turn {
        match self.say(reply) {
            Turn::Next if self.stopping => self.say(reply::STOPPING),
            turn => turn,
        }
    }

    /// No further message is wanted; one that is being handed in still is.
    pub(super) fn stop(&mut self) {
        self.stopping = true;
    }

    /// The longest line that is taken now, CRLF included, judged by its beginning.
    pub(super) fn line_bytes_max(&self, beginning: &[u8]) -> usize {
        let begins = |verb: &[u8]| beginning.get(..verb.len()).is_some_and(|head| head.eq_ignore_ascii_case(verb));
        if self.exchange.is_some() || begins(b"AUTH ") {
            command::AUTH_LINE_BYTES_MAX
        } else if begins(b"MAIL ") || begins(b"RCPT ") {
            command::PATH_LINE_BYTES_MAX
        } else {
            command::LINE_BYTES_MAX
        }
    }

    fn strictness(&self) -> Strictness {
        match self.listener.kind {
            Kind::Submission => Strictness::Lenient,
            Kind::Inbound => Strictness::Strict,
        }
    }

    /// What it came to.
    pub fn summary(&self) -> &Summary {
        &self.summary
    }
}
