//! `postback tls-report`: what other people's domains are told about TLS with their hosts.

use anyhow::{Context, bail};
use clap::Subcommand;
use postback::config::Loaded;
use postback::mail::tls_report::Report;
use postback::model::address::domain_name;
use postback::model::statistics::Day;
use postback::model::tls_session::TlsSession;

use super::database::Guest;
use super::say;

#[derive(Subcommand)]
pub(super) enum TlsReportCommand {
    /// Show the report about a day, as JSON: what goes to the domain, if it asks for reports
    Show {
        /// The recipients' domain
        domain: String,
        /// Which day of UTC, as 2026-03-02 [default: yesterday]
        #[arg(long, value_name = "DATE")]
        day: Option<String>,
    },
}

pub(super) async fn run(loaded: &Loaded, command: TlsReportCommand) -> anyhow::Result<()> {
    let TlsReportCommand::Show { domain, day } = command;
    let Some(reporter) = loaded.settings.tls_reports.reporter() else {
        bail!("nothing is counted or reported about TLS: `tls_reports.from` is not set");
    };
    let domain = domain_name(&domain).with_context(|| format!("{domain:?} is not a domain"))?;
    let guest = Guest::open(loaded).await?;
    let day = match day {
        Some(text) => Day::from_date(&text).with_context(|| format!("{text:?} is not a day like 2026-03-02"))?,
        None => Day(Day::of(guest.clock.now()).0.saturating_sub(1)),
    };
    let counted = guest.store.tls_sessions(&domain, day).await.context("read what was counted")?;
    guest.store.close().await;
    if counted.is_empty() {
        bail!("no TLS session with an exchanger of {domain} was counted on {}", day.date());
    }
    let sessions: Vec<(TlsSession, u64)> = counted.into_iter().map(|one| (one.session, one.sessions)).collect();
    say(Report { reporter: &reporter, domain: &domain, day, sessions: &sessions }.json());
    Ok(())
}
