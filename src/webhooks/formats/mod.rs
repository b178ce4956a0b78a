//! From an event to the request that tells of it: body and headers of each format. Pure.
//!
//! | format | body | signed with | and with a `whsec_` secret |
//! |---|---|---|---|
//! | `mailtura` | JSON | `X-Mailtura-Signature` | Standard Webhooks |
//! | `transmail` | a form with one field of JSON | `producer-signature` | |
//! | `transmail-json` | JSON | `producer-signature` | Standard Webhooks |
//!
//! A retry has the same ids and event times; only what tells of the attempt differs. Bodies end at [`BODY_BYTES_MAX`]:
//! what is longer loses list entries, metadata and ends of strings, and says `truncated`.

mod json;
mod mailtura;
mod transmail;

#[cfg(test)]
mod tests;

use bytes::Bytes;
use serde_json::{Map, Value};

use super::signature;
use crate::model::event::{Event, EventKind};
use crate::model::message::Message;
use crate::model::reason::Cause;
use crate::model::time::Timestamp;
use crate::model::webhook::{Format, Webhook};
use crate::model::webhook_options::{FORM_FIELD, check_form_field, check_header};

/// Longest body.
pub const BODY_BYTES_MAX: usize = 64 * 1024;
/// What we call ourselves unless the webhook's own headers say otherwise.
pub const USER_AGENT: &str = concat!("Postback/", env!("CARGO_PKG_VERSION"));

/// A request to a webhook, but for its URL and what frames it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Request {
    /// `Content-Type`.
    pub content_type: &'static str,
    /// Further headers, in order.
    pub headers: Vec<(String, String)>,
    /// The body, signed as it is.
    pub body: Bytes,
}

/// Which attempt at a dispatch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Attempt {
    /// When.
    pub at: Timestamp,
    /// The how-manieth, counted from 1.
    pub number: u32,
}

/// How a body that is too long is cut: strings, and all metadata together, to so many bytes; lists to so many entries.
#[derive(Clone, Copy, Debug)]
struct Cut {
    bytes: usize,
    entries: usize,
}

/// Cuts in the order in which they are tried. With the last, the longest body of the worst characters fits.
const CUTS: [Cut; 3] =
    [Cut { bytes: 8192, entries: 100 }, Cut { bytes: 1024, entries: 25 }, Cut { bytes: 128, entries: 2 }];

/// The name of a kind of event in a format.
pub fn event_name(format: Format, kind: EventKind) -> &'static str {
    match format {
        Format::Mailtura => mailtura::name(kind),
        Format::Transmail | Format::TransmailJson => transmail::name(kind),
    }
}

/// The request that tells `webhook` of `event`.
///
/// An empty `webhook.secret` means unsigned; where TransMail's authentication key is the mail agent's, the caller has
/// put it there. Custom headers that would be refused today are left out.
pub fn build(webhook: &Webhook, event: &Event, message: &Message, attempt: Attempt) -> Request {
    let (json, body) = fitting(webhook, event, message, attempt);
    let content_type = match webhook.format {
        Format::Mailtura | Format::TransmailJson => "application/json",
        Format::Transmail => "application/x-www-form-urlencoded",
    };
    let custom = webhook.headers.iter().filter(|(name, value)| check_header(name, value).is_ok());
    let mut headers: Vec<(String, String)> = Vec::with_capacity(8);
    if !custom.clone().any(|(name, _)| name.eq_ignore_ascii_case("user-agent")) {
        headers.push(("User-Agent".to_owned(), USER_AGENT.to_owned()));
    }
    headers.extend(signatures(webhook, event, attempt, &json));
    headers.push(("webhook-attempt".to_owned(), attempt.number.to_string()));
    if event.is_test && webhook.format != Format::Mailtura {
        headers.push(("X-Postback-Test".to_owned(), "true".to_owned()));
    }
    headers.extend(custom.cloned());
    Request { content_type, headers, body: body.into() }
}

fn signatures(webhook: &Webhook, event: &Event, attempt: Attempt, json: &[u8]) -> Vec<(String, String)> {
    let secret = webhook.secret.reveal();
    if secret.is_empty() {
        return Vec::new();
    }
    let own = match webhook.format {
        Format::Mailtura => ("X-Mailtura-Signature".to_owned(), signature::mailtura(secret, json)),
        Format::Transmail | Format::TransmailJson => {
            ("producer-signature".to_owned(), signature::producer(secret, json, attempt.at))
        }
    };
    let mut headers = vec![own];
    let id = event.id.to_string();
    if webhook.format != Format::Transmail
        && let Some(standard) = signature::standard(secret, &id, attempt.at.as_secs(), json)
    {
        headers.push(("webhook-id".to_owned(), id));
        headers.push(("webhook-timestamp".to_owned(), attempt.at.as_secs().to_string()));
        headers.push(("webhook-signature".to_owned(), standard));
    }
    headers
}

/// The JSON text and the body made of it, cut as little as makes the body fit.
fn fitting(webhook: &Webhook, event: &Event, message: &Message, attempt: Attempt) -> (Vec<u8>, Vec<u8>) {
    let mut cuts = CUTS.into_iter();
    let mut cut = None;
    loop {
        let mut payload = match webhook.format {
            Format::Mailtura => mailtura::payload(webhook, event, message, attempt, cut),
            Format::Transmail | Format::TransmailJson => transmail::payload(webhook, event, message, cut.is_some()),
        };
        if let Some(cut) = cut {
            shorten(&mut payload, cut);
        }
        let json = json::print(&payload);
        let body = if webhook.format == Format::Transmail { form(&webhook.form_field, &json) } else { json.clone() };
        cut = cuts.next();
        if body.len() <= BODY_BYTES_MAX || cut.is_none() {
            return (json, body);
        }
    }
}

/// One form field. Nothing but letters, digits and `-._*` stays as it is; a space becomes `+`.
fn form(field: &str, json: &[u8]) -> Vec<u8> {
    let field = if check_form_field(field).is_ok() { field } else { FORM_FIELD };
    let mut body = Vec::with_capacity(json.len() * 2);
    body.extend_from_slice(field.as_bytes());
    body.push(b'=');
    form_urlencoded::byte_serialize(json).for_each(|part| body.extend_from_slice(part.as_bytes()));
    body
}

fn shorten(value: &mut Value, cut: Cut) {
    match value {
        Value::String(text) => text.truncate(text.floor_char_boundary(cut.bytes)),
        Value::Array(items) => {
            items.truncate(cut.entries);
            items.iter_mut().for_each(|item| shorten(item, cut));
        }
        Value::Object(entries) => entries.values_mut().for_each(|item| shorten(item, cut)),
        Value::Null | Value::Bool(_) | Value::Number(_) => {}
    }
}

/// The codes of a refusal, as far as there were any: `550 5.1.1`.
fn codes(cause: &Cause) -> String {
    let code = cause.code.map(|code| code.to_string());
    [code, cause.status.clone()].into_iter().flatten().collect::<Vec<_>>().join(" ")
}

/// An object under construction; keys stay in the order in which they are added.
#[derive(Default)]
struct Fields(Map<String, Value>);

impl Fields {
    fn with(mut self, key: &str, value: impl Into<Value>) -> Self {
        self.0.insert(key.to_owned(), value.into());
        self
    }

    fn with_some(self, key: &str, value: Option<impl Into<Value>>) -> Self {
        match value {
            Some(value) => self.with(key, value),
            None => self,
        }
    }

    fn with_all(mut self, others: Fields) -> Self {
        self.0.extend(others.0);
        self
    }
}

impl From<Fields> for Value {
    fn from(fields: Fields) -> Value {
        Value::Object(fields.0)
    }
}
