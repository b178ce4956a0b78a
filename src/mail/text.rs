//! Links in a plain text body. Off unless asked for: a changed address that the reader can see looks like phishing.
//!
//! A link is what any mail reader would make one of: a scheme and `://`, up to a blank, a quote or an angle bracket;
//! brackets must be balanced and punctuation at the end stays outside. Between `<` and `>` it is everything. Where
//! readers disagree about the end (letters outside ASCII, `|`, braces), the link stays as it is: what follows would be
//! taken for a part of the token.
//!
//! Speaks of RFC 3676 `format=flowed; delsp=yes`: there a link may go on in the next line, but not in quoted text.

use std::ops::Range;

use memchr::{memmem, memrchr};

use super::rewrite::{BEHIND_TEXT, LeftAlone};

/// A longer run is no link that we would track.
const RUN_BYTES_MAX: usize = 64 << 10;

/// One link.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct TextLink {
    /// Where it stands; line ends inside belong to it.
    pub(super) span: Range<usize>,
    /// Its bytes, line ends dropped.
    pub(super) value: Vec<u8>,
    /// Why it is not to be tracked, if so.
    pub(super) left: Option<LeftAlone>,
}

/// Finds the links, in order. Linear in the size of `text`.
pub(super) fn scan(text: &[u8], joins_lines: bool) -> Vec<TextLink> {
    let mut links = Vec::new();
    // Where the last link ended; up to where line ends were looked for, and where the line there began.
    let (mut done, mut seen, mut line) = (0, 0, 0);
    for colon in memmem::find_iter(text, b"://") {
        if colon < done {
            continue;
        }
        let scheme = text[done..colon].iter().rev().take_while(|byte| is_scheme(**byte)).count();
        let start = colon - scheme;
        let is_bracketed = start > 0 && text[start - 1] == b'<';
        line = memrchr(b'\n', &text[seen..start]).map_or(line, |at| seen + at + 1);
        seen = start;
        let run = Run::read(text, start, joins_lines && text.get(line) != Some(&b'>'));
        done = run.end.max(colon + 3);
        let is_closed = is_bracketed && text.get(run.end) == Some(&b'>');
        if scheme == 0 || run.bytes.len() >= RUN_BYTES_MAX {
            continue;
        }
        let link = if is_closed { Some(run.whole(start)) } else { run.trimmed(text, start) };
        links.extend(link);
    }
    links
}

fn is_scheme(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'+' | b'-' | b'.')
}

/// Bytes without a blank, quote or angle bracket: each with its place, since lines may have been joined.
struct Run {
    bytes: Vec<u8>,
    places: Vec<usize>,
    end: usize,
}

impl Run {
    fn read(text: &[u8], start: usize, joins: bool) -> Self {
        let mut run = Self { bytes: Vec::new(), places: Vec::new(), end: start };
        while let Some(byte) = text.get(run.end) {
            match byte {
                b' ' if joins => match next_line(text, run.end) {
                    Some(next) => run.end = next,
                    None => break,
                },
                0..=b' ' | 0x7f | b'<' | b'>' | b'"' => break,
                byte => {
                    if run.bytes.len() < RUN_BYTES_MAX {
                        run.bytes.push(*byte);
                        run.places.push(run.end);
                    }
                    run.end += 1;
                }
            }
        }
        run
    }

    fn whole(self, start: usize) -> TextLink {
        TextLink { span: start..self.end, value: self.bytes, left: None }
    }

    /// Without what is punctuation around it; `None` where nothing is left.
    fn trimmed(mut self, text: &[u8], start: usize) -> Option<TextLink> {
        let ascii = self.bytes.iter().position(|byte| !byte.is_ascii()).unwrap_or(self.bytes.len());
        let goes_on = ascii < self.bytes.len() && !is_punctuation(&self.bytes[ascii..]);
        let end = balanced(&self.bytes[..ascii]);
        let is_end = |byte: &u8| !b".,;:!?'([".contains(byte);
        let length = self.bytes[..end].iter().rposition(is_end)? + 1;
        self.bytes.truncate(length);
        let end = self.places.get(length - 1)? + 1;
        let is_unclear = goes_on
            || self.bytes.iter().any(|byte| b"|\\^`{}".contains(byte))
            || self.bytes.last().is_some_and(|last| b"*_~".contains(last));
        let left = match () {
            () if is_unclear => Some(LeftAlone::UnclearEnd),
            () if text[end..].starts_with(BEHIND_TEXT.mark.as_bytes()) => Some(LeftAlone::OptedOut(BEHIND_TEXT)),
            () => None,
        };
        Some(TextLink { span: start..end, value: self.bytes, left })
    }
}

/// The start of the next line, stuffing dropped, when the blank at `place` is the last of its line and the next is
/// not quoted.
fn next_line(text: &[u8], place: usize) -> Option<usize> {
    let rest = &text[place + 1..];
    let rest = rest.strip_prefix(b"\r").unwrap_or(rest).strip_prefix(b"\n")?;
    let next = rest.strip_prefix(b" ").unwrap_or(rest);
    (next.first() != Some(&b'>') || next.len() < rest.len()).then_some(text.len() - next.len())
}

/// Up to the first closing bracket that nothing opened, or to `[[`.
fn balanced(bytes: &[u8]) -> usize {
    let mut open = Vec::new();
    for (at, byte) in bytes.iter().enumerate() {
        match byte {
            b'[' if bytes.get(at + 1) == Some(&b'[') => return at,
            b'(' => open.push(b')'),
            b'[' => open.push(b']'),
            b')' | b']' if open.pop() != Some(*byte) => return at,
            _ => (),
        }
    }
    bytes.len()
}

/// Whether the text goes on with a character outside ASCII that no reader takes for a part of a link.
fn is_punctuation(bytes: &[u8]) -> bool {
    let first = bytes.utf8_chunks().next().and_then(|chunk| chunk.valid().chars().next());
    first.is_some_and(|char| !char.is_alphanumeric())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(text: &str, joins_lines: bool, expected: &[&str]) {
        let found = scan(text.as_bytes(), joins_lines);
        let found: Vec<String> = found
            .into_iter()
            .filter(|link| link.left.is_none())
            .map(|link| String::from_utf8(link.value).unwrap())
            .collect();
        assert_eq!(found, expected, "{text}");
    }

    #[test]
    fn ends() {
        for (text, link) in [
            ("see https://a.example/x.", "https://a.example/x"),
            ("(https://a.example/x)", "https://a.example/x"),
            ("https://a.example/x_(y)).", "https://a.example/x_(y)"),
            ("'https://a.example/it's/x', he said", "https://a.example/it's/x"),
            ("\"https://a.example/x\"", "https://a.example/x"),
            ("<https://a.example/x.>", "https://a.example/x."),
            ("[1]: https://a.example/?q[0]=1#y!?", "https://a.example/?q[0]=1#y"),
            ("[x](https://a.example/x)", "https://a.example/x"),
            ("“https://a.example/x”", "https://a.example/x"),
            ("https://a.example/x。", "https://a.example/x"),
            ("<https://a.example/ü>", "https://a.example/ü"),
            ("ftp://b.example/?https://a.example", "ftp://b.example/?https://a.example"),
            ("HTTPS://A.Example\r\nx", "HTTPS://A.Example"),
        ] {
            check(text, false, &[link]);
        }
        for text in [
            "",
            "://x",
            "https",
            "https://a.example/ü",
            "https://a.example/a|b",
            "https://a.example/x_",
            "https://a.example/x~.",
            "https://a.example/{x}",
            "https://a.example/x[[data-msys-clicktrack=\"0\"]] y",
        ] {
            check(text, false, &[]);
        }
        check("http://a http://b\nhttp://c", false, &["http://a", "http://b", "http://c"]);
    }

    #[test]
    fn flowed_lines() {
        let text = "<https://a.example/ \r\nx> and https://a.example/ \n y z";
        check(text, false, &["https://a.example/", "https://a.example/"]);
        check(text, true, &["https://a.example/x", "https://a.example/y"]);
        check("> https://a.example/ \n> x", true, &["https://a.example/"]);
        check("https://a.example/ \n> x", true, &["https://a.example/"]);
        let span = scan(text.as_bytes(), true)[0].span.clone();
        assert_eq!(&text[span], "https://a.example/ \r\nx");
    }
}
