//! Nothing that was promised is lost: `kill -9` under load, and power cuts.
//!
//! The ledger is outside of the program: what a client has read a 250 or 201 for. A kill shows that promises come after
//! commits and that a restart finds them. It is blind to a missing fsync, since the operating system keeps unsynced
//! writes; so `tests/power/shim.c` keeps the image of a disk that lost them, and the program is started on that. The
//! same run with `synchronous=NORMAL` must lose mail, or the test could not fail.

use std::collections::HashMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::mpsc::{Sender, channel};
use std::thread::JoinHandle;

use postback::clock::Clock;
use postback::model::delivery::State;
use postback::model::id::MessageId;
use postback::store::Store;
use postback::store::db::{ANSWER_WITHIN, Options, Sync};

use crate::support::agent::{Agent, post};
use crate::support::engines::MASTER_KEY;
use crate::support::submitter::Submitter;

const KILLS: u64 = 20;
const CUTS: u64 = 10;
const CLIENTS: usize = 4;

/// Repeatable choices (SplitMix64).
struct Draw(u64);

impl Draw {
    fn below(&mut self, limit: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut x = self.0;
        x = (x ^ (x >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        x = (x ^ (x >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (x ^ (x >> 31)) % limit
    }
}

/// What a client was promised: the message, and the last bytes of its content.
type Promise = (MessageId, String);

/// Starts clients that submit until the program is gone; they tell of every promise.
fn load(agent: &Agent, key: &str, seed: u64, promised: &Sender<Promise>) -> Vec<JoinHandle<()>> {
    let client = |number: usize| {
        let (smtp, http, key, promised) =
            (agent.address("smtp"), agent.address("http"), key.to_owned(), promised.clone());
        let mut draw = Draw(seed * 1000 + number as u64);
        std::thread::spawn(move || {
            let Ok(mut session) = Submitter::sign_in(smtp, &key) else { return };
            for count in 0.. {
                let mark = format!("mark-{seed}-{number}-{count}");
                let answer = match draw.below(10) {
                    0 => post(http, "/api/v1/emails", &key, &json(&mark)),
                    1 => session.submit("reader@example.com", mail(300 * 1024, &mark).as_bytes()),
                    2..=5 => session.submit("reader@example.com", mail(1024, &mark).as_bytes()),
                    _ => session.submit_pipelined("reader@example.com", mail(1024, &mark).as_bytes()),
                };
                let Some(id) = answer.ok().as_deref().and_then(message_id) else { return };
                if promised.send((id, mark)).is_err() {
                    return;
                }
            }
        })
    };
    (0..CLIENTS).map(client).collect()
}

fn mail(bytes: usize, mark: &str) -> String {
    let line = "all work and no play makes a dull mail\r\n";
    let text = line.repeat(bytes / line.len());
    format!("From: app@tests.example\r\nTo: reader@example.com\r\nSubject: {mark}\r\n\r\n{text}{mark}\r\n")
}

fn json(mark: &str) -> String {
    format!(r#"{{"from":"app@tests.example","to":"reader@example.com","subject":"{mark}","text":"{mark}"}}"#)
}

/// The id in `250 2.0.0 … msg_…` or in a JSON answer.
fn message_id(answer: &str) -> Option<MessageId> {
    let start = answer.find(MessageId::PREFIX)?;
    answer.get(start..start + MessageId::PREFIX.len() + 32)?.parse().ok()
}

/// Runs the program under load until `enough` promises were given, and kills it; the promises.
fn killed_after(agent: Agent, key: &str, seed: u64, enough: u64) -> Vec<Promise> {
    let (sender, receiver) = channel();
    let clients = load(&agent, key, seed, &sender);
    drop(sender);
    let mut promises: Vec<Promise> = (0..enough).map_while(|_| receiver.recv().ok()).collect();
    assert_eq!(promises.len() as u64, enough, "the program ended by itself: {}", agent.log());
    agent.kill();
    promises.extend(receiver);
    for client in clients {
        client.join().unwrap();
    }
    promises
}

async fn open(data: &Path) -> Store {
    let options = Options {
        url: format!("sqlite:{}", data.join("postback.db").display()),
        content_dir: data.join("content"),
        holder: "after".into(),
        handoff: 0,
        master: MASTER_KEY,
        sync: Sync::Full,
        answer_within: ANSWER_WITHIN,
    };
    Store::open(options, Clock::system()).await.unwrap()
}

/// How many of these promises the store in `data` does not keep.
async fn lost(data: &Path, promises: &[Promise]) -> usize {
    let store = open(data).await;
    let mut lost = 0;
    for (id, mark) in promises {
        let content = store.content(*id).await.unwrap_or(None).unwrap_or_default();
        let is_whole = content.trim_ascii_end().ends_with(mark.as_bytes());
        let is_queued = store.deliveries(*id).await.unwrap().len() == 1 && store.message(*id).await.unwrap().is_some();
        lost += usize::from(!is_whole || !is_queued);
    }
    store.close().await;
    lost
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn twenty_kills_lose_nothing_and_all_is_delivered() {
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path().join("data");
    let mut draw = Draw(1);
    let mut key = String::new();
    let mut promises: HashMap<MessageId, String> = HashMap::new();
    for kill in 0..KILLS {
        let agent = Agent::start(folder.path(), &[]);
        if kill == 0 {
            key = agent.credential("API key");
        }
        promises.extend(killed_after(agent, &key, kill, 5 + draw.below(60)));
    }
    let promises: Vec<Promise> = promises.into_iter().collect();
    assert_eq!(lost(&data, &promises).await, 0, "of {}", promises.len());

    // What a dead run had leased comes due when its leases end, which is the first thing that moving time shows.
    let clock = Clock::system();
    clock.advance(postback::model::retry::LEASE);
    let options = Options {
        url: format!("sqlite:{}", data.join("postback.db").display()),
        content_dir: data.join("content"),
        holder: "after".into(),
        handoff: 0,
        master: MASTER_KEY,
        sync: Sync::Full,
        answer_within: ANSWER_WITHIN,
    };
    let store = Store::open(options, clock).await.unwrap();
    let mut queued = 0;
    for (id, _) in &promises {
        queued += usize::from(store.deliveries(*id).await.unwrap()[0].delivery.state == State::Queued);
    }
    let mut leased = 0;
    loop {
        match store.lease_deliveries(500).await.unwrap().len() {
            0 => break,
            more => leased += more,
        }
    }
    assert!(leased >= queued, "{leased} of {queued} came due");
    println!("{KILLS} kills: {} promised, 0 lost, {queued} in flight at the end", promises.len());
}

/// The shim, compiled into `folder`.
fn shim(folder: &Path) -> PathBuf {
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/power/shim.c");
    let library = folder.join("shim.so");
    let mut compiler = Command::new("cc");
    compiler.args(["-shared", "-fPIC", "-O1", "-o"]).arg(&library).arg(source).args(["-ldl", "-lpthread"]);
    assert!(compiler.status().unwrap().success(), "the shim does not compile");
    library
}

/// Runs the program on a disk that forgets what was not synced, cuts the power, and counts what was promised and lost.
async fn power_cut(seed: u64, sync: &str) -> (usize, usize) {
    let folder = tempfile::tempdir().unwrap();
    let (data, image) = (folder.path().join("data"), folder.path().join("image"));
    for part in ["inode", "names"] {
        fs::create_dir_all(image.join(part)).unwrap();
    }
    let environment = [
        ("LD_PRELOAD", shim(folder.path())),
        ("POSTBACK_POWER_FOLDER", data.clone()),
        ("POSTBACK_POWER_IMAGE", image.clone()),
        ("POSTBACK_POWER_SEED", seed.to_string().into()),
    ];
    let agent = Agent::start_with(folder.path(), &["--set", &format!("sync={sync}")], &environment);
    let key = agent.credential("API key");
    let promises = killed_after(agent, &key, seed, 20 + Draw(seed).below(100));
    let survived = folder.path().join("survived");
    restore(&data, &image, &survived);
    let lost = lost(&survived, &promises).await;
    (promises.len(), lost)
}

/// Builds what a disk would hold: the names as last synced, each with its content as last synced.
fn restore(data: &Path, image: &Path, to: &Path) {
    for list in fs::read_dir(image.join("names")).unwrap() {
        let list = list.unwrap().path();
        let folder = list.file_name().unwrap().to_string_lossy().replace('%', "/");
        let Ok(inside) = Path::new(&folder).strip_prefix(data) else { continue };
        fs::create_dir_all(to.join(inside)).unwrap();
        for line in fs::read_to_string(&list).unwrap().lines() {
            let (inode, name) = line.split_once(' ').unwrap();
            let content = fs::read(image.join("inode").join(inode)).unwrap_or_default();
            // The shared memory of SQLite's WAL is not kept over a restart by any disk.
            if !name.ends_with("-shm") {
                fs::write(to.join(inside).join(name), content).unwrap();
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn power_cuts_lose_nothing() {
    let mut promised = 0;
    for seed in 1..=CUTS {
        let (count, lost) = power_cut(seed, "full").await;
        assert_eq!(lost, 0, "of {count}, with seed {seed}");
        promised += count;
    }
    println!("{CUTS} power cuts: {promised} promised, 0 lost");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_syncs_power_cuts_lose_mail() {
    let mut all_lost = 0;
    for seed in 1..=3 {
        all_lost += power_cut(seed, "normal").await.1;
    }
    assert!(all_lost > 0, "the shim forgets nothing: the test beside this one could not fail");
}
