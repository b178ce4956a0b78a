//! The other people of the demo: an application that submits, readers who open and click, a mail system that reports.

use std::net::SocketAddr;

use anyhow::{Context, ensure};
use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::{Method, Request};
use hyper_util::rt::TokioIo;
use lettre::address::Envelope;
use lettre::transport::smtp::authentication::Credentials;
use lettre::{Address, AsyncSmtpTransport, AsyncTransport, Tokio1Executor};
use serde_json::Value;
use tokio::net::TcpStream;

/// What came back from an HTTP request.
pub struct Answer {
    /// The status.
    pub status: u16,
    /// `Location`, empty when absent.
    pub location: String,
    /// The body.
    pub body: Bytes,
}

/// Sends a request over a connection of its own.
pub async fn request(
    to: SocketAddr,
    method: Method,
    path: &str,
    headers: &[(&str, &str)],
    body: &str,
) -> anyhow::Result<Answer> {
    let socket = TcpStream::connect(to).await.with_context(|| format!("connect to {to}"))?;
    let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(socket)).await?;
    tokio::spawn(connection);
    let mut request = Request::builder().method(method).uri(path).header("host", to.to_string());
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    let response = sender.send_request(request.body(Full::new(Bytes::from(body.to_owned())))?).await?;
    let location =
        response.headers().get("location").and_then(|value| value.to_str().ok()).unwrap_or_default().to_owned();
    let status = response.status().as_u16();
    Ok(Answer { status, location, body: response.into_body().collect().await?.to_bytes() })
}

/// Posts JSON with an `Authorization`; the JSON of the answer, which must be a 2xx.
pub async fn post(to: SocketAddr, path: &str, authorization: &str, body: &Value) -> anyhow::Result<Value> {
    let headers = [("authorization", authorization), ("content-type", "application/json")];
    let answer = request(to, Method::POST, path, &headers, &body.to_string()).await?;
    let said = String::from_utf8_lossy(&answer.body);
    ensure!((200..300).contains(&answer.status), "POST {path} answered {}: {said}", answer.status);
    Ok(serde_json::from_slice(&answer.body).unwrap_or_default())
}

/// Submits a mail by SMTP, signed in with an API key.
pub async fn submit(to: SocketAddr, key: &str, from: &str, recipients: &[&str], mail: &str) -> anyhow::Result<String> {
    let credentials = Credentials::new("emailapikey".to_owned(), key.to_owned());
    let transport = transport(to).credentials(credentials).build::<Tokio1Executor>();
    let to = recipients.iter().map(|address| address.parse()).collect::<Result<Vec<Address>, _>>()?;
    let response = transport.send_raw(&Envelope::new(Some(from.parse()?), to)?, mail.as_bytes()).await;
    Ok(response.context("submit by SMTP")?.message().collect::<Vec<_>>().join(" "))
}

/// Brings a report home, as a mail system does: without signing in, from nobody.
pub async fn report(to: SocketAddr, recipient: &str, mail: &str) -> anyhow::Result<()> {
    let transport = transport(to).build::<Tokio1Executor>();
    let envelope = Envelope::new(None, vec![recipient.parse()?])?;
    transport.send_raw(&envelope, mail.as_bytes()).await.context("bring a report by SMTP")?;
    Ok(())
}

fn transport(to: SocketAddr) -> lettre::transport::smtp::AsyncSmtpTransportBuilder {
    AsyncSmtpTransport::<Tokio1Executor>::builder_dangerous(to.ip().to_string()).port(to.port())
}
