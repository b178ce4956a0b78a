//! How webhooks fare that fail, and what follows for them. Owns the `webhook_health` and `notices` tables.
//!
//! A webhook that is well has no row, so that what arrives costs it one look and no writing. What follows from failures
//! is decided by `model::webhook_health`; here it is remembered in the transaction of the settlement that shows it.

use std::collections::{BTreeMap, HashMap};

use super::db::{Result, Store, Tx};
use super::dispatches::DispatchSettlement;
use super::value::{Row, Value};
use super::{events, webhooks};
use crate::model::event::{Event, EventKind};
use crate::model::id::{EventId, TenantId, WebhookId};
use crate::model::notice::notice;
use crate::model::seal::MasterKey;
use crate::model::time::Timestamp;
use crate::model::webhook::DispatchNext;
use crate::model::webhook_health::{Failure, Health, News, PROBE};

/// The word for a dispatch that its receiver will never take.
pub const REFUSED: &str = "refused";
/// Notices taken at one time.
const NOTICES_MAX: u32 = 50;

macro_rules! health_columns {
    () => {
        "score, failing_since, failures, exhausted, pauses, paused_until, is_warned, last_failure_at,
            webhook_health.last_error"
    };
}

impl Store {
    /// How a webhook fares; `None` when it is well.
    ///
    /// # Errors
    /// `Unavailable`, `Corrupt`.
    pub async fn webhook_health(&self, id: WebhookId) -> Result<Option<Health>> {
        let sql = concat!("select ", health_columns!(), " from webhook_health where webhook_id = $1");
        self.row(sql, vec![id.into()]).await?.as_ref().map(read).transpose()
    }

    /// How a tenant's webhooks fare that are not well.
    ///
    /// # Errors
    /// `Unavailable`, `Corrupt`.
    pub async fn webhook_healths(&self, tenant: TenantId) -> Result<HashMap<WebhookId, Health>> {
        const SQL: &str = concat!(
            "select webhook_id, ",
            health_columns!(),
            " from webhooks
            join webhook_health on webhook_id = webhooks.id
            where tenant_id = $1
            order by webhook_id
            limit 1000"
        );
        let rows = self.rows(SQL, vec![tenant.into()]).await?;
        rows.iter().map(|row| Ok((WebhookId::from_bytes(row.id("webhook_id")?), read(row)?))).collect()
    }

    /// Notices that are to go by mail, oldest first.
    ///
    /// # Errors
    /// `Unavailable`, `Corrupt`.
    pub async fn notices(&self) -> Result<Vec<Event>> {
        const SQL: &str = "
            select events.id as event_id, message_id, recipient, tenant_id, agent_id, kind, ordinal, at, address,
                detail, relay, relay_at, is_test
            from notices
            join events on events.id = notices.event_id
            order by notices.event_id
            limit $1";
        self.rows(SQL, vec![NOTICES_MAX.into()]).await?.iter().map(events::read).collect()
    }

    /// A notice has been seen to.
    ///
    /// # Errors
    /// `Unavailable`.
    pub async fn remove_notice(&self, id: EventId) -> Result<()> {
        self.run("delete from notices where event_id = $1", vec![id.into()]).await.map(drop)
    }
}

/// Takes into account what these settlements tell; the notices that follow, which the caller writes.
pub(super) async fn settle(tx: &mut Tx, settled: &[&DispatchSettlement], master: &MasterKey) -> Result<Vec<Event>> {
    // In the order of ids, so that two writers cannot wait for each other.
    let mut by_webhook: BTreeMap<WebhookId, Vec<&DispatchSettlement>> = BTreeMap::new();
    for settlement in settled {
        by_webhook.entry(settlement.id.webhook).or_default().push(settlement);
    }
    let mut known = load(tx, by_webhook.keys().copied()).await?;
    if tx.is_shared() {
        // Two writers that both find nothing would each begin to count.
        let is_fresh = |(id, settlements): &(&WebhookId, &Vec<&DispatchSettlement>)| {
            !known.contains_key(id)
                && settlements.iter().any(|each| matches!(&each.error, Some(error) if error != REFUSED))
        };
        let fresh: Vec<WebhookId> = by_webhook.iter().filter(is_fresh).map(|(id, _)| *id).collect();
        for id in &fresh {
            begin(tx, *id).await?;
        }
        known.extend(load(tx, fresh.into_iter()).await?);
    }
    let mut notices = Vec::new();
    for (id, settlements) in by_webhook {
        let before = known.remove(&id);
        let mut health = before.clone().unwrap_or_default();
        let mut told = Vec::new();
        for settlement in settlements {
            told.extend(take(&mut health, settlement));
        }
        if health.is_sick() && !before.as_ref().is_some_and(Health::is_sick) {
            tracing::warn!(webhook.id = %id, failures = health.failures, error = health.last_error,
                "a webhook is paused; one request at a time finds out whether its receiver is back");
        }
        for told in told {
            notices.extend(tell(tx, id, &told, master).await?);
        }
        match before {
            Some(before) if before == health && health != Health::default() => {}
            None if health == Health::default() => {}
            _ => write(tx, id, &health).await?,
        }
    }
    mail(tx, notices.iter()).await?;
    Ok(notices)
}

/// Has these notices mailed to whom they are for.
pub(super) async fn mail<'n>(tx: &mut Tx, notices: impl Iterator<Item = &'n Event>) -> Result<()> {
    let rows = notices.map(|notice| vec![notice.id.into(), notice.at.into()]).collect();
    tx.many("insert into notices (event_id, created_at) values", "on conflict do nothing", rows).await.map(drop)
}

/// News of a webhook, and how it fared then.
struct Told {
    news: News,
    at: Timestamp,
    health: Health,
}

/// What one settlement does to a webhook's health.
fn take(health: &mut Health, settlement: &DispatchSettlement) -> Vec<Told> {
    let at = settlement.at;
    let Some(error) = &settlement.error else {
        let before = health.clone();
        return health.arrived().map(|news| Told { news, at, health: before }).into_iter().collect();
    };
    if error == REFUSED {
        // It works, and does not want this one.
        return Vec::new();
    }
    let failure = Failure {
        at: settlement.at,
        error,
        given_up: settlement.given_up_beside + u32::from(settlement.is_given_up()),
        wish: settlement.wish,
    };
    let mut news = health.failed(failure);
    if matches!(settlement.next, DispatchNext::WaitsSwitchedOff(_)) {
        news = vec![News::Off];
    }
    news.into_iter().map(|news| Told { news, at, health: health.clone() }).collect()
}

async fn tell(tx: &mut Tx, id: WebhookId, told: &Told, master: &MasterKey) -> Result<Option<Event>> {
    let kind = match told.news {
        News::Off => return webhooks::switch_off(tx, id, &told.health, told.at, master).await,
        News::Warning => EventKind::WebhookFailing,
        News::Exhausted => EventKind::WebhookExhausted,
        News::Recovered => EventKind::WebhookRecovered,
    };
    let webhook = webhooks::find(tx, id, master).await?;
    Ok(webhook.map(|webhook| notice(&webhook, kind, &told.health, told.at)))
}

/// One request is on its way to find out; the next may be made when it has had its time.
pub(super) async fn probe(tx: &mut Tx, id: WebhookId, now: Timestamp) -> Result<()> {
    let sql = "update webhook_health set paused_until = $1 where webhook_id = $2";
    tx.run(sql, vec![(now + PROBE).into(), id.into()]).await.map(drop)
}

/// A row to lock, where there is none.
async fn begin(tx: &mut Tx, id: WebhookId) -> Result<()> {
    const SQL: &str = "
        insert into webhook_health (webhook_id, score, failures, exhausted, pauses, is_warned, last_error)
        select id, 0, 0, 0, 0, false, ''
        from webhooks
        where id = $1
        on conflict do nothing";
    tx.run(SQL, vec![id.into()]).await.map(drop)
}

/// How these fare, held until the transaction ends; ids in order, so that two cannot wait for each other.
pub(super) async fn load(tx: &mut Tx, ids: impl Iterator<Item = WebhookId>) -> Result<HashMap<WebhookId, Health>> {
    const HEAD: &str = "with wanted (id) as (values";
    macro_rules! tail {
        ($lock:literal) => {
            concat!(
                ") select webhook_id, ",
                health_columns!(),
                " from wanted join webhook_health on webhook_id = wanted.id order by webhook_id ",
                $lock
            )
        };
    }
    let tail = if tx.is_shared() { tail!("for update of webhook_health") } else { tail!("") };
    let rows = tx.many(HEAD, tail, ids.map(|id| vec![id.into()]).collect()).await?;
    rows.iter().map(|row| Ok((WebhookId::from_bytes(row.id("webhook_id")?), read(row)?))).collect()
}

async fn write(tx: &mut Tx, id: WebhookId, health: &Health) -> Result<()> {
    // Of a webhook that was deleted meanwhile nothing is kept.
    const SQL: &str = "
        insert into webhook_health (webhook_id, score, failing_since, failures, exhausted, pauses, paused_until,
            is_warned, last_failure_at, last_error)
        select id, $2, $3, $4, $5, $6, $7, $8, $9, $10
        from webhooks
        where id = $1
        on conflict (webhook_id) do update
        set score = excluded.score, failing_since = excluded.failing_since, failures = excluded.failures,
            exhausted = excluded.exhausted, pauses = excluded.pauses, paused_until = excluded.paused_until,
            is_warned = excluded.is_warned, last_failure_at = excluded.last_failure_at,
            last_error = excluded.last_error";
    if *health == Health::default() {
        return tx.run("delete from webhook_health where webhook_id = $1", vec![id.into()]).await.map(drop);
    }
    let row: Vec<Value> = vec![
        id.into(),
        health.score.into(),
        health.failing_since.into(),
        health.failures.into(),
        health.exhausted.into(),
        health.pauses.into(),
        health.paused_until.into(),
        health.is_warned.into(),
        health.last_failure_at.into(),
        health.last_error.as_str().into(),
    ];
    tx.run(SQL, row).await.map(drop)
}

fn read(row: &Row) -> Result<Health> {
    Ok(Health {
        score: row.small("score")?,
        failing_since: row.maybe_time("failing_since")?,
        failures: row.small("failures")?,
        exhausted: row.small("exhausted")?,
        pauses: row.small("pauses")?,
        paused_until: row.maybe_time("paused_until")?,
        is_warned: row.flag("is_warned")?,
        last_failure_at: row.maybe_time("last_failure_at")?,
        last_error: row.text("last_error")?,
    })
}
