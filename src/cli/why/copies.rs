//! `postback why --mail` and `--links`: a recipient's copy, made again from what is kept. Rendering gives the same bytes
//! each time, so this is what was sent, or will be.

use std::io::Write;

use anyhow::Context;
use bytes::Bytes;
use postback::config::Loaded;
use postback::mail::render::{Rendered, Signature, author_domain, render};
use postback::model::delivery::Delivery;
use postback::model::id::DeliveryId;
use postback::model::message::Message;
use postback::model::token::KeyRing;

use super::super::database::Guest;
use super::super::{printable, say};

/// What copies of one message are made from.
pub(super) struct Copies<'a> {
    message: &'a Message,
    content: Bytes,
    ring: KeyRing,
    return_path_domain: &'a str,
    signature: Signature,
}

impl<'a> Copies<'a> {
    pub(super) async fn of(guest: &Guest, loaded: &'a Loaded, message: &'a Message) -> anyhow::Result<Self> {
        let content = guest.store.content(message.id).await.context("read the mail")?;
        let content = content.with_context(|| format!("the content of {} is forgotten", message.id))?;
        let ring = guest.store.key_ring(guest.ids.bytes()).await.context("read the token keys")?;
        let is_signed = guest.store.signs_for(message.tenant, &author_domain(&message.facts)).await;
        let signature = if is_signed.context("look for a signing key")? { Signature::Follows } else { Signature::None };
        let return_path_domain = &loaded.settings.reports.return_path_domain;
        Ok(Self { message, content, ring, return_path_domain, signature })
    }

    fn copy(&self, delivery: DeliveryId) -> anyhow::Result<Rendered> {
        let rendered =
            render(&self.content, self.message, delivery, self.return_path_domain, &self.ring, self.signature);
        rendered.context("there is no key to seal the return path with")
    }

    /// Writes the copy to standard output, byte for byte.
    pub(super) fn print(&self, delivery: DeliveryId) -> anyhow::Result<()> {
        std::io::stdout().write_all(&self.copy(delivery)?.bytes).context("write the mail")
    }

    /// Tells the copy's pixel and links, and what was left alone.
    pub(super) fn tell_links(&self, delivery: &Delivery) -> anyhow::Result<()> {
        let tracked = self.copy(delivery.id)?.tracked;
        say(format!("{}  {}", delivery.id, printable(&delivery.address.to_string())));
        if let Some(why) = tracked.untouched {
            say(format!("  untracked: {why}"));
        }
        if let Some(pixel) = tracked.pixel {
            say(format!("  pixel  {pixel}"));
        }
        for link in &tracked.links {
            say(format!("  link   {}\n    to   {}", link.tracked, printable(&link.target)));
        }
        for left in &tracked.left {
            say(format!("  stays  {}\n    why  {}", printable(&left.original), left.why));
        }
        for part in &tracked.parts {
            if let Some(why) = part.untouched {
                say(format!("  part {} {} untracked: {why}", printable(&part.path), printable(&part.content_type)));
            }
        }
        Ok(())
    }
}
