//! The domains of a mail agent, and what each of them must publish, looked up live.

use askama::Template;

use super::page::{self, Frame, Notice, Section};
use super::{Fault, Page, Visit, go};
use crate::dns::check::{self, Expected, Finding, Verdict};
use crate::intake::provision;
use crate::model::address::domain_name;
use crate::model::signing_key::{KeyState, SigningKey};
use crate::model::tenant::MailAgent;
use crate::model::user::Deed;
use crate::store::StoreError;

#[derive(Template)]
#[template(path = "console/domains.html")]
struct DomainsPage<'t> {
    frame: Frame,
    agent: &'t MailAgent,
    tab: &'static str,
    domains: Vec<(String, &'static str)>,
}

/// All of them.
pub(super) async fn list(visit: &Visit<'_>, key: &str, notice: Option<Notice>) -> Page {
    let agent = visit.agent(key).await?;
    let mut domains = Vec::new();
    for domain in visit.server.store().domains(agent.id).await? {
        let keys = visit.server.store().signing_keys(visit.tenant.id, &domain).await?;
        let state = if keys.iter().any(|key| key.state == KeyState::Signing) {
            "signed"
        } else if keys.iter().any(|key| key.state == KeyState::Waiting) {
            "waits for its DNS records"
        } else {
            "not signed"
        };
        domains.push((domain, state));
    }
    let frame = visit.frame(&agent.name, Section::Agents, notice);
    page::page(&DomainsPage { frame, agent: &agent, tab: "domains", domains })
}

/// Adds a domain that the agent may send from, with keys that will sign for it.
pub(super) async fn add(visit: &Visit<'_>, key: &str) -> Page {
    let agent = visit.agent(key).await?;
    visit.may(Deed::Manage)?;
    let Ok(domain) = domain_name(visit.form.get("domain")) else {
        return list(visit, key, Notice::bad("This is no domain name.")).await;
    };
    match visit.server.store().add_domain(agent.id, &domain).await {
        Ok(()) => {}
        Err(StoreError::Conflict) => return list(visit, key, Notice::bad("It is there already.")).await,
        Err(fault) => return Err(fault.into()),
    }
    visit.note("added domain", &domain).await?;
    if visit.server.store().signing_keys(visit.tenant.id, &domain).await?.is_empty() {
        new_keys(visit, &domain).await?;
    }
    list(visit, key, Notice::good(format!("Added {domain}."))).await
}

/// Removes a domain.
pub(super) async fn remove(visit: &Visit<'_>, key: &str) -> Page {
    let agent = visit.agent(key).await?;
    visit.may(Deed::Manage)?;
    let domain = visit.form.get("domain");
    if !visit.server.store().remove_domain(agent.id, domain).await? {
        return Err(Fault::NotFound);
    }
    visit.note("removed domain", domain).await?;
    list(visit, key, Notice::good(format!("Removed {domain}."))).await
}

/// A record that a domain must publish, and what is there.
struct Record {
    purpose: &'static str,
    name: String,
    kind: &'static str,
    verdict: &'static str,
    class: &'static str,
    advice: String,
    found: Vec<String>,
    publish: String,
}

#[derive(Template)]
#[template(path = "console/domain.html")]
struct DomainPage<'t> {
    frame: Frame,
    agent: &'t MailAgent,
    domain: String,
    records: Vec<Record>,
    bad: usize,
    has_keys: bool,
}

async fn find(visit: &Visit<'_>, agent: &MailAgent, name: &str) -> Result<String, Fault> {
    let name = domain_name(name).map_err(|_| Fault::NotFound)?;
    let domains = visit.server.store().domains(agent.id).await?;
    if domains.contains(&name) { Ok(name) } else { Err(Fault::NotFound) }
}

/// One domain with its records, looked up now; keys whose record is seen begin to sign.
pub(super) async fn show(visit: &Visit<'_>, key: &str, name: &str, notice: Option<Notice>) -> Page {
    let agent = visit.agent(key).await?;
    let domain = find(visit, &agent, name).await?;
    let store = visit.server.store();
    let keys = store.signing_keys(visit.tenant.id, &domain).await?;
    let house = visit.server.house();
    let expected = Expected {
        domain: &domain,
        keys: &keys,
        hostname: &house.hostname,
        return_path_domain: &house.return_path_domain,
        tracking_host: &house.tracking_host,
        is_direct: house.is_direct,
        sources: &house.sources,
    };
    let findings = check::check(visit.server.resolver(), &expected).await;
    begin_signing(visit, &keys, &findings).await?;
    let bad = findings.iter().filter(|found| matches!(found.verdict, Verdict::Missing | Verdict::Wrong)).count();
    let frame = visit.frame(&domain, Section::Agents, notice);
    let records = findings.into_iter().map(record).collect();
    page::page(&DomainPage { frame, agent: &agent, records, bad, has_keys: !keys.is_empty(), domain })
}

fn record(found: Finding) -> Record {
    Record {
        purpose: found.purpose,
        name: found.name,
        kind: found.kind,
        verdict: found.verdict.as_str(),
        class: match found.verdict {
            Verdict::Right => "good",
            Verdict::Missing | Verdict::Wrong => "bad",
            Verdict::Unwise | Verdict::Unknown => "fair",
        },
        advice: found.advice,
        found: found.found,
        publish: found.publish,
    }
}

async fn begin_signing(visit: &Visit<'_>, keys: &[SigningKey], findings: &[Finding]) -> Result<(), Fault> {
    for key in keys.iter().filter(|key| key.state == KeyState::Waiting) {
        let is_right = |found: &Finding| found.verdict == Verdict::Right && found.name == key.record_name();
        if findings.iter().any(is_right) {
            visit.server.store().begin_signing(key).await?;
        }
    }
    Ok(())
}

async fn new_keys(visit: &Visit<'_>, domain: &str) -> Result<(), Fault> {
    let (clock, ids) = (visit.server.clock().clone(), visit.server.ids().clone());
    let (tenant, name) = (visit.tenant.id, domain.to_owned());
    let make = move || provision::signing_keys(tenant, &name, &clock, &ids);
    // An RSA key takes its time.
    let made = visit.server.sign_ins().aside(make).await?;
    let made = made.map_err(|_| Fault::Problem(crate::http::problem::Problem::Broken))?;
    for (key, pkcs8) in made {
        visit.server.store().add_signing_key(&key, &pkcs8).await?;
    }
    visit.note("made signing keys", domain).await
}

/// Makes new keys; they sign when their records are seen, and the old ones retire then.
pub(super) async fn make_keys(visit: &Visit<'_>, key: &str, name: &str) -> Page {
    let agent = visit.agent(key).await?;
    let domain = find(visit, &agent, name).await?;
    visit.may(Deed::Manage)?;
    new_keys(visit, &domain).await?;
    Ok(go(&visit.path(&format!("agents/{key}/domains/{domain}"))))
}
