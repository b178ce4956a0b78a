//! The SMTP door over real sockets: the dialogs once more, and what only sockets can show.
//!
//! Intake and store are the true ones; time stands until a test moves it.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use postback::clock::Clock;
use postback::enrich::Enricher;
use postback::ids::IdSource;
use postback::intake::{self, Intake};
use postback::mail::rules::Rules;
use postback::model::id::{AgentId, CredentialId, DeliveryId, MessageId, TenantId};
use postback::model::tenant::{Credential, CredentialKind};
use postback::model::time::Timestamp;
use postback::model::token;
use postback::smtp::counters;
use postback::smtp::server::Server;
use postback::smtp::settings::{AuthWithoutTls, Listener, Settings, TlsMode};
use postback::store::Store;
use postback::tls::{Acceptor, Certificates};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName};
use sha2::{Digest, Sha256};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::{JoinHandle, JoinSet};
use tokio::time::timeout;

use crate::dialog::{self, Dialog, Turn, fits};
use crate::support::engines::Engine;

/// No reply of a healthy server takes so long.
const PATIENCE: Duration = Duration::from_secs(20);

/// A house with one tenant, whose agent sends from `ours.example` with the key of the dialogs.
struct House {
    engine: Engine,
    clock: Clock,
    ids: IdSource,
    store: Store,
    intake: Intake,
    certificates: Certificates,
    tls: Acceptor,
    tenant: TenantId,
    agent: AgentId,
    /// The local part of a return path that we sealed.
    sealed: String,
}

impl House {
    async fn new() -> Self {
        let engine = Engine::sqlite();
        let now = Timestamp::from_millis(1_772_439_300_000);
        let (clock, ids) = (Clock::standing(now), IdSource::seeded(1));
        let store = engine.store("door", &clock).await;
        let ring = store.key_ring(ids.bytes()).await.unwrap();
        let delivery = DeliveryId { message: MessageId::from_uuid(ids.uuid(now)), recipient: 0 };
        let sealed = token::seal_return_path(&ring, ring.newest().unwrap(), delivery).unwrap();
        let tenant = postback::intake::provision::tenant("ours", "Ours", &clock, &ids);
        let agent = postback::intake::provision::agent(&tenant, "default", &clock, &ids);
        store.add_tenant(tenant.clone(), agent.clone()).await.unwrap();
        store.add_domain(agent.id, "ours.example").await.unwrap();
        let settings = intake::Settings { return_path_domain: "bounces.example".into(), ..Default::default() };
        let enricher = Arc::new(Enricher::default());
        let parts = intake::Parts {
            store: store.clone(),
            clock: clock.clone(),
            ids: ids.clone(),
            ring,
            enricher,
            rules: Rules::default(),
            settings,
        };
        let certificates = Certificates::open(&Default::default(), engine.folder(), "mail.example").unwrap();
        let (intake, tls) = (Intake::start(parts), certificates.mail_acceptor());
        let house =
            Self { engine, clock, ids, store, intake, certificates, tls, tenant: tenant.id, agent: agent.id, sealed };
        house.add_key(dialog::KEY, &[]).await;
        house
    }

    /// Adds an API key that may be used from these networks.
    async fn add_key(&self, secret: &str, networks: &[&str]) {
        let credential = Credential {
            id: CredentialId::from_uuid(self.ids.uuid(self.clock.now())),
            tenant: self.tenant,
            agent: self.agent,
            kind: CredentialKind::ApiKey,
            name: "dialogs".into(),
            digest: Sha256::digest(secret).into(),
            networks: networks.iter().map(|network| network.parse().unwrap()).collect(),
            settings: Default::default(),
            created_at: self.clock.now(),
            created_by: String::new(),
        };
        self.store.add_credential(credential).await.unwrap();
    }

    /// A door of it, on a port of its own.
    async fn door(&self, listener: Listener, settings: Settings) -> Door {
        let socket = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = socket.local_addr().unwrap();
        let server = Server::new(Arc::new(settings), Some(self.tls.clone()), self.intake.clone(), self.clock.clone());
        let (stop, stopped) = watch::channel(false);
        let serving = tokio::spawn(server.clone().serve(socket, listener, stopped));
        Door { address, server, stop, serving }
    }

    async fn messages(&self) -> usize {
        self.store.messages(self.tenant, None, 1_000).await.unwrap().len()
    }
}

struct Door {
    address: std::net::SocketAddr,
    server: Arc<Server>,
    stop: watch::Sender<bool>,
    serving: JoinHandle<()>,
}

impl Door {
    async fn client(&self) -> Client {
        Client { stream: Box::new(TcpStream::connect(self.address).await.unwrap()), heard: Vec::new() }
    }

    async fn greeted(&self) -> Client {
        let mut client = self.client().await;
        assert!(client.line().await.unwrap().starts_with("220 "));
        client
    }

    async fn shut(self) {
        self.stop.send_replace(true);
        timeout(PATIENCE, self.serving).await.expect("the door shuts").unwrap();
    }
}

trait Stream: AsyncRead + AsyncWrite + Unpin + Send {}
impl<S: AsyncRead + AsyncWrite + Unpin + Send> Stream for S {}

struct Client {
    stream: Box<dyn Stream>,
    heard: Vec<u8>,
}

impl Client {
    /// Sends; a server that has hung up is found out by reading.
    async fn say(&mut self, bytes: &[u8]) {
        let _ = self.stream.write_all(bytes).await;
        let _ = self.stream.flush().await;
    }

    /// The next line, without CRLF; `None` when the server has hung up.
    async fn line(&mut self) -> Option<String> {
        loop {
            if let Some(end) = self.heard.windows(2).position(|pair| pair == b"\r\n") {
                let line = String::from_utf8(self.heard.drain(..end).collect()).unwrap();
                self.heard.drain(..2);
                return Some(line);
            }
            let read = timeout(PATIENCE, self.stream.read_buf(&mut self.heard)).await.expect("an answer in time");
            if read.unwrap_or(0) == 0 {
                assert!(self.heard.is_empty(), "half a line: {}", self.heard.escape_ascii());
                return None;
            }
        }
    }

    /// The last line of the next reply.
    async fn reply(&mut self) -> String {
        loop {
            match self.line().await {
                Some(line) if line.as_bytes().get(3) == Some(&b'-') => {}
                line => return line.unwrap_or_else(|| "hung up".to_owned()),
            }
        }
    }

    /// Says each line and hears each reply.
    async fn ask(&mut self, lines: &[&str]) -> Vec<String> {
        let mut replies = Vec::new();
        for line in lines {
            self.say(format!("{line}\r\n").as_bytes()).await;
            replies.push(self.reply().await);
        }
        replies
    }

    async fn secured(self, house: &House) -> Self {
        let pem = house.engine.folder().join("tls/certificate.pem");
        let mut roots = rustls::RootCertStore::empty();
        roots.add(CertificateDer::from_pem_file(pem).unwrap()).unwrap();
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let config = rustls::ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions();
        let config = config.unwrap().with_root_certificates(roots).with_no_client_auth();
        let connector = tokio_rustls::TlsConnector::from(Arc::new(config));
        let name = ServerName::try_from("mail.example").unwrap();
        Self { stream: Box::new(connector.connect(name, self.stream).await.unwrap()), heard: Vec::new() }
    }
}

/// Plays a dialog to a door of its own. Says what went wrong.
async fn play(house: &House, dialog: &Dialog) -> Result<(), String> {
    let mut listener = dialog.setup.listener();
    listener.greeting_delay_millis = Some(if dialog.setup.is_early { 5_000 } else { 0 });
    let door = house.door(listener, dialog::settings()).await;
    let mut client = door.client().await;
    let before = house.messages().await;
    let own = |segment: &[u8]| String::from_utf8_lossy(segment).contains("b+sealed");
    let translate = |segment: &[u8]| match own(segment) {
        true => String::from_utf8_lossy(segment).replace("b+sealed", &house.sealed).into_bytes(),
        false => segment.to_vec(),
    };
    if !dialog.setup.is_early {
        client.reply().await;
        for segment in dialog.setup.said() {
            client.say(&translate(&segment)).await;
            client.reply().await;
        }
    }
    for turn in &dialog.turns {
        match turn {
            Turn::Client(segment) => client.say(&translate(segment)).await,
            Turn::Server(patterns) => {
                for pattern in patterns {
                    match client.line().await {
                        Some(line) if fits(pattern, &line) => {}
                        heard => return Err(format!("expected {pattern:?}, heard {heard:?}")),
                    }
                }
            }
            Turn::Closed => match client.line().await {
                None => {}
                Some(line) => return Err(format!("expected the end, heard {line:?}")),
            },
            Turn::Tls => client = client.secured(house).await,
            Turn::Pass(time) => house.clock.advance(*time),
            Turn::Gone => break,
        }
    }
    drop(client);
    let server = door.server.clone();
    door.shut().await;
    let reports = usize::try_from(counters::read(&server.counters().reports)).unwrap();
    match (house.messages().await - before, reports) {
        taken if taken == (dialog.messages, dialog.reports) => Ok(()),
        (messages, reports) => Err(format!("{messages} messages and {reports} reports were taken")),
    }
}

/// Whether a dialog needs a world that only `dialog` has: a store that fails.
fn needs_another_world(dialog: &Dialog) -> bool {
    let says = |what: &str| {
        dialog.turns.iter().any(|turn| match turn {
            Turn::Client(segment) => String::from_utf8_lossy(segment).contains(what),
            Turn::Server(_) | Turn::Closed | Turn::Gone | Turn::Tls | Turn::Pass(_) => false,
        })
    };
    let senders = ["<full@", "<down@", "<revoked@"];
    says("X-Test: ") || dialog.name.starts_with("the store cannot") || senders.iter().any(|sender| says(sender))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn dialogs_go_over_sockets_as_written() {
    let house = House::new().await;
    let mut failed = Vec::new();
    let dialogs: Vec<Dialog> = dialog::all().into_iter().filter(|dialog| !needs_another_world(dialog)).collect();
    assert!(dialogs.len() > 100, "only {} dialogs were found", dialogs.len());
    for dialog in &dialogs {
        let played = timeout(PATIENCE / 2, play(&house, dialog)).await;
        if let Err(why) = played.unwrap_or_else(|_| Err("it came to no end".to_owned())) {
            failed.push(format!("== {}\n{why}\n", dialog.name));
        }
    }
    assert!(failed.is_empty(), "{} of {} dialogs:\n{}", failed.len(), dialogs.len(), failed.join("\n"));
}

#[tokio::test]
async fn garbage_for_a_handshake_ends_without_a_word_in_the_clear() {
    let house = House::new().await;
    let door = house.door(Listener::development(), dialog::settings()).await;
    let mut client = door.greeted().await;
    assert!(client.ask(&["STARTTLS"]).await[0].starts_with("220 "));
    client.say(b"EHLO client.example\r\nMAIL FROM:<>\r\n").await;
    let mut heard = Vec::new();
    let _ = timeout(PATIENCE, client.stream.read_to_end(&mut heard)).await.expect("the end in time");
    let is_alert = heard.is_empty() || heard.starts_with(&[0x15, 3]) && heard.len() == 7;
    assert!(is_alert, "{}", heard.escape_ascii());
    assert_eq!(counters::read(&door.server.counters().failed_handshakes), 1);
    door.shut().await;
}

#[tokio::test]
async fn implicit_tls_begins_at_once() {
    let house = House::new().await;
    let listener = Listener { tls: TlsMode::Implicit, ..Listener::development() };
    let door = house.door(listener, dialog::settings()).await;
    let mut client = door.client().await.secured(&house).await;
    assert!(client.reply().await.starts_with("220 "));
    let replies = client.ask(&["EHLO client.example", "STARTTLS", "QUIT"]).await;
    assert_eq!(replies[0], "250 SMTPUTF8");
    assert!(replies[1].starts_with("503 ") && replies[2].starts_with("221 "), "{replies:?}");
    door.shut().await;
}

#[tokio::test]
async fn too_many_sessions_are_turned_away_and_room_is_found_again() {
    let house = House::new().await;
    let listener = Listener { sessions_per_address_max: Some(2), ..Listener::development() };
    let door = house.door(listener.clone(), dialog::settings()).await;
    let (first, _second) = (door.greeted().await, door.greeted().await);
    assert_eq!(door.client().await.reply().await, "421 4.7.0 too many sessions from your address");
    drop(first);
    // The seat is free once the server has seen the client go; until then it says 421.
    while !door.client().await.reply().await.starts_with("220 ") {}
    assert!(counters::read(&door.server.counters().turned_away) >= 1);
    let full = house.door(listener, Settings { sessions_max: 1, ..dialog::settings() }).await;
    let _first = full.greeted().await;
    assert_eq!(full.client().await.reply().await, "421 4.3.2 too many sessions, please try again later");
}

#[tokio::test]
async fn a_stop_lets_a_text_end_and_sends_everybody_else_away() {
    let house = House::new().await;
    let door = house.door(Listener::development(), dialog::settings()).await;
    let (mut idle, mut busy) = (door.greeted().await, door.greeted().await);
    let login = format!("AUTH PLAIN {}", base64(&format!("\0emailapikey\0{}", dialog::KEY)));
    let envelope =
        ["EHLO client.example", &login, "MAIL FROM:<sender@ours.example>", "RCPT TO:<reader@example.com>", "DATA"];
    assert!(busy.ask(&envelope).await[4].starts_with("354 "));
    busy.say(b"Subject: last\r\n\r\n").await;
    door.stop.send_replace(true);
    assert_eq!(idle.reply().await, "421 4.3.2 shutting down, please connect again");
    assert_eq!(idle.reply().await, "hung up");
    busy.say(b"words\r\n.\r\n").await;
    assert!(fits("250 2.0.0 msg_* queued", &busy.reply().await));
    assert_eq!(busy.reply().await, "421 4.3.2 shutting down, please connect again");
    drop((idle, busy));
    door.shut().await;
    assert_eq!(house.messages().await, 1);
}

#[tokio::test]
async fn texts_are_put_off_when_memory_is_short() {
    let house = House::new().await;
    let settings = Settings { data_memory_bytes_max: 1_000, ..dialog::settings() };
    let door = house.door(Listener::development(), settings).await;
    let mut client = door.greeted().await;
    let login = format!("AUTH PLAIN {}", base64(&format!("\0emailapikey\0{}", dialog::KEY)));
    let envelope =
        ["EHLO client.example", &login, "MAIL FROM:<sender@ours.example>", "RCPT TO:<reader@example.com>", "DATA"];
    assert!(client.ask(&envelope).await[4].starts_with("354 "));
    client.say(b"Subject: heavy\r\n").await;
    client.say(&b"words and more words\r\n".repeat(200)).await;
    assert!(client.ask(&["."]).await[0].starts_with("452 4.3.1 "));
    assert!(client.ask(&["NOOP"]).await[0].starts_with("250 "));
    door.shut().await;
}

#[tokio::test]
async fn wrong_passwords_wait_longer_each_time_and_the_right_one_never() {
    let house = House::new().await;
    let door = house.door(Listener::development(), dialog::settings()).await;
    let wrong = format!("AUTH PLAIN {}", base64("\0emailapikey\0wrong"));
    let right = format!("AUTH PLAIN {}", base64(&format!("\0emailapikey\0{}", dialog::KEY)));
    let mut last = String::new();
    for _ in 0..3 {
        let mut client = door.greeted().await;
        client.ask(&["EHLO client.example"]).await;
        for _ in 0..3 {
            client.say(format!("{wrong}\r\n").as_bytes()).await;
            last = loop {
                // Time stands; whoever waits for it is let go a second at a time.
                match timeout(Duration::from_millis(20), client.reply()).await {
                    Ok(reply) => break reply,
                    Err(_) => house.clock.advance(Duration::from_secs(1)),
                }
            };
        }
    }
    assert!(last.starts_with("454 4.7.0 "), "{last}");
    let mut client = door.greeted().await;
    assert!(client.ask(&["EHLO client.example", &right]).await[1].starts_with("235 "));
    assert_eq!(counters::read(&door.server.counters().failed_logins), 9);
    drop(client);
    door.shut().await;
}

fn base64(text: &str) -> String {
    use base64::Engine as _;
    base64::engine::general_purpose::STANDARD.encode(text)
}

#[tokio::test]
async fn names_and_secrets_as_people_type_them() {
    let house = House::new().await;
    let door = house.door(Listener::development(), dialog::settings()).await;
    let key = dialog::KEY;
    let check = async |username: &str, secret: &str, expected: &str| {
        let mut client = door.greeted().await;
        let login = format!("AUTH PLAIN {}", base64(&format!("\0{username}\0{secret}")));
        let reply = &client.ask(&["EHLO client.example", &login]).await[1];
        assert!(reply.starts_with(expected), "{username} {secret}: {reply}");
    };
    check("emailapikey", key, "235 ").await;
    check("EmailApiKey", key, "235 ").await;
    check("emailapikey", &format!("Zoho-enczapikey {key}"), "235 ").await;
    check("emailapikey", &format!("zoho-ENCZAPIKEY {key}"), "235 ").await;
    check("emailapikey", &format!("Bearer {key}"), "535 ").await;
    check("anybody@ours.example", key, "235 ").await;
    check("anybody@theirs.example", key, "535 ").await;
    check("ours", key, "235 ").await;
    check("", "", "535 ").await;
}

#[tokio::test]
async fn a_password_is_good_from_where_it_may_be_used_only() {
    let house = House::new().await;
    let proxied = Listener { proxies: vec!["127.0.0.0/8".parse().unwrap()], ..Listener::development() };
    let proxied = Listener { auth_without_tls: AuthWithoutTls::Always, ..proxied };
    let door = house.door(proxied, dialog::settings()).await;
    house.add_key("pb_office", &["192.0.2.0/24", "2001:db8::/32"]).await;
    let check = async |from: &str, expected: &str| {
        let mut client = door.client().await;
        client.say(format!("PROXY {from} 25\r\n").as_bytes()).await;
        assert!(client.line().await.unwrap().starts_with("220 "));
        let login = format!("AUTH PLAIN {}", base64("\0emailapikey\0pb_office"));
        let reply = &client.ask(&["EHLO client.example", &login]).await[1];
        assert!(reply.starts_with(expected), "{from}: {reply}");
    };
    check("TCP4 192.0.2.7 198.51.100.1 4711", "235 ").await;
    check("TCP6 2001:db8::7 2001:db8::1 4711", "235 ").await;
    check("TCP6 ::ffff:192.0.2.7 ::1 4711", "235 ").await;
    check("TCP4 192.0.3.7 198.51.100.1 4711", "535 ").await;
    check("UNKNOWN", "535 ").await;
}

#[tokio::test]
async fn proxies_must_say_for_whom_they_stand_and_nobody_else_may() {
    let house = House::new().await;
    let proxies = vec!["127.0.0.0/8".parse().unwrap()];
    let listener = Listener { proxies, sessions_per_address_max: Some(1), ..Listener::development() };
    let door = house.door(listener.clone(), dialog::settings()).await;
    let mut mute = door.client().await;
    mute.say(b"EHLO client.example\r\nMAIL FROM:<>\r\n").await;
    assert_eq!(mute.line().await, None, "a proxy that does not introduce itself");
    let from = |ip: &str| format!("PROXY TCP4 {ip} 198.51.100.1 1 25\r\n");
    let (mut first, mut second) = (door.client().await, door.client().await);
    first.say(from("192.0.2.1").as_bytes()).await;
    assert!(first.reply().await.starts_with("220 "));
    second.say(from("192.0.2.1").as_bytes()).await;
    assert_eq!(second.reply().await, "421 4.7.0 too many sessions from your address");
    let mut third = door.client().await;
    third.say(from("192.0.2.2").as_bytes()).await;
    assert!(third.reply().await.starts_with("220 "));
    drop((first, second, third));
    door.shut().await;

    let binary = b"\r\n\r\n\0\r\nQUIT\n\x21\x11\0\x0c\xc0\0\x02\x01\xc6\x33\x64\x01\0\x50\0\x19";
    let tls = Listener { tls: TlsMode::Implicit, ..listener };
    let door = house.door(tls, dialog::settings()).await;
    let mut client = door.client().await;
    client.say(binary).await;
    let mut client = client.secured(&house).await;
    assert!(client.reply().await.starts_with("220 "), "the handshake follows the introduction");
    drop(client);
    door.shut().await;

    let door = house.door(Listener::development(), dialog::settings()).await;
    let mut stranger = door.greeted().await;
    assert!(stranger.ask(&[from("192.0.2.1").trim_end()]).await[0].starts_with("500 "));
    drop(stranger);
    door.shut().await;
}

#[tokio::test]
async fn an_open_session_does_not_outlive_its_password() {
    let house = House::new().await;
    let door = house.door(Listener::development(), dialog::settings()).await;
    let mut client = door.greeted().await;
    let login = format!("AUTH PLAIN {}", base64(&format!("\0emailapikey\0{}", dialog::KEY)));
    let mail = "MAIL FROM:<sender@ours.example>";
    let envelope = ["EHLO client.example", &login, mail, "RCPT TO:<reader@example.com>", "RSET"];
    assert!(client.ask(&envelope).await[3].starts_with("250 "));
    let key = house.store.credentials(house.tenant).await.unwrap().remove(0);
    assert!(house.store.remove_credential(house.tenant, key.id).await.unwrap());
    house.clock.advance(Duration::from_secs(5));
    let replies = client.ask(&[mail]).await;
    assert_eq!(replies, ["421 4.7.0 your password is no longer good, please log in again"]);
    assert_eq!(client.reply().await, "hung up");
    door.shut().await;
}

#[tokio::test]
async fn nothing_is_taken_while_the_disk_has_no_room() {
    let house = House::new().await;
    let door = house.door(Listener::development(), dialog::settings()).await;
    let mut client = door.greeted().await;
    let login = format!("AUTH PLAIN {}", base64(&format!("\0emailapikey\0{}", dialog::KEY)));
    let mail = "MAIL FROM:<sender@ours.example>";
    house.intake.set_room(false);
    assert!(client.ask(&["EHLO client.example", &login, mail]).await[2].starts_with("452 4.3.1 "));
    house.intake.set_room(true);
    assert!(client.ask(&[mail]).await[0].starts_with("250 "));
    drop(client);
    door.shut().await;
}

#[tokio::test]
async fn connections_come_no_faster_than_they_may() {
    let house = House::new().await;
    let listener = Listener { connections_per_minute_max: Some(2), ..Listener::development() };
    let door = house.door(listener, dialog::settings()).await;
    let (_first, _second) = (door.greeted().await, door.greeted().await);
    let reply = door.client().await.reply().await;
    assert_eq!(reply, "421 4.7.0 too many connections from your address in one minute");
    house.clock.advance(Duration::from_secs(120));
    door.greeted().await;
}

#[tokio::test]
async fn two_hundred_passwords_at_one_time() {
    let house = House::new().await;
    let door = house.door(Listener::development(), dialog::settings()).await;
    let mut clients = Vec::new();
    for _ in 0..200 {
        clients.push(door.greeted().await);
    }
    let login = format!("AUTH PLAIN {}", base64(&format!("\0emailapikey\0{}", dialog::KEY)));
    for client in &mut clients {
        client.say(b"EHLO client.example\r\n").await;
    }
    for client in &mut clients {
        client.reply().await;
        client.say(format!("{login}\r\n").as_bytes()).await;
    }
    for client in &mut clients {
        assert!(client.reply().await.starts_with("235 "));
    }
    drop(clients);
    door.shut().await;
}

#[tokio::test]
async fn clients_that_go_away_within_a_text_leave_nothing_behind() {
    let house = House::new().await;
    let door = house.door(Listener::development(), dialog::settings()).await;
    let login = format!("AUTH PLAIN {}", base64(&format!("\0emailapikey\0{}", dialog::KEY)));
    let envelope =
        ["EHLO client.example", &login, "MAIL FROM:<sender@ours.example>", "RCPT TO:<reader@example.com>", "DATA"];
    let leavers = std::env::var("POSTBACK_TEST_LEAVERS").map_or(500, |count| count.parse().unwrap());
    for _ in 0..leavers {
        let mut client = door.greeted().await;
        let said = client.ask(&envelope).await;
        assert!(said[4].starts_with("354 "), "{said:?}");
        client.say(b"Subject: half\r\n\r\nhalf").await;
    }
    let server = door.server.clone();
    door.shut().await;
    assert_eq!(counters::read(&server.counters().sessions), 0);
    assert_eq!(server.text_memory_bytes(), 0);
    assert_eq!(house.messages().await, 0);
}

#[tokio::test]
async fn what_a_client_said_of_itself_stands_in_received() {
    let house = House::new().await;
    let door = house.door(Listener::development(), dialog::settings()).await;
    let login = format!("AUTH PLAIN {}", base64(&format!("\0emailapikey\0{}", dialog::KEY)));
    let mut client = door.greeted().await;
    client.ask(&["STARTTLS"]).await;
    let mut client = client.secured(&house).await;
    let envelope = ["EHLO (x);y", &login, "MAIL FROM:<sender@ours.example>", "RCPT TO:<reader@example.com>", "DATA"];
    assert!(client.ask(&envelope).await[4].starts_with("354 "));
    client.say(b"Subject: x\r\n\r\nc\r\n.\r\n").await;
    assert!(client.reply().await.starts_with("250 "));
    let message = house.store.messages(house.tenant, None, 1).await.unwrap().remove(0);
    let content = house.store.content(message.id).await.unwrap().unwrap();
    let content = String::from_utf8(content.to_vec()).unwrap();
    let received = format!(
        "Received: from ?x??y ([127.0.0.1])\r\n\tby localhost (Postback) with ESMTPSA (TLS1.3 *)\r\n\tid {}; *\r\nDate: *",
        message.id
    );
    assert!(fits(&received, &content), "{content}");
    drop(client);
    door.shut().await;
}

#[tokio::test]
async fn a_new_certificate_is_for_new_handshakes_and_drops_nobody() {
    let house = House::new().await;
    let door = house.door(Listener::development(), dialog::settings()).await;
    let mut before = door.greeted().await;
    before.ask(&["STARTTLS"]).await;
    let mut before = before.secured(&house).await;
    assert!(before.ask(&["EHLO client.example"]).await[0].starts_with("250 "));
    for file in ["tls/certificate.pem", "tls/key.pem"] {
        std::fs::remove_file(house.engine.folder().join(file)).unwrap();
    }
    Certificates::open(&Default::default(), house.engine.folder(), "mail.example").unwrap();
    house.certificates.reload().unwrap();
    let mut after = door.greeted().await;
    after.ask(&["STARTTLS"]).await;
    // The client trusts nothing but the new one.
    let mut after = after.secured(&house).await;
    assert!(after.ask(&["EHLO client.example"]).await[0].starts_with("250 "));
    assert!(before.ask(&["NOOP"]).await[0].starts_with("250 "));
    drop((before, after));
    door.shut().await;
}

/// M12. Whoever hands in mail is answered while reports come without a pause, however many: the storm goes on until the
/// last mail is promised.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_storm_of_reports_keeps_no_mail_out() {
    const STORMERS: usize = 20;
    const MAILS: usize = 20;
    let house = House::new().await;
    let door = house.door(Listener::development(), Settings::default()).await;
    let at_least = std::env::var("POSTBACK_TEST_REPORTS").map_or(500, |count| count.parse().unwrap());
    let report = include_str!("../reports/arf-abuse.eml").replace('\n', "\r\n") + ".\r\n";
    let (taken, is_over) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicBool::new(false)));
    let mut storm = JoinSet::new();
    for _ in 0..STORMERS {
        let mut client = door.greeted().await;
        let (report, taken, is_over) = (report.clone(), taken.clone(), is_over.clone());
        let to = format!("RCPT TO:<{}@bounces.example>", house.sealed);
        storm.spawn(async move {
            client.ask(&["EHLO there.example"]).await;
            while !is_over.load(Ordering::Relaxed) || taken.load(Ordering::Relaxed) < at_least {
                client.ask(&["MAIL FROM:<>", &to, "DATA"]).await;
                client.say(report.as_bytes()).await;
                let said = client.reply().await;
                assert!(said.starts_with("250 "), "{said}");
                taken.fetch_add(1, Ordering::Relaxed);
            }
        });
    }
    let mut client = door.greeted().await;
    let login = format!("AUTH PLAIN {}", base64(&format!("\0emailapikey\0{}", dialog::KEY)));
    client.ask(&["EHLO client.example", &login]).await;
    for _ in 0..MAILS {
        client.ask(&["MAIL FROM:<sender@ours.example>", "RCPT TO:<reader@example.com>", "DATA"]).await;
        client.say(b"Subject: x\r\n\r\nx\r\n.\r\n").await;
        let said = client.reply().await;
        assert!(said.starts_with("250 "), "{said}");
    }
    is_over.store(true, Ordering::Relaxed);
    storm.join_all().await;
    drop(client);
    let server = door.server.clone();
    door.shut().await;
    let taken = taken.load(Ordering::Relaxed);
    eprintln!("{taken} reports");
    assert_eq!(counters::read(&server.counters().reports), taken as u64);
    assert_eq!(house.messages().await, MAILS);
    assert_eq!(server.text_memory_bytes(), 0);
}
