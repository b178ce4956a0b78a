//! Delivery from acceptance to settlement: the true worker and store, a scripted exchanger, a clock that the test moves.

use std::collections::HashSet;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use postback::deliver::settings::{Mode, Smarthost, Tls};
use postback::deliver::{self, Counters, Parts, Settings};
use postback::model::delivery::State;
use postback::model::event::{Detail, EventKind};
use postback::model::id::{DeliveryId, MessageId};
use postback::model::message::Tracking;
use postback::model::queue::{Mark, Pause, QueueFilter};
use postback::model::reason::Reason;
use postback::model::retry::{LEASE, MAIL_LIFETIME};
use postback::model::suppression::{Scope, Suppression};
use postback::model::tenant::AgentSettings;
use postback::model::token::{self, BOUNCE_AGE_MAX, KeyRing, Reference};
use postback::store::Store;
use postback::store::suppressions::{Filter, Lists};
use postback::store::views::DeliveryView;
use postback::worker::{RENEW_EVERY, Worker};

use crate::exchanger::{Act, Exchanger, Script, say};
use crate::support::engines::{Engine, on_both_engines};
use crate::support::node::{Node, START};

/// A node with its store, an exchanger to send to, and what tests make mail with.
pub struct House {
    node: Node,
    pub ring: KeyRing,
    pub exchanger: Exchanger,
    counters: Arc<Counters>,
}

impl std::ops::Deref for House {
    type Target = Node;

    fn deref(&self) -> &Node {
        &self.node
    }
}

impl House {
    pub async fn build(engine: &Engine, handoff: usize, script: Script) -> Self {
        let node = Node::build(engine, handoff, AgentSettings::default()).await;
        let ring = node.store.key_ring(node.ids.bytes()).await.unwrap();
        let exchanger = Exchanger::start(script).await;
        Self { node, ring, exchanger, counters: Arc::default() }
    }

    pub fn settings(&self) -> Settings {
        let smarthost = Smarthost {
            host: "127.0.0.1".into(),
            port: self.exchanger.address.port(),
            tls: Tls::None,
            ..Smarthost::default()
        };
        Settings { mode: Mode::Smarthost, smarthost, ..Settings::default() }
    }

    pub async fn start(&self) -> Worker {
        self.start_on(&self.store, &self.settings()).await
    }

    pub async fn start_on(&self, store: &Store, settings: &Settings) -> Worker {
        let counters = self.counters.clone();
        let parts = Parts { store: store.clone(), counters, ..self.node.deliver_parts().await };
        assert_eq!(settings.complaint(), None);
        deliver::start(parts, settings).await.unwrap()
    }

    /// The first delivery of a message, once `is` holds for it.
    pub async fn until(&self, message: MessageId, is: impl Fn(&DeliveryView) -> bool) -> DeliveryView {
        loop {
            let view = self.store.deliveries(message).await.unwrap().remove(0);
            if is(&view) {
                return view;
            }
            tokio::task::yield_now().await;
        }
    }

    async fn until_state(&self, message: MessageId, state: State) -> DeliveryView {
        self.until(message, |view| view.delivery.state == state).await
    }

    /// As if time went on: whoever looks now and then looks again and again.
    async fn until_delivered_with_time(&self, message: MessageId) {
        let is_delivered = |view: &DeliveryView| {
            self.store.wakes().deliveries.ring();
            view.delivery.state == State::Delivered
        };
        self.until(message, is_delivered).await;
    }

    pub async fn until_waiting(&self, message: MessageId) -> DeliveryView {
        self.until(message, |view| view.delivery.attempts > 0 && !view.is_leased).await
    }

    pub async fn kinds(&self, message: MessageId) -> Vec<EventKind> {
        let events = self.store.events(DeliveryId { message, recipient: 0 }).await.unwrap();
        events.into_iter().map(|event| event.kind).filter(|kind| *kind != EventKind::Sent).collect()
    }

    async fn suppressions(&self) -> Vec<Suppression> {
        let list = Lists::Of(Scope::Agent(self.tenant, self.agent));
        self.store.suppressions(list, &Filter::default(), 10).await.unwrap()
    }

    async fn dialogue(&self, message: MessageId, attempt: usize) -> String {
        let mut attempts = self.store.attempts(DeliveryId { message, recipient: 0 }).await.unwrap();
        attempts.remove(attempt - 1).1.dialogue
    }

    fn count(&self, which: impl Fn(&Counters) -> &std::sync::atomic::AtomicU64) -> u64 {
        which(&self.counters).load(Ordering::Relaxed)
    }
}

pub const AWHILE: Duration = Duration::from_secs(60);

/// A house whose next hop has gone: the worker has found that out by a few of fifty mails. With the hop's port.
async fn nobody_answers(engine: &Engine) -> (House, Worker, Vec<MessageId>, u16) {
    let house = House::build(engine, 64, Script::polite()).await;
    let closed = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let mut settings = Settings { at_once: 2, ..house.settings() };
    settings.smarthost.port = closed.local_addr().unwrap().port();
    settings.smarthost.connections_max = 2;
    drop(closed);
    let worker = house.start_on(&house.store, &settings).await;
    let mut messages = Vec::new();
    for number in 0..50 {
        messages.push(house.accept(&[&format!("r{number}@example.com")]).await);
    }
    for message in &messages {
        house.until(*message, |view| !view.is_leased).await;
    }
    (house, worker, messages, settings.smarthost.port)
}

on_both_engines! {
    async fn each_recipient_gets_a_copy_of_its_own_over_kept_connections(engine: &Engine) {
        let house = House::build(engine, 64, Script::polite()).await;
        let one_at_a_time = Settings { at_once: 1, ..house.settings() };
        let worker = house.start_on(&house.store, &one_at_a_time).await;
        let message = house.accept(&["a@example.com", "b@example.com", "c@example.com"]).await;
        let mut recipients = HashSet::new();
        for _ in 0..3 {
            let arrived = house.exchanger.next().await;
            let content = String::from_utf8(arrived.content).unwrap();
            let sender = arrived.mail.strip_prefix("MAIL FROM:<").unwrap().split('>').next().unwrap();
            let local = sender.strip_suffix("@bounce.acme.example").unwrap();
            let delivery = token::open_return_path(&house.ring, local, START, BOUNCE_AGE_MAX).unwrap();
            assert_eq!(delivery.message, message);
            assert!(content.starts_with(&format!("X-Postback-Ref: {local}\r\nFrom: shop@acme.example\r\nSubject:")));
            assert!(!content.contains("secret@"));
            recipients.insert((delivery.recipient, arrived.rcpt));
        }
        assert_eq!(recipients.len(), 3);
        let view = house.until_state(message, State::Delivered).await;
        assert_eq!((view.delivery.attempts, view.reason), (1, None));
        worker.drain(AWHILE).await;
        assert_eq!(house.exchanger.connections(), 1);
        assert_eq!(house.exchanger.commands().last().unwrap(), "QUIT");
        assert_eq!(house.kinds(message).await, [EventKind::Delivered]);
        assert!(house.dialogue(message, 1).await.contains("> MAIL FROM:<b+"));
        assert_eq!(house.count(|counters| &counters.delivered), 3);
    }

    async fn a_tracked_mail_leads_through_us(engine: &Engine) {
        let house = House::build(engine, 64, Script::polite()).await;
        let html = b"From: shop@acme.example\r\nMIME-Version: 1.0\r\nContent-Type: text/html\r\n\r\n\
            <html><body><a href=\"https://example.com/x\">x</a></body></html>\r\n";
        let tracking =
            Tracking { opens: true, clicks: true, base_url: "https://t.acme.example".into(), key_id: house.ring.newest().unwrap(), ..Tracking::default() };
        let worker = house.start().await;
        house.store.accept(house.plan(&["a@example.com"], html, tracking)).await.unwrap();
        let content = String::from_utf8(house.exchanger.next().await.content).unwrap();
        let token = |kind: &str| content.split(&format!("https://t.acme.example/{kind}/")).nth(1).unwrap().split('"').next().unwrap();
        let opened = |kind| token::open(&house.ring, "t.acme.example", token(kind)).unwrap().1;
        assert_eq!(opened("o"), Reference::Open);
        assert_eq!(opened("c"), Reference::Click { link: 0, target: "https://example.com/x".into() });
        worker.drain(AWHILE).await;
    }

    async fn not_now_is_tried_again_when_the_host_wishes(engine: &Engine) {
        let greylisted = say("450 4.2.0 greylisted, try again in 600 seconds");
        let house = House::build(engine, 64, Script::polite().on("RCPT", greylisted)).await;
        let worker = house.start().await;
        let message = house.accept(&["a@example.com"]).await;
        let view = house.until_waiting(message).await;
        assert_eq!((view.due_at, view.reason), (Some(START + Duration::from_secs(600)), Some(Reason::Greylisted)));
        house.clock.advance(Duration::from_secs(599));
        house.clock.advance(Duration::from_secs(1));
        house.exchanger.next().await;
        let view = house.until_state(message, State::Delivered).await;
        assert_eq!(view.delivery.attempts, 2);
        assert_eq!(house.kinds(message).await, [EventKind::Deferred, EventKind::Delivered]);
        worker.drain(AWHILE).await;
    }

    async fn a_mail_that_will_be_hours_late_is_told_of_once(engine: &Engine) {
        let later = "450 4.2.0 greylisted, try again in 14400 seconds";
        let house = House::build(engine, 64, Script::polite().on("RCPT", say(later)).on("RCPT", say(later))).await;
        let worker = house.start().await;
        let message = house.accept(&["a@example.com"]).await;
        house.until_waiting(message).await;
        let told = async |kind| house.kinds(message).await.into_iter().filter(|told| *told == kind).count();
        assert_eq!((told(EventKind::Deferred).await, told(EventKind::Delayed).await), (1, 1));
        house.clock.advance(Duration::from_secs(14_400));
        house.until(message, |view| view.delivery.attempts == 2 && !view.is_leased).await;
        assert_eq!((told(EventKind::Deferred).await, told(EventKind::Delayed).await), (2, 1));
        worker.drain(AWHILE).await;
    }

    async fn where_nobody_answers_one_mail_finds_out_for_all(engine: &Engine) {
        let (house, worker, messages, port) = nobody_answers(engine).await;
        let attempts = house.count(|counters| &counters.deferred);
        assert!((3..=4).contains(&attempts), "{attempts} found out");
        let all = QueueFilter::all_of(Scope::Installation);
        let off = house.store.queued(&all, None, 100).await.unwrap();
        let off: Vec<_> = off.into_iter().filter(|view| view.mark == Mark::Silence).collect();
        assert!(off.len() >= 46 && off.iter().all(|view| view.delivery.attempts == 0));
        // It comes back, and all of it arrives.
        let moved = tokio::net::TcpListener::bind(("127.0.0.1", port)).await.unwrap();
        house.exchanger.listen_too(moved);
        house.clock.advance(Duration::from_secs(66));
        for message in messages {
            house.until_state(message, State::Delivered).await;
        }
        worker.drain(AWHILE).await;
    }

    async fn who_knows_that_it_is_back_need_not_wait_for_its_rest(engine: &Engine) {
        let (house, worker, messages, port) = nobody_answers(engine).await;
        let moved = tokio::net::TcpListener::bind(("127.0.0.1", port)).await.unwrap();
        house.exchanger.listen_too(moved);
        house.store.retry_now(QueueFilter::all_of(Scope::Installation)).await.unwrap();
        while house.count(|counters| &counters.delivered) == 0 {
            tokio::task::yield_now().await;
        }
        // What was leased before the first had arrived has been put off for a second.
        house.clock.advance(Duration::from_secs(1));
        for message in messages {
            house.until_state(message, State::Delivered).await;
        }
        worker.drain(AWHILE).await;
    }

    async fn a_pause_holds_whatever_else_people_ask_for(engine: &Engine) {
        let house = House::build(engine, 64, Script::polite()).await;
        let scope = Scope::Agent(house.tenant, house.agent);
        house.store.pause(Pause { scope, domain: None, note: String::new(), created_at: START }).await.unwrap();
        let worker = house.start().await;
        let message = house.accept(&["a@example.com"]).await;
        house.until(message, |view| view.mark == Mark::Paused).await;
        assert_eq!(house.exchanger.connections(), 0);
        house.store.retry_now(QueueFilter::all_of(scope)).await.unwrap();
        house.until(message, |view| view.mark == Mark::Paused).await;
        assert_eq!(house.exchanger.connections(), 0);
        house.store.resume(scope, None).await.unwrap();
        house.until_delivered_with_time(message).await;
        worker.drain(AWHILE).await;
    }

    async fn what_comes_before_a_worker_hears_of_a_resumption_goes_on_too(engine: &Engine) {
        let house = House::build(engine, 64, Script::polite()).await;
        let scope = Scope::Tenant(house.tenant);
        house.store.pause(Pause { scope, domain: None, note: String::new(), created_at: START }).await.unwrap();
        let worker = house.start().await;
        let before = house.accept(&["a@example.com"]).await;
        house.until(before, |view| view.mark == Mark::Paused).await;
        // As if the word of it were on its way.
        engine.run("delete from pauses", "delete from pauses").await;
        let after = house.accept(&["b@example.com"]).await;
        house.until(after, |view| view.mark == Mark::Paused || view.delivery.state == State::Delivered).await;
        for message in [before, after] {
            house.until_delivered_with_time(message).await;
        }
        worker.drain(AWHILE).await;
    }

    async fn never_ends_it_and_leaves_the_address_alone(engine: &Engine) {
        let house = House::build(engine, 64, Script::polite().on("RCPT", say("550 5.1.1 no such user"))).await;
        let worker = house.start().await;
        let message = house.accept(&["A@example.com"]).await;
        let view = house.until_state(message, State::Bounced).await;
        assert_eq!(view.reason, Some(Reason::UserUnknown));
        assert_eq!(house.kinds(message).await, [EventKind::HardBounced]);
        let suppressed = house.suppressions().await.remove(0);
        assert_eq!((suppressed.target.as_str(), suppressed.reason), ("a@example.com", Reason::UserUnknown));
        assert_eq!(suppressed.expires_at, Some(START + Duration::from_secs(180 * 86_400)));
        assert!(house.dialogue(message, 1).await.contains("< 550 5.1.1 no such user\n"));
        worker.drain(AWHILE).await;
    }

    async fn refused_content_is_not_the_address_s_fault(engine: &Engine) {
        let house = House::build(engine, 64, Script::polite().on(".", say("554 5.7.1 looks like spam"))).await;
        let worker = house.start().await;
        let message = house.accept(&["a@example.com"]).await;
        house.until_state(message, State::Bounced).await;
        assert_eq!(house.kinds(message).await, [EventKind::SoftBounced]);
        assert_eq!(house.suppressions().await, []);
        worker.drain(AWHILE).await;
    }

    async fn a_host_that_refuses_us_altogether_costs_no_mail(engine: &Engine) {
        let script = Script::polite().on("greeting", say("554 5.7.1 go away")).on("MAIL", say("530 5.7.0 who are you?"));
        let house = House::build(engine, 64, script).await;
        let worker = house.start().await;
        let message = house.accept(&["a@example.com"]).await;
        house.until_waiting(message).await;
        house.clock.advance(Duration::from_secs(66));
        house.until(message, |view| view.delivery.attempts == 2 && !view.is_leased).await;
        house.clock.advance(Duration::from_secs(330));
        house.until_state(message, State::Delivered).await;
        worker.drain(AWHILE).await;
    }

    async fn an_unclear_end_is_tried_again_and_said(engine: &Engine) {
        let house = House::build(engine, 64, Script::polite().on(".", Act::Cut(vec![]))).await;
        let worker = house.start().await;
        let message = house.accept(&["a@example.com"]).await;
        let first = house.exchanger.next().await;
        let view = house.until_waiting(message).await;
        assert_eq!((view.delivery.state, view.reason), (State::Queued, Some(Reason::NetworkError)));
        let events = house.store.events(DeliveryId { message, recipient: 0 }).await.unwrap();
        let deferred = events.iter().find_map(|event| match &event.detail {
            Detail::Deferred { cause, .. } => Some(cause),
            _ => None,
        });
        let cause = deferred.unwrap();
        assert!(cause.diagnostic.contains("may have been taken") && cause.rule == "deliver.unclear");
        assert_eq!(house.count(|counters| &counters.unclear), 1);
        house.clock.advance(Duration::from_secs(66));
        let second = house.exchanger.next().await;
        assert_eq!((first.content, first.rcpt), (second.content, second.rcpt), "the same bytes");
        house.until_state(message, State::Delivered).await;
        worker.drain(AWHILE).await;
    }

    async fn a_kept_connection_that_is_gone_costs_no_attempt(engine: &Engine) {
        let gone = Act::Cut(b"250 ok\r\n".to_vec());
        let shut = Act::Cut(b"421 4.4.2 idle too long\r\n".to_vec());
        // The second mail finds its connection closed; the fourth finds its own shut at MAIL.
        let house = House::build(engine, 64, Script::polite().on(".", gone)).await;
        let worker = house.start().await;
        let mut script = Script::polite();
        for _ in 0..2 {
            let message = house.accept(&["a@example.com"]).await;
            house.exchanger.next().await;
            assert_eq!(house.until_state(message, State::Delivered).await.delivery.attempts, 1);
        }
        assert_eq!(house.exchanger.connections(), 2);
        script = script.on("MAIL", shut);
        house.exchanger.now_on(script);
        let message = house.accept(&["a@example.com"]).await;
        house.exchanger.next().await;
        assert_eq!(house.until_state(message, State::Delivered).await.delivery.attempts, 1);
        assert_eq!(house.exchanger.connections(), 3);
        let dialogue = house.dialogue(message, 1).await;
        assert!(dialogue.contains("kept after 1 mails") && dialogue.contains("< 421 4.4.2 idle too long\n"), "{dialogue}");
        worker.drain(AWHILE).await;
    }

    async fn connections_have_a_bound_a_share_and_an_age(engine: &Engine) {
        let house = House::build(engine, 64, Script::polite()).await;
        let mut settings = house.settings();
        settings.smarthost.connections_max = 1;
        settings.smarthost.mails_per_connection_max = 2;
        let worker = house.start_on(&house.store, &settings).await;
        let recipients = ["a@x.example", "b@x.example", "c@x.example", "d@x.example", "e@x.example"];
        let message = house.accept(&recipients).await;
        for _ in recipients {
            house.exchanger.next().await;
        }
        let connections: Vec<usize> = house.exchanger.mails().iter().map(|mail| mail.connection).collect();
        assert_eq!(connections, [0, 0, 1, 1, 2]);
        for recipient in 0..5 {
            house.until(message, |_| true).await;
            while house.store.deliveries(message).await.unwrap()[recipient].delivery.state != State::Delivered {
                tokio::task::yield_now().await;
            }
        }
        house.clock.advance(Duration::from_secs(16));
        house.exchanger.ended(3).await;
        worker.drain(AWHILE).await;
    }

    async fn captured_mail_leaves_no_trace_on_the_network(engine: &Engine) {
        let house = House::build(engine, 64, Script::polite()).await;
        let worker = house.start_on(&house.store, &Settings::default()).await;
        let message = house.accept(&["a@example.com"]).await;
        house.until_state(message, State::Delivered).await;
        let (_, attempt) = house.store.attempts(DeliveryId { message, recipient: 0 }).await.unwrap().remove(0);
        assert_eq!((attempt.route.as_str(), attempt.diagnostic.as_str()), ("capture", "captured"));
        assert_eq!(house.kinds(message).await, [EventKind::Delivered]);
        worker.drain(AWHILE).await;
        assert_eq!(house.exchanger.connections(), 0);
    }

    async fn two_nodes_share_the_work_and_send_nothing_twice(engine: &Engine) {
        let house = House::build(engine, 0, Script::polite()).await;
        let other = engine.store("node-2", &house.clock).await;
        let mut messages = Vec::new();
        for _ in 0..100 {
            messages.push(house.accept(&["a@example.com", "b@example.com"]).await);
        }
        let settings = Settings { at_once: 8, ..house.settings() };
        let workers = [house.start_on(&house.store, &settings).await, house.start_on(&other, &settings).await];
        for _ in 0..200 {
            house.exchanger.next().await;
        }
        for message in messages {
            house.until_state(message, State::Delivered).await;
        }
        for worker in workers {
            worker.drain(AWHILE).await;
        }
        let senders: HashSet<String> = house.exchanger.mails().into_iter().map(|mail| mail.mail).collect();
        assert_eq!((senders.len(), house.exchanger.mails().len()), (200, 200));
        other.close().await;
    }

    async fn a_long_attempt_keeps_its_lease(engine: &Engine) {
        let house = House::build(engine, 64, Script::polite().on(".", Act::Hang(vec![]))).await;
        let worker = house.start().await;
        let message = house.accept(&["a@example.com"]).await;
        house.exchanger.next().await;
        let other = engine.store("node-2", &house.clock).await;
        let second = house.start_on(&other, &house.settings()).await;
        for _ in 0..10 {
            house.clock.advance(RENEW_EVERY);
            let renewed = house.clock.now() + LEASE;
            house.until(message, |view| view.due_at == Some(renewed)).await;
        }
        let view = house.until(message, |_| true).await;
        assert_eq!((view.delivery.attempts, view.is_leased), (1, true));
        drop(worker);
        house.clock.advance(LEASE);
        house.exchanger.next().await;
        let view = house.until_state(message, State::Delivered).await;
        assert_eq!(view.delivery.attempts, 2, "a node that died is followed when its lease ends");
        second.drain(AWHILE).await;
        other.close().await;
    }

    async fn a_stop_gives_back_what_has_not_begun(engine: &Engine) {
        let house = House::build(engine, 64, Script::polite().on("MAIL", Act::Hang(vec![]))).await;
        let settings = Settings { at_once: 1, ..house.settings() };
        let worker = house.start_on(&house.store, &settings).await;
        let stuck = house.accept(&["a@example.com"]).await;
        let waiting = house.accept(&["b@example.com"]).await;
        while !house.exchanger.commands().iter().any(|command| command.starts_with("MAIL")) {
            tokio::task::yield_now().await;
        }
        worker.drain(Duration::ZERO).await;
        let view = house.until(waiting, |view| !view.is_leased).await;
        assert_eq!((view.delivery.attempts, view.due_at), (0, Some(START)));
        let view = house.until(stuck, |_| true).await;
        assert_eq!((view.delivery.attempts, view.due_at), (1, Some(START + LEASE)), "its lease ends by itself");
    }

    async fn mail_whose_time_runs_out_in_a_pause_ends_in_it(engine: &Engine) {
        let house = House::build(engine, 0, Script::polite()).await;
        let pause = Pause { scope: Scope::Installation, domain: None, note: String::new(), created_at: START };
        house.store.pause(pause).await.unwrap();
        let worker = house.start().await;
        let message = house.accept(&["a@example.com"]).await;
        house.until(message, |view| view.mark == Mark::Paused && !view.is_leased).await;
        house.clock.advance(MAIL_LIFETIME + AWHILE);
        house.until_state(message, State::Cancelled).await;
        assert_eq!(house.exchanger.mails(), []);
        worker.drain(AWHILE).await;
    }

    async fn mail_whose_time_ran_out_is_not_sent(engine: &Engine) {
        let house = House::build(engine, 0, Script::polite().on("RCPT", say("450 4.2.0 later"))).await;
        let never_tried = house.accept(&["a@example.com"]).await;
        house.clock.advance(MAIL_LIFETIME + AWHILE);
        let tried = house.accept(&["b@example.com"]).await;
        let worker = house.start().await;
        house.until_state(never_tried, State::Cancelled).await;
        assert_eq!(house.kinds(never_tried).await, [EventKind::Failed]);
        house.until_waiting(tried).await;
        worker.drain(AWHILE).await;
        house.clock.advance(MAIL_LIFETIME + AWHILE);
        let worker = house.start().await;
        let view = house.until_state(tried, State::Expired).await;
        assert_eq!(view.reason, Some(Reason::Expired));
        assert_eq!(house.kinds(tried).await, [EventKind::Deferred, EventKind::SoftBounced]);
        assert_eq!(house.exchanger.mails(), []);
        worker.drain(AWHILE).await;
    }
}
