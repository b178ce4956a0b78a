//! The PROXY protocol, versions 1 and 2: for whom a proxy that stands before us opens a connection.
//!
//! Read only from addresses that a listener names, and then always: such a peer may not speak for itself. Not one byte
//! more than the introduction is taken from the stream, since what follows may be a TLS handshake. Says nothing about
//! whether the client is welcome.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use tokio::io::{AsyncRead, AsyncReadExt};

/// Longest line of version 1, CR LF included.
const LINE_BYTES_MAX: usize = 107;
/// What version 2 begins with.
const SIGNATURE: &[u8; 12] = b"\r\n\r\n\0\r\nQUIT\n";
/// Signature, version and command, family, length.
const HEAD_BYTES: usize = 16;
/// Longest rest of version 2 that is read: addresses, and what else the proxy has to tell.
const REST_BYTES_MAX: usize = 4 * 1024;

/// What the bytes so far come to.
#[derive(Debug, PartialEq, Eq)]
pub enum Progress {
    /// At least so many more are part of it.
    Needs(usize),
    /// That is all of it: the client, or nobody when the proxy speaks for itself or does not know.
    Done(Option<SocketAddr>),
    /// It is something else.
    Bad,
}

/// Reads an introduction, and nothing behind it.
pub(super) async fn read<S: AsyncRead + Unpin>(stream: &mut S) -> io::Result<Option<SocketAddr>> {
    let mut bytes = Vec::with_capacity(LINE_BYTES_MAX);
    loop {
        match progress(&bytes) {
            Progress::Done(client) => return Ok(client),
            Progress::Bad => return Err(io::Error::other("it does not speak the PROXY protocol")),
            Progress::Needs(more) => {
                let have = bytes.len();
                bytes.resize(have + more, 0);
                let room = bytes.get_mut(have..).unwrap_or_default();
                stream.read_exact(room).await?;
            }
        }
    }
}

/// What `bytes` come to, the first of a connection.
pub fn progress(bytes: &[u8]) -> Progress {
    match bytes.first() {
        None => Progress::Needs(8),
        Some(b'P') => line(bytes),
        Some(_) => binary(bytes).unwrap_or(Progress::Bad),
    }
}

fn line(bytes: &[u8]) -> Progress {
    let Some(line) = bytes.strip_suffix(b"\r\n") else {
        let is_line_so_far = bytes.iter().zip(b"PROXY ").all(|(byte, known)| byte == known);
        let more = if bytes.last() == Some(&b'\r') { 1 } else { 2 };
        let fits = bytes.len() + more <= LINE_BYTES_MAX && !bytes.contains(&b'\n');
        return if is_line_so_far && fits { Progress::Needs(more) } else { Progress::Bad };
    };
    let words = std::str::from_utf8(line).ok().map(|line| line.split(' ').collect::<Vec<_>>());
    match words.as_deref() {
        Some(["PROXY", "UNKNOWN", ..]) => Progress::Done(None),
        Some(["PROXY", family @ ("TCP4" | "TCP6"), client, ours, port, our_port]) => {
            let client = address(client, port).filter(|client| client.is_ipv4() == (*family == "TCP4"));
            match (client, address(ours, our_port)) {
                (Some(client), Some(_)) => Progress::Done(Some(client)),
                _ => Progress::Bad,
            }
        }
        _ => Progress::Bad,
    }
}

fn address(ip: &str, port: &str) -> Option<SocketAddr> {
    let is_number = !port.is_empty() && port.bytes().all(|byte| byte.is_ascii_digit());
    Some(SocketAddr::new(ip.parse().ok()?, port.parse().ok().filter(|_| is_number)?))
}

/// `None` when it is something else.
fn binary(bytes: &[u8]) -> Option<Progress> {
    let is_signed_so_far = bytes.iter().zip(SIGNATURE).all(|(byte, known)| byte == known);
    if !is_signed_so_far {
        return None;
    }
    let Some((head, rest)) = bytes.split_at_checked(HEAD_BYTES) else {
        return Some(Progress::Needs(HEAD_BYTES - bytes.len()));
    };
    let [command, family, high, low] = *head.last_chunk::<4>()?;
    let length = usize::from(u16::from_be_bytes([high, low]));
    if length > REST_BYTES_MAX {
        return None;
    }
    if rest.len() < length {
        return Some(Progress::Needs(length - rest.len()));
    }
    match (command, family) {
        // The proxy itself: it looks whether we are well.
        (0x20, _) => Some(Progress::Done(None)),
        (0x21, 0x11) => {
            let (ips, rest) = rest.split_first_chunk::<8>()?;
            let ip = Ipv4Addr::from(*ips.first_chunk::<4>()?);
            Some(Progress::Done(Some(SocketAddr::new(IpAddr::V4(ip), port(rest)?))))
        }
        (0x21, 0x21) => {
            let (ips, rest) = rest.split_first_chunk::<32>()?;
            let ip = Ipv6Addr::from(*ips.first_chunk::<16>()?);
            Some(Progress::Done(Some(SocketAddr::new(IpAddr::V6(ip), port(rest)?))))
        }
        // Local sockets, datagrams, and what is not said.
        (0x21, 0x00 | 0x12 | 0x22 | 0x31 | 0x32) => Some(Progress::Done(None)),
        _ => None,
    }
}

/// The client's port; ours stands behind it.
fn port(rest: &[u8]) -> Option<u16> {
    rest.first_chunk::<4>().map(|[high, low, ..]| u16::from_be_bytes([*high, *low]))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Reads as [`read`] does; what came of it, and what is left of the input.
    fn run(input: &[u8]) -> (Result<Option<SocketAddr>, Progress>, &[u8]) {
        let mut taken = 0;
        loop {
            match progress(&input[..taken]) {
                Progress::Done(client) => return (Ok(client), &input[taken..]),
                Progress::Needs(more) if taken + more <= input.len() => taken += more,
                end => return (Err(end), &input[taken..]),
            }
        }
    }

    fn check(input: &[u8], expected: Option<&str>) {
        let with_more = [input, b"EHLO x\r\n"].concat();
        let (client, left) = run(&with_more);
        assert_eq!(client, Ok(expected.map(|text| text.parse().unwrap())), "{}", input.escape_ascii());
        assert_eq!(left, b"EHLO x\r\n", "{}", input.escape_ascii());
        let (cut, _) = run(&input[..input.len() - 1]);
        assert!(matches!(cut, Err(Progress::Needs(_))), "{}: {cut:?}", input.escape_ascii());
    }

    fn bad(input: &[u8]) {
        assert_eq!(run(&[input, &[b'x'; 120]].concat()).0, Err(Progress::Bad), "{}", input.escape_ascii());
    }

    #[test]
    fn version_1() {
        check(b"PROXY TCP4 192.0.2.1 198.51.100.1 4711 25\r\n", Some("192.0.2.1:4711"));
        check(b"PROXY TCP6 2001:db8::1 2001:db8::2 65535 0\r\n", Some("[2001:db8::1]:65535"));
        check(b"PROXY UNKNOWN\r\n", None);
        check(b"PROXY UNKNOWN ffff::1 ffff::2 1 2\r\n", None);
        bad(b"PROXY TCP4 2001:db8::1 198.51.100.1 4711 25\r\n");
        bad(b"PROXY TCP4 192.0.2.1 198.51.100.1 65536 25\r\n");
        bad(b"PROXY TCP4 192.0.2.1 198.51.100.1 +1 25\r\n");
        bad(b"PROXY TCP4 192.0.2.1 198.51.100.1 1\r\n");
        bad(b"PROXY TCP4 192.0.2.1  198.51.100.1 1 25\r\n");
        bad(b"PROXY TCP4 192.0.2.1 x 1 25\r\n");
        bad(b"PROXY UDP4 192.0.2.1 198.51.100.1 1 25\r\n");
        bad(b"PROXY TCP4 192.0.2.1 198.51.100.1 1 25\n");
        bad(b"PROXX TCP4");
        bad(format!("PROXY UNKNOWN {}\r\n", "x".repeat(100)).as_bytes());
    }

    fn version_2(command: u8, family: u8, rest: &[u8]) -> Vec<u8> {
        let length = u16::try_from(rest.len()).unwrap().to_be_bytes();
        [SIGNATURE.as_slice(), &[command, family], &length, rest].concat()
    }

    #[test]
    fn version_2_of_each_kind() {
        let v4 = [192, 0, 2, 1, 198, 51, 100, 1, 0x12, 0x67, 0, 25];
        check(&version_2(0x21, 0x11, &v4), Some("192.0.2.1:4711"));
        check(&version_2(0x21, 0x11, &[&v4[..], &[3, 0, 1, 7]].concat()), Some("192.0.2.1:4711"));
        let (client, ours) = (Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 1).octets(), [0; 16]);
        check(&version_2(0x21, 0x21, &[&client[..], &ours, &[0, 80, 0, 25]].concat()), Some("[2001:db8::1]:80"));
        check(&version_2(0x20, 0x00, b""), None);
        check(&version_2(0x20, 0x11, &v4), None);
        check(&version_2(0x21, 0x00, b""), None);
        check(&version_2(0x21, 0x31, &[0; 216]), None);
        bad(&version_2(0x21, 0x11, &v4[..11]));
        bad(&version_2(0x22, 0x11, &v4));
        bad(&version_2(0x11, 0x11, &v4));
        bad(&version_2(0x21, 0x13, &v4));
        bad(&version_2(0x21, 0x11, &[0; 4097]));
        bad(b"\r\n\r\n\0\r\nQUIT\r\n");
        bad(b"EHLO client.example\r\n");
        bad(b"\x16\x03\x01");
    }
}
