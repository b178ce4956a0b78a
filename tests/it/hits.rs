//! Hits from the request to the webhook: judged with what is known around them, told once, kept as far as the agent
//! says, and not lost while the database is away.

mod recording;

use std::io::{BufRead, BufReader, Write};
use std::path::PathBuf;
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

use postback::clock::Clock;
use postback::enrich::Enricher;
use postback::intake::{self, Intake};
use postback::model::event::{EventKind, EventSet};
use postback::model::hit::{HitKind, HitRequest, Who};
use postback::model::id::{DeliveryId, MessageId, TenantId, WebhookId};
use postback::model::message::Tracking;
use postback::model::tenant::{AgentSettings, Privacy};
use postback::model::token::{KeyRing, Reference, Sealer};
use postback::model::webhook::Webhook;
use postback::store::Store;
use postback::store::db::{ANSWER_WITHIN, Options, Sync};
use postback::store::dispatches::Lane;
use postback::store::hits::counts::HitCount;

use crate::crowd;
use crate::support::agent::{Agent, ask, get, post, printed};
use crate::support::engines::{Engine, MASTER_KEY, on_both_engines};
use crate::support::node::{Node, START};

const HOST: &str = "t.acme.example";
/// Longer than any test: how long readers wait for what is durable.
const NEVER: Duration = Duration::from_secs(3_600);
const MAIL: &[u8] = b"From: shop@acme.example\r\nContent-Type: text/html\r\n\r\n\
    <a href='https://example.com/0'>0</a><a href='https://example.com/1'>1</a><a href='https://example.com/2'>2</a>\
    <a href='https://example.com/3'>3</a><a href='https://example.com/4'>4</a><a href='https://example.com/5'>5</a>\r\n";
const CHROME: &str =
    "Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/131.0.0.0 Safari/537.36";

/// A node with intake, and mails that its next hop has taken.
struct Desk {
    node: Node,
    intake: Intake,
    ring: KeyRing,
}

impl Desk {
    async fn build(engine: &Engine, settings: AgentSettings) -> Self {
        Self::with_journal(engine, settings, None).await
    }

    /// Hits wait in the journal, or in memory, while the database is away.
    async fn with_journal(engine: &Engine, settings: AgentSettings, journal: Option<PathBuf>) -> Self {
        let node = Node::build(engine, 0, settings).await;
        let ring = node.store.key_ring([7; 32]).await.unwrap();
        let intake = intake_of(&node, &node.store, &ring, journal);
        let (id, now) = (WebhookId::from_uuid(node.ids.uuid(START)), START);
        let webhook = Webhook {
            events: [EventKind::Opened, EventKind::Clicked].into_iter().collect::<EventSet>(),
            ..Webhook::new(id, node.tenant, "https://hooks.acme.example/", now)
        };
        node.store.add_webhook(webhook).await.unwrap();
        Self { node, intake, ring }
    }

    /// A mail to each of these, which the next hop took now.
    async fn delivered(&self, recipients: &[&str]) -> Vec<DeliveryId> {
        let base_url = format!("https://{HOST}");
        let key_id = self.ring.newest().unwrap();
        let tracking = Tracking { opens: true, clicks: true, base_url, key_id, ..Tracking::default() };
        let mut delivered = Vec::new();
        for recipient in recipients {
            let plan = self.node.plan(&[recipient], MAIL, tracking.clone());
            let id = plan.deliveries[0].id;
            self.node.store.accept(plan).await.unwrap();
            delivered.push(id);
        }
        self.node.deliver_all().await;
        delivered
    }

    /// A hit of this moment: the pixel, or a link.
    async fn hit(&self, copy: DeliveryId, link: Option<u16>, ip: [u8; 4], headers: &[(&str, &str)]) {
        let reference = match link {
            None => Reference::Open,
            Some(link) => Reference::Click { link, target: format!("https://example.com/{link}") },
        };
        let sealer = Sealer::new(&self.ring, self.ring.newest().unwrap(), HOST).unwrap();
        let opened = self.intake.open(HOST, &sealer.seal(copy, &reference)).unwrap();
        let browser = [("accept-language", "sv"), ("sec-fetch-mode", "navigate")];
        let headers = browser.iter().chain(headers).map(|(name, value)| (name.to_string(), value.to_string()));
        let headers = headers.collect();
        let (ip, user_agent) = (Some(ip.into()), CHROME.to_owned());
        self.intake.hit(&opened, HitRequest { is_get: true, ip, user_agent, headers, is_https: true }).await;
    }

    async fn verdicts(&self, copy: DeliveryId) -> Vec<Who> {
        self.intake.drain().await;
        self.node.store.hits(copy).await.unwrap().into_iter().map(|hit| hit.visitor.machine.verdict).collect()
    }

    /// What webhooks are told of now.
    async fn told(&self) -> Vec<EventKind> {
        let owed = self.node.store.lease_dispatches(Lane::Fresh, 100, vec![]).await.unwrap();
        owed.into_iter().map(|owed| owed.event.kind).collect()
    }

    fn pass(&self, secs: u64) {
        self.node.clock.advance(Duration::from_secs(secs));
    }
}

fn intake_of(node: &Node, store: &Store, ring: &KeyRing, hits_journal: Option<PathBuf>) -> Intake {
    Intake::start(intake::Parts {
        store: store.clone(),
        clock: node.clock.clone(),
        ids: node.ids.clone(),
        ring: ring.clone(),
        enricher: Arc::new(Enricher::default()),
        rules: Default::default(),
        settings: intake::Settings {
            tracking_base_url: format!("https://{HOST}"),
            hits_wait_max: NEVER,
            hits_journal,
            ..Default::default()
        },
    })
}

const HOME: [u8; 4] = [10, 1, 2, 3];
const SCANNER: [u8; 4] = [10, 9, 9, 9];

on_both_engines! {
    async fn a_burst_is_found_out_before_webhooks_hear_of_it(engine: &Engine) {
        let desk = Desk::build(engine, AgentSettings::default()).await;
        let copy = desk.delivered(&["reader@example.com"]).await[0];
        desk.pass(100);
        for link in 0..5 {
            desk.hit(copy, Some(link), SCANNER, &[]).await;
            desk.intake.drain().await;
            desk.pass(1);
        }
        assert_eq!(desk.verdicts(copy).await, [Who::Scanner; 5]);
        desk.pass(60);
        assert_eq!(desk.told().await, []);
        desk.pass(3_600);
        desk.hit(copy, Some(1), HOME, &[]).await;
        assert_eq!(desk.verdicts(copy).await[5], Who::Person);
        desk.pass(60);
        assert_eq!(desk.told().await, [EventKind::Clicked]);
    }

    async fn a_burst_that_comes_all_at_once_is_found_out_too(engine: &Engine) {
        let desk = Desk::build(engine, AgentSettings::default()).await;
        let copy = desk.delivered(&["reader@example.com"]).await[0];
        desk.pass(100);
        for link in 0..5 {
            desk.hit(copy, Some(link), SCANNER, &[]).await;
            desk.pass(1);
        }
        assert_eq!(desk.verdicts(copy).await, [Who::Scanner; 5]);
        desk.pass(60);
        assert_eq!(desk.told().await, []);
    }

    async fn one_visitor_at_many_readers_mail_is_found_out_where_servers_are_for_hire(engine: &Engine) {
        let desk = Desk::build(engine, AgentSettings::default()).await;
        let readers: Vec<String> = (0..6).map(|reader| format!("reader-{reader}@example.com")).collect();
        let copies = desk.delivered(&readers.iter().map(String::as_str).collect::<Vec<_>>()).await;
        desk.pass(4_000);
        for copy in &copies {
            desk.hit(*copy, Some(1), [3, 210, 1, 1], &[]).await;
            desk.pass(5);
        }
        for copy in copies {
            assert_eq!(desk.verdicts(copy).await, [Who::Scanner]);
        }
    }

    async fn sixty_four_hits_at_once_make_one_event(engine: &Engine) {
        let desk = Desk::build(engine, AgentSettings::default()).await;
        let copy = desk.delivered(&["reader@example.com"]).await[0];
        desk.pass(4_000);
        let desk = Arc::new(desk);
        let at_once: Vec<_> = (0..64).map(|_| {
            let desk = desk.clone();
            tokio::spawn(async move { desk.hit(copy, Some(2), HOME, &[]).await })
        }).collect();
        for hit in at_once {
            hit.await.unwrap();
        }
        assert_eq!(desk.verdicts(copy).await.len(), 64);
        desk.pass(60);
        assert_eq!(desk.told().await, [EventKind::Clicked]);
        let [_, clicks] = desk.node.store.hit_figures(copy.message).await.unwrap();
        assert_eq!((clicks.all, clicks.unique, clicks.unique_by_people), (64, 1, 1));
    }

    async fn an_agent_that_wants_counts_alone_gets_counts_alone(engine: &Engine) {
        let settings = AgentSettings { privacy: Privacy::AggregateOnly, ..AgentSettings::default() };
        let desk = Desk::build(engine, settings).await;
        let copy = desk.delivered(&["reader@example.com"]).await[0];
        desk.pass(4_000);
        desk.hit(copy, Some(1), HOME, &[]).await;
        desk.hit(copy, None, HOME, &[]).await;
        assert_eq!(desk.verdicts(copy).await, []);
        desk.pass(60);
        assert_eq!(desk.told().await, []);
        let counts = desk.node.store.hit_counts(desk.node.tenant, None, START).await.unwrap();
        let found: Vec<_> = counts.iter().map(|of| (of.kind, of.who, of.hits)).collect();
        assert_eq!(found, [(HitKind::Click, Who::Person, 1), (HitKind::Open, Who::Person, 1)]);
    }

    async fn a_durable_agents_readers_are_answered_when_their_hits_are_written(engine: &Engine) {
        let settings = AgentSettings { durable_hits: true, ..AgentSettings::default() };
        let desk = Desk::build(engine, settings).await;
        desk.intake.refresh().await.unwrap();
        let copy = desk.delivered(&["reader@example.com"]).await[0];
        desk.pass(4_000);
        for answered in 1..=20 {
            desk.hit(copy, Some(1), HOME, &[]).await;
            assert_eq!(desk.node.store.hits(copy).await.unwrap().len(), answered);
        }
        // Nothing will ever be written for a mail that is gone.
        let gone = DeliveryId { recipient: 9, ..copy };
        desk.hit(gone, Some(1), HOME, &[]).await;
        assert_eq!(desk.intake.hits_answered_unsafe(), 0);
    }

    async fn who_objects_is_counted_and_not_described(engine: &Engine) {
        let desk = Desk::build(engine, AgentSettings::default()).await;
        let copy = desk.delivered(&["reader@example.com"]).await[0];
        desk.pass(4_000);
        desk.hit(copy, Some(1), HOME, &[("sec-gpc", "1")]).await;
        desk.intake.drain().await;
        let hit = desk.node.store.hits(copy).await.unwrap().remove(0);
        assert_eq!((hit.visitor.place, hit.visitor.user_agent.as_str()), (Default::default(), ""));
        desk.pass(60);
        assert_eq!(desk.told().await, [EventKind::Clicked]);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn people_are_kept_and_bursts_are_caught() {
    let plans = crowd::crowd(7, 20);
    let judged = crowd::play(&plans).await;
    let figures = crowd::figures(&plans, &judged);
    let machines = |model: &str| share(figures[&(model, false)]);
    assert!(share(crowd::people(&figures)) >= 99.0, "people kept: {figures:?}");
    assert!(machines("gateway burst") >= 98.0, "bursts caught: {figures:?}");
    assert!(machines("defender, network known") >= 98.0, "servers for hire, soon after delivery: {figures:?}");
    assert!(machines("apple mpp") >= 100.0, "prefetchers known: {figures:?}");
    // One link after the other in a true browser: nothing tells it from a person.
    assert!(machines("slow scanner") < 20.0, "slow scanners are not told apart: {figures:?}");
}

/// Per cent.
fn share(figure: crowd::Figure) -> f64 {
    100.0 * f64::from(figure.right) / f64::from(figure.all.max(1))
}

/// A PostgreSQL of the test's own, which it may stop.
struct Cluster {
    child: Child,
    orders: ChildStdin,
    answers: BufReader<ChildStdout>,
    url: String,
}

impl Cluster {
    fn start() -> Self {
        let words =
            r#"echo "$POSTBACK_TEST_POSTGRES"; while read -r order; do "${order}_server" && echo "$order"; done"#;
        let script = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/postgres");
        let mut command = Command::new(script);
        command.args(["bash", "-c", words]).stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut child = command.spawn().unwrap();
        let orders = child.stdin.take().unwrap();
        let mut answers = BufReader::new(child.stdout.take().unwrap());
        let mut url = String::new();
        answers.read_line(&mut url).unwrap();
        let url = url.trim().to_owned();
        Self { child, orders, answers, url }
    }

    /// `stop` or `start`; returns when it is done.
    fn order(&mut self, order: &str) {
        writeln!(self.orders, "{order}").unwrap();
        let mut answer = String::new();
        self.answers.read_line(&mut answer).unwrap();
        assert_eq!(answer.trim(), order);
    }

    fn end(self) {
        drop(self.orders);
        let mut child = self.child;
        child.wait().unwrap();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn links_work_while_postgresql_is_stopped_and_no_hit_is_lost() {
    check_outage("durable_hits=false").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn durable_hits_are_in_the_journal_before_they_are_answered_while_postgresql_is_stopped() {
    check_outage("durable_hits=true").await;
}

async fn check_outage(setting: &str) {
    let mut cluster = Cluster::start();
    let folder = tempfile::tempdir().unwrap();
    let database = ["--database".to_owned(), cluster.url.clone()];
    let database: Vec<&str> = database.iter().map(String::as_str).collect();
    let agent = Agent::start(folder.path(), &database);
    let key = agent.credential("API key");
    printed(folder.path(), &[&["agent", "set", setting], &database[..]].concat());
    assert!(agent.stop().success());
    let agent = Agent::start(folder.path(), &[&database[..], &PATIENT].concat());
    let message = mail_with_a_link(&agent, &key);
    let shown = printed(folder.path(), &[&["why", "--links", &message.to_string()], &database[..]].concat());
    let (pixel, link) = (path_of(&shown, "o"), path_of(&shown, "c"));
    let door = agent.address("http");

    cluster.order("stop");
    let journal = folder.path().join("data/hits.journal");
    let journaled = || std::fs::read(&journal).map_or(0, |bytes| bytes.iter().filter(|byte| **byte == b'\n').count());
    for request in 1..=3 {
        let redirect = get(door, &link);
        assert!(redirect.starts_with("HTTP/1.1 302") && redirect.contains("https://example.com/"), "{redirect}");
        assert!(get(door, &pixel).starts_with("HTTP/1.1 200"));
        assert!(setting.ends_with("false") || journaled() == 2 * request);
    }
    assert!(ask(door, &format!("HEAD {link}"), &[], "").unwrap().starts_with("HTTP/1.1 302"));
    while journaled() < 6 {
        tokio::task::yield_now().await;
    }
    agent.kill();
    cluster.order("start");

    let agent = Agent::start(folder.path(), &database);
    let store = onlooker(&cluster.url, folder.path()).await;
    let copy = DeliveryId { message, recipient: 0 };
    while store.hits(copy).await.unwrap().len() < 6 || journal.exists() {
        tokio::task::yield_now().await;
    }
    // Of two hits in one millisecond either may stand first.
    let clicks = store.hits(copy).await.unwrap().into_iter().filter(|hit| hit.kind == HitKind::Click).count();
    assert_eq!(clicks, 3);
    store.close().await;
    assert!(agent.stop().success());
    cluster.end();
}

/// However slow the machine is, no reader is let go before the hit is safe.
const PATIENT: [&str; 2] = ["--set", "tracking.durable_wait_seconds=3600"];

/// Hands in a mail with one link, which leads through the door that is open now.
fn mail_with_a_link(agent: &Agent, key: &str) -> MessageId {
    let mail = r#"{"from":"a@example.com","to":"reader@example.com","subject":"s","html":"<a href=\"https://example.com/\">x</a>"}"#;
    let sent = post(agent.address("http"), "/api/v1/emails", key, mail).unwrap();
    let sent: serde_json::Value = serde_json::from_str(sent.split_once("\r\n\r\n").unwrap().1).unwrap();
    sent["id"].as_str().unwrap().parse().unwrap()
}

/// The first tracked path of this kind in what `why --links` has shown.
fn path_of(shown: &str, kind: &str) -> String {
    let at = shown.find(&format!("/{kind}/")).unwrap();
    shown[at..].split_whitespace().next().unwrap().to_owned()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn kills_lose_no_hit_that_a_durable_agents_reader_was_answered_for() {
    const KILLS: usize = 5;
    const READERS: usize = 8;
    let folder = tempfile::tempdir().unwrap();
    let agent = Agent::start(folder.path(), &[]);
    let key = agent.credential("API key");
    printed(folder.path(), &["agent", "set", "durable_hits=true"]);
    assert!(agent.stop().success());
    let mut rounds: Vec<(MessageId, usize)> = Vec::new();
    for kill in 1..=KILLS {
        let agent = Agent::start(folder.path(), &PATIENT);
        let message = mail_with_a_link(&agent, &key);
        let link = path_of(&printed(folder.path(), &["why", "--links", &message.to_string()]), "c");
        let door = agent.address("http");
        let (told, answers) = std::sync::mpsc::channel();
        for _ in 0..READERS {
            let (told, link) = (told.clone(), link.clone());
            std::thread::spawn(move || {
                let follow = || ask(door, &format!("GET {link}"), &[], "");
                while follow().is_ok_and(|answer| answer.starts_with("HTTP/1.1 302")) && told.send(()).is_ok() {}
            });
        }
        drop(told);
        let answered = answers.iter().take(20 * kill).count();
        assert_eq!(answered, 20 * kill, "{}", agent.log());
        agent.kill();
        rounds.push((message, answered + answers.iter().count()));
    }
    let store = onlooker(&format!("sqlite:{}", folder.path().join("data/postback.db").display()), folder.path()).await;
    for (message, answered) in rounds {
        let [_, clicks] = store.hit_figures(message).await.unwrap();
        assert!(clicks.all >= answered as u64, "{answered} were answered, {} are recorded", clicks.all);
    }
    store.close().await;
}

async fn onlooker(url: &str, folder: &std::path::Path) -> Store {
    let (url, holder) = (url.to_owned(), "onlooker".to_owned());
    let (content_dir, master) = (folder.join("content"), MASTER_KEY);
    let options =
        Options { url, content_dir, holder, handoff: 0, master, sync: Sync::Full, answer_within: ANSWER_WITHIN };
    Store::open(options, Clock::system()).await.unwrap()
}
