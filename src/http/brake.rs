//! How many requests a tenant may make in a minute, with all its keys together; an operator's key counts for itself.
//!
//! Off unless the installation or a tenant sets it. Whoever asks may spend a minute's worth at once; after that each request
//! waits its share of the minute (the generic cell rate algorithm: one point in time each is all that is remembered).
//! Every answer under a limit says what is left, in the three fields that clients read today
//! (draft-ietf-httpapi-ratelimit-headers-06). Each node counts for itself.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};

use hyper::header::{HeaderName, HeaderValue};

use super::server::Answer;
use crate::model::time::Timestamp;

/// The time in which somebody may make as many requests as its limit says.
const WINDOW_MICROS: u64 = 60_000_000;
/// So many are remembered at one time; beyond that those are forgotten that have their whole minute again.
const REMEMBERED_MAX: usize = 10_000;

const LIMIT: HeaderName = HeaderName::from_static("ratelimit-limit");
const REMAINING: HeaderName = HeaderName::from_static("ratelimit-remaining");
const RESET: HeaderName = HeaderName::from_static("ratelimit-reset");

/// What each has spent: when it will have its whole minute again, in microseconds.
#[derive(Debug, Default)]
pub(super) struct Brake(Mutex<HashMap<[u8; 16], u64>>);

/// What somebody has left.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Left {
    limit: u32,
    requests: u32,
    /// When it has its whole minute again, in seconds.
    reset_secs: u64,
    /// When it may ask again, in seconds; `None` when it may now.
    pub(super) retry_after_secs: Option<u64>,
}

impl Brake {
    /// Counts a request, unless it is one too many. `whose` is the id of who asks.
    pub(super) fn spend(&self, whose: [u8; 16], limit: u32, now: Timestamp) -> Left {
        let now = u64::try_from(now.as_millis()).unwrap_or(0).saturating_mul(1_000);
        let limit = limit.max(1);
        let share = (WINDOW_MICROS / u64::from(limit)).max(1);
        let all = share * u64::from(limit);
        let mut spent = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if spent.len() >= REMEMBERED_MAX {
            spent.retain(|_, whole_at| *whole_at > now);
        }
        let whole_at = spent.get(&whose).copied().unwrap_or(0).max(now) + share;
        let secs = |micros: u64| micros.div_ceil(1_000_000);
        match (whole_at - now).checked_sub(all) {
            None | Some(0) => {
                spent.insert(whose, whole_at);
                let left = (all - (whole_at - now)) / share;
                let requests = u32::try_from(left).unwrap_or(limit);
                Left { limit, requests, reset_secs: secs(whole_at - now), retry_after_secs: None }
            }
            Some(wait) => Left {
                limit,
                requests: 0,
                reset_secs: secs(whole_at - share - now),
                retry_after_secs: Some(secs(wait)),
            },
        }
    }
}

impl Left {
    /// Says it in the header of an answer.
    pub(super) fn tell(self, answer: &mut Answer) {
        let headers = answer.headers_mut();
        headers.insert(LIMIT, HeaderValue::from(self.limit));
        headers.insert(REMAINING, HeaderValue::from(self.requests));
        headers.insert(RESET, HeaderValue::from(self.reset_secs));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id(number: u128) -> [u8; 16] {
        number.to_be_bytes()
    }

    fn at(millis: i64) -> Timestamp {
        Timestamp::from_millis(1_772_439_300_000 + millis)
    }

    #[test]
    fn a_minute_may_be_spent_at_once_and_comes_back_bit_by_bit() {
        let brake = Brake::default();
        let spend = |millis| {
            let left = brake.spend(id(1), 3, at(millis));
            (left.requests, left.reset_secs, left.retry_after_secs)
        };
        assert_eq!(spend(0), (2, 20, None));
        assert_eq!(spend(0), (1, 40, None));
        assert_eq!(spend(0), (0, 60, None));
        assert_eq!(spend(1), (0, 60, Some(20)));
        assert_eq!(spend(19_999), (0, 41, Some(1)));
        assert_eq!(spend(20_000), (0, 60, None));
        assert_eq!(spend(20_000), (0, 60, Some(20)));
        assert_eq!(spend(80_000), (2, 20, None));
        assert_eq!(brake.spend(id(2), 3, at(0)).requests, 2);
    }

    #[test]
    fn limits_that_do_not_divide_a_minute() {
        for limit in [1, 7, 59, 61, 1_000, 59_999, 1_000_000] {
            let brake = Brake::default();
            for left in (0..limit).rev() {
                let spent = brake.spend(id(1), limit, at(0));
                assert_eq!((spent.requests, spent.retry_after_secs), (left, None), "{limit}");
            }
            assert!(brake.spend(id(1), limit, at(0)).retry_after_secs.is_some(), "{limit}");
        }
    }

    #[test]
    fn only_so_many_are_remembered() {
        let brake = Brake::default();
        for number in 0..25_000 {
            brake.spend(id(number), 60, at(i64::try_from(number).unwrap()));
        }
        assert!(brake.0.lock().unwrap().len() <= REMEMBERED_MAX);
    }
}
