//! The demo's mail exchanger: takes mail for `reader.example` over a real socket and keeps it for the story.
//!
//! Knows just enough of RFC 5321 for our own client. Whether a recipient is taken is decided by name, so that a
//! reader of the story can see why.

use std::net::SocketAddr;

use anyhow::Context;
use bytes::Bytes;
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;

/// A mail that the exchanger took.
#[derive(Clone, Debug)]
pub struct Taken {
    /// The envelope sender, without angle brackets.
    pub from: String,
    /// The envelope recipient.
    pub to: String,
    /// The mail.
    pub mail: Bytes,
}

/// The one mailbox that does not exist.
pub const UNKNOWN: &str = "gone@reader.example";

/// Listens on a free port of the loopback; each mail taken goes to the returned channel.
pub async fn start() -> anyhow::Result<(SocketAddr, mpsc::UnboundedReceiver<Taken>)> {
    let listener = TcpListener::bind("127.0.0.1:0").await.context("bind the demo's mail exchanger")?;
    let address = listener.local_addr()?;
    let (sender, taken) = mpsc::unbounded_channel();
    tokio::spawn(async move {
        while let Ok((socket, _)) = listener.accept().await {
            let sender = sender.clone();
            // A client that hangs up in the middle is not part of the story.
            tokio::spawn(async move { converse(socket, sender).await.ok() });
        }
    });
    Ok((address, taken))
}

async fn converse(socket: TcpStream, taken: mpsc::UnboundedSender<Taken>) -> std::io::Result<()> {
    socket.set_nodelay(true)?;
    let (reading, mut writing) = socket.into_split();
    let mut lines = BufReader::new(reading);
    writing.write_all(b"220 mx.reader.example ESMTP\r\n").await?;
    let (mut from, mut to) = (String::new(), String::new());
    loop {
        let mut line = String::new();
        if lines.read_line(&mut line).await? == 0 {
            return Ok(());
        }
        let verb = line.get(..4).unwrap_or("").to_ascii_uppercase();
        let reply = match verb.as_str() {
            "EHLO" => "250-mx.reader.example\r\n250-PIPELINING\r\n250-8BITMIME\r\n250 SMTPUTF8\r\n",
            "MAIL" => {
                from = path(&line);
                "250 2.1.0 ok\r\n"
            }
            "RCPT" if path(&line) == UNKNOWN => "550 5.1.1 no mailbox of that name here\r\n",
            "RCPT" => {
                to = path(&line);
                "250 2.1.5 ok\r\n"
            }
            "DATA" if to.is_empty() => "503 5.5.1 no recipient\r\n",
            "DATA" => {
                writing.write_all(b"354 go on\r\n").await?;
                let mail = text(&mut lines).await?;
                let _ = taken.send(Taken { from: from.clone(), to: std::mem::take(&mut to), mail });
                "250 2.0.0 taken\r\n"
            }
            "RSET" | "NOOP" => "250 2.0.0 ok\r\n",
            "QUIT" => {
                writing.write_all(b"221 2.0.0 bye\r\n").await?;
                return Ok(());
            }
            _ => "502 5.5.1 not here\r\n",
        };
        writing.write_all(reply.as_bytes()).await?;
    }
}

/// What stands between the angle brackets.
fn path(line: &str) -> String {
    line.split(['<', '>']).nth(1).unwrap_or("").to_owned()
}

/// The message text up to the final dot, dots unstuffed.
async fn text(lines: &mut (impl AsyncBufReadExt + Unpin)) -> std::io::Result<Bytes> {
    let mut mail = Vec::new();
    loop {
        let mut line = Vec::new();
        if lines.read_until(b'\n', &mut line).await? == 0 || line == b".\r\n" {
            return Ok(mail.into());
        }
        mail.extend_from_slice(line.strip_prefix(b".").unwrap_or(&line));
    }
}
