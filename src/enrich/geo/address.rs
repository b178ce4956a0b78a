//! Which address to look up: the IPv4 address inside an IPv6 one, and none for addresses that have no place.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// The address to look up, or `None` when it is nobody's place: private, link-local, shared, for documentation, …
///
/// IPv4 addresses inside mapped (`::ffff:0:0/96`), 6to4 (`2002::/16`) and NAT64 (`64:ff9b::/96`) ones are taken out
/// first: databases answer nothing or wrongly for the wrapping.
pub(super) fn locatable(ip: IpAddr) -> Option<IpAddr> {
    let ip = unwrapped(ip);
    let is_public = match ip {
        IpAddr::V4(v4) => is_public_v4(v4),
        IpAddr::V6(v6) => is_public_v6(v6),
    };
    is_public.then_some(ip)
}

fn unwrapped(ip: IpAddr) -> IpAddr {
    let IpAddr::V6(v6) = ip else { return ip };
    let v4 = |high: u16, low: u16| {
        let ([a, b], [c, d]) = (high.to_be_bytes(), low.to_be_bytes());
        IpAddr::V4(Ipv4Addr::new(a, b, c, d))
    };
    match v6.segments() {
        [0, 0, 0, 0, 0, 0xffff, high, low] => v4(high, low),
        [0x2002, high, low, ..] => v4(high, low),
        [0x64, 0xff9b, 0, 0, 0, 0, high, low] => v4(high, low),
        _ => ip,
    }
}

/// RFC 6890 and the registry behind it; multicast and the reserved rest as well.
fn is_public_v4(ip: Ipv4Addr) -> bool {
    let [a, b, c, _] = ip.octets();
    let is_special = matches!(
        (a, b, c),
        (0 | 10 | 127 | 224.., ..)
            | (100, 64..=127, _)
            | (169, 254, _)
            | (172, 16..=31, _)
            | (192, 0, 0 | 2)
            | (192, 168, _)
            | (198, 18 | 19, _)
            | (198, 51, 100)
            | (203, 0, 113)
    );
    !is_special
}

/// Global unicast is `2000::/3`; of it, Teredo and the blocks for documentation and benchmarks are nobody's place.
fn is_public_v6(ip: Ipv6Addr) -> bool {
    let is_global = matches!(ip.segments(), [0x2000..=0x3fff, ..]);
    let is_special = matches!(ip.segments(), [0x2001, 0 | 2 | 0xdb8, ..] | [0x3fff, 0..=0xfff, ..]);
    is_global && !is_special
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_public_addresses_have_a_place() {
        let check = |ip: &str, expected: Option<&str>| {
            let found = locatable(ip.parse().unwrap()).map(|ip| ip.to_string());
            assert_eq!(found.as_deref(), expected, "{ip}");
        };
        check("8.8.8.8", Some("8.8.8.8"));
        check("::ffff:8.8.8.8", Some("8.8.8.8"));
        check("2002:0808:0808::1", Some("8.8.8.8"));
        check("64:ff9b::808:808", Some("8.8.8.8"));
        check("2a00:1450::1", Some("2a00:1450::1"));
        check("2001:4860::1", Some("2001:4860::1"));
        for special in [
            "0.0.0.0",
            "10.1.2.3",
            "100.64.0.1",
            "127.0.0.1",
            "169.254.1.1",
            "172.31.0.1",
            "192.0.2.9",
            "192.168.1.1",
            "198.19.0.1",
            "198.51.100.1",
            "203.0.113.24",
            "224.0.0.1",
            "255.255.255.255",
            "::",
            "::1",
            "fe80::1",
            "fd00::1",
            "ff02::1",
            "2001:db8::1",
            "2001::1",
            "3fff:12::1",
            "64:ff9b:1::1",
            "::ffff:10.0.0.1",
            "2002:a00:1::",
        ] {
            check(special, None);
        }
    }
}
