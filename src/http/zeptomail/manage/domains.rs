//! `/v1.1/domains`: the domains that a tenant sends from.
//!
//! A new one gives nobody anything until its owner has shown that it is the tenant's: by a TXT record that an answer
//! names in `verification`, beside what the original's answers have (see `claims`). Domains that an operator gave to an
//! agent by hand are there too, verified.

use hyper::StatusCode;
use serde_json::{Value, json};

use super::super::super::claims;
use super::super::super::json;
use super::super::super::problem::Problem;
use super::super::super::server::Answer;
use super::super::super::wire::{self, Fields, Flaw, Wrong};
use super::super::super::{Server, no_content};
use super::{agent, success};
use crate::model::address::domain_name;
use crate::model::domain::ClaimedDomain;
use crate::model::id::AgentId;
use crate::model::signing_key::{Algorithm, KeyState, SigningKey};
use crate::model::tenant::{Grant, MailAgent};

/// Agents that one request may name.
const AGENTS_MAX: usize = 50;

pub(in super::super) async fn list(server: &Server, grant: &Grant) -> Result<Answer, Problem> {
    let agents = agents(server, grant).await?;
    let domains = claims::all(server, grant.tenant.id).await?;
    let data: Vec<Value> = domains.iter().map(|domain| summary(domain, &agents)).collect();
    Ok(success(StatusCode::OK, data))
}

pub(in super::super) async fn show(server: &Server, grant: &Grant, key: &str) -> Result<Answer, Problem> {
    let domain = find(server, grant, key).await?;
    let keys = claims::keys(server, &domain).await?;
    Ok(success(StatusCode::OK, [detail(server, &domain, &keys, &agents(server, grant).await?)]))
}

pub(in super::super) async fn add(server: &Server, grant: &Grant, body: &[u8]) -> Result<Answer, Problem> {
    let (name, bounce_prefix, keys) = {
        let json = json::read(body).map_err(Problem::Json)?;
        let fields = wire::body(&json)?;
        let name = domain(&fields, "domain_name")?.ok_or_else(|| Flaw::at("/domain_name", Wrong::Missing))?;
        (name, prefix(&fields, "sub_domain_prefix")?.unwrap_or_default(), keys(&fields, "mailagent_keys")?)
    };
    let agents = ids(server, grant, &keys).await?;
    let domain = claims::add(server, grant, (name, bounce_prefix), agents).await?;
    told(server, grant, &domain, StatusCode::CREATED).await
}

pub(in super::super) async fn change(
    server: &Server,
    grant: &Grant,
    key: &str,
    body: &[u8],
) -> Result<Answer, Problem> {
    let before = find(server, grant, key).await?;
    let (name, prefix, more, fewer) = {
        let json = json::read(body).map_err(Problem::Json)?;
        let fields = wire::body(&json)?;
        let (more, fewer) = (keys(&fields, "associate_mailagents")?, keys(&fields, "unassociate_mailagents")?);
        (domain(&fields, "new_domain")?, prefix(&fields, "new_sub_domain_prefix")?, more, fewer)
    };
    if name.is_none() && prefix.is_none() && more.is_empty() && fewer.is_empty() {
        return Err(Problem::EmptyChange);
    }
    let (more, fewer) = (ids(server, grant, &more).await?, ids(server, grant, &fewer).await?);
    let name = name.filter(|name| *name != before.name);
    let (own, is_renamed) = (before.name.clone(), name.is_some());
    let change = move |domains: Vec<ClaimedDomain>| {
        if let Some(value) = name.clone().filter(|name| domains.iter().any(|domain| domain.name == *name)) {
            return Err(Problem::Taken { field: "new_domain", value, what: "Domain" });
        }
        let mut changed = claims::named(domains, &own)?;
        changed.agents.retain(|agent| !fewer.contains(agent) && !more.contains(agent));
        changed.agents.extend(more);
        changed.bounce_prefix = prefix.unwrap_or(changed.bounce_prefix);
        if let Some(name) = name {
            // Another name is another claim.
            (changed.name, changed.verified_at, changed.verified_by) = (name, None, None);
        }
        Ok(changed)
    };
    let changed = server.store().change_claimed_domain(grant.tenant.id, change).await?;
    if is_renamed {
        claims::remove(server, &before).await?;
    }
    claims::make_keys(server, &changed).await?;
    told(server, grant, &changed, StatusCode::OK).await
}

/// Looks whether the domain is the tenant's; the answer says what came of it.
pub(in super::super) async fn verify(server: &Server, grant: &Grant, key: &str) -> Result<Answer, Problem> {
    let mut domain = find(server, grant, key).await?;
    claims::verify(server, grant, &mut domain).await?;
    told(server, grant, &domain, StatusCode::OK).await
}

pub(in super::super) async fn remove(server: &Server, grant: &Grant, key: &str) -> Result<Answer, Problem> {
    let domain = find(server, grant, key).await?;
    if claims::remove(server, &domain).await? { Ok(no_content()) } else { Err(Problem::NotFound("Domain")) }
}

async fn told(server: &Server, grant: &Grant, domain: &ClaimedDomain, status: StatusCode) -> Result<Answer, Problem> {
    let keys = claims::keys(server, domain).await?;
    Ok(success(status, detail(server, domain, &keys, &agents(server, grant).await?)))
}

async fn find(server: &Server, grant: &Grant, key: &str) -> Result<ClaimedDomain, Problem> {
    let domains = claims::all(server, grant.tenant.id).await?;
    domains.into_iter().find(|domain| domain.key() == key).ok_or(Problem::NotFound("Domain"))
}

async fn agents(server: &Server, grant: &Grant) -> Result<Vec<MailAgent>, Problem> {
    Ok(server.store().agents(grant.tenant.id, "", 1_000).await?)
}

async fn ids(server: &Server, grant: &Grant, keys: &[String]) -> Result<Vec<AgentId>, Problem> {
    let mut ids = Vec::with_capacity(keys.len());
    for key in keys {
        let id = agent(server, grant, key).await?.id;
        if !ids.contains(&id) {
            ids.push(id);
        }
    }
    Ok(ids)
}

fn keys(fields: &Fields<'_, '_>, name: &str) -> Result<Vec<String>, Flaw> {
    let keys = fields.texts(name)?;
    match keys.len() > AGENTS_MAX {
        true => Err(Flaw::at(fields.path(name), Wrong::TooMany(AGENTS_MAX))),
        false => Ok(keys.into_iter().map(str::to_owned).collect()),
    }
}

fn domain(fields: &Fields<'_, '_>, name: &str) -> Result<Option<String>, Flaw> {
    let Some(text) = fields.text(name)? else { return Ok(None) };
    domain_name(text.trim()).map(Some).map_err(|_| Flaw::at(fields.path(name), Wrong::Format("hostname")).showing(text))
}

/// One label, or several with dots between.
fn prefix(fields: &Fields<'_, '_>, name: &str) -> Result<Option<String>, Flaw> {
    let Some(text) = fields.text(name)?.map(|text| text.trim().to_ascii_lowercase()) else { return Ok(None) };
    let is_fit = text.is_empty() || (text.is_ascii() && domain_name(&format!("{text}.example")).is_ok());
    if is_fit { Ok(Some(text)) } else { Err(Flaw::at(fields.path(name), Wrong::Format("hostname")).showing(&text)) }
}

fn status(domain: &ClaimedDomain) -> &'static str {
    if domain.verified_at.is_some() { "verified" } else { "unverified" }
}

/// A number, as the original has it, where ours is one.
fn selector(text: &str) -> Value {
    text.parse::<u32>().ok().filter(|number| number.to_string() == text).map_or(json!(text), Value::from)
}

fn summary(domain: &ClaimedDomain, agents: &[MailAgent]) -> Value {
    let own = agents.iter().filter(|agent| domain.agents.contains(&agent.id));
    json!({
        "domain_key": domain.key(),
        "domain_name": domain.name,
        "associated_mailagents": own.map(|agent| agent.key.as_str()).collect::<Vec<_>>(),
        "is_restricted_senders": false,
        "status": status(domain),
    })
}

fn detail(server: &Server, domain: &ClaimedDomain, keys: &[SigningKey], agents: &[MailAgent]) -> Value {
    let (host, value) = domain.proof();
    let mut detail = summary(domain, agents);
    // Of several, the one that signs; and of the two algorithms the one that every receiver knows.
    let key = keys.iter().max_by_key(|key| (key.state == KeyState::Signing, key.algorithm == Algorithm::Rsa));
    let (record, name, selector) = key.map_or_else(
        || (String::new(), String::new(), json!("")),
        |key| (key.record(), key.record_name(), selector(&key.selector)),
    );
    let signs = match key {
        Some(key) if key.state == KeyState::Signing => "verified",
        Some(_) | None => "unverified",
    };
    detail["dkim"] = json!({ "public_key": record, "host": name, "selector": selector, "status": signs });
    detail["cname"] = json!({
        "host": domain.bounce_host(),
        "cname_record": server.intake().settings().return_path_domain,
        "status": "unverified",
    });
    detail["verification"] = json!({ "host": host, "txt_record": value, "status": status(domain) });
    detail
}
