//! That both engines are really there: what `tests/run` counts to know that neither suite was left out.

use postback::clock::Clock;
use postback::ids::IdSource;
use postback::model::id::{DeliveryId, MessageId};
use postback::model::token::{KeyRing, seal_return_path};

use crate::support::engines::on_both_engines;

on_both_engines! {
    async fn nodes_that_start_together_share_one_key(engine: &Engine) {
        let (clock, ids) = (Clock::system(), IdSource::system());
        let (one, two) = tokio::join!(engine.store("one", &clock), engine.store("two", &clock));
        let (first, second) = tokio::join!(one.key_ring(ids.bytes()), two.key_ring(ids.bytes()));
        assert_eq!(sealed(&first.unwrap()), sealed(&second.unwrap()));
        one.close().await;
        two.close().await;
    }
}

fn sealed(ring: &KeyRing) -> Option<String> {
    seal_return_path(ring, ring.newest()?, DeliveryId { message: MessageId::from_bytes([7; 16]), recipient: 0 })
}
