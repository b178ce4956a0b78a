//! `/api/v1/tracking-hosts`: hosts of a tenant's own that tracked links lead through.
//!
//! Mail from a domain with such a host is rewritten for it while its last check passed, and goes untracked while it did
//! not. Checks are made within seconds of being due, by whoever watches the hosts; here they are only asked for.

use hyper::StatusCode;

use super::super::json_answer;
use super::super::operation::Call;
use super::super::problem::Problem;
use super::super::query;
use super::super::server::Answer;
use super::super::shape::{self, Change, Domain, Line, Nullable, Text, When, Word, answer, request, vocabulary};
use super::super::wire::{Flaw, Wrong};
use super::{AGENTS_MAX, agent_or_own, made, no_content};
use crate::model::tenant::MailAgent;
use crate::model::tracking::{TrackingHost, host_below};
use crate::store::StoreError;

/// Bytes of a file by which links open an app.
const FILE_BYTES_MAX: usize = 128 << 10;

/// How a host stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Standing {
    Unchecked,
    Ready,
    Failed,
}

vocabulary! { Standing:
    "unchecked" Standing::Unchecked,
    "ready" Standing::Ready,
    "failed" Standing::Failed,
}

request! {
    /// A host for links to lead through.
    pub(super) struct NewTrackingHost {
        /// The host, below the domain, with its port when that is not 443. Its DNS must lead here.
        host "host": Line<1, 300>,
        /// The sending domain whose links lead through it.
        domain "domain": Domain,
        /// Which mail agent's; the key's own unless given.
        mail_agent "mailAgent": Option<Line<1, 100>>,
        /// The JSON that `/.well-known/apple-app-site-association` answers under the host.
        apple_links "appleAppSiteAssociation": Option<AppFile>,
        /// The JSON that `/.well-known/assetlinks.json` answers under the host.
        android_links "assetLinks": Option<AppFile>,
    }

    /// What to change of a tracking host.
    pub(super) struct TrackingHostChange {
        /// The JSON that `/.well-known/apple-app-site-association` answers; null for none.
        apple_links "appleAppSiteAssociation": Change<AppFile>,
        /// The JSON that `/.well-known/assetlinks.json` answers; null for none.
        android_links "assetLinks": Change<AppFile>,
    }
}

answer! {
    /// A host that links lead through.
    pub(super) struct TrackingHostBody {
        /// The host, with its port when that is not 443.
        host "host": String,
        /// The sending domain.
        domain "domain": String,
        /// Which mail agent's.
        mail_agent "mailAgent": String,
        /// `ready` when mail is rewritten for it; else mail from the domain goes untracked.
        status "status": Word<Standing>,
        /// What was wrong at the last check.
        fault "fault": Nullable<String>,
        /// When it was checked last.
        checked_at "checkedAt": Nullable<When>,
        /// The JSON that `/.well-known/apple-app-site-association` answers.
        apple_links "appleAppSiteAssociation": Nullable<String>,
        /// The JSON that `/.well-known/assetlinks.json` answers.
        android_links "assetLinks": Nullable<String>,
        /// When it was added.
        created_at "createdAt": When,
        /// Who made it: a person's address, or the id of a key; null when that is not known.
        created_by "createdBy": Nullable<String>,
    }
}

/// A text that is JSON, served byte for byte.
#[derive(Debug)]
pub(super) struct AppFile(String);

impl shape::Shape for AppFile {
    fn schema(schemas: &mut shape::Schemas) -> serde_json::Value {
        let mut schema = Text::<1, FILE_BYTES_MAX>::schema(schemas);
        schema["contentMediaType"] = "application/json".into();
        schema
    }
}

impl shape::Read for AppFile {
    fn read(json: &super::super::json::Json<'_>, path: &str) -> Result<Self, Flaw> {
        let Text(text) = Text::<1, FILE_BYTES_MAX>::read(json, path)?;
        match serde_json::from_str::<serde::de::IgnoredAny>(&text) {
            Ok(_) if text.len() <= FILE_BYTES_MAX => Ok(Self(text)),
            Ok(_) => Err(Flaw::at(path, Wrong::TooLong(FILE_BYTES_MAX))),
            Err(_) => Err(Flaw::at(path, Wrong::Other("must be the text of a JSON document".into()))),
        }
    }
}

/// `GET /api/v1/tracking-hosts`.
pub(super) async fn list(call: Call) -> Result<Answer, Problem> {
    let (limit, after) = (call.query.limit()? as usize, call.query.text("after").unwrap_or_default());
    let agents = agents(&call).await?;
    let own = of_tenant(&call).await?.into_iter().filter(|host| host.host.as_str() > after);
    let (page, key) = (own.take(limit + 1).collect(), |host: &TrackingHost| host.host.clone());
    query::page(("/api/v1/tracking-hosts", &call.query), page, key, |host| shown(host, &agents))
}

/// `POST /api/v1/tracking-hosts`.
pub(super) async fn add(call: Call) -> Result<Answer, Problem> {
    let new: NewTrackingHost = shape::read(&call.body.bytes)?;
    let (Line(name), Domain(domain)) = (new.host, new.domain);
    let agent = new.mail_agent.as_ref().map(|Line(name)| name.as_str());
    let agent = agent_or_own(&call.server, &call.grant, agent).await?;
    let flaw = |path: &str, why: String, text: &str| Flaw::at(path, Wrong::Other(why)).showing(text);
    let Some(host) = host_below(&name, &domain) else {
        return Err(flaw("/host", format!("must be the name of a host below {domain}"), &name).into());
    };
    if !call.server.store().domains(agent.id).await?.contains(&domain) {
        return Err(flaw("/domain", format!("must be a domain that {} may send from", agent.name), &domain).into());
    }
    let text = |file: Option<AppFile>| file.map(|AppFile(text)| text).unwrap_or_default();
    let host = TrackingHost {
        apple_links: text(new.apple_links),
        android_links: text(new.android_links),
        created_by: call.grant.author(),
        ..TrackingHost::new(host, &agent, domain, call.server.clock().now())
    };
    match call.server.store().add_tracking_host(host.clone()).await {
        Ok(()) => {}
        Err(StoreError::Conflict) => {
            return Err(Problem::Conflict("The host is taken, or the domain has one for this mail agent"));
        }
        Err(fault) => return Err(fault.into()),
    }
    let place = format!("/api/v1/tracking-hosts/{}", query::encoded(&host.host));
    Ok(made(&shown(host, &[agent]), &place))
}

/// `GET /api/v1/tracking-hosts/{host}`.
pub(super) async fn get(call: Call) -> Result<Answer, Problem> {
    let host = find(&call).await?;
    told(&call, host, StatusCode::OK).await
}

/// `PATCH /api/v1/tracking-hosts/{host}`.
pub(super) async fn change(call: Call) -> Result<Answer, Problem> {
    let mut host = find(&call).await?;
    let change: TrackingHostChange = shape::read(&call.body.bytes)?;
    if !change.apple_links.is_change() && !change.android_links.is_change() {
        return Err(Problem::EmptyChange);
    }
    let applied = |change: Change<AppFile>, old: String| change.applied(Some(old), |AppFile(text)| text);
    host.apple_links = applied(change.apple_links, host.apple_links).unwrap_or_default();
    host.android_links = applied(change.android_links, host.android_links).unwrap_or_default();
    let (store, tenant) = (call.server.store(), call.grant.tenant.id);
    match store.set_app_links(tenant, &host.host, &host.apple_links, &host.android_links).await? {
        true => told(&call, host, StatusCode::OK).await,
        false => Err(NOTHING),
    }
}

/// `POST /api/v1/tracking-hosts/{host}/check`.
pub(super) async fn check(call: Call) -> Result<Answer, Problem> {
    let host = find(&call).await?;
    call.server.store().tracking_host_due(&host.host).await?;
    told(&call, host, StatusCode::ACCEPTED).await
}

/// `DELETE /api/v1/tracking-hosts/{host}`.
pub(super) async fn remove(call: Call) -> Result<Answer, Problem> {
    let host = find(&call).await?;
    match call.server.store().remove_tracking_host(call.grant.tenant.id, &host.host).await? {
        true => Ok(no_content()),
        false => Err(NOTHING),
    }
}

const NOTHING: Problem = Problem::NotFound("Tracking host");

async fn of_tenant(call: &Call) -> Result<Vec<TrackingHost>, Problem> {
    let mut hosts = call.server.store().tracking_hosts().await?;
    hosts.retain(|host| host.tenant == call.grant.tenant.id);
    Ok(hosts)
}

/// The tracking host of the path.
async fn find(call: &Call) -> Result<TrackingHost, Problem> {
    let wanted = call.place().to_ascii_lowercase();
    of_tenant(call).await?.into_iter().find(|host| host.host == wanted).ok_or(NOTHING)
}

async fn told(call: &Call, host: TrackingHost, status: StatusCode) -> Result<Answer, Problem> {
    Ok(json_answer(status, &shown(host, &agents(call).await?)))
}

async fn agents(call: &Call) -> Result<Vec<MailAgent>, Problem> {
    Ok(call.server.store().agents(call.grant.tenant.id, "", AGENTS_MAX).await?)
}

fn shown(host: TrackingHost, agents: &[MailAgent]) -> TrackingHostBody {
    let agent = agents.iter().find(|agent| agent.id == host.agent);
    let status = match (host.checked_at, host.is_ready()) {
        (_, true) => Standing::Ready,
        (Some(_), false) => Standing::Failed,
        (None, false) => Standing::Unchecked,
    };
    TrackingHostBody {
        mail_agent: agent.map(|agent| agent.name.clone()).unwrap_or_default(),
        status: Word(status),
        checked_at: Nullable(host.checked_at.filter(|at| *at != TrackingHost::DUE).map(When)),
        host: host.host,
        domain: host.domain,
        fault: Nullable::of(host.fault),
        apple_links: Nullable::of(host.apple_links),
        android_links: Nullable::of(host.android_links),
        created_at: When(host.created_at),
        created_by: Nullable::of(host.created_by),
    }
}
