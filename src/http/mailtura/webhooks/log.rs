//! What was posted to a webhook and what it answered; what waits for it, arrived, or was given up.

use hyper::StatusCode;
use serde_json::{Map, Value};

use super::super::super::operation::Call;
use super::super::super::problem::Problem;
use super::super::super::server::Answer;
use super::super::super::shape::{Nullable, When, Word, answer, vocabulary};
use super::super::super::wire::{Flaw, Wrong};
use super::super::super::{json_answer, query};
use super::named;
use super::trial::{RequestView, request_of};
use crate::http::outward::{Again, LEARNED_BEFORE};
use crate::model::id::EventId;
use crate::model::time::Timestamp;
use crate::model::webhook::{DispatchId, DispatchState, Webhook};
use crate::model::webhook_attempt::{self, Attempted, Phases};
use crate::store::dispatches::DispatchStanding;

vocabulary! { DispatchState:
    "queued" DispatchState::Queued,
    "arrived" DispatchState::Arrived,
    "exhausted" DispatchState::Exhausted,
}

/// Whether every attempt is asked for, or those that failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in super::super) enum Which {
    All,
    Failed,
}

vocabulary! { Which:
    "all" Which::All,
    "failed" Which::Failed,
}

answer! {
    /// How long each part of an attempt took, in microseconds; absent for what did not happen or did not end.
    pub(in super::super) struct AttemptTimings {
        /// The look-up.
        dns "dnsMicros": Option<u64>,
        /// The connection.
        connect "connectMicros": Option<u64>,
        /// The TLS handshake.
        tls "tlsMicros": Option<u64>,
        /// From the start of all to the headers of the answer.
        first_byte "firstByteMicros": Option<u64>,
        /// Everything.
        total "totalMicros": u64,
    }
}

answer! {
    /// What a receiver answered, cut.
    pub(in super::super) struct AttemptResponse {
        /// Its header fields.
        headers "headers": Map<String, Value>,
        /// The first of its body.
        body "body": String,
    }
}

answer! {
    /// One attempt to tell a webhook.
    pub(in super::super) struct Attempt {
        /// The event; in a list.
        event_id "eventId": Option<String>,
        /// The how-manieth, counted from 1.
        number "number": u32,
        /// When it began.
        started_at "startedAt": When,
        /// Whether the receiver took it.
        delivered "delivered": bool,
        /// What it answered; null when it did not.
        status_code "statusCode": Nullable<u16>,
        /// What went wrong, in a word of a closed list.
        error "error": Option<String>,
        /// What went wrong, in plain words.
        explanation "explanation": Option<String>,
        /// Where it went.
        url "url": String,
        /// The address that was connected to; empty when there was no connection.
        address "address": String,
        /// Version and cipher of TLS.
        tls "tls": Option<String>,
        /// Only an exception of the operator's leads there, so that no more is kept of the answer than its status; else absent.
        exception "operatorException": Option<bool>,
        /// Whether the connection had been used before.
        reused_connection "reusedConnection": bool,
        /// How long each part took.
        timings "timings": AttemptTimings,
        /// What was answered.
        response "response": AttemptResponse,
        /// How many events went in the same request, when they were several.
        together "together": Option<u32>,
        /// When the next attempt was due; null when none was.
        next_attempt_at "nextAttemptAt": Nullable<When>,
        /// What was posted; in the log of one event.
        request "request": Option<RequestView>,
    }
}

answer! {
    /// An event owed to a webhook, and how that stands.
    pub(in super::super) struct Dispatch {
        /// The event.
        event_id "eventId": String,
        /// How it stands.
        state "state": Word<DispatchState>,
        /// Attempts begun.
        attempts "attempts": u32,
        /// When the next is due; null when none is.
        next_attempt_at "nextAttemptAt": Nullable<When>,
        /// When it ended; null when it has not.
        settled_at "settledAt": Nullable<When>,
        /// The last answer; null when there was none.
        status_code "statusCode": Nullable<u16>,
        /// The last failure, in a word.
        error "error": Option<String>,
    }
}

answer! {
    /// An event owed to a webhook, with each attempt at it.
    pub(in super::super) struct DispatchLog {
        /// How it stands.
        dispatch "dispatch": Dispatch,
        /// Which event.
        event_type "eventType": &'static str,
        /// About whom.
        recipient "recipient": String,
        /// About which mail.
        email_id "emailId": Option<String>,
        /// Whether it was a test.
        test "test": bool,
        /// The attempts, in order, the first hundred.
        log "log": Vec<Attempt>,
    }
}

impl From<&Phases> for AttemptTimings {
    fn from(phases: &Phases) -> Self {
        let Phases { dns, connect, tls, head, total } = *phases;
        Self { dns, connect, tls, first_byte: head, total }
    }
}

fn some(text: &str) -> Option<String> {
    (!text.is_empty()).then(|| text.to_owned())
}

pub(super) fn shown(attempt: &Attempted) -> Attempt {
    let webhook_attempt::Trace {
        url, peer, is_reused, tls, is_exception, phases, why, headers, body, together, ..
    } = &attempt.trace;
    // Of a field that came several times the values stand together (RFC 9110 §5.3).
    let mut fields: Map<String, Value> = Map::new();
    for (name, value) in headers {
        let joined = match fields.get(name).and_then(Value::as_str) {
            Some(before) => format!("{before}, {value}"),
            None => value.clone(),
        };
        fields.insert(name.clone(), joined.into());
    }
    Attempt {
        event_id: None,
        number: attempt.number,
        started_at: When(attempt.started_at),
        delivered: attempt.error.is_none(),
        status_code: Nullable(attempt.status),
        error: attempt.error.clone(),
        explanation: some(why),
        url: url.clone(),
        address: peer.clone(),
        tls: some(tls),
        exception: is_exception.then_some(true),
        reused_connection: *is_reused,
        timings: phases.into(),
        response: AttemptResponse { headers: fields, body: body.clone() },
        together: *together,
        next_attempt_at: Nullable(attempt.next_at.map(When)),
        request: None,
    }
}

fn standing(standing: &DispatchStanding) -> Dispatch {
    Dispatch {
        event_id: standing.id.event.to_string(),
        state: Word(standing.state),
        attempts: standing.attempts,
        next_attempt_at: Nullable(standing.due_at.map(When)),
        settled_at: Nullable(standing.settled_at.map(When)),
        status_code: Nullable(standing.last_status),
        error: standing.last_error.clone(),
    }
}

/// `GET /api/v1/webhooks/{id}/attempts`: newest first; `status=failed` for those only.
pub(in super::super) async fn attempts(call: Call) -> Result<Answer, Problem> {
    let webhook = named(&call).await?;
    let which = call.query.text("status").map(|word| Word::<Which>::parse(word, "?status")).transpose()?;
    let only_failed = which.is_some_and(|Word(which)| which == Which::Failed);
    let limit = call.query.limit()?;
    let after = call.query.text("after").map(place).transpose()?;
    let log = call.server.store().webhook_attempts(webhook.id, after, only_failed, limit + 1).await?;
    let key = |(id, attempt): &(DispatchId, Attempted)| format!("{}_{}", attempt.started_at.as_millis(), id.event);
    let path = format!("/api/v1/webhooks/{}/attempts", webhook.id);
    query::page((&path, &call.query), log, key, |(id, attempt)| Attempt {
        event_id: Some(id.event.to_string()),
        ..shown(&attempt)
    })
}

/// A place in the log: the time of an attempt, and its event.
fn place(text: &str) -> Result<(Timestamp, EventId), Flaw> {
    let bad = || Flaw::in_query("after", Wrong::Type("place in the log")).showing(text);
    let (millis, event) = text.split_once('_').ok_or_else(bad)?;
    let millis = millis.parse().map_err(|_| bad())?;
    Ok((Timestamp::from_millis(millis), event.parse().map_err(|_| bad())?))
}

/// `GET /api/v1/webhooks/{id}/dispatches`: newest first; `state=queued`, `arrived` or `exhausted`.
pub(in super::super) async fn dispatches(call: Call) -> Result<Answer, Problem> {
    let webhook = named(&call).await?;
    let state = call.query.text("state").map(|word| Word::<DispatchState>::parse(word, "?state")).transpose()?;
    let limit = call.query.limit()?;
    let after = call.query.value::<EventId>("after", "event id")?;
    let state = state.map(|Word(state)| state);
    let found = call.server.store().webhook_dispatches(webhook.id, state, after, limit + 1).await?;
    let path = format!("/api/v1/webhooks/{}/dispatches", webhook.id);
    query::page((&path, &call.query), found, |found| found.id.event.to_string(), |found| standing(&found))
}

/// `GET /api/v1/webhooks/{id}/dispatches/{event}`: all about one, each attempt with its request and answer.
///
/// Requests are not kept: they are made again of the webhook as it was, and `exact` says whether that gave what was
/// posted.
pub(in super::super) async fn dispatch(call: Call) -> Result<Answer, Problem> {
    let webhook = named(&call).await?;
    let nothing = Problem::NotFound("Dispatch");
    let event = call.second_place().parse().map_err(|_| nothing.clone())?;
    let id = DispatchId { event, webhook: webhook.id };
    let store = call.server.store();
    let view = store.dispatch_view(call.grant.tenant.id, id).await?.ok_or(nothing)?;
    let attempts = store.dispatch_attempts(id).await?;
    let since = attempts.iter().map(|attempt| attempt.started_at - LEARNED_BEFORE).min();
    let versions = match since {
        Some(since) => store.webhook_versions(&webhook, view.event.agent, since).await?,
        None => Vec::new(),
    };
    let outward = &call.server.0.parts.outward;
    let mut log = Vec::with_capacity(attempts.len());
    for attempt in &attempts {
        let posted = store.posted(&view, attempt).await?;
        let tell = |webhook: &Webhook| outward.told(webhook, &posted, attempt.started_at);
        let Again { webhook, told, is_exact } = Again::of(&webhook, &versions, attempt, tell);
        let url = attempt.trace.url.clone();
        let request = RequestView { url, exact: Some(is_exact), ..request_of(webhook, &told) };
        log.push(Attempt { request: Some(request), ..shown(attempt) });
    }
    let told = DispatchLog {
        dispatch: standing(&view.standing),
        event_type: view.event.kind.as_str(),
        recipient: view.event.recipient.clone(),
        email_id: (!view.event.kind.is_notice()).then(|| view.message.id.to_string()),
        test: view.event.is_test,
        log,
    };
    Ok(json_answer(StatusCode::OK, &told))
}
