//! Keys that sign for the domains of tenants.
//!
//! Owns the `signing_keys` table. A private key is sealed before it is written (`model::seal`). How a key
//! moves from state to state, `model::signing_key` says; the moves are here.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;

use super::db::{Result, Store, StoreError};
use super::value::Row;
use crate::model::id::TenantId;
use crate::model::signing_key::{Algorithm, KeyState, RETIRED_KEPT, SigningKey};

impl Store {
    /// Keeps a signing key; its private half, in PKCS#8, is sealed.
    ///
    /// # Errors
    /// `Conflict` when the selector is taken; `Unavailable`.
    pub async fn add_signing_key(&self, key: &SigningKey, pkcs8: &[u8]) -> Result<()> {
        const SQL: &str = "
            insert into signing_keys (tenant_id, domain, selector, algorithm, state, public_key, sealed_key,
                created_at, state_since)
            values ($1, $2, $3, $4, $5, $6, $7, $8, $9)";
        let row = vec![
            key.tenant.into(),
            key.domain.as_str().into(),
            key.selector.as_str().into(),
            key.algorithm.as_str().into(),
            key.state.as_str().into(),
            key.public.as_str().into(),
            self.0.master.seal(&place(key), &STANDARD.encode(pkcs8)).into(),
            key.created_at.into(),
            key.state_since.into(),
        ];
        self.run(SQL, row).await.map(drop)
    }

    /// The keys of a tenant's domain in every state, at most 100, newest first.
    ///
    /// # Errors
    /// `Unavailable`, `Corrupt`.
    pub async fn signing_keys(&self, tenant: TenantId, domain: &str) -> Result<Vec<SigningKey>> {
        const SQL: &str = "
            select tenant_id, domain, selector, algorithm, state, public_key, created_at, state_since
            from signing_keys
            where tenant_id = $1 and domain = $2
            order by created_at desc, selector
            limit 100";
        self.rows(SQL, vec![tenant.into(), domain.into()]).await?.iter().map(read_key).collect()
    }

    /// The keys that wait for their records to be seen, at most `limit`, longest waiting first.
    ///
    /// # Errors
    /// `Unavailable`, `Corrupt`.
    pub async fn waiting_keys(&self, limit: u32) -> Result<Vec<SigningKey>> {
        const SQL: &str = "
            select tenant_id, domain, selector, algorithm, state, public_key, created_at, state_since
            from signing_keys
            where state = 'waiting'
            order by state_since, domain, selector
            limit $1";
        self.rows(SQL, vec![limit.into()]).await?.iter().map(read_key).collect()
    }

    /// The keys that sign for a tenant's domain, with their private halves in PKCS#8.
    ///
    /// # Errors
    /// `Unavailable`; `Corrupt` when one does not open with the installation's key.
    pub async fn private_keys(&self, tenant: TenantId, domain: &str) -> Result<Vec<(SigningKey, Vec<u8>)>> {
        const SQL: &str = "
            select tenant_id, domain, selector, algorithm, state, public_key, sealed_key, created_at, state_since
            from signing_keys
            where tenant_id = $1 and domain = $2 and state = 'signing'
            order by algorithm desc, selector
            limit 10";
        let read = |row: &Row| {
            let key = read_key(row)?;
            let corrupt = |why: &str| StoreError::Corrupt(format!("the private key of {}: {why}", key.record_name()));
            let text = self.0.master.open(&place(&key), &row.text("sealed_key")?);
            let pkcs8 = STANDARD.decode(text.map_err(|fault| corrupt(&fault.to_string()))?);
            let pkcs8 = pkcs8.map_err(|_| corrupt("it is not base64"))?;
            Ok((key, pkcs8))
        };
        self.rows(SQL, vec![tenant.into(), domain.into()]).await?.iter().map(read).collect()
    }

    /// Whether mail of this author's domain is signed: for it, or for one above it.
    ///
    /// # Errors
    /// `Unavailable`.
    pub async fn signs_for(&self, tenant: TenantId, author: &str) -> Result<bool> {
        const SQL: &str = "
            select selector
            from signing_keys
            where tenant_id = $1 and domain = $2 and state = 'signing'
            order by selector
            limit 1";
        let mut domain = author;
        while domain.contains('.') {
            if self.row(SQL, vec![tenant.into(), domain.into()]).await?.is_some() {
                return Ok(true);
            }
            domain = domain.split_once('.').map_or("", |(_, above)| above);
        }
        Ok(false)
    }

    /// Lets a key sign that waits or was retired; those of its algorithm that signed until now retire. Whether it did.
    ///
    /// # Errors
    /// `Unavailable`.
    pub async fn begin_signing(&self, key: &SigningKey) -> Result<bool> {
        const RETIRE: &str = "
            update signing_keys set state = 'retired', state_since = $1
            where tenant_id = $2 and domain = $3 and algorithm = $4 and state = 'signing' and selector <> $5";
        const BEGIN: &str = "
            update signing_keys set state = 'signing', state_since = $1
            where tenant_id = $2 and domain = $3 and algorithm = $4 and state <> 'signing' and selector = $5";
        let (key, now) = (key.clone(), self.now());
        self.transaction(move |tx| {
            Box::pin(async move {
                let values = || {
                    let SigningKey { tenant, domain, selector, algorithm, .. } = key.clone();
                    vec![now.into(), tenant.into(), domain.into(), algorithm.as_str().into(), selector.into()]
                };
                let began = tx.run(BEGIN, values()).await? > 0;
                if began {
                    tx.run(RETIRE, values()).await?;
                }
                Ok(began)
            })
        })
        .await
    }

    /// Removes a signing key. Whether it existed.
    ///
    /// # Errors
    /// `Unavailable`.
    pub async fn remove_signing_key(&self, tenant: TenantId, domain: &str, selector: &str) -> Result<bool> {
        let sql = "delete from signing_keys where tenant_id = $1 and domain = $2 and selector = $3";
        Ok(self.run(sql, vec![tenant.into(), domain.into(), selector.into()]).await? > 0)
    }

    /// Removes the keys of a tenant's domain that wait for their records and have never signed; their selectors.
    ///
    /// # Errors
    /// `Unavailable`, `Corrupt`.
    pub async fn drop_waiting_keys(&self, tenant: TenantId, domain: &str) -> Result<Vec<String>> {
        const SQL: &str = "
            delete from signing_keys
            where tenant_id = $1 and domain = $2 and state = 'waiting'
            returning selector";
        let values = vec![tenant.into(), domain.into()];
        let rows = self.transaction(move |tx| Box::pin(async move { tx.rows(SQL, values).await })).await?;
        rows.iter().map(|row| row.text("selector")).collect()
    }

    /// Forgets keys that were retired long enough ago.
    ///
    /// # Errors
    /// `Unavailable`.
    pub async fn forget_signing_keys(&self) -> Result<()> {
        let sql = "delete from signing_keys where state = 'retired' and state_since <= $1";
        self.run(sql, vec![(self.now() - RETIRED_KEPT).into()]).await.map(drop)
    }
}

/// What a private key is sealed for.
fn place(key: &SigningKey) -> String {
    format!("signing_keys.sealed_key/{}/{}/{}", key.tenant, key.domain, key.selector)
}

fn read_key(row: &Row) -> Result<SigningKey> {
    Ok(SigningKey {
        tenant: TenantId::from_bytes(row.id("tenant_id")?),
        domain: row.text("domain")?,
        selector: row.text("selector")?,
        algorithm: row.word("algorithm", Algorithm::from_word)?,
        state: row.word("state", KeyState::from_word)?,
        public: row.text("public_key")?,
        created_at: row.time("created_at")?,
        state_since: row.time("state_since")?,
    })
}
