//! May they, is it sane, plan it, make it durable, promise.
//!
//! Everything slow or doubtful happens before the store is asked: when [`Intake::submit`] returns a receipt the mail
//! is on the disk. Mails that are handed in together become durable in one commit, all or none, under one request id;
//! each is a message of its own. A refusal says by its type whose fault it is: [`Rejection`] is the client's and
//! permanent, `Unavailable` ours and temporary. What a plan holds is `plan`'s affair.

mod plan;

use std::collections::HashMap;
use std::net::IpAddr;

use bytes::Bytes;
use tokio::sync::SemaphorePermit;

use super::Intake;
use crate::mail::compose::{self, Field, File, Unfit};
use crate::mail::render::Rendered;
use crate::mail::submitted::{self, Additions, Submitted};
pub use crate::mail::submitted::{Switches, Unreadable};
use crate::mail::template::ALL_BYTES_MAX;
use crate::model::address::{Address, Mailbox};
use crate::model::dsn::Wishes;
use crate::model::file;
use crate::model::id::MessageId;
use crate::model::key;
use crate::model::message::{Plan, Source, Way};
use crate::model::once::KeptAnswer;
use crate::model::retry::AHEAD_MAX;
use crate::model::statistics::Day;
use crate::model::tenant::Grant;
use crate::model::time::Timestamp;
use crate::store::StoreError;
use crate::store::messages::Terms;

/// What all mails of one submission may come to together, in bytes: each recipient of a batch has a copy of its own.
pub const BATCH_BYTES_MAX: usize = ALL_BYTES_MAX;
/// Submissions of several mails that are made ready at one time; more wait.
pub(super) const BATCHES_AT_ONCE: usize = 2;

/// What a client hands in, before we promise anything.
#[derive(Clone, Debug)]
pub struct Submission {
    /// Through which door.
    pub source: Source,
    /// The envelope sender, when the door has one; stands in for a missing `From`.
    pub sender: Option<Address>,
    /// The envelope's recipients, in order.
    pub recipients: Vec<Address>,
    /// The mail.
    pub content: Content,
    /// What the door was told about it; the header of a raw mail may say more.
    pub switches: Switches,
}

impl Submission {
    /// A raw mail that comes without an envelope: its header says to whom it goes (RFC 6409 §3.1 is SMTP's alone).
    /// Line ends may be of any kind.
    ///
    /// # Errors
    /// The mail cannot be read, or names somebody without a usable address.
    pub fn of_raw(mail: &[u8], switches: Switches) -> Result<Self, Rejection> {
        let mail = submitted::canonical(mail)?;
        let header = submitted::read(&mail, "")?;
        let named = [(Field::To, &header.to), (Field::Cc, &header.cc), (Field::Bcc, &header.bcc)];
        let named = named.into_iter().flat_map(|(field, people)| people.iter().map(move |mailbox| (field, mailbox)));
        let mut recipients: Vec<Address> = Vec::new();
        for (field, mailbox) in named {
            let value = &mailbox.address;
            let address = value.parse().map_err(|why| Unfit::Address { field, value: value.clone(), why })?;
            recipients.push(address);
        }
        let mut seen = std::collections::HashSet::new();
        recipients.retain(|address| seen.insert(address.clone()));
        Ok(Self {
            source: Source::Http,
            sender: None,
            recipients,
            content: Content::Raw { bytes: mail.into(), hop: None },
            switches,
        })
    }
}

/// A mail as it is handed in.
#[derive(Clone, Debug)]
pub enum Content {
    /// As it came.
    Raw {
        /// RFC 5322, CRLF line ends only, no NUL.
        bytes: Bytes,
        /// From whom, when by SMTP.
        hop: Option<Hop>,
    },
    /// What a mail is to be made of.
    Parts(Box<compose::Parts>),
}

/// How a mail came by SMTP: what `Received` tells (RFC 5321 §4.4).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Hop {
    /// What the client calls itself.
    pub client: String,
    /// Where it is.
    pub peer: IpAddr,
    /// `ESMTPSA` and its like (RFC 3848).
    pub protocol: &'static str,
    /// TLS version and cipher; `None` in the clear.
    pub tls: Option<String>,
}

/// The promise.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Receipt {
    /// Its id.
    pub message: MessageId,
    /// What events about it will carry.
    pub request_id: String,
    /// When it was accepted.
    pub accepted_at: Timestamp,
    /// To whom, in order.
    pub recipients: Vec<Address>,
}

/// Why there is no promise.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// The submission is at fault; the same again will be refused again.
    Rejected(Rejection),
    /// As much has been sent today as may be; the same again tomorrow may be accepted.
    DailyLimit {
        /// How long it is until tomorrow.
        retry_after_secs: u64,
    },
    /// Another node was faster with the same request: what that came to is kept under its key.
    Raced,
    /// We cannot keep it now; the same again later may be accepted.
    Unavailable,
}

/// What is wrong with a submission.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Rejection {
    /// The sender's domain is not one of the agent's.
    #[error("the mail agent may not send from {domain}")]
    SenderNotAllowed {
        /// The domain.
        domain: String,
    },
    /// The agent sends nothing any more.
    #[error("the mail agent is shut down")]
    AgentShutDown,
    /// The bounce address is neither the agent's nor of one of its domains.
    #[error("the mail agent may not use the bounce address {address}")]
    BounceNotAllowed {
        /// The address.
        address: String,
    },
    /// Neither the mail nor the envelope says who sends it.
    #[error("there is no sender")]
    NoSender,
    /// The sender is no address.
    #[error("{0:?} is not an address to send from")]
    BadSender(String),
    /// Nobody to send to.
    #[error("there is no recipient")]
    NoRecipients,
    /// More recipients than one submission may have.
    #[error("more than {max} recipients")]
    TooManyRecipients {
        /// The limit.
        max: usize,
    },
    /// Larger than a mail may be.
    #[error("larger than {max_bytes} bytes")]
    TooLarge {
        /// The limit.
        max_bytes: usize,
    },
    /// It names a file that is not in the agent's cache.
    #[error("the mail agent has no file {key:?}")]
    NoSuchFile {
        /// How it is named.
        key: String,
    },
    /// The parts do not make a mail.
    #[error(transparent)]
    Unfit(#[from] Unfit),
    /// The raw mail must not be sent on.
    #[error(transparent)]
    Unreadable(#[from] Unreadable),
}

impl From<Rejection> for Refusal {
    fn from(rejection: Rejection) -> Self {
        Refusal::Rejected(rejection)
    }
}

/// A mail that has been found sane, on its way to being planned.
struct Sane {
    from: Mailbox,
    submitted: Submitted,
    message_id: String,
    content: Bytes,
}

impl Intake {
    /// Whether the grant may use this envelope sender; the null sender passes, since `From` is judged later.
    ///
    /// # Errors
    /// `SenderNotAllowed`.
    pub fn may_send_as(&self, grant: &Grant, sender: Option<&Address>) -> Result<(), Rejection> {
        match sender {
            Some(sender) if !self.may_send_from(grant, sender.domain()) => {
                Err(Rejection::SenderNotAllowed { domain: sender.domain().to_owned() })
            }
            _ => Ok(()),
        }
    }

    /// Judges a submission, makes it durable, and promises its delivery.
    ///
    /// # Errors
    /// See [`Refusal`]: nothing was accepted.
    pub async fn submit(&self, grant: &Grant, submission: Submission) -> Result<Receipt, Refusal> {
        let mut receipts = self.submit_all(grant, vec![submission]).await?;
        Ok(receipts.remove(0))
    }

    /// A turn to make submissions ready that belong together. Whoever has many takes it before they are filled in, and
    /// holds it until they are answered: what they come to is held in memory meanwhile.
    pub async fn batch_turn(&self) -> Option<SemaphorePermit<'_>> {
        self.0.batches.acquire().await.ok()
    }

    /// Judges submissions that belong together, makes them durable in one commit, and promises their delivery: a
    /// receipt for each, in their order, all with one request id.
    ///
    /// # Errors
    /// See [`Refusal`]: nothing at all was accepted.
    pub async fn submit_all(&self, grant: &Grant, submissions: Vec<Submission>) -> Result<Vec<Receipt>, Refusal> {
        self.submit_keeping(grant, submissions, |_| None).await
    }

    /// The same, and what `keep` makes of the receipts is kept in the same commit.
    pub(super) async fn submit_keeping(
        &self,
        grant: &Grant,
        submissions: Vec<Submission>,
        keep: impl FnOnce(&[Receipt]) -> Option<KeptAnswer>,
    ) -> Result<Vec<Receipt>, Refusal> {
        let is_batch = submissions.len() > 1;
        if submissions.is_empty() {
            return Err(Rejection::NoRecipients.into());
        }
        if !self.has_room() {
            return Err(Refusal::Unavailable);
        }
        if grant.agent.settings.is_shut_down {
            self.0.callers.forget(grant.credential);
            return Err(Rejection::AgentShutDown.into());
        }
        let now = self.0.clock.now();
        let way = submissions.first().map(|first| first.switches.way).unwrap_or_default();
        let mut sane = Vec::with_capacity(submissions.len());
        let mut bytes = 0;
        for submission in &submissions {
            let (id, mail) = self.ready(grant, submission, now).await?;
            bytes += mail.content.len();
            sane.push((id, mail));
            if is_batch {
                if bytes > BATCH_BYTES_MAX {
                    return Err(Rejection::TooLarge { max_bytes: BATCH_BYTES_MAX }.into());
                }
                tokio::task::yield_now().await;
            }
        }
        // Whoever wants to be told of them may be left alone as well.
        let asking = |submission: &Submission| match submission.switches.wishes == Wishes::default() {
            true => None,
            false => submission.sender.clone(),
        };
        let addresses: Vec<Address> = submissions
            .iter()
            .flat_map(|submission| submission.recipients.iter().cloned().chain(asking(submission)))
            .collect();
        let suppressed = self.0.store.suppressed(grant.tenant.id, grant.agent.id, &addresses).await;
        let suppressed = suppressed.map_err(|fault| unavailable(&fault))?;
        let request_id = sane.first().map_or(String::new(), |(id, _)| key_of(*id, grant, way, now));
        let planned = submissions.into_iter().zip(sane).map(|(submission, (id, mail))| {
            self.plan(grant, submission, mail, plan::Birth { id, now, request_id: &request_id }, &suppressed)
        });
        let mut plans: Vec<Plan> = planned.collect();
        let receipts: Vec<Receipt> = plans.iter().map(receipt).collect();
        let letters: Vec<Plan> = plans.iter().filter_map(|plan| self.letter_about(plan, &suppressed)).collect();
        plans.extend(letters);
        let terms = Terms { kept: keep(&receipts), limits: grant.limits() };
        let is_keyed = terms.kept.is_some();
        match self.0.store.accept_all(plans, terms).await {
            Ok(()) => Ok(receipts),
            Err(StoreError::OverLimit) => {
                let left = Day::of(now).next().start().since(now);
                Err(Refusal::DailyLimit { retry_after_secs: left.as_secs() + 1 })
            }
            Err(StoreError::Conflict) if is_keyed => Err(Refusal::Raced),
            Err(fault) => Err(unavailable(&fault)),
        }
    }

    /// What a submission would go out as to its first recipient, signatures aside: judged, planned and rendered as one
    /// that is handed in, and then forgotten.
    ///
    /// # Errors
    /// As of [`Self::submit`].
    pub async fn preview(&self, grant: &Grant, submission: Submission) -> Result<Rendered, Refusal> {
        let now = self.0.clock.now();
        let (id, mail) = self.ready(grant, &submission, now).await?;
        let birth = plan::Birth { id, now, request_id: "" };
        let Plan { message, content, deliveries, .. } = self.plan(grant, submission, mail, birth, &HashMap::new());
        let first = deliveries.first().ok_or(Rejection::NoRecipients)?;
        let signature = self.signature(&message).await.map_err(|fault| unavailable(&fault))?;
        self.copy(&content, &message, first.id, signature).ok_or(Refusal::Unavailable)
    }

    /// The mail of a submission, found sane and with its files.
    async fn ready(
        &self,
        grant: &Grant,
        submission: &Submission,
        now: Timestamp,
    ) -> Result<(MessageId, Sane), Refusal> {
        self.check_size(submission)?;
        let id = MessageId::from_uuid(self.0.ids.uuid(now));
        let mut mail = self.sane(grant, submission, id, now)?;
        if !mail.submitted.files.is_empty() {
            mail.content = self.with_files(grant, &mail, id).await?;
        }
        Ok((id, mail))
    }

    fn check_size(&self, submission: &Submission) -> Result<(), Rejection> {
        let settings = &self.0.settings;
        let size = match &submission.content {
            Content::Raw { bytes, .. } => bytes.len(),
            Content::Parts(_) => 0,
        };
        match submission.recipients.len() {
            0 => Err(Rejection::NoRecipients),
            count if count > settings.recipients_max => {
                Err(Rejection::TooManyRecipients { max: settings.recipients_max })
            }
            _ if size > settings.message_bytes_max => {
                Err(Rejection::TooLarge { max_bytes: settings.message_bytes_max })
            }
            _ => Ok(()),
        }
    }

    fn sane(&self, grant: &Grant, submission: &Submission, id: MessageId, now: Timestamp) -> Result<Sane, Rejection> {
        let max_bytes = self.0.settings.message_bytes_max;
        match &submission.content {
            Content::Raw { bytes: raw, hop } => {
                let submitted = submitted::read(raw, &self.0.settings.hostname)?;
                if submitted.switches.send_at.is_some_and(|at| at > now + AHEAD_MAX) {
                    return Err(Unreadable::TooFarAhead.into());
                }
                self.check_bounce_address(grant, &submission.switches.bounce_address)?;
                let from = self.sender(grant, submitted.from.clone(), submission.sender.as_ref())?;
                for author in &submitted.further_authors {
                    self.sender(grant, Some(author.clone()), None)?;
                }
                // Some write their login there, which names nobody elsewhere.
                for sender in submitted.sender.iter().filter_map(|sender| sender.address.parse().ok()) {
                    self.may_send_as(grant, Some(&sender))?;
                }
                let message_id = match submitted.message_id.as_str() {
                    "" => fresh_message_id(&key_of(id, grant, submission.switches.way, now), &from),
                    own => own.to_owned(),
                };
                let additions = Additions {
                    received: &self.received(hop.as_ref(), id, now),
                    date: &now.rfc5322(),
                    message_id: &message_id,
                    from: &from.address,
                };
                let content = submitted::kept(raw, &submitted, &additions).into();
                Ok(Sane { from, submitted, message_id, content })
            }
            Content::Parts(parts) => {
                let from = self.sender(grant, Some(parts.from.clone()), None)?;
                self.check_bounce_address(grant, &submission.switches.bounce_address)?;
                let message_id = fresh_message_id(&key_of(id, grant, submission.switches.way, now), &from);
                let content = Bytes::from(compose::compose(parts, now, &message_id)?);
                if content.len() > max_bytes {
                    return Err(Rejection::TooLarge { max_bytes });
                }
                Ok(Sane { from, submitted: of_parts(parts), message_id, content })
            }
        }
    }

    /// The mail with the files of the agent's cache that it names.
    async fn with_files(&self, grant: &Grant, mail: &Sane, id: MessageId) -> Result<Bytes, Refusal> {
        let max_bytes = self.0.settings.message_bytes_max;
        let (mut files, mut bytes) = (Vec::new(), mail.content.len());
        for submitted::CachedFile { key, name } in &mail.submitted.files {
            let none = || Rejection::NoSuchFile { key: key.clone() };
            let file = file::id_of(key).ok_or_else(none)?;
            let found = self.0.store.cached_file(grant.agent.id, file).await.map_err(|fault| unavailable(&fault))?;
            let (file, content) = found.ok_or_else(none)?;
            bytes += content.len();
            if bytes > max_bytes {
                return Err(Rejection::TooLarge { max_bytes }.into());
            }
            let name = if name.is_empty() { file.name } else { name.clone() };
            files.push(File { name, content_type: file.content_type, content });
        }
        let boundary = format!("=_{}", id.uuid().simple());
        Ok(compose::with_files(&mail.content, &files, &boundary).map_err(Rejection::from)?.into())
    }

    /// Who sends: `From`, else the envelope sender, else what the agent has set; of a domain that the agent may use.
    fn sender(&self, grant: &Grant, from: Option<Mailbox>, envelope: Option<&Address>) -> Result<Mailbox, Rejection> {
        let from = from.filter(|from| !from.address.is_empty());
        let from = from.or_else(|| envelope.map(|address| Mailbox::bare(address.to_string())));
        let from = from.or_else(|| grant.agent.settings.from.clone()).ok_or(Rejection::NoSender)?;
        let address: Address = from.address.parse().map_err(|_| Rejection::BadSender(from.address.clone()))?;
        if self.may_send_from(grant, address.domain()) {
            Ok(from)
        } else {
            Err(Rejection::SenderNotAllowed { domain: address.domain().to_owned() })
        }
    }

    fn check_bounce_address(&self, grant: &Grant, address: &str) -> Result<(), Rejection> {
        let may = self.may_bounce_to(grant, address);
        if may { Ok(()) } else { Err(Rejection::BounceNotAllowed { address: address.to_owned() }) }
    }

    /// A bounce address that a submission names must be the agent's, or belong to a domain that it may send from.
    pub fn may_bounce_to(&self, grant: &Grant, address: &str) -> bool {
        let is_own = |domain: &str| {
            let mut rest = Some(domain);
            while let Some(name) = rest {
                if self.may_send_from(grant, name) {
                    return true;
                }
                rest = name.split_once('.').map(|(_, parent)| parent).filter(|parent| parent.contains('.'));
            }
            false
        };
        let domain = address.rsplit_once('@').map_or("", |(_, domain)| domain);
        address.is_empty() || address == grant.agent.settings.bounce_address || is_own(domain)
    }
}

fn receipt(plan: &Plan) -> Receipt {
    Receipt {
        message: plan.message.id,
        request_id: plan.message.facts.request_id.clone(),
        accepted_at: plan.message.accepted_at,
        recipients: plan.deliveries.iter().map(|delivery| delivery.address.clone()).collect(),
    }
}

/// ZeptoMail's name of a mail. That of the first mail of a request is the request's too.
fn key_of(id: MessageId, grant: &Grant, way: Way, now: Timestamp) -> String {
    key::key(&grant.agent.key, way.kind_of_key(), id.uuid(), now)
}

fn fresh_message_id(key: &str, from: &Mailbox) -> String {
    let domain = from.address.rsplit_once('@').map_or("localhost", |(_, domain)| domain);
    format!("{key}@{domain}")
}

fn of_parts(parts: &compose::Parts) -> Submitted {
    Submitted {
        from: Some(parts.from.clone()),
        to: parts.to.clone(),
        cc: parts.cc.clone(),
        reply_to: parts.reply_to.clone(),
        subject: parts.subject.clone(),
        has_date: true,
        ..Submitted::default()
    }
}

fn unavailable(fault: &StoreError) -> Refusal {
    tracing::error!(%fault, "a submission could not be stored");
    Refusal::Unavailable
}
