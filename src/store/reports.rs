//! What came home about our mail. Owns the `reports` table.
//!
//! A report that changes a delivery does so in one transaction with its event and suppression. The same report twice
//! changes nothing the second time: the state has moved, and the event's (delivery, kind, ordinal) is taken.

use super::db::{Result, Store, Tx};
use super::value::Row;
use super::{deliveries, events, suppressions};
use crate::model::delivery::{Delivery, State};
use crate::model::event::Event;
use crate::model::id::{DeliveryId, EventId};
use crate::model::reason::Reason;
use crate::model::suppression::Suppression;
use crate::model::time::Timestamp;

/// A report as it is kept for people.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeptReport {
    /// Its id.
    pub id: EventId,
    /// Whose delivery it is about, when that is known.
    pub delivery: Option<DeliveryId>,
    /// `bounce`, `delayed`, `success`, `relayed`, `complaint`, `autoreply`, `ordinary` or `postmaster`.
    pub kind: String,
    /// When it came.
    pub received_at: Timestamp,
    /// Its envelope sender; empty for the null sender.
    pub sender: String,
    /// What we made of it, in a sentence.
    pub outcome: String,
    /// The mail itself.
    pub content: Vec<u8>,
}

/// What a report changes.
#[derive(Clone, Debug, Default)]
pub struct ReportSettlement {
    /// The delivery and what it becomes, if anything: only from one of these states.
    pub change: Option<ReportChange>,
    /// What to tell.
    pub events: Vec<Event>,
    /// The address to leave alone from now on, if any.
    pub suppression: Option<Suppression>,
}

/// A change of one delivery's state by a report.
#[derive(Clone, Debug)]
pub struct ReportChange {
    /// Which.
    pub id: DeliveryId,
    /// The state that the report was judged against; when it has moved since, nothing changes.
    pub from: State,
    /// What it becomes.
    pub to: State,
    /// Why.
    pub reason: Reason,
    /// When.
    pub at: Timestamp,
}

impl Store {
    /// A delivery, as it stands.
    ///
    /// # Errors
    /// `Unavailable`, `Corrupt`.
    pub async fn delivery(&self, id: DeliveryId) -> Result<Option<Delivery>> {
        const SQL: &str = "
            select message_id, recipient, tenant_id, agent_id, address, state, attempts, accepted_at, expires_at
            from deliveries
            where message_id = $1 and recipient = $2";
        let row = self.row(SQL, vec![id.message.into(), id.recipient.into()]).await?;
        row.as_ref().map(deliveries::read).transpose()
    }

    /// Keeps a report and makes its change, all or nothing.
    ///
    /// # Errors
    /// `LostLease` when the delivery's state has moved since it was read: judge again. `Unavailable`.
    pub async fn settle_report(&self, kept: KeptReport, settlement: ReportSettlement) -> Result<()> {
        let dispatches = self.wakes().dispatches.clone();
        self.transaction(move |tx| Box::pin(async move { write(tx, kept, settlement).await })).await?;
        dispatches.ring();
        Ok(())
    }

    /// Reports kept after `after`, oldest first, at most `limit`, without their content.
    ///
    /// # Errors
    /// `Unavailable`, `Corrupt`.
    pub async fn reports(&self, after: Option<EventId>, limit: u32) -> Result<Vec<KeptReport>> {
        const SQL: &str = "
            select id, message_id, recipient, kind, received_at, sender, outcome
            from reports
            where id > $1
            order by id
            limit $2";
        let after = after.map_or(Vec::new(), |id| id.as_bytes().to_vec());
        self.rows(SQL, vec![after.into(), limit.into()]).await?.iter().map(read).collect()
    }
}

async fn write(tx: &mut Tx, kept: KeptReport, settlement: ReportSettlement) -> Result<()> {
    const KEEP: &str = "
        insert into reports (id, message_id, recipient, kind, received_at, sender, outcome, content)
        values ($1, $2, $3, $4, $5, $6, $7, $8)";
    if let Some(change) = &settlement.change {
        apply(tx, change).await?;
    }
    suppressions::insert(tx, settlement.suppression.iter()).await?;
    events::insert(tx, &settlement.events.iter().collect::<Vec<_>>()).await?;
    let row = vec![
        kept.id.into(),
        kept.delivery.map(|id| id.message).into(),
        kept.delivery.map(|id| id.recipient).into(),
        kept.kind.into(),
        kept.received_at.into(),
        kept.sender.into(),
        kept.outcome.into(),
        kept.content.into(),
    ];
    tx.run(KEEP, row).await.map(drop)
}

async fn apply(tx: &mut Tx, change: &ReportChange) -> Result<()> {
    const SQL: &str = "
        update deliveries
        set state = $1, due_at = null, lease = null, settled_at = $2, reason = $3
        where message_id = $4 and recipient = $5 and state = $6";
    let row = vec![
        change.to.as_str().into(),
        change.at.into(),
        change.reason.as_str().into(),
        change.id.message.into(),
        change.id.recipient.into(),
        change.from.as_str().into(),
    ];
    if tx.run(SQL, row).await? == 0 { Err(super::StoreError::LostLease) } else { Ok(()) }
}

fn read(row: &Row) -> Result<KeptReport> {
    let is_linked = row.maybe_bytes("message_id")?.is_some();
    Ok(KeptReport {
        id: EventId::from_bytes(row.id("id")?),
        delivery: if is_linked { Some(super::messages::delivery_id(row)?) } else { None },
        kind: row.text("kind")?,
        received_at: row.time("received_at")?,
        sender: row.text("sender")?,
        outcome: row.text("outcome")?,
        content: Vec::new(),
    })
}
