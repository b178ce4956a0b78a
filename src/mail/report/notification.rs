//! Notifications as JSON: what Amazon SES sends through a mail subscription of SNS.
//!
//! The object may stand bare or inside the envelope of SNS, and mail systems may have broken its lines.

use serde_json::Value;

use super::letter::message_id;
use super::verdict::complainant;
use super::{Kind, Recipient, Report, nothing_wrong};
use crate::mail::arf::Complaint;
use crate::mail::dsn::{Action, RECIPIENTS_MAX};
use crate::mail::reply;
use crate::mail::rules::Rules;
use crate::model::reason::Cause;

/// Reads a text that starts with such an object.
pub fn read(text: &str, rules: &Rules) -> Option<Report> {
    let text = text.trim_start();
    if !text.starts_with('{') || !text.contains("otificationType") && !text.contains("eventType") {
        return None;
    }
    let outer = object(text)?;
    let inner = outer.get("Message").and_then(Value::as_str).and_then(object);
    let notification = inner.unwrap_or(outer);
    let kind = notification.get("notificationType").or_else(|| notification.get("eventType"))?.as_str()?;
    let mut report = match kind {
        "Bounce" => bounce(notification.get("bounce")?, rules),
        "Complaint" => complaint(notification.get("complaint")?),
        "Delivery" => delivery(notification.get("delivery")?),
        _ => return None,
    };
    let mail = notification.get("mail")?;
    let headers = mail.get("headers").and_then(Value::as_array);
    let id = headers.into_iter().flatten().find(|header| text_of(header, "name").eq_ignore_ascii_case("Message-ID"));
    let id = id.map(|header| text_of(header, "value")).filter(|id| !id.is_empty());
    let common = mail.get("commonHeaders").map(|headers| text_of(headers, "messageId")).filter(|id| !id.is_empty());
    report.original_message_id = id.or(common).and_then(message_id);
    Some(report)
}

/// The first object of a text. Line breaks inside strings, which mail systems put there, are taken out.
fn object(text: &str) -> Option<Value> {
    let read = |text: &str| serde_json::Deserializer::from_str(text).into_iter::<Value>().next()?.ok();
    read(text).or_else(|| read(&text.replace("!\n ", "").replace(['\n', '\r', '\t'], " "))).filter(Value::is_object)
}

fn text_of<'a>(object: &'a Value, name: &str) -> &'a str {
    object.get(name).and_then(Value::as_str).unwrap_or("")
}

fn list<'a>(object: &'a Value, name: &str) -> impl Iterator<Item = &'a Value> {
    object.get(name).and_then(Value::as_array).into_iter().flatten().take(RECIPIENTS_MAX)
}

fn host(object: &Value) -> Option<String> {
    let host = text_of(object, "reportingMTA").rsplit(';').next().unwrap_or("").trim();
    (!host.is_empty()).then(|| host.to_owned())
}

fn bounce(bounce: &Value, rules: &Rules) -> Report {
    let recipients = list(bounce, "bouncedRecipients").map(|recipient| {
        let status = Some(text_of(recipient, "status")).filter(|status| !status.is_empty());
        let diagnostic = text_of(recipient, "diagnosticCode");
        let diagnostic = diagnostic.split_once(';').map_or(diagnostic, |(_, text)| text.trim());
        let sub_type = text_of(bounce, "bounceSubType");
        let (mut cause, weight) = rules.weigh(status, diagnostic);
        if weight == reply::Weight::Nothing {
            cause = rules.weigh(status, sub_type).0;
        }
        let cause = Cause { status: status.map(str::to_owned).or(cause.status), ..cause };
        Recipient { address: text_of(recipient, "emailAddress").to_owned(), action: Action::Failed, cause }
    });
    Report { kind: Kind::Bounce, recipients: recipients.collect(), reporting_mta: host(bounce), ..Report::ordinary() }
}

fn complaint(complaint: &Value) -> Report {
    let all = list(complaint, "complainedRecipients").map(|recipient| text_of(recipient, "emailAddress").to_owned());
    let addresses: Vec<String> = all.collect();
    let kind = text_of(complaint, "complaintFeedbackType");
    Report {
        kind: Kind::Complaint,
        recipients: addresses.iter().map(|address| complainant(address)).collect(),
        complaint: Some(Complaint {
            feedback_type: if kind.is_empty() { "abuse".into() } else { kind.to_owned() },
            reported_by: Some(text_of(complaint, "userAgent").to_owned()).filter(|agent| !agent.is_empty()),
            original_recipients: addresses,
            ..Complaint::default()
        }),
        ..Report::ordinary()
    }
}

fn delivery(delivery: &Value) -> Report {
    let response = text_of(delivery, "smtpResponse");
    let recipients = list(delivery, "recipients").filter_map(Value::as_str).map(|address| Recipient {
        address: address.to_owned(),
        action: Action::Delivered,
        cause: nothing_wrong(reply::enhanced_code(response).as_deref(), response),
    });
    Report {
        kind: Kind::Success,
        recipients: recipients.collect(),
        reporting_mta: host(delivery),
        ..Report::ordinary()
    }
}
