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
mod routes;
mod send;
mod shapes;
mod times;

use hyper::body::Incoming;
use hyper::header::AUTHORIZATION;
use hyper::{Request, StatusCode};
use serde_json::json;

use super::brake::Left;
use super::operation::{self, Credential};
use super::problem::Problem;
use super::server::Answer;
use super::{Server, answered, client, header, json_answer, problem_answer};
use crate::mail::compose::Field;
use crate::model::id::MessageId;
use crate::model::key as keys;
use crate::model::template::Part;
use crate::model::tenant::Grant;
pub(super) use fields::FILES_MAX;
pub(super) use manage::Walks;
pub(super) use routes::OPERATIONS;
pub(super) use shapes::ZeptoError;

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
    let mut left = None;
    let came = respond(server, &mut request, &mut left).await;
    let told =
        |request: &Request<Incoming>, problem: &Problem| match manage::is_for(request.method(), request.uri().path()) {
            true => manage::refused(server, problem),
            false => refused(server, problem),
        };
    answered(request, came, left, told).await
}

async fn respond(server: &Server, request: &mut Request<Incoming>, left: &mut Option<Left>) -> Result<Answer, Problem> {
    let (operation, places) = operation::find(&[OPERATIONS], request.method(), request.uri().path())?;
    let peer = client::of(request);
    let grant = match operation.credential {
        Credential::AccessToken => {
            let token = manage::token(request).ok_or(Problem::Unauthorized)?;
            server.intake().authenticate_access(token, peer).await?
        }
        Credential::SendToken | Credential::Key => {
            let token = token(request).ok_or(Problem::Unauthorized)?;
            server.intake().authenticate_token(token, peer).await?
        }
    };
    operation.carry_out(server, &grant, places, request, left).await
}

/// A problem in this API's words.
pub(super) fn refused(server: &Server, problem: &Problem) -> Answer {
    problem_answer(problem, problem.zeptomail(&fresh_request_id(server)), SCHEME)
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

/// Takes back mails that were scheduled, by the id of their request; an extension.
async fn cancel(server: &Server, grant: &Grant, request_id: &str) -> Result<Answer, Problem> {
    let nothing = Problem::NotFound("Email");
    let id = keys::message_in(request_id).ok_or(nothing.clone())?;
    let messages = server.store().messages_of_request(grant.tenant.id, id, request_id).await?;
    let own = messages.into_iter().filter(|message| message.agent == grant.agent.id);
    let ids: Vec<MessageId> = own.map(|message| message.id).collect();
    if ids.is_empty() {
        return Err(nothing);
    }
    let mut cancelled = 0;
    for id in ids {
        cancelled += server.cancel(grant, id).await?;
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
    let agent = keys::of_agent(u64::from_be_bytes(server.ids().bytes()));
    keys::key(&agent, keys::MAIL, server.ids().uuid(now), now)
}
