//! What an SMTP session asks of the world, line by line.
//!
//! Pure values between `session`, `connection` and `server`: the session says what it needs to know or to have done,
//! the server does it and answers through the method that the step names.

use std::net::IpAddr;
use std::sync::Arc;

use crate::intake::report::ReportTo;
use crate::intake::submission::Hop;
use crate::model::address::Address;
use crate::model::dsn::Wishes;
use crate::model::secret::Secret;
use crate::model::tenant::Grant;
use crate::model::time::Timestamp;

/// What the world has to do before the session goes on.
#[derive(Debug)]
pub enum Step {
    /// Send what there is to send, then bring more input.
    Read,
    /// Send what there is to send, then ask again.
    Write,
    /// Say whether this is a credential; `Connection::authenticated` takes the answer.
    Authenticate {
        /// The name given.
        username: String,
        /// The proof given.
        secret: Secret,
        /// From where.
        peer: IpAddr,
    },
    /// Say whether the grant still holds and may send as this, and whether there is room for a message;
    /// `Connection::sender_judged` takes the answer.
    JudgeSender {
        /// Who asks; nobody known hands in reports.
        grant: Option<Arc<Grant>>,
        /// As whom; `None` is `<>`.
        sender: Option<Address>,
    },
    /// Say whether reports come in here; `Connection::recipient_judged` takes the answer.
    JudgeRecipient(Address),
    /// Take a message and keep it; `Connection::submitted` takes the answer.
    Submit(Box<HandedIn>),
    /// Take a report; `Connection::reported` takes the answer.
    Report {
        /// What the recipients stand for, at least one.
        to: Vec<ReportTo>,
        /// The reverse path.
        sender: Option<Address>,
        /// The text, CRLF line ends.
        content: Vec<u8>,
    },
    /// Send what there is to send, then shake hands; `Connection::secured` takes the answer.
    StartTls,
    /// Send what there is to send, and hang up.
    Close,
}

/// A message that a client of ours hands in.
#[derive(Debug)]
pub struct HandedIn {
    /// Who.
    pub grant: Arc<Grant>,
    /// The reverse path.
    pub sender: Option<Address>,
    /// The forward paths, at least one.
    pub recipients: Vec<Address>,
    /// Of what the client wants to hear by mail.
    pub wishes: Wishes,
    /// Every leg from here on must be encrypted, and proved.
    pub requires_tls: bool,
    /// Not to be sent before this time.
    pub send_at: Option<Timestamp>,
    /// For `Received`.
    pub hop: Hop,
    /// The text, CRLF line ends.
    pub content: Vec<u8>,
}

/// Why a `MAIL` is not taken.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum NotNow {
    /// The grant may not send as this.
    Rejected(crate::intake::submission::Rejection),
    /// The grant is no more.
    Revoked,
    /// Whether the grant still holds cannot be found out.
    Unavailable,
    /// There is no room for a message.
    NoRoom,
}

/// What follows a line.
#[derive(Debug)]
pub(super) enum Turn {
    /// The next line.
    Next,
    /// A text up to a dot alone on its line.
    Text,
    /// So many bytes of text.
    Chunk {
        /// How many.
        size_bytes: u64,
        /// Whether they end the text.
        is_last: bool,
    },
    /// Something that the world has to do.
    Ask(Step),
}

/// Whether the client has sent more than the line at hand.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Tail {
    Empty,
    More,
}

/// How far TLS is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Tls {
    /// Not to be had here.
    Unavailable,
    /// To be had for the asking.
    Offered,
    /// On, with this version and cipher.
    Active(String),
}
