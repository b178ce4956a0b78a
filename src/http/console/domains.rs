//! The domains of a mail agent, and what each of them must publish, looked up live.
//!
//! What a claim is worth, the API says: a domain is the tenant's when a record of it shows so, or somebody who looks after
//! the installation says so.

use askama::Template;
use hyper::Method;
use serde_json::{Value, json};

use super::exchange::text;
use super::page::{self, Frame, Notice, Section};
use super::{Page, Visit, go};
use crate::http::query::encoded;
use crate::model::signing_key::KeyState;
use crate::model::tenant::MailAgent;
use crate::model::user::Deed;

/// Domains on one page.
const ROWS_MAX: usize = 50;
/// Bytes of what a lookup has found.
const FOUND_BYTES_MAX: usize = 3_000;

#[derive(Template)]
#[template(path = "console/domains.html")]
struct DomainsPage<'t> {
    frame: Frame,
    agent: &'t MailAgent,
    tab: &'static str,
    domains: Vec<(String, &'static str, &'static str)>,
    /// The query of the next page.
    next: Option<String>,
}

/// All of them.
pub(super) async fn list(visit: &Visit<'_>, key: &str, notice: Option<Notice>) -> Page {
    let agent = visit.agent(key).await?;
    let after = Some(visit.query.get("after")).filter(|after| !after.is_empty());
    let after = after.map(|after| format!("&after={}", encoded(after))).unwrap_or_default();
    let path = format!("/api/v1/domains?limit={ROWS_MAX}&mailAgent={}{after}", encoded(&agent.name));
    let claimed = visit.api(&agent, Method::GET, &path, &Value::Null).await?;
    let mut domains = Vec::new();
    for domain in claimed.as_array().into_iter().flatten() {
        let name = text(domain, "/name");
        let keys = visit.server.store().signing_keys(visit.tenant.id, &name).await?;
        let (class, state) = match domain.get("status").and_then(Value::as_str) {
            Some("verified") if keys.iter().any(|key| key.state == KeyState::Signing) => ("good", "signed"),
            Some("verified") if keys.iter().any(|key| key.state == KeyState::Waiting) => {
                ("fair", "waits for its DNS records")
            }
            Some("verified") => ("fair", "not signed"),
            _ if text(domain, "/verifiedBy") == "capture" => {
                ("bad", "believed in capture mode, not shown to be yours yet")
            }
            _ => ("bad", "not shown to be yours yet"),
        };
        domains.push((name, class, state));
    }
    let here = visit.path(&format!("agents/{key}/domains"));
    let frame = visit.frame(&agent.name, Section::Agents, notice).here(here);
    let last = domains.last().filter(|_| domains.len() == ROWS_MAX);
    let next = last.map(|(name, ..)| format!("after={}", encoded(name)));
    page::page(&DomainsPage { frame, agent: &agent, tab: "domains", domains, next })
}

/// What is at a domain in the API, as the agent's.
fn path_of(agent: &MailAgent, domain: &str, rest: &str) -> String {
    format!("/api/v1/domains/{}{rest}?mailAgent={}", encoded(domain), encoded(&agent.name))
}

/// Adds a domain that the agent may send from when it is shown to be the tenant's, with keys that will sign for it.
pub(super) async fn add(visit: &Visit<'_>, key: &str) -> Page {
    let agent = visit.agent(key).await?;
    visit.may(Deed::Manage)?;
    let body = json!({ "name": visit.form.get("domain"), "mailAgent": agent.name });
    let added = match visit.api(&agent, Method::POST, "/api/v1/domains", &body).await {
        Ok(added) => added,
        Err(problem) => return list(visit, key, Notice::bad(page::told(&problem))).await,
    };
    let name = text(&added, "/name");
    visit.note("added domain", &name).await?;
    let told = match text(&added, "/status").as_str() {
        "verified" => format!("Added {name}."),
        _ => format!("Added {name}. Publish its DNS records: one of them shows that it is yours."),
    };
    list(visit, key, Notice::good(told)).await
}

/// Takes a domain from the agent.
pub(super) async fn remove(visit: &Visit<'_>, key: &str) -> Page {
    let agent = visit.agent(key).await?;
    visit.may(Deed::Manage)?;
    let domain = visit.form.get("domain");
    visit.api(&agent, Method::DELETE, &path_of(&agent, domain, ""), &Value::Null).await?;
    visit.note("removed domain", domain).await?;
    list(visit, key, Notice::good(format!("Removed {domain}."))).await
}

/// A record that a domain must publish, and what is there.
struct Record {
    purpose: String,
    name: String,
    kind: String,
    verdict: String,
    class: &'static str,
    advice: String,
    found: String,
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
    is_verified: bool,
    has_keys: bool,
}

/// One domain with its records, looked up now; keys whose record is seen begin to sign.
pub(super) async fn show(visit: &Visit<'_>, key: &str, name: &str, notice: Option<Notice>) -> Page {
    let agent = visit.agent(key).await?;
    let claimed = visit.api(&agent, Method::POST, &path_of(&agent, name, "/verify"), &Value::Null).await?;
    let found = visit.api(&agent, Method::GET, &path_of(&agent, name, "/records"), &Value::Null).await?;
    let is_verified = text(&claimed, "/status") == "verified";
    let listed = claimed.get("records").and_then(Value::as_array).into_iter().flatten();
    let has_keys = listed.clone().any(|record| text(record, "/purpose") == "dkim");
    let proof = listed.filter(|record| !is_verified && text(record, "/purpose") == "ownership").map(proof);
    let records: Vec<Record> = proof.chain(found.as_array().into_iter().flatten().map(record)).collect();
    let bad = records.iter().filter(|record| record.class == "bad").count();
    let domain = text(&claimed, "/name");
    let here = visit.path(&format!("agents/{key}/domains/{domain}"));
    let frame = visit.frame(&domain, Section::Agents, notice).here(here);
    page::page(&DomainPage { frame, agent: &agent, records, bad, is_verified, has_keys, domain })
}

/// The record that shows whose the domain is, while it has not been seen.
fn proof(record: &Value) -> Record {
    Record {
        purpose: "ownership".to_owned(),
        name: text(record, "/name"),
        kind: text(record, "/type"),
        verdict: "missing".to_owned(),
        class: "bad",
        advice: "shows that the domain is yours; until it is seen nothing is sent from it".to_owned(),
        found: String::new(),
        publish: text(record, "/value"),
    }
}

fn record(found: &Value) -> Record {
    let verdict = text(found, "/verdict");
    let texts = found.get("found").and_then(Value::as_array).into_iter().flatten().filter_map(Value::as_str);
    Record {
        purpose: text(found, "/purpose").replace('_', " "),
        name: text(found, "/name"),
        kind: text(found, "/type"),
        class: match verdict.as_str() {
            "right" => "good",
            "missing" | "wrong" => "bad",
            _ => "fair",
        },
        verdict,
        advice: text(found, "/advice"),
        found: page::cut(&texts.collect::<Vec<_>>().join("\n"), FOUND_BYTES_MAX),
        publish: text(found, "/publish"),
    }
}

/// Makes new keys; they sign when their records are seen, and the old ones retire then.
pub(super) async fn make_keys(visit: &Visit<'_>, key: &str, name: &str) -> Page {
    let agent = visit.agent(key).await?;
    // Whether it is there is told before what may be done with it.
    visit.api(&agent, Method::GET, &path_of(&agent, name, ""), &Value::Null).await?;
    visit.may(Deed::Manage)?;
    visit.api(&agent, Method::POST, &path_of(&agent, name, "/keys"), &Value::Null).await?;
    visit.note("made signing keys", name).await?;
    Ok(go(&visit.path(&format!("agents/{key}/domains/{name}"))))
}
