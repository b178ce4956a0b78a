//! The console in a real browser: `tests/console/story.mjs` plays it from the invitation to the mail that somebody asks
//! for, each sentence of the webhook story being a step; here the program is started for it.

use std::path::Path;
use std::process::Command;

use crate::support::agent::{Agent, printed};

#[test]
fn a_person_finds_their_way() {
    let folder = tempfile::tempdir().unwrap();
    let agent = Agent::start(folder.path(), &[]);
    let base = format!("http://{}", agent.address("http"));
    let invitation = printed(folder.path(), &["user", "invite"]);
    let path = invitation.split_whitespace().find_map(|word| Some(&word[word.find("/console/join/")?..])).unwrap();
    let tests = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/console");
    let mut story = Command::new("node");
    story.current_dir(&tests).args(["story.mjs", &base, path, &agent.credential("API key"), "/usr/bin/chromium"]);
    // Pictures of each page are made where they are asked for.
    if let Some(pictures) = std::env::var_os("POSTBACK_PICTURES") {
        story.arg(pictures);
    }
    let told = story.output().unwrap();
    let text = String::from_utf8_lossy(&[told.stdout, told.stderr].concat()).into_owned();
    assert!(told.status.success(), "{text}\n{}", agent.log());
    assert!(text.contains("the whole story"), "{text}");
}
