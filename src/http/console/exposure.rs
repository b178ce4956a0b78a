//! Whether others can read what a browser and we say to each other: plain HTTP that leaves the machine it came from.
//!
//! Nobody is refused for it, since a certificate may be what they come to set up; but every page says so, and what to do.
//! A browser that names its own machine is near, or comes through a tunnel that somebody dug for it; one behind a proxy is
//! where the proxy says, if we believe that proxy.

use super::session::Browser;
use crate::http::{Server, header};

/// What a page tells that came by plain HTTP from elsewhere.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Exposure {
    /// Where this console is by https, if a door for that is open here.
    pub secure: Option<String>,
}

impl Exposure {
    /// What there is to tell a browser; nothing when nobody listens.
    pub(super) fn of(server: &Server, browser: &Browser) -> Option<Self> {
        browser.is_exposed.then(|| Self { secure: secure(&browser.host, server.house().door("https")) })
    }
}

/// Where a request comes from, as far as that says who may listen.
pub(super) struct Way {
    /// It talks to us, or to a proxy that we trust, over TLS.
    pub is_https: bool,
    /// A proxy that we trust says so.
    pub is_proxied: bool,
    /// The client's address is of this machine.
    pub is_loopback: bool,
}

impl Way {
    /// Whether others may listen on it.
    pub(super) fn is_exposed(&self, headers: &hyper::HeaderMap) -> bool {
        let is_forwarded =
            ["x-forwarded-for", "x-forwarded-proto", "forwarded"].iter().any(|name| headers.contains_key(*name));
        let is_near = match (is_forwarded, header(headers, "host")) {
            (true, _) => self.is_proxied && self.is_loopback,
            (false, Some(host)) => is_own_machine(name_of(host)),
            (false, None) => self.is_loopback,
        };
        !self.is_https && !is_near
    }
}

/// The host of a `Host` field, without its port.
fn name_of(host: &str) -> &str {
    match host.strip_prefix('[').and_then(|rest| rest.split_once(']')) {
        Some((address, _)) => address,
        None => host.split(':').next().unwrap_or_default(),
    }
}

/// Whether a browser means its own machine by a name (the Let 'localhost' be localhost rule of RFC 6761 §6.3).
fn is_own_machine(name: &str) -> bool {
    let name = name.to_ascii_lowercase();
    let is_loopback = |address: std::net::IpAddr| address.to_canonical().is_loopback();
    name == "localhost" || name.ends_with(".localhost") || name.parse().is_ok_and(is_loopback)
}

/// The console at the https door of the same host.
fn secure(host: &str, door: &str) -> Option<String> {
    let port = door.rsplit_once(':')?.1;
    let name = name_of(host);
    let is_name = |byte: u8| byte.is_ascii_alphanumeric() || b".-:".contains(&byte);
    let written = if name.contains(':') { format!("[{name}]") } else { name.to_owned() };
    (!name.is_empty() && name.bytes().all(is_name)).then(|| format!("https://{written}:{port}/console/"))
}

#[cfg(test)]
mod tests {
    use hyper::header::{HeaderMap, HeaderName, HeaderValue};

    use super::*;

    #[test]
    fn who_may_listen() {
        let check = |way: (bool, bool, bool), fields: &[(&'static str, &'static str)], expected: bool| {
            let (is_https, is_proxied, is_loopback) = way;
            let field = |(name, value): &(&'static str, &'static str)| {
                (HeaderName::from_static(name), HeaderValue::from_static(value))
            };
            let headers: HeaderMap = fields.iter().map(field).collect();
            let way = Way { is_https, is_proxied, is_loopback };
            assert_eq!(way.is_exposed(&headers), expected, "{fields:?}");
        };
        let (near, far) = ((false, false, true), (false, false, false));
        check(near, &[("host", "127.0.0.1:8080")], false);
        check(near, &[("host", "localhost:8080")], false);
        check(near, &[("host", "[::1]:8080")], false);
        check(near, &[("host", "postback.localhost")], false);
        check(near, &[], false);
        check(far, &[], true);
        // A tunnel, or a container's port on this machine.
        check(far, &[("host", "LOCALHOST:8080")], false);
        check(far, &[("host", "192.0.2.7:8080")], true);
        check(far, &[("host", "mail.example.com")], true);
        check(far, &[("host", "localhost.example.com")], true);
        // A proxy on this machine that nobody told us to believe, and one that we do.
        check(near, &[("host", "127.0.0.1:8080"), ("x-forwarded-for", "192.0.2.7")], true);
        check((false, true, false), &[("host", "127.0.0.1:8080"), ("x-forwarded-for", "192.0.2.7")], true);
        check((false, true, true), &[("host", "localhost"), ("x-forwarded-for", "127.0.0.1")], false);
        check((true, true, false), &[("host", "mail.example.com"), ("x-forwarded-proto", "https")], false);
        check((true, false, false), &[("host", "mail.example.com")], false);
    }

    #[test]
    fn where_it_is_by_https() {
        let check = |host: &str, door: &str, expected: Option<&str>| {
            assert_eq!(secure(host, door).as_deref(), expected, "{host} {door}");
        };
        check("mail.example.com:8080", "0.0.0.0:8443", Some("https://mail.example.com:8443/console/"));
        check("[2001:db8::7]:8080", "[::]:443", Some("https://[2001:db8::7]:443/console/"));
        check("mail.example.com", "", None);
        check("\"><script>", "0.0.0.0:8443", None);
        check("", "0.0.0.0:8443", None);
    }
}
