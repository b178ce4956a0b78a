//! The ports of the program: bound first, so that a port in use is told before anything is written.

use std::collections::HashSet;
use std::fmt;
use std::net::{Ipv4Addr, SocketAddr};

use anyhow::{Context, bail};
use socket2::{Domain, Protocol, Socket, Type};
use tokio::net::TcpListener;

use crate::config::{Role, Settings};
use crate::smtp::settings::{Kind, Listener};

/// Connections that the system may hold for each port until they are accepted, if it allows so many: clients that come
/// all at once, after a restart of theirs or ours, are not turned away.
const BACKLOG: i32 = 4096;
/// What the system takes of an answer beyond what is on its way to the client, as far as it can be told: megabytes of it
/// would hide for minutes how slowly, or how steadily, somebody reads.
#[cfg(target_os = "linux")]
const UNSENT_BYTES_MAX: u32 = 64 * 1024;

/// Bound, and not yet accepting.
pub(super) struct Sockets {
    pub(super) smtp: Vec<(Listener, TcpListener)>,
    /// In clear text, and with TLS.
    pub(super) http: Vec<(HttpKind, TcpListener)>,
    pub(super) admin: TcpListener,
}

/// Whether a listener of HTTP shakes hands first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum HttpKind {
    Clear,
    Tls,
}

impl Sockets {
    /// Binds what `settings` ask for: the doors only for a node that has them.
    pub(super) fn bind(settings: &Settings) -> anyhow::Result<Self> {
        check(settings)?;
        let has_doors = settings.roles.contains(&Role::Doors);
        let all = all(settings);
        let bind = |key: &str, address| bind(key, address, families(address, &all));
        let mut smtp = Vec::new();
        for (number, listener) in settings.smtp.listeners.iter().enumerate().filter(|_| has_doors) {
            let socket = bind(&format!("smtp.listeners.{number}.address"), listener.address)?;
            smtp.push((listener.clone(), socket));
        }
        let mut http = Vec::new();
        if has_doors {
            http.push((HttpKind::Clear, bind("http.address", settings.http.address)?));
            if let Some(address) = settings.http.tls_address {
                http.push((HttpKind::Tls, bind("http.tls_address", address)?));
            }
        }
        Ok(Self { smtp, http, admin: bind("admin.address", settings.admin.address)? })
    }

    /// Where they can be reached.
    pub(super) fn addresses(&self) -> std::io::Result<Addresses> {
        let name = |listener: &Listener| match listener.kind {
            Kind::Submission => "smtp",
            Kind::Inbound => "inbound",
        };
        let mut all = Vec::new();
        for (listener, socket) in &self.smtp {
            all.push((name(listener), socket.local_addr()?));
        }
        for (kind, socket) in &self.http {
            let name = if *kind == HttpKind::Tls { "https" } else { "http" };
            all.push((name, socket.local_addr()?));
        }
        all.push(("admin", self.admin.local_addr()?));
        Ok(Addresses(all))
    }
}

/// Whom a socket hears.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Families {
    /// Those of its address's family.
    Own,
    /// Clients of IPv4, too, although its address is `[::]`.
    Both,
}

/// `[::]` hears both families, unless IPv4 has a listener of its own at that port.
fn families(address: SocketAddr, all: &[SocketAddr]) -> Families {
    let has_own = all.iter().any(|other| other.is_ipv4() && other.port() == address.port() && other.port() != 0);
    match address {
        SocketAddr::V6(address) if address.ip().is_unspecified() && !has_own => Families::Both,
        _ => Families::Own,
    }
}

/// Every address that `settings` name.
fn all(settings: &Settings) -> Vec<SocketAddr> {
    let smtp = settings.smtp.listeners.iter().map(|listener| listener.address);
    smtp.chain([settings.http.address, settings.admin.address]).chain(settings.http.tls_address).collect()
}

/// Says of an address that `settings` name twice.
pub(super) fn check(settings: &Settings) -> anyhow::Result<()> {
    let mut named = HashSet::new();
    match all(settings).into_iter().find(|address| address.port() != 0 && !named.insert(*address)) {
        Some(address) => bail!("{address} is named for two doors; give each a port of its own"),
        None => Ok(()),
    }
}

/// Says of an address that is not one of this machine. Whether its port is free is for the start to find out: the
/// program may be running.
pub(super) fn rehearse(settings: &Settings) -> anyhow::Result<()> {
    check(settings)?;
    let (smtp, http, all) = (&settings.smtp.listeners, &settings.http, all(settings));
    let mut doors: Vec<(String, SocketAddr)> = vec![("admin.address".to_owned(), settings.admin.address)];
    if settings.roles.contains(&Role::Doors) {
        let smtp = smtp.iter().enumerate();
        doors.extend(smtp.map(|(number, door)| (format!("smtp.listeners.{number}.address"), door.address)));
        doors.push(("http.address".to_owned(), http.address));
        doors.extend(http.tls_address.map(|address| ("http.tls_address".to_owned(), address)));
    }
    for (key, address) in doors {
        let mut at_any_port = address;
        at_any_port.set_port(0);
        listen(at_any_port, families(address, &all)).with_context(|| format!("{key}: listen on {address}"))?;
    }
    Ok(())
}

fn bind(key: &str, address: SocketAddr, families: Families) -> anyhow::Result<TcpListener> {
    listen(address, families).with_context(|| format!("{key}: listen on {address}"))
}

fn listen(address: SocketAddr, families: Families) -> std::io::Result<TcpListener> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
    if address.is_ipv6() {
        // Said, since systems differ in what they take for granted.
        socket.set_only_v6(families == Families::Own)?;
    }
    // A restart must not wait for the connections of the run before.
    socket.set_reuse_address(true)?;
    socket.set_nonblocking(true)?;
    // Connections have this of their listener. A kernel that knows no such thing takes more.
    #[cfg(target_os = "linux")]
    let _ = socket.set_tcp_notsent_lowat(UNSENT_BYTES_MAX);
    socket.bind(&address.into())?;
    socket.listen(BACKLOG)?;
    TcpListener::from_std(socket.into())
}

/// Where the program can be reached, with the ports that it really has. Prints as `smtp=127.0.0.1:2525 admin=…`.
#[derive(Clone, Debug)]
pub struct Addresses(Vec<(&'static str, SocketAddr)>);

impl Addresses {
    /// Where the first door of this name listens: `smtp`, `inbound`, `http`, `https`, `admin`.
    pub fn of(&self, door: &str) -> Option<SocketAddr> {
        self.0.iter().find(|(name, _)| *name == door).map(|(_, address)| *address)
    }
}

impl Addresses {
    /// Every address that is ours.
    pub(super) fn all(&self) -> impl Iterator<Item = SocketAddr> {
        self.0.iter().map(|(_, address)| *address)
    }

    /// Each door, and where it listens.
    pub(super) fn named(&self) -> Vec<(String, String)> {
        self.0.iter().map(|(door, address)| ((*door).to_owned(), address.to_string())).collect()
    }

    /// What tracked URLs begin with when nothing else is set: where the HTTP door listens.
    pub(super) fn base_url(&self) -> Option<String> {
        let mut address = self.of("http")?;
        if address.ip().is_unspecified() {
            address.set_ip(Ipv4Addr::LOCALHOST.into());
        }
        Some(format!("http://{address}"))
    }
}

impl fmt::Display for Addresses {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (at, (door, address)) in self.0.iter().enumerate() {
            write!(out, "{}{door}={address}", if at == 0 { "" } else { " " })?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::net::{IpAddr, Ipv6Addr};

    use tokio::net::TcpStream;

    use super::*;

    #[test]
    fn an_unspecified_address_of_ipv6_hears_both_unless_ipv4_has_its_own() {
        let check = |address: &str, others: &[&str], expected| {
            let others: Vec<SocketAddr> = others.iter().map(|other| other.parse().unwrap()).collect();
            assert_eq!(families(address.parse().unwrap(), &others), expected, "{address} beside {others:?}");
        };
        check("[::]:587", &["[::]:587", "0.0.0.0:465"], Families::Both);
        check("[::]:587", &["[::]:587", "0.0.0.0:587"], Families::Own);
        check("[::]:587", &["[::]:587", "127.0.0.1:587"], Families::Own);
        check("[::]:0", &["[::]:0", "127.0.0.1:0"], Families::Both);
        check("[::1]:587", &[], Families::Own);
        check("0.0.0.0:587", &[], Families::Own);
    }

    #[tokio::test]
    async fn each_family_is_heard_where_it_should_be() {
        let any = SocketAddr::from((Ipv6Addr::UNSPECIFIED, 0));
        let (v4, v6) = (IpAddr::V4(Ipv4Addr::LOCALHOST), IpAddr::V6(Ipv6Addr::LOCALHOST));
        let both = listen(any, Families::Both).unwrap();
        let port = both.local_addr().unwrap().port();
        for address in [v4, v6] {
            TcpStream::connect((address, port)).await.unwrap();
            let (_, peer) = both.accept().await.unwrap();
            assert_eq!(peer.ip().to_canonical(), address);
        }
        let own = listen(any, Families::Own).unwrap();
        let port = own.local_addr().unwrap().port();
        let beside = listen(SocketAddr::new(v4, port), Families::Own).unwrap();
        TcpStream::connect((v4, port)).await.unwrap();
        assert_eq!(beside.accept().await.unwrap().1.ip(), v4);
        TcpStream::connect((v6, port)).await.unwrap();
        assert_eq!(own.accept().await.unwrap().1.ip(), v6);
    }

    #[cfg(target_os = "linux")]
    #[tokio::test]
    async fn the_system_takes_little_of_what_nobody_reads() {
        let listener = listen(SocketAddr::from((Ipv4Addr::LOCALHOST, 0)), Families::Own).unwrap();
        let client = tokio::net::TcpSocket::new_v4().unwrap();
        client.set_recv_buffer_size(16 * 1024).unwrap();
        let _client = client.connect(listener.local_addr().unwrap()).await.unwrap();
        let (stream, _) = listener.accept().await.unwrap();
        if socket2::SockRef::from(&stream).tcp_notsent_lowat().ok() != Some(UNSENT_BYTES_MAX) {
            return; // This kernel knows no such thing.
        }
        stream.writable().await.unwrap();
        let mut taken = 0;
        while let Ok(count) = stream.try_write(&[0; 16 * 1024]) {
            taken += count;
            assert!(taken <= 512 * 1024, "{taken} bytes");
        }
    }
}
