//! Telling a webhook again what has happened: which events, and how far that has come.

use serde::{Deserialize, Serialize};

use super::event::{Event, EventSet};
use super::id::{ReplayId, TenantId, WebhookId};
use super::time::Timestamp;
use super::webhook::{DispatchState, Webhook};

/// Events a second when nobody says otherwise.
pub const PER_SECOND: u16 = 100;
/// Events a second at most.
pub const PER_SECOND_MAX: u16 = 1000;

/// What became of an event, as far as one webhook goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Fate {
    /// It arrived.
    Arrived,
    /// All attempts failed.
    Exhausted,
    /// It was never owed: the webhook was not there yet, was off, or did not want it then.
    Missed,
}

impl Fate {
    /// The fate with this word.
    pub fn from_word(word: &str) -> Option<Self> {
        match word {
            "arrived" => Some(Fate::Arrived),
            "exhausted" => Some(Fate::Exhausted),
            "missed" => Some(Fate::Missed),
            _ => None,
        }
    }

    /// The fate of an event that is owed in this state; `None` while it is not decided.
    pub fn of(state: Option<DispatchState>) -> Option<Self> {
        match state {
            None => Some(Fate::Missed),
            Some(DispatchState::Arrived) => Some(Fate::Arrived),
            Some(DispatchState::Exhausted) => Some(Fate::Exhausted),
            Some(DispatchState::Queued) => None,
        }
    }
}

/// Which events. Kept as JSON.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Filter {
    /// That happened from then on,
    pub from: Timestamp,
    /// and before then;
    pub to: Timestamp,
    /// of these kinds (bits of `EventSet`);
    pub kinds: u32,
    /// that met one of these fates;
    pub fates: Vec<Fate>,
    /// about mail with this tag, if one is named;
    #[serde(default)]
    pub tag: Option<String>,
    /// to this address, if one is named.
    #[serde(default)]
    pub recipient: Option<String>,
}

impl Filter {
    /// Whether an event is to be told again to a webhook, whose choice of mail agent, opens and clicks holds here too.
    pub fn takes(&self, webhook: &Webhook, event: &Event, fate: Option<Fate>, tags: &[String]) -> bool {
        (self.from..self.to).contains(&event.at)
            && !event.is_test
            && EventSet(self.kinds).has(event.kind)
            && fate.is_some_and(|fate| self.fates.contains(&fate))
            && webhook.agent.is_none_or(|agent| agent == event.agent)
            && webhook.hits.relay() & event.relay != 0
            && (webhook.tags.is_empty() || tags.iter().any(|tag| webhook.tags.contains(tag)))
            && self.tag.as_ref().is_none_or(|tag| tags.contains(tag))
            && self.recipient.as_ref().is_none_or(|address| address.eq_ignore_ascii_case(&event.recipient))
    }
}

/// How far a replay has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ReplayState {
    /// It goes on.
    Running,
    /// All events have been looked at; those that it took are queued, or have been told.
    Done,
    /// Somebody ended it. What it had queued stays so.
    Cancelled,
}

impl ReplayState {
    /// Its word, as stored and shown.
    pub const fn as_str(self) -> &'static str {
        match self {
            ReplayState::Running => "running",
            ReplayState::Done => "done",
            ReplayState::Cancelled => "cancelled",
        }
    }

    /// The state with this word.
    pub fn from_word(word: &str) -> Option<Self> {
        let all = [ReplayState::Running, ReplayState::Done, ReplayState::Cancelled];
        all.into_iter().find(|state| state.as_str() == word)
    }
}

/// Events being told again to a webhook.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Replay {
    /// Its id.
    pub id: ReplayId,
    /// To whom.
    pub webhook: WebhookId,
    /// Whose.
    pub tenant: TenantId,
    /// Which events.
    pub filter: Filter,
    /// How many a second are queued.
    pub per_second: u16,
    /// How far it has come.
    pub state: ReplayState,
    /// Events up to this time have been looked at.
    pub reached: Timestamp,
    /// Events looked at.
    pub seen: u64,
    /// Events queued.
    pub queued: u64,
    /// When it was asked for.
    pub created_at: Timestamp,
    /// When it ended.
    pub ended_at: Option<Timestamp>,
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::event::{Detail, EventKind, relay};
    use crate::model::id::{AgentId, DeliveryId, EventId, MessageId};
    use crate::model::webhook::Hits;

    #[test]
    fn what_a_filter_takes() {
        let (now, tenant) = (Timestamp::from_millis(1000), TenantId::from_bytes([1; 16]));
        let webhook = || Webhook::new(WebhookId::from_bytes([2; 16]), tenant, "https://example.com/", now);
        let event = Event {
            id: EventId::from_bytes([3; 16]),
            delivery: DeliveryId { message: MessageId::from_bytes([4; 16]), recipient: 0 },
            tenant,
            agent: AgentId::from_bytes([5; 16]),
            kind: EventKind::Sent,
            ordinal: 0,
            at: now,
            recipient: "Reader@example.com".into(),
            detail: Detail::Sent,
            relay: relay::FIRST,
            relay_at: now,
            is_test: false,
        };
        let filter = || Filter {
            from: now,
            to: Timestamp::from_millis(1001),
            kinds: EventKind::Sent.bit(),
            fates: vec![Fate::Exhausted],
            tag: None,
            recipient: None,
        };
        let check = |filter: Filter, webhook: Webhook, fate, expected| {
            assert_eq!(filter.takes(&webhook, &event, fate, &["a".to_owned()]), expected, "{filter:?} {webhook:?}");
        };
        let exhausted = Some(Fate::Exhausted);
        check(filter(), webhook(), exhausted, true);
        check(filter(), webhook(), Some(Fate::Missed), false);
        check(filter(), webhook(), None, false);
        check(Filter { to: now, ..filter() }, webhook(), exhausted, false);
        check(Filter { kinds: EventKind::Opened.bit(), ..filter() }, webhook(), exhausted, false);
        check(
            Filter { tag: Some("a".into()), recipient: Some("reader@EXAMPLE.com".into()), ..filter() },
            webhook(),
            exhausted,
            true,
        );
        check(Filter { tag: Some("b".into()), ..filter() }, webhook(), exhausted, false);
        check(Filter { recipient: Some("x@example.com".into()), ..filter() }, webhook(), exhausted, false);
        check(filter(), Webhook { agent: Some(AgentId::from_bytes([6; 16])), ..webhook() }, exhausted, false);
        check(filter(), Webhook { hits: Hits::Persons, ..webhook() }, exhausted, false);
        check(filter(), Webhook { tags: vec!["b".into()], ..webhook() }, exhausted, false);
    }
}
