//! `/api/v1/events`: everything that webhooks are told, for those who would rather fetch it.
//!
//! Events come in the order in which they were written (`store::listed`), each some five seconds later: by then whatever
//! was being written at that moment is here too, so that a client that goes on after the last one it saw misses none.

use hyper::StatusCode;
use serde::Serialize;
use serde_json::{Value, json};

use super::super::operation::Call;
use super::super::problem::Problem;
use super::super::query;
use super::super::server::Answer;
use super::super::shape::{Schemas, Shape, When};
use super::super::wire::{Flaw, Wrong};
use super::super::{Server, json_answer};
use super::webhooks::{EVENT_WORDS, kinds};
use crate::model::event::{Event, EventKind, EventSet};
use crate::model::id::MessageId;
use crate::model::message::Message;
use crate::model::time::Timestamp;
use crate::store::listed::EventQuery;

/// Events of one mail that are listed at once.
const OF_EMAIL_MAX: u32 = 1_000;

/// An event, as webhooks are told it.
#[derive(Debug, Serialize)]
#[serde(transparent)]
pub(in crate::http) struct EventBody(Value);

/// `GET /api/v1/events`.
pub(super) async fn list(call: Call) -> Result<Answer, Problem> {
    let limit = call.query.limit()?;
    let wanted = EventQuery {
        tenant: call.grant.tenant.id,
        after: call.query.value("after", "event id")?,
        since: call.query.when("since")?.map(|When(at)| at),
        until: call.server.store().known_until().await?,
        kinds: wanted_kinds(call.query.text("type"))?,
        message: call.query.value::<MessageId>("emailId", "email id")?,
        limit: limit + 1,
    };
    let events = call.server.store().events_listed(&wanted).await?;
    let key = |(event, _): &(Event, Message)| event.id.to_string();
    query::page(("/api/v1/events", &call.query), events, key, |event| body(&call.server, &event))
}

/// `GET /api/v1/emails/{id}/events`: all that happened to a mail, at once and up to now.
pub(super) async fn of_email(call: Call) -> Result<Answer, Problem> {
    let nothing = Problem::NotFound("Email");
    let id: MessageId = call.place().parse().map_err(|_| nothing.clone())?;
    let message = call.server.store().message(id).await?;
    message.filter(|message| message.tenant == call.grant.tenant.id).ok_or(nothing)?;
    let wanted = EventQuery {
        tenant: call.grant.tenant.id,
        after: None,
        since: None,
        until: Timestamp::from_millis(i64::MAX),
        kinds: wanted_kinds(None)?,
        message: Some(id),
        limit: OF_EMAIL_MAX,
    };
    let events = call.server.store().events_listed(&wanted).await?;
    let events: Vec<EventBody> = events.iter().map(|event| body(&call.server, event)).collect();
    Ok(json_answer(StatusCode::OK, &events))
}

fn body(server: &Server, (event, message): &(Event, Message)) -> EventBody {
    EventBody(server.0.parts.outward.shown(event, message))
}

/// The kinds that a list of words names; all of them when there is none.
fn wanted_kinds(words: Option<&str>) -> Result<EventSet, Flaw> {
    let Some(words) = words else { return Ok(EventKind::ALL.into_iter().collect()) };
    let bad = |word: &str| Flaw::in_query("type", Wrong::OneOf(EVENT_WORDS)).showing(word);
    let sets = words.split(',').map(|word| kinds(word.trim()).ok_or_else(|| bad(word)));
    Ok(sets.collect::<Result<Vec<_>, _>>()?.into_iter().flatten().copied().collect())
}

impl Shape for EventBody {
    fn schema(schemas: &mut Schemas) -> Value {
        schemas.named::<EventBody>("Event", |_| {
            json!({
                "type": "object",
                "description": "Something that happened to a mail, a webhook or a mail agent. The same body is posted to webhooks of the format `mailtura`, signed in `X-Mailtura-Signature`.",
                "required": ["id", "type", "timestamp", "data"],
                "properties": {
                    "id": { "type": "string", "description": "The same in every attempt: who sees it twice has seen it." },
                    "type": { "type": "string", "enum": [
                        "email.sent", "email.delivered", "email.deferred", "email.delayed", "email.opened", "email.clicked",
                        "email.bounced", "email.complained", "email.failed", "email.opened_reclassified",
                        "email.clicked_reclassified", "webhook.failing", "webhook.disabled", "webhook.secret_rotated",
                        "webhook.exhausted", "webhook.recovered",
                        "mail_agent.daily_warning",
                    ] },
                    "timestamp": { "type": "string", "format": "date-time", "description": "When it happened; in a webhook, when it was posted." },
                    "data": { "anyOf": [of_mail(), of_webhook(), of_agent()] },
                },
            })
        })
    }
}

fn text() -> Value {
    json!({ "type": "string" })
}

fn time() -> Value {
    json!({ "type": "string", "format": "date-time" })
}

/// What events about mail tell.
fn of_mail() -> Value {
    json!({
        "type": "object",
        "required": ["emailId", "recipient", "subject"],
        "properties": {
            "emailId": text(), "recipient": text(), "subject": text(),
            "sentAt": time(), "deliveredAt": time(), "deferredAt": time(), "nextAttemptAt": time(),
            "bouncedAt": time(), "bounceType": { "type": "string", "enum": ["hard", "soft"] },
            "failedAt": time(), "reason": text(), "diagnosticCode": text(), "diagnosticMessage": text(),
            "openedAt": time(), "clickedAt": time(), "url": text(),
            "userAgent": text(), "ipAddress": text(), "machine": { "type": "object" },
            "complainedAt": time(), "feedbackType": text(),
            "tags": { "type": "array", "items": text() }, "metadata": { "type": "object" },
            "truncated": { "type": "boolean" }, "test": { "type": "boolean" },
        },
    })
}

/// What events about a mail agent tell.
fn of_agent() -> Value {
    json!({
        "type": "object",
        "description": "Of `mail_agent.…`: recipients today, and of how many of them there is to be a warning.",
        "required": ["mailAgentKey", "dailyWarning", "sent", "occurredAt"],
        "properties": {
            "mailAgentKey": text(), "dailyWarning": { "type": "integer" }, "sent": { "type": "integer" },
            "occurredAt": time(), "test": { "type": "boolean" },
        },
    })
}

/// What events about a webhook tell.
fn of_webhook() -> Value {
    json!({
        "type": "object",
        "description": "Of `webhook.…`.",
        "required": ["webhookId", "url", "description", "occurredAt"],
        "properties": {
            "webhookId": text(), "url": text(), "description": text(), "occurredAt": time(),
            "failingSince": time(), "failures": { "type": "integer" }, "error": text(), "test": { "type": "boolean" },
        },
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kinds_are_named_in_either_spelling() {
        let check = |words: &str, expected: &[EventKind]| {
            assert_eq!(wanted_kinds(Some(words)), Ok(expected.iter().copied().collect()), "{words}");
        };
        check("delivered", &[EventKind::Delivered]);
        check("email.opened, clicked", &[EventKind::Opened, EventKind::Clicked]);
        check("bounced", &[EventKind::HardBounced, EventKind::SoftBounced]);
        assert_eq!(wanted_kinds(None).unwrap().kinds().count(), EventKind::ALL.len());
        assert!(wanted_kinds(Some("delivered,nothing")).is_err());
        assert!(wanted_kinds(Some(",")).is_err());
    }
}
