//! `/api/v1/emails`: send one mail or many, list them, see what became of one, take one back.
//!
//! `mailAgent` names another mail agent of the tenant than the key's own. What a mail may bring, `new_email` says.

use std::sync::Arc;

use hyper::StatusCode;
use serde_json::{Map, Value};

use super::super::operation::Call;
use super::super::problem::Problem;
use super::super::server::Answer;
use super::super::shape::{self, List, Nullable, Text, When, Word, answer, vocabulary};
use super::super::wire::{Flaw, Wrong};
use super::super::{json_answer, once, query};
use super::agent;
use super::copies::TrackedCopy;
use super::new_email::{NewEmail, Writing};
use super::statistics::Seen;
use crate::intake::submission::{Receipt, Submission, Switches};
use crate::mail::render::Rendered;
use crate::mail::view;
use crate::model::address::Mailbox;
use crate::model::delivery::State;
use crate::model::id::MessageId;
use crate::model::message::Message;
use crate::model::once::Answered;
use crate::model::search::Search;
use crate::model::tenant::{Grant, MailAgent};
use crate::store::search::Found;
use crate::store::views::DeliveryView;

/// Mails of one batch.
const BATCH_MAX: usize = 500;
/// Recipients that the mails of one batch may have together.
const BATCH_RECIPIENTS_MAX: usize = 5_000;

vocabulary! { State:
    "queued" State::Queued,
    "handed_over" State::HandedOver,
    "delivered" State::Delivered,
    "bounced" State::Bounced,
    "expired" State::Expired,
    "suppressed" State::Suppressed,
    "cancelled" State::Cancelled,
}

/// Mails that are accepted together.
pub(super) type Batch = List<NewEmail, 1, BATCH_MAX>;

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

answer! {
    /// A mail as it would go out to its first recipient.
    pub(super) struct PreviewedEmail {
        /// What tracking would make of it.
        tracking "tracking": TrackedCopy,
        /// Its HTML then; null when it has none.
        html "html": Nullable<String>,
        /// Its text then; null when it has none.
        text "text": Nullable<String>,
    }
}

/// `POST /api/v1/emails`. A body of `message/rfc822` is a mail that goes as it is to whom its header names.
pub(super) async fn send(call: Call) -> Result<Answer, Problem> {
    let (grant, submission, to) = handed_in(&call).await?;
    let Call { server, body, ticket, .. } = call;
    let _share = body.freed();
    let told = |receipts: &[Receipt]| receipts.first().map(|receipt| accepted(receipt, to.clone())).unwrap_or_default();
    let receipts = server.submit_once(&grant, vec![submission], ticket.as_deref(), told).await?;
    Ok(once::told(told(&receipts)))
}

/// What a request hands in and for which mail agent, and the addresses that it is to go to.
async fn handed_in(call: &Call) -> Result<(Arc<Grant>, Submission, Vec<String>), Problem> {
    let Call { server, body, query, .. } = call;
    if call.is_mail() {
        let grant = sending_grant(call, query.text("mailAgent")).await?;
        let submission = Submission::of_raw(&body.bytes, Switches::default()).map_err(Problem::Rejected)?;
        let to = submission.recipients.iter().map(ToString::to_string).collect();
        return Ok((grant, submission, to));
    }
    let new: NewEmail = shape::read(&body.bytes)?;
    let named = new.mail_agent.as_ref().map(|Text(name)| name.as_str());
    let grant = sending_grant(call, named.or(query.text("mailAgent"))).await?;
    let (submission, to) = Writing::new(server, &grant).submission(new, "").await?;
    Ok((grant, submission, to))
}

/// `POST /api/v1/emails/preview`: what tracking would make of a mail, which goes nowhere.
pub(super) async fn preview(call: Call) -> Result<Answer, Problem> {
    let (grant, submission, _) = handed_in(&call).await?;
    let Rendered { tracked, bytes, .. } = call.server.intake().preview(&grant, submission).await?;
    let seen = view::view(&bytes);
    let told =
        PreviewedEmail { tracking: TrackedCopy::of(tracked), html: Nullable(seen.html), text: Nullable(seen.text) };
    Ok(json_answer(StatusCode::OK, &told))
}

/// `POST /api/v1/emails/batch`: all of them are accepted, in one commit, or none.
pub(super) async fn send_batch(call: Call) -> Result<Answer, Problem> {
    let server = call.server.clone();
    let _turn = server.intake().batch_turn().await;
    let List(news): Batch = shape::read(&call.body.bytes)?;
    let agent = |new: &NewEmail| new.mail_agent.as_ref().map(|Text(name)| name.clone());
    let named = news.first().and_then(agent);
    if let Some(at) = news.iter().position(|new| agent(new) != named) {
        let wrong = Wrong::Other("must be the same in all mails of a batch".into());
        return Err(Flaw::at(format!("/{at}/mailAgent"), wrong).into());
    }
    let grant = sending_grant(&call, named.as_deref().or(call.query.text("mailAgent"))).await?;
    let Call { body, ticket, .. } = call;
    let _share = body.freed();
    let mut writing = Writing::new(&server, &grant);
    let (mut submissions, mut addresses) = (Vec::with_capacity(news.len()), Vec::with_capacity(news.len()));
    let mut recipients = 0;
    for (at, new) in news.into_iter().enumerate() {
        let (submission, to) = writing.submission(new, &format!("/{at}")).await?;
        recipients += submission.recipients.len();
        if recipients > BATCH_RECIPIENTS_MAX {
            return Err(Flaw::at(format!("/{at}/to"), Wrong::TooMany(BATCH_RECIPIENTS_MAX)).into());
        }
        submissions.push(submission);
        addresses.push(to);
        // Hundreds of mails are made here: others shall have their turn.
        tokio::task::yield_now().await;
    }
    let told = |receipts: &[Receipt]| {
        let each = receipts.iter().zip(&addresses).map(|(receipt, to)| accepted_email(receipt, to.clone()));
        let body = serde_json::json!(each.collect::<Vec<_>>()).to_string();
        Answered { status: 201, location: String::new(), body }
    };
    let receipts = server.submit_once(&grant, submissions, ticket.as_deref(), told).await?;
    Ok(once::told(told(&receipts)))
}

/// `POST /api/v1/emails/{id}/cancel`: what is not under way yet does not go out.
pub(super) async fn cancel(call: Call) -> Result<Answer, Problem> {
    let message = find(&call).await?;
    match call.server.cancel(&call.grant, message.id).await? {
        0 => Err(Problem::Conflict("Nothing of this mail waits to be sent")),
        _ => get(call).await,
    }
}

pub(super) fn accepted(receipt: &Receipt, to: Vec<String>) -> Answered {
    let email = accepted_email(receipt, to);
    let location = format!("/api/v1/emails/{}", email.id);
    Answered { status: 201, location, body: serde_json::json!(email).to_string() }
}

fn accepted_email(receipt: &Receipt, to: Vec<String>) -> AcceptedEmail {
    let (id, created_at) = (receipt.message.to_string(), When(receipt.accepted_at));
    AcceptedEmail { email_id: id.clone(), id, status: "queued", to, created_at }
}

/// The caller's grant, or the one that it would have as the mail agent that the request names.
async fn sending_grant(call: &Call, name: Option<&str>) -> Result<Arc<Grant>, Problem> {
    match name.filter(|name| *name != call.grant.agent.name) {
        None => admitted(call, call.grant.clone()),
        Some(name) => sending_as(call, agent(&call.server, &call.grant, name).await?).await,
    }
}

/// The caller's grant as this mail agent, with the domains that it has now.
///
/// # Errors
/// `AddressForbidden`; `Unavailable`, `Corrupt`.
pub(super) async fn sending_as(call: &Call, agent: MailAgent) -> Result<Arc<Grant>, Problem> {
    let domains = call.server.store().domains(agent.id).await?;
    admitted(call, Arc::new(Grant { agent, domains, ..Grant::clone(&call.grant) }))
}

/// The networks of a mail agent bind whoever sends in its name.
fn admitted(call: &Call, grant: Arc<Grant>) -> Result<Arc<Grant>, Problem> {
    if call.peer.is_none_or(|peer| grant.admits(peer)) { Ok(grant) } else { Err(Problem::AddressForbidden) }
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
        /// Loads of its pixel; not in lists.
        opened "opened": Option<Seen>,
        /// Its links followed; not in lists.
        clicked "clicked": Option<Seen>,
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

/// `GET /api/v1/emails`: newest first; all, or those that pass every filter of the query. A page of those may be short
/// and still not be the last: `Link` says so.
pub(super) async fn list(call: Call) -> Result<Answer, Problem> {
    let limit = call.query.limit()?;
    let before = call.query.value::<MessageId>("after", "email id")?;
    let store = call.server.store();
    let Found { messages, next, .. } = store.search(&search(&call).await?, before, limit).await?;
    let next = next.map(|next| next.to_string());
    let ids: Vec<MessageId> = messages.iter().map(|message| message.id).collect();
    let standings = store.standings(&ids).await?;
    let view = |message: Message| {
        let states = standings.get(&message.id).into_iter().flatten().map(|(state, _)| *state);
        shown(message, status(states), None)
    };
    Ok(query::page_before(("/api/v1/emails", &call.query), messages, next, view))
}

/// What the query means.
async fn search(call: &Call) -> Result<Search, Problem> {
    let (query, tenant) = (&call.query, call.grant.tenant.id);
    let mut search = Search::all_of(tenant);
    search.add(query.text("search").unwrap_or_default());
    if let Some(tag) = query.text("tag") {
        search.tagged(tag);
    }
    search.state =
        query.text("status").map(|word| Word::<State>::parse(word, "?status")).transpose()?.map(|word| word.0);
    search.from = query.when("since")?.map(|When(at)| at);
    search.until = query.when("until")?.map(|When(at)| at);
    if let Some(name) = query.text("mailAgent") {
        search.agent = Some(agent(&call.server, &call.grant, name).await?.id);
    }
    Ok(search)
}

/// `GET /api/v1/emails/{id}`.
pub(super) async fn get(call: Call) -> Result<Answer, Problem> {
    let message = find(&call).await?;
    let deliveries = call.server.store().deliveries(message.id).await?;
    let [opened, clicked] = call.server.store().hit_figures(message.id).await?.map(|of| Some(Seen::of(of)));
    let status = status(deliveries.iter().map(|view| view.delivery.state));
    let recipients = deliveries.iter().map(recipient).collect();
    Ok(json_answer(StatusCode::OK, &Email { opened, clicked, ..shown(message, status, Some(recipients)) }))
}

/// The mail of the path, if it is the tenant's.
pub(super) async fn find(call: &Call) -> Result<Message, Problem> {
    let nothing = Problem::NotFound("Email");
    let id: MessageId = call.place().parse().map_err(|_| nothing.clone())?;
    let message = call.server.store().message(id).await?;
    message.filter(|message| message.tenant == call.grant.tenant.id).ok_or(nothing)
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
        opened: None,
        clicked: None,
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
