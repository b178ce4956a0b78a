//! What both APIs let a client say about a mail beyond its parts: tags, metadata, header fields, when to send it, how long
//! to try.
//!
//! Each API has its own names for these fields; what may stand in them is the same.

use std::time::Duration;

use serde_json::{Map, Value, json};

use super::json::Json;
use super::shape::{Count, Line, List, Read, Schemas, Shape, When};
use super::wire::{self, Fields, Flaw, Wrong};
use crate::mail::submitted::TAGS_MAX;
use crate::model::retry::AHEAD_MAX;
use crate::model::time::Timestamp;

/// Size of the metadata as JSON, in bytes.
const METADATA_BYTES_MAX: usize = 8 * 1024;
/// The longest that a mail can be tried, in seconds.
const TIME_TO_LIVE_SECS_MAX: u64 = 30 * 86_400;

/// Tags: a list of texts, or one text.
#[derive(Debug, Default)]
pub(super) struct Tags(pub Vec<String>);

type Tag = Line<1, 128>;

impl Shape for Tags {
    fn schema(schemas: &mut Schemas) -> Value {
        json!({ "anyOf": [Tag::schema(schemas), List::<Tag, 0, TAGS_MAX>::schema(schemas)] })
    }
}

impl Read for Tags {
    fn read(json: &Json<'_>, path: &str) -> Result<Self, Flaw> {
        let tags = match json {
            Json::Text(_) => vec![Tag::read(json, path)?],
            _ => List::<Tag, 0, TAGS_MAX>::read(json, path)?.0,
        };
        Ok(Self(tags.into_iter().map(|Line(tag)| tag).collect()))
    }
}

/// Metadata: any object, kept in its order.
#[derive(Debug, Default)]
pub(super) struct Metadata(pub Map<String, Value>);

impl Shape for Metadata {
    fn schema(_: &mut Schemas) -> Value {
        json!({ "type": "object" })
    }
}

impl Read for Metadata {
    fn read(json: &Json<'_>, path: &str) -> Result<Self, Flaw> {
        let metadata = Map::read(json, path)?;
        match serde_json::to_vec(&metadata).map_or(0, |text| text.len()) {
            ..=METADATA_BYTES_MAX => Ok(Self(metadata)),
            _ => Err(Flaw::at(path, Wrong::TooLarge(METADATA_BYTES_MAX))),
        }
    }
}

/// Header fields. Numbers and booleans pass for what they are written as.
#[derive(Debug, Default)]
pub(super) struct HeaderFields(pub Vec<(String, String)>);

impl Shape for HeaderFields {
    fn schema(_: &mut Schemas) -> Value {
        let value = json!({ "type": ["string", "number", "boolean", "null"] });
        json!({ "type": "object", "additionalProperties": value })
    }
}

impl Read for HeaderFields {
    fn read(json: &Json<'_>, path: &str) -> Result<Self, Flaw> {
        wire::pairs_of(json, path).map(Self)
    }
}

/// How long to try, in seconds, counted from when it is first due.
pub(super) type TimeToLive = Count<1, TIME_TO_LIVE_SECS_MAX>;

/// The duration that was meant.
pub(super) fn duration(time_to_live: Option<TimeToLive>) -> Option<Duration> {
    time_to_live.map(|Count(secs)| Duration::from_secs(secs))
}

/// Not to be sent before then, if that is not too far ahead.
pub(super) fn not_before(at: Option<When>, path: &str, now: Timestamp) -> Result<Option<Timestamp>, Flaw> {
    match at {
        Some(When(at)) if at > now + AHEAD_MAX => Err(Flaw::at(path, Wrong::Other("must be within 30 days".into()))),
        at => Ok(at.map(|When(at)| at)),
    }
}

/// The field of this name, as a `T`.
fn field<T: Read>(fields: &Fields<'_, '_>, name: &str) -> Result<Option<T>, Flaw> {
    Option::field(fields.raw_field(name), &fields.path(name))
}

pub(super) fn tags(fields: &Fields<'_, '_>, name: &str) -> Result<Vec<String>, Flaw> {
    Ok(field::<Tags>(fields, name)?.unwrap_or_default().0)
}

pub(super) fn metadata(fields: &Fields<'_, '_>, name: &str) -> Result<Map<String, Value>, Flaw> {
    Ok(field::<Metadata>(fields, name)?.unwrap_or_default().0)
}

pub(super) fn send_at(fields: &Fields<'_, '_>, name: &str, now: Timestamp) -> Result<Option<Timestamp>, Flaw> {
    not_before(field(fields, name)?, &fields.path(name), now)
}

pub(super) fn time_to_live(fields: &Fields<'_, '_>, name: &str) -> Result<Option<Duration>, Flaw> {
    Ok(duration(field(fields, name)?))
}
