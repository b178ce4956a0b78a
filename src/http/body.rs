//! Request bodies: read whole, within a size, a pace and a share of memory.
//!
//! A body has to come at the pace of [`Wait`], and between two pieces only [`SILENCE`] may pass. It takes memory as it
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
use super::pace::Wait;
use super::problem::Problem;

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
        let frame =
            timeout_at(wait.for_more(Instant::now(), SILENCE), body.frame()).await.map_err(|_| Problem::BodyTooSlow)?;
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
        wait.went_on(data.len(), Instant::now());
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
}
