//! The queue as people steer it, and whose turn it is: on both engines, with a clock that the test moves.

use std::collections::HashSet;
use std::time::Duration;

use postback::model::bearing::{Bearing, Naming, Policy};
use postback::model::delivery::{Delivery, Next, State};
use postback::model::event::{Event, EventKind};
use postback::model::id::{AgentId, DeliveryId, EventId, MessageId, TenantId};
use postback::model::message::{Fate, Plan, Tracking};
use postback::model::queue::{Mark, Pause, QueueFilter};
use postback::model::reason::{Cause, Class, Reason};
use postback::model::retry::{LEASE, MAIL_LIFETIME};
use postback::model::suppression::{Scope, Suppression};
use postback::model::tenant::{AgentSettings, MailAgent, Tenant};
use postback::store::deliveries::{Attempt, Leased, Settlement};
use postback::store::leasing::Due;
use postback::store::suppressions::{Filter, Lists};

use postback::wake::Wake;
use sqlx::{Connection, PgConnection};
use tokio::time::timeout;

use crate::support::engines::{Engine, on_both_engines};
use crate::support::node::{CONTENT, Node, START};
use crate::support::postgres::Meanwhile;

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

    /// Another tenant with one agent.
    async fn neighbour(&self, number: u8) -> (TenantId, AgentId) {
        let (tenant, agent) = (TenantId::from_bytes([number; 16]), AgentId::from_bytes([number; 16]));
        let slug = format!("neighbour-{number}");
        let (key, name) = (format!("key-{number}"), "default".to_owned());
        let neighbour = Tenant {
            id: tenant,
            slug: slug.clone(),
            name: slug,
            settings: Default::default(),
            created_at: START,
            updated_at: START,
            authors: Default::default(),
        };
        let settings = AgentSettings::default();
        let default = MailAgent {
            id: agent,
            tenant,
            key,
            name,
            settings,
            created_at: START,
            updated_at: None,
            authors: Default::default(),
        };
        self.store.add_tenant(neighbour, default).await.unwrap();
        (tenant, agent)
    }

    async fn accept_for(&self, tenant: TenantId, agent: AgentId, recipients: &[&str]) {
        let plan = self.plan(recipients, CONTENT, Tracking::default());
        let message = postback::model::message::Message { tenant, agent, ..plan.message.clone() };
        self.store.accept(Plan { message, ..plan }).await.unwrap();
    }

    fn all(&self) -> QueueFilter {
        QueueFilter::all_of(Scope::Installation)
    }

    /// The addresses of what can be leased now.
    async fn leased(&self, limit: u32) -> Vec<String> {
        let leased = self.store.lease_deliveries(limit).await.unwrap();
        let mut addresses: Vec<_> = leased.into_iter().map(|leased| leased.delivery.address.to_string()).collect();
        addresses.sort();
        addresses
    }

    fn settlement(&self, leased: &Leased, next: Next, reason: Option<Reason>) -> Settlement {
        let now = self.clock.now();
        let attempt = Attempt { started_at: now, ended_at: now, outcome: "deferred".into(), ..Attempt::default() };
        let (id, lease) = (leased.delivery.id, leased.lease.clone());
        Settlement { id, lease, attempt, next, reason, events: vec![], bearing: Bearing::Nothing, letter: None }
    }

    fn teller(&self) -> impl Fn(&Delivery) -> Option<Event> + Send + Sync + Clone + 'static {
        let (ids, now) = (self.ids.clone(), self.clock.now());
        move |delivery| Some(delivery.cancelled(EventId::from_uuid(ids.uuid(now)), now))
    }

    async fn state(&self, message: MessageId) -> State {
        self.store.delivery(DeliveryId { message, recipient: 0 }).await.unwrap().unwrap().state
    }
}

on_both_engines! {
    async fn what_is_held_waits_and_its_lifetime_stands_still(engine: &Engine) {
        let house = House::build(engine).await;
        let held = house.accept(&["a@example.com"]).await;
        house.accept(&["b@example.net"]).await;
        let to_com = QueueFilter { domain: Some("example.com".into()), ..house.all() };
        assert_eq!(house.store.hold(to_com.clone()).await.unwrap(), 1);
        assert_eq!(house.store.hold(to_com.clone()).await.unwrap(), 0);
        assert_eq!(house.leased(10).await, ["b@example.net"]);
        house.clock.advance(Duration::from_secs(3600));
        let only_held = QueueFilter { is_held: Some(true), ..house.all() };
        let view = house.store.queued(&only_held, None, 10).await.unwrap().remove(0);
        assert_eq!((view.delivery.id.message, view.held_at), (held, Some(START)));
        assert_eq!(house.store.release_held(house.all()).await.unwrap(), 1);
        let leased = house.store.lease_deliveries(10).await.unwrap();
        let first = leased.iter().find(|leased| leased.delivery.id.message == held).unwrap();
        assert_eq!(first.delivery.expires_at, START + MAIL_LIFETIME + Duration::from_secs(3600));
    }

    async fn a_scheduled_mail_that_was_held_is_not_sent_early(engine: &Engine) {
        let house = House::build(engine).await;
        let plan = house.plan(&["a@example.com"], CONTENT, Tracking::default());
        let mut deliveries = plan.deliveries.clone();
        deliveries[0].fate = Fate::Queued { due_at: START + MINUTE };
        house.store.accept(Plan { deliveries, ..plan }).await.unwrap();
        house.store.hold(house.all()).await.unwrap();
        house.store.release_held(house.all()).await.unwrap();
        assert_eq!(house.store.next_delivery_due().await.unwrap(), Some(START + MINUTE));
        assert_eq!(house.leased(10).await, [""; 0]);
    }

    async fn what_is_asked_for_is_due_now_and_says_so(engine: &Engine) {
        let house = House::build(engine).await;
        house.accept(&["a@example.com"]).await;
        let leased = house.store.lease_deliveries(10).await.unwrap().remove(0);
        assert_eq!(house.store.retry_now(house.all()).await.unwrap(), 0, "it is being tried");
        let waits = Next::Waits(START + LEASE * 100);
        let full = Some(Reason::MailboxFull);
        house.store.settle_delivery(house.settlement(&leased, waits, full)).await.unwrap();
        let other = QueueFilter { reason: Some(Reason::Greylisted), ..house.all() };
        assert_eq!(house.store.retry_now(other).await.unwrap(), 0);
        assert_eq!(house.store.retry_now(QueueFilter { reason: full, ..house.all() }).await.unwrap(), 1);
        let asked = house.store.lease_deliveries(10).await.unwrap().remove(0);
        assert_eq!((asked.mark, asked.delivery.attempts), (Mark::Asked, 2));
    }

    async fn what_is_cancelled_ends_and_is_told_unless_it_is_purged(engine: &Engine) {
        let house = House::build(engine).await;
        let mut messages = Vec::new();
        for address in ["A@example.com", "b@example.com", "c@example.com", "d@example.com"] {
            messages.push(house.accept(&[address]).await);
        }
        let to = |address: &str| QueueFilter { address: Some(address.parse().unwrap()), ..house.all() };
        assert_eq!(house.store.cancel(to("a@Example.com"), house.teller()).await.unwrap(), 1);
        let of = QueueFilter { message: Some(messages[1]), ..house.all() };
        assert_eq!(house.store.cancel(of, |_| None).await.unwrap(), 1);
        assert_eq!(house.leased(10).await, ["c@example.com", "d@example.com"]);
        assert_eq!(house.store.cancel(house.all(), house.teller()).await.unwrap(), 0, "they are being tried");
        house.clock.advance(LEASE);
        let others = QueueFilter { scope: Scope::Tenant(TenantId::from_bytes([9; 16])), ..house.all() };
        assert_eq!(house.store.cancel(others, house.teller()).await.unwrap(), 0);
        let young = QueueFilter { accepted_before: Some(START), ..house.all() };
        assert_eq!(house.store.cancel(young, house.teller()).await.unwrap(), 0);
        assert_eq!(house.store.cancel(house.all(), house.teller()).await.unwrap(), 2);
        for (message, kinds) in messages.iter().zip([1, 0, 1, 1]) {
            assert_eq!(house.state(*message).await, State::Cancelled);
            let told = house.store.events(DeliveryId { message: *message, recipient: 0 }).await.unwrap();
            assert_eq!(told.iter().filter(|event| event.kind == EventKind::Failed).count(), kinds);
        }
    }

    async fn the_queue_is_shown_by_domain_and_by_delivery(engine: &Engine) {
        let house = House::build(engine).await;
        house.accept(&["a@example.com", "b@example.com", "c@example.net"]).await;
        house.clock.advance(MINUTE);
        house.accept(&["d@example.com"]).await;
        house.store.hold(QueueFilter { address: Some("d@example.com".parse().unwrap()), ..house.all() }).await.unwrap();
        house.store.lease_deliveries(1).await.unwrap();
        let shown = house.store.queue_by_domain(&house.all(), 10).await.unwrap();
        let told: Vec<_> = shown.iter().map(|one| (one.domain.as_str(), one.queued, one.due, one.held, one.oldest)).collect();
        assert_eq!(told, [("example.com", 3, 2, 1, START), ("example.net", 1, 1, 0, START)]);
        assert_eq!(house.store.oldest_by_domain(house.tenant, 10, 100).await.unwrap(), shown);
        let oldest = house.store.oldest_by_domain(house.tenant, 10, 1).await.unwrap();
        assert_eq!(oldest.iter().map(|one| one.queued).collect::<Vec<_>>(), [1]);
        let first = house.store.queued(&house.all(), None, 2).await.unwrap();
        let second = house.store.queued(&house.all(), Some(first[1].delivery.id), 10).await.unwrap();
        let mut all: Vec<_> = first.iter().chain(&second).map(|view| view.delivery.address.to_string()).collect();
        all.sort();
        assert_eq!(all, ["a@example.com", "b@example.com", "c@example.net", "d@example.com"]);
        let of_agent = QueueFilter::all_of(Scope::Agent(house.tenant, house.agent));
        assert_eq!(house.store.queued(&of_agent, None, 10).await.unwrap().len(), 4);
    }

    async fn pauses_come_and_go_and_bring_back_what_they_put_off(engine: &Engine) {
        let house = House::build(engine).await;
        house.accept(&["a@example.com"]).await;
        let scope = Scope::Tenant(house.tenant);
        let pause = Pause { scope, domain: Some("example.com".into()), note: "moving".into(), created_at: START };
        assert!(house.store.pause(pause.clone()).await.unwrap());
        assert!(!house.store.pause(pause.clone()).await.unwrap());
        assert_eq!(house.store.pauses().await.unwrap(), [pause]);
        let put_off = |_: &Due| Some((START + MINUTE * 10, Mark::Paused));
        assert!(house.store.lease_chosen(10, None, put_off).await.unwrap().leased.is_empty());
        assert_eq!(house.leased(10).await, [""; 0]);
        assert!(!house.store.resume(scope, None).await.unwrap());
        assert!(house.store.resume(scope, Some("example.com")).await.unwrap());
        assert_eq!(house.leased(10).await, ["a@example.com"]);
    }

    async fn what_is_in_hand_when_a_pause_ends_stays_in_hand(engine: &Engine) {
        let house = House::build(engine).await;
        house.accept(&["a@example.com"]).await;
        let put_off = |_: &Due| Some((START + MINUTE, Mark::Paused));
        house.store.lease_chosen(10, None, put_off).await.unwrap();
        house.clock.advance(MINUTE);
        assert_eq!(house.leased(10).await, ["a@example.com"]);
        house.store.let_go_on(Scope::Tenant(house.tenant), None).await.unwrap();
        assert_eq!(house.leased(10).await, [""; 0]);
    }

    async fn whoever_is_due_is_found_however_many_wait(engine: &Engine) {
        const AGENTS: u16 = 600;
        let house = House::build(engine).await;
        let later = START + MINUTE * 10;
        let plans = (1..=AGENTS).map(|number| {
            let mut plan = house.plan(&["a@example.com"], CONTENT, Tracking::default());
            let mut agent = [1; 16];
            agent[..2].copy_from_slice(&number.to_be_bytes());
            plan.message.agent = AgentId::from_bytes(agent);
            plan.deliveries[0].fate = Fate::Queued { due_at: if number == AGENTS { START } else { later } };
            Plan { events: vec![], ..plan }
        });
        house.store.accept_all(plans.collect(), Default::default()).await.unwrap();
        assert_eq!(house.store.next_delivery_due().await.unwrap(), Some(START));
        let batch = house.store.lease_chosen(10, None, |_| None).await.unwrap();
        assert_eq!((batch.leased.len(), batch.has_more), (1, false));
        let batch = house.store.lease_chosen(10, batch.after, |_| None).await.unwrap();
        assert_eq!((batch.leased.len(), batch.has_more), (0, false));
        assert_eq!(house.store.next_delivery_due().await.unwrap(), Some(START + LEASE));
        // Each has its turn, also of a look that takes less than there are agents.
        house.clock.advance(MINUTE * 10);
        let (mut after, mut served) = (batch.after, HashSet::new());
        for limit in std::iter::once(3).chain(std::iter::repeat(100)) {
            let batch = house.store.lease_chosen(limit, after, |_| None).await.unwrap();
            served.extend(batch.leased.iter().map(|one| one.delivery.agent));
            after = batch.after;
            if !batch.has_more {
                break;
            }
            assert!(!batch.leased.is_empty());
        }
        assert_eq!(served.len(), usize::from(AGENTS));
    }

    async fn tenants_take_turns_however_much_one_has(engine: &Engine) {
        let house = House::build(engine).await;
        let addresses: Vec<String> = (0..200).map(|number| format!("r{number}@example.com")).collect();
        let addresses: Vec<&str> = addresses.iter().map(String::as_str).collect();
        house.accept(&addresses).await;
        house.clock.advance(MINUTE);
        for number in [1, 2] {
            let (tenant, agent) = house.neighbour(number).await;
            house.accept_for(tenant, agent, &["x@example.com", "y@example.com"]).await;
        }
        let batch = house.store.lease_chosen(30, None, |_| None).await.unwrap();
        let of = |letter: &str| batch.leased.iter().filter(|one| one.delivery.address.to_string().starts_with(letter)).count();
        assert_eq!((of("r"), of("x"), of("y"), batch.has_more), (10, 2, 2, true));
        // The walk goes on behind the last.
        let batch = house.store.lease_chosen(30, batch.after, |_| None).await.unwrap();
        assert_eq!(batch.leased.len(), 30);
    }

    async fn what_has_no_room_is_put_off_and_lets_the_others_by(engine: &Engine) {
        let house = House::build(engine).await;
        let stuck: Vec<String> = (0..600).map(|number| format!("r{number}@stuck.example")).collect();
        house.accept(&stuck.iter().map(String::as_str).collect::<Vec<_>>()).await;
        house.accept(&["a@example.com"]).await;
        let choose = |due: &Due| (due.domain == "stuck.example").then_some((START + MINUTE, Mark::Room));
        let mut leased = Vec::new();
        for _ in 0..3 {
            let batch = house.store.lease_chosen(32, None, choose).await.unwrap();
            leased.extend(batch.leased.into_iter().map(|one| one.delivery.address.to_string()));
        }
        assert_eq!(leased, ["a@example.com"]);
        let to_stuck = QueueFilter { domain: Some("stuck.example".into()), ..house.all() };
        let view = house.store.queued(&to_stuck, None, 1).await.unwrap().remove(0);
        assert_eq!((view.mark, view.due_at, view.delivery.attempts), (Mark::Room, Some(START + MINUTE), 0));
        house.clock.advance(MINUTE);
        let again = house.store.lease_deliveries(32).await.unwrap();
        assert_eq!((again.len(), again[0].mark), (32, Mark::Room));
        let later = START + MINUTE * 5;
        let off = again.into_iter().map(|one| (one.delivery.id, one.lease, later, Mark::Room)).collect();
        house.store.put_off_deliveries(off).await.unwrap();
        let views = house.store.queued(&house.all(), None, 1000).await.unwrap();
        let put_off: Vec<_> = views.iter().filter(|view| view.due_at == Some(later)).collect();
        assert_eq!((put_off.len(), put_off[0].delivery.attempts, put_off[0].is_leased), (32, 0, false));
    }

    async fn who_is_suppressed_meanwhile_is_found_at_the_lease(engine: &Engine) {
        let house = House::build(engine).await;
        house.accept(&["a@example.com", "b@example.com"]).await;
        let delivery = house.store.lease_deliveries(1).await.unwrap().remove(0).delivery;
        assert!(house.store.lease_deliveries(1).await.unwrap()[0].suppressed.is_none());
        house.store.suppress(Suppression::for_good(&delivery, Reason::Unsubscribed, START)).await.unwrap();
        house.clock.advance(LEASE);
        let leased = house.store.lease_deliveries(10).await.unwrap();
        let found: Vec<_> = leased.iter().map(|one| one.suppressed.as_ref().map(|found| found.reason)).collect();
        assert_eq!(found, [Some(Reason::Unsubscribed), None]);
    }
}

/// What people ask of one mail finds it, and another node has just written `meanwhile` of it: nothing is done then, and
/// what was written stays.
async fn what_was_written_meanwhile_stays(meanwhile: &'static str, verbs: &[&str]) {
    const ROW: &str = "select state, due_at, lease, mark, held_at, expires_at from deliveries";
    for verb in verbs {
        let engine = Engine::postgres().await;
        let house = House::build(&engine).await;
        let message = house.accept(&["a@example.com"]).await;
        if *verb == "resume" {
            house.store.lease_chosen(1, None, |_| Some((START + MINUTE, Mark::Paused))).await.unwrap();
        }
        if *verb == "release" {
            house.store.hold(house.all()).await.unwrap();
        }
        let other = Meanwhile::writes(engine.url(), meanwhile).await;
        let (store, all, tell) = (house.store.clone(), house.all(), house.teller());
        let asked = async {
            match *verb {
                "retry" => store.retry_now(all).await.unwrap(),
                "resume" => store.let_go_on(Scope::Installation, None).await.map(|()| 0).unwrap(),
                "cancel" => store.cancel(all, tell).await.unwrap(),
                "hold" => store.hold(all).await.unwrap(),
                _ => store.release_held(all).await.unwrap(),
            }
        };
        let (changed, ()) = tokio::join!(asked, other.commits_when_awaited_by(1));
        assert_eq!(changed, 0, "{verb} {meanwhile}");
        type Columns = (String, Option<i64>, Option<String>, String, Option<i64>, i64);
        let mut connection = PgConnection::connect(engine.url()).await.unwrap();
        let (state, due_at, lease, mark, held_at, expires_at): Columns =
            sqlx::query_as(ROW).fetch_one(&mut connection).await.unwrap();
        let mark_before = if *verb == "resume" { "paused" } else { "" };
        assert_eq!((mark.as_str(), held_at), (mark_before, None), "{verb} {meanwhile}");
        assert_eq!(expires_at, (START + MAIL_LIFETIME).as_millis(), "{verb} {meanwhile}");
        match state.as_str() {
            "queued" if *verb == "release" => {}
            "queued" => assert_eq!((due_at, lease.as_deref()), (Some(END_OF_LEASE), Some("node-2"))),
            ended => assert_eq!((ended, due_at, lease), ("delivered", None, None)),
        }
        let told = house.store.events(DeliveryId { message, recipient: 0 }).await.unwrap();
        assert!(told.iter().all(|event| event.kind != EventKind::Failed), "{verb} {meanwhile}");
        connection.close().await.unwrap();
        engine.remove().await;
    }
}

/// When the lease of [`a_lease_taken_meanwhile_stays`] ends.
const END_OF_LEASE: i64 = 1_900_000_000_000;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_lease_taken_meanwhile_stays() {
    let leases = "update deliveries set lease = 'node-2', due_at = 1900000000000, attempts = attempts + 1";
    what_was_written_meanwhile_stays(leases, &["retry", "resume", "cancel"]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_end_written_meanwhile_stays() {
    let ends = "update deliveries set state = 'delivered', due_at = null";
    what_was_written_meanwhile_stays(ends, &["retry", "resume", "cancel", "hold"]).await;
}

/// Does something over and over until it is heard of: whoever listens may only have begun to.
async fn is_heard(wake: &Wake, ask: impl AsyncFn()) {
    let asking = async {
        loop {
            ask().await;
            if timeout(Duration::from_secs(1), wake.heard()).await.is_ok() {
                return;
            }
        }
    };
    timeout(Duration::from_secs(60), asking).await.expect("it is heard of");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_command_asks_for_is_heard_of_where_mail_goes_out() {
    let engine = Engine::postgres().await;
    let house = House::build(&engine).await;
    let guest = engine.store("guest", &house.clock).await;
    // There is no mail: nothing but the asking itself can be heard of.
    let ask = async || assert_eq!(guest.retry_now(house.all()).await.unwrap(), 0);
    is_heard(&house.store.wakes().deliveries, ask).await;
    guest.close().await;
    engine.remove().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_another_process_writes_is_heard_of() {
    let engine = Engine::sqlite();
    let house = House::build(&engine).await;
    let guest = engine.store("guest", &house.clock).await;
    let ask = async || {
        let plan = house.plan(&["a@example.com"], CONTENT, Tracking::default());
        guest.accept(plan).await.unwrap();
    };
    is_heard(&house.store.wakes().trials, ask).await;
    guest.close().await;
    engine.remove().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_two_release_is_released_once() {
    what_was_written_meanwhile_stays("update deliveries set held_at = null", &["release"]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn failures_of_an_address_that_two_nodes_write_at_once_add_up() {
    let engine = Engine::postgres().await;
    let house = House::build(&engine).await;
    let other = engine.store("node-2", &house.clock).await;
    house.accept(&["kim@example.com"; 5]).await;
    let leased = house.store.lease_deliveries(5).await.unwrap();
    let settlements = leased.iter().map(|leased| {
        let delivery = &leased.delivery;
        let reason = Reason::RecipientFiltered;
        let (code, status, diagnostic, rule) = Default::default();
        let cause = Cause { reason, class: Class::Soft, code, status, diagnostic, rule };
        let bearing = Policy::default().bearing(delivery, &cause, Naming::Ours, START);
        assert!(matches!(bearing, Bearing::Counted(_)), "{bearing:?}");
        let bounced = house.settlement(leased, Next::Ends(State::Bounced), Some(reason));
        let told = delivery.cancelled(EventId::from_uuid(house.ids.uuid(START)), START);
        Settlement { bearing, events: vec![told], ..bounced }
    });
    let mut settlements: Vec<_> = settlements.collect();
    let last = [settlements.pop().unwrap(), settlements.pop().unwrap()];
    for settlement in settlements {
        house.store.settle_delivery(settlement).await.unwrap();
    }
    let list = Lists::Of(Scope::Agent(house.tenant, house.agent));
    assert_eq!(house.store.suppressions(list, &Filter::default(), 10).await.unwrap(), []);
    // What is counted by day is written last: both have looked at what came before, or wait to.
    let counting = Meanwhile::writes(engine.url(), "lock table statistics in exclusive mode").await;
    let [one, two] = last;
    let (one, two, ()) =
        tokio::join!(house.store.settle_delivery(one), other.settle_delivery(two), counting.commits_when_awaited_by(2));
    one.unwrap();
    two.unwrap();
    assert_eq!(house.store.suppressions(list, &Filter::default(), 10).await.unwrap().len(), 1);
    other.close().await;
    engine.remove().await;
}
