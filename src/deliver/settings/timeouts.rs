//! How long the other side of an SMTP conversation may keep us waiting.

use std::time::Duration;

use serde::{Deserialize, Serialize};

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

impl TimeoutSettings {
    /// What makes no sense: the key and why.
    pub(super) fn complaint(&self) -> Option<(String, &'static str)> {
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
        zero.map(|(key, _)| (format!("timeouts.{key}_secs"), "must not be 0"))
    }
}
