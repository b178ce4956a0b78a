//! The programs that run on this store. Owns the `nodes` table.

use std::time::Duration;

use super::db::{Result, Store};
use super::value::{Row, json};
use crate::model::node::{Node, NodeFacts};

/// Nodes that are listed.
const NODES_MAX: u32 = 1_000;
/// A node that was silent for so long is not listed.
const SILENT: Duration = Duration::from_secs(3600);

impl Store {
    /// Says that this node runs.
    ///
    /// # Errors
    /// `Unavailable`.
    pub async fn node_runs(&self, facts: &NodeFacts) -> Result<()> {
        const SQL: &str = "
            insert into nodes (name, facts, started_at, seen_at)
            values ($1, $2, $3, $3)
            on conflict (name) do update
            set facts = excluded.facts, seen_at = excluded.seen_at";
        self.run(SQL, vec![self.holder().into(), json(facts).into(), self.now().into()]).await.map(drop)
    }

    /// Says that this node does not run any more.
    ///
    /// # Errors
    /// `Unavailable`.
    pub async fn node_stops(&self) -> Result<()> {
        self.run("delete from nodes where name = $1", vec![self.holder().into()]).await.map(drop)
    }

    /// The nodes that were seen within the hour, by name, at most 1,000.
    ///
    /// # Errors
    /// `Unavailable`, `Corrupt`.
    pub async fn nodes(&self) -> Result<Vec<Node>> {
        const SQL: &str = "
            select name, facts, started_at, seen_at
            from nodes
            where seen_at > $1
            order by name
            limit $2";
        let read = |row: &Row| {
            Ok(Node {
                name: row.text("name")?,
                facts: row.json("facts")?,
                started_at: row.time("started_at")?,
                seen_at: row.time("seen_at")?,
            })
        };
        self.rows(SQL, vec![(self.now() - SILENT).into(), NODES_MAX.into()]).await?.iter().map(read).collect()
    }
}
