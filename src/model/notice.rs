//! Events about webhooks themselves: one has failed for a day, was switched off, has a new secret.
//!
//! They are told to the webhooks that name their kinds, like any event, and by mail to whom the webhook says. No message
//! stands behind one: [`blank`] is what takes its place where formats want one. Ids derive from what is told, so that
//! the store can write a notice without drawing randomness, and the same one is the same wherever it is written.

use sha2::{Digest, Sha256};

use super::event::{Detail, Event, EventKind, relay};
use super::id::{AgentId, DeliveryId, EventId, MessageId};
use super::message::{Facts, Message, Source};
use super::time::Timestamp;
use super::webhook::Webhook;
use super::webhook_health::Health;

/// Tells of `webhook`, with what is known of its failing.
pub fn notice(webhook: &Webhook, kind: EventKind, health: &Health, at: Timestamp) -> Event {
    let mut digest = Sha256::new();
    digest.update(webhook.id.as_bytes());
    digest.update(kind.as_str());
    digest.update(at.as_millis().to_be_bytes());
    let digest: [u8; 32] = digest.finalize().into();
    let mut random = [0; 10];
    random.copy_from_slice(&digest[..10]);
    let millis = u64::try_from(at.as_millis()).unwrap_or_default();
    Event {
        id: EventId::from_uuid(uuid::Builder::from_unix_timestamp_millis(millis, &random).into_uuid()),
        delivery: DeliveryId { message: MessageId::from_bytes(*webhook.id.as_bytes()), recipient: 0 },
        tenant: webhook.tenant,
        agent: webhook.agent.unwrap_or(AgentId::from_bytes([0; 16])),
        kind,
        ordinal: u32::try_from(at.as_secs()).unwrap_or_default(),
        at,
        recipient: String::new(),
        detail: Detail::Webhook {
            webhook: webhook.id,
            url: webhook.url.clone(),
            description: webhook.description.clone(),
            since: health.failing_since,
            failures: health.failures,
            error: health.last_error.clone(),
        },
        relay: relay::ALL,
        relay_at: at,
        is_test: false,
    }
}

/// The message that a notice has none of.
pub fn blank(event: &Event) -> Message {
    Message {
        id: event.delivery.message,
        tenant: event.tenant,
        agent: event.agent,
        agent_key: String::new(),
        source: Source::Http,
        accepted_at: event.at,
        facts: Facts::default(),
        size_bytes: 0,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::id::{TenantId, WebhookId};

    #[test]
    fn the_same_notice_is_the_same_and_another_is_not() {
        let at = Timestamp::from_millis(1_800_000_000_000);
        let webhook =
            Webhook::new(WebhookId::from_bytes([4; 16]), TenantId::from_bytes([1; 16]), "https://example.com/", at);
        let told =
            |kind, millis| notice(&webhook, kind, &Health::default(), at + std::time::Duration::from_millis(millis));
        assert_eq!(told(EventKind::WebhookDisabled, 0), told(EventKind::WebhookDisabled, 0));
        let id = told(EventKind::WebhookDisabled, 0).id;
        assert_ne!(id, told(EventKind::WebhookFailing, 0).id);
        assert_ne!(id, told(EventKind::WebhookDisabled, 1).id);
        assert_eq!(id.uuid().get_version_num(), 7);
        assert_eq!(blank(&told(EventKind::WebhookFailing, 0)).accepted_at, at);
    }
}
