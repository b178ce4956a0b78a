//! `/api/v1/pulse` and `/api/v1/activity`: how it goes, in steps of time; from where and with what readers came, and why
//! mail bounced and where.

use std::collections::HashMap;
use std::time::Duration;

use hyper::StatusCode;
use serde_json::{Map, Value};

use super::super::json_answer;
use super::super::operation::Call;
use super::super::problem::Problem;
use super::super::server::Answer;
use super::super::shape::{When, Word, answer, vocabulary};
use crate::model::event::{Detail, Event, EventKind};
use crate::model::hit::Visitor;
use crate::model::pulse::{Measure, Span};

/// How far back activity is looked at.
const SINCE: Duration = Duration::from_secs(30 * 86_400);
/// Events that are looked at, the latest.
const EVENTS_MAX: u32 = 2_000;
/// Rows of one list; what is left goes into the last.
const ROWS_MAX: usize = 100;
/// Bytes of a row's name.
const NAME_BYTES_MAX: usize = 100;

vocabulary! { Span:
    "hour" Span::Hour,
    "day" Span::Day,
    "week" Span::Week,
    "month" Span::Month,
}

answer! {
    /// What happened in one step of time.
    pub(super) struct PulseStep {
        /// When it began.
        start "start": When,
        /// How often what happened.
        counts "counts": Map<String, Value>,
    }

    /// From where and with what readers came, and why mail bounced and where.
    pub(super) struct Activity {
        /// Since when.
        since "since": When,
        /// Opens and clicks, first ones of each recipient and link: how many were looked at, the latest 2,000 at most.
        looks "looks": u64,
        /// By country,
        countries "countries": Vec<Looks>,
        /// by program,
        programs "programs": Vec<Looks>,
        /// by operating system,
        systems "systems": Vec<Looks>,
        /// by device.
        devices "devices": Vec<Looks>,
        /// Bounces: how many were looked at, the latest 2,000 at most.
        bounced "bounced": u64,
        /// By reason,
        reasons "reasons": Vec<Bounces>,
        /// by destination.
        destinations "destinations": Vec<Bounces>,
    }

    /// Opens and clicks of one kind.
    pub(super) struct Looks {
        /// Which.
        name "name": String,
        /// By people.
        people "people": u64,
        /// By machines.
        machines "machines": u64,
    }

    /// Bounces of one kind.
    pub(super) struct Bounces {
        /// Which.
        name "name": String,
        /// Hard ones.
        hard "hard": u64,
        /// Soft ones.
        soft "soft": u64,
    }
}

/// `GET /api/v1/pulse`.
pub(super) async fn pulse(call: Call) -> Result<Answer, Problem> {
    let span = call.query.text("span").map(|word| Word::<Span>::parse(word, "?span")).transpose()?;
    let span = span.map_or(Span::default(), |Word(span)| span);
    let steps = call.server.store().pulse(call.grant.tenant.id, None, span).await?;
    let counts = |pulse: &crate::model::pulse::Pulse| {
        Measure::ALL.iter().map(|measure| (measure.as_str().to_owned(), pulse.of(*measure).into())).collect()
    };
    let shown = steps.iter().map(|pulse| PulseStep { start: When(pulse.start), counts: counts(pulse) });
    Ok(json_answer(StatusCode::OK, &shown.collect::<Vec<_>>()))
}

/// `GET /api/v1/activity`.
pub(super) async fn show(call: Call) -> Result<Answer, Problem> {
    let (store, tenant) = (call.server.store(), call.grant.tenant.id);
    let since = call.server.clock().now() - SINCE;
    let looks = store.latest_looks(tenant, since, EVENTS_MAX).await?;
    let bounces = store.latest_bounces(tenant, since, EVENTS_MAX).await?;
    let by = |name: &dyn Fn(&Visitor) -> String| -> Vec<Looks> {
        let rows = counted(&looks, &|event| visitor(event).map(name));
        rows.into_iter().map(|(name, (people, machines))| Looks { name, people, machines }).collect()
    };
    let bounced = |name: &dyn Fn(&Event) -> Option<String>| -> Vec<Bounces> {
        counted(&bounces, name).into_iter().map(|(name, (hard, soft))| Bounces { name, hard, soft }).collect()
    };
    let told = Activity {
        since: When(since),
        looks: looks.len() as u64,
        countries: by(&|visitor| visitor.place.country_name.clone()),
        programs: by(&program),
        systems: by(&|visitor| visitor.client.operating_system.name.clone()),
        devices: by(&|visitor| visitor.client.device.clone()),
        bounced: bounces.len() as u64,
        reasons: bounced(&|event| match &event.detail {
            Detail::Bounced { cause } => Some(cause.reason.sentence().to_owned()),
            _ => None,
        }),
        destinations: bounced(&|event| event.recipient.rsplit_once('@').map(|(_, domain)| domain.to_lowercase())),
    };
    Ok(json_answer(StatusCode::OK, &told))
}

fn visitor(event: &Event) -> Option<&Visitor> {
    match &event.detail {
        Detail::Opened { visitor } | Detail::Clicked { visitor, .. } => Some(visitor),
        _ => None,
    }
}

fn program(visitor: &Visitor) -> String {
    let client = &visitor.client;
    let name = [&client.email_client.name, &client.browser.name].into_iter().find(|name| !name.is_empty());
    name.cloned().unwrap_or_default()
}

/// Whether an event counts as the first of a row's two kinds: by people, or hard.
fn is_first(event: &Event) -> bool {
    visitor(event).map_or(event.kind == EventKind::HardBounced, |visitor| visitor.machine.verdict.is_person())
}

/// How often each name stands for an event, of the first kind and of the second; the most frequent first.
fn counted(events: &[Event], name_of: &dyn Fn(&Event) -> Option<String>) -> Vec<(String, (u64, u64))> {
    let mut counts: HashMap<String, (u64, u64)> = HashMap::new();
    for event in events {
        let Some(name) = name_of(event) else { continue };
        let name = if name.is_empty() { "unknown".to_owned() } else { name };
        let name = name[..name.floor_char_boundary(NAME_BYTES_MAX)].to_owned();
        let count = counts.entry(name).or_default();
        if is_first(event) { count.0 += 1 } else { count.1 += 1 }
    }
    let mut counts: Vec<(String, (u64, u64))> = counts.into_iter().collect();
    counts.sort_by(|(a, of_a), (b, of_b)| (of_b.0 + of_b.1).cmp(&(of_a.0 + of_a.1)).then_with(|| a.cmp(b)));
    if counts.len() > ROWS_MAX {
        let rest = counts.drain(ROWS_MAX - 1..).fold((0, 0), |sum, (_, of)| (sum.0 + of.0, sum.1 + of.1));
        counts.push(("all others".to_owned(), rest));
    }
    counts
}
