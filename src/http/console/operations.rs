//! Operations: what waits and for whom, what is stopped, and, for those who look after the installation, its nodes,
//! certificates, places and settings.

use askama::Template;
use hyper::Method;
use serde_json::{Value, json};

use super::exchange::text;
use super::page::{self, Frame, Notice, Section, number, shown, span};
use super::visit::main_agent;
use super::{Fault, Page, Visit};
use crate::http::problem::Problem;
use crate::http::query::encoded;
use crate::model::delivery::State;
use crate::model::queue::Pause;
use crate::model::suppression::Scope;
use crate::model::tenant::MailAgent;
use crate::model::time::Timestamp;
use crate::model::user::Deed;
use crate::store::queue::Waiting;

/// Domains that are listed.
const DOMAINS_MAX: u32 = 100;
/// Waiting deliveries that are looked at, the oldest.
const LOOKED_MAX: u32 = 20_000;
/// How far waiting mail is counted.
const COUNTED_MAX: u32 = 100_000;
/// Mail agents whose suppressions are linked to.
const LISTS_MAX: usize = 20;
/// A node that has not been seen for so long may be gone.
const QUIET_SECS: u64 = 120;
/// A certificate that ends within so many days is told of.
const ENDS_SOON_DAYS: i64 = 21;

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
    /// The mail agent's name; empty: it is of all.
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

struct CertificateView {
    file: String,
    until: String,
    is_ending: bool,
}

/// What those see who look after the installation.
struct Installation {
    nodes: Vec<NodeRow>,
    certificate: Option<CertificateView>,
    places: Vec<String>,
    places_of: String,
    settings: Vec<(String, String)>,
    warnings: Vec<String>,
}

#[derive(Template)]
#[template(path = "console/operations.html")]
struct OperationsPage {
    frame: Frame,
    waiting: Vec<WaitingRow>,
    /// How many wait, and how many of them were looked at, when those are fewer.
    all: Option<(String, String)>,
    pauses: Vec<PauseRow>,
    agents: Vec<String>,
    /// Where the list of all mail agents is, and those of each.
    suppressions: String,
    lists: Vec<(String, String)>,
    is_paused: bool,
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
            Some((agent.name.clone(), agent.name.clone()))
        }
    };
    let pauses: Vec<PauseRow> = pauses
        .iter()
        .filter_map(|pause| Some((whose(pause)?, pause)))
        .map(|((whose, agent), pause)| PauseRow {
            whose,
            agent,
            domain: pause.domain.clone().unwrap_or_default(),
            since: shown(pause.created_at),
            note: pause.note.clone(),
            is_own: pause.scope.tenant() == Some(visit.tenant.id),
        })
        .collect();
    let is_paused = pauses.iter().any(|pause| pause.is_of_all_agents() && pause.domain.is_empty());
    let of = |agent: &MailAgent| visit.path(&format!("agents/{}/suppressions", agent.key));
    let page = OperationsPage {
        suppressions: main_agent(&agents).map(of).unwrap_or_default(),
        lists: agents.iter().take(LISTS_MAX).map(|agent| (agent.name.clone(), of(agent))).collect(),
        frame: visit.frame("Operations", Section::Operations, notice).here(visit.path("operations")),
        waiting: waiting.iter().map(|waiting| row(waiting, &pauses, now)).collect(),
        all: (all > LOOKED_MAX.into()).then(|| (shown_count(all), number(LOOKED_MAX.into()))),
        pauses,
        agents: agents.into_iter().map(|agent| agent.name).collect(),
        is_paused,
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
    let nodes = visit.server.store().nodes().await?;
    let nodes = nodes.into_iter().map(|node| NodeRow {
        hostname: node.facts.hostname,
        version: node.facts.version,
        roles: node.facts.roles.join(", "),
        doors: node.facts.doors.into_iter().map(|(door, address)| format!("{door} {address}")).collect(),
        since: span(now.since(node.started_at)),
        is_quiet: now.since(node.seen_at).as_secs() > QUIET_SECS,
    });
    let certificate = house.certificates.as_ref().map(|certificates| {
        let until = certificates.validity().map(|validity| validity.until);
        let is_near = |until: Timestamp| until.as_millis() - now.as_millis() < ENDS_SOON_DAYS * 86_400_000;
        CertificateView {
            file: certificates.file().display().to_string(),
            until: until.map_or_else(|| "unknown".to_owned(), shown),
            is_ending: until.is_some_and(is_near),
        }
    });
    let (places, made_at) = (house.places)();
    Ok(Installation {
        nodes: nodes.collect(),
        certificate,
        places: places.lines().map(str::to_owned).collect(),
        places_of: shown(made_at),
        settings: house.settings.clone(),
        warnings: house.warnings.clone(),
    })
}

/// A field of a form that is not empty.
fn given<'v>(visit: &'v Visit<'_>, name: &str) -> Option<&'v str> {
    Some(visit.form.get(name)).filter(|text| !text.is_empty())
}

/// The domain that a form names, and in words whose mail it means.
fn meant<'v>(visit: &'v Visit<'_>) -> (Option<&'v str>, String) {
    let domain = given(visit, "domain");
    let name = domain.unwrap_or("all domains");
    (domain, given(visit, "agent").map_or_else(|| name.to_owned(), |agent| format!("{agent} to {name}")))
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
    let (domain, name) = meant(visit);
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
    let (domain, name) = meant(visit);
    let body = json!({ "domain": domain, "mailAgent": given(visit, "agent"), "note": given(visit, "note") });
    let paused = visit.api_of_tenant(Method::POST, "/api/v1/queue/pauses", &body).await;
    if paused.is_ok() {
        visit.note("paused queue", &name).await?;
    }
    told(visit, paused.map(|_| format!("Paused: {name}. What is under way still goes out."))).await
}

/// Lets it go on.
pub(super) async fn resume(visit: &Visit<'_>) -> Page {
    visit.may(Deed::Manage)?;
    let (domain, name) = meant(visit);
    let domain = domain.map(|domain| format!("domain={}&", encoded(domain))).unwrap_or_default();
    let agent = given(visit, "agent").map(|agent| format!("mailAgent={}", encoded(agent))).unwrap_or_default();
    let path = format!("/api/v1/queue/pauses?{domain}{agent}");
    let resumed = visit.api_of_tenant(Method::DELETE, &path, &Value::Null).await;
    if resumed.is_ok() {
        visit.note("resumed queue", &name).await?;
    }
    told(visit, resumed.map(|_| format!("Resumed: {name}."))).await
}
