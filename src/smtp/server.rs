//! Sockets, TLS and time: takes connections and carries out what their sessions ask.
//!
//! One task a connection. Everything that waits has an end: commands and texts by [`Connection::pulse`], handshakes,
//! writes and farewells by limits of their own. Told to stop, it takes no more connections, lets texts that are on
//! their way end, says 421 to everybody else, and returns when the last session has gone.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::pin::Pin;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::{JoinError, JoinSet};
use tokio::time::timeout;
use tracing::{debug, error, info, warn};

use crate::clock::{Clock, Stopwatch};
use crate::intake::Intake;
use crate::intake::caller::AuthFailure;
use crate::intake::report::{ReportTo, Unavailable};
use crate::intake::submission::{Content, Refusal, Submission};
use crate::model::address::Address;
use crate::model::message::Source;
use crate::model::secret::Secret;
use crate::model::tenant::Grant;
use crate::model::time::Timestamp;
use crate::tls::Acceptor;

use super::connection::Connection;
use super::counters::{Counters, add};
use super::link::Link;
use super::peers::{Crowded, Peers};
use super::reply;
use super::settings::{Listener, Settings, TlsMode};
use super::step::{Step, Tls};

/// A wait for the answer to a wrong password from which on that answer is "not now".
const LONG_WAIT: Duration = Duration::from_secs(4);
/// After accept() has failed (out of file descriptors, most likely) it is left alone for so long.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// Something to wait for, kept from one wait to the next.
type Alarm = Pin<Box<dyn Future<Output = ()> + Send>>;

/// The SMTP doors of one installation.
pub struct Server {
    settings: Arc<Settings>,
    tls: Option<Acceptor>,
    intake: Intake,
    clock: Clock,
    peers: Mutex<Peers>,
    /// Memory held for texts on their way in.
    text_bytes: AtomicU64,
    counters: Counters,
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

    /// Takes connections until `stop` is true or its sender is gone, and returns when the last one has ended.
    pub async fn serve(self: Arc<Self>, socket: TcpListener, listener: Listener, stop: watch::Receiver<bool>) {
        let listener = Arc::new(listener);
        let mut sessions = JoinSet::new();
        let mut stopping = stopping(&stop);
        loop {
            tokio::select! {
                accepted = socket.accept() => match accepted {
                    Ok((stream, peer)) => match self.admit(peer.ip(), &listener) {
                        Ok(seat) => {
                            sessions.spawn(attend(seat, stream, peer, listener.clone(), stop.clone()));
                        }
                        Err(crowded) => turn_away(&stream, crowded, &listener),
                    },
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

    fn admit(self: &Arc<Self>, ip: IpAddr, listener: &Listener) -> Result<Seat, Crowded> {
        let entered = self.peers().enter(ip, listener.sessions_per_address(), self.settings.sessions_max);
        match entered {
            Ok(()) => {
                add(&self.counters.connections, 1);
                add(&self.counters.sessions, 1);
                Ok(Seat { server: self.clone(), ip })
            }
            Err(crowded) => {
                add(&self.counters.turned_away, 1);
                Err(crowded)
            }
        }
    }

    fn peers(&self) -> std::sync::MutexGuard<'_, Peers> {
        self.peers.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The place of one connection among all; given back when dropped.
struct Seat {
    server: Arc<Server>,
    ip: IpAddr,
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
fn turn_away(stream: &TcpStream, crowded: Crowded, listener: &Listener) {
    let reply = match crowded {
        Crowded::FromThere => reply::TOO_MANY_FROM_YOU,
        Crowded::InAll => reply::TOO_MANY_SESSIONS,
    };
    if listener.tls != TlsMode::Implicit {
        let mut line = Vec::new();
        reply.write(&mut line);
        let _ = stream.try_write(&line);
    }
}

fn stopping(stop: &watch::Receiver<bool>) -> Alarm {
    let mut stop = stop.clone();
    Box::pin(async move {
        // An error means that the sender is gone, and with it whoever wants us to run.
        let _ = stop.wait_for(|stop| *stop).await;
    })
}

/// Why a session ended without us closing it.
#[derive(Debug)]
enum Lost {
    /// The client went away.
    Gone,
    /// The stream broke, or the handshake failed.
    Broken(io::Error),
}

impl From<io::Error> for Lost {
    fn from(error: io::Error) -> Self {
        Lost::Broken(error)
    }
}

/// One connection from greeting to farewell, and its line in the log.
async fn attend(seat: Seat, stream: TcpStream, peer: SocketAddr, listener: Arc<Listener>, stop: watch::Receiver<bool>) {
    let server = seat.server.clone();
    let watch = Stopwatch::start();
    // Replies are small and the client waits for each: Nagle's algorithm would hold them back.
    let _ = stream.set_nodelay(true);
    let now = server.clock.now();
    let offered = if server.tls.is_some() { Tls::Offered } else { Tls::Unavailable };
    let connection = Connection::new(server.settings.clone(), listener.clone(), offered, peer.ip(), now);
    let alarm = alarm(&server.clock, connection.next_pulse(now));
    let stopping = stopping(&stop);
    let mut talk = Talk { server: &server, connection, peer, alarm, stopping, is_stopping: false, held: 0 };
    let outcome = talk.run(Link::Plain(stream), &listener).await;
    let ended = match &outcome {
        Ok(()) => "closed",
        Err(Lost::Gone) => "gone",
        Err(Lost::Broken(_)) => "broken",
    };
    let summary = talk.connection.summary();
    add(&server.counters.errors, summary.errors.into());
    info!(
        %peer, listener = listener.kind.as_str(), client = summary.client, tls = summary.secured, ended,
        messages = summary.messages, reports = summary.reports, errors = summary.errors,
        duration_ms = u64::try_from(watch.elapsed().as_millis()).unwrap_or(u64::MAX), "smtp session"
    );
    if let Err(Lost::Broken(error)) = outcome {
        debug!(%peer, %error, "smtp session broke");
    }
}

fn alarm(clock: &Clock, at: Timestamp) -> Alarm {
    let clock = clock.clone();
    Box::pin(async move { clock.sleep_until(at).await })
}

/// One connection with its socket.
struct Talk<'a> {
    server: &'a Arc<Server>,
    connection: Connection,
    peer: SocketAddr,
    alarm: Alarm,
    stopping: Alarm,
    is_stopping: bool,
    /// Our share of the server's `text_bytes`.
    held: u64,
}

impl Drop for Talk<'_> {
    fn drop(&mut self) {
        self.server.text_bytes.fetch_sub(self.held, Ordering::Relaxed);
    }
}

impl Talk<'_> {
    async fn run(&mut self, mut link: Link, listener: &Listener) -> Result<(), Lost> {
        if listener.tls == TlsMode::Implicit {
            link = self.secure(link).await?;
        }
        if let Ok(read) = timeout(listener.greeting_delay(), link.read(self.connection.input())).await
            && read? == 0
        {
            return Err(Lost::Gone);
        }
        self.connection.greet();
        loop {
            match self.connection.step(self.server.clock.now()) {
                Step::Read => {
                    self.write(&mut link).await?;
                    self.read(&mut link).await?;
                }
                Step::Write => self.write(&mut link).await?,
                Step::Authenticate { username, secret } => self.authenticate(&username, &secret).await,
                Step::JudgeSender { grant, sender } => {
                    let answer = self.server.intake.may_send_as(&grant, sender.as_ref());
                    self.connection.sender_judged(answer);
                }
                Step::JudgeRecipient(address) => {
                    let answer = self.server.intake.report_recipient(&address);
                    self.connection.recipient_judged(answer);
                }
                Step::Submit { grant, sender, recipients, content } => {
                    self.submit(&grant, sender, recipients, content).await;
                }
                Step::Report { to, sender, content } => self.report(&to, sender.as_ref(), content).await,
                Step::StartTls => {
                    self.write(&mut link).await?;
                    link = self.secure(link).await?;
                    self.connection.secured();
                }
                Step::Close => {
                    self.write(&mut link).await?;
                    link.farewell().await;
                    return Ok(());
                }
            }
        }
    }

    /// Waits for input, but no longer than the client may take and we want to run.
    async fn read(&mut self, link: &mut Link) -> Result<(), Lost> {
        loop {
            tokio::select! {
                biased;
                read = link.read(self.connection.input()) => {
                    if read? == 0 {
                        return Err(Lost::Gone);
                    }
                    self.hold();
                    return Ok(());
                }
                () = &mut self.alarm => {
                    let now = self.server.clock.now();
                    self.connection.pulse(now);
                    self.alarm = alarm(&self.server.clock, self.connection.next_pulse(now));
                }
                () = &mut self.stopping, if !self.is_stopping => {
                    self.is_stopping = true;
                    self.connection.stop();
                }
            }
            if !self.connection.output().is_empty() {
                return Ok(());
            }
        }
    }

    /// Keeps account of the memory that texts take, and puts off this one if there is none left.
    fn hold(&mut self) {
        let held = self.connection.text_bytes() as u64;
        if held > self.held {
            let more = held - self.held;
            let others = self.server.text_bytes.fetch_add(more, Ordering::Relaxed);
            if others.saturating_add(more) > self.server.settings.data_memory_bytes_max {
                self.connection.put_off_text();
            }
        } else if held < self.held {
            self.server.text_bytes.fetch_sub(self.held - held, Ordering::Relaxed);
        }
        self.held = held;
    }

    /// Sends what there is to send. A client that does not take it in the time of a command is given up.
    async fn write(&mut self, link: &mut Link) -> Result<(), Lost> {
        let output = self.connection.output();
        if output.is_empty() {
            return Ok(());
        }
        let clock = &self.server.clock;
        let time_max = self.server.settings.command_time();
        tokio::select! {
            biased;
            written = link.write(output) => written?,
            () = async { clock.sleep_until(clock.now() + time_max).await } => return Err(Lost::Gone),
        }
        self.connection.output().clear();
        Ok(())
    }

    async fn secure(&mut self, link: Link) -> Result<Link, Lost> {
        let secured = match &self.server.tls {
            Some(acceptor) => link.secure(acceptor).await,
            None => Err(io::Error::other("no certificate")),
        };
        secured.map_err(|error| {
            add(&self.server.counters.failed_handshakes, 1);
            Lost::Broken(error)
        })
    }

    async fn authenticate(&mut self, username: &str, secret: &Secret) {
        let answer = self.server.intake.authenticate(username, secret.reveal()).await;
        if !matches!(answer, Err(AuthFailure::Wrong)) {
            return self.connection.authenticated(answer);
        }
        let now = self.server.clock.now();
        let wait = self.server.peers().failed(self.peer.ip(), now);
        add(&self.server.counters.failed_logins, 1);
        info!(peer = %self.peer, wait_ms = u64::try_from(wait.as_millis()).unwrap_or(u64::MAX), "smtp login failed");
        if !wait.is_zero() && !self.is_stopping {
            tokio::select! {
                () = self.server.clock.sleep_until(now + wait.min(LONG_WAIT)) => {}
                () = &mut self.stopping => self.is_stopping = true,
            }
        }
        if self.is_stopping {
            self.connection.stop();
        } else if wait >= LONG_WAIT {
            self.connection.authentication_postponed();
        } else {
            self.connection.authenticated(answer);
        }
    }

    async fn submit(
        &mut self,
        grant: &Arc<Grant>,
        sender: Option<Address>,
        recipients: Vec<Address>,
        content: Vec<u8>,
    ) {
        let (size_bytes, count) = (content.len() as u64, recipients.len());
        let content = Content::Raw(Bytes::from(content));
        let submission = Submission { source: Source::Smtp, sender, recipients, content, switches: Default::default() };
        let watch = Stopwatch::start();
        let answer = self.server.intake.submit(grant, submission).await;
        let counters = &self.server.counters;
        counters.replied(watch.elapsed());
        match &answer {
            Ok(receipt) => {
                add(&counters.messages, 1);
                add(&counters.message_bytes, size_bytes);
                let (tenant, agent) = (&grant.tenant.slug, &grant.agent.name);
                info!(
                    message.id = %receipt.message, tenant, agent, peer = %self.peer, size_bytes, recipients = count,
                    "message accepted"
                );
            }
            Err(Refusal::Rejected(why)) => {
                add(&counters.rejected, 1);
                info!(peer = %self.peer, size_bytes, %why, "message rejected");
            }
            Err(Refusal::Unavailable) => add(&counters.unavailable, 1),
        }
        self.connection.submitted(answer.map(|receipt| receipt.message.to_string()));
    }

    async fn report(&mut self, to: &[ReportTo], sender: Option<&Address>, content: Vec<u8>) {
        let content = Bytes::from(content);
        let mut answer = Ok(());
        for to in to {
            answer = self.server.intake.report(to, sender, content.clone()).await;
            if matches!(answer, Err(Unavailable)) {
                add(&self.server.counters.unavailable, 1);
                break;
            }
            add(&self.server.counters.reports, 1);
        }
        self.connection.reported(answer);
    }
}
