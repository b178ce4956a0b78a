//! What hits add up to: by agent, day, kind and verdict, and how many of them were firsts. Nothing here is about one
//! reader, so it outlives them all.

use std::collections::BTreeMap;

use super::super::db::{Result, Store, Tx};
use super::super::pulse::{self, Slots};
use super::super::value::{Row, Value};
use super::{Firsts, RecordedHit, kind_from, kind_word};
use crate::model::hit::{HitKind, Who};
use crate::model::id::{AgentId, MessageId, TenantId};
use crate::model::time::Timestamp;

/// Opens or clicks of one day by one sort of visitor.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HitCount {
    /// Midnight (UTC) at which the day began.
    pub day: Timestamp,
    /// Opens or clicks.
    pub kind: HitKind,
    /// By whom.
    pub who: Who,
    /// How many.
    pub hits: u64,
    /// How many of them were a recipient's first (per link, for clicks), by anyone at all.
    pub firsts: u64,
    /// How many of them were a recipient's first by a person.
    pub firsts_by_person: u64,
}

/// Opens and clicks of one message, both ways.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Figures {
    /// By people, themselves or through a proxy.
    pub by_people: u64,
    /// By everybody, machines too.
    pub all: u64,
    /// Recipients (and links, for clicks) that people came to.
    pub unique_by_people: u64,
    /// Recipients (and links) that anyone came to, machines too.
    pub unique: u64,
}

impl Store {
    /// What the hits of a tenant, or of one of its agents, add up to since a time, by day.
    ///
    /// # Errors
    /// `Unavailable`, `Corrupt`.
    pub async fn hit_counts(
        &self,
        tenant: TenantId,
        agent: Option<AgentId>,
        since: Timestamp,
    ) -> Result<Vec<HitCount>> {
        const SQL: &str = "
            select day, kind, verdict, cast(sum(hits) as bigint) as hits, cast(sum(firsts) as bigint) as firsts,
                cast(sum(firsts_by_person) as bigint) as firsts_by_person
            from hit_counts
            where tenant_id = $1 and agent_id >= $2 and agent_id <= $3 and day >= $4
            group by day, kind, verdict
            order by day, kind, verdict
            limit 10000";
        let (first, last) = agent.map_or(([0; 16], [0xff; 16]), |agent| (*agent.as_bytes(), *agent.as_bytes()));
        let of = vec![tenant.into(), first.as_slice().into(), last.as_slice().into(), day_of(since).into()];
        self.rows(SQL, of).await?.iter().map(read).collect()
    }

    /// What the hits of a message add up to: opens, then clicks.
    ///
    /// # Errors
    /// `Unavailable`, `Corrupt`.
    pub async fn hit_figures(&self, message: MessageId) -> Result<[Figures; 2]> {
        const HITS: &str = "
            select kind, verdict as who, count(*) as count
            from hits
            where message_id = $1
            group by kind, verdict
            order by kind, verdict
            limit 100";
        const FIRSTS: &str = "
            select kind, who, count(*) as count
            from firsts
            where message_id = $1
            group by kind, who
            order by kind, who
            limit 100";
        let mut figures = [Figures::default(); 2];
        let place = |row: &Row| {
            Ok::<_, super::super::StoreError>(match row.word("kind", kind_from)? {
                HitKind::Open => 0,
                HitKind::Click => 1,
            })
        };
        for row in self.rows(HITS, vec![message.into()]).await? {
            let figure = &mut figures[place(&row)?];
            let count: u64 = row.small("count")?;
            figure.all += count;
            if row.word("who", who_from)?.is_person() {
                figure.by_people += count;
            }
        }
        for row in self.rows(FIRSTS, vec![message.into()]).await? {
            let figure = &mut figures[place(&row)?];
            match row.text("who")?.as_str() {
                "person" => figure.unique_by_people = row.small("count")?,
                "all" => figure.unique = row.small("count")?,
                _ => (),
            }
        }
        Ok(figures)
    }
}

fn read(row: &Row) -> Result<HitCount> {
    let count = |column: &str| Ok::<_, super::super::StoreError>(u64::try_from(row.int(column)?).unwrap_or(0));
    Ok(HitCount {
        day: Timestamp::from_millis(row.int("day")?.saturating_mul(DAY_MILLIS)),
        kind: row.word("kind", kind_from)?,
        who: row.word("verdict", who_from)?,
        hits: count("hits")?,
        firsts: count("firsts")?,
        firsts_by_person: count("firsts_by_person")?,
    })
}

/// The share of whoever is no writer of deliveries.
const COMMON: i64 = 0;

const DAY_MILLIS: i64 = 86_400_000;

/// Days since 1970 (UTC).
pub(in crate::store) fn day_of(at: Timestamp) -> i64 {
    at.as_millis().div_euclid(DAY_MILLIS)
}

fn who_from(word: &str) -> Option<Who> {
    [Who::Person, Who::Proxy, Who::Prefetch, Who::Scanner].into_iter().find(|who| who.as_str() == word)
}

/// What a batch of hits changes about the counts.
#[derive(Default)]
pub(super) struct Deltas {
    days: BTreeMap<Key, [i64; 3]>,
    slots: Slots,
}

/// In the order in which rows are locked, so that two writers never wait for each other.
type Key = (AgentId, TenantId, i64, &'static str, &'static str);

impl Deltas {
    fn of(&mut self, hit: &RecordedHit) -> &mut [i64; 3] {
        let (kind, who) = (kind_word(hit.hit.kind), hit.hit.visitor.machine.verdict.as_str());
        self.days.entry((hit.agent, hit.tenant, day_of(hit.hit.at), kind, who)).or_default()
    }

    /// There is one more of these.
    pub(super) fn add(&mut self, hit: &RecordedHit) {
        self.of(hit)[0] += 1;
        self.slot(hit, 1);
    }

    fn slot(&mut self, RecordedHit { hit, tenant, agent, .. }: &RecordedHit, count: i64) {
        let word = pulse::hit_word(hit.kind, hit.visitor.machine.verdict.is_person());
        self.slots.add(*tenant, *agent, hit.at, word, count);
    }

    /// A hit is these firsts.
    pub(super) fn won(&mut self, hit: &RecordedHit, won: Firsts) {
        let of = self.of(hit);
        of[1] += i64::from(won.by_anyone);
        of[2] += i64::from(won.by_person);
    }

    /// A hit that was counted with its firsts was not what it was counted as.
    pub(super) fn take_back(&mut self, hit: &RecordedHit, won: Firsts) {
        self.slot(hit, -1);
        let of = self.of(hit);
        of[0] -= 1;
        of[1] -= i64::from(won.by_anyone);
        of[2] -= i64::from(won.by_person);
    }

    pub(super) async fn write(self, tx: &mut Tx) -> Result<()> {
        const HEAD: &str = "
            insert into hit_counts (agent_id, tenant_id, day, kind, verdict, hits, firsts, firsts_by_person)
            values";
        const TAIL: &str = "
            on conflict (agent_id, day, kind, verdict) do update
            set hits = hit_counts.hits + excluded.hits, firsts = hit_counts.firsts + excluded.firsts,
                firsts_by_person = hit_counts.firsts_by_person + excluded.firsts_by_person";
        let rows =
            self.days.into_iter().filter(|(_, delta)| *delta != [0; 3]).map(|(key, [hits, firsts, by_person])| {
                let (agent, tenant, day, kind, who) = key;
                let mut row: Vec<Value> = vec![agent.into(), tenant.into(), day.into(), kind.into(), who.into()];
                row.extend([hits.into(), firsts.into(), by_person.into()]);
                row
            });
        tx.many(HEAD, TAIL, rows.collect()).await?;
        self.slots.write(tx, COMMON).await
    }
}
