//! The database as the command line uses it: a guest beside a running server.

use anyhow::{Context, bail};
use postback::app;
use postback::clock::Clock;
use postback::config::{Loaded, Settings};
use postback::ids::IdSource;
use postback::model::tenant::{MailAgent, Tenant};
use postback::store::Store;

use super::say;

/// An open database, with what making new rows takes.
pub(super) struct Guest {
    pub(super) store: Store,
    pub(super) clock: Clock,
    pub(super) ids: IdSource,
}

impl Guest {
    /// Opens the database that the settings name. It must exist: an empty one, made in the wrong folder by a
    /// mistyped path, would answer every question with nothing.
    pub(super) async fn open(loaded: &Loaded) -> anyhow::Result<Self> {
        let settings = &loaded.settings;
        if let Some(path) = settings.database.sqlite_path().filter(|path| !path.exists()) {
            let path = path.display();
            bail!("there is no database at {path}; name its folder with --data, or make one with `postback migrate`");
        }
        Self::open_or_create(settings).await
    }

    async fn open_or_create(settings: &Settings) -> anyhow::Result<Self> {
        let (clock, ids) = (Clock::system(), IdSource::system());
        let store = app::open_store(settings, 0, &clock, &ids).await?;
        Ok(Self { store, clock, ids })
    }

    /// The tenant with this slug.
    pub(super) async fn tenant(&self, slug: &str) -> anyhow::Result<Tenant> {
        if let Some(found) = self.store.tenant(slug).await.context("look for the tenant")? {
            return Ok(found);
        }
        if self.store.tenants("", 1).await.context("look for tenants")?.is_empty() {
            bail!(
                "nothing is set up yet: `postback serve` does it at its first start, or `postback tenant add {slug}`"
            );
        }
        bail!("there is no tenant {slug:?}; `postback tenant list` shows those there are")
    }

    /// The mail agent with this name, of the tenant with this slug.
    pub(super) async fn agent(&self, slug: &str, name: &str) -> anyhow::Result<MailAgent> {
        let tenant = self.tenant(slug).await?;
        let found = self.store.agent(tenant.id, name).await.context("look for the mail agent")?;
        found.with_context(|| format!("tenant {slug:?} has no mail agent {name:?}; see `postback agent list`"))
    }
}

/// `postback migrate`.
pub(super) async fn migrate(loaded: &Loaded) -> anyhow::Result<()> {
    let guest = Guest::open_or_create(&loaded.settings).await?;
    guest.store.close().await;
    say(format!("{} is up to date", loaded.settings.database));
    Ok(())
}
