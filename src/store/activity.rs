//! The latest that readers and receivers did, for plots of where, with what, and why. Reads only.

use super::db::{Result, Store};
use super::events;
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
