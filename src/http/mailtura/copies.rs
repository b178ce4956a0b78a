//! `/api/v1/emails/{id}/…`: a mail looked at closely: all that is kept of each recipient's copy, the mail itself, what
//! tracking changed; and sent again.

use hyper::StatusCode;
use hyper::header::{CONTENT_DISPOSITION, CONTENT_TYPE, HeaderValue, X_CONTENT_TYPE_OPTIONS};
use serde::Serialize;
use serde_json::{Value, json};

use super::super::operation::Call;
use super::super::problem::Problem;
use super::super::server::Answer;
use super::super::shape::{self, Email, Nullable, Schemas, Shape, answer, request};
use super::super::{bytes_answer, json_answer, once, query};
use super::emails::{accepted, find, sending_as};
use super::recipients::KeptMail;
use crate::intake::submission::{Content, Receipt, Submission, Switches};
use crate::mail::headers;
use crate::mail::render::{self, Rendered};
use crate::mail::rewrite;
use crate::model::address::Address;
use crate::model::id::DeliveryId;
use crate::model::message::Message;

request! {
    /// To whom a mail is sent again.
    pub(super) struct Resending {
        /// One of its recipients; all of them unless given.
        to "to": Option<Email>,
    }
}

answer! {
    /// What tracking made of a recipient's copy.
    pub(super) struct TrackedCopy {
        /// Where its pixel is; null when it has none.
        pixel "pixel": Nullable<String>,
        /// Its rewritten links, in order.
        links "links": Vec<TrackedLink>,
        /// Its links that stayed as they were, of the parts that were looked through.
        left "left": Vec<LeftLink>,
        /// Its parts, in order.
        parts "parts": Vec<TrackedPart>,
        /// Why nothing of it was changed; null when something was.
        untouched "untouched": Nullable<&'static str>,
    }

    /// A link that was rewritten.
    pub(super) struct TrackedLink {
        /// As it was handed in.
        original "original": String,
        /// Where it leads.
        target "target": String,
        /// What stands there now.
        tracked "tracked": String,
    }

    /// A link that stayed as it was.
    pub(super) struct LeftLink {
        /// As it was handed in.
        original "original": String,
        /// Why.
        reason "reason": String,
    }

    /// A part of a mail.
    pub(super) struct TrackedPart {
        /// Its place, as IMAP counts: `1`, `2.1`.
        path "path": String,
        /// Its type.
        content_type "contentType": String,
        /// Why it stayed as it was; null when it was rewritten.
        untouched "untouched": Nullable<&'static str>,
    }
}

/// The bytes of a mail.
#[derive(Debug, Serialize)]
#[serde(transparent)]
pub(super) struct MailText(Value);

impl Shape for MailText {
    fn schema(_: &mut Schemas) -> Value {
        json!({ "type": "string", "description": "The mail, byte for byte (`message/rfc822`)." })
    }
}

/// `GET /api/v1/emails/{id}/copies`: attempts with their SMTP dialogues, opens, clicks and events of each recipient.
pub(super) async fn list(call: Call) -> Result<Answer, Problem> {
    let message = find(&call).await?;
    let (store, limit) = (call.server.store(), call.query.limit()? as usize);
    let after: Option<DeliveryId> = call.query.value("after", "delivery id")?;
    let ids = store.deliveries(message.id).await?.into_iter().map(|view| view.delivery.id);
    let mut rows = Vec::new();
    for id in ids.filter(|id| after.is_none_or(|after| *id > after)).take(limit + 1) {
        rows.push((id, store.export(id).await?));
    }
    let path = format!("/api/v1/emails/{}/copies", message.id);
    query::page((&path, &call.query), rows, |(id, _)| id.to_string(), |(_, kept)| KeptMail::of(kept))
}

/// `GET /api/v1/emails/{id}/content`: as it was handed in, or with `to` as it goes out to that recipient.
pub(super) async fn content(call: Call) -> Result<Answer, Problem> {
    let message = find(&call).await?;
    let _room = call.room(message.size_bytes)?;
    let content = call.server.store().content(message.id).await?.ok_or(Problem::NotFound("Content"))?;
    let bytes = match call.query.text("to") {
        None => content,
        Some(_) => rendered(&call, &message, &content).await?.bytes.into(),
    };
    let mut answer = bytes_answer(bytes);
    let headers = answer.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("message/rfc822"));
    headers.insert(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    headers.insert(CONTENT_DISPOSITION, HeaderValue::from_static("attachment; filename=\"message.eml\""));
    Ok(answer)
}

/// `GET /api/v1/emails/{id}/tracking`: what tracking made of the copy of `to`, or of the first recipient's.
pub(super) async fn tracking(call: Call) -> Result<Answer, Problem> {
    let message = find(&call).await?;
    let _room = call.room(message.size_bytes)?;
    let content = call.server.store().content(message.id).await?.ok_or(Problem::NotFound("Content"))?;
    let tracked = rendered(&call, &message, &content).await?.tracked;
    Ok(json_answer(StatusCode::OK, &TrackedCopy::of(tracked)))
}

impl TrackedCopy {
    pub(super) fn of(tracked: render::Tracked) -> Self {
        let link = |link: rewrite::LinkReport| TrackedLink {
            original: link.original,
            target: link.target,
            tracked: link.tracked,
        };
        let left = |left: rewrite::LeftLink| LeftLink { original: left.original, reason: left.why.to_string() };
        let part = |part: rewrite::PartReport| TrackedPart {
            path: part.path,
            content_type: part.content_type,
            untouched: Nullable(part.untouched),
        };
        Self {
            pixel: Nullable(tracked.pixel),
            links: tracked.links.into_iter().map(link).collect(),
            left: tracked.left.into_iter().map(left).collect(),
            parts: tracked.parts.into_iter().map(part).collect(),
            untouched: Nullable(tracked.untouched),
        }
    }
}

/// The copy of the recipient that the query names, or of the first one.
async fn rendered(call: &Call, message: &Message, content: &[u8]) -> Result<Rendered, Problem> {
    let wanted = call.query.value::<Address>("to", "email")?;
    let deliveries = call.server.store().deliveries(message.id).await?;
    let mut copies = deliveries.iter().map(|view| &view.delivery);
    let copy = copies.find(|copy| wanted.as_ref().is_none_or(|wanted| copy.address == *wanted));
    let copy = copy.ok_or(Problem::NotFound("Recipient"))?;
    let signature = call.server.intake().signature(message).await?;
    call.server.intake().copy(content, message, copy.id, signature).ok_or(Problem::NotFound("Content"))
}

/// `POST /api/v1/emails/{id}/resend`: a new mail with the same content, by the mail agent that it was of.
pub(super) async fn resend(call: Call) -> Result<Answer, Problem> {
    let message = find(&call).await?;
    let is_bare = call.body.bytes.iter().all(u8::is_ascii_whitespace);
    let wanted = if is_bare { None } else { shape::read::<Resending>(&call.body.bytes)?.to };
    let store = call.server.store();
    let _room = call.room(message.size_bytes)?;
    let content = store.content(message.id).await?.ok_or(Problem::NotFound("Content"))?;
    let addresses = store.deliveries(message.id).await?.into_iter().map(|view| view.delivery.address);
    let is_meant = |address: &Address| wanted.as_ref().is_none_or(|Email(wanted)| wanted == address);
    let recipients: Vec<Address> = addresses.filter(is_meant).collect();
    if recipients.is_empty() {
        return Err(Problem::NotFound("Recipient"));
    }
    let agents = super::all_agents(&call.server, &call.grant).await?;
    let agent = agents.into_iter().find(|agent| agent.id == message.agent).ok_or(Problem::NotFound("Mail agent"))?;
    let grant = sending_as(&call, agent).await?;
    let to: Vec<String> = recipients.iter().map(ToString::to_string).collect();
    let told = |receipts: &[Receipt]| receipts.first().map(|receipt| accepted(receipt, to.clone())).unwrap_or_default();
    let mut new = again(&message, &content, recipients);
    // The agent may have lost the domain since.
    if !call.server.intake().may_bounce_to(&grant, &new.switches.bounce_address) {
        new.switches.bounce_address.clear();
    }
    let submissions = vec![new];
    let receipts = call.server.submit_once(&grant, submissions, call.ticket.as_deref(), told).await?;
    Ok(once::told(told(&receipts)))
}

/// As a new mail it has a name and a date of its own. What headers said of how to send it was removed with them when it
/// was accepted: the message's facts know it.
fn again(message: &Message, content: &[u8], recipients: Vec<Address>) -> Submission {
    let bytes = headers::without(content, |field| ["Message-ID", "Date", "Received"].iter().any(|name| field.is(name)));
    let facts = &message.facts;
    Submission {
        source: message.source,
        sender: None,
        recipients,
        content: Content::Raw { bytes: bytes.into_owned().into(), hop: None },
        switches: Switches {
            track_opens: Some(facts.tracking.opens),
            track_clicks: Some(facts.tracking.clicks),
            tags: facts.tags.clone(),
            metadata: facts.metadata.clone(),
            spares_secrets: facts.tracking.spares_secrets,
            list_unsubscribe: Some(facts.list_unsubscribe),
            client_reference: facts.client_reference.clone(),
            bounce_address: facts.bounce_address.clone(),
            tls: facts.tls,
            ..Switches::default()
        },
    }
}
