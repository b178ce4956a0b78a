//! A report comes home: whose delivery, which verdict, suppress or not.
//!
//! The sealed return path decides whose delivery a report is about, never the report's own text: a forged report
//! cannot bounce a stranger's mail. Complaints may come to one address of ours instead; they are linked by the sealed
//! reference that we put into the header of each copy. Whatever cannot be linked is kept for a person to see and
//! changes nothing.

use bytes::Bytes;

use super::Intake;
use crate::model::address::Address;
use crate::model::id::DeliveryId;
use crate::model::token;

/// Where a mail without authentication may come to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ReportTo {
    /// The return path of this delivery.
    Delivery(DeliveryId),
    /// The address for complaints.
    Complaints,
    /// The postmaster (RFC 5321 §4.5.1).
    Postmaster,
}

/// The store cannot keep a report now; the sender should try again.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the report cannot be kept now")]
pub struct Unavailable;

impl Intake {
    /// What mail to this address is, when it is for us at all: a return path that we sealed and that is not too old,
    /// the complaint address, or the postmaster. Anything else is to be refused before any data.
    pub fn report_recipient(&self, address: &Address) -> Option<ReportTo> {
        let settings = &self.0.settings;
        if address.domain() != settings.return_path_domain {
            return None;
        }
        let local = address.local_part();
        let now = self.0.clock.now();
        if local.eq_ignore_ascii_case("postmaster") {
            Some(ReportTo::Postmaster)
        } else if local.eq_ignore_ascii_case(&settings.complaint_local_part) {
            Some(ReportTo::Complaints)
        } else {
            token::open_return_path(&self.0.ring, local, now, token::COMPLAINT_AGE_MAX).map(ReportTo::Delivery)
        }
    }

    /// Takes a report in; durable when this returns.
    ///
    /// # Errors
    /// [`Unavailable`]: nothing was kept.
    pub async fn report(&self, _to: &ReportTo, _from: Option<&Address>, _content: Bytes) -> Result<(), Unavailable> {
        Err(Unavailable)
    }
}
