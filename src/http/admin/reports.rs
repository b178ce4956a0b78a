//! Reports for people, as JSON: what waits for one, what each says, which rule decided.
//!
//! | request | answer |
//! |---|---|
//! | `GET /reports?open=true&kind=bounce&after=rpt_…&limit=100` | `{"reports":[…],"next":"rpt_…"}`, oldest first |
//! | `GET /reports/rpt_…` | one of them |
//! | `GET /reports/rpt_…/mail` | the mail itself, as text |
//! | `POST /reports/rpt_…/close` | 204; somebody has seen it |
//! | `POST /reports/reclassify?days=30&apply=false&after=…&limit=100` | `{"reports":…,"refusals":…,"changed":[…],"moving":[…],"next":…}`: so many reports and refusals of so many days, judged by the rules of today; with `apply`, what follows is put right. Ask again with `after` until `next` is null |
//!
//! They name addresses, so all of them want `Authorization: Bearer` with `admin.token`; without that setting there is
//! nothing here. The mail is other people's and is never given as HTML.

use std::time::Duration;

use bytes::Bytes;
use hyper::header::{AUTHORIZATION, HeaderValue};
use hyper::{Method, Request, StatusCode};
use serde_json::{Value, json};
use subtle::ConstantTimeEq;

use super::{Admin, JSON, TEXT, response};
use crate::http::server::Answer;
use crate::intake::report::{Reached, Replayed, Verdict};
use crate::model::id::ReportId;
use crate::model::reason::{Cause, Suppress};
use crate::store::StoreError;
use crate::store::reports::{KeptReport, ReportFilter};

/// Reports of one answer.
const LIMIT_MAX: u32 = 1000;
const LIMIT: u32 = 100;
/// How far back reports are judged again when nobody says.
const DAYS: u32 = 30;

/// Where all of this is.
pub(super) const PREFIX: &str = "/reports";

impl Admin {
    /// Answers a request for `path`, which is [`PREFIX`] or under it.
    pub(super) async fn reports<B>(&self, request: &Request<B>) -> Answer {
        if !self.is_allowed(request.headers().get(AUTHORIZATION)) {
            let mut refusal = fault(StatusCode::UNAUTHORIZED, "admin.token is wanted, as a bearer token");
            refusal.headers_mut().insert(hyper::header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
            return refusal;
        }
        let path = request.uri().path().strip_prefix(PREFIX).unwrap_or_default();
        let mut words = path.split('/').skip(1);
        let (id, what) = (words.next().unwrap_or_default(), words.next());
        let is_read = matches!(*request.method(), Method::GET | Method::HEAD);
        let answered = match (id.parse::<ReportId>(), what, is_read) {
            _ if words.next().is_some() => Ok(None),
            (_, None, true) if id.is_empty() => self.list(request.uri().query().unwrap_or_default()).await.map(Some),
            (Ok(id), None, true) => self.one(id).await,
            (Ok(id), Some("mail"), true) => self.mail(id).await,
            (_, None, false) if id == "reclassify" && request.method() == Method::POST => {
                self.reclassify(request.uri().query().unwrap_or_default()).await.map(Some)
            }
            (Ok(id), Some("close"), false) if request.method() == Method::POST => self.close(id).await,
            _ => Ok(None),
        };
        match answered {
            Ok(Some(answer)) => answer,
            Ok(None) => fault(StatusCode::NOT_FOUND, "there is no such report"),
            Err(_) => fault(StatusCode::SERVICE_UNAVAILABLE, "the database does not answer"),
        }
    }

    fn is_allowed(&self, given: Option<&HeaderValue>) -> bool {
        let token = self.token.reveal().as_bytes();
        let given = given.and_then(|value| value.as_bytes().strip_prefix(b"Bearer "));
        !token.is_empty() && given.is_some_and(|given| given.ct_eq(token).into())
    }

    async fn list(&self, query: &str) -> Result<Answer, StoreError> {
        let mut filter = ReportFilter::default();
        let mut limit = LIMIT;
        for (name, value) in form_urlencoded::parse(query.as_bytes()) {
            let understood = match &*name {
                "open" => value.parse().map(|open| filter.open = open).is_ok(),
                "kind" => {
                    filter.kind = Some(value.into_owned());
                    true
                }
                "after" => value.parse().map(|after| filter.after = Some(after)).is_ok(),
                "limit" => value.parse().map(|wanted: u32| limit = wanted.clamp(1, LIMIT_MAX)).is_ok(),
                _ => false,
            };
            if !understood {
                return Ok(not_understood(&name));
            }
        }
        let reports = self.store.reports(&filter, limit).await?;
        let is_full = u32::try_from(reports.len()).is_ok_and(|count| count == limit);
        let next = reports.last().filter(|_| is_full).map(|report| report.id.to_string());
        let reports: Vec<Value> = reports.iter().map(report_json).collect();
        Ok(answer(&json!({ "reports": reports, "next": next })))
    }

    async fn reclassify(&self, query: &str) -> Result<Answer, StoreError> {
        let (mut days, mut apply, mut after, mut limit) = (DAYS, false, None, LIMIT);
        for (name, value) in form_urlencoded::parse(query.as_bytes()) {
            let understood = match &*name {
                "days" => value.parse().map(|wanted| days = wanted).is_ok(),
                "apply" => value.parse().map(|wanted| apply = wanted).is_ok(),
                "after" => value.parse().map(|reached: Reached| after = Some(reached)).is_ok(),
                "limit" => value.parse().map(|wanted: u32| limit = wanted.clamp(1, LIMIT_MAX)).is_ok(),
                _ => false,
            };
            if !understood {
                return Ok(not_understood(&name));
            }
        }
        let since = self.clock.now() - Duration::from_secs(u64::from(days) * 86_400);
        let walked = self.intake.walk_again(since, after, limit, apply).await?;
        let changed: Vec<Value> = walked.changed.iter().map(|(id, replayed)| replayed_json(id, replayed)).collect();
        Ok(answer(&json!({
            "reports": walked.reports,
            "refusals": walked.refusals,
            "changed": changed,
            "moving": walked.moving,
            "next": walked.next.map(|next| next.to_string()),
        })))
    }

    async fn one(&self, id: ReportId) -> Result<Option<Answer>, StoreError> {
        Ok(self.store.report(id).await?.map(|report| answer(&report_json(&report))))
    }

    async fn mail(&self, id: ReportId) -> Result<Option<Answer>, StoreError> {
        let report = self.store.report(id).await?;
        Ok(report.map(|report| {
            let mut mail = response(StatusCode::OK, TEXT, report.content);
            let headers = mail.headers_mut();
            headers.insert(hyper::header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
            headers.insert(hyper::header::CONTENT_DISPOSITION, HeaderValue::from_static("attachment"));
            mail
        }))
    }

    async fn close(&self, id: ReportId) -> Result<Option<Answer>, StoreError> {
        let closed = self.store.close_report(id).await?;
        Ok(closed.then(|| response(StatusCode::NO_CONTENT, JSON, Bytes::new())))
    }
}

fn not_understood(name: &str) -> Answer {
    fault(StatusCode::BAD_REQUEST, &format!("{name}: not understood"))
}

/// A verdict that is another one today.
fn replayed_json(id: &str, replayed: &Replayed) -> Value {
    let verdict = |verdict: &Verdict| {
        let cause = verdict.cause.as_ref().map(cause_json);
        json!({ "kind": verdict.kind, "cause": cause, "outcome": verdict.outcome })
    };
    json!({
        "id": id,
        "delivery": replayed.delivery,
        "before": verdict(&replayed.before),
        "after": verdict(&replayed.after),
    })
}

fn cause_json(cause: &Cause) -> Value {
    json!({
        "reason": cause.reason,
        "class": cause.class,
        "status": cause.status,
        "code": cause.code,
        "diagnostic": cause.diagnostic,
        "rule": cause.rule,
        "axis": cause.reason.axis().as_str(),
        "retry": cause.reason.retry().as_str(),
        "suppresses": cause.reason.suppress() != Suppress::Never,
    })
}

/// A report as the console and `bounces list --jsonl` have it.
pub fn report_json(report: &KeptReport) -> Value {
    json!({
        "id": report.id,
        "received_at": report.received_at.rfc3339_millis(),
        "came_to": report.came_to,
        "sender": report.sender,
        "kind": report.kind,
        "delivery": report.delivery.map(|id| id.to_string()),
        "about": report.about,
        "cause": report.cause.as_ref().map(cause_json),
        "effect": report.effect.as_str(),
        "outcome": report.outcome,
        "open": report.is_open,
    })
}

fn answer(value: &Value) -> Answer {
    response(StatusCode::OK, JSON, format!("{value}\n"))
}

fn fault(status: StatusCode, why: &str) -> Answer {
    response(status, JSON, format!("{}\n", json!({ "message": why })))
}
