//! `postback suppression`: whom a mail agent, a tenant or everybody leaves alone; in and out as CSV, with history.

use std::io::Read;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, bail};
use clap::{Args, Subcommand};
use postback::config::Loaded;
use postback::model::reason::Reason;
use postback::model::suppression::{Action, Scope, Suppression, Target, csv};
use postback::store::suppressions::{Change, Filter, Lists};

use super::database::Guest;
use super::tenants::Of;
use super::{LIST_MAX, printable, say, say_table};

/// What history calls changes made here.
const ACTOR: &str = "command line";
/// Suppressions written in one commit.
const BITE: usize = 1_000;
/// Largest file that is read.
const FILE_BYTES_MAX: u64 = 256 << 20;

#[derive(Subcommand)]
pub(super) enum SuppressionCommand {
    /// Show the addresses and domains on a list
    List {
        /// Only those after this one, for what does not fit one list
        #[arg(long, value_name = "TARGET", default_value = "")]
        after: String,
        /// Only those that contain this
        #[arg(long, value_name = "TEXT", default_value = "")]
        contains: String,
        #[command(flatten)]
        list: WhichList,
    },
    /// Leave addresses or domains alone from now on
    Add {
        /// Addresses, or domains with all below them
        #[arg(required = true)]
        targets: Vec<Target>,
        /// What happens to mail for them: suppress, reject (the whole mail, for every recipient) or suppress_tracking
        #[arg(long, default_value = "suppress")]
        action: Action,
        /// Why: one of the words that `list` shows
        #[arg(long, default_value = "manual")]
        reason: Reason,
        /// A word for those who come after you
        #[arg(long, default_value = "")]
        note: String,
        /// Let it end by itself after so many days
        #[arg(long)]
        days: Option<u32>,
        #[command(flatten)]
        list: WhichList,
    },
    /// Let mail to an address or domain go out again
    Remove {
        /// The address or domain
        target: Target,
        #[command(flatten)]
        list: WhichList,
    },
    /// What was done about an address or domain, by whom and why
    History {
        /// The address or domain
        target: Target,
        #[command(flatten)]
        list: WhichList,
    },
    /// Read a CSV file, of ours or of another service; `-` is standard input
    Import {
        /// The file; a column must be called target, email, address or recipient
        file: PathBuf,
        #[command(flatten)]
        list: WhichList,
    },
    /// Write a list as CSV
    Export {
        #[command(flatten)]
        list: WhichList,
    },
}

/// Which list.
#[derive(Args)]
pub(super) struct WhichList {
    #[command(flatten)]
    of: Of,
    /// The list of the tenant itself, which holds for all its agents
    #[arg(long, conflicts_with = "agent")]
    tenant_wide: bool,
    /// The list of the installation, which holds for everybody
    #[arg(long, conflicts_with_all = ["agent", "tenant", "tenant_wide"])]
    installation: bool,
}

impl WhichList {
    async fn scope(&self, guest: &Guest) -> anyhow::Result<Scope> {
        if self.installation {
            return Ok(Scope::Installation);
        }
        if self.tenant_wide {
            return Ok(Scope::Tenant(guest.tenant(&self.of.tenant).await?.id));
        }
        let agent = guest.agent(&self.of.tenant, &self.of.agent).await?;
        Ok(Scope::Agent(agent.tenant, agent.id))
    }
}

pub(super) async fn run(loaded: &Loaded, command: SuppressionCommand) -> anyhow::Result<()> {
    let guest = Guest::open(loaded).await?;
    match command {
        SuppressionCommand::List { after, contains, list } => {
            let filter = Filter { after: after.to_lowercase(), contains, ..Filter::default() };
            let listed = guest.store.suppressions(Lists::Of(list.scope(&guest).await?), &filter, LIST_MAX).await;
            let rows: Vec<_> = listed.context("list suppressions")?.iter().map(row).collect();
            say_table(["TARGET", "REASON", "ACTION", "SINCE", "UNTIL", "NOTE"], &rows);
        }
        SuppressionCommand::Add { targets, action, reason, note, days, list } => {
            if note.len() > csv::NOTE_BYTES_MAX {
                bail!("the note is longer than {} bytes", csv::NOTE_BYTES_MAX);
            }
            if let Some(domain) = targets.iter().find(|target| !action.is_for(target)) {
                bail!("{} is for addresses only, and {} is a domain", action.as_str(), printable(domain.as_str()));
            }
            let (scope, now) = (list.scope(&guest).await?, guest.clock.now());
            let expires_at = days.map(|days| now + Duration::from_secs(u64::from(days) * 86_400));
            let suppression = |target| {
                let note = note.clone();
                let created_by = String::new();
                Suppression { scope, target, action, reason, note, created_at: now, created_by, expires_at }
            };
            let suppressions: Vec<_> = targets.into_iter().map(suppression).collect();
            let count = suppressions.len();
            guest.store.put_suppressions(suppressions, ACTOR).await.context("add suppressions")?;
            say(format!("added {count}"));
        }
        SuppressionCommand::Remove { target, list } => {
            let scope = list.scope(&guest).await?;
            let removed = guest.store.remove_suppressions(scope, std::slice::from_ref(&target), ACTOR).await;
            if removed.context("remove the suppression")? == 0 {
                bail!("there is no suppression of {} on that list", printable(target.as_str()));
            }
            say(format!("removed suppression of {}", printable(target.as_str())));
        }
        SuppressionCommand::History { target, list } => {
            let history = guest.store.suppression_history(&[list.scope(&guest).await?], &target).await;
            let history = history.context("read the history")?;
            let rows: Vec<_> = history.iter().map(|(_, change)| history_row(change)).collect();
            say_table(["AT", "CHANGE", "REASON", "ACTION", "BY", "NOTE"], &rows);
        }
        SuppressionCommand::Import { file, list } => import(&guest, &file, list.scope(&guest).await?).await?,
        SuppressionCommand::Export { list } => export(&guest, list.scope(&guest).await?).await?,
    }
    guest.store.close().await;
    Ok(())
}

async fn import(guest: &Guest, file: &Path, scope: Scope) -> anyhow::Result<()> {
    let text = read_file(file).with_context(|| format!("read {}", file.display()))?;
    let read = csv::read(&text, scope, guest.clock.now()).with_context(|| file.display().to_string())?;
    let (mut suppressions, mut bad) = (Vec::new(), Vec::new());
    for one in read {
        match one {
            Ok(suppression) => suppressions.push(suppression),
            Err(line) => bad.push(line),
        }
    }
    let count = suppressions.len();
    for bite in suppressions.chunks(BITE) {
        guest.store.put_suppressions(bite.to_vec(), "CSV import").await.context("add suppressions")?;
    }
    say(format!("read {count}; {} lines make no sense", bad.len()));
    for line in bad.iter().take(20) {
        say(printable(&line.to_string()));
    }
    if count == 0 && !bad.is_empty() {
        bail!("nothing of {} could be read", file.display());
    }
    Ok(())
}

fn read_file(file: &Path) -> std::io::Result<String> {
    let source: Box<dyn Read> = match file.to_str() {
        Some("-") => Box::new(std::io::stdin()),
        _ => Box::new(std::fs::File::open(file)?),
    };
    let mut bytes = Vec::new();
    source.take(FILE_BYTES_MAX).read_to_end(&mut bytes)?;
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

async fn export(guest: &Guest, scope: Scope) -> anyhow::Result<()> {
    say(csv::HEAD.trim_end());
    let mut filter = Filter::default();
    loop {
        let listed =
            guest.store.suppressions(Lists::Of(scope), &filter, LIST_MAX).await.context("list suppressions")?;
        let Some(last) = listed.last() else { return Ok(()) };
        filter.after = last.target.to_string();
        listed.iter().for_each(|suppression| say(csv::line(suppression).trim_end_matches(['\r', '\n'])));
    }
}

fn row(suppression: &Suppression) -> [String; 6] {
    [
        printable(suppression.target.as_str()),
        suppression.reason.to_string(),
        suppression.action.as_str().to_owned(),
        suppression.created_at.to_string(),
        suppression.expires_at.map_or("until removed".to_owned(), |until| until.to_string()),
        printable(&suppression.note),
    ]
}

fn history_row(change: &Change) -> [String; 6] {
    [
        change.at.to_string(),
        change.change.clone(),
        change.reason.to_string(),
        change.action.as_str().to_owned(),
        printable(&change.actor),
        printable(&change.note),
    ]
}
