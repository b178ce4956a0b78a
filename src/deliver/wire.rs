//! The stream between lettre and the other side: our own socket, our own reading of replies, our own patience.
//!
//! lettre writes the commands and the dot-stuffed content; what comes back is read here, because its parser loses the
//! code of a reply with foreign letters or no text, waits for ever on a bare line feed, and knows no time limit. It is
//! handed each reply as one plain line of the same kind, one at a time; the true replies wait in [`Heard`] for
//! `transport`, which decides by them alone.
//!
//! What is written leaves when a reply is awaited, so that a pipelined group, or content and its final dot, are one
//! write (lettre makes several, which with Nagle's algorithm cost 40 ms each). Greeting, EHLO and STARTTLS are done
//! before lettre comes in; its own opening is answered here and never sent.

use std::collections::VecDeque;
use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use lettre::transport::smtp::client::AsyncTokioStream;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio::time::{Sleep, sleep};
use tokio_rustls::client::TlsStream;

use super::encryption::Flaw;
use super::reply::{BadReply, Reader, Reply};

/// How much is gathered before it is written even though no reply is awaited.
const GATHERED_BYTES_MAX: usize = 64 * 1024;
const READ_BYTES: usize = 4096;
/// What lettre's own opening is answered with. It learns nothing from it: what the peer offers, `transport` knows.
const OPENING: [&[u8]; 2] = [b"220 opened\r\n", b"250 opened\r\n"];

/// Why a conversation cannot go on.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Fault {
    /// The other side hung up.
    #[error("the connection was closed")]
    Closed,
    /// The network failed, in the operating system's words.
    #[error("{0}")]
    Network(String),
    /// Nothing came, or nothing was taken, for so many seconds.
    #[error("no answer within {0} s")]
    TimedOut(u64),
    /// What came is no reply.
    #[error(transparent)]
    BadReply(#[from] BadReply),
    /// A reply that nobody asked for, or one of a kind that cannot stand here.
    #[error("the replies are out of step with the commands")]
    OutOfStep,
    /// TLS could not be had.
    #[error(transparent)]
    Tls(#[from] Flaw),
    /// The name of the host could not be looked up.
    #[error("look up {host}: {why}")]
    Dns {
        /// The name.
        host: String,
        /// Why.
        why: crate::dns::DnsError,
    },
    /// None of the host's addresses is one that mail may be sent to.
    #[error("none of its addresses is public and not our own; [egress] allow makes exceptions")]
    NotPublic,
    /// Our own rules forbid to go on.
    #[error("{0}")]
    Unwilling(&'static str),
}

/// The socket itself.
#[derive(Debug)]
pub enum Socket {
    /// In clear.
    Clear(TcpStream),
    /// Inside TLS.
    Tls(Box<TlsStream<TcpStream>>),
}

/// What was heard and not yet asked for.
#[derive(Debug, Default)]
struct State {
    replies: VecDeque<Reply>,
    fault: Option<Fault>,
    /// Bytes came that belong to no reply yet.
    has_more: bool,
    /// Something that was written could not leave.
    is_cut: bool,
    patience: Patience,
}

/// How long the other side may keep us waiting.
#[derive(Clone, Copy, Debug, Default)]
pub struct Patience {
    /// For a whole reply, from when the command left.
    pub reply: Duration,
    /// For each block to be taken.
    pub block: Duration,
}

/// The far end of a [`Wire`], for whoever holds the conversation while lettre holds the wire.
#[derive(Clone, Debug, Default)]
pub struct Heard(Arc<Mutex<State>>);

impl Heard {
    /// The next reply that was read.
    ///
    /// # Errors
    /// What ended the conversation instead.
    pub fn next(&self) -> Result<Reply, Fault> {
        let mut state = self.state();
        let reply = state.replies.pop_front();
        reply.ok_or_else(|| state.fault.clone().unwrap_or(Fault::OutOfStep))
    }

    /// Whether nothing came beyond what was asked for.
    pub fn is_quiet(&self) -> bool {
        let state = self.state();
        state.replies.is_empty() && !state.has_more && state.fault.is_none()
    }

    /// Whether something that was written could not leave.
    pub fn is_cut(&self) -> bool {
        self.state().is_cut
    }

    /// From the next wait on.
    pub fn set_patience(&self, patience: Patience) {
        self.state().patience = patience;
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// One connection.
#[derive(Debug)]
pub struct Wire {
    socket: Socket,
    peer: SocketAddr,
    heard: Heard,
    reader: Reader,
    /// Written by us, not yet by the socket.
    gathered: Vec<u8>,
    written: usize,
    /// Why nothing can be written any more. What the other side said before that can still be read.
    broken: Option<Fault>,
    /// What lettre has not read yet.
    plain: Vec<u8>,
    /// Lines of lettre's opening still to be answered.
    opening: usize,
    /// When patience ends; only while something is awaited.
    deadline: Option<Pin<Box<Sleep>>>,
}

impl Wire {
    /// A wire over a connected socket.
    pub fn new(socket: Socket, peer: SocketAddr) -> Self {
        Self {
            socket,
            peer,
            heard: Heard::default(),
            reader: Reader::default(),
            gathered: Vec::new(),
            written: 0,
            broken: None,
            plain: Vec::new(),
            opening: 0,
            deadline: None,
        }
    }

    /// The far end.
    pub fn heard(&self) -> Heard {
        self.heard.clone()
    }

    /// Makes ready for lettre, which will wait for a greeting and say EHLO.
    pub fn for_lettre(mut self) -> Box<Self> {
        self.plain = OPENING[0].to_vec();
        self.opening = 1;
        Box::new(self)
    }

    /// With whom.
    pub fn peer(&self) -> SocketAddr {
        self.peer
    }

    /// The socket, for TLS to be put around it.
    ///
    /// # Errors
    /// `OutOfStep` when anything came after the last reply: it would be taken for part of what TLS protects
    /// (CVE-2021-38371).
    pub fn into_clear_socket(self) -> Result<TcpStream, Fault> {
        match self.socket {
            Socket::Clear(socket) if !self.reader.has_more() && self.gathered.is_empty() => Ok(socket),
            Socket::Clear(_) | Socket::Tls(_) => Err(Fault::OutOfStep),
        }
    }

    /// Says `command` (whole lines, or nothing) and waits for a reply.
    ///
    /// # Errors
    /// What ended the conversation.
    pub async fn ask(&mut self, command: &str, patience: Patience) -> Result<Reply, Fault> {
        self.heard.set_patience(patience);
        self.gathered.extend_from_slice(command.as_bytes());
        std::future::poll_fn(|context| self.poll_reply(context)).await
    }

    fn poll_reply(&mut self, context: &mut Context<'_>) -> Poll<Result<Reply, Fault>> {
        let reply = ready!(self.poll_reply_or_fault(context));
        self.deadline = None;
        let mut state = self.heard.state();
        state.has_more = self.reader.has_more();
        if let Err(fault) = &reply {
            state.fault = Some(fault.clone());
        }
        Poll::Ready(reply)
    }

    fn poll_reply_or_fault(&mut self, context: &mut Context<'_>) -> Poll<Result<Reply, Fault>> {
        ready!(self.poll_written(context));
        loop {
            if let Some(reply) = self.reader.take()? {
                return Poll::Ready(Ok(reply));
            }
            let mut room = [0; READ_BYTES];
            let mut read = ReadBuf::new(&mut room);
            let fault = match (self.socket.poll_read(context, &mut read), &self.broken) {
                (Poll::Ready(Ok(())), _) if !read.filled().is_empty() => {
                    self.reader.push(read.filled());
                    continue;
                }
                (_, Some(fault)) => fault.clone(),
                (Poll::Ready(Ok(())), None) => Fault::Closed,
                (Poll::Ready(Err(error)), None) => network(&error),
                (Poll::Pending, None) => ready!(self.poll_patience(context, |patience| patience.reply)),
            };
            return Poll::Ready(Err(fault));
        }
    }

    /// Writes what was gathered; notes when that cannot be done any more.
    fn poll_written(&mut self, context: &mut Context<'_>) -> Poll<()> {
        if self.gathered.is_empty() {
            return Poll::Ready(());
        }
        if self.broken.is_none() {
            self.broken = ready!(self.poll_write_all(context)).err();
            self.heard.state().is_cut = self.broken.is_some();
        }
        self.gathered.clear();
        self.written = 0;
        self.deadline = None;
        Poll::Ready(())
    }

    fn poll_write_all(&mut self, context: &mut Context<'_>) -> Poll<Result<(), Fault>> {
        while self.written < self.gathered.len() {
            match self.socket.poll_write(context, &self.gathered[self.written..]) {
                Poll::Ready(Ok(0)) => return Poll::Ready(Err(Fault::Closed)),
                Poll::Ready(Ok(length)) => {
                    self.written += length;
                    self.deadline = None;
                }
                Poll::Ready(Err(error)) => return Poll::Ready(Err(network(&error))),
                Poll::Pending => return self.poll_patience(context, |patience| patience.block).map(Err),
            }
        }
        match self.socket.poll_flush(context) {
            Poll::Ready(flushed) => Poll::Ready(flushed.map_err(|error| network(&error))),
            Poll::Pending => self.poll_patience(context, |patience| patience.block).map(Err),
        }
    }

    /// Pending until patience ends.
    fn poll_patience(&mut self, context: &mut Context<'_>, which: impl Fn(Patience) -> Duration) -> Poll<Fault> {
        let patience = which(self.heard.state().patience);
        let deadline = self.deadline.get_or_insert_with(|| Box::pin(sleep(patience)));
        ready!(deadline.as_mut().poll(context));
        Poll::Ready(Fault::TimedOut(patience.as_secs()))
    }
}

fn network(error: &io::Error) -> Fault {
    match error.kind() {
        io::ErrorKind::UnexpectedEof | io::ErrorKind::ConnectionReset | io::ErrorKind::BrokenPipe => Fault::Closed,
        _ => Fault::Network(error.to_string()),
    }
}

/// The plain line that stands for a reply before lettre: of the same kind, and nothing more.
fn plain_line(reply: &Reply) -> Vec<u8> {
    format!("{}50 \r\n", reply.code / 100).into_bytes()
}

impl AsyncRead for Wire {
    fn poll_read(self: Pin<&mut Self>, context: &mut Context<'_>, into: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let wire = self.get_mut();
        if wire.plain.is_empty() {
            let reply = ready!(wire.poll_reply(context)).map_err(io::Error::other)?;
            wire.plain = plain_line(&reply);
            wire.heard.state().replies.push_back(reply);
        }
        let length = wire.plain.len().min(into.remaining());
        into.put_slice(&wire.plain[..length]);
        wire.plain.drain(..length);
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Wire {
    fn poll_write(self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let wire = self.get_mut();
        if let Some(answer) = OPENING.get(wire.opening).filter(|_| wire.opening > 0) {
            wire.plain = answer.to_vec();
            wire.opening += 1;
            return Poll::Ready(Ok(bytes.len()));
        }
        if wire.gathered.len() >= GATHERED_BYTES_MAX {
            ready!(wire.poll_written(context));
        }
        let length = bytes.len().min(GATHERED_BYTES_MAX);
        wire.gathered.extend_from_slice(&bytes[..length]);
        Poll::Ready(Ok(length))
    }

    /// Nothing: what is written leaves when a reply is awaited.
    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &mut self.get_mut().socket {
            Socket::Clear(socket) => Pin::new(socket).poll_shutdown(context),
            Socket::Tls(socket) => Pin::new(socket).poll_shutdown(context),
        }
    }
}

impl AsyncTokioStream for Wire {
    fn peer_addr(&self) -> io::Result<SocketAddr> {
        Ok(self.peer)
    }
}

impl Socket {
    fn poll_read(&mut self, context: &mut Context<'_>, into: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        match self {
            Socket::Clear(socket) => Pin::new(socket).poll_read(context, into),
            Socket::Tls(socket) => Pin::new(socket).poll_read(context, into),
        }
    }

    fn poll_write(&mut self, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        match self {
            Socket::Clear(socket) => Pin::new(socket).poll_write(context, bytes),
            Socket::Tls(socket) => Pin::new(socket).poll_write(context, bytes),
        }
    }

    fn poll_flush(&mut self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self {
            Socket::Clear(socket) => Pin::new(socket).poll_flush(context),
            Socket::Tls(socket) => Pin::new(socket).poll_flush(context),
        }
    }
}
