//! `/api/v1/tenants`: customers of this installation.
//!
//! An operator's key may do everything here; any other sees its own tenant, and may change its name and sender. Each
//! tenant begins with a mail agent `default`, whose sender is the tenant's.

use hyper::StatusCode;

use super::super::json_answer;
use super::super::operation::Call;
use super::super::problem::Problem;
use super::super::query;
use super::super::server::Answer;
use super::super::shape::{self, Change, Count, Domain, Email, Line, Nullable, Text, When, answer, request};
use super::super::wire::{Flaw, Wrong};
use super::{made, no_content};
use crate::intake::provision;
use crate::model::address::Mailbox;
use crate::model::tenant::{self, AgentSettings, CredentialKind, DEFAULT_AGENT, Grant, MailAgent, is_slug};

/// Recipients a day that a limit can allow.
pub(super) const DAILY_LIMIT_MAX: u64 = 1_000_000_000;

request! {
    /// A new customer.
    pub(super) struct NewTenant {
        /// Its name. `id` is made of it unless given: lower-case letters, digits, hyphens between them.
        name "name": Line<1, 100>,
        /// What `X-Tenant-ID` and paths call it.
        id "id": Option<Text<1, 63>>,
        /// A domain that it may send from.
        domain "domain": Option<Domain>,
        /// Its settings.
        settings "settings": Option<TenantChanges>,
    }

    /// What to change of a tenant's settings; null takes a setting back.
    pub(super) struct TenantChanges {
        /// From which address mail is sent that names none.
        from_email "fromEmail": Change<Email>,
        /// The name with that address.
        from_name "fromName": Change<Line<0, 250>>,
        /// Recipients a day (UTC). Only an operator's key may set it.
        daily_limit "dailyLimit": Change<Count<0, DAILY_LIMIT_MAX>>,
        /// Requests a minute of its API keys together. Only an operator's key may set it.
        rate_limit "rateLimit": Change<Count<1, 1_000_000>>,
    }

    /// What to change of a tenant.
    pub(super) struct TenantChange {
        /// Its name.
        name "name": Option<Line<1, 100>>,
        /// Its settings.
        settings "settings": Option<TenantChanges>,
    }
}

answer! {
    /// A customer of this installation.
    pub(super) struct Tenant {
        /// What `X-Tenant-ID` and paths call it.
        id "id": String,
        /// Its name.
        name "name": String,
        /// The first of the domains that its mail agent `default` may send from.
        domain "domain": Nullable<String>,
        /// Its settings.
        settings "settings": TenantSettings,
        /// When it was added.
        created_at "createdAt": When,
        /// Who made it: a person's address, or the id of a key; null when that is not known.
        created_by "createdBy": Nullable<String>,
        /// When it was changed last.
        updated_at "updatedAt": When,
        /// Who changed it last; null when nobody has, or that is not known.
        updated_by "updatedBy": Nullable<String>,
    }

    /// A tenant's settings.
    pub(super) struct TenantSettings {
        /// From which address mail is sent that names none.
        from_email "fromEmail": Nullable<String>,
        /// The name with that address.
        from_name "fromName": Nullable<String>,
        /// Recipients a day (UTC); null for as many as come.
        daily_limit "dailyLimit": Nullable<u64>,
        /// Requests a minute of its API keys together; null for as many as come.
        rate_limit "rateLimit": Nullable<u32>,
    }
}

/// `GET /api/v1/tenants`.
pub(super) async fn list(call: Call) -> Result<Answer, Problem> {
    let limit = call.query.limit()?;
    let tenants = match call.grant.kind {
        CredentialKind::OperatorKey => {
            call.server.store().tenants(call.query.text("after").unwrap_or_default(), limit + 1).await?
        }
        CredentialKind::ApiKey | CredentialKind::SmtpPassword => {
            call.server.store().tenant(&call.grant.tenant.slug).await?.into_iter().collect()
        }
    };
    let mut shown = Vec::with_capacity(tenants.len());
    for tenant in tenants {
        shown.push(view(&call, tenant).await?);
    }
    query::page(("/api/v1/tenants", &call.query), shown, |tenant| tenant.id.clone(), |tenant| tenant)
}

/// `POST /api/v1/tenants`.
pub(super) async fn add(call: Call) -> Result<Answer, Problem> {
    operator(&call.grant)?;
    let new: NewTenant = shape::read(&call.body.bytes)?;
    let slug = slug(&new)?;
    let (clock, ids) = (call.server.clock(), call.server.ids());
    let mut tenant = provision::tenant(&slug, &new.name.0, clock, ids);
    let mut agent = provision::agent(&tenant, DEFAULT_AGENT, clock, ids);
    (tenant.authors, agent.authors) = (call.grant.authors(), call.grant.authors());
    if let Some(settings) = new.settings {
        apply(&call.grant, settings, &mut tenant, &mut agent.settings)?;
    }
    call.server.store().add_tenant(tenant.clone(), agent.clone()).await?;
    if let Some(Domain(domain)) = new.domain {
        call.server.store().add_domain(agent.id, &domain).await?;
    }
    Ok(made(&view(&call, tenant).await?, &format!("/api/v1/tenants/{slug}")))
}

/// `GET /api/v1/tenants/{tenant}`.
pub(super) async fn get(call: Call) -> Result<Answer, Problem> {
    let tenant = find(&call).await?;
    Ok(json_answer(StatusCode::OK, &view(&call, tenant).await?))
}

/// `PATCH` and `PUT /api/v1/tenants/{tenant}`: what is named changes.
pub(super) async fn change(call: Call) -> Result<Answer, Problem> {
    let found = find(&call).await?;
    let change: TenantChange = shape::read(&call.body.bytes)?;
    if change.name.is_none() && change.settings.is_none() {
        return Err(Problem::EmptyChange);
    }
    let grant = call.grant.clone();
    let apply = move |tenant: &mut tenant::Tenant, agent: Option<&mut MailAgent>| {
        tenant.authors.updated_by = grant.author();
        if let Some(Line(name)) = change.name {
            tenant.name = name;
        }
        let Some(settings) = change.settings else { return Ok(()) };
        let mut none = AgentSettings::default();
        let of_agent = agent.map_or(&mut none, |agent| {
            agent.authors.updated_by = grant.author();
            &mut agent.settings
        });
        apply(&grant, settings, tenant, of_agent)
    };
    let changed = call.server.store().change_tenant(found.id, apply).await?;
    call.server.intake().forget_tenant(found.id);
    let tenant = changed.ok_or(Problem::NotFound("Tenant"))?;
    Ok(json_answer(StatusCode::OK, &view(&call, tenant).await?))
}

/// `DELETE /api/v1/tenants/{tenant}`.
pub(super) async fn remove(call: Call) -> Result<Answer, Problem> {
    operator(&call.grant)?;
    let tenant = find(&call).await?;
    let own = call.server.store().credentials(tenant.id).await?;
    if own.iter().any(|credential| credential.id == call.grant.credential) {
        return Err(Problem::Conflict("The key that asks belongs to this tenant and would go with it"));
    }
    match call.server.store().remove_tenant(&tenant.slug).await? {
        true => Ok(no_content()),
        false => Err(Problem::NotFound("Tenant")),
    }
}

pub(super) fn operator(grant: &Grant) -> Result<(), Problem> {
    if grant.kind == CredentialKind::OperatorKey { Ok(()) } else { Err(Problem::OperatorOnly) }
}

/// The tenant of the path, if the caller may see it.
async fn find(call: &Call) -> Result<tenant::Tenant, Problem> {
    let slug = call.place().to_lowercase();
    let may_see = slug == call.grant.tenant.slug || call.grant.kind == CredentialKind::OperatorKey;
    // A grant may be some seconds old; the store is asked even for one's own.
    let tenant = if may_see { call.server.store().tenant(&slug).await? } else { None };
    tenant.ok_or(Problem::NotFound("Tenant"))
}

/// The slug that a request asks for, or one made of the name.
fn slug(new: &NewTenant) -> Result<String, Flaw> {
    let made = || {
        let words = new.name.0.split(|letter: char| !letter.is_ascii_alphanumeric()).filter(|word| !word.is_empty());
        words.collect::<Vec<_>>().join("-").to_ascii_lowercase()
    };
    let (slug, field) = new.id.as_ref().map_or_else(|| (made(), "/name"), |Text(id)| (id.clone(), "/id"));
    let rule =
        "an id is up to 63 lower-case letters, digits, and hyphens between them, and no word that the console needs";
    if is_slug(&slug) { Ok(slug) } else { Err(Flaw::at(field, Wrong::Other(rule.into())).showing(&slug)) }
}

fn apply(
    grant: &Grant,
    changes: TenantChanges,
    tenant: &mut tenant::Tenant,
    agent: &mut AgentSettings,
) -> Result<(), Problem> {
    let TenantChanges { from_email, from_name, daily_limit, rate_limit } = changes;
    if daily_limit.is_change() || rate_limit.is_change() {
        operator(grant)?;
    }
    let settings = &mut tenant.settings;
    settings.daily_limit = daily_limit.applied(settings.daily_limit, |Count(limit)| limit);
    let rate = |Count(limit): Count<1, 1_000_000>| u32::try_from(limit).unwrap_or(u32::MAX);
    settings.rate_limit = rate_limit.applied(settings.rate_limit, rate);
    Ok(set_sender(agent, from_email, from_name)?)
}

/// Changes from which address an agent's mail is sent that names none.
pub(super) fn set_sender(
    agent: &mut AgentSettings,
    email: Change<Email>,
    name: Change<Line<0, 250>>,
) -> Result<(), Flaw> {
    let old_name = agent.from.as_ref().map(|from| from.name.clone());
    let old_address = agent.from.take().map(|from| from.address);
    let address = email.applied(old_address, |Email(address)| address.to_string());
    let is_named = matches!(name, Change::To(_));
    let name = name.applied(old_name, |Line(name)| name).unwrap_or_default();
    if address.is_none() && is_named {
        return Err(Flaw::at("/settings/fromEmail", Wrong::Missing));
    }
    agent.from = address.map(|address| Mailbox { address, name });
    Ok(())
}

async fn view(call: &Call, tenant: tenant::Tenant) -> Result<Tenant, Problem> {
    let agent = call.server.store().agent(tenant.id, DEFAULT_AGENT).await?;
    let domains = match &agent {
        Some(agent) => call.server.store().domains(agent.id).await?,
        None => Vec::new(),
    };
    let (from_email, from_name) = shown_sender(agent.and_then(|agent| agent.settings.from));
    Ok(Tenant {
        id: tenant.slug,
        name: tenant.name,
        domain: Nullable(domains.into_iter().next()),
        settings: TenantSettings {
            from_email,
            from_name,
            daily_limit: Nullable(tenant.settings.daily_limit),
            rate_limit: Nullable(tenant.settings.rate_limit),
        },
        created_at: When(tenant.created_at),
        created_by: Nullable::of(tenant.authors.created_by),
        updated_at: When(tenant.updated_at),
        updated_by: Nullable::of(tenant.authors.updated_by),
    })
}

/// A sender as settings show it.
pub(super) fn shown_sender(from: Option<Mailbox>) -> (Nullable<String>, Nullable<String>) {
    let (address, name) = from.map(|from| (from.address, from.name)).unzip();
    (Nullable(address), Nullable(name.filter(|name| !name.is_empty())))
}
