//! Events on their way to webhooks: the true lanes and store, a receiver on loopback, a clock that the test moves.

use std::collections::HashSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use postback::app::outward::told;
use postback::http::outward::{Again, LEARNED_BEFORE, Told};
use postback::model::event::EventKind;
use postback::model::id::{AgentId, DeliveryId, MessageId, ReplayId, TenantId, WebhookId};
use postback::model::message::Tracking;
use postback::model::preview::Draw;
use postback::model::replay::{Fate, Filter, Replay, ReplayState};
use postback::model::retry::LEASE;
use postback::model::sample;
use postback::model::secret::Secret;
use postback::model::tenant::{AgentSettings, MailAgent};
use postback::model::webhook::{DispatchId, DispatchState, Format, Switch, Webhook};
use postback::model::webhook_options::Options;
use postback::store::dispatches::{DispatchStanding, Lane};
use postback::store::retention::Keep;
use postback::store::{Store, StoreError};
use postback::webhooks::signature;
use postback::webhooks::{Counters, Running, Settings};
use postback::worker::RENEW_EVERY;

use crate::scripted_receiver::{Answer, Posted, Receiver};
use crate::support::engines::{Engine, on_both_engines};
use crate::support::node::{Node, START};
use crate::support::telling::tell;

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
        self.webhook_with(path, |webhook| Webhook { format, secret: Secret::new(secret), ..webhook }).await
    }

    async fn webhook_with(&self, path: &str, change: impl FnOnce(Webhook) -> Webhook) -> WebhookId {
        let id = WebhookId::from_uuid(self.ids.uuid(START));
        let events = [EventKind::Sent].into_iter().collect();
        let secret = Secret::new("secret");
        let webhook = Webhook { events, secret, ..Webhook::new(id, self.tenant, self.receiver.url(path), START) };
        self.store.add_webhook(change(webhook)).await.unwrap();
        id
    }

    fn agent_with_key(&self, name: &str, key: &str) -> MailAgent {
        let settings = AgentSettings { authentication_key: key.into(), ..AgentSettings::default() };
        let id = AgentId::from_uuid(self.ids.uuid(START));
        let (key, name) = (format!("key-of-{name}"), name.to_owned());
        let (updated_at, authors) = Default::default();
        MailAgent { id, tenant: self.tenant, key, name, settings, created_at: START, updated_at, authors }
    }

    async fn set_key(&self, key: &'static str) {
        let set = move |agent: &mut MailAgent| {
            agent.settings.authentication_key = key.into();
            Ok::<_, StoreError>(())
        };
        self.store.change_agent(self.tenant, self.agent, set).await.unwrap().unwrap();
    }

    fn start(&self) -> Running {
        self.start_on(&self.store, Settings::default())
    }

    fn start_on(&self, store: &Store, settings: Settings) -> Running {
        tell(store, &self.clock, &self.counters, &settings)
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

    /// The requests of the attempts at a dispatch, as the log shows them, and whether it says that they are exact.
    async fn shown(&self, dispatch: DispatchId, webhook: &Webhook) -> Vec<(Told, bool)> {
        let view = self.store.dispatch_view(self.tenant, dispatch).await.unwrap().unwrap();
        let mut shown = Vec::new();
        for attempt in self.store.dispatch_attempts(dispatch).await.unwrap() {
            let since = attempt.started_at - LEARNED_BEFORE;
            let versions = self.store.webhook_versions(webhook, self.agent, since).await.unwrap();
            let posted = self.store.posted(&view, &attempt).await.unwrap();
            let tell = |webhook: &Webhook| told(webhook, &posted, attempt.started_at);
            let again = Again::of(webhook, &versions, &attempt, tell);
            shown.push((again.told, again.is_exact));
        }
        shown
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

/// Whether that is what arrived, byte for byte.
fn is_what(told: &Told, posted: &Posted) -> bool {
    let is_there = |(name, value): &(String, String)| posted.headers[name.to_lowercase().as_str()] == *value;
    told.body == posted.body.as_bytes() && told.headers.iter().all(is_there)
}

fn given_up(house: &House) -> u64 {
    house.counters.exhausted.load(Ordering::Relaxed)
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

    async fn what_nothing_signs_waits_until_something_does(engine: &Engine) {
        let house = House::build(engine).await;
        let webhook = house.webhook("/agent", Format::Transmail, "").await;
        house.set_key("").await;
        let workers = house.start();
        let message = house.owe(1).await;
        let dispatch = house.dispatch(message, webhook).await;
        let standing = house.until(dispatch, |standing| standing.last_error.is_some()).await;
        assert_eq!((standing.last_error.as_deref(), house.receiver.posted().len()), (Some("unsigned"), 0));
        house.set_key("new-key").await;
        house.clock.advance(Duration::from_secs(3600));
        assert!(house.receiver.next().await.headers.contains_key("producer-signature"));
        drain(workers).await;
    }

    async fn an_attempt_is_shown_as_it_was(engine: &Engine) {
        let house = House::build(engine).await;
        let id = house.webhook("/agent", Format::TransmailJson, "").await;
        let workers = house.start();
        // Each is posted under what the change before it made of the webhook and the key.
        type Change = fn(&mut Webhook);
        let changes: [(&str, Change); 5] = [
            ("agent-key", |_| {}),
            ("next-key", |webhook| webhook.form_field = "data".into()),
            ("last-key", |webhook| (webhook.format, webhook.secret) = (Format::Mailtura, Secret::new("own"))),
            ("last-key", |webhook| webhook.headers = vec![("X-Token".into(), "hush".into())]),
            ("last-key", |webhook| webhook.options.batch = true),
        ];
        let mut posted = Vec::new();
        for (key, change) in changes {
            house.set_key(key).await;
            let change = move |webhook: &mut Webhook| {
                change(webhook);
                Ok::<_, StoreError>(())
            };
            house.store.change_webhook(house.tenant, id, Secret::new("made"), change).await.unwrap().unwrap();
            let dispatch = house.dispatch(house.owe(1).await, id).await;
            house.clock.advance(Duration::from_secs(2));
            posted.push((dispatch, house.receiver.next().await));
            house.until(dispatch, |standing| standing.state == DispatchState::Arrived).await;
        }
        let webhook = house.store.webhook(house.tenant, id).await.unwrap().unwrap();
        let check = async |dispatch: DispatchId, posted: &Posted, expected: bool| {
            let (told, is_exact) = house.shown(dispatch, &webhook).await.remove(0);
            assert_eq!((is_exact, is_what(&told, posted)), (expected, expected), "{told:?} {posted:?}");
        };
        for (dispatch, posted) in &posted {
            check(*dispatch, posted, true).await;
        }
        // What is not kept any longer is not said to be exact.
        house.clock.advance(Duration::from_secs(86_400));
        let hour = Duration::from_secs(3600);
        let year = Duration::from_secs(365 * 86_400);
        let keep = Keep { messages: year, events: year, reports: year, webhook_log: hour };
        house.store.forget_little(keep).await.unwrap();
        for (place, (dispatch, posted)) in posted.iter().enumerate() {
            check(*dispatch, posted, place == 4).await;
        }
        drain(workers).await;
    }

    async fn who_has_nothing_to_sign_with_gets_a_secret(engine: &Engine) {
        let house = House::build(engine).await;
        let keyed = house.agent;
        let check = async |format, secret: &str, agent, kind, expected: &str| {
            let id = WebhookId::from_uuid(house.ids.uuid(START));
            let (secret, events) = (Secret::new(secret), [kind].into_iter().collect());
            let plain = Webhook::new(id, house.tenant, "https://receiver.example/", START);
            let webhook = Webhook { format, secret, agent, events, ..plain };
            let webhook = house.store.with_some_secret(webhook, Secret::new("fresh")).await.unwrap();
            assert_eq!(webhook.secret.reveal(), expected, "{format:?} {agent:?} {kind:?}");
        };
        check(Format::Mailtura, "", Some(keyed), EventKind::Sent, "fresh").await;
        check(Format::Mailtura, "own", None, EventKind::Sent, "own").await;
        check(Format::Transmail, "own", None, EventKind::Sent, "own").await;
        check(Format::Transmail, "", Some(keyed), EventKind::Sent, "").await;
        check(Format::TransmailJson, "", None, EventKind::Sent, "").await;
        // Notices about a webhook of all mail agents are of none.
        check(Format::TransmailJson, "", None, EventKind::WebhookDisabled, "fresh").await;
        check(Format::TransmailJson, "", Some(keyed), EventKind::WebhookDisabled, "").await;
        let bare = house.agent_with_key("two", "");
        house.store.add_agent(bare.clone()).await.unwrap();
        check(Format::Transmail, "", Some(bare.id), EventKind::Sent, "fresh").await;
        check(Format::Transmail, "", None, EventKind::Sent, "fresh").await;
        check(Format::Transmail, "", Some(keyed), EventKind::Sent, "").await;
        // A change that takes away what signed is no exception.
        let id = house.webhook_with("/hook", |webhook| Webhook {
            format: Format::Transmail, secret: Secret::default(), agent: Some(keyed), ..webhook
        }).await;
        let other_agent = move |webhook: &mut Webhook| {
            webhook.agent = Some(bare.id);
            Ok::<_, StoreError>(())
        };
        let changed = house.store.change_webhook(house.tenant, id, Secret::new("made"), other_agent).await.unwrap();
        assert_eq!(changed.unwrap().secret.reveal(), "made");
    }

    async fn what_goes_together_is_signed_with_one_agent_s_key(engine: &Engine) {
        let house = House::build(engine).await;
        let other = house.agent_with_key("other", "other-key");
        house.store.add_agent(other.clone()).await.unwrap();
        let options = Options { batch: true, ..Options::default() };
        house.webhook_with("/hook", |webhook| Webhook {
            format: Format::TransmailJson, secret: Secret::default(), options, ..webhook
        }).await;
        house.owe(2).await;
        let mut plan = house.plan(&["o@example.com"], b"Subject: x\r\n\r\nx\r\n", Tracking::default());
        plan.message.agent = other.id;
        plan.events.iter_mut().for_each(|event| event.agent = other.id);
        house.store.accept(plan).await.unwrap();
        house.clock.advance(Duration::from_secs(2));
        let workers = house.start();
        for _ in 0..2 {
            let posted = house.receiver.next().await;
            let key = if posted.body.contains("o@example.com") { "other-key" } else { "agent-key" };
            let signed = &posted.headers["producer-signature"];
            // Who found both at once gives one back, which gathers anew; two who find one each post at once.
            let times = [house.clock.now(), START + Duration::from_secs(2)];
            let is_good = |at| *signed == signature::producer(key, posted.body.as_bytes(), at);
            assert!(times.into_iter().any(is_good), "{signed}");
            house.clock.advance(Duration::from_secs(2));
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

    async fn however_many_hang_there_is_room_for_one_that_does_not(engine: &Engine) {
        const HANGING: usize = 40;
        let house = House::build(engine).await;
        let path = |number: usize| format!("/hangs/{number}");
        for number in 0..HANGING {
            house.webhook(&path(number), Format::Mailtura, "s").await;
            house.receiver.always_answer(&path(number), Answer::Held);
        }
        house.owe(10).await;
        // Eight of the forty would fill it.
        let workers = house.start_on(&house.store, Settings { fresh_at_once: 64, ..Settings::default() });
        let mut hanging = HashSet::new();
        while hanging.len() < HANGING {
            hanging.insert(house.receiver.next().await.path);
        }
        house.webhook("/good", Format::Mailtura, "s").await;
        house.owe(20).await;
        let mut good = 0;
        while good < 20 {
            good += usize::from(house.receiver.next().await.path == "/good");
        }
        let most = (0..HANGING).map(|number| house.receiver.most_at_once(&path(number))).sum::<usize>();
        assert!((HANGING..64).contains(&most), "{most}");
        house.receiver.let_go(10_000);
        house.until_count(|counters| &counters.arrived, 30 * HANGING as u64 + 20).await;
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

    async fn a_sick_receiver_is_asked_one_request_at_a_time_until_it_is_well(engine: &Engine) {
        let house = House::build(engine).await;
        let webhook = house.webhook("/hook", Format::Mailtura, "s").await;
        house.receiver.always_answer("/hook", Answer::Status(500, ""));
        let workers = house.start();
        house.owe(30).await;
        house.until_count(|counters| &counters.failed, 30).await;
        let health = house.store.webhook_health(webhook).await.unwrap().unwrap();
        assert!(health.is_sick() && health.is_paused(house.clock.now()) && health.failures == 30, "{health:?}");
        house.receiver.always_answer("/hook", Answer::Held);
        house.clock.advance(Duration::from_secs(60));
        while house.receiver.posted().len() < 31 {
            tokio::task::yield_now().await;
        }
        let other = engine.store("node-2", &house.clock).await;
        for lane in [Lane::Fresh, Lane::Retry] {
            assert!(other.lease_dispatches(lane, 100, vec![]).await.unwrap().is_empty(), "all wait for the one");
        }
        house.receiver.always_answer("/hook", Answer::Status(200, ""));
        house.receiver.let_go(1);
        house.until_count(|counters| &counters.arrived, 30).await;
        assert_eq!(house.store.webhook_health(webhook).await.unwrap(), None);
        drain(workers).await;
        other.close().await;
    }

    async fn a_receiver_that_asks_for_time_gets_it(engine: &Engine) {
        let house = House::build(engine).await;
        let webhook = house.webhook("/hook", Format::Mailtura, "s").await;
        house.receiver.next_answer("/hook", Answer::Status(429, "Retry-After: 120\r\n"));
        let workers = house.start();
        house.owe(1).await;
        house.until_count(|counters| &counters.failed, 1).await;
        house.owe(5).await;
        let other = engine.store("node-2", &house.clock).await;
        house.clock.advance(Duration::from_secs(119));
        assert!(other.lease_dispatches(Lane::Fresh, 100, vec![]).await.unwrap().is_empty());
        assert_eq!(other.next_dispatch_due(Lane::Fresh).await.unwrap(), Some(START + Duration::from_secs(120)));
        house.clock.advance(Duration::from_secs(1));
        house.until_count(|counters| &counters.arrived, 6).await;
        assert_eq!(house.store.webhook_health(webhook).await.unwrap(), None);
        drain(workers).await;
        other.close().await;
    }

    async fn what_happened_at_each_attempt_is_kept(engine: &Engine) {
        let house = House::build(engine).await;
        let webhook = house.webhook("/hook", Format::Mailtura, "s").await;
        house.receiver.next_answer("/hook", Answer::Status(302, "Location: http://169.254.169.254/x\r\n"));
        let workers = house.start();
        let message = house.owe(1).await;
        let dispatch = house.dispatch(message, webhook).await;
        house.until_count(|counters| &counters.failed, 1).await;
        house.clock.advance(Duration::from_secs(6));
        house.until(dispatch, |standing| standing.state == DispatchState::Arrived).await;
        let attempts = house.store.dispatch_attempts(dispatch).await.unwrap();
        let [first, second] = attempts.as_slice() else { panic!("{attempts:?}") };
        assert_eq!((first.number, first.status, first.error.as_deref()), (1, Some(302), Some("http_status")));
        assert_eq!(first.trace.why, "the receiver answered 302, a redirect to 169.254.169.254; redirects are not followed");
        assert!(first.next_at.is_some_and(|next| next > first.started_at));
        assert_eq!((second.number, second.status, &second.error, second.next_at), (2, Some(200), &None, None));
        for attempt in &attempts {
            assert_eq!(attempt.trace.url, house.receiver.url("/hook"));
            assert!(attempt.trace.url.contains(&attempt.trace.peer) && attempt.trace.phases.total > 0, "{attempt:?}");
            assert!(attempt.trace.phases.head.is_some());
        }
        let log = house.store.webhook_attempts(webhook, None, false, 10).await.unwrap();
        let numbers: Vec<_> = log.iter().map(|(id, attempt)| (*id, attempt.number)).collect();
        assert_eq!(numbers, [(dispatch, 2), (dispatch, 1)]);
        let (_, last) = &log[0];
        let before = house.store.webhook_attempts(webhook, Some((last.started_at, dispatch.event)), false, 10).await.unwrap();
        assert_eq!(before.len(), 1);
        assert_eq!(house.store.webhook_attempts(webhook, None, true, 10).await.unwrap(), before);
        assert_eq!(house.store.last_arrival(webhook).await.unwrap(), Some(last.started_at));
        drain(workers).await;
    }

    async fn events_about_a_message_go_in_order_when_asked_for(engine: &Engine) {
        let house = House::build(engine).await;
        let change = |webhook| Webhook { options: Options { in_order: true, ..Options::default() }, ..webhook };
        let webhook = house.webhook_with("/hook", change).await;
        house.receiver.next_answer("/hook", Answer::Status(500, ""));
        let messages = [house.owe(6).await, house.owe(6).await];
        let workers = house.start();
        house.until_count(|counters| &counters.failed, 1).await;
        house.until_count(|counters| &counters.arrived, 6).await;
        house.clock.advance(Duration::from_secs(6));
        house.until_count(|counters| &counters.arrived, 12).await;
        drain(workers).await;
        let posted = house.receiver.posted();
        for message in messages {
            let of_message = format!("\"emailId\":\"{message}\"");
            let ids: Vec<_> = posted
                .iter()
                .filter(|posted| posted.body.contains(&of_message))
                .map(|posted| posted.body[..45].to_owned())
                .collect();
            let mut sorted = ids.clone();
            sorted.sort();
            assert_eq!(ids, sorted, "{webhook}");
        }
        assert_eq!(posted.len(), 13);
    }

    async fn events_go_together_when_asked_for(engine: &Engine) {
        let house = House::build(engine).await;
        let secret = "whsec_1Yw0u3mDq5uTpGk8vJb2o+Z/4cQX7hRzNfLsEa9iMtU=";
        let change = |webhook| Webhook {
            options: Options { batch: true, ..Options::default() },
            secret: Secret::new(secret),
            ..webhook
        };
        let id = house.webhook_with("/hook", change).await;
        house.receiver.next_answer("/hook", Answer::Status(500, ""));
        let message = house.owe(250).await;
        let workers = house.start();
        house.clock.advance(Duration::from_secs(2));
        house.until_count(|counters| &counters.failed, 100).await;
        house.until_count(|counters| &counters.arrived, 150).await;
        house.clock.advance(Duration::from_secs(10));
        house.until_count(|counters| &counters.arrived, 250).await;
        drain(workers).await;
        let mut told = HashSet::new();
        for posted in house.receiver.posted() {
            assert_eq!(posted.headers["x-mailtura-signature"], signature::mailtura(secret, posted.body.as_bytes()));
            let (id, at) = (&posted.headers["webhook-id"], posted.headers["webhook-timestamp"].parse().unwrap());
            let standard = signature::standard(secret, id, at, posted.body.as_bytes()).unwrap();
            assert_eq!(posted.headers["webhook-signature"], standard);
            let events: Vec<serde_json::Value> = serde_json::from_str(&posted.body).unwrap();
            assert!((1..=100).contains(&events.len()));
            told.extend(events.iter().map(|event| event["id"].as_str().unwrap().to_owned()));
        }
        assert_eq!((told.len(), house.receiver.posted().len() < 12), (250, true));
        // Whichever event is looked at, the log shows the requests that it went in: all of them, and nothing else.
        let other = |webhook: &mut Webhook| {
            (webhook.secret, webhook.options.batch) = (Secret::new("another"), false);
            Ok::<_, StoreError>(())
        };
        let changed = house.store.change_webhook(house.tenant, id, Secret::new("made"), other).await.unwrap();
        let (webhook, mut shown) = (changed.unwrap(), HashSet::new());
        for recipient in 0..250 {
            let events = house.store.events(DeliveryId { message, recipient }).await.unwrap();
            let dispatch = DispatchId { event: events[0].id, webhook: id };
            for (told, is_exact) in house.shown(dispatch, &webhook).await {
                let posted = house.receiver.posted().iter().position(|posted| is_what(&told, posted));
                assert!(is_exact && posted.is_some(), "{told:?}");
                shown.extend(posted);
            }
        }
        assert_eq!(shown.len(), house.receiver.posted().len());
    }

    async fn what_goes_together_is_held_together(engine: &Engine) {
        let house = House::build(engine).await;
        let change = |webhook| Webhook { options: Options { batch: true, ..Options::default() }, ..webhook };
        let webhook = house.webhook_with("/hook", change).await;
        house.receiver.always_answer("/hook", Answer::Held);
        let message = house.owe(3).await;
        let workers = house.start();
        house.clock.advance(Duration::from_secs(2));
        // What another look has its hands on at that moment goes by itself.
        assert!(house.receiver.next().await.body.matches("\"id\"").count() > 1);
        let mut owed = Vec::new();
        for recipient in 0..3 {
            let events = house.store.events(DeliveryId { message, recipient }).await.unwrap();
            owed.push(DispatchId { event: events[0].id, webhook });
        }
        // For longer than two leases, however slow the receiver is.
        for _ in 0..8 {
            house.clock.advance(RENEW_EVERY);
            let until = Some(house.clock.now() + LEASE);
            for dispatch in &owed {
                house.until(*dispatch, |standing| standing.due_at == until).await;
            }
        }
        let other = engine.store("node-2", &house.clock).await;
        assert!(other.lease_dispatches(Lane::Retry, 10, Vec::new()).await.unwrap().is_empty());
        house.receiver.let_go(2);
        house.until_count(|counters| &counters.arrived, 3).await;
        assert_eq!(house.counters.leases_lost.load(Ordering::Relaxed), 0);
        drain(workers).await;
        other.close().await;
    }

    async fn a_rate_is_kept_and_the_rest_waits(engine: &Engine) {
        let house = House::build(engine).await;
        let change = |webhook| Webhook { options: Options { per_second: Some(5), ..Options::default() }, ..webhook };
        house.webhook_with("/slow", change).await;
        house.webhook("/quick", Format::Mailtura, "s").await;
        let workers = house.start();
        house.owe(12).await;
        for arrived in [12 + 5, 12 + 10, 12 + 12] {
            house.until_count(|counters| &counters.arrived, arrived).await;
            let slow = house.receiver.posted().iter().filter(|posted| posted.path == "/slow").count();
            assert_eq!(slow as u64, arrived - 12);
            house.clock.advance(Duration::from_secs(1));
        }
        drain(workers).await;
    }

    async fn a_test_goes_out_whatever_holds_up_the_others(engine: &Engine) {
        let house = House::build(engine).await;
        let webhook = house.webhook("/hook", Format::Mailtura, "s").await;
        house.receiver.next_answer("/hook", Answer::Status(410, ""));
        let workers = house.start();
        house.owe(1).await;
        house.until_count(|counters| &counters.failed, 1).await;
        house.owe(100).await;
        let kept = house.store.webhook(house.tenant, webhook).await.unwrap().unwrap();
        assert_eq!(kept.switch, Switch::OffByUs);
        let sample = |webhook: &Webhook| {
            let agent = MailAgent {
                id: house.agent,
                tenant: house.tenant,
                key: "key".into(),
                name: "default".into(),
                settings: AgentSettings::default(),
                created_at: START,
                updated_at: None,
            authors: Default::default(),
            };
            sample::of_kind(EventKind::Clicked, webhook, &agent, Draw::new(house.ids.bytes(), START))
        };
        let (message, event) = sample(&kept);
        let tested = house.store.dispatch_test(message, event, webhook).await.unwrap();
        house.until(tested, |standing| standing.state == DispatchState::Arrived).await;
        let draft_id = WebhookId::from_uuid(house.ids.uuid(START));
        let draft = Webhook { id: draft_id, url: house.receiver.url("/draft"), ..kept.clone() };
        let (message, event) = sample(&draft);
        let drafted = house.store.dispatch_draft_test(message, event, draft).await.unwrap();
        house.until(drafted, |standing| standing.state == DispatchState::Arrived).await;
        assert_eq!(house.store.dispatch_attempts(drafted).await.unwrap().len(), 1);
        assert_eq!(house.store.webhooks(house.tenant, None, 10).await.unwrap(), [kept]);
        house.store.remove_draft(house.tenant, draft_id).await.unwrap();
        assert_eq!(house.store.dispatch(drafted).await.unwrap(), None);
        let tests = house.receiver.posted().iter().filter(|posted| posted.body.contains("\"test\":true")).count();
        assert_eq!((tests, house.receiver.posted().len()), (2, 3));
        assert_eq!(house.store.messages(house.tenant, None, 10).await.unwrap().len(), 2, "of tests there are none");
        drain(workers).await;
    }

    async fn what_was_given_up_or_missed_is_told_again(engine: &Engine) {
        let house = House::build(engine).await;
        let missed = house.owe(3).await;
        let webhook = house.webhook("/hook", Format::Mailtura, "s").await;
        house.receiver.next_answer("/hook", Answer::Status(400, "webhook-delivery: abort-message\r\n"));
        let workers = house.start();
        let given_up = house.owe(1).await;
        let dispatch = house.dispatch(given_up, webhook).await;
        let standing = house.until(dispatch, |standing| standing.state == DispatchState::Exhausted).await;
        assert_eq!(standing.last_error.as_deref(), Some("refused"));
        assert_eq!(house.store.webhook_health(webhook).await.unwrap(), None, "it works, and said so");
        house.owe(1).await;
        house.until_count(|counters| &counters.arrived, 1).await;

        let replay = Replay {
            id: ReplayId::from_uuid(house.ids.uuid(START)),
            webhook,
            tenant: house.tenant,
            filter: Filter {
                from: START,
                to: START + Duration::from_secs(1),
                kinds: EventKind::Sent.bit(),
                fates: vec![Fate::Exhausted, Fate::Missed],
                tag: None,
                recipient: None,
            },
            per_second: 2,
            state: ReplayState::Running,
            reached: START,
            seen: 0,
            queued: 0,
            created_at: START,
            ended_at: None,
        };
        assert!(house.store.add_replay(&replay).await.unwrap());
        house.until_count(|counters| &counters.arrived, 3).await;
        let standing = house.store.replay(webhook, replay.id).await.unwrap().unwrap();
        assert_eq!((standing.state, standing.queued), (ReplayState::Running, 2), "two a second");
        house.clock.advance(Duration::from_secs(1));
        house.until_count(|counters| &counters.arrived, 5).await;
        house.clock.advance(Duration::from_secs(1));
        let ended = loop {
            let standing = house.store.replay(webhook, replay.id).await.unwrap().unwrap();
            if standing.state == ReplayState::Done {
                break standing;
            }
            tokio::task::yield_now().await;
        };
        assert_eq!((ended.seen, ended.queued), (5, 4));
        assert!(ended.ended_at >= Some(START + Duration::from_secs(1)));
        let again = house.dispatch(missed, webhook).await;
        house.until(again, |standing| standing.state == DispatchState::Arrived).await;

        // One that arrived is told once more when somebody asks for it, under its own id and with attempts of its own.
        assert!(house.store.replay_dispatch(house.tenant, dispatch).await.unwrap());
        house.until_count(|counters| &counters.arrived, 6).await;
        let standing = house.until(dispatch, |standing| standing.state == DispatchState::Arrived).await;
        assert_eq!(standing.attempts, 3);
        let of_event = format!("{{\"id\":\"{}\"", dispatch.event);
        let told = house.receiver.posted().iter().filter(|posted| posted.body.starts_with(&of_event)).count();
        assert_eq!(told, 3);
        assert!(!house.store.replay_dispatch(TenantId::from_bytes([9; 16]), dispatch).await.unwrap());
        drain(workers).await;
    }

    async fn who_fails_for_days_is_warned_and_switched_off_and_others_hear_of_it(engine: &Engine) {
        const HOUR: Duration = Duration::from_secs(3600);
        let house = House::build(engine).await;
        let failing = house.webhook("/dead", Format::Mailtura, "s").await;
        // What is counted is settled: nobody looks too early for what comes next.
        let failures = async || house.store.webhook_health(failing).await.unwrap().map_or(0, |health| health.failures);
        let notices = [EventKind::WebhookFailing, EventKind::WebhookExhausted, EventKind::WebhookDisabled];
        let change = |webhook| Webhook { events: notices.into_iter().collect(), ..webhook };
        house.webhook_with("/told", change).await;
        house.receiver.always_answer("/dead", Answer::Status(500, ""));
        let workers = house.start();
        house.owe(40).await;
        let off = loop {
            let webhook = house.store.webhook(house.tenant, failing).await.unwrap().unwrap();
            if webhook.switch != Switch::On {
                break webhook;
            }
            let before = failures().await;
            house.clock.advance(HOUR / 2);
            while failures().await == before {
                tokio::task::yield_now().await;
            }
        };
        assert_eq!(off.switch, Switch::OffByUs);
        let given_up = given_up(&house);
        assert!((3..=37).contains(&given_up), "{given_up}");
        let failing_for = house.clock.now().since(START);
        assert!((HOUR * 120..HOUR * 124).contains(&failing_for), "{failing_for:?}");
        // A lease that ends while one is told, as the hours fly, has it told again under the same id.
        let told = loop {
            let mut told: Vec<serde_json::Value> = Vec::new();
            for posted in house.receiver.posted().iter().filter(|posted| posted.path == "/told") {
                let event: serde_json::Value = serde_json::from_str(&posted.body).unwrap();
                if told.iter().all(|other| other["id"] != event["id"]) {
                    told.push(event);
                }
            }
            if told.len() == notices.len() {
                break told;
            }
            tokio::task::yield_now().await;
        };
        let types: Vec<_> = told.iter().map(|event| event["type"].as_str().unwrap()).collect();
        assert_eq!(types, ["webhook.failing", "webhook.exhausted", "webhook.disabled"]);
        assert_eq!(told[2]["data"]["webhookId"], failing.to_string());
        assert_eq!(told[2]["data"]["error"], "http_status");
        let mailed: Vec<_> = house.store.notices().await.unwrap().into_iter().map(|event| event.kind).collect();
        assert_eq!(mailed, notices);
        // Nothing is dropped, and what happens meanwhile is kept too.
        house.owe(1).await;
        assert_eq!(u64::from(house.store.dispatches_waiting(failing, 100).await.unwrap()), 41 - given_up);
        house.receiver.always_answer("/dead", Answer::Status(200, ""));
        let on = |webhook: &mut Webhook| {
            webhook.switch = Switch::On;
            Ok::<_, StoreError>(())
        };
        house.store.change_webhook(off.tenant, off.id, Secret::new("made"), on).await.unwrap();
        house.clock.advance(HOUR * 12);
        house.until_count(|counters| &counters.arrived, 44 - given_up).await;
        drain(workers).await;
    }
}
