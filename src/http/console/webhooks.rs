//! The webhooks of a mail agent: list, add, edit, test, delete, authentication key.

use askama::Template;
use hyper::Method;
use serde_json::{Value, json};

use super::exchange::{text, when};
use super::form::Form;
use super::page::{self, Frame, Notice, Section};
use super::webhook_trial::{Tested, Trial, tested, tried};
use super::{Fault, Page, Visit, go};
use crate::http::problem::Problem;
use crate::model::tenant::MailAgent;
use crate::model::user::Deed;
use crate::model::webhook::Format;

/// What a webhook can be told of: the API's word, and ours for people. The first four are those of most, the next ones
/// those of many.
const NOTIFICATIONS: [(&str, &str); 18] = [
    ("soft_bounced", "Soft bounced"),
    ("hard_bounced", "Hard bounced"),
    ("opened", "Open"),
    ("clicked", "Click"),
    ("sent", "Accepted"),
    ("delivered", "Delivered"),
    ("deferred", "Put off"),
    ("complained", "Complaint"),
    ("failed", "Failed"),
    ("delayed", "Delayed on its way"),
    ("opened_reclassified", "Open taken back"),
    ("clicked_reclassified", "Click taken back"),
    ("webhook.failing", "Webhook is failing"),
    ("webhook.disabled", "Webhook switched off"),
    ("webhook.secret_rotated", "Webhook secret rotated"),
    ("webhook.exhausted", "Webhook event given up"),
    ("webhook.recovered", "Webhook is well again"),
    ("mail_agent.daily_warning", "Mail agent passed its daily warning"),
];
/// Webhooks that a tenant can have.
const WEBHOOKS_MAX: usize = 100;
/// Bytes of a list of them, and what one takes of it besides its words.
const LIST_BYTES_MAX: usize = 100_000;
const ROW_BYTES: usize = 1_400;
/// Bytes of a URL, a description or a sentence in a list.
const TEXT_BYTES_MAX: usize = 200;
/// Bytes of what was typed into a field, as they stand in the form again.
const TYPED_BYTES_MAX: usize = 10_000;
/// How many of these stand in view.
const USUAL: usize = 9;

const FORMATS: [(&str, &str); 3] = [
    ("mailtura", "Mailtura: JSON, X-Mailtura-Signature"),
    ("transmail", "TransMail: form field, producer-signature"),
    ("transmail-json", "TransMail: JSON body, producer-signature"),
];

/// Which opens and clicks.
const HITS: [(&str, &str); 3] = [
    ("first", "The first of each recipient, scanners aside"),
    ("persons", "The first by a person"),
    ("all", "Every one, machines included"),
];

/// A webhook as the API tells of it.
#[derive(Clone, Debug, Default)]
pub(super) struct Shown {
    pub(super) id: String,
    pub(super) url: String,
    description: String,
    pub(super) format: String,
    hits: String,
    timeout: String,
    events: Vec<String>,
    is_enabled: bool,
    is_off_by_us: bool,
    is_for_all: bool,
    /// Whoever answers over TLS is believed.
    believes_anybody: bool,
    /// `ok`, `failing`, `paused`, `off` or `switched_off`.
    pub(super) state: String,
    /// How it fares, when it fares badly.
    pub(super) trouble: String,
    /// Until when the secret before counts; empty when there is none.
    old_secret_until: String,
}

impl Shown {
    fn of(webhook: &Value) -> Self {
        let text = |name: &str| text(webhook, &format!("/{name}"));
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
            hits: text("hits"),
            timeout: text("timeoutSeconds"),
            events: events.map(str::to_owned).collect(),
            is_enabled: webhook.get("enabled").and_then(Value::as_bool).unwrap_or(true),
            is_off_by_us: webhook.get("disabledBy").and_then(Value::as_str) == Some("postback"),
            is_for_all: webhook.get("mailAgent").is_none_or(Value::is_null),
            believes_anybody: webhook.get("verifyTls").and_then(Value::as_bool) == Some(false),
            state: text("state"),
            trouble: trouble(webhook),
            old_secret_until: minutes(webhook, "/oldSecret/expiresAt"),
        }
    }

    /// What was typed, for a form that is shown again.
    fn typed(form: &Form, id: Option<&str>) -> Self {
        Self {
            id: id.unwrap_or_default().to_owned(),
            url: form.get("url").to_owned(),
            description: form.get("description").to_owned(),
            format: form.get("format").to_owned(),
            hits: form.get("hits").to_owned(),
            timeout: form.get("timeout").to_owned(),
            events: form.all("events").map(str::to_owned).collect(),
            is_enabled: id.is_none() || form.has("enabled"),
            ..Self::default()
        }
    }

    fn wants(&self, word: &str) -> bool {
        self.events.iter().any(|event| event == word)
    }

    /// The URL, as far as a list has room.
    pub(super) fn place(&self) -> &str {
        page::beginning(&self.url, TEXT_BYTES_MAX).0
    }

    /// The description, as far as a list has room.
    fn about(&self) -> &str {
        page::beginning(&self.description, TEXT_BYTES_MAX).0
    }

    fn notifications(&self) -> String {
        let labels = NOTIFICATIONS.iter().filter(|(word, _)| self.wants(word)).map(|(_, label)| *label);
        labels.collect::<Vec<_>>().join(", ")
    }
}

fn minutes(webhook: &Value, path: &str) -> String {
    when(webhook, path).chars().take(16).collect()
}

/// How a webhook fares that fails, in a line.
fn trouble(webhook: &Value) -> String {
    let Some(health) = webhook.get("health").filter(|health| health.is_object()) else { return String::new() };
    let failures = match text(health, "/failures").as_str() {
        "1" => "1 failure".to_owned(),
        more => format!("{more} failures"),
    };
    let error = page::cut(&text(health, "/lastError"), TEXT_BYTES_MAX);
    let mut told = format!("{failures} since {}: {error}", minutes(webhook, "/health/failingSince"));
    let until = minutes(webhook, "/health/pausedUntil");
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
    /// The query of the next page.
    next: Option<String>,
    has_key: bool,
}

/// The webhooks of a mail agent, those for all agents included.
pub(super) async fn list(visit: &Visit<'_>, key: &str, notice: Option<Notice>) -> Page {
    let agent = visit.agent(key).await?;
    let after = visit.query.get("after");
    let all = visit.api(&agent, Method::GET, &format!("/api/v1/webhooks?limit={WEBHOOKS_MAX}"), &Value::Null).await?;
    let is_its = |webhook: &&Value| match webhook.get("mailAgent").and_then(Value::as_str) {
        Some(name) => name == agent.name,
        None => true,
    };
    let its = all.as_array().into_iter().flatten().filter(is_its).map(Shown::of);
    let mut webhooks: Vec<Shown> = its.skip_while(|webhook| webhook.id.as_str() <= after).collect();
    let bytes = |webhook: &Shown| ROW_BYTES + 3 * page::written(webhook.place()) + page::written(webhook.about());
    let more = page::fit(&mut webhooks, LIST_BYTES_MAX, bytes);
    let next = webhooks.last().filter(|_| more > 0).map(|last| format!("after={}", last.id));
    let here = visit.path(&format!("agents/{key}/webhooks"));
    let frame = visit.frame(&agent.name, Section::Agents, notice).here(here);
    let has_key = !agent.settings.authentication_key.is_empty();
    page::page(&WebhooksPage { frame, agent: &agent, tab: "webhooks", webhooks, next, has_key })
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
    /// What a draft is signed with that names no secret, and will be when it is saved.
    offered: String,
    /// Which notification a test is of.
    event: String,
    /// What a test or a look at one came to.
    tested: Option<Tested>,
}

impl WebhookPage<'_> {
    fn notifications(&self) -> &'static [(&'static str, &'static str)] {
        &NOTIFICATIONS[..USUAL]
    }

    fn rare(&self) -> &'static [(&'static str, &'static str)] {
        &NOTIFICATIONS[USUAL..]
    }

    fn has_rare(&self) -> bool {
        self.rare().iter().any(|(word, _)| self.webhook.wants(word))
    }

    fn formats(&self) -> &'static [(&'static str, &'static str)] {
        &FORMATS
    }

    fn hits(&self) -> &'static [(&'static str, &'static str)] {
        &HITS
    }
}

/// What a page about one webhook shows besides it.
#[derive(Default)]
struct Beside {
    secret: Option<String>,
    tested: Option<Tested>,
    notice: Option<Notice>,
}

fn form_page(visit: &Visit<'_>, agent: &MailAgent, webhook: Shown, beside: Beside) -> Page {
    let is_new = webhook.id.is_empty();
    let title = if is_new { "Add webhook" } else { "Edit webhook" };
    let place = if is_new { "new" } else { webhook.id.as_str() };
    let here = visit.path(&format!("agents/{}/webhooks/{place}", agent.key));
    let frame = visit.frame(title, Section::Agents, beside.notice).here(here);
    let typed = |text: &str| page::beginning(text, TYPED_BYTES_MAX).0.to_owned();
    let webhook = Shown { url: typed(&webhook.url), description: typed(&webhook.description), ..webhook };
    let offered = match visit.form.get("offered") {
        "" if is_new => visit.server.ids().webhook_secret(),
        offered => typed(offered),
    };
    let event = typed(visit.form.get("event"));
    let Beside { secret, tested, .. } = beside;
    page::page(&WebhookPage { frame, agent, webhook, is_new, secret, offered, event, tested })
}

/// The form for a new webhook.
pub(super) async fn new(visit: &Visit<'_>, key: &str) -> Page {
    let agent = visit.agent(key).await?;
    let events = NOTIFICATIONS[..4].iter().map(|(word, _)| (*word).to_owned()).collect();
    let format = FORMATS[0].0.to_owned();
    let webhook = Shown { format, hits: HITS[0].0.to_owned(), events, is_enabled: true, ..Shown::default() };
    form_page(visit, &agent, webhook, Beside::default())
}

/// The form for one that is there.
pub(super) async fn edit(visit: &Visit<'_>, key: &str, id: &str) -> Page {
    let agent = visit.agent(key).await?;
    let webhook = find(visit, &agent, id).await?;
    form_page(visit, &agent, webhook, Beside::default())
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
    form_page(visit, agent, webhook, Beside { secret, notice, tested: None })
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

/// What a form says of a webhook, in the API's words.
fn body_of(visit: &Visit<'_>, typed: &Shown) -> Value {
    let timeout = typed.timeout.parse::<u16>().map_or_else(|_| json!(typed.timeout), Value::from);
    let mut body = json!({
        "url": typed.url,
        "description": typed.description,
        "format": typed.format,
        "hits": typed.hits,
        "events": typed.events,
        "timeoutSeconds": if typed.timeout.is_empty() { Value::Null } else { timeout },
    });
    if let secret @ [_, ..] = visit.form.raw("secret").as_bytes() {
        body["secret"] = String::from_utf8_lossy(secret).into();
    }
    body
}

/// The same of one that is not there yet: it gets the secret that was offered, unless the agent's authentication key is
/// what such a webhook signs with.
fn draft_of(visit: &Visit<'_>, agent: &MailAgent, typed: &Shown) -> Value {
    let mut body = body_of(visit, typed);
    body["mailAgent"] = agent.name.as_str().into();
    let takes_key = Format::from_word(&typed.format).is_some_and(Format::takes_key_of_agent);
    let has_key = takes_key && !agent.settings.authentication_key.is_empty();
    let offered = visit.form.get("offered");
    if body.get("secret").is_none() && !has_key && !offered.is_empty() {
        body["secret"] = offered.into();
    }
    body
}

/// Adds a webhook, or changes the one with `id`.
pub(super) async fn save(visit: &Visit<'_>, key: &str, id: Option<&str>) -> Page {
    let agent = visit.agent(key).await?;
    if let Some(id) = id {
        find(visit, &agent, id).await?;
    }
    visit.may(Deed::Manage)?;
    let typed = Shown::typed(&visit.form, id);
    let saved = match id {
        None => visit.api(&agent, Method::POST, "/api/v1/webhooks", &draft_of(visit, &agent, &typed)).await,
        Some(id) => {
            let mut body = body_of(visit, &typed);
            body["enabled"] = typed.is_enabled.into();
            visit.api(&agent, Method::PATCH, &path_of(id), &body).await
        }
    };
    let saved = match saved {
        Ok(saved) => saved,
        Err(Problem::NotFound(_)) => return Err(Fault::NotFound),
        Err(problem) => {
            let notice = Notice::bad(page::told(&problem));
            return form_page(visit, &agent, typed, Beside { notice, ..Beside::default() });
        }
    };
    let webhook = Shown::of(&saved);
    visit.note(if id.is_none() { "added webhook" } else { "changed webhook" }, &webhook.id).await?;
    if id.is_some() {
        return list(visit, key, Notice::good("Saved.")).await;
    }
    let secret = saved.get("secret").and_then(Value::as_str).filter(|secret| !secret.is_empty()).map(str::to_owned);
    let notice = Notice::good("The webhook is configured.");
    form_page(visit, &agent, webhook, Beside { secret, notice, tested: None })
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

/// Tries a webhook out, while it is being made or when it is there, and shows what came of it.
pub(super) async fn test(visit: &Visit<'_>, key: &str, id: Option<&str>, trial: Trial) -> Page {
    let agent = visit.agent(key).await?;
    let saved = match id {
        Some(id) => Some(find(visit, &agent, id).await?),
        None => None,
    };
    visit.may(Deed::Manage)?;
    let typed = Shown::typed(&visit.form, id);
    let event = json!(visit.form.get("event"));
    let (path, mut body, webhook) = match saved {
        Some(saved) if typed.url != saved.url || typed.format != saved.format => {
            let notice = Notice::bad("Save first: a test goes to what is saved.");
            let webhook = Shown { events: typed.events, url: typed.url, format: typed.format, ..saved };
            return form_page(visit, &agent, webhook, Beside { notice, ..Beside::default() });
        }
        Some(saved) => {
            let path = path_of(&saved.id);
            let Shown { description, hits, timeout, events, is_enabled, .. } = typed;
            (path, json!({ "eventType": event }), Shown { description, hits, timeout, events, is_enabled, ..saved })
        }
        None => {
            let mut body = draft_of(visit, &agent, &typed);
            body["eventType"] = event;
            // A draft may be tried before it is decided what it is told of.
            if typed.events.is_empty() {
                body["events"] = json!([NOTIFICATIONS[0].0]);
            }
            ("/api/v1/webhooks".to_owned(), body, typed)
        }
    };
    if trial == Trial::Send && visit.form.has("preview") && visit.form.get("previewed") == visit.form.get("event") {
        body["preview"] = visit.form.get("preview").into();
    }
    let (trial, told, notice) = match tried(visit, &agent, &path, body.clone(), trial).await {
        Ok(told) => told,
        Err(problem) => {
            let notice = Notice::bad(page::told(&problem));
            return form_page(visit, &agent, webhook, Beside { notice, ..Beside::default() });
        }
    };
    if trial == Trial::Send {
        visit.note("tested webhook", id.unwrap_or(&webhook.url)).await?;
    }
    let offered = visit.form.get("offered");
    let signed_with = text(&body, "/secret");
    let tested = Tested {
        signed_with: if signed_with == offered { signed_with } else { String::new() },
        ..tested(&told, trial)
    };
    form_page(visit, &agent, webhook, Beside { tested: Some(tested), notice, ..Beside::default() })
}

/// Sets the key that TransMail webhooks of the agent are signed with, when they have no secret of their own.
pub(super) async fn set_authentication_key(visit: &Visit<'_>, key: &str) -> Page {
    let agent = visit.agent(key).await?;
    visit.may(Deed::Manage)?;
    let wanted = match visit.form.get("authentication_key") {
        "" => Value::Null,
        key => key.into(),
    };
    let told = if wanted.is_null() { "The authentication key is removed." } else { "The authentication key is set." };
    if let Err(problem) = visit.change_agent(&agent, json!({ "authenticationKey": wanted })).await {
        return list(visit, key, Notice::bad(page::told(&problem))).await;
    }
    visit.note("set authentication key", &agent.name).await?;
    list(visit, key, Notice::good(told)).await
}
