//! What no client may do: take too much, take too long, say two things at once; and how the door shuts.

use std::time::Duration;

use postback::http::{Settings, read};
use serde_json::json;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;

use super::{House, KEY, OTHER_KEY, PATIENCE, Reply};

fn head(house: &House, path: &str, more: &str) -> String {
    format!("POST {path} HTTP/1.1\r\nHost: {}\r\nAuthorization: Bearer {KEY}\r\n{more}\r\n", house.address)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn bodies_have_a_largest_size() {
    let settings = Settings { send_bytes_max: 100_000, ..Settings::default() };
    let house = House::with(settings, |_| {}).await;
    let text = |size: usize| {
        let mail = r#"{"from":"a@ours.example","to":"b@example.com","subject":"s","text":""#;
        format!("{mail}{}\"}}", "x".repeat(size - mail.len() - 2))
    };
    assert_eq!(house.mailtura("POST", "/api/v1/emails", &text(100_000)).await.status, 201);
    let refused = house.mailtura("POST", "/api/v1/emails", &text(100_001)).await;
    refused.is(413, r#"{"message":"The request body is larger than 100000 bytes"}"#);
    // Every byte of a body that is far too large is read before the door closes: the client hears the answer.
    assert_eq!(house.mailtura("POST", "/api/v1/emails", &text(8_000_000)).await.status, 413);
    assert_eq!(house.ask("POST", "/api/v1/emails", &[], text(8_000_000).as_bytes()).await.status, 401);
    assert_eq!(house.zeptomail(&text(100_001)).await.json()["error"]["details"][0]["code"], "SM_129");
    assert_eq!(house.mailtura("POST", "/api/v1/webhooks", &text(300_000)).await.status, 413);
    let chunked = [
        head(&house, "/api/v1/emails", "Transfer-Encoding: chunked\r\n"),
        format!("{:x}\r\n{}\r\n", 60_000, "x".repeat(60_000)).repeat(2),
    ];
    assert_eq!(Reply::read(&house.raw(chunked.concat().as_bytes()).await).status, 413);
    let asking = head(&house, "/api/v1/emails", "Expect: 100-continue\r\nContent-Length: 200000\r\n");
    assert_eq!(Reply::read(&house.raw(asking.as_bytes()).await).status, 413);
    house.shut().await;
}

/// What a request with this head and so much of its body gets, once it has got it `status`; the house takes a while to
/// hear of what came and who went.
async fn comes_to(house: &House, request: &[u8], status: u16) -> Reply {
    let asking = async {
        loop {
            let reply = Reply::read(&house.raw(request).await);
            if reply.status == status {
                return reply;
            }
        }
    };
    timeout(PATIENCE, asking).await.expect("the answer changes in time")
}

async fn begun(house: &House, request: &[u8]) -> TcpStream {
    let mut stream = TcpStream::connect(house.address).await.unwrap();
    stream.write_all(request).await.unwrap();
    stream
}

/// Whether a body that waits for leave gets it. None of it is sent, and so it takes no room from one that is coming.
async fn may_send(house: &House, request: &[u8]) -> bool {
    let mut answer = [0; 12];
    begun(house, request).await.read_exact(&mut answer).await.unwrap();
    &answer == b"HTTP/1.1 100"
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn bodies_that_never_come_take_no_memory() {
    let settings = Settings { send_bytes_max: 1 << 20, memory_bytes_max: 4 << 20, ..Settings::default() };
    let house = House::with(settings, |_| {}).await;
    let length = |size: usize| format!("Connection: close\r\nContent-Length: {size}\r\n");
    let promised = head(&house, "/api/v1/emails", &length(1 << 20));
    let mut promises = Vec::new();
    for _ in 0..50 {
        promises.push(begun(&house, promised.as_bytes()).await);
    }
    let mail = |key: &str, from: &str| {
        let text = "x".repeat(300_000);
        let mail = format!(r#"{{"from":"a@{from}.example","to":"b@example.com","subject":"s","text":"{text}"}}"#);
        (head(&house, "/api/v1/emails", &length(mail.len())).replace(KEY, key) + &mail).into_bytes()
    };
    let (ours, theirs) = (mail(KEY, "ours"), mail(OTHER_KEY, "theirs"));
    assert_eq!(Reply::read(&house.raw(&ours).await).status, 201);

    // What has come of a body is held, of one tenant no more than a quarter; the others have theirs.
    let large = promised + &"x".repeat(900_000);
    let held = begun(&house, large.as_bytes()).await;
    let more = head(&house, "/api/v1/emails", &(length(300_000) + "Expect: 100-continue\r\n"));
    timeout(PATIENCE, async { while may_send(&house, more.as_bytes()).await {} }).await.expect("the body has come");
    let refused = Reply::read(&house.raw(&ours).await);
    assert_eq!((refused.status, refused.field("retry-after")), (503, "5"));
    assert_eq!(Reply::read(&house.raw(&theirs).await).status, 201);
    let small = r#"{"from":"a@ours.example","to":"b@example.com","subject":"s","text":"t"}"#;
    assert_eq!(house.mailtura("POST", "/api/v1/emails", small).await.status, 201);
    drop((held, promises));
    comes_to(&house, &ours, 201).await;
    house.shut().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn answers_that_nobody_reads_are_few() {
    const SIZE: usize = 12 << 20;
    let settings = Settings { send_bytes_max: 16 << 20, memory_bytes_max: 64 << 20, ..Settings::default() };
    let house = House::with(settings, |_| {}).await;
    let text = format!("{}\r\n", "x".repeat(70)).repeat(SIZE / 72);
    let mail = json!({ "from": "a@ours.example", "to": "b@example.com", "subject": "s", "text": text });
    let sent = house.mailtura("POST", "/api/v1/emails", &mail.to_string()).await.json();
    let path = format!("/api/v1/emails/{}/content", sent["id"].as_str().unwrap());
    let get = head(&house, &path, "Connection: close\r\n").replace("POST", "GET");

    // No buffer of the system holds so much: what a client leaves unread stays with us.
    let mut unread = begun(&house, get.as_bytes()).await;
    let mut first = [0; 15];
    timeout(PATIENCE, unread.read_exact(&mut first)).await.unwrap().unwrap();
    assert_eq!(&first, b"HTTP/1.1 200 OK");
    let refused = Reply::read(&house.raw(get.as_bytes()).await);
    refused.is(503, r#"{"message":"Temporarily unavailable; nothing was accepted, try again"}"#);
    assert_eq!(house.mailtura("GET", "/api/v1/emails", "").await.status, 200);
    drop(unread);
    let read = comes_to(&house, get.as_bytes(), 200).await;
    assert_eq!(read.field("content-length"), read.body.len().to_string());
    assert!(read.body.len() > SIZE * 9 / 10);
    house.shut().await;
}

/// The most memory that this process has held, in bytes.
fn held_bytes_max() -> usize {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap();
    line.trim().strip_suffix(" kB").unwrap().parse::<usize>().unwrap() << 10
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_small_batch_does_not_become_gigabytes() {
    let house = House::new().await;
    let to: Vec<_> = (0..500).map(|n| json!({ "email_address": { "address": format!("r{n}@example.com") } })).collect();
    let batch = |field: &str, value: serde_json::Value| {
        let mut batch = json!({
            "from": { "address": "a@ours.example" }, "to": to, "subject": "s", "textbody": "t",
            "merge_info": { "a": vec![1; 40], "b": "x".repeat(100_000) },
        });
        batch[field] = value;
        batch.to_string()
    };
    let token = format!("Zoho-enczapikey {KEY}");
    let send = async |batch: String| {
        house.ask("POST", "/v1.1/email/batch", &[("Authorization", &token)], batch.as_bytes()).await
    };
    let refused = send(batch("htmlbody", "{{#a}}{{{b}}}{{/a}}".into())).await;
    assert_eq!((refused.status, &refused.json()["error"]["details"][0]["code"]), (413, &"SM_129".into()));
    // What all of them share is theirs as often as well.
    let refused = send(batch("mime_headers", json!({ "X-Large": "x ".repeat(1_000_000) }))).await;
    assert_eq!((refused.status, &refused.json()["error"]["details"][0]["code"]), (413, &"SM_129".into()));
    // A subject is as long as before once it is filled in.
    let refused = send(batch("subject", "{{b}}".into())).await;
    let detail = &refused.json()["error"]["details"][0];
    assert_eq!((refused.status, &detail["code"], &detail["target"]), (422, &"SM_129".into(), &"subject".into()));
    let mail = json!({
        "from": "a@ours.example", "to": "b@example.com", "subject": "s", "text": "{{#a}}{{b}}{{/a}}",
        "variables": { "a": vec![1; 40], "b": "x".repeat(100_000) },
    });
    let refused = house.mailtura("POST", "/api/v1/emails/batch", &json!(vec![mail; 40]).to_string()).await;
    refused.is(413, r#"{"message":"The mail is larger than 134217728 bytes"}"#);
    assert_eq!(house.messages().await, 0);
    assert!(held_bytes_max() < 1 << 30, "{}", held_bytes_max());
    house.shut().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn requests_that_say_two_things() {
    let house = House::new().await;
    for more in [
        "Content-Length: 2\r\nTransfer-Encoding: chunked\r\n",
        "Content-Length: 2\r\nContent-Length: 3\r\n",
        "Transfer-Encoding: identity\r\n",
        "Transfer-Encoding: chunked, chunked\r\n",
        "Content-Length: -1\r\n",
        "Content-Length : 2\r\n",
        "X: a\r\n b\r\n",
        "X\0: a\r\n",
    ] {
        let request = head(&house, "/api/v1/webhooks", more) + "{}\r\n\r\n";
        let heard = house.raw(request.as_bytes()).await;
        let first = String::from_utf8_lossy(&heard).lines().next().unwrap_or_default().to_owned();
        assert!(first.starts_with("HTTP/1.1 400"), "{more:?}: {first}");
        let told = Reply::read(&heard).json();
        assert!(told["message"].is_string(), "{more:?}: {told}");
    }
    for (path, body) in [
        ("/api/v1/emails", r#"{"message":"Content-Length and Transfer-Encoding cannot stand together"}"#),
        ("/v1.1/email", r#"{"error":{"code":"TM_3301","details":[{"code":"PB_400","#),
        ("/o/x", r#"{"message":"Content-Length"#),
    ] {
        let more = "Content-Length: 3\r\nTransfer-Encoding: chunked\r\n";
        let request = head(&house, path, more) + "0\r\n\r\nGET /smuggled HTTP/1.1\r\nHost: x\r\n\r\n";
        let reply = Reply::read(&house.raw(request.as_bytes()).await);
        assert_eq!((reply.status, reply.field("connection")), (400, "close"));
        assert!(reply.text().starts_with(body), "{}", reply.text());
        assert!(!reply.text().contains("HTTP/1.1"));
    }
    let encoded =
        head(&house, "/api/v1/emails", "Content-Encoding: gzip\r\nContent-Length: 0\r\nConnection: close\r\n");
    assert_eq!(Reply::read(&house.raw(encoded.as_bytes()).await).status, 415);
    let cut = head(&house, "/api/v1/emails", "Content-Length: 100\r\n") + "{";
    let mut stream = TcpStream::connect(house.address).await.unwrap();
    stream.write_all(cut.as_bytes()).await.unwrap();
    stream.shutdown().await.unwrap();
    let mut heard = Vec::new();
    timeout(PATIENCE, stream.read_to_end(&mut heard)).await.unwrap().unwrap();
    assert!(heard.is_empty() || Reply::read(&heard).status == 400);
    assert_eq!(house.messages().await, 0);
    house.shut().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn requests_one_behind_the_other() {
    const MAIL: &str = r#"{"from":"a@ours.example","to":"b@example.com","subject":"s","text":"t"}"#;
    let house = House::new().await;
    let get = head(&house, "/api/v1/emails", "").replace("POST", "GET");
    let post = head(&house, "/api/v1/emails", &format!("Content-Length: {}\r\n", MAIL.len())) + MAIL;
    let chunks = format!("{:x};x=y\r\n{MAIL}\r\n0\r\n\r\n", MAIL.len());
    let chunked = head(&house, "/api/v1/emails", "Transfer-Encoding: chunked\r\n") + &chunks;
    let statuses = |heard: &[u8]| -> Vec<String> {
        let heard = String::from_utf8_lossy(heard);
        heard.split("HTTP/1.1 ").skip(1).map(|answer| answer[..3].to_owned()).collect()
    };
    let last = head(&house, "/api/v1/emails", "Connection: close\r\n").replace("POST", "GET");
    let good = [&*get, &post, "\r\n", &chunked, &get, &chunked, &post, &last].concat();
    assert_eq!(statuses(&house.raw(good.as_bytes()).await), ["200", "201", "201", "200", "201", "201", "200"]);
    assert_eq!(house.messages().await, 4);

    // What says two things is refused wherever it stands, and nothing after it is looked at.
    let both = format!("Content-Length: {}\r\nTransfer-Encoding: chunked\r\n", chunks.len());
    let both = head(&house, "/api/v1/emails", &both) + &chunks;
    for before in [&*get, &post, &chunked, "\r\n"] {
        let heard = house.raw([before, &*both, &post].concat().as_bytes()).await;
        assert_eq!(statuses(&heard), ["400"], "{before}");
        let (start, end) = before.split_at(before.len() - 1);
        let mut stream = begun(&house, start.as_bytes()).await;
        let _ = stream.write_all([end, &*both].concat().as_bytes()).await;
        let mut heard = Vec::new();
        let _ = timeout(PATIENCE, stream.read_to_end(&mut heard)).await.expect("the door closes in time");
        assert_eq!(statuses(&heard).last().map(String::as_str), Some("400"), "{before}");
    }
    let taken = house.messages().await;
    assert!((4..=6).contains(&taken), "{taken}");
    house.shut().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn headers_have_a_largest_size() {
    let house = House::new().await;
    let large = head(&house, "/api/v1/emails", &format!("X: {}\r\n", "x".repeat(40_000)));
    let refused = Reply::read(&house.raw(large.as_bytes()).await);
    assert_eq!((refused.status, &refused.json()["message"]), (431, &"The request's header is too large".into()));
    let many = head(&house, "/api/v1/emails", &"X: x\r\n".repeat(200));
    assert_eq!(Reply::read(&house.raw(many.as_bytes()).await).status, 431);
    house.shut().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_address_has_so_many_connections_and_silence_ends() {
    let settings =
        Settings { connections_per_address_max: 2, idle_secs_max: 0, header_secs_max: 0, ..Settings::default() };
    let house = House::with(settings, |_| {}).await;
    let mut silent = TcpStream::connect(house.address).await.unwrap();
    assert_eq!(timeout(PATIENCE, silent.read(&mut [0; 1])).await.unwrap().unwrap(), 0);
    house.shut().await;

    let settings = Settings { connections_per_address_max: 2, ..Settings::default() };
    let house = House::with(settings, |_| {}).await;
    let (_one, _two) =
        (TcpStream::connect(house.address).await.unwrap(), TcpStream::connect(house.address).await.unwrap());
    let mut three = TcpStream::connect(house.address).await.unwrap();
    assert_eq!(timeout(PATIENCE, three.read(&mut [0; 1])).await.unwrap().unwrap_or(0), 0);
    assert_eq!((read(&house.server.counters().connections), read(&house.server.counters().turned_away)), (2, 1));
    house.shut().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_door_shuts_when_what_was_begun_is_done() {
    let house = House::new().await;
    let mail = r#"{"from":"a@ours.example","to":"b@example.com","subject":"s","text":"t"}"#;
    let length = format!("Expect: 100-continue\r\nContent-Length: {}\r\n", mail.len());
    let request = head(&house, "/api/v1/emails", &length);
    let mut stream = TcpStream::connect(house.address).await.unwrap();
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut go_on = [0; 25];
    timeout(PATIENCE, stream.read_exact(&mut go_on)).await.unwrap().unwrap();
    assert_eq!(&go_on, b"HTTP/1.1 100 Continue\r\n\r\n");
    house.stop.send_replace(true);
    stream.write_all(mail.as_bytes()).await.unwrap();
    let mut heard = Vec::new();
    timeout(PATIENCE, stream.read_to_end(&mut heard)).await.unwrap().unwrap();
    assert_eq!(Reply::read(&heard).status, 201);
    timeout(Duration::from_secs(20), house.serving).await.unwrap().unwrap();
    assert!(TcpStream::connect(house.address).await.is_err());
}
