//! DOOR. SMTP submission, and reports coming home. Knows the protocol, decides nothing about mail.
//!
//! From the wire inwards: `server` owns sockets and time, `connection` cuts bytes into lines and texts, `session`
//! knows what may come when, `command` and `data` read one line and one text, `reply` has all the words. Everything
//! but `server` is pure: bytes in, replies and steps out.

pub mod command;
pub mod data;
pub mod server;
pub mod session;
