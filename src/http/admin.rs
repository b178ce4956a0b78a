//! The admin listener: is the program alive, may it be sent work, and its figures for Prometheus.
//!
//! `/livez` (and `/healthz`) answers while the program runs; `/readyz` is 503 while the database takes no writes, the
//! disk has no room or the program is going down, with the reasons in JSON; `/metrics` is OpenMetrics text. Plain http
//! for the machine's own eyes, on loopback unless set otherwise. None of these names a tenant, an address or a message.
//! What does, for people, is in `reports` and wants a token.

mod reports;

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::header::{CONTENT_TYPE, HeaderValue};
use hyper::{Method, Request, Response, StatusCode};
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;
use serde::{Deserialize, Serialize};
use tokio::net::TcpListener;
use tokio::sync::watch;

pub use reports::report_json;

use super::server::{self, Answer, Answerer, Limits, Peer};
use crate::clock::Clock;
use crate::intake::Intake;
use crate::model::secret::Secret;
use crate::model::time::Timestamp;
use crate::store::Store;
use crate::store::views::QueueCounts;

/// Health and metrics.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Settings {
    /// Where to listen.
    pub address: SocketAddr,
    /// What a request for reports must bring as its bearer token; empty: none is answered.
    pub token: Secret,
}

impl Default for Settings {
    fn default() -> Self {
        Self { address: SocketAddr::from(([127, 0, 0, 1], 9080)), token: Secret::default() }
    }
}

/// The machine's own eyes are few and near.
const LIMITS: Limits = Limits {
    connections_max: 64,
    connections_per_address_max: 64,
    idle: Duration::from_secs(75),
    header: Duration::from_secs(10),
    write: Duration::from_secs(10),
    drain: Duration::ZERO,
};
/// How long the store may take to show that it takes writes.
const PROBE_TIME: Duration = Duration::from_secs(2);

/// What the admin listener tells of.
pub struct Admin {
    intake: Intake,
    store: Store,
    clock: Clock,
    token: Secret,
    registry: Registry,
    queues: Queues,
    /// The program has been told to stop.
    draining: watch::Receiver<bool>,
}

impl Admin {
    /// One that tells of this store and of what is registered in `registry`; ready until `draining` is true.
    pub fn new(
        intake: Intake,
        store: Store,
        clock: Clock,
        token: Secret,
        mut registry: Registry,
        draining: watch::Receiver<bool>,
    ) -> Self {
        let queues = Queues::register(&mut registry);
        Self { intake, store, clock, token, registry, queues, draining }
    }

    /// Answers on `listener` for ever: also while the program is going down.
    pub async fn serve(self, listener: TcpListener) {
        let (_running, stop) = watch::channel(false);
        server::serve(listener, None, Arc::new(self), LIMITS, Arc::default(), stop).await;
    }

    async fn reasons_not_ready(&self) -> Vec<&'static str> {
        let mut reasons = Vec::new();
        if *self.draining.borrow() {
            reasons.push("stopping");
        }
        if !self.intake.has_room() {
            reasons.push("the disk has no room for mail");
        }
        match tokio::time::timeout(PROBE_TIME, self.store.probe()).await {
            Ok(Ok(())) => {}
            Ok(Err(_)) => reasons.push("the database does not take writes"),
            Err(_) => reasons.push("the database is slower than two seconds"),
        }
        reasons
    }

    async fn metrics(&self) -> Answer {
        // Old counts stay when the store cannot be asked: the other figures are wanted most just then.
        if let Ok(Ok(counts)) = tokio::time::timeout(PROBE_TIME, self.store.queue_counts()).await {
            self.queues.set(&counts, self.clock.now());
        }
        let mut text = String::new();
        match prometheus_client::encoding::text::encode(&mut text, &self.registry) {
            Ok(()) => response(StatusCode::OK, METRICS, text),
            Err(_) => response(StatusCode::INTERNAL_SERVER_ERROR, TEXT, "the figures cannot be written\n"),
        }
    }
}

impl Answerer for Arc<Admin> {
    async fn answer(&self, request: Request<Incoming>, _: Peer) -> Answer {
        if request.uri().path().starts_with(reports::PREFIX) {
            return self.reports(&request).await;
        }
        if !matches!(*request.method(), Method::GET | Method::HEAD) {
            return response(StatusCode::METHOD_NOT_ALLOWED, TEXT, "only GET here\n");
        }
        match request.uri().path() {
            "/livez" | "/healthz" => response(StatusCode::OK, TEXT, "ok\n"),
            "/readyz" => match self.reasons_not_ready().await.as_slice() {
                [] => response(StatusCode::OK, JSON, "{\"ready\":true}\n"),
                reasons => {
                    let body = serde_json::json!({ "ready": false, "reasons": reasons });
                    response(StatusCode::SERVICE_UNAVAILABLE, JSON, format!("{body}\n"))
                }
            },
            "/metrics" => self.metrics().await,
            _ => response(StatusCode::NOT_FOUND, TEXT, "/livez, /readyz, /metrics and /reports are here\n"),
        }
    }
}

const TEXT: HeaderValue = HeaderValue::from_static("text/plain; charset=utf-8");
const JSON: HeaderValue = HeaderValue::from_static("application/json");
const METRICS: HeaderValue = HeaderValue::from_static("application/openmetrics-text; version=1.0.0; charset=utf-8");

fn response(status: StatusCode, kind: HeaderValue, body: impl Into<Bytes>) -> Answer {
    let mut response = Response::new(Full::new(body.into()));
    *response.status_mut() = status;
    response.headers_mut().insert(CONTENT_TYPE, kind);
    response
}

/// The queues' figures, asked of the store at each look.
#[derive(Default)]
struct Queues {
    deliveries: Gauge,
    oldest_delivery_secs: Gauge<f64, AtomicU64>,
    dispatches: Gauge,
    oldest_dispatch_secs: Gauge<f64, AtomicU64>,
    webhooks_paused: Gauge,
    webhooks_off: Gauge,
}

impl Queues {
    fn register(registry: &mut Registry) -> Self {
        let queues = Self::default();
        let clone = |gauge: &Gauge<f64, AtomicU64>| gauge.clone();
        registry.register("queue_messages", "Deliveries that wait or are under way", queues.deliveries.clone());
        let oldest = "How long the delivery that is due longest has been due";
        registry.register("queue_oldest_due_age_seconds", oldest, clone(&queues.oldest_delivery_secs));
        registry.register("webhook_pending", "Dispatches that wait or are under way", queues.dispatches.clone());
        let oldest = "How long the dispatch that is due longest has been due";
        registry.register("webhook_oldest_due_age_seconds", oldest, clone(&queues.oldest_dispatch_secs));
        let paused = "Webhooks that are left alone for a while, or asked one request at a time";
        registry.register("webhooks_paused", paused, queues.webhooks_paused.clone());
        registry.register(
            "webhooks_switched_off",
            "Webhooks that were switched off by us",
            queues.webhooks_off.clone(),
        );
        queues
    }

    fn set(&self, counts: &QueueCounts, now: Timestamp) {
        let count = |count: u64| i64::try_from(count).unwrap_or(i64::MAX);
        let age = |due: Option<Timestamp>| due.map_or(0.0, |due| now.since(due).as_secs_f64());
        self.deliveries.set(count(counts.deliveries));
        self.oldest_delivery_secs.set(age(counts.oldest_delivery_due));
        self.dispatches.set(count(counts.dispatches));
        self.oldest_dispatch_secs.set(age(counts.oldest_dispatch_due));
        self.webhooks_paused.set(count(counts.webhooks_paused));
        self.webhooks_off.set(count(counts.webhooks_off));
    }
}
