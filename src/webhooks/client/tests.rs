//! The client against receivers that behave and receivers that do not, over real sockets on loopback.

mod brought;
mod proxied;

use std::net::Ipv4Addr;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

use rcgen::{CertificateParams, KeyPair};
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::WebPkiClientVerifier;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::sync::Notify;
use tokio_rustls::TlsAcceptor;

use super::*;
use crate::dns::Table;
use crate::egress::{self, Policy, Settings};
use crate::model::time::Timestamp;

const OK: &str = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nOK";

/// One connection to a receiver.
struct Peer<S> {
    stream: S,
    seen: Arc<Seen>,
}

/// What a receiver saw.
#[derive(Default)]
struct Seen {
    connections: AtomicUsize,
    requests: Mutex<Vec<String>>,
    closed: Notify,
}

impl Seen {
    fn connections(&self) -> usize {
        self.connections.load(Ordering::SeqCst)
    }

    fn requests(&self) -> usize {
        self.requests.lock().unwrap().len()
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> Peer<S> {
    /// Reads a request to its end; false when the connection ends instead.
    async fn request(&mut self) -> bool {
        let mut text = Vec::new();
        loop {
            if let Some(head) = text.windows(4).position(|part| part == b"\r\n\r\n") {
                let heading = String::from_utf8_lossy(&text[..head]).to_lowercase();
                let length = heading.split("content-length: ").nth(1).map_or("0", |rest| rest.lines().next().unwrap());
                if text.len() >= head + 4 + length.parse::<usize>().unwrap() {
                    self.seen.requests.lock().unwrap().push(String::from_utf8_lossy(&text).into_owned());
                    return true;
                }
            }
            if self.stream.read_buf(&mut text).await.unwrap_or(0) == 0 {
                return false;
            }
        }
    }

    async fn say(&mut self, text: &str) -> bool {
        self.stream.write_all(text.as_bytes()).await.is_ok()
    }

    /// Waits until the client closes.
    async fn hang(&mut self) {
        let mut rest = Vec::new();
        let _ = self.stream.read_to_end(&mut rest).await;
        self.seen.closed.notify_one();
    }
}

/// A receiver that treats its connections, counted from 1, in this way.
async fn receiver<F, T>(treat: F) -> (u16, Arc<Seen>)
where
    F: Fn(usize, Peer<TcpStream>) -> T + Send + 'static,
    T: Future<Output = ()> + Send + 'static,
{
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let seen = Arc::new(Seen::default());
    let watching = Arc::clone(&seen);
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let number = watching.connections.fetch_add(1, Ordering::SeqCst) + 1;
            tokio::spawn(treat(number, Peer { stream, seen: Arc::clone(&watching) }));
        }
    });
    (port, seen)
}

/// A receiver that gives every request this answer.
async fn answering(answer: impl Into<String>) -> (u16, Arc<Seen>) {
    let answer = answer.into();
    receiver(move |_, mut peer| {
        let answer = answer.clone();
        async move { while peer.request().await && peer.say(&answer).await {} }
    })
    .await
}

fn request() -> Request {
    Request {
        content_type: "application/json",
        headers: vec![("X-Mailtura-Signature".to_owned(), "ab".to_owned())],
        body: Bytes::from_static(b"{\"a\":1}"),
    }
}

fn limits() -> Limits {
    Limits { total: Duration::from_secs(5), ..Limits::default() }
}

fn client_with(policy: Policy, limits: Limits, ca_file: Option<&std::path::Path>) -> Client {
    let table = Table::new().with_silence("silent.test").with_addresses("public.test", [[8, 8, 8, 8].into()]);
    let guard_limits = egress::Limits { dns: Duration::from_millis(50), ..egress::Limits::default() };
    let guard = Guard::new(policy, Arc::new(table)).with_limits(guard_limits);
    let clock = Clock::standing(Timestamp::from_millis(1_000_000));
    Client::new(Arc::new(guard), Trust::open(ca_file).unwrap(), clock, limits)
}

fn client() -> Client {
    client_with(Policy::default().capturing(), limits(), None)
}

fn url(port: u16) -> String {
    format!("http://127.0.0.1:{port}/hook?a=%20b#c")
}

fn to(url: &str) -> Destination<'_> {
    Destination { url, identity: Identity::default(), timeout: Duration::MAX }
}

fn check_fault(answer: &Answer, word: &'static str) {
    assert_eq!(answer.post, Post::Failed { status: None, error: word, wait: None }, "{answer:?}");
}

#[tokio::test]
async fn what_goes_over_the_wire() {
    let (port, seen) = answering(OK).await;
    let client = client();
    let answer = client.post(to(&url(port)), &request()).await;
    assert_eq!((answer.post, answer.status), (Post::Arrived { status: 200 }, Some(200)));
    assert_eq!((answer.body_head.as_slice(), answer.is_reused), (b"OK".as_slice(), false));
    assert_eq!(answer.peer.unwrap().port(), port);
    assert!(answer.timings.head.unwrap() <= answer.timings.total && answer.timings.connect.is_some());
    let again = client.post(to(&url(port)), &request()).await;
    assert!(again.is_reused && again.fault.is_none());
    assert_eq!((seen.connections(), seen.requests()), (1, 2));
    let wire = format!(
        "POST /hook?a=%20b HTTP/1.1\r\nhost: 127.0.0.1:{port}\r\nx-mailtura-signature: ab\r\nuser-agent: Postback/{}\r\n\
         content-type: application/json\r\naccept-encoding: identity\r\ncontent-length: 7\r\n\r\n{{\"a\":1}}",
        env!("CARGO_PKG_VERSION")
    );
    assert_eq!(seen.requests.lock().unwrap().as_slice(), [wire.clone(), wire]);
}

#[tokio::test]
async fn statuses() {
    for (head, expected) in [
        ("204 No Content", Post::Arrived { status: 204 }),
        ("500 Oh", Post::Failed { status: Some(500), error: "http_status", wait: None }),
        ("410 Gone", Post::Gone),
        (
            "429 Slow\r\nRetry-After: 60",
            Post::Failed { status: Some(429), error: "http_status", wait: Some(Duration::from_secs(60)) },
        ),
    ] {
        let (port, _) = answering(format!("HTTP/1.1 {head}\r\nContent-Length: 0\r\n\r\n")).await;
        assert_eq!(client().post(to(&url(port)), &request()).await.post, expected);
    }
}

/// Row 96 of the table of hostile URLs.
#[tokio::test]
async fn redirects_are_not_followed() {
    let (target, reached) = answering(OK).await;
    let location = format!("HTTP/1.1 302 Found\r\nLocation: http://127.0.0.1:{target}/\r\nContent-Length: 0\r\n\r\n");
    let (port, seen) = answering(location).await;
    let answer = client().post(to(&url(port)), &request()).await;
    assert_eq!(answer.post, Post::Failed { status: Some(302), error: "http_status", wait: None });
    assert_eq!(answer.redirect_host().as_deref(), Some("127.0.0.1"));
    assert_eq!((seen.requests(), reached.connections()), (1, 0));
}

#[tokio::test]
async fn silence_ends_at_the_deadline() {
    for head in ["", "HTTP/1.1 200 OK\r\nX-Slow:"] {
        let (port, _) = receiver(move |_, mut peer| async move {
            peer.request().await;
            peer.say(head).await;
            peer.hang().await;
        })
        .await;
        let url = url(port);
        let brief = Limits { total: Duration::from_millis(100), ..limits() };
        let patient = Limits { total: Duration::from_secs(3600), ..limits() };
        // Whichever is the shorter: the client's patience, or the webhook's.
        for (limits, timeout) in [(brief, Duration::MAX), (patient, Duration::from_millis(100))] {
            let client = client_with(Policy::default().capturing(), limits, None);
            check_fault(&client.post(Destination { timeout, ..to(&url) }, &request()).await, "http_timeout");
        }
    }
}

/// Row 97: the status counts, the body is cut at the deadline or at its size, and the connection is closed.
#[tokio::test]
async fn endless_bodies_are_cut() {
    let (port, seen) = receiver(|_, mut peer| async move {
        peer.request().await;
        peer.say("HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\nslow").await;
        peer.hang().await;
    })
    .await;
    let brief = Limits { total: Duration::from_millis(100), ..limits() };
    let answer = client_with(Policy::default().capturing(), brief, None).post(to(&url(port)), &request()).await;
    assert_eq!((answer.post, answer.body_head.as_slice()), (Post::Arrived { status: 200 }, b"slow".as_slice()));
    seen.closed.notified().await;

    let written = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&written);
    let (port, seen) = receiver(move |_, mut peer| {
        let count = Arc::clone(&count);
        async move {
            peer.request().await;
            peer.say("HTTP/1.1 500 Oh\r\nContent-Length: 10000000000\r\n\r\n").await;
            let kilobytes = "x".repeat(64 * 1024);
            while peer.say(&kilobytes).await {
                count.fetch_add(kilobytes.len(), Ordering::SeqCst);
            }
            peer.seen.closed.notify_one();
        }
    })
    .await;
    let client = client();
    let answer = client.post(to(&url(port)), &request()).await;
    assert_eq!((answer.status, answer.body_head.len()), (Some(500), client.limits.body_bytes));
    seen.closed.notified().await;
    assert!(written.load(Ordering::SeqCst) < 64 * 1024 * 1024);
    assert_eq!(client.pool.waiting(), 0);

    // Who took it and announces more than anybody reads is not listened to until the deadline.
    let (port, seen) = receiver(|_, mut peer| async move {
        peer.request().await;
        peer.say("HTTP/1.1 200 OK\r\nContent-Length: 10000000000\r\n\r\nbegins").await;
        peer.hang().await;
    })
    .await;
    let patient = Limits { total: Duration::from_secs(3600), ..limits() };
    let answer = client_with(Policy::default().capturing(), patient, None).post(to(&url(port)), &request()).await;
    assert_eq!(answer.post, Post::Arrived { status: 200 });
    assert!(b"begins".starts_with(&answer.body_head) && answer.body_head.len() <= 6);
    seen.closed.notified().await;
}

/// Row 98.
#[tokio::test]
async fn answers_that_are_none_do_not_go_on_for_ever() {
    let (port, seen) = receiver(|_, mut peer| async move {
        peer.request().await;
        while peer.say(&"HTTP/1.1 100 Continue\r\n\r\n".repeat(100)).await {}
        peer.seen.closed.notify_one();
    })
    .await;
    check_fault(&client().post(to(&url(port)), &request()).await, "response_too_large");
    seen.closed.notified().await;
    let (port, _) = answering(format!("{}{OK}", "HTTP/1.1 103 Early Hints\r\n\r\n".repeat(3))).await;
    assert_eq!(client().post(to(&url(port)), &request()).await.status, Some(200));
}

#[tokio::test]
async fn heads_that_are_too_large() {
    let many: String = (0..65_000).map(|n| format!("X-{n}: y\r\n")).collect();
    let long = format!("X: {}\r\n", "y".repeat(33_000));
    for headers in [many, long] {
        let (port, _) = answering(format!("HTTP/1.1 200 OK\r\n{headers}\r\n")).await;
        check_fault(&client().post(to(&url(port)), &request()).await, "response_too_large");
    }
    let (port, _) =
        answering(format!("HTTP/1.1 200 OK\r\nX: {}\r\nContent-Length: 0\r\n\r\n", "y".repeat(30_000))).await;
    assert_eq!(client().post(to(&url(port)), &request()).await.post, Post::Arrived { status: 200 });
}

#[tokio::test]
async fn early_ends_and_nonsense() {
    for answer in ["", "HTTP/1.1 200", "SSH-2.0-x\r\n\r\n", "HTTP/1.1 2000 OK\r\n\r\n"] {
        let (port, seen) = receiver(move |_, mut peer| async move {
            peer.request().await;
            peer.say(answer).await;
        })
        .await;
        check_fault(&client().post(to(&url(port)), &request()).await, "http_broken");
        assert_eq!(seen.connections(), 1, "{answer:?}");
    }
}

#[tokio::test]
async fn a_kept_connection_that_closes_unanswered_is_repeated_once() {
    let (port, seen) = receiver(|_, mut peer| async move {
        let _ = peer.request().await && peer.say(OK).await && peer.request().await;
    })
    .await;
    let client = client();
    assert!(client.post(to(&url(port)), &request()).await.fault.is_none());
    let second = client.post(to(&url(port)), &request()).await;
    assert_eq!((second.post, second.is_reused), (Post::Arrived { status: 200 }, false));
    assert_eq!((seen.connections(), seen.requests()), (2, 3));
}

#[tokio::test]
async fn an_answer_that_has_begun_is_not_asked_for_again() {
    let (port, seen) = receiver(|_, mut peer| async move {
        let _ = peer.request().await && peer.say(OK).await && peer.request().await && peer.say("HTTP/1.1 20").await;
    })
    .await;
    let client = client();
    assert!(client.post(to(&url(port)), &request()).await.fault.is_none());
    check_fault(&client.post(to(&url(port)), &request()).await, "http_broken");
    assert_eq!((seen.connections(), seen.requests()), (1, 2));
}

#[tokio::test]
async fn kept_connections_end_with_the_policy_and_with_time() {
    let (port, seen) = receiver(|_, mut peer| async move {
        let _ = peer.request().await && peer.say(OK).await;
        peer.hang().await;
    })
    .await;
    let limits = Limits { idle: Duration::from_millis(40), ..limits() };
    let client = client_with(Policy::default().capturing(), limits, None);
    client.post(to(&url(port)), &request()).await;
    assert_eq!(client.pool.waiting(), 1);
    client.guard.replace(Policy::default().capturing());
    assert!(!client.post(to(&url(port)), &request()).await.is_reused);
    seen.closed.notified().await;
    assert_eq!(seen.connections(), 2);
}

#[tokio::test]
async fn the_pool_has_its_bounds() {
    let (port, _) = answering(OK).await;
    for (idle_per_host, idle_total, expected) in [(2, 9, 2), (9, 3, 3), (0, 9, 0)] {
        let limits = Limits { idle_per_host, idle_total, ..limits() };
        let client = client_with(Policy::default().capturing(), limits, None);
        let (url, request) = (url(port), request());
        let post = || client.post(to(&url), &request);
        let _ = tokio::join!(post(), post(), post(), post(), post());
        assert_eq!(client.pool.waiting(), expected);
    }
}

#[tokio::test]
async fn destinations_that_cannot_be_reached() {
    // Bound, so that nobody takes the port, and not listening.
    let socket = TcpSocket::new_v4().unwrap();
    socket.bind((Ipv4Addr::LOCALHOST, 0).into()).unwrap();
    let shut = socket.local_addr().unwrap().port();
    for (url, word) in [
        (format!("http://127.0.0.1:{shut}/"), "connect_refused"),
        ("https://10.0.0.1/".to_owned(), "egress_blocked"),
        ("http://public.test/".to_owned(), "egress_blocked"),
        ("nonsense".to_owned(), "egress_blocked"),
        ("https://nobody.test/".to_owned(), "dns_nxdomain"),
        ("https://silent.test/".to_owned(), "dns_timeout"),
    ] {
        check_fault(&client().post(to(&url), &request()).await, word);
    }
    let bad = Request { headers: vec![("a".to_owned(), "b\r\nc".to_owned())], ..request() };
    check_fault(&client().post(to(&url(shut)), &bad).await, "request_invalid");
}

#[tokio::test]
async fn what_an_exception_answers_is_not_shown() {
    let (port, _) = answering(OK).await;
    let settings = Settings { allow: vec!["127.0.0.0/8".to_owned()], ..Settings::default() };
    let answer = client_with(Policy::new(&settings).unwrap(), limits(), None).post(to(&url(port)), &request()).await;
    assert_eq!((answer.post, answer.body_head.len()), (Post::Arrived { status: 200 }, 0));
}

/// A TLS receiver whose certificate is for these names, and its certificate as PEM.
/// A certificate that vouches for itself, and its key.
fn self_signed(names: &[&str], is_expired: bool) -> (rcgen::Certificate, KeyPair) {
    let key = KeyPair::generate().unwrap();
    let mut params = CertificateParams::new(names.iter().map(ToString::to_string).collect::<Vec<_>>()).unwrap();
    if is_expired {
        params.not_after = rcgen::date_time_ymd(2001, 1, 1);
    }
    (params.self_signed(&key).unwrap(), key)
}

/// A receiver that says OK over TLS, to `guest` alone when one is named; its certificate.
async fn tls_receiver(
    names: &[&str],
    is_expired: bool,
    guest: Option<&rcgen::Certificate>,
) -> (u16, Arc<Seen>, String) {
    let (certificate, key) = self_signed(names, is_expired);
    let chain = vec![CertificateDer::from(certificate.der().to_vec())];
    let key = PrivateKeyDer::try_from(key.serialize_der()).unwrap();
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let config = rustls::ServerConfig::builder_with_provider(provider.clone());
    let config = config.with_safe_default_protocol_versions().unwrap();
    let config = match guest {
        None => config.with_no_client_auth(),
        Some(guest) => {
            let mut roots = rustls::RootCertStore::empty();
            roots.add(guest.der().clone()).unwrap();
            let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider).build().unwrap();
            config.with_client_cert_verifier(verifier)
        }
    };
    let acceptor = TlsAcceptor::from(Arc::new(config.with_single_cert(chain, key).unwrap()));
    let (port, seen) = receiver(move |_, peer| {
        let acceptor = acceptor.clone();
        async move {
            if let Ok(stream) = acceptor.accept(peer.stream).await {
                let mut peer = Peer { stream, seen: peer.seen };
                while peer.request().await && peer.say(OK).await {}
            }
        }
    })
    .await;
    (port, seen, certificate.pem())
}

/// Row 99: a certificate for another name, an expired one, or one of a stranger; nothing is sent.
#[tokio::test]
async fn certificates() {
    let folder = tempfile::tempdir().unwrap();
    let ca_file = folder.path().join("ca.pem");
    for (names, is_expired, is_trusted, expected) in [
        (["localhost"], false, true, None),
        (["localhost"], false, false, Some("tls_bad_certificate")),
        (["other.example"], false, true, Some("tls_bad_certificate")),
        (["localhost"], true, true, Some("tls_bad_certificate")),
    ] {
        let (port, seen, pem) = tls_receiver(&names, is_expired, None).await;
        std::fs::write(&ca_file, pem).unwrap();
        let client = client_with(Policy::default().capturing(), limits(), is_trusted.then_some(ca_file.as_path()));
        let answer = client.post(to(&format!("https://localhost:{port}/")), &request()).await;
        match expected {
            Some(word) => check_fault(&answer, word),
            None => assert_eq!(answer.post, Post::Arrived { status: 200 }, "{answer:?}"),
        }
        assert_eq!(answer.timings.tls.is_some(), expected.is_none());
        assert_eq!(seen.requests(), usize::from(expected.is_none()));
    }
}

#[tokio::test]
async fn what_is_not_tls() {
    let (plain, _) = receiver(|_, mut peer| async move {
        peer.say("HTTP/1.1 400 Bad Request\r\n\r\n").await;
        peer.hang().await;
    })
    .await;
    check_fault(&client().post(to(&format!("https://127.0.0.1:{plain}/")), &request()).await, "tls_failed");
    let (silent, _) = receiver(|_, mut peer| async move { peer.hang().await }).await;
    let limits = Limits { tls: Duration::from_millis(50), ..limits() };
    let client = client_with(Policy::default().capturing(), limits, None);
    check_fault(&client.post(to(&format!("https://127.0.0.1:{silent}/")), &request()).await, "tls_timeout");
}
