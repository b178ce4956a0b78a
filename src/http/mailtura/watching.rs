//! What there is under `/api/v1` for those who look after mail: one mail closely, what readers do, the records of a
//! domain, the installation, and who may sign in to the console.

use super::super::operation::{Operation, Parameter, parameter};
use super::super::query::{AFTER_PARAMETER, LIMIT_PARAMETER};
use super::super::shape::{Email, Text, Word};
use super::activity::{Activity, PulseStep};
use super::copies::{MailText, Resending, TrackedCopy};
use super::domains::SendingDomain;
use super::emails::{AcceptedEmail, PreviewedEmail};
use super::installation::{Installation, Report};
use super::new_email::NewEmail;
use super::recipients::KeptMail;
use super::records::FoundRecord;
use super::users::{AuditLine, Link, NewInvitation, NewPassword, User, UserChange, Waiting};
use super::{activity, copies, emails, installation, records, users};
use crate::model::pulse::Span;

const PAGE: &[Parameter] = &[LIMIT_PARAMETER, AFTER_PARAMETER];
const MAIL_AGENT: Parameter =
    parameter::<Text<1, 100>>("mailAgent", "Of which mail agent; the key's own unless given.");
const OF_TENANT: Parameter = parameter::<Text<1, 63>>("tenant", "Only those of this tenant.");
const OF_COPY: Parameter = parameter::<Email>("to", "The copy of which recipient.");

/// One thing of [`OPERATIONS`] done by a function of that module.
macro_rules! work {
    ($module:ident::$function:ident) => {
        |call| Box::pin($module::$function(call))
    };
}

/// All of it.
pub(in crate::http) const OPERATIONS: &[Operation] = &[
    Operation::post(
        "/api/v1/emails/preview",
        "previewEmail",
        "Show what tracking would make of a mail, and send nothing",
        work!(emails::preview),
    )
    .query(&[MAIL_AGENT])
    .takes::<NewEmail>()
    .also_takes("message/rfc822")
    .large()
    .status(200)
    .gives::<PreviewedEmail>(),
    Operation::get("/api/v1/emails/{id}/copies", "listCopies", "List all that is kept of a mail", work!(copies::list))
        .query(PAGE)
        .gives::<Vec<KeptMail>>(),
    Operation::get("/api/v1/emails/{id}/content", "getContent", "Give out a mail itself", work!(copies::content))
        .query(&[OF_COPY])
        .gives::<MailText>()
        .media("message/rfc822"),
    Operation::get(
        "/api/v1/emails/{id}/tracking",
        "getTracking",
        "Show what tracking changed",
        work!(copies::tracking),
    )
    .query(&[OF_COPY])
    .gives::<TrackedCopy>(),
    Operation::post(
        "/api/v1/emails/{id}/resend",
        "resendEmail",
        "Send a mail again, as a new one",
        work!(copies::resend),
    )
    .may_take::<Resending>()
    .sends()
    .gives::<AcceptedEmail>(),
    Operation::get("/api/v1/pulse", "getPulse", "Count what happened lately, in steps", work!(activity::pulse))
        .query(&[parameter::<Word<Span>>("span", "Over which time; a day unless given.")])
        .gives::<Vec<PulseStep>>(),
    Operation::get(
        "/api/v1/activity",
        "getActivity",
        "Show who reads, with what, and what bounced",
        work!(activity::show),
    )
    .gives::<Activity>(),
    Operation::get("/api/v1/domains/{name}/records", "listRecords", "Look up a domain's records", work!(records::list))
        .query(&[MAIL_AGENT])
        .gives::<Vec<FoundRecord>>(),
    Operation::post("/api/v1/domains/{name}/keys", "renewDomainKeys", "Make new signing keys", work!(records::renew))
        .query(&[MAIL_AGENT])
        .status(200)
        .gives::<SendingDomain>(),
    Operation::get("/api/v1/installation", "getInstallation", "Show the installation", work!(installation::show))
        .gives::<Installation>(),
    Operation::get("/api/v1/reports", "listReports", "List reports that came home", work!(installation::reports))
        .query(&[
            LIMIT_PARAMETER,
            AFTER_PARAMETER,
            parameter::<bool>("open", "Only those that wait for a person."),
            parameter::<Text<1, 20>>("kind", "Only those of this kind."),
        ])
        .gives::<Vec<Report>>(),
    Operation::get("/api/v1/reports/{id}", "getReport", "Show a report, mail included", work!(installation::report))
        .gives::<Report>(),
    Operation::post(
        "/api/v1/reports/{id}/close",
        "closeReport",
        "Say that a report was seen",
        work!(installation::close),
    )
    .status(204),
    Operation::get("/api/v1/users", "listUsers", "List who may sign in to the console", work!(users::list))
        .query(&[LIMIT_PARAMETER, AFTER_PARAMETER, OF_TENANT])
        .gives::<Vec<User>>(),
    Operation::post("/api/v1/users/invitations", "inviteUser", "Make a link for somebody new", work!(users::invite))
        .takes::<NewInvitation>()
        .gives::<Link>(),
    Operation::get(
        "/api/v1/users/invitations",
        "listInvitations",
        "List links that nobody has followed yet",
        work!(users::invitations),
    )
    .query(&[LIMIT_PARAMETER, AFTER_PARAMETER, OF_TENANT])
    .gives::<Vec<Waiting>>(),
    Operation::delete(
        "/api/v1/users/invitations/{id}",
        "revokeInvitation",
        "Have a link lead nowhere",
        work!(users::revoke),
    ),
    Operation::post(
        "/api/v1/users/{email}/password",
        "renewPassword",
        "Make a link to a new password",
        work!(users::renew),
    )
    .may_take::<NewPassword>()
    .gives::<Link>(),
    Operation::patch("/api/v1/users/{email}", "changeUser", "Set what a person may do", work!(users::change))
        .takes::<UserChange>()
        .gives::<User>(),
    Operation::delete("/api/v1/users/{email}", "removeUser", "Take a person's way in", work!(users::remove)),
    Operation::get("/api/v1/audit", "listAudit", "List what was done, newest first", work!(users::audit))
        .query(&[LIMIT_PARAMETER, AFTER_PARAMETER, OF_TENANT])
        .gives::<Vec<AuditLine>>(),
];
