//! Dispatches that are written leased, and go out without being looked for.

use std::time::Duration;

use postback::model::event::EventKind;
use postback::model::id::WebhookId;
use postback::model::webhook::{DispatchId, DispatchNext, DispatchState, Switch, Webhook};
use postback::model::webhook_attempt::Trace;
use postback::model::webhook_options::Options;
use postback::store::dispatches::{DispatchSettlement, Handed, Lane, LeasedDispatch};

use crate::support::engines::on_both_engines;
use crate::support::node::{Node, START};

async fn webhook(node: &Node, change: impl FnOnce(Webhook) -> Webhook) -> WebhookId {
    let id = WebhookId::from_uuid(node.ids.uuid(START));
    let events = [EventKind::Sent].into_iter().collect();
    let webhook = Webhook { events, ..Webhook::new(id, node.tenant, "https://receiver.example/", START) };
    node.store.add_webhook(change(webhook)).await.unwrap();
    id
}

/// What is handed over next, as it is posted.
async fn next(node: &Node, handed: &mut Handed) -> Vec<LeasedDispatch> {
    let in_hand = handed.next().await;
    node.store.handed_dispatches(&in_hand).await.unwrap()
}

async fn looked_for(node: &Node) -> Vec<WebhookId> {
    let leased = node.store.lease_dispatches(Lane::Fresh, 100, vec![]).await.unwrap();
    leased.into_iter().map(|dispatch| dispatch.id.webhook).collect()
}

async fn settle(node: &Node, dispatch: &LeasedDispatch, error: Option<&str>, next: DispatchNext) {
    let settlement = DispatchSettlement {
        id: dispatch.id,
        lease: dispatch.lease.clone(),
        next,
        started_at: START,
        at: START,
        status: None,
        error: error.map(str::to_owned),
        wish: None,
        trace: Trace::default(),
        bears: true,
        given_up_beside: 0,
    };
    node.store.settle_dispatch(settlement).await.unwrap();
}

on_both_engines! {
    async fn a_dispatch_that_is_due_is_handed_over_while_somebody_takes_it(engine: &Engine) {
        let node = Node::build(engine, 0, Default::default()).await;
        let hook = webhook(&node, |plain| plain).await;
        node.accept(&["a@example.com"]).await;
        assert_eq!(looked_for(&node).await, [hook]);

        let mut handed = node.store.take_handed_dispatches();
        let message = node.accept(&["a@example.com", "b@example.com"]).await;
        assert_eq!(looked_for(&node).await, []);
        let dispatches = next(&node, &mut handed).await;
        assert_eq!(dispatches.len(), 2);
        for dispatch in &dispatches {
            assert_eq!((dispatch.id.webhook, dispatch.message.id), (hook, message));
            assert_eq!((dispatch.lease.attempt, dispatch.event.kind, dispatch.is_handed), (1, EventKind::Sent, true));
            settle(&node, dispatch, None, DispatchNext::Ends(DispatchState::Arrived)).await;
            let standing = node.store.dispatch(dispatch.id).await.unwrap().unwrap();
            assert_eq!((standing.state, standing.attempts), (DispatchState::Arrived, 1));
        }

        node.accept(&["a@example.com"]).await;
        let left: Vec<DispatchId> = handed.close();
        assert_eq!(left.len(), 1);
        node.accept(&["a@example.com"]).await;
        assert_eq!(looked_for(&node).await, [hook], "nobody takes any more");
    }

    async fn a_dispatch_that_has_to_wait_is_not_handed_over(engine: &Engine) {
        let node = Node::build(engine, 0, Default::default()).await;
        let mut handed = node.store.take_handed_dispatches();
        let plain = webhook(&node, |plain| plain).await;
        let in_order = Options { in_order: true, ..Options::default() };
        let in_order = webhook(&node, |plain| Webhook { options: in_order, ..plain }).await;
        let together = Options { batch: true, ..Options::default() };
        webhook(&node, |plain| Webhook { options: together, ..plain }).await;
        webhook(&node, |plain| Webhook { switch: Switch::OffByUs, ..plain }).await;
        node.accept(&["a@example.com"]).await;
        let first = next(&node, &mut handed).await.remove(0);
        assert_eq!(first.id.webhook, plain);
        assert_eq!(looked_for(&node).await, [in_order], "events that go together wait for company");

        // One that was given back is older than what comes now, and goes first.
        node.store.release_dispatches(vec![(first.id, first.lease)]).await.unwrap();
        node.clock.advance(Duration::from_millis(1));
        node.accept(&["a@example.com"]).await;
        let again = node.store.lease_dispatches(Lane::Fresh, 1, vec![in_order]).await.unwrap().remove(0);
        assert_eq!((again.id, again.lease.attempt, again.is_handed), (first.id, 1, false));
        settle(&node, &again, None, DispatchNext::Ends(DispatchState::Arrived)).await;
        assert_eq!(looked_for(&node).await.iter().filter(|hook| **hook == plain).count(), 1);

        // One that fails is left to those who know how it fares.
        node.accept(&["a@example.com"]).await;
        let failing = next(&node, &mut handed).await.remove(0);
        settle(&node, &failing, Some("http_status"), DispatchNext::Waits(START)).await;
        node.accept(&["a@example.com"]).await;
        assert!(looked_for(&node).await.contains(&plain));
        assert_eq!(handed.close(), []);
    }
}
