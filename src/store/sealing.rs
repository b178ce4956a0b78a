//! That the secrets in a database are sealed, and with the master key at hand. Owns the `installation` table.
//!
//! Looked at when the store is opened: a database whose secrets nobody could open must not look as if it worked.

use super::db::{Db, Result, Steady, StoreError, Tx};
use super::{tenants, webhooks};
use crate::model::seal::MasterKey;

/// What is sealed to see whether it opens again.
const CANARY: &str = "canary";
const PLACE: &str = "installation.value/canary";

/// Refuses a database that was sealed with another key, and seals what was written before there was sealing.
pub(super) async fn begin(db: &Db, time: &Steady, master: &MasterKey) -> Result<()> {
    let mut tx = db.begin(time).await?;
    if !is_sealed_with(&mut tx, master).await? {
        let fault = "its secrets are sealed with another master key; bring back the file that belongs to it";
        return Err(StoreError::Corrupt(fault.to_owned()));
    }
    webhooks::seal_all(&mut tx, master).await?;
    tenants::seal_all(&mut tx, master).await?;
    tx.commit().await
}

/// Of several nodes that start at once with different keys, the first decides.
async fn is_sealed_with(tx: &mut Tx, master: &MasterKey) -> Result<bool> {
    const FIRST: &str = "insert into installation (name, value) values ('canary', $1) on conflict do nothing";
    tx.run(FIRST, vec![master.seal(PLACE, CANARY).into()]).await?;
    let row = tx.row("select value from installation where name = 'canary'", vec![]).await?;
    let sealed = row.map_or_else(|| Ok(String::new()), |row| row.text("value"))?;
    Ok(master.open(PLACE, &sealed).as_deref() == Ok(CANARY))
}
