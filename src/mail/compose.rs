//! The parts of a mail become its bytes: header and body as RFC 5322 and MIME (RFC 2045 to 2047, 2231) want them.
//!
//! Who hands in parts (the HTTP APIs) is not trusted: a CR, LF or NUL in anything that becomes a header is refused, and
//! so is a header that would say who sent the mail or how it is built. The same parts, date and message id give the
//! same bytes on any node: boundaries derive from the message id and the parts. Recipients that no header may name
//! (bcc) are not parts of a mail; they stay in the envelope.

use bytes::Bytes;

use crate::model::address::{BadAddress, Mailbox};
use crate::model::time::Timestamp;

/// What a mail is made of, as a client names it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Parts {
    /// `From`.
    pub from: Mailbox,
    /// `To`.
    pub to: Vec<Mailbox>,
    /// `Cc`.
    pub cc: Vec<Mailbox>,
    /// `Reply-To`.
    pub reply_to: Vec<Mailbox>,
    /// `Subject`, as people read it.
    pub subject: String,
    /// The body for readers that show HTML.
    pub html: Option<String>,
    /// The body for those that do not.
    pub text: Option<String>,
    /// Further headers, in order; names that would change who sent the mail or how it is built are refused.
    pub headers: Vec<(String, String)>,
    /// Files beside the body, in order.
    pub attachments: Vec<File>,
    /// Pictures that the HTML refers to as `cid:…`.
    pub inline_images: Vec<Inline>,
}

/// A file beside the body.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct File {
    /// Its name, as the reader sees it.
    pub name: String,
    /// Its MIME type; empty for `application/octet-stream`.
    pub content_type: String,
    /// Its bytes.
    pub content: Bytes,
}

/// A picture inside the HTML.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Inline {
    /// What the HTML calls it, without `cid:` and angle brackets.
    pub cid: String,
    /// The picture.
    pub file: File,
}

/// Which of the parts. Each API has its own word for it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Field {
    /// [`Parts::from`].
    From,
    /// [`Parts::to`].
    To,
    /// [`Parts::cc`].
    Cc,
    /// [`Parts::reply_to`].
    ReplyTo,
    /// [`Parts::subject`].
    Subject,
    /// [`Parts::headers`].
    Headers,
    /// [`Parts::attachments`].
    Attachments,
    /// [`Parts::inline_images`].
    InlineImages,
}

/// Why parts cannot become a mail. Always the client's fault, and never mended by trying again.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Unfit {
    /// Not an address.
    #[error("{value:?} is not a mail address: {why}")]
    Address {
        /// Where.
        field: Field,
        /// What stood there.
        value: String,
        /// What is wrong with it.
        why: BadAddress,
    },
    /// A control character (CR and LF first of all) in something that becomes a header.
    #[error("line breaks and control characters are not allowed here")]
    Control {
        /// Where.
        field: Field,
    },
    /// Longer than a header of its kind may be.
    #[error("longer than {bytes_max} bytes")]
    TooLong {
        /// Where.
        field: Field,
        /// How long it may be.
        bytes_max: usize,
    },
    /// Not a header name (RFC 5322 §3.6.8: printable ASCII without a colon).
    #[error("{name:?} is not a header name")]
    HeaderName {
        /// What stood there.
        name: String,
    },
    /// A header that is ours to write, or nobody's.
    #[error("the header {name:?} cannot be set")]
    HeaderReserved {
        /// Which.
        name: String,
    },
    /// Not a MIME type that a file can have.
    #[error("{value:?} is not a MIME type that a file can have")]
    ContentType {
        /// Where.
        field: Field,
        /// What stood there.
        value: String,
    },
    /// Not a content id: letters, digits and some signs.
    #[error("{value:?} is not a content id")]
    ContentId {
        /// What stood there.
        value: String,
    },
}

/// The mail: header, empty line, body, CRLF throughout, no line above 998 octets. `message_id` is without angle
/// brackets.
///
/// # Errors
/// Any [`Unfit`]: what a client wrote cannot stand in a mail.
pub fn compose(parts: &Parts, date: Timestamp, message_id: &str) -> Result<Vec<u8>, Unfit> {
    // The body of this follows; until then a mail of its header only.
    let _ = parts;
    Ok(format!("Date: {}\r\nMessage-ID: <{message_id}>\r\n\r\n", date.rfc5322()).into_bytes())
}
