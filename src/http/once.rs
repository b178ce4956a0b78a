//! `Idempotency-Key`: the same POST again is answered again, and nothing is done twice.
//!
//! A door takes the turn of a request when its body is here, before it looks at what the body says, and answers at once
//! when there is none to take: with the first answer, marked `Idempotent-Replayed: true`, or with why not. What is kept is
//! the answer to what was done, but for secrets, which are shown once: those are in no answer a second time. A request that
//! was refused has done nothing, and its key is free.

use std::sync::Arc;

use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::header::{CACHE_CONTROL, CONTENT_TYPE, HeaderName, HeaderValue, LOCATION};
use hyper::{Method, Request, Response, StatusCode};

use super::brake::Left;
use super::memory::Owner;
use super::operation::Operation;
use super::problem::Problem;
use super::server::Answer;
use super::{Server, body};
pub(super) use crate::intake::once::Ticket;
use crate::intake::once::{NoTurn, Turn};
use crate::model::once::Answered;
use crate::model::tenant::Grant;

/// The field that carries the key.
const IDEMPOTENCY_KEY: &str = "idempotency-key";
const REPLAYED: HeaderName = HeaderName::from_static("idempotent-replayed");

/// The body to keep in place of an answer's own.
#[derive(Clone, Debug)]
pub(super) struct KeptInstead(pub String);

/// Carries out a request of a key that has requests left, and once only when it comes with an `Idempotency-Key`. What the
/// key has left is put into `left` as soon as that is known. Once begun, `work` is finished, whether the client waits or
/// not.
///
/// # Errors
/// What stands in its way, or what `work` says.
pub(super) async fn carry_out<W>(
    server: &Server,
    grant: &Grant,
    request: &mut Request<Incoming>,
    operation: &Operation,
    left: &mut Option<Left>,
    work: impl FnOnce(body::Read, Option<Arc<Ticket>>) -> W,
) -> Result<Answer, Problem>
where
    W: Future<Output = Result<Answer, Problem>> + Send + 'static,
{
    server.spend(grant, left)?;
    operation.is_for(grant)?;
    let owner = Owner::Tenant(grant.tenant.id);
    let body = body::read(server.0.memory.share(owner), request, operation.bytes_max(server)).await?;
    let ticket = match turn(server, grant, request, &body.bytes).await? {
        Ok(ticket) => ticket,
        Err(replay) => return Ok(replay),
    };
    let reserved = ticket.clone().filter(|_| !operation.is_send);
    let (work, method) = (work(body, ticket.clone()), request.method().clone());
    let (share, server) = (server.0.memory.share(owner), server.clone());
    let answer = super::finish(async move {
        if let Some(ticket) = &reserved {
            server.intake().reserve(ticket).await.map_err(no_turn)?;
        }
        let answer = match (work.await, &ticket) {
            (Err(Problem::NoTurn(NoTurn::Running)), Some(ticket)) => {
                return server.intake().answered_elsewhere(ticket).await.map(replay).map_err(no_turn);
            }
            (answer, _) => answer,
        };
        match (&answer, &reserved) {
            (Ok(answer), _) if answer.status().is_success() => keep(&server, ticket.as_ref(), answer).await,
            (_, Some(ticket)) => server.intake().give_back(ticket).await,
            (_, None) => {}
        }
        answer
    })
    .await?;
    share.hold(&method, answer).await
}

fn no_turn(why: NoTurn) -> Problem {
    match why {
        NoTurn::Unavailable => Problem::Unavailable,
        why => Problem::NoTurn(why),
    }
}

/// The turn of a request: a ticket when it came with a key, or the answer that it got before.
async fn turn(
    server: &Server,
    grant: &Grant,
    request: &Request<Incoming>,
    body: &[u8],
) -> Result<Result<Option<Arc<Ticket>>, Answer>, Problem> {
    let key = request.headers().get(IDEMPOTENCY_KEY).filter(|_| request.method() == Method::POST);
    let Some(key) = key else { return Ok(Ok(None)) };
    // What is no text is no key either.
    let text = key.to_str().unwrap_or_default();
    let target = request.uri().path_and_query().map_or("", |target| target.as_str());
    let parts = [request.method().as_str().as_bytes(), target.as_bytes(), body];
    match server.intake().turn(grant, text, &parts).await {
        Ok(Turn::First(ticket)) => Ok(Ok(Some(Arc::new(ticket)))),
        Ok(Turn::Again(answered)) => Ok(Err(replay(answered))),
        Err(why) => Err(no_turn(why)),
    }
}

/// Keeps the answer to what was done, where its work has not kept it itself.
async fn keep(server: &Server, ticket: Option<&Arc<Ticket>>, answer: &Answer) {
    let Some(ticket) = ticket.filter(|ticket| !ticket.is_kept()) else { return };
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
