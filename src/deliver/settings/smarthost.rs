//! What can be set about a host that sends our mail on.

use std::path::PathBuf;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::TimeoutSettings;
use crate::model::secret::Secret;
use crate::model::token;

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
    /// When a mail that it took counts as delivered.
    pub delivered: DeliveredOn,
    /// Hours that its report of success is waited for, where that is what counts; then its reply does.
    pub report_wait_hours: u32,
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
            delivered: DeliveredOn::default(),
            report_wait_hours: 120,
            timeouts: TimeoutSettings::default(),
        }
    }
}

/// When a mail that a host took counts as delivered.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum DeliveredOn {
    /// With its reply to the final dot.
    #[default]
    OnReply,
    /// With its report of success, which it is asked for (RFC 3461 §4.1). Where it does not offer `DSN`, none would come,
    /// and the reply counts.
    OnDsn,
}

/// A later report is not believed any more.
const REPORT_WAIT_HOURS_MAX: u32 = (token::BOUNCE_AGE_MAX.as_secs() / 3600) as u32;

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
    /// How long a report of success is waited for, where that is what counts.
    pub fn report_wait(&self) -> Option<Duration> {
        let wait = Duration::from_secs(u64::from(self.report_wait_hours) * 3600);
        (self.delivered == DeliveredOn::OnDsn).then_some(wait)
    }

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
        if self.delivered == DeliveredOn::OnDsn && !(1..=REPORT_WAIT_HOURS_MAX).contains(&self.report_wait_hours) {
            return nonsense("report_wait_hours", "between 1 and 1440 are possible: a later report is not believed");
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
