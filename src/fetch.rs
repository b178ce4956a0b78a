//! One GET, to where the policy allows: for what we look up ourselves, on our own behalf. Nothing is followed and
//! nothing is read past a limit. Callers: the check of tracking hosts, `postback geoip update`.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt, Empty, Limited};
use hyper::StatusCode;
use hyper::header::{ACCEPT_ENCODING, AUTHORIZATION, HOST, LOCATION, USER_AGENT};
use hyper_util::rt::TokioIo;
use rustls::ClientConfig;
use rustls::pki_types::ServerName;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::time::timeout;
use tokio_rustls::TlsConnector;
use url::Position;

use crate::egress::{Guard, Vetted};

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub enum FetchError {
    /// The policy refuses the URL, or there is no connection.
    #[error("{0}")]
    Unreachable(String),
    /// No certificate that we believe, or no TLS.
    #[error("TLS: {0}")]
    Tls(String),
    /// The answer is none, or too long.
    #[error("HTTP: {0}")]
    Http(String),
    /// It took too long.
    #[error("no answer in {} seconds", .0.as_secs())]
    Slow(Duration),
}

/// An answer.
#[derive(Debug)]
pub struct Fetched {
    /// Its status.
    pub status: StatusCode,
    /// Where it points to, when it is a redirect.
    pub location: Option<String>,
    /// Its body.
    pub body: Bytes,
}

/// What one GET may take, and with what it asks.
#[derive(Clone, Debug)]
pub struct Ask {
    /// Bytes of the body.
    pub bytes_max: usize,
    /// Time for everything.
    pub patience: Duration,
    /// The value of `Authorization`.
    pub authorization: Option<String>,
}

/// Fetches.
#[derive(Clone)]
pub struct Fetcher {
    guard: Arc<Guard>,
    tls: TlsConnector,
}

impl std::fmt::Debug for Fetcher {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        out.write_str("Fetcher")
    }
}

impl Fetcher {
    /// One that connects through `guard` and believes whom `tls` believes (`egress::Trust`).
    pub fn new(guard: Arc<Guard>, mut tls: ClientConfig) -> Self {
        tls.alpn_protocols = vec![b"http/1.1".to_vec()];
        Self { guard, tls: TlsConnector::from(Arc::new(tls)) }
    }

    /// Gets `url`.
    ///
    /// # Errors
    /// [`FetchError`]; an answer of any status is none.
    pub async fn get(&self, url: &str, ask: &Ask) -> Result<Fetched, FetchError> {
        let got = timeout(ask.patience, self.exchange(url, ask)).await;
        got.unwrap_or(Err(FetchError::Slow(ask.patience)))
    }

    async fn exchange(&self, url: &str, ask: &Ask) -> Result<Fetched, FetchError> {
        let unreachable = |why: String| FetchError::Unreachable(why);
        let vetted = self.guard.vet(url).map_err(|refused| unreachable(refused.to_string()))?;
        let pinned = self.guard.pin(&vetted).await.map_err(|failure| unreachable(failure.to_string()))?;
        let stream = self.guard.connect(&pinned).await.map_err(|failure| unreachable(failure.to_string()))?;
        if !vetted.is_https() {
            return answer(stream, &vetted, ask).await;
        }
        let name = vetted.host().trim_start_matches('[').trim_end_matches(']').to_owned();
        let name = ServerName::try_from(name).map_err(|fault| FetchError::Tls(fault.to_string()))?;
        let stream = self.tls.connect(name, stream).await.map_err(|fault| FetchError::Tls(fault.to_string()))?;
        answer(stream, &vetted, ask).await
    }
}

async fn answer<S>(stream: S, vetted: &Vetted, ask: &Ask) -> Result<Fetched, FetchError>
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let http = |fault: hyper::Error| FetchError::Http(fault.to_string());
    let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.map_err(http)?;
    let connection = tokio::spawn(connection);
    let response = sender.send_request(request(vetted, ask)?).await.map_err(http)?;
    let (head, body) = response.into_parts();
    let body = Limited::new(body, ask.bytes_max).collect().await;
    let body = body.map_err(|fault| FetchError::Http(fault.to_string()))?.to_bytes();
    connection.abort();
    let location = head.headers.get(LOCATION).and_then(|value| value.to_str().ok()).map(str::to_owned);
    Ok(Fetched { status: head.status, location, body })
}

fn request(vetted: &Vetted, ask: &Ask) -> Result<hyper::Request<Empty<Bytes>>, FetchError> {
    let url = vetted.url();
    let host = url.port().map_or_else(|| vetted.host().to_owned(), |port| format!("{}:{port}", vetted.host()));
    let request = hyper::Request::get(&url[Position::BeforePath..Position::AfterQuery])
        .header(HOST, host)
        .header(USER_AGENT, concat!("Postback/", env!("CARGO_PKG_VERSION")))
        .header(ACCEPT_ENCODING, "identity");
    let request = match &ask.authorization {
        Some(authorization) => request.header(AUTHORIZATION, authorization),
        None => request,
    };
    request.body(Empty::new()).map_err(|fault| FetchError::Http(fault.to_string()))
}
