//! The Resolver seam: addresses, MX, TXT and TLSA records. The one trait of ours that is swapped.
//!
//! [`System`] asks the operating system; [`Table`] answers from what it was told, for tests and the demo. Names are
//! always fully qualified: no search domain ever completes them. Whether an address may be connected to is not asked
//! here; that is `egress`.

use std::collections::HashMap;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::pin::Pin;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::Semaphore;
use tokio::time::timeout;

/// The longest that a look-up may take.
pub const LOOKUP_MAX: Duration = Duration::from_secs(5);

/// Look-ups that the system may be busy with at once; each holds a thread until the system gives up. Further ones
/// wait, within their own limit.
const LOOKUPS_AT_ONCE: usize = 64;

/// Where the system keeps names of its own. `getaddrinfo` does not look there for a name with a final dot.
const HOSTS_FILE: &str = "/etc/hosts";

/// `127.0.0.1` and `::1`: what `localhost` means without asking anybody (RFC 6761 §6.3).
pub const LOOPBACK: [IpAddr; 2] = [IpAddr::V4(Ipv4Addr::LOCALHOST), IpAddr::V6(Ipv6Addr::LOCALHOST)];

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
#[derive(Clone, Debug, PartialEq, Eq)]
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

/// Looks up names. Every answer has at least one record; names are given and answered without a final dot.
pub trait Resolver: Send + Sync + std::fmt::Debug {
    /// The IPv4 and IPv6 addresses of a name, in the order in which to try them, after all aliases.
    fn addresses<'a>(&'a self, name: &'a str) -> Lookup<'a, Vec<IpAddr>>;
    /// The mail exchangers of a domain, by preference.
    fn mx<'a>(&'a self, domain: &'a str) -> Lookup<'a, Vec<Exchange>>;
    /// The TXT records of a name, the strings of each joined.
    fn txt<'a>(&'a self, name: &'a str) -> Lookup<'a, Vec<String>>;
    /// The TLSA records of a name (`_25._tcp.mx.example.com`).
    fn tlsa<'a>(&'a self, name: &'a str) -> Lookup<'a, Vec<Tlsa>>;
}

/// The operating system's resolver: addresses only.
#[derive(Debug)]
pub struct System {
    turns: Arc<Semaphore>,
}

impl System {
    /// The system's resolver, as it is configured.
    pub fn new() -> Self {
        Self { turns: Arc::new(Semaphore::new(LOOKUPS_AT_ONCE)) }
    }

    async fn look_up(&self, name: &str) -> Result<Vec<IpAddr>, DnsError> {
        let hosts = tokio::fs::read_to_string(HOSTS_FILE).await.unwrap_or_default();
        let own = in_hosts_file(&hosts, name);
        if !own.is_empty() {
            return Ok(own);
        }
        let turn = Arc::clone(&self.turns).acquire_owned().await.map_err(|_| DnsError::Failed)?;
        let qualified = format!("{name}.");
        // The turn goes with the task: giving up on an answer does not free the thread that waits for it.
        let asked = tokio::spawn(async move {
            let found = tokio::net::lookup_host((qualified.as_str(), 0)).await;
            drop(turn);
            found.map(|addresses| addresses.map(|address| address.ip()).collect::<Vec<_>>())
        });
        match asked.await.map_err(|_| DnsError::Failed)? {
            Ok(addresses) if addresses.is_empty() => Err(DnsError::NoSuchName),
            Ok(addresses) => Ok(addresses),
            Err(error) => Err(meaning(&error)),
        }
    }
}

impl Default for System {
    fn default() -> Self {
        Self::new()
    }
}

impl Resolver for System {
    fn addresses<'a>(&'a self, name: &'a str) -> Lookup<'a, Vec<IpAddr>> {
        Box::pin(async move { timeout(LOOKUP_MAX, self.look_up(name)).await.unwrap_or(Err(DnsError::Timeout)) })
    }

    fn mx<'a>(&'a self, _domain: &'a str) -> Lookup<'a, Vec<Exchange>> {
        Box::pin(async { Err(DnsError::Unavailable) })
    }

    fn txt<'a>(&'a self, _name: &'a str) -> Lookup<'a, Vec<String>> {
        Box::pin(async { Err(DnsError::Unavailable) })
    }

    fn tlsa<'a>(&'a self, _name: &'a str) -> Lookup<'a, Vec<Tlsa>> {
        Box::pin(async { Err(DnsError::Unavailable) })
    }
}

/// `getaddrinfo` tells "try again" from "no such name" only in the words of its message (glibc's, then musl's).
fn meaning(error: &io::Error) -> DnsError {
    let words = error.to_string();
    let is_passing =
        ["Temporary failure", "Try again", "System error", "Memory"].iter().any(|part| words.contains(part));
    if is_passing { DnsError::Failed } else { DnsError::NoSuchName }
}

/// The addresses that a hosts file gives a name.
fn in_hosts_file(text: &str, name: &str) -> Vec<IpAddr> {
    let lines = text.lines().map(|line| line.split('#').next().unwrap_or_default().split_ascii_whitespace());
    lines
        .filter_map(|mut words| {
            let address = words.next()?.parse().ok()?;
            words.any(|word| word.eq_ignore_ascii_case(name)).then_some(address)
        })
        .collect()
}

/// A resolver that knows what it was told. Names it was not told do not exist.
#[derive(Debug, Default)]
pub struct Table {
    addresses: HashMap<String, Turns>,
    mx: HashMap<String, Vec<Exchange>>,
    txt: HashMap<String, Vec<String>>,
    tlsa: HashMap<String, Vec<Tlsa>>,
    silent: Vec<String>,
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

    /// Nothing about `name` is ever answered.
    pub fn with_silence(mut self, name: &str) -> Self {
        self.silent.push(name.to_owned());
        self
    }

    /// The names asked for so far, in order.
    pub fn asked(&self) -> Vec<String> {
        self.asked.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn answer<'a, T: Send + 'a>(&'a self, name: &'a str, answer: Option<T>) -> Lookup<'a, T> {
        self.asked.lock().unwrap_or_else(PoisonError::into_inner).push(name.to_owned());
        let is_silent = self.silent.iter().any(|silent| silent == name);
        Box::pin(
            async move { if is_silent { std::future::pending().await } else { answer.ok_or(DnsError::NoSuchName) } },
        )
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

    fn tlsa<'a>(&'a self, name: &'a str) -> Lookup<'a, Vec<Tlsa>> {
        self.answer(name, self.tlsa.get(name).cloned())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_hosts_file_is_read() {
        let text = "127.0.0.1 localhost\n# 10.0.0.1 not.here\n10.0.0.2\tBilling.corp  billing # x y\nnonsense z\n::1 localhost\n";
        assert_eq!(in_hosts_file(text, "localhost"), LOOPBACK);
        assert_eq!(in_hosts_file(text, "billing.corp"), ["10.0.0.2".parse::<IpAddr>().unwrap()]);
        for absent in ["not.here", "y", "z", ""] {
            assert!(in_hosts_file(text, absent).is_empty(), "{absent}");
        }
    }

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

    #[tokio::test]
    async fn the_system_knows_itself() {
        let found = System::new().addresses("localhost").await.unwrap();
        assert!(found.iter().all(IpAddr::is_loopback) && !found.is_empty(), "{found:?}");
        assert_eq!(System::new().mx("localhost").await, Err(DnsError::Unavailable));
    }

    #[test]
    fn the_words_of_getaddrinfo() {
        let of = |words: &str| meaning(&io::Error::other(format!("failed to lookup address information: {words}")));
        assert_eq!(of("Name or service not known"), DnsError::NoSuchName);
        assert_eq!(of("No address associated with hostname"), DnsError::NoSuchName);
        assert_eq!(of("Temporary failure in name resolution"), DnsError::Failed);
        assert_eq!(of("Try again"), DnsError::Failed);
    }
}
