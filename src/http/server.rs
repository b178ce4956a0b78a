//! Sockets: takes connections, shakes hands, speaks HTTP/1.1 on them, and stops in order.
//!
//! HTTP/1.1 only: every client of these APIs speaks it, and what HTTP/2 adds is mostly ways to be attacked. One task a
//! connection; how long each may keep us waiting is `pace`'s affair. What smuggling is made of is refused: two
//! ends of one request, wherever on a connection, by `framing`, obsolete folding and blanks in names by hyper. Told to stop, it takes no more
//! connections, lets requests that are on their way end, and returns.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::convert::Infallible;
use std::net::{IpAddr, Ipv6Addr, SocketAddr};
use std::pin::pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::header::{CONNECTION, HOST, HeaderValue, STRICT_TRANSPORT_SECURITY, X_CONTENT_TYPE_OPTIONS};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Request, Response, StatusCode, Version};
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};
use tokio::time::{sleep, timeout};

use super::counters::{Counters, add};
use super::pace::{Pace, Paced, Patience};
use super::problem::Problem;
use crate::tls::Acceptor;

/// After accept() has failed (out of file descriptors, most likely) it is left alone for so long.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);
/// How long a TLS handshake may take.
const HANDSHAKE_TIME: Duration = Duration::from_secs(10);
/// Largest header of a request, in bytes; the count of fields is hyper's, 100.
const HEADER_BYTES_MAX: usize = 32 * 1024;
/// What a connection buffers at most, in bytes.
const BUFFER_BYTES_MAX: usize = 128 * 1024;

/// An answer; all of ours are small and whole.
pub type Answer = Response<Full<Bytes>>;

/// From where a request came, as the socket knows it.
#[derive(Clone, Copy, Debug)]
pub struct Peer {
    /// The other end of the connection.
    pub ip: IpAddr,
    /// The connection is encrypted.
    pub is_tls: bool,
}

/// Whoever answers requests.
pub trait Answerer: Clone + Send + Sync + 'static {
    /// The answer to one request. Dropped half-way when the client goes away.
    fn answer(&self, request: Request<Incoming>, peer: Peer) -> impl Future<Output = Answer> + Send;

    /// The answer to a request that no server may take as it is; the connection is closed after it.
    fn refuse(&self, _request: &Request<Incoming>, _problem: &Problem) -> Answer {
        let mut answer = Answer::default();
        *answer.status_mut() = StatusCode::BAD_REQUEST;
        answer
    }
}

/// Limits of one server.
#[derive(Clone, Copy, Debug)]
pub(super) struct Limits {
    pub connections_max: usize,
    pub connections_per_address_max: u32,
    pub idle: Duration,
    pub header: Duration,
    pub write: Duration,
    pub drain: Duration,
}

/// Takes connections until `stop` is true or its sender is gone; returns when the last one has ended, each within
/// `limits.drain`.
pub(super) async fn serve<A: Answerer>(
    listener: TcpListener,
    tls: Option<Acceptor>,
    answerer: A,
    limits: Limits,
    counters: Arc<Counters>,
    mut stop: watch::Receiver<bool>,
) {
    let places = Arc::new(Semaphore::new(limits.connections_max));
    let door = Arc::new(Door { answerer, tls, limits, crowd: Crowd::default(), counters, stop: stop.clone() });
    loop {
        let taken = async {
            let place = places.clone().acquire_owned().await;
            (place, listener.accept().await)
        };
        let (place, accepted) = tokio::select! {
            taken = taken => taken,
            _ = stop.wait_for(|stop| *stop) => break,
        };
        match (place, accepted) {
            (Ok(place), Ok((stream, peer))) => door.admit(stream, peer, place),
            (Ok(_), Err(fault)) => {
                tracing::warn!(%fault, "http: cannot take connections");
                sleep(ACCEPT_PAUSE).await;
            }
            (Err(_), _) => break,
        }
    }
    drop(listener);
    let all = u32::try_from(limits.connections_max).unwrap_or(u32::MAX);
    drop(places.acquire_many(all).await);
}

struct Door<A> {
    answerer: A,
    tls: Option<Acceptor>,
    limits: Limits,
    crowd: Crowd,
    counters: Arc<Counters>,
    stop: watch::Receiver<bool>,
}

impl<A: Answerer> Door<A> {
    /// Gives a connection a task of its own, unless its address has enough of them.
    fn admit(self: &Arc<Self>, stream: TcpStream, peer: SocketAddr, place: OwnedSemaphorePermit) {
        let ip = peer.ip().to_canonical();
        if !self.crowd.enter(ip, self.limits.connections_per_address_max) {
            add(&self.counters.turned_away, 1);
            return;
        }
        add(&self.counters.connections, 1);
        let door = self.clone();
        tokio::spawn(async move {
            let _inside = Inside { crowd: &door.crowd, ip, _place: place };
            // An answer is one write; waiting for more to fill a packet only delays it.
            let _ = stream.set_nodelay(true);
            match &door.tls {
                None => door.converse(stream, Peer { ip, is_tls: false }).await,
                Some(tls) => match timeout(HANDSHAKE_TIME, tls.accept(stream)).await {
                    Ok(Ok(stream)) => door.converse(stream, Peer { ip, is_tls: true }).await,
                    Ok(Err(_)) | Err(_) => add(&door.counters.failed_handshakes, 1),
                },
            }
        });
    }

    async fn converse<S: AsyncRead + AsyncWrite + Unpin + Send>(&self, stream: S, peer: Peer) {
        let Limits { idle, header, write, drain, .. } = self.limits;
        let pace = Pace::default();
        let stream = Paced::new(stream, pace.clone(), Patience { idle, header, write });
        let service = service_fn(|request| {
            let is_clear = pace.answering();
            let pace = pace.clone();
            async move {
                let answer = match is_clear {
                    true if names_host(&request) => self.answerer.answer(request, peer).await,
                    true => closing(self.answerer.refuse(&request, &Problem::Host)),
                    false => closing(self.answerer.refuse(&request, &Problem::Ambiguous)),
                };
                pace.idle();
                Ok::<_, Infallible>(finished(answer, peer))
            }
        });
        let mut protocol = http1::Builder::new();
        protocol.header_read_timeout(None).max_header_size(HEADER_BYTES_MAX).max_buf_size(BUFFER_BYTES_MAX);
        let mut connection = pin!(protocol.serve_connection(TokioIo::new(stream), service));
        let mut stop = self.stop.clone();
        // What ends a connection otherwise than in order is the client's affair: it went away, or spoke no HTTP.
        tokio::select! {
            _ = connection.as_mut() => return,
            _ = stop.wait_for(|stop| *stop) => {}
        }
        connection.as_mut().graceful_shutdown();
        let _ = timeout(drain, connection).await;
    }
}

/// RFC 9112 §3.2: since HTTP/1.1 a request has one `Host`, and who sends none or two is refused.
fn names_host(request: &Request<Incoming>) -> bool {
    let count = request.headers().get_all(HOST).iter().count();
    count == 1 || (count == 0 && request.version() < Version::HTTP_11)
}

fn closing(mut answer: Answer) -> Answer {
    answer.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
    answer
}

/// What every answer carries.
fn finished(mut answer: Answer, peer: Peer) -> Answer {
    let headers = answer.headers_mut();
    headers.insert(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    if peer.is_tls {
        headers.insert(STRICT_TRANSPORT_SECURITY, HeaderValue::from_static("max-age=31536000"));
    }
    answer
}

/// How many connections each address has; an IPv6 host is its /64. Bounded by the places there are.
#[derive(Debug, Default)]
struct Crowd(Mutex<HashMap<IpAddr, u32>>);

impl Crowd {
    fn enter(&self, ip: IpAddr, max: u32) -> bool {
        let mut crowd = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let count = crowd.entry(host(ip)).or_default();
        let is_room = *count < max;
        *count += u32::from(is_room);
        is_room
    }

    fn leave(&self, ip: IpAddr) {
        let mut crowd = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Entry::Occupied(mut count) = crowd.entry(host(ip)) {
            *count.get_mut() -= 1;
            if *count.get() == 0 {
                count.remove();
            }
        }
    }
}

/// An address as a host: an IPv6 host is its /64.
pub(super) fn host(ip: IpAddr) -> IpAddr {
    match ip {
        IpAddr::V4(ip) => ip.into(),
        IpAddr::V6(ip) => Ipv6Addr::from_bits(ip.to_bits() & !u128::from(u64::MAX)).into(),
    }
}

/// A connection that counts, until it is dropped.
struct Inside<'c> {
    crowd: &'c Crowd,
    ip: IpAddr,
    _place: OwnedSemaphorePermit,
}

impl Drop for Inside<'_> {
    fn drop(&mut self) {
        self.crowd.leave(self.ip);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_has_so_many_connections() {
        let crowd = Crowd::default();
        let (one, same_host, other): (IpAddr, IpAddr, IpAddr) =
            ("2620::1".parse().unwrap(), "2620::2".parse().unwrap(), "192.0.2.1".parse().unwrap());
        assert!(crowd.enter(one, 2) && crowd.enter(same_host, 2));
        assert!(!crowd.enter(one, 2) && crowd.enter(other, 2));
        crowd.leave(one);
        assert!(crowd.enter(one, 2));
        for ip in [one, same_host, other] {
            crowd.leave(ip);
        }
        assert!(crowd.0.lock().unwrap().is_empty());
    }
}
