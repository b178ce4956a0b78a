//! What came of orders for certificates: the last one for the doors' own, and for each host that has one or should. For
//! people who look; lost with the program, as the next order comes with the next start.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use crate::model::time::Timestamp;

/// Hosts that are remembered.
const HOSTS_MAX: usize = 10_000;

/// The last order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Order {
    /// When its end was known.
    pub at: Timestamp,
    /// Why no certificate was got, and when it is tried again; `None` when one was.
    pub fault: Option<(String, Timestamp)>,
}

/// The last orders by host, the doors' own under no name. Clones share it.
#[derive(Clone, Debug, Default)]
pub struct Orders(Arc<Mutex<BTreeMap<String, Order>>>);

impl Orders {
    /// Remembers one, in place of the one before.
    pub fn note(&self, host: &str, order: Order) {
        let mut orders = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if orders.len() < HOSTS_MAX || orders.contains_key(host) {
            orders.insert(host.to_owned(), order);
        }
    }

    /// The last one for a host; for no name: for the doors' own.
    pub fn last(&self, host: &str) -> Option<Order> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).get(host).cloned()
    }
}
