//! Events about webhooks themselves: one has failed for a day, was switched off, has a new secret; and about mail agents:
//! one has sent more today than it is to be warned of.
//!
//! They are told to the webhooks that name their kinds, like any event, and by mail to whom the webhook or the mail agent
//! says. No message stands behind one: [`blank`] is what takes its place where formats want one. Ids derive from what is
//! told, so that the store can write a notice without drawing randomness, and the same one is the same wherever it is
//! written.

use sha2::{Digest, Sha256};

use super::event::{Detail, Event, EventKind, relay};
use super::id::{AgentId, DeliveryId, EventId, MessageId, TenantId};
use super::message::{Facts, Message, Source};
use super::statistics::Day;
use super::time::Timestamp;
use super::webhook::Webhook;
use super::webhook_health::Health;

/// Tells of `webhook`, with what is known of its failing.
pub fn notice(webhook: &Webhook, kind: EventKind, health: &Health, at: Timestamp) -> Event {
    let about = About {
        id: *webhook.id.as_bytes(),
        tenant: webhook.tenant,
        agent: webhook.agent.unwrap_or(AgentId::from_bytes([0; 16])),
        once: at.as_millis(),
        ordinal: u32::try_from(at.as_secs()).unwrap_or_default(),
    };
    let detail = Detail::Webhook {
        webhook: webhook.id,
        url: webhook.url.clone(),
        description: webhook.description.clone(),
        since: health.failing_since,
        failures: health.failures,
        error: health.last_error.clone(),
    };
    about.told(kind, detail, at)
}

/// Tells that the mail agent of this message has sent to so many recipients today, which is more than it is to be warned
/// of: once a day.
pub fn daily_warning(message: &Message, warning: u64, sent: u64) -> Event {
    let (at, Day(day)) = (message.accepted_at, Day::of(message.accepted_at));
    let about = About {
        id: *message.agent.as_bytes(),
        tenant: message.tenant,
        agent: message.agent,
        once: day,
        ordinal: u32::try_from(day).unwrap_or_default(),
    };
    about.told(
        EventKind::DailyWarning,
        Detail::DailyWarning { agent_key: message.agent_key.clone(), warning, sent },
        at,
    )
}

/// What a notice is about.
struct About {
    /// Its number, in the place of a message's.
    id: [u8; 16],
    tenant: TenantId,
    agent: AgentId,
    /// What tells it from others of its kind about the same.
    once: i64,
    ordinal: u32,
}

impl About {
    fn told(self, kind: EventKind, detail: Detail, at: Timestamp) -> Event {
        let mut digest = Sha256::new();
        digest.update(self.id);
        digest.update(kind.as_str());
        digest.update(self.once.to_be_bytes());
        let digest: [u8; 32] = digest.finalize().into();
        let mut random = [0; 10];
        random.copy_from_slice(&digest[..10]);
        let millis = u64::try_from(at.as_millis()).unwrap_or_default();
        Event {
            id: EventId::from_uuid(uuid::Builder::from_unix_timestamp_millis(millis, &random).into_uuid()),
            delivery: DeliveryId { message: MessageId::from_bytes(self.id), recipient: 0 },
            tenant: self.tenant,
            agent: self.agent,
            kind,
            ordinal: self.ordinal,
            at,
            recipient: String::new(),
            detail,
            relay: relay::ALL,
            relay_at: at,
            is_test: false,
        }
    }
}

/// The message that a notice has none of.
pub fn blank(event: &Event) -> Message {
    Message {
        id: event.delivery.message,
        tenant: event.tenant,
        agent: event.agent,
        agent_key: match &event.detail {
            Detail::DailyWarning { agent_key, .. } => agent_key.clone(),
            _ => String::new(),
        },
        source: Source::Http,
        accepted_at: event.at,
        facts: Facts::default(),
        size_bytes: 0,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::id::WebhookId;

    const HOUR: std::time::Duration = std::time::Duration::from_secs(3600);

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

    #[test]
    fn a_day_has_one_warning() {
        let at = Timestamp::from_millis(1_800_000_000_000);
        let webhook =
            Webhook::new(WebhookId::from_bytes([4; 16]), TenantId::from_bytes([1; 16]), "https://example.com/", at);
        let message = |hours| Message {
            agent: AgentId::from_bytes([3; 16]),
            agent_key: "2d6f.1".into(),
            ..blank(&notice(&webhook, EventKind::WebhookFailing, &Health::default(), at + HOUR * hours))
        };
        let told = |hours| daily_warning(&message(hours), 5, 7);
        assert_eq!((told(0).ordinal, told(0).delivery), (told(1).ordinal, told(1).delivery));
        assert_ne!(told(0).ordinal, told(24).ordinal);
        assert_eq!(blank(&told(0)).agent_key, "2d6f.1");
    }
}
