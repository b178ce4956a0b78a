//! Fetching a small text over HTTPS from where a stranger's DNS says: MTA-STS policies (RFC 8461 §3.3).
//!
//! Every connection goes through the guard. The certificate must be trusted, the answer be a 200 of type text/plain, at
//! most 64 KiB, whole within [`FETCH_MAX`]. Nothing is followed elsewhere.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt, Empty, Limited};
use hyper::client::conn::http1;
use hyper::{Request, StatusCode, header};
use hyper_util::rt::TokioIo;
use rustls::ClientConfig;
use rustls::pki_types::ServerName;
use tokio::task::JoinSet;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;

use super::sts::POLICY_BYTES_MAX;
use crate::egress::Guard;

/// For the whole of a fetch.
const FETCH_MAX: Duration = Duration::from_secs(20);

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
    /// Through this guard, with these authorities.
    pub fn new(guard: Arc<Guard>, tls: ClientConfig) -> Self {
        Self { guard, tls: TlsConnector::from(Arc::new(tls)) }
    }

    /// The MTA-STS policy of a domain, as its web server gives it.
    ///
    /// # Errors
    /// What went wrong, for people.
    pub async fn sts_policy(&self, domain: &str, port: u16) -> Result<String, String> {
        let url = format!("https://mta-sts.{domain}:{port}/.well-known/mta-sts.txt");
        timeout(FETCH_MAX, self.text(&url)).await.unwrap_or_else(|_| Err("it did not come in time".to_owned()))
    }

    async fn text(&self, url: &str) -> Result<String, String> {
        let vetted = self.guard.vet(url).map_err(|refused| refused.to_string())?;
        let pinned = self.guard.pin(&vetted).await.map_err(|failure| failure.to_string())?;
        let stream = self.guard.connect(&pinned).await.map_err(|failure| failure.to_string())?;
        let name = ServerName::try_from(vetted.host().to_owned()).map_err(|fault| fault.to_string())?;
        let stream = self.tls.connect(name, stream).await.map_err(|fault| fault.to_string())?;
        let opened = http1::Builder::new().max_buf_size(POLICY_BYTES_MAX).handshake(TokioIo::new(stream)).await;
        let (mut sender, driving) = opened.map_err(|fault| fault.to_string())?;
        // Ends with this fetch, however that ends.
        let mut driver = JoinSet::new();
        driver.spawn(driving);
        let request = Request::get(vetted.url().path())
            .header(header::HOST, vetted.host())
            .header(header::USER_AGENT, "Postback")
            .body(Empty::<Bytes>::new())
            .map_err(|fault| fault.to_string())?;
        let answer = sender.send_request(request).await.map_err(|fault| fault.to_string())?;
        if answer.status() != StatusCode::OK {
            return Err(format!("the answer was {}", answer.status()));
        }
        let kind = answer.headers().get(header::CONTENT_TYPE).and_then(|kind| kind.to_str().ok()).unwrap_or_default();
        if !kind.split(';').next().is_some_and(|kind| kind.trim().eq_ignore_ascii_case("text/plain")) {
            return Err(format!("its type is {kind:?}, not text/plain"));
        }
        let body = Limited::new(answer.into_body(), POLICY_BYTES_MAX).collect().await;
        let body = body.map_err(|fault| fault.to_string())?.to_bytes();
        String::from_utf8(body.to_vec()).map_err(|_| "it is not UTF-8".to_owned())
    }
}
