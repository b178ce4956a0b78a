//! Header fields of a raw message: where they stand, what they say, how to take some out and put some in.
//!
//! Everything works on the bytes as they came and on ranges of them, so that what nobody asked to change stays as it
//! is: order, case, folding and line ends (LF or CRLF). A header ends at the first empty line, or with the message.
//! Lines that are no fields are kept, as fields without a name. Never fails and never copies what it can borrow.
//!
//! Speaks RFC 5322 §2.2 (fields and folding), RFC 2047 (encoded words, through mail-parser) and of RFC 6376 §3.2 as
//! much as names who signed.

use std::borrow::Cow;
use std::collections::BTreeSet;
use std::ops::Range;

use mail_parser::decoders::charsets::map::charset_decoder;
use mail_parser::parsers::MessageStream;
use mail_parser::{ContentType, HeaderValue};
use memchr::memchr;

/// Longest value that is looked into; what stands behind is not seen.
const VALUE_BYTES_MAX: usize = 64 << 10;

/// One field as it stands in the message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Field<'a> {
    /// The name as written; empty for a line that is no field.
    pub name: &'a [u8],
    /// What follows the colon, folding included, the last line end not.
    pub value: &'a [u8],
    /// The whole field in the message, last line end included.
    pub range: Range<usize>,
}

impl<'a> Field<'a> {
    /// Whether it has this name, in any case.
    pub fn is(&self, name: &str) -> bool {
        self.name.eq_ignore_ascii_case(name.as_bytes())
    }

    /// The value unfolded and trimmed, encoded words as they stand.
    pub fn text(&self) -> String {
        let unfolded: Vec<u8> = self.clipped().iter().copied().filter(|byte| !matches!(byte, b'\r' | b'\n')).collect();
        legible(&unfolded).trim().to_owned()
    }

    /// The value for people: unfolded, encoded words decoded.
    pub fn decoded(&self) -> String {
        match MessageStream::new(&self.ended()).parse_unstructured() {
            HeaderValue::Text(text) => text.into_owned(),
            _ => String::new(),
        }
    }

    /// The value read as `Content-Type` or `Content-Disposition`, parameters decoded (RFC 2231); `None` when it has
    /// no type at all.
    pub fn content_type(&self) -> Option<ContentType<'static>> {
        match MessageStream::new(&self.ended()).parse_content_type().into_owned() {
            HeaderValue::ContentType(content_type) => Some(content_type),
            _ => None,
        }
    }

    fn clipped(&self) -> &'a [u8] {
        &self.value[..self.value.len().min(VALUE_BYTES_MAX)]
    }

    /// The value with the line end that mail-parser stops at.
    fn ended(&self) -> Vec<u8> {
        [legible(self.clipped()).as_bytes(), b"\n"].concat()
    }
}

/// Bytes of a header as text: UTF-8 where they are that. Any other byte is taken for one of Windows-1252, which old programs
/// write without saying so; Latin-1 is a part of it. The bytes between them keep their meaning: text that somebody cut within
/// a letter is common, too.
pub fn legible(bytes: &[u8]) -> Cow<'_, str> {
    match (std::str::from_utf8(bytes), charset_decoder(b"windows-1252")) {
        (Ok(text), _) => Cow::Borrowed(text),
        (Err(_), None) => String::from_utf8_lossy(bytes),
        (Err(_), Some(decoded)) => {
            let chunks = bytes.utf8_chunks();
            Cow::Owned(chunks.map(|chunk| chunk.valid().to_owned() + &decoded(chunk.invalid())).collect())
        }
    }
}

/// The fields of a message, from the top.
pub fn fields(message: &[u8]) -> Fields<'_> {
    Fields { message, at: 0 }
}

/// Walks the fields of a header; `at` is where the next one begins.
#[derive(Clone, Debug)]
pub struct Fields<'a> {
    message: &'a [u8],
    at: usize,
}

impl<'a> Iterator for Fields<'a> {
    type Item = Field<'a>;

    fn next(&mut self) -> Option<Field<'a>> {
        let start = self.at;
        let mut end = line_end(self.message, start);
        let first = without_line_end(&self.message[start..end]);
        if first.is_empty() {
            return None;
        }
        while matches!(self.message.get(end), Some(b' ' | b'\t')) {
            end = line_end(self.message, end);
        }
        self.at = end;
        let whole = without_line_end(&self.message[start..end]);
        let (name, value) = match memchr(b':', first) {
            Some(colon) => (whole[..colon].trim_ascii_end(), &whole[colon + 1..]),
            None => (&whole[..0], whole),
        };
        Some(Field { name, value, range: start..end })
    }
}

/// Where the line that begins at `start` ends, its line end included.
fn line_end(message: &[u8], start: usize) -> usize {
    memchr(b'\n', &message[start..]).map_or(message.len(), |length| start + length + 1)
}

fn without_line_end(line: &[u8]) -> &[u8] {
    let line = line.strip_suffix(b"\n").unwrap_or(line);
    line.strip_suffix(b"\r").unwrap_or(line)
}

/// Where the body begins: after the empty line, or at the end when there is none.
pub fn body_start(message: &[u8]) -> usize {
    let mut fields = fields(message);
    fields.by_ref().for_each(drop);
    line_end(message, fields.at)
}

/// The first field of this name.
pub fn first<'a>(message: &'a [u8], name: &str) -> Option<Field<'a>> {
    fields(message).find(|field| field.is(name))
}

/// The message without the fields that `is_unwanted` picks; borrowed when it picks none.
pub fn without(message: &[u8], mut is_unwanted: impl FnMut(&Field<'_>) -> bool) -> Cow<'_, [u8]> {
    let mut kept = Vec::new();
    let mut copied = 0;
    for field in fields(message).filter(|field| is_unwanted(field)) {
        kept.extend_from_slice(&message[copied..field.range.start]);
        copied = field.range.end;
    }
    if copied == 0 {
        return Cow::Borrowed(message);
    }
    kept.extend_from_slice(&message[copied..]);
    Cow::Owned(kept)
}

/// The message with `lines` on top: whole fields, each with its line end.
pub fn with_on_top(lines: &[u8], message: &[u8]) -> Vec<u8> {
    [lines, message].concat()
}

/// The line end of this message: that of its first line, CRLF when it has none.
pub fn line_break(message: &[u8]) -> &'static [u8] {
    match memchr(b'\n', message) {
        Some(end) if end == 0 || message[end - 1] != b'\r' => b"\n",
        _ => b"\r\n",
    }
}

/// Who signed the message as it came: the `d=` of each `DKIM-Signature`, lower case, each once, in alphabetical order.
/// The signatures are not verified.
pub fn signing_domains(message: &[u8]) -> BTreeSet<String> {
    fields(message).filter_map(|field| signing_domain(&field)).collect()
}

/// The message without the DKIM signatures of the domains that `is_unwanted` picks: they cover a body that we changed.
pub fn without_signatures(message: &[u8], is_unwanted: impl Fn(&str) -> bool) -> Cow<'_, [u8]> {
    without(message, |field| signing_domain(field).is_some_and(|signer| is_unwanted(&signer)))
}

/// The `d=` of a `DKIM-Signature`, empty when it has none; `None` for any other field.
fn signing_domain(field: &Field<'_>) -> Option<String> {
    if !field.is("DKIM-Signature") {
        return None;
    }
    let text = field.text();
    let domain = text.split(';').find_map(|tag| {
        let (name, value) = tag.split_once('=')?;
        (name.trim() == "d").then(|| value.trim().to_ascii_lowercase())
    });
    Some(domain.unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const MESSAGE: &[u8] = b"DKIM-Signature: v=1; a=rsa-sha256;\r\n\td=Example.COM; s=x\r\n\
        Subject: =?utf-8?q?Gr=C3=BC=C3=9Fe?=\r\n =?utf-8?q?_!?=\r\n\
        not a field\r\n\
        subject : second\r\n\
        Dkim-Signature: d = other.example ;b=;\r\n\
        \r\n\
        Subject: body\r\n";

    #[test]
    fn fields_as_they_stand() {
        let names: Vec<&[u8]> = fields(MESSAGE).map(|field| field.name).collect();
        assert_eq!(names, [&b"DKIM-Signature"[..], b"Subject", b"", b"subject", b"Dkim-Signature"]);
        assert_eq!(&MESSAGE[body_start(MESSAGE)..], b"Subject: body\r\n");
        let subject = first(MESSAGE, "SUBJECT").unwrap();
        assert_eq!(subject.decoded(), "Grüße !");
        assert_eq!(subject.text(), "=?utf-8?q?Gr=C3=BC=C3=9Fe?= =?utf-8?q?_!?=");
        assert!(first(MESSAGE, "To").is_none());
    }

    #[test]
    fn header_without_end_and_bare_line_feeds() {
        for (message, body) in
            [("a: b", ""), ("", ""), ("\nx", "x"), ("\r\nx", "x"), ("a: b\n\nx", "x"), ("a: b\r\n c\r\n\r\nx", "x")]
        {
            assert_eq!(&message.as_bytes()[body_start(message.as_bytes())..], body.as_bytes(), "{message:?}");
        }
        assert_eq!(line_break(b"a\r\nb\n"), b"\r\n");
        assert_eq!(line_break(b"a\nb\r\n"), b"\n");
        assert_eq!(line_break(b"\n"), b"\n");
    }

    #[test]
    fn signatures() {
        let signers = |message: &[u8]| signing_domains(message).into_iter().collect::<Vec<_>>();
        assert_eq!(signers(MESSAGE), ["example.com", "other.example"]);
        let unsigned = without_signatures(MESSAGE, |signer| signer == "example.com");
        assert_eq!(signers(&unsigned), ["other.example"]);
        assert!(unsigned.starts_with(b"Subject: =?") && MESSAGE.ends_with(&unsigned));
        assert!(matches!(without_signatures(MESSAGE, |signer| signer == "third.example"), Cow::Borrowed(_)));
        assert_eq!(with_on_top(b"X: y\r\n", b"a: b\r\n"), b"X: y\r\na: b\r\n");
    }

    #[test]
    fn bytes_of_older_charsets_are_letters() {
        let check = |bytes: &[u8], expected: &str| {
            let message =
                [b"Subject: ".as_slice(), bytes, b"\r\nContent-Type: a/b; name=\"", bytes, b"\"\r\n"].concat();
            let subject = first(&message, "Subject").unwrap();
            assert_eq!((subject.decoded().as_str(), subject.text().as_str()), (expected, expected));
            let content_type = first(&message, "Content-Type").unwrap().content_type().unwrap();
            assert_eq!(content_type.attribute("name"), Some(expected));
        };
        check(b"gr\xfcn", "grün");
        check("grün".as_bytes(), "grün");
        check(b"5 \x80", "5 €");
        // What was cut within a letter stays legible up to there.
        check(b"gr\xc3\xbcn \xc3", "grün Ã");
    }

    #[test]
    fn content_types() {
        let message = b"Content-Type: Text/HTML; (comment) charset=\"UTF-8\";\r\n\tname*0=a; name*1=b\r\n";
        let content_type = first(message, "content-type").unwrap().content_type().unwrap();
        assert_eq!((content_type.ctype(), content_type.subtype()), ("text", Some("html")));
        assert_eq!(content_type.attribute("charset"), Some("UTF-8"));
        assert_eq!(content_type.attribute("name"), Some("ab"));
    }

    proptest! {
        #[test]
        fn any_bytes(
            likely in "[a-dB:;=*\"'?/ \t\r\n(]{0,200}",
            random in proptest::collection::vec(any::<u8>(), 0..200),
        ) {
            for message in [likely.into_bytes(), random] {
                let mut end = 0;
                for field in fields(&message) {
                    prop_assert_eq!(field.range.start, end);
                    end = field.range.end;
                    let _ = (field.text(), field.decoded(), field.content_type());
                }
                prop_assert!(end <= body_start(&message));
                prop_assert_eq!(&*without(&message, |_| true), &message[end..]);
            }
        }
    }
}
