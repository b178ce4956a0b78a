//! `POST /v1.1/email`, `/batch`, `/template`, `/template/batch`: one request becomes one mail, or one for each
//! recipient, and all of them are accepted or none.
//!
//! In a batch each of `to` gets a mail of its own, filled in with its own `merge_info`, or with the request's when it has
//! none; the two are never mixed. A body of `message/rfc822` at `/v1.1/email` is a mail that goes as it is to whom its
//! header names.

use serde_json::Value;

use super::super::Server;
use super::super::body::Read;
use super::super::json::{self, Json};
use super::super::once::{self, Ticket};
use super::super::problem::Problem;
use super::super::server::Answer;
use super::super::wire::{self, Fields, Flaw, Person, Wrong};
use super::fields::{self, Common, PEOPLE_MAX, REFERENCE_CHARS_MAX};
use super::{accepted, files, keys};
use crate::intake::submission::{Content, Receipt, Submission};
use crate::mail::compose::Parts;
use crate::mail::submitted::Switches;
use crate::mail::template::{Budget, Compiled, Escape, Flawed, Script};
use crate::model::id::TemplateId;
use crate::model::message::{Source, Way};
use crate::model::once::Answered;
use crate::model::template::{Part, Template, Texts};
use crate::model::tenant::{Grant, MailAgent};

/// Deliveries that one batch may come to: each of its mails goes to `cc` and `bcc` too.
const BATCH_DELIVERIES_MAX: usize = 5_000;
/// The fields that name a template: its key under its new and its old name, and its alias.
const TEMPLATE_FIELDS: [&str; 3] = ["template_key", "mail_template_key", "template_alias"];

/// Where the texts come from, and for whom they are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Kind {
    /// Each recipient has a mail of its own.
    pub(super) is_batch: bool,
    /// The texts are a template's.
    pub(super) is_template: bool,
}

/// Sends what a body says.
pub(super) async fn send(
    server: &Server,
    grant: &Grant,
    kind: Kind,
    body: Read,
    ticket: Option<&Ticket>,
) -> Result<Answer, Problem> {
    let _turn = if kind.is_batch { server.intake().batch_turn().await } else { None };
    let submissions = read(server, grant, kind, &body.bytes).await?;
    let _share = body.freed();
    submit(server, grant, submissions, ticket).await
}

/// Sends a mail that is one already.
pub(super) async fn send_raw(
    server: &Server,
    grant: &Grant,
    body: Read,
    ticket: Option<&Ticket>,
) -> Result<Answer, Problem> {
    let submission = Submission::of_raw(&body.bytes, Switches::default()).map_err(Problem::Rejected)?;
    let _share = body.freed();
    submit(server, grant, vec![submission], ticket).await
}

async fn submit(
    server: &Server,
    grant: &Grant,
    submissions: Vec<Submission>,
    ticket: Option<&Ticket>,
) -> Result<Answer, Problem> {
    let told = |receipts: &[Receipt]| {
        let request_id = receipts.first().map(|receipt| receipt.request_id.as_str()).unwrap_or_default();
        Answered { status: 201, location: String::new(), body: accepted(request_id).to_string() }
    };
    let receipts = server.submit_once(grant, submissions, ticket, told).await?;
    Ok(once::told(told(&receipts)))
}

async fn read(server: &Server, grant: &Grant, kind: Kind, body: &[u8]) -> Result<Vec<Submission>, Problem> {
    let json = json::read(body).map_err(Problem::Json)?;
    let fields = wire::body(&json)?;
    let texts = match kind.is_template {
        true => template(server, grant, &fields).await?.texts,
        false => fields::texts(&fields)?,
    };
    let cached = files::named(server, grant, &fields).await?;
    let mut common = fields::common(&fields, grant, &cached, server.clock().now())?;
    common.switches.way = Way::of(kind.is_batch, kind.is_template);
    let merged = Merged { is_reference: kind.is_batch, texts, common };
    match kind {
        Kind { is_batch: true, .. } => merged.one_each(&fields).await,
        Kind { is_template: true, .. } => {
            let data = merge_info(&fields)?.unwrap_or_else(|| Value::Object(serde_json::Map::new()));
            let to = fields::people(&fields, "to")?;
            let mut scripts = merged.scripts()?;
            Ok(vec![merged.filled(&mut scripts, to, &data)?])
        }
        Kind { .. } => Ok(vec![submission(merged.texts, merged.common, fields::people(&fields, "to")?)?]),
    }
}

/// The template that a request names.
async fn template(server: &Server, grant: &Grant, fields: &Fields<'_, '_>) -> Result<Template, Problem> {
    for field in TEMPLATE_FIELDS {
        if let Some(key) = fields.text(field)?.filter(|key| !key.is_empty()) {
            return template_with_key(server, &grant.agent, key).await?.ok_or(Problem::NoTemplate);
        }
    }
    Err(Flaw::at("/Mail Template Key", Wrong::Missing).into())
}

/// A mail agent's template with this key, or of this name.
pub(super) async fn template_with_key(
    server: &Server,
    agent: &MailAgent,
    key: &str,
) -> Result<Option<Template>, Problem> {
    let id = keys::uuid_of(key, &[keys::TEMPLATE], TemplateId::PREFIX).map(TemplateId::from_uuid);
    let found = match id {
        Some(id) => server.store().template(agent.tenant, id).await?,
        None => server.store().template_named(agent.id, key).await?,
    };
    Ok(found.filter(|template| template.agent == agent.id))
}

/// The values to fill in: an object, or its JSON as text.
pub(super) fn merge_info(fields: &Fields<'_, '_>) -> Result<Option<Value>, Problem> {
    let bad = || Problem::from(Flaw::at(fields.path("merge_info"), Wrong::Type("object")));
    match fields.get("merge_info") {
        None => Ok(None),
        Some(object @ Json::Object(_)) => Ok(Some(object.to_value())),
        Some(Json::List(items)) if items.is_empty() => Ok(None),
        Some(Json::Text(text)) if text.trim().is_empty() => Ok(None),
        Some(Json::Text(text)) => match json::read(text.as_bytes()) {
            Ok(object @ Json::Object(_)) => Ok(Some(object.to_value())),
            _ => Err(bad()),
        },
        Some(_) => Err(bad()),
    }
}

/// A mail that is filled in.
struct Merged {
    texts: Texts,
    common: Common,
    /// The client's reference is filled in too.
    is_reference: bool,
}

/// Its texts, read once for all recipients.
struct Scripts {
    texts: Compiled,
    reference: Option<Script>,
    budget: Budget,
}

impl Merged {
    /// A mail for each of `to`.
    async fn one_each(&self, fields: &Fields<'_, '_>) -> Result<Vec<Submission>, Problem> {
        let to = fields.list("to")?;
        let copies = 1 + self.common.cc.len() + self.common.bcc.len();
        if to.len() > PEOPLE_MAX {
            return Err(Flaw::at("/to", Wrong::TooMany(PEOPLE_MAX)).into());
        }
        if to.len() * copies > BATCH_DELIVERIES_MAX {
            return Err(Flaw::at("/to", Wrong::TooMany(BATCH_DELIVERIES_MAX / copies)).into());
        }
        if to.is_empty() {
            return Err(Flaw::at("/to", Wrong::Missing).into());
        }
        let fallback = merge_info(fields)?.unwrap_or_else(|| Value::Object(serde_json::Map::new()));
        let people = fields::people(fields, "to")?;
        let mut scripts = self.scripts()?;
        let mut submissions = Vec::with_capacity(to.len());
        for (place, (item, person)) in to.iter().zip(people).enumerate() {
            let own = match item {
                Json::Object(_) => merge_info(&wire::fields_of(item, format!("/to/{place}"))?)?,
                _ => None,
            };
            let data = own.as_ref().unwrap_or(&fallback);
            submissions.push(self.filled(&mut scripts, vec![person], data)?);
            // Hundreds of mails are made here: others shall have their turn.
            tokio::task::yield_now().await;
        }
        Ok(submissions)
    }

    fn scripts(&self) -> Result<Scripts, Problem> {
        let bad = |fault| Problem::Template(Flawed { part: Part::ClientReference, fault });
        let reference = self.is_reference.then(|| Script::new(&self.common.switches.client_reference, Escape::Plain));
        Ok(Scripts {
            texts: Compiled::new(&self.texts).map_err(Problem::Template)?,
            reference: reference.transpose().map_err(bad)?,
            budget: Budget::default(),
        })
    }

    fn filled(&self, scripts: &mut Scripts, to: Vec<Person>, data: &Value) -> Result<Submission, Problem> {
        let texts = scripts.texts.fill(data, &mut scripts.budget)?;
        scripts.budget.charge(self.common.size()).map_err(|_| Problem::batch_too_large())?;
        let mut common = self.common.clone();
        if let Some(script) = &scripts.reference {
            let bad = |fault| Problem::from(Flawed { part: Part::ClientReference, fault });
            let reference = script.render(data, &mut scripts.budget).map_err(bad)?;
            if reference.chars().count() > REFERENCE_CHARS_MAX {
                return Err(Flaw::at("/client_reference", Wrong::TooLong(REFERENCE_CHARS_MAX)).into());
            }
            common.switches.client_reference = reference;
        }
        submission(texts, common, to)
    }
}

fn submission(texts: Texts, common: Common, to: Vec<Person>) -> Result<Submission, Problem> {
    let recipients = wire::recipients(to.iter().chain(&common.cc).chain(&common.bcc));
    if recipients.is_empty() {
        return Err(Flaw::at("/to", Wrong::Missing).into());
    }
    let mailboxes = |people: &[Person]| people.iter().map(Person::mailbox).collect();
    let parts = Parts {
        from: common.from,
        to: mailboxes(&to),
        cc: mailboxes(&common.cc),
        reply_to: mailboxes(&common.reply_to),
        subject: texts.subject,
        html: texts.html,
        text: texts.text,
        headers: common.headers,
        attachments: common.attachments,
        inline_images: common.inline_images,
    };
    let (content, switches) = (Content::Parts(Box::new(parts)), common.switches);
    Ok(Submission { source: Source::Http, sender: None, recipients, content, switches })
}
