//! Plays planned hits against the whole program.

use std::collections::HashMap;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use postback::app::{App, World};
use postback::clock::Clock;
use postback::config::Settings;
use postback::dns;
use postback::ids::IdSource;
use postback::model::hit::{HitKind, Who};
use postback::model::id::DeliveryId;
use postback::model::seal::MasterKey;
use postback::model::secret::Secret;
use postback::model::time::Timestamp;
use postback::model::token::{Reference, Sealer};
use postback::store::Store;
use postback::store::db::{ANSWER_WITHIN, Options, Sync};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use super::{Headers, LINKS, Plan};

/// What secrets in the database are sealed with.
const MASTER_KEY: &str = "BwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwc=";

/// When the crowd's mail is delivered.
const DELIVERED: Timestamp = Timestamp::from_millis(1_772_439_300_000);

/// Plays the crowd; who each hit was judged to be in the end.
pub async fn play(plans: &[Plan]) -> Vec<Who> {
    let folder = tempfile::tempdir().unwrap();
    let clock = Clock::standing(DELIVERED);
    let mut settings = Settings { data: folder.path().to_owned(), ..Settings::default() };
    let database = format!("sqlite:{}", folder.path().join("postback.db").display());
    settings.database = database.clone().into();
    settings.master_key = Secret::new(MASTER_KEY);
    // What a crash would cost is not asked here.
    settings.sync = Sync::Normal;
    let any = SocketAddr::from(([127, 0, 0, 1], 0));
    (settings.smtp.listeners, settings.http.address, settings.admin.address) = (Vec::new(), any, any);
    settings.http.trusted_proxies = vec!["127.0.0.1".parse().unwrap()];
    settings.reports.return_path_domain = "bounces.example.com".into();
    let resolver = Arc::new(dns::Table::new());
    let app = App::start(&settings, World { clock: clock.clone(), ids: IdSource::seeded(7), resolver }).await.unwrap();
    let door = app.addresses.of("http").unwrap();
    let key = app.first_run.as_ref().unwrap().api_key.reveal().to_owned();

    let mut wire = Wire::open(door).await;
    let readers = plans.iter().map(|plan| plan.reader).max().map_or(0, |last| last + 1);
    let mut copies = Vec::with_capacity(readers);
    for reader in 0..readers {
        copies.push(wire.send(reader, &key).await);
    }
    while app.store().queue_counts().await.unwrap().deliveries > 0 {
        tokio::task::yield_now().await;
    }
    let ring = app.store().key_ring([0; 32]).await.unwrap();
    let sealer = Sealer::new(&ring, ring.newest().unwrap(), &door.to_string()).unwrap();
    for plan in plans {
        let at = DELIVERED + Duration::from_millis(plan.millis);
        clock.advance(at.since(clock.now()));
        wire.look(plan, &sealer, copies[plan.reader]).await;
    }
    app.stop().await;
    let (url, content_dir, holder) = (database, folder.path().join("content"), "onlooker".to_owned());
    let master = MasterKey::from_text(MASTER_KEY).unwrap();
    let options =
        Options { url, content_dir, holder, handoff: 0, master, sync: Sync::Normal, answer_within: ANSWER_WITHIN };
    judged(&Store::open(options, clock).await.unwrap(), plans, &copies).await
}

async fn judged(store: &Store, plans: &[Plan], copies: &[DeliveryId]) -> Vec<Who> {
    let mut verdicts: HashMap<(usize, HitKind, u16, Timestamp), Who> = HashMap::new();
    for (reader, copy) in copies.iter().enumerate() {
        for hit in store.hits(*copy).await.unwrap() {
            verdicts.insert((reader, hit.kind, hit.link, hit.at), hit.visitor.machine.verdict);
        }
    }
    let key = |plan: &Plan| (plan.reader, plan.kind, plan.link, DELIVERED + Duration::from_millis(plan.millis));
    plans.iter().map(|plan| verdicts[&key(plan)]).collect()
}

/// A connection on which one request follows the other.
struct Wire {
    stream: TcpStream,
    door: SocketAddr,
}

impl Wire {
    async fn open(door: SocketAddr) -> Self {
        let stream = TcpStream::connect(door).await.unwrap();
        stream.set_nodelay(true).unwrap();
        Self { stream, door }
    }

    /// Hands in a mail to one reader; its copy.
    async fn send(&mut self, reader: usize, key: &str) -> DeliveryId {
        let links: String = (0..LINKS).map(|link| format!("<a href='https://example.com/{link}'>x</a>")).collect();
        let mail = serde_json::json!({
            "from": "app@example.com",
            "to": format!("reader-{reader}@example.org"),
            "subject": "x",
            "html": links,
        });
        let body = mail.to_string();
        let fields = format!("Authorization: Bearer {key}\r\nContent-Type: application/json\r\n");
        let answer = self.ask(&format!("POST /api/v1/emails HTTP/1.1\r\n{fields}"), &body).await;
        let answer: serde_json::Value = serde_json::from_str(&answer).unwrap();
        DeliveryId { message: answer["id"].as_str().unwrap().parse().unwrap(), recipient: 0 }
    }

    /// Makes a planned hit.
    async fn look(&mut self, plan: &Plan, sealer: &Sealer, copy: DeliveryId) {
        let reference = match plan.kind {
            HitKind::Open => Reference::Open,
            HitKind::Click => {
                Reference::Click { link: plan.link, target: format!("https://example.com/{}", plan.link) }
            }
        };
        let folder = if plan.kind == HitKind::Open { 'o' } else { 'c' };
        let accept = match plan.headers {
            Headers::Full => "Accept: text/html,*/*;q=0.8\r\nAccept-Language: sv\r\nSec-Fetch-Mode: navigate\r\n",
            Headers::Bare => "Accept: */*\r\n",
        };
        let head = format!(
            "GET /{folder}/{} HTTP/1.1\r\nUser-Agent: {}\r\n{accept}X-Forwarded-For: {}\r\nX-Forwarded-Proto: https\r\n",
            sealer.seal(copy, &reference),
            plan.agent,
            IpAddr::from(plan.ip),
        );
        self.ask(&head, "").await;
    }

    /// Sends a request; the body of its answer, which must be a success or a redirect.
    async fn ask(&mut self, head: &str, body: &str) -> String {
        let length = if body.is_empty() { String::new() } else { format!("Content-Length: {}\r\n", body.len()) };
        let request = format!("{head}Host: {}\r\n{length}\r\n{body}", self.door);
        self.stream.write_all(request.as_bytes()).await.unwrap();
        let mut heard = Vec::new();
        loop {
            let mut piece = [0; 4096];
            let read = self.stream.read(&mut piece).await.unwrap();
            assert!(read > 0, "closed after {}", String::from_utf8_lossy(&heard));
            heard.extend_from_slice(&piece[..read]);
            let text = String::from_utf8_lossy(&heard).into_owned();
            let Some((head, rest)) = text.split_once("\r\n\r\n") else { continue };
            assert!(head.starts_with("HTTP/1.1 2") || head.starts_with("HTTP/1.1 302"), "{text}");
            let length =
                head.lines().find_map(|line| line.to_ascii_lowercase().strip_prefix("content-length: ")?.parse().ok());
            if heard.len() >= head.len() + 4 + length.unwrap_or(0) {
                return rest.to_owned();
            }
        }
    }
}
