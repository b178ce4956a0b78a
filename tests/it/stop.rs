//! Going down in order: what was begun is finished, what was answered is kept, and being told twice ends it.

use std::io::{BufRead, BufReader, Write};
use std::net::TcpStream;
use std::os::unix::fs::PermissionsExt;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use postback::clock::Clock;
use postback::ids::IdSource;
use postback::model::id::DeliveryId;
use postback::model::token::{Reference, Sealer};

use crate::support::agent::{Agent, get, printed};
use crate::support::engines::on_both_engines;

/// A client in the middle of a text, which keeps a stopping server waiting.
struct Talker(BufReader<TcpStream>);

impl Talker {
    fn in_data(agent: &Agent) -> Self {
        let mut talker = Self(BufReader::new(TcpStream::connect(agent.address("smtp")).unwrap()));
        talker.heard("220");
        let login = STANDARD.encode(format!("\0{}\0{}", agent.credential("tenant"), agent.credential("SMTP password")));
        for (line, code) in [
            ("EHLO [127.0.0.1]", "250"),
            (&format!("AUTH PLAIN {login}"), "235"),
            ("MAIL FROM:<me@example.com>", "250"),
            ("RCPT TO:<you@example.org>", "250"),
            ("DATA", "354"),
            ("Subject: slow", ""),
        ] {
            talker.say(line);
            if !code.is_empty() {
                talker.heard(code);
            }
        }
        talker
    }

    fn say(&mut self, line: &str) {
        write!(self.0.get_mut(), "{line}\r\n").unwrap();
    }

    /// The last line of a reply, which must have this code.
    fn heard(&mut self, code: &str) -> String {
        let mut line = String::new();
        while line.as_bytes().get(3) != Some(&b' ') {
            line.clear();
            assert!(self.0.read_line(&mut line).unwrap() > 0, "hung up before {code}");
        }
        assert!(line.starts_with(code), "{code} expected: {line}");
        line
    }
}

fn terminate(agent: &Agent) {
    agent.signal("TERM");
    while !get(agent.address("admin"), "/readyz").contains("stopping") {
        std::thread::yield_now();
    }
}

#[test]
fn a_text_on_its_way_is_taken_while_the_program_stops() {
    let folder = tempfile::tempdir().unwrap();
    let agent = Agent::start(folder.path(), &[]);
    let mut talker = Talker::in_data(&agent);
    terminate(&agent);
    talker.say(".");
    let promise = talker.heard("250");
    assert!(agent.wait().success());
    let message = promise.split(' ').find(|word| word.starts_with("msg_")).unwrap();
    let told = printed(folder.path(), &["why", message]);
    assert!(told.contains("subject   slow"), "{told}");
}

#[test]
fn a_hangup_takes_a_changed_certificate_into_use() {
    let folder = tempfile::tempdir().unwrap();
    let agent = Agent::start(folder.path(), &[]);
    let data = folder.path().join("data");
    assert_eq!(data.metadata().unwrap().permissions().mode() & 0o777, 0o700, "it holds keys");
    std::fs::write(data.join("tls/certificate.pem"), "junk").unwrap();
    agent.signal("HUP");
    while !agent.log().contains("the certificate before stays in use") {
        std::thread::yield_now();
    }
    assert!(get(agent.address("admin"), "/readyz").contains("true"));
}

#[test]
fn who_is_told_twice_to_stop_stops_at_once() {
    let folder = tempfile::tempdir().unwrap();
    let agent = Agent::start(folder.path(), &[]);
    let _talker = Talker::in_data(&agent);
    terminate(&agent);
    assert_eq!(agent.stop().code(), Some(1));
}

on_both_engines! {
    async fn a_hit_that_was_answered_is_recorded_before_the_end(engine: &Engine) {
        let folder = engine.folder();
        let agent = Agent::start(folder, &["--database", engine.url()]);
        let message = printed(folder, &["send", "--to", "reader@example.com", "--database", engine.url()]);
        let store = engine.store("onlooker", &Clock::system()).await;
        let ring = store.key_ring(IdSource::system().bytes()).await.unwrap();
        store.close().await;
        let host = agent.address("http").to_string();
        let delivery = DeliveryId { message: message.trim_end().parse().unwrap(), recipient: 0 };
        let token = Sealer::new(&ring, ring.newest().unwrap(), &host).unwrap().seal(delivery, &Reference::Open);
        assert!(get(agent.address("http"), &format!("/o/{token}")).starts_with("HTTP/1.1 200"));
        assert!(agent.stop().success());
        let told = printed(folder, &["why", message.trim_end(), "--database", engine.url()]);
        assert!(told.contains("pixel loaded by a "), "{told}");
    }
}
