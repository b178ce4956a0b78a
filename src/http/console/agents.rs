//! Mail agents: the list, and a page with tabs for each.

use askama::Template;

use super::form::Form;
use super::page::{self, Frame, Notice, Section, shown};
use super::visit::AGENTS_MAX;
use super::{Fault, Page, Visit, go};
use crate::intake::provision;
use crate::model::address::{Address, Mailbox, host_pattern};
use crate::model::id::CredentialId;
use crate::model::tenant::{AgentSettings, Clicks, Credential, CredentialKind, MailAgent, Privacy};
use crate::model::user::Deed;
use crate::store::StoreError;

/// Characters of a name.
const NAME_CHARS_MAX: usize = 100;
/// Hosts whose links stay as they are.
const HOSTS_MAX: usize = 100;

/// A mail agent in the list.
struct Row {
    name: String,
    key: String,
    domains: Vec<String>,
    webhooks: usize,
}

#[derive(Template)]
#[template(path = "console/agents.html")]
struct AgentsPage {
    frame: Frame,
    agents: Vec<Row>,
}

/// All mail agents.
pub(super) async fn list(visit: &Visit<'_>, notice: Option<Notice>) -> Page {
    let store = visit.server.store();
    let webhooks = store.webhooks(visit.tenant.id, None, AGENTS_MAX).await?;
    let mut agents = Vec::new();
    for agent in visit.agents().await? {
        let domains = store.domains(agent.id).await?;
        let webhooks = webhooks.iter().filter(|webhook| webhook.agent.is_none_or(|id| id == agent.id)).count();
        agents.push(Row { name: agent.name, key: agent.key, domains, webhooks });
    }
    page::page(&AgentsPage { frame: visit.frame("Mail agents", Section::Agents, notice), agents })
}

/// Adds a mail agent.
pub(super) async fn add(visit: &Visit<'_>) -> Page {
    visit.may(Deed::Manage)?;
    let name = visit.form.get("name");
    if name.is_empty() || name.chars().count() > NAME_CHARS_MAX || name.chars().any(char::is_control) {
        return list(visit, Notice::bad("A mail agent has a name of at most 100 characters.")).await;
    }
    let agent = provision::agent(&visit.tenant, name, visit.server.clock(), visit.server.ids());
    let path = visit.path(&format!("agents/{}/setup", agent.key));
    match visit.server.store().add_agent(agent).await {
        Ok(()) => {}
        Err(StoreError::Conflict) => return list(visit, Notice::bad("There is a mail agent with this name.")).await,
        Err(fault) => return Err(fault.into()),
    }
    visit.note("added mail agent", name).await?;
    Ok(go(&path))
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
    /// A secret that was just made: kind, name and secret.
    fresh: Option<(&'static str, String)>,
    privacy: &'static str,
    clicks: &'static str,
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
        frame: visit.frame(&agent.name, Section::Agents, notice),
        tab,
        http: visit.server.house().door("http").to_owned(),
        smtp: visit.server.house().door("smtp").to_owned(),
        keys: Vec::new(),
        fresh,
        privacy: privacy_word(agent.settings.privacy),
        clicks: clicks_word(agent.settings.track_clicks),
        agent: &agent,
    };
    match tab {
        "setup" => {
            let keys = store.credentials(visit.tenant.id).await?;
            page.keys = keys.iter().filter(|key| key.agent == agent.id).map(shown_key).collect();
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
        CredentialKind::SmtpPassword => "SMTP password",
    };
    Key { id: credential.id, name: credential.name.clone(), kind, since: shown(credential.created_at) }
}

fn privacy_word(privacy: Privacy) -> &'static str {
    match privacy {
        Privacy::Full => "full",
        Privacy::TruncatedAddress => "truncated",
        Privacy::AggregateOnly => "aggregate",
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
    let mut agent = visit.agent(key).await?;
    visit.may(Deed::Manage)?;
    if let Err(complaint) = put(&visit.form, &mut agent.settings) {
        return tab(visit, key, "settings", Notice::bad(complaint)).await;
    }
    if !visit.server.store().change_agent(&agent).await? {
        return Err(Fault::NotFound);
    }
    visit.note("changed mail agent", &agent.name).await?;
    tab(visit, key, "settings", Notice::good("Saved.")).await
}

/// Takes over what a form says; what is wrong with it, when something is.
fn put(form: &Form, settings: &mut AgentSettings) -> Result<(), String> {
    let address = |name: &str| match form.get(name) {
        "" => Ok(String::new()),
        text => {
            text.parse::<Address>().map(|address| address.to_string()).map_err(|_| format!("{text} is no address."))
        }
    };
    settings.track_opens = form.has("track_opens");
    settings.track_text_links = form.has("track_text_links");
    settings.pixel_on_top = form.has("pixel_on_top");
    settings.hidden_link = form.has("hidden_link");
    settings.durable_hits = form.has("durable_hits");
    settings.track_clicks = match form.get("track_clicks") {
        "on" => Clicks::On,
        "auto" => Clicks::Auto,
        _ => Clicks::Off,
    };
    settings.privacy = match form.get("privacy") {
        "truncated" => Privacy::TruncatedAddress,
        "aggregate" => Privacy::AggregateOnly,
        _ => Privacy::Full,
    };
    let hosts = form.lines("untracked_hosts");
    let hosts =
        hosts.split_whitespace().map(|host| host_pattern(host).ok_or_else(|| format!("{host} is no host name.")));
    settings.untracked_hosts = hosts.take(HOSTS_MAX).collect::<Result<_, _>>()?;
    settings.bounce_address = address("bounce_address")?;
    let from = address("from_email")?;
    let name: String = form.get("from_name").chars().filter(|c| !c.is_control()).take(NAME_CHARS_MAX).collect();
    settings.from = (!from.is_empty()).then_some(Mailbox { address: from, name });
    settings.daily_limit = match form.get("daily_limit") {
        "" => None,
        text => Some(text.parse().map_err(|_| "A daily limit is a number of recipients.".to_owned())?),
    };
    Ok(())
}

/// Makes a credential and shows its secret, this once.
pub(super) async fn add_key(visit: &Visit<'_>, key: &str) -> Page {
    let agent = visit.agent(key).await?;
    visit.may(Deed::Manage)?;
    let (kind, word) = match visit.form.get("kind") {
        "smtp_password" => (CredentialKind::SmtpPassword, "SMTP password"),
        _ => (CredentialKind::ApiKey, "API key"),
    };
    let name: String = visit.form.get("name").chars().filter(|c| !c.is_control()).take(NAME_CHARS_MAX).collect();
    let name = if name.is_empty() { "console" } else { &name };
    let (credential, secret) = provision::credential(&agent, kind, name, visit.server.clock(), visit.server.ids());
    let id = credential.id;
    visit.server.store().add_credential(credential).await?;
    visit.note("added credential", &id.to_string()).await?;
    tab_with(visit, key, "setup", None, Some((word, secret.reveal().to_owned()))).await
}

/// Revokes a credential.
pub(super) async fn remove_key(visit: &Visit<'_>, key: &str) -> Page {
    visit.agent(key).await?;
    visit.may(Deed::Manage)?;
    let id: CredentialId = visit.form.get("id").parse().map_err(|_| Fault::NotFound)?;
    if !visit.server.store().remove_credential(visit.tenant.id, id).await? {
        return Err(Fault::NotFound);
    }
    visit.note("removed credential", &id.to_string()).await?;
    tab(visit, key, "setup", Notice::good("It is revoked.")).await
}
