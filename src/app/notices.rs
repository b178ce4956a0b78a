//! Tells by mail that a webhook has failed for long or was switched off, or that a mail agent has sent more today than it is
//! to be warned of: to whom their owner has named (`notify`), from their own mail agent, through our own intake. Where
//! nobody is named, nobody is told by mail; the event is there all the same.
//!
//! At least once: a notice is removed when its mail has been accepted, which no daily limit stands in the way of. One that
//! cannot be accepted, since the agent has no domain to send from, is told to the log.

use std::time::Duration;

use anyhow::Context;

use crate::clock::Clock;
use crate::intake::Intake;
use crate::intake::submission::{Content, Refusal, Submission, Switches};
use crate::mail::compose;
use crate::model::address::{Address, Mailbox};
use crate::model::event::{Detail, Event, EventKind};
use crate::model::id::WebhookId;
use crate::model::message::Source;
use crate::model::tenant::{DEFAULT_AGENT, Grant, MailAgent};
use crate::model::webhook::Webhook;
use crate::store::{Store, StoreError};

/// How often there is a look for notices.
const LOOK_EVERY: Duration = Duration::from_secs(30);
/// The tag of these mails, so that their own events can be told from others'.
const TAG: &str = "postback-notice";

/// Mails what notices there are, for ever.
pub(super) async fn mail(store: Store, intake: Intake, clock: Clock) {
    loop {
        if let Err(fault) = mail_once(&store, &intake).await {
            tracing::warn!(fault = format!("{fault:#}"), "notices wait");
        }
        tokio::select! {
            () = clock.sleep_until(clock.now() + LOOK_EVERY) => {}
            () = store.wakes().notices.heard() => {}
        }
    }
}

/// Mails what notices there are now.
async fn mail_once(store: &Store, intake: &Intake) -> anyhow::Result<()> {
    for notice in store.notices().await.context("read the notices")? {
        tell(&notice);
        let letter = letter_for(store, intake, &notice).await?;
        if let Some((grant, submission)) = letter {
            match intake.submit(&grant, submission).await {
                Ok(receipt) => {
                    tracing::info!(event.id = %notice.id, message.id = %receipt.message, "a notice was mailed")
                }
                Err(Refusal::Rejected(why)) => {
                    tracing::warn!(event.id = %notice.id, %why, "a notice cannot be mailed");
                }
                Err(Refusal::Unavailable | Refusal::Raced | Refusal::DailyLimit { .. }) => {
                    anyhow::bail!("no mail is taken now")
                }
            }
        }
        store.remove_notice(notice.id).await.context("remove a notice")?;
    }
    Ok(())
}

/// Says it in the log, too.
fn tell(notice: &Event) {
    if let Detail::DailyWarning { agent_key, warning, sent } = &notice.detail {
        let tenant = notice.tenant;
        tracing::warn!(%tenant, agent_key, warning, sent, "a mail agent has sent more today than it is to be warned of");
    }
    let Detail::Webhook { webhook, failures, error, .. } = &notice.detail else { return };
    let what = match notice.kind {
        EventKind::WebhookDisabled => "a webhook was switched off; `postback webhook enable` when its receiver is back",
        EventKind::WebhookExhausted => "an event for a webhook was given up; `postback webhook replay` tells it again",
        EventKind::WebhookRecovered => {
            return tracing::info!(webhook.id = %webhook, failures, error, "a webhook that failed is well again");
        }
        _ => "a webhook fails; `postback webhook log` says how",
    };
    tracing::warn!(webhook.id = %webhook, failures, error, "{what}");
}

/// What there is to mail, and for whom.
struct Letter {
    agent: MailAgent,
    readers: Vec<String>,
    subject: String,
    text: String,
}

/// The mail of a notice, and who may send it; `None` when nobody wants one.
async fn letter_for(store: &Store, intake: &Intake, notice: &Event) -> anyhow::Result<Option<(Grant, Submission)>> {
    let found = match &notice.detail {
        Detail::Webhook { webhook, .. } => of_webhook(store, notice, *webhook).await.context("look for the webhook")?,
        Detail::DailyWarning { agent_key, warning, sent } => {
            let agent = store.agent_with_key(notice.tenant, agent_key).await.context("look for the mail agent")?;
            agent.map(|agent| warning_letter(agent, *warning, *sent))
        }
        _ => None,
    };
    let Some(Letter { agent, readers, subject, text }) = found.filter(|letter| !letter.readers.is_empty()) else {
        return Ok(None);
    };
    let Some(grant) = grant_of(store, agent).await.context("look for its tenant")? else { return Ok(None) };
    let readers: Vec<Address> = readers.iter().filter_map(|reader| reader.parse().ok()).collect();
    let from = grant.usual_sender(&intake.settings().hostname);
    let parts = compose::Parts {
        to: readers.iter().map(|reader| Mailbox::bare(reader.to_string())).collect(),
        from,
        subject,
        text: Some(text),
        ..compose::Parts::default()
    };
    let switches = Switches {
        track_opens: Some(false),
        track_clicks: Some(false),
        tags: vec![TAG.to_owned()],
        ..Switches::default()
    };
    let content = Content::Parts(Box::new(parts));
    Ok(Some((grant, Submission { source: Source::Http, sender: None, recipients: readers, content, switches })))
}

/// In the name of the webhook's mail agent, or of its tenant's first.
async fn of_webhook(store: &Store, notice: &Event, id: WebhookId) -> Result<Option<Letter>, StoreError> {
    const AGENTS_MAX: u32 = 1000;
    let Some(webhook) = store.webhook(notice.tenant, id).await? else { return Ok(None) };
    let mut agents = store.agents(webhook.tenant, "", AGENTS_MAX).await?;
    let is_meant = |agent: &MailAgent| match webhook.agent {
        Some(id) => agent.id == id,
        None => agent.name == DEFAULT_AGENT,
    };
    if agents.is_empty() {
        return Ok(None);
    }
    let agent = agents.swap_remove(agents.iter().position(is_meant).unwrap_or(0));
    let (subject, text) = letter(&webhook, notice);
    Ok(Some(Letter { agent, readers: webhook.options.notify, subject, text }))
}

fn warning_letter(agent: MailAgent, warning: u64, sent: u64) -> Letter {
    let name = agent.name.replace(char::is_control, " ");
    let limit = match agent.settings.daily_limit {
        Some(limit) => format!("More than {limit} a day are not accepted.\n"),
        None => "No limit stands in its way.\n".to_owned(),
    };
    let text = format!(
        "The mail agent {name} has sent to {sent} recipients today (UTC), more than the {warning} that it is to be\n\
         warned of. {limit}\nYou are told once a day. Mail agent: {key}\n",
        key = agent.key,
    );
    let (subject, readers) =
        (format!("{name} has sent to more than {warning} recipients today"), agent.settings.notify.clone());
    Letter { agent, readers, subject, text }
}

/// The right to send as this mail agent. What the house tells comes to no more than a few mails a day, and no limit of a
/// day keeps it back.
async fn grant_of(store: &Store, mut agent: MailAgent) -> Result<Option<Grant>, StoreError> {
    let Some(mut tenant) = store.tenant_with_id(agent.tenant).await? else { return Ok(None) };
    let domains = store.domains(agent.id).await?;
    (tenant.settings.daily_limit, agent.settings.daily_limit) = (None, None);
    Ok(Some(Grant::of_house(tenant, agent, domains)))
}

/// Subject and text.
fn letter(webhook: &Webhook, notice: &Event) -> (String, String) {
    let Detail::Webhook { since, failures, error, .. } = &notice.detail else { return Default::default() };
    let name = match webhook.description.as_str() {
        "" => webhook.id.to_string(),
        description => format!("{} ({})", description.replace(char::is_control, " "), webhook.id),
    };
    let (subject, headline) = match notice.kind {
        EventKind::WebhookDisabled => ("A webhook was switched off", "was switched off"),
        EventKind::WebhookExhausted => {
            ("An event for a webhook was given up", "was not told of an event, after all attempts")
        }
        EventKind::WebhookRecovered => ("A webhook is well again", "works again"),
        _ => ("A webhook fails", "has failed for a day"),
    };
    let since = since.map_or_else(|| notice.at.rfc3339_seconds(), |since| since.rfc3339_seconds());
    let what_now = match notice.kind {
        EventKind::WebhookDisabled => format!(
            "Nothing is posted to it any more. Nothing is lost either: what it was owed waits, and new events are\n\
             queued for it. When the receiver is back, switch the webhook on, and all of them go out:\n\n    \
             postback webhook enable {id}\n",
            id = webhook.id
        ),
        EventKind::WebhookExhausted => format!(
            "The event is kept, and can be told again, with whatever else is given up until the receiver is back:\n\n    \
             postback webhook replay {id} --since 7d\n",
            id = webhook.id
        ),
        EventKind::WebhookRecovered => {
            "What waits for another attempt goes out by itself. What was given up is told by a replay.\n".to_owned()
        }
        _ => "Attempts go on, farther and farther apart. If nothing arrives for five days, the webhook is switched\n\
              off; nothing that it is owed is dropped.\n"
            .to_owned(),
    };
    let text = format!(
        "The webhook {name} {headline}.\n\nURL:           {url}\nFailing since: {since}\nFailures:      {failures}\n\
         Last failure:  {error}\n\n{what_now}\nWhat was posted and answered:\n\n    postback webhook log {id}\n",
        url = webhook.url,
        id = webhook.id,
    );
    (format!("{subject}: {name}"), text)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::id::{AgentId, TenantId};
    use crate::model::notice::notice;
    use crate::model::tenant::AgentSettings;
    use crate::model::time::Timestamp;
    use crate::model::webhook_health::Health;

    #[test]
    fn what_a_letter_says() {
        let at = Timestamp::from_millis(1_800_000_000_000);
        let webhook =
            Webhook::new(WebhookId::from_bytes([4; 16]), TenantId::from_bytes([1; 16]), "https://a.example/hook", at);
        let webhook = Webhook { description: "orders\r\nBcc: x@y.example".into(), ..webhook };
        let health =
            Health { failures: 20, failing_since: Some(at), last_error: "http_status".into(), ..Health::default() };
        let (subject, text) = letter(&webhook, &notice(&webhook, EventKind::WebhookDisabled, &health, at));
        assert_eq!(subject, format!("A webhook was switched off: orders  Bcc: x@y.example ({})", webhook.id));
        for part in ["https://a.example/hook", "2027-01-15T08:00:00Z", " 20\n", "http_status", "webhook enable wh_"] {
            assert!(text.contains(part), "{part:?} in {text}");
        }
        let (subject, text) = letter(&webhook, &notice(&webhook, EventKind::WebhookExhausted, &health, at));
        assert!(subject.starts_with("An event ") && text.contains("webhook replay wh_"), "{text}");
        let (subject, text) = letter(&webhook, &notice(&webhook, EventKind::WebhookRecovered, &health, at));
        assert!(subject.starts_with("A webhook is well again") && text.contains("works again"), "{text}");
        let (subject, text) = letter(&webhook, &notice(&webhook, EventKind::WebhookFailing, &health, at));
        assert!(subject.starts_with("A webhook fails: ") && text.contains("for five days"), "{text}");
    }

    #[test]
    fn what_a_warning_says() {
        let at = Timestamp::from_millis(1_800_000_000_000);
        let agent = |daily_limit| MailAgent {
            id: AgentId::from_bytes([3; 16]),
            tenant: TenantId::from_bytes([1; 16]),
            key: "2d6f.1".into(),
            name: "news".into(),
            settings: AgentSettings { daily_limit, notify: vec!["ops@a.example".into()], ..AgentSettings::default() },
            created_at: at,
            updated_at: None,
            authors: Default::default(),
        };
        let Letter { subject, text, readers, .. } = warning_letter(agent(Some(9)), 5, 7);
        assert_eq!((subject.as_str(), readers.len()), ("news has sent to more than 5 recipients today", 1));
        for part in ["sent to 7 recipients", "the 5 that", "More than 9 a day", "2d6f.1"] {
            assert!(text.contains(part), "{part:?} in {text}");
        }
        assert!(warning_letter(agent(None), 5, 7).text.contains("No limit"));
    }
}
