//! Files that mails name by their keys. Owns the `cached_files` table; large ones lie beside the contents of mails.

use bytes::Bytes;

use super::db::{Result, Store};
use super::value::Row;
use crate::model::file::CachedFile;
use crate::model::id::{AgentId, FileId, TenantId};

/// Files of one mail agent.
pub const FILES_MAX: u32 = 1_000;
/// Size of all files of one mail agent, in bytes.
pub const FILES_BYTES_MAX: u64 = 1 << 30;

impl Store {
    /// Adds a file; whether the agent's cache had room for it.
    ///
    /// # Errors
    /// `Conflict` when the id is taken; `Unavailable`.
    pub async fn add_cached_file(&self, file: CachedFile, content: Bytes) -> Result<bool> {
        const SQL: &str = "
            insert into cached_files (id, tenant_id, agent_id, name, content_type, size_bytes, body, file, created_at)
            select $1, $2, $3, $4, $5, $6, $7, $8, $9
            where (select count(*) from cached_files where agent_id = $3) < $10
                and (select coalesce(cast(sum(size_bytes) as bigint), 0) from cached_files where agent_id = $3) <= $11";
        let aside = self.put_aside(file.id.to_string(), &content).await?;
        let body = aside.is_none().then(|| content.to_vec());
        let row = vec![
            file.id.into(),
            file.tenant.into(),
            file.agent.into(),
            file.name.into(),
            file.content_type.into(),
            file.size_bytes.into(),
            body.into(),
            aside.clone().into(),
            file.created_at.into(),
            FILES_MAX.into(),
            FILES_BYTES_MAX.saturating_sub(file.size_bytes).into(),
        ];
        let has_room = self.run(SQL, row).await? > 0;
        if let Some(name) = aside.filter(|_| !has_room) {
            self.remove_aside(&name).await;
        }
        Ok(has_room)
    }

    /// An agent's file with its bytes.
    ///
    /// # Errors
    /// `Corrupt` when the row is there and its file is not; `Unavailable`.
    pub async fn cached_file(&self, agent: AgentId, id: FileId) -> Result<Option<(CachedFile, Bytes)>> {
        const SQL: &str = "
            select id, tenant_id, agent_id, name, content_type, size_bytes, body, file, created_at
            from cached_files
            where id = $1 and agent_id = $2";
        let Some(row) = self.row(SQL, vec![id.into(), agent.into()]).await? else { return Ok(None) };
        Ok(Some((read(&row)?, self.taken_back(&row).await?)))
    }

    /// An agent's files after `after`, oldest first, at most `limit`.
    ///
    /// # Errors
    /// `Unavailable`, `Corrupt`.
    pub async fn cached_files(&self, agent: AgentId, after: Option<FileId>, limit: u32) -> Result<Vec<CachedFile>> {
        const SQL: &str = "
            select id, tenant_id, agent_id, name, content_type, size_bytes, created_at
            from cached_files
            where agent_id = $1 and id > $2
            order by id
            limit $3";
        let after = after.map_or(Vec::new(), |id| id.as_bytes().to_vec());
        self.rows(SQL, vec![agent.into(), after.into(), limit.into()]).await?.iter().map(read).collect()
    }

    /// Deletes an agent's file. Whether it existed. Mails that were accepted with it keep their copy.
    ///
    /// # Errors
    /// `Unavailable`.
    pub async fn remove_cached_file(&self, agent: AgentId, id: FileId) -> Result<bool> {
        let sql = "delete from cached_files where id = $1 and agent_id = $2";
        let existed = self.run(sql, vec![id.into(), agent.into()]).await? > 0;
        if existed {
            self.remove_aside(&id.to_string()).await;
        }
        Ok(existed)
    }
}

fn read(row: &Row) -> Result<CachedFile> {
    Ok(CachedFile {
        id: FileId::from_bytes(row.id("id")?),
        tenant: TenantId::from_bytes(row.id("tenant_id")?),
        agent: AgentId::from_bytes(row.id("agent_id")?),
        name: row.text("name")?,
        content_type: row.text("content_type")?,
        size_bytes: row.small("size_bytes")?,
        created_at: row.time("created_at")?,
    })
}
