//! The storage suite: what the store promises, on both engines, with a clock that the test moves.

use std::collections::HashSet;
use std::time::Duration;

use bytes::Bytes;
use postback::clock::Clock;
use postback::ids::IdSource;
use postback::model::address::{Address, Mailbox};
use postback::model::bearing::Bearing;
use postback::model::delivery::{Next, State};
use postback::model::event::{Detail, Event, EventKind, EventSet, relay};
use postback::model::hit::{Hit, HitKind, Verdict, Visitor, Who};
use postback::model::id::{AgentId, DeliveryId, EventId, MessageId, ReportId, TenantId, WebhookId};
use postback::model::message::{Facts, Fate, Message, Plan, PlannedDelivery, Source};
use postback::model::reason::{Cause, Class, Reason};
use postback::model::retry::{LEASE, MAIL_LIFETIME};
use postback::model::secret::Secret;
use postback::model::tenant::{AgentSettings, Credential, CredentialKind, DEFAULT_AGENT, MailAgent, Tenant};
use postback::model::time::Timestamp;
use postback::model::tracking::{Block, TrackingHost};
use postback::model::webhook::{DispatchId, DispatchNext, DispatchState, Hits, Switch, Webhook};
use postback::model::webhook_attempt::Trace;
use postback::store::db::Options;
use postback::store::deliveries::{Attempt, Leased, Settlement};
use postback::store::dispatches::{DispatchSettlement, Lane, LeasedDispatch};
use postback::store::hits::{EARLIER_MAX, Firsts, HitBatch, HitKey, RecordedHit, Rejudged};
use postback::store::recipients::Erased;
use postback::store::reports::{Effect, KeptReport, ReportChange, ReportFilter, ReportSettlement};
use postback::store::retention::Keep;
use postback::store::token_keys::Revoked;
use postback::store::{Store, StoreError};

use sqlx::{Connection, Executor, SqliteConnection};

use crate::support::engines::{Engine, on_both_engines};

mod pulled;
mod waiting;

const START: Timestamp = Timestamp::from_millis(1_800_000_000_000);
const LONG: Duration = Duration::from_secs(90 * 86_400);

/// A store with one tenant and its agent, and what tests make things with.
struct House {
    store: Store,
    clock: Clock,
    ids: IdSource,
    tenant: TenantId,
    agent: AgentId,
}

impl House {
    async fn build(engine: &Engine) -> Self {
        let clock = Clock::standing(START);
        let store = engine.store("node-1", &clock).await;
        Self::furnish(store, clock).await
    }

    async fn furnish(store: Store, clock: Clock) -> Self {
        let ids = IdSource::seeded(7);
        let (tenant, agent) = tenant(&ids, "acme");
        store.add_tenant(tenant.clone(), agent.clone()).await.unwrap();
        Self { store, clock, ids, tenant: tenant.id, agent: agent.id }
    }

    fn plan(&self, recipients: &[&str]) -> Plan {
        self.plan_at(recipients, self.clock.now())
    }

    fn plan_at(&self, recipients: &[&str], due_at: Timestamp) -> Plan {
        let now = self.clock.now();
        let id = MessageId::from_uuid(self.ids.uuid(now));
        let message = Message {
            id,
            tenant: self.tenant,
            agent: self.agent,
            agent_key: "key-1".into(),
            source: Source::Smtp,
            accepted_at: now,
            facts: Facts { subject: "Grüße".into(), from: Mailbox::bare("a@acme.example"), ..Facts::default() },
            size_bytes: 5,
        };
        let deliveries: Vec<_> = (0u16..)
            .zip(recipients)
            .map(|(recipient, address)| PlannedDelivery {
                id: DeliveryId { message: id, recipient },
                address: address.parse().unwrap(),
                fate: Fate::Queued { due_at },
                expires_at: now + MAIL_LIFETIME,
            })
            .collect();
        let events = deliveries.iter().map(|planned| self.event(planned.id, EventKind::Sent, Detail::Sent)).collect();
        Plan { message, content: Bytes::from_static(b"hello"), deliveries, events }
    }

    fn event(&self, delivery: DeliveryId, kind: EventKind, detail: Detail) -> Event {
        let now = self.clock.now();
        Event {
            id: EventId::from_uuid(self.ids.uuid(now)),
            delivery,
            tenant: self.tenant,
            agent: self.agent,
            kind,
            ordinal: 0,
            at: now,
            recipient: "reader@example.com".into(),
            detail,
            relay: relay::ALL,
            relay_at: now,
            is_test: false,
        }
    }

    async fn switch(&self, id: WebhookId, switch: Switch) -> Option<Webhook> {
        let change = move |webhook: &mut Webhook| {
            webhook.switch = switch;
            Ok::<_, StoreError>(())
        };
        self.store.change_webhook(self.tenant, id, Secret::new("made"), change).await.unwrap()
    }

    fn webhook(&self, events: &[EventKind]) -> Webhook {
        let now = self.clock.now();
        let id = WebhookId::from_uuid(self.ids.uuid(now));
        Webhook {
            events: events.iter().copied().collect::<EventSet>(),
            secret: Secret::new("whsec_x"),
            headers: vec![("x-key".into(), "v".into())],
            ..Webhook::new(id, self.tenant, "https://receiver.example/hook", now)
        }
    }

    fn settlement(&self, leased: &Leased, next: Next, events: Vec<Event>) -> Settlement {
        let now = self.clock.now();
        Settlement {
            id: leased.delivery.id,
            lease: leased.lease.clone(),
            attempt: Attempt { started_at: now, ended_at: now, outcome: "delivered".into(), ..Attempt::default() },
            next,
            reason: None,
            events,
            bearing: Bearing::Nothing,
            letter: None,
        }
    }

    /// Accepts a mail to one reader, and delivers it.
    async fn delivered(&self) -> DeliveryId {
        self.store.accept(self.plan(&["reader@example.com"])).await.unwrap();
        let leased = self.store.lease_deliveries(1).await.unwrap().remove(0);
        let settlement = self.settlement(&leased, Next::Ends(State::Delivered), vec![]);
        self.store.settle_delivery(settlement).await.unwrap();
        leased.delivery.id
    }

    fn hit(&self, delivery: DeliveryId, kind: HitKind, link: u16, who: Who) -> RecordedHit {
        let mut visitor = Visitor::default();
        visitor.machine.verdict = who;
        let at = self.clock.now();
        let target = if kind == HitKind::Click { "https://example.com/" } else { "" };
        RecordedHit {
            id: EventId::from_uuid(self.ids.uuid(at)),
            hit: Hit { delivery, kind, link, target: target.into(), at, visitor },
            tenant: self.tenant,
            agent: self.agent,
            address: "reader@example.com".into(),
            relay_at: at,
            first: Firsts { by_anyone: true, by_reader: who != Who::Scanner, by_person: who.is_person() },
            is_only_counted: false,
        }
    }

    fn batch(&self, hits: Vec<RecordedHit>) -> HitBatch {
        HitBatch { hits, rejudged: Vec::new(), now: self.clock.now(), is_again: false }
    }

    async fn owed(&self) -> Vec<LeasedDispatch> {
        self.store.lease_dispatches(Lane::Fresh, 100, vec![]).await.unwrap()
    }

    async fn kinds(&self, delivery: DeliveryId) -> Vec<EventKind> {
        self.store.events(delivery).await.unwrap().into_iter().map(|event| event.kind).collect()
    }
}

fn tenant(ids: &IdSource, slug: &str) -> (Tenant, MailAgent) {
    let tenant = Tenant {
        id: TenantId::from_uuid(ids.uuid(START)),
        slug: slug.into(),
        name: slug.into(),
        settings: Default::default(),
        created_at: START,
        updated_at: START,
        authors: Default::default(),
    };
    let agent = MailAgent {
        id: AgentId::from_uuid(ids.uuid(START)),
        tenant: tenant.id,
        key: format!("key-of-{slug}"),
        name: "default".into(),
        settings: AgentSettings::default(),
        created_at: START,
        updated_at: None,
        authors: Default::default(),
    };
    (tenant, agent)
}

fn cause() -> Cause {
    Cause {
        reason: Reason::UserUnknown,
        class: Class::Hard,
        code: Some(550),
        status: Some("5.1.1".into()),
        diagnostic: "550 5.1.1 no such user".into(),
        rule: "test".into(),
    }
}

on_both_engines! {
    async fn what_was_accepted_is_there_after_a_restart(engine: &Engine) {
        let house = House::build(engine).await;
        let small = house.plan(&["reader@example.com", "other@example.com"]);
        let large = Plan { content: vec![b'x'; 300 * 1024].into(), ..house.plan(&["reader@example.com"]) };
        house.store.accept(small.clone()).await.unwrap();
        house.store.accept(large.clone()).await.unwrap();
        house.store.close().await;

        let store = engine.store("node-2", &house.clock).await;
        store.collect_orphans().await.unwrap();
        for plan in [small, large] {
            let id = plan.message.id;
            assert_eq!(store.message(id).await.unwrap(), Some(plan.message));
            assert_eq!(store.content(id).await.unwrap(), Some(plan.content));
            let addresses: Vec<_> = store.deliveries(id).await.unwrap().into_iter().map(|view| view.delivery.address).collect();
            assert_eq!(addresses, plan.deliveries.into_iter().map(|planned| planned.address).collect::<Vec<_>>());
        }
    }

    async fn one_bad_arrival_does_not_fail_its_neighbours(engine: &Engine) {
        let house = House::build(engine).await;
        let taken = house.plan(&["reader@example.com"]);
        house.store.accept(taken.clone()).await.unwrap();
        let mut plans: Vec<Plan> = (0..100).map(|_| house.plan(&["reader@example.com"])).collect();
        plans.insert(50, taken);
        let accepts: Vec<_> = plans.into_iter().map(|plan| {
            let store = house.store.clone();
            tokio::spawn(async move { store.accept(plan).await })
        }).collect();
        let mut refused = 0;
        for accept in accepts {
            match accept.await.unwrap() {
                Ok(()) => {}
                Err(StoreError::Conflict) => refused += 1,
                Err(other) => panic!("{other}"),
            }
        }
        assert_eq!(refused, 1);
        assert_eq!(house.store.queue_counts().await.unwrap().deliveries, 101);
    }

    async fn a_lease_ends_and_fences_off_who_held_it(engine: &Engine) {
        let house = House::build(engine).await;
        house.store.accept(house.plan(&["reader@example.com"])).await.unwrap();
        let first = house.store.lease_deliveries(10).await.unwrap().remove(0);
        assert_eq!(first.delivery.attempts, 1);
        assert!(house.store.lease_deliveries(10).await.unwrap().is_empty());

        house.clock.advance(LEASE);
        let second = house.store.lease_deliveries(10).await.unwrap().remove(0);
        assert_eq!(second.delivery.attempts, 2);
        let told = vec![house.event(first.delivery.id, EventKind::Delivered, Detail::Delivered { reply: "250".into(), next_hop_tells: false, has_arrived: false })];
        let stale = house.settlement(&first, Next::Ends(State::Delivered), told.clone());
        assert!(matches!(house.store.settle_delivery(stale).await, Err(StoreError::LostLease)));
        assert_eq!(house.kinds(first.delivery.id).await, [EventKind::Sent]);

        let held = house.settlement(&second, Next::Ends(State::Delivered), told);
        house.store.settle_delivery(held.clone()).await.unwrap();
        assert!(matches!(house.store.settle_delivery(held).await, Err(StoreError::LostLease)));
        assert_eq!(house.kinds(first.delivery.id).await, [EventKind::Sent, EventKind::Delivered]);
        assert_eq!(house.store.delivery(first.delivery.id).await.unwrap().unwrap().state, State::Delivered);
        assert_eq!(house.store.attempts(first.delivery.id).await.unwrap().len(), 1);
        house.clock.advance(MAIL_LIFETIME);
        assert!(house.store.lease_deliveries(10).await.unwrap().is_empty());
    }

    async fn a_renewed_lease_holds_and_a_released_one_is_due_at_once(engine: &Engine) {
        let house = House::build(engine).await;
        house.store.accept(house.plan(&["a@example.com", "b@example.com"])).await.unwrap();
        let leased = house.store.lease_deliveries(10).await.unwrap();
        house.clock.advance(LEASE - Duration::from_secs(1));
        house.store.renew_deliveries(leased.iter().map(|leased| (leased.delivery.id, leased.lease.clone())).collect()).await.unwrap();
        house.clock.advance(Duration::from_secs(2));
        assert!(house.store.lease_deliveries(10).await.unwrap().is_empty());
        house.store.release_deliveries(vec![(leased[0].delivery.id, leased[0].lease.clone())]).await.unwrap();
        let again = house.store.lease_deliveries(10).await.unwrap();
        assert_eq!(again.len(), 1);
        assert_eq!((again[0].delivery.id, again[0].delivery.attempts), (leased[0].delivery.id, 1));
    }

    async fn deliveries_come_due_in_order_and_not_before(engine: &Engine) {
        let house = House::build(engine).await;
        let later = START + Duration::from_secs(60);
        house.store.accept(house.plan_at(&["later@example.com"], later)).await.unwrap();
        assert!(house.store.lease_deliveries(10).await.unwrap().is_empty());
        assert_eq!(house.store.next_delivery_due().await.unwrap(), Some(later));
        house.clock.advance(Duration::from_secs(60));
        let leased = house.store.lease_deliveries(10).await.unwrap().remove(0);
        let waits = later + Duration::from_secs(300);
        house.store.settle_delivery(house.settlement(&leased, Next::Waits(waits), vec![])).await.unwrap();
        assert_eq!(house.store.next_delivery_due().await.unwrap(), Some(waits));
    }

    async fn nodes_share_the_work_and_never_take_the_same_twice(engine: &Engine) {
        let house = House::build(engine).await;
        for _ in 0..20 {
            house.store.accept(house.plan(&["a@example.com", "b@example.com", "c@example.com", "d@example.com", "e@example.com"])).await.unwrap();
        }
        let nodes: Vec<Store> = {
            let mut nodes = vec![house.store.clone()];
            for name in ["node-2", "node-3"] {
                nodes.push(engine.store(name, &house.clock).await);
            }
            nodes
        };
        let workers: Vec<_> = nodes.into_iter().map(|store| tokio::spawn(async move {
            let mut taken = Vec::new();
            loop {
                let leased = store.lease_deliveries(7).await.unwrap();
                if leased.is_empty() && store.next_delivery_due().await.unwrap() > Some(START) {
                    return taken;
                }
                taken.extend(leased.into_iter().map(|leased| leased.delivery.id));
            }
        })).collect();
        let mut taken = Vec::new();
        for worker in workers {
            taken.extend(worker.await.unwrap());
        }
        assert_eq!(taken.len(), 100);
        assert_eq!(taken.into_iter().collect::<HashSet<_>>().len(), 100);
    }

    async fn what_is_due_is_handed_over_already_leased(engine: &Engine) {
        let clock = Clock::standing(START);
        let store = Store::open(Options { handoff: 3, ..engine.options("node-1") }, clock.clone()).await.unwrap();
        let house = House::furnish(store, clock).await;
        let mut handed = house.store.take_handoff().await.unwrap();
        house.store.accept(house.plan(&["a@example.com", "b@example.com"])).await.unwrap();
        house.store.accept(house.plan(&["c@example.com", "d@example.com"])).await.unwrap();
        let first = handed.recv().await.unwrap();
        let second = handed.recv().await.unwrap();
        assert!(handed.try_recv().is_err(), "there was room for three and four wanted in");
        assert_eq!(first.content.as_deref(), Some(&b"hello"[..]));
        assert_eq!(house.store.lease_deliveries(10).await.unwrap().len(), 2, "those without room wait in the store");
        for leased in [&first, &second] {
            house.store.settle_delivery(house.settlement(leased, Next::Ends(State::Delivered), vec![])).await.unwrap();
        }
        drop((first, second));
        house.store.accept(house.plan(&["e@example.com"])).await.unwrap();
        assert!(handed.recv().await.is_some(), "room is given back");
    }

    async fn events_reach_the_webhooks_that_want_them(engine: &Engine) {
        let house = House::build(engine).await;
        let (other, other_agent) = tenant(&house.ids, "other");
        house.store.add_tenant(other.clone(), other_agent.clone()).await.unwrap();
        let wanted = house.webhook(&[EventKind::Sent, EventKind::Delivered]);
        let unwanted = [
            house.webhook(&[EventKind::Opened]),
            Webhook { switch: Switch::OffByOwner, ..house.webhook(&[EventKind::Sent]) },
            Webhook { tenant: other.id, ..house.webhook(&[EventKind::Sent]) },
        ];
        let switched_off = Webhook { switch: Switch::OffByUs, ..house.webhook(&[EventKind::Sent]) };
        for webhook in unwanted.iter().chain([&wanted, &switched_off]) {
            house.store.add_webhook(webhook.clone()).await.unwrap();
        }
        let plan = house.plan(&["reader@example.com"]);
        house.store.accept(plan.clone()).await.unwrap();

        let owed = house.owed().await;
        assert_eq!(owed.len(), 1, "{owed:?}");
        assert_eq!(owed[0].id.webhook, wanted.id);
        assert_eq!(owed[0].message, plan.message);
        assert_eq!(owed[0].event.detail, Detail::Sent);
        assert_eq!(*owed[0].webhook, wanted);
        assert!(house.owed().await.is_empty());

        house.switch(switched_off.id, Switch::On).await;
        let kept = house.owed().await;
        assert_eq!(kept.len(), 1, "what a webhook missed while we had it off is kept for it");
        assert_eq!(kept[0].id.webhook, switched_off.id);
    }

    async fn dispatches_wait_fail_arrive_and_switch_off(engine: &Engine) {
        let house = House::build(engine).await;
        house.store.add_webhook(house.webhook(&[EventKind::Sent])).await.unwrap();
        house.store.accept(house.plan(&["reader@example.com"])).await.unwrap();
        let owed = house.owed().await.remove(0);
        let settle = |owed: &LeasedDispatch, next| DispatchSettlement {
            id: owed.id,
            lease: owed.lease.clone(),
            next,
            started_at: house.clock.now(),
            at: house.clock.now(),
            status: Some(503),
            error: Some("http_status".into()),
            wish: None,
            trace: Trace::default(),
            bears: true,
            given_up_beside: 0,
        };
        let soon = house.clock.now() + Duration::from_secs(5);
        house.store.settle_dispatch(settle(&owed, DispatchNext::Waits(soon))).await.unwrap();
        assert!(matches!(house.store.settle_dispatch(settle(&owed, DispatchNext::Waits(soon))).await, Err(StoreError::LostLease)));
        assert_eq!(house.store.next_dispatch_due(Lane::Retry).await.unwrap(), Some(soon));
        house.clock.advance(Duration::from_secs(5));
        assert!(house.owed().await.is_empty(), "it has been tried: another lane");
        let again = house.store.lease_dispatches(Lane::Retry, 10, vec![]).await.unwrap().remove(0);
        assert_eq!(again.lease.attempt, 2);
        let later = house.clock.now() + Duration::from_secs(30);
        house.store.settle_dispatch(settle(&again, DispatchNext::WaitsSwitchedOff(later))).await.unwrap();
        let standing = house.store.dispatch(owed.id).await.unwrap().unwrap();
        assert_eq!((standing.state, standing.attempts, standing.last_status), (DispatchState::Queued, 2, Some(503)));
        let webhook = house.store.webhook(house.tenant, owed.id.webhook).await.unwrap().unwrap();
        assert_eq!(webhook.switch, Switch::OffByUs);
        house.clock.advance(Duration::from_secs(60));
        assert!(house.store.lease_dispatches(Lane::Retry, 10, vec![]).await.unwrap().is_empty());
        house.switch(webhook.id, Switch::On).await;
        let last = house.store.lease_dispatches(Lane::Retry, 10, vec![]).await.unwrap().remove(0);
        house.store.settle_dispatch(settle(&last, DispatchNext::Ends(DispatchState::Arrived))).await.unwrap();
        assert_eq!(house.store.dispatch(owed.id).await.unwrap().unwrap().state, DispatchState::Arrived);
        assert!(house.store.remove_webhook(house.tenant, owed.id.webhook).await.unwrap());
        assert_eq!(house.store.dispatch(owed.id).await.unwrap(), None);
    }

    async fn the_first_hit_is_told_once_however_many_come_at_once(engine: &Engine) {
        let house = House::build(engine).await;
        house.store.add_webhook(house.webhook(&[EventKind::Opened, EventKind::Clicked])).await.unwrap();
        let delivery = house.delivered().await;
        let at_once: Vec<_> = (0..64).map(|_| {
            let (store, hit) = (house.store.clone(), house.hit(delivery, HitKind::Open, 0, Who::Person));
            let batch = house.batch(vec![hit]);
            tokio::spawn(async move { store.record_hits(batch).await })
        }).collect();
        for recorded in at_once {
            recorded.await.unwrap().unwrap();
        }
        let together = (0..5).map(|_| house.hit(delivery, HitKind::Click, 3, Who::Person)).collect();
        house.store.record_hits(house.batch(together)).await.unwrap();
        house.store.record_hits(house.batch(vec![house.hit(delivery, HitKind::Click, 4, Who::Person)])).await.unwrap();
        let kinds: Vec<_> = house.owed().await.into_iter().map(|owed| owed.event.kind).collect();
        assert_eq!(kinds.iter().filter(|kind| **kind == EventKind::Opened).count(), 1);
        assert_eq!(kinds.iter().filter(|kind| **kind == EventKind::Clicked).count(), 2, "one a link");
        let context = async |remembers: bool, known: &dyn Fn(&HitKey) -> bool| {
            house.store.hit_contexts(&[delivery], |_| remembers, known, Duration::MAX).await.unwrap().remove(&delivery).unwrap()
        };
        let earlier = context(false, &|_| false).await.earlier.unwrap();
        assert_eq!(earlier.len(), EARLIER_MAX, "every hit is kept; judging looks at the last ones");
        let clicked = context(false, &|hit| hit.kind == HitKind::Open).await.earlier.unwrap();
        assert_eq!(clicked, earlier.into_iter().filter(|hit| hit.kind == HitKind::Click).collect::<Vec<_>>());
        let context = context(true, &|_| false).await;
        assert_eq!(context.earlier, None);
        assert_eq!(context.delivered_at, Some(START));
    }

    async fn a_first_that_was_a_scanners_is_taken_back(engine: &Engine) {
        let house = House::build(engine).await;
        let all = Webhook { hits: Hits::All, ..house.webhook(&[EventKind::Clicked]) };
        let first = house.webhook(&[EventKind::Clicked, EventKind::ClickReclassified]);
        for webhook in [&all, &first] {
            house.store.add_webhook(webhook.clone()).await.unwrap();
        }
        let delivery = house.delivered().await;
        let scanner = Verdict { verdict: Who::Scanner, reasons: vec!["a burst".into()], ..Verdict::default() };
        let rejudge = |hit: &RecordedHit| HitBatch {
            rejudged: vec![Rejudged { hit: HitKey { delivery, kind: hit.hit.kind, link: hit.hit.link, at: hit.hit.at }, verdict: scanner.clone(), told_as: EventId::from_uuid(house.ids.uuid(START)) }],
            ..house.batch(vec![])
        };
        // Held, found out, and the person who came second is told instead.
        let held = house.hit(delivery, HitKind::Click, 1, Who::Person);
        house.clock.advance(Duration::from_millis(1));
        let second = house.hit(delivery, HitKind::Click, 1, Who::Person);
        house.store.record_hits(house.batch(vec![held.clone(), second.clone()])).await.unwrap();
        house.store.record_hits(rejudge(&held)).await.unwrap();
        house.store.record_hits(rejudge(&held)).await.unwrap();
        let mut told: Vec<_> = house.owed().await.into_iter().map(|owed| (owed.id.webhook == first.id, owed.event.id)).collect();
        told.sort();
        let mut expected = vec![(false, held.id), (false, second.id), (true, second.id)];
        expected.sort();
        assert_eq!(told, expected);
        let of_held = house.store.events(delivery).await.unwrap().into_iter().find(|event| event.id == held.id).unwrap();
        assert!(matches!(of_held.detail, Detail::Clicked { visitor, .. } if visitor.machine == scanner), "told as it is seen now");
        // Told already: it stays told, those who ask hear of the change, and the next person is told too.
        house.store.record_hits(rejudge(&second)).await.unwrap();
        house.clock.advance(Duration::from_millis(1));
        let third = house.hit(delivery, HitKind::Click, 1, Who::Person);
        house.store.record_hits(house.batch(vec![third.clone()])).await.unwrap();
        let told: Vec<_> = house.owed().await.into_iter().filter(|owed| owed.id.webhook == first.id).map(|owed| owed.event.kind).collect();
        assert_eq!(told.len(), 2);
        assert!(told.contains(&EventKind::Clicked) && told.contains(&EventKind::ClickReclassified), "{told:?}");
        let hits = house.store.hits(delivery).await.unwrap();
        assert_eq!(hits.iter().filter(|hit| hit.visitor.machine.verdict == Who::Scanner).count(), 2);
        let [opens, clicks] = house.store.hit_figures(delivery.message).await.unwrap();
        assert_eq!((opens.all, clicks.all, clicks.by_people, clicks.unique, clicks.unique_by_people), (0, 3, 1, 1, 1));
        // The first of all was a scanner's after all, and stays the first of all.
        let counts = house.store.hit_counts(house.tenant, None, START).await.unwrap();
        let found: Vec<_> = counts.iter().map(|of| (of.who, of.hits, of.firsts, of.firsts_by_person)).collect();
        assert_eq!(found, [(Who::Person, 1, 0, 1), (Who::Scanner, 2, 1, 0)]);
    }

    async fn hits_add_up_by_day_and_survive_their_readers(engine: &Engine) {
        let house = House::build(engine).await;
        let delivery = house.delivered().await;
        let hit = |kind, who| house.hit(delivery, kind, 0, who);
        let proxied = hit(HitKind::Open, Who::Proxy);
        let first_day = vec![hit(HitKind::Open, Who::Prefetch), proxied.clone(), hit(HitKind::Open, Who::Scanner)];
        house.store.record_hits(house.batch(first_day)).await.unwrap();
        house.store.record_hits(HitBatch { is_again: true, ..house.batch(vec![proxied]) }).await.unwrap();
        house.clock.advance(Duration::from_secs(86_400));
        let scanned = house.hit(delivery, HitKind::Click, 3, Who::Scanner);
        house.store.record_hits(house.batch(vec![scanned])).await.unwrap();
        assert!(!house.kinds(delivery).await.contains(&EventKind::Clicked), "counted, not told");
        let [_, clicks] = house.store.hit_figures(delivery.message).await.unwrap();
        assert_eq!((clicks.all, clicks.unique, clicks.by_people, clicks.unique_by_people), (1, 1, 0, 0));
        house.clock.advance(Duration::from_millis(1));
        let followed = house.hit(delivery, HitKind::Click, 3, Who::Person);
        house.store.record_hits(house.batch(vec![followed])).await.unwrap();
        let counted = RecordedHit { is_only_counted: true, ..house.hit(delivery, HitKind::Click, 2, Who::Person) };
        house.store.record_hits(house.batch(vec![counted])).await.unwrap();
        assert_eq!(house.store.hits(delivery).await.unwrap().len(), 5);
        let opened = house.kinds(delivery).await.into_iter().filter(|kind| *kind == EventKind::Opened).count();
        assert_eq!(opened, 2, "first by anyone, first by a person");
        house.clock.advance(Duration::from_secs(200 * 86_400));
        let days = |days: u64| Duration::from_secs(days * 86_400);
        while house.store.forget(Keep { messages: days(300), events: days(90), reports: days(1), webhook_log: days(14) }).await.unwrap() {}
        assert_eq!((house.store.hits(delivery).await.unwrap().len(), house.kinds(delivery).await), (0, vec![]));
        assert!(house.store.message(delivery.message).await.unwrap().is_some());
        let counts = house.store.hit_counts(house.tenant, Some(house.agent), START).await.unwrap();
        let found: Vec<_> = counts.iter().map(|of| (of.kind, of.who, of.hits, of.firsts, of.firsts_by_person)).collect();
        assert_eq!(found, [
            (HitKind::Open, Who::Prefetch, 1, 1, 0),
            (HitKind::Open, Who::Proxy, 1, 0, 1),
            (HitKind::Open, Who::Scanner, 1, 0, 0),
            (HitKind::Click, Who::Person, 2, 0, 1),
            (HitKind::Click, Who::Scanner, 1, 1, 0),
        ]);
        assert!(counts[3].day > counts[0].day);
        assert_eq!(house.store.hit_counts(house.tenant, Some(AgentId::from_bytes([9; 16])), START).await.unwrap(), []);
        assert_eq!(house.store.hit_counts(TenantId::from_bytes([9; 16]), None, START).await.unwrap(), []);
    }

    async fn hits_of_which_nothing_is_kept_are_counted_once(engine: &Engine) {
        let house = House::build(engine).await;
        let delivery = house.delivered().await;
        let hit = || RecordedHit { is_only_counted: true, ..house.hit(delivery, HitKind::Open, 0, Who::Person) };
        let (one, two) = (hit(), hit());
        let counted = async || {
            let counts = house.store.hit_counts(house.tenant, None, START).await.unwrap();
            counts.iter().map(|of| of.hits).sum::<u64>()
        };
        house.store.record_hits(house.batch(vec![one.clone()])).await.unwrap();
        // As they come out of a journal of which nobody knows how far it was recorded, and once more.
        for _ in 0..2 {
            let again = HitBatch { is_again: true, ..house.batch(vec![one.clone(), two.clone()]) };
            house.store.record_hits(again).await.unwrap();
            assert_eq!((counted().await, house.store.hits(delivery).await.unwrap().len()), (2, 0));
        }
        // That they were is remembered for a week.
        let keep = Keep { messages: LONG, events: LONG, reports: LONG, webhook_log: LONG };
        for (days, expected) in [(6, 2), (2, 3)] {
            house.clock.advance(Duration::from_secs(days * 86_400));
            while house.store.forget(keep).await.unwrap() {}
            house.store.record_hits(HitBatch { is_again: true, ..house.batch(vec![one.clone()]) }).await.unwrap();
            assert_eq!(counted().await, expected);
        }
    }

    async fn a_recipient_is_given_out_and_erased(engine: &Engine) {
        let house = House::build(engine).await;
        let alone = house.delivered().await;
        let mut shared = house.plan(&["Reader@Example.com", "other@example.com"]);
        shared.deliveries[1].fate = Fate::Queued { due_at: START + Duration::from_secs(9_999) };
        house.store.accept(shared.clone()).await.unwrap();
        let waiting = house.plan(&["reader@example.com"]);
        house.store.accept(waiting.clone()).await.unwrap();
        for _ in 0..2 {
            let leased = house.store.lease_deliveries(1).await.unwrap().remove(0);
            if leased.delivery.id.message == shared.message.id {
                house.store.settle_delivery(house.settlement(&leased, Next::Ends(State::Delivered), vec![])).await.unwrap();
            }
        }
        house.store.record_hits(house.batch(vec![house.hit(alone, HitKind::Open, 0, Who::Person)])).await.unwrap();
        let reader: Address = "READER@example.COM".parse().unwrap();
        let found = house.store.deliveries_to(house.tenant, &reader, None).await.unwrap();
        assert_eq!(found.len(), 3);
        assert_eq!(house.store.deliveries_to(house.tenant, &reader, Some(found[1])).await.unwrap(), [found[2]]);
        assert_eq!(house.store.deliveries_to(TenantId::from_bytes([9; 16]), &reader, None).await.unwrap(), []);
        let given = house.store.export(alone).await.unwrap();
        assert_eq!((given["hits"].as_array().unwrap().len(), given["message"]["id"].as_str()), (1, Some(&*alone.message.to_string())));
        let erased = house.store.erase(house.tenant, &reader).await.unwrap();
        assert_eq!(erased, Erased { deliveries: 2, messages: 1, shared: 1, queued: 1 });
        assert_eq!(house.store.message(alone.message).await.unwrap(), None);
        assert_eq!(house.store.hits(alone).await.unwrap(), []);
        assert_eq!(house.kinds(alone).await, []);
        assert!(house.store.message(shared.message.id).await.unwrap().is_some());
        assert!(house.store.message(waiting.message.id).await.unwrap().is_some());
    }

    async fn token_keys_are_rotated_and_revoked(engine: &Engine) {
        let house = House::build(engine).await;
        let ring = house.store.key_ring([1; 32]).await.unwrap();
        assert_eq!(house.store.revoke_token_key(0).await.unwrap(), Revoked::Last);
        assert_eq!(house.store.revoke_token_key(5).await.unwrap(), Revoked::Unknown);
        assert_eq!(house.store.rotate_token_key([2; 32]).await.unwrap(), Some(1));
        assert!(house.store.refresh_ring(&ring).await.unwrap());
        assert!(!house.store.refresh_ring(&ring).await.unwrap());
        assert_eq!((ring.newest(), ring.keys().len()), (Some(1), 2));
        assert_eq!(house.store.revoke_token_key(0).await.unwrap(), Revoked::Done);
        assert_eq!(house.store.revoke_token_key(0).await.unwrap(), Revoked::Unknown);
        house.store.refresh_ring(&ring).await.unwrap();
        assert_eq!((ring.newest(), ring.keys().len()), (Some(1), 1));
        for id in 2..32 {
            assert_eq!(house.store.rotate_token_key([id; 32]).await.unwrap(), Some(id));
        }
        assert_eq!(house.store.rotate_token_key([99; 32]).await.unwrap(), Some(0), "the revoked id is taken again last");
        assert_eq!(house.store.rotate_token_key([99; 32]).await.unwrap(), None);
        house.store.refresh_ring(&ring).await.unwrap();
        assert_eq!((ring.newest(), ring.keys().len()), (Some(0), 32));
        assert_eq!(house.store.token_keys().await.unwrap().len(), 32);
    }

    async fn tracking_hosts_and_blocks(engine: &Engine) {
        let house = House::build(engine).await;
        let host = TrackingHost {
            host: "links.acme.example".into(),
            tenant: house.tenant,
            agent: house.agent,
            domain: "acme.example".into(),
            apple_links: String::new(),
            android_links: String::new(),
            checked_at: None,
            fault: String::new(),
            created_at: START,
            created_by: String::new(),
        };
        house.store.add_tracking_host(host.clone()).await.unwrap();
        assert!(matches!(house.store.add_tracking_host(host.clone()).await, Err(StoreError::Conflict)));
        let other = TrackingHost { host: "l.acme.example".into(), ..host.clone() };
        assert!(matches!(house.store.add_tracking_host(other).await, Err(StoreError::Conflict)), "one a domain");
        house.store.tracking_host_checked(&host.host, "no certificate").await.unwrap();
        assert!(house.store.set_app_links(house.tenant, &host.host, "{}", "[]").await.unwrap());
        let found = house.store.tracking_hosts().await.unwrap().remove(0);
        assert_eq!((found.is_ready(), found.fault.as_str(), found.apple_links.as_str()), (false, "no certificate", "{}"));
        house.store.tracking_host_checked(&host.host, "").await.unwrap();
        assert!(house.store.tracking_hosts().await.unwrap()[0].is_ready());
        assert!(!house.store.remove_tracking_host(TenantId::from_bytes([9; 16]), &host.host).await.unwrap());
        assert!(house.store.remove_tracking_host(house.tenant, &host.host).await.unwrap());

        for block in [Block::Target("evil.example".into()), Block::Agent(house.agent)] {
            house.store.block_links(&block).await.unwrap();
            house.store.block_links(&block).await.unwrap();
        }
        assert_eq!(house.store.link_blocks().await.unwrap().len(), 2);
        assert!(house.store.unblock_links(&Block::Agent(house.agent)).await.unwrap());
        assert_eq!(house.store.link_blocks().await.unwrap(), [Block::Target("evil.example".into())]);
    }

    async fn a_person_after_a_prefetch_is_told_and_a_scanner_is_not(engine: &Engine) {
        let house = House::build(engine).await;
        let all = Webhook { hits: Hits::All, ..house.webhook(&[EventKind::Opened]) };
        let persons = Webhook { hits: Hits::Persons, ..house.webhook(&[EventKind::Opened]) };
        let first = house.webhook(&[EventKind::Opened]);
        for webhook in [&all, &persons, &first] {
            house.store.add_webhook(webhook.clone()).await.unwrap();
        }
        let delivery = house.delivered().await;
        let mut told = Vec::new();
        for who in [Who::Scanner, Who::Prefetch, Who::Prefetch, Who::Proxy, Who::Person] {
            house.store.record_hits(house.batch(vec![house.hit(delivery, HitKind::Open, 0, who)])).await.unwrap();
            let owed = house.owed().await;
            let has = |webhook: &Webhook| owed.iter().any(|owed| owed.id.webhook == webhook.id);
            told.push((has(&all), has(&first), has(&persons)));
        }
        assert_eq!(told, [
            (true, false, false),
            (true, true, false),
            (true, false, false),
            (true, true, true),
            (true, false, false),
        ]);
    }

    async fn a_report_changes_a_delivery_once(engine: &Engine) {
        let house = House::build(engine).await;
        house.store.add_webhook(house.webhook(&[EventKind::HardBounced])).await.unwrap();
        let id = house.delivered().await;
        let report = |house: &House| {
            let kept = KeptReport {
                id: ReportId::from_uuid(house.ids.uuid(START)),
                delivery: Some(id),
                came_to: "delivery".into(),
                is_vouched: false,
                kind: "bounce".into(),
                received_at: START,
                sender: String::new(),
                about: "reader@example.com".into(),
                cause: Some(cause()),
                effect: Effect::Bounced,
                outcome: "bounced".into(),
                is_open: false,
                content: b"report".to_vec(),
            };
            let (from, to, reason) = (State::Delivered, State::Bounced, Some(Reason::UserUnknown));
            let change = ReportChange { id, from, to, reason, at: START };
            let events = vec![house.event(id, EventKind::HardBounced, Detail::Bounced { cause: cause() })];
            (kept, ReportSettlement { change: Some(change), events, ..ReportSettlement::default() })
        };
        let (kept, settlement) = report(&house);
        house.store.settle_report(kept, settlement).await.unwrap();
        let (kept, settlement) = report(&house);
        assert!(matches!(house.store.settle_report(kept, settlement).await, Err(StoreError::LostLease)));
        assert_eq!(house.store.delivery(id).await.unwrap().unwrap().state, State::Bounced);
        assert_eq!(house.owed().await.len(), 1);
        let kept = house.store.reports(&ReportFilter::default(), 10).await.unwrap();
        assert_eq!((kept.len(), kept[0].effect, kept[0].cause.as_ref()), (1, Effect::Bounced, Some(&cause())));
    }

    async fn credentials_speak_for_their_agent_until_revoked(engine: &Engine) {
        let house = House::build(engine).await;
        let credential = Credential {
            id: postback::model::id::CredentialId::from_uuid(house.ids.uuid(START)),
            tenant: house.tenant,
            agent: house.agent,
            kind: CredentialKind::ApiKey,
            name: "first".into(),
            digest: [5; 32],
            networks: Vec::new(),
            settings: Default::default(),
            created_at: START,
            created_by: String::new(),
        };
        house.store.add_credential(credential.clone()).await.unwrap();
        assert!(matches!(house.store.add_credential(credential.clone()).await, Err(StoreError::Conflict)));
        house.store.add_domain(house.agent, "acme.example").await.unwrap();
        let grant = house.store.grant(&[5; 32]).await.unwrap().unwrap();
        assert_eq!((grant.tenant.slug.as_str(), grant.agent.id, grant.domains), ("acme", house.agent, vec!["acme.example".to_owned()]));
        assert_eq!(house.store.grant(&[6; 32]).await.unwrap(), None);
        assert!(house.store.remove_credential(house.tenant, credential.id).await.unwrap());
        assert_eq!(house.store.grant(&[5; 32]).await.unwrap(), None);
        assert!(house.store.remove_tenant("acme").await.unwrap());
        assert_eq!(house.store.agents(house.tenant, "", 10).await.unwrap(), []);
    }

    async fn a_webhook_belongs_to_its_tenant(engine: &Engine) {
        let house = House::build(engine).await;
        let (other, agent) = tenant(&house.ids, "other");
        house.store.add_tenant(other.clone(), agent).await.unwrap();
        let webhook = house.webhook(&[EventKind::Opened]);
        house.store.add_webhook(webhook.clone()).await.unwrap();
        assert_eq!(house.store.webhook(house.tenant, webhook.id).await.unwrap().as_ref(), Some(&webhook));
        assert_eq!(house.store.webhook(other.id, webhook.id).await.unwrap(), None);
        let change = |_: &mut Webhook| -> Result<(), StoreError> { unreachable!("it is not theirs") };
        assert_eq!(house.store.change_webhook(other.id, webhook.id, Secret::new("made"), change).await.unwrap(), None);
        assert!(!house.store.remove_webhook(other.id, webhook.id).await.unwrap());
        let agent = house.agent;
        let change = move |webhook: &mut Webhook| {
            (webhook.url, webhook.agent) = ("https://new.example/".into(), Some(agent));
            Ok::<_, StoreError>(())
        };
        let changed = house.store.change_webhook(house.tenant, webhook.id, Secret::new("made"), change).await.unwrap().unwrap();
        assert_eq!((changed.url.as_str(), changed.agent), ("https://new.example/", Some(agent)));
        assert_eq!(house.store.webhooks(house.tenant, None, 10).await.unwrap(), [changed]);
        assert_eq!(house.store.webhooks(house.tenant, Some(webhook.id), 10).await.unwrap(), []);
    }

    async fn changes_at_the_same_time_all_stay(engine: &Engine) {
        let house = House::build(engine).await;
        let other = engine.store("node-2", &house.clock).await;
        let webhook = house.webhook(&[EventKind::Opened]);
        house.store.add_webhook(webhook.clone()).await.unwrap();
        let (tenant, agent, id) = (house.tenant, house.agent, webhook.id);
        let mut changes = tokio::task::JoinSet::new();
        for count in 0..30 {
            let store = if count % 2 == 0 { house.store.clone() } else { other.clone() };
            changes.spawn(async move {
                let tag = move |webhook: &mut Webhook| {
                    webhook.tags.push(count.to_string());
                    Ok::<_, StoreError>(())
                };
                let host = move |agent: &mut MailAgent| {
                    agent.settings.untracked_hosts.push(count.to_string());
                    Ok::<_, StoreError>(())
                };
                let name = |tenant: &mut Tenant, agent: Option<&mut MailAgent>| {
                    tenant.name.push('+');
                    agent.unwrap().settings.description.push('+');
                    Ok::<_, StoreError>(())
                };
                store.change_webhook(tenant, id, Secret::new("made"), tag).await.unwrap().unwrap();
                store.change_agent(tenant, agent, host).await.unwrap().unwrap();
                store.change_tenant(tenant, name).await.unwrap().unwrap();
            });
        }
        let (switched, rotated) = tokio::join!(
            house.switch(id, Switch::OffByUs),
            other.rotate_secret(tenant, id, Secret::new("fresh"), house.clock.now()),
        );
        assert!(switched.is_some() && rotated.unwrap().is_some());
        while let Some(done) = changes.join_next().await {
            done.unwrap();
        }
        let kept = house.store.webhook(tenant, id).await.unwrap().unwrap();
        assert_eq!((kept.tags.len(), kept.switch, kept.secret.reveal()), (30, Switch::OffByUs, "fresh"));
        let kept = house.store.agent(tenant, DEFAULT_AGENT).await.unwrap().unwrap();
        assert_eq!((kept.settings.untracked_hosts.len(), kept.settings.description.len()), (30, 30));
        assert!(house.store.tenant("acme").await.unwrap().unwrap().name.ends_with(&"+".repeat(30)));
        // What a change refuses is as it was.
        let refuse = |agent: &mut MailAgent| {
            agent.settings.description.clear();
            Err(StoreError::Conflict)
        };
        assert!(matches!(house.store.change_agent(tenant, agent, refuse).await, Err(StoreError::Conflict)));
        assert_eq!(house.store.agent(tenant, DEFAULT_AGENT).await.unwrap().unwrap(), kept);
    }

    async fn nodes_agree_on_the_first_key(engine: &Engine) {
        let house = House::build(engine).await;
        let other = engine.store("node-2", &house.clock).await;
        let (one, two) = tokio::join!(house.store.key_ring([1; 32]), other.key_ring([2; 32]));
        let sealed = |ring| postback::model::token::seal_return_path(&ring, 0, DeliveryId { message: MessageId::from_bytes([0; 16]), recipient: 0 });
        assert_eq!(sealed(one.unwrap()), sealed(two.unwrap()));
    }

    async fn the_old_is_forgotten_and_the_queued_is_not(engine: &Engine) {
        let house = House::build(engine).await;
        let ended = house.delivered().await;
        let queued = house.plan(&["waiting@example.com"]);
        house.store.accept(queued.clone()).await.unwrap();
        house.clock.advance(Duration::from_secs(91 * 86_400));
        let keep = Keep { messages: Duration::from_secs(90 * 86_400), events: Duration::from_secs(90 * 86_400), reports: Duration::from_secs(86_400), webhook_log: Duration::from_secs(14 * 86_400) };
        assert!(!house.store.forget(keep).await.unwrap());
        assert_eq!(house.store.message(ended.message).await.unwrap(), None);
        assert_eq!(house.store.events(ended).await.unwrap(), []);
        assert!(house.store.message(queued.message.id).await.unwrap().is_some());
    }

    async fn what_is_owed_is_not_forgotten_unless_its_webhook_is_off(engine: &Engine) {
        let house = House::build(engine).await;
        let webhook = house.webhook(&[EventKind::Sent]);
        house.store.add_webhook(webhook.clone()).await.unwrap();
        let message = house.delivered().await.message;
        let days = |days: u64| Duration::from_secs(days * 86_400);
        let keep = Keep { messages: days(90), events: days(90), reports: days(1), webhook_log: days(14) };
        house.clock.advance(days(91));
        house.store.forget(keep).await.unwrap();
        assert!(house.store.message(message).await.unwrap().is_some());
        assert_eq!(house.owed().await.len(), 1, "it can still be told");
        house.switch(webhook.id, Switch::OffByUs).await;
        house.store.forget(Keep { messages: days(92), ..keep }).await.unwrap();
        assert!(house.store.message(message).await.unwrap().is_some(), "it may be switched on again");
        house.store.forget(keep).await.unwrap();
        assert_eq!(house.store.message(message).await.unwrap(), None);
    }

    async fn what_is_owed_of_an_event_or_to_a_webhook_that_is_gone_goes_too(engine: &Engine) {
        let house = House::build(engine).await;
        let webhook = house.webhook(&[EventKind::Sent]);
        house.store.add_webhook(webhook.clone()).await.unwrap();
        let plans = [house.plan(&["a@example.com"]), house.plan(&["b@example.com"]), house.plan(&["c@example.com"])];
        let [whole, without_event, without_message] = plans.each_ref().map(|plan| DispatchId { event: plan.events[0].id, webhook: webhook.id });
        for plan in plans {
            house.store.accept(plan).await.unwrap();
        }
        // As forgetting leaves them behind when a replay or a hit is being written.
        let gone = "delete from messages where id = (select max(id) from messages)";
        engine.run(gone, "delete from messages where id = (select id from messages order by id desc limit 1)").await;
        let gone = "
            delete from events
            where message_id = (select id from messages order by id desc limit 1)";
        engine.run(gone, gone).await;
        assert_eq!(house.owed().await.into_iter().map(|owed| owed.id).collect::<Vec<_>>(), [whole]);
        for gone in [without_event, without_message] {
            assert_eq!(house.store.dispatch(gone).await.unwrap(), None);
        }
        // As removing a webhook leaves it behind when an event is being written.
        let owed = "
            insert into dispatches (event_id, webhook_id, state, lane, due_at, attempts, created_at)
            select id, id, 'queued', 'fresh', 0, 0, 0
            from events";
        engine.run(owed, owed).await;
        let orphan = DispatchId { webhook: WebhookId::from_bytes(*whole.event.as_bytes()), ..whole };
        assert!(house.store.dispatch(orphan).await.unwrap().is_some());
        let day = Duration::from_secs(86_400);
        house.store.forget_little(Keep { messages: day, events: day, reports: day, webhook_log: day }).await.unwrap();
        assert_eq!(house.store.dispatch(orphan).await.unwrap(), None);
        assert!(house.store.dispatch(whole).await.unwrap().is_some());
    }

    async fn a_test_event_goes_to_its_webhook_alone(engine: &Engine) {
        let house = House::build(engine).await;
        let asked = house.webhook(&[EventKind::Opened]);
        let silent = house.webhook(&[EventKind::Delivered]);
        house.store.add_webhook(asked.clone()).await.unwrap();
        house.store.add_webhook(silent).await.unwrap();
        let message = house.plan(&["reader@example.com"]).message;
        let delivery = DeliveryId { message: message.id, recipient: 0 };
        let event = Event { is_test: true, ..house.event(delivery, EventKind::Delivered, Detail::Delivered { reply: "250".into(), next_hop_tells: false, has_arrived: false }) };
        let id = house.store.dispatch_test(message, event.clone(), asked.id).await.unwrap();
        assert!(house.owed().await.is_empty(), "it has a lane of its own");
        let owed = house.store.lease_dispatches(Lane::Trial, 100, vec![]).await.unwrap();
        assert_eq!(owed.len(), 1);
        assert_eq!((owed[0].id, &owed[0].event), (id, &event));
        let now = house.clock.now();
        let (status, error, wish, trace) = Default::default();
        let next = DispatchNext::Ends(DispatchState::Exhausted);
        let failed = DispatchSettlement { id, lease: owed[0].lease.clone(), next, started_at: now, at: now, status, error, wish, trace, bears: false, given_up_beside: 0 };
        house.store.settle_dispatch(failed).await.unwrap();
        assert!(house.store.replay_dispatch(house.tenant, id).await.unwrap());
        assert_eq!(house.store.lease_dispatches(Lane::Trial, 100, vec![]).await.unwrap().len(), 1, "told again it is a test still");
        assert_eq!(house.store.messages(house.tenant, None, 10).await.unwrap(), [], "nobody sent it");
    }
}

/// On SQLite, whose lock a test can hold.
#[tokio::test]
async fn what_was_committed_late_is_handed_over_with_what_is_left_of_its_lease() {
    let (engine, clock) = (Engine::sqlite(), Clock::standing(START));
    let store = Store::open(Options { handoff: 3, ..engine.options("node-1") }, clock.clone()).await.unwrap();
    let house = House::furnish(store, clock).await;
    let mut handed = house.store.take_handoff().await.unwrap();
    let mut other = SqliteConnection::connect(engine.url()).await.unwrap();
    let mut accept_late = async || {
        let begun_at = house.clock.now();
        other.execute("begin immediate").await.unwrap();
        let accepted = tokio::spawn({
            let (store, plan) = (house.store.clone(), house.plan(&["a@example.com"]));
            async move { store.accept(plan).await }
        });
        for _ in 0..100 {
            tokio::task::yield_now().await;
        }
        house.clock.advance(Duration::from_secs(61));
        other.execute("rollback").await.unwrap();
        accepted.await.unwrap().unwrap();
        let handed = handed.try_recv().unwrap();
        (handed.until == begun_at + LEASE).then_some(handed.delivery.id)
    };
    // Mostly it is written up to the lock before the clock moves; when the machine was busy elsewhere, the next one is.
    let mut late = None;
    for _ in 0..20 {
        if late.is_none() {
            late = accept_late().await;
        }
    }
    let late = late.expect("its lease counts from when it was written");
    house.clock.advance(LEASE - Duration::from_secs(61));
    let due = house.store.lease_deliveries(10).await.unwrap();
    assert!(due.iter().any(|leased| leased.delivery.id == late), "{due:?}");
}
