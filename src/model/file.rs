//! Files that are kept ready, to be attached to many mails without being sent each time.

use super::id::{AgentId, FileId, TenantId};
use super::key;
use super::time::Timestamp;

/// A file of a mail agent's cache; its bytes are kept apart.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CachedFile {
    /// Its id.
    pub id: FileId,
    /// Whose.
    pub tenant: TenantId,
    /// Whose, within the tenant.
    pub agent: AgentId,
    /// Its name, as readers of a mail see it.
    pub name: String,
    /// Its MIME type.
    pub content_type: String,
    /// Its size in bytes.
    pub size_bytes: u64,
    /// When it came.
    pub created_at: Timestamp,
}

impl CachedFile {
    /// By what mails name it, when its agent has this key.
    pub fn key(&self, agent: &str) -> String {
        key::key(agent, key::FILE, self.id.uuid(), self.created_at)
    }
}

/// The id in such a key.
pub fn id_of(text: &str) -> Option<FileId> {
    key::uuid_of(text, &[key::FILE], FileId::PREFIX).map(FileId::from_uuid)
}
