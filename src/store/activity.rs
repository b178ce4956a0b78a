//! The latest that readers and receivers did, for plots of where, with what, and why; and what waits. Reads only.

use super::db::{Result, Store};
use super::events;
use super::queue::{self, Waiting};
use crate::model::event::Event;
use crate::model::id::{EventId, TenantId};
use crate::model::time::Timestamp;

macro_rules! latest {
    ($kinds:literal) => {
        concat!(
            "select id as event_id, message_id, recipient, tenant_id, agent_id, kind, ordinal, at, address, detail,
                relay, relay_at, is_test
            from events
            where tenant_id = $1 and id >= $2 and kind in (",
            $kinds,
            ") and not is_test
            order by id desc
            limit $3"
        )
    };
}

impl Store {
    /// What waits of a tenant by domain, the most first, at most `domains`: counted among the oldest `looked` deliveries, so
    /// that a long queue is looked at as quickly as a short one.
    ///
    /// # Errors
    /// `Unavailable`, `Corrupt`.
    pub async fn oldest_by_domain(&self, tenant: TenantId, domains: u32, looked: u32) -> Result<Vec<Waiting>> {
        const SQL: &str = "
            select domain, count(*) as queued, min(accepted_at) as oldest,
                cast(sum(case when held_at is null and (due_at <= $2 or lease is not null) then 1 else 0 end)
                    as bigint) as due,
                cast(sum(case when held_at is not null then 1 else 0 end) as bigint) as held
            from (
                select domain, due_at, lease, held_at, accepted_at
                from deliveries
                where tenant_id = $1 and state = 'queued' and state <> 'delivered'
                order by message_id
                limit $3) as part
            group by domain
            order by queued desc, domain
            limit $4";
        let values = vec![tenant.into(), self.now().into(), looked.into(), domains.into()];
        self.rows(SQL, values).await?.iter().map(queue::waiting).collect()
    }

    /// A tenant's latest first opens and clicks since a time, newest first, at most `limit`; tests aside.
    ///
    /// # Errors
    /// `Unavailable`, `Corrupt`.
    pub async fn latest_looks(&self, tenant: TenantId, since: Timestamp, limit: u32) -> Result<Vec<Event>> {
        self.latest(latest!("'opened', 'clicked'"), tenant, since, limit).await
    }

    /// A tenant's latest bounces since a time, newest first, at most `limit`; tests aside.
    ///
    /// # Errors
    /// `Unavailable`, `Corrupt`.
    pub async fn latest_bounces(&self, tenant: TenantId, since: Timestamp, limit: u32) -> Result<Vec<Event>> {
        self.latest(latest!("'hard_bounced', 'soft_bounced'"), tenant, since, limit).await
    }

    async fn latest(&self, sql: &'static str, tenant: TenantId, since: Timestamp, limit: u32) -> Result<Vec<Event>> {
        let values = vec![tenant.into(), EventId::first_at(since).into(), limit.into()];
        self.rows(sql, values).await?.iter().map(events::read).collect()
    }
}
