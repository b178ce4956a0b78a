//! Who is asking, by address, when proxies stand between, and whether by https.
//!
//! `X-Forwarded-For` is believed only from a peer that the operator trusts, and only as far as trusted hops reach:
//! it is read from the right, and the first address that is not a trusted proxy's is the client's. What stands further
//! left is whatever the client wrote. Nothing here guesses: an entry that is no address ends the walk.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use hyper::header::HOST;
use hyper::{HeaderMap, Request};

use super::server::Peer;
use crate::model::network::Network;

/// Hops that are looked at.
const HOPS_MAX: usize = 32;

/// The client's address: the peer's, or what trusted proxies say of it. `forwarded` are the values of all
/// `X-Forwarded-For` fields, in order.
pub fn client_address<'x>(peer: IpAddr, forwarded: impl Iterator<Item = &'x str>, trusted: &[Network]) -> IpAddr {
    let is_trusted = |address: IpAddr| trusted.iter().any(|network| network.has(address));
    let mut client = peer.to_canonical();
    if !is_trusted(client) {
        return client;
    }
    let hops: Vec<&str> = forwarded.flat_map(|value| value.split(',')).collect();
    for hop in hops.into_iter().rev().take(HOPS_MAX) {
        let Some(address) = hop_address(hop.trim()) else { break };
        client = address;
        if !is_trusted(client) {
            break;
        }
    }
    client
}

/// What [`note`] leaves in a request.
#[derive(Clone, Copy)]
struct Client {
    address: IpAddr,
    is_https: bool,
}

/// Notes in the request who sends it, and how.
pub(super) fn note<B>(request: &mut Request<B>, peer: Peer, trusted: &[Network]) {
    let address = client_address(peer.ip, forwarded(request.headers()), trusted);
    let is_proxied = trusted.iter().any(|network| network.has(peer.ip.to_canonical()));
    let says_https = || request.headers().get("x-forwarded-proto").is_some_and(|value| value.as_bytes() == b"https");
    let is_https = peer.is_tls || (is_proxied && says_https());
    request.extensions_mut().insert(Client { address, is_https });
}

/// The URL that the sender of a request has for us, without a path.
pub(super) fn base_url<B>(request: &Request<B>) -> String {
    let is_https = request.extensions().get::<Client>().is_some_and(|client| client.is_https);
    let host = request.headers().get(HOST).and_then(|value| value.to_str().ok()).unwrap_or_default();
    format!("{}://{host}", if is_https { "https" } else { "http" })
}

/// Who sends a request, as noted; an address that nobody has when nobody noted it.
pub(super) fn of<B>(request: &Request<B>) -> IpAddr {
    request.extensions().get::<Client>().map_or(Ipv4Addr::UNSPECIFIED.into(), |client| client.address)
}

/// The values of all `X-Forwarded-For` fields that are text.
pub(super) fn forwarded(headers: &HeaderMap) -> impl Iterator<Item = &str> {
    headers.get_all("x-forwarded-for").into_iter().filter_map(|value| value.to_str().ok())
}

/// An address as proxies write it: bare, with a port, in brackets.
fn hop_address(text: &str) -> Option<IpAddr> {
    let bracketed = || text.strip_prefix('[')?.strip_suffix(']')?.parse().ok();
    let address = text.parse::<IpAddr>().ok().or_else(bracketed);
    address.or_else(|| text.parse::<SocketAddr>().ok().map(|socket| socket.ip())).map(|address| address.to_canonical())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(peer: &str, forwarded: &[&str], expected: &str) {
        let trusted = ["10.0.0.0/8", "2001:db8::/32", "192.0.2.1"].map(|text| text.parse().unwrap());
        let client = client_address(peer.parse().unwrap(), forwarded.iter().copied(), &trusted);
        assert_eq!(client, expected.parse::<IpAddr>().unwrap(), "{peer} {forwarded:?}");
    }

    #[test]
    fn clients() {
        check("203.0.113.9", &[], "203.0.113.9");
        check("203.0.113.9", &["198.51.100.1"], "203.0.113.9");
        check("::ffff:203.0.113.9", &[], "203.0.113.9");
        check("10.1.2.3", &[], "10.1.2.3");
        check("10.1.2.3", &["198.51.100.1"], "198.51.100.1");
        check("::ffff:10.1.2.3", &["198.51.100.1"], "198.51.100.1");
        check("10.1.2.3", &["6.6.6.6, 198.51.100.1, 10.9.9.9"], "198.51.100.1");
        check("10.1.2.3", &["6.6.6.6", "198.51.100.1 ,192.0.2.1"], "198.51.100.1");
        check("10.1.2.3", &["198.51.100.1:4711"], "198.51.100.1");
        check("2001:db8::1", &["[2620::7]:443"], "2620::7");
        check("2001:db8::1", &["[2620::7]"], "2620::7");
        check("10.1.2.3", &["198.51.100.1, unknown"], "10.1.2.3");
        check("10.1.2.3", &["198.51.100.1, _hidden, 10.0.0.2"], "10.0.0.2");
        check("10.1.2.3", &["", ","], "10.1.2.3");
        check("192.0.2.2", &["198.51.100.1"], "192.0.2.2");
    }

    #[test]
    fn only_so_many_hops() {
        let long = ["198.51.100.1"].iter().chain(&["10.0.0.1"; HOPS_MAX]).copied().collect::<Vec<_>>().join(",");
        check("10.1.2.3", &[&long], "10.0.0.1");
    }
}
