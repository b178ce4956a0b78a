//! `/v1.1/suppressions/email` and `/domain`: whom mail does not go to.
//!
//! An entry holds for the agents that it names, or for all of the tenant, those that come later included. What bounces
//! and complaints wrote stands in the same list. `suppress_tracking` is for addresses alone, as in the original.

use hyper::StatusCode;
use serde_json::{Value, json};

use super::super::super::json;
use super::super::super::problem::Problem;
use super::super::super::server::Answer;
use super::super::super::wire::{self, Fields, Flaw, Wrong};
use super::super::super::{Server, json_answer, no_content, query};
use super::super::times;
use super::{Query, agent, name, success};
use crate::model::reason::Reason;
use crate::model::suppression::{Action, Scope, Suppression, Target};
use crate::model::tenant::{Grant, MailAgent};
use crate::store::suppressions::{Filter, Lists};

/// Values in one request.
const VALUES_MAX: usize = 50;
/// Agents that one request may name.
const AGENTS_MAX: usize = 50;
/// Entries in one list, unless asked otherwise.
const LIST: usize = 50;
/// Entries in one list.
const LIST_MAX: usize = 500;
/// How far into the list one may ask.
const OFFSET_MAX: usize = 1_000_000;
/// Characters of a description.
const DESCRIPTION_CHARS_MAX: usize = 500;
/// Who changes suppressions here, as their history has it.
const ACTOR: &str = "api";
/// What an entry may do.
const ACTIONS: [&str; 3] = ["reject", "suppress", "suppress_tracking"];

/// What the values are.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(in super::super) enum Kind {
    Email,
    Domain,
}

impl Kind {
    fn word(self) -> &'static str {
        match self {
            Kind::Email => "email",
            Kind::Domain => "domain",
        }
    }

    /// As targets have it.
    fn of_target(self) -> &'static str {
        match self {
            Kind::Email => "address",
            Kind::Domain => "domain",
        }
    }
}

pub(in super::super) async fn list(
    server: &Server,
    grant: &Grant,
    kind: Kind,
    query: &query::Query,
) -> Result<Answer, Problem> {
    let query = Query(query);
    let part = query.part(LIST, LIST_MAX, OFFSET_MAX)?;
    let lists = match query.text("mailagent_key") {
        Some(key) => Lists::Of(Scope::Agent(grant.tenant.id, agent(server, grant, key).await?.id)),
        None => Lists::OfTenant(grant.tenant.id),
    };
    let filter = Filter {
        kind: kind.of_target(),
        contains: query.text("search_value").unwrap_or_default().to_lowercase(),
        from: query.time("date_from")?,
        until: query.until("date_to")?,
        offset: u32::try_from(part.offset).unwrap_or(u32::MAX),
        ..Filter::default()
    };
    let limit = u32::try_from(part.limit).unwrap_or(u32::MAX);
    let found = server.store().suppressions(lists, &filter, limit).await?;
    let agents = server.store().agents(grant.tenant.id, "", 1_000).await?;
    let data: Vec<Value> = found.iter().map(|one| shown(one, &agents)).collect();
    Ok(json_answer(StatusCode::OK, &json!({ "data": data, "count": data.len(), "status": "success" })))
}

/// Adds entries, or replaces those that their values have.
pub(in super::super) async fn put(
    server: &Server,
    grant: &Grant,
    kind: Kind,
    body: &[u8],
    is_new: bool,
) -> Result<Answer, Problem> {
    let asked = Asked::read(kind, body)?;
    let mut scopes = Vec::with_capacity(asked.agents.len());
    for key in &asked.agents {
        scopes.push(Scope::Agent(grant.tenant.id, agent(server, grant, key).await?.id));
    }
    if scopes.is_empty() {
        scopes.push(Scope::Tenant(grant.tenant.id));
    }
    let now = server.clock().now();
    let suppression = |scope: Scope, target: &Target| Suppression {
        scope,
        target: target.clone(),
        action: asked.action,
        reason: Reason::Manual,
        note: asked.description.clone(),
        created_at: now,
        created_by: grant.author(),
        expires_at: None,
    };
    let all = asked.targets.iter().flat_map(|target| scopes.iter().map(move |scope| (*scope, target)));
    let all = all.map(|(scope, target)| suppression(scope, target)).collect();
    server.store().put_suppressions(all, ACTOR).await?;
    let mut told = json!({
        "modified_time": times::told(now),
        "suppression_type": kind.word(),
        "values": asked.targets.iter().map(Target::as_str).collect::<Vec<_>>(),
        "action": asked.action.as_str(),
        "description": asked.description,
        "category": "manual",
    });
    if !asked.agents.is_empty() {
        told["mailagent_keys"] = asked.agents.into();
    }
    Ok(success(if is_new { StatusCode::CREATED } else { StatusCode::OK }, told))
}

/// Removes entries, wherever in the tenant they stand.
pub(in super::super) async fn remove(
    server: &Server,
    grant: &Grant,
    kind: Kind,
    body: &[u8],
) -> Result<Answer, Problem> {
    let targets = {
        let json = json::read(body).map_err(Problem::Json)?;
        targets(&wire::body(&json)?, kind)?
    };
    for target in targets {
        for one in server.store().suppressions_of_target(grant.tenant.id, &target).await? {
            server.store().remove_suppressions(one.scope, std::slice::from_ref(&target), ACTOR).await?;
        }
    }
    Ok(no_content())
}

/// What a request to add or change says.
struct Asked {
    action: Action,
    agents: Vec<String>,
    description: String,
    targets: Vec<Target>,
}

impl Asked {
    fn read(kind: Kind, body: &[u8]) -> Result<Self, Problem> {
        let json = json::read(body).map_err(Problem::Json)?;
        let fields = wire::body(&json)?;
        let word = fields.text("action")?.ok_or_else(|| Flaw::at("/action", Wrong::Missing))?;
        let action: Action = word.parse().map_err(|_| Flaw::at("/action", Wrong::OneOf(&ACTIONS)).showing(word))?;
        if action == Action::SuppressTracking && kind == Kind::Domain {
            let wrong = Wrong::Other("suppress_tracking is for addresses only".into());
            return Err(Flaw::at("/action", wrong).showing(word).into());
        }
        let agents: Vec<String> = fields.texts("mailagent_keys")?.into_iter().map(str::to_owned).collect();
        if agents.len() > AGENTS_MAX {
            return Err(Flaw::at("/mailagent_keys", Wrong::TooMany(AGENTS_MAX)).into());
        }
        let description = name(&fields, "description", DESCRIPTION_CHARS_MAX)?.unwrap_or_default();
        Ok(Self { action, agents, description, targets: targets(&fields, kind)? })
    }
}

fn targets(fields: &Fields<'_, '_>, kind: Kind) -> Result<Vec<Target>, Flaw> {
    let values = fields.texts("values")?;
    match values.len() {
        0 => return Err(Flaw::at("/values", Wrong::Missing)),
        count if count > VALUES_MAX => return Err(Flaw::at("/values", Wrong::TooMany(VALUES_MAX))),
        _ => {}
    }
    let format = match kind {
        Kind::Email => "email",
        Kind::Domain => "hostname",
    };
    let read = |value: &str| {
        let target: Option<Target> = value.parse().ok();
        let target = target.filter(|target| target.kind() == kind.of_target());
        target.ok_or_else(|| Flaw::at("/values", Wrong::Format(format)).showing(value))
    };
    values.into_iter().map(read).collect()
}

fn shown(suppression: &Suppression, agents: &[MailAgent]) -> Value {
    let category = match suppression.reason {
        Reason::Manual => "manual",
        other => other.as_str(),
    };
    let mut told = json!({
        "value": suppression.target.as_str(),
        "action": suppression.action.as_str(),
        "description": suppression.note,
        "modified_time": times::told(suppression.created_at),
        "category": category,
        "created_time": times::told(suppression.created_at),
    });
    if let Some(own) = suppression.scope.agent() {
        let key = agents.iter().find(|agent| agent.id == own).map(|agent| agent.key.as_str());
        told["mailagent_keys"] = key.into_iter().collect::<Vec<_>>().into();
    }
    told
}
