//! Things that happen to deliveries, to the webhooks that are told of them, and to mail agents. An event never changes;
//! each (delivery, kind, ordinal) happens once.

use serde::{Deserialize, Serialize};

use super::hit::Visitor;
use super::id::{AgentId, DeliveryId, EventId, TenantId, WebhookId};
use super::reason::Cause;
use super::time::Timestamp;

/// What kind of thing happened. Each is one bit, so that a webhook's choice is one number.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum EventKind {
    /// Accepted for delivery.
    Sent,
    /// The next hop took it.
    Delivered,
    /// Put off; it will be tried again. Opt-in.
    Deferred,
    /// Ended by a permanent refusal of the address.
    HardBounced,
    /// Ended for another reason, or given up after attempts.
    SoftBounced,
    /// The pixel was loaded.
    Opened,
    /// A link was followed.
    Clicked,
    /// Marked as spam by the recipient.
    Complained,
    /// Never attempted, for a cause on our side.
    Failed,
    /// An open that was told before is seen otherwise now. Opt-in.
    OpenReclassified,
    /// A click that was told before is seen otherwise now. Opt-in.
    ClickReclassified,
    /// A webhook has failed for a day.
    WebhookFailing,
    /// A webhook was switched off by us.
    WebhookDisabled,
    /// A webhook has a new secret.
    SecretRotated,
    /// It will be hours late; told once. Opt-in.
    Delayed,
    /// A webhook was not told of an event after all attempts, the first since something arrived.
    WebhookExhausted,
    /// A webhook that failed is well again.
    WebhookRecovered,
    /// A mail agent has sent more today than it is to be warned of.
    DailyWarning,
}

impl EventKind {
    /// Every kind.
    pub const ALL: [EventKind; 18] = [
        EventKind::Sent,
        EventKind::Delivered,
        EventKind::Deferred,
        EventKind::HardBounced,
        EventKind::SoftBounced,
        EventKind::Opened,
        EventKind::Clicked,
        EventKind::Complained,
        EventKind::Failed,
        EventKind::OpenReclassified,
        EventKind::ClickReclassified,
        EventKind::WebhookFailing,
        EventKind::WebhookDisabled,
        EventKind::SecretRotated,
        EventKind::Delayed,
        EventKind::WebhookExhausted,
        EventKind::WebhookRecovered,
        EventKind::DailyWarning,
    ];

    /// Its word, as stored and logged.
    pub const fn as_str(self) -> &'static str {
        match self {
            EventKind::Sent => "sent",
            EventKind::Delivered => "delivered",
            EventKind::Deferred => "deferred",
            EventKind::HardBounced => "hard_bounced",
            EventKind::SoftBounced => "soft_bounced",
            EventKind::Opened => "opened",
            EventKind::Clicked => "clicked",
            EventKind::Complained => "complained",
            EventKind::Failed => "failed",
            EventKind::OpenReclassified => "opened_reclassified",
            EventKind::ClickReclassified => "clicked_reclassified",
            EventKind::WebhookFailing => "webhook_failing",
            EventKind::WebhookDisabled => "webhook_disabled",
            EventKind::SecretRotated => "webhook_secret_rotated",
            EventKind::Delayed => "delayed",
            EventKind::WebhookExhausted => "webhook_exhausted",
            EventKind::WebhookRecovered => "webhook_recovered",
            EventKind::DailyWarning => "daily_warning",
        }
    }

    /// Whether it tells of a webhook or a mail agent, and not of a mail. These go only to webhooks that name them.
    pub const fn is_notice(self) -> bool {
        use EventKind::{
            DailyWarning, SecretRotated, WebhookDisabled, WebhookExhausted, WebhookFailing, WebhookRecovered,
        };
        matches!(
            self,
            WebhookFailing | WebhookDisabled | SecretRotated | WebhookExhausted | WebhookRecovered | DailyWarning
        )
    }

    /// The kind with this word.
    pub fn from_word(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.as_str() == word)
    }

    /// Its bit.
    pub const fn bit(self) -> u32 {
        1 << self as u32
    }
}

/// A set of event kinds, as one number.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct EventSet(pub u32);

impl EventSet {
    /// With `kind` added.
    pub fn with(self, kind: EventKind) -> Self {
        Self(self.0 | kind.bit())
    }

    /// Whether `kind` is in it.
    pub fn has(self, kind: EventKind) -> bool {
        self.0 & kind.bit() != 0
    }

    /// The kinds in it.
    pub fn kinds(self) -> impl Iterator<Item = EventKind> {
        EventKind::ALL.into_iter().filter(move |kind| self.has(*kind))
    }
}

impl FromIterator<EventKind> for EventSet {
    fn from_iter<I: IntoIterator<Item = EventKind>>(kinds: I) -> Self {
        kinds.into_iter().fold(Self::default(), Self::with)
    }
}

/// To which webhooks a hit's event is of interest; bits, matched against a webhook's own (see `model::webhook`).
/// Events that are not hits carry all bits.
pub mod relay {
    /// The first that is not a scanner's, or the first by a person.
    pub const FIRST: u32 = 1;
    /// The first by a person.
    pub const FIRST_PERSON: u32 = 2;
    /// Every one.
    pub const EVERY: u32 = 4;
    /// All of them.
    pub const ALL: u32 = FIRST | FIRST_PERSON | EVERY;
}

/// What an event tells beyond its kind. Kept as JSON text.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "is", rename_all = "snake_case")]
pub enum Detail {
    /// Accepted.
    Sent,
    /// Taken by the next hop.
    Delivered {
        /// Its reply, escaped.
        reply: String,
        /// It tells whoever wants to hear it what becomes of the mail (RFC 3461 §5.2).
        #[serde(default, skip_serializing_if = "std::ops::Not::not")]
        next_hop_tells: bool,
        /// It says by report that the mail is where it was to go, and not that it was passed on.
        #[serde(default, skip_serializing_if = "std::ops::Not::not")]
        has_arrived: bool,
    },
    /// Put off.
    Deferred {
        /// Why.
        cause: Cause,
        /// When it will be tried again; `None` when that is not ours to do.
        next_at: Option<Timestamp>,
    },
    /// Bounced, by reply or report, or given up.
    Bounced {
        /// Why.
        cause: Cause,
    },
    /// Never attempted.
    Failed {
        /// Why.
        cause: Cause,
    },
    /// Opened.
    Opened {
        /// By whom.
        visitor: Visitor,
    },
    /// Clicked.
    Clicked {
        /// The link's own target.
        url: String,
        /// By whom.
        visitor: Visitor,
    },
    /// Complained about.
    Complained {
        /// `Feedback-Type` of the report (RFC 5965 §3.1): `abuse`.
        feedback_type: String,
        /// Who sent the report.
        reported_by: String,
        /// `Original-Mail-From` of the report; empty when absent.
        return_path: String,
        /// `Source-IP` of the report; empty when absent.
        source_ip: String,
    },
    /// A webhook fails, was switched off, or has a new secret.
    Webhook {
        /// Which.
        webhook: WebhookId,
        /// Where it leads.
        url: String,
        /// What people call it.
        description: String,
        /// Nothing has arrived since.
        since: Option<Timestamp>,
        /// Failures since then.
        failures: u32,
        /// The last failure, in a word; empty when there was none.
        error: String,
    },
    /// A mail agent has sent more today than it is to be warned of.
    DailyWarning {
        /// The key of which.
        agent_key: String,
        /// Recipients a day after which there is a warning.
        warning: u64,
        /// Recipients so far, those of the mail that passed it included.
        sent: u64,
    },
}

/// Something that happened to a delivery.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Event {
    /// Its id; the same in every dispatch and every retry.
    pub id: EventId,
    /// To which delivery. A notice has the number of its webhook or mail agent here, of which there is no message.
    pub delivery: DeliveryId,
    /// Whose.
    pub tenant: TenantId,
    /// Whose, within the tenant.
    pub agent: AgentId,
    /// What kind.
    pub kind: EventKind,
    /// Which of its kind for this delivery: attempt number for deferrals, a running number for hits, 0 else.
    pub ordinal: u32,
    /// When it happened.
    pub at: Timestamp,
    /// The recipient's address, as payloads show it.
    pub recipient: String,
    /// What else there is to tell.
    pub detail: Detail,
    /// Which webhooks it interests; see [`relay`].
    pub relay: u32,
    /// When its dispatches become due: `at`, or later for hits that wait for judgement.
    pub relay_at: Timestamp,
    /// A test that a person asked for; nothing happened.
    pub is_test: bool,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kinds_are_words_and_bits() {
        for kind in EventKind::ALL {
            assert_eq!(EventKind::from_word(kind.as_str()), Some(kind));
        }
        let set: EventSet = [EventKind::Opened, EventKind::HardBounced].into_iter().collect();
        assert_eq!(set.kinds().collect::<Vec<_>>(), [EventKind::HardBounced, EventKind::Opened]);
    }
}
