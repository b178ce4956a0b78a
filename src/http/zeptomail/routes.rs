//! What there is under `/v1.1`, and the tokens that it takes.

use super::super::operation::{Operation, Parameter, parameter};
use super::super::shape::{Count, Text};
use super::manage::{BODY_BYTES_MAX, agents, domains, logs, suppressions, templates};
use super::send::{Kind, send, send_raw};
use super::shapes::logs::{ZeptoLogAnswer, ZeptoLogs};
use super::shapes::manage::{
    ZeptoAgentAnswer, ZeptoAgentChange, ZeptoAgentList, ZeptoDomainAnswer, ZeptoDomainChange, ZeptoDomainDetails,
    ZeptoDomainList, ZeptoKeyList, ZeptoMadeKey, ZeptoNewAgent, ZeptoNewDomain, ZeptoNewSuppressions, ZeptoNewTemplate,
    ZeptoSuppressed, ZeptoSuppressionList, ZeptoTemplateAnswer, ZeptoTemplateList, ZeptoTemplatePreview,
    ZeptoTemplatePreviewed, ZeptoUnsuppressed,
};
use super::shapes::{
    ZeptoAccepted, ZeptoBatch, ZeptoCachedFiles, ZeptoKeptFile, ZeptoMail, ZeptoTemplateBatch, ZeptoTemplateMail,
};
use super::{cancel, fields, files};
use crate::model::tenant::CredentialKind::{ApiKey, SmtpPassword};

const ONE: Kind = Kind { is_batch: false, is_template: false };
const BATCH: Kind = Kind { is_batch: true, is_template: false };
const TEMPLATE: Kind = Kind { is_batch: false, is_template: true };
const TEMPLATE_BATCH: Kind = Kind { is_batch: true, is_template: true };
const OFFSET: Parameter = parameter::<Count<0, 1_000_000>>("offset", "How many to pass over.");
const LIMIT: Parameter = parameter::<Count<0, 500>>("limit", "How many to list; 50 unless given.");
const FROM: Parameter = parameter::<Text<1, 40>>("date_from", "Not before, as in `31/12/2025, 09:00 PM`, or ISO 8601.");
const TO: Parameter = parameter::<Text<1, 40>>("date_to", "Not after.");
const AGENT: Parameter = parameter::<Text<1, 100>>("mailagent_key", "Only those of this mail agent.");

macro_rules! send_as {
    ($kind:expr) => {
        |call| Box::pin(async move { send(&call.server, &call.grant, $kind, call.body, call.ticket.as_deref()).await })
    };
}

/// Does `$work` with who asks, and what else it wants of the call.
macro_rules! work {
    (|$call:ident| $work:path $(, $more:expr)*) => {
        |$call| Box::pin(async move { $work(&$call.server, &$call.grant $(, $more)*).await })
    };
}

/// It lists suppressions.
const fn listing(operation: Operation) -> Operation {
    const QUERY: &[Parameter] =
        &[FROM, TO, LIMIT, OFFSET, AGENT, parameter::<Text<1, 320>>("search_value", "Only those that contain this.")];
    operation.by_access_token().query(QUERY).gives::<ZeptoSuppressionList>()
}

/// It makes or changes suppressions.
const fn suppressing(operation: Operation) -> Operation {
    operation.by_access_token().takes::<ZeptoNewSuppressions>().gives::<ZeptoSuppressed>()
}

/// Everything that ZeptoMail's API can do.
pub(in crate::http) const OPERATIONS: &[Operation] = &[
    Operation::post("/v1.1/email", "zeptoSend", "Send a mail", |call| {
        Box::pin(async move {
            match call.is_mail() {
                true => send_raw(&call.server, &call.grant, call.body, call.ticket.as_deref()).await,
                false => send(&call.server, &call.grant, ONE, call.body, call.ticket.as_deref()).await,
            }
        })
    })
    .by_send_token()
    .takes::<ZeptoMail>()
    .also_takes("message/rfc822")
    .sends()
    .gives::<ZeptoAccepted>(),
    Operation::post("/v1.1/email/batch", "zeptoSendBatch", "Send each recipient a mail of its own", send_as!(BATCH))
        .by_send_token()
        .takes::<ZeptoBatch>()
        .sends()
        .gives::<ZeptoAccepted>(),
    Operation::post("/v1.1/email/template", "zeptoSendTemplate", "Send a template", send_as!(TEMPLATE))
        .by_send_token()
        .takes::<ZeptoTemplateMail>()
        .sends()
        .gives::<ZeptoAccepted>(),
    Operation::post(
        "/v1.1/email/template/batch",
        "zeptoSendTemplateBatch",
        "Send each recipient a template filled in for it",
        send_as!(TEMPLATE_BATCH),
    )
    .by_send_token()
    .takes::<ZeptoTemplateBatch>()
    .sends()
    .gives::<ZeptoAccepted>(),
    Operation::delete(
        "/v1.1/email/{request_id}",
        "zeptoCancel",
        "Take back what is not under way yet",
        work!(|call| cancel, call.place()),
    )
    .by_send_token()
    .status(200)
    .gives::<ZeptoAccepted>(),
    Operation::post("/v1.1/files", "zeptoKeepFile", "Keep a file, to be attached by its key", |call| {
        Box::pin(async move {
            let name = call.query.text("name").unwrap_or_default().to_owned();
            files::upload(&call.server, &call.grant, name, &call.content_type, call.body).await
        })
    })
    .by_send_token()
    .query(&[parameter::<Text<1, { fields::FILE_NAME_CHARS_MAX }>>("name", "Its name.")])
    .also_takes("*/*")
    .up_to(fields::FILE_BYTES_MAX)
    .gives::<ZeptoKeptFile>(),
    Operation::get("/v1.1/files", "zeptoListFiles", "List files", work!(|call| files::list))
        .by_send_token()
        .gives::<ZeptoCachedFiles>(),
    Operation::delete(
        "/v1.1/files/{key}",
        "zeptoRemoveFile",
        "Remove a file",
        work!(|call| files::remove, call.place()),
    )
    .by_send_token(),
    Operation::get("/v1.1/email", "zeptoListLogs", "Search for mails", work!(|call| logs::list, &call.query))
        .by_access_token()
        .query(&[
            AGENT,
            parameter::<Text<1, 200>>("request_id", "Only those of this request."),
            FROM,
            TO,
            parameter::<Text<1, 320>>("from", "Only those from this address."),
            parameter::<Text<1, 320>>("to", "Only those to this address."),
            parameter::<Text<1, 320>>("cc", "Only those with this address in `cc`."),
            parameter::<Text<1, 320>>("bcc", "Only those with this address in `bcc`."),
            parameter::<Text<1, 320>>("recipient", "Only those to this address in any way."),
            parameter::<Text<1, 500>>("subject", "Only those whose subject contains this."),
            parameter::<Text<1, 1000>>("client_reference", "Only those with this reference."),
            parameter::<bool>("is_hb", "Those that bounced hard."),
            parameter::<bool>("is_sb", "Those that bounced softly."),
            parameter::<bool>("is_mailfailure", "Those that failed."),
            parameter::<bool>("is_delivered", "Those that were delivered."),
            OFFSET,
            LIMIT,
        ])
        .gives::<ZeptoLogs>(),
    Operation::get(
        "/v1.1/email/email-reference/{id}",
        "zeptoGetLog",
        "Show what became of a mail",
        work!(|call| logs::detail, call.place()),
    )
    .by_access_token()
    .gives::<ZeptoLogAnswer>(),
    Operation::get("/v1.1/agents", "zeptoListAgents", "List mail agents", work!(|call| agents::list))
        .by_access_token()
        .gives::<ZeptoAgentList>(),
    Operation::post("/v1.1/agents", "zeptoAddAgent", "Add a mail agent", work!(|call| agents::add, &call.body.bytes))
        .by_access_token()
        .takes::<ZeptoNewAgent>()
        .gives::<ZeptoAgentAnswer>(),
    Operation::get(
        "/v1.1/agents/{key}",
        "zeptoGetAgent",
        "Show a mail agent",
        work!(|call| agents::show, call.place()),
    )
    .by_access_token()
    .gives::<ZeptoAgentAnswer>(),
    Operation::put(
        "/v1.1/agents/{key}",
        "zeptoChangeAgent",
        "Change a mail agent",
        work!(|call| agents::change, call.place(), &call.body.bytes),
    )
    .by_access_token()
    .takes::<ZeptoAgentChange>()
    .gives::<ZeptoAgentAnswer>(),
    Operation::delete(
        "/v1.1/agents/{key}",
        "zeptoRemoveAgent",
        "Remove a mail agent that is shut down",
        work!(|call| agents::remove, call.place()),
    )
    .by_access_token(),
    Operation::get(
        "/v1.1/agents/{key}/apikeys",
        "zeptoListApiKeys",
        "List API keys",
        work!(|call| agents::keys, call.place(), ApiKey),
    )
    .by_access_token()
    .gives::<ZeptoKeyList>(),
    Operation::post(
        "/v1.1/agents/{key}/apikeys",
        "zeptoAddApiKey",
        "Make an API key",
        work!(|call| agents::add_key, call.place(), ApiKey),
    )
    .by_access_token()
    .gives::<ZeptoMadeKey>(),
    Operation::delete(
        "/v1.1/agents/{key}/apikeys/{id}",
        "zeptoRemoveApiKey",
        "Revoke an API key",
        work!(|call| agents::remove_key, call.place(), ApiKey, call.second_place()),
    )
    .by_access_token(),
    Operation::get(
        "/v1.1/agents/{key}/short-passwords",
        "zeptoListPasswords",
        "List SMTP passwords",
        work!(|call| agents::keys, call.place(), SmtpPassword),
    )
    .by_access_token()
    .gives::<ZeptoKeyList>(),
    Operation::post(
        "/v1.1/agents/{key}/short-passwords",
        "zeptoAddPassword",
        "Make an SMTP password",
        work!(|call| agents::add_key, call.place(), SmtpPassword),
    )
    .by_access_token()
    .gives::<ZeptoMadeKey>(),
    Operation::delete(
        "/v1.1/agents/{key}/short-passwords/{id}",
        "zeptoRemovePassword",
        "Revoke an SMTP password",
        work!(|call| agents::remove_key, call.place(), SmtpPassword, call.second_place()),
    )
    .by_access_token(),
    Operation::get("/v1.1/domains", "zeptoListDomains", "List domains", work!(|call| domains::list))
        .by_access_token()
        .gives::<ZeptoDomainList>(),
    Operation::post("/v1.1/domains", "zeptoAddDomain", "Add a domain", work!(|call| domains::add, &call.body.bytes))
        .by_access_token()
        .takes::<ZeptoNewDomain>()
        .gives::<ZeptoDomainAnswer>(),
    Operation::get("/v1.1/domains/{key}", "zeptoGetDomain", "Show a domain", work!(|call| domains::show, call.place()))
        .by_access_token()
        .gives::<ZeptoDomainDetails>(),
    Operation::put(
        "/v1.1/domains/{key}",
        "zeptoChangeDomain",
        "Change a domain",
        work!(|call| domains::change, call.place(), &call.body.bytes),
    )
    .by_access_token()
    .takes::<ZeptoDomainChange>()
    .gives::<ZeptoDomainAnswer>(),
    Operation::delete(
        "/v1.1/domains/{key}",
        "zeptoRemoveDomain",
        "Remove a domain",
        work!(|call| domains::remove, call.place()),
    )
    .by_access_token(),
    Operation::put(
        "/v1.1/domains/{key}/verify",
        "zeptoVerifyDomain",
        "Look whether a domain is the tenant's",
        work!(|call| domains::verify, call.place()),
    )
    .by_access_token()
    .gives::<ZeptoDomainAnswer>(),
    listing(Operation::get(
        "/v1.1/suppressions/email",
        "zeptoListSuppressedAddresses",
        "List suppressed addresses",
        work!(|call| suppressions::list, suppressions::Kind::Email, &call.query),
    )),
    suppressing(Operation::post(
        "/v1.1/suppressions/email",
        "zeptoSuppressAddresses",
        "Suppress addresses",
        work!(|call| suppressions::put, suppressions::Kind::Email, &call.body.bytes, true),
    )),
    suppressing(Operation::put(
        "/v1.1/suppressions/email",
        "zeptoChangeSuppressedAddresses",
        "Change what is done to addresses",
        work!(|call| suppressions::put, suppressions::Kind::Email, &call.body.bytes, false),
    )),
    Operation::delete(
        "/v1.1/suppressions/email",
        "zeptoRemoveSuppressedAddresses",
        "Let mail go to addresses again",
        work!(|call| suppressions::remove, suppressions::Kind::Email, &call.body.bytes),
    )
    .by_access_token()
    .takes::<ZeptoUnsuppressed>(),
    listing(Operation::get(
        "/v1.1/suppressions/domain",
        "zeptoListSuppressedDomains",
        "List suppressed domains",
        work!(|call| suppressions::list, suppressions::Kind::Domain, &call.query),
    )),
    suppressing(Operation::post(
        "/v1.1/suppressions/domain",
        "zeptoSuppressDomains",
        "Suppress domains",
        work!(|call| suppressions::put, suppressions::Kind::Domain, &call.body.bytes, true),
    )),
    suppressing(Operation::put(
        "/v1.1/suppressions/domain",
        "zeptoChangeSuppressedDomains",
        "Change what is done to domains",
        work!(|call| suppressions::put, suppressions::Kind::Domain, &call.body.bytes, false),
    )),
    Operation::delete(
        "/v1.1/suppressions/domain",
        "zeptoRemoveSuppressedDomains",
        "Let mail go to domains again",
        work!(|call| suppressions::remove, suppressions::Kind::Domain, &call.body.bytes),
    )
    .by_access_token()
    .takes::<ZeptoUnsuppressed>(),
    Operation::get(
        "/v1.1/mailagents/{agent}/templates",
        "zeptoListTemplates",
        "List templates",
        work!(|call| templates::list, call.place(), &call.query),
    )
    .by_access_token()
    .query(&[OFFSET, LIMIT])
    .gives::<ZeptoTemplateList>(),
    Operation::post(
        "/v1.1/mailagents/{agent}/templates",
        "zeptoAddTemplate",
        "Add a template",
        work!(|call| templates::add, call.place(), &call.body.bytes),
    )
    .by_access_token()
    .takes::<ZeptoNewTemplate>()
    .up_to(BODY_BYTES_MAX)
    .gives::<ZeptoTemplateAnswer>(),
    Operation::get(
        "/v1.1/mailagents/{agent}/templates/{key}",
        "zeptoGetTemplate",
        "Show a template",
        work!(|call| templates::show, call.place(), call.second_place()),
    )
    .by_access_token()
    .gives::<ZeptoTemplateAnswer>(),
    Operation::put(
        "/v1.1/mailagents/{agent}/templates/{key}",
        "zeptoChangeTemplate",
        "Change a template",
        work!(|call| templates::change, call.place(), call.second_place(), &call.body.bytes),
    )
    .by_access_token()
    .takes::<ZeptoNewTemplate>()
    .up_to(BODY_BYTES_MAX)
    .gives::<ZeptoTemplateAnswer>(),
    Operation::delete(
        "/v1.1/mailagents/{agent}/templates/{key}",
        "zeptoRemoveTemplate",
        "Remove a template",
        work!(|call| templates::remove, call.place(), call.second_place()),
    )
    .by_access_token(),
    Operation::post(
        "/v1.1/mailagents/{agent}/templates/{key}/preview",
        "zeptoPreviewTemplate",
        "Show how a template looks",
        work!(|call| templates::preview, call.place(), call.second_place(), &call.body.bytes),
    )
    .by_access_token()
    .takes::<ZeptoTemplatePreview>()
    .status(200)
    .gives::<ZeptoTemplatePreviewed>(),
];

#[cfg(test)]
mod tests {
    use hyper::Method;

    use super::super::super::operation::{find, unlisted};
    use super::super::super::problem::Problem;
    use super::*;

    #[test]
    fn routes() {
        let check = |method: Method, path: &str, expected: Result<&str, Problem>| {
            let found = find(&[OPERATIONS], &method, path).map(|(operation, _)| operation.id);
            assert_eq!(found, expected, "{method} {path}");
        };
        check(Method::POST, "/v1.1/email", Ok("zeptoSend"));
        check(Method::POST, "/v1.1/email/", Ok("zeptoSend"));
        check(Method::GET, "/v1.1/email", Ok("zeptoListLogs"));
        check(Method::POST, "/v1.1/email/batch", Ok("zeptoSendBatch"));
        check(Method::POST, "/v1.1/email/template", Ok("zeptoSendTemplate"));
        check(Method::POST, "/v1.1/email/template/batch", Ok("zeptoSendTemplateBatch"));
        check(Method::GET, "/v1.1/email/template/batch", Err(Problem::Method { allowed: "POST" }));
        check(Method::POST, "/v1.1/email/other", Err(Problem::Method { allowed: "DELETE" }));
        check(Method::PUT, "/v1.1/email", Err(Problem::Method { allowed: "GET, POST" }));
        check(Method::POST, "/v1.1/files", Ok("zeptoKeepFile"));
        check(Method::DELETE, "/v1.1/files/a", Ok("zeptoRemoveFile"));
        check(Method::PATCH, "/v1.1/suppressions/email", Err(Problem::Method { allowed: "DELETE, GET, POST, PUT" }));
        check(Method::GET, "/v1.1/suppressions/other", Err(Problem::NoRoute));
        check(Method::POST, "/v1.1/emails", Err(Problem::NoRoute));
        check(Method::POST, "/v1.1//email", Err(Problem::NoRoute));
        check(Method::POST, "/v1.1", Err(Problem::NoRoute));
    }

    #[test]
    fn every_path_says_what_it_allows() {
        assert_eq!(unlisted(&[OPERATIONS]), None);
    }
}
