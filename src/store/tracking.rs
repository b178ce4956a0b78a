//! Hosts that links lead through, and links that lead nowhere any more.
//!
//! Owns the `tracking_hosts` and `link_blocks` tables. They are small, and the doors hold them in memory.

use super::db::{Result, Store, StoreError};
use super::value::Row;
use crate::model::id::{AgentId, TenantId};
use crate::model::tracking::{Block, TrackingHost};

/// Hosts of an installation, and blocks of each kind, that are looked at.
const LOOKED_AT_MAX: u32 = 10_000;

impl Store {
    /// Adds a tracking host.
    ///
    /// # Errors
    /// `Conflict` when the host is taken or the agent's domain has one; `Unavailable`.
    pub async fn add_tracking_host(&self, host: TrackingHost) -> Result<()> {
        const SQL: &str = "
            insert into tracking_hosts (host, tenant_id, agent_id, domain, apple_links, android_links, checked_at, fault,
                created_at, created_by)
            values ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10)";
        let row = vec![
            host.host.into(),
            host.tenant.into(),
            host.agent.into(),
            host.domain.into(),
            host.apple_links.into(),
            host.android_links.into(),
            host.checked_at.into(),
            host.fault.into(),
            host.created_at.into(),
            host.created_by.into(),
        ];
        self.run(SQL, row).await.map(drop)
    }

    /// The tracking hosts of the installation, by name, at most 10,000.
    ///
    /// # Errors
    /// `Unavailable`, `Corrupt`.
    pub async fn tracking_hosts(&self) -> Result<Vec<TrackingHost>> {
        const SQL: &str = "
            select host, tenant_id, agent_id, domain, apple_links, android_links, checked_at, fault, created_at,
                created_by
            from tracking_hosts
            order by host
            limit $1";
        self.rows(SQL, vec![LOOKED_AT_MAX.into()]).await?.iter().map(read_host).collect()
    }

    /// Removes a tenant's tracking host. Whether there was one.
    ///
    /// # Errors
    /// `Unavailable`.
    pub async fn remove_tracking_host(&self, tenant: TenantId, host: &str) -> Result<bool> {
        let sql = "delete from tracking_hosts where tenant_id = $1 and host = $2";
        Ok(self.run(sql, vec![tenant.into(), host.into()]).await? > 0)
    }

    /// Writes what a check of a host came to now: what is wrong, or nothing.
    ///
    /// # Errors
    /// `Unavailable`.
    pub async fn tracking_host_checked(&self, host: &str, fault: &str) -> Result<()> {
        let sql = "update tracking_hosts set checked_at = $1, fault = $2 where host = $3";
        self.run(sql, vec![self.now().into(), fault.into(), host.into()]).await.map(drop)
    }

    /// Lets a host be checked as soon as whoever checks comes round. One that was never checked is due anyway.
    ///
    /// # Errors
    /// `Unavailable`.
    pub async fn tracking_host_due(&self, host: &str) -> Result<()> {
        let sql = "update tracking_hosts set checked_at = $1 where host = $2 and checked_at is not null";
        self.run(sql, vec![TrackingHost::DUE.into(), host.into()]).await.map(drop)
    }

    /// Replaces a host's files for app links. Whether the tenant has such a host.
    ///
    /// # Errors
    /// `Unavailable`.
    pub async fn set_app_links(&self, tenant: TenantId, host: &str, apple: &str, android: &str) -> Result<bool> {
        let sql = "update tracking_hosts set apple_links = $1, android_links = $2 where tenant_id = $3 and host = $4";
        Ok(self.run(sql, vec![apple.into(), android.into(), tenant.into(), host.into()]).await? > 0)
    }

    /// Makes links lead nowhere. Blocking twice is blocking once.
    ///
    /// # Errors
    /// `Unavailable`.
    pub async fn block_links(&self, block: &Block) -> Result<()> {
        let (kind, value) = block.parts();
        let sql = "insert into link_blocks (kind, value, created_at) values ($1, $2, $3) on conflict do nothing";
        self.run(sql, vec![kind.into(), value.into(), self.now().into()]).await.map(drop)
    }

    /// Lets links lead where they led. Whether they did not.
    ///
    /// # Errors
    /// `Unavailable`.
    pub async fn unblock_links(&self, block: &Block) -> Result<bool> {
        let (kind, value) = block.parts();
        let sql = "delete from link_blocks where kind = $1 and value = $2";
        Ok(self.run(sql, vec![kind.into(), value.into()]).await? > 0)
    }

    /// What is blocked, at most 10,000.
    ///
    /// # Errors
    /// `Unavailable`, `Corrupt`.
    pub async fn link_blocks(&self) -> Result<Vec<Block>> {
        let sql = "select kind, value from link_blocks order by kind, value limit $1";
        let rows = self.rows(sql, vec![LOOKED_AT_MAX.into()]).await?;
        let read = |row: &Row| {
            let (kind, value) = (row.text("kind")?, row.text("value")?);
            Block::read(&kind, &value).ok_or_else(|| StoreError::Corrupt(format!("a block of {kind} {value:?}")))
        };
        rows.iter().map(read).collect()
    }
}

fn read_host(row: &Row) -> Result<TrackingHost> {
    Ok(TrackingHost {
        host: row.text("host")?,
        tenant: TenantId::from_bytes(row.id("tenant_id")?),
        agent: AgentId::from_bytes(row.id("agent_id")?),
        domain: row.text("domain")?,
        apple_links: row.text("apple_links")?,
        android_links: row.text("android_links")?,
        checked_at: row.maybe_time("checked_at")?,
        fault: row.text("fault")?,
        created_at: row.time("created_at")?,
        created_by: row.text("created_by")?,
    })
}
