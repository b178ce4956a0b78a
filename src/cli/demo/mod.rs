//! `postback demo`: the whole loop on loopback, told as it happens.
//!
//! Starts a whole Postback in a temporary folder on free ports, with a mail exchanger and a webhook receiver beside it
//! inside the same program; everything between them goes through real sockets. The demo moves its own clock for what
//! people do hours later. It succeeds only if exactly the expected webhooks came, each with a signature that the
//! published samples accept.

mod client;
mod exchanger;
mod narrator;
mod receiver;
mod story;

use std::net::SocketAddr;

use anyhow::Context;
use clap::Args;
use postback::app::{App, World};
use postback::config::{self, Sources};
use postback::ids::IdSource;
use postback::model::tenant::DEFAULT_AGENT;
use postback::model::time::Timestamp;

use narrator::Narrator;
use receiver::Receiver;
use story::Story;

/// How the demo is told.
#[derive(Args)]
pub(super) struct Arguments {
    /// End after the story instead of leaving everything running
    #[arg(long)]
    once: bool,
    /// Print JSON lines
    #[arg(long)]
    json: bool,
}

/// Plays the demo.
pub(super) async fn run(arguments: &Arguments) -> anyhow::Result<()> {
    let folder = Folder::make()?;
    let (exchanger, taken) = exchanger::start().await?;
    let receiver = Receiver::start().await?;
    let world = World::real(&postback::dns::Settings::default())?;
    let clock = world.clock.clone();
    // Tracked links name the port, so it is chosen before Postback starts.
    let http = free_address().context("find a free port")?;
    let settings = |key: &str, value: &str| ("the demo".to_owned(), key.to_owned(), value.to_owned());
    let sources = Sources {
        file: None,
        environment: Vec::new(),
        flags: vec![
            settings("data", &folder.0.to_string_lossy()),
            settings("hostname", "postback.demo.example"),
            settings("smtp.listeners.0.address", "127.0.0.1:0"),
            settings("http.address", &http.to_string()),
            settings("tracking.base_url", &format!("http://{http}")),
            settings("http.trusted_proxies", "[\"127.0.0.1\"]"),
            settings("admin.address", "127.0.0.1:0"),
            settings("reports.return_path_domain", story::RETURN_PATH_DOMAIN),
            settings("deliver.mode", "smarthost"),
            settings("deliver.smarthost.host", "127.0.0.1"),
            settings("deliver.smarthost.port", &exchanger.port().to_string()),
            settings("deliver.smarthost.tls", "none"),
            settings("egress.allow_http", "true"),
            settings("egress.allow", &format!("[\"127.0.0.1/32:{}\"]", receiver.address.port())),
        ],
    };
    let loaded = config::load(&sources).map_err(|problem| anyhow::anyhow!("{problem}"))?;
    let app = App::start(&loaded.settings, world).await.context("start Postback")?;
    allow_sender(&app).await.context("let the demo's shop send")?;
    let mut story = Story::new(&app, clock.clone(), Narrator::new(arguments.json, clock), receiver, taken)?;
    let told = story.tell().await;
    if told.is_ok() && !arguments.once {
        story.invite();
        tokio::signal::ctrl_c().await.context("wait for Ctrl-C")?;
    }
    app.stop().await;
    told
}

/// Lets the first mail agent send from the shop's domain, as `postback domain add` does.
async fn allow_sender(app: &App) -> anyhow::Result<()> {
    let first_run = app.first_run.as_ref().context("the demo's folder was not empty")?;
    let tenant = app.store().tenant(&first_run.tenant).await?.context("there is no tenant")?;
    let agent = app.store().agent(tenant.id, DEFAULT_AGENT).await?.context("there is no mail agent")?;
    Ok(app.store().add_domain(agent.id, story::SENDER_DOMAIN).await?)
}

fn free_address() -> std::io::Result<SocketAddr> {
    std::net::TcpListener::bind("127.0.0.1:0")?.local_addr()
}

/// A temporary folder that goes when the demo ends.
struct Folder(std::path::PathBuf);

impl Folder {
    fn make() -> anyhow::Result<Self> {
        let unique = IdSource::system().uuid(Timestamp::default()).simple().to_string();
        let path = std::env::temp_dir().join(format!("postback-demo-{unique}"));
        std::fs::create_dir_all(&path).with_context(|| format!("make {}", path.display()))?;
        Ok(Self(path))
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        // What cannot be removed is in the temporary folder anyway.
        let _ = std::fs::remove_dir_all(&self.0);
    }
}
