//! The integration tests: one binary, each module a part of the house seen from outside. `tests/README.md` says what
//! each is; `support` holds what they share.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on says so by panicking")]

#[path = "../crowd/mod.rs"]
mod crowd;
mod support;
mod tidy;
#[path = "../unharmed/mod.rs"]
mod unharmed;

mod acme;
mod away;
mod cli;
mod clients;
mod console;
mod conversation;
mod crash;
mod delivery;
mod demo;
mod dialog;
mod dispatching;
mod dkim;
mod documents;
mod door;
mod engines;
mod exchanger;
mod formats;
mod fuzz;
mod fuzz_submissions;
mod fuzz_tracking;
mod geoip;
mod guarded;
mod handed;
mod hits;
mod http;
mod kept;
mod kept_keys;
mod letters;
mod mailers;
mod mx;
mod nodes;
mod notified;
mod people;
mod queueing;
mod receivers;
mod rendering;
mod replaying;
mod reports;
mod rewrite;
mod sandbox;
mod scripted_receiver;
mod sdks;
mod searching;
mod sink;
mod smuggling;
mod stop;
mod storage;
mod suppressions;
mod switches;
mod tls_reports;
mod told;
mod tracking_hosts;
mod triage;
mod walls;
mod webhook_commands;
