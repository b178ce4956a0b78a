//! Events on their way to webhooks: the true lanes and store, a receiver on loopback, a clock that the test moves.

use std::collections::HashSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use postback::dns::Table;
use postback::egress::{Guard, Policy, Settings as Egress, Trust};
use postback::model::event::EventKind;
use postback::model::id::{DeliveryId, MessageId, WebhookId};
use postback::model::retry::LEASE;
use postback::model::secret::Secret;
use postback::model::tenant::AgentSettings;
use postback::model::webhook::{DispatchId, DispatchState, Format, Webhook};
use postback::store::Store;
use postback::store::dispatches::DispatchStanding;
use postback::webhooks::client::{Client, Limits};
use postback::webhooks::signature;
use postback::webhooks::{self, Counters, Parts, Running, Settings};

use crate::scripted_receiver::{Answer, Receiver};
use crate::support::engines::{Engine, on_both_engines};
use crate::support::node::{Node, START};

const AWHILE: Duration = Duration::from_secs(60);

struct House {
    node: Node,
    receiver: Receiver,
    counters: Arc<Counters>,
}

impl std::ops::Deref for House {
    type Target = Node;

    fn deref(&self) -> &Node {
        &self.node
    }
}

impl House {
    async fn build(engine: &Engine) -> Self {
        let settings = AgentSettings { authentication_key: "agent-key".into(), ..AgentSettings::default() };
        let node = Node::build(engine, 0, settings).await;
        Self { node, receiver: Receiver::start().await, counters: Arc::default() }
    }

    async fn webhook(&self, path: &str, format: Format, secret: &str) -> WebhookId {
        let id = WebhookId::from_uuid(self.ids.uuid(START));
        let webhook = Webhook {
            format,
            events: [EventKind::Sent].into_iter().collect(),
            secret: Secret::new(secret),
            ..Webhook::new(id, self.tenant, self.receiver.url(path), START)
        };
        self.store.add_webhook(webhook).await.unwrap();
        id
    }

    fn start(&self) -> Running {
        self.start_on(&self.store, Settings::default())
    }

    fn start_on(&self, store: &Store, settings: Settings) -> Running {
        let allow = vec!["127.0.0.0/8".to_owned()];
        let policy = Policy::new(&Egress { allow, ..Egress::default() }).unwrap();
        let guard = Arc::new(Guard::new(policy, Arc::new(Table::new())));
        let client = Client::new(guard, Trust::open(None).unwrap(), self.clock.clone(), Limits::default());
        let (store, clock, counters) = (store.clone(), self.clock.clone(), self.counters.clone());
        webhooks::start(&Parts { store, clock, client: Arc::new(client), counters }, &settings)
    }

    /// Accepts a mail to so many; the dispatches of each one's `sent` are owed from now on.
    async fn owe(&self, count: usize) -> MessageId {
        let recipients: Vec<String> = (0..count).map(|number| format!("r{number}@example.com")).collect();
        self.accept(&recipients.iter().map(String::as_str).collect::<Vec<_>>()).await
    }

    async fn dispatch(&self, message: MessageId, webhook: WebhookId) -> DispatchId {
        let events = self.store.events(DeliveryId { message, recipient: 0 }).await.unwrap();
        DispatchId { event: events[0].id, webhook }
    }

    async fn until(&self, dispatch: DispatchId, is: impl Fn(&DispatchStanding) -> bool) -> DispatchStanding {
        loop {
            let standing = self.store.dispatch(dispatch).await.unwrap().unwrap();
            if is(&standing) {
                return standing;
            }
            tokio::task::yield_now().await;
        }
    }

    async fn until_count(&self, which: impl Fn(&Counters) -> &AtomicU64, count: u64) {
        while which(&self.counters).load(Ordering::Relaxed) < count {
            tokio::task::yield_now().await;
        }
    }
}

async fn drain(running: Running) {
    running.drain(AWHILE).await;
}

on_both_engines! {
    async fn an_event_arrives_signed_and_once(engine: &Engine) {
        let house = House::build(engine).await;
        let webhook = house.webhook("/hook", Format::Mailtura, "whsec_x").await;
        let workers = house.start();
        let message = house.owe(1).await;
        let posted = house.receiver.next().await;
        assert_eq!(posted.headers["x-mailtura-signature"], signature::mailtura("whsec_x", posted.body.as_bytes()));
        assert_eq!(posted.headers["webhook-attempt"], "1");
        let dispatch = house.dispatch(message, webhook).await;
        let standing = house.until(dispatch, |standing| standing.state == DispatchState::Arrived).await;
        assert_eq!((standing.attempts, standing.last_status, standing.last_error), (1, Some(200), None));
        drain(workers).await;
        assert_eq!(house.receiver.posted().len(), 1);
    }

    async fn without_a_secret_transmail_signs_with_the_agent_s_key(engine: &Engine) {
        let house = House::build(engine).await;
        house.webhook("/own", Format::TransmailJson, "own-key").await;
        house.webhook("/agent", Format::TransmailJson, "").await;
        let workers = house.start();
        house.owe(1).await;
        for _ in 0..2 {
            let posted = house.receiver.next().await;
            let key = if posted.path == "/own" { "own-key" } else { "agent-key" };
            let expected = signature::producer(key, posted.body.as_bytes(), START);
            assert_eq!(posted.headers["producer-signature"], expected, "{}", posted.path);
        }
        drain(workers).await;
    }

    async fn a_failure_is_repeated_and_retry_after_obeyed(engine: &Engine) {
        let house = House::build(engine).await;
        let webhook = house.webhook("/hook", Format::Mailtura, "s").await;
        house.receiver.next_answer("/hook", Answer::Status(503, "Retry-After: 600\r\n"));
        house.receiver.next_answer("/hook", Answer::Status(500, ""));
        let workers = house.start();
        let message = house.owe(1).await;
        let first = house.receiver.next().await;
        let dispatch = house.dispatch(message, webhook).await;
        let standing = house.until(dispatch, |standing| standing.last_status == Some(503)).await;
        assert_eq!((standing.due_at, standing.last_error.as_deref()), (Some(START + Duration::from_secs(600)), Some("http_status")));
        house.clock.advance(Duration::from_secs(600));
        let second = house.receiver.next().await;
        assert_eq!(second.headers["webhook-attempt"], "2");
        assert_eq!(first.headers.get("webhook-id"), second.headers.get("webhook-id"));
        let standing = house.until(dispatch, |standing| standing.last_status == Some(500)).await;
        assert_eq!(standing.last_error.as_deref(), Some("http_status"));
        house.clock.advance(Duration::from_secs(33));
        let standing = house.until(dispatch, |standing| standing.state == DispatchState::Arrived).await;
        assert_eq!(standing.attempts, 3);
        drain(workers).await;
    }

    async fn gone_switches_off_and_keeps_everything(engine: &Engine) {
        let house = House::build(engine).await;
        let webhook = house.webhook("/hook", Format::Mailtura, "s").await;
        house.receiver.next_answer("/hook", Answer::Status(410, ""));
        let workers = house.start();
        let message = house.owe(1).await;
        house.until_count(|counters| &counters.failed, 1).await;
        let dispatch = house.dispatch(message, webhook).await;
        house.until(dispatch, |standing| standing.last_status == Some(410)).await;
        let later = house.owe(1).await;
        house.clock.advance(Duration::from_secs(13 * 3600));
        drain(workers).await;
        let dispatch = house.dispatch(later, webhook).await;
        let standing = house.until(dispatch, |_| true).await;
        assert_eq!((standing.state, standing.attempts), (DispatchState::Queued, 0));
        assert_eq!(house.receiver.posted().len(), 1);
    }

    async fn a_slow_receiver_holds_up_nobody_and_is_not_crowded(engine: &Engine) {
        let house = House::build(engine).await;
        house.webhook("/slow", Format::Mailtura, "s").await;
        house.receiver.always_answer("/slow", Answer::Held);
        house.owe(300).await;
        let workers = house.start();
        for _ in 0..8 {
            assert_eq!(house.receiver.next().await.path, "/slow");
        }
        house.webhook("/quick", Format::Mailtura, "s").await;
        house.owe(20).await;
        let mut quick = 0;
        while quick < 20 {
            quick += usize::from(house.receiver.next().await.path == "/quick");
        }
        assert_eq!(house.receiver.most_at_once("/slow"), 8);
        assert_eq!(house.receiver.posted().iter().filter(|posted| posted.path == "/slow").count(), 8);
        house.receiver.let_go(1000);
        house.until_count(|counters| &counters.arrived, 340).await;
        assert_eq!(house.receiver.most_at_once("/slow"), 8);
        drain(workers).await;
    }

    async fn retries_do_not_hold_up_first_attempts(engine: &Engine) {
        let house = House::build(engine).await;
        let webhook = house.webhook("/hook", Format::Mailtura, "s").await;
        let settings = Settings { fresh_at_once: 1, retries_at_once: 1, at_once_each: 2, per_second_each: 0 };
        house.receiver.next_answer("/hook", Answer::Status(500, ""));
        house.receiver.next_answer("/hook", Answer::Held);
        let workers = house.start_on(&house.store, settings);
        let failing = house.owe(1).await;
        let dispatch = house.dispatch(failing, webhook).await;
        house.until(dispatch, |standing| standing.last_status == Some(500)).await;
        house.clock.advance(Duration::from_secs(6));
        for attempt in ["1", "2"] {
            assert_eq!(house.receiver.next().await.headers["webhook-attempt"], attempt);
        }
        house.owe(3).await;
        for _ in 0..3 {
            assert_eq!(house.receiver.next().await.headers["webhook-attempt"], "1");
        }
        house.receiver.let_go(1);
        house.until(dispatch, |standing| standing.state == DispatchState::Arrived).await;
        drain(workers).await;
    }

    async fn two_nodes_share_the_work_and_tell_nothing_twice(engine: &Engine) {
        let house = House::build(engine).await;
        house.webhook("/hook", Format::Mailtura, "s").await;
        house.owe(200).await;
        let other = engine.store("node-2", &house.clock).await;
        let nodes = [house.start(), house.start_on(&other, Settings::default())];
        house.until_count(|counters| &counters.arrived, 200).await;
        for workers in nodes {
            drain(workers).await;
        }
        let bodies: HashSet<String> = house.receiver.posted().into_iter().map(|posted| posted.body).collect();
        assert_eq!((bodies.len(), house.receiver.posted().len()), (200, 200));
        other.close().await;
    }

    async fn a_node_that_died_is_followed_when_its_leases_end(engine: &Engine) {
        let house = House::build(engine).await;
        let webhook = house.webhook("/hook", Format::Mailtura, "s").await;
        house.receiver.next_answer("/hook", Answer::Held);
        let message = house.owe(1).await;
        let dead = house.start();
        assert_eq!(house.receiver.next().await.headers["webhook-attempt"], "1");
        drop(dead);
        let other = engine.store("node-2", &house.clock).await;
        let workers = house.start_on(&other, Settings::default());
        house.clock.advance(LEASE);
        assert_eq!(house.receiver.next().await.headers["webhook-attempt"], "2");
        let dispatch = house.dispatch(message, webhook).await;
        let standing = house.until(dispatch, |standing| standing.state == DispatchState::Arrived).await;
        assert_eq!(standing.attempts, 2);
        drain(workers).await;
        other.close().await;
    }
}
