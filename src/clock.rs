//! The time: what it is now, and waiting until it is later. Nobody else reads it.
//!
//! A [`Clock`] runs with the world, or stands where it is put. A clock that was moved forward by hand still runs: the
//! demo lets a day pass in a second and goes on living. Waiting (`sleep_until`) follows the same clock, so a test that
//! moves time wakes whoever was waiting for it.

use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use tokio::sync::watch;

use crate::model::time::Timestamp;

/// The longest that a wait goes without looking at the clock again, so that a jump of the system's clock (or a
/// suspended machine) delays nobody for long.
const LOOK_AGAIN: Duration = Duration::from_secs(30);

/// What time it is. Cheap to clone; clones share their time.
#[derive(Clone, Debug)]
pub struct Clock(Arc<Kind>);

#[derive(Debug)]
enum Kind {
    /// The system's clock, plus an offset in milliseconds that [`Clock::advance`] makes larger.
    Running(watch::Sender<i64>),
    /// Stands at these milliseconds until it is moved.
    Standing(watch::Sender<i64>),
}

impl Clock {
    /// The system's clock.
    pub fn system() -> Self {
        Self(Arc::new(Kind::Running(watch::Sender::new(0))))
    }

    /// A clock that stands at `at` until it is moved.
    pub fn standing(at: Timestamp) -> Self {
        Self(Arc::new(Kind::Standing(watch::Sender::new(at.as_millis()))))
    }

    /// What time it is.
    pub fn now(&self) -> Timestamp {
        Timestamp::from_millis(match &*self.0 {
            Kind::Running(offset) => system_millis().saturating_add(*offset.borrow()),
            Kind::Standing(at) => *at.borrow(),
        })
    }

    /// Moves the clock forward and wakes those whose time has come.
    pub fn advance(&self, by: Duration) {
        let by = i64::try_from(by.as_millis()).unwrap_or(i64::MAX);
        self.moves().send_modify(|millis| *millis = millis.saturating_add(by));
    }

    /// Returns when the clock shows `until` or later.
    pub async fn sleep_until(&self, until: Timestamp) {
        let mut moved = self.moves().subscribe();
        loop {
            moved.borrow_and_update();
            let left = until.since(self.now());
            if left.is_zero() {
                return;
            }
            let nap = match &*self.0 {
                Kind::Running(_) => left.min(LOOK_AGAIN),
                Kind::Standing(_) => Duration::MAX,
            };
            tokio::select! {
                () = tokio::time::sleep(nap) => {}
                _ = moved.changed() => {}
            }
        }
    }

    fn moves(&self) -> &watch::Sender<i64> {
        match &*self.0 {
            Kind::Running(millis) | Kind::Standing(millis) => millis,
        }
    }
}

#[allow(clippy::disallowed_methods, reason = "the one place that reads the time")]
fn system_millis() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_millis()).unwrap_or(i64::MAX)
}

/// How long something took, by the monotonic clock; for metrics and logs, never for decisions.
#[derive(Clone, Copy, Debug)]
pub struct Stopwatch(Instant);

impl Stopwatch {
    /// Starts one.
    #[allow(clippy::disallowed_methods, reason = "the one place that reads the time")]
    pub fn start() -> Self {
        Self(Instant::now())
    }

    /// Time since the start.
    pub fn elapsed(&self) -> Duration {
        self.0.elapsed()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    impl Clock {
        /// Puts the clock back, as an administrator may.
        pub fn put_back(&self, by: Duration) {
            self.moves().send_modify(|millis| *millis -= i64::try_from(by.as_millis()).unwrap_or(0));
        }
    }

    #[tokio::test]
    async fn moving_a_standing_clock_wakes_the_waiters() {
        let clock = Clock::standing(Timestamp::from_millis(1000));
        let waiter = tokio::spawn({
            let clock = clock.clone();
            async move {
                clock.sleep_until(Timestamp::from_millis(5000)).await;
                clock.now()
            }
        });
        tokio::task::yield_now().await;
        clock.advance(Duration::from_secs(3));
        assert!(!waiter.is_finished());
        clock.advance(Duration::from_secs(1));
        assert_eq!(waiter.await.unwrap(), Timestamp::from_millis(5000));
    }

    #[test]
    fn a_running_clock_can_be_moved_forward() {
        let clock = Clock::system();
        let before = clock.now();
        clock.advance(Duration::from_secs(86_400));
        assert!(clock.now().since(before) >= Duration::from_secs(86_400));
    }
}
