//! Operations: what waits and for whom, what is stopped, and, for those who look after the installation, its nodes,
//! certificates, places and settings.

use askama::Template;

use super::page::{self, Frame, Notice, Section, number, shown, span};
use super::{Fault, Page, Visit};
use crate::model::address::domain_name;
use crate::model::queue::{Pause, QueueFilter};
use crate::model::suppression::Scope;
use crate::model::time::Timestamp;
use crate::model::user::Deed;
use crate::store::queue::Waiting;

/// Domains that are listed.
const DOMAINS_MAX: u32 = 100;
/// Characters of a note.
const NOTE_CHARS_MAX: usize = 200;
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
    pauses: Vec<PauseRow>,
    agents: Vec<String>,
    is_paused: bool,
    installation: Option<Installation>,
}

/// The page.
pub(super) async fn show(visit: &Visit<'_>, notice: Option<Notice>) -> Page {
    let store = visit.server.store();
    let now = visit.server.clock().now();
    let scope = Scope::Tenant(visit.tenant.id);
    let waiting = store.queue_by_domain(&QueueFilter::all_of(scope), DOMAINS_MAX).await?;
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
    let page = OperationsPage {
        frame: visit.frame("Operations", Section::Operations, notice),
        waiting: waiting.iter().map(|waiting| row(waiting, &pauses, now)).collect(),
        pauses,
        agents: agents.into_iter().map(|agent| agent.name).collect(),
        is_paused,
        installation: if visit.is_for_all() { Some(installation(visit, now).await?) } else { None },
    };
    page::page(&page)
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

/// The domain that a form names, or all of them.
fn domain_of(visit: &Visit<'_>) -> Result<Option<String>, Fault> {
    match visit.form.get("domain") {
        "" => Ok(None),
        text => domain_name(text).map(Some).map_err(|_| Fault::NotFound),
    }
}

fn named(domain: Option<&String>) -> String {
    domain.map_or_else(|| "all domains".to_owned(), String::clone)
}

/// Whose mail a form means: one mail agent's, or all of the tenant's; and in words, with the domain.
async fn meant(visit: &Visit<'_>, domain: Option<&String>) -> Result<(Scope, String), Fault> {
    let name = visit.form.get("agent");
    if name.is_empty() {
        return Ok((Scope::Tenant(visit.tenant.id), named(domain)));
    }
    let agents = visit.agents().await?;
    let agent = agents.iter().find(|agent| agent.name == name).ok_or(Fault::NotFound)?;
    Ok((Scope::Agent(visit.tenant.id, agent.id), format!("{name} to {}", named(domain))))
}

/// Tries at once what waits for a domain, or for all.
pub(super) async fn retry(visit: &Visit<'_>) -> Page {
    visit.may(Deed::Manage)?;
    let domain = domain_of(visit)?;
    let told = named(domain.as_ref());
    let filter = QueueFilter { domain, ..QueueFilter::all_of(Scope::Tenant(visit.tenant.id)) };
    let due = visit.server.store().retry_now(filter).await?;
    visit.note("retried queue", &told).await?;
    show(visit, Notice::good(format!("{} to {told}: tried within seconds.", number(due)))).await
}

/// Stops this tenant's mail, or one mail agent's, to a domain, or to all.
pub(super) async fn pause(visit: &Visit<'_>) -> Page {
    visit.may(Deed::Manage)?;
    let domain = domain_of(visit)?;
    let (scope, told) = meant(visit, domain.as_ref()).await?;
    let note: String = visit.form.get("note").chars().filter(|c| !c.is_control()).take(NOTE_CHARS_MAX).collect();
    let created_at = visit.server.clock().now();
    let pause = Pause { scope, domain, note, created_at };
    if !visit.server.store().pause(pause).await? {
        return show(visit, Notice::bad("It is paused already.")).await;
    }
    visit.note("paused queue", &told).await?;
    show(visit, Notice::good(format!("Paused: {told}. What is under way still goes out."))).await
}

/// Lets it go on.
pub(super) async fn resume(visit: &Visit<'_>) -> Page {
    visit.may(Deed::Manage)?;
    let domain = domain_of(visit)?;
    let (scope, told) = meant(visit, domain.as_ref()).await?;
    if !visit.server.store().resume(scope, domain.as_deref()).await? {
        return Err(Fault::NotFound);
    }
    visit.note("resumed queue", &told).await?;
    show(visit, Notice::good(format!("Resumed: {told}."))).await
}
