//! Finding a message again among millions. Owns the `search_terms` table.
//!
//! Terms are written a moment after acceptance, a bite at a time, so that accepting mail pays nothing for them; the
//! newest messages, which have none yet, are looked through one by one. What is written long after its id was drawn
//! brings its terms along: those of its age may have been gone through by then. A search goes through the rarest of its terms,
//! newest first, in pieces: a page costs the same whatever the store holds.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use super::db::{Result, Store, Tx};
use super::value::{Row, Value};
use super::{deliveries, messages};
use crate::clock::Stopwatch;
use crate::model::address::Address;
use crate::model::delivery::{Delivery, State};
use crate::model::id::{DeliveryId, MessageId, TenantId};
use crate::model::message::{Message, Plan};
use crate::model::search::{Search, Term, terms};
use crate::model::time::Timestamp;

/// Messages whose terms are written in one transaction, at most.
pub const BITE: u32 = 200;
/// Recipients of these that are looked at.
const ADDRESSES_MAX: u32 = 50_000;
/// A message whose transaction begins so long after its id was drawn, or sooner, gets its terms later.
const PROMPT: Duration = Duration::from_millis(2_500);
/// Newest messages that are looked through one by one.
const FRESH_MAX: u32 = 2_000;
/// Candidates of the first statement of a search, and of the largest: mostly what is looked for is near.
const PIECE: u32 = 250;
const PIECE_MAX: u32 = 2_000;
/// Statements of one search.
const PIECES_MAX: usize = 14;
/// After so long no further one is begun: a person rather sees what there is, and asks to look further back.
const ENOUGH: Duration = Duration::from_millis(50);
/// How far the number of a term's messages is counted.
const COUNTED_MAX: u32 = 1_000;

/// A page of a search.
#[derive(Clone, Debug, Default)]
pub struct Found {
    /// The messages, newest first.
    pub messages: Vec<Message>,
    /// Where to go on; `None` at the end.
    pub next: Option<MessageId>,
    /// The page is not full: so much was looked at that it is better to show what there is.
    pub is_cut: bool,
}

const INSERT: &str = "insert into search_terms (term, message_id) values";

/// Where candidates come from.
#[derive(Clone, Copy)]
enum Source {
    Messages,
    Term(Term),
    State(State),
}

macro_rules! candidates {
    (messages, $tail:literal) => {
        concat!("select id as message_id from messages where tenant_id = $1 and $2 = 0 and id < $3 and id >= $4", $tail)
    };
    (term, $tail:literal) => {
        concat!(
            "select message_id from search_terms
            where $1 = $1 and term = $2 and message_id < $3 and message_id >= $4",
            $tail
        )
    };
    (state, $tail:literal) => {
        concat!(
            "select distinct message_id from deliveries
            where tenant_id = $1 and state = $2 and state <> 'delivered' and message_id < $3 and message_id >= $4",
            $tail
        )
    };
}

/// The last of a piece of candidates.
macro_rules! bound {
    ($from:ident) => {
        candidates!($from, " order by message_id desc limit 1 offset $5")
    };
}

/// `cross join` keeps SQLite from going through all messages instead; what is asked of a candidate before its message is
/// read names the candidate.
macro_rules! found {
    ($from:ident) => {
        concat!(
            "select id, tenant_id, agent_id, agent_key, source, accepted_at, size_bytes, facts
            from (",
            candidates!($from, ""),
            ") as candidates
            cross join messages
            where messages.id = candidates.message_id and messages.tenant_id = $1
                and ($5 or messages.agent_id = $6)
                and ($7 = '' or exists (
                    select 1 from deliveries where deliveries.message_id = candidates.message_id and deliveries.state = $7))
                and ($8 = 0 or exists (select 1 from search_terms where term = $8 and message_id = candidates.message_id))
                and ($9 = 0 or exists (select 1 from search_terms where term = $9 and message_id = candidates.message_id))
                and ($10 = 0 or exists (select 1 from search_terms where term = $10 and message_id = candidates.message_id))
                and ($11 = 0 or exists (select 1 from search_terms where term = $11 and message_id = candidates.message_id))
                and ($12 = 0 or exists (select 1 from search_terms where term = $12 and message_id = candidates.message_id))
            order by candidates.message_id desc
            limit $13"
        )
    };
}

impl Store {
    /// The deliveries of all tenants to an address that were accepted since, the latest first, about 500 at most.
    ///
    /// # Errors
    /// `Unavailable`, `Corrupt`.
    pub async fn written_to(&self, address: &Address, since: Timestamp) -> Result<Vec<Delivery>> {
        const HEAD: &str = "
            with asked (term, since) as (values";
        const TAIL: &str = ")
            select deliveries.message_id, recipient, tenant_id, agent_id, address, state, attempts, accepted_at, expires_at
            from asked
            join search_terms on search_terms.term = asked.term and search_terms.message_id >= asked.since
            join deliveries on deliveries.message_id = search_terms.message_id
            order by deliveries.message_id desc, recipient
            limit 500";
        // Those that have no terms yet.
        const FRESH: &str = "
            select message_id, recipient, tenant_id, agent_id, address, state, attempts, accepted_at, expires_at
            from (
                select message_id, recipient, tenant_id, agent_id, address, state, attempts, accepted_at, expires_at
                from deliveries
                where message_id > $1
                order by message_id desc
                limit $2) as newest
            where lower(address) = $3 or address = $4";
        let since = MessageId::first_at(since);
        let unsearched = self.searched_to().await?.max(since.as_bytes().to_vec());
        // SQLite lowers ASCII alone.
        let (folded, exact) = (address.folded(), address.to_string());
        let values = vec![unsearched.into(), ADDRESSES_MAX.into(), folded.into(), exact.into()];
        let fresh = self.rows(FRESH, values).await?;
        let tenants = self.rows("select id from tenants order by id limit 100000", vec![]).await?;
        let tenants = tenants.iter().map(|row| row.id("id").map(TenantId::from_bytes));
        let asked = |tenant| vec![Search::recipient(tenant, &address.to_string()).0.into(), since.into()];
        let asked = tenants.map(|tenant| tenant.map(asked)).collect::<Result<_>>()?;
        let found = self.lookup(HEAD, TAIL, asked).await?;
        let mut found: Vec<Delivery> = found.iter().chain(&fresh).map(deliveries::read).collect::<Result<_>>()?;
        found.retain(|delivery| delivery.address.folded() == address.folded());
        found.sort_by_key(|delivery| std::cmp::Reverse(delivery.id));
        found.dedup_by_key(|delivery| delivery.id);
        Ok(found)
    }

    /// A tenant's messages before `before` that a search means, newest first, at most `limit`.
    ///
    /// # Errors
    /// `Unavailable`, `Corrupt`.
    pub async fn search(&self, search: &Search, before: Option<MessageId>, limit: u32) -> Result<Found> {
        let until = search.until.map(MessageId::first_at);
        let start = [before, until].into_iter().flatten().min().map_or(vec![0xff; 17], |id| id.as_bytes().to_vec());
        let least = search.from.map(MessageId::first_at).map_or(Vec::new(), |id| id.as_bytes().to_vec());
        let wanted = limit as usize;
        let mut messages = Vec::new();
        let mut start = start;
        if !search.terms.is_empty() {
            let reached = self.searched_to().await?;
            messages = self.fresh(search, &start, reached.clone().max(least.clone())).await?;
            start = start.min([reached, vec![0]].concat());
        }
        let source = self.source(search).await?;
        let stopwatch = Stopwatch::start();
        for number in 0..PIECES_MAX {
            if messages.len() > wanted || number > 0 && stopwatch.elapsed() > ENOUGH {
                break;
            }
            let size = PIECE.saturating_mul(1 << number).min(PIECE_MAX);
            let end = self.end_of_piece(search, source, (&start, &least), size).await?;
            let left = limit + 1 - u32::try_from(messages.len()).unwrap_or(0).min(limit);
            messages.extend(self.piece(search, source, (&start, end.as_deref().unwrap_or(&least)), left).await?);
            match end {
                Some(end) => start = end,
                None => return Ok(page(messages, wanted, None)),
            }
        }
        let reached: Option<[u8; 16]> = start.get(..16).and_then(|bytes| bytes.try_into().ok());
        Ok(page(messages, wanted, reached.map(MessageId::from_bytes)))
    }

    /// How many of a tenant's deliveries are in a state other than delivered, counted up to `limit`.
    ///
    /// # Errors
    /// `Unavailable`, `Corrupt`.
    pub async fn count_in_state(&self, tenant: TenantId, state: State, limit: u32) -> Result<u64> {
        const SQL: &str = "
            select count(*) as counted
            from (
                select 1 as one from deliveries
                where tenant_id = $1 and state = $2 and state <> 'delivered'
                limit $3) as part";
        let row = self.row(SQL, vec![tenant.into(), state.as_str().into(), limit.into()]).await?;
        row.map_or(Ok(0), |row| row.small("counted"))
    }

    /// When the oldest message was accepted that a tenant has a delivery of in a state other than delivered.
    ///
    /// # Errors
    /// `Unavailable`, `Corrupt`.
    pub async fn oldest_in_state(&self, tenant: TenantId, state: State) -> Result<Option<Timestamp>> {
        const SQL: &str = "
            select message_id
            from deliveries
            where tenant_id = $1 and state = $2 and state <> 'delivered'
            order by message_id
            limit 1";
        let row = self.row(SQL, vec![tenant.into(), state.as_str().into()]).await?;
        row.map(|row| Ok(MessageId::from_bytes(row.id("message_id")?).drawn_at())).transpose()
    }

    /// Writes the terms of messages that have none yet; of how many, at most [`BITE`].
    ///
    /// # Errors
    /// `Unavailable`, `Corrupt`.
    pub async fn index_messages(&self) -> Result<u32> {
        // Those before it were prompt, and are all there, or bring their terms.
        let until = MessageId::first_at(self.known_until().await? - PROMPT);
        // Looked at outside of a transaction first: mostly there is nothing to do.
        let sql = "select id from messages where id > $1 and id < $2 order by id limit 1";
        if self.row(sql, vec![self.searched_to().await?.into(), until.into()]).await?.is_none() {
            return Ok(0);
        }
        self.transaction(move |tx| Box::pin(async move { index(tx, until).await })).await
    }

    /// The last message that has its terms.
    async fn searched_to(&self) -> Result<Vec<u8>> {
        let row = self.row("select value from installation where name = 'searched_to'", vec![]).await?;
        row.map_or(Ok(Vec::new()), |row| Ok(cursor(&row.text("value")?)))
    }

    /// Of the messages that have no terms yet, those that are meant.
    async fn fresh(&self, search: &Search, start: &[u8], reached: Vec<u8>) -> Result<Vec<Message>> {
        const MESSAGES: &str = "
            select id, tenant_id, agent_id, agent_key, source, accepted_at, size_bytes, facts
            from messages
            where tenant_id = $1 and id < $2 and id > $3
            order by id desc
            limit $4";
        const DELIVERIES: &str = "
            select message_id, address, state
            from deliveries
            where message_id >= $1 and message_id < $2
            order by message_id
            limit $3";
        let values = vec![search.tenant.into(), start.into(), reached.into(), FRESH_MAX.into()];
        let mut fresh: Vec<Message> =
            self.rows(MESSAGES, values).await?.iter().map(messages::read).collect::<Result<_>>()?;
        let Some(oldest) = fresh.last().map(|message| message.id) else { return Ok(fresh) };
        let rows = self.rows(DELIVERIES, vec![oldest.into(), start.into(), ADDRESSES_MAX.into()]).await?;
        let copies = copies(&rows)?;
        let nobody = Vec::new();
        fresh.retain(|message| {
            let copies = copies.get(&message.id).unwrap_or(&nobody);
            let own = terms(message, copies.iter().map(|(address, _)| address.as_str()));
            search.terms.iter().all(|term| own.contains(term))
                && search.agent.is_none_or(|agent| agent == message.agent)
                && search.state.is_none_or(|state| copies.iter().any(|(_, own)| *own == state.as_str()))
        });
        Ok(fresh)
    }

    /// The narrowest way in.
    async fn source(&self, search: &Search) -> Result<Source> {
        const TERM: &str = "
            select count(*) as counted
            from (select 1 as one from search_terms where term = $1 limit $2) as part";
        let mut best = (u64::MAX, Source::Messages);
        for term in &search.terms {
            let row = self.row(TERM, vec![term.0.into(), COUNTED_MAX.into()]).await?;
            let count = row.map_or(Ok(0), |row| row.small("counted"))?;
            if count < best.0 {
                best = (count, Source::Term(*term));
            }
        }
        if let Some(state) = search.state.filter(|state| *state != State::Delivered) {
            let count = self.count_in_state(search.tenant, state, COUNTED_MAX).await?;
            if count < best.0 {
                best = (count, Source::State(state));
            }
        }
        Ok(best.1)
    }

    async fn end_of_piece(
        &self,
        search: &Search,
        source: Source,
        (start, least): (&[u8], &[u8]),
        size: u32,
    ) -> Result<Option<Vec<u8>>> {
        let sql = match source {
            Source::Messages => bound!(messages),
            Source::Term(_) => bound!(term),
            Source::State(_) => bound!(state),
        };
        let values = vec![search.tenant.into(), source.value(), start.into(), least.into(), (size - 1).into()];
        self.row(sql, values).await?.map(|row| row.bytes("message_id")).transpose()
    }

    async fn piece(
        &self,
        search: &Search,
        source: Source,
        (start, end): (&[u8], &[u8]),
        limit: u32,
    ) -> Result<Vec<Message>> {
        let sql = match source {
            Source::Messages => found!(messages),
            Source::Term(_) => found!(term),
            Source::State(_) => found!(state),
        };
        let mut values: Vec<Value> = vec![
            search.tenant.into(),
            source.value(),
            start.into(),
            end.into(),
            search.agent.is_none().into(),
            search.agent.into(),
            search.state.map_or("", State::as_str).into(),
        ];
        let is_driven_by = |term: &Term| matches!(source, Source::Term(own) if own == *term);
        let others = search.terms.iter().filter(|term| !is_driven_by(term)).map(|term| term.0);
        values.extend(others.chain(std::iter::repeat(0)).take(5).map(Value::from));
        values.push(limit.into());
        self.rows(sql, values).await?.iter().map(messages::read).collect()
    }
}

impl Source {
    fn value(self) -> Value {
        match self {
            Source::Messages => 0i64.into(),
            Source::Term(term) => term.0.into(),
            Source::State(state) => state.as_str().into(),
        }
    }
}

fn page(mut messages: Vec<Message>, limit: usize, reached: Option<MessageId>) -> Found {
    let is_full = messages.len() > limit;
    messages.truncate(limit);
    let next = if is_full { messages.last().map(|message| message.id) } else { reached };
    Found { messages, next, is_cut: !is_full && reached.is_some() }
}

/// Addresses and states by message.
fn copies(rows: &[Row]) -> Result<BTreeMap<MessageId, Vec<(String, String)>>> {
    let mut copies: BTreeMap<MessageId, Vec<(String, String)>> = BTreeMap::new();
    for row in rows {
        let id = MessageId::from_bytes(row.id("message_id")?);
        copies.entry(id).or_default().push((row.text("address")?, row.text("state")?));
    }
    Ok(copies)
}

async fn index(tx: &mut Tx, until: MessageId) -> Result<u32> {
    const BEGIN: &str = "insert into installation (name, value) values ('searched_to', '') on conflict do nothing";
    const MESSAGES: &str = "
        select id, tenant_id, agent_id, agent_key, source, accepted_at, size_bytes, facts
        from messages
        where id > $1 and id < $2
        order by id
        limit $3";
    tx.run(BEGIN, vec![]).await?;
    // One node at a time goes on from here; the others have nothing to do meanwhile.
    let sql = match tx.is_shared() {
        false => "select value from installation where name = 'searched_to'",
        true => "select value from installation where name = 'searched_to' for update skip locked",
    };
    let Some(row) = tx.row(sql, vec![]).await? else { return Ok(0) };
    let reached = cursor(&row.text("value")?);
    let rows = tx.rows(MESSAGES, vec![reached.into(), until.into(), BITE.into()]).await?;
    let found: Vec<Message> = rows.iter().map(messages::read).collect::<Result<_>>()?;
    let Some(last) = found.last().map(|message| message.id) else { return Ok(0) };
    let pairs = pairs(tx, &found).await?;
    tx.many(INSERT, "on conflict do nothing", pairs).await?;
    let sql = "update installation set value = $1 where name = 'searched_to'";
    tx.run(sql, vec![last.to_string().into()]).await?;
    Ok(u32::try_from(found.len()).unwrap_or(BITE))
}

/// Writes the terms of those of these messages that were not prompt.
pub(super) async fn insert_late(tx: &mut Tx, plans: impl Iterator<Item = &Plan>) -> Result<()> {
    let begun_at = tx.begun_at();
    let mut rows = Vec::new();
    for plan in plans.filter(|plan| begun_at.since(plan.message.id.drawn_at()) > PROMPT) {
        let addresses: Vec<String> = plan.deliveries.iter().map(|planned| planned.address.to_string()).collect();
        let own = terms(&plan.message, addresses.iter().map(String::as_str));
        rows.extend(own.into_iter().map(|term| vec![term.0.into(), plan.message.id.into()]));
    }
    tx.later(INSERT, "on conflict do nothing", rows).await
}

/// Every term of these messages, which are in the order of their ids.
async fn pairs(tx: &mut Tx, found: &[Message]) -> Result<Vec<Vec<Value>>> {
    const DELIVERIES: &str = "
        select message_id, address, state
        from deliveries
        where message_id >= $1 and message_id <= $2
        order by message_id
        limit $3";
    let (Some(first), Some(last)) = (found.first(), found.last()) else { return Ok(Vec::new()) };
    let rows = tx.rows(DELIVERIES, vec![first.id.into(), last.id.into(), ADDRESSES_MAX.into()]).await?;
    let copies = copies(&rows)?;
    let mut pairs: BTreeSet<(Term, MessageId)> = BTreeSet::new();
    for message in found {
        let addresses = copies.get(&message.id).into_iter().flatten().map(|(address, _)| address.as_str());
        pairs.extend(terms(message, addresses).into_iter().map(|term| (term, message.id)));
    }
    Ok(pairs.into_iter().map(|(term, id)| vec![term.0.into(), id.into()]).collect())
}

/// Forgets the terms of messages that are about to be forgotten, in the order of their ids.
pub(super) async fn forget(tx: &mut Tx, found: &[Message]) -> Result<()> {
    let pairs = pairs(tx, found).await?;
    remove(tx, pairs).await
}

/// The terms by which a message is found for one recipient's sake alone.
pub(super) async fn of_recipient(tx: &mut Tx, id: DeliveryId) -> Result<Vec<Vec<Value>>> {
    const MESSAGE: &str = "
        select id, tenant_id, agent_id, agent_key, source, accepted_at, size_bytes, facts
        from messages
        where id = $1";
    const ADDRESSES: &str = "
        select recipient, address
        from deliveries
        where message_id = $1
        order by recipient
        limit $2";
    let Some(row) = tx.row(MESSAGE, vec![id.message.into()]).await? else { return Ok(Vec::new()) };
    let message = messages::read(&row)?;
    let (mut all, mut others) = (Vec::new(), Vec::new());
    for row in tx.rows(ADDRESSES, vec![id.message.into(), ADDRESSES_MAX.into()]).await? {
        let (recipient, address): (u16, String) = (row.small("recipient")?, row.text("address")?);
        if recipient != id.recipient {
            others.push(address.clone());
        }
        all.push(address);
    }
    let kept = if others.is_empty() { BTreeSet::new() } else { terms(&message, others.iter().map(String::as_str)) };
    let own = terms(&message, all.iter().map(String::as_str));
    Ok(own.difference(&kept).map(|term| vec![term.0.into(), id.message.into()]).collect())
}

/// Removes terms, each with its message.
pub(super) async fn remove(tx: &mut Tx, pairs: Vec<Vec<Value>>) -> Result<()> {
    const HEAD: &str = "with gone (term, message_id) as (values";
    const TAIL: &str = ")
        delete from search_terms
        where (term, message_id) in (select term, message_id from gone)";
    tx.many(HEAD, TAIL, pairs).await.map(drop)
}

fn cursor(text: &str) -> Vec<u8> {
    text.parse::<MessageId>().map_or(Vec::new(), |id| id.as_bytes().to_vec())
}
