//! `/api/v1/agents`: a tenant's mail agents. Domains, keys, templates and suppressions belong to one.

use hyper::StatusCode;
use serde_json::{Value, json};

use super::super::json::Json;
use super::super::operation::Call;
use super::super::problem::Problem;
use super::super::query;
use super::super::server::Answer;
use super::super::shape::{
    self, Change, Count, Email, Line, List, Nullable, Read, Schemas, Shape, Text, When, Word, answer, request,
    vocabulary,
};
use super::super::wire::{Flaw, Wrong, text_of};
use super::super::{agents, json_answer};
use super::tenants::{DAILY_LIMIT_MAX, set_sender, shown_sender};
use super::{AGENTS_MAX, made, no_content};
use crate::intake::provision;
use crate::model::address::host_pattern;
use crate::model::network::Network;
use crate::model::tenant::{AgentSettings, Clicks, MailAgent, Privacy};
use crate::model::webhook_options::NOTIFY_MAX;

vocabulary! { Privacy:
    "full" Privacy::Full,
    "truncated_address" Privacy::TruncatedAddress,
    "aggregate_only" Privacy::AggregateOnly,
}

impl Shape for Clicks {
    fn schema(_: &mut Schemas) -> Value {
        json!({ "enum": [false, true, "auto"] })
    }
}

impl Read for Clicks {
    fn read(json: &Json<'_>, path: &str) -> Result<Self, Flaw> {
        match json {
            Json::Bool(is_on) => Ok(Clicks::from(*is_on)),
            Json::Text(word) if word == "auto" => Ok(Clicks::Auto),
            _ => Err(Flaw::at(path, Wrong::OneOf(&["false", "true", "auto"]))),
        }
    }
}

/// Hosts that a mail agent leaves alone.
const HOSTS_MAX: usize = 100;

/// A host, or with `*.` before it every host below.
#[derive(Debug)]
pub(super) struct HostPattern(String);

impl Shape for HostPattern {
    fn schema(schemas: &mut Schemas) -> Value {
        Text::<1, 255>::schema(schemas)
    }
}

impl Read for HostPattern {
    fn read(json: &Json<'_>, path: &str) -> Result<Self, Flaw> {
        let Text(text) = Text::<1, 255>::read(json, path)?;
        let pattern = host_pattern(&text).map(Self);
        pattern.ok_or_else(|| Flaw::at(path, Wrong::Format("hostname")).showing(&text))
    }
}

/// Networks that a mail agent's keys may be used from.
const NETWORKS_MAX: usize = 100;

/// An address, or a network as in `192.0.2.0/24`.
#[derive(Debug)]
pub(super) struct NetworkBody(Network);

impl Shape for NetworkBody {
    fn schema(_: &mut Schemas) -> Value {
        json!({ "type": "string", "minLength": 2, "maxLength": 43 })
    }
}

impl Read for NetworkBody {
    fn read(json: &Json<'_>, path: &str) -> Result<Self, Flaw> {
        let text = text_of(json, path)?;
        let wrong = || Wrong::Other("must be an address or a network, as in 192.0.2.0/24".into());
        text.parse().map(Self).map_err(|_| Flaw::at(path, wrong()).showing(text))
    }
}

request! {
    /// A new mail agent.
    pub(super) struct NewAgent {
        /// Its name, which no other of the tenant has.
        name "name": Line<1, 100>,
        /// Its settings.
        settings "settings": Option<AgentChanges>,
    }

    /// What to change of a mail agent.
    pub(super) struct AgentChange {
        /// Its settings.
        settings "settings": Option<AgentChanges>,
    }

    /// What to change of a mail agent's settings; null takes a setting back.
    pub(super) struct AgentChanges {
        /// From which address mail is sent that names none.
        from_email "fromEmail": Change<Email>,
        /// The name with that address.
        from_name "fromName": Change<Line<0, 250>>,
        /// Add a pixel, unless the mail says otherwise.
        track_opens "trackOpens": Option<bool>,
        /// Rewrite links, unless the mail says otherwise: all, none, or (`auto`) all but those that let their holder in.
        track_clicks "trackClicks": Option<Clicks>,
        /// Rewrite the links of plain text too.
        track_text_links "trackTextLinks": Option<bool>,
        /// The pixel stands at the top of the body, not at its end.
        pixel_on_top "pixelOnTop": Option<bool>,
        /// Add a link that no reader sees: who follows it is a scanner.
        hidden_link "hiddenLink": Option<bool>,
        /// Hosts whose links stay as they are; `*.example.com` is every host below.
        untracked_hosts "untrackedHosts": Option<List<HostPattern, 0, HOSTS_MAX>>,
        /// How much of a reader is kept.
        privacy "privacy": Option<Word<Privacy>>,
        /// Answer who opens or clicks only when that is safe on the disk.
        durable_hits "durableHits": Option<bool>,
        /// The bounce address that TransMail's payloads show.
        bounce_address "bounceAddress": Change<Email>,
        /// Recipients a day (UTC).
        daily_limit "dailyLimit": Change<Count<0, DAILY_LIMIT_MAX>>,
        /// Recipients a day (UTC) after which `mail_agent.daily_warning` is told, once a day.
        daily_warning "dailyWarning": Change<Count<0, DAILY_LIMIT_MAX>>,
        /// Who is told of it by mail.
        notify "notify": Option<List<Email, 0, NOTIFY_MAX>>,
        /// From where its keys may be used: addresses and networks; none for anywhere.
        networks "networks": Option<List<NetworkBody, 0, NETWORKS_MAX>>,
        /// Leave addresses alone that bounces tell are gone, or their like.
        auto_suppress "autoSuppress": Option<bool>,
        /// Nothing leaves the machine: mail is captured, to be looked at in the console's inbox.
        sandbox "sandbox": Option<bool>,
        /// What TransMail webhooks sign with that have no secret of their own. It is not shown again.
        authentication_key "authenticationKey": Change<Line<1, 256>>,
    }
}

answer! {
    /// A mail agent: the unit of isolation inside a tenant.
    pub(super) struct Agent {
        /// Its name.
        name "name": String,
        /// What TransMail's payloads call `mailagent_key`.
        key "key": String,
        /// Its settings.
        settings "settings": Settings,
        /// The domains that it may send from.
        domains "domains": Vec<String>,
        /// When it was added.
        created_at "createdAt": When,
        /// Who made it: a person's address, or the id of a key; null when that is not known.
        created_by "createdBy": Nullable<String>,
        /// When it was changed last; null when it was not.
        updated_at "updatedAt": Nullable<When>,
        /// Who changed it last; null when nobody has, or that is not known.
        updated_by "updatedBy": Nullable<String>,
    }

    /// A mail agent's settings.
    pub(super) struct Settings {
        /// From which address mail is sent that names none.
        from_email "fromEmail": Nullable<String>,
        /// The name with that address.
        from_name "fromName": Nullable<String>,
        /// Add a pixel, unless the mail says otherwise.
        track_opens "trackOpens": bool,
        /// Rewrite links, unless the mail says otherwise: all, none, or (`auto`) all but those that let their holder in.
        track_clicks "trackClicks": Clicks,
        /// Rewrite the links of plain text too.
        track_text_links "trackTextLinks": bool,
        /// The pixel stands at the top of the body, not at its end.
        pixel_on_top "pixelOnTop": bool,
        /// Add a link that no reader sees: who follows it is a scanner.
        hidden_link "hiddenLink": bool,
        /// Hosts whose links stay as they are; `*.example.com` is every host below.
        untracked_hosts "untrackedHosts": Vec<String>,
        /// How much of a reader is kept.
        privacy "privacy": Word<Privacy>,
        /// Answer who opens or clicks only when that is safe on the disk.
        durable_hits "durableHits": bool,
        /// The bounce address that TransMail's payloads show.
        bounce_address "bounceAddress": Nullable<String>,
        /// Recipients a day (UTC); null for as many as come.
        daily_limit "dailyLimit": Nullable<u64>,
        /// Recipients a day (UTC) after which `mail_agent.daily_warning` is told, once a day; null for never.
        daily_warning "dailyWarning": Nullable<u64>,
        /// Who is told of it by mail.
        notify "notify": Vec<String>,
        /// From where its keys may be used; none for anywhere.
        networks "networks": Vec<String>,
        /// Leave addresses alone that bounces tell are gone, or their like.
        auto_suppress "autoSuppress": bool,
        /// Nothing leaves the machine.
        sandbox "sandbox": bool,
        /// Whether it has a key that TransMail webhooks sign with.
        has_authentication_key "hasAuthenticationKey": bool,
    }
}

/// `GET /api/v1/agents`.
pub(super) async fn list(call: Call) -> Result<Answer, Problem> {
    let (limit, after) = (call.query.limit()?, call.query.text("after").unwrap_or_default());
    let agents = call.server.store().agents(call.grant.tenant.id, after, limit + 1).await?;
    let mut shown = Vec::with_capacity(agents.len());
    for agent in agents {
        shown.push(view(&call, agent).await?);
    }
    query::page(("/api/v1/agents", &call.query), shown, |agent| agent.name.clone(), |agent| agent)
}

/// `POST /api/v1/agents`.
pub(super) async fn add(call: Call) -> Result<Answer, Problem> {
    let new: NewAgent = shape::read(&call.body.bytes)?;
    let store = call.server.store();
    if store.agents(call.grant.tenant.id, "", AGENTS_MAX).await?.len() >= AGENTS_MAX as usize {
        return Err(Problem::Conflict("A tenant can have at most 500 mail agents"));
    }
    let mut agent = provision::agent(&call.grant.tenant, &new.name.0, call.server.clock(), call.server.ids());
    agent.authors = call.grant.authors();
    if let Some(settings) = new.settings {
        apply(settings, &mut agent.settings)?;
    }
    store.add_agent(agent.clone()).await?;
    let place = format!("/api/v1/agents/{}", query::encoded(&agent.name));
    Ok(made(&view(&call, agent).await?, &place))
}

/// `GET /api/v1/agents/{name}`.
pub(super) async fn get(call: Call) -> Result<Answer, Problem> {
    let agent = find(&call).await?;
    Ok(json_answer(StatusCode::OK, &view(&call, agent).await?))
}

/// `PATCH` and `PUT /api/v1/agents/{name}`: what is named changes.
pub(super) async fn change(call: Call) -> Result<Answer, Problem> {
    let found = find(&call).await?;
    let AgentChange { settings } = shape::read(&call.body.bytes)?;
    let settings = settings.ok_or(Problem::EmptyChange)?;
    let author = call.grant.author();
    let apply = |agent: &mut MailAgent| {
        agent.authors.updated_by = author;
        apply(settings, &mut agent.settings).map_err(Problem::from)
    };
    let changed = call.server.store().change_agent(found.tenant, found.id, apply).await?;
    call.server.intake().forget_tenant(found.tenant);
    let agent = changed.ok_or(Problem::NotFound("Mail agent"))?;
    Ok(json_answer(StatusCode::OK, &view(&call, agent).await?))
}

/// `DELETE /api/v1/agents/{name}`.
pub(super) async fn remove(call: Call) -> Result<Answer, Problem> {
    agents::remove(&call.server, &call.grant, &find(&call).await?).await?;
    Ok(no_content())
}

/// The mail agent of the path.
async fn find(call: &Call) -> Result<MailAgent, Problem> {
    let found = call.server.store().agent(call.grant.tenant.id, call.place()).await?;
    found.ok_or(Problem::NotFound("Mail agent"))
}

fn apply(changes: AgentChanges, settings: &mut AgentSettings) -> Result<(), Flaw> {
    set_sender(settings, changes.from_email, changes.from_name)?;
    settings.track_opens = changes.track_opens.unwrap_or(settings.track_opens);
    settings.track_clicks = changes.track_clicks.unwrap_or(settings.track_clicks);
    settings.track_text_links = changes.track_text_links.unwrap_or(settings.track_text_links);
    settings.pixel_on_top = changes.pixel_on_top.unwrap_or(settings.pixel_on_top);
    settings.hidden_link = changes.hidden_link.unwrap_or(settings.hidden_link);
    if let Some(List(hosts)) = changes.untracked_hosts {
        settings.untracked_hosts = hosts.into_iter().map(|HostPattern(host)| host).collect();
    }
    settings.is_sandboxed = changes.sandbox.unwrap_or(settings.is_sandboxed);
    let old_key = Some(std::mem::take(&mut settings.authentication_key));
    settings.authentication_key = changes.authentication_key.applied(old_key, |Line(key)| key).unwrap_or_default();
    settings.privacy = changes.privacy.map_or(settings.privacy, |Word(privacy)| privacy);
    settings.durable_hits = changes.durable_hits.unwrap_or(settings.durable_hits);
    let bounce_address = std::mem::take(&mut settings.bounce_address);
    let bounce_address = changes.bounce_address.applied(Some(bounce_address), |Email(address)| address.to_string());
    settings.bounce_address = bounce_address.unwrap_or_default();
    if let Some(List(networks)) = changes.networks {
        settings.networks = networks.into_iter().map(|NetworkBody(network)| network).collect();
    }
    if let Some(List(readers)) = changes.notify {
        settings.notify = readers.into_iter().map(|Email(reader)| reader.to_string()).collect();
    }
    settings.auto_suppress = changes.auto_suppress.unwrap_or(settings.auto_suppress);
    settings.daily_limit = changes.daily_limit.applied(settings.daily_limit, |Count(limit)| limit);
    settings.daily_warning = changes.daily_warning.applied(settings.daily_warning, |Count(limit)| limit);
    Ok(())
}

async fn view(call: &Call, agent: MailAgent) -> Result<Agent, Problem> {
    let domains = call.server.store().domains(agent.id).await?;
    let settings = agent.settings;
    let (from_email, from_name) = shown_sender(settings.from);
    Ok(Agent {
        name: agent.name,
        key: agent.key,
        settings: Settings {
            from_email,
            from_name,
            track_opens: settings.track_opens,
            track_clicks: settings.track_clicks,
            track_text_links: settings.track_text_links,
            pixel_on_top: settings.pixel_on_top,
            hidden_link: settings.hidden_link,
            untracked_hosts: settings.untracked_hosts,
            sandbox: settings.is_sandboxed,
            has_authentication_key: !settings.authentication_key.is_empty(),
            privacy: Word(settings.privacy),
            durable_hits: settings.durable_hits,
            bounce_address: Nullable(Some(settings.bounce_address).filter(|address| !address.is_empty())),
            daily_limit: Nullable(settings.daily_limit),
            daily_warning: Nullable(settings.daily_warning),
            notify: settings.notify,
            networks: settings.networks.iter().map(Network::to_string).collect(),
            auto_suppress: settings.auto_suppress,
        },
        domains,
        created_at: When(agent.created_at),
        created_by: Nullable::of(agent.authors.created_by),
        updated_at: Nullable(agent.updated_at.map(When)),
        updated_by: Nullable::of(agent.authors.updated_by),
    })
}
