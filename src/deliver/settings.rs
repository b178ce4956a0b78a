//! What can be set about delivery. Read by `config`, checked once, used by `route`.
//!
//! A mail goes the way of the first rule that holds for it; where none does, `mode` says. A way is a list: the first
//! that can be had is taken.

mod mx;
mod rule;
mod smarthost;
pub mod source;
mod timeouts;

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::presets::Preset;
use crate::model::retry;
pub use mx::Mx;
pub use rule::{CAPTURE, MX, Rule, SMARTHOST};
pub use smarthost::{DeliveredOn, Smarthost, Tls};
pub use source::{DEFAULT_POOL, Source};
pub use timeouts::{TimeoutSettings, Timeouts};

/// What an address that nobody has heard from yet may send, day by day: about twice as much every other day.
const WARM_UP: [u32; 20] = [
    50, 75, 100, 150, 200, 300, 400, 600, 800, 1_200, 1_600, 2_400, 3_200, 5_000, 7_500, 10_000, 15_000, 20_000,
    30_000, 50_000,
];

/// Where mail goes and how hard we try.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Settings {
    /// Where mail goes that no rule sends elsewhere.
    pub mode: Mode,
    /// Deliveries that are performed at once.
    pub at_once: u16,
    /// Waits between attempts at a delivery, in minutes; the last repeats until its lifetime ends.
    pub retry_minutes: Vec<u32>,
    /// How long a delivery is tried, in hours, unless its mail agent or its message says otherwise.
    pub lifetime_hours: u32,
    /// The next hop, in mode `smarthost`; rules call it `smarthost`.
    pub smarthost: Smarthost,
    /// Straight to the recipients' exchangers, in mode `mx`; rules call it `mx`.
    pub mx: Mx,
    /// Further hosts that send our mail on, by the names that rules call them.
    pub smarthosts: BTreeMap<String, Smarthost>,
    /// The addresses that mail goes out from to exchangers; none: whichever the system takes.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub sources: Vec<Source>,
    /// Mails that a source which is warming may send, on its first day, its second, and so on.
    pub warm_up: Vec<u32>,
    /// Which mail goes which way; the first that holds decides.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub routes: Vec<Rule>,
    /// How much destinations take, before what is built in.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub destinations: Vec<Preset>,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            mode: Mode::default(),
            at_once: 256,
            retry_minutes: retry::MAIL.iter().map(|wait| (wait.as_secs() / 60) as u32).collect(),
            lifetime_hours: (retry::MAIL_LIFETIME.as_secs() / 3600) as u32,
            smarthost: Smarthost::default(),
            mx: Mx::default(),
            smarthosts: BTreeMap::new(),
            sources: Vec::new(),
            warm_up: WARM_UP.to_vec(),
            routes: Vec::new(),
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
    /// Straight to the exchangers of each recipient's domain.
    Mx,
}

impl Mode {
    /// The way of mail that no rule sends elsewhere.
    pub fn via(self) -> &'static str {
        match self {
            Mode::Capture => CAPTURE,
            Mode::Smarthost => SMARTHOST,
            Mode::Mx => MX,
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
        let rule = || self.routes.iter().enumerate().find_map(|(place, rule)| Some((place, rule.complaint(self)?)));
        if let Some((place, why)) = rule() {
            return Some(format!("deliver.routes.{place}: {why}"));
        }
        let is_name = |name: &str| name.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_'));
        let taken = |name: &&String| matches!(name.as_str(), CAPTURE | SMARTHOST | MX | "") || !is_name(name);
        if let Some(name) = self.smarthosts.keys().find(taken) {
            return Some(format!("deliver.smarthosts.{name}: another name is needed, of letters, digits, - and _"));
        }
        let smarthost = |(section, host): (String, &Smarthost)| {
            let (key, why) = host.complaint()?;
            Some(format!("deliver.{section}.{key}: {why}"))
        };
        let mx = || {
            let (key, why) = self.mx.complaint().filter(|_| self.uses(MX))?;
            Some(format!("deliver.mx.{key}: {why}"))
        };
        let source = || self.sources.iter().enumerate().find_map(|(place, source)| Some((place, source.complaint()?)));
        if let Some((place, why)) = source() {
            return Some(format!("deliver.sources.{place}.{why}"));
        }
        if self.warm_up.contains(&0) {
            return Some("deliver.warm_up: no day may have 0 mails".to_owned());
        }
        let destinations = || self.destinations.iter().find_map(Preset::complaint);
        self.used_smarthosts().find_map(smarthost).or_else(mx).or_else(destinations)
    }

    /// What is unwise, one line each.
    pub fn warnings(&self) -> Vec<String> {
        let of = |(section, host): (String, &Smarthost)| {
            host.warnings().into_iter().map(move |(key, why)| format!("deliver.{section}.{key}: {why}"))
        };
        self.used_smarthosts().flat_map(of).collect()
    }

    /// Whether any mail goes this way.
    pub fn uses(&self, via: &str) -> bool {
        self.mode.via() == via || self.routes.iter().any(|rule| rule.via.iter().any(|name| name == via))
    }

    /// Whether mail leaves from whichever address the system takes.
    pub fn leaves_from_anywhere(&self) -> bool {
        self.uses(MX) && !self.sources.iter().any(|source| source.pool() == DEFAULT_POOL)
    }

    /// Each address that mail leaves from, with what we call ourselves there, on a machine of this name.
    pub fn sources_of(&self, hostname: &str) -> Vec<(IpAddr, String)> {
        let otherwise = if self.mx.ehlo_name.is_empty() { hostname } else { &self.mx.ehlo_name };
        let sources = self.sources.iter().filter(|_| self.uses(MX));
        let of = |source: &Source| {
            let name = if source.ehlo_name.is_empty() { otherwise } else { &source.ehlo_name };
            source.addresses.iter().map(|address| (*address, name.to_owned())).collect::<Vec<_>>()
        };
        sources.flat_map(of).collect()
    }

    /// The smarthosts that mail goes to, with their sections.
    fn used_smarthosts(&self) -> impl Iterator<Item = (String, &Smarthost)> {
        let only = self.uses(SMARTHOST).then(|| ("smarthost".to_owned(), &self.smarthost));
        only.into_iter().chain(self.smarthosts.iter().map(|(name, host)| (format!("smarthosts.{name}"), host)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn host() -> Smarthost {
        Smarthost { host: "relay.example.com".into(), ..Smarthost::default() }
    }

    /// The key of the complaint about settings that were sane before `change`.
    fn check(change: impl FnOnce(&mut Settings), expected: Option<&str>) {
        let mut settings = Settings {
            mode: Mode::Smarthost,
            smarthost: host(),
            smarthosts: [("backup".to_owned(), host())].into(),
            ..Settings::default()
        };
        change(&mut settings);
        let complaint = settings.complaint();
        assert_eq!(complaint.as_deref().and_then(|text| text.split(": ").next()), expected, "{complaint:?}");
    }

    #[test]
    fn nonsense_is_told() {
        assert_eq!(Settings::default().complaint(), None);
        check(|_| {}, None);
        check(|all| all.smarthost.host.clear(), Some("deliver.smarthost.host"));
        check(|all| all.smarthost.port = 0, Some("deliver.smarthost.port"));
        check(|all| all.smarthost.ehlo_name = "a b".into(), Some("deliver.smarthost.ehlo_name"));
        check(|all| all.smarthost.timeouts.block_secs = 0, Some("deliver.smarthost.timeouts.block_secs"));
        let waits = |hours| Smarthost { delivered: DeliveredOn::OnDsn, report_wait_hours: hours, ..host() };
        check(|all| all.smarthost = waits(120), None);
        for hours in [0, 1441] {
            check(|all| all.smarthost = waits(hours), Some("deliver.smarthost.report_wait_hours"));
        }
        check(|all| all.smarthost.username = "me".into(), None);
        let opportunistic = Smarthost { username: "me".into(), tls: Tls::Opportunistic, ..Smarthost::default() };
        let with_password = Smarthost { host: "a".into(), ..opportunistic };
        check(|all| all.smarthost = with_password.clone(), Some("deliver.smarthost.tls"));
        check(|all| all.smarthost = Smarthost { auth_in_clear: true, tls: Tls::None, ..with_password.clone() }, None);
        check(|all| all.smarthosts.get_mut("backup").unwrap().port = 0, Some("deliver.smarthosts.backup.port"));
        check(|all| (all.mode, all.mx.port) = (Mode::Mx, 0), Some("deliver.mx.port"));
        check(|all| all.mx.port = 0, None);
    }

    #[test]
    fn rules_name_ways_that_there_are() {
        let rule = |via: &[&str]| Rule { via: via.iter().map(|via| (*via).to_owned()).collect(), ..Rule::default() };
        check(|all| all.routes = vec![rule(&["backup", "mx"]), rule(&["capture"])], None);
        check(|all| all.routes = vec![rule(&["backup"]), rule(&[])], Some("deliver.routes.1"));
        check(|all| all.routes = vec![rule(&["nobody"])], Some("deliver.routes.0"));
        check(|all| all.routes = vec![Rule { domain: "a b".into(), ..rule(&["mx"]) }], Some("deliver.routes.0"));
        check(|all| all.routes = vec![Rule { domain: "*.example.com".into(), ..rule(&["mx"]) }], None);
        check(|all| (all.mode, all.routes) = (Mode::Capture, vec![rule(&["mx"])]), Some("deliver.routes.0"));
        check(|all| drop(all.smarthosts.insert("mx".into(), all.smarthost.clone())), Some("deliver.smarthosts.mx"));
        let odd = "a.b".to_owned();
        check(|all| drop(all.smarthosts.insert(odd, all.smarthost.clone())), Some("deliver.smarthosts.a.b"));
    }

    #[test]
    fn sources_have_addresses_and_days() {
        let source = |addresses: &[&str], since: &str| Source {
            addresses: addresses.iter().map(|address| address.parse().unwrap()).collect(),
            warming_since: since.into(),
            ..Source::default()
        };
        check(|all| all.sources = vec![source(&["192.0.2.1", "2001:db8::1"], "2026-11-01")], None);
        check(|all| all.sources = vec![source(&[], "")], Some("deliver.sources.0.addresses"));
        check(|all| all.sources = vec![source(&["192.0.2.1", "192.0.2.2"], "")], Some("deliver.sources.0.addresses"));
        check(|all| all.sources = vec![source(&["192.0.2.1"], "soon")], Some("deliver.sources.0.warming_since"));
        check(|all| all.warm_up = vec![1, 0], Some("deliver.warm_up"));
        let rule = |pool: &str| Rule { pool: pool.into(), via: vec!["mx".into()], ..Rule::default() };
        check(|all| all.routes = vec![rule("bulk")], Some("deliver.routes.0"));
        let bulk = || Source { pool: "bulk".into(), ..source(&["192.0.2.1"], "") };
        check(|all| (all.sources, all.routes) = (vec![bulk()], vec![rule("bulk")]), None);
        let named = Source { ehlo_name: "mta1.example.com".into(), ..source(&["192.0.2.1", "2001:db8::1"], "") };
        let settings = Settings { mode: Mode::Mx, sources: vec![named, bulk()], ..Settings::default() };
        let names: Vec<String> = settings.sources_of("mail.example.com").into_iter().map(|(_, name)| name).collect();
        assert_eq!(names, ["mta1.example.com", "mta1.example.com", "mail.example.com"]);
        assert!(!settings.leaves_from_anywhere());
        assert!(Settings { sources: vec![bulk()], ..settings }.leaves_from_anywhere());
    }

    #[test]
    fn settings_read_as_they_are_written() {
        let text = toml::to_string(&Settings::default()).unwrap();
        assert_eq!(toml::from_str::<Settings>(&text).unwrap(), Settings::default());
        assert!(toml::from_str::<Settings>("[smarthost]\nhots = 'x'").is_err());
        let rule = toml::from_str::<Settings>("[[routes]]\ntag = 'otp'\nvia = ['mx']").unwrap().routes.remove(0);
        assert_eq!((rule.tag.as_str(), rule.via.as_slice()), ("otp", &["mx".to_owned()][..]));
    }
}
