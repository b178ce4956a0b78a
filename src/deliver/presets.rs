//! How much each destination takes, as data: what the settings say, then what is known about the large providers.
//!
//! Exchangers are matched by the ends of their names. Domains that are served by the same provider, or by the same set of
//! exchangers, are one site. Pure.

use std::sync::LazyLock;

use serde::{Deserialize, Serialize};

use super::pace::Limits;
use super::sites::Site;

/// Hosts of a set that name its site; larger sets differ in these nearly always.
const HOSTS_NAMED_MAX: usize = 4;

/// How much one destination takes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Preset {
    /// What logs call it.
    #[serde(default)]
    pub name: String,
    /// Ends of the names of its mail exchangers; none: all that no other entry is for.
    #[serde(default)]
    pub hosts: Vec<String>,
    /// Connections at once, at most.
    #[serde(default = "connections")]
    pub connections: u32,
    /// Connections at once to begin with.
    #[serde(default = "connections_start")]
    pub connections_start: u32,
    /// Mails over one connection.
    #[serde(default = "mails_per_connection")]
    pub mails_per_connection: u32,
    /// Mails a minute; none: as many as the answers allow.
    #[serde(default)]
    pub mails_per_minute: Option<u32>,
}

const fn connections() -> u32 {
    10
}

const fn connections_start() -> u32 {
    5
}

const fn mails_per_connection() -> u32 {
    50
}

impl Preset {
    /// The same for the throttle.
    pub fn limits(&self) -> Limits {
        let Self { connections, connections_start, mails_per_minute, .. } = *self;
        Limits { connections, connections_start, mails_per_minute }
    }

    /// What makes no sense, in one line.
    pub fn complaint(&self) -> Option<String> {
        let zeros = [
            ("connections", self.connections == 0),
            ("connections_start", self.connections_start == 0),
            ("mails_per_connection", self.mails_per_connection == 0),
            ("mails_per_minute", self.mails_per_minute == Some(0)),
        ];
        let (key, _) = zeros.into_iter().find(|(_, is_zero)| *is_zero)?;
        Some(format!("deliver.destinations: {key} of `{}` must not be 0", self.name))
    }

    fn serves(&self, host: &str) -> bool {
        let is_end =
            |end: &String| host.strip_suffix(end.as_str()).is_some_and(|rest| rest.is_empty() || rest.ends_with('.'));
        self.hosts.iter().any(is_end)
    }
}

#[derive(Deserialize)]
struct File {
    site: Vec<Preset>,
}

static BUILT_IN: LazyLock<Vec<Preset>> = LazyLock::new(|| {
    let file: File = toml::from_str(include_str!("presets.toml")).expect("the file is tested");
    file.site
});

/// What the settings say before what is built in.
#[derive(Clone, Debug, Default)]
pub struct Presets(Vec<Preset>);

impl Presets {
    /// With these first.
    pub fn new(own: &[Preset]) -> Self {
        Self(own.to_vec())
    }

    /// What is known about the site of an exchanger.
    pub fn of_host(&self, host: &str) -> &Preset {
        let host = host.to_ascii_lowercase();
        let all = || self.0.iter().chain(BUILT_IN.iter());
        let named = all().find(|preset| preset.serves(&host));
        let any = || all().find(|preset| preset.hosts.is_empty());
        named.or_else(any).expect("the last one built in serves every host")
    }

    /// The site of a set of exchangers, the most preferred first: a provider's name, or the names of the hosts. None:
    /// there is no exchanger.
    pub fn site(&self, hosts: &[String]) -> Option<Site> {
        let preset = self.of_host(hosts.first()?);
        if !preset.hosts.is_empty() {
            return Some(preset.name.as_str().into());
        }
        let mut names: Vec<&str> = hosts.iter().map(String::as_str).collect();
        names.sort_unstable();
        names.truncate(HOSTS_NAMED_MAX);
        Some(names.join("+").into())
    }

    /// How much a site takes; a name that is no provider's is of a host, or a domain whose hosts are not known yet.
    pub fn of_site(&self, site: &str) -> &Preset {
        let mut named = self.0.iter().chain(BUILT_IN.iter()).filter(|preset| !preset.hosts.is_empty());
        named.find(|preset| preset.name == site).unwrap_or_else(|| self.of_host(site.split('+').next().unwrap_or(site)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_built_in_makes_sense() {
        assert!(BUILT_IN.iter().all(|preset| preset.complaint().is_none()));
        assert!(BUILT_IN.iter().all(|preset| preset.connections_start <= preset.connections));
        let (last, others) = BUILT_IN.split_last().unwrap();
        assert!(
            last.hosts.is_empty() && others.iter().all(|preset| !preset.hosts.is_empty() && !preset.name.is_empty())
        );
    }

    #[test]
    fn domains_of_one_provider_are_one_site() {
        let check = |hosts: &[&str], expected: &str| {
            let hosts: Vec<String> = hosts.iter().map(|host| (*host).to_owned()).collect();
            assert_eq!(Presets::default().site(&hosts).as_deref(), Some(expected));
        };
        check(&["gmail-smtp-in.l.google.com", "alt1.gmail-smtp-in.l.google.com"], "google");
        check(&["ASPMX.L.GOOGLE.com"], "google");
        check(&["example-com.mail.protection.outlook.com"], "microsoft");
        check(&["notgoogle.com"], "notgoogle.com");
        check(&["mx2.example.com", "mx1.example.com"], "mx1.example.com+mx2.example.com");
        assert_eq!(Presets::default().site(&[]), None);
    }

    #[test]
    fn settings_come_first() {
        let own: Preset = toml::from_str("name = 'ours'\nhosts = ['google.com']\nmails_per_minute = 60").unwrap();
        let presets = Presets::new(&[own]);
        assert_eq!(presets.of_host("x.google.com").mails_per_minute, Some(60));
        assert_eq!(presets.of_site("ours").connections, 10);
        assert_eq!(presets.of_site("yahoo").mails_per_connection, 20);
        assert_eq!(presets.of_site("mx1.example.com+mx2.example.com").mails_per_connection, 50);
        assert_eq!(presets.of_site("example.com").name, "");
    }
}
