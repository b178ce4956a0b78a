//! `postback queue`: what waits and why; hold, release, retry, cancel, pause and resume, beside a running server.

use anyhow::{Context, bail};
use clap::{Args, Subcommand};
use postback::config::Loaded;
use postback::model::address::{Address, domain_name};
use postback::model::delivery::Delivery;
use postback::model::event::Event;
use postback::model::id::{DeliveryId, EventId, MessageId};
use postback::model::queue::{Mark, Pause, QueueFilter};
use postback::model::reason::Reason;
use postback::model::suppression::Scope;
use postback::model::time::Timestamp;
use postback::store::queue::Waiting;
use postback::store::views::DeliveryView;

use super::database::Guest;
use super::{LIST_MAX, printable, say, say_table};

#[derive(Subcommand)]
pub(super) enum QueueCommand {
    /// Show what waits, by domain, and what is paused
    Show {
        #[command(flatten)]
        which: Which,
    },
    /// Show the deliveries that wait
    List {
        /// Only those after this one (dlv_…), for what does not fit one list
        #[arg(long, value_name = "ID")]
        after: Option<DeliveryId>,
        #[command(flatten)]
        which: Which,
    },
    /// Do not try deliveries until they are released; their lifetime stands still
    Hold {
        #[command(flatten)]
        which: Which,
    },
    /// Let held deliveries go
    Release {
        #[command(flatten)]
        which: Which,
    },
    /// Try deliveries now, whatever is known about their destinations; what is paused stays so
    Retry {
        #[command(flatten)]
        which: Which,
    },
    /// End deliveries as cancelled, and tell webhooks so
    Cancel {
        #[command(flatten)]
        which: Which,
        /// Mean everything that the filters leave
        #[arg(long)]
        yes: bool,
    },
    /// End deliveries as cancelled, and tell nobody
    Purge {
        #[command(flatten)]
        which: Which,
        /// Mean everything that the filters leave
        #[arg(long)]
        yes: bool,
    },
    /// Stop mail of a tenant, a mail agent, or to a domain, until it is resumed; more may still be handed in
    Pause {
        /// A word for those who come after you
        #[arg(long, default_value = "")]
        note: String,
        #[command(flatten)]
        stopped: Stopped,
    },
    /// Let stopped mail go on
    Resume {
        #[command(flatten)]
        stopped: Stopped,
    },
}

/// Whose mail, and to which domain.
#[derive(Args)]
pub(super) struct Stopped {
    /// Only this tenant's
    #[arg(long, value_name = "SLUG")]
    tenant: Option<String>,
    /// Only this mail agent's of the tenant
    #[arg(long, value_name = "NAME", requires = "tenant")]
    agent: Option<String>,
    /// Only to this domain
    #[arg(long)]
    domain: Option<String>,
}

/// Which deliveries: those that pass every filter.
#[derive(Args)]
pub(super) struct Which {
    #[command(flatten)]
    stopped: Stopped,
    /// Only to this address
    #[arg(long)]
    to: Option<Address>,
    /// Only of this message
    #[arg(long, value_name = "ID")]
    message: Option<MessageId>,
    /// Only those that wait for this reason: a word such as mailbox_full
    #[arg(long)]
    reason: Option<Reason>,
    /// Only those accepted longer ago than so many minutes
    #[arg(long, value_name = "MINUTES")]
    older: Option<u32>,
    /// Only those that are held
    #[arg(long, conflicts_with = "free")]
    held: bool,
    /// Only those that are not held
    #[arg(long)]
    free: bool,
}

impl Stopped {
    async fn scope(&self, guest: &Guest) -> anyhow::Result<Scope> {
        Ok(match (&self.tenant, &self.agent) {
            (None, _) => Scope::Installation,
            (Some(tenant), None) => Scope::Tenant(guest.tenant(tenant).await?.id),
            (Some(tenant), Some(agent)) => {
                let agent = guest.agent(tenant, agent).await?;
                Scope::Agent(agent.tenant, agent.id)
            }
        })
    }

    fn domain(&self) -> anyhow::Result<Option<String>> {
        let read = |domain: &String| domain_name(domain).with_context(|| format!("read {domain:?}"));
        self.domain.as_ref().map(read).transpose()
    }
}

impl Which {
    async fn filter(&self, guest: &Guest) -> anyhow::Result<QueueFilter> {
        let ago = |minutes: u32| guest.clock.now() - std::time::Duration::from_secs(u64::from(minutes) * 60);
        Ok(QueueFilter {
            scope: self.stopped.scope(guest).await?,
            domain: self.stopped.domain()?,
            address: self.to.clone(),
            message: self.message,
            reason: self.reason,
            accepted_before: self.older.map(ago),
            is_held: if self.held || self.free { Some(self.held) } else { None },
        })
    }

    /// For verbs that cannot be taken back: no filter at all must be meant.
    async fn filter_meant(&self, guest: &Guest, yes: bool) -> anyhow::Result<QueueFilter> {
        let filter = self.filter(guest).await?;
        if !yes && !filter.is_narrow(guest.clock.now()) {
            bail!("that is the whole queue; say --yes if you mean it, or name what you mean");
        }
        Ok(filter)
    }
}

pub(super) async fn run(loaded: &Loaded, command: QueueCommand) -> anyhow::Result<()> {
    let guest = Guest::open(loaded).await?;
    match command {
        QueueCommand::Show { which } => show(&guest, &which.filter(&guest).await?).await?,
        QueueCommand::List { after, which } => list(&guest, &which.filter(&guest).await?, after).await?,
        QueueCommand::Hold { which } => {
            let held = guest.store.hold(which.filter(&guest).await?).await.context("hold deliveries")?;
            say(format!("held {held}"));
        }
        QueueCommand::Release { which } => {
            let released = guest.store.release_held(which.filter(&guest).await?).await.context("release deliveries")?;
            say(format!("released {released}"));
        }
        QueueCommand::Retry { which } => {
            let due = guest.store.retry_now(which.filter(&guest).await?).await.context("make deliveries due")?;
            let pauses = guest.store.pauses().await.context("look for pauses")?;
            let but =
                if pauses.is_empty() { "" } else { ", but for what is paused: `postback queue resume` lets it go on" };
            say(format!("{due} are tried within seconds{but}"));
        }
        QueueCommand::Cancel { which, yes } => {
            let filter = which.filter_meant(&guest, yes).await?;
            let (ids, now) = (guest.ids.clone(), guest.clock.now());
            let tell = move |delivery: &Delivery| {
                let told: Event = delivery.cancelled(EventId::from_uuid(ids.uuid(now)), now);
                Some(told)
            };
            say(format!("cancelled {}", guest.store.cancel(filter, tell).await.context("cancel deliveries")?));
        }
        QueueCommand::Purge { which, yes } => {
            let filter = which.filter_meant(&guest, yes).await?;
            say(format!("purged {}", guest.store.cancel(filter, |_| None).await.context("purge deliveries")?));
        }
        QueueCommand::Pause { note, stopped } => pause(&guest, note, &stopped).await?,
        QueueCommand::Resume { stopped } => {
            let (scope, domain) = (stopped.scope(&guest).await?, stopped.domain()?);
            if !guest.store.resume(scope, domain.as_deref()).await.context("resume")? {
                bail!("nothing of that kind is paused; see `postback queue show`");
            }
            say("resumed");
        }
    }
    guest.store.close().await;
    Ok(())
}

async fn pause(guest: &Guest, note: String, stopped: &Stopped) -> anyhow::Result<()> {
    let (scope, domain) = (stopped.scope(guest).await?, stopped.domain()?);
    let pause = Pause { scope, domain, note, created_at: guest.clock.now() };
    if !guest.store.pause(pause).await.context("pause")? {
        bail!("it is paused already");
    }
    say("paused; what is under way still goes out");
    Ok(())
}

async fn show(guest: &Guest, filter: &QueueFilter) -> anyhow::Result<()> {
    let waiting = guest.store.queue_by_domain(filter, LIST_MAX).await.context("look into the queue")?;
    let now = guest.clock.now();
    let rows: Vec<_> = waiting.iter().map(|waiting| row(waiting, now)).collect();
    say_table(["DOMAIN", "WAITING", "DUE", "HELD", "OLDEST"], &rows);
    let pauses = guest.store.pauses().await.context("look for pauses")?;
    if !pauses.is_empty() {
        say("");
        let rows: Vec<_> = pauses.iter().map(paused).collect();
        say_table(["PAUSED", "DOMAIN", "SINCE", "NOTE"], &rows);
    }
    Ok(())
}

fn row(waiting: &Waiting, now: Timestamp) -> [String; 5] {
    [
        printable(&waiting.domain),
        waiting.queued.to_string(),
        waiting.due.to_string(),
        waiting.held.to_string(),
        format!("{} s", now.since(waiting.oldest).as_secs()),
    ]
}

fn paused(pause: &Pause) -> [String; 4] {
    let whose = match pause.scope {
        Scope::Installation => "everybody".to_owned(),
        Scope::Tenant(tenant) => tenant.to_string(),
        Scope::Agent(_, agent) => agent.to_string(),
    };
    let domain = pause.domain.clone().unwrap_or_else(|| "all".to_owned());
    [whose, domain, pause.created_at.to_string(), printable(&pause.note)]
}

async fn list(guest: &Guest, filter: &QueueFilter, after: Option<DeliveryId>) -> anyhow::Result<()> {
    let queued = guest.store.queued(filter, after, LIST_MAX).await.context("list deliveries")?;
    let now = guest.clock.now();
    let rows: Vec<_> = queued.iter().map(|view| queued_row(view, now)).collect();
    say_table(["DELIVERY", "TO", "TRIED", "REASON", "NEXT"], &rows);
    Ok(())
}

fn queued_row(view: &DeliveryView, now: Timestamp) -> [String; 5] {
    [
        view.delivery.id.to_string(),
        printable(&view.delivery.address.to_string()),
        view.delivery.attempts.to_string(),
        view.reason.map_or(String::new(), |reason| reason.to_string()),
        next(view, now),
    ]
}

/// When a waiting delivery goes, and what keeps it.
pub(super) fn next(view: &DeliveryView, now: Timestamp) -> String {
    let due = view.due_at.map_or_else(String::new, |due| due.to_string());
    match (view.held_at, view.is_leased && view.due_at.is_some_and(|due| due > now), view.mark) {
        (Some(since), ..) => format!("held since {since}"),
        (None, true, _) => "in a worker's hands".to_owned(),
        (None, false, Mark::Paused) => format!("paused; looked at again {due}"),
        (None, false, Mark::Room) => format!("waits for room at its destination until {due}"),
        (None, false, Mark::Silence) => format!("nobody answers at its destination; tried again {due}"),
        (None, false, Mark::Asked) => "now, as was asked for".to_owned(),
        (None, false, Mark::None) => due,
    }
}
