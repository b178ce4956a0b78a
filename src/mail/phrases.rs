//! Finds phrases in what mail systems write, whatever their spelling of it.
//!
//! A text is first made plain ([`plain`]): lower case, accents off, punctuation and reply codes gone, one space between
//! words, an address written `@`, a host name `%`. A phrase is written the same way, so `doesn't exist` is found in `DOESN'T  EXIST`.
//! It matches from the start of a word, and its last word may go on (`exceed` finds `exceeded`) unless `$` ends it or it
//! has less than three letters;
//! ` ... ` between two pieces allows a few words there, and `(is|was|)` stands for each of its words or none; one may
//! stand in another. Scripts without spaces match anywhere.
//!
//! All phrases of a table are looked for in one pass; the work is linear in the text for any number of them.

use std::ops::Range;

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
///
/// What phrases have in common is looked for once: they are kept by their pieces, and a piece that some phrases go on
/// from is remembered with where it ended.
#[derive(Debug)]
pub struct Phrases {
    pieces: Vec<Piece>,
    /// The numbers of the pieces by a hash of their first bytes.
    index: Vec<Vec<usize>>,
    /// Which hashes occur: most words of a text start no piece.
    filter: Vec<u64>,
    /// How many beginnings of phrases there are.
    beginnings: usize,
}

#[derive(Debug)]
struct Piece {
    text: String,
    whole: bool,
    roles: Vec<Role>,
}

/// What a piece is in some phrase.
#[derive(Debug)]
struct Role {
    /// The beginning that it must follow.
    after: Option<usize>,
    makes: Makes,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Makes {
    /// The beginning of a longer phrase.
    Beginning(usize),
    /// A whole phrase with this number.
    Phrase(usize),
}

impl Default for Phrases {
    fn default() -> Self {
        let index = std::iter::repeat_with(Vec::new).take(INDEX_LEN).collect();
        Self { pieces: Vec::new(), index, filter: vec![0; FILTER_BITS / 64], beginnings: 0 }
    }
}

impl Phrases {
    /// Adds those alternatives of a phrase that are wanted. `false` when some has nothing to start from.
    pub fn add(&mut self, phrase: &str, id: usize, mut wanted: impl FnMut(&str) -> bool) -> bool {
        alternatives(phrase).iter().all(|phrase| !wanted(phrase) || self.add_one(phrase, id))
    }

    fn add_one(&mut self, phrase: &str, id: usize) -> bool {
        let pieces: Option<Vec<usize>> = phrase.split(" ... ").map(|piece| self.piece(piece)).collect();
        match pieces.as_deref().and_then(<[usize]>::split_last) {
            Some((last, beginnings)) if !phrase.ends_with("...") => {
                let after = beginnings.iter().fold(None, |after, piece| Some(self.beginning(*piece, after)));
                self.play(*last, Role { after, makes: Makes::Phrase(id) });
                true
            }
            _ => false,
        }
    }

    /// The number of a piece; `None` when it has nothing to start from.
    fn piece(&mut self, text: &str) -> Option<usize> {
        let piece = Piece::new(text);
        let hash = hash(&piece.key()?);
        let list = self.index.get_mut(hash % INDEX_LEN)?;
        let mut known = list.iter().filter_map(|number| self.pieces.get(*number).map(|piece| (*number, piece)));
        if let Some((number, _)) = known.find(|(_, known)| known.text == piece.text && known.whole == piece.whole) {
            return Some(number);
        }
        *self.filter.get_mut(hash % FILTER_BITS / 64)? |= 1 << (hash % 64);
        list.push(self.pieces.len());
        self.pieces.push(piece);
        Some(self.pieces.len() - 1)
    }

    /// The number of a beginning that this piece makes.
    fn beginning(&mut self, piece: usize, after: Option<usize>) -> usize {
        let roles = self.pieces.get(piece).map(|piece| &piece.roles).into_iter().flatten();
        let mut same = roles.filter(|role| role.after == after).filter_map(|role| match role.makes {
            Makes::Beginning(number) => Some(number),
            Makes::Phrase(_) => None,
        });
        if let Some(number) = same.next() {
            return number;
        }
        self.beginnings += 1;
        self.play(piece, Role { after, makes: Makes::Beginning(self.beginnings - 1) });
        self.beginnings - 1
    }

    fn play(&mut self, piece: usize, role: Role) {
        if let Some(piece) = self.pieces.get_mut(piece) {
            piece.roles.push(role);
        }
    }

    /// Calls `found` with the number of every phrase that stands in the text, perhaps repeatedly, and where its last
    /// piece stands; in the order of where these start.
    pub fn each(&self, words: &str, mut found: impl FnMut(usize, Range<usize>)) {
        let bytes = words.as_bytes();
        // Where each beginning stood last.
        let mut ends = vec![None; self.beginnings];
        let mut before = b' ';
        for (at, byte) in bytes.iter().copied().enumerate() {
            if starts(before, byte) {
                for key in KEY_BYTES.iter().filter_map(|bytes_of_key| bytes.get(at..at + bytes_of_key)) {
                    for piece in self.list(key).iter().filter_map(|number| self.pieces.get(*number)) {
                        if let Some(end) = piece.end(bytes, at) {
                            piece.plays(at..end, &mut ends, &mut found);
                        }
                    }
                }
            }
            before = byte;
        }
    }

    /// The numbers of the pieces that may start with this key.
    fn list(&self, key: &[u8]) -> &[usize] {
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
    let (mut depth, mut from, mut choices) = (0, 0, Vec::new());
    for (at, char) in rest.char_indices() {
        match char {
            '(' => depth += 1,
            ')' if depth > 0 => depth -= 1,
            '|' | ')' if depth == 0 => {
                choices.extend(rest.get(from..at).map(spelled_out).unwrap_or_default());
                from = at + 1;
            }
            _ => {}
        }
        if char == ')' && from == at + 1 {
            let after = rest.get(from..).map(spelled_out).unwrap_or_default();
            let join =
                |choice: &String| after.iter().map(|after| format!("{before}{choice}{after}")).collect::<Vec<_>>();
            return choices.iter().flat_map(join).collect();
        }
    }
    vec![phrase.replace('(', "")]
}

/// FNV-1a.
fn hash(key: &[u8]) -> usize {
    key.iter().fold(0x811c_9dc5, |hash, byte| (hash ^ usize::from(*byte)).wrapping_mul(0x0100_0193))
}

/// Whether a phrase may start here: at a word, or at any character of a script that may have no spaces.
fn starts(before: u8, byte: u8) -> bool {
    byte != b' ' && (before == b' ' || byte >= 0xc0 || (byte < 0x80 && before >= 0x80))
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
        Self { whole: whole || text.len() < 3, text, roles: Vec::new() }
    }

    /// The bytes that it is found by: with the space after it, if it is short.
    fn key(&self) -> Option<Vec<u8>> {
        let start = if self.text.len() < 3 { format!("{} ", self.text) } else { self.text.clone() };
        KEY_BYTES.iter().find_map(|bytes| start.as_bytes().get(..*bytes)).map(<[u8]>::to_vec)
    }

    /// Where the piece ends if it stands at `at`.
    fn end(&self, bytes: &[u8], at: usize) -> Option<usize> {
        let end = at + self.text.len();
        let same = bytes.get(at..end)? == self.text.as_bytes();
        let ended = !self.whole || bytes.get(end).is_none_or(|next| *next == b' ' || *next >= 0x80);
        (same && ended).then_some(end)
    }

    /// What it is where it stands: the end of phrases, the beginning of others.
    fn plays(&self, at: Range<usize>, ends: &mut [Option<usize>], found: &mut impl FnMut(usize, Range<usize>)) {
        for role in &self.roles {
            let follows = |beginning| ends.get(beginning).copied().flatten().is_some_and(|end| goes_on(end, at.start));
            if role.after.is_none_or(follows) {
                match role.makes {
                    Makes::Phrase(id) => found(id, at.clone()),
                    Makes::Beginning(number) => {
                        if let Some(end) = ends.get_mut(number) {
                            *end = Some(at.end);
                        }
                    }
                }
            }
        }
    }
}

/// Whether what starts here goes on from what ended there.
fn goes_on(end: usize, start: usize) -> bool {
    (end..end + GAP_BYTES_MAX).contains(&start)
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
        phrases.each(&plain(text).words, |id, _| seen |= id == 7);
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
        check("no (a|b|c) ... (xx|yy)", "no b and yy", true);
        check("(not (in|on) the|no) list", "not on the list", true);
        check("(not (in|on) the|no) list", "no list", true);
        check("(not (in|on) the|no) list", "in the list", false);
    }

    #[test]
    fn a_phrase_must_have_something_to_start_from() {
        assert!(!Phrases::default().add("", 0, |_| true));
        assert!(!Phrases::default().add("a", 0, |_| true));
        assert!(!Phrases::default().add("abc ... ", 0, |_| true));
        assert!(!Phrases::default().add("abc ... x", 0, |_| true));
    }
}
