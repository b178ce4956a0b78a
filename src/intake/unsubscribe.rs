//! A reader wants no more: the token says whose delivery it was, and the agent leaves the address alone from then on.

use super::Intake;
use crate::model::id::DeliveryId;
use crate::model::reason::Reason;
use crate::model::suppression::Suppression;
use crate::model::token::Reference;
use crate::store::StoreError;

/// What became of a wish to be left alone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unsubscribed {
    /// It is written down.
    Done,
    /// The mail is forgotten, and with it who got it.
    Forgotten,
}

impl Intake {
    /// Whose unsubscribe link this is; `None` unless we sealed it for `host`.
    pub fn unsubscribing(&self, host: &str, token: &str) -> Option<DeliveryId> {
        match self.0.opener.open(host, token)? {
            (delivery, Reference::Unsubscribe) => Some(delivery),
            (_, Reference::Open | Reference::Click { .. } | Reference::TextClick { .. }) => None,
        }
    }

    /// Leaves the recipient of a delivery alone, as far as its mail agent goes.
    ///
    /// # Errors
    /// The store is away: nothing is written down.
    pub async fn unsubscribe(&self, delivery: DeliveryId) -> Result<Unsubscribed, StoreError> {
        let Some(delivery) = self.0.store.delivery(delivery).await? else { return Ok(Unsubscribed::Forgotten) };
        let now = self.0.clock.now();
        self.0.store.suppress(Suppression::for_good(&delivery, Reason::Unsubscribed, now)).await?;
        tracing::info!(delivery.id = %delivery.id, "a reader has unsubscribed");
        Ok(Unsubscribed::Done)
    }
}
