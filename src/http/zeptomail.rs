//! `/v1.1`: ZeptoMail's and TransMail's API. Wire types in, wire types out.
//!
//! What sends takes `Authorization: Zoho-enczapikey <token>`; clients also send the token bare. What manages takes
//! `Zoho-oauthtoken <access token>`, which `/oauth/v2/token` gives out. `/v1.1/email` is both: its method tells. Unknown
//! fields are ignored, and so are bodies where none belong. An accepted mail is 201, and its `request_id` is the one that
//! webhooks carry. Every other answer under this path is this API's error body, whatever the path or method.

mod fields;
mod files;
mod manage;
pub(super) mod oauth;
mod send;
mod times;

use hyper::body::Incoming;
use hyper::header::{AUTHORIZATION, CONTENT_TYPE};
use hyper::{Method, Request, StatusCode};
use serde_json::json;

use super::problem::Problem;
use super::server::Answer;
use super::{SMALL_BYTES_MAX, Server, body, client, finish, header, json_answer, problem_answer, segments};
use crate::mail::compose::Field;
use crate::model::id::MessageId;
use crate::model::key as keys;
use crate::model::template::Part;
use crate::model::tenant::Grant;
pub(super) use fields::FILES_MAX;
use send::Kind;

/// Before the token, in any case of letters.
const SCHEME: &str = "Zoho-enczapikey";

/// What this API calls a part of a mail.
pub(super) fn word(field: Field) -> &'static str {
    match field {
        Field::From => "from",
        Field::To => "to",
        Field::Cc => "cc",
        Field::Bcc => "bcc",
        Field::ReplyTo => "reply_to",
        Field::Subject => "subject",
        Field::Headers => "mime_headers",
        Field::Attachments => "attachments",
        Field::InlineImages => "inline_images",
    }
}

/// What this API calls a text of a mail.
pub(super) fn word_of_text(part: Part) -> &'static str {
    match part {
        Part::Subject => "subject",
        Part::Html => "htmlbody",
        Part::Text => "textbody",
        Part::ClientReference => "client_reference",
    }
}

/// Answers a request under `/v1.1`.
pub(super) async fn answer(server: &Server, mut request: Request<Incoming>) -> Answer {
    let segments = segments(request.uri().path(), "/v1.1");
    let is_management = segments.is_some_and(|segments| manage::is_for(request.method(), &segments));
    let answered = match is_management {
        true => manage(server, &mut request).await,
        false => respond(server, &mut request).await,
    };
    match answered {
        Ok(answer) => answer,
        Err(problem) => {
            body::drain(request, &problem).await;
            match is_management {
                true => manage::refused(server, &problem),
                false => refused(server, &problem),
            }
        }
    }
}

/// A problem in this API's words.
pub(super) fn refused(server: &Server, problem: &Problem) -> Answer {
    problem_answer(problem, problem.zeptomail(&fresh_request_id(server)), SCHEME)
}

/// What a request asks for.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Route {
    Send(Kind),
    Cancel(String),
    Upload,
    Files,
    RemoveFile(String),
}

fn route(method: &Method, path: &str) -> Result<Route, Problem> {
    let segments = segments(path, "/v1.1").ok_or(Problem::NoRoute)?;
    let send = |is_batch, is_template| match *method {
        Method::POST => Ok(Route::Send(Kind { is_batch, is_template })),
        _ if (is_batch, is_template) == (false, false) => Err(Problem::Method { allowed: "GET, POST" }),
        _ => Err(Problem::Method { allowed: "POST" }),
    };
    match (segments.as_slice(), method) {
        (["email"], _) => send(false, false),
        (["email", "batch"], _) => send(true, false),
        (["email", "template"], _) => send(false, true),
        (["email", "template", "batch"], _) => send(true, true),
        (["email", id], &Method::DELETE) => Ok(Route::Cancel((*id).to_owned())),
        (["email", _], _) => Err(Problem::Method { allowed: "DELETE" }),
        (["files"], &Method::POST) => Ok(Route::Upload),
        (["files"], &Method::GET) => Ok(Route::Files),
        (["files"], _) => Err(Problem::Method { allowed: "GET, POST" }),
        (["files", key], &Method::DELETE) => Ok(Route::RemoveFile((*key).to_owned())),
        (["files", _], _) => Err(Problem::Method { allowed: "DELETE" }),
        _ => Err(Problem::NoRoute),
    }
}

async fn respond(server: &Server, request: &mut Request<Incoming>) -> Result<Answer, Problem> {
    let route = route(request.method(), request.uri().path())?;
    let token = token(request).ok_or(Problem::Unauthorized)?;
    let grant = server.intake().authenticate_token(token, client::of(request)).await?;
    let bytes_max = match route {
        Route::Send(_) => server.settings().send_bytes_max,
        Route::Upload => fields::FILE_BYTES_MAX,
        Route::Cancel(_) | Route::Files | Route::RemoveFile(_) => SMALL_BYTES_MAX,
    };
    let body = server.0.memory.read(request, bytes_max).await?;
    let content_type = header(request.headers(), CONTENT_TYPE.as_str()).unwrap_or_default().to_owned();
    let query = request.uri().query().unwrap_or_default().to_owned();
    let server = server.clone();
    finish(async move {
        match route {
            Route::Send(Kind { is_batch: false, is_template: false }) if is_mail(&content_type) => {
                send::send_raw(&server, &grant, body).await
            }
            Route::Send(kind) => send::send(&server, &grant, kind, body).await,
            Route::Cancel(id) => cancel(&server, &grant, &id).await,
            Route::Upload => files::upload(&server, &grant, &query, &content_type, body).await,
            Route::Files => files::list(&server, &grant).await,
            Route::RemoveFile(key) => files::remove(&server, &grant, &key).await,
        }
    })
    .await
}

async fn manage(server: &Server, request: &mut Request<Incoming>) -> Result<Answer, Problem> {
    let token = manage::token(request).ok_or(Problem::Unauthorized)?;
    let grant = server.intake().authenticate_access(token, client::of(request)).await?;
    let body = server.0.memory.read(request, manage::BODY_BYTES_MAX).await?;
    let asked = manage::Asked {
        method: request.method().clone(),
        segments: segments(request.uri().path(), "/v1.1")
            .map(|segments| manage::decoded(&segments))
            .unwrap_or_default(),
        query: request.uri().query().unwrap_or_default().to_owned(),
        body,
    };
    let server = server.clone();
    finish(async move { manage::answer(&server, &grant, asked).await }).await
}

/// The token, after its scheme or bare.
fn token(request: &Request<Incoming>) -> Option<&str> {
    let value = header(request.headers(), AUTHORIZATION.as_str())?;
    match value.split_once(' ') {
        Some((scheme, token)) if scheme.eq_ignore_ascii_case(SCHEME) => Some(token.trim()),
        Some(_) => None,
        None => Some(value),
    }
}

fn is_mail(content_type: &str) -> bool {
    let essence = content_type.split(';').next().unwrap_or_default();
    essence.trim().eq_ignore_ascii_case("message/rfc822")
}

/// Takes back mails that were scheduled, by the id of their request; an extension.
async fn cancel(server: &Server, grant: &Grant, request_id: &str) -> Result<Answer, Problem> {
    let nothing = Problem::NotFound("Email");
    let id = keys::uuid_of(request_id, keys::REQUEST, MessageId::PREFIX).map(MessageId::from_uuid);
    let messages = server.store().messages_of_request(grant.tenant.id, id.ok_or(nothing.clone())?, request_id).await?;
    let own = messages.into_iter().filter(|message| message.agent == grant.agent.id);
    let ids: Vec<MessageId> = own.map(|message| message.id).collect();
    if ids.is_empty() {
        return Err(nothing);
    }
    let mut cancelled = 0;
    for id in ids {
        cancelled += server.cancel(grant, id).await?.map_or(0, |deliveries| deliveries.len());
    }
    if cancelled == 0 {
        return Err(Problem::Conflict("Nothing of this request waits to be sent"));
    }
    let told = json!({ "code": "PB_200", "additional_info": [], "message": "Email request cancelled" });
    let told = json!({ "data": [told], "message": "OK", "request_id": request_id, "object": "email" });
    Ok(json_answer(StatusCode::OK, &told))
}

fn accepted(request_id: &str) -> serde_json::Value {
    json!({
        "data": [{ "code": "EM_104", "additional_info": [], "message": "Email request received" }],
        "message": "OK",
        "request_id": request_id,
        "object": "email",
    })
}

/// The id of a request that brought no mail: of the same shape as those of mails.
fn fresh_request_id(server: &Server) -> String {
    let now = server.clock().now();
    keys::key(keys::REQUEST, server.ids().uuid(now), now)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn routes() {
        let check = |method: Method, path: &str, expected: Result<Route, Problem>| {
            assert_eq!(route(&method, path), expected, "{method} {path}");
        };
        let send = |is_batch, is_template| Ok(Route::Send(Kind { is_batch, is_template }));
        check(Method::POST, "/v1.1/email", send(false, false));
        check(Method::POST, "/v1.1/email/", send(false, false));
        check(Method::POST, "/v1.1/email/batch", send(true, false));
        check(Method::POST, "/v1.1/email/template", send(false, true));
        check(Method::POST, "/v1.1/email/template/batch", send(true, true));
        check(Method::GET, "/v1.1/email/template/batch", Err(Problem::Method { allowed: "POST" }));
        check(Method::POST, "/v1.1/email/other", Err(Problem::Method { allowed: "DELETE" }));
        check(Method::PUT, "/v1.1/email", Err(Problem::Method { allowed: "GET, POST" }));
        check(Method::POST, "/v1.1/files", Ok(Route::Upload));
        check(Method::DELETE, "/v1.1/files/a", Ok(Route::RemoveFile("a".into())));
        check(Method::POST, "/v1.1/emails", Err(Problem::NoRoute));
        check(Method::POST, "/v1.1//email", Err(Problem::NoRoute));
        check(Method::POST, "/v1.1", Err(Problem::NoRoute));
    }
}
