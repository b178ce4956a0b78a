//! Who begins next: rows in hand, one line a party, the parties in turn.
//!
//! A party has a bounded number running; the rest of its line waits without standing in anybody's way. Pure.

use std::collections::{HashMap, VecDeque};
use std::hash::Hash;

/// A line this many times as long as its party's bound is asked no more from the store.
const CROWDED: usize = 16;

/// Rows that wait to begin.
#[derive(Debug)]
pub(super) struct Waiting<P, L> {
    /// How many of one party may run.
    each: usize,
    lines: HashMap<P, Line<L>>,
    /// Parties that have something waiting and room to run it, each once.
    turns: VecDeque<P>,
    len: usize,
}

#[derive(Debug)]
struct Line<L> {
    waiting: VecDeque<L>,
    running: usize,
    has_turn: bool,
}

impl<P: Clone + Eq + Hash, L> Waiting<P, L> {
    /// Nothing waits; at most `each` of one party run.
    pub(super) fn new(each: usize) -> Self {
        Self { each, lines: HashMap::new(), turns: VecDeque::new(), len: 0 }
    }

    /// How many wait.
    pub(super) fn len(&self) -> usize {
        self.len
    }

    /// Puts a row at the end of its party's line.
    pub(super) fn push(&mut self, party: P, row: L) {
        let empty = || Line { waiting: VecDeque::new(), running: 0, has_turn: false };
        let line = self.lines.entry(party.clone()).or_insert_with(empty);
        line.waiting.push_back(row);
        self.len += 1;
        self.give_turn(party);
    }

    /// The next row to run, which counts as running from now on.
    pub(super) fn next(&mut self) -> Option<(P, L)> {
        loop {
            let party = self.turns.pop_front()?;
            let Some(line) = self.lines.get_mut(&party) else { continue };
            line.has_turn = false;
            let Some(row) = line.waiting.pop_front() else { continue };
            line.running += 1;
            self.len -= 1;
            self.give_turn(party.clone());
            return Some((party, row));
        }
    }

    /// One of the party's rows runs no more.
    pub(super) fn ended(&mut self, party: &P) {
        let Some(line) = self.lines.get_mut(party) else { return };
        line.running = line.running.saturating_sub(1);
        if line.running == 0 && line.waiting.is_empty() {
            self.lines.remove(party);
        } else {
            self.give_turn(party.clone());
        }
    }

    /// Parties that have more waiting than they will need soon.
    pub(super) fn crowded(&self) -> Vec<P> {
        self.lines.keys().filter(|party| self.is_crowded(party)).cloned().collect()
    }

    /// Whether a party has more waiting than it will need soon.
    pub(super) fn is_crowded(&self, party: &P) -> bool {
        self.lines.get(party).is_some_and(|line| line.waiting.len() >= self.each * CROWDED)
    }

    /// Takes out everything that waits.
    pub(super) fn drain(&mut self) -> impl Iterator<Item = L> {
        self.len = 0;
        self.lines.values_mut().flat_map(|line| std::mem::take(&mut line.waiting))
    }

    fn give_turn(&mut self, party: P) {
        let Some(line) = self.lines.get_mut(&party) else { return };
        if !line.has_turn && line.running < self.each && !line.waiting.is_empty() {
            line.has_turn = true;
            self.turns.push_back(party);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn begun(waiting: &mut Waiting<char, u32>) -> Vec<(char, u32)> {
        std::iter::from_fn(|| waiting.next()).collect()
    }

    #[test]
    fn parties_take_turns_within_their_bounds() {
        let mut waiting = Waiting::new(2);
        for row in 0..4 {
            waiting.push('a', row);
        }
        waiting.push('b', 10);
        assert_eq!(begun(&mut waiting), [('a', 0), ('b', 10), ('a', 1)]);
        assert_eq!(waiting.len(), 2);
        waiting.ended(&'b');
        assert_eq!(begun(&mut waiting), []);
        waiting.ended(&'a');
        assert_eq!(begun(&mut waiting), [('a', 2)]);
        waiting.ended(&'a');
        waiting.ended(&'a');
        assert_eq!(begun(&mut waiting), [('a', 3)]);
        waiting.ended(&'a');
        assert!(waiting.lines.is_empty() && waiting.turns.is_empty());
    }

    #[test]
    fn a_long_line_is_crowded_until_it_is_short() {
        let mut waiting = Waiting::new(1);
        (0..16).for_each(|row| waiting.push('a', row));
        assert_eq!(waiting.crowded(), ['a']);
        waiting.next();
        assert!(waiting.crowded().is_empty());
        assert_eq!(waiting.drain().count(), 15);
        assert_eq!(waiting.len(), 0);
        assert_eq!(begun(&mut waiting), []);
        waiting.push('a', 9);
        waiting.ended(&'a');
        assert_eq!(begun(&mut waiting), [('a', 9)]);
    }
}
