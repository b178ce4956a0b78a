//! The opening of an SMTP conversation: find the host, connect, greet, encrypt, identify.
//!
//! RFC 5321 with STARTTLS (3207) and AUTH (4954), PLAIN (4616) and LOGIN. All of it is ours, before lettre comes in: what
//! is offered must be known, and nothing said in clear may be taken for said inside TLS. A password goes only over a
//! connection that its settings trust.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use tokio::net::{TcpSocket, TcpStream};
use tokio::time::timeout;

use super::dialogue::Dialogue;
use super::encryption::{Encryption, Flaw};
use super::offers::Offers;
use super::reply::Reply;
use super::settings::Timeouts;
use super::sources::Source;
use super::transport::{Connection, Failure, at, positive};
use super::wire::{Fault, Patience, Socket, Wire};
use crate::dns::{DnsError, Resolver};
use crate::egress::Guard;
use crate::mail::reply::Stage;
use crate::model::secret::Secret;
use crate::model::time::Timestamp;
use crate::model::tls_session::ResultType;

/// Addresses of one host that are tried.
const ADDRESSES_MAX: usize = 8;

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
    /// Says which of its addresses we may connect to; `None` where a person named the host.
    pub guard: Option<Arc<Guard>>,
    /// Connect over IPv6, too.
    pub ipv6: bool,
    /// From which address of ours; `None`: whichever the system takes.
    pub source: Option<Arc<Source>>,
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

/// What came of trying to encrypt a connection.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TlsTried {
    /// From which address of ours.
    pub from: Option<IpAddr>,
    /// To which address.
    pub to: IpAddr,
    /// What was wrong; `None`: nothing.
    pub flaw: Option<Flaw>,
}

impl Peer {
    /// Connects, up to where mail can be handed over; and what came of TLS, if it came to that. Where it fell back to
    /// clear text, that is about the connection before.
    ///
    /// # Errors
    /// [`Failure::Said`] or [`Failure::Broke`].
    pub async fn connect(
        &self,
        resolver: &dyn Resolver,
        now: Timestamp,
        dialogue: &mut Dialogue,
    ) -> (Result<Connection, Failure>, Option<TlsTried>) {
        let (first, ends) = self.converse(resolver, &self.security, now, dialogue).await;
        let tried = ends.and_then(|(from, to)| Some(TlsTried { from, to, flaw: self.flaw(&first)? }));
        let opened = match (first, &self.security) {
            (
                Err(Failure::Said(Stage::StartTls, _) | Failure::Broke(Stage::StartTls, _)),
                Security::Opportunistic(_),
            ) => {
                dialogue.happened("no TLS to be had; again in clear");
                self.converse(resolver, &Security::None, now, dialogue).await.0
            }
            (first, _) => first,
        };
        let connection = match opened {
            Ok(opened) => Connection::over(opened, self.timeouts, now).await,
            Err(failure) => Err(failure),
        };
        (connection, tried)
    }

    /// What is wrong with the TLS of a connection that began so; `None` when it did not come to that.
    fn flaw(&self, begun: &Result<Opened, Failure>) -> Option<Option<Flaw>> {
        let failed = |code: String, fault: &Fault| Flaw::new(ResultType::ValidationFailure, code, fault.to_string());
        match begun {
            Ok(opened) if !opened.tls.is_empty() => Some(opened.doubt.clone()),
            Ok(_) if matches!(self.security, Security::None) => None,
            Ok(_) => Some(Some(not_offered())),
            Err(Failure::Said(Stage::StartTls, reply)) => {
                let text = reply.in_one_line();
                Some(Some(Flaw::new(ResultType::StarttlsNotSupported, format!("starttls-{}", reply.code), text)))
            }
            Err(Failure::Broke(Stage::StartTls, Fault::Tls(flaw))) => Some(Some(flaw.clone())),
            Err(Failure::Broke(Stage::StartTls, fault @ Fault::TimedOut(_))) => {
                Some(Some(failed("timed-out".into(), fault)))
            }
            Err(Failure::Broke(Stage::StartTls, fault)) => Some(Some(failed("connection-broken".into(), fault))),
            Err(_) => None,
        }
    }

    /// TCP, greeting, EHLO, and what `security` and the credentials ask for; and between which addresses.
    async fn converse(
        &self,
        resolver: &dyn Resolver,
        security: &Security,
        now: Timestamp,
        dialogue: &mut Dialogue,
    ) -> (Result<Opened, Failure>, Option<(Option<IpAddr>, IpAddr)>) {
        match self.dial(resolver, dialogue).await {
            Ok((socket, address)) => {
                let ends = (socket.local_addr().ok().map(|own| own.ip()), address.ip());
                (self.open(socket, address, security, now, dialogue).await, Some(ends))
            }
            Err(fault) => (Err(Failure::Broke(Stage::Connect, fault)), None),
        }
    }

    async fn open(
        &self,
        socket: TcpStream,
        address: SocketAddr,
        security: &Security,
        now: Timestamp,
        dialogue: &mut Dialogue,
    ) -> Result<Opened, Failure> {
        let name = format!("{} [{}]:{}", self.host, address.ip(), address.port());
        let mut opened = Opened {
            wire: Wire::new(Socket::Clear(socket), address),
            name,
            tls: String::new(),
            is_proven: false,
            doubt: None,
            offers: Offers::default(),
        };
        if let Security::Implicit(encryption) = security {
            opened = self.encrypted(opened, encryption, now, dialogue).await.map_err(at(Stage::StartTls))?;
        }
        opened.greeting(self, dialogue).await?;
        opened.hello(self, dialogue).await?;
        if let Security::Opportunistic(encryption) | Security::Required(encryption) = security {
            if opened.offers.starttls {
                opened.start_tls(self, dialogue).await?;
                opened = self.encrypted(opened, encryption, now, dialogue).await.map_err(at(Stage::StartTls))?;
                opened.hello(self, dialogue).await?;
            } else if matches!(security, Security::Required(_)) {
                return Err(Failure::Broke(Stage::StartTls, not_offered().into()));
            }
        }
        if let Some(credentials) = &self.credentials {
            opened.identify(self, credentials, dialogue).await?;
        }
        Ok(opened)
    }

    /// The first of the host's addresses that takes a connection.
    async fn dial(&self, resolver: &dyn Resolver, dialogue: &mut Dialogue) -> Result<(TcpStream, SocketAddr), Fault> {
        let mut last = Fault::Unwilling("it has no address that we connect to");
        let (addresses, barred): (Vec<_>, Vec<_>) = self
            .addresses(resolver)
            .await?
            .into_iter()
            .partition(|address| self.guard.as_ref().is_none_or(|guard| guard.judge_address(*address).is_ok()));
        for address in barred.iter().take(ADDRESSES_MAX) {
            dialogue.happened(&format!("{address} is our own, or not public: passed over"));
            last = Fault::NotPublic;
        }
        for address in addresses.into_iter().take(ADDRESSES_MAX) {
            let from = self.source.as_ref().map(|source| (source, source.toward(address.ip())));
            let from = match from {
                Some((source, None)) => {
                    dialogue.happened(&format!("{} has no address from which to reach {address}", source.name));
                    last = Fault::Unwilling("no address of the source is of the family of one of its addresses");
                    continue;
                }
                Some((_, Some(from))) => Some(from),
                None => None,
            };
            if let Some(from) = from {
                dialogue.happened(&format!("from {from}"));
            }
            let connected = timeout(self.timeouts.connect, connect(from, address)).await;
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

    async fn addresses(&self, resolver: &dyn Resolver) -> Result<Vec<SocketAddr>, Fault> {
        let host = self.host.as_str();
        if let Ok(ip) = host.trim_matches(['[', ']']).parse() {
            return Ok(vec![SocketAddr::new(ip, self.port)]);
        }
        let found = timeout(self.timeouts.connect, resolver.addresses(host)).await;
        let found = found.unwrap_or(Err(DnsError::Timeout)).map_err(|why| Fault::Dns { host: host.to_owned(), why })?;
        let is_usable = |ip: &IpAddr| self.ipv6 || ip.is_ipv4();
        Ok(found.into_iter().filter(is_usable).map(|ip| SocketAddr::new(ip, self.port)).collect())
    }

    async fn encrypted(
        &self,
        opened: Opened,
        encryption: &Encryption,
        now: Timestamp,
        dialogue: &mut Dialogue,
    ) -> Result<Opened, Fault> {
        let wire = opened.wire;
        let address = wire.peer();
        let socket = wire.into_clear_socket()?;
        let host = self.host.trim_matches(['[', ']']);
        let shaken = timeout(self.timeouts.handshake, encryption.shake_hands(socket, host)).await;
        let stream = shaken.unwrap_or(Err(Fault::TimedOut(self.timeouts.handshake.as_secs())))?;
        let (tls, is_proven) = (encryption.facts(&stream), encryption.proves());
        dialogue.happened(&tls);
        let doubt = encryption.doubt(&stream, host, now);
        if let Some(doubt) = &doubt {
            dialogue.happened(&format!("the policy that the domain tries out would refuse this: {doubt}"));
        }
        // What was offered in clear anybody could have written.
        let wire = Wire::new(Socket::Tls(Box::new(stream)), address);
        Ok(Opened { wire, tls, is_proven, doubt, offers: Offers::default(), ..opened })
    }
}

fn not_offered() -> Flaw {
    Flaw::new(ResultType::StarttlsNotSupported, "", "the host does not offer STARTTLS")
}

async fn connect(from: Option<IpAddr>, to: SocketAddr) -> std::io::Result<TcpStream> {
    let Some(from) = from else { return TcpStream::connect(to).await };
    let socket = if from.is_ipv4() { TcpSocket::new_v4()? } else { TcpSocket::new_v6()? };
    socket.bind(SocketAddr::new(from, 0))?;
    socket.connect(to).await
}

/// A connection on its way to being one.
pub(super) struct Opened {
    pub(super) wire: Wire,
    /// Host and address.
    pub(super) name: String,
    /// TLS version and cipher; empty in clear.
    pub(super) tls: String,
    /// Whether the certificate proves who it is.
    pub(super) is_proven: bool,
    /// What a policy that is only tried out would say against the certificate.
    doubt: Option<Flaw>,
    pub(super) offers: Offers,
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
