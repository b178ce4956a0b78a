//! What an API can do, as a table: the router reads it, and so does `/openapi.json`.
//!
//! An [`Operation`] is a method, a path with `{places}`, who may ask, what it takes and gives, and the function that does
//! it. A route that is not described cannot exist, nor a description of what is not there.

use std::net::IpAddr;
use std::pin::Pin;
use std::sync::Arc;

use hyper::body::Incoming;
use hyper::header::CONTENT_TYPE;
use hyper::{Method, Request};
use serde_json::Value;

use super::brake::Left;
use super::memory::{Owner, Share};
use super::once::{self, Ticket};
use super::problem::Problem;
use super::query::Query;
use super::server::Answer;
use super::shape::{Schemas, Shape};
use super::{SMALL_BYTES_MAX, Server, body, client, header};
use crate::model::permission::Permission;
use crate::model::tenant::Grant;

/// A request that may be answered: who asks, and for what.
pub(super) struct Call {
    pub server: Server,
    pub grant: Arc<Grant>,
    /// From where a key is used; `None` for a person at the console.
    pub peer: Option<IpAddr>,
    /// What stands in the places of the path, in order.
    pub places: Vec<String>,
    pub query: Query,
    pub body: body::Read,
    /// What the body is said to be.
    pub content_type: String,
    /// Where the answer is kept, when the request is to be carried out once only.
    pub ticket: Option<Arc<Ticket>>,
}

impl Call {
    /// What stands in the first place of the path.
    pub(super) fn place(&self) -> &str {
        self.places.first().map_or("", String::as_str)
    }

    /// What stands in the second place of the path.
    pub(super) fn second_place(&self) -> &str {
        self.places.get(1).map_or("", String::as_str)
    }

    /// Room in memory for so many bytes, for as long as what is returned is kept.
    ///
    /// # Errors
    /// `Unavailable`.
    pub(super) fn room(&self, bytes: u64) -> Result<Share, Problem> {
        self.server.room(Owner::Tenant(self.grant.tenant.id), bytes)
    }

    /// Whether the body is a mail as it is.
    pub(super) fn is_mail(&self) -> bool {
        let essence = self.content_type.split(';').next().unwrap_or_default();
        essence.trim().eq_ignore_ascii_case("message/rfc822")
    }
}

type Work = Pin<Box<dyn Future<Output = Result<Answer, Problem>> + Send>>;

/// What a request shows in `Authorization`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Credential {
    /// `Bearer` and an API key.
    Key,
    /// `Zoho-enczapikey` and an API key, or the key alone.
    SendToken,
    /// `Zoho-oauthtoken` and an access token.
    AccessToken,
}

/// How large a body may be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Size {
    /// As a request that sends mail.
    Mail,
    /// So many bytes.
    UpTo(usize),
}

/// A parameter of a query.
#[derive(Clone, Copy, Debug)]
pub(super) struct Parameter {
    pub name: &'static str,
    pub about: &'static str,
    pub schema: fn(&mut Schemas) -> Value,
}

/// A parameter with the shape `T`.
pub(super) const fn parameter<T: Shape>(name: &'static str, about: &'static str) -> Parameter {
    Parameter { name, about, schema: T::schema }
}

/// One thing that an API can do.
pub(super) struct Operation {
    pub method: Method,
    pub path: &'static str,
    /// Its name among all operations.
    pub id: &'static str,
    pub about: &'static str,
    pub query: &'static [Parameter],
    pub takes: Option<fn(&mut Schemas) -> Value>,
    pub body_is_optional: bool,
    /// What the body may be instead of JSON; empty for nothing.
    pub also_takes: &'static str,
    pub credential: Credential,
    pub size: Size,
    /// Mails are handed in: the answer is kept in the commit that accepts them.
    pub is_send: bool,
    pub status: u16,
    pub gives: Option<fn(&mut Schemas) -> Value>,
    /// What a body that it gives is.
    pub media: &'static str,
    pub work: fn(Call) -> Work,
}

impl Operation {
    const fn new(
        method: Method,
        status: u16,
        path: &'static str,
        id: &'static str,
        about: &'static str,
        work: fn(Call) -> Work,
    ) -> Self {
        Self {
            method,
            path,
            id,
            about,
            query: &[],
            takes: None,
            body_is_optional: false,
            also_takes: "",
            credential: Credential::Key,
            size: Size::UpTo(SMALL_BYTES_MAX),
            is_send: false,
            status,
            gives: None,
            media: "application/json",
            work,
        }
    }

    /// Something to look at.
    pub(super) const fn get(path: &'static str, id: &'static str, about: &'static str, work: fn(Call) -> Work) -> Self {
        Self::new(Method::GET, 200, path, id, about, work)
    }

    /// Something to make.
    pub(super) const fn post(
        path: &'static str,
        id: &'static str,
        about: &'static str,
        work: fn(Call) -> Work,
    ) -> Self {
        Self::new(Method::POST, 201, path, id, about, work)
    }

    /// Something to change.
    pub(super) const fn patch(
        path: &'static str,
        id: &'static str,
        about: &'static str,
        work: fn(Call) -> Work,
    ) -> Self {
        Self::new(Method::PATCH, 200, path, id, about, work)
    }

    /// Something to replace.
    pub(super) const fn put(path: &'static str, id: &'static str, about: &'static str, work: fn(Call) -> Work) -> Self {
        Self::new(Method::PUT, 200, path, id, about, work)
    }

    /// Something to remove.
    pub(super) const fn delete(
        path: &'static str,
        id: &'static str,
        about: &'static str,
        work: fn(Call) -> Work,
    ) -> Self {
        Self::new(Method::DELETE, 204, path, id, about, work)
    }

    /// It takes a body of this shape.
    pub(super) const fn takes<T: Shape>(mut self) -> Self {
        self.takes = Some(T::schema);
        self
    }

    /// It takes a body of this shape, or none.
    pub(super) const fn may_take<T: Shape>(mut self) -> Self {
        self.body_is_optional = true;
        self.takes::<T>()
    }

    /// The body may be of this media type instead of JSON.
    pub(super) const fn also_takes(mut self, media: &'static str) -> Self {
        self.also_takes = media;
        self
    }

    /// The body may be as large as one that sends mail.
    pub(super) const fn large(mut self) -> Self {
        self.size = Size::Mail;
        self
    }

    /// It hands mails in.
    pub(super) const fn sends(mut self) -> Self {
        self.is_send = true;
        self.large()
    }

    /// The body may be so large.
    pub(super) const fn up_to(mut self, bytes: usize) -> Self {
        self.size = Size::UpTo(bytes);
        self
    }

    /// Who sends mail in ZeptoMail's way may ask.
    pub(super) const fn by_send_token(mut self) -> Self {
        self.credential = Credential::SendToken;
        self
    }

    /// Who manages in ZeptoMail's way may ask.
    pub(super) const fn by_access_token(mut self) -> Self {
        self.credential = Credential::AccessToken;
        self
    }

    /// It answers with a body of this shape.
    pub(super) const fn gives<T: Shape>(mut self) -> Self {
        self.gives = Some(T::schema);
        self
    }

    /// What it gives is of this media type, not JSON.
    pub(super) const fn media(mut self, media: &'static str) -> Self {
        self.media = media;
        self
    }

    /// It answers with this status.
    pub(super) const fn status(mut self, status: u16) -> Self {
        self.status = status;
        self
    }

    /// It understands these parameters in its query.
    pub(super) const fn query(mut self, parameters: &'static [Parameter]) -> Self {
        self.query = parameters;
        self
    }

    /// Does it for who may ask; see [`once::carry_out`].
    ///
    /// # Errors
    /// What stands in the way of the request, or what comes of it.
    pub(super) async fn carry_out(
        &'static self,
        server: &Server,
        grant: &Arc<Grant>,
        places: Vec<String>,
        request: &mut Request<Incoming>,
        left: &mut Option<Left>,
    ) -> Result<Answer, Problem> {
        let content_type = header(request.headers(), CONTENT_TYPE.as_str()).unwrap_or_default().to_owned();
        let query = Query::read(request.uri().query().unwrap_or_default());
        let peer = Some(client::of(request));
        let work = |body, ticket| {
            let (server, grant) = (server.clone(), grant.clone());
            (self.work)(Call { server, grant, peer, places, query, body, content_type, ticket })
        };
        once::carry_out(server, grant, request, self, left, work).await
    }

    /// What a key must be allowed to do to ask for it: what has no permission of its own is for administrators.
    pub(super) fn permission(&self) -> Permission {
        let mut segments = self.path.trim_start_matches("/api").split('/').skip(2);
        match (segments.next().unwrap_or_default(), segments.next()) {
            ("email" | "emails", Some("email-reference")) => Permission::ViewAnalytics,
            ("email" | "emails", _) if self.method == Method::GET => Permission::ViewAnalytics,
            ("email" | "emails" | "files", _) => Permission::SendEmails,
            ("events" | "statistics", _) => Permission::ViewAnalytics,
            ("templates" | "mailagents", _) => Permission::ManageTemplates,
            ("suppressions", _) => Permission::ManageSuppressions,
            ("webhooks", _) => Permission::WebhookAccess,
            ("domains" | "tracking-hosts", _) => Permission::ManageDomains,
            _ => Permission::Administer,
        }
    }

    /// # Errors
    /// `NotPermitted`, when the key may not ask for it.
    pub(super) fn is_for(&self, grant: &Grant) -> Result<(), Problem> {
        let wanted = self.permission();
        if grant.may(wanted) { Ok(()) } else { Err(Problem::NotPermitted(wanted)) }
    }

    /// How large its body may be.
    pub(super) fn bytes_max(&self, server: &Server) -> usize {
        match self.size {
            Size::Mail => server.settings().send_bytes_max,
            Size::UpTo(bytes_max) => bytes_max,
        }
    }

    /// The names of the places of its path.
    pub(super) fn places_named(&self) -> impl Iterator<Item = &'static str> {
        self.path.split('/').filter_map(|segment| segment.strip_prefix('{')?.strip_suffix('}'))
    }

    /// What stands in the places of its path, when `segments` are of that form.
    fn places(&self, segments: &[&str]) -> Option<Vec<String>> {
        let pattern = self.path.split('/').skip(1);
        if pattern.clone().count() != segments.len() {
            return None;
        }
        let mut places = Vec::new();
        for (wanted, segment) in pattern.zip(segments) {
            if wanted.starts_with('{') {
                places.push(decoded(segment)?);
            } else if wanted != *segment {
                return None;
            }
        }
        Some(places)
    }
}

/// A segment of a path as it was meant; nothing when it is empty or no text.
fn decoded(segment: &str) -> Option<String> {
    let text = percent_encoding::percent_decode_str(segment).decode_utf8().ok()?;
    (!text.is_empty()).then(|| text.into_owned())
}

/// The operation that a request asks for, and what stands in the places of its path. A final slash does not matter;
/// who may GET may HEAD.
///
/// # Errors
/// No operation has this path, or not with this method.
pub(super) fn find(
    tables: &[&'static [Operation]],
    method: &Method,
    path: &str,
) -> Result<(&'static Operation, Vec<String>), Problem> {
    let path = path.strip_suffix('/').unwrap_or(path);
    let segments: Vec<&str> = path.split('/').skip(1).collect();
    let method = if *method == Method::HEAD { &Method::GET } else { method };
    let mut allowed = Vec::new();
    for operation in tables.iter().copied().flatten() {
        let Some(places) = operation.places(&segments) else { continue };
        if operation.method == *method {
            return Ok((operation, places));
        }
        allowed.push(operation.method.as_str());
    }
    if allowed.is_empty() { Err(Problem::NoRoute) } else { Err(Problem::Method { allowed: allow(&allowed) }) }
}

/// The methods as `Allow` lists them.
fn allow(methods: &[&str]) -> &'static str {
    let mut methods = methods.to_vec();
    methods.sort_unstable();
    let listed = methods.join(", ");
    ALLOW.iter().find(|known| **known == listed).copied().unwrap_or("GET")
}

/// Every combination of methods that a path has.
const ALLOW: &[&str] = &[
    "DELETE",
    "DELETE, GET",
    "DELETE, GET, PATCH",
    "DELETE, GET, PATCH, PUT",
    "DELETE, GET, POST",
    "DELETE, GET, POST, PUT",
    "DELETE, POST",
    "DELETE, GET, PUT",
    "DELETE, PATCH",
    "DELETE, POST, PUT",
    "GET",
    "GET, POST",
    "GET, PATCH, PUT",
    "GET, PUT",
    "PATCH, PUT",
    "POST",
    "PUT",
];

/// The first path of which the methods are not in [`ALLOW`].
#[cfg(test)]
pub(super) fn unlisted(tables: &[&'static [Operation]]) -> Option<&'static str> {
    let operations = || tables.iter().copied().flatten();
    let methods_of = |path: &str| -> Vec<&str> {
        operations().filter(|operation| operation.path == path).map(|operation| operation.method.as_str()).collect()
    };
    let is_listed = |path: &str| {
        let mut methods = methods_of(path);
        methods.sort_unstable();
        ALLOW.contains(&methods.join(", ").as_str())
    };
    operations().map(|operation| operation.path).find(|path| !is_listed(path))
}
