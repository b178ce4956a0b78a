//! Sample events, one of each kind: what a webhook is tested with.
//!
//! They pass through the same store, formats and signatures as real ones, and are marked as tests all the way; the
//! people in them live under `example.com`, the addresses come from documentation ranges.

use super::address::Mailbox;
use super::event::{Detail, Event, EventKind, relay};
use super::hit::{Client, Named, Place, Verdict, Visitor, Who};
use super::id::{DeliveryId, EventId, MessageId, WebhookId};
use super::key;
use super::message::{Facts, Message, Source};
use super::notice::blank;
use super::preview::Draw;
use super::reason::{Cause, Class, Reason};
use super::tenant::MailAgent;
use super::time::Timestamp;
use super::webhook::Webhook;

const RECIPIENT: &str = "test@example.com";
const USER_AGENT: &str = "Mozilla/5.0 (X11; Linux x86_64; rv:128.0) Gecko/20100101 Firefox/128.0";

/// A message that nobody sent, and an event about it, as they were drawn: what tells `webhook` what telling it is like.
/// The same of the same draw.
pub fn of_kind(kind: EventKind, webhook: &Webhook, agent: &MailAgent, draw: Draw) -> (Message, Event) {
    let now = draw.at();
    let message = sample_message(agent, draw);
    let event = Event {
        id: EventId::from_uuid(draw.id("event")),
        delivery: DeliveryId { message: message.id, recipient: 0 },
        tenant: agent.tenant,
        agent: agent.id,
        kind,
        ordinal: 0,
        at: now,
        recipient: if kind.is_notice() { String::new() } else { RECIPIENT.into() },
        detail: detail(kind, webhook, agent, now),
        relay: relay::ALL,
        relay_at: now,
        is_test: true,
    };
    // A notice is about no mail, and is told so.
    let message = if kind.is_notice() { blank(&event) } else { message };
    (message, event)
}

/// The webhook that a test is drawn for which is not there.
pub fn draft(draw: Draw) -> WebhookId {
    WebhookId::from_uuid(draw.id("webhook"))
}

fn sample_message(agent: &MailAgent, draw: Draw) -> Message {
    let (uuid, now) = (draw.id("message"), draw.at());
    let from = agent.settings.from.clone();
    let key = key::key(&agent.key, key::MAIL, uuid, now);
    Message {
        id: MessageId::from_uuid(uuid),
        tenant: agent.tenant,
        agent: agent.id,
        agent_key: agent.key.clone(),
        source: Source::Http,
        accepted_at: now,
        facts: Facts {
            from: from
                .unwrap_or_else(|| Mailbox { address: "sender@example.com".into(), name: "Sample Sender".into() }),
            to: vec![Mailbox { address: RECIPIENT.into(), name: "Test Recipient".into() }],
            subject: "Test of a webhook".into(),
            email_reference: format!("{key}@example.com"),
            request_id: key,
            client_reference: "test".into(),
            bounce_address: agent.settings.bounce_address.clone(),
            ..Facts::default()
        },
        size_bytes: 0,
    }
}

fn detail(kind: EventKind, webhook: &Webhook, agent: &MailAgent, now: Timestamp) -> Detail {
    match kind {
        EventKind::Sent => Detail::Sent,
        EventKind::Delivered => {
            Detail::Delivered { reply: "250 2.0.0 OK".into(), next_hop_tells: false, has_arrived: false }
        }
        EventKind::Deferred | EventKind::Delayed => Detail::Deferred { cause: full(), next_at: Some(now) },
        EventKind::HardBounced => Detail::Bounced { cause: unknown() },
        EventKind::SoftBounced => Detail::Bounced { cause: full() },
        EventKind::Opened | EventKind::OpenReclassified => Detail::Opened { visitor: visitor() },
        EventKind::Clicked | EventKind::ClickReclassified => {
            Detail::Clicked { url: "https://www.example.com/?test=1".into(), visitor: visitor() }
        }
        EventKind::Complained => Detail::Complained {
            feedback_type: "abuse".into(),
            reported_by: "feedback@example.net".into(),
            return_path: "bounces@example.com".into(),
            source_ip: "203.0.113.24".into(),
        },
        EventKind::Failed => Detail::Failed {
            cause: Cause {
                reason: Reason::Suppressed,
                class: Class::Undetermined,
                code: None,
                status: None,
                diagnostic: "the address is suppressed".into(),
                rule: "test".into(),
            },
        },
        EventKind::WebhookFailing
        | EventKind::WebhookDisabled
        | EventKind::SecretRotated
        | EventKind::WebhookExhausted
        | EventKind::WebhookRecovered => Detail::Webhook {
            webhook: webhook.id,
            url: webhook.url.clone(),
            description: webhook.description.clone(),
            since: Some(now),
            failures: 20,
            error: "http_status".into(),
        },
        EventKind::DailyWarning => Detail::DailyWarning { agent_key: agent.key.clone(), warning: 1_000, sent: 1_001 },
    }
}

fn unknown() -> Cause {
    Cause {
        reason: Reason::UserUnknown,
        class: Class::Hard,
        code: Some(550),
        status: "5.1.1".parse().ok(),
        diagnostic: "550 5.1.1 <test@example.com>: no such user".into(),
        rule: "test".into(),
    }
}

fn full() -> Cause {
    Cause {
        reason: Reason::MailboxFull,
        class: Class::Soft,
        code: Some(452),
        status: "4.2.2".parse().ok(),
        diagnostic: "452 4.2.2 <test@example.com>: mailbox full".into(),
        rule: "test".into(),
    }
}

fn visitor() -> Visitor {
    let named = |name: &str, version: &str| Named { name: name.into(), version: version.into() };
    Visitor {
        place: Place {
            zipcode: "111 20".into(),
            country_code: "SE".into(),
            city: "Stockholm".into(),
            latitude: "59.33".into(),
            country_name: "Sweden".into(),
            ip_address: "203.0.113.24".into(),
            time_zone: "Europe/Stockholm".into(),
            region: "Stockholm".into(),
            longitude: "18.06".into(),
        },
        client: Client {
            email_client: named("", ""),
            browser: named("Firefox", "128.0"),
            operating_system: named("Linux", ""),
            device: "Desktop".into(),
        },
        user_agent: USER_AGENT.into(),
        machine: Verdict { verdict: Who::Person, kind: String::new(), confidence: 90, reasons: vec!["a test".into()] },
    }
}
