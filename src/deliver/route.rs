//! Which way a mail goes: kept here, to a smarthost, or straight to its recipient's exchangers.
//!
//! A way is a list of hops; the first that can be had takes the mail. A [`Host`] knows how to talk to it, its kept
//! connections and how it has been doing. Exchangers are met when mail first goes to them, and forgotten when it no longer
//! does: [`Routes::exchanger`].

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use super::encryption::{BadCaFile, Encryption};
use super::health::Health;
use super::opening::{Credentials, Peer, Security};
use super::pace::Limits;
use super::policy::Assurance;
use super::presets::Presets;
use super::settings::{CAPTURE, DEFAULT_POOL, MX, Mx, Rule, SMARTHOST, Settings, Smarthost, Tls};
use super::sites::Site;
use super::sources::Source;
use super::throttle::{Bounds, Throttle};
use super::transport::Connection;
use crate::egress::Guard;
use crate::model::message::Facts;
use crate::model::time::Timestamp;

/// Exchangers known at one time; beyond, those that nobody talks to are forgotten first.
const EXCHANGERS_KNOWN_MAX: usize = 4096;

/// One step of a way.
#[derive(Clone, Debug)]
pub enum Hop {
    /// Nowhere: kept for looking at.
    Capture,
    /// To this host, which sends it on.
    Smarthost(Arc<Host>),
    /// To the exchangers of the recipient's domain, from an address of this pool.
    Exchangers(String),
}

/// The way of mail that stays here.
const CAPTURED: &[Hop] = &[Hop::Capture];

/// A host that takes mail.
#[derive(Debug)]
pub struct Host {
    /// `mx`, `smarthost`, or the name of another smarthost.
    pub route: String,
    /// What it is known by to those who count how much it takes.
    pub site: Site,
    /// How to talk to it.
    pub peer: Peer,
    /// How much of it we may take.
    pub throttle: Throttle,
    /// How it has been doing.
    pub health: Health,
    /// How long its report of success is waited for, where that is what counts.
    pub report_wait: Option<Duration>,
}

/// Whose mail it is, in the words of rules.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Owner {
    /// The tenant's slug.
    pub tenant: String,
    /// The mail agent's name.
    pub agent: String,
}

/// An exchanger by its name, what is expected of it, and from where it is talked to.
type Place = (String, Assurance, Option<String>);

/// Knows the way of each delivery.
#[derive(Debug)]
pub struct Routes {
    rules: Vec<(Rule, Vec<Hop>)>,
    otherwise: Vec<Hop>,
    smarthosts: Vec<(Arc<Host>, Limits)>,
    presets: Presets,
    exchangers: Mutex<HashMap<Place, Arc<Host>>>,
    mx: Mx,
    unchecked: Encryption,
    watched: Encryption,
    trusted: Encryption,
    hello: String,
    guard: Arc<Guard>,
}

impl Routes {
    /// The ways that `settings` ask for; `hostname` is who we are, and `guard` says which exchangers we may talk to.
    ///
    /// # Errors
    /// A CA file cannot be used.
    pub fn new(settings: &Settings, hostname: &str, guard: Arc<Guard>) -> Result<Self, BadCaFile> {
        let (mut named, mut smarthosts) = (HashMap::new(), Vec::new());
        let only = (SMARTHOST, &settings.smarthost);
        let more = settings.smarthosts.iter().map(|(name, host)| (name.as_str(), host));
        for (name, host) in std::iter::once(only).chain(more).filter(|(name, _)| settings.uses(name)) {
            let connections = host.connections_max.into();
            let limits = Limits { connections, connections_start: connections, mails_per_minute: None };
            let host = Arc::new(smarthost(name, host, hostname)?);
            named.insert(name, host.clone());
            smarthosts.push((host, limits));
        }
        let hop = |name: &str, pool: &str| match name {
            CAPTURE => Some(Hop::Capture),
            MX => Some(Hop::Exchangers(if pool.is_empty() { DEFAULT_POOL } else { pool }.to_owned())),
            _ => named.get(name).cloned().map(Hop::Smarthost),
        };
        let hops = |rule: &Rule| rule.via.iter().filter_map(|name| hop(name, &rule.pool)).collect();
        let trusted = Encryption::trusted(settings.mx.ca_file.as_deref())?;
        let rules = settings.routes.iter().map(|rule| (rule.clone(), hops(rule))).collect();
        Ok(Self {
            rules,
            otherwise: hop(settings.mode.via(), "").into_iter().collect(),
            smarthosts,
            presets: Presets::new(&settings.destinations),
            exchangers: Mutex::default(),
            mx: settings.mx.clone(),
            unchecked: Encryption::unchecked(),
            watched: trusted.watching(),
            trusted,
            hello: if settings.mx.ehlo_name.is_empty() { hostname } else { &settings.mx.ehlo_name }.to_owned(),
            guard,
        })
    }

    /// Whether a rule asks whose mail it is.
    pub fn ask_for_owner(&self) -> bool {
        self.rules.iter().any(|(rule, _)| !rule.tenant.is_empty() || !rule.agent.is_empty())
    }

    /// How much a site takes.
    pub fn limits(&self, site: &Site) -> Limits {
        let own = self.smarthosts.iter().find(|(host, _)| host.site == *site).map(|(_, limits)| *limits);
        let nowhere = Limits { connections: u32::MAX, connections_start: u32::MAX, mails_per_minute: None };
        let captured = || (**site == *CAPTURE).then_some(nowhere);
        own.or_else(captured).unwrap_or_else(|| self.presets.of_site(site).limits())
    }

    /// The site of a set of exchangers, the most preferred first.
    pub fn site_of(&self, exchangers: &[String]) -> Option<Site> {
        self.presets.site(exchangers)
    }

    /// Whether a rule asks for tags.
    pub fn ask_for_tags(&self) -> bool {
        self.rules.iter().any(|(rule, _)| !rule.tag.is_empty())
    }

    /// The way of a message to `domain`, of this owner. In the sandbox no rule counts.
    pub fn of_message(&self, domain: &str, facts: &Facts, owner: &Owner) -> &[Hop] {
        if facts.is_sandboxed { CAPTURED } else { self.of(domain, &facts.tags, owner) }
    }

    /// The way of mail to `domain`, with these tags, of this owner.
    pub fn of(&self, domain: &str, tags: &[String], owner: &Owner) -> &[Hop] {
        let is_any = |wanted: &str, found: &str| wanted.is_empty() || wanted == found;
        let holds = |rule: &Rule| {
            is_any(&rule.tenant, &owner.tenant)
                && is_any(&rule.agent, &owner.agent)
                && rule.is_for(domain)
                && (rule.tag.is_empty() || tags.contains(&rule.tag))
        };
        self.rules.iter().find(|(rule, _)| holds(rule)).map_or(&self.otherwise, |(_, hops)| hops)
    }

    /// What we call ourselves to exchangers.
    pub fn own_name(&self) -> &str {
        &self.hello
    }

    /// What is set about exchangers.
    pub fn mx(&self) -> &Mx {
        &self.mx
    }

    /// The exchanger called `name`, talked to with this assurance and from this source. The same host under another is
    /// another: a connection that nobody vouches for must not be used where a policy wants one.
    pub fn exchanger(&self, name: &str, assurance: &Assurance, source: Option<&Arc<Source>>) -> Arc<Host> {
        let mut known = self.exchangers.lock().unwrap_or_else(PoisonError::into_inner);
        let place = (name.to_owned(), assurance.clone(), source.map(|source| source.name.clone()));
        if let Some(host) = known.get(&place) {
            return host.clone();
        }
        if known.len() >= EXCHANGERS_KNOWN_MAX {
            known.retain(|_, host| Arc::strong_count(host) > 1 || host.throttle.keeps_any());
        }
        let security = match assurance {
            Assurance::None => Security::Opportunistic(self.unchecked.clone()),
            Assurance::Watched => Security::Opportunistic(self.watched.clone()),
            Assurance::Encrypted => Security::Required(self.unchecked.clone()),
            Assurance::Trusted => Security::Required(self.trusted.clone()),
            Assurance::Dane(records) => Security::Required(Encryption::dane(records)),
        };
        let peer = Peer {
            host: name.to_owned(),
            port: self.mx.port,
            security,
            credentials: None,
            hello: source.and_then(|source| source.hello.clone()).unwrap_or_else(|| self.hello.clone()),
            timeouts: (&self.mx.timeouts).into(),
            guard: Some(self.guard.clone()),
            ipv6: self.mx.ipv6,
            source: source.cloned(),
        };
        let throttle = Throttle::new(Bounds::of_exchanger(&self.mx, self.presets.of_host(name)));
        let (route, site) = (MX.to_owned(), name.into());
        let host = Arc::new(Host { route, site, peer, throttle, health: Health::default(), report_wait: None });
        known.insert(place, host.clone());
        host
    }

    /// Connections that were kept too long, to be closed.
    pub fn stale(&self, now: Timestamp) -> Vec<Connection> {
        self.hosts().iter().flat_map(|host| host.throttle.stale(now)).collect()
    }

    /// All kept connections, to be closed.
    pub fn all(&self) -> Vec<Connection> {
        self.hosts().iter().flat_map(|host| host.throttle.all()).collect()
    }

    /// Every host that connections may be kept to.
    fn hosts(&self) -> Vec<Arc<Host>> {
        let exchangers = self.exchangers.lock().unwrap_or_else(PoisonError::into_inner);
        self.smarthosts.iter().map(|(host, _)| host).chain(exchangers.values()).cloned().collect()
    }
}

fn smarthost(name: &str, settings: &Smarthost, hostname: &str) -> Result<Host, BadCaFile> {
    let encryption = match settings.verify_certificate {
        true => Encryption::trusted(settings.ca_file.as_deref())?,
        false => Encryption::unchecked(),
    };
    let security = match settings.tls {
        Tls::None => Security::None,
        Tls::Opportunistic => Security::Opportunistic(Encryption::unchecked()),
        Tls::Required => Security::Required(encryption),
        Tls::Implicit => Security::Implicit(encryption),
    };
    let credentials = (!settings.username.is_empty()).then(|| Credentials {
        username: settings.username.clone(),
        password: settings.password.clone(),
        in_clear: settings.auth_in_clear,
    });
    let hello = if settings.ehlo_name.is_empty() { hostname } else { &settings.ehlo_name };
    let peer = Peer {
        host: settings.host.clone(),
        port: settings.port,
        security,
        credentials,
        hello: hello.to_owned(),
        timeouts: (&settings.timeouts).into(),
        guard: None,
        ipv6: true,
        source: None,
    };
    let site = format!("{}:{}", peer.host, peer.port).into();
    let throttle = Throttle::new(Bounds::from(settings));
    let (route, report_wait) = (name.to_owned(), settings.report_wait());
    Ok(Host { route, site, peer, throttle, health: Health::default(), report_wait })
}
