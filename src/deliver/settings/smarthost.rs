//! What can be set about a host that sends our mail on.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use super::TimeoutSettings;
use crate::model::secret::Secret;

/// A host that sends our mail on.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Smarthost {
    /// Its name or address.
    pub host: String,
    /// Its port.
    pub port: u16,
    /// Whether the connection must be encrypted.
    pub tls: Tls,
    /// Check its certificate, in the modes `required` and `implicit`.
    pub verify_certificate: bool,
    /// PEM file of the authorities to trust instead of the system's.
    pub ca_file: Option<PathBuf>,
    /// Who we are there; empty: no AUTH.
    pub username: String,
    /// The password.
    pub password: Secret,
    /// Send the password even where the connection may turn out to be in clear, or to be anybody's.
    pub auth_in_clear: bool,
    /// What we call ourselves in EHLO; empty: the `hostname`.
    pub ehlo_name: String,
    /// Connections at once.
    pub connections_max: u16,
    /// Mails over one connection, after which a new one is made.
    pub mails_per_connection_max: u32,
    /// Age of a connection, in seconds, after which it is not used again.
    pub connection_age_max_secs: u32,
    /// Seconds for which an unused connection is kept.
    pub connection_idle_max_secs: u32,
    /// How long the host may keep us waiting.
    pub timeouts: TimeoutSettings,
}

impl Default for Smarthost {
    fn default() -> Self {
        Self {
            host: String::new(),
            port: 587,
            tls: Tls::default(),
            verify_certificate: true,
            ca_file: None,
            username: String::new(),
            password: Secret::default(),
            auth_in_clear: false,
            ehlo_name: String::new(),
            connections_max: 16,
            mails_per_connection_max: 100,
            connection_age_max_secs: 300,
            connection_idle_max_secs: 15,
            timeouts: TimeoutSettings::default(),
        }
    }
}

/// Whether a connection must be encrypted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Tls {
    /// In clear.
    None,
    /// STARTTLS when it is offered, with whatever certificate; in clear when it is not, or fails.
    Opportunistic,
    /// STARTTLS, or nothing is sent.
    #[default]
    Required,
    /// TLS from the first byte (port 465).
    Implicit,
}

impl Smarthost {
    /// What makes no sense: the key and why.
    pub(super) fn complaint(&self) -> Option<(String, &'static str)> {
        let nonsense = |key: &str, why| Some((key.to_owned(), why));
        let zeros = [
            ("port", u32::from(self.port)),
            ("connections_max", self.connections_max.into()),
            ("mails_per_connection_max", self.mails_per_connection_max),
        ];
        if self.host.is_empty() || self.host.chars().any(|char| char.is_whitespace() || char.is_control()) {
            return nonsense("host", "the name or address of the next hop is needed");
        }
        if let Some((key, _)) = zeros.into_iter().find(|(_, value)| *value == 0) {
            return nonsense(key, "must not be 0");
        }
        if !self.ehlo_name.bytes().all(|byte| byte.is_ascii_graphic()) {
            return nonsense("ehlo_name", "a name of ASCII letters without blanks is needed");
        }
        if self.username.contains('\0') || self.password.reveal().contains('\0') {
            return nonsense("username", "neither it nor the password may have a NUL");
        }
        let may_be_clear = matches!(self.tls, Tls::None | Tls::Opportunistic);
        if !self.username.is_empty() && may_be_clear && !self.auth_in_clear {
            return nonsense("tls", "with a username it must be `required` or `implicit`, unless auth_in_clear is set");
        }
        self.timeouts.complaint()
    }

    /// What is unwise: the key and why.
    pub(super) fn warnings(&self) -> Vec<(&'static str, &'static str)> {
        let is_checked = matches!(self.tls, Tls::Required | Tls::Implicit);
        let mut warnings = Vec::new();
        if is_checked && !self.verify_certificate {
            warnings.push(("verify_certificate", "anybody on the way can read the mail"));
        }
        if self.auth_in_clear && !self.username.is_empty() {
            warnings.push(("auth_in_clear", "anybody on the way can read the password"));
        }
        warnings
    }
}
