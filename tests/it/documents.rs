//! What the documents promise: the examples of `docs/api.md`, run as they stand there against the true program, each in a
//! program of its own; and the tests that `docs/compatibility.md` and `tests/README.md` name, for every vector.

use std::path::Path;
use std::process::Command;

use crate::dialog;
use crate::support::agent::Agent;

/// The fenced blocks of a document, each with its language.
fn blocks(document: &str) -> Vec<(&str, String)> {
    let mut blocks = Vec::new();
    let mut lines = document.lines();
    while let Some(line) = lines.next() {
        if let Some(language) = line.strip_prefix("```") {
            let block: Vec<&str> = lines.by_ref().take_while(|line| *line != "```").collect();
            blocks.push((language, block.join("\n")));
        }
    }
    blocks
}

fn program(language: &str, folder: &Path, block: &str) -> Option<Command> {
    let (runner, name) = match language {
        "sh" => ("bash", "example.sh"),
        "python" => ("python3", "example.py"),
        "js" => ("node", "example.mjs"),
        _ => return None,
    };
    let strict = if language == "sh" { "set -euo pipefail\n" } else { "" };
    std::fs::write(folder.join(name), format!("{strict}{block}\n")).unwrap();
    let mut command = Command::new(runner);
    command.arg(folder.join(name)).current_dir(folder);
    Some(command)
}

#[test]
fn every_example_of_the_api_runs() {
    let folder = tempfile::tempdir().unwrap();
    let agent = Agent::start(folder.path(), &[]);
    let (url, key) = (format!("http://{}", agent.address("http")), agent.credential("API key"));
    let document = std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/docs/api.md")).unwrap();
    let mut run = Vec::new();
    for (language, block) in blocks(&document) {
        let Some(mut command) = program(language, folder.path(), &block) else { continue };
        let output = command.env("POSTBACK_URL", &url).env("POSTBACK_KEY", &key).output().unwrap();
        let (out, err) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
        assert!(output.status.success() && !out.is_empty(), "{block}\n{out}{err}\n{}", agent.log());
        run.push(language);
    }
    let count = |wanted: &str| run.iter().filter(|language| **language == wanted).count();
    assert_eq!((count("sh"), count("python"), count("js")), (8, 2, 2), "{run:?}");
}

#[test]
fn every_test_that_is_named_is_there() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut checked = 0;
    for document in ["docs/compatibility.md", "tests/README.md"] {
        let text = std::fs::read_to_string(root.join(document)).unwrap();
        for name in text.split('`').skip(1).step_by(2).filter(|word| word.contains("::") && !word.contains(' ')) {
            let (module, test) = name.rsplit_once("::").unwrap();
            let place = module.trim_end_matches("::tests").replace("::", "/");
            let files = [
                format!("tests/it/{place}.rs"),
                format!("tests/it/{place}/mod.rs"),
                format!("src/http/{place}.rs"),
                format!("src/http/{place}/tests.rs"),
                format!("src/{place}.rs"),
                format!("src/{place}/mod.rs"),
                format!("src/{place}/tests.rs"),
            ];
            let texts: String = files.iter().filter_map(|file| std::fs::read_to_string(root.join(file)).ok()).collect();
            let is_there = [format!("fn {test}("), format!("mod {test};"), format!("mod {test} {{")];
            assert!(is_there.iter().any(|is| texts.contains(is)), "{document}: {name} is no test");
            checked += 1;
        }
    }
    assert!(checked > 150, "{checked}");
}

/// Vectors of each letter: framing, STARTTLS, pipelining, commands, AUTH, limits, relaying, extensions, messages, HTTP,
/// and other people's servers.
const VECTORS: [(char, usize); 11] = [
    ('S', 24),
    ('T', 11),
    ('P', 10),
    ('C', 25),
    ('A', 19),
    ('L', 19),
    ('R', 26),
    ('X', 29),
    ('M', 12),
    ('H', 16),
    ('O', 12),
];

#[test]
fn every_vector_has_a_dialog_or_a_test() {
    let readme = include_str!("../README.md");
    let rows = readme.lines().filter_map(|line| line.strip_prefix("| ")?.split(" | ").next()).map(str::to_owned);
    let named: Vec<String> = dialog::all().into_iter().map(|dialog| dialog.name).chain(rows).collect();
    let is_named = |vector: &str| named.iter().any(|name| name.split([' ', ',', ':']).any(|word| word == vector));
    let all = VECTORS.iter().flat_map(|(letter, count)| (1..=*count).map(move |number| format!("{letter}{number:02}")));
    let missing: Vec<String> = all.filter(|vector| !is_named(vector)).collect();
    assert!(missing.is_empty(), "nothing shows {missing:?}");
}
