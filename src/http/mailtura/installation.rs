//! `/api/v1/installation` and `/api/v1/reports`: nodes, certificate, places and settings in force; and reports that came
//! home and wait for a person. An operator's key only.

use hyper::StatusCode;
use serde_json::{Map, Value};

use super::super::certificates::{self, Shown, Standing};
use super::super::operation::Call;
use super::super::problem::Problem;
use super::super::server::Answer;
use super::super::shape::{Nullable, When, Word, answer};
use super::super::{json_answer, no_content, query};
use super::tenants::operator;
use crate::model::id::ReportId;
use crate::model::node;
use crate::model::time::Timestamp;
use crate::model::tracking::TrackingHost;
use crate::store::reports::{KeptReport, ReportFilter};
use crate::tls::orders::Order;

answer! {
    /// The installation as it runs.
    pub(super) struct Installation {
        /// Nothing leaves the machine.
        capture "capture": bool,
        /// Its programs.
        nodes "nodes": Vec<Node>,
        /// What the doors of the node that was asked show to clients of TLS; null for nothing.
        certificate "certificate": Nullable<Certificate>,
        /// All that it shows, the doors' own first, then those of single hosts, and tracking hosts that have none.
        certificates "certificates": Vec<HostCertificate>,
        /// Where places of readers are looked up, a line for each source, attribution included.
        places "places": Vec<String>,
        /// When the oldest of these was made.
        places_of "placesOf": When,
        /// Settings in force; secrets are masked.
        settings "settings": Map<String, Value>,
        /// What is unwise about them.
        warnings "warnings": Vec<String>,
    }

    /// A program that runs.
    pub(super) struct Node {
        /// Its host.
        hostname "hostname": String,
        /// Its version.
        version "version": String,
        /// What it does.
        roles "roles": Vec<String>,
        /// Where it listens, by door.
        doors "doors": Vec<Door>,
        /// When it began.
        started_at "startedAt": When,
        /// When it last told of itself.
        seen_at "seenAt": When,
    }

    /// Where a program listens.
    pub(super) struct Door {
        /// For what.
        name "name": String,
        /// Where.
        address "address": String,
    }

    /// A certificate.
    pub(super) struct Certificate {
        /// Its file.
        file "file": String,
        /// Until when it is good; null when that cannot be told.
        until "until": Nullable<When>,
    }

    /// A certificate of the doors, or of one host.
    pub(super) struct HostCertificate {
        /// The host that it is shown for; null for the doors' own, shown to whoever asks for none of these.
        host "host": Nullable<String>,
        /// How it stands. A host with `none` is shown the doors' own.
        status "status": Word<Standing>,
        /// The hosts and addresses that it names.
        names "names": Vec<String>,
        /// Who gave it.
        issuer "issuer": String,
        /// From when it is good; null when that cannot be told.
        from "from": Nullable<When>,
        /// Until when it is good; null when that cannot be told.
        until "until": Nullable<When>,
        /// Its file; null when there is none.
        file "file": Nullable<String>,
        /// The last order for one since the start; null when there was none.
        last_order "lastOrder": Nullable<CertificateOrder>,
        /// For a tracking host: whether links lead through it.
        tracking "tracking": Nullable<HostCheck>,
    }

    /// An order for a certificate.
    pub(super) struct CertificateOrder {
        /// When it ended.
        at "at": When,
        /// Why no certificate was got; null when one was.
        fault "fault": Nullable<String>,
        /// When it is tried again; null when one was got.
        next_at "nextAt": Nullable<When>,
    }

    /// The last check of a tracking host.
    pub(super) struct HostCheck {
        /// It passed, and mail is rewritten for the host.
        ready "ready": bool,
        /// What was wrong; null when nothing was.
        fault "fault": Nullable<String>,
        /// When it was made; null when it was not made yet.
        checked_at "checkedAt": Nullable<When>,
    }

    /// A report that came home.
    pub(super) struct Report {
        /// Its id.
        id "id": String,
        /// When it came.
        received_at "receivedAt": When,
        /// Where it came to: `delivery`, `complaints` or `postmaster`.
        came_to "cameTo": String,
        /// `bounce`, `delayed`, `success`, `relayed`, `complaint`, `autoreply` or `ordinary`.
        kind "kind": String,
        /// Its envelope sender; empty for the null sender.
        sender "sender": String,
        /// The delivery that it is about; null when that is not known.
        delivery "delivery": Nullable<String>,
        /// The address that it names.
        about "about": String,
        /// What we made of it, in a sentence.
        outcome "outcome": String,
        /// Whether it waits for a person.
        open "open": bool,
        /// The mail itself, or its beginning; not in lists.
        mail "mail": Option<String>,
    }
}

/// `GET /api/v1/installation`.
pub(super) async fn show(call: Call) -> Result<Answer, Problem> {
    operator(&call.grant)?;
    let house = call.server.house();
    let nodes = call.server.store().nodes().await?;
    let certificate = house.certificates.as_ref().map(|certificates| Certificate {
        file: certificates.file().display().to_string(),
        until: Nullable(certificates.validity().map(|validity| When(validity.until))),
    });
    let (places, made_at) = (house.places)();
    let (now, shown) = (call.server.clock().now(), certificates::shown(&call.server).await?);
    let told = Installation {
        certificates: shown.into_iter().map(|shown| shown_certificate(shown, now)).collect(),
        capture: house.is_capture,
        nodes: nodes.into_iter().map(shown_node).collect(),
        certificate: Nullable(certificate),
        places: places.lines().map(str::to_owned).collect(),
        places_of: When(made_at),
        settings: house.settings.iter().map(|(key, value)| (key.clone(), value.as_str().into())).collect(),
        warnings: house.warnings.clone(),
    };
    Ok(json_answer(StatusCode::OK, &told))
}

fn shown_node(node: node::Node) -> Node {
    Node {
        hostname: node.facts.hostname,
        version: node.facts.version,
        roles: node.facts.roles,
        doors: node.facts.doors.into_iter().map(|(name, address)| Door { name, address }).collect(),
        started_at: When(node.started_at),
        seen_at: When(node.seen_at),
    }
}

fn shown_certificate(shown: Shown, now: Timestamp) -> HostCertificate {
    let status = Word(shown.standing(now));
    let Shown { host, file, leaf, order, tracking } = shown;
    let validity = leaf.as_ref().map(|leaf| leaf.validity);
    let (names, issuer) = leaf.map(|leaf| (leaf.names, leaf.issuer)).unwrap_or_default();
    HostCertificate {
        host: Nullable(host),
        status,
        names,
        issuer,
        from: Nullable(validity.map(|validity| When(validity.from))),
        until: Nullable(validity.map(|validity| When(validity.until))),
        file: Nullable(Some(file).filter(|file| !file.is_empty())),
        last_order: Nullable(order.map(|Order { at, fault }| {
            let (fault, next_at) = fault.map(|(fault, next_at)| (fault, When(next_at))).unzip();
            CertificateOrder { at: When(at), fault: Nullable(fault), next_at: Nullable(next_at) }
        })),
        tracking: Nullable(tracking.map(|host| HostCheck {
            ready: host.is_ready(),
            checked_at: Nullable(host.checked_at.filter(|at| *at != TrackingHost::DUE).map(When)),
            fault: Nullable(Some(host.fault).filter(|fault| !fault.is_empty())),
        })),
    }
}

/// `GET /api/v1/reports`, oldest first; `open=true` for those that wait for a person.
pub(super) async fn reports(call: Call) -> Result<Answer, Problem> {
    operator(&call.grant)?;
    let filter = ReportFilter {
        open: call.query.value("open", "boolean")?.unwrap_or(false),
        kind: call.query.text("kind").map(str::to_owned),
        after: call.query.value("after", "report id")?,
    };
    let found = call.server.store().reports(&filter, call.query.limit()? + 1).await?;
    let shown = |report: KeptReport| shown_report(report, false);
    query::page(("/api/v1/reports", &call.query), found, |report| report.id.to_string(), shown)
}

/// `GET /api/v1/reports/{id}`.
pub(super) async fn report(call: Call) -> Result<Answer, Problem> {
    Ok(json_answer(StatusCode::OK, &shown_report(find(&call).await?, true)))
}

/// `POST /api/v1/reports/{id}/close`: a person has seen it.
pub(super) async fn close(call: Call) -> Result<Answer, Problem> {
    let report = find(&call).await?;
    call.server.store().close_report(report.id).await?;
    Ok(no_content())
}

async fn find(call: &Call) -> Result<KeptReport, Problem> {
    operator(&call.grant)?;
    let nothing = Problem::NotFound("Report");
    let id: ReportId = call.place().parse().map_err(|_| nothing.clone())?;
    call.server.store().report(id).await?.ok_or(nothing)
}

fn shown_report(report: KeptReport, with_mail: bool) -> Report {
    Report {
        id: report.id.to_string(),
        received_at: When(report.received_at),
        came_to: report.came_to,
        kind: report.kind,
        sender: report.sender,
        delivery: Nullable(report.delivery.map(|id| id.to_string())),
        about: report.about,
        outcome: report.outcome,
        open: report.is_open,
        mail: with_mail.then(|| String::from_utf8_lossy(&report.content).into_owned()),
    }
}
