//! What grows with the store: memory and time to start with a long queue, the cost of a mail after many others.

use std::time::{Duration, Instant};

use crate::program::Home;
use crate::sink::{Sink, relaying_to};
use crate::{Bench, smtp};

/// Mails that wait.
const QUEUED: usize = 100_000;
/// How long they are tried in vain.
const TRIED: Duration = Duration::from_secs(5);
/// Mails before and between the two measurements of a mail's cost.
const GROWTH: [usize; 2] = [1_000, 300_000];
/// Mails of such a measurement.
const MAILS: usize = 20_000;

impl Bench {
    /// Memory with a long queue, and how soon the program is ready on it.
    pub async fn queued(&self) {
        let home = Home::make(self.postgres.as_deref()).await;
        let idle = home.start(&[]);
        let memory_idle_mib = idle.memory_peak_mib();
        idle.stop();
        let door = home.start(&[r#"roles=["doors"]"#.to_owned()]);
        smtp::send(&door.smtp, 50, QUEUED).await;
        let memory_filling_mib = door.memory_peak_mib();
        door.stop();
        let begun = Instant::now();
        // Nobody listens there.
        let program = home.start(&relaying_to(1));
        let ready = begun.elapsed();
        tokio::time::sleep(TRIED).await;
        println!(
            "queued {QUEUED}: {memory_idle_mib} MiB idle, {memory_filling_mib} while they come; ready on them after {ready:.0?}, \
             {} MiB while they are tried",
            program.memory_peak_mib()
        );
    }

    /// Processor time of a mail in an empty store and in one with many rows.
    pub async fn grown(&self) {
        let sink = Sink::start().await;
        let home = Home::make(self.postgres.as_deref()).await;
        let program = home.start(&sink.settings());
        let (mut costs, mut sent) = (Vec::new(), 0);
        for before in GROWTH {
            smtp::send(&program.smtp, 50, before).await;
            sent += before;
            sink.wait_for(sent).await;
            let cpu = program.cpu();
            smtp::send(&program.smtp, 10, MAILS).await;
            sent += MAILS;
            sink.wait_for(sent).await;
            costs.push((program.cpu() - cpu).as_secs_f64() * 1e6 / MAILS as f64);
        }
        println!(
            "grown: {:.0} µs a mail at first, {:.0} after {sent} ({:.2} times)",
            costs[0],
            costs[1],
            costs[1] / costs[0]
        );
    }
}
