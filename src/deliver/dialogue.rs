//! The record of a conversation, for people who ask why: commands and replies, no content and no secret.
//!
//! One line each: when, in milliseconds from the beginning, then `> ` what we said, `< ` what they said, `= ` what
//! happened. Whatever came from outside is escaped, and the whole is bounded: the beginning and the last lines matter most,
//! so when it is full the middle goes.

use std::fmt::Write;

use crate::clock::Stopwatch;

/// Longest record, in bytes.
pub const DIALOGUE_BYTES_MAX: usize = 16 * 1024;
/// Longest text of the other side that is kept by itself, in bytes.
pub const TEXT_BYTES_MAX: usize = 1024;

/// What is kept of the beginning when the record is full.
const HEAD_BYTES: usize = DIALOGUE_BYTES_MAX / 2;
const GAP: &str = "     ... = ...\n";

/// A conversation as it goes on.
#[derive(Debug)]
pub struct Dialogue {
    since: Stopwatch,
    head: String,
    /// Lines after the head was full; the oldest go first.
    tail: String,
}

impl Default for Dialogue {
    fn default() -> Self {
        Self { since: Stopwatch::start(), head: String::new(), tail: String::new() }
    }
}

impl Dialogue {
    /// We said this. Never content, never a credential.
    pub fn said(&mut self, line: &str) {
        self.put("> ", line);
    }

    /// They said this; each line by itself.
    pub fn heard(&mut self, text: &str) {
        text.split('\n').for_each(|line| self.put("< ", line));
    }

    /// This happened.
    pub fn happened(&mut self, what: &str) {
        self.put("= ", what);
    }

    /// The record, at most [`DIALOGUE_BYTES_MAX`].
    pub fn into_text(mut self) -> String {
        self.head.push_str(&self.tail);
        self.head
    }

    fn put(&mut self, mark: &str, line: &str) {
        let line = format!("{:>5} ms {mark}{}\n", self.since.elapsed().as_millis(), escaped(line, TEXT_BYTES_MAX));
        if self.tail.is_empty() && self.head.len() + line.len() <= HEAD_BYTES {
            self.head.push_str(&line);
            return;
        }
        self.tail.push_str(&line);
        let room = DIALOGUE_BYTES_MAX - HEAD_BYTES;
        if self.tail.len() > room {
            // The cut leaves room for some lines, so that it is not made anew for each.
            let from = self.tail.len() - room / 2;
            let cut =
                self.tail.bytes().skip(from).position(|byte| byte == b'\n').map_or(self.tail.len(), |at| from + at + 1);
            self.tail.replace_range(..cut, GAP);
        }
    }
}

/// `text` without anything that could change how a line is read: control and direction-changing characters are written
/// out, and at most `bytes_max` bytes are kept.
pub fn escaped(text: &str, bytes_max: usize) -> String {
    let mut out = String::with_capacity(text.len().min(bytes_max));
    for char in text.chars() {
        let before = out.len();
        match char {
            '\t' => out.push(' '),
            '\\' => out.push_str("\\\\"),
            _ if char.is_control() || is_directing(char) => drop(write!(out, "{}", char.escape_default())),
            _ => out.push(char),
        }
        if out.len() > bytes_max {
            out.truncate(before);
            break;
        }
    }
    out
}

/// Zero-width and direction-changing characters, line and paragraph separators.
fn is_directing(char: char) -> bool {
    matches!(char, '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{2069}' | '\u{feff}')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_from_outside_can_forge_a_line() {
        let check = |text: &str, expected: &str| assert_eq!(escaped(text, 40), expected);
        check("250 ok", "250 ok");
        check("a\r\n> QUIT\u{1b}[31m\0", "a\\r\\n> QUIT\\u{1b}[31m\\u{0}");
        check("tab\tand \\ and ü", "tab and \\\\ and ü");
        check("\u{202e}\u{feff}", "\\u{202e}\\u{feff}");
        check(&"ü".repeat(30), &"ü".repeat(20));
        check(&"\u{1}".repeat(30), &"\\u{1}".repeat(8));
    }

    #[test]
    fn both_ends_of_a_long_conversation_are_kept() {
        let mut dialogue = Dialogue::default();
        dialogue.said("EHLO first");
        for number in 0..10_000 {
            dialogue.heard(&format!("250-line {number}\n250 more"));
        }
        dialogue.happened("closed");
        let text = dialogue.into_text();
        assert!(text.len() <= DIALOGUE_BYTES_MAX, "{}", text.len());
        let plain = text.lines().map(|line| &line[9..]).collect::<Vec<_>>().join("\n");
        assert!(plain.starts_with("> EHLO first\n< 250-line 0\n< 250 more\n"), "{plain}");
        assert!(plain.contains("= ...\n") && plain.ends_with("< 250-line 9999\n< 250 more\n= closed"));
    }
}
