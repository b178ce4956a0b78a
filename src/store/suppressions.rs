//! Addresses that an agent leaves alone. Owns the `suppressions` table.

use std::collections::HashMap;

use super::db::{Result, Store, Tx};
use super::value::Row;
use crate::model::address::Address;
use crate::model::id::{AgentId, TenantId};
use crate::model::reason::Reason;
use crate::model::suppression::Suppression;

impl Store {
    /// Which of these addresses the agent leaves alone, and why; by folded address.
    ///
    /// # Errors
    /// `Unavailable`, `Corrupt`.
    pub async fn suppressed(&self, agent: AgentId, addresses: &[Address]) -> Result<HashMap<String, Reason>> {
        const HEAD: &str = "
            with wanted (agent_id, address, now) as (values";
        const TAIL: &str = ")
            select suppressions.address, reason
            from wanted
            join suppressions on suppressions.agent_id = wanted.agent_id and suppressions.address = wanted.address
            where expires_at is null or expires_at > now";
        let now = self.now();
        let wanted = addresses.iter().map(|address| vec![agent.into(), Suppression::key(address).into(), now.into()]);
        let rows = self.lookup(HEAD, TAIL, wanted.collect()).await?;
        rows.iter().map(|row| Ok((row.text("address")?, row.word("reason", |word| word.parse().ok())?))).collect()
    }

    /// Adds a suppression, or replaces the one that the address has.
    ///
    /// # Errors
    /// `Unavailable`.
    pub async fn suppress(&self, suppression: Suppression) -> Result<()> {
        self.transaction(move |tx| Box::pin(async move { insert(tx, std::iter::once(&suppression)).await })).await
    }

    /// Removes a suppression; whether there was one.
    ///
    /// # Errors
    /// `Unavailable`.
    pub async fn unsuppress(&self, agent: AgentId, address: &Address) -> Result<bool> {
        let sql = "delete from suppressions where agent_id = $1 and address = $2";
        Ok(self.run(sql, vec![agent.into(), Suppression::key(address).into()]).await? > 0)
    }

    /// An agent's suppressions after `after`, by address, at most `limit`.
    ///
    /// # Errors
    /// `Unavailable`, `Corrupt`.
    pub async fn suppressions(&self, agent: AgentId, after: &str, limit: u32) -> Result<Vec<Suppression>> {
        const SQL: &str = "
            select tenant_id, agent_id, address, reason, created_at, expires_at
            from suppressions
            where agent_id = $1 and address > $2
            order by address
            limit $3";
        let rows = self.rows(SQL, vec![agent.into(), after.into(), limit.into()]).await?;
        rows.iter().map(read).collect()
    }
}

/// Writes suppressions; the newest of an address stands, but one that holds for good is not shortened.
pub(super) async fn insert<'a>(tx: &mut Tx, suppressions: impl Iterator<Item = &'a Suppression>) -> Result<()> {
    const HEAD: &str = "
        insert into suppressions (agent_id, address, tenant_id, reason, created_at, expires_at)
        values";
    const TAIL: &str = "
        on conflict (agent_id, address) do update
        set reason = excluded.reason, created_at = excluded.created_at, expires_at = excluded.expires_at
        where suppressions.expires_at is not null";
    // One statement must not touch a row twice: the last of each address stands for all.
    let newest: HashMap<(AgentId, &str), &Suppression> =
        suppressions.map(|suppression| ((suppression.agent, suppression.address.as_str()), suppression)).collect();
    let rows = newest.into_values().map(|suppression| {
        vec![
            suppression.agent.into(),
            suppression.address.as_str().into(),
            suppression.tenant.into(),
            suppression.reason.as_str().into(),
            suppression.created_at.into(),
            suppression.expires_at.into(),
        ]
    });
    tx.many(HEAD, TAIL, rows.collect()).await.map(drop)
}

fn read(row: &Row) -> Result<Suppression> {
    Ok(Suppression {
        tenant: TenantId::from_bytes(row.id("tenant_id")?),
        agent: AgentId::from_bytes(row.id("agent_id")?),
        address: row.text("address")?,
        reason: row.word("reason", |word| word.parse().ok())?,
        created_at: row.time("created_at")?,
        expires_at: row.maybe_time("expires_at")?,
    })
}
