//! Why mail was not delivered: one vocabulary for SMTP replies, bounce reports, suppressions and payloads.
//!
//! The table is data: each reason carries the class it usually means, the sentence that Mailtura's and TransMail's
//! `reason` show, ZeptoMail's log `category`, and whether the address should be left alone from now on.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// Whether trying this address again, later and with other mail, has any sense.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Class {
    /// The address is no good.
    Hard,
    /// The address may be good; this message or this moment was not.
    Soft,
    /// The other side did not say; counted as soft.
    Undetermined,
}

impl Class {
    /// `hard`, `soft` or `undetermined`.
    pub fn as_str(self) -> &'static str {
        match self {
            Class::Hard => "hard",
            Class::Soft => "soft",
            Class::Undetermined => "undetermined",
        }
    }

    /// The two values that webhooks know: everything that is not hard is soft.
    pub fn bounce_type(self) -> &'static str {
        match self {
            Class::Hard => "hard",
            Class::Soft | Class::Undetermined => "soft",
        }
    }
}

/// When a bounce with this reason suppresses the address; how often and for how long is a matter of settings (see
/// [`suppression::Policy`](super::suppression::Policy)).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Suppress {
    /// Never: the fault is ours, the content's or the network's.
    Never,
    /// At the first permanent failure: there is no such address.
    Unknown,
    /// At the first permanent failure: the address is there, and is not to be used.
    Disabled,
    /// When it has no room several times in a row.
    Full,
    /// When it fails several times in a row for a reason that may be the address's.
    Filtered,
    /// At once, until a person removes it.
    ForGood,
}

/// What a reason is about: the three axes of a verdict.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Axis {
    /// The recipient, his mailbox or his domain.
    Recipient,
    /// The sender or the infrastructure: our name and address, our rate, the network, the hosts of either side.
    Sender,
    /// What was sent.
    Content,
    /// Nobody said.
    Untold,
}

impl Axis {
    /// `recipient`, `sender`, `content` or `untold`.
    pub fn as_str(self) -> &'static str {
        match self {
            Axis::Recipient => "recipient",
            Axis::Sender => "sender",
            Axis::Content => "content",
            Axis::Untold => "untold",
        }
    }

    /// The same for people.
    pub fn sentence(self) -> &'static str {
        match self {
            Axis::Recipient => "about the recipient",
            Axis::Sender => "about the sender or the infrastructure",
            Axis::Content => "about the content",
            Axis::Untold => "nobody says about what",
        }
    }
}

/// Whether the same mail to the same recipient may be sent again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Retry {
    /// It would come back.
    No,
    /// In a while, as it is.
    Later,
    /// When what stands in our way has been put right.
    AfterRepair,
}

impl Retry {
    /// `no`, `later` or `after_repair`.
    pub fn as_str(self) -> &'static str {
        match self {
            Retry::No => "no",
            Retry::Later => "later",
            Retry::AfterRepair => "after_repair",
        }
    }

    /// The same for people.
    pub fn sentence(self) -> &'static str {
        match self {
            Retry::No => "the same mail would come back",
            Retry::Later => "the same mail may be sent later",
            Retry::AfterRepair => "the same mail may be sent when that is put right",
        }
    }
}

macro_rules! reasons {
    ($($(#[$doc:meta])* $name:ident, $word:literal, $class:ident, $axis:ident, $retry:ident, $suppress:expr, $category:literal, $sentence:literal;)*) => {
        /// Why a delivery failed, was deferred, or was not attempted.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub enum Reason { $($(#[$doc])* $name,)* }

        impl Reason {
            /// Every reason, in the order of the table.
            pub const ALL: &'static [Reason] = &[$(Reason::$name,)*];

            /// The words for them, in the same order.
            pub const WORDS: &'static [&'static str] = &[$($word,)*];

            /// The word for it, as stored and printed.
            pub const fn as_str(self) -> &'static str {
                match self { $(Reason::$name => $word,)* }
            }

            /// What it usually means for the address when the reply or report is permanent.
            pub const fn class(self) -> Class {
                match self { $(Reason::$name => Class::$class,)* }
            }

            /// What it is about.
            pub const fn axis(self) -> Axis {
                match self { $(Reason::$name => Axis::$axis,)* }
            }

            /// Whether the same mail has any chance at another time.
            pub const fn retry(self) -> Retry {
                match self { $(Reason::$name => Retry::$retry,)* }
            }

            /// When it suppresses the address.
            pub const fn suppress(self) -> Suppress {
                match self { $(Reason::$name => $suppress,)* }
            }

            /// ZeptoMail's log category.
            pub const fn category(self) -> &'static str {
                match self { $(Reason::$name => $category,)* }
            }

            /// A sentence for people.
            pub const fn sentence(self) -> &'static str {
                match self { $(Reason::$name => $sentence,)* }
            }
        }
    };
}

reasons! {
    /// No such mailbox.
    UserUnknown, "user_unknown", Hard, Recipient, No, Suppress::Unknown, "User not found", "Mailbox does not exist";
    /// The domain does not exist.
    DomainUnknown, "domain_unknown", Hard, Recipient, No, Suppress::Unknown, "Invalid DNS", "Domain does not exist";
    /// The domain takes no mail: null MX, 521, 556.
    NoMailHost, "no_mail_host", Hard, Recipient, No, Suppress::Unknown, "Invalid DNS", "Domain does not accept mail";
    /// The mailbox is disabled, inactive or locked.
    MailboxDisabled, "mailbox_disabled", Hard, Recipient, No, Suppress::Disabled, "User not found", "Mailbox is disabled";
    /// The mailbox has moved.
    MailboxMoved, "mailbox_moved", Hard, Recipient, No, Suppress::Unknown, "User not found", "Mailbox has moved";
    /// Over quota.
    MailboxFull, "mailbox_full", Soft, Recipient, Later, Suppress::Full, "Policy failure", "Mailbox is full";
    /// The message is larger than the receiver takes.
    MessageTooLarge, "message_too_large", Soft, Content, No, Suppress::Never, "Policy failure", "Message is too large for the recipient";
    /// The receiving system has no room.
    SystemFull, "system_full", Soft, Sender, Later, Suppress::Never, "Connection Issues", "Receiving system is full";
    /// Refused after the content, without a reason.
    RecipientFiltered, "recipient_filtered", Soft, Recipient, No, Suppress::Filtered, "Policy failure", "Message was filtered by the recipient's system";
    /// The sender's address was refused.
    SenderRejected, "sender_rejected", Soft, Sender, AfterRepair, Suppress::Never, "Policy failure", "Sender address was rejected";
    /// Our address is on a block list.
    IpBlocked, "ip_blocked", Soft, Sender, AfterRepair, Suppress::Never, "Policy failure", "Sending address is blocked";
    /// The reputation of our name or address is bad.
    BadReputation, "bad_reputation", Soft, Sender, AfterRepair, Suppress::Never, "Policy failure", "Sending reputation is too low";
    /// No matching reverse DNS.
    NoPtr, "no_ptr", Soft, Sender, AfterRepair, Suppress::Never, "Policy failure", "Sending address has no valid reverse DNS";
    /// SPF, DKIM, DMARC or ARC failed.
    AuthFailure, "auth_failure", Soft, Sender, AfterRepair, Suppress::Never, "Policy failure", "Message failed sender authentication";
    /// A rule of the receiver.
    Policy, "policy", Soft, Content, No, Suppress::Never, "Policy failure", "Message was rejected by policy";
    /// Taken for spam.
    Spam, "spam", Soft, Content, No, Suppress::Never, "Spam", "Message was flagged as spam";
    /// Taken for a virus.
    Virus, "virus", Soft, Content, No, Suppress::Never, "Spam", "Message was flagged as carrying a virus";
    /// The content was not acceptable.
    ContentError, "content_error", Soft, Content, No, Suppress::Never, "Policy failure", "Message content was not accepted";
    /// The message breaks a format rule.
    NotRfcCompliant, "not_rfc_compliant", Soft, Content, No, Suppress::Never, "Policy failure", "Message does not follow the mail standards";
    /// Other security refusal.
    Security, "security", Soft, Sender, AfterRepair, Suppress::Never, "Policy failure", "Message was refused for security reasons";
    /// TLS could not be had.
    TlsFailed, "tls_failed", Soft, Sender, Later, Suppress::Never, "Connection Issues", "Secure connection could not be made";
    /// The host does not serve the domain.
    RelayDenied, "relay_denied", Soft, Sender, No, Suppress::Filtered, "Connection Issues", "Receiving server does not relay for the domain";
    /// Too many, too fast.
    RateLimited, "rate_limited", Soft, Sender, Later, Suppress::Never, "Policy failure", "Receiving server limits the rate";
    /// Asked to come back later.
    Greylisted, "greylisted", Soft, Sender, Later, Suppress::Never, "Policy failure", "Receiving server asked to try again later";
    /// The network or DNS did not answer.
    NetworkError, "network_error", Soft, Sender, Later, Suppress::Filtered, "Connection Issues", "Receiving server could not be reached";
    /// Given up after the time limit.
    Expired, "expired", Soft, Sender, Later, Suppress::Filtered, "Connection Issues", "Delivery was given up after repeated attempts";
    /// The receiving system had a fault.
    SystemError, "system_error", Soft, Sender, Later, Suppress::Never, "Connection Issues", "Receiving server reported a fault";
    /// A mail program at the other side failed.
    MailerError, "mailer_error", Soft, Sender, Later, Suppress::Never, "Connection Issues", "Receiving mail program reported a fault";
    /// The dialogue broke a protocol rule.
    ProtocolError, "protocol_error", Soft, Sender, Later, Suppress::Never, "Connection Issues", "Mail protocol error";
    /// Mail goes round in a circle.
    RoutingLoop, "routing_loop", Soft, Sender, No, Suppress::Never, "Connection Issues", "Mail loops at the receiving side";
    /// On a suppression list.
    Suppressed, "suppressed", Soft, Recipient, No, Suppress::Never, "Policy failure", "Recipient is on the suppression list";
    /// Cancelled before it was sent.
    Cancelled, "cancelled", Soft, Untold, No, Suppress::Never, "Policy failure", "Message was cancelled";
    /// Could not be put into a form that can be sent.
    CannotRender, "cannot_render", Soft, Content, No, Suppress::Never, "Policy failure", "Message could not be prepared for sending";
    /// Marked as spam by the recipient.
    Complaint, "complaint", Undetermined, Recipient, No, Suppress::ForGood, "Spam", "Recipient marked the message as spam";
    /// Unsubscribed by the recipient.
    Unsubscribed, "unsubscribed", Undetermined, Recipient, No, Suppress::ForGood, "Policy failure", "Recipient unsubscribed";
    /// Put on a suppression list by a person.
    Manual, "manual", Undetermined, Recipient, No, Suppress::Never, "Policy failure", "Recipient was put on the suppression list by a person";
    /// An auto-reply; not a failure.
    Autoreply, "autoreply", Undetermined, Untold, No, Suppress::Never, "", "Automatic reply";
    /// The other side says nothing that helps.
    Unknown, "unknown", Undetermined, Untold, No, Suppress::Never, "Connection Issues", "Receiving server gave no reason";
}

impl fmt::Display for Reason {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(self.as_str())
    }
}

/// The word names no reason.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is not a reason; there are {words}", words = Reason::WORDS.join(", "))]
pub struct BadReason(pub String);

impl FromStr for Reason {
    type Err = BadReason;

    fn from_str(word: &str) -> Result<Self, BadReason> {
        Self::ALL.iter().copied().find(|reason| reason.as_str() == word).ok_or_else(|| BadReason(word.to_owned()))
    }
}

impl Serialize for Reason {
    fn serialize<S: serde::Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        to.serialize_str(self.as_str())
    }
}

impl<'de> Deserialize<'de> for Reason {
    fn deserialize<D: serde::Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        String::deserialize(from)?.parse().map_err(serde::de::Error::custom)
    }
}

/// What the other side said, judged: the reason, its class, and the words it used.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Cause {
    /// Why.
    pub reason: Reason,
    /// What it means for the address.
    pub class: Class,
    /// The SMTP reply code, 200–599, when there was one.
    pub code: Option<u16>,
    /// The enhanced status code (RFC 3463), when one was found: `5.1.1`.
    pub status: Option<String>,
    /// The other side's own words, escaped and at most 1,024 bytes.
    pub diagnostic: String,
    /// Which rule decided, for people who ask why.
    pub rule: String,
}

impl Cause {
    /// The sentence for people, where delivery goes on: what only took long has not been given up.
    pub fn why_not_yet(&self) -> &'static str {
        match self.reason {
            Reason::Expired => "Delivery takes longer than usual and is still being tried",
            reason => reason.sentence(),
        }
    }

    /// The other side said that it will be no different next time: a status or reply of 5yz.
    pub fn is_permanent(&self) -> bool {
        self.status.as_deref().is_some_and(|status| status.starts_with('5'))
            || self.code.is_some_and(|code| code >= 500)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_word_reads_back() {
        for reason in Reason::ALL {
            assert_eq!(reason.as_str().parse(), Ok(*reason));
        }
        assert!("nonsense".parse::<Reason>().is_err());
    }

    #[test]
    fn hard_reasons_are_about_the_recipient_and_are_not_tried_again() {
        for reason in Reason::ALL.iter().filter(|reason| reason.class() == Class::Hard) {
            assert_eq!((reason.axis(), reason.retry()), (Axis::Recipient, Retry::No), "{reason}");
        }
        assert_eq!((Reason::IpBlocked.axis(), Reason::IpBlocked.retry()), (Axis::Sender, Retry::AfterRepair));
        assert_eq!((Reason::MailboxFull.axis(), Reason::MailboxFull.retry()), (Axis::Recipient, Retry::Later));
        assert_eq!((Reason::Spam.axis().as_str(), Reason::Spam.retry().as_str()), ("content", "no"));
    }

    #[test]
    fn only_reasons_about_the_address_suppress_at_once() {
        for reason in Reason::ALL {
            let at_once = matches!(reason.suppress(), Suppress::Unknown | Suppress::Disabled);
            assert_eq!(at_once, reason.class() == Class::Hard, "{reason}");
        }
    }
}
