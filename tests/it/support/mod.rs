//! What the integration tests share. Each part is a real thing on this machine: a database, the true program.
#![allow(dead_code, reason = "each part offers what a test may want, used or not")]

pub mod agent;
pub mod dns;
pub mod engines;
pub mod node;
pub mod person;
pub mod port;
pub mod postfix;
pub mod postgres;
pub mod receiver;
pub mod root;
pub mod submitter;
pub mod telling;
pub mod tls;

/// A variable for other people's programs. Many look up this machine's own name, and a machine may have a name server
/// that never answers: they ask it once, for a second (resolv.conf(5)).
pub const RESOLVER: (&str, &str) = ("RES_OPTIONS", "timeout:1 attempts:1");
