//! Leasing dispatches, fairly between webhooks.
//!
//! Each webhook has a line of its own in the index, ordered by due time. A look goes from line to line (one seek each,
//! only where something is owed), passes over those that are off, paused or busy without reading them, and shares what
//! it may lease among the rest: nobody waits behind a million events that are owed to a dead receiver.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use super::super::db::{Result, Store, Tx};
use super::super::tenants;
use super::super::value::Row;
use super::super::webhook_health;
use super::super::webhooks::{self, webhook_columns};
use super::facts::{self, Query};
use super::{Lane, LeasedDispatch, dispatch_id};
use crate::model::delivery::Lease;
use crate::model::event::Event;
use crate::model::id::{AgentId, EventId, WebhookId};
use crate::model::message::Message;
use crate::model::retry::LEASE;
use crate::model::seal::MasterKey;
use crate::model::time::Timestamp;
use crate::model::webhook::{DispatchId, Webhook};
use crate::model::webhook_health::SICK;

/// How long events that go together wait for company.
const GATHERING: Duration = Duration::from_secs(1);

/// The first of each webhook's line, found by one seek a line.
macro_rules! firsts {
    ($lane:literal, $may:literal) => {
        concat!(
            "with recursive lines (webhook_id) as (
                select (
                    select webhook_id from dispatches where state = 'queued' and lane = '",
            $lane,
            "'
                    order by webhook_id
                    limit 1)
                union all
                select (
                    select dispatches.webhook_id from dispatches
                    where state = 'queued' and lane = '",
            $lane,
            "' and dispatches.webhook_id > lines.webhook_id
                    order by dispatches.webhook_id
                    limit 1)
                from lines
                where lines.webhook_id is not null
            ), firsts (webhook_id, first_due) as (
                select lines.webhook_id, (
                    select due_at from dispatches
                    where state = 'queued' and lane = '",
            $lane,
            "' and dispatches.webhook_id = lines.webhook_id
                    order by due_at
                    limit 1)
                from lines
                join webhooks on webhooks.id = lines.webhook_id
                where ",
            $may,
            "
            ) "
        )
    };
}

/// A pause holds up everything but tests, which nobody pauses.
macro_rules! next_due {
    ($lane:literal, $may:literal) => {
        concat!(
            firsts!($lane, $may),
            "select case when paused_until > first_due and '",
            $lane,
            "' <> 'trial' then paused_until
                else first_due end as due_at
            from firsts
            left join webhook_health on webhook_health.webhook_id = firsts.webhook_id
            order by due_at
            limit 1"
        )
    };
}

/// Any event of a line.
macro_rules! any {
    () => {
        ""
    };
}

/// No event while one before it about the same message is owed.
macro_rules! in_order {
    () => {
        "and not exists (
            select 1
            from events as own
            join events as earlier on earlier.message_id = own.message_id and earlier.id < own.id
            join dispatches as owed on owed.event_id = earlier.id and owed.webhook_id = $1
            where own.id = dispatches.event_id and owed.state = 'queued')"
    };
}

pub(super) use {any, in_order};

/// `$first` is `"due_at"` or, backwards, `"due_at desc"`.
macro_rules! lease_line {
    ($lane:literal, $becomes:literal, $first:literal, $order:ident, $skip:literal) => {
        concat!(
            "with due as (
                select event_id, webhook_id
                from dispatches
                where state = 'queued' and lane = '",
            $lane,
            "' and webhook_id = $1 and due_at <= $2 ",
            $order!(),
            " order by ",
            $first,
            "
                limit $3 ",
            $skip,
            ")
            update dispatches
            set lane = '",
            $becomes,
            "', lease = $4, due_at = $5, attempts = attempts + 1
            from due
            where dispatches.event_id = due.event_id and dispatches.webhook_id = due.webhook_id
            returning dispatches.event_id, dispatches.webhook_id, attempts, attempts_before"
        )
    };
    ($lane:literal, $becomes:literal, $first:literal, $is_in_order:expr, $is_shared:expr) => {
        match ($is_in_order, $is_shared) {
            (false, false) => lease_line!($lane, $becomes, $first, any, ""),
            (false, true) => lease_line!($lane, $becomes, $first, any, "for update of dispatches skip locked"),
            (true, false) => lease_line!($lane, $becomes, $first, in_order, ""),
            (true, true) => lease_line!($lane, $becomes, $first, in_order, "for update of dispatches skip locked"),
        }
    };
}

/// What all leases of one look have in common.
pub(super) struct Look {
    pub(super) lane: Lane,
    pub(super) now: Timestamp,
    holder: String,
    pub(super) master: MasterKey,
}

/// A webhook that has something due.
pub(super) struct Line {
    pub(super) webhook: Arc<Webhook>,
    pub(super) is_sick: bool,
    is_awaited: bool,
    is_handed: bool,
    due_at: Timestamp,
    /// Leased and not yet told: event and numbers of attempts.
    taken: Vec<Taken>,
}

pub(super) struct Taken {
    pub(super) id: DispatchId,
    pub(super) attempt: u32,
    pub(super) attempts_before: u32,
    pub(super) until: Timestamp,
}

impl Store {
    /// Leases up to `limit` due dispatches of one lane and counts an attempt for each: a fair share for each webhook,
    /// the oldest of each first. Those of webhooks that are off or paused wait, and so do those of the webhooks in
    /// `except`, which have enough to do.
    ///
    /// # Errors
    /// `Unavailable`, `Corrupt`.
    pub async fn lease_dispatches(
        &self,
        lane: Lane,
        limit: u32,
        except: Vec<WebhookId>,
    ) -> Result<Vec<LeasedDispatch>> {
        let look = self.look(lane);
        if lane == Lane::Fresh {
            self.0.handoff.looks_for_all_but(except.iter().copied().collect());
        }
        // Most looks find nothing; they need not wait for the writer, nor it for them.
        let lines = look.lines(self, limit, except).await?;
        if lines.is_empty() {
            return Ok(Vec::new());
        }
        self.transaction(move |tx| Box::pin(async move { look.lease(tx, limit, lines).await })).await
    }

    /// Leases what else is due to a webhook, at most `limit`: what goes together with a dispatch that is leased already.
    ///
    /// # Errors
    /// `Unavailable`, `Corrupt`.
    pub async fn lease_company(&self, lane: Lane, webhook: WebhookId, limit: u32) -> Result<Vec<LeasedDispatch>> {
        let look = self.look(lane);
        self.transaction(move |tx| {
            Box::pin(async move {
                // As it is, without the key of one mail agent: each event is signed with that of its own.
                let Some(webhook) = webhooks::find(tx, webhook, &look.master).await? else { return Ok(Vec::new()) };
                let mut line = Line::of(Arc::new(webhook), look.now);
                look.take(tx, &mut line, limit).await?;
                look.load(tx, vec![line]).await
            })
        })
        .await
    }

    /// When the next dispatch of this lane comes due that may go out; `None` when none waits.
    ///
    /// # Errors
    /// `Unavailable`.
    pub async fn next_dispatch_due(&self, lane: Lane) -> Result<Option<Timestamp>> {
        let sql = match lane {
            Lane::Fresh => next_due!("fresh", "switch = 'on'"),
            Lane::Retry => next_due!("retry", "switch = 'on'"),
            Lane::Trial => next_due!("trial", "1 = 1"),
        };
        self.row(sql, vec![]).await?.map_or(Ok(None), |row| row.maybe_time("due_at"))
    }

    pub(super) fn look(&self, lane: Lane) -> Look {
        Look { lane, now: self.now(), holder: self.0.holder.clone(), master: self.0.master.clone() }
    }
}

impl Look {
    async fn lease(&self, tx: &mut Tx, limit: u32, lines: Vec<Line>) -> Result<Vec<LeasedDispatch>> {
        let mut lines = self.allowed(tx, lines).await?;
        // In turn; what one does not need is shared among those that would take more.
        let mut left = limit;
        let mut hungry: Vec<usize> = (0..lines.len()).collect();
        while left > 0 && !hungry.is_empty() {
            let mut still_hungry = Vec::new();
            let count = hungry.len();
            for (at, place) in hungry.into_iter().enumerate() {
                let others = u32::try_from(count - at).unwrap_or(u32::MAX);
                let Some(line) = lines.get_mut(place) else { continue };
                let room = line.room();
                let share = left.div_ceil(others).min(room);
                let got = self.take(tx, line, share).await?;
                left -= got;
                if got == share && got < room && left > 0 {
                    still_hungry.push(place);
                }
            }
            hungry = still_hungry;
        }
        for line in lines.iter().filter(|line| line.is_sick && !line.taken.is_empty()) {
            webhook_health::probe(tx, line.webhook.id, self.now).await?;
        }
        self.load(tx, lines).await
    }

    /// The webhooks that have something due, longest due first, at most `limit`.
    async fn lines(&self, store: &Store, limit: u32, except: Vec<WebhookId>) -> Result<Vec<Line>> {
        macro_rules! due_lines {
            ($lane:literal, $may:literal, $pause:literal) => {
                concat!(
                    firsts!($lane, $may),
                    "select ",
                    webhook_columns!(),
                    ", first_due, score
                    from firsts
                    join webhooks on webhooks.id = firsts.webhook_id
                    left join webhook_health on webhook_health.webhook_id = webhooks.id
                    where first_due <= $1 and (paused_until is null or paused_until <= $1 or ",
                    $pause,
                    ")
                        and webhooks.id not in ($list)
                    order by first_due
                    limit $2"
                )
            };
        }
        let sql = match self.lane {
            Lane::Fresh => due_lines!("fresh", "switch = 'on'", "1 = 0"),
            Lane::Retry => due_lines!("retry", "switch = 'on'", "1 = 0"),
            Lane::Trial => due_lines!("trial", "1 = 1", "1 = 1"),
        };
        // As many as a list holds are passed over by the statement, the others here.
        let found_max = limit.saturating_add(u32::try_from(except.len()).unwrap_or(u32::MAX));
        let listed = except.iter().map(|id| (*id).into()).collect();
        let except: HashSet<WebhookId> = except.into_iter().collect();
        let rows = store.rows_listed(sql, vec![self.now.into(), found_max.into()], listed).await?;
        let mut lines = Vec::with_capacity(rows.len());
        for row in &rows {
            if except.contains(&WebhookId::from_bytes(row.id("id")?)) || lines.len() >= limit as usize {
                continue;
            }
            match self.line(row) {
                Ok(line) if line.is_gathering(self.now) => {}
                Ok(line) => lines.push(line),
                // One that cannot be read must not hold up the others.
                Err(fault) => tracing::error!(%fault, "a webhook cannot be read; what is owed to it waits"),
            }
        }
        Ok(lines)
    }

    fn line(&self, row: &Row) -> Result<Line> {
        let score = row.maybe_int("score")?.unwrap_or(0);
        Ok(Line {
            is_sick: score >= i64::from(SICK) && self.lane != Lane::Trial,
            is_awaited: score > 0,
            ..Line::of(Arc::new(webhooks::read(row, &self.master)?), row.time("first_due")?)
        })
    }

    /// Leases up to `limit` of one line; how many.
    async fn take(&self, tx: &mut Tx, line: &mut Line, limit: u32) -> Result<u32> {
        let (is_in_order, is_shared) = (line.webhook.options.in_order, tx.is_shared());
        let sql = match self.lane {
            Lane::Fresh => lease_line!("fresh", "retry", "due_at", is_in_order, is_shared),
            // What was tried last: see `sick`.
            Lane::Retry if line.is_sick => lease_line!("retry", "retry", "due_at desc", is_in_order, is_shared),
            Lane::Retry => lease_line!("retry", "retry", "due_at", is_in_order, is_shared),
            Lane::Trial => lease_line!("trial", "trial", "due_at", is_in_order, is_shared),
        };
        let until = self.now + LEASE;
        let values =
            vec![line.webhook.id.into(), self.now.into(), limit.into(), self.holder.as_str().into(), until.into()];
        let rows = tx.rows(sql, values).await?;
        for row in &rows {
            let (attempt, attempts_before) = (row.small("attempts")?, row.small("attempts_before")?);
            line.taken.push(Taken { id: dispatch_id(row)?, attempt, attempts_before, until });
        }
        Ok(u32::try_from(rows.len()).unwrap_or(u32::MAX))
    }

    /// What was leased, with all that telling it needs. An event or message that is gone was forgotten while the dispatch was
    /// being written: nothing is owed of it any more.
    async fn load(&self, tx: &mut Tx, lines: Vec<Line>) -> Result<Vec<LeasedDispatch>> {
        let (head, tail, keys) = self.facts(&lines);
        let facts = tx.many(head, tail, keys).await?;
        let there: HashSet<EventId> = facts.iter().filter_map(facts::whole).collect();
        let gone = lines.iter().flat_map(|line| &line.taken).filter(|taken| !there.contains(&taken.id.event));
        forget(tx, gone.map(|taken| taken.id).collect()).await?;
        Ok(self.all_leased(lines, &facts))
    }

    /// The query for what is told, each event once: as its parts, and its keys.
    pub(super) fn facts(&self, lines: &[Line]) -> Query {
        let events = lines.iter().flat_map(|line| &line.taken).map(|taken| taken.id.event);
        facts::of(self.lane, events.collect())
    }

    /// Puts together what was leased and what was found of it.
    pub(super) fn all_leased(&self, lines: Vec<Line>, facts: &[Row]) -> Vec<LeasedDispatch> {
        let mut found = HashMap::with_capacity(facts.len());
        for row in facts {
            match facts::told(row) {
                Ok(told) => drop(found.insert(told.0.id, (told, row))),
                Err(fault) => tracing::error!(%fault, "an event cannot be read; what is owed of it waits"),
            }
        }
        let mut leased = Vec::new();
        for line in lines {
            for taken in &line.taken {
                let Some((told, row)) = found.get(&taken.id.event) else { continue };
                match self.leased(&line, taken, told, row) {
                    Ok(dispatch) => leased.push(dispatch),
                    Err(fault) => tracing::error!(dispatch.id = %taken.id, %fault, "a queued dispatch cannot be read"),
                }
            }
        }
        leased
    }

    fn leased(
        &self,
        line: &Line,
        taken: &Taken,
        (event, message): &(Event, Message),
        row: &Row,
    ) -> Result<LeasedDispatch> {
        Ok(LeasedDispatch {
            id: taken.id,
            lease: Lease { holder: self.holder.clone(), attempt: taken.attempt },
            until: taken.until,
            attempts_before: taken.attempts_before,
            event: event.clone(),
            message: message.clone(),
            webhook: self.with_key_of_agent(&line.webhook, row)?,
            is_awaited: line.is_awaited,
            is_handed: line.is_handed,
        })
    }

    /// The webhook as it signs what it tells of the event's mail agent.
    fn with_key_of_agent(&self, webhook: &Arc<Webhook>, row: &Row) -> Result<Arc<Webhook>> {
        if !webhook.takes_key_of_agent() {
            return Ok(webhook.clone());
        }
        let Some(settings) = row.maybe_text("settings")? else { return Ok(webhook.clone()) };
        let agent = AgentId::from_bytes(row.id("agent_id")?);
        let key = tenants::settings_from(&settings, agent, &self.master)?.authentication_key;
        Ok(Arc::new((**webhook).clone().signing_with(key)))
    }
}

async fn forget(tx: &mut Tx, gone: Vec<DispatchId>) -> Result<()> {
    const HEAD: &str = "with gone (event_id, webhook_id) as (values";
    const TAIL: &str = ")
        delete from dispatches
        where (event_id, webhook_id) in (select event_id, webhook_id from gone)";
    if gone.is_empty() {
        return Ok(());
    }
    tracing::info!(dispatches = gone.len(), "what was owed of events that were forgotten is owed no more");
    let rows = gone.into_iter().map(|id| vec![id.event.into(), id.webhook.into()]).collect();
    tx.many(HEAD, TAIL, rows).await.map(drop)
}

impl Line {
    /// Of a webhook that is well.
    fn of(webhook: Arc<Webhook>, due_at: Timestamp) -> Self {
        Self { webhook, is_sick: false, is_awaited: false, is_handed: false, due_at, taken: Vec::new() }
    }

    /// What was written leased.
    pub(super) fn handed(webhook: Webhook, now: Timestamp, taken: Vec<Taken>) -> Self {
        Self { is_handed: true, taken, ..Self::of(Arc::new(webhook), now) }
    }

    /// How many may be leased in one look.
    fn room(&self) -> u32 {
        let taken = u32::try_from(self.taken.len()).unwrap_or(u32::MAX);
        // What goes together with one is leased when that one is told.
        let all = if self.is_sick || self.webhook.options.batch { 1 } else { u32::MAX };
        all.saturating_sub(taken)
    }

    /// Events that go together wait a moment for each other.
    fn is_gathering(&self, now: Timestamp) -> bool {
        self.webhook.options.batch && now.since(self.due_at) < GATHERING
    }
}
