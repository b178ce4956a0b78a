//! What is remembered of the hits of the last minutes, whole, whatever is kept of them for good.
//!
//! Two things show only across hits: a burst over one copy of a mail, whose first hits nothing gave away, and one
//! visitor at the mail of many readers. Both are remembered here, bounded in bytes and age; what is pushed out early
//! makes a judgement less sharp, never wrong. Beside a copy's hits stands what the store had of it, so that it need not be
//! asked again while nobody else writes there. Nothing of it outlives the program.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::hash::{BuildHasher, RandomState};
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use crate::enrich::machine::{FanOut, REJUDGE};
use crate::model::hit::{EarlierHit, Verdict, Visitor};
use crate::model::id::{DeliveryId, EventId};
use crate::model::time::Timestamp;
use crate::store::hits::{EARLIER_MAX, HitKey};

/// What hits may take, about.
const BYTES_MAX: usize = 64 << 20;
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
    copies: HashMap<DeliveryId, Known>,
    /// The copies by when they were looked at last, in turns.
    recent: BTreeMap<u64, DeliveryId>,
    turn: u64,
    /// What the copies take, about.
    bytes: usize,
    /// When all copies were looked through for what is too old.
    swept_at: Timestamp,
    visitors: HashMap<u64, Vec<Visit>>,
    hashed: RandomState,
}

/// What is known of one copy of a mail.
#[derive(Debug, Default)]
struct Known {
    /// Its hits of the last minutes, oldest first.
    hits: VecDeque<Remembered>,
    /// What the store had beside them; `None` when there may be more.
    stored: Option<Stored>,
    turn: u64,
    bytes: usize,
}

/// Hits that were in the store.
#[derive(Debug)]
struct Stored {
    /// Newest first.
    hits: Vec<EarlierHit>,
    read_at: Timestamp,
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

impl Known {
    /// Forgets what is too old; the store has it, as far as it was to be kept.
    fn age(&mut self, now: Timestamp) {
        let is_old = |at: Timestamp| now.since(at) > REJUDGE;
        while self.hits.pop_front_if(|oldest| is_old(oldest.hit.at)).is_some() {
            self.stored = None;
        }
        self.stored.take_if(|stored| is_old(stored.read_at));
    }

    fn is_empty(&self) -> bool {
        self.hits.is_empty() && self.stored.is_none()
    }

    fn all(&mut self) -> impl Iterator<Item = &mut EarlierHit> {
        let stored = self.stored.iter_mut().flat_map(|stored| &mut stored.hits);
        self.hits.iter_mut().map(|known| &mut known.hit).chain(stored)
    }

    /// What it takes, about. Hits in a row mostly share their visitor.
    fn weigh(&self) -> usize {
        let stored = self.stored.iter().flat_map(|stored| &stored.hits);
        let mut last: Option<&Arc<Visitor>> = None;
        let bytes = self.hits.iter().map(|known| &known.hit).chain(stored).map(|hit| {
            let is_shared = last.replace(&hit.visitor).is_some_and(|last| Arc::ptr_eq(last, &hit.visitor));
            size_of::<Remembered>() + if is_shared { 0 } else { described_bytes(&hit.visitor) }
        });
        size_of::<(DeliveryId, Self, u64, DeliveryId)>() + bytes.sum::<usize>()
    }
}

/// What a description takes: most of its texts are short.
fn described_bytes(visitor: &Visitor) -> usize {
    const SHORT_TEXTS: usize = 256;
    size_of::<Visitor>() + SHORT_TEXTS + visitor.user_agent.len()
}

impl Window {
    /// The hits remembered of a copy, newest first.
    pub(super) fn hits(&self, delivery: DeliveryId) -> impl Iterator<Item = &Remembered> {
        self.copies.get(&delivery).into_iter().flat_map(|known| &known.hits).rev()
    }

    /// All that is known of the hits on a copy: those remembered, newest first, and then those that the store had.
    pub(super) fn earlier(&self, delivery: DeliveryId) -> impl Iterator<Item = &EarlierHit> {
        let stored = self.copies.get(&delivery).and_then(|known| known.stored.as_ref());
        let stored = stored.into_iter().flat_map(|stored| &stored.hits);
        self.hits(delivery).map(|known| &known.hit).chain(stored)
    }

    /// Whether the store has nothing on a copy that is not known here, or nothing that would be looked at.
    pub(super) fn is_whole(&self, delivery: DeliveryId) -> bool {
        self.copies.get(&delivery).is_some_and(|known| known.stored.is_some())
    }

    /// Whether this hit is remembered.
    pub(super) fn knows(&self, hit: &HitKey) -> bool {
        let is_it = |known: &EarlierHit| known.at == hit.at && known.kind == hit.kind && known.link == hit.link;
        self.hits(hit.delivery).any(|known| is_it(&known.hit))
    }

    /// Forgets what is too old by now, on these copies and, from time to time, on all.
    pub(super) fn age(&mut self, copies: impl Iterator<Item = DeliveryId>, now: Timestamp) {
        if now.since(self.swept_at) < MINUTE {
            for delivery in copies {
                self.change(delivery, |known| known.age(now));
            }
            return;
        }
        self.swept_at = now;
        self.copies.values_mut().for_each(|known| known.age(now));
        self.copies.retain(|_, known| !known.is_empty());
        self.recent.retain(|_, delivery| self.copies.contains_key(delivery));
        self.bytes = 0;
        for known in self.copies.values_mut() {
            known.bytes = known.weigh();
            self.bytes += known.bytes;
        }
    }

    /// Learns what the store has of a copy beside what is remembered.
    pub(super) fn learn(&mut self, delivery: DeliveryId, hits: Vec<EarlierHit>, read_at: Timestamp) {
        self.copies.entry(delivery).or_default().stored = Some(Stored { hits, read_at });
        self.change(delivery, |_| {});
    }

    /// Forgets a copy.
    pub(super) fn forget(&mut self, delivery: DeliveryId) {
        if let Some(known) = self.copies.remove(&delivery) {
            self.recent.remove(&known.turn);
            self.bytes -= known.bytes;
        }
    }

    /// Remembers a hit, in place of what was remembered of it before.
    pub(super) fn remember(&mut self, delivery: DeliveryId, remembered: Remembered) {
        self.copies.entry(delivery).or_default();
        self.change(delivery, |known| {
            if let Some(before) = known.hits.iter_mut().find(|before| before.id == remembered.id) {
                before.hit = remembered.hit;
                return;
            }
            if known.hits.len() >= COPY_MAX {
                // Newer ones remain, more than would be read.
                const { assert!(COPY_MAX > EARLIER_MAX) };
                known.hits.pop_front();
            }
            known.hits.push_back(remembered);
        });
        while self.bytes > BYTES_MAX {
            let Some((_, oldest)) = self.recent.first_key_value() else { break };
            self.forget(*oldest);
        }
    }

    /// Forgets a hit that may not have reached the store, and asks the store about its copy again.
    pub(super) fn take_back(&mut self, delivery: DeliveryId, id: EventId) {
        self.change(delivery, |known| {
            known.hits.retain(|known| known.id != id);
            known.stored = None;
        });
    }

    /// Changes what is known of a copy, which is the one looked at last now.
    fn change(&mut self, delivery: DeliveryId, change: impl FnOnce(&mut Known)) {
        let Some(known) = self.copies.get_mut(&delivery) else { return };
        change(known);
        self.bytes -= known.bytes;
        known.bytes = known.weigh();
        self.bytes += known.bytes;
        if known.turn == 0 || known.turn < self.turn {
            self.recent.remove(&known.turn);
            self.turn += 1;
            known.turn = self.turn;
            self.recent.insert(self.turn, delivery);
        }
    }

    /// Puts a new verdict on a hit, where it is known.
    pub(super) fn see_as(&mut self, hit: HitKey, verdict: &Verdict) {
        let copy = self.copies.get_mut(&hit.delivery).into_iter().flat_map(Known::all);
        for known in copy.filter(|known| (known.kind, known.link, known.at) == (hit.kind, hit.link, hit.at)) {
            Arc::make_mut(&mut known.visitor).machine = verdict.clone();
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
    use crate::model::hit::{HitKind, Who};
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

    fn click(secs: u64) -> EarlierHit {
        EarlierHit { kind: HitKind::Click, link: 0, at: at(secs), visitor: Arc::default() }
    }

    fn ids(window: &Window, number: u16) -> Vec<EventId> {
        window.hits(copy(number)).map(|known| known.id).collect()
    }

    #[test]
    fn hits_go_by_age_and_number() {
        let mut window = Window::default();
        for (number, secs) in [(1, 0), (2, 5), (2, 5), (3, 604)] {
            window.remember(copy(1), Remembered { id: event(number), hit: click(secs) });
        }
        window.age([copy(1)].into_iter(), at(604));
        assert_eq!(ids(&window, 1), [event(3), event(2)]);
        for number in 0..300 {
            window.remember(copy(2), Remembered { id: event(number), hit: click(605) });
        }
        assert_eq!((ids(&window, 1).len(), ids(&window, 2).len()), (2, COPY_MAX));
        window.age([].into_iter(), at(700));
        assert_eq!((ids(&window, 1).len(), ids(&window, 2).len()), (1, COPY_MAX), "all are looked through");
        window.age([].into_iter(), at(1_206));
        assert_eq!((window.copies.len(), window.recent.len(), window.bytes), (0, 0, 0));
    }

    #[test]
    fn the_copies_looked_at_last_stay() {
        let mut window = Window::default();
        let visitor = Visitor { user_agent: "x".repeat(1_000), ..Visitor::default() };
        for number in 0..u16::MAX {
            let hit = EarlierHit { visitor: Arc::new(visitor.clone()), ..click(0) };
            window.remember(copy(number), Remembered { id: event(number.into()), hit });
            window.age([copy(0)].into_iter(), at(1));
        }
        assert!(window.bytes <= BYTES_MAX && window.bytes > BYTES_MAX / 2);
        assert_eq!(window.copies.len(), window.recent.len());
        let stay = [0, 1, u16::MAX - 1].map(|number| ids(&window, number).len());
        assert_eq!(stay, [1, 0, 1]);
        window.forget(copy(0));
        assert_eq!(ids(&window, 0), []);
    }

    #[test]
    fn what_the_store_had_is_enough_until_something_is_lost() {
        let mut window = Window::default();
        let number = |window: &Window| window.earlier(copy(1)).count();
        assert!(!window.is_whole(copy(1)));
        window.learn(copy(1), vec![click(0)], at(9_000));
        for number in 0..300 {
            window.remember(copy(1), Remembered { id: event(number), hit: click(9_000 + u64::from(number)) });
        }
        assert!(window.is_whole(copy(1)), "what was pushed out is older than what would be read");
        assert_eq!(number(&window), COPY_MAX + 1);
        window.age([copy(1)].into_iter(), at(9_600));
        assert!(window.is_whole(copy(1)));
        window.age([copy(1)].into_iter(), at(9_645));
        assert!(!window.is_whole(copy(1)));
        assert_eq!(number(&window), COPY_MAX - 1);
        window.learn(copy(1), vec![], at(9_645));
        assert!(window.is_whole(copy(1)));
        window.take_back(copy(1), event(299));
        assert!(!window.is_whole(copy(1)));
        assert_eq!(number(&window), COPY_MAX - 2);
        window.learn(copy(1), vec![], at(9_645));
        window.forget(copy(1));
        assert!(!window.is_whole(copy(1)));
    }

    #[test]
    fn a_new_verdict_is_seen_wherever_the_hit_is_known() {
        let mut window = Window::default();
        window.learn(copy(1), vec![click(0), click(1)], at(9_000));
        window.remember(copy(1), Remembered { id: event(1), hit: click(9_000) });
        let scanner = Verdict { verdict: Who::Scanner, ..Verdict::default() };
        for secs in [1, 9_000] {
            let hit = HitKey { delivery: copy(1), kind: HitKind::Click, link: 0, at: at(secs) };
            window.see_as(hit, &scanner);
        }
        let verdicts: Vec<Who> = window.earlier(copy(1)).map(|hit| hit.visitor.machine.verdict).collect();
        assert_eq!(verdicts, [Who::Scanner, Who::Person, Who::Scanner]);
    }
}
