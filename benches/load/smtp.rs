//! Submits HTML mails of about 5 KB with ten links over kept sessions, MAIL, RCPT and DATA in one write.

use std::time::{Duration, Instant};

use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::net::TcpStream;

/// Where mail is handed in, and with which key.
#[derive(Clone)]
pub struct Door {
    pub address: String,
    pub secret: Option<String>,
}

/// Sends so many mails; how long each took, from MAIL to the reply to its final dot.
pub async fn send(door: &Door, sessions: usize, mails: usize) -> Vec<Duration> {
    let mail = mail();
    let mut tasks = Vec::new();
    for session in 0..sessions {
        let share = mails / sessions + usize::from(session < mails % sessions);
        let (door, mail) = (door.clone(), mail.clone());
        tasks.push(tokio::spawn(async move { run(&door, &mail, share).await }));
    }
    let mut took = Vec::with_capacity(mails);
    for task in tasks {
        took.extend(task.await.unwrap());
    }
    took
}

async fn run(door: &Door, mail: &[u8], mails: usize) -> Vec<Duration> {
    let socket = TcpStream::connect(&door.address).await.unwrap();
    socket.set_nodelay(true).unwrap();
    let mut stream = BufReader::new(socket);
    expect(&mut stream, "220").await;
    say(&mut stream, b"EHLO load.example\r\n", &["250"]).await;
    if let Some(secret) = &door.secret {
        let plain =
            base64::Engine::encode(&base64::engine::general_purpose::STANDARD, format!("\0emailapikey\0{secret}"));
        say(&mut stream, format!("AUTH PLAIN {plain}\r\n").as_bytes(), &["235"]).await;
    }
    let mut took = Vec::with_capacity(mails);
    for number in 0..mails {
        let begun = Instant::now();
        let envelope = format!("MAIL FROM:<a@load.example>\r\nRCPT TO:<r{number}@reader.example>\r\nDATA\r\n");
        say(&mut stream, envelope.as_bytes(), &["250", "250", "354"]).await;
        say(&mut stream, mail, &["250"]).await;
        took.push(begun.elapsed());
    }
    say(&mut stream, b"QUIT\r\n", &["221"]).await;
    took
}

async fn say(stream: &mut BufReader<TcpStream>, bytes: &[u8], replies: &[&str]) {
    stream.write_all(bytes).await.unwrap();
    for reply in replies {
        expect(stream, reply).await;
    }
}

async fn expect(stream: &mut BufReader<TcpStream>, code: &str) {
    loop {
        let mut line = String::new();
        stream.read_line(&mut line).await.unwrap();
        assert!(line.starts_with(code), "wanted {code}, got {line:?}");
        if line.as_bytes().get(3) != Some(&b'-') {
            return;
        }
    }
}

fn mail() -> Vec<u8> {
    let mut mail = String::from(
        "From: Load <a@load.example>\r\nTo: reader@reader.example\r\nSubject: Your order\r\nMIME-Version: 1.0\r\n\
         Content-Type: text/html; charset=utf-8\r\n\r\n<html><body>\r\n",
    );
    for link in 0..10 {
        mail.push_str(&format!("<p><a href=\"https://shop.example/order/{link}?a=1&amp;b=2\">Item {link}</a></p>\r\n"));
        mail.push_str(&format!("<p>{}</p>\r\n", "Thank you for shopping with us. ".repeat(12)));
    }
    mail.push_str("</body></html>\r\n.\r\n");
    mail.into_bytes()
}
