//! The knowledge by which replies and reports are read: `rules/*.toml`, and an operator's own rules before them.
//!
//! A rule asks for phrases, for codes, or for both; of the rules that fit, the first decides, and its name is kept for
//! people who ask why. An operator's file has the same form and is asked first; what it says wrong is told by the name
//! of the rule. Which phrases there are can be told, and some left out, so that a measurement can ask what would be
//! read without them. Built once at the start, then handed to whoever reads; cheap to clone.

use std::borrow::Cow;
use std::collections::HashSet;
use std::ops::Range;
use std::sync::{Arc, LazyLock};

use serde::Deserialize;

use super::phrases::{self, Phrases, Plain};
use super::reply::{Heard, Stage, Status, Weight};
use super::report::addresses;
use super::report::notices::{self, Notices};
use crate::model::reason::{Cause, Class, Reason};

/// How far apart the two phrases of a `near` may stand, in bytes of plain text.
const NEAR_BYTES_MAX: usize = 40;
/// Largest file of an operator's rules, in bytes.
pub const OWN_BYTES_MAX: usize = 1 << 20;

/// Everything by which replies and reports are read.
#[derive(Clone)]
pub struct Rules(Arc<Book>);

struct Book {
    rules: Vec<Rule>,
    /// The phrases of the rules by number: their `any`, then, as if every rule came again and again, their `unless` and
    /// the two lists of their `near`.
    phrases: Phrases,
    /// The rules that ask for codes alone.
    coded: Vec<usize>,
    /// The rules that ask for URLs.
    linked: Vec<usize>,
    /// The words by which kinds of mail are known.
    notices: Phrases,
}

/// A file of rules that cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct BadRules(String);

/// The files of built-in rules, in the order in which they are asked.
const FILES: [&str; 7] = [
    include_str!("rules/room.toml"),
    include_str!("rules/sender.toml"),
    include_str!("rules/recipient.toml"),
    include_str!("rules/way.toml"),
    include_str!("rules/near.toml"),
    include_str!("rules/rest.toml"),
    include_str!("rules/codes.toml"),
];

static BUILT_IN: LazyLock<Rules> = LazyLock::new(|| Rules::of(&[], &HashSet::new()).expect("a test reads the files"));

impl Default for Rules {
    fn default() -> Self {
        BUILT_IN.clone()
    }
}

impl std::fmt::Debug for Rules {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(out, "Rules({})", self.0.rules.len())
    }
}

impl Rules {
    /// The built-in rules with an operator's before them. Each example of an own rule must be decided by it.
    ///
    /// # Errors
    /// The first thing that makes no sense, with the name of the rule.
    pub fn with_own(text: &str) -> Result<Self, BadRules> {
        let bad = |why: String| Err(BadRules(why));
        if text.len() > OWN_BYTES_MAX {
            return bad(format!("the file is larger than {OWN_BYTES_MAX} bytes"));
        }
        let rules = Self::of(&[text], &HashSet::new())?;
        let own = rules.0.rules.len() - Self::default().0.rules.len();
        let own = rules.0.rules.get(..own).unwrap_or_default();
        for (rule, example) in own.iter().flat_map(|rule| rule.examples.iter().map(move |example| (rule, example))) {
            let cause = rules.judge(None, example, Stage::Report);
            if cause.rule != rule.name {
                return bad(format!("rule {}: its example {example:?} is decided by rule {}", rule.name, cause.rule));
            }
        }
        Ok(rules)
    }

    /// The built-in rules without these phrases, each named as in [`Vocabulary`].
    pub fn without(phrases: &HashSet<String>) -> Self {
        Self::of(&[], phrases).expect("the files are read without their phrases as with them")
    }

    fn of(own: &[&str], left_out: &HashSet<String>) -> Result<Self, BadRules> {
        let mut rules: Vec<Rule> = Vec::new();
        for file in own.iter().chain(&FILES) {
            rules.extend(toml::from_str::<RuleFile>(file).map_err(|bad| BadRules(bad.to_string()))?.rule);
        }
        let mut names = HashSet::new();
        let mut phrases = Phrases::default();
        for (number, rule) in rules.iter().enumerate() {
            rule.check(names.insert(rule.name.as_str()))?;
            for (list, phrase) in rule.phrases() {
                let wanted = |phrase: &str| list == UNLESS || !left_out.contains(&named(&rule.name, phrase));
                if !phrases.add(phrase, list * rules.len() + number, wanted) {
                    return Err(BadRules(format!("rule {}: no use can be made of {phrase:?}", rule.name)));
                }
            }
        }
        let numbers = |wanted: fn(&Rule) -> bool| -> Vec<usize> {
            rules.iter().enumerate().filter(|(_, rule)| wanted(rule)).map(|(number, _)| number).collect()
        };
        let (coded, linked) = (numbers(|rule| !rule.has_words()), numbers(|rule| !rule.url.is_empty()));
        let notices = notices::phrases(|list, phrase| !left_out.contains(&named(&format!("{list:?}"), phrase)));
        let notices = notices.map_err(BadRules)?;
        Ok(Self(Arc::new(Book { phrases, coded, linked, rules, notices })))
    }

    /// Judges a reply, or the text of one. `code` is the reply code where it is known apart from the text.
    pub fn judge(&self, code: Option<u16>, text: &str, stage: Stage) -> Cause {
        let heard = Heard::new(code, None, text, Cow::Owned(plain_of(text)), stage);
        self.cause(&heard, self.first(&heard, |_| true))
    }

    /// Judges the diagnostic of a report with the status that its fields give; says how surely.
    pub(super) fn weigh(&self, status: Option<&str>, text: &str) -> (Cause, Weight) {
        self.weigh_at(Stage::Report, status, text)
    }

    /// The same for what was said at a stage that is known.
    pub(super) fn weigh_at(&self, stage: Stage, status: Option<&str>, text: &str) -> (Cause, Weight) {
        let heard = Heard::new(None, status, text, Cow::Owned(plain_of(text)), stage);
        let (cause, weight) = self.weigh_by(&heard, |_| true);
        // Whatever it says, it says of this recipient.
        let class = if weight == Weight::Nothing && heard.has_words() { Class::Soft } else { cause.class };
        (Cause { class, ..cause }, weight)
    }

    /// A cause as it is when it was said at this stage, which is asked for only where it matters.
    pub(super) fn at(&self, cause: Cause, stage: impl FnOnce() -> Stage) -> Cause {
        let rule = self.0.rules.iter().find(|rule| rule.name == cause.rule);
        let late = rule.and_then(|rule| rule.after_data).filter(|reason| *reason != cause.reason);
        match late.filter(|_| is_bare_550(&cause) && stage() == Stage::Data) {
            Some(reason) => Cause { reason, class: reason.class(), ..cause },
            None => cause,
        }
    }

    /// The same for prose, where broad words mean little.
    pub(super) fn weigh_prose(&self, status: Option<&str>, text: &str, plain: &Plain) -> (Cause, Weight) {
        self.weigh_by(&Heard::new(None, status, text, Cow::Borrowed(plain), Stage::Report), |rule| !rule.broad)
    }

    /// What a piece of prose says, where its words say it.
    pub(super) fn said_in(&self, prose: &str, status: Option<&str>) -> Option<Cause> {
        let (cause, weight) = self.weigh_prose(status, prose, &phrases::plain(prose));
        (weight == Weight::Words).then_some(cause)
    }

    /// What a text tells of the kind of mail that it is.
    pub(super) fn notices_in(&self, text: &str) -> Notices {
        self.notices_in_words(&phrases::plain(text).words)
    }

    /// The same for a text that was made plain.
    pub(super) fn notices_in_words(&self, words: &str) -> Notices {
        let mut set = Notices::default();
        self.0.notices.each(words, |notice, _| set.add(notice));
        set
    }

    fn weigh_by(&self, heard: &Heard<'_>, wanted: fn(&Rule) -> bool) -> (Cause, Weight) {
        let rule = self.first(heard, wanted);
        let weight = rule.map_or(Weight::Nothing, |rule| if rule.has_words() { Weight::Words } else { Weight::Code });
        (self.cause(heard, rule), weight)
    }

    fn cause(&self, heard: &Heard<'_>, rule: Option<&Rule>) -> Cause {
        let reason = rule.map_or(Reason::Unknown, |rule| rule.reason);
        let presumed =
            if rule.is_none() && heard.has_code() && heard.has_words() { Class::Soft } else { reason.class() };
        let class = rule.and_then(|rule| rule.class).unwrap_or(presumed);
        self.at(heard.cause(reason, class, rule.map_or("none", |rule| &rule.name)), || heard.stage)
    }

    /// The first rule that fits and is wanted.
    fn first(&self, heard: &Heard<'_>, wanted: impl Fn(&Rule) -> bool) -> Option<&Rule> {
        let book = &*self.0;
        let count = book.rules.len();
        let (mut candidates, mut excepted, mut halves) = (vec![false; count], vec![false; count], Vec::new());
        book.phrases.each(&heard.plain.words, |number, at| match (number / count, number % count) {
            (ANY, rule) => mark(&mut candidates, rule),
            (UNLESS, rule) => mark(&mut excepted, rule),
            (list, rule) => halves.push((rule, list, at)),
        });
        meetings(halves).into_iter().chain(book.coded.iter().copied()).for_each(|rule| mark(&mut candidates, rule));
        if !heard.plain.urls.is_empty() {
            let named = |number: &&usize| {
                let rule = book.rules.get(**number);
                rule.is_some_and(|rule| rule.url.iter().any(|piece| heard.plain.urls.contains(piece.as_str())))
            };
            book.linked.iter().filter(named).for_each(|rule| mark(&mut candidates, *rule));
        }
        let fits = |rule: &Rule| rule.allows(heard) && rule.may_speak(heard.stage) && wanted(rule);
        let asked = book.rules.iter().zip(candidates.into_iter().zip(excepted));
        asked.filter(|(_, (candidate, excepted))| *candidate && !excepted).map(|(rule, _)| rule).find(|rule| fits(rule))
    }
}

fn mark(flags: &mut [bool], at: usize) {
    if let Some(flag) = flags.get_mut(at) {
        *flag = true;
    }
}

/// The rules of which a phrase of the one list stands near one of the other. The halves are in the order of the text.
fn meetings(mut halves: Vec<(usize, usize, Range<usize>)>) -> Vec<usize> {
    halves.sort_by_key(|(rule, ..)| *rule);
    let mut met: Vec<usize> = Vec::new();
    for of_rule in halves.chunk_by(|one, other| one.0 == other.0) {
        // Where the last phrase of each list ended.
        let mut ends: [Option<usize>; 2] = [None; 2];
        for (rule, list, at) in of_rule {
            let [own, other] = if *list == NEAR { [0, 1] } else { [1, 0] };
            let is_near = ends[other].is_some_and(|end| at.start <= end + NEAR_BYTES_MAX);
            ends[own] = ends[own].max(Some(at.end));
            if is_near {
                met.push(*rule);
                break;
            }
        }
    }
    met
}

fn plain_of(text: &str) -> Plain {
    if text.contains('\\') { phrases::plain(&addresses::without_octal(text)) } else { phrases::plain(text) }
}

/// Whether a cause has the code 550, and no enhanced code that speaks of the address (x.1.z).
fn is_bare_550(cause: &Cause) -> bool {
    let subject = cause.status.as_deref().and_then(|status| status.split('.').nth(1));
    cause.code == Some(550) && subject != Some("1")
}

/// How a phrase is named where phrases are told apart: `rule-or-list: phrase`.
fn named(list: &str, phrase: &str) -> String {
    format!("{list}: {phrase}")
}

/// Every built-in phrase by its name, to be looked for in texts: for measuring what a reading rests on.
pub struct Vocabulary {
    names: Vec<String>,
    phrases: Phrases,
}

impl Default for Vocabulary {
    fn default() -> Self {
        let mut names = Vec::new();
        let mut all = Phrases::default();
        let mut add = |list: &str, phrase: &str| {
            all.add(phrase, names.len(), |_| true);
            names.push(named(list, phrase));
        };
        for rule in &Rules::default().0.rules {
            let all = rule.phrases().filter(|(list, _)| *list != UNLESS);
            let each = all.flat_map(|(_, phrase)| phrases::alternatives(phrase));
            each.for_each(|phrase| add(&rule.name, &phrase));
        }
        let take = |list, phrase: &str| {
            add(&format!("{list:?}"), phrase);
            false
        };
        notices::phrases(take).expect("a test reads the file");
        Self { names, phrases: all }
    }
}

impl Vocabulary {
    /// The names of the phrases that stand in a text.
    pub fn heard_in(&self, text: &str) -> HashSet<&str> {
        let mut heard = HashSet::new();
        self.phrases.each(&phrases::plain(text).words, |number, _| {
            heard.extend(self.names.get(number).map(String::as_str));
        });
        heard
    }
}

/// The lists of phrases that a rule has.
const ANY: usize = 0;
const UNLESS: usize = 1;
const NEAR: usize = 2;

/// One rule of a file.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Rule {
    /// Its name; unique.
    name: String,
    /// What it concludes.
    reason: Reason,
    /// Where the class is not the reason's own.
    class: Option<Class>,
    /// What it concludes where the host had taken the recipient and says so by a bare 550 only after the content, as
    /// filters do (RFC 5321 §4.2.5).
    after_data: Option<Reason>,
    /// Phrases, one of which must stand in the text.
    #[serde(default)]
    any: Vec<String>,
    /// Or phrases of two lists, one of each standing within a few words of the other, in either order.
    near: Option<[Vec<String>; 2]>,
    /// Or a piece of a URL in the text.
    #[serde(default)]
    url: Vec<String>,
    /// Phrases that must not.
    #[serde(default)]
    unless: Vec<String>,
    /// Enhanced codes, one of which must be given; `*` stands for any number.
    #[serde(default)]
    status: Vec<StatusPattern>,
    /// Reply codes, one of which must be given.
    #[serde(default)]
    code: Vec<u16>,
    /// Stages, one of which it must be.
    #[serde(default)]
    stage: Vec<Stage>,
    /// Its words are too common to mean much outside a diagnostic.
    #[serde(default)]
    broad: bool,
    /// Texts that it must decide.
    #[serde(default)]
    examples: Vec<String>,
}

impl Rule {
    fn has_words(&self) -> bool {
        !self.any.is_empty() || !self.url.is_empty() || self.near.is_some()
    }

    /// Its phrases, each with the list in which it stands.
    fn phrases(&self) -> impl Iterator<Item = (usize, &str)> {
        let near = self.near.iter().flatten();
        let lists = [&self.any, &self.unless].into_iter().chain(near);
        lists.enumerate().flat_map(|(list, phrases)| phrases.iter().map(move |phrase| (list, phrase.as_str())))
    }

    fn check(&self, is_first_of_its_name: bool) -> Result<(), BadRules> {
        let asks_nothing = !self.has_words() && self.status.is_empty() && self.code.is_empty() && self.stage.is_empty();
        let bad = |why: &str| Err(BadRules(format!("rule {}: {why}", self.name)));
        match () {
            () if !is_first_of_its_name => bad("there is another of this name"),
            () if asks_nothing => bad("it asks for nothing; give it any, near, url, status, code or stage"),
            () => Ok(()),
        }
    }

    /// Whether the codes and the stage fit.
    fn allows(&self, heard: &Heard<'_>) -> bool {
        let status = || self.status.iter().any(|pattern| heard.status.is_some_and(|status| pattern.fits(status)));
        (self.code.is_empty() || heard.code.is_some_and(|code| self.code.contains(&code)))
            && (self.status.is_empty() || status())
            && (self.stage.is_empty() || self.stage.contains(&heard.stage))
    }
}

impl Rule {
    /// Whether it can be meant at this stage: before the recipient is named, nobody speaks of him; only of a host that
    /// takes no mail at all.
    fn may_speak(&self, stage: Stage) -> bool {
        let is_hard = self.class.unwrap_or(self.reason.class()) == Class::Hard;
        match stage {
            Stage::StartTls | Stage::Auth | Stage::Mail => !is_hard,
            Stage::Connect | Stage::Hello => !is_hard || self.reason == Reason::NoMailHost,
            Stage::Rcpt | Stage::Data | Stage::Report => true,
        }
    }
}

/// `5.1.1`, where `*` stands for any number.
#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(try_from = "String")]
struct StatusPattern([Option<u16>; 3]);

impl TryFrom<String> for StatusPattern {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        let part = |part: &str| if part == "*" { Some(None) } else { part.parse().ok().map(Some) };
        let parts: Option<Vec<Option<u16>>> = text.split('.').map(part).collect();
        let parts = parts.and_then(|parts| parts.try_into().ok());
        parts.map(Self).ok_or_else(|| format!("{text:?} is no pattern of an enhanced code"))
    }
}

impl StatusPattern {
    fn fits(self, status: Status) -> bool {
        let parts = [status.class, status.subject, status.detail];
        self.0.iter().zip(parts).all(|(wanted, part)| wanted.is_none_or(|wanted| wanted == part))
    }
}

#[derive(Deserialize)]
struct RuleFile {
    #[serde(default)]
    rule: Vec<Rule>,
}

#[cfg(test)]
mod tests;
