//! Connections that wait for their next request.
//!
//! Kept under scheme, host, port, the certificates that one side or the other brings, and the policy's generation: a
//! connection made under an older policy is never used again. The one used last is taken first, so that surplus ones grow
//! old. A sweeper closes what has waited too long; it runs only while something waits.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;

use tokio::time::{Instant, sleep};

use super::connection::Connection;
use super::identities;
use crate::egress::{Identity, Vetted};

/// What connections are interchangeable.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Key {
    is_https: bool,
    host: String,
    port: u16,
    generation: u64,
    /// Of what its TLS wants; nothing when that is nothing out of the ordinary.
    identity: Option<[u8; 32]>,
}

impl Key {
    pub(super) fn of(vetted: &Vetted, identity: Identity<'_>) -> Self {
        Self {
            identity: identities::digest(identity),
            is_https: vetted.is_https(),
            host: vetted.host().to_owned(),
            port: vetted.port(),
            generation: vetted.generation(),
        }
    }
}

/// The waiting connections.
#[derive(Debug)]
pub(super) struct Pool {
    shelves: Mutex<Shelves>,
    idle_max: Duration,
    per_key_max: usize,
    total_max: usize,
}

#[derive(Debug, Default)]
struct Shelves {
    waiting: HashMap<Key, Vec<(Instant, Connection)>>,
    total: usize,
    is_swept: bool,
}

impl Pool {
    /// An empty pool.
    pub(super) fn new(idle_max: Duration, per_key_max: usize, total_max: usize) -> Arc<Self> {
        Arc::new(Self { shelves: Mutex::default(), idle_max, per_key_max, total_max })
    }

    /// A connection that can be used at once.
    pub(super) fn take(&self, key: &Key) -> Option<Connection> {
        let mut shelves = self.lock();
        let mut spent = Vec::new();
        let Shelves { waiting, total, .. } = &mut *shelves;
        let shelf = waiting.get_mut(key)?;
        let found = loop {
            let Some((since, connection)) = shelf.pop() else { break None };
            *total -= 1;
            if connection.is_usable() && since.elapsed() < self.idle_max {
                break Some(connection);
            }
            spent.push(connection);
        };
        if shelf.is_empty() {
            waiting.remove(key);
        }
        drop(shelves);
        found
    }

    /// Keeps a connection for later, or closes it when enough are waiting.
    pub(super) fn put(self: &Arc<Self>, key: &Key, connection: Connection) {
        let mut shelves = self.lock();
        if shelves.total >= self.total_max {
            return;
        }
        let shelf = match shelves.waiting.get_mut(key) {
            Some(shelf) => shelf,
            None => shelves.waiting.entry(key.clone()).or_default(),
        };
        if shelf.len() >= self.per_key_max {
            return;
        }
        shelf.push((Instant::now(), connection));
        shelves.total += 1;
        if !std::mem::replace(&mut shelves.is_swept, true) {
            tokio::spawn(sweep(Arc::downgrade(self), self.idle_max));
        }
    }

    /// Closes what has waited too long or was closed by the other side; whether anything still waits.
    fn weed(&self) -> bool {
        let mut shelves = self.lock();
        let Shelves { waiting, total, is_swept } = &mut *shelves;
        waiting.retain(|_, shelf| {
            shelf.retain(|(since, connection)| connection.is_usable() && since.elapsed() < self.idle_max);
            !shelf.is_empty()
        });
        *total = waiting.values().map(Vec::len).sum();
        *is_swept = *total > 0;
        *is_swept
    }

    /// How many connections wait.
    #[cfg(test)]
    pub(super) fn waiting(&self) -> usize {
        self.lock().total
    }

    fn lock(&self) -> MutexGuard<'_, Shelves> {
        self.shelves.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

async fn sweep(pool: Weak<Pool>, idle_max: Duration) {
    loop {
        sleep(idle_max / 4).await;
        if !pool.upgrade().is_some_and(|pool| pool.weed()) {
            return;
        }
    }
}
