//! How many requests a key may make in a minute, and a tenant with all its keys together.
//!
//! Off unless the installation, a key or a tenant sets it. Whoever asks may spend a minute's worth at once; after that each
//! request waits its share of the minute (the generic cell rate algorithm: one point in time each is all that is
//! remembered). Every answer under a limit says what is left, in the three fields that clients read today
//! (draft-ietf-httpapi-ratelimit-headers-06): of two limits it tells of the one that is nearer. A request that one of them
//! refuses costs nothing under the other. Each node counts for itself.

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
    /// Counts a request under each of these limits, unless it is one too many for any of them. `whose` is the id of whom
    /// a limit is for. `None` without a limit.
    pub(super) fn spend(&self, limits: impl IntoIterator<Item = ([u8; 16], u32)>, now: Timestamp) -> Option<Left> {
        let now = u64::try_from(now.as_millis()).unwrap_or(0).saturating_mul(1_000);
        let mut spent = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if spent.len() >= REMEMBERED_MAX {
            spent.retain(|_, whole_at| *whole_at > now);
        }
        let looked = limits.into_iter().map(|(whose, limit)| {
            let (whole_at, left) = Left::after(spent.get(&whose).copied().unwrap_or(0).max(now), limit.max(1), now);
            (whose, whole_at, left)
        });
        let looked: Vec<([u8; 16], u64, Left)> = looked.collect();
        let refusing = looked.iter().map(|(.., left)| *left).max_by_key(|left| left.retry_after_secs);
        if refusing?.retry_after_secs.is_some() {
            return refusing;
        }
        spent.extend(looked.iter().map(|(whose, whole_at, _)| (*whose, *whole_at)));
        looked.into_iter().map(|(.., left)| left).min_by_key(|left| left.requests)
    }
}

impl Left {
    /// When somebody has its whole minute again who had it at `whole_at` before one more request, and what it has left
    /// then; in microseconds.
    fn after(whole_at: u64, limit: u32, now: u64) -> (u64, Self) {
        let share = (WINDOW_MICROS / u64::from(limit)).max(1);
        let all = share * u64::from(limit);
        let secs = |micros: u64| micros.div_ceil(1_000_000);
        let next = whole_at + share;
        let left = match (next - now).checked_sub(all) {
            None | Some(0) => {
                let left = (all - (next - now)) / share;
                let requests = u32::try_from(left).unwrap_or(limit);
                Self { limit, requests, reset_secs: secs(next - now), retry_after_secs: None }
            }
            Some(wait) => {
                Self { limit, requests: 0, reset_secs: secs(whole_at - now), retry_after_secs: Some(secs(wait)) }
            }
        };
        (next, left)
    }

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
            let left = brake.spend([(id(1), 3)], at(millis)).unwrap();
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
        assert_eq!(brake.spend([(id(2), 3)], at(0)).unwrap().requests, 2);
        assert_eq!(brake.spend([], at(0)), None);
    }

    #[test]
    fn of_two_limits_the_nearer_one_counts_and_a_refusal_costs_nothing() {
        let brake = Brake::default();
        let spend = |key, of_key| {
            let left = brake.spend([(id(key), of_key), (id(9), 3)], at(0)).unwrap();
            (left.limit, left.requests, left.retry_after_secs)
        };
        assert_eq!(spend(1, 1), (1, 0, None));
        assert_eq!(spend(1, 1), (1, 0, Some(60)));
        assert_eq!(spend(1, 1), (1, 0, Some(60)));
        assert_eq!(spend(2, 100), (3, 1, None));
        assert_eq!(spend(2, 100), (3, 0, None));
        assert_eq!(spend(2, 100), (3, 0, Some(20)));
        assert_eq!(brake.spend([(id(2), 100)], at(0)).unwrap().requests, 97);
    }

    #[test]
    fn limits_that_do_not_divide_a_minute() {
        for limit in [1, 7, 59, 61, 1_000, 59_999, 1_000_000] {
            let brake = Brake::default();
            for left in (0..limit).rev() {
                let spent = brake.spend([(id(1), limit)], at(0)).unwrap();
                assert_eq!((spent.requests, spent.retry_after_secs), (left, None), "{limit}");
            }
            assert!(brake.spend([(id(1), limit)], at(0)).unwrap().retry_after_secs.is_some(), "{limit}");
        }
    }

    #[test]
    fn only_so_many_are_remembered() {
        let brake = Brake::default();
        for number in 0..25_000 {
            brake.spend([(id(number), 60)], at(i64::try_from(number).unwrap()));
        }
        assert!(brake.0.lock().unwrap().len() <= REMEMBERED_MAX);
    }
}
