//! What happened on each day (UTC), counted. Owns the `statistics` table.
//!
//! A count is written in the transaction of what it counts, so the two cannot differ, and it outlives the events: they
//! go by retention, counts stay for years. Opens and clicks are
//! counted by `hits`. A row is one writer's share of a count, so that writers that commit at the
//! same time do not wait for each other; who reads adds them up.

use std::collections::hash_map::Entry;
use std::collections::{BTreeMap, BTreeSet, HashMap};

use super::db::{Result, Store, Tx};
use super::pulse::Slots;
use super::value::{Row, Value};
use super::writer::Together;
use crate::model::event::{Event, EventKind};
use crate::model::id::{AgentId, TenantId};
use crate::model::message::Fate;
use crate::model::notice;
use crate::model::statistics::{Counts, Day, What};
use crate::model::tenant::DailyLimits;
use crate::model::time::Timestamp;

/// Counts of a transaction, on their way to be written.
#[derive(Debug, Default)]
pub(super) struct Tally {
    days: BTreeMap<(TenantId, Day, AgentId, &'static str), i64>,
    slots: Slots,
}

impl Tally {
    fn add(&mut self, tenant: TenantId, agent: AgentId, at: Timestamp, what: What) {
        *self.days.entry((tenant, Day::of(at), agent, what.as_str())).or_default() += 1;
        self.slots.add(tenant, agent, at, what.as_str(), 1);
    }

    /// Counts an event that is told for the first time. Opens and clicks are counted by `hits`.
    pub(super) fn event(&mut self, event: &Event) {
        let what = match event.kind {
            EventKind::Sent => What::Sent,
            EventKind::Delivered => What::Delivered,
            EventKind::Deferred => What::Deferred,
            EventKind::HardBounced => What::HardBounced,
            EventKind::SoftBounced => What::SoftBounced,
            EventKind::Complained => What::Complained,
            EventKind::Failed => What::Failed,
            EventKind::Opened
            | EventKind::Clicked
            | EventKind::OpenReclassified
            | EventKind::ClickReclassified
            | EventKind::WebhookFailing
            | EventKind::WebhookDisabled
            | EventKind::SecretRotated
            | EventKind::WebhookExhausted
            | EventKind::WebhookRecovered
            | EventKind::DailyWarning
            | EventKind::Delayed => return,
        };
        if !event.is_test {
            self.add(event.tenant, event.agent, event.at, what);
        }
    }

    /// Adds the counts to those that are there. Rows go in one order, so that two writers never wait for each other in
    /// a circle.
    pub(super) async fn write(self, tx: &mut Tx, share: Share) -> Result<()> {
        const HEAD: &str = "
            insert into statistics (tenant_id, day, agent_id, what, share, total)
            values";
        const TAIL: &str = "
            on conflict (tenant_id, day, agent_id, what, share) do update
            set total = statistics.total + excluded.total";
        let rows = self.days.into_iter().map(|((tenant, Day(day), agent, what), total)| {
            vec![tenant.into(), day.into(), agent.into(), what.into(), share.0.into(), total.into()]
        });
        tx.later(HEAD, TAIL, rows.collect()).await?;
        self.slots.write(tx, share.0).await
    }
}

/// Whose rows a transaction adds to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Share(i64);

impl Share {
    /// Of transactions that no writer makes.
    pub(super) const COMMON: Share = Share(0);
    /// How many nodes are told apart; beyond that two may wait for each other now and then.
    const NODES: u64 = 4096;
    /// Writers of one node.
    const WRITERS: u64 = 8;

    /// Of a writer of a node.
    pub(super) fn of(holder: &str, writer: usize) -> Self {
        // FNV-1a: the names of nodes only have to differ.
        let hash = holder
            .bytes()
            .fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3));
        let share = 1 + (hash % Self::NODES) * Self::WRITERS + (writer as u64 % Self::WRITERS);
        Self(i64::try_from(share).unwrap_or(0))
    }
}

impl Store {
    /// What happened to a tenant's mail, or to one of its mail agent's, from day to day; days on which nothing did are
    /// absent.
    ///
    /// # Errors
    /// `Unavailable`, `Corrupt`.
    pub async fn statistics(
        &self,
        tenant: TenantId,
        agent: Option<AgentId>,
        (first, last): (Day, Day),
    ) -> Result<BTreeMap<Day, Counts>> {
        const SQL: &str = "
            select day, what, cast(sum(total) as bigint) as total
            from statistics
            where tenant_id = $1 and day >= $2 and day <= $3 and (agent_id = $4 or $5)
            group by day, what
            order by day, what
            limit 10000";
        let any = agent.is_none();
        let agent: Value = agent.into();
        let rows = self.rows(SQL, vec![tenant.into(), first.0.into(), last.0.into(), agent, any.into()]).await?;
        let mut days: BTreeMap<Day, Counts> = BTreeMap::new();
        for row in &rows {
            let what = row.word("what", What::from_word)?;
            days.entry(Day(row.int("day")?)).or_default().set(what, row.small("total")?);
        }
        Ok(days)
    }

    /// How many recipients a tenant, or one of its mail agents, has been sent to on a day.
    ///
    /// # Errors
    /// `Unavailable`, `Corrupt`.
    pub async fn sent_on(&self, tenant: TenantId, agent: Option<AgentId>, day: Day) -> Result<u64> {
        let days = self.statistics(tenant, agent, (day, day)).await?;
        Ok(days.get(&day).map_or(0, |counts| counts.of(What::Sent)))
    }
}

/// What the limits of a day have to say of what arrived.
#[derive(Debug, Default)]
pub(super) struct Judged {
    /// Places of those that would pass a limit, when the others are accepted in their order.
    pub(super) over: Vec<usize>,
    /// Mail agents that come to more than they are to be warned of.
    pub(super) warnings: Vec<Event>,
}

/// Holds what arrived against the limits of the day. Whoever writes beside us for a tenant with a limit waits until we have
/// committed, so that no limit is passed together, and a warning is given once.
pub(super) async fn judge(tx: &mut Tx, arrived: &[(usize, &Together)]) -> Result<Judged> {
    let is_limited = |together: &&Together| together.terms.limits != DailyLimits::default();
    let limited: Vec<_> = arrived.iter().filter(|(_, together)| is_limited(together)).collect();
    if tx.is_shared() {
        // In one order, so that no two wait for each other.
        let messages = limited.iter().flat_map(|(_, together)| &together.accepts).map(|accept| &accept.plan.message);
        for tenant in messages.map(|message| message.tenant).collect::<BTreeSet<TenantId>>() {
            let [.., a, b, c, d, e, f, g, h] = *tenant.as_bytes();
            let lock = i64::from_be_bytes([a, b, c, d, e, f, g, h]);
            tx.run("select pg_advisory_xact_lock($1)", vec![lock.into()]).await?;
        }
    }
    let mut sent: HashMap<Sent, u64> = HashMap::new();
    let mut judged = Judged::default();
    for (at, together) in limited {
        let Some(message) = together.accepts.first().map(|accept| &accept.plan.message) else { continue };
        let deliveries = together.accepts.iter().flat_map(|accept| &accept.plan.deliveries);
        let count = deliveries.filter(|delivery| matches!(delivery.fate, Fate::Queued { .. })).count() as u64;
        let of = |agent| (message.tenant, agent, Day::of(message.accepted_at));
        let limits = &together.terms.limits;
        let limits = [(of(None), limits.tenant), (of(Some(message.agent)), limits.agent)];
        let mut fits = true;
        for (key, limit) in limits {
            let sent = match sent.entry(key) {
                Entry::Occupied(sent) => sent.into_mut(),
                Entry::Vacant(sent) => sent.insert(sent_before(tx, key).await?),
            };
            fits &= limit.is_none_or(|limit| *sent + count <= limit);
        }
        if fits {
            let of_agent = sent.get(&of(Some(message.agent))).copied().unwrap_or(0);
            let passed = together.terms.limits.warning.filter(|most| (of_agent..of_agent + count).contains(most));
            judged.warnings.extend(passed.map(|most| notice::daily_warning(message, most, of_agent + count)));
            limits.iter().for_each(|(key, _)| *sent.entry(*key).or_default() += count);
        } else {
            judged.over.push(*at);
        }
    }
    Ok(judged)
}

/// Of a tenant, or of one of its mail agents, on a day.
type Sent = (TenantId, Option<AgentId>, Day);

async fn sent_before(tx: &mut Tx, (tenant, agent, day): Sent) -> Result<u64> {
    const SQL: &str = "
        select cast(coalesce(sum(total), 0) as bigint) as total
        from statistics
        where tenant_id = $1 and day = $2 and what = 'sent' and (agent_id = $3 or $4)";
    let any = agent.is_none();
    let row = tx.row(SQL, vec![tenant.into(), day.0.into(), agent.into(), any.into()]).await?;
    row.as_ref().map_or(Ok(0), |row: &Row| row.small("total"))
}
