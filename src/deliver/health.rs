//! Whether a host is worth trying: one that fails again and again is left to rest. Pure; told the time.
//!
//! | state | a mail for it | left by |
//! |---|---|---|
//! | well | goes there | [`FAILURES_MAX`] failures in a row: to resting |
//! | resting | goes elsewhere, or waits | the end of the rest: to one try |
//! | one try | the first goes there, others as if it rested | a success: to well; a failure: to a longer rest |
//!
//! A failure is one of the host as such: no connection, no greeting, no TLS, no login. What it says of a mail is none.
//! Whoever asks for a mail to be tried now may know better: one such mail a second breaks the rest, and if the host takes
//! it, ends it.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use crate::model::time::Timestamp;

/// Failures in a row after which a host rests.
pub const FAILURES_MAX: u32 = 3;
/// The first rest.
pub const REST_MIN: Duration = Duration::from_secs(30);
/// The longest: each is twice the one before.
pub const REST_MAX: Duration = Duration::from_secs(600);
/// How often a rest is broken for a mail that a person asked for.
pub const ASKED_EVERY: Duration = Duration::from_secs(1);

/// How a host has been doing.
#[derive(Debug, Default)]
pub struct Health(Mutex<State>);

#[derive(Debug, Default)]
struct State {
    failures: u32,
    rest: Option<Rest>,
}

#[derive(Clone, Copy, Debug)]
struct Rest {
    until: Timestamp,
    /// When the one try after the rest began; for ever away before that.
    tried_at: Timestamp,
    /// When a mail that was asked for was last let through.
    asked_at: Timestamp,
    length: Duration,
}

impl Rest {
    /// Whether it is not over. One that is further off than it is long was begun before the clock was put back.
    fn holds(&self, now: Timestamp) -> bool {
        now < self.until && self.until <= now + self.length
    }
}

impl Health {
    /// Whether a mail, that a person asked for or not, may go there now.
    ///
    /// # Errors
    /// How long it rests yet. Who is let through after a rest makes the one try; the others find it resting on.
    pub fn may_try(&self, now: Timestamp, is_asked: bool) -> Result<(), Duration> {
        let mut state = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        match &mut state.rest {
            None => Ok(()),
            Some(rest) if !rest.holds(now) => {
                (rest.until, rest.tried_at) = (now + rest.length, now);
                Ok(())
            }
            Some(rest) if is_asked && now.since(rest.asked_at) >= ASKED_EVERY => {
                rest.asked_at = now;
                Ok(())
            }
            Some(rest) => Err(rest.until.since(now)),
        }
    }

    /// Whether it rests.
    pub fn is_resting(&self, now: Timestamp) -> bool {
        let state = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        state.rest.is_some_and(|rest| rest.holds(now))
    }

    /// It did what it should.
    pub fn worked(&self) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = State::default();
    }

    /// It failed. How long it rests from now on, if this began a rest.
    pub fn failed(&self, now: Timestamp, was_tried_at: Timestamp) -> Option<Duration> {
        let mut state = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        state.failures += 1;
        let length = match state.rest {
            // Those that were under way when the rest began say nothing new.
            Some(rest) if was_tried_at < rest.tried_at => return None,
            Some(rest) => (rest.length * 2).min(REST_MAX),
            None if state.failures < FAILURES_MAX => return None,
            None => REST_MIN,
        };
        let tried_at = Timestamp::from_millis(i64::MAX);
        state.rest = Some(Rest { until: now + length, tried_at, asked_at: Timestamp::default(), length });
        Some(length)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(secs: u64) -> Timestamp {
        Timestamp::from_millis(1_800_000_000_000) + Duration::from_secs(secs)
    }

    fn fail(health: &Health, secs: u64) -> Option<Duration> {
        health.failed(at(secs), at(secs))
    }

    #[test]
    fn a_dead_host_rests_longer_each_time_and_is_tried_by_one() {
        let health = Health::default();
        assert_eq!((fail(&health, 0), fail(&health, 0)), (None, None));
        assert_eq!(health.may_try(at(0), false), Ok(()));
        assert_eq!(fail(&health, 0), Some(REST_MIN));
        assert_eq!(health.may_try(at(10), false), Err(Duration::from_secs(20)));
        assert_eq!(health.may_try(at(30), false), Ok(()), "the one try");
        assert_eq!(health.may_try(at(30), false), Err(REST_MIN));
        let mut now = 30;
        for expected in [60, 120, 240, 480, 600, 600] {
            assert_eq!(fail(&health, now), Some(Duration::from_secs(expected)));
            now += expected;
            assert_eq!(health.may_try(at(now), false), Ok(()));
        }
        health.worked();
        assert_eq!((health.may_try(at(now), false), fail(&health, now)), (Ok(()), None));
    }

    #[test]
    fn failures_must_be_in_a_row_and_late_ones_do_not_count() {
        let health = Health::default();
        for _ in 0..10 {
            assert_eq!((fail(&health, 0), fail(&health, 0)), (None, None));
            health.worked();
        }
        for _ in 0..3 {
            fail(&health, 0);
        }
        // Sixteen connections fail together: only the first of them begins a rest.
        for _ in 0..16 {
            assert_eq!(health.failed(at(5), at(0)), None);
        }
        assert_eq!(health.may_try(at(30), false), Ok(()));
        assert_eq!(health.failed(at(31), at(30)), Some(REST_MIN * 2));
    }

    #[test]
    fn a_rest_is_broken_for_what_a_person_asks_for() {
        let health = Health::default();
        for _ in 0..FAILURES_MAX {
            fail(&health, 0);
        }
        assert_eq!(health.may_try(at(10), true), Ok(()));
        assert_eq!(health.may_try(at(10), true), Err(Duration::from_secs(20)), "many are asked for at once");
        assert_eq!(health.failed(at(10), at(10)), None, "nothing new");
        assert_eq!(health.may_try(at(11), true), Ok(()));
        health.worked();
        assert_eq!(health.may_try(at(11), false), Ok(()));
    }
}
