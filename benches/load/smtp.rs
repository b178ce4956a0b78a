//! Submits HTML mails of about 5 KB with ten links over kept sessions, MAIL, RCPT and DATA in one write.

use std::time::{Duration, Instant};

use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::net::TcpStream;

use crate::content;
use crate::sink::Copy;

/// The domain of return paths.
pub const REPORTS_TO: &str = "bounces.load.example";

/// Where mail is handed in, and with which key.
#[derive(Clone)]
pub struct Door {
    pub address: String,
    pub secret: Option<String>,
}

/// Sends so many mails; how long each took, from MAIL to the reply to its final dot.
pub async fn send(door: &Door, sessions: usize, mails: usize) -> Vec<Duration> {
    send_to("reader.example", door, sessions, mails).await
}

/// The same with its text.
pub async fn send_with_text(door: &Door, sessions: usize, mails: usize) -> Vec<Duration> {
    send_mail(content::mail_with_text(), "reader.example", door, sessions, mails).await
}

/// The same, to readers in this domain.
pub async fn send_to(domain: &'static str, door: &Door, sessions: usize, mails: usize) -> Vec<Duration> {
    send_mail(content::mail(), domain, door, sessions, mails).await
}

async fn send_mail(mail: Vec<u8>, domain: &'static str, door: &Door, sessions: usize, mails: usize) -> Vec<Duration> {
    let mut tasks = Vec::new();
    for session in 0..sessions {
        let share = mails / sessions + usize::from(session < mails % sessions);
        let (door, mail) = (door.clone(), mail.clone());
        tasks.push(tokio::spawn(async move { run(domain, &door, &mail, share).await }));
    }
    let mut took = Vec::with_capacity(mails);
    for task in tasks {
        took.extend(task.await.unwrap());
    }
    took
}

async fn run(domain: &str, door: &Door, mail: &[u8], mails: usize) -> Vec<Duration> {
    let mut stream = greeted(&door.address).await;
    sign_in(&mut stream, door).await;
    let mut took = Vec::with_capacity(mails);
    for number in 0..mails {
        let begun = Instant::now();
        let envelope = format!("MAIL FROM:<a@load.example>\r\nRCPT TO:<r{number}@{domain}>\r\nDATA\r\n");
        say(&mut stream, envelope.as_bytes(), &["250", "250", "354"]).await;
        say(&mut stream, mail, &["250"]).await;
        took.push(begun.elapsed());
    }
    say(&mut stream, b"QUIT\r\n", &["221"]).await;
    took
}

pub async fn sign_in(stream: &mut BufReader<TcpStream>, door: &Door) {
    if let Some(secret) = &door.secret {
        let plain =
            base64::Engine::encode(&base64::engine::general_purpose::STANDARD, format!("\0emailapikey\0{secret}"));
        say(stream, format!("AUTH PLAIN {plain}\r\n").as_bytes(), &["235"]).await;
    }
}

/// Hands reports in, each about one copy, over sessions without a password; how long each took.
pub async fn report(address: &str, sessions: usize, copies: &[Copy]) -> Vec<Duration> {
    let mut tasks = Vec::new();
    for share in copies.chunks(copies.len().div_ceil(sessions).max(1)) {
        let (address, share) = (address.to_owned(), share.to_vec());
        tasks.push(tokio::spawn(async move { run_reports(&address, &share).await }));
    }
    let mut took = Vec::with_capacity(copies.len());
    for task in tasks {
        took.extend(task.await.unwrap());
    }
    took
}

async fn run_reports(address: &str, copies: &[Copy]) -> Vec<Duration> {
    let mut stream = greeted(address).await;
    let mut took = Vec::with_capacity(copies.len());
    for copy in copies {
        let report = text_of_report(copy);
        let begun = Instant::now();
        let envelope = format!("MAIL FROM:<>\r\nRCPT TO:<{}@{REPORTS_TO}>\r\nDATA\r\n", copy.reference);
        say(&mut stream, envelope.as_bytes(), &["250", "250", "354"]).await;
        say(&mut stream, report.as_bytes(), &["250"]).await;
        took.push(begun.elapsed());
    }
    say(&mut stream, b"QUIT\r\n", &["221"]).await;
    took
}

/// A session after its EHLO.
pub async fn greeted(address: &str) -> BufReader<TcpStream> {
    let socket = TcpStream::connect(address).await.unwrap();
    socket.set_nodelay(true).unwrap();
    greet(socket).await
}

/// Reads the greeting, and says EHLO.
pub async fn greet(socket: TcpStream) -> BufReader<TcpStream> {
    let mut stream = BufReader::with_capacity(1024, socket);
    expect(&mut stream, "220").await;
    say(&mut stream, b"EHLO load.example\r\n", &["250"]).await;
    stream
}

/// As a mail system writes it that had to give up after its own relay took the mail.
fn text_of_report(Copy { reference, recipient }: &Copy) -> String {
    format!(
        "From: Mail Delivery System <MAILER-DAEMON@mx.reader.example>\r\nTo: {reference}@{REPORTS_TO}\r\n\
         Subject: Undelivered Mail Returned to Sender\r\nAuto-Submitted: auto-replied\r\nMIME-Version: 1.0\r\n\
         Content-Type: multipart/report; report-type=delivery-status; boundary=\"edge\"\r\n\r\n\
         --edge\r\nContent-Type: text/plain\r\n\r\nThis is the mail system at mx.reader.example.\r\n\r\n\
         <{recipient}>: host store.reader.example[192.0.2.25] said: 552 5.2.2 the mailbox is over its quota\r\n    \
         (in reply to RCPT TO command)\r\n\r\n--edge\r\nContent-Type: message/delivery-status\r\n\r\n\
         Reporting-MTA: dns; mx.reader.example\r\n\r\nFinal-Recipient: rfc822; {recipient}\r\nAction: failed\r\n\
         Status: 5.2.2\r\nDiagnostic-Code: smtp; 552 5.2.2 the mailbox is over its quota\r\n\r\n\
         --edge\r\nContent-Type: message/rfc822\r\n\r\nX-Postback-Ref: {reference}\r\nFrom: Load <a@load.example>\r\n\
         To: reader@reader.example\r\nSubject: Your order\r\n\r\nThank you.\r\n\r\n--edge--\r\n.\r\n"
    )
}

pub async fn say(stream: &mut BufReader<TcpStream>, bytes: &[u8], replies: &[&str]) {
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
