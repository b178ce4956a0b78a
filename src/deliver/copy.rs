//! The copy that one recipient gets: content from memory or the store, rendered, and signed last of all.

use std::sync::Arc;

use bytes::Bytes;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::Deliver;
use super::signing::signed;
use crate::mail::mend::{Need, mended};
use crate::mail::render::{Signature, render};
use crate::store::StoreError;
use crate::store::deliveries::Leased;

/// Content from this size on is rendered where it holds up nobody.
const RENDER_APART_BYTES: usize = 256 * 1024;

/// What copies of large mails may take of the memory, in KiB: the content, and what is made of it.
const ROOM_KIB: u32 = 256 * 1024;
/// There is always room for copies of mails up to this size.
const SMALL_BYTES: u64 = 256 * 1024;

/// Room for copies of large mails.
#[derive(Debug)]
pub(super) struct Room(Arc<Semaphore>);

/// Room that is taken, until it is dropped.
pub(super) type Taken = OwnedSemaphorePermit;

impl Default for Room {
    fn default() -> Self {
        Self(Arc::new(Semaphore::new(usize::try_from(ROOM_KIB).unwrap_or(Semaphore::MAX_PERMITS))))
    }
}

impl Room {
    /// Waits for room for one copy of a mail of this size; first come, first served. A mail larger than the room has
    /// all of it; a small one needs none.
    pub(super) async fn take(&self, size_bytes: u64) -> Option<Taken> {
        if size_bytes <= SMALL_BYTES {
            return None;
        }
        let kib = u32::try_from(size_bytes.saturating_mul(2) >> 10).unwrap_or(ROOM_KIB);
        self.0.clone().acquire_many_owned(kib.min(ROOM_KIB)).await.ok()
    }
}

/// What a copy is made of.
#[derive(Clone, Copy, Debug)]
pub(super) enum Form {
    /// The mail as it is kept.
    AsKept,
    /// The same in ASCII, for hosts that take no more.
    Ascii,
}

/// A copy that is ready to leave: the bytes on the wire and the envelope sender.
#[derive(Debug)]
pub(super) struct Copy {
    pub(super) bytes: Vec<u8>,
    pub(super) return_path: String,
}

/// Why there is no copy to send.
pub(super) enum NoCopy {
    /// It will never be.
    Unsendable(&'static str),
    /// Not now.
    Later(String),
    /// The store is away; nothing is known, and the lease ends by itself.
    StoreAway,
}

impl Deliver {
    /// The recipient's copy, signed where there is a key.
    pub(super) async fn copy(&self, leased: &Leased, form: Form) -> Result<Copy, NoCopy> {
        let content = self.content(leased).await?;
        let message = leased.message.clone();
        let author = message.facts.from.address.rsplit_once('@').map_or("", |(_, domain)| domain);
        let signers = match self.signing.signers(message.tenant, &author.to_ascii_lowercase()).await {
            Ok(signers) => signers,
            Err(fault @ StoreError::Corrupt(_)) => {
                tracing::error!(delivery.id = %leased.delivery.id, %fault, "the mail cannot be signed");
                return Err(NoCopy::Later("the mail cannot be signed".to_owned()));
            }
            Err(_) => return Err(NoCopy::StoreAway),
        };
        let id = leased.delivery.id;
        let (domain, ring) = (self.parts.return_path_domain.clone(), self.parts.ring.clone());
        let signature = if signers.is_empty() { Signature::None } else { Signature::Follows };
        let is_apart = signature == Signature::Follows || content.len() >= RENDER_APART_BYTES;
        let make = move || {
            let content = match form {
                Form::AsKept => content,
                Form::Ascii => mended(&content, Need::Ascii).into_owned().into(),
            };
            let rendered = render(&content, &message, id, &domain, &ring, signature)?;
            let bytes = signed(rendered.bytes, &signers, message.accepted_at);
            Some(Copy { bytes, return_path: rendered.return_path })
        };
        let made = match is_apart {
            true => self.signing.apart(make).await.ok_or(NoCopy::Unsendable("the mail cannot be rendered"))?,
            false => make(),
        };
        made.ok_or(NoCopy::Unsendable("there is no key to seal the return path with"))
    }

    async fn content(&self, leased: &Leased) -> Result<Bytes, NoCopy> {
        if let Some(content) = &leased.content {
            return Ok(content.clone());
        }
        match self.parts.store.content(leased.message.id).await {
            Ok(Some(content)) => Ok(content),
            Ok(None) => Err(NoCopy::Unsendable("the content is gone")),
            Err(fault @ StoreError::Corrupt(_)) => {
                tracing::error!(delivery.id = %leased.delivery.id, %fault, "the content cannot be read");
                Err(NoCopy::Later(fault.to_string()))
            }
            Err(fault) => {
                tracing::warn!(delivery.id = %leased.delivery.id, %fault, "the content cannot be read now");
                Err(NoCopy::StoreAway)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn small_mails_always_have_room_and_large_ones_take_turns() {
        let room = Room::default();
        let whole = room.take(u64::MAX).await;
        assert_eq!(room.0.available_permits(), 0);
        assert!(room.take(SMALL_BYTES).await.is_none());
        drop(whole);
        let mut large = Vec::new();
        while room.0.available_permits() >= 50 * 1024 {
            large.push(room.take(25 << 20).await);
        }
        assert_eq!(large.len(), 5);
    }
}
