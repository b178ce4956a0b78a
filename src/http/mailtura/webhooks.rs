//! `/api/v1/webhooks`: add, list, change, delete; and in the modules below tests, secrets, the log, replays.
//!
//! The fields are the seed's (`url`, `events`, `enabled`, `secret`) and ours, which stand in [`fields`]. Events go by
//! short name or with `email.` before it; `bounced` is both kinds of bounce, and TransMail's names are understood too.

mod fields;

pub(super) mod log;

pub(super) mod replays;

pub(super) mod secret;

pub(super) mod shapes;

pub(super) mod trial;

pub(super) mod view;

use hyper::StatusCode;

use super::super::once::KeptInstead;
use super::super::operation::Call;
use super::super::problem::Problem;
use super::super::query;
use super::super::server::Answer;
use super::super::{Server, json_answer, no_content};
use super::{all_agents, made};
use crate::model::event::EventKind;
use crate::model::id::WebhookId;
use crate::model::secret::Secret;
use crate::model::tenant::Grant;
use crate::model::webhook::{Switch, Webhook};
use crate::model::webhook_attempt::MASK;
use fields::{Wanted, apply};
use view::{Context, Telling, shown};

/// Webhooks of one tenant.
const WEBHOOKS_MAX: u32 = 100;

pub(super) const EVENT_WORDS: &[&str] = &[
    "sent",
    "delivered",
    "opened",
    "clicked",
    "bounced",
    "complained",
    "failed",
    "deferred",
    "delayed",
    "hard_bounced",
    "soft_bounced",
    "opened_reclassified",
    "clicked_reclassified",
    "webhook.failing",
    "webhook.disabled",
    "webhook.secret_rotated",
    "webhook.exhausted",
    "webhook.recovered",
    "mail_agent.daily_warning",
];

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
        "webhook.exhausted" | "webhook_exhausted" => &[Kind::WebhookExhausted],
        "webhook.recovered" | "webhook_recovered" => &[Kind::WebhookRecovered],
        "mail_agent.daily_warning" | "daily_warning" => &[Kind::DailyWarning],
        "delayed" => &[Kind::Delayed],
        _ => return None,
    })
}

/// `POST /api/v1/webhooks`.
pub(super) async fn add(call: Call) -> Result<Answer, Problem> {
    let (server, grant) = (&call.server, &call.grant);
    if server.store().webhooks(grant.tenant.id, None, WEBHOOKS_MAX).await?.len() >= WEBHOOKS_MAX as usize {
        return Err(Problem::Conflict("A tenant can have at most 100 webhooks"));
    }
    let mut webhook = fresh(server, grant);
    apply(server, grant, &call.body.bytes, &mut webhook, Wanted::Everything).await?;
    let webhook = with_some_secret(server, webhook).await?;
    let webhook = Webhook { authors: grant.authors(), ..webhook };
    server.store().add_webhook(webhook.clone()).await?;
    let agents = all_agents(server, grant).await?;
    let told = |telling| shown(&webhook, Context { agents: &agents, health: None, now: server.clock().now() }, telling);
    let mut answer = made(&told(Telling::Secret), &format!("/api/v1/webhooks/{}", webhook.id));
    answer.extensions_mut().insert(KeptInstead(serde_json::json!(told(Telling::NoSecret)).to_string()));
    Ok(answer)
}

/// With a fresh secret, where nothing else signs.
async fn with_some_secret(server: &Server, webhook: Webhook) -> Result<Webhook, Problem> {
    let fresh = Secret::new(server.ids().webhook_secret());
    Ok(server.store().with_some_secret(webhook, fresh).await?)
}

async fn answer(server: &Server, grant: &Grant, webhook: &Webhook, telling: Telling) -> Result<Answer, Problem> {
    let agents = all_agents(server, grant).await?;
    let health = server.store().webhook_health(webhook.id).await?;
    let context = Context { agents: &agents, health: health.as_ref(), now: server.clock().now() };
    let mut answer = json_answer(StatusCode::OK, &shown(webhook, context, telling));
    if telling == Telling::Secret {
        let kept = shown(webhook, context, Telling::NoSecret);
        answer.extensions_mut().insert(KeptInstead(serde_json::json!(kept).to_string()));
    }
    Ok(answer)
}

fn fresh(server: &Server, grant: &Grant) -> Webhook {
    let now = server.clock().now();
    Webhook::new(WebhookId::from_uuid(server.ids().uuid(now)), grant.tenant.id, "", now)
}

/// `GET /api/v1/webhooks`.
pub(super) async fn list(call: Call) -> Result<Answer, Problem> {
    let (server, grant) = (&call.server, &call.grant);
    let limit = call.query.limit()?;
    let after = call.query.value::<WebhookId>("after", "webhook id")?;
    let webhooks = server.store().webhooks(grant.tenant.id, after, limit + 1).await?;
    let (agents, now) = (all_agents(server, grant).await?, server.clock().now());
    let healths = server.store().webhook_healths(grant.tenant.id).await?;
    let view = |webhook: Webhook| {
        let context = Context { agents: &agents, health: healths.get(&webhook.id), now };
        shown(&webhook, context, Telling::NoSecret)
    };
    query::page(("/api/v1/webhooks", &call.query), webhooks, |webhook| webhook.id.to_string(), view)
}

/// The webhook that the path names.
async fn named(call: &Call) -> Result<Webhook, Problem> {
    let nothing = Problem::NotFound("Webhook");
    let id: WebhookId = call.place().parse().map_err(|_| nothing.clone())?;
    let found = call.server.store().webhook(call.grant.tenant.id, id).await?;
    found.filter(|webhook| webhook.switch != Switch::Draft).ok_or(nothing)
}

/// `GET /api/v1/webhooks/{id}`.
pub(super) async fn get(call: Call) -> Result<Answer, Problem> {
    answer(&call.server, &call.grant, &named(&call).await?, Telling::NoSecret).await
}

/// `PATCH /api/v1/webhooks/{id}`: what is named changes.
pub(super) async fn change(call: Call) -> Result<Answer, Problem> {
    let mut tried = named(&call).await?;
    let wish = apply(&call.server, &call.grant, &call.body.bytes, &mut tried, Wanted::WhatIsNamed).await?;
    let enables = wish.enables()?;
    let answer = keep(&call, tried.id, move |webhook| wish.set(webhook)).await?;
    let_go(&call, tried.id, enables).await?;
    Ok(answer)
}

/// `PUT /api/v1/webhooks/{id}`: all of it, but for what is secret when that is not named.
pub(super) async fn replace(call: Call) -> Result<Answer, Problem> {
    let fresh = fresh(&call.server, &call.grant);
    let emptied = move |webhook: Webhook| {
        let Webhook { id, created_at, authors, secret, old_secret, headers, client_key, .. } = webhook;
        Webhook { id, created_at, authors, secret, old_secret, headers, client_key, ..fresh.clone() }
    };
    let mut tried = emptied(named(&call).await?);
    let wish = apply(&call.server, &call.grant, &call.body.bytes, &mut tried, Wanted::Everything).await?;
    let enables = wish.enables()?;
    let change = move |webhook: &mut Webhook| {
        *webhook = emptied(webhook.clone());
        wish.set(webhook)
    };
    let answer = keep(&call, tried.id, change).await?;
    let_go(&call, tried.id, enables).await?;
    Ok(answer)
}

/// A webhook that was enabled is not kept waiting for what failed before.
async fn let_go(call: &Call, id: WebhookId, enables: bool) -> Result<(), Problem> {
    if enables {
        call.server.store().let_go_dispatches(id).await?;
    }
    Ok(())
}

/// Writes a change. Where that took away what signed, the answer tells the secret that was made.
async fn keep(
    call: &Call,
    id: WebhookId,
    change: impl FnOnce(&mut Webhook) -> Result<(), Problem> + Send + 'static,
) -> Result<Answer, Problem> {
    let (fresh, author) = (Secret::new(call.server.ids().webhook_secret()), call.grant.author());
    let change = move |webhook: &mut Webhook| {
        webhook.authors.updated_by = author;
        change(webhook)
    };
    let changed = call.server.store().change_webhook(call.grant.tenant.id, id, fresh.clone(), change).await?;
    let webhook = changed.ok_or(Problem::NotFound("Webhook"))?;
    let telling = if webhook.secret == fresh { Telling::Secret } else { Telling::NoSecret };
    answer(&call.server, &call.grant, &webhook, telling).await
}

/// `DELETE /api/v1/webhooks/{id}`.
pub(super) async fn remove(call: Call) -> Result<Answer, Problem> {
    let webhook = named(&call).await?;
    match call.server.store().remove_webhook(call.grant.tenant.id, webhook.id).await? {
        true => Ok(no_content()),
        false => Err(Problem::NotFound("Webhook")),
    }
}
