//! The demo's webhook receiver: what a customer would run, with the checks that the published samples make.

use std::collections::HashMap;
use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};

use anyhow::Context;
use http_body_util::{BodyExt, Full};
use hyper::body::{Bytes, Incoming};
use hyper::service::service_fn;
use hyper::{HeaderMap, Request, Response};
use hyper_util::rt::TokioIo;
use postback::model::webhook::Format;
use serde_json::Value;
use tokio::net::TcpListener;
use tokio::sync::watch;

use crate::cli::verify::verify;

/// A webhook as it came in, with what the check of its format said.
#[derive(Clone, Debug)]
pub struct Arrival {
    /// `mailtura`, `transmail` or `transmail-json`: the path that it was posted to.
    pub format: String,
    /// The event's name in that format.
    pub event: String,
    /// Whom it is about.
    pub recipient: String,
    /// The payload.
    pub payload: Value,
    /// The signature is right.
    pub is_verified: bool,
}

/// Webhooks received so far.
#[derive(Clone, Debug)]
pub struct Receiver {
    /// Where it listens.
    pub address: SocketAddr,
    secrets: Arc<Mutex<HashMap<String, String>>>,
    arrivals: watch::Sender<Vec<Arrival>>,
}

impl Receiver {
    /// Listens on a free port of the loopback.
    pub async fn start() -> anyhow::Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0").await.context("bind the demo's webhook receiver")?;
        let address = listener.local_addr()?;
        let receiver = Self { address, secrets: Arc::default(), arrivals: watch::Sender::new(Vec::new()) };
        let serving = receiver.clone();
        tokio::spawn(async move {
            while let Ok((socket, _)) = listener.accept().await {
                let receiver = serving.clone();
                let service = service_fn(move |request| receiver.clone().take(request));
                let connection =
                    hyper::server::conn::http1::Builder::new().serve_connection(TokioIo::new(socket), service);
                tokio::spawn(connection);
            }
        });
        Ok(receiver)
    }

    /// The URL for webhooks of this format, whose secret is `secret`.
    pub fn expect(&self, format: &str, secret: &str) -> String {
        let mut secrets = self.secrets.lock().unwrap_or_else(PoisonError::into_inner);
        secrets.insert(format.to_owned(), secret.to_owned());
        format!("http://{}/{format}", self.address)
    }

    /// What has come, now and from now on.
    pub fn arrivals(&self) -> watch::Receiver<Vec<Arrival>> {
        self.arrivals.subscribe()
    }

    async fn take(self, request: Request<Incoming>) -> Result<Response<Full<Bytes>>, Infallible> {
        let (head, body) = request.into_parts();
        let path = head.uri.path().trim_start_matches('/');
        let body = body.collect().await.map(|body| body.to_bytes()).unwrap_or_default();
        let secret = self.secrets.lock().unwrap_or_else(PoisonError::into_inner).get(path).cloned();
        let expected = Format::from_word(path).zip(secret);
        let arrival = expected.and_then(|(format, secret)| read(format, &secret, &head.headers, &body));
        let status = if arrival.as_ref().is_some_and(|arrival| arrival.is_verified) { 200 } else { 401 };
        if let Some(arrival) = arrival {
            self.arrivals.send_modify(|arrivals| arrivals.push(arrival));
        }
        let mut response = Response::new(Full::from("ok"));
        *response.status_mut() = hyper::StatusCode::from_u16(status).unwrap_or_default();
        Ok(response)
    }
}

/// The demo moves its clock, so a request's age tells nothing here.
fn read(format: Format, secret: &str, headers: &HeaderMap, body: &[u8]) -> Option<Arrival> {
    let verified = verify(format, secret, headers, body, None);
    let payload: Value = serde_json::from_slice(&verified.json).ok()?;
    let text = |pointer: &str| payload.pointer(pointer).and_then(Value::as_str).map(str::to_owned);
    let event = text("/type").or_else(|| text("/event_name/0"))?;
    let recipient =
        text("/data/recipient").or_else(|| text("/event_message/0/email_info/to/0/email_address/address"))?;
    Some(Arrival { format: format.as_str().to_owned(), event, recipient, payload, is_verified: verified.is_good() })
}
