//! One test, both engines: [`on_both_engines`] makes `name::sqlite` and `name::postgres` from one body.

use std::path::Path;

use postback::clock::Clock;
use postback::model::seal::MasterKey;
use postback::store::Store;
use postback::store::db::{ANSWER_WITHIN, Options, Sync};
use sqlx::{Connection, Executor, PgConnection, SqliteConnection};
use tempfile::TempDir;

use super::postgres::Database;

/// What the secrets of all tests' databases are sealed with; the program is told it too.
pub const MASTER_KEY: MasterKey = MasterKey::new([7; 32]);

/// An empty database of either kind, and a folder that goes with it.
pub struct Engine {
    url: String,
    folder: TempDir,
    database: Option<Database>,
}

impl Engine {
    /// A SQLite file in a temporary folder.
    pub fn sqlite() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let url = format!("sqlite:{}", folder.path().join("postback.db").display());
        Self { url, folder, database: None }
    }

    /// A database on the PostgreSQL cluster of this run.
    pub async fn postgres() -> Self {
        let database = Database::fresh().await;
        Self { url: database.url(), folder: tempfile::tempdir().unwrap(), database: Some(database) }
    }

    /// What `--database` takes.
    pub fn url(&self) -> &str {
        &self.url
    }

    /// A folder of the test's own: data, contents, whatever else.
    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// How a store on it is opened by a node called `holder`.
    pub fn options(&self, holder: &str) -> Options {
        Options {
            url: self.url.clone(),
            content_dir: self.folder().join("content"),
            holder: holder.to_owned(),
            handoff: 0,
            master: MASTER_KEY,
            sync: Sync::Full,
            answer_within: ANSWER_WITHIN,
        }
    }

    /// A store on it. Any number may be open at one time, as several processes would have it.
    pub async fn store(&self, holder: &str, clock: &Clock) -> Store {
        Store::open(self.options(holder), clock.clone()).await.unwrap()
    }

    /// Runs SQL beside all stores, each engine its own.
    pub async fn run(&self, sqlite: &'static str, postgres: &'static str) {
        match self.database {
            None => drop(SqliteConnection::connect(&self.url).await.unwrap().execute(sqlite).await.unwrap()),
            Some(_) => drop(PgConnection::connect(&self.url).await.unwrap().execute(postgres).await.unwrap()),
        }
    }

    /// Throws the database away.
    pub async fn remove(self) {
        if let Some(database) = self.database {
            database.remove().await;
        }
    }
}

/// Makes `name::sqlite` and `name::postgres` of each `async fn name(engine: &Engine) { … }`.
macro_rules! on_both_engines {
    ($($(#[$meta:meta])* async fn $name:ident($engine:ident: &Engine) $body:block)*) => {$(
        $(#[$meta])*
        mod $name {
            use super::*;

            async fn body($engine: &$crate::support::engines::Engine) $body

            #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn sqlite() {
                let engine = $crate::support::engines::Engine::sqlite();
                body(&engine).await;
                engine.remove().await;
            }

            #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn postgres() {
                let engine = $crate::support::engines::Engine::postgres().await;
                body(&engine).await;
                engine.remove().await;
            }
        }
    )*};
}
pub(crate) use on_both_engines;
