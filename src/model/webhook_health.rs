//! How a webhook that fails fares: when it is left alone for a while, when its owner is told, when it is switched off.
//!
//! | after | happens |
//! |---|---|
//! | failures outweigh arrivals two to one, and there were ten more | a pause; then one request at a time finds out |
//! | 24 h without an arrival | a warning |
//! | a dispatch given up, the first since an arrival | that is told |
//! | 120 h without an arrival, 20 failures, and three dispatches given up, all of it | switched off, nothing dropped |
//! | one arrival | all is forgotten but the score, which falls; who was told of anything is told of this |
//!
//! While a webhook is paused its dispatches wait; no attempt is counted. A webhook that is well has no health.

use std::time::Duration;

use super::time::Timestamp;

/// A webhook with this score is paused, and asked one request at a time.
pub const SICK: u8 = 10;
/// The first pause; each that follows is twice as long.
pub const PAUSE: Duration = Duration::from_secs(30);
/// The longest pause that we choose: a receiver that is back need not wait longer.
pub const PAUSE_MAX: Duration = Duration::from_secs(5 * 60);
/// The longest pause that a receiver chooses for all that is owed to it (`Retry-After`).
pub const PAUSE_WISH_MAX: Duration = Duration::from_secs(10 * 60);
/// How long the one request after a pause may take before another may be made.
pub const PROBE: Duration = Duration::from_secs(20);
/// Failing for so long is told.
pub const WARN_AFTER: Duration = Duration::from_secs(24 * 3600);
/// Failing for so long switches off.
pub const OFF_AFTER: Duration = Duration::from_secs(120 * 3600);
/// Fewer failures than these never switch off.
const OFF_FAILURES_MIN: u32 = 20;
/// Neither do fewer dispatches given up than these.
const OFF_EXHAUSTED_MIN: u32 = 3;

/// What is known about a webhook that fails, or did a moment ago.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Health {
    /// From 0, well, to [`SICK`]: a failure adds one, an arrival takes two.
    pub score: u8,
    /// When the first failure was after which nothing arrived.
    pub failing_since: Option<Timestamp>,
    /// Failures since then.
    pub failures: u32,
    /// Dispatches given up since then.
    pub exhausted: u32,
    /// Pauses since then.
    pub pauses: u32,
    /// Nothing is sent before this time.
    pub paused_until: Option<Timestamp>,
    /// The owner has been warned.
    pub is_warned: bool,
    /// The last failure.
    pub last_failure_at: Option<Timestamp>,
    /// What it was, in a word.
    pub last_error: String,
}

/// What a failure was.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Failure<'e> {
    /// When.
    pub at: Timestamp,
    /// In a word.
    pub error: &'e str,
    /// Dispatches that were given up with it.
    pub given_up: u32,
    /// How long the receiver asked to be left alone.
    pub wish: Option<Duration>,
}

/// What follows from a failure, beside a pause.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum News {
    /// Its owner should know.
    Warning,
    /// Nobody tries any more to tell it of an event, and it is the first that this is so of.
    Exhausted,
    /// It works again, and its owner knows that it did not.
    Recovered,
    /// It is to be switched off.
    Off,
}

impl Health {
    /// An event arrived.
    pub fn arrived(&mut self) -> Option<News> {
        let was_told = self.is_warned || self.exhausted > 0;
        *self = Self { score: self.score.saturating_sub(2), ..Self::default() };
        was_told.then_some(News::Recovered)
    }

    /// An event did not arrive.
    pub fn failed(&mut self, failure: Failure<'_>) -> Vec<News> {
        let since = *self.failing_since.get_or_insert(failure.at);
        let is_first_given_up = self.exhausted == 0 && failure.given_up > 0;
        self.failures = self.failures.saturating_add(1);
        self.exhausted = self.exhausted.saturating_add(failure.given_up);
        self.last_failure_at = Some(failure.at);
        failure.error.clone_into(&mut self.last_error);
        let was_sick = self.score == SICK;
        self.score = (self.score + 1).min(SICK);
        let wish = failure.wish.map(|wish| failure.at + wish.min(PAUSE_WISH_MAX));
        // Requests that were on their way when the pause began do not make it longer.
        let is_over = self.paused_until.is_none_or(|until| until <= failure.at + PROBE);
        let own = (self.score == SICK && (is_over || !was_sick)).then(|| {
            let pause = PAUSE * 2u32.pow(self.pauses.min(8));
            self.pauses = self.pauses.saturating_add(1);
            failure.at + pause.min(PAUSE_MAX)
        });
        self.paused_until = self.paused_until.max(own).max(wish);
        let first = is_first_given_up.then_some(News::Exhausted);
        first.into_iter().chain(self.news(failure.at.since(since))).collect()
    }

    fn news(&mut self, failing: Duration) -> Option<News> {
        let is_hopeless = self.failures >= OFF_FAILURES_MIN && self.exhausted >= OFF_EXHAUSTED_MIN;
        if failing >= OFF_AFTER && is_hopeless {
            return Some(News::Off);
        }
        let is_told = self.is_warned;
        self.is_warned |= failing >= WARN_AFTER;
        (self.is_warned && !is_told).then_some(News::Warning)
    }

    /// Whether it is asked one request at a time.
    pub fn is_sick(&self) -> bool {
        self.score >= SICK
    }

    /// Whether nothing is sent at this time.
    pub fn is_paused(&self, now: Timestamp) -> bool {
        self.paused_until.is_some_and(|until| now < until)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(secs: u64) -> Timestamp {
        Timestamp::from_millis(0) + Duration::from_secs(secs)
    }

    fn failure(secs: u64) -> Failure<'static> {
        Failure { at: at(secs), error: "http_status", given_up: 0, wish: None }
    }

    #[test]
    fn ten_failures_pause_and_pauses_grow() {
        let mut health = Health::default();
        for _ in 0..9 {
            assert_eq!(health.failed(failure(0)), []);
            assert!(!health.is_paused(at(0)) && !health.is_sick());
        }
        let mut now = 0;
        for pause in [30, 60, 120, 240, 300, 300, 300] {
            health.failed(failure(now));
            assert!(health.is_sick() && health.is_paused(at(now)));
            assert_eq!(health.paused_until, Some(at(now + pause)));
            // What was on its way changes nothing, as long as the pause has a while to go.
            health.failed(failure(now + 1));
            assert_eq!(health.paused_until, Some(at(now + pause)));
            now += pause;
            assert!(!health.is_paused(at(now)));
        }
        assert_eq!(health.arrived(), None);
        assert_eq!(health, Health { score: 8, ..Health::default() }, "the score falls step by step");
        for _ in 0..4 {
            assert_eq!(health.arrived(), None);
        }
        assert_eq!(health, Health::default());
    }

    #[test]
    fn a_third_of_arrivals_is_enough_to_go_on() {
        let mut health = Health::default();
        for round in 0..1000 {
            health.failed(failure(round));
            health.failed(failure(round));
            health.arrived();
        }
        assert!(!health.is_sick());
        for round in 0..10 {
            (0..3).for_each(|_| assert_eq!(health.failed(failure(round)), []));
            health.arrived();
        }
        assert!(health.failed(failure(0)).is_empty() && health.score >= SICK - 1, "{health:?}");
    }

    #[test]
    fn a_receiver_may_ask_to_be_left_alone() {
        let mut health = Health::default();
        health.failed(Failure { wish: Some(Duration::from_secs(90)), ..failure(0) });
        assert_eq!((health.paused_until, health.is_sick()), (Some(at(90)), false));
        health.failed(Failure { wish: Some(Duration::from_secs(999_999)), ..failure(0) });
        assert_eq!(health.paused_until, Some(at(600)));
    }

    #[test]
    fn a_day_warns_once_and_five_switch_off() {
        const HOUR: u64 = 3600;
        let check = |given_up: u32, each: u64, warned: &[u64], off: Option<u64>| {
            let mut health = Health::default();
            let (mut warnings, mut ended) = (Vec::new(), None);
            for hour in (0..200).step_by(usize::try_from(each).unwrap()) {
                let exhausted = health.exhausted;
                let given_up = given_up.saturating_sub(exhausted).min(1);
                let news = health.failed(Failure { given_up, ..failure(hour * HOUR) });
                assert_eq!(news.contains(&News::Exhausted), given_up > 0 && exhausted == 0, "{hour}");
                if news.contains(&News::Warning) {
                    warnings.push(hour);
                }
                if news.contains(&News::Off) {
                    ended = Some(hour);
                    break;
                }
            }
            assert_eq!((warnings.as_slice(), ended), (warned, off), "{given_up} given up, each {each} h");
        };
        check(3, 1, &[24], Some(120));
        check(2, 1, &[24], None);
        check(0, 1, &[24], None);
        check(3, 10, &[30], Some(190));
        check(3, 50, &[50], None);
        let mut health = Health::default();
        health.failed(failure(0));
        assert_eq!(health.failed(failure(24 * HOUR)), [News::Warning]);
        assert_eq!(health.arrived(), Some(News::Recovered));
        assert_eq!(health.failed(failure(25 * HOUR)), []);
        assert_eq!(health.failed(failure(49 * HOUR)), [News::Warning]);
    }

    #[test]
    fn who_was_told_of_trouble_is_told_of_its_end() {
        let mut health = Health::default();
        assert_eq!((health.failed(failure(0)), health.arrived()), (vec![], None));
        let given_up = |secs| Failure { given_up: 2, ..failure(secs) };
        assert_eq!(health.failed(given_up(1)), [News::Exhausted]);
        assert_eq!(health.failed(given_up(2)), [], "the first is enough");
        assert_eq!((health.arrived(), health.arrived()), (Some(News::Recovered), None));
    }
}
