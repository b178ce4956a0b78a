//! Credentials, and whom they speak for.
//!
//! Owns their table.

use super::db::{Result, Store};
use super::tenants::read_agent;
use super::value::{Row, Value, json};
use crate::model::author::Authors;
use crate::model::id::{AgentId, CredentialId, TenantId};
use crate::model::tenant::{Credential, CredentialKind, Grant, Tenant};

macro_rules! select_grant {
    ($rest:literal) => {
        concat!(
            "select credentials.id as credential_id, kind, digest, networks,
                credentials.settings as credential_settings,
                tenants.id as tenant_id, tenants.slug, tenants.name as tenant_name,
                tenants.settings as tenant_settings, tenants.created_at as tenant_created_at,
                tenants.updated_at as tenant_updated_at, tenants.created_by as tenant_created_by,
                tenants.updated_by as tenant_updated_by,
                agents.id, agents.key, agents.name, agents.settings, agents.created_at, agents.updated_at,
                agents.created_by, agents.updated_by
            from credentials
            join tenants on tenants.id = credentials.tenant_id
            join agents on agents.id = credentials.agent_id
            ",
            $rest
        )
    };
}

impl Store {
    /// Adds a credential.
    ///
    /// # Errors
    /// `Conflict`, `Unavailable`.
    pub async fn add_credential(&self, credential: Credential) -> Result<()> {
        const SQL: &str = "
            insert into credentials (id, tenant_id, agent_id, kind, name, digest, networks, settings, created_at,
                created_by)
            values ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10)";
        let row = vec![
            credential.id.into(),
            credential.tenant.into(),
            credential.agent.into(),
            credential.kind.as_str().into(),
            credential.name.into(),
            credential.digest.as_slice().into(),
            json(&credential.networks).into(),
            json(&credential.settings).into(),
            credential.created_at.into(),
            credential.created_by.into(),
        ];
        self.run(SQL, row).await.map(drop)
    }

    /// Revokes a credential. Whether it existed.
    ///
    /// # Errors
    /// `Unavailable`.
    pub async fn remove_credential(&self, tenant: TenantId, id: CredentialId) -> Result<bool> {
        let sql = "delete from credentials where tenant_id = $1 and id = $2";
        Ok(self.run(sql, vec![tenant.into(), id.into()]).await? > 0)
    }

    /// Whether a mail agent holds an operator's key.
    ///
    /// # Errors
    /// `Unavailable`.
    pub async fn has_operator_key(&self, agent: AgentId) -> Result<bool> {
        let sql = "select id from credentials where agent_id = $1 and kind = $2 order by id limit 1";
        let kind = CredentialKind::OperatorKey.as_str();
        Ok(self.row(sql, vec![agent.into(), kind.into()]).await?.is_some())
    }

    /// A tenant's credentials, at most 1,000, oldest first.
    ///
    /// # Errors
    /// `Unavailable`, `Corrupt`.
    pub async fn credentials(&self, tenant: TenantId) -> Result<Vec<Credential>> {
        const SQL: &str = "
            select id, tenant_id, agent_id, kind, name, digest, networks, settings, created_at, created_by
            from credentials
            where tenant_id = $1
            order by id
            limit 1000";
        self.rows(SQL, vec![tenant.into()]).await?.iter().map(read_credential).collect()
    }

    /// Whom the secret with this SHA-256 speaks for; `None` when nobody.
    ///
    /// # Errors
    /// `Unavailable`, `Corrupt`.
    pub async fn grant(&self, digest: &[u8; 32]) -> Result<Option<Grant>> {
        const SQL: &str = select_grant!("where digest = $1");
        self.granted(SQL, digest.as_slice().into()).await
    }

    /// Whom a credential speaks for; `None` when it has been revoked.
    ///
    /// # Errors
    /// `Unavailable`, `Corrupt`.
    pub async fn grant_of(&self, credential: CredentialId) -> Result<Option<Grant>> {
        const SQL: &str = select_grant!("where credentials.id = $1");
        self.granted(SQL, credential.into()).await
    }

    async fn granted(&self, sql: &'static str, of: Value) -> Result<Option<Grant>> {
        let Some(row) = self.row(sql, vec![of]).await? else { return Ok(None) };
        let agent = read_agent(&row, &self.0.master)?;
        let domains = self.domains(agent.id).await?;
        Ok(Some(Grant {
            tenant: Tenant {
                id: agent.tenant,
                slug: row.text("slug")?,
                name: row.text("tenant_name")?,
                settings: row.json("tenant_settings")?,
                created_at: row.time("tenant_created_at")?,
                updated_at: row.time("tenant_updated_at")?,
                authors: Authors {
                    created_by: row.text("tenant_created_by")?,
                    updated_by: row.text("tenant_updated_by")?,
                },
            },
            agent,
            credential: CredentialId::from_bytes(row.id("credential_id")?),
            digest: row.array("digest")?,
            kind: row.word("kind", kind_from)?,
            networks: row.json("networks")?,
            settings: row.json("credential_settings")?,
            person: None,
            domains,
        }))
    }
}

fn kind_from(word: &str) -> Option<CredentialKind> {
    CredentialKind::ALL.into_iter().find(|kind| kind.as_str() == word)
}

fn read_credential(row: &Row) -> Result<Credential> {
    Ok(Credential {
        id: CredentialId::from_bytes(row.id("id")?),
        tenant: TenantId::from_bytes(row.id("tenant_id")?),
        agent: AgentId::from_bytes(row.id("agent_id")?),
        kind: row.word("kind", kind_from)?,
        name: row.text("name")?,
        digest: row.array("digest")?,
        networks: row.json("networks")?,
        settings: row.json("settings")?,
        created_at: row.time("created_at")?,
        created_by: row.text("created_by")?,
    })
}
