//! A running program, as it tells of itself for those who look after it.

use serde::{Deserialize, Serialize};

use super::time::Timestamp;

/// What a node says of itself.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct NodeFacts {
    /// Its host's name.
    pub hostname: String,
    /// The program's version.
    pub version: String,
    /// What it does, in words.
    pub roles: Vec<String>,
    /// Where it listens: what, and address.
    pub doors: Vec<(String, String)>,
}

/// A running program.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Node {
    /// Its name in leases.
    pub name: String,
    /// What it says of itself.
    pub facts: NodeFacts,
    /// When it began.
    pub started_at: Timestamp,
    /// When it last said so.
    pub seen_at: Timestamp,
}
