//! What can be set about the addresses that mail goes out from.

use std::net::IpAddr;

use jiff::civil::Date;
use jiff::tz::TimeZone;
use serde::{Deserialize, Serialize};

use crate::model::time::Timestamp;

/// The pool of sources that name none, and of rules that name none.
pub const DEFAULT_POOL: &str = "default";

/// Addresses of ours that mail goes out from, under one name. Only for mail that goes straight to exchangers.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Source {
    /// At most one of each family.
    pub addresses: Vec<IpAddr>,
    /// What we call ourselves in EHLO from there: what the addresses resolve back to; empty: as otherwise.
    pub ehlo_name: String,
    /// To which pool it belongs; rules choose pools.
    pub pool: String,
    /// The day (UTC, 2026-11-01) on which it began to send; its mail a day grows from then on as `warm_up` says. Empty: it
    /// is known by now, and sends as much as there is.
    pub warming_since: String,
}

impl Source {
    /// The pool that it belongs to.
    pub fn pool(&self) -> &str {
        if self.pool.is_empty() { DEFAULT_POOL } else { &self.pool }
    }

    /// When it began to send, if it is not known by now.
    pub fn warming_since(&self) -> Option<Timestamp> {
        let day: Date = self.warming_since.parse().ok()?;
        let midnight = day.to_zoned(TimeZone::UTC).ok()?;
        Some(Timestamp::from_millis(midnight.timestamp().as_millisecond()))
    }

    /// What makes no sense about it.
    pub(super) fn complaint(&self) -> Option<&'static str> {
        let has_two = |is: fn(&IpAddr) -> bool| self.addresses.iter().filter(|address| is(address)).count() > 1;
        if self.addresses.is_empty() || has_two(IpAddr::is_ipv4) || has_two(IpAddr::is_ipv6) {
            return Some("addresses: one IPv4 address, one IPv6 address, or one of each");
        }
        if !self.ehlo_name.bytes().all(|byte| byte.is_ascii_graphic()) {
            return Some("ehlo_name: a name of ASCII letters without blanks is needed");
        }
        if !self.warming_since.is_empty() && self.warming_since().is_none() {
            return Some("warming_since: a day as in 2026-11-01 is needed");
        }
        None
    }
}
