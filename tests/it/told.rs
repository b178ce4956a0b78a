//! No event is lost on its way to a webhook: not when the program is killed again and again, not while the receiver is
//! away, and not because another receiver misbehaves.
//!
//! The ledger is the receiver's: whatever the store knows to have happened must have reached it, under the same id each
//! time. The program runs for true while it is killed; the outage passes in the test's own time.

use std::collections::{HashMap, HashSet};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::thread::JoinHandle;
use std::time::Duration;

use postback::clock::Clock;
use postback::model::event::EventKind;
use postback::model::id::{EventId, TenantId, WebhookId};
use postback::model::retry::LEASE;
use postback::model::secret::Secret;
use postback::model::webhook::{DispatchState, Webhook};
use postback::model::webhook_options::AT_ONCE_MAX;
use postback::store::Store;
use postback::store::db::{ANSWER_WITHIN, Options, Sync};
use postback::store::dispatches::Lane;
use postback::webhooks::client::Limits;
use postback::webhooks::{Counters, Settings};
use serde_json::Value;

use crate::scripted_receiver::{Answer, Receiver};
use crate::support::agent::{Agent, post};
use crate::support::engines::{MASTER_KEY, on_both_engines};
use crate::support::node::{Node, START};
use crate::support::telling::{tell, tell_within};

const KILLS: usize = 20;
const CLIENTS: usize = 3;
const AWHILE: Duration = Duration::from_secs(60);
/// How far the clock moves at a time.
const STEP: Duration = Duration::from_secs(30);
const OUTAGE: Duration = Duration::from_secs(600);

/// Sends mail until the program is gone.
fn load(agent: &Agent, key: &str) -> Vec<JoinHandle<()>> {
    let client = |number: usize| {
        let (http, key) = (agent.address("http"), key.to_owned());
        let body = format!(r#"{{"from":"app@tests.example","to":"r{number}@example.com","subject":"x","text":"x"}}"#);
        std::thread::spawn(move || while post(http, "/api/v1/emails", &key, &body).is_ok() {})
    };
    (0..CLIENTS).map(client).collect()
}

async fn open(data: &Path, clock: &Clock) -> Store {
    let options = Options {
        url: format!("sqlite:{}", data.join("postback.db").display()),
        content_dir: data.join("content"),
        holder: "after".into(),
        handoff: 0,
        master: MASTER_KEY,
        sync: Sync::Full,
        answer_within: ANSWER_WITHIN,
    };
    Store::open(options, clock.clone()).await.unwrap()
}

/// Tells what is due now, and nothing else.
async fn tell_what_is_due(store: &Store, clock: &Clock, counters: &Arc<Counters>) {
    let running = tell(store, clock, counters, &Settings::default());
    for lane in [Lane::Fresh, Lane::Retry] {
        while store.next_dispatch_due(lane).await.unwrap().is_some_and(|due| due <= clock.now()) {
            tokio::task::yield_now().await;
        }
    }
    running.drain(AWHILE).await;
}

/// The attempts at events that a run had begun, or was about to, and had not settled when it was killed.
async fn cut_off(data: &Path, webhook: &str) -> Vec<(EventId, u32)> {
    let store = open(data, &Clock::system()).await;
    let (webhook, queued) = (webhook.parse().unwrap(), Some(DispatchState::Queued));
    let left = store.webhook_dispatches(webhook, queued, None, 100_000).await.unwrap();
    store.close().await;
    left.into_iter().filter(|left| left.attempts > 0).map(|left| (left.id.event, left.attempts)).collect()
}

/// How often each event was posted, by its id, after the first so many requests.
fn posted(receiver: &Receiver, after: usize) -> HashMap<EventId, usize> {
    let mut times = HashMap::new();
    for posted in receiver.posted().into_iter().skip(after) {
        let body: Value = serde_json::from_str(&posted.body).unwrap();
        assert_eq!(posted.headers["webhook-id"], body["id"].as_str().unwrap());
        *times.entry(body["id"].as_str().unwrap().parse().unwrap()).or_default() += 1;
    }
    times
}

/// All that happened, as the store has it.
async fn happened(store: &Store, tenant: TenantId) -> HashSet<EventId> {
    let (mut all, mut before) = (HashSet::new(), None);
    loop {
        let page = store.messages(tenant, before, 500).await.unwrap();
        let Some(last) = page.last() else { return all };
        before = Some(last.id);
        for message in page {
            all.extend(store.events_of(message.id).await.unwrap().iter().map(|event| event.id));
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn twenty_kills_and_an_outage_lose_no_event() {
    let folder = tempfile::tempdir().unwrap();
    let receiver = Receiver::start().await;
    let (mut key, mut webhook) = (String::new(), String::new());
    let mut cuts = HashSet::new();
    for kill in 0..KILLS {
        let agent = Agent::start(folder.path(), &[]);
        if kill == 0 {
            key = agent.credential("API key");
            let body = format!(r#"{{"url":"{}","events":["sent","delivered"]}}"#, receiver.url("/hook"));
            let added = post(agent.address("http"), "/api/v1/webhooks", &key, &body).unwrap();
            let added: Value = serde_json::from_str(added.split_once("\r\n\r\n").unwrap().1).unwrap();
            webhook = added["id"].as_str().unwrap().to_owned();
        }
        let clients = load(&agent, &key);
        let enough = receiver.count() + 5 + kill * 13 % 47;
        while receiver.count() < enough {
            receiver.next().await;
        }
        agent.kill();
        clients.into_iter().for_each(|client| client.join().unwrap());
        cuts.extend(cut_off(&folder.path().join("data"), &webhook).await);
    }

    // What a dead run had leased comes due when its leases end.
    let clock = Clock::standing(Clock::system().now() + LEASE);
    let store = open(&folder.path().join("data"), &clock).await;
    let tenant = store.tenant("default").await.unwrap().unwrap().id;
    let webhook: WebhookId = webhook.parse().unwrap();
    let counters = Arc::<Counters>::default();
    let in_flight = store.dispatches_waiting(webhook, 100_000).await.unwrap();
    let before_outage = receiver.count();
    receiver.always_answer("/hook", Answer::Closed);
    let back_at = clock.now() + OUTAGE;
    while clock.now() < back_at {
        tell_what_is_due(&store, &clock, &counters).await;
        clock.advance(STEP);
    }
    let failed = counters.failed.load(Ordering::Relaxed);
    assert!(in_flight == 0 || failed > 0, "{in_flight} waited, and none failed");
    let after_outage = receiver.count();
    receiver.always_answer("/hook", Answer::Status(200, ""));
    while store.dispatches_waiting(webhook, 1).await.unwrap() > 0 {
        tell_what_is_due(&store, &clock, &counters).await;
        clock.advance(STEP);
    }

    let (told, happened) = (posted(&receiver, 0), happened(&store, tenant).await);
    let lost = happened.iter().filter(|event| !told.contains_key(event)).count();
    assert_eq!(lost, 0, "of {}", happened.len());
    assert!(told.keys().all(|event| happened.contains(event)), "what never happened was told");

    // Told again is only what was in flight at a kill, once for each: under way, or answered and not yet written down.
    let (mut taken, during, after) = (told, posted(&receiver, before_outage), posted(&receiver, after_outage));
    for (event, times) in taken.iter_mut() {
        let refused = during.get(event).unwrap_or(&0) - after.get(event).unwrap_or(&0);
        *times -= refused;
        let in_flight = cuts.iter().filter(|(cut, _)| cut == event).count();
        assert!(*times <= 1 + in_flight, "{event} was told {times} times, and was in flight at {in_flight} kills");
    }
    let duplicates = taken.values().sum::<usize>() - taken.len();
    assert!(duplicates <= KILLS * usize::from(AT_ONCE_MAX), "{duplicates} duplicates");
    println!(
        "{KILLS} kills and an outage: {} events, 0 lost, {duplicates} told twice, {failed} failed",
        happened.len()
    );
}

/// The most memory that this process has held, in KiB.
fn memory_peak_kib() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap();
    line.trim().trim_end_matches(" kB").parse().unwrap()
}

on_both_engines! {
    async fn receivers_that_misbehave_cost_the_others_nothing(engine: &Engine) {
        const EVENTS: usize = 40;
        let misdeeds = [
            ("/fails", Answer::Status(500, "")),
            ("/moves", Answer::Status(302, "Location: http://169.254.169.254/\r\n")),
            ("/closes", Answer::Closed),
            ("/hangs", Answer::Silent),
            ("/trickles", Answer::Trickle),
            ("/floods", Answer::Flood),
        ];
        let node = Node::build(engine, 0, Default::default()).await;
        let receiver = Receiver::start().await;
        let mut webhooks = HashMap::new();
        for path in misdeeds.iter().map(|(path, _)| *path).chain(["/good"]) {
            let id = WebhookId::from_uuid(node.ids.uuid(START));
            let events = [EventKind::Sent].into_iter().collect();
            let secret = Secret::new("secret");
            let webhook = Webhook { events, secret, ..Webhook::new(id, node.tenant, receiver.url(path), START) };
            node.store.add_webhook(webhook).await.unwrap();
            webhooks.insert(path, id);
        }
        for (path, answer) in misdeeds.clone() {
            receiver.always_answer(path, answer);
        }
        let recipients: Vec<String> = (0..EVENTS).map(|number| format!("r{number}@example.com")).collect();
        let recipients: Vec<&str> = recipients.iter().map(String::as_str).collect();
        let before = memory_peak_kib();
        let counters = Arc::default();
        let limits = Limits { total: Duration::from_secs(1), ..Limits::default() };
        let running = tell_within(limits, &node.store, &node.clock, &counters, &Settings::default());
        node.accept(&recipients).await;
        let state = |path: &'static str, state| {
            let (store, webhook) = (node.store.clone(), webhooks[path]);
            async move { store.webhook_dispatches(webhook, Some(state), None, 1000).await.unwrap().len() }
        };
        while state("/good", DispatchState::Arrived).await < EVENTS {
            tokio::task::yield_now().await;
        }
        // Those that answer 200 and then go wrong have answered; what else they say is cut off.
        for path in ["/trickles", "/floods"] {
            while state(path, DispatchState::Arrived).await < EVENTS {
                tokio::task::yield_now().await;
            }
        }
        running.drain(AWHILE).await;
        for (path, _) in misdeeds {
            let waiting = state(path, DispatchState::Queued).await;
            let arrived = state(path, DispatchState::Arrived).await;
            assert_eq!(waiting + arrived, EVENTS, "{path}: none is dropped");
        }
        // That many bodies of 10 GB.
        let grown = memory_peak_kib() - before;
        assert!(grown < 64 * 1024, "{grown} KiB more");
    }
}
