//! What a submitter wants to be told by mail about its mail (RFC 3461): the wishes, kept with a message.
//!
//! Whether wishes are granted is a setting of the mail agent. Who is told is the envelope sender, and never `<>`: a
//! report about a report would have no end.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::address::Address;

/// What a mail agent grants.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum DsnPolicy {
    /// Nobody is told by mail, whatever they ask.
    Never,
    /// Whoever asks with `NOTIFY` is told.
    #[default]
    Asked,
    /// Failures are told to whoever did not ask, too: RFC 3461 §4.1 leaves it to us.
    Failures,
}

/// Of what a submitter wants to hear for one recipient: `NOTIFY`. `NEVER` is none of them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Notify {
    /// The next hop took it.
    pub success: bool,
    /// It will not arrive.
    pub failure: bool,
    /// It takes long.
    pub delay: bool,
}

/// How much of the mail a report brings back: `RET`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Returned {
    /// Its header.
    #[default]
    Headers,
    /// All of it.
    Full,
}

/// What was said at one `RCPT`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Wish {
    /// `NOTIFY`.
    pub notify: Option<Notify>,
    /// `ORCPT`, decoded: `rfc822;reader@example.com`; empty for none. Printable ASCII.
    pub original: String,
}

/// What was said at `MAIL`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Wishes {
    /// `ENVID`, decoded; empty for none. Printable ASCII.
    pub envelope_id: String,
    /// `RET`.
    pub returned: Option<Returned>,
    /// What was said at each `RCPT`, by its place, where anything was.
    pub recipients: BTreeMap<u16, Wish>,
}

/// Who is to be told of what.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DsnRequest {
    /// The envelope sender.
    pub to: Address,
    /// What the submitter calls the envelope; empty for none.
    #[serde(default)]
    pub envelope_id: String,
    /// How much of the mail comes back.
    #[serde(default)]
    pub returned: Returned,
    /// Failures are told where nothing was said.
    #[serde(default)]
    pub unasked_failures: bool,
    /// What was said of recipients, by their place.
    #[serde(default)]
    pub recipients: BTreeMap<u16, Wish>,
}

/// What there is to tell.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Occasion {
    /// The next hop took the mail, and need not tell what becomes of it.
    Relayed,
    /// It is where it was to go.
    Arrived,
    /// It will not arrive.
    Failed,
    /// It takes long.
    Delayed,
}

impl DsnRequest {
    /// Whom `wishes` make us tell, under `policy`; `None` when nobody has to hear of anything.
    pub fn granted(policy: DsnPolicy, to: Option<&Address>, wishes: Wishes) -> Option<Self> {
        let unasked_failures = match policy {
            DsnPolicy::Never => return None,
            DsnPolicy::Asked => false,
            DsnPolicy::Failures => true,
        };
        let asked = wishes.recipients.values().any(|wish| wish.notify.is_some_and(|asked| asked != Notify::default()));
        let to = to.filter(|_| asked || unasked_failures)?.clone();
        let Wishes { envelope_id, returned, recipients } = wishes;
        Some(Self { to, envelope_id, returned: returned.unwrap_or_default(), unasked_failures, recipients })
    }

    /// Whether `occasion` is to be told for the recipient at this place.
    pub fn wants(&self, recipient: u16, occasion: Occasion) -> bool {
        match (self.recipients.get(&recipient).and_then(|wish| wish.notify), occasion) {
            (None, Occasion::Failed) => self.unasked_failures,
            (None, Occasion::Relayed | Occasion::Arrived | Occasion::Delayed) => false,
            (Some(notify), Occasion::Relayed | Occasion::Arrived) => notify.success,
            (Some(notify), Occasion::Failed) => notify.failure,
            (Some(notify), Occasion::Delayed) => notify.delay,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn wishes(notify: Option<Notify>) -> Wishes {
        let wish = Wish { notify, original: String::new() };
        Wishes { recipients: [(1, wish)].into(), ..Wishes::default() }
    }

    #[test]
    fn who_is_told_of_what() {
        let to: Address = "sender@example.com".parse().unwrap();
        let check = |policy, notify, expected: Option<[bool; 4]>| {
            let dsn = DsnRequest::granted(policy, Some(&to), wishes(notify));
            let told = dsn.map(|dsn| {
                let wants = |recipient, occasion| dsn.wants(recipient, occasion);
                let (relayed, failed, delayed) = (Occasion::Relayed, Occasion::Failed, Occasion::Delayed);
                [wants(1, relayed), wants(1, failed), wants(1, delayed), wants(0, failed)]
            });
            assert_eq!(told, expected, "{policy:?} {notify:?}");
        };
        let never = Notify::default();
        let all = Notify { success: true, failure: true, delay: true };
        let success = Notify { success: true, ..never };
        check(DsnPolicy::Never, Some(all), None);
        check(DsnPolicy::Asked, None, None);
        check(DsnPolicy::Asked, Some(never), None);
        check(DsnPolicy::Asked, Some(success), Some([true, false, false, false]));
        check(DsnPolicy::Failures, Some(success), Some([true, false, false, true]));
        check(DsnPolicy::Failures, Some(never), Some([false, false, false, true]));
        check(DsnPolicy::Failures, None, Some([false, true, false, true]));
        assert_eq!(DsnRequest::granted(DsnPolicy::Failures, None, wishes(Some(all))), None, "nobody is told at <>");
    }
}
