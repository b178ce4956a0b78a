//! Addresses that we must not send to, and why.

use super::address::Address;
use super::id::{AgentId, TenantId};
use super::reason::Reason;
use super::time::Timestamp;

/// An address that a mail agent leaves alone.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Suppression {
    /// Whose list.
    pub tenant: TenantId,
    /// Whose list within the tenant.
    pub agent: AgentId,
    /// The address, folded to lower case.
    pub address: String,
    /// Why.
    pub reason: Reason,
    /// Since when.
    pub created_at: Timestamp,
    /// Until when; `None` until a person removes it.
    pub expires_at: Option<Timestamp>,
}

impl Suppression {
    /// The form of an address under which suppressions are kept.
    pub fn key(address: &Address) -> String {
        address.folded()
    }
}
