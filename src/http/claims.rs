//! Domains that a tenant says it sends from: one rule for both APIs and the console.
//!
//! A claim gives nobody anything until the domain's owner has shown, by a TXT record, that it is the tenant's. An
//! operator's word is proof enough; and in capture mode, where nothing leaves the machine, nobody is asked, which counts
//! there alone. With a claim come the keys that will sign for the domain, so that all its records can be published at one time.

use super::Server;
use super::problem::Problem;
use crate::dns::DnsError;
use crate::intake::provision;
use crate::model::address::domain_name;
use crate::model::domain::{ClaimedDomain, Verifier};
use crate::model::id::{AgentId, TenantId};
use crate::model::signing_key::{KeyState, SigningKey};
use crate::model::tenant::{CredentialKind, Grant, MailAgent};

/// Domains of one tenant.
const DOMAINS_MAX: usize = 100;
const FULL: Problem = Problem::Full("The tenant has as many domains as it may have");

/// All domains of a tenant, by name.
pub(super) async fn all(server: &Server, tenant: TenantId) -> Result<Vec<ClaimedDomain>, Problem> {
    Ok(server.store().claimed_domains(tenant).await?)
}

/// The domains of a mail agent, by name: those that it may send from, and those that wait to be shown to be the
/// tenant's.
pub(super) async fn of_agent(server: &Server, agent: &MailAgent) -> Result<Vec<ClaimedDomain>, Problem> {
    let mut domains = all(server, agent.tenant).await?;
    domains.retain(|domain| domain.agents.contains(&agent.id));
    Ok(domains)
}

/// The domain of this name, if it is one of the mail agent's. A name that is no domain's names nothing.
///
/// # Errors
/// `NotFound`.
pub(super) async fn find(server: &Server, agent: &MailAgent, name: &str) -> Result<ClaimedDomain, Problem> {
    let nothing = Problem::NotFound("Domain");
    let name = domain_name(name).map_err(|_| nothing.clone())?;
    let domains = of_agent(server, agent).await?;
    domains.into_iter().find(|domain| domain.name == name).ok_or(nothing)
}

/// Claims a domain, as `domain_name` has it, for one mail agent, beside those that have it already. `grant` says whose
/// word it is.
///
/// # Errors
/// `Taken`, when it is the agent's already; `Full`.
pub(super) async fn claim(
    server: &Server,
    grant: &Grant,
    agent: &MailAgent,
    name: String,
) -> Result<ClaimedDomain, Problem> {
    let (id, fresh) = (agent.id, fresh(server, grant, (name, String::new()), vec![agent.id]));
    let change = move |mut domains: Vec<ClaimedDomain>| {
        let Some(at) = domains.iter().position(|domain| domain.name == fresh.name) else {
            return if domains.len() < DOMAINS_MAX { Ok(fresh) } else { Err(FULL) };
        };
        let mut domain = domains.swap_remove(at);
        if domain.agents.contains(&id) {
            return Err(Problem::Taken { field: "name", value: domain.name, what: "Domain" });
        }
        domain.agents.push(id);
        Ok(domain)
    };
    let domain = server.store().change_claimed_domain(grant.tenant.id, change).await?;
    // Who claims it first makes the keys; others may come while they are made.
    if domain.agents.len() == 1 {
        make_keys(server, &domain).await?;
    }
    Ok(domain)
}

/// Takes a domain from one mail agent; from the tenant, when no other has it.
pub(super) async fn release(server: &Server, agent: &MailAgent, domain: ClaimedDomain) -> Result<(), Problem> {
    let (id, name) = (agent.id, domain.name);
    let change = move |domains: Vec<ClaimedDomain>| {
        let mut domain = named(domains, &name)?;
        domain.agents.retain(|agent| *agent != id);
        Ok::<_, Problem>(domain)
    };
    let left = server.store().change_claimed_domain(agent.tenant, change).await?;
    if left.agents.is_empty() {
        remove(server, &left).await?;
    }
    Ok(())
}

/// Claims a domain for these mail agents. It is verified at once when nobody needs to be asked.
///
/// # Errors
/// `Taken`, when the tenant has it; `Full`, when it has as many as it may have.
pub(super) async fn add(
    server: &Server,
    grant: &Grant,
    name: (String, String),
    agents: Vec<AgentId>,
) -> Result<ClaimedDomain, Problem> {
    let fresh = fresh(server, grant, name, agents);
    let change = move |domains: Vec<ClaimedDomain>| {
        if domains.iter().any(|domain| domain.name == fresh.name) {
            return Err(Problem::Taken { field: "domain_name", value: fresh.name, what: "Domain" });
        }
        if domains.len() < DOMAINS_MAX { Ok(fresh) } else { Err(FULL) }
    };
    let domain = server.store().change_claimed_domain(grant.tenant.id, change).await?;
    make_keys(server, &domain).await?;
    Ok(domain)
}

/// A claim that is new, with what stands before it in the name of its return path.
fn fresh(
    server: &Server,
    grant: &Grant,
    (name, bounce_prefix): (String, String),
    agents: Vec<AgentId>,
) -> ClaimedDomain {
    let (tenant, now, verified_by) = (grant.tenant.id, server.clock().now(), believer(server, grant));
    let verified_at = verified_by.map(|_| now);
    let created_by = grant.author();
    ClaimedDomain { tenant, name, bounce_prefix, agents, created_at: now, created_by, verified_at, verified_by }
}

/// The one of this name.
pub(super) fn named(domains: Vec<ClaimedDomain>, name: &str) -> Result<ClaimedDomain, Problem> {
    domains.into_iter().find(|domain| domain.name == name).ok_or(Problem::NotFound("Domain"))
}

/// Looks whether a domain has been shown to be the tenant's, and keeps what was found.
pub(super) async fn verify(server: &Server, grant: &Grant, domain: &mut ClaimedDomain) -> Result<(), Problem> {
    let is_believed = domain.verified_at.is_some();
    if is_believed && domain.verified_by != Some(Verifier::Capture) {
        return Ok(());
    }
    let by = match believer(server, grant) {
        Some(Verifier::Operator) => Some(Verifier::Operator),
        _ if is_proved(server, domain).await => Some(Verifier::Dns),
        believer => believer.filter(|_| !is_believed),
    };
    if by.is_none() {
        return Ok(());
    }
    let (name, now) = (domain.name.clone(), server.clock().now());
    let change = move |domains: Vec<ClaimedDomain>| {
        Ok::<_, Problem>(ClaimedDomain { verified_at: Some(now), verified_by: by, ..named(domains, &name)? })
    };
    *domain = server.store().change_claimed_domain(domain.tenant, change).await?;
    Ok(())
}

/// Whose word is enough.
fn believer(server: &Server, grant: &Grant) -> Option<Verifier> {
    match grant.kind {
        CredentialKind::OperatorKey => Some(Verifier::Operator),
        CredentialKind::ApiKey | CredentialKind::SmtpPassword => {
            server.intake().settings().is_capture.then_some(Verifier::Capture)
        }
    }
}

async fn is_proved(server: &Server, domain: &ClaimedDomain) -> bool {
    let (host, value) = domain.proof();
    match server.0.parts.resolver.txt(&host).await {
        Ok(records) => records.iter().any(|record| record.trim() == value),
        Err(DnsError::NoSuchName) => false,
        Err(fault) => {
            tracing::warn!(%fault, host, "a domain cannot be verified");
            false
        }
    }
}

/// Takes a domain from a tenant, and the keys that never signed for it. Whether it had it.
pub(super) async fn remove(server: &Server, domain: &ClaimedDomain) -> Result<bool, Problem> {
    for key in server.store().signing_keys(domain.tenant, &domain.name).await? {
        if key.state == KeyState::Waiting {
            server.store().remove_signing_key(key.tenant, &key.domain, &key.selector).await?;
        }
    }
    Ok(server.store().remove_claimed_domain(domain.tenant, &domain.name).await?)
}

/// The keys that sign for a domain, or will.
pub(super) async fn keys(server: &Server, domain: &ClaimedDomain) -> Result<Vec<SigningKey>, Problem> {
    let mut keys = server.store().signing_keys(domain.tenant, &domain.name).await?;
    keys.retain(|key| key.state != KeyState::Retired);
    Ok(keys)
}

/// Makes keys for a domain that has none.
pub(super) async fn make_keys(server: &Server, domain: &ClaimedDomain) -> Result<(), Problem> {
    if keys(server, domain).await?.is_empty() { new_keys(server, domain).await } else { Ok(()) }
}

/// Makes new keys for a domain; they sign when their records are seen, and those before them retire then.
pub(super) async fn new_keys(server: &Server, domain: &ClaimedDomain) -> Result<(), Problem> {
    let (tenant, name) = (domain.tenant, domain.name.clone());
    let (clock, ids) = (server.clock().clone(), server.ids().clone());
    let made = tokio::task::spawn_blocking(move || provision::signing_keys(tenant, &name, &clock, &ids)).await;
    for (key, pkcs8) in made.ok().and_then(Result::ok).ok_or(Problem::Broken)? {
        server.store().add_signing_key(&key, &pkcs8).await?;
    }
    Ok(())
}
