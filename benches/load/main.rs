//! `cargo bench`: starts the release binary on a temporary folder, drives it from outside over the loopback, and
//! prints medians of three rounds with their spread. Everything is synced as in earnest.
//!
//! Words choose works: `cargo bench -- smtp-10 redirect`. `--postgres URL` uses a database beside the named one. Where
//! Debian's Postfix is installed, the works that it can do too are given to it in the same rounds; it tracks nothing.
//!
//! *accepted* stops the clock at the last 250 or 201: each of these mails is on the disk. *relayed* stops it when the
//! sink has the last one, tracked, with events written. Both come from one run, with relaying under way. *http* hands the
//! same text and HTML in at both doors, in the same rounds, and tells them apart; *http-1* is how long a single send
//! takes. *redirect* counts answers, and says how long recording took to catch up; *redirect-durable* the same over 500
//! connections where each answer waits for its hit's commit. *webhook* and *webhook-tls* count arrivals of a backlog;
//! *webhook-delay* says how old events are when they arrive, at 500 a second, alone, beside six more receivers, and
//! beside six that misbehave. *reports* counts bounces of delivered mail that come home by SMTP, each read, judged, and
//! on the disk. *crowd* is *accepted* beside 5,000 sessions that say nothing and 200 slow writers; it takes `ulimit -n
//! 20000`. *dkim* is *smtp* with two signatures a mail; Postfix signs nothing. *nodes* is *smtp* through one and through
//! three nodes of one PostgreSQL. *backlog* counts mails that waited for the end of an outage. *neighbours* says what a destination gets while 100,000 mails wait for another that does not answer. *queued* is memory
//! and start with as many, *grown* what a mail costs after 300,000 others.
#![allow(clippy::unwrap_used, clippy::print_stdout, reason = "a benchmark that cannot go on says so by panicking")]
#![allow(clippy::disallowed_methods, reason = "it measures the true time")]

mod content;
mod crowd;
mod growth;
mod http;
mod postfix;
mod program;
mod queue;
mod receiver;
mod sink;
mod smtp;

use std::fmt::Display;
use std::time::{Duration, Instant};

use content::Body;
use postfix::{Postfix, Tuning};
use program::{Home, Program};
use receiver::{MISDEEDS, Receiver};
use sink::Sink;

const ROUNDS: usize = 3;
/// How long links are followed in a round.
const BURST: Duration = Duration::from_secs(10);

/// What one round counted, how long it took, and what else is known of it.
#[derive(Default)]
struct Round {
    count: usize,
    took: Duration,
    /// The slowest but one in a hundred.
    p99: Option<Duration>,
    /// Processor time of the program.
    cpu: Option<Duration>,
    memory_mib: Option<u64>,
}

impl Round {
    fn per_second(&self) -> f64 {
        self.count as f64 / self.took.as_secs_f64()
    }
}

/// The rounds of one work by one program.
struct Row {
    name: String,
    rounds: Vec<Round>,
}

/// Whether mail is signed.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Signing {
    On,
    Off,
}

struct Bench {
    wanted: Vec<String>,
    postgres: Option<String>,
}

fn main() {
    let mut arguments = std::env::args().skip(1);
    let mut bench = Bench { wanted: Vec::new(), postgres: None };
    while let Some(argument) = arguments.next() {
        match argument.as_str() {
            "--postgres" => bench.postgres = Some(arguments.next().expect("--postgres URL")),
            "--bench" => {}
            _ => bench.wanted.push(argument),
        }
    }
    tell_machine();
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    runtime.block_on(bench.run());
}

fn tell_machine() {
    let read = |path: &str| std::fs::read_to_string(path).unwrap_or_default();
    let (cpu, memory, load) = (read("/proc/cpuinfo"), read("/proc/meminfo"), read("/proc/loadavg"));
    let after = |text: &str, label: &str| {
        let line = text.lines().find_map(|line| line.strip_prefix(label)).unwrap_or_default();
        line.trim_matches([' ', '\t', ':']).to_owned()
    };
    let cores = std::thread::available_parallelism().map_or(0, usize::from);
    println!(
        "{cores} cores, {}; memory {}; load {}",
        after(&cpu, "model name"),
        after(&memory, "MemTotal"),
        load.trim()
    );
    println!(
        "{:<32} {:>9} {:>9} {:>9} {:>9} {:>9} {:>9}",
        "", "median/s", "min", "max", "p99 ms", "cpu µs", "peak MiB"
    );
}

fn print(row: &Row) {
    let mut rates: Vec<f64> = row.rounds.iter().map(Round::per_second).collect();
    rates.sort_by(f64::total_cmp);
    let p99 = median(row.rounds.iter().filter_map(|round| Some(round.p99?.as_secs_f64() * 1e3)));
    let cpu = median(row.rounds.iter().filter_map(|round| Some(round.cpu?.as_secs_f64() * 1e6 / round.count as f64)));
    let memory = median(row.rounds.iter().filter_map(|round| Some(round.memory_mib? as f64)));
    let shown = |value: Option<f64>, digits| value.map_or(String::new(), |value| format!("{value:.digits$}"));
    println!(
        "{:<32} {:>9.0} {:>9.0} {:>9.0} {:>9} {:>9} {:>9}",
        row.name,
        rates[rates.len() / 2],
        rates[0],
        rates[rates.len() - 1],
        shown(p99, 1),
        shown(cpu, 0),
        shown(memory, 0),
    );
}

fn median(values: impl Iterator<Item = f64>) -> Option<f64> {
    let mut values: Vec<f64> = values.collect();
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied()
}

fn p99(mut took: Vec<Duration>) -> Option<Duration> {
    took.sort();
    took.get(took.len() * 99 / 100).copied()
}

/// What an accepting and relaying run came to.
struct Relayed {
    accepted: Round,
    relayed: Round,
}

/// Prints both rows of each of these.
fn print_relayed(works: impl IntoIterator<Item = (impl Display, Vec<Relayed>)>) {
    for (name, runs) in works {
        if runs.is_empty() {
            continue;
        }
        let (accepted, relayed) = runs.into_iter().map(|run| (run.accepted, run.relayed)).unzip();
        print(&Row { name: format!("{name} accepted"), rounds: accepted });
        print(&Row { name: format!("{name} relayed"), rounds: relayed });
    }
}

/// What is handed in is accepted by these programs, and relayed to the sink.
async fn relayed(
    sink: &Sink,
    programs: &[Program],
    mails: usize,
    hand_in: impl Future<Output = Vec<Duration>>,
) -> Relayed {
    let cpu = || programs.iter().map(Program::cpu).sum::<Duration>();
    let (before, begun) = (cpu(), Instant::now());
    let took = hand_in.await;
    let accepted = Round { count: mails, took: begun.elapsed(), p99: p99(took), ..Round::default() };
    sink.wait_for(mails).await;
    let relayed = Round {
        count: mails,
        took: begun.elapsed(),
        cpu: Some(cpu() - before),
        memory_mib: Some(programs.iter().map(Program::memory_peak_mib).sum()),
        p99: None,
    };
    Relayed { accepted, relayed }
}

impl Bench {
    async fn run(&self) {
        for sessions in [1, 10, 50] {
            if self.wants(&format!("smtp-{sessions}")) {
                self.smtp("smtp", sessions, Signing::Off).await;
            }
        }
        if self.postgres.is_some() && self.wants("nodes-50") {
            self.nodes(50).await;
        }
        for sessions in [10, 50] {
            if self.wants(&format!("dkim-{sessions}")) {
                self.smtp("dkim", sessions, Signing::On).await;
            }
        }
        for connections in [1, 10, 50] {
            if self.wants(&format!("http-{connections}")) {
                self.http(connections).await;
            }
        }
        if self.wants("redirect-50") {
            self.redirect("redirect 50", 50, "durable_hits=false").await;
        }
        if self.wants("redirect-durable") {
            self.redirect("redirect durable 500", 500, "durable_hits=true").await;
        }
        if self.wants("webhook") {
            self.webhook("webhook", Receiver::start).await;
        }
        if self.wants("webhook-tls") {
            self.webhook("webhook tls", Receiver::start_tls).await;
        }
        if self.wants("webhook-delay") {
            self.webhook_delay().await;
        }
        if self.wants("reports-10") {
            self.reports(10).await;
        }
        if self.wants("crowd") {
            self.crowd().await;
        }
        if self.wants("backlog") {
            self.backlog().await;
        }
        if self.wants("neighbours") {
            self.neighbours().await;
        }
        if self.wants("queued") {
            self.queued().await;
        }
        if self.wants("grown") {
            self.grown().await;
        }
    }

    fn wants(&self, name: &str) -> bool {
        self.wanted.is_empty() || self.wanted.iter().any(|word| word == name || name.split('-').next() == Some(word))
    }

    async fn smtp(&self, name: &str, sessions: usize, signing: Signing) {
        let mails = if sessions == 1 { 3_000 } else { 15_000 };
        let (mut ours, mut default, mut tuned) = (Vec::new(), Vec::new(), Vec::new());
        for _ in 0..ROUNDS {
            ours.push(self.relay(sessions, mails, signing).await);
            if Postfix::is_installed() {
                default.push(relay_by_postfix(Tuning::Default, sessions, mails / 3).await);
                tuned.push(relay_by_postfix(Tuning::Tuned, sessions, mails / 3).await);
            }
        }
        let at = |(name, runs)| (format!("{name} {sessions}"), runs);
        print_relayed([(name, ours), ("  postfix", default), ("  postfix tuned", tuned)].map(at));
    }

    /// The sessions shared out among nodes of one database.
    async fn nodes(&self, sessions: usize) {
        const MAILS: usize = 15_000;
        let (mut one, mut three, mut tuned) = (Vec::new(), Vec::new(), Vec::new());
        for _ in 0..ROUNDS {
            one.push(self.relay_by_nodes(1, sessions, MAILS).await);
            three.push(self.relay_by_nodes(3, sessions, MAILS).await);
            if Postfix::is_installed() {
                tuned.push(relay_by_postfix(Tuning::Tuned, sessions, MAILS / 3).await);
            }
        }
        let at = |(name, runs)| (format!("{name} {sessions}"), runs);
        print_relayed([("one node", one), ("three nodes", three), ("  postfix tuned", tuned)].map(at));
    }

    async fn relay(&self, sessions: usize, mails: usize, signing: Signing) -> Relayed {
        self.hand_in(mails, signing, async |_, program| smtp::send(&program.smtp, sessions, mails).await).await
    }

    async fn relay_by_nodes(&self, nodes: usize, sessions: usize, mails: usize) -> Relayed {
        let sink = Sink::start().await;
        let home = Home::make(self.postgres.as_deref()).await;
        let programs = home.start_nodes(nodes, &sink.settings());
        let share = |all: usize, node: usize| all / nodes + usize::from(node < all % nodes);
        let send = |(node, program): (usize, &Program)| {
            let (door, sessions, mails) = (program.smtp.clone(), share(sessions, node), share(mails, node));
            tokio::spawn(async move { smtp::send(&door, sessions, mails).await })
        };
        let hand_in = async {
            let sent: Vec<_> = programs.iter().enumerate().map(send).collect();
            let mut took = Vec::with_capacity(mails);
            for part in sent {
                took.extend(part.await.unwrap());
            }
            took
        };
        relayed(&sink, &programs, mails, hand_in).await
    }

    /// What `hand_in` hands in is accepted, and relayed to a sink.
    async fn hand_in(
        &self,
        mails: usize,
        signing: Signing,
        hand_in: impl AsyncFnOnce(&Home, &Program) -> Vec<Duration>,
    ) -> Relayed {
        let sink = Sink::start().await;
        let home = Home::make(self.postgres.as_deref()).await;
        if signing == Signing::On {
            home.sign();
        }
        let program = home.start(&sink.settings());
        let relayed = relayed(&sink, std::slice::from_ref(&program), mails, hand_in(&home, &program)).await;
        if signing == Signing::On {
            assert_eq!(sink.arrived(), (mails, mails), "each mail carries two signatures");
        }
        relayed
    }

    /// The same content at both doors.
    async fn http(&self, connections: usize) {
        let mails = if connections == 1 { 2_000 } else { 10_000 };
        let (mut by_smtp, mut by_http, mut alone) = (Vec::new(), Vec::new(), Vec::new());
        let send_body = |body| {
            async move |home: &Home, program: &Program| {
                http::send(program, home.secret(), body, connections, mails).await
            }
        };
        let send_mail =
            async |_: &Home, program: &Program| smtp::send_with_text(&program.smtp, connections, mails).await;
        for _ in 0..ROUNDS {
            by_smtp.push(self.hand_in(mails, Signing::Off, send_mail).await);
            by_http.push(self.hand_in(mails, Signing::Off, send_body(Body::with_text())).await);
            alone.push(self.hand_in(mails, Signing::Off, send_body(Body::new())).await);
        }
        let rate = |runs: &[Relayed]| median(runs.iter().map(|run| run.accepted.per_second())).unwrap_or(f64::NAN);
        let share = 100.0 * rate(&by_http) / rate(&by_smtp);
        print_relayed(vec![
            (format!("http {connections}"), by_http),
            ("  its text made by us".to_owned(), alone),
            (format!("  the same by smtp {connections}"), by_smtp),
        ]);
        println!("  http accepts {share:.0} % of what smtp does");
    }

    async fn redirect(&self, name: &str, connections: usize, setting: &str) {
        const MAILS: usize = 30_000;
        let (mut answered, mut recorded) = (Vec::new(), Vec::new());
        let mut lost = 0;
        for _ in 0..ROUNDS {
            let sink = Sink::start().await;
            let home = Home::make(self.postgres.as_deref()).await;
            home.run(&["agent", "set", "--tenant", "load", setting]);
            let program = home.start(&sink.settings());
            smtp::send(&program.smtp, 10, MAILS).await;
            sink.wait_for(MAILS).await;
            let links = sink.links();
            let (cpu, begun) = (program.cpu(), Instant::now());
            let count = http::follow(&program, &links, connections, BURST).await;
            let took = begun.elapsed();
            let memory_mib = Some(program.memory_peak_mib());
            answered.push(Round { count, took, memory_mib, ..Round::default() });
            http::wait_until(&program, "postback_hits_waiting", |waiting| waiting == 0).await;
            lost += http::metric(&program, "postback_hits_lost_total").await;
            recorded.push(Round { count, took: begun.elapsed(), cpu: Some(program.cpu() - cpu), ..Round::default() });
        }
        let behind: Vec<_> =
            answered.iter().zip(&recorded).map(|(answered, recorded)| recorded.took - answered.took).collect();
        print(&Row { name: format!("{name} answered"), rounds: answered });
        print(&Row { name: format!("{name} recorded"), rounds: recorded });
        println!("  after a burst of {BURST:?} recording took {behind:.1?} to catch up; {lost} hits lost");
    }

    async fn webhook<R: Future<Output = Receiver>>(&self, name: &str, start: impl Fn() -> R) {
        const MAILS: usize = 10_000;
        let mut rounds = Vec::new();
        for _ in 0..ROUNDS {
            let receiver = start().await;
            let home = Home::make(self.postgres.as_deref()).await;
            let believing = receiver.settings();
            let silent = home.start(&[vec![r#"roles=["doors", "deliver"]"#.to_owned()], believing.clone()].concat());
            http::add_webhook(&silent, home.secret(), &receiver.url()).await;
            smtp::send(&silent.smtp, 10, MAILS).await;
            silent.stop();
            let program = home.start(&believing);
            let begun = Instant::now();
            // Each mail is told of twice: sent, and delivered.
            receiver.wait_for(2 * MAILS).await;
            let cpu = Some(program.cpu());
            rounds.push(Round { count: 2 * MAILS, took: begun.elapsed(), cpu, ..Round::default() });
        }
        print(&Row { name: name.to_owned(), rounds });
    }

    /// How old events are when a good receiver has them: alone, beside as many other good ones as there are ways to
    /// misbehave, and beside one that misbehaves in each. The three take turns, so that the machine's moods meet all.
    async fn webhook_delay(&self) {
        const ROUNDS: usize = 5;
        /// Which receiver stands beside for each way to misbehave.
        type Pick = fn(&str) -> &str;
        const BESIDE: [(&str, Pick); 3] =
            [("alone", |_| ""), ("beside good receivers", |_| "good"), ("beside bad receivers", |misdeed| misdeed)];
        let mut works = BESIDE.map(|(beside, _)| (beside, Vec::new(), Vec::new()));
        for _ in 0..ROUNDS {
            for ((_, path), (_, rounds, told)) in BESIDE.iter().zip(&mut works) {
                let others: Vec<&str> = MISDEEDS.into_iter().map(path).filter(|path| !path.is_empty()).collect();
                let (round, median) = self.webhook_delays(&others).await;
                rounds.push(round);
                told.push(median);
            }
        }
        let p99s = works.each_ref().map(|(_, rounds, _)| {
            median(rounds.iter().filter_map(|round| Some(round.p99?.as_secs_f64() * 1e3))).unwrap_or_default()
        });
        for (beside, rounds, told) in works {
            print(&Row { name: format!("webhook delay {beside}"), rounds });
            println!("  median delay from event to receiver {told:.1?}");
        }
        let [alone, good, bad] = p99s;
        let more = |than: f64| 100.0 * (bad / than - 1.0);
        println!("  p99 beside bad receivers {:+.0} % of alone, {:+.0} % of beside good ones", more(alone), more(good));
    }

    /// A round, and the median delay, with webhooks at these paths of a place where receivers misbehave beside.
    async fn webhook_delays(&self, others: &[&str]) -> (Round, Duration) {
        const MAILS_PER_SECOND: u32 = 250;
        const TIME: Duration = Duration::from_secs(15);
        let receiver = Receiver::start_timing().await;
        let home = Home::make(self.postgres.as_deref()).await;
        let program = home.start(&[]);
        http::add_webhook(&program, home.secret(), &receiver.url()).await;
        let base = receiver::misbehave().await;
        for path in others {
            http::add_webhook(&program, home.secret(), &format!("{base}/{path}")).await;
        }
        let begun = Instant::now();
        let mails = http::send_evenly(&program, home.secret(), MAILS_PER_SECOND, TIME).await;
        let took = begun.elapsed();
        receiver.wait_for(2 * mails).await;
        let delays = receiver.delays();
        let median = delays[delays.len() / 2];
        let (p99, memory_mib) = (p99(delays), Some(program.memory_peak_mib()));
        (Round { count: 2 * mails, took, p99, cpu: Some(program.cpu()), memory_mib }, median)
    }
}

impl Bench {
    /// Bounces of mail that was delivered.
    async fn reports(&self, sessions: usize) {
        const MAILS: usize = 10_000;
        let mut rounds = Vec::new();
        for _ in 0..ROUNDS {
            let sink = Sink::start().await;
            let home = Home::make(self.postgres.as_deref()).await;
            let return_path = format!("reports.return_path_domain={}", smtp::REPORTS_TO);
            let program = home.start(&[sink.settings(), vec![return_path]].concat());
            smtp::send(&program.smtp, sessions, MAILS).await;
            sink.wait_for(MAILS).await;
            let copies = sink.copies();
            assert_eq!(copies.len(), MAILS);
            let (cpu, begun) = (program.cpu(), Instant::now());
            let took = smtp::report(&program.smtp.address, sessions, &copies).await;
            rounds.push(Round {
                count: MAILS,
                took: begun.elapsed(),
                p99: p99(took),
                cpu: Some(program.cpu() - cpu),
                memory_mib: Some(program.memory_peak_mib()),
            });
        }
        print(&Row { name: format!("reports {sessions}"), rounds });
    }

    /// A client that is in a hurry, alone and in a crowd.
    async fn crowd(&self) {
        const IDLE: usize = 5_000;
        const SLOW: usize = 200;
        const SESSIONS: usize = 10;
        const MAILS: usize = 5_000;
        let (mut alone, mut beside, mut session_kib) = (Vec::new(), Vec::new(), Vec::new());
        for _ in 0..ROUNDS {
            let sink = Sink::start().await;
            let home = Home::make(self.postgres.as_deref()).await;
            let program = home.start(&sink.settings());
            let hurry = async |before: usize| {
                let begun = Instant::now();
                let took = smtp::send(&program.smtp, SESSIONS, MAILS).await;
                let round = Round { count: MAILS, took: begun.elapsed(), p99: p99(took), ..Round::default() };
                sink.wait_for(before + MAILS).await;
                round
            };
            hurry(0).await;
            alone.push(hurry(MAILS).await);
            let before = program.memory_now_kib();
            let idle = crowd::idle(&program.smtp.address, IDLE).await;
            session_kib.push(program.memory_now_kib().saturating_sub(before) as f64 / IDLE as f64);
            let slow = crowd::slow_writers(&program.smtp, SLOW).await;
            beside.push(hurry(2 * MAILS).await);
            crowd::is_there(idle, slow).await;
        }
        let rate = |rounds: &[Round]| median(rounds.iter().map(Round::per_second)).unwrap_or_default();
        let slower = 100.0 * (1.0 - rate(&beside) / rate(&alone));
        print(&Row { name: "crowd: alone".to_owned(), rounds: alone });
        print(&Row { name: "crowd: beside it".to_owned(), rounds: beside });
        let kib = median(session_kib.into_iter()).unwrap_or_default();
        println!(
            "  beside {IDLE} idle sessions and {SLOW} slow writers {slower:.0} % slower; {kib:.1} KiB an idle session"
        );
    }
}

async fn relay_by_postfix(tuning: Tuning, sessions: usize, mails: usize) -> Relayed {
    let sink = Sink::start().await;
    let postfix = Postfix::start(tuning, sink.port()).await;
    let begun = Instant::now();
    let took = smtp::send(&postfix.smtp, sessions, mails).await;
    let accepted = Round { count: mails, took: begun.elapsed(), p99: p99(took), ..Round::default() };
    sink.wait_for(mails).await;
    Relayed { accepted, relayed: Round { count: mails, took: begun.elapsed(), ..Round::default() } }
}
