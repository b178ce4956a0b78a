//! Pixel and redirect. Every answer is made from the token alone; the hit is handed on and described later. How long the
//! answer waits for it, if at all, is intake's affair.
//!
//! | path | GET | HEAD | other | bad token | blocked |
//! |---|---|---|---|---|---|
//! | `/o/<token>` | pixel, counts | pixel | 405 | pixel, counts nothing | |
//! | `/c/<token>` | 302, counts | 302 | 405 | 404 page without any link | 410 page |
//! | `/robots.txt` | disallow all | same | 405 | | |
//! | `/.well-known/apple-app-site-association`, `/.well-known/assetlinks.json` | the tracking host's file, or 404 | same | 405 | | |
//! | `/.well-known/postback/<challenge>` | proof that we answer under this host | same | 405 | | |
//!
//! A token is good only under the host that it was sealed for, as the request names it. Who brings many bad ones gets a
//! bare 404 for the next; good ones work for everybody. Unsubscribe links are answered
//! elsewhere.

mod guesses;

use std::net::IpAddr;

use bytes::Bytes;
use http_body_util::Full;
use hyper::header::{
    ALLOW, AUTHORIZATION, CACHE_CONTROL, CONNECTION, CONTENT_SECURITY_POLICY, CONTENT_TYPE, COOKIE, EXPIRES, HOST,
    HeaderMap, HeaderName, HeaderValue, LOCATION, PRAGMA, PROXY_AUTHORIZATION, REFERRER_POLICY,
    STRICT_TRANSPORT_SECURITY, USER_AGENT,
};
use hyper::{Method, Request, Response, StatusCode};

pub(super) use guesses::Guesses;

use super::client::{client_address, forwarded};
use super::counters::add;
use super::server::{Answer, Peer};
use super::{Server, Settings};
use crate::intake::hit;
use crate::mail::target;
use crate::model::hit::HitRequest;

/// The transparent pixel: GIF89a, 1 × 1, 43 bytes.
const PIXEL: &[u8; 43] = b"GIF89a\x01\x00\x01\x00\x80\x00\x00\x00\x00\x00\xff\xff\xff\x21\xf9\x04\x01\x00\x00\x00\x00\
    \x2c\x00\x00\x00\x00\x01\x00\x01\x00\x00\x02\x02\x44\x01\x00\x3b";

/// What proves to our own check that this installation answers under a host.
pub const CHALLENGE_PATH: &str = "/.well-known/postback/";
/// The longest challenge that is answered.
const CHALLENGE_CHARS_MAX: usize = 64;

/// Our own pages for a link that leads nowhere. No link out of them, nothing loaded.
const NOWHERE: &str = "<!doctype html>\n<html lang=\"en\"><meta charset=\"utf-8\"><title>Link not found</title>\n\
    <h1>This link is not known</h1>\n<p>It may be incomplete, or it has been withdrawn.</p></html>\n";

const BLOCKED: &str = "<!doctype html>\n<html lang=\"en\"><meta charset=\"utf-8\"><title>Link withdrawn</title>\n\
    <h1>This link has been withdrawn</h1>\n<p>Whoever runs this mail system has taken it out of service.</p></html>\n";

const ROBOTS: &str = "User-agent: *\nDisallow: /\n";

/// A redirect's body stays below this size.
const REDIRECT_BODY_BYTES: usize = 200;

/// Header fields of a request that are kept for judging it, and bytes of them all: hits may wait in great number.
const FIELDS_MAX: usize = 64;
const FIELDS_BYTES_MAX: usize = 4 * 1024;
/// Bytes of `User-Agent` that are kept.
const USER_AGENT_BYTES_MAX: usize = 1_024;

/// Header fields that tell nothing about who asks, are told otherwise, or are nobody's business.
const DROPPED: [HeaderName; 8] = [
    AUTHORIZATION,
    CONNECTION,
    COOKIE,
    HOST,
    HeaderName::from_static("x-forwarded-for"),
    HeaderName::from_static("x-forwarded-proto"),
    PROXY_AUTHORIZATION,
    USER_AGENT,
];

/// The answer when the path is one of ours; `None` leaves the request to the APIs.
pub(super) async fn answer<B>(server: &Server, request: &Request<B>, peer: Peer) -> Option<Answer> {
    let path = request.uri().path();
    let (token, is_link) = match path.as_bytes() {
        [b'/', b'o', b'/', ..] => (&path[3..], false),
        [b'/', b'c', b'/', ..] => (&path[3..], true),
        _ => return known_file(server, request),
    };
    let is_get = request.method() == Method::GET;
    if !is_get && request.method() != Method::HEAD {
        return Some(wrong_method());
    }
    let settings = server.settings();
    let counters = &server.0.counters;
    let opened = host(request).and_then(|host| server.intake().open(host, token));
    let is_fit = |opened: &hit::Opened| match opened.answer {
        hit::Answer::Pixel => !is_link,
        hit::Answer::Redirect(_) => is_link,
        hit::Answer::Unsubscribe(_) => false,
    };
    let opened = opened.filter(is_fit);
    let Some(opened) = opened else {
        add(&counters.bad_tokens, 1);
        let who = address(settings, request.headers(), peer.ip);
        return Some(match server.0.guesses.is_enough(who, server.clock().now()) {
            true => answered(StatusCode::NOT_FOUND, "", &[(CACHE_CONTROL, "no-store")]),
            false if is_link => page(StatusCode::NOT_FOUND, NOWHERE),
            false => pixel(),
        });
    };
    let target = match &opened.answer {
        hit::Answer::Redirect(target) => target.as_str(),
        hit::Answer::Pixel | hit::Answer::Unsubscribe(_) => "",
    };
    if is_link && server.intake().is_blocked(opened.delivery, target).await {
        return Some(page(StatusCode::GONE, BLOCKED));
    }
    add(&counters.hits, 1);
    let described = described(settings, request, peer, is_get);
    let is_https = described.is_https;
    let mut answer = if is_link { redirect(target) } else { pixel() };
    server.intake().hit(&opened, described).await;
    if is_https && host(request).is_some_and(|host| server.intake().tracking_host(host).is_some()) {
        // Not for subdomains and not preloaded: the name above is the customer's.
        answer.headers_mut().insert(STRICT_TRANSPORT_SECURITY, HeaderValue::from_static("max-age=31536000"));
    }
    Some(answer)
}

/// Files that others look for under a tracking host.
fn known_file<B>(server: &Server, request: &Request<B>) -> Option<Answer> {
    let path = request.uri().path();
    let tracking_host = || host(request).and_then(|host| server.intake().tracking_host(host));
    let (content_type, text) = match path {
        "/robots.txt" => ("text/plain; charset=utf-8", Some(ROBOTS.to_owned())),
        "/.well-known/apple-app-site-association" => {
            ("application/json", tracking_host().map(|host| host.apple_links.clone()))
        }
        "/.well-known/assetlinks.json" => ("application/json", tracking_host().map(|host| host.android_links.clone())),
        _ => {
            let challenge = path.strip_prefix(CHALLENGE_PATH)?;
            let is_fit =
                challenge.len() <= CHALLENGE_CHARS_MAX && challenge.bytes().all(|byte| byte.is_ascii_hexdigit());
            let proof = host(request).filter(|_| is_fit).and_then(|host| server.intake().proof(host, challenge));
            ("text/plain; charset=utf-8", proof.map(|proof| proof_text(&proof)))
        }
    };
    if !matches!(*request.method(), Method::GET | Method::HEAD) {
        return Some(wrong_method());
    }
    Some(match text.filter(|text| !text.is_empty()) {
        Some(text) if path.starts_with(CHALLENGE_PATH) => {
            answered(StatusCode::OK, text, &[(CONTENT_TYPE, content_type), (CACHE_CONTROL, "no-store")])
        }
        Some(text) => answered(StatusCode::OK, text, &[(CONTENT_TYPE, content_type), (CACHE_CONTROL, "max-age=86400")]),
        None => page(StatusCode::NOT_FOUND, NOWHERE),
    })
}

/// A proof as it stands in the answer to a challenge.
pub fn proof_text(proof: &[u8; 32]) -> String {
    proof.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// The host that the request is for, with its port: of the target when that is absolute, else of `Host`.
pub(super) fn host<B>(request: &Request<B>) -> Option<&str> {
    match request.uri().authority() {
        Some(authority) => Some(authority.as_str()),
        None => request.headers().get(HOST)?.to_str().ok(),
    }
}

fn described<B>(settings: &Settings, request: &Request<B>, peer: Peer, is_get: bool) -> HitRequest {
    let headers = request.headers();
    let is_proxied = settings.trusted_proxies.iter().any(|network| network.has(peer.ip));
    let says_https = || headers.get("x-forwarded-proto").is_some_and(|value| value.as_bytes() == b"https");
    HitRequest {
        is_get,
        ip: Some(address(settings, headers, peer.ip)),
        user_agent: headers.get(USER_AGENT).map(|value| text(value, USER_AGENT_BYTES_MAX)).unwrap_or_default(),
        headers: kept(headers),
        is_https: peer.is_tls || (is_proxied && says_https()),
    }
}

fn kept(headers: &HeaderMap) -> Vec<(String, String)> {
    let mut left = FIELDS_BYTES_MAX;
    let mut kept = Vec::with_capacity(headers.len().min(FIELDS_MAX));
    for (name, value) in headers.iter().filter(|(name, _)| !DROPPED.contains(name)).take(FIELDS_MAX) {
        let Some(rest) = left.checked_sub(name.as_str().len() + value.len()) else { break };
        left = rest;
        kept.push((name.as_str().to_owned(), text(value, value.len())));
    }
    kept
}

fn text(value: &HeaderValue, bytes_max: usize) -> String {
    let bytes = value.as_bytes();
    String::from_utf8_lossy(bytes.get(..bytes_max).unwrap_or(bytes)).into_owned()
}

fn address(settings: &Settings, headers: &HeaderMap, peer: IpAddr) -> IpAddr {
    client_address(peer, forwarded(headers), &settings.trusted_proxies)
}

fn answered(status: StatusCode, body: impl Into<Bytes>, fields: &[(HeaderName, &'static str)]) -> Answer {
    let mut answer = Response::new(Full::new(body.into()));
    *answer.status_mut() = status;
    // Room for what is added on the way out too: a header map that grows is hashed anew.
    answer.headers_mut().reserve(fields.len() + 3);
    for (name, value) in fields {
        answer.headers_mut().insert(name, HeaderValue::from_static(value));
    }
    answer
}

fn pixel() -> Answer {
    const FIELDS: [(HeaderName, &str); 6] = [
        (CONTENT_TYPE, "image/gif"),
        (CACHE_CONTROL, "no-store, no-cache, max-age=0, private"),
        (PRAGMA, "no-cache"),
        (EXPIRES, "0"),
        (REFERRER_POLICY, "no-referrer"),
        (HeaderName::from_static("cross-origin-resource-policy"), "cross-origin"),
    ];
    answered(StatusCode::OK, Bytes::from_static(PIXEL), &FIELDS)
}

/// What a page of ours carries.
const PAGE: [(HeaderName, &str); 5] = [
    (CONTENT_TYPE, "text/html; charset=utf-8"),
    (CACHE_CONTROL, "no-store"),
    (REFERRER_POLICY, "no-referrer"),
    (CONTENT_SECURITY_POLICY, "default-src 'none'"),
    (HeaderName::from_static("x-robots-tag"), "noindex"),
];

/// 302, since 301 and 308 are cached and 307 would keep a POST.
fn redirect(target: &str) -> Answer {
    let target = target::location(target);
    let Ok(location) = HeaderValue::from_str(&target) else { return page(StatusCode::NOT_FOUND, NOWHERE) };
    // `location` leaves no quote, bracket or blank; a long target is not worth repeating.
    let link = format!("<a href=\"{}\">Continue</a>\n", target.replace('&', "&amp;").replace('\'', "&#39;"));
    let body = if link.len() < REDIRECT_BODY_BYTES { link } else { "Continue\n".to_owned() };
    let mut answer = answered(StatusCode::FOUND, body, &PAGE);
    answer.headers_mut().insert(LOCATION, location);
    answer
}

fn page(status: StatusCode, body: &'static str) -> Answer {
    answered(status, body, &PAGE)
}

fn wrong_method() -> Answer {
    answered(StatusCode::METHOD_NOT_ALLOWED, "", &[(ALLOW, "GET, HEAD"), (CACHE_CONTROL, "no-store")])
}
