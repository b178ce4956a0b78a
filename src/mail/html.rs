//! Links and the place of the pixel in the bytes of an HTML body.
//!
//! html5gum is the scanner and nothing more: it says where an attribute's value stands and what it decodes to, and
//! the caller replaces those bytes. Nothing is parsed into a tree and printed again. The bytes may be in any charset
//! in which ASCII is ASCII.
//!
//! Links are the first `href` of `a`, `area` and VML's `v:…` elements, as markup and inside the conditional comments
//! that Outlook reads (`<!--[if mso]>…<![endif]-->`). What `noscript` holds is markup here, since mail readers run no
//! scripts; what `script`, `style`, `title`, `textarea` and their like hold is not.
//!
//! Speaks the tokenizer of the HTML Standard (§13.2.5).

use std::convert::Infallible;
use std::ops::Range;

use html5gum::{Emitter, Error, State, Tokenizer};
use memchr::memmem;

use super::rewrite::{OptOut, opts_out};

/// Put where the pixel shall stand, when neither at the end nor on top.
pub const PIXEL_MARK: &str = "{{open_pixel}}";

/// Longer HTML has its pixel on top: at about 102 kB the largest reader cuts, and what is cut off loads nothing.
const BOTTOM_BYTES_MAX: usize = 100_000;
/// A longer value is no link that we would track.
const VALUE_BYTES_MAX: usize = 64 << 10;
/// No name that matters is longer; of a longer one only so much is kept.
const NAME_BYTES_MAX: usize = 64;
/// Conditional comments inside conditional comments.
const COMMENT_DEPTH_MAX: usize = 3;

/// One `href`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Href {
    /// Where its value stands, quotes not included.
    pub(super) span: Range<usize>,
    /// What the value decodes to; of one that is too long, its beginning, or nothing.
    pub(super) value: Vec<u8>,
    /// No link that we would track is that long.
    pub(super) is_overlong: bool,
    /// The blank before the attribute, where its tag may be broken into lines.
    pub(super) blank: Option<usize>,
    /// How the tag says that the link is not to be tracked.
    pub(super) opted_out: Option<OptOut>,
}

/// What was found in an HTML body.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Page {
    /// In the order of the bytes.
    pub(super) hrefs: Vec<Href>,
    comments: Vec<Range<usize>>,
    /// Where [`PIXEL_MARK`] stands.
    pub(super) mark: Option<Range<usize>>,
    body_opened: Option<usize>,
    body_closes: Option<usize>,
    html_closes: Option<usize>,
    end: usize,
    is_long: bool,
}

impl Page {
    /// What the pixel replaces: the mark, or nothing on top of the body or at its end.
    pub(super) fn pixel_place(&self, on_top: bool) -> Range<usize> {
        if let Some(mark) = &self.mark {
            return mark.clone();
        }
        let top = self.body_opened.filter(|_| on_top || self.is_long);
        let place = top.or(self.body_closes).or(self.html_closes).unwrap_or(self.end);
        place..place
    }
}

/// Finds the links and the pixel's place. Linear in the size of `source`.
pub(super) fn scan(source: &[u8]) -> Page {
    let mut page = scan_markup(source);
    page.is_long = source.len() > BOTTOM_BYTES_MAX;
    page.end = page.end.min(source.trim_ascii_end().len());
    let mut comments = std::mem::take(&mut page.comments);
    for _ in 0..COMMENT_DEPTH_MAX {
        let mut inner = Vec::new();
        for comment in comments {
            let Some(inside) = conditional(source, comment) else { continue };
            let found = scan_markup(&source[inside.clone()]);
            page.hrefs.extend(found.hrefs.into_iter().map(|href| href.moved(inside.start)));
            inner.extend(found.comments.into_iter().map(|comment| moved(comment, inside.start)));
        }
        comments = inner;
    }
    page.hrefs.sort_unstable_by_key(|href| href.span.start);
    page
}

fn scan_markup(source: &[u8]) -> Page {
    let mut page = Page::default();
    let has_mark = memmem::find(source, PIXEL_MARK.as_bytes()).is_some();
    let Ok(()) = Tokenizer::new_with_emitter(source, Reading::new(source, has_mark, &mut page)).finish();
    page
}

fn moved(range: Range<usize>, by: usize) -> Range<usize> {
    range.start + by..range.end + by
}

/// The inside of a comment `<!--[if …]>…<![endif]-->`; `None` for any other comment.
fn conditional(source: &[u8], comment: Range<usize>) -> Option<Range<usize>> {
    let bytes = source.get(comment.clone())?;
    if !bytes.get(..7)?.eq_ignore_ascii_case(b"<!--[if") {
        return None;
    }
    let start = memmem::find(bytes, b"]>")? + 2;
    let end = bytes.strip_suffix(b"-->").unwrap_or(bytes).len();
    (start < end).then(|| moved(start..end, comment.start))
}

impl Href {
    fn moved(self, by: usize) -> Self {
        Self { span: moved(self.span, by), blank: self.blank.map(|blank| blank + by), ..self }
    }

    /// Whether the span is exactly a value: between two quotes of a kind, or unquoted up to a blank or the tag's end.
    /// The scanner says so; asked again because a wrong span would break the mail.
    fn is_whole(&self, source: &[u8]) -> bool {
        let before = self.span.start.checked_sub(1).and_then(|at| source.get(at));
        let (Some(before), Some(value), Some(after)) =
            (before, source.get(self.span.clone()), source.get(self.span.end))
        else {
            return false;
        };
        let ends = |byte: &u8| byte.is_ascii_whitespace() || *byte == b'>';
        match before {
            b'"' | b'\'' => after == before && !value.contains(before),
            _ => (*before == b'=' || before.is_ascii_whitespace()) && ends(after) && !value.iter().any(ends),
        }
    }
}

/// What the scanner is reading; what it found goes to `page`.
struct Reading<'a> {
    source: &'a [u8],
    page: &'a mut Page,
    has_mark: bool,
    position: usize,
    /// Where the tag, comment or text of an element began that is not yet complete.
    tag_since: Option<usize>,
    raw_since: Option<usize>,
    raw_element: Vec<u8>,
    is_start_tag: bool,
    is_link: bool,
    element: Vec<u8>,
    attribute: Vec<u8>,
    attribute_start: usize,
    value: Vec<u8>,
    value_span: Range<usize>,
    is_overlong: bool,
    href: Option<Href>,
    opted_out: Option<OptOut>,
}

impl<'a> Reading<'a> {
    fn new(source: &'a [u8], has_mark: bool, page: &'a mut Page) -> Self {
        Self {
            source,
            page,
            has_mark,
            position: 0,
            tag_since: None,
            raw_since: None,
            raw_element: Vec::new(),
            is_start_tag: false,
            is_link: false,
            element: Vec::new(),
            attribute: Vec::new(),
            attribute_start: 0,
            value: Vec::new(),
            value_span: 0..0,
            is_overlong: false,
            href: None,
            opted_out: None,
        }
    }

    fn start_tag(&mut self, is_start_tag: bool) {
        self.is_start_tag = is_start_tag;
        self.is_link = false;
        self.opted_out = None;
        self.href = None;
        self.element.clear();
        self.attribute.clear();
    }

    /// The attribute read so far is complete. Of two with one name the first counts, also when it is empty.
    fn close_attribute(&mut self) {
        if !self.is_link || self.attribute.is_empty() {
            return;
        }
        if self.attribute != b"href" {
            self.opted_out = self.opted_out.or_else(|| opts_out(&self.attribute, &self.value));
        } else if self.href.is_none() {
            let blank = self.attribute_start.checked_sub(1);
            self.href = Some(Href {
                span: self.value_span.clone(),
                value: std::mem::take(&mut self.value),
                is_overlong: self.is_overlong,
                blank: blank.filter(|at| matches!(self.source.get(*at), Some(b' ' | b'\t'))),
                opted_out: None,
            });
        }
    }

    fn close_start_tag(&mut self) -> Option<State> {
        self.close_attribute();
        if let Some(href) = self.href.take() {
            let href = Href { opted_out: self.opted_out, ..href };
            if (href.is_overlong || !href.value.is_empty()) && href.is_whole(self.source) {
                self.page.hrefs.push(href);
            }
        }
        let state = match self.element.as_slice() {
            b"body" => {
                self.page.body_opened.get_or_insert(self.position);
                None
            }
            b"title" | b"textarea" => Some(State::RcData),
            b"style" | b"xmp" | b"iframe" | b"noembed" | b"noframes" => Some(State::RawText),
            b"script" => Some(State::ScriptData),
            b"plaintext" => Some(State::PlainText),
            _ => None,
        };
        if state.is_some() {
            self.raw_since = self.tag_since;
            self.raw_element.clone_from(&self.element);
        }
        state
    }

    fn close_end_tag(&mut self) {
        self.raw_since = None;
        match self.element.as_slice() {
            b"body" => self.page.body_closes = self.tag_since,
            b"html" => self.page.html_closes = self.tag_since,
            _ => (),
        }
    }
}

fn is_link(element: &[u8]) -> bool {
    matches!(element, b"a" | b"area") || element.starts_with(b"v:")
}

/// Adds to a name of which nobody needs more than the first bytes.
fn push_name(name: &mut Vec<u8>, more: &[u8]) {
    let room = NAME_BYTES_MAX.saturating_sub(name.len());
    name.extend_from_slice(&more[..more.len().min(room)]);
}

impl Emitter for Reading<'_> {
    type Token = Infallible;

    fn move_position(&mut self, offset: isize) {
        self.position = self.position.saturating_add_signed(offset);
    }

    fn start_open_tag(&mut self) {
        self.tag_since = Some(self.position.saturating_sub(1));
    }

    /// Called when markup is read on: what began before is complete.
    fn init_string(&mut self) {
        self.tag_since = None;
    }

    fn emit_string(&mut self, text: &[u8]) {
        if self.has_mark && self.page.mark.is_none() && self.raw_since.is_none() {
            let start = self.position.saturating_sub(text.len());
            let found = memmem::find(text, PIXEL_MARK.as_bytes());
            self.page.mark = found.map(|at| start + at..start + at + PIXEL_MARK.len());
        }
    }

    fn init_start_tag(&mut self) {
        self.start_tag(true);
    }

    fn init_end_tag(&mut self) {
        self.start_tag(false);
    }

    fn push_tag_name(&mut self, name: &[u8]) {
        push_name(&mut self.element, name);
    }

    fn init_attribute(&mut self) {
        self.close_attribute();
        self.is_link = self.is_start_tag && is_link(&self.element);
        self.attribute.clear();
        self.attribute_start = self.position.saturating_sub(1);
        self.value.clear();
        self.value_span = self.position..self.position;
        self.is_overlong = false;
    }

    fn push_attribute_name(&mut self, name: &[u8]) {
        if self.is_link {
            push_name(&mut self.attribute, name);
        }
    }

    fn init_attribute_value(&mut self) {
        self.value_span = self.position..self.position;
    }

    fn push_attribute_value(&mut self, value: &[u8]) {
        if self.is_link {
            self.value_span.end = self.position;
            self.is_overlong |= self.value.len() + value.len() > VALUE_BYTES_MAX;
            if !self.is_overlong {
                self.value.extend_from_slice(value);
            }
        }
    }

    fn emit_current_tag(&mut self) -> Option<State> {
        if self.is_start_tag {
            return self.close_start_tag();
        }
        self.close_end_tag();
        None
    }

    fn emit_current_comment(&mut self) {
        if let Some(start) = self.tag_since {
            self.page.comments.push(start..self.position);
        }
    }

    fn emit_eof(&mut self) {
        self.page.end = self.raw_since.or(self.tag_since).unwrap_or(self.source.len());
    }

    fn current_is_appropriate_end_tag_token(&mut self) -> bool {
        !self.is_start_tag && self.raw_since.is_some() && self.element == self.raw_element
    }

    fn should_emit_errors(&mut self) -> bool {
        false
    }

    fn pop_token(&mut self) -> Option<Infallible> {
        None
    }

    fn set_last_start_tag(&mut self, _: Option<&[u8]>) {}
    fn emit_error(&mut self, _: Error) {}
    fn init_comment(&mut self) {}
    fn push_comment(&mut self, _: &[u8]) {}
    fn set_self_closing(&mut self) {}
    fn set_force_quirks(&mut self) {}
    fn init_doctype(&mut self) {}
    fn push_doctype_name(&mut self, _: &[u8]) {}
    fn emit_current_doctype(&mut self) {}
    fn set_doctype_public_identifier(&mut self, _: &[u8]) {}
    fn set_doctype_system_identifier(&mut self, _: &[u8]) {}
    fn push_doctype_public_identifier(&mut self, _: &[u8]) {}
    fn push_doctype_system_identifier(&mut self, _: &[u8]) {}
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Finds exactly these links: as they stand, carriage returns aside, and as they decode.
    #[track_caller]
    fn check(html: &str, expected: &[(&str, &str)]) {
        for html in [html.to_owned(), html.replace('\n', "\r\n")] {
            let page = scan(html.as_bytes());
            let tracked = page.hrefs.iter().filter(|href| href.opted_out.is_none());
            let found: Vec<(String, String)> = tracked
                .map(|href| (html[href.span.clone()].replace('\r', ""), String::from_utf8(href.value.clone()).unwrap()))
                .collect();
            let expected: Vec<(String, String)> =
                expected.iter().map(|(raw, value)| (raw.to_string(), value.to_string())).collect();
            assert_eq!(found, expected, "{html}");
        }
    }

    #[test]
    fn where_links_are() {
        for html in [
            "<a href=\"u\">",
            "<A HREF='u'>",
            "<a href=u>",
            "<area shape=rect href=u>",
            "<a\n title='a>b'\n href\n=\n\"u\"\n>",
            "<a/href=u>",
            "<v:rect href=\"u\">",
            "<a href=u href=v>",
            "<noscript><a href=u></noscript>",
            "<!--[if mso]><v:roundrect href=\"u\"><![endif]-->",
            "<!--[IF (gte mso 9)|(IE)]><a href=\"u\"><![endif]-->",
            "<!--[if mso]><!--[if gte mso 12]><a href='u'><![endif]-->",
            "<![if !mso]><a href=u><![endif]>",
            "<!--[if !mso]><!--><a href=u><!--<![endif]-->",
            "<title></title><style></style ><script></script\n><textarea></textarea><a href=u>",
            "<a href=u><a href=\"v",
            "<a href='u'class=x>",
        ] {
            check(html, &[("u", "u")]);
        }
        for html in [
            "<a name=u>",
            "<a href=''>",
            "<a href>",
            "<a href='' href=u>",
            "<a data-href=u xlink:href=u>",
            "<abbr href=u><link href=u><base href=u><img src=u><form action=u>",
            "</a href=u>",
            "<!-- <a href=u> -->",
            "<!-- [if mso]><a href=u><![endif]-->",
            "<script>'<a href=u>'</script>",
            "<script><!--<script></script><a href=u>--></script>",
            "<style><a href=u></style><title><a href=u></title><textarea><a href=u></textarea>",
            "<xmp><a href=u></xmp><iframe><a href=u></iframe><noembed><a href=u></noembed><noframes><a href=u>",
            "<plaintext><a href=u></plaintext>",
            "<a href=\"u",
            "<a href=u",
        ] {
            check(html, &[]);
        }
    }

    #[test]
    fn values_decode_as_attributes_do() {
        for (raw, value) in [
            ("x?a=1&amp;b=2", "x?a=1&b=2"),
            ("x?a=1&b=2", "x?a=1&b=2"),
            ("x?a=1&copy=2&para=3", "x?a=1&copy=2&para=3"),
            ("x?a=1&copy;&copy", "x?a=1©©"),
            ("x&#38;&#x26;&#0;", "x&&\u{fffd}"),
            ("it's", "it's"),
            (" u\n", " u\n"),
            ("\nu&amp;\n\nv&x\n", "\nu&\n\nv&x\n"),
        ] {
            check(&format!("\n<p>\n<a href=\"{raw}\"\n>"), &[(raw, value)]);
        }
        let long = format!("<a href=\"https://a.example/{}\">", "x".repeat(VALUE_BYTES_MAX));
        assert!(scan(long.as_bytes()).hrefs[0].is_overlong);
    }

    #[test]
    fn authors_can_opt_out() {
        check("<a data-no-track href=u><a href=v CLICKTRACKING='off'>", &[]);
        check("<a data-no-track=false href=u>", &[("u", "u")]);
    }

    #[track_caller]
    fn check_pixel(html: &str, on_top: bool) {
        let place = html.find('^').unwrap();
        let html = html.replace('^', "");
        assert_eq!(scan(html.as_bytes()).pixel_place(on_top), place..place, "{html}");
    }

    #[test]
    fn where_the_pixel_goes() {
        for html in [
            "<body>x^</body></html>",
            "<body>x</body>y^</BODY\n></html>",
            "<body><!-- </body> --><script>'</body>'</script>x^</body><!-- </body> -->",
            "<p>x^</html>\n",
            "<p>x^\r\n",
            "<p>x < y^",
            "<p>x^<a href=\"u",
            "<p>x^<!-- y",
            "<p>x^<style>y<b>",
            "<p>x</p><!-- y -->^\n",
            "^",
        ] {
            check_pixel(html, false);
        }
        check_pixel("<head><body class=x>^\n<p></body>", true);
        check_pixel("<p>^</body>", true);
        check_pixel(&format!("<body>^{}</body>", " ".repeat(BOTTOM_BYTES_MAX)), false);
        let marked = "<!-- {{open_pixel}} --><p title='{{open_pixel}}'>a {{open_pixel}}</body>";
        let place = marked.rfind(PIXEL_MARK).unwrap();
        assert_eq!(scan(marked.as_bytes()).pixel_place(false), place..place + PIXEL_MARK.len());
    }
}
