//! A user agent as text to search: products (`Name/1.2`), words and comments.
//!
//! Some senders drop every blank (`Chrome/142.0.0.0Safari/537.36`), some write everything in lower case; all questions
//! here are therefore asked without regard to case, and a product may follow anything but a letter. Owns the reading of
//! names and versions (RFC 9110 §10.1.5, loosely); knows no product by name. Called by the tables beside it only.

use memchr::memmem::{self, Finder};

/// The longest user agent we read, in bytes; what follows is ignored.
pub(super) const READ_BYTES_MAX: usize = 1024;

/// One user agent, prepared for searching.
pub(super) struct Text<'a> {
    /// As sent, without surrounding blanks and quotes, at most [`READ_BYTES_MAX`] long.
    pub raw: &'a str,
    /// `raw` in ASCII lower case; offsets are the same.
    pub lower: String,
    /// `lower` without blanks, for systems: `windowsnt10.0;win64;x64`.
    pub dense: String,
}

impl<'a> Text<'a> {
    pub fn new(user_agent: &'a str) -> Self {
        let raw = cut(user_agent, READ_BYTES_MAX).trim().trim_matches(['"', '\'']).trim();
        let lower = raw.to_ascii_lowercase();
        let dense = lower.chars().filter(|c| *c != ' ').collect();
        Self { raw, lower, dense }
    }

    /// Whether `needle`, in lower case, stands anywhere.
    pub fn has(&self, needle: &str) -> bool {
        memmem::find(self.lower.as_bytes(), needle.as_bytes()).is_some()
    }

    /// The version of the product `name` (lower case): empty when it has none, `None` when the product is not there.
    ///
    /// No letter may stand before the name, no letter or digit after it, unless `name` itself ends with `/`.
    /// A version follows after `/`, `-` or a blank, also in brackets and behind `for Windows`, `version` or `v`.
    pub fn product(&self, name: &str) -> Option<&'a str> {
        let bytes = self.lower.as_bytes();
        let starts = |at: usize| at.checked_sub(1).and_then(|i| bytes.get(i)).is_none_or(|b| !b.is_ascii_alphabetic());
        let mut unversioned = false;
        for at in memmem::find_iter(bytes, name.as_bytes()).filter(|at| starts(*at)) {
            let end = at + name.len();
            match bytes.get(end) {
                Some(b) if b.is_ascii_alphanumeric() && !name.ends_with('/') => {}
                _ => match self.version_at(end) {
                    "" => unversioned = true,
                    version => return Some(version),
                },
            }
        }
        unversioned.then_some("")
    }

    /// As [`Text::product`], but only where `/` follows the name: for names that are also words or devices.
    pub fn slashed(&self, name: &str) -> Option<&'a str> {
        let bytes = self.lower.as_bytes();
        memmem::find_iter(bytes, name.as_bytes()).find_map(|at| {
            let free = at.checked_sub(1).and_then(|i| bytes.get(i)).is_none_or(|b| !b.is_ascii_alphabetic());
            let end = at + name.len();
            (free && bytes.get(end) == Some(&b'/')).then(|| self.version_at(end))
        })
    }

    /// Whether the text begins with the word `name` (lower case).
    pub fn begins(&self, name: &str) -> bool {
        self.lower.strip_prefix(name).is_some_and(|rest| !rest.starts_with(|c: char| c.is_ascii_alphanumeric()))
    }

    /// Whether `word` (lower case) stands with no letter or digit on either side.
    pub fn word(&self, word: &str) -> bool {
        let bytes = self.lower.as_bytes();
        let free = |b: Option<&u8>| b.is_none_or(|b| !b.is_ascii_alphanumeric());
        memmem::find_iter(bytes, word.as_bytes())
            .any(|at| free(at.checked_sub(1).and_then(|i| bytes.get(i))) && free(bytes.get(at + word.len())))
    }

    /// The digits and dots that follow the first `prefix` (lower case), or empty.
    pub fn version_after(&self, prefix: &str) -> &'a str {
        memmem::find(self.lower.as_bytes(), prefix.as_bytes()).map_or("", |at| self.version_at(at + prefix.len()))
    }

    /// The comments: what stands in round brackets at the outermost level, in lower case. An open one runs to the end.
    pub fn comments(&self) -> impl Iterator<Item = &str> {
        let mut depth = 0_usize;
        let mut open = 0;
        let end = self.lower.len();
        self.lower.bytes().chain(std::iter::once(b'\0')).enumerate().filter_map(move |(at, byte)| {
            match byte {
                b'(' => {
                    depth += 1;
                    if depth == 1 {
                        open = at + 1;
                    }
                }
                b')' if depth > 0 => {
                    depth -= 1;
                    if depth == 0 {
                        return self.lower.get(open..at);
                    }
                }
                b'\0' if at == end && depth > 0 => return self.lower.get(open..end),
                _ => {}
            }
            None
        })
    }

    fn version_at(&self, at: usize) -> &'a str {
        let rest = self.raw.get(at..).unwrap_or("");
        // `Name(Beta)/1.2`
        let rest = rest.strip_prefix('(').and_then(|rest| rest.split_once(")/")).map_or(rest, |(_, rest)| rest);
        let rest = rest.strip_prefix(['/', ' ', '-']).unwrap_or(rest);
        // `Name for Android/1.2`
        let system = rest.strip_prefix("for ").and_then(|rest| rest.split_once(['/', ' ', '(']));
        let rest = system.map_or(rest, |(_, rest)| rest).trim_start_matches(['(', ' ']);
        let rest = ["version ", "Version ", "ver. ", "ver ", "ver.", "v.", "v", "V"]
            .iter()
            .find_map(|word| rest.strip_prefix(word))
            .unwrap_or(rest);
        version_prefix(rest)
    }
}

/// Words with a meaning each, to be looked for in many texts; in order.
pub(super) struct Lexicon<V>(Vec<(Finder<'static>, &'static str, V)>);

impl<V: Copy> Lexicon<V> {
    /// Prepares the search for each word (lower case), once for all texts.
    pub fn new(words: impl Iterator<Item = (&'static str, V)>) -> Self {
        Self(words.map(|(word, meaning)| (Finder::new(word), word, meaning)).collect())
    }

    /// The first word that stands in `text` and that `read` accepts, with its meaning and what was read.
    pub fn find<T>(&self, text: &Text, read: impl Fn(&'static str) -> Option<T>) -> Option<(&'static str, V, T)> {
        let standing = self.0.iter().filter(|(finder, ..)| finder.find(text.lower.as_bytes()).is_some());
        standing
            .map(|(_, word, meaning)| (*word, *meaning))
            .find_map(|(word, meaning)| Some((word, meaning, read(word)?)))
    }
}

/// The leading digits and dots of `text`, without dots at the end, at most 32 bytes; empty unless a digit comes first.
pub(super) fn version_prefix(text: &str) -> &str {
    if !text.starts_with(|c: char| c.is_ascii_digit()) {
        return "";
    }
    let end = text.bytes().take(32).take_while(|b| b.is_ascii_digit() || *b == b'.').count();
    text.get(..end).unwrap_or("").trim_end_matches('.')
}

/// The major number of a version, if it has one.
pub(super) fn major(version: &str) -> Option<u32> {
    version.split('.').next()?.parse().ok()
}

/// At most `bytes_max` bytes of `text`, cut between characters.
pub(in crate::enrich) fn cut(text: &str, bytes_max: usize) -> &str {
    let mut end = text.len().min(bytes_max);
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    text.get(..end).unwrap_or("")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn products_are_found_with_and_without_blanks() {
        let check = |agent: &str, name: &str, version: Option<&str>| {
            assert_eq!(Text::new(agent).product(name), version, "{name} in {agent}");
        };
        check("Foo/1.2.3 Bar", "foo", Some("1.2.3"));
        check("Foo/1.2.3 Bar", "bar", Some(""));
        check("Foo 1.2b3", "foo", Some("1.2"));
        check("(x)Foo/1.Bar/2", "bar", Some("2"));
        check("(x)Foo/v7,Bar/2", "foo", Some("7"));
        check("Foo/140.0Bar/11.1", "bar", Some("11.1"));
        check("HeadlessFoo/1", "foo", None);
        check("Foobar/1", "foo", None);
        check("Foo(Beta)/1.5 Bar/2", "foo", Some("1.5"));
        check("Foo5", "foo", None);
        check("Foo (v4.2) X/1", "foo", Some("4.2"));
        check("Foo ver. 2.75.04 [ja]", "foo", Some("2.75.04"));
        check("Foo for Windows (4.72.572)", "foo", Some("4.72.572"));
        check("Foo for Android/6.7", "foo", Some("6.7"));
        check("Foo (Windows NT 10.0)", "foo", Some(""));
        check("Foo (x) Foo/3", "foo", Some("3"));
        check("", "foo", None);
    }

    #[test]
    fn comments_nest_and_may_stay_open() {
        let check = |agent: &str, comments: &[&str]| {
            assert_eq!(Text::new(agent).comments().collect::<Vec<_>>(), comments, "{agent}");
        };
        check("A (b; C) d (e)", &["b; c", "e"]);
        check("A (b (c) d)", &["b (c) d"]);
        check("A) (b", &["b"]);
        check("A", &[]);
        check("ä (ö", &["ö"]);
    }

    #[test]
    fn long_text_is_cut_between_characters() {
        assert_eq!(cut("aöb", 2), "a");
        assert_eq!(Text::new(&"ö".repeat(2000)).raw.len(), READ_BYTES_MAX);
    }
}
