//! `postback why`: everything that happened to a mail, in order, and what is next.

mod copies;

use anyhow::{Context, bail};
use clap::Args;
use postback::config::Loaded;
use postback::deliver::settings::Mode;
use postback::model::delivery::{Delivery, State};
use postback::model::event::{Detail, Event};
use postback::model::hit::{Client, Hit, HitKind, Visitor};
use postback::model::id::{DeliveryId, MessageId};
use postback::model::message::Message;
use postback::model::queue::Mark;
use postback::model::reason::Cause;
use postback::model::search::Search;
use postback::model::time::Timestamp;
use postback::store::deliveries::Attempt;
use postback::store::dispatches::DispatchStanding;
use postback::store::reports::KeptReport;
use postback::store::views::DeliveryView;

use super::database::Guest;
use super::queue::next;
use super::webhooks::look;
use super::{printable, say};
use copies::Copies;

/// Deliveries of one message that are told in full.
const TOLD_MAX: usize = 20;
/// Mails that are listed of those that match.
const LISTED_MAX: u32 = 20;

#[derive(Args)]
pub(super) struct Arguments {
    /// A message id (msg_…), delivery id (dlv_…) or request id (2d6f.…); an address or a Message-ID lists what matches
    id: String,
    /// Print the mail itself, as its reader gets it, and nothing else
    #[arg(long)]
    mail: bool,
    /// Print the pixel and the tracked links of each copy, and what was left untracked and why, and nothing else
    #[arg(long, conflicts_with = "mail")]
    links: bool,
}

pub(super) async fn run(loaded: &Loaded, arguments: &Arguments) -> anyhow::Result<()> {
    let guest = Guest::open(loaded).await?;
    let typed = &arguments.id;
    let alone;
    let id = match typed.contains('@') {
        false => typed,
        true => match matching(&guest, typed).await?.as_slice() {
            [] => bail!("no mail matches {typed}: it never was, or is forgotten"),
            [one] => {
                alone = one.id.to_string();
                &alone
            }
            several => {
                several.iter().for_each(list_message);
                say(format!("\nOf one of them: postback why {}", several[0].id));
                guest.store.close().await;
                return Ok(());
            }
        },
    };
    let (message, recipient) = named(id)?;
    let found = guest.store.message(message).await.context("look for the message")?;
    let Some(found) = found else { bail!("there is no message {message}: it never was, or is forgotten") };
    let deliveries = guest.store.deliveries(message).await.context("look for its deliveries")?;
    let is_meant = |view: &&DeliveryView| recipient.is_none_or(|recipient| view.delivery.id.recipient == recipient);
    let meant: Vec<_> = deliveries.iter().filter(is_meant).collect();
    if meant.is_empty() {
        bail!("message {message} has no delivery {id}");
    }
    if arguments.mail || arguments.links {
        let copies = Copies::of(&guest, loaded, &found).await?;
        match meant.as_slice() {
            [one] if arguments.mail => copies.print(one.delivery.id)?,
            [first, ..] if arguments.mail => {
                bail!("{} deliveries have each a copy of their own; name one: {}", meant.len(), first.delivery.id)
            }
            _ => meant.iter().take(TOLD_MAX).try_for_each(|view| copies.tell_links(&view.delivery))?,
        }
        guest.store.close().await;
        return Ok(());
    }
    tell_message(&found);
    let now = guest.clock.now();
    for view in meant.iter().take(TOLD_MAX) {
        tell_delivery(&guest, loaded.settings.deliver.mode, view, now).await?;
    }
    if let Some(next) = meant.get(TOLD_MAX) {
        say(format!("\n{} more deliveries; name one: postback why {}", meant.len() - TOLD_MAX, next.delivery.id));
    }
    guest.store.close().await;
    Ok(())
}

/// The message that an id is of, and the delivery when it is one's. A request id has the message's in it.
fn named(id: &str) -> anyhow::Result<(MessageId, Option<u16>)> {
    if let Ok(delivery) = id.parse::<DeliveryId>() {
        return Ok((delivery.message, Some(delivery.recipient)));
    }
    let of_request = id.strip_prefix("2d6f.").and_then(|rest| rest.split('.').nth(2));
    let message = of_request.map_or_else(|| id.to_owned(), |uuid| format!("msg_{}", uuid.replace('-', "")));
    match message.parse() {
        Ok(message) => Ok((message, None)),
        Err(_) => bail!(
            "{id:?} is neither a message id (msg_…), a delivery id (dlv_…), a request id (2d6f.…), an address nor a \
             Message-ID"
        ),
    }
}

/// The newest mails with this Message-ID, or to this address, of whatever tenant.
async fn matching(guest: &Guest, typed: &str) -> anyhow::Result<Vec<Message>> {
    const TENANTS_MAX: u32 = 1000;
    const ROUNDS_MAX: usize = 20;
    for _ in 0..ROUNDS_MAX {
        // What came a moment ago is wanted too.
        if guest.store.index_messages().await.context("index the newest mail")? == 0 {
            break;
        }
    }
    let mut found = Vec::new();
    for tenant in guest.store.tenants("", TENANTS_MAX).await.context("look for tenants")? {
        let mut to_address = Search::all_of(tenant.id);
        to_address.add(typed);
        for search in [Search::named(tenant.id, typed), to_address] {
            let matches = guest.store.search(&search, None, LISTED_MAX).await.context("look for the mail")?;
            found.extend(matches.messages);
        }
    }
    found.sort_by_key(|message: &Message| std::cmp::Reverse(message.id));
    found.dedup_by_key(|message| message.id);
    found.truncate(LISTED_MAX as usize);
    Ok(found)
}

fn list_message(message: &Message) {
    say(format!("{}  {}  {}", message.accepted_at, message.id, printable(&message.facts.subject)));
}

fn tell_message(message: &Message) {
    let facts = &message.facts;
    say(format!("message   {}", message.id));
    say(format!("accepted  {} by {}, {} bytes", message.accepted_at, message.source.as_str(), message.size_bytes));
    say(format!("from      {}", printable(&facts.from.address)));
    say(format!("subject   {}", printable(&facts.subject)));
    let tracked = match (facts.tracking.opens, facts.tracking.clicks) {
        (true, true) => "opens and clicks",
        (true, false) => "opens",
        (false, true) => "clicks",
        (false, false) => "nothing",
    };
    say(format!("tracked   {tracked}"));
}

async fn tell_delivery(guest: &Guest, mode: Mode, view: &DeliveryView, now: Timestamp) -> anyhow::Result<()> {
    let delivery = &view.delivery;
    say(format!("\n{}  {}", delivery.id, printable(&delivery.address.to_string())));
    say(format!("  {}", standing(view, now)));
    if view.mark == Mark::Silence {
        tell_silence(guest, mode, delivery).await?;
    }

    let attempts = guest.store.attempts(delivery.id).await.context("look for its attempts")?;
    let events = guest.store.events(delivery.id).await.context("look for its events")?;
    let mut lines: Vec<(Timestamp, String)> = Vec::new();
    for (number, attempt) in &attempts {
        lines.push((attempt.started_at, attempted(*number, attempt)));
    }
    let hits = guest.store.hits(delivery.id).await.context("look for who looked at it")?;
    lines.extend(hits.iter().map(|hit| (hit.at, looked(hit))));
    for event in &events {
        let owed = guest.store.dispatches(event.id).await.context("look for what webhooks were told")?;
        lines.push((event.at, happened(event)));
        for standing in owed {
            let next = upcoming(guest, event, &standing, now).await?;
            lines.push((event.at, told(&standing, &next)));
        }
    }
    let reports = guest.store.reports_about(delivery.id).await.context("look for reports about it")?;
    lines.extend(reports.iter().map(|report| (report.received_at, reported(report))));
    lines.sort_by_key(|(at, _)| *at);
    for (at, line) in lines {
        say(format!("  {at}  {line}"));
    }
    if let Some((number, attempt)) = attempts.last().filter(|(_, attempt)| !attempt.dialogue.is_empty()) {
        say(format!("  dialogue of attempt {number}:"));
        for line in attempt.dialogue.lines() {
            say(format!("    {}", printable(line)));
        }
    }
    Ok(())
}

/// What was met, by whichever mail found out for all, where this one waits to go.
async fn tell_silence(guest: &Guest, mode: Mode, delivery: &Delivery) -> anyhow::Result<()> {
    // A smarthost is the same for all.
    let domain = (mode != Mode::Smarthost).then(|| delivery.address.domain());
    let met = guest.store.latest_silence(domain).await.context("look for what others met there")?;
    if let Some((other, attempt)) = met.filter(|(other, _)| *other != delivery.id) {
        say(format!("  at {} {other} met there: {}", attempt.ended_at, printable(&attempt.diagnostic)));
    }
    Ok(())
}

fn standing(view: &DeliveryView, now: Timestamp) -> String {
    let delivery = &view.delivery;
    let reason = view.reason.map_or(String::new(), |reason| format!(" ({reason})"));
    match (delivery.state, view.due_at, view.settled_at) {
        (State::Queued, Some(until), _) if view.is_leased => {
            format!("in attempt {}; another node may try from {until} on, unless this one goes on", delivery.attempts)
        }
        (State::Queued, ..) if view.held_at.is_some() || view.mark != Mark::None => {
            format!("queued{reason}: {}, given up after {}", next(view, now), delivery.expires_at)
        }
        (State::Queued, Some(due), _) if due <= now => format!("queued{reason}: due since {due}"),
        (State::Queued, Some(due), _) => {
            format!("queued{reason}: next try {due}, given up after {}", delivery.expires_at)
        }
        (State::HandedOver, Some(until), _) => {
            format!("handed over: the next hop's report is waited for until {until}")
        }
        (state, _, Some(at)) => format!("{}{reason} since {at}", state.as_str()),
        (state, _, None) => format!("{}{reason}", state.as_str()),
    }
}

fn attempted(number: u32, attempt: &Attempt) -> String {
    let mut line = format!("attempt {number}: {} by {}", attempt.outcome, attempt.route);
    let took = attempt.ended_at.since(attempt.started_at).as_millis();
    for (label, text) in [(" to ", &attempt.peer), (", ", &attempt.tls)] {
        if !text.is_empty() {
            line += &format!("{label}{}", printable(text));
        }
    }
    line += &format!(" in {took} ms");
    if !attempt.diagnostic.is_empty() {
        line += &format!(": {}", printable(&attempt.diagnostic));
    }
    if !attempt.rule.is_empty() {
        line += &format!(" [rule {}]", attempt.rule);
    }
    line
}

fn reported(report: &KeptReport) -> String {
    let because = report.cause.as_ref().map_or(String::new(), |cause| format!(" [rule {}]", cause.rule));
    format!("report of kind {}: {}{because}  ({})", report.kind, printable(&report.outcome), report.id)
}

fn happened(event: &Event) -> String {
    let because = |cause: &Cause| match cause.diagnostic.as_str() {
        "" => format!(": {} [rule {}]", cause.reason, cause.rule),
        said => format!(": {} [rule {}]: {}", cause.reason, cause.rule, printable(said)),
    };
    let more = match &event.detail {
        Detail::Sent => String::new(),
        Detail::Delivered { reply, .. } => format!(": {}", printable(reply)),
        Detail::Deferred { cause, next_at } => {
            let next = next_at.map_or(String::new(), |next_at| format!("; next try {next_at}"));
            format!("{}{next}", because(cause))
        }
        Detail::Bounced { cause } | Detail::Failed { cause } => because(cause),
        Detail::Opened { .. } | Detail::Clicked { .. } => String::new(),
        Detail::Webhook { webhook, url, .. } => format!(": {webhook} {}", printable(url)),
        Detail::DailyWarning { warning, sent, .. } => format!(": {sent} recipients today, more than {warning}"),
        Detail::Complained { feedback_type, reported_by, .. } => {
            format!(": {} from {}", printable(feedback_type), printable(reported_by))
        }
    };
    format!("{}{more}  ({})", event.kind.as_str(), event.id)
}

fn looked(hit: &Hit) -> String {
    let what = match hit.kind {
        HitKind::Open => "pixel loaded".to_owned(),
        HitKind::Click => format!("link {} followed", printable(&hit.target)),
    };
    let Visitor { place, client, user_agent, machine } = &hit.visitor;
    let kind = if machine.kind.is_empty() { String::new() } else { format!(", {}", machine.kind) };
    let mut line = format!("{what} by a {}{kind} ({} % sure)", machine.verdict.as_str(), machine.confidence);
    for text in [&place.ip_address, &place.city, &place.country_name, &client.email_client.name, &client.browser.name] {
        if !text.is_empty() {
            line += &format!(", {}", printable(text));
        }
    }
    if client == &Client::default() && !user_agent.is_empty() {
        line += &format!(", {}", printable(user_agent));
    }
    if !machine.reasons.is_empty() {
        line += &format!(": {}", printable(&machine.reasons.join("; ")));
    }
    line
}

/// What is next for a webhook that is owed an event; nothing when that has ended.
async fn upcoming(guest: &Guest, event: &Event, owed: &DispatchStanding, now: Timestamp) -> anyhow::Result<String> {
    let Some(due) = owed.due_at else { return Ok(String::new()) };
    let id = owed.id.webhook;
    let webhook = guest.store.webhook(event.tenant, id).await.context("look for the webhook")?;
    let Some(webhook) = webhook else { return Ok(String::new()) };
    let health = guest.store.webhook_health(id).await.context("look at its health")?;
    Ok(format!(", {}", look::next(due, &webhook, health.as_ref(), now)))
}

fn told(standing: &DispatchStanding, next: &str) -> String {
    let answer = match (standing.last_status, &standing.last_error) {
        (Some(status), _) => format!(", answered {status}"),
        (None, Some(error)) => format!(", {}", printable(error)),
        (None, None) => String::new(),
    };
    let attempts = match standing.attempts {
        1 => "1 attempt".to_owned(),
        count => format!("{count} attempts"),
    };
    format!("  webhook {}: {} after {attempts}{answer}{next}", standing.id.webhook, standing.state.as_str())
}
