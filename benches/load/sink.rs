//! Where relayed mail ends: an SMTP server that takes everything, counts it, and keeps a few tracked links and whose
//! copies came.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use memchr::memmem;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

/// Links kept, and copies.
const LINKS_MAX: usize = 30_000;
/// How long a round may take in all.
const ROUND_MAX: Duration = Duration::from_secs(120);

#[derive(Clone)]
pub struct Sink {
    port: u16,
    seen: Arc<Seen>,
}

#[derive(Default)]
struct Seen {
    mails: AtomicUsize,
    /// Of these, how many carry two signatures of ours.
    signed: AtomicUsize,
    links: Mutex<Vec<String>>,
    copies: Mutex<Vec<Copy>>,
}

/// A recipient's copy.
#[derive(Clone)]
pub struct Copy {
    /// The local part of its return path.
    pub reference: String,
    pub recipient: String,
}

/// Where a session is.
#[derive(Default)]
struct State {
    is_in_data: bool,
    recipient: String,
}

impl Sink {
    pub async fn start() -> Self {
        Self::start_on(0).await
    }

    /// On this port; 0 is any that is free.
    pub async fn start_on(port: u16) -> Self {
        let listener = TcpListener::bind(("127.0.0.1", port)).await.unwrap();
        let sink = Self { port: listener.local_addr().unwrap().port(), seen: Arc::default() };
        let seen = sink.seen.clone();
        tokio::spawn(async move {
            while let Ok((socket, _)) = listener.accept().await {
                tokio::spawn(converse(socket, seen.clone()));
            }
        });
        sink
    }

    pub fn port(&self) -> u16 {
        self.port
    }

    /// The settings under which the program relays here.
    pub fn settings(&self) -> Vec<String> {
        relaying_to(self.port)
    }

    pub async fn wait_for(&self, mails: usize) {
        let arrived = async {
            while self.seen.mails.load(Ordering::Relaxed) < mails {
                tokio::time::sleep(Duration::from_millis(2)).await;
            }
        };
        let seen = || self.seen.mails.load(Ordering::Relaxed);
        tokio::time::timeout(ROUND_MAX, arrived)
            .await
            .unwrap_or_else(|_| panic!("{} of {mails} mails arrived", seen()));
    }

    pub fn copies(&self) -> Vec<Copy> {
        self.seen.copies.lock().unwrap().clone()
    }

    /// How many arrived, and how many of them carry two signatures.
    pub fn arrived(&self) -> (usize, usize) {
        (self.seen.mails.load(Ordering::Relaxed), self.seen.signed.load(Ordering::Relaxed))
    }

    pub fn links(&self) -> Vec<String> {
        self.seen.links.lock().unwrap().clone()
    }
}

/// The settings under which the program relays to this port of this machine.
pub fn relaying_to(port: u16) -> Vec<String> {
    let port = format!("deliver.smarthost.port={port}");
    let settings = [
        "tracking.base_url=http://track.load.example",
        "deliver.mode=smarthost",
        "deliver.smarthost.host=127.0.0.1",
        "deliver.smarthost.tls=none",
        &port,
    ];
    settings.map(str::to_owned).to_vec()
}

async fn converse(mut socket: TcpStream, seen: Arc<Seen>) {
    let _ = socket.set_nodelay(true);
    let mut buffer = Vec::with_capacity(64 * 1024);
    let mut replies = b"220 sink\r\n".to_vec();
    let mut state = State::default();
    loop {
        if socket.write_all(&replies).await.is_err() {
            return;
        }
        replies.clear();
        if !matches!(socket.read_buf(&mut buffer).await, Ok(count) if count > 0) {
            return;
        }
        while let Some(used) = step(&buffer, &mut state, &mut replies, &seen) {
            buffer.drain(..used);
        }
    }
}

/// Answers one command or one mail at the start of the buffer; how much of it was used.
fn step(buffer: &[u8], state: &mut State, replies: &mut Vec<u8>, seen: &Seen) -> Option<usize> {
    if state.is_in_data {
        let end = memmem::find(buffer, b"\r\n.\r\n")?;
        keep_link(&buffer[..end], seen);
        keep_copy(&buffer[..end], &state.recipient, seen);
        let signatures = memmem::find_iter(&buffer[..end.min(4096)], b"DKIM-Signature: v=1").count();
        seen.signed.fetch_add(usize::from(signatures == 2), Ordering::Relaxed);
        seen.mails.fetch_add(1, Ordering::Relaxed);
        replies.extend_from_slice(b"250 2.0.0 ok\r\n");
        state.is_in_data = false;
        return Some(end + 5);
    }
    let end = memchr::memchr(b'\n', buffer)?;
    let reply: &[u8] = match buffer.get(..4).unwrap_or_default().to_ascii_uppercase().as_slice() {
        b"EHLO" => b"250-sink\r\n250-PIPELINING\r\n250-8BITMIME\r\n250 SMTPUTF8\r\n",
        b"DATA" => {
            state.is_in_data = true;
            b"354 go\r\n"
        }
        b"RCPT" => {
            let command = String::from_utf8_lossy(&buffer[..end]);
            state.recipient = command.split(['<', '>']).nth(1).unwrap_or_default().to_owned();
            b"250 2.0.0 ok\r\n"
        }
        b"QUIT" => b"221 bye\r\n",
        _ => b"250 2.0.0 ok\r\n",
    };
    replies.extend_from_slice(reply);
    Some(end + 1)
}

/// Keeps whose the first copies are: what their own header says.
fn keep_copy(mail: &[u8], recipient: &str, seen: &Seen) {
    let mut copies = seen.copies.lock().unwrap();
    let reference = mail.strip_prefix(b"X-Postback-Ref: ").and_then(|rest| rest.split(|byte| *byte == b'\r').next());
    if let (Some(Ok(reference)), true) = (reference.map(std::str::from_utf8), copies.len() < LINKS_MAX) {
        copies.push(Copy { reference: reference.to_owned(), recipient: recipient.to_owned() });
    }
}

/// Keeps the first tracked link of the first mails.
fn keep_link(mail: &[u8], seen: &Seen) {
    let mut links = seen.links.lock().unwrap();
    if links.len() >= LINKS_MAX {
        return;
    }
    let Some(at) = memmem::find(mail, b"/c/") else { return };
    let start = memmem::rfind(&mail[..at], b"http://").unwrap_or(at);
    let length = mail[start..].iter().position(|byte| matches!(byte, b'"' | b'\r' | b' ')).unwrap_or(0);
    if let Ok(link) = std::str::from_utf8(&mail[start..start + length])
        && !link.contains('=')
    {
        links.push(link.to_owned());
    }
}
