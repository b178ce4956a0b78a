//! How a mail agent tracks: what would become of a mail that is not sent yet, and the hosts of its own that links lead
//! through.

use askama::Template;
use hyper::Method;
use serde_json::{Value, json};

use super::exchange::text;
use super::operations::{TrackingRow, tracking_row};
use super::page::{self, Frame, Notice, Section};
use super::tracked::TrackedView;
use super::{Fault, Page, Visit};
use crate::http::problem::Problem;
use crate::http::query::encoded;
use crate::model::tenant::MailAgent;
use crate::model::user::Deed;

/// Bytes of what was typed that stand in the form again, and of the data among it.
const TYPED_BYTES_MAX: usize = 24_000;
const DATA_BYTES_MAX: usize = 8_000;
/// Templates and domains to choose from.
const TEMPLATES_MAX: u32 = 100;
const DOMAINS_MAX: usize = 50;
/// Bytes of the hosts that are listed, and what one takes besides its words.
const HOSTS_BYTES_MAX: usize = 30_000;
const HOST_BYTES: usize = 700;
/// Whom a mail of a preview is to.
const READER: &str = "reader@example.com";

/// What stands in the form.
#[derive(Default)]
struct Typed {
    kind: String,
    content: String,
    template: String,
    data: String,
    is_cut: bool,
}

#[derive(Template)]
#[template(path = "console/tracking.html")]
struct TrackingPage<'t> {
    frame: Frame,
    agent: &'t MailAgent,
    tab: &'static str,
    kinds: [(&'static str, &'static str); 3],
    typed: Typed,
    templates: Vec<String>,
    tracked: Option<TrackedView>,
    hosts: Vec<TrackingRow>,
    hosts_more: usize,
    domains: Vec<String>,
}

/// The tab.
pub(super) async fn show(visit: &Visit<'_>, key: &str, notice: Option<Notice>) -> Page {
    let agent = visit.agent(key).await?;
    tab(visit, &agent, Typed { kind: "html".to_owned(), ..Typed::default() }, None, notice).await
}

async fn tab(
    visit: &Visit<'_>,
    agent: &MailAgent,
    typed: Typed,
    tracked: Option<TrackedView>,
    notice: Option<Notice>,
) -> Page {
    let store = visit.server.store();
    let templates = store.templates(agent.id, "", TEMPLATES_MAX).await?;
    let hosts = store.tracking_hosts().await?;
    let mut hosts: Vec<TrackingRow> =
        hosts.into_iter().filter(|host| host.agent == agent.id).map(tracking_row).collect();
    let bytes = |row: &TrackingRow| HOST_BYTES + 6 * page::written(&row.host) + page::written(&row.fault);
    let mut domains = store.domains(agent.id).await?;
    domains.truncate(DOMAINS_MAX);
    let page = TrackingPage {
        frame: visit
            .frame(&agent.name, Section::Agents, notice)
            .here(visit.path(&format!("agents/{}/tracking", agent.key))),
        agent,
        tab: "tracking",
        kinds: [("html", "HTML"), ("mail", "A whole mail, as it is handed in"), ("template", "A template")],
        typed,
        templates: templates.into_iter().map(|template| template.name).collect(),
        tracked,
        hosts_more: page::fit(&mut hosts, HOSTS_BYTES_MAX, bytes),
        hosts,
        domains,
    };
    page::page(&page)
}

/// What would become of a mail: as it is handed in, by the same way, but for being sent.
pub(super) async fn preview(visit: &Visit<'_>, key: &str) -> Page {
    let agent = visit.agent(key).await?;
    let (form, content) = (&visit.form, visit.form.lines("content"));
    let sender = match &agent.settings.from {
        Some(from) => from.address.clone(),
        None => {
            let domains = visit.server.store().domains(agent.id).await?;
            format!("preview@{}", domains.first().map_or("example.com", String::as_str))
        }
    };
    let told = match form.get("kind") {
        "mail" => {
            let mail = with_envelope(&content, &sender).into_bytes();
            visit.api_with(&agent, Method::POST, "/api/v1/emails/preview", ("message/rfc822", mail)).await
        }
        kind => match body_of(kind, visit, &content, &sender) {
            Ok(body) => visit.api(&agent, Method::POST, "/api/v1/emails/preview", &body).await,
            Err(complaint) => {
                let typed = typed(visit, &content);
                return tab(visit, &agent, typed, None, Notice::bad(complaint)).await;
            }
        },
    };
    let typed = typed(visit, &content);
    match told {
        Ok(told) => {
            let copy = told.get("tracking").unwrap_or(&Value::Null);
            let tracked = TrackedView::of(copy).within(&text(&told, "/html"));
            tab(visit, &agent, typed, Some(tracked), None).await
        }
        Err(problem) => tab(visit, &agent, typed, None, Notice::bad(page::told(&problem))).await,
    }
}

/// The body of a request for HTML or for a template.
fn body_of(kind: &str, visit: &Visit<'_>, content: &str, sender: &str) -> Result<Value, String> {
    let mut body = json!({ "from": sender, "to": READER });
    if kind != "template" {
        body["subject"] = "Preview".into();
        body["html"] = content.into();
        return if content.trim().is_empty() { Err("There is nothing to look at.".to_owned()) } else { Ok(body) };
    }
    body["template"] = visit.form.get("template").into();
    let data = visit.form.lines("data");
    if !data.trim().is_empty() {
        body["variables"] = serde_json::from_str(&data).map_err(|fault| format!("The data is no JSON: {fault}"))?;
    }
    Ok(body)
}

/// A mail with what it lacks to be handed in: somebody who sends it, and somebody whom it is to.
fn with_envelope(mail: &str, sender: &str) -> String {
    let header = mail.split("\n\n").next().unwrap_or_default().to_ascii_lowercase();
    let has = |name: &str| header.lines().any(|line| line.starts_with(name));
    let from = if has("from:") { String::new() } else { format!("From: {sender}\n") };
    let is_named = ["to:", "cc:", "bcc:"].iter().any(|name| has(name));
    let to = if is_named { String::new() } else { format!("To: {READER}\n") };
    format!("{from}{to}{mail}")
}

fn typed(visit: &Visit<'_>, content: &str) -> Typed {
    let (start, is_cut) = page::beginning(content, TYPED_BYTES_MAX);
    Typed {
        kind: visit.form.get("kind").to_owned(),
        content: start.to_owned(),
        template: visit.form.get("template").to_owned(),
        data: page::beginning(&visit.form.lines("data"), DATA_BYTES_MAX).0.to_owned(),
        is_cut,
    }
}

/// The path of a host that a form names, with what is to be done to it.
fn path_of(visit: &Visit<'_>, deed: &str) -> String {
    format!("/api/v1/tracking-hosts/{}{deed}", encoded(visit.form.get("host")))
}

/// The tab, with how a change went.
async fn told(visit: &Visit<'_>, key: &str, done: Result<Value, Problem>, told: &str) -> Page {
    match done {
        Ok(_) => show(visit, key, Notice::good(told)).await,
        Err(problem @ Problem::NotFound(_)) => Err(Fault::from(problem)),
        Err(problem) => show(visit, key, Notice::bad(page::told(&problem))).await,
    }
}

/// Adds a host that links of a domain lead through from when it has passed its check.
pub(super) async fn add(visit: &Visit<'_>, key: &str) -> Page {
    let agent = visit.agent(key).await?;
    visit.may(Deed::Manage)?;
    let (host, domain) = (visit.form.get("host"), visit.form.get("domain"));
    let body = json!({ "host": host, "domain": domain, "mailAgent": agent.name });
    let added = visit.api(&agent, Method::POST, "/api/v1/tracking-hosts", &body).await;
    if added.is_ok() {
        visit.note("added tracking host", host).await?;
    }
    told(visit, key, added, "Added. It is checked within seconds, and mail is rewritten for it once it has passed.")
        .await
}

/// Has one checked at once.
pub(super) async fn check(visit: &Visit<'_>, key: &str) -> Page {
    let agent = visit.agent(key).await?;
    visit.may(Deed::Manage)?;
    let checked = visit.api(&agent, Method::POST, &path_of(visit, "/check"), &Value::Null).await;
    told(visit, key, checked, "It is checked within seconds.").await
}

/// Removes one.
pub(super) async fn remove(visit: &Visit<'_>, key: &str) -> Page {
    let agent = visit.agent(key).await?;
    visit.may(Deed::Manage)?;
    let host = visit.form.get("host");
    let removed = visit.api(&agent, Method::DELETE, &path_of(visit, ""), &Value::Null).await;
    if removed.is_ok() {
        visit.note("removed tracking host", host).await?;
    }
    told(visit, key, removed, "Removed. New links of its domain lead through the installation’s host.").await
}
