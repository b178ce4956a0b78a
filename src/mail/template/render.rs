//! Nodes and data become text. Recursion is as deep as sections are, which has a limit.

use std::borrow::Cow;

use serde_json::Value;

use super::parse::{Kind, Node, Path, Start};
use super::{Budget, Escape, Fault, MISSING_MAX, Missing, Script};

pub(super) fn render(
    script: &Script,
    data: &Value,
    budget: &mut Budget,
    missing: Option<&mut Missing>,
) -> Result<String, Fault> {
    let scopes = vec![Scope { value: data, place: None }];
    let mut filling = Filling { script, out: String::new(), budget, missing, scopes };
    filling.all(&script.nodes)?;
    Ok(filling.out)
}

/// What names are looked up in.
#[derive(Clone, Copy)]
struct Scope<'d> {
    value: &'d Value,
    place: Option<Place<'d>>,
}

/// Which item of a list or object.
#[derive(Clone, Copy)]
struct Place<'d> {
    index: usize,
    key: Option<&'d str>,
    is_last: bool,
}

struct Filling<'d, 'b> {
    script: &'b Script,
    out: String,
    budget: &'b mut Budget,
    missing: Option<&'b mut Missing>,
    /// From the outside in; never empty.
    scopes: Vec<Scope<'d>>,
}

impl<'d> Filling<'d, '_> {
    fn all(&mut self, nodes: &[Node]) -> Result<(), Fault> {
        for node in nodes {
            self.step()?;
            match node {
                Node::Text(text) => self.write(text)?,
                Node::Value { path, is_raw } => self.value(path, *is_raw)?,
                Node::Block { kind, path, body, otherwise } => self.block(*kind, path, body, otherwise)?,
            }
        }
        Ok(())
    }

    fn step(&mut self) -> Result<(), Fault> {
        self.budget.steps = self.budget.steps.checked_sub(1).ok_or(Fault::TooManySteps)?;
        Ok(())
    }

    fn write(&mut self, text: &str) -> Result<(), Fault> {
        let bytes_max = self.script.bytes_max;
        if self.out.len() + text.len() > bytes_max {
            return Err(Fault::OutputTooLarge { bytes_max });
        }
        self.budget.charge(text.len())?;
        self.out.push_str(text);
        Ok(())
    }

    fn value(&mut self, path: &Path, is_raw: bool) -> Result<(), Fault> {
        let Some(value) = self.find(path) else {
            if let Some(missing) = self.missing.as_mut().filter(|missing| missing.len() < MISSING_MAX) {
                missing.insert(path.text.clone());
            }
            return Ok(());
        };
        let text = shown(&value);
        match self.script.escape {
            Escape::Html if !is_raw => self.write(&escaped(&text)),
            Escape::Html | Escape::Plain => self.write(&text),
        }
    }

    fn block(&mut self, kind: Kind, path: &Path, body: &[Node], otherwise: &[Node]) -> Result<(), Fault> {
        // What `@index` and its like say has no inside.
        let (value, says) = match self.find(path) {
            Some(Cow::Borrowed(value)) => (Some(value), is_something(value)),
            Some(Cow::Owned(value)) => (None, is_something(&value)),
            None => (None, false),
        };
        match (kind, value) {
            (Kind::Unless, _) => self.all(if says { otherwise } else { body }),
            _ if !says => self.all(otherwise),
            (Kind::If, _) | (Kind::Section, None | Some(Value::Bool(_))) => self.all(body),
            (Kind::Section | Kind::Each, Some(Value::Array(items))) => {
                self.each(items.iter().map(|item| (None, item)), otherwise, body)
            }
            (Kind::Each, Some(Value::Object(fields))) => {
                self.each(fields.iter().map(|(key, value)| (Some(key.as_str()), value)), otherwise, body)
            }
            (Kind::Each, _) => self.all(otherwise),
            (Kind::Section | Kind::With, Some(value)) => self.inside(Scope { value, place: None }, body),
            (Kind::With, None) => self.all(body),
        }
    }

    fn each(
        &mut self,
        items: impl ExactSizeIterator<Item = (Option<&'d str>, &'d Value)>,
        otherwise: &[Node],
        body: &[Node],
    ) -> Result<(), Fault> {
        let count = items.len();
        if count == 0 {
            return self.all(otherwise);
        }
        for (index, (key, value)) in items.enumerate() {
            self.step()?;
            self.inside(Scope { value, place: Some(Place { index, key, is_last: index + 1 == count }) }, body)?;
        }
        Ok(())
    }

    fn inside(&mut self, scope: Scope<'d>, body: &[Node]) -> Result<(), Fault> {
        self.scopes.push(scope);
        let done = self.all(body);
        self.scopes.pop();
        done
    }

    fn find(&self, path: &Path) -> Option<Cow<'d, Value>> {
        let inner = self.scopes.len().checked_sub(path.outward + 1)?;
        let scope = *self.scopes.get(inner)?;
        let place = || self.scopes.get(..=inner)?.iter().rev().find_map(|scope| scope.place);
        match path.start {
            Start::Here => way(scope.value, &path.names).map(Cow::Borrowed),
            Start::Root => way(self.scopes.first()?.value, &path.names).map(Cow::Borrowed),
            Start::Anywhere => self.anywhere(path).map(Cow::Borrowed),
            Start::Index => Some(Cow::Owned(place()?.index.into())),
            Start::Key => Some(Cow::Owned(place()?.key?.into())),
            Start::First => Some(Cow::Owned((place()?.index == 0).into())),
            Start::Last => Some(Cow::Owned(place()?.is_last.into())),
        }
    }

    /// The innermost scope that has the first name decides; a key that holds dots counts as well.
    fn anywhere(&self, path: &Path) -> Option<&'d Value> {
        let (first, rest) = path.names.split_first()?;
        self.scopes.iter().rev().find_map(|scope| match child(scope.value, first) {
            Some(value) => Some(way(value, rest)),
            None => child(scope.value, &path.text).map(Some),
        })?
    }
}

fn way<'d>(value: &'d Value, names: &[String]) -> Option<&'d Value> {
    names.iter().try_fold(value, |value, name| child(value, name))
}

fn child<'d>(value: &'d Value, name: &str) -> Option<&'d Value> {
    match value {
        Value::Object(fields) => fields.get(name),
        Value::Array(items) => items.get(name.parse::<usize>().ok()?),
        _ => None,
    }
}

fn is_something(value: &Value) -> bool {
    match value {
        Value::Null => false,
        Value::Bool(flag) => *flag,
        Value::Number(number) => number.as_f64() != Some(0.0),
        Value::String(text) => !text.is_empty(),
        Value::Array(items) => !items.is_empty(),
        Value::Object(_) => true,
    }
}

/// A value as text: lists with commas between, objects not at all.
fn shown(value: &Value) -> Cow<'_, str> {
    match value {
        Value::Null | Value::Object(_) => Cow::Borrowed(""),
        Value::Bool(flag) => Cow::Borrowed(if *flag { "true" } else { "false" }),
        Value::Number(number) => Cow::Owned(number.to_string()),
        Value::String(text) => Cow::Borrowed(text),
        Value::Array(items) => Cow::Owned(items.iter().map(shown).collect::<Vec<_>>().join(",")),
    }
}

/// Safe in text and in every attribute, also one without quotes.
fn escaped(text: &str) -> Cow<'_, str> {
    const SPECIAL: [char; 7] = ['&', '<', '>', '"', '\'', '`', '='];
    if !text.contains(SPECIAL) {
        return Cow::Borrowed(text);
    }
    let mut escaped = String::with_capacity(text.len() + 16);
    for char in text.chars() {
        match char {
            '&' => escaped.push_str("&amp;"),
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            '"' => escaped.push_str("&quot;"),
            '\'' => escaped.push_str("&#x27;"),
            '`' => escaped.push_str("&#x60;"),
            '=' => escaped.push_str("&#x3D;"),
            other => escaped.push(other),
        }
    }
    Cow::Owned(escaped)
}
