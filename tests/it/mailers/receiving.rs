//! Postfix and Exim as the next hop: mail of many shapes arrives there once, and leaves there as we rendered it.

use super::{Ways, exim};
use crate::exchanger::{Exchanger, Script};
use crate::support::agent::{Agent, printed};
use crate::support::port::{free, wait_for};
use crate::support::postfix::Postfix;
use crate::support::submitter::Submitter;

/// Bodies that transports have been known to spoil.
const BODIES: [&str; 6] = [
    "Hello\r\n",
    ".\r\n..\r\n.hidden\r\n. \r\n",
    "Grüße, 你好\r\n",
    "",
    "no end of line at the end, and trailing blanks  \t",
    "From the start of a line\r\n\r\n\r\n\ttabs\r\n",
];

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn postfix_takes_our_mail() {
    let there = Exchanger::start(Script::polite()).await;
    let postfix = Postfix::start(there.address.port(), "");
    check(postfix.address.port(), &there, " NOTIFY=FAILURE,DELAY").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn exim_takes_our_mail() {
    let there = Exchanger::start(Script::polite()).await;
    let (own, port) = (free(), there.address.port());
    let _exim = exim::Exim::start(own, Ways { home: port, shut: port, there: port });
    check(own, &there, "").await;
}

/// `told` is what the next hop is told of the submitter's wishes: Exim, as Debian sets it, offers to hear none.
async fn check(next_hop: u16, there: &Exchanger, told: &str) {
    wait_for(next_hop);
    let folder = tempfile::tempdir().unwrap();
    let port = format!("deliver.smarthost.port={next_hop}");
    let sets = [
        "deliver.smarthost.host=127.0.0.1",
        "deliver.smarthost.tls=none",
        "deliver.at_once=1",
        "hostname=mail.example.com",
        "tracking.base_url=https://track.example.com",
        &port,
    ];
    let words: Vec<&str> =
        ["--mode", "smarthost"].into_iter().chain(sets.into_iter().flat_map(|set| ["--set", set])).collect();
    let agent = Agent::start(folder.path(), &words);
    printed(folder.path(), &["domain", "add", "tests.example", "--without-keys"]);
    let mut session = Submitter::sign_in(agent.address("smtp"), &agent.credential("API key")).unwrap();
    for (number, body) in BODIES.into_iter().enumerate() {
        let to = format!("reader-{number}@there.tests.example");
        let message = submit(&mut session, &to, body);
        let arrived = there.next().await;
        assert_eq!(arrived.rcpt.split(' ').nth(1), Some(format!("TO:<{to}>").as_str()));
        let rendered = printed(folder.path(), &["why", &message, "--mail"]).replace("\r\n", "\n");
        let content = String::from_utf8(arrived.content).unwrap().replace("\r\n", "\n");
        let own = content.find("X-Postback-Ref: ").map(|at| &content[at..]);
        assert_eq!(own.map(str::trim_end), Some(rendered.trim_end()), "{body:?} was changed on its way");
        let story = printed(folder.path(), &["why", &message]);
        assert!(story.contains(&format!("> RCPT TO:<{to}>{told}\n")), "{story}");
    }
    drop(session);
    assert!(agent.stop().success());
    assert_eq!(there.mails().len(), BODIES.len(), "each once");
}

/// Submits a mail that wants to hear of failures and delays; its id.
fn submit(session: &mut Submitter, to: &str, body: &str) -> String {
    session.say("MAIL FROM:<app@tests.example> RET=HDRS ENVID=q1").unwrap();
    session.say(&format!("RCPT TO:<{to}> NOTIFY=FAILURE,DELAY")).unwrap();
    session.say("DATA").unwrap();
    let mail = format!(
        "From: app@tests.example\r\nTo: {to}\r\nSubject: Hello\r\nMIME-Version: 1.0\r\n\
         Content-Type: text/plain; charset=utf-8\r\nContent-Transfer-Encoding: 8bit\r\n\r\n{}",
        body.replace("\r\n.", "\r\n..").replacen('.', "..", usize::from(body.starts_with('.')))
    );
    let end = if mail.ends_with("\r\n") { "." } else { "\r\n." };
    let promise = session.say(&format!("{mail}{end}")).unwrap();
    promise.split(' ').find(|word| word.starts_with("msg_")).unwrap().trim().to_owned()
}
