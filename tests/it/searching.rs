//! Finding messages again, and counting what happened lately: on both engines, with a clock that the test moves.

use std::time::Duration;

use postback::model::bearing::Bearing;
use postback::model::delivery::{Next, State};
use postback::model::event::EventKind;
use postback::model::id::{MessageId, TenantId};
use postback::model::message::{Plan, Tracking};
use postback::model::pulse::{Measure, Span};
use postback::model::reason::Reason;
use postback::model::search::Search;
use postback::model::tenant::AgentSettings;
use postback::model::time::Timestamp;
use postback::store::deliveries::{Attempt, Settlement};
use postback::store::retention::Keep;

use sqlx::postgres::PgConnectOptions;
use sqlx::{Connection, Executor, PgConnection};

use crate::support::engines::{Engine, on_both_engines};
use crate::support::node::{CONTENT, Node};

const MINUTE: Duration = Duration::from_secs(60);

struct House(Node);

impl std::ops::Deref for House {
    type Target = Node;

    fn deref(&self) -> &Node {
        &self.0
    }
}

impl House {
    async fn build(engine: &Engine) -> Self {
        Self(Node::build(engine, 0, AgentSettings::default()).await)
    }

    async fn send(&self, subject: &str, tags: &[&str], recipients: &[&str]) -> MessageId {
        let plan = self.drawn(subject, tags, recipients);
        let id = plan.message.id;
        self.store.accept(plan).await.unwrap();
        id
    }

    /// What has its id, and is not written yet.
    fn drawn(&self, subject: &str, tags: &[&str], recipients: &[&str]) -> Plan {
        let mut plan: Plan = self.plan(recipients, CONTENT, Tracking::default());
        plan.message.facts.subject = subject.into();
        plan.message.facts.email_reference = format!("{}@shop.example", plan.message.id);
        plan.message.facts.tags = tags.iter().map(|&tag| tag.to_owned()).collect();
        self.clock.advance(Duration::from_millis(2));
        plan
    }

    fn search(&self, typed: &str) -> Search {
        let mut search = Search::all_of(self.tenant);
        search.add(typed);
        search
    }

    async fn found(&self, search: &Search) -> Vec<MessageId> {
        let found = self.store.search(search, None, 100).await.unwrap();
        assert_eq!((found.next, found.is_cut), (None, false));
        found.messages.iter().map(|message| message.id).collect()
    }

    /// What the words of new messages are written by, a while later.
    async fn index(&self) {
        self.clock.advance(MINUTE);
        self.index_now().await;
    }

    async fn index_now(&self) {
        while self.store.index_messages().await.unwrap() > 0 {}
    }

    /// Everything that is due ends so.
    async fn settle_all(&self, next: Next, reason: Option<Reason>) {
        let now = self.clock.now();
        for leased in self.store.lease_deliveries(1_000).await.unwrap() {
            let attempt = Attempt { started_at: now, ended_at: now, outcome: "x".into(), ..Attempt::default() };
            let (id, lease, next) = (leased.delivery.id, leased.lease.clone(), next.clone());
            let settlement = Settlement {
                id,
                lease,
                attempt,
                next,
                reason,
                events: vec![],
                bearing: Bearing::Nothing,
                letter: None,
            };
            self.store.settle_delivery(settlement).await.unwrap();
        }
    }
}

on_both_engines! {
    async fn messages_are_found_before_and_after_their_words_are_written(engine: &Engine) {
        let house = House::build(engine).await;
        let order = house.send("Your order 1001", &["orders"], &["Ann@Example.com", "bob@example.org"]).await;
        let other = house.send("Your order 1002", &["orders", "vip"], &["carol@example.com"]).await;
        for _ in 0..2 {
            for (typed, expected) in [
                ("", vec![other, order]),
                ("order", vec![other, order]),
                ("1001", vec![order]),
                ("order 1002", vec![other]),
                ("order 1003", vec![]),
                ("ann@example.com", vec![order]),
                ("bob@", vec![order]),
                ("@example.com", vec![other, order]),
                ("@example.com 1002", vec![other]),
                ("tag:vip", vec![other]),
                ("tag:orders carol@example.com", vec![other]),
            ] {
                assert_eq!(house.found(&house.search(typed)).await, expected, "{typed}");
            }
            let named = Search::named(house.tenant, &format!("<{order}@shop.example>"));
            assert_eq!(house.found(&named).await, [order]);
            let nobody = Search { tenant: TenantId::from_bytes([9; 16]), ..house.search("order") };
            assert_eq!(house.found(&nobody).await, []);
            house.index().await;
        }
        // Of both kinds at once: words that are written, and words that are not.
        let third = house.send("Your order 1003", &[], &["dan@example.com"]).await;
        assert_eq!(house.found(&house.search("order")).await, [third, other, order]);
        house.store.close().await;
    }

    async fn what_is_written_long_after_its_id_was_drawn_is_found(engine: &Engine) {
        let house = House::build(engine).await;
        let mut late = Vec::new();
        for seconds in [0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 60, 600] {
            let plan = house.drawn("Late order", &["late"], &["ann@example.com"]);
            late.insert(0, plan.message.id);
            house.send("Order", &[], &["bob@example.com"]).await;
            house.clock.advance(Duration::from_secs(seconds));
            house.index_now().await;
            house.store.accept(plan).await.unwrap();
            for typed in ["late", "tag:late", "ann@example.com order"] {
                assert_eq!(house.found(&house.search(typed)).await, late, "{typed} after {seconds} s");
            }
        }
        house.index().await;
        assert_eq!(house.found(&house.search("late order")).await, late);
        house.store.close().await;
    }

    async fn by_state_by_date_and_by_agent(engine: &Engine) {
        let house = House::build(engine).await;
        let bounced = house.send("First", &[], &["a@example.com"]).await;
        house.settle_all(Next::Ends(State::Bounced), Some(Reason::UserUnknown)).await;
        let noon = house.clock.now();
        let delivered = house.send("Second", &[], &["b@example.com"]).await;
        house.settle_all(Next::Ends(State::Delivered), None).await;
        let waiting = house.send("Third", &[], &["a@example.com", "c@example.com"]).await;
        for _ in 0..2 {
            let state = |state| Search { state: Some(state), ..house.search("") };
            assert_eq!(house.found(&state(State::Bounced)).await, [bounced]);
            assert_eq!(house.found(&state(State::Delivered)).await, [delivered]);
            assert_eq!(house.found(&state(State::Queued)).await, [waiting]);
            assert_eq!(house.found(&state(State::Expired)).await, []);
            let both = Search { state: Some(State::Queued), ..house.search("a@example.com") };
            assert_eq!(house.found(&both).await, [waiting]);
            assert_eq!(house.found(&Search { from: Some(noon), ..house.search("") }).await, [waiting, delivered]);
            assert_eq!(house.found(&Search { until: Some(noon), ..house.search("a@") }).await, [bounced]);
            let agent = Search { agent: Some(house.agent), ..house.search("a@") };
            assert_eq!(house.found(&agent).await, [waiting, bounced]);
            house.index().await;
        }
        assert_eq!(house.store.count_in_state(house.tenant, State::Queued, 100).await.unwrap(), 2);
        assert_eq!(house.store.oldest_in_state(house.tenant, State::Queued).await.unwrap(), Some(waiting.drawn_at()));
        house.store.close().await;
    }

    async fn pages_follow_each_other_without_a_gap(engine: &Engine) {
        let house = House::build(engine).await;
        let mut sent = Vec::new();
        for number in 0..7 {
            sent.push(house.send(&format!("Order {number}"), &[], &["a@example.com"]).await);
            if number == 4 {
                house.index().await;
            }
        }
        sent.reverse();
        for typed in ["", "order", "a@example.com order"] {
            let (mut seen, mut before) = (Vec::new(), None);
            loop {
                let found = house.store.search(&house.search(typed), before, 2).await.unwrap();
                seen.extend(found.messages.iter().map(|message| message.id));
                before = found.next;
                if before.is_none() {
                    break;
                }
            }
            assert_eq!(seen, sent, "{typed}");
        }
        house.store.close().await;
    }

    async fn what_is_forgotten_is_found_no_more(engine: &Engine) {
        let house = House::build(engine).await;
        house.send("Order", &[], &["a@example.com"]).await;
        house.settle_all(Next::Ends(State::Delivered), None).await;
        house.index().await;
        house.clock.advance(MINUTE * 60 * 24);
        let hour = MINUTE * 60;
        house.store.forget(Keep { messages: hour, events: hour, reports: hour, webhook_log: hour }).await.unwrap();
        assert_eq!(house.found(&house.search("order")).await, []);
        house.store.close().await;
    }

    async fn who_was_erased_is_found_no_more(engine: &Engine) {
        let house = House::build(engine).await;
        let both = house.send("Order", &[], &["a@example.com", "b@example.org"]).await;
        house.send("Order", &[], &["a@example.com"]).await;
        house.settle_all(Next::Ends(State::Delivered), None).await;
        house.index().await;
        house.store.erase(house.tenant, &"a@example.com".parse().unwrap()).await.unwrap();
        for (typed, expected) in [("a@example.com", vec![]), ("a@", vec![]), ("b@example.org", vec![both]), ("order", vec![both])] {
            assert_eq!(house.found(&house.search(typed)).await, expected, "{typed}");
        }
        house.store.close().await;
    }

    async fn what_happened_lately_is_counted_in_steps(engine: &Engine) {
        let house = House::build(engine).await;
        house.send("First", &[], &["a@example.com", "b@example.com"]).await;
        house.clock.advance(MINUTE * 30);
        house.send("Second", &[], &["a@example.com"]).await;
        let now = house.clock.now();
        let delivery = house.store.lease_deliveries(1).await.unwrap().remove(0);
        let told = delivery.delivery.tells(
            postback::model::id::EventId::from_uuid(house.ids.uuid(now)),
            EventKind::Delivered,
            postback::model::event::Detail::Delivered { reply: "250 ok".into(), next_hop_tells: false, has_arrived: false },
            now,
        );
        let attempt = Attempt { started_at: now, ended_at: now, outcome: "delivered".into(), ..Attempt::default() };
        let settlement = Settlement {
            id: delivery.delivery.id,
            lease: delivery.lease.clone(),
            attempt,
            next: Next::Ends(State::Delivered),
            reason: None,
            events: vec![told],
            bearing: Bearing::Nothing, letter: None,
        };
        house.store.settle_delivery(settlement).await.unwrap();
        for span in Span::ALL {
            let steps = house.store.pulse(house.tenant, None, span).await.unwrap();
            let sum = |measure| steps.iter().map(|step| step.of(measure)).sum::<u64>();
            assert_eq!((sum(Measure::Sent), sum(Measure::Delivered)), (3, 1), "{span:?}");
            assert_eq!(steps.len(), span.steps());
            let of_other = house.store.pulse(TenantId::from_bytes([9; 16]), None, span).await.unwrap();
            assert!(of_other.iter().all(|step| step.of(Measure::Sent) == 0));
        }
        let hour = house.store.pulse(house.tenant, Some(house.agent), Span::Hour).await.unwrap();
        let counted: Vec<(Timestamp, u64)> =
            hour.iter().map(|step| (step.start, step.of(Measure::Sent))).filter(|(_, count)| *count > 0).collect();
        assert_eq!(counted.iter().map(|(_, count)| *count).collect::<Vec<_>>(), [2, 1]);
        assert_eq!(counted[1].0.since(counted[0].0), MINUTE * 30);
        house.store.close().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_words_are_written_past_a_message_that_a_slow_transaction_may_bring() {
    let engine = Engine::postgres().await;
    let house = House::build(&engine).await;
    house.send("Order", &[], &["ann@example.com"]).await;
    let options = engine.url().parse::<PgConnectOptions>().unwrap();
    let mut other = PgConnection::connect_with(&options.application_name("postback")).await.unwrap();
    other.execute("begin; select pg_sleep(0.02)").await.unwrap();
    house.clock.advance(Duration::from_millis(7_505));
    for _ in 0..10 {
        assert_eq!(house.store.index_messages().await.unwrap(), 0);
    }
    other.execute("rollback").await.unwrap();
    while house.store.index_messages().await.unwrap() == 0 {
        tokio::task::yield_now().await;
    }
    house.store.close().await;
    other.close().await.unwrap();
    engine.remove().await;
}
