//! What is kept about sending domains and their destinations, on both engines: signing keys, MTA-STS policies, and the
//! dialogues of attempts, which are forgotten before their mail.

use std::time::Duration;

use postback::ids::IdSource;
use postback::intake::provision;
use postback::model::bearing::Bearing;
use postback::model::delivery::{Next, State};
use postback::model::id::{DeliveryId, TenantId};
use postback::model::signing_key::{KeyState, RETIRED_KEPT, SigningKey};
use postback::model::tenant::AgentSettings;
use postback::store::StoreError;
use postback::store::deliveries::{Attempt, Settlement};
use postback::store::sts::KeptPolicy;

use crate::support::engines::on_both_engines;
use crate::support::node::{Node, START};

const DAY: Duration = Duration::from_secs(86_400);
const DOMAIN: &str = "acme.example";

/// Adds a pair of keys, RSA first.
async fn add_keys(node: &Node, ids: &IdSource) -> Vec<(SigningKey, Vec<u8>)> {
    let keys = provision::signing_keys(node.tenant, DOMAIN, &node.clock, ids).unwrap();
    for (key, pkcs8) in &keys {
        node.store.add_signing_key(key, pkcs8).await.unwrap();
    }
    keys
}

async fn states(node: &Node) -> Vec<(String, KeyState)> {
    let keys = node.store.signing_keys(node.tenant, DOMAIN).await.unwrap();
    keys.into_iter().map(|key| (key.selector, key.state)).collect()
}

on_both_engines! {
    async fn keys_wait_sign_retire_and_go(engine: &Engine) {
        let (node, ids) = (Node::build(engine, 0, AgentSettings::default()).await, IdSource::seeded(3));
        let first = add_keys(&node, &ids).await;
        let again = node.store.add_signing_key(&first[0].0, &first[0].1).await;
        assert!(matches!(again, Err(StoreError::Conflict)), "a selector is taken once");
        assert_eq!(node.store.waiting_keys(10).await.unwrap().len(), 2);
        assert_eq!(node.store.private_keys(node.tenant, DOMAIN).await.unwrap(), [], "nobody signs yet");
        assert!(!node.store.signs_for(node.tenant, DOMAIN).await.unwrap());
        for (key, _) in &first {
            assert!(node.store.begin_signing(key).await.unwrap());
            assert!(!node.store.begin_signing(key).await.unwrap(), "it signs already");
        }
        let signing = node.store.private_keys(node.tenant, DOMAIN).await.unwrap();
        let signing: Vec<_> = signing.into_iter().map(|(key, pkcs8)| (key.selector, pkcs8)).collect();
        assert_eq!(signing, first.iter().map(|(key, pkcs8)| (key.selector.clone(), pkcs8.clone())).collect::<Vec<_>>());
        let stranger = TenantId::from_bytes([9; 16]);
        assert_eq!(node.store.private_keys(stranger, DOMAIN).await.unwrap(), []);
        for (author, expected) in [(DOMAIN.to_owned(), true), (format!("shop.{DOMAIN}"), true), (format!("x{DOMAIN}"), false)] {
            assert_eq!(node.store.signs_for(node.tenant, &author).await.unwrap(), expected, "{author}");
        }
        assert!(!node.store.signs_for(stranger, DOMAIN).await.unwrap());

        node.clock.advance(DAY);
        let second = add_keys(&node, &ids).await;
        assert!(node.store.begin_signing(&second[0].0).await.unwrap());
        let retired = (first[0].0.selector.clone(), KeyState::Retired);
        assert!(states(&node).await.contains(&retired), "one of its algorithm takes its place");
        assert!(states(&node).await.contains(&(first[1].0.selector.clone(), KeyState::Signing)), "another does not");
        node.store.forget_signing_keys().await.unwrap();
        assert!(states(&node).await.contains(&retired));
        node.clock.advance(RETIRED_KEPT);
        node.store.forget_signing_keys().await.unwrap();
        assert!(!states(&node).await.contains(&retired));
        assert!(node.store.remove_signing_key(node.tenant, DOMAIN, &first[1].0.selector).await.unwrap());
        assert!(!node.store.remove_signing_key(node.tenant, DOMAIN, &first[1].0.selector).await.unwrap());
    }

    async fn keys_that_never_signed_make_room_for_others(engine: &Engine) {
        let (node, ids) = (Node::build(engine, 0, AgentSettings::default()).await, IdSource::seeded(3));
        let keys = add_keys(&node, &ids).await;
        assert!(node.store.begin_signing(&keys[0].0).await.unwrap());
        let stranger = TenantId::from_bytes([9; 16]);
        assert_eq!(node.store.drop_waiting_keys(stranger, DOMAIN).await.unwrap(), [""; 0]);
        assert_eq!(node.store.drop_waiting_keys(node.tenant, "other.example").await.unwrap(), [""; 0]);
        let dropped = node.store.drop_waiting_keys(node.tenant, DOMAIN).await.unwrap();
        assert_eq!(dropped, [keys[1].0.selector.clone()]);
        assert_eq!(states(&node).await, [(keys[0].0.selector.clone(), KeyState::Signing)]);
    }

    async fn a_policy_holds_for_its_time(engine: &Engine) {
        let node = Node::build(engine, 0, AgentSettings::default()).await;
        assert_eq!(node.store.sts_policy(DOMAIN).await.unwrap(), None);
        let policy = |id: &str, days: u32| KeptPolicy { id: id.into(), text: format!("{id}\n"), expires_at: START + DAY * days };
        for kept in [policy("1", 1), policy("2", 2)] {
            node.store.keep_sts_policy(DOMAIN, &kept).await.unwrap();
            assert_eq!(node.store.sts_policy(DOMAIN).await.unwrap(), Some(kept));
        }
        assert_eq!(node.store.sts_policy("other.example").await.unwrap(), None);
        node.clock.advance(DAY * 2 - Duration::from_millis(1));
        assert!(node.store.sts_policy(DOMAIN).await.unwrap().is_some());
        node.clock.advance(Duration::from_millis(1));
        assert_eq!(node.store.sts_policy(DOMAIN).await.unwrap(), None);
    }

    async fn dialogues_go_before_their_mail(engine: &Engine) {
        let node = Node::build(engine, 0, AgentSettings::default()).await;
        let mut ids = Vec::new();
        for day in 0..2u32 {
            node.clock.advance(DAY * day);
            let message = node.accept(&["a@example.com"]).await;
            let leased = node.store.lease_deliveries(1).await.unwrap().remove(0);
            let now = node.clock.now();
            let (outcome, dialogue) = ("delivered".to_owned(), "> MAIL".to_owned());
            let attempt = Attempt { started_at: now, ended_at: now, outcome, dialogue, ..Attempt::default() };
            let (id, next) = (leased.delivery.id, Next::Ends(State::Delivered));
            let (reason, events, bearing, letter) = (None, vec![], Bearing::Nothing, None);
            let settlement = Settlement { id, lease: leased.lease, attempt, next, reason, events, bearing, letter };
            node.store.settle_delivery(settlement).await.unwrap();
            ids.push(DeliveryId { message, recipient: 0 });
        }
        let kept = async |from, before| {
            node.store.trim_dialogues(from, before).await.unwrap();
            let mut kept = Vec::new();
            for id in &ids {
                let attempt = node.store.attempts(*id).await.unwrap().remove(0).1;
                assert_eq!(attempt.outcome, "delivered", "what came of it is known on");
                kept.push(!attempt.dialogue.is_empty());
            }
            kept
        };
        let hour = Duration::from_secs(3600);
        assert_eq!(kept(START, START).await, [true, true]);
        assert_eq!(kept(START - DAY, START + hour).await, [false, true]);
        assert_eq!(kept(START - DAY, START + DAY * 3).await, [false, false]);
    }
}
