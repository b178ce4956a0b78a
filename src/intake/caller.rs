//! Who is asking: a credential speaks for a tenant and a mail agent.
//!
//! Secrets have 256 bits, so a plain SHA-256 finds them and nothing is gained by a slow hash; a wrong one costs the same
//! look-up as a right one, whoever it claims to be. A grant is remembered for five seconds: a revoked key dies that fast,
//! and at once on the node that revoked it.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use sha2::{Digest, Sha256};

use super::Intake;
use crate::model::access;
use crate::model::address::Address;
use crate::model::id::{CredentialId, TenantId};
use crate::model::permission::Permission;
use crate::model::tenant::{CredentialKind, Grant};
use crate::model::time::Timestamp;
use crate::store::StoreError;

/// How long an access token is good.
pub const ACCESS_LIFETIME: Duration = Duration::from_secs(3600);

/// The user name that stands for "the password is an API key", in ZeptoMail's words.
pub const API_KEY_USER: &str = "emailapikey";

/// What stands before a send-mail token in an HTTP header.
const TOKEN_SCHEME: &str = "Zoho-enczapikey";

/// How long a grant is believed without asking the store.
const BELIEVED: Duration = Duration::from_secs(5);
/// Grants remembered at one time.
const REMEMBERED_MAX: usize = 10_000;

/// Why nobody was recognised.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AuthFailure {
    /// No such credential, or not for this use.
    Wrong,
    /// The credential is right, and may not be used from there.
    NotFromHere,
    /// The store cannot be asked now.
    Unavailable,
}

/// Grants seen lately.
#[derive(Debug, Default)]
pub(super) struct Known(Mutex<HashMap<Digested, (Timestamp, Arc<Grant>)>>);

/// SHA-256 of a secret.
type Digested = [u8; 32];

impl Intake {
    /// For HTTP: the API key with this text.
    ///
    /// # Errors
    /// `Wrong` for anything but an API key that is good now; `NotFromHere` when it may not be used from `peer`;
    /// `Unavailable`.
    pub async fn authenticate_token(&self, token: &str, peer: IpAddr) -> Result<Arc<Grant>, AuthFailure> {
        let grant = self.grant(digest(token)).await?;
        if grant.kind.is_api_key() { admitted(grant, peer) } else { Err(AuthFailure::Wrong) }
    }

    /// For SMTP: `emailapikey` with an API key, whose scheme may stand before it as ZeptoMail's pages show it; or an SMTP
    /// password with a user name that fits its credential: its id, its tenant, its mail agent, or an address of a domain
    /// that the agent sends from.
    ///
    /// # Errors
    /// `Wrong` when the secret or the name is, or it may not send mail; `NotFromHere` when it may not be used from `peer`;
    /// `Unavailable`.
    pub async fn authenticate(&self, username: &str, secret: &str, peer: IpAddr) -> Result<Arc<Grant>, AuthFailure> {
        let is_token = username.eq_ignore_ascii_case(API_KEY_USER);
        let secret = if is_token { without_scheme(secret) } else { secret };
        let grant = self.grant(digest(secret)).await?;
        let fits = match grant.kind {
            CredentialKind::ApiKey | CredentialKind::OperatorKey if is_token => true,
            CredentialKind::ApiKey | CredentialKind::OperatorKey | CredentialKind::SmtpPassword => {
                self.names(&grant, username)
            }
        };
        if fits && grant.may(Permission::SendEmails) { admitted(grant, peer) } else { Err(AuthFailure::Wrong) }
    }

    /// The grant as it is now: for sessions that outlive what they were granted.
    ///
    /// # Errors
    /// `Wrong` when its credential is no more; `NotFromHere` when it may not be used from `peer` any more; `Unavailable`.
    pub async fn renewed(&self, grant: &Grant, peer: IpAddr) -> Result<Arc<Grant>, AuthFailure> {
        admitted(self.grant(grant.digest).await?, peer)
    }

    /// Forgets what is known of a tenant's keys: what was changed of them, of the tenant or of its mail agents holds at once
    /// on this node.
    pub fn forget_tenant(&self, tenant: TenantId) {
        self.0.callers.retain(|grant| grant.tenant.id != tenant);
    }

    fn names(&self, grant: &Grant, username: &str) -> bool {
        let own = [&grant.credential.to_string(), &grant.tenant.slug, &grant.agent.name, &grant.agent.key];
        own.into_iter().any(|name| name == username)
            || username.parse::<Address>().is_ok_and(|address| self.may_send_from(grant, address.domain()))
    }

    /// Whether the grant's agent may send from this domain. While it has none, any will do in capture mode: nothing
    /// leaves the machine, and a newcomer's first mail should not fail. A refusal is not believed any longer: who is
    /// refused adds the domain, and tries again at once.
    pub(super) fn may_send_from(&self, grant: &Grant, domain: &str) -> bool {
        let is_unset = grant.domains.is_empty() && self.0.settings.is_capture;
        let may = is_unset || grant.domains.iter().any(|own| own == domain);
        if !may {
            self.0.callers.forget(grant.credential);
        }
        may
    }

    /// For OAuth clients: a token that is good for [`ACCESS_LIFETIME`], in exchange for an API key. The key is refresh
    /// token and client secret at once, its id the client's; an access token dies with its key.
    ///
    /// # Errors
    /// `Wrong` when they do not belong together; `NotFromHere`, `Unavailable`.
    pub async fn access_token(&self, client: &OAuthClient, peer: IpAddr) -> Result<String, AuthFailure> {
        let grant = self.authenticate_token(&client.refresh_token, peer).await?;
        let is_own = client.client_secret == client.refresh_token && client.client_id == grant.credential.to_string();
        if !is_own {
            return Err(AuthFailure::Wrong);
        }
        let expires_at = self.0.clock.now() + ACCESS_LIFETIME;
        access::seal(&self.0.ring, grant.credential, expires_at).ok_or(AuthFailure::Unavailable)
    }

    /// For HTTP: whom an access token speaks for.
    ///
    /// # Errors
    /// `Wrong` when it is not ours, too old, or of a key that was revoked; `NotFromHere` when that may not be used from
    /// `peer`; `Unavailable`.
    pub async fn authenticate_access(&self, token: &str, peer: IpAddr) -> Result<Arc<Grant>, AuthFailure> {
        let now = self.0.clock.now();
        let credential = access::open(&self.0.ring, token, now).ok_or(AuthFailure::Wrong)?;
        let digest = digest(token);
        let grant = match self.0.callers.recall(&digest, now) {
            Some(known) => known,
            None => self.remembered(digest, self.0.store.grant_of(credential).await)?,
        };
        admitted(self.in_time(grant)?, peer)
    }

    async fn grant(&self, digest: Digested) -> Result<Arc<Grant>, AuthFailure> {
        let grant = match self.0.callers.recall(&digest, self.0.clock.now()) {
            Some(known) => known,
            None => self.remembered(digest, self.0.store.grant(&digest).await)?,
        };
        self.in_time(grant)
    }

    /// A grant whose credential is good still.
    fn in_time(&self, grant: Arc<Grant>) -> Result<Arc<Grant>, AuthFailure> {
        if grant.settings.is_over(self.0.clock.now()) { Err(AuthFailure::Wrong) } else { Ok(grant) }
    }

    fn remembered(
        &self,
        digest: Digested,
        found: Result<Option<Grant>, StoreError>,
    ) -> Result<Arc<Grant>, AuthFailure> {
        match found {
            Ok(Some(grant)) => Ok(self.0.callers.remember(digest, Arc::new(grant), self.0.clock.now())),
            Ok(None) => Err(AuthFailure::Wrong),
            Err(fault) => {
                tracing::error!(%fault, "cannot look up a credential");
                Err(AuthFailure::Unavailable)
            }
        }
    }
}

/// What an OAuth client shows (RFC 6749 §6).
#[derive(Clone, Default)]
pub struct OAuthClient {
    /// The id of an API key.
    pub client_id: String,
    /// The key.
    pub client_secret: String,
    /// The key, again.
    pub refresh_token: String,
}

fn admitted(grant: Arc<Grant>, peer: IpAddr) -> Result<Arc<Grant>, AuthFailure> {
    if grant.admits(peer) { Ok(grant) } else { Err(AuthFailure::NotFromHere) }
}

fn digest(secret: &str) -> Digested {
    Sha256::digest(secret.as_bytes()).into()
}

/// A send-mail token as people copy it: with the scheme of the HTTP header, or without.
fn without_scheme(secret: &str) -> &str {
    match secret.split_once(' ') {
        Some((scheme, token)) if scheme.eq_ignore_ascii_case(TOKEN_SCHEME) => token.trim(),
        _ => secret,
    }
}

impl Known {
    fn recall(&self, digest: &Digested, now: Timestamp) -> Option<Arc<Grant>> {
        let known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        known.get(digest).filter(|(at, _)| is_believed(*at, now)).map(|(_, grant)| grant.clone())
    }

    pub(super) fn forget(&self, credential: CredentialId) {
        self.retain(|grant| grant.credential != credential);
    }

    fn retain(&self, is_kept: impl Fn(&Grant) -> bool) {
        let mut known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        known.retain(|_, (_, grant)| is_kept(grant));
    }

    fn remember(&self, digest: Digested, grant: Arc<Grant>, now: Timestamp) -> Arc<Grant> {
        let mut known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if known.len() >= REMEMBERED_MAX {
            known.retain(|_, (at, _)| is_believed(*at, now));
        }
        if known.len() < REMEMBERED_MAX {
            known.insert(digest, (now, grant.clone()));
        }
        grant
    }
}

/// Whether what was seen at a time is believed now. A time that lies ahead is from before the clock was put back: how long
/// ago that was nobody knows.
fn is_believed(at: Timestamp, now: Timestamp) -> bool {
    at <= now && now.since(at) < BELIEVED
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::id::AgentId;
    use crate::model::tenant::{MailAgent, Tenant};

    fn grant(at: Timestamp) -> Grant {
        let (tenant, agent) = (TenantId::from_bytes([1; 16]), AgentId::from_bytes([2; 16]));
        let (slug, name, settings) = ("acme".to_owned(), "Acme".to_owned(), Default::default());
        Grant {
            credential: CredentialId::from_bytes([3; 16]),
            kind: CredentialKind::ApiKey,
            digest: [4; 32],
            networks: Vec::new(),
            settings: Default::default(),
            person: None,
            tenant: Tenant {
                id: tenant,
                slug,
                name: name.clone(),
                settings,
                created_at: at,
                updated_at: at,
                authors: Default::default(),
            },
            agent: MailAgent {
                id: agent,
                tenant,
                key: "key".into(),
                name,
                settings: Default::default(),
                created_at: at,
                updated_at: None,
                authors: Default::default(),
            },
            domains: Vec::new(),
        }
    }

    #[test]
    fn a_grant_is_believed_for_five_seconds_and_not_while_a_clock_catches_up() {
        let seen = Timestamp::from_millis(1_800_000_000_000);
        let known = Known::default();
        known.remember([4; 32], Arc::new(grant(seen)), seen);
        let check = |now: Timestamp, is_believed: bool| {
            assert_eq!(known.recall(&[4; 32], now).is_some(), is_believed, "{now:?}");
        };
        check(seen, true);
        check(seen + (BELIEVED - Duration::from_millis(1)), true);
        check(seen + BELIEVED, false);
        check(seen - Duration::from_millis(1), false);
        check(seen - Duration::from_secs(3_600), false);
    }
}
