//! What it takes to tell webhooks: the guard, whom we believe over TLS, the client. Shared by the workers, the doors that
//! take webhooks in, and the command line.

use std::net::SocketAddr;
use std::sync::Arc;

use anyhow::Context;

use crate::clock::Clock;
use crate::config::Settings;
use crate::dns::Resolver;
use crate::egress::{BadIdentity, Guard, Identity, Trust};
use crate::http;
use crate::http::outward::{Admitted, Part, Told, Unusable};
use crate::model::event::Event;
use crate::model::message::Message;
use crate::model::time::Timestamp;
use crate::model::webhook::Webhook;
use crate::model::webhook_attempt::Posted;
use crate::store::Store;
use crate::webhooks::client::{Client, Limits};
use crate::webhooks::formats::{self, Attempt};
use crate::webhooks::{Counters, Parts};

/// What tells webhooks.
#[derive(Clone, Debug)]
pub struct Outward {
    guard: Arc<Guard>,
    trust: Trust,
}

impl Outward {
    /// Under these settings, never connecting to the listeners in `own`.
    ///
    /// # Errors
    /// A setting of `egress` cannot be used.
    pub fn new(
        settings: &Settings,
        own: impl IntoIterator<Item = SocketAddr>,
        resolver: Arc<dyn Resolver>,
    ) -> anyhow::Result<Self> {
        let policy = settings.egress_policy()?.with_own(own);
        let trust = Trust::open(settings.egress.ca_file.as_deref()).context("egress.ca_file")?;
        Ok(Self { guard: Arc::new(Guard::new(policy, resolver)), trust })
    }

    /// For who works beside a running server, whose listeners are those of the settings.
    ///
    /// # Errors
    /// A setting of `egress` cannot be used.
    pub fn of_a_guest(settings: &Settings, resolver: Arc<dyn Resolver>) -> anyhow::Result<Self> {
        let smtp = settings.smtp.listeners.iter().map(|listener| listener.address);
        let others = [Some(settings.http.address), settings.http.tls_address, Some(settings.admin.address)];
        Self::new(settings, smtp.chain(others.into_iter().flatten()), resolver)
    }

    /// What every connection goes through.
    pub fn guard(&self) -> &Arc<Guard> {
        &self.guard
    }

    /// Whom we believe over TLS.
    pub fn trust(&self) -> &Trust {
        &self.trust
    }

    /// What the workers work with.
    pub fn parts(&self, store: &Store, clock: &Clock, counters: &Arc<Counters>) -> Parts {
        let client = Client::new(self.guard.clone(), self.trust.clone(), clock.clone(), Limits::default());
        Parts { store: store.clone(), clock: clock.clone(), client: Arc::new(client), counters: counters.clone() }
    }

    /// Whether a webhook can be used as it is: its URL, as we read it and will use it. DNS is asked.
    ///
    /// # Errors
    /// What of it cannot.
    pub async fn admit(&self, webhook: &Webhook) -> Result<String, Unusable> {
        let admitted = self.guard.admit(&webhook.url).await;
        let url = admitted.map_err(|refused| Unusable { part: Part::Url, why: refused.to_string() })?;
        let identity = Identity::from(webhook);
        let bad = if identity.is_usual() { None } else { self.trust.client_for(identity).err() };
        bad.map_or(Ok(url.into()), |bad| {
            let part = match bad {
                BadIdentity::Roots => Part::Ca,
                BadIdentity::Certificate => Part::ClientCertificate,
                BadIdentity::Key | BadIdentity::Pair => Part::ClientKey,
            };
            Err(Unusable { part, why: bad.to_string() })
        })
    }
}

impl http::outward::Outward for Outward {
    fn admit<'w>(&'w self, webhook: &'w Webhook) -> Admitted<'w> {
        Box::pin(Outward::admit(self, webhook))
    }

    fn told(&self, webhook: &Webhook, posted: &Posted, at: Timestamp) -> Told {
        told(webhook, posted, at)
    }

    fn shown(&self, event: &Event, message: &Message) -> serde_json::Value {
        formats::shown(event, message)
    }
}

/// The request that tells this at this time.
pub fn told(webhook: &Webhook, posted: &Posted, at: Timestamp) -> Told {
    let attempt = Attempt { at, number: posted.number };
    let request = match posted.told.as_slice() {
        [(event, message)] if event.is_test || !webhook.options.batch => {
            formats::build(webhook, event, message, attempt)
        }
        together => {
            let events: Vec<_> = together.iter().map(|(event, message)| (event, message)).collect();
            formats::build_together(webhook, &events, attempt).0
        }
    };
    let mut headers = request.headers;
    headers.insert(0, ("Content-Type".to_owned(), request.content_type.to_owned()));
    Told { headers, body: request.body }
}
