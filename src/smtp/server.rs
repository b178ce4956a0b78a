//! Takes connections, one task each, as many as may be; `talk` has what happens on one.
//!
//! Told to stop, it takes no more connections and returns when the last session has gone. A connection from a listed
//! proxy is counted as the proxy's until the proxy has said for whom it stands.

use std::net::{IpAddr, SocketAddr};
use std::pin::Pin;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::{JoinError, JoinSet};
use tracing::{error, warn};

use crate::clock::Clock;
use crate::intake::Intake;
use crate::tls::Acceptor;

use super::counters::{Counters, add};
use super::peers::{Crowded, Peers, Room};
use super::reply::{self, Reply};
use super::settings::{Listener, Settings, TlsMode};
use super::talk::attend;

/// After accept() has failed (out of file descriptors, most likely) it is left alone for so long.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// Something to wait for, kept from one wait to the next.
pub(super) type Alarm = Pin<Box<dyn Future<Output = ()> + Send>>;

/// The SMTP doors of one installation.
pub struct Server {
    pub(super) settings: Arc<Settings>,
    pub(super) tls: Option<Acceptor>,
    pub(super) intake: Intake,
    pub(super) clock: Clock,
    peers: Mutex<Peers>,
    /// Memory held for texts on their way in.
    pub(super) text_bytes: AtomicU64,
    pub(super) counters: Counters,
}

impl Server {
    /// Doors that nobody stands at yet. Without `tls`, STARTTLS is not offered and implicit TLS turns everybody away.
    pub fn new(settings: Arc<Settings>, tls: Option<Acceptor>, intake: Intake, clock: Clock) -> Arc<Self> {
        let (peers, text_bytes, counters) = (Mutex::default(), AtomicU64::new(0), Counters::default());
        Arc::new(Self { settings, tls, intake, clock, peers, text_bytes, counters })
    }

    /// What the doors have done so far.
    pub fn counters(&self) -> &Counters {
        &self.counters
    }

    /// Memory held for texts on their way in.
    pub fn text_memory_bytes(&self) -> u64 {
        self.text_bytes.load(Ordering::Relaxed)
    }

    /// Takes connections until `stop` is true or its sender is gone, and returns when the last one has ended.
    pub async fn serve(self: Arc<Self>, socket: TcpListener, listener: Listener, stop: watch::Receiver<bool>) {
        let listener = Arc::new(listener);
        let mut sessions = JoinSet::new();
        let mut stopping = stopping(&stop);
        loop {
            tokio::select! {
                accepted = socket.accept() => match accepted {
                    Ok((stream, peer)) => {
                        let peer = SocketAddr::new(peer.ip().to_canonical(), peer.port());
                        match Seat::take(&self, peer.ip(), &listener) {
                            Ok(seat) => {
                                sessions.spawn(attend(seat, stream, peer, listener.clone(), stop.clone()));
                            }
                            Err(crowded) => turn_away(&stream, crowded, &listener),
                        }
                    }
                    Err(error) => {
                        warn!(%error, "cannot take an SMTP connection");
                        tokio::time::sleep(ACCEPT_PAUSE).await;
                    }
                },
                Some(ended) = sessions.join_next() => report_panic(ended),
                () = &mut stopping => break,
            }
        }
        drop(socket);
        while let Some(ended) = sessions.join_next().await {
            report_panic(ended);
        }
    }

    pub(super) fn peers(&self) -> MutexGuard<'_, Peers> {
        self.peers.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The place of one connection among all; given back when dropped.
pub(super) struct Seat {
    pub(super) server: Arc<Server>,
    ip: IpAddr,
}

impl Seat {
    fn take(server: &Arc<Server>, ip: IpAddr, listener: &Listener) -> Result<Self, Crowded> {
        let room = if listener.is_proxy(ip) { Room::ANY } else { listener.room() };
        let room = Room { sessions_max: server.settings.sessions_max, ..room };
        let entered = server.peers().enter(ip, room, server.clock.now());
        entered.inspect_err(|_| add(&server.counters.turned_away, 1))?;
        add(&server.counters.connections, 1);
        add(&server.counters.sessions, 1);
        Ok(Self { server: server.clone(), ip })
    }

    /// The connection turned out to be from `ip`.
    pub(super) fn change(&mut self, ip: IpAddr, listener: &Listener) -> Result<(), Crowded> {
        let entered = self.server.peers().change(self.ip, ip, listener.room(), self.server.clock.now());
        entered.inspect_err(|_| add(&self.server.counters.turned_away, 1))?;
        self.ip = ip;
        Ok(())
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        self.server.peers().leave(self.ip);
        self.server.counters.sessions.fetch_sub(1, Ordering::Relaxed);
    }
}

fn report_panic(ended: Result<(), JoinError>) {
    if let Err(error) = ended {
        error!(%error, "an SMTP session broke off");
    }
}

/// Says why, if the client can hear it at once, and hangs up.
pub(super) fn turn_away(stream: &TcpStream, crowded: Crowded, listener: &Listener) {
    if listener.tls != TlsMode::Implicit {
        let mut line = Vec::new();
        crowded_reply(crowded).write(&mut line);
        let _ = stream.try_write(&line);
    }
}

fn crowded_reply(crowded: Crowded) -> Reply {
    match crowded {
        Crowded::FromThere => reply::TOO_MANY_FROM_YOU,
        Crowded::TooOften => reply::TOO_OFTEN_FROM_YOU,
        Crowded::InAll => reply::TOO_MANY_SESSIONS,
    }
}

pub(super) fn stopping(stop: &watch::Receiver<bool>) -> Alarm {
    let mut stop = stop.clone();
    Box::pin(async move {
        // An error means that the sender is gone, and with it whoever wants us to run.
        let _ = stop.wait_for(|stop| *stop).await;
    })
}
