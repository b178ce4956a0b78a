//! Activity: from where and with what readers came, why mail bounced and where, and reports that wait for a person.

use askama::Template;
use hyper::Method;
use serde_json::Value;

use super::exchange::{text, when};
use super::page::{self, Frame, Notice, Section, number, shown};
use super::{Fault, Page, Visit, go};
use crate::model::id::ReportId;
use crate::model::reason::Cause;
use crate::model::user::Deed;
use crate::store::reports::{KeptReport, ReportFilter};

/// Rows of one list.
const ROWS_MAX: usize = 10;
/// Reports that are listed.
const REPORTS_MAX: u32 = 50;
/// Bytes of a report that are shown, and of a name or sentence in a list.
const REPORT_BYTES_MAX: usize = 40_000;
const TEXT_BYTES_MAX: usize = 200;

/// A row of bars: a name, and how often by whom.
struct Row {
    name: String,
    first: String,
    second: String,
    /// Hundredths of the longest row.
    first_width: u64,
    second_width: u64,
}

/// A list of bars.
struct Bars {
    title: &'static str,
    rows: Vec<Row>,
}

struct ReportLine {
    id: ReportId,
    at: String,
    kind: String,
    sender: String,
    about: String,
    outcome: String,
}

#[derive(Template)]
#[template(path = "console/activity.html")]
struct ActivityPage {
    frame: Frame,
    looks: Vec<Bars>,
    look_count: String,
    bounces: Vec<Bars>,
    bounce_count: String,
    since: String,
    places: String,
    reports: Option<Vec<ReportLine>>,
}

/// The page.
pub(super) async fn show(visit: &Visit<'_>, notice: Option<Notice>) -> Page {
    let activity = visit.api_of_tenant(Method::GET, "/api/v1/activity", &Value::Null).await?;
    let count = |name: &str| activity.get(name).and_then(Value::as_u64).unwrap_or(0);
    let reports = if visit.is_for_all() {
        let filter = ReportFilter { open: true, ..ReportFilter::default() };
        Some(visit.server.store().reports(&filter, REPORTS_MAX).await?.into_iter().map(line).collect())
    } else {
        None
    };
    let looks = |title, name: &str| bars(title, activity.get(name), ("people", "machines"));
    let bounces = |title, name: &str| bars(title, activity.get(name), ("hard", "soft"));
    let page = ActivityPage {
        frame: visit.frame("Activity", Section::Activity, notice).here(visit.path("activity")),
        look_count: number(count("looks")),
        looks: vec![
            looks("Countries", "countries"),
            looks("Programs", "programs"),
            looks("Systems", "systems"),
            looks("Devices", "devices"),
        ],
        bounce_count: number(count("bounced")),
        bounces: vec![bounces("Reasons", "reasons"), bounces("Destinations", "destinations")],
        since: when(&activity, "/since").chars().take(10).collect(),
        places: (visit.server.house().places)().0,
        reports,
    };
    page::page(&page)
}

/// The first rows of a list of the API's, the rest as one.
fn bars(title: &'static str, rows: Option<&Value>, (first, second): (&str, &str)) -> Bars {
    let of = |row: &Value, name: &str| row.get(name).and_then(Value::as_u64).unwrap_or(0);
    let rows = rows.and_then(Value::as_array).into_iter().flatten();
    let mut rows: Vec<(String, u64, u64)> =
        rows.map(|row| (text(row, "/name"), of(row, first), of(row, second))).collect();
    if rows.len() > ROWS_MAX {
        let rest = rows.drain(ROWS_MAX - 1..).fold((0, 0), |sum, (_, first, second)| (sum.0 + first, sum.1 + second));
        rows.push(("all others".to_owned(), rest.0, rest.1));
    }
    let longest = rows.iter().map(|(_, first, second)| first + second).max().unwrap_or(1).max(1);
    let rows = rows.into_iter().map(|(name, first, second)| Row {
        name: page::cut(&name, TEXT_BYTES_MAX),
        first: number(first),
        second: number(second),
        first_width: first * 100 / longest,
        second_width: second * 100 / longest,
    });
    Bars { title, rows: rows.collect() }
}

fn line(report: KeptReport) -> ReportLine {
    let cut = |text: &str| page::cut(text, TEXT_BYTES_MAX);
    ReportLine {
        id: report.id,
        at: shown(report.received_at),
        kind: report.kind.clone(),
        sender: if report.sender.is_empty() { "<>".to_owned() } else { cut(&report.sender) },
        about: cut(&report.about),
        outcome: cut(&report.outcome),
    }
}

#[derive(Template)]
#[template(path = "console/report.html")]
struct ReportPage {
    frame: Frame,
    report: ReportLine,
    came_to: String,
    /// The verdict, where there is one: what, what it is about, what follows.
    verdict: Vec<(&'static str, String)>,
    text: String,
    is_cut: bool,
    is_open: bool,
}

async fn find(visit: &Visit<'_>, id: &str) -> Result<KeptReport, Fault> {
    // Reports that nobody could be found for are the installation's.
    if !visit.is_for_all() {
        return Err(Fault::NotFound);
    }
    let id: ReportId = id.parse().map_err(|_| Fault::NotFound)?;
    visit.server.store().report(id).await?.ok_or(Fault::NotFound)
}

fn verdict(cause: &Cause) -> Vec<(&'static str, String)> {
    let reason = format!("{} ({}) by rule {}", cause.reason, cause.class.as_str(), cause.rule);
    let follows = format!("{}; {}", cause.reason.axis().sentence(), cause.reason.retry().sentence());
    let words = page::beginning(&cause.diagnostic, 1_000).0.to_owned();
    let all = [
        ("Reason", reason),
        ("Verdict", follows),
        ("Status", cause.status.clone().unwrap_or_default()),
        ("Words", words),
    ];
    all.into_iter().filter(|(_, text)| !text.is_empty()).collect()
}

/// One report, as it came.
pub(super) async fn report(visit: &Visit<'_>, id: &str) -> Page {
    let report = find(visit, id).await?;
    let text = String::from_utf8_lossy(&report.content).into_owned();
    let (start, is_cut) = page::beginning(&text, REPORT_BYTES_MAX);
    let page = ReportPage {
        frame: visit.frame("Report", Section::Activity, None),
        came_to: report.came_to.clone(),
        verdict: report.cause.as_ref().map(verdict).unwrap_or_default(),
        is_open: report.is_open,
        report: line(report),
        text: start.to_owned(),
        is_cut,
    };
    page::page(&page)
}

/// A person has seen a report.
pub(super) async fn close(visit: &Visit<'_>, id: &str) -> Page {
    let report = find(visit, id).await?;
    visit.may(Deed::Assist)?;
    visit.server.store().close_report(report.id).await?;
    visit.note("closed report", id).await?;
    Ok(go(&visit.path("activity")))
}
