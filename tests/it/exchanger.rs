//! A mail exchanger on loopback that behaves as a script says, politely where it says nothing.
//!
//! A [`Script`] has [`Act`]s by verb (`greeting`, `EHLO`, `MAIL`, …, and `.` for the final dot), done in turn, each once;
//! when a verb's are used up it is answered as a good host would. What arrived is kept: mails, commands, and each read
//! as it came, so that a test can see what was written together.

use std::collections::{HashMap, VecDeque};
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Notify, mpsc};
use tokio::task::JoinSet;
use tokio_rustls::TlsAcceptor;

use crate::support::tls::tls_of;

/// The name that the exchanger's certificate is for.
pub const NAME: &str = "mx.test";

/// What to do instead of the polite thing.
#[derive(Clone, Debug)]
pub enum Act {
    /// Say these bytes.
    Say(Vec<u8>),
    /// Say these bytes and hang up.
    Cut(Vec<u8>),
    /// Say these bytes, then nothing more, ever.
    Hang(Vec<u8>),
    /// Say these bytes, then neither speak nor listen, ever.
    Deafen(Vec<u8>),
    /// Say these bytes again and again.
    Flood(Vec<u8>),
}

/// Says one line.
pub fn say(line: &str) -> Act {
    Act::Say(format!("{line}\r\n").into_bytes())
}

/// How an exchanger behaves.
#[derive(Clone, Debug, Default)]
pub struct Script {
    acts: HashMap<&'static str, VecDeque<Act>>,
    offers: Vec<&'static str>,
    /// TLS from the first byte.
    pub implicit_tls: bool,
}

impl Script {
    /// Offers PIPELINING, SIZE, 8BITMIME and SMTPUTF8.
    pub fn polite() -> Self {
        Self::offering(&["PIPELINING", "SIZE 10000000", "8BITMIME", "SMTPUTF8"])
    }

    /// Offers this and nothing else.
    pub fn offering(offers: &[&'static str]) -> Self {
        Self { offers: offers.to_vec(), ..Self::default() }
    }

    /// The next `verb` not spoken for yet is answered with `act`.
    pub fn on(mut self, verb: &'static str, act: Act) -> Self {
        self.acts.entry(verb).or_default().push_back(act);
        self
    }
}

/// A mail as it arrived.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Arrived {
    /// Over which connection, counted from 0.
    pub connection: usize,
    /// The MAIL command.
    pub mail: String,
    /// The RCPT command.
    pub rcpt: String,
    /// The content, dots unstuffed, without the final one.
    pub content: Vec<u8>,
}

#[derive(Debug, Default)]
struct Seen {
    connections: usize,
    commands: Vec<String>,
    reads: Vec<Vec<u8>>,
    mails: Vec<Arrived>,
    /// Connections that ended.
    ended: usize,
}

/// The exchanger; it stops when it is dropped.
#[derive(Debug)]
pub struct Exchanger {
    /// Where it listens.
    pub address: SocketAddr,
    /// Its certificate, PEM.
    pub certificate: String,
    script: Arc<Mutex<Script>>,
    seen: Arc<Mutex<Seen>>,
    changed: Arc<Notify>,
    arrivals: tokio::sync::Mutex<mpsc::UnboundedReceiver<Arrived>>,
    house: House,
    listening: Mutex<JoinSet<()>>,
}

impl Exchanger {
    /// Listens on a free port.
    pub async fn start(script: Script) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (tls, certificate) = tls_of(&[NAME, "localhost"]);
        let seen = Arc::new(Mutex::new(Seen::default()));
        let (arrive, arrivals) = mpsc::unbounded_channel();
        let changed = Arc::new(Notify::new());
        let script = Arc::new(Mutex::new(script));
        let house = House { script: script.clone(), seen: seen.clone(), arrive, changed: changed.clone(), tls };
        let mut listening = JoinSet::new();
        listening.spawn(house.clone().listen(listener));
        let (listening, arrivals) = (Mutex::new(listening), tokio::sync::Mutex::new(arrivals));
        Self { address, certificate, script, seen, changed, arrivals, house, listening }
    }

    /// Listens here too.
    pub fn listen_too(&self, listener: TcpListener) {
        let house = self.house.clone();
        self.listening.lock().unwrap().spawn(house.listen(listener));
    }

    /// From now on it behaves so.
    pub fn now_on(&self, script: Script) {
        *self.script.lock().unwrap() = script;
    }

    /// The next mail that arrives.
    pub async fn next(&self) -> Arrived {
        self.arrivals.lock().await.recv().await.unwrap()
    }

    /// All mails so far.
    pub fn mails(&self) -> Vec<Arrived> {
        self.seen.lock().unwrap().mails.clone()
    }

    /// Connections so far.
    pub fn connections(&self) -> usize {
        self.seen.lock().unwrap().connections
    }

    /// Commands so far, of all connections, in the order in which they were read.
    pub fn commands(&self) -> Vec<String> {
        self.seen.lock().unwrap().commands.clone()
    }

    /// Everything read, as it came.
    pub fn reads(&self) -> Vec<Vec<u8>> {
        self.seen.lock().unwrap().reads.clone()
    }

    /// Returns when so many connections have ended.
    pub async fn ended(&self, connections: usize) {
        loop {
            let changed = self.changed.notified();
            if self.seen.lock().unwrap().ended >= connections {
                return;
            }
            changed.await;
        }
    }
}

trait Stream: AsyncRead + AsyncWrite + Send + Unpin {}
impl<S: AsyncRead + AsyncWrite + Send + Unpin> Stream for S {}

#[derive(Clone)]
struct House {
    script: Arc<Mutex<Script>>,
    seen: Arc<Mutex<Seen>>,
    arrive: mpsc::UnboundedSender<Arrived>,
    changed: Arc<Notify>,
    tls: TlsAcceptor,
}

/// One guest's conversation.
struct Visit {
    house: House,
    connection: usize,
    stream: Option<Box<dyn Stream>>,
    buffer: Vec<u8>,
    /// After STARTTLS.
    is_encrypted: bool,
    mail: String,
    rcpt: String,
}

impl std::fmt::Debug for House {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        out.write_str("House")
    }
}

impl House {
    async fn listen(self, listener: TcpListener) {
        let mut guests = JoinSet::new();
        while let Ok((socket, _)) = listener.accept().await {
            guests.spawn(self.clone().host(socket));
        }
    }

    async fn host(self, socket: TcpStream) {
        let connection = {
            let mut seen = self.seen.lock().unwrap();
            seen.connections += 1;
            seen.connections - 1
        };
        socket.set_nodelay(true).unwrap();
        let is_implicit = self.script.lock().unwrap().implicit_tls;
        let stream: Option<Box<dyn Stream>> = match is_implicit {
            true => self.tls.accept(socket).await.ok().map(|stream| Box::new(stream) as Box<dyn Stream>),
            false => Some(Box::new(socket)),
        };
        let (mail, rcpt) = (String::new(), String::new());
        let (buffer, is_encrypted) = (Vec::new(), false);
        let mut visit = Visit { house: self.clone(), connection, stream, buffer, is_encrypted, mail, rcpt };
        visit.talk().await;
        drop(visit);
        self.seen.lock().unwrap().ended += 1;
        self.changed.notify_waiters();
    }
}

impl Visit {
    async fn talk(&mut self) -> Option<()> {
        self.act("greeting", "220 mx.test ESMTP").await?;
        loop {
            let line = self.line().await?;
            self.house.seen.lock().unwrap().commands.push(line.clone());
            let verb = line.split([' ', ':']).next().unwrap().to_ascii_uppercase();
            let _polite = match verb.as_str() {
                "EHLO" => {
                    let offers = self.house.script.lock().unwrap().offers.clone();
                    let mut text = String::from("250-mx.test greets you\r\n");
                    let is_offered = |offer: &&&str| !(self.is_encrypted && **offer == "STARTTLS");
                    offers.iter().filter(is_offered).for_each(|offer| text.push_str(&format!("250-{offer}\r\n")));
                    self.act("EHLO", &format!("{text}250 HELP")).await?
                }
                "HELO" => self.act("HELO", "250 mx.test").await?,
                "MAIL" => {
                    self.mail = line;
                    self.act("MAIL", "250 2.1.0 ok").await?
                }
                "RCPT" => {
                    self.rcpt = line;
                    self.act("RCPT", "250 2.1.5 ok").await?
                }
                "DATA" => {
                    let is_polite = self.act("DATA", "354 go ahead").await?;
                    if is_polite {
                        self.content().await?;
                    }
                    is_polite
                }
                "RSET" => self.act("RSET", "250 2.0.0 ok").await?,
                "NOOP" => self.act("NOOP", "250 2.0.0 ok").await?,
                "AUTH" => self.act("AUTH", "235 2.7.0 ok").await?,
                "STARTTLS" => {
                    if self.act("STARTTLS", "220 2.0.0 go ahead").await? {
                        let socket = self.stream.take()?;
                        self.buffer.clear();
                        self.stream = Some(Box::new(self.house.tls.accept(socket).await.ok()?));
                        self.is_encrypted = true;
                    }
                    true
                }
                "QUIT" => {
                    self.act("QUIT", "221 2.0.0 bye").await?;
                    return None;
                }
                // What follows AUTH LOGIN has no verb.
                _ => self.act("AUTH", "500 5.5.1 what?").await?,
            };
        }
    }

    async fn content(&mut self) -> Option<()> {
        let mut content = Vec::new();
        loop {
            let line = self.raw_line().await?;
            if line == b".\r\n" {
                break;
            }
            content.extend_from_slice(line.strip_prefix(b".").unwrap_or(&line));
        }
        let (connection, mail, rcpt) = (self.connection, self.mail.clone(), self.rcpt.clone());
        let arrived = Arrived { connection, mail, rcpt, content };
        self.house.seen.lock().unwrap().mails.push(arrived.clone());
        self.house.arrive.send(arrived).ok()?;
        self.act(".", "250 2.0.0 queued").await.map(drop)
    }

    /// Does what the script has for `verb`, else says `polite`; whether it was polite. `None` ends the conversation.
    async fn act(&mut self, verb: &'static str, polite: &str) -> Option<bool> {
        let act = self.house.script.lock().unwrap().acts.get_mut(verb).and_then(VecDeque::pop_front);
        let is_polite = act.is_none();
        match act.unwrap_or_else(|| say(polite)) {
            Act::Say(bytes) => self.write(&bytes).await?,
            Act::Cut(bytes) => {
                self.write(&bytes).await?;
                return None;
            }
            Act::Hang(bytes) => {
                self.write(&bytes).await?;
                while self.read().await.is_some() {}
                return None;
            }
            Act::Deafen(bytes) => {
                self.write(&bytes).await?;
                std::future::pending::<()>().await;
            }
            Act::Flood(bytes) => loop {
                self.write(&bytes).await?;
            },
        }
        Some(is_polite)
    }

    async fn write(&mut self, bytes: &[u8]) -> Option<()> {
        let stream = self.stream.as_mut()?;
        stream.write_all(bytes).await.ok()?;
        stream.flush().await.ok()
    }

    async fn line(&mut self) -> Option<String> {
        let line = self.raw_line().await?;
        Some(String::from_utf8_lossy(&line).trim_end().to_owned())
    }

    async fn raw_line(&mut self) -> Option<Vec<u8>> {
        loop {
            if let Some(end) = self.buffer.windows(2).position(|pair| pair == b"\r\n") {
                return Some(self.buffer.drain(..end + 2).collect());
            }
            let bytes = self.read().await?;
            self.buffer.extend_from_slice(&bytes);
        }
    }

    async fn read(&mut self) -> Option<Vec<u8>> {
        let mut room = vec![0; 64 * 1024];
        let length = self.stream.as_mut()?.read(&mut room).await.ok().filter(|length| *length > 0)?;
        room.truncate(length);
        self.house.seen.lock().unwrap().reads.push(room.clone());
        Some(room)
    }
}
