//! `/api/v1/queue`: what waits of a tenant's mail, and what people do with it.
//!
//! Each verb works on all deliveries that its body means: those that pass every field of it. What a worker has in its
//! hands is held for the time after, and cannot be cancelled any more. Cancelling and purging everything must be said.

use std::time::Duration;

use hyper::StatusCode;

use super::super::json_answer;
use super::super::operation::Call;
use super::super::problem::Problem;
use super::super::query;
use super::super::server::Answer;
use super::super::shape::{self, Count, Domain, Email, Line, Nullable, Text, When, Word, answer, request};
use super::super::wire::{Flaw, Wrong};
use super::{agent, made, no_content, suppressions};
use crate::model::delivery::Delivery;
use crate::model::id::{DeliveryId, EventId, MessageId};
use crate::model::queue::{self, QueueFilter};
use crate::model::reason::Reason;
use crate::model::suppression::Scope;
use crate::store::queue::Waiting;
use crate::store::views::DeliveryView;

/// Domains of one answer.
const DOMAINS_MAX: u32 = 1_000;
/// Mail agents whose names are looked up.
const AGENTS_MAX: u32 = 1_000;

request! {
    /// Which waiting deliveries are meant: those that pass every field.
    pub(super) struct QueueChoice {
        /// Of this mail agent.
        mail_agent "mailAgent": Option<Line<1, 100>>,
        /// To this domain.
        domain "domain": Option<Domain>,
        /// To this address.
        to "to": Option<Email>,
        /// Of this mail.
        email_id "emailId": Option<Text<1, 100>>,
        /// That wait for this reason, as `mailbox_full`.
        reason "reason": Option<Word<Reason>>,
        /// Accepted longer ago than so many minutes.
        older_than_minutes "olderThanMinutes": Option<Count<1, 1_000_000>>,
        /// Held, or not.
        held "held": Option<bool>,
        /// Everything that waits is meant, if no other field says less: to cancel or purge all, this must be true.
        all "all": Option<bool>,
    }

    /// Mail to be stopped.
    pub(super) struct NewPause {
        /// Of this mail agent; of all unless given.
        mail_agent "mailAgent": Option<Line<1, 100>>,
        /// To this domain; to all unless given.
        domain "domain": Option<Domain>,
        /// A word for those who come after you.
        note "note": Option<Line<0, 200>>,
    }
}

answer! {
    /// What waits for one domain.
    pub(super) struct WaitingDomain {
        /// The domain.
        domain "domain": String,
        /// Deliveries that wait.
        waiting "waiting": u64,
        /// Of these, due by now or being tried.
        due "due": u64,
        /// Of these, held.
        held "held": u64,
        /// When the oldest of them was accepted.
        oldest "oldestAt": When,
    }

    /// A delivery that waits.
    pub(super) struct WaitingDelivery {
        /// Its id.
        id "id": String,
        /// Of which mail.
        email_id "emailId": String,
        /// To whom.
        to "to": String,
        /// How often it was tried.
        attempts "attempts": u32,
        /// Why it waits: what came of the last attempt.
        reason "reason": Nullable<String>,
        /// When it is tried next; null while it is held.
        next_attempt_at "nextAttemptAt": Nullable<When>,
        /// Since when it is held.
        held_at "heldAt": Nullable<When>,
        /// When it was accepted.
        created_at "createdAt": When,
        /// After this time it is given up.
        expires_at "expiresAt": When,
    }

    /// How many deliveries a verb met.
    pub(super) struct QueueChange {
        /// How many.
        count "count": u64,
    }

    /// Mail that is stopped.
    pub(super) struct Pause {
        /// Of which mail agent; null for all.
        mail_agent "mailAgent": Nullable<String>,
        /// To which domain; null for all.
        domain "domain": Nullable<String>,
        /// What was written beside it.
        note "note": String,
        /// Since when.
        created_at "createdAt": When,
    }
}

/// What is done to what is meant.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Verb {
    Hold,
    Release,
    Retry,
    Cancel,
    Purge,
}

/// `GET /api/v1/queue`.
pub(super) async fn domains(call: Call) -> Result<Answer, Problem> {
    let filter = of_query(&call).await?;
    let waiting = call.server.store().queue_by_domain(&filter, DOMAINS_MAX).await?;
    Ok(json_answer(StatusCode::OK, &waiting.into_iter().map(shown_domain).collect::<Vec<_>>()))
}

/// `GET /api/v1/queue/deliveries`.
pub(super) async fn deliveries(call: Call) -> Result<Answer, Problem> {
    let filter = of_query(&call).await?;
    let after = call.query.value::<DeliveryId>("after", "delivery id")?;
    let waiting = call.server.store().queued(&filter, after, call.query.limit()? + 1).await?;
    let key = |view: &DeliveryView| view.delivery.id.to_string();
    query::page(("/api/v1/queue/deliveries", &call.query), waiting, key, shown)
}

/// `POST /api/v1/queue/hold` and the other verbs.
pub(super) async fn act(call: Call, verb: Verb) -> Result<Answer, Problem> {
    let choice: QueueChoice = shape::read(&call.body.bytes)?;
    let is_all_meant = choice.all == Some(true);
    let filter = filter(&call, choice).await?;
    if matches!(verb, Verb::Cancel | Verb::Purge) && !filter.is_narrow(call.server.clock().now()) && !is_all_meant {
        let rule = "must be true where no other field says less than everything";
        return Err(Flaw::at("/all", Wrong::Other(rule.to_owned())).into());
    }
    let store = call.server.store();
    let count = match verb {
        Verb::Hold => store.hold(filter).await?,
        Verb::Release => store.release_held(filter).await?,
        Verb::Retry => store.retry_now(filter).await?,
        Verb::Purge => store.cancel(filter, |_| None).await?,
        Verb::Cancel => {
            let (ids, now) = (call.server.ids().clone(), call.server.clock().now());
            let tell = move |delivery: &Delivery| Some(delivery.cancelled(EventId::from_uuid(ids.uuid(now)), now));
            store.cancel(filter, tell).await?
        }
    };
    Ok(json_answer(StatusCode::OK, &QueueChange { count }))
}

/// `GET /api/v1/queue/pauses`.
pub(super) async fn pauses(call: Call) -> Result<Answer, Problem> {
    let (own, store) = (call.grant.tenant.id, call.server.store());
    let agents = store.agents(own, "", AGENTS_MAX).await?;
    let name = |scope| match scope {
        Scope::Agent(_, id) => agents.iter().find(|agent| agent.id == id).map(|agent| agent.name.clone()),
        Scope::Installation | Scope::Tenant(_) => None,
    };
    let of_tenant = store.pauses().await?.into_iter().filter(|pause| pause.scope.tenant() == Some(own));
    let shown: Vec<Pause> = of_tenant.map(|pause| shown_pause(name(pause.scope), pause)).collect();
    Ok(json_answer(StatusCode::OK, &shown))
}

/// `POST /api/v1/queue/pauses`.
pub(super) async fn pause(call: Call) -> Result<Answer, Problem> {
    let new: NewPause = shape::read(&call.body.bytes)?;
    let name = new.mail_agent.map(|Line(name)| name);
    let pause = queue::Pause {
        scope: scope(&call, name.as_deref()).await?,
        domain: new.domain.map(|Domain(domain)| domain),
        note: new.note.map(|Line(note)| note).unwrap_or_default(),
        created_at: call.server.clock().now(),
    };
    if !call.server.store().pause(pause.clone()).await? {
        return Err(Problem::Conflict("It is paused already"));
    }
    Ok(made(&shown_pause(name, pause), "/api/v1/queue/pauses"))
}

/// `DELETE /api/v1/queue/pauses`.
pub(super) async fn resume(call: Call) -> Result<Answer, Problem> {
    let scope = scope(&call, call.query.text("mailAgent")).await?;
    match call.server.store().resume(scope, domain_of_query(&call)?.as_deref()).await? {
        true => Ok(no_content()),
        false => Err(Problem::NotFound("Pause")),
    }
}

async fn scope(call: &Call, mail_agent: Option<&str>) -> Result<Scope, Problem> {
    let tenant = call.grant.tenant.id;
    Ok(match mail_agent {
        Some(name) => Scope::Agent(tenant, agent(&call.server, &call.grant, name).await?.id),
        None => Scope::Tenant(tenant),
    })
}

fn domain_of_query(call: &Call) -> Result<Option<String>, Flaw> {
    let domain = call.query.text("domain");
    let bad = |text: &str| Flaw::in_query("domain", Wrong::Format("domain")).showing(text);
    domain.map(|text| crate::model::address::domain_name(text).map_err(|_| bad(text))).transpose()
}

async fn of_query(call: &Call) -> Result<QueueFilter, Problem> {
    let query = &call.query;
    Ok(QueueFilter {
        domain: domain_of_query(call)?,
        address: query.value("to", "email")?,
        message: query.value("emailId", "email id")?,
        reason: suppressions::reason(query)?,
        is_held: query.value("held", "boolean")?,
        ..QueueFilter::all_of(scope(call, query.text("mailAgent")).await?)
    })
}

async fn filter(call: &Call, choice: QueueChoice) -> Result<QueueFilter, Problem> {
    let QueueChoice { mail_agent, domain, to, email_id, reason, older_than_minutes, held, all: _ } = choice;
    let ago = |Count(minutes): Count<1, 1_000_000>| call.server.clock().now() - Duration::from_secs(minutes * 60);
    let message = email_id.map(|Text(id)| read::<MessageId>("/emailId", &id, "is not the id of a mail"));
    Ok(QueueFilter {
        domain: domain.map(|Domain(domain)| domain),
        address: to.map(|Email(address)| address),
        message: message.transpose()?,
        reason: reason.map(|Word(reason)| reason),
        accepted_before: older_than_minutes.map(ago),
        is_held: held,
        ..QueueFilter::all_of(scope(call, mail_agent.as_ref().map(|Line(name)| name.as_str())).await?)
    })
}

fn read<T: std::str::FromStr>(field: &str, text: &str, rule: &str) -> Result<T, Flaw> {
    text.parse().map_err(|_| Flaw::at(field, Wrong::Other(rule.to_owned())).showing(text))
}

fn shown_domain(waiting: Waiting) -> WaitingDomain {
    let Waiting { domain, queued, due, held, oldest } = waiting;
    WaitingDomain { domain, waiting: queued, due, held, oldest: When(oldest) }
}

fn shown(view: DeliveryView) -> WaitingDelivery {
    let DeliveryView { delivery, reason, due_at, held_at, .. } = view;
    WaitingDelivery {
        id: delivery.id.to_string(),
        email_id: delivery.id.message.to_string(),
        to: delivery.address.to_string(),
        attempts: delivery.attempts,
        reason: Nullable(reason.map(|reason| reason.to_string())),
        next_attempt_at: Nullable(due_at.filter(|_| held_at.is_none()).map(When)),
        held_at: Nullable(held_at.map(When)),
        created_at: When(delivery.accepted_at),
        expires_at: When(delivery.expires_at),
    }
}

fn shown_pause(mail_agent: Option<String>, pause: queue::Pause) -> Pause {
    let queue::Pause { domain, note, created_at, .. } = pause;
    Pause { mail_agent: Nullable(mail_agent), domain: Nullable(domain), note, created_at: When(created_at) }
}
