//! What can be set about delivery. Read by `config`, checked once, used by `route`.

use std::path::PathBuf;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::presets::Preset;
use crate::model::retry;
use crate::model::secret::Secret;

/// Where mail goes and how hard we try.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Settings {
    /// Where mail goes.
    pub mode: Mode,
    /// Deliveries that are performed at once.
    pub at_once: u16,
    /// Waits between attempts at a delivery, in minutes; the last repeats until its lifetime ends.
    pub retry_minutes: Vec<u32>,
    /// How long a delivery is tried, in hours, unless its mail agent or its message says otherwise.
    pub lifetime_hours: u32,
    /// The next hop, in mode `smarthost`.
    pub smarthost: Smarthost,
    /// How much destinations take, before what is built in.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub destinations: Vec<Preset>,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            mode: Mode::default(),
            at_once: 64,
            retry_minutes: retry::MAIL.iter().map(|wait| (wait.as_secs() / 60) as u32).collect(),
            lifetime_hours: (retry::MAIL_LIFETIME.as_secs() / 3600) as u32,
            smarthost: Smarthost::default(),
            destinations: Vec::new(),
        }
    }
}

/// Where mail goes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Mode {
    /// Nowhere: it is kept for looking at, and counts as delivered.
    #[default]
    Capture,
    /// To one host that sends it on.
    Smarthost,
}

/// The host that takes all our mail.
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

/// How long the other side may keep us waiting, in seconds. The values are those of RFC 5321 §4.5.3.2 where it has any.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct TimeoutSettings {
    /// For each of the host's addresses to take a connection, and for its name to be looked up.
    pub connect_secs: u32,
    /// For the TLS handshake.
    pub handshake_secs: u32,
    /// For the greeting.
    pub greeting_secs: u32,
    /// For the reply to EHLO, STARTTLS and AUTH.
    pub hello_secs: u32,
    /// For the reply to MAIL and RCPT.
    pub envelope_secs: u32,
    /// For the reply to DATA.
    pub data_secs: u32,
    /// For each block of the content to be taken.
    pub block_secs: u32,
    /// For the reply to the end of the content. Too short a time makes duplicates.
    pub end_of_data_secs: u32,
}

impl Default for TimeoutSettings {
    fn default() -> Self {
        Self {
            connect_secs: 30,
            handshake_secs: 60,
            greeting_secs: 300,
            hello_secs: 300,
            envelope_secs: 300,
            data_secs: 120,
            block_secs: 180,
            end_of_data_secs: 600,
        }
    }
}

/// The same as durations.
#[derive(Clone, Copy, Debug)]
pub struct Timeouts {
    /// See [`TimeoutSettings::connect_secs`], and so on.
    pub connect: Duration,
    /// For the TLS handshake.
    pub handshake: Duration,
    /// For the greeting.
    pub greeting: Duration,
    /// For the reply to EHLO, STARTTLS and AUTH.
    pub hello: Duration,
    /// For the reply to MAIL and RCPT.
    pub envelope: Duration,
    /// For the reply to DATA.
    pub data: Duration,
    /// For each block of the content.
    pub block: Duration,
    /// For the reply to the end of the content.
    pub end_of_data: Duration,
}

impl From<&TimeoutSettings> for Timeouts {
    fn from(settings: &TimeoutSettings) -> Self {
        let secs = |secs: u32| Duration::from_secs(secs.into());
        Self {
            connect: secs(settings.connect_secs),
            handshake: secs(settings.handshake_secs),
            greeting: secs(settings.greeting_secs),
            hello: secs(settings.hello_secs),
            envelope: secs(settings.envelope_secs),
            data: secs(settings.data_secs),
            block: secs(settings.block_secs),
            end_of_data: secs(settings.end_of_data_secs),
        }
    }
}

impl Settings {
    /// Waits between attempts.
    pub fn schedule(&self) -> Vec<Duration> {
        self.retry_minutes.iter().map(|minutes| Duration::from_secs(u64::from(*minutes) * 60)).collect()
    }

    /// How long a delivery is tried.
    pub fn lifetime(&self) -> Duration {
        Duration::from_secs(u64::from(self.lifetime_hours) * 3600)
    }

    /// What makes no sense, in one line.
    pub fn complaint(&self) -> Option<String> {
        if self.at_once == 0 {
            return Some("deliver.at_once: must not be 0".to_owned());
        }
        if self.retry_minutes.is_empty() || self.retry_minutes.contains(&0) {
            return Some("deliver.retry_minutes: at least one wait is needed, and none may be 0".to_owned());
        }
        if self.lifetime_hours == 0 {
            return Some("deliver.lifetime_hours: must not be 0".to_owned());
        }
        let destinations = || self.destinations.iter().find_map(Preset::complaint);
        match self.mode {
            Mode::Capture => destinations(),
            Mode::Smarthost => self.smarthost.complaint().or_else(destinations),
        }
    }

    /// What is unwise, one line each.
    pub fn warnings(&self) -> Vec<String> {
        let host = &self.smarthost;
        let is_checked = matches!(host.tls, Tls::Required | Tls::Implicit);
        let mut warnings = Vec::new();
        if self.mode == Mode::Smarthost && is_checked && !host.verify_certificate {
            warnings.push("deliver.smarthost.verify_certificate: anybody on the way can read the mail".to_owned());
        }
        if self.mode == Mode::Smarthost && host.auth_in_clear && !host.username.is_empty() {
            warnings.push("deliver.smarthost.auth_in_clear: anybody on the way can read the password".to_owned());
        }
        warnings
    }
}

impl Smarthost {
    fn complaint(&self) -> Option<String> {
        let nonsense = |key: &str, why: &str| Some(format!("deliver.smarthost.{key}: {why}"));
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
}

impl TimeoutSettings {
    fn complaint(&self) -> Option<String> {
        let all = [
            ("connect", self.connect_secs),
            ("handshake", self.handshake_secs),
            ("greeting", self.greeting_secs),
            ("hello", self.hello_secs),
            ("envelope", self.envelope_secs),
            ("data", self.data_secs),
            ("block", self.block_secs),
            ("end_of_data", self.end_of_data_secs),
        ];
        let zero = all.into_iter().find(|(_, secs)| *secs == 0);
        zero.map(|(key, _)| format!("deliver.smarthost.timeouts.{key}_secs: must not be 0"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(change: impl FnOnce(&mut Smarthost), expected: Option<&str>) {
        let mut settings = Settings { mode: Mode::Smarthost, ..Settings::default() };
        settings.smarthost.host = "relay.example.com".into();
        change(&mut settings.smarthost);
        let complaint = settings.complaint();
        assert_eq!(complaint.as_deref().and_then(|text| text.split(": ").next()), expected);
    }

    #[test]
    fn nonsense_is_told() {
        assert_eq!(Settings::default().complaint(), None);
        check(|_| {}, None);
        check(|host| host.host.clear(), Some("deliver.smarthost.host"));
        check(|host| host.port = 0, Some("deliver.smarthost.port"));
        check(|host| host.ehlo_name = "a b".into(), Some("deliver.smarthost.ehlo_name"));
        check(|host| host.timeouts.block_secs = 0, Some("deliver.smarthost.timeouts.block_secs"));
        check(|host| host.username = "me".into(), None);
        check(|host| (host.username, host.tls) = ("me".into(), Tls::Opportunistic), Some("deliver.smarthost.tls"));
        check(|host| (host.username, host.tls, host.auth_in_clear) = ("me".into(), Tls::None, true), None);
    }

    #[test]
    fn settings_read_as_they_are_written() {
        let text = toml::to_string(&Settings::default()).unwrap();
        assert_eq!(toml::from_str::<Settings>(&text).unwrap(), Settings::default());
        assert!(toml::from_str::<Settings>("[smarthost]\nhots = 'x'").is_err());
    }
}
