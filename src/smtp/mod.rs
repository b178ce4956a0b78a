//! DOOR. SMTP submission, and reports coming home. Knows the protocol, decides nothing about mail.
//!
//! From the wire inwards: `server` takes connections, `talk` owns one socket and its time, `connection` cuts bytes into
//! lines and texts, `session` knows what may come when, `command` and `data` read one line and one text, `reply` has all
//! the words. Everything but `server`, `talk` and `link` is pure: bytes in, replies and steps out.

pub mod auth;
pub mod command;
pub mod connection;
pub mod counters;
pub mod data;
mod link;
pub mod peers;
pub mod proxy;
pub mod reply;
pub mod server;
pub mod session;
pub mod settings;
pub mod step;
mod talk;
