//! A signed-in person, by themselves and at one tenant: what they may do there, and how it is asked for.

use std::sync::Arc;

use hyper::Method;

use super::Fault;
use super::form::Form;
use super::page::{self, Frame, Notice, Section};
use super::session::Browser;
use crate::http::memory::{Owner, Share};
use crate::http::problem::Problem;
use crate::http::query::encoded;
use crate::http::{Server, mailtura};
use crate::model::id::{CredentialId, EventId, TenantId};
use crate::model::permission::CredentialSettings;
use crate::model::tenant::{CredentialKind, DEFAULT_AGENT, Grant, MailAgent, Tenant};
use crate::model::user::{AuditEntry, Deed, User};

/// Mail agents that are shown of one tenant.
pub(super) const AGENTS_MAX: u32 = 500;

/// Bytes of a mail agent's name where one is chosen.
const CHOICE_BYTES_MAX: usize = 60;

/// Somebody who is signed in.
pub(super) struct SignedIn<'s> {
    pub(super) server: &'s Server,
    pub(super) browser: &'s Browser,
    pub(super) user: User,
}

impl SignedIn<'_> {
    /// Around a page of no tenant: beside it stands the menu of the person's own one, or of the only one that there is.
    pub(super) async fn frame(&self, title: &str, section: Section, notice: Option<Notice>) -> Result<Frame, Fault> {
        let store = self.server.store();
        let home = match self.user.tenant {
            Some(own) => store.tenant_with_id(own).await?,
            None => <[Tenant; 1]>::try_from(store.tenants("", 2).await?).ok().map(|[one]| one),
        };
        let frame = Frame { notice, ..Frame::new(self, title, section) };
        let Some(home) = home else { return Ok(frame) };
        let has_inbox = has_inbox(self.server, &home).await?;
        Ok(Frame { tenant: Some((home.slug, home.name)), has_inbox, ..frame })
    }

    /// Writes to the audit log what the person has done, to a tenant or to what is nobody's.
    pub(super) async fn note_at(&self, tenant: Option<TenantId>, action: &str, object: &str) -> Result<(), Fault> {
        let at = self.server.clock().now();
        let id = EventId::from_uuid(self.server.ids().uuid(at));
        tracing::info!(user = self.user.email, action, object, "console");
        let entry = AuditEntry {
            at,
            actor: self.user.email.clone(),
            action: action.to_owned(),
            object: object.to_owned(),
            address: self.browser.address.to_string(),
            tenant,
        };
        Ok(self.server.store().audit(id, entry).await?)
    }

    /// Writes to the audit log what the person has done to their own account, where their owner finds it.
    pub(super) async fn note(&self, action: &str, object: &str) -> Result<(), Fault> {
        self.note_at(self.user.tenant, action, object).await
    }

    pub(super) fn may(&self, deed: Deed) -> Result<(), Fault> {
        if self.user.role.may(deed) { Ok(()) } else { Err(Fault::Forbidden) }
    }
}

/// A signed-in person at one tenant.
pub(super) struct Visit<'s> {
    pub(super) server: &'s Server,
    person: SignedIn<'s>,
    pub(super) tenant: Tenant,
    pub(super) query: Form,
    pub(super) form: Form,
    has_inbox: bool,
    /// Something is to be changed.
    is_change: bool,
    owner: Owner,
}

/// What a person asks for.
pub(super) struct Asked {
    pub(super) query: Form,
    /// What is to be changed, if anything is.
    pub(super) form: Option<Form>,
    /// Whose memory it takes.
    pub(super) owner: Owner,
}

pub(super) async fn visit<'s>(person: SignedIn<'s>, slug: &str, asked: Asked) -> Result<Visit<'s>, Fault> {
    let Asked { query, form, owner } = asked;
    let server = person.server;
    let tenant = server.store().tenant(slug).await?.ok_or(Fault::NotFound)?;
    if person.user.tenant.is_some_and(|own| own != tenant.id) {
        return Err(Fault::NotFound);
    }
    let has_inbox = has_inbox(server, &tenant).await?;
    let (is_change, form) = (form.is_some(), form.unwrap_or_default());
    Ok(Visit { has_inbox, is_change, owner, server, person, tenant, query, form })
}

/// Whether mail of the tenant stays where people can look at it.
async fn has_inbox(server: &Server, tenant: &Tenant) -> Result<bool, Fault> {
    let agents = server.store().agents(tenant.id, "", AGENTS_MAX).await?;
    Ok(server.house().is_capture || agents.iter().any(|agent| agent.settings.is_sandboxed))
}

impl Visit<'_> {
    /// The path of a page of this tenant.
    pub(super) fn path(&self, rest: &str) -> String {
        format!("/console/{}/{rest}", self.tenant.slug)
    }

    pub(super) fn may(&self, deed: Deed) -> Result<(), Fault> {
        self.person.may(deed)
    }

    /// Room in memory for so many bytes, for as long as what is returned is kept.
    pub(super) fn room(&self, bytes: u64) -> Result<Share, Fault> {
        Ok(self.server.room(self.owner, bytes)?)
    }

    /// Whether the person looks after the installation, and not after one tenant.
    pub(super) fn is_for_all(&self) -> bool {
        self.person.user.tenant.is_none()
    }

    pub(super) fn frame(&self, title: &str, section: Section, notice: Option<Notice>) -> Frame {
        let tenant = Some((self.tenant.slug.clone(), self.tenant.name.clone()));
        Frame {
            tenant,
            notice,
            has_inbox: self.has_inbox,
            is_change: self.is_change,
            ..Frame::new(&self.person, title, section)
        }
    }

    pub(super) async fn agents(&self) -> Result<Vec<MailAgent>, Fault> {
        Ok(self.server.store().agents(self.tenant.id, "", AGENTS_MAX).await?)
    }

    /// The tenant's mail agent with this key.
    pub(super) async fn agent(&self, key: &str) -> Result<MailAgent, Fault> {
        self.server.store().agent_with_key(self.tenant.id, key).await?.ok_or(Fault::NotFound)
    }

    /// Who makes what is made here.
    pub(super) fn author(&self) -> String {
        self.person.user.email.clone()
    }

    /// The right to ask as `agent` of this tenant.
    pub(super) async fn grant(&self, agent: &MailAgent) -> Result<Grant, Problem> {
        Ok(Grant {
            tenant: self.tenant.clone(),
            agent: agent.clone(),
            credential: CredentialId::from_bytes([0; 16]),
            digest: [0; 32],
            networks: Vec::new(),
            settings: CredentialSettings::default(),
            person: Some(self.author()),
            // Who looks after the installation asks with an operator's right.
            kind: match self.is_for_all() && self.may(Deed::Manage).is_ok() {
                true => CredentialKind::OperatorKey,
                false => CredentialKind::ApiKey,
            },
            domains: self.server.store().domains(agent.id).await?,
        })
    }

    /// Asks the API for something, as `agent` of this tenant.
    pub(super) async fn api(
        &self,
        agent: &MailAgent,
        method: Method,
        path: &str,
        body: &serde_json::Value,
    ) -> Result<serde_json::Value, Problem> {
        let body = if body.is_null() { Vec::new() } else { body.to_string().into_bytes() };
        self.api_with(agent, method, path, ("application/json", body)).await
    }

    /// Asks the API for something with a body of any kind, as `agent` of this tenant.
    pub(super) async fn api_with(
        &self,
        agent: &MailAgent,
        method: Method,
        path: &str,
        (content_type, body): (&str, Vec<u8>),
    ) -> Result<serde_json::Value, Problem> {
        let grant = Arc::new(self.grant(agent).await?);
        let answer = mailtura::call(self.server, &grant, &method, path, content_type, body).await?;
        page::json_of(answer).await
    }

    /// Asks the API for something of the whole tenant.
    pub(super) async fn api_of_tenant(
        &self,
        method: Method,
        path: &str,
        body: &serde_json::Value,
    ) -> Result<serde_json::Value, Problem> {
        let agents = self.server.store().agents(self.tenant.id, "", AGENTS_MAX).await?;
        let agent = main_agent(&agents).ok_or(Problem::NotFound("Mail agent"))?;
        self.api(agent, method, path, body).await
    }

    /// Changes settings of a mail agent.
    pub(super) async fn change_agent(&self, agent: &MailAgent, settings: serde_json::Value) -> Result<(), Problem> {
        let path = format!("/api/v1/agents/{}", encoded(&agent.name));
        self.api(agent, Method::PATCH, &path, &serde_json::json!({ "settings": settings })).await.map(drop)
    }

    /// Writes to the audit log what the person has done.
    pub(super) async fn note(&self, action: &str, object: &str) -> Result<(), Fault> {
        self.person.note_at(Some(self.tenant.id), action, object).await
    }
}

/// Key and name of agents to choose from, names cut to what a page has room for.
pub(super) fn choices(agents: Vec<MailAgent>) -> Vec<(String, String)> {
    agents.into_iter().map(|agent| (agent.key, page::cut(&agent.name, CHOICE_BYTES_MAX))).collect()
}

/// The agent that most pages mean when they name none.
pub(super) fn main_agent(agents: &[MailAgent]) -> Option<&MailAgent> {
    agents.iter().find(|agent| agent.name == DEFAULT_AGENT).or_else(|| agents.first())
}
