//! OUTWARD: events.

pub mod client;
pub mod formats;
pub mod signature;
