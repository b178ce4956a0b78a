//! One delivery, tried once: its content, its copy, its route, the conversation.
//!
//! The turn at the host comes first, so that no more copies are in memory than connections may be open. A kept connection
//! that turns out to be gone before the host took anything is replaced by a fresh one within the same attempt.

use std::sync::atomic::Ordering;

use bytes::Bytes;

use super::Deliver;
use super::dialogue::Dialogue;
use super::judge;
use super::pace::Signal;
use super::reply::Reply;
use super::route::{Host, Route};
use super::throttle::Turn;
use super::transport::{Connection, Failure, Mail, Unfit};
use super::wire::Fault;
use crate::mail::mend::{Need, mended};
use crate::mail::render::{Rendered, render};
use crate::mail::reply::Stage;
use crate::model::delivery::Outcome;
use crate::model::reason::Reason;
use crate::model::suppression;
use crate::model::time::Timestamp;
use crate::store::StoreError;
use crate::store::deliveries::Leased;

/// Content from this size on is rendered where it holds up nobody.
const RENDER_APART_BYTES: usize = 256 * 1024;

/// What a copy is made of.
#[derive(Clone, Copy, Debug)]
enum Form {
    /// The mail as it is kept.
    AsKept,
    /// The same in ASCII, for hosts that take no more.
    Ascii,
}

/// What one attempt came to.
#[derive(Debug)]
pub(super) struct Tried {
    pub(super) outcome: Outcome,
    /// Name of the kind of route.
    pub(super) route: &'static str,
    /// Host and address; empty when there was no connection.
    pub(super) peer: String,
    /// TLS version and cipher; empty in clear.
    pub(super) tls: String,
    /// The reply code that decided.
    pub(super) code: Option<u16>,
    pub(super) dialogue: String,
    /// What it says about the host, if there was a conversation with one.
    pub(super) signal: Option<Signal>,
}

impl Tried {
    /// An outcome without a conversation.
    fn without_peer(route: &'static str, outcome: Outcome) -> Self {
        let (peer, tls, dialogue) = (String::new(), String::new(), String::new());
        Self { outcome, route, peer, tls, code: None, dialogue, signal: None }
    }
}

/// Why there is no copy to send.
enum NoCopy {
    /// It will never be.
    Unsendable(&'static str),
    /// Not now.
    Later(String),
    /// The store is away; nothing is known, and the lease ends by itself.
    StoreAway,
}

impl Deliver {
    /// Tries a delivery once; `None` when the store is away and nothing was tried.
    pub(super) async fn attempt(&self, leased: &Leased, now: Timestamp) -> Option<Tried> {
        let delivery = &leased.delivery;
        let route = self.routes.of(&delivery.address);
        if let Some(found) = &leased.suppressed {
            let cause = suppression::cause(found.diagnostic(&delivery.address));
            return Some(Tried::without_peer(name(route), Outcome::Suppressed { cause }));
        }
        if now > delivery.expires_at {
            return Some(Tried::without_peer(name(route), too_late(delivery.attempts)));
        }
        match route {
            Route::Capture => {
                Some(Tried::without_peer(name(route), Outcome::Delivered { reply: "captured".to_owned() }))
            }
            Route::Host(host) => self.over_the_wire(leased, host).await,
        }
    }

    async fn over_the_wire(&self, leased: &Leased, host: &Host) -> Option<Tried> {
        let turn = host.throttle.turn().await;
        let unsendable = |text: &str| {
            let cause = judge::own(Reason::CannotRender, "5.6.0", text, "deliver.render");
            Some(Tried::without_peer(host.route, Outcome::Unsendable { cause }))
        };
        let copy = match self.copy(leased, Form::AsKept).await {
            Ok(copy) => copy,
            Err(NoCopy::Unsendable(why)) => return unsendable(why),
            Err(NoCopy::Later(why)) => {
                let cause = judge::own(Reason::SystemError, "4.3.0", &why, "deliver.content");
                return Some(Tried::without_peer(host.route, Outcome::Deferred { cause, wait: None }));
            }
            Err(NoCopy::StoreAway) => return None,
        };
        Some(self.converse(leased, host, &turn, &copy).await)
    }

    /// The recipient's copy, in this form.
    async fn copy(&self, leased: &Leased, form: Form) -> Result<Rendered, NoCopy> {
        let content = self.content(leased).await?;
        let (message, id) = (leased.message.clone(), leased.delivery.id);
        let (domain, ring) = (self.parts.return_path_domain.clone(), self.parts.ring.clone());
        let is_large = content.len() >= RENDER_APART_BYTES;
        let make = move || match form {
            Form::AsKept => render(&content, &message, id, &domain, &ring),
            Form::Ascii => render(&mended(&content, Need::Ascii), &message, id, &domain, &ring),
        };
        let rendered = if is_large {
            tokio::task::spawn_blocking(make).await.map_err(|_| NoCopy::Unsendable("the mail cannot be rendered"))?
        } else {
            make()
        };
        rendered.ok_or(NoCopy::Unsendable("there is no key to seal the return path with"))
    }

    async fn content(&self, leased: &Leased) -> Result<Bytes, NoCopy> {
        if let Some(content) = &leased.content {
            return Ok(content.clone());
        }
        match self.parts.store.content(leased.message.id).await {
            Ok(Some(content)) => Ok(content),
            Ok(None) => Err(NoCopy::Unsendable("the content is gone")),
            Err(fault @ StoreError::Corrupt(_)) => {
                tracing::error!(delivery.id = %leased.delivery.id, %fault, "the content cannot be read");
                Err(NoCopy::Later(fault.to_string()))
            }
            Err(fault) => {
                tracing::warn!(delivery.id = %leased.delivery.id, %fault, "the content cannot be read now");
                Err(NoCopy::StoreAway)
            }
        }
    }

    async fn converse(&self, leased: &Leased, host: &Host, turn: &Turn<'_>, copy: &Rendered) -> Tried {
        let mail = mail(leased, copy);
        let mut dialogue = Dialogue::default();
        self.sweep();
        let mut ended = None;
        let mut connection = turn.kept();
        if let Some(kept) = &mut connection {
            dialogue.happened(&format!("{}, kept after {} mails", kept.name, kept.mails));
            ended = Some(kept.hand_over(mail, &mut dialogue).await).filter(|ended| !is_stale(ended));
        }
        if ended.is_none() {
            connection = None;
            ended = Some(match self.connect(host, &mut dialogue).await {
                Ok(fresh) => connection.insert(fresh).hand_over(mail, &mut dialogue).await,
                Err(failure) => Err(failure),
            });
        }
        let mut ended = ended.unwrap_or(Err(Failure::Broke(Stage::Connect, Fault::Closed)));
        if let (Err(Failure::Unfit(Unfit::EightBit)), Some(connection)) = (&ended, &mut connection)
            && let Ok(ascii) = self.copy(leased, Form::Ascii).await
        {
            dialogue.happened("the host takes ASCII only; the mail is written in it");
            ended = connection.hand_over(self::mail(leased, &ascii), &mut dialogue).await;
        }
        if matches!(ended, Err(Failure::Unclear(_))) {
            self.parts.counters.unclear.fetch_add(1, Ordering::Relaxed);
        }
        let (peer, tls) = match &connection {
            Some(connection) => (connection.name.clone(), connection.tls.clone()),
            None => (format!("{}:{}", host.peer.host, host.peer.port), String::new()),
        };
        if let Some(connection) = connection {
            self.put_back(turn, connection, &ended);
        }
        let (outcome, code, dialogue) = (judge::outcome(&ended, &self.parts.rules), code(&ended), dialogue.into_text());
        Tried {
            outcome,
            route: host.route,
            peer,
            tls,
            code,
            dialogue,
            signal: judge::signal(&ended, &self.parts.rules),
        }
    }

    async fn connect(&self, host: &Host, dialogue: &mut Dialogue) -> Result<Connection, Failure> {
        self.parts.counters.connections.fetch_add(1, Ordering::Relaxed);
        host.peer.connect(&*self.parts.resolver, self.parts.clock.now(), dialogue).await
    }

    /// Keeps the connection, or lets it go.
    fn put_back(&self, turn: &Turn<'_>, connection: Connection, ended: &Result<Reply, Failure>) {
        if !connection.is_usable_after(ended) {
            return;
        }
        if let Some(worn) = turn.keep(connection, self.parts.clock.now()) {
            tokio::spawn(worn.close());
        }
    }
}

fn mail<'a>(leased: &'a Leased, copy: &'a Rendered) -> Mail<'a> {
    Mail { return_path: &copy.return_path, recipient: &leased.delivery.address, bytes: &copy.bytes }
}

fn name(route: &Route) -> &'static str {
    match route {
        Route::Capture => "capture",
        Route::Host(host) => host.route,
    }
}

/// Its time ran out while nobody could try it. Without a single attempt that is our failure, not the other side's.
fn too_late(attempts: u32) -> Outcome {
    let cause = judge::own(Reason::Expired, "4.4.7", "the delivery's time ran out", "deliver.expired");
    if attempts <= 1 { Outcome::Unsendable { cause } } else { Outcome::Deferred { cause, wait: None } }
}

/// Whether a kept connection was gone before the host took anything of this mail.
fn is_stale(ended: &Result<Reply, Failure>) -> bool {
    match ended {
        Err(Failure::Broke(Stage::Mail, Fault::Closed | Fault::Network(_) | Fault::OutOfStep)) => true,
        Err(Failure::Said(Stage::Mail, reply)) => reply.code == 421,
        _ => false,
    }
}

fn code(ended: &Result<Reply, Failure>) -> Option<u16> {
    match ended {
        Ok(reply) | Err(Failure::Said(_, reply)) => Some(reply.code),
        Err(Failure::Broke(..) | Failure::Unclear(_) | Failure::Unfit(_)) => None,
    }
}
