//! PostgreSQL's NOTIFY becomes a wake: a node hears of work that another accepted without waiting for its next poll.
//!
//! A hint like every wake: when the listening connection is gone, polling finds the work.

use std::time::Duration;

use sqlx::Executor;
use sqlx::postgres::{PgListener, PgPoolOptions};
use tokio::time::timeout;

use super::connection::{Reach, silence};
use super::db::{PATIENCE, Result, Tx, Wakes};

const CHANNEL: &str = "postback";
/// How long to wait before listening again after the connection was lost.
const LISTEN_AGAIN: Duration = Duration::from_secs(5);
/// How long nothing is heard before the server is asked whether it is there.
const ASK_AFTER: Duration = Duration::from_secs(60);

/// Tells the nodes, when the transaction commits: of deliveries that are due, and of dispatches; of these all but a node
/// that knows already, which may be nobody.
pub(super) async fn announce(tx: &mut Tx, deliveries: bool, dispatches: Option<&str>) -> Result<()> {
    let deliveries = deliveries.then(|| "deliveries".to_owned());
    let dispatches = dispatches.map(|knows| format!("dispatches {knows}"));
    for what in [deliveries, dispatches].into_iter().flatten() {
        tx.rows("select pg_notify($1, $2)", vec![CHANNEL.into(), what.into()]).await?;
    }
    Ok(())
}

/// Listens until the store is closed.
pub(super) fn start(reach: Reach, wakes: Wakes, own: String) {
    tokio::spawn(async move {
        while !reach.pool.is_closed() {
            let heard = reach.pool.close_event().do_until(listen(&reach, &wakes, &own)).await;
            if let Ok(Err(fault)) = heard {
                tracing::warn!(%fault, "cannot hear of other nodes' work; polling still finds it");
                tokio::time::sleep(LISTEN_AGAIN).await;
            }
        }
    });
}

async fn listen(reach: &Reach, wakes: &Wakes, own: &str) -> sqlx::Result<()> {
    let mut listener = within(reach.answer_within, begin(reach)).await?;
    loop {
        let Ok(heard) = timeout(ASK_AFTER, listener.recv()).await else {
            // Nothing to tell, or nobody there to tell it.
            within(reach.answer_within, listener.execute("select 1")).await?;
            continue;
        };
        match heard?.payload().strip_prefix("dispatches") {
            None => wakes.deliveries.ring(),
            Some(knows) if knows.trim_start() == own => {}
            Some(_) => {
                wakes.dispatches.ring();
                wakes.trials.ring();
            }
        }
    }
}

/// A listener on a connection that is not one of the pool's: it says goodbye when it is dropped, and until somebody
/// answers that, nobody else could have the connection.
async fn begin(reach: &Reach) -> sqlx::Result<PgListener> {
    let one = PgPoolOptions::new().max_connections(1).max_lifetime(None).idle_timeout(None);
    let options = reach.pool.connect_options();
    let own = one.acquire_timeout(PATIENCE).connect_lazy_with((*options).clone());
    let mut listener = PgListener::connect_with(&own).await?;
    listener.listen(CHANNEL).await?;
    Ok(listener)
}

async fn within<T>(limit: Duration, answer: impl Future<Output = sqlx::Result<T>>) -> sqlx::Result<T> {
    timeout(limit, answer).await.map_err(|_| silence(limit))?
}
