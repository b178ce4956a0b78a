//! How well reports are read, measured on a folder of mails with labels, and how fast.
//!
//! ```text
//! cargo run --release --example bounces -- FOLDER [--misses N]
//! ```
//!
//! `tests/reports` is such a folder, of one mail a format. It holds mails and `labels.jsonl`, a line each: `file`, `source`, `kind`, `original_message_id`, and
//! `recipients` with `address`, `status`, `class` and `reason`; `address_alt` and `status_alt` are as good, and
//! `disputed` classes do not count. Figures are printed for each source, and again with its phrases left out: those that
//! stand in no mail of another source. The second is what a stranger's mail may expect.

mod labels;
mod score;

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::io::Write;
use std::path::Path;
use std::time::Duration;

use anyhow::Context;
use postback::clock::Stopwatch;
use postback::mail::report;
use postback::mail::rules::{Rules, Vocabulary};

use labels::Labelled;
use score::Score;

/// How long the speed is measured.
const SPEED_TIME: Duration = Duration::from_secs(3);

fn main() -> anyhow::Result<()> {
    let mut arguments = std::env::args().skip(1);
    let folder = arguments.next().context("usage: bounces FOLDER [--misses N]")?;
    let misses = match (arguments.next().as_deref(), arguments.next()) {
        (Some("--misses"), Some(count)) => count.parse().context("--misses")?,
        _ => 0,
    };
    let mails = labels::read(Path::new(&folder))?;
    let mut sources: BTreeMap<&str, Vec<&Labelled>> = BTreeMap::new();
    for mail in &mails {
        sources.entry(mail.label.source.as_str()).or_default().push(mail);
    }
    let mut out = std::io::stdout().lock();
    let all = table(&mut out, "as it is", &sources, |_| Rules::default())?;
    let heard = heard(&mails);
    let strange = table(&mut out, "without the phrases that only this source has", &sources, |source| {
        Rules::without(&only_in(&heard, source))
    })?;
    for (title, score) in [("misses as it is", all), ("misses without", strange)].iter().filter(|_| misses > 0) {
        writeln!(out, "\n== {title}")?;
        for miss in score.misses.iter().take(misses) {
            writeln!(out, "{miss}")?;
        }
    }
    writeln!(out, "\n{:.0} reports/s on one core, slowest {:.1} ms", speed(&mails), slowest(&mails))?;
    Ok(())
}

/// Prints a line for each source and one for all; the score of all.
fn table(
    out: &mut impl Write,
    title: &str,
    sources: &BTreeMap<&str, Vec<&Labelled>>,
    rules: impl Fn(&str) -> Rules,
) -> anyhow::Result<Score> {
    writeln!(out, "\n== {title}\n{}", score::HEADINGS)?;
    let mut all = Score::default();
    for (source, mails) in sources {
        let rules = rules(source);
        let mut score = Score::default();
        for mail in mails {
            score.add(mail, &report::read(&mail.content, &rules));
        }
        writeln!(out, "{}", score.line(source))?;
        all.merge(score);
    }
    writeln!(out, "{}", all.line("all"))?;
    Ok(all)
}

/// In which sources each phrase stands.
fn heard(mails: &[Labelled]) -> HashMap<String, BTreeSet<&str>> {
    let vocabulary = Vocabulary::default();
    let mut heard: HashMap<String, BTreeSet<&str>> = HashMap::new();
    for mail in mails {
        let texts = report::texts(&mail.content);
        for phrase in texts.iter().flat_map(|text| vocabulary.heard_in(text)) {
            heard.entry(phrase.to_owned()).or_default().insert(&mail.label.source);
        }
    }
    heard
}

fn only_in(heard: &HashMap<String, BTreeSet<&str>>, source: &str) -> HashSet<String> {
    let only = heard.iter().filter(|(_, sources)| sources.len() == 1 && sources.contains(source));
    only.map(|(phrase, _)| phrase.clone()).collect()
}

fn speed(mails: &[Labelled]) -> f64 {
    let (rules, stopwatch, mut count) = (Rules::default(), Stopwatch::start(), 0u32);
    while stopwatch.elapsed() < SPEED_TIME {
        for mail in mails {
            std::hint::black_box(report::read(&mail.content, &rules));
        }
        count = count.saturating_add(u32::try_from(mails.len()).unwrap_or(u32::MAX));
    }
    f64::from(count) / stopwatch.elapsed().as_secs_f64()
}

fn slowest(mails: &[Labelled]) -> f64 {
    let rules = Rules::default();
    let took = mails.iter().map(|mail| {
        let stopwatch = Stopwatch::start();
        std::hint::black_box(report::read(&mail.content, &rules));
        stopwatch.elapsed()
    });
    took.max().unwrap_or_default().as_secs_f64() * 1e3
}
