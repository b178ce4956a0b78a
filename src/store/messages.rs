//! Accepted messages and their contents.
//!
//! Owns the `messages` and `contents` tables, and the folder of contents that are too large for a SQLite row. A
//! large content is written, synced and named before the row that points to it; a file without a row is an orphan that
//! `retention` collects.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use bytes::Bytes;

use super::db::{Db, Result, Store, StoreError, Tx, on_own_task};
use super::deliveries::{self, Leased};
use super::search;
use super::value::{Row, Value, json};
use super::writer::{Accept, Together, Work};
use crate::model::delivery::{Delivery, Lease, State};
use crate::model::id::{AgentId, DeliveryId, MessageId, TenantId};
use crate::model::message::{Fate, Message, Plan, PlannedDelivery, Source};
use crate::model::once::KeptAnswer;
use crate::model::queue::Mark;
use crate::model::retry::LEASE;
use crate::model::tenant::DailyLimits;
use crate::model::time::Timestamp;

/// Largest content that SQLite keeps in a row; PostgreSQL keeps all of them in rows.
const ROW_BYTES_MAX: usize = 256 * 1024;
/// Messages that are looked through for one whose id is not known.
const AROUND_MAX: u32 = 20_000;

/// On which terms a plan is accepted.
#[derive(Clone, Debug, Default)]
pub struct Terms {
    /// The answer to keep with it, when the same request must not be carried out again.
    pub kept: Option<KeptAnswer>,
    /// How much may be sent a day.
    pub limits: DailyLimits,
}

impl Store {
    /// Makes a plan durable: when this returns, the mail survives a power cut. Deliveries that are due now are
    /// accepted already leased to this node and handed to whoever took [`Store::take_handoff`], as far as there is
    /// room; the rest wait for a lease.
    ///
    /// # Errors
    /// `Conflict` when the message id is taken; `Unavailable` or `Closed` when nothing was promised.
    pub async fn accept(&self, plan: Plan) -> Result<()> {
        self.accept_all(vec![plan], Terms::default()).await
    }

    /// Makes plans durable as [`Self::accept`] does, in one commit: all of them, or none.
    ///
    /// # Errors
    /// As [`Self::accept`]; also `OverLimit` when a daily limit would be passed, and `Conflict` when an answer is kept
    /// already.
    pub async fn accept_all(&self, plans: Vec<Plan>, terms: Terms) -> Result<()> {
        let store = self.clone();
        // A client that hangs up must not keep a committed delivery from being handed over.
        on_own_task(async move { store.accept_and_hand_over(plans, terms).await }).await
    }

    async fn accept_and_hand_over(&self, plans: Vec<Plan>, terms: Terms) -> Result<()> {
        let mut accepts = Vec::with_capacity(plans.len());
        let (now, mut files) = (self.now(), Vec::new());
        for plan in plans {
            let file = match self.put_aside(plan.message.id.to_string(), &plan.content).await {
                Ok(file) => file,
                Err(fault) => {
                    self.clear_away(&files).await;
                    return Err(fault);
                }
            };
            files.extend(file.clone());
            accepts.push(Accept { plan: Arc::new(plan), file, holder: None, now });
        }
        let plans: Vec<Arc<Plan>> = accepts.iter().map(|accept| accept.plan.clone()).collect();
        let count = plans.iter().map(|plan| due(plan, now).count()).sum();
        let slots = self.0.writer.slots(count).filter(|slots| !slots.is_empty());
        if slots.is_some() {
            accepts.iter_mut().for_each(|accept| accept.holder = Some(self.0.holder.clone()));
        }
        let written = match self.0.writer.write(Work::Accept(Box::new(Together { accepts, terms, now }))).await {
            // Who is told that it failed sends it again.
            Err(StoreError::Unclear(_)) if self.is_kept(&plans).await => Ok(now),
            written => written,
        };
        if let Err(StoreError::OverLimit | StoreError::Conflict) = written {
            // After any other fault they may have been committed.
            self.clear_away(&files).await;
        }
        let until = written? + LEASE;
        let mut slots = slots.into_iter().flatten();
        for plan in plans {
            let message = Arc::new(plan.message.clone());
            for (planned, slot) in due(&plan, now).zip(slots.by_ref()) {
                self.0.writer.hand_over(Leased {
                    delivery: leased_delivery(&message, planned.clone()),
                    lease: Lease { holder: self.0.holder.clone(), attempt: 1 },
                    until,
                    message: message.clone(),
                    content: Some(plan.content.clone()),
                    mark: Mark::None,
                    suppressed: None,
                    was_misplaced: false,
                    slot: Some(slot),
                });
            }
        }
        Ok(())
    }

    /// Whether plans that were written together are there, as far as can be found out.
    async fn is_kept(&self, plans: &[Arc<Plan>]) -> bool {
        let Some(first) = plans.first() else { return false };
        let found = self.row("select id from messages where id = $1", vec![first.message.id.into()]).await;
        matches!(found, Ok(Some(_)))
    }

    /// What was handed in.
    ///
    /// # Errors
    /// `Corrupt` when the row is there and its file is not; `Unavailable`.
    pub async fn content(&self, id: MessageId) -> Result<Option<Bytes>> {
        let sql = "select body, file from contents where message_id = $1";
        let Some(row) = self.row(sql, vec![id.into()]).await? else { return Ok(None) };
        self.taken_back(&row).await.map(Some)
    }

    /// The bytes that a row holds in `body`, or in the file that it names.
    pub(super) async fn taken_back(&self, row: &Row) -> Result<Bytes> {
        if let Some(body) = row.maybe_bytes("body")? {
            return Ok(body.into());
        }
        let name = row.maybe_text("file")?.ok_or_else(|| StoreError::Corrupt("a content is empty".into()))?;
        let path = self.0.contents.join(&name);
        let bytes = tokio::fs::read(&path).await;
        bytes.map(Bytes::from).map_err(|fault| StoreError::Corrupt(format!("{}: {fault}", path.display())))
    }

    /// The message with this id.
    ///
    /// # Errors
    /// `Corrupt`, `Unavailable`.
    pub async fn message(&self, id: MessageId) -> Result<Option<Message>> {
        const SQL: &str = "
            select id, tenant_id, agent_id, agent_key, source, accepted_at, size_bytes, facts
            from messages
            where id = $1";
        self.row(SQL, vec![id.into()]).await?.as_ref().map(read).transpose()
    }

    /// The one message accepted between two times whose `Message-ID` is this, without its angle brackets. There is no
    /// index for it: at most [`AROUND_MAX`] messages are looked through.
    ///
    /// # Errors
    /// `Corrupt`, `Unavailable`.
    pub async fn message_with_reference(
        &self,
        reference: &str,
        from: Timestamp,
        until: Timestamp,
    ) -> Result<Option<Message>> {
        const SQL: &str = "
            select id, tenant_id, agent_id, agent_key, source, accepted_at, size_bytes, facts
            from (
                select id, tenant_id, agent_id, agent_key, source, accepted_at, size_bytes, facts
                from messages
                where id >= $1 and id < $2
                order by id
                limit $3) as around
            where facts like $4 escape '!'
            order by id
            limit 10";
        let quoted = json(&reference).replace(['!'], "!!").replace('%', "!%").replace('_', "!_");
        let pattern = format!("%\"email_reference\":{quoted}%");
        let around = vec![
            MessageId::first_at(from).into(),
            MessageId::first_at(until).into(),
            AROUND_MAX.into(),
            pattern.into(),
        ];
        let found: Vec<Message> = self.rows(SQL, around).await?.iter().map(read).collect::<Result<_>>()?;
        let mut same = found.into_iter().filter(|message| message.facts.email_reference == reference);
        Ok(same.next().filter(|_| same.next().is_none()))
    }

    /// Writes what is too large for a row into a file of this name and syncs it; the name, if it was.
    pub(super) async fn put_aside(&self, name: String, content: &Bytes) -> Result<Option<String>> {
        if matches!(self.0.db, Db::Postgres(_)) || content.len() <= ROW_BYTES_MAX {
            return Ok(None);
        }
        let (folder, content, file) = (self.0.contents.clone(), content.clone(), name.clone());
        let written = tokio::task::spawn_blocking(move || write_synced(&folder, &file, &content)).await;
        match written {
            Ok(Ok(())) => Ok(Some(name)),
            Ok(Err(fault)) => Err(StoreError::Unavailable(sqlx::Error::Io(fault))),
            Err(_) => Err(StoreError::Closed),
        }
    }

    /// Removes files of what was refused; one that a row points to is of a message that was accepted before.
    async fn clear_away(&self, files: &[String]) {
        for name in files {
            if let Ok(false) = self.is_known(name).await {
                self.remove_aside(name).await;
            }
        }
    }

    /// Removes such a file; most bytes live in rows and have none.
    pub(super) async fn remove_aside(&self, name: &str) {
        let _ = tokio::fs::remove_file(self.0.contents.join(name)).await;
    }
}

/// Makes a folder where there is none, and syncs what it is in, and those that had to be made for it: what is kept in it
/// does not vanish with it when the power does.
pub(super) fn make_folder(folder: &Path) -> std::io::Result<()> {
    let made = folder.ancestors().take_while(|above| !above.is_dir() && !above.as_os_str().is_empty()).count();
    std::fs::create_dir_all(folder)?;
    for above in folder.ancestors().skip(1).take(made.max(1)) {
        let above = if above.as_os_str().is_empty() { Path::new(".") } else { above };
        std::fs::File::open(above)?.sync_all()?;
    }
    Ok(())
}

/// Write, sync, rename, sync the folder: after this the file is whole or absent, also after a power cut.
fn write_synced(folder: &Path, name: &str, content: &[u8]) -> std::io::Result<()> {
    use std::io::Write;
    if !folder.is_dir() {
        make_folder(folder)?;
    }
    let unfinished: PathBuf = folder.join(format!("{name}.part"));
    let write = || {
        let mut file = std::fs::File::create(&unfinished)?;
        file.write_all(content)?;
        file.sync_all()?;
        std::fs::rename(&unfinished, folder.join(name))?;
        std::fs::File::open(folder)?.sync_all()
    };
    write().inspect_err(|_| {
        let _ = std::fs::remove_file(&unfinished);
    })
}

/// The deliveries of a plan that are due now.
fn due(plan: &Plan, now: Timestamp) -> impl Iterator<Item = &PlannedDelivery> {
    plan.deliveries.iter().filter(move |delivery| matches!(delivery.fate, Fate::Queued { due_at } if due_at <= now))
}

fn leased_delivery(message: &Message, planned: PlannedDelivery) -> Delivery {
    Delivery {
        id: planned.id,
        tenant: message.tenant,
        agent: message.agent,
        address: planned.address,
        state: State::Queued,
        attempts: 1,
        accepted_at: message.accepted_at,
        expires_at: planned.expires_at,
    }
}

/// Writes a message that nobody sent: what a test event is about.
pub(super) async fn insert_sample(tx: &mut Tx, message: &Message) -> Result<()> {
    const HEAD: &str = "
        insert into samples (id, tenant_id, agent_id, agent_key, source, accepted_at, size_bytes, facts)
        values";
    tx.many(HEAD, "", vec![message_values(message)]).await.map(drop)
}

/// Writes messages, contents and deliveries of these plans; their events are written with the batch's.
pub(super) async fn insert(tx: &mut Tx, accepts: &[&Accept], now: Timestamp) -> Result<()> {
    const MESSAGES: &str = "
        insert into messages (id, tenant_id, agent_id, agent_key, source, accepted_at, size_bytes, facts)
        values";
    if accepts.is_empty() {
        return Ok(());
    }
    let rows = accepts.iter().map(|accept| message_values(&accept.plan.message)).collect();
    tx.later(MESSAGES, "", rows).await?;
    search::insert_late(tx, accepts.iter().map(|accept| &*accept.plan)).await?;
    let rows = accepts.iter().map(|accept| {
        let body = accept.file.is_none().then(|| accept.plan.content.to_vec());
        vec![accept.plan.message.id.into(), body.into(), accept.file.clone().into()]
    });
    tx.later("insert into contents (message_id, body, file) values", "", rows.collect()).await?;
    deliveries::insert(tx, accepts, now).await
}

fn message_values(message: &Message) -> Vec<Value> {
    vec![
        message.id.into(),
        message.tenant.into(),
        message.agent.into(),
        message.agent_key.as_str().into(),
        message.source.as_str().into(),
        message.accepted_at.into(),
        message.size_bytes.into(),
        json(&message.facts).into(),
    ]
}

/// A message from a row that has all its columns.
pub(super) fn read(row: &Row) -> Result<Message> {
    Ok(Message {
        id: MessageId::from_bytes(row.id("id")?),
        tenant: TenantId::from_bytes(row.id("tenant_id")?),
        agent: AgentId::from_bytes(row.id("agent_id")?),
        agent_key: row.text("agent_key")?,
        source: row.word("source", |word| match word {
            "smtp" => Some(Source::Smtp),
            "http" => Some(Source::Http),
            _ => None,
        })?,
        accepted_at: row.time("accepted_at")?,
        facts: row.json("facts")?,
        size_bytes: row.small("size_bytes")?,
    })
}

/// A delivery id from a row's two columns.
pub(super) fn delivery_id(row: &Row) -> Result<DeliveryId> {
    Ok(DeliveryId { message: MessageId::from_bytes(row.id("message_id")?), recipient: row.small("recipient")? })
}
