//! How well reports are read, measured on a folder of mails with labels, and how fast.
//!
//! ```text
//! cargo run --release --example bounces -- FOLDER [--misses N]
//! ```
//!
//! `tests/reports` is such a folder, of one mail a format. It holds mails and `labels.jsonl`, a line each: `file`, `source`, `kind`, `original_message_id`, and
//! `recipients` with `address`, `status`, `class` and `reason`; `address_alt` and `status_alt` are as good, and
//! `disputed` classes do not count. Figures are printed for each source, and again with phrases left out: for each mail
//! those that stand in no other mail, which is what the next mail of a known source may expect; then those that stand in no
//! mail of another source, which is what a stranger's may.

mod labels;
mod score;

use std::collections::{BTreeMap, HashMap, HashSet};
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
    let heard = heard(&mails);
    let mut scores = vec![("as it is", table(&mut out, "as it is", &sources, |_| Rules::default())?)];
    for (title, group) in [
        ("without the phrases that only this mail has", (|mail| mail.label.file.as_str()) as Group),
        ("without the phrases that only this source has", |mail| mail.label.source.as_str()),
    ] {
        // Mails of a group stand together.
        let mut last = (None, Rules::default());
        let score = table(&mut out, title, &sources, |mail| {
            if last.0 != Some(group(mail)) {
                let only = only_in(&heard, group, group(mail));
                let rules = if only.is_empty() { Rules::default() } else { Rules::without(&only) };
                last = (Some(group(mail)), rules);
            }
            last.1.clone()
        })?;
        scores.push((title, score));
    }
    for (title, score) in scores.iter().filter(|_| misses > 0) {
        writeln!(out, "\n== misses {title}")?;
        for miss in score.misses.iter().take(misses) {
            writeln!(out, "{miss}")?;
        }
    }
    writeln!(out, "\n{:.0} reports/s on one core, slowest {:.1} ms", speed(&mails), slowest(&mails))?;
    Ok(())
}

/// What is left out together.
type Group = for<'m> fn(&'m Labelled) -> &'m str;

/// Prints a line for each source and one for all; the score of all.
fn table<'m>(
    out: &mut impl Write,
    title: &str,
    sources: &BTreeMap<&str, Vec<&'m Labelled>>,
    mut rules: impl FnMut(&'m Labelled) -> Rules,
) -> anyhow::Result<Score> {
    writeln!(out, "\n== {title}\n{}", score::HEADINGS)?;
    let mut all = Score::default();
    for (source, mails) in sources {
        let mut score = Score::default();
        for mail in mails {
            score.add(mail, &report::read(&mail.content, &rules(mail)));
        }
        writeln!(out, "{}", score.line(source))?;
        all.merge(score);
    }
    writeln!(out, "{}", all.line("all"))?;
    Ok(all)
}

/// In which mails each phrase stands.
fn heard(mails: &[Labelled]) -> HashMap<String, Vec<&Labelled>> {
    let vocabulary = Vocabulary::default();
    let mut heard: HashMap<String, Vec<&Labelled>> = HashMap::new();
    for mail in mails {
        let texts = report::texts(&mail.content);
        let phrases: HashSet<&str> = texts.iter().flat_map(|text| vocabulary.heard_in(text)).collect();
        phrases.into_iter().for_each(|phrase| heard.entry(phrase.to_owned()).or_default().push(mail));
    }
    heard
}

fn only_in(heard: &HashMap<String, Vec<&Labelled>>, group: Group, name: &str) -> HashSet<String> {
    let only = heard.iter().filter(|(_, mails)| mails.iter().all(|mail| group(mail) == name));
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
