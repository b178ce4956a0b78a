//! What happened lately in steps of five minutes, and what all of it comes to over an hour, a day, a week or a month.
//! Owns the `recent_statistics` table.
//!
//! Written in the transaction of what is counted, like the counts by day, which weeks and months are read from.

use std::collections::BTreeMap;
use std::time::Duration;

use super::db::{Result, Store, Tx};
use super::value::Value;
use crate::model::hit::HitKind;
use crate::model::id::{AgentId, TenantId};
use crate::model::pulse::{Measure, Pulse, SLOT_MILLIS, Span};
use crate::model::statistics::{Day, What};
use crate::model::time::Timestamp;

/// How long steps of five minutes are kept.
const KEPT: Duration = Duration::from_secs(2 * 86_400);

/// The oldest step that is kept.
pub(super) fn oldest_slot(now: Timestamp) -> i64 {
    slot_of(now - KEPT)
}

fn slot_of(at: Timestamp) -> i64 {
    at.as_millis().div_euclid(SLOT_MILLIS)
}

/// Counts on their way to be written, in the order in which rows are locked.
#[derive(Debug, Default)]
pub(super) struct Slots(BTreeMap<(TenantId, i64, AgentId, &'static str), i64>);

impl Slots {
    pub(super) fn add(&mut self, tenant: TenantId, agent: AgentId, at: Timestamp, what: &'static str, count: i64) {
        *self.0.entry((tenant, slot_of(at), agent, what)).or_default() += count;
    }

    pub(super) async fn write(self, tx: &mut Tx, share: i64) -> Result<()> {
        const HEAD: &str = "
            insert into recent_statistics (tenant_id, slot, agent_id, what, share, total)
            values";
        const TAIL: &str = "
            on conflict (tenant_id, slot, agent_id, what, share) do update
            set total = recent_statistics.total + excluded.total";
        let rows = self.0.into_iter().filter(|(_, total)| *total != 0);
        let rows = rows.map(|((tenant, slot, agent, what), total)| -> Vec<Value> {
            vec![tenant.into(), slot.into(), agent.into(), what.into(), share.into(), total.into()]
        });
        tx.later(HEAD, TAIL, rows.collect()).await
    }
}

/// What a hit is counted as.
pub(super) const fn hit_word(kind: HitKind, is_person: bool) -> &'static str {
    match (kind, is_person) {
        (HitKind::Open, true) => Measure::OpenedByPeople.as_str(),
        (HitKind::Open, false) => Measure::OpenedByMachines.as_str(),
        (HitKind::Click, true) => Measure::ClickedByPeople.as_str(),
        (HitKind::Click, false) => Measure::ClickedByMachines.as_str(),
    }
}

impl Store {
    /// What happened to a tenant's mail, or to one of its agent's, over a span that ends now, step by step.
    ///
    /// # Errors
    /// `Unavailable`, `Corrupt`.
    pub async fn pulse(&self, tenant: TenantId, agent: Option<AgentId>, span: Span) -> Result<Vec<Pulse>> {
        let mut steps: Vec<Pulse> = span.starts(self.now()).into_iter().map(Pulse::beginning).collect();
        match span {
            Span::Hour | Span::Day => self.recent(tenant, agent, span, &mut steps).await?,
            Span::Week | Span::Month => self.by_day(tenant, agent, &mut steps).await?,
        }
        Ok(steps)
    }

    async fn recent(&self, tenant: TenantId, agent: Option<AgentId>, span: Span, steps: &mut [Pulse]) -> Result<()> {
        const SQL: &str = "
            select slot / $4 as step, what, cast(sum(total) as bigint) as total
            from recent_statistics
            where tenant_id = $1 and slot >= $2 and ($3 or agent_id = $5)
            group by slot / $4, what
            order by step, what
            limit 10000";
        let Some(first) = steps.first().map(|step| step.start) else { return Ok(()) };
        let slots = span.step_millis() / SLOT_MILLIS;
        let values = vec![tenant.into(), slot_of(first).into(), agent.is_none().into(), slots.into(), agent.into()];
        for row in self.rows(SQL, values).await? {
            let start = Timestamp::from_millis(row.int("step")?.saturating_mul(span.step_millis()));
            let total = u64::try_from(row.int("total")?).unwrap_or(0);
            if let Some(step) = steps.iter_mut().find(|step| step.start == start) {
                step.add(row.word("what", Measure::from_word)?, total);
            }
        }
        Ok(())
    }

    async fn by_day(&self, tenant: TenantId, agent: Option<AgentId>, steps: &mut [Pulse]) -> Result<()> {
        let (Some(first), Some(last)) = (steps.first(), steps.last()) else { return Ok(()) };
        let days = (Day::of(first.start), Day::of(last.start));
        let counted = self.statistics(tenant, agent, days).await?;
        let hits = self.hit_counts(tenant, agent, days.0.start()).await?;
        for step in steps {
            let day = Day::of(step.start);
            for what in What::ALL {
                let count = counted.get(&day).map_or(0, |counts| counts.of(*what));
                Measure::from_word(what.as_str()).into_iter().for_each(|measure| step.add(measure, count));
            }
            for hit in hits.iter().filter(|hit| Day::of(hit.day) == day) {
                let word = hit_word(hit.kind, hit.who.is_person());
                Measure::from_word(word).into_iter().for_each(|measure| step.add(measure, hit.hits));
            }
        }
        Ok(())
    }
}
