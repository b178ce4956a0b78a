//! What manages: mail agents and their keys, templates, and what became of mails.
//!
//! `Authorization: Zoho-oauthtoken <access token>`, good for the whole tenant of its key. Answers are `data` and
//! `"status": "success"`, a removal 204 without a body; refusals carry what the official clients read beside what all
//! refusals of this surface carry. Bodies where none belong are read and ignored: the clients send `{}` with a GET.

mod agents;
mod domains;
mod logs;
mod suppressions;
mod templates;

use std::time::Duration;

use hyper::header::AUTHORIZATION;
use hyper::{Method, Request, StatusCode};
use percent_encoding::percent_decode_str;
use serde::Serialize;
use serde_json::{Value, json};

use super::super::body::Read;
use super::super::problem::Problem;
use super::super::server::Answer;
use super::super::wire::{Fields, Flaw, Wrong};
use super::super::{Server, header, json_answer, problem_answer};
use super::times;
use crate::model::tenant::{CredentialKind, Grant, MailAgent};
use crate::model::time::Timestamp;

/// Before the access token, in any case of letters.
const SCHEME: &str = "Zoho-oauthtoken";

/// Largest body: a template's texts.
pub(super) const BODY_BYTES_MAX: usize = 4 << 20;

/// A request that manages.
pub(super) struct Asked {
    pub(super) method: Method,
    pub(super) segments: Vec<String>,
    pub(super) query: String,
    pub(super) body: Read,
}

/// Whether a request is for here, by the parts of its path after `/v1.1`.
pub(super) fn is_for(method: &Method, segments: &[&str]) -> bool {
    match segments {
        ["agents" | "mailagents" | "suppressions" | "domains", ..] | ["email", "email-reference", ..] => true,
        ["email"] => method == Method::GET,
        _ => false,
    }
}

/// The access token, after its scheme.
pub(super) fn token<T>(request: &Request<T>) -> Option<&str> {
    let (scheme, token) = header(request.headers(), AUTHORIZATION.as_str())?.split_once(' ')?;
    scheme.eq_ignore_ascii_case(SCHEME).then(|| token.trim())
}

/// The parts of a path, decoded.
pub(super) fn decoded(segments: &[&str]) -> Vec<String> {
    segments.iter().map(|segment| percent_decode_str(segment).decode_utf8_lossy().into_owned()).collect()
}

/// A problem in the words of what manages.
pub(super) fn refused(server: &Server, problem: &Problem) -> Answer {
    problem_answer(problem, problem.zeptomail_management(&super::fresh_request_id(server)), SCHEME)
}

/// Does what is asked.
pub(super) async fn answer(server: &Server, grant: &Grant, asked: Asked) -> Result<Answer, Problem> {
    let segments: Vec<&str> = asked.segments.iter().map(String::as_str).collect();
    let body = &asked.body.bytes;
    match (segments.as_slice(), asked.method.as_str()) {
        (["email"], _) => logs::list(server, grant, &asked.query).await,
        (["email", "email-reference", id], "GET") => logs::detail(server, grant, id).await,
        (["agents"], "GET") => agents::list(server, grant).await,
        (["agents"], "POST") => agents::add(server, grant, body).await,
        (["agents", key], "GET") => agents::show(server, grant, key).await,
        (["agents", key], "PUT") => agents::change(server, grant, key, body).await,
        (["agents", key], "DELETE") => agents::remove(server, grant, key).await,
        (["agents", key, kind], "GET") => agents::keys(server, grant, key, credential_kind(kind)?).await,
        (["agents", key, kind], "POST") => agents::add_key(server, grant, key, credential_kind(kind)?).await,
        (["agents", key, kind, id], "DELETE") => {
            agents::remove_key(server, grant, key, credential_kind(kind)?, id).await
        }
        (["domains"], "GET") => domains::list(server, grant).await,
        (["domains"], "POST") => domains::add(server, grant, body).await,
        (["domains", key], "GET") => domains::show(server, grant, key).await,
        (["domains", key], "PUT") => domains::change(server, grant, key, body).await,
        (["domains", key], "DELETE") => domains::remove(server, grant, key).await,
        (["domains", key, "verify"], "PUT") => domains::verify(server, grant, key).await,
        (["suppressions", kind], method) => {
            let kind = suppressions::Kind::from_word(kind).ok_or(Problem::NoRoute)?;
            match method {
                "GET" => suppressions::list(server, grant, kind, &asked.query).await,
                "POST" => suppressions::put(server, grant, kind, body, true).await,
                "PUT" => suppressions::put(server, grant, kind, body, false).await,
                "DELETE" => suppressions::remove(server, grant, kind, body).await,
                _ => Err(Problem::Method { allowed: "GET, POST, PUT, DELETE" }),
            }
        }
        (["mailagents", agent, "templates"], "GET") => templates::list(server, grant, agent, &asked.query).await,
        (["mailagents", agent, "templates"], "POST") => templates::add(server, grant, agent, body).await,
        (["mailagents", agent, "templates", key], "GET") => templates::show(server, grant, agent, key).await,
        (["mailagents", agent, "templates", key], "PUT") => templates::change(server, grant, agent, key, body).await,
        (["mailagents", agent, "templates", key], "DELETE") => templates::remove(server, grant, agent, key).await,
        (["mailagents", agent, "templates", key, "preview"], "POST") => {
            templates::preview(server, grant, agent, key, body).await
        }
        (path, _) => Err(not_so(path)),
    }
}

/// A path that is there with another method, or not at all.
fn not_so(path: &[&str]) -> Problem {
    match path {
        ["agents" | "domains"] | ["mailagents", _, "templates"] => Problem::Method { allowed: "GET, POST" },
        ["agents" | "domains", _] | ["mailagents", _, "templates", _] => {
            Problem::Method { allowed: "GET, PUT, DELETE" }
        }
        ["agents", _, kind] if credential_kind(kind).is_ok() => Problem::Method { allowed: "GET, POST" },
        ["agents", _, kind, _] if credential_kind(kind).is_ok() => Problem::Method { allowed: "DELETE" },
        ["mailagents", _, "templates", _, "preview"] => Problem::Method { allowed: "POST" },
        ["domains", _, "verify"] => Problem::Method { allowed: "PUT" },
        ["email", "email-reference", _] => Problem::Method { allowed: "GET" },
        _ => Problem::NoRoute,
    }
}

fn credential_kind(word: &str) -> Result<CredentialKind, Problem> {
    match word {
        "apikeys" => Ok(CredentialKind::ApiKey),
        "short-passwords" => Ok(CredentialKind::SmtpPassword),
        _ => Err(Problem::NoRoute),
    }
}

/// The tenant's mail agent with this key, or of this name.
async fn agent(server: &Server, grant: &Grant, key: &str) -> Result<MailAgent, Problem> {
    let tenant = grant.tenant.id;
    let found = match server.store().agent_with_key(tenant, key).await? {
        None => server.store().agent(tenant, key).await?,
        found => found,
    };
    found.ok_or(Problem::NotFound("Mail agent"))
}

fn success(status: StatusCode, data: impl Serialize) -> Answer {
    json_answer(status, &json!({ "data": data, "status": "success" }))
}

/// A text that people gave something: at most `chars_max`, no control characters; `None` when it is absent.
fn name(fields: &Fields<'_, '_>, field: &str, chars_max: usize) -> Result<Option<String>, Flaw> {
    let Some(text) = fields.text(field)? else { return Ok(None) };
    let bad = |wrong| Err(Flaw::at(fields.path(field), wrong).showing(text));
    match text.trim() {
        text if text.chars().count() > chars_max => bad(Wrong::TooLong(chars_max)),
        text if text.chars().any(char::is_control) => {
            bad(Wrong::Other("control characters are not allowed here".into()))
        }
        text => Ok(Some(text.to_owned())),
    }
}

/// The same, and it must be there.
fn needed_name(fields: &Fields<'_, '_>, field: &str, chars_max: usize) -> Result<String, Flaw> {
    let name = name(fields, field, chars_max)?.ok_or_else(|| Flaw::at(fields.path(field), Wrong::Missing))?;
    if name.is_empty() { Err(Flaw::at(fields.path(field), Wrong::Empty)) } else { Ok(name) }
}

/// Which part of a list is wanted: `offset` and `limit`.
struct Part {
    offset: usize,
    limit: usize,
}

/// The parameters of a query, by name; the first of a name counts.
struct Query(Vec<(String, String)>);

impl Query {
    fn new(query: &str) -> Self {
        Self(form_urlencoded::parse(query.as_bytes()).into_owned().collect())
    }

    /// A parameter that is there and not empty.
    fn text(&self, name: &str) -> Option<&str> {
        let (_, value) = self.0.iter().find(|(own, _)| own == name)?;
        Some(value.as_str()).filter(|value| !value.is_empty())
    }

    fn flag(&self, name: &str) -> Result<bool, Flaw> {
        match self.text(name) {
            None | Some("false") => Ok(false),
            Some("true") => Ok(true),
            Some(other) => Err(Flaw::at(format!("/{name}"), Wrong::Type("boolean")).showing(other)),
        }
    }

    /// A point in time.
    fn time(&self, name: &str) -> Result<Option<Timestamp>, Flaw> {
        let Some(text) = self.text(name) else { return Ok(None) };
        let bad = || Flaw::at(format!("/{name}"), Wrong::Format("date-time")).showing(text);
        times::asked(text).map(Some).ok_or_else(bad)
    }

    /// The end of a span, whose last minute belongs to it.
    fn until(&self, name: &str) -> Result<Option<Timestamp>, Flaw> {
        Ok(self.time(name)?.map(|at| at + Duration::from_secs(60)))
    }

    fn part(&self, limit: usize, limit_max: usize, offset_max: usize) -> Result<Part, Flaw> {
        let number = |name: &str, default: usize, max: usize| match self.text(name) {
            None => Ok(default),
            Some(text) => {
                let bad = || Flaw::at(format!("/{name}"), Wrong::Other(format!("must be a number up to {max}")));
                text.parse().ok().filter(|number| *number <= max).ok_or_else(|| bad().showing(text))
            }
        };
        Ok(Part { offset: number("offset", 0, offset_max)?, limit: number("limit", limit, limit_max)? })
    }
}

/// Templates have words of their own for success.
fn templates_told(status: StatusCode, mut told: Value) -> Answer {
    told["message"] = "OK".into();
    told["object"] = "templates".into();
    json_answer(status, &told)
}
