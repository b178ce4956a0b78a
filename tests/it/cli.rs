//! The command line, as it is typed: the true program, its output and its exit status.

use std::io::Write;
use std::process::Stdio;

use postback::clock::Clock;
use postback::model::reason::Reason;
use postback::model::suppression::{Action, Scope, Suppression};
use postback::model::time::Timestamp;
use serde_json::json;

use crate::support::agent::{Agent, command, get, printed, run};
use crate::support::engines::on_both_engines;
use crate::support::port;

#[test]
fn a_first_run_needs_no_settings_and_shows_its_credentials_once() {
    let folder = tempfile::tempdir().unwrap();
    let first = Agent::start(folder.path(), &[]);
    assert_eq!(first.credential("tenant"), "default");
    assert_eq!(first.credential("API key").len(), "pb_".len() + 44);
    assert_eq!(first.credential("SMTP password").len(), 24);
    assert!(first.stop().success());
    let second = Agent::start(folder.path(), &[]);
    assert_eq!(second.greeting, "");
}

#[test]
fn one_server_to_a_data_folder() {
    let folder = tempfile::tempdir().unwrap();
    let first = Agent::start(folder.path(), &[]);
    let second = run(folder.path(), &["serve", "--admin", "127.0.0.1:0"]);
    assert_eq!(second.status.code(), Some(1));
    let told = String::from_utf8(second.stderr).unwrap();
    assert!(told.contains(&format!("data is in use: process {} serves from it", first.id())), "{told}");
    first.kill();
    // The lock of a process that was killed is no obstacle.
    assert!(Agent::start(folder.path(), &[]).stop().success());
}

#[test]
fn health_and_metrics_are_on_the_admin_listener() {
    let folder = tempfile::tempdir().unwrap();
    let agent = Agent::start(folder.path(), &[]);
    let check = |path: &str, status: &str, body: &str| {
        let answer = get(agent.address("admin"), path);
        assert!(answer.starts_with(&format!("HTTP/1.1 {status}")) && answer.contains(body), "{path}: {answer}");
    };
    check("/livez", "200", "ok");
    check("/healthz", "200", "ok");
    check("/readyz", "200", r#"{"ready":true}"#);
    check("/metrics", "200", "\npostback_queue_messages 0\n");
    check("/elsewhere", "404", "");
}

#[test]
fn settings_that_make_no_sense_are_one_line_and_status_2() {
    let folder = tempfile::tempdir().unwrap();
    let check = |arguments: &[&str], expected: &str| {
        let output = run(folder.path(), arguments);
        assert_eq!(output.status.code(), Some(2), "{arguments:?}");
        assert_eq!(String::from_utf8(output.stderr).unwrap(), format!("postback: {expected}\n"));
        assert_eq!(output.stdout, b"");
    };
    check(
        &["check-config", "--set", "retention.mesages_days=1"],
        "--set retention.mesages_days: retention: unknown key `mesages_days`; did you mean `messages_days`?",
    );
    check(&["serve", "--roles", "window"], "--roles: `window` is not one of doors, deliver, webhooks");
    check(&["tenant", "list", "--set", "x"], "--set x: KEY=VALUE is wanted");
    std::fs::write(folder.path().join("postback.toml"), "[admin]\nadress = '127.0.0.1:1'\n").unwrap();
    check(&["check-config"], "postback.toml:2: admin: unknown key `adress`; did you mean `address`?");
    check(&["migrate", "--config", "nowhere.toml"], "read nowhere.toml: No such file or directory (os error 2)");
}

#[test]
fn check_config_shows_what_holds_and_why() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("postback.toml"), "[retention]\nmessages_days = 7\n").unwrap();
    let shown = printed(folder.path(), &["check-config", "--database", "postgres://me:hunter2@db/postback"]);
    let line = |key: &str| shown.lines().find(|line| line.starts_with(key)).unwrap().to_owned();
    assert!(
        line("retention.messages_days").contains("= 7 ")
            && line("retention.messages_days").ends_with("# postback.toml")
    );
    assert!(line("retention.reports_days").ends_with("# default"));
    assert!(line("database").ends_with("# --database") && !shown.contains("hunter2"));
    assert!(shown.parse::<toml::Table>().is_ok(), "what is shown can be used as a settings file");

    let url = "postgres://db/postback?user=me&password=hunter2";
    assert!(!printed(folder.path(), &["check-config", "--database", url]).contains("hunter2"));

    let refused = |key: &str, expected: &str| {
        let output = run(folder.path(), &["check-config", "--set", key]);
        let told = String::from_utf8(output.stderr).unwrap();
        assert!(output.status.code() == Some(2) && told.contains(expected), "{key}: {told}");
    };
    refused("admin.address=127.0.0.1:8080", "127.0.0.1:8080 is named for two doors");
    refused("tls.certificate=nowhere.pem", "tls needs both `certificate` and `key`");
    refused("geoip.databases=nowhere.mmdb", "nowhere.mmdb");
    refused("admin.address=192.0.2.1:9080", "admin.address: listen on 192.0.2.1:9080: Cannot assign requested address");
    refused("data=/dev/null/data", "data: the folder /dev/null/data cannot be made: /dev/null is not a folder");
    refused("master_key=short", "master_key: it must be the base64 of 32 bytes");

    let public = ["check-config", "--set", "admin.address=0.0.0.0:9080"];
    assert!(run(folder.path(), &public).status.success());
    assert_eq!(run(folder.path(), &[&public[..], &["--strict"]].concat()).status.code(), Some(2));
}

#[test]
fn a_variable_that_nobody_reads_is_told_of() {
    let folder = tempfile::tempdir().unwrap();
    let output = command(folder.path()).arg("check-config").env("POSTBACK_DELIVER_MODE", "mx").output().unwrap();
    let told = String::from_utf8(output.stderr).unwrap();
    assert!(output.status.code() == Some(2) && told.contains("did you mean `POSTBACK__DELIVER__MODE`?"), "{told}");
}

#[test]
fn why_says_that_nobody_answers_and_what_was_met() {
    let folder = tempfile::tempdir().unwrap();
    let port = port::free();
    let settings = format!(
        "hostname = 'mail.tests.example'\nhttp.address = '127.0.0.1:0'\nadmin.address = '127.0.0.1:0'\n\
         tracking.base_url = 'http://127.0.0.1:1'\n[deliver]\nmode = 'smarthost'\n[deliver.smarthost]\n\
         host = '127.0.0.1'\nport = {port}\ntls = 'none'\n[[smtp.listeners]]\naddress = '127.0.0.1:0'\n\
         kind = 'submission'\n"
    );
    std::fs::write(folder.path().join("postback.toml"), settings).unwrap();
    let agent = Agent::start_as_set(folder.path());
    printed(folder.path(), &["domain", "add", "tests.example"]);
    // The first ones find out.
    let told = loop {
        let mail = ["send", "--from", "app@tests.example", "--to", "kim@there.example"];
        let told = printed(folder.path(), &["why", printed(folder.path(), &mail).trim_end()]);
        if told.contains("queued: nobody answers at its destination") {
            break told;
        }
    };
    assert!(told.contains("met there: connect: Connection refused"), "{told}");
    assert!(agent.stop().success());
}

#[test]
fn the_log_says_what_was_read_again_and_that_it_stopped() {
    let folder = tempfile::tempdir().unwrap();
    let agent = Agent::start(folder.path(), &[]);
    agent.signal("HUP");
    for told in ["the databases of places are as they were", "the certificates were read again"] {
        while !agent.log().contains(told) {
            std::thread::yield_now();
        }
    }
    assert!(!agent.log().contains("stopped"), "{}", agent.log());
    assert!(agent.stop().success());
    let log = std::fs::read_to_string(folder.path().join("stderr.log")).unwrap();
    assert!(log.lines().next_back().is_some_and(|last| last.contains("stopped")), "{log}");
}

#[test]
fn a_word_that_is_none_is_told_with_those_there_are() {
    let folder = tempfile::tempdir().unwrap();
    for command in ["list", "close"] {
        let output = run(folder.path(), &["bounces", command, "--kind", "bounces"]);
        let told = String::from_utf8(output.stderr).unwrap();
        let words = "bounce, delayed, success, relayed, complaint, autoreply, ordinary";
        assert!(output.status.code() == Some(2) && told.contains(words), "{told}");
    }
}

#[test]
fn a_mistyped_folder_is_not_an_empty_installation() {
    let folder = tempfile::tempdir().unwrap();
    let output = run(folder.path(), &["tenant", "list", "--data", "dta"]);
    assert_eq!(output.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&output.stderr).contains("there is no database at dta/postback.db"));
    assert!(!folder.path().join("dta").exists());
}

/// What `inspect` prints for an input on its standard input.
fn inspected(kind: &str, input: &[u8]) -> serde_json::Value {
    let folder = tempfile::tempdir().unwrap();
    let mut command = command(folder.path());
    command.args(["inspect", kind, "--jsonl"]).stdin(Stdio::piped()).stdout(Stdio::piped());
    let mut child = command.spawn().unwrap();
    child.stdin.take().unwrap().write_all(input).unwrap();
    let output = child.wait_with_output().unwrap();
    assert!(output.status.success());
    serde_json::from_slice(&output.stdout).unwrap()
}

#[test]
fn inspect_prints_the_formats_that_people_script_against() {
    let check = |kind: &str, input: &str, expected: serde_json::Value| {
        let printed = inspected(kind, input.as_bytes());
        for (key, value) in expected.as_object().unwrap() {
            assert_eq!(&printed[key], value, "{kind}: {printed}");
        }
    };
    check(
        "bounce",
        "Subject: hello\r\n\r\nhow are you\r\n",
        json!({"file": "-", "kind": "ordinary", "recipients": []}),
    );
    check("egress", "http://127.0.0.1/\n", json!({"url": "http://127.0.0.1/", "verdict": "refused", "rule": "IP"}));
    check("egress", "https://example.com/\r\n", json!({"verdict": "ok", "rule": null}));
    check("user-agent", "curl/8.0\n", json!({"ua": "curl/8.0", "is_machine": true, "kind": "machine"}));
    let html = "Content-Type: text/html\r\n\r\n<a href=\"https://example.com/\">x</a>\r\n";
    check("rewrite", html, json!({"file": "-", "pixel": true}));

    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("mail.eml"), html).unwrap();
    let rewritten = printed(folder.path(), &["inspect", "rewrite", "mail.eml"]);
    assert!(rewritten.contains("https://t.example.com/c/") && !rewritten.contains("\"https://example.com/\""));
    // The mail alone is printed; what was done to it, and why not more, is told beside it.
    let links = "<a href='https://example.com/'><a href='https://app.example/x'><a href='https://b.example/?code=1'>\
        <a href='mailto:a@b.example'><a data-pm-no-track href='https://c.example/'>";
    std::fs::write(folder.path().join("links.eml"), format!("Content-Type: text/html\r\n\r\n{links}\r\n")).unwrap();
    let switches = ["inspect", "rewrite", "--auto", "--skip-host", "app.example", "--no-opens", "links.eml"];
    let output = run(folder.path(), &switches);
    assert!(output.stdout.starts_with(b"Content-Type: text/html\r\n\r\n<a href='https://t.example.com/c/"));
    let told = String::from_utf8(output.stderr).unwrap();
    for line in [
        "links.eml: without a pixel\n  part   1 text/html rewritten\n  link   https://t.example.com/c/",
        "\n    to   https://example.com/\n",
        "  stays  https://app.example/x\n    why  its host is one whose links stay as they are\n",
        "  stays  https://b.example/?code=1\n    why  it lets its holder in: it has a parameter like \"code\"\n",
        "  stays  mailto:a@b.example\n    why  it does not begin with http:// or https://\n",
        "  stays  https://c.example/\n    why  opted out by data-pm-no-track (Postmark)\n",
    ] {
        assert!(told.contains(line), "{line}: {told}");
    }
    assert!(printed(folder.path(), &["inspect", "ip", "192.0.2.1"]).contains("\"ip_address\":\"192.0.2.1\""));
    assert_eq!(run(folder.path(), &["inspect", "ip", "nowhere"]).status.code(), Some(1));
    let full = "From: MAILER-DAEMON@there.example\nSubject: failure notice\nX-Failed-Recipients: kim@there.example\n\n\
                This message could not be delivered.\n\nkim@there.example\n  552 mailbox full\n";
    std::fs::write(folder.path().join("full.eml"), full).unwrap();
    let shown = printed(folder.path(), &["inspect", "bounce", "full.eml"]);
    assert!(
        shown.contains("axis: about the recipient") && shown.contains("retry: the same mail may be sent later"),
        "{shown}"
    );
    // One bad file does not hide what the others say.
    let output = run(folder.path(), &["inspect", "bounce", "--jsonl", "missing.eml", "mail.eml"]);
    assert_eq!((output.status.code(), output.stdout.is_empty()), (Some(1), false));
}

on_both_engines! {
    async fn a_mail_is_sent_and_its_story_told(engine: &Engine) {
        let folder = engine.folder();
        let ok = |words: &[&str]| printed(folder, &[words, &["--database", engine.url()]].concat());
        ok(&["migrate"]);
        ok(&["tenant", "add", "default"]);
        let mail = "From: me@example.org\nTo: reader@example.com\nSubject: =?utf-8?B?G1sySg==?= story\n\nhello\n";
        std::fs::write(folder.join("mail.eml"), mail).unwrap();
        let message = ok(&["send", "--to", "reader@example.com", "--raw", "mail.eml"]);
        let told = ok(&["why", message.trim_end()]);
        for expected in ["accepted  ", "[2J story", "reader@example.com", "queued: due since", "sent  (evt_"] {
            assert!(told.contains(expected), "{expected}: {told}");
        }
        assert!(!told.contains('\u{1b}'), "nothing of the mail commands the terminal");
        let delivery = told.split_whitespace().find(|word| word.starts_with("dlv_")).unwrap();
        assert!(ok(&["why", delivery]).contains("reader@example.com"));
        assert_eq!(ok(&["why", "Reader@example.com"]), told, "the only mail to this address");
        let copy = ok(&["why", delivery, "--mail"]);
        assert!(copy.starts_with("X-Postback-Ref: b+") && copy.ends_with("\r\n\r\nhello\r\n"), "{copy}");
        let message = ok(&["send", "--to", "a@example.com", "--to", "b@example.com", "--html", "<a href='https://b.example/'>x</a>"]);
        let links = ok(&["why", message.trim_end(), "--links"]);
        for expected in ["a@example.com\n  pixel  http://127.0.0.1:8080/o/", "\n    to   https://b.example/\n"] {
            assert!(links.contains(expected), "{expected}: {links}");
        }
        let unnamed = run(folder, &["why", message.trim_end(), "--mail", "--database", engine.url()]);
        assert!(String::from_utf8_lossy(&unnamed.stderr).contains("2 deliveries have each a copy of their own"));
        let unknown = run(folder, &["why", "msg_00000000000000000000000000000000", "--database", engine.url()]);
        assert_eq!(unknown.status.code(), Some(1));
    }

    async fn tenants_and_what_belongs_to_them_come_and_go_beside_a_server(engine: &Engine) {
        let folder = engine.folder();
        let agent = Agent::start(folder, &["--database", engine.url()]);
        let ok = |words: &str| {
            let words: Vec<_> = words.split(' ').chain(["--database", engine.url()]).collect();
            printed(folder, &words)
        };
        let refused = |words: &str, expected: &str| {
            let words: Vec<_> = words.split(' ').chain(["--database", engine.url()]).collect();
            let output = run(folder, &words);
            assert_eq!(output.status.code(), Some(1), "{words:?}");
            let told = String::from_utf8(output.stderr).unwrap();
            assert!(told.contains(expected), "{told}");
        };
        ok("tenant add acme --name Acme");
        refused("tenant add acme", "tenant \"acme\" exists already");
        refused("tenant add Acme", "cannot be a slug");
        assert!(ok("tenant list").contains("acme     Acme"));

        ok("agent add news --tenant acme");
        assert!(ok("agent list --tenant acme").contains("news"));
        let set = ok("agent set --tenant acme --agent news track_opens=false privacy=aggregate_only");
        assert!(set.contains("track_opens=false") && set.contains("track_clicks=true"));
        assert!(ok("agent set --tenant acme --agent news").contains("privacy=\"aggregate_only\""));
        let secret = ok("agent set --tenant acme --agent news authentication_key=hush");
        assert!(secret.contains("authentication_key=\"***\"") && !secret.contains("hush"), "{secret}");
        refused("agent set --tenant acme track_open=false", "did you mean `track_opens`?");
        refused("agent set --tenant acme track_opens=maybe", "invalid type");

        ok("domain add News.Example.COM --tenant acme --agent news");
        refused("domain add news.example.com --tenant acme --agent news", "exists already");
        assert_eq!(ok("domain list --tenant acme --agent news"), "news.example.com\n");
        ok("domain remove news.example.com --tenant acme --agent news");
        refused("domain remove news.example.com --tenant acme --agent news", "there is no domain news.example.com");

        let store = engine.store("onlooker", &Clock::system()).await;
        let tenant = store.tenant("acme").await.unwrap().unwrap();
        let news = store.agent(tenant.id, "news").await.unwrap().unwrap();
        let now = Timestamp::from_millis(1_772_438_400_000);
        let suppression = Suppression {
            scope: Scope::Agent(tenant.id, news.id),
            target: "gone@example.com".parse().unwrap(),
            action: Action::Suppress,
            reason: Reason::Complaint,
            note: String::new(),
            created_at: now,
            created_by: String::new(),
            expires_at: None,
        };
        store.suppress(suppression).await.unwrap();
        store.close().await;
        let listed = ok("suppression list --tenant acme --agent news");
        assert!(listed.contains("gone@example.com  complaint  suppress  2026-03-02T08:00:00.000Z  until removed"), "{listed}");
        let exported = ok("suppression export --tenant acme --agent news");
        assert!(exported.ends_with("\ngone@example.com,suppress,complaint,,2026-03-02T08:00:00Z,\n"), "{exported}");
        ok("suppression remove Gone@Example.com --tenant acme --agent news");
        refused("suppression remove gone@example.com --tenant acme --agent news", "there is no suppression of gone@");
        std::fs::write(folder.join("list.csv"), exported + "nobody,,,,,\n").unwrap();
        assert!(ok("suppression import list.csv --tenant acme --tenant-wide").contains("read 1; 1 lines make no sense"));
        ok("suppression add example.net --installation --action reject --note spam-trap --days 7");
        assert!(ok("suppression list --installation").contains("example.net  manual  reject"));
        let history = ok("suppression history gone@example.com --tenant acme --agent news");
        assert!(history.contains("added    complaint") && history.contains("removed  complaint  suppress  command line"));

        let secret = ok("key add --tenant acme --name ci");
        assert_eq!(secret.trim_end().len(), "pb_".len() + 44);
        assert_eq!(ok("key add --tenant acme --smtp --name printer").trim_end().len(), 24);
        let keys = ok("key list --tenant acme");
        assert!(keys.contains("api_key") && !keys.contains(secret.trim_end()));
        let id = keys.split_whitespace().find(|word| word.starts_with("key_")).unwrap().to_owned();
        refused(&format!("key remove {id}"), "there is no key");
        ok(&format!("key remove {id} --tenant acme"));

        let added = ok("webhook add https://example.com/hook --tenant acme --events bounced,email.opened,email_link_click");
        assert!(added.contains("secret whsec_"));
        refused("webhook add https://127.0.0.1:9/ --tenant acme", "has a port that is not used for HTTP");
        refused("webhook add https://example.com/ --events open", "did you mean `opened`?");
        let listed = ok("webhook list --tenant acme");
        assert!(listed.contains("https://example.com/hook  hard_bounced,soft_bounced,opened,clicked"), "{listed}");
        ok(&format!("webhook remove {} --tenant acme", added.split(' ').next().unwrap()));

        ok("agent remove news --tenant acme");
        ok("tenant remove acme");
        refused("agent list --tenant acme", "there is no tenant \"acme\"");
        assert!(agent.stop().success());
    }
}
