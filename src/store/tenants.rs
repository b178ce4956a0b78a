//! Tenants, mail agents, and domains.
//!
//! Owns those three tables. Every query that a caller can steer takes the tenant from the caller. The authentication key
//! among an agent's settings is sealed.

use std::collections::BTreeSet;

use super::db::{Result, Store, StoreError, Tx};
use super::value::{Row, json};
use super::{events, webhook_versions};
use crate::model::author::Authors;
use crate::model::id::{AgentId, TenantId};
use crate::model::seal::{MasterKey, is_sealed};
use crate::model::tenant::{AgentSettings, DEFAULT_AGENT, MailAgent, Tenant};

macro_rules! select_tenants {
    ($rest:literal) => {
        concat!("select id, slug, name, settings, created_at, updated_at, created_by, updated_by from tenants ", $rest)
    };
}

macro_rules! select_agents {
    ($rest:literal) => {
        concat!(
            "select id, tenant_id, key, name, settings, created_at, updated_at, created_by, updated_by from agents ",
            $rest
        )
    };
}

impl Store {
    /// Adds a tenant and its first mail agent.
    ///
    /// # Errors
    /// `Conflict` when the slug is taken; `Unavailable`.
    pub async fn add_tenant(&self, tenant: Tenant, agent: MailAgent) -> Result<()> {
        const TENANT: &str = "
            insert into tenants (id, slug, name, settings, created_at, updated_at, created_by, updated_by)
            values ($1, $2, $3, $4, $5, $6, $7, $8)";
        let master = self.0.master.clone();
        self.transaction(move |tx| {
            Box::pin(async move {
                let row = vec![
                    tenant.id.into(),
                    tenant.slug.into(),
                    tenant.name.into(),
                    json(&tenant.settings).into(),
                    tenant.created_at.into(),
                    tenant.updated_at.into(),
                    tenant.authors.created_by.into(),
                    tenant.authors.updated_by.into(),
                ];
                tx.run(TENANT, row).await?;
                insert_agent(tx, agent, &master).await
            })
        })
        .await
    }

    /// Changes a tenant's name and settings, and those of its mail agent `default`, if it has one, in one transaction:
    /// what others change at the same time stays. The tenant as it is now; `None` when there is none.
    ///
    /// # Errors
    /// What `change` refuses, and nothing is changed; `Unavailable`, `Corrupt`.
    pub async fn change_tenant<E: From<StoreError> + Send + 'static>(
        &self,
        id: TenantId,
        change: impl FnOnce(&mut Tenant, Option<&mut MailAgent>) -> std::result::Result<(), E> + Send + 'static,
    ) -> std::result::Result<Option<Tenant>, E> {
        const FOUND: &str = select_tenants!("where id = $1");
        const UPDATE: &str =
            "update tenants set name = $1, settings = $2, updated_at = $3, updated_by = $4 where id = $5";
        let (master, now) = (self.0.master.clone(), self.now());
        let changed = self.transaction(move |tx| {
            Box::pin(async move {
                let Some(row) = tx.held(FOUND, vec![id.into()]).await? else { return Ok(None) };
                let mut tenant = read_tenant(&row)?;
                let own = tx
                    .held(select_agents!("where tenant_id = $1 and name = $2"), vec![id.into(), DEFAULT_AGENT.into()]);
                let mut agent = own.await?.map(|row| read_agent(&row, &master)).transpose()?;
                if let Err(refused) = change(&mut tenant, agent.as_mut()) {
                    return Ok(Some(Err(refused)));
                }
                tenant.updated_at = now;
                if let Some(agent) = &mut agent {
                    agent.updated_at = Some(now);
                    update_agent(tx, agent, &master).await?;
                }
                let settings = json(&tenant.settings);
                let by = tenant.authors.updated_by.as_str();
                let row = vec![tenant.name.as_str().into(), settings.into(), now.into(), by.into(), id.into()];
                tx.run(UPDATE, row).await?;
                Ok(Some(Ok(tenant)))
            })
        });
        changed.await?.transpose()
    }

    /// Removes a tenant with its agents, domains, credentials, webhooks and suppressions. Its messages stay until
    /// retention takes them, and what is queued is still delivered. Whether it existed.
    ///
    /// # Errors
    /// `Unavailable`.
    pub async fn remove_tenant(&self, slug: &str) -> Result<bool> {
        Ok(self.run("delete from tenants where slug = $1", vec![slug.into()]).await? > 0)
    }

    /// Tenants after `after`, by slug, at most `limit`.
    ///
    /// # Errors
    /// `Unavailable`, `Corrupt`.
    pub async fn tenants(&self, after: &str, limit: u32) -> Result<Vec<Tenant>> {
        const SQL: &str = select_tenants!("where slug > $1 order by slug limit $2");
        self.rows(SQL, vec![after.into(), limit.into()]).await?.iter().map(read_tenant).collect()
    }

    /// The tenant with this slug.
    ///
    /// # Errors
    /// `Unavailable`, `Corrupt`.
    pub async fn tenant(&self, slug: &str) -> Result<Option<Tenant>> {
        let sql = select_tenants!("where slug = $1");
        self.row(sql, vec![slug.into()]).await?.as_ref().map(read_tenant).transpose()
    }

    /// The tenant with this id.
    ///
    /// # Errors
    /// `Unavailable`, `Corrupt`.
    pub async fn tenant_with_id(&self, id: TenantId) -> Result<Option<Tenant>> {
        let sql = select_tenants!("where id = $1");
        self.row(sql, vec![id.into()]).await?.as_ref().map(read_tenant).transpose()
    }

    /// Adds a mail agent.
    ///
    /// # Errors
    /// `Conflict` when its name or key is taken; `Unavailable`.
    pub async fn add_agent(&self, agent: MailAgent) -> Result<()> {
        let master = self.0.master.clone();
        self.transaction(move |tx| Box::pin(async move { insert_agent(tx, agent, &master).await })).await
    }

    /// Changes a mail agent's name and settings, as they stand then, in one transaction: what others change at the same
    /// time stays. The agent as it is now; `None` when the tenant has none of this id.
    ///
    /// # Errors
    /// What `change` refuses, and nothing is changed; `Conflict` when the name is taken; `Unavailable`, `Corrupt`.
    pub async fn change_agent<E: From<StoreError> + Send + 'static>(
        &self,
        tenant: TenantId,
        id: AgentId,
        change: impl FnOnce(&mut MailAgent) -> std::result::Result<(), E> + Send + 'static,
    ) -> std::result::Result<Option<MailAgent>, E> {
        let (master, now) = (self.0.master.clone(), self.now());
        let changed = self.transaction(move |tx| {
            Box::pin(async move {
                let found = tx.held(select_agents!("where id = $1 and tenant_id = $2"), vec![id.into(), tenant.into()]);
                let Some(row) = found.await? else { return Ok(None) };
                let mut agent = read_agent(&row, &master)?;
                if let Err(refused) = change(&mut agent) {
                    return Ok(Some(Err(refused)));
                }
                agent.updated_at = Some(now);
                update_agent(tx, &agent, &master).await?;
                Ok(Some(Ok(agent)))
            })
        });
        changed.await?.transpose()
    }

    /// Removes a mail agent with its domains, credentials, webhooks and suppressions, and the notices about it. Whether it
    /// existed.
    ///
    /// # Errors
    /// `Unavailable`.
    pub async fn remove_agent(&self, tenant: TenantId, name: &str) -> Result<bool> {
        let name = name.to_owned();
        self.transaction(move |tx| {
            Box::pin(async move {
                let sql = "delete from agents where tenant_id = $1 and name = $2 returning id";
                let Some(row) = tx.row(sql, vec![tenant.into(), name.into()]).await? else { return Ok(false) };
                events::forget_notices(tx, row.id("id")?).await?;
                Ok(true)
            })
        })
        .await
    }

    /// A tenant's mail agents after `after`, by name, at most `limit`.
    ///
    /// # Errors
    /// `Unavailable`, `Corrupt`.
    pub async fn agents(&self, tenant: TenantId, after: &str, limit: u32) -> Result<Vec<MailAgent>> {
        const SQL: &str = select_agents!("where tenant_id = $1 and name > $2 order by name limit $3");
        let rows = self.rows(SQL, vec![tenant.into(), after.into(), limit.into()]).await?;
        rows.iter().map(|row| read_agent(row, &self.0.master)).collect()
    }

    /// A tenant's mail agent with this name.
    ///
    /// # Errors
    /// `Unavailable`, `Corrupt`.
    pub async fn agent(&self, tenant: TenantId, name: &str) -> Result<Option<MailAgent>> {
        const SQL: &str = select_agents!("where tenant_id = $1 and name = $2");
        let row = self.row(SQL, vec![tenant.into(), name.into()]).await?;
        row.as_ref().map(|row| read_agent(row, &self.0.master)).transpose()
    }

    /// A tenant's mail agent with this key.
    ///
    /// # Errors
    /// `Unavailable`, `Corrupt`.
    pub async fn agent_with_key(&self, tenant: TenantId, key: &str) -> Result<Option<MailAgent>> {
        const SQL: &str = select_agents!("where tenant_id = $1 and key = $2");
        let row = self.row(SQL, vec![tenant.into(), key.into()]).await?;
        row.as_ref().map(|row| read_agent(row, &self.0.master)).transpose()
    }

    /// The oldest mail agent that may send from a domain and has a key that signs for it.
    ///
    /// # Errors
    /// `Unavailable`, `Corrupt`.
    pub async fn signing_agent(&self, domain: &str) -> Result<Option<MailAgent>> {
        const SQL: &str = "
            select id, tenant_id, key, agents.name, settings, agents.created_at, updated_at, created_by, updated_by
            from domains
            join agents on agents.id = agent_id
            where domains.name = $1 and exists (
                select 1 from signing_keys
                where signing_keys.tenant_id = agents.tenant_id and domain = $1 and state = 'signing')
            order by agents.created_at, id
            limit 1";
        let row = self.row(SQL, vec![domain.into()]).await?;
        row.as_ref().map(|row| read_agent(row, &self.0.master)).transpose()
    }

    /// Lets an agent send from a domain.
    ///
    /// # Errors
    /// `Conflict` when it may already; `Unavailable`.
    pub async fn add_domain(&self, agent: AgentId, name: &str) -> Result<()> {
        let sql = "insert into domains (agent_id, name, created_at) values ($1, $2, $3)";
        self.run(sql, vec![agent.into(), name.into(), self.now().into()]).await.map(drop)
    }

    /// Takes a domain from an agent. Whether it had it.
    ///
    /// # Errors
    /// `Unavailable`.
    pub async fn remove_domain(&self, agent: AgentId, name: &str) -> Result<bool> {
        let sql = "delete from domains where agent_id = $1 and name = $2";
        Ok(self.run(sql, vec![agent.into(), name.into()]).await? > 0)
    }

    /// The domains that an agent may send from, at most 1,000, by name.
    ///
    /// # Errors
    /// `Unavailable`, `Corrupt`.
    pub async fn domains(&self, agent: AgentId) -> Result<Vec<String>> {
        let sql = "select name from domains where agent_id = $1 order by name limit 1000";
        self.rows(sql, vec![agent.into()]).await?.iter().map(|row| row.text("name")).collect()
    }

    /// The slug and name under which people know an agent; `None` when it was removed.
    ///
    /// # Errors
    /// `Unavailable`, `Corrupt`.
    pub async fn names_of(&self, agent: AgentId) -> Result<Option<(String, String)>> {
        const SQL: &str = "
            select tenants.slug, agents.name
            from agents
            join tenants on tenants.id = agents.tenant_id
            where agents.id = $1";
        let row = self.row(SQL, vec![agent.into()]).await?;
        row.map(|row| Ok((row.text("slug")?, row.text("name")?))).transpose()
    }
}

async fn insert_agent(tx: &mut Tx, agent: MailAgent, master: &MasterKey) -> Result<()> {
    const SQL: &str = "
        insert into agents (id, tenant_id, key, name, settings, created_at, created_by)
        values ($1, $2, $3, $4, $5, $6, $7)";
    let row = vec![
        agent.id.into(),
        agent.tenant.into(),
        agent.key.into(),
        agent.name.into(),
        settings_text(&agent.settings, agent.id, master).into(),
        agent.created_at.into(),
        agent.authors.created_by.into(),
    ];
    tx.run(SQL, row).await.map(drop)
}

async fn update_agent(tx: &mut Tx, agent: &MailAgent, master: &MasterKey) -> Result<()> {
    let sql = "update agents set name = $1, settings = $2, updated_at = $3, updated_by = $4 where id = $5";
    if let Some(row) = tx.row("select settings from agents where id = $1", vec![agent.id.into()]).await? {
        let key = settings_from(&row.text("settings")?, agent.id, master)?.authentication_key;
        if !key.is_empty() && key != agent.settings.authentication_key {
            let now = tx.begun_at();
            webhook_versions::keep_key(tx, agent.id, master.seal(&place(agent.id), &key), now).await?;
        }
    }
    let settings = settings_text(&agent.settings, agent.id, master);
    let by = agent.authors.updated_by.as_str();
    let row = vec![agent.name.as_str().into(), settings.into(), agent.updated_at.into(), by.into(), agent.id.into()];
    tx.run(sql, row).await.map(drop)
}

/// Those of these mail agents that leave no address alone because of bounces.
pub(super) async fn unwilling(tx: &mut Tx, agents: BTreeSet<AgentId>) -> Result<BTreeSet<AgentId>> {
    let mut unwilling = BTreeSet::new();
    for agent in agents {
        let row = tx.row("select settings from agents where id = $1", vec![agent.into()]).await?;
        let settings: Option<AgentSettings> = row.map(|row| row.json("settings")).transpose()?;
        if settings.is_some_and(|settings| !settings.auto_suppress) {
            unwilling.insert(agent);
        }
    }
    Ok(unwilling)
}

/// Seals what was written before there was sealing. Run when the store is opened.
pub(super) async fn seal_all(tx: &mut Tx, master: &MasterKey) -> Result<()> {
    for row in tx.rows("select id, settings from agents order by id", vec![]).await? {
        let settings: AgentSettings = row.json("settings")?;
        if !is_sealed(&settings.authentication_key) {
            let id = AgentId::from_bytes(row.id("id")?);
            let settings = settings_text(&settings, id, master);
            tx.run("update agents set settings = $1 where id = $2", vec![settings.into(), id.into()]).await?;
        }
    }
    Ok(())
}

fn place(id: AgentId) -> String {
    format!("agents.settings.authentication_key/{id}")
}

fn settings_text(settings: &AgentSettings, id: AgentId, master: &MasterKey) -> String {
    let authentication_key = master.seal(&place(id), &settings.authentication_key);
    json(&AgentSettings { authentication_key, ..settings.clone() })
}

/// An agent's settings as they are stored.
pub(super) fn settings_from(text: &str, id: AgentId, master: &MasterKey) -> Result<AgentSettings> {
    let corrupt = |fault| StoreError::Corrupt(format!("settings of agent {id}: {fault}"));
    let mut settings: AgentSettings = serde_json::from_str(text).map_err(corrupt)?;
    settings.authentication_key = key_from(&settings.authentication_key, id, master)?;
    Ok(settings)
}

/// An agent's authentication key as it is stored.
pub(super) fn key_from(sealed: &str, id: AgentId, master: &MasterKey) -> Result<String> {
    let corrupt = |fault| StoreError::Corrupt(format!("authentication key of agent {id}: {fault}"));
    master.open(&place(id), sealed).map_err(corrupt)
}

fn read_tenant(row: &Row) -> Result<Tenant> {
    Ok(Tenant {
        id: TenantId::from_bytes(row.id("id")?),
        slug: row.text("slug")?,
        name: row.text("name")?,
        settings: row.json("settings")?,
        created_at: row.time("created_at")?,
        updated_at: row.time("updated_at")?,
        authors: read_authors(row)?,
    })
}

/// Who made what the row is of, and who changed it.
pub(super) fn read_authors(row: &Row) -> Result<Authors> {
    Ok(Authors { created_by: row.text("created_by")?, updated_by: row.text("updated_by")? })
}

pub(super) fn read_agent(row: &Row, master: &MasterKey) -> Result<MailAgent> {
    let id = AgentId::from_bytes(row.id("id")?);
    Ok(MailAgent {
        id,
        tenant: TenantId::from_bytes(row.id("tenant_id")?),
        key: row.text("key")?,
        name: row.text("name")?,
        settings: settings_from(&row.text("settings")?, id, master)?,
        created_at: row.time("created_at")?,
        updated_at: row.maybe_time("updated_at")?,
        authors: read_authors(row)?,
    })
}
