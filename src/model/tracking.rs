//! Hosts under which tracked links lead through us, and what leads nowhere any more.

use super::id::{AgentId, MessageId, TenantId};
use super::tenant::MailAgent;
use super::time::Timestamp;

/// A host under which the links of one sending domain lead through us.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TrackingHost {
    /// The host, lower case, with its port when that is not 443.
    pub host: String,
    /// Whose.
    pub tenant: TenantId,
    /// Whose, within the tenant.
    pub agent: AgentId,
    /// The sending domain: the host is below it.
    pub domain: String,
    /// What `/.well-known/apple-app-site-association` answers; empty for nothing.
    pub apple_links: String,
    /// What `/.well-known/assetlinks.json` answers; empty for nothing.
    pub android_links: String,
    /// When it was checked last.
    pub checked_at: Option<Timestamp>,
    /// What was wrong then; empty for nothing.
    pub fault: String,
    /// When it was added.
    pub created_at: Timestamp,
    /// Who added it; empty when that is not known.
    pub created_by: String,
}

impl TrackingHost {
    /// When a host was checked last that is to be checked at once; until then it stands as it stood.
    pub const DUE: Timestamp = Timestamp::from_millis(0);

    /// A host of this agent's, not checked yet, with no files for app links.
    pub fn new(host: String, agent: &MailAgent, domain: String, created_at: Timestamp) -> Self {
        Self {
            host,
            tenant: agent.tenant,
            agent: agent.id,
            domain,
            apple_links: String::new(),
            android_links: String::new(),
            checked_at: None,
            fault: String::new(),
            created_at,
            created_by: String::new(),
        }
    }

    /// Whether mail may be rewritten for it: its last check passed.
    pub fn is_ready(&self) -> bool {
        self.checked_at.is_some() && self.fault.is_empty()
    }

    /// The base of its URLs.
    pub fn base_url(&self) -> String {
        format!("https://{}", self.host)
    }
}

/// A host name, lower case, with an optional port, if `text` is one below `domain`.
pub fn host_below(text: &str, domain: &str) -> Option<String> {
    let text = text.trim().to_ascii_lowercase();
    let (name, port) = text.split_once(':').map_or((text.as_str(), None), |(name, port)| (name, Some(port)));
    let is_port = port.is_none_or(|port| port.parse::<u16>().is_ok_and(|port| port > 0));
    let name = super::address::domain_name(name).ok()?;
    let is_below = name.strip_suffix(domain).is_some_and(|rest| rest.len() > 1 && rest.ends_with('.'));
    (is_port && is_below).then(|| port.map_or(name.clone(), |port| format!("{name}:{port}")))
}

/// Links that lead nowhere any more: all of one message, all of one mail agent, or all to one host.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Block {
    /// The links of this message.
    Message(MessageId),
    /// The links of every message of this agent.
    Agent(AgentId),
    /// Links to this host, lower case, and to every host below it.
    Target(String),
}

impl Block {
    /// Kind and value, as stored.
    pub fn parts(&self) -> (&'static str, String) {
        match self {
            Block::Message(id) => ("message", id.to_string()),
            Block::Agent(id) => ("agent", id.to_string()),
            Block::Target(host) => ("target", host.clone()),
        }
    }

    /// The block that `kind` and `value` name.
    pub fn read(kind: &str, value: &str) -> Option<Self> {
        match kind {
            "message" => value.parse().ok().map(Block::Message),
            "agent" => value.parse().ok().map(Block::Agent),
            "target" => super::address::domain_name(value).ok().map(Block::Target),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tracking_hosts_are_below_the_sending_domain() {
        let check =
            |text: &str, host: Option<&str>| assert_eq!(host_below(text, "shop.example").as_deref(), host, "{text}");
        check("links.shop.example", Some("links.shop.example"));
        check(" Links.Shop.example:8443 ", Some("links.shop.example:8443"));
        check("a.b.shop.example", Some("a.b.shop.example"));
        for text in [
            "shop.example",
            "links.other.example",
            "links.myshop.example",
            ".shop.example",
            "x.shop.example:0",
            "x.shop.example:y",
            "",
            "https://x.shop.example",
        ] {
            check(text, None);
        }
    }

    #[test]
    fn blocks_survive_text() {
        for block in [
            Block::Message(MessageId::from_bytes([1; 16])),
            Block::Agent(AgentId::from_bytes([2; 16])),
            Block::Target("evil.example".into()),
        ] {
            let (kind, value) = block.parts();
            assert_eq!(Block::read(kind, &value), Some(block));
        }
        assert_eq!(Block::read("target", "no host"), None);
        assert_eq!(Block::read("x", "y"), None);
    }
}
