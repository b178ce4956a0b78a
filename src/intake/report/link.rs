//! Whose delivery a report is about, and how well that is proven.
//!
//! The sealed return path decides. Where a report came elsewhere, the recipient that it names, the Message-ID that it
//! gives and our own header in what it returns are asked in this order; each narrows down what the one before it left,
//! and one that contradicts is told of. A complaint with nothing but addresses is linked to the latest delivery to each,
//! when somebody who is believed handed it in and it names nobody else's message or domain. Of a message that several got,
//! whose name is left out cannot be told: its header says the same to all.

use std::time::Duration;

use url::Url;

use super::{Intake, ReportTo};
use crate::mail::render::{author_domain, is_aligned};
use crate::mail::report::{Kind, Report};
use crate::model::address::Address;
use crate::model::delivery::{Delivery, State};
use crate::model::id::{DeliveryId, MessageId};
use crate::model::key;
use crate::model::message::Message;
use crate::model::time::Timestamp;
use crate::model::token::{self, Reference};
use crate::store::StoreError;

/// How far a message's `Date` may be from its acceptance where nothing else leads to it.
const DATE_ERROR_MAX: Duration = Duration::from_secs(30 * 60);

/// How well it is proven that a report is about a delivery.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Proof {
    /// It came to the sealed return path, or returns something sealed: only who has seen the copy can know either.
    Sealed,
    /// Who handed it in is believed about whose mail it was.
    Vouched,
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
    /// Whose else it is about, by the word of somebody who is believed; only of a complaint.
    pub(super) others: Vec<Delivery>,
}

/// Whether the message that a report tells of is the delivery's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Returned {
    /// By its sealed reference or its Message-ID.
    Same,
    /// By its sealed reference it is another copy, or a copy of another message than its Message-ID is of.
    OtherCopy,
    /// By its Message-ID it is another, or has been given a new one.
    OtherId,
    /// It tells nothing of it.
    Untold,
}

/// Why a report is linked to no delivery.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Unlinked {
    /// It names none of ours.
    Nothing,
    /// It fits several, and nothing in it tells which.
    Several,
    /// It is a complaint that gives an address and no more, from somebody who is not believed about that.
    NotVouched,
}

impl Intake {
    /// Whose delivery a report is about. `is_vouched`: who handed it in is believed about whose mail it was.
    pub(super) async fn link(
        &self,
        to: &ReportTo,
        report: &Report,
        is_vouched: bool,
        now: Timestamp,
    ) -> Result<Result<Link, Unlinked>, StoreError> {
        let sealed: Vec<DeliveryId> = report.references.iter().filter_map(|text| self.opened(text, now)).collect();
        let link = match to {
            ReportTo::Delivery(id) => self.by_return_path(*id, &sealed, report).await?,
            ReportTo::Complaints | ReportTo::Postmaster => self.by_its_words(&sealed, report, is_vouched, now).await?,
        };
        match link {
            Ok(link) if is_vouched && link.message != Returned::OtherCopy => {
                let others = self.beside(link, report).await?;
                Ok(Ok(others))
            }
            link => Ok(link),
        }
    }

    /// A link with the other recipients of its message that a complaint names.
    async fn beside(&self, link: Link, report: &Report) -> Result<Link, StoreError> {
        let addresses = stated(report);
        if report.complaint.is_none() || addresses.len() < 2 {
            return Ok(link);
        }
        let all = self.0.store.deliveries(link.delivery.id.message).await?.into_iter().map(|view| view.delivery);
        let is_new = |one: &Delivery| link.deliveries().all(|known| known.address != one.address);
        let beside: Vec<Delivery> =
            all.filter(|one| has_left(one) && is_new(one) && is_named(one, &addresses)).collect();
        Ok(Link { others: [link.others, beside].concat(), ..link })
    }

    async fn by_return_path(
        &self,
        id: DeliveryId,
        sealed: &[DeliveryId],
        report: &Report,
    ) -> Result<Result<Link, Unlinked>, StoreError> {
        let Some(delivery) = self.0.store.delivery(id).await? else { return Ok(Err(Unlinked::Nothing)) };
        let message = match () {
            () if sealed.iter().any(|other| *other != id) => Returned::OtherCopy,
            () if !sealed.is_empty() => Returned::Same,
            () => self.compared(id.message, report).await?,
        };
        Ok(Ok(Link::new(delivery, Proof::Sealed, message)))
    }

    /// By the recipient that a report names, the Message-ID, and what is sealed.
    async fn by_its_words(
        &self,
        sealed: &[DeliveryId],
        report: &Report,
        is_vouched: bool,
        now: Timestamp,
    ) -> Result<Result<Link, Unlinked>, StoreError> {
        let told = match self.message_of(report).await? {
            Some(message) => self.0.store.deliveries(message.id).await?,
            None => Vec::new(),
        };
        let told: Vec<Delivery> = told.into_iter().map(|view| view.delivery).collect();
        let is_sole = told.len() == 1;
        let mut meant = narrowed(told, &stated(report)).into_iter();
        let by_seal = match sealed.first() {
            Some(id) => self.0.store.delivery(*id).await?,
            None => None,
        };
        if let Some(delivery) = by_seal {
            let is_another = |other: &DeliveryId| *other != delivery.id;
            let contradicts = sealed.iter().any(is_another)
                || (!meant.as_slice().is_empty() && meant.as_slice().iter().map(|meant| &meant.id).all(is_another));
            let message = if contradicts { Returned::OtherCopy } else { Returned::Same };
            return Ok(Ok(Link::new(delivery, Proof::Sealed, message)));
        }
        let Some(first) = meant.next() else { return self.by_address(report, is_vouched, now).await };
        let proof = match () {
            () if is_sole => Proof::SoleRecipient,
            () if is_vouched => Proof::Vouched,
            () => Proof::Weak,
        };
        // Of several, each is meant that is named by somebody who is believed.
        let is_clear = meant.as_slice().is_empty() || (is_vouched && is_named(&first, &stated(report)));
        Ok(if is_clear { Ok(Link::new(first, proof, Returned::Same)) } else { Err(Unlinked::Several) })
    }

    /// A complaint by its addresses alone: the latest delivery to each that had left us.
    async fn by_address(
        &self,
        report: &Report,
        is_vouched: bool,
        now: Timestamp,
    ) -> Result<Result<Link, Unlinked>, StoreError> {
        let named = report.recipients.iter().filter(|_| report.kind == Kind::Complaint);
        let addresses: Vec<Address> = named.filter_map(|recipient| recipient.address.parse().ok()).collect();
        if !is_vouched && !addresses.is_empty() {
            return Ok(Err(Unlinked::NotVouched));
        }
        // We know each of our messages by its id: this one is somebody else's.
        if report.original_message_id.is_some() {
            return Ok(Err(Unlinked::Nothing));
        }
        let (mut found, mut why): (Vec<Delivery>, _) = (Vec::new(), Unlinked::Nothing);
        for address in addresses {
            match <[Delivery; 1]>::try_from(self.latest_to(&address, report, now).await?) {
                Ok([delivery]) => found.push(delivery),
                Err(none) if none.is_empty() => {}
                Err(_) => why = Unlinked::Several,
            }
        }
        let mut found = found.into_iter();
        let Some(first) = found.next() else { return Ok(Err(why)) };
        let link = Link::new(first, Proof::Vouched, Returned::Untold);
        Ok(Ok(Link { others: found.collect(), ..link }))
    }

    /// The latest delivery to an address that had left us, of each mail agent that wrote to it as the domain that the
    /// complaint names. The domain of our return paths is everybody's.
    async fn latest_to(&self, address: &Address, report: &Report, now: Timestamp) -> Result<Vec<Delivery>, StoreError> {
        let domain = report.complaint.as_ref().and_then(|complaint| complaint.reported_domain.as_deref());
        let domain = domain.filter(|domain| *domain != self.0.settings.return_path_domain);
        let written = self.0.store.written_to(address, now - token::COMPLAINT_AGE_MAX).await?;
        let mut latest: Vec<Delivery> = Vec::new();
        for delivery in written.into_iter().filter(|one| has_left(one) && one.accepted_at <= now) {
            let is_new = latest.iter().all(|known| known.agent != delivery.agent);
            if is_new && self.is_from(&delivery, domain).await? {
                latest.push(delivery);
            }
        }
        Ok(latest)
    }

    /// Whether a delivery's message is from a domain, where one is named.
    async fn is_from(&self, delivery: &Delivery, domain: Option<&str>) -> Result<bool, StoreError> {
        let Some(domain) = domain else { return Ok(true) };
        let message = self.0.store.message(delivery.id.message).await?;
        Ok(message.is_some_and(|message| is_aligned(domain, &author_domain(&message.facts))))
    }

    /// The delivery of something sealed: the local part of a return path, or a link to unsubscribe.
    fn opened(&self, reference: &str, now: Timestamp) -> Option<DeliveryId> {
        if reference.contains("://") {
            let link = Url::parse(reference).ok()?;
            let host = link.host_str()?;
            let host = link.port().map_or_else(|| host.to_owned(), |port| format!("{host}:{port}"));
            let (delivery, reference) = token::open(&self.0.ring, &host, link.path_segments()?.next_back()?)?;
            // Other links of a mail are passed on to friends, and known to whom they lead to.
            let of_reader = Some(delivery).filter(|_| reference == Reference::Unsubscribe);
            return of_reader.filter(|id| now.since(id.message.drawn_at()) <= token::COMPLAINT_AGE_MAX);
        }
        let local_part = reference.split('@').next().unwrap_or(reference);
        token::open_return_path(&self.0.ring, local_part, now, token::COMPLAINT_AGE_MAX)
    }

    async fn compared(&self, id: MessageId, report: &Report) -> Result<Returned, StoreError> {
        let Some(told) = &report.original_message_id else { return Ok(Returned::Untold) };
        let Some(message) = self.0.store.message(id).await? else { return Ok(Returned::Untold) };
        Ok(if bare(told) == message.facts.email_reference { Returned::Same } else { Returned::OtherId })
    }

    /// The message with the Message-ID that a report gives. Where we drew that, it has our own id in it; else the
    /// message is looked for around its `Date`.
    async fn message_of(&self, report: &Report) -> Result<Option<Message>, StoreError> {
        let Some(told) = report.original_message_id.as_deref().map(bare) else { return Ok(None) };
        if let Some(id) = told.split('@').next().and_then(key::message_in) {
            let message: Option<Message> = self.0.store.message(id).await?;
            return Ok(message.filter(|message| message.facts.email_reference == told));
        }
        match report.original_date {
            Some(date) => self.0.store.message_with_reference(told, date - DATE_ERROR_MAX, date + DATE_ERROR_MAX).await,
            None => Ok(None),
        }
    }
}

impl Link {
    fn new(delivery: Delivery, proof: Proof, message: Returned) -> Self {
        Self { delivery, proof, message, others: Vec::new() }
    }

    /// All that it is about.
    pub(super) fn deliveries(&self) -> impl Iterator<Item = &Delivery> {
        std::iter::once(&self.delivery).chain(&self.others)
    }
}

/// The recipients that a report states in fields of its own; where a complaint leaves them out, none.
fn stated(report: &Report) -> Vec<&str> {
    match &report.complaint {
        Some(complaint) => complaint.original_recipients.iter().map(String::as_str).collect(),
        None => report.recipients.iter().map(|recipient| recipient.address.as_str()).collect(),
    }
}

/// The deliveries to one of these addresses; all where there is none of them: addresses are blanked, and mail is
/// forwarded.
fn narrowed(all: Vec<Delivery>, addresses: &[&str]) -> Vec<Delivery> {
    let (named, others): (Vec<_>, Vec<_>) = all.into_iter().partition(|delivery| is_named(delivery, addresses));
    if named.is_empty() { others } else { named }
}

fn is_named(delivery: &Delivery, addresses: &[&str]) -> bool {
    addresses.iter().any(|address| is_same(&delivery.address, address))
}

/// Whether somebody can have read it.
fn has_left(delivery: &Delivery) -> bool {
    matches!(delivery.state, State::HandedOver | State::Delivered | State::Bounced)
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
