//! Events owed to webhooks: renew, release, settle. Leasing is in `lease`, of sick webhooks in `sick`, what is leased as it
//! is written in `handoff`, the log of attempts in `log`, tests that people ask for in `trial`, letting go what waits in `hurry`.
//!
//! Owns the `dispatches` table; its rows are born in `events`. The queue works as that of deliveries does, in lanes: a
//! first attempt never waits behind retries, and nobody's test behind either.

mod facts;
mod handoff;
mod hurry;
mod lease;
mod log;
mod sick;
mod trial;

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

pub(super) use handoff::Handoff;
pub use handoff::{Handed, InHand};
pub use hurry::LetGo;
pub use log::DispatchView;

use super::db::{Result, Store, Tx};
use super::tx::in_lock_order;
use super::value::{Row, Value};
use super::webhook_health;
use super::writer::Work;
use crate::model::delivery::Lease;
use crate::model::event::Event;
use crate::model::id::{EventId, WebhookId};
use crate::model::message::Message;
use crate::model::retry::LEASE;
use crate::model::seal::MasterKey;
use crate::model::time::Timestamp;
use crate::model::webhook::{DispatchId, DispatchNext, DispatchState, Webhook};
use crate::model::webhook_attempt::Trace;

/// Which dispatches to lease.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Lane {
    /// Those never tried.
    Fresh,
    /// Those tried before, and those replayed.
    Retry,
    /// Tests that somebody waits for. They go out whatever the webhook's switch and health say.
    Trial,
}

/// A dispatch that this node may work on until its lease ends.
#[derive(Clone, Debug)]
pub struct LeasedDispatch {
    /// Which.
    pub id: DispatchId,
    /// The right to do it; its `attempt` is the number of this attempt.
    pub lease: Lease,
    /// When the lease ends, unless it is renewed.
    pub until: Timestamp,
    /// Attempts made before it was queued again by a replay.
    pub attempts_before: u32,
    /// What is owed.
    pub event: Event,
    /// About which message.
    pub message: Message,
    /// To whom.
    pub webhook: Arc<Webhook>,
    /// The webhook did badly of late: others wait for what comes of this.
    pub is_awaited: bool,
    /// It came with its event, and can wait in the store where its webhook has enough to do.
    pub is_handed: bool,
}

/// What came of an attempt at a dispatch.
#[derive(Clone, Debug)]
pub struct DispatchSettlement {
    /// Which.
    pub id: DispatchId,
    /// Under which lease.
    pub lease: Lease,
    /// What becomes of it.
    pub next: DispatchNext,
    /// When the attempt began.
    pub started_at: Timestamp,
    /// When it ended.
    pub at: Timestamp,
    /// The receiver's status, when it answered.
    pub status: Option<u16>,
    /// What went wrong, in a word; `None` when it arrived.
    pub error: Option<String>,
    /// How long the receiver asked to be left alone.
    pub wish: Option<Duration>,
    /// How it went.
    pub trace: Trace,
    /// It says something about the webhook's health: it was no test, and is the first of its request.
    pub bears: bool,
    /// How many others of the same request were given up with it.
    pub given_up_beside: u32,
}

impl DispatchSettlement {
    /// Whether no attempt follows, and none arrived.
    pub fn is_given_up(&self) -> bool {
        self.next == DispatchNext::Ends(DispatchState::Exhausted)
    }
}

/// Where a dispatch stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DispatchStanding {
    /// Which.
    pub id: DispatchId,
    /// Where it stands.
    pub state: DispatchState,
    /// Attempts begun.
    pub attempts: u32,
    /// When the next is due.
    pub due_at: Option<Timestamp>,
    /// When it ended.
    pub settled_at: Option<Timestamp>,
    /// The last status.
    pub last_status: Option<u16>,
    /// The last error.
    pub last_error: Option<String>,
}

impl Store {
    /// Extends the leases that this node still works under by a full term; those that were still held.
    ///
    /// # Errors
    /// `Unavailable`, `Corrupt`.
    pub async fn renew_dispatches(&self, leases: Vec<(DispatchId, Lease)>) -> Result<Vec<DispatchId>> {
        const HEAD: &str = "with held (event_id, webhook_id, lease, attempts, due_at) as (values";
        const TAIL: &str = ")
            update dispatches
            set due_at = held.due_at
            from held
            where dispatches.event_id = held.event_id and dispatches.webhook_id = held.webhook_id
                and dispatches.lease = held.lease and dispatches.attempts = held.attempts
                and dispatches.state = 'queued'
            returning dispatches.event_id, dispatches.webhook_id";
        let due_at = self.now() + LEASE;
        let leases = in_lock_order(leases, |(id, _)| *id);
        let rows = leases.into_iter().map(|(id, lease)| {
            vec![id.event.into(), id.webhook.into(), lease.holder.into(), lease.attempt.into(), due_at.into()]
        });
        let rows: Vec<_> = rows.collect();
        let held = self.transaction(move |tx| Box::pin(async move { tx.many(HEAD, TAIL, rows).await })).await?;
        held.iter().map(dispatch_id).collect()
    }

    /// Gives back leases unused, so that another node need not wait for their end.
    ///
    /// # Errors
    /// `Unavailable`.
    pub async fn release_dispatches(&self, leases: Vec<(DispatchId, Lease)>) -> Result<()> {
        const SQL: &str = "
            update dispatches
            set due_at = $1, lease = null, attempts = attempts - 1,
                lane = case when lane = 'retry' and attempts = 1 then 'fresh' else lane end
            where event_id = $2 and webhook_id = $3 and lease = $4 and attempts = $5 and state = 'queued'";
        let (now, leases) = (self.now(), in_lock_order(leases, |(id, _)| *id));
        self.transaction(move |tx| {
            Box::pin(async move {
                for (id, lease) in leases {
                    let held =
                        vec![now.into(), id.event.into(), id.webhook.into(), lease.holder.into(), lease.attempt.into()];
                    tx.run(SQL, held).await?;
                }
                Ok(())
            })
        })
        .await
    }

    /// Writes what came of an attempt, in one commit shared with others.
    ///
    /// # Errors
    /// `LostLease` when the lease is no longer held: then nothing was written. `Unavailable`, `Closed`.
    pub async fn settle_dispatch(&self, settlement: DispatchSettlement) -> Result<()> {
        self.0.writer.write(Work::SettleDispatch(Box::new(settlement))).await.map(drop)
    }

    /// Where a dispatch stands.
    ///
    /// # Errors
    /// `Unavailable`, `Corrupt`.
    pub async fn dispatch(&self, id: DispatchId) -> Result<Option<DispatchStanding>> {
        const SQL: &str = "
            select event_id, webhook_id, state, attempts, due_at, settled_at, last_status, last_error
            from dispatches
            where event_id = $1 and webhook_id = $2";
        self.row(SQL, vec![id.event.into(), id.webhook.into()]).await?.as_ref().map(read_standing).transpose()
    }
}

/// A dispatch's id from a row's two columns.
pub(super) fn dispatch_id(row: &Row) -> Result<DispatchId> {
    Ok(DispatchId {
        event: EventId::from_bytes(row.id("event_id")?),
        webhook: WebhookId::from_bytes(row.id("webhook_id")?),
    })
}

/// Where a dispatch stands, from a row that has all its columns.
pub(super) fn read_standing(row: &Row) -> Result<DispatchStanding> {
    Ok(DispatchStanding {
        id: dispatch_id(row)?,
        state: row.word("state", DispatchState::from_word)?,
        attempts: row.small("attempts")?,
        due_at: row.maybe_time("due_at")?,
        settled_at: row.maybe_time("settled_at")?,
        last_status: row.maybe_int("last_status")?.and_then(|status| u16::try_from(status).ok()),
        last_error: row.maybe_text("last_error")?,
    })
}

/// What writing settlements came to.
pub(super) struct Settled {
    /// Those whose lease was held; the others are left alone.
    pub(super) held: HashSet<DispatchId>,
    /// Notices about webhooks that follow.
    pub(super) notices: Vec<Event>,
}

/// Writes these settlements, their attempts, and what they show of the webhooks.
pub(super) async fn settle<'a>(
    tx: &mut Tx,
    settlements: impl Iterator<Item = &'a DispatchSettlement>,
    master: &MasterKey,
) -> Result<Settled> {
    const HEAD: &str = "
        with settled (event_id, webhook_id, lease, attempts, state, due_at, settled_at, status, error) as (values";
    const TAIL: &str = ")
        update dispatches
        set state = settled.state, due_at = settled.due_at, lease = null, settled_at = settled.settled_at,
            last_status = settled.status, last_error = settled.error
        from settled
        where dispatches.event_id = settled.event_id and dispatches.webhook_id = settled.webhook_id
            and dispatches.lease = settled.lease and dispatches.attempts = settled.attempts
            and dispatches.state = 'queued'
        returning dispatches.event_id, dispatches.webhook_id";
    let settlements: Vec<&DispatchSettlement> = settlements.collect();
    // What they show of the webhooks goes by the order in which they ended.
    let tuples = in_lock_order(settlements.clone(), |settlement| settlement.id);
    let rows = tx.many(HEAD, TAIL, tuples.iter().map(|settlement| settled_values(settlement)).collect()).await?;
    let held: HashSet<DispatchId> = rows.iter().map(dispatch_id).collect::<Result<_>>()?;
    let kept: Vec<&DispatchSettlement> =
        settlements.into_iter().filter(|settlement| held.contains(&settlement.id)).collect();
    log::insert(tx, &kept).await?;
    let telling: Vec<&DispatchSettlement> = kept.into_iter().filter(|settlement| settlement.bears).collect();
    let notices = webhook_health::settle(tx, &telling, master).await?;
    Ok(Settled { held, notices })
}

fn settled_values(settlement: &DispatchSettlement) -> Vec<Value> {
    let (state, settled_at) = match settlement.next {
        DispatchNext::Ends(state) => (state, Some(settlement.at)),
        DispatchNext::Waits(_) | DispatchNext::WaitsSwitchedOff(_) => (DispatchState::Queued, None),
    };
    vec![
        settlement.id.event.into(),
        settlement.id.webhook.into(),
        settlement.lease.holder.as_str().into(),
        settlement.lease.attempt.into(),
        state.as_str().into(),
        settlement.next.due_at().into(),
        settled_at.into(),
        settlement.status.into(),
        settlement.error.clone().into(),
    ]
}
