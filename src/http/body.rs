//! Request bodies: read whole, within a size, a pace and a share of memory.
//!
//! A body may take a minute, and longer only as far as it keeps coming at [`BYTES_PER_SEC_MIN`]: it is never waited for
//! longer than a minute at that pace would be ahead of it, and between two pieces only [`SILENCE`]. It takes memory as it
//! comes, whatever it says that it will be; one that finds no room is refused with "not now", before more of it is read. A
//! mail keeps its body's share of the memory until it is answered, since what it is made of is held until then. A client
//! that is refused early is read on for a little while, since most clients look at an answer only after they have sent
//! everything, and closing on them would lose it.

use std::time::Duration;

use bytes::Bytes;
use http_body_util::BodyExt;
use hyper::Request;
use hyper::body::{Body, Incoming};
use hyper::header::{CONTENT_ENCODING, EXPECT, HeaderValue};
use tokio::time::{Instant, timeout_at};

use super::memory::Share;
use super::problem::Problem;

/// How long a body may take in any case.
const TIME: Duration = Duration::from_secs(60);
/// The pace at which a longer one must come.
const BYTES_PER_SEC_MIN: u64 = 8 * 1024;
/// How long a client may be silent within a body.
const SILENCE: Duration = Duration::from_secs(20);
/// How long, and how far, a refused client is read on.
const DRAIN_TIME: Duration = Duration::from_secs(5);
const DRAIN_BYTES_MAX: usize = 64 << 20;

/// A body, and its share of the memory for as long as it is needed.
#[derive(Debug)]
pub(super) struct Read {
    pub bytes: Bytes,
    share: Option<Share>,
}

impl Read {
    /// A body of our own making.
    pub(super) fn of(bytes: Vec<u8>) -> Self {
        Self { bytes: bytes.into(), share: None }
    }

    /// Frees the bytes. The share stays taken for as long as what was made of them is held.
    pub(super) fn freed(self) -> Option<Share> {
        self.share
    }
}

/// Until when a body is waited for. What comes moves it on, but never further ahead than [`TIME`]: who was fast at first
/// must not be slow for long.
struct Wait {
    until: Instant,
}

impl Wait {
    fn from(now: Instant) -> Self {
        Self { until: now + TIME }
    }

    /// Until when the next piece is.
    fn for_more(&self, now: Instant) -> Instant {
        self.until.min(now + SILENCE)
    }

    fn came(&mut self, bytes: usize, now: Instant) {
        let earned = Duration::from_micros((bytes as u64).saturating_mul(1_000_000) / BYTES_PER_SEC_MIN);
        self.until = (self.until + earned).min(now + TIME);
    }
}

/// The whole body, at most `bytes_max`, in a share of the memory.
///
/// # Errors
/// The body is too large, too slow, cut short or encoded; or there is no memory for it now.
pub(super) async fn read(mut share: Share, request: &mut Request<Incoming>, bytes_max: usize) -> Result<Read, Problem> {
    let is_encoded = |value: &HeaderValue| !value.as_bytes().eq_ignore_ascii_case(b"identity");
    if request.headers().get(CONTENT_ENCODING).is_some_and(is_encoded) {
        return Err(Problem::BodyEncoded);
    }
    let body = request.body_mut();
    let hint = body.size_hint();
    let declared = usize::try_from(hint.lower()).unwrap_or(usize::MAX);
    if declared > bytes_max {
        return Err(Problem::BodyTooLarge { bytes_max });
    }
    share.fits(declared)?;
    let largest = if hint.exact().is_some() { declared } else { bytes_max };
    let mut bytes = Vec::new();
    let mut wait = Wait::from(Instant::now());
    loop {
        let frame = timeout_at(wait.for_more(Instant::now()), body.frame()).await.map_err(|_| Problem::BodyTooSlow)?;
        let Some(frame) = frame.transpose().map_err(|_| Problem::BodyCut)? else { break };
        let Ok(data) = frame.into_data() else { continue };
        let size = bytes.len() + data.len();
        if size > bytes_max {
            return Err(Problem::BodyTooLarge { bytes_max });
        }
        if size > bytes.capacity() {
            let capacity = size.max(largest.min(2 * bytes.capacity()));
            share.grow(capacity)?;
            bytes.reserve_exact(capacity - bytes.len());
        }
        bytes.extend_from_slice(&data);
        wait.came(data.len(), Instant::now());
    }
    Ok(Read { bytes: bytes.into(), share: Some(share) })
}

/// Reads on what a refused client is still sending. One that asked whether to send it (`Expect: 100-continue`) and
/// was not told to is not waited for, nor one that had its time.
pub(super) async fn drain(mut request: Request<Incoming>, problem: &Problem) {
    let is_given_up = matches!(problem, Problem::BodyTooSlow | Problem::BodyCut);
    if is_given_up || request.headers().contains_key(EXPECT) || request.body().is_end_stream() {
        return;
    }
    let end = Instant::now() + DRAIN_TIME;
    let mut left = DRAIN_BYTES_MAX;
    while let Ok(Some(Ok(frame))) = timeout_at(end, request.body_mut().frame()).await {
        let size = frame.data_ref().map_or(0, Bytes::len);
        match left.checked_sub(size) {
            Some(rest) => left = rest,
            None => break,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::http::memory::{Memory, Owner};
    use std::net::Ipv4Addr;

    #[test]
    fn a_share_is_held_for_longer_than_the_bytes() {
        let memory = Memory::new(100_000, 0);
        let share = || memory.share(Owner::of(None, Ipv4Addr::LOCALHOST.into()));
        let mut own = share();
        own.grow(25_000).unwrap();
        let bytes = Bytes::from(vec![0; 1]);
        let freed = Read { bytes: bytes.clone(), share: Some(own) }.freed();
        assert!(bytes.is_unique());
        assert_eq!(share().fits(20_000), Err(Problem::Unavailable));
        drop(freed);
        assert_eq!(share().fits(20_000), Ok(()));
    }

    #[test]
    fn a_fast_start_buys_no_long_stall() {
        let start = Instant::now();
        let at = |secs| start + Duration::from_secs(secs);
        let mut wait = Wait::from(start);
        assert_eq!(wait.for_more(start), at(20));
        assert_eq!(wait.for_more(at(50)), at(60));
        // What comes at the pace keeps it going,
        for secs in 1..500 {
            wait.came(8 * 1024, at(secs));
            assert_eq!(wait.until, at(secs + 60));
        }
        // and so does what catches up,
        wait.came(80 * 1024, at(550));
        assert_eq!(wait.until, at(569));
        // but what comes at once is worth no more than a minute,
        wait.came(30 << 20, at(551));
        assert_eq!(wait.until, at(611));
        // and a byte now and then is worth nothing.
        wait.came(1, at(570));
        wait.came(1, at(589));
        assert!(wait.for_more(at(608)) < at(612));
    }
}
