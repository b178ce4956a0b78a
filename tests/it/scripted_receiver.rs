//! A webhook receiver on loopback: answers each path as it was told, 200 where it was told nothing.

use std::collections::{HashMap, VecDeque};
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Semaphore, mpsc};
use tokio::task::JoinSet;

/// What to answer.
#[derive(Clone, Debug)]
pub enum Answer {
    /// This status, with these header lines (each ended by CRLF).
    Status(u16, &'static str),
    /// 200, when [`Receiver::let_go`] says so.
    Held,
    /// None: the connection closes.
    Closed,
    /// None, and the connection stays.
    Silent,
    /// 200, and a body without end, as fast as it is taken.
    Flood,
    /// 200, and a body of which nothing comes but a byte.
    Trickle,
}

/// A request as it arrived.
#[derive(Clone, Debug)]
pub struct Posted {
    /// The path.
    pub path: String,
    /// Header names in lower case.
    pub headers: HashMap<String, String>,
    /// The body.
    pub body: String,
}

#[derive(Debug, Default)]
struct Seen {
    answers: HashMap<String, VecDeque<Answer>>,
    always: HashMap<String, Answer>,
    posted: Vec<Posted>,
    /// Requests under way by path, now and at most.
    under_way: HashMap<String, (usize, usize)>,
}

/// The receiver; it stops when it is dropped.
#[derive(Debug)]
pub struct Receiver {
    address: SocketAddr,
    seen: Arc<Mutex<Seen>>,
    held: Arc<Semaphore>,
    arrivals: tokio::sync::Mutex<mpsc::UnboundedReceiver<Posted>>,
    _listening: JoinSet<()>,
}

impl Receiver {
    /// Listens on a free port.
    pub async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (seen, held) = (Arc::<Mutex<Seen>>::default(), Arc::new(Semaphore::new(0)));
        let (arrive, arrivals) = mpsc::unbounded_channel();
        let mut listening = JoinSet::new();
        let (shared, gate) = (seen.clone(), held.clone());
        listening.spawn(async move {
            let mut guests = JoinSet::new();
            while let Ok((socket, _)) = listener.accept().await {
                guests.spawn(serve(socket, shared.clone(), gate.clone(), arrive.clone()));
            }
        });
        Self { address, seen, held, arrivals: tokio::sync::Mutex::new(arrivals), _listening: listening }
    }

    /// The URL of a path.
    pub fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.address)
    }

    /// The next request to this path is answered so; those told before come first.
    pub fn next_answer(&self, path: &str, answer: Answer) {
        self.seen.lock().unwrap().answers.entry(path.to_owned()).or_default().push_back(answer);
    }

    /// Requests to this path are answered so unless the next answer was told.
    pub fn always_answer(&self, path: &str, answer: Answer) {
        self.seen.lock().unwrap().always.insert(path.to_owned(), answer);
    }

    /// Answers so many of those held.
    pub fn let_go(&self, count: usize) {
        self.held.add_permits(count);
    }

    /// The next request.
    pub async fn next(&self) -> Posted {
        self.arrivals.lock().await.recv().await.unwrap()
    }

    /// All requests so far.
    pub fn posted(&self) -> Vec<Posted> {
        self.seen.lock().unwrap().posted.clone()
    }

    /// How many there were so far.
    pub fn count(&self) -> usize {
        self.seen.lock().unwrap().posted.len()
    }

    /// The most requests that were under way to this path at one time.
    pub fn most_at_once(&self, path: &str) -> usize {
        self.seen.lock().unwrap().under_way.get(path).map_or(0, |(_, most)| *most)
    }
}

async fn serve(
    mut socket: TcpStream,
    seen: Arc<Mutex<Seen>>,
    held: Arc<Semaphore>,
    arrive: mpsc::UnboundedSender<Posted>,
) -> Option<()> {
    socket.set_nodelay(true).unwrap();
    let mut buffer = Vec::new();
    loop {
        let posted = request(&mut socket, &mut buffer).await?;
        let answer = {
            let mut seen = seen.lock().unwrap();
            seen.posted.push(posted.clone());
            let (now, most) = seen.under_way.entry(posted.path.clone()).or_default();
            *now += 1;
            *most = (*most).max(*now);
            let next = seen.answers.get_mut(&posted.path).and_then(VecDeque::pop_front);
            next.or_else(|| seen.always.get(&posted.path).cloned()).unwrap_or(Answer::Status(200, ""))
        };
        arrive.send(posted.clone()).ok()?;
        let text = match answer {
            Answer::Status(status, headers) => format!("HTTP/1.1 {status} x\r\nContent-Length: 0\r\n{headers}\r\n"),
            Answer::Held => {
                held.acquire().await.unwrap().forget();
                "HTTP/1.1 200 x\r\nContent-Length: 0\r\n\r\n".to_owned()
            }
            Answer::Closed => String::new(),
            Answer::Silent => {
                // Until the other side has had enough.
                let _ = socket.read_buf(&mut buffer).await;
                String::new()
            }
            Answer::Flood | Answer::Trickle => "HTTP/1.1 200 x\r\nContent-Length: 10000000000\r\n\r\nx".to_owned(),
        };
        let sent = socket.write_all(text.as_bytes()).await;
        match answer {
            Answer::Flood => {
                let kilobytes = vec![b'x'; 64 * 1024];
                while socket.write_all(&kilobytes).await.is_ok() {}
            }
            Answer::Trickle => drop(socket.read_buf(&mut buffer).await),
            _ => {}
        }
        seen.lock().unwrap().under_way.get_mut(&posted.path)?.0 -= 1;
        if sent.is_err() || !matches!(answer, Answer::Status(..) | Answer::Held) {
            return None;
        }
    }
}

async fn request(socket: &mut TcpStream, buffer: &mut Vec<u8>) -> Option<Posted> {
    let head_end = loop {
        if let Some(at) = buffer.windows(4).position(|bytes| bytes == b"\r\n\r\n") {
            break at + 4;
        }
        if socket.read_buf(buffer).await.ok()? == 0 {
            return None;
        }
    };
    let head: Vec<u8> = buffer.drain(..head_end).collect();
    let head = String::from_utf8(head).unwrap();
    let mut lines = head.lines();
    let path = lines.next()?.split(' ').nth(1)?.to_owned();
    let fields = lines.filter_map(|line| line.split_once(": "));
    let headers: HashMap<String, String> =
        fields.map(|(name, value)| (name.to_ascii_lowercase(), value.to_owned())).collect();
    let length: usize = headers.get("content-length").and_then(|length| length.parse().ok()).unwrap_or(0);
    while buffer.len() < length {
        if socket.read_buf(buffer).await.ok()? == 0 {
            return None;
        }
    }
    let body: Vec<u8> = buffer.drain(..length).collect();
    Some(Posted { path, headers, body: String::from_utf8(body).unwrap() })
}
