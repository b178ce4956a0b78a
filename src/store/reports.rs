//! What came home about our mail. Owns the `reports` table.
//!
//! A report that changes a delivery does so in one transaction with its event and what it means for the address. The
//! same report twice changes nothing the second time: the state has moved, and the event's (delivery, kind, ordinal) is
//! taken. What changed nothing and was not understood is open until a person has seen it.

use super::db::{Result, Store, Tx};
use super::value::{Row, Value, json};
use super::writer::Work;
use super::{address_history, deliveries, listen, suppressions};
use crate::model::bearing::Bearing;
use crate::model::delivery::{Delivery, State};
use crate::model::event::Event;
use crate::model::id::{DeliveryId, ReportId};
use crate::model::message::Letter;
use crate::model::reason::{Cause, Reason};
use crate::model::time::Timestamp;

/// A report as it is kept for people.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeptReport {
    /// Its id.
    pub id: ReportId,
    /// Whose delivery it is about, when that is known.
    pub delivery: Option<DeliveryId>,
    /// Where it came to: `delivery`, `complaints` or `postmaster`.
    pub came_to: String,
    /// `bounce`, `delayed`, `success`, `relayed`, `complaint`, `autoreply` or `ordinary`.
    pub kind: String,
    /// When it came.
    pub received_at: Timestamp,
    /// Its envelope sender; empty for the null sender.
    pub sender: String,
    /// Whether who handed it in is believed about whose mail it was.
    pub is_vouched: bool,
    /// The address that it names; empty when it names none.
    pub about: String,
    /// Why, when it tells, with the rule that decided.
    pub cause: Option<Cause>,
    /// What it changed.
    pub effect: Effect,
    /// What we made of it, in a sentence.
    pub outcome: String,
    /// Whether a person should look at it.
    pub is_open: bool,
    /// The mail itself, or its beginning.
    pub content: Vec<u8>,
}

/// What a report changed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Effect {
    /// Nothing.
    #[default]
    Nothing,
    /// A delivery bounced.
    Bounced,
    /// A recipient complained or left.
    Complained,
    /// An event told of a delay.
    Delayed,
    /// A delivery arrived, or was confirmed to have.
    Delivered,
}

impl Effect {
    /// Its word, as stored and printed; nothing has none.
    pub const fn as_str(self) -> &'static str {
        match self {
            Effect::Nothing => "",
            Effect::Bounced => "bounced",
            Effect::Complained => "complained",
            Effect::Delayed => "delayed",
            Effect::Delivered => "delivered",
        }
    }

    fn from_word(word: &str) -> Option<Self> {
        [Effect::Nothing, Effect::Bounced, Effect::Complained, Effect::Delayed, Effect::Delivered]
            .into_iter()
            .find(|effect| effect.as_str() == word)
    }
}

/// What a report changes.
#[derive(Clone, Debug, Default)]
pub struct ReportSettlement {
    /// The delivery and what it becomes, if anything.
    pub change: Option<ReportChange>,
    /// What to tell.
    pub events: Vec<Event>,
    /// What it means for the addresses.
    pub bearings: Vec<Bearing>,
    /// The mail that tells the submitter of one of the events. Left out where a report is judged again.
    pub letter: Option<Letter>,
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
    /// Why, unless it was delivered.
    pub reason: Option<Reason>,
    /// When.
    pub at: Timestamp,
}

/// Which reports are wanted.
#[derive(Clone, Debug, Default)]
pub struct ReportFilter {
    /// Only those that wait for a person.
    pub open: bool,
    /// Only those of this kind.
    pub kind: Option<String>,
    /// Only those that came after this one.
    pub after: Option<ReportId>,
}

/// A verdict that a report gets anew.
#[derive(Clone, Debug)]
pub struct Rejudged {
    /// The report, with its new kind, cause, effect and outcome.
    pub report: KeptReport,
    /// What is to be done that was not.
    pub settlement: ReportSettlement,
    /// The deliveries whose addresses were suppressed for it and should not have been.
    pub lift: Vec<Delivery>,
}

/// A kept report and what it changes, on its way in.
#[derive(Clone, Debug)]
pub(super) struct Arrived {
    pub(super) report: KeptReport,
    pub(super) settlement: ReportSettlement,
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

    /// Keeps a report and makes its change, all or nothing, in one commit shared with others.
    ///
    /// # Errors
    /// `LostLease` when the delivery's state has moved since it was read: judge again. `Unavailable`, `Closed`.
    pub async fn settle_report(&self, report: KeptReport, settlement: ReportSettlement) -> Result<()> {
        self.0.writer.write(Work::Report(Box::new(Arrived { report, settlement }))).await.map(drop)
    }

    /// Deliveries that were handed over and whose report is waited for no more, the longest overdue first, at most `limit`.
    ///
    /// # Errors
    /// `Unavailable`, `Corrupt`.
    pub async fn unreported(&self, limit: u32) -> Result<Vec<Delivery>> {
        const SQL: &str = "
            select message_id, recipient, tenant_id, agent_id, address, state, attempts, accepted_at, expires_at
            from deliveries
            where state = 'handed_over' and due_at <= $1
            order by due_at
            limit $2";
        self.rows(SQL, vec![self.now().into(), limit.into()]).await?.iter().map(deliveries::read).collect()
    }

    /// Makes the change that no report asks for: that none came.
    ///
    /// # Errors
    /// `LostLease` when the delivery's state has moved since it was read. `Unavailable`.
    pub async fn settle_unreported(&self, settlement: ReportSettlement) -> Result<()> {
        let is_owed = self.transaction(move |tx| Box::pin(async move { settle_alone(tx, &settlement).await })).await?;
        if is_owed {
            self.wakes().dispatches.ring();
        }
        Ok(())
    }

    /// Reports in the order in which they came, at most `limit`, without their content.
    ///
    /// # Errors
    /// `Unavailable`, `Corrupt`.
    pub async fn reports(&self, filter: &ReportFilter, limit: u32) -> Result<Vec<KeptReport>> {
        const SQL: &str = "
            select id, message_id, recipient, came_to, kind, received_at, sender, is_vouched, about, cause, effect,
                outcome, is_open
            from reports
            where id > $1 and (kind = $2 or $2 = '')
            order by id
            limit $3";
        const OPEN: &str = "
            select id, message_id, recipient, came_to, kind, received_at, sender, is_vouched, about, cause, effect,
                outcome, is_open
            from reports
            where is_open and id > $1 and (kind = $2 or $2 = '')
            order by id
            limit $3";
        let after = filter.after.map_or(Vec::new(), |id| id.as_bytes().to_vec());
        let kind = filter.kind.clone().unwrap_or_default();
        let sql = if filter.open { OPEN } else { SQL };
        self.rows(sql, vec![after.into(), kind.into(), limit.into()]).await?.iter().map(read).collect()
    }

    /// The reports about a delivery, in the order in which they came, at most 100, without their content.
    ///
    /// # Errors
    /// `Unavailable`, `Corrupt`.
    pub async fn reports_about(&self, id: DeliveryId) -> Result<Vec<KeptReport>> {
        const SQL: &str = "
            select id, message_id, recipient, came_to, kind, received_at, sender, is_vouched, about, cause, effect,
                outcome, is_open
            from reports
            where message_id = $1 and recipient = $2
            order by id
            limit 100";
        self.rows(SQL, vec![id.message.into(), id.recipient.into()]).await?.iter().map(read).collect()
    }

    /// One report with its content.
    ///
    /// # Errors
    /// `Unavailable`, `Corrupt`.
    pub async fn report(&self, id: ReportId) -> Result<Option<KeptReport>> {
        const SQL: &str = "
            select id, message_id, recipient, came_to, kind, received_at, sender, is_vouched, about, cause, effect,
                outcome, is_open, content
            from reports
            where id = $1";
        let Some(row) = self.row(SQL, vec![id.into()]).await? else { return Ok(None) };
        Ok(Some(KeptReport { content: row.bytes("content")?, ..read(&row)? }))
    }

    /// A person has seen a report; whether it was open.
    ///
    /// # Errors
    /// `Unavailable`.
    pub async fn close_report(&self, id: ReportId) -> Result<bool> {
        let sql = "update reports set is_open = false where id = $1 and is_open";
        Ok(self.run(sql, vec![id.into()]).await? > 0)
    }

    /// A person has seen all open reports of a kind; how many there were.
    ///
    /// # Errors
    /// `Unavailable`.
    pub async fn close_reports(&self, kind: &str) -> Result<u64> {
        self.run("update reports set is_open = false where is_open and kind = $1", vec![kind.into()]).await
    }

    /// Gives a report its new verdict, and does what that asks for, all or nothing.
    ///
    /// # Errors
    /// `LostLease` when the delivery's state has moved since it was read: judge again. `Unavailable`.
    pub async fn rejudge_report(&self, rejudged: Rejudged) -> Result<()> {
        let dispatches = self.wakes().dispatches.clone();
        self.transaction(move |tx| Box::pin(async move { rewrite(tx, rejudged).await })).await?;
        dispatches.ring();
        Ok(())
    }
}

/// Writes what these reports change of deliveries, and the reports; places in the batch whose delivery has moved
/// meanwhile. Their events and bearings are written with the batch's.
pub(super) async fn insert(tx: &mut Tx, arrived: &[(usize, &Arrived)]) -> Result<Vec<usize>> {
    const KEEP: &str = "
        insert into reports (id, message_id, recipient, came_to, kind, received_at, sender, is_vouched, about, cause,
            effect, outcome, is_open, content)
        values";
    let (mut lost, mut rows) = (Vec::new(), Vec::new());
    // Always in one order, so that transactions do not wait for each other in a circle.
    let mut arrived = arrived.to_vec();
    arrived.sort_by_key(|(_, arrived)| arrived.report.delivery);
    for (at, Arrived { report, settlement }) in arrived {
        if apply(tx, settlement.change.as_ref()).await? {
            rows.push(values(report));
        } else {
            lost.push(at);
        }
    }
    tx.many(KEEP, "", rows).await?;
    Ok(lost)
}

/// Makes a change; whether the delivery was still in the state that it was judged against.
async fn apply(tx: &mut Tx, change: Option<&ReportChange>) -> Result<bool> {
    const SQL: &str = "
        update deliveries
        set state = $1, due_at = null, lease = null, settled_at = $2, reason = $3
        where message_id = $4 and recipient = $5 and state = $6";
    let Some(change) = change else { return Ok(true) };
    let row = vec![
        change.to.as_str().into(),
        change.at.into(),
        change.reason.map(Reason::as_str).into(),
        change.id.message.into(),
        change.id.recipient.into(),
        change.from.as_str().into(),
    ];
    Ok(tx.run(SQL, row).await? > 0)
}

/// Makes a change, and tells of it; whether any dispatch is owed.
async fn settle_alone(tx: &mut Tx, settlement: &ReportSettlement) -> Result<bool> {
    if !apply(tx, settlement.change.as_ref()).await? {
        return Err(super::StoreError::LostLease);
    }
    address_history::bear(tx, &settlement.bearings).await?;
    let is_owed = super::events::tell(tx, &settlement.events.iter().collect::<Vec<_>>()).await?;
    if tx.is_shared() {
        listen::announce(tx, false, is_owed.then_some("")).await?;
    }
    Ok(is_owed)
}

async fn rewrite(tx: &mut Tx, rejudged: Rejudged) -> Result<()> {
    const SQL: &str = "
        update reports
        set message_id = $1, recipient = $2, kind = $3, about = $4, cause = $5, effect = $6, outcome = $7, is_open = $8
        where id = $9";
    let Rejudged { report, settlement, lift } = rejudged;
    if !apply(tx, settlement.change.as_ref()).await? {
        return Err(super::StoreError::LostLease);
    }
    for delivery in &lift {
        suppressions::lift(tx, delivery, report.received_at).await?;
    }
    address_history::bear(tx, &settlement.bearings).await?;
    super::events::tell(tx, &settlement.events.iter().collect::<Vec<_>>()).await?;
    if let (Some(id), Some(cause), Effect::Bounced) = (report.delivery, &report.cause, report.effect) {
        let sql = "update deliveries set reason = $1 where message_id = $2 and recipient = $3 and state = 'bounced'";
        tx.run(sql, vec![cause.reason.as_str().into(), id.message.into(), id.recipient.into()]).await?;
    }
    let row = vec![
        report.delivery.map(|id| id.message).into(),
        report.delivery.map(|id| id.recipient).into(),
        report.kind.into(),
        report.about.into(),
        report.cause.as_ref().map(json).into(),
        report.effect.as_str().into(),
        report.outcome.into(),
        report.is_open.into(),
        report.id.into(),
    ];
    tx.run(SQL, row).await.map(drop)
}

fn values(report: &KeptReport) -> Vec<Value> {
    vec![
        report.id.into(),
        report.delivery.map(|id| id.message).into(),
        report.delivery.map(|id| id.recipient).into(),
        report.came_to.as_str().into(),
        report.kind.as_str().into(),
        report.received_at.into(),
        report.sender.as_str().into(),
        report.is_vouched.into(),
        report.about.as_str().into(),
        report.cause.as_ref().map(json).into(),
        report.effect.as_str().into(),
        report.outcome.as_str().into(),
        report.is_open.into(),
        report.content.as_slice().into(),
    ]
}

fn read(row: &Row) -> Result<KeptReport> {
    let is_linked = row.maybe_bytes("message_id")?.is_some();
    let has_cause = row.maybe_text("cause")?.is_some();
    Ok(KeptReport {
        id: ReportId::from_bytes(row.id("id")?),
        delivery: if is_linked { Some(super::messages::delivery_id(row)?) } else { None },
        came_to: row.text("came_to")?,
        kind: row.text("kind")?,
        received_at: row.time("received_at")?,
        sender: row.text("sender")?,
        is_vouched: row.flag("is_vouched")?,
        about: row.text("about")?,
        cause: if has_cause { Some(row.json("cause")?) } else { None },
        effect: row.word("effect", Effect::from_word)?,
        outcome: row.text("outcome")?,
        is_open: row.flag("is_open")?,
        content: Vec::new(),
    })
}
