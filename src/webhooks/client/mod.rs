//! Makes the POST: vet, connect, send, read a little of the answer.
//!
//! The receiver is a stranger. Every connection goes through `egress::Guard`; nothing is followed, decompressed or
//! read to the end; one deadline stands over everything. Connections are kept and used again (`pool`). A kept one
//! that turns out closed before any byte of an answer gets one instant repetition on a fresh connection.
//!
//! What went wrong is told in the closed list of [`Fault`]; it names no address and no resolver.

mod connection;
mod identities;
mod outcome;
mod pool;
#[cfg(test)]
mod tests;

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::body::{Body, Incoming};
use hyper::header::{ACCEPT_ENCODING, CONTENT_TYPE, HOST, HeaderMap, HeaderName, HeaderValue, LOCATION, USER_AGENT};
use hyper::{Method, StatusCode, Uri};
use tokio::time::timeout;
use url::Position;

pub use outcome::Fault;

use self::connection::{Connection, Line};
use self::identities::Identities;
use self::pool::{Key, Pool};
use super::formats::Request;
use crate::clock::{Clock, Stopwatch};
use crate::egress::{Access, Guard, Identity, Reached, Trust, Vetted};
use crate::model::webhook::Post;
use crate::model::webhook_attempt::ARRIVED_BODY_KEPT_BYTES_MAX;
use crate::model::webhook_options::TIMEOUT_SECS_MAX;

/// What one POST may take.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// The TLS handshake.
    pub tls: Duration,
    /// Everything, the body of the answer included.
    pub total: Duration,
    /// Status line and headers of the answer.
    pub head_bytes: usize,
    /// What is read of the body of the answer.
    pub body_bytes: usize,
    /// How long an unused connection is kept.
    pub idle: Duration,
    /// Unused connections kept to one host and port.
    pub idle_per_host: usize,
    /// Unused connections kept in all.
    pub idle_total: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            tls: Duration::from_secs(5),
            total: Duration::from_secs(TIMEOUT_SECS_MAX.into()),
            head_bytes: 32 * 1024,
            body_bytes: 16 * 1024,
            idle: Duration::from_secs(30),
            idle_per_host: 64,
            idle_total: 1024,
        }
    }
}

/// How long the beginning of a body is waited for that is not read to its end anyway.
const BEGINNING_WAIT: Duration = Duration::from_millis(50);
/// What the system takes in of an answer that we have not read yet: more than any that is read to its end has.
const UNREAD_BYTES_MAX: u32 = 32 * 1024;

/// How long each part took; `None` for what did not happen or did not end.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Timings {
    /// The look-up; nearly nothing for an address.
    pub dns: Option<Duration>,
    /// The connection.
    pub connect: Option<Duration>,
    /// The TLS handshake.
    pub tls: Option<Duration>,
    /// From the start of all to the headers of the answer.
    pub head: Option<Duration>,
    /// Everything.
    pub total: Duration,
}

/// What came of a POST.
#[derive(Clone, Debug)]
pub struct Answer {
    /// What it came to.
    pub post: Post,
    /// What went wrong, when something did.
    pub fault: Option<Fault>,
    /// The status of the answer.
    pub status: Option<u16>,
    /// The headers of the answer.
    pub headers: HeaderMap,
    /// The first bytes of the body, at most [`Limits::body_bytes`]; nothing of what the operator excepted from the
    /// rules for strangers, since tenants see this.
    pub body_head: Vec<u8>,
    /// How long each part took.
    pub timings: Timings,
    /// Whom we were connected to.
    pub peer: Option<SocketAddr>,
    /// Whether the connection had been used before.
    pub is_reused: bool,
    /// Version and cipher of TLS; empty without.
    pub tls: String,
    /// The operator excepted the destination from the rules for strangers: tenants see no more than the status.
    pub is_hidden: bool,
}

/// Where to post, and how to speak there.
#[derive(Clone, Copy)]
pub struct Destination<'d> {
    /// The URL.
    pub url: &'d str,
    /// What its TLS wants.
    pub identity: Identity<'d>,
    /// How long it has for everything; [`Limits::total`] where that is less.
    pub timeout: Duration,
}

impl Answer {
    /// The host that a redirect names, which is not followed.
    pub fn redirect_host(&self) -> Option<String> {
        let is_redirect = self.status.is_some_and(|status| (300..400).contains(&status));
        let location = self.headers.get(LOCATION).filter(|_| is_redirect)?.to_str().ok()?;
        url::Url::parse(location).ok()?.host_str().map(str::to_owned)
    }
}

/// Sends requests to webhooks. One for the whole program.
#[derive(Debug)]
pub struct Client {
    guard: Arc<Guard>,
    identities: Identities,
    pool: Arc<Pool>,
    clock: Clock,
    limits: Limits,
}

impl Client {
    /// A client that connects through `guard` and believes whom `trust` believes.
    pub fn new(guard: Arc<Guard>, trust: Trust, clock: Clock, limits: Limits) -> Self {
        let pool = Pool::new(limits.idle, limits.idle_per_host, limits.idle_total);
        Self { guard, identities: Identities::new(trust), pool, clock, limits }
    }

    /// Posts `request`. Always answers, within the destination's time.
    pub async fn post(&self, to: Destination<'_>, request: &Request) -> Answer {
        let mut course = Course::default();
        let limit = to.timeout.min(self.limits.total);
        let fault = match timeout(limit, self.exchange(to, request, &mut course)).await {
            Ok(Ok(())) => None,
            Ok(Err(fault)) => Some(fault),
            Err(_) => Some(course.phase.overrun()),
        };
        course.timings.total = course.watch.elapsed();
        let Course { status, headers, body_head, timings, peer, is_reused, tls, is_hidden, .. } = course;
        // Once there is a status it decides, whatever became of the body.
        let fault = match status {
            Some(status) if status.is_success() => None,
            Some(_) => Some(Fault::Status),
            None => fault.or(Some(Fault::Broken)),
        };
        let post = outcome::post(status, fault, &headers, self.clock.now());
        let status = status.map(|status| status.as_u16());
        Answer { post, fault, status, headers, body_head, timings, peer, is_reused, tls, is_hidden }
    }

    /// For what must not be posted: nobody is asked anything.
    pub fn kept_back(&self, fault: Fault) -> Answer {
        let Course { headers, body_head, timings, tls, .. } = Course::default();
        let post = outcome::post(None, Some(fault), &headers, self.clock.now());
        Answer {
            post,
            fault: Some(fault),
            status: None,
            headers,
            body_head,
            timings,
            peer: None,
            is_reused: false,
            tls,
            is_hidden: false,
        }
    }

    async fn exchange(&self, to: Destination<'_>, request: &Request, course: &mut Course) -> Result<(), Fault> {
        let vetted = self.guard.vet(to.url).map_err(Fault::Blocked)?;
        let prepared = prepared(&vetted, request)?;
        let key = Key::of(&vetted, to.identity);
        if let Some(kept) = self.pool.take(&key) {
            course.is_reused = true;
            match self.send(kept, &key, prepared.clone(), course).await {
                Err(Lost::Unanswered(_)) => course.is_reused = false,
                Err(Lost::Fault(fault)) => return Err(fault),
                Ok(()) => return Ok(()),
            }
        }
        let fresh = self.connect(&vetted, to.identity, course).await?;
        self.send(fresh, &key, prepared, course).await.map_err(|lost| match lost {
            Lost::Unanswered(fault) | Lost::Fault(fault) => fault,
        })
    }

    async fn connect(&self, vetted: &Vetted, identity: Identity<'_>, course: &mut Course) -> Result<Connection, Fault> {
        let mut lap = Stopwatch::start();
        let mut split = || std::mem::replace(&mut lap, Stopwatch::start()).elapsed();
        course.phase = Phase::Dns;
        let pinned = self.guard.pin(vetted).await?;
        course.timings.dns = Some(split());
        course.phase = Phase::Connect;
        let Reached { stream, peer } = self.guard.connect_reading(&pinned, Some(UNREAD_BYTES_MAX)).await?;
        course.timings.connect = Some(split());
        let line = Line { peer: Some(peer), access: pinned.access(), tls: String::new() };
        course.peer = line.peer;
        if !vetted.is_https() {
            return Connection::open(stream, line, self.limits.head_bytes).await;
        }
        course.phase = Phase::Tls;
        let name = connection::server_name(vetted)?;
        let connector = self.identities.connector(identity)?;
        let handshake = timeout(self.limits.tls, connector.connect(name, stream)).await;
        let stream = handshake.map_err(|_| Fault::TlsTimeout)?.map_err(|error| outcome::tls_fault(&error))?;
        course.timings.tls = Some(split());
        let unproved = if identity.is_anybody { ", unproved" } else { "" };
        let line = Line { tls: connection::tls_spoken(stream.get_ref().1) + unproved, ..line };
        Connection::open(stream, line, self.limits.head_bytes).await
    }

    async fn send(
        &self,
        mut connection: Connection,
        key: &Key,
        request: hyper::Request<Full<Bytes>>,
        course: &mut Course,
    ) -> Result<(), Lost> {
        course.phase = Phase::Http;
        course.peer = connection.line.peer;
        course.tls.clone_from(&connection.line.tls);
        course.is_hidden = connection.line.access == Access::Exception;
        let response = match connection.exchange(request, 2 * (self.limits.head_bytes + self.limits.body_bytes)).await {
            Ok(response) => response,
            Err(error) if connection.is_silent() => return Err(Lost::Unanswered(outcome::http_fault(&error))),
            Err(error) => return Err(Lost::Fault(outcome::http_fault(&error))),
        };
        course.timings.head = Some(course.watch.elapsed());
        let (head, body) = response.into_parts();
        course.status = Some(head.status);
        course.headers = head.headers;
        let shown = if course.is_hidden { None } else { Some(&mut course.body_head) };
        let (bytes, wait) = self.worth(head.status, &body);
        let is_whole = timeout(wait, read_body(body, bytes, shown)).await.is_ok_and(|is_whole| is_whole);
        if is_whole && connection.settles().await {
            self.pool.put(key, connection);
        }
        Ok(())
    }

    /// How much of a body is read, and for how long it is waited for. Of a 2xx whose body is announced to be longer than
    /// what is read of any, no more than is kept, and not for long: it has arrived, and the connection cannot be kept.
    fn worth(&self, status: StatusCode, body: &Incoming) -> (usize, Duration) {
        let bytes = self.limits.body_bytes;
        let is_too_long = body.size_hint().lower() > u64::try_from(bytes).unwrap_or(u64::MAX);
        match is_too_long && status.is_success() {
            true => (bytes.min(ARRIVED_BODY_KEPT_BYTES_MAX), BEGINNING_WAIT),
            false => (bytes, self.limits.total),
        }
    }
}

/// A connection came to nothing.
enum Lost {
    /// It closed before any byte of an answer.
    Unanswered(Fault),
    /// It broke in another way.
    Fault(Fault),
}

/// Where a POST is, and what it has learned so far.
struct Course {
    watch: Stopwatch,
    phase: Phase,
    status: Option<StatusCode>,
    headers: HeaderMap,
    body_head: Vec<u8>,
    timings: Timings,
    peer: Option<SocketAddr>,
    is_reused: bool,
    tls: String,
    is_hidden: bool,
}

impl Default for Course {
    fn default() -> Self {
        Self {
            watch: Stopwatch::start(),
            phase: Phase::Dns,
            status: None,
            headers: HeaderMap::new(),
            body_head: Vec::new(),
            timings: Timings::default(),
            peer: None,
            is_reused: false,
            tls: String::new(),
            is_hidden: false,
        }
    }
}

#[derive(Clone, Copy)]
enum Phase {
    Dns,
    Connect,
    Tls,
    Http,
}

impl Phase {
    fn overrun(self) -> Fault {
        match self {
            Phase::Dns => Fault::DnsTimeout,
            Phase::Connect => Fault::ConnectTimeout,
            Phase::Tls => Fault::TlsTimeout,
            Phase::Http => Fault::HttpTimeout,
        }
    }
}

/// The request as it goes out, made from the vetted reading of the URL only. What we must not say twice we say last.
fn prepared(vetted: &Vetted, request: &Request) -> Result<hyper::Request<Full<Bytes>>, Fault> {
    let url = vetted.url();
    let host = url.port().map_or_else(|| vetted.host().to_owned(), |port| format!("{}:{port}", vetted.host()));
    let mut prepared = hyper::Request::new(Full::new(request.body.clone()));
    *prepared.method_mut() = Method::POST;
    *prepared.uri_mut() =
        Uri::try_from(&url[Position::BeforePath..Position::AfterQuery]).map_err(|_| Fault::Unsendable)?;
    let headers = prepared.headers_mut();
    headers.reserve(request.headers.len() + 4);
    headers.insert(HOST, HeaderValue::try_from(host).map_err(|_| Fault::Unsendable)?);
    for (name, value) in &request.headers {
        let name = HeaderName::try_from(name.as_str()).map_err(|_| Fault::Unsendable)?;
        headers.append(name, HeaderValue::from_bytes(value.as_bytes()).map_err(|_| Fault::Unsendable)?);
    }
    if !headers.contains_key(USER_AGENT) {
        headers.insert(USER_AGENT, HeaderValue::from_static(super::formats::USER_AGENT));
    }
    headers.insert(CONTENT_TYPE, HeaderValue::from_static(request.content_type));
    headers.insert(ACCEPT_ENCODING, HeaderValue::from_static("identity"));
    Ok(prepared)
}

/// Reads to the end of the body or to `bytes`, whichever comes first; whether it was the end. What came is put into
/// `shown` as it comes, so that it is there when time runs out.
async fn read_body(mut body: Incoming, bytes: usize, mut shown: Option<&mut Vec<u8>>) -> bool {
    let mut left = bytes;
    while let Some(frame) = body.frame().await {
        let Ok(frame) = frame else { return false };
        let Some(data) = frame.data_ref() else { continue };
        let taken = &data[..data.len().min(left)];
        if let Some(shown) = shown.as_deref_mut() {
            shown.extend_from_slice(taken);
        }
        if data.len() > left {
            return false;
        }
        left -= taken.len();
    }
    true
}
