//! `postback bounces`: reports that came home. Those that a program could not settle wait here for a person; all of them
//! can be judged again by the rules of today.

use std::io::Write;
use std::time::Duration;

use anyhow::{Context, bail};
use clap::builder::PossibleValuesParser;
use clap::{Args, Subcommand};
use postback::app;
use postback::config::Loaded;
use postback::http::admin::report_json;
use postback::intake::report::{Replayed, Verdict};
use postback::mail::report::Kind;
use postback::model::id::ReportId;
use postback::model::reason::{Reason, Suppress};
use postback::store::reports::{KeptReport, ReportFilter};

use super::database::Guest;
use super::{LIST_MAX, printable, say, say_table};

#[derive(Subcommand)]
pub(super) enum BouncesCommand {
    /// Show the reports that wait for a person
    List {
        /// Those that are understood, or were seen, too
        #[arg(long)]
        all: bool,
        /// Only of this kind
        #[arg(long, value_parser = kinds())]
        kind: Option<String>,
        /// Only those after this one, for what does not fit one list
        #[arg(long, value_name = "ID")]
        after: Option<ReportId>,
        /// One line of JSON each
        #[arg(long)]
        jsonl: bool,
    },
    /// Show one report: what it says, which rule decided, and what followed
    Show {
        /// Which: the id that `list` shows
        id: ReportId,
        /// Print the mail itself, and nothing else
        #[arg(long)]
        mail: bool,
    },
    /// Take reports off the list: somebody has seen them
    Close {
        /// Which: ids that `list` shows
        ids: Vec<ReportId>,
        /// All of this kind
        #[arg(long, conflicts_with = "ids", required_unless_present = "ids", value_parser = kinds())]
        kind: Option<String>,
    },
    /// Judge reports and refusals of the past by the rules of today, and show what would be different
    Reclassify(Reclassify),
}

#[derive(Args)]
pub(super) struct Reclassify {
    /// How many days back
    #[arg(long, default_value_t = 30)]
    days: u32,
    /// Put it right: suppressions, reasons, and what was not understood before
    #[arg(long)]
    apply: bool,
}

fn kinds() -> PossibleValuesParser {
    PossibleValuesParser::new(Kind::ALL.map(Kind::as_str))
}

pub(super) async fn run(loaded: &Loaded, command: BouncesCommand) -> anyhow::Result<()> {
    let guest = Guest::open(loaded).await?;
    match command {
        BouncesCommand::List { all, kind, after, jsonl } => {
            list(&guest, &ReportFilter { open: !all, kind, after }, jsonl).await?;
        }
        BouncesCommand::Show { id, mail } => show(&guest, id, mail).await?,
        BouncesCommand::Close { kind: Some(kind), .. } => {
            let closed = guest.store.close_reports(&kind).await.context("close reports")?;
            say(format!("{closed} reports of kind {} are off the list", printable(&kind)));
        }
        BouncesCommand::Close { ids, kind: None } => {
            for id in ids {
                if !guest.store.close_report(id).await.context("close a report")? {
                    bail!("no report {id} is open");
                }
                say(format!("{id} is off the list"));
            }
        }
        BouncesCommand::Reclassify(arguments) => reclassify(&guest, loaded, &arguments).await?,
    }
    guest.store.close().await;
    Ok(())
}

async fn list(guest: &Guest, filter: &ReportFilter, jsonl: bool) -> anyhow::Result<()> {
    let reports = guest.store.reports(filter, LIST_MAX).await.context("list reports")?;
    if jsonl {
        reports.iter().for_each(|report| say(report_json(report).to_string()));
        return Ok(());
    }
    let row = |report: &KeptReport| {
        let reason = report.cause.as_ref().map_or(String::new(), |cause| cause.reason.to_string());
        let received_at = report.received_at.to_string();
        let [about, outcome] = [&report.about, &report.outcome].map(|text| printable(text));
        [report.id.to_string(), received_at, report.kind.clone(), about, reason, outcome]
    };
    let rows: Vec<_> = reports.iter().map(row).collect();
    say_table(["ID", "RECEIVED", "KIND", "ABOUT", "REASON", "OUTCOME"], &rows);
    Ok(())
}

async fn show(guest: &Guest, id: ReportId, mail: bool) -> anyhow::Result<()> {
    let report = guest.store.report(id).await.context("look for the report")?;
    let report = report.with_context(|| format!("there is no report {id}: it never was, or is forgotten"))?;
    if mail {
        return std::io::stdout().write_all(&report.content).context("write the mail");
    }
    let sender = if report.sender.is_empty() { "<>" } else { report.sender.as_str() };
    say(format!("report    {id}"));
    say(format!("received  {} from {} at the {} address", report.received_at, printable(sender), report.came_to));
    say(format!("kind      {}", report.kind));
    if let Some(delivery) = report.delivery {
        say(format!("delivery  {delivery}"));
    }
    if !report.about.is_empty() {
        say(format!("about     {}", printable(&report.about)));
    }
    if let Some(cause) = &report.cause {
        say(format!("reason    {} ({}) by rule {}", cause.reason, cause.class.as_str(), cause.rule));
        say(format!("verdict   {}", verdict_on(cause.reason)));
        if let Some(status) = &cause.status {
            say(format!("status    {}", printable(status)));
        }
        say(format!("words     {}", printable(&cause.diagnostic)));
    }
    let open = if report.is_open { "; waits for a person" } else { "" };
    say(format!("outcome   {}{open}", printable(&report.outcome)));
    Ok(())
}

/// What a reason is about, and what follows from it.
fn verdict_on(reason: Reason) -> String {
    let suppress = match reason.suppress() {
        Suppress::Never => "suppresses nothing",
        Suppress::Unknown | Suppress::Disabled => "suppresses at the first permanent failure",
        Suppress::Full | Suppress::Filtered => "suppresses after several in a row",
        Suppress::ForGood => "suppresses until somebody removes it",
    };
    format!("{}; {suppress}; {}", reason.axis().sentence(), reason.retry().sentence())
}

/// Reports, or refusals, that are judged before there is a look for more.
const PAGE: u32 = 200;

async fn reclassify(guest: &Guest, loaded: &Loaded, arguments: &Reclassify) -> anyhow::Result<()> {
    let intake = app::intake_of_a_guest(&loaded.settings, &guest.store, &guest.clock, &guest.ids).await?;
    let since = guest.clock.now() - Duration::from_secs(u64::from(arguments.days) * 86_400);
    let (mut after, mut reports, mut refusals) = (None, 0, 0);
    let (mut changed, mut rejudged) = (0, 0);
    loop {
        let walked = intake.walk_again(since, after, PAGE, arguments.apply).await.context("judge again")?;
        for (id, replayed) in &walked.changed {
            tell(id, replayed);
        }
        for id in &walked.moving {
            say(format!("{id}  its delivery moves just now; try again"));
        }
        (reports, refusals) = (reports + walked.reports, refusals + walked.refusals);
        *(if walked.refusals > 0 { &mut rejudged } else { &mut changed }) += walked.changed.len();
        let Some(next) = walked.next else { break };
        after = Some(next);
    }
    let done = if arguments.apply { "have" } else { "would have" };
    say(format!("{changed} of {reports} reports and {rejudged} of {refusals} refusals {done} another verdict"));
    if !arguments.apply && changed + rejudged > 0 {
        say("nothing was changed; --apply does");
    }
    Ok(())
}

fn tell(id: &str, replayed: &Replayed) {
    let verdict = |verdict: &Verdict| match &verdict.cause {
        Some(cause) => format!("{} {} ({}) [rule {}]", verdict.kind, cause.reason, cause.class.as_str(), cause.rule),
        None => format!("{} {}", verdict.kind, verdict.outcome),
    };
    say(format!("{id}  {}  →  {}", printable(&verdict(&replayed.before)), printable(&verdict(&replayed.after))));
    say(format!("    {}", printable(&replayed.after.outcome)));
}
