//! The memory that the doors share out: what bodies on their way in and answers on their way out hold at one time.
//!
//! Nobody may take all of it: a tenant, and a network that we do not know better, has a quarter at most, or what one
//! largest body needs. What is small needs no share, so that who signs in gets through when all of it is taken; how much
//! that comes to, the number of connections bounds. Who finds no room is told "not now".

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::Method;
use hyper::body::Body;

use super::problem::Problem;
use super::server::{Answer, host};
use crate::model::id::TenantId;

/// What needs no share, in bytes.
const SMALL_BYTES_MAX: usize = 16 * 1024;
/// The part of all that one owner may hold.
const PARTS: usize = 4;

/// Whose share it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Owner {
    /// Whoever may ask for this tenant.
    Tenant(TenantId),
    /// Whoever asks from there; an IPv6 host is its /64.
    Network(IpAddr),
}

impl Owner {
    /// Who belongs to a tenant is the tenant, everybody else is where they ask from.
    pub(super) fn of(tenant: Option<TenantId>, address: IpAddr) -> Self {
        tenant.map_or(Self::Network(host(address)), Self::Tenant)
    }
}

/// The memory that bodies and answers may hold at one time.
#[derive(Clone, Debug)]
pub(super) struct Memory(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    bytes_max: usize,
    bytes_of_one_max: usize,
    held: Mutex<Held>,
}

/// What is held, by whom; owners that hold nothing are not listed.
#[derive(Debug, Default)]
struct Held {
    all: usize,
    of: HashMap<Owner, usize>,
}

/// An owner's share of the memory, given back when it is dropped.
#[derive(Debug)]
#[must_use = "it is given back when it is dropped"]
pub(super) struct Share {
    memory: Memory,
    owner: Owner,
    bytes: usize,
}

/// Bytes, and the share that they take for as long as anybody needs them.
struct Holding {
    bytes: Bytes,
    _share: Share,
}

impl AsRef<[u8]> for Holding {
    fn as_ref(&self) -> &[u8] {
        &self.bytes
    }
}

impl Memory {
    /// So many bytes, of which one owner may hold a quarter, and `body_bytes_max` in any case.
    pub(super) fn new(bytes_max: usize, body_bytes_max: usize) -> Self {
        let bytes_of_one_max = (bytes_max / PARTS).max(body_bytes_max).min(bytes_max);
        Self(Arc::new(Inner { bytes_max, bytes_of_one_max, held: Mutex::default() }))
    }

    /// A share with nothing in it yet.
    pub(super) fn share(&self, owner: Owner) -> Share {
        Share { memory: self.clone(), owner, bytes: 0 }
    }

    fn held(&self) -> MutexGuard<'_, Held> {
        self.0.held.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What so many bytes count: those that are more than one may ever hold are let in when there is nothing else of theirs.
    fn counted(&self, bytes: usize) -> usize {
        if bytes <= SMALL_BYTES_MAX { 0 } else { bytes.min(self.0.bytes_of_one_max) }
    }
}

impl Held {
    fn has_room(&self, inner: &Inner, owner: Owner, bytes: usize) -> bool {
        let own = self.of.get(&owner).copied().unwrap_or(0);
        self.all.saturating_add(bytes) <= inner.bytes_max && own.saturating_add(bytes) <= inner.bytes_of_one_max
    }
}

impl Share {
    /// Whether it could cover so many bytes now.
    ///
    /// # Errors
    /// `Unavailable`.
    pub(super) fn fits(&self, bytes: usize) -> Result<(), Problem> {
        let more = self.memory.counted(bytes).saturating_sub(self.bytes);
        let has_room = self.memory.held().has_room(&self.memory.0, self.owner, more);
        if more == 0 || has_room { Ok(()) } else { Err(Problem::Unavailable) }
    }

    /// Enlarges it so that it covers so many bytes.
    ///
    /// # Errors
    /// `Unavailable`: there is no room for them now. The share stays as it was.
    pub(super) fn grow(&mut self, bytes: usize) -> Result<(), Problem> {
        let more = self.memory.counted(bytes).saturating_sub(self.bytes);
        if more == 0 {
            return Ok(());
        }
        let mut held = self.memory.held();
        if !held.has_room(&self.memory.0, self.owner, more) {
            return Err(Problem::Unavailable);
        }
        held.all += more;
        *held.of.entry(self.owner).or_default() += more;
        drop(held);
        self.bytes += more;
        Ok(())
    }

    /// The answer to such a request, which holds this share until it is written or its connection is closed.
    ///
    /// # Errors
    /// `Unavailable`: there is no room for it now, and it can be asked for again. What something was changed for is told
    /// in any case.
    pub(super) async fn hold(mut self, method: &Method, answer: Answer) -> Result<Answer, Problem> {
        let size = usize::try_from(answer.body().size_hint().lower()).unwrap_or(usize::MAX);
        if let Err(problem) = self.grow(size)
            && matches!(*method, Method::GET | Method::HEAD)
        {
            return Err(problem);
        }
        if self.bytes == 0 {
            return Ok(answer);
        }
        let (parts, body) = answer.into_parts();
        let Ok(whole) = body.collect().await;
        let holding = Holding { bytes: whole.to_bytes(), _share: self };
        Ok(Answer::from_parts(parts, Full::new(Bytes::from_owner(holding))))
    }
}

impl Drop for Share {
    fn drop(&mut self) {
        if self.bytes == 0 {
            return;
        }
        let mut held = self.memory.held();
        held.all -= self.bytes;
        let own = held.of.get(&self.owner).map_or(0, |own| own - self.bytes);
        match own {
            0 => drop(held.of.remove(&self.owner)),
            own => drop(held.of.insert(self.owner, own)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::Ipv4Addr;

    const KIB: usize = 1024;

    fn from(last: u8) -> Owner {
        Owner::of(None, Ipv4Addr::new(192, 0, 2, last).into())
    }

    #[test]
    fn one_owner_has_a_quarter_and_all_have_all() {
        let memory = Memory::new(400 * KIB, 50 * KIB);
        let take = |owner, bytes| {
            let mut share = memory.share(owner);
            share.grow(bytes).map(|()| share)
        };
        let first = take(from(1), 80 * KIB).unwrap();
        assert_eq!(take(from(1), 40 * KIB).unwrap_err(), Problem::Unavailable);
        assert_eq!(memory.share(from(1)).fits(40 * KIB), Err(Problem::Unavailable));
        assert_eq!(memory.share(from(1)).fits(20 * KIB), Ok(()));
        // More than one may ever hold counts as that.
        let others = [2, 3, 4].map(|last| take(from(last), 1_000 * KIB).unwrap());
        assert_eq!(take(from(5), 40 * KIB).unwrap_err(), Problem::Unavailable);
        // What is small gets through.
        assert!(take(from(1), SMALL_BYTES_MAX).is_ok());
        drop(first);
        assert!(take(from(1), 100 * KIB).is_ok());
        drop(others);
        assert!(memory.held().of.is_empty() && memory.held().all == 0);
    }

    #[test]
    fn a_largest_body_has_room_in_any_case() {
        let memory = Memory::new(100 * KIB, 90 * KIB);
        let mut share = memory.share(from(1));
        share.grow(50 * KIB).unwrap();
        share.grow(90 * KIB).unwrap();
        assert_eq!(memory.share(from(2)).fits(20 * KIB), Err(Problem::Unavailable));
    }

    #[tokio::test]
    async fn an_answer_holds_its_share_until_it_is_gone() {
        let memory = Memory::new(400 * KIB, 0);
        let large = || Answer::new(Full::new(Bytes::from(vec![7; 70 * KIB])));
        let held = memory.share(from(1)).hold(&Method::GET, large()).await.unwrap();
        let refused = memory.share(from(1)).hold(&Method::GET, large()).await;
        assert_eq!(refused.unwrap_err(), Problem::Unavailable);
        assert!(memory.share(from(1)).hold(&Method::POST, large()).await.is_ok());
        assert_eq!(held.body().size_hint().exact(), Some(70 * 1024));
        let rest = held.into_body().collect().await.unwrap().to_bytes().slice(1..);
        assert_eq!(memory.held().all, 70 * KIB);
        drop(rest);
        assert_eq!(memory.held().all, 0);
    }
}
