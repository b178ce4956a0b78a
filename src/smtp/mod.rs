//! DOOR. SMTP submission, and reports coming home.

pub mod command;
pub mod data;
pub mod server;
pub mod session;
