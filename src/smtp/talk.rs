//! One connection with its socket: carries out what its session asks.
//!
//! Everything that waits has an end: commands and texts by [`Connection::pulse`], handshakes, introductions by proxies,
//! writes and farewells by limits of their own. Told to stop, it lets a text that is on its way end, and says 421 to
//! everybody else.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use bytes::Bytes;
use tokio::net::TcpStream;
use tokio::sync::watch;
use tokio::time::timeout;
use tracing::{debug, info};

use crate::clock::{Clock, Stopwatch};
use crate::intake::caller::AuthFailure;
use crate::intake::once::Taken;
use crate::intake::report::{Origin, ReportTo, Unavailable};
use crate::intake::submission::{Content, Refusal, Submission, Switches};
use crate::model::address::Address;
use crate::model::message::{Source, TlsWish};
use crate::model::secret::Secret;
use crate::model::tenant::Grant;
use crate::model::time::Timestamp;

use super::connection::Connection;
use super::counters::add;
use super::link::Link;
use super::proxy;
use super::server::{Alarm, Seat, Server, stopping, turn_away};
use super::settings::{Listener, TlsMode};
use super::step::{HandedIn, NotNow, Step, Tls};

/// A wait for the answer to a wrong password from which on that answer is "not now".
const LONG_WAIT: Duration = Duration::from_secs(4);
/// A proxy says for whom it stands within this time.
const INTRODUCTION_TIME_MAX: Duration = Duration::from_secs(10);

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
///
/// Mostly it waits for its client, and there may be thousands: what is needed only now and then is on the heap meanwhile.
pub(super) async fn attend(
    mut seat: Seat,
    mut stream: TcpStream,
    peer: SocketAddr,
    listener: Arc<Listener>,
    stop: watch::Receiver<bool>,
) {
    let server = seat.server.clone();
    let watch = Stopwatch::start();
    // Replies are small and the client waits for each: Nagle's algorithm would hold them back.
    let _ = stream.set_nodelay(true);
    let peer = match Box::pin(introduced(&mut seat, &mut stream, peer, &listener)).await {
        Ok(peer) => peer,
        Err(why) => return info!(%peer, %why, "smtp proxy turned away"),
    };
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

/// Who the client is: the peer, or for whom it stands when it is a proxy that we trust.
async fn introduced(
    seat: &mut Seat,
    stream: &mut TcpStream,
    peer: SocketAddr,
    listener: &Listener,
) -> Result<SocketAddr, String> {
    if !listener.is_proxy(peer.ip()) {
        return Ok(peer);
    }
    let told = timeout(INTRODUCTION_TIME_MAX, proxy::read(stream)).await.map_err(|_| "it says nothing".to_owned())?;
    let Some(client) = told.map_err(|error| error.to_string())? else { return Ok(peer) };
    let client = SocketAddr::new(client.ip().to_canonical(), client.port());
    match seat.change(client.ip(), listener) {
        Ok(()) => Ok(client),
        Err(crowded) => {
            turn_away(stream, crowded, listener);
            Err(format!("too many sessions for {client}"))
        }
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
            link = Box::pin(self.secure(link)).await?;
            self.connection.secured(link.tls_facts());
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
                Step::Authenticate { username, secret, peer } => {
                    Box::pin(self.authenticate(&username, &secret, peer)).await;
                }
                Step::JudgeSender { grant, sender } => {
                    let answer = Box::pin(self.judge_sender(grant, sender.as_ref())).await;
                    self.connection.sender_judged(answer);
                }
                Step::JudgeRecipient(address) => {
                    let answer = self.server.intake.report_recipient(&address);
                    self.connection.recipient_judged(answer);
                }
                Step::Submit(handed_in) => Box::pin(self.submit(*handed_in)).await,
                Step::Report { to, sender, content } => {
                    Box::pin(self.report(&to, sender.as_ref(), content)).await;
                }
                Step::StartTls => {
                    self.write(&mut link).await?;
                    link = Box::pin(self.secure(link)).await?;
                    self.connection.secured(link.tls_facts());
                }
                Step::Close => {
                    self.write(&mut link).await?;
                    Box::pin(link.farewell()).await;
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

    async fn authenticate(&mut self, username: &str, secret: &Secret, peer: IpAddr) {
        let answer = self.server.intake.authenticate(username, secret.reveal(), peer).await;
        if !matches!(answer, Err(AuthFailure::Wrong | AuthFailure::NotFromHere)) {
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

    /// Whether a message may come in: the grant may have been revoked since the last one.
    async fn judge_sender(
        &mut self,
        grant: Option<Arc<Grant>>,
        sender: Option<&Address>,
    ) -> Result<Option<Arc<Grant>>, NotNow> {
        let intake = &self.server.intake;
        if !intake.has_room() {
            return Err(NotNow::NoRoom);
        }
        let Some(grant) = grant else { return Ok(None) };
        let grant = match intake.renewed(&grant, self.peer.ip()).await {
            Ok(grant) => grant,
            Err(AuthFailure::Wrong | AuthFailure::NotFromHere) => return Err(NotNow::Revoked),
            Err(AuthFailure::Unavailable) => return Err(NotNow::Unavailable),
        };
        intake.may_send_as(&grant, sender).map_err(NotNow::Rejected)?;
        Ok(Some(grant))
    }

    async fn submit(&mut self, handed_in: HandedIn) {
        let HandedIn { grant, sender, recipients, wishes, requires_tls, send_at, hop, content } = handed_in;
        let (size_bytes, count) = (content.len() as u64, recipients.len());
        let content = Content::Raw { bytes: Bytes::from(content), hop: Some(hop) };
        let tls = if requires_tls { TlsWish::Required } else { TlsWish::Usual };
        let switches = Switches { wishes, tls, send_at, ..Switches::default() };
        let submission = Submission { source: Source::Smtp, sender, recipients, content, switches };
        let watch = Stopwatch::start();
        let answer = self.server.intake.submit_by_header(&grant, submission).await;
        let counters = &self.server.counters;
        counters.replied(watch.elapsed());
        match &answer {
            Ok(Taken::Before(message)) => info!(message.id = message, peer = %self.peer, "message taken before"),
            Ok(Taken::Now(receipt)) => {
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
            Err(Refusal::DailyLimit { .. }) => {
                add(&counters.rejected, 1);
                info!(peer = %self.peer, size_bytes, "message rejected: the daily limit is reached");
            }
            Err(Refusal::Raced | Refusal::Unavailable) => add(&counters.unavailable, 1),
        }
        self.connection.submitted(answer.map(|taken| match taken {
            Taken::Now(receipt) => receipt.message.to_string(),
            Taken::Before(message) => message,
        }));
    }

    async fn report(&mut self, to: &[ReportTo], sender: Option<&Address>, content: Vec<u8>) {
        let content = Bytes::from(content);
        let from = Origin { sender, client: self.peer.ip() };
        let mut answer = Ok(());
        for to in to {
            answer = self.server.intake.report(to, from, content.clone()).await;
            if matches!(answer, Err(Unavailable)) {
                add(&self.server.counters.unavailable, 1);
                break;
            }
            add(&self.server.counters.reports, 1);
        }
        self.connection.reported(answer);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_session_that_waits_is_small() {
        fn size_of_future<A, B, C, D, E, F>(_: fn(A, B, C, D, E) -> F) -> usize {
            size_of::<F>()
        }
        let bytes = size_of_future(attend);
        assert!(bytes <= 3 * 1024, "{bytes} bytes");
    }
}
