//! The way out through a proxy of the operator's: one that is set, never one of the environment's.
//!
//! It is asked for a tunnel (`CONNECT`, RFC 9110 §9.3.6) to an address that was judged here, so that the guard's word holds
//! behind it too; it resolves nothing. Only public addresses are sought through it: what is near is reached directly.

use std::net::SocketAddr;
use std::str::FromStr;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use super::{BadEntry, Failure};

/// Status line and headers of a proxy's answer, in bytes.
const HEAD_BYTES_MAX: usize = 8 * 1024;

/// A proxy.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Proxy {
    /// Its name or address.
    pub(super) host: String,
    pub(super) port: u16,
}

impl FromStr for Proxy {
    type Err = BadEntry;

    /// `http://proxy.corp.example:3128`.
    fn from_str(text: &str) -> Result<Self, BadEntry> {
        let problem = "is no proxy: expected http://, a name or address, a port, and nothing more";
        let bad = || BadEntry { entry: text.to_owned(), problem };
        let url = url::Url::parse(text).map_err(|_| bad())?;
        let port = text.trim_end_matches('/').rsplit(':').next().and_then(|port| port.parse().ok()).ok_or_else(bad)?;
        let is_bare = url.username().is_empty() && url.password().is_none() && url.path() == "/";
        let is_whole = url.scheme() == "http" && is_bare && url.query().is_none() && url.fragment().is_none();
        let host = url.host_str().filter(|_| is_whole).ok_or_else(bad)?;
        Ok(Self { host: host.trim_matches(['[', ']']).to_owned(), port })
    }
}

/// Has the proxy at the other end of `stream` lead it on to `address`. Not a byte behind its answer is read.
///
/// # Errors
/// [`Failure::ProxyFailed`] when it will not.
pub(super) async fn tunnel(stream: &mut TcpStream, address: SocketAddr) -> Result<(), Failure> {
    let asked = format!("CONNECT {address} HTTP/1.1\r\nHost: {address}\r\n\r\n");
    stream.write_all(asked.as_bytes()).await.map_err(|_| Failure::ProxyFailed)?;
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        if head.len() == HEAD_BYTES_MAX {
            return Err(Failure::ProxyFailed);
        }
        head.push(stream.read_u8().await.map_err(|_| Failure::ProxyFailed)?);
    }
    let status = head.split(|byte| *byte == b' ').nth(1);
    let is_led_on = head.starts_with(b"HTTP/1.") && status.is_some_and(|status| matches!(status, [b'2', _, _]));
    if is_led_on { Ok(()) } else { Err(Failure::ProxyFailed) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn proxies() {
        for (text, host, port) in [
            ("http://proxy.corp:3128", "proxy.corp", 3128),
            ("http://10.0.0.9:80/", "10.0.0.9", 80),
            ("http://[fd00::1]:8", "fd00::1", 8),
        ] {
            assert_eq!(text.parse::<Proxy>().unwrap(), Proxy { host: host.to_owned(), port });
        }
        for text in [
            "",
            "proxy.corp:3128",
            "http://proxy.corp",
            "https://proxy.corp:3128",
            "socks5://proxy.corp:1080",
            "http://me:secret@proxy.corp:3128",
            "http://proxy.corp:3128/x",
            "http://proxy.corp:3128/?x",
        ] {
            assert!(text.parse::<Proxy>().is_err(), "{text}");
        }
    }
}
