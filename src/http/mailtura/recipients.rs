//! `/api/v1/recipients/{address}`: all that is kept of one recipient, given out and erased, for whoever asks what is known
//! of them.

use hyper::StatusCode;
use serde::Serialize;
use serde_json::Value;

use super::super::json_answer;
use super::super::operation::Call;
use super::super::problem::Problem;
use super::super::query;
use super::super::server::Answer;
use super::super::shape::{Schemas, Shape, answer};
use crate::model::address::Address;
use crate::model::id::DeliveryId;

/// One mail to a recipient, with all that is kept of it.
#[derive(Debug, Serialize)]
#[serde(transparent)]
pub(super) struct KeptMail(Value);

impl KeptMail {
    pub(super) fn of(kept: Value) -> Self {
        Self(kept)
    }
}

impl Shape for KeptMail {
    fn schema(_: &mut Schemas) -> Value {
        serde_json::json!({
            "type": "object",
            "description": "A mail to the recipient: `delivery`, `message`, `attempts`, `events` and `hits`, as they are kept.",
        })
    }
}

answer! {
    /// What erasing a recipient came to.
    pub(super) struct ErasedRecipient {
        /// Deliveries that are gone, with their attempts, opens, clicks and events.
        deliveries "deliveries": u64,
        /// Messages that are gone with them, since they had no other recipient.
        messages "messages": u64,
        /// Messages to others too, which keep their header and content until they are forgotten.
        shared "shared": u64,
        /// Deliveries that are still queued, and stay: erase again when they have ended.
        queued "queued": u64,
    }
}

/// `GET /api/v1/recipients/{address}`: a page of mails, oldest first.
pub(super) async fn export(call: Call) -> Result<Answer, Problem> {
    let (address, limit) = (address(&call)?, call.query.limit()? as usize);
    let after: Option<DeliveryId> = call.query.value("after", "delivery id")?;
    let (store, tenant) = (call.server.store(), call.grant.tenant.id);
    let ids = store.deliveries_to(tenant, &address, after).await?;
    let mut rows = Vec::new();
    for id in ids.into_iter().take(limit + 1) {
        rows.push((id, store.export(id).await?));
    }
    let path = format!("/api/v1/recipients/{}", query::encoded(call.place()));
    query::page((&path, &call.query), rows, |(id, _)| id.to_string(), |(_, kept)| KeptMail(kept))
}

/// `DELETE /api/v1/recipients/{address}`. Suppressions stay: that somebody must not be written to has to be remembered.
pub(super) async fn erase(call: Call) -> Result<Answer, Problem> {
    let erased = call.server.store().erase(call.grant.tenant.id, &address(&call)?).await?;
    let told = ErasedRecipient {
        deliveries: erased.deliveries,
        messages: erased.messages,
        shared: erased.shared,
        queued: erased.queued,
    };
    Ok(json_answer(StatusCode::OK, &told))
}

fn address(call: &Call) -> Result<Address, Problem> {
    call.place().parse().map_err(|_| Problem::NotFound("Recipient"))
}
