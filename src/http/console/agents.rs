//! Mail agents: the list, and a page with tabs for each.

use askama::Template;
use hyper::Method;
use serde_json::{Value, json};

use super::exchange::text;
use super::form::Form;
use super::page::{self, Frame, Notice, Section, shown};
use super::visit::AGENTS_MAX;
use super::{Fault, Page, Visit, go};
use crate::http::query::encoded;
use crate::model::id::CredentialId;
use crate::model::tenant::{Clicks, Credential, CredentialKind, MailAgent, Privacy};
use crate::model::user::Deed;

/// What people call such a credential.
const SMTP_PASSWORD: &str = "SMTP password";

/// Mail agents on one page.
const ROWS_MAX: u32 = 100;
/// Domains that are named of each.
const DOMAINS_MAX: usize = 3;
/// Bytes of a list, and what a mail agent and a key take of it besides their names.
const LIST_BYTES_MAX: usize = 100_000;
const AGENT_BYTES: usize = 400;
const KEY_BYTES: usize = 600;

/// A mail agent in the list.
struct Row {
    name: String,
    key: String,
    domains: Vec<String>,
    /// Domains that are not named.
    more: usize,
    webhooks: usize,
}

#[derive(Template)]
#[template(path = "console/agents.html")]
struct AgentsPage {
    frame: Frame,
    agents: Vec<Row>,
    /// The query of the next page.
    next: Option<String>,
}

/// All mail agents.
pub(super) async fn list(visit: &Visit<'_>, notice: Option<Notice>) -> Page {
    let store = visit.server.store();
    let webhooks = store.webhooks(visit.tenant.id, None, AGENTS_MAX).await?;
    let mut found = store.agents(visit.tenant.id, visit.query.get("after"), ROWS_MAX + 1).await?;
    let has_more = found.len() > ROWS_MAX as usize;
    found.truncate(ROWS_MAX as usize);
    let mut agents = Vec::new();
    for agent in found {
        let mut domains = store.domains(agent.id).await?;
        let more = domains.len().saturating_sub(DOMAINS_MAX);
        domains.truncate(DOMAINS_MAX);
        let webhooks = webhooks.iter().filter(|webhook| webhook.agent.is_none_or(|id| id == agent.id)).count();
        agents.push(Row { name: agent.name, key: agent.key, domains, more, webhooks });
    }
    let bytes = |row: &Row| AGENT_BYTES + page::written(&row.name) + page::written(&row.domains.concat());
    let has_more = page::fit(&mut agents, LIST_BYTES_MAX, bytes) > 0 || has_more;
    let next = agents.last().filter(|_| has_more).map(|last| format!("after={}", encoded(&last.name)));
    let frame = visit.frame("Mail agents", Section::Agents, notice).here(visit.path("agents"));
    page::page(&AgentsPage { frame, agents, next })
}

/// Adds a mail agent.
pub(super) async fn add(visit: &Visit<'_>) -> Page {
    visit.may(Deed::Manage)?;
    let name = visit.form.get("name");
    match visit.api_of_tenant(Method::POST, "/api/v1/agents", &json!({ "name": name })).await {
        Ok(made) => {
            visit.note("added mail agent", name).await?;
            let key = made.get("key").and_then(Value::as_str).unwrap_or_default();
            Ok(go(&visit.path(&format!("agents/{key}/setup"))))
        }
        Err(problem) => list(visit, Notice::bad(page::told(&problem))).await,
    }
}

/// A credential as it is shown: never the secret.
struct Key {
    id: CredentialId,
    name: String,
    kind: &'static str,
    since: String,
}

#[derive(Template)]
#[template(path = "console/agent.html")]
struct AgentPage<'t> {
    frame: Frame,
    agent: &'t MailAgent,
    tab: &'t str,
    http: String,
    smtp: String,
    keys: Vec<Key>,
    more_keys: usize,
    /// A secret that was just made: kind, name and secret.
    fresh: Option<(&'static str, String)>,
    privacy: &'static str,
    clicks: &'static str,
}

impl AgentPage<'_> {
    /// The key to paste: the real one, this once.
    fn key(&self) -> &str {
        self.fresh.as_ref().map_or("YOUR_API_KEY", |(_, secret)| secret)
    }

    /// Under which name it is used.
    fn smtp_user(&self) -> &str {
        let is_password = self.fresh.as_ref().is_some_and(|(kind, _)| *kind == SMTP_PASSWORD);
        if is_password { self.frame.slug() } else { "emailapikey" }
    }

    fn smtp_host(&self) -> &str {
        self.smtp.rsplit_once(':').map_or("", |(host, _)| host)
    }

    fn smtp_port(&self) -> &str {
        self.smtp.rsplit_once(':').map_or("", |(_, port)| port)
    }
}

/// One tab of a mail agent's page.
pub(super) async fn tab(visit: &Visit<'_>, key: &str, tab: &str, notice: Option<Notice>) -> Page {
    tab_with(visit, key, tab, notice, None).await
}

async fn tab_with(
    visit: &Visit<'_>,
    key: &str,
    tab: &str,
    notice: Option<Notice>,
    fresh: Option<(&'static str, String)>,
) -> Page {
    let agent = visit.agent(key).await?;
    let store = visit.server.store();
    let mut page = AgentPage {
        frame: visit.frame(&agent.name, Section::Agents, notice).here(visit.path(&format!("agents/{key}/{tab}"))),
        tab,
        http: match visit.server.house().door("https") {
            "" => format!("http://{}", visit.server.house().door("http")),
            door => format!("https://{door}"),
        },
        smtp: visit.server.house().door("smtp").to_owned(),
        keys: Vec::new(),
        more_keys: 0,
        fresh,
        privacy: privacy_word(agent.settings.privacy),
        clicks: clicks_word(agent.settings.track_clicks),
        agent: &agent,
    };
    match tab {
        "setup" => {
            let keys = store.credentials(visit.tenant.id).await?;
            page.keys = keys.iter().rev().filter(|key| key.agent == agent.id).map(shown_key).collect();
            let bytes = |key: &Key| KEY_BYTES + 3 * page::written(&key.name);
            page.more_keys = page::fit(&mut page.keys, LIST_BYTES_MAX, bytes);
        }
        "settings" => {}
        _ => return Err(Fault::NotFound),
    }
    page::page(&page)
}

fn shown_key(credential: &Credential) -> Key {
    let kind = match credential.kind {
        CredentialKind::ApiKey => "API key",
        CredentialKind::OperatorKey => "operator's key",
        CredentialKind::SmtpPassword => SMTP_PASSWORD,
    };
    Key { id: credential.id, name: credential.name.clone(), kind, since: shown(credential.created_at) }
}

fn privacy_word(privacy: Privacy) -> &'static str {
    match privacy {
        Privacy::Full => "full",
        Privacy::TruncatedAddress => "truncated_address",
        Privacy::AggregateOnly => "aggregate_only",
    }
}

fn clicks_word(clicks: Clicks) -> &'static str {
    match clicks {
        Clicks::Off => "off",
        Clicks::On => "on",
        Clicks::Auto => "auto",
    }
}

/// Sets what may be set.
pub(super) async fn set(visit: &Visit<'_>, key: &str) -> Page {
    let agent = visit.agent(key).await?;
    visit.may(Deed::Manage)?;
    if let Err(problem) = visit.change_agent(&agent, settings_of(&visit.form)).await {
        return tab(visit, key, "settings", Notice::bad(page::told(&problem))).await;
    }
    visit.note("changed mail agent", &agent.name).await?;
    tab(visit, key, "settings", Notice::good("Saved.")).await
}

/// What a form says, in the API's words.
fn settings_of(form: &Form) -> Value {
    let some = |name: &str| Some(form.get(name)).filter(|text| !text.is_empty()).map(str::to_owned);
    let hosts = form.lines("untracked_hosts");
    json!({
        "trackOpens": form.has("track_opens"),
        "trackTextLinks": form.has("track_text_links"),
        "pixelOnTop": form.has("pixel_on_top"),
        "hiddenLink": form.has("hidden_link"),
        "durableHits": form.has("durable_hits"),
        "trackClicks": match form.get("track_clicks") {
            "auto" => json!("auto"),
            word => json!(word == "on"),
        },
        "privacy": some("privacy"),
        "untrackedHosts": hosts.split_whitespace().collect::<Vec<_>>(),
        "bounceAddress": some("bounce_address"),
        "fromEmail": some("from_email"),
        "fromName": some("from_email").and_then(|_| some("from_name")),
        "dailyLimit": some("daily_limit").map(|text| text.parse::<u64>().map_or(Value::from(text), Value::from)),
        "sandbox": form.has("sandbox"),
    })
}

/// Makes a credential and shows its secret, this once.
pub(super) async fn add_key(visit: &Visit<'_>, key: &str) -> Page {
    let agent = visit.agent(key).await?;
    visit.may(Deed::Manage)?;
    let (kind, word) = match visit.form.get("kind") {
        "smtp_password" => ("smtp_password", SMTP_PASSWORD),
        _ => ("api_key", "API key"),
    };
    let name = match visit.form.get("name") {
        "" => "console",
        name => name,
    };
    let body = json!({ "name": name, "kind": kind, "mailAgent": agent.name });
    let made = match visit.api(&agent, Method::POST, "/api/v1/keys", &body).await {
        Ok(made) => made,
        Err(problem) => return tab(visit, key, "setup", Notice::bad(page::told(&problem))).await,
    };
    visit.note("added credential", &text(&made, "/id")).await?;
    tab_with(visit, key, "setup", None, Some((word, text(&made, "/secret")))).await
}

/// Revokes a credential.
pub(super) async fn remove_key(visit: &Visit<'_>, key: &str) -> Page {
    let agent = visit.agent(key).await?;
    visit.may(Deed::Manage)?;
    let id = visit.form.get("id");
    visit.api(&agent, Method::DELETE, &format!("/api/v1/keys/{}", encoded(id)), &Value::Null).await?;
    visit.note("removed credential", id).await?;
    tab(visit, key, "setup", Notice::good("It is revoked.")).await
}
