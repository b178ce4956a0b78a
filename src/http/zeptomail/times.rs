//! Times as ZeptoMail writes them: `04 Jun 2023 08:19 PM`. All in UTC.

use jiff::tz::TimeZone;

use crate::model::time::Timestamp;

/// A time in an answer.
pub(super) fn told(at: Timestamp) -> String {
    let at = jiff::Timestamp::from_millisecond(at.as_millis()).unwrap_or_default().to_zoned(TimeZone::UTC);
    at.strftime("%d %b %Y %I:%M %p").to_string()
}
