//! Splits a mail into header fields and leaf parts, as far as a reader of reports needs them.
//!
//! Made for other people's broken mail: any line ends, a leading mbox line, no blank line after the header, boundaries
//! that are missing or misquoted. Never fails. Work is linear: at most [`BYTES_MAX`] bytes, [`NESTING_MAX`] levels and
//! [`PARTS_MAX`] parts are looked at; the returned message is a leaf and is never entered.

use std::borrow::Cow;

use mail_parser::decoders::charsets::map::charset_decoder;
use mail_parser::decoders::html::html_to_text;
use mail_parser::parsers::MessageStream;

/// How much of a mail is read. A report says what it has to say at its beginning.
pub const BYTES_MAX: usize = 1 << 20;
/// How many multiparts may stand inside each other.
pub const NESTING_MAX: usize = 20;
/// How many leaf parts are looked at.
pub const PARTS_MAX: usize = 100;
/// How far down the first boundary may stand in a mail that does not say that it has parts.
const PREAMBLE_LINES_MAX: usize = 8;
/// How many lines of a header may lack their indent.
const STRAY_LINES_MAX: usize = 60;
/// Longest header value that is decoded.
const VALUE_BYTES_MAX: usize = 4 * 1024;

/// The mail with `\n` line ends, cut to [`BYTES_MAX`]. Where no LF occurs, CR ends the lines.
pub fn with_line_feeds(mail: &[u8]) -> Cow<'_, [u8]> {
    let mail = mail.get(..BYTES_MAX).unwrap_or(mail);
    if memchr::memchr(b'\r', mail).is_none() {
        return Cow::Borrowed(mail);
    }
    if memchr::memchr(b'\n', mail).is_none() {
        return Cow::Owned(mail.iter().map(|byte| if *byte == b'\r' { b'\n' } else { *byte }).collect());
    }
    let mut lines = Vec::with_capacity(mail.len());
    for line in mail.split_inclusive(|byte| *byte == b'\n') {
        match line.strip_suffix(b"\n") {
            Some(line) => {
                let kept = line.iter().rposition(|byte| *byte != b'\r').map_or(0, |last| last + 1);
                lines.extend_from_slice(line.get(..kept).unwrap_or(line));
                lines.push(b'\n');
            }
            None => lines.extend_from_slice(line),
        }
    }
    Cow::Owned(lines)
}

/// A header: its fields in their order, values still folded and encoded.
#[derive(Clone, Debug, Default)]
pub struct Head<'a> {
    fields: Vec<(&'a [u8], &'a [u8])>,
}

impl<'a> Head<'a> {
    /// Reads the header that `mail` starts with; the rest is the body.
    pub fn read(mail: &'a [u8]) -> (Self, &'a [u8]) {
        let mut fields: Vec<(&[u8], &[u8])> = Vec::new();
        let mut at = 0;
        let mut value = 0..0;
        while let Some(line) = line_at(mail, at) {
            let next = at + line.len();
            if let Some(name) = field_name(line) {
                value = at + name.len()..next;
                fields.push((name, &[]));
            } else if is_blank(line) {
                if !fields.is_empty() {
                    return (Self { fields }, mail.get(next..).unwrap_or_default());
                }
            } else if line.starts_with(b" ") || line.starts_with(b"\t") {
                value.end = next;
            } else if !line.starts_with(b"From ") && !line.starts_with(b">From ") {
                let Some(stray) = stray_lines(mail.get(at..).unwrap_or_default()).filter(|_| !fields.is_empty()) else {
                    break;
                };
                at += stray;
                continue;
            }
            if let Some(field) = fields.last_mut() {
                field.1 = mail.get(value.clone()).and_then(value_of).unwrap_or_default();
            }
            at = next;
        }
        (Self { fields }, mail.get(at..).unwrap_or_default())
    }

    /// The first value of a field, as it stands.
    pub fn raw(&self, name: &str) -> Option<&'a [u8]> {
        self.all(name).next()
    }

    /// Every value of a field.
    pub fn all<'s>(&'s self, name: &'s str) -> impl Iterator<Item = &'a [u8]> + 's {
        self.fields.iter().filter(|field| field.0.eq_ignore_ascii_case(name.as_bytes())).map(|field| field.1)
    }

    /// Every value, as it stands.
    pub fn values(&self) -> impl Iterator<Item = &'a [u8]> + '_ {
        self.fields.iter().map(|field| field.1)
    }

    /// The first value of a field, unfolded and decoded (RFC 2047).
    pub fn text(&self, name: &str) -> Option<String> {
        self.raw(name).map(decoded)
    }

    /// Whether there is such a field.
    pub fn has(&self, name: &str) -> bool {
        self.raw(name).is_some()
    }

    /// How many fields there are.
    pub fn len(&self) -> usize {
        self.fields.len()
    }
}

fn line_at(mail: &[u8], at: usize) -> Option<&[u8]> {
    let rest = mail.get(at..).filter(|rest| !rest.is_empty())?;
    let end = memchr::memchr(b'\n', rest).map_or(rest.len(), |end| end + 1);
    rest.get(..end)
}

/// How long the lines are that were folded without an indent, if a well-known field follows them.
fn stray_lines(lines: &[u8]) -> Option<usize> {
    let mut at = 0;
    for _ in 0..STRAY_LINES_MAX {
        let line = line_at(lines, at).filter(|line| !is_blank(line))?;
        let name = field_name(line).unwrap_or_default();
        if KNOWN_FIELDS.iter().any(|known| known.eq_ignore_ascii_case(name)) {
            return Some(at);
        }
        at += line.len();
    }
    None
}

/// Fields that hardly occur outside a header.
const KNOWN_FIELDS: [&[u8]; 9] =
    [b"Received", b"MIME-Version", b"Message-ID", b"From", b"To", b"Subject", b"Date", b"Content-Type", b"Return-Path"];

fn is_blank(line: &[u8]) -> bool {
    line.iter().all(u8::is_ascii_whitespace)
}

/// The name of the field that starts on this line (RFC 5322 §2.2).
pub fn field_name(line: &[u8]) -> Option<&[u8]> {
    let colon = memchr::memchr(b':', line)?;
    let name = line.get(..colon)?.trim_ascii_end();
    let named = !name.is_empty() && name.iter().all(|byte| byte.is_ascii_graphic());
    named.then_some(name)
}

fn value_of(after_name: &[u8]) -> Option<&[u8]> {
    let colon = memchr::memchr(b':', after_name)?;
    after_name.get(colon + 1..).map(<[u8]>::trim_ascii)
}

/// A header value, unfolded and decoded. Cut at a few kilobytes.
fn decoded(value: &[u8]) -> String {
    let value = value.get(..VALUE_BYTES_MAX).unwrap_or(value);
    if memchr::memmem::find(value, b"=?").is_some() {
        let mut line: Vec<u8> = value.iter().map(|byte| if *byte == b'\n' { b' ' } else { *byte }).collect();
        line.push(b'\n');
        if let Some(text) = MessageStream::new(&line).parse_unstructured().as_text() {
            return text.to_owned();
        }
    }
    charset_text(value, None).split_whitespace().collect::<Vec<_>>().join(" ")
}

/// One leaf of the mail.
#[derive(Clone, Debug)]
pub struct Part<'a> {
    /// `type/subtype`, lower case; `text/plain` where none is given.
    pub media: String,
    /// Its parameters.
    pub parameters: Parameters,
    encoding: Encoding,
    body: &'a [u8],
}

/// The parameters of a Content-Type that matter here.
#[derive(Clone, Debug, Default)]
pub struct Parameters {
    boundary: Option<String>,
    charset: Option<String>,
    /// `report-type`, lower case.
    pub report_type: Option<String>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Encoding {
    AsIs,
    Base64,
    QuotedPrintable,
}

/// The leaves of a mail in their order, and the type of the whole.
pub fn parts<'a>(head: &Head<'a>, body: &'a [u8]) -> (Part<'a>, Vec<Part<'a>>) {
    let whole = Part::new(head, body);
    let mut leaves = Vec::new();
    let mut open = vec![(whole.clone(), 0)];
    while let Some((part, depth)) = open.pop() {
        if leaves.len() >= PARTS_MAX {
            break;
        }
        let inner = if depth < NESTING_MAX { part.split(head.has("Content-Type") || depth > 0) } else { None };
        match inner {
            Some(inner) => open.extend(inner.into_iter().rev().map(|part| (part, depth + 1))),
            None => leaves.push(part),
        }
    }
    (whole, leaves)
}

impl<'a> Part<'a> {
    fn new(head: &Head<'_>, body: &'a [u8]) -> Self {
        let (media, parameters) = content_type(head.raw("Content-Type").unwrap_or_default());
        let encoding = head.raw("Content-Transfer-Encoding").unwrap_or_default();
        let encoding = match encoding.to_ascii_lowercase().as_slice() {
            name if name.starts_with(b"base64") => Encoding::Base64,
            name if name.starts_with(b"quoted-printable") => Encoding::QuotedPrintable,
            _ => Encoding::AsIs,
        };
        Self { media, parameters, encoding, body }
    }

    /// The parts of a multipart; `None` for a leaf. A multipart without a usable boundary is split at what looks like one.
    fn split(&self, declared: bool) -> Option<Vec<Part<'a>>> {
        if self.media.ends_with("delivery-status") {
            return self.split_from_next();
        }
        let multipart = self.media.starts_with("multipart/");
        if declared && !multipart {
            return None;
        }
        let given =
            self.parameters.boundary.as_deref().map(|boundary| format!("--{boundary}").trim_end().as_bytes().to_vec());
        let boundary = given.filter(|boundary| boundary_lines(self.body, boundary).next().is_some());
        let lines = if multipart { usize::MAX } else { PREAMBLE_LINES_MAX };
        let boundary = boundary.or_else(|| guessed_boundary(self.body, lines))?;
        let mut parts = Vec::new();
        let mut start = None;
        for at in boundary_lines(self.body, &boundary) {
            if let Some(from) = start.filter(|_| parts.len() < PARTS_MAX) {
                parts.push(inner_part(self.body.get(from..at.line).unwrap_or_default()));
            }
            start = (!at.last).then_some(at.next);
            if at.last {
                break;
            }
        }
        if let Some(rest) = start.and_then(|from| self.body.get(from..)).filter(|rest| !is_blank(rest)) {
            parts.push(inner_part(rest));
        }
        (!parts.is_empty()).then_some(parts)
    }

    /// Report fields that run into another part, since the boundary before that is not the one that was declared.
    fn split_from_next(&self) -> Option<Vec<Part<'a>>> {
        let boundary = guessed_boundary(self.body, usize::MAX)?;
        let next = boundary_lines(self.body, &boundary).next()?;
        let own = Part { body: self.body.get(..next.line)?, ..self.clone() };
        Some(vec![own, inner_part(self.body.get(next.next..)?)])
    }

    /// The body without its transfer encoding.
    pub fn bytes(&self) -> Cow<'a, [u8]> {
        match self.encoding {
            Encoding::AsIs => Cow::Borrowed(self.body),
            Encoding::Base64 => Cow::Owned(from_base64(self.body)),
            Encoding::QuotedPrintable => Cow::Owned(from_quoted_printable(self.body)),
        }
    }

    /// The body as text, with `\n` line ends; HTML without its tags.
    pub fn text(&self) -> String {
        let text = charset_text(&self.bytes(), self.parameters.charset.as_deref());
        match self.media.as_str() {
            "text/html" if text.matches('<').count() > 2 => html_to_text(&text).replace("\r\n", "\n"),
            _ if text.contains('\r') => text.replace("\r\n", "\n").replace('\r', "\n"),
            _ => text,
        }
    }

    /// Whether this is the returned message, or its header.
    pub fn is_returned(&self) -> bool {
        let told = ["delivery-status", "disposition-notification", "feedback-report", "external-body"];
        match self.media.split_once('/') {
            Some(("message", kind)) => !told.iter().any(|told| kind.ends_with(told)),
            Some(("text", kind)) => kind == "rfc822-headers",
            _ => false,
        }
    }
}

fn inner_part(lines: &[u8]) -> Part<'_> {
    match lines.strip_prefix(b"\n") {
        Some(body) => Part::new(&Head::default(), body),
        None => {
            let (head, body) = Head::read(lines);
            if head.has("Received") && head.has("From") {
                return Part { media: "message/rfc822".into(), ..Part::new(&Head::default(), lines) };
            }
            Part::new(&head, body)
        }
    }
}

struct BoundaryLine {
    line: usize,
    next: usize,
    last: bool,
}

fn boundary_lines<'a>(body: &'a [u8], boundary: &'a [u8]) -> impl Iterator<Item = BoundaryLine> + 'a {
    let mut at = 0;
    std::iter::from_fn(move || {
        while let Some(line) = line_at(body, at) {
            let start = at;
            at += line.len();
            let rest = line.trim_ascii().strip_prefix(boundary);
            if let Some(last) = rest.filter(|rest| rest.is_empty() || *rest == b"--").map(|rest| !rest.is_empty()) {
                return Some(BoundaryLine { line: start, next: at, last });
            }
        }
        None
    })
}

/// A line that starts with `--` and has a `Content-…:` field under it, among the first `lines`.
fn guessed_boundary(body: &[u8], lines: usize) -> Option<Vec<u8>> {
    let mut at = 0;
    for _ in 0..lines {
        let line = line_at(body, at)?;
        at += line.len();
        let followed = body.get(at..at + 8).is_some_and(|next| next.eq_ignore_ascii_case(b"content-"));
        if followed && line.starts_with(b"--") && line.trim_ascii().len() > 4 {
            return Some(line.trim_ascii().to_vec());
        }
    }
    None
}

fn content_type(value: &[u8]) -> (String, Parameters) {
    let value = decoded(value);
    let (media, rest) = value.split_once(';').unwrap_or((&value, ""));
    let media = media.trim().split(['(', ' ', '\t']).next().unwrap_or("").to_ascii_lowercase();
    let parameters = Parameters {
        boundary: parameter(rest, "boundary"),
        charset: parameter(rest, "charset"),
        report_type: parameter(rest, "report-type").map(|text| text.to_ascii_lowercase()),
    };
    (if media.contains('/') { media } else { "text/plain".into() }, parameters)
}

fn parameter(parameters: &str, name: &str) -> Option<String> {
    let lower = parameters.to_ascii_lowercase();
    let at = lower.match_indices(name).map(|(at, _)| at).find(|at| {
        let before = lower.as_bytes().get(at.wrapping_sub(1)).copied().unwrap_or(b' ');
        let after = lower.get(at + name.len()..).unwrap_or("").trim_start();
        matches!(before, b' ' | b';' | b'\t') && after.starts_with('=')
    })?;
    let value = parameters.get(at + name.len()..)?.trim_start().strip_prefix('=')?.trim_start();
    let value = match value.strip_prefix('"') {
        Some(quoted) => quoted.split('"').next(),
        None => value.split([';', ' ', '\t']).next(),
    };
    value.filter(|value| !value.is_empty()).map(str::to_owned)
}

/// Bytes in a charset as text. What is UTF-8 is taken as that, whatever it says; JIS is known by its escapes.
pub fn charset_text(bytes: &[u8], charset: Option<&str>) -> String {
    let name = charset.unwrap_or("").to_ascii_lowercase();
    let jis = memchr::memmem::find(bytes, b"\x1b$").is_some();
    if !jis
        && !matches!(name.as_str(), "utf-7" | "utf-16" | "utf-16le" | "utf-16be" | "hz-gb-2312")
        && let Ok(text) = std::str::from_utf8(bytes)
    {
        return text.to_owned();
    }
    let decoder = match name.as_str() {
        "iso-2022-jp" if !jis => "euc-jp",
        _ if jis => "iso-2022-jp",
        "" | "us-ascii" | "utf-8" | "utf8" | "unknown-8bit" | "8bit" => "",
        name => name,
    };
    if decoder.is_empty() {
        return String::from_utf8_lossy(bytes).into_owned();
    }
    match charset_decoder(decoder.as_bytes()) {
        Some(decode) => decode(bytes),
        None => String::from_utf8_lossy(bytes).into_owned(),
    }
}

/// Base64, skipping what does not belong to it.
fn from_base64(body: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(body.len() / 4 * 3);
    let (mut bits, mut held) = (0u32, 0u32);
    for byte in body {
        let value = match byte {
            b'A'..=b'Z' => byte - b'A',
            b'a'..=b'z' => byte - b'a' + 26,
            b'0'..=b'9' => byte - b'0' + 52,
            b'+' => 62,
            b'/' => 63,
            _ => continue,
        };
        held = (held << 6) | u32::from(value);
        bits += 6;
        if bits >= 8 {
            bits -= 8;
            let [.., low] = (held >> bits).to_be_bytes();
            bytes.push(low);
        }
    }
    bytes
}

/// Quoted-printable, leaving alone what is not.
fn from_quoted_printable(body: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(body.len());
    let mut rest = body;
    while let Some(at) = memchr::memchr(b'=', rest) {
        let (before, after) = rest.split_at(at);
        bytes.extend_from_slice(before);
        rest = match after {
            [b'=', high, low, rest @ ..] if high.is_ascii_hexdigit() && low.is_ascii_hexdigit() => {
                bytes.push(hex(*high) << 4 | hex(*low));
                rest
            }
            [b'=', rest @ ..] => {
                let padding = rest.iter().take_while(|byte| matches!(byte, b' ' | b'\t')).count();
                match rest.get(padding..).unwrap_or_default() {
                    [b'\n', next @ ..] => next,
                    [] => &[],
                    _ => {
                        bytes.push(b'=');
                        rest
                    }
                }
            }
            rest => rest,
        };
    }
    bytes.extend_from_slice(rest);
    bytes
}

fn hex(digit: u8) -> u8 {
    match digit {
        b'0'..=b'9' => digit - b'0',
        b'a'..=b'f' => digit - b'a' + 10,
        b'A'..=b'F' => digit - b'A' + 10,
        _ => 0,
    }
}

#[cfg(test)]
mod tests;
