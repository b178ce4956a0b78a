//! A signed-in person at one tenant: what they may do there, and how it is asked for.

use std::sync::Arc;

use hyper::Method;

use super::form::Form;
use super::page::{self, Frame, Notice, Section};
use super::{Fault, session};
use crate::http::memory::{Owner, Share};
use crate::http::problem::Problem;
use crate::http::query::encoded;
use crate::http::{Server, mailtura};
use crate::model::id::{CredentialId, EventId};
use crate::model::tenant::{CredentialKind, DEFAULT_AGENT, Grant, MailAgent, Tenant};
use crate::model::user::{AuditEntry, Deed, User};

/// Mail agents that are shown of one tenant.
pub(super) const AGENTS_MAX: u32 = 500;

/// A signed-in person at one tenant.
pub(super) struct Visit<'s> {
    pub(super) server: &'s Server,
    pub(super) user: User,
    pub(super) tenant: Tenant,
    pub(super) address: String,
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

pub(super) async fn visit<'s>(
    server: &'s Server,
    browser: &session::Browser,
    user: User,
    slug: &str,
    asked: Asked,
) -> Result<Visit<'s>, Fault> {
    let Asked { query, form, owner } = asked;
    let tenant = server.store().tenant(slug).await?.ok_or(Fault::NotFound)?;
    if user.tenant.is_some_and(|own| own != tenant.id) {
        return Err(Fault::NotFound);
    }
    let agents = server.store().agents(tenant.id, "", AGENTS_MAX).await?;
    let has_inbox = server.house().is_capture || agents.iter().any(|agent| agent.settings.is_sandboxed);
    let (is_change, form) = (form.is_some(), form.unwrap_or_default());
    Ok(Visit { has_inbox, is_change, owner, server, user, tenant, address: browser.address.to_string(), query, form })
}

impl Visit<'_> {
    /// The path of a page of this tenant.
    pub(super) fn path(&self, rest: &str) -> String {
        format!("/console/{}/{rest}", self.tenant.slug)
    }

    pub(super) fn may(&self, deed: Deed) -> Result<(), Fault> {
        if self.user.role.may(deed) { Ok(()) } else { Err(Fault::Forbidden) }
    }

    /// Room in memory for so many bytes, for as long as what is returned is kept.
    pub(super) fn room(&self, bytes: u64) -> Result<Share, Fault> {
        Ok(self.server.room(self.owner, bytes)?)
    }

    /// Whether the person looks after the installation, and not after one tenant.
    pub(super) fn is_for_all(&self) -> bool {
        self.user.tenant.is_none()
    }

    pub(super) fn frame(&self, title: &str, section: Section, notice: Option<Notice>) -> Frame {
        let tenant = Some((self.tenant.slug.clone(), self.tenant.name.clone()));
        Frame {
            tenant,
            notice,
            has_inbox: self.has_inbox,
            is_change: self.is_change,
            ..Frame::new(self.server, &self.user, title, section)
        }
    }

    pub(super) async fn agents(&self) -> Result<Vec<MailAgent>, Fault> {
        Ok(self.server.store().agents(self.tenant.id, "", AGENTS_MAX).await?)
    }

    /// The tenant's mail agent with this key.
    pub(super) async fn agent(&self, key: &str) -> Result<MailAgent, Fault> {
        self.server.store().agent_with_key(self.tenant.id, key).await?.ok_or(Fault::NotFound)
    }

    /// The right to ask as `agent` of this tenant.
    pub(super) async fn grant(&self, agent: &MailAgent) -> Result<Grant, Problem> {
        Ok(Grant {
            tenant: self.tenant.clone(),
            agent: agent.clone(),
            credential: CredentialId::from_bytes([0; 16]),
            digest: [0; 32],
            networks: Vec::new(),
            // Who looks after the installation asks with an operator's right.
            kind: match self.is_for_all() && self.user.role.may(Deed::Manage) {
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
        let grant = Arc::new(self.grant(agent).await?);
        let body = if body.is_null() { Vec::new() } else { body.to_string().into_bytes() };
        let answer = mailtura::call(self.server, &grant, &method, path, body).await?;
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
        note(self.server, &self.user, &self.address, Some(&self.tenant), action, object).await
    }
}

/// Writes to the audit log what a person has done.
pub(super) async fn note(
    server: &Server,
    user: &User,
    address: &str,
    tenant: Option<&Tenant>,
    action: &str,
    object: &str,
) -> Result<(), Fault> {
    let at = server.clock().now();
    let id = EventId::from_uuid(server.ids().uuid(at));
    tracing::info!(user = user.email, action, object, "console");
    let entry = AuditEntry {
        at,
        actor: user.email.clone(),
        action: action.to_owned(),
        object: object.to_owned(),
        address: address.to_owned(),
        tenant: tenant.map(|tenant| tenant.id),
    };
    Ok(server.store().audit(id, entry).await?)
}

/// The agent that most pages mean when they name none.
pub(super) fn main_agent(agents: &[MailAgent]) -> Option<&MailAgent> {
    agents.iter().find(|agent| agent.name == DEFAULT_AGENT).or_else(|| agents.first())
}
