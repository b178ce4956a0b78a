//! What the store keeps for later mails, and mails that come together: templates, cached files, batches, cancelling.

use bytes::Bytes;
use postback::clock::Clock;
use postback::ids::IdSource;
use postback::intake::provision;
use postback::model::author::Authors;
use postback::model::delivery::{Delivery, State};
use postback::model::event::EventKind;
use postback::model::file::CachedFile;
use postback::model::id::{DeliveryId, EventId, FileId, MessageId, TemplateId};
use postback::model::message::{Facts, Fate, Message, Plan, PlannedDelivery, Source};
use postback::model::queue::QueueFilter;
use postback::model::reason::Reason;
use postback::model::retry::MAIL_LIFETIME;
use postback::model::suppression::Scope;
use postback::model::template::{Template, Texts};
use postback::model::tenant::{DailyLimits, MailAgent, Tenant};
use postback::model::time::Timestamp;
use postback::store::messages::Terms;
use postback::store::templates::VERSIONS_MAX;
use postback::store::{Store, StoreError};

use crate::support::engines::{Engine, on_both_engines};

const START: Timestamp = Timestamp::from_millis(1_800_000_000_000);

struct House {
    store: Store,
    clock: Clock,
    ids: IdSource,
    tenant: Tenant,
    agent: MailAgent,
}

impl House {
    async fn build(engine: &Engine) -> Self {
        let (clock, ids) = (Clock::standing(START), IdSource::seeded(7));
        let store = engine.store("node-1", &clock).await;
        let tenant = provision::tenant("acme", "Acme", &clock, &ids);
        let agent = provision::agent(&tenant, "default", &clock, &ids);
        store.add_tenant(tenant.clone(), agent.clone()).await.unwrap();
        Self { store, clock, ids, tenant, agent }
    }

    fn template(&self, name: &str) -> Template {
        Template {
            id: TemplateId::from_uuid(self.ids.uuid(START)),
            tenant: self.tenant.id,
            agent: self.agent.id,
            name: name.into(),
            title: "Grüße".into(),
            version: 1,
            texts: Texts { subject: "Hi {{name}}".into(), html: Some("<p>".into()), text: None },
            created_at: START,
            updated_at: START,
            authors: Default::default(),
        }
    }

    fn file(&self, size_bytes: usize) -> (CachedFile, Bytes) {
        let file = CachedFile {
            id: FileId::from_uuid(self.ids.uuid(START)),
            tenant: self.tenant.id,
            agent: self.agent.id,
            name: "logo.png".into(),
            content_type: "image/png".into(),
            size_bytes: size_bytes as u64,
            created_at: START,
        };
        (file, vec![7; size_bytes].into())
    }

    fn plan(&self, recipients: &[&str], due_at: Timestamp) -> Plan {
        let id = MessageId::from_uuid(self.ids.uuid(START));
        let message = Message {
            id,
            tenant: self.tenant.id,
            agent: self.agent.id,
            agent_key: self.agent.key.clone(),
            source: Source::Http,
            accepted_at: START,
            facts: Facts { request_id: "request-1".into(), ..Facts::default() },
            size_bytes: 5,
        };
        let delivery = |(recipient, address): (u16, &&str)| PlannedDelivery {
            id: DeliveryId { message: id, recipient },
            address: address.parse().unwrap(),
            fate: Fate::Queued { due_at },
            expires_at: START + MAIL_LIFETIME,
        };
        let deliveries = (0u16..).zip(recipients).map(delivery).collect();
        Plan { message, content: Bytes::from_static(b"hello"), deliveries, events: vec![] }
    }
}

on_both_engines! {
    async fn a_template_has_versions_and_one_name(engine: &Engine) {
        let house = House::build(engine).await;
        let (store, tenant) = (&house.store, house.tenant.id);
        let first = house.template("welcome");
        assert!(store.add_template(first.clone()).await.unwrap());
        assert!(matches!(store.add_template(house.template("welcome")).await, Err(StoreError::Conflict)));
        assert_eq!(store.template_named(house.agent.id, "welcome").await.unwrap().as_ref(), Some(&first));
        let texts = Texts { subject: "new".into(), html: None, text: Some("plain".into()) };
        let authors = Authors { updated_by: "ann".into(), ..first.authors.clone() };
        let second = Template { texts, version: 2, updated_at: START + MAIL_LIFETIME, authors, ..first.clone() };
        assert_eq!(store.change_template(second.clone()).await.unwrap(), Some(2));
        assert_eq!(store.template(tenant, first.id).await.unwrap(), Some(second.clone()));
        assert_eq!(store.template_version(tenant, first.id, 1).await.unwrap(), Some(first.clone()));
        let versions = store.template_versions(tenant, first.id).await.unwrap();
        assert_eq!(versions, [(2, START + MAIL_LIFETIME, "ann".into()), (1, START, "".into())]);
        let other = house.template("other");
        assert!(store.add_template(other.clone()).await.unwrap());
        let clash = Template { name: "welcome".into(), ..other.clone() };
        assert!(matches!(store.change_template(clash).await, Err(StoreError::Conflict)));
        let names = |listed: Vec<postback::store::templates::TemplateView>| {
            listed.into_iter().map(|view| (view.name, view.version, view.subject)).collect::<Vec<_>>()
        };
        let listed = names(store.templates(house.agent.id, "", 10).await.unwrap());
        assert_eq!(listed, [("other".into(), 1, "Hi {{name}}".into()), ("welcome".into(), 2, "new".into())]);
        assert_eq!(names(store.templates(house.agent.id, "other", 10).await.unwrap()).len(), 1);
        for _ in 0..VERSIONS_MAX + 1 {
            store.change_template(second.clone()).await.unwrap();
        }
        let kept = store.template_versions(tenant, first.id).await.unwrap();
        assert_eq!((kept.len(), kept.last().unwrap().0), (VERSIONS_MAX as usize, 4));
        assert!(store.remove_template(tenant, first.id).await.unwrap());
        assert!(!store.remove_template(tenant, first.id).await.unwrap());
        assert_eq!(store.template_versions(tenant, first.id).await.unwrap(), []);
    }

    async fn a_template_belongs_to_its_tenant(engine: &Engine) {
        let house = House::build(engine).await;
        let stranger = provision::tenant("other", "Other", &house.clock, &house.ids);
        let agent = provision::agent(&stranger, "default", &house.clock, &house.ids);
        house.store.add_tenant(stranger.clone(), agent.clone()).await.unwrap();
        let template = house.template("welcome");
        house.store.add_template(template.clone()).await.unwrap();
        assert_eq!(house.store.template(stranger.id, template.id).await.unwrap(), None);
        assert_eq!(house.store.template_named(agent.id, "welcome").await.unwrap(), None);
        assert_eq!(house.store.template_version(stranger.id, template.id, 1).await.unwrap(), None);
        let theirs = Template { tenant: stranger.id, ..template.clone() };
        assert_eq!(house.store.change_template(theirs).await.unwrap(), None);
        assert!(!house.store.remove_template(stranger.id, template.id).await.unwrap());
        assert!(house.store.template(house.tenant.id, template.id).await.unwrap().is_some());
    }

    async fn a_cached_file_comes_back_as_it_was(engine: &Engine) {
        let house = House::build(engine).await;
        let agent = house.agent.id;
        for size in [1, 300 << 10] {
            let (file, content) = house.file(size);
            assert!(house.store.add_cached_file(file.clone(), content.clone()).await.unwrap());
            house.store.collect_orphans().await.unwrap();
            assert_eq!(house.store.cached_file(agent, file.id).await.unwrap(), Some((file.clone(), content)));
            assert_eq!(house.store.cached_files(agent, None, 10).await.unwrap(), std::slice::from_ref(&file));
            assert!(house.store.remove_cached_file(agent, file.id).await.unwrap());
            assert!(!house.store.remove_cached_file(agent, file.id).await.unwrap());
            assert_eq!(house.store.cached_file(agent, file.id).await.unwrap(), None);
        }
        let (file, content) = house.file(300 << 10);
        let claimed = CachedFile { size_bytes: 1 << 30, ..file };
        assert!(house.store.add_cached_file(claimed, content.clone()).await.unwrap());
        let (file, _) = house.file(300 << 10);
        assert!(!house.store.add_cached_file(file, content).await.unwrap(), "the cache is full");
        let folder = std::fs::read_dir(engine.folder().join("content")).map_or(0, Iterator::count);
        assert!(folder <= 1, "what was refused leaves nothing behind");
    }

    async fn what_was_refused_leaves_no_file(engine: &Engine) {
        let house = House::build(engine).await;
        let large = || Plan { content: vec![b'x'; 300 << 10].into(), ..house.plan(&["reader@example.com"], START) };
        let folder = engine.folder().join("content");
        let files = || std::fs::read_dir(&folder).map_or(0, Iterator::count);
        let kept = large();
        house.store.accept(kept.clone()).await.unwrap();
        let before = files();
        let none_a_day = Terms { limits: DailyLimits { tenant: Some(0), ..DailyLimits::default() }, ..Terms::default() };
        let over = house.store.accept_all(vec![large(), large()], none_a_day).await;
        assert!(matches!(over, Err(StoreError::OverLimit)));
        assert_eq!(files(), before);
        // What a message that was accepted before has is not taken from it.
        let twice = house.store.accept_all(vec![large(), kept.clone()], Terms::default()).await;
        assert!(matches!(twice, Err(StoreError::Conflict)));
        assert_eq!(files(), before);
        assert_eq!(house.store.content(kept.message.id).await.unwrap(), Some(kept.content));
        if before > 0 {
            let blocked = large();
            let obstacle = folder.join(format!("{}.part", blocked.message.id));
            std::fs::create_dir(&obstacle).unwrap();
            let unwritten = house.store.accept_all(vec![large(), blocked], Terms::default()).await;
            assert!(matches!(unwritten, Err(StoreError::Unavailable(_))));
            assert_eq!(files(), before + 1, "the obstacle alone");
        }
    }

    async fn plans_that_come_together_are_kept_together(engine: &Engine) {
        let house = House::build(engine).await;
        let mut plans: Vec<Plan> = (0..500).map(|_| house.plan(&["reader@example.com"], START)).collect();
        let first = plans[0].message.id;
        house.store.accept_all(plans.clone(), Default::default()).await.unwrap();
        assert_eq!(house.store.queue_counts().await.unwrap().deliveries, 500);
        let found = house.store.messages_of_request(house.tenant.id, first, "request-1").await.unwrap();
        assert_eq!(found.len(), 500);
        assert_eq!(house.store.messages_of_request(house.tenant.id, first, "request-2").await.unwrap(), []);
        // One of them is there already: none of the others is taken.
        plans.iter_mut().skip(1).for_each(|plan| {
            *plan = house.plan(&["reader@example.com"], START);
        });
        assert!(matches!(house.store.accept_all(plans, Default::default()).await, Err(StoreError::Conflict)));
        assert_eq!(house.store.queue_counts().await.unwrap().deliveries, 500);
    }

    async fn what_waits_can_be_cancelled_and_what_is_worked_on_cannot(engine: &Engine) {
        let house = House::build(engine).await;
        let plan = house.plan(&["one@example.com", "two@example.com"], START);
        house.store.accept(plan.clone()).await.unwrap();
        let leased = house.store.lease_deliveries(1).await.unwrap().remove(0).delivery.id;
        let of_message = QueueFilter { message: Some(plan.message.id), ..QueueFilter::all_of(Scope::Tenant(house.tenant.id)) };
        let ids = house.ids.clone();
        let tell = move |delivery: &Delivery| Some(delivery.cancelled(EventId::from_uuid(ids.uuid(START)), START));
        assert_eq!(house.store.cancel(of_message.clone(), tell.clone()).await.unwrap(), 1);
        for view in house.store.deliveries(plan.message.id).await.unwrap() {
            let kinds: Vec<_> = house.store.events(view.delivery.id).await.unwrap().iter().map(|event| event.kind).collect();
            match view.delivery.id == leased {
                true => assert_eq!((view.delivery.state, kinds), (State::Queued, vec![])),
                false => {
                    assert_eq!((view.delivery.state, view.reason), (State::Cancelled, Some(Reason::Cancelled)));
                    assert_eq!(kinds, [EventKind::Failed]);
                }
            }
        }
        assert_eq!(house.store.cancel(of_message, tell).await.unwrap(), 0);
    }
}
