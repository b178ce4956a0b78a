//! `/api/v1/domains`: the domains that a mail agent may send from.

use hyper::StatusCode;

use super::super::json_answer;
use super::super::operation::Call;
use super::super::problem::Problem;
use super::super::query;
use super::super::server::Answer;
use super::super::shape::{self, Domain, Line, answer, request};
use super::{agent_or_own, made, no_content};
use crate::model::address::domain_name;
use crate::model::tenant::MailAgent;

request! {
    /// A domain to send from.
    pub(super) struct NewDomain {
        /// The domain.
        name "name": Domain,
        /// Which mail agent may; the key's own unless given.
        mail_agent "mailAgent": Option<Line<1, 100>>,
    }
}

answer! {
    /// A domain that a mail agent may send from.
    pub(super) struct SendingDomain {
        /// The domain, in A-labels.
        name "name": String,
        /// Which mail agent may.
        mail_agent "mailAgent": String,
    }
}

/// `GET /api/v1/domains`.
pub(super) async fn list(call: Call) -> Result<Answer, Problem> {
    let (limit, after) = (call.query.limit()? as usize, call.query.text("after").unwrap_or_default());
    let agent = of_query(&call).await?;
    let domains = call.server.store().domains(agent.id).await?;
    let page = domains.into_iter().filter(|domain| domain.as_str() > after).take(limit + 1).collect();
    query::page(("/api/v1/domains", &call.query), page, String::clone, |name| shown(name, &agent))
}

/// `POST /api/v1/domains`.
pub(super) async fn add(call: Call) -> Result<Answer, Problem> {
    let NewDomain { name: Domain(name), mail_agent } = shape::read(&call.body.bytes)?;
    let agent = mail_agent.as_ref().map(|Line(name)| name.as_str());
    let agent = agent_or_own(&call.server, &call.grant, agent).await?;
    call.server.store().add_domain(agent.id, &name).await?;
    let place = format!("/api/v1/domains/{name}");
    Ok(made(&shown(name, &agent), &place))
}

/// `GET /api/v1/domains/{name}`.
pub(super) async fn get(call: Call) -> Result<Answer, Problem> {
    let name = of_path(&call)?;
    let agent = of_query(&call).await?;
    let domains = call.server.store().domains(agent.id).await?;
    match domains.contains(&name) {
        true => Ok(json_answer(StatusCode::OK, &shown(name, &agent))),
        false => Err(Problem::NotFound("Domain")),
    }
}

/// `DELETE /api/v1/domains/{name}`.
pub(super) async fn remove(call: Call) -> Result<Answer, Problem> {
    let name = of_path(&call)?;
    let agent = of_query(&call).await?;
    match call.server.store().remove_domain(agent.id, &name).await? {
        true => Ok(no_content()),
        false => Err(Problem::NotFound("Domain")),
    }
}

/// A name that is no domain's names nothing.
fn of_path(call: &Call) -> Result<String, Problem> {
    domain_name(call.place()).map_err(|_| Problem::NotFound("Domain"))
}

async fn of_query(call: &Call) -> Result<MailAgent, Problem> {
    agent_or_own(&call.server, &call.grant, call.query.text("mailAgent")).await
}

fn shown(name: String, agent: &MailAgent) -> SendingDomain {
    SendingDomain { name, mail_agent: agent.name.clone() }
}
