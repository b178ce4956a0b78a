//! The ports of the program: bound first, so that a port in use is told before anything is written.

use std::fmt;
use std::net::SocketAddr;

use anyhow::Context;
use tokio::net::TcpListener;

use crate::config::{Role, Settings};
use crate::smtp::settings::{Kind, Listener};

/// Bound, and not yet accepting.
pub(super) struct Sockets {
    pub(super) smtp: Vec<(Listener, TcpListener)>,
    pub(super) admin: TcpListener,
}

impl Sockets {
    /// Binds what `settings` ask for: the doors only for a node that has them.
    pub(super) async fn bind(settings: &Settings) -> anyhow::Result<Self> {
        let has_doors = settings.roles.contains(&Role::Doors);
        let mut smtp = Vec::new();
        for (number, listener) in settings.smtp.listeners.iter().enumerate().filter(|_| has_doors) {
            let socket = bind(&format!("smtp.listeners.{number}.address"), listener.address).await?;
            smtp.push((listener.clone(), socket));
        }
        Ok(Self { smtp, admin: bind("admin.address", settings.admin.address).await? })
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
        all.push(("admin", self.admin.local_addr()?));
        Ok(Addresses(all))
    }
}

async fn bind(key: &str, address: SocketAddr) -> anyhow::Result<TcpListener> {
    TcpListener::bind(address).await.with_context(|| format!("{key}: listen on {address}"))
}

/// Where the program can be reached, with the ports that it really has. Prints as `smtp=127.0.0.1:2525 admin=…`.
#[derive(Clone, Debug)]
pub struct Addresses(Vec<(&'static str, SocketAddr)>);

impl Addresses {
    /// Where the first door of this name listens: `smtp`, `inbound`, `http`, `admin`.
    pub fn of(&self, door: &str) -> Option<SocketAddr> {
        self.0.iter().find(|(name, _)| *name == door).map(|(_, address)| *address)
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
