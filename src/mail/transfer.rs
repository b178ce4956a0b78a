//! Replaces bytes of a body at the level of its transfer encoding, so that all others stay as they came.
//!
//! A body is decoded together with a map from decoded to encoded places; what replaces a decoded range is encoded and
//! put where the encoded range was. In base64 everything after the first change is encoded anew, with the line length
//! and line end that the body has. Lines stay within 76 characters (quoted-printable, RFC 2045 §6.7) or 998 (RFC 5322
//! §2.1.1); where that cannot be, the replacement is left out.

use std::borrow::Cow;
use std::ops::Range;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use memchr::{memchr, memrchr};

use super::headers::line_break;

/// Longest line of an unencoded body, line end not included.
const LINE_BYTES_MAX: usize = 998;
/// Longest line of quoted-printable and base64.
const ENCODED_LINE_MAX: usize = 76;

/// A `Content-Transfer-Encoding` that we can look through.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Encoding {
    /// 7bit, 8bit or binary.
    Identity,
    /// RFC 2045 §6.7.
    QuotedPrintable,
    /// RFC 2045 §6.8.
    Base64,
}

impl Encoding {
    /// By the value of the field; none is 7bit. `None` for one that we do not know.
    pub(super) fn named(value: Option<&str>) -> Option<Self> {
        let word = value.unwrap_or("7bit").split(|char: char| char.is_whitespace() || matches!(char, ';' | '(')).next();
        match word?.to_ascii_lowercase().as_str() {
            "7bit" | "8bit" | "binary" => Some(Self::Identity),
            "quoted-printable" => Some(Self::QuotedPrintable),
            "base64" => Some(Self::Base64),
            _ => None,
        }
    }
}

/// One replacement, in decoded places.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Splice {
    /// What goes; empty to insert.
    pub(super) range: Range<usize>,
    /// What comes: ASCII.
    pub(super) text: String,
    /// Where, before the range, the line may be broken: a line end goes in there if it would become too long.
    pub(super) break_at: Option<usize>,
}

/// A body looked through.
#[derive(Clone, Debug)]
pub(super) struct Decoded<'a> {
    raw: &'a [u8],
    encoding: Encoding,
    /// The bytes that the encoding carries.
    pub(super) bytes: Cow<'a, [u8]>,
    /// Quoted-printable: from which decoded place on which encoded one belongs to it, until the next entry.
    map: Vec<(usize, usize)>,
}

impl<'a> Decoded<'a> {
    /// Decodes; `None` when the bytes are not clean, since two readers might then read two bodies.
    pub(super) fn new(raw: &'a [u8], encoding: Encoding) -> Option<Self> {
        let mut map = Vec::new();
        let bytes = match encoding {
            Encoding::Identity => Cow::Borrowed(raw),
            Encoding::QuotedPrintable => Cow::Owned(unquoted(raw, &mut map)?),
            Encoding::Base64 => {
                let packed: Vec<u8> = raw.iter().copied().filter(|byte| !byte.is_ascii_whitespace()).collect();
                Cow::Owned(STANDARD.decode(packed).ok()?)
            }
        };
        Some(Self { raw, encoding, bytes, map })
    }

    /// The body with the splices made, which must be in order and apart, and for each whether it was made.
    pub(super) fn spliced(&self, splices: &[Splice], line_end: &[u8]) -> (Vec<u8>, Vec<bool>) {
        let line_end = if memchr(b'\n', self.raw).is_some() { line_break(self.raw) } else { line_end };
        match self.encoding {
            Encoding::Identity => plain_spliced(self.raw, splices, line_end),
            Encoding::QuotedPrintable => (self.quoted_spliced(splices, line_end), vec![true; splices.len()]),
            Encoding::Base64 => (self.packed_spliced(splices, line_end), vec![true; splices.len()]),
        }
    }

    /// Where the encoding of the decoded byte at `place` begins.
    fn encoded(&self, place: usize) -> usize {
        let next = self.map.partition_point(|(decoded, _)| *decoded <= place);
        let (decoded, encoded) = next.checked_sub(1).map_or((0, 0), |at| self.map[at]);
        encoded + (place - decoded)
    }

    /// Where the encoding of a decoded range stands. Soft line breaks around it stay outside.
    fn encoded_range(&self, range: &Range<usize>) -> Range<usize> {
        let start = self.encoded(range.start);
        if range.is_empty() {
            return start..start;
        }
        let last = self.encoded(range.end - 1);
        start..last + if self.raw.get(last) == Some(&b'=') { 3 } else { 1 }
    }

    fn quoted_spliced(&self, splices: &[Splice], line_end: &[u8]) -> Vec<u8> {
        let mut out =
            Vec::with_capacity(self.raw.len() + splices.iter().map(|splice| splice.text.len() * 2).sum::<usize>());
        let mut copied = 0;
        for (at, splice) in splices.iter().enumerate() {
            let range = self.encoded_range(&splice.range);
            out.extend_from_slice(&self.raw[copied..range.start]);
            let column = push_quoted(&mut out, &splice.text, line_end);
            copied = range.end;
            let next = splices.get(at + 1).map_or(self.raw.len(), |next| self.encoded_range(&next.range).start);
            let (rest, room) = match memchr(b'\n', &self.raw[copied..next]) {
                Some(length) => (without_return(&self.raw[copied..copied + length]), ENCODED_LINE_MAX),
                None if next == self.raw.len() => (&self.raw[copied..], ENCODED_LINE_MAX),
                None => (&self.raw[copied..next], ENCODED_LINE_MAX - 1),
            };
            if column + rest.len() > room {
                out.push(b'=');
                out.extend_from_slice(line_end);
            }
        }
        out.extend_from_slice(&self.raw[copied..]);
        out
    }

    fn packed_spliced(&self, splices: &[Splice], line_end: &[u8]) -> Vec<u8> {
        let Some(first) = splices.first() else { return self.raw.to_vec() };
        let kept_groups = first.range.start / 3;
        let tail = self.raw.trim_ascii_end().len();
        let kept = nth_packed(self.raw, kept_groups * 4).min(tail);
        let mut bytes =
            Vec::with_capacity(self.bytes.len() + splices.iter().map(|splice| splice.text.len()).sum::<usize>());
        let mut copied = kept_groups * 3;
        for splice in splices {
            bytes.extend_from_slice(&self.bytes[copied..splice.range.start]);
            bytes.extend_from_slice(splice.text.as_bytes());
            copied = splice.range.end;
        }
        bytes.extend_from_slice(&self.bytes[copied..]);
        let mut out = self.raw[..kept].to_vec();
        push_packed(&mut out, &STANDARD.encode(bytes), packed_line(self.raw), line_end);
        out.extend_from_slice(&self.raw[tail..]);
        out
    }
}

/// Splices an unencoded body. A line that would become too long is broken at the blank before the attribute, inside
/// the tag; where that does not help, the replacement is left out. A line that was too long before only grows.
fn plain_spliced(raw: &[u8], splices: &[Splice], line_end: &[u8]) -> (Vec<u8>, Vec<bool>) {
    let mut out = Line { bytes: Vec::with_capacity(raw.len() + 128 * splices.len()), start: 0 };
    let mut made = Vec::with_capacity(splices.len());
    let (mut copied, mut line_start) = (0, 0);
    let mut is_longer = false;
    for (splice, Stop { stop, line_stop }) in splices.iter().zip(stops(raw, splices)) {
        let Range { start, end } = splice.range;
        let gap = &raw[copied..start];
        if let Some(at) = memrchr(b'\n', gap) {
            line_start = copied + at + 1;
            is_longer = false;
        }
        let was_long = line_stop - line_start > LINE_BYTES_MAX;
        let break_at = splice.break_at.filter(|at| (copied..=start).contains(at));
        let after = splice.text.len() + (stop - end);
        let column = out.column_after(gap);
        let fits = was_long || column + after <= LINE_BYTES_MAX;
        let fits_broken = break_at.is_some_and(|at| start - at + after <= LINE_BYTES_MAX);
        let overflows = is_longer && column + (stop - start) > LINE_BYTES_MAX;
        match break_at {
            Some(at) if !fits && (fits_broken || overflows) => {
                out.push(&raw[copied..at]);
                out.push(line_end);
                out.push(&raw[at..start]);
            }
            _ => out.push(gap),
        }
        let is_made = fits || fits_broken;
        out.push(if is_made { splice.text.as_bytes() } else { &raw[start..end] });
        is_longer |= is_made;
        made.push(is_made);
        copied = end;
    }
    out.push(&raw[copied..]);
    (out.bytes, made)
}

/// Up to where the bytes after a splice stay on its line: the line's end, or before it where the next may break it.
#[derive(Clone, Copy)]
struct Stop {
    stop: usize,
    line_stop: usize,
}

fn stops(raw: &[u8], splices: &[Splice]) -> Vec<Stop> {
    let mut beyond = Stop { stop: raw.len(), line_stop: raw.len() };
    let mut next: Option<&Splice> = None;
    let mut stops = Vec::with_capacity(splices.len());
    for splice in splices.iter().rev() {
        let end = splice.range.end;
        let gap = &raw[end..next.map_or(raw.len(), |next| next.range.start)];
        if let Some(length) = memchr(b'\n', gap) {
            let line_stop = end + without_return(&gap[..length]).len();
            beyond = Stop { stop: line_stop, line_stop };
        } else if let Some(place) = next.and_then(|next| next.break_at).filter(|place| *place >= end) {
            beyond.stop = place;
        }
        stops.push(beyond);
        next = Some(splice);
    }
    stops.reverse();
    stops
}

/// Bytes with a look at how long the last line is.
struct Line {
    bytes: Vec<u8>,
    start: usize,
}

impl Line {
    fn push(&mut self, more: &[u8]) {
        if let Some(at) = memrchr(b'\n', more) {
            self.start = self.bytes.len() + at + 1;
        }
        self.bytes.extend_from_slice(more);
    }

    fn column_after(&self, more: &[u8]) -> usize {
        memrchr(b'\n', more).map_or(self.bytes.len() - self.start + more.len(), |at| more.len() - at - 1)
    }
}

fn without_return(line: &[u8]) -> &[u8] {
    line.strip_suffix(b"\r").unwrap_or(line)
}

/// Undoes quoted-printable. White space at the end of a line stays, for whoever wrote it.
fn unquoted(raw: &[u8], map: &mut Vec<(usize, usize)>) -> Option<Vec<u8>> {
    let mut bytes = Vec::with_capacity(raw.len());
    let mut at = 0;
    while let Some(length) = memchr(b'=', &raw[at..]) {
        bytes.extend_from_slice(&raw[at..at + length]);
        let escape = at + length;
        map.push((bytes.len(), escape));
        at = match raw.get(escape + 1..escape + 3) {
            Some([high, low]) if high.is_ascii_hexdigit() && low.is_ascii_hexdigit() => {
                bytes.push(hex(*high) << 4 | hex(*low));
                escape + 3
            }
            _ => {
                let blanks = raw[escape + 1..].iter().take_while(|byte| matches!(byte, b' ' | b'\t')).count();
                let rest = &raw[escape + 1 + blanks..];
                let line_end = if rest.starts_with(b"\r\n") { 2 } else { 1 };
                if !rest.starts_with(b"\n") && line_end == 1 {
                    return None;
                }
                escape + 1 + blanks + line_end
            }
        };
        map.push((bytes.len(), at));
    }
    bytes.extend_from_slice(&raw[at..]);
    Some(bytes)
}

fn hex(digit: u8) -> u8 {
    char::from(digit).to_digit(16).and_then(|digit| u8::try_from(digit).ok()).unwrap_or(0)
}

/// Writes ASCII text as quoted-printable from where `out` ends on; says in which column the last line then ends.
fn push_quoted(out: &mut Vec<u8>, text: &str, line_end: &[u8]) -> usize {
    let mut column = out.len() - memrchr(b'\n', out).map_or(0, |at| at + 1);
    for byte in text.bytes() {
        let is_literal = byte.is_ascii_graphic() && byte != b'=' || byte == b' ';
        let width = if is_literal { 1 } else { 3 };
        if column + width > ENCODED_LINE_MAX - 1 {
            out.push(b'=');
            out.extend_from_slice(line_end);
            column = 0;
        }
        column += width;
        if is_literal {
            out.push(byte);
        } else {
            out.extend_from_slice(format!("={byte:02X}").as_bytes());
        }
    }
    column
}

/// Where the base64 character number `count` stands, or the end.
fn nth_packed(raw: &[u8], count: usize) -> usize {
    let mut places = raw.iter().enumerate().filter(|(_, byte)| !byte.is_ascii_whitespace());
    places.nth(count).map_or(raw.len(), |(at, _)| at)
}

/// How long this body's lines are: its first line, unless it is the only one or too long.
fn packed_line(raw: &[u8]) -> usize {
    let trimmed = raw.trim_ascii();
    match memchr(b'\n', trimmed).map(|length| without_return(&trimmed[..length]).len()) {
        Some(length @ 1..=LINE_BYTES_MAX) => length,
        _ => ENCODED_LINE_MAX,
    }
}

fn push_packed(out: &mut Vec<u8>, packed: &str, line: usize, line_end: &[u8]) {
    let mut column = out.len() - memrchr(b'\n', out).map_or(0, |at| at + 1);
    let mut rest = packed.as_bytes();
    while !rest.is_empty() {
        if column >= line {
            out.extend_from_slice(line_end);
            column = 0;
        }
        let (now, later) = rest.split_at(rest.len().min(line - column));
        out.extend_from_slice(now);
        column += now.len();
        rest = later;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// Replaces each `from` in `raw` by what stands beside it.
    fn spliced(raw: &str, encoding: Encoding, replacements: &[(&str, &str)]) -> (String, Vec<bool>) {
        let decoded = Decoded::new(raw.as_bytes(), encoding).unwrap();
        let text = String::from_utf8(decoded.bytes.to_vec()).unwrap();
        let splices: Vec<Splice> = replacements
            .iter()
            .map(|(from, to)| {
                let start = text.find(from).unwrap();
                let break_at = text[..start].rfind(' ').filter(|at| text[*at..start].starts_with(" href"));
                Splice { range: start..start + from.len(), text: (*to).to_owned(), break_at }
            })
            .collect();
        let (bytes, made) = decoded.spliced(&splices, b"\r\n");
        (String::from_utf8(bytes).unwrap(), made)
    }

    #[track_caller]
    fn check(raw: &str, encoding: Encoding, replacements: &[(&str, &str)], expected: &str) {
        assert_eq!(spliced(raw, encoding, replacements).0, expected);
    }

    #[test]
    fn names() {
        for (value, encoding) in [
            (None, Some(Encoding::Identity)),
            (Some("8BIT"), Some(Encoding::Identity)),
            (Some("Quoted-Printable (soft)"), Some(Encoding::QuotedPrintable)),
            (Some("base64;"), Some(Encoding::Base64)),
            (Some("x-uuencode"), None),
            (Some(""), None),
        ] {
            assert_eq!(Encoding::named(value), encoding, "{value:?}");
        }
    }

    #[test]
    fn quoted_printable_keeps_what_it_does_not_touch() {
        let check =
            |raw: &str, from, to, expected: &str| check(raw, Encoding::QuotedPrintable, &[(from, to)], expected);
        check("=41=3d=\nhref=3D\"u=\nrl\" =c3=A4 \n", "url", "NEW", "=41=3d=\nhref=3D\"NEW\" =c3=A4 \n");
        check("a=  \r\n=\r\nb=\r\n\r\n", "b", "=", "a=  \r\n=\r\n=3D=\r\n\r\n");
        let long = "x".repeat(70);
        check(&format!("{long}\"u\"\r\n"), "u", "12345678", &format!("{long}\"1234=\r\n5678\"\r\n"));
        check(&format!("{long}\"u\"xyz\n"), "u", "1234", &format!("{long}\"1234=\n\"xyz\n"));
        check(&format!("{long}\"u\"=\nz"), "u", "123", &format!("{long}\"123\"=\nz"));
    }

    #[test]
    fn unclean_encodings_are_not_decoded() {
        for (raw, encoding) in [
            ("a=", Encoding::QuotedPrintable),
            ("a=4", Encoding::QuotedPrintable),
            ("a=\"b\"", Encoding::QuotedPrintable),
            ("a= b", Encoding::QuotedPrintable),
            ("YQ", Encoding::Base64),
            ("YQ==YQ==", Encoding::Base64),
            ("YQ==\r\n-- \r\nlist", Encoding::Base64),
        ] {
            assert!(Decoded::new(raw.as_bytes(), encoding).is_none(), "{raw}");
        }
    }

    #[test]
    fn base64_is_the_same_up_to_the_change() {
        let raw = "aGVs\nbG8g\nd29y\nbGQ=\n\n";
        check(raw, Encoding::Base64, &[("world", "moon")], "aGVs\nbG8g\nbW9v\nbg==\n\n");
        check(raw, Encoding::Base64, &[("hello", "bye"), ("world", "x")], "Ynll\nIHg=\n\n");
        check("aGVsbG8h", Encoding::Base64, &[("!", "!?")], "aGVsbG8hPw==");
        let end = Splice { range: 6..6, text: "!".into(), break_at: None };
        let decoded = Decoded::new(b"aGVs\r\nbG8h\r\n", Encoding::Base64).unwrap();
        assert_eq!(decoded.spliced(&[end], b"\n").0, b"aGVs\r\nbG8h\r\nIQ==\r\n");
    }

    #[test]
    fn lines_stay_within_998() {
        let text = "x".repeat(450);
        let (url, long) = ("1".repeat(500), "2".repeat(1_000));
        let raw = format!("{text}<a href=u>{text}<a href=v>\r\n");
        let (out, made) = spliced(&raw, Encoding::Identity, &[("u", &url), ("v", "3")]);
        assert_eq!((out, made), (format!("{text}<a\r\n href={url}>{text}<a href=3>\r\n"), vec![true, true]));
        let (out, made) = spliced(&raw, Encoding::Identity, &[("u", &long), ("v", &url)]);
        assert_eq!((out, made), (format!("{text}<a href=u>{text}<a\r\n href={url}>\r\n"), vec![false, true]));
        // Without a blank there is nowhere to break.
        let raw = format!("{text}<a/href=u>{text}\r\n");
        assert_eq!(spliced(&raw, Encoding::Identity, &[("u", &url)]), (raw, vec![false]));
        // What was too long before only grows.
        let raw = format!("{text}{text}{text}<a href=u>");
        let expected = raw.replace('u', &url);
        assert_eq!(spliced(&raw, Encoding::Identity, &[("u", &url)]), (expected, vec![true]));
    }

    proptest! {
        /// Whatever is spliced in whatever encoding, it decodes to the decoded body with the same replacements.
        #[test]
        fn splicing_commutes_with_decoding(
            raw in "([ -<>-~]{0,72}(=3D)?(=\\r\\n|=e4|\\r\\n)){0,6}",
            places in proptest::collection::vec((0..400usize, 0..9usize, "[a-z=/]{0,120}"), 0..5),
            kind in 0..3usize,
        ) {
            let encoding = [Encoding::Identity, Encoding::QuotedPrintable, Encoding::Base64][kind];
            let raw = if encoding == Encoding::Base64 { STANDARD.encode(&raw) } else { raw };
            let decoded = Decoded::new(raw.as_bytes(), encoding).unwrap();
            let mut splices: Vec<Splice> = Vec::new();
            for (gap, length, text) in places {
                let start = splices.last().map_or(0, |last: &Splice| last.range.end) + gap;
                if start + length <= decoded.bytes.len() {
                    splices.push(Splice { range: start..start + length, text, break_at: None });
                }
            }
            let (out, made) = decoded.spliced(&splices, b"\r\n");
            let mut expected = decoded.bytes.to_vec();
            for splice in splices.iter().zip(&made).filter(|(_, made)| **made).map(|(splice, _)| splice).rev() {
                expected.splice(splice.range.clone(), splice.text.bytes());
            }
            prop_assert_eq!(&*Decoded::new(&out, encoding).unwrap().bytes, &expected);
            let fits = |body: &[u8]| body.split(|byte| *byte == b'\n').all(|line| line.len() <= ENCODED_LINE_MAX + 1);
            prop_assert!(encoding != Encoding::QuotedPrintable || !fits(raw.as_bytes()) || fits(&out));
        }

        #[test]
        fn any_bytes(raw in proptest::collection::vec(prop_oneof![Just(b'='), Just(b'\n'), any::<u8>()], 0..100)) {
            for encoding in [Encoding::QuotedPrintable, Encoding::Base64] {
                if let Some(decoded) = Decoded::new(&raw, encoding) {
                    let end = decoded.bytes.len();
                    prop_assert_eq!(decoded.spliced(&[], b"\n").0, raw.clone());
                    decoded.spliced(&[Splice { range: 0..end, text: "x".into(), break_at: None }], b"\n");
                }
            }
        }
    }
}
