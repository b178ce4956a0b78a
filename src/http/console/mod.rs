//! `/console`: pages for people. What they change goes through Mailtura's API, called in process with the person's
//! tenant; what they see comes from the store's views.
//!
//! Nobody gets further than the sign-in page without a session. Each path under `/console/<tenant>/` takes the tenant
//! from the address and compares it with the person's: another one's is 404, as is whatever is not there. Changes are
//! POSTs that the browser says come from our own pages; each is written to the audit log.

mod agents;
mod messages;
mod overview;
mod page;
mod people;
mod session;
mod statics;
mod webhooks;

use std::sync::Arc;

use hyper::body::Incoming;
use hyper::header::{ACCEPT, HeaderMap, HeaderValue, LOCATION};
use hyper::{Method, Request, StatusCode};

use super::problem::Problem;
use super::server::{Answer, Peer};
use super::{SMALL_BYTES_MAX, Server, header, mailtura};
use crate::model::id::{CredentialId, EventId};
use crate::model::tenant::{CredentialKind, DEFAULT_AGENT, Grant, MailAgent, Tenant};
use crate::model::user::{AuditEntry, Deed, User};
use page::{Form, Frame, Notice, Section};

/// Mail agents that are shown of one tenant.
const AGENTS_MAX: u32 = 500;
/// Tenants that are shown to a person who sees them all.
const TENANTS_MAX: u32 = 500;

/// Why there is no page.
#[derive(Debug)]
pub(super) enum Fault {
    /// Nobody is signed in.
    SignIn,
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
        Fault::NotFound => (StatusCode::NOT_FOUND, "There is nothing here.".to_owned()),
        Fault::Forbidden => (StatusCode::FORBIDDEN, "Your role does not allow this.".to_owned()),
        Fault::Foreign => (StatusCode::FORBIDDEN, "This did not come from a page of this console.".to_owned()),
        Fault::Problem(problem) => {
            let (status, _) = problem.mailtura();
            (status, page::told(problem))
        }
    };
    page::fault(status, &text)
}

async fn respond(server: &Server, request: &mut Request<Incoming>, peer: Peer) -> Page {
    let path = request.uri().path().to_owned();
    let path = path.strip_prefix("/console").unwrap_or_default().trim_matches('/');
    let segments: Vec<&str> = if path.is_empty() { Vec::new() } else { path.split('/').collect() };
    if let ["static", name] = segments.as_slice() {
        return statics::answer(name).ok_or(Fault::NotFound);
    }
    let is_change = match *request.method() {
        Method::GET | Method::HEAD => false,
        Method::POST => true,
        _ => return Err(Problem::Method { allowed: "GET, POST" }.into()),
    };
    if is_change && !comes_from_us(request.headers()) {
        return Err(Fault::Foreign);
    }
    let query = Form::parse(request.uri().query().unwrap_or_default().as_bytes());
    let form = if is_change {
        Form::parse(&server.0.memory.read(request, SMALL_BYTES_MAX).await?.bytes)
    } else {
        Form::default()
    };
    let browser = session::Browser::of(server.settings(), request, peer);
    match (segments.as_slice(), is_change) {
        (["sign-in"], false) => return session::page(None),
        (["sign-in"], true) => return session::sign_in(server, &browser, &form).await,
        (["join", secret], false) => return people::join_page(server, secret, None).await,
        (["join", secret], true) => return people::join(server, &browser, secret, &form).await,
        _ => {}
    }
    let user = session::user(server, &browser).await?.ok_or(Fault::SignIn)?;
    match (segments.as_slice(), is_change) {
        (["sign-out"], true) => session::sign_out(server, &browser).await,
        ([], false) => first_page(server, &user).await,
        (["people"], false) => people::list(server, &user, None).await,
        (["people"], true) => people::invite(server, &browser, &user, &form).await,
        (["people", "remove"], true) => people::remove(server, &browser, &user, &form).await,
        ([slug, rest @ ..], _) => {
            let visit = visit(server, &browser, user, slug, query, form).await?;
            if is_change { change(&visit, rest).await } else { show(&visit, rest).await }
        }
        _ => Err(Fault::NotFound),
    }
}

async fn show(visit: &Visit<'_>, path: &[&str]) -> Page {
    match path {
        [] => overview::show(visit).await,
        ["messages"] => messages::list(visit).await,
        ["messages", id] => messages::show(visit, id).await,
        ["messages", id, "html"] => messages::html(visit, id).await,
        ["messages", id, "source"] => messages::source(visit, id).await,
        ["messages", id, "attachments", place] => messages::attachment(visit, id, place).await,
        ["agents"] => agents::list(visit, None).await,
        ["agents", key] => Ok(go(&visit.path(&format!("agents/{key}/setup")))),
        ["agents", key, "webhooks"] => webhooks::list(visit, key, None).await,
        ["agents", key, "webhooks", "new"] => webhooks::new(visit, key).await,
        ["agents", key, "webhooks", id] => webhooks::edit(visit, key, id).await,
        ["agents", key, tab] => agents::tab(visit, key, tab, None).await,
        _ => Err(Fault::NotFound),
    }
}

async fn change(visit: &Visit<'_>, path: &[&str]) -> Page {
    match path {
        ["agents"] => agents::add(visit).await,
        ["agents", key, "settings"] => agents::set(visit, key).await,
        ["agents", key, "domains"] => agents::add_domain(visit, key).await,
        ["agents", key, "domains", "remove"] => agents::remove_domain(visit, key).await,
        ["agents", key, "keys"] => agents::add_key(visit, key).await,
        ["agents", key, "keys", "remove"] => agents::remove_key(visit, key).await,
        ["agents", key, "authentication-key"] => webhooks::set_authentication_key(visit, key).await,
        ["agents", key, "webhooks"] => webhooks::save(visit, key, None).await,
        ["agents", key, "webhooks", id] => webhooks::save(visit, key, Some(id)).await,
        ["agents", key, "webhooks", id, "delete"] => webhooks::remove(visit, key, id).await,
        ["agents", key, "webhooks", id, "test"] => webhooks::test(visit, key, id).await,
        _ => Err(Fault::NotFound),
    }
}

/// A signed-in person at one tenant.
struct Visit<'s> {
    server: &'s Server,
    user: User,
    tenant: Tenant,
    address: String,
    query: Form,
    form: Form,
}

async fn visit<'s>(
    server: &'s Server,
    browser: &session::Browser,
    user: User,
    slug: &str,
    query: Form,
    form: Form,
) -> Result<Visit<'s>, Fault> {
    let tenant = server.store().tenant(slug).await?.ok_or(Fault::NotFound)?;
    if user.tenant.is_some_and(|own| own != tenant.id) {
        return Err(Fault::NotFound);
    }
    Ok(Visit { server, user, tenant, address: browser.address.to_string(), query, form })
}

impl Visit<'_> {
    /// The path of a page of this tenant.
    fn path(&self, rest: &str) -> String {
        format!("/console/{}/{rest}", self.tenant.slug)
    }

    fn may(&self, deed: Deed) -> Result<(), Fault> {
        if self.user.role.may(deed) { Ok(()) } else { Err(Fault::Forbidden) }
    }

    fn frame(&self, title: &str, section: Section, notice: Option<Notice>) -> Frame {
        Frame {
            title: title.to_owned(),
            section,
            tenant: Some((self.tenant.slug.clone(), self.tenant.name.clone())),
            person: self.user.name.clone(),
            may_manage: self.user.role.may(Deed::Manage),
            may_govern: self.user.role.may(Deed::Govern) && self.user.tenant.is_none(),
            notice,
        }
    }

    async fn agents(&self) -> Result<Vec<MailAgent>, Fault> {
        Ok(self.server.store().agents(self.tenant.id, "", AGENTS_MAX).await?)
    }

    /// The tenant's mail agent with this key.
    async fn agent(&self, key: &str) -> Result<MailAgent, Fault> {
        self.agents().await?.into_iter().find(|agent| agent.key == key).ok_or(Fault::NotFound)
    }

    /// Asks the API for something, as `agent` of this tenant.
    async fn api(
        &self,
        agent: &MailAgent,
        method: Method,
        path: &str,
        body: &serde_json::Value,
    ) -> Result<serde_json::Value, Problem> {
        let domains = self.server.store().domains(agent.id).await?;
        let grant = Arc::new(Grant {
            tenant: self.tenant.clone(),
            agent: agent.clone(),
            credential: CredentialId::from_bytes([0; 16]),
            digest: [0; 32],
            networks: Vec::new(),
            kind: CredentialKind::ApiKey,
            domains,
        });
        let body = if body.is_null() { Vec::new() } else { body.to_string().into_bytes() };
        let answer = mailtura::call(self.server, &grant, &method, path, body).await?;
        page::json_of(answer).await
    }

    /// Writes to the audit log what the person has done.
    async fn note(&self, action: &str, object: &str) -> Result<(), Fault> {
        note(self.server, &self.user, &self.address, Some(&self.tenant), action, object).await
    }
}

async fn note(
    server: &Server,
    user: &User,
    address: &str,
    tenant: Option<&Tenant>,
    action: &str,
    object: &str,
) -> Result<(), Fault> {
    let at = server.clock().now();
    let id = EventId::from_uuid(server.ids().uuid(at));
    tracing::info!(user = user.email, action, object, "console");
    let entry = AuditEntry {
        at,
        actor: user.email.clone(),
        action: action.to_owned(),
        object: object.to_owned(),
        address: address.to_owned(),
        tenant: tenant.map(|tenant| tenant.id),
    };
    Ok(server.store().audit(id, entry).await?)
}

/// Where a person arrives: at the one tenant that there is for them, or at the list.
async fn first_page(server: &Server, user: &User) -> Page {
    let tenants = server.store().tenants("", TENANTS_MAX).await?;
    let mut own: Vec<Tenant> =
        tenants.into_iter().filter(|tenant| user.tenant.is_none_or(|own| own == tenant.id)).collect();
    match own.as_slice() {
        [one] => Ok(go(&format!("/console/{}/", one.slug))),
        _ => {
            own.sort_by(|a, b| a.name.cmp(&b.name));
            overview::tenants(user, &own)
        }
    }
}

/// The agent that most pages mean when they name none.
fn main_agent(agents: &[MailAgent]) -> Option<&MailAgent> {
    agents.iter().find(|agent| agent.name == DEFAULT_AGENT).or_else(|| agents.first())
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
