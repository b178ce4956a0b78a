//! The parts of a message, by byte ranges, and which of them are bodies that may be rewritten.
//!
//! Our own locator, because a rewriter must know where a part ends as the strictest reader does: a delimiter begins a
//! line and is nothing but the boundary, and a part never reaches beyond its parent. Attached messages are not
//! entered. A body is HTML or plain text without a file name, reached through `mixed` (up to the first part that is
//! no body), `alternative` or `related` (the root only).
//!
//! Speaks RFC 2045, 2046 and 2387 (`related`), 2183 (`Content-Disposition`), 3676 (`format=flowed`), 1847 and 8551
//! (what is signed or encrypted).

use std::ops::Range;

use mail_parser::ContentType;
use memchr::memmem::Finder;

use super::charset::Charset;
use super::headers::{self, Field};
use super::rewrite::LinkKind;
use super::transfer::Encoding;

/// Multiparts inside multiparts; deeper ones are not entered.
const DEPTH_MAX: usize = 16;
/// Parts of one message; with more it is not taken in, and what was taken in goes out as it came.
pub const PARTS_MAX: usize = 1_000;
/// Multiparts inside multiparts of a mail that is taken in.
pub const NESTING_MAX: usize = 50;
/// Larger bodies are not rewritten, encoded size.
const BODY_BYTES_MAX: usize = 4 << 20;

/// Why a part, or all of them, stays as it is.
pub(super) mod reason {
    pub(crate) const SEALED: &str = "signed or encrypted";
    pub(crate) const TOO_MANY_PARTS: &str = "too many parts";
    pub(crate) const TOO_DEEP: &str = "too deep";
    pub(crate) const NOT_ENTERED: &str = "not entered";
    pub(crate) const NOT_A_BODY: &str = "not a body";
    pub(crate) const NOT_TEXT: &str = "neither HTML nor plain text";
    pub(crate) const ATTACHMENT: &str = "attachment";
    pub(crate) const CONTRADICTORY: &str = "contradictory header";
    pub(crate) const ENCODING: &str = "transfer encoding";
    pub(crate) const CHARSET: &str = "charset";
    pub(crate) const TOO_LARGE: &str = "too large";
    pub(crate) const TOO_MANY_LINKS: &str = "too many links";
    pub(crate) const LONG_LINES: &str = "lines too long";
    pub(crate) const NOT_WANTED: &str = "not wanted";
    pub(crate) const NOTHING: &str = "nothing to track";
}

/// One part: a leaf, or a multipart that was not entered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Part {
    /// `1`, `2.1`.
    pub(super) path: String,
    /// `text/html`.
    pub(super) content_type: String,
    /// Its content, in the message.
    pub(super) range: Range<usize>,
    /// How to read it, or why it is left alone.
    pub(super) body: Result<Body, &'static str>,
}

/// How to read a body.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Body {
    pub(super) kind: LinkKind,
    pub(super) encoding: Encoding,
    pub(super) charset: Charset,
    /// Lines that end in a blank go on in the next, and the blank is dropped (`format=flowed; delsp=yes`).
    pub(super) joins_lines: bool,
}

/// The parts of `message`, in order, and why the whole of it must stay as it is, if so.
pub(super) fn parts(message: &[u8]) -> (Vec<Part>, Option<&'static str>) {
    let mut walk = Walk { message, parts: Vec::new(), sealed: None };
    walk.entity(0..message.len(), &[], true);
    (walk.parts, walk.sealed)
}

/// Of what a mail has too much.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Excess {
    /// More than [`PARTS_MAX`] parts.
    Parts,
    /// Multiparts deeper inside each other than [`NESTING_MAX`].
    Nesting,
}

/// Of what `message` has more than a reader may be asked to cope with.
pub(super) fn excess(message: &[u8]) -> Option<Excess> {
    let mut open = vec![(0..message.len(), 0)];
    let mut parts = 0;
    while let Some((range, depth)) = open.pop() {
        let children = entity(message, range).children;
        parts += children.len();
        if parts > PARTS_MAX {
            return Some(Excess::Parts);
        }
        if depth >= NESTING_MAX && !children.is_empty() {
            return Some(Excess::Nesting);
        }
        open.extend(children.into_iter().map(|child| (child, depth + 1)));
    }
    None
}

/// A message, or a part of one.
pub(super) struct Entity {
    /// `text/html`.
    pub(super) content_type: String,
    /// `None` for one that we do not know.
    pub(super) encoding: Option<Encoding>,
    /// What stands below its header, in the message.
    pub(super) content: Range<usize>,
    /// The parts inside: of a multipart, or the one message that is attached.
    pub(super) children: Vec<Range<usize>>,
    /// Its bytes, or those of what is inside, are signed or encrypted.
    pub(super) is_sealed: bool,
}

/// The entity that stands at `range` in `message`.
pub(super) fn entity(message: &[u8], range: Range<usize>) -> Entity {
    let head = Head::read(&message[range.clone()]);
    let content = range.start + head.start..range.end;
    let content_type = head.media_type();
    let children = match content_type.as_str() {
        "message/rfc822" if !content.is_empty() => vec![content.clone()],
        kind if kind.starts_with("multipart/") => split(message, content.clone(), head.boundary()),
        _ => Vec::new(),
    };
    let (encoding, is_sealed) = (Encoding::named(head.encoding.as_deref()), is_sealing(&content_type));
    Entity { content_type, encoding, content, children, is_sealed }
}

struct Walk<'a> {
    message: &'a [u8],
    parts: Vec<Part>,
    sealed: Option<&'static str>,
}

/// What a part's header says.
#[derive(Default)]
struct Head {
    content_type: Option<ContentType<'static>>,
    disposition: Option<ContentType<'static>>,
    encoding: Option<String>,
    is_contradictory: bool,
    start: usize,
}

impl Walk<'_> {
    /// Walks one entity, which by its place may be a body or not; says whether it is, or holds, one, so that more may
    /// follow in a `mixed`.
    fn entity(&mut self, range: Range<usize>, path: &[usize], may_be_body: bool) -> bool {
        if self.parts.len() >= PARTS_MAX {
            self.sealed = self.sealed.or(Some(reason::TOO_MANY_PARTS));
            return false;
        }
        let head = Head::read(&self.message[range.clone()]);
        let content = range.start + head.start..range.end;
        let content_type = head.media_type();
        if is_sealing(&content_type) {
            self.sealed = Some(reason::SEALED);
        }
        let untouched = match content_type.strip_prefix("multipart/") {
            Some(_) if head.is_contradictory => reason::CONTRADICTORY,
            Some(_) if Encoding::named(head.encoding.as_deref()) != Some(Encoding::Identity) => reason::ENCODING,
            Some("mixed" | "alternative" | "related") if path.len() >= DEPTH_MAX => reason::TOO_DEEP,
            Some(kind @ ("mixed" | "alternative" | "related")) => {
                let children = split(self.message, content.clone(), head.boundary());
                if !children.is_empty() {
                    return self.children(kind, head.root(self.message, &children), children, path, may_be_body);
                }
                reason::NOT_ENTERED
            }
            Some(_) => reason::NOT_ENTERED,
            None if may_be_body => {
                let body = head.body(&content_type, &content);
                let is_body = body.is_ok();
                self.push(path, content_type, content, body);
                return is_body;
            }
            None => reason::NOT_A_BODY,
        };
        self.push(path, content_type, content, Err(untouched));
        false
    }

    fn push(&mut self, path: &[usize], content_type: String, range: Range<usize>, body: Result<Body, &'static str>) {
        let path = if path.is_empty() { &[1] } else { path };
        let path = path.iter().map(usize::to_string).collect::<Vec<_>>().join(".");
        self.parts.push(Part { path, content_type, range, body });
    }

    fn children(&mut self, kind: &str, root: usize, children: Vec<Range<usize>>, path: &[usize], may: bool) -> bool {
        let mut may_be_body = may;
        for (at, child) in children.into_iter().enumerate() {
            let path = [path, &[at + 1]].concat();
            let is_body = self.entity(child, &path, may_be_body && (kind != "related" || at == root));
            may_be_body &= is_body || kind != "mixed";
        }
        may_be_body
    }
}

impl Head {
    fn read(entity: &[u8]) -> Self {
        let mut head = Self { start: headers::body_start(entity), ..Self::default() };
        let mut seen: [Option<String>; 3] = Default::default();
        for field in headers::fields(entity) {
            let place = match () {
                () if field.is("Content-Type") => 0,
                () if field.is("Content-Transfer-Encoding") => 1,
                () if field.is("Content-Disposition") => 2,
                () => continue,
            };
            let text = field.text().to_ascii_lowercase();
            if let Some(before) = &seen[place] {
                head.is_contradictory |= *before != text;
                let sealing = field.content_type().is_some_and(|said| is_sealing(&media_type(&said)));
                if !sealing {
                    continue;
                }
            }
            head.take(place, &field, &text);
            seen[place] = Some(text);
        }
        head
    }

    fn take(&mut self, place: usize, field: &Field<'_>, text: &str) {
        match place {
            0 => self.content_type = field.content_type(),
            1 => self.encoding = Some(text.to_owned()),
            _ => self.disposition = field.content_type(),
        }
    }

    /// `text/html`; without a field it is plain text.
    fn media_type(&self) -> String {
        self.content_type.as_ref().map_or_else(|| "text/plain".to_owned(), media_type)
    }

    fn boundary(&self) -> &str {
        self.parameters("boundary").first().copied().unwrap_or_default()
    }

    fn body(&self, content_type: &str, content: &Range<usize>) -> Result<Body, &'static str> {
        let kind = match content_type {
            "text/html" => LinkKind::Html,
            "text/plain" => LinkKind::Text,
            _ => return Err(reason::NOT_TEXT),
        };
        if self.is_attachment() {
            return Err(reason::ATTACHMENT);
        }
        let charsets = self.parameters("charset");
        if self.is_contradictory || charsets.iter().any(|charset| !charset.eq_ignore_ascii_case(charsets[0])) {
            return Err(reason::CONTRADICTORY);
        }
        if content.len() > BODY_BYTES_MAX {
            return Err(reason::TOO_LARGE);
        }
        let is = |name, value: &str| self.parameters(name).first().is_some_and(|said| said.eq_ignore_ascii_case(value));
        Ok(Body {
            kind,
            encoding: Encoding::named(self.encoding.as_deref()).ok_or(reason::ENCODING)?,
            charset: Charset::named(charsets.first().copied()).ok_or(reason::CHARSET)?,
            joins_lines: is("format", "flowed") && is("delsp", "yes"),
        })
    }

    fn is_attachment(&self) -> bool {
        let is_named = |said: &ContentType<'_>| said.has_attribute("name") || said.has_attribute("filename");
        self.content_type.as_ref().is_some_and(is_named)
            || self
                .disposition
                .as_ref()
                .is_some_and(|said| !said.ctype().eq_ignore_ascii_case("inline") || is_named(said))
    }

    fn parameters(&self, name: &str) -> Vec<&str> {
        let all = self.content_type.as_ref().and_then(ContentType::attributes).unwrap_or_default();
        all.iter().filter(|parameter| parameter.name == name).map(|parameter| &*parameter.value).collect()
    }

    /// Which child of a `related` is its root: the one that `start` names, else the first.
    fn root(&self, message: &[u8], children: &[Range<usize>]) -> usize {
        let Some(start) = self.parameters("start").first().map(|start| start.trim().to_owned()) else { return 0 };
        let is_root = |child: &Range<usize>| {
            headers::first(&message[child.clone()], "Content-ID").is_some_and(|id| id.text() == start)
        };
        children.iter().position(is_root).unwrap_or(0)
    }
}

fn media_type(said: &ContentType<'_>) -> String {
    format!("{}/{}", said.ctype(), said.subtype().unwrap_or_default()).to_ascii_lowercase()
}

/// What tells that somebody signed or encrypted the bytes of the parts beside or below.
fn is_sealing(content_type: &str) -> bool {
    matches!(
        content_type,
        "multipart/signed"
            | "multipart/encrypted"
            | "application/pkcs7-mime"
            | "application/x-pkcs7-mime"
            | "application/pkcs7-signature"
            | "application/x-pkcs7-signature"
            | "application/pgp-encrypted"
            | "application/pgp-signature"
    )
}

/// The parts between the delimiters of `boundary`. The line end before a delimiter belongs to it; a last delimiter
/// may be missing.
fn split(message: &[u8], content: Range<usize>, boundary: &str) -> Vec<Range<usize>> {
    let mut parts = Vec::new();
    if boundary.is_empty() {
        return parts;
    }
    let delimiter = format!("--{boundary}");
    let bytes = &message[content.clone()];
    let mut open = None;
    for at in Finder::new(&delimiter).find_iter(bytes) {
        if at > 0 && bytes[at - 1] != b'\n' {
            continue;
        }
        let after = &bytes[at + delimiter.len()..];
        let length = memchr::memchr(b'\n', after).map_or(after.len(), |length| length + 1);
        let (is_close, rest) = match after[..length].strip_prefix(b"--") {
            Some(rest) => (true, rest),
            None => (false, &after[..length]),
        };
        if !rest.trim_ascii().is_empty() {
            continue;
        }
        if let Some(start) = open {
            parts.push(start..without_line_end(bytes, start, at));
        }
        open = (!is_close).then_some(at + delimiter.len() + length);
        if is_close || parts.len() > PARTS_MAX {
            break;
        }
    }
    parts.extend(open.map(|start| start..bytes.len()));
    parts.into_iter().map(|part| content.start + part.start..content.start + part.end).collect()
}

/// Where the part that began at `start` ends, `at` being the start of a delimiter's line.
fn without_line_end(bytes: &[u8], start: usize, at: usize) -> usize {
    let part = &bytes[start.min(at)..at];
    let part = part.strip_suffix(b"\n").unwrap_or(part);
    start + part.strip_suffix(b"\r").unwrap_or(part).len()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Each part as `path type content` and why it is left alone, if it is.
    #[track_caller]
    fn check(message: &str, expected: &[(&str, &str)]) {
        for message in [message.to_owned(), message.replace('\n', "\r\n")] {
            let (parts, sealed) = parts(message.as_bytes());
            let found: Vec<(String, &str)> = parts
                .iter()
                .map(|part| {
                    let content = message[part.range.clone()].replace("\r\n", "|").replace('\n', "|");
                    let untouched = part.body.as_ref().err().copied().unwrap_or("body");
                    (format!("{} {} {content}", part.path, part.content_type), sealed.unwrap_or(untouched))
                })
                .collect();
            let found: Vec<(&str, &str)> = found.iter().map(|(part, why)| (part.trim_end(), *why)).collect();
            assert_eq!(found, expected, "{message}");
        }
    }

    #[test]
    fn what_is_too_much() {
        let check = |message: String, expected| assert_eq!(excess(message.as_bytes()), expected);
        let open = |depth: usize| format!("Content-Type: multipart/mixed; boundary=b{depth}\r\n\r\n--b{depth}\r\n");
        let nested = |depth| (0..depth).map(open).collect::<String>();
        check(nested(50), None);
        check(nested(51), Some(Excess::Nesting));
        let wide =
            |parts| format!("Content-Type: multipart/mixed; boundary=b\r\n\r\n{}", "--b\r\n\r\nx\r\n".repeat(parts));
        check(wide(1_000), None);
        check(wide(1_001), Some(Excess::Parts));
        check("Subject: x\r\n\r\n--b\r\n".to_owned(), None);
    }

    #[test]
    fn single_parts() {
        check("Subject: x\n\nhello\n", &[("1 text/plain hello|", "body")]);
        check("Content-Type: TEXT/HTML\n\n<p>", &[("1 text/html <p>", "body")]);
        check("Content-Type: text/html; name=x\n\n<p>", &[("1 text/html <p>", reason::ATTACHMENT)]);
        check("Content-Type: text/html\nContent-Disposition: attachment\n\n", &[("1 text/html", reason::ATTACHMENT)]);
        check("Content-Type: text/html\nContent-Disposition: inline\n\n", &[("1 text/html", "body")]);
        check("Content-Type: text/x-amp-html\n\n<p>", &[("1 text/x-amp-html <p>", reason::NOT_TEXT)]);
        check("Content-Type: text/html; charset=utf-7\n\n", &[("1 text/html", reason::CHARSET)]);
        check("Content-Type: text/html\nContent-Transfer-Encoding: x\n\n", &[("1 text/html", reason::ENCODING)]);
        check("Content-Type: text/html\nContent-Type: text/plain\n\n", &[("1 text/html", reason::CONTRADICTORY)]);
        check("Content-Type: text/html; charset=utf-8; charset=koi8-r\n\n", &[("1 text/html", reason::CONTRADICTORY)]);
        check("Content-Type: message/rfc822\n\nSubject: y\n\n", &[("1 message/rfc822 Subject: y||", reason::NOT_TEXT)]);
        check("Content-Type: text/html", &[("1 text/html", "body")]);
        let large = format!("Content-Type: text/html\n\n{}", "x".repeat(BODY_BYTES_MAX + 1));
        assert_eq!(parts(large.as_bytes()).0[0].body, Err(reason::TOO_LARGE));
    }

    /// `[kind: a, b]` as a multipart with these children, which may be such themselves.
    fn multipart(kind: &str, boundary: &str, children: &[&str]) -> String {
        let children: String = children.iter().map(|child| format!("--{boundary}\n{child}\n")).collect();
        format!("Content-Type: multipart/{kind}; boundary={boundary}\n\npreamble\n{children}--{boundary}--\nepilogue\n")
    }

    const HTML: &str = "Content-Type: text/html\n\n<p>";
    const PLAIN: &str = "\ntext";
    const PICTURE: &str = "Content-Type: image/png\n\nx";

    #[test]
    fn multiparts() {
        check(
            &multipart("alternative", "b", &[PLAIN, HTML]),
            &[("1 text/plain text", "body"), ("2 text/html <p>", "body")],
        );
        check(
            &multipart("mixed", "b", &[&multipart("alternative", "bb", &[PLAIN, HTML]), HTML, PICTURE, HTML]),
            &[
                ("1.1 text/plain text", "body"),
                ("1.2 text/html <p>", "body"),
                ("2 text/html <p>", "body"),
                ("3 image/png x", reason::NOT_TEXT),
                ("4 text/html <p>", reason::NOT_A_BODY),
            ],
        );
        check(
            &multipart("related", "b", &[HTML, HTML]),
            &[("1 text/html <p>", "body"), ("2 text/html <p>", reason::NOT_A_BODY)],
        );
        let root = format!("Content-ID: <r>\n{HTML}");
        check(
            &multipart("related; start=\"<r>\"", "b", &[HTML, &root]),
            &[("1 text/html <p>", reason::NOT_A_BODY), ("2 text/html <p>", "body")],
        );
        let report = multipart("report", "b", &[HTML]);
        assert_eq!(parts(report.as_bytes()).0[0].body, Err(reason::NOT_ENTERED));
        let encoded = format!("Content-Transfer-Encoding: base64\n{}", multipart("mixed", "b", &[HTML]));
        assert_eq!(parts(encoded.as_bytes()).0[0].body, Err(reason::ENCODING));
        check(
            &multipart("mixed", "b", &[HTML, "Content-Type: message/rfc822\n\nContent-Type: multipart/signed\n\n"]),
            &[("1 text/html <p>", "body"), ("2 message/rfc822 Content-Type: multipart/signed||", reason::NOT_TEXT)],
        );
    }

    #[test]
    fn sealed() {
        for kind in ["multipart/signed", "multipart/encrypted", "application/pkcs7-mime", "application/x-pkcs7-mime"] {
            let part = format!("Content-Type: {kind}; boundary=x\n\n--x\n{HTML}\n--x--");
            assert_eq!(parts(part.as_bytes()).1, Some(reason::SEALED), "{kind}");
            assert_eq!(parts(multipart("mixed", "b", &[HTML, &part]).as_bytes()).1, Some(reason::SEALED), "{kind}");
        }
        let detached = multipart("mixed", "b", &[HTML, "Content-Type: application/pgp-signature\n\nx"]);
        assert_eq!(parts(detached.as_bytes()).1, Some(reason::SEALED));
        assert_eq!(parts(b"Content-Type: text/html\nContent-Type: multipart/signed\n\n").1, Some(reason::SEALED));
    }

    #[test]
    fn delimiters_are_whole_lines() {
        let message =
            "Content-Type: multipart/mixed; boundary=\"a b\"\n\n--a bc\n x --a b\n--a b \t\n\n1\n--a bc\n--a b--x\n";
        check(message, &[("1 text/plain 1|--a bc|--a b--x|", "body")]);
        check(
            "Content-Type: multipart/mixed; boundary=b\n\n--b\n\n1\n\n--b\n--b--",
            &[("1 text/plain 1|", "body"), ("2 text/plain", "body")],
        );
        assert_eq!(parts(b"Content-Type: multipart/mixed\n\n--\n\n1\n").0[0].body, Err(reason::NOT_ENTERED));
    }

    #[test]
    fn depth_and_number_are_bounded() {
        let deep = (0..40).fold(HTML.to_owned(), |inner, at| multipart("mixed", &format!("b{at}"), &[&inner]));
        assert_eq!(parts(deep.as_bytes()).0[0].body, Err(reason::TOO_DEEP));
        let many = multipart("mixed", "b", &vec![PLAIN; PARTS_MAX + 1]);
        assert_eq!(parts(many.as_bytes()).1, Some(reason::TOO_MANY_PARTS));
    }
}
