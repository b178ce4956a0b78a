//! What all pages share: the frame, the headers that keep a page to itself, how times and numbers are written.

use askama::Template;
use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::header::{
    CACHE_CONTROL, CONTENT_SECURITY_POLICY, CONTENT_TYPE, HeaderName, HeaderValue, REFERRER_POLICY, X_FRAME_OPTIONS,
};
use hyper::{Response, StatusCode};
use serde_json::Value;

use super::super::problem::Problem;
use super::super::server::Answer;
use super::exposure::Exposure;
use super::visit::SignedIn;
use super::{Fault, Page};
use crate::model::time::Timestamp;
use crate::model::user::Deed;

/// Our own scripts, styles and pictures; nothing from elsewhere, nothing written into the page.
const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; \
    connect-src 'self'; frame-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'";

/// Bytes of what is told on top of a page.
const NOTICE_BYTES_MAX: usize = 2_000;

/// Where in the console a page belongs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Section {
    Overview,
    Inbox,
    Messages,
    Activity,
    Agents,
    Operations,
    People,
    Account,
    None,
}

impl Section {
    const fn word(self) -> &'static str {
        match self {
            Section::Overview => "overview",
            Section::Inbox => "inbox",
            Section::Messages => "messages",
            Section::Activity => "activity",
            Section::Agents => "agents",
            Section::Operations => "operations",
            Section::People => "people",
            Section::Account => "account",
            Section::None => "",
        }
    }
}

/// Something to tell on top of a page.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Notice {
    pub text: String,
    pub is_bad: bool,
}

impl Notice {
    pub(super) fn good(text: impl AsRef<str>) -> Option<Self> {
        Some(Self { text: cut(text.as_ref(), NOTICE_BYTES_MAX), is_bad: false })
    }

    pub(super) fn bad(text: impl AsRef<str>) -> Option<Self> {
        Some(Self { text: cut(text.as_ref(), NOTICE_BYTES_MAX), is_bad: true })
    }
}

/// What is around a page.
#[derive(Clone, Debug)]
pub(super) struct Frame {
    pub title: String,
    pub section: Section,
    /// Slug and name.
    pub tenant: Option<(String, String)>,
    pub person: String,
    pub role: &'static str,
    /// The person sees all tenants.
    pub is_for_all: bool,
    pub may_assist: bool,
    pub may_manage: bool,
    pub may_govern: bool,
    pub is_capture: bool,
    /// There is an inbox to look at.
    pub has_inbox: bool,
    /// Others can read this page on its way.
    pub exposure: Option<Exposure>,
    pub notice: Option<Notice>,
    /// The page may have come from a form.
    pub is_change: bool,
    /// Where it is to be found again then; empty when it is where it was asked for.
    pub here: String,
}

impl Frame {
    /// Around a page of no tenant.
    pub(super) fn new(at: &SignedIn<'_>, title: &str, section: Section) -> Self {
        let SignedIn { server, browser, user } = at;
        Self {
            title: title.to_owned(),
            section,
            tenant: None,
            person: user.name.clone(),
            role: user.role.as_str(),
            is_for_all: user.tenant.is_none(),
            may_assist: user.role.may(Deed::Assist),
            may_manage: user.role.may(Deed::Manage),
            may_govern: user.role.may(Deed::Govern),
            is_capture: server.house().is_capture,
            has_inbox: server.house().is_capture,
            exposure: Exposure::of(server, browser),
            notice: None,
            is_change: true,
            here: String::new(),
        }
    }

    /// The same for a page that may have come from a form: there it is to be found again.
    pub(super) fn here(self, path: String) -> Self {
        if self.is_change { Self { here: path, ..self } } else { self }
    }

    /// The tenant's slug; only pages of a tenant ask for it.
    pub(super) fn slug(&self) -> &str {
        self.tenant.as_ref().map_or("", |(slug, _)| slug.as_str())
    }

    /// What the paths of a tenant's pages begin with.
    pub(super) fn base(&self) -> String {
        format!("/console/{}", self.slug())
    }

    /// What the paths of a mail agent's pages begin with.
    pub(super) fn at(&self, key: &str) -> String {
        format!("{}/agents/{key}", self.base())
    }

    /// What the paths of a mail agent's webhooks begin with.
    pub(super) fn hooks(&self, key: &str) -> String {
        format!("{}/webhooks", self.at(key))
    }

    /// What the paths of a webhook begin with.
    pub(super) fn hook(&self, key: &str, id: &str) -> String {
        format!("{}/{id}", self.hooks(key))
    }

    /// For the entry of the menu that the page is in.
    pub(super) fn current(&self, section: &str) -> bool {
        self.section.word() == section
    }
}

/// A page as an answer.
pub(super) fn page(template: &impl Template) -> Page {
    page_with(StatusCode::OK, template)
}

pub(super) fn page_with(status: StatusCode, template: &impl Template) -> Page {
    let Ok(html) = template.render() else { return Err(Fault::Problem(Problem::Broken)) };
    let mut answer = whole(status, "text/html; charset=utf-8", html.into_bytes().into());
    guard(&mut answer, POLICY);
    Ok(answer)
}

/// A body of this type that nobody keeps.
pub(super) fn whole(status: StatusCode, content_type: &'static str, body: Bytes) -> Answer {
    let mut answer = Response::new(Full::new(body));
    *answer.status_mut() = status;
    answer.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
    answer.headers_mut().insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    answer
}

/// What a browser may do with an answer.
pub(super) fn guard(answer: &mut Answer, policy: &str) {
    let headers = answer.headers_mut();
    // A policy that cannot be written allows nothing.
    let written = HeaderValue::try_from(policy).unwrap_or(HeaderValue::from_static("default-src 'none'; sandbox"));
    headers.insert(CONTENT_SECURITY_POLICY, written);
    // Nobody else learns where a person was. Our own pages do: a browser that tells them nothing keeps from a form, too,
    // where it comes from, and by plain HTTP that is all there is to know it by.
    let referrer = if policy == POLICY { "same-origin" } else { "no-referrer" };
    headers.insert(REFERRER_POLICY, HeaderValue::from_static(referrer));
    headers.insert(HeaderName::from_static("cross-origin-opener-policy"), HeaderValue::from_static("same-origin"));
    headers.insert(HeaderName::from_static("cross-origin-resource-policy"), HeaderValue::from_static("same-origin"));
    if policy == POLICY {
        headers.insert(X_FRAME_OPTIONS, HeaderValue::from_static("DENY"));
    }
}

#[derive(Template)]
#[template(path = "console/fault.html")]
struct FaultPage<'t> {
    frame: Frame,
    text: &'t str,
}

/// A page that says why there is no other.
pub(super) fn fault(status: StatusCode, text: &str) -> Answer {
    let frame = Frame {
        title: status.canonical_reason().unwrap_or("Fault").to_owned(),
        section: Section::None,
        tenant: None,
        person: String::new(),
        role: "",
        is_for_all: false,
        may_assist: false,
        may_manage: false,
        may_govern: false,
        is_capture: false,
        has_inbox: false,
        exposure: None,
        notice: None,
        is_change: false,
        here: String::new(),
    };
    let plain = || whole(status, "text/plain; charset=utf-8", text.to_owned().into());
    page_with(status, &FaultPage { frame, text }).unwrap_or_else(|_| plain())
}

/// What the API says of a problem, for people.
pub(super) fn told(problem: &Problem) -> String {
    let (_, body) = problem.mailtura();
    let message = body.get("message").and_then(Value::as_str).unwrap_or("That did not work");
    let flaw = body.pointer("/validation/0");
    match flaw.and_then(|flaw| Some((flaw.get("instancePath")?.as_str()?, flaw.get("message")?.as_str()?))) {
        Some((path, why)) => format!("{}: {why}", label_of(path)),
        None => message.to_owned(),
    }
}

/// The last name of a path, in words: `Bounce address`.
fn label_of(path: &str) -> String {
    let mut names = path.trim_start_matches('?').split('/').filter(|name| name.parse::<u32>().is_err());
    let mut label = String::new();
    for letter in names.next_back().unwrap_or_default().chars() {
        match label.is_empty() {
            true => label.extend(letter.to_uppercase()),
            false if letter.is_uppercase() => label.extend([' '].into_iter().chain(letter.to_lowercase())),
            false => label.push(letter),
        }
    }
    label
}

/// The JSON of one of our own answers; null when it has no body.
pub(super) async fn json_of(answer: Answer) -> Result<Value, Problem> {
    let body = answer.into_body().collect().await.map(http_body_util::Collected::to_bytes).unwrap_or_default();
    if body.is_empty() { Ok(Value::Null) } else { serde_json::from_slice(&body).map_err(|_| Problem::Broken) }
}

/// A time for people: `2026-03-01 12:30:05`, in UTC.
pub(super) fn shown(at: Timestamp) -> String {
    let text = at.rfc3339_seconds();
    text.trim_end_matches('Z').replacen('T', " ", 1)
}

/// How long ago, or how long until, in the largest unit that fits: `3 min`.
pub(super) fn span(duration: std::time::Duration) -> String {
    match duration.as_secs() {
        secs @ 0..60 => format!("{secs} s"),
        secs @ 60..3_600 => format!("{} min", secs / 60),
        secs @ 3_600..172_800 => format!("{} h", secs / 3_600),
        secs => format!("{} days", secs / 86_400),
    }
}

/// A number for people: `12,345`.
pub(super) fn number(number: u64) -> String {
    let digits = number.to_string();
    let mut shown = String::new();
    for (place, digit) in digits.chars().enumerate() {
        if place > 0 && (digits.len() - place).is_multiple_of(3) {
            shown.push(',');
        }
        shown.push(digit);
    }
    shown
}

/// A share for people: `97.3 %`; a dash of nothing.
pub(super) fn share(part: u64, whole: u64) -> String {
    if whole == 0 {
        return "–".to_owned();
    }
    let mills = u128::from(part) * 1_000 / u128::from(whole);
    format!("{}.{} %", mills / 10, mills % 10)
}

/// A size for people.
pub(super) fn size(bytes: u64) -> String {
    match bytes {
        0..1_024 => format!("{bytes} bytes"),
        1_024..1_048_576 => format!("{} KiB", bytes / 1_024),
        _ => format!("{}.{} MiB", bytes / 1_048_576, bytes % 1_048_576 * 10 / 1_048_576),
    }
}

/// What a character comes to in a page, where some are written as entities.
fn written_bytes(char: char) -> usize {
    if "<>&\"'".contains(char) { "&#60;".len() } else { char.len_utf8() }
}

/// What a text comes to in a page.
pub(super) fn written(text: &str) -> usize {
    text.chars().map(written_bytes).sum()
}

/// As much of a long text as takes so many bytes in a page, cut between characters; whether it was cut.
pub(super) fn beginning(text: &str, bytes_max: usize) -> (&str, bool) {
    let mut left = bytes_max;
    let end = text.char_indices().find(|(_, char)| match left.checked_sub(written_bytes(*char)) {
        Some(rest) => {
            left = rest;
            false
        }
        None => true,
    });
    end.map_or((text, false), |(at, _)| (&text[..at], true))
}

/// The same with a mark where it was cut.
pub(super) fn cut(text: &str, bytes_max: usize) -> String {
    match beginning(text, bytes_max) {
        (start, true) => format!("{start}…"),
        (_, false) => text.to_owned(),
    }
}

/// Keeps the first rows, as many as take so many bytes in a page, and one in any case; how many went.
pub(super) fn fit<T>(rows: &mut Vec<T>, bytes_max: usize, bytes: impl Fn(&T) -> usize) -> usize {
    let mut left = bytes_max;
    let fits = |row: &&T| match left.checked_sub(bytes(row)) {
        Some(rest) => {
            left = rest;
            true
        }
        None => false,
    };
    let kept = rows.iter().take_while(fits).count().max(1);
    let more = rows.len().saturating_sub(kept);
    rows.truncate(kept);
    more
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn for_people() {
        assert_eq!([0, 999, 1_000, 1_234_567].map(number), ["0", "999", "1,000", "1,234,567"]);
        assert_eq!([share(1, 3), share(0, 0), share(5, 5), share(0, 7)], ["33.3 %", "–", "100.0 %", "0.0 %"]);
        assert_eq!([10, 4_096, 1_600_000].map(size), ["10 bytes", "4 KiB", "1.5 MiB"]);
        let spans = [5, 65, 7_300, 200_000].map(|secs| span(std::time::Duration::from_secs(secs)));
        assert_eq!(spans, ["5 s", "1 min", "2 h", "2 days"]);
        assert_eq!(
            ["/settings/bounceAddress", "/events/0", "?limit"].map(label_of),
            ["Bounce address", "Events", "Limit"]
        );
        assert_eq!(beginning("añb", 2), ("a", true));
        assert_eq!(beginning("añb", 4), ("añb", false));
        assert_eq!((beginning("a<b", 6), beginning("a<b", 7)), (("a<", true), ("a<b", false)));
        assert_eq!((beginning("<", 4), written("a<ñ")), (("", true), 8));
        assert_eq!((cut("abc", 2), cut("abc", 3)), ("ab…".to_owned(), "abc".to_owned()));
        let fitted = |bytes_max| {
            let mut rows = vec![3, 2, 1];
            (fit(&mut rows, bytes_max, |row| *row), rows)
        };
        assert_eq!((fitted(6), fitted(5), fitted(4)), ((0, vec![3, 2, 1]), (1, vec![3, 2]), (2, vec![3])));
        assert_eq!((fitted(0), fit(&mut Vec::<usize>::new(), 0, |row| *row)), ((2, vec![3]), 0));
    }
}
