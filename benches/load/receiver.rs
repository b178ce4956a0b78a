//! Receivers of webhooks: one that answers at once, over http or https, and knows how late each event came; and one for
//! each way in which receivers misbehave.

use std::convert::Infallible;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::service::service_fn;
use hyper::{Request, Response};
use hyper_util::rt::TokioIo;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tempfile::TempDir;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsAcceptor;

/// Ways to misbehave: answer 500, never, byte by byte, without end, not at all, elsewhere.
pub const MISDEEDS: [&str; 6] = ["fail", "hang", "trickle", "flood", "close", "redirect"];

/// Answers every POST with 200 and counts it.
pub struct Receiver {
    port: u16,
    certificate: Option<(TempDir, PathBuf)>,
    seen: Arc<Seen>,
}

#[derive(Default)]
struct Seen {
    posts: AtomicUsize,
    /// How old each event was; kept only for who wants to know.
    delays: Option<Mutex<Vec<Duration>>>,
}

impl Receiver {
    pub async fn start() -> Self {
        Self::listen(Seen::default(), false).await
    }

    /// The same over https.
    pub async fn start_tls() -> Self {
        Self::listen(Seen::default(), true).await
    }

    /// The same, and each event is asked how old it is.
    pub async fn start_timing() -> Self {
        Self::listen(Seen { delays: Some(Mutex::default()), ..Seen::default() }, false).await
    }

    async fn listen(seen: Seen, is_tls: bool) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let (seen, tls) = (Arc::new(seen), is_tls.then(tls));
        let (acceptor, certificate) = tls.map_or((None, None), |(acceptor, file)| (Some(acceptor), Some(file)));
        let watching = seen.clone();
        tokio::spawn(async move {
            while let Ok((socket, _)) = listener.accept().await {
                let _ = socket.set_nodelay(true);
                let (acceptor, seen) = (acceptor.clone(), watching.clone());
                tokio::spawn(async move {
                    match acceptor {
                        None => serve(socket, seen).await,
                        Some(acceptor) => {
                            if let Ok(stream) = acceptor.accept(socket).await {
                                serve(stream, seen).await;
                            }
                        }
                    }
                });
            }
        });
        Self { port, certificate, seen }
    }

    pub fn url(&self) -> String {
        let scheme = if self.certificate.is_some() { "https" } else { "http" };
        format!("{scheme}://127.0.0.1:{}/hook", self.port)
    }

    /// The settings under which the program believes it.
    pub fn settings(&self) -> Vec<String> {
        let file = self.certificate.as_ref().map(|(_, file)| format!("egress.ca_file={}", file.display()));
        file.into_iter().collect()
    }

    pub async fn wait_for(&self, posts: usize) {
        let until = Instant::now() + Duration::from_secs(120);
        while self.seen.posts.load(Ordering::Relaxed) < posts {
            assert!(Instant::now() < until, "{} of {posts} webhooks arrived", self.seen.posts.load(Ordering::Relaxed));
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    }

    /// How old the events were, the youngest first.
    pub fn delays(&self) -> Vec<Duration> {
        let mut delays = self.seen.delays.as_ref().map_or(Vec::new(), |delays| delays.lock().unwrap().clone());
        delays.sort();
        delays
    }
}

async fn serve(stream: impl AsyncRead + AsyncWrite + Unpin, seen: Arc<Seen>) {
    let service = service_fn(|request: Request<hyper::body::Incoming>| {
        let seen = seen.clone();
        async move {
            let body = request.into_body().collect().await?.to_bytes();
            if let Some(delays) = &seen.delays {
                delays.lock().unwrap().push(age(&body));
            }
            seen.posts.fetch_add(1, Ordering::Relaxed);
            Ok::<_, hyper::Error>(Response::new(Full::<Bytes>::default()))
        }
    });
    let _ = hyper::server::conn::http1::Builder::new().serve_connection(TokioIo::new(stream), service).await;
}

/// How long ago an event happened: its own time, not that of the attempt.
fn age(body: &[u8]) -> Duration {
    let event: serde_json::Value = serde_json::from_slice(body).unwrap();
    let data = &event["data"];
    let at = data["sentAt"].as_str().or_else(|| data["deliveredAt"].as_str()).unwrap();
    let at = u64::try_from(at.parse::<jiff::Timestamp>().unwrap().as_millisecond()).unwrap();
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap().saturating_sub(Duration::from_millis(at))
}

/// A certificate for this machine, and the file that it stands in.
fn tls() -> (TlsAcceptor, (TempDir, PathBuf)) {
    let own = rcgen::generate_simple_self_signed(["127.0.0.1".to_owned()]).unwrap();
    let folder = tempfile::tempdir_in(Path::new(env!("CARGO_TARGET_TMPDIR"))).unwrap();
    let file = folder.path().join("receiver.pem");
    std::fs::write(&file, own.cert.pem()).unwrap();
    let chain = vec![CertificateDer::from(own.cert.der().to_vec())];
    let key = PrivateKeyDer::try_from(own.signing_key.serialize_der()).unwrap();
    let config = rustls::ServerConfig::builder_with_provider(Arc::new(rustls::crypto::aws_lc_rs::default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(chain, key)
        .unwrap();
    (TlsAcceptor::from(Arc::new(config)), (folder, file))
}

/// Where receivers misbehave: `http://…/fail` and so on, each of [`MISDEEDS`]. `http://…/good` does not.
pub async fn misbehave() -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let base = format!("http://{}", listener.local_addr().unwrap());
    tokio::spawn(async move {
        while let Ok((socket, _)) = listener.accept().await {
            let _ = socket.set_nodelay(true);
            tokio::spawn(wrong(socket));
        }
    });
    base
}

/// What one connection comes to; `None` when the other side has had enough.
async fn wrong(mut socket: TcpStream) -> Option<Infallible> {
    let mut head = vec![0; 64 * 1024];
    let mut read = socket.read(&mut head).await.ok()?;
    while head.starts_with(b"POST /good ") {
        // Requests come one after the other, each in a piece or two that end with a body.
        while !head.get(..read)?.ends_with(b"}") {
            read += socket.read(head.get_mut(read..)?).await.ok().filter(|more| *more > 0)?;
        }
        socket.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n").await.ok()?;
        read = socket.read(&mut head).await.ok().filter(|read| *read > 0)?;
    }
    let request = String::from_utf8_lossy(head.get(..read)?).into_owned();
    let misdeed = MISDEEDS.into_iter().find(|misdeed| request.starts_with(&format!("POST /{misdeed} ")))?;
    match misdeed {
        "fail" => socket.write_all(b"HTTP/1.1 500 Oh\r\nConnection: close\r\nContent-Length: 0\r\n\r\n").await.ok()?,
        "redirect" => {
            let answer = "HTTP/1.1 302 Found\r\nLocation: http://169.254.169.254/\r\nConnection: close\r\n\
                          Content-Length: 0\r\n\r\n";
            socket.write_all(answer.as_bytes()).await.ok()?;
        }
        "trickle" => {
            socket.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 1000000\r\n\r\n").await.ok()?;
            loop {
                socket.write_all(b"x").await.ok()?;
                tokio::time::sleep(Duration::from_secs(1)).await;
            }
        }
        "flood" => {
            socket.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 10000000000\r\n\r\n").await.ok()?;
            loop {
                socket.write_all(&head).await.ok()?;
            }
        }
        "hang" => while socket.read(&mut head).await.ok()? > 0 {},
        _ => {}
    }
    None
}
