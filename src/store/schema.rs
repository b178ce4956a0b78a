//! The schema, step by step. A step has the same number and name in both folders of `migrations`, and is never edited
//! once it has shipped.

use sqlx::SqlSafeStr;
use sqlx::migrate::{Migration, MigrationType, Migrator};

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
];

/// Applies what a database lacks; `text` picks the engine's.
pub(super) fn migrator(text: impl Fn(&SchemaStep) -> &'static str) -> Migrator {
    let migration = |step: &SchemaStep| {
        Migration::new(step.number, step.name.into(), MigrationType::Simple, text(step).into_sql_str(), false)
    };
    Migrator::with_migrations(SCHEMA.iter().map(migration).collect())
}
