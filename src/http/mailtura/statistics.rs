//! `/api/v1/statistics`: what happened on each day, counted.
//!
//! Days are of UTC. Opens and clicks are counted in total, by first ones (of a recipient, per link for clicks), and both
//! by persons alone; what is left is machines. A click on the tenth day is counted on the tenth day.

use hyper::StatusCode;

use super::super::json_answer;
use super::super::operation::Call;
use super::super::problem::Problem;
use super::super::query::Query;
use super::super::server::Answer;
use super::super::shape::answer;
use super::super::wire::{Flaw, Wrong};
use super::agent;
use crate::model::hit::HitKind;
use crate::model::statistics::{Counts, Day, What};
use crate::store::hits::counts::{Figures, HitCount};

/// Days of one answer.
const DAYS_MAX: i64 = 366;
/// Days shown unless the request says otherwise.
const DAYS: i64 = 30;

answer! {
    /// What happened on a day.
    pub(super) struct DayCounts {
        /// The day, of UTC.
        date "date": String,
        /// Recipients of accepted mails, but for the suppressed.
        sent "sent": u64,
        /// Deliveries that the next mail server took.
        delivered "delivered": u64,
        /// Attempts that were put off.
        deferred "deferred": u64,
        /// Deliveries that were refused.
        bounced "bounced": Bounced,
        /// Deliveries that were never attempted.
        failed "failed": u64,
        /// Complaints.
        complained "complained": u64,
        /// Loads of the pixel.
        opened "opened": Seen,
        /// Links followed.
        clicked "clicked": Seen,
    }

    /// Deliveries that were refused.
    pub(super) struct Bounced {
        /// All of them.
        total "total": u64,
        /// The address is no good.
        hard "hard": u64,
        /// The address may be good another time.
        soft "soft": u64,
    }

    /// Opens or clicks.
    pub(super) struct Seen {
        /// Every one.
        total "total": u64,
        /// First ones, by anyone at all: one a recipient, and a link for clicks.
        unique "unique": u64,
        /// Those by persons.
        persons "persons": SeenBy,
        /// Those by machines: proxies, prefetches, scanners.
        machines "machines": u64,
    }

    /// Opens or clicks by persons.
    pub(super) struct SeenBy {
        /// Every one.
        total "total": u64,
        /// First ones by a person: one a recipient, and a link for clicks.
        unique "unique": u64,
    }
}

/// `GET /api/v1/statistics`.
pub(super) async fn list(call: Call) -> Result<Answer, Problem> {
    let (first, last) = days(&call.query, Day::of(call.server.clock().now()))?;
    let agent = match call.query.text("mailAgent") {
        Some(name) => Some(agent(&call.server, &call.grant, name).await?.id),
        None => None,
    };
    let store = call.server.store();
    let counted = store.statistics(call.grant.tenant.id, agent, (first, last)).await?;
    let hits = store.hit_counts(call.grant.tenant.id, agent, first.start()).await?;
    let days = (first.0..=last.0).map(Day);
    let shown = days.map(|day| {
        let hits = hits.iter().filter(|count| Day::of(count.day) == day);
        shown(day, &counted.get(&day).copied().unwrap_or_default(), &hits.collect::<Vec<_>>())
    });
    Ok(json_answer(StatusCode::OK, &shown.collect::<Vec<_>>()))
}

/// The first and the last day that are wanted.
fn days(query: &Query, today: Day) -> Result<(Day, Day), Flaw> {
    let day = |name| -> Result<Option<Day>, Flaw> {
        let bad = |text: &str| Flaw::in_query(name, Wrong::Format("date")).showing(text);
        query.text(name).map(|text| Day::from_date(text).ok_or_else(|| bad(text))).transpose()
    };
    let last = day("to")?.unwrap_or(today);
    let first = day("from")?.unwrap_or(Day(last.0 - DAYS + 1));
    match last.0 - first.0 {
        0..DAYS_MAX => Ok((first, last)),
        _ => Err(Flaw::in_query("from", Wrong::Other(format!("must be at most {DAYS_MAX} days, and not after `to`")))),
    }
}

fn shown(day: Day, counts: &Counts, hits: &[&HitCount]) -> DayCounts {
    let of = |what| counts.of(what);
    DayCounts {
        date: day.date(),
        sent: of(What::Sent),
        delivered: of(What::Delivered),
        deferred: of(What::Deferred),
        bounced: Bounced {
            total: of(What::HardBounced) + of(What::SoftBounced),
            hard: of(What::HardBounced),
            soft: of(What::SoftBounced),
        },
        failed: of(What::Failed),
        complained: of(What::Complained),
        opened: seen(HitKind::Open, hits),
        clicked: seen(HitKind::Click, hits),
    }
}

impl Seen {
    /// Of one mail.
    pub(super) fn of(Figures { by_people, all, unique_by_people, unique }: Figures) -> Self {
        let persons = SeenBy { total: by_people, unique: unique_by_people };
        Self { total: all, unique, persons, machines: all - by_people }
    }
}

fn seen(kind: HitKind, hits: &[&HitCount]) -> Seen {
    let sum =
        |counts: &dyn Fn(&HitCount) -> u64| hits.iter().filter(|count| count.kind == kind).map(|c| counts(c)).sum();
    let total = sum(&|count| count.hits);
    let by_persons = sum(&|count| if count.who.is_person() { count.hits } else { 0 });
    Seen {
        total,
        unique: sum(&|count| count.firsts),
        persons: SeenBy { total: by_persons, unique: sum(&|count| count.firsts_by_person) },
        machines: total - by_persons,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn which_days() {
        let today = Day::from_date("2026-03-02").unwrap();
        let check = |query: &str, expected: Option<(&str, &str)>| {
            let days = days(&Query::read(query), today).ok();
            let expected = expected.map(|(first, last)| (first.to_owned(), last.to_owned()));
            assert_eq!(days.map(|(first, last)| (first.date(), last.date())), expected, "{query}");
        };
        check("", Some(("2026-02-01", "2026-03-02")));
        check("to=2026-01-31", Some(("2026-01-02", "2026-01-31")));
        check("from=2026-03-02", Some(("2026-03-02", "2026-03-02")));
        check("from=2025-03-02&to=2026-03-02", Some(("2025-03-02", "2026-03-02")));
        check("from=2025-03-01&to=2026-03-02", None);
        check("from=2026-03-03", None);
        check("from=yesterday", None);
        check("from=-9999-01-01&to=9999-12-31", None);
    }
}
