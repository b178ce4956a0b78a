//! Mail agents: the list, and a page with tabs for each.

use askama::Template;

use super::page::{self, Frame, Notice, Section, shown};
use super::{AGENTS_MAX, Fault, Page, Visit, go};
use crate::intake::provision;
use crate::model::address::domain_name;
use crate::model::id::CredentialId;
use crate::model::tenant::{Clicks, Credential, CredentialKind, MailAgent, Privacy};
use crate::model::user::Deed;
use crate::store::StoreError;

/// Characters of a name.
const NAME_CHARS_MAX: usize = 100;

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
    smtp_host: String,
    keys: Vec<Key>,
    /// A secret that was just made: kind, name and secret.
    fresh: Option<(&'static str, String)>,
    domains: Vec<String>,
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
        http: visit.server.settings().address.to_string(),
        smtp_host: visit.server.settings().address.ip().to_string(),
        keys: Vec::new(),
        fresh,
        domains: Vec::new(),
        privacy: privacy_word(agent.settings.privacy),
        clicks: clicks_word(agent.settings.track_clicks),
        agent: &agent,
    };
    match tab {
        "setup" => {
            let keys = store.credentials(visit.tenant.id).await?;
            page.keys = keys.iter().filter(|key| key.agent == agent.id).map(shown_key).collect();
        }
        "domains" => page.domains = store.domains(agent.id).await?,
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

/// Sets tracking and privacy.
pub(super) async fn set(visit: &Visit<'_>, key: &str) -> Page {
    visit.may(Deed::Manage)?;
    let mut agent = visit.agent(key).await?;
    agent.settings.track_opens = visit.form.has("track_opens");
    agent.settings.track_clicks = match visit.form.get("track_clicks") {
        "on" => Clicks::On,
        "auto" => Clicks::Auto,
        _ => Clicks::Off,
    };
    agent.settings.privacy = match visit.form.get("privacy") {
        "truncated" => Privacy::TruncatedAddress,
        "aggregate" => Privacy::AggregateOnly,
        _ => Privacy::Full,
    };
    if !visit.server.store().change_agent(&agent).await? {
        return Err(Fault::NotFound);
    }
    visit.note("changed mail agent", &agent.name).await?;
    tab(visit, key, "settings", Notice::good("Saved.")).await
}

/// Adds a domain that the agent may send from.
pub(super) async fn add_domain(visit: &Visit<'_>, key: &str) -> Page {
    visit.may(Deed::Manage)?;
    let agent = visit.agent(key).await?;
    let Ok(domain) = domain_name(visit.form.get("domain")) else {
        return tab(visit, key, "domains", Notice::bad("This is no domain name.")).await;
    };
    match visit.server.store().add_domain(agent.id, &domain).await {
        Ok(()) => {}
        Err(StoreError::Conflict) => return tab(visit, key, "domains", Notice::bad("It is there already.")).await,
        Err(fault) => return Err(fault.into()),
    }
    visit.note("added domain", &domain).await?;
    tab(visit, key, "domains", Notice::good(format!("Added {domain}."))).await
}

/// Removes a domain.
pub(super) async fn remove_domain(visit: &Visit<'_>, key: &str) -> Page {
    visit.may(Deed::Manage)?;
    let agent = visit.agent(key).await?;
    let domain = visit.form.get("domain");
    if !visit.server.store().remove_domain(agent.id, domain).await? {
        return Err(Fault::NotFound);
    }
    visit.note("removed domain", domain).await?;
    tab(visit, key, "domains", Notice::good(format!("Removed {domain}."))).await
}

/// Makes a credential and shows its secret, this once.
pub(super) async fn add_key(visit: &Visit<'_>, key: &str) -> Page {
    visit.may(Deed::Manage)?;
    let agent = visit.agent(key).await?;
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
    visit.may(Deed::Manage)?;
    let id: CredentialId = visit.form.get("id").parse().map_err(|_| Fault::NotFound)?;
    if !visit.server.store().remove_credential(visit.tenant.id, id).await? {
        return Err(Fault::NotFound);
    }
    visit.note("removed credential", &id.to_string()).await?;
    tab(visit, key, "setup", Notice::good("It is revoked.")).await
}
