//! Which hosts take mail for a domain, and in what order (RFC 5321 §5.1).
//!
//! By preference, those of equal preference shuffled; the domain itself where there is no MX (implicit MX); none where
//! the one MX is null (RFC 7505). Where we stand in the list ourselves, only those better than us count: mail must not go
//! in a circle. Exchangers that are no host names are passed over. What the addresses are allowed to be, `opening` checks.

use std::net::IpAddr;

use crate::dns::{DnsError, Exchange, Resolver};
use crate::model::address::domain_name;

/// Exchangers of one domain that are tried in one attempt.
pub const EXCHANGERS_MAX: usize = 8;

/// Why there is nowhere to go.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Nowhere {
    /// The domain says that it takes no mail.
    #[error("{0} takes no mail (null MX)")]
    NullMx(String),
    /// There is no such domain, or nothing of it has an address.
    #[error("{0} does not exist, or has neither an MX nor an address")]
    NoSuchDomain(String),
    /// None of its exchangers is a name of a host.
    #[error("{0} has no exchanger that is a host name")]
    NoHost(String),
    /// None of its exchangers has an address that mail may be sent to.
    #[error("{0} has no exchanger with an address that is public and not our own; [egress] allow makes exceptions")]
    NotPublic(String),
    /// We are its best exchanger ourselves.
    #[error("{0} has this machine as its best mail exchanger")]
    Loop(String),
    /// The DNS does not tell.
    #[error("look up the mail exchangers of {domain}: {why}")]
    Dns {
        /// Of which domain.
        domain: String,
        /// Why.
        why: DnsError,
    },
}

/// The hosts that take mail for a domain.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Exchangers {
    /// In the order in which to try them; at least one.
    pub hosts: Vec<String>,
    /// There is no MX; the domain is its own host.
    pub is_implicit: bool,
}

/// The exchangers of `domain`, for a machine called `own_name`; `draw` shuffles.
///
/// # Errors
/// [`Nowhere`].
pub async fn exchangers(
    resolver: &dyn Resolver,
    domain: &str,
    own_name: &str,
    draw: u64,
) -> Result<Exchangers, Nowhere> {
    let failed = |why| Nowhere::Dns { domain: domain.to_owned(), why };
    match resolver.mx(domain).await {
        Ok(records) => ordered(domain, records, own_name, draw).map(|hosts| Exchangers { hosts, is_implicit: false }),
        Err(DnsError::NoSuchName) => match resolver.addresses(domain).await {
            Ok(_) if domain == own_name => Err(Nowhere::Loop(domain.to_owned())),
            Ok(_) => Ok(Exchangers { hosts: vec![domain.to_owned()], is_implicit: true }),
            Err(DnsError::NoSuchName) => Err(Nowhere::NoSuchDomain(domain.to_owned())),
            Err(why) => Err(failed(why)),
        },
        Err(why) => Err(failed(why)),
    }
}

fn ordered(domain: &str, records: Vec<Exchange>, own_name: &str, draw: u64) -> Result<Vec<String>, Nowhere> {
    if records.iter().all(|record| record.host.is_empty()) {
        return Err(Nowhere::NullMx(domain.to_owned()));
    }
    let own = records.iter().filter(|record| record.host.eq_ignore_ascii_case(own_name)).map(|own| own.preference);
    let limit = own.min();
    let mut keyed: Vec<(u16, u64, String)> = (0u64..)
        .zip(records)
        .filter(|(_, record)| limit.is_none_or(|limit| record.preference < limit))
        .filter_map(|(place, record)| Some((record.preference, mixed(draw, place), host_name(&record.host)?)))
        .collect();
    keyed.sort();
    let mut hosts: Vec<String> = Vec::new();
    for (_, _, host) in keyed {
        if hosts.len() < EXCHANGERS_MAX && !hosts.contains(&host) {
            hosts.push(host);
        }
    }
    match limit {
        _ if !hosts.is_empty() => Ok(hosts),
        Some(_) => Err(Nowhere::Loop(domain.to_owned())),
        None => Err(Nowhere::NoHost(domain.to_owned())),
    }
}

/// The name, if it is one: an address in its place is a mistake that RFC 5321 §5.1 does not allow to be followed.
fn host_name(host: &str) -> Option<String> {
    let is_address = host.trim_matches(['[', ']']).parse::<IpAddr>().is_ok();
    domain_name(host).ok().filter(|_| !is_address)
}

/// A number for each place that another draw makes another (the finaliser of SplitMix64).
fn mixed(draw: u64, place: u64) -> u64 {
    let mut x = draw ^ place.wrapping_add(1).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    x = (x ^ (x >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    x = (x ^ (x >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    x ^ (x >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dns::Table;
    use std::collections::HashSet;

    const OWN: &str = "mail.own.example";

    async fn check(table: Table, expected: Result<&[&str], Nowhere>) {
        let found = exchangers(&table, "d.example", OWN, 7).await.map(|found| found.hosts);
        assert_eq!(found, expected.map(|hosts| hosts.iter().map(|host| (*host).to_owned()).collect()));
    }

    fn domain() -> String {
        "d.example".to_owned()
    }

    fn mx(records: &[(u16, &'static str)]) -> Table {
        Table::new().with_mx("d.example", records.iter().copied())
    }

    #[tokio::test]
    async fn every_kind_of_answer() {
        let ip: IpAddr = "192.0.2.1".parse().unwrap();
        check(mx(&[(20, "b.example.net"), (10, "A.example.net")]), Ok(&["a.example.net", "b.example.net"])).await;
        check(Table::new().with_addresses("d.example", [ip]), Ok(&["d.example"])).await;
        check(Table::new(), Err(Nowhere::NoSuchDomain(domain()))).await;
        check(mx(&[(0, "")]), Err(Nowhere::NullMx(domain()))).await;
        check(mx(&[(0, ""), (10, "a.example.net")]), Ok(&["a.example.net"])).await;
        check(mx(&[(10, "192.0.2.1")]), Err(Nowhere::NoHost(domain()))).await;
        check(mx(&[(10, "[192.0.2.1]"), (20, "localhost")]), Err(Nowhere::NoHost(domain()))).await;
        let failed = Nowhere::Dns { domain: domain(), why: DnsError::Failed };
        check(Table::new().with_failure("d.example"), Err(failed)).await;
    }

    #[tokio::test]
    async fn mail_does_not_go_in_a_circle() {
        check(mx(&[(10, "a.example.net"), (20, OWN), (30, "c.example.net")]), Ok(&["a.example.net"])).await;
        check(mx(&[(10, "MAIL.own.example"), (20, "b.example.net")]), Err(Nowhere::Loop(domain()))).await;
        check(mx(&[(10, "a.example.net"), (10, OWN)]), Err(Nowhere::Loop(domain()))).await;
        let ip: IpAddr = "192.0.2.1".parse().unwrap();
        let own = Table::new().with_addresses(OWN, [ip]);
        assert_eq!(exchangers(&own, OWN, OWN, 7).await, Err(Nowhere::Loop(OWN.to_owned())));
    }

    #[test]
    fn equals_are_shuffled_and_long_lists_cut() {
        let record = |preference, host: String| Exchange { preference, host };
        let three = || ["a", "b", "c"].map(|name| record(10, format!("{name}.example.net"))).to_vec();
        let firsts: HashSet<String> =
            (0..100).map(|draw| ordered("d.example", three(), OWN, draw).unwrap().remove(0)).collect();
        assert_eq!(firsts.len(), 3);
        let many = (0..500).map(|place| record(place, format!("mx{place}.example.net"))).collect();
        let hosts = ordered("d.example", many, OWN, 7).unwrap();
        assert_eq!((hosts.len(), hosts[7].as_str()), (EXCHANGERS_MAX, "mx7.example.net"));
        let twice = vec![record(10, "a.example.net".into()), record(20, "a.example.net".into())];
        assert_eq!(ordered("d.example", twice, OWN, 7).unwrap(), ["a.example.net"]);
    }
}
