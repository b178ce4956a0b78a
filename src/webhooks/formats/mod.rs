//! From an event to the request that tells of it: body and headers of each format. Pure.
//!
//! | format | body | signed with, but for `whsk_` | and with a `whsec_` or `whsk_` secret |
//! |---|---|---|---|
//! | `mailtura` | JSON | `X-Mailtura-Signature` | Standard Webhooks |
//! | `transmail` | a form with one field of JSON | `producer-signature` | |
//! | `transmail-json` | JSON | `producer-signature` | Standard Webhooks |
//!
//! A retry has the same ids and event times; only what tells of the attempt differs. Bodies end at [`BODY_BYTES_MAX`]:
//! what is longer loses list entries, metadata and ends of strings, and says `truncated`. Events that go together are a
//! JSON array of what each would be alone, signed as a whole.

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
use crate::model::webhook_key::is_private;
use crate::model::webhook_options::{BATCH_BYTES_MAX, FORM_FIELD, check_form_field, check_header};

/// Longest body of one event.
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

/// What Mailtura's webhooks are told of an event, for those who fetch it: as old as the event is.
pub fn shown(event: &Event, message: &Message) -> Value {
    mailtura::body(event, message, event.at, None)
}

/// The request that tells `webhook` of `event`.
///
/// An empty `webhook.secret` means unsigned, which nobody posts; where TransMail's authentication key is the mail agent's,
/// the caller has put it there. Custom headers that would be refused today are left out.
pub fn build(webhook: &Webhook, event: &Event, message: &Message, attempt: Attempt) -> Request {
    let json = fitting(webhook, event, message, attempt);
    let body = body(webhook, &json);
    Request { content_type: content_type(webhook), headers: headers(webhook, &[event], attempt, &json), body }
}

/// The request that tells `webhook` of several events at once, and of how many: as many of the first as fit.
pub fn build_together(webhook: &Webhook, events: &[(&Event, &Message)], attempt: Attempt) -> (Request, usize) {
    let mut json = b"[".to_vec();
    let mut told = Vec::with_capacity(events.len());
    for (event, message) in events {
        let one = fitting(webhook, event, message, attempt);
        if !told.is_empty() && json.len() + one.len() + 2 > BATCH_BYTES_MAX {
            break;
        }
        if !told.is_empty() {
            json.push(b',');
        }
        json.extend_from_slice(&one);
        told.push(*event);
    }
    json.push(b']');
    let headers = headers(webhook, &told, attempt, &json);
    (Request { content_type: content_type(webhook), headers, body: body(webhook, &json) }, told.len())
}

fn content_type(webhook: &Webhook) -> &'static str {
    match webhook.format {
        Format::Mailtura | Format::TransmailJson => "application/json",
        Format::Transmail => "application/x-www-form-urlencoded",
    }
}

fn headers(webhook: &Webhook, events: &[&Event], attempt: Attempt, json: &[u8]) -> Vec<(String, String)> {
    let custom = webhook.headers.iter().filter(|(name, value)| check_header(name, value).is_ok());
    let mut headers: Vec<(String, String)> = Vec::with_capacity(8);
    if !custom.clone().any(|(name, _)| name.eq_ignore_ascii_case("user-agent")) {
        headers.push(("User-Agent".to_owned(), USER_AGENT.to_owned()));
    }
    headers.extend(signatures(webhook, &id_of(events), attempt, json));
    headers.push(("webhook-attempt".to_owned(), attempt.number.to_string()));
    if events.iter().any(|event| event.is_test) && webhook.format != Format::Mailtura {
        headers.push(("X-Postback-Test".to_owned(), "true".to_owned()));
    }
    headers.extend(custom.cloned());
    headers
}

/// One event's own id; several have one together that follows from the first and their number.
fn id_of(events: &[&Event]) -> String {
    match events {
        [only] => only.id.to_string(),
        [first, ..] => format!("batch_{}_{}", first.id.uuid().simple(), events.len()),
        [] => String::new(),
    }
}

/// During a rotation Standard Webhooks lists a signature by each secret; the other schemes have room for one.
fn signatures(webhook: &Webhook, id: &str, attempt: Attempt, json: &[u8]) -> Vec<(String, String)> {
    let (secret, other) = webhook.signing_secrets(attempt.at);
    if secret.is_empty() {
        return Vec::new();
    }
    let own = |secret: &&str| match webhook.format {
        Format::Mailtura => ("X-Mailtura-Signature".to_owned(), signature::mailtura(secret, json)),
        Format::Transmail | Format::TransmailJson => {
            ("producer-signature".to_owned(), signature::producer(secret, json, attempt.at))
        }
    };
    let mut headers: Vec<_> = Some(secret).filter(|secret| !is_private(secret)).iter().map(own).collect();
    let secrets = std::iter::once(secret).chain(other);
    let standard: Vec<String> =
        secrets.filter_map(|secret| signature::standard(secret, id, attempt.at.as_secs(), json)).collect();
    if webhook.format != Format::Transmail && !standard.is_empty() {
        headers.push(("webhook-id".to_owned(), id.to_owned()));
        headers.push(("webhook-timestamp".to_owned(), attempt.at.as_secs().to_string()));
        headers.push(("webhook-signature".to_owned(), standard.join(" ")));
    }
    headers
}

/// The JSON text of one event, cut as little as makes its body fit.
fn fitting(webhook: &Webhook, event: &Event, message: &Message, attempt: Attempt) -> Vec<u8> {
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
        let bytes = match webhook.format {
            Format::Mailtura | Format::TransmailJson => json.len(),
            Format::Transmail => body(webhook, &json).len(),
        };
        cut = cuts.next();
        if cut.is_none() || bytes <= BODY_BYTES_MAX {
            return json;
        }
    }
}

/// The body that carries a JSON text.
fn body(webhook: &Webhook, json: &[u8]) -> Bytes {
    match webhook.format {
        Format::Mailtura | Format::TransmailJson => Bytes::copy_from_slice(json),
        Format::Transmail => form(&webhook.form_field, json).into(),
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
