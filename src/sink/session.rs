//! One conversation with a client, as a receiver has it: RFC 5321 with PIPELINING, STARTTLS and AUTH, and whatever the
//! recipients' addresses and the sink's faults ask for. Lines and mails have their limits.

use std::sync::Arc;
use std::time::Duration;

use bytes::BytesMut;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpStream;

use super::behaviour::{At, Behaviour};
use super::{Happened, House, later};

/// Largest mail, in bytes.
const MAIL_BYTES_MAX: usize = 50 << 20;
/// Longest command line, in bytes.
const LINE_BYTES_MAX: usize = 64 << 10;
/// Recipients of one mail.
const RECIPIENTS_MAX: usize = 1_000;
/// After so many bytes of a mail a drop in its middle comes.
const BODY_DROP_BYTES: usize = 100;
/// Bytes asked of the socket at a time.
const READ_BYTES: usize = 16 << 10;

trait Stream: AsyncRead + AsyncWrite + Send + Sync + Unpin {}
impl<S: AsyncRead + AsyncWrite + Send + Sync + Unpin> Stream for S {}

/// Hangs up: the client left, broke the rules, or is meant to be left.
struct HungUp;

impl From<std::io::Error> for HungUp {
    fn from(_: std::io::Error) -> Self {
        HungUp
    }
}

type Step<T> = Result<T, HungUp>;

struct Session {
    house: Arc<House>,
    stream: Box<dyn Stream>,
    buffer: BytesMut,
    conversation: u64,
    /// Steps so far, so that faults fall anew on each.
    step: u64,
    is_encrypted: bool,
    from: Option<String>,
    to: Vec<(String, Behaviour)>,
}

/// Talks to one client until it leaves.
pub(super) async fn host(house: Arc<House>, socket: TcpStream) {
    if socket.set_nodelay(true).is_err() {
        return;
    }
    let conversation = house.next_conversation();
    let stream: Box<dyn Stream> = Box::new(socket);
    let (buffer, from, to) = Default::default();
    let mut session = Session { house, stream, buffer, conversation, step: 0, is_encrypted: false, from, to };
    // How it ended was told where it ended.
    let _ = session.talk().await;
}

impl Session {
    async fn talk(&mut self) -> Step<()> {
        let greeting = format!("220 {} ESMTP", self.house.settings.hostname);
        self.answer(At::Connect, "", None, &greeting).await?;
        loop {
            let line = self.line().await?;
            let verb = line.split([' ', ':']).next().unwrap_or_default().to_ascii_uppercase();
            match verb.as_str() {
                "EHLO" | "HELO" => {
                    let offers = self.offers();
                    self.answer(At::Ehlo, "", None, &offers).await?;
                }
                "STARTTLS" => self.start_tls().await?,
                "AUTH" => self.auth(&line).await?,
                "MAIL" => self.mail(&line).await?,
                "RCPT" => self.rcpt(&line).await?,
                "DATA" => self.data().await?,
                "RSET" => {
                    (self.from, self.to) = Default::default();
                    self.say("250 2.0.0 ok").await?;
                }
                "NOOP" => self.say("250 2.0.0 ok").await?,
                "QUIT" => {
                    self.say("221 2.0.0 bye").await?;
                    return Err(HungUp);
                }
                _ => self.say("500 5.5.1 not understood").await?,
            }
        }
    }

    fn offers(&self) -> String {
        let mut offers = vec![self.house.settings.hostname.as_str(), "PIPELINING", "SIZE 52428800", "8BITMIME"];
        offers.extend(["SMTPUTF8", "ENHANCEDSTATUSCODES", "AUTH PLAIN LOGIN"]);
        if self.house.tls.is_some() && !self.is_encrypted {
            offers.push("STARTTLS");
        }
        let last = offers.len() - 1;
        let line = |(place, offer): (usize, &&str)| format!("250{}{offer}", if place == last { ' ' } else { '-' });
        offers.iter().enumerate().map(line).collect::<Vec<_>>().join("\r\n")
    }

    async fn start_tls(&mut self) -> Step<()> {
        let Some(tls) = self.house.tls.as_ref().filter(|_| !self.is_encrypted).map(|tls| tls.0.clone()) else {
            return self.say("502 5.5.1 not offered").await;
        };
        self.say("220 2.0.0 go ahead").await?;
        // What came in clear must not be taken for what came encrypted.
        self.buffer.clear();
        let clear = std::mem::replace(&mut self.stream, Box::new(tokio::io::empty()));
        self.stream = Box::new(tls.accept(clear).await?);
        (self.is_encrypted, self.from) = (true, None);
        self.to.clear();
        Ok(())
    }

    /// Everybody may.
    async fn auth(&mut self, line: &str) -> Step<()> {
        let words: Vec<&str> = line.split_ascii_whitespace().collect();
        let is_login = words.get(1).is_some_and(|word| word.eq_ignore_ascii_case("LOGIN"));
        let has_initial = words.len() > 2;
        let prompts: &[&str] = match (is_login, has_initial) {
            (true, false) => &["334 VXNlcm5hbWU6", "334 UGFzc3dvcmQ6"],
            (true, true) => &["334 UGFzc3dvcmQ6"],
            (false, false) => &["334 "],
            (false, true) => &[],
        };
        for prompt in prompts {
            self.say(prompt).await?;
            self.line().await?;
        }
        self.say("235 2.7.0 welcome, whoever you are").await
    }

    async fn mail(&mut self, line: &str) -> Step<()> {
        let from = path(line);
        if self.answer(At::Mail, "", None, "250 2.1.0 ok").await? {
            (self.from, self.to) = (Some(from), Vec::new());
        }
        Ok(())
    }

    async fn rcpt(&mut self, line: &str) -> Step<()> {
        if self.from.is_none() {
            return self.say("503 5.5.1 MAIL first").await;
        }
        if self.to.len() >= RECIPIENTS_MAX {
            return self.say("452 4.5.3 too many recipients").await;
        }
        let recipient = path(line);
        let behaviour = Behaviour::of(&recipient);
        let patience = self.patience(&recipient, &behaviour);
        if let Some(reply) = patience {
            self.refused(At::Rcpt, &recipient, &reply).await;
            return self.say(&reply).await;
        }
        if self.answer(At::Rcpt, &recipient, Some(&behaviour), "250 2.1.5 ok").await? {
            self.to.push((recipient, behaviour));
        }
        Ok(())
    }

    /// What greylisting and deferring say to this attempt.
    fn patience(&self, recipient: &str, behaviour: &Behaviour) -> Option<String> {
        if behaviour.greylist.is_none() && behaviour.defer == 0 {
            return None;
        }
        let seen = self.house.seen(recipient);
        let since = self.house.clock.now().since(seen.first_at);
        match behaviour.greylist.and_then(|wait| wait.checked_sub(since)).filter(|left| !left.is_zero()) {
            Some(left) => {
                let seconds = left.as_millis().div_ceil(1_000);
                Some(format!("450 4.7.1 <{recipient}>: greylisted, try again in {seconds} seconds"))
            }
            None if seen.attempts <= behaviour.defer => {
                Some(format!("451 4.3.0 <{recipient}>: not yet; this was attempt {}", seen.attempts))
            }
            None => None,
        }
    }

    async fn data(&mut self) -> Step<()> {
        if self.to.is_empty() {
            return self.say("503 5.5.1 no recipient").await;
        }
        let (recipient, behaviour) = self.asking(At::Data);
        if !self.answer(At::Data, &recipient, Some(&behaviour), "354 go ahead").await? {
            return Ok(());
        }
        let drops = self.to.iter().any(|(_, behaviour)| behaviour.drop_at == Some(At::Body));
        let drops = drops || self.house.fault(self.conversation, self.step, At::Body).is_some();
        let mail = self.content(if drops { BODY_DROP_BYTES } else { MAIL_BYTES_MAX }).await;
        let Ok(mail) = mail else {
            let (recipient, _) = self.asking(At::Body);
            self.refused(At::Body, &recipient, "").await;
            return Err(HungUp);
        };
        self.heard(mail).await
    }

    /// A mail was heard to its final dot.
    async fn heard(&mut self, mail: Vec<u8>) -> Step<()> {
        let (recipient, behaviour) = self.asking(At::Dot);
        self.wait(At::Dot, Some(&behaviour)).await;
        let reply = match self.verdict(At::Dot, Some(&behaviour)) {
            None => "250 2.0.0 taken".to_owned(),
            Some(reply) => reply.unwrap_or_default(),
        };
        let to: Vec<String> = self.to.iter().map(|(recipient, _)| recipient.clone()).collect();
        let (from, message_id) = (self.from.take().unwrap_or_default(), later::message_id(&mail));
        let size = mail.len();
        let told = Happened::Mail { from: from.clone(), to, message_id, size, reply: reply.clone() };
        self.house.tell(told).await;
        if reply.starts_with('2') {
            for (recipient, behaviour) in self.to.drain(..).filter(|(_, behaviour)| !behaviour.later.is_empty()) {
                later::plan(&self.house, &from, &recipient, behaviour.later, &mail);
            }
        } else {
            self.refused(At::Dot, &recipient, &reply).await;
        }
        self.to.clear();
        if reply.is_empty() {
            return Err(HungUp);
        }
        self.say(&reply).await
    }

    /// The recipient that asks for most at this stage, else the first.
    fn asking(&self, at: At) -> (String, Behaviour) {
        let asks = |behaviour: &Behaviour| {
            let is_said = behaviour.reply.as_ref().is_some_and(|(when, _)| *when == at);
            is_said || behaviour.drop_at == Some(at) || behaviour.slow.is_some_and(|(when, _)| when == at)
        };
        let asking = self.to.iter().find(|(_, behaviour)| asks(behaviour));
        asking.or(self.to.first()).cloned().unwrap_or_default()
    }

    /// Says yes, or whatever is asked for instead; whether it was yes.
    async fn answer(&mut self, at: At, recipient: &str, behaviour: Option<&Behaviour>, yes: &str) -> Step<bool> {
        self.step += 1;
        self.wait(at, behaviour).await;
        match self.verdict(at, behaviour) {
            None => self.say(yes).await.map(|()| true),
            Some(reply) => {
                let reply = reply.unwrap_or_default();
                self.refused(at, recipient, &reply).await;
                if reply.is_empty() {
                    return Err(HungUp);
                }
                self.say(&reply).await.map(|()| false)
            }
        }
    }

    /// What is said instead of yes; a `None` inside: nothing, it hangs up.
    fn verdict(&self, at: At, behaviour: Option<&Behaviour>) -> Option<Option<String>> {
        if let Some(fault) = self.house.fault(self.conversation, self.step, at) {
            return Some(fault.reply.clone());
        }
        let behaviour = behaviour?;
        if behaviour.drop_at == Some(at) {
            return Some(None);
        }
        behaviour.reply.as_ref().filter(|(when, _)| *when == at).map(|(_, reply)| Some(reply.clone()))
    }

    async fn wait(&self, at: At, behaviour: Option<&Behaviour>) {
        let slow = behaviour.and_then(|behaviour| behaviour.slow).filter(|(when, _)| *when == at);
        let wait = self.house.settings.latency + slow.map_or(Duration::ZERO, |(_, wait)| wait);
        if !wait.is_zero() {
            self.house.clock.sleep_until(self.house.clock.now() + wait).await;
        }
    }

    async fn refused(&self, at: At, recipient: &str, reply: &str) {
        let (to, reply) = (recipient.to_owned(), reply.to_owned());
        self.house.tell(Happened::Refused { at: at.as_str(), to, reply }).await;
    }

    async fn say(&mut self, reply: &str) -> Step<()> {
        let reply = reply.replace("\r\n", "\n").replace('\n', "\r\n");
        self.stream.write_all(format!("{reply}\r\n").as_bytes()).await?;
        Ok(self.stream.flush().await?)
    }

    /// A mail up to its final dot, dots unstuffed.
    async fn content(&mut self, bytes_max: usize) -> Step<Vec<u8>> {
        let mut mail = Vec::new();
        loop {
            let line = self.raw_line().await?;
            if &line[..] == b".\r\n" {
                return Ok(mail);
            }
            mail.extend_from_slice(line.strip_prefix(b".").unwrap_or(&line));
            if mail.len() > bytes_max {
                return Err(HungUp);
            }
        }
    }

    async fn line(&mut self) -> Step<String> {
        let line = self.raw_line().await?;
        Ok(String::from_utf8_lossy(&line).trim_end().to_owned())
    }

    /// A line with its end. Nobody who is well sends one that is longer than a mail's may be.
    async fn raw_line(&mut self) -> Step<BytesMut> {
        let mut searched = 0;
        loop {
            if let Some(end) = memchr::memchr(b'\n', &self.buffer[searched..]) {
                return Ok(self.buffer.split_to(searched + end + 1));
            }
            searched = self.buffer.len();
            if searched > LINE_BYTES_MAX {
                return Err(HungUp);
            }
            self.buffer.reserve(READ_BYTES);
            if self.stream.read_buf(&mut self.buffer).await? == 0 {
                return Err(HungUp);
            }
        }
    }
}

/// What stands between the angle brackets.
fn path(line: &str) -> String {
    line.split_once('<').and_then(|(_, rest)| rest.split_once('>')).map_or("", |(path, _)| path).to_owned()
}
