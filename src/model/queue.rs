//! What people do with the queue: which deliveries they mean, and why some wait.

use super::address::Address;
use super::id::{AgentId, MessageId, TenantId};
use super::reason::Reason;
use super::suppression::Scope;
use super::time::Timestamp;

/// Which queued deliveries are meant: those that pass every line of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct QueueFilter {
    /// Whose.
    pub scope: Scope,
    /// To which domain.
    pub domain: Option<String>,
    /// To which address.
    pub address: Option<Address>,
    /// Of which message.
    pub message: Option<MessageId>,
    /// Why they wait: the reason of their last attempt.
    pub reason: Option<Reason>,
    /// Accepted before this time.
    pub accepted_before: Option<Timestamp>,
    /// Held, or not.
    pub is_held: Option<bool>,
}

impl QueueFilter {
    /// All of one owner's.
    pub fn all_of(scope: Scope) -> Self {
        let (domain, address, message) = (None, None, None);
        Self { scope, domain, address, message, reason: None, accepted_before: None, is_held: None }
    }

    /// Whether it leaves anything of its owner's out that waits now: nothing was accepted later than that.
    pub fn is_narrow(&self, now: Timestamp) -> bool {
        let accepted_before = self.accepted_before.filter(|before| *before < now);
        Self { accepted_before, ..self.clone() } != Self::all_of(self.scope)
    }
}

/// Why a delivery waits beyond its own schedule, or does not.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Mark {
    /// It keeps to its schedule.
    #[default]
    None,
    /// Its destination takes no more at the moment.
    Room,
    /// Nobody answers at its destination, or nobody who would talk to us.
    Silence,
    /// It is paused.
    Paused,
    /// A person asked for it to be tried now, whatever is known about its destination. A pause holds it all the same.
    Asked,
}

impl Mark {
    /// Every mark.
    pub const ALL: [Mark; 5] = [Mark::None, Mark::Room, Mark::Silence, Mark::Paused, Mark::Asked];

    /// Its word, as stored; empty for none.
    pub const fn as_str(self) -> &'static str {
        match self {
            Mark::None => "",
            Mark::Room => "room",
            Mark::Silence => "silence",
            Mark::Paused => "paused",
            Mark::Asked => "asked",
        }
    }

    /// The mark with this word.
    pub fn from_word(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|mark| mark.as_str() == word)
    }
}

/// Mail that waits until a person resumes it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pause {
    /// Whose mail.
    pub scope: Scope,
    /// To which domain; `None`: to all.
    pub domain: Option<String>,
    /// What the person wrote beside it.
    pub note: String,
    /// Since when.
    pub created_at: Timestamp,
}

impl Pause {
    /// Whether it stops this tenant's agent's mail to this domain.
    pub fn stops(&self, tenant: TenantId, agent: AgentId, domain: &str) -> bool {
        let is_owner = match self.scope {
            Scope::Installation => true,
            Scope::Tenant(paused) => paused == tenant,
            Scope::Agent(_, paused) => paused == agent,
        };
        is_owner && self.domain.as_deref().is_none_or(|paused| paused == domain)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_filter_that_leaves_nothing_out_is_not_narrow() {
        let (now, second) = (Timestamp::from_millis(1_800_000_000_000), std::time::Duration::from_secs(1));
        let check = |accepted_before, is_held, expected: bool| {
            let all = QueueFilter::all_of(Scope::Installation);
            assert_eq!(QueueFilter { accepted_before, is_held, ..all }.is_narrow(now), expected, "{accepted_before:?}");
        };
        check(None, None, false);
        check(Some(now), None, false);
        check(Some(now + second), None, false);
        check(Some(now - second), None, true);
        check(Some(now), Some(false), true);
    }
}
