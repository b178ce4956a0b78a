//! Subscriptions to events, and the fate of one event owed to one of them.
//!
//! | dispatch state | due_at | lease | left by |
//! |---|---|---|---|
//! | queued | when to try next | none | lease |
//! | queued | when the lease ends | held | settle, or the lease's end |
//! | arrived | none | none | final; a replay queues it again |
//! | exhausted | none | none | a replay |
//!
//! A webhook switched off by its owner keeps its queued dispatches and gets no new ones; one switched off by us
//! keeps and gets them. Neither is leased while it is off. Tests are leased whatever the switch says.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::author::Authors;
use super::event::{EventSet, relay};
use super::id::{AgentId, EventId, TenantId, WebhookId};
use super::retry;
use super::secret::Secret;
use super::time::Timestamp;
use super::webhook_key::is_private;
use super::webhook_options::{FORM_FIELD, Options};

/// Body and headers that a webhook gets.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum Format {
    /// JSON with `X-Mailtura-Signature`.
    #[default]
    #[serde(rename = "mailtura")]
    Mailtura,
    /// A form with one field, and `producer-signature`.
    #[serde(rename = "transmail")]
    Transmail,
    /// The same JSON as a raw body, and `producer-signature`.
    #[serde(rename = "transmail-json")]
    TransmailJson,
}

impl Format {
    /// Its word, as stored and in the API.
    pub const fn as_str(self) -> &'static str {
        match self {
            Format::Mailtura => "mailtura",
            Format::Transmail => "transmail",
            Format::TransmailJson => "transmail-json",
        }
    }

    /// Whether the authentication key of a mail agent can sign it.
    pub const fn takes_key_of_agent(self) -> bool {
        matches!(self, Format::Transmail | Format::TransmailJson)
    }

    /// The format with this word.
    pub fn from_word(word: &str) -> Option<Self> {
        [Format::Mailtura, Format::Transmail, Format::TransmailJson].into_iter().find(|format| format.as_str() == word)
    }
}

/// Which opens and clicks a webhook gets.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Hits {
    /// The first open and the first click per link of each recipient that is not a scanner's, and the first by a
    /// person when that comes later.
    #[default]
    First,
    /// The first by a person only.
    Persons,
    /// Every one.
    All,
}

impl Hits {
    /// Its word, as stored and in the API.
    pub const fn as_str(self) -> &'static str {
        match self {
            Hits::First => "first",
            Hits::Persons => "persons",
            Hits::All => "all",
        }
    }

    /// The choice with this word.
    pub fn from_word(word: &str) -> Option<Self> {
        [Hits::First, Hits::Persons, Hits::All].into_iter().find(|hits| hits.as_str() == word)
    }

    /// The bits of [`relay`] that it answers to.
    pub const fn relay(self) -> u32 {
        match self {
            Hits::First => relay::FIRST,
            Hits::Persons => relay::FIRST_PERSON,
            Hits::All => relay::EVERY,
        }
    }
}

/// Whether a webhook is on, and who switched it off.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Switch {
    /// On.
    On,
    /// Off by its owner: nothing new is queued for it.
    OffByOwner,
    /// Off by us, since the receiver is gone or answered 410: everything is kept and queued.
    OffByUs,
    /// Not there but to be tested: nobody sees it, nothing is queued for it, and it goes when its test has ended.
    Draft,
}

impl Switch {
    /// Its word, as stored.
    pub const fn as_str(self) -> &'static str {
        match self {
            Switch::On => "on",
            Switch::OffByOwner => "off_by_owner",
            Switch::OffByUs => "off_by_us",
            Switch::Draft => "draft",
        }
    }

    /// The switch with this word.
    pub fn from_word(word: &str) -> Option<Self> {
        let all = [Switch::On, Switch::OffByOwner, Switch::OffByUs, Switch::Draft];
        all.into_iter().find(|switch| switch.as_str() == word)
    }
}

/// The secret before the one in use. Receivers are given time to learn the new one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OldSecret {
    /// The secret.
    pub secret: Secret,
    /// From then on it counts for nothing.
    pub until: Timestamp,
    /// Where a request carries one signature only, it is still made with this secret.
    pub signs_alone: bool,
}

/// A subscription to events.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Webhook {
    /// Its id.
    pub id: WebhookId,
    /// Whose.
    pub tenant: TenantId,
    /// Only events of this mail agent; `None` for all of the tenant's.
    pub agent: Option<AgentId>,
    /// Where to.
    pub url: String,
    /// What people call it.
    pub description: String,
    /// Body and headers.
    pub format: Format,
    /// Which kinds of event.
    pub events: EventSet,
    /// Which opens and clicks.
    pub hits: Hits,
    /// Only events about mail with one of these tags; none: about any.
    pub tags: Vec<String>,
    /// Whether it is on.
    pub switch: Switch,
    /// The signing secret. Empty: the authentication key of the mail agent signs, see [`Self::takes_key_of_agent`].
    pub secret: Secret,
    /// The secret before, during a rotation.
    pub old_secret: Option<OldSecret>,
    /// Name of the form field (format `transmail`).
    pub form_field: String,
    /// Further headers, sent as they are.
    pub headers: Vec<(String, String)>,
    /// Keep Mailtura's `timestamp` at the event's time instead of the attempt's.
    pub keeps_timestamp: bool,
    /// How its requests are made beyond that.
    pub options: Options,
    /// PEM of the key of `options.client_certificate`; empty for none.
    pub client_key: Secret,
    /// When it was added.
    pub created_at: Timestamp,
    /// When it was last changed.
    pub updated_at: Timestamp,
    /// Who made it, and who changed it last.
    pub authors: Authors,
}

impl Webhook {
    /// One that is on, as yet without events and secret; everything else as it is unless somebody says otherwise.
    pub fn new(id: WebhookId, tenant: TenantId, url: impl Into<String>, now: Timestamp) -> Self {
        Self {
            id,
            tenant,
            agent: None,
            url: url.into(),
            description: String::new(),
            format: Format::default(),
            events: EventSet::default(),
            hits: Hits::default(),
            tags: Vec::new(),
            switch: Switch::On,
            secret: Secret::default(),
            old_secret: None,
            form_field: FORM_FIELD.to_owned(),
            headers: Vec::new(),
            keeps_timestamp: false,
            options: Options::default(),
            client_key: Secret::default(),
            created_at: now,
            updated_at: now,
            authors: Authors::default(),
        }
    }

    /// Whether its requests are made as another's are.
    pub fn posts_like(&self, other: &Self) -> bool {
        let keeps = self.keeps_timestamp == other.keeps_timestamp && self.options == other.options;
        let signs = self.secret == other.secret && self.old_secret == other.old_secret;
        let looks = self.format == other.format && self.form_field == other.form_field;
        keeps && signs && looks && self.url == other.url && self.headers == other.headers
    }

    /// Whether it signs with the authentication key of the mail agent that an event is of: TransMail's formats do, where
    /// they have no secret of their own.
    pub fn takes_key_of_agent(&self) -> bool {
        self.format.takes_key_of_agent() && self.secret.reveal().is_empty()
    }

    /// As it signs what it tells of a mail agent with this authentication key.
    pub fn signing_with(self, key: String) -> Self {
        if self.takes_key_of_agent() { Self { secret: Secret::new(key), ..self } } else { self }
    }

    /// Puts `fresh` in the place of the secret. Until `until` the old one counts as well, and signs where a request
    /// carries one signature only, unless [`Self::activate`] comes first. A rotation that is under way ends.
    pub fn rotate(&mut self, fresh: Secret, until: Timestamp) {
        let secret = std::mem::replace(&mut self.secret, fresh);
        self.old_secret =
            Some(OldSecret { secret, until, signs_alone: true }).filter(|old| !old.secret.reveal().is_empty());
    }

    /// The new secret signs from now on; where several signatures are listed the old one stays among them.
    pub fn activate(&mut self) {
        if let Some(old) = &mut self.old_secret {
            old.signs_alone = false;
        }
    }

    /// Whether there is anything to sign with at this time: nothing is posted unsigned.
    pub fn signs(&self, at: Timestamp) -> bool {
        let (secret, _) = self.signing_secrets(at);
        !secret.is_empty() && (self.format != Format::Transmail || !is_private(secret))
    }

    /// The secrets that sign at this time: first the one for requests with one signature, then the other, if any.
    pub fn signing_secrets(&self, at: Timestamp) -> (&str, Option<&str>) {
        match self.old_secret.as_ref().filter(|old| at < old.until) {
            Some(old) if old.signs_alone => (old.secret.reveal(), Some(self.secret.reveal())),
            Some(old) => (self.secret.reveal(), Some(old.secret.reveal())),
            None => (self.secret.reveal(), None),
        }
    }
}

/// Where a dispatch stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum DispatchState {
    /// Waiting for an attempt, or in one.
    Queued,
    /// The receiver answered 2xx.
    Arrived,
    /// All attempts failed; kept, and can be replayed.
    Exhausted,
}

impl DispatchState {
    /// Its word, as stored and printed.
    pub const fn as_str(self) -> &'static str {
        match self {
            DispatchState::Queued => "queued",
            DispatchState::Arrived => "arrived",
            DispatchState::Exhausted => "exhausted",
        }
    }

    /// The state with this word.
    pub fn from_word(word: &str) -> Option<Self> {
        [DispatchState::Queued, DispatchState::Arrived, DispatchState::Exhausted]
            .into_iter()
            .find(|state| state.as_str() == word)
    }
}

/// One event owed to one webhook.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct DispatchId {
    /// What is owed.
    pub event: EventId,
    /// To whom.
    pub webhook: WebhookId,
}

impl std::fmt::Display for DispatchId {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(out, "{}/{}", self.event, self.webhook)
    }
}

/// What one POST came to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Post {
    /// The receiver answered 2xx.
    Arrived {
        /// The status.
        status: u16,
    },
    /// It did not, or could not be reached.
    Failed {
        /// The status, when there was an answer.
        status: Option<u16>,
        /// A word of the closed list in `webhooks::client`: `connect_refused`, `http_status` …
        error: &'static str,
        /// `Retry-After`, when the answer had one.
        wait: Option<Duration>,
    },
    /// It answered that it will never take this one.
    Refused {
        /// The status.
        status: u16,
    },
    /// It answered 410, or that it is to be switched off: it wants no more.
    Gone,
}

/// What becomes of a dispatch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DispatchNext {
    /// It ends in this state.
    Ends(DispatchState),
    /// It waits until this time.
    Waits(Timestamp),
    /// It waits until this time, and its webhook is switched off by us.
    WaitsSwitchedOff(Timestamp),
}

impl DispatchNext {
    /// When the next attempt is due, if there is one.
    pub fn due_at(self) -> Option<Timestamp> {
        match self {
            DispatchNext::Ends(_) => None,
            DispatchNext::Waits(until) | DispatchNext::WaitsSwitchedOff(until) => Some(until),
        }
    }
}

/// `Retry-After` is obeyed up to here.
pub const RETRY_AFTER_MAX: Duration = Duration::from_secs(12 * 3600);

/// What a POST makes of a queued dispatch. `attempts` counts those since it was queued (again), the one that just ended
/// included.
pub fn after(id: DispatchId, attempts: u32, post: &Post, now: Timestamp) -> DispatchNext {
    let seed = retry::seed(id.event.as_bytes()) ^ retry::seed(id.webhook.as_bytes());
    let wait = retry::wait(retry::WEBHOOK, false, attempts.max(1), seed);
    match (post, wait) {
        (Post::Arrived { .. }, _) => DispatchNext::Ends(DispatchState::Arrived),
        (Post::Gone, wait) => DispatchNext::WaitsSwitchedOff(now + wait.unwrap_or(RETRY_AFTER_MAX)),
        (Post::Failed { .. }, None) | (Post::Refused { .. }, _) => DispatchNext::Ends(DispatchState::Exhausted),
        (Post::Failed { wait: wish, .. }, Some(own)) => {
            DispatchNext::Waits(now + own.max(wish.unwrap_or_default().min(RETRY_AFTER_MAX)))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ID: DispatchId = DispatchId { event: EventId::from_bytes([3; 16]), webhook: WebhookId::from_bytes([4; 16]) };

    fn failed(wait: Option<Duration>) -> Post {
        Post::Failed { status: Some(500), error: "http_status", wait }
    }

    #[test]
    fn sixteen_failures_exhaust() {
        let now = Timestamp::from_millis(0);
        for attempt in 1..=15 {
            assert!(matches!(after(ID, attempt, &failed(None), now), DispatchNext::Waits(_)), "{attempt}");
        }
        assert_eq!(after(ID, 16, &failed(None), now), DispatchNext::Ends(DispatchState::Exhausted));
        assert_eq!(after(ID, 16, &Post::Arrived { status: 200 }, now), DispatchNext::Ends(DispatchState::Arrived));
    }

    #[test]
    fn retry_after_lengthens_up_to_its_bound() {
        let now = Timestamp::from_millis(0);
        let wish = |secs| after(ID, 1, &failed(Some(Duration::from_secs(secs))), now);
        assert_eq!(wish(600), DispatchNext::Waits(now + Duration::from_secs(600)));
        assert_eq!(wish(1), after(ID, 1, &failed(None), now));
        assert_eq!(wish(9_999_999), DispatchNext::Waits(now + RETRY_AFTER_MAX));
    }

    #[test]
    fn gone_switches_the_webhook_off_and_keeps_the_dispatch() {
        let now = Timestamp::from_millis(0);
        assert!(matches!(after(ID, 1, &Post::Gone, now), DispatchNext::WaitsSwitchedOff(_)));
        assert!(matches!(after(ID, 16, &Post::Gone, now), DispatchNext::WaitsSwitchedOff(_)));
        assert_eq!(after(ID, 1, &Post::Refused { status: 400 }, now), DispatchNext::Ends(DispatchState::Exhausted));
    }

    #[test]
    fn a_rotation_overlaps_until_it_ends() {
        let (now, end) = (Timestamp::from_millis(0), Timestamp::from_millis(1000));
        let tenant = TenantId::from_bytes([1; 16]);
        let mut webhook = Webhook::new(ID.webhook, tenant, "https://example.com/", now);
        webhook.rotate(Secret::new("a"), end);
        assert_eq!(webhook.signing_secrets(now), ("a", None), "there was none before");
        webhook.rotate(Secret::new("b"), end);
        assert_eq!(webhook.signing_secrets(now), ("a", Some("b")));
        assert_eq!(webhook.signing_secrets(end), ("b", None));
        webhook.activate();
        assert_eq!(webhook.signing_secrets(now), ("b", Some("a")));
        webhook.rotate(Secret::new("c"), end);
        assert_eq!(webhook.signing_secrets(now), ("b", Some("c")));
    }
}
