//! What happened lately, or over weeks, in equal steps of time: what plots are drawn from.

use super::time::Timestamp;
use super::words::words;

/// Milliseconds of the shortest step: five minutes.
pub const SLOT_MILLIS: i64 = 300_000;
const DAY_MILLIS: i64 = 86_400_000;

words! {
    /// Something that is counted.
    pub enum Measure {
        /// Recipients of accepted mails, but for the suppressed.
        Sent "sent",
        /// Deliveries taken by the next hop.
        Delivered "delivered",
        /// Attempts that were put off.
        Deferred "deferred",
        /// Deliveries that ended with a hard bounce.
        HardBounced "hard_bounced",
        /// Deliveries that ended with a soft bounce.
        SoftBounced "soft_bounced",
        /// Complaints.
        Complained "complained",
        /// Deliveries that were never attempted.
        Failed "failed",
        /// Loads of the pixel by people.
        OpenedByPeople "opened_by_people",
        /// Loads of the pixel by machines.
        OpenedByMachines "opened_by_machines",
        /// Links followed by people.
        ClickedByPeople "clicked_by_people",
        /// Links followed by machines.
        ClickedByMachines "clicked_by_machines",
    }
}

/// A stretch of time that ends now, and the steps it is cut into.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Span {
    /// Twelve times five minutes.
    Hour,
    /// Twenty-four hours.
    #[default]
    Day,
    /// Seven days.
    Week,
    /// Thirty days.
    Month,
}

impl Span {
    /// Every span, the shortest first.
    pub const ALL: [Span; 4] = [Span::Hour, Span::Day, Span::Week, Span::Month];

    /// Its word.
    pub const fn as_str(self) -> &'static str {
        match self {
            Span::Hour => "hour",
            Span::Day => "day",
            Span::Week => "week",
            Span::Month => "month",
        }
    }

    /// The span with this word.
    pub fn from_word(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|span| span.as_str() == word)
    }

    /// Milliseconds of a step.
    pub const fn step_millis(self) -> i64 {
        match self {
            Span::Hour => SLOT_MILLIS,
            Span::Day => 3_600_000,
            Span::Week | Span::Month => DAY_MILLIS,
        }
    }

    /// How many steps.
    pub const fn steps(self) -> usize {
        match self {
            Span::Hour => 12,
            Span::Day => 24,
            Span::Week => 7,
            Span::Month => 30,
        }
    }

    /// When each of its steps begins; the last one holds `now`.
    pub fn starts(self, now: Timestamp) -> Vec<Timestamp> {
        let step = self.step_millis();
        let last = now.as_millis().div_euclid(step);
        let steps = i64::try_from(self.steps()).unwrap_or(1);
        (last + 1 - steps..=last).map(|number| Timestamp::from_millis(number * step)).collect()
    }
}

/// What happened in one step.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Pulse {
    /// When it began.
    pub start: Timestamp,
    counts: [u64; Measure::ALL.len()],
}

impl Pulse {
    /// A step in which nothing has happened yet.
    pub fn beginning(start: Timestamp) -> Self {
        Self { start, ..Self::default() }
    }

    /// How often.
    pub fn of(&self, measure: Measure) -> u64 {
        self.counts.get(measure as usize).copied().unwrap_or(0)
    }

    /// Counts more of it.
    pub fn add(&mut self, measure: Measure, count: u64) {
        if let Some(own) = self.counts.get_mut(measure as usize) {
            *own = own.saturating_add(count);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn steps_of_spans() {
        let now = Timestamp::from_millis(1_772_439_300_042);
        let check = |span: Span, first: &str, last: &str| {
            let starts = span.starts(now);
            let ends = [starts.first(), starts.last()].map(|start| start.unwrap().rfc3339_seconds());
            assert_eq!((ends, starts.len()), ([first.to_owned(), last.to_owned()], span.steps()), "{span:?}");
            assert_eq!(Span::from_word(span.as_str()), Some(span));
        };
        check(Span::Hour, "2026-03-02T07:20:00Z", "2026-03-02T08:15:00Z");
        check(Span::Day, "2026-03-01T09:00:00Z", "2026-03-02T08:00:00Z");
        check(Span::Week, "2026-02-24T00:00:00Z", "2026-03-02T00:00:00Z");
        check(Span::Month, "2026-02-01T00:00:00Z", "2026-03-02T00:00:00Z");
    }

    #[test]
    fn counting() {
        let mut pulse = Pulse::beginning(Timestamp::from_millis(7));
        for (count, measure) in (1..).zip(Measure::ALL) {
            assert_eq!(Measure::from_word(measure.as_str()), Some(*measure));
            pulse.add(*measure, count);
        }
        pulse.add(Measure::Sent, 9);
        assert_eq!((pulse.of(Measure::Sent), pulse.of(Measure::ClickedByMachines)), (10, 11));
    }
}
