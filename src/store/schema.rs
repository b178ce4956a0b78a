//! The schema, step by step. A step has the same number and name in both folders of `migrations`, and is never edited
//! once it has shipped.

use std::path::{Path, PathBuf};

use sqlx::migrate::{Migration, MigrationType, Migrator};
use sqlx::sqlite::SqliteConnectOptions;
use sqlx::{ConnectOptions, Connection, SqlSafeStr};

use super::StoreError;

/// One step of the schema: the same number and name in both folders. A shipped one is never edited.
pub(super) struct SchemaStep {
    number: i64,
    name: &'static str,
    pub(super) sqlite: &'static str,
    pub(super) postgres: &'static str,
}

macro_rules! schema_steps {
    ($($number:literal $name:literal $file:literal,)*) => {
        &[$(SchemaStep {
            number: $number,
            name: $name,
            sqlite: include_str!(concat!("../../migrations/sqlite/", $file)),
            postgres: include_str!(concat!("../../migrations/postgres/", $file)),
        },)*]
    };
}

pub(super) const SCHEMA: &[SchemaStep] = schema_steps![
    1 "foundation" "0001_foundation.sql",
    2 "hits_together" "0002_hits_together.sql",
    3 "templates" "0003_templates.sql",
    4 "cached_files" "0004_cached_files.sql",
    5 "suppressions" "0005_suppressions.sql",
    6 "queue" "0006_queue.sql",
    7 "reports" "0007_reports.sql",
    8 "tracking" "0008_tracking.sql",
    9 "users" "0009_users.sql",
    10 "webhooks" "0010_webhooks.sql",
    11 "credential_networks" "0011_credential_networks.sql",
    12 "claimed_domains" "0012_claimed_domains.sql",
    13 "sending" "0013_sending.sql",
    14 "http_api" "0014_http_api.sql",
    15 "console" "0015_console.sql",
    16 "sources" "0016_sources.sql",
    17 "durable_hits" "0017_durable_hits.sql",
    18 "tls_reports" "0018_tls_reports.sql",
    19 "webhooks_alone" "0019_webhooks_alone.sql",
    20 "listed_events" "0020_listed_events.sql",
    21 "counted_hits" "0021_counted_hits.sql",
    22 "verified_by" "0022_verified_by.sql",
    23 "ages" "0023_ages.sql",
    24 "webhook_versions" "0024_webhook_versions.sql",
    25 "first_of_all" "0025_first_of_all.sql",
    26 "hurries" "0026_hurries.sql",
    27 "complaint_sources" "0027_complaint_sources.sql",
    28 "handed_over" "0028_handed_over.sql",
    29 "key_settings" "0029_key_settings.sql",
    30 "authors" "0030_authors.sql",
];

/// Applies what a database lacks; `text` picks the engine's.
pub(super) fn migrator(text: impl Fn(&SchemaStep) -> &'static str) -> Migrator {
    let migration = |step: &SchemaStep| {
        Migration::new(step.number, step.name.into(), MigrationType::Simple, text(step).into_sql_str(), false)
    };
    Migrator::with_migrations(SCHEMA.iter().map(migration).collect())
}

/// Looks whether a SQLite file, if there is one, is of no newer version; changes nothing.
///
/// # Errors
/// `Corrupt` when it is; `Unavailable` when it cannot be read, or is no database.
pub async fn check_file(path: &Path) -> Result<(), StoreError> {
    const STEP: &str = "select max(version) from _sqlx_migrations";
    if !path.exists() {
        return Ok(());
    }
    // Nobody else has it open where there is no log beside it: then none needs to be made.
    let has_log = log_of(path).exists();
    let options = SqliteConnectOptions::new().filename(path).read_only(true).immutable(!has_log);
    let mut database = options.connect().await?;
    let tables = "select count(*) from sqlite_master where name = '_sqlx_migrations'";
    let is_ours = sqlx::query_scalar::<_, i64>(tables).fetch_one(&mut database).await? > 0;
    let step = match is_ours {
        true => sqlx::query_scalar::<_, Option<i64>>(STEP).fetch_one(&mut database).await?,
        false => None,
    };
    database.close().await?;
    match step.filter(|step| SCHEMA.last().is_none_or(|last| *step > last.number)) {
        Some(step) => Err(newer(step)),
        None => Ok(()),
    }
}

/// What a step that is not known here means.
pub(super) fn newer(step: i64) -> StoreError {
    StoreError::Corrupt(format!(
        "it is of a newer Postback (step {step} of its schema is unknown here); start that version again, or restore the \
         copy made before the upgrade"
    ))
}

fn log_of(path: &Path) -> PathBuf {
    let mut log = path.as_os_str().to_owned();
    log.push("-wal");
    log.into()
}

#[cfg(test)]
mod tests {
    use sqlx::sqlite::SqlitePoolOptions;
    use sqlx::{Executor, Row};

    use super::*;
    use crate::model::id::EventId;

    #[tokio::test]
    async fn a_file_of_a_newer_version_is_known_as_one() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("postback.db");
        assert!(check_file(&path).await.is_ok(), "there is none");
        let options = SqliteConnectOptions::new().filename(&path).create_if_missing(true);
        let pool = SqlitePoolOptions::new().max_connections(1).connect_with(options).await.unwrap();
        pool.execute("create table another (id bigint)").await.unwrap();
        assert!(check_file(&path).await.is_ok(), "it is not begun");
        migrator(|step| step.sqlite).run(&pool).await.unwrap();
        assert!(check_file(&path).await.is_ok());
        let later = "update _sqlx_migrations set version = 9999 where version = 1";
        pool.execute(later).await.unwrap();
        pool.close().await;
        let told = check_file(&path).await.unwrap_err().to_string();
        assert!(told.contains("newer Postback (step 9999"), "{told}");
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1, "nothing is left beside it");
        std::fs::write(&path, "no database at all, but a text").unwrap();
        assert!(check_file(&path).await.is_err());
    }

    #[tokio::test]
    async fn events_of_before_are_listed_in_the_order_of_their_ids() {
        const OLD: &str = "
            insert into events (id, message_id, recipient, tenant_id, agent_id, kind, kind_bit, ordinal, at, address,
                detail, relay, relay_at, is_test)
            values ($1, $1, 0, x'01', x'02', 'sent', 1, 0, 7, '', '{}', 1, 7, false)";
        let pool = SqlitePoolOptions::new().max_connections(1).connect("sqlite::memory:").await.unwrap();
        let before = migrator(|step| step.sqlite);
        let before = before.iter().filter(|step| step.version < 20).cloned().collect();
        Migrator::with_migrations(before).run(&pool).await.unwrap();
        let ids = [[0; 16], [0x12; 16], [0xff; 16], 0x019c_aff0_7f2a_7aaa_8000_0000_0000_0001_u128.to_be_bytes()];
        for id in ids {
            pool.execute(sqlx::query(OLD).bind(id.to_vec())).await.unwrap();
        }
        migrator(|step| step.sqlite).run(&pool).await.unwrap();
        for id in ids {
            let sql = "select listed_at from events where id = $1";
            let row = sqlx::query(sql).bind(id.to_vec()).fetch_one(&pool).await.unwrap();
            assert_eq!(row.get::<i64, _>("listed_at"), EventId::from_bytes(id).drawn_at().as_millis());
        }
    }
}
