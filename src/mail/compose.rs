//! The parts of a mail become its bytes: header and body as RFC 5322 and MIME (RFC 2045 to 2047, 2231) want them.
//!
//! Who hands in parts (the HTTP APIs) is not trusted: a CR, LF or NUL in anything that becomes a header is refused, and
//! so is a header that would say who sent the mail or how it is built. The same parts, date and message id give the
//! same bytes on any node: boundaries derive from the message id and the parts. Recipients that no header may name
//! (bcc) are not parts of a mail; they stay in the envelope.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use mail_builder::MessageBuilder;
use mail_builder::encoders::Base64Encoder;
use mail_builder::headers::HeaderType;
use mail_builder::headers::address::Address as Written;
use mail_builder::headers::content_type::ContentType;
use mail_builder::headers::raw::Raw;
use mail_builder::headers::text::Text;
use mail_builder::mime::MimePart;
use sha2::{Digest, Sha256};

use super::mend::LINE_BYTES_MAX;
use super::{headers, plain};
use crate::model::address::{Address, BadAddress, Mailbox};
use crate::model::time::Timestamp;

/// Longest `Subject`, in bytes.
pub const SUBJECT_BYTES_MAX: usize = 4_000;
/// Longest display name or file name, in bytes.
pub const NAME_BYTES_MAX: usize = 1_000;
/// Longest value of a header of the client's own, in bytes.
pub const HEADER_BYTES_MAX: usize = 8_000;
/// Longest run without a blank in such a value, in bytes: it cannot be folded, and a line ends at 998 (RFC 5322 §2.1.1).
pub const HEADER_RUN_BYTES_MAX: usize = 900;

/// Headers that say who sent the mail, when, or how it is built: ours to write, or nobody's. A final `-` stands for
/// every name that begins so.
const RESERVED: [&str; 26] = [
    "arc-",
    "authentication-results",
    "bcc",
    "cc",
    "content-",
    "date",
    "delivered-to",
    "dkim-signature",
    "domainkey-signature",
    "envelope-to",
    "from",
    "message-id",
    "mime-version",
    "received",
    "received-spf",
    "reply-to",
    "resent-",
    "return-path",
    "sender",
    "status",
    "subject",
    "to",
    "x-original-to",
    "x-postback-",
    "x-tm-",
    "x-uidl",
];

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
    /// The body for those that do not; made from the HTML when there is none.
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
    /// Recipients that no header names.
    Bcc,
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
    /// Not the name of a file: it holds a path.
    #[error("{value:?} is not a file name")]
    FileName {
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
/// brackets. Text and HTML become `multipart/alternative`, pictures go beside the HTML in `multipart/related`, files
/// beside all of it in `multipart/mixed`. A mail without any body has an empty one.
///
/// # Errors
/// Any [`Unfit`]: what a client wrote cannot stand in a mail.
pub fn compose(parts: &Parts, date: Timestamp, message_id: &str) -> Result<Vec<u8>, Unfit> {
    let mut mail = MessageBuilder::new().header("From", addresses(Field::From, std::slice::from_ref(&parts.from))?);
    if parts.to.is_empty() && parts.cc.is_empty() {
        mail = mail.header("To", HeaderType::Raw(Raw::new("undisclosed-recipients:;")));
    }
    for (name, field, mailboxes) in
        [("To", Field::To, &parts.to), ("Cc", Field::Cc, &parts.cc), ("Reply-To", Field::ReplyTo, &parts.reply_to)]
    {
        if !mailboxes.is_empty() {
            mail = mail.header(name, addresses(field, mailboxes)?);
        }
    }
    mail = mail
        .header("Subject", subject(&parts.subject)?)
        .header("Date", raw(date.rfc5322()))
        .header("Message-ID", raw(format!("<{message_id}>")));
    for (name, value) in &parts.headers {
        mail = mail.header(header_name(name)?, header_value(value)?);
    }
    let mut bytes = Vec::new();
    mail.header("MIME-Version", raw("1.0".into())).body(body(parts, message_id)?).serialize(&mut bytes);
    Ok(bytes)
}

/// Whether a file could stand beside a body, as far as its name and type go.
///
/// # Errors
/// Any [`Unfit`] of its name or type.
pub fn check_file(file: &File) -> Result<(), Unfit> {
    file_name(Field::Attachments, &file.name)?;
    file_type(Field::Attachments, file).map(drop)
}

fn raw<'x>(text: String) -> HeaderType<'x> {
    HeaderType::Raw(Raw::new(text))
}

fn addresses<'x>(field: Field, mailboxes: &'x [Mailbox]) -> Result<HeaderType<'x>, Unfit> {
    let written = mailboxes.iter().map(|mailbox| {
        let address: Address =
            mailbox.address.parse().map_err(|why| Unfit::Address { field, value: mailbox.address.clone(), why })?;
        let name = mailbox.name.trim();
        header_text(field, name, NAME_BYTES_MAX)?;
        Ok(Written::new_address((!name.is_empty()).then_some(name), address.to_string()))
    });
    Ok(HeaderType::Address(Written::new_list(written.collect::<Result<_, Unfit>>()?)))
}

fn subject(text: &str) -> Result<HeaderType<'_>, Unfit> {
    header_text(Field::Subject, text, SUBJECT_BYTES_MAX)?;
    Ok(unstructured(text))
}

/// Text for people. What only looks like an encoded word is encoded, so that readers show it as it was written.
fn unstructured(text: &str) -> HeaderType<'_> {
    if text.contains("=?") { raw(encoded_words(text)) } else { HeaderType::Text(Text::new(text)) }
}

/// RFC 2047 §4.1: words of at most 75 characters, none splitting a character.
pub(super) fn encoded_words(text: &str) -> String {
    const WORD_BYTES: usize = 42;
    let mut words = Vec::new();
    let mut rest = text;
    while !rest.is_empty() {
        let end = rest.floor_char_boundary(WORD_BYTES);
        let (word, after) = rest.split_at(end);
        words.push(format!("=?utf-8?B?{}?=", STANDARD.encode(word)));
        rest = after;
    }
    words.join(" ")
}

fn header_name(name: &str) -> Result<&str, Unfit> {
    let is_name = (1..=76).contains(&name.len()) && name.bytes().all(|byte| byte.is_ascii_graphic() && byte != b':');
    if !is_name {
        return Err(Unfit::HeaderName { name: name.to_owned() });
    }
    let folded = name.to_ascii_lowercase();
    let is_reserved = RESERVED.iter().any(|reserved| match reserved.ends_with('-') {
        true => folded.starts_with(reserved),
        false => folded == *reserved,
    });
    if is_reserved { Err(Unfit::HeaderReserved { name: name.to_owned() }) } else { Ok(name) }
}

/// The value of a client's own header. ASCII stays as it is, since it may have a structure (`List-Unsubscribe`).
fn header_value(value: &str) -> Result<HeaderType<'_>, Unfit> {
    let value = value.trim();
    header_text(Field::Headers, value, HEADER_BYTES_MAX)?;
    if !value.is_ascii() {
        return Ok(HeaderType::Text(Text::new(value)));
    }
    match value.split([' ', '\t']).any(|run| run.len() > HEADER_RUN_BYTES_MAX) {
        true => Err(Unfit::TooLong { field: Field::Headers, bytes_max: HEADER_RUN_BYTES_MAX }),
        false => Ok(HeaderType::Raw(Raw::new(value))),
    }
}

/// Control characters of ASCII never stand in a header; those above are encoded with the rest.
fn header_text(field: Field, text: &str, bytes_max: usize) -> Result<(), Unfit> {
    if text.bytes().any(|byte| byte.is_ascii_control() && byte != b'\t') {
        return Err(Unfit::Control { field });
    }
    if text.len() > bytes_max { Err(Unfit::TooLong { field, bytes_max }) } else { Ok(()) }
}

fn body<'x>(parts: &'x Parts, message_id: &str) -> Result<MimePart<'x>, Unfit> {
    let images: Vec<_> = parts.inline_images.iter().map(inline).collect::<Result<_, _>>()?;
    let files: Vec<_> = parts.attachments.iter().map(attachment).collect::<Result<_, _>>()?;
    let html = parts.html.as_deref().map(|html| text_part("text/html", html));
    let made = if parts.text.is_none() { parts.html.as_deref().and_then(plain::text_of) } else { None };
    let text = parts.text.as_deref().or(made.as_deref()).map(|text| text_part("text/plain", text));
    // Pictures without HTML to show them are files.
    let (html, files) = match html {
        Some(html) => (Some(wrapped("related", message_id, html, images)), files),
        None => (None, images.into_iter().chain(files).collect()),
    };
    let shown = match (text, html) {
        (Some(text), Some(html)) => wrapped("alternative", message_id, text, vec![html]),
        (Some(only), None) | (None, Some(only)) => only,
        (None, None) => MimePart::new("text/plain", ""),
    };
    Ok(wrapped("mixed", message_id, shown, files))
}

/// `first` with `others` beside it, or `first` alone when there are none. The boundary is a hash of an id that was drawn
/// after the parts were written, so that none of them holds it.
fn wrapped<'x>(kind: &str, message_id: &str, first: MimePart<'x>, others: Vec<MimePart<'x>>) -> MimePart<'x> {
    if others.is_empty() {
        return first;
    }
    let digest = Sha256::digest(format!("{kind}\0{message_id}"));
    let boundary: String = digest.iter().take(12).map(|byte| format!("{byte:02x}")).collect();
    let kind = ContentType::new(format!("multipart/{kind}")).attribute("boundary", format!("=_{boundary}"));
    MimePart::new(kind, std::iter::once(first).chain(others).collect::<Vec<_>>())
}

/// Text as it is where that can travel (RFC 2045 §2.7) and nothing on the way is tempted to trim it, encoded elsewhere.
fn text_part<'x>(kind: &'static str, text: &str) -> MimePart<'x> {
    let text = canonical(text);
    let travels = |line: &str| line.len() <= LINE_BYTES_MAX && !line.ends_with([' ', '\t']);
    let is_plain = text.is_ascii() && text.split("\r\n").all(travels);
    let part = MimePart::new(kind, text);
    if is_plain { part.transfer_encoding("7bit") } else { part }
}

/// Line ends as mail has them; NUL becomes what HTML readers make of it.
fn canonical(text: &str) -> String {
    let mut lines = String::with_capacity(text.len() + text.len() / 32);
    let mut rest = text;
    while let Some(place) = memchr::memchr3(b'\r', b'\n', 0, rest.as_bytes()) {
        let (line, ending) = rest.split_at(place);
        lines.push_str(line);
        let (canonical, skipped) = match ending.as_bytes() {
            [b'\r', b'\n', ..] => ("\r\n", 2),
            [0, ..] => ("\u{fffd}", 1),
            _ => ("\r\n", 1),
        };
        lines.push_str(canonical);
        rest = &ending[skipped..];
    }
    lines.push_str(rest);
    lines
}

fn attachment(file: &File) -> Result<MimePart<'_>, Unfit> {
    let name = file_name(Field::Attachments, &file.name)?;
    Ok(encoded(file_type(Field::Attachments, file)?, &file.content).attachment(name))
}

fn inline(image: &Inline) -> Result<MimePart<'_>, Unfit> {
    let cid = image.cid.trim_start_matches('<').trim_end_matches('>');
    let is_cid = (1..=200).contains(&cid.len())
        && cid.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"!#$%&'*+-/=?^_`{|}~.@".contains(&byte));
    if !is_cid {
        return Err(Unfit::ContentId { value: image.cid.clone() });
    }
    let mut disposition = ContentType::new("inline");
    if !image.file.name.is_empty() {
        disposition = disposition.attribute("filename", file_name(Field::InlineImages, &image.file.name)?);
    }
    let part = encoded(file_type(Field::InlineImages, &image.file)?, &image.file.content);
    Ok(part.header("Content-Disposition", disposition).cid(cid))
}

/// A mail that was handed in whole, with more files: it becomes the first part of a multipart/mixed, otherwise as it was.
///
/// # Errors
/// The first file that cannot be attached.
pub fn with_files(mail: &[u8], files: &[File], boundary: &str) -> Result<Vec<u8>, Unfit> {
    let is_of_body = |field: &headers::Field<'_>| {
        field.is("MIME-Version") || field.name.get(..8).is_some_and(|start| start.eq_ignore_ascii_case(b"Content-"))
    };
    let mut out = Vec::with_capacity(mail.len() + files.iter().map(|file| file.content.len() * 3 / 2).sum::<usize>());
    let mut of_body = Vec::new();
    for field in headers::fields(mail) {
        let whole = &mail[field.range.clone()];
        match is_of_body(&field) {
            false => out.extend_from_slice(whole),
            true if field.is("MIME-Version") => {}
            true => of_body.extend_from_slice(whole),
        }
    }
    let head = format!("MIME-Version: 1.0\r\nContent-Type: multipart/mixed; boundary=\"{boundary}\"\r\n\r\n");
    let edge = format!("\r\n--{boundary}\r\n");
    out.extend_from_slice(head.as_bytes());
    out.extend_from_slice(&edge.as_bytes()[2..]);
    out.extend_from_slice(&of_body);
    out.extend_from_slice(b"\r\n");
    out.extend_from_slice(&mail[headers::body_start(mail)..]);
    for file in files {
        out.extend_from_slice(edge.as_bytes());
        attachment(file)?.write_part(&mut out);
    }
    out.extend_from_slice(format!("\r\n--{boundary}--\r\n").as_bytes());
    Ok(out)
}

/// Files are base64 whatever they are: then every byte of them arrives.
fn encoded<'x>(content_type: &'x str, content: &'x [u8]) -> MimePart<'x> {
    let mut text = Vec::new();
    Base64Encoder::new().wrap_lines().encode_into(content, &mut text);
    MimePart::new(content_type, text).transfer_encoding("base64")
}

fn file_name(field: Field, name: &str) -> Result<&str, Unfit> {
    header_text(field, name, NAME_BYTES_MAX)?;
    match name {
        "" => Ok("attachment"),
        "." | ".." => Err(Unfit::FileName { field, value: name.to_owned() }),
        _ if name.contains(['/', '\\']) => Err(Unfit::FileName { field, value: name.to_owned() }),
        _ => Ok(name),
    }
}

/// `type/subtype` with its parameters. A message inside a mail must not be encoded (RFC 2046 §5.2.1), so it goes as
/// bytes; a multipart is no file.
fn file_type(field: Field, file: &File) -> Result<&str, Unfit> {
    const BYTES: &str = "application/octet-stream";
    let value = file.content_type.trim();
    let mut pieces = value.split(';').map(|piece| piece.trim_matches(' '));
    let (kind, subtype) = match pieces.next().and_then(|essence| essence.split_once('/')) {
        Some(essence) => essence,
        None if value.is_empty() => return Ok(BYTES),
        None => ("", ""),
    };
    let is_type = is_token(kind) && is_token(subtype) && !kind.eq_ignore_ascii_case("multipart");
    if !is_type || value.len() > 300 || !pieces.all(is_parameter) {
        return Err(Unfit::ContentType { field, value: file.content_type.clone() });
    }
    Ok(if kind.eq_ignore_ascii_case("message") { BYTES } else { value })
}

fn is_parameter(text: &str) -> bool {
    let is_quotable = |byte: u8| matches!(byte, b' '..=b'~') && !matches!(byte, b'"' | b'\\');
    text.split_once('=').is_some_and(|(name, value)| {
        let quoted = value.strip_prefix('"').and_then(|rest| rest.strip_suffix('"'));
        is_token(name) && quoted.map_or_else(|| is_token(value), |inner| inner.bytes().all(is_quotable))
    })
}

/// A token of RFC 2045 §5.1.
pub(super) fn is_token(text: &str) -> bool {
    (1..=127).contains(&text.len())
        && text.bytes().all(|byte| byte.is_ascii_graphic() && !b"()<>@,;:\\\"/[]?=".contains(&byte))
}

#[cfg(test)]
mod tests;
