//! WHO IS BEHIND A HIT: the place of an address, the program behind a user agent, and whether a person looked.
//!
//! Three questions, each a module that can be asked alone (`postback inspect` does), put together by the [`Enricher`].
//! Nothing is invented: what is not known is empty, and what a proxy says of itself is not said of a reader. Knows no
//! store and no clock; `intake::hit` brings what is known around a hit and records what is found here.

pub mod agent;
pub mod geo;
pub mod machine;
mod visitor;

pub use machine::Seen;
pub use visitor::Enricher;
