//! `/api/v1/suppressions`: addresses and domains that mail does not go to.
//!
//! An entry holds for one mail agent or, without one, for all of the tenant's, those that come later included. What
//! bounces, complaints and readers wrote stands in the same list. One target may stand there several times: once for all
//! and once for each mail agent.

use hyper::StatusCode;

use super::super::json_answer;
use super::super::operation::Call;
use super::super::problem::Problem;
use super::super::query::{self, Query};
use super::super::server::Answer;
use super::super::shape::{self, Line, Nullable, Vocabulary, When, Word, answer, request, vocabulary};
use super::super::wire::{Flaw, Wrong};
use super::{agent, all_agents, made, no_content};
use crate::model::reason::Reason;
use crate::model::suppression::{self, Action, Scope, Target};
use crate::model::tenant::MailAgent;
use crate::store::suppressions::{Change, Filter, Lists};

/// Who changes suppressions here, as their history has it.
const ACTOR: &str = "api";
/// The kinds of targets.
const KINDS: &[&str] = &["address", "domain"];

impl Vocabulary for Reason {
    const WORDS: &'static [&'static str] = Reason::WORDS;
    const MEANINGS: &'static [Self] = Reason::ALL;
}

vocabulary! { Action:
    "suppress" Action::Suppress,
    "reject" Action::Reject,
    "suppress_tracking" Action::SuppressTracking,
}

request! {
    /// An address or domain that mail is not to go to.
    pub(super) struct NewSuppression {
        /// An address, or a domain with all below it.
        value "value": Line<1, 320>,
        /// `suppress` (unless given): this recipient gets no mail, others of the same mail do. `reject`: the whole mail goes to nobody. `suppress_tracking`: mail goes out without pixel and tracked links; for addresses only.
        action "action": Option<Word<Action>>,
        /// What people want to remember of it.
        note "note": Option<Line<0, 500>>,
        /// For which mail agent; for all of them unless given.
        mail_agent "mailAgent": Option<Line<1, 100>>,
        /// Until when; until it is removed unless given.
        expires_at "expiresAt": Option<When>,
    }
}

answer! {
    /// An address or domain that mail does not go to.
    pub(super) struct Suppression {
        /// The address or domain, in lower case.
        value "value": String,
        /// `address` or `domain`.
        kind "kind": &'static str,
        /// What it does to mail.
        action "action": Word<Action>,
        /// Why, in a word: `manual`, `complaint`, `unsubscribed`, or what bounces said.
        reason "reason": &'static str,
        /// What people wanted to remember of it.
        note "note": String,
        /// For which mail agent; null for all of them.
        mail_agent "mailAgent": Nullable<String>,
        /// Since when.
        created_at "createdAt": When,
        /// Who put it there: a person's address, or the id of a key; null when no person did, or that is not known.
        created_by "createdBy": Nullable<String>,
        /// Until when; null until it is removed.
        expires_at "expiresAt": Nullable<When>,
    }

    /// Something that was done to a suppression.
    pub(super) struct SuppressionChange {
        /// `added` or `removed`.
        change "change": String,
        /// What it did to mail.
        action "action": Word<Action>,
        /// Why, in a word.
        reason "reason": &'static str,
        /// What people wanted to remember of it.
        note "note": String,
        /// Who did it: `bounce`, `complaint`, `reader`, or a person's way in.
        actor "actor": String,
        /// For which mail agent; null for all of them.
        mail_agent "mailAgent": Nullable<String>,
        /// When.
        at "at": When,
        /// Until when it was to hold; null until it is removed.
        expires_at "expiresAt": Nullable<When>,
    }
}

/// `GET /api/v1/suppressions`: by value.
pub(super) async fn list(call: Call) -> Result<Answer, Problem> {
    let (limit, tenant) = (call.query.limit()?, call.grant.tenant.id);
    let agents = all_agents(&call.server, &call.grant).await?;
    let lists = match call.query.text("mailAgent") {
        Some(name) => Lists::Of(Scope::Agent(tenant, agent(&call.server, &call.grant, name).await?.id)),
        None => Lists::OfTenant(tenant),
    };
    let (after, after_list) = cursor(&call, &agents);
    let filter = Filter {
        kind: kind(&call.query)?,
        contains: call.query.text("search").unwrap_or_default().to_owned(),
        reason: reason(&call.query)?,
        from: call.query.when("since")?.map(|When(since)| since),
        after,
        after_list,
        ..Filter::default()
    };
    let found = call.server.store().suppressions(lists, &filter, limit + 1).await?;
    let key = |one: &suppression::Suppression| format!("{}|{}", one.target, agent_key(one.scope, &agents));
    query::page(("/api/v1/suppressions", &call.query), found, key, |one| shown(one, &agents))
}

/// `POST /api/v1/suppressions`: adds one, or replaces the one that is there.
pub(super) async fn add(call: Call) -> Result<Answer, Problem> {
    let NewSuppression { value, action, note, mail_agent, expires_at } = shape::read(&call.body.bytes)?;
    let target = target(&value.0).map_err(|wrong| Flaw::at("/value", wrong).showing(&value.0))?;
    let action = action.map_or(Action::Suppress, |Word(action)| action);
    if !action.is_for(&target) {
        return Err(Flaw::at("/action", Wrong::Other("suppress_tracking is for addresses only".into())).into());
    }
    let now = call.server.clock().now();
    let expires_at = expires_at.map(|When(at)| at);
    if expires_at.is_some_and(|at| at <= now) {
        return Err(Flaw::at("/expiresAt", Wrong::Other("must be in the future".into())).into());
    }
    let tenant = call.grant.tenant.id;
    let scope = match mail_agent {
        Some(Line(name)) => Scope::Agent(tenant, agent(&call.server, &call.grant, &name).await?.id),
        None => Scope::Tenant(tenant),
    };
    let (reason, note) = (Reason::Manual, note.map_or(String::new(), |Line(note)| note));
    let (created_at, created_by) = (now, call.grant.author());
    let new = suppression::Suppression { scope, target, action, reason, note, created_at, created_by, expires_at };
    call.server.store().put_suppressions(vec![new.clone()], ACTOR).await?;
    let place = format!("/api/v1/suppressions/{}", query::encoded(new.target.as_str()));
    let agents = all_agents(&call.server, &call.grant).await?;
    Ok(made(&shown(new, &agents), &place))
}

/// `GET /api/v1/suppressions/{value}`: the hardest of those that the value has.
pub(super) async fn get(call: Call) -> Result<Answer, Problem> {
    let found = find(&call).await?.into_iter().max_by_key(|one| one.action);
    let agents = all_agents(&call.server, &call.grant).await?;
    let found = found.ok_or(Problem::NotFound("Suppression"))?;
    Ok(json_answer(StatusCode::OK, &shown(found, &agents)))
}

/// `DELETE /api/v1/suppressions/{value}`: from all lists, or from that of the mail agent that is named.
pub(super) async fn remove(call: Call) -> Result<Answer, Problem> {
    let mut removed = 0;
    for one in find(&call).await? {
        removed += call.server.store().remove_suppressions(one.scope, &[one.target], ACTOR).await?;
    }
    if removed > 0 { Ok(no_content()) } else { Err(Problem::NotFound("Suppression")) }
}

/// `GET /api/v1/suppressions/{value}/history`: what was done to it, newest first.
pub(super) async fn history(call: Call) -> Result<Answer, Problem> {
    let target = target(call.place()).map_err(|_| Problem::NotFound("Suppression"))?;
    let agents = all_agents(&call.server, &call.grant).await?;
    let tenant = call.grant.tenant.id;
    let lists: Vec<Scope> = match call.query.text("mailAgent") {
        Some(name) => vec![Scope::Agent(tenant, agent(&call.server, &call.grant, name).await?.id)],
        None => {
            let of_agents = agents.iter().map(|agent| Scope::Agent(tenant, agent.id));
            std::iter::once(Scope::Tenant(tenant)).chain(of_agents).collect()
        }
    };
    let changes = call.server.store().suppression_history(&lists, &target).await?;
    let told = |(list, change)| shown_change(change, agent_name(list, &agents));
    Ok(json_answer(StatusCode::OK, &changes.into_iter().map(told).collect::<Vec<_>>()))
}

/// Those of the value of the path, on the list of the mail agent of the query or on all.
async fn find(call: &Call) -> Result<Vec<suppression::Suppression>, Problem> {
    let target = target(call.place()).map_err(|_| Problem::NotFound("Suppression"))?;
    let mut found = call.server.store().suppressions_of_target(call.grant.tenant.id, &target).await?;
    if let Some(name) = call.query.text("mailAgent") {
        let id = agent(&call.server, &call.grant, name).await?.id;
        found.retain(|one| one.scope.agent() == Some(id));
    }
    Ok(found)
}

fn target(text: &str) -> Result<Target, Wrong> {
    text.parse().map_err(|_| Wrong::Other("must be an address or a domain".into()))
}

/// Where a list goes on: after a target, on the list of the mail agent whose key stands after it or on that for all.
fn cursor(call: &Call, agents: &[MailAgent]) -> (String, Option<Scope>) {
    let Some(after) = call.query.text("after") else { return (String::new(), None) };
    let Some((target, key)) = after.rsplit_once('|') else { return (after.to_owned(), None) };
    let tenant = call.grant.tenant.id;
    let list = match key {
        "" => Some(Scope::Tenant(tenant)),
        key => agents.iter().find(|agent| agent.key == key).map(|agent| Scope::Agent(tenant, agent.id)),
    };
    (target.to_owned(), list)
}

fn kind(query: &Query) -> Result<&'static str, Flaw> {
    let Some(text) = query.text("kind") else { return Ok("") };
    let known = KINDS.iter().find(|kind| **kind == text).copied();
    known.ok_or_else(|| Flaw::in_query("kind", Wrong::OneOf(KINDS)).showing(text))
}

pub(super) fn reason(query: &Query) -> Result<Option<Reason>, Flaw> {
    let word = query.text("reason").map(|word| Word::<Reason>::parse(word, "?reason"));
    Ok(word.transpose()?.map(|Word(reason)| reason))
}

fn agent_key(scope: Scope, agents: &[MailAgent]) -> &str {
    let agent = agents.iter().find(|agent| scope.agent() == Some(agent.id));
    agent.map_or("", |agent| agent.key.as_str())
}

fn agent_name(scope: Scope, agents: &[MailAgent]) -> Option<String> {
    let agent = agents.iter().find(|agent| scope.agent() == Some(agent.id));
    agent.map(|agent| agent.name.clone())
}

fn shown(one: suppression::Suppression, agents: &[MailAgent]) -> Suppression {
    Suppression {
        value: one.target.to_string(),
        kind: one.target.kind(),
        action: Word(one.action),
        reason: one.reason.as_str(),
        note: one.note,
        mail_agent: Nullable(agent_name(one.scope, agents)),
        created_at: When(one.created_at),
        created_by: Nullable::of(one.created_by),
        expires_at: Nullable(one.expires_at.map(When)),
    }
}

fn shown_change(change: Change, mail_agent: Option<String>) -> SuppressionChange {
    SuppressionChange {
        change: change.change,
        action: Word(change.action),
        reason: change.reason.as_str(),
        note: change.note,
        actor: change.actor,
        mail_agent: Nullable(mail_agent),
        at: When(change.at),
        expires_at: Nullable(change.expires_at.map(When)),
    }
}
