//! Bodies of every kind of event, byte for byte, and what must hold for all of them.

use super::*;
use crate::model::address::Mailbox;
use crate::model::event::{Detail, relay};
use crate::model::hit::{Client, Named, Place, Verdict, Visitor, Who};
use crate::model::id::{AgentId, DeliveryId, EventId, MessageId, TenantId, WebhookId};
use crate::model::message::{Facts, Source};
use crate::model::reason::{Class, Reason};
use crate::model::secret::Secret;

const AT: Timestamp = Timestamp::from_millis(1_772_439_302_730);
const FIRST: Attempt = Attempt { at: Timestamp::from_millis(1_772_439_303_001), number: 1 };

fn webhook(format: Format, secret: &str) -> Webhook {
    let (id, tenant) = (WebhookId::from_bytes([7; 16]), TenantId::from_bytes([1; 16]));
    Webhook { format, secret: Secret::new(secret), ..Webhook::new(id, tenant, "https://hooks.example.com/", AT) }
}

fn person(address: &str, name: &str) -> Mailbox {
    Mailbox { address: address.to_owned(), name: name.to_owned() }
}

fn message() -> Message {
    Message {
        id: MessageId::from_bytes([2; 16]),
        tenant: TenantId::from_bytes([1; 16]),
        agent: AgentId::from_bytes([3; 16]),
        agent_key: "4f1a.92c0".to_owned(),
        source: Source::Http,
        accepted_at: Timestamp::from_millis(1_772_439_300_104),
        facts: Facts {
            from: person("billing@shop.example", "Shop"),
            to: vec![person("other@example.net", ""), person("Reader@example.net", "A Reader")],
            cc: vec![person("copy@example.net", "Copy")],
            reply_to: vec![person("help@shop.example", "Help")],
            subject: "Order № 12".to_owned(),
            email_reference: "r.1@shop.example".to_owned(),
            request_id: "4f1a.92c0.m1.1".to_owned(),
            client_reference: "order-12".to_owned(),
            bounce_address: "bounce@shop.example".to_owned(),
            ..Facts::default()
        },
        size_bytes: 1,
    }
}

fn event(kind: EventKind, detail: Detail) -> Event {
    Event {
        id: EventId::from_bytes([5; 16]),
        delivery: DeliveryId { message: MessageId::from_bytes([2; 16]), recipient: 0 },
        tenant: TenantId::from_bytes([1; 16]),
        agent: AgentId::from_bytes([3; 16]),
        kind,
        ordinal: 0,
        at: AT,
        recipient: "reader@example.net".to_owned(),
        detail,
        relay: relay::ALL,
        relay_at: AT,
        is_test: false,
    }
}

fn cause() -> Cause {
    Cause {
        reason: Reason::UserUnknown,
        class: Class::Hard,
        code: Some(550),
        status: Some("5.1.1".to_owned()),
        diagnostic: "550 5.1.1 who = 100% + \"?\"".to_owned(),
        rule: "r".to_owned(),
    }
}

fn visitor() -> Visitor {
    let named = |name: &str, version: &str| Named { name: name.to_owned(), version: version.to_owned() };
    Visitor {
        place: Place {
            country_code: "SE".to_owned(),
            city: "Lund".to_owned(),
            latitude: "55.70".to_owned(),
            country_name: "Sweden".to_owned(),
            ip_address: "192.0.2.9".to_owned(),
            time_zone: "Europe/Stockholm".to_owned(),
            longitude: "13.20".to_owned(),
            ..Place::default()
        },
        client: Client {
            email_client: named("Thunderbird", "128.0"),
            browser: named("Firefox", "128.0"),
            operating_system: named("Linux", ""),
            device: "Desktop".to_owned(),
        },
        user_agent: "UA/1".to_owned(),
        machine: Verdict {
            verdict: Who::Person,
            kind: String::new(),
            confidence: 80,
            reasons: vec!["a".into(), "b".into()],
        },
    }
}

fn every_event() -> Vec<Event> {
    let next_at = Timestamp::from_millis(1_772_439_362_000);
    vec![
        event(EventKind::Sent, Detail::Sent),
        event(
            EventKind::Delivered,
            Detail::Delivered { reply: "250 2.0.0 Ok".to_owned(), next_hop_tells: false, has_arrived: false },
        ),
        event(EventKind::Deferred, Detail::Deferred { cause: cause(), next_at: Some(next_at) }),
        event(EventKind::HardBounced, Detail::Bounced { cause: cause() }),
        event(EventKind::SoftBounced, Detail::Bounced { cause: cause() }),
        event(EventKind::Opened, Detail::Opened { visitor: visitor() }),
        event(
            EventKind::Clicked,
            Detail::Clicked { url: "https://shop.example/?a=1&b=%20x+y".to_owned(), visitor: visitor() },
        ),
        event(
            EventKind::Complained,
            Detail::Complained {
                feedback_type: "abuse".to_owned(),
                reported_by: "fbl@isp.example".to_owned(),
                return_path: String::new(),
                source_ip: "192.0.2.7".to_owned(),
            },
        ),
        event(EventKind::Failed, Detail::Failed { cause: cause() }),
    ]
}

fn body(format: Format, event: &Event) -> String {
    String::from_utf8(build(&webhook(format, ""), event, &message(), FIRST).body.to_vec()).unwrap()
}

#[test]
fn mailtura_tells_of_every_kind() {
    const WHO: &str = r#","userAgent":"UA/1","ipAddress":"192.0.2.9","machine":{"verdict":"person","kind":"","confidence":80,"reasons":["a","b"]}"#;
    const WHY: &str = r#""reason":"Mailbox does not exist","diagnosticCode":"550 5.1.1","diagnosticMessage":"550 5.1.1 who = 100% + \"?\"""#;
    let at = "2026-03-02T08:15:02.730Z";
    let expected = [
        ("email.sent", format!(r#""sentAt":"{at}""#)),
        ("email.delivered", format!(r#""deliveredAt":"{at}""#)),
        ("email.deferred", format!(r#"{WHY},"deferredAt":"{at}","nextAttemptAt":"2026-03-02T08:16:02.000Z""#)),
        ("email.bounced", format!(r#""bounceType":"hard",{WHY},"bouncedAt":"{at}""#)),
        ("email.bounced", format!(r#""bounceType":"soft",{WHY},"bouncedAt":"{at}""#)),
        ("email.opened", format!(r#""openedAt":"{at}"{WHO}"#)),
        ("email.clicked", format!(r#""url":"https://shop.example/?a=1&b=%20x+y","clickedAt":"{at}"{WHO}"#)),
        ("email.complained", format!(r#""complainedAt":"{at}","feedbackType":"abuse""#)),
        ("email.failed", format!(r#"{WHY},"failedAt":"{at}""#)),
    ];
    for (event, (name, specifics)) in every_event().iter().zip(expected) {
        let whole = format!(
            r#"{{"id":"evt_05050505050505050505050505050505","type":"{name}","timestamp":"2026-03-02T08:15:03.001Z","data":{{"emailId":"msg_02020202020202020202020202020202","recipient":"reader@example.net","subject":"Order № 12",{specifics}}}}}"#
        );
        assert_eq!(body(Format::Mailtura, event), whole);
    }
}

#[test]
fn transmail_tells_of_every_kind() {
    const HIT: &str = r#""email_client":{"name":"Thunderbird","version":"128.0"},"modified_time":"2026-03-02T08:15:02Z","ip_location_info":{"zipcode":"","country_code":"SE","city":"Lund","latitude":"55.70","country_name":"Sweden","ip_address":"192.0.2.9","time_zone":"Europe/Stockholm","region":"","longitude":"13.20"},"browser":{"name":"Firefox","version":"128.0"},"operating_system":{"name":"Linux","version":""},"time":"2026-03-02T08:15:02Z","device":{"name":"Desktop"},"user_agent":"UA/1","machine":{"verdict":"person","kind":"","confidence":"80","reasons":"a; b"}"#;
    const WORDS: &str = r#""diagnostic_message":"550 5.1.1 who = 100% + \"?\"""#;
    let recipient = r#""recipient":"reader@example.net","time":"2026-03-02T08:15:02Z""#;
    let reason = r#""reason":"Mailbox does not exist""#;
    let bounce = format!(r#"{reason},"bounced_{},{WORDS}"#, &recipient[1..]);
    let expected = [
        ("sent", recipient.to_owned()),
        ("delivered", format!(r#"{recipient},"diagnostic_message":"250 2.0.0 Ok""#)),
        ("deferred", format!(r#"{reason},{recipient},{WORDS},"next_attempt_time":"2026-03-02T08:16:02Z""#)),
        ("hardbounce", bounce.clone()),
        ("softbounce", bounce),
        ("email_open", HIT.to_owned()),
        ("email_link_click", format!(r#"{HIT},"clicked_link":"https://shop.example/?a=1&b=%20x+y""#)),
        (
            "fbl_complaint",
            r#""fblFrom":"fbl@isp.example","returnPath":"bounce@shop.example","ip":"192.0.2.7","from":"billing@shop.example","to":["reader@example.net"]"#.to_owned(),
        ),
        ("mailfailure", format!("{reason},{recipient},{WORDS}")),
    ];
    for (event, (name, details)) in every_event().iter().zip(expected) {
        let object = if name == "fbl_complaint" { name } else { "email" };
        let whole = format!(
            r#"{{"event_name":["{name}"],"event_message":[{{"email_info":{{"cc":[{{"email_address":{{"address":"copy@example.net","name":"Copy"}}}}],"client_reference":"order-12","bcc":[],"is_smtp_trigger":false,"subject":"Order № 12","bounce_address":"bounce@shop.example","email_reference":"r.1@shop.example","reply_to":[{{"address":"help@shop.example","name":"Help"}}],"from":{{"address":"billing@shop.example","name":"Shop"}},"to":[{{"email_address":{{"address":"Reader@example.net","name":"A Reader"}}}},{{"email_address":{{"address":"other@example.net","name":""}}}}],"tag":"","processed_time":"2026-03-02T08:15:00Z","object":"{object}"}},"event_data":[{{"details":[{{{details}}}],"object":"{name}"}}],"request_id":"4f1a.92c0.m1.1"}}],"mailagent_key":"4f1a.92c0","webhook_request_id":"4f1a.92c0.w1.05050505-0505-0505-0505-050505050505.70707070707"}}"#
        );
        assert_eq!(body(Format::TransmailJson, event), whole);
        let form = body(Format::Transmail, event);
        assert!(form.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"=%+-._*".contains(&byte)), "{form}");
        let fields: Vec<_> = form_urlencoded::parse(form.as_bytes()).into_owned().collect();
        assert_eq!(fields, [("event".to_owned(), whole)]);
    }
}

#[test]
fn words_without_codes_get_them() {
    let check = |code: Option<u16>, status: Option<&str>, words: &str, expected: &str| {
        let cause = Cause { code, status: status.map(str::to_owned), diagnostic: words.to_owned(), ..cause() };
        let event = event(EventKind::SoftBounced, Detail::Bounced { cause });
        let json: Value = serde_json::from_str(&body(Format::TransmailJson, &event)).unwrap();
        assert_eq!(json["event_message"][0]["event_data"][0]["details"][0]["diagnostic_message"], expected);
    };
    check(Some(550), Some("5.1.1"), "no such user", "550 5.1.1 no such user");
    check(Some(550), Some("5.1.1"), "5.1.1 no such user", "550 5.1.1 no such user");
    check(Some(550), Some("5.1.1"), "550 no such user", "550 no such user");
    check(None, Some("4.4.1"), "no answer", "no answer");
    check(None, Some("4.4.1"), "", "4.4.1");
    check(None, None, "", "");
}

#[test]
fn a_retry_differs_only_in_what_tells_of_the_attempt() {
    let later = Attempt { at: AT + std::time::Duration::from_secs(3600), number: 4 };
    let event = event(
        EventKind::Delivered,
        Detail::Delivered { reply: String::new(), next_hop_tells: false, has_arrived: false },
    );
    for format in [Format::Transmail, Format::TransmailJson] {
        let hook = webhook(format, "key");
        let (first, again) = (build(&hook, &event, &message(), FIRST), build(&hook, &event, &message(), later));
        assert_eq!(first.body, again.body);
        assert_ne!(first.headers, again.headers);
    }
    let restamped = build(&webhook(Format::Mailtura, ""), &event, &message(), later).body;
    let json: Value = serde_json::from_slice(&restamped).unwrap();
    assert_eq!(json["timestamp"], later.at.rfc3339_millis());
    assert_eq!(json["data"]["deliveredAt"], AT.rfc3339_millis());
    let keeping = Webhook { keeps_timestamp: true, ..webhook(Format::Mailtura, "") };
    let kept = build(&keeping, &event, &message(), later);
    assert_eq!(kept.body, build(&keeping, &event, &message(), FIRST).body);
}

fn header_names(hook: &Webhook, event: &Event) -> Vec<String> {
    let request = build(hook, event, &message(), FIRST);
    request.headers.into_iter().map(|(name, _)| name).collect()
}

#[test]
fn headers_of_each_format() {
    const SECRET: &str = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";
    const STANDARD: [&str; 3] = ["webhook-id", "webhook-timestamp", "webhook-signature"];
    let sent = event(EventKind::Sent, Detail::Sent);
    let names = |format, secret: &str| header_names(&webhook(format, secret), &sent);
    let expected = |own: &[&'static str]| [&["User-Agent"], own, &["webhook-attempt"]].concat();
    assert_eq!(names(Format::Mailtura, ""), expected(&[]));
    assert_eq!(names(Format::Mailtura, "mine"), expected(&["X-Mailtura-Signature"]));
    assert_eq!(names(Format::Mailtura, SECRET), expected(&[&["X-Mailtura-Signature"], &STANDARD[..]].concat()));
    assert_eq!(names(Format::TransmailJson, SECRET), expected(&[&["producer-signature"], &STANDARD[..]].concat()));
    assert_eq!(names(Format::Transmail, SECRET), expected(&["producer-signature"]));
    assert_eq!(names(Format::Transmail, ""), expected(&[]));

    let headers =
        [("Authorization", "x"), ("user-agent", "mine"), ("Host", "evil"), ("webhook-id", "evil"), ("X", "a\r\nb")];
    let custom = Webhook {
        headers: headers.map(|(name, value)| (name.to_owned(), value.to_owned())).to_vec(),
        ..webhook(Format::Transmail, "")
    };
    let test = Event { is_test: true, ..sent };
    assert_eq!(header_names(&custom, &test), ["webhook-attempt", "X-Postback-Test", "Authorization", "user-agent"]);
}

#[test]
fn a_test_says_so_last() {
    let mut message = message();
    message.facts.tags = vec!["t".to_owned()];
    message.facts.metadata = serde_json::from_str(r#"{"z":1.0,"10":"x","2":12345678901234567890}"#).unwrap();
    for event in every_event() {
        let request = build(&webhook(Format::Mailtura, ""), &Event { is_test: true, ..event }, &message, FIRST);
        let body = String::from_utf8(request.body.to_vec()).unwrap();
        let end = r#","tags":["t"],"metadata":{"2":12345678901234567000,"10":"x","z":1},"test":true}}"#;
        assert!(body.ends_with(end), "{body}");
    }
}

#[test]
fn bodies_end_at_their_bound() {
    let long = "\u{1}".repeat(2_000);
    let mut message = message();
    let facts = &mut message.facts;
    facts.subject = long.clone();
    facts.client_reference = long.clone();
    facts.from = person(&long, &long);
    facts.to = vec![person(&long, &long); 100];
    facts.cc = facts.to.clone();
    facts.bcc = facts.to.clone();
    facts.reply_to = facts.to.clone();
    facts.tags = vec![long.clone(); 100];
    facts.metadata = (0..100).map(|n| (n.to_string(), Value::from(long.as_str()))).collect();
    let mut visitor = visitor();
    visitor.user_agent = long.clone();
    visitor.machine.reasons = vec![long.clone(); 20];
    let event = event(EventKind::Clicked, Detail::Clicked { url: long, visitor });
    for format in [Format::Mailtura, Format::Transmail, Format::TransmailJson] {
        let request = build(&webhook(format, "key"), &event, &message, FIRST);
        assert!(request.body.len() <= BODY_BYTES_MAX, "{format:?} {}", request.body.len());
        assert!(request.body.windows(9).any(|part| part == b"truncated"));
    }
}

#[test]
fn metadata_is_cut_between_entries() {
    let mut message = message();
    let entries = [("order", "12".to_owned()), ("blob", "é".repeat(50_000)), ("shop", "7".to_owned())];
    message.facts.metadata = entries.map(|(key, value)| (key.to_owned(), value.into())).into_iter().collect();
    let event = event(EventKind::Sent, Detail::Sent);
    let body = build(&webhook(Format::Mailtura, ""), &event, &message, FIRST).body;
    let json: Value = serde_json::from_slice(&body).unwrap();
    assert_eq!(json["data"]["metadata"], serde_json::json!({"order": "12", "shop": "7"}));
    assert_eq!(json["data"]["truncated"], true);
    assert_eq!(json["data"]["subject"], "Order № 12");
}
