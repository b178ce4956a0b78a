//! TransMail's body, in the shape that real receivers parse: `event_name`, `event_message`, `event_data` and `details`
//! are lists of one; recipients are objects within `email_address`; values are strings, empty when unknown.
//!
//! One affected recipient a request, and it stands first in `to`: opens and clicks name it nowhere else.

use serde_json::Value;

use super::{Fields, codes};
use crate::model::address::Mailbox;
use crate::model::event::{Detail, Event, EventKind};
use crate::model::hit::{Named, Place, Visitor};
use crate::model::message::{Message, Source};
use crate::model::reason::Cause;
use crate::model::webhook::Webhook;

pub(super) const fn name(kind: EventKind) -> &'static str {
    match kind {
        EventKind::Sent => "sent",
        EventKind::Delivered => "delivered",
        EventKind::Deferred => "deferred",
        EventKind::Delayed => "delayed",
        EventKind::HardBounced => "hardbounce",
        EventKind::SoftBounced => "softbounce",
        EventKind::Opened => "email_open",
        EventKind::Clicked => "email_link_click",
        EventKind::Complained => "fbl_complaint",
        EventKind::Failed => "mailfailure",
        EventKind::OpenReclassified => "email_open_reclassified",
        EventKind::ClickReclassified => "email_link_click_reclassified",
        EventKind::WebhookFailing => "webhook_failing",
        EventKind::WebhookDisabled => "webhook_disabled",
        EventKind::SecretRotated => "webhook_secret_rotated",
        EventKind::WebhookExhausted => "webhook_exhausted",
        EventKind::WebhookRecovered => "webhook_recovered",
        EventKind::DailyWarning => "daily_warning",
    }
}

pub(super) fn payload(webhook: &Webhook, event: &Event, message: &Message, is_cut: bool) -> Value {
    let name = name(event.kind);
    let details = details(event, message).with_some("truncated", is_cut.then_some("true"));
    let event_data = Fields::default().with("details", list(details)).with("object", name);
    let event_message = Fields::default()
        .with("email_info", email_info(event, message))
        .with("event_data", list(event_data))
        .with("request_id", message.facts.request_id.as_str());
    Fields::default()
        .with("event_name", list(name))
        .with("event_message", list(event_message))
        .with("mailagent_key", message.agent_key.as_str())
        .with("webhook_request_id", request_id(webhook, event, message))
        .into()
}

/// The same for every attempt at a dispatch, and different for every two dispatches.
fn request_id(webhook: &Webhook, event: &Event, message: &Message) -> String {
    let [.., a, b, c, d, e, f] = *webhook.id.as_bytes();
    let webhook = [a, b, c, d, e, f].iter().fold(0u64, |sum, byte| (sum << 8) | u64::from(*byte));
    format!("{}.w1.{}.{webhook:x}", message.agent_key, event.id.uuid())
}

fn email_info(event: &Event, message: &Message) -> Fields {
    let facts = &message.facts;
    let object = if event.kind == EventKind::Complained { "fbl_complaint" } else { "email" };
    let is_affected = |person: &&Mailbox| person.address.eq_ignore_ascii_case(&event.recipient);
    let known = [&facts.to, &facts.cc, &facts.bcc].into_iter().flatten().find(is_affected);
    let affected = known.cloned().unwrap_or_else(|| Mailbox::bare(event.recipient.as_str()));
    let to = std::iter::once(&affected).chain(facts.to.iter().filter(|person| !is_affected(person)));
    Fields::default()
        .with("cc", recipients(&facts.cc))
        .with("client_reference", facts.client_reference.as_str())
        .with("bcc", recipients(&facts.bcc))
        .with("is_smtp_trigger", message.source == Source::Smtp)
        .with("subject", facts.subject.as_str())
        .with("bounce_address", facts.bounce_address.as_str())
        .with("email_reference", facts.email_reference.as_str())
        .with("reply_to", facts.reply_to.iter().map(|person| person_fields(person).into()).collect::<Vec<Value>>())
        .with("from", person_fields(&facts.from))
        .with("to", recipients(to))
        .with("tag", facts.tags.join(","))
        .with("processed_time", message.accepted_at.rfc3339_seconds())
        .with("object", object)
}

fn details(event: &Event, message: &Message) -> Fields {
    let fields = Fields::default();
    let at = event.at.rfc3339_seconds();
    let recipient = event.recipient.as_str();
    match &event.detail {
        Detail::Sent => fields.with("recipient", recipient).with("time", at),
        Detail::Delivered { reply, .. } => {
            fields.with("recipient", recipient).with("time", at).with("diagnostic_message", reply.as_str())
        }
        Detail::Deferred { cause, next_at } => {
            let fields = fields
                .with("reason", cause.why_not_yet())
                .with("recipient", recipient)
                .with("time", at)
                .with("diagnostic_message", spoken(cause));
            match next_at {
                Some(next_at) => fields.with("next_attempt_time", next_at.rfc3339_seconds()),
                None => fields,
            }
        }
        Detail::Bounced { cause } => fields
            .with("reason", cause.reason.sentence())
            .with("bounced_recipient", recipient)
            .with("time", at)
            .with("diagnostic_message", spoken(cause)),
        Detail::Failed { cause } => fields
            .with("reason", cause.reason.sentence())
            .with("recipient", recipient)
            .with("time", at)
            .with("diagnostic_message", spoken(cause)),
        Detail::Opened { visitor } => hit(visitor, &at),
        Detail::Clicked { url, visitor } => hit(visitor, &at).with("clicked_link", url.as_str()),
        Detail::Complained { feedback_type: _, reported_by, return_path, source_ip } => fields
            .with("fblFrom", first_of(reported_by, recipient))
            .with("returnPath", first_of(return_path, &message.facts.bounce_address))
            .with("ip", source_ip.as_str())
            .with("from", message.facts.from.address.as_str())
            .with("to", list(recipient)),
        Detail::Webhook { webhook, url, description, since, failures, error } => fields
            .with("webhook_id", webhook.to_string())
            .with("webhook_url", url.as_str())
            .with("description", description.as_str())
            .with("failing_since", since.map_or(String::new(), |since| since.rfc3339_seconds()))
            .with("failures", failures.to_string())
            .with("reason", error.as_str())
            .with("time", at),
        Detail::DailyWarning { agent_key: _, warning, sent } => {
            fields.with("warning", warning.to_string()).with("sent", sent.to_string()).with("time", at)
        }
    }
}

/// What the other side said, with its codes in front: `550 5.1.1 no such user`.
fn spoken(cause: &Cause) -> String {
    let words = cause.diagnostic.as_str();
    let has_code = cause.code.is_none_or(|code| words.starts_with(&code.to_string()));
    if has_code && !words.is_empty() {
        return words.to_owned();
    }
    let words = cause.status.as_deref().and_then(|status| words.strip_prefix(status)).unwrap_or(words);
    format!("{} {}", codes(cause), words.trim_start()).trim().to_owned()
}

fn hit(visitor: &Visitor, at: &str) -> Fields {
    let Place { zipcode, country_code, city, latitude, country_name, ip_address, time_zone, region, longitude } =
        &visitor.place;
    let place = Fields::default()
        .with("zipcode", zipcode.as_str())
        .with("country_code", country_code.as_str())
        .with("city", city.as_str())
        .with("latitude", latitude.as_str())
        .with("country_name", country_name.as_str())
        .with("ip_address", ip_address.as_str())
        .with("time_zone", time_zone.as_str())
        .with("region", region.as_str())
        .with("longitude", longitude.as_str());
    let machine = Fields::default()
        .with("verdict", visitor.machine.verdict.as_str())
        .with("kind", visitor.machine.kind.as_str())
        .with("confidence", visitor.machine.confidence.to_string())
        .with("reasons", visitor.machine.reasons.join("; "));
    Fields::default()
        .with("email_client", named(&visitor.client.email_client))
        .with("modified_time", at)
        .with("ip_location_info", place)
        .with("browser", named(&visitor.client.browser))
        .with("operating_system", named(&visitor.client.operating_system))
        .with("time", at)
        .with("device", Fields::default().with("name", visitor.client.device.as_str()))
        .with("user_agent", visitor.user_agent.as_str())
        .with("machine", machine)
}

fn named(thing: &Named) -> Fields {
    Fields::default().with("name", thing.name.as_str()).with("version", thing.version.as_str())
}

fn person_fields(person: &Mailbox) -> Fields {
    Fields::default().with("address", person.address.as_str()).with("name", person.name.as_str())
}

fn recipients<'a>(people: impl IntoIterator<Item = &'a Mailbox>) -> Value {
    let wrapped = |person| Fields::default().with("email_address", person_fields(person)).into();
    people.into_iter().map(wrapped).collect::<Vec<Value>>().into()
}

fn list(only: impl Into<Value>) -> Value {
    Value::Array(vec![only.into()])
}

fn first_of<'a>(one: &'a str, other: &'a str) -> &'a str {
    if one.is_empty() { other } else { one }
}
