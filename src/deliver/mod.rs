//! OUTWARD: mail.

pub mod route;
pub mod throttle;
pub mod transport;
