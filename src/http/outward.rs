//! What this door asks of those who tell webhooks, and does not know itself: where we may connect to, which certificates
//! can be used, what a request looks like. `app` hands in who knows.

use std::pin::Pin;
use std::time::Duration;

use bytes::Bytes;
use serde_json::Value;

use crate::model::event::Event;
use crate::model::message::Message;
use crate::model::time::Timestamp;
use crate::model::webhook::Webhook;
use crate::model::webhook_attempt::{self, Attempted, Posted, Version};

/// Which part of a webhook cannot be used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Part {
    /// Where it leads.
    Url,
    /// The roots that it brings.
    Ca,
    /// The certificate that we are to show.
    ClientCertificate,
    /// Its key.
    ClientKey,
}

/// A webhook that cannot be used as it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unusable {
    /// What of it.
    pub part: Part,
    /// Why, for people.
    pub why: String,
}

/// The request that tells a webhook of an event.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Told {
    /// All headers but those that frame the request.
    pub headers: Vec<(String, String)>,
    /// The body.
    pub body: Bytes,
}

/// A request that was posted, made again.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Again<'v> {
    /// The webhook as it was.
    pub webhook: &'v Webhook,
    /// The request.
    pub told: Told,
    /// Whether it is known to be what was posted.
    pub is_exact: bool,
}

/// How long before it starts an attempt may have learned what its webhook is.
pub const LEARNED_BEFORE: Duration = Duration::from_secs(3600);
/// Versions that are tried for one attempt.
const TRIED_MAX: usize = 20;

impl<'v> Again<'v> {
    /// Of the versions of a webhook, oldest first and `current` last, the one that makes what an attempt posted; or the
    /// one of its time, if none does.
    pub fn of(
        current: &'v Webhook,
        versions: &'v [Version],
        attempt: &Attempted,
        tell: impl Fn(&Webhook) -> Told,
    ) -> Self {
        let stood = |version: &&Version, at| version.until.is_none_or(|until| at < until);
        let of_its_time = versions.iter().filter(|version| stood(version, attempt.started_at - LEARNED_BEFORE));
        for Version { webhook, .. } in of_its_time.take(TRIED_MAX) {
            let told = tell(webhook);
            let headers = told.headers.iter().map(|(name, value)| (name.as_str(), value.as_str()));
            if webhook_attempt::digest(webhook, headers, &told.body) == attempt.trace.sent {
                return Self { webhook, told, is_exact: true };
            }
        }
        let stood_then = versions.iter().find(|version| stood(version, attempt.started_at));
        let webhook = stood_then.map_or(current, |version| &version.webhook);
        Self { webhook, told: tell(webhook), is_exact: false }
    }
}

/// An answer that is waited for.
pub type Admitted<'w> = Pin<Box<dyn Future<Output = Result<String, Unusable>> + Send + 'w>>;

/// Who tells webhooks.
pub trait Outward: Send + Sync {
    /// Whether a webhook can be used as it is: its URL, as it will be used. DNS is asked.
    fn admit<'w>(&'w self, webhook: &'w Webhook) -> Admitted<'w>;
    /// The request that tells this at this time, or told it when the webhook was as it is now.
    fn told(&self, webhook: &Webhook, posted: &Posted, at: Timestamp) -> Told;
    /// What Mailtura's webhooks are told of an event: the same is told to those who fetch it.
    fn shown(&self, event: &Event, message: &Message) -> Value;
}
