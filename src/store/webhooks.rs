//! Webhooks: add, list, change, delete, switch off, try out. Owns the `webhooks` table.
//!
//! Secrets and header values are sealed before they are written and opened when they are read. A draft is a webhook
//! that exists for its test alone: no list shows it and no event is queued for it.

use super::db::{Result, Store, StoreError, Tx};
use super::value::{Row, Value, json};
use super::{events, tenants, webhook_versions};
use crate::model::event::{Event, EventKind, EventSet};
use crate::model::id::{AgentId, TenantId, WebhookId};
use crate::model::notice::notice;
use crate::model::seal::{MasterKey, is_sealed};
use crate::model::secret::Secret;
use crate::model::time::Timestamp;
use crate::model::webhook::{Format, Hits, OldSecret, Switch, Webhook};
use crate::model::webhook_health::Health;

macro_rules! webhook_columns {
    () => {
        "webhooks.id, webhooks.tenant_id, webhooks.agent_id, url, description, format, events, hits, tags, switch,
            secret, old_secret, old_secret_until, old_secret_signs, form_field, headers, keeps_timestamp, options,
            client_key, webhooks.created_at, webhooks.updated_at, webhooks.created_by, webhooks.updated_by"
    };
}
pub(super) use webhook_columns;

macro_rules! select_webhooks {
    ($($rest:literal)*) => {
        concat!("select ", webhook_columns!(), " from webhooks ", $($rest),*)
    };
}

impl Store {
    /// Adds a webhook.
    ///
    /// # Errors
    /// `Conflict` when the id is taken; `Unavailable`.
    pub async fn add_webhook(&self, webhook: Webhook) -> Result<()> {
        let master = self.0.master.clone();
        self.transaction(move |tx| Box::pin(async move { insert(tx, &webhook, &master).await })).await
    }

    /// A webhook that is to be added or tried, with `fresh` for its secret unless it has one or will do without: nothing
    /// is posted unsigned.
    ///
    /// # Errors
    /// `Unavailable`, `Corrupt`.
    pub async fn with_some_secret(&self, webhook: Webhook, fresh: Secret) -> Result<Webhook> {
        let master = self.0.master.clone();
        self.transaction(move |tx| Box::pin(async move { with_some_secret(tx, webhook, fresh, &master).await })).await
    }

    /// A webhook as it signs what it tells of a mail agent.
    ///
    /// # Errors
    /// `Unavailable`, `Corrupt`.
    pub async fn signing_for(&self, webhook: Webhook, agent: AgentId) -> Result<Webhook> {
        if !webhook.takes_key_of_agent() {
            return Ok(webhook);
        }
        let row = self.row("select settings from agents where id = $1", vec![agent.into()]).await?;
        let Some(row) = row else { return Ok(webhook) };
        let settings = tenants::settings_from(&row.text("settings")?, agent, &self.0.master)?;
        Ok(webhook.signing_with(settings.authentication_key))
    }

    /// Changes a webhook, as it stands then, in one transaction: what others change at the same time stays. Its id,
    /// tenant and time of creation stay too. It counts as well again until it shows otherwise. Where nothing would sign
    /// any more what it posts, `fresh` becomes its secret. The webhook as it is now; `None` when the tenant has none of
    /// this id.
    ///
    /// # Errors
    /// What `change` refuses, and nothing is changed; `Unavailable`, `Corrupt`.
    pub async fn change_webhook<E: From<StoreError> + Send + 'static>(
        &self,
        tenant: TenantId,
        id: WebhookId,
        fresh: Secret,
        change: impl FnOnce(&mut Webhook) -> std::result::Result<(), E> + Send + 'static,
    ) -> std::result::Result<Option<Webhook>, E> {
        self.change(tenant, id, None, fresh, change).await
    }

    /// Puts `fresh` in the place of a webhook's secret, as [`Webhook::rotate`] does; who asked for such notices is told.
    ///
    /// # Errors
    /// `Unavailable`, `Corrupt`.
    pub async fn rotate_secret(
        &self,
        tenant: TenantId,
        id: WebhookId,
        fresh: Secret,
        until: Timestamp,
    ) -> Result<Option<Webhook>> {
        let next = fresh.clone();
        let rotate = move |webhook: &mut Webhook| {
            webhook.rotate(next, until);
            Ok(())
        };
        self.change(tenant, id, Some(EventKind::SecretRotated), fresh, rotate).await
    }

    async fn change<E: From<StoreError> + Send + 'static>(
        &self,
        tenant: TenantId,
        id: WebhookId,
        tells: Option<EventKind>,
        fresh: Secret,
        change: impl FnOnce(&mut Webhook) -> std::result::Result<(), E> + Send + 'static,
    ) -> std::result::Result<Option<Webhook>, E> {
        let (master, now) = (self.0.master.clone(), self.now());
        let changed = self.transaction(move |tx| {
            Box::pin(async move {
                // Settlements lock a webhook's health before the webhook, and so does this.
                tx.held("select webhook_id from webhook_health where webhook_id = $1", vec![id.into()]).await?;
                let found = select_webhooks!("where id = $1 and tenant_id = $2 and switch <> 'draft'");
                let Some(row) = tx.held(found, vec![id.into(), tenant.into()]).await? else { return Ok(None) };
                let before = read(&row, &master)?;
                let mut webhook = before.clone();
                if let Err(refused) = change(&mut webhook) {
                    return Ok(Some(Err(refused)));
                }
                let mut webhook = with_some_secret(tx, webhook, fresh, &master).await?;
                webhook.updated_at = now;
                if !webhook.posts_like(&before) {
                    webhook_versions::keep(tx, id, now).await?;
                }
                update(tx, &webhook, &master).await?;
                let told = tells.map(|kind| notice(&webhook, kind, &Health::default(), now));
                events::tell(tx, &told.iter().collect::<Vec<_>>()).await?;
                Ok(Some(Ok(webhook)))
            })
        });
        let changed = changed.await?;
        self.wakes().dispatches.ring();
        self.wakes().retries.ring();
        changed.transpose()
    }

    /// Deletes a webhook with everything owed to it. Whether it existed.
    ///
    /// # Errors
    /// `Unavailable`.
    pub async fn remove_webhook(&self, tenant: TenantId, id: WebhookId) -> Result<bool> {
        self.transaction(move |tx| {
            Box::pin(async move {
                let webhook = "select 1 as found from webhooks where id = $1 and tenant_id = $2";
                let exists = tx.row(webhook, vec![id.into(), tenant.into()]).await?.is_some();
                if exists {
                    remove(tx, id).await?;
                }
                Ok(exists)
            })
        })
        .await
    }

    /// A tenant's webhook, a draft too.
    ///
    /// # Errors
    /// `Unavailable`, `Corrupt`.
    pub async fn webhook(&self, tenant: TenantId, id: WebhookId) -> Result<Option<Webhook>> {
        let sql = select_webhooks!("where id = $1 and tenant_id = $2");
        let row = self.row(sql, vec![id.into(), tenant.into()]).await?;
        row.as_ref().map(|row| read(row, &self.0.master)).transpose()
    }

    /// A tenant's webhooks after `after`, by id (which is by age), at most `limit`.
    ///
    /// # Errors
    /// `Unavailable`, `Corrupt`.
    pub async fn webhooks(&self, tenant: TenantId, after: Option<WebhookId>, limit: u32) -> Result<Vec<Webhook>> {
        let sql = select_webhooks!("where tenant_id = $1 and id > $2 and switch <> 'draft' order by id limit $3");
        let after = after.map_or(Vec::new(), |id| id.as_bytes().to_vec());
        let rows = self.rows(sql, vec![tenant.into(), after.into(), limit.into()]).await?;
        rows.iter().map(|row| read(row, &self.0.master)).collect()
    }
}

/// The one rule of who gets a secret: who has none, and nobody's key will sign all that is told. A tenant's webhook tells
/// of all its mail agents; notices about such a one are of no agent.
async fn with_some_secret(tx: &mut Tx, webhook: Webhook, fresh: Secret, master: &MasterKey) -> Result<Webhook> {
    const AGENTS: &str = "select id, settings from agents where tenant_id = $1";
    let tells_notices = webhook.agent.is_none() && webhook.events.kinds().any(EventKind::is_notice);
    let mut is_signed = !webhook.secret.reveal().is_empty();
    if webhook.takes_key_of_agent() && !tells_notices {
        let mut keys = Vec::new();
        for row in tx.rows(AGENTS, vec![webhook.tenant.into()]).await? {
            let id = AgentId::from_bytes(row.id("id")?);
            if webhook.agent.is_none_or(|only| only == id) {
                keys.push(tenants::settings_from(&row.text("settings")?, id, master)?.authentication_key);
            }
        }
        is_signed = !keys.is_empty() && keys.iter().all(|key| !key.is_empty());
    }
    Ok(if is_signed { webhook } else { Webhook { secret: fresh, ..webhook } })
}

/// Where in [`values`] it stands when it was made and by whom.
const CREATED: std::ops::Range<usize> = 21..23;

pub(super) async fn insert(tx: &mut Tx, webhook: &Webhook, master: &MasterKey) -> Result<()> {
    const HEAD: &str = "
        insert into webhooks (id, tenant_id, agent_id, url, description, format, events, hits, relay, tags, switch,
            secret, old_secret, old_secret_until, old_secret_signs, form_field, headers, keeps_timestamp, options,
            goes_alone, client_key, created_at, created_by, updated_at, updated_by)
        values";
    tx.many(HEAD, "", vec![values(webhook, master)]).await.map(drop)
}

async fn update(tx: &mut Tx, webhook: &Webhook, master: &MasterKey) -> Result<()> {
    const SQL: &str = "
        update webhooks
        set agent_id = $3, url = $4, description = $5, format = $6, events = $7, hits = $8, relay = $9,
            tags = $10, switch = $11, secret = $12, old_secret = $13, old_secret_until = $14,
            old_secret_signs = $15, form_field = $16, headers = $17, keeps_timestamp = $18, options = $19,
            goes_alone = $20, client_key = $21, updated_at = $22, updated_by = $23
        where id = $1 and tenant_id = $2";
    let mut row = values(webhook, master);
    row.drain(CREATED);
    tx.run(SQL, row).await?;
    tx.run("delete from webhook_health where webhook_id = $1", vec![webhook.id.into()]).await.map(drop)
}

/// Deletes a webhook with everything owed to it, the log of it, and the notices about it.
pub(super) async fn remove(tx: &mut Tx, id: WebhookId) -> Result<()> {
    for sql in [
        "delete from dispatches where webhook_id = $1",
        "delete from dispatch_attempts where webhook_id = $1",
        "delete from webhooks where id = $1",
    ] {
        tx.run(sql, vec![id.into()]).await?;
    }
    events::forget_notices(tx, *id.as_bytes()).await
}

pub(super) async fn find(tx: &mut Tx, id: WebhookId, master: &MasterKey) -> Result<Option<Webhook>> {
    let row = tx.row(select_webhooks!("where id = $1"), vec![id.into()]).await?;
    row.as_ref().map(|row| read(row, master)).transpose()
}

/// Switches a webhook off on our side, unless it is off already, and gives the notice of it. Its owner's switch is left
/// alone.
pub(super) async fn switch_off(
    tx: &mut Tx,
    id: WebhookId,
    health: &Health,
    now: Timestamp,
    master: &MasterKey,
) -> Result<Option<Event>> {
    let sql = "update webhooks set switch = 'off_by_us', updated_at = $1 where id = $2 and switch = 'on'";
    if tx.run(sql, vec![now.into(), id.into()]).await? == 0 {
        return Ok(None);
    }
    let webhook = find(tx, id, master).await?;
    Ok(webhook.map(|webhook| notice(&webhook, EventKind::WebhookDisabled, health, now)))
}

/// Seals what was written before there was sealing. Run when the store is opened.
pub(super) async fn seal_all(tx: &mut Tx, master: &MasterKey) -> Result<()> {
    const SQL: &str = "update webhooks set secret = $1, headers = $2 where id = $3";
    for row in tx.rows("select id, secret, headers from webhooks order by id", vec![]).await? {
        let (id, secret, headers) = (WebhookId::from_bytes(row.id("id")?), row.text("secret")?, row.text("headers")?);
        if is_sealed(&secret) && is_sealed(&headers) {
            continue;
        }
        let sealed = |column, text: &str| match is_sealed(text) {
            true => text.to_owned(),
            false => master.seal(&place(column, id), text),
        };
        tx.run(SQL, vec![sealed("secret", &secret).into(), sealed("headers", &headers).into(), id.into()]).await?;
    }
    Ok(())
}

fn place(column: &str, id: WebhookId) -> String {
    format!("webhooks.{column}/{id}")
}

fn values(webhook: &Webhook, master: &MasterKey) -> Vec<Value> {
    let seal = |column, text: &str| master.seal(&place(column, webhook.id), text).into();
    let old = webhook.old_secret.as_ref();
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
        if webhook.tags.is_empty() { "".into() } else { json(&webhook.tags).into() },
        webhook.switch.as_str().into(),
        seal("secret", webhook.secret.reveal()),
        seal("old_secret", old.map_or("", |old| old.secret.reveal())),
        old.map(|old| old.until).into(),
        old.is_some_and(|old| old.signs_alone).into(),
        webhook.form_field.as_str().into(),
        seal("headers", &json(&webhook.headers)),
        webhook.keeps_timestamp.into(),
        json(&webhook.options).into(),
        (!webhook.options.batch && !webhook.options.in_order).into(),
        seal("client_key", webhook.client_key.reveal()),
        webhook.created_at.into(),
        webhook.authors.created_by.as_str().into(),
        webhook.updated_at.into(),
        webhook.authors.updated_by.as_str().into(),
    ]
}

/// A webhook from a row that has all its columns.
pub(super) fn read(row: &Row, master: &MasterKey) -> Result<Webhook> {
    let id = WebhookId::from_bytes(row.id("id")?);
    let agent = row.maybe_bytes("agent_id")?.and_then(|bytes| <[u8; 16]>::try_from(bytes).ok());
    let tenant = TenantId::from_bytes(row.id("tenant_id")?);
    let made = as_it_was(Webhook::new(id, tenant, "", row.time("created_at")?), row, master)?;
    Ok(Webhook {
        agent: agent.map(AgentId::from_bytes),
        description: row.text("description")?,
        events: EventSet(row.small("events")?),
        hits: row.word("hits", Hits::from_word)?,
        tags: row.word("tags", tags_from)?,
        switch: row.word("switch", Switch::from_word)?,
        client_key: Secret::new(opened("client_key", id, row, master)?),
        updated_at: row.time("updated_at")?,
        authors: tenants::read_authors(row)?,
        ..made
    })
}

fn opened(column: &str, id: WebhookId, row: &Row, master: &MasterKey) -> Result<String> {
    let opened = master.open(&place(column, id), &row.text(column)?);
    opened.map_err(|fault| StoreError::Corrupt(format!("{column} of webhook {id}: {fault}")))
}

/// A webhook with what its requests are made of from a row that has these columns.
pub(super) fn as_it_was(webhook: Webhook, row: &Row, master: &MasterKey) -> Result<Webhook> {
    let id = webhook.id;
    let opened = |column| opened(column, id, row, master);
    let old_secret = row.maybe_time("old_secret_until")?.map(|until| {
        Ok::<_, StoreError>(OldSecret {
            secret: Secret::new(opened("old_secret")?),
            until,
            signs_alone: row.flag("old_secret_signs")?,
        })
    });
    Ok(Webhook {
        url: row.text("url")?,
        format: row.word("format", Format::from_word)?,
        secret: Secret::new(opened("secret")?),
        old_secret: old_secret.transpose()?,
        form_field: row.text("form_field")?,
        headers: serde_json::from_str(&opened("headers")?)
            .map_err(|fault| StoreError::Corrupt(format!("headers of webhook {id}: {fault}")))?,
        keeps_timestamp: row.flag("keeps_timestamp")?,
        options: row.json("options")?,
        ..webhook
    })
}

pub(super) fn tags_from(text: &str) -> Option<Vec<String>> {
    if text.is_empty() { Some(Vec::new()) } else { serde_json::from_str(text).ok() }
}
