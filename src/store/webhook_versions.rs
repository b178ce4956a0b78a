//! What webhooks were before they were changed, and the keys that mail agents had, so that an attempt can be shown as it
//! was. Owns the `webhook_versions` and `agent_keys` tables.

use super::db::{Result, Store, Tx};
use super::{tenants, webhooks};
use crate::model::id::{AgentId, WebhookId};
use crate::model::time::Timestamp;
use crate::model::webhook::Webhook;
use crate::model::webhook_attempt::Version;

/// Versions and keys that are looked at.
const VERSIONS_MAX: u32 = 200;

impl Store {
    /// A webhook as it was after `since`, oldest first, and as it is, last; each as it signed what it told of a mail agent,
    /// with each key that that had.
    ///
    /// # Errors
    /// `Unavailable`, `Corrupt`.
    pub async fn webhook_versions(&self, webhook: &Webhook, agent: AgentId, since: Timestamp) -> Result<Vec<Version>> {
        const VERSIONS: &str = "
            select replaced_at, url, format, secret, old_secret, old_secret_until, old_secret_signs, form_field,
                headers, keeps_timestamp, options
            from webhook_versions
            where webhook_id = $1 and replaced_at > $2
            order by replaced_at
            limit $3";
        const KEYS: &str = "
            select authentication_key
            from agent_keys
            where agent_id = $1 and replaced_at > $2
            order by replaced_at
            limit $3";
        let mut versions = Vec::new();
        for row in self.rows(VERSIONS, vec![webhook.id.into(), since.into(), VERSIONS_MAX.into()]).await? {
            let webhook = webhooks::as_it_was(webhook.clone(), &row, &self.0.master)?;
            versions.push(Version { webhook, until: Some(row.time("replaced_at")?) });
        }
        versions.push(Version { webhook: webhook.clone(), until: None });
        if !versions.iter().any(|version| version.webhook.takes_key_of_agent()) {
            return Ok(versions);
        }
        let mut keys = Vec::new();
        for row in self.rows(KEYS, vec![agent.into(), since.into(), VERSIONS_MAX.into()]).await? {
            keys.push(tenants::key_from(&row.text("authentication_key")?, agent, &self.0.master)?);
        }
        if let Some(row) = self.row("select settings from agents where id = $1", vec![agent.into()]).await? {
            keys.push(tenants::settings_from(&row.text("settings")?, agent, &self.0.master)?.authentication_key);
        }
        let signing = |version: Version| match version.webhook.takes_key_of_agent() && !keys.is_empty() {
            true => keys.iter().map(|key| signing_with(&version, key)).collect(),
            false => vec![version],
        };
        Ok(versions.into_iter().flat_map(signing).collect())
    }
}

fn signing_with(version: &Version, key: &str) -> Version {
    Version { webhook: version.webhook.clone().signing_with(key.to_owned()), until: version.until }
}

/// Keeps what a webhook is, before it changes.
pub(super) async fn keep(tx: &mut Tx, id: WebhookId, now: Timestamp) -> Result<()> {
    const SQL: &str = "
        insert into webhook_versions (webhook_id, replaced_at, url, format, secret, old_secret, old_secret_until,
            old_secret_signs, form_field, headers, keeps_timestamp, options)
        select id, $2, url, format, secret, old_secret, old_secret_until, old_secret_signs, form_field, headers,
            keeps_timestamp, options
        from webhooks
        where id = $1
        on conflict do nothing";
    tx.run(SQL, vec![id.into(), now.into()]).await.map(drop)
}

/// Keeps a mail agent's authentication key, sealed as it is, before it changes.
pub(super) async fn keep_key(tx: &mut Tx, agent: AgentId, sealed: String, now: Timestamp) -> Result<()> {
    const SQL: &str = "
        insert into agent_keys (agent_id, replaced_at, authentication_key)
        values ($1, $2, $3)
        on conflict do nothing";
    tx.run(SQL, vec![agent.into(), now.into(), sealed.into()]).await.map(drop)
}

/// Forgets what no attempt shows any more.
pub(super) const OLD: [&str; 2] =
    ["delete from webhook_versions where replaced_at < $1", "delete from agent_keys where replaced_at < $1"];
