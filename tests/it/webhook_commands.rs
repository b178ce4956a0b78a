//! `postback webhook`, beside a running server, with `webhook listen` as the receiver: what one says, the other verifies.

use std::io::{BufRead, BufReader, Lines};
use std::path::Path;
use std::process::{Child, ChildStdout, Stdio};

use postback::model::event::EventKind;
use serde_json::Value;

use crate::support::agent::{Agent, command, printed, run};

const SECRET: &str = "whsec_1Yw0u3mDq5uTpGk8vJb2o+Z/4cQX7hRzNfLsEa9iMtU=";

/// `postback webhook listen`; it ends when it is dropped.
struct Listener {
    child: Child,
    lines: Lines<BufReader<ChildStdout>>,
    url: String,
}

impl Listener {
    fn start(folder: &Path, more: &[&str]) -> Self {
        let mut command = command(folder);
        command.args(["webhook", "listen", "--address", "127.0.0.1:0", "--secret", SECRET, "--json"]).args(more);
        let mut child = command.stdin(Stdio::null()).stdout(Stdio::piped()).spawn().unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let hello: Value = serde_json::from_str(&lines.next().unwrap().unwrap()).unwrap();
        let url = format!("http://{}/hook", hello["listening"].as_str().unwrap());
        Self { child, lines, url }
    }

    /// What it says of the next request.
    fn next(&mut self) -> Value {
        serde_json::from_str(&self.lines.next().unwrap().unwrap()).unwrap()
    }
}

impl Drop for Listener {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The first word of a text that begins so.
fn word<'t>(text: &'t str, begins: &str) -> &'t str {
    let mut words = text.split_whitespace();
    words.find(|word| word.starts_with(begins)).unwrap_or_else(|| panic!("no {begins} in {text}"))
}

#[test]
fn a_webhook_is_added_tried_watched_and_told_again() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    let _agent = Agent::start(folder, &[]);
    let mut listener = Listener::start(folder, &["--headers"]);
    let told = printed(folder, &["webhook", "add", &listener.url, "--events", "sent,delivered", "--secret", SECRET]);
    let id = word(&told, "wh_").to_owned();
    assert!(told.contains(&format!("secret {SECRET}")));

    // A sample of each kind, posted for true.
    let told = printed(folder, &["webhook", "test", &id, "--event", "all"]);
    for _ in EventKind::ALL {
        let heard = listener.next();
        assert_eq!((&heard["verified"], &heard["status"]), (&Value::Bool(true), &200.into()), "{heard}");
        assert_eq!(heard["payload"]["data"]["test"], true);
        assert!(heard["headers"].as_array().unwrap().contains(&serde_json::json!(["webhook-attempt", "1"])), "{heard}");
        assert!(told.contains(heard["events"][0]["id"].as_str().unwrap()), "{told}");
    }
    let shown = printed(folder, &["webhook", "test", &id, "--event", "clicked", "--preview"]);
    assert!(shown.contains("X-Mailtura-Signature: ") && shown.contains(r#""type":"email.clicked""#), "{shown}");
    // What was shown is sent, and once.
    let exactly = ["webhook", "test", &id, "--exactly", word(&shown, "prv_")];
    printed(folder, &exactly);
    let body = shown.lines().find(|line| line.trim_start().starts_with('{')).unwrap().trim();
    assert_eq!(listener.next()["payload"].to_string(), body);
    let again = run(folder, &exactly);
    assert!(!again.status.success() && String::from_utf8_lossy(&again.stderr).contains("sent already"), "{again:?}");

    // Real events, and the same again.
    printed(folder, &["send", "--to", "reader@example.com"]);
    let events: Vec<String> = (0..2).map(|_| listener.next()["events"][0]["id"].as_str().unwrap().to_owned()).collect();
    printed(folder, &["webhook", "replay", &id, &events[0]]);
    let again = listener.next();
    assert_eq!((again["events"][0]["id"].as_str(), &again["events"][0]["times"]), (Some(&*events[0]), &2.into()));
    let done = printed(folder, &["webhook", "replay", &id, "--since", "1h", "--fate", "arrived", "--wait"]);
    assert!(done.contains("done: looked at ") && done.contains(", queued 2"), "{done}");
    assert_eq!((listener.next()["verified"].clone(), listener.next()["verified"].clone()), (true.into(), true.into()));
    let log = printed(folder, &["webhook", "log", &id, &events[0]]);
    assert!(log.contains("attempt 3 at ") && log.contains("X-Mailtura-Signature: "), "{log}");
    assert_eq!(printed(folder, &["webhook", "log", &id, "--failed"]).lines().count(), 1, "but for the headings");

    // The receiver knows the old secret only: it is good until the new one is activated, and listed until revoked.
    let rotated = printed(folder, &["webhook", "rotate", &id]);
    assert_ne!(word(&rotated, "whsec_"), SECRET);
    printed(folder, &["webhook", "test", &id]);
    assert_eq!(listener.next()["verified"], true);
    printed(folder, &["webhook", "activate", &id]);
    let output = run(folder, &["webhook", "test", &id]);
    let heard = listener.next();
    assert!(!output.status.success() && String::from_utf8_lossy(&output.stdout).contains("answered 401"));
    assert_eq!(heard["signatures"]["webhook-signature"], true, "{heard}");
    assert_ne!(heard["signatures"]["X-Mailtura-Signature"], true, "{heard}");
    printed(folder, &["webhook", "revoke", &id]);
    assert!(!run(folder, &["webhook", "test", &id]).status.success());
    assert_ne!(listener.next()["signatures"]["webhook-signature"], true);

    printed(folder, &["webhook", "set", &id, "--at-once", "2", "--batch", "true", "--header", "X-Token: hush"]);
    printed(folder, &["webhook", "disable", &id]);
    let shown = printed(folder, &["webhook", "show", &id]);
    for line in ["state         off", "at once       2", "batch         yes", "headers       X-Token: ***"] {
        assert!(shown.contains(line), "{line} in {shown}");
    }
    assert!(!run(folder, &["webhook", "set", &id, "--header", "Host: x"]).status.success());
    printed(folder, &["webhook", "remove", &id]);
    assert!(!run(folder, &["webhook", "show", &id]).status.success());
}

#[test]
fn a_draft_is_tried_in_every_format() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    // No server runs: the command line posts by itself.
    assert!(Agent::start(folder, &[]).stop().success());
    for format in ["mailtura", "transmail", "transmail-json"] {
        let mut listener = Listener::start(folder, &["--format", format, "--count", "2"]);
        let draft = ["--url", &listener.url, "--format", format, "--secret", SECRET, "--event", "bounced"];
        let told = printed(folder, &[["webhook", "test"].as_slice(), &draft].concat());
        assert!(told.contains("200"), "{told}");
        for _ in ["hard", "soft"] {
            assert_eq!(listener.next()["verified"], true, "{format}");
        }
        assert!(listener.child.wait().unwrap().success());
    }
    assert_eq!(printed(folder, &["webhook", "list"]).lines().count(), 1, "none was added");
    // The mail agent's authentication key signs where it can, for what is tried and what is added.
    printed(folder, &["agent", "set", "--agent", "default", "authentication_key=open sesame"]);
    let draft = ["webhook", "test", "--preview", "--url", "http://127.0.0.1:3000/", "--format", "transmail"];
    assert!(printed(folder, &draft).contains("producer-signature: "));
    let added = |format| printed(folder, &["webhook", "add", "http://127.0.0.1:3000/", "--format", format]);
    let told = added("transmail");
    assert!(told.contains("authentication key of the mail agent") && !told.contains("secret"), "{told}");
    assert!(added("mailtura").contains("secret whsec_"));
    printed(folder, &["webhook", "add", "HTTP://127.1:3000/a#b"]);
    assert!(printed(folder, &["webhook", "list"]).contains(" http://127.0.0.1:3000/a "));
    let told = printed(folder, &["webhook", "set", word(&told, "wh_"), "--format", "mailtura"]);
    assert!(told.contains("secret whsec_"), "{told}");
    let refused = run(folder, &["webhook", "test", "--url", "http://169.254.169.254/"]);
    assert!(String::from_utf8_lossy(&refused.stderr).contains("metadata service of a cloud"));
}

#[test]
fn an_empty_word_clears_what_can_be_empty_and_nothing_else() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    assert!(Agent::start(folder, &[]).stop().success());
    let told = printed(folder, &["webhook", "add", "http://127.0.0.1:8025/", "--agent", "default", "--tag", "spring"]);
    let id = word(&told, "wh_").to_owned();
    let set = |flags: &[&str]| run(folder, &[["webhook", "set", &id].as_slice(), flags].concat()).status.success();
    let shows = |lines: &[&str]| {
        let shown = printed(folder, &["webhook", "show", &id]);
        lines.iter().for_each(|line| assert!(shown.lines().any(|shown| shown == *line), "{line} in {shown}"));
    };
    assert!(set(&["--header", "X-Shop: 1", "--notify", "ops@example.com", "--keeps-timestamp", "true"]));
    shows(&[
        "mail agent    default",
        "tags          spring",
        "headers       X-Shop: ***",
        "notify        ops@example.com",
    ]);
    shows(&["timestamp     the event's"]);
    assert!(set(&["--agent", "", "--tag", "", "--header", "", "--notify", ""]));
    shows(&["mail agent    all of the tenant", "tags          any"]);
    let shown = printed(folder, &["webhook", "show", &id]);
    assert!(!shown.contains("headers") && !shown.contains("notify"), "{shown}");
    assert!(set(&["--format", "transmail", "--form-field", "payload"]));
    shows(&["form field    payload"]);
    for refused in [&["--secret", ""], &["--secret", "a\nb"]] {
        assert!(!set(refused), "{refused:?}");
    }
    assert!(!set(&["--tag", "spring", "--tag", ""]));
    assert!(!run(folder, &["webhook", "rotate", &id, "--secret", ""]).status.success());
    let flags = printed(folder, &["webhook", "set", "--help"]);
    let flags = flags.split("Settings:").next().unwrap();
    assert_eq!(flags.matches("[default: ").count(), 1, "but for the tenant: {flags}");
}
