//! Deliveries waiting to be made: renew, settle, release, put off. `leasing` leases them.
//!
//! Owns the `deliveries` and `attempts` tables after acceptance. Never talks to a mail server and never decides an
//! outcome: `deliver` does the one, `model::delivery` the other.
//!
//! A leased row is a row that is not due until its lease ends. Hence no reaper, no "running" state, and
//! a crash at any instruction costs at most one repeated attempt. It cannot cost less: a server that dies between the
//! peer's 250 and our commit cannot know.

use std::collections::HashSet;
use std::sync::Arc;

use bytes::Bytes;
use tokio::sync::{OwnedSemaphorePermit, mpsc};

use super::db::{Result, Store, Tx};
use super::messages::delivery_id;
use super::tx::in_lock_order;
use super::value::{Row, Value};
use super::writer::{Accept, Work};
use crate::model::bearing::Bearing;
use crate::model::delivery::{Delivery, Lease, Next, State};
use crate::model::event::Event;
use crate::model::id::{AgentId, DeliveryId, TenantId};
use crate::model::message::{Fate, Letter, Message};
use crate::model::queue::Mark;
use crate::model::reason::Reason;
use crate::model::retry::LEASE;
use crate::model::suppression::Found;
use crate::model::time::Timestamp;

/// A delivery that this node may work on until its lease ends.
#[derive(Debug)]
pub struct Leased {
    /// What is to be delivered; its `attempts` counts the attempt that the lease is for.
    pub delivery: Delivery,
    /// The right to do it.
    pub lease: Lease,
    /// When the lease ends, unless it is renewed.
    pub until: Timestamp,
    /// The message it belongs to.
    pub message: Arc<Message>,
    /// What was handed in, when it is still in memory; else [`Store::content`] has it.
    pub content: Option<Bytes>,
    /// Why it waited, if a person or its destination made it wait.
    pub mark: Mark,
    /// What stands on a suppression list since it was accepted, and keeps it from being tried.
    pub suppressed: Option<Found>,
    /// It stood in the line of another site than the one that it was found to go to, and was moved.
    pub was_misplaced: bool,
    /// Room in the hand-over, given back when this is dropped.
    pub(super) slot: Option<OwnedSemaphorePermit>,
}

/// One attempt, as kept for people who ask why.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Attempt {
    /// When it began.
    pub started_at: Timestamp,
    /// When it ended.
    pub ended_at: Timestamp,
    /// `capture`, `smarthost`, `mx`.
    pub route: String,
    /// Host and address talked to; empty when there was none.
    pub peer: String,
    /// TLS version and cipher; empty when in clear.
    pub tls: String,
    /// `delivered`, `handed_over`, `deferred`, `refused`, `unsendable` or `suppressed`.
    pub outcome: String,
    /// The reply code that decided.
    pub code: Option<u16>,
    /// The other side's words, or ours when it had none; escaped.
    pub diagnostic: String,
    /// The rule that judged them.
    pub rule: String,
    /// The conversation, one line a command or reply, without content and secrets; at most 16 KiB.
    pub dialogue: String,
}

/// What came of an attempt, to be written under its lease.
#[derive(Clone, Debug)]
pub struct Settlement {
    /// Which delivery.
    pub id: DeliveryId,
    /// Under which lease.
    pub lease: Lease,
    /// The attempt itself.
    pub attempt: Attempt,
    /// What becomes of the delivery.
    pub next: Next,
    /// Why, when it ends otherwise than delivered or waits.
    pub reason: Option<Reason>,
    /// What to tell.
    pub events: Vec<Event>,
    /// What it means for the address.
    pub bearing: Bearing,
    /// The mail that tells the submitter of one of the events.
    pub letter: Option<Letter>,
}

impl Leased {
    /// Whether acceptance handed it over.
    pub fn is_handed_over(&self) -> bool {
        self.slot.is_some()
    }
}

impl Store {
    /// The receiver of deliveries that are accepted already leased. The first caller gets it.
    pub async fn take_handoff(&self) -> Option<mpsc::UnboundedReceiver<Leased>> {
        self.0.writer.take_handoff().await
    }

    /// Extends the leases that this node still works under by a full term; those that were still held. The others
    /// were leased again by someone, or are settled.
    ///
    /// # Errors
    /// `Unavailable`, `Corrupt`.
    pub async fn renew_deliveries(&self, leases: Vec<(DeliveryId, Lease)>) -> Result<Vec<DeliveryId>> {
        const HEAD: &str = "with held (message_id, recipient, lease, attempts, due_at) as (values";
        const TAIL: &str = ")
            update deliveries
            set due_at = held.due_at
            from held
            where deliveries.message_id = held.message_id and deliveries.recipient = held.recipient
                and deliveries.lease = held.lease and deliveries.attempts = held.attempts
                and deliveries.state = 'queued'
            returning deliveries.message_id, deliveries.recipient";
        let due_at = self.now() + LEASE;
        let leases = in_lock_order(leases, |(id, _)| *id);
        let rows = leases.into_iter().map(|(id, lease)| {
            vec![id.message.into(), id.recipient.into(), lease.holder.into(), lease.attempt.into(), due_at.into()]
        });
        let rows: Vec<_> = rows.collect();
        let held = self.transaction(move |tx| Box::pin(async move { tx.many(HEAD, TAIL, rows).await })).await?;
        held.iter().map(delivery_id).collect()
    }

    /// Gives back leases unused, so that another node need not wait for their end.
    ///
    /// # Errors
    /// `Unavailable`.
    pub async fn release_deliveries(&self, leases: Vec<(DeliveryId, Lease)>) -> Result<()> {
        const SQL: &str = "
            update deliveries
            set due_at = $1, lease = null, attempts = attempts - 1
            where message_id = $2 and recipient = $3 and lease = $4 and attempts = $5 and state = 'queued'";
        let (now, leases) = (self.now(), in_lock_order(leases, |(id, _)| *id));
        self.transaction(move |tx| {
            Box::pin(async move {
                for (id, lease) in leases {
                    let held = vec![
                        now.into(),
                        id.message.into(),
                        id.recipient.into(),
                        lease.holder.into(),
                        lease.attempt.into(),
                    ];
                    tx.run(SQL, held).await?;
                }
                Ok(())
            })
        })
        .await
    }

    /// Gives back leases unused, each delivery to come due at its time, with the reason for which it waits.
    ///
    /// # Errors
    /// `Unavailable`.
    pub async fn put_off_deliveries(&self, rows: Vec<(DeliveryId, Lease, Timestamp, Mark)>) -> Result<()> {
        const HEAD: &str = "with off (message_id, recipient, lease, attempts, due_at, mark) as (values";
        const TAIL: &str = ")
            update deliveries
            set due_at = off.due_at, mark = off.mark, lease = null, attempts = deliveries.attempts - 1
            from off
            where deliveries.message_id = off.message_id and deliveries.recipient = off.recipient
                and deliveries.lease = off.lease and deliveries.attempts = off.attempts
                and deliveries.state = 'queued'";
        let rows = in_lock_order(rows, |(id, ..)| *id).into_iter().map(|(id, lease, until, mark)| {
            let (message, recipient) = (id.message.into(), id.recipient.into());
            vec![message, recipient, lease.holder.into(), lease.attempt.into(), until.into(), mark.as_str().into()]
        });
        let rows: Vec<_> = rows.collect();
        self.transaction(move |tx| Box::pin(async move { tx.many(HEAD, TAIL, rows).await.map(drop) })).await
    }

    /// Writes what came of an attempt: the state, the attempt, its events and the dispatches that they owe, in one
    /// commit shared with others.
    ///
    /// # Errors
    /// `LostLease` when the lease is no longer held: then nothing was written. `Unavailable`, `Closed`.
    pub async fn settle_delivery(&self, settlement: Settlement) -> Result<()> {
        self.0.writer.write(Work::Settle(Box::new(settlement))).await.map(drop)
    }
}

/// Writes the deliveries of these plans: queued and leased from `now` on, queued and due, or settled already.
pub(super) async fn insert(tx: &mut Tx, accepts: &[&Accept], now: Timestamp) -> Result<()> {
    const HEAD: &str = "
        insert into deliveries (message_id, recipient, tenant_id, agent_id, address, domain, state, due_at, lease,
            attempts, accepted_at, expires_at, settled_at, reason)
        values";
    tx.later(HEAD, "", accepts.iter().flat_map(|accept| planned_values(accept, now)).collect()).await
}

fn planned_values<'a>(accept: &'a Accept, now: Timestamp) -> impl Iterator<Item = Vec<Value>> + 'a {
    let message = &accept.plan.message;
    accept.plan.deliveries.iter().map(move |planned| {
        let leased = accept.holder.as_deref();
        let (state, due_at, lease, settled_at, reason) = match &planned.fate {
            Fate::Queued { due_at } if *due_at > accept.now => (State::Queued, Some(*due_at), None, None, None),
            Fate::Queued { due_at } if leased.is_none() => (State::Queued, Some(*due_at), None, None, None),
            Fate::Queued { .. } => (State::Queued, Some(now + LEASE), leased, None, None),
            Fate::Suppressed { reason, .. } => {
                (State::Suppressed, None, None, Some(message.accepted_at), Some(*reason))
            }
        };
        vec![
            planned.id.message.into(),
            planned.id.recipient.into(),
            message.tenant.into(),
            message.agent.into(),
            planned.address.to_string().into(),
            planned.address.domain().into(),
            state.as_str().into(),
            due_at.into(),
            lease.into(),
            u32::from(lease.is_some()).into(),
            message.accepted_at.into(),
            planned.expires_at.into(),
            settled_at.into(),
            reason.map(Reason::as_str).into(),
        ]
    })
}

/// Writes these settlements and their attempts; the deliveries whose lease was held. The others are left alone.
pub(super) async fn settle<'a>(
    tx: &mut Tx,
    settlements: impl Iterator<Item = &'a Settlement>,
) -> Result<HashSet<DeliveryId>> {
    const HEAD: &str = "
        with settled (message_id, recipient, lease, attempts, state, due_at, settled_at, reason) as (values";
    const TAIL: &str = ")
        update deliveries
        set state = settled.state, due_at = settled.due_at, lease = null, settled_at = settled.settled_at,
            reason = settled.reason, mark = ''
        from settled
        where deliveries.message_id = settled.message_id and deliveries.recipient = settled.recipient
            and deliveries.lease = settled.lease and deliveries.attempts = settled.attempts
            and deliveries.state = 'queued'
        returning deliveries.message_id, deliveries.recipient";
    let settlements = in_lock_order(settlements.collect(), |settlement| settlement.id);
    let rows = tx.many(HEAD, TAIL, settlements.iter().map(|settlement| settled_values(settlement)).collect()).await?;
    let held: HashSet<DeliveryId> = rows.iter().map(delivery_id).collect::<Result<_>>()?;
    let attempts = settlements.iter().filter(|settlement| held.contains(&settlement.id));
    insert_attempts(tx, attempts.map(|settlement| attempt_values(settlement)).collect()).await?;
    Ok(held)
}

fn settled_values(settlement: &Settlement) -> Vec<Value> {
    let (state, due_at, settled_at) = match settlement.next {
        Next::Ends(state) => (state, None, Some(settlement.attempt.ended_at)),
        Next::Waits(until) => (State::Queued, Some(until), None),
        Next::Awaits(until) => (State::HandedOver, Some(until), None),
    };
    vec![
        settlement.id.message.into(),
        settlement.id.recipient.into(),
        settlement.lease.holder.as_str().into(),
        settlement.lease.attempt.into(),
        state.as_str().into(),
        due_at.into(),
        settled_at.into(),
        settlement.reason.map(Reason::as_str).into(),
    ]
}

async fn insert_attempts(tx: &mut Tx, rows: Vec<Vec<Value>>) -> Result<()> {
    const HEAD: &str = "
        insert into attempts (message_id, recipient, number, started_at, ended_at, route, peer, tls, outcome, code,
            diagnostic, rule, dialogue)
        values";
    tx.later(HEAD, "on conflict do nothing", rows).await
}

fn attempt_values(settlement: &Settlement) -> Vec<Value> {
    let attempt = &settlement.attempt;
    vec![
        settlement.id.message.into(),
        settlement.id.recipient.into(),
        settlement.lease.attempt.into(),
        attempt.started_at.into(),
        attempt.ended_at.into(),
        attempt.route.as_str().into(),
        attempt.peer.as_str().into(),
        attempt.tls.as_str().into(),
        attempt.outcome.as_str().into(),
        attempt.code.into(),
        attempt.diagnostic.as_str().into(),
        attempt.rule.as_str().into(),
        attempt.dialogue.as_str().into(),
    ]
}

/// A delivery from a row that has all its columns.
pub(super) fn read(row: &Row) -> Result<Delivery> {
    Ok(Delivery {
        id: delivery_id(row)?,
        tenant: TenantId::from_bytes(row.id("tenant_id")?),
        agent: AgentId::from_bytes(row.id("agent_id")?),
        address: row.word("address", |text| text.parse().ok())?,
        state: row.word("state", State::from_word)?,
        attempts: row.small("attempts")?,
        accepted_at: row.time("accepted_at")?,
        expires_at: row.time("expires_at")?,
    })
}
