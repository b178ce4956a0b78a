//! How long a connection may keep us waiting.
//!
//! A [`Paced`] stream ends with a time-out when its client is silent between requests, takes too long over a request's
//! header, or does not read what it is sent, or more slowly than [`Wait`] allows: an answer holds memory until it is
//! written. While a request is being answered the stream waits with whoever answers: bodies are waited for in `body.rs`,
//! at the same pace. The tasks are told apart by [`Pace`], which the service moves on.
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

/// How long a body may take in any case, either way.
const TIME: Duration = Duration::from_secs(60);
/// The pace at which a longer one must go.
const BYTES_PER_SEC_MIN: u64 = 8 * 1024;

/// Until when a body is waited for, either way. What goes on its way moves it on, but never further ahead than [`TIME`]:
/// who was fast at first must not be slow for long.
#[derive(Debug)]
pub(super) struct Wait {
    until: Instant,
}

impl Wait {
    /// From now on.
    pub(super) fn from(now: Instant) -> Self {
        Self { until: now + TIME }
    }

    /// Until when the next piece is, after which it may be silent for so long.
    pub(super) fn for_more(&self, now: Instant, silence: Duration) -> Instant {
        self.until.min(now + silence)
    }

    /// So many bytes went on their way.
    pub(super) fn went_on(&mut self, bytes: usize, now: Instant) {
        let earned = Duration::from_micros((bytes as u64).saturating_mul(1_000_000) / BYTES_PER_SEC_MIN);
        self.until = (self.until + earned).min(now + TIME);
    }
}

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
    /// How long an answer is waited for, from when the client first kept us waiting until all of it is written.
    wait: Option<Wait>,
    /// Until when the client, which takes nothing now, has time to go on.
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
            wait: None,
            stuck: None,
            exchanged: Vec::new(),
            timer,
        }
    }

    /// Ready when `deadline` has passed; else the task is woken then.
    fn poll_late(&mut self, deadline: Instant, cx: &mut Context<'_>) -> Poll<io::Error> {
        if self.timer.deadline() > deadline || self.timer.is_elapsed() {
            self.timer.as_mut().reset(deadline);
        }
        while Instant::now() < deadline {
            ready!(self.timer.as_mut().poll(cx));
            self.timer.as_mut().reset(deadline);
        }
        Poll::Ready(io::ErrorKind::TimedOut.into())
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

    /// After a write: the client took so many bytes, or is waited for.
    fn poll_taken(&mut self, written: Poll<io::Result<usize>>, cx: &mut Context<'_>) -> Poll<io::Result<usize>> {
        let Poll::Ready(taken) = written else { return self.poll_stuck(cx).map(Err) };
        self.stuck = None;
        if let (Some(wait), Ok(count)) = (&mut self.wait, &taken) {
            wait.went_on(*count, Instant::now());
        }
        Poll::Ready(taken)
    }

    /// After a flush: all that was written is the client's, or it is waited for.
    fn poll_done(&mut self, flushed: Poll<io::Result<()>>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let Poll::Ready(flushed) = flushed else { return self.poll_stuck(cx).map(Err) };
        self.stuck = None;
        if self.wait.take().is_some() {
            self.since = Instant::now();
            // Who reads from this stream looks at the time again.
            cx.waker().wake_by_ref();
        }
        Poll::Ready(flushed)
    }

    /// Ready when the client has kept us waiting for too long.
    fn poll_stuck(&mut self, cx: &mut Context<'_>) -> Poll<io::Error> {
        let until = *self.stuck.get_or_insert_with(|| {
            let now = Instant::now();
            self.wait.get_or_insert_with(|| Wait::from(now)).for_more(now, self.patience.write)
        });
        self.poll_late(until, cx)
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
            // Nobody idles who is still reading; that has a pace of its own.
            IDLE if this.wait.is_some() => Poll::Pending,
            IDLE => this.poll_late(this.since + this.patience.idle, cx).map(Err),
            HEADER => this.poll_late(this.since + this.patience.header, cx).map(Err),
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
        self.poll_taken(written, cx)
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
        self.poll_taken(written, cx)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = &mut *self;
        while !this.exchanged.is_empty() {
            let written = Pin::new(&mut this.stream).poll_write(cx, &this.exchanged);
            let count = ready!(this.poll_taken(written, cx))?;
            if count == 0 {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
            this.exchanged.drain(..count);
        }
        let flushed = Pin::new(&mut this.stream).poll_flush(cx);
        this.poll_done(flushed, cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let shut = Pin::new(&mut self.stream).poll_shutdown(cx);
        self.poll_done(shut, cx)
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

    #[test]
    fn a_fast_start_buys_no_long_stall() {
        let start = Instant::now();
        let at = |secs| start + Duration::from_secs(secs);
        let silence = Duration::from_secs(20);
        let mut wait = Wait::from(start);
        assert_eq!(wait.for_more(start, silence), at(20));
        assert_eq!(wait.for_more(at(50), silence), at(60));
        // What goes on at the pace keeps it going,
        for secs in 1..500 {
            wait.went_on(8 * 1024, at(secs));
            assert_eq!(wait.until, at(secs + 60));
        }
        // and so does what catches up,
        wait.went_on(80 * 1024, at(550));
        assert_eq!(wait.until, at(569));
        // but what goes at once is worth no more than a minute,
        wait.went_on(30 << 20, at(551));
        assert_eq!(wait.until, at(611));
        // and a byte now and then is worth nothing.
        wait.went_on(1, at(570));
        wait.went_on(1, at(589));
        assert!(wait.for_more(at(608), silence) < at(612));
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

    async fn still_writes(paced: &mut Paced<DuplexStream>) {
        std::future::poll_fn(|cx| {
            assert!(Pin::new(&mut *paced).poll_write(cx, &[0]).is_pending());
            Poll::Ready(())
        })
        .await;
    }

    #[tokio::test]
    async fn a_client_that_reads_too_slowly_is_left() {
        let (mut paced, mut client, _) = pair(LONG, LONG, LONG);
        paced.write_all(&[0; 8]).await.unwrap();
        assert!(paced.wait.is_none(), "nobody has been waited for");
        still_writes(&mut paced).await;
        assert!(paced.stuck.unwrap() <= Instant::now() + TIME);
        // A minute later it has taken hardly anything, and takes a little again.
        paced.wait = Some(Wait { until: Instant::now() });
        client.read_u16().await.unwrap();
        is_late(paced.write_all(&[0; 3]).await);
    }

    #[tokio::test]
    async fn who_still_reads_an_answer_is_not_idle() {
        let (mut paced, mut client, pace) = pair(AT_ONCE, LONG, LONG);
        pace.answering();
        paced.write_all(&[0; 8]).await.unwrap();
        pace.idle();
        still_writes(&mut paced).await;
        waits(&mut paced).await;
        client.read_u64().await.unwrap();
        paced.flush().await.unwrap();
        is_late(paced.read_u8().await);
    }

    #[tokio::test]
    async fn each_answer_has_its_own_time() {
        let (mut paced, mut client, _) = pair(LONG, LONG, LONG);
        paced.write_all(&[0; 8]).await.unwrap();
        still_writes(&mut paced).await;
        paced.wait = Some(Wait { until: Instant::now() });
        client.read_u64().await.unwrap();
        paced.write_all(&[0; 8]).await.unwrap();
        paced.flush().await.unwrap();
        let flushed_at = Instant::now();
        still_writes(&mut paced).await;
        assert!(paced.stuck.unwrap() >= flushed_at + TIME);
    }
}
