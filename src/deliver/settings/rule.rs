//! A rule that sends some mail its own way.

use serde::{Deserialize, Serialize};

use super::{Mode, Settings};
use crate::model::address::domain_name;

/// Kept for looking at.
pub const CAPTURE: &str = "capture";
/// The one of `deliver.smarthost`.
pub const SMARTHOST: &str = "smarthost";
/// Straight to the recipient's exchangers.
pub const MX: &str = "mx";

/// Which mail goes which way. What is empty does not matter; all else must hold.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Rule {
    /// Mail of the tenant with this slug.
    pub tenant: String,
    /// Mail of the mail agent with this name.
    pub agent: String,
    /// Mail to this domain; `*.example.com` is every domain below it.
    pub domain: String,
    /// Mail with this tag.
    pub tag: String,
    /// Its way: `mx`, `capture`, or names of smarthosts. The first is taken that is not known to be down.
    pub via: Vec<String>,
    /// From which pool of `sources` it goes out to exchangers; empty: from the default one.
    pub pool: String,
}

impl Rule {
    /// What makes no sense about it.
    pub(super) fn complaint(&self, settings: &Settings) -> Option<String> {
        let named =
            |name: &String| matches!(name.as_str(), CAPTURE | SMARTHOST | MX) || settings.smarthosts.contains_key(name);
        if self.via.is_empty() {
            return Some("via: at least one of capture, smarthost, mx or the name of a smarthost is needed".to_owned());
        }
        if let Some(unknown) = self.via.iter().find(|name| !named(name)) {
            return Some(format!("via: there is no deliver.smarthosts.{unknown}"));
        }
        if settings.mode == Mode::Capture && self.via.iter().any(|name| name != CAPTURE) {
            return Some("via: nothing leaves the machine in mode capture".to_owned());
        }
        if !self.pool.is_empty() && !settings.sources.iter().any(|source| source.pool() == self.pool) {
            return Some(format!("pool: no source of deliver.sources is in the pool `{}`", self.pool));
        }
        let domain = self.domain.strip_prefix("*.").unwrap_or(&self.domain);
        (!domain.is_empty() && domain_name(domain).as_deref() != Ok(domain))
            .then(|| format!("domain: `{}` is no domain in lower-case ASCII", self.domain))
    }

    /// Whether it holds for mail to `domain`.
    pub fn is_for(&self, domain: &str) -> bool {
        match self.domain.strip_prefix("*.") {
            Some(above) => domain.strip_suffix(above).is_some_and(|rest| rest.ends_with('.')),
            None => self.domain.is_empty() || self.domain == domain,
        }
    }
}
