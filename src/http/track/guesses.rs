//! Who brings tokens that nobody sealed: after so many in a minute the next is not worth a page.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv6Addr};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use crate::model::time::Timestamp;

/// Bad tokens of one address in a minute that get a friendly answer.
const GUESSES_MAX: u32 = 20;
/// Addresses remembered; with more, all are forgotten.
const ADDRESSES_MAX: usize = 50_000;
const MINUTE: Duration = Duration::from_secs(60);

/// Bad tokens of the last minute, by address.
#[derive(Debug, Default)]
pub(in crate::http) struct Guesses(Mutex<HashMap<IpAddr, (Timestamp, u32)>>);

impl Guesses {
    /// Counts a bad token; whether its address has brought more than enough.
    pub(super) fn is_enough(&self, ip: IpAddr, now: Timestamp) -> bool {
        let mut guesses = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if guesses.len() >= ADDRESSES_MAX {
            guesses.retain(|_, (since, _)| now.since(*since) < MINUTE);
            if guesses.len() >= ADDRESSES_MAX {
                guesses.clear();
            }
        }
        let (since, count) = guesses.entry(host(ip)).or_insert((now, 0));
        if now.since(*since) >= MINUTE {
            (*since, *count) = (now, 0);
        }
        *count += 1;
        *count > GUESSES_MAX
    }
}

/// Of an IPv6 address the /64: that many every customer has.
fn host(ip: IpAddr) -> IpAddr {
    match ip {
        IpAddr::V4(_) => ip,
        IpAddr::V6(v6) => Ipv6Addr::from_bits(v6.to_bits() >> 64 << 64).into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn so_many_in_a_minute() {
        let guesses = Guesses::default();
        let at = |secs| Timestamp::from_millis(1_800_000_000_000) + Duration::from_secs(secs);
        let (one, neighbour, other): (IpAddr, IpAddr, IpAddr) =
            ("2620::1".parse().unwrap(), "2620::2".parse().unwrap(), "2620:0:0:1::1".parse().unwrap());
        assert!((0..20).all(|second| !guesses.is_enough(one, at(second))));
        assert!(guesses.is_enough(neighbour, at(59)) && !guesses.is_enough(other, at(59)));
        assert!(!guesses.is_enough(one, at(60)));
        for number in 0..=ADDRESSES_MAX as u32 {
            guesses.is_enough(IpAddr::V4(number.into()), at(61));
        }
        assert!(guesses.0.lock().unwrap().len() <= ADDRESSES_MAX);
    }
}
