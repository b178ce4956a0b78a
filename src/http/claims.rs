//! Domains that a tenant says it sends from: one rule for both APIs.
//!
//! A claim gives nobody anything until the domain's owner has shown, by a TXT record, that it is the tenant's. An
//! operator's word is proof enough; and in capture mode, where nothing leaves the machine, nobody is asked. With a claim
//! come the keys that will sign for the domain, so that all its records can be published at one time.

use super::Server;
use super::problem::Problem;
use crate::dns::DnsError;
use crate::intake::provision;
use crate::model::domain::ClaimedDomain;
use crate::model::id::{AgentId, TenantId};
use crate::model::signing_key::{KeyState, SigningKey};
use crate::model::tenant::{CredentialKind, Grant};

/// Domains of one tenant.
const DOMAINS_MAX: usize = 100;

/// All domains of a tenant, by name.
pub(super) async fn all(server: &Server, tenant: TenantId) -> Result<Vec<ClaimedDomain>, Problem> {
    Ok(server.store().claimed_domains(tenant).await?)
}

/// Claims a domain for these mail agents. It is verified at once when nobody needs to be asked.
///
/// # Errors
/// `Full`, when the tenant has as many as it may have.
pub(super) async fn add(
    server: &Server,
    grant: &Grant,
    (name, bounce_prefix): (String, String),
    agents: Vec<AgentId>,
) -> Result<ClaimedDomain, Problem> {
    if all(server, grant.tenant.id).await?.len() >= DOMAINS_MAX {
        return Err(Problem::Full("The tenant has as many domains as it may have"));
    }
    let now = server.clock().now();
    let verified_at = is_believed(server, grant).then_some(now);
    let tenant = grant.tenant.id;
    let domain = ClaimedDomain { tenant, name, bounce_prefix, agents, created_at: now, verified_at };
    server.store().put_claimed_domain(domain.clone()).await?;
    make_keys(server, &domain).await?;
    Ok(domain)
}

/// Looks whether a domain has been shown to be the tenant's, and keeps what was found.
pub(super) async fn verify(server: &Server, grant: &Grant, domain: &mut ClaimedDomain) -> Result<(), Problem> {
    if domain.verified_at.is_none() && (is_believed(server, grant) || is_proved(server, domain).await) {
        domain.verified_at = Some(server.clock().now());
        server.store().put_claimed_domain(domain.clone()).await?;
    }
    Ok(())
}

fn is_believed(server: &Server, grant: &Grant) -> bool {
    server.intake().settings().is_capture || grant.kind == CredentialKind::OperatorKey
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
    if !keys(server, domain).await?.is_empty() {
        return Ok(());
    }
    let (tenant, name) = (domain.tenant, domain.name.clone());
    let (clock, ids) = (server.clock().clone(), server.ids().clone());
    let made = tokio::task::spawn_blocking(move || provision::signing_keys(tenant, &name, &clock, &ids)).await;
    for (key, pkcs8) in made.ok().and_then(Result::ok).ok_or(Problem::Broken)? {
        server.store().add_signing_key(&key, &pkcs8).await?;
    }
    Ok(())
}
