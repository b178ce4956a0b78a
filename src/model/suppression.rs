//! Addresses and domains that we must not send to, who says so, and why.
//!
//! A suppression holds for one mail agent, for a tenant, or for the installation; it names an address or a domain with
//! all below it. Addresses are compared exactly, but for the case of letters: dots and plus tags are part of a name.

use std::fmt;
use std::str::FromStr;

use super::address::{Address, BadAddress, domain_name};
use super::delivery::Delivery;
use super::id::{AgentId, TenantId};
use super::reason::{Cause, Class, Reason};
use super::time::Timestamp;

pub mod csv;

/// Labels of a domain, counted from its end, that a suppression may name.
const LABELS_MAX: usize = 8;

/// Whose list a suppression stands on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Scope {
    /// Everybody's.
    Installation,
    /// One tenant's, all agents.
    Tenant(TenantId),
    /// One mail agent's.
    Agent(TenantId, AgentId),
}

impl Scope {
    /// Its word: `installation`, `tenant` or `agent`.
    pub const fn as_str(self) -> &'static str {
        match self {
            Scope::Installation => "installation",
            Scope::Tenant(_) => "tenant",
            Scope::Agent(..) => "agent",
        }
    }

    /// The tenant, unless it is everybody's.
    pub const fn tenant(self) -> Option<TenantId> {
        match self {
            Scope::Installation => None,
            Scope::Tenant(tenant) | Scope::Agent(tenant, _) => Some(tenant),
        }
    }

    /// The mail agent, if it is one's.
    pub const fn agent(self) -> Option<AgentId> {
        match self {
            Scope::Installation | Scope::Tenant(_) => None,
            Scope::Agent(_, agent) => Some(agent),
        }
    }
}

/// What a suppression is of: an address, or a domain and all below it; folded to lower case.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Target(String);

impl Target {
    /// The address itself.
    pub fn of(address: &Address) -> Self {
        Self(address.folded())
    }

    /// Its text, as it is kept and shown.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// `address` or `domain`.
    pub fn kind(&self) -> &'static str {
        if self.0.contains('@') { "address" } else { "domain" }
    }

    /// Everything that would suppress `address`, the nearest first: itself, its domain, the domains above that.
    pub fn covering(address: &Address) -> impl Iterator<Item = Target> + use<> {
        let domain = address.domain();
        let dots = domain.match_indices('.').map(|(dot, _)| dot + 1);
        let starts: Vec<usize> = std::iter::once(0).chain(dots).collect();
        // The last label alone is nobody's.
        let domains = starts[..starts.len() - 1].iter().rev().take(LABELS_MAX).rev();
        let domains: Vec<Target> = domains.map(|start| Target(domain[*start..].to_owned())).collect();
        std::iter::once(Self::of(address)).chain(domains)
    }
}

impl FromStr for Target {
    type Err = BadAddress;

    /// An address, or a domain with or without an `@` before it.
    fn from_str(text: &str) -> Result<Self, BadAddress> {
        match text.trim().rsplit_once('@') {
            Some(("", domain)) => domain_name(domain).map(Self),
            None => domain_name(text.trim()).map(Self),
            Some(_) => text.trim().parse().map(|address| Self::of(&address)),
        }
    }
}

impl fmt::Display for Target {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(&self.0)
    }
}

impl fmt::Debug for Target {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.0, out)
    }
}

/// What a suppression does to mail, from the mildest.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Action {
    /// It goes out, without pixel and tracked links.
    SuppressTracking,
    /// It does not go to this recipient; the others get it.
    #[default]
    Suppress,
    /// It goes to nobody.
    Reject,
}

impl Action {
    /// Every action.
    pub const ALL: [Action; 3] = [Action::SuppressTracking, Action::Suppress, Action::Reject];

    /// Its word, as ZeptoMail has it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Action::SuppressTracking => "suppress_tracking",
            Action::Suppress => "suppress",
            Action::Reject => "reject",
        }
    }

    /// Whether it can be meant for this: tracking is left out of mail to one address, never to a whole domain.
    pub fn is_for(self, target: &Target) -> bool {
        self != Action::SuppressTracking || target.kind() == "address"
    }
}

/// The word names no action.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is neither reject, suppress nor suppress_tracking")]
pub struct BadAction(pub String);

impl FromStr for Action {
    type Err = BadAction;

    fn from_str(word: &str) -> Result<Self, BadAction> {
        Self::ALL.into_iter().find(|action| action.as_str() == word).ok_or_else(|| BadAction(word.to_owned()))
    }
}

/// What stands on a list and covers an address.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Found {
    /// The address, or a domain that it is of.
    pub target: Target,
    /// Whose list, by its word.
    pub scope: &'static str,
    /// What it does to mail.
    pub action: Action,
    /// Why.
    pub reason: Reason,
}

impl Found {
    /// Why mail to `address` is not attempted, as events tell it.
    pub fn diagnostic(&self, address: &Address) -> String {
        let Found { target, scope, reason, .. } = self;
        let what = if *target == Target::of(address) { "the address".to_owned() } else { target.to_string() };
        format!("{what} is suppressed by the {scope}: {}", reason.sentence())
    }
}

/// The cause of what is not attempted because of a suppression, which says why for people.
pub fn cause(diagnostic: String) -> Cause {
    Cause {
        reason: Reason::Suppressed,
        class: Class::Undetermined,
        code: None,
        status: None,
        diagnostic,
        rule: "suppression list".into(),
    }
}

/// An address or domain that is left alone.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Suppression {
    /// Whose list.
    pub scope: Scope,
    /// The address or domain.
    pub target: Target,
    /// What it does to mail.
    pub action: Action,
    /// Why.
    pub reason: Reason,
    /// What a person wrote beside it; empty for none.
    pub note: String,
    /// Since when.
    pub created_at: Timestamp,
    /// Who put it there; empty when no person did, or that is not known.
    pub created_by: String,
    /// Until when; `None` until a person removes it.
    pub expires_at: Option<Timestamp>,
}

impl Suppression {
    /// The form of an address under which suppressions are kept.
    pub fn key(address: &Address) -> String {
        address.folded()
    }

    /// Of a delivery's recipient, until a person removes it.
    pub fn for_good(delivery: &Delivery, reason: Reason, now: Timestamp) -> Self {
        Self {
            scope: Scope::Agent(delivery.tenant, delivery.agent),
            target: Target::of(&delivery.address),
            action: Action::Suppress,
            reason,
            note: String::new(),
            created_at: now,
            created_by: String::new(),
            expires_at: None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_covered_by_itself_and_its_domains() {
        let check = |address: &str, expected: &[&str]| {
            let covering = Target::covering(&address.parse().unwrap());
            assert_eq!(covering.map(|target| target.to_string()).collect::<Vec<_>>(), expected);
        };
        check("Ann+News@Mail.Example.com", &["ann+news@mail.example.com", "mail.example.com", "example.com"]);
        check("a.n.n@example.com", &["a.n.n@example.com", "example.com"]);
        let deep = format!("a@{}example.com", "x.".repeat(40));
        assert_eq!(Target::covering(&deep.parse().unwrap()).count(), 1 + LABELS_MAX);
    }

    #[test]
    fn targets_are_addresses_or_domains() {
        let check = |text: &str, expected: Option<(&str, &str)>| {
            let target = text.parse::<Target>().ok();
            assert_eq!(target.as_ref().map(|target| (target.as_str(), target.kind())), expected, "{text}");
        };
        check(" Ann@Example.com ", Some(("ann@example.com", "address")));
        check("Example.COM", Some(("example.com", "domain")));
        check("@example.com", Some(("example.com", "domain")));
        check("bücher.example", Some(("xn--bcher-kva.example", "domain")));
        for nothing in ["", "@", "com", "a b@example.com", "ann@", "example..com"] {
            check(nothing, None);
        }
    }

    #[test]
    fn the_hardest_action_is_the_greatest() {
        assert_eq!(Action::ALL.into_iter().max(), Some(Action::Reject));
        assert!(Action::ALL.into_iter().all(|action| action.as_str().parse() == Ok(action)));
    }
}
