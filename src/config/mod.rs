//! Settings: read once, checked once, masked when printed.
//!
//! Built-in values < `postback.toml` < environment (`POSTBACK__SECTION__KEY`) < flags. Every room has its own
//! `Settings`; this module only puts them together, so that nobody but `app` and `main` knows them all. A key that
//! nobody reads is an error, with the nearest one that somebody does. Nonsense is told in one line and ends the
//! start; what is merely unwise is a warning, and an error under `--strict`.

mod layers;
mod nearest;

use std::fmt;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use layers::Layers;
pub use layers::{Origin, Problem};
pub use nearest::nearest;

use crate::http::admin;
use crate::model::address::domain_name;
use crate::{egress, log, smtp, tls};

/// Everything that can be set.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Settings {
    /// The folder that holds the database, large contents and the certificate of the first run.
    pub data: PathBuf,
    /// `sqlite:<path>` or `postgres://…`. Empty: `sqlite:<data>/postback.db`.
    pub database: DatabaseUrl,
    /// The name under which this machine is known to other mail systems.
    pub hostname: String,
    /// What this node does.
    pub roles: Vec<Role>,
    /// How long work under way may take when the program is told to stop.
    pub shutdown_timeout_secs: u32,
    /// The SMTP doors.
    pub smtp: smtp::settings::Settings,
    /// Health and metrics.
    pub admin: admin::Settings,
    /// The certificate of the doors.
    pub tls: tls::Settings,
    /// Pixels and links.
    pub tracking: Tracking,
    /// Reports about our mail, coming home.
    pub reports: Reports,
    /// Where readers are.
    pub geoip: Geoip,
    /// Where we may connect to.
    pub egress: egress::Settings,
    /// How long things are kept.
    pub retention: Retention,
    /// The log.
    pub log: log::Settings,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            data: PathBuf::from("data"),
            database: DatabaseUrl::default(),
            hostname: "postback.localhost".to_owned(),
            roles: Role::ALL.to_vec(),
            shutdown_timeout_secs: 30,
            smtp: smtp::settings::Settings::default(),
            admin: admin::Settings::default(),
            tls: tls::Settings::default(),
            tracking: Tracking::default(),
            reports: Reports::default(),
            geoip: Geoip::default(),
            egress: egress::Settings::default(),
            retention: Retention::default(),
            log: log::Settings::default(),
        }
    }
}

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
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Tracking {
    /// What tracked URLs begin with, without a final slash: `https://track.example.com`. Empty: where the HTTP door
    /// listens, which only this machine can follow.
    pub base_url: String,
}

impl Tracking {
    fn complaint(&self) -> Option<String> {
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
}

impl Default for Reports {
    fn default() -> Self {
        Self { return_path_domain: String::new(), complaint_local_part: "complaints".to_owned() }
    }
}

/// Where readers are.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Geoip {
    /// Files in MaxMind's format, taken into use again when they change; the first that knows an address answers.
    /// None: the countries that are built in.
    pub databases: Vec<PathBuf>,
}

/// How long things are kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Retention {
    /// Messages with everything about them, from their acceptance.
    pub messages_days: u32,
    /// Reports kept for people to read.
    pub reports_days: u32,
}

impl Default for Retention {
    fn default() -> Self {
        Self { messages_days: 90, reports_days: 30 }
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

    /// Whether it is a file of this machine.
    pub fn is_sqlite(&self) -> bool {
        self.0.starts_with("sqlite:")
    }
}

impl From<String> for DatabaseUrl {
    fn from(url: String) -> Self {
        Self(url)
    }
}

impl fmt::Display for DatabaseUrl {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match url::Url::parse(&self.0) {
            Ok(mut url) if !self.is_sqlite() => {
                if url.password().is_some() {
                    // Only a URL that can have no password refuses to be given one.
                    let _ = url.set_password(Some("***"));
                }
                url.fmt(out)
            }
            _ => out.write_str(&self.0),
        }
    }
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

/// Where settings come from, besides the built-in values.
#[derive(Clone, Debug, Default)]
pub struct Sources {
    /// The file that the caller named. Without one, `postback.toml` of the working folder is read if it is there.
    pub file: Option<PathBuf>,
    /// The environment; names that do not begin with `POSTBACK__` are passed over.
    pub environment: Vec<(String, String)>,
    /// The flag as typed, the key that it sets, and the value.
    pub flags: Vec<(String, String, String)>,
}

/// Settings with where each came from.
#[derive(Clone, Debug)]
pub struct Loaded {
    /// The settings.
    pub settings: Settings,
    layers: Layers<Settings>,
}

/// Reads and checks everything.
///
/// # Errors
/// The first thing that makes no sense.
pub fn load(sources: &Sources) -> Result<Loaded, Problem> {
    let mut layers = Layers::<Settings>::default();
    if let Some((path, text)) = file(sources.file.as_deref())? {
        layers.file(&path, &text)?;
    }
    layers.environment(&sources.environment)?;
    for (flag, key, value) in &sources.flags {
        layers.text(key, value, Origin::Flag(flag.clone()))?;
    }
    let settings = layers.settings()?.completed();
    match settings.complaint() {
        Some(complaint) => Err(Problem(complaint)),
        None => Ok(Loaded { settings, layers }),
    }
}

const USUAL_FILE: &str = "postback.toml";

fn file(named: Option<&Path>) -> Result<Option<(PathBuf, String)>, Problem> {
    let path = named.unwrap_or(Path::new(USUAL_FILE));
    match std::fs::read_to_string(path) {
        Ok(text) => Ok(Some((path.to_owned(), text))),
        Err(fault) if fault.kind() == std::io::ErrorKind::NotFound && named.is_none() => Ok(None),
        Err(fault) => Err(Problem(format!("read {}: {fault}", path.display()))),
    }
}

impl Loaded {
    /// Every effective setting as its key, its value in TOML with secrets masked, and where it came from.
    pub fn effective(&self) -> Vec<(String, String, Origin)> {
        layers::leaves(&self.settings)
            .into_iter()
            .map(|(key, value)| {
                let origin = self.layers.origin(&key);
                (key, value.to_string(), origin)
            })
            .collect()
    }
}

impl Settings {
    /// What follows from other settings, where it was not set.
    fn completed(mut self) -> Self {
        if self.database.reveal().is_empty() {
            self.database = format!("sqlite:{}", self.data.join("postback.db").display()).into();
        }
        if self.reports.return_path_domain.is_empty() {
            self.reports.return_path_domain.clone_from(&self.hostname);
        }
        self.smtp.hostname.clone_from(&self.hostname);
        self
    }

    /// Where we may connect to.
    ///
    /// # Errors
    /// The first entry that makes no sense.
    pub fn egress_policy(&self) -> Result<egress::Policy, egress::BadEntry> {
        // Until mail can leave the machine there is only capture mode.
        egress::Policy::new(&self.egress).map(egress::Policy::capturing)
    }

    /// What makes no sense, in one line.
    fn complaint(&self) -> Option<String> {
        let postgres = ["postgres://", "postgresql://"].iter().any(|scheme| self.database.reveal().starts_with(scheme));
        if !self.database.is_sqlite() && !postgres {
            return Some(format!("database: `{}` is neither sqlite:<path> nor postgres://…", self.database));
        }
        if self.roles.is_empty() {
            return Some("roles: a node without a role does nothing; name doors, deliver or webhooks".to_owned());
        }
        let days = [("messages_days", self.retention.messages_days), ("reports_days", self.retention.reports_days)];
        if let Some((key, _)) = days.iter().find(|(_, days)| *days == 0) {
            return Some(format!("retention.{key}: must not be 0"));
        }
        if self.hostname.is_empty() || !self.hostname.bytes().all(|byte| byte.is_ascii_graphic()) {
            return Some(format!("hostname: `{}` is not a host name", self.hostname));
        }
        let home = &self.reports.return_path_domain;
        if domain_name(home).is_err() {
            let whence = if *home == self.hostname { ", taken from hostname," } else { "" };
            return Some(format!("reports.return_path_domain: `{home}`{whence} is not a domain name with a dot"));
        }
        if let Some(complaint) = self.tracking.complaint() {
            return Some(complaint);
        }
        let egress = self.egress_policy().err().map(|bad| bad.to_string());
        egress.or_else(|| self.smtp.complaint()).or_else(|| self.log.complaint())
    }

    /// What is unwise, one line each.
    pub fn warnings(&self) -> Vec<String> {
        let mut warnings = Vec::new();
        if !self.admin.address.ip().is_loopback() {
            warnings.push(format!(
                "admin.address: {} shows health and metrics to everybody who can reach it",
                self.admin.address
            ));
        }
        if self.egress.allow_http {
            warnings.push("egress.allow_http: webhooks may be sent in clear text to anywhere".to_owned());
        }
        warnings
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn load_with(environment: &[(&str, &str)], flags: &[(&str, &str)]) -> Result<Loaded, String> {
        let own = |text: &&str| (*text).to_owned();
        load(&Sources {
            file: None,
            environment: environment.iter().map(|(name, value)| (own(name), own(value))).collect(),
            flags: flags.iter().map(|(key, value)| (format!("--{key}"), own(key), own(value))).collect(),
        })
        .map_err(|problem| problem.to_string())
    }

    #[test]
    fn nothing_set_is_enough() {
        let loaded = load_with(&[], &[]).unwrap();
        assert_eq!(loaded.settings.database.reveal(), "sqlite:data/postback.db");
        assert_eq!(loaded.settings.warnings(), Vec::<String>::new());
    }

    #[test]
    fn effective_settings_say_where_they_come_from_and_hide_secrets() {
        let url = ("POSTBACK__DATABASE", "postgres://me:hunter2@db/postback");
        let loaded = load_with(&[url], &[("data", "elsewhere")]).unwrap();
        let line = |wanted: &str| {
            let all = loaded.effective();
            let (_, value, origin) = all.iter().find(|(key, _, _)| key == wanted).unwrap();
            format!("{value} {origin}")
        };
        assert_eq!(line("database"), "\"postgres://me:***@db/postback\" POSTBACK__DATABASE");
        assert_eq!(line("data"), "\"elsewhere\" --data");
        assert_eq!(line("retention.messages_days"), "90 default");
        assert_eq!(loaded.settings.database.reveal(), url.1);
    }

    #[test]
    fn nonsense_is_told_in_one_line() {
        let check = |key: &str, value: &str, expected: &str| {
            assert_eq!(load_with(&[], &[(key, value)]).unwrap_err(), expected);
        };
        check("database", "mysql://x", "database: `mysql://x` is neither sqlite:<path> nor postgres://…");
        check("roles", "[]", "roles: a node without a role does nothing; name doors, deliver or webhooks");
        check("retention.reports_days", "0", "retention.reports_days: must not be 0");
        check("hostname", "a b", "hostname: `a b` is not a host name");
        let home = "is not a domain name with a dot";
        check("hostname", "mail", &format!("reports.return_path_domain: `mail`, taken from hostname, {home}"));
        check("reports.return_path_domain", "b", &format!("reports.return_path_domain: `b` {home}"));
        let told = "tracking.base_url: `https://x/` is not like https://track.example.com";
        check("tracking.base_url", "https://x/", told);
        check("egress.allow", "banana", "egress: \"banana\" is neither an address nor a network");
        check("log.level", "loud", "log.level: `loud` is neither a level nor a filter like info,postback::smtp=debug");
        check(
            "roles",
            "doors,delivery",
            "--roles: roles: `delivery` is not one of doors, deliver, webhooks; did you mean `deliver`?",
        );
    }
}
