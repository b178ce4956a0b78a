//! Times as ZeptoMail writes them: `04 Jun 2023 08:19 PM`, and in queries `04/06/2023, 08:19 PM`
//! or, in its later pages, `04/06/2023;08:19 PM`. All in UTC.

use jiff::civil::DateTime;
use jiff::fmt::strtime;
use jiff::tz::TimeZone;

use crate::model::time::Timestamp;

/// A time in an answer.
pub(super) fn told(at: Timestamp) -> String {
    let at = jiff::Timestamp::from_millisecond(at.as_millis()).unwrap_or_default().to_zoned(TimeZone::UTC);
    at.strftime("%d %b %Y %I:%M %p").to_string()
}

/// A time in a query: as the SDK writes it, as the answers do, a date alone, or RFC 3339.
pub(super) fn asked(text: &str) -> Option<Timestamp> {
    const FORMS: [&str; 4] = ["%d/%m/%Y, %I:%M %p", "%d/%m/%Y;%I:%M %p", "%d/%m/%Y %I:%M %p", "%d %b %Y %I:%M %p"];
    let text = text.trim();
    let millis = |at: jiff::Timestamp| Timestamp::from_millis(at.as_millisecond());
    if let Ok(at) = text.parse::<jiff::Timestamp>() {
        return Some(millis(at));
    }
    let civil = FORMS.into_iter().find_map(|form| strtime::parse(form, text).ok()?.to_datetime().ok());
    let civil = civil.or_else(|| {
        let dates = ["%d/%m/%Y", "%Y-%m-%d"];
        let date = dates.into_iter().find_map(|form| strtime::parse(form, text).ok()?.to_date().ok())?;
        Some(DateTime::from(date))
    });
    Some(millis(civil?.to_zoned(TimeZone::UTC).ok()?.timestamp()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_in_both_directions() {
        let at = Timestamp::from_millis(1_685_909_940_000);
        assert_eq!(told(at), "04 Jun 2023 08:19 PM");
        for text in [
            "04/06/2023, 08:19 PM",
            "04/06/2023;08:19 PM",
            "04 Jun 2023 08:19 PM",
            "2023-06-04T20:19:00Z",
            "2023-06-04T22:19:00+02:00",
            " 04/06/2023 08:19 PM ",
        ] {
            assert_eq!(asked(text), Some(at), "{text}");
        }
        let midnight = Timestamp::from_millis(1_685_836_800_000);
        assert_eq!((asked("04/06/2023"), asked("2023-06-04")), (Some(midnight), Some(midnight)));
        for text in ["", "yesterday", "32/01/2023", "04/06/2023, 25:19 PM", "99999999999999999999"] {
            assert_eq!(asked(text), None, "{text}");
        }
    }
}
