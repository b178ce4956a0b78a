//! What we write, we read; and what stands in it for people.

use super::*;
use crate::mail::report::{self, Kind};
use crate::mail::rules::Rules;
use crate::model::dsn::{Notify, Wish};
use crate::model::event::relay;
use crate::model::id::{AgentId, DeliveryId, EventId, TenantId};
use crate::model::message::Source;
use crate::model::reason::Class;

const MAIL: &[u8] = b"From: shop@acme.example\r\nTo: kim@there.example\r\nSubject: Hello\r\n\
    Message-ID: <1@acme.example>\r\n\r\nHello.\r\n";
const ALL: Notify = Notify { success: true, failure: true, delay: true };

struct Case {
    message: Message,
    event: Event,
}

fn case(address: &str, kind: EventKind, detail: Detail) -> Case {
    let id = MessageId::from_bytes([1; 16]);
    let wish = Wish { notify: Some(ALL), original: "rfc822;kim+news@there.example".into() };
    let dsn = DsnRequest {
        to: "shop@acme.example".parse().unwrap(),
        envelope_id: "order 7".into(),
        returned: Returned::Headers,
        unasked_failures: false,
        recipients: [(0, wish)].into(),
    };
    let facts = Facts {
        subject: "Grüße".into(),
        email_reference: "1@acme.example".into(),
        dsn: Some(Box::new(dsn)),
        ..Facts::default()
    };
    let (tenant, agent) = (TenantId::from_bytes([2; 16]), AgentId::from_bytes([3; 16]));
    let (at, size_bytes) = (Timestamp::from_millis(1_800_000_000_000), MAIL.len() as u64);
    let message = Message {
        id,
        tenant,
        agent,
        agent_key: "key".into(),
        source: Source::Smtp,
        accepted_at: at,
        facts,
        size_bytes,
    };
    let event = Event {
        id: EventId::from_bytes([4; 16]),
        delivery: DeliveryId { message: id, recipient: 0 },
        tenant,
        agent,
        kind,
        ordinal: 0,
        at,
        recipient: address.into(),
        detail,
        relay: relay::ALL,
        relay_at: at,
        is_test: false,
    };
    Case { message, event }
}

impl Case {
    fn written(&self, content: &[u8]) -> String {
        self.written_of(&[&self.event], content)
    }

    fn written_of(&self, events: &[&Event], content: &[u8]) -> String {
        let remote = "mx.there.example [192.0.2.1]:25";
        let entries: Vec<Entry<'_>> =
            events.iter().map(|event| Entry { event, remote, expires_at: Some(event.at) }).collect();
        let news = News { message: &self.message, entries: &entries, content: Some(content) };
        let letter = letter(&news, "mail.acme.example", MessageId::from_bytes([9; 16])).unwrap();
        assert_eq!((letter.event, letter.plan.events.len()), (Some(events[0].id), 0));
        assert_eq!(letter.plan.deliveries[0].address, self.message.facts.dsn.as_ref().unwrap().to);
        assert!(letter.plan.message.facts.is_report && letter.plan.message.facts.dsn.is_none());
        let text = String::from_utf8(letter.plan.content.to_vec()).unwrap();
        assert!(text.lines().all(|line| line.len() <= 998));
        text
    }
}

fn cause(reason: Reason, code: u16, diagnostic: &str) -> Cause {
    let status = diagnostic.split(' ').nth(1).map(str::to_owned);
    Cause { reason, class: Class::Soft, code: Some(code), status, diagnostic: diagnostic.into(), rule: "test".into() }
}

fn refused() -> Detail {
    Detail::Bounced {
        cause: cause(
            Reason::UserUnknown,
            550,
            "550 5.1.1 no such user here, whom nobody knows, nor ever has known, as far as anybody can say",
        ),
    }
}

#[test]
fn what_is_written_is_read() {
    let check = |address: &str, kind, detail, (read, action, status): (Kind, &str, &str)| {
        let report = report::read(case(address, kind, detail).written(MAIL).as_bytes(), &Rules::default());
        assert_eq!(report.kind, read);
        let [recipient] = report.recipients.as_slice() else { panic!("{report:?}") };
        assert_eq!((recipient.action.as_str(), recipient.cause.status.as_deref()), (action, Some(status)));
        assert_eq!(recipient.address, "kim+news@there.example");
        assert_eq!(report.original_message_id.as_deref(), Some("<1@acme.example>"));
        assert_eq!(report.original_envelope_id.as_deref(), Some("order 7"));
        assert_eq!(report.reporting_mta.as_deref(), Some("mail.acme.example"));
    };
    check("kim@there.example", EventKind::HardBounced, refused(), (Kind::Bounce, "failed", "5.1.1"));
    let cause = cause(Reason::MailboxFull, 452, "452 4.2.2 full");
    let late = Detail::Deferred { cause, next_at: None };
    check("kim@there.example", EventKind::Delayed, late, (Kind::Delayed, "delayed", "4.2.2"));
    let taken = Detail::Delivered { reply: "250 2.0.0 taken".into(), next_hop_tells: false, has_arrived: false };
    check("kim@there.example", EventKind::Delivered, taken, (Kind::Relayed, "relayed", "2.0.0"));
    check("größe@there.example", EventKind::SoftBounced, refused(), (Kind::Bounce, "failed", "5.1.1"));
}

#[test]
fn what_people_and_programs_see() {
    let text = case("kim@there.example", EventKind::HardBounced, refused()).written(MAIL);
    let (header, body) = text.split_once("\r\n\r\n").unwrap();
    assert!(header.contains("\r\nSubject: =?utf-8?B?"), "{header}");
    assert!(header.contains("\r\nAuto-Submitted: auto-replied\r\n"), "{header}");
    for expected in [
        "    <kim@there.example>\r\n\r\n    Mailbox does not exist.\r\n    550 5.1.1 no such user here,",
        "Original-Recipient: rfc822; kim+news@there.example\r\nFinal-Recipient: rfc822; kim@there.example\r\n",
        "Remote-MTA: dns; mx.there.example\r\nDiagnostic-Code: smtp; 550 5.1.1 no such user here,",
        "knows, nor\r\n ever has known, as far as anybody can say\r\nLast-Attempt-Date: ",
        "Content-Type: text/rfc822-headers\r\n",
    ] {
        assert!(body.contains(expected), "{expected}\n{body}");
    }
    assert!(!body.contains("Hello."), "only the header was asked for");
}

#[test]
fn of_several_recipients_at_one_time() {
    let mut case = case("kim@there.example", EventKind::Failed, refused());
    let dsn = case.message.facts.dsn.as_mut().unwrap();
    let wish = |notify| Wish { notify: Some(notify), original: String::new() };
    dsn.recipients.extend([(1, wish(ALL)), (2, wish(Notify { failure: false, ..ALL })), (3, wish(ALL))]);
    let other = |recipient, address: &str, kind| {
        let delivery = DeliveryId { recipient, ..case.event.delivery };
        Event { delivery, recipient: address.into(), kind, ..case.event.clone() }
    };
    let lee = other(1, "lee@there.example", EventKind::HardBounced);
    // He does not want to know; she is not told of a success in a report of failures.
    let (he, she) =
        (other(2, "he@there.example", EventKind::Failed), other(3, "she@there.example", EventKind::Delivered));
    let text = case.written_of(&[&case.event, &he, &lee, &she], MAIL);
    let report = report::read(text.as_bytes(), &Rules::default());
    let told: Vec<(&str, &str)> =
        report.recipients.iter().map(|told| (told.address.as_str(), told.action.as_str())).collect();
    assert_eq!(told, [("kim+news@there.example", "failed"), ("lee@there.example", "failed")]);
    assert!(text.contains("not delivered to these recipients,"), "{text}");
    assert!(text.contains("\r\n\r\nFinal-Recipient: rfc822; lee@there.example\r\n"), "{text}");
}

#[test]
fn how_much_comes_back() {
    let check = |mail: &[u8], kind: EventKind, detail: Detail, expected: &str, has_body: bool| {
        let mut case = case("kim@there.example", kind, detail);
        case.message.facts.dsn.as_mut().unwrap().returned = Returned::Full;
        let text = case.written(mail);
        assert!(text.contains(expected), "{expected}\n{text}");
        assert_eq!(text.contains("Hello."), has_body);
    };
    let taken = Detail::Delivered { reply: "250 taken".into(), next_hop_tells: false, has_arrived: false };
    check(MAIL, EventKind::HardBounced, refused(), "message/rfc822\r\nContent-Transfer-Encoding: 7bit", true);
    check(MAIL, EventKind::Delivered, taken, "text/rfc822-headers", false);
    let eight_bit = [MAIL, "größe\r\n".as_bytes()].concat();
    check(&eight_bit, EventKind::HardBounced, refused(), "message/rfc822\r\nContent-Transfer-Encoding: 8bit", true);
    let utf8 = ["Subject: größe\r\n".as_bytes(), MAIL].concat();
    check(&utf8, EventKind::HardBounced, refused(), "message/global\r\nContent-Transfer-Encoding: base64", false);
    let large = [MAIL, &b"Hello, world!\r\n".repeat(RETURNED_BYTES_MAX / 10)].concat();
    check(&large, EventKind::HardBounced, refused(), "text/rfc822-headers", false);
}

#[test]
fn nobody_is_told_of_what_was_not_asked_for() {
    let check = |notify: Option<Notify>, kind, expected| {
        let mut case = case("kim@there.example", kind, refused());
        case.message.facts.dsn.as_mut().unwrap().recipients.get_mut(&0).unwrap().notify = notify;
        assert_eq!(occasion(&case.message, &case.event), expected, "{notify:?} {kind:?}");
    };
    let never = Notify::default();
    check(Some(ALL), EventKind::Failed, Some(Occasion::Failed));
    check(Some(ALL), EventKind::Sent, None);
    check(Some(ALL), EventKind::Deferred, None);
    check(Some(ALL), EventKind::Opened, None);
    check(Some(never), EventKind::HardBounced, None);
    check(None, EventKind::HardBounced, None);
    let mut silent = case("kim@there.example", EventKind::HardBounced, refused());
    silent.message.facts.dsn = None;
    assert_eq!(occasion(&silent.message, &silent.event), None);
}

#[test]
fn nothing_hostile_gets_into_a_field() {
    let evil = "550 no\r\nBcc: victim@there.example \u{202e}\u{7f} =?utf-8?Q?x?=";
    let detail = Detail::Bounced { cause: cause(Reason::Policy, 550, evil) };
    let mut case = case("kim@there.example", EventKind::SoftBounced, detail);
    case.message.facts.subject = "x\r\nBcc: victim@there.example".into();
    let text = case.written(MAIL);
    assert!(!text.contains("\nBcc:"), "{text}");
    assert!(text.contains("\\x{202E}") && text.contains("\r\nStatus: 5.0.0\r\n"), "{text}");
    let long = "x".repeat(5000);
    let detail = Detail::Bounced { cause: cause(Reason::Policy, 550, &long) };
    self::case("kim@there.example", EventKind::SoftBounced, detail).written(MAIL);
}
