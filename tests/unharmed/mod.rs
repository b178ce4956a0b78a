//! Whether rewriting left a mail unharmed, asked without any of the rewriter's own code: everything outside the links
//! and the pixel must be there, spelled as it was.
//!
//! A mail is compared by its parts as `mail-parser` sees them: header, boundaries and untouched bodies byte for byte; a
//! rewritten body unit by unit. A unit is what its encoding carries a byte in: the byte itself, or `=3D`, so that a body
//! which was decoded and encoded anew is found out. Soft line breaks and the breaks of base64 may move; a line break may
//! come in before a blank inside a tag, or before the pixel. Shared by the integration tests and the corpus program.

use std::ops::Range;

use mail_parser::{Encoding, MessageParser, MessagePart, PartType};
use postback::mail::rewrite::{LinkReport, Rewritten};

/// What the pixel of a demonstration begins with.
const PIXEL: &[u8] = b"<img src=\"https://t.example.com/o/";
/// What a pixel may stand in the place of.
const MARK: &[u8] = b"{{open_pixel}}";

/// Where, in each rewritten body as decoded, the links stood; or what harm was done.
pub fn unharmed(mail: &[u8], done: &Rewritten<'_>) -> Result<Vec<Range<usize>>, String> {
    if done.links.is_empty() && !done.pixel {
        return if *done.bytes == *mail { Ok(Vec::new()) } else { Err("changed without a link or pixel".into()) };
    }
    let parse = |mail| MessageParser::default().parse(mail).ok_or("no mail");
    let (before, after) = (parse(mail)?, parse(&done.bytes)?);
    let (old, new) = (bodies(&before.parts), bodies(&after.parts));
    if old.len() != new.len() {
        return Err("other parts than before".into());
    }
    let mut links = done.links.as_slice();
    let mut places = Vec::new();
    let (mut copied, mut copied_after) = (0, 0);
    for (old, new) in old.iter().zip(&new) {
        let frame = (&mail[copied..old.range.start], &done.bytes[copied_after..new.range.start]);
        if frame.0 != frame.1 || old.encoding != new.encoding {
            return Err(format!("other bytes before the body at {}", old.range.start));
        }
        (copied, copied_after) = (old.range.end, new.range.end);
        let (old_body, new_body) = (&mail[old.range.clone()], &done.bytes[new.range.clone()]);
        if old_body != new_body {
            let (found, rest) = compared(old_body, new_body, old.encoding, links)?;
            places.extend(found);
            links = rest;
        }
    }
    match (mail[copied..] == done.bytes[copied_after..], links) {
        (true, []) => Ok(places),
        (false, _) => Err("other bytes at the end".into()),
        (true, [link, ..]) => Err(format!("{} is nowhere", link.tracked)),
    }
}

/// The links' places in a body, and the links that are not in it.
pub fn compared<'l>(
    old: &[u8],
    new: &[u8],
    encoding: Encoding,
    links: &'l [LinkReport],
) -> Result<(Vec<Range<usize>>, &'l [LinkReport]), String> {
    let (old, new) = (units(old, encoding)?, units(new, encoding)?);
    // A line break before the pixel may be ours or not.
    let walk = |break_is_ours| Walk { old: &old, new: &new, at: 0, now: 0, break_is_ours, links }.places();
    walk(false).or_else(|_| walk(true))
}

/// The way through a body, old and new side by side.
struct Walk<'w, 'l> {
    old: &'w [Unit<'w>],
    new: &'w [Unit<'w>],
    at: usize,
    now: usize,
    break_is_ours: bool,
    links: &'l [LinkReport],
}

impl<'l> Walk<'_, 'l> {
    fn places(mut self) -> Result<(Vec<Range<usize>>, &'l [LinkReport]), String> {
        let mut places = Vec::new();
        while self.now < self.new.len() {
            let rest = &self.new[self.now..];
            let link = self.links.split_first().filter(|(link, _)| begins(rest, link.tracked.as_bytes()));
            if let Some((link, links)) = link {
                let end = end_of(self.old, self.at, link, rest.get(link.tracked.len()));
                places.push(self.at..end);
                (self.at, self.now, self.links) = (end, self.now + link.tracked.len(), links);
            } else if begins(rest, PIXEL) {
                let end = rest.iter().position(|unit| unit.byte == b'>').ok_or("the pixel does not end")?;
                self.now += end + 1;
                let is_marked = self.old.get(self.at..).is_some_and(|rest| begins(rest, MARK));
                self.at += if is_marked { MARK.len() } else { 0 };
            } else if self.break_is_ours && begins(&rest[line_end(rest)..], PIXEL) {
                self.now += line_end(rest);
            } else if self.is_same(self.now) {
                (self.at, self.now) = (self.at + 1, self.now + 1);
            } else {
                self.pass()?;
            }
        }
        match self.at == self.old.len() {
            true => Ok((places, self.links)),
            false => Err(format!("a body ends before its byte {}", self.at)),
        }
    }

    fn is_same(&self, now: usize) -> bool {
        self.old.get(self.at).map(|unit| unit.spelled) == self.new.get(now).map(|unit| unit.spelled)
    }

    /// Passes what may differ: a scheme that asked not to be tracked, and a line break before a blank.
    fn pass(&mut self) -> Result<(), String> {
        let plain = b"+notrack://";
        let rest = self.old.get(self.at..).unwrap_or_default();
        let said = rest.iter().zip(plain).take_while(|(unit, byte)| unit.byte.eq_ignore_ascii_case(byte)).count();
        if said == plain.len() && begins(&self.new[self.now..], b"://") {
            self.at += plain.len() - b"://".len();
            return Ok(());
        }
        let follows = self.now + line_end(&self.new[self.now..]);
        let is_at_blank = rest.first().is_some_and(|unit| matches!(unit.byte, b' ' | b'\t'));
        if follows == self.now || !is_at_blank || !self.is_same(follows) {
            return Err(format!("byte {} of a body is another one, or spelled otherwise", self.at));
        }
        self.now = follows;
        Ok(())
    }
}

/// How long the line break is that units begin with.
fn line_end(units: &[Unit<'_>]) -> usize {
    if begins(units, b"\r\n") { 2 } else { usize::from(begins(units, b"\n")) }
}

/// Where a link's old value ends. In a charset of its own it is found by what follows it.
fn end_of(old: &[Unit<'_>], at: usize, link: &LinkReport, follows: Option<&Unit<'_>>) -> usize {
    if begins(&old[at..], link.original.as_bytes()) {
        return at + link.original.len();
    }
    let after = |unit: &Unit<'_>| follows.is_some_and(|follows| follows.spelled == unit.spelled);
    old[at..].iter().position(after).map_or(old.len(), |length| at + length)
}

struct Body {
    range: Range<usize>,
    encoding: Encoding,
}

/// The bodies that hold no other part, in order.
fn bodies(parts: &[MessagePart<'_>]) -> Vec<Body> {
    let is_leaf = |part: &&MessagePart<'_>| !matches!(part.body, PartType::Multipart(_));
    let body = |part: &MessagePart<'_>| {
        let (start, end) = (part.offset_body as usize, part.offset_end as usize);
        Body { range: start..end.max(start), encoding: part.encoding }
    };
    let mut bodies: Vec<Body> = parts.iter().filter(is_leaf).map(body).collect();
    bodies.sort_by_key(|body| body.range.start);
    bodies
}

/// A byte that an encoding carries, and how it is spelled.
struct Unit<'a> {
    byte: u8,
    spelled: &'a [u8],
}

fn begins(units: &[Unit<'_>], text: &[u8]) -> bool {
    units.len() >= text.len() && units.iter().zip(text).all(|(unit, byte)| unit.byte == *byte)
}

fn units(raw: &[u8], encoding: Encoding) -> Result<Vec<Unit<'_>>, String> {
    match encoding {
        Encoding::None => Ok(raw.chunks(1).map(|spelled| Unit { byte: spelled[0], spelled }).collect()),
        Encoding::QuotedPrintable => quoted(raw),
        Encoding::Base64 => packed(raw),
    }
}

fn quoted(raw: &[u8]) -> Result<Vec<Unit<'_>>, String> {
    let mut units = Vec::with_capacity(raw.len());
    let mut rest = raw;
    while let [first, more @ ..] = rest {
        if *first != b'=' {
            units.push(Unit { byte: *first, spelled: &rest[..1] });
            rest = more;
            continue;
        }
        let hex = more.get(..2).and_then(|hex| u8::from_str_radix(std::str::from_utf8(hex).ok()?, 16).ok());
        if let Some(byte) = hex {
            units.push(Unit { byte, spelled: &rest[..3] });
            rest = &rest[3..];
            continue;
        }
        let line_end = more.iter().position(|byte| *byte == b'\n').ok_or("quoted-printable ends in =")?;
        if !more[..line_end].iter().all(u8::is_ascii_whitespace) {
            return Err("no quoted-printable".into());
        }
        rest = &more[line_end + 1..];
    }
    Ok(units)
}

/// Base64 has one spelling. Of what it carries, each byte is compared by its value.
fn packed(raw: &[u8]) -> Result<Vec<Unit<'_>>, String> {
    static BYTES: [u8; 256] = {
        let mut bytes = [0; 256];
        let mut byte = 0;
        while byte < 256 {
            bytes[byte] = byte as u8;
            byte += 1;
        }
        bytes
    };
    let decoded = mail_parser::decoders::base64::base64_decode(raw).ok_or("no base64")?;
    let unit = |byte: u8| Unit { byte, spelled: &BYTES[usize::from(byte)..=usize::from(byte)] };
    Ok(decoded.into_iter().map(unit).collect())
}
