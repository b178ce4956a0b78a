//! `postback webhook listen`: a receiver for those who write one. Prints what arrives and whether it verifies.

use std::collections::HashMap;
use std::convert::Infallible;
use std::net::SocketAddr;
use std::pin::pin;
use std::sync::{Arc, Mutex, PoisonError};

use anyhow::Context;
use clap::Args;
use http_body_util::{BodyExt, Full, Limited};
use hyper::body::{Bytes, Incoming};
use hyper::header::{HeaderMap, HeaderName, HeaderValue};
use hyper::service::service_fn;
use hyper::{Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use postback::clock::Clock;
use postback::model::secret::Secret;
use postback::model::webhook::Format;
use postback::model::webhook_options::BATCH_BYTES_MAX;
use serde_json::Value;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;

use super::format_from;
use crate::cli::verify::{Verified, verify};
use crate::cli::{printable, say};

/// Bodies longer than this are refused: a form triples what it carries at most.
const BODY_BYTES_MAX: usize = 4 * BATCH_BYTES_MAX;
/// Ids that are remembered, to tell a repetition from a first.
const IDS_MAX: usize = 100_000;

#[derive(Args)]
pub(in crate::cli) struct Arguments {
    /// Where to listen
    #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1:3000")]
    address: SocketAddr,
    /// What is expected: mailtura, transmail or transmail-json
    #[arg(long, default_value = "mailtura", value_parser = format_from)]
    format: Format,
    /// The secret that requests are signed with; without one, nothing is verified
    #[arg(long, value_name = "SECRET")]
    secret: Option<String>,
    /// Answer with this status, whatever arrives [default: 200, or 401 for what does not verify]
    #[arg(long)]
    status: Option<u16>,
    /// Print the headers too
    #[arg(long)]
    headers: bool,
    /// Print a line of JSON for each request instead
    #[arg(long)]
    json: bool,
    /// End after so many requests
    #[arg(long, value_name = "COUNT")]
    count: Option<usize>,
}

struct Listener {
    format: Format,
    secret: Secret,
    is_signed: bool,
    status: Option<StatusCode>,
    shows_headers: bool,
    is_json: bool,
    clock: Clock,
    seen: Mutex<HashMap<String, u32>>,
}

pub(in crate::cli) async fn run(arguments: Arguments) -> anyhow::Result<()> {
    let status = arguments.status.map(StatusCode::from_u16).transpose().context("--status")?;
    let listener = Arc::new(Listener {
        format: arguments.format,
        is_signed: arguments.secret.is_some(),
        secret: Secret::new(arguments.secret.unwrap_or_default()),
        status,
        shows_headers: arguments.headers,
        is_json: arguments.json,
        clock: Clock::system(),
        seen: Mutex::default(),
    });
    let socket =
        TcpListener::bind(arguments.address).await.with_context(|| format!("listen on {}", arguments.address))?;
    let address = socket.local_addr()?;
    match listener.is_json {
        true => say(serde_json::json!({ "listening": address }).to_string()),
        false => say(format!("listening on http://{address}/ for {} webhooks", listener.format.as_str())),
    }
    let (tell, mut told) = mpsc::unbounded_channel();
    let (stop, stopped) = watch::channel(false);
    let mut guests = JoinSet::new();
    let mut count = 0;
    while arguments.count.is_none_or(|wanted| count < wanted) {
        tokio::select! {
            accepted = socket.accept() => {
                if let Ok((socket, _)) = accepted {
                    guests.spawn(converse(socket, listener.clone(), tell.clone(), stopped.clone()));
                }
            }
            Some(()) = told.recv() => count += 1,
            Some(_) = guests.join_next() => {}
        }
    }
    // The last answers are on their way; connections that are only kept open end now.
    let _ = stop.send(true);
    guests.join_all().await;
    Ok(())
}

async fn converse(
    socket: TcpStream,
    listener: Arc<Listener>,
    tell: mpsc::UnboundedSender<()>,
    mut stopped: watch::Receiver<bool>,
) {
    let service = service_fn(|request| {
        let (listener, tell) = (listener.clone(), tell.clone());
        async move {
            let answer = listener.take(request).await;
            let _ = tell.send(());
            Ok::<_, Infallible>(answer)
        }
    });
    let connection = hyper::server::conn::http1::Builder::new().serve_connection(TokioIo::new(socket), service);
    let mut connection = pin!(connection);
    tokio::select! {
        _ = connection.as_mut() => return,
        _ = stopped.changed() => connection.as_mut().graceful_shutdown(),
    }
    // A peer that broke off is no concern of ours.
    let _ = connection.await;
}

impl Listener {
    async fn take(&self, request: Request<Incoming>) -> Response<Full<Bytes>> {
        let (head, body) = request.into_parts();
        let body = match Limited::new(body, BODY_BYTES_MAX).collect().await {
            Ok(body) => body.to_bytes(),
            Err(fault) => return self.answered(StatusCode::BAD_REQUEST, &fault.to_string()),
        };
        let verified = verify(self.format, self.secret.reveal(), &head.headers, &body, Some(self.clock.now()));
        let is_good = !self.is_signed || verified.is_good();
        let payload: Value = serde_json::from_slice(&verified.json).unwrap_or(Value::Null);
        let events: Vec<Event> = match &payload {
            Value::Array(events) => events.iter().map(|event| self.event(event)).collect(),
            one => vec![self.event(one)],
        };
        let status = self.status.unwrap_or(if is_good { StatusCode::OK } else { StatusCode::UNAUTHORIZED });
        if self.is_json {
            self.tell_json(&head.headers, &events, &verified, &payload, status);
        } else {
            say(format!("\n{} {}  → {}", head.method, printable(head.uri.path()), status.as_u16()));
            if self.shows_headers {
                for (name, value) in &head.headers {
                    say(format!("  {name}: {}", printable(&String::from_utf8_lossy(value.as_bytes()))));
                }
            }
            self.tell(&events, &verified);
            let text = serde_json::to_string_pretty(&payload).unwrap_or_default();
            let shown = if payload.is_null() { String::from_utf8_lossy(&body).into_owned() } else { text };
            shown.lines().for_each(|line| say(format!("  {}", printable(line))));
        }
        self.answered(status, if is_good { "OK" } else { "the signature does not verify" })
    }

    fn answered(&self, status: StatusCode, text: &str) -> Response<Full<Bytes>> {
        let mut answer = Response::new(Full::from(format!("{text}\n")));
        *answer.status_mut() = status;
        answer
    }

    fn event(&self, payload: &Value) -> Event {
        let text = |pointer: &str| payload.pointer(pointer).and_then(Value::as_str).map(str::to_owned);
        let id = text("/id").or_else(|| text("/webhook_request_id")).unwrap_or_default();
        let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        if seen.len() >= IDS_MAX {
            seen.clear();
        }
        let times = seen.entry(id.clone()).or_default();
        *times += 1;
        Event {
            name: text("/type").or_else(|| text("/event_name/0")).unwrap_or_else(|| "no event".to_owned()),
            recipient: text("/data/recipient")
                .or_else(|| text("/event_message/0/email_info/to/0/email_address/address"))
                .unwrap_or_default(),
            times: if id.is_empty() { 1 } else { *times },
            id,
        }
    }

    fn tell(&self, events: &[Event], verified: &Verified) {
        for event in events {
            let again = if event.times > 1 { format!("  ({}. time)", event.times) } else { String::new() };
            say(format!("  {} {} {}{again}", event.name, printable(&event.recipient), printable(&event.id)));
        }
        if !self.is_signed {
            say("  not verified: no --secret was given");
        } else if verified.signatures.is_empty() {
            say("  ✗ there is no signature");
        }
        for (header, checked) in verified.signatures.iter().filter(|_| self.is_signed) {
            match checked {
                Ok(()) => say(format!("  ✓ {header}")),
                Err(why) => say(format!("  ✗ {header}: {why}")),
            }
        }
    }

    fn tell_json(
        &self,
        headers: &HeaderMap,
        events: &[Event],
        verified: &Verified,
        payload: &Value,
        status: StatusCode,
    ) {
        let signatures: serde_json::Map<String, Value> = verified
            .signatures
            .iter()
            .map(|(header, checked)| ((*header).to_owned(), checked.err().map_or(Value::Bool(true), Value::from)))
            .collect();
        let events: Vec<Value> = events
            .iter()
            .map(|event| {
                serde_json::json!({
                    "event": event.name, "recipient": event.recipient, "id": event.id, "times": event.times,
                })
            })
            .collect();
        let mut line = serde_json::json!({
            "events": events,
            "verified": self.is_signed.then(|| verified.is_good()),
            "signatures": signatures,
            "status": status.as_u16(),
            "payload": payload,
        });
        if self.shows_headers {
            let pair = |(name, value): (&HeaderName, &HeaderValue)| {
                Value::from(vec![name.to_string(), String::from_utf8_lossy(value.as_bytes()).into_owned()])
            };
            line["headers"] = headers.iter().map(pair).collect();
        }
        say(line.to_string());
    }
}

struct Event {
    name: String,
    recipient: String,
    id: String,
    times: u32,
}
