//! `/console`: pages for people. What they change goes through Mailtura's API, called in process with the person's
//! tenant, or through the store's verbs that the API has too; what they see comes from the API or the store's views.
//!
//! Nobody gets further than the sign-in page without a session. Each path under `/console/<tenant>/` takes the tenant
//! from the address and compares it with the person's: another one's is 404, as is whatever is not there. Changes are
//! POSTs that the browser says come from our own pages; each is written to the audit log. What there is stands in
//! `routes`.

mod account;
mod activity;
mod agents;
mod chart;
mod domains;
mod exchange;
mod exposure;
mod form;
mod guesses;
mod inbox;
mod mail;
mod message;
mod messages;
mod operations;
mod overview;
mod page;
mod people;
mod queue;
mod routes;
mod session;
mod statics;
mod suppressions;
mod templates;
mod tracked;
mod tracking;
mod visit;
mod webhook_log;
mod webhook_trial;
mod webhooks;

use hyper::body::Incoming;
use hyper::header::{ACCEPT, CONTENT_TYPE, HeaderMap, HeaderValue, LOCATION};
use hyper::{Method, Request, StatusCode};

use super::memory::Owner;
use super::problem::Problem;
use super::server::{Answer, Peer};
use super::{SMALL_BYTES_MAX, Server, body, header, tell_more};
use form::Form;
use visit::{SignedIn, Visit, visit};

/// Tenants that a page may have room for; 250 bytes are the least that one takes.
const TENANTS_MAX: u32 = 500;
/// Largest body of a request that carries files or long texts, in bytes.
const LARGE_BYTES_MAX: usize = 16 << 20;

/// Why there is no page.
#[derive(Debug)]
pub(super) enum Fault {
    /// Nobody is signed in.
    SignIn,
    /// The password was right, the second factor is still asked for.
    SecondFactor,
    /// There is nothing there, or it is another tenant's.
    NotFound,
    /// The person's role does not reach so far.
    Forbidden,
    /// The change does not come from one of our pages.
    Foreign,
    /// What the API says.
    Problem(Problem),
}

impl<P: Into<Problem>> From<P> for Fault {
    fn from(problem: P) -> Self {
        match problem.into() {
            Problem::NotFound(_) | Problem::NoRoute => Fault::NotFound,
            other => Fault::Problem(other),
        }
    }
}

type Page = Result<Answer, Fault>;

pub(super) use session::SignIns;

/// What there is under a tenant's path: method, path with names in braces for what is another in each, and the operation
/// of the API that does the same.
pub fn routes() -> Vec<(&'static str, &'static str, &'static str)> {
    let method = |is_change: bool| if is_change { "POST" } else { "GET" };
    routes::ROUTES.iter().map(|route| (method(route.is_change), route.path, route.twin)).collect()
}

/// Whether a request is for the console: its paths, and `/` as a browser asks for it.
pub(super) fn is_for<B>(request: &Request<B>) -> bool {
    let path = request.uri().path();
    let wants_html = || header(request.headers(), ACCEPT.as_str()).is_some_and(|value| value.contains("text/html"));
    path == "/console" || path.starts_with("/console/") || path == "/" && wants_html()
}

/// Answers a request that [`is_for`] the console.
pub(super) async fn answer(server: &Server, mut request: Request<Incoming>, peer: Peer) -> Answer {
    let answer = respond(server, &mut request, peer).await.unwrap_or_else(|fault| refused(&fault));
    server.0.counters.answered(answer.status());
    answer
}

fn refused(fault: &Fault) -> Answer {
    let (status, text) = match fault {
        Fault::SignIn => return go("/console/sign-in"),
        Fault::SecondFactor => return go("/console/sign-in/code"),
        Fault::NotFound => (StatusCode::NOT_FOUND, "There is nothing here.".to_owned()),
        Fault::Forbidden => (StatusCode::FORBIDDEN, "Your role does not allow this.".to_owned()),
        Fault::Foreign => (StatusCode::FORBIDDEN, "This did not come from a page of this console.".to_owned()),
        Fault::Problem(problem) => {
            let (status, _) = problem.mailtura();
            let mut answer = page::fault(status, &page::told(problem));
            tell_more(&mut answer, problem);
            return answer;
        }
    };
    page::fault(status, &text)
}

async fn respond(server: &Server, request: &mut Request<Incoming>, peer: Peer) -> Page {
    let path = request.uri().path().to_owned();
    let path = path.strip_prefix("/console").unwrap_or_default().trim_matches('/');
    let segments: Vec<&str> = if path.is_empty() { Vec::new() } else { path.split('/').collect() };
    if let ["static", digest, name] = segments.as_slice() {
        return statics::answer(digest, name).ok_or(Fault::NotFound);
    }
    let method = request.method().clone();
    let is_change = match method {
        Method::GET | Method::HEAD => false,
        Method::POST => true,
        _ => return Err(Problem::Method { allowed: "GET, HEAD, POST" }.into()),
    };
    if is_change && !comes_from_us(request.headers()) {
        return Err(Fault::Foreign);
    }
    let browser = session::Browser::of(server.settings(), request, peer);
    // Nobody hands in large things before we know them.
    let is_at_the_door = matches!(segments.as_slice(), ["sign-in" | "join", ..]);
    let user = if is_at_the_door { None } else { Some(session::user(server, &browser).await?) };
    let route = segments.split_first().and_then(|(_, rest)| routes::find(is_change, rest));
    let bytes_max = match route.as_ref().filter(|_| user.is_some()) {
        Some((route, _)) if route.is_large => LARGE_BYTES_MAX,
        _ => SMALL_BYTES_MAX,
    };
    let owner = Owner::of(user.as_ref().and_then(|user| user.tenant), browser.address);
    let query = Form::parse(request.uri().query().unwrap_or_default().as_bytes());
    let form = if is_change {
        let kind = header(request.headers(), CONTENT_TYPE.as_str()).unwrap_or_default().to_owned();
        Form::of_body(&kind, &body::read(server.0.memory.share(owner), request, bytes_max).await?.bytes)
    } else {
        Form::default()
    };
    let Some(user) = user else { return door_page(server, &browser, &segments, is_change, &form).await };
    let person = SignedIn { server, browser: &browser, user };
    let answer = match (segments.as_slice(), is_change) {
        (["sign-out"], true) => session::sign_out(server, &browser).await,
        ([], false) => first_page(&person, query.get("after")).await,
        (["people", rest @ ..], _) => people::answer(&person, rest, is_change, &query, &form).await,
        (["account", rest @ ..], _) => account::answer(&person, rest, is_change, &form).await,
        ([slug, ..], _) => {
            let asked = visit::Asked { query, form: is_change.then_some(form), owner };
            let visit = visit(person, slug, asked).await?;
            let (route, places) = route.ok_or(Fault::NotFound)?;
            (route.work)(&visit, routes::Places::of(&places)).await
        }
        _ => Err(Fault::NotFound),
    };
    Ok(server.0.memory.share(owner).hold(&method, answer?).await?)
}

/// Pages for whom we do not know yet.
async fn door_page(
    server: &Server,
    browser: &session::Browser,
    segments: &[&str],
    is_change: bool,
    form: &Form,
) -> Page {
    match (segments, is_change) {
        (["sign-in"], false) => session::page(server, browser, None),
        (["sign-in"], true) => session::sign_in(server, browser, form).await,
        (["sign-in", "code"], false) => session::code_page(server, browser, None).await,
        (["sign-in", "code"], true) => session::pass(server, browser, form).await,
        (["join", secret], false) => people::join_page(server, browser, secret, None).await,
        (["join", secret], true) => people::join(server, browser, secret, form).await,
        _ => Err(Fault::NotFound),
    }
}

/// Where a person arrives: at the one tenant that there is for them, or at the list.
async fn first_page(person: &SignedIn<'_>, after: &str) -> Page {
    let store = person.server.store();
    let own: Vec<_> = match person.user.tenant {
        Some(own) => store.tenant_with_id(own).await?.into_iter().collect(),
        None => store.tenants(after, TENANTS_MAX).await?,
    };
    match own.as_slice() {
        [one] if after.is_empty() => Ok(go(&format!("/console/{}/", one.slug))),
        _ => overview::tenants(person, own),
    }
}

/// Whether the browser says that one of our own pages asks (SameSite keeps the cookie away from most others already).
fn comes_from_us(headers: &HeaderMap) -> bool {
    match header(headers, "sec-fetch-site") {
        Some(site) => site == "same-origin",
        None => {
            let origin = header(headers, "origin").and_then(|origin| origin.split_once("://"));
            let host = header(headers, "host");
            matches!((origin, host), (Some((_, origin)), Some(host)) if origin.eq_ignore_ascii_case(host))
        }
    }
}

/// On to another page.
fn go(path: &str) -> Answer {
    let mut answer = Answer::default();
    *answer.status_mut() = StatusCode::SEE_OTHER;
    if let Ok(path) = HeaderValue::try_from(path) {
        answer.headers_mut().insert(LOCATION, path);
    }
    answer
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn changes_come_from_our_own_pages() {
        let check = |fields: &[(&'static str, &'static str)], expected: bool| {
            let mut headers = HeaderMap::new();
            for (name, value) in fields {
                headers.insert(*name, HeaderValue::from_static(value));
            }
            assert_eq!(comes_from_us(&headers), expected, "{fields:?}");
        };
        check(&[("sec-fetch-site", "same-origin")], true);
        check(&[("sec-fetch-site", "same-site")], false);
        check(&[("sec-fetch-site", "cross-site"), ("origin", "http://a"), ("host", "a")], false);
        check(&[("sec-fetch-site", "none")], false);
        check(&[("origin", "https://mail.example:8443"), ("host", "mail.example:8443")], true);
        check(&[("origin", "https://evil.example"), ("host", "mail.example")], false);
        check(&[("origin", "null"), ("host", "mail.example")], false);
        check(&[("host", "mail.example")], false);
    }
}
