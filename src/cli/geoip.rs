//! `postback geoip`: the database of places, fetched from whom the settings name and taken into use by a running server.

use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, bail};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use clap::Subcommand;
use postback::app;
use postback::clock::Clock;
use postback::config::{GeoipSource, GeoipUpdate, Loaded};
use postback::dns;
use postback::enrich::geo::archive::{DATABASE_BYTES_MAX, dbip_files, install};
use postback::fetch::{Ask, Fetched, Fetcher};
use postback::model::time::Timestamp;

use super::say;

#[derive(Subcommand)]
pub(super) enum GeoipCommand {
    /// Fetch the newest database; DB-IP Lite City, unless geoip.update.source says maxmind
    Update,
    /// Show which data is in use, from when, and whose
    Show,
}

/// Redirects that are followed: MaxMind serves from another host.
const REDIRECTS_MAX: u32 = 5;
/// A download may take so long.
const PATIENCE: Duration = Duration::from_secs(900);

pub(super) async fn run(loaded: &Loaded, command: GeoipCommand) -> anyhow::Result<()> {
    let settings = &loaded.settings;
    match command {
        GeoipCommand::Show => say(app::open_geo(settings)?.description()),
        GeoipCommand::Update => {
            let fetcher = app::open_fetcher(settings, Arc::new(dns::Network::new(&settings.dns)?))?;
            let served = fetched(&fetcher, &settings.geoip.update).await?;
            let path = app::fetched_places(settings);
            let said = install(&served.body, &path).context("take the database into use")?;
            say(said);
            if !settings.geoip.databases.is_empty() {
                say(format!("it is at {}; geoip.databases names others, which stay in use", path.display()));
            }
        }
    }
    Ok(())
}

/// The database as it is served.
async fn fetched(fetcher: &Fetcher, update: &GeoipUpdate) -> anyhow::Result<Fetched> {
    let (urls, authorization) = match update.source {
        GeoipSource::Dbip => (dbip(update, Clock::system().now()), None),
        GeoipSource::Maxmind => maxmind(update)?,
    };
    let mut last = None;
    for url in urls {
        let ask = Ask { bytes_max: DATABASE_BYTES_MAX, patience: PATIENCE, authorization: authorization.clone() };
        let answer = followed(fetcher, &url, ask).await.with_context(|| format!("fetch {url}"))?;
        match answer.status.as_u16() {
            200 => return Ok(answer),
            status => last = Some(format!("{url} answers {status}")),
        }
    }
    bail!("{}", last.unwrap_or_default())
}

/// Follows redirects. The key goes to the first host alone.
async fn followed(fetcher: &Fetcher, url: &str, mut ask: Ask) -> anyhow::Result<Fetched> {
    let mut url = url::Url::parse(url)?;
    for _ in 0..REDIRECTS_MAX {
        let answer = fetcher.get(url.as_str(), &ask).await?;
        let Some(location) = answer.location.as_ref().filter(|_| answer.status.is_redirection()) else {
            return Ok(answer);
        };
        let next = url.join(location).with_context(|| format!("it redirects to {location:?}"))?;
        if next.origin() != url.origin() {
            ask.authorization = None;
        }
        url = next;
    }
    bail!("it redirects more than {REDIRECTS_MAX} times")
}

fn dbip(update: &GeoipUpdate, now: Timestamp) -> Vec<String> {
    let base = base_url(update, "https://download.db-ip.com");
    dbip_files(now).into_iter().map(|file| format!("{base}/free/{file}")).collect()
}

fn maxmind(update: &GeoipUpdate) -> anyhow::Result<(Vec<String>, Option<String>)> {
    let (account, key) = (&update.account_id, update.license_key.reveal());
    if account.is_empty() || key.is_empty() {
        bail!("MaxMind asks for an account: set geoip.update.account_id and geoip.update.license_key");
    }
    let edition = if update.edition.is_empty() { "GeoLite2-City" } else { &update.edition };
    let base = base_url(update, "https://download.maxmind.com");
    let url = format!("{base}/geoip/databases/{edition}/download?suffix=tar.gz");
    Ok((vec![url], Some(format!("Basic {}", STANDARD.encode(format!("{account}:{key}"))))))
}

fn base_url<'a>(update: &'a GeoipUpdate, usual: &'a str) -> &'a str {
    if update.base_url.is_empty() { usual } else { update.base_url.trim_end_matches('/') }
}
