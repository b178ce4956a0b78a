//! Mailtura's body: `{"id","type","timestamp","data"}`.
//!
//! `timestamp` is the attempt's, since receivers refuse events older than five minutes and a retry must not be one;
//! `id` and the times in `data` never change.

use serde_json::{Map, Value};

use super::{Attempt, Cut, Fields, codes, json};
use crate::model::event::{Detail, Event, EventKind};
use crate::model::hit::{Verdict, Visitor};
use crate::model::message::Message;
use crate::model::reason::Cause;
use crate::model::time::Timestamp;
use crate::model::webhook::Webhook;

pub(super) const fn name(kind: EventKind) -> &'static str {
    match kind {
        EventKind::Sent => "email.sent",
        EventKind::Delivered => "email.delivered",
        EventKind::Deferred => "email.deferred",
        EventKind::Delayed => "email.delayed",
        EventKind::HardBounced | EventKind::SoftBounced => "email.bounced",
        EventKind::Opened => "email.opened",
        EventKind::Clicked => "email.clicked",
        EventKind::Complained => "email.complained",
        EventKind::Failed => "email.failed",
        EventKind::OpenReclassified => "email.opened_reclassified",
        EventKind::ClickReclassified => "email.clicked_reclassified",
        EventKind::WebhookFailing => "webhook.failing",
        EventKind::WebhookDisabled => "webhook.disabled",
        EventKind::SecretRotated => "webhook.secret_rotated",
        EventKind::WebhookExhausted => "webhook.exhausted",
        EventKind::WebhookRecovered => "webhook.recovered",
        EventKind::DailyWarning => "mail_agent.daily_warning",
    }
}

pub(super) fn payload(
    webhook: &Webhook,
    event: &Event,
    message: &Message,
    attempt: Attempt,
    cut: Option<Cut>,
) -> Value {
    // A test is sent as it was shown.
    let is_as_shown = event.is_test && attempt.number == 1;
    let timestamp = if webhook.keeps_timestamp || is_as_shown { event.at } else { attempt.at };
    body(event, message, timestamp, cut)
}

/// The body that tells of `event` and is as old as `timestamp` says.
pub(super) fn body(event: &Event, message: &Message, timestamp: Timestamp, cut: Option<Cut>) -> Value {
    let data = if event.kind.is_notice() { specifics(event) } else { about_mail(event, message, cut) };
    Fields::default()
        .with("id", event.id.to_string())
        .with("type", name(event.kind))
        .with("timestamp", timestamp.rfc3339_millis())
        .with("data", data.with_some("test", event.is_test.then_some(true)))
        .into()
}

fn about_mail(event: &Event, message: &Message, cut: Option<Cut>) -> Fields {
    let facts = &message.facts;
    let metadata = cut.map_or_else(|| facts.metadata.clone(), |cut| first_entries(&facts.metadata, cut.bytes));
    Fields::default()
        .with("emailId", message.id.to_string())
        .with("recipient", event.recipient.as_str())
        .with("subject", facts.subject.as_str())
        .with_all(specifics(event))
        .with_some("tags", Some(facts.tags.clone()).filter(|tags| !tags.is_empty()))
        .with_some("metadata", Some(metadata).filter(|metadata| !metadata.is_empty()))
        .with_some("truncated", cut.map(|_| true))
}

fn specifics(event: &Event) -> Fields {
    let fields = Fields::default();
    let at = event.at.rfc3339_millis();
    match &event.detail {
        Detail::Sent => fields.with("sentAt", at),
        Detail::Delivered { .. } => fields.with("deliveredAt", at),
        Detail::Deferred { cause, next_at } => {
            let fields = fields.with_all(why(cause.why_not_yet(), cause)).with("deferredAt", at);
            match next_at {
                Some(next_at) => fields.with("nextAttemptAt", next_at.rfc3339_millis()),
                None => fields,
            }
        }
        Detail::Bounced { cause } => {
            let bounce_type = if event.kind == EventKind::HardBounced { "hard" } else { "soft" };
            fields.with("bounceType", bounce_type).with_all(why(cause.reason.sentence(), cause)).with("bouncedAt", at)
        }
        Detail::Failed { cause } => fields.with_all(why(cause.reason.sentence(), cause)).with("failedAt", at),
        Detail::Opened { visitor } => fields.with("openedAt", at).with_all(who(visitor)),
        Detail::Clicked { url, visitor } => {
            fields.with("url", url.as_str()).with("clickedAt", at).with_all(who(visitor))
        }
        Detail::Complained { feedback_type, .. } => {
            fields.with("complainedAt", at).with("feedbackType", feedback_type.as_str())
        }
        Detail::Webhook { webhook, url, description, since, failures, error } => fields
            .with("webhookId", webhook.to_string())
            .with("url", url.as_str())
            .with("description", description.as_str())
            .with_some("failingSince", since.map(|since| since.rfc3339_millis()))
            .with_some("failures", Some(*failures).filter(|failures| *failures > 0))
            .with_some("error", Some(error.as_str()).filter(|error| !error.is_empty()))
            .with("occurredAt", at),
        Detail::DailyWarning { agent_key, warning, sent } => fields
            .with("mailAgentKey", agent_key.as_str())
            .with("dailyWarning", *warning)
            .with("sent", *sent)
            .with("occurredAt", at),
    }
}

/// `reason` is a sentence, `diagnosticCode` what the codes were (`550 5.1.1`), `diagnosticMessage` the other side's
/// own words when it had any.
fn why(sentence: &str, cause: &Cause) -> Fields {
    Fields::default()
        .with("reason", sentence)
        .with("diagnosticCode", codes(cause))
        .with_some("diagnosticMessage", Some(cause.diagnostic.as_str()).filter(|words| !words.is_empty()))
}

fn who(visitor: &Visitor) -> Fields {
    let Verdict { verdict, kind, confidence, reasons } = &visitor.machine;
    let machine = Fields::default()
        .with("verdict", verdict.as_str())
        .with("kind", kind.as_str())
        .with("confidence", *confidence)
        .with("reasons", reasons.clone());
    Fields::default()
        .with("userAgent", visitor.user_agent.as_str())
        .with("ipAddress", visitor.place.ip_address.as_str())
        .with("machine", machine)
}

/// The entries that fit into so many bytes, in order. None is cut in itself: half a reference refers to nothing.
fn first_entries(metadata: &Map<String, Value>, bytes: usize) -> Map<String, Value> {
    let mut left = bytes;
    let fits = |(key, value): &(&String, &Value)| {
        let size = key.len() + json::print(value).len();
        let is_fitting = size <= left;
        left -= if is_fitting { size } else { 0 };
        is_fitting
    };
    metadata.iter().filter(fits).map(|(key, value)| (key.clone(), value.clone())).collect()
}
