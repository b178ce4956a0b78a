//! How fast one destination takes mail, learned from what it answers. Pure.
//!
//! | heard | then |
//! |---|---|
//! | an answer about a mail | after enough of them one more connection at once, up to the limit |
//! | "slower" (421, 4.7.z) | half of the connections; at one, a rest that doubles |
//! | nobody, three times in a row | a rest that doubles; after it one mail alone finds out |
//!
//! Whoever would wait long is told until when to be put off, in order, so that the queue stays free for others and
//! nothing is stuck: what is put off comes due by itself.

use std::time::Duration;

use crate::model::queue::Mark;
use crate::model::time::Timestamp;

/// What a destination may be asked to take.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Connections at once, at most.
    pub connections: u32,
    /// Connections at once to begin with.
    pub connections_start: u32,
    /// Mails a minute; `None`: as many as go.
    pub mails_per_minute: Option<u32>,
}

/// What an attempt says about its destination.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Signal {
    /// It answered about a mail, with yes or no.
    Heard,
    /// It asked for less.
    Slower,
    /// Nobody answered, or nobody who would talk to us.
    Nobody,
}

/// Why a mail may not go now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wait {
    /// Until another has gone.
    ForOther,
    /// Until this time, which is near.
    Until(Timestamp),
    /// For long.
    ForLong,
}

/// When a mail that may not wait in memory shall come due, and why not before.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PutOff {
    /// When.
    pub until: Timestamp,
    /// Why: [`Mark::Room`] or [`Mark::Silence`].
    pub mark: Mark,
}

/// Attempts in a row that find nobody, after which a destination is left alone for a while.
const NOBODY_MAX: u32 = 3;
/// The first rest of a destination where nobody answers; it doubles up to [`REST_MAX`].
const REST: Duration = Duration::from_secs(60);
/// The first rest of a destination that asks for less than one connection.
const REST_SLOWER: Duration = Duration::from_secs(10);
/// The longest rest.
const REST_MAX: Duration = Duration::from_secs(15 * 60);
/// After "slower", no growth for so long.
const SLOW_FOR: Duration = Duration::from_secs(60);
/// The longest that a mail waits in memory for its turn.
const WAIT_MAX: Duration = Duration::from_secs(30);
/// About the farthest that mail is put off for want of room: the destination may be faster by then.
const PUT_OFF_MAX: Duration = Duration::from_secs(120);
/// How far apart mails come due beyond that, so that a crowd is not looked at all at once.
const APART_CROWDED: Duration = Duration::from_millis(2);
/// How far apart mails for a resting destination come due.
const APART_RESTING: Duration = Duration::from_millis(20);
/// What a conversation is thought to take before one was had.
const TOOK_AT_FIRST: Duration = Duration::from_millis(20);
const TOOK_MIN: Duration = Duration::from_millis(2);
/// By less than this, times of different threads come out of order.
const CLOCK_STEP: Duration = Duration::from_secs(1);

/// How one destination does.
#[derive(Debug)]
pub struct Pace {
    limits: Limits,
    /// Conversations under way.
    under_way: u32,
    /// Connections at once, for now.
    connections: u32,
    /// Answers since the last change of `connections`.
    heard: u32,
    /// Attempts in a row that found nobody.
    nobody: u32,
    rest: Option<Rest>,
    /// No growth before.
    slow_until: Timestamp,
    slowed_at: Timestamp,
    /// When the next mail may go, by the limit a minute.
    next_at: Timestamp,
    /// What a conversation takes, about.
    took: Duration,
    /// When the last mail that was put off comes due.
    horizon: Timestamp,
    /// The latest time that it was asked at.
    asked_at: Timestamp,
}

#[derive(Clone, Copy, Debug)]
struct Rest {
    until: Timestamp,
    span: Duration,
}

impl Pace {
    /// A destination that nothing is known about.
    pub fn new(limits: Limits) -> Self {
        let never = Timestamp::default();
        Self {
            limits,
            under_way: 0,
            connections: limits.connections_start.clamp(1, limits.connections.max(1)),
            heard: 0,
            nobody: 0,
            rest: None,
            slow_until: never,
            slowed_at: never,
            next_at: never,
            took: TOOK_AT_FIRST,
            horizon: never,
            asked_at: never,
        }
    }

    /// Whether another mail may go at `now`; then it is under way until [`Pace::gave_back`].
    ///
    /// # Errors
    /// [`Wait`]
    pub fn begin(&mut self, now: Timestamp) -> Result<(), Wait> {
        self.follow(now);
        let closed_until = self.closed_until();
        if closed_until > now {
            let is_far = closed_until.since(now) > WAIT_MAX;
            return Err(if is_far { Wait::ForLong } else { Wait::Until(closed_until) });
        }
        // After a rest one finds out for all.
        let at_once = if self.rest.is_some() { 1 } else { self.connections };
        if self.under_way >= at_once {
            return Err(Wait::ForOther);
        }
        if let Some(apart) = self.apart() {
            self.next_at = self.next_at.max(now) + apart;
        }
        self.under_way += 1;
        Ok(())
    }

    /// One mail goes whatever is known.
    pub fn begin_asked(&mut self) {
        self.under_way += 1;
    }

    /// A mail that was under way is no more.
    pub fn gave_back(&mut self) {
        self.under_way = self.under_way.saturating_sub(1);
    }

    /// Whether a mail may join the `ahead` that wait in memory; else when it shall come due.
    ///
    /// # Errors
    /// Until when it is put off.
    pub fn admit(&mut self, now: Timestamp, ahead: usize) -> Result<(), PutOff> {
        self.follow(now);
        let ahead = u32::try_from(ahead).unwrap_or(u32::MAX);
        let closed_until = self.closed_until();
        if closed_until.since(now) > WAIT_MAX {
            let apart = self.apart().unwrap_or_default().max(APART_RESTING);
            return Err(self.put_off(closed_until, apart));
        }
        let apart = self.expected_apart();
        let wait = apart.saturating_mul(ahead);
        if wait <= WAIT_MAX {
            return Ok(());
        }
        let is_crowded = self.horizon >= now + PUT_OFF_MAX;
        Err(self.put_off(now + wait.min(PUT_OFF_MAX), if is_crowded { APART_CROWDED } else { apart }))
    }

    /// What an attempt that took so long says.
    pub fn learn(&mut self, signal: Signal, took: Duration, now: Timestamp) {
        self.took = (self.took * 7 + took.max(TOOK_MIN)) / 8;
        match signal {
            Signal::Heard => self.heard(now),
            Signal::Slower => self.slower(now),
            Signal::Nobody => self.nobody(now),
        }
    }

    /// Whether nothing would be lost by forgetting about it.
    pub fn is_idle(&self, now: Timestamp) -> bool {
        let is_resting = self.rest.is_some_and(|rest| rest.until > now);
        self.under_way == 0 && !is_resting && self.horizon <= now && self.slow_until <= now
    }

    /// Connections at once, for now, and until when it rests.
    pub fn shown(&self, now: Timestamp) -> (u32, Option<Timestamp>) {
        (self.connections, self.rest.map(|rest| rest.until).filter(|until| *until > now))
    }

    fn heard(&mut self, now: Timestamp) {
        if self.rest.take().is_some() {
            self.connections = self.connections.min(self.limits.connections_start).max(1);
        }
        self.nobody = 0;
        self.heard = self.heard.saturating_add(1);
        if self.heard > self.connections && self.connections < self.limits.connections && now >= self.slow_until {
            self.connections += 1;
            self.heard = 0;
        }
    }

    fn slower(&mut self, now: Timestamp) {
        (self.heard, self.nobody) = (0, 0);
        self.slow_until = now + SLOW_FOR;
        // Those that were under way together say the same thing once.
        let is_same = self.slowed_at > Timestamp::default() && now.since(self.slowed_at) < self.took;
        if is_same {
            return;
        }
        self.slowed_at = now;
        if self.connections > 1 {
            self.connections /= 2;
        } else {
            self.rest_on(REST_SLOWER, now);
        }
    }

    fn nobody(&mut self, now: Timestamp) {
        self.heard = 0;
        self.nobody = self.nobody.saturating_add(1);
        if self.nobody >= NOBODY_MAX {
            self.rest_on(REST, now);
        }
    }

    /// A rest twice as long as the last that followed this closely.
    fn rest_on(&mut self, first: Duration, now: Timestamp) {
        match self.rest {
            Some(rest) if rest.until > now => {}
            Some(rest) => {
                let span = (rest.span * 2).clamp(first, REST_MAX);
                self.rest = Some(Rest { until: now + span, span });
            }
            None => self.rest = Some(Rest { until: now + first, span: first }),
        }
    }

    /// Goes back with a clock that was put back: what is to come stays as far away as it was.
    fn follow(&mut self, now: Timestamp) {
        let back = self.asked_at.since(now);
        if back > CLOCK_STEP {
            for time in [&mut self.slow_until, &mut self.slowed_at, &mut self.next_at, &mut self.horizon] {
                *time = *time - back;
            }
            if let Some(rest) = &mut self.rest {
                rest.until = rest.until - back;
            }
        }
        self.asked_at = now;
    }

    fn put_off(&mut self, earliest: Timestamp, apart: Duration) -> PutOff {
        self.horizon = self.horizon.max(earliest) + apart;
        let mark = if self.nobody >= NOBODY_MAX { Mark::Silence } else { Mark::Room };
        PutOff { until: self.horizon, mark }
    }

    /// Nothing may begin before.
    fn closed_until(&self) -> Timestamp {
        let rested = self.rest.map(|rest| rest.until).unwrap_or_default();
        // A second's worth may go in one burst.
        let burst = self.apart().map_or(Duration::ZERO, |apart| Duration::from_secs(1).saturating_sub(apart));
        rested.max(self.next_at - burst)
    }

    /// The time between two mails that the limit a minute asks for.
    fn apart(&self) -> Option<Duration> {
        self.limits.mails_per_minute.map(|mails| Duration::from_secs(60) / mails.max(1))
    }

    /// The time between two mails as it goes now.
    fn expected_apart(&self) -> Duration {
        (self.took / self.connections.max(1)).max(self.apart().unwrap_or_default())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Timestamp = Timestamp::from_millis(1_800_000_000_000);
    const SECOND: Duration = Duration::from_secs(1);

    fn pace(connections: u32, start: u32, mails_per_minute: Option<u32>) -> Pace {
        Pace::new(Limits { connections, connections_start: start, mails_per_minute })
    }

    fn room(until: Timestamp) -> PutOff {
        PutOff { until, mark: Mark::Room }
    }

    fn begun(pace: &mut Pace, now: Timestamp) -> u32 {
        (0..).take_while(|_| pace.begin(now).is_ok()).count() as u32
    }

    fn learn(pace: &mut Pace, signal: Signal, now: Timestamp) {
        pace.learn(signal, SECOND / 10, now);
    }

    #[test]
    fn it_grows_with_answers_and_shrinks_when_asked() {
        let mut pace = pace(4, 2, None);
        assert_eq!(begun(&mut pace, NOW), 2);
        assert_eq!(pace.begin(NOW), Err(Wait::ForOther));
        (0..20).for_each(|_| learn(&mut pace, Signal::Heard, NOW));
        assert_eq!(begun(&mut pace, NOW), 2, "four in all");
        (0..4).for_each(|_| pace.gave_back());
        learn(&mut pace, Signal::Slower, NOW);
        learn(&mut pace, Signal::Slower, NOW);
        assert_eq!(pace.shown(NOW), (2, None), "said by two at the same moment, it counts once");
        (0..20).for_each(|_| learn(&mut pace, Signal::Heard, NOW));
        assert_eq!(pace.shown(NOW).0, 2, "not at once");
        (0..20).for_each(|_| learn(&mut pace, Signal::Heard, NOW + SLOW_FOR));
        assert_eq!(pace.shown(NOW).0, 4);
    }

    #[test]
    fn less_than_one_connection_is_a_rest_that_doubles() {
        let mut pace = pace(1, 1, None);
        let mut now = NOW;
        for span in [10, 20, 40, 80] {
            learn(&mut pace, Signal::Slower, now);
            assert_eq!(pace.shown(now).1, Some(now + SECOND * span));
            now = now + SECOND * span;
        }
        assert_eq!(begun(&mut pace, now), 1);
        learn(&mut pace, Signal::Heard, now);
        assert_eq!(pace.shown(now), (1, None));
    }

    #[test]
    fn where_nobody_answers_one_mail_finds_out_for_all() {
        let mut pace = pace(10, 5, None);
        (0..2).for_each(|_| learn(&mut pace, Signal::Nobody, NOW));
        assert_eq!(begun(&mut pace, NOW), 5);
        (0..5).for_each(|_| learn(&mut pace, Signal::Nobody, NOW));
        (0..5).for_each(|_| pace.gave_back());
        assert_eq!(pace.begin(NOW), Err(Wait::ForLong));
        let rested = NOW + REST;
        let off = [pace.admit(NOW, 0).unwrap_err(), pace.admit(NOW, 0).unwrap_err()];
        assert!(off[0].until > rested && off[1].until > off[0].until, "in order, after the rest");
        assert_eq!(off[0].mark, Mark::Silence);
        assert_eq!(begun(&mut pace, rested), 1);
        pace.gave_back();
        learn(&mut pace, Signal::Nobody, rested);
        assert_eq!(pace.shown(rested).1, Some(rested + REST * 2));
        let again = rested + REST * 2;
        assert_eq!(begun(&mut pace, again), 1);
        pace.gave_back();
        learn(&mut pace, Signal::Heard, again);
        assert_eq!(begun(&mut pace, again), 5);
    }

    #[test]
    fn so_many_a_minute() {
        let mut slow = pace(10, 10, Some(6));
        assert_eq!(begun(&mut slow, NOW), 1);
        assert_eq!(slow.begin(NOW), Err(Wait::Until(NOW + SECOND * 10)));
        assert_eq!(begun(&mut slow, NOW + SECOND * 10), 1);
        let mut fast = pace(1_000, 1_000, Some(600));
        assert_eq!(begun(&mut fast, NOW), 10, "a second's worth at once");
        assert_eq!(begun(&mut fast, NOW + SECOND), 10);
    }

    #[test]
    fn a_clock_that_is_put_back_keeps_nobody_waiting_for_longer() {
        const DAY: Duration = Duration::from_secs(86_400);
        let mut limited = pace(1, 1, Some(1));
        assert_eq!(begun(&mut limited, NOW), 1);
        limited.gave_back();
        assert_eq!(limited.admit(NOW - DAY, 0), Err(room(NOW - DAY + SECOND * 120)));
        assert_eq!(begun(&mut limited, NOW - DAY + SECOND * 60), 1);
        let mut dead = pace(10, 5, None);
        (0..3).for_each(|_| learn(&mut dead, Signal::Nobody, NOW));
        assert_eq!(dead.begin(NOW), Err(Wait::ForLong));
        assert_eq!(dead.begin(NOW - DAY), Err(Wait::ForLong));
        assert_eq!(begun(&mut dead, NOW - DAY + REST), 1);
    }

    #[test]
    fn who_may_not_begin_for_long_may_not_wait_in_memory_either() {
        let mut pace = pace(1, 1, Some(1));
        assert_eq!(pace.admit(NOW, 0), Ok(()));
        assert_eq!(begun(&mut pace, NOW), 1);
        assert_eq!(pace.begin(NOW), Err(Wait::ForLong));
        assert_eq!(pace.admit(NOW, 0), Err(room(NOW + SECOND * 120)));
    }

    #[test]
    fn who_would_wait_long_is_put_off_in_order_and_not_for_ever() {
        let mut pace = pace(1, 1, Some(60));
        assert_eq!(pace.admit(NOW, 30), Ok(()));
        let off: Vec<Timestamp> = (0..500).map(|_| pace.admit(NOW, 31).unwrap_err().until).collect();
        assert_eq!(off[0], NOW + SECOND * 32);
        assert!(off.is_sorted_by(|one, next| one < next));
        assert!(off[499] > NOW + PUT_OFF_MAX && off[499] < NOW + PUT_OFF_MAX + SECOND * 2, "{:?}", off[499]);
    }
}
