//! Who begins next: rows in hand, one line a party, the parties in turn, and in each line its owners in turn.
//!
//! A party has a bounded number running; the rest of its line waits without standing in anybody's way. A line that is
//! set aside has no turn until it is let back. Rows that were leased ahead are counted, unless their line is aside. Pure.

use std::collections::{HashMap, VecDeque};
use std::hash::Hash;

use super::Lines;

/// A party needs no more when it has this part of what is left for all.
const PART: usize = 8;

/// Rows that wait to begin.
#[derive(Debug)]
pub(super) struct Waiting<P, O, L> {
    /// How many of one party may run.
    each: usize,
    /// From how many that wait on a party needs no more.
    enough: usize,
    /// How many may wait in all.
    most: usize,
    lines: HashMap<P, Line<O, L>>,
    /// Parties that have something waiting and room to run it, each once.
    turns: VecDeque<P>,
    /// Whether a row was handed over, and does not count as leased ahead.
    is_handed_over: fn(&L) -> bool,
    /// Rows leased ahead in lines that are not set aside.
    ahead: usize,
    /// Rows in all lines.
    len: usize,
}

#[derive(Debug)]
struct Line<O, L> {
    /// The owners in turn, each with its rows; none is without.
    owners: VecDeque<(O, VecDeque<L>)>,
    len: usize,
    /// Of these, leased ahead.
    ahead: usize,
    running: usize,
    has_turn: bool,
    is_aside: bool,
}

impl<O: PartialEq, L> Line<O, L> {
    fn new() -> Self {
        Self { owners: VecDeque::new(), len: 0, ahead: 0, running: 0, has_turn: false, is_aside: false }
    }

    fn push(&mut self, owner: O, row: L) {
        match self.owners.iter_mut().find(|(other, _)| *other == owner) {
            Some((_, rows)) => rows.push_back(row),
            None => self.owners.push_back((owner, VecDeque::from([row]))),
        }
        self.len += 1;
    }

    fn push_front(&mut self, owner: O, row: L) {
        let found = self.owners.iter().position(|(other, _)| *other == owner);
        let (owner, mut rows) = found.and_then(|at| self.owners.remove(at)).unwrap_or((owner, VecDeque::new()));
        rows.push_front(row);
        self.owners.push_front((owner, rows));
        self.len += 1;
    }

    fn pop(&mut self) -> Option<L> {
        let (owner, mut rows) = self.owners.pop_front()?;
        let row = rows.pop_front();
        if !rows.is_empty() {
            self.owners.push_back((owner, rows));
        }
        self.len -= usize::from(row.is_some());
        row
    }

    fn clear(&mut self) -> impl Iterator<Item = L> + use<O, L> {
        (self.len, self.ahead) = (0, 0);
        std::mem::take(&mut self.owners).into_iter().flat_map(|(_, rows)| rows)
    }
}

impl<P: Clone + Eq + Hash, O: PartialEq, L> Waiting<P, O, L> {
    /// Nothing waits; at most `each` of one party run, and with `enough` waiting it needs no more, or with less where
    /// it is much of what is left of the `most` that may wait.
    pub(super) fn new(each: usize, enough: usize, most: usize, is_handed_over: fn(&L) -> bool) -> Self {
        let (lines, turns) = Default::default();
        Self { each, enough, most, lines, turns, is_handed_over, ahead: 0, len: 0 }
    }

    /// How many were leased ahead and wait in lines that may go on.
    pub(super) fn ahead(&self) -> usize {
        self.ahead
    }

    /// Whether as many wait as may.
    pub(super) fn is_full(&self) -> bool {
        self.len >= self.most
    }

    /// How many wait in a party's line.
    pub(super) fn len_of(&self, party: &P) -> usize {
        self.lines.get(party).map_or(0, |line| line.len)
    }

    /// How many wait in each line.
    pub(super) fn lines(&self) -> Lines<P> {
        let waiting = self.lines.iter().filter(|(_, line)| line.len > 0);
        let waiting = waiting.map(|(party, line)| (party.clone(), line.len)).collect();
        Lines { waiting, enough: self.enough() }
    }

    /// From how many that wait on a party needs no more, for now. However many parties there are whose lines do not
    /// move, something is left for the others.
    fn enough(&self) -> usize {
        self.enough.min(self.most.saturating_sub(self.len) / PART).max(1)
    }

    /// Puts a row at the end of its owner's rows in its party's line.
    pub(super) fn push(&mut self, party: P, owner: O, row: L) {
        let counts = usize::from(!(self.is_handed_over)(&row));
        let line = self.lines.entry(party.clone()).or_insert_with(Line::new);
        line.push(owner, row);
        line.ahead += counts;
        self.ahead += if line.is_aside { 0 } else { counts };
        self.len += 1;
        self.give_turn(party);
    }

    /// Puts a row that did not begin back to the head of its party's line.
    pub(super) fn put_back(&mut self, party: &P, owner: O, row: L) {
        let Some(line) = self.lines.get_mut(party) else { return };
        line.running = line.running.saturating_sub(1);
        let counts = usize::from(!(self.is_handed_over)(&row));
        line.push_front(owner, row);
        line.ahead += counts;
        self.ahead += if line.is_aside { 0 } else { counts };
        self.len += 1;
    }

    /// The next row to run, which counts as running from now on.
    pub(super) fn next(&mut self) -> Option<(P, L)> {
        loop {
            let party = self.turns.pop_front()?;
            let Some(line) = self.lines.get_mut(&party) else { continue };
            line.has_turn = false;
            if line.is_aside {
                continue;
            }
            let Some(row) = line.pop() else { continue };
            let counts = usize::from(!(self.is_handed_over)(&row));
            line.running += 1;
            line.ahead -= counts;
            self.ahead -= counts;
            self.len -= 1;
            self.give_turn(party.clone());
            return Some((party, row));
        }
    }

    /// A party's line has no turn until it is let back.
    pub(super) fn set_aside(&mut self, party: &P) {
        let Some(line) = self.lines.get_mut(party).filter(|line| !line.is_aside) else { return };
        line.is_aside = true;
        self.ahead -= line.ahead;
    }

    /// A party's line goes on.
    pub(super) fn let_back(&mut self, party: &P) {
        let Some(line) = self.lines.get_mut(party).filter(|line| line.is_aside) else { return };
        line.is_aside = false;
        self.ahead += line.ahead;
        if line.running == 0 && line.len == 0 {
            self.lines.remove(party);
        } else {
            self.give_turn(party.clone());
        }
    }

    /// Takes a party's whole line out.
    pub(super) fn clear(&mut self, party: &P) -> impl Iterator<Item = L> + use<P, O, L> {
        let line = self.lines.get_mut(party);
        self.len -= line.as_ref().map_or(0, |line| line.len);
        self.ahead -= line.as_ref().map_or(0, |line| if line.is_aside { 0 } else { line.ahead });
        let is_idle = line.as_ref().is_some_and(|line| line.running == 0);
        let cleared = line.map(Line::clear);
        if is_idle {
            self.lines.remove(party);
        }
        cleared.into_iter().flatten()
    }

    /// One of the party's rows runs no more.
    pub(super) fn ended(&mut self, party: &P) {
        let Some(line) = self.lines.get_mut(party) else { return };
        line.running = line.running.saturating_sub(1);
        if line.running == 0 && line.len == 0 {
            self.lines.remove(party);
        } else {
            self.give_turn(party.clone());
        }
    }

    /// Whether a party has more waiting than it will need soon.
    pub(super) fn is_crowded(&self, party: &P) -> bool {
        self.len_of(party) >= self.enough()
    }

    /// Takes out everything that waits.
    pub(super) fn drain(&mut self) -> impl Iterator<Item = L> {
        (self.ahead, self.len) = (0, 0);
        self.lines.values_mut().flat_map(Line::clear)
    }

    fn give_turn(&mut self, party: P) {
        let Some(line) = self.lines.get_mut(&party) else { return };
        if !line.has_turn && !line.is_aside && line.running < self.each && line.len > 0 {
            line.has_turn = true;
            self.turns.push_back(party);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn begun(waiting: &mut Waiting<char, u32, u32>) -> Vec<(char, u32)> {
        std::iter::from_fn(|| waiting.next()).collect()
    }

    #[test]
    fn parties_take_turns_within_their_bounds() {
        let mut waiting = Waiting::new(2, 32, 1000, |_| false);
        for row in 0..4 {
            waiting.push('a', 0, row);
        }
        waiting.push('b', 0, 10);
        assert_eq!(begun(&mut waiting), [('a', 0), ('b', 10), ('a', 1)]);
        assert_eq!(waiting.ahead(), 2);
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
    fn owners_take_turns_in_a_line() {
        let mut waiting = Waiting::new(10, 160, 1000, |_| false);
        for (owner, row) in [(1, 10), (1, 11), (1, 12), (2, 20), (3, 30)] {
            waiting.push('a', owner, row);
        }
        let rows: Vec<u32> = begun(&mut waiting).into_iter().map(|(_, row)| row).collect();
        assert_eq!(rows, [10, 20, 30, 11, 12]);
    }

    #[test]
    fn a_line_that_is_set_aside_holds_up_nobody_and_comes_back_as_it_was() {
        let mut waiting = Waiting::new(10, 160, 1000, |_| false);
        for row in 0..3 {
            waiting.push('a', 0, row);
        }
        waiting.push('b', 0, 10);
        let (party, row) = waiting.next().unwrap();
        waiting.put_back(&party, 0, row);
        waiting.set_aside(&'a');
        waiting.push('a', 0, 3);
        assert_eq!(waiting.ahead(), 1);
        assert_eq!(begun(&mut waiting), [('b', 10)]);
        waiting.let_back(&'a');
        assert_eq!(begun(&mut waiting), [('a', 0), ('a', 1), ('a', 2), ('a', 3)]);
        assert_eq!(waiting.ahead(), 0);
        waiting.push('a', 0, 4);
        assert_eq!(waiting.clear(&'a').collect::<Vec<_>>(), [4]);
        assert_eq!((waiting.ahead(), begun(&mut waiting)), (0, vec![]));
    }

    #[test]
    fn however_many_lines_stand_still_something_is_left_for_the_others() {
        let mut waiting = Waiting::new(1, 16, 100, |_| false);
        let still = |waiting: &Waiting<u32, u32, u32>| (0..100).filter(|party| !waiting.is_crowded(party)).count();
        while let Some(party) = (0..20).find(|party| !waiting.is_crowded(party)) {
            waiting.push(party, 0, 0);
            waiting.set_aside(&party);
        }
        assert_eq!((waiting.len, waiting.len_of(&0), waiting.len_of(&19), still(&waiting)), (88, 11, 1, 80));
        (20..32).for_each(|party| waiting.push(party, 0, 0));
        assert!(waiting.is_full());
        waiting.clear(&0).for_each(drop);
        assert!(!waiting.is_full());
    }

    #[test]
    fn a_long_line_is_crowded_until_it_is_short() {
        let mut waiting = Waiting::new(1, 16, 1000, |_| false);
        (0..16).for_each(|row| waiting.push('a', 0, row));
        assert_eq!(waiting.lines().crowded().collect::<Vec<_>>(), ['a']);
        waiting.next();
        assert_eq!(waiting.lines().crowded().count(), 0);
        assert_eq!(waiting.drain().count(), 15);
        assert_eq!(waiting.ahead(), 0);
        assert_eq!(begun(&mut waiting), []);
        waiting.push('a', 0, 9);
        waiting.ended(&'a');
        assert_eq!(begun(&mut waiting), [('a', 9)]);
    }

    #[test]
    fn what_was_handed_over_does_not_count_as_leased_ahead() {
        let mut waiting = Waiting::new(1, 16, 1000, |row| *row >= 100);
        for row in [100, 1, 101, 2] {
            waiting.push('a', 0, row);
        }
        assert_eq!(waiting.ahead(), 2);
        let (party, row) = waiting.next().unwrap();
        assert_eq!((row, waiting.ahead()), (100, 2));
        waiting.put_back(&party, 0, row);
        waiting.set_aside(&'a');
        waiting.push('a', 0, 3);
        assert_eq!(waiting.ahead(), 0);
        waiting.let_back(&'a');
        assert_eq!((waiting.ahead(), waiting.len_of(&'a')), (3, 5));
        assert_eq!(waiting.next(), Some(('a', 100)));
        waiting.ended(&'a');
        assert_eq!((waiting.next(), waiting.ahead()), (Some(('a', 1)), 2));
        assert_eq!((waiting.clear(&'a').count(), waiting.ahead()), (3, 0));
    }
}
