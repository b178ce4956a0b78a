//! The first run: a tenant, its mail agent and credentials, so that a newcomer's first mail needs no set-up.

use crate::clock::Clock;
use crate::ids::IdSource;
use crate::intake::provision;
use crate::model::secret::Secret;
use crate::model::tenant::{CredentialKind, DEFAULT_AGENT};
use crate::model::user::Role;
use crate::store::{Store, StoreError};

/// The slug of the first tenant.
const FIRST_TENANT: &str = "default";

/// What the first run made. The secrets are nowhere else.
#[derive(Clone, Debug)]
pub struct FirstRun {
    /// The tenant's slug.
    pub tenant: String,
    /// For HTTP, and for SMTP as `emailapikey`.
    pub api_key: Secret,
    /// For SMTP, with the tenant's slug as user name.
    pub smtp_password: Secret,
    /// For the console: whoever follows the link with it first becomes its owner.
    pub invitation: Secret,
}

/// Makes the first tenant when there is none. Of nodes that start together one makes it.
pub(super) async fn make(store: &Store, clock: &Clock, ids: &IdSource) -> Result<Option<FirstRun>, StoreError> {
    if !store.tenants("", 1).await?.is_empty() {
        return Ok(None);
    }
    let tenant = provision::tenant(FIRST_TENANT, FIRST_TENANT, clock, ids);
    let agent = provision::agent(&tenant, DEFAULT_AGENT, clock, ids);
    match store.add_tenant(tenant.clone(), agent.clone()).await {
        Ok(()) => {}
        Err(StoreError::Conflict) => return Ok(None),
        Err(fault) => return Err(fault),
    }
    let (key, api_key) = provision::credential(&agent, CredentialKind::ApiKey, "first run", clock, ids);
    let (password, smtp_password) =
        provision::credential(&agent, CredentialKind::SmtpPassword, "first run", clock, ids);
    store.add_credential(key).await?;
    store.add_credential(password).await?;
    let (invitation, secret) = provision::invitation(Role::Owner, None, clock, ids);
    store.invite(invitation).await?;
    Ok(Some(FirstRun { tenant: tenant.slug, api_key, smtp_password, invitation: secret }))
}
