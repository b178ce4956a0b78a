//! `GET /v1.1/email`: what became of mails; and of one, by its reference, its request or our own id.
//!
//! A list goes from the newest mail back through at most [`SCANNED_MAX`] of them; dates bound it, a request's id leads
//! straight to its mails, a reference by the index of the search. A tenant has one such walk at a time. Lists leave
//! deliveries and tracking out, as the original does.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use hyper::StatusCode;
use serde_json::{Map, Value, json};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::timeout;

use super::super::super::problem::{Problem, RETRY_AFTER_SECS};
use super::super::super::server::Answer;
use super::super::super::wire::Flaw;
use super::super::super::{Server, json_answer, query};
use super::super::keys;
use super::{Part, Query, success};
use crate::model::address::Mailbox;
use crate::model::delivery::State;
use crate::model::event::{Detail, Event, EventKind};
use crate::model::id::{MessageId, TenantId};
use crate::model::message::{Message, Way};
use crate::model::search::Search;
use crate::model::tenant::Grant;
use crate::model::time::Timestamp;

/// Mails that one search looks at.
const SCANNED_MAX: usize = 100_000;
/// Mails looked at in one go.
const PAGE: u32 = 500;
/// Mails in one list, unless asked otherwise.
const LIST: usize = 50;
/// Mails in one list.
const LIST_MAX: usize = 500;
/// Mails of one reference that are looked at.
const SAME_MAX: u32 = 20;
/// How long a walk through the mails waits for the one before it.
const WALK_WAIT: Duration = Duration::from_secs(10);
/// Openings, or clicks, that are shown one by one.
const SHOWN_MAX: usize = 100;

/// Walks through mails: one of each tenant at a time. Tenants without one are not remembered.
#[derive(Debug, Default)]
pub(in crate::http) struct Walks(Mutex<HashMap<TenantId, Arc<Semaphore>>>);

impl Walks {
    /// The turn of a tenant's next walk, for as long as what is returned is kept.
    async fn turn(&self, tenant: TenantId, wait: Duration) -> Result<OwnedSemaphorePermit, Problem> {
        let gate = {
            let mut gates = self.0.lock().unwrap_or_else(PoisonError::into_inner);
            gates.retain(|_, gate| Arc::strong_count(gate) > 1);
            gates.entry(tenant).or_insert_with(|| Arc::new(Semaphore::new(1))).clone()
        };
        let busy = || Problem::TooFast { retry_after_secs: RETRY_AFTER_SECS.into() };
        timeout(wait, gate.acquire_owned()).await.map_err(|_| busy())?.map_err(|_| busy())
    }
}

/// What a list is asked for.
struct Filter {
    texts: Vec<(Field, String)>,
    outcomes: Vec<EventKind>,
    from: Option<Timestamp>,
    to: Option<Timestamp>,
}

/// A text that a mail must have.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Field {
    Agent,
    Request,
    From,
    To,
    Cc,
    Bcc,
    Recipient,
    Subject,
    ClientReference,
}

const FIELDS: [(&str, Field); 9] = [
    ("mailagent_key", Field::Agent),
    ("request_id", Field::Request),
    ("from", Field::From),
    ("to", Field::To),
    ("cc", Field::Cc),
    ("bcc", Field::Bcc),
    ("recipient", Field::Recipient),
    ("subject", Field::Subject),
    ("client_reference", Field::ClientReference),
];
const OUTCOMES: [(&str, EventKind); 4] = [
    ("is_hb", EventKind::HardBounced),
    ("is_sb", EventKind::SoftBounced),
    ("is_mailfailure", EventKind::Failed),
    ("is_delivered", EventKind::Delivered),
];

impl Filter {
    fn new(query: &Query<'_>) -> Result<Self, Flaw> {
        let texts = FIELDS.into_iter().filter_map(|(name, field)| Some((field, query.text(name)?.to_lowercase())));
        let mut outcomes = Vec::new();
        for (name, kind) in OUTCOMES {
            if query.flag(name)? {
                outcomes.push(kind);
            }
        }
        let (from, to) = (query.time("date_from")?, query.until("date_to")?);
        Ok(Self { texts: texts.collect(), outcomes, from, to })
    }

    fn text(&self, wanted: Field) -> Option<&str> {
        self.texts.iter().find(|(field, _)| *field == wanted).map(|(_, text)| text.as_str())
    }

    fn wants(&self, message: &Message) -> bool {
        let facts = &message.facts;
        let is_in_time = self.from.is_none_or(|from| message.accepted_at >= from)
            && self.to.is_none_or(|to| message.accepted_at < to);
        let is = |own: &str, text: &str| own.to_lowercase() == text;
        let has = |people: &[Mailbox], text: &str| people.iter().any(|mailbox| is(&mailbox.address, text));
        let fits = |(field, text): &(Field, String)| match field {
            Field::Agent => is(&message.agent_key, text),
            Field::Request => is(&facts.request_id, text),
            Field::From => is(&facts.from.address, text),
            Field::To => has(&facts.to, text),
            Field::Cc => has(&facts.cc, text),
            Field::Bcc => has(&facts.bcc, text),
            Field::Recipient => [&facts.to, &facts.cc, &facts.bcc].into_iter().any(|people| has(people, text)),
            Field::Subject => facts.subject.to_lowercase().contains(text),
            Field::ClientReference => is(&facts.client_reference, text),
        };
        is_in_time && self.texts.iter().all(fits)
    }
}

pub(in super::super) async fn list(server: &Server, grant: &Grant, query: &query::Query) -> Result<Answer, Problem> {
    let query = Query(query);
    let (filter, part) = (Filter::new(&query)?, query.part(LIST, LIST_MAX, SCANNED_MAX)?);
    let found = match filter.text(Field::Request) {
        Some(request) => {
            let messages = of_request(server, grant, request).await?;
            let wanted = messages.into_iter().filter(|message| filter.wants(message)).collect();
            let found = with_outcome(server, &filter, wanted).await?;
            found.into_iter().skip(part.offset).take(part.limit).collect()
        }
        None => newest(server, grant, &filter, &part).await?,
    };
    let ids: Vec<MessageId> = found.iter().map(|message| message.id).collect();
    let standings = server.store().standings(&ids).await?;
    let told_of = |message: &Message| {
        let states = standings.get(&message.id).into_iter().flatten().map(|(state, _)| *state);
        told(message, status(states), Map::new(), Map::new())
    };
    let logs: Vec<Value> = found.iter().map(told_of).collect();
    let metadata = json!({ "offset": part.offset, "count": logs.len() });
    let told = json!({ "metadata": metadata, "data": { "logs": logs }, "status": "success" });
    Ok(json_answer(StatusCode::OK, &told))
}

pub(in super::super) async fn detail(server: &Server, grant: &Grant, id: &str) -> Result<Answer, Problem> {
    let message = find(server, grant, id.trim_matches(['<', '>'])).await?.ok_or(Problem::NotFound("Email"))?;
    let events = server.store().events_of(message.id).await?;
    let standings = server.store().standings(&[message.id]).await?;
    let status = status(standings.into_values().flatten().map(|(state, _)| state));
    Ok(success(StatusCode::OK, told(&message, status, tracked(&events), delivered(&events))))
}

/// This part of the mails that are wanted, newest first.
async fn newest(server: &Server, grant: &Grant, filter: &Filter, part: &Part) -> Result<Vec<Message>, Problem> {
    let _turn = server.0.walks.turn(grant.tenant.id, WALK_WAIT).await?;
    let mut before = filter.to.map(MessageId::first_at);
    let (mut skipped, mut found) = (0, Vec::new());
    for _ in 0..SCANNED_MAX / PAGE as usize {
        let page = server.store().messages(grant.tenant.id, before, PAGE).await?;
        before = page.last().map(|message| message.id);
        let is_past = |last: &Message| filter.from.is_some_and(|from| last.accepted_at < from);
        let is_end = page.len() < PAGE as usize || page.last().is_some_and(is_past);
        let wanted = page.into_iter().filter(|message| filter.wants(message)).collect();
        let wanted = with_outcome(server, filter, wanted).await?;
        let before_part = wanted.len().min(part.offset - skipped);
        skipped += before_part;
        found.extend(wanted.into_iter().skip(before_part));
        if is_end || found.len() >= part.limit {
            break;
        }
    }
    found.truncate(part.limit);
    Ok(found)
}

/// Those of the mails that any of the wanted things has happened to.
async fn with_outcome(server: &Server, filter: &Filter, messages: Vec<Message>) -> Result<Vec<Message>, Problem> {
    if filter.outcomes.is_empty() || messages.is_empty() {
        return Ok(messages);
    }
    let ids: Vec<MessageId> = messages.iter().map(|message| message.id).collect();
    let happened = server.store().kinds_told(&ids).await?;
    let has = |message: &Message| filter.outcomes.iter().any(|kind| happened.contains(&(message.id, *kind)));
    Ok(messages.into_iter().filter(has).collect())
}

async fn of_request(server: &Server, grant: &Grant, request: &str) -> Result<Vec<Message>, Problem> {
    match keys::message_in(request) {
        Some(first) => Ok(server.store().messages_of_request(grant.tenant.id, first, request).await?),
        None => Ok(Vec::new()),
    }
}

/// The mail with this reference, of this request, or with this id of ours.
async fn find(server: &Server, grant: &Grant, id: &str) -> Result<Option<Message>, Problem> {
    if let Some(message) = of_request(server, grant, id).await?.into_iter().next() {
        return Ok(Some(message));
    }
    let local = id.split('@').next().unwrap_or_default();
    if let Some(own) = keys::message_in(local) {
        let message = server.store().message(own).await?.filter(|message| message.tenant == grant.tenant.id);
        if let Some(message) = message.filter(|message| !id.contains('@') || message.facts.email_reference == id) {
            return Ok(Some(message));
        }
    }
    // A mail that came with a Message-ID of its own.
    let named = server.store().search(&Search::named(grant.tenant.id, id), None, SAME_MAX).await?;
    Ok(named.messages.into_iter().find(|message| message.facts.email_reference == id))
}

/// `queued` until a copy has left or come to nothing, then `processed`, whatever came of it; `process_failed` when none
/// was so much as tried.
fn status(states: impl Iterator<Item = State>) -> &'static str {
    let (mut is_queued, mut is_tried) = (true, false);
    for state in states {
        is_queued &= state == State::Queued;
        is_tried |= match state {
            State::Queued | State::HandedOver | State::Delivered | State::Bounced | State::Expired => true,
            State::Suppressed | State::Cancelled => false,
        };
    }
    match (is_queued, is_tried) {
        (true, _) => "queued",
        (false, true) => "processed",
        (false, false) => "process_failed",
    }
}

fn mail_type(way: Way) -> &'static str {
    match way {
        Way::Mail => "send-mail",
        Way::Batch => "batch-mail",
        Way::Template => "template-mail",
        Way::TemplateBatch => "template-batch-mail",
    }
}

fn told(message: &Message, status: &str, tracked: Map<String, Value>, delivered: Map<String, Value>) -> Value {
    let facts = &message.facts;
    let info = json!({
        "email_reference": facts.email_reference,
        "mail_type": mail_type(facts.way),
        "subject": facts.subject,
        "bounce_address": facts.bounce_address,
        "client_reference": facts.client_reference,
        "from": facts.from,
        "message_id": format!("<{}>", facts.email_reference),
        "to": facts.to,
        "cc": facts.cc,
        "bcc": facts.bcc,
        "processed_time": message.accepted_at.rfc3339_seconds(),
        "mailagent_key": message.agent_key,
        "status": status,
    });
    json!({
        "email_tracking_details": tracked,
        "email_delivery_details": delivered,
        "email_info": info,
        "request_id": facts.request_id,
    })
}

/// Openings and clicks: how many, and the first of them one by one.
fn tracked(events: &[Event]) -> Map<String, Value> {
    let mut tracked = Map::new();
    for (word, kind) in [("email_open", EventKind::Opened), ("email_link_click", EventKind::Clicked)] {
        let own: Vec<&Event> = events.iter().filter(|event| event.kind == kind).collect();
        let mut first: HashMap<u16, Timestamp> = HashMap::new();
        for event in &own {
            let earliest = first.entry(event.delivery.recipient).or_insert(event.at);
            *earliest = event.at.min(*earliest);
        }
        let shown = own.iter().take(SHOWN_MAX).map(|event| {
            let first_at = first.get(&event.delivery.recipient).copied().unwrap_or(event.at);
            let mut told = json!({
                "time": event.at.rfc3339_seconds(),
                "first_event_time": first_at.rfc3339_seconds(),
                "recipient": event.recipient,
            });
            match &event.detail {
                Detail::Opened { visitor } => told["user_agent"] = visitor.user_agent.as_str().into(),
                Detail::Clicked { visitor, url } => {
                    told["user_agent"] = visitor.user_agent.as_str().into();
                    told["clicked_link"] = url.as_str().into();
                }
                _ => {}
            }
            told
        });
        let details: Vec<Value> = shown.collect();
        if !details.is_empty() {
            tracked.insert(word.into(), json!({ "details": details, "event_count": own.len() }));
        }
    }
    tracked
}

/// What came of each delivery that has ended.
fn delivered(events: &[Event]) -> Map<String, Value> {
    let mut delivered: Map<String, Value> = Map::new();
    for event in events {
        let (word, reason, category) = match (&event.detail, event.kind) {
            (Detail::Delivered { reply, .. }, _) => ("delivered", reply.clone(), ""),
            (Detail::Bounced { cause }, EventKind::HardBounced) => {
                ("hardbounce", cause.diagnostic.clone(), cause.reason.category())
            }
            (Detail::Bounced { cause }, _) => ("softbounce", cause.diagnostic.clone(), cause.reason.category()),
            (Detail::Failed { cause }, _) => ("mailfailure", cause.diagnostic.clone(), cause.reason.category()),
            _ => continue,
        };
        let told = json!({
            "reason": reason,
            "recipient": event.recipient,
            "time": event.at.rfc3339_seconds(),
            "category": category,
        });
        let all = delivered.entry(word).or_insert_with(|| Value::Array(Vec::new()));
        if let Value::Array(all) = all {
            all.push(told);
        }
    }
    delivered
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn how_a_mail_stands() {
        let check = |states: &[State], expected: &str| {
            assert_eq!(status(states.iter().copied()), expected, "{states:?}");
        };
        check(&[State::Queued, State::Queued], "queued");
        check(&[State::Suppressed, State::Queued], "processed");
        for state in [State::HandedOver, State::Delivered, State::Bounced, State::Expired] {
            check(&[state], "processed");
            check(&[State::Suppressed, state], "processed");
        }
        check(&[State::Suppressed, State::Cancelled], "process_failed");
    }

    #[tokio::test]
    async fn a_tenant_has_one_walk_at_a_time() {
        let walks = Walks::default();
        let [one, other] = [1, 2].map(|byte| TenantId::from_bytes([byte; 16]));
        let busy = Problem::TooFast { retry_after_secs: RETRY_AFTER_SECS.into() };
        let first = walks.turn(one, Duration::ZERO).await.unwrap();
        assert_eq!(walks.turn(one, Duration::ZERO).await.unwrap_err(), busy);
        let others = walks.turn(other, Duration::ZERO).await.unwrap();
        let (second, ()) = tokio::join!(walks.turn(one, WALK_WAIT), async { drop(first) });
        assert_eq!(walks.turn(one, Duration::ZERO).await.unwrap_err(), busy);
        drop((second, others));
        assert!(walks.turn(one, Duration::ZERO).await.is_ok());
        assert_eq!(walks.0.lock().unwrap().len(), 1);
    }
}
