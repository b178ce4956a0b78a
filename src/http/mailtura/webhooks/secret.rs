//! A new secret, with time for receivers to learn it.

use std::time::Duration;

use hyper::StatusCode;

use super::super::super::json_answer;
use super::super::super::once::KeptInstead;
use super::super::super::operation::Call;
use super::super::super::problem::Problem;
use super::super::super::server::Answer;
use super::super::super::shape::{self, Count, Line, When, answer, request};
use super::super::super::wire::{Flaw, Wrong};
use super::{keep, named};
use crate::model::secret::Secret;
use crate::model::webhook::Webhook;
use crate::model::webhook_key::WebhookKey;
use crate::model::webhook_options::{BadOption, check_secret, check_signing};

/// Hours for which the old secret is good when nobody says otherwise.
const OVERLAP_HOURS: u64 = 24;
/// Hours for which it is good at most.
const OVERLAP_HOURS_MAX: u64 = 7 * 24;

request! {
    /// How to give a webhook a new secret.
    pub(in super::super) struct SecretRotation {
        /// The new one; made unless given, of the kind of the old one. `whsk_` alone: a fresh Ed25519 key.
        secret "secret": Option<Line<1, 256>>,
        /// For how long the old one is good; 24 unless given.
        overlap_hours "overlapHours": Option<Count<0, OVERLAP_HOURS_MAX>>,
    }
}

answer! {
    /// A webhook's new secret.
    pub(in super::super) struct RotatedSecret {
        /// The webhook's id.
        id "id": String,
        /// The new secret; only in this answer.
        secret "secret": Option<String>,
        /// What receivers verify with, where the secret is a `whsk_` key.
        public_key "publicKey": Option<String>,
        /// Until when the old one is good.
        old_secret_expires_at "oldSecretExpiresAt": Option<When>,
    }
}

/// `POST /api/v1/webhooks/{id}/secret/rotate`.
pub(in super::super) async fn rotate(call: Call) -> Result<Answer, Problem> {
    let Webhook { tenant, id, format, secret: before, .. } = named(&call).await?;
    let is_bare = call.body.bytes.iter().all(u8::is_ascii_whitespace);
    let body: &[u8] = if is_bare { b"{}" } else { &call.body.bytes };
    let SecretRotation { secret, overlap_hours } = shape::read(body)?;
    let ids = call.server.ids();
    let fresh = match secret {
        Some(Line(given)) => {
            let bad = |why: BadOption| Flaw::at("/secret", Wrong::Other(why.to_string()));
            check_secret(&given).and_then(|()| check_signing(format, &given)).map_err(bad)?;
            ids.given_secret(&given)
        }
        None => ids.secret_like(before.reveal()),
    };
    let hours = overlap_hours.map_or(OVERLAP_HOURS, |Count(hours)| hours);
    let until = call.server.clock().now() + Duration::from_secs(hours * 3600);
    let rotated = call.server.store().rotate_secret(tenant, id, Secret::new(fresh), until).await?;
    let webhook = rotated.ok_or(Problem::NotFound("Webhook"))?;
    let told = |secret| RotatedSecret {
        id: webhook.id.to_string(),
        secret,
        public_key: WebhookKey::of(webhook.secret.reveal()).map(|key| key.public()),
        old_secret_expires_at: webhook.old_secret.as_ref().map(|old| When(old.until)),
    };
    let mut answer = json_answer(StatusCode::OK, &told(Some(webhook.secret.reveal().to_owned())));
    answer.extensions_mut().insert(KeptInstead(serde_json::json!(told(None)).to_string()));
    Ok(answer)
}

/// `POST /api/v1/webhooks/{id}/secret/activate`: the new secret signs alone where there is room for one signature.
pub(in super::super) async fn activate(call: Call) -> Result<Answer, Problem> {
    let change = |webhook: &mut Webhook| {
        webhook.activate();
        Ok(())
    };
    keep(&call, named(&call).await?.id, change).await
}

/// `POST /api/v1/webhooks/{id}/secret/revoke`: the old secret counts for nothing any more.
pub(in super::super) async fn revoke(call: Call) -> Result<Answer, Problem> {
    let change = |webhook: &mut Webhook| {
        webhook.old_secret = None;
        Ok(())
    };
    keep(&call, named(&call).await?.id, change).await
}
