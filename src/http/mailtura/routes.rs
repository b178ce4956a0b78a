//! What there is under `/api/v1`.

use super::super::operation::{Operation, Parameter, parameter};
use super::super::query::{AFTER_PARAMETER, LIMIT_PARAMETER};
use super::super::shape::{self, Count, Domain, Text, When, Word};
use super::agents::{Agent, AgentChange, NewAgent};
use super::domains::{NewDomain, SendingDomain};
use super::emails::{AcceptedEmail, Batch, Email};
use super::events::EventBody;
use super::keys::{Key, NewKey};
use super::new_email::NewEmail;
use super::queue::{NewPause, Pause, QueueChange, QueueChoice, Verb, WaitingDelivery, WaitingDomain};
use super::recipients::{ErasedRecipient, KeptMail};
use super::statistics::DayCounts;
use super::suppressions::{NewSuppression, Suppression, SuppressionChange};
use super::templates::{DraftPreview, NewTemplate, Preview, PreviewData, Template, TemplateChange, TemplateVersion};
use super::tenants::{NewTenant, Tenant, TenantChange};
use super::tracking_hosts::{NewTrackingHost, TrackingHostBody, TrackingHostChange};
use super::webhooks::log::{self, Attempt, Dispatch, DispatchLog, Which};
use super::webhooks::replays::{self, NewReplay, Replay, ReplayedEvent};
use super::webhooks::secret::{self, RotatedSecret, SecretRotation};
use super::webhooks::shapes::{NewWebhook, WebhookChange, WebhookDraft, WebhookTest};
use super::webhooks::trial::{self, RequestView, TestedWebhook};
use super::webhooks::view::Webhook;
use super::{
    agents, domains, emails, events, keys, queue, recipients, statistics, suppressions, templates, tenants,
    tracking_hosts, webhooks,
};
use crate::model::delivery::State;
use crate::model::reason::Reason;
use crate::model::webhook::DispatchState;

const PAGE: &[Parameter] = &[LIMIT_PARAMETER, AFTER_PARAMETER];
const MAIL_AGENT: Parameter =
    parameter::<Text<1, 100>>("mailAgent", "Of which mail agent; the key's own unless given.");
const SUPPRESSED_FOR: Parameter =
    parameter::<Text<1, 100>>("mailAgent", "Only on the list of this mail agent; on all lists unless given.");

const EMAILS: &[Parameter] = &[
    LIMIT_PARAMETER,
    AFTER_PARAMETER,
    parameter::<Text<1, 320>>(
        "search",
        "Only those with this: an address, `ann@`, `@example.com`, words of a subject.",
    ),
    parameter::<Text<1, 128>>("tag", "Only those with this tag."),
    parameter::<Word<State>>("status", "Only those with a recipient whose copy stands so."),
    parameter::<When>("since", "Only those accepted then or later."),
    parameter::<When>("until", "Only those accepted before."),
    parameter::<Text<1, 100>>("mailAgent", "Only those of this mail agent."),
];
const QUEUE_AGENT: Parameter = parameter::<Text<1, 100>>("mailAgent", "Of which mail agent; of all unless given.");
const QUEUE_DOMAIN: Parameter = parameter::<Domain>("domain", "To which domain; to all unless given.");
const QUEUE_TO: Parameter = parameter::<shape::Email>("to", "To which address.");
const QUEUE_EMAIL: Parameter = parameter::<Text<1, 100>>("emailId", "Of which mail.");
const QUEUE_REASON: Parameter = parameter::<Word<Reason>>("reason", "That wait for this reason, as `mailbox_full`.");
const QUEUE_HELD: Parameter = parameter::<bool>("held", "Held, or not.");
const QUEUE: &[Parameter] = &[QUEUE_AGENT, QUEUE_DOMAIN, QUEUE_TO, QUEUE_EMAIL, QUEUE_REASON, QUEUE_HELD];
const QUEUE_PAGE: &[Parameter] =
    &[LIMIT_PARAMETER, AFTER_PARAMETER, QUEUE_AGENT, QUEUE_DOMAIN, QUEUE_TO, QUEUE_EMAIL, QUEUE_REASON, QUEUE_HELD];

/// Everything that Mailtura's API can do.
pub(in crate::http) const OPERATIONS: &[Operation] = &[
    Operation::post("/api/v1/emails", "sendEmail", "Send a mail", |call| Box::pin(emails::send(call)))
        .query(&[MAIL_AGENT])
        .takes::<NewEmail>()
        .also_takes("message/rfc822")
        .sends()
        .gives::<AcceptedEmail>(),
    Operation::post("/api/v1/emails/batch", "sendBatch", "Send many mails: all of them or none", |call| {
        Box::pin(emails::send_batch(call))
    })
    .query(&[MAIL_AGENT])
    .takes::<Batch>()
    .sends()
    .gives::<Vec<AcceptedEmail>>(),
    Operation::get("/api/v1/emails", "listEmails", "List mails, newest first", |call| Box::pin(emails::list(call)))
        .query(EMAILS)
        .gives::<Vec<Email>>(),
    Operation::get("/api/v1/emails/{id}", "getEmail", "Show a mail and what became of it", |call| {
        Box::pin(emails::get(call))
    })
    .gives::<Email>(),
    Operation::post("/api/v1/emails/{id}/cancel", "cancelEmail", "Take back what is not under way yet", |call| {
        Box::pin(emails::cancel(call))
    })
    .status(200)
    .gives::<Email>(),
    Operation::get("/api/v1/emails/{id}/events", "listEmailEvents", "List what happened to a mail", |call| {
        Box::pin(events::of_email(call))
    })
    .gives::<Vec<EventBody>>(),
    Operation::get("/api/v1/events", "listEvents", "List events, oldest first", |call| Box::pin(events::list(call)))
        .query(&[
            LIMIT_PARAMETER,
            AFTER_PARAMETER,
            parameter::<When>("since", "Not those that were known before."),
            parameter::<Text<1, 200>>("type", "Only these types, as in `delivered,bounced`."),
            parameter::<Text<1, 100>>("emailId", "Only those of this mail."),
        ])
        .gives::<Vec<EventBody>>(),
    Operation::get("/api/v1/templates", "listTemplates", "List templates", |call| Box::pin(templates::list(call)))
        .query(&[LIMIT_PARAMETER, AFTER_PARAMETER, MAIL_AGENT])
        .gives::<Vec<Template>>(),
    Operation::post("/api/v1/templates", "addTemplate", "Keep a mail ready", |call| Box::pin(templates::add(call)))
        .takes::<NewTemplate>()
        .large()
        .gives::<Template>(),
    Operation::post("/api/v1/templates/preview", "previewDraft", "Show how texts look filled in", |call| {
        Box::pin(templates::preview_draft(call))
    })
    .takes::<DraftPreview>()
    .large()
    .status(200)
    .gives::<Preview>(),
    Operation::get("/api/v1/templates/{name}", "getTemplate", "Show a template", |call| Box::pin(templates::get(call)))
        .query(&[
            MAIL_AGENT,
            parameter::<Count<1, 4_294_967_295>>("version", "Which version; the newest unless given."),
        ])
        .gives::<Template>(),
    Operation::patch("/api/v1/templates/{name}", "changeTemplate", "Change what is named of a template", |call| {
        Box::pin(templates::change(call))
    })
    .query(&[MAIL_AGENT])
    .takes::<TemplateChange>()
    .large()
    .gives::<Template>(),
    Operation::put("/api/v1/templates/{name}", "replaceTemplate", "Replace a template", |call| {
        Box::pin(templates::replace(call))
    })
    .query(&[MAIL_AGENT])
    .takes::<NewTemplate>()
    .large()
    .gives::<Template>(),
    Operation::delete("/api/v1/templates/{name}", "removeTemplate", "Remove a template, all its versions", |call| {
        Box::pin(templates::remove(call))
    })
    .query(&[MAIL_AGENT]),
    Operation::get("/api/v1/templates/{name}/versions", "listTemplateVersions", "List a template's versions", |call| {
        Box::pin(templates::versions(call))
    })
    .query(&[MAIL_AGENT])
    .gives::<Vec<TemplateVersion>>(),
    Operation::post("/api/v1/templates/{name}/preview", "previewTemplate", "Show how a template looks", |call| {
        Box::pin(templates::preview(call))
    })
    .query(&[MAIL_AGENT])
    .may_take::<PreviewData>()
    .status(200)
    .gives::<Preview>(),
    Operation::get("/api/v1/suppressions", "listSuppressions", "List suppressed addresses and domains", |call| {
        Box::pin(suppressions::list(call))
    })
    .query(&[
        LIMIT_PARAMETER,
        AFTER_PARAMETER,
        parameter::<Text<1, 100>>("mailAgent", "Only those of this mail agent alone."),
        parameter::<Text<1, 20>>("kind", "Only those of `address` or `domain`."),
        parameter::<Word<Reason>>("reason", "Only those with this reason, as in `complaint`."),
        parameter::<Text<1, 320>>("search", "Only those that contain this."),
        parameter::<When>("since", "Only those that were made since."),
    ])
    .gives::<Vec<Suppression>>(),
    Operation::post("/api/v1/suppressions", "addSuppression", "Suppress an address or a domain", |call| {
        Box::pin(suppressions::add(call))
    })
    .takes::<NewSuppression>()
    .gives::<Suppression>(),
    Operation::get(
        "/api/v1/suppressions/{value}",
        "getSuppression",
        "Show what is done to an address or domain",
        |call| Box::pin(suppressions::get(call)),
    )
    .query(&[SUPPRESSED_FOR])
    .gives::<Suppression>(),
    Operation::delete("/api/v1/suppressions/{value}", "removeSuppression", "Let mail go there again", |call| {
        Box::pin(suppressions::remove(call))
    })
    .query(&[SUPPRESSED_FOR]),
    Operation::get(
        "/api/v1/suppressions/{value}/history",
        "listSuppressionHistory",
        "List what was done to it",
        |call| Box::pin(suppressions::history(call)),
    )
    .query(&[SUPPRESSED_FOR])
    .gives::<Vec<SuppressionChange>>(),
    Operation::get("/api/v1/statistics", "getStatistics", "Count what happened, by day", |call| {
        Box::pin(statistics::list(call))
    })
    .query(&[
        parameter::<Text<10, 10>>("from", "The first day, as `2026-03-01`; thirty days up to `to` unless given."),
        parameter::<Text<10, 10>>("to", "The last day; today unless given."),
        parameter::<Text<1, 100>>("mailAgent", "Of which mail agent; of all unless given."),
    ])
    .gives::<Vec<DayCounts>>(),
    Operation::get("/api/v1/recipients/{address}", "exportRecipient", "Give out what is kept of a recipient", |call| {
        Box::pin(recipients::export(call))
    })
    .query(PAGE)
    .gives::<Vec<KeptMail>>(),
    Operation::delete("/api/v1/recipients/{address}", "eraseRecipient", "Erase what is kept of a recipient", |call| {
        Box::pin(recipients::erase(call))
    })
    .status(200)
    .gives::<ErasedRecipient>(),
    Operation::get("/api/v1/webhooks", "listWebhooks", "List webhooks, with how each fares", |call| {
        Box::pin(webhooks::list(call))
    })
    .query(PAGE)
    .gives::<Vec<Webhook>>(),
    Operation::post("/api/v1/webhooks", "addWebhook", "Add a webhook", |call| Box::pin(webhooks::add(call)))
        .takes::<NewWebhook>()
        .gives::<Webhook>(),
    Operation::post(
        "/api/v1/webhooks/test",
        "testWebhookDraft",
        "Post a test event to a webhook that is not added",
        |call| Box::pin(trial::test_draft(call)),
    )
    .takes::<WebhookDraft>()
    .status(200)
    .gives::<TestedWebhook>(),
    Operation::post("/api/v1/webhooks/preview", "previewWebhookDraft", "Show what a draft would be posted", |call| {
        Box::pin(trial::preview_draft(call))
    })
    .takes::<WebhookDraft>()
    .status(200)
    .gives::<RequestView>(),
    Operation::get("/api/v1/webhooks/{id}", "getWebhook", "Show a webhook, and how it fares", |call| {
        Box::pin(webhooks::get(call))
    })
    .gives::<Webhook>(),
    Operation::patch("/api/v1/webhooks/{id}", "changeWebhook", "Change what is named of a webhook", |call| {
        Box::pin(webhooks::change(call))
    })
    .takes::<WebhookChange>()
    .gives::<Webhook>(),
    Operation::put("/api/v1/webhooks/{id}", "replaceWebhook", "Replace a webhook, but for its secrets", |call| {
        Box::pin(webhooks::replace(call))
    })
    .takes::<NewWebhook>()
    .gives::<Webhook>(),
    Operation::delete("/api/v1/webhooks/{id}", "removeWebhook", "Remove a webhook", |call| {
        Box::pin(webhooks::remove(call))
    }),
    Operation::post("/api/v1/webhooks/{id}/test", "testWebhook", "Post a test event to a webhook", |call| {
        Box::pin(trial::test(call))
    })
    .may_take::<WebhookTest>()
    .status(200)
    .gives::<TestedWebhook>(),
    Operation::post("/api/v1/webhooks/{id}/preview", "previewWebhook", "Show what a webhook would be posted", |call| {
        Box::pin(trial::preview(call))
    })
    .may_take::<WebhookTest>()
    .status(200)
    .gives::<RequestView>(),
    Operation::post("/api/v1/webhooks/{id}/secret/rotate", "rotateWebhookSecret", "Make a new secret", |call| {
        Box::pin(secret::rotate(call))
    })
    .may_take::<SecretRotation>()
    .status(200)
    .gives::<RotatedSecret>(),
    Operation::post(
        "/api/v1/webhooks/{id}/secret/activate",
        "activateWebhookSecret",
        "Sign with the new secret where there is room for one signature",
        |call| Box::pin(secret::activate(call)),
    )
    .status(200)
    .gives::<Webhook>(),
    Operation::post("/api/v1/webhooks/{id}/secret/revoke", "revokeWebhookSecret", "End the old secret", |call| {
        Box::pin(secret::revoke(call))
    })
    .status(200)
    .gives::<Webhook>(),
    Operation::get(
        "/api/v1/webhooks/{id}/attempts",
        "listWebhookAttempts",
        "List what was posted and answered, newest first",
        |call| Box::pin(log::attempts(call)),
    )
    .query(&[
        LIMIT_PARAMETER,
        AFTER_PARAMETER,
        parameter::<Word<Which>>("status", "Which attempts; `all` unless given."),
    ])
    .gives::<Vec<Attempt>>(),
    Operation::get(
        "/api/v1/webhooks/{id}/dispatches",
        "listWebhookDispatches",
        "List what is or was owed, newest first",
        |call| Box::pin(log::dispatches(call)),
    )
    .query(&[LIMIT_PARAMETER, AFTER_PARAMETER, parameter::<Word<DispatchState>>("state", "Only those in this state.")])
    .gives::<Vec<Dispatch>>(),
    Operation::get(
        "/api/v1/webhooks/{id}/dispatches/{event}",
        "getWebhookDispatch",
        "Show an event's way to a webhook: each request and answer",
        |call| Box::pin(log::dispatch(call)),
    )
    .gives::<DispatchLog>(),
    Operation::post(
        "/api/v1/webhooks/{id}/dispatches/{event}/replay",
        "replayEvent",
        "Tell a webhook of an event again",
        |call| Box::pin(replays::one(call)),
    )
    .status(202)
    .gives::<ReplayedEvent>(),
    Operation::get("/api/v1/webhooks/{id}/replays", "listReplays", "List replays, newest first", |call| {
        Box::pin(replays::list(call))
    })
    .query(PAGE)
    .gives::<Vec<Replay>>(),
    Operation::post("/api/v1/webhooks/{id}/replays", "addReplay", "Tell a webhook of many events again", |call| {
        Box::pin(replays::add(call))
    })
    .takes::<NewReplay>()
    .gives::<Replay>(),
    Operation::get("/api/v1/webhooks/{id}/replays/{replay}", "getReplay", "Show how far a replay is", |call| {
        Box::pin(replays::get(call))
    })
    .gives::<Replay>(),
    Operation::delete("/api/v1/webhooks/{id}/replays/{replay}", "cancelReplay", "End a replay", |call| {
        Box::pin(replays::cancel(call))
    }),
    Operation::get("/api/v1/domains", "listDomains", "List the domains that a mail agent may send from", |call| {
        Box::pin(domains::list(call))
    })
    .query(&[LIMIT_PARAMETER, AFTER_PARAMETER, MAIL_AGENT])
    .gives::<Vec<SendingDomain>>(),
    Operation::post("/api/v1/domains", "addDomain", "Let a mail agent send from a domain", |call| {
        Box::pin(domains::add(call))
    })
    .takes::<NewDomain>()
    .gives::<SendingDomain>(),
    Operation::get("/api/v1/domains/{name}", "getDomain", "Show a domain", |call| Box::pin(domains::get(call)))
        .query(&[MAIL_AGENT])
        .gives::<SendingDomain>(),
    Operation::post("/api/v1/domains/{name}/verify", "verifyDomain", "Look whether a domain is the tenant's", |call| {
        Box::pin(domains::verify(call))
    })
    .query(&[MAIL_AGENT])
    .status(200)
    .gives::<SendingDomain>(),
    Operation::delete("/api/v1/domains/{name}", "removeDomain", "Take a domain from a mail agent", |call| {
        Box::pin(domains::remove(call))
    })
    .query(&[MAIL_AGENT]),
    Operation::get("/api/v1/tracking-hosts", "listTrackingHosts", "List hosts that links lead through", |call| {
        Box::pin(tracking_hosts::list(call))
    })
    .query(PAGE)
    .gives::<Vec<TrackingHostBody>>(),
    Operation::post("/api/v1/tracking-hosts", "addTrackingHost", "Let a domain's links lead through a host", |call| {
        Box::pin(tracking_hosts::add(call))
    })
    .takes::<NewTrackingHost>()
    .gives::<TrackingHostBody>(),
    Operation::get("/api/v1/tracking-hosts/{host}", "getTrackingHost", "Show a tracking host", |call| {
        Box::pin(tracking_hosts::get(call))
    })
    .gives::<TrackingHostBody>(),
    Operation::patch("/api/v1/tracking-hosts/{host}", "changeTrackingHost", "Set files for app links", |call| {
        Box::pin(tracking_hosts::change(call))
    })
    .takes::<TrackingHostChange>()
    .gives::<TrackingHostBody>(),
    Operation::post(
        "/api/v1/tracking-hosts/{host}/check",
        "checkTrackingHost",
        "Check a host within seconds",
        |call| Box::pin(tracking_hosts::check(call)),
    )
    .status(202)
    .gives::<TrackingHostBody>(),
    Operation::delete("/api/v1/tracking-hosts/{host}", "removeTrackingHost", "Let its links lead nowhere", |call| {
        Box::pin(tracking_hosts::remove(call))
    }),
    Operation::get("/api/v1/keys", "listKeys", "List API keys and SMTP passwords", |call| Box::pin(keys::list(call)))
        .query(PAGE)
        .gives::<Vec<Key>>(),
    Operation::post("/api/v1/keys", "addKey", "Make an API key or SMTP password", |call| Box::pin(keys::add(call)))
        .takes::<NewKey>()
        .gives::<Key>(),
    Operation::get("/api/v1/keys/{id}", "getKey", "Show a key, without its secret", |call| Box::pin(keys::get(call)))
        .gives::<Key>(),
    Operation::delete("/api/v1/keys/{id}", "removeKey", "Revoke a key", |call| Box::pin(keys::remove(call))),
    Operation::get("/api/v1/agents", "listAgents", "List mail agents", |call| Box::pin(agents::list(call)))
        .query(PAGE)
        .gives::<Vec<Agent>>(),
    Operation::post("/api/v1/agents", "addAgent", "Add a mail agent", |call| Box::pin(agents::add(call)))
        .takes::<NewAgent>()
        .gives::<Agent>(),
    Operation::get("/api/v1/agents/{name}", "getAgent", "Show a mail agent", |call| Box::pin(agents::get(call)))
        .gives::<Agent>(),
    Operation::patch("/api/v1/agents/{name}", "changeAgent", "Change a mail agent", |call| {
        Box::pin(agents::change(call))
    })
    .takes::<AgentChange>()
    .gives::<Agent>(),
    Operation::put("/api/v1/agents/{name}", "updateAgent", "Change a mail agent", |call| {
        Box::pin(agents::change(call))
    })
    .takes::<AgentChange>()
    .gives::<Agent>(),
    Operation::delete("/api/v1/agents/{name}", "removeAgent", "Remove a mail agent", |call| {
        Box::pin(agents::remove(call))
    }),
    Operation::get("/api/v1/queue", "getQueue", "Show what waits, by domain, the most first", |call| {
        Box::pin(queue::domains(call))
    })
    .query(QUEUE)
    .gives::<Vec<WaitingDomain>>(),
    Operation::get("/api/v1/queue/deliveries", "listQueue", "List the deliveries that wait", |call| {
        Box::pin(queue::deliveries(call))
    })
    .query(QUEUE_PAGE)
    .gives::<Vec<WaitingDelivery>>(),
    Operation::post(
        "/api/v1/queue/hold",
        "holdQueue",
        "Hold waiting deliveries: they are not tried until they are released",
        |call| Box::pin(queue::act(call, Verb::Hold)),
    )
    .takes::<QueueChoice>()
    .status(200)
    .gives::<QueueChange>(),
    Operation::post("/api/v1/queue/release", "releaseQueue", "Let held deliveries go", |call| {
        Box::pin(queue::act(call, Verb::Release))
    })
    .takes::<QueueChoice>()
    .status(200)
    .gives::<QueueChange>(),
    Operation::post(
        "/api/v1/queue/retry",
        "retryQueue",
        "Try waiting deliveries now, whatever is known about their destinations; what is paused stays so",
        |call| Box::pin(queue::act(call, Verb::Retry)),
    )
    .takes::<QueueChoice>()
    .status(200)
    .gives::<QueueChange>(),
    Operation::post(
        "/api/v1/queue/cancel",
        "cancelQueue",
        "End waiting deliveries as cancelled, and tell webhooks so",
        |call| Box::pin(queue::act(call, Verb::Cancel)),
    )
    .takes::<QueueChoice>()
    .status(200)
    .gives::<QueueChange>(),
    Operation::post(
        "/api/v1/queue/purge",
        "purgeQueue",
        "End waiting deliveries as cancelled, and tell nobody",
        |call| Box::pin(queue::act(call, Verb::Purge)),
    )
    .takes::<QueueChoice>()
    .status(200)
    .gives::<QueueChange>(),
    Operation::get("/api/v1/queue/pauses", "listPauses", "List what is paused", |call| Box::pin(queue::pauses(call)))
        .gives::<Vec<Pause>>(),
    Operation::post("/api/v1/queue/pauses", "pauseQueue", "Stop mail until it is resumed; more is taken", |call| {
        Box::pin(queue::pause(call))
    })
    .takes::<NewPause>()
    .gives::<Pause>(),
    Operation::delete("/api/v1/queue/pauses", "resumeQueue", "Let stopped mail go on", |call| {
        Box::pin(queue::resume(call))
    })
    .query(&[QUEUE_AGENT, QUEUE_DOMAIN]),
    Operation::get("/api/v1/tenants", "listTenants", "List tenants", |call| Box::pin(tenants::list(call)))
        .query(PAGE)
        .gives::<Vec<Tenant>>(),
    Operation::post("/api/v1/tenants", "addTenant", "Add a tenant", |call| Box::pin(tenants::add(call)))
        .takes::<NewTenant>()
        .gives::<Tenant>(),
    Operation::get("/api/v1/tenants/{tenant}", "getTenant", "Show a tenant", |call| Box::pin(tenants::get(call)))
        .gives::<Tenant>(),
    Operation::patch("/api/v1/tenants/{tenant}", "changeTenant", "Change a tenant", |call| {
        Box::pin(tenants::change(call))
    })
    .takes::<TenantChange>()
    .gives::<Tenant>(),
    Operation::put("/api/v1/tenants/{tenant}", "updateTenant", "Change a tenant", |call| {
        Box::pin(tenants::change(call))
    })
    .takes::<TenantChange>()
    .gives::<Tenant>(),
    Operation::delete("/api/v1/tenants/{tenant}", "removeTenant", "Remove a tenant", |call| {
        Box::pin(tenants::remove(call))
    }),
];
