//! `postback tenant`, `agent`, `key`: who may send, as what, and how they are tracked. All of it works
//! beside a running server, which sees a change within seconds.

use anyhow::{Context, bail};
use clap::{Args, Subcommand};
use postback::config::{Loaded, nearest, plain};
use postback::intake::provision;
use postback::model::id::CredentialId;
use postback::model::network::Network;
use postback::model::tenant::{AgentSettings, Credential, CredentialKind, DEFAULT_AGENT, MailAgent, is_slug};
use serde_json::{Map, Value};

use super::database::Guest;
use super::{LIST_MAX, added, removed, say, say_table};

#[derive(Subcommand)]
pub(super) enum TenantCommand {
    /// Add a tenant with a mail agent `default`
    Add {
        /// Its name in URLs and in X-Tenant-ID: lower-case letters, digits, hyphens
        slug: String,
        /// Its name for people [default: the slug]
        #[arg(long)]
        name: Option<String>,
    },
    /// Show all tenants
    List,
    /// Remove a tenant with its agents, domains, keys and webhooks; what is queued is still delivered
    Remove {
        /// Which
        slug: String,
    },
}

/// Whose.
#[derive(Args)]
pub(super) struct Of {
    /// Of which tenant
    #[arg(long, value_name = "SLUG", default_value = "default")]
    pub(super) tenant: String,
    /// Of which mail agent
    #[arg(long, value_name = "NAME", default_value = DEFAULT_AGENT)]
    pub(super) agent: String,
}

#[derive(Subcommand)]
pub(super) enum AgentCommand {
    /// Add a mail agent
    Add {
        /// Its name
        name: String,
        /// Of which tenant
        #[arg(long, value_name = "SLUG", default_value = "default")]
        tenant: String,
    },
    /// Show a tenant's mail agents
    List {
        /// Of which tenant
        #[arg(long, value_name = "SLUG", default_value = "default")]
        tenant: String,
    },
    /// Change a mail agent, as in `postback agent set track_opens=false privacy=truncated_address`
    Set {
        /// What to change; without any, the settings are shown
        #[arg(value_name = "KEY=VALUE")]
        changes: Vec<String>,
        #[command(flatten)]
        of: Of,
    },
    /// Remove a mail agent with its domains, keys, webhooks and suppressions
    Remove {
        /// Which
        name: String,
        /// Of which tenant
        #[arg(long, value_name = "SLUG", default_value = "default")]
        tenant: String,
    },
}

#[derive(Subcommand)]
pub(super) enum KeyCommand {
    /// The keys that pixels, links and return paths are sealed with
    #[command(subcommand)]
    Ring(super::ring::RingCommand),
    /// Make an API key or SMTP password and show it, once
    Add {
        /// What people call it
        #[arg(long, default_value = "")]
        name: String,
        /// An SMTP password instead of an API key
        #[arg(long)]
        smtp: bool,
        /// From where it may be used, as in 10.0.0.0/8; again for more [default: anywhere]
        #[arg(long = "from", value_name = "NETWORK")]
        networks: Vec<Network>,
        /// An API key for every tenant, which may add tenants and set their limits
        #[arg(long, conflicts_with = "smtp")]
        operator: bool,
        #[command(flatten)]
        of: Of,
    },
    /// Show a tenant's keys, without their secrets
    List {
        /// Of which tenant
        #[arg(long, value_name = "SLUG", default_value = "default")]
        tenant: String,
    },
    /// Revoke a key; it stops working within five seconds
    Remove {
        /// Which: the id that `list` shows
        id: CredentialId,
        /// Of which tenant
        #[arg(long, value_name = "SLUG", default_value = "default")]
        tenant: String,
    },
}

pub(super) async fn tenant(loaded: &Loaded, command: TenantCommand) -> anyhow::Result<()> {
    let guest = Guest::open(loaded).await?;
    match command {
        TenantCommand::Add { slug, name } => {
            if !is_slug(&slug) {
                let rule =
                    "up to 63 lower-case letters, digits, and hyphens between them, and no word that the console needs";
                bail!("{slug:?} cannot be a slug: {rule}");
            }
            let tenant = provision::tenant(&slug, name.as_deref().unwrap_or(&slug), &guest.clock, &guest.ids);
            let agent = provision::agent(&tenant, DEFAULT_AGENT, &guest.clock, &guest.ids);
            added(guest.store.add_tenant(tenant, agent).await, &format!("tenant {slug:?}"))?;
            say(format!("added tenant {slug}; make it a key with `postback key add --tenant {slug}`"));
        }
        TenantCommand::List => {
            let tenants = guest.store.tenants("", LIST_MAX).await.context("list tenants")?;
            let rows: Vec<_> = tenants.into_iter().map(|t| [t.slug, t.name, t.created_at.rfc3339_seconds()]).collect();
            say_table(["SLUG", "NAME", "ADDED"], &rows);
        }
        TenantCommand::Remove { slug } => {
            removed(guest.store.remove_tenant(&slug).await, &format!("tenant {slug:?}"))?;
        }
    }
    guest.store.close().await;
    Ok(())
}

pub(super) async fn agent(loaded: &Loaded, command: AgentCommand) -> anyhow::Result<()> {
    let guest = Guest::open(loaded).await?;
    match command {
        AgentCommand::Add { name, tenant } => {
            let tenant = guest.tenant(&tenant).await?;
            let agent = provision::agent(&tenant, &name, &guest.clock, &guest.ids);
            let key = agent.key.clone();
            added(guest.store.add_agent(agent).await, &format!("mail agent {name:?}"))?;
            say(format!("added mail agent {name} with mailagent_key {key}"));
        }
        AgentCommand::List { tenant } => {
            let tenant = guest.tenant(&tenant).await?;
            let agents = guest.store.agents(tenant.id, "", LIST_MAX).await.context("list mail agents")?;
            let rows: Vec<_> = agents.into_iter().map(|a| [a.name, a.key, a.created_at.rfc3339_seconds()]).collect();
            say_table(["NAME", "MAILAGENT_KEY", "ADDED"], &rows);
        }
        AgentCommand::Set { changes, of } => {
            let mut agent = guest.agent(&of.tenant, &of.agent).await?;
            if !changes.is_empty() {
                let change = move |agent: &mut MailAgent| change(agent, &changes);
                let changed = guest.store.change_agent(agent.tenant, agent.id, change).await;
                agent = changed.context("change the mail agent")?.context("the mail agent is gone")?;
            }
            for (key, value) in as_object(&agent.settings)? {
                let is_secret = key == "authentication_key" && value != "";
                say(if is_secret { format!("{key}=\"***\"") } else { format!("{key}={value}") });
            }
        }
        AgentCommand::Remove { name, tenant } => {
            let tenant = guest.tenant(&tenant).await?;
            removed(guest.store.remove_agent(tenant.id, &name).await, &format!("mail agent {name:?}"))?;
        }
    }
    guest.store.close().await;
    Ok(())
}

/// Changes settings by their names; a value is JSON, or text that needs no quotes.
fn change(agent: &mut MailAgent, changes: &[String]) -> anyhow::Result<()> {
    let mut settings = as_object(&agent.settings)?;
    for change in changes {
        let (key, text) = change.split_once('=').with_context(|| format!("{change:?}: KEY=VALUE is wanted"))?;
        if !settings.contains_key(key) {
            let meant = nearest(key, settings.keys().map(String::as_str));
            let meant = meant.map_or(String::new(), |meant| format!("; did you mean `{meant}`?"));
            bail!("a mail agent has no setting `{key}`{meant}");
        }
        let value = serde_json::from_str(text).unwrap_or_else(|_| Value::String(text.to_owned()));
        settings.insert(key.to_owned(), value);
        agent.settings = serde_json::from_value(Value::Object(settings.clone()))
            .map_err(|fault| anyhow::anyhow!("set {key} to {text:?}: {}", plain(&fault.to_string())))?;
    }
    Ok(())
}

pub(super) async fn key(loaded: &Loaded, command: KeyCommand) -> anyhow::Result<()> {
    let guest = Guest::open(loaded).await?;
    match command {
        KeyCommand::Ring(command) => super::ring::run(&guest, command).await?,
        KeyCommand::Add { name, smtp, operator, networks, of } => {
            let agent = guest.agent(&of.tenant, &of.agent).await?;
            let kind = match (smtp, operator) {
                (true, _) => CredentialKind::SmtpPassword,
                (_, true) => CredentialKind::OperatorKey,
                _ => CredentialKind::ApiKey,
            };
            let (credential, secret) = provision::credential(&agent, kind, &name, &guest.clock, &guest.ids);
            let credential = Credential { networks, ..credential };
            let id = credential.id;
            added(guest.store.add_credential(credential).await, "key")?;
            say(secret.reveal());
            let user = if smtp { format!("; its user name is {}", of.tenant) } else { String::new() };
            eprintln!("This is {id}, shown once{user}.");
        }
        KeyCommand::List { tenant } => {
            let tenant = guest.tenant(&tenant).await?;
            let agents = guest.store.agents(tenant.id, "", LIST_MAX).await.context("list mail agents")?;
            let agent_of = |id| agents.iter().find(|agent| agent.id == id).map_or("", |agent| agent.name.as_str());
            let keys = guest.store.credentials(tenant.id).await.context("list keys")?;
            let row = |key: Credential| {
                let agent = agent_of(key.agent).to_owned();
                let from = key.networks.iter().map(Network::to_string).collect::<Vec<_>>().join(" ");
                let from = if from.is_empty() { "anywhere".to_owned() } else { from };
                [
                    key.id.to_string(),
                    key.kind.as_str().to_owned(),
                    agent,
                    from,
                    key.created_at.rfc3339_seconds(),
                    key.name,
                ]
            };
            let rows: Vec<_> = keys.into_iter().map(row).collect();
            say_table(["ID", "KIND", "AGENT", "FROM", "ADDED", "NAME"], &rows);
        }
        KeyCommand::Remove { id, tenant } => {
            let tenant = guest.tenant(&tenant).await?;
            removed(guest.store.remove_credential(tenant.id, id).await, &format!("key {id}"))?;
        }
    }
    guest.store.close().await;
    Ok(())
}

fn as_object(settings: &AgentSettings) -> anyhow::Result<Map<String, Value>> {
    match serde_json::to_value(settings)? {
        Value::Object(object) => Ok(object),
        other => bail!("the settings of a mail agent are no object but {other}"),
    }
}
