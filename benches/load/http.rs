//! HTTP load over kept connections: sends and followed links.

use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::Request;
use hyper::client::conn::http1::{SendRequest, handshake};
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;

use crate::content::Body;
use crate::program::Program;

/// What a browser says it is.
const USER_AGENT: &str =
    "Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/120.0.0.0 Safari/537.36";

async fn connect(address: &str) -> SendRequest<Full<Bytes>> {
    let socket = TcpStream::connect(address).await.unwrap();
    socket.set_nodelay(true).unwrap();
    let (sender, connection) = handshake(TokioIo::new(socket)).await.unwrap();
    tokio::spawn(connection);
    sender
}

async fn status(sender: &mut SendRequest<Full<Bytes>>, request: Request<Full<Bytes>>) -> u16 {
    let response = sender.send_request(request).await.unwrap();
    let status = response.status().as_u16();
    response.into_body().collect().await.unwrap();
    status
}

/// Sends mails evenly for this long, so many a second; how many.
pub async fn send_evenly(program: &Program, secret: &str, per_second: u32, time: Duration) -> usize {
    const CONNECTIONS: u32 = 10;
    let (begun, step) = (tokio::time::Instant::now(), Duration::from_secs(1) / per_second);
    let mut tasks = Vec::new();
    for place in 0..CONNECTIONS {
        let (address, secret, body) = (program.http.clone(), secret.to_owned(), Body::new());
        tasks.push(tokio::spawn(async move {
            let mut sender = connect(&address).await;
            // One after the other, not all of them at once.
            let mut beat = tokio::time::interval_at(begun + step * place, step * CONNECTIONS);
            let mut count = 0;
            while begun.elapsed() < time {
                beat.tick().await;
                let request = post(&address, "/api/v1/emails", &secret, body.to(count));
                assert_eq!(status(&mut sender, request).await, 201);
                count += 1;
            }
            count
        }));
    }
    let mut count = 0;
    for task in tasks {
        count += task.await.unwrap();
    }
    count
}

/// Sends so many mails; how long each took, from the request to its answer.
pub async fn send(program: &Program, secret: &str, body: Body, connections: usize, mails: usize) -> Vec<Duration> {
    let mut tasks = Vec::new();
    for connection in 0..connections {
        let share = mails / connections + usize::from(connection < mails % connections);
        let (address, secret, body) = (program.http.clone(), secret.to_owned(), body.clone());
        tasks.push(tokio::spawn(async move {
            let mut sender = connect(&address).await;
            let mut took = Vec::with_capacity(share);
            for number in 0..share {
                let begun = Instant::now();
                let request = post(&address, "/api/v1/emails", &secret, body.to(number));
                assert_eq!(status(&mut sender, request).await, 201);
                took.push(begun.elapsed());
            }
            took
        }));
    }
    let mut took = Vec::with_capacity(mails);
    for task in tasks {
        took.extend(task.await.unwrap());
    }
    took
}

fn post(address: &str, path: &str, secret: &str, body: Bytes) -> Request<Full<Bytes>> {
    Request::post(path)
        .header("host", address)
        .header("authorization", format!("Bearer {secret}"))
        .header("content-type", "application/json")
        .body(Full::new(body))
        .unwrap()
}

pub async fn add_webhook(program: &Program, secret: &str, url: &str) {
    let body = serde_json::json!({"url": url, "events": ["sent", "delivered"]}).to_string();
    let mut sender = connect(&program.http).await;
    assert_eq!(status(&mut sender, post(&program.http, "/api/v1/webhooks", secret, body.into())).await, 201);
}

/// A figure that the program tells of itself.
pub async fn metric(program: &Program, name: &str) -> u64 {
    let mut sender = connect(&program.admin).await;
    let request = Request::get("/metrics").header("host", &program.admin).body(Full::default()).unwrap();
    let body = sender.send_request(request).await.unwrap().into_body().collect().await.unwrap().to_bytes();
    let page = std::str::from_utf8(&body).unwrap();
    let line = page.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
    line.unwrap_or_else(|| panic!("no {name} among the metrics")).trim().parse().unwrap()
}

/// Waits until a figure is as wanted.
pub async fn wait_until(program: &Program, name: &str, is: impl Fn(u64) -> bool) {
    while !is(metric(program, name).await) {
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

/// Follows tracked links until the time is up; how many answers were redirects.
pub async fn follow(program: &Program, links: &[String], connections: usize, time: Duration) -> usize {
    let links: Arc<Vec<url::Url>> = Arc::new(links.iter().map(|link| link.parse().unwrap()).collect());
    let until = Instant::now() + time;
    let mut tasks = Vec::new();
    for connection in 0..connections {
        let (links, address) = (links.clone(), program.http.clone());
        tasks.push(tokio::spawn(async move {
            let host = links[0].host_str().unwrap();
            let mut sender = connect(&address).await;
            let mut count = 0;
            while Instant::now() < until {
                let request = Request::get(links[(connection * 97 + count) % links.len()].path())
                    .header("host", host)
                    .header("user-agent", USER_AGENT)
                    .body(Full::default())
                    .unwrap();
                assert_eq!(status(&mut sender, request).await, 302);
                count += 1;
            }
            count
        }));
    }
    let mut count = 0;
    for task in tasks {
        count += task.await.unwrap();
    }
    count
}
