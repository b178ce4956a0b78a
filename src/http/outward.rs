//! What this door asks of those who tell webhooks, and does not know itself: where we may connect to, which certificates
//! can be used, what a request looks like. `app` hands in who knows.

use std::pin::Pin;

use bytes::Bytes;
use serde_json::Value;

use crate::model::event::Event;
use crate::model::message::Message;
use crate::model::time::Timestamp;
use crate::model::webhook::Webhook;

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

/// An answer that is waited for.
pub type Admitted<'w> = Pin<Box<dyn Future<Output = Result<(), Unusable>> + Send + 'w>>;

/// Who tells webhooks.
pub trait Outward: Send + Sync {
    /// Whether a webhook can be used as it is. DNS is asked.
    fn admit<'w>(&'w self, webhook: &'w Webhook) -> Admitted<'w>;
    /// The request that attempt number `attempt` at this time makes, or made when the webhook was as it is now.
    fn told(&self, webhook: &Webhook, event: &Event, message: &Message, attempt: u32, at: Timestamp) -> Told;
    /// What Mailtura's webhooks are told of an event: the same is told to those who fetch it.
    fn shown(&self, event: &Event, message: &Message) -> Value;
}
