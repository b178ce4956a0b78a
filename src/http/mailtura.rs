//! `/api/v1`: Mailtura's API. Wire types in, wire types out.
//!
//! Who asks is said by `Authorization: Bearer <key>` and, when they name one, `X-Tenant-ID`: without it the key's own
//! tenant is meant, another one is 403, an unknown one 404. A final slash in the path does not matter. Times are ISO 8601
//! with milliseconds; lists are bare arrays that page by key with a `Link`; errors are `{"message"}`, 422 with
//! `validation`. Every answer that is not another surface's is this API's, whatever the path or method.

mod emails;

mod webhooks;

use std::sync::Arc;

use hyper::body::Incoming;
use hyper::header::AUTHORIZATION;
use hyper::{Method, Request};

use super::problem::Problem;
use super::server::Answer;
use super::{SMALL_BYTES_MAX, Server, body, client, finish, header, no_content, problem_answer, segments};
use crate::mail::compose::Field;
use crate::model::template::Part;
use crate::model::tenant::{Grant, MailAgent};

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
    match respond(server, &mut request).await {
        Ok(answer) => answer,
        Err(problem) => {
            body::drain(request, &problem).await;
            refused(&problem)
        }
    }
}

/// A problem in this API's words.
pub(super) fn refused(problem: &Problem) -> Answer {
    problem_answer(problem, problem.mailtura(), "Bearer")
}

/// What a request asks for. An id that is none of ours names nothing.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Route {
    Send,
    Email(String),
    ListWebhooks { query: String },
    AddWebhook,
    Webhook(String),
    ChangeWebhook(String),
    ReplaceWebhook(String),
    RemoveWebhook(String),
    TestWebhook(String),
}

fn route(method: &Method, path: &str, query: Option<&str>) -> Result<Route, Problem> {
    let segments = segments(path, "/api/v1").ok_or(Problem::NoRoute)?;
    let is_read = matches!(*method, Method::GET | Method::HEAD);
    match (segments.as_slice(), method) {
        (["emails"], &Method::POST) => Ok(Route::Send),
        (["emails"], _) => Err(Problem::Method { allowed: "POST" }),
        (["emails", id], _) if is_read => Ok(Route::Email((*id).to_owned())),
        (["emails", _], _) => Err(Problem::Method { allowed: "GET" }),
        (["webhooks"], &Method::POST) => Ok(Route::AddWebhook),
        (["webhooks"], _) if is_read => Ok(Route::ListWebhooks { query: query.unwrap_or_default().to_owned() }),
        (["webhooks"], _) => Err(Problem::Method { allowed: "GET, POST" }),
        (["webhooks", id], _) if is_read => Ok(Route::Webhook((*id).to_owned())),
        (["webhooks", id], &Method::PATCH) => Ok(Route::ChangeWebhook((*id).to_owned())),
        (["webhooks", id], &Method::PUT) => Ok(Route::ReplaceWebhook((*id).to_owned())),
        (["webhooks", id], &Method::DELETE) => Ok(Route::RemoveWebhook((*id).to_owned())),
        (["webhooks", _], _) => Err(Problem::Method { allowed: "GET, PATCH, PUT, DELETE" }),
        (["webhooks", id, "test"], &Method::POST) => Ok(Route::TestWebhook((*id).to_owned())),
        (["webhooks", _, "test"], _) => Err(Problem::Method { allowed: "POST" }),
        _ => Err(Problem::NoRoute),
    }
}

async fn respond(server: &Server, request: &mut Request<Incoming>) -> Result<Answer, Problem> {
    let route = route(request.method(), request.uri().path(), request.uri().query())?;
    let grant = caller(server, request).await?;
    let bytes_max = match route {
        Route::Send => server.settings().send_bytes_max,
        _ => SMALL_BYTES_MAX,
    };
    let body = server.0.memory.read(request, bytes_max).await?;
    let server = server.clone();
    finish(async move { carry_out(&server, &grant, route, body).await }).await
}

/// What a person at the console asks for, as if with a key of the tenant: the console can do nothing that this API
/// cannot.
pub(super) async fn call(
    server: &Server,
    grant: &Arc<Grant>,
    method: &Method,
    path: &str,
    body: Vec<u8>,
) -> Result<Answer, Problem> {
    let (path, query) = path.split_once('?').map_or((path, None), |(path, query)| (path, Some(query)));
    let route = route(method, path, query)?;
    let (server, grant) = (server.clone(), grant.clone());
    finish(async move { carry_out(&server, &grant, route, body::Read::of(body)).await }).await
}

async fn carry_out(server: &Server, grant: &Arc<Grant>, route: Route, body: body::Read) -> Result<Answer, Problem> {
    match route {
        Route::Send => emails::send(server, grant, body).await,
        Route::Email(id) => emails::view(server, grant, &id).await,
        Route::ListWebhooks { query } => webhooks::list(server, grant, &query).await,
        Route::AddWebhook => webhooks::add(server, grant, &body.bytes).await,
        Route::Webhook(id) => webhooks::view(server, grant, &id).await,
        Route::ChangeWebhook(id) => webhooks::change(server, grant, &id, &body.bytes).await,
        Route::ReplaceWebhook(id) => webhooks::replace(server, grant, &id, &body.bytes).await,
        Route::RemoveWebhook(id) => webhooks::remove(server, grant, &id).await,
        Route::TestWebhook(id) => webhooks::test(server, grant, &id, &body.bytes).await,
    }
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
    match slug.filter(|slug| !slug.is_empty()) {
        None => Ok(grant),
        Some(slug) if slug.eq_ignore_ascii_case(&grant.tenant.slug) => Ok(grant),
        Some(slug) => match server.store().tenant(&slug.to_ascii_lowercase()).await? {
            Some(_) => Err(Problem::TenantForbidden),
            None => Err(Problem::NotFound("Tenant")),
        },
    }
}

/// The tenant's mail agent with this name.
async fn agent(server: &Server, grant: &Grant, name: &str) -> Result<MailAgent, Problem> {
    if name == grant.agent.name {
        return Ok(grant.agent.clone());
    }
    server.store().agent(grant.tenant.id, name).await?.ok_or(Problem::NotFound("Mail agent"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn routes() {
        let check = |method: Method, path: &str, expected: Result<Route, Problem>| {
            assert_eq!(route(&method, path, None), expected, "{method} {path}");
        };
        let id = || "wh_1".to_owned();
        check(Method::POST, "/api/v1/emails", Ok(Route::Send));
        check(Method::POST, "/api/v1/emails/", Ok(Route::Send));
        check(Method::GET, "/api/v1/emails", Err(Problem::Method { allowed: "POST" }));
        check(Method::HEAD, "/api/v1/emails/msg_1", Ok(Route::Email("msg_1".into())));
        check(Method::DELETE, "/api/v1/emails/msg_1", Err(Problem::Method { allowed: "GET" }));
        check(Method::GET, "/api/v1/webhooks", Ok(Route::ListWebhooks { query: String::new() }));
        check(Method::PATCH, "/api/v1/webhooks/wh_1", Ok(Route::ChangeWebhook(id())));
        check(Method::PUT, "/api/v1/webhooks/wh_1/", Ok(Route::ReplaceWebhook(id())));
        check(Method::DELETE, "/api/v1/webhooks/wh_1", Ok(Route::RemoveWebhook(id())));
        check(Method::POST, "/api/v1/webhooks/wh_1/test", Ok(Route::TestWebhook(id())));
        check(Method::GET, "/api/v1/webhooks/wh_1/test", Err(Problem::Method { allowed: "POST" }));
        check(Method::GET, "/api/v1/webhooks/wh_1/tests", Err(Problem::NoRoute));
        check(Method::GET, "/api/v1", Err(Problem::NoRoute));
        check(Method::GET, "/api/v2/emails", Err(Problem::NoRoute));
        check(Method::GET, "/", Err(Problem::NoRoute));
        check(Method::GET, "/api/v1//emails", Err(Problem::NoRoute));
    }
}
