//! Certificates by themselves: ordered from an authority by ACME (RFC 8555), renewed when two thirds of their time are
//! over, taken into use for new connections as soon as they are there.
//!
//! The authority looks for its answer at our HTTP door, by http and port 80 under each name (`http-01`). What is got
//! stands in one file of the data folder, key and chain, replaced as a whole; the account stands beside it. Until there is
//! a certificate the doors show the self-signed one. Tracking hosts get certificates of their own, in the same way, once
//! their DNS leads here; those that were put there by hand are renewed too. Nothing of this holds up the start, or mail.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::time::Duration;

use anyhow::{Context, bail};
use bytes::Bytes;
use instant_acme::{
    Account, AccountCredentials, AuthorizationStatus, BodyWrapper, BytesResponse, ChallengeType, HttpClient,
    Identifier, NewAccount, NewOrder, OrderStatus, RetryPolicy,
};
use serde::{Deserialize, Serialize};

use crate::clock::Clock;
use crate::fetch::Fetcher;
use crate::model::time::Timestamp;
use crate::model::tracking::TrackingHost;
use crate::store::Store;
use crate::tls::challenges::Challenges;
use crate::tls::orders::Order;
use crate::tls::{Acme, Certificates, hosts};

/// How often there is a look whether it is time, at least.
const LOOK_EVERY: Duration = Duration::from_secs(12 * 3600);
/// How long it takes until an order that failed is tried again. Authorities count failures by the hour.
const RETRY_EVERY: Duration = Duration::from_secs(3600);
/// How often there is a look for tracking hosts that want a certificate.
const HOSTS_EVERY: Duration = Duration::from_secs(5);
/// Certificates of tracking hosts that are ordered in one go.
const HOSTS_MAX: usize = 5;
/// A certificate that lasts longer is the one that we made ourselves.
const LASTS_MAX: Duration = Duration::from_secs(800 * 86_400);
/// How long an authority may think, and answer.
const PATIENCE: Duration = Duration::from_secs(120);
const ANSWER_BYTES_MAX: usize = 1 << 20;

/// What ordering takes.
pub(super) struct Orders {
    pub(super) settings: Acme,
    pub(super) names: Vec<String>,
    /// Where the account is kept.
    pub(super) account: PathBuf,
    pub(super) data: PathBuf,
    pub(super) store: Store,
    pub(super) certificates: Certificates,
    pub(super) challenges: Challenges,
    pub(super) fetcher: Fetcher,
}

/// What is kept between orders.
#[derive(Serialize, Deserialize)]
struct Kept {
    directory: String,
    /// Of the last certificate.
    names: Vec<String>,
    credentials: AccountCredentials,
}

/// What an order brought, as PEM.
struct Ordered {
    key: String,
    chain: String,
}

/// Orders when it is time, for ever.
pub(super) async fn keep(orders: Orders, clock: Clock) {
    let mut look_at = clock.now();
    let mut failed = HashMap::new();
    loop {
        let now = clock.now();
        look_at = match orders.due_at() {
            _ if look_at > now => look_at,
            Some(due_at) if due_at > now => due_at.min(now + LOOK_EVERY),
            _ => match orders.renew().await {
                Ok(()) => {
                    tracing::info!(names = orders.names.join(", "), "a certificate was got, and is in use");
                    orders.note_order("", clock.now(), None);
                    now + LOOK_EVERY
                }
                Err(fault) => {
                    let fault = format!("{fault:#}");
                    tracing::error!(fault, "no certificate was got; it is tried again in an hour");
                    orders.note_order("", clock.now(), Some((fault, now + RETRY_EVERY)));
                    now + RETRY_EVERY
                }
            },
        };
        orders.look_at_hosts(&mut failed, now).await;
        clock.sleep_until(look_at.min(clock.now() + HOSTS_EVERY)).await;
    }
}

impl Orders {
    /// When the certificate in use should be replaced; `None`: now.
    fn due_at(&self) -> Option<Timestamp> {
        let validity = self.certificates.validity()?;
        let lasts = validity.until.since(validity.from);
        let is_theirs = lasts <= LASTS_MAX && self.kept().is_some_and(|kept| kept.names == self.names);
        is_theirs.then(|| validity.from + lasts * 2 / 3)
    }

    /// Orders for tracking hosts that have no certificate that readers believe, or one that should be replaced. What
    /// `failed` is not tried again for a while.
    async fn look_at_hosts(&self, failed: &mut HashMap<String, Timestamp>, now: Timestamp) {
        failed.retain(|_, at| now.since(*at) < RETRY_EVERY);
        // The store says itself that it is away.
        let hosts = self.store.tracking_hosts().await.unwrap_or_default();
        let is_due = |host: &&TrackingHost| match self.certificates.validity_of(&host.host) {
            Some(validity) => now >= validity.from + validity.until.since(validity.from) * 2 / 3,
            None => !host.is_ready(),
        };
        let due = hosts.iter().filter(is_due).filter(|host| !failed.contains_key(&host.host));
        for host in due.take(HOSTS_MAX).cloned().collect::<Vec<_>>() {
            match self.order_for(&host.host).await {
                Ok(()) => {
                    tracing::info!(host = host.host, "a certificate was got for a tracking host");
                    self.note_order(&host.host, now, None);
                }
                Err(fault) => {
                    let fault = format!("{fault:#}");
                    tracing::warn!(
                        host = host.host,
                        fault,
                        "no certificate was got for a tracking host; in an hour again"
                    );
                    self.note_order(&host.host, now, Some((fault, now + RETRY_EVERY)));
                    failed.insert(host.host, now);
                }
            }
        }
    }

    fn note_order(&self, host: &str, at: Timestamp, fault: Option<(String, Timestamp)>) {
        self.certificates.orders().note(&hosts::name(host), Order { at, fault });
    }

    async fn order_for(&self, host: &str) -> anyhow::Result<()> {
        let name = host.split(':').next().unwrap_or(host).to_owned();
        let ordered = tokio::time::timeout(PATIENCE * 2, self.order(&[name])).await;
        self.challenges.clear();
        let Ordered { key, chain } = ordered.context("the authority took too long")??;
        hosts::put(&self.data, host, &chain, &key).context("use the new certificate")?;
        self.certificates.reload().context("use the new certificate")
    }

    fn kept(&self) -> Option<Kept> {
        let text = std::fs::read_to_string(&self.account).ok()?;
        let kept: Kept = serde_json::from_str(&text).ok()?;
        (kept.directory == self.settings.directory).then_some(kept)
    }

    async fn renew(&self) -> anyhow::Result<()> {
        let ordered = tokio::time::timeout(PATIENCE * 2, self.order(&self.names)).await;
        self.challenges.clear();
        let Ordered { key, chain } = ordered.context("the authority took too long")??;
        self.certificates.replace(&format!("{key}{chain}")).context("use the new certificate")?;
        self.kept().map_or(Ok(()), |kept| self.note(kept.credentials))
    }

    /// The account, made now if there is none.
    async fn account(&self) -> anyhow::Result<Account> {
        let builder = Account::builder_with_http(Box::new(Http(self.fetcher.clone())));
        if let Some(kept) = self.kept() {
            return builder.from_credentials(kept.credentials).await.context("use the account");
        }
        let contact = format!("mailto:{}", self.settings.contact);
        let contact: &[&str] = if self.settings.contact.is_empty() { &[] } else { &[&contact] };
        let new =
            NewAccount { contact, terms_of_service_agreed: self.settings.agree_to_terms, only_return_existing: false };
        let made = builder.create(&new, self.settings.directory.clone(), None).await;
        let (account, credentials) = made.context("make an account")?;
        self.note(credentials)?;
        Ok(account)
    }

    fn note(&self, credentials: AccountCredentials) -> anyhow::Result<()> {
        let kept = Kept { directory: self.settings.directory.clone(), names: self.names.clone(), credentials };
        write(&self.account, &serde_json::to_string(&kept)?)
    }

    async fn order(&self, names: &[String]) -> anyhow::Result<Ordered> {
        let account = self.account().await?;
        let identifiers: Vec<Identifier> = names.iter().cloned().map(Identifier::Dns).collect();
        let mut order = account.new_order(&NewOrder::new(&identifiers)).await.context("order")?;
        let mut authorizations = order.authorizations();
        while let Some(authorization) = authorizations.next().await {
            let mut authorization = authorization.context("read what must be shown")?;
            if authorization.status == AuthorizationStatus::Valid {
                continue;
            }
            let mut challenge = authorization
                .challenge(ChallengeType::Http01)
                .context("the authority does not look by http; certificates can come from files")?;
            self.challenges.expect(&challenge.token, challenge.key_authorization().as_str());
            challenge.set_ready().await.context("say that the answer is there")?;
        }
        let patience = RetryPolicy::new().timeout(PATIENCE);
        if order.poll_ready(&patience).await.context("wait to be believed")? != OrderStatus::Ready {
            bail!("the authority did not find its answer by http, at port 80 under {}", names.join(", "));
        }
        let key = order.finalize().await.context("ask for the certificate")?;
        let chain = order.poll_certificate(&patience).await.context("fetch the certificate")?;
        Ok(Ordered { key, chain })
    }
}

/// Writes a whole file that only its owner may read.
fn write(path: &Path, text: &str) -> anyhow::Result<()> {
    crate::tls::write(path, text).with_context(|| format!("write {}", path.display()))
}

/// The way to the authority: where our own questions may go, believing whom they believe.
struct Http(Fetcher);

impl HttpClient for Http {
    fn request(
        &self,
        request: hyper::Request<BodyWrapper<Bytes>>,
    ) -> Pin<Box<dyn Future<Output = Result<BytesResponse, instant_acme::Error>> + Send>> {
        let fetcher = self.0.clone();
        Box::pin(async move {
            let sent = fetcher.send(request, ANSWER_BYTES_MAX, PATIENCE).await;
            sent.map(BytesResponse::from).map_err(|fault| instant_acme::Error::Other(Box::new(fault)))
        })
    }
}
