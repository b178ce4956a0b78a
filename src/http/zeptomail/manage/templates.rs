//! `/v1.1/mailagents/{agent}/templates`: mails that are kept ready, and how one would look.

use hyper::StatusCode;
use serde_json::{Map, Value, json};

use super::super::super::json;
use super::super::super::problem::Problem;
use super::super::super::server::Answer;
use super::super::super::wire::{self, Fields, Flaw, Wrong};
use super::super::super::{Server, no_content, query};
use super::super::{keys, send, times};
use super::{Query, agent, name, needed_name, templates_told};
use crate::mail::template::Compiled;
use crate::model::author::Authors;
use crate::model::id::TemplateId;
use crate::model::template::{NAME_RULE, Template, Texts, is_name};
use crate::model::tenant::{Grant, MailAgent};
use crate::store::StoreError;
use crate::store::templates::{TEMPLATES_MAX, TemplateView};

/// Characters of a template's name for people.
const TITLE_CHARS_MAX: usize = 250;
/// Templates in one list, unless asked otherwise.
const LIST: usize = 50;

pub(in super::super) async fn list(
    server: &Server,
    grant: &Grant,
    of: &str,
    query: &query::Query,
) -> Result<Answer, Problem> {
    let agent = agent(server, grant, of).await?;
    let part = Query(query).part(LIST, TEMPLATES_MAX as usize, TEMPLATES_MAX as usize)?;
    let templates = server.store().templates(agent.id, "", TEMPLATES_MAX).await?;
    let data: Vec<Value> = templates.iter().skip(part.offset).take(part.limit).map(|one| listed(one, &agent)).collect();
    let metadata = json!({ "offset": part.offset, "count": data.len(), "limit": part.limit });
    Ok(templates_told(StatusCode::OK, json!({ "metadata": metadata, "data": data })))
}

pub(in super::super) async fn show(server: &Server, grant: &Grant, of: &str, key: &str) -> Result<Answer, Problem> {
    let (template, agent) = find(server, grant, of, key).await?;
    Ok(templates_told(StatusCode::OK, json!({ "data": shown(&template, &agent) })))
}

pub(in super::super) async fn add(server: &Server, grant: &Grant, of: &str, body: &[u8]) -> Result<Answer, Problem> {
    let agent = agent(server, grant, of).await?;
    let now = server.clock().now();
    let mut template = Template {
        id: TemplateId::from_uuid(server.ids().uuid(now)),
        tenant: grant.tenant.id,
        agent: agent.id,
        name: String::new(),
        title: String::new(),
        version: 1,
        texts: Texts::default(),
        created_at: now,
        updated_at: now,
        authors: Authors { updated_by: grant.author(), ..grant.authors() },
    };
    // Without an alias it is found by its key.
    template.name = template.id.to_string();
    {
        let json = json::read(body).map_err(Problem::Json)?;
        let fields = wire::body(&json)?;
        for field in ["template_name", "subject"] {
            needed_name(&fields, field, TITLE_CHARS_MAX.max(500))?;
        }
        put(&fields, &mut template)?;
    }
    let added = server.store().add_template(template.clone()).await.map_err(|fault| taken(fault, &template))?;
    if !added {
        return Err(Problem::Full("The mail agent has as many templates as it may have"));
    }
    Ok(templates_told(StatusCode::CREATED, json!({ "data": shown(&template, &agent) })))
}

pub(in super::super) async fn change(
    server: &Server,
    grant: &Grant,
    of: &str,
    key: &str,
    body: &[u8],
) -> Result<Answer, Problem> {
    let (mut template, agent) = find(server, grant, of, key).await?;
    {
        let json = json::read(body).map_err(Problem::Json)?;
        put(&wire::body(&json)?, &mut template)?;
    }
    template.updated_at = server.clock().now();
    template.authors.updated_by = grant.author();
    let version = server.store().change_template(template.clone()).await.map_err(|fault| taken(fault, &template))?;
    template.version = version.ok_or(Problem::NotFound("Template"))?;
    Ok(templates_told(StatusCode::OK, json!({ "data": shown(&template, &agent) })))
}

pub(in super::super) async fn remove(server: &Server, grant: &Grant, of: &str, key: &str) -> Result<Answer, Problem> {
    let (template, _) = find(server, grant, of, key).await?;
    match server.store().remove_template(grant.tenant.id, template.id).await? {
        true => Ok(no_content()),
        false => Err(Problem::NotFound("Template")),
    }
}

/// The template filled in with `merge_info`; an extension.
pub(in super::super) async fn preview(
    server: &Server,
    grant: &Grant,
    of: &str,
    key: &str,
    body: &[u8],
) -> Result<Answer, Problem> {
    let (template, _) = find(server, grant, of, key).await?;
    let data = {
        let json = json::read(body).map_err(Problem::Json)?;
        send::merge_info(&wire::body(&json)?)?.unwrap_or_else(|| Value::Object(Map::new()))
    };
    let preview = Compiled::new(&template.texts).and_then(|compiled| compiled.preview(&data));
    let preview = preview.map_err(Problem::Template)?;
    let told = json!({
        "subject": preview.texts.subject,
        "htmlbody": preview.texts.html,
        "textbody": preview.texts.text,
        "missing": preview.missing,
    });
    Ok(templates_told(StatusCode::OK, json!({ "data": told })))
}

async fn find(server: &Server, grant: &Grant, of: &str, key: &str) -> Result<(Template, MailAgent), Problem> {
    let agent = agent(server, grant, of).await?;
    let template = send::template_with_key(server, &agent, key).await?.ok_or(Problem::NotFound("Template"))?;
    Ok((template, agent))
}

/// Takes over what a request says about a template, and judges the whole.
fn put(fields: &Fields<'_, '_>, template: &mut Template) -> Result<(), Problem> {
    if let Some(title) = name(fields, "template_name", TITLE_CHARS_MAX)? {
        template.title = title;
    }
    if let Some(alias) = fields.text("template_alias")?.filter(|alias| !alias.is_empty()) {
        if !is_name(alias) {
            return Err(Flaw::at("/template_alias", Wrong::Other(format!("must be {NAME_RULE}")))
                .showing(alias)
                .into());
        }
        alias.clone_into(&mut template.name);
    }
    let texts = &mut template.texts;
    if let Some(subject) = fields.text("subject")? {
        subject.clone_into(&mut texts.subject);
    }
    for (field, text) in [("htmlbody", &mut texts.html), ("textbody", &mut texts.text)] {
        if fields.names(field) {
            *text = fields.text(field)?.filter(|text| !text.is_empty()).map(str::to_owned);
        }
    }
    if texts.html.is_none() && texts.text.is_none() {
        return Err(Flaw::at("/htmlbody", Wrong::Missing).into());
    }
    Compiled::new(texts).map(drop).map_err(Problem::Template)
}

fn taken(fault: StoreError, template: &Template) -> Problem {
    let (field, value) = ("template_alias", template.name.clone());
    match fault {
        StoreError::Conflict => Problem::Taken { field, value, what: "Template alias" },
        other => other.into(),
    }
}

/// The alias, unless it was never given one.
fn alias(id: TemplateId, name: &str) -> Option<&str> {
    Some(name).filter(|name| **name != *id.to_string())
}

fn listed(template: &TemplateView, agent: &MailAgent) -> Value {
    json!({
        "created_time": times::told(template.created_at),
        "template_name": template.title,
        "template_key": keys::key(&agent.key, keys::TEMPLATE, template.id.uuid(), template.created_at),
        "modified_time": times::told(template.updated_at),
        "subject": template.subject,
        "template_alias": alias(template.id, &template.name),
    })
}

fn shown(template: &Template, agent: &MailAgent) -> Value {
    json!({
        "htmlbody": template.texts.html,
        "textbody": template.texts.text,
        "created_time": times::told(template.created_at),
        "template_name": template.title,
        "template_key": keys::key(&agent.key, keys::TEMPLATE, template.id.uuid(), template.created_at),
        "modified_time": times::told(template.updated_at),
        "subject": template.texts.subject,
        "template_alias": alias(template.id, &template.name),
        "version": template.version,
    })
}
