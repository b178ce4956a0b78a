//! Domains that tenants say they send from. Owns `claimed_domains`, and what of it becomes `domains`.
//!
//! A claim is worth nothing until it has been verified: only then do its mail agents get the domain. What an operator
//! gave to an agent by hand needs no claim, and is shown as a verified one.

use std::collections::BTreeMap;

use super::db::{Result, Store, Tx};
use super::value::{Row, json};
use crate::model::domain::ClaimedDomain;
use crate::model::id::{AgentId, TenantId};
use crate::model::time::Timestamp;

/// Domains of one tenant that are looked at.
const DOMAINS_MAX: u32 = 1_000;

impl Store {
    /// All domains of a tenant, claimed or given by hand, by name, at most 1,000.
    ///
    /// # Errors
    /// `Unavailable`, `Corrupt`.
    pub async fn claimed_domains(&self, tenant: TenantId) -> Result<Vec<ClaimedDomain>> {
        const CLAIMED: &str = "
            select name, bounce_prefix, agents, created_at, verified_at
            from claimed_domains
            where tenant_id = $1
            order by name
            limit $2";
        const GIVEN: &str = "
            select domains.name, agent_id, domains.created_at
            from domains
            join agents on agents.id = agent_id
            where tenant_id = $1
            order by domains.name
            limit 10000";
        let claimed = self.rows(CLAIMED, vec![tenant.into(), DOMAINS_MAX.into()]).await?;
        let mut all: BTreeMap<String, ClaimedDomain> = BTreeMap::new();
        for row in &claimed {
            let claimed = read(row, tenant)?;
            all.insert(claimed.name.clone(), claimed);
        }
        for row in self.rows(GIVEN, vec![tenant.into()]).await? {
            let (name, at) = (row.text("name")?, row.time("created_at")?);
            let entry = all.entry(name.clone()).or_insert_with(|| ClaimedDomain::given(tenant, name, at));
            entry.take(AgentId::from_bytes(row.id("agent_id")?), at);
        }
        Ok(all.into_values().take(DOMAINS_MAX as usize).collect())
    }

    /// Writes a domain as it is to be: the claim, and which mail agents may send from it.
    ///
    /// # Errors
    /// `Unavailable`.
    pub async fn put_claimed_domain(&self, domain: ClaimedDomain) -> Result<()> {
        const CLAIM: &str = "
            insert into claimed_domains (tenant_id, name, bounce_prefix, agents, created_at, verified_at)
            values ($1, $2, $3, $4, $5, $6)
            on conflict (tenant_id, name) do update
            set bounce_prefix = excluded.bounce_prefix, agents = excluded.agents, verified_at = excluded.verified_at";
        const GIVE: &str = "
            insert into domains (agent_id, name, created_at)
            select id, $2, $3 from agents where id = $1 and tenant_id = $4
            on conflict do nothing";
        let now = self.now();
        self.transaction(move |tx| {
            Box::pin(async move {
                let waiting = if domain.verified_at.is_some() { Vec::new() } else { domain.agents.clone() };
                let row = vec![
                    domain.tenant.into(),
                    domain.name.as_str().into(),
                    domain.bounce_prefix.as_str().into(),
                    json(&waiting).into(),
                    domain.created_at.into(),
                    domain.verified_at.into(),
                ];
                tx.run(CLAIM, row).await?;
                take_from_all(tx, domain.tenant, &domain.name).await?;
                let given = domain.agents.iter().filter(|_| domain.verified_at.is_some());
                for agent in given {
                    let row = vec![(*agent).into(), domain.name.as_str().into(), now.into(), domain.tenant.into()];
                    tx.run(GIVE, row).await?;
                }
                Ok(())
            })
        })
        .await
    }

    /// Removes a domain from a tenant and all its mail agents. Whether it had it.
    ///
    /// # Errors
    /// `Unavailable`.
    pub async fn remove_claimed_domain(&self, tenant: TenantId, name: &str) -> Result<bool> {
        let name = name.to_owned();
        self.transaction(move |tx| {
            Box::pin(async move {
                let sql = "delete from claimed_domains where tenant_id = $1 and name = $2";
                let claimed = tx.run(sql, vec![tenant.into(), name.as_str().into()]).await?;
                Ok(take_from_all(tx, tenant, &name).await? + claimed > 0)
            })
        })
        .await
    }
}

async fn take_from_all(tx: &mut Tx, tenant: TenantId, name: &str) -> Result<u64> {
    const SQL: &str = "
        delete from domains
        where name = $1 and agent_id in (select id from agents where tenant_id = $2)";
    tx.run(SQL, vec![name.into(), tenant.into()]).await
}

fn read(row: &Row, tenant: TenantId) -> Result<ClaimedDomain> {
    Ok(ClaimedDomain {
        tenant,
        name: row.text("name")?,
        bounce_prefix: row.text("bounce_prefix")?,
        agents: row.json("agents")?,
        created_at: row.time("created_at")?,
        verified_at: row.maybe_time("verified_at")?,
    })
}

impl ClaimedDomain {
    /// One that an operator gave by hand.
    fn given(tenant: TenantId, name: String, at: Timestamp) -> Self {
        Self { tenant, name, bounce_prefix: String::new(), agents: Vec::new(), created_at: at, verified_at: Some(at) }
    }

    /// An agent has the domain: whoever gave it knew that it is the tenant's.
    fn take(&mut self, agent: AgentId, at: Timestamp) {
        self.verified_at.get_or_insert(at);
        if !self.agents.contains(&agent) {
            self.agents.push(agent);
        }
    }
}
