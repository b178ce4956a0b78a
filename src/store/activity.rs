//! The latest that readers and receivers did, for plots of where, with what, and why. Reads only.

use super::db::{Result, Store};
use super::events;
use crate::model::event::Event;
use crate::model::id::{EventId, TenantId};
use crate::model::time::Timestamp;

impl Store {
    /// A tenant's latest first opens and clicks since a time, newest first, at most `limit`; tests aside.
    ///
    /// # Errors
    /// `Unavailable`, `Corrupt`.
    pub async fn latest_looks(&self, tenant: TenantId, since: Timestamp, limit: u32) -> Result<Vec<Event>> {
        const SQL: &str = "
            select id as event_id, message_id, recipient, tenant_id, agent_id, kind, ordinal, at, address, detail,
                relay, relay_at, is_test
            from events
            where tenant_id = $1 and id >= $2 and kind in ('opened', 'clicked') and not is_test
            order by id desc
            limit $3";
        let values = vec![tenant.into(), EventId::first_at(since).into(), limit.into()];
        self.rows(SQL, values).await?.iter().map(events::read).collect()
    }

    /// A tenant's latest bounces since a time, newest first, at most `limit`; tests aside.
    ///
    /// # Errors
    /// `Unavailable`, `Corrupt`.
    pub async fn latest_bounces(&self, tenant: TenantId, since: Timestamp, limit: u32) -> Result<Vec<Event>> {
        const SQL: &str = "
            select id as event_id, message_id, recipient, tenant_id, agent_id, kind, ordinal, at, address, detail,
                relay, relay_at, is_test
            from events
            where tenant_id = $1 and id >= $2 and kind in ('hard_bounced', 'soft_bounced') and not is_test
            order by id desc
            limit $3";
        let values = vec![tenant.into(), EventId::first_at(since).into(), limit.into()];
        self.rows(SQL, values).await?.iter().map(events::read).collect()
    }
}
