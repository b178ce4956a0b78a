//! PostgreSQL's NOTIFY becomes a wake: a node hears of work that another accepted without waiting for its next poll.
//!
//! A hint like every wake: when the listening connection is gone, polling finds the work.

use std::time::Duration;

use sqlx::postgres::{PgListener, PgPool};

use super::db::{Result, Tx, Wakes};

const CHANNEL: &str = "postback";
/// How long to wait before listening again after the connection was lost.
const LISTEN_AGAIN: Duration = Duration::from_secs(5);

/// Tells the other nodes, when the transaction commits.
pub(super) async fn announce(tx: &mut Tx, deliveries: bool, dispatches: bool) -> Result<()> {
    for (is_due, what) in [(deliveries, "deliveries"), (dispatches, "dispatches")] {
        if is_due {
            tx.rows("select pg_notify($1, $2)", vec![CHANNEL.into(), what.into()]).await?;
        }
    }
    Ok(())
}

/// Listens until the pool is closed.
pub(super) fn start(pool: PgPool, wakes: Wakes) {
    tokio::spawn(async move {
        while !pool.is_closed() {
            if let Err(fault) = listen(&pool, &wakes).await {
                tracing::warn!(%fault, "cannot hear of other nodes' work; polling still finds it");
                tokio::time::sleep(LISTEN_AGAIN).await;
            }
        }
    });
}

async fn listen(pool: &PgPool, wakes: &Wakes) -> sqlx::Result<()> {
    let mut listener = PgListener::connect_with(pool).await?;
    listener.listen(CHANNEL).await?;
    loop {
        match listener.recv().await?.payload() {
            "deliveries" => wakes.deliveries.ring(),
            _ => {
                wakes.dispatches.ring();
                wakes.trials.ring();
            }
        }
    }
}
