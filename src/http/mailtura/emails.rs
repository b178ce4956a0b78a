//! `/api/v1/emails`: send one mail, and see what became of it.
//!
//! `to` is text or a list, as the documents have it; people may also be written as objects. `mailAgent` names another
//! mail agent of the tenant than the key's own. Templates are not kept yet, so naming one finds nothing.

use std::sync::Arc;

use hyper::StatusCode;
use hyper::header::{HeaderValue, LOCATION};
use serde::Serialize;

use super::super::body::Read;
use super::super::json::{self, Json};
use super::super::problem::Problem;
use super::super::server::Answer;
use super::super::wire::{self, Fields, Flaw, Person, Wrong};
use super::super::zeptomail::FILES_MAX;
use super::super::{Server, extras, json_answer};
use super::agent;
use crate::intake::submission::{Content, Rejection, Submission};
use crate::mail::compose::{File, Inline, Parts};
use crate::mail::submitted::Switches;
use crate::model::address::Mailbox;
use crate::model::delivery::State;
use crate::model::id::MessageId;
use crate::model::message::{Message, Source};
use crate::model::tenant::Grant;
use crate::model::time::Timestamp;
use crate::store::views::DeliveryView;

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Accepted {
    id: MessageId,
    email_id: MessageId,
    status: &'static str,
    to: Vec<String>,
    created_at: String,
}

/// `POST /api/v1/emails`.
pub(super) async fn send(server: &Server, grant: &Arc<Grant>, body: Read) -> Result<Answer, Problem> {
    // `Idempotency-Key` belongs here: looked up before, and written with, what `submit` commits.
    let (submission, grant, to) = {
        let json = json::read(&body.bytes).map_err(Problem::Json)?;
        let fields = wire::body(&json)?;
        let grant = sending_grant(server, grant, &fields).await?;
        let (submission, to) = submission(&fields, &grant, server.clock().now())?;
        (submission, grant, to)
    };
    drop(body);
    let receipt = server.submit(&grant, submission).await?;
    let accepted = Accepted {
        id: receipt.message,
        email_id: receipt.message,
        status: "queued",
        to,
        created_at: receipt.accepted_at.rfc3339_millis(),
    };
    let mut answer = json_answer(StatusCode::CREATED, &accepted);
    if let Ok(place) = HeaderValue::try_from(format!("/api/v1/emails/{}", receipt.message)) {
        answer.headers_mut().insert(LOCATION, place);
    }
    Ok(answer)
}

/// The caller's grant, or the one that it would have as the mail agent that the request names.
async fn sending_grant(server: &Server, grant: &Arc<Grant>, fields: &Fields<'_, '_>) -> Result<Arc<Grant>, Problem> {
    let name = fields.text("mailAgent")?.unwrap_or(&grant.agent.name);
    if name == grant.agent.name {
        return Ok(grant.clone());
    }
    let agent = agent(server, grant, name).await?;
    let domains = server.store().domains(agent.id).await?;
    Ok(Arc::new(Grant { agent, domains, ..Grant::clone(grant) }))
}

fn submission(fields: &Fields<'_, '_>, grant: &Grant, now: Timestamp) -> Result<(Submission, Vec<String>), Problem> {
    if fields.get("template").is_some() {
        return Err(Problem::NotFound("Template"));
    }
    let to = fields.people("to")?;
    if to.is_empty() {
        let wrong = if fields.get("to").is_some() { Wrong::NoItems } else { Wrong::Missing };
        return Err(Flaw::at("/to", wrong).into());
    }
    let from = sender(fields, grant)?;
    let (cc, bcc) = (fields.people("cc")?, fields.people("bcc")?);
    let recipients = wire::recipients(to.iter().chain(&cc).chain(&bcc));
    let mailboxes = |people: &[Person]| people.iter().map(Person::mailbox).collect();
    let (attachments, inline_images) = files(fields)?;
    let shown = |name| fields.text(name).map(|text| text.filter(|text| !text.is_empty()).map(str::to_owned));
    let (html, text) = (shown("html")?, shown("text")?);
    if html.is_none() && text.is_none() {
        return Err(Flaw::at("/html", Wrong::Missing).into());
    }
    let parts = Parts {
        from,
        to: mailboxes(&to),
        cc: mailboxes(&cc),
        reply_to: mailboxes(&fields.people("replyTo")?),
        subject: subject(fields)?,
        html,
        text,
        headers: fields.pairs("headers")?,
        attachments,
        inline_images,
    };
    let switches = switches(fields, now)?;
    let to = to.iter().map(|person| person.address.to_string()).collect();
    let content = Content::Parts(Box::new(parts));
    Ok((Submission { source: Source::Http, sender: None, recipients, content, switches }, to))
}

/// `from`, else the agent's own sender; `fromName` names either.
fn sender(fields: &Fields<'_, '_>, grant: &Grant) -> Result<Mailbox, Problem> {
    let mut from = match fields.get("from") {
        Some(from) => wire::person(from, fields.path("from"))?.mailbox(),
        None => grant.agent.settings.from.clone().ok_or(Rejection::NoSender).map_err(Problem::Rejected)?,
    };
    if let Some(name) = fields.text("fromName")? {
        name.clone_into(&mut from.name);
    }
    Ok(from)
}

fn subject(fields: &Fields<'_, '_>) -> Result<String, Flaw> {
    match fields.text("subject")? {
        None => Err(Flaw::at("/subject", Wrong::Missing)),
        Some("") => Err(Flaw::at("/subject", Wrong::Empty)),
        Some(subject) => Ok(subject.to_owned()),
    }
}

/// `attachments`: one with a `contentId` is a picture that the HTML refers to.
fn files(fields: &Fields<'_, '_>) -> Result<(Vec<File>, Vec<Inline>), Flaw> {
    if fields.list("attachments")?.len() > FILES_MAX {
        return Err(Flaw::at("/attachments", Wrong::TooMany(FILES_MAX)));
    }
    let read = |item, path| {
        let item = wire::fields_of(item, path)?;
        let place = item.path("content");
        let content = item.text("content")?.ok_or_else(|| Flaw::at(&place, Wrong::Missing))?;
        let file = File {
            name: item.text("filename")?.unwrap_or_default().to_owned(),
            content_type: item.text("contentType")?.unwrap_or_default().to_owned(),
            content: wire::base64(content, &place)?,
        };
        Ok((item.text("contentId")?.map(str::to_owned), file))
    };
    let (mut attachments, mut images) = (Vec::new(), Vec::new());
    for (cid, file) in fields.each("attachments", read)? {
        match cid {
            Some(cid) => images.push(Inline { cid, file }),
            None => attachments.push(file),
        }
    }
    Ok((attachments, images))
}

fn switches(fields: &Fields<'_, '_>, now: Timestamp) -> Result<Switches, Flaw> {
    let (track_opens, track_clicks) = match fields.get("tracking") {
        Some(Json::Bool(both)) => (Some(*both), Some(*both)),
        _ => match fields.fields("tracking")? {
            Some(tracking) => (tracking.flag("opens")?, tracking.flag("clicks")?),
            None => (None, None),
        },
    };
    Ok(Switches {
        track_opens,
        track_clicks,
        tags: extras::tags(fields, "tags")?,
        metadata: extras::metadata(fields, "metadata")?,
        send_at: extras::send_at(fields, "scheduledAt", now)?,
        time_to_live: extras::time_to_live(fields, "timeToLive")?,
        ..Switches::default()
    })
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct View {
    id: MessageId,
    email_id: MessageId,
    status: &'static str,
    from: Mailbox,
    to: Vec<String>,
    cc: Vec<String>,
    bcc: Vec<String>,
    subject: String,
    tags: Vec<String>,
    metadata: serde_json::Map<String, serde_json::Value>,
    tracking: Tracked,
    mail_agent_key: String,
    request_id: String,
    created_at: String,
    recipients: Vec<Recipient>,
}

#[derive(Serialize)]
struct Tracked {
    opens: bool,
    clicks: bool,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Recipient {
    address: String,
    status: &'static str,
    attempts: u32,
    #[serde(skip_serializing_if = "Option::is_none")]
    next_attempt_at: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    settled_at: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<&'static str>,
}

/// `GET /api/v1/emails/{id}`.
pub(super) async fn view(server: &Server, grant: &Grant, id: &str) -> Result<Answer, Problem> {
    let nothing = Problem::NotFound("Email");
    let id: MessageId = id.parse().map_err(|_| nothing.clone())?;
    let message = server.store().message(id).await?.filter(|message| message.tenant == grant.tenant.id);
    let message = message.ok_or(nothing)?;
    let deliveries = server.store().deliveries(id).await?;
    Ok(json_answer(StatusCode::OK, &shown(message, &deliveries)))
}

fn shown(message: Message, deliveries: &[DeliveryView]) -> View {
    let facts = message.facts;
    let addresses = |mailboxes: Vec<Mailbox>| mailboxes.into_iter().map(|mailbox| mailbox.address).collect();
    View {
        id: message.id,
        email_id: message.id,
        status: status(deliveries),
        from: facts.from,
        to: addresses(facts.to),
        cc: addresses(facts.cc),
        bcc: addresses(facts.bcc),
        subject: facts.subject,
        tags: facts.tags,
        metadata: facts.metadata,
        tracking: Tracked { opens: facts.tracking.opens, clicks: facts.tracking.clicks },
        mail_agent_key: message.agent_key,
        request_id: facts.request_id,
        created_at: message.accepted_at.rfc3339_millis(),
        recipients: deliveries.iter().map(recipient).collect(),
    }
}

/// One word for all recipients: that of them all, `queued` while any waits, else `mixed`.
fn status(deliveries: &[DeliveryView]) -> &'static str {
    let mut states = deliveries.iter().map(|view| view.delivery.state);
    let Some(first) = states.next() else { return State::Queued.as_str() };
    let rest: Vec<State> = states.collect();
    match first {
        _ if first == State::Queued || rest.contains(&State::Queued) => State::Queued.as_str(),
        _ if rest.iter().all(|state| *state == first) => first.as_str(),
        _ => "mixed",
    }
}

fn recipient(view: &DeliveryView) -> Recipient {
    let delivery = &view.delivery;
    let is_queued = delivery.state == State::Queued;
    Recipient {
        address: delivery.address.to_string(),
        status: delivery.state.as_str(),
        attempts: delivery.attempts,
        next_attempt_at: view.due_at.filter(|_| is_queued).map(Timestamp::rfc3339_millis),
        settled_at: view.settled_at.map(Timestamp::rfc3339_millis),
        reason: view.reason.map(|reason| reason.sentence()),
    }
}
