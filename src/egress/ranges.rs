//! Address ranges as data: what is public, what is a cloud's metadata service, what an entry of a list means.
//!
//! IPv4 is public unless listed (IANA's special-purpose registry and what clouds use besides); IPv6 is not public
//! unless it is global unicast, `2000::/3`, and not listed. Everything else falls out by construction.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::str::FromStr;

use super::BadEntry;

/// All addresses that begin with the same `prefix` bits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Network {
    base: IpAddr,
    prefix: u32,
}

const fn v4(a: u8, b: u8, c: u8, d: u8, prefix: u32) -> Network {
    Network { base: IpAddr::V4(Ipv4Addr::new(a, b, c, d)), prefix }
}

const fn v6(a: u16, b: u16, c: u16, d: u16, prefix: u32) -> Network {
    Network { base: IpAddr::V6(Ipv6Addr::new(a, b, c, d, 0, 0, 0, 0)), prefix }
}

/// IPv4 that no stranger's URL may lead to.
const NOT_PUBLIC_V4: [Network; 19] = [
    v4(0, 0, 0, 0, 8),        // this network
    v4(10, 0, 0, 0, 8),       // private
    v4(100, 64, 0, 0, 10),    // carrier-grade NAT
    v4(127, 0, 0, 0, 8),      // loopback
    v4(168, 63, 129, 16, 32), // Azure's wire server
    v4(169, 254, 0, 0, 16),   // link-local, cloud metadata
    v4(172, 16, 0, 0, 12),    // private
    v4(192, 0, 0, 0, 24),     // protocol assignments
    v4(192, 0, 2, 0, 24),     // documentation
    v4(192, 31, 196, 0, 24),  // AS112
    v4(192, 52, 193, 0, 24),  // AMT
    v4(192, 88, 99, 0, 24),   // 6to4 relays
    v4(192, 168, 0, 0, 16),   // private
    v4(192, 175, 48, 0, 24),  // AS112
    v4(198, 18, 0, 0, 15),    // benchmarking
    v4(198, 51, 100, 0, 24),  // documentation
    v4(203, 0, 113, 0, 24),   // documentation
    v4(224, 0, 0, 0, 4),      // multicast
    v4(240, 0, 0, 0, 4),      // reserved, broadcast
];

const GLOBAL_UNICAST: Network = v6(0x2000, 0, 0, 0, 3);

/// What of global unicast is not public.
const NOT_PUBLIC_V6: [Network; 5] = [
    v6(0x2001, 0, 0, 0, 23),         // Teredo, ORCHID, benchmarking, AMT
    v6(0x2001, 0xdb8, 0, 0, 32),     // documentation
    v6(0x2002, 0, 0, 0, 16),         // 6to4
    v6(0x3fff, 0, 0, 0, 20),         // documentation
    v6(0x2620, 0x4f, 0x8000, 0, 48), // AS112
];

/// The well-known prefix of NAT64 (RFC 6052 §2.1).
const NAT64: Network = v6(0x64, 0xff9b, 0, 0, 96);

/// Addresses at which clouds tell machines their credentials.
const METADATA: [IpAddr; 9] = [
    IpAddr::V4(Ipv4Addr::new(169, 254, 169, 254)),
    IpAddr::V4(Ipv4Addr::new(169, 254, 170, 2)),
    IpAddr::V4(Ipv4Addr::new(169, 254, 170, 23)),
    IpAddr::V4(Ipv4Addr::new(100, 100, 100, 200)),
    IpAddr::V4(Ipv4Addr::new(192, 0, 0, 192)),
    IpAddr::V4(Ipv4Addr::new(168, 63, 129, 16)),
    IpAddr::V6(Ipv6Addr::new(0xfd00, 0xec2, 0, 0, 0, 0, 0, 0x254)),
    IpAddr::V6(Ipv6Addr::new(0xfd00, 0xec2, 0, 0, 0, 0, 0, 0x23)),
    IpAddr::V6(Ipv6Addr::new(0xfd20, 0xce, 0, 0, 0, 0, 0, 0x254)),
];

/// Whether anybody may be told to connect there.
pub(super) fn is_public(ip: IpAddr) -> bool {
    match ip {
        IpAddr::V4(_) => !NOT_PUBLIC_V4.iter().any(|network| network.holds(ip)),
        IpAddr::V6(_) => GLOBAL_UNICAST.holds(ip) && !NOT_PUBLIC_V6.iter().any(|network| network.holds(ip)),
    }
}

/// Whether a cloud's metadata service answers there.
pub(super) fn is_metadata(ip: IpAddr) -> bool {
    METADATA.contains(&ip)
}

/// The IPv4 address that an address under the NAT64 prefix stands for.
pub(super) fn behind_nat64(ip: IpAddr) -> Option<IpAddr> {
    if NAT64.holds(ip) { embedded(ip) } else { None }
}

/// The IPv4 address that an IPv6 address carries, whichever way: mapped, compatible, translated, NAT64 or 6to4.
pub(super) fn embedded(ip: IpAddr) -> Option<IpAddr> {
    let IpAddr::V6(ip) = ip else { return None };
    let (high, low) = match ip.segments() {
        [0, 0, 0, 0, 0, 0 | 0xffff, high, low] | [0, 0, 0, 0, 0xffff, 0, high, low] => (high, low),
        [0x64, 0xff9b, 0, 0, 0, 0, high, low] | [0x2002, high, low, ..] => (high, low),
        _ => return None,
    };
    Some(Ipv4Addr::from_bits(u32::from(high) << 16 | u32::from(low)).into())
}

impl Network {
    /// Whether `ip` is one of these addresses.
    pub(super) fn holds(&self, ip: IpAddr) -> bool {
        let differing = match (self.base, ip) {
            (IpAddr::V4(base), IpAddr::V4(ip)) => (base.to_bits() ^ ip.to_bits()).leading_zeros(),
            (IpAddr::V6(base), IpAddr::V6(ip)) => (base.to_bits() ^ ip.to_bits()).leading_zeros(),
            _ => return false,
        };
        differing >= self.prefix
    }

    /// Whether these are more addresses than the largest private network of their family has (10.0.0.0/8, fc00::/7), or
    /// as many of IPv4 by a name of IPv6: two halves of everything are everything, too.
    pub(super) fn is_wide(&self) -> bool {
        match self.base {
            IpAddr::V4(_) => self.prefix < 8,
            base @ IpAddr::V6(_) => self.prefix < if embedded(base).is_some() { 96 + 8 } else { 7 },
        }
    }
}

/// An entry of a list: addresses, and the ports it is about; none means all.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Entry {
    pub(super) network: Network,
    pub(super) ports: Vec<u16>,
}

impl Entry {
    pub(super) fn holds(&self, ip: IpAddr, port: u16) -> bool {
        self.network.holds(ip) && (self.ports.is_empty() || self.ports.contains(&port))
    }
}

impl FromStr for Entry {
    type Err = BadEntry;

    /// `10.0.0.0/8`, `10.20.0.0/16:443,8080`, `fd00::/8:443`, `192.0.2.7`, `192.0.2.7:443`, `[fd00::1]:443`.
    fn from_str(text: &str) -> Result<Self, BadEntry> {
        let bad = |problem| BadEntry { entry: text.to_owned(), problem };
        let (base, prefix, ports) = match text.split_once('/') {
            Some((base, rest)) => {
                let (prefix, ports) =
                    rest.split_once(':').map_or((rest, None), |(prefix, ports)| (prefix, Some(ports)));
                (base, Some(prefix), ports)
            }
            None if text.parse::<Ipv6Addr>().is_ok() => (text, None, None),
            None => {
                let (base, ports) = text.rsplit_once(':').map_or((text, None), |(base, ports)| (base, Some(ports)));
                (base.trim_start_matches('[').trim_end_matches(']'), None, ports)
            }
        };
        let base: IpAddr = base.parse().map_err(|_| bad("is neither an address nor a network"))?;
        let bits = if base.is_ipv4() { 32 } else { 128 };
        let prefix = prefix.map_or(Ok(bits), |digits| digits.parse().map_err(|_| bad("has no number after the /")))?;
        if prefix > bits {
            return Err(bad("has a prefix longer than its address"));
        }
        let zeros = match base {
            IpAddr::V4(base) => base.to_bits().trailing_zeros(),
            IpAddr::V6(base) => base.to_bits().trailing_zeros(),
        };
        if zeros < bits - prefix {
            return Err(bad("has bits set beyond its prefix"));
        }
        let ports = ports.map_or(Ok(Vec::new()), ports_of).map_err(bad)?;
        Ok(Self { network: Network { base, prefix }, ports })
    }
}

/// `443,8080`.
pub(super) fn ports_of(text: &str) -> Result<Vec<u16>, &'static str> {
    text.split(',').map(|port| port.trim().parse().map_err(|_| "has a port that is not a number up to 65535")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(entry: &str, expected: Result<&[&str], &str>) {
        match (entry.parse::<Entry>(), expected) {
            (Ok(entry), Ok(held)) => {
                for target in held {
                    let (is_held, target) = target.strip_prefix('!').map_or((true, *target), |target| (false, target));
                    let target: std::net::SocketAddr = target.parse().unwrap();
                    assert_eq!(entry.holds(target.ip(), target.port()), is_held, "{entry:?} {target}");
                }
            }
            (Err(error), Err(problem)) => assert_eq!(error.problem, problem, "{entry}"),
            (found, _) => panic!("{entry}: {found:?}"),
        }
    }

    #[test]
    fn entries() {
        check("10.0.0.0/8", Ok(&["10.0.0.0:1", "10.255.255.255:65535", "!11.0.0.0:1", "![::10.0.0.0]:1"]));
        check("10.20.0.0/16:443,8080", Ok(&["10.20.1.2:443", "10.20.1.2:8080", "!10.20.1.2:80", "!10.21.0.0:443"]));
        check("fd12:3456:789a::/48", Ok(&["[fd12:3456:789a:ffff::1]:1", "![fd12:3456:789b::]:1"]));
        check("fd00::/8:443", Ok(&["[fdff::1]:443", "![fdff::1]:80"]));
        check("203.0.113.77", Ok(&["203.0.113.77:9", "!203.0.113.78:9"]));
        check("203.0.113.77:25", Ok(&["203.0.113.77:25", "!203.0.113.77:26"]));
        check("fd00::1", Ok(&["[fd00::1]:1", "![fd00::2]:1"]));
        check("[fd00::1]:80", Ok(&["[fd00::1]:80", "![fd00::1]:81"]));
        check("0.0.0.0/0", Ok(&["1.2.3.4:5", "![::1]:5"]));
        check("10.1.0.0/8", Err("has bits set beyond its prefix"));
        check("10.0.0.0/33", Err("has a prefix longer than its address"));
        check("10.0.0.0/x", Err("has no number after the /"));
        check("10.0.0.0/8:http", Err("has a port that is not a number up to 65535"));
        check("billing.corp", Err("is neither an address nor a network"));
        check("", Err("is neither an address nor a network"));
    }

    #[test]
    fn what_is_wider_than_a_private_network() {
        let check = |entries: &[&str], expected: bool| {
            for entry in entries {
                assert_eq!(entry.parse::<Entry>().unwrap().network.is_wide(), expected, "{entry}");
            }
        };
        check(&["0.0.0.0/0", "0.0.0.0/1", "128.0.0.0/1", "8.0.0.0/7:443", "::/0", "8000::/1", "2000::/3"], true);
        check(&["::/96", "::ffff:0:0/96", "::ffff:0:0:0/96", "64:ff9b::/96", "::ffff:10.0.0.0/103"], true);
        check(&["10.0.0.0/8", "192.0.2.7", "fc00::/7", "2001:db8::/32", "::ffff:10.0.0.0/104", "::1"], false);
    }

    #[test]
    fn every_cloud_metadata_address_is_also_not_public() {
        assert!(METADATA.into_iter().all(|ip| !is_public(ip)));
    }

    proptest::proptest! {
        #[test]
        fn addresses_that_embed_another_are_never_public(bits: u32) {
            let high = bits >> 16;
            let low = bits & 0xffff;
            for text in [
                format!("::{high:x}:{low:x}"), format!("::ffff:{high:x}:{low:x}"), format!("::ffff:0:{high:x}:{low:x}"),
                format!("64:ff9b::{high:x}:{low:x}"), format!("2002:{high:x}:{low:x}::1"),
            ] {
                let ip: IpAddr = text.parse().unwrap();
                proptest::prop_assert!(!is_public(ip), "{}", ip);
                proptest::prop_assert_eq!(embedded(ip), Some(Ipv4Addr::from_bits(bits).into()));
            }
        }

        #[test]
        fn only_global_unicast_is_public(bits: u128) {
            let ip = Ipv6Addr::from_bits(bits);
            proptest::prop_assert!(!is_public(ip.into()) || bits >> 125 == 1);
        }
    }
}
