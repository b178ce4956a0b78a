//! Reports that Postfix and Exim themselves write about refusals of every kind: each finds its delivery and is understood.
//!
//! Postback (the true program) captures a mail to five readers. Each copy is handed to the mail system under its sealed
//! return path; the mail system passes it on to an exchanger that refuses it, and reports to the return path.

pub mod exim;
mod receiving;
mod refuser;

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::Path;

use serde_json::Value;

use crate::scripted_receiver::Receiver;
use crate::support::agent::{Agent, post, printed};
use crate::support::port::{free, wait_for};
use crate::support::postfix::Postfix;
use crate::support::submitter::Submitter;

const HOME: &str = "bounces.tests.example";
/// Where nobody listens.
const SHUT: &str = "shut.tests.example";

/// Recipients, and what is known of their bounces. Exim tells of one that it gave up only that it gave it up.
const EXPECTED: [(&str, Expected); 5] = [
    ("expired@there.tests.example", Expected { postfix: "system_error soft", exim: "expired soft" }),
    ("full@there.tests.example", Expected { postfix: "mailbox_full soft", exim: "mailbox_full soft" }),
    ("large@there.tests.example", Expected { postfix: "message_too_large soft", exim: "message_too_large soft" }),
    ("refused@shut.tests.example", Expected { postfix: "network_error soft", exim: "expired soft" }),
    ("unknown@there.tests.example", Expected { postfix: "user_unknown hard", exim: "user_unknown hard" }),
];

/// Reason and class, by each of them.
struct Expected {
    postfix: &'static str,
    exim: &'static str,
}

/// Where a mail system sends what: ports of this machine.
#[derive(Clone, Copy)]
struct Ways {
    /// Mail to [`HOME`].
    home: u16,
    /// Mail to [`SHUT`].
    shut: u16,
    /// All other mail.
    there: u16,
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn reports_by_postfix() {
    check(
        |ways| {
            let Ways { home, shut, there } = ways;
            let more = format!(
                "maximal_queue_lifetime = 0\nbounce_queue_lifetime = 0\ntransport_maps = inline:{{ \
             {{ {HOME} = smtp:[127.0.0.1]:{home} }}, {{ {SHUT} = smtp:[127.0.0.1]:{shut} }} }}\n"
            );
            let postfix = Postfix::start(there, &more);
            (postfix.address.port(), Box::new(postfix))
        },
        |expected| expected.postfix,
    )
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn reports_by_exim() {
    check(
        |ways| {
            let own = free();
            (own, Box::new(exim::Exim::start(own, ways)))
        },
        |expected| expected.exim,
    )
    .await;
}

/// `start` makes a mail system; where it listens, and what stops it when it is dropped.
async fn check(start: impl FnOnce(Ways) -> (u16, Box<dyn Send>), by: impl Fn(&Expected) -> &'static str) {
    let folder = tempfile::tempdir().unwrap();
    let receiver = Receiver::start().await;
    let agent = Agent::start(folder.path(), &["--set", &format!("reports.return_path_domain={HOME}")]);
    let ways = Ways { home: agent.address("smtp").port(), shut: free(), there: refuser::start().port() };
    let (port, mail_system) = start(ways);
    wait_for(port);
    let (key, http) = (agent.credential("API key"), agent.address("http"));
    let webhook = format!(r#"{{"url":"{}","events":["bounced"]}}"#, receiver.url("/"));
    post(http, "/api/v1/webhooks", &key, &webhook).unwrap();
    for (recipient, _) in EXPECTED {
        let mail = format!(r#"{{"from":"app@tests.example","to":"{recipient}","subject":"Hello","text":"Hello"}}"#);
        let answer = post(http, "/api/v1/emails", &key, &mail).unwrap();
        let at = answer.find("msg_").unwrap();
        pass_on(folder.path(), port, &answer[at..at + 36], recipient);
    }
    for _ in EXPECTED {
        receiver.next().await;
    }
    let read: BTreeMap<String, String> = printed(folder.path(), &["bounces", "list", "--all", "--jsonl"])
        .lines()
        .map(|line| {
            let report: Value = serde_json::from_str(line).unwrap();
            let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
            let cause = &report["cause"];
            let verdict = format!("{} {} {}", text(&report["effect"]), text(&cause["reason"]), text(&cause["class"]));
            (text(&report["about"]), verdict)
        })
        .collect();
    let expected: BTreeMap<String, String> =
        EXPECTED.iter().map(|(to, expected)| ((*to).to_owned(), format!("bounced {}", by(expected)))).collect();
    assert_eq!(read, expected);
    drop(mail_system);
    assert!(agent.stop().success());
}

/// Hands the copy of a captured message to the mail system, as a smarthost would get it.
fn pass_on(folder: &Path, port: u16, message: &str, recipient: &str) {
    let copy = printed(folder, &["why", message, "--mail"]);
    let sealed = copy.lines().find_map(|line| line.strip_prefix("X-Postback-Ref: ")).unwrap().trim();
    let mut session = Submitter::stranger(SocketAddr::from(([127, 0, 0, 1], port))).unwrap();
    let mail = format!("{}\r\n", copy.trim_end_matches("\r\n"));
    session.hand_in(&format!("{sealed}@{HOME}"), recipient, mail.as_bytes()).unwrap();
}
