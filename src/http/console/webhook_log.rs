//! What a webhook was told: each attempt with request and answer, told again one by one or many at once; and its secret.

use std::time::Duration;

use askama::Template;
use hyper::Method;
use serde_json::{Value, json};

use super::exchange::{Exchange, text, when};
use super::page::{self, Frame, Notice, Section, span};
use super::webhooks::{Shown, find, path_of};
use super::{Fault, Page, Visit};
use crate::model::tenant::MailAgent;
use crate::model::user::Deed;

/// Attempts of one dispatch that are shown in full.
const ATTEMPTS_MAX: usize = 4;
/// Bytes of what went wrong, or of an address.
const TEXT_BYTES_MAX: usize = 200;

struct Line {
    event: String,
    at: String,
    status: String,
    error: String,
    took: String,
    number: String,
    is_good: bool,
    next: String,
}

impl Line {
    fn of(attempt: &Value) -> Self {
        let micros = attempt.pointer("/timings/totalMicros").and_then(Value::as_u64).unwrap_or(0);
        Self {
            event: text(attempt, "/eventId"),
            at: when(attempt, "/startedAt"),
            status: text(attempt, "/statusCode"),
            error: page::cut(&text(attempt, "/error"), TEXT_BYTES_MAX),
            took: format!("{} ms", micros / 1_000),
            number: text(attempt, "/number"),
            is_good: attempt.get("delivered").and_then(Value::as_bool).unwrap_or(false),
            next: when(attempt, "/nextAttemptAt"),
        }
    }
}

struct ReplayRow {
    id: String,
    status: String,
    from: String,
    to: String,
    seen: String,
    queued: String,
    is_running: bool,
    /// Hundredths of the way.
    done: u64,
}

#[derive(Template)]
#[template(path = "console/webhook_log.html")]
struct LogPage<'t> {
    frame: Frame,
    agent: &'t MailAgent,
    webhook: Shown,
    only_failed: bool,
    lines: Vec<Line>,
    next: Option<String>,
    replays: Vec<ReplayRow>,
}

/// The log, newest first.
pub(super) async fn list(visit: &Visit<'_>, key: &str, id: &str, notice: Option<Notice>) -> Page {
    let agent = visit.agent(key).await?;
    let webhook = find(visit, &agent, id).await?;
    let only_failed = visit.query.get("status") == "failed";
    let path = format!("{}/attempts?{}", path_of(id), visit.query.with("limit", "50"));
    let log = visit.api(&agent, Method::GET, &path, &Value::Null).await?;
    let log = log.as_array().cloned().unwrap_or_default();
    let next = log.last().filter(|_| log.len() == 50).map(|last| {
        let millis = text(last, "/startedAt").parse::<jiff::Timestamp>().map_or(0, |at| at.as_millisecond());
        visit.query.with("after", &format!("{millis}_{}", text(last, "/eventId")))
    });
    let replays = visit.api(&agent, Method::GET, &format!("{}/replays?limit=5", path_of(id)), &Value::Null).await?;
    let here = visit.path(&format!("agents/{key}/webhooks/{id}/log"));
    let page = LogPage {
        frame: visit.frame("Webhook log", Section::Agents, notice).here(here),
        agent: &agent,
        only_failed,
        lines: log.iter().map(Line::of).collect(),
        next,
        replays: replays.as_array().into_iter().flatten().map(replay_row).collect(),
        webhook,
    };
    page::page(&page)
}

fn replay_row(replay: &Value) -> ReplayRow {
    let at = |path| text(replay, path).parse::<jiff::Timestamp>().map_or(0, |at| at.as_millisecond());
    let (from, to, reached) = (at("/from"), at("/to"), at("/reached"));
    let whole = (to - from).max(1);
    let done = (reached - from).clamp(0, whole) * 100 / whole;
    let status = text(replay, "/status");
    ReplayRow {
        id: text(replay, "/id"),
        from: when(replay, "/from"),
        to: when(replay, "/to"),
        seen: text(replay, "/seen"),
        queued: text(replay, "/queued"),
        is_running: status == "running",
        done: u64::try_from(done).unwrap_or(0),
        status,
    }
}

/// An attempt, with what went out and came back.
struct Tried {
    line: Line,
    exchange: Exchange,
}

#[derive(Template)]
#[template(path = "console/webhook_dispatch.html")]
struct DispatchPage<'t> {
    frame: Frame,
    agent: &'t MailAgent,
    webhook: Shown,
    event: String,
    kind: String,
    state: String,
    recipient: String,
    message: String,
    is_test: bool,
    next: String,
    attempts: Vec<Tried>,
    more: usize,
}

fn tried(attempt: &Value) -> Tried {
    let request = attempt.get("request").unwrap_or(&Value::Null);
    Tried { line: Line::of(attempt), exchange: Exchange::of(request, attempt) }
}

/// All about one event and this webhook.
pub(super) async fn show(visit: &Visit<'_>, key: &str, id: &str, event: &str, notice: Option<Notice>) -> Page {
    let agent = visit.agent(key).await?;
    let webhook = find(visit, &agent, id).await?;
    let told = visit.api(&agent, Method::GET, &path_of_dispatch(id, event), &Value::Null).await?;
    let log = told.get("log").and_then(Value::as_array).cloned().unwrap_or_default();
    let here = visit.path(&format!("agents/{key}/webhooks/{id}/log/{event}"));
    let page = DispatchPage {
        frame: visit.frame("Webhook dispatch", Section::Agents, notice).here(here),
        agent: &agent,
        webhook,
        event: event.to_owned(),
        kind: text(&told, "/eventType"),
        state: text(&told, "/dispatch/state"),
        recipient: page::cut(&text(&told, "/recipient"), TEXT_BYTES_MAX),
        message: text(&told, "/emailId"),
        is_test: told.get("test").and_then(Value::as_bool).unwrap_or(false),
        next: when(&told, "/dispatch/nextAttemptAt"),
        more: log.len().saturating_sub(ATTEMPTS_MAX),
        attempts: log.iter().rev().take(ATTEMPTS_MAX).map(tried).collect(),
    };
    page::page(&page)
}

/// An event is one segment, whatever was typed.
fn path_of_dispatch(id: &str, event: &str) -> String {
    format!("{}/dispatches/{}", path_of(id), event.replace(['?', '#', '/'], "_"))
}

/// Tells an event again, now.
pub(super) async fn resend(visit: &Visit<'_>, key: &str, id: &str, event: &str) -> Page {
    let agent = visit.agent(key).await?;
    find(visit, &agent, id).await?;
    visit.may(Deed::Assist)?;
    let path = format!("{}/replay", path_of_dispatch(id, event));
    visit.api(&agent, Method::POST, &path, &Value::Null).await?;
    visit.note("told webhook again", &format!("{id} of {event}")).await?;
    show(visit, key, id, event, Notice::good("It is told again, now.")).await
}

/// Tells many events again.
pub(super) async fn replay(visit: &Visit<'_>, key: &str, id: &str) -> Page {
    let agent = visit.agent(key).await?;
    find(visit, &agent, id).await?;
    visit.may(Deed::Manage)?;
    let hours: u64 = visit.form.get("hours").parse().unwrap_or(24);
    let now = visit.server.clock().now();
    let from = now - Duration::from_secs(hours.clamp(1, 24 * 90) * 3_600);
    let fates: Vec<&str> = visit.form.all("fates").collect();
    let body = json!({ "from": from.rfc3339_millis(), "fates": fates });
    let begun = visit.api(&agent, Method::POST, &format!("{}/replays", path_of(id)), &body).await;
    let notice = match begun {
        Ok(_) => {
            visit.note("began replay", id).await?;
            Notice::good(format!("Events of the last {} are told again.", span(now.since(from))))
        }
        Err(problem) => Notice::bad(page::told(&problem)),
    };
    list(visit, key, id, notice).await
}

/// Ends a replay.
pub(super) async fn cancel(visit: &Visit<'_>, key: &str, id: &str, replay: &str) -> Page {
    let agent = visit.agent(key).await?;
    find(visit, &agent, id).await?;
    visit.may(Deed::Manage)?;
    let path = format!("{}/replays/{}", path_of(id), replay.replace(['?', '#', '/'], "_"));
    visit.api(&agent, Method::DELETE, &path, &Value::Null).await?;
    visit.note("ended replay", replay).await?;
    list(visit, key, id, Notice::good("The replay has ended; what it had queued is told.")).await
}

/// Rotates, activates or revokes a webhook's secret, as the form says.
pub(super) async fn secret(visit: &Visit<'_>, key: &str, id: &str) -> Page {
    let agent = visit.agent(key).await?;
    find(visit, &agent, id).await?;
    visit.may(Deed::Manage)?;
    let (word, told) = match visit.form.get("do") {
        "rotate" => ("rotate", "There is a new secret. The old one counts for another day."),
        "activate" => ("activate", "From now on the new secret signs alone."),
        "revoke" => ("revoke", "The old secret counts for nothing any more."),
        _ => return Err(Fault::NotFound),
    };
    let done = visit.api(&agent, Method::POST, &format!("{}/secret/{word}", path_of(id)), &json!({})).await?;
    visit.note(&format!("webhook secret: {word}"), id).await?;
    let fresh = done.get("secret").and_then(Value::as_str).filter(|_| word == "rotate").map(str::to_owned);
    super::webhooks::edit_with(visit, &agent, id, fresh, Notice::good(told)).await
}
