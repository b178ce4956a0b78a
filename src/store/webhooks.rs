//! Webhooks: add, list, change, delete, switch off. Owns the `webhooks` table.

use super::db::{Result, Store, Tx};
use super::value::{Row, Value, json};
use crate::model::event::EventSet;
use crate::model::id::{AgentId, TenantId, WebhookId};
use crate::model::secret::Secret;
use crate::model::time::Timestamp;
use crate::model::webhook::{Format, Hits, Switch, Webhook};

macro_rules! select_webhooks {
    ($($rest:literal)*) => {
        concat!(
            "select id, tenant_id, agent_id, url, description, format, events, hits, switch, secret, form_field,
                headers, keeps_timestamp, created_at, updated_at
            from webhooks ",
            $($rest),*
        )
    };
}

impl Store {
    /// Adds a webhook.
    ///
    /// # Errors
    /// `Conflict` when the id is taken; `Unavailable`.
    pub async fn add_webhook(&self, webhook: Webhook) -> Result<()> {
        const HEAD: &str = "
            insert into webhooks (id, tenant_id, agent_id, url, description, format, events, hits, relay, switch,
                secret, form_field, headers, keeps_timestamp, created_at, updated_at)
            values";
        let row = values(&webhook);
        self.transaction(move |tx| Box::pin(async move { tx.many(HEAD, "", vec![row]).await.map(drop) })).await
    }

    /// Replaces what may change of a webhook: everything but its id, tenant and time of creation. Whether it exists.
    ///
    /// # Errors
    /// `Unavailable`.
    pub async fn change_webhook(&self, webhook: &Webhook) -> Result<bool> {
        const SQL: &str = "
            update webhooks
            set agent_id = $3, url = $4, description = $5, format = $6, events = $7, hits = $8, relay = $9,
                switch = $10, secret = $11, form_field = $12, headers = $13, keeps_timestamp = $14, updated_at = $15
            where id = $1 and tenant_id = $2";
        let mut row = values(webhook);
        row.remove(14);
        let changed = self.run(SQL, row).await? > 0;
        self.wakes().dispatches.ring();
        self.wakes().retries.ring();
        Ok(changed)
    }

    /// Deletes a webhook with everything owed to it. Whether it existed.
    ///
    /// # Errors
    /// `Unavailable`.
    pub async fn remove_webhook(&self, tenant: TenantId, id: WebhookId) -> Result<bool> {
        self.transaction(move |tx| {
            Box::pin(async move {
                let webhook = "delete from webhooks where id = $1 and tenant_id = $2";
                let existed = tx.run(webhook, vec![id.into(), tenant.into()]).await? > 0;
                if existed {
                    tx.run("delete from dispatches where webhook_id = $1", vec![id.into()]).await?;
                }
                Ok(existed)
            })
        })
        .await
    }

    /// A tenant's webhook.
    ///
    /// # Errors
    /// `Unavailable`, `Corrupt`.
    pub async fn webhook(&self, tenant: TenantId, id: WebhookId) -> Result<Option<Webhook>> {
        let sql = select_webhooks!("where id = $1 and tenant_id = $2");
        self.row(sql, vec![id.into(), tenant.into()]).await?.as_ref().map(read).transpose()
    }

    /// A tenant's webhooks after `after`, by id (which is by age), at most `limit`.
    ///
    /// # Errors
    /// `Unavailable`, `Corrupt`.
    pub async fn webhooks(&self, tenant: TenantId, after: Option<WebhookId>, limit: u32) -> Result<Vec<Webhook>> {
        let sql = select_webhooks!("where tenant_id = $1 and id > $2 order by id limit $3");
        let after = after.map_or(Vec::new(), |id| id.as_bytes().to_vec());
        self.rows(sql, vec![tenant.into(), after.into(), limit.into()]).await?.iter().map(read).collect()
    }
}

pub(super) async fn find(tx: &mut Tx, id: WebhookId) -> Result<Option<Webhook>> {
    tx.row(select_webhooks!("where id = $1"), vec![id.into()]).await?.as_ref().map(read).transpose()
}

/// Switches a webhook off on our side; its owner's switch is left alone.
pub(super) async fn switch_off(tx: &mut Tx, id: WebhookId, now: Timestamp) -> Result<()> {
    let sql = "update webhooks set switch = 'off_by_us', updated_at = $1 where id = $2 and switch = 'on'";
    tx.run(sql, vec![now.into(), id.into()]).await.map(drop)
}

fn values(webhook: &Webhook) -> Vec<Value> {
    vec![
        webhook.id.into(),
        webhook.tenant.into(),
        webhook.agent.into(),
        webhook.url.as_str().into(),
        webhook.description.as_str().into(),
        webhook.format.as_str().into(),
        webhook.events.0.into(),
        webhook.hits.as_str().into(),
        webhook.hits.relay().into(),
        webhook.switch.as_str().into(),
        webhook.secret.reveal().into(),
        webhook.form_field.as_str().into(),
        json(&webhook.headers).into(),
        webhook.keeps_timestamp.into(),
        webhook.created_at.into(),
        webhook.updated_at.into(),
    ]
}

fn read(row: &Row) -> Result<Webhook> {
    let agent = row.maybe_bytes("agent_id")?.and_then(|bytes| <[u8; 16]>::try_from(bytes).ok());
    Ok(Webhook {
        id: WebhookId::from_bytes(row.id("id")?),
        tenant: TenantId::from_bytes(row.id("tenant_id")?),
        agent: agent.map(AgentId::from_bytes),
        url: row.text("url")?,
        description: row.text("description")?,
        format: row.word("format", Format::from_word)?,
        events: EventSet(row.small("events")?),
        hits: row.word("hits", Hits::from_word)?,
        switch: row.word("switch", Switch::from_word)?,
        secret: Secret::new(row.text("secret")?),
        form_field: row.text("form_field")?,
        headers: row.json("headers")?,
        keeps_timestamp: row.flag("keeps_timestamp")?,
        created_at: row.time("created_at")?,
        updated_at: row.time("updated_at")?,
    })
}
