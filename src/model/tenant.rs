//! Tenants, their mail agents, and the credentials that speak for them.

use std::net::IpAddr;

use serde::{Deserialize, Serialize};

use super::address::Mailbox;
use super::author::Authors;
use super::dsn::DsnPolicy;
use super::id::{AgentId, CredentialId, TenantId};
use super::network::Network;
use super::permission::{CredentialSettings, Permission};
use super::time::Timestamp;

/// The name of the mail agent that each tenant has from the start.
pub const DEFAULT_AGENT: &str = "default";

/// Slugs that no tenant gets: the console has pages of its own where theirs would be.
pub const RESERVED_SLUGS: [&str; 6] = ["account", "join", "people", "sign-in", "sign-out", "static"];

/// Whether a text can be a new tenant's slug: lower-case letters, digits and hyphens between them, at most 63, and none of
/// [`RESERVED_SLUGS`].
pub fn is_slug(text: &str) -> bool {
    (1..=63).contains(&text.len())
        && !RESERVED_SLUGS.contains(&text)
        && !text.starts_with('-')
        && !text.ends_with('-')
        && text.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-')
}

/// A customer of the installation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tenant {
    /// Its id.
    pub id: TenantId,
    /// Its name in URLs and in `X-Tenant-ID`: lower-case letters, digits and hyphens, at most 63.
    pub slug: String,
    /// Its name for people.
    pub name: String,
    /// What may be set.
    pub settings: TenantSettings,
    /// When it was added.
    pub created_at: Timestamp,
    /// When it was changed last.
    pub updated_at: Timestamp,
    /// Who made it, and who changed it last.
    pub authors: Authors,
}

/// What may be set on a tenant. Kept as JSON; every field has a default, so that old rows stay readable.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct TenantSettings {
    /// Recipients a day (UTC); `None` for as many as come.
    pub daily_limit: Option<u64>,
    /// Requests a minute of its API keys together, beside what each may make; `None` for as many as come.
    pub rate_limit: Option<u32>,
}

/// How many recipients may be sent to on a day of UTC; `None` for as many as come.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct DailyLimits {
    /// By the tenant.
    pub tenant: Option<u64>,
    /// By its mail agent.
    pub agent: Option<u64>,
    /// By its mail agent, before there is a warning.
    pub warning: Option<u64>,
}

/// The unit of isolation inside a tenant.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MailAgent {
    /// Its id.
    pub id: AgentId,
    /// Its tenant.
    pub tenant: TenantId,
    /// `mailagent_key` of the payloads; unique in the installation.
    pub key: String,
    /// Its name, unique within the tenant.
    pub name: String,
    /// What may be set.
    pub settings: AgentSettings,
    /// When it was added.
    pub created_at: Timestamp,
    /// When it was changed last.
    pub updated_at: Option<Timestamp>,
    /// Who made it, and who changed it last.
    pub authors: Authors,
}

/// How much of a reader is kept.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Privacy {
    /// The whole address.
    #[default]
    Full,
    /// The address cut to /24 or /48.
    TruncatedAddress,
    /// Counts only; nothing about one reader.
    AggregateOnly,
}

/// Which links are rewritten.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Clicks {
    /// None.
    Off,
    /// All that may be.
    #[default]
    On,
    /// All but those that let their holder in: password resets, sign-in links.
    Auto,
}

impl From<bool> for Clicks {
    fn from(is_on: bool) -> Self {
        if is_on { Clicks::On } else { Clicks::Off }
    }
}

/// `false`, `true` or `"auto"`.
impl Serialize for Clicks {
    fn serialize<S: serde::Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        match self {
            Clicks::Off => to.serialize_bool(false),
            Clicks::On => to.serialize_bool(true),
            Clicks::Auto => to.serialize_str("auto"),
        }
    }
}

impl<'de> Deserialize<'de> for Clicks {
    fn deserialize<D: serde::Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        #[derive(Deserialize)]
        #[serde(untagged, expecting = "invalid type: true, false or \"auto\" is wanted")]
        enum Said {
            Flag(bool),
            Word(Auto),
        }
        #[derive(Deserialize)]
        #[serde(rename_all = "lowercase")]
        enum Auto {
            Auto,
        }
        Ok(match Said::deserialize(from)? {
            Said::Flag(is_on) => is_on.into(),
            Said::Word(Auto::Auto) => Clicks::Auto,
        })
    }
}

/// What may be set on a mail agent. Kept as JSON; every field has a default, so that old rows stay readable.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct AgentSettings {
    /// Add a pixel unless the message says otherwise.
    pub track_opens: bool,
    /// Rewrite links unless the message says otherwise.
    pub track_clicks: Clicks,
    /// Rewrite the links of plain text too, where links are rewritten. A changed address that readers see looks like
    /// phishing to some.
    pub track_text_links: bool,
    /// The pixel stands at the top of the body, not at its end.
    pub pixel_on_top: bool,
    /// Beside the pixel stands a link that no reader sees, and who follows it is a scanner. Some filters dislike hidden
    /// content.
    pub hidden_link: bool,
    /// Hosts whose links stay as they are, as apps that a link opens ask for; `*.example.com` is every host below.
    pub untracked_hosts: Vec<String>,
    /// How much of a reader is kept.
    pub privacy: Privacy,
    /// A hit is answered only when it is safe on the disk. Else the answer comes first, and what waits in memory is lost
    /// with the program.
    pub durable_hits: bool,
    /// The bounce address that payloads show; empty for none.
    pub bounce_address: String,
    /// The sender used when a submission names none.
    pub from: Option<Mailbox>,
    /// Give each mail a `List-Unsubscribe` of one click, unless it has one or says otherwise.
    pub list_unsubscribe: bool,
    /// How long its mail is tried, in minutes, from when it is first due; `None`: as long as the installation has it.
    pub lifetime_minutes: Option<u32>,
    /// Who is told by mail what became of mail (RFC 3461).
    pub dsn: DsnPolicy,
    /// Nothing of it leaves the machine: its mail is captured, to be looked at in the console's inbox.
    pub is_sandboxed: bool,
    /// Authentication key of TransMail webhooks that bring no secret of their own; empty for none.
    pub authentication_key: String,
    /// What it is for, in its owner's words.
    pub description: String,
    /// It sends nothing any more; only then it may be removed by ZeptoMail's API.
    pub is_shut_down: bool,
    /// Recipients a day (UTC); `None` for as many as come.
    pub daily_limit: Option<u64>,
    /// Recipients a day (UTC) after which there is a warning, once a day; `None` for never.
    pub daily_warning: Option<u64>,
    /// Addresses that hear of it by mail.
    pub notify: Vec<String>,
    /// From where its credentials may be used; empty for anywhere.
    pub networks: Vec<Network>,
    /// Addresses that bounces tell are gone, or their like, get no more of its mail for some time.
    pub auto_suppress: bool,
}

impl Default for AgentSettings {
    fn default() -> Self {
        Self {
            track_opens: true,
            track_clicks: Clicks::On,
            track_text_links: false,
            pixel_on_top: false,
            hidden_link: false,
            untracked_hosts: Vec::new(),
            privacy: Privacy::Full,
            durable_hits: false,
            bounce_address: String::new(),
            from: None,
            list_unsubscribe: false,
            lifetime_minutes: None,
            dsn: DsnPolicy::default(),
            is_sandboxed: false,
            authentication_key: String::new(),
            description: String::new(),
            is_shut_down: false,
            daily_limit: None,
            daily_warning: None,
            notify: Vec::new(),
            networks: Vec::new(),
            auto_suppress: true,
        }
    }
}

/// What a credential may be used for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CredentialKind {
    /// HTTP sends, SMTP sends as `emailapikey` or under its own name, and the management of its tenant.
    ApiKey,
    /// The same for every tenant that it names, and the management of tenants and their limits.
    OperatorKey,
    /// SMTP only.
    SmtpPassword,
}

impl CredentialKind {
    /// Every kind.
    pub const ALL: [CredentialKind; 3] =
        [CredentialKind::ApiKey, CredentialKind::OperatorKey, CredentialKind::SmtpPassword];

    /// Whether the HTTP APIs take it.
    pub const fn is_api_key(self) -> bool {
        matches!(self, CredentialKind::ApiKey | CredentialKind::OperatorKey)
    }

    /// `api_key`, `operator_key` or `smtp_password`.
    pub const fn as_str(self) -> &'static str {
        match self {
            CredentialKind::ApiKey => "api_key",
            CredentialKind::OperatorKey => "operator_key",
            CredentialKind::SmtpPassword => "smtp_password",
        }
    }
}

/// An API key or SMTP password. The secret itself is shown once; only its SHA-256 is kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Credential {
    /// Its id.
    pub id: CredentialId,
    /// Its tenant.
    pub tenant: TenantId,
    /// Its mail agent.
    pub agent: AgentId,
    /// What it may be used for.
    pub kind: CredentialKind,
    /// What people call it.
    pub name: String,
    /// SHA-256 of the secret.
    pub digest: [u8; 32],
    /// From where it may be used; empty for anywhere.
    pub networks: Vec<Network>,
    /// What may be set.
    pub settings: CredentialSettings,
    /// When it was made.
    pub created_at: Timestamp,
    /// Who made it; empty when that is not known.
    pub created_by: String,
}

impl Credential {
    /// The same, made with another: good from where that one is, for what, as fast and for as long as that one is, and no
    /// more.
    pub fn bound_as(self, asking: &Grant) -> Self {
        let settings = self.settings.bound_as(&asking.settings);
        Self { networks: asking.networks.clone(), settings, ..self }
    }
}

/// Whom a credential speaks for, with all that judging a submission needs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Grant {
    /// The tenant.
    pub tenant: Tenant,
    /// The mail agent that the credential belongs to.
    pub agent: MailAgent,
    /// The credential.
    pub credential: CredentialId,
    /// SHA-256 of its secret, by which the grant is looked up again.
    pub digest: [u8; 32],
    /// What the credential may be used for.
    pub kind: CredentialKind,
    /// From where it may be used; empty for anywhere.
    pub networks: Vec<Network>,
    /// What is set on the credential.
    pub settings: CredentialSettings,
    /// The person at the console who asks, by address; `None` when a key does.
    pub person: Option<String>,
    /// Domains that the agent may send from, lower-case A-labels. Empty while none has been added: then any domain
    /// passes in capture mode and none elsewhere.
    pub domains: Vec<String>,
}

impl Grant {
    /// What the house itself may do in the name of a mail agent: all that the agent may, without a credential.
    pub fn of_house(tenant: Tenant, agent: MailAgent, domains: Vec<String>) -> Self {
        Self {
            tenant,
            agent,
            credential: CredentialId::from_bytes([0; 16]),
            digest: [0; 32],
            kind: CredentialKind::ApiKey,
            networks: Vec::new(),
            settings: CredentialSettings::default(),
            person: None,
            domains,
        }
    }

    /// Who sends when nobody says: the agent's own sender, else `postback` at its first domain, else at `hostname`.
    pub fn usual_sender(&self, hostname: &str) -> Mailbox {
        let made = || Mailbox::bare(format!("postback@{}", self.domains.first().map_or(hostname, String::as_str)));
        self.agent.settings.from.clone().unwrap_or_else(made)
    }

    /// Whether the credential, and its mail agent, may be used from there.
    pub fn admits(&self, peer: IpAddr) -> bool {
        let lists = [&self.networks, &self.agent.settings.networks];
        lists.into_iter().all(|list| list.is_empty() || list.iter().any(|network| network.has(peer)))
    }

    /// Who asks, as is remembered of what they make: a person's address, or the key's id.
    pub fn author(&self) -> String {
        self.person.clone().unwrap_or_else(|| self.credential.to_string())
    }

    /// The authors of what they make now.
    pub fn authors(&self) -> Authors {
        Authors::new(self.author())
    }

    /// Whether the credential may do this.
    pub fn may(&self, wanted: Permission) -> bool {
        self.settings.may(wanted)
    }

    /// How much may be sent a day under this grant.
    pub fn limits(&self) -> DailyLimits {
        let agent = &self.agent.settings;
        DailyLimits { tenant: self.tenant.settings.daily_limit, agent: agent.daily_limit, warning: agent.daily_warning }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slugs() {
        for slug in ["acme", "a", "7-up", "signin", "people-1", &"x".repeat(63)] {
            assert!(is_slug(slug), "{slug}");
        }
        for slug in ["", "-a", "a-", "Acme", "a_b", "a.b", "people", "sign-in", "static", &"x".repeat(64)] {
            assert!(!is_slug(slug), "{slug}");
        }
    }
}
