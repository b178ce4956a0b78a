//! What both APIs let a client say about a mail beyond its parts: tags, metadata, when to send it, how long to try.
//!
//! Each API has its own names for these fields; what may stand in them is the same.

use std::time::Duration;

use serde_json::{Map, Value};

use super::json;
use super::wire::{Fields, Flaw, Wrong};
use crate::mail::submitted::TAGS_MAX;
use crate::model::time::Timestamp;

/// Characters of one tag.
const TAG_CHARS_MAX: usize = 128;
/// Size of the metadata as JSON, in bytes.
const METADATA_BYTES_MAX: usize = 8 * 1024;
/// How far ahead a mail may be scheduled.
const AHEAD_MAX: Duration = Duration::from_secs(30 * 86_400);

type Read<T> = Result<T, Flaw>;

/// Tags: a list of texts, or one text.
pub(super) fn tags(fields: &Fields<'_, '_>, name: &str) -> Read<Vec<String>> {
    let tags = fields.texts(name)?;
    if tags.len() > TAGS_MAX {
        return Err(Flaw::at(fields.path(name), Wrong::TooMany(TAGS_MAX)));
    }
    let check = |(place, tag): (usize, &str)| {
        let wrong = match tag {
            "" => Wrong::Empty,
            _ if tag.chars().count() > TAG_CHARS_MAX => Wrong::TooLong(TAG_CHARS_MAX),
            _ if tag.chars().any(char::is_control) => Wrong::Other("control characters are not allowed here".into()),
            _ => return Ok(tag.to_owned()),
        };
        Err(Flaw::at(format!("{}/{place}", fields.path(name)), wrong).showing(tag))
    };
    tags.into_iter().enumerate().map(check).collect()
}

/// Metadata: any object, kept in its order.
pub(super) fn metadata(fields: &Fields<'_, '_>, name: &str) -> Read<Map<String, Value>> {
    let metadata = fields.fields(name)?.map(|metadata| json::to_map(metadata.raw())).unwrap_or_default();
    if serde_json::to_vec(&metadata).map_or(0, |text| text.len()) > METADATA_BYTES_MAX {
        return Err(Flaw::at(fields.path(name), Wrong::TooLong(METADATA_BYTES_MAX)));
    }
    Ok(metadata)
}

/// Not to be sent before then: a time of RFC 3339.
pub(super) fn send_at(fields: &Fields<'_, '_>, name: &str, now: Timestamp) -> Read<Option<Timestamp>> {
    let Some(text) = fields.text(name)? else { return Ok(None) };
    let bad = |wrong| Flaw::at(fields.path(name), wrong).showing(text);
    let at: jiff::Timestamp = text.parse().map_err(|_| bad(Wrong::Format("date-time")))?;
    let at = Timestamp::from_millis(at.as_millisecond());
    if at > now + AHEAD_MAX { Err(bad(Wrong::Other("must be within 30 days".into()))) } else { Ok(Some(at)) }
}

/// How long to try, in seconds, counted from when it is first due.
pub(super) fn time_to_live(fields: &Fields<'_, '_>, name: &str) -> Read<Option<Duration>> {
    let Some(value) = fields.get(name) else { return Ok(None) };
    let bad = || Flaw::at(fields.path(name), Wrong::Other("must be a whole number of seconds, at least 1".into()));
    match value {
        json::Json::Number(number) => {
            number.as_u64().filter(|secs| *secs > 0).map(Duration::from_secs).map(Some).ok_or_else(bad)
        }
        _ => Err(bad()),
    }
}
