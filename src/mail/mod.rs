//! PURE. What message bytes mean.

pub mod arf;
pub mod compose;
pub mod dsn;
pub mod headers;
pub mod html;
pub mod phrases;
pub mod reply;
pub mod report;
pub mod rewrite;
pub mod submitted;
pub mod text;
