//! `/api/v1/users` and `/api/v1/audit`: who may sign in to the console, and what was done there. An operator's key only.
//!
//! Nobody's password goes through here: who is invited, or is to choose anew, gets a link of their own.

use hyper::StatusCode;

use super::super::operation::Call;
use super::super::problem::Problem;
use super::super::server::Answer;
use super::super::shape::{self, Nullable, Text, When, Word, answer, request, vocabulary};
use super::super::{json_answer, query};
use super::tenants::operator;
use super::{made, no_content};
use crate::intake::provision;
use crate::model::id::{EventId, TenantId};
use crate::model::secret::Secret;
use crate::model::tenant;
use crate::model::time::Timestamp;
use crate::model::user::{self, AuditEntry, Invitation, Role};
use crate::store::users::Invited;

vocabulary! { Role:
    "owner" Role::Owner,
    "operator" Role::Operator,
    "support" Role::Support,
    "read-only" Role::ReadOnly,
}

request! {
    /// Somebody who is to sign in.
    pub(super) struct NewInvitation {
        /// What they may do.
        role "role": Word<Role>,
        /// The one tenant that they see; all of them unless given.
        tenant "tenant": Option<Text<1, 63>>,
    }

    /// What to change of a person.
    pub(super) struct UserChange {
        /// What they may do from now on.
        role "role": Word<Role>,
    }

    /// How somebody gets a new password.
    pub(super) struct NewPassword {
        /// Their second factor is removed too.
        without_code "withoutCode": Option<bool>,
    }
}

answer! {
    /// Somebody who may sign in.
    pub(super) struct User {
        /// With which they sign in.
        email "email": String,
        /// What they are called.
        name "name": String,
        /// What they may do.
        role "role": Word<Role>,
        /// The one tenant that they see; null for all of them.
        tenant "tenant": Nullable<String>,
        /// Whether a code is asked for besides the password.
        second_factor "secondFactor": bool,
        /// When they joined.
        created_at "createdAt": When,
    }

    /// A link that works once.
    pub(super) struct Link {
        /// Its path on this host; only in this answer.
        path "path": String,
        /// Until when it works.
        expires_at "expiresAt": When,
    }

    /// A link that nobody has followed yet.
    pub(super) struct Waiting {
        /// Its id.
        id "id": String,
        /// What whoever follows it may do.
        role "role": Word<Role>,
        /// The one tenant that they see; null for all of them.
        tenant "tenant": Nullable<String>,
        /// Who is to choose a new password; null for somebody new.
        email "email": Nullable<String>,
        /// Until when it works.
        expires_at "expiresAt": When,
    }

    /// Something that was done.
    pub(super) struct AuditLine {
        /// Its id.
        id "id": String,
        /// When.
        at "at": When,
        /// Who did it.
        actor "actor": String,
        /// What.
        action "action": String,
        /// To what.
        object "object": String,
        /// From which address.
        address "address": String,
        /// Of which tenant; null for the installation.
        tenant "tenant": Nullable<String>,
    }
}

/// `GET /api/v1/users`, by address.
pub(super) async fn list(call: Call) -> Result<Answer, Problem> {
    operator(&call.grant)?;
    let (limit, after) = (call.query.limit()?, call.query.text("after").unwrap_or_default());
    let users = call.server.store().users(tenant_of(&call).await?, after, limit + 1).await?;
    let tenants = tenants(&call, users.iter().map(|user| user.tenant).collect()).await?;
    let shown = |user| shown(user, &tenants);
    query::page(("/api/v1/users", &call.query), users, |user| user.email.clone(), shown)
}

fn shown(user: user::User, tenants: &[tenant::Tenant]) -> User {
    User {
        tenant: Nullable(slug(tenants, user.tenant)),
        email: user.email,
        name: user.name,
        role: Word(user.role),
        second_factor: user.second_factor.is_some(),
        created_at: When(user.created_at),
    }
}

/// The tenants with these ids.
async fn tenants(call: &Call, ids: Vec<Option<TenantId>>) -> Result<Vec<tenant::Tenant>, Problem> {
    let mut tenants: Vec<tenant::Tenant> = Vec::new();
    for id in ids.into_iter().flatten() {
        if tenants.iter().all(|known| known.id != id) {
            tenants.extend(call.server.store().tenant_with_id(id).await?);
        }
    }
    Ok(tenants)
}

/// The one tenant that is asked about; `None` for all.
async fn tenant_of(call: &Call) -> Result<Option<TenantId>, Problem> {
    match call.query.text("tenant") {
        None => Ok(None),
        Some(slug) => Ok(Some(call.server.store().tenant(slug).await?.ok_or(Problem::NotFound("Tenant"))?.id)),
    }
}

/// `POST /api/v1/users/invitations`.
pub(super) async fn invite(call: Call) -> Result<Answer, Problem> {
    operator(&call.grant)?;
    let NewInvitation { role: Word(role), tenant } = shape::read(&call.body.bytes)?;
    let store = call.server.store();
    let tenant = match tenant {
        Some(Text(slug)) => Some(store.tenant(&slug.to_lowercase()).await?.ok_or(Problem::NotFound("Tenant"))?.id),
        None => None,
    };
    let made = provision::invitation(role, tenant, call.server.clock(), call.server.ids());
    note(&call, tenant, "invited", role.as_str()).await?;
    hand_out(&call, made).await
}

/// `POST /api/v1/users/{email}/password`: a link by which they choose a new one.
pub(super) async fn renew(call: Call) -> Result<Answer, Problem> {
    operator(&call.grant)?;
    let is_bare = call.body.bytes.iter().all(u8::is_ascii_whitespace);
    let wanted = if is_bare { NewPassword { without_code: None } } else { shape::read(&call.body.bytes)? };
    let store = call.server.store();
    let user = store.user(&call.place().to_ascii_lowercase()).await?.ok_or(Problem::NotFound("User"))?;
    if wanted.without_code == Some(true) {
        store.set_second_factor(user.id, None).await?;
        note(&call, user.tenant, "removed second factor", &user.email).await?;
    }
    note(&call, user.tenant, "made password link", &user.email).await?;
    hand_out(&call, provision::renewal(&user, call.server.clock(), call.server.ids())).await
}

/// `PATCH /api/v1/users/{email}`.
pub(super) async fn change(call: Call) -> Result<Answer, Problem> {
    operator(&call.grant)?;
    let UserChange { role: Word(role) } = shape::read(&call.body.bytes)?;
    let (store, nobody) = (call.server.store(), Problem::NotFound("User"));
    let email = call.place().to_ascii_lowercase();
    if !store.set_role(None, &email, role).await? {
        return Err(nobody);
    }
    let user = store.user(&email).await?.ok_or(nobody)?;
    note(&call, user.tenant, &format!("made {}", role.as_str()), &email).await?;
    let tenants = tenants(&call, vec![user.tenant]).await?;
    Ok(json_answer(StatusCode::OK, &shown(user, &tenants)))
}

/// `DELETE /api/v1/users/{email}`.
pub(super) async fn remove(call: Call) -> Result<Answer, Problem> {
    operator(&call.grant)?;
    let (store, nobody) = (call.server.store(), Problem::NotFound("User"));
    let user = store.user(&call.place().to_ascii_lowercase()).await?.ok_or(nobody.clone())?;
    if !store.remove_user(None, &user.email).await? {
        return Err(nobody);
    }
    note(&call, user.tenant, "removed user", &user.email).await?;
    Ok(no_content())
}

/// `GET /api/v1/users/invitations`, those that end first first.
pub(super) async fn invitations(call: Call) -> Result<Answer, Problem> {
    operator(&call.grant)?;
    let key = |one: &Invited| format!("{}_{}", one.invitation.expires_at.as_millis(), one.invitation.id());
    let read = |text: &str| {
        let (end, id) = text.split_once('_')?;
        Some((Timestamp::from_millis(end.parse().ok()?), Invitation::digest_of(id)?))
    };
    let after = call.query.text("after").and_then(read);
    let limit = call.query.limit()?;
    let found = call.server.store().invitations(tenant_of(&call).await?, after, limit + 1).await?;
    let tenants = tenants(&call, found.iter().map(|one| one.invitation.tenant).collect()).await?;
    let shown = |Invited { invitation, email }: Invited| Waiting {
        id: invitation.id(),
        role: Word(invitation.role),
        tenant: Nullable(slug(&tenants, invitation.tenant)),
        email: Nullable(email),
        expires_at: When(invitation.expires_at),
    };
    query::page(("/api/v1/users/invitations", &call.query), found, key, shown)
}

/// `DELETE /api/v1/users/invitations/{id}`.
pub(super) async fn revoke(call: Call) -> Result<Answer, Problem> {
    operator(&call.grant)?;
    let nothing = Problem::NotFound("Invitation");
    let digest = Invitation::digest_of(call.place()).ok_or(nothing.clone())?;
    let Invited { invitation, email } = call.server.store().revoke_invitation(None, digest).await?.ok_or(nothing)?;
    note(&call, invitation.tenant, "revoked link", email.as_deref().unwrap_or(invitation.role.as_str())).await?;
    Ok(no_content())
}

/// `GET /api/v1/audit`, newest first.
pub(super) async fn audit(call: Call) -> Result<Answer, Problem> {
    operator(&call.grant)?;
    let limit = call.query.limit()?;
    let before = call.query.value("after", "id")?;
    let lines = call.server.store().audit_log(tenant_of(&call).await?, before, limit + 1).await?;
    let tenants = tenants(&call, lines.iter().map(|(_, entry)| entry.tenant).collect()).await?;
    let shown = |(id, entry): (EventId, AuditEntry)| AuditLine {
        id: id.to_string(),
        at: When(entry.at),
        actor: entry.actor,
        action: entry.action,
        object: entry.object,
        address: entry.address,
        tenant: Nullable(slug(&tenants, entry.tenant)),
    };
    query::page(("/api/v1/audit", &call.query), lines, |(id, _)| id.to_string(), shown)
}

fn slug(tenants: &[tenant::Tenant], id: Option<TenantId>) -> Option<String> {
    tenants.iter().find(|tenant| Some(tenant.id) == id).map(|tenant| tenant.slug.clone())
}

async fn hand_out(call: &Call, (invitation, secret): (Invitation, Secret)) -> Result<Answer, Problem> {
    let path = format!("/console/join/{}", secret.reveal());
    let expires_at = When(invitation.expires_at);
    call.server.store().invite(invitation).await?;
    let mut answer = made(&Link { path, expires_at }, "/console/");
    // Whoever repeats the request does not get the secret again.
    let kept = Link { path: String::new(), expires_at };
    answer.extensions_mut().insert(super::super::once::KeptInstead(serde_json::json!(kept).to_string()));
    Ok(answer)
}

/// Writes to the audit log what was done with a key, to a tenant or to all.
async fn note(call: &Call, tenant: Option<TenantId>, action: &str, object: &str) -> Result<(), Problem> {
    let at = call.server.clock().now();
    let entry = AuditEntry {
        at,
        actor: format!("key {}", call.grant.credential),
        action: action.to_owned(),
        object: object.to_owned(),
        address: String::new(),
        tenant,
    };
    Ok(call.server.store().audit(EventId::from_uuid(call.server.ids().uuid(at)), entry).await?)
}
