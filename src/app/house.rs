//! The installation as people see it: what the console tells of it, and what a node says of itself.

use std::sync::Arc;

use super::Ground;
use crate::dns::check::Outlet;
use crate::http;
use crate::model::node::NodeFacts;
use crate::tls::Certificates;

impl Ground {
    /// What the console tells of it.
    pub(super) fn house(&self, certificates: &Certificates) -> http::House {
        let (settings, enricher) = (&self.settings, self.enricher.clone());
        let sources = settings.deliver.sources_of(&settings.hostname);
        http::House {
            is_capture: settings.is_capture(),
            hostname: settings.hostname.clone(),
            return_path_domain: settings.reports.return_path_domain.clone(),
            tracking_host: settings.tracking_host(),
            is_direct: settings.deliver.leaves_from_anywhere(),
            sources: sources.into_iter().map(|(address, name)| Outlet { address, name }).collect(),
            doors: self.addresses.named(),
            settings: settings.in_force(),
            warnings: settings.warnings(),
            certificates: Some(certificates.clone()),
            places: Arc::new(move || (enricher.geo().description(), enricher.geo().built_at())),
        }
    }

    /// What this node says of itself.
    pub(super) fn facts(&self) -> NodeFacts {
        NodeFacts {
            hostname: self.settings.hostname.clone(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            roles: self.settings.roles.iter().map(|role| format!("{role:?}").to_lowercase()).collect(),
            doors: self.addresses.named(),
        }
    }
}
