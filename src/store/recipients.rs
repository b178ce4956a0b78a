//! All that is kept of one recipient of a tenant: given out, and erased.
//!
//! A recipient is found by address, in any case of its letters. What others share stays: a message to several keeps
//! its header, which names them all, until retention takes it, and that it was erased for one of them is told. What is
//! still queued is not erased, nor are suppressions: that an address must not be written to has to be remembered.

use serde_json::{Value as Json, json};

use super::db::{Result, Store, Tx};
use super::messages::delivery_id;
use super::search;
use super::value::{Row, Value};
use crate::model::address::Address;
use crate::model::id::{DeliveryId, TenantId};

/// Deliveries looked at in one go.
const PAGE: u32 = 500;
/// Deliveries erased in one commit: others wait no longer than that takes.
const BITE: usize = 50;

/// What erasing a recipient came to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Erased {
    /// Deliveries that are gone, with their attempts, hits and events.
    pub deliveries: u64,
    /// Messages that are gone with them, since they had no other recipient.
    pub messages: u64,
    /// Messages to others too, which keep their header and content.
    pub shared: u64,
    /// Deliveries that are still queued, and stay.
    pub queued: u64,
}

impl Store {
    /// The deliveries to a recipient after `after`, by id, at most 500.
    ///
    /// # Errors
    /// `Unavailable`, `Corrupt`.
    pub async fn deliveries_to(
        &self,
        tenant: TenantId,
        address: &Address,
        after: Option<DeliveryId>,
    ) -> Result<Vec<DeliveryId>> {
        const SQL: &str = "
            select message_id, recipient
            from deliveries
            where tenant_id = $1 and lower(address) = $2
                and (message_id > $3 or message_id = $3 and recipient > $4)
            order by message_id, recipient
            limit $5";
        let (message, recipient): (Value, Value) = match after {
            Some(after) => (after.message.into(), after.recipient.into()),
            None => (Vec::<u8>::new().into(), 0u16.into()),
        };
        let of = vec![tenant.into(), address.folded().into(), message, recipient, PAGE.into()];
        self.rows(SQL, of).await?.iter().map(delivery_id).collect()
    }

    /// All that is kept of one delivery, for the person whose address it has.
    ///
    /// # Errors
    /// `Unavailable`, `Corrupt`.
    pub async fn export(&self, id: DeliveryId) -> Result<Json> {
        let message = self.message(id.message).await?;
        let hits = self.hits(id).await?;
        let events = self.events(id).await?;
        let attempts = self.attempts(id).await?;
        let hit = |hit: &crate::model::hit::Hit| {
            json!({
                "kind": if hit.target.is_empty() { "open" } else { "click" },
                "at": hit.at.rfc3339_millis(),
                "target": hit.target,
                "visitor": hit.visitor,
            })
        };
        let event = |event: &crate::model::event::Event| {
            json!({
                "id": event.id.to_string(),
                "kind": event.kind.as_str(),
                "at": event.at.rfc3339_millis(),
                "address": event.recipient,
                "detail": event.detail,
            })
        };
        let attempt = |(number, attempt): &(u32, super::deliveries::Attempt)| {
            json!({
                "number": number,
                "at": attempt.started_at.rfc3339_millis(),
                "outcome": attempt.outcome,
                "peer": attempt.peer,
                "diagnostic": attempt.diagnostic,
                "dialogue": attempt.dialogue,
            })
        };
        Ok(json!({
            "delivery": id.to_string(),
            "message": message.map(|message| json!({
                "id": message.id.to_string(),
                "accepted_at": message.accepted_at.rfc3339_millis(),
                "facts": message.facts,
            })),
            "attempts": attempts.iter().map(attempt).collect::<Vec<_>>(),
            "events": events.iter().map(event).collect::<Vec<_>>(),
            "hits": hits.iter().map(hit).collect::<Vec<_>>(),
        }))
    }

    /// What this tenant and its mail agents have suppressed of a recipient.
    ///
    /// # Errors
    /// `Unavailable`, `Corrupt`.
    pub async fn suppressions_of(&self, tenant: TenantId, address: &Address) -> Result<Vec<Json>> {
        const SQL: &str = "
            select action, reason, note, created_at
            from suppressions
            where target = $1 and tenant_id = $2
            order by created_at
            limit $3";
        let rows = self.rows(SQL, vec![address.folded().into(), tenant.into(), PAGE.into()]).await?;
        let told = |row: &Row| {
            let at = row.time("created_at")?.rfc3339_millis();
            let (action, reason, note) = (row.text("action")?, row.text("reason")?, row.text("note")?);
            let about = json!({"action": action, "reason": reason, "note": note, "created_at": at});
            Ok(json!({"suppression": about}))
        };
        rows.iter().map(told).collect()
    }

    /// Erases all that is kept of a recipient of a tenant, but suppressions and what is still queued.
    ///
    /// # Errors
    /// `Unavailable`, `Corrupt`; some may be erased then, and the rest when it is asked for again.
    pub async fn erase(&self, tenant: TenantId, address: &Address) -> Result<Erased> {
        const HISTORY: &str = "
            delete from address_history
            where address = $1 and agent_id in (select id from agents where tenant_id = $2)";
        let mut sum = Erased::default();
        let mut after = None;
        loop {
            let page = self.deliveries_to(tenant, address, after).await?;
            let Some(last) = page.last() else { break };
            after = Some(*last);
            for bite in page.chunks(BITE) {
                let bite = bite.to_vec();
                for (id, erased) in self.transaction(move |tx| Box::pin(erase_all(tx, bite))).await? {
                    if erased.messages > 0 {
                        self.remove_aside(&id.message.to_string()).await;
                    }
                    sum.deliveries += erased.deliveries;
                    sum.messages += erased.messages;
                    sum.shared += erased.shared;
                    sum.queued += erased.queued;
                }
            }
        }
        self.run(HISTORY, vec![address.folded().into(), tenant.into()]).await?;
        Ok(sum)
    }
}

async fn erase_all(tx: &mut Tx, ids: Vec<DeliveryId>) -> Result<Vec<(DeliveryId, Erased)>> {
    let mut erased = Vec::with_capacity(ids.len());
    for id in ids {
        erased.push((id, erase(tx, id).await?));
    }
    Ok(erased)
}

async fn erase(tx: &mut Tx, id: DeliveryId) -> Result<Erased> {
    let own = || -> Vec<Value> { vec![id.message.into(), id.recipient.into()] };
    let found_by = search::of_recipient(tx, id).await?;
    let sql = "delete from deliveries where message_id = $1 and recipient = $2 and state <> 'queued'";
    if tx.run(sql, own()).await? == 0 {
        return Ok(Erased { queued: 1, ..Erased::default() });
    }
    search::remove(tx, found_by).await?;
    for sql in [
        "delete from dispatch_attempts
        where event_id in (select id from events where message_id = $1 and recipient = $2)",
        "delete from dispatches
        where event_id in (select id from events where message_id = $1 and recipient = $2)",
        "delete from events where message_id = $1 and recipient = $2",
        "delete from hits where message_id = $1 and recipient = $2",
        "delete from firsts where message_id = $1 and recipient = $2",
        "delete from attempts where message_id = $1 and recipient = $2",
        "delete from reports where message_id = $1 and recipient = $2",
    ] {
        tx.run(sql, own()).await?;
    }
    let sql = "select 1 as others from deliveries where message_id = $1 limit 1";
    if tx.row(sql, vec![id.message.into()]).await?.is_some() {
        return Ok(Erased { deliveries: 1, shared: 1, ..Erased::default() });
    }
    for sql in ["delete from contents where message_id = $1", "delete from messages where id = $1"] {
        tx.run(sql, vec![id.message.into()]).await?;
    }
    Ok(Erased { deliveries: 1, messages: 1, ..Erased::default() })
}
