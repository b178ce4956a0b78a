//! A store with one tenant, its agent, and a clock that stands: what a worker under test works on.

use std::sync::Arc;

use bytes::Bytes;
use postback::clock::Clock;
use postback::deliver;
use postback::dns::Table;
use postback::egress::{Guard, Policy as Egress, Trust};
use postback::ids::IdSource;
use postback::mail::rules::Rules;
use postback::model::address::Mailbox;
use postback::model::bearing::{Bearing, Policy};
use postback::model::delivery::{Next, State};
use postback::model::event::{Detail, Event, EventKind, relay};
use postback::model::id::{AgentId, DeliveryId, EventId, MessageId, TenantId};
use postback::model::message::{Facts, Fate, Message, Plan, PlannedDelivery, Source, Tracking};
use postback::model::retry::MAIL_LIFETIME;
use postback::model::tenant::{AgentSettings, MailAgent, Tenant};
use postback::model::time::Timestamp;
use postback::store::Store;
use postback::store::db::Options;
use postback::store::deliveries::{Attempt, Settlement};

use super::engines::Engine;

/// When tests begin.
pub const START: Timestamp = Timestamp::from_millis(1_800_000_000_000);
/// A mail that is enough for most.
pub const CONTENT: &[u8] = b"From: shop@acme.example\r\nBcc: secret@example.com\r\nSubject: hello\r\n\r\nbye\r\n";

/// A node without doors.
pub struct Node {
    /// Its store.
    pub store: Store,
    /// Its clock, which stands.
    pub clock: Clock,
    /// Its ids, from a seed.
    pub ids: IdSource,
    /// The tenant.
    pub tenant: TenantId,
    /// The tenant's agent.
    pub agent: AgentId,
}

impl Node {
    /// A node with room for `handoff` deliveries in memory.
    pub async fn build(engine: &Engine, handoff: usize, settings: AgentSettings) -> Self {
        Self::open(Options { handoff, ..engine.options("node-1") }, settings).await
    }

    /// A node on a store that is opened so.
    pub async fn open(options: Options, settings: AgentSettings) -> Self {
        let (clock, ids) = (Clock::standing(START), IdSource::seeded(7));
        let store = Store::open(options, clock.clone()).await.unwrap();
        let tenant = TenantId::from_uuid(ids.uuid(START));
        let agent = AgentId::from_uuid(ids.uuid(START));
        let (key, name) = ("key-of-acme".to_owned(), "default".to_owned());
        let acme = Tenant {
            id: tenant,
            slug: "acme".into(),
            name: "Acme".into(),
            settings: Default::default(),
            created_at: START,
            updated_at: START,
            authors: Default::default(),
        };
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
        store.add_tenant(acme, default).await.unwrap();
        Self { store, clock, ids, tenant, agent }
    }

    /// What delivery works with here: no DNS, and `postback.test` as our name.
    pub async fn deliver_parts(&self) -> deliver::Parts {
        let names = Arc::new(Table::new());
        deliver::Parts {
            store: self.store.clone(),
            clock: self.clock.clone(),
            ids: self.ids.clone(),
            ring: self.store.key_ring(self.ids.bytes()).await.unwrap(),
            resolver: names.clone(),
            guard: Arc::new(Guard::new(Egress::default(), names)),
            tls: Trust::open(None).unwrap().client(),
            hostname: "postback.test".into(),
            return_path_domain: "bounce.acme.example".into(),
            rules: Rules::default(),
            suppression: Policy::default(),
            counters: Arc::default(),
            tls_sessions: None,
        }
    }

    /// A mail to these, due now, that tells `sent` of each.
    pub fn plan(&self, recipients: &[&str], content: &'static [u8], tracking: Tracking) -> Plan {
        let now = self.clock.now();
        let id = MessageId::from_uuid(self.ids.uuid(now));
        let message = Message {
            id,
            tenant: self.tenant,
            agent: self.agent,
            agent_key: "key-of-acme".into(),
            source: Source::Smtp,
            accepted_at: now,
            facts: Facts { from: Mailbox::bare("shop@acme.example"), tracking, ..Facts::default() },
            size_bytes: content.len() as u64,
        };
        let deliveries: Vec<PlannedDelivery> = (0u16..)
            .zip(recipients)
            .map(|(recipient, address)| PlannedDelivery {
                id: DeliveryId { message: id, recipient },
                address: address.parse().unwrap(),
                fate: Fate::Queued { due_at: now },
                expires_at: now + MAIL_LIFETIME,
            })
            .collect();
        let events = deliveries.iter().map(|planned| self.sent(planned)).collect();
        Plan { message, content: Bytes::from_static(content), deliveries, events }
    }

    /// Settles all that is due as delivered now.
    pub async fn deliver_all(&self) {
        deliver_all(&self.store, self.clock.now()).await;
    }

    fn sent(&self, planned: &PlannedDelivery) -> Event {
        let now = self.clock.now();
        Event {
            id: EventId::from_uuid(self.ids.uuid(now)),
            delivery: planned.id,
            tenant: self.tenant,
            agent: self.agent,
            kind: EventKind::Sent,
            ordinal: 0,
            at: now,
            recipient: planned.address.to_string(),
            detail: Detail::Sent,
            relay: relay::ALL,
            relay_at: now,
            is_test: false,
        }
    }

    /// Accepts an untracked mail to these.
    pub async fn accept(&self, recipients: &[&str]) -> MessageId {
        let plan = self.plan(recipients, CONTENT, Tracking::default());
        let id = plan.message.id;
        self.store.accept(plan).await.unwrap();
        id
    }
}

/// Settles all that is due in a store as delivered now.
pub async fn deliver_all(store: &Store, now: Timestamp) {
    for leased in store.lease_deliveries(1_000).await.unwrap() {
        let attempt = Attempt { started_at: now, ended_at: now, outcome: "delivered".into(), ..Attempt::default() };
        let settlement = Settlement {
            id: leased.delivery.id,
            lease: leased.lease.clone(),
            attempt,
            next: Next::Ends(State::Delivered),
            reason: None,
            events: Vec::new(),
            bearing: Bearing::Nothing,
            letter: None,
        };
        store.settle_delivery(settlement).await.unwrap();
    }
}
