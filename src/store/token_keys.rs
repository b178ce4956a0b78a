//! The secrets that tokens are sealed with. Owns the `token_keys` table.
//!
//! The newest seals, all that are not revoked open. A revoked key loses its secret and keeps its row, so that its id is
//! taken again only when all others are in use: then what it sealed is refused by the new secret.

use super::db::{Result, Store, StoreError, Tx};
use super::value::Row;
use crate::model::time::Timestamp;
use crate::model::token::{KEYS_MAX, Key, KeyRing};

/// A key as people see it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TokenKey {
    /// 0 to 31.
    pub id: u8,
    /// When it was made.
    pub created_at: Timestamp,
    /// When it was revoked.
    pub revoked_at: Option<Timestamp>,
}

/// What revoking a key came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Revoked {
    /// It opens nothing any more.
    Done,
    /// There is no such key, or it was revoked before.
    Unknown,
    /// It is the only one; another must be made first.
    Last,
}

impl Store {
    /// The installation's ring. When there is no key, `fresh` becomes the first; of several nodes that start at once, one
    /// wins and all get its key.
    ///
    /// # Errors
    /// `Unavailable`, `Corrupt`.
    pub async fn key_ring(&self, fresh: [u8; 32]) -> Result<KeyRing> {
        const FIRST: &str = "
            insert into token_keys (id, secret, created_at)
            select 0, $1, $2
            where not exists (select 1 from token_keys)
            on conflict do nothing";
        self.run(FIRST, vec![fresh.as_slice().into(), self.now().into()]).await?;
        let ring = KeyRing::default();
        self.refresh_ring(&ring).await?;
        Ok(ring)
    }

    /// Puts into `ring` what was rotated or revoked since; whether anything was.
    ///
    /// # Errors
    /// `Unavailable`, `Corrupt`.
    pub async fn refresh_ring(&self, ring: &KeyRing) -> Result<bool> {
        const SQL: &str = "
            select id, secret
            from token_keys
            where revoked_at is null
            order by created_at desc, id desc
            limit 32";
        let keys = self.rows(SQL, vec![]).await?;
        let read = |row: &Row| Ok(Key { id: row.small("id")?, secret: row.array("secret")? });
        Ok(ring.replace(keys.iter().map(read).collect::<Result<_>>()?))
    }

    /// The keys, newest first, revoked ones too.
    ///
    /// # Errors
    /// `Unavailable`, `Corrupt`.
    pub async fn token_keys(&self) -> Result<Vec<TokenKey>> {
        const SQL: &str = "
            select id, created_at, revoked_at
            from token_keys
            order by created_at desc, id desc
            limit 32";
        self.rows(SQL, vec![]).await?.iter().map(read).collect()
    }

    /// Adds a key that new tokens are sealed with from now on; its id. `None` when all ids are in use.
    ///
    /// # Errors
    /// `Unavailable`, `Corrupt`.
    pub async fn rotate_token_key(&self, secret: [u8; 32]) -> Result<Option<u8>> {
        let now = self.now();
        self.transaction(move |tx| Box::pin(async move { rotate(tx, secret, now).await })).await
    }

    /// Revokes a key: what it sealed opens no more, links already sent with it lead nowhere.
    ///
    /// # Errors
    /// `Unavailable`, `Corrupt`.
    pub async fn revoke_token_key(&self, id: u8) -> Result<Revoked> {
        let now = self.now();
        self.transaction(move |tx| Box::pin(async move { revoke(tx, id, now).await })).await
    }
}

fn read(row: &Row) -> Result<TokenKey> {
    let (created_at, revoked_at) = (row.time("created_at")?, row.maybe_time("revoked_at")?);
    Ok(TokenKey { id: row.small("id")?, created_at, revoked_at })
}

/// All keys, under the lock that two rotations must not share.
async fn locked(tx: &mut Tx) -> Result<Vec<TokenKey>> {
    // PostgreSQL: whoever changes a row of the first key waits for whoever did before. SQLite has one writer.
    tx.run("update token_keys set created_at = created_at where id = (select min(id) from token_keys)", vec![]).await?;
    let rows = tx.rows("select id, created_at, revoked_at from token_keys order by id limit 32", vec![]).await?;
    rows.iter().map(read).collect()
}

async fn rotate(tx: &mut Tx, secret: [u8; 32], now: Timestamp) -> Result<Option<u8>> {
    let keys = locked(tx).await?;
    let ids = 0..u8::try_from(KEYS_MAX).unwrap_or(u8::MAX);
    let fresh = ids.into_iter().find(|id| keys.iter().all(|key| key.id != *id));
    let revoked = keys.iter().filter_map(|key| Some((key.revoked_at?, key.id))).min();
    let Some(id) = fresh.or(revoked.map(|(_, id)| id)) else { return Ok(None) };
    // The newest must be the newest also when the clock stands.
    let created_at = keys.iter().map(|key| key.created_at).max().map_or(now, |last| now.max(last + MILLISECOND));
    tx.run("delete from token_keys where id = $1 and revoked_at is not null", vec![id.into()]).await?;
    let sql = "insert into token_keys (id, secret, created_at) values ($1, $2, $3)";
    tx.run(sql, vec![id.into(), secret.as_slice().into(), created_at.into()]).await?;
    Ok(Some(id))
}

const MILLISECOND: std::time::Duration = std::time::Duration::from_millis(1);

async fn revoke(tx: &mut Tx, id: u8, now: Timestamp) -> Result<Revoked> {
    let keys = locked(tx).await?;
    let in_use: Vec<u8> = keys.iter().filter(|key| key.revoked_at.is_none()).map(|key| key.id).collect();
    if !in_use.contains(&id) {
        return Ok(Revoked::Unknown);
    }
    if in_use.len() == 1 {
        return Ok(Revoked::Last);
    }
    let sql = "update token_keys set revoked_at = $1, secret = $2 where id = $3";
    match tx.run(sql, vec![now.into(), Vec::<u8>::new().into(), id.into()]).await? {
        1 => Ok(Revoked::Done),
        _ => Err(StoreError::Corrupt(format!("token key {id} is there more than once"))),
    }
}
