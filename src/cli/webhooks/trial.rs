//! `postback webhook test`: an event that did not happen goes the whole way, from here, whether or not a server runs.

use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, bail};
use clap::Args;
use postback::app::outward::told;
use postback::http::outward::Told;
use postback::model::event::{Event, EventKind};
use postback::model::id::WebhookId;
use postback::model::message::Message;
use postback::model::preview::{Draw, Preview, Stale};
use postback::model::sample;
use postback::model::tenant::{DEFAULT_AGENT, MailAgent};
use postback::model::webhook::{DispatchId, DispatchState, Webhook};
use postback::model::webhook_attempt::Posted;
use postback::webhooks;

use super::fields::{Fields, chosen};
use super::{House, Which, look};
use crate::cli::say;

/// How long the answer to a test is waited for.
const PATIENCE: Duration = Duration::from_secs(20);
/// How often it is looked for.
const LOOK: Duration = Duration::from_millis(20);

#[derive(Args)]
pub(in crate::cli) struct Arguments {
    /// The webhook (wh_…)
    #[arg(required_unless_present = "url")]
    id: Option<WebhookId>,
    /// Try this URL with the flags below, without adding a webhook
    #[arg(long, conflicts_with = "id")]
    url: Option<String>,
    /// Which kinds of event, in the words of either format, or `all`
    #[arg(long, value_delimiter = ',', value_name = "LIST", default_value = "delivered")]
    event: Vec<String>,
    /// Only show what would be posted
    #[arg(long)]
    preview: bool,
    /// Send exactly what a preview of the same webhook showed less than four minutes ago
    #[arg(long, value_name = "PRV", conflicts_with_all = ["preview", "event"])]
    exactly: Option<Preview>,
    #[command(flatten)]
    fields: Fields,
    /// Of which tenant
    #[arg(long, value_name = "SLUG", default_value = "default")]
    tenant: String,
}

impl House<'_> {
    pub(super) async fn test(&self, arguments: &Arguments) -> anyhow::Result<()> {
        let tenant = &arguments.tenant;
        let (webhook, is_draft) = match (&arguments.url, arguments.id) {
            (Some(url), _) => {
                let fresh = self.fresh(url.clone(), tenant).await?;
                (self.with_some_secret(self.filled(fresh, &arguments.fields, tenant).await?).await?, true)
            }
            (None, Some(id)) => (self.webhook(&Which { id, tenant: tenant.clone() }).await?, false),
            (None, None) => bail!("name a webhook, or a --url"),
        };
        let kinds = match (arguments.exactly, arguments.event.as_slice()) {
            (Some(preview), _) => vec![preview.kind],
            (None, [word]) if word == "all" => EventKind::ALL.to_vec(),
            (None, words) => chosen(words, webhook.format)?.kinds().collect(),
        };
        let agent = self.agent_of(&webhook, tenant).await?;
        let mut failed = 0;
        for kind in kinds {
            let draw = match arguments.exactly {
                Some(preview) => preview.draw,
                None => Draw::new(self.guest.ids.bytes(), self.guest.clock.now()),
            };
            let id = if is_draft { sample::draft(draw) } else { webhook.id };
            let webhook = Webhook { id, ..webhook.clone() };
            let (message, event) = sample::of_kind(kind, &webhook, &agent, draw);
            say(format!("{} {}", kind.as_str(), event.id));
            if arguments.preview || arguments.exactly.is_some() {
                let shown = self.shown(&webhook, (&event, &message), draw).await?;
                match arguments.exactly {
                    Some(preview) => self.check(preview, &webhook, &event, &shown.body).await?,
                    None => {
                        look::tell_message(&shown.headers, &String::from_utf8_lossy(&shown.body), &webhook);
                        let preview = Preview::of(draw, kind, &webhook.url, &shown.body);
                        say(format!("\nsend exactly this until {} with --exactly {preview}", preview.good_until()));
                        continue;
                    }
                }
            }
            let store = &self.guest.store;
            let dispatch = match is_draft {
                true => store.dispatch_draft_test(message, event, webhook.clone()).await,
                false => store.dispatch_test(message, event, webhook.id).await,
            };
            let dispatch = dispatch.context("queue the test")?;
            failed += usize::from(!self.outcome(dispatch).await?);
            if is_draft {
                store.remove_draft(webhook.tenant, dispatch.webhook).await.context("remove the draft")?;
            }
        }
        if failed > 0 { bail!("{failed} did not arrive") } else { Ok(()) }
    }

    /// The request as it is at the time of the draw.
    async fn shown(&self, webhook: &Webhook, (event, message): (&Event, &Message), draw: Draw) -> anyhow::Result<Told> {
        let signing = self.guest.store.signing_for(webhook.clone(), event.agent).await.context("look who signs")?;
        let posted = Posted { number: 1, told: vec![(event.clone(), message.clone())] };
        Ok(told(&signing, &posted, draw.at()))
    }

    /// Whether what was previewed is what would be sent, and was not.
    async fn check(&self, preview: Preview, webhook: &Webhook, event: &Event, body: &[u8]) -> anyhow::Result<()> {
        let good = preview.check(&webhook.url, body, self.guest.clock.now());
        let sent = self.guest.store.event(webhook.tenant, event.id).await.context("look whether it was sent")?;
        let stale = good.err().or(sent.map(|_| Stale::Sent));
        stale.map_or(Ok(()), |stale| bail!("{}", stale.why()))
    }

    async fn agent_of(&self, webhook: &Webhook, tenant: &str) -> anyhow::Result<MailAgent> {
        let agents = self.guest.store.agents(webhook.tenant, "", 500).await.context("list mail agents")?;
        match agents.into_iter().find(|agent| Some(agent.id) == webhook.agent) {
            Some(agent) => Ok(agent),
            None => self.guest.agent(tenant, DEFAULT_AGENT).await,
        }
    }

    /// Posts what is to be tested, here and now, unless a server is faster; whether it arrived.
    async fn outcome(&self, dispatch: DispatchId) -> anyhow::Result<bool> {
        let (store, clock) = (&self.guest.store, &self.guest.clock);
        let worker = webhooks::start_trials(&self.outward()?.parts(store, clock, &Arc::default()));
        let settled = tokio::time::timeout(PATIENCE, async {
            loop {
                let standing = store.dispatch(dispatch).await.context("look for the outcome")?;
                let standing = standing.context("the test is gone")?;
                if standing.state != DispatchState::Queued {
                    return anyhow::Ok(standing.state);
                }
                tokio::time::sleep(LOOK).await;
            }
        });
        let state = settled.await.with_context(|| format!("no attempt ended within {} s", PATIENCE.as_secs()))??;
        worker.drain(Duration::from_secs(1)).await;
        store.dispatch_attempts(dispatch).await.context("read the attempt")?.iter().for_each(look::tell_attempt);
        Ok(state == DispatchState::Arrived)
    }
}
