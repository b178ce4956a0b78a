//! One SMTP conversation, as a client: hand over one mail after the other. `opening` leads up to here.
//!
//! RFC 5321 with PIPELINING (2920); what `envelope` says of a mail, more extensions know. lettre writes commands and
//! content, over a [`Wire`](super::wire::Wire) of ours that reads the replies; every wait has its limit there.
//! What the other side said is handed out as it was said: whether it means never or not now is not decided here.
//!
//! A mail has one recipient. MAIL, RCPT and DATA go in one write where the host allows it. A conversation that is
//! out of step, or broke anywhere, is over; after the final dot it is *unclear* whether the mail was taken.

use std::time::Duration;

use lettre::transport::smtp::client::AsyncSmtpConnection;
use lettre::transport::smtp::commands::Quit;
use lettre::transport::smtp::extension::ClientId;
use tokio::time::timeout;

use super::dialogue::Dialogue;
use super::envelope;
use super::offers::Offers;
use super::opening::Opened;
use super::reply::Reply;
use super::settings::Timeouts;
use super::wire::{Fault, Heard, Patience};
use crate::mail::reply::Stage;
use crate::model::address::Address;
use crate::model::dsn::DsnRequest;
use crate::model::time::Timestamp;

/// Content given to lettre at a time.
const CHUNK_BYTES: usize = 64 * 1024;
/// How long a goodbye may take.
const GOODBYE_MAX: Duration = Duration::from_secs(5);
const RESET: &str = "RSET\r\n";

/// A mail to hand over.
#[derive(Clone, Copy, Debug)]
pub struct Mail<'a> {
    /// The envelope's sender; empty for the null sender.
    pub return_path: &'a str,
    /// Its one recipient.
    pub recipient: &'a Address,
    /// Header and body, lines ended by CRLF.
    pub bytes: &'a [u8],
    /// What the submitter wants to be told of it.
    pub wishes: Option<Wishes<'a>>,
    /// It goes over TLS with a host that is proved to be the right one, and that asks the same of the next, or not at
    /// all (RFC 8689).
    pub requires_tls: bool,
    /// The host shall report that it arrived.
    pub awaits_report: bool,
}

/// What a submitter wants to be told of one recipient.
#[derive(Clone, Copy, Debug)]
pub struct Wishes<'a> {
    /// Said of the whole mail.
    pub request: &'a DsnRequest,
    /// The recipient's place in the envelope that came in.
    pub recipient: u16,
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
    /// The mail has bytes above 127 where the host takes none: it offers no 8BITMIME, or they are in the header and it
    /// offers no SMTPUTF8.
    EightBit,
    /// The recipient's address is not ASCII, and the host does not offer SMTPUTF8.
    NonAsciiAddress,
    /// The mail requires TLS on every leg, and this host cannot promise that, or cannot prove who it is.
    TlsNotPromised,
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
    /// Whether its certificate proves who it is.
    is_proven: bool,
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

/// The connection broke at this stage.
pub(super) fn at(stage: Stage) -> impl Fn(Fault) -> Failure {
    move |fault| Failure::Broke(stage, fault)
}

/// The reply, if it says yes.
pub(super) fn positive(stage: Stage, reply: Reply) -> Result<Reply, Failure> {
    if reply.is_positive() { Ok(reply) } else { Err(Failure::Said(stage, reply)) }
}

impl Connection {
    /// Mail from here on is handed over through lettre.
    ///
    /// # Errors
    /// [`Failure::Broke`], should lettre not take our word for its own opening.
    pub(super) async fn over(opened: Opened, timeouts: Timeouts, now: Timestamp) -> Result<Self, Failure> {
        let Opened { wire, name, tls, is_proven, offers, .. } = opened;
        let heard = wire.heard();
        let lettre = AsyncSmtpConnection::connect_with_transport(wire.for_lettre(), &ClientId::default()).await;
        let lettre = lettre.map_err(|_| Failure::Broke(Stage::Hello, Fault::OutOfStep))?;
        let (mails, needs_reset, is_over) = (0, false, false);
        Ok(Self { opened_at: now, mails, name, tls, is_proven, offers, lettre, heard, timeouts, needs_reset, is_over })
    }

    /// Whether more mail can be handed over after `ended`.
    pub fn is_usable_after(&self, ended: &Result<Reply, Failure>) -> bool {
        let is_going_on = match ended {
            Ok(_) | Err(Failure::Unfit(_)) => true,
            Err(Failure::Said(_, reply)) => reply.code != 421,
            Err(Failure::Broke(..) | Failure::Unclear(_)) => false,
        };
        is_going_on && !self.is_over && self.heard.is_quiet()
    }

    /// Whether the host was told what the submitter wants to be told, and tells it.
    pub fn tells(&self, mail: &Mail<'_>) -> bool {
        self.offers.dsn && mail.wishes.is_some()
    }

    /// Whether the host reports that the mail arrived, as it was asked to.
    pub fn reports(&self, mail: &Mail<'_>) -> bool {
        self.offers.dsn && mail.awaits_report
    }

    /// Hands over one mail; the reply to its final dot.
    ///
    /// # Errors
    /// [`Failure`]; whether the connection can be used again, [`Connection::is_usable_after`] says.
    pub async fn hand_over(&mut self, mail: Mail<'_>, dialogue: &mut Dialogue) -> Result<Reply, Failure> {
        self.offers.suit(&mail).map_err(Failure::Unfit)?;
        if mail.requires_tls && !self.is_proven {
            return Err(Failure::Unfit(Unfit::TlsNotPromised));
        }
        if !self.heard.is_quiet() {
            return Err(Failure::Broke(Stage::Mail, Fault::OutOfStep));
        }
        self.mails += 1;
        let envelope = envelope::commands(&self.offers, &mail);
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

/// Closes connections that nobody should use any more.
pub fn let_go(stale: Vec<Connection>) {
    for connection in stale {
        tokio::spawn(connection.close());
    }
}

impl Mail<'_> {
    /// Whether the envelope or the header is not ASCII (RFC 6531 §3.4).
    pub(super) fn needs_utf8(&self) -> bool {
        self.recipient.needs_smtputf8() || self.has_utf8_header()
    }

    /// Whether the header is not ASCII.
    pub(super) fn has_utf8_header(&self) -> bool {
        let end = memchr::memmem::find(self.bytes, b"\r\n\r\n").unwrap_or(self.bytes.len());
        !self.bytes[..end].is_ascii()
    }
}
