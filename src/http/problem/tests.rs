//! Every problem as both surfaces tell it, in one table that is reviewed as code.

use super::*;
use crate::mail::submitted::Unreadable;
use crate::mail::template::Fault;
use crate::model::address::BadAddress;

const TABLE: &str = include_str!("table.txt");

fn flaws() -> Vec<Flaw> {
    vec![
        Flaw::at("/to", Wrong::Missing),
        Flaw::at("/to/0/email_address/address", Wrong::Missing),
        Flaw::at("/subject", Wrong::Empty),
        Flaw::at("/events", Wrong::NoItems),
        Flaw::at("/cc", Wrong::Type("array")),
        Flaw::at("/to/0/address", Wrong::Format("email")).showing("nobody@"),
        Flaw::at("/url", Wrong::Format("uri")).showing("x"),
        Flaw::at("/hits", Wrong::OneOf(&["first", "all"])).showing("none"),
        Flaw::at("/to", Wrong::TooMany(500)),
        Flaw::at("/subject", Wrong::TooLong(500)),
        Flaw::at("/attachments/0/content", Wrong::TooLarge(15_728_640)),
        Flaw::at("/url", Wrong::Other("must be https".into())).showing("http://example.com/"),
        Flaw::at("", Wrong::Type("object")),
        Flaw::in_query("limit", Wrong::Type("integer")).showing("x"),
    ]
}

fn rejections() -> Vec<Rejection> {
    let unfit = [
        Unfit::Address { field: Field::Cc, value: "x".into(), why: BadAddress::Incomplete },
        Unfit::Control { field: Field::ReplyTo },
        Unfit::TooLong { field: Field::Subject, bytes_max: 4_000 },
        Unfit::HeaderName { name: "a b".into() },
        Unfit::HeaderReserved { name: "DKIM-Signature".into() },
        Unfit::ContentType { field: Field::Attachments, value: "x".into() },
        Unfit::FileName { field: Field::InlineImages, value: "../x".into() },
        Unfit::ContentId { value: "<>".into() },
    ];
    let mut rejections = vec![
        Rejection::SenderNotAllowed { domain: "other.example".into() },
        Rejection::AgentShutDown,
        Rejection::BounceNotAllowed { address: "x@other.example".into() },
        Rejection::NoSender,
        Rejection::BadSender("x".into()),
        Rejection::NoRecipients,
        Rejection::TooManyRecipients { max: 1_000 },
        Rejection::TooLarge { max_bytes: 26_214_400 },
        Rejection::Unreadable(Unreadable::Loop),
    ];
    rejections.extend(unfit.map(Rejection::Unfit));
    rejections
}

fn problems() -> Vec<Problem> {
    let mut problems = vec![
        Problem::NoRoute,
        Problem::Method { allowed: "POST" },
        Problem::NotFound("Webhook"),
        Problem::Unauthorized,
        Problem::TenantForbidden,
        Problem::OperatorOnly,
        Problem::NotPermitted(Permission::SendEmails),
        Problem::AddressForbidden,
        Problem::TooFast { retry_after_secs: 7 },
        Problem::DailyLimit { retry_after_secs: 7 },
        Problem::NoTurn(NoTurn::BadKey),
        Problem::NoTurn(NoTurn::Running),
        Problem::NoTurn(NoTurn::Differs),
        Problem::NoTurn(NoTurn::Unavailable),
        Problem::BodyTooLarge { bytes_max: 31_457_280 },
        Problem::BodyTooSlow,
        Problem::BodyCut,
        Problem::BodyEncoded,
        Problem::Ambiguous,
        Problem::Host,
        Problem::Malformed,
        Problem::HeaderTooLarge,
        Problem::TargetTooLong,
        Problem::Json("expected value at line 1 column 1".into()),
        Problem::NoSuchFile { field: "attachments", key: "2d6f.0.h1".into() },
        Problem::NoTemplate,
        Problem::Template(Flawed { part: Part::Html, fault: Fault::Unclosed { line: 3 } }),
        Problem::EmptyFile,
        Problem::Full("The file cache is full"),
        Problem::Taken { field: "mailagent_name", value: "Alerts".into(), what: "Agent name" },
        Problem::Conflict("it exists already"),
        Problem::EmptyChange,
        Problem::Unavailable,
        Problem::Broken,
    ];
    problems.extend(flaws().into_iter().map(Problem::Invalid));
    problems.extend(rejections().into_iter().map(Problem::Rejected));
    problems
}

#[test]
fn the_table() {
    let mut told = String::new();
    for problem in problems() {
        told.push_str(&format!("{problem:?}\n"));
        for (status, body) in [problem.mailtura(), problem.zeptomail("ID"), problem.zeptomail_management("ID")] {
            told.push_str(&format!("  {} {body}\n", status.as_u16()));
        }
    }
    if std::env::var_os("BLESS").is_some() {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/src/http/problem/table.txt");
        std::fs::write(path, &told).unwrap();
        return;
    }
    for (told, expected) in told.lines().zip(TABLE.lines()) {
        assert_eq!(told, expected);
    }
    assert_eq!(told.lines().count(), TABLE.lines().count());
}

#[test]
fn zeptomails_clients_find_what_they_read_blindly() {
    for problem in problems() {
        for (_, body) in [problem.zeptomail("ID"), problem.zeptomail_management("ID")] {
            let message = body["error"]["details"][0]["message"].as_str();
            assert!(message.is_some_and(|text| !text.is_empty()), "{problem:?}");
            assert_eq!((&body["request_id"], &body["error"]["request_id"]), (&json!("ID"), &json!("ID")));
        }
    }
}
