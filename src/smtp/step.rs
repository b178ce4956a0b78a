//! What an SMTP session asks of the world, line by line.
//!
//! Pure values between `session`, `connection` and `server`: the session says what it needs to know or to have done,
//! the server does it and answers through the method that the step names.

use std::sync::Arc;

use crate::intake::report::ReportTo;
use crate::model::address::Address;
use crate::model::secret::Secret;
use crate::model::tenant::Grant;

use super::data::Limits;

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
    },
    /// Say whether the grant may send as this; `Connection::sender_judged` takes the answer.
    JudgeSender {
        /// Who asks.
        grant: Arc<Grant>,
        /// As whom; `None` is `<>`.
        sender: Option<Address>,
    },
    /// Say whether reports come in here; `Connection::recipient_judged` takes the answer.
    JudgeRecipient(Address),
    /// Take a message and keep it; `Connection::submitted` takes the answer.
    Submit {
        /// Who hands it in.
        grant: Arc<Grant>,
        /// The reverse path.
        sender: Option<Address>,
        /// The forward paths, at least one.
        recipients: Vec<Address>,
        /// The text, CRLF line ends.
        content: Vec<u8>,
    },
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

/// What follows a line.
#[derive(Debug)]
pub(super) enum Turn {
    /// The next line.
    Next,
    /// A text within these limits.
    Text { limits: Limits, expected_bytes: Option<u64> },
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
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Tls {
    /// Not to be had here.
    Unavailable,
    /// To be had for the asking.
    Offered,
    /// On.
    Active,
}
