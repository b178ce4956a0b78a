//! What is forgotten, when, in small bites.
//!
//! A message goes, with everything about it, when it is older than the limit, none of its deliveries is queued and
//! none of its events is owed.
//! What was logged of webhooks goes earlier, and what tests left behind. Each bite is one short transaction, so that
//! forgetting never holds up the writer for long. What there is little of goes at once, before the bites.

use std::time::Duration;

use super::db::{Result, Store, Tx};
use super::hits::counts::day_of;
use super::value::Value;
use super::{address_history, messages, pulse, search, tls_sessions, webhook_versions, webhooks};
use crate::model::id::{FileId, MessageId, WebhookId};
use crate::model::message::Message;
use crate::model::time::Timestamp;

/// Messages forgotten in one transaction.
const BITE: u32 = 200;
/// How long what was done to suppressions is remembered: a year and a month, for whoever asks after a year.
const SUPPRESSION_HISTORY: Duration = Duration::from_secs(400 * 86_400);
/// Hits or events forgotten in one transaction.
const SMALL_BITE: u32 = 1_000;
/// Counts by day, which are about nobody.
const COUNTS: Duration = Duration::from_secs(750 * 86_400);
/// How long the ids of hits are kept that are only counted: longer than a journal may wait to be read again.
const COUNTED_KEPT: Duration = Duration::from_secs(7 * 86_400);
/// Webhooks that are gone looked after in one round.
const ORPHANS_MAX: u32 = 100;
/// Attempts to tell webhooks forgotten in one transaction.
const ATTEMPTS_BITE: u32 = 2000;
/// How long a draft may be there whose test nobody waited for.
const DRAFT_AGE_MAX: Duration = Duration::from_secs(3600);

/// A node that was silent for so long is gone.
const SILENT: Duration = Duration::from_secs(86_400);

/// A success that no report has turned into a bounce for so long is one.
const SUCCESS_STOOD: Duration = Duration::from_secs(3 * 86_400);
/// How long failures of an address are remembered.
const FAILURES_KEPT: Duration = Duration::from_secs(60 * 86_400);

/// How long things are kept.
#[derive(Clone, Copy, Debug)]
pub struct Keep {
    /// Messages with their content, attempts, hits, events and dispatches.
    pub messages: Duration,
    /// Events and hits.
    pub events: Duration,
    /// Reports kept for people.
    pub reports: Duration,
    /// Attempts to tell webhooks, tests, notices and replays.
    pub webhook_log: Duration,
}

impl Store {
    /// Forgets one bite of the messages, events and attempts at webhooks that are older than `keep` allows; whether there
    /// may be more.
    ///
    /// # Errors
    /// `Unavailable`.
    pub async fn forget(&self, keep: Keep) -> Result<bool> {
        let now = self.now();
        let forgotten =
            self.transaction(move |tx| Box::pin(async move { forget_messages(tx, now - keep.messages).await })).await?;
        for id in &forgotten {
            self.remove_aside(&id.to_string()).await;
        }
        let counted = vec![first_id(now - COUNTED_KEPT).into(), SMALL_BITE.into()];
        let counted = self.run(FORGET_COUNTED, counted).await? >= u64::from(SMALL_BITE);
        let events =
            self.transaction(move |tx| Box::pin(async move { forget_events(tx, now - keep.events).await })).await?;
        let attempts = vec![(now - keep.webhook_log).into(), ATTEMPTS_BITE.into()];
        let attempts = self.run(ATTEMPTS, attempts).await? >= u64::from(ATTEMPTS_BITE);
        Ok(forgotten.len() >= BITE as usize || counted || events || attempts)
    }

    /// Forgets all that there is little of and that is older than `keep` allows. It goes through most of what it is about:
    /// once a round is enough.
    ///
    /// # Errors
    /// `Unavailable`, `Corrupt`.
    pub async fn forget_little(&self, keep: Keep) -> Result<()> {
        let now = self.now();
        let tls_day = day_of(now) - i64::from(tls_sessions::DAYS_KEPT);
        let little: [(&str, Value); 10] = [
            (OLD_REPORTS, (now - keep.reports).into()),
            (ENDED_SUPPRESSIONS, now.into()),
            ("delete from suppression_history where at < $1", (now - SUPPRESSION_HISTORY).into()),
            ("delete from kept_answers where kept_until < $1", now.into()),
            ("delete from recent_statistics where slot < $1", pulse::oldest_slot(now).into()),
            ("delete from nodes where seen_at < $1", (now - SILENT).into()),
            ("delete from hit_counts where day < $1", day_of(now - COUNTS).into()),
            ("delete from statistics where day < $1", day_of(now - COUNTS).into()),
            ("delete from tls_sessions where day < $1", tls_day.into()),
            ("delete from tls_reports where day < $1", tls_day.into()),
        ];
        for (sql, before) in little {
            self.run(sql, vec![before]).await?;
        }
        let (stood, old) = (now - SUCCESS_STOOD, now - FAILURES_KEPT);
        self.transaction(move |tx| Box::pin(async move { address_history::forget_past(tx, stood, old).await })).await?;
        let before = now - keep.webhook_log;
        self.transaction(move |tx| Box::pin(async move { forget_log(tx, before, now).await })).await?;
        for row in self.rows(ORPHANS, vec![ORPHANS_MAX.into()]).await? {
            let gone = WebhookId::from_bytes(row.id("webhook_id")?);
            self.transaction(move |tx| Box::pin(async move { webhooks::remove(tx, gone).await })).await?;
        }
        Ok(())
    }

    /// Empties the dialogues of attempts at messages that were accepted between these times; the facts of the attempts
    /// stay. In bites, so that nobody waits for long.
    ///
    /// # Errors
    /// `Unavailable`, `Corrupt`.
    pub async fn trim_dialogues(&self, from: Timestamp, before: Timestamp) -> Result<()> {
        const BITE: &str = "
            select message_id
            from attempts
            where message_id > $1 and message_id < $2
            order by message_id
            limit $3";
        const TRIM: &str = "
            update attempts
            set dialogue = ''
            where message_id > $1 and message_id <= $2 and started_at < $3 and dialogue <> ''";
        let (mut after, end) = (first_id(from), first_id(before));
        loop {
            let bite = vec![after.clone().into(), end.clone().into(), SMALL_BITE.into()];
            let rows = self.rows(BITE, bite).await?;
            let Some(last) = rows.last().map(|row| row.bytes("message_id")).transpose()? else { return Ok(()) };
            self.run(TRIM, vec![after.into(), last.clone().into(), before.into()]).await?;
            after = last;
        }
    }

    /// Removes content files that no row points to: left by a stop between the file's write and the row's. Run before
    /// the doors open.
    ///
    /// # Errors
    /// `Unavailable`.
    pub async fn collect_orphans(&self) -> Result<()> {
        let Ok(mut folder) = tokio::fs::read_dir(&self.0.contents).await else { return Ok(()) };
        while let Ok(Some(entry)) = folder.next_entry().await {
            let name = entry.file_name().to_string_lossy().into_owned();
            if !self.is_known(&name).await? {
                tracing::info!(file = name, "removing a content file that no row points to");
                let _ = tokio::fs::remove_file(entry.path()).await;
            }
        }
        Ok(())
    }

    /// Whether a row points to a content file of this name.
    pub(super) async fn is_known(&self, file: &str) -> Result<bool> {
        let (sql, id) = match (file.parse::<MessageId>(), file.parse::<FileId>()) {
            (Ok(id), _) => ("select 1 as known from contents where message_id = $1 and file is not null", id.into()),
            (_, Ok(id)) => ("select 1 as known from cached_files where id = $1 and file is not null", id.into()),
            (Err(_), Err(_)) => return Ok(false),
        };
        Ok(self.row(sql, vec![id]).await?.is_some())
    }
}

const OLD_REPORTS: &str = "delete from reports where received_at < $1";
const ENDED_SUPPRESSIONS: &str = "delete from suppressions where expires_at < $1";

/// `cross join` keeps SQLite from going through all attempts.
const ATTEMPTS: &str = "
    delete from dispatch_attempts
    where (event_id, webhook_id, number) in (
        select event_id, webhook_id, number
        from webhooks
        cross join dispatch_attempts
        where dispatch_attempts.webhook_id = webhooks.id and started_at < $1
        limit $2)";

/// Webhooks that are gone and to which something is owed: an event was being written when they were removed. One look
/// into the index for each webhook that anything was ever owed to.
const ORPHANS: &str = "
    with recursive told (webhook_id) as (
        select (select webhook_id from dispatches order by webhook_id limit 1)
        union all
        select (
            select dispatches.webhook_id from dispatches
            where dispatches.webhook_id > told.webhook_id
            order by dispatches.webhook_id
            limit 1)
        from told
        where told.webhook_id is not null)
    select webhook_id
    from told
    where webhook_id is not null and not exists (select 1 from webhooks where webhooks.id = told.webhook_id)
    order by webhook_id
    limit $1";

/// Forgets what else is logged of webhooks.
async fn forget_log(tx: &mut Tx, before: Timestamp, now: Timestamp) -> Result<()> {
    tx.run("delete from replays where ended_at < $1", vec![before.into()]).await?;
    for sql in webhook_versions::OLD {
        tx.run(sql, vec![before.into()]).await?;
    }
    let drafts = "select id from webhooks where switch = 'draft' and created_at < $1 order by id limit 100";
    for row in tx.rows(drafts, vec![(now - DRAFT_AGE_MAX).into()]).await? {
        webhooks::remove(tx, WebhookId::from_bytes(row.id("id")?)).await?;
    }
    // What tests are about, and the notices about webhooks and mail agents, which have their numbers in place of a message's.
    for (stale, then) in [
        (
            "select id from samples where accepted_at < $1 order by id limit 100",
            Some("delete from samples where id = $1"),
        ),
        ("select distinct webhooks.id from webhooks join events on message_id = webhooks.id where at < $1", None),
        ("select distinct agents.id from agents join events on message_id = agents.id where at < $1", None),
    ] {
        for row in tx.rows(stale, vec![before.into()]).await? {
            let id = row.bytes("id")?;
            for sql in [
                "delete from dispatch_attempts where event_id in (select id from events where message_id = $1 and at < $2)",
                "delete from dispatches where event_id in (select id from events where message_id = $1 and at < $2)",
                "delete from events where message_id = $1 and at < $2",
            ] {
                tx.run(sql, vec![id.clone().into(), before.into()]).await?;
            }
            if let Some(then) = then {
                tx.run(then, vec![id.into()]).await?;
            }
        }
    }
    Ok(())
}

/// Messages accepted before `$2`, whose ids are before `$1`, that nobody waits for: no delivery is queued, and no event is
/// owed. A webhook that is off keeps nothing that has been owed to it for as long as messages are kept.
const OLD: &str = "
    select id, tenant_id, agent_id, agent_key, source, accepted_at, size_bytes, facts
    from messages
    where id < $1 and accepted_at < $2
        and not exists (select 1 from deliveries where message_id = messages.id and state in ('queued', 'handed_over'))
        and not exists (
            select 1
            from events
            join dispatches on dispatches.event_id = events.id
            join webhooks on webhooks.id = dispatches.webhook_id
            where events.message_id = messages.id and dispatches.state = 'queued'
                and (switch = 'on' or dispatches.created_at >= $2))
    order by id
    limit $3";

async fn forget_messages(tx: &mut Tx, before: Timestamp) -> Result<Vec<MessageId>> {
    // Ids are drawn in the order of time: only what is old is looked at.
    let rows = tx.rows(OLD, vec![MessageId::first_at(before).into(), before.into(), BITE.into()]).await?;
    let old: Vec<Message> = rows.iter().map(messages::read).collect::<Result<_>>()?;
    search::forget(tx, &old).await?;
    let mut ids = Vec::with_capacity(old.len());
    for Message { id, .. } in old {
        for sql in [
            "delete from dispatch_attempts where event_id in (select id from events where message_id = $1)",
            "delete from dispatches where event_id in (select id from events where message_id = $1)",
            "delete from events where message_id = $1",
            "delete from hits where message_id = $1",
            "delete from firsts where message_id = $1",
            "delete from attempts where message_id = $1",
            "delete from deliveries where message_id = $1",
            "delete from contents where message_id = $1",
            "delete from messages where id = $1",
        ] {
            tx.run(sql, vec![id.into()]).await?;
        }
        ids.push(id);
    }
    Ok(ids)
}

const FORGET_COUNTED: &str = "
    delete from counted_hits
    where id in (select id from counted_hits where id < $1 order by id limit $2)";

/// Forgets hits and events of before; whether there may be more. An event that is still owed to someone stays until it
/// is not. That somebody came for the first time is kept, so that they do not come for the first time again.
async fn forget_events(tx: &mut Tx, before: Timestamp) -> Result<bool> {
    // Ids are drawn in the order of time, so the oldest come first; a hit is never older than its message.
    const HITS: &str = "
        delete from hits
        where (message_id, recipient, id) in (
            select message_id, recipient, id
            from hits
            where message_id < $1 and at < $2
            order by message_id, recipient, id
            limit $3)";
    const EVENTS: &str = "
        select id
        from events
        where id < $1 and not exists (select 1 from dispatches where event_id = events.id and state = 'queued')
        order by id
        limit $2";
    let oldest = first_id(before);
    let hits = tx.run(HITS, vec![oldest.clone().into(), before.into(), SMALL_BITE.into()]).await?;
    let rows = tx.rows(EVENTS, vec![oldest.into(), BITE.into()]).await?;
    for row in &rows {
        let id = row.bytes("id")?;
        tx.run("delete from dispatch_attempts where event_id = $1", vec![id.clone().into()]).await?;
        tx.run("delete from dispatches where event_id = $1", vec![id.clone().into()]).await?;
        tx.run("delete from events where id = $1", vec![id.into()]).await?;
    }
    Ok(hits >= u64::from(SMALL_BITE) || rows.len() >= BITE as usize)
}

/// The least id that is drawn at a time (RFC 9562 §5.7).
fn first_id(at: Timestamp) -> Vec<u8> {
    let millis = u64::try_from(at.as_millis()).unwrap_or(0).to_be_bytes();
    [&millis[2..], &[0; 10]].concat()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::explained::Explained;

    #[tokio::test]
    async fn looking_for_what_is_old_reads_nothing_that_is_young() {
        let now = Timestamp::from_millis(1_800_000_000_000);
        let explained = Explained::at(now).await;
        let check = async |sql: &str, values: Vec<Value>, search: &str| {
            let steps = explained.steps(sql, values).await;
            assert!(steps.iter().any(|step| step.contains(search)), "{search}: {steps:#?}");
            assert!(!steps.iter().any(|step| step.contains("SCAN")), "{steps:#?}");
        };
        let old = vec![MessageId::first_at(now).into(), now.into(), BITE.into()];
        check(OLD, old, "SEARCH messages USING PRIMARY KEY (id<?)").await;
        check(OLD_REPORTS, vec![now.into()], "reports_by_age (received_at<?)").await;
        check(ENDED_SUPPRESSIONS, vec![now.into()], "suppressions_by_end (expires_at<?)").await;
    }
}
