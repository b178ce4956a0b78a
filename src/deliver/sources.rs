//! The addresses that mail goes out from, in pools, and how new ones grow warm.
//!
//! A receiver that has never heard from an address does not trust much mail from it. A source that is warming may send so
//! many mails on its first day, on its second, and so on; an hour's share of them at a time, so that a day's mail does not
//! leave at midnight. Within a pool mail goes by what is warming as far as that may send, and by what is warm beyond.
//! Where nothing may, mail is put off until the next hour. What was sent is kept by day in the store, so that a restart
//! begins no day anew.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use super::settings::{Settings, source};
use crate::model::time::Timestamp;
use crate::store::sources::SourceUse;

const HOUR: Duration = Duration::from_secs(3600);
const HOURS: u64 = 24;
const DAY_MILLIS: i64 = 86_400_000;
/// What is put off comes due within so long after the hour.
const SPREAD: Duration = Duration::from_secs(300);

/// Addresses of ours under one name.
#[derive(Debug, PartialEq, Eq)]
pub struct Source {
    /// What it is known by: its first address.
    pub name: String,
    addresses: Vec<IpAddr>,
    /// What we call ourselves from there; `None`: as otherwise.
    pub hello: Option<String>,
    pool: String,
    warming_since: Option<Timestamp>,
}

impl Source {
    fn new(settings: &source::Source) -> Self {
        Self {
            name: settings.addresses.first().map(IpAddr::to_string).unwrap_or_default(),
            addresses: settings.addresses.clone(),
            hello: Some(settings.ehlo_name.clone()).filter(|name| !name.is_empty()),
            pool: settings.pool().to_owned(),
            warming_since: settings.warming_since(),
        }
    }

    /// The address from which `to` can be reached.
    pub fn toward(&self, to: IpAddr) -> Option<IpAddr> {
        self.addresses.iter().copied().find(|own| own.is_ipv4() == to.is_ipv4())
    }
}

/// From where a mail goes out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Choice {
    /// From wherever the system likes.
    Any,
    /// From here. It counts as sent, until it is given back.
    From(Arc<Source>),
    /// From nowhere before this time.
    NotBefore(Timestamp),
}

/// All sources.
#[derive(Debug, Default)]
pub struct Sources {
    all: Vec<Arc<Source>>,
    warm_up: Vec<u32>,
    used: Mutex<HashMap<String, Today>>,
}

#[derive(Clone, Copy, Debug, Default)]
struct Today {
    day: i64,
    mails: i64,
    /// Of these, those that the store does not know of yet.
    unsaved: i64,
}

impl Sources {
    /// Those that the settings have.
    pub fn new(settings: &Settings) -> Self {
        let all = settings.sources.iter().map(|source| Arc::new(Source::new(source))).collect();
        Self { all, warm_up: settings.warm_up.clone(), used: Mutex::default() }
    }

    /// Whether what is sent must be counted.
    pub fn are_warming(&self) -> bool {
        self.all.iter().any(|source| source.warming_since.is_some())
    }

    /// From where a mail of this pool goes out; `draw` decides between equals. One that was asked for is not put off.
    pub fn choose(&self, pool: &str, now: Timestamp, draw: u64, is_asked: bool) -> Choice {
        let of_pool: Vec<_> = self.all.iter().filter(|source| source.pool == pool).collect();
        if of_pool.is_empty() {
            return Choice::Any;
        }
        let mut used = self.used();
        let may = |source: &&&Arc<Source>| self.left(&used, source, now).is_none_or(|left| left > 0);
        let (warming, warm): (Vec<_>, Vec<_>) =
            of_pool.iter().filter(may).partition(|source| self.allowed(source, now).is_some());
        let free = if warming.is_empty() { warm } else { warming };
        let at = |count: usize| usize::try_from(draw % count.max(1) as u64).unwrap_or_default();
        let chosen = match free.get(at(free.len())).copied() {
            Some(chosen) => chosen,
            None if is_asked => &of_pool[at(of_pool.len())],
            None => return Choice::NotBefore(next_hour(now) + SPREAD.mul_f64((draw % 1_000) as f64 / 1_000.0)),
        };
        let today = used.entry(chosen.name.clone()).or_default();
        today.turn(day(now));
        today.count(1);
        Choice::From(Arc::clone(chosen))
    }

    /// A mail that was to go out from this source found nobody.
    pub fn give_back(&self, source: &Source, now: Timestamp) {
        if let Some(today) = self.used().get_mut(&source.name).filter(|today| today.day == day(now)) {
            today.count(-1);
        }
    }

    /// What the store does not know of yet.
    pub fn unsaved(&self) -> Vec<SourceUse> {
        let of = |(source, today): (&String, &mut Today)| {
            let mails = std::mem::take(&mut today.unsaved);
            (mails != 0).then(|| SourceUse { source: source.clone(), day: today.day, mails })
        };
        self.used().iter_mut().filter_map(of).collect()
    }

    /// Takes over what the store knows, other nodes' mail included.
    pub fn saved(&self, uses: Vec<SourceUse>) {
        let mut used = self.used();
        for SourceUse { source, day, mails } in uses {
            let today = used.entry(source).or_default();
            if day >= today.day {
                let unsaved = if day == today.day { today.unsaved } else { 0 };
                *today = Today { day, mails: mails + unsaved, unsaved };
            }
        }
    }

    /// Mails that a source may still send in this hour; `None`: as many as there are.
    fn left(&self, used: &HashMap<String, Today>, source: &Source, now: Timestamp) -> Option<i64> {
        let allowed = self.allowed(source, now)?;
        let hours = u64::try_from(now.as_millis().rem_euclid(DAY_MILLIS)).unwrap_or_default() / 3_600_000 + 1;
        let share = (u64::from(allowed) * hours).div_ceil(HOURS);
        let sent = used.get(&source.name).filter(|today| today.day == day(now)).map_or(0, |today| today.mails);
        Some(i64::try_from(share).unwrap_or(i64::MAX) - sent)
    }

    /// Mails that a source may send on this day; `None`: it is warm.
    fn allowed(&self, source: &Source, now: Timestamp) -> Option<u32> {
        let days = day(now) - day(source.warming_since?);
        // Before its day it sends as on that day.
        self.warm_up.get(usize::try_from(days.max(0)).ok()?).copied()
    }

    fn used(&self) -> MutexGuard<'_, HashMap<String, Today>> {
        self.used.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Today {
    fn turn(&mut self, day: i64) {
        if self.day != day {
            *self = Self { day, ..Self::default() };
        }
    }

    fn count(&mut self, mails: i64) {
        self.mails += mails;
        self.unsaved += mails;
    }
}

/// Days since 1970.
pub fn day(at: Timestamp) -> i64 {
    at.as_millis().div_euclid(DAY_MILLIS)
}

fn next_hour(now: Timestamp) -> Timestamp {
    let hour = i64::try_from(HOUR.as_millis()).unwrap_or(i64::MAX);
    Timestamp::from_millis(now.as_millis() - now.as_millis().rem_euclid(hour)) + HOUR
}

#[cfg(test)]
mod tests {
    use super::*;

    /// 2027-01-15, at 08:00.
    const NOW: Timestamp = Timestamp::from_millis(1_800_000_000_000);
    const DAY: Duration = Duration::from_secs(86_400);

    fn sources(warm_up: &[u32], all: &[(&str, &str, &str)]) -> Sources {
        let source = |(address, pool, since): &(&str, &str, &str)| source::Source {
            addresses: vec![address.parse().unwrap()],
            pool: (*pool).to_owned(),
            warming_since: (*since).to_owned(),
            ..source::Source::default()
        };
        let all = all.iter().map(source).collect();
        Sources::new(&Settings { sources: all, warm_up: warm_up.to_vec(), ..Settings::default() })
    }

    /// How many mails go at once from which source.
    fn sent(sources: &Sources, now: Timestamp, mails: u64) -> HashMap<String, u64> {
        let mut sent = HashMap::new();
        for draw in 0..mails {
            let name = match sources.choose("default", now, draw, false) {
                Choice::Any => "any".to_owned(),
                Choice::From(source) => source.name.clone(),
                Choice::NotBefore(until) => {
                    assert!(until >= next_hour(now) && until < next_hour(now) + SPREAD);
                    "nowhere".to_owned()
                }
            };
            *sent.entry(name).or_default() += 1;
        }
        sent
    }

    fn check(found: HashMap<String, u64>, expected: &[(&str, u64)]) {
        assert_eq!(found, expected.iter().map(|(name, mails)| ((*name).to_owned(), *mails)).collect());
    }

    #[test]
    fn a_pool_without_sources_leaves_it_to_the_system() {
        check(sent(&sources(&[], &[]), NOW, 2), &[("any", 2)]);
        check(sent(&sources(&[], &[("192.0.2.1", "bulk", "")]), NOW, 2), &[("any", 2)]);
    }

    #[test]
    fn what_is_warm_shares_the_mail() {
        let two = sources(&[], &[("192.0.2.1", "", ""), ("192.0.2.2", "default", ""), ("192.0.2.3", "bulk", "")]);
        check(sent(&two, NOW, 10), &[("192.0.2.1", 5), ("192.0.2.2", 5)]);
    }

    #[test]
    fn what_is_warming_sends_an_hour_s_share_and_the_rest_waits() {
        let one = || sources(&[24, 48], &[("192.0.2.1", "", "2027-01-15")]);
        let sources = one();
        check(sent(&sources, NOW, 20), &[("192.0.2.1", 9), ("nowhere", 11)]);
        check(sent(&sources, NOW + HOUR, 20), &[("192.0.2.1", 1), ("nowhere", 19)]);
        check(sent(&one(), NOW + DAY, 20), &[("192.0.2.1", 18), ("nowhere", 2)]);
        check(sent(&one(), NOW + DAY * 2, 20), &[("192.0.2.1", 20)]);
        check(sent(&one(), NOW - DAY, 20), &[("192.0.2.1", 9), ("nowhere", 11)]);
        assert!(matches!(sources.choose("default", NOW, 1, true), Choice::From(_)), "a person asked for it");
    }

    #[test]
    fn what_is_warm_takes_what_is_left() {
        let both = sources(&[24], &[("192.0.2.1", "", "2027-01-15"), ("192.0.2.2", "", "")]);
        check(sent(&both, NOW, 20), &[("192.0.2.1", 9), ("192.0.2.2", 11)]);
    }

    #[test]
    fn what_was_sent_is_kept_by_day() {
        let sources = sources(&[24], &[("192.0.2.1", "", "2027-01-15")]);
        let used = |mails| vec![SourceUse { source: "192.0.2.1".into(), day: day(NOW), mails }];
        let Choice::From(source) = sources.choose("default", NOW, 0, false) else { panic!() };
        sent(&sources, NOW, 2);
        sources.give_back(&source, NOW);
        assert_eq!((sources.unsaved(), sources.unsaved()), (used(2), vec![]));
        sources.saved(used(8));
        check(sent(&sources, NOW, 5), &[("192.0.2.1", 1), ("nowhere", 4)]);
        assert_eq!(sources.unsaved(), used(1));
        assert!(sources.are_warming());
    }

    #[test]
    fn each_family_has_its_address() {
        let settings = source::Source {
            addresses: vec!["192.0.2.1".parse().unwrap(), "2001:db8::1".parse().unwrap()],
            ..source::Source::default()
        };
        let source = Source::new(&settings);
        assert_eq!(source.toward("198.51.100.1".parse().unwrap()), Some(settings.addresses[0]));
        assert_eq!(source.toward("2001:db8::9".parse().unwrap()), Some(settings.addresses[1]));
        let only = Source::new(&source::Source { addresses: vec![settings.addresses[0]], ..settings });
        assert_eq!(only.toward("2001:db8::9".parse().unwrap()), None);
    }
}
