//! New tenants, mail agents, credentials and signing keys: values of now with ids of their own, ready to be stored.

use std::time::Duration;

use sha2::{Digest, Sha256};

use crate::clock::Clock;
use crate::ids::IdSource;
use crate::mail::dkim::{BadKey, Key};
use crate::model::author::Authors;
use crate::model::id::{AgentId, CredentialId, TenantId};
use crate::model::key;
use crate::model::permission::CredentialSettings;
use crate::model::secret::Secret;
use crate::model::signing_key::{Algorithm, SigningKey};
use crate::model::tenant::{AgentSettings, Credential, CredentialKind, MailAgent, Tenant, TenantSettings};
use crate::model::user::{Invitation, Role, User};

/// How long an invitation holds.
const INVITATION: Duration = Duration::from_secs(7 * 24 * 3600);
/// How long a link to a new password holds.
const RENEWAL: Duration = Duration::from_secs(24 * 3600);

/// A tenant.
pub fn tenant(slug: &str, name: &str, clock: &Clock, ids: &IdSource) -> Tenant {
    let now = clock.now();
    Tenant {
        id: TenantId::from_uuid(ids.uuid(now)),
        slug: slug.to_owned(),
        name: name.to_owned(),
        settings: TenantSettings::default(),
        created_at: now,
        updated_at: now,
        authors: Authors::default(),
    }
}

/// A mail agent with nothing set.
pub fn agent(tenant: &Tenant, name: &str, clock: &Clock, ids: &IdSource) -> MailAgent {
    let now = clock.now();
    MailAgent {
        id: AgentId::from_uuid(ids.uuid(now)),
        tenant: tenant.id,
        key: key::of_agent(u64::from_be_bytes(ids.bytes())),
        name: name.to_owned(),
        settings: AgentSettings::default(),
        created_at: now,
        updated_at: None,
        authors: Authors::default(),
    }
}

/// A credential, and its secret, which is nowhere else.
pub fn credential(
    agent: &MailAgent,
    kind: CredentialKind,
    name: &str,
    clock: &Clock,
    ids: &IdSource,
) -> (Credential, Secret) {
    let now = clock.now();
    let secret = match kind {
        CredentialKind::ApiKey | CredentialKind::OperatorKey => ids.secret("pb_"),
        CredentialKind::SmtpPassword => ids.password(),
    };
    let credential = Credential {
        id: CredentialId::from_uuid(ids.uuid(now)),
        tenant: agent.tenant,
        agent: agent.id,
        kind,
        name: name.to_owned(),
        digest: Sha256::digest(secret.as_bytes()).into(),
        networks: Vec::new(),
        settings: CredentialSettings::default(),
        created_at: now,
        created_by: String::new(),
    };
    (credential, Secret::new(secret))
}

/// An invitation to the console, and the secret of its link, which is nowhere else.
pub fn invitation(role: Role, tenant: Option<TenantId>, clock: &Clock, ids: &IdSource) -> (Invitation, Secret) {
    let secret = ids.secret("");
    let digest = Sha256::digest(secret.as_bytes()).into();
    let expires_at = clock.now() + INVITATION;
    (Invitation { digest, role, tenant, user: None, expires_at }, Secret::new(secret))
}

/// A link by which a person chooses a new password, and its secret, which is nowhere else.
pub fn renewal(user: &User, clock: &Clock, ids: &IdSource) -> (Invitation, Secret) {
    let (invitation, secret) = invitation(user.role, user.tenant, clock, ids);
    let expires_at = clock.now() + RENEWAL;
    (Invitation { user: Some(user.id), expires_at, ..invitation }, secret)
}

/// Keys of both algorithms that will sign for a domain, each with its private half in PKCS#8. Their selectors are drawn,
/// so that two installations can sign for one domain, and are numbers of nine digits, since clients of ZeptoMail's API
/// read them as such.
///
/// # Errors
/// `Unusable`, should the library not read what it wrote.
pub fn signing_keys(
    tenant: TenantId,
    domain: &str,
    clock: &Clock,
    ids: &IdSource,
) -> Result<Vec<(SigningKey, Vec<u8>)>, BadKey> {
    let drawn = 10_000_000 + u32::from_be_bytes(ids.bytes()) % 90_000_000;
    let made = |algorithm: Algorithm| {
        let (pkcs8, last) = match algorithm {
            Algorithm::Rsa => (ids.rsa_key(), 1),
            Algorithm::Ed25519 => (ids.ed25519_key(), 2),
        };
        let selector = format!("{drawn}{last}");
        Ok((Key::from_pkcs8(&pkcs8)?.described(tenant, domain, &selector, clock.now())?, pkcs8))
    };
    Algorithm::ALL.into_iter().map(made).collect()
}
