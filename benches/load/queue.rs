//! The queue under stress: a backlog after an outage, and a destination that does not answer beside one that does.

use std::time::{Duration, Instant};

use tokio::net::TcpListener;

use crate::program::{Home, Program};
use crate::sink::{Sink, relaying_to};
use crate::{Bench, ROUNDS, Round, Row, http, median, print, smtp};

/// Mails that wait for the end of an outage.
const BACKLOG: usize = 10_000;
/// Mails that wait for a destination that does not answer.
const STUCK: usize = 100_000;
/// Mails for the others.
const MAILS: usize = 10_000;
/// How long the program is left alone with what is stuck.
const SETTLES_IN: Duration = Duration::from_secs(8);

/// How a destination does not answer.
#[derive(Clone, Copy)]
enum Silence {
    /// Nobody listens.
    Dead,
    /// Whoever connects waits for a greeting.
    Slow,
}

impl Bench {
    /// Mails that were tried while nobody listened, and are tried again as soon as somebody does.
    pub async fn backlog(&self) {
        let (mut rounds, mut first) = (Vec::new(), Vec::new());
        for _ in 0..ROUNDS {
            let port = free_port().await;
            let home = Home::make(self.postgres.as_deref()).await;
            let program = home.start(&relaying_to(port));
            smtp::send(&program.smtp, 10, BACKLOG).await;
            http::wait_until(&program, "postback_queue_messages", |waiting| waiting >= BACKLOG as u64).await;
            http::wait_until(&program, "postback_delivery_inflight", |under_way| under_way == 0).await;
            let sink = Sink::start_on(port).await;
            home.run(&["queue", "retry"]);
            let (cpu, begun) = (program.cpu(), Instant::now());
            sink.wait_for(1).await;
            first.push(begun.elapsed());
            sink.wait_for(BACKLOG).await;
            let cpu = Some(program.cpu() - cpu);
            rounds.push(Round { count: BACKLOG, took: begun.elapsed(), cpu, ..Round::default() });
        }
        print(&Row { name: format!("backlog of {BACKLOG}"), rounds });
        println!("  the first arrives {first:.0?} after retry-now");
    }

    /// What a destination that answers gets while another does not. The same mails stay stuck over all rounds; each round
    /// starts the program anew, which has to find out again what does not answer.
    pub async fn neighbours(&self) {
        let (dead, slow) = (self.stuck().await, self.stuck().await);
        let (mut alone, mut beside_dead, mut beside_slow) = (Vec::new(), Vec::new(), Vec::new());
        for _ in 0..ROUNDS {
            alone.push(beside(&Home::make(self.postgres.as_deref()).await, 0, Silence::Dead).await);
            beside_dead.push(beside(&dead, STUCK, Silence::Dead).await);
            beside_slow.push(beside(&slow, STUCK, Silence::Slow).await);
        }
        let rate = |rounds: &[Round]| median(rounds.iter().map(Round::per_second)).unwrap_or(f64::NAN);
        let rates = [&alone, &beside_dead, &beside_slow].map(|rounds| rate(rounds));
        print(&Row { name: "neighbours alone".to_owned(), rounds: alone });
        print(&Row { name: format!("  beside {STUCK} for a dead one"), rounds: beside_dead });
        print(&Row { name: format!("  beside {STUCK} for a slow one"), rounds: beside_slow });
        println!("  of what they get alone: {:.2} and {:.2}", rates[1] / rates[0], rates[2] / rates[0]);
    }

    /// A home where mail waits for `silent.example`.
    async fn stuck(&self) -> Home {
        let home = Home::make(self.postgres.as_deref()).await;
        let door = home.start(&[relaying_to(free_port().await), vec![r#"roles=["doors"]"#.to_owned()]].concat());
        smtp::send_to("silent.example", &door.smtp, 50, STUCK).await;
        door.stop();
        home
    }
}

/// Relays to a sink where so many mails are stuck.
async fn beside(home: &Home, stuck: usize, silence: Silence) -> Round {
    let sink = Sink::start().await;
    // Whoever connects to it is never greeted; closed, nobody listens there.
    let silent = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = silent.local_addr().unwrap().port();
    let silent = Some(silent).filter(|_| matches!(silence, Silence::Slow));
    let mut settings = sink.settings();
    settings.push("deliver.smarthosts.silent.host=127.0.0.1".to_owned());
    settings.push("deliver.smarthosts.silent.tls=none".to_owned());
    settings.push(format!("deliver.smarthosts.silent.port={port}"));
    settings.push("deliver.routes=[{domain=\"silent.example\",via=[\"silent\"]}]".to_owned());
    let program = home.start(&settings);
    if stuck > 0 {
        tokio::time::sleep(SETTLES_IN).await;
    }
    let round = relayed(&program, &sink).await;
    assert!(http::metric(&program, "postback_queue_messages").await >= stuck as u64, "what is stuck stays stuck");
    drop(silent);
    round
}

async fn relayed(program: &Program, sink: &Sink) -> Round {
    let (cpu, begun) = (program.cpu(), Instant::now());
    smtp::send(&program.smtp, 10, MAILS).await;
    sink.wait_for(MAILS).await;
    let memory_mib = Some(program.memory_peak_mib());
    Round { count: MAILS, took: begun.elapsed(), cpu: Some(program.cpu() - cpu), memory_mib, p99: None }
}

async fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap().port()
}
