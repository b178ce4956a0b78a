//! `postback check-config`: the effective settings, where each comes from, and what is wrong or unwise about them.

use clap::Args;
use postback::app;
use postback::config::Problem;

use super::{Options, say, serve};

#[derive(Args)]
pub(super) struct Arguments {
    /// Take what is unwise for an error, too
    #[arg(long)]
    strict: bool,
    #[command(flatten)]
    flags: serve::Flags,
}

pub(super) async fn run(options: &Options, arguments: Arguments) -> anyhow::Result<()> {
    let loaded = options.load(arguments.flags.settings())?;
    let effective = loaded.effective();
    let lines: Vec<_> = effective.iter().map(|(key, value, origin)| (format!("{key} = {value}"), origin)).collect();
    let width = lines.iter().map(|(line, _)| line.chars().count()).max().unwrap_or_default().min(60);
    for (line, origin) in lines {
        say(format!("{line:width$}  # {origin}"));
    }
    app::rehearse(&loaded.settings).await.map_err(|fault| Problem(format!("{fault:#}")))?;
    let warnings = loaded.settings.warnings();
    for warning in &warnings {
        eprintln!("postback: warning: {warning}");
    }
    match warnings.len() {
        count if arguments.strict && count > 0 => Err(Problem(format!("{count} warnings, and --strict")).into()),
        _ => Ok(()),
    }
}
