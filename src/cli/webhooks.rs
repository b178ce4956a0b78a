//! `postback webhook`: who is told of what.

use anyhow::{Context, bail};
use clap::Subcommand;
use postback::config::{Loaded, nearest};
use postback::model::event::{EventKind, EventSet};
use postback::model::id::WebhookId;
use postback::model::secret::Secret;
use postback::model::webhook::{Format, Hits, Webhook};
use postback::webhooks::formats::event_name;

use super::database::Guest;
use super::{LIST_MAX, printable, removed, say, say_table};

#[derive(Subcommand)]
pub(super) enum WebhookCommand {
    /// Add a webhook and show its secret
    Add {
        /// Where to: https, unless settings or capture mode allow http
        url: String,
        /// Kinds of event, in the words of either format [default: those that the format has a word for]
        #[arg(long, value_delimiter = ',', value_name = "LIST")]
        events: Vec<String>,
        /// mailtura, transmail or transmail-json
        #[arg(long, default_value = "mailtura")]
        format: String,
        /// Which opens and clicks: first, persons or all
        #[arg(long, default_value = "first")]
        hits: String,
        /// The secret to sign with [default: a fresh one]
        #[arg(long)]
        secret: Option<String>,
        /// What people call it
        #[arg(long, default_value = "")]
        description: String,
        /// Of which tenant
        #[arg(long, value_name = "SLUG", default_value = "default")]
        tenant: String,
        /// Only events of this mail agent [default: all of the tenant]
        #[arg(long, value_name = "NAME")]
        agent: Option<String>,
    },
    /// Show a tenant's webhooks
    List {
        /// Of which tenant
        #[arg(long, value_name = "SLUG", default_value = "default")]
        tenant: String,
    },
    /// Remove a webhook with everything owed to it
    Remove {
        /// Which: the id that `list` shows
        id: WebhookId,
        /// Of which tenant
        #[arg(long, value_name = "SLUG", default_value = "default")]
        tenant: String,
    },
}

pub(super) async fn run(loaded: &Loaded, command: WebhookCommand) -> anyhow::Result<()> {
    let guest = Guest::open(loaded).await?;
    match command {
        WebhookCommand::Add { url, events, format, hits, secret, description, tenant, agent } => {
            let policy = loaded.settings.egress_policy()?;
            if let Err(refused) = policy.judge_url(&url) {
                bail!("{url} is not allowed: rule {}; see [egress] in the settings", refused.rule.as_str());
            }
            let format = Format::from_word(&format)
                .with_context(|| format!("{format:?} is not one of mailtura, transmail, transmail-json"))?;
            let hits = Hits::from_word(&hits).with_context(|| format!("{hits:?} is not one of first, persons, all"))?;
            let agent = match agent {
                Some(name) => Some(guest.agent(&tenant, &name).await?.id),
                None => None,
            };
            let now = guest.clock.now();
            let id = WebhookId::from_uuid(guest.ids.uuid(now));
            let webhook = Webhook {
                agent,
                description,
                format,
                events: chosen(&events, format)?,
                hits,
                secret: Secret::new(secret.unwrap_or_else(|| fresh_secret(&guest, format))),
                ..Webhook::new(id, guest.tenant(&tenant).await?.id, url, now)
            };
            say(format!("{}  secret {}", webhook.id, webhook.secret.reveal()));
            guest.store.add_webhook(webhook).await.context("add the webhook")?;
        }
        WebhookCommand::List { tenant } => {
            let tenant = guest.tenant(&tenant).await?;
            let webhooks = guest.store.webhooks(tenant.id, None, LIST_MAX).await.context("list webhooks")?;
            let rows: Vec<_> = webhooks.iter().map(row).collect();
            say_table(["ID", "FORMAT", "SWITCH", "URL", "EVENTS"], &rows);
        }
        WebhookCommand::Remove { id, tenant } => {
            let tenant = guest.tenant(&tenant).await?;
            removed(guest.store.remove_webhook(tenant.id, id).await, &format!("webhook {id}"))?;
        }
    }
    guest.store.close().await;
    Ok(())
}

fn row(webhook: &Webhook) -> [String; 5] {
    [
        webhook.id.to_string(),
        webhook.format.as_str().to_owned(),
        webhook.switch.as_str().to_owned(),
        printable(&webhook.url),
        webhook.events.kinds().map(EventKind::as_str).collect::<Vec<_>>().join(","),
    ]
}

/// The kinds that the words name; a word may be ours or that of either format, with or without `email.`.
fn chosen(words: &[String], format: Format) -> anyhow::Result<EventSet> {
    if words.is_empty() {
        return Ok(EventKind::ALL.into_iter().filter(|kind| is_usual(*kind, format)).collect());
    }
    let mut set = EventSet::default();
    for word in words {
        let named: Vec<_> = EventKind::ALL.into_iter().filter(|kind| names(*kind).contains(&word.as_str())).collect();
        if named.is_empty() {
            let meant = nearest(word, EventKind::ALL.into_iter().flat_map(names));
            let meant = meant.map_or(String::new(), |meant| format!("; did you mean `{meant}`?"));
            bail!("{word:?} is no kind of event{meant}");
        }
        set = named.into_iter().fold(set, EventSet::with);
    }
    Ok(set)
}

/// Whether receivers of a format expect a kind of event: TransMail has no word for what was never attempted, nor for
/// acceptance.
fn is_usual(kind: EventKind, format: Format) -> bool {
    match kind {
        EventKind::Deferred | EventKind::Delayed | EventKind::OpenReclassified | EventKind::ClickReclassified => false,
        kind if kind.is_notice() => false,
        EventKind::Sent | EventKind::Failed => format == Format::Mailtura,
        _ => true,
    }
}

fn names(kind: EventKind) -> [&'static str; 4] {
    let mailtura = event_name(Format::Mailtura, kind);
    let bare = mailtura.strip_prefix("email.").unwrap_or(mailtura);
    [kind.as_str(), mailtura, bare, event_name(Format::Transmail, kind)]
}

fn fresh_secret(guest: &Guest, format: Format) -> String {
    match format {
        Format::Mailtura => guest.ids.webhook_secret(),
        Format::Transmail | Format::TransmailJson => guest.ids.secret(""),
    }
}
