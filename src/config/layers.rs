//! Layers of settings, each over the one before, and who wrote what.
//!
//! A tree of TOML values starts as the built-in settings; a file, the environment and flags are laid over it. After
//! each step the whole is read back as settings, so that whatever is wrong is told of the step that brought it.
//! Text from the environment or a flag becomes whatever its key wants: text first, then a TOML value, then a list.

use std::fmt;
use std::marker::PhantomData;
use std::path::{Path, PathBuf};

use serde::Serialize;
use serde::de::DeserializeOwned;
use toml::{Table, Value};

use super::nearest::nearest;

/// Settings that make no sense, in one line.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct Problem(pub String);

/// Who set a value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Origin {
    /// Nobody; it is built in.
    Default,
    /// This file.
    File(PathBuf),
    /// This variable.
    Environment(String),
    /// This flag.
    Flag(String),
}

impl fmt::Display for Origin {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Origin::Default => out.write_str("default"),
            Origin::File(path) => path.display().fmt(out),
            Origin::Environment(name) | Origin::Flag(name) => out.write_str(name),
        }
    }
}

/// What has been laid so far.
#[derive(Clone, Debug)]
pub(super) struct Layers<T> {
    tree: Value,
    /// Keys and who set them, the latest last.
    origins: Vec<(String, Origin)>,
    of: PhantomData<T>,
}

impl<T: Default + Serialize> Default for Layers<T> {
    fn default() -> Self {
        Self { tree: tree(&T::default()), origins: Vec::new(), of: PhantomData }
    }
}

/// What the names of variables begin with.
const PREFIX: &str = "POSTBACK__";
/// The same with an underscore too few.
const PREFIX_OF_SOMEBODY: &str = "POSTBACK_";
/// What the name of a variable ends with that names a file holding the value.
const FILE_SUFFIX: &str = "_file";

impl<T: DeserializeOwned> Layers<T> {
    /// Lays a file's text over what is there.
    pub(super) fn file(&mut self, path: &Path, text: &str) -> Result<(), Problem> {
        // Read by itself first: only then is it known which line is wrong.
        let layer = toml::from_str::<T>(text).and_then(|_| text.parse::<Table>());
        let layer = layer.map_err(|fault| {
            let line = fault.span().map_or(1, |span| 1 + text.bytes().take(span.start).filter(|b| *b == b'\n').count());
            let tree = text.parse().map(Value::Table).ok();
            let by_key = tree.clone().and_then(|tree| T::deserialize(tree).err());
            let fault = by_key.unwrap_or(fault);
            let choices = tree.and_then(|tree| choices::<T>(tree, &fault)).unwrap_or_default();
            Problem(format!("{}:{line}: {}{choices}", path.display(), explain(&fault)))
        })?;
        let layer = Value::Table(layer);
        for (key, _) in flattened(&layer) {
            self.origins.push((key, Origin::File(path.to_owned())));
        }
        merge(&mut self.tree, layer);
        Ok(())
    }

    /// Lays the environment over what is there. `POSTBACK__A__B_FILE` names a file that holds the value of `a.b`.
    pub(super) fn environment(&mut self, variables: &[(String, String)]) -> Result<(), Problem> {
        if let Some(Problem(told)) = variables.iter().find_map(|(name, _)| self.misspelt(name)) {
            return Err(Problem(told));
        }
        let mut ours: Vec<_> = variables.iter().filter(|(name, _)| name.starts_with(PREFIX)).collect();
        ours.sort();
        for (name, text) in ours {
            let key = name[PREFIX.len()..].to_lowercase().replace("__", ".");
            let origin = Origin::Environment(name.clone());
            let laid = self.text(&key, text, origin.clone());
            match key.strip_suffix(FILE_SUFFIX) {
                Some(key) if laid.is_err() => {
                    let read = std::fs::read_to_string(text);
                    let value = read.map_err(|fault| Problem(format!("{name}: read {text}: {fault}")))?;
                    self.text(key, value.trim_end_matches(['\r', '\n']), origin)?;
                }
                _ => laid?,
            }
        }
        Ok(())
    }

    /// What was meant by a variable whose name would be a key's with two underscores where it has one.
    fn misspelt(&self, name: &str) -> Option<Problem> {
        let rest = name.strip_prefix(PREFIX_OF_SOMEBODY).filter(|_| !name.starts_with(PREFIX))?.to_lowercase();
        let of_file = rest.strip_suffix(FILE_SUFFIX).map(|words| (words, FILE_SUFFIX));
        let readings = [Some((rest.as_str(), "")), of_file].into_iter().flatten();
        let (key, end) = readings.into_iter().find_map(|(words, end)| Some((self.key_of(words)?, end)))?;
        let meant = format!("{PREFIX}{}{end}", key.replace('.', "__")).to_uppercase();
        Some(Problem(format!("{name}: nobody reads this variable; did you mean `{meant}`?")))
    }

    /// The key that has these words.
    fn key_of(&self, text: &str) -> Option<String> {
        const WORDS_MAX: usize = 8;
        let words: Vec<&str> = text.split('_').collect();
        if words.len() > WORDS_MAX || words.contains(&"") {
            return None;
        }
        // Every way to read each underscore, as a part of a word or as the end of one.
        let mut keys = (0..1_u32 << (words.len() - 1)).map(|ends| {
            let mut key = words[0].to_owned();
            for (place, word) in words[1..].iter().enumerate() {
                key.push(if ends >> place & 1 == 1 { '.' } else { '_' });
                key += word;
            }
            key
        });
        keys.find(|key| self.is_key(key))
    }

    /// Whether there is such a setting.
    fn is_key(&self, key: &str) -> bool {
        let mut tree = self.tree.clone();
        let laid = place(&mut tree, key, Value::String(String::new()));
        let is_section = flattened(&self.tree)
            .iter()
            .any(|(leaf, _)| leaf.strip_prefix(key).is_some_and(|rest| rest.starts_with('.')));
        // Whatever else is wrong, it is wrong with the value.
        !is_section
            && laid.is_ok()
            && !matches!(T::deserialize(tree), Err(fault) if fault.message().starts_with("unknown field"))
    }

    /// Lays one value, given as text, over what is there. A number in a key counts the entries of a list.
    pub(super) fn text(&mut self, key: &str, text: &str, origin: Origin) -> Result<(), Problem> {
        let mut told: Option<String> = None;
        for value in readings(text) {
            let mut tree = self.tree.clone();
            let laid = place(&mut tree, key, value).and_then(|()| match T::deserialize(tree.clone()) {
                Err(fault) if !fault.message().starts_with("missing field") => Err(explain(&fault)),
                // A part that is still missing may come with the next variable.
                _ => Ok(()),
            });
            match laid {
                Ok(()) => {
                    self.tree = tree;
                    self.origins.push((key.to_owned(), origin));
                    return Ok(());
                }
                // A key that wants text, or no list either, is told of what was typed, not of our second reading.
                Err(fault) => match &told {
                    Some(first) if !is_text_refused(first) || fault.contains("invalid type: sequence") => {}
                    _ => told = Some(fault),
                },
            }
        }
        let (origin, told) = (origin.to_string(), told.unwrap_or_default());
        let told = if origin.ends_with(key) { told.strip_prefix(&format!("{key}: ")).unwrap_or(&told) } else { &told };
        Err(Problem(format!("{origin}: {told}")))
    }

    /// The settings that the layers make.
    pub(super) fn settings(&self) -> Result<T, Problem> {
        T::deserialize(self.tree.clone()).map_err(|fault| Problem(explain(&fault)))
    }

    /// Who set `key`, or a part of it, last.
    pub(super) fn origin(&self, key: &str) -> Origin {
        let within = |inner: &str, outer: &str| {
            inner.strip_prefix(outer).is_some_and(|rest| rest.is_empty() || rest.starts_with('.'))
        };
        let concerns = |set: &str| within(set, key) || within(key, set);
        let last = self.origins.iter().rev().find(|(set, _)| concerns(set));
        last.map_or(Origin::Default, |(_, origin)| origin.clone())
    }
}

/// Every value of `settings` that is not a table, with its key.
pub(super) fn leaves(settings: &impl Serialize) -> Vec<(String, Value)> {
    flattened(&tree(settings))
}

fn tree(settings: &impl Serialize) -> Value {
    Value::try_from(settings).expect("settings are tables, lists, texts, numbers and flags")
}

fn flattened(tree: &Value) -> Vec<(String, Value)> {
    let Value::Table(table) = tree else { return Vec::new() };
    let (tables, plain): (Vec<_>, Vec<_>) = table.iter().partition(|(_, value)| value.is_table());
    let inner = tables.into_iter().flat_map(|(key, value)| {
        flattened(value).into_iter().map(move |(rest, value)| (format!("{key}.{rest}"), value))
    });
    plain.into_iter().map(|(key, value)| (key.clone(), value.clone())).chain(inner).collect()
}

/// Tables are laid over tables key by key; everything else replaces what was there.
fn merge(under: &mut Value, over: Value) {
    match (under, over) {
        (Value::Table(under), Value::Table(over)) => {
            for (key, value) in over {
                match under.get_mut(&key) {
                    Some(there) => merge(there, value),
                    None => drop(under.insert(key, value)),
                }
            }
        }
        (under, over) => *under = over,
    }
}

fn place(tree: &mut Value, key: &str, value: Value) -> Result<(), String> {
    let mut at = tree;
    for part in key.split('.') {
        at = match at {
            Value::Array(entries) => {
                let count = entries.len();
                let entry = part.parse::<usize>().ok().and_then(|index| entries.get_mut(index));
                entry.ok_or_else(|| format!("{key}: `{part}` is not one of its {count} entries, counted from 0"))?
            }
            Value::Table(table) => table.entry(part).or_insert_with(|| Value::Table(Table::new())),
            _ => return Err(format!("{key}: there is nothing below the key before `{part}`")),
        };
    }
    *at = value;
    Ok(())
}

/// What a text may stand for, in the order to be tried.
fn readings(text: &str) -> Vec<Value> {
    let list = text.split(',').map(|entry| Value::String(entry.trim().to_owned())).collect();
    let mut readings = vec![Value::String(text.to_owned())];
    let toml = format!("value = {text}").parse::<Table>().ok().filter(|table| table.len() == 1);
    match toml.and_then(|mut table| table.remove("value")) {
        Some(value) => readings.push(value),
        None => readings.push(Value::Array(list)),
    }
    readings
}

/// The fault in words for people: its key, what is wrong, and what was probably meant.
fn explain(fault: &toml::de::Error) -> String {
    let told = fault.to_string();
    let place = told.lines().last().and_then(|line| line.strip_prefix("in `")).and_then(|rest| rest.strip_suffix('`'));
    let what =
        unknown(fault.message()).unwrap_or_else(|| plain(fault.message()).replace("missing field", "missing key"));
    match place {
        Some(place) => format!("{place}: {what}"),
        None => what,
    }
}

/// Where a key is missing that has a choice of words: which.
fn choices<T: DeserializeOwned>(mut tree: Value, fault: &toml::de::Error) -> Option<String> {
    let key = fault.message().strip_prefix("missing field `")?.strip_suffix('`')?.to_owned();
    let told = fault.to_string();
    let place = told.lines().last()?.strip_prefix("in `")?.strip_suffix('`')?;
    let section = place.split('.').try_fold(&mut tree, |at, part| at.get_mut(part))?;
    // No word is the empty one, so that whoever reads it says which there are.
    let empty = || Value::String(String::new());
    match section {
        Value::Table(table) => drop(table.insert(key, empty())),
        Value::Array(entries) => {
            let lacking = entries.iter_mut().filter_map(Value::as_table_mut).find(|entry| !entry.contains_key(&key));
            lacking?.insert(key, empty());
        }
        _ => return None,
    }
    let asked = T::deserialize(tree).err()?;
    let words = asked.message().strip_prefix("unknown variant ``, expected ")?.replace('`', "");
    Some(format!("; it is {}", words.strip_prefix("one of ").unwrap_or(&words)))
}

/// A fault that serde tells in Rust's words, in those of people.
pub fn plain(fault: &str) -> String {
    let Some((told, wanted)) = fault.rsplit_once("expected ") else { return fault.to_owned() };
    let end = wanted.find(|letter: char| !letter.is_ascii_alphanumeric()).unwrap_or(wanted.len());
    let (word, rest) = wanted.split_at(end);
    let word = match word {
        "u8" => "a whole number from 0 to 255",
        "u16" => "a whole number from 0 to 65535",
        "u32" => "a whole number from 0 to 4294967295",
        "u64" | "usize" => "a whole number from 0 up",
        "i64" | "isize" => "a whole number",
        other => other,
    };
    format!("{told}expected {word}{rest}")
}

/// Whether a fault says that a key wants something else than text.
fn is_text_refused(fault: &str) -> bool {
    fault.contains("invalid type: string")
}

fn unknown(message: &str) -> Option<String> {
    let (rest, is_key) = match message.strip_prefix("unknown field `") {
        Some(rest) => (rest, true),
        None => (message.strip_prefix("unknown variant `")?, false),
    };
    let (word, rest) = rest.split_once('`')?;
    let known: Vec<&str> = rest.split('`').skip(1).step_by(2).collect();
    let meant = match nearest(word, known.iter().copied()) {
        Some(meant) => format!("; did you mean `{meant}`?"),
        None => String::new(),
    };
    Some(match (is_key, meant.is_empty()) {
        (true, false) => format!("unknown key `{word}`{meant}"),
        (true, true) => format!("unknown key `{word}`; there are {}", known.join(", ")),
        (false, _) => format!("`{word}` is not one of {}{meant}", known.join(", ")),
    })
}

#[cfg(test)]
mod tests {
    use std::net::SocketAddr;

    use serde::Deserialize;

    use super::*;
    use crate::model::secret::Secret;

    #[derive(Debug, Default, PartialEq, Serialize, Deserialize)]
    #[serde(default, deny_unknown_fields)]
    struct House {
        name: String,
        rooms: Vec<String>,
        door: Door,
        bells: Vec<Bell>,
    }

    #[derive(Debug, Default, PartialEq, Serialize, Deserialize)]
    #[serde(default, deny_unknown_fields)]
    struct Door {
        width: u16,
        code: Secret,
        side: Side,
    }

    #[derive(Debug, Default, PartialEq, Serialize, Deserialize)]
    #[serde(rename_all = "lowercase")]
    enum Side {
        #[default]
        Left,
        Right,
    }

    #[derive(Debug, PartialEq, Serialize, Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Bell {
        at: SocketAddr,
    }

    fn house(file: &str, environment: &[(&str, &str)]) -> Result<(House, Layers<House>), String> {
        let mut layers = Layers::<House>::default();
        let own = |(name, value): &(&str, &str)| (format!("POSTBACK__{name}"), (*value).to_owned());
        let environment: Vec<_> = environment.iter().map(own).collect();
        let laid = layers.file(Path::new("house.toml"), file).and_then(|()| layers.environment(&environment));
        laid.and_then(|()| layers.settings()).map(|house| (house, layers)).map_err(|problem| problem.to_string())
    }

    #[test]
    fn later_layers_win_and_leave_the_rest() {
        let file = "name = 'file'\nrooms = ['a', 'b']\n[door]\nwidth = 1\nside = 'right'\n";
        let (house, layers) = house(file, &[("NAME", "7"), ("DOOR__WIDTH", "70"), ("ROOMS", "x, y")]).unwrap();
        assert_eq!((house.name.as_str(), house.door.width, house.door.side), ("7", 70, Side::Right));
        assert_eq!(house.rooms, ["x", "y"]);
        assert_eq!(layers.origin("name"), Origin::Environment("POSTBACK__NAME".into()));
        assert_eq!(layers.origin("door.side"), Origin::File("house.toml".into()));
        assert_eq!(layers.origin("door.code"), Origin::Default);
    }

    #[test]
    fn lists_of_tables_are_reached_by_number_or_given_whole() {
        let bells = "bells = [{ at = '127.0.0.1:1' }]";
        let (one, layers) = house(bells, &[("BELLS__0__AT", "127.0.0.1:9")]).unwrap();
        assert_eq!(one.bells, [Bell { at: "127.0.0.1:9".parse().unwrap() }]);
        assert_eq!(layers.origin("bells"), Origin::Environment("POSTBACK__BELLS__0__AT".into()));
        let (whole, _) = house("", &[("BELLS", "[{ at = '127.0.0.1:2' }]")]).unwrap();
        assert_eq!(whole.bells.len(), 1);
        let told = house(bells, &[("BELLS__1__AT", "127.0.0.1:9")]).unwrap_err();
        assert_eq!(told, "POSTBACK__BELLS__1__AT: bells.1.at: `1` is not one of its 1 entries, counted from 0");
    }

    #[test]
    fn a_secret_may_stay_in_its_file() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("code");
        std::fs::write(&path, "1234\n").unwrap();
        let (house, layers) = house("", &[("DOOR__CODE_FILE", path.to_str().unwrap())]).unwrap();
        assert_eq!(house.door.code, Secret::new("1234"));
        assert_eq!(layers.origin("door.code"), Origin::Environment("POSTBACK__DOOR__CODE_FILE".into()));
        assert!(leaves(&house).contains(&("door.code".to_owned(), Value::String("***".to_owned()))));
    }

    #[test]
    fn a_variable_with_an_underscore_too_few_is_not_passed_over() {
        let check = |name: &str, meant: Option<&str>| {
            let laid = Layers::<House>::default().environment(&[(name.to_owned(), "x".to_owned())]);
            let told = meant.map(|meant| format!("{name}: nobody reads this variable; did you mean `{meant}`?"));
            assert_eq!(laid.err().map(|problem| problem.to_string()), told);
        };
        check("POSTBACK_NAME", Some("POSTBACK__NAME"));
        check("POSTBACK_DOOR_WIDTH", Some("POSTBACK__DOOR__WIDTH"));
        // The value is no path, and the path no value.
        check("POSTBACK_DOOR_CODE_FILE", Some("POSTBACK__DOOR__CODE_FILE"));
        check("POSTBACK_NAME_FILE", Some("POSTBACK__NAME_FILE"));
        for foreign in [
            "POSTBACK_DOOR",
            "POSTBACK_PORT",
            "POSTBACK_SERVICE_HOST",
            "POSTBACK_",
            "POSTBACK_DOOR_",
            "POSTBACKNAME",
            "NAME",
        ] {
            check(foreign, None);
        }
    }

    #[test]
    fn a_missing_word_is_told_with_those_there_are() {
        let file =
            "[[smtp.listeners]]\naddress = '[::]:25'\nkind = 'inbound'\n[[smtp.listeners]]\naddress = '[::]:587'\n";
        let told = Layers::<crate::config::Settings>::default().file(Path::new("file"), file).unwrap_err();
        assert_eq!(told.to_string(), "file:4: smtp.listeners: missing key `kind`; it is submission or inbound");
    }

    #[test]
    fn what_is_wrong_is_told_with_its_place_and_the_word_that_was_meant() {
        let file = |text: &str, expected: &str| assert_eq!(house(text, &[]).unwrap_err(), expected);
        file("name = 'x'\n[door]\nwidht = 3\n", "house.toml:3: door: unknown key `widht`; did you mean `width`?");
        file("[dor]\n", "house.toml:1: unknown key `dor`; did you mean `door`?");
        file("colour = 1", "house.toml:1: unknown key `colour`; there are name, rooms, door, bells");
        file(
            "[door]\nside = 'rigth'",
            "house.toml:2: door.side: `rigth` is not one of left, right; did you mean `right`?",
        );
        file("[door]\ncode = 1234", "house.toml:2: door.code: a secret is a text, in quotes");
        file("\n[[bells]]\n", "house.toml:2: bells: missing key `at`");
        file("name = \n", "house.toml:1: string values must be quoted, expected literal string");
        let variable = |name: &str, text: &str, expected: &str| {
            assert_eq!(house("", &[(name, text)]).unwrap_err(), format!("POSTBACK__{name}: {expected}"));
        };
        variable("DOOR__WIDHT", "3", "door: unknown key `widht`; did you mean `width`?");
        variable(
            "DOOR__WIDTH",
            "wide",
            "door.width: invalid type: string \"wide\", expected a whole number from 0 to 65535",
        );
        variable(
            "DOOR__WIDTH",
            "70000",
            "door.width: invalid value: integer `70000`, expected a whole number from 0 to 65535",
        );
        variable("DOOR__SIDE", "up", "door.side: `up` is not one of left, right");
        variable("DOOR__SIDE", "3", "door.side: `3` is not one of left, right");
        variable("NAME__FIRST", "x", "name.first: there is nothing below the key before `first`");
    }
}
