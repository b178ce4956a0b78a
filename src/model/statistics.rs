//! What is counted, by day.

use super::time::Timestamp;
use super::words::words;

/// Milliseconds of a day.
const DAY_MILLIS: i64 = 86_400_000;

/// A day of UTC: days since 1970-01-01.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Day(pub i64);

impl Day {
    /// The day of a point in time.
    pub fn of(at: Timestamp) -> Self {
        Self(at.as_millis().div_euclid(DAY_MILLIS))
    }

    /// Its first moment.
    pub fn start(self) -> Timestamp {
        Timestamp::from_millis(self.0.saturating_mul(DAY_MILLIS))
    }

    /// The day after.
    pub fn next(self) -> Self {
        Self(self.0.saturating_add(1))
    }

    /// As `2026-03-02`.
    pub fn date(self) -> String {
        let mut text = self.start().rfc3339_seconds();
        text.truncate("2026-03-02".len());
        text
    }

    /// The day that is written like `2026-03-02`.
    pub fn from_date(text: &str) -> Option<Self> {
        let date: jiff::civil::Date = text.parse().ok()?;
        let start = date.to_zoned(jiff::tz::TimeZone::UTC).ok()?.timestamp();
        (text.len() == "2026-03-02".len()).then(|| Self::of(Timestamp::from_millis(start.as_millisecond())))
    }
}

words! {
    /// Something that is counted.
    pub enum What {
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
    }
}

/// Counts of one day.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts([u64; What::ALL.len()]);

impl Counts {
    /// How often.
    pub fn of(&self, what: What) -> u64 {
        self.0.get(what as usize).copied().unwrap_or(0)
    }

    /// Sets how often.
    pub fn set(&mut self, what: What, count: u64) {
        if let Some(own) = self.0.get_mut(what as usize) {
            *own = count;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn days_begin_at_midnight() {
        let day = Day::of(Timestamp::from_millis(1_772_439_300_042));
        assert_eq!((day.date(), Day::from_date("2026-03-02")), ("2026-03-02".into(), Some(day)));
        assert_eq!(day.start().rfc3339_millis(), "2026-03-02T00:00:00.000Z");
        assert_eq!(Day::of(Timestamp::from_millis(-1)).date(), "1969-12-31");
        for text in ["", "2026-02-30", "2026-3-2", "02.03.2026", "2026-03-02T00:00:00Z", "20260302"] {
            assert_eq!(Day::from_date(text), None, "{text}");
        }
    }

    #[test]
    fn words_and_counts() {
        let mut counts = Counts::default();
        for (count, what) in (1..).zip(What::ALL) {
            assert_eq!(What::from_word(what.as_str()), Some(*what));
            counts.set(*what, count);
        }
        assert_eq!(counts.of(What::Sent), 1);
        assert_eq!(counts.of(What::Failed), What::ALL.len() as u64);
    }
}
