//! A crowd at the door: sessions that say nothing, and writers so slow that they are only just let go on.
//!
//! They come from many addresses of the loopback, as a crowd does, so that no limit of one address keeps them out.

use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;

use tokio::io::{AsyncWriteExt, BufReader};
use tokio::net::{TcpSocket, TcpStream};
use tokio::task::JoinSet;

use crate::smtp::{self, Door};

/// Sessions from one address.
const PER_ADDRESS: usize = 40;
/// A slow writer's pace: a little over the 500 bytes a second that a text must come at.
const DRIBBLE: &[u8] = b"One more line of a text that nobody is in a hurry to finish.\r\n";
const DRIBBLE_EVERY: Duration = Duration::from_millis(100);

/// So many sessions after their EHLO.
pub async fn idle(address: &str, sessions: usize) -> Vec<BufReader<TcpStream>> {
    let mut all = Vec::with_capacity(sessions);
    for number in 0..sessions {
        all.push(smtp::greet(connect(address, number).await).await);
    }
    all
}

/// So many sessions in the middle of a text; they write until this is dropped.
pub async fn slow_writers(door: &Door, sessions: usize) -> JoinSet<()> {
    let mut all = JoinSet::new();
    for number in 0..sessions {
        let mut stream = smtp::greet(connect(&door.address, number).await).await;
        smtp::sign_in(&mut stream, door).await;
        let envelope = b"MAIL FROM:<a@load.example>\r\nRCPT TO:<slow@reader.example>\r\nDATA\r\n";
        smtp::say(&mut stream, envelope, &["250", "250", "354"]).await;
        stream.write_all(b"From: a@load.example\r\nSubject: slow\r\n\r\n").await.unwrap();
        all.spawn(async move {
            while stream.write_all(DRIBBLE).await.is_ok() {
                tokio::time::sleep(DRIBBLE_EVERY).await;
            }
        });
    }
    all
}

/// Makes sure that nobody has been sent away, and lets them all go.
pub async fn is_there(mut idle: Vec<BufReader<TcpStream>>, mut slow: JoinSet<()>) {
    assert!(slow.try_join_next().is_none(), "a slow writer was sent away");
    for session in &mut idle {
        smtp::say(session, b"NOOP\r\n", &["250"]).await;
    }
}

async fn connect(address: &str, number: usize) -> TcpStream {
    let address: SocketAddr = address.parse().unwrap();
    let from = u8::try_from(number / PER_ADDRESS % 250).unwrap() + 2;
    let socket = TcpSocket::new_v4().unwrap();
    socket.bind(SocketAddr::from((Ipv4Addr::new(127, 0, 0, from), 0))).unwrap();
    let stream = socket.connect(address).await;
    stream.expect("room for so many sockets: `ulimit -n 20000`")
}
