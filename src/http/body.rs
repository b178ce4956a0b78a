//! Request bodies: read whole, within a size, a pace and a share of memory.
//!
//! A body may take a minute, and longer only as far as it keeps coming at [`BYTES_PER_SEC_MIN`]. What all bodies hold at
//! one time is bounded too: a body that finds no room is refused with "not now", before more of it is read. A mail keeps
//! its body's share of the memory until it is answered, since what it is made of is held until then. A client
//! that is refused early is read on for a little while, since most clients look at an answer only after they have sent
//! everything, and closing on them would lose it.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::BodyExt;
use hyper::Request;
use hyper::body::{Body, Incoming};
use hyper::header::{CONTENT_ENCODING, EXPECT, HeaderValue};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::{Instant, timeout_at};

use super::problem::Problem;

/// How long a body may take in any case.
const TIME: Duration = Duration::from_secs(60);
/// The pace at which a longer one must come.
const BYTES_PER_SEC_MIN: u64 = 8 * 1024;
/// How long, and how far, a refused client is read on.
const DRAIN_TIME: Duration = Duration::from_secs(5);
const DRAIN_BYTES_MAX: usize = 64 << 20;
/// Memory is shared out in steps of this size.
const SHARE_BYTES: usize = 64 * 1024;

/// The memory that bodies may hold at one time.
#[derive(Clone, Debug)]
pub(super) struct Memory(Arc<Semaphore>);

/// A body, and its share of the memory for as long as it is needed.
#[derive(Debug)]
pub(super) struct Read {
    pub bytes: Bytes,
    share: Option<OwnedSemaphorePermit>,
}

/// A share of the memory, given back when it is dropped.
#[derive(Debug)]
#[must_use = "it is given back when it is dropped"]
pub(super) struct Share {
    _held: Option<OwnedSemaphorePermit>,
}

impl Read {
    /// A body of our own making.
    pub(super) fn of(bytes: Vec<u8>) -> Self {
        Self { bytes: bytes.into(), share: None }
    }

    /// Frees the bytes. The share stays taken for as long as what was made of them is held.
    pub(super) fn freed(self) -> Share {
        Share { _held: self.share }
    }
}

impl Memory {
    pub(super) fn new(bytes_max: usize) -> Self {
        Self(Arc::new(Semaphore::new((bytes_max / SHARE_BYTES).clamp(1, Semaphore::MAX_PERMITS))))
    }

    /// Enlarges `share` so that it covers `bytes`.
    fn grow(&self, share: &mut Option<OwnedSemaphorePermit>, bytes: usize) -> Result<(), Problem> {
        let held = share.as_ref().map_or(0, OwnedSemaphorePermit::num_permits);
        let wanted = bytes.div_ceil(SHARE_BYTES).saturating_sub(held);
        if wanted == 0 {
            return Ok(());
        }
        let count = u32::try_from(wanted).map_err(|_| Problem::Unavailable)?;
        let more = self.0.clone().try_acquire_many_owned(count).map_err(|_| Problem::Unavailable)?;
        match share {
            Some(share) => share.merge(more),
            None => *share = Some(more),
        }
        Ok(())
    }

    /// The whole body, at most `bytes_max`.
    ///
    /// # Errors
    /// The body is too large, too slow, cut short or encoded; or there is no memory for it now.
    pub(super) async fn read(&self, request: &mut Request<Incoming>, bytes_max: usize) -> Result<Read, Problem> {
        let is_encoded = |value: &HeaderValue| !value.as_bytes().eq_ignore_ascii_case(b"identity");
        if request.headers().get(CONTENT_ENCODING).is_some_and(is_encoded) {
            return Err(Problem::BodyEncoded);
        }
        let body = request.body_mut();
        let declared = usize::try_from(body.size_hint().lower()).unwrap_or(usize::MAX);
        if declared > bytes_max {
            return Err(Problem::BodyTooLarge { bytes_max });
        }
        let mut share = None;
        self.grow(&mut share, declared)?;
        let mut bytes = Vec::with_capacity(declared);
        let start = Instant::now();
        loop {
            let earned = Duration::from_secs(bytes.len() as u64 / BYTES_PER_SEC_MIN);
            let frame = timeout_at(start + TIME + earned, body.frame()).await.map_err(|_| Problem::BodyTooSlow)?;
            let Some(frame) = frame.transpose().map_err(|_| Problem::BodyCut)? else { break };
            let Ok(data) = frame.into_data() else { continue };
            if bytes.len() + data.len() > bytes_max {
                return Err(Problem::BodyTooLarge { bytes_max });
            }
            self.grow(&mut share, bytes.len() + data.len())?;
            bytes.extend_from_slice(&data);
        }
        Ok(Read { bytes: bytes.into(), share })
    }
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

    #[test]
    fn a_share_is_held_for_longer_than_the_bytes() {
        let memory = Memory::new(SHARE_BYTES);
        let mut share = None;
        memory.grow(&mut share, 1).unwrap();
        let bytes = Bytes::from(vec![0; 1]);
        let share = Read { bytes: bytes.clone(), share }.freed();
        assert!(bytes.is_unique());
        assert_eq!(memory.grow(&mut None, 1), Err(Problem::Unavailable));
        drop(share);
        assert_eq!(memory.grow(&mut None, 1), Ok(()));
    }
}
