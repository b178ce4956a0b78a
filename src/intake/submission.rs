//! May they, is it sane, plan it, make it durable, promise.
//!
//! Everything slow or doubtful happens before the store is asked: when [`Intake::submit`] returns a receipt the mail
//! is on the disk. A refusal says by its type whose fault it is: [`Rejection`] is the client's and permanent,
//! `Unavailable` ours and temporary.

use bytes::Bytes;

use super::Intake;
use crate::mail::compose::{self, Unfit};
pub use crate::mail::submitted::Unreadable;
use crate::mail::submitted::{self, Additions, Submitted, Switches};
use crate::model::address::{Address, Mailbox};
use crate::model::event::{Detail, Event, EventKind, relay};
use crate::model::id::{DeliveryId, EventId, MessageId};
use crate::model::message::{Facts, Fate, Message, Plan, PlannedDelivery, Source, Tracking};
use crate::model::reason::{Cause, Class, Reason};
use crate::model::suppression::Suppression;
use crate::model::tenant::Grant;
use crate::model::time::Timestamp;
use crate::store::StoreError;

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

/// A mail as it is handed in.
#[derive(Clone, Debug)]
pub enum Content {
    /// RFC 5322, CRLF line ends only, no NUL.
    Raw(Bytes),
    /// What a mail is to be made of.
    Parts(Box<compose::Parts>),
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
        self.check_size(&submission)?;
        let now = self.0.clock.now();
        let id = MessageId::from_uuid(self.0.ids.uuid(now));
        let sane = self.sane(grant, &submission, id, now)?;
        let suppressed = self.0.store.suppressed(grant.agent.id, &submission.recipients).await;
        let suppressed = suppressed.map_err(|fault| unavailable(&fault))?;
        let fate_of = |address: &Address| suppressed.get(&Suppression::key(address)).copied();
        let plan = self.plan(grant, submission, sane, Birth { id, now }, fate_of);
        let receipt = Receipt {
            message: id,
            request_id: plan.message.facts.request_id.clone(),
            accepted_at: now,
            recipients: plan.deliveries.iter().map(|delivery| delivery.address.clone()).collect(),
        };
        self.0.store.accept(plan).await.map_err(|fault| unavailable(&fault))?;
        Ok(receipt)
    }

    fn check_size(&self, submission: &Submission) -> Result<(), Rejection> {
        let settings = &self.0.settings;
        let size = match &submission.content {
            Content::Raw(raw) => raw.len(),
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
            Content::Raw(raw) => {
                let submitted = submitted::read(raw)?;
                let from = self.sender(grant, submitted.from.clone(), submission.sender.as_ref())?;
                let message_id = match submitted.message_id.as_str() {
                    "" => fresh_message_id(id, &from),
                    own => own.to_owned(),
                };
                let additions = Additions {
                    received: &self.received(submission.source, id, now),
                    date: &now.rfc5322(),
                    message_id: &message_id,
                    from: &from.address,
                };
                let content = submitted::kept(raw, &submitted, &additions).into();
                Ok(Sane { from, submitted, message_id, content })
            }
            Content::Parts(parts) => {
                let from = self.sender(grant, Some(parts.from.clone()), None)?;
                let message_id = fresh_message_id(id, &from);
                let content = Bytes::from(compose::compose(parts, now, &message_id)?);
                if content.len() > max_bytes {
                    return Err(Rejection::TooLarge { max_bytes });
                }
                Ok(Sane { from, submitted: of_parts(parts), message_id, content })
            }
        }
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

    fn received(&self, source: Source, id: MessageId, now: Timestamp) -> String {
        let with = match source {
            Source::Smtp => "ESMTPA",
            Source::Http => "HTTP",
        };
        format!("by {} (Postback) with {with} id {id}; {}", self.0.settings.hostname, now.rfc5322())
    }

    fn plan(
        &self,
        grant: &Grant,
        submission: Submission,
        sane: Sane,
        birth: Birth,
        suppressed: impl Fn(&Address) -> Option<Reason>,
    ) -> Plan {
        let Birth { id, now } = birth;
        let switches = merged(submission.switches, &sane.submitted.switches);
        let due_at = switches.send_at.map_or(now, |at| at.max(now));
        let deliveries: Vec<PlannedDelivery> = (0u16..)
            .zip(submission.recipients)
            .map(|(recipient, address)| PlannedDelivery {
                id: DeliveryId { message: id, recipient },
                fate: match suppressed(&address) {
                    Some(reason) => Fate::Suppressed { reason },
                    None => Fate::Queued { due_at },
                },
                address,
                expires_at: due_at + self.0.settings.lifetime,
            })
            .collect();
        let message = Message {
            id,
            tenant: grant.tenant.id,
            agent: grant.agent.id,
            agent_key: grant.agent.key.clone(),
            source: submission.source,
            accepted_at: now,
            size_bytes: sane.content.len() as u64,
            facts: self.facts(grant, &sane, switches, &deliveries, birth),
        };
        let events = deliveries.iter().map(|delivery| self.told(&message, delivery, now)).collect();
        Plan { message, content: sane.content, deliveries, events }
    }

    fn facts(
        &self,
        grant: &Grant,
        sane: &Sane,
        switches: Switches,
        deliveries: &[PlannedDelivery],
        birth: Birth,
    ) -> Facts {
        let submitted = &sane.submitted;
        let agent = &grant.agent.settings;
        let is_named = |address: &Address| {
            let named = submitted.to.iter().chain(&submitted.cc);
            named.into_iter().any(|mailbox| mailbox.address.eq_ignore_ascii_case(&address.to_string()))
        };
        let hidden = deliveries.iter().filter(|delivery| !is_named(&delivery.address));
        let bounce_address = match switches.bounce_address.as_str() {
            "" => agent.bounce_address.clone(),
            own => own.to_owned(),
        };
        Facts {
            from: sane.from.clone(),
            to: submitted.to.clone(),
            cc: submitted.cc.clone(),
            bcc: hidden.map(|delivery| Mailbox::bare(delivery.address.to_string())).collect(),
            reply_to: submitted.reply_to.clone(),
            subject: submitted.subject.clone(),
            email_reference: sane.message_id.clone(),
            request_id: self.request_id(birth),
            client_reference: switches.client_reference,
            bounce_address,
            tags: switches.tags,
            metadata: switches.metadata,
            tracking: Tracking {
                opens: switches.track_opens.unwrap_or(agent.track_opens),
                clicks: switches.track_clicks.unwrap_or(agent.track_clicks),
                base_url: self.0.settings.tracking_base_url.clone(),
                key_id: self.0.ring.newest().unwrap_or_default(),
            },
        }
    }

    /// ZeptoMail's shape: `2d6f.<16 hex>.m1.<uuid>.<hex ms>`.
    fn request_id(&self, birth: Birth) -> String {
        let salt = u64::from_be_bytes(self.0.ids.bytes());
        format!("2d6f.{salt:016x}.m1.{}.{:x}", birth.id.uuid(), birth.now.as_millis())
    }

    fn told(&self, message: &Message, delivery: &PlannedDelivery, now: Timestamp) -> Event {
        let (kind, detail) = match delivery.fate {
            Fate::Queued { .. } => (EventKind::Sent, Detail::Sent),
            Fate::Suppressed { reason } => (EventKind::Failed, Detail::Failed { cause: suppressed_for(reason) }),
        };
        Event {
            id: EventId::from_uuid(self.0.ids.uuid(now)),
            delivery: delivery.id,
            tenant: message.tenant,
            agent: message.agent,
            kind,
            ordinal: 0,
            at: now,
            recipient: delivery.address.to_string(),
            detail,
            relay: relay::ALL,
            relay_at: now,
            is_test: false,
        }
    }
}

/// When and under which id a message is born.
#[derive(Clone, Copy)]
struct Birth {
    id: MessageId,
    now: Timestamp,
}

fn fresh_message_id(id: MessageId, from: &Mailbox) -> String {
    let domain = from.address.rsplit_once('@').map_or("localhost", |(_, domain)| domain);
    format!("{}@{domain}", id.uuid().simple())
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

/// What the door was told counts; what it was not told, the header may say.
fn merged(door: Switches, header: &Switches) -> Switches {
    let text = |door: String, header: &str| if door.is_empty() { header.to_owned() } else { door };
    Switches {
        track_opens: door.track_opens.or(header.track_opens),
        track_clicks: door.track_clicks.or(header.track_clicks),
        client_reference: text(door.client_reference, &header.client_reference),
        tags: if door.tags.is_empty() { header.tags.clone() } else { door.tags },
        metadata: if door.metadata.is_empty() { header.metadata.clone() } else { door.metadata },
        send_at: door.send_at.or(header.send_at),
        bounce_address: text(door.bounce_address, &header.bounce_address),
    }
}

fn suppressed_for(reason: Reason) -> Cause {
    Cause {
        reason: Reason::Suppressed,
        class: Class::Undetermined,
        code: None,
        status: None,
        diagnostic: format!("the address is suppressed: {}", reason.sentence()),
        rule: "suppression list".into(),
    }
}

fn unavailable(fault: &StoreError) -> Refusal {
    tracing::error!(%fault, "a submission could not be stored");
    Refusal::Unavailable
}
