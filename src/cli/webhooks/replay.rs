//! `postback webhook replay`: one event again, or all that a filter takes. The running server does it.

use std::time::Duration;

use anyhow::{Context, bail};
use clap::Args;
use postback::model::event::{EventKind, EventSet};
use postback::model::id::{EventId, ReplayId};
use postback::model::replay::{Fate, Filter, PER_SECOND, PER_SECOND_MAX, Replay, ReplayState};
use postback::model::time::Timestamp;
use postback::model::webhook::{DispatchId, Webhook};
use postback::store::replays::RUNNING_MAX;

use super::fields::chosen;
use super::{House, Which};
use crate::cli::say;

/// How often progress is told.
const LOOK: Duration = Duration::from_secs(1);

#[derive(Args)]
pub(in crate::cli) struct Arguments {
    #[command(flatten)]
    which: Which,
    /// This event (evt_…), whatever became of it
    event: Option<EventId>,
    /// What happened since: `90m`, `24h`, `7d`, or a time as in 2026-03-02T08:15:00Z
    #[arg(long, value_name = "WHEN", required_unless_present = "event", conflicts_with = "event", value_parser = when)]
    since: Option<When>,
    /// What happened before [default: now]
    #[arg(long, value_name = "WHEN", conflicts_with = "event", value_parser = when)]
    until: Option<When>,
    /// Kinds of event [default: those that the webhook is told of]
    #[arg(long, value_delimiter = ',', value_name = "LIST", conflicts_with = "event")]
    events: Vec<String>,
    /// What became of them: exhausted, missed, arrived
    #[arg(long, value_delimiter = ',', value_name = "LIST", default_value = "exhausted,missed", value_parser = fate)]
    fate: Vec<Fate>,
    /// Only about mail with this tag
    #[arg(long)]
    tag: Option<String>,
    /// Only about mail to this address
    #[arg(long, value_name = "ADDRESS")]
    recipient: Option<String>,
    /// Events a second
    #[arg(long, value_name = "COUNT", default_value_t = PER_SECOND,
        value_parser = clap::value_parser!(u16).range(1..=i64::from(PER_SECOND_MAX)))]
    per_second: u16,
    /// Wait until it is done, and tell how it goes
    #[arg(long, conflicts_with = "event")]
    wait: bool,
}

/// A point in time, from now or by itself.
#[derive(Clone, Copy, Debug)]
enum When {
    Ago(Duration),
    At(Timestamp),
}

impl When {
    fn at(self, now: Timestamp) -> Timestamp {
        match self {
            When::Ago(span) => now - span,
            When::At(at) => at,
        }
    }
}

fn when(text: &str) -> Result<When, String> {
    let bad = || format!("{text:?} is neither like 24h nor like 2026-03-02T08:15:00Z");
    if let Ok(at) = text.parse::<jiff::Timestamp>() {
        return Ok(When::At(Timestamp::from_millis(at.as_millisecond())));
    }
    let unit = match text.chars().next_back() {
        Some('s') => 1,
        Some('m') => 60,
        Some('h') => 3600,
        Some('d') => 86_400,
        _ => return Err(bad()),
    };
    let count: u64 = text.get(..text.len() - 1).and_then(|count| count.parse().ok()).ok_or_else(bad)?;
    Ok(When::Ago(Duration::from_secs(count.saturating_mul(unit))))
}

fn fate(word: &str) -> Result<Fate, String> {
    Fate::from_word(word).ok_or_else(|| format!("{word:?} is not one of exhausted, missed, arrived"))
}

impl House<'_> {
    pub(super) async fn replay(&self, arguments: &Arguments) -> anyhow::Result<()> {
        let webhook = self.webhook(&arguments.which).await?;
        if let Some(event) = arguments.event {
            let id = DispatchId { event, webhook: webhook.id };
            if !self.guest.store.replay_dispatch(webhook.tenant, id).await.context("queue the event")? {
                bail!("there is no event {event}: it never was, or is forgotten");
            }
            say(format!("queued {event} for {}", webhook.id));
            return Ok(());
        }
        let replay = self.replay_of(arguments, &webhook)?;
        if !self.guest.store.add_replay(&replay).await.context("begin the replay")? {
            bail!("{RUNNING_MAX} replays of {} are running; wait for one to end, or end it", webhook.id);
        }
        say(format!("{} begun: from {} to {}", replay.id, replay.filter.from, replay.filter.to));
        if !arguments.wait {
            return Ok(());
        }
        loop {
            let standing = self.guest.store.replay(webhook.id, replay.id).await.context("look for the replay")?;
            let standing = standing.context("the replay is gone")?;
            say(format!(
                "{}: looked at {} events up to {}, queued {}",
                standing.state.as_str(),
                standing.seen,
                standing.reached,
                standing.queued,
            ));
            if standing.state != ReplayState::Running {
                return Ok(());
            }
            tokio::time::sleep(LOOK).await;
        }
    }

    fn replay_of(&self, arguments: &Arguments, webhook: &Webhook) -> anyhow::Result<Replay> {
        let now = self.guest.clock.now();
        let from = arguments.since.context("--since")?.at(now);
        let to = arguments.until.map_or(now, |until| until.at(now));
        if from >= to {
            bail!("--since is not before --until");
        }
        let kinds: EventSet = match arguments.events.as_slice() {
            [] => webhook.events,
            [word] if word == "all" => EventKind::ALL.into_iter().collect(),
            words => chosen(words, webhook.format)?,
        };
        Ok(Replay {
            id: ReplayId::from_uuid(self.guest.ids.uuid(now)),
            webhook: webhook.id,
            tenant: webhook.tenant,
            filter: Filter {
                from,
                to,
                kinds: kinds.0,
                fates: arguments.fate.clone(),
                tag: arguments.tag.clone(),
                recipient: arguments.recipient.clone(),
            },
            per_second: arguments.per_second,
            state: ReplayState::Running,
            reached: from,
            seen: 0,
            queued: 0,
            created_at: now,
            ended_at: None,
        })
    }
}
