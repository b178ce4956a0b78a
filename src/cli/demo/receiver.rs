//! The demo's webhook receiver: what a customer would run, with the checks that the published samples make.
//!
//! It knows the secrets as a customer does and shares no code with the signing side: a signature that passes here was
//! made by the rules of the documents, not by our own hand twice.

use std::collections::HashMap;
use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};

use anyhow::Context;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use hmac::{Hmac, KeyInit, Mac};
use http_body_util::{BodyExt, Full};
use hyper::body::{Bytes, Incoming};
use hyper::service::service_fn;
use hyper::{Request, Response};
use hyper_util::rt::TokioIo;
use serde_json::Value;
use sha2::Sha256;
use tokio::net::TcpListener;
use tokio::sync::watch;

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
        let format = request.uri().path().trim_start_matches('/').to_owned();
        let header = |name: &str| Some(request.headers().get(name)?.to_str().ok()?.to_owned());
        let signature = header(if format == "mailtura" { "x-mailtura-signature" } else { "producer-signature" });
        let body = request.into_body().collect().await.map(|body| body.to_bytes()).unwrap_or_default();
        let secret = self.secrets.lock().unwrap_or_else(PoisonError::into_inner).get(&format).cloned();
        let arrival = secret.zip(signature).and_then(|(secret, signature)| read(&format, &secret, &signature, &body));
        let status = if arrival.as_ref().is_some_and(|arrival| arrival.is_verified) { 200 } else { 401 };
        if let Some(arrival) = arrival {
            self.arrivals.send_modify(|arrivals| arrivals.push(arrival));
        }
        let mut response = Response::new(Full::from("ok"));
        *response.status_mut() = hyper::StatusCode::from_u16(status).unwrap_or_default();
        Ok(response)
    }
}

fn read(format: &str, secret: &str, signature: &str, body: &[u8]) -> Option<Arrival> {
    let (json, is_verified) = match format {
        "mailtura" => (body.to_vec(), mailtura(secret, signature, body)),
        "transmail" => {
            let (_, value) = form_urlencoded::parse(body).next()?;
            let json = value.into_owned().into_bytes();
            let is_verified = producer(secret, signature, &json);
            (json, is_verified)
        }
        _ => (body.to_vec(), producer(secret, signature, body)),
    };
    let payload: Value = serde_json::from_slice(&json).ok()?;
    let text = |pointer: &str| payload.pointer(pointer).and_then(Value::as_str).map(str::to_owned);
    let event = text("/type").or_else(|| text("/event_name/0"))?;
    let recipient =
        text("/data/recipient").or_else(|| text("/event_message/0/email_info/to/0/email_address/address"))?;
    Some(Arrival { format: format.to_owned(), event, recipient, payload, is_verified })
}

/// As Mailtura's samples do: HMAC-SHA256 of the raw body with the secret's text, in lower-case hexadecimal.
fn mailtura(secret: &str, signature: &str, body: &[u8]) -> bool {
    let hexadecimal: String = mac(secret, body).iter().map(|byte| format!("{byte:02x}")).collect();
    hexadecimal == signature
}

/// As TransMail's sample does: the whole header is URL-decoded, split, and `s` compared as bytes.
fn producer(secret: &str, signature: &str, json: &[u8]) -> bool {
    let spaced = signature.replace('+', " ");
    let decoded = percent_encoding::percent_decode_str(&spaced).decode_utf8_lossy().into_owned();
    let fields: HashMap<&str, &str> = decoded.split(';').filter_map(|field| field.split_once('=')).collect();
    let is_dated = fields.get("ts").is_some_and(|ts| ts.len() == 13 && ts.parse::<u64>().is_ok());
    let given = fields.get("s").and_then(|given| STANDARD.decode(given).ok());
    is_dated && fields.get("s-algorithm") == Some(&"HmacSHA256") && given.as_deref() == Some(&mac(secret, json)[..])
}

fn mac(secret: &str, bytes: &[u8]) -> [u8; 32] {
    let mac: Hmac<Sha256> = Hmac::new_from_slice(secret.as_bytes()).expect("HMAC takes a key of any length");
    mac.chain_update(bytes).finalize().into_bytes().into()
}
