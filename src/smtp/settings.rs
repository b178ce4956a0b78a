//! What an operator may set about the SMTP doors. `config` reads it; the other parts of the door are handed it.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::model::network::Network;

use super::data::LoneLf;
use super::peers::Room;

/// The SMTP doors.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Settings {
    /// The name in the greeting: the installation's, which `app` puts here.
    #[serde(skip)]
    pub hostname: String,
    /// Where to listen.
    pub listeners: Vec<Listener>,
    /// Largest message, in bytes; what `SIZE` says.
    pub message_bytes_max: u64,
    /// Recipients of one message. RFC 5321 §4.5.3.1.8 asks for at least 100.
    pub recipients_max: u16,
    /// Sessions at one time, over all listeners.
    pub sessions_max: u32,
    /// How long a client may take for one command. RFC 5321 §4.5.3.2.7 asks for at least 300.
    pub command_secs_max: u32,
    /// Slowest message text that is put up with over a minute, in bytes a second.
    pub data_bytes_per_sec_min: u32,
    /// After this time a session takes no further message.
    pub session_secs_max: u32,
    /// After so many messages a session takes no further one.
    pub session_messages_max: u32,
    /// Memory for message texts on their way in, over all sessions, in bytes; beyond it a text is put off.
    pub data_memory_bytes_max: u64,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            hostname: "localhost".to_owned(),
            listeners: vec![Listener::development()],
            message_bytes_max: 25 * 1024 * 1024,
            recipients_max: 1_000,
            sessions_max: 10_000,
            command_secs_max: 300,
            data_bytes_per_sec_min: 500,
            session_secs_max: 3_600,
            session_messages_max: 10_000,
            data_memory_bytes_max: 512 * 1024 * 1024,
        }
    }
}

impl Settings {
    /// What makes no sense, in one line.
    pub fn complaint(&self) -> Option<String> {
        let zero = [
            ("message_bytes_max", self.message_bytes_max == 0),
            ("recipients_max", self.recipients_max == 0),
            ("sessions_max", self.sessions_max == 0),
            ("command_secs_max", self.command_secs_max == 0),
        ];
        zero.iter().find(|(_, is_zero)| *is_zero).map(|(name, _)| format!("smtp.{name}: must not be 0"))
    }

    /// What is unwise, one line each.
    pub fn warnings(&self) -> Vec<String> {
        let is_open = |listener: &&Listener| {
            listener.auth_without_tls == AuthWithoutTls::Always && !listener.address.ip().is_loopback()
        };
        let told = |listener: &Listener| {
            format!("smtp.listeners: passwords may come in the clear to {} from anywhere", listener.address)
        };
        self.listeners.iter().filter(is_open).map(told).collect()
    }

    /// How long a client may take for one command.
    pub(super) fn command_time(&self) -> Duration {
        Duration::from_secs(self.command_secs_max.into())
    }
}

/// One address to listen at.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Listener {
    /// IP address and port.
    pub address: SocketAddr,
    /// For whom it is.
    pub kind: Kind,
    /// When TLS begins.
    #[serde(default)]
    pub tls: TlsMode,
    /// On a submission listener: reports may come in here too, without AUTH.
    #[serde(default)]
    pub takes_reports: bool,
    /// Who may send a password without TLS.
    #[serde(default)]
    pub auth_without_tls: AuthWithoutTls,
    /// What a LF without CR is taken for.
    #[serde(default)]
    pub line_endings: LineEndings,
    /// Sessions at one time from one IPv4 address or IPv6 /64; by default 1,000 for submission, 50 for reports.
    #[serde(default)]
    pub sessions_per_address_max: Option<u32>,
    /// Connections within a minute from one IPv4 address or IPv6 /64; by default any number for submission, 300 for
    /// reports.
    #[serde(default)]
    pub connections_per_minute_max: Option<u32>,
    /// Proxies, by address or network, that say for whom they stand by the PROXY protocol, version 1 or 2. They must.
    #[serde(default)]
    pub proxies: Vec<Network>,
    /// How long a client is watched for talking before its turn; by default 250 for reports, 2 for submission.
    #[serde(default)]
    pub greeting_delay_millis: Option<u32>,
}

impl Listener {
    /// The one that runs when nothing is set: for programs on this machine, and for the reports of the demo.
    pub fn development() -> Self {
        Self {
            takes_reports: true,
            auth_without_tls: AuthWithoutTls::Loopback,
            ..Self::new(SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 2525), Kind::Submission)
        }
    }

    /// One with every default.
    pub fn new(address: SocketAddr, kind: Kind) -> Self {
        Self {
            address,
            kind,
            tls: TlsMode::default(),
            takes_reports: false,
            auth_without_tls: AuthWithoutTls::default(),
            line_endings: LineEndings::default(),
            sessions_per_address_max: None,
            connections_per_minute_max: None,
            proxies: Vec::new(),
            greeting_delay_millis: None,
        }
    }

    /// Whether somebody without AUTH may hand in reports.
    pub(super) fn is_for_reports(&self) -> bool {
        self.takes_reports || self.kind == Kind::Inbound
    }

    /// Whether a password may come from `peer` in the clear.
    pub(super) fn trusts_wire_from(&self, peer: IpAddr) -> bool {
        match self.auth_without_tls {
            AuthWithoutTls::Never => false,
            AuthWithoutTls::Loopback => peer.to_canonical().is_loopback(),
            AuthWithoutTls::Always => true,
        }
    }

    /// Whether `peer` stands for others.
    pub(super) fn is_proxy(&self, peer: IpAddr) -> bool {
        self.proxies.iter().any(|network| network.has(peer))
    }

    /// How many connections may come from one address.
    pub(super) fn room(&self) -> Room {
        let (at_once, per_minute) = match self.kind {
            Kind::Submission => (1_000, u32::MAX),
            Kind::Inbound => (50, 300),
        };
        Room {
            per_address_max: self.sessions_per_address_max.unwrap_or(at_once),
            per_minute_max: self.connections_per_minute_max.unwrap_or(per_minute),
            ..Room::ANY
        }
    }

    pub(super) fn greeting_delay(&self) -> Duration {
        let millis = self.greeting_delay_millis.unwrap_or(match self.kind {
            Kind::Submission => 2,
            Kind::Inbound => 250,
        });
        Duration::from_millis(millis.into())
    }
}

/// For whom a listener is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Kind {
    /// Clients with credentials, who hand in mail.
    Submission,
    /// Other mail systems, who send reports home.
    Inbound,
}

impl Kind {
    /// `submission` or `inbound`.
    pub fn as_str(self) -> &'static str {
        match self {
            Kind::Submission => "submission",
            Kind::Inbound => "inbound",
        }
    }
}

/// When TLS begins.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum TlsMode {
    /// When the client says `STARTTLS` (RFC 3207).
    #[default]
    Starttls,
    /// At once (RFC 8314 §3.3).
    Implicit,
    /// Never.
    Off,
}

/// Who may send a password without TLS.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum AuthWithoutTls {
    /// Nobody.
    #[default]
    Never,
    /// Programs on this machine.
    Loopback,
    /// Everybody: for a private network only.
    Always,
}

/// What a LF without CR is taken for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum LineEndings {
    /// A reason to refuse.
    #[default]
    Reject,
    /// A line end, for old scripts; never part of the end of a message.
    Normalize,
}

impl LineEndings {
    pub(super) fn lone_lf(self) -> LoneLf {
        match self {
            LineEndings::Reject => LoneLf::Refused,
            LineEndings::Normalize => LoneLf::LineEnd,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn listeners_are_read_with_defaults_and_without_strangers() {
        let text = "[[listeners]]\naddress = \"[::]:465\"\nkind = \"submission\"\ntls = \"implicit\"\nproxies = [\"10.0.0.0/8\"]\n";
        let settings: Settings = toml::from_str(text).unwrap();
        assert_eq!(settings.listeners[0].tls, TlsMode::Implicit);
        assert_eq!(settings.listeners[0].room(), Room { per_address_max: 1_000, ..Room::ANY });
        assert_eq!(settings.recipients_max, 1_000);
        assert!(settings.listeners[0].is_proxy("10.1.2.3".parse().unwrap()));
        assert!(toml::from_str::<Settings>("hostname = \"x\"").is_err());
        assert!(toml::from_str::<Settings>(&format!("{text}takes_report = true")).is_err());
    }

    #[test]
    fn nonsense_is_told() {
        let complaint = |settings: Settings| settings.complaint().unwrap_or_default();
        assert_eq!(complaint(Settings::default()), "");
        assert!(complaint(Settings { recipients_max: 0, ..Settings::default() }).contains("recipients_max"));
    }

    #[test]
    fn what_is_unwise_is_told() {
        let open = Listener { auth_without_tls: AuthWithoutTls::Always, ..Listener::development() };
        let public = Listener { address: "0.0.0.0:2525".parse().unwrap(), ..open.clone() };
        let settings = Settings { listeners: vec![Listener::development(), open, public], ..Settings::default() };
        let expected = "smtp.listeners: passwords may come in the clear to 0.0.0.0:2525 from anywhere";
        assert_eq!(settings.warnings(), [expected]);
    }

    #[test]
    fn passwords_in_the_clear() {
        let trusts = |auth_without_tls, peer: &str| {
            Listener { auth_without_tls, ..Listener::development() }.trusts_wire_from(peer.parse().unwrap())
        };
        assert!(trusts(AuthWithoutTls::Loopback, "127.0.0.1"));
        assert!(trusts(AuthWithoutTls::Loopback, "::ffff:127.0.0.1"));
        assert!(!trusts(AuthWithoutTls::Loopback, "192.0.2.1"));
        assert!(!trusts(AuthWithoutTls::Never, "::1"));
    }
}
