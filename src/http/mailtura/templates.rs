//! `/api/v1/templates`: mails that are kept ready, their versions, and how one would look.
//!
//! A template belongs to a mail agent, the key's own unless `mailAgent` names another, and is found by its name or its
//! id. A change makes a new version. What placeholders can do, `mail::template` says.

use hyper::StatusCode;
use serde_json::{Map, Value, json};

use super::super::json::Json;
use super::super::json_answer;
use super::super::operation::Call;
use super::super::problem::Problem;
use super::super::query;
use super::super::server::Answer;
use super::super::shape::{self, Change, Line, Nullable, Read, Schemas, Shape, Text, When, answer, request};
use super::super::wire::{self, Flaw, Wrong};
use super::{agent_or_own, made, no_content};
use crate::mail::template::Compiled;
use crate::model::author::Authors;
use crate::model::id::TemplateId;
use crate::model::template::{self, NAME_CHARS_MAX, NAME_RULE, Texts, is_name};
use crate::model::tenant::MailAgent;
use crate::store::StoreError;
use crate::store::templates::TemplateView;

/// Characters of a subject, before it is filled in.
const SUBJECT_CHARS_MAX: usize = 2_000;

/// What requests and paths call a template.
#[derive(Debug)]
pub(super) struct Name(String);

impl Shape for Name {
    fn schema(_: &mut Schemas) -> Value {
        json!({ "type": "string", "pattern": "^[A-Za-z0-9._-]*[A-Za-z0-9_-][A-Za-z0-9._-]*$", "maxLength": NAME_CHARS_MAX })
    }
}

impl Read for Name {
    fn read(json: &Json<'_>, path: &str) -> Result<Self, Flaw> {
        let name = wire::text_of(json, path)?;
        let why = || format!("must be {NAME_RULE}");
        if is_name(name) { Ok(Self(name.to_owned())) } else { Err(Flaw::at(path, Wrong::Other(why())).showing(name)) }
    }
}

request! {
    /// A mail to keep ready: `subject`, and `html` or `text` or both, with placeholders like `{{name}}`.
    pub(super) struct NewTemplate {
        /// Its name, which no other of the mail agent has.
        name "name": Name,
        /// What people call it; its name unless given.
        title "title": Option<Line<1, 250>>,
        /// The subject.
        subject "subject": Text<1, SUBJECT_CHARS_MAX>,
        /// The body for readers that show HTML; values are escaped in it.
        html "html": Option<String>,
        /// The body for those that do not; made of the HTML unless given.
        text "text": Option<String>,
        /// Which mail agent's; the key's own unless given.
        mail_agent "mailAgent": Option<Line<1, 100>>,
    }

    /// What to change of a template; null takes a body away.
    pub(super) struct TemplateChange {
        /// Its name.
        name "name": Option<Name>,
        /// What people call it.
        title "title": Option<Line<1, 250>>,
        /// The subject.
        subject "subject": Option<Text<1, SUBJECT_CHARS_MAX>>,
        /// The body for readers that show HTML.
        html "html": Change<String>,
        /// The body for those that do not.
        text "text": Change<String>,
    }

    /// What to fill a template in with.
    pub(super) struct PreviewData {
        /// The values, as a mail brings them.
        variables "variables": Option<Map<String, Value>>,
        /// The same under another name.
        data "data": Option<Map<String, Value>>,
    }

    /// Texts that are not kept yet, and what to fill them in with.
    pub(super) struct DraftPreview {
        /// The subject.
        subject "subject": Option<Text<0, SUBJECT_CHARS_MAX>>,
        /// The body for readers that show HTML.
        html "html": Option<String>,
        /// The body for those that do not.
        text "text": Option<String>,
        /// The values, as a mail brings them.
        variables "variables": Option<Map<String, Value>>,
    }
}

answer! {
    /// A mail that is kept ready.
    pub(super) struct Template {
        /// Its id.
        id "id": String,
        /// Its name.
        name "name": String,
        /// What people call it.
        title "title": String,
        /// Which version this is, counted from 1.
        version "version": u32,
        /// Which mail agent's it is.
        mail_agent "mailAgent": String,
        /// The subject.
        subject "subject": String,
        /// The body for readers that show HTML; not in lists.
        html "html": Option<String>,
        /// The body for those that do not; not in lists.
        text "text": Option<String>,
        /// When its first version was made.
        created_at "createdAt": When,
        /// Who made it: a person's address, or the id of a key; null when that is not known.
        created_by "createdBy": Nullable<String>,
        /// When this version was made.
        updated_at "updatedAt": When,
        /// Who made this version; null when that is not known.
        updated_by "updatedBy": Nullable<String>,
    }

    /// A version of a template.
    pub(super) struct TemplateVersion {
        /// Counted from 1.
        version "version": u32,
        /// When it was made.
        created_at "createdAt": When,
        /// Who made it; null when that is not known.
        created_by "createdBy": Nullable<String>,
    }

    /// How a mail would look.
    pub(super) struct Preview {
        /// The subject.
        subject "subject": String,
        /// The body for readers that show HTML; null without one.
        html "html": Nullable<String>,
        /// The body for those that do not; null without one of its own.
        text "text": Nullable<String>,
        /// Names that the texts ask for and the values lack; they are left empty.
        missing "missing": Vec<String>,
    }
}

/// `GET /api/v1/templates`: by name.
pub(super) async fn list(call: Call) -> Result<Answer, Problem> {
    let (limit, after) = (call.query.limit()?, call.query.text("after").unwrap_or_default());
    let agent = of_query(&call).await?;
    let found = call.server.store().templates(agent.id, after, limit + 1).await?;
    let key = |template: &TemplateView| template.name.clone();
    query::page(("/api/v1/templates", &call.query), found, key, |template| listed(template, &agent))
}

/// `POST /api/v1/templates`.
pub(super) async fn add(call: Call) -> Result<Answer, Problem> {
    let NewTemplate { name: Name(name), title, subject: Text(subject), html, text, mail_agent } =
        shape::read(&call.body.bytes)?;
    let agent = mail_agent.as_ref().map(|Line(name)| name.as_str());
    let agent = agent_or_own(&call.server, &call.grant, agent).await?;
    let now = call.server.clock().now();
    let template = template::Template {
        id: TemplateId::from_uuid(call.server.ids().uuid(now)),
        tenant: agent.tenant,
        agent: agent.id,
        title: title.map_or_else(|| name.clone(), |Line(title)| title),
        name,
        version: 1,
        texts: Texts {
            subject,
            html: html.filter(|html| !html.is_empty()),
            text: text.filter(|text| !text.is_empty()),
        },
        created_at: now,
        updated_at: now,
        authors: Authors { updated_by: call.grant.author(), ..call.grant.authors() },
    };
    check(&template.texts)?;
    let added = call.server.store().add_template(template.clone()).await;
    if !added.map_err(|fault| taken(fault, &template))? {
        return Err(Problem::Full("The mail agent has as many templates as it may have"));
    }
    let place = format!("/api/v1/templates/{}", template.name);
    Ok(made(&shown(template, &agent), &place))
}

/// `GET /api/v1/templates/{name}`: its newest version, or the one that the query names.
pub(super) async fn get(call: Call) -> Result<Answer, Problem> {
    let (mut template, agent) = find(&call).await?;
    if let Some(version) = call.query.value::<u32>("version", "integer")? {
        let found = call.server.store().template_version(template.tenant, template.id, version).await?;
        template = found.ok_or(Problem::NotFound("Version"))?;
    }
    Ok(json_answer(StatusCode::OK, &shown(template, &agent)))
}

/// `GET /api/v1/templates/{name}/versions`: newest first.
pub(super) async fn versions(call: Call) -> Result<Answer, Problem> {
    let (template, _) = find(&call).await?;
    let versions = call.server.store().template_versions(template.tenant, template.id).await?;
    let shown = |(version, created_at, created_by)| TemplateVersion {
        version,
        created_at: When(created_at),
        created_by: Nullable::of(created_by),
    };
    Ok(json_answer(StatusCode::OK, &versions.into_iter().map(shown).collect::<Vec<_>>()))
}

/// `PATCH /api/v1/templates/{name}`: what is named changes.
pub(super) async fn change(call: Call) -> Result<Answer, Problem> {
    let (mut template, agent) = find(&call).await?;
    let TemplateChange { name, title, subject, html, text } = shape::read(&call.body.bytes)?;
    let is_change = name.is_some() || title.is_some() || subject.is_some() || html.is_change() || text.is_change();
    if !is_change {
        return Err(Problem::EmptyChange);
    }
    let Texts { subject: old_subject, html: old_html, text: old_text } = template.texts;
    let body = |change: Change<String>, old| change.applied(old, |body| body).filter(|body| !body.is_empty());
    template.texts = Texts {
        subject: subject.map_or(old_subject, |Text(subject)| subject),
        html: body(html, old_html),
        text: body(text, old_text),
    };
    template.name = name.map_or(template.name, |Name(name)| name);
    template.title = title.map_or(template.title, |Line(title)| title);
    keep(&call, template, &agent).await
}

/// `PUT /api/v1/templates/{name}`: all of it.
pub(super) async fn replace(call: Call) -> Result<Answer, Problem> {
    let (mut template, agent) = find(&call).await?;
    let NewTemplate { name: Name(name), title, subject: Text(subject), html, text, .. } =
        shape::read(&call.body.bytes)?;
    let [html, text] = [html, text].map(|body| body.filter(|body| !body.is_empty()));
    template.texts = Texts { subject, html, text };
    template.title = title.map_or_else(|| name.clone(), |Line(title)| title);
    template.name = name;
    keep(&call, template, &agent).await
}

async fn keep(call: &Call, mut template: template::Template, agent: &MailAgent) -> Result<Answer, Problem> {
    check(&template.texts)?;
    template.updated_at = call.server.clock().now();
    template.authors.updated_by = call.grant.author();
    let version = call.server.store().change_template(template.clone()).await;
    template.version = version.map_err(|fault| taken(fault, &template))?.ok_or(Problem::NotFound("Template"))?;
    Ok(json_answer(StatusCode::OK, &shown(template, agent)))
}

/// `DELETE /api/v1/templates/{name}`.
pub(super) async fn remove(call: Call) -> Result<Answer, Problem> {
    let (template, _) = find(&call).await?;
    match call.server.store().remove_template(template.tenant, template.id).await? {
        true => Ok(no_content()),
        false => Err(Problem::NotFound("Template")),
    }
}

/// `POST /api/v1/templates/{name}/preview`.
pub(super) async fn preview(call: Call) -> Result<Answer, Problem> {
    let (template, _) = find(&call).await?;
    let PreviewData { variables, data } = match call.body.bytes.is_empty() {
        true => PreviewData { variables: None, data: None },
        false => shape::read(&call.body.bytes)?,
    };
    previewed(&template.texts, variables.or(data))
}

/// `POST /api/v1/templates/preview`: of texts that are not kept yet.
pub(super) async fn preview_draft(call: Call) -> Result<Answer, Problem> {
    let DraftPreview { subject, html, text, variables } = shape::read(&call.body.bytes)?;
    let subject = subject.map_or(String::new(), |Text(subject)| subject);
    previewed(&Texts { subject, html, text }, variables)
}

fn previewed(texts: &Texts, data: Option<Map<String, Value>>) -> Result<Answer, Problem> {
    let data = Value::Object(data.unwrap_or_default());
    let preview = Compiled::new(texts).and_then(|compiled| compiled.preview(&data)).map_err(Problem::Template)?;
    let Texts { subject, html, text } = preview.texts;
    let told = Preview { subject, html: Nullable(html), text: Nullable(text), missing: preview.missing };
    Ok(json_answer(StatusCode::OK, &told))
}

/// A mail agent's template of this name, or with this id.
pub(super) async fn named(
    server: &super::super::Server,
    agent: &MailAgent,
    name: &str,
) -> Result<Option<template::Template>, Problem> {
    let found = match name.parse::<TemplateId>() {
        Ok(id) => server.store().template(agent.tenant, id).await?,
        Err(_) => server.store().template_named(agent.id, name).await?,
    };
    Ok(found.filter(|template| template.agent == agent.id))
}

async fn find(call: &Call) -> Result<(template::Template, MailAgent), Problem> {
    let agent = of_query(call).await?;
    let template = named(&call.server, &agent, call.place()).await?;
    Ok((template.ok_or(Problem::NotFound("Template"))?, agent))
}

async fn of_query(call: &Call) -> Result<MailAgent, Problem> {
    agent_or_own(&call.server, &call.grant, call.query.text("mailAgent")).await
}

fn check(texts: &Texts) -> Result<(), Problem> {
    if texts.html.is_none() && texts.text.is_none() {
        return Err(Flaw::at("/html", Wrong::Missing).into());
    }
    Compiled::new(texts).map(drop).map_err(Problem::Template)
}

fn taken(fault: StoreError, template: &template::Template) -> Problem {
    match fault {
        StoreError::Conflict => Problem::Taken { field: "name", value: template.name.clone(), what: "Template" },
        other => other.into(),
    }
}

fn listed(template: TemplateView, agent: &MailAgent) -> Template {
    Template {
        id: template.id.to_string(),
        name: template.name,
        title: template.title,
        version: template.version,
        mail_agent: agent.name.clone(),
        subject: template.subject,
        html: None,
        text: None,
        created_at: When(template.created_at),
        created_by: Nullable::of(template.authors.created_by),
        updated_at: When(template.updated_at),
        updated_by: Nullable::of(template.authors.updated_by),
    }
}

fn shown(template: template::Template, agent: &MailAgent) -> Template {
    Template {
        id: template.id.to_string(),
        name: template.name,
        title: template.title,
        version: template.version,
        mail_agent: agent.name.clone(),
        subject: template.texts.subject,
        html: template.texts.html,
        text: template.texts.text,
        created_at: When(template.created_at),
        created_by: Nullable::of(template.authors.created_by),
        updated_at: When(template.updated_at),
        updated_by: Nullable::of(template.authors.updated_by),
    }
}
