//! `/api/v1/domains`: the domains that a mail agent may send from, or will when they are shown to be the tenant's.
//!
//! What that takes, `claims` says. The answer that makes a domain names the records to publish; `verify` looks for the
//! first of them, the keys begin to sign by themselves when theirs are seen.

use hyper::StatusCode;

use super::super::operation::Call;
use super::super::problem::Problem;
use super::super::query;
use super::super::server::Answer;
use super::super::shape::{self, Domain, Line, Nullable, When, answer, request};
use super::super::{claims, json_answer};
use super::{agent_or_own, made, no_content};
use crate::model::domain::{ClaimedDomain, Verifier};
use crate::model::signing_key::{KeyState, SigningKey};
use crate::model::tenant::MailAgent;

request! {
    /// A domain to send from.
    pub(super) struct NewDomain {
        /// The domain.
        name "name": Domain,
        /// Which mail agent is to send from it; the key's own unless given.
        mail_agent "mailAgent": Option<Line<1, 100>>,
    }
}

answer! {
    /// A domain to send from.
    pub(super) struct SendingDomain {
        /// The domain, in A-labels.
        name "name": String,
        /// Which mail agent.
        mail_agent "mailAgent": String,
        /// `verified` when the mail agent may send from it, else `unverified`.
        status "status": &'static str,
        /// When it was shown to be the tenant's; null when it has not been.
        verified_at "verifiedAt": Nullable<When>,
        /// What showed it: `dns`, `operator`, or `capture`, which counts in capture mode alone; null when that is not
        /// known.
        verified_by "verifiedBy": Nullable<&'static str>,
        /// The records to publish; not in lists.
        records "records": Option<Vec<DnsRecord>>,
        /// When it was added.
        created_at "createdAt": When,
        /// Who made it: a person's address, or the id of a key; null when that is not known.
        created_by "createdBy": Nullable<String>,
    }

    /// A record to publish.
    pub(super) struct DnsRecord {
        /// `ownership`, without which nothing is sent from the domain, or `dkim`.
        purpose "purpose": &'static str,
        /// Its type.
        kind "type": &'static str,
        /// Its name.
        name "name": String,
        /// What it says.
        value "value": String,
        /// `verified` when it has been seen, else `unverified`.
        status "status": &'static str,
    }
}

/// `GET /api/v1/domains`.
pub(super) async fn list(call: Call) -> Result<Answer, Problem> {
    let (limit, after) = (call.query.limit()? as usize, call.query.text("after").unwrap_or_default());
    let agent = of_query(&call).await?;
    let own = claims::of_agent(&call.server, &agent).await?.into_iter().filter(|domain| domain.name.as_str() > after);
    let (page, key) = (own.take(limit + 1).collect(), |domain: &ClaimedDomain| domain.name.clone());
    query::page(("/api/v1/domains", &call.query), page, key, |domain| shown(&domain, &agent, None))
}

/// `POST /api/v1/domains`.
pub(super) async fn add(call: Call) -> Result<Answer, Problem> {
    let NewDomain { name: Domain(name), mail_agent } = shape::read(&call.body.bytes)?;
    let agent = mail_agent.as_ref().map(|Line(name)| name.as_str());
    let agent = agent_or_own(&call.server, &call.grant, agent).await?;
    let domain = claims::claim(&call.server, &call.grant, &agent, name).await?;
    let place = format!("/api/v1/domains/{}", domain.name);
    let keys = claims::keys(&call.server, &domain).await?;
    Ok(made(&shown(&domain, &agent, Some(&keys)), &place))
}

/// `GET /api/v1/domains/{name}`.
pub(super) async fn get(call: Call) -> Result<Answer, Problem> {
    let (domain, agent) = find(&call).await?;
    told(&call, &domain, &agent).await
}

/// `POST /api/v1/domains/{name}/verify`.
pub(super) async fn verify(call: Call) -> Result<Answer, Problem> {
    let (mut domain, agent) = find(&call).await?;
    claims::verify(&call.server, &call.grant, &mut domain).await?;
    told(&call, &domain, &agent).await
}

/// `DELETE /api/v1/domains/{name}`.
pub(super) async fn remove(call: Call) -> Result<Answer, Problem> {
    let (domain, agent) = find(&call).await?;
    claims::release(&call.server, &agent, domain).await?;
    Ok(no_content())
}

pub(super) async fn told(call: &Call, domain: &ClaimedDomain, agent: &MailAgent) -> Result<Answer, Problem> {
    let keys = claims::keys(&call.server, domain).await?;
    Ok(json_answer(StatusCode::OK, &shown(domain, agent, Some(&keys))))
}

/// The domain of the path, if it is one of the mail agent's.
pub(super) async fn find(call: &Call) -> Result<(ClaimedDomain, MailAgent), Problem> {
    let agent = of_query(call).await?;
    Ok((claims::find(&call.server, &agent, call.place()).await?, agent))
}

async fn of_query(call: &Call) -> Result<MailAgent, Problem> {
    agent_or_own(&call.server, &call.grant, call.query.text("mailAgent")).await
}

fn status(is_seen: bool) -> &'static str {
    if is_seen { "verified" } else { "unverified" }
}

fn shown(domain: &ClaimedDomain, agent: &MailAgent, keys: Option<&[SigningKey]>) -> SendingDomain {
    SendingDomain {
        name: domain.name.clone(),
        mail_agent: agent.name.clone(),
        status: status(domain.verified_at.is_some()),
        verified_at: Nullable(domain.verified_at.map(When)),
        verified_by: Nullable(domain.verified_by.map(Verifier::as_str)),
        records: keys.map(|keys| records(domain, keys)),
        created_at: When(domain.created_at),
        created_by: Nullable::of(domain.created_by.clone()),
    }
}

fn records(domain: &ClaimedDomain, keys: &[SigningKey]) -> Vec<DnsRecord> {
    let record = |purpose, (name, value), is_seen| {
        let (kind, status) = ("TXT", status(is_seen));
        DnsRecord { purpose, kind, name, value, status }
    };
    let dkim = |key: &SigningKey| record("dkim", (key.record_name(), key.record()), key.state == KeyState::Signing);
    let ownership = record("ownership", domain.proof(), domain.verified_at.is_some());
    std::iter::once(ownership).chain(keys.iter().map(dkim)).collect()
}
