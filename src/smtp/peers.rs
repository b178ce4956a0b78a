//! Who is connected from where, and who guesses passwords.
//!
//! Pure: the time is handed in. Counts sessions per address and in all, and makes an address wait longer for each
//! answer to a wrong password; its network too, more slowly. Nobody is locked out: a right password is answered at
//! once, so that one program with an old key does not stop its neighbours behind the same address. Everything is
//! bounded: sessions by the callers' limits, failures by [`ADDRESSES_MAX`], past which the longest unheard of are
//! forgotten.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::time::Duration;

use crate::model::time::Timestamp;

/// Addresses and networks whose failures are remembered.
pub const ADDRESSES_MAX: usize = 20_000;
/// Over which time the rate of connections is taken.
const MINUTE_MILLIS: i64 = 60_000;
/// Without a failure for so long, earlier ones are forgotten.
const MEMORY: Duration = Duration::from_secs(15 * 60);
/// Failures that cost an address nothing.
const FREE_FAILURES: u32 = 3;
/// How much more a network may fail than one address in it.
const NETWORK_SHARE: u32 = 8;
/// The wait after the first failure that costs; it doubles with each further one.
const FIRST_WAIT: Duration = Duration::from_millis(250);
/// The longest wait.
const WAIT_MAX: Duration = Duration::from_secs(8);

/// Why a connection is not taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Crowded {
    /// Too many from that address.
    FromThere,
    /// Too many from that address within a minute.
    TooOften,
    /// Too many in all.
    InAll,
}

/// How many connections may be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Room {
    /// At one time, from one address.
    pub per_address_max: u32,
    /// In one minute, from one address.
    pub per_minute_max: u32,
    /// At one time, in all.
    pub sessions_max: u32,
}

impl Room {
    /// As many as may come.
    pub const ANY: Room = Room { per_address_max: u32::MAX, per_minute_max: u32::MAX, sessions_max: u32::MAX };
}

/// An IPv4 address or IPv6 /64: what one host has.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Origin {
    Host(IpAddr),
    Network(IpAddr),
}

impl Origin {
    fn host(ip: IpAddr) -> Self {
        Origin::Host(match ip.to_canonical() {
            IpAddr::V4(ip) => IpAddr::V4(ip),
            IpAddr::V6(ip) => cut_v6(ip, 64),
        })
    }

    /// The IPv4 /24 or IPv6 /48 around it.
    fn network(ip: IpAddr) -> Self {
        Origin::Network(match ip.to_canonical() {
            IpAddr::V4(ip) => IpAddr::V4(Ipv4Addr::from_bits(ip.to_bits() & !0xff)),
            IpAddr::V6(ip) => cut_v6(ip, 48),
        })
    }
}

fn cut_v6(ip: Ipv6Addr, bits: u32) -> IpAddr {
    IpAddr::V6(Ipv6Addr::from_bits(ip.to_bits() & !(u128::MAX >> bits)))
}

/// Sessions and failures by where they come from.
#[derive(Debug, Default)]
pub struct Peers {
    sessions: HashMap<Origin, u32>,
    in_all: u32,
    /// Connections of the minute that it is, and of the one before.
    minute: i64,
    this_minute: HashMap<Origin, u32>,
    last_minute: HashMap<Origin, u32>,
    /// Failures heard of lately, and before that; the older half is dropped when the newer is full.
    newer: HashMap<Origin, Failures>,
    older: HashMap<Origin, Failures>,
}

#[derive(Clone, Copy, Debug)]
struct Failures {
    count: u32,
    last: Timestamp,
}

impl Peers {
    /// Takes a connection from `ip` into account; whoever gets `Ok` calls [`Peers::leave`] at its end.
    ///
    /// # Errors
    /// [`Crowded`] when a limit is reached; only the attempt was counted then.
    pub fn enter(&mut self, ip: IpAddr, room: Room, now: Timestamp) -> Result<(), Crowded> {
        let here = self.sessions.get(&Origin::host(ip)).copied().unwrap_or(0);
        if room.per_minute_max < u32::MAX && self.rate(ip, now) > room.per_minute_max {
            return Err(Crowded::TooOften);
        }
        if self.in_all >= room.sessions_max {
            return Err(Crowded::InAll);
        }
        if here >= room.per_address_max {
            return Err(Crowded::FromThere);
        }
        self.sessions.insert(Origin::host(ip), here + 1);
        self.in_all += 1;
        Ok(())
    }

    /// The connection that entered from `was` is one from `is`.
    ///
    /// # Errors
    /// As for [`Peers::enter`]; it is one from `was` then.
    pub fn change(&mut self, was: IpAddr, is: IpAddr, room: Room, now: Timestamp) -> Result<(), Crowded> {
        self.enter(is, Room { sessions_max: u32::MAX, ..room }, now)?;
        self.leave(was);
        Ok(())
    }

    /// Counts a connection; how many came from there in this minute, and that part of the last one that still counts.
    fn rate(&mut self, ip: IpAddr, now: Timestamp) -> u32 {
        let minute = now.as_millis().div_euclid(MINUTE_MILLIS);
        if self.minute != minute {
            let is_next = self.minute + 1 == minute;
            self.last_minute = std::mem::take(&mut self.this_minute);
            if !is_next {
                self.last_minute.clear();
            }
            self.minute = minute;
        }
        let origin = Origin::host(ip);
        if self.this_minute.len() >= ADDRESSES_MAX && !self.this_minute.contains_key(&origin) {
            return 0;
        }
        let count = self.this_minute.entry(origin).or_default();
        *count = count.saturating_add(1);
        let left = MINUTE_MILLIS - now.as_millis().rem_euclid(MINUTE_MILLIS);
        let before = i64::from(self.last_minute.get(&origin).copied().unwrap_or(0)) * left / MINUTE_MILLIS;
        count.saturating_add(u32::try_from(before).unwrap_or(u32::MAX))
    }

    /// The connection that entered from `ip` has ended.
    pub fn leave(&mut self, ip: IpAddr) {
        let origin = Origin::host(ip);
        match self.sessions.get_mut(&origin) {
            Some(count) if *count > 1 => *count -= 1,
            _ => {
                self.sessions.remove(&origin);
            }
        }
        self.in_all = self.in_all.saturating_sub(1);
    }

    /// Sessions open now.
    pub fn in_all(&self) -> u32 {
        self.in_all
    }

    /// A wrong password came from `ip`. Answers how long it has to wait to hear so.
    pub fn failed(&mut self, ip: IpAddr, now: Timestamp) -> Duration {
        let host = self.count(Origin::host(ip), now);
        let network = self.count(Origin::network(ip), now) / NETWORK_SHARE;
        match host.max(network).checked_sub(FREE_FAILURES + 1) {
            None => Duration::ZERO,
            Some(doublings) => FIRST_WAIT.saturating_mul(2_u32.saturating_pow(doublings)).min(WAIT_MAX),
        }
    }

    /// Counts a failure; answers how many there were lately.
    fn count(&mut self, origin: Origin, now: Timestamp) -> u32 {
        let before = self.recent(origin, now).map_or(0, |failures| failures.count);
        self.older.remove(&origin);
        if self.newer.len() >= ADDRESSES_MAX / 2 && !self.newer.contains_key(&origin) {
            self.older = std::mem::take(&mut self.newer);
        }
        let count = before.saturating_add(1);
        self.newer.insert(origin, Failures { count, last: now });
        count
    }

    fn recent(&self, origin: Origin, now: Timestamp) -> Option<Failures> {
        let failures = self.newer.get(&origin).or_else(|| self.older.get(&origin))?;
        (now.since(failures.last) < MEMORY).then_some(*failures)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ip(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    fn at(secs: i64) -> Timestamp {
        Timestamp::from_millis(secs * 1000)
    }

    #[test]
    fn sessions_are_counted_by_address_and_in_all() {
        let mut peers = Peers::default();
        let enter = |peers: &mut Peers, from, per_address_max, sessions_max| {
            peers.enter(ip(from), Room { per_address_max, sessions_max, ..Room::ANY }, at(0))
        };
        assert_eq!(enter(&mut peers, "192.0.2.1", 2, 3), Ok(()));
        assert_eq!(enter(&mut peers, "::ffff:192.0.2.1", 2, 3), Ok(()));
        assert_eq!(enter(&mut peers, "192.0.2.1", 2, 3), Err(Crowded::FromThere));
        assert_eq!(enter(&mut peers, "2001:db8::1", 1, 3), Ok(()));
        assert_eq!(enter(&mut peers, "192.0.2.2", 2, 3), Err(Crowded::InAll));
        assert_eq!(enter(&mut peers, "2001:db8::2", 1, 9), Err(Crowded::FromThere), "one /64 is one host");
        peers.leave(ip("2001:db8::1"));
        assert_eq!(enter(&mut peers, "2001:db8::2", 1, 9), Ok(()));
        peers.leave(ip("192.0.2.1"));
        peers.leave(ip("192.0.2.1"));
        peers.leave(ip("2001:db8::2"));
        assert_eq!((peers.in_all(), peers.sessions.len()), (0, 0));
    }

    #[test]
    fn a_connection_can_turn_out_to_be_from_elsewhere() {
        let mut peers = Peers::default();
        let (proxy, client) = (ip("10.0.0.1"), ip("192.0.2.1"));
        let one = Room { per_address_max: 1, ..Room::ANY };
        peers.enter(proxy, Room::ANY, at(0)).unwrap();
        peers.enter(proxy, Room::ANY, at(0)).unwrap();
        assert_eq!(peers.change(proxy, client, one, at(0)), Ok(()));
        assert_eq!(peers.change(proxy, client, one, at(0)), Err(Crowded::FromThere));
        assert_eq!(
            (peers.in_all(), peers.sessions[&Origin::host(client)], peers.sessions[&Origin::host(proxy)]),
            (2, 1, 1)
        );
    }

    #[test]
    fn connections_come_at_a_rate() {
        let mut peers = Peers::default();
        let mut come = |from, secs| {
            let entered = peers.enter(ip(from), Room { per_minute_max: 4, ..Room::ANY }, at(secs));
            entered.inspect(|()| peers.leave(ip(from)))
        };
        for _ in 0..4 {
            assert_eq!(come("192.0.2.1", 0), Ok(()));
        }
        assert_eq!(come("192.0.2.1", 59), Err(Crowded::TooOften));
        assert_eq!(come("192.0.2.2", 59), Ok(()), "nobody else waits");
        assert_eq!(come("192.0.2.1", 61), Err(Crowded::TooOften));
        assert_eq!(come("192.0.2.1", 115), Ok(()));
        assert_eq!(come("192.0.2.1", 300), Ok(()));
    }

    #[test]
    fn each_failure_past_the_free_ones_doubles_the_wait() {
        let mut peers = Peers::default();
        let guesser = ip("192.0.2.1");
        let waits: Vec<u128> = (0..7).map(|_| peers.failed(guesser, at(0)).as_millis()).collect();
        assert_eq!(waits, [0, 0, 0, 250, 500, 1_000, 2_000]);
        (0..100).for_each(|_| _ = peers.failed(guesser, at(0)));
        assert_eq!(peers.failed(guesser, at(800)), WAIT_MAX);
        assert_eq!(peers.failed(ip("198.51.100.1"), at(800)), Duration::ZERO, "nobody else waits");
        assert_eq!(peers.failed(guesser, at(800 + 15 * 60)), Duration::ZERO);
    }

    #[test]
    fn a_network_waits_later_than_its_addresses() {
        let mut peers = Peers::default();
        for host in 0..31 {
            assert_eq!(peers.failed(ip(&format!("192.0.2.{host}")), at(0)), Duration::ZERO);
        }
        assert_eq!(peers.failed(ip("192.0.2.200"), at(0)), FIRST_WAIT);
        assert_eq!(peers.failed(ip("192.0.3.1"), at(0)), Duration::ZERO);
    }

    #[test]
    fn memory_is_bounded_and_the_stubborn_are_remembered() {
        let mut peers = Peers::default();
        let stubborn = ip("2001:db8::1");
        for host in 0..40_000_u32 {
            peers.failed(IpAddr::V4(Ipv4Addr::from_bits(host << 8)), at(0));
            if host % 1_000 == 0 {
                peers.failed(stubborn, at(0));
            }
        }
        assert!(peers.newer.len() + peers.older.len() <= ADDRESSES_MAX + 1);
        assert_eq!(peers.failed(stubborn, at(0)), WAIT_MAX);
    }
}
