//! What this node shows to clients of TLS, for people and programs alike: the doors' own certificate, those of single
//! hosts, and how tracking hosts stand that have none.

use std::collections::BTreeMap;
use std::time::Duration;

use super::Server;
use super::shape::vocabulary;
use crate::model::time::Timestamp;
use crate::model::tracking::TrackingHost;
use crate::store::StoreError;
use crate::tls::orders::Order;
use crate::tls::{Leaf, hosts};

/// A certificate ends soon with so much time left, or with less than a quarter of its own.
const SOON: Duration = Duration::from_secs(21 * 86_400);

/// How a certificate stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Standing {
    Valid,
    EndsSoon,
    Expired,
    SelfSigned,
    Unreadable,
    None,
}

vocabulary! { Standing:
    "valid" Standing::Valid,
    "ends-soon" Standing::EndsSoon,
    "expired" Standing::Expired,
    "self-signed" Standing::SelfSigned,
    "unreadable" Standing::Unreadable,
    "none" Standing::None,
}

/// A certificate, or the want of one.
pub(super) struct Shown {
    /// Whose it is; `None`: the doors' own, for whoever asks for no host that has one.
    pub host: Option<String>,
    /// The file that it is in; empty when there is none.
    pub file: String,
    /// What it says of itself.
    pub leaf: Option<Leaf>,
    /// What came of the last order for one.
    pub order: Option<Order>,
    /// The tracking host that it is for.
    pub tracking: Option<TrackingHost>,
}

impl Shown {
    /// Somebody should look at it.
    pub(super) fn is_in_trouble(&self, now: Timestamp) -> bool {
        let is_bad = matches!(self.standing(now), Standing::EndsSoon | Standing::Expired | Standing::Unreadable);
        let has_failed = self.order.as_ref().is_some_and(|order| order.fault.is_some());
        is_bad || has_failed || self.tracking.as_ref().is_some_and(|host| !host.is_ready())
    }

    pub(super) fn standing(&self, now: Timestamp) -> Standing {
        if self.file.is_empty() {
            return Standing::None;
        }
        let Some(leaf) = &self.leaf else { return Standing::Unreadable };
        let (left, lasts) = (leaf.validity.until.since(now), leaf.validity.until.since(leaf.validity.from));
        if left.is_zero() {
            Standing::Expired
        } else if leaf.is_self_signed {
            Standing::SelfSigned
        } else if left < SOON.min(lasts / 4) {
            Standing::EndsSoon
        } else {
            Standing::Valid
        }
    }
}

/// All of this node, the doors' own first, then by host. Tracking hosts without one are among them.
///
/// # Errors
/// `Unavailable`, `Corrupt`.
pub(super) async fn shown(server: &Server) -> Result<Vec<Shown>, StoreError> {
    let Some(certificates) = &server.house().certificates else { return Ok(Vec::new()) };
    let own = Shown {
        host: None,
        file: certificates.file().display().to_string(),
        leaf: certificates.leaf(),
        order: certificates.orders().last(""),
        tracking: None,
    };
    let pairs = certificates.hosts().into_iter().map(|pair| {
        let file = pair.file.display().to_string();
        let order = certificates.orders().last(&pair.host);
        (pair.host.clone(), Shown { host: Some(pair.host), file, leaf: pair.leaf, order, tracking: None })
    });
    let mut hosts: BTreeMap<String, Shown> = pairs.collect();
    for host in server.store().tracking_hosts().await? {
        let name = hosts::name(&host.host);
        let order = certificates.orders().last(&name);
        let without = || Shown { host: Some(name.clone()), file: String::new(), leaf: None, order, tracking: None };
        hosts.entry(name.clone()).or_insert_with(without).tracking = Some(host);
    }
    Ok([own].into_iter().chain(hosts.into_values()).collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tls::Validity;

    #[test]
    fn how_it_stands() {
        let day = |day: u64| Timestamp::from_millis(0) + Duration::from_secs(day * 86_400);
        let check = |lasts: u64, is_self_signed: bool, at: u64, expected: Standing| {
            let validity = Validity { from: day(100), until: day(100 + lasts) };
            let leaf = Leaf { validity, names: Vec::new(), issuer: String::new(), is_self_signed };
            let shown = Shown { host: None, file: "f".into(), leaf: Some(leaf), order: None, tracking: None };
            assert_eq!(shown.standing(day(at)), expected, "{lasts} {at}");
        };
        check(90, false, 100, Standing::Valid);
        check(90, false, 168, Standing::Valid);
        check(90, false, 170, Standing::EndsSoon);
        check(90, false, 190, Standing::Expired);
        // Short ones are renewed late.
        check(6, false, 104, Standing::Valid);
        check(6, false, 105, Standing::EndsSoon);
        check(3_650, true, 200, Standing::SelfSigned);
        check(10, true, 200, Standing::Expired);
        let none = |file: &str| Shown { host: None, file: file.into(), leaf: None, order: None, tracking: None };
        assert_eq!(none("f").standing(day(1)), Standing::Unreadable);
        assert_eq!(none("").standing(day(1)), Standing::None);
    }
}
