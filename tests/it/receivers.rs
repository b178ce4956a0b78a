//! What users already run takes what we send: receivers in JavaScript, Python, Java and Rust, which verify as the published
//! samples do or with the official libraries, are told of every kind of event by the true program, over sockets.
//! `tests/sdk/install` brings the libraries. The published samples themselves take part, word for word.
//!
//! About half of all base64 MACs have a `+`, which receivers lose when it is not escaped; dozens of events for each leave
//! such a mistake no chance.

use std::collections::HashSet;
use std::net::SocketAddr;
use std::path::Path;

use mail_parser::MessageParser;
use postback::clock::Clock;
use postback::mail::render::{REFERENCE_HEADER, Rendered, Signature, render};
use postback::model::event::EventKind;
use postback::model::id::{DeliveryId, MessageId};
use postback::model::reason::Reason;
use postback::model::suppression::{Action, Scope, Suppression};
use postback::model::webhook::Format;
use postback::model::webhook_key::WebhookKey;
use postback::store::Store;
use postback::store::db::{ANSWER_WITHIN, Options, Sync};
use postback::webhooks::formats::event_name;
use serde_json::{Value, json};

use crate::support::agent::{Agent, ask, post};
use crate::support::engines::MASTER_KEY;
use crate::support::receiver::Receiver;
use crate::support::submitter::Submitter;

const BOUNCES: &str = "bounces.example.org";
/// For Standard Webhooks too.
const SECRET: &str = "whsec_1Yw0u3mDq5uTpGk8vJb2o+Z/4cQX7hRzNfLsEa9iMtU=";
/// One that somebody typed.
const TYPED: &str = "clé & schlüssel += 50%; \u{1f511}";

/// The key of RFC 8032 §7.1, test 2.
const KEY: &str = "whsk_TM0Imyj/ltqdtsNG7BFOD1uKMZ81q6Yk2oz27U+4pvs=";

/// The programs, each with the format that it is for and its secret.
const RECEIVERS: [(&str, Format, &str); 12] = [
    ("node mailtura.mjs {sdk}/node", Format::Mailtura, SECRET),
    ("node mailtura.mjs {sdk}/node", Format::Mailtura, TYPED),
    ("python3 -B mailtura.py {sdk}/python/flask", Format::Mailtura, SECRET),
    ("node standard.mjs {sdk}/node standardwebhooks", Format::Mailtura, SECRET),
    ("node standard.mjs {sdk}/node svix", Format::TransmailJson, SECRET),
    ("python3 -B standard.py {sdk}/python/standard", Format::TransmailJson, SECRET),
    ("{sdk}/rust/debug/standard-webhooks-receiver", Format::Mailtura, SECRET),
    ("node public_key.mjs", Format::Mailtura, KEY),
    ("node public_key.mjs", Format::TransmailJson, KEY),
    ("node transmail-json.mjs", Format::TransmailJson, SECRET),
    ("java -XX:+UseSerialGC -XX:TieredStopAtLevel=1 transmail/Receiver.java", Format::Transmail, TYPED),
    ("java -XX:+UseSerialGC -XX:TieredStopAtLevel=1 transmail/Receiver.java", Format::Transmail, SECRET),
];

/// The published samples, unchanged.
const SAMPLES: [(&str, Format, &str); 4] = [
    ("node published/beside.mjs express {sdk}", Format::Mailtura, SECRET),
    ("node published/beside.mjs flask {sdk}", Format::Mailtura, TYPED),
    ("node published/beside.mjs servlet {sdk}", Format::Transmail, SECRET),
    ("node published/beside.mjs servlet {sdk}", Format::Transmail, TYPED),
];

/// Names, numbers and texts that survive being parsed and printed again only when they are printed as JavaScript does.
const METADATA: &str = r#"{"z":1.0,"10":"ten","2":"two","01":"not an index","4294967295":0,"-1":-0.0,"a":1e21,
    "b":1e16,"c":1E-7,"d":0.00001,"e":12345678901234567890,"f":-9007199254740993,"g":4.35,"h":5e-324,"i":1.7976931348623157e308,
    "nested":{"9":[{"1":null,"0":[true,[],{}]}],"x":{"3":{"2":{"1":"0"}}}},"__proto__":{"toJSON":"x"},"":"empty",
    "\u2028\ud83d\ude00":"\u0000\u001f\u007f\u0085\u2028\u2029\ufeff\uffff<script>&amp;'\"\\/\b\f\n\r\t"}"#;

/// A subject, and the recipient that it goes to.
const MAILS: [(&str, &str); 6] = [
    ("Ünïcödé \u{1f468}\u{200d}\u{1f469}\u{200d}\u{1f467} \u{2028}\u{2029} e\u{301}\u{323}", "reader@example.com"),
    ("\u{202e}שלום עליכם\u{202c} \u{200f}مرحبا ﷽ \u{feff}", "o'reader+tag=a&b%20c@example.com"),
    ("50% + 50% = 100%; a&b=c+d %2B %zz ++", "Reader.Two@example.com"),
    (r#""event_name":["sent"]} \ </script> \u0041 \" / ${x} {{y}}"#, "reader-3@example.com"),
    ("event=%7B%7D&event=1;s=2", "reader_4@xn--bcher-kva.example"),
    ("  two  blanks  and a\u{a0}hard one\u{ad}\u{fffd}", "reader5@example.com"),
];

/// Addressed by SMTP, by ZeptoMail's call, with very long values, and not at all: the address is suppressed.
const BY_SMTP: &str = "by-smtp@example.com";
const BY_ZEPTOMAIL: &str = "by-zeptomail@example.com";
const LONG: &str = "long@example.com";
const SUPPRESSED: &str = "suppressed@example.com";

const LINK: &str = "https://example.com/ü/?q=a+b&amp;x=%26%3D%zz;y=\u{1f600}#frag";
const APPLE_MAIL: &str = "Mozilla/5.0 (Macintosh; Intel Mac OS X 10_15_7) AppleWebKit/605.1.15 (KHTML, like Gecko)";
/// A machine at first sight: its clicks are not held back to see whether more come.
const MACHINE: &str = "curl/8.0 (\"+&=%;\\ \u{fc}\u{1f600})";

/// The program with its receivers, and the store that it works on.
struct House {
    agent: Agent,
    key: String,
    store: Store,
    receivers: Vec<(Receiver, Format)>,
    webhooks: Vec<String>,
    _folder: tempfile::TempDir,
}

impl House {
    async fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let agent = Agent::start(folder.path(), &["--set", &format!("reports.return_path_domain={BOUNCES}")]);
        let key = agent.credential("API key");
        let (mut receivers, mut webhooks) = (Vec::new(), Vec::new());
        for &(words, format, secret) in RECEIVERS.iter().chain(&SAMPLES) {
            let public = WebhookKey::of(secret).map(|key| key.public());
            let receiver = Receiver::start(words, public.as_deref().unwrap_or(secret));
            let events: Vec<_> = about_mail().map(EventKind::as_str).collect();
            let webhook = json!({
                "url": receiver.url(), "format": format, "secret": secret, "events": events, "hits": "all",
            });
            let added = post(agent.address("http"), "/api/v1/webhooks", &key, &webhook.to_string()).unwrap();
            webhooks.push(json_of(&added)["id"].as_str().unwrap().to_owned());
            receivers.push((receiver, format));
        }
        let store = open(&folder.path().join("data")).await;
        Self { agent, key, store, receivers, webhooks, _folder: folder }
    }

    fn http(&self) -> SocketAddr {
        self.agent.address("http")
    }

    /// Sends by Mailtura's call; the message's id.
    fn send(&self, to: &str, subject: &str, metadata: &str) -> MessageId {
        let (to, subject, html) = (json!(to), json!(subject), json!(html()));
        let body = format!(
            r#"{{"from":"app@tests.example","to":{to},"subject":{subject},"html":{html},"tags":["a,b","ü"],"metadata":{metadata}}}"#
        );
        let answer = post(self.http(), "/api/v1/emails", &self.key, &body).unwrap();
        json_of(&answer)["id"].as_str().unwrap().parse().unwrap()
    }

    /// Sends by ZeptoMail's call.
    fn send_zeptomail(&self, to: &str) {
        let person = json!({ "address": to, "name": "R. \u{1f600} \"Q\" <x>" });
        let body = json!({
            "from": { "address": "app@tests.example", "name": "Äpp & Co" }, "to": [{ "email_address": person }],
            "reply_to": [person], "subject": "a+b", "htmlbody": html(), "client_reference": "ref=1&2+3%;\u{2028}",
        });
        let fields = [("Authorization", format!("Zoho-enczapikey {}", self.key))];
        let answer = ask(self.http(), "POST /v1.1/email", &fields, &body.to_string()).unwrap();
        assert!(answer.starts_with("HTTP/1.1 201 "), "{answer}");
    }

    fn send_smtp(&self, to: &str) {
        let head = "From: =?utf-8?q?=C3=84pp_=26_Co?= <app@tests.example>\r\nSubject: =?utf-8?b?4oCoKyY9JT8g8J+YgA==?=";
        let mail = format!("{head}\r\nTo: {to}\r\nContent-Type: text/html; charset=utf-8\r\n\r\n{}\r\n", html());
        let mut session = Submitter::sign_in(self.agent.address("smtp"), &self.key).unwrap();
        session.hand_in("app@tests.example", to, mail.as_bytes()).unwrap();
    }

    /// The copy that the first recipient would have got.
    async fn copy(&self, id: MessageId) -> Rendered {
        let message = self.store.message(id).await.unwrap().unwrap();
        let content = self.store.content(id).await.unwrap().unwrap();
        let ring = self.store.key_ring([0; 32]).await.unwrap();
        render(&content, &message, DeliveryId { message: id, recipient: 0 }, BOUNCES, &ring, Signature::None).unwrap()
    }

    /// Reads the copy as a mail program does: pictures are loaded, and a link is followed.
    fn read(&self, copy: &Rendered) {
        let mail = MessageParser::default().parse(&copy.bytes).unwrap();
        let html = mail.body_html(0).unwrap().into_owned();
        for (door, user_agent) in [("/o/", APPLE_MAIL), ("/c/", MACHINE)] {
            let base = format!("http://{}", self.http());
            let (_, rest) = html.split_once(&format!("{base}{door}")).unwrap_or_else(|| panic!("no {door} in {html}"));
            let token = rest.split('"').next().unwrap();
            let agent = [("User-Agent", user_agent.to_owned())];
            let answer = ask(self.http(), &format!("GET {door}{token}"), &agent, "").unwrap();
            assert!(answer.starts_with("HTTP/1.1 200 ") || answer.starts_with("HTTP/1.1 302 "), "{answer}");
        }
    }

    /// A report comes home to the copy's return path.
    fn report(&self, copy: &Rendered, report: &str) {
        let mut session = Submitter::stranger(self.agent.address("smtp")).unwrap();
        session.hand_in("", &copy.return_path, report.as_bytes()).unwrap();
    }

    /// Waits until every receiver has accepted all of these.
    fn hear(&self, expected: &[(EventKind, &str)]) {
        for (receiver, format) in &self.receivers {
            let name = |(kind, to): &(EventKind, &str)| (event_name(*format, *kind).to_owned(), (*to).to_owned());
            receiver.hears(&expected.iter().map(name).collect::<HashSet<_>>());
        }
    }
}

async fn open(data: &Path) -> Store {
    let options = Options {
        url: format!("sqlite:{}", data.join("postback.db").display()),
        content_dir: data.join("content"),
        holder: "beside".into(),
        handoff: 0,
        master: MASTER_KEY,
        sync: Sync::Full,
        answer_within: ANSWER_WITHIN,
    };
    Store::open(options, Clock::system()).await.unwrap()
}

/// The kinds that the samples were written for: notices about webhooks go to whom asks for them.
fn about_mail() -> impl Iterator<Item = EventKind> {
    EventKind::ALL.into_iter().filter(|kind| !kind.is_notice())
}

fn html() -> String {
    format!("<p>é \u{2028}<a href=\"{LINK}\">\u{1f600}</a></p>")
}

fn json_of(answer: &str) -> Value {
    serde_json::from_str(answer.split_once("\r\n\r\n").unwrap().1).unwrap()
}

/// A bounce (RFC 3464), with words of the other side that nobody should trust.
fn bounce(to: &str, status: &str, words: &str) -> String {
    format!(
        "From: MAILER-DAEMON@mx.example.net\r\nSubject: failed\r\nMIME-Version: 1.0\r\n\
         Content-Type: multipart/report; report-type=delivery-status; boundary=b\r\n\r\n--b\r\n\r\nIt failed.\r\n\
         --b\r\nContent-Type: message/delivery-status\r\n\r\nReporting-MTA: dns; mx.example.net\r\n\r\n\
         Final-Recipient: rfc822; {to}\r\nAction: failed\r\nStatus: {status}\r\n\
         Diagnostic-Code: smtp; {words}\r\n\r\n--b--\r\n"
    )
}

/// A complaint (RFC 5965).
fn complaint(to: &str, copy: &Rendered) -> String {
    let (reference, _) = copy.return_path.split_once('@').unwrap();
    format!(
        "From: feedback@isp.example.net\r\nSubject: complaint\r\nMIME-Version: 1.0\r\n\
         Content-Type: multipart/report; report-type=feedback-report; boundary=b\r\n\r\n--b\r\n\r\nSpam.\r\n\
         --b\r\nContent-Type: message/feedback-report\r\n\r\nFeedback-Type: abuse\r\nUser-Agent: \"+&=%\"/1.0\r\n\
         Version: 1\r\nOriginal-Rcpt-To: <{to}>\r\nSource-IP: 192.0.2.1\r\n\r\n\
         --b\r\nContent-Type: message/rfc822\r\n\r\n{REFERENCE_HEADER}: {reference}\r\nFrom: app@tests.example\r\n\
         Subject: a\r\n\r\na\r\n\r\n--b--\r\n"
    )
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_receiver_accepts_every_event() {
    let house = House::new().await;
    let tenant = house.store.tenant("default").await.unwrap().unwrap().id;
    let agent = house.store.agent(tenant, "default").await.unwrap().unwrap().id;
    let now = Clock::system().now();
    let (scope, action, reason) = (Scope::Agent(tenant, agent), Action::Suppress, Reason::UserUnknown);
    let (target, note) = (SUPPRESSED.parse().unwrap(), String::new());
    let created_by = String::new();
    let suppression =
        Suppression { scope, target, action, reason, note, created_at: now, created_by, expires_at: None };
    house.store.suppress(suppression).await.unwrap();

    let mut sent: Vec<_> = MAILS.iter().map(|(subject, to)| (*to, house.send(to, subject, METADATA))).collect();
    let subject = "\u{1f600}".repeat(990);
    let value = json!({ "long": "\u{1f600}&+\"".repeat(900), "7": "x" }).to_string();
    sent.push((LONG, house.send(LONG, &subject, &value)));
    house.send(SUPPRESSED, "a", "{}");
    house.send_zeptomail(BY_ZEPTOMAIL);
    house.send_smtp(BY_SMTP);
    let all = sent.iter().map(|(to, _)| *to).chain([BY_ZEPTOMAIL, BY_SMTP]);
    let mut expected: Vec<_> = all.flat_map(|to| [(EventKind::Sent, to), (EventKind::Delivered, to)]).collect();
    expected.push((EventKind::Failed, SUPPRESSED));
    house.hear(&expected);

    let mut copies = Vec::new();
    for (to, id) in &sent {
        let copy = house.copy(*id).await;
        house.read(&copy);
        copies.push((*to, copy));
    }
    let [(first, hard), (second, soft), (third, spam), ..] = copies.as_slice() else { unreachable!() };
    house.report(hard, &bounce(first, "5.1.1", "550 5.1.1 <\"+&=%>: no such user; \\\u{e9}\u{1f600}"));
    house.report(soft, &bounce(second, "4.2.2", "452 4.2.2 mailbox full, 100% of 1+1 GB"));
    house.report(spam, &complaint(third, spam));
    let hits = sent.iter().flat_map(|(to, _)| [(EventKind::Opened, *to), (EventKind::Clicked, *to)]);
    let ends = [EventKind::HardBounced, EventKind::SoftBounced, EventKind::Complained];
    house.hear(&hits.chain(ends.into_iter().zip([*first, *second, *third])).collect::<Vec<_>>());
}

#[tokio::test]
async fn every_receiver_accepts_a_test_of_every_kind() {
    let house = House::new().await;
    for (place, webhook) in house.webhooks.iter().enumerate() {
        // The samples take whatever they have no word for.
        let is_sample = place >= RECEIVERS.len();
        for kind in EventKind::ALL.into_iter().filter(|kind| is_sample || !kind.is_notice()) {
            let path = format!("/api/v1/webhooks/{webhook}/test");
            let body = json!({ "eventType": kind.as_str() }).to_string();
            let told = json_of(&post(house.http(), &path, &house.key, &body).unwrap());
            assert_eq!((&told["delivered"], &told["statusCode"]), (&json!(true), &json!(200)), "{kind:?}: {told}");
        }
    }
}
