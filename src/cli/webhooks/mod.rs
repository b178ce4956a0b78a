//! `postback webhook`: who is told of what, and how that goes.

mod fields;
mod listen;
pub(super) mod look;
mod replay;
mod trial;

use std::sync::Arc;

use anyhow::{Context, bail};
use clap::{Args, Subcommand};
use postback::app::outward::Outward;
use postback::config::Loaded;
use postback::dns;
use postback::model::event::EventKind;
use postback::model::id::{EventId, WebhookId};
use postback::model::secret::Secret;
use postback::model::webhook::{Format, Hits, Switch, Webhook};
use postback::model::webhook_key::WebhookKey;
use postback::model::webhook_options::{check_secret, check_signing};

use super::database::Guest;
use super::{LIST_MAX, printable, removed, say, say_table};
use fields::{Fields, as_it_stands};

#[derive(Subcommand)]
pub(super) enum WebhookCommand {
    /// Add a webhook and show its secret
    Add {
        /// Where to: https, unless settings or capture mode allow http
        url: String,
        #[command(flatten)]
        fields: Box<Fields>,
        /// Of which tenant
        #[arg(long, value_name = "SLUG", default_value = "default")]
        tenant: String,
    },
    /// Show a tenant's webhooks
    List {
        /// Of which tenant
        #[arg(long, value_name = "SLUG", default_value = "default")]
        tenant: String,
    },
    /// Show all about a webhook, and how it fares
    Show(Which),
    /// Change what is named of a webhook
    #[command(mut_args(as_it_stands))]
    Set {
        #[command(flatten)]
        which: Which,
        /// Where to
        #[arg(long)]
        url: Option<String>,
        #[command(flatten)]
        fields: Box<Fields>,
    },
    /// Switch a webhook on, end its pause, and let all that waits for it go now
    Enable(Which),
    /// Switch a webhook off: what is queued waits, and what happens meanwhile is not queued
    Disable(Which),
    /// Remove a webhook with everything owed to it
    Remove(Which),
    /// Give a webhook a new secret; the old one is good for a while
    Rotate {
        #[command(flatten)]
        which: Which,
        /// The new secret [default: a fresh one]
        #[arg(long)]
        secret: Option<String>,
        /// Hours for which the old one is good
        #[arg(long, value_name = "HOURS", default_value_t = 24, value_parser = clap::value_parser!(u16).range(0..=168))]
        overlap: u16,
    },
    /// Sign with the new secret at once where a request carries one signature only
    Activate(Which),
    /// Let the old secret count for nothing from now on
    Revoke(Which),
    /// Post a test event, to a webhook or to one that is only tried out, and show what came of it
    Test(Box<trial::Arguments>),
    /// What was posted to a webhook and what it answered, newest first; with an event, all about that one
    Log {
        #[command(flatten)]
        which: Which,
        /// An event (evt_…)
        event: Option<EventId>,
        /// Only what failed
        #[arg(long)]
        failed: bool,
        /// So many
        #[arg(long, default_value_t = 50)]
        limit: u32,
    },
    /// Tell a webhook again: one event, or all that a filter takes
    Replay(replay::Arguments),
    /// Receive webhooks here, and show and verify what arrives
    Listen(listen::Arguments),
}

/// Which webhook.
#[derive(Args)]
pub(super) struct Which {
    /// The webhook (wh_…): the id that `list` shows
    id: WebhookId,
    /// Of which tenant
    #[arg(long, value_name = "SLUG", default_value = "default")]
    tenant: String,
}

/// Hours as seconds.
const HOUR_SECS: u64 = 3600;

pub(super) async fn run(loaded: &Loaded, command: WebhookCommand) -> anyhow::Result<()> {
    if let WebhookCommand::Listen(arguments) = command {
        return listen::run(arguments).await;
    }
    let house = House { guest: Guest::open(loaded).await?, loaded };
    match command {
        WebhookCommand::Add { url, fields, tenant } => house.add(url, &fields, &tenant).await?,
        WebhookCommand::List { tenant } => house.list(&tenant).await?,
        WebhookCommand::Show(which) => house.show(&house.webhook(&which).await?).await?,
        WebhookCommand::Set { which, url, fields } => {
            let webhook = house.webhook(&which).await?;
            let is_named = url.is_some();
            let url = url.unwrap_or_else(|| webhook.url.clone());
            let tried = house.filled(Webhook { url, ..webhook }, &fields, &which.tenant).await?;
            let change = move |webhook: &mut Webhook| {
                let url = if is_named { tried.url } else { webhook.url.clone() };
                let agent = if fields.agent.is_some() { tried.agent } else { webhook.agent };
                *webhook = fields.set(Webhook { url, agent, ..webhook.clone() })?;
                Ok(())
            };
            house.change(&which, change).await?;
        }
        WebhookCommand::Enable(which) => house.enable(&which).await?,
        WebhookCommand::Disable(which) => house.set(&which, |webhook| webhook.switch = Switch::OffByOwner).await?,
        WebhookCommand::Remove(Which { id, tenant }) => {
            let tenant = house.guest.tenant(&tenant).await?;
            removed(house.guest.store.remove_webhook(tenant.id, id).await, &format!("webhook {id}"))?;
        }
        WebhookCommand::Rotate { which, secret, overlap } => house.rotate(&which, secret, overlap).await?,
        WebhookCommand::Activate(which) => house.set(&which, Webhook::activate).await?,
        WebhookCommand::Revoke(which) => house.set(&which, |webhook| webhook.old_secret = None).await?,
        WebhookCommand::Test(arguments) => house.test(&arguments).await?,
        WebhookCommand::Log { which, event, failed, limit } => {
            let webhook = house.webhook(&which).await?;
            match event {
                Some(event) => house.tell_dispatch(&webhook, event).await?,
                None => house.tell_log(&webhook, failed, limit).await?,
            }
        }
        WebhookCommand::Replay(arguments) => house.replay(&arguments).await?,
        WebhookCommand::Listen(_) => {}
    }
    house.guest.store.close().await;
    Ok(())
}

/// The database, and the settings that it was opened with.
struct House<'l> {
    guest: Guest,
    loaded: &'l Loaded,
}

impl House<'_> {
    async fn webhook(&self, which: &Which) -> anyhow::Result<Webhook> {
        let tenant = self.guest.tenant(&which.tenant).await?;
        let found = self.guest.store.webhook(tenant.id, which.id).await.context("look for the webhook")?;
        found.with_context(|| format!("there is no webhook {}; see `postback webhook list`", which.id))
    }

    fn outward(&self) -> anyhow::Result<Outward> {
        let settings = &self.loaded.settings;
        Outward::of_a_guest(settings, Arc::new(dns::Network::new(&settings.dns)?))
    }

    async fn add(&self, url: String, fields: &Fields, tenant: &str) -> anyhow::Result<()> {
        let webhook = self.filled(self.fresh(url, tenant).await?, fields, tenant).await?;
        let webhook = self.with_some_secret(webhook).await?;
        self.guest.store.add_webhook(webhook.clone()).await.context("add the webhook")?;
        say(match webhook.secret.reveal() {
            "" => format!("{}  signed with the authentication key of the mail agent", webhook.id),
            secret => format!("{}  secret {secret}{}", webhook.id, public_key(&webhook)),
        });
        Ok(())
    }

    async fn fresh(&self, url: String, tenant: &str) -> anyhow::Result<Webhook> {
        let now = self.guest.clock.now();
        let id = WebhookId::from_uuid(self.guest.ids.uuid(now));
        Ok(Webhook::new(id, self.guest.tenant(tenant).await?.id, url, now))
    }

    async fn with_some_secret(&self, webhook: Webhook) -> anyhow::Result<Webhook> {
        self.guest.store.with_some_secret(webhook, self.fresh_secret()).await.context("look who signs")
    }

    fn fresh_secret(&self) -> Secret {
        Secret::new(self.guest.ids.webhook_secret())
    }

    /// With what is named set, if it can be.
    async fn filled(&self, webhook: Webhook, fields: &Fields, tenant: &str) -> anyhow::Result<Webhook> {
        let agent = match fields.agent.as_deref() {
            None => webhook.agent,
            Some("") => None,
            Some(name) => Some(self.guest.agent(tenant, name).await?.id),
        };
        let webhook = fields.set(Webhook { agent, ..webhook })?;
        let secret = Secret::new(self.guest.ids.given_secret(webhook.secret.reveal()));
        let webhook = Webhook { secret, ..webhook };
        match self.outward()?.admit(&webhook).await {
            Ok(url) => Ok(Webhook { url, ..webhook }),
            Err(unusable) => bail!("{}: {}; see [egress] in the settings", printable(&webhook.url), unusable.why),
        }
    }

    async fn enable(&self, which: &Which) -> anyhow::Result<()> {
        self.set(which, |webhook| webhook.switch = Switch::On).await?;
        let let_go = self.guest.store.let_go_dispatches(which.id).await.context("let go what waits")?;
        if let_go.hurried > 0 {
            let more = if let_go.has_more { ", and more by and by" } else { "" };
            say(format!("due now that waited for another attempt: {}{more}", let_go.hurried));
        }
        Ok(())
    }

    async fn set(&self, which: &Which, set: impl FnOnce(&mut Webhook) + Send + 'static) -> anyhow::Result<()> {
        let change = |webhook: &mut Webhook| {
            set(webhook);
            Ok(())
        };
        self.change(which, change).await
    }

    async fn change(
        &self,
        which: &Which,
        change: impl FnOnce(&mut Webhook) -> anyhow::Result<()> + Send + 'static,
    ) -> anyhow::Result<()> {
        let tenant = self.guest.tenant(&which.tenant).await?;
        let fresh = self.fresh_secret();
        let done = self.guest.store.change_webhook(tenant.id, which.id, fresh.clone(), change).await;
        if changed(which, done)?.secret == fresh {
            say(format!("nothing else signed any more: secret {}", fresh.reveal()));
        }
        Ok(())
    }

    async fn rotate(&self, which: &Which, secret: Option<String>, overlap: u16) -> anyhow::Result<()> {
        let Webhook { tenant, id, format, secret: before, .. } = self.webhook(which).await?;
        let given = secret.as_deref().unwrap_or_default();
        secret.as_deref().map_or(Ok(()), check_secret).and_then(|()| check_signing(format, given))?;
        let until = self.guest.clock.now() + std::time::Duration::from_secs(u64::from(overlap) * HOUR_SECS);
        let ids = &self.guest.ids;
        let fresh = secret.map_or_else(|| ids.secret_like(before.reveal()), |secret| ids.given_secret(&secret));
        let fresh = Secret::new(fresh);
        let rotated = self.guest.store.rotate_secret(tenant, id, fresh, until).await;
        let webhook = changed(which, rotated.map_err(anyhow::Error::from))?;
        say(format!("secret {}{}", webhook.secret.reveal(), public_key(&webhook)));
        if webhook.old_secret.is_some() {
            say(format!("the old one is good until {until}, and signs alone until then or `activate`"));
        }
        Ok(())
    }

    async fn list(&self, tenant: &str) -> anyhow::Result<()> {
        let tenant = self.guest.tenant(tenant).await?;
        let webhooks = self.guest.store.webhooks(tenant.id, None, LIST_MAX).await.context("list webhooks")?;
        let mut rows = Vec::with_capacity(webhooks.len());
        for webhook in &webhooks {
            rows.push(self.row(webhook).await?);
        }
        say_table(["ID", "FORMAT", "STATE", "URL", "EVENTS"], &rows);
        Ok(())
    }

    async fn row(&self, webhook: &Webhook) -> anyhow::Result<[String; 5]> {
        let health = self.guest.store.webhook_health(webhook.id).await.context("look at its health")?;
        let now = self.guest.clock.now();
        Ok([
            webhook.id.to_string(),
            webhook.format.as_str().to_owned(),
            look::state(webhook, health.as_ref(), now).to_owned(),
            printable(&webhook.url),
            webhook.events.kinds().map(EventKind::as_str).collect::<Vec<_>>().join(","),
        ])
    }
}

/// What receivers verify with, where that is not the secret.
fn public_key(webhook: &Webhook) -> String {
    let key = WebhookKey::of(webhook.secret.reveal());
    key.map_or(String::new(), |key| format!("  public key {}", key.public()))
}

fn changed(which: &Which, done: anyhow::Result<Option<Webhook>>) -> anyhow::Result<Webhook> {
    let gone = || format!("there is no webhook {}; see `postback webhook list`", which.id);
    let webhook = done.context("change the webhook")?.with_context(gone)?;
    say(format!("changed webhook {}", webhook.id));
    Ok(webhook)
}

/// A format by its word.
fn format_from(word: &str) -> Result<Format, String> {
    Format::from_word(word).ok_or_else(|| format!("{word:?} is not one of mailtura, transmail, transmail-json"))
}

/// A choice of opens and clicks by its word.
fn hits_from(word: &str) -> Result<Hits, String> {
    Hits::from_word(word).ok_or_else(|| format!("{word:?} is not one of first, persons, all"))
}
