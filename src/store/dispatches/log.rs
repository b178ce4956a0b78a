//! The log of attempts, and what is owed to one webhook, for those who look. Owns the `dispatch_attempts` table.

use std::collections::HashMap;

use super::super::db::{Result, Store, Tx};
use super::super::value::{Row, Value, json};
use super::super::{events, messages};
use super::{DispatchSettlement, DispatchStanding, Lane, dispatch_id, facts, read_standing};
use crate::model::event::Event;
use crate::model::id::{EventId, TenantId, WebhookId};
use crate::model::message::Message;
use crate::model::notice::blank;
use crate::model::time::Timestamp;
use crate::model::webhook::{DispatchId, DispatchState};
use crate::model::webhook_attempt::{Attempted, Posted};

/// Attempts at one dispatch that are shown.
const SHOWN_MAX: u32 = 100;

/// A dispatch with what it is about.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DispatchView {
    /// Where it stands.
    pub standing: DispatchStanding,
    /// What is owed.
    pub event: Event,
    /// About which message.
    pub message: Message,
}

macro_rules! attempt_columns {
    () => {
        "dispatch_attempts.event_id, dispatch_attempts.webhook_id, number, started_at, status, error, next_at, trace"
    };
}

/// A webhook's log before a place in it, newest first.
macro_rules! attempts_before {
    ($which:literal) => {
        concat!(
            "select ",
            attempt_columns!(),
            " from dispatch_attempts
            where webhook_id = $1 and (started_at < $2 or started_at = $2 and event_id < $3) ",
            $which,
            " order by started_at desc, event_id desc
            limit $4"
        )
    };
}

macro_rules! dispatches_before {
    ($which:literal) => {
        concat!(
            "select event_id, webhook_id, state, attempts, due_at, settled_at, last_status, last_error
            from dispatches
            where webhook_id = $1 and event_id < $2 ",
            $which,
            " order by event_id desc
            limit $3"
        )
    };
}

impl Store {
    /// The log of a webhook before an attempt (by its time and event), newest first, at most `limit`.
    ///
    /// # Errors
    /// `Unavailable`, `Corrupt`.
    pub async fn webhook_attempts(
        &self,
        webhook: WebhookId,
        before: Option<(Timestamp, EventId)>,
        only_failed: bool,
        limit: u32,
    ) -> Result<Vec<(DispatchId, Attempted)>> {
        let sql = match only_failed {
            false => attempts_before!(""),
            true => attempts_before!("and error is not null"),
        };
        let (at, event) = match before {
            Some((at, event)) => (at, event.as_bytes().to_vec()),
            None => (Timestamp::from_millis(i64::MAX), Vec::new()),
        };
        let rows = self.rows(sql, vec![webhook.into(), at.into(), event.into(), limit.into()]).await?;
        rows.iter().map(|row| Ok((dispatch_id(row)?, read(row)?))).collect()
    }

    /// The attempts at a dispatch, in order, the first hundred.
    ///
    /// # Errors
    /// `Unavailable`, `Corrupt`.
    pub async fn dispatch_attempts(&self, id: DispatchId) -> Result<Vec<Attempted>> {
        const SQL: &str = concat!(
            "select ",
            attempt_columns!(),
            " from dispatch_attempts
            where event_id = $1 and webhook_id = $2
            order by number
            limit $3"
        );
        let rows = self.rows(SQL, vec![id.event.into(), id.webhook.into(), SHOWN_MAX.into()]).await?;
        rows.iter().map(read).collect()
    }

    /// What an attempt at a dispatch told: the event, and those that went with it, in their order. Of what was forgotten
    /// since nothing is there.
    ///
    /// # Errors
    /// `Unavailable`, `Corrupt`.
    pub async fn posted(&self, view: &DispatchView, attempt: &Attempted) -> Result<Posted> {
        const FIRST: &str = concat!(
            "select ",
            attempt_columns!(),
            " from dispatch_attempts
            where event_id = $1 and webhook_id = $2 and number = $3"
        );
        let alone = Posted { number: attempt.number, told: vec![(view.event.clone(), view.message.clone())] };
        let webhook = view.standing.id.webhook;
        let (first, number, others) = match attempt.trace.led_by {
            None => (view.event.id, attempt.number, attempt.trace.followed_by.clone()),
            Some((first, number)) => {
                let row = self.row(FIRST, vec![first.into(), webhook.into(), number.into()]).await?;
                let led = row.as_ref().map(read).transpose()?;
                (first, number, led.map_or(Vec::new(), |led| led.trace.followed_by))
            }
        };
        if others.is_empty() {
            return Ok(alone);
        }
        let ids: Vec<EventId> = std::iter::once(first).chain(others).collect();
        let (head, tail, keys) = facts::of(Lane::Retry, ids.iter().copied().collect());
        let rows = self.lookup(head, tail, keys).await?;
        let found = rows.iter().filter(|row| facts::whole(row).is_some()).map(facts::told);
        let mut found: HashMap<EventId, (Event, Message)> =
            found.map(|told| told.map(|told| (told.0.id, told))).collect::<Result<_>>()?;
        let told = ids.iter().filter_map(|id| found.remove(id)).collect();
        Ok(Posted { number, told })
    }

    /// What is or was owed to a webhook before `before`, newest first, at most `limit`; of one state, when one is
    /// named.
    ///
    /// # Errors
    /// `Unavailable`, `Corrupt`.
    pub async fn webhook_dispatches(
        &self,
        webhook: WebhookId,
        state: Option<DispatchState>,
        before: Option<EventId>,
        limit: u32,
    ) -> Result<Vec<DispatchStanding>> {
        let sql = match state {
            None => dispatches_before!(""),
            Some(DispatchState::Queued) => dispatches_before!("and state = 'queued'"),
            Some(DispatchState::Arrived) => dispatches_before!("and state = 'arrived'"),
            Some(DispatchState::Exhausted) => dispatches_before!("and state = 'exhausted'"),
        };
        let before = before.map_or(vec![0xff; 17], |id| id.as_bytes().to_vec());
        let rows = self.rows(sql, vec![webhook.into(), before.into(), limit.into()]).await?;
        rows.iter().map(read_standing).collect()
    }

    /// One of a tenant's dispatches with what it is about.
    ///
    /// # Errors
    /// `Unavailable`, `Corrupt`.
    pub async fn dispatch_view(&self, tenant: TenantId, id: DispatchId) -> Result<Option<DispatchView>> {
        let Some(standing) = self.dispatch(id).await? else { return Ok(None) };
        let found = self.event(tenant, id.event).await?;
        Ok(found.map(|(event, message)| DispatchView { standing, event, message }))
    }

    /// A tenant's event with the message that it is about, whether that was sent or is a test's.
    ///
    /// # Errors
    /// `Unavailable`, `Corrupt`.
    pub async fn event(&self, tenant: TenantId, id: EventId) -> Result<Option<(Event, Message)>> {
        const SQL: &str = "
            select id as event_id, message_id, recipient, tenant_id, agent_id, kind, ordinal, at, address, detail,
                relay, relay_at, is_test
            from events
            where id = $1 and tenant_id = $2";
        const SAMPLE: &str = "
            select id, tenant_id, agent_id, agent_key, source, accepted_at, size_bytes, facts
            from samples
            where id = $1";
        let Some(row) = self.row(SQL, vec![id.into(), tenant.into()]).await? else { return Ok(None) };
        let event = events::read(&row)?;
        let message = match (event.kind.is_notice(), event.is_test) {
            (true, _) => Some(blank(&event)),
            (false, false) => self.message(event.delivery.message).await?,
            (false, true) => {
                let row = self.row(SAMPLE, vec![event.delivery.message.into()]).await?;
                row.as_ref().map(messages::read).transpose()?
            }
        };
        Ok(message.map(|message| (event, message)))
    }

    /// How many dispatches wait for a webhook, counted up to `limit`.
    ///
    /// # Errors
    /// `Unavailable`, `Corrupt`.
    pub async fn dispatches_waiting(&self, webhook: WebhookId, limit: u32) -> Result<u32> {
        const SQL: &str = "
            select count(*) as waiting
            from (
                select 1 as one from dispatches
                where state = 'queued' and lane in ('fresh', 'retry') and webhook_id = $1
                limit $2) as part";
        let row = self.row(SQL, vec![webhook.into(), limit.into()]).await?;
        row.map_or(Ok(0), |row| row.small("waiting"))
    }

    /// When something last arrived at a webhook, among its last thousand attempts.
    ///
    /// # Errors
    /// `Unavailable`, `Corrupt`.
    pub async fn last_arrival(&self, webhook: WebhookId) -> Result<Option<Timestamp>> {
        const SQL: &str = "
            select max(started_at) as last
            from (
                select started_at, error from dispatch_attempts
                where webhook_id = $1
                order by started_at desc
                limit 1000) as latest
            where error is null";
        let row = self.row(SQL, vec![webhook.into()]).await?;
        row.map_or(Ok(None), |row| row.maybe_time("last"))
    }
}

/// Writes the attempts that these settlements end.
pub(super) async fn insert(tx: &mut Tx, settlements: &[&DispatchSettlement]) -> Result<()> {
    const HEAD: &str = "
        insert into dispatch_attempts (event_id, webhook_id, number, started_at, status, error, next_at, trace)
        values";
    let rows = settlements.iter().map(|settlement| -> Vec<Value> {
        vec![
            settlement.id.event.into(),
            settlement.id.webhook.into(),
            settlement.lease.attempt.into(),
            settlement.started_at.into(),
            settlement.status.into(),
            settlement.error.clone().into(),
            settlement.next.due_at().into(),
            json(&settlement.trace).into(),
        ]
    });
    tx.many(HEAD, "on conflict do nothing", rows.collect()).await.map(drop)
}

fn read(row: &Row) -> Result<Attempted> {
    Ok(Attempted {
        number: row.small("number")?,
        started_at: row.time("started_at")?,
        status: row.maybe_int("status")?.and_then(|status| u16::try_from(status).ok()),
        error: row.maybe_text("error")?,
        next_at: row.maybe_time("next_at")?,
        trace: row.json("trace")?,
    })
}
