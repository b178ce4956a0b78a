//! User agents: the mail client, the browser, the system, and whether it is a machine.

use std::path::Path;

use postback::enrich::agent::inspect_user_agent;
use serde_json::Value;

use super::{Line, files, json_lines, text};

pub(super) fn named(folder: &Path) -> anyhow::Result<Vec<Line>> {
    let mut rows = Vec::new();
    for file in files(&folder.join("user-agents"), "jsonl") {
        for row in json_lines(&file)? {
            let found = inspect_user_agent(text(&row, "ua"));
            rows.push((row, found));
        }
    }
    if rows.is_empty() {
        return Ok(Vec::new());
    }
    let is_reader = |row: &Value| matches!(text(row, "kind"), "email_client" | "image_proxy" | "prefetch");
    let is_machine = |row: &Value| row["is_machine"] == true && !is_reader(row);
    let says_machine = |found: &Value| text(found, "kind") == "machine";
    let same_name = |found: &Value, part: &str, name: &str| plain(text(&found[part], "name")) == plain(name);
    let count = |what: &str, promised: f64, of: &dyn Fn(&Value) -> bool, is_right: &dyn Fn(&Value, &Value) -> bool| {
        let scored: Vec<_> = rows.iter().filter(|(row, _)| of(row)).collect();
        let right = scored.iter().filter(|(row, found)| is_right(row, found)).count();
        Line::new(what, right, scored.len(), promised)
    };
    Ok(vec![
        count(
            "user agents: mail client named",
            95.0,
            &|row| is_reader(row) && !text(row, "client_name").is_empty(),
            &|row, found| same_name(found, "email_client", text(row, "client_name")),
        ),
        count(
            "user agents: its version",
            90.0,
            &|row| is_reader(row) && !text(row, "client_version").is_empty(),
            &|row, found| is_version(text(&found["email_client"], "version"), text(row, "client_version")),
        ),
        count(
            "user agents: browser named",
            93.0,
            &|row| !is_machine(row) && !text(row, "browser_name").is_empty(),
            &|row, found| same_name(found, "browser", text(row, "browser_name")),
        ),
        count(
            "user agents: operating system named",
            95.0,
            &|row| !is_machine(row) && !text(row, "os_name").is_empty(),
            &|row, found| same_name(found, "operating_system", text(row, "os_name")),
        ),
        count("user agents: machines recognised", 92.0, &|row| is_machine(row), &|_, found| says_machine(found)),
        count(
            "user agents: mail clients that are no machines",
            100.0,
            &|row| text(row, "kind") == "email_client",
            &|_, found| !says_machine(found),
        ),
    ])
}

fn plain(name: &str) -> String {
    name.chars().filter(char::is_ascii_alphanumeric).map(|char| char.to_ascii_lowercase()).collect()
}

/// The same major version, and the same minor one where both say it.
fn is_version(found: &str, wanted: &str) -> bool {
    let (mut found, mut wanted) = (found.split('.'), wanted.split('.'));
    found.next() == wanted.next() && found.next().zip(wanted.next()).is_none_or(|(found, wanted)| found == wanted)
}
