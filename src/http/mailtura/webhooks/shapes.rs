//! The bodies that requests about webhooks bring. [`super::fields`] reads what may be set; the rest reads itself.

use serde_json::{Map, Value, json};

use super::super::super::json::Json;
use super::super::super::shape::{
    Change, Count, Email, Line, List, Read, Schemas, Shape, Text, Word, described, request, vocabulary,
};
use super::super::super::wire::{Flaw, Wrong, text_of};
use super::{EVENT_WORDS, kinds};
use crate::model::event::EventKind;
use crate::model::preview::{BadPreview, Preview};
use crate::model::webhook::{Format, Hits};
use crate::model::webhook_options::{AT_ONCE_MAX, NOTIFY_MAX, TAGS_MAX, TIMEOUT_SECS_MAX};

vocabulary! { Format:
    "mailtura" Format::Mailtura,
    "transmail" Format::Transmail,
    "transmail-json" Format::TransmailJson,
}

vocabulary! { Hits:
    "first" Hits::First,
    "persons" Hits::Persons,
    "all" Hits::All,
}

described! {
    /// What may be set on a webhook. Of a change, what is not named stays as it is.
    pub(in super::super) struct WebhookChange {
        /// Where to post; https but for addresses that the operator allows.
        "url": Option<Text<1, 2048>>,
        /// Which events, as in `delivered` or `email.delivered`.
        "events": Option<List<EventWord, 1, 100>>,
        /// Whether it is told anything.
        "enabled": Option<bool>,
        /// What bodies are signed with; made unless given. `whsk_` and an Ed25519 key sign JSON bodies as `v1a`; alone, a
        /// fresh key is made.
        "secret": Option<Line<1, 256>>,
        /// In whose format.
        "format": Option<Word<Format>>,
        /// What people call it.
        "description": Option<Text<0, 500>>,
        /// Of which mail agent's mail; null for all.
        "mailAgent": Change<Line<1, 100>>,
        /// Which opens and clicks: the first of each recipient, the first by a person, or every one.
        "hits": Option<Word<Hits>>,
        /// Only events about mail with one of these tags; none for all.
        "tags": Option<List<Text<1, 128>, 0, TAGS_MAX>>,
        /// The form field of the format `transmail`.
        "formField": Option<Text<1, 100>>,
        /// Further header fields of each request. A value of `***`, as answers show it, keeps what is set.
        "headers": Option<Map<String, Value>>,
        /// A retry keeps the first attempt's `timestamp`.
        "keepsTimestamp": Option<bool>,
        /// Requests at one time; null for as many as the installation says.
        "atOnce": Change<Count<1, { AT_ONCE_MAX as u64 }>>,
        /// Requests a second; null for as many as there are.
        "perSecond": Change<Count<1, 65_535>>,
        /// Seconds that the receiver has for its whole answer, 15 unless given; null for those.
        "timeoutSeconds": Change<Count<1, { TIMEOUT_SECS_MAX as u64 }>>,
        /// An event waits until those before it about the same message have arrived or been given up.
        "inOrder": Option<bool>,
        /// Events that are due together go in one request, as a JSON array.
        "batch": Option<bool>,
        /// Who is told by mail when it fails for long or is switched off.
        "notify": Option<List<Email, 0, NOTIFY_MAX>>,
        /// Whether who answers over TLS must show to be it, which it must unless an operator says otherwise; another URL by
        /// anybody else ends that.
        "verifyTls": Option<bool>,
        /// PEM of a root that the receiver's certificate comes from; empty or null for the usual ones.
        "ca": Change<String>,
        /// PEM of the certificate that is shown to the receiver, with its chain; empty or null for none.
        "clientCertificate": Change<String>,
        /// PEM of its key. It is not shown again.
        "clientKey": Change<String>,
    }
}

/// A webhook to be told of events: what may be set, with URL and events named.
#[derive(Debug)]
pub(in super::super) enum NewWebhook {}

impl Shape for NewWebhook {
    fn schema(schemas: &mut Schemas) -> Value {
        let settable = WebhookChange::schema(schemas);
        schemas.named::<Self>("NewWebhook", |_| json!({ "allOf": [settable], "required": ["url", "events"] }))
    }
}

/// A webhook that is tried out before it is there.
#[derive(Debug)]
pub(in super::super) enum WebhookDraft {}

impl Shape for WebhookDraft {
    fn schema(schemas: &mut Schemas) -> Value {
        let (settable, test) = (WebhookChange::schema(schemas), WebhookTest::schema(schemas));
        schemas.named::<Self>("WebhookDraft", |_| json!({ "allOf": [settable, test], "required": ["url"] }))
    }
}

request! {
    /// What to test a webhook with.
    pub(in super::super) struct WebhookTest {
        /// The type of event; `email.delivered` unless given.
        event_type "eventType": Option<EventWord>,
        /// What a preview gave: exactly what it showed is sent. Good for four minutes, once.
        preview "preview": Option<PreviewText>,
    }
}

/// What a preview gave.
#[derive(Debug)]
pub(in super::super) struct PreviewText(pub(super) Preview);

impl Shape for PreviewText {
    fn schema(_: &mut Schemas) -> Value {
        json!({ "type": "string", "pattern": "^prv_[A-Za-z0-9_-]{54}[a-z_]+$" })
    }
}

impl Read for PreviewText {
    fn read(json: &Json<'_>, path: &str) -> Result<Self, Flaw> {
        let text = text_of(json, path)?;
        let bad = |bad: BadPreview| Flaw::at(path, Wrong::Other(bad.to_string())).showing(text);
        text.parse().map(Self).map_err(bad)
    }
}

/// The name of a type of event, in any of its spellings, and what it means.
#[derive(Debug)]
pub(in super::super) struct EventWord {
    pub(super) kinds: &'static [EventKind],
}

impl Shape for EventWord {
    fn schema(_: &mut Schemas) -> Value {
        let words = EVENT_WORDS.iter();
        let all: Vec<String> = words.flat_map(|word| [(*word).to_owned(), format!("email.{word}")]).collect();
        json!({ "type": "string", "enum": all })
    }
}

impl Read for EventWord {
    fn read(json: &Json<'_>, path: &str) -> Result<Self, Flaw> {
        let word = text_of(json, path)?;
        let bad = || Flaw::at(path, Wrong::OneOf(EVENT_WORDS)).showing(word);
        kinds(word).map(|kinds| Self { kinds }).ok_or_else(bad)
    }
}
