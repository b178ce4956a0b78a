//! What webhooks are posted, in each of the formats: the other half of the contract, under `webhooks` of the document.
//!
//! Bodies are made in another room, from events; that they are as described here is seen by a test that holds each kind
//! of event in each format against the document (`http::described`).

use serde_json::{Value, json};

use super::super::mailtura;
use super::super::shape::{Schemas, Shape, described};

/// `webhooks` of the document.
pub(super) fn described(schemas: &mut Schemas) -> Value {
    let event = mailtura::EventBody::schema(schemas);
    let transmail = TransmailEvent::schema(schemas);
    let json_of = |one: &Value| json!({ "application/json": { "schema": one_or_many(one) } });
    let form = json!({
        "type": "object",
        "description": "One field; it is called `event` unless the webhook has another `formField`.",
        "required": ["event"],
        "properties": { "event": {
            "type": "string", "contentMediaType": "application/json", "contentSchema": one_or_many(&transmail),
        } },
    });
    json!({
        "mailtura": posted(
            "Something happened to a mail: format `mailtura`",
            &[("X-Mailtura-Signature", "HMAC-SHA256 of the body with the webhook's secret, in 64 hexadecimal digits.")],
            &STANDARD,
            json_of(&event),
        ),
        "transmail": posted(
            "Something happened to a mail: format `transmail`",
            &[PRODUCER],
            &[TEST],
            json!({ "application/x-www-form-urlencoded": { "schema": form } }),
        ),
        "transmail-json": posted(
            "Something happened to a mail: format `transmail-json`",
            &[PRODUCER],
            &[STANDARD[0], STANDARD[1], STANDARD[2], TEST],
            json_of(&transmail),
        ),
    })
}

const PRODUCER: (&str, &str) = (
    "producer-signature",
    "`ts=<milliseconds>;s=<HMAC-SHA256 of the JSON, base64, percent-encoded>;s-algorithm=HmacSHA256`; absent without a key.",
);
const TEST: (&str, &str) = ("X-Postback-Test", "`true` when this is a test.");
const STANDARD: [(&str, &str); 3] = [
    ("webhook-id", "Standard Webhooks, where the secret is a `whsec_` or `whsk_` one: the same in every attempt."),
    ("webhook-timestamp", "When this attempt was made, in seconds."),
    (
        "webhook-signature",
        "`v1,` and the HMAC in base64, or `v1a,` and the Ed25519 signature where the secret is a `whsk_` one; two of them, with a space between, while a secret changes.",
    ),
];

/// With `batch` set, several events come in one request.
fn one_or_many(one: &Value) -> Value {
    json!({ "anyOf": [one, { "type": "array", "items": one, "minItems": 1 }] })
}

fn posted(summary: &str, needed: &[(&str, &str)], further: &[(&str, &str)], content: Value) -> Value {
    let attempt = ("webhook-attempt", "Which attempt this is, counted from 1.");
    let header = |(name, about): &(&str, &str)| json!({ "name": name, "in": "header", "description": about, "schema": { "type": "string" } });
    let parameters: Vec<Value> = needed.iter().chain(further).chain([&attempt]).map(header).collect();
    json!({
        "post": {
            "summary": summary,
            "description": "Any 2xx answer is taken for \"heard\"; anything else is tried again for three days.",
            "security": [],
            "parameters": parameters,
            "requestBody": { "required": true, "content": content },
            "responses": { "2XX": { "description": "Heard" } },
        },
    })
}

/// What happened, by the kind of event.
enum TransmailDetails {}

impl Shape for TransmailDetails {
    fn schema(schemas: &mut Schemas) -> Value {
        let kinds = [
            TransmailBounce::schema,
            TransmailClick::schema,
            TransmailOpen::schema,
            TransmailComplaint::schema,
            TransmailDelivery::schema,
            TransmailFailure::schema,
            TransmailNotice::schema,
            TransmailWarning::schema,
        ];
        json!({ "anyOf": kinds.map(|schema| schema(schemas)) })
    }
}

described! {
    /// What webhooks of the formats `transmail` and `transmail-json` are told. Lists that are not people's have one entry.
    struct TransmailEvent {
        /// One name: `softbounce`, `hardbounce`, `email_open`, `email_link_click`, `delivered`, `fbl_complaint`, `sent`, `mailfailure`, or one of ours.
        "event_name": Vec<String>,
        /// One message.
        "event_message": Vec<TransmailMessage>,
        /// Whose mail it is.
        "mailagent_key": String,
        /// The same in every attempt: who sees it twice has seen it.
        "webhook_request_id": String,
    }

    /// A message, and what happened to it.
    struct TransmailMessage {
        /// The mail.
        "email_info": TransmailMail,
        /// What happened.
        "event_data": Vec<TransmailData>,
        /// What the call that sent it answered.
        "request_id": String,
    }

    /// A mail. Whom the event is about stands first in `to`.
    struct TransmailMail {
        /// To whom besides.
        "cc": Vec<TransmailRecipient>,
        /// The submitter's own reference.
        "client_reference": String,
        /// To whom no header tells.
        "bcc": Vec<TransmailRecipient>,
        /// It came by SMTP.
        "is_smtp_trigger": bool,
        /// Its subject.
        "subject": String,
        /// Its bounce address.
        "bounce_address": String,
        /// Its `Message-ID`, without the angle brackets.
        "email_reference": String,
        /// Where answers go.
        "reply_to": Vec<TransmailPerson>,
        /// Who sends it.
        "from": TransmailPerson,
        /// To whom it goes.
        "to": Vec<TransmailRecipient>,
        /// Its tags, with commas between.
        "tag": String,
        /// When it was accepted.
        "processed_time": String,
        /// `email`, or `fbl_complaint`.
        "object": String,
    }

    /// Somebody.
    struct TransmailPerson {
        /// The address.
        "address": String,
        /// The name; empty when there is none.
        "name": String,
    }

    /// Somebody who gets a mail.
    struct TransmailRecipient {
        /// Who.
        "email_address": TransmailPerson,
    }

    /// What happened.
    struct TransmailData {
        /// One entry, by the kind of event.
        "details": Vec<TransmailDetails>,
        /// The event's name again.
        "object": String,
    }
}

described! {
    /// Of `hardbounce` and `softbounce`.
    struct TransmailBounce {
        /// Why.
        "reason": String,
        /// Whose mail came back.
        "bounced_recipient": String,
        /// When.
        "time": String,
        /// What the other side said.
        "diagnostic_message": String,
        /// `true` when this body was too long, and is cut.
        "truncated": Option<String>,
    }

    /// Of `delivered` and `sent`.
    struct TransmailDelivery {
        /// To whom.
        "recipient": String,
        /// When.
        "time": String,
        /// What the other side said.
        "diagnostic_message": Option<String>,
        /// `true` when this body was too long, and is cut.
        "truncated": Option<String>,
    }

    /// Of `mailfailure`, `deferred` and `delayed`.
    struct TransmailFailure {
        /// Why.
        "reason": String,
        /// To whom.
        "recipient": String,
        /// When.
        "time": String,
        /// What the other side said.
        "diagnostic_message": String,
        /// When it is tried next.
        "next_attempt_time": Option<String>,
        /// `true` when this body was too long, and is cut.
        "truncated": Option<String>,
    }

    /// Of `email_open`.
    struct TransmailOpen {
        /// The program that shows mail.
        "email_client": TransmailNamed,
        /// When.
        "modified_time": String,
        /// From where.
        "ip_location_info": TransmailPlace,
        /// The browser.
        "browser": TransmailNamed,
        /// The system.
        "operating_system": TransmailNamed,
        /// When.
        "time": String,
        /// The device.
        "device": TransmailDevice,
        /// What the program calls itself.
        "user_agent": String,
        /// Whether a person or a program was there (ours).
        "machine": TransmailMachine,
        /// `true` when this body was too long, and is cut.
        "truncated": Option<String>,
    }

    /// Of `email_link_click`.
    struct TransmailClick {
        /// Which link.
        "clicked_link": String,
        ..TransmailOpen,
    }

    /// Of `fbl_complaint`.
    struct TransmailComplaint {
        /// Who reports it.
        "fblFrom": String,
        /// The return path of the mail.
        "returnPath": String,
        /// From where the mail came.
        "ip": String,
        /// Who sent it.
        "from": String,
        /// Who complains.
        "to": Vec<String>,
        /// `true` when this body was too long, and is cut.
        "truncated": Option<String>,
    }

    /// Of events about webhooks themselves (ours).
    struct TransmailNotice {
        /// Which webhook.
        "webhook_id": String,
        /// Where it leads.
        "webhook_url": String,
        /// What people call it.
        "description": String,
        /// Since when it fails; empty when it does not.
        "failing_since": String,
        /// Failures in a row.
        "failures": String,
        /// What went wrong last.
        "reason": String,
        /// When.
        "time": String,
        /// `true` when this body was too long, and is cut.
        "truncated": Option<String>,
    }

    /// Of `daily_warning` (ours): the mail agent of `mailagent_key` has sent more today than it is to be warned of.
    struct TransmailWarning {
        /// Recipients a day after which there is a warning.
        "warning": String,
        /// Recipients so far.
        "sent": String,
        /// When.
        "time": String,
        /// `true` when this body was too long, and is cut.
        "truncated": Option<String>,
    }

    /// A program or system.
    struct TransmailNamed {
        /// Its name.
        "name": String,
        /// Its version.
        "version": String,
    }

    /// A device.
    struct TransmailDevice {
        /// Its name.
        "name": String,
    }

    /// A place, as far as it is known.
    struct TransmailPlace {
        /// Postal code.
        "zipcode": String,
        /// Country, in two letters.
        "country_code": String,
        /// City.
        "city": String,
        /// Degrees.
        "latitude": String,
        /// Country.
        "country_name": String,
        /// Address of the network.
        "ip_address": String,
        /// Time zone.
        "time_zone": String,
        /// Region.
        "region": String,
        /// Degrees.
        "longitude": String,
    }

    /// Whether a person or a program was there.
    struct TransmailMachine {
        /// `person`, `proxy`, `prefetch` or `scanner`.
        "verdict": String,
        /// Which program.
        "kind": String,
        /// How sure that is, of 100.
        "confidence": String,
        /// Why, with semicolons between.
        "reasons": String,
    }
}
