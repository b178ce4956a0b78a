//! How much the addresses that are warming sent, by day: what the nodes count together.
//!
//! Owns the `source_use` table. How much they may send, `deliver::sources` says.

use super::db::{Result, Store};
use super::value::Row;

/// Days for which it is kept.
const DAYS_KEPT: i64 = 7;

/// Mails that went out from one source on one day.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SourceUse {
    /// The source's name.
    pub source: String,
    /// Days since 1970.
    pub day: i64,
    /// How many.
    pub mails: i64,
}

impl Store {
    /// Adds what was sent.
    ///
    /// # Errors
    /// `Unavailable`.
    pub async fn add_source_use(&self, uses: Vec<SourceUse>) -> Result<()> {
        const SQL: &str = "
            insert into source_use (source, day, mails)
            values ($1, $2, $3)
            on conflict (source, day) do update
            set mails = source_use.mails + excluded.mails";
        self.transaction(move |tx| {
            Box::pin(async move {
                for SourceUse { source, day, mails } in uses {
                    tx.run(SQL, vec![source.into(), day.into(), mails.into()]).await?;
                    tx.run("delete from source_use where day < $1", vec![(day - DAYS_KEPT).into()]).await?;
                }
                Ok(())
            })
        })
        .await
    }

    /// What was sent on a day.
    ///
    /// # Errors
    /// `Unavailable`, `Corrupt`.
    pub async fn source_use(&self, day: i64) -> Result<Vec<SourceUse>> {
        const SQL: &str = "
            select source, day, mails
            from source_use
            where day = $1
            order by source
            limit 1000";
        let read =
            |row: &Row| Ok(SourceUse { source: row.text("source")?, day: row.int("day")?, mails: row.int("mails")? });
        self.rows(SQL, vec![day.into()]).await?.iter().map(read).collect()
    }
}
