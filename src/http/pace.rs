//! How long a connection may keep us waiting.
//!
//! A [`Paced`] stream ends with a time-out when its client is silent between requests, takes too long over a request's
//! header, or does not read what it is sent. While a request is being answered the stream waits with whoever answers:
//! bodies have limits of their own (`body.rs`). The tasks are told apart by [`Pace`], which the service moves on.
//! One timer a connection, set again only when it has run out: a request costs a look at the time and no more. On its way
//! out, what hyper says by itself is exchanged (`unread`).

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU8, Ordering};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::{Instant, Sleep, sleep};

use super::framing::Framing;
use super::unread;

/// How long each phase may last.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Patience {
    /// Without a byte between two requests.
    pub idle: Duration,
    /// From the first byte of a header to its last.
    pub header: Duration,
    /// Without taking a byte of an answer.
    pub write: Duration,
}

const IDLE: u8 = 0;
const HEADER: u8 = 1;
const ANSWERING: u8 = 2;

/// What a connection is doing; shared by its stream and its service.
#[derive(Clone, Debug, Default)]
pub(super) struct Pace(Arc<Told>);

#[derive(Debug, Default)]
struct Told {
    phase: AtomicU8,
    is_doubtful: AtomicBool,
}

impl Pace {
    /// A request's header is here. Whether everything that has come on this connection says one thing only.
    pub(super) fn answering(&self) -> bool {
        self.0.phase.store(ANSWERING, Ordering::Relaxed);
        !self.0.is_doubtful.load(Ordering::Relaxed)
    }

    /// Its answer is on its way.
    pub(super) fn idle(&self) {
        self.0.phase.store(IDLE, Ordering::Relaxed);
    }

    fn phase(&self) -> u8 {
        self.0.phase.load(Ordering::Relaxed)
    }
}

/// A stream whose client is not waited for without end.
pub(super) struct Paced<S> {
    stream: S,
    pace: Pace,
    patience: Patience,
    /// Of which phase `since` is the beginning.
    phase: u8,
    since: Instant,
    framing: Framing,
    /// When the client stopped reading.
    stuck: Option<Instant>,
    /// What is still to be said in place of what hyper said.
    exchanged: Vec<u8>,
    timer: Pin<Box<Sleep>>,
}

impl<S> Paced<S> {
    pub(super) fn new(stream: S, pace: Pace, patience: Patience) -> Self {
        let timer = Box::pin(sleep(patience.idle));
        Self {
            stream,
            pace,
            patience,
            phase: IDLE,
            since: Instant::now(),
            framing: Framing::default(),
            stuck: None,
            exchanged: Vec::new(),
            timer,
        }
    }

    /// Ready when `deadline` has passed; else the task is woken then.
    fn poll_late(&mut self, deadline: Instant, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if self.timer.deadline() > deadline || self.timer.is_elapsed() {
            self.timer.as_mut().reset(deadline);
        }
        while Instant::now() < deadline {
            ready!(self.timer.as_mut().poll(cx));
            self.timer.as_mut().reset(deadline);
        }
        Poll::Ready(Err(io::ErrorKind::TimedOut.into()))
    }

    /// Bytes of a header, unless a request is being answered.
    fn heard(&mut self, bytes: &[u8]) {
        self.framing.feed(bytes);
        if self.framing.is_doubtful() {
            self.pace.0.is_doubtful.store(true, Ordering::Relaxed);
        }
        if !bytes.is_empty() && self.pace.phase() == IDLE {
            self.pace.0.phase.store(HEADER, Ordering::Relaxed);
            self.enter(HEADER);
        }
    }

    fn enter(&mut self, phase: u8) {
        if self.phase != phase {
            (self.phase, self.since) = (phase, Instant::now());
        }
    }

    /// After a write: the client took something, or has been stuck for some time.
    fn poll_stuck<T>(&mut self, written: Poll<io::Result<T>>, cx: &mut Context<'_>) -> Poll<io::Result<T>> {
        if written.is_ready() {
            self.stuck = None;
            return written;
        }
        let since = *self.stuck.get_or_insert_with(Instant::now);
        self.poll_late(since + self.patience.write, cx).map(|late| late.and(Err(io::ErrorKind::TimedOut.into())))
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Paced<S> {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let this = &mut *self;
        let before = buffer.filled().len();
        if let Poll::Ready(read) = Pin::new(&mut this.stream).poll_read(cx, buffer) {
            this.heard(buffer.filled().get(before..).unwrap_or_default());
            return Poll::Ready(read);
        }
        this.enter(this.pace.phase());
        match this.phase {
            IDLE => this.poll_late(this.since + this.patience.idle, cx),
            HEADER => this.poll_late(this.since + this.patience.header, cx),
            _ => Poll::Pending,
        }
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Paced<S> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        if let Some(told) = unread::exchanged(bytes) {
            self.exchanged = told;
            return Poll::Ready(Ok(bytes.len()));
        }
        let written = Pin::new(&mut self.stream).poll_write(cx, bytes);
        self.poll_stuck(written, cx)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        if let [only] = slices {
            return self.poll_write(cx, only);
        }
        let written = Pin::new(&mut self.stream).poll_write_vectored(cx, slices);
        self.poll_stuck(written, cx)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = &mut *self;
        while !this.exchanged.is_empty() {
            let written = Pin::new(&mut this.stream).poll_write(cx, &this.exchanged);
            let count = ready!(this.poll_stuck(written, cx))?;
            if count == 0 {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
            this.exchanged.drain(..count);
        }
        let flushed = Pin::new(&mut this.stream).poll_flush(cx);
        this.poll_stuck(flushed, cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let shut = Pin::new(&mut self.stream).poll_shutdown(cx);
        self.poll_stuck(shut, cx)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream, duplex};

    const LONG: Duration = Duration::from_secs(3600);
    const AT_ONCE: Duration = Duration::ZERO;

    fn pair(idle: Duration, header: Duration, write: Duration) -> (Paced<DuplexStream>, DuplexStream, Pace) {
        let (ours, theirs) = duplex(8);
        let pace = Pace::default();
        (Paced::new(ours, pace.clone(), Patience { idle, header, write }), theirs, pace)
    }

    fn is_late<T: std::fmt::Debug>(done: io::Result<T>) {
        assert_eq!(done.unwrap_err().kind(), io::ErrorKind::TimedOut);
    }

    async fn waits(paced: &mut Paced<DuplexStream>) {
        let mut bytes = [0; 1];
        let mut buffer = ReadBuf::new(&mut bytes);
        std::future::poll_fn(|cx| {
            assert!(Pin::new(&mut *paced).poll_read(cx, &mut buffer).is_pending());
            Poll::Ready(())
        })
        .await;
    }

    #[tokio::test]
    async fn silence_ends() {
        let (mut paced, mut client, pace) = pair(AT_ONCE, LONG, LONG);
        is_late(paced.read_u8().await);
        client.write_all(b"G").await.unwrap();
        paced.read_u8().await.unwrap();
        waits(&mut paced).await;
        pace.answering();
        pace.idle();
        is_late(paced.read_u8().await);
    }

    #[tokio::test]
    async fn a_header_has_its_time() {
        let (mut paced, mut client, _) = pair(LONG, AT_ONCE, LONG);
        waits(&mut paced).await;
        client.write_all(b"GE").await.unwrap();
        paced.read_u16().await.unwrap();
        is_late(paced.read_u8().await);
    }

    #[tokio::test]
    async fn the_timer_is_set_again_until_the_time_is_up() {
        let (mut paced, _client, _) = pair(Duration::from_millis(20), LONG, LONG);
        paced.timer.as_mut().reset(Instant::now());
        let start = Instant::now();
        is_late(paced.read_u8().await);
        assert!(start.elapsed() >= Duration::from_millis(15));
    }

    #[tokio::test]
    async fn a_request_that_is_being_answered_is_not_hurried() {
        let (mut paced, mut client, pace) = pair(AT_ONCE, AT_ONCE, AT_ONCE);
        client.write_all(b"G").await.unwrap();
        paced.read_u8().await.unwrap();
        pace.answering();
        waits(&mut paced).await;
    }

    #[tokio::test]
    async fn a_client_that_does_not_read_is_left() {
        let (mut paced, _client, pace) = pair(LONG, LONG, AT_ONCE);
        pace.answering();
        is_late(paced.write_all(&[0; 64]).await);
    }
}
