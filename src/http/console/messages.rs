//! Messages: the list, and one with all that happened to it, the mail itself, and what tracking changed.

use askama::Template;
use bytes::Bytes;
use hyper::StatusCode;
use hyper::header::{CONTENT_DISPOSITION, HeaderValue};

use super::page::{self, Frame, Section, guard, shown, whole};
use super::{Fault, Page, Visit};
use crate::mail::preview::{Demonstration, WANTED};
use crate::mail::rewrite::{self, LinkReport, PartReport};
use crate::mail::view::{self, View};
use crate::model::delivery::State;
use crate::model::event::{Detail, Event};
use crate::model::hit::{Hit, HitKind};
use crate::model::id::{DeliveryId, MessageId};
use crate::model::message::Message;
use crate::model::reason::Cause;
use crate::model::time::Timestamp;
use crate::store::deliveries::Attempt;
use crate::store::dispatches::DispatchStanding;
use crate::store::views::DeliveryView;

/// Messages on one page.
const MESSAGES_MAX: u32 = 50;
/// Recipients of a message that are told in full.
const COPIES_MAX: usize = 20;

/// The frame that a mail is shown in: it runs nothing, loads nothing, and is of no origin.
const MAIL_POLICY: &str = "sandbox allow-popups allow-popups-to-escape-sandbox; default-src 'none'; img-src data:; \
    style-src 'unsafe-inline'; form-action 'none'; base-uri 'self'; frame-ancestors 'self'";

/// A message in a list.
pub(super) struct Recent {
    pub id: MessageId,
    pub at: String,
    pub from: String,
    pub to: String,
    pub subject: String,
    pub source: &'static str,
}

impl Recent {
    pub(super) fn of(message: &Message) -> Self {
        let facts = &message.facts;
        let mut to = facts.to.iter().chain(&facts.cc).chain(&facts.bcc).map(|mailbox| mailbox.address.clone());
        let first = to.next().unwrap_or_default();
        let more = to.count();
        Self {
            id: message.id,
            at: shown(message.accepted_at),
            from: facts.from.address.clone(),
            to: if more == 0 { first } else { format!("{first} and {more} more") },
            subject: facts.subject.clone(),
            source: message.source.as_str(),
        }
    }
}

#[derive(Template)]
#[template(path = "console/messages.html")]
struct MessagesPage {
    frame: Frame,
    messages: Vec<Recent>,
    next: Option<MessageId>,
}

/// A tenant's messages, newest first.
pub(super) async fn list(visit: &Visit<'_>) -> Page {
    let wanted = visit.query.get("id");
    if !wanted.is_empty()
        && let Some(message) = find_by_any_id(visit, wanted).await?
    {
        return Ok(super::go(&visit.path(&format!("messages/{}", message.id))));
    }
    let before = visit.query.get("before").parse().ok();
    let found = visit.server.store().messages(visit.tenant.id, before, MESSAGES_MAX).await?;
    let is_full = found.len() == MESSAGES_MAX as usize;
    let next = found.last().filter(|_| is_full).map(|last| last.id);
    let notice = (!wanted.is_empty()).then(|| format!("There is no message {wanted}."));
    let notice = notice.and_then(super::Notice::bad);
    let frame = visit.frame("Messages", Section::Messages, notice);
    page::page(&MessagesPage { frame, messages: found.iter().map(Recent::of).collect(), next })
}

/// The message that a message id, delivery id or request id names.
async fn find_by_any_id(visit: &Visit<'_>, id: &str) -> Result<Option<Message>, Fault> {
    let of_request = id.strip_prefix("2d6f.").and_then(|rest| rest.split('.').nth(2));
    let of_request = of_request.map(|uuid| format!("msg_{}", uuid.replace('-', "")));
    let named = of_request.as_deref().unwrap_or(id);
    let named = named.parse::<DeliveryId>().map(|delivery| delivery.message).or_else(|_| named.parse::<MessageId>());
    let Ok(named) = named else { return Ok(None) };
    let message = visit.server.store().message(named).await?;
    Ok(message.filter(|message| message.tenant == visit.tenant.id))
}

async fn find(visit: &Visit<'_>, id: &str) -> Result<Message, Fault> {
    let id: MessageId = id.parse().map_err(|_| Fault::NotFound)?;
    let message = visit.server.store().message(id).await?;
    message.filter(|message| message.tenant == visit.tenant.id).ok_or(Fault::NotFound)
}

async fn content(visit: &Visit<'_>, id: &str) -> Result<Bytes, Fault> {
    let message = find(visit, id).await?;
    visit.server.store().content(message.id).await?.ok_or(Fault::NotFound)
}

/// One line of what happened.
struct Step {
    at: Timestamp,
    when: String,
    class: &'static str,
    what: String,
    more: String,
    dialogue: String,
}

/// One recipient's copy.
struct Copy {
    id: DeliveryId,
    address: String,
    state: &'static str,
    standing: String,
    steps: Vec<Step>,
}

#[derive(Template)]
#[template(path = "console/message.html")]
struct MessagePage {
    frame: Frame,
    message: Recent,
    message_id: String,
    size_bytes: u64,
    tags: Vec<String>,
    copies: Vec<Copy>,
    more: usize,
    view: View,
    links: Vec<LinkReport>,
    parts: Vec<PartReport>,
    has_content: bool,
}

/// One message.
pub(super) async fn show(visit: &Visit<'_>, id: &str) -> Page {
    let message = find(visit, id).await?;
    let store = visit.server.store();
    let deliveries = store.deliveries(message.id).await?;
    let now = visit.server.clock().now();
    let mut copies = Vec::new();
    for view in deliveries.iter().take(COPIES_MAX) {
        copies.push(copy(visit, view, now).await?);
    }
    let content = store.content(message.id).await?;
    let view = content.as_deref().map(view::view).unwrap_or_default();
    let mut demonstration = Demonstration::default();
    let changed = content.as_deref().map(|mail| {
        let rewritten = rewrite::rewrite(mail, &WANTED, &mut demonstration);
        (rewritten.links, rewritten.parts)
    });
    let (links, parts) = changed.unwrap_or_default();
    let page = MessagePage {
        frame: visit.frame("Message", Section::Messages, None),
        message_id: message.facts.email_reference.clone(),
        size_bytes: message.size_bytes,
        tags: message.facts.tags.clone(),
        more: deliveries.len().saturating_sub(COPIES_MAX),
        has_content: content.is_some(),
        message: Recent::of(&message),
        copies,
        view,
        links,
        parts,
    };
    page::page(&page)
}

async fn copy(visit: &Visit<'_>, view: &DeliveryView, now: Timestamp) -> Result<Copy, Fault> {
    let store = visit.server.store();
    let delivery = &view.delivery;
    let mut steps: Vec<Step> = Vec::new();
    steps.extend(store.attempts(delivery.id).await?.iter().map(|(number, attempt)| attempted(*number, attempt)));
    steps.extend(store.hits(delivery.id).await?.iter().map(looked));
    for event in store.events(delivery.id).await? {
        let owed = store.dispatches(event.id).await?;
        steps.push(happened(&event));
        steps.extend(owed.iter().map(|standing| told(event.at, standing)));
    }
    steps.sort_by_key(|step| step.at);
    Ok(Copy {
        id: delivery.id,
        address: delivery.address.to_string(),
        state: delivery.state.as_str(),
        standing: standing(view, now),
        steps,
    })
}

fn standing(view: &DeliveryView, now: Timestamp) -> String {
    let reason = view.reason.map_or(String::new(), |reason| format!(" ({reason})"));
    match (view.delivery.state, view.due_at, view.settled_at) {
        (State::Queued, Some(_), _) if view.is_leased => format!("attempt {} is under way", view.delivery.attempts),
        (State::Queued, Some(due), _) if due <= now => format!("due since {}{reason}", shown(due)),
        (State::Queued, Some(due), _) => {
            format!("next try {}, given up after {}{reason}", shown(due), shown(view.delivery.expires_at))
        }
        (_, _, Some(at)) => format!("since {}{reason}", shown(at)),
        (_, _, None) => reason,
    }
}

fn step(at: Timestamp, class: &'static str, what: String, more: String) -> Step {
    Step { at, when: shown(at), class, what, more, dialogue: String::new() }
}

fn attempted(number: u32, attempt: &Attempt) -> Step {
    let took = attempt.ended_at.since(attempt.started_at).as_millis();
    let mut more = format!("by {} in {took} ms", attempt.route);
    for (label, text) in [(" to ", &attempt.peer), (", ", &attempt.tls), (": ", &attempt.diagnostic)] {
        if !text.is_empty() {
            more += &format!("{label}{text}");
        }
    }
    if !attempt.rule.is_empty() {
        more += &format!(" [rule {}]", attempt.rule);
    }
    let what = format!("Attempt {number}: {}", attempt.outcome);
    Step { dialogue: attempt.dialogue.clone(), ..step(attempt.started_at, "attempt", what, more) }
}

fn happened(event: &Event) -> Step {
    let because = |cause: &Cause| format!("{} [rule {}] {}", cause.reason, cause.rule, cause.diagnostic);
    let more = match &event.detail {
        Detail::Sent | Detail::Opened { .. } | Detail::Clicked { .. } => String::new(),
        Detail::Delivered { reply } => reply.clone(),
        Detail::Deferred { cause, next_at: Some(next) } => format!("{}; next try {}", because(cause), shown(*next)),
        Detail::Deferred { cause, next_at: None } => because(cause),
        Detail::Bounced { cause } | Detail::Failed { cause } => because(cause),
        Detail::Complained { feedback_type, reported_by, .. } => format!("{feedback_type} from {reported_by}"),
        Detail::Webhook { url, .. } => url.clone(),
    };
    step(event.at, event.kind.as_str(), event.kind.as_str().replace('_', " "), more)
}

fn looked(hit: &Hit) -> Step {
    let what = match hit.kind {
        HitKind::Open => "Pixel loaded".to_owned(),
        HitKind::Click => format!("Link followed: {}", hit.target),
    };
    let (place, client, machine) = (&hit.visitor.place, &hit.visitor.client, &hit.visitor.machine);
    let mut more = format!("{} ({} % sure)", machine.verdict.as_str(), machine.confidence);
    let names = [&client.email_client.name, &client.browser.name, &client.operating_system.name];
    for text in [&place.city, &place.country_name, &place.ip_address].into_iter().chain(names) {
        if !text.is_empty() {
            more += &format!(", {text}");
        }
    }
    if !machine.reasons.is_empty() {
        more += &format!(": {}", machine.reasons.join("; "));
    }
    step(hit.at, "hit", what, more)
}

fn told(at: Timestamp, standing: &DispatchStanding) -> Step {
    let answer = match (standing.last_status, &standing.last_error) {
        (Some(status), _) => format!(", answered {status}"),
        (None, Some(error)) => format!(", {error}"),
        (None, None) => String::new(),
    };
    let next = standing.due_at.map_or(String::new(), |due| format!(", next try {}", shown(due)));
    let what = format!("Webhook {}", standing.state.as_str());
    step(at, "webhook", what, format!("{} after {} attempts{answer}{next}", standing.id.webhook, standing.attempts))
}

/// The HTML of a mail, for the frame that keeps it in.
pub(super) async fn html(visit: &Visit<'_>, id: &str) -> Page {
    let content = content(visit, id).await?;
    let seen = view::view(&content);
    let body = seen.html.ok_or(Fault::NotFound)?;
    let framed = format!("<!doctype html><base target=\"_blank\">{body}");
    let mut answer = whole(StatusCode::OK, "text/html; charset=utf-8", framed.into());
    guard(&mut answer, MAIL_POLICY);
    Ok(answer)
}

/// The mail as it was handed in, to be saved.
pub(super) async fn source(visit: &Visit<'_>, id: &str) -> Page {
    let content = content(visit, id).await?;
    let mut answer = whole(StatusCode::OK, "text/plain; charset=utf-8", content);
    guard(&mut answer, MAIL_POLICY);
    let saved = HeaderValue::from_static("attachment; filename=\"message.eml\"");
    answer.headers_mut().insert(CONTENT_DISPOSITION, saved);
    Ok(answer)
}

/// One attachment, to be saved under a name of ours.
pub(super) async fn attachment(visit: &Visit<'_>, id: &str, place: &str) -> Page {
    let place: usize = place.parse().map_err(|_| Fault::NotFound)?;
    let content = content(visit, id).await?;
    let file = view::view(&content).attachments.into_iter().nth(place).ok_or(Fault::NotFound)?;
    let mut answer = whole(StatusCode::OK, "application/octet-stream", file.content.into());
    guard(&mut answer, MAIL_POLICY);
    let safe = |c: char| if c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '_') { c } else { '_' };
    let name: String = file.name.chars().map(safe).take(100).collect();
    let saved = HeaderValue::try_from(format!("attachment; filename=\"{name}\""));
    answer.headers_mut().extend(saved.ok().map(|saved| (CONTENT_DISPOSITION, saved)));
    Ok(answer)
}
