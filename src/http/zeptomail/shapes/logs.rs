//! The bodies that tell what became of mails.

use super::super::super::shape::described;
use super::manage::ZeptoPart;

described! {
    /// Somebody, as logs tell it.
    pub(in super::super) struct ZeptoLogPerson {
        /// The address.
        "address": String,
        /// The name with it.
        "name": String,
    }

    /// Who sent a mail to whom, when, and under which references.
    pub(in super::super) struct ZeptoLogInfo {
        /// Its `Message-ID`, without the angle brackets.
        "email_reference": String,
        /// `send-mail`; ours are `batch-mail`, `template-mail`, `template-batch-mail`.
        "mail_type": String,
        /// Its subject.
        "subject": String,
        /// Its bounce address.
        "bounce_address": String,
        /// The submitter's own reference.
        "client_reference": String,
        /// Who sends it.
        "from": ZeptoLogPerson,
        /// Its `Message-ID`.
        "message_id": String,
        /// To whom it goes.
        "to": Vec<ZeptoLogPerson>,
        /// To whom besides.
        "cc": Vec<ZeptoLogPerson>,
        /// To whom no header tells.
        "bcc": Vec<ZeptoLogPerson>,
        /// When it was accepted.
        "processed_time": String,
        /// Whose it is.
        "mailagent_key": String,
        /// `queued` until a copy has left, then `processed`; `process_failed` when none was so much as tried.
        "status": String,
    }

    /// An opening or a click.
    pub(in super::super) struct ZeptoLogHit {
        /// When.
        "time": String,
        /// When this recipient did so first.
        "first_event_time": String,
        /// Who.
        "recipient": String,
        /// With what.
        "user_agent": Option<String>,
        /// On which link.
        "clicked_link": Option<String>,
    }

    /// Openings or clicks.
    pub(in super::super) struct ZeptoLogHits {
        /// The first of them.
        "details": Vec<ZeptoLogHit>,
        /// How many there were.
        "event_count": u64,
    }

    /// What readers did.
    pub(in super::super) struct ZeptoLogTracking {
        /// Openings.
        "email_open": Option<ZeptoLogHits>,
        /// Clicks.
        "email_link_click": Option<ZeptoLogHits>,
    }

    /// What came of one delivery.
    pub(in super::super) struct ZeptoLogOutcome {
        /// What the other side said.
        "reason": String,
        /// Who.
        "recipient": String,
        /// When.
        "time": String,
        /// What kind of failure it is; empty for none.
        "category": String,
    }

    /// What came of each delivery that has ended.
    pub(in super::super) struct ZeptoLogDeliveries {
        /// Arrived.
        "delivered": Option<Vec<ZeptoLogOutcome>>,
        /// Refused for good.
        "hardbounce": Option<Vec<ZeptoLogOutcome>>,
        /// Refused for now, or given up.
        "softbounce": Option<Vec<ZeptoLogOutcome>>,
        /// Never tried.
        "mailfailure": Option<Vec<ZeptoLogOutcome>>,
    }

    /// A mail, as logs tell it.
    pub(in super::super) struct ZeptoLog {
        /// Openings and clicks; empty in lists.
        "email_tracking_details": ZeptoLogTracking,
        /// What came of each delivery; empty in lists.
        "email_delivery_details": ZeptoLogDeliveries,
        /// From whom, to whom, when, and under which references.
        "email_info": ZeptoLogInfo,
        /// What webhooks call it.
        "request_id": String,
    }

    /// A mail, as logs tell it.
    pub(in super::super) struct ZeptoLogAnswer {
        /// The mail.
        "data": ZeptoLog,
        /// `success`.
        "status": String,
    }

    /// Mails, as logs tell them.
    pub(in super::super) struct ZeptoLogRows {
        /// The mails.
        "logs": Vec<ZeptoLog>,
    }

    /// Mails, as logs tell them.
    pub(in super::super) struct ZeptoLogs {
        /// Which part of them.
        "metadata": ZeptoPart,
        /// The mails.
        "data": ZeptoLogRows,
        /// `success`.
        "status": String,
    }
}
