//! Telling a webhook again: one event, or all that a filter takes, as a job with progress.

use hyper::StatusCode;

use super::super::super::operation::Call;
use super::super::super::problem::Problem;
use super::super::super::server::Answer;
use super::super::super::shape::{self, Count, Line, List, When, Word, answer, request, vocabulary};
use super::super::super::wire::{Flaw, Wrong};
use super::super::super::{json_answer, no_content, query};
use super::super::made;
use super::named;
use super::shapes::EventWord;
use super::view::event_words;
use crate::model::event::EventSet;
use crate::model::id::ReplayId;
use crate::model::replay::{self, Fate, Filter, PER_SECOND, PER_SECOND_MAX, ReplayState};
use crate::model::time::Timestamp;
use crate::model::webhook::{DispatchId, Webhook};

vocabulary! { Fate:
    "exhausted" Fate::Exhausted,
    "missed" Fate::Missed,
    "arrived" Fate::Arrived,
}

vocabulary! { ReplayState:
    "running" ReplayState::Running,
    "done" ReplayState::Done,
    "cancelled" ReplayState::Cancelled,
}

request! {
    /// What to tell a webhook again.
    pub(in super::super) struct NewReplay {
        /// What happened from then on,
        from "from": When,
        /// and before then; now unless given.
        to "to": Option<When>,
        /// Which events; those that the webhook is told of unless given.
        events "events": Option<List<EventWord, 1, 100>>,
        /// What became of them; `exhausted` and `missed` unless given.
        fates "fates": Option<List<Word<Fate>, 1, 3>>,
        /// Only about mail with this tag.
        tag "tag": Option<Line<1, 128>>,
        /// Only about mail to this address.
        recipient "recipient": Option<Line<3, 320>>,
        /// How many to queue a second; 100 unless given.
        per_second "perSecond": Option<Count<1, { PER_SECOND_MAX as u64 }>>,
    }
}

answer! {
    /// Events that are told again, and how far that has come.
    pub(in super::super) struct Replay {
        /// Its id.
        id "id": String,
        /// To whom.
        webhook_id "webhookId": String,
        /// How it stands.
        status "status": Word<ReplayState>,
        /// What happened from then on,
        from "from": When,
        /// and before then,
        to "to": When,
        /// of these kinds,
        events "events": Vec<&'static str>,
        /// and met one of these fates.
        fates "fates": Vec<Word<Fate>>,
        /// Only about mail with this tag.
        tag "tag": Option<String>,
        /// Only about mail to this address.
        recipient "recipient": Option<String>,
        /// How many are queued a second.
        per_second "perSecond": u16,
        /// What happened up to then has been looked at.
        reached "reached": When,
        /// How many events have been looked at.
        seen "seen": u64,
        /// How many have been queued.
        queued "queued": u64,
        /// When it was asked for.
        created_at "createdAt": When,
        /// When it ended.
        ended_at "endedAt": Option<When>,
    }
}

answer! {
    /// An event that is told again.
    pub(in super::super) struct ReplayedEvent {
        /// The event.
        event_id "eventId": String,
        /// How its dispatch stands: `queued`.
        state "state": &'static str,
    }
}

fn shown(replay: &replay::Replay) -> Replay {
    let Filter { from, to, kinds, fates, tag, recipient } = &replay.filter;
    let is_done = replay.state == ReplayState::Done;
    Replay {
        id: replay.id.to_string(),
        webhook_id: replay.webhook.to_string(),
        status: Word(replay.state),
        from: When(*from),
        to: When(*to),
        events: event_words(EventSet(*kinds)),
        fates: fates.iter().copied().map(Word).collect(),
        tag: tag.clone(),
        recipient: recipient.clone(),
        per_second: replay.per_second,
        reached: When(if is_done { *to } else { replay.reached.min(*to) }),
        seen: replay.seen,
        queued: replay.queued,
        created_at: When(replay.created_at),
        ended_at: replay.ended_at.map(When),
    }
}

/// `POST /api/v1/webhooks/{id}/dispatches/{event}/replay`.
pub(in super::super) async fn one(call: Call) -> Result<Answer, Problem> {
    let webhook = named(&call).await?;
    let nothing = Problem::NotFound("Event");
    let event = call.second_place().parse().map_err(|_| nothing.clone())?;
    let id = DispatchId { event, webhook: webhook.id };
    if !call.server.store().replay_dispatch(call.grant.tenant.id, id).await? {
        return Err(nothing);
    }
    Ok(json_answer(StatusCode::ACCEPTED, &ReplayedEvent { event_id: event.to_string(), state: "queued" }))
}

/// `POST /api/v1/webhooks/{id}/replays`.
pub(in super::super) async fn add(call: Call) -> Result<Answer, Problem> {
    let webhook = named(&call).await?;
    let now = call.server.clock().now();
    let wanted: NewReplay = shape::read(&call.body.bytes)?;
    let per_second = wanted.per_second.as_ref().and_then(|Count(count)| u16::try_from(*count).ok());
    let filter = filter(wanted, &webhook, now)?;
    let replay = replay::Replay {
        id: ReplayId::from_uuid(call.server.ids().uuid(now)),
        webhook: webhook.id,
        tenant: call.grant.tenant.id,
        reached: filter.from,
        filter,
        per_second: per_second.unwrap_or(PER_SECOND),
        state: ReplayState::Running,
        seen: 0,
        queued: 0,
        created_at: now,
        ended_at: None,
    };
    if !call.server.store().add_replay(&replay).await? {
        return Err(Problem::Conflict("A webhook can have at most 5 replays running"));
    }
    Ok(made(&shown(&replay), &format!("/api/v1/webhooks/{}/replays/{}", webhook.id, replay.id)))
}

fn filter(wanted: NewReplay, webhook: &Webhook, now: Timestamp) -> Result<Filter, Flaw> {
    let When(from) = wanted.from;
    let to = wanted.to.map_or(now, |When(to)| to);
    if to <= from {
        return Err(Flaw::at("/to", Wrong::Other("must be after from".into())));
    }
    let named = wanted.events.map(|List(words)| words.into_iter().flat_map(|word| word.kinds).copied().collect());
    let kinds: EventSet = named.unwrap_or(webhook.events);
    let fates = wanted.fates.map(|List(words)| words.into_iter().map(|Word(fate)| fate).collect());
    Ok(Filter {
        from,
        to,
        kinds: kinds.0,
        fates: fates.unwrap_or_else(|| vec![Fate::Exhausted, Fate::Missed]),
        tag: wanted.tag.map(|Line(tag)| tag),
        recipient: wanted.recipient.map(|Line(recipient)| recipient),
    })
}

async fn replay_named(call: &Call, webhook: &Webhook) -> Result<replay::Replay, Problem> {
    let nothing = Problem::NotFound("Replay");
    let id = call.second_place().parse().map_err(|_| nothing.clone())?;
    call.server.store().replay(webhook.id, id).await?.ok_or(nothing)
}

/// `GET /api/v1/webhooks/{id}/replays`, newest first.
pub(in super::super) async fn list(call: Call) -> Result<Answer, Problem> {
    let webhook = named(&call).await?;
    let limit = call.query.limit()?;
    let after = call.query.value::<ReplayId>("after", "replay id")?;
    let replays = call.server.store().replays(webhook.id, after, limit + 1).await?;
    let path = format!("/api/v1/webhooks/{}/replays", webhook.id);
    query::page((&path, &call.query), replays, |replay| replay.id.to_string(), |replay| shown(&replay))
}

/// `GET /api/v1/webhooks/{id}/replays/{replay}`.
pub(in super::super) async fn get(call: Call) -> Result<Answer, Problem> {
    let webhook = named(&call).await?;
    Ok(json_answer(StatusCode::OK, &shown(&replay_named(&call, &webhook).await?)))
}

/// `DELETE /api/v1/webhooks/{id}/replays/{replay}`: it ends; what it had queued is told.
pub(in super::super) async fn cancel(call: Call) -> Result<Answer, Problem> {
    let webhook = named(&call).await?;
    let replay = replay_named(&call, &webhook).await?;
    call.server.store().cancel_replay(webhook.id, replay.id).await?;
    Ok(no_content())
}
