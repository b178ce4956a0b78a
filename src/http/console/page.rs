//! What all pages share: the frame, forms, the headers that keep a page to itself.

use askama::Template;
use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::header::{
    CACHE_CONTROL, CONTENT_SECURITY_POLICY, CONTENT_TYPE, HeaderName, HeaderValue, REFERRER_POLICY, X_FRAME_OPTIONS,
};
use hyper::{Response, StatusCode};
use serde_json::Value;

use super::super::problem::Problem;
use super::super::server::Answer;
use super::{Fault, Page};
use crate::model::time::Timestamp;

/// Our own scripts, styles and pictures; nothing from elsewhere, nothing written into the page.
const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; \
    connect-src 'self'; frame-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'";

/// Where in the console a page belongs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Section {
    Overview,
    Agents,
    Messages,
    People,
    None,
}

/// Something to tell on top of a page.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Notice {
    pub text: String,
    pub is_bad: bool,
}

impl Notice {
    pub(super) fn good(text: impl Into<String>) -> Option<Self> {
        Some(Self { text: text.into(), is_bad: false })
    }

    pub(super) fn bad(text: impl Into<String>) -> Option<Self> {
        Some(Self { text: text.into(), is_bad: true })
    }
}

/// What is around a page.
#[derive(Clone, Debug)]
pub(super) struct Frame {
    pub title: String,
    pub section: Section,
    /// Slug and name.
    pub tenant: Option<(String, String)>,
    pub person: String,
    pub may_manage: bool,
    pub may_govern: bool,
    pub notice: Option<Notice>,
}

impl Frame {
    /// The tenant's slug; only pages of a tenant ask for it.
    pub(super) fn slug(&self) -> &str {
        self.tenant.as_ref().map_or("", |(slug, _)| slug.as_str())
    }

    /// For the entry of the menu that the page is in.
    pub(super) fn current(&self, section: &str) -> bool {
        let own = match self.section {
            Section::Overview => "overview",
            Section::Agents => "agents",
            Section::Messages => "messages",
            Section::People => "people",
            Section::None => "",
        };
        own == section
    }
}

/// The fields of a form or query, in order.
#[derive(Clone, Debug, Default)]
pub(super) struct Form(Vec<(String, String)>);

impl Form {
    pub(super) fn parse(bytes: &[u8]) -> Self {
        Self(form_urlencoded::parse(bytes).into_owned().collect())
    }

    /// The first field with this name, blanks aside; empty when there is none.
    pub(super) fn get(&self, name: &str) -> &str {
        self.0.iter().find(|(field, _)| field == name).map_or("", |(_, value)| value.trim())
    }

    /// A field as it was typed.
    pub(super) fn raw(&self, name: &str) -> &str {
        self.0.iter().find(|(field, _)| field == name).map_or("", |(_, value)| value.as_str())
    }

    /// Every value of the fields with this name.
    pub(super) fn all<'f>(&'f self, name: &'f str) -> impl Iterator<Item = &'f str> {
        self.0.iter().filter(move |(field, _)| field == name).map(|(_, value)| value.as_str())
    }

    pub(super) fn has(&self, name: &str) -> bool {
        self.0.iter().any(|(field, _)| field == name)
    }
}

/// A page as an answer.
pub(super) fn page(template: &impl Template) -> Page {
    page_with(StatusCode::OK, template)
}

pub(super) fn page_with(status: StatusCode, template: &impl Template) -> Page {
    let Ok(html) = template.render() else { return Err(Fault::Problem(Problem::Broken)) };
    let mut answer = whole(status, "text/html; charset=utf-8", html.into_bytes().into());
    guard(&mut answer, POLICY);
    Ok(answer)
}

/// A body of this type that nobody keeps.
pub(super) fn whole(status: StatusCode, content_type: &'static str, body: Bytes) -> Answer {
    let mut answer = Response::new(Full::new(body));
    *answer.status_mut() = status;
    answer.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
    answer.headers_mut().insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    answer
}

/// What a browser may do with an answer.
pub(super) fn guard(answer: &mut Answer, policy: &'static str) {
    let headers = answer.headers_mut();
    headers.insert(CONTENT_SECURITY_POLICY, HeaderValue::from_static(policy));
    headers.insert(REFERRER_POLICY, HeaderValue::from_static("no-referrer"));
    headers.insert(HeaderName::from_static("cross-origin-opener-policy"), HeaderValue::from_static("same-origin"));
    headers.insert(HeaderName::from_static("cross-origin-resource-policy"), HeaderValue::from_static("same-origin"));
    if policy == POLICY {
        headers.insert(X_FRAME_OPTIONS, HeaderValue::from_static("DENY"));
    }
}

#[derive(Template)]
#[template(path = "console/fault.html")]
struct FaultPage<'t> {
    frame: Frame,
    text: &'t str,
}

/// A page that says why there is no other.
pub(super) fn fault(status: StatusCode, text: &str) -> Answer {
    let frame = Frame {
        title: status.canonical_reason().unwrap_or("Fault").to_owned(),
        section: Section::None,
        tenant: None,
        person: String::new(),
        may_manage: false,
        may_govern: false,
        notice: None,
    };
    let plain = || whole(status, "text/plain; charset=utf-8", text.to_owned().into());
    page_with(status, &FaultPage { frame, text }).unwrap_or_else(|_| plain())
}

/// What the API says of a problem, for people.
pub(super) fn told(problem: &Problem) -> String {
    let (_, body) = problem.mailtura();
    let message = body.get("message").and_then(Value::as_str).unwrap_or("That did not work");
    let flaw = body.pointer("/validation/0");
    match flaw.and_then(|flaw| Some((flaw.get("instancePath")?.as_str()?, flaw.get("message")?.as_str()?))) {
        Some((path, why)) => format!("{}: {why}", path.trim_start_matches('/')),
        None => message.to_owned(),
    }
}

/// The JSON of one of our own answers; null when it has no body.
pub(super) async fn json_of(answer: Answer) -> Result<Value, Problem> {
    let body = answer.into_body().collect().await.map(http_body_util::Collected::to_bytes).unwrap_or_default();
    if body.is_empty() { Ok(Value::Null) } else { serde_json::from_slice(&body).map_err(|_| Problem::Broken) }
}

/// A time for people: `2026-03-01 12:30:05`, in UTC.
pub(super) fn shown(at: Timestamp) -> String {
    let text = at.rfc3339_seconds();
    text.trim_end_matches('Z').replacen('T', " ", 1)
}
