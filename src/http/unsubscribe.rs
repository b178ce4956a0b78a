//! The unsubscribe page, and the one-click POST of RFC 8058.
//!
//! | `/u/<token>` | answer |
//! |---|---|
//! | GET, HEAD | a page with one button; nothing changes, since scanners follow links too |
//! | POST | the recipient is left alone by the mail agent from now on; 200 |
//! | a bad token | 404 page |
//! | the store is away | 503 |
//!
//! No cookie, no question, no redirect: mailbox providers post from afar (RFC 8058 §3.1). What the body says does not
//! matter, the token says it all.

use http_body_util::Full;
use hyper::body::Incoming;
use hyper::header::{
    ALLOW, CACHE_CONTROL, CONTENT_SECURITY_POLICY, CONTENT_TYPE, HeaderValue, REFERRER_POLICY, RETRY_AFTER,
};
use hyper::{Method, Request, Response, StatusCode};

use super::Server;
use super::problem::RETRY_AFTER_SECS;
use super::server::Answer;
use super::track::host;
use crate::intake::unsubscribe::Unsubscribed;

const ASKING: &str = "<h1>Unsubscribe</h1>\n<form method=\"post\">\n\
    <input type=\"hidden\" name=\"List-Unsubscribe\" value=\"One-Click\">\n\
    <p>You get no more mail of this kind after this.</p>\n<p><button>Unsubscribe</button></p>\n</form>";
const DONE: &str = "<h1>Unsubscribed</h1>\n<p>You get no more mail of this kind.</p>";
const UNKNOWN: &str = "<h1>This link is not known</h1>\n<p>It may be incomplete, or older than we remember.</p>";
const AWAY: &str = "<h1>Please try again</h1>\n<p>This could not be written down just now.</p>";

/// The answer when the path is ours; `None` leaves the request to others.
pub(super) async fn answer(server: &Server, request: &Request<Incoming>) -> Option<Answer> {
    let token = request.uri().path().strip_prefix("/u/")?;
    let Some(delivery) = host(request).and_then(|host| server.intake().unsubscribing(host, token)) else {
        return Some(page(StatusCode::NOT_FOUND, UNKNOWN));
    };
    match *request.method() {
        Method::GET | Method::HEAD => Some(page(StatusCode::OK, ASKING)),
        Method::POST => Some(match server.intake().unsubscribe(delivery).await {
            Ok(Unsubscribed::Done) => page(StatusCode::OK, DONE),
            Ok(Unsubscribed::Forgotten) => page(StatusCode::NOT_FOUND, UNKNOWN),
            Err(_) => {
                let mut answer = page(StatusCode::SERVICE_UNAVAILABLE, AWAY);
                answer.headers_mut().insert(RETRY_AFTER, HeaderValue::from(RETRY_AFTER_SECS));
                answer
            }
        }),
        _ => {
            let mut answer = page(StatusCode::METHOD_NOT_ALLOWED, UNKNOWN);
            answer.headers_mut().insert(ALLOW, HeaderValue::from_static("GET, HEAD, POST"));
            Some(answer)
        }
    }
}

fn page(status: StatusCode, body: &str) -> Answer {
    let text = format!(
        "<!doctype html>\n<html lang=\"en\"><meta charset=\"utf-8\">\
         <meta name=\"viewport\" content=\"width=device-width\"><title>Unsubscribe</title>\n{body}</html>\n"
    );
    let mut answer = Response::new(Full::new(text.into()));
    *answer.status_mut() = status;
    let headers = answer.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("text/html; charset=utf-8"));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    headers.insert(REFERRER_POLICY, HeaderValue::from_static("no-referrer"));
    headers.insert(CONTENT_SECURITY_POLICY, HeaderValue::from_static("default-src 'none'; form-action 'self'"));
    headers.insert("x-robots-tag", HeaderValue::from_static("noindex"));
    answer
}
