//! What stands after the question mark: filters, and which page of a list.
//!
//! Lists page by key: `limit` says how many, `after` names the last one seen, and an answer that is not the last says
//! in `Link` where the next begins (RFC 8288). A page never costs more than its own rows, whatever its number.

use std::str::FromStr;

use hyper::StatusCode;
use hyper::header::{HeaderValue, LINK};
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use serde::Serialize;

use super::json_answer;
use super::operation::{Parameter, parameter};
use super::problem::Problem;
use super::server::Answer;
use super::shape::{Count, Text, When};
use super::wire::{Flaw, Wrong};

/// Items of a page unless the request says otherwise.
const LIMIT: u32 = 50;
/// Items of a page.
pub(super) const LIMIT_MAX: u32 = 100;
/// Parameters of one query.
const PARAMETERS_MAX: usize = 50;

/// How many to list.
pub(super) const LIMIT_PARAMETER: Parameter =
    parameter::<Count<1, { LIMIT_MAX as u64 }>>("limit", "How many to list; 50 unless given.");
/// Where to go on.
pub(super) const AFTER_PARAMETER: Parameter =
    parameter::<Text<1, 320>>("after", "The last item seen, as the `Link` of the page before names it.");

/// A query, taken apart.
#[derive(Clone, Debug, Default)]
pub(super) struct Query(Vec<(String, String)>);

impl Query {
    /// The parameters of the text after the question mark. An empty one is none; of two with one name the first counts.
    pub(super) fn read(text: &str) -> Self {
        let parameters = form_urlencoded::parse(text.as_bytes()).filter(|(_, value)| !value.is_empty());
        Self(parameters.take(PARAMETERS_MAX).map(|(name, value)| (name.into_owned(), value.into_owned())).collect())
    }

    pub(super) fn text(&self, name: &str) -> Option<&str> {
        self.0.iter().find(|(own, _)| own == name).map(|(_, value)| value.as_str())
    }

    /// The value of a parameter as a `T`; `kind` says what it should be.
    pub(super) fn value<T: FromStr>(&self, name: &str, kind: &'static str) -> Result<Option<T>, Flaw> {
        let Some(text) = self.text(name) else { return Ok(None) };
        let wrong = if matches!(kind, "integer" | "boolean") { Wrong::Type(kind) } else { Wrong::Format(kind) };
        let bad = |_| Flaw::in_query(name, wrong).showing(text);
        text.parse().map(Some).map_err(bad)
    }

    /// The point in time that a parameter names.
    pub(super) fn when(&self, name: &str) -> Result<Option<When>, Flaw> {
        self.text(name).map(|text| When::parse(text, &format!("?{name}"))).transpose()
    }

    /// How many to list.
    pub(super) fn limit(&self) -> Result<u32, Flaw> {
        let limit = self.value("limit", "integer")?.unwrap_or(LIMIT);
        if (1..=LIMIT_MAX).contains(&limit) {
            Ok(limit)
        } else {
            Err(Flaw::in_query("limit", Wrong::Other(format!("must be from 1 to {LIMIT_MAX}"))))
        }
    }

    /// The same query with another `after`, as a link.
    fn after(&self, path: &str, key: &str) -> String {
        let mut link = format!("<{path}?");
        for (name, value) in self.0.iter().filter(|(name, _)| name != "after") {
            link += &format!("{}={}&", encoded(name), encoded(value));
        }
        link + &format!("after={}>; rel=\"next\"", encoded(key))
    }
}

/// Text as it may stand in a path or query.
pub(super) fn encoded(text: &str) -> String {
    utf8_percent_encode(text, NON_ALPHANUMERIC).to_string()
}

/// A page of a list. `rows` are one more than `limit` when there is another page.
pub(super) fn page<R, T: Serialize>(
    (path, query): (&str, &Query),
    rows: Vec<R>,
    key: impl Fn(&R) -> String,
    shown: impl Fn(R) -> T,
) -> Result<Answer, Problem> {
    let mut rows = rows;
    let limit = query.limit()? as usize;
    let has_more = rows.len() > limit;
    rows.truncate(limit);
    let next = rows.last().filter(|_| has_more).map(&key);
    Ok(page_before((path, query), rows, next, shown))
}

/// A page of a list, and the key where the next begins.
pub(super) fn page_before<R, T: Serialize>(
    (path, query): (&str, &Query),
    rows: Vec<R>,
    next: Option<String>,
    shown: impl Fn(R) -> T,
) -> Answer {
    let next = next.map(|key| query.after(path, &key));
    let mut answer = json_answer(StatusCode::OK, &rows.into_iter().map(shown).collect::<Vec<T>>());
    answer.headers_mut().extend(next.and_then(|next| HeaderValue::try_from(next).ok()).map(|next| (LINK, next)));
    answer
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn links_keep_the_filters() {
        let query = Query::read("limit=2&after=x&type=opened&recipient=a%40b.example&empty=");
        assert_eq!(query.limit(), Ok(2));
        assert_eq!(query.text("empty"), None);
        let next = "</api/v1/events?limit=2&type=opened&recipient=a%40b%2Eexample&after=evt%5F1>; rel=\"next\"";
        assert_eq!(query.after("/api/v1/events", "evt_1"), next);
    }

    #[test]
    fn limits() {
        for text in ["limit=0", "limit=101", "limit=x", "limit=-1", "limit=1.5", "limit=99999999999999999999"] {
            let flaw = Query::read(text).limit().unwrap_err();
            assert_eq!(flaw.path, "?limit", "{text}");
        }
        assert_eq!(Query::read("").limit(), Ok(50));
        assert_eq!(Query::read("limit=").limit(), Ok(50));
    }
}
