//! The command line, as it is typed: the true program, its output and its exit status.

use crate::support::agent::{Agent, get, printed, run};
use crate::support::engines::on_both_engines;

#[test]
fn a_first_run_needs_no_settings_and_shows_its_credentials_once() {
    let folder = tempfile::tempdir().unwrap();
    let first = Agent::start(folder.path(), &[]);
    assert_eq!(first.credential("tenant"), "default");
    assert_eq!(first.credential("API key").len(), "pb_".len() + 43);
    assert_eq!(first.credential("SMTP password").len(), "pb_".len() + 43);
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
    check("/metrics", "200", "\npostback_queue_waiting{queue=\"deliveries\"} 0\n");
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
    check(&["serve", "--roles", "window"], "--roles: roles: `window` is not one of doors, deliver, webhooks");
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
    assert!(line("retention.messages_days").contains("= 7 ") && line("retention").ends_with("# postback.toml"));
    assert!(line("retention.reports_days").ends_with("# default"));
    assert!(line("database").ends_with("# --database") && !shown.contains("hunter2"));
    assert!(shown.parse::<toml::Table>().is_ok(), "what is shown can be used as a settings file");

    let public = ["check-config", "--set", "admin.address=0.0.0.0:9080"];
    assert!(run(folder.path(), &public).status.success());
    assert_eq!(run(folder.path(), &[&public[..], &["--strict"]].concat()).status.code(), Some(2));
}

#[test]
fn a_mistyped_folder_is_not_an_empty_installation() {
    let folder = tempfile::tempdir().unwrap();
    let output = run(folder.path(), &["tenant", "list", "--data", "dta"]);
    assert_eq!(output.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&output.stderr).contains("there is no database at dta/postback.db"));
    assert!(!folder.path().join("dta").exists());
}

on_both_engines! {
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
        refused("agent set --tenant acme track_open=false", "did you mean `track_opens`?");
        refused("agent set --tenant acme track_opens=maybe", "invalid type");

        ok("domain add News.Example.COM --tenant acme --agent news");
        refused("domain add news.example.com --tenant acme --agent news", "exists already");
        assert_eq!(ok("domain list --tenant acme --agent news"), "news.example.com\n");
        ok("domain remove news.example.com --tenant acme --agent news");
        refused("domain remove news.example.com --tenant acme --agent news", "there is no domain news.example.com");

        let secret = ok("key add --tenant acme --name ci");
        assert_eq!(secret.trim_end().len(), "pb_".len() + 43);
        let keys = ok("key list --tenant acme");
        assert!(keys.contains("api_key") && !keys.contains(secret.trim_end()));
        let id = keys.split_whitespace().find(|word| word.starts_with("key_")).unwrap().to_owned();
        refused(&format!("key remove {id}"), "there is no key");
        ok(&format!("key remove {id} --tenant acme"));

        ok("agent remove news --tenant acme");
        ok("tenant remove acme");
        refused("agent list --tenant acme", "there is no tenant \"acme\"");
        assert!(agent.stop().success());
    }
}
