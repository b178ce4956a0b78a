//! WHO IS BEHIND A HIT.

pub mod agent;
pub mod geo;
pub mod machine;
