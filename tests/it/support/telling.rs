//! The lanes that tell webhooks, inside the test: on its store and clock, to receivers on loopback.

use std::sync::Arc;

use postback::clock::Clock;
use postback::dns::Table;
use postback::egress::{Guard, Policy, Settings as Egress, Trust};
use postback::store::Store;
use postback::webhooks::client::{Client, Limits};
use postback::webhooks::{self, Counters, Parts, Running, Settings};

/// Starts them.
pub fn tell(store: &Store, clock: &Clock, counters: &Arc<Counters>, settings: &Settings) -> Running {
    tell_within(Limits::default(), store, clock, counters, settings)
}

/// The same, with so much time for a request.
pub fn tell_within(
    limits: Limits,
    store: &Store,
    clock: &Clock,
    counters: &Arc<Counters>,
    settings: &Settings,
) -> Running {
    let allow = vec!["127.0.0.0/8".to_owned()];
    let policy = Policy::new(&Egress { allow, ..Egress::default() }).unwrap();
    let guard = Arc::new(Guard::new(policy, Arc::new(Table::new())));
    let client = Arc::new(Client::new(guard, Trust::open(None).unwrap(), clock.clone(), limits));
    let (store, clock, counters) = (store.clone(), clock.clone(), counters.clone());
    webhooks::start(&Parts { store, clock, client, counters }, settings)
}
