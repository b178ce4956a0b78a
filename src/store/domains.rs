//! Domains that tenants say they send from. Owns `claimed_domains`, and what of it becomes `domains`.
//!
//! A claim is worth nothing until it has been verified: only then do its mail agents get the domain. What an operator
//! gave to an agent by hand needs no claim, and is shown as a verified one. What was believed in capture mode counts
//! there alone ([`Store::review_captured`]).

use std::collections::BTreeMap;

use super::db::{Result, Store, StoreError, Tx};
use super::value::{Row, json};
use crate::model::domain::{ClaimedDomain, Verifier};
use crate::model::id::{AgentId, TenantId};
use crate::model::time::Timestamp;

/// Domains of one tenant that are looked at.
const DOMAINS_MAX: u32 = 1_000;

const CLAIMED: &str = "
    select name, bounce_prefix, agents, created_at, created_by, verified_at, verified_by
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

impl Store {
    /// All domains of a tenant, claimed or given by hand, by name, at most 1,000.
    ///
    /// # Errors
    /// `Unavailable`, `Corrupt`.
    pub async fn claimed_domains(&self, tenant: TenantId) -> Result<Vec<ClaimedDomain>> {
        let claimed = self.rows(CLAIMED, vec![tenant.into(), DOMAINS_MAX.into()]).await?;
        all(tenant, &claimed, &self.rows(GIVEN, vec![tenant.into()]).await?)
    }

    /// Changes the domains of a tenant in one transaction: what others change at the same time stays. `change` is shown
    /// all, by name, at most 1,000, and says how one of them is to be, or another: the claim, and which mail agents may
    /// send from it. That one is given back.
    ///
    /// # Errors
    /// What `change` refuses, and nothing is changed; `Unavailable`, `Corrupt`.
    pub async fn change_claimed_domain<E: From<StoreError> + Send + 'static>(
        &self,
        tenant: TenantId,
        change: impl FnOnce(Vec<ClaimedDomain>) -> std::result::Result<ClaimedDomain, E> + Send + 'static,
    ) -> std::result::Result<ClaimedDomain, E> {
        let now = self.now();
        let changed = self.transaction(move |tx| {
            Box::pin(async move {
                hold(tx, tenant).await?;
                let claimed = tx.rows(CLAIMED, vec![tenant.into(), DOMAINS_MAX.into()]).await?;
                let given = tx.rows(GIVEN, vec![tenant.into()]).await?;
                let changed = change(all(tenant, &claimed, &given)?);
                if let Ok(domain) = &changed {
                    put(tx, domain, now).await?;
                }
                Ok(changed)
            })
        });
        changed.await?
    }

    /// Takes domains that were believed in capture mode from their mail agents, unless it is on, and gives them back
    /// when it is again. Run when the program starts. Those that count no more, until they are shown to be their
    /// tenants', by name.
    ///
    /// # Errors
    /// `Unavailable`, `Corrupt`.
    pub async fn review_captured(&self, is_capture: bool) -> Result<Vec<String>> {
        const BELIEVED: &str = "
            select tenant_id, name
            from claimed_domains
            where verified_by = 'capture' and (verified_at is null) = $1
            order by tenant_id, name";
        const UNSHOWN: &str = "
            select distinct name
            from claimed_domains
            where verified_by = 'capture' and verified_at is null and not exists (
                select 1 from domains
                join agents on agents.id = agent_id
                where agents.tenant_id = claimed_domains.tenant_id and domains.name = claimed_domains.name)
            order by name
            limit 1000";
        let now = self.now();
        self.transaction(move |tx| {
            Box::pin(async move {
                for row in tx.rows(BELIEVED, vec![is_capture.into()]).await? {
                    let (tenant, name) = (TenantId::from_bytes(row.id("tenant_id")?), row.text("name")?);
                    review(tx, tenant, name, is_capture, now).await?;
                }
                tx.rows(UNSHOWN, vec![]).await?.iter().map(|row| row.text("name")).collect()
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

/// Others that change domains of the tenant wait until this transaction has ended.
async fn hold(tx: &mut Tx, tenant: TenantId) -> Result<()> {
    tx.held("select id from tenants where id = $1", vec![tenant.into()]).await.map(drop)
}

/// Writes a domain as it is to be.
async fn put(tx: &mut Tx, domain: &ClaimedDomain, now: Timestamp) -> Result<()> {
    const CLAIM: &str = "
        insert into claimed_domains (tenant_id, name, bounce_prefix, agents, created_at, created_by, verified_at,
            verified_by)
        values ($1, $2, $3, $4, $5, $6, $7, $8)
        on conflict (tenant_id, name) do update
        set bounce_prefix = excluded.bounce_prefix, agents = excluded.agents, verified_at = excluded.verified_at,
            verified_by = excluded.verified_by";
    const GIVE: &str = "
        insert into domains (agent_id, name, created_at)
        select id, $2, $3 from agents where id = $1 and tenant_id = $4
        on conflict do nothing";
    let (waiting, given) = match domain.verified_at {
        Some(_) => (&[][..], &domain.agents[..]),
        None => (&domain.agents[..], &[][..]),
    };
    let row = vec![
        domain.tenant.into(),
        domain.name.as_str().into(),
        domain.bounce_prefix.as_str().into(),
        json(&waiting).into(),
        domain.created_at.into(),
        domain.created_by.as_str().into(),
        domain.verified_at.into(),
        domain.verified_by.map_or("", Verifier::as_str).into(),
    ];
    tx.run(CLAIM, row).await?;
    take_from_all(tx, domain.tenant, &domain.name).await?;
    for agent in given {
        let row = vec![(*agent).into(), domain.name.as_str().into(), now.into(), domain.tenant.into()];
        tx.run(GIVE, row).await?;
    }
    Ok(())
}

/// Makes of a domain that was believed in capture mode what it is now.
async fn review(tx: &mut Tx, tenant: TenantId, name: String, is_capture: bool, now: Timestamp) -> Result<()> {
    hold(tx, tenant).await?;
    let claimed = tx.rows(CLAIMED, vec![tenant.into(), DOMAINS_MAX.into()]).await?;
    let given = tx.rows(GIVEN, vec![tenant.into()]).await?;
    let found = all(tenant, &claimed, &given)?.into_iter().find(|domain| domain.name == name);
    // Meanwhile another node may have done it.
    let Some(mut domain) = found.filter(|domain| domain.verified_by == Some(Verifier::Capture)) else { return Ok(()) };
    domain.verified_at = is_capture.then_some(domain.verified_at.unwrap_or(now));
    put(tx, &domain, now).await
}

async fn take_from_all(tx: &mut Tx, tenant: TenantId, name: &str) -> Result<u64> {
    const SQL: &str = "
        delete from domains
        where name = $1 and agent_id in (select id from agents where tenant_id = $2)";
    tx.run(SQL, vec![name.into(), tenant.into()]).await
}

/// A tenant's domains by name, of what was claimed and what was given to its mail agents.
fn all(tenant: TenantId, claimed: &[Row], given: &[Row]) -> Result<Vec<ClaimedDomain>> {
    let mut all: BTreeMap<String, ClaimedDomain> = BTreeMap::new();
    for row in claimed {
        let claimed = read(row, tenant)?;
        all.insert(claimed.name.clone(), claimed);
    }
    for row in given {
        let (name, at) = (row.text("name")?, row.time("created_at")?);
        let entry = all.entry(name.clone()).or_insert_with(|| ClaimedDomain::given(tenant, name, at));
        entry.take(AgentId::from_bytes(row.id("agent_id")?), at);
    }
    Ok(all.into_values().take(DOMAINS_MAX as usize).collect())
}

fn read(row: &Row, tenant: TenantId) -> Result<ClaimedDomain> {
    Ok(ClaimedDomain {
        tenant,
        name: row.text("name")?,
        bounce_prefix: row.text("bounce_prefix")?,
        agents: row.json("agents")?,
        created_at: row.time("created_at")?,
        created_by: row.text("created_by")?,
        verified_at: row.maybe_time("verified_at")?,
        verified_by: row.word("verified_by", |word| match word {
            "" => Some(None),
            word => Verifier::from_word(word).map(Some),
        })?,
    })
}

impl ClaimedDomain {
    /// One that an operator gave by hand.
    fn given(tenant: TenantId, name: String, at: Timestamp) -> Self {
        let (bounce_prefix, created_by) = (String::new(), String::new());
        let (agents, verified_at, verified_by) = (Vec::new(), Some(at), Some(Verifier::Operator));
        Self { tenant, name, bounce_prefix, agents, created_at: at, created_by, verified_at, verified_by }
    }

    /// An agent has the domain: whoever gave it knew that it is the tenant's.
    fn take(&mut self, agent: AgentId, at: Timestamp) {
        if self.verified_at.is_none() {
            (self.verified_at, self.verified_by) = (Some(at), Some(Verifier::Operator));
        }
        if !self.agents.contains(&agent) {
            self.agents.push(agent);
        }
    }
}
