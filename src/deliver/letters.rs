//! What a submitter is told by mail of an attempt, where that was asked for (RFC 3461).

use std::sync::Arc;

use bytes::Bytes;

use super::Deliver;
use crate::mail::reporting::{self, Entry, News};
use crate::model::id::MessageId;
use crate::model::message::{Letter, Message};
use crate::model::time::Timestamp;
use crate::store::deliveries::{Leased, Settlement};

/// A delivery whose submitter wants to be told of something.
pub(super) struct Asked {
    message: Arc<Message>,
    content: Option<Bytes>,
    expires_at: Timestamp,
}

/// What is needed to tell a delivery's submitter; `None` when he asked for nothing.
pub(super) fn asked(leased: &Leased) -> Option<Asked> {
    leased.message.facts.dsn.as_ref()?;
    let (message, content) = (leased.message.clone(), leased.content.clone());
    Some(Asked { message, content, expires_at: leased.delivery.expires_at })
}

impl Deliver {
    /// The mail that tells of what an attempt came to. A content that cannot be read now is left out of it.
    pub(super) async fn letter(&self, asked: &Asked, settlement: &Settlement) -> Option<Letter> {
        let Asked { message, content, expires_at } = asked;
        let event = settlement.events.iter().find(|event| reporting::occasion(message, event).is_some())?;
        let content = match content {
            Some(content) => Some(content.clone()),
            None => self.parts.store.content(message.id).await.ok().flatten(),
        };
        let entry = Entry { event, remote: settlement.attempt.peer.as_str(), expires_at: Some(*expires_at) };
        let news = News { message, entries: &[entry], content: content.as_deref() };
        let id = MessageId::from_uuid(self.parts.ids.uuid(event.at));
        reporting::letter(&news, &self.parts.hostname, id)
    }
}
