//! Headers that steer one mail which comes by SMTP: files of the cache, and keys by which it is taken once.

use crate::support::agent::{Agent, ask, printed};
use crate::support::submitter::Submitter;

#[test]
fn a_header_names_files_of_the_cache() {
    let folder = tempfile::tempdir().unwrap();
    let agent = Agent::start(folder.path(), &[]);
    let key = agent.credential("API key");
    let authorization = format!("Zoho-enczapikey {key}");
    let fields = [("Authorization", authorization), ("Content-Type", "application/pdf".to_owned())];
    let answer = ask(agent.address("http"), "POST /v1.1/files?name=invoice.pdf", &fields, "%PDF-1").unwrap();
    let file = answer.split("\"file_cache_key\":\"").nth(1).unwrap().split('"').next().unwrap();
    let mail = |file: &str| {
        format!(
            "From: app@tests.example\r\nTo: kim@there.example\r\nX-TM-FILE-KEY: {file}\r\nSubject: Hello\r\n\r\nHello\r\n"
        )
    };
    let mut session = Submitter::sign_in(agent.address("smtp"), &key).unwrap();
    let promise = session.submit("kim@there.example", mail(file).as_bytes()).unwrap();
    let at = promise.find("msg_").unwrap();
    let copy = printed(folder.path(), &["why", &promise[at..at + 36], "--mail"]);
    assert!(copy.contains("filename=\"invoice.pdf\"") && copy.contains("JVBERi0x"), "{copy}");
    assert!(copy.contains("\r\nHello\r\n") && !copy.contains("FILE-KEY"), "{copy}");
    let renamed = format!("{file} : your bill.pdf, {file}:again.pdf");
    let promise = session.submit("kim@there.example", mail(&renamed).as_bytes()).unwrap();
    let at = promise.find("msg_").unwrap();
    let copy = printed(folder.path(), &["why", &promise[at..at + 36], "--mail"]);
    assert!(copy.contains("filename=\"your bill.pdf\"") && copy.contains("filename=\"again.pdf\""), "{copy}");
    assert!(!copy.contains("invoice.pdf"), "{copy}");
    let refusal = session.submit("kim@there.example", mail("2d6f.0.h1.nobody.0").as_bytes()).unwrap_err().to_string();
    assert!(refusal.starts_with("554 5.6.0 the mail agent has no file"), "{refusal}");
    assert!(agent.stop().success());
}

#[test]
fn a_mail_with_a_key_is_taken_once() {
    let folder = tempfile::tempdir().unwrap();
    let agent = Agent::start(folder.path(), &[]);
    let mut session = Submitter::sign_in(agent.address("smtp"), &agent.credential("API key")).unwrap();
    let mut hand_in = |key: &str, to: &str, text: &str| {
        let mail =
            format!("From: app@tests.example\r\nX-Postback-Idempotency-Key: {key}\r\nSubject: Hello\r\n\r\n{text}\r\n");
        session.submit(to, mail.as_bytes()).map_err(|refusal| refusal.to_string())
    };
    let first = hand_in("order-7", "kim@there.example", "Hello").unwrap();
    assert_eq!(hand_in("order-7", "kim@there.example", "Hello").unwrap(), first);
    assert_ne!(hand_in("order-8", "kim@there.example", "Hello").unwrap(), first);
    for (to, text) in [("kim@there.example", "Goodbye"), ("lee@there.example", "Hello")] {
        let refusal = hand_in("order-7", to, text).unwrap_err();
        assert!(refusal.starts_with("550 5.6.0 the idempotency key"), "{refusal}");
    }
    let long = "x".repeat(300);
    assert!(
        hand_in(&long, "kim@there.example", "Hello").unwrap_err().starts_with("554 5.6.0 X-Postback-Idempotency-Key")
    );
    assert!(agent.stop().success());
}

#[test]
fn a_mail_is_held_as_long_as_its_client_asks() {
    let folder = tempfile::tempdir().unwrap();
    let agent = Agent::start(folder.path(), &[]);
    let mut session = Submitter::sign_in(agent.address("smtp"), &agent.credential("API key")).unwrap();
    let mut hand_in = |parameter: &str, field: &str| {
        session.say(&format!("MAIL FROM:<app@tests.example>{parameter}"))?;
        session.say("RCPT TO:<kim@there.example>")?;
        session.say("DATA")?;
        session.finish(format!("From: app@tests.example\r\n{field}Subject: Hello\r\n\r\nHello\r\n").as_bytes())
    };
    let standing = |promise: &str| {
        let at = promise.find("msg_").unwrap();
        printed(folder.path(), &["why", &promise[at..at + 36]])
    };
    let told = standing(&hand_in(" HOLDFOR=86400", "").unwrap());
    assert!(told.contains("queued: next try"), "{told}");
    let told = standing(&hand_in(" HOLDUNTIL=2001-01-01T00:00:00Z", "").unwrap());
    assert!(!told.contains("next try"), "{told}");
    let refusal = hand_in("", "X-Postback-Send-At: 9999-01-01T00:00:00Z\r\n").unwrap_err().to_string();
    assert!(refusal.starts_with("554 5.6.0 X-Postback-Send-At is more than 30 days ahead"), "{refusal}");
    assert!(agent.stop().success());
}
