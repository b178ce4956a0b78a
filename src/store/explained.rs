//! For tests: an empty SQLite that tells how it would go about a query, so that none goes through what it need not.

use tempfile::TempDir;

use super::db::{ANSWER_WITHIN, Options, Store, Sync};
use super::value::Value;
use crate::clock::Clock;
use crate::model::seal::MasterKey;
use crate::model::time::Timestamp;

pub(super) struct Explained {
    store: Store,
    _folder: TempDir,
}

impl Explained {
    pub(super) async fn at(now: Timestamp) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let options = Options {
            url: format!("sqlite:{}", folder.path().join("postback.db").display()),
            content_dir: folder.path().join("content"),
            holder: "test".into(),
            handoff: 0,
            master: MasterKey::new([7; 32]),
            sync: Sync::Full,
            answer_within: ANSWER_WITHIN,
        };
        Self { store: Store::open(options, Clock::standing(now)).await.unwrap(), _folder: folder }
    }

    /// The steps of its plan, in words.
    pub(super) async fn steps(&self, sql: &str, values: Vec<Value>) -> Vec<String> {
        let sql: &'static str = format!("explain query plan {sql}").leak();
        let steps = self.store.rows(sql, values).await.unwrap();
        steps.iter().map(|step| step.text("detail").unwrap()).collect()
    }
}
