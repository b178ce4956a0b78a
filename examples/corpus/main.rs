//! Measures rewriting, user agents and judging on a folder of samples, and prints what came of each.
//!
//! ```text
//! cargo run --release --example corpus -- FOLDER [--render]
//! ```
//!
//! What is there of this is measured, what is not is passed over:
//!
//! | in the folder | is |
//! |---|---|
//! | `html/*.html`, `html/*.jsonl` | templates; a line a link: `{"f": file, "start": byte of its value, "url": where it leads}` |
//! | `html-cases.jsonl` | small cases: `{"name", "html", "links": [targets in order]}` |
//! | `mime/*.eml` | mails of any kind |
//! | `user-agents/*.jsonl` | `{"ua", "kind", "is_machine", "client_name", "client_version", "browser_name", "os_name"}`; an empty label is not scored |
//!
//! The crowd of readers needs no folder; `--render` compares pages in Chromium (`tests/render/compare.mjs`, with Node). It
//! ends with status 1 when a figure is below what we promise.

#![allow(clippy::print_stdout, reason = "it prints its table")]

mod agents;
#[path = "../../tests/crowd/mod.rs"]
mod crowd;
mod mails;
mod pages;
#[path = "../../tests/unharmed/mod.rs"]
mod unharmed;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context, bail};
use serde_json::Value;

/// One line of the table.
struct Line {
    what: String,
    count: usize,
    all: usize,
    promised: Promised,
}

/// What we promise of a count.
#[derive(Clone, Copy)]
enum Promised {
    /// At least so many per cent of all.
    AtLeast(f64),
    /// None.
    None,
    /// Nothing: it is only told.
    Nothing,
}

impl Line {
    fn new(what: &str, right: usize, all: usize, percent: f64) -> Self {
        Self { what: what.to_owned(), count: right, all, promised: Promised::AtLeast(percent) }
    }

    fn none_of(what: &str, count: usize, all: usize) -> Self {
        Self { what: what.to_owned(), count, all, promised: Promised::None }
    }

    fn told(what: &str, count: usize, all: usize) -> Self {
        Self { what: what.to_owned(), count, all, promised: Promised::Nothing }
    }

    fn share(&self) -> f64 {
        100.0 * self.count as f64 / self.all.max(1) as f64
    }

    fn is_kept(&self) -> bool {
        match self.promised {
            Promised::AtLeast(percent) => self.all == 0 || self.share() >= percent,
            Promised::None => self.count == 0,
            Promised::Nothing => true,
        }
    }
}

#[tokio::main]
async fn main() -> anyhow::Result<ExitCode> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let Some((folder, flags)) = arguments.split_first() else { bail!("usage: corpus FOLDER [--render]") };
    let folder = Path::new(folder);
    let mut lines = pages::links(folder)?;
    lines.extend(pages::cases(folder)?);
    lines.extend(mails::figures(folder)?);
    lines.extend(agents::named(folder)?);
    lines.extend(readers().await);
    if flags.iter().any(|flag| flag == "--render") {
        lines.extend(pages::rendering(folder)?);
    }
    println!("{:62} {:>7} {:>7} {:>8} {:>9}", "", "count", "of", "%", "promised");
    for line in &lines {
        let promised = match line.promised {
            Promised::AtLeast(percent) => format!("{percent:.0}"),
            Promised::None => "none".to_owned(),
            Promised::Nothing => String::new(),
        };
        let mark = if line.is_kept() { "" } else { "  <-- missed" };
        println!("{:62} {:>7} {:>7} {:>8.1} {promised:>9}{mark}", line.what, line.count, line.all, line.share());
    }
    Ok(if lines.iter().all(Line::is_kept) { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

async fn readers() -> Vec<Line> {
    let plans = crowd::crowd(7, 60);
    let figures = crowd::figures(&plans, &crowd::play(&plans).await);
    let people = crowd::people(&figures);
    let mut lines = vec![Line::new("readers: people kept", people.right as usize, people.all as usize, 99.0)];
    for ((model, _), figure) in figures.into_iter().filter(|((_, is_person), _)| !is_person) {
        let what = format!("readers: machines of \"{model}\" caught");
        let (right, all) = (figure.right as usize, figure.all as usize);
        lines.push(match model {
            "gateway burst" | "defender, network known" => Line::new(&what, right, all, 98.0),
            "apple mpp" => Line::new(&what, right, all, 99.0),
            // What nothing tells from a person is told of and not promised.
            _ => Line::told(&what, right, all),
        });
    }
    lines
}

/// The files of a folder with this ending, by name; none when there is no folder.
fn files(folder: &Path, ending: &str) -> Vec<PathBuf> {
    let entries = fs::read_dir(folder).into_iter().flatten().flatten().map(|entry| entry.path());
    let mut files: Vec<PathBuf> =
        entries.filter(|path| path.extension().is_some_and(|found| found == ending)).collect();
    files.sort();
    files
}

/// The lines of a file of JSON lines.
fn json_lines(path: &Path) -> anyhow::Result<Vec<Value>> {
    let text = fs::read_to_string(path).with_context(|| format!("read {}", path.display()))?;
    text.lines().map(|line| serde_json::from_str(line).with_context(|| format!("{}: {line}", path.display()))).collect()
}

fn text<'v>(value: &'v Value, key: &str) -> &'v str {
    value[key].as_str().unwrap_or_default()
}
