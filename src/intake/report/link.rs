//! Whose delivery a report is about, and how well that is proven.

use std::time::Duration;

use super::{Intake, ReportTo};
use crate::mail::report::Report;
use crate::model::address::Address;
use crate::model::delivery::Delivery;
use crate::model::id::{DeliveryId, MessageId};
use crate::model::message::Message;
use crate::model::time::Timestamp;
use crate::model::token;
use crate::store::StoreError;

/// How far a message's `Date` may be from its acceptance where nothing else leads to it.
const DATE_ERROR_MAX: Duration = Duration::from_secs(30 * 60);

/// How well it is proven that a report is about a delivery.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Proof {
    /// It came to the sealed return path, or returns the sealed reference: only who has seen the copy can know either.
    Sealed,
    /// It gives the Message-ID of a mail that had no other recipient.
    SoleRecipient,
    /// It gives a Message-ID that others know, too.
    Weak,
}

/// A delivery that a report is about.
#[derive(Clone, Debug)]
pub(super) struct Link {
    pub(super) delivery: Delivery,
    pub(super) proof: Proof,
    /// What the report says of the message that it returns.
    pub(super) message: Returned,
}

/// Whether the message that a report tells of is the delivery's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Returned {
    /// By its sealed reference or its Message-ID.
    Same,
    /// By its sealed reference it is another copy.
    OtherCopy,
    /// By its Message-ID it is another, or has been given a new one.
    OtherId,
    /// It tells nothing of it.
    Untold,
}

impl Intake {
    /// Whose delivery a report is about: what the return path says, else a sealed reference in the message that it
    /// returns, else that message's Message-ID.
    pub(super) async fn link(
        &self,
        to: &ReportTo,
        report: &Report,
        now: Timestamp,
    ) -> Result<Option<Link>, StoreError> {
        let references: Vec<DeliveryId> = report.references.iter().filter_map(|text| self.opened(text, now)).collect();
        let sealed = match to {
            ReportTo::Delivery(id) => Some(*id),
            ReportTo::Complaints | ReportTo::Postmaster => references.first().copied(),
        };
        let Some(id) = sealed else { return self.by_message_id(report).await };
        let Some(delivery) = self.0.store.delivery(id).await? else { return Ok(None) };
        let message = match () {
            () if references.iter().any(|reference| *reference != id) => Returned::OtherCopy,
            () if !references.is_empty() => Returned::Same,
            () => self.compared(id.message, report).await?,
        };
        Ok(Some(Link { delivery, proof: Proof::Sealed, message }))
    }

    fn opened(&self, reference: &str, now: Timestamp) -> Option<DeliveryId> {
        let local_part = reference.split('@').next().unwrap_or(reference);
        token::open_return_path(&self.0.ring, local_part, now, token::COMPLAINT_AGE_MAX)
    }

    async fn compared(&self, id: MessageId, report: &Report) -> Result<Returned, StoreError> {
        let Some(told) = &report.original_message_id else { return Ok(Returned::Untold) };
        let Some(message) = self.0.store.message(id).await? else { return Ok(Returned::Untold) };
        Ok(if bare(told) == message.facts.email_reference { Returned::Same } else { Returned::OtherId })
    }

    async fn by_message_id(&self, report: &Report) -> Result<Option<Link>, StoreError> {
        let Some(message) = self.message_of(report).await? else { return Ok(None) };
        let deliveries = self.0.store.deliveries(message.id).await?;
        let named = report
            .recipients
            .iter()
            .find_map(|recipient| deliveries.iter().find(|view| is_same(&view.delivery.address, &recipient.address)));
        let (found, proof) = match (named, deliveries.as_slice()) {
            (_, [only]) => (only, Proof::SoleRecipient),
            (Some(named), _) => (named, Proof::Weak),
            (None, _) => return Ok(None),
        };
        Ok(Some(Link { delivery: found.delivery.clone(), proof, message: Returned::Same }))
    }

    /// The message with the Message-ID that a report gives. Where we drew that, it has our own id in it; else the
    /// message is looked for around its `Date`.
    async fn message_of(&self, report: &Report) -> Result<Option<Message>, StoreError> {
        let Some(told) = report.original_message_id.as_deref().map(bare) else { return Ok(None) };
        let drawn = told.split('@').next().and_then(|local| format!("{}{local}", MessageId::PREFIX).parse().ok());
        if let Some(id) = drawn {
            let message: Option<Message> = self.0.store.message(id).await?;
            return Ok(message.filter(|message| message.facts.email_reference == told));
        }
        match report.original_date {
            Some(date) => self.0.store.message_with_reference(told, date - DATE_ERROR_MAX, date + DATE_ERROR_MAX).await,
            None => Ok(None),
        }
    }
}

/// A Message-ID without its angle brackets.
fn bare(id: &str) -> &str {
    id.trim_start_matches('<').trim_end_matches('>')
}

/// Whether a report names this address; it may write the domain, or the case, in another way.
pub(super) fn is_same(address: &Address, named: &str) -> bool {
    let folded = address.folded();
    folded == named.to_lowercase() || named.parse().is_ok_and(|named: Address| named.folded() == folded)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_known_in_other_spellings() {
        let check = |address: &str, named: &str, expected| {
            assert_eq!(is_same(&address.parse().unwrap(), named), expected, "{address} {named}");
        };
        check("Kim@There.example", "kim@there.EXAMPLE", true);
        check("kim@größe.example", "kim@xn--gre-6ka8i.example", true);
        check("kim@größe.example", "KIM@GRÖSSE.example", false);
        check("\"kim\"@there.example", "kim@there.example", true);
        check("kim@there.example", "kim+news@there.example", false);
        check("kim@there.example", "", false);
    }

    #[test]
    fn message_ids_are_compared_without_brackets() {
        assert_eq!(bare("<a@b>"), "a@b");
        assert_eq!(bare("a@b"), "a@b");
    }
}
