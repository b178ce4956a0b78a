//! The HTTP door over real sockets: intake and store are the true ones, time stands until a test moves it.
//!
//! Requests are written byte by byte, so that a test can send what no library would.

mod described;
mod evil;

mod hostile;

mod hostile_mailtura;

mod limits;

mod mailtura;

mod management;

mod managing;

mod once;
mod queue;

mod reading;
mod recipients;

mod sending;

mod sizes;

mod signing_in;

mod suppressing;

mod templates;

mod track;

mod watching;

mod webhooks;

mod zeptomail;

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use postback::app::outward::Outward;
use postback::clock::Clock;
use postback::config::Settings;
use postback::dns::Table;
use postback::enrich::Enricher;
use postback::http::{self, Server};
use postback::ids::IdSource;
use postback::intake::provision;
use postback::intake::submission::{Content, Submission};
use postback::intake::{self, Intake};
use postback::mail::submitted::Switches;
use postback::model::id::CredentialId;
use postback::model::message::Source;
use postback::model::tenant::{Credential, CredentialKind, MailAgent, Tenant};
use postback::model::time::Timestamp;
use postback::store::Store;
use postback::tls::challenges::Challenges;
use serde_json::Value;
use sha2::{Digest, Sha256};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::timeout;

use crate::support::engines::Engine;

/// No answer of a healthy server takes so long.
const PATIENCE: Duration = Duration::from_secs(20);
/// 2026-03-02T08:15:00.000Z.
const NOW: Timestamp = Timestamp::from_millis(1_772_439_300_000);
/// The key of tenant `ours`.
const KEY: &str = "pb_ours";
/// The key of tenant `theirs`.
const OTHER_KEY: &str = "pb_theirs";
/// An operator's key, of tenant `ours`.
const OPERATOR_KEY: &str = "pb_operator";

/// A house with two tenants, each of which sends from the domain of its name, and an open HTTP door.
struct House {
    /// Removed with the house, if it is its own.
    engine: Option<Engine>,
    store: Store,
    clock: Clock,
    intake: Intake,
    ours: (Tenant, MailAgent),
    server: Server,
    address: SocketAddr,
    stop: watch::Sender<bool>,
    serving: JoinHandle<()>,
}

impl House {
    async fn new() -> Self {
        Self::with(http::Settings::default(), |_| {}).await
    }

    async fn with(settings: http::Settings, change: impl FnOnce(&mut intake::Settings)) -> Self {
        let engine = Engine::sqlite();
        let house = Self::on(&engine, settings, change).await;
        Self { engine: Some(engine), ..house }
    }

    /// One on this database, perhaps beside another.
    async fn beside(engine: &Engine) -> Self {
        Self::on(engine, http::Settings::default(), |_| {}).await
    }

    async fn on(engine: &Engine, settings: http::Settings, change: impl FnOnce(&mut intake::Settings)) -> Self {
        let clock = Clock::standing(NOW);
        let store = engine.store("http", &clock).await;
        let (ids, ours) = match store.tenant("ours").await.unwrap() {
            Some(tenant) => {
                let agent = store.agent(tenant.id, "default").await.unwrap().unwrap();
                (IdSource::seeded(2), (tenant, agent))
            }
            None => {
                let ids = IdSource::seeded(1);
                let ours = inhabit(&store, &clock, &ids, "ours", KEY).await;
                let operator = credential(&ids, &ours.1, CredentialKind::OperatorKey, OPERATOR_KEY);
                store.add_credential(operator).await.unwrap();
                inhabit(&store, &clock, &ids, "theirs", OTHER_KEY).await;
                (ids, ours)
            }
        };
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let mut intake_settings =
            intake::Settings { tracking_base_url: format!("http://{address}"), ..Default::default() };
        change(&mut intake_settings);
        let intake = Intake::start(intake::Parts {
            store: store.clone(),
            clock: clock.clone(),
            ids: ids.clone(),
            ring: store.key_ring(ids.bytes()).await.unwrap(),
            enricher: Arc::new(Enricher::default()),
            rules: Default::default(),
            settings: intake_settings,
        });
        // One domain shows that it is ours.
        let digest = Sha256::digest([ours.0.id.as_bytes().as_slice(), b"proved.example"].concat());
        let proof: String = digest.iter().take(8).map(|byte| format!("{byte:02x}")).collect();
        let proof: &'static str = format!("postback-domain={proof}").leak();
        let dns = Table::new().with_txt("_postback.proved.example", ["v=other", proof]);
        let outward = Outward::new(&Settings::default(), [address], Arc::new(Table::new())).unwrap();
        let parts = http::Parts {
            settings,
            intake: intake.clone(),
            store: store.clone(),
            clock: clock.clone(),
            ids: ids.clone(),
            outward: Arc::new(outward),
            resolver: Arc::new(dns),
            challenges: Challenges::default(),
            house: Default::default(),
        };
        let (server, (stop, stopped)) = (Server::new(parts), watch::channel(false));
        let serving = tokio::spawn({
            let server = server.clone();
            async move { server.serve(listener, None, stopped).await }
        });
        Self { engine: None, store, clock, intake, ours, server, address, stop, serving }
    }

    /// Sends these bytes on a connection of their own, and reads until the server closes it.
    async fn raw(&self, bytes: &[u8]) -> Vec<u8> {
        let mut stream = TcpStream::connect(self.address).await.unwrap();
        // The server may close before it has read everything; what it said before is still there.
        let _ = stream.write_all(bytes).await;
        let mut heard = Vec::new();
        let read = timeout(PATIENCE, stream.read_to_end(&mut heard)).await.expect("an answer in time");
        if heard.is_empty() {
            read.unwrap();
        }
        heard
    }

    async fn ask(&self, method: &str, path: &str, fields: &[(&str, &str)], body: &[u8]) -> Reply {
        let mut request = format!("{method} {path} HTTP/1.1\r\nHost: {}\r\nConnection: close\r\n", self.address);
        for (name, value) in fields {
            request.push_str(&format!("{name}: {value}\r\n"));
        }
        if !body.is_empty() {
            request.push_str(&format!("Content-Type: application/json\r\nContent-Length: {}\r\n", body.len()));
        }
        request.push_str("\r\n");
        let reply = Reply::read(&self.raw(&[request.as_bytes(), body].concat()).await);
        self.is_described(method, path, &reply).await;
        reply
    }

    /// A request to Mailtura's surface with the key of `ours`.
    async fn mailtura(&self, method: &str, path: &str, body: &str) -> Reply {
        self.ask(method, path, &[("Authorization", &format!("Bearer {KEY}"))], body.as_bytes()).await
    }

    /// A request to Mailtura's surface with an operator's key, for this tenant.
    async fn operator(&self, tenant: &str, method: &str, path: &str, body: &str) -> Reply {
        let key = format!("Bearer {OPERATOR_KEY}");
        let fields = [("Authorization", key.as_str()), ("X-Tenant-ID", tenant)];
        self.ask(method, path, &fields, body.as_bytes()).await
    }

    /// A request to Mailtura's surface with the key of `ours` and an `Idempotency-Key`.
    async fn once(&self, key: &str, method: &str, path: &str, body: &str) -> Reply {
        let token = format!("Bearer {KEY}");
        let fields = [("Authorization", token.as_str()), ("Idempotency-Key", key)];
        self.ask(method, path, &fields, body.as_bytes()).await
    }

    /// A send on ZeptoMail's surface with the key of `ours`.
    async fn zeptomail(&self, body: &str) -> Reply {
        let token = format!("Zoho-enczapikey {KEY}");
        self.ask("POST", "/v1.1/email", &[("Authorization", &token)], body.as_bytes()).await
    }

    async fn messages(&self) -> usize {
        self.store.messages(self.ours.0.id, None, 1_000).await.unwrap().len()
    }

    /// The bytes of the newest mail of `ours`, as text.
    async fn newest_mail(&self) -> String {
        let messages = self.store.messages(self.ours.0.id, None, 1).await.unwrap();
        String::from_utf8(self.store.content(messages[0].id).await.unwrap().unwrap().to_vec()).unwrap()
    }

    /// A mail as doors hand it in.
    fn submission(&self, to: &str) -> Submission {
        let mail = format!("From: a@ours.example\r\nTo: {to}\r\nSubject: s\r\n\r\nt\r\n");
        Submission {
            source: Source::Smtp,
            sender: None,
            recipients: vec![to.parse().unwrap()],
            content: Content::Raw { bytes: mail.into(), hop: None },
            switches: Switches::default(),
        }
    }

    async fn shut(self) {
        self.stop.send_replace(true);
        timeout(PATIENCE, self.serving).await.expect("the door shuts").unwrap();
        if let Some(engine) = self.engine {
            engine.remove().await;
        }
    }

    /// The same for a house on another's database.
    async fn close(self) {
        let store = self.store.clone();
        self.shut().await;
        store.close().await;
    }
}

async fn inhabit(store: &Store, clock: &Clock, ids: &IdSource, slug: &str, key: &str) -> (Tenant, MailAgent) {
    let tenant = provision::tenant(slug, slug, clock, ids);
    let agent = provision::agent(&tenant, "default", clock, ids);
    store.add_tenant(tenant.clone(), agent.clone()).await.unwrap();
    store.add_domain(agent.id, &format!("{slug}.example")).await.unwrap();
    let credential = credential(ids, &agent, CredentialKind::ApiKey, key);
    store.add_credential(credential).await.unwrap();
    (tenant, agent)
}

fn credential(ids: &IdSource, agent: &MailAgent, kind: CredentialKind, key: &str) -> Credential {
    Credential {
        id: CredentialId::from_uuid(ids.uuid(NOW)),
        tenant: agent.tenant,
        agent: agent.id,
        kind,
        name: "tests".into(),
        digest: Sha256::digest(key).into(),
        networks: Vec::new(),
        settings: Default::default(),
        created_at: NOW,
        created_by: String::new(),
    }
}

/// What came back.
#[derive(Debug)]
struct Reply {
    status: u16,
    fields: Vec<(String, String)>,
    body: Vec<u8>,
}

impl Reply {
    /// The first answer in these bytes; the rest of them is its body.
    fn read(bytes: &[u8]) -> Self {
        let end = bytes.windows(4).position(|window| window == b"\r\n\r\n").expect("a header");
        let header = std::str::from_utf8(&bytes[..end]).unwrap();
        let (first, fields) = header.split_once("\r\n").unwrap();
        let status = first.split(' ').nth(1).unwrap().parse().unwrap();
        let field = |line: &str| line.split_once(": ").map(|(name, value)| (name.to_owned(), value.to_owned()));
        Self { status, fields: fields.split("\r\n").filter_map(field).collect(), body: bytes[end + 4..].to_vec() }
    }

    fn field(&self, name: &str) -> &str {
        self.fields.iter().find(|(field, _)| field == name).map_or("", |(_, value)| value)
    }

    fn json(&self) -> Value {
        assert_eq!(self.field("content-type"), "application/json");
        assert_eq!(self.field("x-content-type-options"), "nosniff");
        serde_json::from_slice(&self.body).unwrap()
    }

    /// The body as text, ids masked.
    fn text(&self) -> String {
        masked(std::str::from_utf8(&self.body).unwrap())
    }

    #[track_caller]
    fn is(&self, status: u16, body: &str) {
        assert_eq!((self.status, self.text().as_str()), (status, body));
    }
}

/// Ids and what is drawn at random become their prefix and `*`.
fn masked(text: &str) -> String {
    let mut text = text.to_owned();
    for (prefix, is_part) in [
        ("msg_", (|char: char| char.is_ascii_hexdigit()) as fn(char) -> bool),
        ("wh_", |char| char.is_ascii_hexdigit()),
        ("evt_", |char| char.is_ascii_hexdigit()),
        ("agt_", |char| char.is_ascii_hexdigit()),
        ("key_", |char| char.is_ascii_hexdigit()),
        ("whsec_", |char| char.is_ascii_alphanumeric() || "+/=".contains(char)),
        ("2d6f.", |char| char.is_ascii_alphanumeric() || ".-".contains(char)),
    ] {
        let mut masked = String::new();
        let mut rest = text.as_str();
        while let Some(at) = rest.find(prefix) {
            let (before, after) = rest.split_at(at + prefix.len());
            masked.push_str(before);
            masked.push('*');
            rest = after.trim_start_matches(is_part);
        }
        masked.push_str(rest);
        text = masked;
    }
    text
}
