//! What goes into a query and what comes out, in the types that both engines share: bigint, text, bytes, boolean.
//!
//! Absent values keep their type, which PostgreSQL wants to know. A column that does not read back as it was written is
//! `Corrupt`.

use sqlx::Row as _;
use sqlx::postgres::PgRow;
use sqlx::sqlite::SqliteRow;

use super::db::{Result, StoreError};
use crate::model::time::Timestamp;

/// A query with its values bound, for whichever engine the executor is of.
macro_rules! bound {
    ($sql:expr, $values:expr) => {{
        let mut query = sqlx::query($sql);
        for value in $values {
            query = match value {
                Value::Int(value) => query.bind(value),
                Value::Text(value) => query.bind(value),
                Value::Bytes(value) => query.bind(value),
                Value::Flag(value) => query.bind(value),
            };
        }
        query
    }};
}
pub(super) use bound;

/// A value on its way in. Absent ones keep their type, which PostgreSQL wants to know.
#[derive(Clone, Debug)]
pub(super) enum Value {
    Int(Option<i64>),
    Text(Option<String>),
    Bytes(Option<Vec<u8>>),
    Flag(bool),
}

macro_rules! values {
    ($($kind:ident: $from:ty, $value:ident => $made:expr;)*) => {$(
        impl From<$from> for Value {
            fn from($value: $from) -> Self {
                Value::$kind(Some($made))
            }
        }

        impl From<Option<$from>> for Value {
            fn from(value: Option<$from>) -> Self {
                Value::$kind(value.map(|$value| $made))
            }
        }
    )*};
}

values! {
    Int: i64, value => value;
    Int: u8, value => i64::from(value);
    Int: u16, value => i64::from(value);
    Int: u32, value => i64::from(value);
    Int: u64, value => i64::try_from(value).unwrap_or(i64::MAX);
    Int: Timestamp, value => value.as_millis();
    Text: &str, value => value.to_owned();
    Text: String, value => value;
    Bytes: Vec<u8>, value => value;
    Bytes: &[u8], value => value.to_vec();
    Bytes: crate::model::id::TenantId, value => value.as_bytes().to_vec();
    Bytes: crate::model::id::AgentId, value => value.as_bytes().to_vec();
    Bytes: crate::model::id::CredentialId, value => value.as_bytes().to_vec();
    Bytes: crate::model::id::MessageId, value => value.as_bytes().to_vec();
    Bytes: crate::model::id::EventId, value => value.as_bytes().to_vec();
    Bytes: crate::model::id::ReportId, value => value.as_bytes().to_vec();
    Bytes: crate::model::id::WebhookId, value => value.as_bytes().to_vec();
    Bytes: crate::model::id::TemplateId, value => value.as_bytes().to_vec();
    Bytes: crate::model::id::FileId, value => value.as_bytes().to_vec();
    Bytes: crate::model::id::UserId, value => value.as_bytes().to_vec();
    Bytes: crate::model::id::ReplayId, value => value.as_bytes().to_vec();
}

impl From<bool> for Value {
    fn from(value: bool) -> Self {
        Value::Flag(value)
    }
}

/// A row on its way out. Getters fail with `Corrupt` when the column is not of the wanted type.
#[derive(Debug)]
pub(super) enum Row {
    Sqlite(SqliteRow),
    Postgres(PgRow),
}

macro_rules! getter {
    ($(#[$doc:meta])* $name:ident, $type:ty) => {
        $(#[$doc])*
        pub(super) fn $name(&self, column: &str) -> Result<$type> {
            Ok(match self {
                Row::Sqlite(row) => row.try_get(column)?,
                Row::Postgres(row) => row.try_get(column)?,
            })
        }
    };
}

impl Row {
    getter!(int, i64);
    getter!(maybe_int, Option<i64>);
    getter!(text, String);
    getter!(maybe_text, Option<String>);
    getter!(bytes, Vec<u8>);
    getter!(maybe_bytes, Option<Vec<u8>>);
    getter!(flag, bool);

    /// An id's sixteen bytes.
    pub(super) fn id(&self, column: &str) -> Result<[u8; 16]> {
        self.array(column)
    }

    /// Exactly `N` bytes.
    pub(super) fn array<const N: usize>(&self, column: &str) -> Result<[u8; N]> {
        self.bytes(column)?.try_into().map_err(|_| StoreError::Corrupt(format!("{column} is not {N} bytes long")))
    }

    /// A point in time.
    pub(super) fn time(&self, column: &str) -> Result<Timestamp> {
        self.int(column).map(Timestamp::from_millis)
    }

    /// A point in time, or none.
    pub(super) fn maybe_time(&self, column: &str) -> Result<Option<Timestamp>> {
        Ok(self.maybe_int(column)?.map(Timestamp::from_millis))
    }

    /// A number that fits a smaller type.
    pub(super) fn small<T: TryFrom<i64>>(&self, column: &str) -> Result<T> {
        T::try_from(self.int(column)?).map_err(|_| StoreError::Corrupt(format!("{column} is out of range")))
    }

    /// A text that reads as a `T`.
    pub(super) fn word<T>(&self, column: &str, read: impl FnOnce(&str) -> Option<T>) -> Result<T> {
        let text = self.text(column)?;
        read(&text).ok_or_else(|| StoreError::Corrupt(format!("{column} holds {text:?}")))
    }

    /// JSON text that reads as a `T`.
    pub(super) fn json<T: serde::de::DeserializeOwned>(&self, column: &str) -> Result<T> {
        serde_json::from_str(&self.text(column)?).map_err(|fault| StoreError::Corrupt(format!("{column}: {fault}")))
    }
}

/// JSON text of a value of ours, none of which can fail to be written.
pub(super) fn json(value: &impl serde::Serialize) -> String {
    serde_json::to_string(value).expect("our own values have string keys and no failing parts")
}

/// Lengths that lists are filled up to, longest first.
pub(super) const LENGTHS: [usize; 7] = [64, 32, 16, 8, 4, 2, 1];
/// Tuples of which every number has a statement of its own; more come in multiples of it, up to the longest.
const TUPLES_EXACT: usize = 16;

/// How places for values are written in long lists.
#[derive(Clone, Copy, Debug)]
pub(super) enum Places {
    /// `?`, for SQLite: asked for the place of `$896`, it goes through all names before it.
    Counted,
    /// `$1`, for PostgreSQL.
    Numbered,
}

/// The statements that carry `tuples`, as text and values: as few and as large as [`piece`] allows.
pub(super) fn pieces(places: Places, head: &str, tail: &str, tuples: Vec<Vec<Value>>) -> Vec<(String, Vec<Value>)> {
    let mut statements = Vec::new();
    let mut left = tuples.into_iter();
    while left.len() > 0 {
        let count = piece(left.len());
        let tuples: Vec<_> = left.by_ref().take(count).collect();
        let sql = format!("{head} {} {tail}", placeholders(places, &tuples));
        statements.push((sql, tuples.into_iter().flatten().collect()));
    }
    statements
}

/// How many of `left` tuples the next statement carries. A batch is mostly one statement a table, and there are few
/// enough of them that prepared ones are found again.
fn piece(left: usize) -> usize {
    if left <= TUPLES_EXACT { left } else { (left - left % TUPLES_EXACT).min(LENGTHS[0]) }
}

fn placeholders(places: Places, tuples: &[Vec<Value>]) -> String {
    let mut text = String::new();
    let mut number = 0;
    for (at, tuple) in tuples.iter().enumerate() {
        text.push_str(if at == 0 { "(" } else { ", (" });
        for place in 0..tuple.len() {
            number += 1;
            text.push_str(if place == 0 { "" } else { ", " });
            match places {
                Places::Counted => text.push('?'),
                Places::Numbered => text.push_str(&format!("${number}")),
            }
        }
        text.push(')');
    }
    text
}
