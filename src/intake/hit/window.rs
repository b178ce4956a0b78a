//! What is remembered of the hits of the last minutes, whole, whatever is kept of them for good.
//!
//! Two things show only across hits: a burst over one copy of a mail, whose first hits nothing gave away, and one
//! visitor at the mail of many readers. Both are remembered here, bounded in number and age; what is pushed out early
//! makes a judgement less sharp, never wrong. Nothing of it outlives the program.

use std::collections::{HashMap, VecDeque};
use std::hash::{BuildHasher, RandomState};
use std::net::IpAddr;
use std::time::Duration;

use crate::enrich::machine::{FanOut, REJUDGE};
use crate::model::hit::{EarlierHit, Verdict};
use crate::model::id::{DeliveryId, EventId};
use crate::model::time::Timestamp;
use crate::store::hits::HitKey;

/// Hits remembered.
const HITS_MAX: usize = 20_000;
/// Hits remembered of one copy of a mail; as many as are looked at.
pub(super) const COPY_MAX: usize = 256;
/// Visitors remembered.
const VISITORS_MAX: usize = 50_000;
/// Readers remembered of one visitor: more than any rule asks for.
const READERS_MAX: usize = 32;

const MINUTE: Duration = Duration::from_secs(60);
const HOUR: Duration = Duration::from_secs(3_600);

/// The hits and visitors of the last minutes.
#[derive(Debug, Default)]
pub(super) struct Window {
    copies: HashMap<DeliveryId, Vec<Remembered>>,
    /// The hits that were put into `copies`, oldest first.
    order: VecDeque<(Timestamp, DeliveryId, EventId)>,
    visitors: HashMap<u64, Vec<Visit>>,
    hashed: RandomState,
}

/// A hit with all that was known of it.
#[derive(Clone, Debug)]
pub(super) struct Remembered {
    pub(super) id: EventId,
    pub(super) hit: EarlierHit,
}

/// One visitor's last hit at one reader's mail.
#[derive(Clone, Copy, Debug)]
struct Visit {
    reader: u64,
    at: Timestamp,
    delivery: DeliveryId,
    hit: EventId,
}

/// A hit as a visitor makes it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Visiting<'a> {
    pub(super) ip: Option<IpAddr>,
    pub(super) user_agent: &'a str,
    /// The recipient's address.
    pub(super) reader: &'a str,
    pub(super) at: Timestamp,
    pub(super) delivery: DeliveryId,
    pub(super) hit: EventId,
}

impl Window {
    /// The hits remembered of a copy, newest first.
    pub(super) fn hits(&self, delivery: DeliveryId) -> impl Iterator<Item = &Remembered> {
        self.copies.get(&delivery).into_iter().flatten().rev()
    }

    /// Whether this hit is remembered.
    pub(super) fn knows(&self, hit: &HitKey) -> bool {
        let is_it = |known: &EarlierHit| known.at == hit.at && known.kind == hit.kind && known.link == hit.link;
        self.hits(hit.delivery).any(|known| is_it(&known.hit))
    }

    /// Remembers a hit, in place of what was remembered of it before.
    pub(super) fn remember(&mut self, delivery: DeliveryId, remembered: Remembered) {
        let at = remembered.hit.at;
        let copy = self.copies.entry(delivery).or_default();
        if let Some(before) = copy.iter_mut().find(|before| before.id == remembered.id) {
            before.hit = remembered.hit;
            return;
        }
        if copy.len() >= COPY_MAX {
            copy.remove(0);
        }
        self.order.push_back((at, delivery, remembered.id));
        copy.push(remembered);
        while self.order.len() > HITS_MAX || self.order.front().is_some_and(|(old, ..)| at.since(*old) > REJUDGE) {
            let Some((_, delivery, id)) = self.order.pop_front() else { break };
            if let Some(copy) = self.copies.get_mut(&delivery) {
                copy.retain(|known| known.id != id);
                if copy.is_empty() {
                    self.copies.remove(&delivery);
                }
            }
        }
    }

    /// Puts a new verdict on a hit, where it is remembered.
    pub(super) fn see_as(&mut self, hit: HitKey, verdict: &Verdict) {
        let copy = self.copies.get_mut(&hit.delivery).into_iter().flatten();
        for known in copy.filter(|known| (known.hit.kind, known.hit.link, known.hit.at) == (hit.kind, hit.link, hit.at))
        {
            known.hit.visitor.machine = verdict.clone();
        }
    }

    /// Counts a visit: at how many readers' mail the same address and user agent were lately. The same hit counts
    /// once, however often it is tried.
    pub(super) fn visit(&mut self, visiting: Visiting<'_>) -> FanOut {
        let Some(visitor) = self.visitor(&visiting) else { return FanOut::default() };
        let Visiting { reader, at, delivery, hit, .. } = visiting;
        let reader = self.hashed.hash_one(reader);
        if self.visitors.len() >= VISITORS_MAX && !self.visitors.contains_key(&visitor) {
            self.visitors.retain(|_, visits| visits.iter().any(|visit| at.since(visit.at) <= MINUTE));
            if self.visitors.len() >= VISITORS_MAX {
                self.visitors.clear();
            }
        }
        let visits = self.visitors.entry(visitor).or_default();
        visits.retain(|visit| visit.reader != reader && at.since(visit.at) <= HOUR);
        if visits.len() >= READERS_MAX {
            visits.remove(0);
        }
        visits.push(Visit { reader, at, delivery, hit });
        let since = |span| visits.iter().filter(|visit| at.since(visit.at) <= span).count() as u32;
        FanOut { minute: since(MINUTE), hour: since(HOUR) }
    }

    /// The hits by which the same visitor came to other readers' mail lately.
    pub(super) fn elsewhere(&self, visiting: Visiting<'_>) -> Vec<(DeliveryId, EventId)> {
        let visits = self.visitor(&visiting).and_then(|visitor| self.visitors.get(&visitor));
        let others = visits.into_iter().flatten().filter(|visit| visit.hit != visiting.hit);
        others.map(|visit| (visit.delivery, visit.hit)).collect()
    }

    fn visitor(&self, visiting: &Visiting<'_>) -> Option<u64> {
        Some(self.hashed.hash_one((visiting.ip?, visiting.user_agent)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::hit::{HitKind, Visitor};
    use crate::model::id::MessageId;

    fn at(secs: u64) -> Timestamp {
        Timestamp::from_millis(1_800_000_000_000) + Duration::from_secs(secs)
    }

    fn copy(number: u16) -> DeliveryId {
        DeliveryId { message: MessageId::from_bytes([7; 16]), recipient: number }
    }

    fn event(number: u32) -> EventId {
        let mut bytes = [0; 16];
        bytes[..4].copy_from_slice(&number.to_be_bytes());
        EventId::from_bytes(bytes)
    }

    fn visiting(reader: &str, secs: u64) -> Visiting<'_> {
        let ip = Some([192, 0, 2, 7].into());
        Visiting {
            ip,
            user_agent: "Scanner",
            reader,
            at: at(secs),
            delivery: copy(secs as u16),
            hit: event(secs as u32),
        }
    }

    #[test]
    fn readers_of_one_visitor_are_counted_once_each() {
        let mut window = Window::default();
        let fan_out = |minute, hour| FanOut { minute, hour };
        assert_eq!(window.visit(visiting("a", 0)), fan_out(1, 1));
        assert_eq!(window.visit(visiting("a", 0)), fan_out(1, 1));
        assert_eq!(window.visit(visiting("b", 30)), fan_out(2, 2));
        assert_eq!(window.visit(visiting("c", 80)), fan_out(2, 3));
        assert_eq!(window.elsewhere(visiting("c", 80)), [(copy(0), event(0)), (copy(30), event(30))]);
        let other = Visiting { user_agent: "Reader", ..visiting("d", 81) };
        assert_eq!(window.visit(other), fan_out(1, 1));
        assert_eq!(window.visit(Visiting { ip: None, ..visiting("d", 81) }), FanOut::default());
        assert_eq!(window.visit(visiting("d", 4_000)), fan_out(1, 1));
        for number in 0..100 {
            window.visit(visiting(&number.to_string(), 4_001));
        }
        assert_eq!(window.visit(visiting("e", 4_002)), fan_out(32, 32));
    }

    #[test]
    fn hits_go_by_age_and_number() {
        let mut window = Window::default();
        let hit = |secs| EarlierHit { kind: HitKind::Click, link: 0, at: at(secs), visitor: Visitor::default() };
        for (number, secs) in [(1, 0), (2, 5), (2, 5), (3, 604)] {
            window.remember(copy(1), Remembered { id: event(number), hit: hit(secs) });
        }
        assert_eq!(window.hits(copy(1)).map(|known| known.id).collect::<Vec<_>>(), [event(3), event(2)]);
        for number in 0..300 {
            window.remember(copy(2), Remembered { id: event(number), hit: hit(605) });
        }
        assert_eq!((window.hits(copy(1)).count(), window.hits(copy(2)).count()), (2, COPY_MAX));
        for number in 0..HITS_MAX as u32 {
            window.remember(copy((number % 1000) as u16 + 3), Remembered { id: event(number), hit: hit(606) });
        }
        assert_eq!((window.hits(copy(1)).count(), window.hits(copy(2)).count()), (0, 0));
        assert_eq!((window.order.len(), window.hits(copy(3)).count()), (HITS_MAX, 20));
    }
}
