//! The house rules, read from the sources: who may import whom, file headers and lengths, schema parity, no sleeps.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

/// ARCHITECTURE.md, section 3. `config` and `app` stand apart: the one imports only settings, the other everything.
const MAY_IMPORT: &[(&str, &[&str])] = &[
    ("model", &[]),
    ("mail", &["model"]),
    ("clock", &["model"]),
    ("ids", &["model"]),
    ("dns", &["model"]),
    ("enrich", &["model"]),
    ("log", &["clock"]),
    ("wake", &[]),
    ("tls", &["model"]),
    ("egress", &["model", "dns"]),
    ("fetch", &["egress"]),
    ("store", &["model", "wake", "clock"]),
    ("worker", &["model", "clock", "wake"]),
    ("intake", &["model", "mail", "clock", "ids", "enrich", "store"]),
    ("smtp", &["model", "clock", "tls", "intake"]),
    ("http", &["model", "mail", "clock", "ids", "dns", "wake", "tls", "intake", "store"]),
    ("deliver", &["model", "mail", "clock", "ids", "dns", "egress", "fetch", "store", "worker"]),
    ("sink", &["model", "clock"]),
    ("webhooks", &["model", "clock", "dns", "egress", "store", "wake", "worker"]),
];

/// What the pure rooms must not touch.
const IMPURE: &[&str] = &[
    "tokio::",
    "sqlx::",
    "hyper::",
    "std::net::Tcp",
    "std::net::Udp",
    "std::fs",
    "getrandom",
    "tracing::",
    "SystemTime",
    "Instant::now",
];

const FILE_LINES_MAX: usize = 500;

fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

fn files_under(folder: &Path, ending: &str) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            found.extend(files_under(&path, ending));
        } else if path.to_string_lossy().ends_with(ending) {
            found.push(path);
        }
    }
    found.sort();
    found
}

/// Path from the root and text of each source file.
fn sources(folder: &str) -> Vec<(String, String)> {
    let folder = root().join(folder);
    let read = |path: PathBuf| {
        let name = path.strip_prefix(root()).unwrap().to_string_lossy().into_owned();
        (name, std::fs::read_to_string(path).unwrap())
    };
    files_under(&folder, ".rs").into_iter().map(read).collect()
}

/// The room a file of `src` belongs to: its folder, or its own name.
fn room(name: &str) -> &str {
    let inside = name.strip_prefix("src/").unwrap();
    inside.split('/').next().unwrap().trim_end_matches(".rs")
}

/// The rooms that a line names: `crate::x` or each `x` of `crate::{x, y::z}`.
fn imports(line: &str) -> BTreeSet<&str> {
    let mut rooms = BTreeSet::new();
    for (at, _) in line.match_indices("crate::") {
        let rest = &line[at + "crate::".len()..];
        let names = match rest.strip_prefix('{') {
            Some(list) => list.split('}').next().unwrap_or("").split(',').collect(),
            None => vec![rest],
        };
        rooms.extend(
            names.into_iter().map(|name| {
                name.trim().split(|char: char| !char.is_alphanumeric() && char != '_').next().unwrap_or("")
            }),
        );
    }
    rooms
}

#[test]
fn nobody_imports_whom_they_must_not() {
    let table: BTreeMap<&str, &[&str]> = MAY_IMPORT.iter().copied().collect();
    let mut wrong = Vec::new();
    for (name, text) in sources("src") {
        let room = room(&name);
        if matches!(room, "main" | "lib" | "app" | "config" | "cli") {
            continue;
        }
        let Some(may) = table.get(room) else {
            wrong.push(format!("{name}: the room {room:?} is not in the table"));
            continue;
        };
        for (number, line) in text.lines().enumerate().filter(|(_, line)| !line.trim_start().starts_with("//")) {
            for imported in imports(line) {
                if imported != room && table.contains_key(imported) && !may.contains(&imported) {
                    wrong.push(format!("{name}:{}: {room} may import {may:?}, not {imported}", number + 1));
                }
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn pure_rooms_are_pure() {
    let mut wrong = Vec::new();
    for (name, text) in sources("src").into_iter().filter(|(name, _)| matches!(room(name), "model" | "mail")) {
        let code = text.split("#[cfg(test)]").next().unwrap();
        for (number, line) in code.lines().enumerate().filter(|(_, line)| !line.trim_start().starts_with("//")) {
            if let Some(impure) = IMPURE.iter().find(|impure| line.contains(*impure)) {
                wrong.push(format!("{name}:{}: {impure} in a pure room", number + 1));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn sql_stays_in_the_store() {
    for (name, text) in sources("src").into_iter().filter(|(name, _)| room(name) != "store") {
        assert!(!text.contains("sqlx::"), "{name}: SQL belongs to the store");
    }
}

#[test]
fn every_file_says_what_it_is_and_stays_short() {
    let mut wrong = Vec::new();
    for (name, text) in sources("src").into_iter().chain(sources("tests")) {
        if !text.starts_with("//!") && !text.starts_with("#!") {
            wrong.push(format!("{name}: no header that says what it owns"));
        }
        let lines = text.lines().count();
        if name.starts_with("src/") && lines > FILE_LINES_MAX {
            wrong.push(format!("{name}: {lines} lines, the aim is {FILE_LINES_MAX} at most"));
        }
        if text.contains(concat!("TO", "DO")) || text.contains(concat!("(to be ", "written)")) {
            wrong.push(format!("{name}: open questions go to the tracker"));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn both_engines_have_the_same_schema_steps() {
    let names = |engine: &str| -> Vec<String> {
        let files = files_under(&root().join("migrations").join(engine), ".sql");
        files.iter().map(|path| path.file_name().unwrap().to_string_lossy().into_owned()).collect()
    };
    assert_eq!(names("sqlite"), names("postgres"));
    let schema = std::fs::read_to_string(root().join("src/store/schema.rs")).unwrap();
    for name in names("sqlite") {
        let read = |engine: &str| std::fs::read_to_string(root().join("migrations").join(engine).join(&name)).unwrap();
        assert_eq!(columns(&read("sqlite")), columns(&read("postgres")), "{name}");
        assert!(schema.contains(&name), "{name} is never applied");
    }
}

/// The statements of a schema step with the engines' type names folded into one, but for paragraphs in which each has words
/// of its own for the same.
fn columns(sql: &str) -> String {
    let paragraphs = sql.split("\n\n").filter(|part| !part.starts_with("-- In the engine's own words:"));
    let sql = paragraphs.collect::<Vec<_>>().join("\n");
    let sql = sql.replace(" collate \"C\"", "").replace("bytea", "blob").replace(" without rowid", "");
    sql.split_whitespace().collect::<Vec<_>>().join(" ")
}

#[test]
fn no_test_sleeps_or_reads_the_wall_clock() {
    let forbidden =
        [concat!("thread::", "sleep"), concat!("time::", "sleep("), concat!("SystemTime::", "now"), "#[ignore"];
    for (name, text) in sources("tests").into_iter().filter(|(name, _)| !name.ends_with("tidy.rs")) {
        for word in forbidden {
            assert!(!text.contains(word), "{name} has {word}");
        }
    }
    for (name, text) in sources("src") {
        let tests = text.split("#[cfg(test)]").nth(1).unwrap_or("");
        for word in forbidden {
            assert!(!tests.contains(word), "{name} has {word} in its tests");
        }
    }
}
