//! Answers that are kept for a day. Owns the `kept_answers` table.
//!
//! The answer to a send is written in the commit that accepts the mail: after a crash there are both or neither. Of two
//! nodes that carry out the same request at the same time, one commits; the other finds the answer there, and nothing
//! that it did is kept. What is answered after its commit is reserved before it: a row with status 0, which stands until
//! the answer takes its place, or for two minutes.

use super::db::{Result, Store, StoreError, Tx};
use super::value::{Row, Value};
use crate::model::once::{Answered, Asked, Kept, KeptAnswer, RESERVED};
use crate::model::time::Timestamp;

impl Store {
    /// What is kept for this mail agent and key.
    ///
    /// # Errors
    /// `Unavailable`, `Corrupt`.
    pub async fn kept_answer(&self, asked: &Asked) -> Result<Option<Kept>> {
        const SQL: &str = "
            select fingerprint, status, location, body
            from kept_answers
            where agent_id = $1 and key = $2 and kept_until > $3";
        let values = vec![asked.agent.into(), asked.key.as_slice().into(), self.now().into()];
        let read = |row: &Row| {
            let answer =
                Answered { status: row.small("status")?, location: row.text("location")?, body: row.text("body")? };
            Ok(match answer.status {
                0 => Kept::Running,
                _ => Kept::Done { fingerprint: row.array("fingerprint")?, answer },
            })
        };
        self.row(SQL, values).await?.as_ref().map(read).transpose()
    }

    /// Reserves a key for a request that is about to be carried out.
    ///
    /// # Errors
    /// `Conflict` when it is another's, or there is an answer; `Unavailable`.
    pub async fn reserve_key(&self, asked: Asked) -> Result<()> {
        let now = self.now();
        self.transaction(move |tx| {
            Box::pin(async move {
                let reserved = KeptAnswer { asked, answer: Answered::default(), until: now + RESERVED };
                insert(tx, std::iter::once(&reserved), now).await
            })
        })
        .await
    }

    /// Gives a reserved key back: nothing was done.
    ///
    /// # Errors
    /// `Unavailable`.
    pub async fn release_key(&self, asked: &Asked) -> Result<()> {
        const SQL: &str =
            "delete from kept_answers where agent_id = $1 and key = $2 and fingerprint = $3 and status = 0";
        let values = vec![asked.agent.into(), asked.key.as_slice().into(), asked.fingerprint.as_slice().into()];
        self.run(SQL, values).await.map(drop)
    }

    /// Keeps an answer to what has been done.
    ///
    /// # Errors
    /// `Conflict` when there is one already; `Unavailable`.
    pub async fn keep_answer(&self, kept: KeptAnswer) -> Result<()> {
        let now = self.now();
        self.transaction(move |tx| Box::pin(async move { insert(tx, std::iter::once(&kept), now).await })).await
    }
}

/// Writes answers. One whose time is over gives way, and so does a reservation to the answer that it is for.
pub(super) async fn insert<'a>(tx: &mut Tx, kept: impl Iterator<Item = &'a KeptAnswer>, now: Timestamp) -> Result<()> {
    const HEAD: &str = "
        insert into kept_answers (agent_id, key, fingerprint, status, location, body, kept_until, written_at)
        values";
    const TAIL: &str = "
        on conflict (agent_id, key) do update
        set fingerprint = excluded.fingerprint, status = excluded.status, location = excluded.location,
            body = excluded.body, kept_until = excluded.kept_until, written_at = excluded.written_at
        where kept_answers.kept_until <= excluded.written_at
            or (kept_answers.status = 0 and excluded.status <> 0
                and kept_answers.fingerprint = excluded.fingerprint)
        returning 1 as written";
    let rows: Vec<Vec<Value>> = kept.map(|kept| values(kept, now)).collect();
    let wanted = rows.len();
    let written = tx.many(HEAD, TAIL, rows).await?;
    if written.len() == wanted { Ok(()) } else { Err(StoreError::Conflict) }
}

fn values(kept: &KeptAnswer, now: Timestamp) -> Vec<Value> {
    vec![
        kept.asked.agent.into(),
        kept.asked.key.as_slice().into(),
        kept.asked.fingerprint.as_slice().into(),
        kept.answer.status.into(),
        kept.answer.location.as_str().into(),
        kept.answer.body.as_str().into(),
        kept.until.into(),
        now.into(),
    ]
}
