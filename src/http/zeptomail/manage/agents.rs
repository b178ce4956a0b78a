//! `/v1.1/agents`: mail agents, their API keys and their SMTP passwords.
//!
//! Only an agent that is shut down can be removed; `"status": "shutdown"` in a change does that, and `"active"` takes it
//! back. The secret of a key is in the answer that makes it, and nowhere else.

use hyper::StatusCode;
use serde_json::{Value, json};

use super::super::super::json;
use super::super::super::once::KeptInstead;
use super::super::super::problem::Problem;
use super::super::super::server::Answer;
use super::super::super::wire::{self, Fields, Flaw, Wrong};
use super::super::super::{Server, agents, no_content};
use super::super::times;
use super::{agent, name, needed_name, success};
use crate::intake::caller::API_KEY_USER;
use crate::intake::provision;
use crate::model::id::CredentialId;
use crate::model::tenant::{Credential, CredentialKind, DEFAULT_AGENT, Grant, MailAgent};
use crate::store::StoreError;

/// Mail agents of one tenant.
const AGENTS_MAX: u32 = 500;
/// Characters of an agent's name.
const NAME_CHARS_MAX: usize = 100;
/// Characters of its description.
const DESCRIPTION_CHARS_MAX: usize = 500;
/// Keys of one kind that one agent may have.
const KEYS_MAX: usize = 100;
/// All that is kept of a secret is its digest.
const MASKED: &str = "****************";
/// What an agent can be told to be.
const STATUSES: [&str; 2] = ["active", "shutdown"];

pub(in super::super) async fn list(server: &Server, grant: &Grant) -> Result<Answer, Problem> {
    let agents = server.store().agents(grant.tenant.id, "", AGENTS_MAX).await?;
    Ok(success(StatusCode::OK, agents.iter().map(shown).collect::<Vec<_>>()))
}

pub(in super::super) async fn show(server: &Server, grant: &Grant, key: &str) -> Result<Answer, Problem> {
    Ok(success(StatusCode::OK, shown(&agent(server, grant, key).await?)))
}

pub(in super::super) async fn add(server: &Server, grant: &Grant, body: &[u8]) -> Result<Answer, Problem> {
    let (name, description) = {
        let json = json::read(body).map_err(Problem::Json)?;
        let fields = wire::body(&json)?;
        (needed_name(&fields, "mailagent_name", NAME_CHARS_MAX)?, description(&fields)?)
    };
    let count = server.store().agents(grant.tenant.id, "", AGENTS_MAX).await?.len();
    if count >= AGENTS_MAX as usize {
        return Err(Problem::Full("The tenant has as many mail agents as it may have"));
    }
    let mut agent = provision::agent(&grant.tenant, &name, server.clock(), server.ids());
    agent.settings.description = description.unwrap_or_default();
    agent.authors = grant.authors();
    server.store().add_agent(agent.clone()).await.map_err(|fault| taken(fault, name))?;
    Ok(success(StatusCode::CREATED, shown(&agent)))
}

pub(in super::super) async fn change(
    server: &Server,
    grant: &Grant,
    key: &str,
    body: &[u8],
) -> Result<Answer, Problem> {
    let agent = agent(server, grant, key).await?;
    let (name, description, is_shut_down) = {
        let json = json::read(body).map_err(Problem::Json)?;
        let fields = wire::body(&json)?;
        let name = match fields.get("mailagent_name") {
            Some(_) => Some(needed_name(&fields, "mailagent_name", NAME_CHARS_MAX)?),
            None => None,
        };
        let is_shut_down = match fields.text("status")? {
            None => None,
            Some("active") => Some(false),
            Some("shutdown") => Some(true),
            Some(other) => return Err(Flaw::at("/status", Wrong::OneOf(&STATUSES)).showing(other).into()),
        };
        (name, description(&fields)?, is_shut_down)
    };
    if let Some(name) = name.as_ref().filter(|name| agent.name == DEFAULT_AGENT && **name != agent.name) {
        let wrong = Wrong::Other("the tenant's first mail agent keeps its name".into());
        return Err(Flaw::at("/mailagent_name", wrong).showing(name).into());
    }
    let (wanted, author) = (name.clone().unwrap_or_default(), grant.author());
    let change = move |agent: &mut MailAgent| {
        agent.authors.updated_by = author;
        agent.name = name.unwrap_or_else(|| std::mem::take(&mut agent.name));
        let settings = &mut agent.settings;
        settings.description = description.unwrap_or_else(|| std::mem::take(&mut settings.description));
        settings.is_shut_down = is_shut_down.unwrap_or(settings.is_shut_down);
        Ok(())
    };
    let changed = server.store().change_agent(agent.tenant, agent.id, change).await;
    server.intake().forget_tenant(agent.tenant);
    let changed = changed.map_err(|fault| taken(fault, wanted))?;
    Ok(success(StatusCode::OK, shown(&changed.ok_or(Problem::NotFound("Mail agent"))?)))
}

pub(in super::super) async fn remove(server: &Server, grant: &Grant, key: &str) -> Result<Answer, Problem> {
    let agent = agent(server, grant, key).await?;
    if !agent.settings.is_shut_down {
        let wrong = Wrong::Other("only a mail agent that is shut down can be removed".into());
        return Err(Flaw::at("/mailagent_key", wrong).showing(key).into());
    }
    agents::remove(server, grant, &agent).await?;
    Ok(no_content())
}

pub(in super::super) async fn keys(
    server: &Server,
    grant: &Grant,
    key: &str,
    kind: CredentialKind,
) -> Result<Answer, Problem> {
    let agent = agent(server, grant, key).await?;
    let credentials = credentials(server, &agent, kind).await?;
    let shown = |credential: &Credential| {
        let secret = match kind {
            CredentialKind::ApiKey | CredentialKind::OperatorKey => "apikey",
            CredentialKind::SmtpPassword => "password",
        };
        json!({
            "id": credential.id,
            secret: MASKED,
            "username": username(&agent, kind),
            "created_time": times::told(credential.created_at),
        })
    };
    Ok(success(StatusCode::OK, credentials.iter().map(shown).collect::<Vec<_>>()))
}

pub(in super::super) async fn add_key(
    server: &Server,
    grant: &Grant,
    key: &str,
    kind: CredentialKind,
) -> Result<Answer, Problem> {
    let agent = agent(server, grant, key).await?;
    if credentials(server, &agent, kind).await?.len() >= KEYS_MAX {
        return Err(Problem::Full("The mail agent has as many keys of this kind as it may have"));
    }
    let (credential, secret) = provision::credential(&agent, kind, "ZeptoMail API", server.clock(), server.ids());
    let credential = Credential { created_by: grant.author(), ..credential.bound_as(grant) };
    let told = |secret: &str| {
        json!({
            "id": credential.id,
            "password": secret,
            "username": username(&agent, kind),
            "created_time": times::told(credential.created_at),
        })
    };
    let (told, again) = (told(secret.reveal()), told(MASKED));
    server.store().add_credential(credential).await?;
    let mut answer = success(StatusCode::CREATED, told);
    let kept = json!({ "data": again, "status": "success" });
    answer.extensions_mut().insert(KeptInstead(kept.to_string()));
    Ok(answer)
}

pub(in super::super) async fn remove_key(
    server: &Server,
    grant: &Grant,
    key: &str,
    kind: CredentialKind,
    id: &str,
) -> Result<Answer, Problem> {
    let nothing = Problem::NotFound("Key");
    let agent = agent(server, grant, key).await?;
    let id: CredentialId = id.parse().map_err(|_| nothing.clone())?;
    let is_own = credentials(server, &agent, kind).await?.iter().any(|credential| credential.id == id);
    if !is_own || !server.store().remove_credential(grant.tenant.id, id).await? {
        return Err(nothing);
    }
    server.intake().forget_tenant(agent.tenant);
    Ok(no_content())
}

async fn credentials(server: &Server, agent: &MailAgent, kind: CredentialKind) -> Result<Vec<Credential>, Problem> {
    let all = server.store().credentials(agent.tenant).await?;
    Ok(all.into_iter().filter(|credential| credential.agent == agent.id && credential.kind == kind).collect())
}

/// Whom a client says that it is, beside the secret.
fn username(agent: &MailAgent, kind: CredentialKind) -> &str {
    match kind {
        CredentialKind::ApiKey | CredentialKind::OperatorKey => API_KEY_USER,
        CredentialKind::SmtpPassword => &agent.key,
    }
}

fn description(fields: &Fields<'_, '_>) -> Result<Option<String>, Flaw> {
    name(fields, "description", DESCRIPTION_CHARS_MAX)
}

fn taken(fault: StoreError, name: String) -> Problem {
    match fault {
        StoreError::Conflict => Problem::Taken { field: "mailagent_name", value: name, what: "Agent name" },
        other => other.into(),
    }
}

fn shown(agent: &MailAgent) -> Value {
    json!({
        "mailagent_name": agent.name,
        "created_time": times::told(agent.created_at),
        "description": agent.settings.description,
        "mailagent_key": agent.key,
        "status": if agent.settings.is_shut_down { "shutdown" } else { "active" },
    })
}
