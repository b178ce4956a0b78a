//! Operations: what waits and for whom, what is stopped, and, for those who look after the installation, its nodes,
//! certificates, places and settings.

use askama::Template;
use hyper::Method;
use serde_json::{Value, json};

use super::exchange::text;
use super::page::{self, Frame, Notice, Section, number, shown, span};
use super::visit::{choices, main_agent};
use super::{Fault, Page, Visit};
use crate::http::certificates::{self, Shown, Standing};
use crate::http::problem::Problem;
use crate::http::query::encoded;
use crate::model::delivery::State;
use crate::model::queue::Pause;
use crate::model::suppression::Scope;
use crate::model::tenant::MailAgent;
use crate::model::time::Timestamp;
use crate::model::tracking::TrackingHost;
use crate::model::user::Deed;
use crate::store::queue::Waiting;
use crate::tls::orders::Order;

/// Domains that are listed.
const DOMAINS_MAX: u32 = 100;
/// Waiting deliveries that are looked at, the oldest.
const LOOKED_MAX: u32 = 20_000;
/// How far waiting mail is counted.
const COUNTED_MAX: u32 = 100_000;
/// Mail agents whose suppressions are linked to.
const LISTS_MAX: usize = 20;
/// Bytes of a text that others wrote.
const TEXT_BYTES_MAX: usize = 200;
/// Bytes of the rows of a list, and what a row takes besides its words.
const LIST_BYTES_MAX: usize = 30_000;
const WAITING_BYTES_MAX: usize = 50_000;
const ROW_BYTES: usize = 300;
const WAITING_ROW_BYTES: usize = 900;
/// A node that has not been seen for so long may be gone.
const QUIET_SECS: u64 = 120;

struct WaitingRow {
    domain: String,
    queued: String,
    due: String,
    held: String,
    oldest: String,
    is_paused: bool,
}

struct PauseRow {
    whose: String,
    /// The mail agent's key; empty: it is of all.
    agent: String,
    domain: String,
    since: String,
    note: String,
    /// It may be ended here.
    is_own: bool,
}

impl PauseRow {
    fn is_of_all_agents(&self) -> bool {
        self.is_own && self.agent.is_empty()
    }
}

struct NodeRow {
    hostname: String,
    version: String,
    roles: String,
    doors: Vec<String>,
    since: String,
    is_quiet: bool,
}

struct CertificateRow {
    /// Empty: the doors' own.
    host: String,
    class: &'static str,
    standing: &'static str,
    names: String,
    issuer: String,
    until: String,
    file: String,
    /// What came of the last order for one.
    order: String,
    has_order_failed: bool,
    /// What is wrong with the tracking host.
    fault: String,
}

/// A host of the tenant's own that links lead through.
pub(super) struct TrackingRow {
    pub(super) host: String,
    pub(super) domain: String,
    pub(super) class: &'static str,
    pub(super) standing: &'static str,
    pub(super) fault: String,
    pub(super) checked: String,
}

/// What those see who look after the installation.
struct Installation {
    nodes: Vec<NodeRow>,
    nodes_more: usize,
    certificates: Vec<CertificateRow>,
    certificates_more: usize,
    places: Vec<String>,
    places_of: String,
    settings: Vec<(String, String)>,
    settings_more: usize,
    warnings: Vec<String>,
}

#[derive(Template)]
#[template(path = "console/operations.html")]
struct OperationsPage {
    frame: Frame,
    waiting: Vec<WaitingRow>,
    waiting_more: usize,
    /// How many wait, and how many of them were looked at, when those are fewer.
    all: Option<(String, String)>,
    pauses: Vec<PauseRow>,
    pauses_more: usize,
    agents: Vec<(String, String)>,
    /// Where the list of all mail agents is, and those of each.
    suppressions: String,
    lists: Vec<(String, String)>,
    is_paused: bool,
    tracking_hosts: Vec<TrackingRow>,
    tracking_hosts_more: usize,
    installation: Option<Installation>,
}

/// The page.
pub(super) async fn show(visit: &Visit<'_>, notice: Option<Notice>) -> Page {
    let store = visit.server.store();
    let now = visit.server.clock().now();
    let waiting = store.oldest_by_domain(visit.tenant.id, DOMAINS_MAX, LOOKED_MAX).await?;
    let all = store.count_in_state(visit.tenant.id, State::Queued, COUNTED_MAX).await?;
    let pauses = store.pauses().await?;
    let agents = visit.agents().await?;
    let whose = |pause: &Pause| match pause.scope {
        Scope::Installation => Some(("everybody".to_owned(), String::new())),
        Scope::Tenant(tenant) => (tenant == visit.tenant.id).then(|| ("all mail agents".to_owned(), String::new())),
        Scope::Agent(_, id) => {
            let agent = agents.iter().find(|agent| agent.id == id)?;
            Some((page::cut(&agent.name, TEXT_BYTES_MAX), agent.key.clone()))
        }
    };
    let mut pauses: Vec<PauseRow> = pauses
        .iter()
        .filter_map(|pause| Some((whose(pause)?, pause)))
        .map(|((whose, agent), pause)| PauseRow {
            whose,
            agent,
            domain: pause.domain.clone().unwrap_or_default(),
            since: shown(pause.created_at),
            note: page::cut(&pause.note, TEXT_BYTES_MAX),
            is_own: pause.scope.tenant() == Some(visit.tenant.id),
        })
        .collect();
    let mut hosts = store.tracking_hosts().await?;
    hosts.retain(|host| host.tenant == visit.tenant.id);
    hosts.sort_by_key(TrackingHost::is_ready);
    let mut tracking_hosts: Vec<TrackingRow> = hosts.into_iter().map(tracking_row).collect();
    let is_paused = pauses.iter().any(|pause| pause.is_of_all_agents() && pause.domain.is_empty());
    let mut waiting: Vec<WaitingRow> = waiting.iter().map(|waiting| row(waiting, &pauses, now)).collect();
    let words = |texts: &[&String]| texts.iter().map(|text| page::written(text)).sum::<usize>();
    let of = |agent: &MailAgent| visit.path(&format!("agents/{}/suppressions", agent.key));
    let page = OperationsPage {
        suppressions: main_agent(&agents).map(of).unwrap_or_default(),
        lists: agents.iter().take(LISTS_MAX).map(|agent| (page::cut(&agent.name, TEXT_BYTES_MAX), of(agent))).collect(),
        frame: visit.frame("Operations", Section::Operations, notice).here(visit.path("operations")),
        waiting_more: page::fit(&mut waiting, WAITING_BYTES_MAX, |row| WAITING_ROW_BYTES + 7 * words(&[&row.domain])),
        waiting,
        all: (all > LOOKED_MAX.into()).then(|| (shown_count(all), number(LOOKED_MAX.into()))),
        pauses_more: page::fit(&mut pauses, LIST_BYTES_MAX / 2, |row| {
            ROW_BYTES + words(&[&row.whose, &row.domain, &row.domain, &row.note])
        }),
        pauses,
        agents: choices(agents),
        is_paused,
        tracking_hosts_more: page::fit(&mut tracking_hosts, LIST_BYTES_MAX / 2, |row| {
            ROW_BYTES + words(&[&row.host, &row.domain, &row.fault])
        }),
        tracking_hosts,
        installation: if visit.is_for_all() { Some(installation(visit, now).await?) } else { None },
    };
    page::page(&page)
}

/// A count for people that may have stopped at its limit.
fn shown_count(count: u64) -> String {
    if count < COUNTED_MAX.into() { number(count) } else { format!("{} or more", number(count)) }
}

fn row(waiting: &Waiting, pauses: &[PauseRow], now: Timestamp) -> WaitingRow {
    WaitingRow {
        domain: waiting.domain.clone(),
        queued: number(waiting.queued),
        due: number(waiting.due),
        held: number(waiting.held),
        oldest: span(now.since(waiting.oldest)),
        is_paused: pauses.iter().any(|pause| pause.is_of_all_agents() && pause.domain == waiting.domain),
    }
}

async fn installation(visit: &Visit<'_>, now: Timestamp) -> Result<Installation, Fault> {
    let house = visit.server.house();
    let words = |texts: &[&String]| texts.iter().map(|text| page::written(text)).sum::<usize>();
    let nodes = visit.server.store().nodes().await?;
    let nodes = nodes.into_iter().map(|node| NodeRow {
        hostname: node.facts.hostname,
        version: node.facts.version,
        roles: node.facts.roles.join(", "),
        doors: node.facts.doors.into_iter().map(|(door, address)| format!("{door} {address}")).collect(),
        since: span(now.since(node.started_at)),
        is_quiet: now.since(node.seen_at).as_secs() > QUIET_SECS,
    });
    let mut nodes: Vec<NodeRow> = nodes.collect();
    let mut certificates = certificates::shown(visit.server).await?;
    // The doors' own stay on top.
    certificates.sort_by_key(|shown| (shown.host.is_some(), !shown.is_in_trouble(now)));
    let mut certificates: Vec<CertificateRow> =
        certificates.into_iter().map(|shown| certificate_row(shown, now)).collect();
    let mut settings: Vec<(String, String)> =
        house.settings.iter().map(|(key, value)| (key.clone(), page::cut(value, TEXT_BYTES_MAX))).collect();
    let mut warnings = house.warnings.clone();
    page::fit(&mut warnings, LIST_BYTES_MAX / 3, |warning| words(&[warning]));
    let (places, made_at) = (house.places)();
    Ok(Installation {
        nodes_more: page::fit(&mut nodes, LIST_BYTES_MAX / 3, |row| {
            ROW_BYTES + words(&[&row.hostname, &row.roles, &row.doors.concat()])
        }),
        nodes,
        certificates_more: page::fit(&mut certificates, LIST_BYTES_MAX / 2, |row| {
            2 * ROW_BYTES + words(&[&row.host, &row.names, &row.issuer, &row.file, &row.order, &row.fault])
        }),
        certificates,
        places: places.lines().map(str::to_owned).collect(),
        places_of: shown(made_at),
        settings_more: page::fit(&mut settings, LIST_BYTES_MAX, |(key, value)| ROW_BYTES / 3 + words(&[key, value])),
        settings,
        warnings,
    })
}

pub(super) fn tracking_row(host: TrackingHost) -> TrackingRow {
    let (class, standing) = match (host.checked_at, host.is_ready()) {
        (_, true) => ("good", "links lead through it"),
        (Some(_), false) => ("bad", "mail goes untracked"),
        (None, false) => ("fair", "not checked yet"),
    };
    let checked = host.checked_at.filter(|at| *at != TrackingHost::DUE).map(shown).unwrap_or_default();
    let fault = page::cut(&host.fault, TEXT_BYTES_MAX);
    TrackingRow { host: host.host, domain: host.domain, class, standing, fault, checked }
}

fn certificate_row(certificate: Shown, now: Timestamp) -> CertificateRow {
    let (class, standing) = match certificate.standing(now) {
        Standing::Valid => ("good", "valid"),
        Standing::EndsSoon => ("bad", "ends soon"),
        Standing::Expired => ("bad", "expired"),
        Standing::SelfSigned => ("fair", "self-signed"),
        Standing::Unreadable => ("bad", "cannot be read"),
        Standing::None => ("", "shows the doors’"),
    };
    let Shown { host, file, leaf, order, tracking } = certificate;
    let has_order_failed = order.as_ref().is_some_and(|order| order.fault.is_some());
    let told = |Order { at, fault }: Order| match fault {
        None => format!("got at {}", shown(at)),
        Some((fault, next)) => {
            let fault = page::cut(&fault, TEXT_BYTES_MAX);
            format!("failed at {}: {fault}; again at {}", shown(at), shown(next))
        }
    };
    CertificateRow {
        host: host.unwrap_or_default(),
        class,
        standing,
        names: leaf.as_ref().map(|leaf| page::cut(&leaf.names.join(", "), TEXT_BYTES_MAX)).unwrap_or_default(),
        until: leaf.as_ref().map(|leaf| shown(leaf.validity.until)).unwrap_or_default(),
        issuer: leaf.map(|leaf| leaf.issuer).unwrap_or_default(),
        file,
        order: order.map(told).unwrap_or_default(),
        has_order_failed,
        fault: tracking.map(|host| page::cut(&host.fault, TEXT_BYTES_MAX)).unwrap_or_default(),
    }
}

/// A field of a form that is not empty.
fn given<'v>(visit: &'v Visit<'_>, name: &str) -> Option<&'v str> {
    Some(visit.form.get(name)).filter(|text| !text.is_empty())
}

/// What a form means: whose mail, to which domain, and both in words.
struct Meant<'v> {
    domain: Option<&'v str>,
    /// The mail agent's name; `None`: of all.
    agent: Option<String>,
    words: String,
}

async fn meant<'v>(visit: &'v Visit<'_>) -> Result<Meant<'v>, Fault> {
    let domain = given(visit, "domain");
    let name = domain.unwrap_or("all domains");
    let agent = match given(visit, "agent") {
        Some(key) => Some(visit.agent(key).await?.name),
        None => None,
    };
    let words = agent.as_ref().map_or_else(|| name.to_owned(), |agent| format!("{agent} to {name}"));
    Ok(Meant { domain, agent, words })
}

/// The page, with how a change went.
async fn told(visit: &Visit<'_>, done: Result<String, Problem>) -> Page {
    match done {
        Ok(told) => show(visit, Notice::good(told)).await,
        Err(problem @ Problem::NotFound(_)) => Err(problem.into()),
        Err(problem) => show(visit, Notice::bad(page::told(&problem))).await,
    }
}

/// Tries at once what waits for a domain, or for all.
pub(super) async fn retry(visit: &Visit<'_>) -> Page {
    visit.may(Deed::Manage)?;
    let Meant { domain, words: name, .. } = meant(visit).await?;
    let retried = visit.api_of_tenant(Method::POST, "/api/v1/queue/retry", &json!({ "domain": domain })).await;
    if retried.is_ok() {
        visit.note("retried queue", &name).await?;
    }
    let words = |done: Value| format!("{} to {name}: tried within seconds.", text(&done, "/count"));
    told(visit, retried.map(words)).await
}

/// Stops this tenant's mail, or one mail agent's, to a domain, or to all.
pub(super) async fn pause(visit: &Visit<'_>) -> Page {
    visit.may(Deed::Manage)?;
    let Meant { domain, agent, words: name } = meant(visit).await?;
    let body = json!({ "domain": domain, "mailAgent": agent, "note": given(visit, "note") });
    let paused = visit.api_of_tenant(Method::POST, "/api/v1/queue/pauses", &body).await;
    if paused.is_ok() {
        visit.note("paused queue", &name).await?;
    }
    told(visit, paused.map(|_| format!("Paused: {name}. What is under way still goes out."))).await
}

/// Lets it go on.
pub(super) async fn resume(visit: &Visit<'_>) -> Page {
    visit.may(Deed::Manage)?;
    let Meant { domain, agent, words: name } = meant(visit).await?;
    let domain = domain.map(|domain| format!("domain={}&", encoded(domain))).unwrap_or_default();
    let agent = agent.map(|agent| format!("mailAgent={}", encoded(&agent))).unwrap_or_default();
    let path = format!("/api/v1/queue/pauses?{domain}{agent}");
    let resumed = visit.api_of_tenant(Method::DELETE, &path, &Value::Null).await;
    if resumed.is_ok() {
        visit.note("resumed queue", &name).await?;
    }
    told(visit, resumed.map(|_| format!("Resumed: {name}."))).await
}
