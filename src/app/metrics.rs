//! The figures of all parts under their Prometheus names. Parts count for themselves; here they are only read, at
//! each look. No label names a tenant, an address or a message: what is labelled is bounded.

use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric, NoLabelSet};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::counter::ConstCounter;
use prometheus_client::metrics::gauge::ConstGauge;
use prometheus_client::metrics::info::Info;
use prometheus_client::registry::Registry;

use crate::enrich::Enricher;
use crate::intake::Intake;
use crate::smtp::counters::{DOT_TO_REPLY_MILLIS, read};
use crate::{deliver, http, smtp, webhooks};

/// Who counts.
pub(super) struct Figures {
    pub(super) smtp: Arc<smtp::server::Server>,
    pub(super) http: http::Server,
    pub(super) deliver: Arc<deliver::Counters>,
    pub(super) webhooks: Arc<webhooks::Counters>,
    pub(super) intake: Intake,
    pub(super) enricher: Arc<Enricher>,
    /// The write-ahead log of a SQLite database.
    pub(super) wal: Option<PathBuf>,
    pub(super) data: PathBuf,
}

/// A registry of everything, under the prefix `postback_`.
pub(super) fn registry(figures: Figures) -> Registry {
    let mut registry = Registry::with_prefix("postback");
    registry.register("build", "What is running", Info::new([("version", env!("CARGO_PKG_VERSION"))]));
    registry.register_collector(Box::new(figures));
    registry
}

impl fmt::Debug for Figures {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str("Figures")
    }
}

/// One label and its value, and the count under it.
type Labelled<'a> = ((&'a str, &'a str), u64);

impl Collector for Figures {
    fn encode(&self, encoder: DescriptorEncoder) -> fmt::Result {
        let mut page = Page(encoder);
        self.doors(&mut page)?;
        self.smtp(&mut page)?;
        self.http(&mut page)?;
        self.deliveries(&mut page)?;
        self.dispatches(&mut page)?;
        self.files(&mut page)
    }
}

impl Figures {
    /// What both doors count.
    fn doors(&self, page: &mut Page<'_>) -> fmt::Result {
        let (smtp, http) = (self.smtp.counters(), self.http.counters());
        page.counters(
            "auth_failures",
            "Wrong passwords and keys",
            &[(("surface", "smtp"), read(&smtp.failed_logins)), (("surface", "http"), read(&http.failed_logins))],
        )?;
        page.counters(
            "messages_accepted",
            "Messages promised",
            &[(("source", "smtp"), read(&smtp.messages)), (("source", "http"), read(&http.messages))],
        )
    }

    fn smtp(&self, page: &mut Page<'_>) -> fmt::Result {
        let smtp = self.smtp.counters();
        page.counters(
            "smtp_server_connections",
            "SMTP connections",
            &[
                (("result", "accepted"), read(&smtp.connections)),
                (("result", "turned_away"), read(&smtp.turned_away)),
                (("result", "failed_handshake"), read(&smtp.failed_handshakes)),
            ],
        )?;
        page.gauge("smtp_server_sessions", "SMTP sessions open now", read(&smtp.sessions))?;
        page.counter("smtp_server_errors", "Replies of 5xx", read(&smtp.errors))?;
        page.counters(
            "smtp_server_messages_refused",
            "Texts that were not promised, for the client's fault or ours",
            &[(("cause", "rejected"), read(&smtp.rejected)), (("cause", "unavailable"), read(&smtp.unavailable))],
        )?;
        page.counter("smtp_server_message_bytes", "Bytes of the messages promised", read(&smtp.message_bytes))?;
        let buckets: Vec<u64> = smtp.dot_to_reply.iter().map(read).collect();
        page.histogram(
            "smtp_server_dot_to_reply_seconds",
            "Time from the end of a text to its reply",
            &DOT_TO_REPLY_MILLIS.map(Duration::from_millis),
            &buckets,
            Duration::from_micros(read(&smtp.dot_to_reply_micros)),
        )?;
        page.counter("reports_received", "Reports about our mail", read(&smtp.reports))
    }

    fn http(&self, page: &mut Page<'_>) -> fmt::Result {
        let http = self.http.counters();
        page.counters(
            "http_server_connections",
            "HTTP connections",
            &[
                (("result", "accepted"), read(&http.connections)),
                (("result", "turned_away"), read(&http.turned_away)),
                (("result", "failed_handshake"), read(&http.failed_handshakes)),
            ],
        )?;
        page.counters(
            "api_requests",
            "Requests of the APIs by what they were answered",
            &[
                (("status", "2xx"), read(&http.answered)),
                (("status", "4xx"), read(&http.refused)),
                (("status", "5xx"), read(&http.failed)),
            ],
        )?;
        page.counters(
            "tracking_hits",
            "Requests for a pixel or a tracked link",
            &[(("token", "good"), read(&http.hits)), (("token", "bad"), read(&http.bad_tokens))],
        )?;
        page.gauge("hits_waiting", "Hits that wait to be recorded", self.intake.hits_waiting())?;
        page.counter(
            "hits_lost",
            "Hits lost to a full queue or journal, or unreadable there",
            self.intake.hits_lost(),
        )?;
        let unsafe_answers = self.intake.hits_answered_unsafe();
        page.counter("hits_answered_unsafe", "Hits answered after a wait, safe or not", unsafe_answers)
    }

    fn files(&self, page: &mut Page<'_>) -> fmt::Result {
        // No log is an empty one.
        let wal_bytes = |path: &PathBuf| std::fs::metadata(path).map_or(0, |wal| wal.len());
        if let Some(path) = &self.wal {
            page.gauge("store_wal_bytes", "Size of SQLite's write-ahead log", wal_bytes(path))?;
        }
        if let Some(free_bytes) = super::chores::free_bytes(&self.data) {
            page.gauge("disk_free_bytes", "Room on the disk of the data folder", free_bytes)?;
        }
        let built = u64::try_from(self.enricher.geo().built_at().as_secs()).unwrap_or(0);
        page.gauge("geoip_db_build_timestamp_seconds", "When the oldest place database in use was built", built)
    }

    /// What posting to webhooks counts.
    fn dispatches(&self, page: &mut Page<'_>) -> fmt::Result {
        let counters = &self.webhooks;
        page.counters(
            "webhook_attempts",
            "Attempts at webhooks, by what they came to",
            &[
                (("result", "arrived"), read(&counters.arrived)),
                (("result", "failed"), read(&counters.failed)),
                (("result", "exhausted"), read(&counters.exhausted)),
            ],
        )?;
        page.counter("webhook_leases_lost", "Results that came after the lease's end", read(&counters.leases_lost))
    }

    fn deliveries(&self, page: &mut Page<'_>) -> fmt::Result {
        let deliver = &self.deliver;
        page.counters(
            "deliveries",
            "Attempts at deliveries by what they came to",
            &[
                (("result", "delivered"), read(&deliver.delivered)),
                (("result", "deferred"), read(&deliver.deferred)),
                (("result", "refused"), read(&deliver.refused)),
                (("result", "unsendable"), read(&deliver.unsendable)),
            ],
        )?;
        page.gauge("delivery_inflight", "Attempts under way", read(&deliver.under_way))?;
        page.counter("delivery_connections", "Connections made to next hops", read(&deliver.connections))?;
        page.counter("delivery_ambiguous", "Attempts that broke off after the final dot", read(&deliver.unclear))?;
        page.counter("delivery_leases_lost", "Results that came after the lease's end", read(&deliver.leases_lost))
    }
}

/// A page of figures being written.
struct Page<'a>(DescriptorEncoder<'a>);

impl Page<'_> {
    fn counter(&mut self, name: &str, help: &str, value: u64) -> fmt::Result {
        ConstCounter::new(value).encode(self.0.encode_descriptor(name, help, None, MetricType::Counter)?)
    }

    fn counters(&mut self, name: &str, help: &str, values: &[Labelled<'_>]) -> fmt::Result {
        let mut family = self.0.encode_descriptor(name, help, None, MetricType::Counter)?;
        for (label, value) in values {
            ConstCounter::new(*value).encode(family.encode_family(&[*label])?)?;
        }
        Ok(())
    }

    fn gauge(&mut self, name: &str, help: &str, value: u64) -> fmt::Result {
        let value = i64::try_from(value).unwrap_or(i64::MAX);
        ConstGauge::new(value).encode(self.0.encode_descriptor(name, help, None, MetricType::Gauge)?)
    }

    /// `counts` has one entry for each bound and one for what is above them all; none includes another.
    fn histogram(&mut self, name: &str, help: &str, bounds: &[Duration], counts: &[u64], sum: Duration) -> fmt::Result {
        let mut histogram = self.0.encode_descriptor(name, help, None, MetricType::Histogram)?;
        let bounds = bounds.iter().map(Duration::as_secs_f64).chain([f64::INFINITY]);
        let buckets: Vec<(f64, u64)> = bounds.zip(counts.iter().copied()).collect();
        histogram.encode_histogram::<NoLabelSet>(sum.as_secs_f64(), counts.iter().sum(), &buckets, None)
    }
}
