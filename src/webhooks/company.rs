//! What is told together with a dispatch that a worker holds: its lease is renewed with that one's, and for as long.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use crate::model::delivery::Lease;
use crate::model::webhook::DispatchId;
use crate::store::dispatches::LeasedDispatch;

/// The company of each dispatch that has any, by that dispatch.
#[derive(Debug, Default)]
pub(super) struct Company(Mutex<HashMap<DispatchId, Vec<(DispatchId, Lease)>>>);

/// Company, kept until this is dropped.
#[derive(Debug)]
#[must_use = "its leases are renewed until it is dropped"]
pub(super) struct Kept<'c> {
    company: &'c Company,
    first: DispatchId,
}

impl Company {
    /// Keeps these for as long as the worker holds `first`.
    pub(super) fn keep(&self, first: DispatchId, others: &[LeasedDispatch]) -> Kept<'_> {
        let others = others.iter().map(|other| (other.id, other.lease.clone())).collect();
        self.all().insert(first, others);
        Kept { company: self, first }
    }

    /// What is held, and its company.
    pub(super) fn with(&self, held: Vec<(DispatchId, Lease)>) -> Vec<(DispatchId, Lease)> {
        let all = self.all();
        let company: Vec<_> = held.iter().filter_map(|(id, _)| all.get(id)).flatten().cloned().collect();
        held.into_iter().chain(company).collect()
    }

    fn all(&self) -> MutexGuard<'_, HashMap<DispatchId, Vec<(DispatchId, Lease)>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Kept<'_> {
    fn drop(&mut self) {
        self.company.all().remove(&self.first);
    }
}
