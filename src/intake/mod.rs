//! THE THREE ARRIVALS. Protocol-free; the only way in.

pub mod caller;
pub mod hit;
pub mod report;
pub mod submission;
