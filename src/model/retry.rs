//! When to try again. Schedules are data; jitter derives from an id, so that any node computes the same time.

use std::time::Duration;

const fn secs(secs: u64) -> Duration {
    Duration::from_secs(secs)
}

const fn mins(mins: u64) -> Duration {
    secs(mins * 60)
}

const fn hours(hours: u64) -> Duration {
    mins(hours * 60)
}

/// Waits between attempts at a delivery; the last repeats until the message expires.
pub const MAIL: &[Duration] = &[mins(1), mins(5), mins(15), mins(30), hours(1), hours(2), hours(4)];

/// How long a message is tried, from its acceptance.
pub const MAIL_LIFETIME: Duration = hours(48);

/// How far ahead of its first attempt a message may be handed in.
pub const AHEAD_MAX: Duration = hours(30 * 24);

/// Waits between attempts at a dispatch: sixteen attempts over 71 h 42 min, then it is exhausted.
pub const WEBHOOK: &[Duration] = &[
    secs(5),
    secs(30),
    mins(2),
    mins(10),
    mins(30),
    hours(1),
    hours(2),
    hours(4),
    hours(6),
    hours(8),
    hours(8),
    hours(10),
    hours(10),
    hours(10),
    hours(12),
];

/// How long an attempt may hold its row before another may take it. A node renews what it works on.
pub const LEASE: Duration = secs(90);

/// The longest and the shortest span that jitter is spread over.
const JITTER_MAX: Duration = mins(15);
const JITTER_MIN: Duration = secs(1);

/// The wait after attempt number `attempt` (counted from 1), with up to 10 % on top, or a second where that is less, and no
/// more than 15 min; `None` when a schedule that does not repeat is at its end. `seed` makes the jitter: the same seed and
/// attempt give the same wait.
pub fn wait(schedule: &[Duration], repeats: bool, attempt: u32, seed: u64) -> Option<Duration> {
    let step = usize::try_from(attempt.saturating_sub(1)).unwrap_or(usize::MAX);
    let base = match schedule.get(step) {
        Some(base) => *base,
        None if repeats => *schedule.last()?,
        None => return None,
    };
    let span = (base / 10).clamp(JITTER_MIN, JITTER_MAX);
    Some(base + span.mul_f64(jitter(seed, attempt)))
}

/// 0 to 1, evenly spread (the finaliser of SplitMix64).
fn jitter(seed: u64, attempt: u32) -> f64 {
    let mut x = seed ^ (u64::from(attempt)).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    x = (x ^ (x >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    x = (x ^ (x >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    x ^= x >> 31;
    (x >> 11) as f64 / (1u64 << 53) as f64
}

/// A seed from an id's bytes.
pub fn seed(id: &[u8; 16]) -> u64 {
    id.iter().fold(0xcbf2_9ce4_8422_2325, |hash, byte| (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mail_repeats_its_last_wait_and_webhooks_end() {
        assert!(wait(MAIL, true, 1, 7).unwrap() >= mins(1));
        assert!(wait(MAIL, true, 1, 7).unwrap() <= secs(66));
        assert!(wait(MAIL, true, 500, 7).unwrap() >= hours(4));
        assert!(wait(WEBHOOK, false, 15, 7).unwrap() >= hours(12));
        assert_eq!(wait(WEBHOOK, false, 16, 7), None);
        assert_eq!(WEBHOOK.iter().sum::<Duration>(), hours(71) + mins(42) + secs(35));
    }

    #[test]
    fn jitter_is_stable_and_spread() {
        assert_eq!(wait(MAIL, true, 3, 42), wait(MAIL, true, 3, 42));
        let waits: Vec<_> = (0..1000).map(|seed| wait(MAIL, true, 1, seed).unwrap()).collect();
        let mean = waits.iter().sum::<Duration>() / 1000;
        assert!(mean > secs(62) && mean < secs(64), "{mean:?}");
        let within = |attempt, base: Duration, span: Duration| {
            let waits = (0..1000).map(|seed| wait(WEBHOOK, false, attempt, seed).unwrap() - base);
            let (least, most) =
                waits.fold((span, Duration::ZERO), |(least, most), wait| (least.min(wait), most.max(wait)));
            assert!(least < span / 20 && most > span - span / 20 && most <= span, "{attempt}: {least:?} {most:?}");
        };
        within(1, secs(5), secs(1));
        within(4, mins(10), mins(1));
        within(15, hours(12), mins(15));
        let longest: Duration = (1..16).map(|attempt| wait(WEBHOOK, false, attempt, 7).unwrap()).sum();
        assert!(longest < hours(75), "about 72 h: {longest:?}");
    }
}
