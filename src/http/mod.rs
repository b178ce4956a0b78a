//! DOOR. JSON APIs and tracking URLs over HTTP.
//!
//! Knows the protocol and the two APIs' words, decides nothing about mail: requests become `intake`'s values, what comes
//! back becomes answers. The route table is in three places by surface: [`track`] for `/o/` and `/c/` (answered first,
//! and without waiting for anything), [`mailtura`] for `/api/v1`, [`zeptomail`] for `/v1.1`. What must be finished once
//! it is begun runs on a task of its own: a client that goes away stops nothing half-way.

mod server;

mod pace;

mod unread;

mod agents;

mod brake;

mod once;

mod shape;

mod query;

mod operation;

mod framing;

mod memory;

mod body;

mod json;

mod wire;

mod extras;

mod claims;

mod openapi;

pub mod client;

pub mod outward;

pub mod track;

mod unsubscribe;

pub mod admin;
pub mod mailtura;

pub mod zeptomail;

pub mod problem;

mod console;

mod house;

mod certificates;

mod counters;

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::header::{
    ALLOW, CACHE_CONTROL, CONNECTION, CONTENT_TYPE, HeaderMap, HeaderValue, RETRY_AFTER, WWW_AUTHENTICATE,
};
use hyper::{Request, Response, StatusCode};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use tokio::net::TcpListener;
use tokio::sync::watch;

use crate::clock::Clock;
use crate::dns::Resolver;
use crate::ids::IdSource;
use crate::intake::Intake;
use crate::intake::submission::{Receipt, Refusal, Submission};
use crate::model::delivery::Delivery;
use crate::model::id::{EventId, MessageId};
use crate::model::network::Network;
use crate::model::once::Answered;
use crate::model::queue::QueueFilter;
use crate::model::suppression::Scope;
use crate::model::tenant::{CredentialKind, Grant};
use crate::store::{Store, StoreError};
use crate::tls::Acceptor;
use crate::tls::challenges::Challenges;
use brake::{Brake, Left};
pub use console::routes as console_routes;
pub use counters::{Counters, read};
pub use house::{House, Places, console_url};
use memory::{Memory, Owner, Share};
use once::Ticket;
use outward::Outward;
use problem::{Problem, RETRY_AFTER_SECS};
use server::{Answer, Answerer, Limits, Peer};
pub use wire::{Flaw, Wrong};

/// How the HTTP doors are set.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Settings {
    /// Where to listen in clear text, for loopback and for proxies that do TLS.
    pub address: SocketAddr,
    /// Where to listen with TLS; nowhere unless set.
    pub tls_address: Option<SocketAddr>,
    /// Proxies whose `X-Forwarded-For` and `X-Forwarded-Proto` are believed: addresses or networks.
    pub trusted_proxies: Vec<Network>,
    /// Connections at one time; more wait to be accepted.
    pub connections_max: usize,
    /// Connections at one time from one address (IPv6: one /64); more are closed at once.
    pub connections_per_address_max: u32,
    /// How long a connection may be silent between two requests.
    pub idle_secs_max: u64,
    /// How long a client may take for a request's header.
    pub header_secs_max: u64,
    /// How long a client may refuse to read an answer.
    pub write_secs_max: u64,
    /// How long requests that are on their way may take when we stop.
    pub drain_secs_max: u64,
    /// Largest body of a request that sends mail, in bytes.
    pub send_bytes_max: usize,
    /// Memory that the bodies of all requests and answers may hold together, in bytes; a quarter of it for one tenant.
    pub memory_bytes_max: usize,
    /// Requests a minute of one API key that has no limit of its own; as many as come unless set.
    pub requests_per_minute_max: Option<u32>,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            address: SocketAddr::from(([127, 0, 0, 1], 8080)),
            tls_address: None,
            trusted_proxies: Vec::new(),
            connections_max: 4_096,
            connections_per_address_max: 1_024,
            idle_secs_max: 75,
            header_secs_max: 10,
            write_secs_max: 30,
            drain_secs_max: 10,
            send_bytes_max: 30 << 20,
            memory_bytes_max: 512 << 20,
            requests_per_minute_max: None,
        }
    }
}

impl Settings {
    /// What makes no sense, in one line.
    pub fn complaint(&self) -> Option<String> {
        let zero = [
            ("connections_max", self.connections_max == 0),
            ("connections_per_address_max", self.connections_per_address_max == 0),
            ("idle_secs_max", self.idle_secs_max == 0),
            ("header_secs_max", self.header_secs_max == 0),
            ("write_secs_max", self.write_secs_max == 0),
            ("send_bytes_max", self.send_bytes_max == 0),
            ("requests_per_minute_max", self.requests_per_minute_max == Some(0)),
            ("memory_bytes_max", self.memory_bytes_max < self.send_bytes_max),
        ];
        let (key, _) = zero.into_iter().find(|(_, is_nonsense)| *is_nonsense)?;
        let least = if key == "memory_bytes_max" { "less than send_bytes_max" } else { "0" };
        Some(format!("http.{key}: must not be {least}"))
    }

    /// What is unwise, one line each.
    pub fn warnings(&self) -> Vec<String> {
        let clear = format!("http.address: {} takes API keys in clear text from other machines", self.address);
        if self.address.ip().is_loopback() { Vec::new() } else { vec![clear] }
    }
}

/// Largest body of a request that sends no mail, in bytes.
const SMALL_BYTES_MAX: usize = 256 << 10;

/// What the doors work with.
pub struct Parts {
    /// How they are set.
    pub settings: Settings,
    /// Where submissions and hits go.
    pub intake: Intake,
    /// Views, and the verbs of a tenant's administrator.
    pub store: Store,
    /// The time.
    pub clock: Clock,
    /// Ids and secrets.
    pub ids: IdSource,
    /// Knows how webhooks are told.
    pub outward: Arc<dyn Outward>,
    /// Shows whose a domain is.
    pub resolver: Arc<dyn Resolver>,
    /// What certificate authorities look for.
    pub challenges: Challenges,
    /// What the console tells of the installation.
    pub house: House,
}

/// The HTTP doors of one installation. Cheap to clone; clones share everything.
#[derive(Clone)]
pub struct Server(Arc<Inner>);

struct Inner {
    parts: Parts,
    memory: Memory,
    brake: Brake,
    counters: Arc<Counters>,
    guesses: track::Guesses,
    sign_ins: console::SignIns,
    walks: zeptomail::Walks,
}

impl Server {
    /// Doors that nobody stands at yet.
    pub fn new(parts: Parts) -> Self {
        let memory = Memory::new(parts.settings.memory_bytes_max, parts.settings.send_bytes_max);
        let (brake, counters, guesses, sign_ins, walks) = Default::default();
        Self(Arc::new(Inner { parts, memory, brake, counters, guesses, sign_ins, walks }))
    }

    /// What the doors have done so far.
    pub fn counters(&self) -> &Counters {
        &self.0.counters
    }

    /// Takes connections until `stop` is true or its sender is gone, and returns when the last one has ended. With
    /// `tls`, every connection begins with a handshake. May run on several listeners at one time.
    pub async fn serve(&self, listener: TcpListener, tls: Option<Acceptor>, stop: watch::Receiver<bool>) {
        let settings = self.settings();
        let limits = Limits {
            connections_max: settings.connections_max,
            connections_per_address_max: settings.connections_per_address_max,
            idle: Duration::from_secs(settings.idle_secs_max),
            header: Duration::from_secs(settings.header_secs_max),
            write: Duration::from_secs(settings.write_secs_max),
            drain: Duration::from_secs(settings.drain_secs_max),
        };
        server::serve(listener, tls, self.clone(), limits, self.0.counters.clone(), stop).await;
    }

    fn settings(&self) -> &Settings {
        &self.0.parts.settings
    }

    fn intake(&self) -> &Intake {
        &self.0.parts.intake
    }

    /// Counts a request of a key, and of its tenant unless it is an operator's, where there is a limit; what is left goes
    /// into `left`.
    ///
    /// # Errors
    /// `TooFast`.
    fn spend(&self, grant: &Grant, left: &mut Option<Left>) -> Result<(), Problem> {
        let of_key = grant.settings.rate_limit.or(self.settings().requests_per_minute_max);
        let of_tenant = grant.tenant.settings.rate_limit.filter(|_| grant.kind != CredentialKind::OperatorKey);
        let of_key = of_key.map(|limit| (*grant.credential.as_bytes(), limit));
        let of_tenant = of_tenant.map(|limit| (*grant.tenant.id.as_bytes(), limit));
        if of_key.or(of_tenant).is_none() {
            return Ok(());
        }
        *left = self.0.brake.spend(of_key.into_iter().chain(of_tenant), self.clock().now());
        match left.and_then(|left| left.retry_after_secs) {
            Some(retry_after_secs) => Err(Problem::TooFast { retry_after_secs }),
            None => Ok(()),
        }
    }

    /// Hands in mails that belong together, all of them or none, and tells the log as the other door does. With a ticket,
    /// what `answer` makes of the receipts is kept with them.
    async fn submit_once(
        &self,
        grant: &Grant,
        submissions: Vec<Submission>,
        ticket: Option<&Ticket>,
        answer: impl FnOnce(&[Receipt]) -> Answered,
    ) -> Result<Vec<Receipt>, Refusal> {
        let receipts = self.intake().submit_once(grant, submissions, ticket, answer).await?;
        let (tenant, agent) = (&grant.tenant.slug, &grant.agent.name);
        for receipt in &receipts {
            counters::add(&self.0.counters.messages, 1);
            let recipients = receipt.recipients.len();
            tracing::info!(message.id = %receipt.message, tenant, agent, recipients, "message accepted");
        }
        Ok(receipts)
    }

    /// Cancels what waits of a message of the tenant; how many deliveries.
    async fn cancel(&self, grant: &Grant, id: MessageId) -> Result<u64, StoreError> {
        let (ids, now) = (self.ids().clone(), self.clock().now());
        let tell = move |delivery: &Delivery| Some(delivery.cancelled(EventId::from_uuid(ids.uuid(now)), now));
        let of_message = QueueFilter { message: Some(id), ..QueueFilter::all_of(Scope::Tenant(grant.tenant.id)) };
        let deliveries = self.store().cancel(of_message, tell).await?;
        tracing::info!(message.id = %id, deliveries, "message cancelled");
        Ok(deliveries)
    }

    /// A share of the memory for so many bytes.
    fn room(&self, owner: Owner, bytes: u64) -> Result<Share, Problem> {
        let mut share = self.0.memory.share(owner);
        share.grow(usize::try_from(bytes).unwrap_or(usize::MAX))?;
        Ok(share)
    }

    fn store(&self) -> &Store {
        &self.0.parts.store
    }

    fn house(&self) -> &House {
        &self.0.parts.house
    }

    fn resolver(&self) -> &dyn Resolver {
        &*self.0.parts.resolver
    }

    fn sign_ins(&self) -> &console::SignIns {
        &self.0.sign_ins
    }

    fn clock(&self) -> &Clock {
        &self.0.parts.clock
    }

    fn ids(&self) -> &IdSource {
        &self.0.parts.ids
    }
}

impl Answerer for Server {
    async fn answer(&self, mut request: Request<Incoming>, peer: Peer) -> Answer {
        if let Some(answer) = self.0.parts.challenges.answer(request.uri().path()) {
            return bytes_answer(answer);
        }
        if let Some(answer) = track::answer(self, &request, peer).await {
            return answer;
        }
        if let Some(answer) = unsubscribe::answer(self, &request).await {
            return answer;
        }
        if console::is_for(&request) {
            return console::answer(self, request, peer).await;
        }
        if let Some(answer) = openapi::answer(request.method(), request.uri().path()) {
            return answer;
        }
        client::note(&mut request, peer, &self.settings().trusted_proxies);
        let answer = match Surface::of(request.uri().path()) {
            Surface::Zeptomail if request.uri().path() == zeptomail::oauth::PATH => {
                zeptomail::oauth::answer(self, request).await
            }
            Surface::Mailtura => mailtura::answer(self, request).await,
            Surface::Zeptomail => zeptomail::answer(self, request).await,
        };
        self.0.counters.answered(answer.status());
        answer
    }

    fn refuse(&self, request: &Request<Incoming>, problem: &Problem) -> Answer {
        let answer = match Surface::of(request.uri().path()) {
            Surface::Mailtura => mailtura::refused(problem, request.headers()),
            Surface::Zeptomail => zeptomail::refused(self, problem),
        };
        self.0.counters.answered(answer.status());
        answer
    }
}

/// Whose words an answer is in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Surface {
    /// `/api/v1`, and every path that is nobody's.
    Mailtura,
    /// `/v1.1`, and where its access tokens come from.
    Zeptomail,
}

impl Surface {
    fn of(path: &str) -> Self {
        match path.strip_prefix("/v1.1") {
            Some(rest) if rest.is_empty() || rest.starts_with('/') => Surface::Zeptomail,
            None if path == zeptomail::oauth::PATH => Surface::Zeptomail,
            _ => Surface::Mailtura,
        }
    }
}

/// The answer to a request: what came of it, else what `refused` says, with what its key has left.
async fn answered(
    request: Request<Incoming>,
    came: Result<Answer, Problem>,
    left: Option<Left>,
    refused: impl FnOnce(&Request<Incoming>, &Problem) -> Answer,
) -> Answer {
    let mut answer = match came {
        Ok(answer) => answer,
        Err(problem) => {
            let answer = refused(&request, &problem);
            body::drain(request, &problem).await;
            answer
        }
    };
    if let Some(left) = left {
        left.tell(&mut answer);
    }
    answer
}

/// Runs what must not stop half-way when the client goes away.
async fn finish<T: Send + 'static>(
    work: impl Future<Output = Result<T, Problem>> + Send + 'static,
) -> Result<T, Problem> {
    let done = tokio::spawn(work).await;
    done.unwrap_or_else(|fault| {
        tracing::error!(%fault, "an HTTP request was not answered");
        Err(Problem::Broken)
    })
}

/// The value of a header, blanks aside; `None` when it is absent, empty, or no text.
fn header<'h>(headers: &'h HeaderMap, name: &str) -> Option<&'h str> {
    headers.get(name)?.to_str().ok().map(str::trim).filter(|value| !value.is_empty())
}

fn json_answer(status: StatusCode, body: &impl Serialize) -> Answer {
    let body = serde_json::to_vec(body).expect("our own values have text for names and no failing serialisers");
    let mut answer = Response::new(Full::new(Bytes::from(body)));
    *answer.status_mut() = status;
    let headers = answer.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    answer
}

/// Bytes that nobody takes for a page.
fn bytes_answer(bytes: impl Into<Bytes>) -> Answer {
    let mut answer = Response::new(Full::new(bytes.into()));
    answer.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/octet-stream"));
    answer
}

fn no_content() -> Answer {
    let mut answer = Response::new(Full::new(Bytes::new()));
    *answer.status_mut() = StatusCode::NO_CONTENT;
    answer
}

/// A problem as an answer: its body, and the header fields that its status asks for.
fn problem_answer(problem: &Problem, (status, body): (StatusCode, Value), scheme: &'static str) -> Answer {
    let mut answer = json_answer(status, &body);
    if let Problem::Unauthorized = problem {
        answer.headers_mut().insert(WWW_AUTHENTICATE, HeaderValue::from_static(scheme));
    }
    tell_more(&mut answer, problem);
    answer
}

/// What the header of an answer says about a problem besides.
fn tell_more(answer: &mut Answer, problem: &Problem) {
    let headers = answer.headers_mut();
    match problem {
        Problem::Method { allowed } => drop(headers.insert(ALLOW, HeaderValue::from_static(allowed))),
        Problem::Unavailable => drop(headers.insert(RETRY_AFTER, HeaderValue::from(RETRY_AFTER_SECS))),
        Problem::TooFast { retry_after_secs } | Problem::DailyLimit { retry_after_secs } => {
            headers.insert(RETRY_AFTER, HeaderValue::from(*retry_after_secs));
        }
        Problem::BodyTooSlow | Problem::BodyCut => {
            headers.insert(CONNECTION, HeaderValue::from_static("close"));
        }
        _ => {}
    }
}
