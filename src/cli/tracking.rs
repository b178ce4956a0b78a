//! `postback tracking`: hosts that links lead through, links that lead nowhere any more, and what opens and clicks add up
//! to.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, bail};
use clap::{Args, Subcommand};
use postback::app::{self, hosts::Checker};
use postback::config::Loaded;
use postback::dns;
use postback::model::address::domain_name;
use postback::model::hit::{HitKind, Who};
use postback::model::time::Timestamp;
use postback::model::tracking::{Block, TrackingHost, host_below};
use postback::tls;

use super::database::Guest;
use super::tenants::Of;
use super::{added, removed, say, say_table};

#[derive(Subcommand)]
pub(super) enum TrackingCommand {
    /// Let the links of a sending domain lead through a host below it, and check that host
    AddHost {
        /// The host, as in links.example.com; its DNS must lead here
        host: String,
        /// The sending domain
        #[arg(long)]
        domain: String,
        #[command(flatten)]
        of: Of,
    },
    /// Show all tracking hosts, and what is wrong with them
    Hosts,
    /// Check a tracking host now, not within the minute
    CheckHost {
        /// Which
        host: String,
    },
    /// Show a certificate of its own to who asks for a tracking host; a running server takes it into use within a minute
    Certificate {
        /// Of which host
        host: String,
        /// Certificate and chain, as PEM
        #[arg(long, value_name = "FILE")]
        certificate: PathBuf,
        /// Its key, as PEM
        #[arg(long, value_name = "FILE")]
        key: PathBuf,
    },
    /// Set the files by which links of a host open apps; without files, they are removed
    AppLinks {
        /// Of which host
        host: String,
        /// For /.well-known/apple-app-site-association
        #[arg(long, value_name = "FILE")]
        apple: Option<PathBuf>,
        /// For /.well-known/assetlinks.json
        #[arg(long, value_name = "FILE")]
        android: Option<PathBuf>,
        #[command(flatten)]
        of: Of,
    },
    /// Remove a tracking host: links under it lead nowhere any more
    RemoveHost {
        /// Which
        host: String,
        #[command(flatten)]
        of: Of,
    },
    /// Make links lead nowhere: those of a message (msg_…) or mail agent (agt_…), or to a host and all below it
    Block(Blocked),
    /// Let them lead where they led
    Unblock(Blocked),
    /// Show what is blocked
    Blocks,
    /// Show opens and clicks by day, of people and in all
    Counts {
        /// How many days back
        #[arg(long, default_value_t = 30)]
        days: u16,
        /// Of which tenant
        #[arg(long, value_name = "SLUG", default_value = "default")]
        tenant: String,
        /// Of which mail agent [default: all]
        #[arg(long, value_name = "NAME")]
        agent: Option<String>,
    },
}

#[derive(Args)]
pub(super) struct Blocked {
    /// What
    #[arg(value_name = "MESSAGE|AGENT|HOST")]
    what: String,
}

impl Blocked {
    fn read(&self) -> anyhow::Result<Block> {
        let text = self.what.as_str();
        let found = ["message", "agent", "target"].iter().find_map(|kind| Block::read(kind, text));
        found.with_context(|| format!("{text:?} is neither a message id, a mail agent's id nor a host name"))
    }
}

/// An app's file is no longer.
const FILE_BYTES_MAX: usize = 128 << 10;

pub(super) async fn run(loaded: &Loaded, command: TrackingCommand) -> anyhow::Result<()> {
    let guest = Guest::open(loaded).await?;
    match command {
        TrackingCommand::AddHost { host, domain, of } => add_host(loaded, &guest, &host, &domain, &of).await?,
        TrackingCommand::Hosts => show_hosts(&guest).await?,
        TrackingCommand::CheckHost { host } => {
            check_host(loaded, &guest, &known_host(&guest, &host).await?).await?;
        }
        TrackingCommand::Certificate { host, certificate, key } => {
            let host = known_host(&guest, &host).await?;
            let read =
                |path: &PathBuf| std::fs::read_to_string(path).with_context(|| format!("read {}", path.display()));
            tls::hosts::put(&loaded.settings.data, &host.host, &read(&certificate)?, &read(&key)?)
                .with_context(|| format!("use {}", certificate.display()))?;
            say(format!("{} shows it within a minute", host.host));
        }
        TrackingCommand::AppLinks { host, apple, android, of } => {
            let tenant = guest.tenant(&of.tenant).await?;
            let (apple, android) = (json_file(apple)?, json_file(android)?);
            if !guest.store.set_app_links(tenant.id, &host, &apple, &android).await.context("set the files")? {
                bail!("tenant {:?} has no tracking host {host:?}", of.tenant);
            }
            say(format!("{host} serves them within seconds"));
        }
        TrackingCommand::RemoveHost { host, of } => {
            let tenant = guest.tenant(&of.tenant).await?;
            removed(guest.store.remove_tracking_host(tenant.id, &host).await, &format!("tracking host {host:?}"))?;
        }
        TrackingCommand::Block(blocked) => {
            guest.store.block_links(&blocked.read()?).await.context("block the links")?;
            say("blocked; readers get a page that says so, within seconds");
        }
        TrackingCommand::Unblock(blocked) => {
            removed(guest.store.unblock_links(&blocked.read()?).await, &format!("block on {}", blocked.what))?;
        }
        TrackingCommand::Blocks => {
            for block in guest.store.link_blocks().await.context("list what is blocked")? {
                let (kind, value) = block.parts();
                say(format!("{kind} {value}"));
            }
        }
        TrackingCommand::Counts { days, tenant, agent } => counts(&guest, days, &tenant, agent.as_deref()).await?,
    }
    guest.store.close().await;
    Ok(())
}

async fn add_host(loaded: &Loaded, guest: &Guest, host: &str, domain: &str, of: &Of) -> anyhow::Result<()> {
    let agent = guest.agent(&of.tenant, &of.agent).await?;
    let domain = domain_name(domain).with_context(|| format!("read {domain:?}"))?;
    let Some(host) = host_below(host, &domain) else { bail!("{host:?} is not the name of a host below {domain}") };
    if !guest.store.domains(agent.id).await.context("look for its domains")?.contains(&domain) {
        bail!("{} may not send from {domain}; first `postback domain add {domain}`", agent.name);
    }
    let added_host = TrackingHost::new(host.clone(), &agent, domain.clone(), guest.clock.now());
    added(
        guest.store.add_tracking_host(added_host.clone()).await,
        &format!("tracking host {host}, or one for {domain},"),
    )?;
    say(format!("links in mail from {domain} lead through {host}, once it has passed its check"));
    check_host(loaded, guest, &added_host).await
}

async fn known_host(guest: &Guest, host: &str) -> anyhow::Result<TrackingHost> {
    let hosts = guest.store.tracking_hosts().await.context("look for the tracking host")?;
    let found = hosts.into_iter().find(|known| known.host == host.to_ascii_lowercase());
    found.with_context(|| format!("there is no tracking host {host:?}"))
}

async fn check_host(loaded: &Loaded, guest: &Guest, host: &TrackingHost) -> anyhow::Result<()> {
    let ring = guest.store.key_ring(guest.ids.bytes()).await.context("read the token keys")?;
    let fetcher = app::open_fetcher(&loaded.settings, Arc::new(dns::Network::new(&loaded.settings.dns)?))?;
    let checker = Checker { fetcher, ring, ids: guest.ids.clone() };
    let fault = checker.fault(host).await.unwrap_or_default();
    guest.store.tracking_host_checked(&host.host, &fault).await.context("note what the check came to")?;
    match fault.as_str() {
        "" => say(format!("{} has passed its check", host.host)),
        _ => say(format!("{} has not passed its check: {fault}; until it does, mail goes untracked", host.host)),
    }
    Ok(())
}

async fn show_hosts(guest: &Guest) -> anyhow::Result<()> {
    let hosts = guest.store.tracking_hosts().await.context("list tracking hosts")?;
    let row = |host: TrackingHost| {
        let standing = match (host.checked_at, host.fault.is_empty()) {
            (None, _) => "not checked yet".to_owned(),
            (Some(_), true) => "ready".to_owned(),
            (Some(_), false) => host.fault,
        };
        let checked = host.checked_at.map_or(String::new(), Timestamp::rfc3339_seconds);
        [host.host, host.domain, checked, standing]
    };
    let rows: Vec<_> = hosts.into_iter().map(row).collect();
    say_table(["HOST", "DOMAIN", "CHECKED", "STANDING"], &rows);
    Ok(())
}

/// The text of a file that holds JSON; nothing for no file.
fn json_file(path: Option<PathBuf>) -> anyhow::Result<String> {
    let Some(path) = path else { return Ok(String::new()) };
    let text = std::fs::read_to_string(&path).with_context(|| format!("read {}", path.display()))?;
    if text.len() > FILE_BYTES_MAX {
        bail!("{} is larger than {FILE_BYTES_MAX} bytes", path.display());
    }
    serde_json::from_str::<serde_json::Value>(&text).with_context(|| format!("{} is not JSON", path.display()))?;
    Ok(text)
}

async fn counts(guest: &Guest, days: u16, tenant: &str, agent: Option<&str>) -> anyhow::Result<()> {
    let of_tenant = guest.tenant(tenant).await?;
    let of_agent = match agent {
        Some(agent) => Some(guest.agent(tenant, agent).await?.id),
        None => None,
    };
    let since = guest.clock.now() - Duration::from_secs(u64::from(days) * 86_400);
    let counts = guest.store.hit_counts(of_tenant.id, of_agent, since).await.context("count opens and clicks")?;
    let mut rows: Vec<[String; 9]> = Vec::new();
    for day in counts.chunk_by(|one, other| one.day == other.day) {
        let mut row = vec![day[0].day.rfc3339_seconds().chars().take(10).collect::<String>()];
        for kind in [HitKind::Open, HitKind::Click] {
            let of_kind = || day.iter().filter(move |count| count.kind == kind);
            let by_people = || of_kind().filter(|count| matches!(count.who, Who::Person | Who::Proxy));
            let sums = [
                by_people().map(|count| count.hits).sum::<u64>(),
                of_kind().map(|count| count.hits).sum(),
                of_kind().map(|count| count.firsts_by_person).sum(),
                of_kind().map(|count| count.firsts).sum(),
            ];
            row.extend(sums.map(|sum| sum.to_string()));
        }
        rows.extend(row.try_into());
    }
    let heads = ["DAY", "OPENS BY PEOPLE", "ALL", "UNIQUE BY PEOPLE", "UNIQUE", "CLICKS BY PEOPLE", "ALL"];
    let [day, opens, all, unique_people, unique, clicks, all_clicks] = heads;
    say_table([day, opens, all, unique_people, unique, clicks, all_clicks, unique_people, unique], &rows);
    Ok(())
}
