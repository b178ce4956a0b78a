//! The words of the house: what a tenant, a message, a delivery, an event and a webhook are.
//!
//! Pure values and the rules between them: no clock, no randomness, no I/O, no async, no SQL, no logging. Everybody
//! may import this module; it imports nobody. What is hard to think about lives here, because here it is easy to test.

pub mod access;
pub mod address;
pub mod author;
pub mod bearing;
pub mod delivery;
pub mod domain;
pub mod dsn;
pub mod event;
pub mod file;
pub mod hit;
pub mod id;
pub mod key;
pub mod message;
pub mod network;
pub mod node;
pub mod notice;
pub mod once;
pub mod permission;
pub mod preview;
pub mod pulse;
pub mod queue;
pub mod reason;
pub mod replay;
pub mod retry;
pub mod sample;
pub mod seal;
pub mod search;
pub mod secret;
pub mod signing_key;
pub mod statistics;
pub mod suppression;
pub mod template;
pub mod tenant;
pub mod time;
pub mod tls_session;
pub mod token;
pub mod totp;
pub mod tracking;
pub mod user;
pub mod webhook;
pub mod webhook_attempt;
pub mod webhook_health;
pub mod webhook_key;
pub mod webhook_options;
mod words;
