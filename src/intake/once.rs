//! The same request again: answered again, not carried out again.
//!
//! A client that did not hear an answer asks once more with the same key. While the first is under way the second is
//! turned back; afterwards, for a day, it gets the first one's answer; another request with that key is refused. Doors
//! take a [`Ticket`] before they begin and keep their answer with it: for a mail, in the commit that accepts it
//! ([`Intake::submit_once`]), else right after ([`Intake::keep`]), with the key reserved meanwhile against other nodes.
//! Only what was done is kept: a request that was refused changed nothing, and may be put right and sent again under its
//! key. Both doors use this.

use std::collections::HashSet;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use sha2::{Digest, Sha256};

use super::Intake;
use super::submission::{Content, Receipt, Refusal, Rejection, Submission, Unreadable};
use crate::mail::headers;
use crate::model::address::Address;
use crate::model::id::AgentId;
use crate::model::once::{Answered, Asked, KEPT, Kept, KeptAnswer, key};
use crate::model::tenant::Grant;
use crate::model::time::Timestamp;
use crate::store::StoreError;

/// Whose turn it is.
#[derive(Debug)]
pub enum Turn {
    /// Nobody has asked this before.
    First(Ticket),
    /// It was asked before, and this was the answer.
    Again(Answered),
}

/// Why it is nobody's turn.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NoTurn {
    /// The key is none: see [`key`].
    BadKey,
    /// The first request with this key is still under way.
    Running,
    /// The key came with another request before.
    Differs,
    /// The store cannot be asked now.
    Unavailable,
}

/// The right to carry out a request. Nobody else has it until this is dropped.
#[derive(Debug)]
pub struct Ticket {
    asked: Asked,
    until: Timestamp,
    is_kept: AtomicBool,
    running: Arc<Running>,
}

/// Requests under way on this node.
#[derive(Debug, Default)]
pub(super) struct Running(Mutex<HashSet<(AgentId, [u8; 32])>>);

impl Drop for Ticket {
    fn drop(&mut self) {
        let mut running = self.running.0.lock().unwrap_or_else(PoisonError::into_inner);
        running.remove(&(self.asked.agent, self.asked.key));
    }
}

impl Ticket {
    /// Whether the answer is kept already.
    pub fn is_kept(&self) -> bool {
        self.is_kept.load(Ordering::Relaxed)
    }

    fn keeps(&self, answer: Answered) -> KeptAnswer {
        KeptAnswer { asked: self.asked, answer, until: self.until }
    }
}

impl Intake {
    /// The turn of the request that came with this key. `said` is everything that it says: parts that are told apart.
    ///
    /// # Errors
    /// See [`NoTurn`].
    pub async fn turn(&self, grant: &Grant, text: &str, said: &[&[u8]]) -> Result<Turn, NoTurn> {
        let key = Sha256::digest(key(text).ok_or(NoTurn::BadKey)?).into();
        let asked = Asked { agent: grant.agent.id, key, fingerprint: fingerprint(said) };
        let running = self.0.running.clone();
        let is_first = running.0.lock().unwrap_or_else(PoisonError::into_inner).insert((asked.agent, asked.key));
        if !is_first {
            return Err(NoTurn::Running);
        }
        let ticket = Ticket { asked, until: self.0.clock.now() + KEPT, is_kept: AtomicBool::new(false), running };
        Ok(self.answered(&asked).await?.map_or(Turn::First(ticket), Turn::Again))
    }

    /// What was answered to this request before, if it is no other's key.
    async fn answered(&self, asked: &Asked) -> Result<Option<Answered>, NoTurn> {
        match self.0.store.kept_answer(asked).await {
            Ok(None) => Ok(None),
            Ok(Some(Kept::Done { fingerprint, answer })) if fingerprint == asked.fingerprint => Ok(Some(answer)),
            Ok(Some(Kept::Done { .. })) => Err(NoTurn::Differs),
            Ok(Some(Kept::Running)) => Err(NoTurn::Running),
            Err(fault) => Err(not_now(&fault)),
        }
    }

    /// What was answered by another node that was faster ([`Refusal::Raced`]).
    ///
    /// # Errors
    /// `Differs`, when that was another request; `Running`, `Unavailable`.
    pub async fn answered_elsewhere(&self, ticket: &Ticket) -> Result<Answered, NoTurn> {
        self.answered(&ticket.asked).await?.ok_or(NoTurn::Running)
    }

    /// Makes the turn known to the other nodes, until the answer is kept or the turn given back.
    ///
    /// # Errors
    /// `Running`, when another node has it; `Unavailable`.
    pub async fn reserve(&self, ticket: &Ticket) -> Result<(), NoTurn> {
        self.0.store.reserve_key(ticket.asked).await.map_err(|fault| match fault {
            StoreError::Conflict => NoTurn::Running,
            fault => not_now(&fault),
        })
    }

    /// Gives back a turn that was reserved: nothing was done. A failure is only logged: the turn ends by itself.
    pub async fn give_back(&self, ticket: &Ticket) {
        if let Err(fault) = self.0.store.release_key(&ticket.asked).await {
            tracing::warn!(%fault, "cannot give a key back");
        }
    }

    /// Keeps the answer to what has been done. A failure is only logged: what was done stays done.
    pub async fn keep(&self, ticket: &Ticket, answer: Answered) {
        match self.0.store.keep_answer(ticket.keeps(answer)).await {
            Ok(()) | Err(StoreError::Conflict) => ticket.is_kept.store(true, Ordering::Relaxed),
            Err(fault) => tracing::error!(%fault, "cannot keep an answer"),
        }
    }

    /// [`Intake::submit_all`], and the answer that `answer` makes of the receipts is kept with the mails.
    ///
    /// # Errors
    /// See [`Refusal`]: nothing was accepted, and nothing is kept.
    pub async fn submit_once(
        &self,
        grant: &Grant,
        submissions: Vec<Submission>,
        ticket: Option<&Ticket>,
        answer: impl FnOnce(&[Receipt]) -> Answered,
    ) -> Result<Vec<Receipt>, Refusal> {
        let keep = |receipts: &[Receipt]| ticket.map(|ticket| ticket.keeps(answer(receipts)));
        let receipts = self.submit_keeping(grant, submissions, keep).await?;
        if let Some(ticket) = ticket {
            ticket.is_kept.store(true, Ordering::Relaxed);
        }
        Ok(receipts)
    }
}

/// What became of a mail whose header may name a key.
#[derive(Debug)]
pub enum Taken {
    /// It was accepted.
    Now(Receipt),
    /// The same was accepted before, as the message with this id.
    Before(String),
}

/// The header that carries the key of a raw mail.
const KEY_HEADER: &str = "X-Postback-Idempotency-Key";
const SMTP_TAKEN: u16 = 250;

impl Intake {
    /// [`Intake::submit`] for a raw mail whose header may name a key: sender, recipients and text are what it says.
    ///
    /// # Errors
    /// See [`Refusal`]. A mail with the same key that is still under way makes this one `Unavailable`.
    pub async fn submit_by_header(&self, grant: &Grant, submission: Submission) -> Result<Taken, Refusal> {
        let key = match &submission.content {
            Content::Raw { bytes, .. } => headers::first(bytes, KEY_HEADER).map(|field| (field.text(), bytes.clone())),
            Content::Parts(_) => None,
        };
        let Some((key, content)) = key else { return self.submit(grant, submission).await.map(Taken::Now) };
        let sender = submission.sender.as_ref().map(Address::to_string).unwrap_or_default();
        let recipients: Vec<String> = submission.recipients.iter().map(Address::to_string).collect();
        let recipients = recipients.join(",");
        let said: [&[u8]; 3] = [sender.as_bytes(), recipients.as_bytes(), &content];
        let ticket = match self.turn(grant, &key, &said).await {
            Ok(Turn::First(ticket)) => ticket,
            Ok(Turn::Again(answered)) => return Ok(Taken::Before(answered.body)),
            Err(why) => return Err(refusal(why)),
        };
        let answer = |receipts: &[Receipt]| Answered {
            status: SMTP_TAKEN,
            body: receipts.first().map(|receipt| receipt.message.to_string()).unwrap_or_default(),
            ..Answered::default()
        };
        match self.submit_once(grant, vec![submission], Some(&ticket), answer).await {
            Ok(mut receipts) => Ok(Taken::Now(receipts.remove(0))),
            Err(Refusal::Raced) => {
                let answered = self.answered_elsewhere(&ticket).await.map_err(refusal)?;
                Ok(Taken::Before(answered.body))
            }
            Err(refusal) => Err(refusal),
        }
    }
}

/// What the client of a mail is told.
fn refusal(why: NoTurn) -> Refusal {
    match why {
        NoTurn::BadKey => Rejection::Unreadable(Unreadable::Switch(KEY_HEADER)).into(),
        NoTurn::Differs => Rejection::Unreadable(Unreadable::KeyTaken).into(),
        NoTurn::Running | NoTurn::Unavailable => Refusal::Unavailable,
    }
}

fn not_now(fault: &StoreError) -> NoTurn {
    tracing::error!(%fault, "cannot look for an answer that was kept");
    NoTurn::Unavailable
}

/// SHA-256 of the parts, each with its length before it.
fn fingerprint(said: &[&[u8]]) -> [u8; 32] {
    let mut hash = Sha256::new();
    for part in said {
        hash.update((part.len() as u64).to_be_bytes());
        hash.update(part);
    }
    hash.finalize().into()
}
