//! The Resolver seam: what the DNS says. The one trait of ours that is swapped.
//!
//! [`Network`] asks name servers; [`Table`] answers from what it was told, for tests and the demo. Names are always fully
//! qualified: no search domain ever completes them. Whether an address may be connected to is not asked here; that is
//! `egress`. `check` compares what a sending domain publishes with what it should.

pub mod check;
mod network;
pub mod spf;

use std::collections::{HashMap, HashSet};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::path::PathBuf;
use std::pin::Pin;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use serde::{Deserialize, Serialize};

pub use network::{Network, NoResolver};

/// The longest that a look-up may take.
pub const LOOKUP_MAX: Duration = Duration::from_secs(5);

/// `127.0.0.1` and `::1`: what `localhost` means without asking anybody (RFC 6761 §6.3).
pub const LOOPBACK: [IpAddr; 2] = [IpAddr::V4(Ipv4Addr::LOCALHOST), IpAddr::V6(Ipv6Addr::LOCALHOST)];

/// Whom we ask.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Settings {
    /// Name servers, as `address:port`. None: those of the system.
    pub servers: Vec<std::net::SocketAddr>,
    /// Check signatures ourselves where a proof is wanted, as DANE does.
    pub dnssec: bool,
    /// File of DNSKEY records to trust instead of the root's that are built in.
    pub trust_anchor: Option<PathBuf>,
}

impl Default for Settings {
    fn default() -> Self {
        Self { servers: Vec::new(), dnssec: true, trust_anchor: None }
    }
}

/// Why there is no answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DnsError {
    /// The name does not exist, or has no record of the kind.
    #[error("the name does not exist")]
    NoSuchName,
    /// No answer in time.
    #[error("no answer in time")]
    Timeout,
    /// The name server reported a fault, or gave an answer that makes no sense.
    #[error("the name server failed")]
    Failed,
    /// This resolver cannot look up this kind of record.
    #[error("this kind of look-up is not available")]
    Unavailable,
}

/// A look-up under way.
pub type Lookup<'a, T> = Pin<Box<dyn Future<Output = Result<T, DnsError>> + Send + 'a>>;

/// An MX record (RFC 5321 §5.1).
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Exchange {
    /// Lower is tried first.
    pub preference: u16,
    /// The host, without a final dot; empty for a null MX (RFC 7505).
    pub host: String,
}

/// A TLSA record (RFC 6698 §2.1) whose authenticity DNSSEC has shown. Others are not answered.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Tlsa {
    /// Certificate usage.
    pub usage: u8,
    /// Selector.
    pub selector: u8,
    /// Matching type.
    pub matching: u8,
    /// Certificate association data.
    pub data: Vec<u8>,
}

/// Kinds of records that a proof may be wanted for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Mail exchangers.
    Mx,
    /// IPv4 addresses; IPv6 addresses where there are none.
    Address,
    /// Name servers.
    Ns,
}

/// Looks up names. Every answer has at least one record; names are given and answered without a final dot.
pub trait Resolver: Send + Sync + std::fmt::Debug {
    /// The IPv4 and IPv6 addresses of a name, in the order in which to try them, after all aliases.
    fn addresses<'a>(&'a self, name: &'a str) -> Lookup<'a, Vec<IpAddr>>;
    /// The mail exchangers of a domain, by preference.
    fn mx<'a>(&'a self, domain: &'a str) -> Lookup<'a, Vec<Exchange>>;
    /// The TXT records of a name, the strings of each joined.
    fn txt<'a>(&'a self, name: &'a str) -> Lookup<'a, Vec<String>>;
    /// The names of an address.
    fn ptr<'a>(&'a self, address: IpAddr) -> Lookup<'a, Vec<String>>;
    /// The TLSA records of a name (`_25._tcp.mx.example.com`).
    fn tlsa<'a>(&'a self, name: &'a str) -> Lookup<'a, Vec<Tlsa>>;
    /// Whether DNSSEC proves what is answered about a name, be it records or that there are none. What cannot be proved
    /// because its zone is not signed is `false`; a forged answer is `Failed`.
    fn is_proven<'a>(&'a self, name: &'a str, kind: Kind) -> Lookup<'a, bool>;
}

/// A resolver that knows what it was told. Names it was not told do not exist.
#[derive(Debug, Default)]
pub struct Table {
    addresses: HashMap<String, Turns>,
    mx: HashMap<String, Vec<Exchange>>,
    txt: HashMap<String, Vec<String>>,
    ptr: HashMap<IpAddr, Vec<String>>,
    tlsa: HashMap<String, Vec<Tlsa>>,
    proven: HashSet<String>,
    silent: Vec<String>,
    failing: Vec<String>,
    asked: Mutex<Vec<String>>,
}

/// Answers given one after the other; the last repeats.
#[derive(Debug)]
struct Turns {
    answers: Vec<Vec<IpAddr>>,
    given: AtomicUsize,
}

impl Table {
    /// A resolver that knows no name.
    pub fn new() -> Self {
        Self::default()
    }

    /// `name` has these addresses.
    pub fn with_addresses(self, name: &str, addresses: impl IntoIterator<Item = IpAddr>) -> Self {
        self.with_addresses_in_turn(name, [addresses.into_iter().collect()])
    }

    /// `name` has the first of these sets when first asked for, and so on; the last stays.
    pub fn with_addresses_in_turn(mut self, name: &str, answers: impl IntoIterator<Item = Vec<IpAddr>>) -> Self {
        let turns = Turns { answers: answers.into_iter().collect(), given: AtomicUsize::new(0) };
        self.addresses.insert(name.to_owned(), turns);
        self
    }

    /// `domain` has these mail exchangers.
    pub fn with_mx(mut self, domain: &str, exchanges: impl IntoIterator<Item = (u16, &'static str)>) -> Self {
        let exchanges = exchanges.into_iter().map(|(preference, host)| Exchange { preference, host: host.to_owned() });
        let mut exchanges: Vec<_> = exchanges.collect();
        exchanges.sort();
        self.mx.insert(domain.to_owned(), exchanges);
        self
    }

    /// `name` has these TXT records.
    pub fn with_txt(mut self, name: &str, texts: impl IntoIterator<Item = &'static str>) -> Self {
        self.txt.insert(name.to_owned(), texts.into_iter().map(str::to_owned).collect());
        self
    }

    /// `name` has these TLSA records.
    pub fn with_tlsa(mut self, name: &str, records: impl IntoIterator<Item = Tlsa>) -> Self {
        self.tlsa.insert(name.to_owned(), records.into_iter().collect());
        self
    }

    /// `address` has these names.
    pub fn with_ptr(mut self, address: IpAddr, names: impl IntoIterator<Item = &'static str>) -> Self {
        self.ptr.insert(address, names.into_iter().map(str::to_owned).collect());
        self
    }

    /// What is answered about `name` is proved by DNSSEC.
    pub fn with_proof(mut self, name: &str) -> Self {
        self.proven.insert(name.to_owned());
        self
    }

    /// Every look-up of `name` fails.
    pub fn with_failure(mut self, name: &str) -> Self {
        self.failing.push(name.to_owned());
        self
    }

    /// Nothing about `name` is ever answered.
    pub fn with_silence(mut self, name: &str) -> Self {
        self.silent.push(name.to_owned());
        self
    }

    /// The names asked for so far, in order.
    pub fn asked(&self) -> Vec<String> {
        self.asked.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn answer<'a, T: Send + 'a>(&'a self, name: &str, answer: Option<T>) -> Lookup<'a, T> {
        self.asked.lock().unwrap_or_else(PoisonError::into_inner).push(name.to_owned());
        let is_in = |names: &[String]| names.iter().any(|listed| listed == name);
        let (is_silent, is_failing) = (is_in(&self.silent), is_in(&self.failing));
        Box::pin(async move {
            match answer {
                _ if is_silent => std::future::pending().await,
                _ if is_failing => Err(DnsError::Failed),
                answer => answer.ok_or(DnsError::NoSuchName),
            }
        })
    }
}

impl Resolver for Table {
    fn addresses<'a>(&'a self, name: &'a str) -> Lookup<'a, Vec<IpAddr>> {
        let turn = self.addresses.get(name).and_then(|turns| {
            let given = turns.given.fetch_add(1, Ordering::Relaxed);
            turns.answers.get(given).or(turns.answers.last()).cloned()
        });
        self.answer(name, turn.filter(|addresses| !addresses.is_empty()))
    }

    fn mx<'a>(&'a self, domain: &'a str) -> Lookup<'a, Vec<Exchange>> {
        self.answer(domain, self.mx.get(domain).cloned())
    }

    fn txt<'a>(&'a self, name: &'a str) -> Lookup<'a, Vec<String>> {
        self.answer(name, self.txt.get(name).cloned())
    }

    fn ptr<'a>(&'a self, address: IpAddr) -> Lookup<'a, Vec<String>> {
        self.answer(&address.to_string(), self.ptr.get(&address).cloned())
    }

    fn tlsa<'a>(&'a self, name: &'a str) -> Lookup<'a, Vec<Tlsa>> {
        self.answer(name, self.tlsa.get(name).cloned())
    }

    fn is_proven<'a>(&'a self, name: &'a str, _: Kind) -> Lookup<'a, bool> {
        self.answer(name, Some(self.proven.contains(name)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_table_answers_in_turn_and_the_last_stays() {
        let [first, second] = ["192.0.2.1", "192.0.2.2"].map(|text| text.parse::<IpAddr>().unwrap());
        let table = Table::new().with_addresses_in_turn("a.example", [vec![first], vec![second]]);
        for expected in [first, second, second] {
            assert_eq!(table.addresses("a.example").await, Ok(vec![expected]));
        }
        assert_eq!(table.addresses("b.example").await, Err(DnsError::NoSuchName));
        assert_eq!(table.asked(), ["a.example", "a.example", "a.example", "b.example"]);
    }
}
