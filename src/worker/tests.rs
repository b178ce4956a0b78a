//! The loop against a queue in memory, with a clock that stands.

use std::collections::HashMap;
use std::sync::Mutex;

use tokio::sync::{Semaphore, mpsc};

use super::*;
use crate::model::retry::LEASE;

const START: Timestamp = Timestamp::from_millis(1_000_000);

/// Rows by number, the first hundred leased at the start; what happened, in order; and how the next statements go.
#[derive(Debug)]
struct Rows {
    due: Mutex<Vec<u32>>,
    log: mpsc::UnboundedSender<String>,
    /// Attempts end when they get one of these.
    ends: Semaphore,
    /// Renewals confirm only these; `None`: all.
    confirmed: Mutex<Option<Vec<u32>>>,
    /// This many statements fail first.
    faults: Mutex<u32>,
    /// Parties that give no turn, and why.
    full: Mutex<HashMap<u32, Full>>,
    /// Parties that admit nothing.
    shut: Mutex<Vec<u32>>,
    /// Rows that were found out to be another party's.
    moved: Mutex<HashMap<u32, u32>>,
    /// Parties that have room again.
    freed: (mpsc::UnboundedSender<u32>, tokio::sync::Mutex<mpsc::UnboundedReceiver<u32>>),
}

impl Rows {
    fn say(&self, what: String) {
        self.log.send(what).unwrap();
    }

    fn fault(&self) -> Result<(), &'static str> {
        let mut faults = self.faults.lock().unwrap();
        let is_away = *faults > 0;
        *faults = faults.saturating_sub(1);
        if is_away { Err("away") } else { Ok(()) }
    }
}

impl Queue for Rows {
    type Id = u32;
    type Leased = u32;
    type Party = u32;
    type Owner = ();
    type Turn = ();
    type Fault = &'static str;

    const NAME: &'static str = "row";

    fn held(leased: &u32) -> (u32, Lease) {
        (*leased, Lease { holder: "test".into(), attempt: 1 })
    }

    fn ends_at(leased: &u32) -> Timestamp {
        if *leased < 100 { START + LEASE } else { Timestamp::from_millis(i64::MAX) }
    }

    fn is_handed_over(leased: &u32) -> bool {
        *leased >= 10_000
    }

    fn party(&self, leased: &u32) -> u32 {
        *self.moved.lock().unwrap().get(leased).unwrap_or(&(leased / 100))
    }

    fn owner(_: &u32) {}

    fn admit(&self, leased: &u32, _: Ahead) -> Result<(), Later> {
        let until = Timestamp::from_millis(i64::from(*leased));
        let is_shut = self.shut.lock().unwrap().contains(&self.party(leased));
        if is_shut { Err(Later { until, mark: Mark::Room }) } else { Ok(()) }
    }

    fn turn(&self, party: &u32, _: &u32) -> Result<(), Full> {
        self.full.lock().unwrap().get(party).map_or(Ok(()), |full| Err(*full))
    }

    async fn freed(&self) -> u32 {
        self.freed.1.lock().await.recv().await.unwrap()
    }

    async fn lease(&self, limit: u32, lines: Lines<u32>) -> Result<Looked<u32>, &'static str> {
        self.fault()?;
        let except: Vec<u32> = lines.crowded().collect();
        let mut due = self.due.lock().unwrap();
        let (mut leased, left): (Vec<_>, Vec<_>) = due.drain(..).partition(|row| !except.contains(&(row / 100)));
        *due = left;
        due.extend(leased.split_off(leased.len().min(limit as usize)));
        let has_more = leased.len() >= limit as usize;
        Ok(Looked { rows: leased, has_more })
    }

    async fn next_due(&self) -> Result<Option<Timestamp>, &'static str> {
        Ok(None)
    }

    async fn renew(&self, mut held: Vec<(u32, Lease)>) -> Result<Vec<u32>, &'static str> {
        self.fault()?;
        held.sort_by_key(|(id, _)| *id);
        let ids: Vec<u32> = held.into_iter().map(|(id, _)| id).collect();
        self.say(format!("renew {ids:?}"));
        Ok(self.confirmed.lock().unwrap().clone().unwrap_or(ids))
    }

    async fn release(&self, unused: Vec<(u32, Lease)>) -> Result<(), &'static str> {
        self.say(format!("release {:?}", unused.into_iter().map(|(id, _)| id).collect::<Vec<_>>()));
        Ok(())
    }

    async fn put_off(&self, rows: Vec<(u32, Lease, Later)>) -> Result<(), &'static str> {
        self.say(format!("put off {:?}", rows.into_iter().map(|(id, ..)| id).collect::<Vec<_>>()));
        Ok(())
    }

    async fn perform(&self, leased: u32, (): ()) -> Done<u32> {
        if leased == 77 && self.moved.lock().unwrap().insert(77, 1).is_none() {
            return Done::Misplaced(77);
        }
        self.say(format!("begin {leased}"));
        assert_ne!(leased, 13, "the one that panics");
        self.ends.acquire().await.unwrap().forget();
        self.say(format!("end {leased}"));
        Done::Settled(None)
    }
}

struct Bench {
    rows: Arc<Rows>,
    clock: Clock,
    hand: mpsc::UnboundedSender<u32>,
    log: mpsc::UnboundedReceiver<String>,
    worker: Worker,
}

impl Bench {
    fn with(due: &[u32], at_once: usize, at_once_each: usize) -> Self {
        let (log, heard) = mpsc::unbounded_channel();
        let (free, freed) = mpsc::unbounded_channel();
        let rows = Arc::new(Rows {
            due: Mutex::new(due.to_vec()),
            log,
            ends: Semaphore::new(0),
            confirmed: Mutex::default(),
            faults: Mutex::default(),
            full: Mutex::default(),
            shut: Mutex::default(),
            moved: Mutex::default(),
            freed: (free, tokio::sync::Mutex::new(freed)),
        });
        let clock = Clock::standing(START);
        let (hand, handed) = mpsc::unbounded_channel();
        let enough_each = at_once_each * 16;
        let bounds = Bounds { at_once, at_once_each, enough_each, waiting: 1000, ahead: 40, batch: 20 };
        let worker = Worker::start(rows.clone(), clock.clone(), bounds, Wake::default(), Some(handed));
        Self { rows, clock, hand, log: heard, worker }
    }

    async fn next(&mut self) -> String {
        self.log.recv().await.unwrap()
    }

    async fn expect(&mut self, lines: &[&str]) {
        for line in lines {
            assert_eq!(self.next().await, *line);
        }
    }
}

#[tokio::test]
async fn rows_of_the_store_and_of_the_hand_are_performed_within_the_bound() {
    let mut bench = Bench::with(&[1, 2, 3], 2, 2);
    bench.expect(&["begin 1", "begin 2"]).await;
    bench.hand.send(4).unwrap();
    bench.rows.ends.add_permits(2);
    bench.expect(&["end 1", "end 2", "begin 3", "begin 4"]).await;
}

#[tokio::test]
async fn a_slow_party_holds_up_nobody_else() {
    let mut bench = Bench::with(&[1, 2, 3, 4, 100], 8, 1);
    bench.expect(&["begin 1", "begin 100"]).await;
    bench.hand.send(200).unwrap();
    bench.expect(&["begin 200"]).await;
}

#[tokio::test]
async fn a_party_that_was_left_out_is_asked_for_again_when_its_line_is_short() {
    let mut bench = Bench::with(&[], 1, 1);
    let due: Vec<u32> = (0..30).filter(|row| *row != 13).collect();
    *bench.rows.due.lock().unwrap() = due.clone();
    bench.clock.advance(LOOK_EVERY);
    bench.rows.ends.add_permits(1000);
    for row in due {
        bench.expect(&[&format!("begin {row}"), &format!("end {row}")]).await;
    }
}

#[tokio::test]
async fn a_full_party_waits_until_it_has_room_and_holds_up_nobody() {
    let mut bench = Bench::with(&[], 8, 8);
    let later = bench.clock.now() + Duration::from_secs(2);
    *bench.rows.full.lock().unwrap() = HashMap::from([(0, Full::UntilFreed), (1, Full::Until(later))]);
    for row in [1, 100, 200] {
        bench.hand.send(row).unwrap();
    }
    bench.expect(&["begin 200"]).await;
    bench.rows.full.lock().unwrap().clear();
    bench.rows.freed.0.send(0).unwrap();
    bench.expect(&["begin 1"]).await;
    bench.clock.advance(Duration::from_secs(2));
    bench.expect(&["begin 100"]).await;
}

#[tokio::test]
async fn what_would_wait_for_long_is_put_off() {
    let mut bench = Bench::with(&[], 8, 8);
    bench.rows.full.lock().unwrap().insert(0, Full::UntilFreed);
    bench.hand.send(1).unwrap();
    bench.hand.send(2).unwrap();
    bench.hand.send(200).unwrap();
    bench.expect(&["begin 200"]).await;
    bench.rows.full.lock().unwrap().insert(0, Full::ForLong);
    bench.rows.shut.lock().unwrap().push(0);
    bench.rows.freed.0.send(0).unwrap();
    bench.expect(&["put off [1, 2]"]).await;
    bench.hand.send(3).unwrap();
    bench.expect(&["put off [3]"]).await;
    bench.clock.advance(RENEW_EVERY);
    bench.expect(&["renew [200]"]).await;
}

#[tokio::test]
async fn a_misplaced_row_joins_the_right_line() {
    let mut bench = Bench::with(&[77], 8, 8);
    bench.rows.full.lock().unwrap().insert(1, Full::UntilFreed);
    while bench.rows.moved.lock().unwrap().is_empty() {
        tokio::task::yield_now().await;
    }
    bench.hand.send(200).unwrap();
    bench.expect(&["begin 200"]).await;
    bench.rows.full.lock().unwrap().clear();
    bench.rows.freed.0.send(1).unwrap();
    bench.expect(&["begin 77"]).await;
}

#[tokio::test]
async fn a_panic_costs_one_attempt() {
    let mut bench = Bench::with(&[13, 1], 1, 1);
    bench.expect(&["begin 13", "begin 1"]).await;
    bench.clock.advance(RENEW_EVERY);
    bench.expect(&["renew [1]"]).await;
}

#[tokio::test]
async fn what_a_renewal_does_not_confirm_is_not_begun() {
    let mut bench = Bench::with(&[1, 2, 3], 1, 1);
    bench.expect(&["begin 1"]).await;
    *bench.rows.confirmed.lock().unwrap() = Some(vec![1, 3]);
    bench.clock.advance(RENEW_EVERY);
    bench.expect(&["renew [1, 2, 3]"]).await;
    bench.rows.ends.add_permits(1);
    bench.expect(&["end 1", "put off [2]", "begin 3"]).await;
}

#[tokio::test]
async fn what_waited_past_its_lease_is_not_begun() {
    let mut bench = Bench::with(&[1, 2], 1, 1);
    bench.expect(&["begin 1"]).await;
    *bench.rows.faults.lock().unwrap() = 1_000;
    bench.clock.advance(LEASE);
    bench.rows.ends.add_permits(1);
    bench.expect(&["end 1", "put off [2]"]).await;
    bench.hand.send(300).unwrap();
    bench.expect(&["begin 300"]).await;
}

#[tokio::test]
async fn a_lease_that_took_long_to_come_is_renewed_the_sooner() {
    let mut bench = Bench::with(&[300], 8, 8);
    bench.expect(&["begin 300"]).await;
    bench.clock.advance(RENEW_EVERY);
    bench.expect(&["renew [300]"]).await;
    bench.clock.advance(RENEW_EVERY - Duration::from_secs(1));
    bench.hand.send(1).unwrap();
    let mut seen = [bench.next().await, bench.next().await];
    seen.sort();
    assert_eq!(seen, ["begin 1", "renew [1, 300]"]);
}

#[tokio::test]
async fn what_is_handed_over_too_late_is_looked_for_at_once() {
    let mut bench = Bench::with(&[], 8, 8);
    bench.clock.advance(LEASE);
    bench.hand.send(300).unwrap();
    let mut seen = [bench.next().await, bench.next().await];
    seen.sort();
    assert_eq!(seen, ["begin 300", "renew [300]"]);
    bench.rows.due.lock().unwrap().push(301);
    bench.hand.send(1).unwrap();
    bench.expect(&["renew [300]", "put off [1]", "begin 301"]).await;
}

#[tokio::test]
async fn a_clock_that_is_put_back_stops_nothing() {
    let mut bench = Bench::with(&[1], 8, 8);
    bench.expect(&["begin 1"]).await;
    bench.clock.put_back(LEASE * 10);
    bench.rows.due.lock().unwrap().push(2);
    bench.hand.send(3).unwrap();
    let mut seen = [bench.next().await, bench.next().await, bench.next().await];
    seen.sort();
    assert_eq!(seen, ["begin 2", "begin 3", "renew [1, 3]"]);
}

#[tokio::test]
async fn what_is_handed_over_keeps_nobody_from_looking() {
    let mut bench = Bench::with(&[], 1, 1);
    (0..100).for_each(|row| bench.hand.send(10_000 + row).unwrap());
    bench.expect(&["begin 10000"]).await;
    bench.rows.due.lock().unwrap().push(1);
    bench.clock.advance(LOOK_EVERY);
    while !bench.rows.due.lock().unwrap().is_empty() {
        tokio::task::yield_now().await;
    }
}

#[tokio::test]
async fn after_a_fault_leases_are_renewed_before_new_ones_are_asked_for() {
    let mut bench = Bench::with(&[1], 2, 2);
    bench.expect(&["begin 1"]).await;
    *bench.rows.faults.lock().unwrap() = 1;
    bench.rows.due.lock().unwrap().push(2);
    bench.clock.advance(LOOK_EVERY_BUSY);
    while *bench.rows.faults.lock().unwrap() > 0 {
        tokio::task::yield_now().await;
    }
    while bench.log.is_empty() {
        bench.clock.advance(FAULT_WAIT);
        tokio::task::yield_now().await;
    }
    bench.expect(&["renew [1]", "begin 2"]).await;
}

#[tokio::test]
async fn a_drain_gives_back_what_waits_and_waits_for_the_rest() {
    let mut bench = Bench::with(&[1, 2, 3], 1, 1);
    bench.expect(&["begin 1"]).await;
    let worker = tokio::spawn(bench.worker.drain(Duration::from_secs(3600)));
    assert_eq!(bench.log.recv().await.unwrap(), "release [2, 3]");
    assert!(!worker.is_finished());
    bench.rows.ends.add_permits(1);
    assert_eq!(bench.log.recv().await.unwrap(), "end 1");
    worker.await.unwrap();
}

#[tokio::test]
async fn a_drain_does_not_wait_for_ever() {
    let mut bench = Bench::with(&[1], 1, 1);
    bench.expect(&["begin 1"]).await;
    bench.worker.drain(Duration::ZERO).await;
}
