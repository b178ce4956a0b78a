//! The bodies of `/api/v1/webhooks`, as [`super::webhooks`] reads and writes them.

use serde_json::{Map, Value};

use super::super::shape::{Line, List, Nullable, Text, When, Word, described, vocabulary};
use crate::model::webhook::{Format, Hits};

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
    /// A webhook to be told of events.
    pub(super) struct NewWebhook {
        /// Where to post; https but for addresses that the operator allows.
        "url": Text<1, 2048>,
        /// Which events, as in `delivered` or `email.delivered`.
        "events": List<EventWord, 1, 100>,
        /// Whether it is told anything.
        "enabled": Option<bool>,
        /// What bodies are signed with; made unless given.
        "secret": Option<Line<1, 256>>,
        /// In whose format.
        "format": Option<Word<Format>>,
        /// What people call it.
        "description": Option<Text<0, 500>>,
        /// Of which mail agent's mail; of all unless given.
        "mailAgent": Option<Line<1, 100>>,
        /// Which opens and clicks: the first of each recipient, the first by the person, or every one.
        "hits": Option<Word<Hits>>,
        /// The form field of the format `transmail`.
        "formField": Option<Text<1, 100>>,
        /// Further header fields of each request.
        "headers": Option<Map<String, Value>>,
        /// A retry keeps the first attempt's `timestamp`.
        "keepsTimestamp": Option<bool>,
    }

    /// What to change of a webhook.
    pub(super) struct WebhookChange {
        /// Where to post.
        "url": Option<Text<1, 2048>>,
        /// Which events.
        "events": Option<List<EventWord, 1, 100>>,
        /// Whether it is told anything.
        "enabled": Option<bool>,
        /// What bodies are signed with.
        "secret": Option<Line<1, 256>>,
        /// In whose format.
        "format": Option<Word<Format>>,
        /// What people call it.
        "description": Option<Text<0, 500>>,
        /// Of which mail agent's mail; null for all.
        "mailAgent": Option<Line<1, 100>>,
        /// Which opens and clicks.
        "hits": Option<Word<Hits>>,
        /// The form field of the format `transmail`.
        "formField": Option<Text<1, 100>>,
        /// Further header fields of each request.
        "headers": Option<Map<String, Value>>,
        /// A retry keeps the first attempt's `timestamp`.
        "keepsTimestamp": Option<bool>,
    }

    /// A webhook.
    pub(super) struct Webhook {
        /// Its id.
        "id": String,
        /// Where it is posted to.
        "url": String,
        /// Which events it is told of.
        "events": Vec<String>,
        /// Whether it is told anything.
        "enabled": bool,
        /// Who switched it off: `owner` or `postback`.
        "disabledBy": Option<String>,
        /// What bodies are signed with; only in the answer that made it.
        "secret": Option<String>,
        /// In whose format.
        "format": Word<Format>,
        /// What people call it.
        "description": String,
        /// Of which mail agent's mail; null for all.
        "mailAgent": Nullable<String>,
        /// Which opens and clicks.
        "hits": Word<Hits>,
        /// The form field of the format `transmail`.
        "formField": String,
        /// Further header fields of each request.
        "headers": Map<String, Value>,
        /// A retry keeps the first attempt's `timestamp`.
        "keepsTimestamp": bool,
        /// When it was added.
        "createdAt": When,
        /// When it was changed last.
        "updatedAt": When,
    }

    /// What to test a webhook with.
    pub(super) struct WebhookTest {
        /// The type of event; `email.delivered` unless given.
        "eventType": Option<EventWord>,
    }

    /// What came of a test.
    pub(super) struct TestedWebhook {
        /// The event's id.
        "id": String,
        /// Whether the receiver took it.
        "delivered": bool,
        /// What it answered; null when it did not.
        "statusCode": Nullable<u16>,
        /// Why it was not delivered.
        "error": Option<String>,
    }
}

/// The name of a type of event, in any of its spellings.
#[derive(Debug)]
pub(super) enum EventWord {}

impl super::super::shape::Shape for EventWord {
    fn schema(_: &mut super::super::shape::Schemas) -> Value {
        let words = super::webhooks::EVENT_WORDS.iter();
        let all: Vec<String> = words.flat_map(|word| [(*word).to_owned(), format!("email.{word}")]).collect();
        serde_json::json!({ "type": "string", "enum": all })
    }
}
