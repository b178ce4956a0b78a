//! One accepted submission: its envelope facts and everything that later events tell about it.

use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::address::{Address, Mailbox};
use super::dsn::DsnRequest;
use super::event::Event;
use super::id::{AgentId, DeliveryId, EventId, MessageId, TenantId};
use super::key;
use super::reason::Reason;
use super::time::Timestamp;

/// As what a message was handed in.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Way {
    /// As one mail, for all who stand in it.
    #[default]
    Mail,
    /// With others: each recipient has its own.
    Batch,
    /// As a template to fill in.
    Template,
    /// As a template to fill in for each recipient.
    TemplateBatch,
}

impl Way {
    /// The way of what is one of a batch or not, and made of a template or not.
    pub const fn of(is_batch: bool, is_template: bool) -> Self {
        match (is_batch, is_template) {
            (false, false) => Way::Mail,
            (true, false) => Way::Batch,
            (false, true) => Way::Template,
            (true, true) => Way::TemplateBatch,
        }
    }

    /// The kind of keys that mails of this way, and what brought them, have.
    pub const fn kind_of_key(self) -> &'static str {
        match self {
            Way::Mail => key::MAIL,
            Way::Batch | Way::Template | Way::TemplateBatch => key::TEMPLATED,
        }
    }

    fn is_mail(&self) -> bool {
        *self == Way::Mail
    }
}

/// Through which door a message came.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Source {
    /// SMTP submission; `is_smtp_trigger` of the payloads.
    Smtp,
    /// An HTTP API.
    Http,
}

impl Source {
    /// `smtp` or `http`.
    pub fn as_str(self) -> &'static str {
        match self {
            Source::Smtp => "smtp",
            Source::Http => "http",
        }
    }
}

/// How a message is tracked. Fixed at acceptance, so that every retry on any node renders the same bytes.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Tracking {
    /// Add a pixel.
    pub opens: bool,
    /// Rewrite links.
    pub clicks: bool,
    /// Base of tracked URLs, without a final slash: `https://track.example.com`. Empty: untracked.
    pub base_url: String,
    /// Which key of the ring seals the tokens.
    pub key_id: u8,
    /// Leave links alone that let their holder in.
    #[serde(default, skip_serializing_if = "is_false")]
    pub spares_secrets: bool,
    /// Rewrite the links of plain text too.
    #[serde(default, skip_serializing_if = "is_false")]
    pub text_links: bool,
    /// The pixel stands at the top of the body.
    #[serde(default, skip_serializing_if = "is_false")]
    pub pixel_on_top: bool,
    /// Beside the pixel stands a link that no reader sees.
    #[serde(default, skip_serializing_if = "is_false")]
    pub hidden_link: bool,
    /// Hosts whose links stay as they are.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub skip_hosts: Vec<String>,
}

fn is_false(value: &bool) -> bool {
    !value
}

/// What the submitter wants of TLS on the way (RFC 8689).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum TlsWish {
    /// What the way and the recipient's domain have it.
    #[default]
    Usual,
    /// `REQUIRETLS`: proved and encrypted on every leg, or not at all.
    Required,
    /// `TLS-Required: No`: it shall arrive, whatever policies say.
    Waived,
}

impl TlsWish {
    fn is_usual(&self) -> bool {
        *self == TlsWish::Usual
    }
}

/// What is known about a message. Kept as JSON text and never queried; columns exist for what is searched.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Facts {
    /// `From`.
    pub from: Mailbox,
    /// `To`.
    pub to: Vec<Mailbox>,
    /// `Cc`.
    pub cc: Vec<Mailbox>,
    /// Recipients that no header names.
    pub bcc: Vec<Mailbox>,
    /// `Reply-To`.
    pub reply_to: Vec<Mailbox>,
    /// `Subject`, decoded.
    pub subject: String,
    /// `Message-ID` without angle brackets; `email_reference` of the payloads.
    pub email_reference: String,
    /// What the send call answered; the same in every payload about it.
    pub request_id: String,
    /// The submitter's own reference; empty for none.
    pub client_reference: String,
    /// The bounce address that payloads show.
    pub bounce_address: String,
    /// The submitter's tags.
    pub tags: Vec<String>,
    /// The submitter's metadata, in the order given.
    pub metadata: Map<String, Value>,
    /// It gets a `List-Unsubscribe` of one click.
    #[serde(skip_serializing_if = "is_false")]
    pub list_unsubscribe: bool,
    /// When it was to be sent, if later than it was accepted.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub send_at: Option<Timestamp>,
    /// How it is tracked.
    pub tracking: Tracking,
    /// Recipients, by their place in the envelope, that are not to be tracked all the same.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub untracked: Vec<u16>,
    /// What is wanted of TLS.
    #[serde(skip_serializing_if = "TlsWish::is_usual")]
    pub tls: TlsWish,
    /// Who is to be told by mail what became of it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub dsn: Option<Box<DsnRequest>>,
    /// It is such a mail itself: it leaves with the null sender, and nobody is told what became of it.
    #[serde(skip_serializing_if = "is_false")]
    pub is_report: bool,
    /// As what it was handed in.
    #[serde(skip_serializing_if = "Way::is_mail")]
    pub way: Way,
    /// It does not leave the machine: its mail agent was in the sandbox when it was accepted.
    #[serde(skip_serializing_if = "is_false")]
    pub is_sandboxed: bool,
}

/// One accepted submission.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Message {
    /// Its id.
    pub id: MessageId,
    /// Whose.
    pub tenant: TenantId,
    /// Whose, within the tenant.
    pub agent: AgentId,
    /// `mailagent_key` of that agent.
    pub agent_key: String,
    /// Through which door it came.
    pub source: Source,
    /// When it was accepted.
    pub accepted_at: Timestamp,
    /// What is known about it.
    pub facts: Facts,
    /// Size of the content in bytes.
    pub size_bytes: u64,
}

/// What acceptance decided for one recipient.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Fate {
    /// To be delivered, from this time on.
    Queued {
        /// When the first attempt is due.
        due_at: Timestamp,
    },
    /// Not to be attempted.
    Suppressed {
        /// Why the address is left alone.
        reason: Reason,
        /// The same for people, with what stands on whose list.
        diagnostic: String,
    },
}

/// One recipient of a plan.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PlannedDelivery {
    /// Which copy.
    pub id: DeliveryId,
    /// To whom.
    pub address: Address,
    /// What acceptance decided.
    pub fate: Fate,
    /// After this time it is given up.
    pub expires_at: Timestamp,
}

/// Everything that acceptance makes durable in one transaction.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Plan {
    /// The message.
    pub message: Message,
    /// The mail as it will be rendered from: header and body, CRLF line ends.
    pub content: bytes::Bytes,
    /// One entry a recipient, at least one, in the order of the envelope.
    pub deliveries: Vec<PlannedDelivery>,
    /// What acceptance tells the world: `sent`, or `failed` for suppressed recipients.
    pub events: Vec<Event>,
}

impl Plan {
    /// A mail of our own to one recipient, due at once and tried for so long; nobody is told of it.
    pub fn of_ours(message: Message, content: bytes::Bytes, to: Address, lifetime: Duration) -> Self {
        let delivery = PlannedDelivery {
            id: DeliveryId { message: message.id, recipient: 0 },
            address: to,
            fate: Fate::Queued { due_at: message.accepted_at },
            expires_at: message.accepted_at + lifetime,
        };
        Self { message, content, deliveries: vec![delivery], events: Vec::new() }
    }
}

/// A mail of our own that tells of an event: written with it, and, if the event was told before, not at all.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Letter {
    /// Of what it tells; `None` when it is to be written whether or not that was told before.
    pub event: Option<EventId>,
    /// The mail. Its content is small enough for a row.
    pub plan: Arc<Plan>,
}
