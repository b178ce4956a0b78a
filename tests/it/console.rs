//! The console in a real browser: `tests/console/story.mjs` plays it from the invitation to webhooks whose tests arrive
//! signed, `daily.mjs` what people do with it day by day; here the program is started for them.

use std::path::Path;
use std::process::Command;

use crate::support::agent::{Agent, post, printed};
use crate::support::dns::NameServer;
use crate::support::submitter::{HOME, auto_reply};

#[test]
fn a_person_finds_their_way() {
    let folder = tempfile::tempdir().unwrap();
    // Records are looked up, and nobody outside is asked.
    let names = NameServer::start("", "");
    let servers = format!("[dns]\nservers = ['{}']\n", names.settings().servers[0]);
    std::fs::write(folder.path().join("postback.toml"), servers).unwrap();
    let agent = Agent::start(folder.path(), &["--set", &format!("reports.return_path_domain={HOME}")]);
    let base = format!("http://{}", agent.address("http"));
    let invitation = printed(folder.path(), &["user", "invite"]);
    let path = invitation.split_whitespace().find_map(|word| Some(&word[word.find("/console/join/")?..])).unwrap();
    let tests = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/console");
    for (story, end) in [("story.mjs", "the whole story"), ("daily.mjs", "day by day")] {
        let mut command = Command::new("node");
        command.current_dir(&tests);
        command.args([story, &base, path, &agent.credential("API key"), "/usr/bin/chromium", &pages().to_string()]);
        // Pictures of each page are made where they are asked for.
        if let Some(pictures) = std::env::var_os("POSTBACK_PICTURES") {
            command.arg(pictures);
        }
        let told = command.output().unwrap();
        let text = String::from_utf8_lossy(&[told.stdout, told.stderr].concat()).into_owned();
        assert!(told.status.success(), "{story}: {text}\n{}", agent.log());
        assert!(text.contains(end), "{story}: {text}");
        if story == "story.mjs" {
            // What comes from elsewhere: a second tenant, and a report that waits for a person.
            printed(folder.path(), &["tenant", "add", "other"]);
            let mail = r#"{"from":"me@example.com","to":"away@example.org","subject":"Are you there?","text":"x"}"#;
            let key = agent.credential("API key");
            let told = post(agent.address("http"), "/api/v1/emails", &key, mail).unwrap();
            auto_reply(&agent, folder.path(), &told[told.find("msg_").unwrap()..][..36]);
        }
    }
}

/// The pages of a tenant: what is neither a file nor a part of a page, nor leads on to another.
fn pages() -> serde_json::Value {
    let others = ["/html", "/source", "/csv", "/{number}"];
    let is_page = |path: &&str| !others.iter().any(|end| path.ends_with(end));
    let shown = postback::http::console_routes().into_iter().filter(|(method, ..)| *method == "GET");
    shown.map(|(_, path, _)| path).filter(is_page).collect()
}

/// What people can change, programs can: the manual names the operation of each change.
#[test]
fn the_manual_names_the_twin_of_each_change() {
    let manual = include_str!("../../docs/console.md");
    for (_, path, twin) in postback::http::console_routes().iter().filter(|(method, ..)| *method == "POST") {
        let line = manual.lines().find(|line| line.starts_with(&format!("| `{path}` |")));
        assert!(line.is_some_and(|line| line.contains(&format!("| `{twin}` |"))), "{path} is not told with {twin}");
    }
}
