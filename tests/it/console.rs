//! The console in a real browser: `tests/console/story.mjs` plays it from the invitation to webhooks whose tests arrive
//! signed, `daily.mjs` what people do with it day by day; here the program is started for them.

use std::path::Path;
use std::process::Command;

use crate::support::agent::{Agent, printed};
use crate::support::dns::NameServer;

#[test]
fn a_person_finds_their_way() {
    let folder = tempfile::tempdir().unwrap();
    // Records are looked up, and nobody outside is asked.
    let names = NameServer::start("", "");
    let servers = format!("[dns]\nservers = ['{}']\n", names.settings().servers[0]);
    std::fs::write(folder.path().join("postback.toml"), servers).unwrap();
    let agent = Agent::start(folder.path(), &[]);
    let base = format!("http://{}", agent.address("http"));
    let invitation = printed(folder.path(), &["user", "invite"]);
    let path = invitation.split_whitespace().find_map(|word| Some(&word[word.find("/console/join/")?..])).unwrap();
    let tests = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/console");
    for (story, end) in [("story.mjs", "the whole story"), ("daily.mjs", "day by day")] {
        let mut command = Command::new("node");
        command.current_dir(&tests).args([story, &base, path, &agent.credential("API key"), "/usr/bin/chromium"]);
        // Pictures of each page are made where they are asked for.
        if let Some(pictures) = std::env::var_os("POSTBACK_PICTURES") {
            command.arg(pictures);
        }
        let told = command.output().unwrap();
        let text = String::from_utf8_lossy(&[told.stdout, told.stderr].concat()).into_owned();
        assert!(told.status.success(), "{story}: {text}\n{}", agent.log());
        assert!(text.contains(end), "{story}: {text}");
    }
}
