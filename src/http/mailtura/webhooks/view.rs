//! A webhook as this API shows it. Secrets are told once, by the answer that made them; header values by none.

use serde_json::{Map, Value};

use super::super::super::shape::{Nullable, When, Word, answer};
use super::MASK;
use crate::model::event::{EventKind, EventSet};
use crate::model::tenant::MailAgent;
use crate::model::time::Timestamp;
use crate::model::webhook::{self, Format, Hits, Switch};
use crate::model::webhook_health;
use crate::model::webhook_key::WebhookKey;
use crate::model::webhook_options::TIMEOUT_SECS;

answer! {
    /// A webhook.
    pub(in super::super) struct Webhook {
        /// Its id.
        id "id": String,
        /// Where it is posted to.
        url "url": String,
        /// Which events it is told of.
        events "events": Vec<&'static str>,
        /// Whether it is told anything.
        enabled "enabled": bool,
        /// Who switched it off: `owner` or `postback`.
        disabled_by "disabledBy": Option<&'static str>,
        /// How it is: `ok`, `failing`, `paused`, `switched_off` or `off`.
        state "state": &'static str,
        /// What bodies are signed with; only in the answer that made it.
        secret "secret": Option<String>,
        /// What receivers verify with, where bodies are signed with a `whsk_` key.
        public_key "publicKey": Option<String>,
        /// The secret before, during a rotation.
        old_secret "oldSecret": Option<OldSecret>,
        /// In whose format.
        format "format": Word<Format>,
        /// What people call it.
        description "description": String,
        /// Of which mail agent's mail; null for all.
        mail_agent "mailAgent": Nullable<String>,
        /// Which opens and clicks.
        hits "hits": Word<Hits>,
        /// Only events about mail with one of these tags; none for all.
        tags "tags": Vec<String>,
        /// The form field of the format `transmail`.
        form_field "formField": String,
        /// Further header fields of each request; their values are not shown.
        headers "headers": Map<String, Value>,
        /// A retry keeps the first attempt's `timestamp`.
        keeps_timestamp "keepsTimestamp": bool,
        /// Requests at one time; null for as many as the installation says.
        at_once "atOnce": Nullable<u16>,
        /// Requests a second; null for as many as there are.
        per_second "perSecond": Nullable<u16>,
        /// Seconds that the receiver has for its whole answer.
        timeout "timeoutSeconds": u16,
        /// An event waits until those before it about the same message have arrived or been given up.
        in_order "inOrder": bool,
        /// Events that are due together go in one request, as a JSON array.
        batch "batch": bool,
        /// Who is told by mail when it fails for long or is switched off.
        notify "notify": Vec<String>,
        /// Whether who answers over TLS must show to be it; an operator may have switched that off.
        verifies_tls "verifyTls": bool,
        /// PEM of a root that the receiver's certificate comes from; empty for the usual ones.
        ca "ca": String,
        /// PEM of the certificate that is shown to the receiver; empty for none.
        client_certificate "clientCertificate": String,
        /// How it fares, when it fails.
        health "health": Option<WebhookHealth>,
        /// When it was added.
        created_at "createdAt": When,
        /// Who made it: a person's address, or the id of a key; null when that is not known.
        created_by "createdBy": Nullable<String>,
        /// When it was changed last.
        updated_at "updatedAt": When,
        /// Who changed it last; null when nobody has, or that is not known.
        updated_by "updatedBy": Nullable<String>,
    }
}

answer! {
    /// The secret before, during a rotation.
    pub(in super::super) struct OldSecret {
        /// Until when it is good.
        expires_at "expiresAt": When,
        /// Whether requests that carry one signature are still signed with it.
        signs_alone "signsAlone": bool,
    }
}

answer! {
    /// How a webhook fares that fails, or did a moment ago.
    pub(in super::super) struct WebhookHealth {
        /// Nothing has arrived since.
        failing_since "failingSince": Option<When>,
        /// Failures since then.
        failures "failures": u32,
        /// The last failure.
        last_failure_at "lastFailureAt": Option<When>,
        /// What it was, in a word.
        last_error "lastError": String,
        /// Nothing is posted before.
        paused_until "pausedUntil": Option<When>,
    }
}

/// Whether an answer tells the secret.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Telling {
    Secret,
    NoSecret,
}

/// What is shown besides a webhook itself.
#[derive(Clone, Copy)]
pub(super) struct Context<'w> {
    /// The tenant's mail agents, for their names.
    pub(super) agents: &'w [MailAgent],
    /// How it fares.
    pub(super) health: Option<&'w webhook_health::Health>,
    pub(super) now: Timestamp,
}

pub(super) fn shown(webhook: &webhook::Webhook, context: Context<'_>, telling: Telling) -> Webhook {
    let Context { agents, health, now } = context;
    let agent = webhook.agent.and_then(|id| agents.iter().find(|agent| agent.id == id));
    let old_secret = webhook.old_secret.as_ref().filter(|old| now < old.until);
    Webhook {
        id: webhook.id.to_string(),
        url: webhook.url.clone(),
        events: event_words(webhook.events),
        enabled: webhook.switch == Switch::On,
        disabled_by: match webhook.switch {
            Switch::On => None,
            Switch::OffByOwner | Switch::Draft => Some("owner"),
            Switch::OffByUs => Some("postback"),
        },
        state: state(webhook, health, now),
        secret: (telling == Telling::Secret).then(|| webhook.secret.reveal().to_owned()),
        public_key: WebhookKey::of(webhook.secret.reveal()).map(|key| key.public()),
        old_secret: old_secret.map(|old| OldSecret { expires_at: When(old.until), signs_alone: old.signs_alone }),
        format: Word(webhook.format),
        description: webhook.description.clone(),
        mail_agent: Nullable(agent.map(|agent| agent.name.clone())),
        hits: Word(webhook.hits),
        tags: webhook.tags.clone(),
        form_field: webhook.form_field.clone(),
        headers: webhook.headers.iter().map(|(name, _)| (name.clone(), MASK.into())).collect(),
        keeps_timestamp: webhook.keeps_timestamp,
        at_once: Nullable(webhook.options.at_once),
        per_second: Nullable(webhook.options.per_second),
        timeout: webhook.options.timeout_secs.unwrap_or(TIMEOUT_SECS),
        in_order: webhook.options.in_order,
        batch: webhook.options.batch,
        notify: webhook.options.notify.clone(),
        verifies_tls: !webhook.options.believes_anybody,
        ca: webhook.options.ca.clone(),
        client_certificate: webhook.options.client_certificate.clone(),
        health: health.filter(|health| health.failing_since.is_some()).map(|health| fares(health, now)),
        created_at: When(webhook.created_at),
        created_by: Nullable::of(webhook.authors.created_by.clone()),
        updated_at: When(webhook.updated_at),
        updated_by: Nullable::of(webhook.authors.updated_by.clone()),
    }
}

fn fares(health: &webhook_health::Health, now: Timestamp) -> WebhookHealth {
    WebhookHealth {
        failing_since: health.failing_since.map(When),
        failures: health.failures,
        last_failure_at: health.last_failure_at.map(When),
        last_error: health.last_error.clone(),
        paused_until: health.paused_until.filter(|until| now < *until).map(When),
    }
}

/// How a webhook is, in a word.
fn state(webhook: &webhook::Webhook, health: Option<&webhook_health::Health>, now: Timestamp) -> &'static str {
    match (webhook.switch, health) {
        (Switch::OffByOwner | Switch::Draft, _) => "off",
        (Switch::OffByUs, _) => "switched_off",
        (Switch::On, Some(health)) if health.is_paused(now) => "paused",
        (Switch::On, Some(health)) if health.failing_since.is_some() => "failing",
        (Switch::On, _) => "ok",
    }
}

/// The words of these events, `bounced` for both kinds of bounce.
pub(super) fn event_words(events: EventSet) -> Vec<&'static str> {
    use EventKind as Kind;
    let both = events.has(Kind::HardBounced) && events.has(Kind::SoftBounced);
    let order = [Kind::Sent, Kind::Delivered, Kind::Opened, Kind::Clicked, Kind::HardBounced, Kind::SoftBounced];
    let order = order.into_iter().chain([Kind::Complained, Kind::Failed, Kind::Deferred, Kind::Delayed]);
    let order = order.chain([Kind::OpenReclassified, Kind::ClickReclassified]);
    let order = order.chain([Kind::WebhookFailing, Kind::WebhookDisabled, Kind::SecretRotated]);
    let order = order.chain([Kind::WebhookExhausted, Kind::WebhookRecovered, Kind::DailyWarning]);
    let words = order.filter(|kind| events.has(*kind)).map(|kind| match kind {
        Kind::HardBounced | Kind::SoftBounced if both => "bounced",
        Kind::WebhookFailing => "webhook.failing",
        Kind::WebhookDisabled => "webhook.disabled",
        Kind::SecretRotated => "webhook.secret_rotated",
        Kind::WebhookExhausted => "webhook.exhausted",
        Kind::WebhookRecovered => "webhook.recovered",
        Kind::DailyWarning => "mail_agent.daily_warning",
        other => other.as_str(),
    });
    let mut words: Vec<&'static str> = words.collect();
    words.dedup();
    words
}
