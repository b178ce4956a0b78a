//! `postback sink`: a destination that does what the recipient's address asks for. For tests; needs no settings.

use std::net::SocketAddr;
use std::time::Duration;

use anyhow::Context;
use clap::Args;
use postback::clock::Clock;
use postback::sink::behaviour::replies;
use postback::sink::{self, Fault, Settings};
use tokio::net::TcpListener;

use super::say;

#[derive(Args)]
pub(super) struct Arguments {
    /// Where to listen
    #[arg(long, default_value = "127.0.0.1:2525")]
    listen: SocketAddr,
    /// Where reports and complaints are brought: the SMTP address of whoever sent the mail
    #[arg(long, value_name = "ADDRESS")]
    reports_to: Option<SocketAddr>,
    /// Where links are followed to, whatever host they name: the HTTP address of whoever tracks them
    #[arg(long, value_name = "ADDRESS")]
    links_to: Option<SocketAddr>,
    /// How many milliseconds after a mail reports come and readers read
    #[arg(long, value_name = "MS", default_value_t = 1000)]
    later: u64,
    /// What goes wrong by itself, as in `dot=drop:10%`, `connect=421:5%`, `rcpt=451`; may be given several times
    #[arg(long, value_name = "FAULT")]
    fault: Vec<Fault>,
    /// Which conversations the faults meet
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Milliseconds to wait before each answer
    #[arg(long, value_name = "MS", default_value_t = 0)]
    latency: u64,
    /// Do not offer STARTTLS
    #[arg(long)]
    no_tls: bool,
    /// Show the receivers' replies that an address can ask for, and end
    #[arg(long)]
    replies: bool,
}

pub(super) async fn run(arguments: Arguments) -> anyhow::Result<()> {
    if arguments.replies {
        for (name, at, reply) in replies() {
            say(format!("{name} ({})\n  {}", at.as_str(), reply.replace('\n', "\n  ")));
        }
        return Ok(());
    }
    let listen = arguments.listen;
    let listener = TcpListener::bind(listen).await.with_context(|| format!("listen on {listen}"))?;
    let settings = Settings {
        tls: !arguments.no_tls,
        reports_to: arguments.reports_to,
        links_to: arguments.links_to,
        later: Duration::from_millis(arguments.later),
        faults: arguments.fault,
        seed: arguments.seed,
        latency: Duration::from_millis(arguments.latency),
        ..Settings::default()
    };
    let (sink, mut told) = sink::start(listener, settings, Clock::system()).context("start the sink")?;
    say(format!("ready smtp={}", sink.address));
    while let Some(happened) = told.recv().await {
        say(serde_json::to_string(&happened)?);
    }
    Ok(())
}
