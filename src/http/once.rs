//! `Idempotency-Key`: the same POST again is answered again, and nothing is done twice.
//!
//! A door takes the turn of a request when its body is here, before it looks at what the body says, and answers at once
//! when there is none to take: with the first answer, marked `Idempotent-Replayed: true`, or with why not. What is kept is
//! the answer as it was, but for secrets that are shown once: those are in no answer a second time.

use std::sync::Arc;

use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::header::{CACHE_CONTROL, CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue, LOCATION};
use hyper::{Method, Response, StatusCode};

use super::Server;
use super::problem::Problem;
use super::server::Answer;
pub(super) use crate::intake::once::Ticket;
use crate::intake::once::{NoTurn, Turn};
use crate::model::once::Answered;
use crate::model::tenant::Grant;

/// The field that carries the key.
pub(super) const IDEMPOTENCY_KEY: &str = "idempotency-key";
const REPLAYED: HeaderName = HeaderName::from_static("idempotent-replayed");

/// The body to keep in place of an answer's own.
#[derive(Clone, Debug)]
pub(super) struct KeptInstead(pub String);

/// What a request says, for telling it from another.
#[derive(Debug)]
pub(super) struct Said {
    method: Method,
    target: String,
    key: Option<HeaderValue>,
}

impl Said {
    pub(super) fn new<B>(request: &hyper::Request<B>) -> Self {
        let target = request.uri().path_and_query().map_or("", |target| target.as_str()).to_owned();
        Self { method: request.method().clone(), target, key: key(request.headers()) }
    }
}

fn key(headers: &HeaderMap) -> Option<HeaderValue> {
    headers.get(IDEMPOTENCY_KEY).cloned()
}

/// The turn of a request: a ticket when it came with a key, or the answer that it got before.
///
/// # Errors
/// Why it has no turn.
pub(super) async fn turn(
    server: &Server,
    grant: &Grant,
    said: &Said,
    body: &[u8],
) -> Result<Result<Option<Arc<Ticket>>, Answer>, Problem> {
    let Some(key) = said.key.as_ref().filter(|_| said.method == Method::POST) else { return Ok(Ok(None)) };
    // What is no text is no key either.
    let text = key.to_str().unwrap_or_default();
    let parts = [said.method.as_str().as_bytes(), said.target.as_bytes(), body];
    match server.intake().turn(grant, text, &parts).await {
        Ok(Turn::First(ticket)) => Ok(Ok(Some(Arc::new(ticket)))),
        Ok(Turn::Again(answered)) => Ok(Err(replay(answered))),
        Err(NoTurn::Unavailable) => Err(Problem::Unavailable),
        Err(why) => Err(Problem::NoTurn(why)),
    }
}

/// Keeps an answer that its work has not kept itself, if it tells of something done.
pub(super) async fn keep(server: &Server, ticket: Option<&Arc<Ticket>>, answer: &Answer) {
    let Some(ticket) = ticket.filter(|ticket| answer.status().is_success() && !ticket.is_kept()) else { return };
    let location = answer.headers().get(LOCATION).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let body = match answer.extensions().get::<KeptInstead>() {
        Some(KeptInstead(body)) => body.clone(),
        // Bodies of ours are whole, and cannot fail to be read.
        None => match answer.body().clone().collect().await {
            Ok(body) => String::from_utf8_lossy(&body.to_bytes()).into_owned(),
            Err(never) => match never {},
        },
    };
    let answered = Answered { status: answer.status().as_u16(), location: location.to_owned(), body };
    server.intake().keep(ticket, answered).await;
}

/// An answer of JSON, as it was given or is given now.
pub(super) fn told(answered: Answered) -> Answer {
    let mut answer = Response::new(Full::new(Bytes::from(answered.body)));
    *answer.status_mut() = StatusCode::from_u16(answered.status).unwrap_or(StatusCode::OK);
    let headers = answer.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    if let (false, Ok(location)) = (answered.location.is_empty(), HeaderValue::try_from(answered.location)) {
        headers.insert(LOCATION, location);
    }
    answer
}

fn replay(answered: Answered) -> Answer {
    let mut answer = told(answered);
    answer.headers_mut().insert(REPLAYED, HeaderValue::from_static("true"));
    answer
}
