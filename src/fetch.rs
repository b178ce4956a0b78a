//! One request, to where the policy allows: for what we ask ourselves, on our own behalf. Nothing is followed and
//! nothing is read past a limit. Callers: the check of tracking hosts, MTA-STS, `postback geoip update`, the orders of
//! certificates, and reports about TLS.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt, Empty, Full, Limited};
use hyper::StatusCode;
use hyper::body::Body;
use hyper::client::conn::http1;
use hyper::header::{
    ACCEPT_ENCODING, AUTHORIZATION, CONTENT_TYPE, HOST, HeaderName, HeaderValue, LOCATION, USER_AGENT,
};
use hyper_util::rt::TokioIo;
use rustls::ClientConfig;
use rustls::pki_types::ServerName;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::task::JoinSet;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;
use url::Position;

use crate::egress::{Guard, Vetted};

/// Status line and headers of an answer, in bytes.
const HEAD_BYTES_MAX: usize = 32 * 1024;

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
    /// What it says that its body is; empty when it does not say.
    pub content_type: String,
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
        let (stream, vetted) = self.connect(url).await?;
        let (head, body) = converse(stream, request(&vetted, ask)?, ask.bytes_max).await?.into_parts();
        let said = |name: HeaderName| head.headers.get(name).and_then(|value| value.to_str().ok()).map(str::to_owned);
        let content_type = said(CONTENT_TYPE).unwrap_or_default();
        Ok(Fetched { status: head.status, location: said(LOCATION), content_type, body })
    }

    /// Sends a request with an absolute URL, and reads its answer up to so many bytes.
    ///
    /// # Errors
    /// [`FetchError`]; an answer of any status is none.
    pub async fn send<B>(
        &self,
        request: hyper::Request<B>,
        bytes_max: usize,
        patience: Duration,
    ) -> Result<hyper::Response<Full<Bytes>>, FetchError>
    where
        B: Body<Data: Send, Error: Into<Box<dyn std::error::Error + Send + Sync>>> + Send + 'static,
    {
        let exchanged = timeout(patience, async {
            let url = request.uri().to_string();
            let (stream, vetted) = self.connect(&url).await?;
            let mut request = request;
            let target = vetted.url()[Position::BeforePath..Position::AfterQuery].parse();
            *request.uri_mut() = target.map_err(|_| FetchError::Http("the URL is none".to_owned()))?;
            let host = HeaderValue::try_from(host_of(&vetted));
            request.headers_mut().insert(HOST, host.map_err(|fault| FetchError::Http(fault.to_string()))?);
            converse(stream, request, bytes_max).await
        });
        let response = exchanged.await.unwrap_or(Err(FetchError::Slow(patience)))?;
        Ok(response.map(Full::new))
    }

    async fn connect(&self, url: &str) -> Result<(Box<dyn Stream>, Vetted), FetchError> {
        let unreachable = |why: String| FetchError::Unreachable(why);
        let vetted = self.guard.vet(url).map_err(|refused| unreachable(refused.to_string()))?;
        let pinned = self.guard.pin(&vetted).await.map_err(|failure| unreachable(failure.to_string()))?;
        let stream = self.guard.connect(&pinned).await.map_err(|failure| unreachable(failure.to_string()))?;
        if !vetted.is_https() {
            return Ok((Box::new(stream), vetted));
        }
        let name = vetted.host().trim_start_matches('[').trim_end_matches(']').to_owned();
        let name = ServerName::try_from(name).map_err(|fault| FetchError::Tls(fault.to_string()))?;
        let stream = self.tls.connect(name, stream).await.map_err(|fault| FetchError::Tls(fault.to_string()))?;
        Ok((Box::new(stream), vetted))
    }
}

/// In clear text, or TLS.
trait Stream: AsyncRead + AsyncWrite + Unpin + Send {}
impl<S: AsyncRead + AsyncWrite + Unpin + Send> Stream for S {}

async fn converse<B>(
    stream: Box<dyn Stream>,
    request: hyper::Request<B>,
    bytes_max: usize,
) -> Result<hyper::Response<Bytes>, FetchError>
where
    B: Body<Data: Send, Error: Into<Box<dyn std::error::Error + Send + Sync>>> + Send + 'static,
{
    let http = |fault: hyper::Error| FetchError::Http(fault.to_string());
    let opened = http1::Builder::new().max_buf_size(HEAD_BYTES_MAX).handshake(TokioIo::new(stream)).await;
    let (mut sender, connection) = opened.map_err(http)?;
    // Ends with this exchange, however that ends.
    let mut driver = JoinSet::new();
    driver.spawn(connection);
    let response = sender.send_request(request).await.map_err(http)?;
    let (head, body) = response.into_parts();
    let body = Limited::new(body, bytes_max).collect().await;
    let body = body.map_err(|fault| FetchError::Http(fault.to_string()))?.to_bytes();
    Ok(hyper::Response::from_parts(head, body))
}

/// The value of `Host`.
fn host_of(vetted: &Vetted) -> String {
    vetted.url().port().map_or_else(|| vetted.host().to_owned(), |port| format!("{}:{port}", vetted.host()))
}

fn request(vetted: &Vetted, ask: &Ask) -> Result<hyper::Request<Empty<Bytes>>, FetchError> {
    let url = vetted.url();
    let request = hyper::Request::get(&url[Position::BeforePath..Position::AfterQuery])
        .header(HOST, host_of(vetted))
        .header(USER_AGENT, concat!("Postback/", env!("CARGO_PKG_VERSION")))
        .header(ACCEPT_ENCODING, "identity");
    let request = match &ask.authorization {
        Some(authorization) => request.header(AUTHORIZATION, authorization),
        None => request,
    };
    request.body(Empty::new()).map_err(|fault| FetchError::Http(fault.to_string()))
}
