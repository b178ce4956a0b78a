//! The copy that one recipient gets: content from memory or the store, rendered, and signed last of all.

use bytes::Bytes;

use super::Deliver;
use super::signing::signed;
use crate::mail::mend::{Need, mended};
use crate::mail::render::{Signature, render};
use crate::store::StoreError;
use crate::store::deliveries::Leased;

/// Content from this size on is rendered where it holds up nobody.
const RENDER_APART_BYTES: usize = 256 * 1024;

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
