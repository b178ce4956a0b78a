//! How much of a host we take: connections at once, and which of them are kept for the next mail.
//!
//! A [`Turn`] is the right to one connection. The kept connection used last is used first, so that those too many grow
//! old and go. Whether a kept one still stands is not asked (a NOOP costs a round trip): its first command shows it.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::presets::Preset;
use super::settings::{Mx, Smarthost};
use super::transport::Connection;
use crate::model::time::Timestamp;

/// How much of a host we take.
#[derive(Clone, Copy, Debug)]
pub struct Bounds {
    /// Connections at once.
    pub connections: usize,
    /// Mails over one connection.
    pub mails: u32,
    /// Age of a connection.
    pub age: Duration,
    /// Time for which an unused connection is kept.
    pub idle: Duration,
}

impl From<&Smarthost> for Bounds {
    fn from(settings: &Smarthost) -> Self {
        Self {
            connections: settings.connections_max.into(),
            mails: settings.mails_per_connection_max,
            age: Duration::from_secs(settings.connection_age_max_secs.into()),
            idle: Duration::from_secs(settings.connection_idle_max_secs.into()),
        }
    }
}

impl Bounds {
    /// Of an exchanger that this preset is for.
    pub fn of_exchanger(settings: &Mx, preset: &Preset) -> Self {
        Self {
            connections: usize::try_from(preset.connections).unwrap_or(usize::MAX).min(Semaphore::MAX_PERMITS),
            mails: preset.mails_per_connection,
            age: Duration::from_secs(settings.connection_age_max_secs.into()),
            idle: Duration::from_secs(settings.connection_idle_max_secs.into()),
        }
    }
}

/// Hands out the right to connections.
#[derive(Debug)]
pub struct Throttle {
    bounds: Bounds,
    turns: Arc<Semaphore>,
    kept: Mutex<Vec<Kept>>,
}

#[derive(Debug)]
struct Kept {
    connection: Connection,
    since: Timestamp,
}

/// The right to one connection, until it is dropped.
#[derive(Debug)]
pub struct Turn<'a> {
    throttle: &'a Throttle,
    _permit: OwnedSemaphorePermit,
}

impl Throttle {
    /// Nothing is open yet.
    pub fn new(bounds: Bounds) -> Self {
        Self { bounds, turns: Arc::new(Semaphore::new(bounds.connections)), kept: Mutex::default() }
    }

    /// Waits for a turn; first come, first served.
    pub async fn turn(&self) -> Turn<'_> {
        let permit = self.turns.clone().acquire_owned().await.expect("the semaphore is never closed");
        Turn { throttle: self, _permit: permit }
    }

    /// Takes out the connections that nobody should use any more.
    pub fn stale(&self, now: Timestamp) -> Vec<Connection> {
        let is_stale = |kept: &mut Kept| now.since(kept.since) > self.bounds.idle || self.is_old(&kept.connection, now);
        self.kept().extract_if(.., is_stale).map(|kept| kept.connection).collect()
    }

    /// Whether a connection is kept.
    pub fn keeps_any(&self) -> bool {
        !self.kept().is_empty()
    }

    /// Takes out all kept connections.
    pub fn all(&self) -> Vec<Connection> {
        self.kept().drain(..).map(|kept| kept.connection).collect()
    }

    fn is_old(&self, connection: &Connection, now: Timestamp) -> bool {
        now.since(connection.opened_at) > self.bounds.age
    }

    fn kept(&self) -> std::sync::MutexGuard<'_, Vec<Kept>> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Turn<'_> {
    /// The kept connection that was used last. Take out the stale ones before.
    pub fn kept(&self) -> Option<Connection> {
        self.throttle.kept().pop().map(|kept| kept.connection)
    }

    /// Keeps a connection for the next mail; gives it back, to be closed, when it has had its share.
    pub fn keep(&self, connection: Connection, now: Timestamp) -> Option<Connection> {
        if connection.mails >= self.throttle.bounds.mails || self.throttle.is_old(&connection, now) {
            return Some(connection);
        }
        self.throttle.kept().push(Kept { connection, since: now });
        None
    }
}
