//! `postback serve`: runs until told to stop.

use anyhow::bail;
use clap::Args;
use postback::app::{Addresses, App, FirstRun, World};
use postback::clock::Clock;
use postback::config::{Loaded, Settings};
use postback::http::console_url;
use postback::log;
use postback::smtp::settings::{Kind, TlsMode};
use tokio::signal::unix::{Signal, SignalKind, signal};

use super::{Setting, say};

/// Settings that are changed often enough to have a flag.
#[derive(Args)]
pub(super) struct Flags {
    /// Where the first SMTP listener listens [default: 127.0.0.1:2525]
    #[arg(long, value_name = "ADDRESS")]
    smtp: Option<String>,
    /// Where the HTTP APIs, pixels and links are [default: 127.0.0.1:8080]
    #[arg(long, value_name = "ADDRESS")]
    http: Option<String>,
    /// Where mail goes: capture keeps it all on this machine, smarthost sends it on, mx goes straight to the recipients'
    /// exchangers [default: capture]
    #[arg(long)]
    mode: Option<String>,
    /// Where health and metrics listen [default: 127.0.0.1:9080]
    #[arg(long, value_name = "ADDRESS")]
    admin: Option<String>,
    /// What this node does, of doors, deliver and webhooks [default: all]
    #[arg(long, value_name = "LIST")]
    roles: Option<String>,
}

impl Flags {
    pub(super) fn settings(self) -> Vec<Setting> {
        let flags = [
            ("--smtp", "smtp.listeners.0.address", self.smtp),
            ("--http", "http.address", self.http),
            ("--mode", "deliver.mode", self.mode),
            ("--admin", "admin.address", self.admin),
            ("--roles", "roles", self.roles),
        ];
        let set = |(flag, key, value): (&str, &str, Option<String>)| Some((flag.to_owned(), key.to_owned(), value?));
        flags.into_iter().filter_map(set).collect()
    }
}

pub(super) async fn run(loaded: Loaded) -> anyhow::Result<()> {
    let _written = log::start(&loaded.settings.log, Clock::system());
    let world = World::real(&loaded.settings.dns)?;
    for warning in loaded.settings.warnings() {
        tracing::warn!("{warning}");
    }
    let mut signals = Signals::new()?;
    let mut hangup = signal(SignalKind::hangup())?;
    let app = tokio::select! {
        started = App::start(&loaded.settings, world) => started?,
        () = signals.stop() => bail!("told to stop while starting"),
    };
    if let Some(made) = &app.first_run {
        say(introduction(made, &app.addresses, &loaded.settings));
    }
    say(format!("ready {}", app.addresses));
    let mode = loaded.settings.deliver.mode.via();
    tracing::info!(version = env!("CARGO_PKG_VERSION"), mode, addresses = %app.addresses, "started");
    let egress = &loaded.settings.egress;
    tracing::info!(
        allow = egress.allow.join(" "),
        deny = egress.deny.join(" "),
        allow_http = egress.allow_http,
        allow_metadata = egress.allow_metadata,
        "webhooks go to public addresses, and to what egress.allow names"
    );
    loop {
        tokio::select! {
            () = signals.stop() => break,
            _ = hangup.recv() => app.reload(),
            () = app.broken() => bail!("a commit could not be synced; start again to recover what was promised"),
        }
    }
    tracing::info!("stopping: finishing what is under way");
    tokio::select! {
        () = app.stop() => {
            tracing::info!("stopped");
            Ok(())
        }
        () = signals.stop() => bail!("told twice to stop: what was under way is taken up by the next start"),
    }
}

/// The two ways in which one is told to stop.
struct Signals {
    terminate: Signal,
    interrupt: Signal,
}

impl Signals {
    fn new() -> std::io::Result<Self> {
        Ok(Self { terminate: signal(SignalKind::terminate())?, interrupt: signal(SignalKind::interrupt())? })
    }

    async fn stop(&mut self) {
        tokio::select! {
            _ = self.terminate.recv() => {}
            _ = self.interrupt.recv() => {}
        }
    }
}

fn introduction(made: &FirstRun, addresses: &Addresses, settings: &Settings) -> String {
    let FirstRun { tenant, api_key, smtp_password, invitation } = made;
    let (api_key, smtp_password) = (api_key.reveal(), smtp_password.reveal());
    let mut text = boxed(&[
        "First run. These credentials are shown once; only their hashes are kept.".to_owned(),
        String::new(),
        format!("  tenant         {tenant}"),
        format!("  API key        {api_key}"),
        format!("  SMTP user      {tenant}"),
        format!("  SMTP password  {smtp_password}"),
    ]);
    if let Some(console) = console_url(&settings.hostname, addresses.of("http"), addresses.of("https")) {
        text += &format!("\nThe console, for whoever comes first: {console}join/{}\n", invitation.reveal());
    }
    if !settings.is_capture() {
        text += "\nFirst name the domain that you send from: `postback domain add example.com`.\n";
    }
    text += "\nTry it:\n";
    let door = settings.smtp.listeners.iter().find(|listener| listener.kind == Kind::Submission);
    if let (Some(smtp), Some(door)) = (addresses.of("smtp"), door) {
        let tls = match door.tls {
            TlsMode::Starttls => " --tls",
            TlsMode::Implicit => " --tls-on-connect",
            TlsMode::Off => "",
        };
        text += &format!(
            "\n  swaks --server {smtp}{tls} --auth PLAIN --auth-user {tenant} --auth-password {smtp_password} \\\n    \
             --from me@example.com --to you@example.org --h-Subject Hello --attach-type text/html \\\n    \
             --attach-body '<p>Hello, <a href=\"https://example.com/\">world</a></p>'\n"
        );
    }
    if let Some(http) = addresses.of("http") {
        text += &format!(
            "\n  curl http://{http}/api/v1/emails -H 'Authorization: Bearer {api_key}' -H 'X-Tenant-ID: {tenant}' \\\n    \
             -H 'Content-Type: application/json' -d '{{\"from\":\"me@example.com\",\"to\":\"you@example.org\",\"subject\":\"Hello\",\
             \"html\":\"<a href=\\\"https://example.com/\\\">world</a>\"}}'\n"
        );
    }
    text + "\n\
        What became of a mail: `postback why <its id>`, with `--mail` the mail itself, with `--links` what to open and follow.\n\
        \n\
        Opens and clicks are tracked, and the reader's whole address is kept with them for as long as the message is.\n\
        To keep less: `postback agent set privacy=truncated_address` or `privacy=aggregate_only`.\n\
        To track nothing: `postback agent set track_opens=false track_clicks=false`.\n"
}

fn boxed(lines: &[String]) -> String {
    let width = lines.iter().map(|line| line.chars().count()).max().unwrap_or_default();
    let rule = "─".repeat(width + 2);
    let lines: String = lines.iter().map(|line| format!("│ {line:width$} │\n")).collect();
    format!("┌{rule}┐\n{lines}└{rule}┘\n")
}
