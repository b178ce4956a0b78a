//! One SMTP conversation, as a client: connect, greet, encrypt, identify, hand over one mail after the other.
//!
//! RFC 5321 with STARTTLS (3207), AUTH (4954), PIPELINING (2920), SIZE (1870), 8BITMIME (6152) and SMTPUTF8 (6531).
//! lettre writes commands and content, over a [`Wire`] of ours that reads the replies; every wait has its limit there.
//! What the other side said is handed out as it was said: whether it means never or not now is not decided here.
//!
//! A mail has one recipient. MAIL, RCPT and DATA go in one write where the host allows it. A conversation that is
//! out of step, or broke anywhere, is over; after the final dot it is *unclear* whether the mail was taken.

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use lettre::transport::smtp::client::AsyncSmtpConnection;
use lettre::transport::smtp::commands::{Data, Mail as MailFrom, Quit, Rcpt};
use lettre::transport::smtp::extension::{ClientId, MailBodyParameter, MailParameter};
use tokio::net::TcpStream;
use tokio::time::timeout;

use super::dialogue::Dialogue;
use super::encryption::Encryption;
use super::offers::Offers;
use super::reply::Reply;
use super::settings::Timeouts;
use super::wire::{Fault, Heard, Patience, Socket, Wire};
use crate::dns::Resolver;
use crate::mail::reply::Stage;
use crate::model::address::Address;
use crate::model::secret::Secret;
use crate::model::time::Timestamp;

/// Addresses of one host that are tried.
const ADDRESSES_MAX: usize = 8;
/// Content given to lettre at a time.
const CHUNK_BYTES: usize = 64 * 1024;
/// How long a goodbye may take.
const GOODBYE_MAX: Duration = Duration::from_secs(5);
const RESET: &str = "RSET\r\n";

/// A host and how to talk to it.
#[derive(Debug)]
pub struct Peer {
    /// Its name or address.
    pub host: String,
    /// Its port.
    pub port: u16,
    /// Whether the connection must be encrypted.
    pub security: Security,
    /// Who we are there.
    pub credentials: Option<Credentials>,
    /// What we call ourselves in EHLO.
    pub hello: String,
    /// How long it may keep us waiting.
    pub timeouts: Timeouts,
}

/// Whether a connection must be encrypted.
#[derive(Clone, Debug)]
pub enum Security {
    /// In clear.
    None,
    /// STARTTLS when it is offered; in clear, over a new connection, when it fails.
    Opportunistic(Encryption),
    /// STARTTLS or nothing.
    Required(Encryption),
    /// TLS from the first byte.
    Implicit(Encryption),
}

/// Who we are to a host.
#[derive(Debug)]
pub struct Credentials {
    /// The name.
    pub username: String,
    /// The password.
    pub password: Secret,
    /// May be sent in clear.
    pub in_clear: bool,
}

/// A mail to hand over.
#[derive(Clone, Copy, Debug)]
pub struct Mail<'a> {
    /// The envelope's sender.
    pub return_path: &'a str,
    /// Its one recipient.
    pub recipient: &'a Address,
    /// Header and body, lines ended by CRLF.
    pub bytes: &'a [u8],
}

/// Why a conversation did not come to its purpose.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Failure {
    /// The other side said no. The connection may go on, unless the code is 421.
    Said(Stage, Reply),
    /// The conversation is over; nothing was taken.
    Broke(Stage, Fault),
    /// The conversation is over, and whether the mail was taken is not known.
    Unclear(Fault),
    /// The host cannot take this mail; it was not asked.
    Unfit(Unfit),
}

/// What a host lacks that a mail needs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unfit {
    /// The mail is larger than the host takes (RFC 1870).
    TooLarge {
        /// What it takes, in bytes.
        limit: u64,
    },
    /// The body has bytes above 127, and the host does not offer 8BITMIME. We do not convert.
    EightBit,
    /// The recipient's address is not ASCII, and the host does not offer SMTPUTF8.
    NonAsciiAddress,
}

/// A connection that mail can be handed over.
pub struct Connection {
    /// When it was made.
    pub opened_at: Timestamp,
    /// Mails begun over it.
    pub mails: u32,
    /// Host and address.
    pub name: String,
    /// TLS version and cipher; empty when in clear.
    pub tls: String,
    offers: Offers,
    lettre: AsyncSmtpConnection,
    heard: Heard,
    timeouts: Timeouts,
    /// A transaction was left half-way.
    needs_reset: bool,
    /// The other side is in a state that we do not want to be in.
    is_over: bool,
}

impl std::fmt::Debug for Connection {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(out, "Connection({}, {} mails)", self.name, self.mails)
    }
}

impl Peer {
    /// Connects, up to where mail can be handed over.
    ///
    /// # Errors
    /// [`Failure::Said`] or [`Failure::Broke`].
    pub async fn connect(
        &self,
        resolver: &dyn Resolver,
        now: Timestamp,
        dialogue: &mut Dialogue,
    ) -> Result<Connection, Failure> {
        let first = self.converse(resolver, &self.security, dialogue).await;
        let opened = match (first, &self.security) {
            (
                Err(Failure::Said(Stage::StartTls, _) | Failure::Broke(Stage::StartTls, _)),
                Security::Opportunistic(_),
            ) => {
                dialogue.happened("no TLS to be had; again in clear");
                self.converse(resolver, &Security::None, dialogue).await?
            }
            (first, _) => first?,
        };
        let heard = opened.wire.heard();
        let hello = ClientId::Domain(self.hello.clone());
        let lettre = AsyncSmtpConnection::connect_with_transport(opened.wire.for_lettre(), &hello).await;
        let lettre = lettre.map_err(|_| Failure::Broke(Stage::Hello, Fault::OutOfStep))?;
        let (name, tls, offers) = (opened.name, opened.tls, opened.offers);
        let timeouts = self.timeouts;
        Ok(Connection {
            opened_at: now,
            mails: 0,
            name,
            tls,
            offers,
            lettre,
            heard,
            timeouts,
            needs_reset: false,
            is_over: false,
        })
    }

    /// TCP, greeting, EHLO, and what `security` and the credentials ask for.
    async fn converse(
        &self,
        resolver: &dyn Resolver,
        security: &Security,
        dialogue: &mut Dialogue,
    ) -> Result<Opened, Failure> {
        let (socket, address) = self.dial(resolver, dialogue).await.map_err(at(Stage::Connect))?;
        let name = format!("{} [{}]:{}", self.host, address.ip(), address.port());
        let mut opened = Opened {
            wire: Wire::new(Socket::Clear(socket), address),
            name,
            tls: String::new(),
            offers: Offers::default(),
        };
        if let Security::Implicit(encryption) = security {
            opened = self.encrypted(opened, encryption, dialogue).await.map_err(at(Stage::StartTls))?;
        }
        opened.greeting(self, dialogue).await?;
        opened.hello(self, dialogue).await?;
        if let Security::Opportunistic(encryption) | Security::Required(encryption) = security {
            if opened.offers.starttls {
                opened.start_tls(self, dialogue).await?;
                opened = self.encrypted(opened, encryption, dialogue).await.map_err(at(Stage::StartTls))?;
                opened.hello(self, dialogue).await?;
            } else if matches!(security, Security::Required(_)) {
                return Err(Failure::Broke(Stage::StartTls, Fault::Tls("the host does not offer STARTTLS".into())));
            }
        }
        if let Some(credentials) = &self.credentials {
            opened.identify(self, credentials, dialogue).await?;
        }
        Ok(opened)
    }

    /// The first of the host's addresses that takes a connection.
    async fn dial(&self, resolver: &dyn Resolver, dialogue: &mut Dialogue) -> Result<(TcpStream, SocketAddr), Fault> {
        let mut last = Fault::Closed;
        for ip in self.addresses(resolver).await?.into_iter().take(ADDRESSES_MAX) {
            let address = SocketAddr::new(ip, self.port);
            let connected = timeout(self.timeouts.connect, TcpStream::connect(address)).await;
            last = match connected {
                Ok(Ok(socket)) => {
                    // Without this each mail waits for a delayed acknowledgement.
                    socket.set_nodelay(true).map_err(|error| Fault::Network(error.to_string()))?;
                    return Ok((socket, address));
                }
                Ok(Err(error)) => Fault::Network(error.to_string()),
                Err(_) => Fault::TimedOut(self.timeouts.connect.as_secs()),
            };
            dialogue.happened(&format!("connect to {address}: {last}"));
        }
        Err(last)
    }

    async fn addresses(&self, resolver: &dyn Resolver) -> Result<Vec<IpAddr>, Fault> {
        let host = self.host.as_str();
        if let Ok(ip) = host.trim_matches(['[', ']']).parse() {
            return Ok(vec![ip]);
        }
        let found = timeout(self.timeouts.connect, resolver.addresses(host)).await;
        found.unwrap_or(Err(crate::dns::DnsError::Timeout)).map_err(|why| Fault::Dns { host: host.to_owned(), why })
    }

    async fn encrypted(
        &self,
        opened: Opened,
        encryption: &Encryption,
        dialogue: &mut Dialogue,
    ) -> Result<Opened, Fault> {
        let wire = opened.wire;
        let address = wire.peer();
        let socket = wire.into_clear_socket()?;
        let host = self.host.trim_matches(['[', ']']);
        let shaken = timeout(self.timeouts.handshake, encryption.shake_hands(socket, host)).await;
        let stream = shaken.unwrap_or(Err(Fault::TimedOut(self.timeouts.handshake.as_secs())))?;
        let tls = encryption.facts(&stream);
        dialogue.happened(&tls);
        // What was offered in clear anybody could have written.
        let wire = Wire::new(Socket::Tls(Box::new(stream)), address);
        Ok(Opened { wire, tls, offers: Offers::default(), ..opened })
    }
}

fn at(stage: Stage) -> impl Fn(Fault) -> Failure {
    move |fault| Failure::Broke(stage, fault)
}

/// A connection on its way to being one.
struct Opened {
    wire: Wire,
    name: String,
    tls: String,
    offers: Offers,
}

impl Opened {
    async fn greeting(&mut self, peer: &Peer, dialogue: &mut Dialogue) -> Result<(), Failure> {
        let patience = Patience { reply: peer.timeouts.greeting, block: peer.timeouts.block };
        let reply = self.wire.ask("", patience).await.map_err(at(Stage::Connect))?;
        dialogue.heard(&reply.text);
        positive(Stage::Connect, reply).map(drop)
    }

    async fn hello(&mut self, peer: &Peer, dialogue: &mut Dialogue) -> Result<(), Failure> {
        let reply = self.say(&format!("EHLO {}", peer.hello), Stage::Hello, peer, dialogue).await?;
        self.offers = Offers::of(&reply);
        if reply.is_permanent() && reply.code != 521 {
            let reply = self.say(&format!("HELO {}", peer.hello), Stage::Hello, peer, dialogue).await?;
            return positive(Stage::Hello, reply).map(drop);
        }
        positive(Stage::Hello, reply).map(drop)
    }

    async fn start_tls(&mut self, peer: &Peer, dialogue: &mut Dialogue) -> Result<(), Failure> {
        let reply = self.say("STARTTLS", Stage::StartTls, peer, dialogue).await?;
        positive(Stage::StartTls, reply).map(drop)
    }

    async fn identify(
        &mut self,
        peer: &Peer,
        credentials: &Credentials,
        dialogue: &mut Dialogue,
    ) -> Result<(), Failure> {
        let unwilling = |why| Err(Failure::Broke(Stage::Auth, Fault::Unwilling(why)));
        if self.tls.is_empty() && !credentials.in_clear {
            return unwilling("the connection is in clear, and the password is not sent over it");
        }
        let (username, password) = (&credentials.username, credentials.password.reveal());
        let mut steps = if self.offers.auth_plain {
            let plain = STANDARD.encode(format!("\0{username}\0{password}"));
            vec![(format!("AUTH PLAIN {plain}"), "AUTH PLAIN ***")]
        } else if self.offers.auth_login {
            let (username, password) = (STANDARD.encode(username), STANDARD.encode(password));
            vec![("AUTH LOGIN".to_owned(), "AUTH LOGIN"), (username, "***"), (password, "***")]
        } else {
            return unwilling("the host offers neither AUTH PLAIN nor AUTH LOGIN");
        }
        .into_iter()
        .peekable();
        while let Some((command, shown)) = steps.next() {
            dialogue.said(shown);
            let reply = self.ask(&command, Stage::Auth, peer, dialogue).await?;
            if reply.code == 334 && steps.peek().is_some() {
                continue;
            }
            return positive(Stage::Auth, reply).map(drop);
        }
        Ok(())
    }

    async fn say(
        &mut self,
        command: &str,
        stage: Stage,
        peer: &Peer,
        dialogue: &mut Dialogue,
    ) -> Result<Reply, Failure> {
        dialogue.said(command);
        self.ask(command, stage, peer, dialogue).await
    }

    async fn ask(
        &mut self,
        command: &str,
        stage: Stage,
        peer: &Peer,
        dialogue: &mut Dialogue,
    ) -> Result<Reply, Failure> {
        let patience = Patience { reply: peer.timeouts.hello, block: peer.timeouts.block };
        let reply = self.wire.ask(&format!("{command}\r\n"), patience).await.map_err(at(stage))?;
        dialogue.heard(&reply.text);
        Ok(reply)
    }
}

fn positive(stage: Stage, reply: Reply) -> Result<Reply, Failure> {
    if reply.is_positive() { Ok(reply) } else { Err(Failure::Said(stage, reply)) }
}

impl Connection {
    /// Whether more mail can be handed over after `ended`.
    pub fn is_usable_after(&self, ended: &Result<Reply, Failure>) -> bool {
        let is_going_on = match ended {
            Ok(_) | Err(Failure::Unfit(_)) => true,
            Err(Failure::Said(_, reply)) => reply.code != 421,
            Err(Failure::Broke(..) | Failure::Unclear(_)) => false,
        };
        is_going_on && !self.is_over && self.heard.is_quiet()
    }

    /// Hands over one mail; the reply to its final dot.
    ///
    /// # Errors
    /// [`Failure`]; whether the connection can be used again, [`Connection::is_usable_after`] says.
    pub async fn hand_over(&mut self, mail: Mail<'_>, dialogue: &mut Dialogue) -> Result<Reply, Failure> {
        self.offers.suit(&mail).map_err(Failure::Unfit)?;
        if !self.heard.is_quiet() {
            return Err(Failure::Broke(Stage::Mail, Fault::OutOfStep));
        }
        self.mails += 1;
        let envelope = self.envelope(&mail);
        let go_ahead = if self.offers.pipelining {
            self.envelope_at_once(envelope, dialogue).await?
        } else {
            self.envelope_in_steps(envelope, dialogue).await?
        };
        if go_ahead.code != 354 || !self.heard.is_quiet() {
            // A 250 here is no invitation: the content would be taken for commands.
            return Err(Failure::Broke(Stage::Data, Fault::OutOfStep));
        }
        self.content(mail.bytes, dialogue).await
    }

    /// The commands up to DATA, each with the stage that its reply is of.
    fn envelope(&self, mail: &Mail<'_>) -> [(Stage, String); 3] {
        let mut parameters = Vec::new();
        if self.offers.size.is_some() {
            parameters.push(MailParameter::Size(mail.bytes.len()));
        }
        if self.offers.eight_bit && !mail.bytes.is_ascii() {
            parameters.push(MailParameter::Body(MailBodyParameter::EightBitMime));
        }
        if self.offers.utf8 && mail.needs_utf8() {
            parameters.push(MailParameter::SmtpUtfEight);
        }
        let recipient = for_lettre(&mail.recipient.to_string());
        [
            (Stage::Mail, MailFrom::new(Some(for_lettre(mail.return_path)), parameters).to_string()),
            (Stage::Rcpt, Rcpt::new(recipient, Vec::new()).to_string()),
            (Stage::Data, Data.to_string()),
        ]
    }

    /// RFC 2920: all commands in one write; the reply to the last. Every reply is taken in, whatever the first says.
    async fn envelope_at_once(
        &mut self,
        commands: [(Stage, String); 3],
        dialogue: &mut Dialogue,
    ) -> Result<Reply, Failure> {
        let mut group = String::with_capacity(256);
        let resets = std::mem::take(&mut self.needs_reset);
        if resets {
            group.push_str(RESET);
            dialogue.said(RESET.trim_end());
        }
        for (_, command) in &commands {
            group.push_str(command);
            dialogue.said(command.trim_end());
        }
        self.be_patient(self.timeouts.envelope);
        // What it says is in `heard`, each reply in its order.
        let _ = self.lettre.command(group).await;
        if resets {
            self.is_reset(dialogue)?;
            let _ = self.lettre.read_response().await;
        }
        let mut refused = None;
        for (place, (stage, _)) in commands.iter().enumerate() {
            if place > 0 {
                let _ = self.lettre.read_response().await;
            }
            let reply = match (self.heard(*stage, dialogue), refused.take()) {
                (Ok(reply), None) => reply,
                (Ok(reply), Some(refusal)) => {
                    // The host waits for content that nobody is to get. Hanging up is the one safe answer.
                    self.is_over |= reply.code == 354;
                    refused = Some(refusal);
                    continue;
                }
                (Err(failure), None) => return Err(failure),
                (Err(_), Some(refusal)) => {
                    self.is_over = true;
                    return Err(refusal);
                }
            };
            if *stage == Stage::Data && reply.code / 100 <= 3 {
                return Ok(reply);
            }
            refused = positive(*stage, reply).err();
        }
        self.needs_reset = true;
        Err(refused.unwrap_or(Failure::Broke(Stage::Data, Fault::OutOfStep)))
    }

    /// One command after the other; the reply to the last.
    async fn envelope_in_steps(
        &mut self,
        commands: [(Stage, String); 3],
        dialogue: &mut Dialogue,
    ) -> Result<Reply, Failure> {
        if std::mem::take(&mut self.needs_reset) {
            dialogue.said(RESET.trim_end());
            self.be_patient(self.timeouts.envelope);
            let _ = self.lettre.command(RESET).await;
            self.is_reset(dialogue)?;
        }
        for (stage, command) in commands {
            dialogue.said(command.trim_end());
            self.be_patient(if stage == Stage::Data { self.timeouts.data } else { self.timeouts.envelope });
            let _ = self.lettre.command(command).await;
            let reply = self.heard(stage, dialogue)?;
            if stage == Stage::Data && reply.code / 100 <= 3 {
                return Ok(reply);
            }
            self.needs_reset = true;
            positive(stage, reply)?;
        }
        Err(Failure::Broke(Stage::Data, Fault::OutOfStep))
    }

    /// Content and final dot; the reply to it.
    async fn content(&mut self, bytes: &[u8], dialogue: &mut Dialogue) -> Result<Reply, Failure> {
        dialogue.happened(&format!("{} bytes of content", bytes.len()));
        self.needs_reset = false;
        self.be_patient(self.timeouts.end_of_data);
        // The line end before the dot is lettre's to write.
        let content = bytes.strip_suffix(b"\r\n").unwrap_or(bytes);
        let _ = self.lettre.message_iter(content.chunks(CHUNK_BYTES)).await;
        match self.heard(Stage::Data, dialogue) {
            Ok(reply) if reply.code / 100 == 3 => Err(Failure::Unclear(Fault::OutOfStep)),
            Ok(reply) => positive(Stage::Data, reply),
            Err(Failure::Broke(_, fault)) if !self.heard.is_cut() => Err(Failure::Unclear(fault)),
            Err(failure) => Err(failure),
        }
    }

    /// Says goodbye, and does not wait long for an answer.
    pub async fn close(mut self) {
        self.be_patient(GOODBYE_MAX);
        let _ = timeout(GOODBYE_MAX, self.lettre.command(Quit)).await;
    }

    fn be_patient(&self, reply: Duration) {
        self.heard.set_patience(Patience { reply, block: self.timeouts.block });
    }

    /// The next reply.
    fn heard(&self, stage: Stage, dialogue: &mut Dialogue) -> Result<Reply, Failure> {
        let reply = self.heard.next().map_err(at(stage))?;
        dialogue.heard(&reply.text);
        Ok(reply)
    }

    /// A host that cannot even forget is not asked for more; its refusal says nothing about the next mail.
    fn is_reset(&self, dialogue: &mut Dialogue) -> Result<(), Failure> {
        match self.heard(Stage::Mail, dialogue)? {
            reply if reply.is_positive() || reply.code == 421 => positive(Stage::Mail, reply).map(drop),
            _ => Err(Failure::Broke(Stage::Mail, Fault::OutOfStep)),
        }
    }
}

impl Mail<'_> {
    /// Whether the envelope or the header is not ASCII (RFC 6531 §3.4).
    fn needs_utf8(&self) -> bool {
        let header = || &self.bytes[..memchr::memmem::find(self.bytes, b"\r\n\r\n").unwrap_or(self.bytes.len())];
        self.recipient.needs_smtputf8() || !header().is_ascii()
    }
}

/// The address as lettre takes it. It was checked when it came in, by rules a little wider than lettre's.
fn for_lettre(address: &str) -> lettre::Address {
    let (local, domain) = address.rsplit_once('@').unwrap_or((address, ""));
    lettre::Address::new_dangerous(local, domain)
}
