//! A destination simulator: takes mail, and does with it what the recipient's address asks for.
//!
//! For tests, of ours and of whoever sends through us: [`behaviour`] says which address does what, [`session`] talks
//! SMTP as a receiver does, [`later`] brings back reports and complaints and plays the reader. Faults that no address can
//! ask for, since they come before RCPT, or a share of all conversations, are set for the whole sink. With one seed the
//! same conversations fail. Nothing is kept; what happens is told over a channel.
//!
//! Never part of a running agent. Started by `postback sink` and by tests.

pub mod behaviour;
mod later;
mod session;

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use serde::Serialize;
use tokio::net::TcpListener;
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::ServerConfig;
use tokio_rustls::rustls::pki_types::PrivateKeyDer;

use crate::clock::Clock;
use crate::model::time::Timestamp;
use behaviour::At;

/// Recipients that greylisting and deferring remember; past it, all are forgotten.
const REMEMBERED_MAX: usize = 100_000;
/// Happenings that may wait to be heard; then the sink waits too.
const UNHEARD_MAX: usize = 1024;

/// How a sink behaves beyond what addresses ask for.
#[derive(Clone, Debug)]
pub struct Settings {
    /// What it calls itself.
    pub hostname: String,
    /// Offer STARTTLS, with a certificate that nobody signed.
    pub tls: bool,
    /// Where reports and complaints are brought; nowhere unless set.
    pub reports_to: Option<SocketAddr>,
    /// Where the web servers are that links name; by their names unless set. Takes what is meant for https in clear.
    pub links_to: Option<SocketAddr>,
    /// How long after a mail reports come, and readers read.
    pub later: Duration,
    /// What goes wrong by itself.
    pub faults: Vec<Fault>,
    /// Which conversations the faults meet.
    pub seed: u64,
    /// Wait before every answer.
    pub latency: Duration,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            hostname: "sink.localhost".to_owned(),
            tls: true,
            reports_to: None,
            links_to: None,
            later: Duration::from_secs(1),
            faults: Vec::new(),
            seed: 1,
            latency: Duration::ZERO,
        }
    }
}

/// Something that goes wrong in a share of all conversations.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fault {
    /// When.
    pub at: At,
    /// Said instead of yes; `None`: it hangs up.
    pub reply: Option<String>,
    /// In so many of 1,000.
    pub per_mille: u16,
}

/// The words make no fault.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is not like dot=drop:10%, rcpt=451 or connect=421:50%")]
pub struct BadFault(String);

impl std::str::FromStr for Fault {
    type Err = BadFault;

    /// `STAGE=drop` or `STAGE=CODE`, and `:SHARE%` if it is not always.
    fn from_str(text: &str) -> Result<Self, BadFault> {
        let bad = || BadFault(text.to_owned());
        let (at, rest) = text.split_once('=').ok_or_else(bad)?;
        let (act, share) = rest.split_once(':').unwrap_or((rest, "100%"));
        let at = At::from_word(at).ok_or_else(bad)?;
        let share: f64 = share.strip_suffix('%').and_then(|share| share.parse().ok()).ok_or_else(bad)?;
        if !(0.0..=100.0).contains(&share) {
            return Err(bad());
        }
        let reply = match act {
            "drop" => None,
            code if code.len() == 3 && matches!(code.parse::<u16>(), Ok(400..600)) => {
                Some(format!("{code} {}.0.0 as the sink was told", &code[..1]))
            }
            _ => return Err(bad()),
        };
        // A share of a hundred is at most a thousand per mille.
        Ok(Self { at, reply, per_mille: (share * 10.0).round() as u16 })
    }
}

/// What happens at a sink.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(tag = "happened", rename_all = "snake_case")]
pub enum Happened {
    /// A mail was heard to its final dot.
    Mail {
        /// The envelope's sender.
        from: String,
        /// The recipients that it was taken for, or would have been.
        to: Vec<String>,
        /// Its `Message-ID`, without angle brackets.
        message_id: String,
        /// Bytes.
        size: usize,
        /// What was said to the final dot; empty: nothing, it hung up.
        reply: String,
    },
    /// Something was refused, or a conversation cut off.
    Refused {
        /// When.
        at: &'static str,
        /// The recipient that it was for, where there was one.
        to: String,
        /// What was said; empty: nothing, it hung up.
        reply: String,
    },
    /// A report, a complaint or a reader's look, later.
    Later {
        /// Which: `report`, `complaint`, `open` or `click`.
        what: &'static str,
        /// The recipient of the mail that it is about.
        to: String,
        /// What came of it.
        outcome: String,
    },
}

/// A sink at work; it stops when it is dropped.
#[derive(Debug)]
pub struct Sink {
    /// Where it listens.
    pub address: SocketAddr,
    _listening: JoinSet<()>,
}

/// What all conversations share.
#[derive(Debug)]
struct House {
    settings: Settings,
    clock: Clock,
    tls: Option<TlsHands>,
    seen: Mutex<HashMap<String, Seen>>,
    conversations: AtomicU64,
    tell: mpsc::Sender<Happened>,
}

struct TlsHands(TlsAcceptor);

impl std::fmt::Debug for TlsHands {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        out.write_str("TlsHands")
    }
}

/// A recipient that asks for patience.
#[derive(Clone, Copy, Debug)]
struct Seen {
    first_at: Timestamp,
    attempts: u32,
}

/// Starts a sink on `listener`; what happens is told over the channel. Who does not listen must drop it.
///
/// # Errors
/// The certificate cannot be made.
pub fn start(
    listener: TcpListener,
    settings: Settings,
    clock: Clock,
) -> std::io::Result<(Sink, mpsc::Receiver<Happened>)> {
    let (tell, told) = mpsc::channel(UNHEARD_MAX);
    let address = listener.local_addr()?;
    let tls = if settings.tls { Some(TlsHands(acceptor(&settings.hostname)?)) } else { None };
    let (seen, conversations) = Default::default();
    let house = Arc::new(House { settings, clock, tls, seen, conversations, tell });
    let mut listening = JoinSet::new();
    listening.spawn(async move {
        let mut guests = JoinSet::new();
        loop {
            tokio::select! {
                accepted = listener.accept() => {
                    // A client that is gone again is none.
                    if let Ok((socket, _)) = accepted {
                        guests.spawn(session::host(house.clone(), socket));
                    }
                }
                Some(_) = guests.join_next() => {}
            }
        }
    });
    Ok((Sink { address, _listening: listening }, told))
}

fn acceptor(hostname: &str) -> std::io::Result<TlsAcceptor> {
    let pair = rcgen::generate_simple_self_signed(vec![hostname.to_owned()]).map_err(std::io::Error::other)?;
    let key = PrivateKeyDer::try_from(pair.signing_key.serialize_der()).map_err(std::io::Error::other)?;
    let provider = Arc::new(tokio_rustls::rustls::crypto::aws_lc_rs::default_provider());
    let config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(std::io::Error::other)?
        .with_no_client_auth()
        .with_single_cert(vec![pair.cert.der().clone()], key)
        .map_err(std::io::Error::other)?;
    Ok(TlsAcceptor::from(Arc::new(config)))
}

impl House {
    /// Tells what happened, as long as somebody listens.
    async fn tell(&self, happened: Happened) {
        let _ = self.tell.send(happened).await;
    }

    /// The fault that meets this step of this conversation, if any.
    fn fault(&self, conversation: u64, step: u64, at: At) -> Option<&Fault> {
        let meets = |(place, fault): &(usize, &Fault)| {
            let drawn = mixed(self.settings.seed ^ mixed(conversation ^ mixed((step << 8) | *place as u64)));
            drawn % 1_000 < u64::from(fault.per_mille)
        };
        let mut faults = self.settings.faults.iter().enumerate().filter(|(_, fault)| fault.at == at);
        faults.find(meets).map(|(_, fault)| fault)
    }

    fn next_conversation(&self) -> u64 {
        self.conversations.fetch_add(1, Ordering::Relaxed)
    }

    /// How often a recipient was tried, and since when, this time included.
    fn seen(&self, recipient: &str) -> Seen {
        let now = self.clock.now();
        let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        if seen.len() >= REMEMBERED_MAX {
            seen.clear();
        }
        let entry = seen.entry(recipient.to_ascii_lowercase()).or_insert(Seen { first_at: now, attempts: 0 });
        entry.attempts += 1;
        *entry
    }
}

/// The finaliser of SplitMix64.
fn mixed(seed: u64) -> u64 {
    let mut x = seed.wrapping_add(0x9e37_79b9_7f4a_7c15);
    x = (x ^ (x >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    x = (x ^ (x >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    x ^ (x >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn faults_are_read() {
        let check = |text: &str, expected: Option<(At, bool, u16)>| {
            let fault = text.parse::<Fault>().ok();
            assert_eq!(fault.map(|fault| (fault.at, fault.reply.is_none(), fault.per_mille)), expected, "{text}");
        };
        check("dot=drop:10%", Some((At::Dot, true, 100)));
        check("connect=421", Some((At::Connect, false, 1_000)));
        check("mail=451:0.5%", Some((At::Mail, false, 5)));
        for bad in ["", "dot", "dot=drop:10", "dot=drop:200%", "dot=drop:NaN%", "nowhere=drop", "rcpt=250", "rcpt=é50"]
        {
            check(bad, None);
        }
    }
}
