//! `cargo bench`: starts the release binary on a temporary folder, drives it from outside over the loopback, and
//! prints medians of several rounds with their spread. Every figure is with fsync on.
//!
//! What a row means: *accept* stops the clock at the last 250 or 201, so each counted mail is on the disk; *relay* stops
//! it when the sink has seen the last mail, tracked, with its events written; *redirect* counts answers, and says how
//! long recording took to catch up; *webhook* counts arrivals at a receiver on the loopback.

mod http;
mod program;
mod sink;
mod smtp;

use std::time::{Duration, Instant};

use program::Program;

const ROUNDS: usize = 3;

/// What one round counted, and how long it took.
struct Round {
    count: usize,
    took: Duration,
}

impl Round {
    fn per_second(&self) -> f64 {
        self.count as f64 / self.took.as_secs_f64()
    }
}

fn main() {
    let wanted: Vec<String> = std::env::args().skip(1).filter(|word| !word.starts_with("--")).collect();
    let is_wanted = |name: &str| wanted.is_empty() || wanted.iter().any(|word| name.contains(word.as_str()));
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    println!("{:<34} {:>10} {:>10} {:>10}  per second, median, min and max of {ROUNDS} rounds", "work", "median", "min", "max");
    runtime.block_on(async {
        for sessions in [1, 10, 50] {
            if is_wanted(&format!("accept-smtp-{sessions}")) {
                accept_smtp(sessions).await;
            }
        }
        if is_wanted("accept-http-10") {
            accept_http(10).await;
        }
        for sessions in [1, 10, 50] {
            if is_wanted(&format!("relay-{sessions}")) {
                relay(sessions).await;
            }
        }
        if is_wanted("redirect-50") {
            redirect(50).await;
        }
        if is_wanted("webhook") {
            webhook().await;
        }
    });
}

fn report(name: &str, rounds: &[Round]) {
    let mut rates: Vec<f64> = rounds.iter().map(Round::per_second).collect();
    rates.sort_by(f64::total_cmp);
    println!("{name:<34} {:>10.0} {:>10.0} {:>10.0}", rates[rates.len() / 2], rates[0], rates[rates.len() - 1]);
}

fn mails(sessions: usize) -> usize {
    if sessions == 1 { 3_000 } else { 15_000 }
}

async fn accept_smtp(sessions: usize) {
    let mut rounds = Vec::new();
    for _ in 0..ROUNDS {
        let program = Program::start(&[]).await;
        let begun = Instant::now();
        smtp::send(&program, sessions, mails(sessions)).await;
        rounds.push(Round { count: mails(sessions), took: begun.elapsed() });
    }
    report(&format!("accept-smtp-{sessions}"), &rounds);
}

async fn accept_http(sessions: usize) {
    let mut rounds = Vec::new();
    for _ in 0..ROUNDS {
        let program = Program::start(&[]).await;
        let begun = Instant::now();
        http::send(&program, sessions, 10_000).await;
        rounds.push(Round { count: 10_000, took: begun.elapsed() });
    }
    report(&format!("accept-http-{sessions}"), &rounds);
}

async fn relay(sessions: usize) {
    let mut rounds = Vec::new();
    for _ in 0..ROUNDS {
        let sink = sink::Sink::start().await;
        let program = Program::start(&sink.settings()).await;
        let begun = Instant::now();
        smtp::send(&program, sessions, mails(sessions)).await;
        sink.wait_for(mails(sessions)).await;
        rounds.push(Round { count: mails(sessions), took: begun.elapsed() });
    }
    report(&format!("relay-{sessions}"), &rounds);
}

async fn redirect(connections: usize) {
    let mut rounds = Vec::new();
    for _ in 0..ROUNDS {
        let sink = sink::Sink::start().await;
        let program = Program::start(&sink.settings()).await;
        smtp::send(&program, 10, 200).await;
        sink.wait_for(200).await;
        let links = sink.links();
        assert!(!links.is_empty(), "no tracked link reached the sink");
        let begun = Instant::now();
        let count = http::follow(&links, connections, Duration::from_secs(5)).await;
        rounds.push(Round { count, took: begun.elapsed() });
    }
    report(&format!("redirect-{connections}"), &rounds);
}

async fn webhook() {
    let mut rounds = Vec::new();
    for _ in 0..ROUNDS {
        let receiver = http::Receiver::start().await;
        let program = Program::start(&[]).await;
        http::add_webhook(&program, &receiver.url()).await;
        let begun = Instant::now();
        smtp::send(&program, 10, 10_000).await;
        // Each mail is told of twice: sent, and delivered.
        receiver.wait_for(20_000).await;
        rounds.push(Round { count: 20_000, took: begun.elapsed() });
    }
    report("webhook (while accepting)", &rounds);
}
