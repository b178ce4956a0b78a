//! `/api/v1/keys`: API keys and SMTP passwords. A secret is told once, by the answer that made it, and to nobody again.
//!
//! Operators' keys are there for operators alone. A new key is good from where the asking one is, for nothing that the
//! asking one may not do, and for no longer.

use hyper::StatusCode;

use super::super::json_answer;
use super::super::once::KeptInstead;
use super::super::operation::Call;
use super::super::problem::Problem;
use super::super::query;
use super::super::server::Answer;
use super::super::shape::{self, Count, Line, List, Nullable, When, Word, answer, request, vocabulary};
use super::super::wire::{Flaw, Wrong};
use super::{agent_or_own, all_agents, made, no_content};
use crate::intake::provision;
use crate::model::id::CredentialId;
use crate::model::permission::{CredentialSettings, Permission};
use crate::model::tenant::{Credential, CredentialKind, MailAgent};

/// Keys of one tenant.
const KEYS_MAX: usize = 1_000;

vocabulary! { CredentialKind:
    "api_key" CredentialKind::ApiKey,
    "operator_key" CredentialKind::OperatorKey,
    "smtp_password" CredentialKind::SmtpPassword,
}

vocabulary! { Permission:
    "send_emails" Permission::SendEmails,
    "view_analytics_api" Permission::ViewAnalytics,
    "manage_templates_api" Permission::ManageTemplates,
    "manage_suppressions_api" Permission::ManageSuppressions,
    "webhook_access" Permission::WebhookAccess,
    "manage_domains_api" Permission::ManageDomains,
    "administer_api" Permission::Administer,
}

request! {
    /// A new key.
    pub(super) struct NewKey {
        /// What people call it.
        name "name": Option<Line<0, 100>>,
        /// What it may be used for; `api_key` unless given. `operator_key` takes an operator's key.
        kind "kind": Option<Word<CredentialKind>>,
        /// Whose it is; the asking key's own mail agent unless given.
        mail_agent "mailAgent": Option<Line<1, 100>>,
        /// All that it may do; whatever the asking key may, unless given.
        permissions "permissions": Option<List<Word<Permission>, 1, { Permission::ALL.len() }>>,
        /// Requests that it may make in a minute; as many as the installation says unless given.
        rate_limit "rateLimit": Option<Count<1, 1_000_000>>,
        /// When it stops working; never unless given.
        expires_at "expiresAt": Option<When>,
    }
}

answer! {
    /// An API key or SMTP password.
    pub(super) struct Key {
        /// Its id.
        id "id": String,
        /// What people call it.
        name "name": String,
        /// What it may be used for.
        kind "kind": Word<CredentialKind>,
        /// Whose it is.
        mail_agent "mailAgent": String,
        /// The key itself; only in the answer that made it.
        secret "secret": Option<String>,
        /// All that it may do; absent when that is whatever its kind may.
        permissions "permissions": Option<Vec<Word<Permission>>>,
        /// Requests that it may make in a minute; absent when the installation says.
        rate_limit "rateLimit": Option<u32>,
        /// When it stops working; absent when never.
        expires_at "expiresAt": Option<When>,
        /// When it was made.
        created_at "createdAt": When,
        /// Who made it: a person's address, or the id of a key; null when that is not known.
        created_by "createdBy": Nullable<String>,
    }
}

/// `GET /api/v1/keys`.
pub(super) async fn list(call: Call) -> Result<Answer, Problem> {
    let limit = call.query.limit()? as usize;
    let after: Option<CredentialId> = call.query.value("after", "key id")?;
    let keys = known(&call).await?;
    let page = keys.into_iter().filter(|key| after.is_none_or(|after| key.id > after)).take(limit + 1).collect();
    let agents = all_agents(&call.server, &call.grant).await?;
    query::page(("/api/v1/keys", &call.query), page, |key: &Credential| key.id.to_string(), |key| shown(key, &agents))
}

/// `POST /api/v1/keys`.
pub(super) async fn add(call: Call) -> Result<Answer, Problem> {
    let NewKey { name, kind, mail_agent, permissions, rate_limit, expires_at } = shape::read(&call.body.bytes)?;
    let settings = CredentialSettings {
        permissions: permissions.map(|List(all)| all.into_iter().map(|Word(one)| one).collect()),
        rate_limit: rate_limit.map(|Count(limit)| u32::try_from(limit).unwrap_or(u32::MAX)),
        expires_at: expires_at.map(|When(at)| at),
    };
    if settings.is_over(call.server.clock().now()) {
        return Err(Flaw::at("/expiresAt", Wrong::Other("must be in the future".into())).into());
    }
    if let Some(more) = settings.permissions.iter().flatten().find(|one| !call.grant.may(**one)) {
        return Err(Problem::NotPermitted(*more));
    }
    let kind = kind.map_or(CredentialKind::ApiKey, |Word(kind)| kind);
    if kind == CredentialKind::OperatorKey && call.grant.kind != CredentialKind::OperatorKey {
        return Err(Problem::OperatorOnly);
    }
    let store = call.server.store();
    if store.credentials(call.grant.tenant.id).await?.len() >= KEYS_MAX {
        return Err(Problem::Conflict("A tenant can have at most 1000 keys"));
    }
    let agent = mail_agent.as_ref().map(|Line(name)| name.as_str());
    let agent = agent_or_own(&call.server, &call.grant, agent).await?;
    let name = name.map_or(String::new(), |Line(name)| name);
    let (key, secret) = provision::credential(&agent, kind, &name, call.server.clock(), call.server.ids());
    let key = Credential { settings, created_by: call.grant.author(), ..key }.bound_as(&call.grant);
    store.add_credential(key.clone()).await?;
    let place = format!("/api/v1/keys/{}", key.id);
    let told = shown(key, &[agent]);
    let kept = KeptInstead(serde_json::json!(told).to_string());
    let mut answer = made(&Key { secret: Some(secret.reveal().to_owned()), ..told }, &place);
    answer.extensions_mut().insert(kept);
    Ok(answer)
}

/// `GET /api/v1/keys/{id}`.
pub(super) async fn get(call: Call) -> Result<Answer, Problem> {
    let key = find(&call).await?;
    Ok(json_answer(StatusCode::OK, &shown(key, &all_agents(&call.server, &call.grant).await?)))
}

/// `DELETE /api/v1/keys/{id}`: it stops working within five seconds.
pub(super) async fn remove(call: Call) -> Result<Answer, Problem> {
    let tenant = call.grant.tenant.id;
    if !call.server.store().remove_credential(tenant, find(&call).await?.id).await? {
        return Err(Problem::NotFound("Key"));
    }
    call.server.intake().forget_tenant(tenant);
    Ok(no_content())
}

/// The tenant's keys that the caller may know of.
async fn known(call: &Call) -> Result<Vec<Credential>, Problem> {
    let is_operator = call.grant.kind == CredentialKind::OperatorKey;
    let mut keys = call.server.store().credentials(call.grant.tenant.id).await?;
    keys.retain(|key| is_operator || key.kind != CredentialKind::OperatorKey);
    Ok(keys)
}

/// The key of the path.
async fn find(call: &Call) -> Result<Credential, Problem> {
    let nothing = Problem::NotFound("Key");
    let id: CredentialId = call.place().parse().map_err(|_| nothing.clone())?;
    known(call).await?.into_iter().find(|key| key.id == id).ok_or(nothing)
}

fn shown(key: Credential, agents: &[MailAgent]) -> Key {
    let agent = agents.iter().find(|agent| agent.id == key.agent);
    Key {
        id: key.id.to_string(),
        name: key.name,
        kind: Word(key.kind),
        mail_agent: agent.map_or(String::new(), |agent| agent.name.clone()),
        secret: None,
        permissions: key.settings.permissions.map(|all| all.into_iter().map(Word).collect()),
        rate_limit: key.settings.rate_limit,
        expires_at: key.settings.expires_at.map(When),
        created_at: When(key.created_at),
        created_by: Nullable::of(key.created_by),
    }
}
