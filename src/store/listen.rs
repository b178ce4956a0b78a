//! PostgreSQL's NOTIFY becomes a wake: a node hears of work that another accepted without waiting for its next poll.
//!
//! A hint like every wake: when the listening connection is gone, polling finds the work.

use std::time::Duration;

use sqlx::Executor;
use sqlx::postgres::{PgListener, PgPool};
use tokio::time::timeout;

use super::connection::silence;
use super::db::{ANSWER_WITHIN, Result, Tx, Wakes};

const CHANNEL: &str = "postback";
/// How long to wait before listening again after the connection was lost.
const LISTEN_AGAIN: Duration = Duration::from_secs(5);
/// How long nothing is heard before the server is asked whether it is there.
const ASK_AFTER: Duration = Duration::from_secs(60);

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
        let Ok(heard) = timeout(ASK_AFTER, listener.recv()).await else {
            // Nothing to tell, or nobody there to tell it.
            let answer = timeout(ANSWER_WITHIN, listener.execute("select 1")).await;
            answer.map_err(|_| silence(ANSWER_WITHIN))??;
            continue;
        };
        match heard?.payload() {
            "deliveries" => wakes.deliveries.ring(),
            _ => {
                wakes.dispatches.ring();
                wakes.trials.ring();
            }
        }
    }
}
