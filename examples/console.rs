//! How long the console's pages take over a store of many deliveries.
//!
//! ```text
//! cargo run --release --example console -- [DELIVERIES [FOLDER]]
//! ```
//!
//! Fills a store with deliveries (a million unless told otherwise) of one tenant in a folder (a temporary one unless told
//! otherwise; one that is filled is not filled again), with bounces, opens and a queue among them, starts Postback on it,
//! signs in, and asks for each page twenty times over loopback. Prints the median and the worst, and fails when a
//! page's median is over 100 ms or it has more than 150 KB.

use std::io::Write;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, bail};
use bytes::Bytes;
use postback::app::{App, World, open_store};
use postback::clock::Stopwatch;
use postback::config::{self, Settings, Sources};
use postback::intake::provision;
use postback::model::address::Mailbox;
use postback::model::bearing::Bearing;
use postback::model::delivery::{Next, State};
use postback::model::event::{Detail, Event, EventKind, relay};
use postback::model::id::{DeliveryId, EventId, MessageId};
use postback::model::message::{Facts, Fate, Message, Plan, PlannedDelivery, Source};
use postback::model::reason::{Cause, Class, Reason};
use postback::model::retry::MAIL_LIFETIME;
use postback::model::tenant::{DEFAULT_AGENT, MailAgent, Tenant};
use postback::model::user::Role;
use postback::store::Store;
use postback::store::deliveries::{Attempt, Leased, Settlement};
use postback::store::messages::Terms;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::task::JoinSet;

/// Messages accepted, or deliveries settled, at one time.
const BATCH: usize = 1_000;
/// Every page is asked for so often.
const TIMES: usize = 20;
const MEDIAN_MAX: Duration = Duration::from_millis(100);
const BYTES_MAX: usize = 150_000;

fn say(line: &str) {
    let _ = writeln!(std::io::stdout(), "{line}");
}

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let mut words = std::env::args().skip(1);
    let deliveries: usize = words.next().map_or(Ok(1_000_000), |word| word.parse()).context("read the number")?;
    let kept = words.next().map(PathBuf::from);
    let temporary = std::env::temp_dir().join(format!("postback-console-{}", std::process::id()));
    let folder = kept.clone().unwrap_or_else(|| temporary.clone());
    let measured = measure(&folder, deliveries).await;
    if kept.is_none() {
        let _ = std::fs::remove_dir_all(&temporary);
    }
    measured
}

fn settings(folder: &Path) -> anyhow::Result<Settings> {
    let flag = |key: &str, value: String| ("example".to_owned(), key.to_owned(), value);
    let anywhere = || "127.0.0.1:0".to_owned();
    let flags = vec![
        flag("data", folder.display().to_string()),
        flag("smtp.listeners.0.address", anywhere()),
        flag("http.address", anywhere()),
        flag("admin.address", anywhere()),
    ];
    let sources = Sources { file: None, environment: Vec::new(), flags };
    Ok(config::load(&sources).map_err(|problem| anyhow::anyhow!("{problem}"))?.settings)
}

async fn measure(folder: &Path, deliveries: usize) -> anyhow::Result<()> {
    std::fs::create_dir_all(folder).context("make the folder")?;
    let settings = settings(folder)?;
    let world = World::real(&postback::dns::Settings::default())?;
    let is_filled = folder.join("filled").exists();
    if !is_filled {
        // The first start makes a tenant.
        let app = App::start(&settings, World::real(&postback::dns::Settings::default())?).await?;
        app.stop().await;
        let store = open_store(&settings, 0, &world.clock, &world.ids).await?;
        let began = Stopwatch::start();
        fill(&store, &world, deliveries).await?;
        say(&format!("filled with {deliveries} deliveries in {:.0} s", began.elapsed().as_secs_f32()));
        store.close().await;
        std::fs::write(folder.join("filled"), "")?;
    }
    let store = open_store(&settings, 0, &world.clock, &world.ids).await?;
    let (invitation, secret) = provision::invitation(Role::Owner, None, &world.clock, &world.ids);
    store.invite(invitation).await?;
    let some = some_message(&store).await?;
    store.close().await;
    let app = App::start(&settings, world).await?;
    let http = app.addresses.of("http").context("there is no HTTP door")?;
    let told = ask_all(http, secret.reveal(), &some).await;
    app.stop().await;
    told
}

async fn first_tenant(store: &Store) -> anyhow::Result<(Tenant, MailAgent)> {
    let tenant = store.tenants("", 1).await?.pop().context("there is no tenant")?;
    let agent = store.agent(tenant.id, DEFAULT_AGENT).await?.context("there is no mail agent")?;
    Ok((tenant, agent))
}

async fn some_message(store: &Store) -> anyhow::Result<MessageId> {
    let (tenant, _) = first_tenant(store).await?;
    Ok(store.messages(tenant.id, None, 1).await?.first().context("the store is empty")?.id)
}

async fn fill(store: &Store, world: &World, deliveries: usize) -> anyhow::Result<()> {
    let (_, agent) = first_tenant(store).await?;
    let mut made = 0;
    while made < deliveries {
        let count = BATCH.min(deliveries - made);
        let plans = (made..made + count).map(|number| plan(number, &agent, world)).collect();
        store.accept_all(plans, Terms::default()).await?;
        made += count;
        // The last thousand stay in the queue.
        if made < deliveries {
            let mut settling = JoinSet::new();
            for leased in store.lease_deliveries(u32::try_from(count)?).await? {
                let settlement = settlement(&leased, world);
                let store = store.clone();
                settling.spawn(async move { store.settle_delivery(settlement).await });
            }
            while let Some(done) = settling.join_next().await {
                done??;
            }
        }
        if made % 100_000 == 0 {
            say(&format!("{made} deliveries"));
        }
    }
    while store.index_messages().await? > 0 {}
    Ok(())
}

fn plan(number: usize, agent: &MailAgent, world: &World) -> Plan {
    let now = world.clock.now();
    let id = MessageId::from_uuid(world.ids.uuid(now));
    let delivery = DeliveryId { message: id, recipient: 0 };
    let address = format!("reader{}@site{}.example", number % 200_000, number % 500);
    let facts = Facts {
        from: Mailbox::bare("shop@acme.example"),
        to: vec![Mailbox::bare(&address)],
        subject: format!("Your order {number} of {}", ["books", "shoes", "seeds", "lamps"][number % 4]),
        email_reference: format!("{number}@acme.example"),
        tags: vec![["orders", "invoices", "news"][number % 3].to_owned()],
        ..Facts::default()
    };
    let message = Message {
        id,
        tenant: agent.tenant,
        agent: agent.id,
        agent_key: agent.key.clone(),
        source: Source::Http,
        accepted_at: now,
        facts,
        size_bytes: 300,
    };
    let content = format!("From: shop@acme.example\r\nTo: {address}\r\nSubject: order {number}\r\n\r\nThank you.\r\n");
    let planned = PlannedDelivery {
        id: delivery,
        address: address.parse().expect("a well-formed address"),
        fate: Fate::Queued { due_at: now },
        expires_at: now + MAIL_LIFETIME,
    };
    let sent = event(world, agent, delivery, &address, EventKind::Sent, Detail::Sent);
    Plan { message, content: Bytes::from(content), deliveries: vec![planned], events: vec![sent] }
}

fn event(world: &World, agent: &MailAgent, id: DeliveryId, address: &str, kind: EventKind, detail: Detail) -> Event {
    let at = world.clock.now();
    Event {
        id: EventId::from_uuid(world.ids.uuid(at)),
        delivery: id,
        tenant: agent.tenant,
        agent: agent.id,
        kind,
        ordinal: 0,
        at,
        recipient: address.to_owned(),
        detail,
        relay: relay::ALL,
        relay_at: at,
        is_test: false,
    }
}

fn settlement(leased: &Leased, world: &World) -> Settlement {
    let now = world.clock.now();
    let delivery = &leased.delivery;
    let fails = delivery.id.message.as_bytes()[15] < 8;
    let (state, reason) = if fails { (State::Bounced, Some(Reason::UserUnknown)) } else { (State::Delivered, None) };
    let (kind, detail) = if fails {
        let cause = Cause {
            reason: Reason::UserUnknown,
            class: Class::Hard,
            code: Some(550),
            status: None,
            diagnostic: "550 5.1.1 no such user".into(),
            rule: "unknown-user".into(),
        };
        (EventKind::HardBounced, Detail::Bounced { cause })
    } else {
        (EventKind::Delivered, Detail::Delivered { reply: "250 ok".into(), next_hop_tells: false, has_arrived: false })
    };
    let told = delivery.tells(EventId::from_uuid(world.ids.uuid(now)), kind, detail, now);
    let attempt = Attempt {
        started_at: now,
        ended_at: now,
        route: "mx".into(),
        peer: "mx.example [192.0.2.1]".into(),
        outcome: state.as_str().into(),
        diagnostic: "250 ok".into(),
        ..Attempt::default()
    };
    let (id, lease) = (delivery.id, leased.lease.clone());
    Settlement {
        id,
        lease,
        attempt,
        next: Next::Ends(state),
        reason,
        events: vec![told],
        bearing: Bearing::Nothing,
        letter: None,
    }
}

async fn ask(http: SocketAddr, request: &str, cookie: &str, body: &str) -> anyhow::Result<String> {
    let mut stream = TcpStream::connect(http).await?;
    let head = format!(
        "{request} HTTP/1.1\r\nHost: {http}\r\nConnection: close\r\nSec-Fetch-Site: same-origin\r\nCookie: {cookie}\r\n\
         Content-Length: {}\r\n\r\n{body}",
        body.len()
    );
    stream.write_all(head.as_bytes()).await?;
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).await?;
    Ok(String::from_utf8_lossy(&answer).into_owned())
}

async fn ask_all(http: SocketAddr, secret: &str, some: &MessageId) -> anyhow::Result<()> {
    let email = format!("bench{}%40example.com", &secret[..8]).to_lowercase();
    let form = format!("name=Bench&email={email}&password=correct+horse+battery");
    let joined = ask(http, &format!("POST /console/join/{secret}"), "", &form).await?;
    let cookie = joined.lines().find_map(|line| line.strip_prefix("set-cookie: ")?.split(';').next());
    let cookie = cookie.with_context(|| format!("not signed in: {joined}"))?.to_owned();
    let agents = ask(http, "GET /console/default/agents", &cookie, "").await?;
    let key =
        agents.split("/agents/").nth(1).and_then(|rest| rest.split('/').next()).context("there is no mail agent")?;
    let mut slow = 0;
    say(&format!("{:<52} {:>9} {:>9} {:>8}", "page", "median", "worst", "bytes"));
    for path in [
        "",
        "?span=hour",
        "?span=month",
        "messages",
        "messages?q=reader77%40site77.example",
        "messages?q=order+books",
        "messages?q=4711",
        "messages?q=%40site42.example+shoes",
        "messages?tag=news&status=bounced",
        "messages?status=bounced",
        "messages?status=queued",
        "messages?status=delivered&q=reader9%40",
        "messages?status=expired",
        "messages?q=seeds+lamps",
        "messages?until=2020-01-01",
        "inbox",
        "activity",
        "operations",
        "agents",
        &format!("agents/{key}/setup"),
        &format!("agents/{key}/webhooks"),
        &format!("agents/{key}/webhooks/new"),
        &format!("agents/{key}/domains"),
        &format!("agents/{key}/templates"),
        &format!("agents/{key}/suppressions"),
        &format!("agents/{key}/settings"),
        &format!("messages/{some}"),
        &format!("messages/{some}?view=tracking"),
    ] {
        let mut times = Vec::new();
        let mut bytes = 0;
        for _ in 0..TIMES {
            let began = Stopwatch::start();
            let answer = ask(http, &format!("GET /console/default/{path}"), &cookie, "").await?;
            times.push(began.elapsed());
            if !answer.starts_with("HTTP/1.1 200") {
                bail!("{path}: {}", answer.lines().next().unwrap_or_default());
            }
            bytes = answer.len();
        }
        times.sort();
        let (median, worst) = (times[TIMES / 2], times[TIMES - 1]);
        let is_slow = median > MEDIAN_MAX || bytes > BYTES_MAX;
        slow += usize::from(is_slow);
        let millis = |time: Duration| format!("{:.1} ms", time.as_secs_f64() * 1_000.0);
        let told = format!("{:<52} {:>9} {:>9} {bytes:>8}", format!("/{path}"), millis(median), millis(worst));
        say(&format!("{told}{}", if is_slow { "  too much" } else { "" }));
    }
    if slow > 0 {
        bail!("{slow} pages take more than {} ms or 150 KB", MEDIAN_MAX.as_millis());
    }
    Ok(())
}
