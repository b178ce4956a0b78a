//! The sections that belong to no room of their own.

use std::fmt;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::mail::tls_report::Reporter;
use crate::model::address::Address;
use crate::model::network::Network;
use crate::model::secret::Secret;

/// What a node may do. Nodes that share a database share the work; each does any of these.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Role {
    /// Takes mail, hits and reports; serves the APIs.
    Doors,
    /// Delivers mail.
    Deliver,
    /// Tells webhooks.
    Webhooks,
}

impl Role {
    /// Every role.
    pub const ALL: [Role; 3] = [Role::Doors, Role::Deliver, Role::Webhooks];
}

/// Pixels and links.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Tracking {
    /// What tracked URLs begin with, without a final slash: `https://track.example.com`. Empty: where the HTTP door
    /// listens, which only this machine can follow. Sending domains with a tracking host of their own use that.
    pub base_url: String,
    /// Bytes of hits that wait on the disk while the database is away; more are counted and dropped.
    pub journal_bytes_max: u64,
    /// How long a reader of a mail agent with `durable_hits` waits at most for the hit to be safe; then the answer goes
    /// out all the same.
    pub durable_wait_seconds: u16,
}

impl Default for Tracking {
    fn default() -> Self {
        Self { base_url: String::new(), journal_bytes_max: 256 << 20, durable_wait_seconds: 3 }
    }
}

impl Tracking {
    pub(super) fn complaint(&self) -> Option<String> {
        let base = &self.base_url;
        let is_base = url::Url::parse(base).is_ok_and(|url| {
            matches!(url.scheme(), "http" | "https") && url.query().is_none() && url.fragment().is_none()
        });
        let nonsense = !base.is_empty() && (!is_base || base.ends_with('/'));
        nonsense.then(|| format!("tracking.base_url: `{base}` is not like https://track.example.com"))
    }
}

/// Reports about our mail, coming home.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Reports {
    /// The domain of return paths; its MX must lead to a listener that takes reports. Empty: `hostname`.
    pub return_path_domain: String,
    /// The local part in that domain which complaints come to.
    pub complaint_local_part: String,
    /// Networks whose complaints are believed when they give an address alone: those from which providers, or a mail
    /// system of your own that checks them, hand in what comes of feedback loops.
    pub complaint_sources: Vec<Network>,
    /// A file of rules of your own, which replies and reports are judged by before the built-in ones.
    pub rules: Option<PathBuf>,
}

impl Default for Reports {
    fn default() -> Self {
        Self {
            return_path_domain: String::new(),
            complaint_local_part: "complaints".to_owned(),
            complaint_sources: Vec::new(),
            rules: None,
        }
    }
}

/// Reports of ours to other people's domains, about TLS with their hosts (RFC 8460).
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct TlsReports {
    /// Whom they are from: an address of a domain that a mail agent sends from, with a key that signs. Empty: nothing is
    /// counted, and there are none.
    pub from: String,
    /// Whom to ask about them. Empty: `from`.
    pub contact: String,
    /// The organisation's name. Empty: the domain of `from`.
    pub organization: String,
}

impl TlsReports {
    /// Who reports, if anybody does.
    pub fn reporter(&self) -> Option<Reporter> {
        let from: Address = self.from.parse().ok()?;
        let or = |set: &str, otherwise: &str| if set.is_empty() { otherwise.to_owned() } else { set.to_owned() };
        let contact = or(&self.contact, &from.to_string());
        Some(Reporter { organization: or(&self.organization, from.domain()), contact, from })
    }

    pub(super) fn complaint(&self) -> Option<String> {
        let is_bad = |text: &str| !text.is_empty() && text.parse::<Address>().is_err();
        let addresses = [("from", &self.from), ("contact", &self.contact)];
        let bad = addresses.into_iter().find(|(_, text)| is_bad(text));
        bad.map(|(key, text)| format!("tls_reports.{key}: `{text}` is not a mail address"))
    }
}

/// Where readers are.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Geoip {
    /// Files in MaxMind's format, taken into use again when they change; the first that knows an address answers.
    /// None: what `postback geoip update` brought, else the countries that are built in.
    pub databases: Vec<PathBuf>,
    /// Apple's list of the addresses that its relays leave from, as CSV; read again when it changes.
    pub apple_relays: Option<PathBuf>,
    /// Where `postback geoip update` gets places from.
    pub update: GeoipUpdate,
}

/// Where `postback geoip update` gets places from.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct GeoipUpdate {
    /// Whose.
    pub source: GeoipSource,
    /// MaxMind's account number.
    pub account_id: String,
    /// MaxMind's licence key.
    pub license_key: Secret,
    /// MaxMind's edition: `GeoLite2-City`, `GeoIP2-City`.
    pub edition: String,
    /// Another server that serves the same paths; http on this machine, else https. Empty: the provider's own.
    pub base_url: String,
}

/// Who makes a database of places.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum GeoipSource {
    /// DB-IP Lite City: free, no account, CC BY 4.0.
    #[default]
    Dbip,
    /// MaxMind, with the user's own account and licence.
    Maxmind,
}

/// How long things are kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Retention {
    /// Messages with everything about them, from their acceptance.
    pub messages_days: u32,
    /// Events and hits, from when they happened; with their message they go at the latest.
    pub events_days: u32,
    /// Reports kept for people to read.
    pub reports_days: u32,
    /// What is logged of webhooks: attempts with their answers, tests, replays.
    pub webhook_log_days: u32,
    /// The dialogues of attempts at delivery; their outcomes stay with the message.
    pub dialogues_days: u32,
}

impl Default for Retention {
    fn default() -> Self {
        Self { messages_days: 90, events_days: 90, reports_days: 30, webhook_log_days: 14, dialogues_days: 30 }
    }
}

/// Where the database is. Printed without its password.
#[derive(Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(transparent)]
pub struct DatabaseUrl(String);

impl DatabaseUrl {
    /// The whole URL, password included.
    pub fn reveal(&self) -> &str {
        &self.0
    }

    /// The file, when it is one of this machine.
    pub fn sqlite_path(&self) -> Option<&Path> {
        self.0.strip_prefix("sqlite:").map(|path| Path::new(path.trim_start_matches("//")))
    }
}

impl From<String> for DatabaseUrl {
    fn from(url: String) -> Self {
        Self(url)
    }
}

impl fmt::Display for DatabaseUrl {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0.is_empty() || self.sqlite_path().is_some() {
            return out.write_str(&self.0);
        }
        // What does not read as a URL, or reads so that an `@` comes late, may have a password anywhere.
        let is_plain = |url: &url::Url| {
            let after_host = [url.path(), url.query().unwrap_or_default(), url.fragment().unwrap_or_default()];
            !url.cannot_be_a_base() && !after_host.iter().any(|part| part.contains('@')) && url.fragment().is_none()
        };
        let Some(mut url) = url::Url::parse(&self.0).ok().filter(is_plain) else {
            let scheme = self.0.split_once("://").map_or("", |(scheme, _)| scheme);
            let is_word = !scheme.is_empty() && scheme.bytes().all(|byte| byte.is_ascii_alphanumeric());
            return out.write_str(if is_word { scheme } else { "" }).and_then(|()| out.write_str("://***"));
        };
        if url.password().is_some() {
            // Only a URL that can have no password refuses to be given one.
            let _ = url.set_password(Some("***"));
        }
        if url.query().is_some() {
            let pairs: Vec<_> = url.query_pairs().into_owned().map(masked).collect();
            url.query_pairs_mut().clear().extend_pairs(pairs);
        }
        url.fmt(out)
    }
}

/// A parameter of a URL, its value hidden if it is a secret.
fn masked((name, value): (String, String)) -> (String, String) {
    let value = if name.contains("password") { "***".to_owned() } else { value };
    (name, value)
}

impl fmt::Debug for DatabaseUrl {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, out)
    }
}

impl Serialize for DatabaseUrl {
    fn serialize<S: serde::Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        to.collect_str(self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_database_is_told_without_its_password() {
        let check = |url: &str, expected: &str| {
            assert_eq!(DatabaseUrl::from(url.to_owned()).to_string(), expected, "{url}");
        };
        check("sqlite:data/postback.db", "sqlite:data/postback.db");
        check("postgres://me:hunter2@db/postback", "postgres://me:***@db/postback");
        check(
            "postgres:///mail?host=/run&user=me&password=hunter2",
            "postgres:///mail?host=%2Frun&user=me&password=***",
        );
        // What has an unescaped byte in its password, or anything else that makes it no URL.
        for password in ["hun/ter2", "hun#ter2", "hun?ter2", "12/ter2", "12#ter2", "12?ter2"] {
            check(&format!("postgres://me:{password}@127.0.0.1:5999/db"), "postgres://***");
        }
        check("postgres://me:hunter2@db:5999x/db", "postgres://***");
        check("postgres://me:hunter2@[::1/db", "postgres://***");
        check("postgres:me:hunter2@db/db", "://***");
        check("host=db password=hunter2", "://***");
    }
}
