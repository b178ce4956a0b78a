//! `/api/v1`: Mailtura's API. Wire types in, wire types out.
//!
//! Who asks is said by `Authorization: Bearer <key>` and, when they name one, `X-Tenant-ID`: without it the key's own
//! tenant is meant; another one is 403 unless the key is an operator's, an unknown one 404. A final slash in the path does
//! not matter. Times are ISO 8601 with milliseconds; lists are bare arrays that page by key with a `Link`; errors are
//! `{"message"}`, 422 with `validation`, and `application/problem+json` for who asks for it. Every answer that is not
//! another surface's is this API's, whatever the path or method. What there is stands in [`routes`] and,
//! for those who look after it, in [`watching`].

mod activity;

mod agents;

mod copies;

mod domains;

mod emails;

mod events;

mod installation;

mod keys;

mod new_email;

mod queue;

mod recipients;

mod records;

mod routes;

mod statistics;

mod suppressions;

mod templates;

mod tenants;

mod tracking_hosts;

mod users;

mod watching;

mod webhooks;

use std::sync::Arc;

use hyper::StatusCode;
use hyper::body::Incoming;
use hyper::header::{ACCEPT, AUTHORIZATION, CONTENT_TYPE, HeaderMap, HeaderValue, LOCATION};
use hyper::{Method, Request};
use serde::Serialize;

use super::brake::Left;
use super::operation::{self, Call, Operation};
use super::problem::Problem;
use super::query::Query;
use super::server::Answer;
use super::{Server, answered, body, client, finish, header, json_answer, no_content, problem_answer};
use crate::mail::compose::Field;
use crate::model::template::Part;
use crate::model::tenant::{CredentialKind, DEFAULT_AGENT, Grant, MailAgent};
pub(super) use events::EventBody;

/// What there is under `/api/v1`.
pub(super) const TABLES: &[&[Operation]] = &[routes::OPERATIONS, watching::OPERATIONS];

/// Mail agents of one tenant.
const AGENTS_MAX: u32 = 500;

/// What this API calls a part of a mail.
pub(super) fn word(field: Field) -> &'static str {
    match field {
        Field::From => "from",
        Field::To => "to",
        Field::Cc => "cc",
        Field::Bcc => "bcc",
        Field::ReplyTo => "replyTo",
        Field::Subject => "subject",
        Field::Headers => "headers",
        Field::Attachments | Field::InlineImages => "attachments",
    }
}

/// What this API calls a text of a mail.
pub(super) fn word_of_text(part: Part) -> &'static str {
    match part {
        Part::Subject => "subject",
        Part::Html => "html",
        Part::Text => "text",
        Part::ClientReference => "clientReference",
    }
}

/// Answers a request that is for no other surface.
pub(super) async fn answer(server: &Server, mut request: Request<Incoming>) -> Answer {
    let mut left = None;
    let came = respond(server, &mut request, &mut left).await;
    answered(request, came, left, |request, problem| refused(problem, request.headers())).await
}

/// A problem in this API's words, of the kind that the client wants.
pub(super) fn refused(problem: &Problem, headers: &HeaderMap) -> Answer {
    const PROBLEM_JSON: &str = "application/problem+json";
    let accepted = headers.get_all(ACCEPT).iter().filter_map(|value| value.to_str().ok());
    let mut kinds = accepted.flat_map(|value| value.split(','));
    if !kinds.any(|kind| kind.split(';').next().is_some_and(|kind| kind.trim().eq_ignore_ascii_case(PROBLEM_JSON))) {
        return problem_answer(problem, problem.mailtura(), "Bearer");
    }
    let mut answer = problem_answer(problem, problem.problem_json(), "Bearer");
    answer.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(PROBLEM_JSON));
    answer
}

async fn respond(server: &Server, request: &mut Request<Incoming>, left: &mut Option<Left>) -> Result<Answer, Problem> {
    let (operation, places) = operation::find(TABLES, request.method(), request.uri().path())?;
    let grant = caller(server, request).await?;
    operation.carry_out(server, &grant, places, request, left).await
}

/// What a person at the console asks for, as if with a key of the tenant: the console can do nothing that this API
/// cannot.
pub(super) async fn call(
    server: &Server,
    grant: &Arc<Grant>,
    method: &Method,
    path: &str,
    content_type: &str,
    body: Vec<u8>,
) -> Result<Answer, Problem> {
    let (path, query) = path.split_once('?').unwrap_or((path, ""));
    let (operation, places) = operation::find(TABLES, method, path)?;
    let (server, grant, body) = (server.clone(), grant.clone(), body::Read::of(body));
    let content_type = content_type.to_owned();
    let (peer, query) = (None, Query::read(query));
    let call = Call { server, grant, peer, places, query, body, content_type, ticket: None };
    finish((operation.work)(call)).await
}

/// Who asks, as the tenant that they name.
async fn caller(server: &Server, request: &Request<Incoming>) -> Result<Arc<Grant>, Problem> {
    let value = header(request.headers(), AUTHORIZATION.as_str()).ok_or(Problem::Unauthorized)?;
    let (scheme, key) = value.split_once(' ').ok_or(Problem::Unauthorized)?;
    if !scheme.eq_ignore_ascii_case("Bearer") {
        return Err(Problem::Unauthorized);
    }
    let grant = server.intake().authenticate_token(key.trim(), client::of(request)).await?;
    let slug = request.headers().get("x-tenant-id").map(|value| value.to_str().unwrap_or("?").trim());
    let Some(slug) = slug.filter(|slug| !slug.is_empty() && !slug.eq_ignore_ascii_case(&grant.tenant.slug)) else {
        return Ok(grant);
    };
    let tenant = server.store().tenant(&slug.to_ascii_lowercase()).await?.ok_or(Problem::NotFound("Tenant"))?;
    if grant.kind != CredentialKind::OperatorKey {
        return Err(Problem::TenantForbidden);
    }
    let agent = match server.store().agent(tenant.id, DEFAULT_AGENT).await? {
        Some(agent) => Some(agent),
        // A tenant that has lost it can be given another.
        None => server.store().agents(tenant.id, "", 1).await?.pop(),
    };
    let agent = agent.ok_or(Problem::NotFound("Mail agent"))?;
    let domains = server.store().domains(agent.id).await?;
    Ok(Arc::new(Grant { tenant, agent, domains, ..Grant::clone(&grant) }))
}

/// The tenant's mail agent with this name.
async fn agent(server: &Server, grant: &Grant, name: &str) -> Result<MailAgent, Problem> {
    if name == grant.agent.name {
        return Ok(grant.agent.clone());
    }
    server.store().agent(grant.tenant.id, name).await?.ok_or(Problem::NotFound("Mail agent"))
}

/// The mail agent that a request names, or the caller's own.
async fn agent_or_own(server: &Server, grant: &Grant, name: Option<&str>) -> Result<MailAgent, Problem> {
    agent(server, grant, name.unwrap_or(&grant.agent.name)).await
}

/// The tenant's mail agents, for their names.
async fn all_agents(server: &Server, grant: &Grant) -> Result<Vec<MailAgent>, Problem> {
    Ok(server.store().agents(grant.tenant.id, "", AGENTS_MAX).await?)
}

/// Something made, and where it is from now on.
fn made(body: &impl Serialize, place: &str) -> Answer {
    let mut answer = json_answer(StatusCode::CREATED, body);
    answer.headers_mut().extend(HeaderValue::try_from(place).ok().map(|place| (LOCATION, place)));
    answer
}

#[cfg(test)]
mod tests {
    use hyper::Method;

    use super::*;

    #[test]
    fn routes() {
        let check = |method: Method, path: &str, expected: Result<(&str, &[&str]), Problem>| {
            let found = operation::find(TABLES, &method, path);
            let found = found.map(|(operation, places)| (operation.id, places));
            let expected = expected.map(|(id, places)| (id, places.iter().map(|&place| place.to_owned()).collect()));
            assert_eq!(found, expected, "{method} {path}");
        };
        check(Method::POST, "/api/v1/emails", Ok(("sendEmail", &[])));
        check(Method::POST, "/api/v1/emails/", Ok(("sendEmail", &[])));
        check(Method::GET, "/api/v1/emails", Ok(("listEmails", &[])));
        check(Method::HEAD, "/api/v1/emails/msg_1", Ok(("getEmail", &["msg_1"])));
        check(Method::PUT, "/api/v1/emails", Err(Problem::Method { allowed: "GET, POST" }));
        check(Method::PATCH, "/api/v1/webhooks/wh_1", Ok(("changeWebhook", &["wh_1"])));
        check(Method::PUT, "/api/v1/webhooks/wh_1/", Ok(("replaceWebhook", &["wh_1"])));
        check(Method::DELETE, "/api/v1/webhooks/wh%5F1", Ok(("removeWebhook", &["wh_1"])));
        check(Method::POST, "/api/v1/webhooks/wh_1/test", Ok(("testWebhook", &["wh_1"])));
        check(Method::GET, "/api/v1/webhooks/wh_1/test", Err(Problem::Method { allowed: "POST" }));
        check(Method::GET, "/api/v1/agents/a%40b%2Fc", Ok(("getAgent", &["a@b/c"])));
        check(Method::GET, "/api/v1/webhooks/wh_1/tests", Err(Problem::NoRoute));
        check(Method::GET, "/api/v1/webhooks/%FF", Err(Problem::NoRoute));
        check(Method::GET, "/api/v1", Err(Problem::NoRoute));
        check(Method::GET, "/api/v2/emails", Err(Problem::NoRoute));
        check(Method::GET, "/", Err(Problem::NoRoute));
        check(Method::GET, "/api/v1//emails", Err(Problem::NoRoute));
        check(Method::GET, "/api/v1/emails//", Err(Problem::NoRoute));
    }

    #[test]
    fn every_path_says_what_it_allows() {
        assert_eq!(operation::unlisted(TABLES), None);
    }
}
