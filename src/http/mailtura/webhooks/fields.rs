//! What may be set on a webhook, as requests bring it.
//!
//! What is secret (the signing secret, header values, the client key) is not told back in an error. A header whose value
//! is `***`, as views show it, keeps the value that it has.

use hyper::body::Bytes;

use super::super::super::Server;
use super::super::super::json::{self, Json};
use super::super::super::problem::Problem;
use super::super::super::wire::{self, Fields, Flaw, Wrong, text_of};
use super::super::agent;
use super::{EVENT_WORDS, MASK, kinds};
use crate::http::outward::Part;
use crate::model::event::EventSet;
use crate::model::id::AgentId;
use crate::model::secret::Secret;
use crate::model::tenant::{CredentialKind, Grant};
use crate::model::webhook::{Format, Hits, Switch, Webhook};
use crate::model::webhook_key::PRIVATE_PREFIX;
use crate::model::webhook_options::{
    AT_ONCE_MAX, BadOption, NOTIFY_MAX, PEM_BYTES_MAX, SECRET_BYTES_MAX, TAG_CHARS_MAX, TAGS_MAX, TIMEOUT_SECS_MAX,
    check_form_field, check_headers, check_secret, check_signing,
};

/// Characters of a description.
const DESCRIPTION_CHARS_MAX: usize = 500;

/// Which fields a request must bring.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Wanted {
    /// URL and events.
    Everything,
    /// The URL.
    Destination,
    /// None.
    WhatIsNamed,
}

/// What a request asks of a webhook. Found usable once, it can be set again on the webhook as it is when it is written.
pub(super) struct Wish {
    body: Bytes,
    wanted: Wanted,
    agent: Option<Option<AgentId>>,
    /// As it was read, which is not always as it was written.
    url: Option<String>,
    /// What stands for a key that is to be made.
    key: String,
    /// An operator asks.
    is_operator: bool,
}

impl Wish {
    /// Sets what is asked for.
    pub(super) fn set(&self, webhook: &mut Webhook) -> Result<(), Problem> {
        let json = json::read(&self.body).map_err(Problem::Json)?;
        let (fields, before) = (wire::body(&json)?, webhook.url.clone());
        set(&fields, webhook, self.wanted)?;
        match fields.flag("verifyTls")? {
            Some(false) if !self.is_operator => {
                let why = "only who looks after the installation may switch this off";
                return Err(Flaw::at("/verifyTls", Wrong::Other(why.to_owned())).into());
            }
            Some(flag) => webhook.options.believes_anybody = !flag,
            // Who was believed, was believed at one place.
            None => webhook.options.believes_anybody &= self.is_operator || webhook.url == before,
        }
        if webhook.secret.reveal() == PRIVATE_PREFIX {
            webhook.secret = Secret::new(self.key.as_str());
        }
        webhook.agent = self.agent.unwrap_or(webhook.agent);
        if let Some(url) = &self.url {
            url.clone_into(&mut webhook.url);
        }
        Ok(())
    }

    /// Whether it is to be on from now: what waits for it is let go.
    pub(super) fn enables(&self) -> Result<bool, Problem> {
        let json = json::read(&self.body).map_err(Problem::Json)?;
        let named = wire::body(&json)?.flag("enabled")?;
        Ok(named.unwrap_or(self.wanted == Wanted::Everything))
    }
}

/// Sets what a request asks for, and sees whether the whole can be used.
pub(super) async fn apply(
    server: &Server,
    grant: &Grant,
    body: &Bytes,
    webhook: &mut Webhook,
    wanted: Wanted,
) -> Result<Wish, Problem> {
    let json = json::read(body).map_err(Problem::Json)?;
    let fields = wire::body(&json)?;
    if wanted == Wanted::WhatIsNamed && fields.raw().is_empty() {
        return Err(Problem::EmptyChange);
    }
    let key = fields.text("secret")?.map(|given| server.ids().given_secret(given)).unwrap_or_default();
    let is_operator = grant.kind == CredentialKind::OperatorKey;
    let mut wish = Wish { body: body.clone(), wanted, agent: None, url: None, key, is_operator };
    wish.set(webhook)?;
    if fields.names("mailAgent") {
        webhook.agent = match fields.text("mailAgent")? {
            Some(name) => Some(agent(server, grant, name).await?.id),
            None => None,
        };
        wish.agent = Some(webhook.agent);
    }
    let may_differ = ["url", "ca", "clientCertificate", "clientKey"].iter().any(|name| fields.names(name));
    if may_differ {
        let admitted = server.0.parts.outward.admit(webhook).await;
        webhook.url = admitted.map_err(|unusable| {
            let (path, shown) = match unusable.part {
                Part::Url => ("/url", webhook.url.as_str()),
                Part::Ca => ("/ca", ""),
                Part::ClientCertificate => ("/clientCertificate", ""),
                Part::ClientKey => ("/clientKey", ""),
            };
            Flaw::at(path, Wrong::Other(unusable.why)).showing(shown)
        })?;
    }
    if fields.names("url") {
        wish.url = Some(webhook.url.clone());
    }
    Ok(wish)
}

fn set(fields: &Fields<'_, '_>, webhook: &mut Webhook, wanted: Wanted) -> Result<(), Flaw> {
    match fields.text("url")? {
        Some(url) if url::Url::parse(url).is_err() => {
            return Err(Flaw::at("/url", Wrong::Format("uri")).showing(url));
        }
        Some(url) => url.clone_into(&mut webhook.url),
        None if wanted != Wanted::WhatIsNamed => return Err(Flaw::at("/url", Wrong::Missing)),
        None => {}
    }
    match events(fields)? {
        Some(events) => webhook.events = events,
        None if wanted == Wanted::Everything => return Err(Flaw::at("/events", Wrong::Missing)),
        None => {}
    }
    match fields.flag("enabled")? {
        Some(true) => webhook.switch = Switch::On,
        Some(false) => webhook.switch = Switch::OffByOwner,
        None => {}
    }
    if let Some(format) = fields.text("format")? {
        let known = &["mailtura", "transmail", "transmail-json"];
        let unknown = || Flaw::at("/format", Wrong::OneOf(known)).showing(format);
        webhook.format = Format::from_word(format).ok_or_else(unknown)?;
    }
    if let Some(hits) = fields.text("hits")? {
        let unknown = || Flaw::at("/hits", Wrong::OneOf(&["first", "persons", "all"])).showing(hits);
        webhook.hits = Hits::from_word(hits).ok_or_else(unknown)?;
    }
    if let Some(text) = description(fields)? {
        webhook.description = text;
    }
    if let Some(text) = secret(fields)? {
        webhook.secret = text;
        webhook.old_secret = None;
    }
    if let Some(text) = form_field(fields)? {
        webhook.form_field = text;
    }
    if fields.names("headers") {
        webhook.headers = headers(fields, &webhook.headers)?;
    }
    if let Some(flag) = fields.flag("keepsTimestamp")? {
        webhook.keeps_timestamp = flag;
    }
    if fields.names("tags") {
        webhook.tags = tags(fields)?;
    }
    let bad = |why: BadOption| Flaw::at("/secret", Wrong::Other(why.to_string()));
    check_signing(webhook.format, webhook.secret.reveal()).map_err(bad)?;
    set_options(fields, webhook)
}

fn set_options(fields: &Fields<'_, '_>, webhook: &mut Webhook) -> Result<(), Flaw> {
    let options = &mut webhook.options;
    if fields.names("atOnce") {
        options.at_once = count(fields, "atOnce", AT_ONCE_MAX)?;
    }
    if fields.names("perSecond") {
        options.per_second = count(fields, "perSecond", u16::MAX)?;
    }
    if fields.names("timeoutSeconds") {
        options.timeout_secs = count(fields, "timeoutSeconds", TIMEOUT_SECS_MAX)?;
    }
    options.in_order = fields.flag("inOrder")?.unwrap_or(options.in_order);
    options.batch = fields.flag("batch")?.unwrap_or(options.batch);
    if fields.names("notify") {
        options.notify = fields.texts("notify")?.into_iter().map(str::to_owned).collect();
    }
    for (name, text) in [("ca", &mut options.ca), ("clientCertificate", &mut options.client_certificate)] {
        if fields.names(name) {
            *text = pem(fields, name)?.unwrap_or_default();
        }
    }
    if fields.names("clientKey") {
        webhook.client_key = Secret::new(pem(fields, "clientKey")?.unwrap_or_default());
    }
    webhook.options.check(webhook.client_key.reveal()).map_err(|bad| {
        let path = match bad {
            BadOption::Notify => return Flaw::at("/notify", Wrong::TooMany(NOTIFY_MAX)),
            BadOption::Address(_) => "/notify",
            BadOption::HalfIdentity => "/clientCertificate",
            _ => "",
        };
        Flaw::at(path, Wrong::Other(bad.to_string()))
    })
}

/// A whole number from 1, or none.
fn count(fields: &Fields<'_, '_>, name: &'static str, max: u16) -> Result<Option<u16>, Flaw> {
    match fields.get(name) {
        None => Ok(None),
        Some(Json::Number(number)) => {
            let count = number.as_u64().and_then(|count| u16::try_from(count).ok());
            let count = count.filter(|count| (1..=max).contains(count));
            let bad = || Flaw::at(format!("/{name}"), Wrong::Other(format!("must be from 1 to {max}")));
            count.map(Some).ok_or_else(bad)
        }
        Some(_) => Err(Flaw::at(format!("/{name}"), Wrong::Type("integer"))),
    }
}

fn pem(fields: &Fields<'_, '_>, name: &'static str) -> Result<Option<String>, Flaw> {
    match fields.text(name)? {
        Some(text) if text.len() > PEM_BYTES_MAX => Err(Flaw::at(format!("/{name}"), Wrong::TooLong(PEM_BYTES_MAX))),
        text => Ok(text.map(str::to_owned)),
    }
}

fn events(fields: &Fields<'_, '_>) -> Result<Option<EventSet>, Flaw> {
    if fields.get("events").is_none() {
        return Ok(None);
    }
    let sets = fields.each("events", |item, path| {
        let word = text_of(item, &path)?;
        kinds(word).ok_or_else(|| Flaw::at(path, Wrong::OneOf(EVENT_WORDS)).showing(word))
    })?;
    if sets.is_empty() {
        return Err(Flaw::at("/events", Wrong::NoItems));
    }
    Ok(Some(sets.into_iter().flatten().copied().collect()))
}

fn tags(fields: &Fields<'_, '_>) -> Result<Vec<String>, Flaw> {
    let tags = fields.texts("tags")?;
    if tags.len() > TAGS_MAX {
        return Err(Flaw::at("/tags", Wrong::TooMany(TAGS_MAX)));
    }
    for (place, tag) in tags.iter().enumerate() {
        match tag.chars().count() {
            0 => return Err(Flaw::at(format!("/tags/{place}"), Wrong::Empty)),
            count if count > TAG_CHARS_MAX => {
                return Err(Flaw::at(format!("/tags/{place}"), Wrong::TooLong(TAG_CHARS_MAX)));
            }
            _ => {}
        }
    }
    Ok(tags.into_iter().map(str::to_owned).collect())
}

fn description(fields: &Fields<'_, '_>) -> Result<Option<String>, Flaw> {
    match fields.text("description")? {
        Some(text) if text.chars().count() > DESCRIPTION_CHARS_MAX => {
            Err(Flaw::at("/description", Wrong::TooLong(DESCRIPTION_CHARS_MAX)))
        }
        text => Ok(text.map(str::to_owned)),
    }
}

/// The secret that a request brings, if it brings one.
pub(super) fn secret(fields: &Fields<'_, '_>) -> Result<Option<Secret>, Flaw> {
    let Some(text) = fields.text("secret")? else { return Ok(None) };
    let wrong = match text {
        "" => Wrong::Empty,
        _ if text.len() > SECRET_BYTES_MAX => Wrong::TooLong(SECRET_BYTES_MAX),
        _ if text.chars().any(char::is_control) => Wrong::Other("control characters are not allowed here".into()),
        _ => match check_secret(text) {
            Ok(()) => return Ok(Some(Secret::new(text))),
            Err(bad) => Wrong::Other(bad.to_string()),
        },
    };
    Err(Flaw::at("/secret", wrong))
}

fn form_field(fields: &Fields<'_, '_>) -> Result<Option<String>, Flaw> {
    let Some(text) = fields.text("formField")? else { return Ok(None) };
    let bad = |why: BadOption| Flaw::at("/formField", Wrong::Other(why.to_string())).showing(text);
    check_form_field(text).map(|()| Some(text.to_owned())).map_err(bad)
}

fn headers(fields: &Fields<'_, '_>, old: &[(String, String)]) -> Result<Vec<(String, String)>, Flaw> {
    let mut headers = fields.pairs("headers")?;
    for (name, value) in headers.iter_mut().filter(|(_, value)| value == MASK) {
        if let Some((_, kept)) = old.iter().find(|(other, _)| other.eq_ignore_ascii_case(name)) {
            value.clone_from(kept);
        }
    }
    let bad = |why: BadOption| Flaw::at("/headers", Wrong::Other(why.to_string()));
    check_headers(headers.iter().map(|(name, value)| (name.as_str(), value.as_str()))).map_err(bad)?;
    Ok(headers)
}
