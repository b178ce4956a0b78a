//! Leasing deliveries: whose turn it is, which of theirs are due, and what is put off instead.
//!
//! Tenants take turns, and within each its agents: however much one has waiting, the others' mail is found at once. What
//! is due is chosen row by row by the caller, who knows the destinations; a row that is not chosen is put off, so that
//! nothing stands in front of the queue that cannot go. Walking from agent to agent costs one look into the index each.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use super::db::{Result, Store, StoreError, Tx};
use super::deliveries::{Leased, read};
use super::messages::{self, delivery_id};
use super::suppressions;
use super::value::{Row, Value};
use crate::model::delivery::{Delivery, Lease};
use crate::model::id::{AgentId, DeliveryId, MessageId, TenantId};
use crate::model::message::Message;
use crate::model::queue::Mark;
use crate::model::retry::LEASE;
use crate::model::suppression::Action;
use crate::model::time::Timestamp;

/// Agents that one lease takes from.
const AGENTS_MAX: usize = 16;
/// Due rows of one agent that are looked at, for each that may be leased, and at least.
const LOOK_FACTOR: usize = 4;
const LOOK_MIN: usize = 256;

/// Before the first agent, and the last that there can be.
const START: &[u8] = &[];
const END: &[u8] = &[0xff; 16];

/// Walks the agents that have something queued, after `$1` and up to `$2`, by one look into the index each.
macro_rules! turns {
    ($($then:expr),*) => {
        concat!(
            "with recursive turn (agent_id) as (
                select (
                    select agent_id from deliveries
                    where state = 'queued' and held_at is null and agent_id > $1 and agent_id <= $2
                    order by agent_id
                    limit 1)
                union all
                select (
                    select deliveries.agent_id from deliveries
                    where state = 'queued' and held_at is null and deliveries.agent_id > turn.agent_id
                        and deliveries.agent_id <= $2
                    order by deliveries.agent_id
                    limit 1)
                from turn
                where turn.agent_id is not null) ",
            $($then),*
        )
    };
}

/// When an agent's first delivery is due.
macro_rules! first_due {
    () => {
        "(select due_at from deliveries
            where state = 'queued' and held_at is null and deliveries.agent_id = turn.agent_id
            order by due_at
            limit 1)"
    };
}

/// A delivery that is due, as far as choosing needs to know it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Due {
    /// Which.
    pub id: DeliveryId,
    /// Whose.
    pub tenant: TenantId,
    /// Whose, within the tenant.
    pub agent: AgentId,
    /// The recipient's domain.
    pub domain: String,
    /// After this it is tried no more.
    pub expires_at: Timestamp,
    /// Why it waited.
    pub mark: Mark,
}

/// What a lease brought.
#[derive(Debug)]
pub struct Batch {
    /// Deliveries under lease.
    pub leased: Vec<Leased>,
    /// Others may be due.
    pub has_more: bool,
    /// After whom the next lease begins its walk.
    pub after: Option<AgentId>,
}

/// An agent that has something due.
struct Agent {
    tenant: TenantId,
    agent: AgentId,
}

impl Store {
    /// Leases up to `limit` deliveries that are due, oldest first, and counts an attempt for each.
    ///
    /// # Errors
    /// `Unavailable`, `Corrupt`.
    pub async fn lease_deliveries(&self, limit: u32) -> Result<Vec<Leased>> {
        Ok(self.lease_chosen(limit, None, |_| None).await?.leased)
    }

    /// Leases up to `limit` deliveries that are due, by turns of tenants and agents that begin after `after`, each
    /// oldest first. `put_off` says of each until when it is put off, and why; `None` leases it.
    ///
    /// # Errors
    /// `Unavailable`, `Corrupt`.
    pub async fn lease_chosen(
        &self,
        limit: u32,
        after: Option<AgentId>,
        put_off: impl FnMut(&Due) -> Option<(Timestamp, Mark)> + Send + 'static,
    ) -> Result<Batch> {
        let now = self.now();
        let holder = self.0.holder.clone();
        let mut chooser = Chooser { put_off, left: limit as usize, now, chosen: Vec::new(), off: Vec::new() };
        self.transaction(move |tx| {
            Box::pin(async move {
                let (agents, mut has_more) = agents(tx, after, now, AGENTS_MAX.min(limit as usize)).await?;
                for (agent, share) in agents.iter().zip(shares(limit as usize, &agents)) {
                    has_more |= chooser.choose(tx, agent, share.min(chooser.left)).await?;
                }
                let after = agents.last().map(|last| last.agent).or(after);
                chooser.write_put_off(tx).await?;
                let leased = chooser.lease(tx, &holder).await?;
                Ok(Batch { leased, has_more, after })
            })
        })
        .await
    }

    /// When the next delivery comes due; `None` when none waits.
    ///
    /// # Errors
    /// `Unavailable`.
    pub async fn next_delivery_due(&self) -> Result<Option<Timestamp>> {
        const SQL: &str = turns!(
            "select min(due_at) as due_at
            from (
                select ",
            first_due!(),
            " as due_at
                from turn
                where agent_id is not null) as firsts"
        );
        let all = vec![START.into(), END.into()];
        self.row(SQL, all).await?.map_or(Ok(None), |row| row.maybe_time("due_at"))
    }
}

/// The next agents that have something due, after `after` and then from the start, at most `most`; and whether others
/// have too.
async fn agents(tx: &mut Tx, after: Option<AgentId>, now: Timestamp, most: usize) -> Result<(Vec<Agent>, bool)> {
    const SQL: &str = turns!(
        "select agent_id, (select tenant_id from agents where agents.id = turn.agent_id) as tenant_id
        from turn
        where agent_id is not null and ",
        first_due!(),
        " <= $3
        limit $4"
    );
    let mut found = Vec::new();
    let after = after.map_or(START.to_vec(), |after| after.as_bytes().to_vec());
    for (after, end) in [(after.clone(), END.to_vec()), (START.to_vec(), after)] {
        let limit = u32::try_from(most + 1 - found.len()).unwrap_or(u32::MAX);
        for row in tx.rows(SQL, vec![after.into(), end.into(), now.into(), limit.into()]).await? {
            if found.len() == most {
                return Ok((found, true));
            }
            let agent = AgentId::from_bytes(row.id("agent_id")?);
            // An agent that was removed has mail of its own still: it is nobody's turn but its own.
            let tenant = row.maybe_bytes("tenant_id")?.and_then(|bytes| bytes.try_into().ok());
            let tenant = TenantId::from_bytes(tenant.unwrap_or(*agent.as_bytes()));
            found.push(Agent { tenant, agent });
        }
    }
    Ok((found, false))
}

/// How many of `limit` each of these agents may have: tenants share alike, and so do the agents of each.
fn shares(limit: usize, agents: &[Agent]) -> Vec<usize> {
    let tenants = agents.iter().map(|agent| agent.tenant).collect::<HashSet<_>>().len().max(1);
    let siblings = |tenant| agents.iter().filter(|agent| agent.tenant == tenant).count().max(1);
    agents.iter().map(|agent| (limit / tenants / siblings(agent.tenant)).max(1)).collect()
}

/// Chooses among what is due.
struct Chooser<F> {
    put_off: F,
    /// How many may still be leased.
    left: usize,
    now: Timestamp,
    chosen: Vec<DeliveryId>,
    off: Vec<(DeliveryId, Timestamp, Mark)>,
}

impl<F: FnMut(&Due) -> Option<(Timestamp, Mark)>> Chooser<F> {
    /// Chooses up to `share` of an agent's; whether there may be more.
    async fn choose(&mut self, tx: &mut Tx, agent: &Agent, share: usize) -> Result<bool> {
        macro_rules! due {
            ($skip:literal) => {
                concat!(
                    "select message_id, recipient, tenant_id, agent_id, domain, expires_at, mark
                    from deliveries
                    where state = 'queued' and held_at is null and agent_id = $1 and due_at <= $2
                    order by due_at
                    limit $3 ",
                    $skip
                )
            };
        }
        let sql = if tx.is_shared() { due!("for update skip locked") } else { due!("") };
        let look = (share * LOOK_FACTOR).max(LOOK_MIN);
        let look_at = u32::try_from(look).unwrap_or(u32::MAX);
        let rows = tx.rows(sql, vec![agent.agent.into(), self.now.into(), look_at.into()]).await?;
        let is_all = rows.len() < look;
        let mut taken = 0;
        for due in rows.iter().filter_map(|row| readable(read_due(row))) {
            if taken == share {
                return Ok(true);
            }
            match (self.put_off)(&due) {
                Some((until, mark)) => self.off.push((due.id, until, mark)),
                None => {
                    self.chosen.push(due.id);
                    taken += 1;
                    self.left -= 1;
                }
            }
        }
        Ok(!is_all)
    }

    /// Puts off what was not chosen.
    async fn write_put_off(&mut self, tx: &mut Tx) -> Result<()> {
        const HEAD: &str = "with off (message_id, recipient, due_at, mark) as (values";
        const TAIL: &str = ")
            update deliveries
            set due_at = off.due_at, mark = off.mark, lease = null
            from off
            where deliveries.message_id = off.message_id and deliveries.recipient = off.recipient
                and deliveries.state = 'queued'";
        let values = |(id, until, mark): (DeliveryId, Timestamp, Mark)| {
            vec![id.message.into(), id.recipient.into(), until.into(), mark.as_str().into()]
        };
        tx.many(HEAD, TAIL, std::mem::take(&mut self.off).into_iter().map(values).collect()).await.map(drop)
    }

    /// Leases what was chosen.
    async fn lease(&mut self, tx: &mut Tx, holder: &str) -> Result<Vec<Leased>> {
        const HEAD: &str = "with chosen (message_id, recipient, lease, due_at) as (values";
        const TAIL: &str = ")
            update deliveries
            set lease = chosen.lease, due_at = chosen.due_at, attempts = deliveries.attempts + 1
            from chosen
            where deliveries.message_id = chosen.message_id and deliveries.recipient = chosen.recipient
                and deliveries.state = 'queued'
            returning deliveries.message_id, deliveries.recipient, deliveries.tenant_id, deliveries.agent_id,
                deliveries.address, deliveries.state, deliveries.attempts, deliveries.accepted_at,
                deliveries.expires_at, deliveries.mark";
        let until = self.now + LEASE;
        let values = |id: &DeliveryId| vec![id.message.into(), id.recipient.into(), Value::from(holder), until.into()];
        let rows = tx.many(HEAD, TAIL, self.chosen.iter().map(values).collect()).await?;
        let read_both = |row: &Row| Ok((read(row)?, row.word("mark", Mark::from_word)?));
        let mut leased: Vec<(Delivery, Mark)> = rows.iter().filter_map(|row| readable(read_both(row))).collect();
        let order: HashMap<DeliveryId, usize> = self.chosen.iter().copied().zip(0..).collect();
        leased.sort_by_key(|(delivery, _)| order.get(&delivery.id).copied());
        let messages = messages_of(tx, &leased).await?;
        let recipients: Vec<_> = leased.iter().map(|(one, _)| (one.tenant, one.agent, &one.address)).collect();
        let found = suppressions::covering(tx, &recipients, self.now).await?;
        let leased = leased.into_iter().zip(found).filter_map(|((delivery, mark), found)| {
            let message = messages.get(&delivery.id.message).cloned();
            let nothing = || StoreError::Corrupt(format!("{} has no message", delivery.id));
            let message = readable(message.ok_or_else(nothing))?;
            let lease = Lease { holder: holder.to_owned(), attempt: delivery.attempts };
            let suppressed = found.filter(|found| found.action != Action::SuppressTracking);
            let (content, was_misplaced, slot) = Default::default();
            Some(Leased { delivery, lease, until, message, content, mark, suppressed, was_misplaced, slot })
        });
        Ok(leased.collect())
    }
}

fn read_due(row: &Row) -> Result<Due> {
    Ok(Due {
        id: delivery_id(row)?,
        tenant: TenantId::from_bytes(row.id("tenant_id")?),
        agent: AgentId::from_bytes(row.id("agent_id")?),
        domain: row.text("domain")?,
        expires_at: row.time("expires_at")?,
        mark: row.word("mark", Mark::from_word)?,
    })
}

/// A row that cannot be read must not stop the others: it is told about and comes due again with its lease's end.
fn readable<T>(read: Result<T>) -> Option<T> {
    read.inspect_err(|fault| tracing::error!(%fault, "a queued delivery cannot be read")).ok()
}

async fn messages_of(tx: &mut Tx, leased: &[(Delivery, Mark)]) -> Result<HashMap<MessageId, Arc<Message>>> {
    const HEAD: &str = "
        with wanted (id) as (values";
    const TAIL: &str = ")
        select messages.id, tenant_id, agent_id, agent_key, source, accepted_at, size_bytes, facts
        from wanted
        join messages on messages.id = wanted.id";
    let ids: HashSet<MessageId> = leased.iter().map(|(delivery, _)| delivery.id.message).collect();
    let rows = tx.many(HEAD, TAIL, ids.into_iter().map(|id| vec![id.into()]).collect()).await?;
    let read = rows.iter().filter_map(|row| readable(messages::read(row)));
    Ok(read.map(|message| (message.id, Arc::new(message))).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tenants_share_alike_and_so_do_their_agents() {
        let agent = |tenant: u8, agent: u8| Agent {
            tenant: TenantId::from_bytes([tenant; 16]),
            agent: AgentId::from_bytes([agent; 16]),
        };
        let agents = [agent(1, 1), agent(1, 2), agent(1, 3), agent(2, 4)];
        assert_eq!(shares(120, &agents), [20, 20, 20, 60]);
        assert_eq!(shares(2, &agents), [1, 1, 1, 1]);
        assert_eq!(shares(100, &agents[..1]), [100]);
    }
}
