//! WHAT WE REMEMBER. The only place with SQL.
//!
//! One text a query, on SQLite and PostgreSQL alike; `db` holds the two pools and what differs. Arrivals, settlements
//! and hits go through `writer`, where many share one commit; everything else is a transaction of its own. A change of
//! state, the event that tells of it, and the dispatches it owes commit together or not at all. No transaction waits
//! for the network, and none is cut off by a caller that goes away: each runs on its own task.

mod connection;
pub mod db;
mod faults;
mod files;
pub mod schema;
mod tx;
mod value;

pub mod writer;

pub mod messages;

pub mod deliveries;

pub mod leasing;

pub mod queue;

pub mod events;

pub mod hits;

pub mod reports;

pub mod refusals;

pub mod suppressions;

mod address_history;

pub mod webhooks;

pub mod webhook_health;
mod webhook_versions;

pub mod dispatches;

pub mod replays;

pub mod tenants;

mod credentials;

pub mod domains;

pub mod templates;

pub mod cached_files;
pub mod users;

pub mod token_keys;

pub mod tracking;

pub mod signing_keys;

pub mod sts;

pub mod tls_sessions;

pub mod activity;

pub mod search;

pub mod pulse;

pub mod nodes;
pub mod sources;

pub mod views;

pub mod recipients;

pub mod idempotency;

pub mod statistics;

pub mod retention;

#[cfg(test)]
mod explained;
pub mod listed;
mod listen;

mod sealing;

pub use db::{Store, StoreError};
