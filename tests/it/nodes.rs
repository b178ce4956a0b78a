//! Two true programs on one PostgreSQL share the work: nothing is sent twice, and what a dead node held is taken over
//! when its lease ends.

use std::collections::BTreeMap;

use postback::clock::Clock;
use postback::model::event::EventKind;
use postback::model::id::{DeliveryId, MessageId};
use postback::model::retry::LEASE;
use postback::store::Store;
use sqlx::{Connection, Executor, PgConnection};

use crate::exchanger::{Act, Exchanger, Script};
use crate::support::agent::Agent;
use crate::support::engines::Engine;
use crate::support::submitter::Submitter;

const MAILS: usize = 200;
/// Attempts of one node at one time.
const AT_ONCE: usize = 8;

/// Nodes on one database that hand their mail to one exchanger.
struct Cluster {
    engine: Engine,
    exchanger: Exchanger,
    /// A node that only takes mail.
    door: Agent,
}

impl Cluster {
    async fn new(script: Script) -> Self {
        let (engine, exchanger) = (Engine::postgres().await, Exchanger::start(script).await);
        let door = node(&engine, &exchanger, "door", "doors");
        Self { engine, exchanger, door }
    }

    fn node(&self, name: &str) -> Agent {
        node(&self.engine, &self.exchanger, name, "deliver,webhooks")
    }

    async fn store(&self) -> Store {
        self.engine.store("onlooker", &Clock::system()).await
    }

    /// Hands in mails, which wait for a node that delivers.
    async fn submit(&self, mails: usize) -> Vec<DeliveryId> {
        let store = self.store().await;
        let tenant = store.tenant("default").await.unwrap().unwrap();
        let agent = store.agent(tenant.id, "default").await.unwrap().unwrap();
        store.add_domain(agent.id, "tests.example").await.unwrap();
        store.close().await;
        let mut session = Submitter::sign_in(self.door.address("smtp"), &self.door.credential("API key")).unwrap();
        let submit = |count| {
            let to = format!("reader-{count}@example.com");
            let mail = format!("From: app@tests.example\r\nTo: {to}\r\nSubject: {count}\r\n\r\nhello\r\n");
            let promise = session.submit_pipelined(&to, mail.as_bytes()).unwrap();
            let message = promise.split(' ').find_map(|word| word.parse::<MessageId>().ok()).unwrap();
            DeliveryId { message, recipient: 0 }
        };
        (0..mails).map(submit).collect()
    }

    /// Waits until each of these has ended, and was told of as sent once and delivered once.
    async fn all_delivered(&self, deliveries: &[DeliveryId]) {
        let store = self.store().await;
        while store.queue_counts().await.unwrap().deliveries > 0 {
            tokio::task::yield_now().await;
        }
        for delivery in deliveries {
            let events = store.events(*delivery).await.unwrap();
            let kinds: Vec<_> = events.iter().map(|event| event.kind).collect();
            assert_eq!(kinds, [EventKind::Sent, EventKind::Delivered], "{delivery}");
        }
        store.close().await;
    }

    /// How many mails arrived for each recipient.
    fn arrived(&self) -> BTreeMap<String, usize> {
        let mut arrived = BTreeMap::new();
        for mail in self.exchanger.mails() {
            *arrived.entry(mail.rcpt).or_default() += 1;
        }
        arrived
    }
}

/// A node with a data folder of its own.
fn node(engine: &Engine, exchanger: &Exchanger, name: &str, roles: &str) -> Agent {
    let folder = engine.folder().join(name);
    std::fs::create_dir_all(&folder).unwrap();
    let port = format!("deliver.smarthost.port={}", exchanger.address.port());
    let at_once = format!("deliver.at_once={AT_ONCE}");
    let mut words = vec!["--database", engine.url(), "--mode", "smarthost", "--roles", roles];
    for set in [
        "deliver.smarthost.host=127.0.0.1",
        "deliver.smarthost.tls=none",
        "tracking.base_url=https://track.example.com",
        "hostname=mail.example.com",
        &port,
        &at_once,
    ] {
        words.extend(["--set", set]);
    }
    Agent::start(&folder, &words)
}

/// How many deliveries a node has tried.
fn tried(node: &Agent) -> usize {
    node.log().matches("delivery attempted").count()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_nodes_share_the_work_and_send_nothing_twice() {
    let cluster = Cluster::new(Script::polite()).await;
    let (one, other) = (cluster.node("one"), cluster.node("other"));
    let deliveries = cluster.submit(MAILS).await;
    cluster.all_delivered(&deliveries).await;
    assert_eq!(cluster.arrived().len(), MAILS);
    assert_eq!(cluster.exchanger.mails().len(), MAILS, "each once");
    let shares = (tried(&one), tried(&other));
    assert!(shares.0 > 0 && shares.1 > 0 && shares.0 + shares.1 == MAILS, "{shares:?}");
    assert!(one.stop().success() && other.stop().success());
    cluster.engine.remove().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_dead_node_held_is_taken_over_when_its_lease_ends() {
    let mut script = Script::polite();
    for _ in 0..AT_ONCE {
        script = script.on(".", Act::Hang(Vec::new()));
    }
    let cluster = Cluster::new(script).await;
    let deliveries = cluster.submit(MAILS).await;
    let one = cluster.node("one");
    let held: Vec<String> = {
        let mut held = Vec::new();
        for _ in 0..AT_ONCE {
            held.push(cluster.exchanger.next().await.rcpt);
        }
        held
    };
    one.kill();

    // Whatever else it had leased is due no sooner: nobody can know that it is dead.
    let store = cluster.store().await;
    let mut leased = Vec::new();
    for delivery in &deliveries {
        let view = store.deliveries(delivery.message).await.unwrap().remove(0);
        leased.extend(view.is_leased.then_some(view));
    }
    assert!(leased.len() >= held.len());
    for view in &leased {
        assert!(view.due_at.unwrap() <= Clock::system().now() + LEASE);
    }
    store.close().await;

    // Time is moved in the rows, since it cannot be moved in a program.
    let mut database = PgConnection::connect(cluster.engine.url()).await.unwrap();
    database.execute("update deliveries set due_at = due_at - 90000 where lease is not null").await.unwrap();
    database.close().await.unwrap();
    let other = cluster.node("other");
    cluster.all_delivered(&deliveries).await;
    let arrived = cluster.arrived();
    assert_eq!(arrived.len(), MAILS);
    for (recipient, times) in arrived {
        // The dead node got as far as the final dot with these, and never read a 250.
        assert_eq!(times, 1 + usize::from(held.contains(&recipient)), "{recipient}");
    }
    assert_eq!(tried(&other), MAILS);
    assert!(other.stop().success());
    cluster.engine.remove().await;
}
