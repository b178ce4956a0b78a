//! The ports of the program: bound first, so that a port in use is told before anything is written.

use std::fmt;
use std::net::{Ipv4Addr, SocketAddr};

use anyhow::Context;
use tokio::net::{TcpListener, TcpSocket};

use crate::config::{Role, Settings};
use crate::smtp::settings::{Kind, Listener};

/// Connections that the system may hold for each port until they are accepted, if it allows so many: clients that come
/// all at once, after a restart of theirs or ours, are not turned away.
const BACKLOG: u32 = 4096;

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
        let has_doors = settings.roles.contains(&Role::Doors);
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

fn bind(key: &str, address: SocketAddr) -> anyhow::Result<TcpListener> {
    listen(address).with_context(|| format!("{key}: listen on {address}"))
}

fn listen(address: SocketAddr) -> std::io::Result<TcpListener> {
    let socket = if address.is_ipv4() { TcpSocket::new_v4()? } else { TcpSocket::new_v6()? };
    // A restart must not wait for the connections of the run before.
    socket.set_reuseaddr(true)?;
    socket.bind(address)?;
    socket.listen(BACKLOG)
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
