//! What can be typed, and what is said to people. Each command is a module; what they do is in the library.
//!
//! Exit status: 0 done, 1 failed, 2 wrong usage or settings that make no sense.

mod bounces;
mod check_config;
mod database;
mod demo;
mod domains;
mod geoip;
mod inspect;
mod queue;
mod recipient;
mod ring;
mod send;
mod serve;
mod sink;
mod suppressions;
mod tenants;
mod tls_report;
mod tracking;
mod users;
mod verify;
mod webhooks;
mod why;

use std::io::Write;
use std::process::ExitCode;

use anyhow::{Context, bail};
use clap::{Args, Parser, Subcommand};
use postback::config::{self, Loaded, Problem, Sources};
use postback::store::StoreError;

/// A self-hosted transactional mail agent: SMTP and HTTP in, tracked mail out, every event to your webhook.
#[derive(Parser)]
#[command(name = "postback", version, propagate_version = true, max_term_width = 100)]
struct Cli {
    #[command(flatten)]
    options: Options,
    #[command(subcommand)]
    command: Command,
}

/// Where settings come from.
#[derive(Args)]
struct Options {
    /// Settings file [default: postback.toml, if it is there]
    #[arg(long, global = true, help_heading = "Settings", value_name = "FILE")]
    config: Option<std::path::PathBuf>,
    /// Folder of the database and all else that is kept [default: data]
    #[arg(long, global = true, help_heading = "Settings", value_name = "FOLDER")]
    data: Option<String>,
    /// sqlite:<path> or postgres://… [default: sqlite:<data>/postback.db]
    #[arg(long, global = true, help_heading = "Settings", value_name = "URL")]
    database: Option<String>,
    /// Any setting, as in `--set log.format=json`; may be given several times
    #[arg(long, global = true, help_heading = "Settings", value_name = "KEY=VALUE")]
    set: Vec<String>,
}

#[derive(Subcommand)]
enum Command {
    /// Run: take mail, deliver it, tell webhooks
    Serve(serve::Flags),
    /// Play the whole loop on loopback, told as it happens; needs no settings
    Demo(demo::Arguments),
    /// Show the effective settings and where each comes from; exit with 2 if they make no sense
    CheckConfig(check_config::Arguments),
    /// Create the database, or bring it up to date
    Migrate,
    /// Customers of this installation
    #[command(subcommand)]
    Tenant(tenants::TenantCommand),
    /// Mail agents of a tenant: credentials, domains and tracking switches belong to one
    #[command(subcommand)]
    Agent(tenants::AgentCommand),
    /// Domains that a mail agent may send from, and the keys that sign for them
    #[command(subcommand)]
    Domain(domains::DomainCommand),
    /// What the DNS says
    #[command(subcommand)]
    Dns(domains::DnsCommand),
    /// API keys and SMTP passwords
    #[command(subcommand)]
    Key(tenants::KeyCommand),
    /// Webhooks: who is told of what
    #[command(subcommand)]
    Webhook(webhooks::WebhookCommand),
    /// People who may sign in to the console
    #[command(subcommand)]
    User(users::UserCommand),
    /// Addresses and domains that are left alone, since they bounced or complained, or a person says so
    #[command(subcommand)]
    Suppression(suppressions::SuppressionCommand),
    /// Reports that came home: those that wait for a person, and all of them judged by the rules of today
    #[command(subcommand)]
    Bounces(bounces::BouncesCommand),
    /// Hosts that links lead through, blocked links, counts of opens and clicks
    #[command(subcommand)]
    Tracking(tracking::TrackingCommand),
    /// What waits and why; hold, release, retry, cancel, purge, pause and resume
    #[command(subcommand)]
    Queue(queue::QueueCommand),
    /// All that is kept of one recipient: given out, or erased
    #[command(subcommand)]
    Recipient(recipient::RecipientCommand),
    /// What other people's domains are told about TLS with their hosts
    #[command(subcommand)]
    TlsReport(tls_report::TlsReportCommand),
    /// Databases of places
    #[command(subcommand)]
    Geoip(geoip::GeoipCommand),
    /// A destination that does what the recipient's address asks for; for tests, needs no settings
    Sink(sink::Arguments),
    /// Hand in one mail, as a test
    Send(send::Arguments),
    /// Everything that happened to a mail, in order, and what is next
    Why(why::Arguments),
    /// What Postback makes of a bounce, user agent, address, message or URL; needs no server and no database
    #[command(subcommand)]
    Inspect(inspect::InspectCommand),
}

/// Rows shown by one `list`.
const LIST_MAX: u32 = 1000;

/// Settings that make no sense, as opposed to something that failed.
const EXIT_USAGE: u8 = 2;

/// Reads the command line, does what it says, and answers with the exit status.
pub fn main() -> ExitCode {
    let Cli { options, command } = Cli::parse();
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build();
    let done = match runtime {
        Ok(runtime) => {
            let done = runtime.block_on(run(&options, command));
            // Who was told to end at once does not wait for a look-up that hangs.
            runtime.shutdown_background();
            done
        }
        Err(fault) => Err(anyhow::Error::new(fault).context("start the runtime")),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(fault) => {
            let _ = writeln!(std::io::stderr(), "postback: {}", in_one_line(&fault));
            if fault.is::<Problem>() { ExitCode::from(EXIT_USAGE) } else { ExitCode::FAILURE }
        }
    }
}

/// What failed and why, on one line: a person at night greps for it. A cause that the line ends with already, since
/// some errors tell their own causes, is not told twice.
fn in_one_line(fault: &anyhow::Error) -> String {
    let mut line = String::new();
    for cause in fault.chain().map(ToString::to_string).filter(|cause| !cause.is_empty()) {
        if line.is_empty() {
            line = cause;
        } else if !line.ends_with(&cause) {
            line = format!("{line}: {cause}");
        }
    }
    line
}

async fn run(options: &Options, command: Command) -> anyhow::Result<()> {
    match command {
        Command::Serve(flags) => serve::run(options.load(flags.settings())?).await,
        Command::Demo(arguments) => demo::run(&arguments).await,
        Command::CheckConfig(arguments) => check_config::run(options, arguments).await,
        Command::Migrate => database::migrate(&options.load(Vec::new())?).await,
        Command::Tenant(command) => tenants::tenant(&options.load(Vec::new())?, command).await,
        Command::Agent(command) => tenants::agent(&options.load(Vec::new())?, command).await,
        Command::Domain(command) => domains::domain(&options.load(Vec::new())?, command).await,
        Command::Dns(command) => domains::dns(&options.load(Vec::new())?, command).await,
        Command::Key(command) => tenants::key(&options.load(Vec::new())?, command).await,
        Command::Webhook(command) => webhooks::run(&options.load(Vec::new())?, command).await,
        Command::User(command) => users::run(&options.load(Vec::new())?, command).await,
        Command::Suppression(command) => suppressions::run(&options.load(Vec::new())?, command).await,
        Command::Bounces(command) => bounces::run(&options.load(Vec::new())?, command).await,
        Command::Recipient(command) => recipient::run(&options.load(Vec::new())?, command).await,
        Command::Geoip(command) => geoip::run(&options.load(Vec::new())?, command).await,
        Command::TlsReport(command) => tls_report::run(&options.load(Vec::new())?, command).await,
        Command::Tracking(command) => tracking::run(&options.load(Vec::new())?, command).await,
        Command::Queue(command) => queue::run(&options.load(Vec::new())?, command).await,
        Command::Sink(arguments) => sink::run(arguments).await,
        Command::Send(arguments) => send::run(&options.load(Vec::new())?, arguments).await,
        Command::Why(arguments) => why::run(&options.load(Vec::new())?, &arguments).await,
        Command::Inspect(command) => inspect::run(|| Ok(options.load(Vec::new())?), command),
    }
}

/// A flag as typed, the key that it sets, and the value.
type Setting = (String, String, String);

impl Options {
    /// The settings that file, environment and flags make.
    fn load(&self, more: Vec<Setting>) -> Result<Loaded, Problem> {
        let mut flags = Vec::new();
        for (flag, key, value) in [("--data", "data", &self.data), ("--database", "database", &self.database)] {
            flags.extend(value.clone().map(|value| (flag.to_owned(), key.to_owned(), value)));
        }
        for set in &self.set {
            let (key, value) =
                set.split_once('=').ok_or_else(|| Problem(format!("--set {set}: KEY=VALUE is wanted")))?;
            flags.push((format!("--set {key}"), key.to_owned(), value.to_owned()));
        }
        flags.extend(more);
        // A name or value that is not UTF-8 cannot be one of ours.
        let text = |(name, value): (std::ffi::OsString, std::ffi::OsString)| {
            Some((name.into_string().ok()?, value.into_string().ok()?))
        };
        let environment = std::env::vars_os().filter_map(text).collect();
        config::load(&Sources { file: self.config.clone(), environment, flags })
    }
}

/// Prints lines to standard output. A reader that has gone away, as `head` does, wants no more of them.
fn say(text: impl AsRef<str>) {
    if writeln!(std::io::stdout().lock(), "{}", text.as_ref()).is_err() {
        std::process::exit(0);
    }
}

/// A text with nothing in it that a terminal would take for a command.
fn printable(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { c.escape_debug().to_string() } else { c.to_string() }).collect()
}

/// Prints rows under headings, each column as wide as its widest entry.
fn say_table<const N: usize>(headings: [&str; N], rows: &[[String; N]]) {
    let mut widths = headings.map(str::len);
    for row in rows {
        for (width, cell) in widths.iter_mut().zip(row) {
            *width = (*width).max(cell.chars().count());
        }
    }
    let headings = headings.map(str::to_owned);
    for row in std::iter::once(&headings).chain(rows) {
        let cells = row.iter().zip(widths).map(|(cell, width)| format!("{cell:width$}"));
        say(cells.collect::<Vec<_>>().join("  ").trim_end());
    }
}

/// What adding something came to, in words for people.
fn added(done: Result<(), StoreError>, what: &str) -> anyhow::Result<()> {
    match done {
        Err(StoreError::Conflict) => bail!("{what} exists already"),
        other => other.with_context(|| format!("add {what}")),
    }
}

/// What removing something came to, in words for people.
fn removed(done: Result<bool, StoreError>, what: &str) -> anyhow::Result<()> {
    if !done.with_context(|| format!("remove {what}"))? {
        bail!("there is no {what}");
    }
    say(format!("removed {what}"));
    Ok(())
}
