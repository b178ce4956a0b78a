//! A PostgreSQL that falls silent: its host is gone, and no connection says so.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use postback::model::message::Tracking;
use postback::store::StoreError;
use postback::store::db::Options;
use tempfile::TempDir;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::unix::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{UnixListener, UnixStream};

use crate::support::engines::Engine;
use crate::support::node::{CONTENT, Node};

/// PostgreSQL's name for its socket in a folder.
const SOCKET: &str = ".s.PGSQL.5432";
/// Long enough for a busy machine.
const ANSWER_WITHIN: Duration = Duration::from_secs(3);

/// Stands before a PostgreSQL and passes on what is said.
struct Middle {
    folder: TempDir,
    mood: Arc<Mood>,
}

#[derive(Default)]
struct Mood {
    /// Nothing is passed on any more.
    is_silent: AtomicBool,
    /// Commits are passed on, their answers are not.
    loses_answers: AtomicBool,
}

impl Middle {
    fn before(engine: &Engine) -> Self {
        let (folder, mood) = (tempfile::tempdir().unwrap(), Arc::<Mood>::default());
        let listener = UnixListener::bind(folder.path().join(SOCKET)).unwrap();
        let server = folder_of(engine).join(SOCKET);
        tokio::spawn({
            let mood = mood.clone();
            async move {
                while let Ok((client, _)) = listener.accept().await {
                    let server = UnixStream::connect(&server).await.unwrap();
                    let ((from_client, to_client), (from_server, to_server)) =
                        (client.into_split(), server.into_split());
                    let is_mute = Arc::<AtomicBool>::default();
                    tokio::spawn(pass(from_client, to_server, mood.clone(), is_mute.clone(), true));
                    tokio::spawn(pass(from_server, to_client, mood.clone(), is_mute, false));
                }
            }
        });
        Self { folder, mood }
    }

    /// How a store is opened through it.
    fn options(&self, engine: &Engine) -> Options {
        let mut url = url::Url::parse(engine.url()).unwrap();
        let host = self.folder.path().display().to_string();
        url.query_pairs_mut().clear().append_pair("host", &host).append_pair("user", "postgres");
        let options = engine.options("node-1");
        Options { url: url.into(), handoff: 8, answer_within: ANSWER_WITHIN, ..options }
    }
}

/// Where the cluster's socket is.
fn folder_of(engine: &Engine) -> PathBuf {
    let url = url::Url::parse(engine.url()).unwrap();
    let (_, host) = url.query_pairs().find(|(name, _)| name == "host").unwrap();
    host.into_owned().into()
}

async fn pass(
    mut from: OwnedReadHalf,
    mut to: OwnedWriteHalf,
    mood: Arc<Mood>,
    is_mute: Arc<AtomicBool>,
    is_client: bool,
) {
    let mut bytes = vec![0; 64 * 1024];
    while let Ok(count @ 1..) = from.read(&mut bytes).await {
        let said = &bytes[..count];
        let is_commit = is_client && said.windows(7).any(|word| word == b"commit\0");
        let is_silent = mood.is_silent.load(Ordering::SeqCst);
        if is_silent || (is_commit && mood.loses_answers.load(Ordering::SeqCst)) {
            is_mute.store(true, Ordering::SeqCst);
        }
        if (is_silent || !is_commit) && is_mute.load(Ordering::SeqCst) {
            continue;
        }
        if to.write_all(said).await.is_err() {
            return;
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_host_that_falls_silent_is_away_until_it_is_back() {
    let engine = Engine::postgres().await;
    let middle = Middle::before(&engine);
    let node = Node::open(middle.options(&engine), Default::default()).await;
    let before = node.accept(&["a@example.com"]).await;

    middle.mood.is_silent.store(true, Ordering::SeqCst);
    let plan = node.plan(&["b@example.com"], CONTENT, Tracking::default());
    let refused = plan.message.id;
    let (accepted, read) = tokio::join!(node.store.accept(plan), node.store.content(before));
    assert!(matches!(accepted, Err(StoreError::Unavailable(_))), "{accepted:?}");
    assert!(matches!(read, Err(StoreError::Unavailable(_))), "{read:?}");

    middle.mood.is_silent.store(false, Ordering::SeqCst);
    while node.store.content(before).await.is_err() {}
    assert!(node.store.content(refused).await.unwrap().is_none());
    node.accept(&["b@example.com"]).await;
    node.store.close().await;
    engine.remove().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_commit_whose_answer_is_lost_is_found() {
    let engine = Engine::postgres().await;
    let middle = Middle::before(&engine);
    let node = Node::open(middle.options(&engine), Default::default()).await;
    let mut handed = node.store.take_handoff().await.unwrap();
    node.accept(&["a@example.com"]).await;
    handed.recv().await.unwrap();

    middle.mood.loses_answers.store(true, Ordering::SeqCst);
    let kept = node.accept(&["b@example.com"]).await;
    middle.mood.loses_answers.store(false, Ordering::SeqCst);
    assert_eq!(handed.recv().await.unwrap().delivery.id.message, kept);
    assert_eq!(node.store.content(kept).await.unwrap().unwrap(), CONTENT);
    node.store.close().await;
    engine.remove().await;
}
