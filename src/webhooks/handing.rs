//! Brings what was written leased to the lane that posts it: reads what it is, beside the writer and not in its way.

use std::time::Duration;

use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinHandle;

use crate::clock::Clock;
use crate::model::delivery::Lease;
use crate::model::webhook::DispatchId;
use crate::store::Store;
use crate::store::dispatches::{Handed, LeasedDispatch};
use crate::worker::Again;

/// How long a store is asked that is away. Well within a lease: what has not been read then comes due with its end.
const ASKED_MAX: Duration = Duration::from_secs(30);

/// The bringing, under way. Dropping it stops it at once.
#[derive(Debug)]
pub(super) struct Handing {
    stop: Option<oneshot::Sender<()>>,
    task: JoinHandle<()>,
}

impl Handing {
    /// Starts, and where things arrive. That has no bound of its own: it is emptied by a worker, which has one.
    pub(super) fn start(store: Store, clock: Clock) -> (Self, mpsc::UnboundedReceiver<LeasedDispatch>) {
        let (stop, stopped) = oneshot::channel();
        let (lane, arrived) = mpsc::unbounded_channel();
        let handed = store.take_handed_dispatches();
        let task = tokio::spawn(bring(store, clock, handed, lane, stopped));
        (Self { stop: Some(stop), task }, arrived)
    }

    /// Takes nothing on any more, gives back what the lane has not, and returns.
    pub(super) async fn end(&mut self) {
        drop(self.stop.take());
        let _ = (&mut self.task).await;
    }
}

impl Drop for Handing {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn bring(
    store: Store,
    clock: Clock,
    mut handed: Handed,
    lane: mpsc::UnboundedSender<LeasedDispatch>,
    mut stopped: oneshot::Receiver<()>,
) {
    loop {
        let in_hand = tokio::select! {
            biased;
            _ = &mut stopped => break,
            in_hand = handed.next() => in_hand,
        };
        let until = clock.now() + ASKED_MAX;
        let mut again = Again::default();
        let read = loop {
            match store.handed_dispatches(&in_hand).await {
                Ok(read) => break read,
                Err(fault) if clock.now() < until => {
                    tracing::warn!(%fault, "what is to be told cannot be read; trying again");
                    again.wait().await;
                }
                Err(fault) => {
                    tracing::warn!(%fault, "what is to be told could not be read; it comes due with its lease's end");
                    break Vec::new();
                }
            }
        };
        for dispatch in read {
            // The lane is gone only when all stops at once.
            let _ = lane.send(dispatch);
        }
    }
    give_back(&store, handed.close()).await;
}

async fn give_back(store: &Store, ids: Vec<DispatchId>) {
    if ids.is_empty() {
        return;
    }
    let lease = Lease { holder: store.holder().to_owned(), attempt: 1 };
    let leases = ids.into_iter().map(|id| (id, lease.clone())).collect();
    if let Err(fault) = store.release_dispatches(leases).await {
        tracing::warn!(%fault, "leases could not be given back; what they are for comes due with their end");
    }
}
