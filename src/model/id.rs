//! The names of things: sixteen bytes each, written with a prefix that says what they name.
//!
//! Only the types are here; `ids.rs` draws them. Ids are UUIDv7, so they sort by time and a message's age can be read
//! from its id without a database. They are not secrets and never stand in for a credential.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer};
use uuid::Uuid;

/// The text was not an id of the wanted kind.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("expected an id that begins with {prefix:?} and has 32 hexadecimal digits")]
pub struct BadId {
    /// The prefix that the id should have had.
    pub prefix: &'static str,
}

macro_rules! id {
    ($(#[$doc:meta])* $name:ident, $prefix:literal) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(Uuid);

        impl $name {
            /// What its text begins with.
            pub const PREFIX: &'static str = $prefix;

            /// The id with these bytes.
            pub const fn from_uuid(uuid: Uuid) -> Self {
                Self(uuid)
            }

            /// The id with these bytes, as the store keeps them.
            pub const fn from_bytes(bytes: [u8; 16]) -> Self {
                Self(Uuid::from_bytes(bytes))
            }

            /// What sorts before every id drawn at this time or later, and after every earlier one.
            pub fn first_at(time: super::time::Timestamp) -> Self {
                let [_, _, millis @ ..] = time.as_millis().max(0).to_be_bytes();
                let mut bytes = [0; 16];
                bytes[..6].copy_from_slice(&millis);
                Self::from_bytes(bytes)
            }

            /// The sixteen bytes.
            pub const fn as_bytes(&self) -> &[u8; 16] {
                self.0.as_bytes()
            }

            /// The UUID itself.
            pub const fn uuid(&self) -> Uuid {
                self.0
            }

            /// When the id was drawn, in milliseconds since the epoch: the first 48 bits of a UUIDv7 (RFC 9562 §5.7).
            pub fn drawn_at(&self) -> super::time::Timestamp {
                let bytes = self.as_bytes();
                let millis = bytes[..6].iter().fold(0i64, |sum, byte| (sum << 8) | i64::from(*byte));
                super::time::Timestamp::from_millis(millis)
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(out, concat!($prefix, "{}"), self.0.simple())
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Display::fmt(self, out)
            }
        }

        impl FromStr for $name {
            type Err = BadId;

            fn from_str(text: &str) -> Result<Self, BadId> {
                text.strip_prefix($prefix)
                    .filter(|digits| digits.len() == 32)
                    .and_then(|digits| Uuid::try_parse(digits).ok())
                    .map(Self)
                    .ok_or(BadId { prefix: $prefix })
            }
        }

        impl Serialize for $name {
            fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
                to.collect_str(self)
            }
        }

        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
                String::deserialize(from)?.parse().map_err(serde::de::Error::custom)
            }
        }
    };
}

id!(
    /// A customer of the installation.
    TenantId, "tn_"
);
id!(
    /// A mail agent of a tenant.
    AgentId, "agt_"
);
id!(
    /// An API key or SMTP password.
    CredentialId, "key_"
);
id!(
    /// One accepted submission.
    MessageId, "msg_"
);
id!(
    /// Something that happened to a delivery.
    EventId, "evt_"
);
id!(
    /// A report that came home.
    ReportId, "rpt_"
);
id!(
    /// A subscription to events.
    WebhookId, "wh_"
);
id!(
    /// A mail that is kept ready.
    TemplateId, "tpl_"
);
id!(
    /// A file that is kept ready to be attached.
    FileId, "file_"
);
id!(
    /// A person who signs in to the console.
    UserId, "usr_"
);
id!(
    /// Events being told again to a webhook.
    ReplayId, "rpl_"
);

/// One recipient's copy of a message: the message, and the recipient's place in its envelope, counted from 0.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct DeliveryId {
    /// The message delivered.
    pub message: MessageId,
    /// Which recipient of the envelope.
    pub recipient: u16,
}

impl DeliveryId {
    const PREFIX: &'static str = "dlv_";
}

impl fmt::Display for DeliveryId {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "dlv_{}_{}", self.message.uuid().simple(), self.recipient)
    }
}

impl fmt::Debug for DeliveryId {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, out)
    }
}

impl FromStr for DeliveryId {
    type Err = BadId;

    fn from_str(text: &str) -> Result<Self, BadId> {
        let bad = BadId { prefix: Self::PREFIX };
        let (message, recipient) =
            text.strip_prefix(Self::PREFIX).and_then(|rest| rest.split_once('_')).ok_or_else(|| bad.clone())?;
        Ok(Self {
            message: format!("{}{message}", MessageId::PREFIX).parse().map_err(|_| bad.clone())?,
            recipient: recipient.parse().map_err(|_| bad)?,
        })
    }
}

impl Serialize for DeliveryId {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        to.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for DeliveryId {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        String::deserialize(from)?.parse().map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_survive_text_and_refuse_each_other() {
        let id = MessageId::from_uuid(Uuid::from_u128(7));
        assert_eq!(id.to_string().parse(), Ok(id));
        assert_eq!(id.to_string().parse::<EventId>(), Err(BadId { prefix: "evt_" }));
        assert!("msg_7".parse::<MessageId>().is_err());
        let delivery = DeliveryId { message: id, recipient: 65_535 };
        assert_eq!(delivery.to_string().parse(), Ok(delivery));
        assert!("dlv_00_1".parse::<DeliveryId>().is_err());
    }
}
