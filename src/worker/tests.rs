//! The loop against a queue in memory, with a clock that stands.

use std::sync::Mutex;

use tokio::sync::{Semaphore, mpsc};

use super::*;

/// Rows by number; what happened, in order; and how the next statements go.
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
    type Fault = &'static str;

    const NAME: &'static str = "row";

    fn held(leased: &u32) -> (u32, Lease) {
        (*leased, Lease { holder: "test".into(), attempt: 1 })
    }

    fn party(leased: &u32) -> u32 {
        leased / 100
    }

    async fn lease(&self, limit: u32, except: Vec<u32>) -> Result<Vec<u32>, &'static str> {
        self.fault()?;
        let mut due = self.due.lock().unwrap();
        let (mut leased, left): (Vec<_>, Vec<_>) = due.drain(..).partition(|row| !except.contains(&(row / 100)));
        *due = left;
        due.extend(leased.split_off(leased.len().min(limit as usize)));
        Ok(leased)
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

    async fn perform(&self, leased: u32) -> Option<Timestamp> {
        self.say(format!("begin {leased}"));
        assert_ne!(leased, 13, "the one that panics");
        self.ends.acquire().await.unwrap().forget();
        self.say(format!("end {leased}"));
        None
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
        let rows = Arc::new(Rows {
            due: Mutex::new(due.to_vec()),
            log,
            ends: Semaphore::new(0),
            confirmed: Mutex::default(),
            faults: Mutex::default(),
        });
        let clock = Clock::standing(Timestamp::from_millis(1_000_000));
        let (hand, handed) = mpsc::unbounded_channel();
        let bounds = Bounds { at_once, at_once_each, ahead: 40, batch: 20 };
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
    bench.expect(&["end 1", "begin 3"]).await;
}

#[tokio::test]
async fn what_waited_past_its_lease_is_not_begun() {
    let mut bench = Bench::with(&[1, 2], 1, 1);
    bench.expect(&["begin 1"]).await;
    *bench.rows.faults.lock().unwrap() = 1_000;
    bench.clock.advance(LEASE);
    bench.rows.ends.add_permits(1);
    bench.expect(&["end 1"]).await;
    bench.hand.send(3).unwrap();
    bench.expect(&["begin 3"]).await;
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
