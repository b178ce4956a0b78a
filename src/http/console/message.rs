//! One message: all that happened to it, the mail itself, what tracking changed; and what can be done about it.

use askama::Template;
use hyper::Method;
use serde_json::{Value, json};

use super::exchange::text;
use super::messages::{Line, find};
use super::page::{self, Frame, Notice, Section, shown, size};
use super::tracked::TrackedView;
use super::{Fault, Page, Visit, go};
use crate::mail::render::Signature;
use crate::mail::view::{self, Attachment, View};
use crate::model::delivery::State;
use crate::model::event::{Detail, Event};
use crate::model::hit::{Hit, HitKind};
use crate::model::id::{DeliveryId, MessageId};
use crate::model::message::Message;
use crate::model::reason::Cause;
use crate::model::time::Timestamp;
use crate::model::user::Deed;
use crate::model::webhook::Webhook;
use crate::store::deliveries::Attempt;
use crate::store::dispatches::DispatchStanding;
use crate::store::hits::counts::Figures;
use crate::store::views::DeliveryView;

/// Recipients of a message on one page.
const COPIES_MAX: usize = 10;
/// Steps that are told of one recipient, at most and at least.
const STEPS_MAX: usize = 60;
const STEPS_MIN: usize = 4;
/// Bytes of what happened on one page, what a recipient and a step take of it, and the longest text of one.
const TIMELINE_BYTES_MAX: usize = 50_000;
const COPY_BYTES: usize = 700;
const STEP_BYTES: usize = 350;
const TEXT_BYTES_MAX: usize = 8_000;
/// Bytes of the mail on one page, and what a field of its header takes besides its words.
const MAIL_BYTES_MAX: usize = 40_000;
const FIELD_BYTES: usize = 50;
/// Bytes of a subject or Message-ID, of an address, and of metadata.
const LINE_BYTES_MAX: usize = 1_000;
const ADDRESS_BYTES_MAX: usize = 200;
const METADATA_BYTES_MAX: usize = 5_000;
/// Attachments that are listed, and bytes of a name of one.
const FILES_MAX: usize = 50;
const FILE_BYTES_MAX: usize = 100;
/// Bytes of a mail that is rewritten once more to tell what was changed.
const REWRITTEN_BYTES_MAX: usize = 1 << 20;
/// Webhooks whose addresses are known.
const WEBHOOKS_MAX: u32 = 200;
/// The order of steps of one moment; the rest comes after.
const STORY: [&str; 3] = ["sent", "rewritten", "attempt"];

/// One line of what happened.
struct Step {
    at: Timestamp,
    when: String,
    class: &'static str,
    what: String,
    more: String,
    dialogue: String,
    /// Where more is told; empty for nowhere.
    path: String,
}

/// One recipient's copy.
struct Copy {
    id: DeliveryId,
    address: String,
    state: &'static str,
    standing: String,
    steps: Vec<Step>,
    omitted: usize,
}

/// A way to look at the mail.
const VIEWS: [(&str, &str); 5] =
    [("html", "HTML"), ("text", "Text"), ("source", "Source"), ("header", "Header"), ("tracking", "Tracking")];

#[derive(Template)]
#[template(path = "console/message.html")]
struct MessagePage {
    frame: Frame,
    message: Line,
    message_id: String,
    source: &'static str,
    size: String,
    metadata: Vec<(String, String)>,
    /// Its opens and clicks in figures, where there were any.
    looks: Vec<(&'static str, String)>,
    copies: Vec<Copy>,
    /// Recipients that come after, and the place of the next.
    more: usize,
    next: usize,
    can_retry: bool,
    can_cancel: bool,
    can_resend: bool,
    has_content: bool,
    views: [(&'static str, &'static str); 5],
    view: &'static str,
    seen: View,
    /// Name, type and size of attachments, and how many more there are.
    files: Vec<(String, String, usize)>,
    more_files: usize,
    /// The text that the view shows.
    text: String,
    is_cut: bool,
    tracked: TrackedView,
}

/// One message.
pub(super) async fn show(visit: &Visit<'_>, id: &str, notice: Option<Notice>) -> Page {
    let message = find(visit, id).await?;
    let store = visit.server.store();
    let _room = visit.room(message.size_bytes)?;
    let deliveries = store.deliveries(message.id).await?;
    let now = visit.server.clock().now();
    let content = store.content(message.id).await?;
    let webhooks = store.webhooks(visit.tenant.id, None, WEBHOOKS_MAX).await?;
    let figures = store.hit_figures(message.id).await?;
    let signature = visit.server.intake().signature(&message).await?;
    let from = visit.query.get("from").parse().unwrap_or(0).min(deliveries.len());
    let shown = deliveries.iter().skip(from).take(COPIES_MAX);
    let mut copies = Vec::new();
    let mut budget = TIMELINE_BYTES_MAX;
    for (place, view) in shown.clone().enumerate() {
        // What one does not need, the next ones have.
        let mut share = budget / (shown.len() - place);
        budget -= share;
        let rewritten =
            content.as_deref().and_then(|content| rewritten(visit, content, (&message, signature), view.delivery.id));
        copies.push(copy(visit, (&message, &webhooks), view, (now, rewritten), &mut share).await?);
        budget += share;
    }
    let mut seen = content.as_deref().map(view::view).unwrap_or_default();
    let is_header_cut = shorten(&mut seen.header);
    let fallback = if seen.html.is_some() { "html" } else { "text" };
    let wanted = visit.query.get("view");
    let view = VIEWS.iter().map(|(word, _)| *word).find(|word| *word == wanted).unwrap_or(fallback);
    let shown_text = match (view, &content) {
        ("text", _) => seen.text.clone().unwrap_or_default(),
        ("source", Some(content)) => {
            let start = content.get(..content.len().min(MAIL_BYTES_MAX * 2)).unwrap_or_default();
            String::from_utf8_lossy(start).into_owned()
        }
        _ => String::new(),
    };
    let (text, is_cut) = page::beginning(&shown_text, MAIL_BYTES_MAX);
    let tracked = match (view, content.is_some() && !deliveries.is_empty()) {
        ("tracking", true) => {
            let path = format!("/api/v1/emails/{}/tracking", message.id);
            TrackedView::of(&visit.api_of_tenant(Method::GET, &path, &Value::Null).await?)
        }
        _ => TrackedView::default(),
    };
    let again = visit.query.get("again").parse::<MessageId>().ok();
    let notice = notice.or_else(|| again.and_then(|_| Notice::good("Sent again; this is the new message.")));
    let is_queued = |view: &DeliveryView| view.delivery.state == State::Queued;
    let mut line = Line::of(&message);
    line.subject = page::cut(&message.facts.subject, LINE_BYTES_MAX);
    let page = MessagePage {
        frame: visit.frame("Message", Section::Messages, notice).here(visit.path(&format!("messages/{}", message.id))),
        message_id: page::cut(&message.facts.email_reference, LINE_BYTES_MAX),
        source: message.source.as_str(),
        size: size(message.size_bytes),
        metadata: metadata(&message),
        looks: ["Opened", "Links followed"].into_iter().zip(figures).filter_map(counted).collect(),
        more: deliveries.len() - from - shown.len(),
        next: from + shown.len(),
        can_retry: deliveries.iter().any(|view| is_queued(view) && !view.is_leased),
        can_cancel: deliveries.iter().any(is_queued),
        can_resend: content.is_some(),
        has_content: content.is_some(),
        views: VIEWS,
        view,
        text: text.to_owned(),
        is_cut: is_cut
            || view == "header" && is_header_cut
            || content.is_some_and(|content| view == "source" && content.len() > MAIL_BYTES_MAX),
        message: line,
        copies,
        files: seen.attachments.iter().take(FILES_MAX).map(shown_file).collect(),
        more_files: seen.attachments.len().saturating_sub(FILES_MAX),
        seen,
        tracked,
    };
    page::page(&page)
}

/// Opens or clicks in figures; nothing for none.
fn counted((what, of): (&'static str, Figures)) -> Option<(&'static str, String)> {
    let times = format!("{} in all, {} by people", of.all, of.by_people);
    let unique = format!("unique {} in all, {} by people", of.unique, of.unique_by_people);
    (of.all > 0).then(|| (what, format!("{times}; {unique}")))
}

/// A message, and whether its copies are signed.
type Signed<'a> = (&'a Message, Signature);

fn metadata(message: &Message) -> Vec<(String, String)> {
    let text = |text: &str| page::cut(text, LINE_BYTES_MAX);
    let pairs = message.facts.metadata.iter().map(|(name, value)| (text(name), text(&value.to_string())));
    let mut pairs: Vec<_> = pairs.collect();
    page::fit(&mut pairs, METADATA_BYTES_MAX, |(name, value)| page::written(name) + page::written(value));
    pairs
}

fn shown_file(file: &Attachment) -> (String, String, usize) {
    let text = |text: &str| page::cut(text, FILE_BYTES_MAX);
    (text(&file.name), text(&file.content_type), file.content.len())
}

/// Cuts a header to what a page has room for; whether anything was cut.
fn shorten(header: &mut Vec<(String, String)>) -> bool {
    let mut is_cut = false;
    for text in header.iter_mut().flat_map(|(name, value)| [name, value]) {
        let (start, is_long) = page::beginning(text, MAIL_BYTES_MAX / 4);
        let bytes = start.len();
        text.truncate(bytes);
        is_cut |= is_long;
    }
    let bytes = |(name, value): &(String, String)| FIELD_BYTES + page::written(name) + page::written(value);
    page::fit(header, MAIL_BYTES_MAX, bytes) > 0 || is_cut
}

/// What tracking made of a copy, as a step; unsaid of a mail that is too large to be rewritten for this.
fn rewritten(
    visit: &Visit<'_>,
    content: &[u8],
    (message, signature): Signed<'_>,
    delivery: DeliveryId,
) -> Option<Step> {
    let tracked = Some(content).filter(|content| content.len() <= REWRITTEN_BYTES_MAX)?;
    let tracked = visit.server.intake().copy(tracked, message, delivery, signature)?.tracked;
    let links = match tracked.links.len() {
        1 => "one link".to_owned(),
        count => format!("{count} links"),
    };
    let (what, more) = match (tracked.untouched, tracked.pixel.is_some()) {
        (Some(why), _) => ("left as it was", why.to_owned()),
        (None, true) => ("rewritten", format!("{links} and a pixel")),
        (None, false) if tracked.links.is_empty() => return None,
        (None, false) => ("rewritten", links),
    };
    Some(step(message.accepted_at, "rewritten", what.to_owned(), more))
}

async fn copy(
    visit: &Visit<'_>,
    (message, webhooks): (&Message, &[Webhook]),
    view: &DeliveryView,
    (now, rewritten): (Timestamp, Option<Step>),
    room: &mut usize,
) -> Result<Copy, Fault> {
    let store = visit.server.store();
    let delivery = &view.delivery;
    let mut steps: Vec<Step> = Vec::new();
    steps.extend(store.attempts(delivery.id).await?.iter().map(|(number, attempt)| attempted(*number, attempt)));
    steps.extend(store.hits(delivery.id).await?.iter().map(looked));
    for event in store.events(delivery.id).await? {
        let owed = store.dispatches(event.id).await?;
        steps.push(happened(&event));
        let path = |standing: &DispatchStanding| {
            let (webhook, event) = (standing.id.webhook, standing.id.event);
            visit.path(&format!("agents/{}/webhooks/{webhook}/log/{event}", message.agent_key))
        };
        steps.extend(owed.iter().map(|one| Step { path: path(one), ..told(event.at, one, webhooks) }));
    }
    steps.extend(rewritten);
    let place = |step: &Step| STORY.iter().position(|class| *class == step.class).unwrap_or(STORY.len());
    steps.sort_by_key(|step| (step.at, place(step)));
    let kept = (*room / (2 * STEP_BYTES)).clamp(STEPS_MIN, STEPS_MAX);
    let omitted = steps.len().saturating_sub(kept);
    // The first steps say how it began, the last how it ended.
    if omitted > 0 {
        steps.drain(kept / 2..kept / 2 + omitted);
    }
    *room = room.saturating_sub(COPY_BYTES + STEP_BYTES * steps.len());
    for step in steps.iter_mut().rev() {
        for text in [&mut step.what, &mut step.more, &mut step.dialogue] {
            let (start, is_cut) = page::beginning(text, (*room).min(TEXT_BYTES_MAX));
            *room -= page::written(start);
            if is_cut {
                *text = format!("{start} …");
            }
        }
    }
    Ok(Copy {
        id: delivery.id,
        address: page::cut(&delivery.address.to_string(), ADDRESS_BYTES_MAX),
        state: delivery.state.as_str(),
        standing: standing(view, now),
        steps,
        omitted,
    })
}

fn standing(view: &DeliveryView, now: Timestamp) -> String {
    let reason = view.reason.map_or(String::new(), |reason| format!(" ({reason})"));
    if let Some(since) = view.held_at {
        return format!("held by a person since {}", shown(since));
    }
    match (view.delivery.state, view.due_at, view.settled_at) {
        (State::Queued, Some(_), _) if view.is_leased => format!("attempt {} is under way", view.delivery.attempts),
        (State::Queued, Some(due), _) if due <= now => format!("due since {}{reason}", shown(due)),
        (State::Queued, Some(due), _) => {
            format!("next try {}, given up after {}{reason}", shown(due), shown(view.delivery.expires_at))
        }
        (State::HandedOver, Some(until), _) => format!("the next hop's report is waited for until {}", shown(until)),
        (_, _, Some(at)) => format!("since {}{reason}", shown(at)),
        (_, _, None) => reason,
    }
}

fn step(at: Timestamp, class: &'static str, what: String, more: String) -> Step {
    Step { at, when: shown(at), class, what, more, dialogue: String::new(), path: String::new() }
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
    let because = |cause: &Cause| {
        let (axis, retry) = (cause.reason.axis().sentence(), cause.reason.retry().sentence());
        format!("{} ({axis}; {retry}) [rule {}] {}", cause.reason, cause.rule, cause.diagnostic)
    };
    let more = match &event.detail {
        Detail::Sent | Detail::Opened { .. } | Detail::Clicked { .. } => String::new(),
        Detail::Delivered { reply, .. } => reply.clone(),
        Detail::Deferred { cause, next_at: Some(next) } => format!("{}; next try {}", because(cause), shown(*next)),
        Detail::Deferred { cause, next_at: None } => because(cause),
        Detail::Bounced { cause } | Detail::Failed { cause } => because(cause),
        Detail::Complained { feedback_type, reported_by, .. } => format!("{feedback_type} from {reported_by}"),
        Detail::Webhook { url, .. } => url.clone(),
        Detail::DailyWarning { sent, .. } => format!("{sent} recipients today"),
    };
    let what = match event.kind.as_str() {
        "sent" => "accepted".to_owned(),
        word => word.replace('_', " "),
    };
    step(event.at, event.kind.as_str(), what, more)
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

fn told(at: Timestamp, standing: &DispatchStanding, webhooks: &[Webhook]) -> Step {
    let answer = match (standing.last_status, &standing.last_error) {
        (Some(status), _) => format!(", answered {status}"),
        (None, Some(error)) => format!(", {error}"),
        (None, None) => String::new(),
    };
    let next = standing.due_at.map_or(String::new(), |due| format!(", next try {}", shown(due)));
    let what = format!("Webhook {}", standing.state.as_str());
    let url =
        webhooks.iter().find(|webhook| webhook.id == standing.id.webhook).map_or("one that is gone", |own| &own.url);
    let attempts = match standing.attempts {
        1 => "one attempt".to_owned(),
        attempts => format!("{attempts} attempts"),
    };
    step(at, "webhook", what, format!("{url}, {attempts}{answer}{next}"))
}

/// Does something to what waits of a message; how many deliveries it was.
async fn act(visit: &Visit<'_>, message: &Message, verb: &str) -> Result<u64, Fault> {
    let body = json!({ "emailId": message.id.to_string() });
    let done = visit.api_of_tenant(Method::POST, &format!("/api/v1/queue/{verb}"), &body).await?;
    Ok(done.get("count").and_then(Value::as_u64).unwrap_or(0))
}

/// Tries what waits of a message at once.
pub(super) async fn retry(visit: &Visit<'_>, id: &str) -> Page {
    let message = find(visit, id).await?;
    visit.may(Deed::Assist)?;
    let due = act(visit, &message, "retry").await?;
    visit.note("retried message", id).await?;
    let told = match due {
        0 => Notice::bad("Nothing of it waits."),
        _ => Notice::good("It is tried within seconds."),
    };
    show(visit, id, told).await
}

/// Cancels what waits of a message.
pub(super) async fn cancel(visit: &Visit<'_>, id: &str) -> Page {
    let message = find(visit, id).await?;
    visit.may(Deed::Assist)?;
    let cancelled = act(visit, &message, "cancel").await?;
    visit.note("cancelled message", id).await?;
    let told = match cancelled {
        0 => Notice::bad("It is too late: nothing of it waits."),
        1 => Notice::good("One delivery is cancelled."),
        more => Notice::good(format!("{more} deliveries are cancelled.")),
    };
    show(visit, id, told).await
}

/// Sends a message again as a new one: to one recipient, or to all.
pub(super) async fn resend(visit: &Visit<'_>, id: &str) -> Page {
    let message = find(visit, id).await?;
    visit.may(Deed::Assist)?;
    let to = Some(visit.form.get("to")).filter(|to| !to.is_empty());
    let path = format!("/api/v1/emails/{}/resend", message.id);
    match visit.api_of_tenant(Method::POST, &path, &json!({ "to": to })).await {
        Ok(sent) => {
            let sent = text(&sent, "/id");
            visit.note("sent message again", &format!("{id} as {sent}")).await?;
            Ok(go(&visit.path(&format!("messages/{sent}?again={id}"))))
        }
        Err(problem) => show(visit, id, Notice::bad(page::told(&problem))).await,
    }
}
