//! A domain that a tenant says it sends from, and how it shows that it may.

use sha2::{Digest, Sha256};

use super::id::{AgentId, TenantId};
use super::time::Timestamp;

/// Below which name of a domain its proof stands.
pub const PROOF_LABEL: &str = "_postback";

/// A domain of a tenant.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClaimedDomain {
    /// Whose.
    pub tenant: TenantId,
    /// The domain, lower-case A-labels.
    pub name: String,
    /// What stands before it in the name of its return path; empty for none.
    pub bounce_prefix: String,
    /// The mail agents that may send from it, or will once it is verified.
    pub agents: Vec<AgentId>,
    /// Since when.
    pub created_at: Timestamp,
    /// Who claimed it first; empty when that is not known.
    pub created_by: String,
    /// When it was shown to be the tenant's.
    pub verified_at: Option<Timestamp>,
    /// By whom, where that is known. `Capture` without a time: it was believed then, and is not any more.
    pub verified_by: Option<Verifier>,
}

/// What shows that a domain is a tenant's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verifier {
    /// Its TXT record.
    Dns,
    /// The word of an operator.
    Operator,
    /// Nothing: in capture mode, where nothing leaves the machine, whoever says so is believed. It counts there alone.
    Capture,
}

impl Verifier {
    /// Its word, as stored and told.
    pub const fn as_str(self) -> &'static str {
        match self {
            Verifier::Dns => "dns",
            Verifier::Operator => "operator",
            Verifier::Capture => "capture",
        }
    }

    /// The one with this word.
    pub fn from_word(word: &str) -> Option<Self> {
        [Verifier::Dns, Verifier::Operator, Verifier::Capture].into_iter().find(|verifier| verifier.as_str() == word)
    }
}

impl ClaimedDomain {
    /// Its name in URLs: sixteen hexadecimal digits, another for each tenant.
    pub fn key(&self) -> String {
        let digest = Sha256::digest([self.tenant.as_bytes().as_slice(), self.name.as_bytes()].concat());
        digest.iter().take(8).map(|byte| format!("{byte:02x}")).collect()
    }

    /// The TXT record that shows that the domain is this tenant's: its name and its value.
    pub fn proof(&self) -> (String, String) {
        (format!("{PROOF_LABEL}.{}", self.name), format!("postback-domain={}", self.key()))
    }

    /// The host of its return path; empty without a prefix.
    pub fn bounce_host(&self) -> String {
        match self.bounce_prefix.as_str() {
            "" => String::new(),
            prefix => format!("{prefix}.{}", self.name),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn two_tenants_prove_the_same_domain_differently() {
        let claim = |tenant| ClaimedDomain {
            tenant: TenantId::from_bytes([tenant; 16]),
            name: "acme.example".into(),
            bounce_prefix: "bounce".into(),
            agents: vec![],
            created_at: Timestamp::from_millis(0),
            created_by: String::new(),
            verified_at: None,
            verified_by: None,
        };
        let (host, value) = claim(1).proof();
        assert_eq!((host.as_str(), value.len()), ("_postback.acme.example", "postback-domain=".len() + 16));
        assert_ne!(value, claim(2).proof().1);
        assert_eq!(claim(1).bounce_host(), "bounce.acme.example");
    }
}
