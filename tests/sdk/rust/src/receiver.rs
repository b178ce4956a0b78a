//! Receives webhooks and verifies them with the official crate for Standard Webhooks. The first line of standard input is
//! the secret, and its end is ours, so that we do not outlive the test. Prints one JSON line that says where it listens,
//! then one for each request.

use std::io::{self, BufRead, BufReader, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::Arc;

use http::{HeaderMap, HeaderName, HeaderValue};
use serde_json::{Value, json};
use standardwebhooks::Webhook;

fn main() {
    let mut secret = String::new();
    io::stdin().read_line(&mut secret).unwrap();
    let webhook = Arc::new(Webhook::new(secret.trim_end()).unwrap());
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    println!("{}", json!({ "port": listener.local_addr().unwrap().port() }));
    std::thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            let webhook = webhook.clone();
            std::thread::spawn(move || serve(stream, &webhook));
        }
    });
    io::copy(&mut io::stdin(), &mut io::sink()).unwrap();
}

/// Answers the requests of one connection, until it ends.
fn serve(stream: TcpStream, webhook: &Webhook) -> Option<()> {
    let mut reader = BufReader::new(stream.try_clone().ok()?);
    let mut stream = stream;
    loop {
        let (headers, body) = request(&mut reader)?;
        let told = match webhook.verify(&body, &headers) {
            Ok(()) => about(&serde_json::from_slice(&body).unwrap()),
            Err(fault) => json!({ "ok": false, "why": fault.to_string(), "event": "", "recipient": "" }),
        };
        let status = if told["ok"] == true { "200 OK" } else { "401 Unauthorized" };
        println!("{told}");
        write!(stream, "HTTP/1.1 {status}\r\nContent-Length: 0\r\n\r\n").ok()?;
    }
}

fn request(reader: &mut impl BufRead) -> Option<(HeaderMap, Vec<u8>)> {
    let mut line = String::new();
    reader.read_line(&mut line).ok().filter(|read| *read > 0)?;
    let mut headers = HeaderMap::new();
    loop {
        line.clear();
        reader.read_line(&mut line).ok()?;
        let Some((name, value)) = line.trim_end().split_once(": ") else { break };
        headers.append(name.parse::<HeaderName>().ok()?, HeaderValue::from_str(value).ok()?);
    }
    let length = headers.get("content-length")?.to_str().ok()?.parse().ok()?;
    let mut body = vec![0; length];
    reader.read_exact(&mut body).ok()?;
    Some((headers, body))
}

/// What a payload of either family tells, and of whom.
fn about(payload: &Value) -> Value {
    let (event, recipient) = match payload.get("type") {
        Some(event) => (event, &payload["data"]["recipient"]),
        None => {
            let to = &payload["event_message"][0]["email_info"]["to"][0];
            (&payload["event_name"][0], &to["email_address"]["address"])
        }
    };
    json!({ "ok": true, "why": "", "event": event, "recipient": recipient })
}
