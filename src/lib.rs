//! Postback: a self-hosted transactional mail agent.

pub mod app;

pub mod config;

pub mod log;

pub mod sink;
pub mod smtp;

pub mod http;

pub mod intake;

pub mod store;

pub mod enrich;

pub mod deliver;

pub mod webhooks;

pub mod egress;

pub mod fetch;

pub mod worker;

pub mod wake;

pub mod clock;

pub mod ids;

pub mod dns;

pub mod tls;

pub mod mail;

pub mod model;
