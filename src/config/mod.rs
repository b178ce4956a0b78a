//! Settings: read once, checked once, masked when printed.
//!
//! Built-in values < `postback.toml` < environment (`POSTBACK__SECTION__KEY`) < flags. Every room has its own
//! `Settings`; this module only puts them together, so that nobody but `app` and `main` knows them all. A key that
//! nobody reads is an error, with the nearest one that somebody does. Nonsense is told in one line and ends the
//! start; what is merely unwise is a warning, and an error under `--strict`.

mod layers;
mod nearest;
mod sections;

use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use layers::Layers;
pub use layers::{Origin, Problem, plain};
pub use nearest::nearest;
pub use sections::{DatabaseUrl, Geoip, GeoipSource, GeoipUpdate, Reports, Retention, Role, TlsReports, Tracking};

use crate::deliver::settings::Mode;
use crate::http::admin;
use crate::mail::rules::Rules;
use crate::model::address::domain_name;
use crate::model::bearing::Policy;
use crate::model::secret::Secret;
use crate::store::db::{LOG_BYTES_MAX, Sync};
use crate::{deliver, dns, egress, http, log, smtp, tls, webhooks};

/// Everything that can be set.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Settings {
    /// The folder that holds the database, large contents and the certificate of the first run.
    pub data: PathBuf,
    /// `sqlite:<path>` or `postgres://…`. Empty: `sqlite:<data>/postback.db`.
    pub database: DatabaseUrl,
    /// With less room on the disk of the data folder, in bytes, no mail is taken.
    pub disk_free_bytes_min: u64,
    /// How hard SQLite syncs. Anything but `full` breaks the promise that accepted mail survives a power cut.
    pub sync: Sync,
    /// What secrets in the database are sealed with: the base64 of 32 bytes. Empty: it stands in a file.
    pub master_key: Secret,
    /// The file that it stands in, made when there is none. Not set: `<data>/master.key`.
    pub master_key_file: Option<PathBuf>,
    /// The name under which this machine is known to other mail systems.
    pub hostname: String,
    /// What this node does.
    pub roles: Vec<Role>,
    /// How long work under way may take when the program is told to stop.
    pub shutdown_timeout_secs: u32,
    /// The SMTP doors.
    pub smtp: smtp::settings::Settings,
    /// The HTTP doors.
    pub http: http::Settings,
    /// Health and metrics.
    pub admin: admin::Settings,
    /// The certificate of the doors.
    pub tls: tls::Settings,
    /// Where mail goes.
    pub deliver: deliver::Settings,
    /// Webhooks, going out.
    pub webhooks: webhooks::Settings,
    /// Pixels and links.
    pub tracking: Tracking,
    /// Reports about our mail, coming home.
    pub reports: Reports,
    /// Reports about TLS with other people's hosts, going out.
    pub tls_reports: TlsReports,
    /// When addresses are left alone.
    pub suppression: Policy,
    /// Where readers are.
    pub geoip: Geoip,
    /// Who looks up names.
    pub dns: dns::Settings,
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
            disk_free_bytes_min: 2 * LOG_BYTES_MAX,
            sync: Sync::Full,
            master_key: Secret::default(),
            master_key_file: None,
            hostname: "postback.localhost".to_owned(),
            roles: Role::ALL.to_vec(),
            shutdown_timeout_secs: 30,
            smtp: smtp::settings::Settings::default(),
            http: http::Settings::default(),
            admin: admin::Settings::default(),
            tls: tls::Settings::default(),
            deliver: deliver::Settings::default(),
            webhooks: webhooks::Settings::default(),
            tracking: Tracking::default(),
            reports: Reports::default(),
            tls_reports: TlsReports::default(),
            suppression: Policy::default(),
            geoip: Geoip::default(),
            dns: dns::Settings::default(),
            egress: egress::Settings::default(),
            retention: Retention::default(),
            log: log::Settings::default(),
        }
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
    /// Every setting as it is in force, secrets masked.
    pub fn in_force(&self) -> Vec<(String, String)> {
        layers::leaves(self).into_iter().map(|(key, value)| (key, value.to_string())).collect()
    }

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

    /// Whether nothing leaves the machine.
    pub fn is_capture(&self) -> bool {
        self.deliver.mode == Mode::Capture
    }

    /// The host of tracked links; empty when none was set.
    pub fn tracking_host(&self) -> String {
        let base = url::Url::parse(&self.tracking.base_url).ok();
        base.and_then(|base| base.host_str().map(str::to_owned)).unwrap_or_default()
    }

    /// Where we may connect to.
    ///
    /// # Errors
    /// The first entry that makes no sense.
    pub fn egress_policy(&self) -> Result<egress::Policy, egress::BadEntry> {
        let policy = egress::Policy::new(&self.egress)?;
        Ok(if self.is_capture() { policy.capturing() } else { policy })
    }

    /// By which replies and reports are judged: the built-in rules, and the operator's before them.
    ///
    /// # Errors
    /// The operator's file cannot be read, or a rule in it makes no sense.
    pub fn rules(&self) -> Result<Rules, Problem> {
        let Some(path) = &self.reports.rules else { return Ok(Rules::default()) };
        let problem = |why: &dyn std::fmt::Display| Problem(format!("reports.rules: {}: {why}", path.display()));
        let text = std::fs::read_to_string(path).map_err(|fault| problem(&fault))?;
        Rules::with_own(&text).map_err(|bad| problem(&bad))
    }

    /// What makes no sense, in one line.
    fn complaint(&self) -> Option<String> {
        let postgres = ["postgres://", "postgresql://"].iter().any(|scheme| self.database.reveal().starts_with(scheme));
        if self.database.sqlite_path().is_none() && !postgres {
            return Some(format!("database: `{}` is neither sqlite:<path> nor postgres://…", self.database));
        }
        if let (true, Err(fault)) = (postgres, url::Url::parse(self.database.reveal())) {
            let advice = "a `/`, `?`, `#` or `@` of a password is written as %2F, %3F, %23 or %40";
            return Some(format!("database: `{}` does not read as a URL ({fault}); {advice}", self.database));
        }
        if self.roles.is_empty() {
            return Some("roles: a node without a role does nothing; name doors, deliver or webhooks".to_owned());
        }
        let keep = &self.retention;
        let days = [
            ("messages_days", keep.messages_days),
            ("events_days", keep.events_days),
            ("reports_days", keep.reports_days),
            ("webhook_log_days", keep.webhook_log_days),
            ("dialogues_days", keep.dialogues_days),
        ];
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
        if self.tracking.base_url.is_empty() && !self.is_capture() {
            return Some(
                "tracking.base_url: not set; once mail leaves this machine, readers must be able to reach it: give the \
                 address under which they do, like https://track.example.com"
                    .to_owned(),
            );
        }
        let egress = self.egress_policy().err().map(|bad| bad.to_string());
        egress
            .or_else(|| self.tracking.complaint())
            .or_else(|| self.tls_reports.complaint())
            .or_else(|| self.tls.complaint())
            .or_else(|| self.smtp.complaint())
            .or_else(|| self.http.complaint())
            .or_else(|| self.deliver.complaint())
            .or_else(|| self.webhooks.complaint())
            .or_else(|| self.log.complaint())
            .or_else(|| self.suppression.complaint())
            .or_else(|| self.rules().err().map(|Problem(why)| why))
    }

    /// What is unwise, one line each.
    pub fn warnings(&self) -> Vec<String> {
        let mut warnings = [self.smtp.warnings(), self.http.warnings(), self.deliver.warnings()].concat();
        if self.sync != Sync::Full {
            warnings.push("sync: a power cut may lose mail that was accepted".to_owned());
        }
        if self.database.sqlite_path().is_some() && self.disk_free_bytes_min < LOG_BYTES_MAX {
            warnings.push(format!(
                "disk_free_bytes_min: the database's log may need {} MiB more after the last mail was taken",
                LOG_BYTES_MAX >> 20
            ));
        }
        if !self.is_capture() && self.hostname.ends_with("localhost") {
            warnings.push(format!("hostname: reports about mail will not find {}", self.hostname));
        }
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
    fn what_is_unwise_is_told() {
        let check = |key: &str, value: &str, expected: &str| {
            let warnings = load_with(&[], &[(key, value)]).unwrap().settings.warnings();
            assert_eq!(warnings.iter().map(|told| told.split(':').next().unwrap()).collect::<Vec<_>>(), [expected]);
        };
        check("sync", "normal", "sync");
        check("disk_free_bytes_min", "100000000", "disk_free_bytes_min");
        check("http.address", "0.0.0.0:8080", "http.address");
        check("admin.address", "[::]:9080", "admin.address");
        check("egress.allow_http", "true", "egress.allow_http");
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
        let unread = "database: `postgres://***` does not read as a URL (invalid port number); a `/`, `?`, `#` or `@` of \
                      a password is written as %2F, %3F, %23 or %40";
        check("database", "postgres://me:hun/ter2@127.0.0.1/db", unread);
        check("roles", "[]", "roles: a node without a role does nothing; name doors, deliver or webhooks");
        check("retention.reports_days", "0", "retention.reports_days: must not be 0");
        check("hostname", "a b", "hostname: `a b` is not a host name");
        let home = "is not a domain name with a dot";
        check("hostname", "mail", &format!("reports.return_path_domain: `mail`, taken from hostname, {home}"));
        check("reports.return_path_domain", "b", &format!("reports.return_path_domain: `b` {home}"));
        let told = "tracking.base_url: `https://x/` is not like https://track.example.com";
        check("tracking.base_url", "https://x/", told);
        check("tls_reports.from", "me", "tls_reports.from: `me` is not a mail address");
        check("http.connections_max", "0", "http.connections_max: must not be 0");
        check("deliver.at_once", "0", "deliver.at_once: must not be 0");
        let told = "tracking.base_url: not set; once mail leaves this machine, readers must be able to reach it: give the \
                    address under which they do, like https://track.example.com";
        check("deliver.mode", "smarthost", told);
        check("egress.allow", "banana", "egress: \"banana\" is neither an address nor a network");
        check("log.format", "xml", "--log.format: `xml` is not one of text, json");
        check("log.level", "loud", "log.level: `loud` is neither a level nor a filter like info,postback::smtp=debug");
        check(
            "roles",
            "doors,delivery",
            "--roles: `delivery` is not one of doors, deliver, webhooks; did you mean `deliver`?",
        );
    }
}
