//! A client that submits mail over a blocking socket and notes what it was promised.

use std::io::{self, BufRead, BufReader, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::Path;
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;

use super::agent::{Agent, printed};

/// Where reports come home to, if an agent is set so.
pub const HOME: &str = "bounces.tests.example";

/// A reply that takes longer has not come.
const PATIENCE: Duration = Duration::from_secs(20);

/// An authenticated session.
pub struct Submitter {
    stream: BufReader<TcpStream>,
}

impl Submitter {
    /// Connects and signs in with an API key.
    pub fn sign_in(address: SocketAddr, key: &str) -> io::Result<Self> {
        let mut submitter = Self::stranger(address)?;
        submitter.say(&format!("AUTH PLAIN {}", STANDARD.encode(format!("\0emailapikey\0{key}"))))?;
        Ok(submitter)
    }

    /// Connects, and says no more than hello.
    pub fn stranger(address: SocketAddr) -> io::Result<Self> {
        let socket = TcpStream::connect(address)?;
        socket.set_nodelay(true)?;
        socket.set_read_timeout(Some(PATIENCE))?;
        let mut submitter = Self { stream: BufReader::new(socket) };
        submitter.reply()?;
        submitter.say("EHLO tests.example")?;
        Ok(submitter)
    }

    /// Sends one command and reads its reply, which must be a positive one.
    pub fn say(&mut self, command: &str) -> io::Result<String> {
        self.stream.get_mut().write_all(format!("{command}\r\n").as_bytes())?;
        self.reply()
    }

    /// Submits a mail, one command at a time; the reply that promises it.
    pub fn submit(&mut self, to: &str, mail: &[u8]) -> io::Result<String> {
        self.hand_in("app@tests.example", to, mail)
    }

    /// Hands in a mail from this envelope sender; the null sender is the empty one.
    pub fn hand_in(&mut self, from: &str, to: &str, mail: &[u8]) -> io::Result<String> {
        self.say(&format!("MAIL FROM:<{from}>"))?;
        self.say(&format!("RCPT TO:<{to}>"))?;
        self.say("DATA")?;
        self.text(mail)
    }

    /// Submits a mail with the whole envelope in one write (RFC 2920).
    pub fn submit_pipelined(&mut self, to: &str, mail: &[u8]) -> io::Result<String> {
        let envelope = format!("MAIL FROM:<app@tests.example>\r\nRCPT TO:<{to}>\r\nDATA\r\n");
        self.stream.get_mut().write_all(envelope.as_bytes())?;
        for _ in 0..3 {
            self.reply()?;
        }
        self.text(mail)
    }

    /// After DATA: sends a text and its end; the reply to it.
    pub fn finish(&mut self, text: &[u8]) -> io::Result<String> {
        self.text(text)
    }

    /// Sends a whole text as one chunk (RFC 3030); the reply to it.
    pub fn chunk(&mut self, text: &[u8]) -> io::Result<String> {
        self.stream.get_mut().write_all(format!("BDAT {} LAST\r\n", text.len()).as_bytes())?;
        self.stream.get_mut().write_all(text)?;
        self.reply()
    }

    fn text(&mut self, mail: &[u8]) -> io::Result<String> {
        self.stream.get_mut().write_all(mail)?;
        self.stream.get_mut().write_all(b".\r\n")?;
        self.reply()
    }

    fn reply(&mut self) -> io::Result<String> {
        let mut whole = String::new();
        loop {
            let mut line = String::new();
            if self.stream.read_line(&mut line)? == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
            whole += &line;
            if line.as_bytes().get(3) != Some(&b'-') {
                break;
            }
        }
        if whole.starts_with(['2', '3']) { Ok(whole) } else { Err(io::Error::other(whole)) }
    }
}

/// An automatic reply to a message comes home, and waits for a person; the report's id.
pub fn auto_reply(agent: &Agent, folder: &Path, message: &str) -> String {
    let copy = printed(folder, &["why", message, "--mail"]);
    let sealed = copy.lines().find_map(|line| line.strip_prefix("X-Postback-Ref: ")).unwrap().trim();
    let mut session = Submitter::stranger(agent.address("smtp")).unwrap();
    let mail = "From: you@example.org\r\nSubject: Out of office\r\nAuto-Submitted: auto-replied\r\n\r\nBack soon.\r\n";
    session.hand_in("", &format!("{sealed}@{HOME}"), mail.as_bytes()).unwrap();
    printed(folder, &["bounces", "list"]).split_whitespace().find(|word| word.starts_with("rpt_")).unwrap().to_owned()
}
