//! Tells other people's domains what came of TLS with their hosts, once a day, where they ask for it (RFC 8460).
//!
//! A report is taken in hand by one node, which moves the time when it is due; should that node die, the report comes due
//! again. Whoever it goes to by mail has it when the store has the mail, which is then delivered as any other; whoever
//! wants it posted has it when his server said 2xx. What does not succeed is tried again, for a day, and told to the log.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::Full;
use hyper::header::{CONTENT_TYPE, USER_AGENT};
use tokio::task::JoinSet;

use super::{Ground, World, open_fetcher};
use crate::clock::Clock;
use crate::config::{Role, Settings};
use crate::deliver::settings::MX;
use crate::deliver::tls_sessions::TlsSessions;
use crate::dns::{DnsError, Resolver};
use crate::fetch::Fetcher;
use crate::ids::IdSource;
use crate::mail::tls_report::{self, LIFETIME, Reader, Report, Reporter, readers};
use crate::model::address::Address;
use crate::model::id::MessageId;
use crate::model::retry;
use crate::model::tenant::MailAgent;
use crate::model::tls_session::TlsSession;
use crate::store::tls_sessions::{DUE_WITHIN, DueReport};
use crate::store::{Store, StoreError};

/// How often there is a look for reports, and what was counted goes to the store.
const LOOK_EVERY: Duration = Duration::from_secs(60);
/// Reports that are made at one time.
const AT_ONCE: u32 = 8;
/// A node that has had a report in hand for so long is taken for dead.
const IN_HAND: Duration = Duration::from_secs(1800);
/// How long a web server may take over a report, and how much of its answer is read.
const PATIENCE: Duration = Duration::from_secs(60);
const ANSWER_BYTES_MAX: usize = 64 * 1024;

/// Where what came of TLS is counted, if this node delivers and anybody is told.
pub(super) fn sessions(settings: &Settings) -> Option<Arc<TlsSessions>> {
    let is_told = settings.tls_reports.reporter().is_some() && settings.deliver.uses(MX);
    (is_told && settings.roles.contains(&Role::Deliver)).then(Arc::default)
}

/// Starts what counts and tells, where anybody is told.
///
/// # Errors
/// A setting of `egress` makes no sense.
pub(super) fn start(ground: &Ground, background: &mut JoinSet<()>) -> anyhow::Result<()> {
    let (Some(sessions), Some(reporter)) = (&ground.tls_sessions, ground.settings.tls_reports.reporter()) else {
        return Ok(());
    };
    let World { clock, ids, resolver } = ground.world.clone();
    let fetcher = open_fetcher(&ground.settings, resolver.clone())?;
    background.spawn(keep_counts(sessions.clone(), ground.store.clone(), clock.clone()));
    background.spawn(send(Arc::new(Sender { reporter, store: ground.store.clone(), clock, ids, resolver, fetcher })));
    Ok(())
}

/// Gives the store what was counted, over and over.
async fn keep_counts(sessions: Arc<TlsSessions>, store: Store, clock: Clock) {
    loop {
        clock.sleep_until(clock.now() + LOOK_EVERY).await;
        if let Err(fault) = sessions.keep(&store).await {
            tracing::warn!(%fault, "what came of TLS cannot be written down now");
        }
    }
}

/// Sends the reports that are due, over and over.
async fn send(sender: Arc<Sender>) {
    loop {
        if let Err(fault) = sender.round().await {
            tracing::warn!(%fault, "reports about TLS cannot be looked for now");
        }
        sender.clock.sleep_until(sender.clock.now() + LOOK_EVERY).await;
    }
}

/// What sending reports takes.
#[derive(Debug)]
pub struct Sender {
    /// Who reports.
    pub reporter: Reporter,
    /// Knows what was counted.
    pub store: Store,
    /// The time.
    pub clock: Clock,
    /// Names mails.
    pub ids: IdSource,
    /// Looks up who wants reports.
    pub resolver: Arc<dyn Resolver>,
    /// Posts them.
    pub fetcher: Fetcher,
}

impl Sender {
    /// Sends the reports that are due now.
    ///
    /// # Errors
    /// `Unavailable`, `Corrupt`.
    pub async fn round(self: &Arc<Self>) -> Result<(), StoreError> {
        loop {
            let due = self.store.due_tls_reports(AT_ONCE).await?;
            if due.is_empty() {
                return Ok(());
            }
            let from = self.reporter.from.domain();
            let agent = self.store.signing_agent(from).await?.map(Arc::new);
            if agent.is_none() {
                // Unsigned they would have to be ignored (RFC 8460 §3).
                tracing::warn!(
                    from,
                    "reports about TLS cannot be mailed: no mail agent sends and signs for the domain"
                );
            }
            let mut under_way = JoinSet::new();
            for report in due {
                let (sender, agent) = (self.clone(), agent.clone());
                under_way.spawn(async move { sender.attempt(report, agent.as_deref()).await });
            }
            while let Some(done) = under_way.join_next().await {
                done.unwrap_or(Ok(()))?;
            }
        }
    }

    /// Tries one report, if no other node has it in hand.
    async fn attempt(&self, mut report: DueReport, agent: Option<&MailAgent>) -> Result<(), StoreError> {
        let now = self.clock.now();
        if !self.store.claim_tls_report(&report, now + IN_HAND).await? {
            return Ok(());
        }
        let wanted = match report.readers.take() {
            Some(waiting) => Ok(waiting),
            None => self.readers(&report.domain).await,
        };
        let failed = match wanted {
            Ok(waiting) => {
                let failed = self.serve(&report, &waiting, agent).await?;
                report.readers =
                    Some(waiting.into_iter().filter(|uri| failed.iter().any(|(of, _)| of == uri)).collect());
                failed
            }
            Err(why) => vec![("who wants it".to_owned(), why.to_string())],
        };
        let wait = retry::MAIL.get(report.attempts as usize).or(retry::MAIL.last()).copied().unwrap_or(LOOK_EVERY);
        let next = now + wait;
        let is_over = failed.is_empty() || next > report.day.next().start() + DUE_WITHIN + LIFETIME;
        for (to, why) in failed {
            let (domain, day) = (&report.domain, report.day.date());
            match is_over {
                true => tracing::warn!(domain, day, to, why, "a report about TLS is given up"),
                false => tracing::info!(domain, day, to, why, "a report about TLS was not taken; it is tried again"),
            }
        }
        self.store.leave_tls_report(&report, (!is_over).then_some(next)).await
    }

    async fn readers(&self, domain: &str) -> Result<Vec<String>, DnsError> {
        match self.resolver.txt(&format!("_smtp._tls.{domain}")).await {
            Ok(records) => Ok(readers(&records)),
            Err(DnsError::NoSuchName) => Ok(Vec::new()),
            Err(why) => Err(why),
        }
    }

    /// Brings a report to these; who did not get it, and why.
    async fn serve(
        &self,
        report: &DueReport,
        uris: &[String],
        agent: Option<&MailAgent>,
    ) -> Result<Vec<(String, String)>, StoreError> {
        if uris.is_empty() {
            return Ok(Vec::new());
        }
        let counted = self.store.tls_sessions(&report.domain, report.day).await?;
        let sessions: Vec<(TlsSession, u64)> = counted.into_iter().map(|one| (one.session, one.sessions)).collect();
        let document =
            Report { reporter: &self.reporter, domain: &report.domain, day: report.day, sessions: &sessions };
        let mut failed = Vec::new();
        for uri in uris {
            let done = match Reader::of(uri) {
                Some(Reader::Mail(to)) => self.mail(&document, &to, agent).await?,
                Some(Reader::Web(url)) => self.post(&document, &url).await,
                None => Ok(()),
            };
            match done {
                Ok(()) => tracing::info!(
                    domain = report.domain,
                    day = report.day.date(),
                    to = uri,
                    "a report about TLS went out"
                ),
                Err(why) => failed.push((uri.clone(), why)),
            }
        }
        Ok(failed)
    }

    async fn mail(
        &self,
        report: &Report<'_>,
        to: &Address,
        agent: Option<&MailAgent>,
    ) -> Result<Result<(), String>, StoreError> {
        let Some(agent) = agent else { return Ok(Err("nobody signs for us".to_owned())) };
        let now = self.clock.now();
        let id = MessageId::from_uuid(self.ids.uuid(now));
        self.store.accept(report.mail(to, agent, id, now)).await.map(Ok)
    }

    async fn post(&self, report: &Report<'_>, url: &url::Url) -> Result<(), String> {
        let request = hyper::Request::post(url.as_str())
            .header(CONTENT_TYPE, tls_report::CONTENT_TYPE)
            .header(USER_AGENT, concat!("Postback/", env!("CARGO_PKG_VERSION")))
            .body(Full::new(Bytes::from(report.compressed())));
        let request = request.map_err(|fault| fault.to_string())?;
        let answer = self.fetcher.send(request, ANSWER_BYTES_MAX, PATIENCE).await.map_err(|fault| fault.to_string())?;
        if answer.status().is_success() { Ok(()) } else { Err(format!("the answer was {}", answer.status())) }
    }
}
