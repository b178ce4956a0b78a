//! One HTTP/1.1 connection: a handle to send on, and the task that drives it, which ends with the handle.

use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::client::conn::http1::{Builder, SendRequest};
use hyper::{Request, Response};
use hyper_util::rt::TokioIo;
use rustls::pki_types::ServerName;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::task::AbortHandle;
use tokio::time::timeout;
use url::Host;

use super::Fault;
use super::outcome::{Flaw, http_fault};
use crate::egress::{Access, Vetted};

/// How long a connection may take to be ready for the next request once the answer has been read. It waits only when
/// the receiver answered before it had read the whole request.
const SETTLING_MAX: Duration = Duration::from_millis(50);

/// Whom a connection reached, and how.
#[derive(Debug)]
pub(super) struct Line {
    pub(super) peer: Option<SocketAddr>,
    pub(super) access: Access,
    /// Version and cipher of TLS; empty without.
    pub(super) tls: String,
}

/// A connection. Dropping it closes it, whatever is still on its way.
#[derive(Debug)]
pub(super) struct Connection {
    sender: SendRequest<Full<Bytes>>,
    pub(super) line: Line,
    driver: AbortHandle,
    read: Arc<AtomicU64>,
    read_before: u64,
    /// Where reading ends: an answer may be preceded by others that are none (1xx), without end.
    read_max: Arc<AtomicU64>,
}

impl Connection {
    /// Speaks HTTP/1.1 over `stream`.
    pub(super) async fn open<S>(stream: S, line: Line, head_bytes: usize) -> Result<Self, Fault>
    where
        S: AsyncRead + AsyncWrite + Send + Unpin + 'static,
    {
        let read = Arc::new(AtomicU64::new(0));
        let read_max = Arc::new(AtomicU64::new(u64::try_from(head_bytes).unwrap_or(u64::MAX)));
        let io = TokioIo::new(Metered { stream, read: Arc::clone(&read), read_max: Arc::clone(&read_max) });
        let opened = Builder::new().max_buf_size(head_bytes).max_header_size(head_bytes).handshake(io).await;
        let (sender, driving) = opened.map_err(|error| http_fault(&error))?;
        let driver = tokio::spawn(async move {
            // Its errors reach whoever waits on the handle.
            let _ = driving.await;
        });
        Ok(Self { sender, line, driver: driver.abort_handle(), read, read_before: 0, read_max })
    }

    /// Sends a request and reads the head of its answer; of all that the receiver says, at most about `bytes_max`.
    pub(super) async fn exchange(
        &mut self,
        request: Request<Full<Bytes>>,
        bytes_max: usize,
    ) -> hyper::Result<Response<Incoming>> {
        let bytes_max = u64::try_from(bytes_max).unwrap_or(u64::MAX);
        self.read_max.store(self.read.load(Ordering::Acquire).saturating_add(bytes_max), Ordering::Release);
        self.sender.send_request(request).await
    }

    /// Whether no byte has come since the last answer was complete.
    pub(super) fn is_silent(&self) -> bool {
        self.read.load(Ordering::Acquire) == self.read_before
    }

    /// Whether a request can be sent on it: still open, and nobody spoke without being asked.
    pub(super) fn is_usable(&self) -> bool {
        !self.sender.is_closed() && self.is_silent()
    }

    /// After an answer was read to its end: whether the connection can be kept.
    pub(super) async fn settles(&mut self) -> bool {
        let is_ready = timeout(SETTLING_MAX, self.sender.ready()).await.is_ok_and(|ready| ready.is_ok());
        self.read_before = self.read.load(Ordering::Acquire);
        is_ready
    }
}

impl Drop for Connection {
    fn drop(&mut self) {
        self.driver.abort();
    }
}

/// `TLSv1.3 TLS13_AES_256_GCM_SHA384`.
pub(super) fn tls_spoken(tls: &rustls::ClientConnection) -> String {
    let version = tls.protocol_version().map(|version| format!("{version:?}").replace('_', "."));
    let cipher = tls.negotiated_cipher_suite().map(|cipher| format!("{:?}", cipher.suite()));
    [version, cipher].into_iter().flatten().collect::<Vec<_>>().join(" ")
}

/// Whose certificate we want to see.
pub(super) fn server_name(vetted: &Vetted) -> Result<ServerName<'static>, Fault> {
    match vetted.url().host() {
        Some(Host::Domain(name)) => {
            ServerName::try_from(name.to_owned()).map_err(|_| Fault::TlsBadCertificate(Flaw::Name))
        }
        Some(Host::Ipv4(ip)) => Ok(ServerName::IpAddress(ip.into())),
        Some(Host::Ipv6(ip)) => Ok(ServerName::IpAddress(ip.into())),
        None => Err(Fault::Unsendable),
    }
}

/// A stream that counts what it reads, and breaks when that is more than anybody wants.
struct Metered<S> {
    stream: S,
    read: Arc<AtomicU64>,
    read_max: Arc<AtomicU64>,
}

impl<S: AsyncRead + Unpin> AsyncRead for Metered<S> {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let before = buf.filled().len();
        let polled = Pin::new(&mut self.stream).poll_read(cx, buf);
        let come = buf.filled().len().saturating_sub(before);
        let come = u64::try_from(come).unwrap_or(u64::MAX);
        let read = self.read.fetch_add(come, Ordering::AcqRel).saturating_add(come);
        if read > self.read_max.load(Ordering::Acquire) {
            return Poll::Ready(Err(io::Error::new(io::ErrorKind::FileTooLarge, "the answer is too large")));
        }
        polled
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Metered<S> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(cx, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write_vectored(cx, slices)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }
}
