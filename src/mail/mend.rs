//! Makes a mail fit for the wire: lines that are too long, and 8-bit bytes for hosts that take none.
//!
//! What fits stays byte for byte. A body that does not is encoded, as quoted-printable when it is text and as base64
//! when it is not, and its header says so; fields of headers are folded, or written in encoded words (RFC 2047) and
//! encoded parameters (RFC 2231). What is signed or encrypted is never touched, and neither is an address that only
//! UTF-8 can write: then the mail still does not fit, and whoever asked finds out by looking.
//!
//! Speaks RFC 2045 §6, RFC 6152 §3 and RFC 5321 §4.5.3.1.6. Called at acceptance, and by `deliver` for old hosts.

mod fields;

use std::borrow::Cow;
use std::ops::Range;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use memchr::{memchr, memmem, memrchr2};

use super::headers;
use super::parts::{self, Entity, NESTING_MAX};
use super::transfer::{Decoded, Encoding};

/// Longest line, without its CRLF (RFC 5322 §2.1.1).
pub const LINE_BYTES_MAX: usize = 998;
/// Longest line of a body that we encode.
const ENCODED_LINE_MAX: usize = 76;

/// What the next host asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Need {
    /// Lines of at most [`LINE_BYTES_MAX`].
    ShortLines,
    /// That, and nothing but ASCII.
    Ascii,
}

/// The mail, made fit as far as that can be done; borrowed when it was.
pub fn mended(message: &[u8], need: Need) -> Cow<'_, [u8]> {
    if !lacks(message, need) {
        return Cow::Borrowed(message);
    }
    let mut mend = Mend { message, need, out: Vec::with_capacity(message.len() + message.len() / 4) };
    mend.entity(0..message.len(), 0);
    Cow::Owned(mend.out)
}

/// Whether these bytes are not what is needed.
fn lacks(bytes: &[u8], need: Need) -> bool {
    (need == Need::Ascii && !bytes.is_ascii()) || has_long_line(bytes)
}

fn has_long_line(bytes: &[u8]) -> bool {
    let mut rest = bytes;
    // Nothing shorter than the limit holds a line that is longer.
    while rest.len() > LINE_BYTES_MAX {
        match memchr(b'\n', rest) {
            Some(end) if rest[..end].strip_suffix(b"\r").unwrap_or(&rest[..end]).len() <= LINE_BYTES_MAX => {
                rest = &rest[end + 1..];
            }
            None if rest.strip_suffix(b"\r").unwrap_or(rest).len() <= LINE_BYTES_MAX => return false,
            _ => return true,
        }
    }
    false
}

struct Mend<'a> {
    message: &'a [u8],
    need: Need,
    out: Vec<u8>,
}

impl Mend<'_> {
    fn entity(&mut self, range: Range<usize>, depth: usize) {
        let bytes = &self.message[range.clone()];
        let entity = parts::entity(self.message, range.clone());
        if entity.is_sealed || depth > NESTING_MAX || !lacks(bytes, self.need) {
            self.out.extend_from_slice(bytes);
            return;
        }
        let head = &self.message[range.start..entity.content.start];
        if entity.children.is_empty() {
            return self.leaf(head, &entity, depth);
        }
        // What is inside is ASCII from here on, if that is what is needed.
        let is_labelled = self.need == Need::Ascii && headers::first(head, "Content-Transfer-Encoding").is_some();
        self.head(head, is_labelled.then_some("7bit"), &[]);
        let mut copied = entity.content.start;
        for child in entity.children {
            self.out.extend_from_slice(&self.message[copied..child.start]);
            copied = child.end;
            self.entity(child, depth + 1);
        }
        self.out.extend_from_slice(&self.message[copied..range.end]);
    }

    fn leaf(&mut self, head: &[u8], entity: &Entity, depth: usize) {
        let content = &self.message[entity.content.clone()];
        let encoded = if lacks(content, self.need) { encoded(content, entity) } else { None };
        let Some((name, encoded)) = encoded else {
            self.head(head, None, &[]);
            return self.out.extend_from_slice(content);
        };
        let mut added = Vec::new();
        if depth == 0 && headers::first(head, "MIME-Version").is_none() {
            added.push("MIME-Version: 1.0");
        }
        if headers::first(head, "Content-Type").is_none() && !content.is_ascii() {
            let is_utf8 = std::str::from_utf8(content).is_ok();
            added.push(if is_utf8 {
                "Content-Type: text/plain; charset=utf-8"
            } else {
                "Content-Type: text/plain; charset=x-unknown"
            });
        }
        self.head(head, Some(name), &added);
        self.out.extend(encoded);
    }

    /// Writes a header with the empty line below it, labelled with `encoding`.
    fn head(&mut self, head: &[u8], encoding: Option<&str>, added: &[&str]) {
        let mut copied = 0;
        let mut is_labelled = encoding.is_none();
        for field in headers::fields(head) {
            copied = field.range.end;
            if let Some(encoding) = encoding
                && field.is("Content-Transfer-Encoding")
            {
                if !std::mem::replace(&mut is_labelled, true) {
                    self.line(&format!("Content-Transfer-Encoding: {encoding}"));
                }
                continue;
            }
            let whole = &head[field.range.clone()];
            let ascii = if self.need == Need::Ascii && !whole.is_ascii() { fields::in_ascii(&field) } else { None };
            short(ascii.as_deref().unwrap_or(whole), &mut self.out);
        }
        if let Some(encoding) = encoding.filter(|_| !is_labelled) {
            self.line(&format!("Content-Transfer-Encoding: {encoding}"));
        }
        added.iter().for_each(|line| self.line(line));
        self.out.extend_from_slice(&head[copied..]);
    }

    fn line(&mut self, line: &str) {
        self.out.extend_from_slice(line.as_bytes());
        self.out.extend_from_slice(b"\r\n");
    }
}

/// The content of a leaf anew, and the name of its encoding; `None` when it must stay as it is.
fn encoded(content: &[u8], entity: &Entity) -> Option<(&'static str, Vec<u8>)> {
    let encoding = entity.encoding?;
    // Reports and their like must not be encoded (RFC 2046 §5.2).
    if encoding == Encoding::Identity && entity.content_type.starts_with("message/") {
        return None;
    }
    let bytes = Decoded::new(content, encoding)?.bytes;
    let is_text = entity.content_type.starts_with("text/");
    Some(match encoding {
        Encoding::QuotedPrintable | Encoding::Identity if is_text => ("quoted-printable", quoted(&bytes)),
        Encoding::QuotedPrintable | Encoding::Identity | Encoding::Base64 => ("base64", packed(&bytes)),
    })
}

/// Base64, in lines (RFC 2045 §6.8).
pub(super) fn packed(bytes: &[u8]) -> Vec<u8> {
    let text = STANDARD.encode(bytes);
    let lines = text.as_bytes().chunks(ENCODED_LINE_MAX);
    lines.flat_map(|line| line.iter().chain(b"\r\n")).copied().collect()
}

/// RFC 2045 §6.7: line ends stay, lines are broken softly, a blank never ends one; a CR or LF alone is no line end.
fn quoted(bytes: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(bytes.len() + bytes.len() / 4);
    let mut start = 0;
    for end in memmem::find_iter(bytes, b"\r\n") {
        quoted_line(&bytes[start..end], &mut out);
        out.extend_from_slice(b"\r\n");
        start = end + 2;
    }
    quoted_line(&bytes[start..], &mut out);
    out
}

fn quoted_line(line: &[u8], out: &mut Vec<u8>) {
    let mut column = 0;
    for (at, byte) in line.iter().enumerate() {
        let is_last = at + 1 == line.len();
        let is_literal = match byte {
            b' ' | b'\t' => !is_last,
            b'=' => false,
            byte => byte.is_ascii_graphic(),
        };
        let width = if is_literal { 1 } else { 3 };
        if column + width > ENCODED_LINE_MAX - usize::from(!is_last) {
            out.extend_from_slice(b"=\r\n");
            column = 0;
        }
        column += width;
        if is_literal {
            out.push(*byte);
        } else {
            out.extend_from_slice(format!("={byte:02X}").as_bytes());
        }
    }
}

/// Whether a whole field has lines of at most [`LINE_BYTES_MAX`], or can be given such.
pub fn can_be_short(field: &[u8]) -> bool {
    if !has_long_line(field) {
        return true;
    }
    let mut out = Vec::with_capacity(field.len() * 2);
    short(field, &mut out);
    !has_long_line(&out)
}

/// Writes a whole field with its last line end, in lines that fit: folded at blanks; where that is not enough, or blanks are
/// delicate, written anew as its syntax allows. One that allows nothing keeps its long line.
fn short(field: &[u8], out: &mut Vec<u8>) {
    let start = out.len();
    folded(field, out);
    let whole = headers::fields(field).next();
    let is_delicate = whole.as_ref().is_some_and(fields::is_delicate);
    if !has_long_line(if is_delicate { field } else { &out[start..] }) {
        return;
    }
    let Some((whole, anew)) = whole.and_then(|field| fields::shortened(&field).map(|anew| (field, anew))) else {
        return;
    };
    let mut lines = Vec::with_capacity(anew.len());
    folded(&anew, &mut lines);
    if !has_long_line(&lines) && fields::says_the_same(&whole, &lines) {
        out.truncate(start);
        out.extend(lines);
    }
}

/// Writes a whole field with its last line end; lines that are too long are folded at their last blank that helps.
fn folded(field: &[u8], out: &mut Vec<u8>) {
    for line in field.split_inclusive(|byte| *byte == b'\n') {
        let mut rest = line;
        while rest.len() > LINE_BYTES_MAX + 2 {
            // A line that is nothing but blanks would end the header.
            let blanks = rest.iter().take_while(|byte| matches!(byte, b' ' | b'\t')).count();
            let window = &rest[blanks.min(LINE_BYTES_MAX)..LINE_BYTES_MAX];
            let Some(at) = memrchr2(b' ', b'\t', window).map(|at| at + blanks) else { break };
            out.extend_from_slice(&rest[..at]);
            out.extend_from_slice(b"\r\n");
            rest = &rest[at..];
        }
        out.extend_from_slice(rest);
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn check(need: Need, mail: &str, expected: &str) {
        let (mail, expected) = (mail.replace('\n', "\r\n"), expected.replace('\n', "\r\n"));
        let mended = mended(mail.as_bytes(), need);
        assert_eq!(String::from_utf8_lossy(&mended), expected);
        assert_eq!(super::mended(&mended, need), mended, "twice");
    }

    #[test]
    fn what_fits_stays() {
        let fits = "From: a@b.example\nSubject: grün\n\ngrün\n";
        check(Need::ShortLines, fits, fits);
        let line = "x".repeat(998);
        let fits = format!("Subject: x\n\n{line}\n{line}");
        check(Need::Ascii, &fits, &fits);
        assert!(matches!(mended(fits.replace('\n', "\r\n").as_bytes(), Need::Ascii), Cow::Borrowed(_)));
    }

    #[test]
    fn bodies() {
        check(
            Need::Ascii,
            "Subject: x\n\ngrün = \nende",
            "Subject: x\nContent-Transfer-Encoding: quoted-printable\nMIME-Version: 1.0\n\
             Content-Type: text/plain; charset=utf-8\n\ngr=C3=BCn =3D=20\nende",
        );
        check(
            Need::Ascii,
            "MIME-Version: 1.0\ncontent-transfer-encoding: 8BIT\nContent-Type: text/html; charset=utf-8\n\nü\n",
            "MIME-Version: 1.0\nContent-Transfer-Encoding: quoted-printable\nContent-Type: text/html; charset=utf-8\n\n\
             =C3=BC\n",
        );
        check(
            Need::Ascii,
            "MIME-Version: 1.0\nContent-Type: application/x\nContent-Transfer-Encoding: 8bit\n\nü\n",
            "MIME-Version: 1.0\nContent-Type: application/x\nContent-Transfer-Encoding: base64\n\nw7wNCg==\n",
        );
        let long = "y".repeat(1_000);
        let mended =
            mended(format!("MIME-Version: 1.0\r\n\r\n{long}\r\nshort\r\n").as_bytes(), Need::ShortLines).into_owned();
        let text = String::from_utf8(mended).unwrap();
        assert!(text.starts_with("MIME-Version: 1.0\r\nContent-Transfer-Encoding: quoted-printable\r\n\r\nyyy"));
        assert_eq!(text.replace("=\r\n", "").matches(&long).count(), 1);
        assert!(text.ends_with("y\r\nshort\r\n"));
    }

    #[test]
    fn a_long_line_of_base64_is_broken_and_means_the_same() {
        let packed = STANDARD.encode([7; 3_000]);
        let mail = format!("MIME-Version: 1.0\r\nContent-Transfer-Encoding: base64\r\n\r\n{packed}\r\n");
        let mended = mended(mail.as_bytes(), Need::ShortLines).into_owned();
        let text = String::from_utf8(mended).unwrap();
        assert!(text.lines().all(|line| line.len() <= 76));
        assert_eq!(text.rsplit("\r\n\r\n").next().unwrap().replace("\r\n", ""), packed);
    }

    #[test]
    fn parts_by_themselves() {
        check(
            Need::Ascii,
            "MIME-Version: 1.0\nContent-Type: multipart/mixed; boundary=b\nContent-Transfer-Encoding: 8bit\n\npre\n--b\n\n\
             fits\n--b\nContent-Type: text/plain; charset=utf-8\n\nü\n--b\nContent-Type: message/rfc822\n\n\
             Subject: ü\n\nü\n--b--\nepilogue\n",
            "MIME-Version: 1.0\nContent-Type: multipart/mixed; boundary=b\nContent-Transfer-Encoding: 7bit\n\npre\n--b\n\n\
             fits\n--b\nContent-Type: text/plain; charset=utf-8\nContent-Transfer-Encoding: quoted-printable\n\n=C3=BC\n\
             --b\nContent-Type: message/rfc822\n\nSubject: =?utf-8?B?w7w=?=\nContent-Transfer-Encoding: quoted-printable\n\
             Content-Type: text/plain; charset=utf-8\n\n=C3=BC\n--b--\nepilogue\n",
        );
    }

    #[test]
    fn line_feeds_alone_stay_what_they_are() {
        assert_eq!(quoted(b"a\nb\r\nc\rd"), b"a=0Ab\r\nc=0Dd");
        let long = "x".repeat(1_000);
        check(
            Need::ShortLines,
            &format!("Content-Type: application/pdf\nContent-Transfer-Encoding: quoted-printable\n\n%PDF=0A{long}"),
            &format!(
                "Content-Type: application/pdf\nContent-Transfer-Encoding: base64\nMIME-Version: 1.0\n\n{}",
                String::from_utf8(packed(format!("%PDF\n{long}").as_bytes())).unwrap().replace("\r\n", "\n")
            ),
        );
    }

    #[test]
    fn what_must_not_be_touched() {
        for sealed in [
            "Content-Type: multipart/signed; boundary=b\n\n--b\n\nü\n--b--\n",
            "Content-Type: text/plain\nContent-Transfer-Encoding: x-uuencode\n\nü\n",
            "Content-Type: message/delivery-status\n\nFinal-Recipient: ü\n",
        ] {
            check(Need::Ascii, sealed, sealed);
        }
    }

    #[test]
    fn long_fields_are_folded_where_they_can_be() {
        let words = |count| "nine char".repeat(count);
        let mail = format!("Subject: {}\n\n", words(200));
        let mended = mended(mail.replace('\n', "\r\n").as_bytes(), Need::ShortLines).into_owned();
        let text = String::from_utf8(mended).unwrap();
        assert!(text.split("\r\n").all(|line| line.len() <= 998));
        assert_eq!(text.replace("\r\n ", " "), mail.replace('\n', "\r\n"));
    }

    /// Fields without a blank at which to fold: each means the same after as before, in lines that fit.
    #[test]
    fn long_fields_without_blanks_are_written_anew() {
        let short = |field: &str| {
            let mail = format!("{field}\r\n\r\n");
            let mended = mended(mail.as_bytes(), Need::ShortLines).into_owned();
            assert!(!has_long_line(&mended), "{field}");
            assert!(can_be_short(format!("{field}\r\n").as_bytes()));
            assert_eq!(super::mended(&mended, Need::Ascii), mended, "twice");
            String::from_utf8(mended).unwrap()
        };
        let decoded = |text: &str| headers::fields(text.as_bytes()).next().unwrap().decoded();
        let unfolded = |text: &str| text.replace("\r\n\t", "").replace("\r\n", "");
        let x = "x".repeat(3_000);
        let subject = short(&format!("Subject: {x}"));
        assert!(subject.starts_with("Subject: =?utf-8?B?eHh4") && subject.lines().all(|line| line.len() <= 86));
        assert_eq!(decoded(&subject), x);
        assert_eq!(decoded(&short(&format!("Subject:\r\n {x}"))), x);
        let packed = STANDARD.encode("grün".repeat(500));
        assert_eq!(decoded(&short(&format!("X-Note: =?utf-8?B?{packed}?="))), "grün".repeat(500));
        // Where the syntax allows a fold, not a byte changes.
        let people = |count| (0..count).map(|place| format!("a{place}@b.example")).collect::<Vec<_>>().join(",");
        for field in [
            format!("To:{}", people(300)),
            format!("References:{}", "<12345678@b.example>".repeat(200)),
            format!("DKIM-Signature:v=1;b={}", "Q".repeat(2_500)),
            format!("Autocrypt:addr=a@b.example;keydata={}", "Q".repeat(5_000)),
        ] {
            assert_eq!(unfolded(&short(&field)), field);
        }
        let named = short(&format!("From: \"{x}\" <a@b.example>"));
        assert!(named.ends_with(" <a@b.example>\r\n\r\n"), "{named}");
        let file = short(&format!("Content-Disposition:attachment;filename=\"{x}.pdf\""));
        let file = headers::fields(file.as_bytes()).next().unwrap().content_type().unwrap();
        assert_eq!(file.attribute("filename").map(str::len), Some(3_004));
    }

    /// What stands in a list is folded between its items, where readers can make nothing else of it.
    #[test]
    fn lists_are_folded_between_their_items() {
        let items = |item: fn(usize) -> String| (0..60).map(item).collect::<Vec<_>>().join(", ");
        let check = |field: String, begins: &[&str]| {
            let mended = mended(format!("{field}\r\n\r\n").as_bytes(), Need::ShortLines).into_owned();
            let text = String::from_utf8(mended).unwrap();
            let lines: Vec<&str> = text.split("\r\n").skip(1).filter(|line| !line.is_empty()).collect();
            assert!(!lines.is_empty() && text.replace("\r\n", "").trim() == field, "{text}");
            for line in lines {
                assert!(begins.iter().any(|begin| line.starts_with(begin)) && line.len() <= 998, "{line}");
            }
        };
        let people = items(|place| format!("kim lee{place}@b.example, \"B,  C\" <c{place} d@b.example>"));
        check(format!("To: {people}"), &[" kim lee", " \"B,"]);
        let names = (0..90).map(|place| format!("x-field-{place}")).collect::<Vec<_>>().join(":");
        let signature = format!("DKIM-Signature:v=1;h={names}");
        let mended = mended(format!("{signature}\r\n\r\n").as_bytes(), Need::ShortLines).into_owned();
        assert!(String::from_utf8(mended).unwrap().contains(":\r\n\tx-field-"));
    }

    #[test]
    fn fields_that_cannot_be_short() {
        let x = "x".repeat(1_000);
        let check = |start: &str, rest: &str| {
            assert!(!can_be_short(format!("{start} {rest}\r\n").as_bytes()), "{start}");
            let fold = if start.len() < 998 { "\n" } else { "" };
            check(Need::ShortLines, &format!("{start} {rest}\nA: y\n\n"), &format!("{start}{fold} {rest}\nA: y\n\n"));
        };
        check("Message-ID:", &format!("<{x}@b.example>"));
        check("To:", &format!("{x}@b.example"));
        check("List-Unsubscribe:", &format!("<https://b.example/{x}>"));
        check(&format!("{x}:"), "y");
    }

    proptest! {
        /// Text means the same after as before, in lines that are short and ASCII.
        #[test]
        fn quoting_is_undone_by_reading(lines in proptest::collection::vec("[ -~\\tüß=]{0,200}", 0..8)) {
            let text = lines.join("\r\n");
            let quoted = quoted(text.as_bytes());
            prop_assert!(quoted.is_ascii());
            let is_fine = |line: &[u8]| line.len() <= 77 && !line.ends_with(b" \r") && !line.ends_with(b"\t\r");
            prop_assert!(quoted.split(|byte| *byte == b'\n').all(is_fine));
            let read = Decoded::new(&quoted, Encoding::QuotedPrintable).unwrap().bytes.into_owned();
            prop_assert_eq!(String::from_utf8(read).unwrap(), text);
        }

        #[test]
        fn any_bytes(mail in proptest::collection::vec(prop_oneof![Just(b'\n'), Just(b':'), Just(b' '), any::<u8>()], 0..3000)) {
            let _ = mended(&mail, Need::Ascii);
            let _ = mended(&mail, Need::ShortLines);
        }
    }
}
