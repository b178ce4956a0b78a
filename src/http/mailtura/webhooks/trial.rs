//! Tests: an event that did not happen goes the whole way to a receiver, or is shown as it would.
//!
//! `POST …/{id}/test` is for a webhook that is there, on or off; `POST …/test` for one that is being made, with the
//! fields of that; `preview` in place of `test` shows the exact request and sends nothing. What a preview gives along has
//! `test` send exactly that.

use std::time::Duration;

use hyper::StatusCode;
use serde_json::{Map, Value};

use super::super::super::operation::Call;
use super::super::super::problem::Problem;
use super::super::super::server::Answer;
use super::super::super::shape::{self, Nullable, When, answer};
use super::super::super::{Server, json_answer};
use super::super::all_agents;
use super::fields::{Wanted, apply};
use super::log::{self, Attempt};
use super::shapes::{PreviewText, WebhookTest};
use super::{fresh, named, with_some_secret};
use crate::http::outward::Told;
use crate::model::event::{Event, EventKind};
use crate::model::message::Message;
use crate::model::preview::{Draw, Preview, Stale};
use crate::model::sample;
use crate::model::time::Timestamp;
use crate::model::webhook::{DispatchId, DispatchState, Webhook};
use crate::model::webhook_attempt::{self, Posted};

/// How long the answer to a test is waited for.
const TEST_TIME: Duration = Duration::from_secs(20);
/// How often it is looked for: there is no bell for one dispatch, and a person waits.
const TEST_LOOK: Duration = Duration::from_millis(50);

answer! {
    /// A request as it goes out.
    pub(in super::super) struct RequestView {
        /// `POST`.
        method "method": &'static str,
        /// Where to.
        url "url": String,
        /// Its header fields, in order; what the owner has set is not shown.
        headers "headers": Map<String, Value>,
        /// Its body, byte for byte.
        body "body": String,
        /// Whether it is known to be what was posted, byte for byte; absent for what was not posted yet.
        exact "exact": Option<bool>,
        /// Of a preview: what `test` takes to send exactly this.
        preview "preview": Option<String>,
        /// Until when it does.
        good_until "goodUntil": Option<When>,
    }
}

answer! {
    /// What came of a test.
    pub(in super::super) struct TestedWebhook {
        /// The event's id.
        id "id": String,
        /// Whether the receiver took it.
        delivered "delivered": bool,
        /// What it answered; null when it did not.
        status_code "statusCode": Nullable<u16>,
        /// Why it was not delivered, in a word.
        error "error": Option<String>,
        /// How it went.
        attempt "attempt": Option<Attempt>,
        /// What was posted.
        request "request": RequestView,
    }
}

/// A sample, and the webhook as it signs it.
struct Sample {
    message: Message,
    event: Event,
    draw: Draw,
    signing: Webhook,
}

/// `POST /api/v1/webhooks/{id}/test`.
pub(in super::super) async fn test(call: Call) -> Result<Answer, Problem> {
    let (webhook, sample) = of_saved(&call).await?;
    let (message, event) = (sample.message.clone(), sample.event.clone());
    let dispatch = call.server.store().dispatch_test(message, event, webhook.id).await?;
    told(&call.server, dispatch, &sample).await
}

/// `POST /api/v1/webhooks/{id}/preview`.
pub(in super::super) async fn preview(call: Call) -> Result<Answer, Problem> {
    let (_, sample) = of_saved(&call).await?;
    Ok(json_answer(StatusCode::OK, &previewed(&call.server, &sample)))
}

/// `POST /api/v1/webhooks/test`.
pub(in super::super) async fn test_draft(call: Call) -> Result<Answer, Problem> {
    let (webhook, sample) = of_draft(&call).await?;
    let (tenant, id) = (webhook.tenant, webhook.id);
    let (message, event) = (sample.message.clone(), sample.event.clone());
    let dispatch = call.server.store().dispatch_draft_test(message, event, webhook).await?;
    let answer = told(&call.server, dispatch, &sample).await;
    call.server.store().remove_draft(tenant, id).await?;
    answer
}

/// `POST /api/v1/webhooks/preview`.
pub(in super::super) async fn preview_draft(call: Call) -> Result<Answer, Problem> {
    let (_, sample) = of_draft(&call).await?;
    Ok(json_answer(StatusCode::OK, &previewed(&call.server, &sample)))
}

async fn of_saved(call: &Call) -> Result<(Webhook, Sample), Problem> {
    let webhook = named(call).await?;
    let is_bare = call.body.bytes.iter().all(u8::is_ascii_whitespace);
    let wanted = match is_bare {
        true => WebhookTest { event_type: None, preview: None },
        false => shape::read(&call.body.bytes)?,
    };
    let sample = sample(call, &webhook, &wanted, draw(call, &wanted)).await?;
    Ok((webhook, sample))
}

async fn of_draft(call: &Call) -> Result<(Webhook, Sample), Problem> {
    let wanted: WebhookTest = shape::read(&call.body.bytes)?;
    let draw = draw(call, &wanted);
    let mut webhook = Webhook { id: sample::draft(draw), ..fresh(&call.server, &call.grant) };
    apply(&call.server, &call.grant, &call.body.bytes, &mut webhook, Wanted::Destination).await?;
    let webhook = with_some_secret(&call.server, webhook).await?;
    let sample = sample(call, &webhook, &wanted, draw).await?;
    Ok((webhook, sample))
}

/// The one of the preview, when there was one.
fn draw(call: &Call, wanted: &WebhookTest) -> Draw {
    let fresh = || Draw::new(call.server.ids().bytes(), call.server.clock().now());
    wanted.preview.as_ref().map_or_else(fresh, |PreviewText(preview)| preview.draw)
}

/// `bounced` is tested as a hard one; what was previewed as what that was.
fn kind(wanted: &WebhookTest) -> EventKind {
    let named = wanted.event_type.as_ref().and_then(|word| word.kinds.first()).copied();
    let previewed = wanted.preview.as_ref().map(|PreviewText(preview)| preview.kind);
    named.or(previewed).unwrap_or(EventKind::Delivered)
}

async fn sample(call: &Call, webhook: &Webhook, wanted: &WebhookTest, draw: Draw) -> Result<Sample, Problem> {
    let (server, grant) = (&call.server, &call.grant);
    let agent = match webhook.agent {
        Some(id) => all_agents(server, grant).await?.into_iter().find(|agent| agent.id == id),
        None => None,
    };
    let agent = agent.unwrap_or_else(|| grant.agent.clone());
    let (message, event) = sample::of_kind(kind(wanted), webhook, &agent, draw);
    let signing = server.store().signing_for(webhook.clone(), event.agent).await?;
    let sample = Sample { message, event, draw, signing };
    if let Some(PreviewText(preview)) = &wanted.preview {
        let stale = |stale: Stale| Problem::Conflict(stale.why());
        let (body, now) = (request(server, &sample, draw.at()).body, server.clock().now());
        preview.check(&webhook.url, body.as_bytes(), now).map_err(stale)?;
        if server.store().event(grant.tenant.id, sample.event.id).await?.is_some() {
            return Err(stale(Stale::Sent));
        }
    }
    Ok(sample)
}

/// A request as it goes out, headers in order; what the owner set as headers may be secret.
pub(super) fn request_of(webhook: &Webhook, told: &Told) -> RequestView {
    let shown = |(name, value): &(String, String)| {
        (name.clone(), Value::from(webhook_attempt::shown_value(webhook, name, value)))
    };
    RequestView {
        method: "POST",
        url: webhook.url.clone(),
        headers: told.headers.iter().map(shown).collect(),
        body: String::from_utf8_lossy(&told.body).into_owned(),
        exact: None,
        preview: None,
        good_until: None,
    }
}

/// The request as it is at that time.
fn request(server: &Server, sample: &Sample, at: Timestamp) -> RequestView {
    let Sample { message, event, signing, .. } = sample;
    let posted = Posted { number: 1, told: vec![(event.clone(), message.clone())] };
    request_of(signing, &server.0.parts.outward.told(signing, &posted, at))
}

/// The request as it is now, and what has exactly that sent.
fn previewed(server: &Server, sample: &Sample) -> RequestView {
    let shown = request(server, sample, sample.draw.at());
    let preview = Preview::of(sample.draw, sample.event.kind, &shown.url, shown.body.as_bytes());
    RequestView { preview: Some(preview.to_string()), good_until: Some(When(preview.good_until())), ..shown }
}

/// What came of the first attempt, with what was posted and what was answered.
async fn told(server: &Server, dispatch: DispatchId, sample: &Sample) -> Result<Answer, Problem> {
    let ticks = TEST_TIME.as_millis() / TEST_LOOK.as_millis();
    for _ in 0..ticks {
        tokio::time::sleep(TEST_LOOK).await;
        let Some(standing) = server.store().dispatch(dispatch).await? else {
            return Err(Problem::NotFound("Webhook"));
        };
        if standing.settled_at.is_none() && standing.last_error.is_none() {
            continue;
        }
        let attempt = server.store().dispatch_attempts(dispatch).await?.pop();
        let posted_at = attempt.as_ref().map_or(sample.event.at, |attempt| attempt.started_at);
        let tested = TestedWebhook {
            id: dispatch.event.to_string(),
            delivered: standing.state == DispatchState::Arrived,
            status_code: Nullable(standing.last_status),
            error: standing.last_error,
            attempt: attempt.as_ref().map(log::shown),
            request: request(server, sample, posted_at),
        };
        return Ok(json_answer(StatusCode::OK, &tested));
    }
    let tested = TestedWebhook {
        id: dispatch.event.to_string(),
        delivered: false,
        status_code: Nullable(None),
        error: Some(format!("no attempt ended within {} seconds", TEST_TIME.as_secs())),
        attempt: None,
        request: request(server, sample, sample.event.at),
    };
    Ok(json_answer(StatusCode::OK, &tested))
}
