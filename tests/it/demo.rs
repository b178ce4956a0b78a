//! `postback demo`, played to its end by the true program.

use serde_json::Value;

use crate::support::agent::{printed, run};

fn lines(text: &str) -> Vec<Value> {
    text.lines().map(|line| serde_json::from_str(line).unwrap_or_else(|fault| panic!("{fault}: {line}"))).collect()
}

#[test]
fn the_whole_loop_is_told_in_json_lines_and_every_signature_verified() {
    let folder = tempfile::tempdir().unwrap();
    let told = lines(&printed(folder.path(), &["demo", "--once", "--json"]));
    let webhooks: Vec<&Value> =
        told.iter().filter(|line| line["format"].is_string() && line["event"].is_string()).collect();
    assert!(webhooks.iter().all(|line| line["verified"] == true));
    for format in ["mailtura", "transmail", "transmail-json"] {
        assert!(webhooks.iter().any(|line| line["format"] == format), "{format}");
    }
    let last = told.last().unwrap();
    assert_eq!((&last["ok"], &last["webhooks"]), (&Value::Bool(true), &Value::from(webhooks.len())));
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0, "it leaves nothing where it was started");
}

#[test]
fn people_get_the_same_story_in_words() {
    let folder = tempfile::tempdir().unwrap();
    let told = printed(folder.path(), &["demo", "--once"]);
    for expected in ["Mail goes in", "Reports come home", "signature verified", "(by a prefetch)", "(hard)", "(soft)"] {
        assert!(told.contains(expected), "{expected:?} is not in {told}");
    }
    assert!(!told.contains("SIGNATURE WRONG") && !told.contains("Ctrl-C"));
}

#[test]
fn a_flag_that_does_not_exist_is_wrong_usage() {
    let folder = tempfile::tempdir().unwrap();
    assert_eq!(run(folder.path(), &["demo", "--twice"]).status.code(), Some(2));
}
