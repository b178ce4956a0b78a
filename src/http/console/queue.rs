//! What waits, delivery by delivery: chosen by a filter, and held, released, tried, cancelled or purged by it.

use std::time::Duration;

use askama::Template;

use super::form::Form;
use super::page::{self, Frame, Notice, Section, number, shown};
use super::visit::choices;
use super::{Fault, Page, Visit};
use crate::model::address::domain_name;
use crate::model::delivery::Delivery;
use crate::model::id::{DeliveryId, EventId};
use crate::model::queue::{Mark, QueueFilter};
use crate::model::reason::Reason;
use crate::model::suppression::Scope;
use crate::model::user::Deed;
use crate::store::views::DeliveryView;

/// Deliveries on one page, bytes of an address in the list, and of what is chosen.
const ROWS_MAX: u32 = 100;
const ADDRESS_BYTES_MAX: usize = 200;
const CHOSEN_BYTES_MAX: usize = 330;

/// The fields of a choice, as they were typed.
const FIELDS: [&str; 6] = ["agent", "domain", "to", "reason", "older", "held"];

/// What can be done to what is chosen: its word, its label, and what is asked before.
const VERBS: [(&str, &str, &str); 5] = [
    ("retry", "Retry", ""),
    ("hold", "Hold", ""),
    ("release", "Release", ""),
    ("cancel", "Cancel", "Cancel all of these? Webhooks are told."),
    ("purge", "Purge", "Cancel all of these, and tell nobody?"),
];

struct Row {
    message: String,
    to: String,
    tried: u32,
    reason: String,
    next: String,
}

#[derive(Template)]
#[template(path = "console/queue.html")]
struct QueuePage {
    frame: Frame,
    agents: Vec<(String, String)>,
    /// The fields that say less than everything, to be handed on.
    chosen: Vec<(&'static str, String)>,
    agent: String,
    domain: String,
    to: String,
    reason: String,
    older: String,
    held: String,
    reasons: &'static [Reason],
    rows: Vec<Row>,
    next: Option<String>,
    verbs: [(&'static str, &'static str, &'static str); 5],
}

/// The fields that say what is meant.
fn fields<'v>(visit: &'v Visit<'_>) -> &'v Form {
    if visit.form.has("verb") { &visit.form } else { &visit.query }
}

/// What the fields mean.
///
/// # Errors
/// In words: one of them makes no sense.
async fn filter(visit: &Visit<'_>) -> Result<Result<QueueFilter, String>, Fault> {
    let fields = fields(visit);
    let given = |name: &str| Some(fields.get(name)).filter(|text| !text.is_empty());
    let mut filter = QueueFilter::all_of(Scope::Tenant(visit.tenant.id));
    if let Some(key) = given("agent") {
        let agents = visit.agents().await?;
        let agent = agents.iter().find(|agent| agent.key == key).ok_or(Fault::NotFound)?;
        filter.scope = Scope::Agent(visit.tenant.id, agent.id);
    }
    let read = || {
        let no = |text: &str, what: &str| format!("{text} is no {what}.");
        filter.domain = match given("domain") {
            Some(text) => Some(domain_name(text).map_err(|_| no(text, "domain"))?),
            None => None,
        };
        filter.address = match given("to") {
            Some(text) => Some(text.parse().map_err(|_| no(text, "address"))?),
            None => None,
        };
        filter.reason = match given("reason") {
            Some(text) => Some(text.parse().map_err(|_| no(text, "reason"))?),
            None => None,
        };
        filter.accepted_before = match given("older") {
            Some(text) => {
                let minutes: u32 = text.parse().map_err(|_| no(text, "number of minutes"))?;
                Some(visit.server.clock().now() - Duration::from_secs(u64::from(minutes) * 60))
            }
            None => None,
        };
        filter.is_held = given("held").map(|text| text == "held");
        Ok(filter)
    };
    Ok(read())
}

/// The page.
pub(super) async fn show(visit: &Visit<'_>, notice: Option<Notice>) -> Page {
    let fields = fields(visit);
    let (found, notice) = match filter(visit).await? {
        Ok(filter) => {
            let after: Option<DeliveryId> = fields.get("after").parse().ok();
            (visit.server.store().queued(&filter, after, ROWS_MAX).await?, notice)
        }
        Err(why) => (Vec::new(), Notice::bad(why)),
    };
    let is_full = found.len() == ROWS_MAX as usize;
    let field = |name: &str| page::beginning(fields.get(name), CHOSEN_BYTES_MAX).0.to_owned();
    let chosen: Vec<(&str, String)> =
        FIELDS.iter().map(|name| (*name, field(name))).filter(|(_, value)| !value.is_empty()).collect();
    let query = form_urlencoded::Serializer::new(String::new()).extend_pairs(&chosen).finish();
    let next = found.last().filter(|_| is_full).map(|last| format!("{query}&after={}", last.delivery.id));
    let [agent, domain, to, reason, older, held] = FIELDS.map(field);
    let here = visit.path(&format!("operations/queue?{query}"));
    let page = QueuePage {
        frame: visit.frame("Queue", Section::Operations, notice).here(here),
        agents: choices(visit.agents().await?),
        chosen,
        agent,
        domain,
        to,
        reason,
        older,
        held,
        reasons: Reason::ALL,
        rows: found.iter().map(row).collect(),
        next,
        verbs: VERBS,
    };
    page::page(&page)
}

fn row(view: &DeliveryView) -> Row {
    let next = match (view.held_at, view.due_at) {
        (Some(since), _) => format!("held since {}", shown(since)),
        (None, _) if view.is_leased => "being tried".to_owned(),
        (None, Some(due)) => match view.mark {
            Mark::None => shown(due),
            Mark::Room => format!("{}, when there is room", shown(due)),
            Mark::Silence => format!("{}, since nobody answers there", shown(due)),
            Mark::Paused => "when it is resumed".to_owned(),
            Mark::Asked => "now".to_owned(),
        },
        (None, None) => String::new(),
    };
    Row {
        message: view.delivery.id.message.to_string(),
        to: page::cut(&view.delivery.address.to_string(), ADDRESS_BYTES_MAX),
        tried: view.delivery.attempts,
        reason: view.reason.map_or(String::new(), |reason| reason.as_str().replace('_', " ")),
        next,
    }
}

/// Does to what is chosen what the pressed button says.
pub(super) async fn act(visit: &Visit<'_>) -> Page {
    visit.may(Deed::Manage)?;
    let filter = match filter(visit).await? {
        Ok(filter) => filter,
        Err(_) => return show(visit, None).await,
    };
    let store = visit.server.store();
    let (verb, done) = match visit.form.get("verb") {
        "retry" => ("retried queue", store.retry_now(filter).await?),
        "hold" => ("held queue", store.hold(filter).await?),
        "release" => ("released queue", store.release_held(filter).await?),
        "purge" => ("purged queue", store.cancel(filter, |_| None).await?),
        "cancel" => {
            let (ids, now) = (visit.server.ids().clone(), visit.server.clock().now());
            let tell = move |delivery: &Delivery| Some(delivery.cancelled(EventId::from_uuid(ids.uuid(now)), now));
            ("cancelled queue", store.cancel(filter, tell).await?)
        }
        _ => return Err(Fault::NotFound),
    };
    let chosen = FIELDS.iter().map(|name| (name, visit.form.get(name))).filter(|(_, value)| !value.is_empty());
    let chosen: Vec<String> = chosen.map(|(name, value)| format!("{name} {value}")).collect();
    let chosen = if chosen.is_empty() { "everything".to_owned() } else { chosen.join(", ") };
    visit.note(verb, &chosen).await?;
    let verb = verb.trim_end_matches(" queue");
    show(visit, Notice::good(format!("{}: {} of {chosen}.", verb, number(done)))).await
}
