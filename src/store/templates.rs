//! Templates and their versions: add, change, find, delete. Owns the `templates` and `template_versions` tables.
//!
//! A name is unique within a mail agent. A change adds a version; the last [`VERSIONS_MAX`] are kept.

use super::db::{Result, Store, Tx};
use super::tenants::read_authors;
use super::value::Row;
use crate::model::author::Authors;
use crate::model::id::{AgentId, TemplateId, TenantId};
use crate::model::template::{Template, Texts};
use crate::model::time::Timestamp;

/// Versions of one template that are kept.
pub const VERSIONS_MAX: u32 = 100;
/// Templates of one mail agent.
pub const TEMPLATES_MAX: u32 = 2_000;

/// A template as lists show it, without its bodies.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TemplateView {
    /// Its id.
    pub id: TemplateId,
    /// Whose, within the tenant.
    pub agent: AgentId,
    /// What submissions call it.
    pub name: String,
    /// What people call it.
    pub title: String,
    /// Its newest version.
    pub version: u32,
    /// What the subject of that says.
    pub subject: String,
    /// When its first version was made.
    pub created_at: Timestamp,
    /// When the newest was made.
    pub updated_at: Timestamp,
    /// Who made the first version, and who the newest.
    pub authors: Authors,
}

macro_rules! select_template {
    ($version:literal, $($rest:literal)*) => {
        concat!(
            "select templates.id, tenant_id, agent_id, name, title, template_versions.version, subject, html, plain,
                templates.created_at, template_versions.created_at as updated_at, templates.created_by,
                template_versions.created_by as updated_by
            from templates
            join template_versions on template_versions.template_id = templates.id
                and template_versions.version = ", $version, " ",
            $($rest),*
        )
    };
}

impl Store {
    /// Adds a template in its first version; whether there was room for it.
    ///
    /// # Errors
    /// `Conflict` when the agent has one of that name; `Unavailable`.
    pub async fn add_template(&self, template: Template) -> Result<bool> {
        const SQL: &str = "
            insert into templates (id, tenant_id, agent_id, name, title, version, created_at, updated_at, created_by)
            select $1, $2, $3, $4, $5, $6, $7, $8, $9
            where (select count(*) from templates where agent_id = $3) < $10";
        self.transaction(move |tx| {
            Box::pin(async move {
                let row = vec![
                    template.id.into(),
                    template.tenant.into(),
                    template.agent.into(),
                    template.name.as_str().into(),
                    template.title.as_str().into(),
                    template.version.into(),
                    template.created_at.into(),
                    template.updated_at.into(),
                    template.authors.created_by.as_str().into(),
                    TEMPLATES_MAX.into(),
                ];
                let has_room = tx.run(SQL, row).await? > 0;
                if has_room {
                    insert_version(tx, template.version, &template).await?;
                }
                Ok(has_room)
            })
        })
        .await
    }

    /// Replaces a template's name, title and texts by a new version, whose number is the answer; `None` when the tenant
    /// has no such template. The given version does not matter.
    ///
    /// # Errors
    /// `Conflict` when another of the agent's has that name; `Unavailable`.
    pub async fn change_template(&self, template: Template) -> Result<Option<u32>> {
        const SQL: &str = "
            update templates
            set name = $3, title = $4, version = version + 1, updated_at = $5
            where id = $1 and tenant_id = $2
            returning version";
        const OLD: &str = "delete from template_versions where template_id = $1 and version <= $2";
        self.transaction(move |tx| {
            Box::pin(async move {
                let row = vec![
                    template.id.into(),
                    template.tenant.into(),
                    template.name.as_str().into(),
                    template.title.as_str().into(),
                    template.updated_at.into(),
                ];
                let Some(changed) = tx.row(SQL, row).await? else { return Ok(None) };
                let version: u32 = changed.small("version")?;
                insert_version(tx, version, &template).await?;
                let old = version.saturating_sub(VERSIONS_MAX);
                tx.run(OLD, vec![template.id.into(), old.into()]).await?;
                Ok(Some(version))
            })
        })
        .await
    }

    /// Deletes a template with all its versions. Whether it existed.
    ///
    /// # Errors
    /// `Unavailable`.
    pub async fn remove_template(&self, tenant: TenantId, id: TemplateId) -> Result<bool> {
        let sql = "delete from templates where id = $1 and tenant_id = $2";
        Ok(self.run(sql, vec![id.into(), tenant.into()]).await? > 0)
    }

    /// The newest version of a tenant's template.
    ///
    /// # Errors
    /// `Unavailable`, `Corrupt`.
    pub async fn template(&self, tenant: TenantId, id: TemplateId) -> Result<Option<Template>> {
        const SQL: &str = select_template!("templates.version", "where templates.id = $1 and tenant_id = $2");
        self.row(SQL, vec![id.into(), tenant.into()]).await?.as_ref().map(read).transpose()
    }

    /// One version of a tenant's template.
    ///
    /// # Errors
    /// `Unavailable`, `Corrupt`.
    pub async fn template_version(&self, tenant: TenantId, id: TemplateId, version: u32) -> Result<Option<Template>> {
        const SQL: &str = select_template!("$3", "where templates.id = $1 and tenant_id = $2");
        self.row(SQL, vec![id.into(), tenant.into(), version.into()]).await?.as_ref().map(read).transpose()
    }

    /// The newest version of the template that a mail agent calls so.
    ///
    /// # Errors
    /// `Unavailable`, `Corrupt`.
    pub async fn template_named(&self, agent: AgentId, name: &str) -> Result<Option<Template>> {
        const SQL: &str = select_template!("templates.version", "where agent_id = $1 and name = $2");
        self.row(SQL, vec![agent.into(), name.into()]).await?.as_ref().map(read).transpose()
    }

    /// A mail agent's templates after `after`, by name, at most `limit`.
    ///
    /// # Errors
    /// `Unavailable`, `Corrupt`.
    pub async fn templates(&self, agent: AgentId, after: &str, limit: u32) -> Result<Vec<TemplateView>> {
        const SQL: &str = "
            select id, agent_id, name, title, templates.version, subject, templates.created_at, updated_at,
                templates.created_by, template_versions.created_by as updated_by
            from templates
            join template_versions on template_id = id and template_versions.version = templates.version
            where agent_id = $1 and name > $2
            order by name
            limit $3";
        let rows = self.rows(SQL, vec![agent.into(), after.into(), limit.into()]).await?;
        rows.iter().map(read_view).collect()
    }

    /// The versions of a template that are kept, newest first, each with the time when it was made and by whom.
    ///
    /// # Errors
    /// `Unavailable`, `Corrupt`.
    pub async fn template_versions(&self, tenant: TenantId, id: TemplateId) -> Result<Vec<(u32, Timestamp, String)>> {
        const SQL: &str = "
            select template_versions.version, template_versions.created_at, template_versions.created_by
            from template_versions
            join templates on templates.id = template_id
            where template_id = $1 and tenant_id = $2
            order by template_versions.version desc
            limit $3";
        let rows = self.rows(SQL, vec![id.into(), tenant.into(), VERSIONS_MAX.into()]).await?;
        rows.iter().map(|row| Ok((row.small("version")?, row.time("created_at")?, row.text("created_by")?))).collect()
    }
}

async fn insert_version(tx: &mut Tx, version: u32, template: &Template) -> Result<()> {
    const SQL: &str = "
        insert into template_versions (template_id, version, subject, html, plain, created_at, created_by)
        values ($1, $2, $3, $4, $5, $6, $7)";
    let Template { id, texts: Texts { subject, html, text }, updated_at, authors, .. } = template;
    let row = vec![
        (*id).into(),
        version.into(),
        subject.as_str().into(),
        html.clone().into(),
        text.clone().into(),
        (*updated_at).into(),
        authors.updated_by.as_str().into(),
    ];
    tx.run(SQL, row).await.map(drop)
}

fn read(row: &Row) -> Result<Template> {
    Ok(Template {
        id: TemplateId::from_bytes(row.id("id")?),
        tenant: TenantId::from_bytes(row.id("tenant_id")?),
        agent: AgentId::from_bytes(row.id("agent_id")?),
        name: row.text("name")?,
        title: row.text("title")?,
        version: row.small("version")?,
        texts: Texts { subject: row.text("subject")?, html: row.maybe_text("html")?, text: row.maybe_text("plain")? },
        created_at: row.time("created_at")?,
        updated_at: row.time("updated_at")?,
        authors: read_authors(row)?,
    })
}

fn read_view(row: &Row) -> Result<TemplateView> {
    Ok(TemplateView {
        id: TemplateId::from_bytes(row.id("id")?),
        agent: AgentId::from_bytes(row.id("agent_id")?),
        name: row.text("name")?,
        title: row.text("title")?,
        version: row.small("version")?,
        subject: row.text("subject")?,
        created_at: row.time("created_at")?,
        updated_at: row.time("updated_at")?,
        authors: read_authors(row)?,
    })
}
