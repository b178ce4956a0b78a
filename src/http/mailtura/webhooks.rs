//! `/api/v1/webhooks`: add, list, change, delete, test.
//!
//! The fields are the seed's (`url`, `events`, `enabled`, `secret`) and ours: `format`, `description`, `mailAgent`,
//! `hits`, `headers`, `formField`, `keepsTimestamp`. Events go by short name or with `email.` before it; `bounced` is
//! both kinds of bounce, and TransMail's names are understood too. The secret is told once, by the answer that made it.

use std::time::Duration;

use hyper::StatusCode;
use hyper::header::{HeaderValue, LOCATION};
use serde::Serialize;
use serde_json::{Map, Value, json};

use super::super::json::{self, Json};
use super::super::problem::Problem;
use super::super::query::{self, Query};
use super::super::server::Answer;
use super::super::wire::{self, Fields, Flaw, Wrong, text_of};
use super::super::{Server, json_answer};
use super::{agent, all_agents, no_content};
use crate::model::event::{EventKind, EventSet};
use crate::model::id::WebhookId;
use crate::model::sample;
use crate::model::secret::Secret;
use crate::model::tenant::{Grant, MailAgent};
use crate::model::webhook::{DispatchState, Format, Hits, Switch, Webhook};
use crate::model::webhook_options::{BadOption, check_form_field, check_headers};

/// Webhooks of one tenant.
const WEBHOOKS_MAX: u32 = 100;
/// Characters of a description.
const DESCRIPTION_CHARS_MAX: usize = 500;
/// Bytes of a secret.
const SECRET_BYTES_MAX: usize = 256;
/// How long the answer to a test is waited for.
const TEST_TIME: Duration = Duration::from_secs(20);
/// How often it is looked for: there is no bell for one dispatch, and a person waits.
const TEST_LOOK: Duration = Duration::from_millis(50);

pub(super) const EVENT_WORDS: &[&str] = &[
    "sent",
    "delivered",
    "opened",
    "clicked",
    "bounced",
    "complained",
    "failed",
    "deferred",
    "hard_bounced",
    "soft_bounced",
    "opened_reclassified",
    "clicked_reclassified",
    "webhook.failing",
    "webhook.disabled",
    "webhook.secret_rotated",
];

/// A webhook as this API shows it.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct View<'w> {
    id: WebhookId,
    url: &'w str,
    events: Vec<&'static str>,
    enabled: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    disabled_by: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    secret: Option<&'w str>,
    format: Format,
    description: &'w str,
    mail_agent: Option<&'w str>,
    hits: Hits,
    form_field: &'w str,
    headers: Map<String, Value>,
    keeps_timestamp: bool,
    created_at: String,
    updated_at: String,
}

/// Whether an answer tells the secret.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Telling {
    Secret,
    NoSecret,
}

fn shown<'w>(webhook: &'w Webhook, agents: &'w [MailAgent], telling: Telling) -> View<'w> {
    let agent = webhook.agent.and_then(|id| agents.iter().find(|agent| agent.id == id));
    View {
        id: webhook.id,
        url: &webhook.url,
        events: event_words(webhook.events),
        enabled: webhook.switch == Switch::On,
        disabled_by: match webhook.switch {
            Switch::On => None,
            Switch::OffByOwner | Switch::Draft => Some("owner"),
            Switch::OffByUs => Some("postback"),
        },
        secret: (telling == Telling::Secret).then(|| webhook.secret.reveal()),
        format: webhook.format,
        description: &webhook.description,
        mail_agent: agent.map(|agent| agent.name.as_str()),
        hits: webhook.hits,
        form_field: &webhook.form_field,
        headers: webhook.headers.iter().map(|(name, value)| (name.clone(), value.as_str().into())).collect(),
        keeps_timestamp: webhook.keeps_timestamp,
        created_at: webhook.created_at.rfc3339_millis(),
        updated_at: webhook.updated_at.rfc3339_millis(),
    }
}

fn event_words(events: EventSet) -> Vec<&'static str> {
    use EventKind as Kind;
    let both = events.has(Kind::HardBounced) && events.has(Kind::SoftBounced);
    let order = [Kind::Sent, Kind::Delivered, Kind::Opened, Kind::Clicked, Kind::HardBounced, Kind::SoftBounced];
    let order = order.into_iter().chain([Kind::Complained, Kind::Failed, Kind::Deferred, Kind::Delayed]);
    let order = order.chain([Kind::OpenReclassified, Kind::ClickReclassified]);
    let order = order.chain([Kind::WebhookFailing, Kind::WebhookDisabled, Kind::SecretRotated]);
    let words = order.filter(|kind| events.has(*kind)).map(|kind| match kind {
        Kind::HardBounced | Kind::SoftBounced if both => "bounced",
        Kind::WebhookFailing => "webhook.failing",
        Kind::WebhookDisabled => "webhook.disabled",
        Kind::SecretRotated => "webhook.secret_rotated",
        other => other.as_str(),
    });
    let mut words: Vec<&'static str> = words.collect();
    words.dedup();
    words
}

/// The kinds of event that a word names, in this API's words or TransMail's.
pub(super) fn kinds(word: &str) -> Option<&'static [EventKind]> {
    use EventKind as Kind;
    Some(match word.strip_prefix("email.").unwrap_or(word) {
        "sent" => &[Kind::Sent],
        "delivered" => &[Kind::Delivered],
        "opened" | "email_open" => &[Kind::Opened],
        "clicked" | "email_link_click" => &[Kind::Clicked],
        "bounced" => &[Kind::HardBounced, Kind::SoftBounced],
        "hard_bounced" | "hardbounce" => &[Kind::HardBounced],
        "soft_bounced" | "softbounce" => &[Kind::SoftBounced],
        "complained" | "fbl_complaint" => &[Kind::Complained],
        "failed" => &[Kind::Failed],
        "deferred" => &[Kind::Deferred],
        "opened_reclassified" | "email_open_reclassified" => &[Kind::OpenReclassified],
        "clicked_reclassified" | "email_link_click_reclassified" => &[Kind::ClickReclassified],
        "webhook.failing" | "webhook_failing" => &[Kind::WebhookFailing],
        "webhook.disabled" | "webhook_disabled" => &[Kind::WebhookDisabled],
        "webhook.secret_rotated" | "webhook_secret_rotated" => &[Kind::SecretRotated],
        "delayed" => &[Kind::Delayed],
        _ => return None,
    })
}

/// `POST /api/v1/webhooks`.
pub(super) async fn add(server: &Server, grant: &Grant, body: &[u8]) -> Result<Answer, Problem> {
    if server.store().webhooks(grant.tenant.id, None, WEBHOOKS_MAX).await?.len() >= WEBHOOKS_MAX as usize {
        return Err(Problem::Conflict("A tenant can have at most 100 webhooks"));
    }
    let json = json::read(body).map_err(Problem::Json)?;
    let fields = wire::body(&json)?;
    let mut webhook = fresh(server, grant);
    apply(server, grant, &fields, &mut webhook, Wanted::Everything).await?;
    if webhook.secret.reveal().is_empty() && !has_other_secret(&webhook, grant) {
        webhook.secret = Secret::new(server.ids().webhook_secret());
    }
    server.store().add_webhook(webhook.clone()).await?;
    let agents = all_agents(server, grant).await?;
    let mut answer = json_answer(StatusCode::CREATED, &shown(&webhook, &agents, Telling::Secret));
    if let Ok(place) = HeaderValue::try_from(format!("/api/v1/webhooks/{}", webhook.id)) {
        answer.headers_mut().insert(LOCATION, place);
    }
    Ok(answer)
}

/// A TransMail webhook without a secret signs with its agent's authentication key, when that has one.
fn has_other_secret(webhook: &Webhook, grant: &Grant) -> bool {
    webhook.format != Format::Mailtura && !grant.agent.settings.authentication_key.is_empty()
}

fn fresh(server: &Server, grant: &Grant) -> Webhook {
    let now = server.clock().now();
    Webhook::new(WebhookId::from_uuid(server.ids().uuid(now)), grant.tenant.id, "", now)
}

/// `GET /api/v1/webhooks`.
pub(super) async fn list(server: &Server, grant: &Grant, query: &Query) -> Result<Answer, Problem> {
    let limit = query.limit()?;
    let after = query.value::<WebhookId>("after", "webhook id")?;
    let webhooks = server.store().webhooks(grant.tenant.id, after, limit + 1).await?;
    let agents = all_agents(server, grant).await?;
    let view = |webhook: Webhook| json!(shown(&webhook, &agents, Telling::NoSecret));
    query::page(("/api/v1/webhooks", query), webhooks, |webhook| webhook.id.to_string(), view)
}

async fn find(server: &Server, grant: &Grant, id: &str) -> Result<Webhook, Problem> {
    let nothing = Problem::NotFound("Webhook");
    let id: WebhookId = id.parse().map_err(|_| nothing.clone())?;
    server.store().webhook(grant.tenant.id, id).await?.ok_or(nothing)
}

/// `GET /api/v1/webhooks/{id}`.
pub(super) async fn view(server: &Server, grant: &Grant, id: &str) -> Result<Answer, Problem> {
    let webhook = find(server, grant, id).await?;
    let agents = all_agents(server, grant).await?;
    Ok(json_answer(StatusCode::OK, &shown(&webhook, &agents, Telling::NoSecret)))
}

/// `PATCH /api/v1/webhooks/{id}`: what is named changes.
pub(super) async fn change(server: &Server, grant: &Grant, id: &str, body: &[u8]) -> Result<Answer, Problem> {
    let mut webhook = find(server, grant, id).await?;
    let json = json::read(body).map_err(Problem::Json)?;
    let fields = wire::body(&json)?;
    if fields.raw().is_empty() {
        return Err(Problem::EmptyChange);
    }
    apply(server, grant, &fields, &mut webhook, Wanted::WhatIsNamed).await?;
    keep(server, grant, webhook).await
}

/// `PUT /api/v1/webhooks/{id}`: all of it, but for the secret when that is not named.
pub(super) async fn replace(server: &Server, grant: &Grant, id: &str, body: &[u8]) -> Result<Answer, Problem> {
    let old = find(server, grant, id).await?;
    let json = json::read(body).map_err(Problem::Json)?;
    let fields = wire::body(&json)?;
    let mut webhook = Webhook { id: old.id, created_at: old.created_at, secret: old.secret, ..fresh(server, grant) };
    apply(server, grant, &fields, &mut webhook, Wanted::Everything).await?;
    keep(server, grant, webhook).await
}

async fn keep(server: &Server, grant: &Grant, webhook: Webhook) -> Result<Answer, Problem> {
    let webhook = Webhook { updated_at: server.clock().now(), ..webhook };
    if !server.store().change_webhook(&webhook).await? {
        return Err(Problem::NotFound("Webhook"));
    }
    let agents = all_agents(server, grant).await?;
    Ok(json_answer(StatusCode::OK, &shown(&webhook, &agents, Telling::NoSecret)))
}

/// `DELETE /api/v1/webhooks/{id}`.
pub(super) async fn remove(server: &Server, grant: &Grant, id: &str) -> Result<Answer, Problem> {
    let nothing = Problem::NotFound("Webhook");
    let id = id.parse().map_err(|_| nothing.clone())?;
    if server.store().remove_webhook(grant.tenant.id, id).await? { Ok(no_content()) } else { Err(nothing) }
}

/// Which fields a request must bring.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Wanted {
    Everything,
    WhatIsNamed,
}

/// Sets what the fields name.
async fn apply(
    server: &Server,
    grant: &Grant,
    fields: &Fields<'_, '_>,
    webhook: &mut Webhook,
    wanted: Wanted,
) -> Result<(), Problem> {
    match fields.text("url")? {
        Some(url) => webhook.url = vetted(server, webhook, url).await?,
        None if wanted == Wanted::Everything => return Err(Flaw::at("/url", Wrong::Missing).into()),
        None => {}
    }
    match events(fields)? {
        Some(events) => webhook.events = events,
        None if wanted == Wanted::Everything => return Err(Flaw::at("/events", Wrong::Missing).into()),
        None => {}
    }
    match fields.flag("enabled")? {
        Some(true) => webhook.switch = Switch::On,
        Some(false) => webhook.switch = Switch::OffByOwner,
        None => {}
    }
    if let Some(format) = fields.text("format")? {
        let known = &["mailtura", "transmail", "transmail-json"];
        let unknown = || Flaw::at("/format", Wrong::OneOf(known)).showing(format);
        webhook.format = Format::from_word(format).ok_or_else(unknown)?;
    }
    if let Some(hits) = fields.text("hits")? {
        let unknown = || Flaw::at("/hits", Wrong::OneOf(&["first", "persons", "all"])).showing(hits);
        webhook.hits = Hits::from_word(hits).ok_or_else(unknown)?;
    }
    if let Some(text) = description(fields)? {
        webhook.description = text;
    }
    if let Some(text) = secret(fields)? {
        webhook.secret = text;
    }
    if let Some(text) = form_field(fields)? {
        webhook.form_field = text;
    }
    if fields.names("headers") {
        webhook.headers = headers(fields)?;
    }
    if let Some(flag) = fields.flag("keepsTimestamp")? {
        webhook.keeps_timestamp = flag;
    }
    if fields.names("mailAgent") {
        webhook.agent = match fields.text("mailAgent")? {
            Some(name) => Some(agent(server, grant, name).await?.id),
            None => None,
        };
    }
    Ok(())
}

async fn vetted(server: &Server, webhook: &Webhook, url: &str) -> Result<String, Flaw> {
    if url::Url::parse(url).is_err() {
        return Err(Flaw::at("/url", Wrong::Format("uri")).showing(url));
    }
    let new = Webhook { url: url.to_owned(), ..webhook.clone() };
    let admitted = server.0.parts.outward.admit(&new).await;
    admitted.map(|()| new.url).map_err(|unusable| Flaw::at("/url", Wrong::Other(unusable.why)).showing(url))
}

fn events(fields: &Fields<'_, '_>) -> Result<Option<EventSet>, Flaw> {
    if fields.get("events").is_none() {
        return Ok(None);
    }
    let sets = fields.each("events", |item, path| {
        let word = text_of(item, &path)?;
        kinds(word).ok_or_else(|| Flaw::at(path, Wrong::OneOf(EVENT_WORDS)).showing(word))
    })?;
    if sets.is_empty() {
        return Err(Flaw::at("/events", Wrong::NoItems));
    }
    Ok(Some(sets.into_iter().flatten().copied().collect()))
}

fn description(fields: &Fields<'_, '_>) -> Result<Option<String>, Flaw> {
    match fields.text("description")? {
        Some(text) if text.chars().count() > DESCRIPTION_CHARS_MAX => {
            Err(Flaw::at("/description", Wrong::TooLong(DESCRIPTION_CHARS_MAX)))
        }
        text => Ok(text.map(str::to_owned)),
    }
}

/// The secret is not told back, also not in an error.
fn secret(fields: &Fields<'_, '_>) -> Result<Option<Secret>, Flaw> {
    let Some(text) = fields.text("secret")? else { return Ok(None) };
    let wrong = match text {
        "" => Wrong::Empty,
        _ if text.len() > SECRET_BYTES_MAX => Wrong::TooLong(SECRET_BYTES_MAX),
        _ if text.chars().any(char::is_control) => Wrong::Other("control characters are not allowed here".into()),
        _ => return Ok(Some(Secret::new(text))),
    };
    Err(Flaw::at("/secret", wrong))
}

fn form_field(fields: &Fields<'_, '_>) -> Result<Option<String>, Flaw> {
    let Some(text) = fields.text("formField")? else { return Ok(None) };
    let bad = |why: BadOption| Flaw::at("/formField", Wrong::Other(why.to_string())).showing(text);
    check_form_field(text).map(|()| Some(text.to_owned())).map_err(bad)
}

/// Further headers. Their values may be secrets and are not told back in an error.
fn headers(fields: &Fields<'_, '_>) -> Result<Vec<(String, String)>, Flaw> {
    let headers = fields.pairs("headers")?;
    let bad = |why: BadOption| Flaw::at("/headers", Wrong::Other(why.to_string()));
    check_headers(headers.iter().map(|(name, value)| (name.as_str(), value.as_str()))).map_err(bad)?;
    Ok(headers)
}

/// `POST /api/v1/webhooks/{id}/test`: a sample event goes the whole way to the receiver, and what came of the first
/// attempt is told.
pub(super) async fn test(server: &Server, grant: &Grant, id: &str, body: &[u8]) -> Result<Answer, Problem> {
    let webhook = find(server, grant, id).await?;
    if webhook.switch != Switch::On {
        return Err(Problem::Conflict("The webhook is disabled; enable it to test it"));
    }
    let kind = tested_kind(body)?;
    let agent = match webhook.agent {
        Some(id) => all_agents(server, grant).await?.into_iter().find(|agent| agent.id == id),
        None => None,
    };
    let agent = agent.unwrap_or_else(|| grant.agent.clone());
    let now = server.clock().now();
    let drawn = (server.ids().uuid(now), server.ids().uuid(now));
    let (message, event) = sample::of_kind(kind, &webhook, &agent, drawn, now);
    let event_id = event.id;
    let dispatch = server.store().dispatch_test(message, event, webhook.id).await?;
    let ticks = TEST_TIME.as_millis() / TEST_LOOK.as_millis();
    let mut error = format!("no attempt ended within {} seconds", TEST_TIME.as_secs());
    let (mut delivered, mut status) = (false, None);
    for _ in 0..ticks {
        tokio::time::sleep(TEST_LOOK).await;
        let Some(standing) = server.store().dispatch(dispatch).await? else {
            return Err(Problem::NotFound("Webhook"));
        };
        if standing.last_status.is_some() || standing.last_error.is_some() || standing.settled_at.is_some() {
            delivered = standing.state == DispatchState::Arrived;
            status = standing.last_status;
            error = standing.last_error.unwrap_or_default();
            break;
        }
    }
    let mut told = json!({ "id": event_id, "delivered": delivered, "statusCode": status });
    if let (false, Value::Object(told)) = (delivered, &mut told) {
        told.insert("error".into(), error.into());
    }
    Ok(json_answer(StatusCode::OK, &told))
}

/// `eventType`; `email.delivered` unless named. `bounced` is tested as a hard one.
fn tested_kind(body: &[u8]) -> Result<EventKind, Problem> {
    if body.iter().all(u8::is_ascii_whitespace) {
        return Ok(EventKind::Delivered);
    }
    let json = json::read(body).map_err(Problem::Json)?;
    let fields = wire::body(&json)?;
    let word = match fields.get("eventType") {
        None => return Ok(EventKind::Delivered),
        Some(Json::Text(word)) => word,
        Some(_) => return Err(Flaw::at("/eventType", Wrong::Type("string")).into()),
    };
    let unknown = || Flaw::at("/eventType", Wrong::OneOf(EVENT_WORDS)).showing(word);
    Ok(*kinds(word).and_then(<[EventKind]>::first).ok_or_else(unknown)?)
}
