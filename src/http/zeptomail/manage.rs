//! What manages: mail agents and their keys, templates, and what became of mails.
//!
//! `Authorization: Zoho-oauthtoken <access token>`, good for the whole tenant of its key. Answers are `data` and
//! `"status": "success"`, a removal 204 without a body; refusals carry what the official clients read beside what all
//! refusals of this surface carry. Bodies where none belong are read and ignored: the clients send `{}` with a GET.

pub(super) mod agents;
pub(super) mod domains;
pub(super) mod logs;
pub(super) mod suppressions;
pub(super) mod templates;

use std::time::Duration;

use hyper::header::AUTHORIZATION;
use hyper::{Method, Request, StatusCode};
use serde::Serialize;
use serde_json::{Value, json};

use super::super::problem::Problem;
use super::super::server::Answer;
use super::super::wire::{Fields, Flaw, Wrong};
use super::super::{Server, header, json_answer, problem_answer, query};
use super::times;
use crate::model::tenant::{Grant, MailAgent};
use crate::model::time::Timestamp;
pub(in crate::http) use logs::Walks;

/// Before the access token, in any case of letters.
const SCHEME: &str = "Zoho-oauthtoken";

/// Largest body: a template's texts.
pub(super) const BODY_BYTES_MAX: usize = 4 << 20;

/// Whether a path is for what manages.
pub(super) fn is_for(method: &Method, path: &str) -> bool {
    let mut segments = path.split('/').skip(2);
    match (segments.next(), segments.next()) {
        (Some("agents" | "mailagents" | "suppressions" | "domains"), _) | (Some("email"), Some("email-reference")) => {
            true
        }
        (Some("email"), None | Some("")) => method == Method::GET,
        _ => false,
    }
}

/// The access token, after its scheme.
pub(super) fn token<T>(request: &Request<T>) -> Option<&str> {
    let (scheme, token) = header(request.headers(), AUTHORIZATION.as_str())?.split_once(' ')?;
    scheme.eq_ignore_ascii_case(SCHEME).then(|| token.trim())
}

/// A problem in the words of what manages.
pub(super) fn refused(server: &Server, problem: &Problem) -> Answer {
    problem_answer(problem, problem.zeptomail_management(&super::fresh_request_id(server)), SCHEME)
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

/// The parameters of a query, as this API means them.
struct Query<'q>(&'q query::Query);

impl<'q> Query<'q> {
    /// A parameter that is there and not empty.
    fn text(&self, name: &str) -> Option<&'q str> {
        self.0.text(name)
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
