//! Submits HTML mails of about 5 KB with ten links over kept sessions, MAIL, RCPT and DATA in one write.

use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::net::TcpStream;

use crate::program::Program;

pub async fn send(program: &Program, sessions: usize, mails: usize) {
    let mail = mail();
    let mut tasks = Vec::new();
    for session in 0..sessions {
        let share = mails / sessions + usize::from(session < mails % sessions);
        let (address, secret, mail) = (program.smtp.clone(), program.secret.clone(), mail.clone());
        tasks.push(tokio::spawn(async move { run(&address, &secret, &mail, share).await }));
    }
    for task in tasks {
        task.await.unwrap();
    }
}

async fn run(address: &str, secret: &str, mail: &[u8], mails: usize) {
    let socket = TcpStream::connect(address).await.unwrap();
    socket.set_nodelay(true).unwrap();
    let mut stream = BufReader::new(socket);
    expect(&mut stream, "220").await;
    say(&mut stream, b"EHLO load.example\r\n", &["250"]).await;
    let plain = base64::Engine::encode(&base64::engine::general_purpose::STANDARD, format!("\0emailapikey\0{secret}"));
    say(&mut stream, format!("AUTH PLAIN {plain}\r\n").as_bytes(), &["235"]).await;
    for number in 0..mails {
        let envelope = format!("MAIL FROM:<a@load.example>\r\nRCPT TO:<r{number}@reader.example>\r\nDATA\r\n");
        say(&mut stream, envelope.as_bytes(), &["250", "250", "354"]).await;
        say(&mut stream, mail, &["250"]).await;
    }
    say(&mut stream, b"QUIT\r\n", &["221"]).await;
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
