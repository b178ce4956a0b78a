//! The suppressions of a mail agent, or of all of a tenant's: search, add, remove, and in and out as CSV.

use std::fmt::Write;
use std::time::Duration;

use askama::Template;
use hyper::StatusCode;
use hyper::header::{CONTENT_DISPOSITION, HeaderValue};

use super::messages::TYPED_BYTES_MAX;
use super::page::{self, Frame, Notice, Section, shown, whole};
use super::{Fault, Page, Visit};
use crate::model::reason::Reason;
use crate::model::suppression::{Action, Scope, Suppression, Target, csv};
use crate::model::tenant::MailAgent;
use crate::model::user::Deed;
use crate::store::suppressions::{Filter, Lists};

/// Suppressions on one page.
const ROWS_MAX: u32 = 100;
/// Bytes of them, and what one takes besides its words.
const LIST_BYTES_MAX: usize = 100_000;
const ROW_BYTES: usize = 800;
/// Suppressions read or written in one go.
const BITE: u32 = 500;
/// Addresses that one form may add.
const TARGETS_MAX: usize = 1_000;
/// Who changes suppressions here, as their history has it.
const ACTOR: &str = "console";
/// Bad lines of a file that are told.
const TOLD_MAX: usize = 5;

struct Row {
    target: String,
    kind: &'static str,
    reason: String,
    action: &'static str,
    since: String,
    until: String,
    note: String,
}

#[derive(Template)]
#[template(path = "console/suppressions.html")]
struct SuppressionsPage<'t> {
    frame: Frame,
    agent: &'t MailAgent,
    tab: &'static str,
    /// `agent` or `tenant`.
    list: &'static str,
    q: String,
    rows: Vec<Row>,
    next: Option<String>,
    actions: [(&'static str, &'static str); 3],
}

const ACTIONS: [(&str, &str); 3] = [
    ("suppress", "Send to everybody else"),
    ("reject", "Refuse the whole mail"),
    ("suppress_tracking", "Send, without pixel and tracked links"),
];

/// The list that a form or query means, and its word.
fn scope(visit: &Visit<'_>, agent: &MailAgent) -> (Scope, &'static str) {
    let word = if visit.form.has("list") { visit.form.get("list") } else { visit.query.get("list") };
    match word {
        "tenant" => (Scope::Tenant(visit.tenant.id), "tenant"),
        _ => (Scope::Agent(visit.tenant.id, agent.id), "agent"),
    }
}

/// A page of them.
pub(super) async fn list(visit: &Visit<'_>, key: &str, notice: Option<Notice>) -> Page {
    let agent = visit.agent(key).await?;
    let (scope, word) = scope(visit, &agent);
    let q = page::beginning(visit.query.get("q"), TYPED_BYTES_MAX).0;
    let after = visit.query.get("after").to_lowercase();
    let filter = Filter { contains: q.to_owned(), after, ..Filter::default() };
    let found = visit.server.store().suppressions(Lists::Of(scope), &filter, ROWS_MAX).await?;
    let is_full = found.len() == ROWS_MAX as usize;
    let mut rows: Vec<Row> = found.iter().map(row).collect();
    let bytes = |row: &Row| ROW_BYTES + 4 * page::written(&row.target) + page::written(&row.note);
    let has_more = page::fit(&mut rows, LIST_BYTES_MAX, bytes) > 0 || is_full;
    let last = rows.len().checked_sub(1).and_then(|last| found.get(last)).filter(|_| has_more);
    let next = last.map(|last| {
        let mut query = form_urlencoded::Serializer::new(String::new());
        query.extend_pairs([("list", word), ("q", q), ("after", last.target.as_str())]).finish()
    });
    let here = visit.path(&format!("agents/{key}/suppressions?list={word}"));
    let page = SuppressionsPage {
        frame: visit.frame(&agent.name, Section::Agents, notice).here(here),
        agent: &agent,
        tab: "suppressions",
        list: word,
        q: q.to_owned(),
        rows,
        next,
        actions: ACTIONS,
    };
    page::page(&page)
}

fn row(suppression: &Suppression) -> Row {
    let label = ACTIONS.iter().find(|(word, _)| *word == suppression.action.as_str());
    Row {
        target: suppression.target.to_string(),
        kind: suppression.target.kind(),
        reason: suppression.reason.to_string().replace(['-', '_'], " "),
        action: label.map_or("", |(_, label)| label),
        since: shown(suppression.created_at),
        until: suppression.expires_at.map_or_else(|| "removed".to_owned(), shown),
        note: suppression.note.clone(),
    }
}

/// Adds what was typed, one a line.
pub(super) async fn add(visit: &Visit<'_>, key: &str) -> Page {
    let agent = visit.agent(key).await?;
    visit.may(Deed::Assist)?;
    let (scope, _) = scope(visit, &agent);
    let typed = visit.form.lines("targets");
    let typed: Vec<&str> = typed.split(['\n', ',', ';']).map(str::trim).filter(|line| !line.is_empty()).collect();
    let read: Result<Vec<Target>, &str> = typed.iter().map(|text| text.parse().map_err(|_| *text)).collect();
    let targets = match read {
        Err(text) => return list(visit, key, Notice::bad(format!("{text} is no address and no domain."))).await,
        Ok(targets) if targets.is_empty() => return list(visit, key, Notice::bad("Name an address or domain.")).await,
        Ok(targets) if targets.len() > TARGETS_MAX => {
            return list(visit, key, Notice::bad("So many go in as CSV, below.")).await;
        }
        Ok(targets) => targets,
    };
    let note = visit.form.get("note");
    if note.len() > csv::NOTE_BYTES_MAX || note.chars().any(char::is_control) {
        return list(visit, key, Notice::bad("The note is too long.")).await;
    }
    let now = visit.server.clock().now();
    let days: Option<u64> = visit.form.get("days").parse().ok().filter(|days| (1..=3_650).contains(days));
    let action: Action = visit.form.get("action").parse().unwrap_or_default();
    if let Some(domain) = targets.iter().find(|target| !action.is_for(target)) {
        return list(visit, key, Notice::bad(format!("{domain} is a domain: its mail is stopped, or left alone.")))
            .await;
    }
    let suppression = |target| Suppression {
        scope,
        target,
        action,
        reason: Reason::Manual,
        note: note.to_owned(),
        created_at: now,
        created_by: visit.author(),
        expires_at: days.map(|days| now + Duration::from_secs(days * 86_400)),
    };
    let count = targets.len();
    let suppressions = targets.into_iter().map(suppression).collect();
    visit.server.store().put_suppressions(suppressions, ACTOR).await?;
    visit.note("added suppressions", &count.to_string()).await?;
    list(visit, key, Notice::good(format!("Added {count}."))).await
}

/// Removes one.
pub(super) async fn remove(visit: &Visit<'_>, key: &str) -> Page {
    let agent = visit.agent(key).await?;
    visit.may(Deed::Assist)?;
    let (scope, _) = scope(visit, &agent);
    let target: Target = visit.form.get("target").parse().map_err(|_| Fault::NotFound)?;
    let removed = visit.server.store().remove_suppressions(scope, std::slice::from_ref(&target), ACTOR).await?;
    if removed == 0 {
        return Err(Fault::NotFound);
    }
    visit.note("removed suppression", target.as_str()).await?;
    list(visit, key, Notice::good(format!("Mail to {target} goes out again."))).await
}

/// The whole list as CSV.
pub(super) async fn export(visit: &Visit<'_>, key: &str) -> Page {
    let agent = visit.agent(key).await?;
    let (scope, word) = scope(visit, &agent);
    let mut text = csv::HEAD.to_owned();
    let (mut filter, mut room) = (Filter::default(), visit.room(0)?);
    loop {
        let found = visit.server.store().suppressions(Lists::Of(scope), &filter, BITE).await?;
        let Some(last) = found.last() else { break };
        filter.after = last.target.to_string();
        found.iter().for_each(|suppression| text += &csv::line(suppression));
        room.grow(text.capacity())?;
    }
    let mut answer = whole(StatusCode::OK, "text/csv; charset=utf-8", text.into());
    let saved = format!("attachment; filename=\"suppressions-{word}-{}.csv\"", agent.key);
    answer.headers_mut().extend(HeaderValue::try_from(saved).ok().map(|saved| (CONTENT_DISPOSITION, saved)));
    Ok(answer)
}

/// Takes in a file.
pub(super) async fn import(visit: &Visit<'_>, key: &str) -> Page {
    let agent = visit.agent(key).await?;
    visit.may(Deed::Assist)?;
    let (scope, _) = scope(visit, &agent);
    let read = match csv::read(visit.form.raw("file"), scope, visit.server.clock().now()) {
        Ok(read) => read,
        Err(line) => return list(visit, key, Notice::bad(line.to_string())).await,
    };
    let (mut good, mut bad) = (Vec::new(), Vec::new());
    for one in read {
        match one {
            Ok(suppression) => good.push(suppression),
            Err(line) => bad.push(line),
        }
    }
    for bite in good.chunks(BITE as usize) {
        visit.server.store().put_suppressions(bite.to_vec(), ACTOR).await?;
    }
    visit.note("imported suppressions", &good.len().to_string()).await?;
    let mut told = format!("Read {}.", good.len());
    if !bad.is_empty() {
        let lines = if bad.len() == 1 { "One line makes".to_owned() } else { format!("{} lines make", bad.len()) };
        let _ = write!(told, " {lines} no sense: ");
        told += &bad.iter().take(TOLD_MAX).map(ToString::to_string).collect::<Vec<_>>().join("; ");
    }
    let notice = if good.is_empty() { Notice::bad(told) } else { Notice::good(told) };
    list(visit, key, notice).await
}
