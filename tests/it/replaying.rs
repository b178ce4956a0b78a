//! Replays of several tenants and webhooks, and how they share what there is.

use std::sync::Arc;

use postback::intake::provision;
use postback::model::event::EventKind;
use postback::model::id::{ReplayId, TenantId, WebhookId};
use postback::model::replay::{Fate, Filter, PER_SECOND, Replay, ReplayState};
use postback::model::tenant::AgentSettings;
use postback::model::webhook::Webhook;
use postback::store::replays::RUNNING_MAX;

use crate::support::engines::on_both_engines;
use crate::support::node::{Node, START};

on_both_engines! {
    async fn a_webhook_has_a_few_replays_and_tenants_take_turns(engine: &Engine) {
        let house = Arc::new(Node::build(engine, 0, AgentSettings::default()).await);
        let other = provision::tenant("other", "Other", &house.clock, &house.ids);
        let agent = provision::agent(&other, "default", &house.clock, &house.ids);
        house.store.add_tenant(other.clone(), agent).await.unwrap();
        let (ours, theirs) = (webhook(&house, house.tenant).await, webhook(&house, other.id).await);

        // However many ask at one time, so many run.
        let asked: Vec<_> = (0..RUNNING_MAX * 3)
            .map(|_| {
                let (house, replay) = (house.clone(), replay(&house, house.tenant, ours));
                tokio::spawn(async move { house.store.add_replay(&replay).await.unwrap() })
            })
            .collect();
        let mut added = 0;
        for one in asked {
            added += u32::from(one.await.unwrap());
        }
        assert_eq!(added, RUNNING_MAX);
        let begun = replay(&house, other.id, theirs);
        assert!(house.store.add_replay(&begun).await.unwrap());

        // One tenant's five are not all before the other's one.
        let mut turn = None;
        for _ in 0..2 {
            house.store.advance_replays(&mut turn).await.unwrap();
        }
        let state = |webhook, id| {
            let house = house.clone();
            async move { house.store.replay(webhook, id).await.unwrap().unwrap().state }
        };
        assert_eq!(state(theirs, begun.id).await, ReplayState::Done);
        let running = house.store.replays(ours, None, 10).await.unwrap();
        let running = running.iter().filter(|replay| replay.state == ReplayState::Running).count();
        assert_eq!(running, RUNNING_MAX as usize - 1);
        // What has ended makes room.
        assert!(house.store.add_replay(&replay(&house, house.tenant, ours)).await.unwrap());
        assert!(!house.store.add_replay(&replay(&house, house.tenant, ours)).await.unwrap());
        for _ in 0..RUNNING_MAX {
            house.store.advance_replays(&mut turn).await.unwrap();
        }
        assert_eq!(house.store.advance_replays(&mut turn).await.unwrap(), None);
    }
}

async fn webhook(house: &Node, tenant: TenantId) -> WebhookId {
    let id = WebhookId::from_uuid(house.ids.uuid(START));
    let events = [EventKind::Sent].into_iter().collect();
    let webhook = Webhook { events, ..Webhook::new(id, tenant, "https://example.com/", START) };
    house.store.add_webhook(webhook).await.unwrap();
    id
}

fn replay(house: &Node, tenant: TenantId, webhook: WebhookId) -> Replay {
    Replay {
        id: ReplayId::from_uuid(house.ids.uuid(START)),
        webhook,
        tenant,
        filter: Filter {
            from: START,
            to: START,
            kinds: EventKind::Sent.bit(),
            fates: vec![Fate::Missed],
            tag: None,
            recipient: None,
        },
        per_second: PER_SECOND,
        state: ReplayState::Running,
        reached: START,
        seen: 0,
        queued: 0,
        created_at: START,
        ended_at: None,
    }
}
