//! Addresses that we must not send to, and why.

use std::time::Duration;

use super::address::Address;
use super::delivery::Delivery;
use super::id::{AgentId, TenantId};
use super::reason::{Cause, Class, Reason, Suppress};
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

    /// Of a delivery's recipient, until a person removes it.
    pub fn for_good(delivery: &Delivery, reason: Reason, now: Timestamp) -> Self {
        Self {
            tenant: delivery.tenant,
            agent: delivery.agent,
            address: Self::key(&delivery.address),
            reason,
            created_at: now,
            expires_at: None,
        }
    }

    /// What a bounce makes of its recipient: one permanent failure of the address is enough. Whatever takes several in
    /// a row is counted elsewhere.
    pub fn of_bounce(delivery: &Delivery, cause: &Cause, now: Timestamp) -> Option<Self> {
        match cause.reason.suppress() {
            Suppress::AtOnce { days } if cause.is_permanent() && cause.class == Class::Hard => Some(Self {
                expires_at: Some(now + Duration::from_secs(u64::from(days) * 86_400)),
                ..Self::for_good(delivery, cause.reason, now)
            }),
            Suppress::ForGood => Some(Self::for_good(delivery, cause.reason, now)),
            Suppress::AtOnce { .. } | Suppress::AfterInARow { .. } | Suppress::Never => None,
        }
    }
}
