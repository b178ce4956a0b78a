//! `postback domain`, `postback dns`: which domains mail may be sent from, the keys that sign for them, and what the DNS
//! must say. Works beside a running server, which signs with another key within half a minute.

use std::path::PathBuf;

use anyhow::{Context, bail};
use clap::Subcommand;
use postback::config::{Loaded, Settings};
use postback::dns::check::{Expected, Finding, Outlet, Verdict, check};
use postback::dns::{Network, Resolver};
use postback::intake::provision;
use postback::mail::dkim::Key;
use postback::model::address::domain_name;
use postback::model::signing_key::{KeyState, SigningKey, in_strings, is_selector};
use postback::model::tenant::Tenant;

use super::database::Guest;
use super::tenants::Of;
use super::{added, removed, say, say_table};

#[derive(Subcommand)]
pub(super) enum DomainCommand {
    /// Let a mail agent send from a domain, and make keys that sign for it
    Add {
        /// The domain
        domain: String,
        /// Make no keys; mail goes out unsigned until there are some
        #[arg(long)]
        without_keys: bool,
        #[command(flatten)]
        of: Of,
    },
    /// Show the domains that a mail agent may send from
    List {
        #[command(flatten)]
        of: Of,
    },
    /// Take a domain from a mail agent; its keys stay
    Remove {
        /// The domain
        domain: String,
        #[command(flatten)]
        of: Of,
    },
    /// Show the keys that sign for a domain
    Keys {
        /// The domain
        domain: String,
        #[command(flatten)]
        of: Of,
    },
    /// Make new keys; they take the place of those before when their records are seen. Keys that still wait for that are
    /// dropped
    Rotate {
        /// The domain
        domain: String,
        #[command(flatten)]
        of: Of,
    },
    /// Bring a key of your own: a PEM file with an RSA key of at least 2048 bits, or Ed25519
    Import {
        /// The domain
        domain: String,
        /// The file
        file: PathBuf,
        /// Under which name its record stands
        #[arg(long)]
        selector: String,
        #[command(flatten)]
        of: Of,
    },
    /// Let a key sign now, whether its record was seen or not
    Activate {
        /// The domain
        domain: String,
        /// Which key
        selector: String,
        #[command(flatten)]
        of: Of,
    },
    /// Remove a key; what it signed and is still under way can then be verified only while its record stands
    RemoveKey {
        /// The domain
        domain: String,
        /// Which key
        selector: String,
        #[command(flatten)]
        of: Of,
    },
}

#[derive(Subcommand)]
pub(super) enum DnsCommand {
    /// Compare record by record what a sending domain publishes with what it should; keys whose records are right begin
    /// to sign. Exit status 1 when anything is missing or wrong
    Check {
        /// The domain
        domain: String,
        /// Print JSON
        #[arg(long)]
        json: bool,
        #[command(flatten)]
        of: Of,
    },
}

pub(super) async fn domain(loaded: &Loaded, command: DomainCommand) -> anyhow::Result<()> {
    let guest = Guest::open(loaded).await?;
    match command {
        DomainCommand::Add { domain, without_keys, of } => add(&guest, &domain, without_keys, &of).await?,
        DomainCommand::List { of } => {
            let agent = guest.agent(&of.tenant, &of.agent).await?;
            for domain in guest.store.domains(agent.id).await.context("list domains")? {
                say(domain);
            }
        }
        DomainCommand::Remove { domain, of } => {
            let agent = guest.agent(&of.tenant, &of.agent).await?;
            let domain = read(&domain)?;
            removed(guest.store.remove_domain(agent.id, &domain).await, &format!("domain {domain}"))?;
        }
        DomainCommand::Keys { domain, of } => {
            let (_, keys) = keys(&guest, &read(&domain)?, &of).await?;
            let row = |key: SigningKey| {
                let since = key.state_since.rfc3339_seconds();
                [key.selector, key.algorithm.as_str().to_owned(), key.state.as_str().to_owned(), since]
            };
            let rows: Vec<_> = keys.into_iter().map(row).collect();
            say_table(["SELECTOR", "ALGORITHM", "STATE", "SINCE"], &rows);
        }
        DomainCommand::Rotate { domain, of } => {
            let domain = read(&domain)?;
            let tenant = guest.tenant(&of.tenant).await?;
            let dropped = guest.store.drop_waiting_keys(tenant.id, &domain).await.context("drop keys that wait")?;
            for selector in dropped {
                say(format!("{selector}._domainkey.{domain} has never signed and is dropped; its record may go"));
            }
            make_keys(&guest, &tenant, &domain).await?;
        }
        DomainCommand::Import { domain, file, selector, of } => {
            import(&guest, &read(&domain)?, &file, &selector, &of).await?;
        }
        DomainCommand::Activate { domain, selector, of } => {
            let key = key(&guest, &read(&domain)?, &selector, &of).await?;
            if !guest.store.begin_signing(&key).await.context("let the key sign")? {
                bail!("{} signs already", key.record_name());
            }
            say(format!("{} signs from now on", key.record_name()));
        }
        DomainCommand::RemoveKey { domain, selector, of } => {
            let key = key(&guest, &read(&domain)?, &selector, &of).await?;
            let done = guest.store.remove_signing_key(key.tenant, &key.domain, &key.selector).await;
            removed(done, &format!("key {}", key.record_name()))?;
        }
    }
    guest.store.close().await;
    Ok(())
}

fn read(domain: &str) -> anyhow::Result<String> {
    domain_name(domain).with_context(|| format!("read {domain:?}"))
}

async fn add(guest: &Guest, domain: &str, without_keys: bool, of: &Of) -> anyhow::Result<()> {
    let agent = guest.agent(&of.tenant, &of.agent).await?;
    let domain = read(domain)?;
    added(guest.store.add_domain(agent.id, &domain).await, &format!("domain {domain}"))?;
    say(format!("{} of {} may now send from {domain}", agent.name, of.tenant));
    let tenant = guest.tenant(&of.tenant).await?;
    let has_keys = !guest.store.signing_keys(tenant.id, &domain).await.context("list keys")?.is_empty();
    if without_keys || has_keys {
        return Ok(());
    }
    make_keys(guest, &tenant, &domain).await
}

async fn make_keys(guest: &Guest, tenant: &Tenant, domain: &str) -> anyhow::Result<()> {
    let made = provision::signing_keys(tenant.id, domain, &guest.clock, &guest.ids).context("make keys")?;
    for (key, pkcs8) in &made {
        added(guest.store.add_signing_key(key, pkcs8).await, &format!("key {}", key.record_name()))?;
    }
    say("Publish these records; the keys sign as soon as they are seen:");
    for (key, _) in made {
        say(format!("{}.  IN TXT  {}", key.record_name(), in_strings(&key.record())));
    }
    say(format!("`postback dns check {domain}` says what else is needed."));
    Ok(())
}

async fn import(guest: &Guest, domain: &str, file: &PathBuf, selector: &str, of: &Of) -> anyhow::Result<()> {
    if !is_selector(selector) {
        bail!("{selector:?} cannot be a selector: lower-case letters, digits, - and _");
    }
    let tenant = guest.tenant(&of.tenant).await?;
    let pem = std::fs::read(file).with_context(|| format!("read {}", file.display()))?;
    let key = Key::from_pem(&pem).with_context(|| format!("use {}", file.display()))?;
    let described = key.described(tenant.id, domain, selector, guest.clock.now())?;
    let done = guest.store.add_signing_key(&described, &key.to_pkcs8()?).await;
    added(done, &format!("key {}", described.record_name()))?;
    say("Its record must say this; the key signs as soon as it is seen:");
    say(format!("{}.  IN TXT  {}", described.record_name(), in_strings(&described.record())));
    Ok(())
}

async fn keys(guest: &Guest, domain: &str, of: &Of) -> anyhow::Result<(Tenant, Vec<SigningKey>)> {
    let tenant = guest.tenant(&of.tenant).await?;
    let keys = guest.store.signing_keys(tenant.id, domain).await.context("list keys")?;
    Ok((tenant, keys))
}

async fn key(guest: &Guest, domain: &str, selector: &str, of: &Of) -> anyhow::Result<SigningKey> {
    let (_, keys) = keys(guest, domain, of).await?;
    let found = keys.into_iter().find(|key| key.selector == selector);
    found.with_context(|| format!("{domain} has no key {selector:?}; see `postback domain keys {domain}`"))
}

pub(super) async fn dns(loaded: &Loaded, command: DnsCommand) -> anyhow::Result<()> {
    let DnsCommand::Check { domain, json, of } = command;
    let domain = read(&domain)?;
    let guest = Guest::open(loaded).await?;
    let (_, keys) = keys(&guest, &domain, &of).await?;
    let resolver = Network::new(&loaded.settings.dns).context("dns")?;
    let findings = findings(&resolver, &loaded.settings, &domain, &keys).await;
    let began = begin_signing(&guest, &keys, &findings).await?;
    guest.store.close().await;
    if json {
        let signing: Vec<String> = began.iter().map(|key| key.selector.clone()).collect();
        say(serde_json::json!({"domain": domain, "records": findings, "began_signing": signing}).to_string());
    } else {
        findings.iter().for_each(tell);
        for key in &began {
            say(format!("{} signs from now on", key.record_name()));
        }
    }
    let bad = findings.iter().filter(|found| matches!(found.verdict, Verdict::Missing | Verdict::Wrong)).count();
    if bad > 0 {
        bail!("{bad} of {} records are missing or wrong", findings.len());
    }
    Ok(())
}

async fn findings(resolver: &dyn Resolver, settings: &Settings, domain: &str, keys: &[SigningKey]) -> Vec<Finding> {
    let tracking_host = settings.tracking_host();
    let sources = settings.deliver.sources_of(&settings.hostname);
    let sources: Vec<Outlet> = sources.into_iter().map(|(address, name)| Outlet { address, name }).collect();
    let expected = Expected {
        domain,
        keys,
        hostname: &settings.hostname,
        return_path_domain: &settings.reports.return_path_domain,
        tracking_host: &tracking_host,
        is_direct: settings.deliver.leaves_from_anywhere(),
        sources: &sources,
    };
    check(resolver, &expected).await
}

/// Lets those sign that wait and whose records are right.
async fn begin_signing(guest: &Guest, keys: &[SigningKey], findings: &[Finding]) -> anyhow::Result<Vec<SigningKey>> {
    let mut began = Vec::new();
    for key in keys.iter().filter(|key| key.state == KeyState::Waiting) {
        let is_right = |found: &&Finding| found.verdict == Verdict::Right && found.name == key.record_name();
        if findings.iter().any(|found| is_right(&found))
            && guest.store.begin_signing(key).await.context("let a key sign")?
        {
            began.push(key.clone());
        }
    }
    Ok(began)
}

fn tell(found: &Finding) {
    say(format!("{:<8}{:<12}{} {}", found.verdict.as_str(), found.purpose, found.name, found.kind));
    say(format!("        {}", found.advice));
    for record in &found.found {
        say(format!("        found:   {}", super::printable(record)));
    }
    if !found.publish.is_empty() {
        say(format!("        publish: {}. IN {} {}", found.name, found.kind, found.publish));
    }
}
