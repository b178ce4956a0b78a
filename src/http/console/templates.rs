//! The templates of a mail agent: edit, look at with data, versions, send a test.

use askama::Template;
use hyper::Method;
use serde_json::{Map, Value, json};

use super::mail::{MAIL_POLICY, kept_in};
use super::page::{self, Frame, Notice, Section, shown};
use super::{Fault, Page, Visit, go};
use crate::http::query::encoded;
use crate::mail::template::{Compiled, Preview, SOURCE_BYTES_MAX};
use crate::model::author::Authors;
use crate::model::id::TemplateId;
use crate::model::template::{self, NAME_RULE, Texts, is_name};
use crate::model::tenant::MailAgent;
use crate::model::user::Deed;
use crate::store::StoreError;

/// Templates on one page.
const TEMPLATES_MAX: u32 = 50;
/// Characters of what people call one.
const TITLE_CHARS_MAX: usize = 250;
/// Bytes of all that is edited here, as it stands in the page.
const EDITED_BYTES_MAX: usize = 120_000;
/// Bytes of a subject or title in a list.
const LINE_BYTES_MAX: usize = 200;
/// Versions that are listed.
const VERSIONS_MAX: usize = 20;
/// Data of a preview, to begin with.
const DATA: &str = "{\n  \"name\": \"Ann\"\n}";

struct Row {
    name: String,
    title: String,
    subject: String,
    version: u32,
    at: String,
}

#[derive(Template)]
#[template(path = "console/templates.html")]
struct TemplatesPage<'t> {
    frame: Frame,
    agent: &'t MailAgent,
    tab: &'static str,
    rows: Vec<Row>,
    /// The query of the next page.
    next: Option<String>,
}

/// All of them.
pub(super) async fn list(visit: &Visit<'_>, key: &str, notice: Option<Notice>) -> Page {
    let agent = visit.agent(key).await?;
    let mut found = visit.server.store().templates(agent.id, visit.query.get("after"), TEMPLATES_MAX + 1).await?;
    let has_more = found.len() > TEMPLATES_MAX as usize;
    found.truncate(TEMPLATES_MAX as usize);
    let next = found.last().filter(|_| has_more).map(|last| format!("after={}", encoded(&last.name)));
    let rows = found.into_iter().map(|view| Row {
        name: view.name,
        title: page::cut(&view.title, LINE_BYTES_MAX),
        subject: page::cut(&view.subject, LINE_BYTES_MAX),
        version: view.version,
        at: shown(view.updated_at),
    });
    let frame = visit.frame(&agent.name, Section::Agents, notice);
    page::page(&TemplatesPage { frame, agent: &agent, tab: "templates", rows: rows.collect(), next })
}

/// What stands in the form.
#[derive(Default)]
struct Typed {
    name: String,
    title: String,
    subject: String,
    html: String,
    text: String,
    data: String,
    to: String,
}

impl Typed {
    /// What a page has room for of one that is too long: its name, and how it begins.
    fn shortened(&self) -> Self {
        let line = |text: &str| page::beginning(text, LINE_BYTES_MAX).0.to_owned();
        let data = line(&self.data);
        Self { name: line(&self.name), title: line(&self.title), subject: line(&self.subject), data, ..Self::default() }
    }
}

#[derive(Template)]
#[template(path = "console/template.html")]
struct TemplatePage<'t> {
    frame: Frame,
    agent: &'t MailAgent,
    /// The name that it is kept under; empty while it is new.
    saved: String,
    typed: Typed,
    version: u32,
    versions: Vec<(u32, String)>,
    is_too_long: bool,
}

async fn form_page(
    visit: &Visit<'_>,
    agent: &MailAgent,
    template: Option<&template::Template>,
    typed: Typed,
    notice: Option<Notice>,
) -> Page {
    let title = template.map_or("Add template", |template| template.name.as_str());
    let mut versions = Vec::new();
    if let Some(template) = template {
        let all = visit.server.store().template_versions(visit.tenant.id, template.id).await?;
        versions = all.into_iter().map(|(version, at, _)| (version, shown(at))).collect();
        versions.sort_by_key(|(version, _)| std::cmp::Reverse(*version));
        versions.truncate(VERSIONS_MAX);
    }
    let texts = [&typed.html, &typed.text, &typed.subject, &typed.title, &typed.data, &typed.name, &typed.to];
    let is_too_long = texts.into_iter().map(|text| page::written(text)).sum::<usize>() > EDITED_BYTES_MAX;
    let name = template.map_or("new", |template| template.name.as_str());
    let here = format!("agents/{}/templates/{name}", agent.key);
    let page = TemplatePage {
        frame: visit.frame(title, Section::Agents, notice).here(visit.path(&here)),
        agent,
        saved: template.map_or_else(String::new, |template| template.name.clone()),
        version: template.map_or(0, |template| template.version),
        versions,
        typed: if is_too_long { typed.shortened() } else { typed },
        is_too_long,
    };
    page::page(&page)
}

/// The form for a new one.
pub(super) async fn new(visit: &Visit<'_>, key: &str) -> Page {
    let agent = visit.agent(key).await?;
    form_page(visit, &agent, None, Typed { data: DATA.to_owned(), ..Typed::default() }, None).await
}

async fn find(visit: &Visit<'_>, agent: &MailAgent, name: &str) -> Result<template::Template, Fault> {
    visit.server.store().template_named(agent.id, name).await?.ok_or(Fault::NotFound)
}

/// The form for one that is there, in its newest version or the one that the query names.
pub(super) async fn edit(visit: &Visit<'_>, key: &str, name: &str, notice: Option<Notice>) -> Page {
    let agent = visit.agent(key).await?;
    let newest = find(visit, &agent, name).await?;
    let version: Option<u32> = visit.query.get("version").parse().ok();
    let template = match version {
        None => newest,
        Some(version) => {
            let older = visit.server.store().template_version(visit.tenant.id, newest.id, version).await?;
            older.ok_or(Fault::NotFound)?
        }
    };
    let typed = Typed {
        name: template.name.clone(),
        title: template.title.clone(),
        subject: template.texts.subject.clone(),
        html: template.texts.html.clone().unwrap_or_default(),
        text: template.texts.text.clone().unwrap_or_default(),
        data: DATA.to_owned(),
        to: String::new(),
    };
    form_page(visit, &agent, Some(&template), typed, notice).await
}

fn typed(visit: &Visit<'_>) -> Typed {
    let form = &visit.form;
    Typed {
        name: form.get("name").to_owned(),
        title: form.get("title").to_owned(),
        subject: form.get("subject").to_owned(),
        html: form.lines("html"),
        text: form.lines("text"),
        data: form.lines("data"),
        to: form.get("to").to_owned(),
    }
}

fn texts(typed: &Typed) -> Texts {
    let body = |text: &String| Some(text.clone()).filter(|text| !text.trim().is_empty());
    Texts { subject: typed.subject.clone(), html: body(&typed.html), text: body(&typed.text) }
}

/// What is wrong with what was typed.
fn complaint(typed: &Typed) -> Option<String> {
    let texts = texts(typed);
    if !is_name(&typed.name) {
        return Some(format!("A name must be {NAME_RULE}."));
    }
    if typed.title.chars().count() > TITLE_CHARS_MAX {
        return Some(format!("A title has at most {TITLE_CHARS_MAX} characters."));
    }
    if texts.subject.is_empty() || texts.html.is_none() && texts.text.is_none() {
        return Some("A template has a subject, and a body in HTML or text or both.".into());
    }
    if [&typed.html, &typed.text].iter().any(|text| text.len() > SOURCE_BYTES_MAX) {
        return Some("A text of a template has at most 1 MiB.".into());
    }
    Compiled::new(&texts).err().map(|flawed| format!("{:?}: {}", flawed.part, flawed.fault))
}

/// Adds a template, or a version of the one that is kept under a name.
pub(super) async fn save(visit: &Visit<'_>, key: &str, name: Option<&str>) -> Page {
    let agent = visit.agent(key).await?;
    let kept = match name {
        Some(name) => Some(find(visit, &agent, name).await?),
        None => None,
    };
    visit.may(Deed::Manage)?;
    let typed = typed(visit);
    if let Some(complaint) = complaint(&typed) {
        return form_page(visit, &agent, kept.as_ref(), typed, Notice::bad(complaint)).await;
    }
    let now = visit.server.clock().now();
    let template = template::Template {
        id: kept.as_ref().map_or_else(|| TemplateId::from_uuid(visit.server.ids().uuid(now)), |kept| kept.id),
        tenant: visit.tenant.id,
        agent: agent.id,
        name: typed.name.clone(),
        title: if typed.title.is_empty() { typed.name.clone() } else { typed.title.clone() },
        version: 1,
        texts: texts(&typed),
        created_at: kept.as_ref().map_or(now, |kept| kept.created_at),
        updated_at: now,
        authors: Authors {
            created_by: kept.as_ref().map_or_else(|| visit.author(), |kept| kept.authors.created_by.clone()),
            updated_by: visit.author(),
        },
    };
    let store = visit.server.store();
    let saved = match kept {
        None => store.add_template(template.clone()).await.map(|has_room| has_room.then_some(1)),
        Some(_) => store.change_template(template.clone()).await,
    };
    let told = match saved {
        Ok(Some(version)) => Notice::good(format!("Saved as version {version}.")),
        Ok(None) => Notice::bad("The mail agent has as many templates as it may have."),
        Err(StoreError::Conflict) => {
            let taken = Notice::bad("There is a template with this name.");
            return form_page(visit, &agent, kept.as_ref(), typed, taken).await;
        }
        Err(fault) => return Err(fault.into()),
    };
    visit.note("saved template", &template.name).await?;
    edit(visit, key, &template.name, told).await
}

/// Deletes one, with its versions.
pub(super) async fn remove(visit: &Visit<'_>, key: &str, name: &str) -> Page {
    let agent = visit.agent(key).await?;
    let template = find(visit, &agent, name).await?;
    visit.may(Deed::Manage)?;
    visit.server.store().remove_template(visit.tenant.id, template.id).await?;
    visit.note("deleted template", name).await?;
    Ok(go(&visit.path(&format!("agents/{key}/templates"))))
}

/// What was typed, filled in with the data that was typed.
fn filled_in(typed: &Typed) -> Result<Preview, String> {
    let data: Value = match typed.data.trim() {
        "" => Value::Object(Map::new()),
        text => serde_json::from_str(text).map_err(|fault| format!("The data is no JSON: {fault}"))?,
    };
    let compiled = Compiled::new(&texts(typed));
    let preview = compiled.and_then(|compiled| compiled.preview(&data));
    preview.map_err(|flawed| format!("{:?}: {}", flawed.part, flawed.fault))
}

#[derive(Template)]
#[template(path = "console/template_preview.html")]
struct PreviewPage<'t> {
    fault: Option<String>,
    subject: &'t str,
    missing: String,
    text: Option<&'t str>,
}

/// How it looks, for the frame beside the form.
pub(super) async fn preview(visit: &Visit<'_>, key: &str) -> Page {
    visit.agent(key).await?;
    let preview = filled_in(&typed(visit));
    let (fault, preview) = match preview {
        Ok(preview) => (None, preview),
        Err(fault) => (Some(fault), Preview { texts: Texts::default(), missing: Vec::new() }),
    };
    let head = PreviewPage {
        fault,
        subject: &preview.texts.subject,
        missing: preview.missing.join(", "),
        text: preview.texts.text.as_deref().filter(|_| preview.texts.html.is_none()),
    };
    let head = head.render().map_err(|_| Fault::Problem(crate::http::problem::Problem::Broken))?;
    kept_in(&format!("{head}{}", preview.texts.html.unwrap_or_default()), MAIL_POLICY)
}

/// Sends what was typed to one address.
pub(super) async fn test(visit: &Visit<'_>, key: &str, name: &str) -> Page {
    let agent = visit.agent(key).await?;
    let template = find(visit, &agent, name).await?;
    visit.may(Deed::Assist)?;
    let typed = typed(visit);
    let preview = match filled_in(&typed) {
        Ok(preview) => preview,
        Err(fault) => return form_page(visit, &agent, Some(&template), typed, Notice::bad(fault)).await,
    };
    let from = visit.form.get("from");
    let mut body = json!({ "to": typed.to, "subject": preview.texts.subject, "tags": ["template-test"] });
    for (field, text) in [("html", preview.texts.html), ("text", preview.texts.text)] {
        if let Some(text) = text {
            body[field] = text.into();
        }
    }
    if !from.is_empty() {
        body["from"] = from.into();
    }
    let notice = match visit.api(&agent, Method::POST, "/api/v1/emails", &body).await {
        Ok(sent) => {
            visit.note("sent template test", name).await?;
            let id = sent.get("id").and_then(Value::as_str).unwrap_or_default();
            Notice::good(format!("Sent to {} as {id}.", typed.to))
        }
        Err(problem) => Notice::bad(page::told(&problem)),
    };
    form_page(visit, &agent, Some(&template), typed, notice).await
}
