//! Whether an SPF record lets given addresses send (RFC 7208), as far as advice to its owner needs it.
//!
//! Read: `all`, `ip4`, `ip6`, `a`, `mx`, `include` and `redirect`, within ten look-ups. What hangs on the mail itself
//! (macros, `exists`, `ptr`) is not followed; the answer is then that it is not known.

use std::net::IpAddr;
use std::pin::Pin;

use super::{DnsError, Resolver};

/// Look-ups that a record may cause (RFC 7208 §4.6.4).
const LOOKUPS_MAX: u32 = 10;

/// What a record says of an address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Spf {
    /// It may send.
    Pass,
    /// It may not, or nothing is said.
    NoPass,
    /// There is no SPF record.
    None,
    /// The record, or one that it leads to, is wrong: several, unreadable, or in need of too many look-ups.
    Broken,
    /// It hangs on more than the address, or the DNS does not tell.
    Unknown,
}

/// What the SPF record of `domain` says of `address`.
pub async fn evaluate(resolver: &dyn Resolver, domain: &str, address: IpAddr) -> Spf {
    let mut lookups = LOOKUPS_MAX;
    of_domain(resolver, domain.to_owned(), address, &mut lookups).await
}

/// The SPF records among the texts of a domain.
pub fn records(texts: &[String]) -> Vec<&str> {
    let is_spf = |text: &&str| text.split(' ').next().is_some_and(|word| word.eq_ignore_ascii_case("v=spf1"));
    texts.iter().map(String::as_str).filter(is_spf).collect()
}

type Answer<'a> = Pin<Box<dyn Future<Output = Spf> + Send + 'a>>;

fn of_domain<'a>(resolver: &'a dyn Resolver, domain: String, address: IpAddr, lookups: &'a mut u32) -> Answer<'a> {
    Box::pin(async move {
        let texts = match resolver.txt(&domain).await {
            Ok(texts) => texts,
            Err(DnsError::NoSuchName) => return Spf::None,
            Err(_) => return Spf::Unknown,
        };
        let record = match records(&texts).as_slice() {
            [] => return Spf::None,
            [record] => (*record).to_owned(),
            _ => return Spf::Broken,
        };
        let terms: Vec<&str> = record.split(' ').skip(1).filter(|term| !term.is_empty()).collect();
        for term in &terms {
            let (passes, mechanism) = match term.strip_prefix(['+', '-', '~', '?']) {
                Some(mechanism) => (term.starts_with('+'), mechanism),
                None => (true, *term),
            };
            match matches(resolver, mechanism, &domain, address, lookups).await {
                Found::Yes if passes => return Spf::Pass,
                Found::Yes => return Spf::NoPass,
                Found::No => {}
                Found::Stop(spf) => return spf,
            }
        }
        match terms.iter().find_map(|term| term.strip_prefix("redirect=")) {
            Some(target) if !target.contains('%') => match spend(lookups) {
                true => of_domain(resolver, target.to_owned(), address, lookups).await,
                false => Spf::Broken,
            },
            Some(_) => Spf::Unknown,
            None => Spf::NoPass,
        }
    })
}

enum Found {
    Yes,
    No,
    Stop(Spf),
}

fn spend(lookups: &mut u32) -> bool {
    let has_any = *lookups > 0;
    *lookups = lookups.saturating_sub(1);
    has_any
}

async fn matches(resolver: &dyn Resolver, mechanism: &str, domain: &str, address: IpAddr, lookups: &mut u32) -> Found {
    let lower = mechanism.to_ascii_lowercase();
    let (name, rest) = lower.split_at(lower.find([':', '/', '=']).unwrap_or(lower.len()));
    if rest.starts_with('=') {
        return Found::No;
    }
    if rest.contains('%') {
        return Found::Stop(Spf::Unknown);
    }
    let (target, lengths) = match rest.strip_prefix(':') {
        Some(rest) if matches!(name, "ip4" | "ip6") => (rest, ""),
        Some(rest) => rest.split_at(rest.find('/').unwrap_or(rest.len())),
        None => ("", rest),
    };
    let target = if target.is_empty() { domain } else { target };
    match name {
        "all" => Found::Yes,
        "ip4" | "ip6" => match network(target) {
            Some((network, length)) => found(is_in(address, network, length)),
            None => Found::Stop(Spf::Broken),
        },
        "a" | "mx" | "include" if !spend(lookups) => Found::Stop(Spf::Broken),
        "a" => found(has(resolver, target, lengths, address).await),
        "mx" => {
            for exchange in resolver.mx(target).await.unwrap_or_default().iter().take(10) {
                if has(resolver, &exchange.host, lengths, address).await {
                    return Found::Yes;
                }
            }
            Found::No
        }
        "include" => match of_domain(resolver, target.to_owned(), address, lookups).await {
            Spf::Pass => Found::Yes,
            Spf::NoPass => Found::No,
            Spf::None | Spf::Broken => Found::Stop(Spf::Broken),
            Spf::Unknown => Found::Stop(Spf::Unknown),
        },
        "exists" | "ptr" => Found::Stop(Spf::Unknown),
        _ => Found::Stop(Spf::Broken),
    }
}

fn found(is_found: bool) -> Found {
    if is_found { Found::Yes } else { Found::No }
}

/// Whether the address is near enough to one of the name's: `/24` and `//64` say what is near.
async fn has(resolver: &dyn Resolver, name: &str, lengths: &str, address: IpAddr) -> bool {
    let (v4, v6) = lengths.split_once("//").map_or((lengths, ""), |(v4, v6)| (v4, v6));
    let length = match address {
        IpAddr::V4(_) => v4.trim_start_matches('/').parse().unwrap_or(32),
        IpAddr::V6(_) => v6.parse().unwrap_or(128),
    };
    resolver.addresses(name).await.unwrap_or_default().into_iter().any(|own| is_in(address, own, length))
}

fn network(text: &str) -> Option<(IpAddr, u32)> {
    let (ip, length) = text.split_once('/').map_or((text, None), |(ip, length)| (ip, Some(length)));
    let ip: IpAddr = ip.parse().ok()?;
    let max = if ip.is_ipv4() { 32 } else { 128 };
    let length = length.map_or(Some(max), |length| length.parse().ok())?;
    (length <= max).then_some((ip, length))
}

fn is_in(address: IpAddr, network: IpAddr, length: u32) -> bool {
    match (address, network) {
        (IpAddr::V4(address), IpAddr::V4(network)) => {
            (address.to_bits() ^ network.to_bits()).checked_shr(32 - length.min(32)).unwrap_or(0) == 0
        }
        (IpAddr::V6(address), IpAddr::V6(network)) => {
            (address.to_bits() ^ network.to_bits()).checked_shr(128 - length.min(128)).unwrap_or(0) == 0
        }
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dns::Table;

    async fn check(record: &'static str, address: &str, expected: Spf) {
        let ip = |text: &str| text.parse::<IpAddr>().unwrap();
        let table = Table::new()
            .with_txt("d.example", [record])
            .with_txt("other.example", ["v=spf1 ip4:198.51.100.0/24 -all"])
            .with_txt("loop.example", ["v=spf1 include:loop.example -all"])
            .with_txt("two.example", ["v=spf1 -all", "v=spf1 +all"])
            .with_addresses("d.example", [ip("192.0.2.1"), ip("2001:db8::1")])
            .with_mx("d.example", [(10, "mx.d.example")])
            .with_addresses("mx.d.example", [ip("192.0.2.25")]);
        assert_eq!(evaluate(&table, "d.example", ip(address)).await, expected, "{record} {address}");
    }

    #[tokio::test]
    async fn every_mechanism() {
        check("v=spf1 ip4:192.0.2.0/24 -all", "192.0.2.9", Spf::Pass).await;
        check("v=spf1 ip4:192.0.2.0/24 -all", "192.0.3.9", Spf::NoPass).await;
        check("v=spf1 ip6:2001:db8::/32 ~all", "2001:db8:1::1", Spf::Pass).await;
        check("v=spf1 ip4:0.0.0.0/0 -all", "8.8.8.8", Spf::Pass).await;
        check("v=spf1 a -all", "192.0.2.1", Spf::Pass).await;
        check("v=spf1 a//64 -all", "2001:db8::2", Spf::Pass).await;
        check("v=spf1 a/24 -all", "192.0.2.77", Spf::Pass).await;
        check("v=spf1 MX -all", "192.0.2.25", Spf::Pass).await;
        check("v=spf1 a:mx.d.example -all", "192.0.2.25", Spf::Pass).await;
        check("v=spf1 include:other.example -all", "198.51.100.7", Spf::Pass).await;
        check("v=spf1 include:other.example ?all", "192.0.2.7", Spf::NoPass).await;
        check("v=spf1 redirect=other.example", "198.51.100.7", Spf::Pass).await;
        check("v=spf1 -ip4:192.0.2.7 +all", "192.0.2.7", Spf::NoPass).await;
        check("v=spf1 exp=x.example +all", "192.0.2.7", Spf::Pass).await;
        check("v=spf1", "192.0.2.7", Spf::NoPass).await;
    }

    #[tokio::test]
    async fn what_cannot_be_said() {
        check("hello", "192.0.2.7", Spf::None).await;
        check("v=spf1 exists:%{i}.x.example -all", "192.0.2.7", Spf::Unknown).await;
        check("v=spf1 include:nowhere.example -all", "192.0.2.7", Spf::Broken).await;
        check("v=spf1 include:loop.example -all", "192.0.2.7", Spf::Broken).await;
        check("v=spf1 include:two.example -all", "192.0.2.7", Spf::Broken).await;
        check("v=spf1 ip4:192.0.2.0/33 -all", "192.0.2.7", Spf::Broken).await;
        check("v=spf1 nonsense -all", "192.0.2.7", Spf::Broken).await;
    }
}
