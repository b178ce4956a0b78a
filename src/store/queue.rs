//! What people do with the queue: look, hold, release, cancel, retry now, pause, resume.
//!
//! Each verb works on all deliveries that a [`QueueFilter`] means, in bites of short transactions. What a worker has in
//! its hands is held for the time after, and cannot be cancelled any more. Owns the `pauses` table.

use super::db::{Result, Store, Tx};
use super::deliveries;
use super::faults::is_deadlock;
use super::suppressions::{read_scope, scope_bytes};
use super::value::{Row, Value};
use super::views::{DeliveryView, read_delivery};
use super::{events, listen};
use crate::model::delivery::Delivery;
use crate::model::event::Event;
use crate::model::id::DeliveryId;
use crate::model::queue::{Pause, QueueFilter};
use crate::model::suppression::Scope;
use crate::model::time::Timestamp;

/// Deliveries changed in one transaction. It stands in the text, so that PostgreSQL plans for so many.
macro_rules! bite {
    () => {
        500
    };
}
const BITE: u64 = bite!();
/// How often one bite is tried again that PostgreSQL ended because another waited for it in turn.
const DEADLOCKS_MAX: u32 = 5;

/// What waits for one domain.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Waiting {
    /// The domain.
    pub domain: String,
    /// Deliveries queued.
    pub queued: u64,
    /// Of these, due by now or in a worker's hands.
    pub due: u64,
    /// Of these, held by a person.
    pub held: u64,
    /// When the oldest of them was accepted.
    pub oldest: Timestamp,
}

/// A query over the deliveries that a filter means. Those of one message are found by its id, and those of a tenant by
/// their state, however many wait or were delivered.
struct Meant {
    of_any: &'static str,
    of_tenant: &'static str,
    of_message: &'static str,
}

impl Meant {
    fn by(&self, filter: &QueueFilter) -> &'static str {
        match (filter.message, filter.scope.tenant()) {
            (Some(_), _) => self.of_message,
            (None, Some(_)) => self.of_tenant,
            (None, None) => self.of_any,
        }
    }
}

/// Whose deliveries are meant.
macro_rules! whose {
    (any) => {
        "($1 or tenant_id = $2) and ($7 or message_id = $8)"
    };
    (tenant) => {
        "not $1 and tenant_id = $2 and state <> 'delivered' and ($7 or message_id = $8)"
    };
    (message) => {
        "($1 or tenant_id = $2) and not $7 and message_id = $8"
    };
}

/// The conditions of a filter, `$1` to `$12`; `$12` is now.
macro_rules! meant_text {
    ($whose:ident, $head:expr, $more:expr, $tail:expr) => {
        concat!(
            $head,
            " from deliveries
            where state = 'queued' and ",
            whose!($whose),
            " and ($3 or agent_id = $4) and ($5 = '' or domain = $5) and ($6 = '' or lower(address) = $6)
                and ($9 = '' or reason = $9)
                and accepted_at < $10 and ($11 = '' or ($11 = 'held') = (held_at is not null))
                and $12 >= 0 ",
            $more,
            $tail
        )
    };
}

/// The texts that `$text` makes of each way to say whose deliveries are meant.
macro_rules! each_way {
    ($text:ident, $($part:expr),*) => {
        Meant {
            of_any: $text!(any, $($part),*),
            of_tenant: $text!(tenant, $($part),*),
            of_message: $text!(message, $($part),*),
        }
    };
}

macro_rules! meant {
    ($head:expr, $more:expr, $tail:expr) => {
        each_way!(meant_text, $head, $more, $tail)
    };
}

/// Not in a worker's hands.
macro_rules! free {
    () => {
        "and (lease is null or due_at <= $12) "
    };
}

/// A change of a bite of what a filter means.
struct Change {
    alone: Meant,
    shared: Meant,
}

impl Change {
    fn by(&self, filter: &QueueFilter, is_shared: bool) -> &'static str {
        if is_shared { self.shared.by(filter) } else { self.alone.by(filter) }
    }
}

macro_rules! change_text {
    ($whose:ident, $more:expr, $lock:expr, $set:expr, $returning:expr) => {
        concat!(
            "with bite as materialized (",
            meant_text!($whose, "select message_id, recipient", $more, "limit "),
            bite!(),
            $lock,
            ")
            update deliveries
            set ",
            $set,
            " from bite
            where deliveries.message_id = bite.message_id and deliveries.recipient = bite.recipient ",
            $returning
        )
    };
}

/// Where others write beside us a row is locked as it is found: what it was found by holds when it is changed, whoever
/// leased or ended it meanwhile.
macro_rules! change {
    ($more:expr, $set:expr, $returning:expr) => {
        Change {
            alone: each_way!(change_text, $more, "", $set, $returning),
            shared: each_way!(change_text, $more, " for update", $set, $returning),
        }
    };
}

/// A page of what a filter means, in the order of `$key`, behind `$13` and `$14`.
macro_rules! page_text {
    ($whose:ident, $key:literal) => {
        meant_text!(
            $whose,
            "select message_id, recipient, tenant_id, agent_id, address, state, due_at, lease, attempts, accepted_at,
                expires_at, settled_at, reason, held_at, mark",
            concat!("and (", $key, " > $13 or (", $key, " = $13 and recipient > $14)) "),
            concat!("order by ", $key, ", recipient limit $15")
        )
    };
}

/// What waits is found by an index of what waits. By the order of ids all that was ever delivered would be gone through
/// first: where no index leads by tenant to what is in that order and waits, the id is named so that none has its order.
const QUEUED: Meant = Meant {
    of_any: page_text!(any, "coalesce(message_id, message_id)"),
    of_tenant: page_text!(tenant, "message_id"),
    of_message: page_text!(message, "message_id"),
};

fn values(filter: &QueueFilter, now: Timestamp) -> Vec<Value> {
    let (tenant, agent) = (filter.scope.tenant(), filter.scope.agent());
    let held = match filter.is_held {
        None => "",
        Some(true) => "held",
        Some(false) => "free",
    };
    vec![
        tenant.is_none().into(),
        tenant.into(),
        agent.is_none().into(),
        agent.into(),
        filter.domain.clone().unwrap_or_default().into(),
        filter.address.as_ref().map(|address| address.folded()).unwrap_or_default().into(),
        filter.message.is_none().into(),
        filter.message.into(),
        filter.reason.map_or("", |reason| reason.as_str()).into(),
        filter.accepted_before.unwrap_or(Timestamp::from_millis(i64::MAX)).into(),
        held.into(),
        now.into(),
    ]
}

/// What waits for one domain.
pub(super) fn waiting(row: &Row) -> Result<Waiting> {
    Ok(Waiting {
        domain: row.text("domain")?,
        queued: row.small("queued")?,
        due: row.small("due")?,
        held: row.small("held")?,
        oldest: row.time("oldest")?,
    })
}

impl Store {
    /// What waits, by domain, the most first; at most `limit` domains.
    ///
    /// # Errors
    /// `Unavailable`, `Corrupt`.
    pub async fn queue_by_domain(&self, filter: &QueueFilter, limit: u32) -> Result<Vec<Waiting>> {
        const SQL: Meant = meant!(
            "select domain, count(*) as queued, min(accepted_at) as oldest,
                cast(sum(case when held_at is null and (due_at <= $12 or lease is not null) then 1 else 0 end)
                    as bigint) as due,
                cast(sum(case when held_at is not null then 1 else 0 end) as bigint) as held",
            "group by domain ",
            "order by queued desc, domain
            limit $13"
        );
        let mut values = values(filter, self.now());
        values.push(limit.into());
        self.rows(SQL.by(filter), values).await?.iter().map(waiting).collect()
    }

    /// The deliveries that a filter means, after `after` by id, at most `limit`.
    ///
    /// # Errors
    /// `Unavailable`, `Corrupt`.
    pub async fn queued(
        &self,
        filter: &QueueFilter,
        after: Option<DeliveryId>,
        limit: u32,
    ) -> Result<Vec<DeliveryView>> {
        let mut values = values(filter, self.now());
        let after = after.map_or((Vec::new(), -1), |id| (id.message.as_bytes().to_vec(), i64::from(id.recipient)));
        values.extend([after.0.into(), after.1.into(), limit.into()]);
        self.rows(QUEUED.by(filter), values).await?.iter().map(read_delivery).collect()
    }

    /// Holds what a filter means: it is not tried until it is released, and its lifetime stands still. How many.
    ///
    /// # Errors
    /// `Unavailable`.
    pub async fn hold(&self, filter: QueueFilter) -> Result<u64> {
        const SQL: Change = change!("and held_at is null ", "held_at = $12", "");
        self.in_bites(&SQL, filter).await
    }

    /// Lets go what a filter means and was held; what came due meanwhile is due now. How many.
    ///
    /// # Errors
    /// `Unavailable`.
    pub async fn release_held(&self, filter: QueueFilter) -> Result<u64> {
        const SQL: Change =
            change!("and held_at is not null ", "expires_at = expires_at + ($12 - held_at), held_at = null", "");
        self.in_bites(&SQL, filter).await
    }

    /// Makes what a filter means due now, whatever is known about its destination; held ones stay held. How many.
    ///
    /// # Errors
    /// `Unavailable`.
    pub async fn retry_now(&self, filter: QueueFilter) -> Result<u64> {
        const SQL: Change =
            change!(concat!(free!(), "and mark <> 'asked' and held_at is null "), "due_at = $12, mark = 'asked'", "");
        self.in_bites(&SQL, filter).await
    }

    /// Ends what a filter means and nobody works on, as cancelled, with the event that `tell` makes of each. How many.
    ///
    /// # Errors
    /// `Unavailable`, `Corrupt`.
    pub async fn cancel<T>(&self, filter: QueueFilter, tell: T) -> Result<u64>
    where
        T: Fn(&Delivery) -> Option<Event> + Send + Sync + Clone + 'static,
    {
        let mut cancelled = 0;
        loop {
            let (filter, tell, now) = (filter.clone(), tell.clone(), self.now());
            let bite = self.transaction(move |tx| Box::pin(async move { cancel_bite(tx, &filter, now, &tell).await }));
            let (bite, is_owed) = bite.await?;
            cancelled += bite;
            if is_owed {
                self.wakes().dispatches.ring();
            }
            if bite < BITE {
                return Ok(cancelled);
            }
        }
    }

    async fn in_bites(&self, change: &Change, filter: QueueFilter) -> Result<u64> {
        let (mut changed, mut deadlocks) = (0, 0);
        loop {
            let bite = match self.run(change.by(&filter, self.is_shared()), values(&filter, self.now())).await {
                Err(fault) if is_deadlock(&fault) && deadlocks < DEADLOCKS_MAX => {
                    deadlocks += 1;
                    continue;
                }
                bite => bite?,
            };
            changed += bite;
            if bite < BITE {
                break;
            }
        }
        self.wakes().deliveries.ring();
        if self.is_shared() {
            self.transaction(|tx| Box::pin(async move { listen::announce(tx, true, None).await })).await?;
        }
        Ok(changed)
    }

    /// Stops mail; whether it was not stopped before. Workers see it within seconds.
    ///
    /// # Errors
    /// `Unavailable`.
    pub async fn pause(&self, pause: Pause) -> Result<bool> {
        const SQL: &str = "
            insert into pauses (scope, domain, tenant_id, agent_id, note, created_at)
            values ($1, $2, $3, $4, $5, $6)
            on conflict do nothing";
        let values = vec![
            scope_bytes(pause.scope).into(),
            pause.domain.unwrap_or_default().into(),
            pause.scope.tenant().into(),
            pause.scope.agent().into(),
            pause.note.into(),
            pause.created_at.into(),
        ];
        Ok(self.run(SQL, values).await? > 0)
    }

    /// Lets stopped mail go on; whether it was stopped.
    ///
    /// # Errors
    /// `Unavailable`.
    pub async fn resume(&self, scope: Scope, domain: Option<&str>) -> Result<bool> {
        let sql = "delete from pauses where scope = $1 and domain = $2";
        let was = self.run(sql, vec![scope_bytes(scope).into(), domain.unwrap_or_default().into()]).await? > 0;
        self.let_go_on(scope, domain).await?;
        Ok(was)
    }

    /// Makes due what was put off for a pause that has ended. Other pauses put off what is theirs again.
    ///
    /// # Errors
    /// `Unavailable`.
    pub async fn let_go_on(&self, scope: Scope, domain: Option<&str>) -> Result<()> {
        // A lease leaves the mark: what is in a worker's hands already goes on there.
        const PUT_OFF: Change = change!(concat!(free!(), "and mark = 'paused' "), "due_at = $12, mark = ''", "");
        let filter = QueueFilter { domain: domain.map(str::to_owned), ..QueueFilter::all_of(scope) };
        self.in_bites(&PUT_OFF, filter).await.map(drop)
    }

    /// All pauses, at most 10,000.
    ///
    /// # Errors
    /// `Unavailable`, `Corrupt`.
    pub async fn pauses(&self) -> Result<Vec<Pause>> {
        const SQL: &str = "
            select scope, domain, tenant_id, agent_id, note, created_at
            from pauses
            order by scope, domain
            limit 10000";
        let read = |row: &Row| {
            Ok(Pause {
                scope: read_scope(row)?,
                domain: Some(row.text("domain")?).filter(|domain| !domain.is_empty()),
                note: row.text("note")?,
                created_at: row.time("created_at")?,
            })
        };
        self.rows(SQL, vec![]).await?.iter().map(read).collect()
    }
}

async fn cancel_bite(
    tx: &mut Tx,
    filter: &QueueFilter,
    now: Timestamp,
    tell: &(impl Fn(&Delivery) -> Option<Event> + Sync),
) -> Result<(u64, bool)> {
    const SQL: Change = change!(
        free!(),
        "state = 'cancelled', due_at = null, lease = null, settled_at = $12, reason = 'cancelled', held_at = null,
            mark = ''",
        "returning deliveries.message_id, deliveries.recipient, tenant_id, agent_id, address, state, attempts,
            accepted_at, expires_at"
    );
    let rows = tx.rows(SQL.by(filter, tx.is_shared()), values(filter, now)).await?;
    let told = rows.iter().filter_map(|row| tell(&deliveries::read(row).ok()?));
    let told: Vec<Event> = told.collect();
    let is_owed = events::tell(tx, &told.iter().collect::<Vec<_>>()).await?;
    if tx.is_shared() {
        listen::announce(tx, false, is_owed.then_some("")).await?;
    }
    Ok((rows.len() as u64, is_owed))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::id::{MessageId, TenantId};
    use crate::store::explained::Explained;

    #[tokio::test]
    async fn looking_at_what_waits_reads_nothing_that_was_delivered() {
        let now = Timestamp::from_millis(1_800_000_000_000);
        let explained = Explained::at(now).await;
        let check = async |filter: QueueFilter, index: &str| {
            let mut values = values(&filter, now);
            values.extend([Vec::new().into(), (-1i64).into(), 100u32.into()]);
            let steps = explained.steps(QUEUED.by(&filter), values).await;
            assert!(steps.first().is_some_and(|step| step.ends_with(index)), "{index}: {steps:#?}");
        };
        let all = || QueueFilter::all_of(Scope::Installation);
        check(all(), "SCAN deliveries USING INDEX deliveries_by_domain").await;
        let tenant = QueueFilter::all_of(Scope::Tenant(TenantId::from_bytes([1; 16])));
        check(tenant, "INDEX deliveries_by_state (tenant_id=? AND state=? AND message_id>?)").await;
        let message = QueueFilter { message: Some(MessageId::first_at(now)), ..all() };
        check(message, "PRIMARY KEY (message_id=?)").await;
    }
}
