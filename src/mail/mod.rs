//! PURE. What message bytes mean.

pub mod arf;
pub(crate) mod charset;
pub mod compose;
pub mod dkim;
pub mod dsn;
pub mod headers;
pub mod html;
pub mod mend;
pub(crate) mod parts;
pub mod phrases;
pub mod plain;
pub mod preview;
pub mod render;
pub mod reply;
pub mod report;
pub mod reporting;
pub mod rewrite;
pub mod rules;
pub mod submitted;
pub mod target;
pub mod template;
pub mod text;
pub mod tls_report;
pub(crate) mod transfer;
pub mod view;
