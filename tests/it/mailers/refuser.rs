//! An exchanger that refuses each mail for the reason that its recipient's name says.

use std::io::{BufRead, BufReader, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};

/// Listens until the test ends.
pub fn start() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    std::thread::spawn(move || {
        for socket in listener.incoming().flatten() {
            std::thread::spawn(move || serve(socket));
        }
    });
    address
}

fn serve(socket: TcpStream) -> Option<()> {
    let mut lines = BufReader::new(socket.try_clone().ok()?).lines();
    let say = |line: &str| (&socket).write_all(format!("{line}\r\n").as_bytes()).ok();
    say("220 there.tests.example ESMTP")?;
    while let Some(Ok(line)) = lines.next() {
        let line = line.to_ascii_lowercase();
        match line.get(..4)? {
            "ehlo" => say("250-there.tests.example\r\n250 ENHANCEDSTATUSCODES")?,
            "rcpt" => say(refusal(&line).unwrap_or("250 2.1.5 ok"))?,
            "data" => {
                say("354 go on")?;
                lines.by_ref().map_while(Result::ok).find(|line| line == ".")?;
                say("552 5.3.4 Message size exceeds what we take")?;
            }
            "quit" => return say("221 2.0.0 bye"),
            _ => say("250 2.0.0 ok")?,
        }
    }
    None
}

fn refusal(rcpt: &str) -> Option<&'static str> {
    let refusals = [
        ("unknown@", "550 5.1.1 No such user here"),
        ("full@", "552 5.2.2 The mailbox is full"),
        ("expired@", "451 4.3.0 Temporary system problem"),
    ];
    refusals.into_iter().find(|(name, _)| rcpt.contains(name)).map(|(_, refusal)| refusal)
}
