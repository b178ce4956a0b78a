//! What a submitter is told by mail (RFC 3461), from acceptance to the report's arrival: of failures, delays and
//! successes, once each, by the null sender, and only where that was asked for.

use std::time::Duration;

use postback::mail::report::{self, Kind, Report};
use postback::mail::rules::Rules;
use postback::model::delivery::State;
use postback::model::dsn::{DsnRequest, Notify, Returned, Wish};
use postback::model::event::EventKind;
use postback::model::id::{DeliveryId, MessageId};
use postback::model::message::Tracking;

use crate::delivery::{AWHILE, House};
use crate::exchanger::{Arrived, Exchanger, Script, say};
use crate::support::agent::{self, Agent};
use crate::support::engines::on_both_engines;
use crate::support::node::CONTENT;
use crate::support::submitter::Submitter;

/// What takes longer does not come.
const PATIENCE: Duration = Duration::from_secs(20);
const NO_SUCH_USER: &str = "550 5.1.1 no such user";

fn read(arrived: &Arrived) -> Report {
    report::read(&arrived.content, &Rules::default())
}

/// Hands in a mail whose submitter wants this.
async fn accept(house: &House, notify: Notify) -> MessageId {
    let mut plan = house.plan(&["reader@example.com"], CONTENT, Tracking::default());
    let wish = Wish { notify: Some(notify), original: String::new() };
    let dsn = DsnRequest {
        to: "shop@acme.example".parse().unwrap(),
        envelope_id: "order-7".into(),
        returned: Returned::Full,
        unasked_failures: false,
        recipients: [(0, wish)].into(),
    };
    plan.message.facts.dsn = Some(Box::new(dsn));
    let id = plan.message.id;
    house.store.accept(plan).await.unwrap();
    id
}

/// The report that arrives.
async fn told(house: &House) -> Report {
    let arrived = house.exchanger.next().await;
    assert_eq!(
        (arrived.mail.split(' ').nth(1), arrived.rcpt.as_str()),
        (Some("FROM:<>"), "RCPT TO:<shop@acme.example>")
    );
    let report = read(&arrived);
    assert_eq!(report.original_envelope_id.as_deref(), Some("order-7"));
    report
}

const FAILURE: Notify = Notify { success: false, failure: true, delay: false };

on_both_engines! {
    async fn a_failure_is_told_and_the_report_of_it_is_not_reported_on(engine: &Engine) {
        let refusals = Script::polite().on("RCPT", say(NO_SUCH_USER));
        let house = House::build(engine, 64, refusals).await;
        let worker = house.start().await;
        let message = accept(&house, FAILURE).await;
        let report = told(&house).await;
        assert_eq!((report.kind, report.recipients[0].address.as_str()), (Kind::Bounce, "reader@example.com"));
        assert_eq!(house.kinds(message).await, [EventKind::HardBounced]);
        // The next report is refused. That is the end of it.
        house.exchanger.now_on(Script::polite().on("RCPT", say(NO_SUCH_USER)).on("RCPT", say(NO_SUCH_USER)));
        accept(&house, FAILURE).await;
        let all = loop {
            let all = house.store.messages(house.tenant, None, 10).await.unwrap();
            if all.len() == 4 {
                break all;
            }
            tokio::task::yield_now().await;
        };
        for message in all {
            house.until(message.id, |view| view.delivery.state != State::Queued).await;
        }
        worker.drain(AWHILE).await;
        assert_eq!(house.store.messages(house.tenant, None, 10).await.unwrap().len(), 4, "nothing came of the refused report");
        assert_eq!(house.exchanger.mails().len(), 1);
    }

    async fn a_delay_is_told_once_and_a_success_when_it_comes(engine: &Engine) {
        let house = House::build(engine, 64, Script::polite()).await;
        let later = || Script::polite().on("RCPT", say("451 4.3.0 later"));
        let worker = house.start().await;
        house.exchanger.now_on(later());
        let message = accept(&house, Notify { success: true, failure: true, delay: true }).await;
        let id = DeliveryId { message, recipient: 0 };
        let mut attempts = 1;
        let is_told = async |house: &House| house.store.messages(house.tenant, None, 10).await.unwrap().len() > 1;
        house.until_waiting(message).await;
        while !is_told(&house).await {
            house.exchanger.now_on(later());
            house.clock.advance(Duration::from_secs(3600 + 900));
            attempts += 1;
            house.until(message, |view| view.delivery.attempts >= attempts && !view.is_leased).await;
        }
        let report = told(&house).await;
        assert_eq!((report.kind, report.recipients[0].cause.status.as_deref()), (Kind::Delayed, Some("4.3.0")));
        // A lease that ends while it is sent has it sent again.
        for sent in house.store.messages(house.tenant, None, 10).await.unwrap() {
            house.until(sent.id, |view| sent.id == message || view.delivery.state != State::Queued).await;
        }
        house.exchanger.now_on(later());
        house.clock.advance(Duration::from_secs(5 * 3600));
        house.until(message, |view| view.delivery.attempts > attempts && !view.is_leased).await;
        house.exchanger.now_on(Script::polite());
        house.clock.advance(Duration::from_secs(5 * 3600));
        assert_eq!(house.exchanger.next().await.rcpt, "RCPT TO:<reader@example.com>");
        assert_eq!(told(&house).await.kind, Kind::Relayed);
        worker.drain(AWHILE).await;
        let kinds: Vec<EventKind> = house.store.events(id).await.unwrap().iter().map(|event| event.kind).collect();
        assert_eq!(kinds.iter().filter(|kind| **kind == EventKind::Delayed).count(), 1);
        assert_eq!(house.store.messages(house.tenant, None, 10).await.unwrap().len(), 3, "the mail and two reports");
    }
}

/// The true program, which sends by this exchanger.
fn agent(folder: &std::path::Path, exchanger: &Exchanger, more: &[&str]) -> (Agent, String) {
    let port = format!("deliver.smarthost.port={}", exchanger.address.port());
    let own = [
        "--set",
        "deliver.mode=smarthost",
        "--set",
        "deliver.smarthost.host=127.0.0.1",
        "--set",
        &port,
        "--set",
        "deliver.smarthost.tls=none",
        "--set",
        "hostname=mail.tests.example",
        "--set",
        "tracking.base_url=http://127.0.0.1:1",
        "--set",
        "reports.return_path_domain=bounces.tests.example",
    ];
    let agent = Agent::start(folder, &[&own, more].concat());
    agent::printed(folder, &["domain", "add", "tests.example"]);
    let key = agent::printed(folder, &["key", "add"]).trim().to_owned();
    (agent, key)
}

const MAIL: &[u8] = b"From: app@tests.example\r\nTo: kim@there.example\r\nSubject: Hello\r\n\r\nHello\r\n";

fn hand_in(agent: &Agent, key: &str, mail: &str, rcpt: &str) {
    hand_in_to(agent, key, mail, &[rcpt]);
}

fn hand_in_to(agent: &Agent, key: &str, mail: &str, rcpts: &[&str]) {
    hand_in_text(agent, key, mail, rcpts, MAIL);
}

fn hand_in_text(agent: &Agent, key: &str, mail: &str, rcpts: &[&str], text: &[u8]) {
    let mut client = Submitter::sign_in(agent.address("smtp"), key).unwrap();
    for command in [&[mail], rcpts, &["DATA"]].concat() {
        client.say(command).unwrap();
    }
    client.finish(text).unwrap();
}

/// The next mail that the exchanger gets.
async fn next(exchanger: &Exchanger, agent: &Agent) -> Arrived {
    let arrived = tokio::time::timeout(PATIENCE, exchanger.next()).await;
    arrived.unwrap_or_else(|_| panic!("nothing more came; {}", agent.log()))
}

/// A report about a mail that kim's server took.
fn comes_home(agent: &Agent, sent: &Arrived, action: &str, diagnostic: &str) {
    let sealed = sent.mail.strip_prefix("MAIL FROM:<").unwrap().split('>').next().unwrap();
    let status = diagnostic.split(' ').nth(2).unwrap();
    let report = format!(
        "From: MAILER-DAEMON@there.example\r\nSubject: What became of your mail\r\n\
        Content-Type: multipart/report; report-type=delivery-status; boundary=b\r\n\r\n--b\r\n\r\nDear sender.\r\n\
        --b\r\nContent-Type: message/delivery-status\r\n\r\nReporting-MTA: dns; there.example\r\n\r\n\
        Final-Recipient: rfc822; kim@there.example\r\nAction: {action}\r\nStatus: {status}\r\n\
        Diagnostic-Code: {diagnostic}\r\n\r\n--b--\r\n"
    );
    let mut stranger = Submitter::stranger(agent.address("smtp")).unwrap();
    stranger.hand_in("", sealed, report.as_bytes()).unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_the_next_hop_tells_is_passed_on() {
    let exchanger = Exchanger::start(Script::offering(&["PIPELINING", "8BITMIME", "DSN"])).await;
    let folder = tempfile::tempdir().unwrap();
    let (agent, key) = agent(folder.path(), &exchanger, &[]);
    let mail = "MAIL FROM:<app@tests.example> ENVID=order+2B7";
    hand_in(&agent, &key, mail, "RCPT TO:<kim@there.example> NOTIFY=SUCCESS,DELAY");
    let sent = next(&exchanger, &agent).await;
    assert_eq!(sent.rcpt, "RCPT TO:<kim@there.example> NOTIFY=SUCCESS,FAILURE,DELAY");
    // That it was taken is not told: the next hop tells more, once it is settled here that it has the mail.
    let fields = [("Authorization", format!("Bearer {key}"))];
    let settled = || agent::ask(agent.address("http"), "GET /api/v1/emails", &fields, "").unwrap();
    while !settled().contains(r#""status":"delivered""#) {
        tokio::task::yield_now().await;
    }
    comes_home(&agent, &sent, "delayed", "smtp; 451 4.4.1 no answer");
    let delayed = next(&exchanger, &agent).await;
    assert_eq!(read(&delayed).kind, Kind::Delayed);
    assert!(!String::from_utf8_lossy(&delayed.content).contains("Will-Retry-Until"), "that is not ours to say");
    comes_home(&agent, &sent, "delivered", "smtp; 250 2.0.0 done");
    let done = read(&next(&exchanger, &agent).await);
    assert_eq!((done.kind, done.original_envelope_id.as_deref()), (Kind::Success, Some("order+7")));
    assert_eq!(done.recipients[0].action.as_str(), "delivered");
    // Once each; and nobody is told who did not ask.
    for (action, diagnostic) in [("delayed", "smtp; 451 4.4.1 no answer"), ("delivered", "smtp; 250 2.0.0 done")] {
        comes_home(&agent, &sent, action, diagnostic);
    }
    hand_in(&agent, &key, mail, "RCPT TO:<kim@there.example>");
    let unasked = next(&exchanger, &agent).await;
    comes_home(&agent, &unasked, "delivered", "smtp; 250 2.0.0 done");
    hand_in(&agent, &key, mail, "RCPT TO:<lee@there.example>");
    assert_eq!(next(&exchanger, &agent).await.rcpt, "RCPT TO:<lee@there.example>");
    assert_eq!(exchanger.mails().len(), 5);
    assert!(agent.stop().success());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn by_smtp_from_the_wish_to_the_report() {
    let exchanger = Exchanger::start(Script::polite().on("RCPT", say(NO_SUCH_USER))).await;
    let folder = tempfile::tempdir().unwrap();
    let (agent, key) = agent(folder.path(), &exchanger, &[]);
    let mail = "MAIL FROM:<app@tests.example> RET=FULL ENVID=order+2B7";
    let rcpt = "RCPT TO:<nobody@there.example> NOTIFY=FAILURE ORCPT=rfc822;nobody+2Bnews@there.example";
    hand_in(&agent, &key, mail, rcpt);
    let failed = next(&exchanger, &agent).await;
    assert!(failed.mail.starts_with("MAIL FROM:<>"), "{failed:?}");
    let report = read(&failed);
    assert_eq!((report.kind, report.recipients[0].address.as_str()), (Kind::Bounce, "nobody+news@there.example"));
    assert_eq!(report.original_envelope_id.as_deref(), Some("order+7"));
    assert!(String::from_utf8_lossy(&failed.content).contains("Content-Type: message/rfc822\r\n"));

    // Nobody is told who did not ask; and one whose delivery turns out to have failed later is.
    hand_in(&agent, &key, "MAIL FROM:<app@tests.example>", "RCPT TO:<kim@there.example>");
    assert!(next(&exchanger, &agent).await.mail.starts_with("MAIL FROM:<b+"));
    hand_in(&agent, &key, "MAIL FROM:<app@tests.example>", "RCPT TO:<kim@there.example> NOTIFY=FAILURE");
    let sent = next(&exchanger, &agent).await;
    comes_home(&agent, &sent, "failed", "smtp; 552 5.2.2 mailbox full");
    let late = read(&next(&exchanger, &agent).await);
    assert_eq!((late.kind, late.recipients[0].cause.status.as_deref()), (Kind::Bounce, Some("5.2.2")));

    // An address that is left alone is told of at once.
    agent::printed(folder.path(), &["suppression", "add", "kim@there.example"]);
    hand_in(&agent, &key, "MAIL FROM:<app@tests.example>", "RCPT TO:<kim@there.example> NOTIFY=FAILURE");
    let left_alone = next(&exchanger, &agent).await;
    assert_eq!(read(&left_alone).kind, Kind::Bounce);
    assert!(String::from_utf8_lossy(&left_alone.content).contains("Diagnostic-Code: x-postback; "));
    assert_eq!(exchanger.mails().len(), 5);

    // Of several, one mail tells.
    agent::printed(folder.path(), &["suppression", "add", "lee@there.example"]);
    let rcpts = ["kim", "lee"].map(|who| format!("RCPT TO:<{who}@there.example> NOTIFY=FAILURE"));
    hand_in_to(&agent, &key, "MAIL FROM:<app@tests.example>", &[&rcpts[0], &rcpts[1]]);
    let both = read(&next(&exchanger, &agent).await);
    let addresses: Vec<&str> = both.recipients.iter().map(|recipient| recipient.address.as_str()).collect();
    assert_eq!(addresses, ["kim@there.example", "lee@there.example"]);
    assert_eq!(exchanger.mails().len(), 6);

    // Never, by setting.
    agent::printed(folder.path(), &["agent", "set", "dsn=never"]);
    assert!(agent.stop().success());
}

/// R12. Such mail may ask to be told or not: who would read it may answer.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_answers_by_itself_and_lists_are_told_of_nothing() {
    let exchanger = Exchanger::start(Script::polite()).await;
    let folder = tempfile::tempdir().unwrap();
    let (agent, key) = agent(folder.path(), &exchanger, &[]);
    agent::printed(folder.path(), &["agent", "set", "dsn=failures"]);
    for who in ["kim@there.example", "lee@there.example"] {
        agent::printed(folder.path(), &["suppression", "add", who]);
    }
    for field in ["Auto-Submitted: auto-replied", "List-Id: <news.tests.example>", "Precedence: bulk"] {
        let text = [field.as_bytes(), b"\r\n", MAIL].concat();
        for rcpt in ["RCPT TO:<lee@there.example>", "RCPT TO:<lee@there.example> NOTIFY=FAILURE"] {
            hand_in_text(&agent, &key, "MAIL FROM:<app@tests.example>", &[rcpt], &text);
        }
    }
    hand_in(&agent, &key, "MAIL FROM:<app@tests.example>", "RCPT TO:<kim@there.example>");
    assert_eq!(read(&next(&exchanger, &agent).await).recipients[0].address, "kim@there.example");
    assert!(agent.stop().success());
    assert_eq!(exchanger.mails().len(), 1);
}
