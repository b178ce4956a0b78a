//! `/api/v1/emails`: send one mail, list them, and see what became of one.
//!
//! `mailAgent` names another mail agent of the tenant than the key's own. What a mail may bring, `new_email` says.

use std::sync::Arc;

use hyper::StatusCode;
use serde_json::{Map, Value};

use super::super::operation::Call;
use super::super::problem::Problem;
use super::super::server::Answer;
use super::super::shape::{self, Text, When, answer};
use super::super::{Server, json_answer, once, query};
use super::agent;
use super::new_email::{NewEmail, submission};
use crate::intake::submission::Receipt;
use crate::model::address::Mailbox;
use crate::model::delivery::State;
use crate::model::id::MessageId;
use crate::model::message::Message;
use crate::model::once::Answered;
use crate::model::tenant::Grant;
use crate::store::views::DeliveryView;

answer! {
    /// A mail that was accepted: it is on the disk.
    pub(super) struct AcceptedEmail {
        /// Its id.
        id "id": String,
        /// The same, as webhooks call it.
        email_id "emailId": String,
        /// Where it stands.
        status "status": &'static str,
        /// To whom it goes.
        to "to": Vec<String>,
        /// When it was accepted.
        created_at "createdAt": When,
    }
}

/// `POST /api/v1/emails`.
pub(super) async fn send(call: Call) -> Result<Answer, Problem> {
    let Call { server, grant, body, ticket, .. } = call;
    let new: NewEmail = shape::read(&body.bytes)?;
    drop(body);
    let grant = sending_grant(&server, &grant, new.mail_agent.as_ref().map(|Text(name)| name.as_str())).await?;
    let (submission, to) = submission(new, &grant, server.clock().now())?;
    let told = |receipts: &[Receipt]| receipts.first().map(|receipt| accepted(receipt, to.clone())).unwrap_or_default();
    let receipts = server.submit_once(&grant, vec![submission], ticket.as_deref(), told).await?;
    Ok(once::told(told(&receipts)))
}

fn accepted(receipt: &Receipt, to: Vec<String>) -> Answered {
    let id = receipt.message.to_string();
    let created_at = When(receipt.accepted_at);
    let location = format!("/api/v1/emails/{id}");
    let body = AcceptedEmail { email_id: id.clone(), id, status: "queued", to, created_at };
    Answered { status: 201, location, body: serde_json::json!(body).to_string() }
}

/// The caller's grant, or the one that it would have as the mail agent that the request names.
async fn sending_grant(server: &Server, grant: &Arc<Grant>, name: Option<&str>) -> Result<Arc<Grant>, Problem> {
    let Some(name) = name.filter(|name| *name != grant.agent.name) else { return Ok(grant.clone()) };
    let agent = agent(server, grant, name).await?;
    let domains = server.store().domains(agent.id).await?;
    Ok(Arc::new(Grant { agent, domains, ..Grant::clone(grant) }))
}

answer! {
    /// A mail, and what became of it.
    pub(super) struct Email {
        /// Its id.
        id "id": String,
        /// The same, as webhooks call it.
        email_id "emailId": String,
        /// Where it stands: one word for all recipients; `queued` while any waits, `mixed` when they differ.
        status "status": &'static str,
        /// Who sends it.
        from "from": Sender,
        /// To whom.
        to "to": Vec<String>,
        /// To whom besides.
        cc "cc": Vec<String>,
        /// To whom no header tells.
        bcc "bcc": Vec<String>,
        /// Its subject.
        subject "subject": String,
        /// Its tags.
        tags "tags": Vec<String>,
        /// Its metadata.
        metadata "metadata": Map<String, Value>,
        /// How it is tracked.
        tracking "tracking": Tracked,
        /// What TransMail's payloads call `mailagent_key`.
        mail_agent_key "mailAgentKey": String,
        /// What TransMail's payloads call `request_id`.
        request_id "requestId": String,
        /// When it was accepted.
        created_at "createdAt": When,
        /// Each recipient's copy; not in lists.
        recipients "recipients": Option<Vec<Recipient>>,
    }

    /// Who sends a mail.
    pub(super) struct Sender {
        /// The address.
        address "address": String,
        /// The name with it.
        name "name": String,
    }

    /// How a mail is tracked.
    pub(super) struct Tracked {
        /// It has a pixel.
        opens "opens": bool,
        /// Its links are rewritten.
        clicks "clicks": bool,
    }

    /// One recipient's copy of a mail.
    pub(super) struct Recipient {
        /// To whom.
        address "address": String,
        /// Where it stands.
        status "status": &'static str,
        /// Attempts begun.
        attempts "attempts": u32,
        /// When it is tried next.
        next_attempt_at "nextAttemptAt": Option<When>,
        /// When it ended.
        settled_at "settledAt": Option<When>,
        /// Why it ended otherwise than delivered, or waits.
        reason "reason": Option<&'static str>,
    }
}

/// `GET /api/v1/emails`: newest first.
pub(super) async fn list(call: Call) -> Result<Answer, Problem> {
    let limit = call.query.limit()?;
    let before = call.query.value::<MessageId>("after", "email id")?;
    let store = call.server.store();
    let messages = store.messages(call.grant.tenant.id, before, limit + 1).await?;
    let ids: Vec<MessageId> = messages.iter().map(|message| message.id).collect();
    let standings = store.standings(&ids).await?;
    let view = |message: Message| {
        let states = standings.get(&message.id).into_iter().flatten().map(|(state, _)| *state);
        shown(message, status(states), None)
    };
    query::page(("/api/v1/emails", &call.query), messages, |message| message.id.to_string(), view)
}

/// `GET /api/v1/emails/{id}`.
pub(super) async fn get(call: Call) -> Result<Answer, Problem> {
    let nothing = Problem::NotFound("Email");
    let id: MessageId = call.place().parse().map_err(|_| nothing.clone())?;
    let message = call.server.store().message(id).await?;
    let message = message.filter(|message| message.tenant == call.grant.tenant.id).ok_or(nothing)?;
    let deliveries = call.server.store().deliveries(id).await?;
    let status = status(deliveries.iter().map(|view| view.delivery.state));
    let recipients = deliveries.iter().map(recipient).collect();
    Ok(json_answer(StatusCode::OK, &shown(message, status, Some(recipients))))
}

fn shown(message: Message, status: &'static str, recipients: Option<Vec<Recipient>>) -> Email {
    let facts = message.facts;
    let addresses = |mailboxes: Vec<Mailbox>| mailboxes.into_iter().map(|mailbox| mailbox.address).collect();
    Email {
        id: message.id.to_string(),
        email_id: message.id.to_string(),
        status,
        from: Sender { address: facts.from.address, name: facts.from.name },
        to: addresses(facts.to),
        cc: addresses(facts.cc),
        bcc: addresses(facts.bcc),
        subject: facts.subject,
        tags: facts.tags,
        metadata: facts.metadata,
        tracking: Tracked { opens: facts.tracking.opens, clicks: facts.tracking.clicks },
        mail_agent_key: message.agent_key,
        request_id: facts.request_id,
        created_at: When(message.accepted_at),
        recipients,
    }
}

/// One word for all recipients: that of them all, `queued` while any waits, else `mixed`.
fn status(mut states: impl Iterator<Item = State>) -> &'static str {
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
        next_attempt_at: view.due_at.filter(|_| is_queued).map(When),
        settled_at: view.settled_at.map(When),
        reason: view.reason.map(|reason| reason.sentence()),
    }
}
