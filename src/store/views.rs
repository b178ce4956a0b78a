//! Read models for API, command line and console: pages by key, timelines, counts.
//!
//! Reads only, on the readers, in short statements. Whatever a tenant may see takes the tenant from the caller.

use std::collections::{HashMap, HashSet};
use std::time::Duration;

use super::db::{Result, Store};
use super::deliveries::{self, Attempt};
use super::dispatches::{DispatchStanding, read_standing};
use super::messages::delivery_id;
use super::value::Row;
use super::{events, hits, messages};
use crate::model::delivery::{Delivery, State};
use crate::model::event::{Event, EventKind};
use crate::model::hit::Hit;
use crate::model::id::{DeliveryId, EventId, MessageId, TenantId};
use crate::model::message::Message;
use crate::model::queue::Mark;
use crate::model::reason::Reason;
use crate::model::time::Timestamp;
use crate::model::webhook_health::SICK;

/// A delivery with what its row tells beyond the queue's needs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DeliveryView {
    /// The delivery.
    pub delivery: Delivery,
    /// When the next attempt is due, or the lease ends.
    pub due_at: Option<Timestamp>,
    /// An attempt is under way.
    pub is_leased: bool,
    /// When it ended.
    pub settled_at: Option<Timestamp>,
    /// Why it ended otherwise than delivered, or waits.
    pub reason: Option<Reason>,
    /// Since when a person holds it.
    pub held_at: Option<Timestamp>,
    /// Why it waits beyond its own schedule.
    pub mark: Mark,
}

/// Counts of the queues, for `/metrics` and readiness.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct QueueCounts {
    /// Deliveries queued.
    pub deliveries: u64,
    /// The due time of the oldest of them.
    pub oldest_delivery_due: Option<Timestamp>,
    /// Dispatches queued.
    pub dispatches: u64,
    /// The due time of the oldest of them.
    pub oldest_dispatch_due: Option<Timestamp>,
    /// Webhooks that fail and are asked one request at a time.
    pub webhooks_paused: u64,
    /// Webhooks that were switched off by us.
    pub webhooks_off: u64,
}

impl Store {
    /// A message's deliveries in the order of its envelope, at most 1,000.
    ///
    /// # Errors
    /// `Unavailable`, `Corrupt`.
    pub async fn deliveries(&self, message: MessageId) -> Result<Vec<DeliveryView>> {
        const SQL: &str = "
            select message_id, recipient, tenant_id, agent_id, address, state, due_at, lease, attempts, accepted_at,
                expires_at, settled_at, reason, held_at, mark
            from deliveries
            where message_id = $1
            order by recipient
            limit 1000";
        self.rows(SQL, vec![message.into()]).await?.iter().map(read_delivery).collect()
    }

    /// A delivery's attempts, in order, at most 1,000, each with its number.
    ///
    /// # Errors
    /// `Unavailable`, `Corrupt`.
    pub async fn attempts(&self, id: DeliveryId) -> Result<Vec<(u32, Attempt)>> {
        const SQL: &str = "
            select number, started_at, ended_at, route, peer, tls, outcome, code, diagnostic, rule, dialogue
            from attempts
            where message_id = $1 and recipient = $2
            order by number
            limit 1000";
        let rows = self.rows(SQL, vec![id.message.into(), id.recipient.into()]).await?;
        rows.iter().map(|row| Ok((row.small("number")?, read_attempt(row)?))).collect()
    }

    /// What the newest attempt met that nobody replied to, of a mail that waits to be tried again, and at which mail; of
    /// those to this domain, or of all where none is named.
    ///
    /// # Errors
    /// `Unavailable`, `Corrupt`.
    pub async fn latest_silence(&self, domain: Option<&str>) -> Result<Option<(DeliveryId, Attempt)>> {
        const SQL: &str = "
            select attempts.message_id, attempts.recipient, attempts.started_at, attempts.ended_at, attempts.route,
                attempts.peer, attempts.tls, attempts.outcome, attempts.code, attempts.diagnostic, attempts.rule,
                attempts.dialogue
            from deliveries
            join attempts on attempts.message_id = deliveries.message_id and attempts.recipient = deliveries.recipient
                and attempts.number = deliveries.attempts
            where deliveries.state = 'queued' and deliveries.attempts > 0 and ($1 = '' or deliveries.domain = $1)
                and attempts.code is null
            order by attempts.ended_at desc
            limit 1";
        let row = self.row(SQL, vec![domain.unwrap_or_default().into()]).await?;
        row.map(|row| Ok((delivery_id(&row)?, read_attempt(&row)?))).transpose()
    }

    /// A delivery's events, in order, at most 1,000.
    ///
    /// # Errors
    /// `Unavailable`, `Corrupt`.
    pub async fn events(&self, id: DeliveryId) -> Result<Vec<Event>> {
        const SQL: &str = "
            select id as event_id, message_id, recipient, tenant_id, agent_id, kind, ordinal, at, address, detail,
                relay, relay_at, is_test
            from events
            where message_id = $1 and recipient = $2
            order by id
            limit 1000";
        let rows = self.rows(SQL, vec![id.message.into(), id.recipient.into()]).await?;
        rows.iter().map(events::read).collect()
    }

    /// The events of all of a message's deliveries, in order, at most 5,000.
    ///
    /// # Errors
    /// `Unavailable`, `Corrupt`.
    pub async fn events_of(&self, message: MessageId) -> Result<Vec<Event>> {
        const SQL: &str = "
            select id as event_id, message_id, recipient, tenant_id, agent_id, kind, ordinal, at, address, detail,
                relay, relay_at, is_test
            from events
            where message_id = $1
            order by id
            limit 5000";
        self.rows(SQL, vec![message.into()]).await?.iter().map(events::read).collect()
    }

    /// What kinds of things have happened to these messages.
    ///
    /// # Errors
    /// `Unavailable`, `Corrupt`.
    pub async fn kinds_told(&self, messages: &[MessageId]) -> Result<HashSet<(MessageId, EventKind)>> {
        const HEAD: &str = "
            with wanted (id) as (values";
        const TAIL: &str = ")
            select distinct events.message_id, kind
            from wanted
            join events on events.message_id = wanted.id";
        let rows = self.lookup(HEAD, TAIL, messages.iter().map(|id| vec![(*id).into()]).collect()).await?;
        let read =
            |row: &Row| Ok((MessageId::from_bytes(row.id("message_id")?), row.word("kind", EventKind::from_word)?));
        rows.iter().map(read).collect()
    }

    /// Who looked at a delivery's mail, in order, at most 1,000: machines too, of which no event may tell.
    ///
    /// # Errors
    /// `Unavailable`, `Corrupt`.
    pub async fn hits(&self, id: DeliveryId) -> Result<Vec<Hit>> {
        const SQL: &str = "
            select kind, link, target, at, visitor
            from hits
            where message_id = $1 and recipient = $2
            order by id
            limit 1000";
        let rows = self.rows(SQL, vec![id.message.into(), id.recipient.into()]).await?;
        let read = |row: &Row| {
            Ok(Hit {
                delivery: id,
                kind: row.word("kind", hits::kind_from)?,
                link: row.small("link")?,
                target: row.text("target")?,
                at: row.time("at")?,
                visitor: row.json("visitor")?,
            })
        };
        rows.iter().map(read).collect()
    }

    /// What is owed for an event, at most 1,000.
    ///
    /// # Errors
    /// `Unavailable`, `Corrupt`.
    pub async fn dispatches(&self, event: EventId) -> Result<Vec<DispatchStanding>> {
        const SQL: &str = "
            select event_id, webhook_id, state, attempts, due_at, settled_at, last_status, last_error
            from dispatches
            where event_id = $1
            order by webhook_id
            limit 1000";
        self.rows(SQL, vec![event.into()]).await?.iter().map(read_standing).collect()
    }

    /// A tenant's messages before `before`, newest first, at most `limit`.
    ///
    /// # Errors
    /// `Unavailable`, `Corrupt`.
    pub async fn messages(&self, tenant: TenantId, before: Option<MessageId>, limit: u32) -> Result<Vec<Message>> {
        const SQL: &str = "
            select id, tenant_id, agent_id, agent_key, source, accepted_at, size_bytes, facts
            from messages
            where tenant_id = $1 and id < $2
            order by id desc
            limit $3";
        let before = before.map_or(vec![0xff; 17], |id| id.as_bytes().to_vec());
        self.rows(SQL, vec![tenant.into(), before.into(), limit.into()]).await?.iter().map(messages::read).collect()
    }

    /// The messages of a tenant that one request handed in, at most 1,000. `first` is the message whose id the request's
    /// id holds: all of a request were drawn in the same millisecond, which their ids begin with.
    ///
    /// # Errors
    /// `Unavailable`, `Corrupt`.
    pub async fn messages_of_request(
        &self,
        tenant: TenantId,
        first: MessageId,
        request_id: &str,
    ) -> Result<Vec<Message>> {
        const SQL: &str = "
            select id, tenant_id, agent_id, agent_key, source, accepted_at, size_bytes, facts
            from messages
            where tenant_id = $1 and id >= $2 and id < $3
            order by id
            limit 10000";
        let (from, to) = (first.drawn_at(), first.drawn_at() + Duration::from_millis(1));
        let bounds = [from, to].map(|at| MessageId::first_at(at).as_bytes().to_vec());
        let [from, to] = bounds;
        let rows = self.rows(SQL, vec![tenant.into(), from.into(), to.into()]).await?;
        let messages: Vec<Message> = rows.iter().map(messages::read).collect::<Result<_>>()?;
        Ok(messages.into_iter().filter(|message| message.facts.request_id == request_id).take(1_000).collect())
    }

    /// How many deliveries of each of these messages are in each state.
    ///
    /// # Errors
    /// `Unavailable`, `Corrupt`.
    pub async fn standings(&self, messages: &[MessageId]) -> Result<HashMap<MessageId, Vec<(State, u64)>>> {
        const HEAD: &str = "
            with wanted (message_id) as (values";
        const TAIL: &str = ")
            select deliveries.message_id, state, count(*) as total
            from wanted
            join deliveries on deliveries.message_id = wanted.message_id
            group by deliveries.message_id, state";
        let mut standings: HashMap<MessageId, Vec<(State, u64)>> = HashMap::new();
        for row in self.lookup(HEAD, TAIL, messages.iter().map(|id| vec![(*id).into()]).collect()).await? {
            let id = MessageId::from_bytes(row.id("message_id")?);
            let standing = (row.word("state", State::from_word)?, row.small("total")?);
            standings.entry(id).or_default().push(standing);
        }
        Ok(standings)
    }

    /// Counts of the queues.
    ///
    /// # Errors
    /// `Unavailable`, `Corrupt`.
    pub async fn queue_counts(&self) -> Result<QueueCounts> {
        let sql = "select count(*) as queued, min(due_at) as oldest from deliveries where state = 'queued'";
        let deliveries = self.row(sql, vec![]).await?;
        let sql = "select count(*) as queued, min(due_at) as oldest from dispatches where state = 'queued'";
        let dispatches = self.row(sql, vec![]).await?;
        let counts = |row: &Option<Row>| match row {
            Some(row) => Ok::<_, super::StoreError>((row.small("queued")?, row.maybe_time("oldest")?)),
            None => Ok((0, None)),
        };
        let (deliveries, oldest_delivery_due) = counts(&deliveries)?;
        let (dispatches, oldest_dispatch_due) = counts(&dispatches)?;
        let sql = "
            select (
                select count(*) from webhook_health
                join webhooks on webhooks.id = webhook_health.webhook_id
                where switch = 'on' and (score >= $1 or paused_until > $2)) as paused, (
                select count(*) from webhooks where switch = 'off_by_us') as off";
        let webhooks = self.row(sql, vec![SICK.into(), self.now().into()]).await?;
        let count = |column| webhooks.as_ref().map_or(Ok(0), |row| row.small(column));
        let (webhooks_paused, webhooks_off) = (count("paused")?, count("off")?);
        Ok(QueueCounts {
            deliveries,
            oldest_delivery_due,
            dispatches,
            oldest_dispatch_due,
            webhooks_paused,
            webhooks_off,
        })
    }
}

pub(super) fn read_delivery(row: &Row) -> Result<DeliveryView> {
    let reason = row.maybe_text("reason")?;
    Ok(DeliveryView {
        delivery: deliveries::read(row)?,
        due_at: row.maybe_time("due_at")?,
        is_leased: row.maybe_text("lease")?.is_some(),
        settled_at: row.maybe_time("settled_at")?,
        reason: reason.and_then(|word| word.parse().ok()),
        held_at: row.maybe_time("held_at")?,
        mark: row.word("mark", Mark::from_word)?,
    })
}

fn read_attempt(row: &Row) -> Result<Attempt> {
    Ok(Attempt {
        started_at: row.time("started_at")?,
        ended_at: row.time("ended_at")?,
        route: row.text("route")?,
        peer: row.text("peer")?,
        tls: row.text("tls")?,
        outcome: row.text("outcome")?,
        code: row.maybe_int("code")?.and_then(|code| u16::try_from(code).ok()),
        diagnostic: row.text("diagnostic")?,
        rule: row.text("rule")?,
        dialogue: row.text("dialogue")?,
    })
}
