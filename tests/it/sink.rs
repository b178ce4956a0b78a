//! The sink as a destination: what addresses and faults ask for happens, nothing is lost, and every mail ends in exactly
//! one state. `POSTBACK_TEST_MAILS` makes the simulations as large as one has patience for, `POSTBACK_TEST_SEED` repeats
//! one.

use std::collections::HashMap;
use std::io::{BufRead, BufReader};
use std::process::Stdio;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use bytes::Bytes;
use postback::clock::Clock;
use postback::deliver::settings::{Mode, Smarthost, Tls};
use postback::deliver::{self, Counters, Parts, Settings};
use postback::model::delivery::State;
use postback::model::event::EventKind;
use postback::model::id::{DeliveryId, MessageId};
use postback::model::message::{Plan, Tracking};
use postback::model::queue::QueueFilter;
use postback::model::retry::LEASE;
use postback::model::suppression::Scope;
use postback::model::tenant::AgentSettings;
use postback::sink::{self, Happened, Sink};
use postback::store::Store;
use postback::worker::Worker;
use serde_json::Value;
use tokio::net::TcpListener;
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio::time::timeout;

use crate::support::agent::{Agent, command, printed};
use crate::support::engines::{Engine, on_both_engines};
use crate::support::node::Node;
use crate::support::submitter::Submitter;

const AWHILE: Duration = Duration::from_secs(60);
/// Mails that are handed in at once.
const AT_ONCE: u64 = 64;
/// How long the processors are left to those who have work before there is another look at what they do.
const A_MOMENT: Duration = Duration::from_millis(1);
/// What comes due within this time comes due together.
const STRIDE: Duration = Duration::from_secs(300);

fn number(variable: &str, otherwise: u64) -> u64 {
    std::env::var(variable).ok().and_then(|text| text.parse().ok()).unwrap_or(otherwise)
}

/// How many mails, by which seed.
fn size(mails: u64) -> (u64, u64) {
    let (mails, seed) = (number("POSTBACK_TEST_MAILS", mails), number("POSTBACK_TEST_SEED", 1));
    eprintln!("{mails} mails, seed {seed}");
    (mails, seed)
}

struct House {
    node: Node,
    sink: Sink,
    told: mpsc::Receiver<Happened>,
    counters: Arc<Counters>,
}

impl House {
    async fn build(engine: &Engine, settings: sink::Settings) -> Self {
        let node = Node::build(engine, 64, AgentSettings::default()).await;
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let (sink, told) = sink::start(listener, settings, node.clock.clone()).unwrap();
        Self { node, sink, told, counters: Arc::default() }
    }

    async fn start(&self, tls: Tls) -> Worker {
        let (host, port) = ("127.0.0.1".to_owned(), self.sink.address.port());
        let smarthost = Smarthost { host, port, tls, ..Smarthost::default() };
        let settings = Settings { mode: Mode::Smarthost, smarthost, ..Settings::default() };
        let parts = Parts { counters: self.counters.clone(), ..self.node.deliver_parts().await };
        deliver::start(parts, &settings).await.unwrap()
    }

    /// A mail with a `Message-ID` of its own.
    fn plan(&self, to: &str, message_id: &str) -> Plan {
        let plan = self.node.plan(&[to], b"", Tracking::default());
        let content = format!("From: shop@acme.example\r\nMessage-ID: <{message_id}>\r\nSubject: x\r\n\r\nx\r\n");
        Plan { content: Bytes::from(content), ..plan }
    }

    async fn accept(&self, to: &str, message_id: &str) -> MessageId {
        let plan = self.plan(to, message_id);
        let id = plan.message.id;
        self.node.store.accept(plan).await.unwrap();
        id
    }

    /// Accepts so many mails, some at once, each to what `to` says of its number.
    async fn accept_all(
        &mut self,
        mails: u64,
        mut to: impl FnMut(u64) -> String,
        mut hear: impl FnMut(Happened),
    ) -> Vec<MessageId> {
        let (mut accepting, mut messages) = (JoinSet::new(), Vec::new());
        for number in 0..mails {
            let plan = self.plan(&to(number), &format!("{number}@acme.example"));
            messages.push(plan.message.id);
            let store = self.node.store.clone();
            accepting.spawn(async move { store.accept(plan).await.unwrap() });
            if number % AT_ONCE == 0 {
                while accepting.join_next().await.is_some() {}
            }
            while let Ok(happened) = self.told.try_recv() {
                hear(happened);
            }
        }
        while accepting.join_next().await.is_some() {}
        messages
    }

    /// Lets time pass until nothing is queued any more: as soon as nothing can be done now, it is later.
    async fn live(&mut self, mut hear: impl FnMut(Happened)) {
        let mut idle = 0;
        loop {
            if let Ok(Some(happened)) = timeout(A_MOMENT, self.told.recv()).await {
                idle = 0;
                hear(happened);
                continue;
            }
            if self.counters.under_way.load(Ordering::Relaxed) > 0 {
                continue;
            }
            let Some(next) = self.node.store.next_delivery_due().await.unwrap() else { break };
            idle += 1;
            let wait = next.since(self.node.clock.now());
            if wait > LEASE || !self.is_anything_in_hand().await {
                self.node.clock.advance(wait + STRIDE);
            } else if idle % 50 == 0 {
                // Whatever waits in memory waits for the clock.
                self.node.clock.advance(Duration::from_secs(1));
            }
        }
    }

    /// Whether anything is due, or leased. Looks at every row that is queued.
    async fn is_anything_in_hand(&self) -> bool {
        let all = QueueFilter::all_of(Scope::Installation);
        let waiting = self.node.store.queue_by_domain(&all, 100).await.unwrap();
        waiting.iter().any(|waiting| waiting.due > 0)
    }

    async fn ends(&self, message: MessageId) -> (State, usize) {
        let id = DeliveryId { message, recipient: 0 };
        let ended = |kind: &EventKind| {
            matches!(kind, EventKind::Delivered | EventKind::HardBounced | EventKind::SoftBounced | EventKind::Failed)
        };
        let told = self.node.store.events(id).await.unwrap().into_iter().filter(|event| ended(&event.kind)).count();
        (self.node.store.delivery(id).await.unwrap().unwrap().state, told)
    }
}

on_both_engines! {
    async fn only_unclear_endings_make_duplicates_and_nothing_is_lost(engine: &Engine) {
        let (mails, seed) = size(400);
        let faults = vec!["dot=drop:10%".parse().unwrap()];
        let mut house = House::build(engine, sink::Settings { faults, seed, ..sink::Settings::default() }).await;
        let worker = house.start(Tls::None).await;
        let mut heard: HashMap<String, u32> = HashMap::new();
        let mut unclear = 0;
        let mut hear = |happened| {
            if let Happened::Mail { message_id, reply, .. } = happened {
                *heard.entry(message_id).or_default() += 1;
                unclear += u32::from(reply.is_empty());
            }
        };
        let messages = house.accept_all(mails, |number| format!("r{number}@example.com"), &mut hear).await;
        house.live(&mut hear).await;
        for message in messages {
            assert_eq!(house.ends(message).await, (State::Delivered, 1));
        }
        let is_known = |id: &String| id.strip_suffix("@acme.example").and_then(|number| number.parse::<u64>().ok());
        assert_eq!(heard.keys().filter(|id| is_known(id).is_some_and(|number| number < mails)).count() as u64, mails);
        assert_eq!(heard.len() as u64, mails, "each under its own id, at every attempt");
        let duplicates: u32 = heard.values().map(|times| times - 1).sum();
        eprintln!("lost 0, duplicates {duplicates}, unclear endings {unclear}");
        assert_eq!(u64::from(unclear), house.counters.unclear.load(Ordering::Relaxed));
        assert_eq!(duplicates, unclear);
        assert!(unclear > 0);
        worker.drain(AWHILE).await;
    }

    async fn every_mail_ends_in_exactly_one_state(engine: &Engine) {
        const LOTS: [(&str, State); 16] = [
            ("ok", State::Delivered),
            ("ann", State::Delivered),
            ("defer-3", State::Delivered),
            ("greylist-300", State::Delivered),
            ("open", State::Delivered),
            ("550-5.1.1", State::Bounced),
            ("gmail-unknown", State::Bounced),
            ("gmail-spam", State::Bounced),
            ("data-554", State::Bounced),
            ("yahoo-unknown", State::Bounced),
            ("451", State::Expired),
            ("dot-452", State::Expired),
            ("gmail-full", State::Expired),
            ("drop-rcpt", State::Expired),
            ("drop-body", State::Expired),
            ("drop-dot", State::Expired),
        ];
        let (mails, seed) = size(160);
        let faults = ["rcpt=451:3%", "dot=drop:2%", "data=drop:1%"].map(|fault| fault.parse().unwrap()).to_vec();
        let mut house = House::build(engine, sink::Settings { faults, seed, ..sink::Settings::default() }).await;
        let worker = house.start(Tls::None).await;
        let lot = |number: u64| {
            let drawn = (seed ^ number).wrapping_mul(0x9e37_79b9_7f4a_7c15);
            LOTS[(drawn >> 60) as usize % LOTS.len()]
        };
        let messages = house.accept_all(mails, |number| format!("r{number}+{}@example.com", lot(number).0), drop).await;
        house.live(drop).await;
        let mut ends: HashMap<State, u64> = HashMap::new();
        for (number, message) in (0..).zip(messages) {
            let (word, expected) = lot(number);
            assert_eq!(house.ends(message).await, (expected, 1), "{number}: {word}: its state, and how often it was told");
            *ends.entry(expected).or_default() += 1;
        }
        eprintln!("{ends:?}");
        assert_eq!(house.counters.leases_lost.load(Ordering::Relaxed), 0);
        worker.drain(AWHILE).await;
    }

    async fn it_talks_as_receivers_do(engine: &Engine) {
        let mut house = House::build(engine, sink::Settings::default()).await;
        let worker = house.start(Tls::Opportunistic).await;
        let message = house.accept("ann@example.com", "1@acme.example").await;
        let Some(Happened::Mail { from, to, message_id, reply, .. }) = house.told.recv().await else { panic!() };
        assert!(from.starts_with("b+") && from.ends_with("@bounce.acme.example"));
        assert_eq!((to, message_id.as_str(), reply.as_str()), (vec!["ann@example.com".into()], "1@acme.example", "250 2.0.0 taken"));
        house.live(drop).await;
        let attempt = house.node.store.attempts(DeliveryId { message, recipient: 0 }).await.unwrap().remove(0).1;
        assert!(attempt.tls.starts_with("TLSv1_3"), "{}", attempt.tls);
        house.accept("gmail-unknown@example.com", "2@acme.example").await;
        let Some(Happened::Refused { at, reply, .. }) = house.told.recv().await else { panic!() };
        assert_eq!((at, reply.lines().count()), ("rcpt", 4));
        worker.drain(AWHILE).await;
    }
}

/// Waits until all of these were told of a delivery.
async fn until_told(store: &Store, delivery: DeliveryId, kinds: &[EventKind]) {
    loop {
        let told: Vec<_> = store.events(delivery).await.unwrap().into_iter().map(|event| event.kind).collect();
        if kinds.iter().all(|kind| told.contains(kind)) {
            return;
        }
        tokio::task::yield_now().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn reports_complaints_and_readers_come_back_to_the_true_program() {
    let engine = Engine::sqlite();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = format!("deliver.smarthost.port={}", listener.local_addr().unwrap().port());
    let mut words = vec!["--database", engine.url(), "--mode", "smarthost"];
    let sets = [
        "deliver.smarthost.host=127.0.0.1",
        "deliver.smarthost.tls=opportunistic",
        "hostname=mail.example.com",
        "http.trusted_proxies=[\"127.0.0.1\"]",
    ];
    for set in sets.into_iter().chain(["tracking.base_url=https://track.example.com", &port]) {
        words.extend(["--set", set]);
    }
    let agent = Agent::start(engine.folder(), &words);
    printed(engine.folder(), &["--database", engine.url(), "domain", "add", "tests.example", "--without-keys"]);
    let (reports_to, links_to) = (Some(agent.address("smtp")), Some(agent.address("http")));
    let settings = sink::Settings { reports_to, links_to, later: Duration::ZERO, ..sink::Settings::default() };
    let (_sink, told) = sink::start(listener, settings, Clock::system()).unwrap();
    drop(told);
    let store = Store::open(engine.options("onlooker"), Clock::system()).await.unwrap();
    let mut session = Submitter::sign_in(agent.address("smtp"), &agent.credential("API key")).unwrap();
    for (local, kinds) in [
        // A report that overtakes our own commit ends the delivery as bounced, and as nothing else.
        ("bounce-gmail-unknown", &[EventKind::HardBounced][..]),
        ("complain", &[EventKind::Complained]),
        ("open+click", &[EventKind::Delivered]),
    ] {
        let mail = "From: app@tests.example\r\nSubject: x\r\nMIME-Version: 1.0\r\nContent-Type: text/html\r\n\r\n\
            <html><body><a href=\"https://tests.example/\">x</a></body></html>\r\n";
        let promise = session.submit(&format!("{local}@example.com"), mail.as_bytes()).unwrap();
        let message = promise.split(' ').find_map(|word| word.parse::<MessageId>().ok()).unwrap();
        let delivery = DeliveryId { message, recipient: 0 };
        until_told(&store, delivery, kinds).await;
        // Who looks at once is taken for a scanner: the looks are written down, and told to nobody.
        while local == "open+click" && store.hits(delivery).await.unwrap().len() < 2 {
            tokio::task::yield_now().await;
        }
    }
    store.close().await;
    assert!(agent.stop().success());
}

#[test]
fn it_runs_by_itself_and_tells_json_lines() {
    let folder = tempfile::tempdir().unwrap();
    let replies = printed(folder.path(), &["sink", "--replies"]);
    assert!(replies.contains("gmail-unknown (rcpt)\n  550-5.1.1 "), "{replies}");
    let words = ["sink", "--listen", "127.0.0.1:0", "--fault", "mail=451"];
    let mut child = command(folder.path()).args(words).stdout(Stdio::piped()).spawn().unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines().map_while(Result::ok);
    let address = lines.next().unwrap().strip_prefix("ready smtp=").unwrap().parse().unwrap();
    let mut session = Submitter::sign_in(address, "any").unwrap();
    let refused = session.submit("a@example.com", b"Subject: x\r\n\r\n").unwrap_err().to_string();
    assert_eq!(refused, "451 4.0.0 as the sink was told\r\n");
    let told: Value = serde_json::from_str(&lines.next().unwrap()).unwrap();
    assert_eq!((&told["happened"], &told["at"]), (&Value::from("refused"), &Value::from("mail")));
    child.kill().unwrap();
    child.wait().unwrap();
}
