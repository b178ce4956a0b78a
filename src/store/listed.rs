//! Events for those who fetch them: in the order in which they came to be known, and none before those ahead of it are.
//!
//! An event is listed under the time at which the transaction began that wrote it, or under that from which webhooks may
//! hear of it, where that is later; its id may have been drawn long before. Only what is older than any transaction that
//! still writes is listed: SQLite has one writer, and PostgreSQL knows since when the oldest goes on, however long that
//! is. So whoever goes on after the last event it saw misses none.

use std::time::Duration;

use super::db::{APPLICATION, Result, Store};
use super::events;
use super::messages;
use super::value::Row;
use crate::model::event::{Event, EventKind, EventSet};
use crate::model::id::{EventId, MessageId, TenantId};
use crate::model::message::Message;
use crate::model::notice::blank;
use crate::model::time::Timestamp;

/// How old an event is at least when it is listed: more than the clocks of nodes differ by, and than another process may
/// wait for SQLite.
const SETTLED: Duration = Duration::from_secs(5);

/// Which events to list.
#[derive(Clone, Debug)]
pub struct EventQuery {
    /// Whose.
    pub tenant: TenantId,
    /// Behind this one.
    pub after: Option<EventId>,
    /// Known at this time or later.
    pub since: Option<Timestamp>,
    /// Known before this time.
    pub until: Timestamp,
    /// Of these kinds.
    pub kinds: EventSet,
    /// About this message only.
    pub message: Option<MessageId>,
    /// How many.
    pub limit: u32,
}

impl Store {
    /// Until when everything is known that is written under the time at which its transaction began.
    ///
    /// # Errors
    /// `Unavailable`.
    pub async fn known_until(&self) -> Result<Timestamp> {
        const OLDEST: &str = "
            select cast(ceil(1000 * extract(epoch from max(clock_timestamp() - xact_start))) as bigint) as millis
            from pg_stat_activity
            where datname = current_database() and application_name = $1 and pid <> pg_backend_pid()";
        // Before the look at what goes on: a transaction that begins after it is later than this.
        let until = self.0.time.now() - SETTLED;
        if !self.is_shared() {
            return Ok(until);
        }
        let oldest = self.row(OLDEST, vec![APPLICATION.into()]).await?;
        let age = oldest.map_or(Ok(None), |row| row.maybe_int("millis"))?.unwrap_or(0);
        Ok(until - Duration::from_millis(u64::try_from(age).unwrap_or(0)))
    }

    /// A tenant's events, those known first before others, each with its message, or with [`blank`] where none stands
    /// behind it; tests aside.
    ///
    /// # Errors
    /// `Unavailable`, `Corrupt`.
    pub async fn events_listed(&self, wanted: &EventQuery) -> Result<Vec<(Event, Message)>> {
        const SQL: &str = "
            select events.id as event_id, events.message_id, events.recipient, events.tenant_id, events.agent_id, kind,
                ordinal, at, address, detail, relay, relay_at, is_test,
                messages.id, agent_key, source, accepted_at, size_bytes, facts
            from events
            left join messages on messages.id = events.message_id
            where events.tenant_id = $1 and (listed_at, events.id) > ($2, $3) and listed_at < $4
                and (kind_bit & $5) <> 0 and not is_test and (messages.id is not null or (kind_bit & $7) <> 0)
            order by listed_at, events.id
            limit $6";
        const OF_MESSAGE: &str = "
            select events.id as event_id, events.message_id, events.recipient, events.tenant_id, events.agent_id, kind,
                ordinal, at, address, detail, relay, relay_at, is_test,
                messages.id, agent_key, source, accepted_at, size_bytes, facts
            from messages
            join events on events.message_id = messages.id
            where messages.tenant_id = $1 and (listed_at, events.id) > ($2, $3) and listed_at < $4
                and (kind_bit & $5) <> 0 and not is_test and messages.id = $7
            order by listed_at, events.id
            limit $6";
        let since = wanted.since.map(|at| (at, Vec::new()));
        let after = match wanted.after {
            Some(id) => Some(self.place(wanted.tenant, id).await?),
            None => None,
        };
        let (at, id) = after.max(since).unwrap_or((Timestamp::from_millis(i64::MIN), Vec::new()));
        let kinds = i64::from(wanted.kinds.0);
        let mut values =
            vec![wanted.tenant.into(), at.into(), id.into(), wanted.until.into(), kinds.into(), wanted.limit.into()];
        let sql = match wanted.message {
            None => {
                let notices: EventSet = EventKind::ALL.into_iter().filter(|kind| kind.is_notice()).collect();
                values.push(i64::from(notices.0).into());
                SQL
            }
            Some(message) => {
                values.push(message.into());
                OF_MESSAGE
            }
        };
        self.rows(sql, values).await?.iter().map(told).collect()
    }

    /// Where an event stands in the list. One that has been forgotten stands before all that was written since its id was
    /// drawn: rather is told again what came between than never.
    async fn place(&self, tenant: TenantId, id: EventId) -> Result<(Timestamp, Vec<u8>)> {
        let sql = "select listed_at from events where id = $1 and tenant_id = $2";
        Ok(match self.row(sql, vec![id.into(), tenant.into()]).await? {
            Some(row) => (row.time("listed_at")?, id.as_bytes().to_vec()),
            None => (id.drawn_at(), Vec::new()),
        })
    }
}

fn told(row: &Row) -> Result<(Event, Message)> {
    let event = events::read(row)?;
    let message = if event.kind.is_notice() { blank(&event) } else { messages::read(row)? };
    Ok((event, message))
}
