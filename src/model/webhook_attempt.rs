//! What is kept of one attempt to tell a webhook: whom it reached, how long each part took, what was answered.
//!
//! Written by `webhooks`, kept by `store`, shown by `http`, the command line and the console. What was sent is not kept:
//! it is made again from event, message, webhook (as it was then) and attempt. A digest tells whether that gave the same.

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use super::event::Event;
use super::id::EventId;
use super::message::Message;
use super::time::Timestamp;
use super::webhook::Webhook;

/// Bytes of an answer's headers that are kept.
pub const HEADERS_KEPT_BYTES_MAX: usize = 4 * 1024;
/// Bytes of the body of an answer of 2xx that are kept; of others all that was read.
pub const ARRIVED_BODY_KEPT_BYTES_MAX: usize = 1024;

/// How long each part of an attempt took, in microseconds; `None` for what did not happen or did not end.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Phases {
    /// The look-up.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub dns: Option<u64>,
    /// The connection.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub connect: Option<u64>,
    /// The TLS handshake.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tls: Option<u64>,
    /// From the start of all to the headers of the answer.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub head: Option<u64>,
    /// Everything.
    pub total: u64,
}

/// How an attempt went. Kept as JSON; every field has a default.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Trace {
    /// Where it went.
    pub url: String,
    /// The address that was connected to; empty when there was no connection.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub peer: String,
    /// The connection had been used before.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub is_reused: bool,
    /// Version and cipher of TLS; empty without.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub tls: String,
    /// Only an exception of the operator's leads there: nothing is kept of the answer but its status.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub is_exception: bool,
    /// How long each part took.
    pub phases: Phases,
    /// What went wrong, in plain words; empty when nothing did.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub why: String,
    /// Headers of the answer, cut.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub headers: Vec<(String, String)>,
    /// The first of the body, as text.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub body: String,
    /// The events that went in the same request, this one included, when they were several.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub together: Option<u32>,
    /// Those that followed in it, in their order; of the event that stood first.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub followed_by: Vec<EventId>,
    /// The event that stood first, and which attempt that was; of those that followed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub led_by: Option<(EventId, u32)>,
    /// [`digest`] of the request.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub sent: String,
}

/// What a request tells: several events where they go together.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Posted {
    /// Which attempt, at the event that stands first.
    pub number: u32,
    /// The events in their order, each with its message.
    pub told: Vec<(Event, Message)>,
}

/// What stands in the place of a header's value that its owner has set, which may be secret.
pub const MASK: &str = "***";

/// A header of a request as it is shown.
pub fn shown_value<'h>(webhook: &Webhook, name: &str, value: &'h str) -> &'h str {
    let is_own = webhook.headers.iter().any(|(own, _)| own.eq_ignore_ascii_case(name));
    if is_own { MASK } else { value }
}

/// Tells a request from every other, as far as people see it: its headers in order, and its body.
pub fn digest<'h>(webhook: &Webhook, headers: impl Iterator<Item = (&'h str, &'h str)>, body: &[u8]) -> String {
    let mut digest = Sha256::new();
    for (name, value) in headers {
        digest.update(name);
        digest.update([0]);
        digest.update(shown_value(webhook, name, value));
        digest.update([0]);
    }
    digest.update([0]);
    digest.update(body);
    digest.finalize().iter().take(16).map(|byte| format!("{byte:02x}")).collect()
}

/// A webhook as it was, signing what it told of one mail agent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Version {
    /// As it was.
    pub webhook: Webhook,
    /// Until when; `None`: it still is.
    pub until: Option<Timestamp>,
}

/// One attempt at a dispatch.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Attempted {
    /// The how-manieth, counted from 1.
    pub number: u32,
    /// When it began.
    pub started_at: Timestamp,
    /// The receiver's status, when it answered.
    pub status: Option<u16>,
    /// What went wrong, in a word of a closed list; `None` when the event arrived.
    pub error: Option<String>,
    /// When the next attempt was due, if one was.
    pub next_at: Option<Timestamp>,
    /// How it went.
    pub trace: Trace,
}
