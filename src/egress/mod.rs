//! Which addresses we may connect to: the one guard for webhooks, mail exchangers and every other fetch.
//!
//! A [`Policy`] judges URLs and addresses; it asks nobody. A [`Guard`] holds the policy in force and makes the
//! connections: it resolves a vetted URL, refuses it when any of its addresses is refused, and connects to the judged
//! addresses only, so that no second look-up can lead elsewhere. Judgement is repeated at every attempt.
//!
//! Metadata services and our own listeners are refused whatever the lists say; then `deny` wins over `allow`, and
//! `allow` over the rules for strangers. Lists belong to the operator and never to a tenant.

mod guard;
mod proxy;
mod ranges;
mod target;
#[cfg(test)]
mod tests;
mod trust;

use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::path::PathBuf;
use std::sync::LazyLock;

use serde::{Deserialize, Serialize};
use url::{Host, Url};

pub use guard::{ADDRESSES_MAX, CONNECT_MAX, Failure, Guard, Limits, Pinned, Reached};
use proxy::Proxy;
use ranges::Entry;
pub use target::URL_BYTES_MAX;
pub use trust::{BadIdentity, Identity, Trust, TrustError};

/// Names that lead nowhere or to ourselves: each, and everything under it (RFC 6761, 6762, 7686, 8375, 9476).
const RESERVED: [&str; 6] = ["localhost", "local", "internal", "home.arpa", "onion", "alt"];
/// Names for tests and documents (RFC 2606 §2); they work in capture mode.
const FOR_TESTS: [&str; 3] = ["test", "invalid", "example"];

/// An operator must say twice that this is meant.
const OPENS_EVERYTHING: &str =
    "lets webhooks reach all that is behind your walls; where that is meant, set egress.i_understand_open_egress too";

/// Why a URL or an address is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Rule {
    /// The address is not public, or denied.
    Ip,
    /// The address is a cloud's metadata service.
    Metadata,
    /// One of our own doors answers there.
    Own,
    /// The name is reserved or malformed.
    Name,
    /// Neither https nor http, or http where only https is allowed.
    Scheme,
    /// It names a user.
    User,
    /// The port is for other protocols.
    Port,
    /// It has a character that parsers disagree about.
    Char,
    /// It is not a URL.
    Parse,
}

impl Rule {
    /// Its word, one for all addresses: `IP`, `NAME`, `SCHEME`, `USER`, `PORT`, `CHAR` or `PARSE`.
    pub const fn as_str(self) -> &'static str {
        match self {
            Rule::Ip | Rule::Metadata | Rule::Own => "IP",
            Rule::Name => "NAME",
            Rule::Scheme => "SCHEME",
            Rule::User => "USER",
            Rule::Port => "PORT",
            Rule::Char => "CHAR",
            Rule::Parse => "PARSE",
        }
    }

    /// A sentence for people, to follow "the URL".
    pub const fn sentence(self) -> &'static str {
        match self {
            Rule::Ip => "leads to an address that is not public",
            Rule::Metadata => "leads to the metadata service of a cloud",
            Rule::Own => "leads to a door of Postback itself",
            Rule::Name => "has a host name that is reserved or not a name",
            Rule::Scheme => "must begin with https://",
            Rule::User => "must not contain a user name or password",
            Rule::Port => "has a port that is not used for HTTP",
            Rule::Char => "contains a space, backslash or control character",
            Rule::Parse => "is not a valid URL",
        }
    }
}

/// We do not connect there.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the URL {}", rule.sentence())]
pub struct Refused {
    /// Which rule decided.
    pub rule: Rule,
}

/// By what right we may connect.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Access {
    /// It is a public address.
    Public,
    /// It is this machine, in capture mode.
    Loopback,
    /// The operator allows it. What it answers is not to be shown to tenants.
    Exception,
}

/// Settings, as the operator writes them under `[egress]`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Settings {
    /// Plain http to everywhere that https may go.
    pub allow_http: bool,
    /// Further destinations: `10.20.0.0/16:443,8080`, `fd12:3456:789a::/48`, `name:billing.corp.example`. Plain http
    /// is allowed to them.
    pub allow: Vec<String>,
    /// Networks that are refused whatever `allow` says: `203.0.113.77/32`.
    pub deny: Vec<String>,
    /// Let `allow` also cover the metadata services of clouds.
    pub allow_metadata: bool,
    /// Said beside an entry of `allow` that is wider than any private network (`0.0.0.0/0`, `::/0`, or half of them), which
    /// is refused without it.
    pub i_understand_open_egress: bool,
    /// The proxy that leads to public addresses, for webhooks and whatever else is fetched: `http://proxy.corp.example:3128`.
    /// Empty for none. Mail goes its own way.
    pub proxy: String,
    /// PEM file of further roots to believe when others answer over TLS.
    pub ca_file: Option<PathBuf>,
}

/// An entry of `allow` or `deny` that makes no sense.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("egress: {entry:?} {problem}")]
pub struct BadEntry {
    /// The entry.
    pub entry: String,
    /// What is wrong with it, to follow the entry.
    pub problem: &'static str,
}

/// Which URLs and addresses we may connect to.
#[derive(Clone, Debug, Default)]
pub struct Policy {
    allow_http: bool,
    allow: Vec<Entry>,
    allow_names: Vec<(String, Vec<u16>)>,
    deny: Vec<Entry>,
    allow_metadata: bool,
    is_capturing: bool,
    own: Vec<SocketAddr>,
    proxy: Option<Proxy>,
    generation: u64,
}

/// A URL that passed, read once; requests are made from this reading only.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Vetted {
    url: Url,
    port: u16,
    is_named_exception: bool,
    needs_exception: bool,
    generation: u64,
}

impl Policy {
    /// The policy of these settings.
    ///
    /// # Errors
    /// The first entry that makes no sense.
    pub fn new(settings: &Settings) -> Result<Self, BadEntry> {
        let is_name = |entry: &&String| entry.starts_with("name:");
        let policy = Self {
            allow_http: settings.allow_http,
            allow: settings
                .allow
                .iter()
                .filter(|entry| !is_name(entry))
                .map(|e| e.parse())
                .collect::<Result<_, _>>()?,
            allow_names: settings.allow.iter().filter(is_name).map(|e| named(e)).collect::<Result<_, _>>()?,
            deny: settings.deny.iter().map(|entry| entry.parse()).collect::<Result<_, _>>()?,
            allow_metadata: settings.allow_metadata,
            proxy: if settings.proxy.is_empty() { None } else { Some(settings.proxy.parse()?) },
            ..Self::default()
        };
        let networks = settings.allow.iter().filter(|entry| !is_name(entry));
        let opens = networks.zip(&policy.allow).find(|(_, entry)| entry.network.is_wide());
        match opens.filter(|_| !settings.i_understand_open_egress) {
            Some((entry, _)) => Err(BadEntry { entry: entry.clone(), problem: OPENS_EVERYTHING }),
            None => Ok(policy),
        }
    }

    /// The same in capture mode: this machine may be connected to, by http too, and the names for tests are names.
    pub fn capturing(self) -> Self {
        Self { is_capturing: true, ..self }
    }

    /// The same, never connecting to these listeners of ours at any address of this machine.
    pub fn with_own(self, listeners: impl IntoIterator<Item = SocketAddr>) -> Self {
        Self { own: listeners.into_iter().collect(), ..self }
    }

    /// Judges a URL without asking DNS. A name may still be refused when it is resolved.
    ///
    /// # Errors
    /// The rule that refuses it.
    pub fn judge_url(&self, text: &str) -> Result<Vetted, Refused> {
        let url = target::read(text)?;
        let port = url.port_or_known_default().ok_or(Refused { rule: Rule::Port })?;
        let needs_exception = url.scheme() == "http" && !self.allow_http;
        let mut is_named_exception = false;
        let may_be_exception = match url.host() {
            Some(Host::Ipv4(ip)) => self.judge_literal(ip.into(), port)? != Access::Public,
            Some(Host::Ipv6(ip)) => self.judge_literal(ip.into(), port)? != Access::Public,
            Some(Host::Domain(name)) => {
                is_named_exception = self.names(name, port);
                self.judge_name(name, is_named_exception)?;
                is_named_exception || self.is_capturing || !self.allow.is_empty()
            }
            None => return Err(Refused { rule: Rule::Parse }),
        };
        if needs_exception && !may_be_exception {
            return Err(Refused { rule: Rule::Scheme });
        }
        Ok(Vetted { url, port, is_named_exception, needs_exception, generation: self.generation })
    }

    /// Judges an address that a look-up gave, or that a connection reached.
    ///
    /// # Errors
    /// [`Rule::Ip`].
    pub fn judge_address(&self, ip: IpAddr, port: u16) -> Result<Access, Refused> {
        self.judge_never(ip, port)?;
        // An IPv6-only host sees the IPv4 world through NAT64; what counts is the address behind it.
        let meant = ranges::behind_nat64(ip).unwrap_or(ip);
        if self.allow.iter().any(|entry| entry.holds(ip, port) || entry.holds(meant, port)) {
            return Ok(Access::Exception);
        }
        if self.is_capturing && ip.is_loopback() {
            return Ok(Access::Loopback);
        }
        if ranges::is_public(meant) { Ok(Access::Public) } else { Err(Refused { rule: Rule::Ip }) }
    }

    /// An address that somebody wrote: the NAT64 prefix, too, has no honest use there.
    fn judge_literal(&self, ip: IpAddr, port: u16) -> Result<Access, Refused> {
        match self.judge_address(ip, port)? {
            Access::Public if ranges::behind_nat64(ip).is_some() => Err(Refused { rule: Rule::Ip }),
            access => Ok(access),
        }
    }

    /// An address of a vetted URL.
    fn judge_for(&self, vetted: &Vetted, ip: IpAddr) -> Result<Access, Refused> {
        let access = if vetted.is_named_exception {
            self.judge_never(ip, vetted.port).map(|()| Access::Exception)
        } else {
            self.judge_address(ip, vetted.port)
        }?;
        if vetted.needs_exception && access == Access::Public {
            Err(Refused { rule: Rule::Scheme })
        } else {
            Ok(access)
        }
    }

    /// What no exception lifts.
    fn judge_never(&self, ip: IpAddr, port: u16) -> Result<(), Refused> {
        let judge = |ip: IpAddr| {
            let rules = [
                (Rule::Metadata, !self.allow_metadata && ranges::is_metadata(ip)),
                (Rule::Own, self.is_own(ip, port)),
                (Rule::Ip, self.deny.iter().any(|entry| entry.holds(ip, port))),
            ];
            rules.into_iter().find(|(_, is_refused)| *is_refused).map_or(Ok(()), |(rule, _)| Err(Refused { rule }))
        };
        judge(ip)?;
        ranges::embedded(ip).map_or(Ok(()), judge)
    }

    /// Whether one of our own listeners would answer. An address belongs to this machine when a socket can be bound
    /// to it; that is asked only where the port is one of ours.
    fn is_own(&self, ip: IpAddr, port: u16) -> bool {
        self.own.iter().any(|own| own.port() == port && own.ip() == ip)
            || (self.own.iter().any(|own| own.port() == port)
                && (ip.is_unspecified() || UdpSocket::bind((ip, 0)).is_ok()))
    }

    fn names(&self, name: &str, port: u16) -> bool {
        self.allow_names.iter().any(|(allowed, ports)| allowed == name && (ports.is_empty() || ports.contains(&port)))
    }

    fn judge_name(&self, name: &str, is_named_exception: bool) -> Result<(), Refused> {
        let is_under = |suffixes: &[&str]| suffixes.iter().any(|suffix| is_at_or_under(name, suffix));
        let is_well_formed = name.len() <= 253 && name.split('.').all(|label| (1..=63).contains(&label.len()));
        let is_usable = is_named_exception
            || (self.is_capturing && (is_at_or_under(name, "localhost") || is_under(&FOR_TESTS)))
            || (name.contains('.') && !is_under(&RESERVED) && !is_under(&FOR_TESTS));
        if is_well_formed && is_usable { Ok(()) } else { Err(Refused { rule: Rule::Name }) }
    }
}

impl Vetted {
    /// The URL in its normal form, without fragment, user or final dot.
    pub fn url(&self) -> &Url {
        &self.url
    }

    /// The host as it stands in the URL, IPv6 in brackets.
    pub fn host(&self) -> &str {
        self.url.host_str().unwrap_or_default()
    }

    /// The port, explicit or the scheme's own.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// Whether the scheme is https.
    pub fn is_https(&self) -> bool {
        self.url.scheme() == "https"
    }

    /// Whether it is only allowed where the operator has made an exception: plain http.
    pub fn needs_exception(&self) -> bool {
        self.needs_exception
    }

    /// Which policy passed it: grows each time the policy is replaced.
    pub fn generation(&self) -> u64 {
        self.generation
    }
}

fn is_at_or_under(name: &str, suffix: &str) -> bool {
    name.strip_suffix(suffix).is_some_and(|rest| rest.is_empty() || rest.ends_with('.'))
}

/// `name:billing.corp.example` or `name:billing.corp.example:443,8443`.
fn named(entry: &str) -> Result<(String, Vec<u16>), BadEntry> {
    let bad = |problem| BadEntry { entry: entry.to_owned(), problem };
    let rest = entry.trim_start_matches("name:");
    let (name, ports) = rest.split_once(':').map_or((rest, None), |(name, ports)| (name, Some(ports)));
    match Host::parse(name.strip_suffix('.').unwrap_or(name)) {
        Ok(Host::Domain(name)) => Ok((name, ports.map_or(Ok(Vec::new()), ranges::ports_of).map_err(bad)?)),
        _ => Err(bad("does not name a host")),
    }
}

/// What `inspect egress` prints for a URL: the verdict with http allowed and no exceptions, and without asking DNS.
pub fn inspect_line(url: &str) -> serde_json::Value {
    static PLAIN: LazyLock<Policy> = LazyLock::new(|| Policy { allow_http: true, ..Policy::default() });
    let rule = PLAIN.judge_url(url).err().map(|refused| refused.rule.as_str());
    serde_json::json!({"url": url, "verdict": if rule.is_none() { "ok" } else { "refused" }, "rule": rule})
}
