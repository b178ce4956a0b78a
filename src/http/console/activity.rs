//! Activity: from where and with what readers came, why mail bounced and where, and reports that wait for a person.

use std::collections::HashMap;
use std::time::Duration;

use askama::Template;

use super::page::{self, Frame, Notice, Section, number, shown};
use super::{Fault, Page, Visit, go};
use crate::model::event::{Detail, Event, EventKind};
use crate::model::hit::Visitor;
use crate::model::id::ReportId;
use crate::model::user::Deed;
use crate::store::reports::{KeptReport, ReportFilter};

/// How far back is looked.
const SINCE: Duration = Duration::from_secs(30 * 86_400);
/// Events that are looked at, the latest.
const EVENTS_MAX: u32 = 2_000;
/// Rows of one list.
const ROWS_MAX: usize = 10;
/// Reports that are listed.
const REPORTS_MAX: u32 = 50;
/// Bytes of a report that are shown.
const REPORT_BYTES_MAX: usize = 40_000;

/// A row of bars: a name, and how often by whom.
struct Row {
    name: String,
    first: u64,
    second: u64,
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
    days: u64,
    events_max: String,
    places: String,
    reports: Option<Vec<ReportLine>>,
}

/// The page.
pub(super) async fn show(visit: &Visit<'_>, notice: Option<Notice>) -> Page {
    let store = visit.server.store();
    let since = visit.server.clock().now() - SINCE;
    let looks = store.latest_looks(visit.tenant.id, since, EVENTS_MAX).await?;
    let bounces = store.latest_bounces(visit.tenant.id, since, EVENTS_MAX).await?;
    let reports = if visit.is_for_all() {
        let filter = ReportFilter { open: true, ..ReportFilter::default() };
        Some(store.reports(&filter, REPORTS_MAX).await?.into_iter().map(line).collect())
    } else {
        None
    };
    let page = ActivityPage {
        frame: visit.frame("Activity", Section::Activity, notice),
        look_count: number(looks.len() as u64),
        looks: vec![
            bars("Countries", &looks, &|event| visitor(event).map(place)),
            bars("Programs", &looks, &|event| visitor(event).map(program)),
            bars("Systems", &looks, &|event| {
                visitor(event).map(|visitor| or_unknown(&visitor.client.operating_system.name))
            }),
            bars("Devices", &looks, &|event| visitor(event).map(|visitor| or_unknown(&visitor.client.device))),
        ],
        bounce_count: number(bounces.len() as u64),
        bounces: vec![
            bars("Reasons", &bounces, &|event| match &event.detail {
                Detail::Bounced { cause } => Some(cause.reason.sentence().to_owned()),
                _ => None,
            }),
            bars("Destinations", &bounces, &|event| {
                event.recipient.rsplit_once('@').map(|(_, domain)| domain.to_lowercase())
            }),
        ],
        days: SINCE.as_secs() / 86_400,
        events_max: number(EVENTS_MAX.into()),
        places: (visit.server.house().places)().0,
        reports,
    };
    page::page(&page)
}

fn visitor(event: &Event) -> Option<&Visitor> {
    match &event.detail {
        Detail::Opened { visitor } | Detail::Clicked { visitor, .. } => Some(visitor),
        _ => None,
    }
}

fn or_unknown(text: &str) -> String {
    if text.is_empty() { "unknown".to_owned() } else { text.to_owned() }
}

fn place(visitor: &Visitor) -> String {
    or_unknown(&visitor.place.country_name)
}

fn program(visitor: &Visitor) -> String {
    let client = &visitor.client;
    let name = [&client.email_client.name, &client.browser.name].into_iter().find(|name| !name.is_empty());
    or_unknown(name.map_or("", String::as_str))
}

/// Whether an event counts as the first of a row's two kinds: by people, or hard.
fn is_first(event: &Event) -> bool {
    visitor(event).map_or(event.kind == EventKind::HardBounced, |visitor| visitor.machine.verdict.is_person())
}

fn bars(title: &'static str, events: &[Event], name_of: &dyn Fn(&Event) -> Option<String>) -> Bars {
    let mut counts: HashMap<String, (u64, u64)> = HashMap::new();
    for event in events {
        let Some(name) = name_of(event) else { continue };
        let count = counts.entry(name).or_default();
        if is_first(event) { count.0 += 1 } else { count.1 += 1 }
    }
    let mut counts: Vec<(String, (u64, u64))> = counts.into_iter().collect();
    counts.sort_by(|(a, of_a), (b, of_b)| (of_b.0 + of_b.1).cmp(&(of_a.0 + of_a.1)).then_with(|| a.cmp(b)));
    if counts.len() > ROWS_MAX {
        let rest = counts.drain(ROWS_MAX - 1..).fold((0, 0), |sum, (_, of)| (sum.0 + of.0, sum.1 + of.1));
        counts.push(("all others".to_owned(), rest));
    }
    let longest = counts.iter().map(|(_, of)| of.0 + of.1).max().unwrap_or(1).max(1);
    let rows = counts.into_iter().map(|(name, (first, second))| Row {
        name: page::beginning(&name, 100).0.to_owned(),
        first,
        second,
        first_width: first * 100 / longest,
        second_width: second * 100 / longest,
    });
    Bars { title, rows: rows.collect() }
}

fn line(report: KeptReport) -> ReportLine {
    let cut = |text: &str| page::beginning(text, 200).0.to_owned();
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

/// One report, as it came.
pub(super) async fn report(visit: &Visit<'_>, id: &str) -> Page {
    let report = find(visit, id).await?;
    let text = String::from_utf8_lossy(&report.content).into_owned();
    let (start, is_cut) = page::beginning(&text, REPORT_BYTES_MAX);
    let page = ReportPage {
        frame: visit.frame("Report", Section::Activity, None),
        came_to: report.came_to.clone(),
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
