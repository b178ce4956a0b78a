//! Finds phrases in what mail systems write, whatever their spelling of it.
//!
//! A text is first made plain ([`plain`]): lower case, accents off, punctuation and reply codes gone, one space between
//! words, an address written `@`, a host name `%`. A phrase is written the same way, so `doesn't exist` is found in `DOESN'T  EXIST`.
//! It matches from the start of a word, and its last word may go on (`exceed` finds `exceeded`) unless `$` ends it or it
//! has less than three letters;
//! ` ... ` between two pieces allows a few words there, and `(is|was|)` stands for each of its words or none. Scripts
//! without spaces match anywhere.
//!
//! All phrases of a table are looked for in one pass; the work is linear in the text for any number of them.

/// Longest text that is looked at, in bytes; what matters of a reply stands at its head.
pub const TEXT_BYTES_MAX: usize = 8 * 1024;
/// How far apart two pieces of a phrase may stand, in bytes of plain text.
const GAP_BYTES_MAX: usize = 70;
/// By how many of their first bytes phrases are found: the most that a phrase has. The least is what a phrase must have.
const KEY_BYTES: [usize; 3] = [12, 6, 3];
/// Lists of the index; a power of two.
const INDEX_LEN: usize = 1 << 14;
/// Bits that tell whether some phrase has a key; a power of two.
const FILTER_BITS: usize = 1 << 18;

/// A text made plain, and the URLs and host names that stood in it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Plain {
    /// Words with one space between, before and after.
    pub words: String,
    /// The URLs and host names, lower case, one space between.
    pub urls: String,
}

/// Makes a text plain. Looks at the first [`TEXT_BYTES_MAX`] bytes.
pub fn plain(text: &str) -> Plain {
    let text = head(text, TEXT_BYTES_MAX);
    let mut plain = Plain { words: String::with_capacity(text.len() + 2), urls: String::new() };
    plain.words.push(' ');
    for token in text.split_whitespace() {
        if let Some(at) = url_start(token) {
            let (before, url) = token.split_at(at);
            add_token(&mut plain.words, before);
            plain.add_url(url);
        } else if is_host(token) {
            plain.words.push_str("% ");
            plain.add_url(token);
        } else {
            add_token(&mut plain.words, token);
        }
    }
    plain
}

/// The first `bytes` of a text, less what would split a character.
pub fn head(text: &str, bytes: usize) -> &str {
    let mut end = bytes.min(text.len());
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    text.get(..end).unwrap_or("")
}

fn url_start(token: &str) -> Option<usize> {
    if token.get(..4).is_some_and(|start| start.eq_ignore_ascii_case("www.")) {
        return Some(0);
    }
    let scheme = token.find("://")?;
    let before = token.get(..scheme)?;
    let name = before.bytes().rev().take_while(u8::is_ascii_alphabetic).count();
    Some(scheme - name)
}

fn add_token(words: &mut String, token: &str) {
    if token.is_empty() || is_code(token) {
        return;
    }
    match token.find('@').filter(|at| *at > 0 && *at + 1 < token.len()) {
        Some(at) => add_around_address(words, token, at),
        None => add_words(words, token),
    }
}

impl Plain {
    fn add_url(&mut self, url: &str) {
        self.urls.push_str(&url.to_lowercase());
        self.urls.push(' ');
    }
}

/// `mx.there.example` in any brackets, written in one case: `RESOLVER.ADR.NotFound` is none.
fn is_host(token: &str) -> bool {
    let core = token.trim_matches(|char: char| !char.is_ascii_alphanumeric());
    let core = core.split_once('[').map_or(core, |(host, _)| host);
    let last = core.rsplit('.').next().unwrap_or("");
    let lower = core.bytes().any(|byte| byte.is_ascii_lowercase());
    let upper = core.bytes().any(|byte| byte.is_ascii_uppercase());
    (2..=7).contains(&last.len())
        && last.len() < core.len()
        && last.bytes().all(|byte| byte.is_ascii_alphabetic())
        && core.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'-' | b'_'))
        && !core.contains("..")
        && !(lower && upper)
}

/// `<a@b.example>:User` becomes `@ user`.
fn add_around_address(words: &mut String, token: &str, at: usize) {
    let (before, after) = token.split_at(at);
    let local = before.bytes().rev().take_while(|byte| is_address_byte(*byte)).count();
    let domain = after.bytes().skip(1).take_while(|byte| is_domain_byte(*byte)).count();
    if domain == 0 {
        return add_words(words, token);
    }
    add_words(words, before.get(..before.len() - local).unwrap_or(""));
    words.push_str("@ ");
    add_token(words, after.get(1 + domain..).unwrap_or(""));
}

fn is_address_byte(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || byte >= 0x80 || b".!#$%&*+-/=?^_{|}~\\".contains(&byte)
}

fn is_domain_byte(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || byte >= 0x80 || b".-[]_".contains(&byte)
}

fn add_words(words: &mut String, token: &str) {
    for char in token.chars() {
        match char {
            'a'..='z' | '0'..='9' => words.push(char),
            'A'..='Z' => words.push(char.to_ascii_lowercase()),
            '\u{c0}'..='\u{17f}' => add_latin(words, char),
            '\u{300}'..='\u{36f}' => {}
            _ if char.is_alphanumeric() => words.extend(char.to_lowercase()),
            _ if !words.ends_with(' ') => words.push(' '),
            _ => {}
        }
    }
    if !words.ends_with(' ') {
        words.push(' ');
    }
}

/// Latin letters without their accents.
fn add_latin(words: &mut String, char: char) {
    let lower = char.to_lowercase().next().unwrap_or(char);
    let base = match lower {
        'à'..='å' | 'ā' | 'ă' | 'ą' => "a",
        'æ' => "ae",
        'ç' | 'ć' | 'č' => "c",
        'ď' | 'đ' => "d",
        'è'..='ë' | 'ē' | 'ė' | 'ę' | 'ě' => "e",
        'ģ' | 'ğ' => "g",
        'ì'..='ï' | 'ī' | 'į' | 'ı' => "i",
        'ķ' => "k",
        'ļ' | 'ĺ' | 'ľ' | 'ł' => "l",
        'ñ' | 'ń' | 'ņ' | 'ň' => "n",
        'ò'..='ö' | 'ø' | 'ō' | 'ő' => "o",
        'œ' => "oe",
        'ŕ' | 'ř' => "r",
        'ś' | 'š' | 'ş' => "s",
        'ß' => "ss",
        'ť' | 'ţ' => "t",
        'ù'..='ü' | 'ū' | 'ů' | 'ű' | 'ų' => "u",
        'ý' | 'ÿ' => "y",
        'ź' | 'ž' | 'ż' => "z",
        _ => return words.push(lower),
    };
    words.push_str(base);
}

/// A reply code, an enhanced code, an IP address or a run of punctuation: says nothing as a word.
fn is_code(token: &str) -> bool {
    let core = token.trim_matches(|char: char| !char.is_alphanumeric());
    let bytes = core.as_bytes();
    match bytes {
        [] => token.is_ascii() && !token.contains('@'),
        [b'2' | b'4' | b'5', b'0'..=b'9', b'0'..=b'9'] => true,
        [b'2' | b'4' | b'5', b'0'..=b'9', b'0'..=b'9', b'-' | b':', rest @ ..] => {
            rest.iter().all(|byte| byte.is_ascii_digit() || *byte == b'.')
        }
        [b'0'..=b'9', ..] => bytes.contains(&b'.') && bytes.iter().all(|byte| byte.is_ascii_digit() || *byte == b'.'),
        _ => false,
    }
}

/// A table of phrases, each with the number of what it stands for.
#[derive(Debug)]
pub struct Phrases {
    /// The phrases by a hash of their first bytes.
    index: Vec<Vec<Phrase>>,
    /// Which hashes occur: most words of a text start no phrase.
    filter: Vec<u64>,
}

#[derive(Debug)]
struct Phrase {
    id: usize,
    first: Piece,
    more: Vec<Piece>,
}

#[derive(Debug)]
struct Piece {
    text: String,
    whole: bool,
}

impl Default for Phrases {
    fn default() -> Self {
        Self { index: std::iter::repeat_with(Vec::new).take(INDEX_LEN).collect(), filter: vec![0; FILTER_BITS / 64] }
    }
}

impl Phrases {
    /// Adds those alternatives of a phrase that are wanted. `false` when some has nothing to start from.
    pub fn add(&mut self, phrase: &str, id: usize, mut wanted: impl FnMut(&str) -> bool) -> bool {
        alternatives(phrase).iter().all(|phrase| !wanted(phrase) || self.add_one(phrase, id))
    }

    fn add_one(&mut self, phrase: &str, id: usize) -> bool {
        let mut pieces = phrase.split(" ... ").map(Piece::new);
        let Some(first) = pieces.next() else { return false };
        let more: Vec<Piece> = pieces.collect();
        let start = if first.whole { format!("{} ", first.text) } else { first.text.clone() };
        let Some(key) = KEY_BYTES.iter().find_map(|bytes| start.as_bytes().get(..*bytes)) else { return false };
        if phrase.ends_with("...") || more.iter().any(|piece| piece.text.is_empty()) {
            return false;
        }
        let hash = hash(key);
        let (Some(list), Some(bits)) =
            (self.index.get_mut(hash % INDEX_LEN), self.filter.get_mut(hash % FILTER_BITS / 64))
        else {
            return false;
        };
        *bits |= 1 << (hash % 64);
        list.push(Phrase { id, first, more });
        true
    }

    /// Calls `found` with the number of every phrase that stands in the text, in no order, perhaps repeatedly.
    pub fn each(&self, words: &str, mut found: impl FnMut(usize)) {
        let bytes = words.as_bytes();
        let mut before = b' ';
        for (at, byte) in bytes.iter().copied().enumerate() {
            if starts(before, byte) {
                let keys = KEY_BYTES.iter().filter_map(|bytes_of_key| bytes.get(at..at + bytes_of_key));
                for phrase in keys.flat_map(|key| self.list(key)).filter(|phrase| phrase.is_at(bytes, at)) {
                    found(phrase.id);
                }
            }
            before = byte;
        }
    }

    /// The phrases that may start with this key.
    fn list(&self, key: &[u8]) -> &[Phrase] {
        let hash = hash(key);
        let known = self.filter.get(hash % FILTER_BITS / 64).is_some_and(|bits| bits & (1 << (hash % 64)) != 0);
        match self.index.get(hash % INDEX_LEN) {
            Some(list) if known => list,
            _ => &[],
        }
    }
}

/// A phrase with brackets as the phrases without that it stands for.
pub fn alternatives(phrase: &str) -> Vec<String> {
    spelled_out(phrase).iter().map(|phrase| phrase.split_whitespace().collect::<Vec<_>>().join(" ")).collect()
}

fn spelled_out(phrase: &str) -> Vec<String> {
    let Some((before, rest)) = phrase.split_once('(') else { return vec![phrase.to_owned()] };
    let Some((inside, after)) = rest.split_once(')') else { return vec![phrase.replace('(', "")] };
    let rest = spelled_out(after);
    inside.split('|').flat_map(|choice| rest.iter().map(move |rest| format!("{before}{choice}{rest}"))).collect()
}

/// FNV-1a.
fn hash(key: &[u8]) -> usize {
    key.iter().fold(0x811c_9dc5, |hash, byte| (hash ^ usize::from(*byte)).wrapping_mul(0x0100_0193))
}

/// Whether a phrase may start here: at a word, or at any character of a script that may have no spaces.
fn starts(before: u8, byte: u8) -> bool {
    byte != b' ' && (before == b' ' || byte >= 0xc0 || (byte < 0x80 && before >= 0x80))
}

impl Phrase {
    fn is_at(&self, bytes: &[u8], at: usize) -> bool {
        let Some(mut end) = self.first.end(bytes, at) else { return false };
        self.more.iter().all(|piece| match piece.find(bytes, end) {
            Some(next) => {
                end = next;
                true
            }
            None => false,
        })
    }
}

impl Piece {
    fn new(text: &str) -> Self {
        let (text, whole) = match text.trim().strip_suffix('$') {
            Some(text) => (text, true),
            None => (text.trim(), false),
        };
        let mut words = String::new();
        for token in text.split_whitespace() {
            match token {
                "@" => words.push_str("@ "),
                "%" => words.push_str("% "),
                _ => add_words(&mut words, token),
            }
        }
        let text = words.trim().to_owned();
        Self { whole: whole || text.len() < 3, text }
    }

    /// Where the piece ends if it stands at `at`.
    fn end(&self, bytes: &[u8], at: usize) -> Option<usize> {
        let end = at + self.text.len();
        let same = bytes.get(at..end)? == self.text.as_bytes();
        let ended = !self.whole || bytes.get(end).is_none_or(|next| *next == b' ' || *next >= 0x80);
        (same && ended).then_some(end)
    }

    /// Where the piece ends if it starts a word soon after `from`.
    fn find(&self, bytes: &[u8], from: usize) -> Option<usize> {
        let first = self.text.as_bytes().first().copied()?;
        let until = (from + GAP_BYTES_MAX).min(bytes.len());
        let mut before = from.checked_sub(1).and_then(|at| bytes.get(at)).copied().unwrap_or(b' ');
        for (at, byte) in (from..until).zip(bytes.get(from..until)?.iter().copied()) {
            if byte == first
                && starts(before, byte)
                && let Some(end) = self.end(bytes, at)
            {
                return Some(end);
            }
            before = byte;
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check_plain(text: &str, words: &str) {
        assert_eq!(plain(text).words, format!(" {words} ").replace("  ", " "), "{text}");
    }

    #[test]
    fn a_text_is_made_plain() {
        check_plain("550 5.1.1 <a@b.example>:User  Unknown!", "@ user unknown");
        check_plain("550-5.1.1 does not\n550 5.1.1 exist", "does not exist");
        check_plain("Boîte PLEINE, Größe", "boite pleine grosse");
        check_plain("host mx.example [192.0.2.1]: no-such_user", "host % no such user");
        check_plain("see https://x.example/full?q=1 now", "see now");
        check_plain("Пользователь <x@y.example> не найден", "пользователь @ не найден");
        check_plain("", "");
        assert_eq!(plain("(http://A.example/P)").urls, "http://a.example/p) ");
    }

    #[track_caller]
    fn check(phrase: &str, text: &str, expected: bool) {
        let mut phrases = Phrases::default();
        assert!(phrases.add(phrase, 7, |_| true), "{phrase}");
        let mut seen = false;
        phrases.each(&plain(text).words, |id| seen |= id == 7);
        assert_eq!(seen, expected, "{phrase:?} in {text:?}");
    }

    #[test]
    fn phrases_start_at_words() {
        check("user unknown", "550 User unknown in table", true);
        check("user unknown", "superuser unknown", false);
        check("exceed", "quota exceeded", true);
        check("full$", "fully", false);
        check("full$", "is full.", true);
        check("doesn't exist", "it DOESN'T exist", true);
        check("mailbox ... full$", "Mailbox of that person is full", true);
        check("mailbox ... full$", "full mailbox", false);
        check("@ does not exist", "<q@x.example> does not exist", true);
        check("不存在", "该用户不存在。", true);
        check("не найден", "пользователь не найден", true);
    }

    #[test]
    fn alternatives_are_spelled_out() {
        check("(user|mailbox) (is|) unknown", "the mailbox unknown", true);
        check("(user|mailbox) (is|) unknown", "the user is unknown", true);
        check("(user|mailbox) (is|) unknown", "the user was unknown", false);
        check("no (a|b|c) ... (x|y)", "no b and y", true);
    }

    #[test]
    fn a_phrase_must_have_something_to_start_from() {
        assert!(!Phrases::default().add("", 0, |_| true));
        assert!(!Phrases::default().add("a", 0, |_| true));
        assert!(!Phrases::default().add("abc ... ", 0, |_| true));
    }
}
