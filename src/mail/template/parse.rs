//! A text with placeholders becomes nodes. One pass, an explicit stack of open sections, no recursion.
//!
//! A section's tag, an `else` or a comment that stands alone on its line takes the line with it, as both languages have
//! it.

use memchr::memmem;

use super::{DEPTH_MAX, Fault};

/// A piece of a template.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Node {
    Text(String),
    Value { path: Path, is_raw: bool },
    Block { kind: Kind, path: Path, body: Vec<Node>, otherwise: Vec<Node> },
}

/// What a section does with its value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// `{{#x}}`: each item of a list, or once when there is something.
    Section,
    /// `{{^x}}`, `{{#unless x}}`: once when there is nothing.
    Unless,
    /// `{{#if x}}`: once when there is something, in the scope outside.
    If,
    /// `{{#each x}}`: each item of a list or value of an object.
    Each,
    /// `{{#with x}}`: once, inside of it.
    With,
}

/// The way to a value.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Path {
    /// As it was written, for people and for keys that hold dots.
    pub(super) text: String,
    /// How many scopes out: `../`.
    pub(super) outward: usize,
    pub(super) start: Start,
    pub(super) names: Vec<String>,
}

/// Where a way begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Start {
    /// The innermost scope that has the first name.
    Anywhere,
    /// This scope only.
    Here,
    /// The data itself.
    Root,
    Index,
    Key,
    First,
    Last,
}

/// A section that has begun.
struct Open {
    kind: Kind,
    path: Path,
    /// What closes it.
    name: String,
    line: usize,
    body: Vec<Node>,
    otherwise: Option<Vec<Node>>,
    /// It is the `else if` of the one before, and closes with it.
    is_chained: bool,
}

/// A tag as it stands in the source.
struct Tag<'s> {
    start: usize,
    end: usize,
    inner: &'s str,
    is_raw: bool,
    eats_before: bool,
    eats_after: bool,
}

/// Reads a template.
pub(super) fn nodes(source: &str) -> Result<Vec<Node>, Fault> {
    let mut reader = Reader { source, at: 0, line: 1, counted: 0, open: Vec::new(), nodes: Vec::new() };
    while let Some(tag) = reader.tag()? {
        reader.take(tag)?;
    }
    let rest = source.get(reader.at..).unwrap_or_default();
    reader.text(rest);
    match reader.open.pop() {
        Some(open) => Err(Fault::Open { line: open.line, name: open.name }),
        None => Ok(reader.nodes),
    }
}

struct Reader<'s> {
    source: &'s str,
    /// What stands before has been read.
    at: usize,
    /// The line of the tag being read, and how far lines were counted.
    line: usize,
    counted: usize,
    open: Vec<Open>,
    nodes: Vec<Node>,
}

impl<'s> Reader<'s> {
    /// The next tag, if any. What stands before it is not taken yet.
    fn tag(&mut self) -> Result<Option<Tag<'s>>, Fault> {
        let source = self.source;
        while let Some(found) = memmem::find(&source.as_bytes()[self.at..], b"{{") {
            let start = self.at + found;
            let between = &source.as_bytes()[self.counted..start];
            self.line += memchr::memchr_iter(b'\n', between).count();
            self.counted = start;
            if !source[self.at..start].ends_with('\\') {
                return tag_at(source, start).ok_or(Fault::Unclosed { line: self.line }).map(Some);
            }
            self.text(&source[self.at..start - 1]);
            self.text("{{");
            self.at = start + 2;
        }
        Ok(None)
    }

    fn take(&mut self, tag: Tag<'s>) -> Result<(), Fault> {
        let inner = tag.inner;
        let (sigil, name) = match inner.chars().next() {
            _ if tag.is_raw => ('&', inner),
            Some(sigil @ ('#' | '^' | '/' | '!' | '&' | '>' | '=' | '*')) => (sigil, inner[1..].trim()),
            _ => (' ', inner),
        };
        let is_else = name == "else" || name.strip_prefix("else").is_some_and(|rest| rest.starts_with([' ', '\t']));
        let is_value = sigil == '&' || (sigil == ' ' && !is_else);
        self.before(&tag, is_value);
        let line = self.line;
        match sigil {
            '!' => Ok(()),
            '#' => self.begin(name),
            '^' if name.is_empty() => self.otherwise("else"),
            '^' => self.push(Kind::Unless, path(name, line)?, name.to_owned(), false),
            '/' => self.close(name),
            '>' | '=' | '*' => Err(Fault::Unsupported { line, what: inner.to_owned() }),
            _ if is_else => self.otherwise(name),
            _ if super::is_mark(name) => {
                self.text(&self.source[tag.start..tag.end]);
                Ok(())
            }
            _ => {
                let path = path(name, line)?;
                self.nodes.push(Node::Value { path, is_raw: sigil == '&' });
                Ok(())
            }
        }
    }

    /// Takes the text before a tag, and passes over the tag; a line that the tag has for itself goes.
    fn before(&mut self, tag: &Tag<'s>, is_value: bool) {
        let source = self.source;
        let (mut text, after) = (&source[self.at..tag.start], &source[tag.end..]);
        self.at = tag.end;
        let line_start = text.rfind('\n').map_or(0, |newline| newline + 1);
        let began = self.is_line_start(tag.start - (text.len() - line_start));
        let rest = after.trim_start_matches([' ', '\t']);
        let newline = ["\r\n", "\n"].into_iter().find(|newline| rest.starts_with(newline));
        let ends = newline.is_some() || rest.is_empty();
        if !is_value && began && ends && text[line_start..].chars().all(|char| matches!(char, ' ' | '\t')) {
            text = &text[..line_start];
            self.at = source.len() - rest.len() + newline.map_or(0, str::len);
        }
        if tag.eats_before {
            text = text.trim_end();
        }
        if tag.eats_after {
            let rest = &source[self.at..];
            self.at = source.len() - rest.trim_start().len();
        }
        self.text(text);
    }

    fn is_line_start(&self, at: usize) -> bool {
        at == 0 || self.source.as_bytes().get(at - 1) == Some(&b'\n')
    }

    fn text(&mut self, text: &str) {
        match self.nodes.last_mut() {
            _ if text.is_empty() => {}
            Some(Node::Text(before)) => before.push_str(text),
            _ => self.nodes.push(Node::Text(text.to_owned())),
        }
    }

    fn begin(&mut self, name: &str) -> Result<(), Fault> {
        let (word, argument) = name.split_once([' ', '\t']).map_or((name, ""), |(word, rest)| (word, rest.trim()));
        let kind = match word {
            _ if argument.is_empty() => Kind::Section,
            "if" => Kind::If,
            "unless" => Kind::Unless,
            "each" => Kind::Each,
            "with" => Kind::With,
            _ => return Err(Fault::Unsupported { line: self.line, what: format!("#{name}") }),
        };
        let of = if argument.is_empty() { name } else { argument };
        if kind != Kind::Section && of.contains([' ', '\t', '=']) {
            return Err(Fault::Unsupported { line: self.line, what: format!("#{name}") });
        }
        self.push(kind, path(of, self.line)?, word.to_owned(), false)
    }

    fn push(&mut self, kind: Kind, path: Path, name: String, is_chained: bool) -> Result<(), Fault> {
        if self.open.len() >= DEPTH_MAX {
            return Err(Fault::TooDeep { line: self.line });
        }
        let body = std::mem::take(&mut self.nodes);
        self.open.push(Open { kind, path, name, line: self.line, body, otherwise: None, is_chained });
        Ok(())
    }

    /// `{{else}}`, or `{{else if x}}`.
    fn otherwise(&mut self, name: &str) -> Result<(), Fault> {
        let line = self.line;
        let not_open = || Fault::NotOpen { line, name: name.to_owned() };
        let open = self.open.last_mut().filter(|open| open.otherwise.is_none()).ok_or_else(not_open)?;
        open.otherwise = Some(std::mem::take(&mut self.nodes));
        let closes = open.name.clone();
        match name.strip_prefix("else").unwrap_or_default().trim() {
            "" => Ok(()),
            condition => {
                let unsupported = || Fault::Unsupported { line, what: name.to_owned() };
                let (word, argument) = condition.split_once([' ', '\t']).ok_or_else(unsupported)?;
                let kind = match word {
                    "if" => Kind::If,
                    "unless" => Kind::Unless,
                    _ => return Err(unsupported()),
                };
                self.push(kind, path(argument.trim(), line)?, closes, true)
            }
        }
    }

    fn close(&mut self, name: &str) -> Result<(), Fault> {
        let line = self.line;
        loop {
            let open = self.open.pop().filter(|open| open.name == name);
            let open = open.ok_or_else(|| Fault::NotOpen { line, name: format!("/{name}") })?;
            let inside = std::mem::take(&mut self.nodes);
            // While an `else` is open, what it follows was put aside.
            let (body, otherwise) = match open.otherwise {
                Some(body) => (body, inside),
                None => (inside, Vec::new()),
            };
            self.nodes = open.body;
            self.nodes.push(Node::Block { kind: open.kind, path: open.path, body, otherwise });
            if !open.is_chained {
                return Ok(());
            }
        }
    }
}

fn tag_at(source: &str, start: usize) -> Option<Tag<'_>> {
    let rest = &source[start + 2..];
    let (is_raw, rest) = rest.strip_prefix('{').map_or((false, rest), |rest| (true, rest));
    let (eats_before, rest) = rest.strip_prefix('~').map_or((false, rest), |rest| (true, rest));
    let ends = if rest.starts_with("!--") {
        "--}}"
    } else if is_raw {
        "}}}"
    } else {
        "}}"
    };
    let found = memmem::find(rest.as_bytes(), ends.as_bytes())?;
    let end = source.len() - rest.len() + found + ends.len();
    let inner = &rest[..found];
    let (eats_after, inner) = inner.strip_suffix('~').map_or((false, inner), |inner| (true, inner));
    Some(Tag { start, end, inner: inner.trim(), is_raw, eats_before, eats_after })
}

fn path(text: &str, line: usize) -> Result<Path, Fault> {
    if text.is_empty() {
        return Err(Fault::Nameless { line });
    }
    // A helper's arguments: to look for a value of that name would hide the mistake.
    if text.contains(['(', ')', '"', '\'', '|', '{', '}']) {
        return Err(Fault::Unsupported { line, what: text.to_owned() });
    }
    let mut rest = text;
    let mut outward = 0;
    while let Some(inner) = rest.strip_prefix("../").or((rest == "..").then_some(".")) {
        rest = inner;
        outward += 1;
    }
    let prefixes = [
        ("this", Start::Here),
        ("@root", Start::Root),
        ("@index", Start::Index),
        ("@key", Start::Key),
        ("@first", Start::First),
        ("@last", Start::Last),
    ];
    let after = |prefix: &str| {
        let inner = rest.strip_prefix(prefix)?;
        if inner.is_empty() { Some(inner) } else { inner.strip_prefix(['.', '/']) }
    };
    let named = prefixes.into_iter().find_map(|(prefix, start)| Some((start, after(prefix)?)));
    let (start, rest) = match named {
        Some(named) => named,
        None if rest == "." => (Start::Here, ""),
        None => rest.strip_prefix("./").map_or((Start::Anywhere, rest), |inner| (Start::Here, inner)),
    };
    let start = if outward > 0 && start == Start::Anywhere { Start::Here } else { start };
    let names = if rest.is_empty() { Vec::new() } else { rest.split(['.', '/']).map(unbracketed).collect() };
    Ok(Path { text: text.to_owned(), outward, start, names })
}

/// `[first name]` is a name that is none otherwise.
fn unbracketed(name: &str) -> String {
    let name = name.trim();
    name.strip_prefix('[').and_then(|name| name.strip_suffix(']')).unwrap_or(name).to_owned()
}
