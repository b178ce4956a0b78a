//! The first page of a tenant: how it goes, what waits, what to do next. And the list of tenants.

use askama::Template;

use super::messages::Recent;
use super::page::{self, Frame, Section, shown};
use super::{Page, Visit, main_agent};
use crate::model::tenant::Tenant;
use crate::model::user::{Deed, User};
use crate::store::views::QueueCounts;

#[derive(Template)]
#[template(path = "console/tenants.html")]
struct TenantsPage<'t> {
    frame: Frame,
    tenants: &'t [Tenant],
}

pub(super) fn tenants(user: &User, tenants: &[Tenant]) -> Page {
    let frame = Frame {
        title: "Tenants".to_owned(),
        section: Section::None,
        tenant: None,
        person: user.name.clone(),
        may_manage: user.role.may(Deed::Manage),
        may_govern: user.role.may(Deed::Govern) && user.tenant.is_none(),
        notice: None,
    };
    page::page(&TenantsPage { frame, tenants })
}

/// Something that a new installation still lacks.
struct Step {
    text: &'static str,
    path: String,
    is_done: bool,
}

#[derive(Template)]
#[template(path = "console/overview.html")]
struct OverviewPage {
    frame: Frame,
    recent: Vec<Recent>,
    queue: QueueCounts,
    oldest: Option<String>,
    steps: Vec<Step>,
    is_new: bool,
}

pub(super) async fn show(visit: &Visit<'_>) -> Page {
    let store = visit.server.store();
    let now = visit.server.clock().now();
    let queue = store.queue_counts().await?;
    let recent = store.messages(visit.tenant.id, None, 10).await?;
    let steps = steps(visit, !recent.is_empty()).await?;
    let page = OverviewPage {
        frame: visit.frame("Overview", Section::Overview, None),
        oldest: queue.oldest_delivery_due.filter(|due| *due < now).map(shown),
        queue,
        is_new: steps.iter().any(|step| !step.is_done),
        steps,
        recent: recent.iter().map(Recent::of).collect(),
    };
    page::page(&page)
}

async fn steps(visit: &Visit<'_>, has_sent: bool) -> Result<Vec<Step>, super::Fault> {
    let agents = visit.agents().await?;
    let Some(agent) = main_agent(&agents) else { return Ok(Vec::new()) };
    let store = visit.server.store();
    let has_domain = !store.domains(agent.id).await?.is_empty();
    let has_webhook = !store.webhooks(visit.tenant.id, None, 1).await?.is_empty();
    let path = |tab: &str| visit.path(&format!("agents/{}/{tab}", agent.key));
    Ok(vec![
        Step { text: "Send a first mail", path: path("setup"), is_done: has_sent },
        Step { text: "Add the domain that you send from", path: path("domains"), is_done: has_domain },
        Step { text: "Add a webhook", path: path("webhooks"), is_done: has_webhook },
    ])
}
