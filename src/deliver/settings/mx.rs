//! What can be set about going straight to the recipients' exchangers. How much each takes, `presets` says.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use super::TimeoutSettings;

/// Straight to the recipients' exchangers.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Mx {
    /// Their port: 25, but in tests.
    pub port: u16,
    /// What we call ourselves in EHLO; empty: the `hostname`. It should be what our address resolves back to.
    pub ehlo_name: String,
    /// Connect over IPv6, too.
    pub ipv6: bool,
    /// Obey MTA-STS policies (RFC 8461).
    pub mta_sts: bool,
    /// The port of MTA-STS policies: 443, but in tests.
    pub mta_sts_port: u16,
    /// Obey DANE (RFC 7672), where DNSSEC can be proved.
    pub dane: bool,
    /// PEM file of authorities to trust instead of the system's where a policy wants a trusted certificate.
    pub ca_file: Option<PathBuf>,
    /// Age of a connection, in seconds, after which it is not used again.
    pub connection_age_max_secs: u32,
    /// Seconds for which an unused connection is kept.
    pub connection_idle_max_secs: u32,
    /// How long an exchanger may keep us waiting.
    pub timeouts: TimeoutSettings,
}

impl Default for Mx {
    fn default() -> Self {
        Self {
            port: 25,
            ehlo_name: String::new(),
            ipv6: true,
            mta_sts: true,
            mta_sts_port: 443,
            dane: true,
            ca_file: None,
            connection_age_max_secs: 300,
            connection_idle_max_secs: 5,
            timeouts: TimeoutSettings::default(),
        }
    }
}

impl Mx {
    /// What makes no sense: the key and why.
    pub(super) fn complaint(&self) -> Option<(String, &'static str)> {
        let zeros = [("port", u32::from(self.port)), ("mta_sts_port", self.mta_sts_port.into())];
        if let Some((key, _)) = zeros.into_iter().find(|(_, value)| *value == 0) {
            return Some((key.to_owned(), "must not be 0"));
        }
        if !self.ehlo_name.bytes().all(|byte| byte.is_ascii_graphic()) {
            return Some(("ehlo_name".to_owned(), "a name of ASCII letters without blanks is needed"));
        }
        self.timeouts.complaint()
    }
}
