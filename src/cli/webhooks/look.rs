//! What there is to see of a webhook: how it is set, how it fares, what was posted and answered.

use anyhow::Context;
use postback::app::outward::told;
use postback::http::outward::{Again, LEARNED_BEFORE};
use postback::model::event::EventKind;
use postback::model::id::EventId;
use postback::model::time::Timestamp;
use postback::model::webhook::{DispatchId, Format, Switch, Webhook};
use postback::model::webhook_attempt::{self, Attempted, Phases};
use postback::model::webhook_health::Health;
use postback::model::webhook_key::WebhookKey;

use super::House;
use crate::cli::{printable, say, say_table};

/// Dispatches that wait are counted up to here.
const WAITING_MAX: u32 = 100_000;
/// Mail agents of a tenant that a name is looked for among.
const AGENTS_MAX: u32 = 500;

/// How a webhook is, in a word.
pub(super) fn state(webhook: &Webhook, health: Option<&Health>, now: Timestamp) -> &'static str {
    match (webhook.switch, health) {
        (Switch::OffByOwner | Switch::Draft, _) => "off",
        (Switch::OffByUs, _) => "switched off",
        (Switch::On, Some(health)) if health.is_paused(now) => "paused",
        (Switch::On, Some(health)) if health.failing_since.is_some() => "failing",
        (Switch::On, _) => "ok",
    }
}

/// What is next of a queued dispatch: an attempt, or what it waits for.
pub(in crate::cli) fn next(due: Timestamp, webhook: &Webhook, health: Option<&Health>, now: Timestamp) -> String {
    match (webhook.switch, health.and_then(|health| health.paused_until)) {
        (Switch::OffByOwner | Switch::OffByUs, _) => "waits until the webhook is switched on".to_owned(),
        (_, Some(until)) if now.max(due) < until => format!("waits until the webhook's pause ends at {until}"),
        _ if due <= now => format!("due since {due}"),
        _ => format!("next try {due}"),
    }
}

impl House<'_> {
    pub(super) async fn show(&self, webhook: &Webhook) -> anyhow::Result<()> {
        let store = &self.guest.store;
        let (now, id) = (self.guest.clock.now(), webhook.id);
        let health = store.webhook_health(id).await.context("look at its health")?;
        let waiting = store.dispatches_waiting(id, WAITING_MAX).await.context("count what waits")?;
        let arrived = store.last_arrival(id).await.context("look for the last arrival")?;
        let line = |name: &str, value: String| {
            if !value.is_empty() {
                say(format!("{name:<14}{}", printable(&value)));
            }
        };
        line("id", id.to_string());
        line("url", webhook.url.clone());
        line("description", webhook.description.clone());
        line("state", state(webhook, health.as_ref(), now).to_owned());
        line("format", webhook.format.as_str().to_owned());
        line("events", webhook.events.kinds().map(EventKind::as_str).collect::<Vec<_>>().join(", "));
        line("public key", WebhookKey::of(webhook.secret.reveal()).map_or(String::new(), |key| key.public()));
        line("hits", webhook.hits.as_str().to_owned());
        line("mail agent", self.agent_name(webhook).await?);
        line("tags", if webhook.tags.is_empty() { "any".into() } else { webhook.tags.join(", ") });
        line("headers", webhook.headers.iter().map(|(name, _)| format!("{name}: ***")).collect::<Vec<_>>().join(", "));
        line("at once", webhook.options.at_once.map_or(String::new(), |count| count.to_string()));
        line("per second", webhook.options.per_second.map_or(String::new(), |count| count.to_string()));
        line("timeout", format!("{} s", webhook.options.timeout().as_secs()));
        line("in order", if webhook.options.in_order { "yes".into() } else { String::new() });
        line("batch", if webhook.options.batch { "yes".into() } else { String::new() });
        if webhook.format == Format::Transmail {
            line("form field", webhook.form_field.clone());
        }
        if webhook.format == Format::Mailtura {
            line("timestamp", if webhook.keeps_timestamp { "the event's" } else { "the attempt's" }.into());
        }
        if webhook.options.believes_anybody {
            line("tls", "not verified: whoever answers is believed".into());
        }
        line("ca", certificates(&webhook.options.ca));
        line("certificate", certificates(&webhook.options.client_certificate));
        line("notify", webhook.options.notify.join(", "));
        if let Some(old) = &webhook.old_secret {
            let signs = if old.signs_alone { ", and signs alone" } else { "" };
            line("old secret", format!("good until {}{signs}", old.until));
        }
        line("waiting", waiting.to_string());
        line("last arrival", arrived.map_or(String::new(), |at| at.to_string()));
        if let Some(health) = health {
            line("failing since", health.failing_since.map_or(String::new(), |since| since.to_string()));
            line("failures", health.failures.to_string());
            line("last error", health.last_error.clone());
            line("paused until", health.paused_until.map_or(String::new(), |until| until.to_string()));
        }
        Ok(())
    }

    /// Whose events it is told.
    async fn agent_name(&self, webhook: &Webhook) -> anyhow::Result<String> {
        let Some(id) = webhook.agent else { return Ok("all of the tenant".to_owned()) };
        let agents = self.guest.store.agents(webhook.tenant, "", AGENTS_MAX).await.context("list mail agents")?;
        Ok(agents.into_iter().find(|agent| agent.id == id).map_or_else(|| id.to_string(), |agent| agent.name))
    }

    pub(super) async fn tell_log(&self, webhook: &Webhook, failed: bool, limit: u32) -> anyhow::Result<()> {
        let log = self.guest.store.webhook_attempts(webhook.id, None, failed, limit).await.context("read the log")?;
        let rows: Vec<_> = log.iter().map(|(id, attempt)| row(*id, attempt)).collect();
        say_table(["AT", "EVENT", "ATTEMPT", "STATUS", "TOOK", "ERROR"], &rows);
        Ok(())
    }

    pub(super) async fn tell_dispatch(&self, webhook: &Webhook, event: EventId) -> anyhow::Result<()> {
        let id = DispatchId { event, webhook: webhook.id };
        let view = self.guest.store.dispatch_view(webhook.tenant, id).await.context("look for the event")?;
        let view = view.with_context(|| format!("nothing is or was owed of {event} to {}", webhook.id))?;
        say(format!("{} {} to {}: {}", view.event.kind.as_str(), event, webhook.id, view.standing.state.as_str()));
        if let Some(due_at) = view.standing.due_at {
            let health = self.guest.store.webhook_health(webhook.id).await.context("look at its health")?;
            say(next(due_at, webhook, health.as_ref(), self.guest.clock.now()));
        }
        let attempts = self.guest.store.dispatch_attempts(id).await.context("read its attempts")?;
        let since = attempts.iter().map(|attempt| attempt.started_at - LEARNED_BEFORE).min();
        let versions = match since {
            Some(since) => self.guest.store.webhook_versions(webhook, view.event.agent, since).await,
            None => Ok(Vec::new()),
        };
        let versions = versions.context("look what the webhook was")?;
        for attempt in attempts {
            tell_attempt(&attempt);
            let posted = self.guest.store.posted(&view, &attempt).await.context("look what was told")?;
            let tell = |webhook: &Webhook| told(webhook, &posted, attempt.started_at);
            let Again { webhook, told, is_exact } = Again::of(webhook, &versions, &attempt, tell);
            say(if is_exact { "  request:" } else { "  request, about as it was:" });
            tell_message(&told.headers, &String::from_utf8_lossy(&told.body), webhook);
        }
        Ok(())
    }
}

/// How many certificates a PEM text has; nothing for none.
fn certificates(pem: &str) -> String {
    match pem.matches("-----BEGIN CERTIFICATE-----").count() {
        0 => String::new(),
        1 => "1 certificate".to_owned(),
        count => format!("{count} certificates"),
    }
}

fn row(id: DispatchId, attempt: &Attempted) -> [String; 6] {
    [
        attempt.started_at.to_string(),
        id.event.to_string(),
        attempt.number.to_string(),
        attempt.status.map_or("-".to_owned(), |status| status.to_string()),
        format!("{} ms", attempt.trace.phases.total / 1000),
        attempt.error.clone().unwrap_or_default(),
    ]
}

/// An attempt and its answer, laid out.
pub(super) fn tell_attempt(attempt: &Attempted) {
    let trace = &attempt.trace;
    let status = attempt.status.map_or("no answer".to_owned(), |status| status.to_string());
    say(format!("\nattempt {} at {}: {status}", attempt.number, attempt.started_at));
    if !trace.why.is_empty() {
        say(format!("  {}", printable(&trace.why)));
    }
    let peer = if trace.peer.is_empty() { "nobody".to_owned() } else { trace.peer.clone() };
    let again = if trace.is_reused { ", over a kept connection" } else { "" };
    let tls = if trace.tls.is_empty() { String::new() } else { format!(", {}", trace.tls) };
    say(format!("  to {} at {peer}{again}{tls}", printable(&trace.url)));
    if trace.is_exception {
        say("  where only [egress] allow leads: of the answer nothing is kept but its status");
    }
    say(format!("  {}", phases(&trace.phases)));
    if let Some(next) = attempt.next_at {
        say(format!("  next attempt: {next}"));
    }
    if !trace.headers.is_empty() || !trace.body.is_empty() {
        say("  answer:");
        trace.headers.iter().for_each(|(name, value)| say(format!("    {name}: {}", printable(value))));
        trace.body.lines().take(50).for_each(|line| say(format!("    {}", printable(line))));
    }
}

fn phases(phases: &Phases) -> String {
    let named = [("DNS", phases.dns), ("connect", phases.connect), ("TLS", phases.tls), ("headers", phases.head)];
    let millis = |micros: u64| format!("{}.{:01} ms", micros / 1000, micros % 1000 / 100);
    let parts = named.iter().filter_map(|(name, took)| took.map(|took| format!("{name} {}", millis(took))));
    parts.chain([format!("in all {}", millis(phases.total))]).collect::<Vec<_>>().join(", ")
}

/// A request, laid out; what its owner set as headers may be secret.
pub(super) fn tell_message(headers: &[(String, String)], body: &str, webhook: &Webhook) {
    for (name, value) in headers {
        say(format!("    {name}: {}", printable(webhook_attempt::shown_value(webhook, name, value))));
    }
    say("");
    body.lines().for_each(|line| say(format!("    {}", printable(line))));
}

#[cfg(test)]
mod tests {
    use super::*;
    use postback::model::id::{TenantId, WebhookId};

    #[test]
    fn what_waits_says_for_what() {
        let at = |secs: i64| Timestamp::from_millis(1_800_000_000_000 + 1000 * secs);
        let check = |switch, paused: Option<i64>, due: i64, expected: &str| {
            let (id, tenant) = (WebhookId::from_bytes([1; 16]), TenantId::from_bytes([2; 16]));
            let webhook = Webhook { switch, ..Webhook::new(id, tenant, "https://example.com/", at(0)) };
            let health = Health { paused_until: paused.map(at), ..Health::default() };
            let told = next(at(due), &webhook, Some(&health), at(60));
            assert_eq!(told.split(" 2").next(), Some(expected), "{told}");
        };
        check(Switch::On, None, 90, "next try");
        check(Switch::On, None, 30, "due since");
        check(Switch::On, Some(50), 90, "next try");
        check(Switch::On, Some(120), 30, "waits until the webhook's pause ends at");
        check(Switch::On, Some(80), 90, "next try");
        check(Switch::OffByUs, Some(120), 30, "waits until the webhook is switched on");
        check(Switch::OffByOwner, None, 90, "waits until the webhook is switched on");
    }
}
