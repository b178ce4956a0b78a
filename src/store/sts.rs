//! MTA-STS policies as they were fetched: kept, so that a restart forgets no domain's wish for TLS.
//!
//! Owns the `sts_policies` table. What a policy means, `deliver::sts` says.

use super::db::{Result, Store};
use crate::model::time::Timestamp;

/// A policy as it was fetched.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeptPolicy {
    /// The id that the domain's record had.
    pub id: String,
    /// What was fetched.
    pub text: String,
    /// Until when it holds.
    pub expires_at: Timestamp,
}

impl Store {
    /// The policy kept for a domain; one that has expired counts as none.
    ///
    /// # Errors
    /// `Unavailable`, `Corrupt`.
    pub async fn sts_policy(&self, domain: &str) -> Result<Option<KeptPolicy>> {
        let sql = "select policy_id, policy, expires_at from sts_policies where domain = $1 and expires_at > $2";
        let row = self.row(sql, vec![domain.into(), self.now().into()]).await?;
        row.map(|row| {
            Ok(KeptPolicy {
                id: row.text("policy_id")?,
                text: row.text("policy")?,
                expires_at: row.time("expires_at")?,
            })
        })
        .transpose()
    }

    /// Keeps a policy in the place of the one before.
    ///
    /// # Errors
    /// `Unavailable`.
    pub async fn keep_sts_policy(&self, domain: &str, policy: &KeptPolicy) -> Result<()> {
        const SQL: &str = "
            insert into sts_policies (domain, policy_id, policy, expires_at)
            values ($1, $2, $3, $4)
            on conflict (domain) do update
            set policy_id = excluded.policy_id, policy = excluded.policy, expires_at = excluded.expires_at";
        let KeptPolicy { id, text, expires_at } = policy.clone();
        self.run(SQL, vec![domain.into(), id.into(), text.into(), expires_at.into()]).await.map(drop)
    }
}
