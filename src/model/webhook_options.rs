//! What an owner may set on a webhook's requests: how many at once and how fast, in which order, whom to believe, further
//! headers, the name of the form field.
//!
//! Headers that frame the request, route it, or carry what receivers verify stay ours.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::address::Address;
use super::webhook::Format;
use super::webhook_key::{PRIVATE_PREFIX, WebhookKey, is_private};

/// How requests are made. Kept as JSON; every field has a default, so that old rows stay readable.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Options {
    /// Requests at one time, at most [`AT_ONCE_MAX`]; `None`: as many as the installation's settings say.
    pub at_once: Option<u16>,
    /// Requests a second, from each node; `None`: as many as there are.
    pub per_second: Option<u16>,
    /// Seconds that a receiver has for its whole answer, at most [`TIMEOUT_SECS_MAX`]; `None`: [`TIMEOUT_SECS`].
    pub timeout_secs: Option<u16>,
    /// An event waits until those before it about the same message have arrived or been given up.
    pub in_order: bool,
    /// Events that are due together go in one request, as a JSON array.
    pub batch: bool,
    /// Whoever answers over TLS is believed, whatever certificate they show: an operator has said so.
    pub believes_anybody: bool,
    /// PEM of further roots that the receiver's certificate may come from; empty for none.
    pub ca: String,
    /// PEM of the certificate that we show the receiver, with its chain; empty for none.
    pub client_certificate: String,
    /// Who is told by mail when the webhook fails for long or is switched off.
    pub notify: Vec<String>,
}

/// Requests to one webhook at one time.
pub const AT_ONCE_MAX: u16 = 64;
/// Seconds that a receiver has for its whole answer, unless its webhook says otherwise.
pub const TIMEOUT_SECS: u16 = 15;
/// The most that a webhook may say: a request must end well within its lease.
pub const TIMEOUT_SECS_MAX: u16 = 30;
/// Addresses that are told of one webhook's failing.
pub const NOTIFY_MAX: usize = 10;
/// Tags that a webhook may choose.
pub const TAGS_MAX: usize = 20;
/// Characters of a tag.
pub const TAG_CHARS_MAX: usize = 128;
/// Bytes of a secret.
pub const SECRET_BYTES_MAX: usize = 256;
/// PEM text of one kind, in bytes.
pub const PEM_BYTES_MAX: usize = 64 * 1024;
/// Events of one request, when they go together.
pub const BATCH_EVENTS_MAX: usize = 100;
/// Bytes of one request's JSON, when events go together.
pub const BATCH_BYTES_MAX: usize = 256 * 1024;

/// Longest header value, in bytes.
pub const HEADER_VALUE_BYTES_MAX: usize = 4096;
/// Longest name of a header or form field, in bytes.
pub const NAME_BYTES_MAX: usize = 128;
/// All further headers of a webhook, names and values, in bytes.
pub const HEADERS_BYTES_MAX: usize = 8192;
/// Further headers of a webhook.
pub const HEADERS_MAX: usize = 10;
/// The form field when none is named.
pub const FORM_FIELD: &str = "event";

/// Headers that are ours, in lower case.
const OURS: [&str; 15] = [
    "accept-encoding",
    "connection",
    "content-encoding",
    "content-length",
    "content-type",
    "cookie",
    "expect",
    "host",
    "keep-alive",
    "producer-signature",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
    "x-mailtura-signature",
];
/// Families of headers that are ours.
const OUR_PREFIXES: [&str; 3] = ["proxy-", "webhook-", "x-postback-"];

/// Why something cannot be set on a webhook.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BadOption {
    /// Not a header name (RFC 9110 §5.1).
    #[error("{0:?} is not a header name")]
    HeaderName(String),
    /// A header that is ours.
    #[error("the header {0:?} cannot be set")]
    Reserved(String),
    /// Too long, or with a control character.
    #[error("the value of the header {0:?} is too long or has a control character")]
    HeaderValue(String),
    /// Too many, too long together, or one twice.
    #[error("there are too many headers, or one is there twice")]
    TooMany,
    /// None, too long, or with a control character; it is not told.
    #[error("a secret has from 1 to {SECRET_BYTES_MAX} bytes, and no control characters")]
    Secret,
    /// It begins like a key and is none; it is not told.
    #[error(
        "what begins with whsk_ is the base64 of an Ed25519 key, of 32 or 64 bytes, or nothing more for a fresh one"
    )]
    Key,
    /// A form has no header for such a signature.
    #[error("a whsk_ key signs JSON bodies: of the formats mailtura and transmail-json")]
    KeyOfForm,
    /// Too many, an empty one, or one too long.
    #[error("a webhook has at most {TAGS_MAX} tags, each of 1 to {TAG_CHARS_MAX} characters")]
    Tags,
    /// Not a letter or underscore, followed by such and digits.
    #[error("{0:?} is not a form field name")]
    FormField(String),
    /// A number that is none of those that may be.
    #[error("{0} must be from 1 to {1}")]
    Number(&'static str, u16),
    /// Not an address, or more than may be.
    #[error("at most {NOTIFY_MAX} mail addresses can be told")]
    Notify,
    /// An address that is none.
    #[error("{0:?} is not a mail address")]
    Address(String),
    /// PEM text that is too long.
    #[error("the PEM text is longer than {PEM_BYTES_MAX} bytes")]
    Pem,
    /// A certificate without its key, or a key without its certificate.
    #[error("a client certificate and its key go together")]
    HalfIdentity,
}

impl Options {
    /// How long a receiver has for its whole answer.
    pub fn timeout(&self) -> Duration {
        Duration::from_secs(self.timeout_secs.unwrap_or(TIMEOUT_SECS).into())
    }

    /// Whether they can be set, with a client key or without. Whether PEM texts hold what they should is not asked
    /// here.
    ///
    /// # Errors
    /// The first that cannot.
    pub fn check(&self, client_key: &str) -> Result<(), BadOption> {
        if self.at_once.is_some_and(|count| !(1..=AT_ONCE_MAX).contains(&count)) {
            return Err(BadOption::Number("at once", AT_ONCE_MAX));
        }
        if self.per_second == Some(0) {
            return Err(BadOption::Number("per second", u16::MAX));
        }
        if self.timeout_secs.is_some_and(|secs| !(1..=TIMEOUT_SECS_MAX).contains(&secs)) {
            return Err(BadOption::Number("timeout", TIMEOUT_SECS_MAX));
        }
        if self.notify.len() > NOTIFY_MAX {
            return Err(BadOption::Notify);
        }
        if let Some(bad) = self.notify.iter().find(|address| address.parse::<Address>().is_err()) {
            return Err(BadOption::Address(bad.chars().take(NAME_BYTES_MAX).collect()));
        }
        if [self.ca.as_str(), &self.client_certificate, client_key].iter().any(|pem| pem.len() > PEM_BYTES_MAX) {
            return Err(BadOption::Pem);
        }
        if self.client_certificate.is_empty() != client_key.is_empty() {
            return Err(BadOption::HalfIdentity);
        }
        Ok(())
    }
}

/// Whether a webhook may have this header.
///
/// # Errors
/// Why not.
pub fn check_header(name: &str, value: &str) -> Result<(), BadOption> {
    let is_token = |byte: u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte);
    if !(1..=NAME_BYTES_MAX).contains(&name.len()) || !name.bytes().all(is_token) {
        return Err(BadOption::HeaderName(name.chars().take(NAME_BYTES_MAX).collect()));
    }
    let lower = name.to_ascii_lowercase();
    if OURS.contains(&lower.as_str()) || OUR_PREFIXES.iter().any(|prefix| lower.starts_with(prefix)) {
        return Err(BadOption::Reserved(name.to_owned()));
    }
    let has_control = value.chars().any(|char| char.is_control() && char != '\t');
    if value.len() > HEADER_VALUE_BYTES_MAX || has_control {
        Err(BadOption::HeaderValue(name.to_owned()))
    } else {
        Ok(())
    }
}

/// Whether a webhook may have all these headers together.
///
/// # Errors
/// The first that it may not have, or that they are too many.
pub fn check_headers<'a>(headers: impl IntoIterator<Item = (&'a str, &'a str)>) -> Result<(), BadOption> {
    let mut names = Vec::new();
    let mut bytes = 0;
    for (name, value) in headers {
        check_header(name, value)?;
        bytes += name.len() + value.len();
        let lower = name.to_ascii_lowercase();
        if names.len() == HEADERS_MAX || bytes > HEADERS_BYTES_MAX || names.contains(&lower) {
            return Err(BadOption::TooMany);
        }
        names.push(lower);
    }
    Ok(())
}

/// Whether this can be a webhook's secret, or stands for a key that is still to be made.
///
/// # Errors
/// [`BadOption::Secret`], [`BadOption::Key`].
pub fn check_secret(text: &str) -> Result<(), BadOption> {
    let is_key = !is_private(text) || text == PRIVATE_PREFIX || WebhookKey::of(text).is_some();
    match (1..=SECRET_BYTES_MAX).contains(&text.len()) && !text.chars().any(char::is_control) {
        true if is_key => Ok(()),
        true => Err(BadOption::Key),
        false => Err(BadOption::Secret),
    }
}

/// Whether bodies of this format can be signed with such a secret.
///
/// # Errors
/// [`BadOption::KeyOfForm`].
pub fn check_signing(format: Format, secret: &str) -> Result<(), BadOption> {
    if format == Format::Transmail && is_private(secret) { Err(BadOption::KeyOfForm) } else { Ok(()) }
}

/// Whether a webhook can choose mail by these tags.
///
/// # Errors
/// [`BadOption::Tags`].
pub fn check_tags(tags: &[String]) -> Result<(), BadOption> {
    let is_good = |tag: &String| (1..=TAG_CHARS_MAX).contains(&tag.chars().count());
    if tags.len() <= TAGS_MAX && tags.iter().all(is_good) { Ok(()) } else { Err(BadOption::Tags) }
}

/// Whether the form field of a webhook may be called so. Receivers split the decoded body at its first `=`, so the
/// name must not be able to hold one.
///
/// # Errors
/// [`BadOption::FormField`].
pub fn check_form_field(name: &str) -> Result<(), BadOption> {
    let is_name = name.len() <= NAME_BYTES_MAX
        && name.starts_with(|first: char| first.is_ascii_alphabetic() || first == '_')
        && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_');
    if is_name { Ok(()) } else { Err(BadOption::FormField(name.chars().take(NAME_BYTES_MAX).collect())) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn headers() {
        for (name, value) in [("Authorization", "Basic YTpi"), ("X-Shop", ""), ("x_1", "å\tb"), ("User-Agent", "x")] {
            assert_eq!(check_header(name, value), Ok(()), "{name}");
        }
        for name in [
            "Host",
            "CONTENT-length",
            "transfer-encoding",
            "Connection",
            "Upgrade",
            "TE",
            "Trailer",
            "Expect",
            "Cookie",
            "Proxy-Authorization",
            "webhook-id",
            "Webhook-Signature",
            "Content-Type",
            "Content-Encoding",
            "X-Mailtura-Signature",
            "Producer-Signature",
            "X-Postback-Test",
        ] {
            assert_eq!(check_header(name, "x"), Err(BadOption::Reserved(name.to_owned())));
        }
        for name in ["", "a b", "a:b", "a\r\nb", "å", "(x)"] {
            assert_eq!(check_header(name, "x"), Err(BadOption::HeaderName(name.to_owned())));
        }
        for value in ["a\r\nb: c", "a\nb", "a\0b", "a\u{7f}", &"x".repeat(HEADER_VALUE_BYTES_MAX + 1)] {
            assert_eq!(check_header("X-Shop", value), Err(BadOption::HeaderValue("X-Shop".to_owned())));
        }
    }

    #[test]
    fn options() {
        let check = |options: Options, key: &str, expected| assert_eq!(options.check(key), expected, "{options:?}");
        let plain = Options::default;
        check(plain(), "", Ok(()));
        check(Options { at_once: Some(64), per_second: Some(1), ..plain() }, "", Ok(()));
        for count in [0, 65] {
            check(Options { at_once: Some(count), ..plain() }, "", Err(BadOption::Number("at once", 64)));
        }
        check(Options { timeout_secs: Some(30), ..plain() }, "", Ok(()));
        for secs in [0, 31] {
            check(Options { timeout_secs: Some(secs), ..plain() }, "", Err(BadOption::Number("timeout", 30)));
        }
        assert_eq!(plain().timeout(), Duration::from_secs(15));
        check(Options { per_second: Some(0), ..plain() }, "", Err(BadOption::Number("per second", u16::MAX)));
        check(Options { notify: vec!["a@b.example".into(); 11], ..plain() }, "", Err(BadOption::Notify));
        check(Options { notify: vec!["a b".into()], ..plain() }, "", Err(BadOption::Address("a b".into())));
        check(Options { ca: "x".repeat(PEM_BYTES_MAX + 1), ..plain() }, "", Err(BadOption::Pem));
        check(Options { client_certificate: "x".into(), ..plain() }, "", Err(BadOption::HalfIdentity));
        check(plain(), "x", Err(BadOption::HalfIdentity));
        assert_eq!(serde_json::from_str::<Options>("{}").unwrap(), plain());
    }

    #[test]
    fn headers_together() {
        let long = "x".repeat(HEADER_VALUE_BYTES_MAX);
        assert_eq!(check_headers([("A", "1"), ("B", "1")]), Ok(()));
        assert_eq!(check_headers([("A", "1"), ("a", "1")]), Err(BadOption::TooMany));
        assert_eq!(check_headers([("A", long.as_str()), ("B", long.as_str())]), Err(BadOption::TooMany));
        let names: Vec<_> = (0..=HEADERS_MAX).map(|n| format!("X-{n}")).collect();
        assert_eq!(check_headers(names.iter().map(|name| (name.as_str(), ""))), Err(BadOption::TooMany));
        assert_eq!(check_headers(names.iter().skip(1).map(|name| (name.as_str(), ""))), Ok(()));
    }

    #[test]
    fn secrets_and_tags() {
        let check = |text: &str, is_good: bool| {
            assert_eq!(check_secret(text).is_ok(), is_good, "{text:?}");
            assert_eq!(check_tags(&[text.to_owned()]).is_ok(), is_good && text.len() <= TAG_CHARS_MAX, "{text:?}");
        };
        check("x", true);
        check("", false);
        check(&"x".repeat(SECRET_BYTES_MAX), true);
        check(&"x".repeat(SECRET_BYTES_MAX + 1), false);
        assert_eq!(check_secret("a\nb"), Err(BadOption::Secret));
        assert_eq!(check_secret("whsk_"), Ok(()));
        assert_eq!(check_secret("whsk_AAAA"), Err(BadOption::Key));
        assert_eq!(check_signing(Format::Transmail, "whsk_"), Err(BadOption::KeyOfForm));
        assert_eq!(check_signing(Format::TransmailJson, "whsk_"), check_signing(Format::Transmail, "whsec_"));
        assert_eq!(check_tags(&vec!["x".to_owned(); TAGS_MAX + 1]), Err(BadOption::Tags));
        assert_eq!(check_tags(&[]), Ok(()));
    }

    #[test]
    fn form_fields() {
        for name in ["event", "_x9", "eventData"] {
            assert_eq!(check_form_field(name), Ok(()), "{name}");
        }
        for name in ["", "9a", "a=b", "a b", "a&b", "a-b", "é"] {
            assert_eq!(check_form_field(name), Err(BadOption::FormField(name.to_owned())));
        }
    }
}
