//! WHO IS BEHIND A HIT.

pub mod agent;
pub mod geo;
pub mod machine;

use crate::model::hit::{EarlierHit, HitKind, HitRequest, Visitor};
use crate::model::time::Timestamp;

/// What was seen before a hit, as far as judging it needs.
#[derive(Clone, Debug)]
pub struct Seen {
    /// Pixel or link.
    pub kind: HitKind,
    /// Which link.
    pub link: u16,
    /// When the hit came.
    pub now: Timestamp,
    /// When the next hop took the mail; `None` while it has not.
    pub delivered_at: Option<Timestamp>,
    /// Earlier hits of the same recipient, newest first.
    pub earlier: Vec<EarlierHit>,
}

/// Describes visitors.
#[derive(Debug, Default)]
pub struct Enricher {}

impl Enricher {
    /// Who is behind a hit, and whether webhooks should wait for more evidence.
    pub fn visitor(&self, _request: &HitRequest, _seen: &Seen) -> (Visitor, bool) {
        (Visitor::default(), false)
    }
}
