//! The webhooks of a mail agent: list, add, edit, test, delete, authentication key.

use askama::Template;
use hyper::Method;
use serde_json::{Value, json};

use super::form::Form;
use super::page::{self, Frame, Notice, Section};
use super::{Fault, Page, Visit, go};
use crate::http::problem::Problem;
use crate::model::tenant::MailAgent;
use crate::model::user::Deed;

/// Characters of an authentication key.
const AUTHENTICATION_KEY_CHARS_MAX: usize = 256;

/// What a webhook can be told of: the API's word, and ours for people. The first four are those of most.
const NOTIFICATIONS: [(&str, &str); 9] = [
    ("soft_bounced", "Soft bounced"),
    ("hard_bounced", "Hard bounced"),
    ("opened", "Open"),
    ("clicked", "Click"),
    ("sent", "Accepted"),
    ("delivered", "Delivered"),
    ("deferred", "Put off"),
    ("complained", "Complaint"),
    ("failed", "Failed"),
];

const FORMATS: [(&str, &str); 3] = [
    ("mailtura", "Mailtura: JSON, X-Mailtura-Signature"),
    ("transmail", "TransMail: form field, producer-signature"),
    ("transmail-json", "TransMail: JSON body, producer-signature"),
];

/// A webhook as the API tells of it.
#[derive(Clone, Debug, Default)]
pub(super) struct Shown {
    pub(super) id: String,
    pub(super) url: String,
    description: String,
    format: String,
    events: Vec<String>,
    is_enabled: bool,
    is_off_by_us: bool,
    is_for_all: bool,
    /// `ok`, `failing`, `paused`, `off` or `switched_off`.
    pub(super) state: String,
    /// How it fares, when it fares badly.
    trouble: String,
    /// Until when the secret before counts; empty when there is none.
    old_secret_until: String,
}

impl Shown {
    fn of(webhook: &Value) -> Self {
        let text = |name: &str| webhook.get(name).and_then(Value::as_str).unwrap_or_default().to_owned();
        let events = webhook.get("events").and_then(Value::as_array).into_iter().flatten();
        let events = events.filter_map(Value::as_str).flat_map(|word| match word {
            "bounced" => vec!["soft_bounced", "hard_bounced"],
            other => vec![other],
        });
        Self {
            id: text("id"),
            url: text("url"),
            description: text("description"),
            format: text("format"),
            events: events.map(str::to_owned).collect(),
            is_enabled: webhook.get("enabled").and_then(Value::as_bool).unwrap_or(true),
            is_off_by_us: webhook.get("disabledBy").and_then(Value::as_str) == Some("postback"),
            is_for_all: webhook.get("mailAgent").is_none_or(Value::is_null),
            state: text("state"),
            trouble: trouble(webhook),
            old_secret_until: time(webhook, "/oldSecret/expiresAt"),
        }
    }

    /// What was typed, for a form that is shown again.
    fn typed(form: &Form, id: Option<&str>) -> Self {
        Self {
            id: id.unwrap_or_default().to_owned(),
            url: form.get("url").to_owned(),
            description: form.get("description").to_owned(),
            format: form.get("format").to_owned(),
            events: form.all("events").map(str::to_owned).collect(),
            is_enabled: id.is_none() || form.has("enabled"),
            ..Self::default()
        }
    }

    fn wants(&self, word: &str) -> bool {
        self.events.iter().any(|event| event == word)
    }

    fn notifications(&self) -> String {
        let labels = NOTIFICATIONS.iter().filter(|(word, _)| self.wants(word)).map(|(_, label)| *label);
        labels.collect::<Vec<_>>().join(", ")
    }
}

fn time(webhook: &Value, path: &str) -> String {
    let text = webhook.pointer(path).and_then(Value::as_str).unwrap_or_default();
    text.replacen('T', " ", 1).chars().take(16).collect()
}

/// How a webhook fares that fails, in a line.
fn trouble(webhook: &Value) -> String {
    let Some(health) = webhook.get("health").filter(|health| health.is_object()) else { return String::new() };
    let failures = health.get("failures").and_then(Value::as_u64).unwrap_or(0);
    let error = health.get("lastError").and_then(Value::as_str).unwrap_or_default();
    let mut told = format!("{failures} failures since {}: {error}", time(webhook, "/health/failingSince"));
    let until = time(webhook, "/health/pausedUntil");
    if !until.is_empty() {
        told += &format!("; left alone until {until}");
    }
    told
}

#[derive(Template)]
#[template(path = "console/webhooks.html")]
struct WebhooksPage<'t> {
    frame: Frame,
    agent: &'t MailAgent,
    tab: &'static str,
    webhooks: Vec<Shown>,
    has_key: bool,
}

/// The webhooks of a mail agent, those for all agents included.
pub(super) async fn list(visit: &Visit<'_>, key: &str, notice: Option<Notice>) -> Page {
    let agent = visit.agent(key).await?;
    let all = visit.api(&agent, Method::GET, "/api/v1/webhooks", &Value::Null).await?;
    let is_its = |webhook: &&Value| match webhook.get("mailAgent").and_then(Value::as_str) {
        Some(name) => name == agent.name,
        None => true,
    };
    let webhooks = all.as_array().into_iter().flatten().filter(is_its).map(Shown::of).collect();
    let frame = visit.frame(&agent.name, Section::Agents, notice);
    let has_key = !agent.settings.authentication_key.is_empty();
    page::page(&WebhooksPage { frame, agent: &agent, tab: "webhooks", webhooks, has_key })
}

#[derive(Template)]
#[template(path = "console/webhook.html")]
struct WebhookPage<'t> {
    frame: Frame,
    agent: &'t MailAgent,
    webhook: Shown,
    is_new: bool,
    /// Shown once, after it was made.
    secret: Option<String>,
    /// What a test came to.
    tested: Option<Tested>,
}

impl WebhookPage<'_> {
    fn notifications(&self) -> &'static [(&'static str, &'static str)] {
        &NOTIFICATIONS
    }

    fn formats(&self) -> &'static [(&'static str, &'static str)] {
        &FORMATS
    }
}

struct Tested {
    is_good: bool,
    text: String,
}

fn form_page(visit: &Visit<'_>, agent: &MailAgent, webhook: Shown, notice: Option<Notice>) -> Page {
    let is_new = webhook.id.is_empty();
    let title = if is_new { "Add webhook" } else { "Edit webhook" };
    let frame = visit.frame(title, Section::Agents, notice);
    page::page(&WebhookPage { frame, agent, webhook, is_new, secret: None, tested: None })
}

/// The form for a new webhook.
pub(super) async fn new(visit: &Visit<'_>, key: &str) -> Page {
    let agent = visit.agent(key).await?;
    let events = NOTIFICATIONS[..4].iter().map(|(word, _)| (*word).to_owned()).collect();
    let webhook = Shown { format: FORMATS[0].0.to_owned(), events, is_enabled: true, ..Shown::default() };
    form_page(visit, &agent, webhook, None)
}

/// The form for one that is there.
pub(super) async fn edit(visit: &Visit<'_>, key: &str, id: &str) -> Page {
    let agent = visit.agent(key).await?;
    let webhook = find(visit, &agent, id).await?;
    form_page(visit, &agent, webhook, None)
}

/// The form for one that is there, with what was just done to it.
pub(super) async fn edit_with(
    visit: &Visit<'_>,
    agent: &MailAgent,
    id: &str,
    secret: Option<String>,
    notice: Option<Notice>,
) -> Page {
    let webhook = find(visit, agent, id).await?;
    let frame = visit.frame("Edit webhook", Section::Agents, notice);
    page::page(&WebhookPage { frame, agent, webhook, is_new: false, secret, tested: None })
}

/// A webhook that is of this agent, or of all.
pub(super) async fn find(visit: &Visit<'_>, agent: &MailAgent, id: &str) -> Result<Shown, Fault> {
    let webhook = visit.api(agent, Method::GET, &path_of(id), &Value::Null).await?;
    let of = webhook.get("mailAgent").and_then(Value::as_str);
    if of.is_some_and(|name| name != agent.name) {
        return Err(Fault::NotFound);
    }
    Ok(Shown::of(&webhook))
}

/// An id is one segment, whatever was typed.
pub(super) fn path_of(id: &str) -> String {
    format!("/api/v1/webhooks/{}", id.replace(['?', '#', '/'], "_"))
}

/// Adds a webhook, or changes the one with `id`.
pub(super) async fn save(visit: &Visit<'_>, key: &str, id: Option<&str>) -> Page {
    let agent = visit.agent(key).await?;
    if let Some(id) = id {
        find(visit, &agent, id).await?;
    }
    visit.may(Deed::Manage)?;
    let typed = Shown::typed(&visit.form, id);
    let mut body = json!({
        "url": typed.url,
        "description": typed.description,
        "format": typed.format,
        "events": typed.events,
    });
    match id {
        None => body["mailAgent"] = agent.name.as_str().into(),
        Some(_) => body["enabled"] = typed.is_enabled.into(),
    }
    if let secret @ [_, ..] = visit.form.raw("secret").as_bytes() {
        body["secret"] = String::from_utf8_lossy(secret).into();
    }
    let saved = match id {
        None => visit.api(&agent, Method::POST, "/api/v1/webhooks", &body).await,
        Some(id) => visit.api(&agent, Method::PATCH, &path_of(id), &body).await,
    };
    let saved = match saved {
        Ok(saved) => saved,
        Err(Problem::NotFound(_)) => return Err(Fault::NotFound),
        Err(problem) => return form_page(visit, &agent, typed, Notice::bad(page::told(&problem))),
    };
    let webhook = Shown::of(&saved);
    visit.note(if id.is_none() { "added webhook" } else { "changed webhook" }, &webhook.id).await?;
    if id.is_some() {
        return list(visit, key, Notice::good("Saved.")).await;
    }
    let secret = saved.get("secret").and_then(Value::as_str).filter(|secret| !secret.is_empty()).map(str::to_owned);
    let frame = visit.frame("Edit webhook", Section::Agents, Notice::good("The webhook is configured."));
    page::page(&WebhookPage { frame, agent: &agent, webhook, is_new: false, secret, tested: None })
}

/// Deletes a webhook.
pub(super) async fn remove(visit: &Visit<'_>, key: &str, id: &str) -> Page {
    let agent = visit.agent(key).await?;
    find(visit, &agent, id).await?;
    visit.may(Deed::Manage)?;
    visit.api(&agent, Method::DELETE, &path_of(id), &Value::Null).await?;
    visit.note("deleted webhook", id).await?;
    Ok(go(&visit.path(&format!("agents/{key}/webhooks"))))
}

/// Sends a test event and shows what came of it.
pub(super) async fn test(visit: &Visit<'_>, key: &str, id: &str) -> Page {
    let agent = visit.agent(key).await?;
    let webhook = find(visit, &agent, id).await?;
    visit.may(Deed::Manage)?;
    let body = json!({ "eventType": visit.form.get("event") });
    let told = visit.api(&agent, Method::POST, &format!("{}/test", path_of(id)), &body).await;
    let tested = match told {
        Ok(told) => {
            let is_good = told.get("delivered").and_then(Value::as_bool).unwrap_or(false);
            let status = told.get("statusCode").and_then(Value::as_u64);
            let error = told.get("error").and_then(Value::as_str).unwrap_or_default();
            let text = match (is_good, status) {
                (true, Some(status)) => format!("Arrived: your receiver answered {status}."),
                (true, None) => "Arrived.".to_owned(),
                (false, Some(status)) => format!("It did not arrive: your receiver answered {status} ({error})."),
                (false, None) => format!("It did not arrive: {error}."),
            };
            Tested { is_good, text }
        }
        Err(problem) => Tested { is_good: false, text: page::told(&problem) },
    };
    visit.note("tested webhook", id).await?;
    let frame = visit.frame("Edit webhook", Section::Agents, None);
    page::page(&WebhookPage { frame, agent: &agent, webhook, is_new: false, secret: None, tested: Some(tested) })
}

/// Sets the key that TransMail webhooks of the agent are signed with, when they have no secret of their own.
pub(super) async fn set_authentication_key(visit: &Visit<'_>, key: &str) -> Page {
    let mut agent = visit.agent(key).await?;
    visit.may(Deed::Manage)?;
    let wanted = visit.form.get("authentication_key");
    if wanted.chars().count() > AUTHENTICATION_KEY_CHARS_MAX || wanted.chars().any(char::is_control) {
        return list(visit, key, Notice::bad("An authentication key has at most 256 characters.")).await;
    }
    agent.settings.authentication_key = wanted.to_owned();
    if !visit.server.store().change_agent(&agent).await? {
        return Err(Fault::NotFound);
    }
    visit.note("set authentication key", &agent.name).await?;
    let told = if wanted.is_empty() { "The authentication key is removed." } else { "The authentication key is set." };
    list(visit, key, Notice::good(told)).await
}
