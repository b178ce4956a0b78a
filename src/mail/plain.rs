//! The text of an HTML body, for readers that do not show HTML.
//!
//! Paragraphs, lists, quotes and the targets of links stay visible; what the reader of the HTML would not see is left
//! out. Nobody depends on the exact text: it is made once, when a client sends HTML alone. Linear in the size of the
//! HTML, which html5gum scans (§13.2.5 of the HTML Standard).

use std::borrow::Cow;

use html5gum::{DefaultEmitter, Emitter, ForwardingEmitter, StartTag, Token, Tokenizer};

use super::html::PIXEL_MARK;
use super::rewrite::no_tracking;

/// Larger HTML is not read.
pub const HTML_BYTES_MAX: usize = 4 << 20;
/// Where the text ends at the latest, in bytes.
const TEXT_BYTES_MAX: usize = 1 << 20;
/// Lists or quotes inside each other that are shown as such.
const DEPTH_SHOWN_MAX: usize = 8;
/// Empty lines between two lines of text, plus one.
const BREAKS_MAX: usize = 3;

/// The text, line ends LF; `None` when there is none to be seen, or too much to be read.
pub fn text_of(html: &str) -> Option<String> {
    if html.len() > HTML_BYTES_MAX {
        return None;
    }
    let mut emitter = DefaultEmitter::default();
    emitter.naively_switch_states(true);
    let mut page = Page::default();
    for token in Tokenizer::new_with_emitter(html.as_bytes(), Quiet(emitter)) {
        let Ok(token) = token;
        match token {
            Token::StartTag(tag) => page.start(&tag),
            Token::EndTag(tag) => page.end(&tag.name),
            Token::String(text) => page.text(&String::from_utf8_lossy(&text)),
            Token::Comment(_) | Token::Doctype(_) | Token::Error(_) => {}
        }
        if page.out.len() > TEXT_BYTES_MAX {
            break;
        }
    }
    page.out.truncate(page.out.trim_end().len());
    (!page.out.is_empty()).then_some(page.out)
}

/// Looks at no character for its faults, of which nobody would hear.
struct Quiet(DefaultEmitter);

impl ForwardingEmitter for Quiet {
    type Token = Token<()>;

    fn inner(&mut self) -> &mut impl Emitter<Token = Self::Token> {
        &mut self.0
    }

    fn should_emit_errors(&mut self) -> bool {
        false
    }
}

#[derive(Default)]
struct Page {
    out: String,
    /// Line ends owed before the next word.
    breaks: usize,
    /// A blank owed before the next word.
    space: bool,
    /// Open lists; an ordered one has the number of its last item.
    lists: Vec<Option<usize>>,
    /// What the next line begins with, when it is a list's item.
    marker: Option<String>,
    quotes: usize,
    preformatted: usize,
    /// An element that is not shown, and how many of its name are open inside it.
    hidden: Option<(Vec<u8>, usize)>,
    /// The link that is open: its target, and where its text begins.
    link: Option<(String, usize)>,
}

impl Page {
    fn start(&mut self, tag: &StartTag<()>) {
        let name: &[u8] = &tag.name;
        if let Some((hidden, depth)) = &mut self.hidden {
            *depth += usize::from(hidden.as_slice() == name);
            return;
        }
        if is_hidden(tag) && !tag.self_closing {
            self.hidden = Some((name.to_vec(), 1));
            return;
        }
        self.breaks = self.breaks.max(breaks_around(name));
        match name {
            b"br" => self.breaks = (self.breaks + 1).min(BREAKS_MAX),
            b"hr" => {
                self.word("----");
                self.breaks = 2;
            }
            b"td" | b"th" => self.space = true,
            b"ul" => self.lists.push(None),
            b"ol" => self.lists.push(Some(0)),
            b"li" => self.marker = Some(self.item()),
            b"blockquote" => self.quotes += 1,
            b"pre" => self.preformatted += 1,
            b"img" => self.text(&attribute(tag, b"alt")),
            b"a" => self.link = Some((target(tag), self.out.len())),
            _ => {}
        }
    }

    fn end(&mut self, name: &[u8]) {
        if let Some((hidden, depth)) = &mut self.hidden {
            *depth -= usize::from(hidden.as_slice() == name);
            if *depth == 0 {
                self.hidden = None;
            }
            return;
        }
        match name {
            b"ul" | b"ol" => drop(self.lists.pop()),
            b"li" => self.marker = None,
            b"blockquote" => self.quotes = self.quotes.saturating_sub(1),
            b"pre" => self.preformatted = self.preformatted.saturating_sub(1),
            b"a" => self.end_link(),
            _ => {}
        }
        self.breaks = self.breaks.max(breaks_around(name));
    }

    fn end_link(&mut self) {
        let Some((target, start)) = self.link.take() else { return };
        let shown = self.out.get(start..).unwrap_or_default();
        let lower = target.to_ascii_lowercase();
        let address = lower.strip_prefix("mailto:").map(|_| target["mailto:".len()..].split('?').next().unwrap_or(""));
        let is_web = lower.starts_with("https://") || lower.starts_with("http://");
        let told = match address {
            Some(address) => address,
            None if is_web => target.as_str(),
            None => return,
        };
        let is_clean = !told.is_empty() && !told.chars().any(|char| char.is_whitespace() || char.is_control());
        if is_clean && !shown.contains(bare(told)) {
            let told = format!("<{told}>");
            self.space = true;
            self.word(&told);
        }
    }

    fn item(&mut self) -> String {
        match self.lists.last_mut() {
            Some(Some(number)) => {
                *number += 1;
                format!("{number}. ")
            }
            Some(None) | None => "- ".to_owned(),
        }
    }

    fn text(&mut self, text: &str) {
        if self.hidden.is_some() {
            return;
        }
        let text = &text.replace(PIXEL_MARK, "");
        if self.preformatted > 0 {
            return self.lines(text);
        }
        self.space |= text.starts_with(is_blank);
        match text.is_ascii() {
            true => self.words(text.split_ascii_whitespace()),
            false => self.words(text.split(is_blank).filter(|word| !word.is_empty())),
        }
        self.space |= text.ends_with(is_blank);
    }

    fn words<'t>(&mut self, words: impl Iterator<Item = &'t str>) {
        for (count, word) in words.enumerate() {
            self.space |= count > 0;
            self.word(word);
        }
    }

    /// Text whose line ends and blanks count.
    fn lines(&mut self, text: &str) {
        for (count, line) in text.split('\n').enumerate() {
            self.breaks = (self.breaks + usize::from(count > 0)).min(BREAKS_MAX);
            let line = line.trim_end();
            if !line.is_empty() {
                self.word(line);
            }
        }
    }

    fn word(&mut self, word: &str) {
        let word: Cow<'_, str> = if word.is_ascii() { word.into() } else { word.replace(is_filler, "").into() };
        if word.is_empty() {
            return;
        }
        let is_first = self.out.is_empty();
        if self.breaks > 0 || is_first {
            let breaks = if is_first { 0 } else { self.breaks };
            self.out.extend(std::iter::repeat_n('\n', breaks));
            self.line_start();
            self.breaks = 0;
        } else if self.space {
            self.out.push(' ');
        }
        self.space = false;
        self.out.push_str(&word);
    }

    fn line_start(&mut self) {
        let quotes = self.quotes.min(DEPTH_SHOWN_MAX);
        self.out.push_str(&"> ".repeat(quotes));
        let marker = self.marker.take();
        let depth = self.lists.len().saturating_sub(usize::from(marker.is_some())).min(DEPTH_SHOWN_MAX);
        self.out.push_str(&"  ".repeat(depth));
        self.out.push_str(&marker.unwrap_or_default());
    }
}

fn is_blank(char: char) -> bool {
    char.is_ascii_whitespace() || char == '\u{a0}'
}

/// Characters that nobody sees; previews are padded with them.
fn is_filler(char: char) -> bool {
    matches!(char, '\u{ad}' | '\u{34f}' | '\u{200b}' | '\u{feff}')
}

/// A web address as people write it.
fn bare(target: &str) -> &str {
    let bare = target.split_once("://").map_or(target, |(_, rest)| rest);
    bare.strip_suffix('/').unwrap_or(bare)
}

/// How many line ends stand between an element and what is beside it.
fn breaks_around(name: &[u8]) -> usize {
    match name {
        b"p" | b"h1" | b"h2" | b"h3" | b"h4" | b"h5" | b"h6" | b"ul" | b"ol" | b"dl" | b"blockquote" | b"pre"
        | b"table" | b"hr" | b"figure" | b"form" | b"fieldset" => 2,
        b"div" | b"tr" | b"li" | b"dt" | b"dd" | b"section" | b"article" | b"header" | b"footer" | b"address"
        | b"main" | b"nav" | b"aside" | b"center" | b"caption" | b"figcaption" => 1,
        _ => 0,
    }
}

fn is_hidden(tag: &StartTag<()>) -> bool {
    let name: &[u8] = &tag.name;
    let is_void = matches!(name, b"img" | b"br" | b"hr" | b"input" | b"meta" | b"link" | b"col" | b"base" | b"wbr");
    let is_never_shown =
        matches!(name, b"title" | b"script" | b"style" | b"template" | b"textarea" | b"select" | b"svg");
    if is_void || is_never_shown {
        return is_never_shown;
    }
    let style: String = attribute(tag, b"style").chars().filter(|char| !char.is_whitespace()).collect();
    tag.attributes.contains_key(b"hidden".as_slice()) || style.to_ascii_lowercase().contains("display:none")
}

/// Where a link leads, without a wish that is meant for us.
fn target(tag: &StartTag<()>) -> String {
    let mut href = attribute(tag, b"href").trim().to_owned();
    if let Some(wish) = no_tracking(href.as_bytes()) {
        href.replace_range(wish, "");
    }
    href
}

fn attribute<'t>(tag: &'t StartTag<()>, name: &[u8]) -> Cow<'t, str> {
    tag.attributes.get(name).map_or(Cow::Borrowed(""), |value| String::from_utf8_lossy(value))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(html: &str, expected: &str) {
        assert_eq!(text_of(html).as_deref(), Some(expected).filter(|text| !text.is_empty()), "{html}");
    }

    #[test]
    fn what_is_seen() {
        check("<p>Hi <b>Ann</b>,</p>\n<p>thank   you.</p>", "Hi Ann,\n\nthank you.");
        check("one<br>two<br><br>three<br/><br><br><br>four", "one\ntwo\n\nthree\n\n\nfour");
        check("<h1>Title</h1><div>a</div><div>b <i>c</i>d</div>", "Title\n\na\nb cd");
        check("a&nbsp;&amp;&nbsp;b &lt;c&gt; &eacute;", "a & b <c> é");
        check(
            "<ul><li>one<li>two<ul><li>deep</ul></ul><ol><li>x</li><li>y</li></ol>",
            "- one\n- two\n\n  - deep\n\n1. x\n2. y",
        );
        check("<blockquote><p>a</p><p>b</p></blockquote><p>c", "> a\n\n> b\n\nc");
        check("<pre>a\n  b\n</pre>", "a\n  b");
        check("<table><tr><td>Total</td><td>7 €</td></tr><tr><td>x</td></tr></table>", "Total 7 €\nx");
        check("a<hr>b<img src=x alt='A picture'>c", "a\n\n----\n\nbA picturec");
        check("plain", "plain");
    }

    #[test]
    fn links() {
        check("<a href='https://x.example/?a=1&amp;b=2'>Go</a> on", "Go <https://x.example/?a=1&b=2> on");
        check("<a href='https://x.example/'>x.example</a>", "x.example");
        check("<a href='https://x.example/'>https://x.example</a>.", "https://x.example.");
        check("<a href='https+notrack://x.example/r'>Reset</a>{{open_pixel}}", "Reset <https://x.example/r>");
        check("<a href='mailto:a@b.example?subject=x'>write</a>", "write <a@b.example>");
        check("<a href='mailto:a@b.example'>a@b.example</a>", "a@b.example");
        check("<a href='https://x.example/'><img src=x></a>", "<https://x.example/>");
        check(
            "<a href='javascript:x()'>x</a> <a href='#top'>up</a> <a>no</a> <a href='https://a b/'>z</a>",
            "x up no z",
        );
        check("</a><a href='https://x.example/'>open", "open");
    }

    #[test]
    fn what_is_not_seen() {
        check("<html><head><title>t</title><style>p{}</style></head><body><script>1<2</script>x</body>", "x");
        check("<div style='DISPLAY : none'>pre<div>header</div></div>x<span hidden>y</span>", "x");
        check("\u{34f}\u{200b}&zwj;&shy;x<!-- comment -->", "\u{200d}x");
        check("", "");
        check("<img src=x>", "");
        check("<p> &nbsp; </p>", "");
    }

    #[test]
    fn hostile() {
        for html in ["<", "<a href=", "</li></ul></ol></pre></blockquote></a>", "<div hidden>", "\u{0}", "<![CDATA[x"] {
            let _ = text_of(html);
        }
        for piece in ["<ul><li>x", "<blockquote>x", "<a href='https://x.example/'>", "<div hidden>", "<p>", "&nbsp; "] {
            let text = text_of(&piece.repeat(20_000)).unwrap_or_default();
            assert!(text.len() <= TEXT_BYTES_MAX + 100, "{piece}");
        }
        assert_eq!(text_of(&" ".repeat(HTML_BYTES_MAX + 1)), None);
    }
}
