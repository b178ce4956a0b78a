//! Tests of webhooks: an event that did not happen, told to one webhook, kept or only drafted. Owns the `samples` table.
//!
//! The messages of tests are not among customers' messages. A test stands in a lane of its own, so that neither a backlog
//! nor a pause keeps somebody waiting for it.

use super::super::db::{Result, Store, Tx};
use super::super::{events, listen, messages, webhooks};
use crate::model::event::Event;
use crate::model::id::{TenantId, WebhookId};
use crate::model::message::Message;
use crate::model::seal::MasterKey;
use crate::model::webhook::{DispatchId, Switch, Webhook};

impl Store {
    /// Writes a test event and owes it to one webhook, whatever that is subscribed to and whether it is on, due now.
    ///
    /// # Errors
    /// `Unavailable`.
    pub async fn dispatch_test(&self, message: Message, event: Event, webhook: WebhookId) -> Result<DispatchId> {
        self.owe_test(message, event, webhook, None).await
    }

    /// The same for a webhook that is not kept. [`Self::remove_draft`] is for when the test has ended; a draft that was
    /// left behind goes by itself.
    ///
    /// # Errors
    /// `Unavailable`.
    pub async fn dispatch_draft_test(&self, message: Message, event: Event, draft: Webhook) -> Result<DispatchId> {
        let id = draft.id;
        self.owe_test(message, event, id, Some(Webhook { switch: Switch::Draft, ..draft })).await
    }

    /// Forgets a draft and what was owed to it.
    ///
    /// # Errors
    /// `Unavailable`.
    pub async fn remove_draft(&self, tenant: TenantId, id: WebhookId) -> Result<()> {
        self.remove_webhook(tenant, id).await.map(drop)
    }

    async fn owe_test(
        &self,
        message: Message,
        event: Event,
        webhook: WebhookId,
        draft: Option<Webhook>,
    ) -> Result<DispatchId> {
        let id = DispatchId { event: event.id, webhook };
        let master = self.0.master.clone();
        let written = self.transaction(move |tx| {
            Box::pin(async move { insert(tx, &message, &event, webhook, draft.as_ref(), &master).await })
        });
        written.await?;
        self.wakes().trials.ring();
        Ok(id)
    }
}

async fn insert(
    tx: &mut Tx,
    message: &Message,
    event: &Event,
    webhook: WebhookId,
    draft: Option<&Webhook>,
    master: &MasterKey,
) -> Result<()> {
    const DISPATCH: &str = "
        insert into dispatches (event_id, webhook_id, state, lane, due_at, attempts, created_at)
        values ($1, $2, 'queued', 'trial', $3, 0, $3)";
    if let Some(draft) = draft {
        webhooks::insert(tx, draft, master).await?;
    }
    if !event.kind.is_notice() {
        messages::insert_sample(tx, message).await?;
    }
    events::insert_alone(tx, event).await?;
    tx.run(DISPATCH, vec![event.id.into(), webhook.into(), event.relay_at.into()]).await?;
    if tx.is_shared() {
        listen::announce(tx, false, Some("")).await?;
    }
    Ok(())
}
