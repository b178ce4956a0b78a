//! Who guesses passwords and codes of people, and how long they wait before the next guess.
//!
//! Pure: the time is handed in. A guess is counted before it is looked at and given back when it was right. Some are free;
//! each further one doubles the wait before the next, which is refused unseen until then. Nobody is locked out, only kept
//! waiting: a stranger who guesses at an address keeps its owner waiting a minute at most, and their own network too. A
//! code is asked for after the right password only, so waiting for it is no stranger's to cause: up to a quarter of an
//! hour, which leaves a guesser of six digits a hundred guesses a day. All is bounded: past [`TARGETS_MAX`] the longest
//! unheard of are forgotten. Each node counts for itself.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use crate::model::id::UserId;
use crate::model::time::Timestamp;

/// Targets that are remembered, of those that strangers can name, and of the others.
const TARGETS_MAX: usize = 20_000;
/// The wait after the first guess that costs; it doubles with each further one.
const FIRST_WAIT: Duration = Duration::from_secs(1);
const MINUTE: Duration = Duration::from_secs(60);
const QUARTER: Duration = Duration::from_secs(15 * 60);
const DAY: Duration = Duration::from_secs(24 * 3600);

/// What is guessed at, or where guesses come from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Target {
    /// The password of an address, by its SHA-256, whether there is such a person or not.
    Password([u8; 32]),
    /// The codes of a person.
    Code(UserId),
    /// The code that a session waits for, by its cookie's SHA-256. It never waits: its end is the console's affair.
    Session([u8; 32]),
    /// An IPv4 address or IPv6 /64: what one host has.
    Host(IpAddr),
    /// The IPv4 /24 or IPv6 /48 around it.
    Network(IpAddr),
}

/// How long a target waits.
struct Patience {
    /// Wrong guesses that cost nothing.
    free: u32,
    wait_max: Duration,
    /// Without a guess for so long, earlier ones are forgotten.
    memory: Duration,
}

impl Target {
    /// Where guesses from `address` come from.
    pub(super) fn origins(address: IpAddr) -> [Target; 2] {
        let cut_v6 = |ip: Ipv6Addr, bits: u32| IpAddr::V6(Ipv6Addr::from_bits(ip.to_bits() & !(u128::MAX >> bits)));
        match address.to_canonical() {
            IpAddr::V4(ip) => {
                let around = Ipv4Addr::from_bits(ip.to_bits() & !0xff);
                [Target::Host(ip.into()), Target::Network(around.into())]
            }
            IpAddr::V6(ip) => [Target::Host(cut_v6(ip, 64)), Target::Network(cut_v6(ip, 48))],
        }
    }

    fn patience(self) -> Patience {
        let of = |free, wait_max, memory| Patience { free, wait_max, memory };
        match self {
            Target::Password(_) => of(5, MINUTE, QUARTER),
            Target::Code(_) => of(5, QUARTER, DAY),
            Target::Session(_) => of(u32::MAX, Duration::ZERO, QUARTER),
            Target::Host(_) => of(10, MINUTE, QUARTER),
            Target::Network(_) => of(80, MINUTE, QUARTER),
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Wrong {
    count: u32,
    last: Timestamp,
}

/// A guess that has been counted.
#[derive(Debug)]
pub(super) struct Guess(Vec<Counted>);

#[derive(Debug)]
struct Counted {
    target: Target,
    before: Option<Wrong>,
    since: Wrong,
}

/// Wrong guesses, those heard of lately and those before; the older half is dropped when the newer is full.
#[derive(Debug, Default)]
struct Half {
    newer: HashMap<Target, Wrong>,
    older: HashMap<Target, Wrong>,
}

impl Half {
    fn recent(&self, target: Target, now: Timestamp) -> Option<Wrong> {
        let wrong = self.newer.get(&target).or_else(|| self.older.get(&target))?;
        (now.since(wrong.last) < target.patience().memory).then_some(*wrong)
    }

    /// How long it is until the next guess.
    fn wait(&self, target: Target, now: Timestamp) -> Duration {
        let (Patience { free, wait_max, .. }, recent) = (target.patience(), self.recent(target, now));
        let Some(Wrong { count, last }) = recent else { return Duration::ZERO };
        let Some(doublings) = count.checked_sub(free) else { return Duration::ZERO };
        let wait = FIRST_WAIT.saturating_mul(2_u32.saturating_pow(doublings)).min(wait_max);
        wait.saturating_sub(now.since(last))
    }

    fn put(&mut self, target: Target, wrong: Option<Wrong>) {
        self.older.remove(&target);
        let Some(wrong) = wrong else {
            self.newer.remove(&target);
            return;
        };
        if self.newer.len() >= TARGETS_MAX / 2 && !self.newer.contains_key(&target) {
            self.older = std::mem::take(&mut self.newer);
        }
        self.newer.insert(target, wrong);
    }
}

#[derive(Debug, Default)]
struct Memory {
    /// What strangers can fill: addresses and networks.
    open: Half,
    /// What takes a right password.
    inner: Half,
}

impl Memory {
    fn of(&mut self, target: Target) -> &mut Half {
        match target {
            Target::Code(_) | Target::Session(_) => &mut self.inner,
            Target::Password(_) | Target::Host(_) | Target::Network(_) => &mut self.open,
        }
    }
}

/// What was guessed wrong lately.
#[derive(Debug, Default)]
pub(super) struct Guesses(Mutex<Memory>);

impl Guesses {
    fn memory(&self) -> MutexGuard<'_, Memory> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Counts a guess as wrong, until it is given back.
    ///
    /// # Errors
    /// How long it is until the next guess; this one is not to be looked at, and was not counted.
    pub(super) fn begin(&self, targets: Vec<Target>, now: Timestamp) -> Result<Guess, Duration> {
        let mut memory = self.memory();
        let wait = targets.iter().map(|target| memory.of(*target).wait(*target, now)).max().unwrap_or_default();
        if !wait.is_zero() {
            return Err(wait);
        }
        let count = |target| {
            let half = memory.of(target);
            let before = half.recent(target, now);
            let since = Wrong { count: before.map_or(0, |wrong| wrong.count).saturating_add(1), last: now };
            half.put(target, Some(since));
            Counted { target, before, since }
        };
        Ok(Guess(targets.into_iter().map(count).collect()))
    }

    /// The guess was right: it is as if it had not been made.
    pub(super) fn give_back(&self, guess: Guess) {
        let mut memory = self.memory();
        for Counted { target, before, since } in guess.0 {
            let half = memory.of(target);
            match half.recent(target, since.last) {
                Some(now) if now == since => half.put(target, before),
                Some(now) => half.put(target, Some(Wrong { count: now.count.saturating_sub(1), ..now })),
                None => {}
            }
        }
    }

    /// Wrong guesses at a target lately.
    pub(super) fn count(&self, target: Target, now: Timestamp) -> u32 {
        self.memory().of(target).recent(target, now).map_or(0, |wrong| wrong.count)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const CODE: Target = Target::Code(UserId::from_uuid(uuid::Uuid::nil()));

    fn at(secs: i64) -> Timestamp {
        Timestamp::from_millis(secs * 1000)
    }

    fn from(address: &str) -> Vec<Target> {
        Target::origins(address.parse().unwrap()).into()
    }

    /// How long after its predecessor each of so many wrong guesses may be made.
    fn waits(target: Target, many: usize) -> Vec<u64> {
        let (guesses, mut now) = (Guesses::default(), at(0));
        let mut wait = || match guesses.begin(vec![target], now) {
            Ok(_) => 0,
            Err(wait) => {
                now = now + wait;
                guesses.begin(vec![target], now).unwrap();
                wait.as_secs()
            }
        };
        (0..many).map(|_| wait()).collect()
    }

    #[test]
    fn each_guess_past_the_free_ones_doubles_the_wait() {
        assert_eq!(waits(Target::Password([1; 32]), 14), [0, 0, 0, 0, 0, 1, 2, 4, 8, 16, 32, 60, 60, 60]);
        assert_eq!(waits(CODE, 18)[5..], [1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 900, 900, 900]);
        assert_eq!(waits(Target::Session([1; 32]), 100), [0; 100]);
        assert_eq!(waits(from("192.0.2.1")[0], 12)[9..], [0, 1, 2]);
        assert_eq!(waits(from("192.0.2.1")[1], 82)[79..], [0, 1, 2]);
    }

    #[test]
    fn a_guess_counts_before_it_is_looked_at_and_is_given_back() {
        let guesses = Guesses::default();
        // All at one time, as many as like: five are looked at.
        let begun: Vec<_> = (0..100).filter_map(|_| guesses.begin(vec![CODE], at(0)).ok()).collect();
        assert_eq!((begun.len(), guesses.count(CODE, at(0))), (5, 5));
        begun.into_iter().for_each(|guess| guesses.give_back(guess));
        assert_eq!(guesses.count(CODE, at(0)), 0);
        // Whoever is right keeps nobody waiting, and forgives nobody.
        for second in 0..5 {
            guesses.begin(vec![CODE], at(second)).unwrap();
        }
        let right = guesses.begin(vec![CODE], at(100)).unwrap();
        assert!(guesses.begin(vec![CODE], at(100)).is_err());
        guesses.give_back(right);
        assert!(guesses.begin(vec![CODE], at(100)).is_ok());
        assert_eq!(guesses.begin(vec![CODE], at(100)).err(), Some(Duration::from_secs(2)));
    }

    #[test]
    fn nobody_guesses_on_from_next_door() {
        for (first, same_host, next_door, elsewhere) in [
            ("2001:db8::1", "2001:db8::2", "2001:db8:0:1::1", "2001:db8:1::1"),
            ("192.0.2.1", "::ffff:192.0.2.1", "192.0.2.2", "192.0.3.1"),
        ] {
            let guesses = Guesses::default();
            let begin = |address: &str, secs| guesses.begin(from(address), at(secs)).is_ok();
            assert!((0..10).all(|_| begin(first, 0)));
            assert!(!begin(same_host, 0) && begin(next_door, 0), "{first}");
            // A network has the patience of eight hosts.
            for hour in 1..=69 {
                assert!(begin(first, hour * 899), "{hour}");
            }
            let last = 69 * 899;
            assert!(!begin(next_door, last) && begin(elsewhere, last), "{first}");
            assert!(begin(next_door, last + 60), "{first}: a minute at most");
        }
    }

    #[test]
    fn memory_is_bounded_and_strangers_cannot_make_it_forget_codes() {
        let guesses = Guesses::default();
        (0..5).for_each(|_| _ = guesses.begin(vec![CODE], at(0)));
        for stranger in 0..50_000_u32 {
            let [host, _] = Target::origins(Ipv4Addr::from_bits(stranger).into());
            guesses.begin(vec![host], at(0)).unwrap();
        }
        let memory = guesses.memory();
        assert!(memory.open.newer.len() + memory.open.older.len() <= TARGETS_MAX);
        assert_eq!(memory.inner.wait(CODE, at(0)), FIRST_WAIT);
    }
}
