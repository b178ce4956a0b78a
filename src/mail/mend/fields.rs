//! One field of a header, written in ASCII or in short lines: encoded words (RFC 2047), encoded parameters (RFC 2231),
//! A-labels, folds where a field's syntax has blanks or might have them.

use mail_parser::parsers::MessageStream;
use mail_parser::{Addr, Address as Parsed, Group, HeaderValue};

use super::LINE_BYTES_MAX;
use crate::mail::compose::{encoded_words, is_token};
use crate::mail::headers::{self, Field, legible};
use crate::model::address::Address;

/// Fields that hold addresses.
const OF_ADDRESSES: &[&str] = &[
    "From",
    "Sender",
    "Reply-To",
    "To",
    "Cc",
    "Bcc",
    "Resent-From",
    "Resent-Sender",
    "Resent-To",
    "Resent-Cc",
    "Disposition-Notification-To",
];

/// Other fields with a syntax, in which an encoded word means nothing; those of [`OF_ADDRESSES`] have one too.
const STRUCTURED: &[&str] = &[
    "Received",
    "Return-Path",
    "Date",
    "Resent-Date",
    "Message-ID",
    "Resent-Message-ID",
    "In-Reply-To",
    "References",
    "MIME-Version",
    "Auto-Submitted",
    "Precedence",
    "Keywords",
    "TLS-Required",
    "Feedback-ID",
    "Autocrypt",
];

/// The same, by how their names begin.
const STRUCTURED_FAMILIES: &[&str] = &["Content-", "List-", "DKIM-", "ARC-", "Resent-"];

/// Fields that hold base64, in which blanks may stand anywhere (RFC 6376 §3.2).
const OF_BASE64: &[&str] = &["DKIM-Signature", "ARC-Seal", "ARC-Message-Signature", "Autocrypt"];

/// Longest text of a name or of a parameter that stays in one piece.
const PIECE_BYTES_MAX: usize = 500;
/// Bytes of a parameter in each of its pieces.
const CONTINUATION_BYTES: usize = 20;
/// What is longer is not written anew.
const REWRITTEN_BYTES_MAX: usize = 64 << 10;

/// What stands between two items of a list.
const FOLD: &str = "\r\n\t";

/// The whole field with its last line end; `None` when ASCII cannot say it.
pub(super) fn in_ascii(field: &Field<'_>) -> Option<Vec<u8>> {
    let value = match () {
        () if is_of_addresses(field) => addresses(field)?,
        () if is_of_parameters(field) => parameters(field)?,
        () => unstructured(field),
    };
    let name = std::str::from_utf8(field.name).ok()?;
    // Decoded text may hold line ends, which would begin another field.
    let is_one = value.split(FOLD).all(|item| item.is_ascii() && !has_controls(item));
    let written = format!("{name}: {value}\r\n").into_bytes();
    (is_one && says_the_same(field, &written)).then_some(written)
}

/// The whole field with its last line end, with blanks enough to be folded at; `None` when its syntax allows none.
pub(super) fn shortened(field: &Field<'_>) -> Option<Vec<u8>> {
    if field.value.len() > REWRITTEN_BYTES_MAX {
        return None;
    }
    if (is_of_addresses(field) || is_structured(field))
        && let Some(separated) = separated(field).filter(|separated| says_the_same(field, separated))
    {
        return Some(separated);
    }
    let value = match () {
        () if is_of_addresses(field) => addresses(field)?,
        () if is_of_parameters(field) => parameters(field)?,
        () if is_structured(field) => return None,
        () => encoded_words(&field.decoded()).replace(' ', "\r\n "),
    };
    let name = std::str::from_utf8(field.name).ok()?;
    Some(format!("{name}: {value}\r\n").into_bytes())
}

/// Whether blanks mean more in this field than that a fold may stand there: within an address or an unquoted parameter,
/// where none belongs, readers make of its parts what they like.
pub(super) fn is_delicate(field: &Field<'_>) -> bool {
    is_of_addresses(field) || is_of_parameters(field)
}

fn is_of_addresses(field: &Field<'_>) -> bool {
    OF_ADDRESSES.iter().any(|name| field.is(name))
}

fn is_of_parameters(field: &Field<'_>) -> bool {
    field.is("Content-Type") || field.is("Content-Disposition")
}

/// Whether a delicate field names those people, or parameters, after that it named before.
pub(super) fn says_the_same(before: &Field<'_>, after: &[u8]) -> bool {
    let Some(after) = headers::fields(after).next() else { return false };
    match () {
        () if is_of_addresses(before) => people(&after) == people(before),
        () if is_of_parameters(before) => after.content_type() == before.content_type(),
        () => true,
    }
}

/// Name and address of everybody in a field of addresses, as far as they have them, and the names of groups.
fn people(field: &Field<'_>) -> Vec<[Option<String>; 2]> {
    let person = |person: &Addr<'_>| {
        let address = person.address.as_deref();
        let address = address.map(|text| text.parse().map_or_else(|_| text.to_owned(), |one: Address| one.to_string()));
        [person.name.as_deref().map(str::to_owned), address]
    };
    match parsed(field) {
        Some(Parsed::List(people)) => people.iter().map(person).collect(),
        Some(Parsed::Group(groups)) => {
            let named = |group: &Group<'_>| group.name.as_deref().map(|name| [Some(format!("{name}:")), None]);
            groups
                .iter()
                .flat_map(|group| {
                    named(group).into_iter().chain(group.addresses.iter().map(person)).collect::<Vec<_>>()
                })
                .collect()
        }
        None => Vec::new(),
    }
}

fn parsed(field: &Field<'_>) -> Option<Parsed<'static>> {
    let line = [legible(field.value).as_bytes(), b"\n"].concat();
    match MessageStream::new(&line).parse_address().into_owned() {
        HeaderValue::Address(parsed) => Some(parsed),
        _ => None,
    }
}

fn is_structured(field: &Field<'_>) -> bool {
    let is_of_family = |family: &&str| {
        let start = field.name.get(..family.len());
        start.is_some_and(|start| start.eq_ignore_ascii_case(family.as_bytes()))
    };
    let is_text = field.is("Content-Description");
    !is_text && (STRUCTURED.iter().any(|name| field.is(name)) || STRUCTURED_FAMILIES.iter().any(is_of_family))
}

/// The field, folded behind the separators of lists and parameters, between message ids, and within base64; the bytes
/// between the folds are as they were. `None` when a line stays too long.
fn separated(field: &Field<'_>) -> Option<Vec<u8>> {
    let is_of_base64 = OF_BASE64.iter().any(|name| field.is(name));
    let mut out = [field.name, b":"].concat();
    // Where the line that is being written began, where it may well end, and where it can if it must.
    let (mut line, mut fold, mut blank) = (0, None, None);
    let (mut is_quoted, mut is_escaped, mut depth) = (false, false, 0_usize);
    for (at, byte) in field.value.iter().copied().enumerate() {
        let was_blank = out.last().is_some_and(|last| matches!(last, b' ' | b'\t'));
        out.push(byte);
        match byte {
            b'\n' => (line, fold, blank) = (out.len(), None, None),
            _ if is_escaped => is_escaped = false,
            b'\\' if is_quoted || depth > 0 => is_escaped = true,
            b'"' => is_quoted = !is_quoted,
            _ if is_quoted => {}
            b'(' | b'<' => depth += 1,
            b')' | b'>' => depth = depth.saturating_sub(1),
            b' ' | b'\t' if !was_blank && out.len() - 1 > line => match out[out.len() - 2] {
                b',' | b';' => fold = Some(out.len() - 1),
                _ => blank = Some(out.len() - 1),
            },
            _ => {}
        }
        let is_open = is_quoted || depth > 0;
        let next = field.value.get(at + 1).copied();
        let is_between = matches!((byte, next), (b',' | b';', Some(_)) | (b'>', Some(b'<')))
            // Between the names that a signature covers; within one it would be another.
            || (is_of_base64 && byte == b':' && next.is_some());
        if is_between && !is_open && !matches!(next, Some(b' ' | b'\t' | b'\r' | b'\n')) {
            fold = Some(out.len());
        }
        if out.len() - line >= LINE_BYTES_MAX && !matches!(next, None | Some(b'\r' | b'\n')) {
            let is_within_base64 = is_of_base64 && byte.is_ascii() && next.is_some_and(|next| next.is_ascii());
            let place = fold.or(blank).or_else(|| is_within_base64.then_some(out.len()))?;
            let rest = out.split_off(place);
            out.extend_from_slice(b"\r\n");
            (line, fold) = (out.len(), None);
            if !matches!(rest.first(), Some(b' ' | b'\t')) {
                out.push(b'\t');
            }
            blank = blank.filter(|blank| *blank > place).map(|blank| blank + out.len() - place);
            out.extend_from_slice(&rest);
        }
    }
    out.extend_from_slice(b"\r\n");
    Some(out)
}

fn has_controls(text: &str) -> bool {
    text.bytes().any(|byte| byte.is_ascii_control() && byte != b'\t')
}

fn addresses(field: &Field<'_>) -> Option<String> {
    let written = match parsed(field)? {
        Parsed::List(people) => list(&people),
        Parsed::Group(groups) => listed(groups.iter().map(group)),
    };
    written.filter(|written| !written.is_empty())
}

fn listed(written: impl Iterator<Item = Option<String>>) -> Option<String> {
    written.collect::<Option<Vec<String>>>().map(|written| written.join(&format!(",{FOLD}")))
}

fn list(people: &[Addr<'_>]) -> Option<String> {
    listed(people.iter().map(mailbox))
}

fn group(group: &Group<'_>) -> Option<String> {
    let people = list(&group.addresses)?;
    Some(group.name.as_deref().map_or_else(|| people.clone(), |name| format!("{}:{FOLD}{people};", phrase(name))))
}

fn mailbox(mailbox: &Addr<'_>) -> Option<String> {
    let address = mailbox.address.as_deref().map(|text| match text.parse::<Address>() {
        Ok(address) if !address.needs_smtputf8() => Some((address.to_string(), true)),
        Ok(_) => None,
        Err(_) => text.is_ascii().then(|| (text.to_owned(), false)),
    });
    Some(match (mailbox.name.as_deref().filter(|name| !name.is_empty()), address) {
        (_, Some(None)) | (None, None) => return None,
        (None, Some(Some((address, true)))) => address,
        // What is none would be taken for a name.
        (None, Some(Some((address, false)))) => format!("<{address}>"),
        (Some(name), Some(Some((address, _)))) => format!("{} <{address}>", phrase(name)),
        (Some(name), None) => phrase(name),
    })
}

/// The name of somebody or of a group. What only looks like an encoded word is encoded, so that it is shown as it was.
fn phrase(name: &str) -> String {
    if name.is_ascii() && !has_controls(name) && !name.contains("=?") && name.len() <= PIECE_BYTES_MAX {
        return format!("\"{}\"", name.replace('\\', "\\\\").replace('"', "\\\""));
    }
    encoded_words(name)
}

fn parameters(field: &Field<'_>) -> Option<String> {
    let said = field.content_type()?;
    let mut written = said.ctype().to_owned();
    if let Some(subtype) = said.subtype() {
        written += &format!("/{subtype}");
    }
    for parameter in said.attributes().unwrap_or_default() {
        let (name, value) = (&parameter.name, &parameter.value);
        written += &match () {
            () if value.len() > PIECE_BYTES_MAX => continued(name, value),
            () if is_token(value) => format!(";{FOLD}{name}={value}"),
            () if value.is_ascii() && !has_controls(value) && !value.contains(['"', '\\']) => {
                format!(";{FOLD}{name}=\"{value}\"")
            }
            () => format!(";{FOLD}{name}*=utf-8''{}", percent(value)),
        };
    }
    Some(written)
}

/// A parameter in pieces (RFC 2231 §4.1).
fn continued(name: &str, value: &str) -> String {
    let mut written = String::with_capacity(value.len() * 2);
    let mut rest = value;
    for place in 0_usize.. {
        let (piece, after) = rest.split_at(rest.floor_char_boundary(CONTINUATION_BYTES));
        let charset = if place == 0 { "utf-8''" } else { "" };
        written += &format!(";{FOLD}{name}*{place}*={charset}{}", percent(piece));
        rest = after;
        if rest.is_empty() {
            break;
        }
    }
    written
}

fn percent(value: &str) -> String {
    let is_plain = |byte: &u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_');
    let written = |byte: u8| if is_plain(&byte) { char::from(byte).to_string() } else { format!("%{byte:02X}") };
    value.bytes().map(written).collect()
}

/// The words from the first that is not ASCII to the last are encoded, the blanks between them too; all of them where some
/// are encoded already, or look so.
fn unstructured(field: &Field<'_>) -> String {
    let text = legible(field.value).replace(['\r', '\n'], "");
    if text.contains("=?") {
        return encoded_words(&field.decoded());
    }
    let text = text.trim_matches([' ', '\t']);
    let words: Vec<&str> = text.split(' ').collect();
    let is_foreign = |word: &&str| !word.is_ascii();
    let (Some(first), Some(last)) = (words.iter().position(is_foreign), words.iter().rposition(is_foreign)) else {
        return text.to_owned();
    };
    let encoded = encoded_words(&words[first..=last].join(" "));
    [&words[..first], &[encoded.as_str()], &words[last + 1..]].concat().join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::mail::headers;

    fn check(field: &str, expected: Option<&str>) {
        let message = format!("{field}\r\n\r\n");
        let ascii = headers::fields(message.as_bytes()).next().and_then(|field| in_ascii(&field));
        let expected = expected.map(|expected| format!("{expected}\r\n"));
        assert_eq!(ascii.map(|ascii| String::from_utf8(ascii).unwrap()), expected, "{field}");
    }

    #[test]
    fn each_kind() {
        check("Subject: grün", Some("Subject: =?utf-8?B?Z3LDvG4=?="));
        check("Subject: so grün so grün so", Some("Subject: so =?utf-8?B?Z3LDvG4gc28gZ3LDvG4=?= so"));
        check("Subject: ü =?utf-8?q?=C3=BC_?= ü", Some("Subject: =?utf-8?B?w7wgw7wgIMO8?="));
        check("Subject: \u{a0}grün", Some("Subject: =?utf-8?B?wqBncsO8bg==?="));
        check("From: Jörg <j@b.example>", Some("From: =?utf-8?B?SsO2cmc=?= <j@b.example>"));
        check(
            "To: a@b.example, \"B, Ö\" <b@ö.example>",
            Some("To: a@b.example,\r\n\t=?utf-8?B?Qiwgw5Y=?= <b@xn--nda.example>"),
        );
        check("Cc: ö@b.example", None);
        check(
            "To: Jörg's: a@b.example, <nobody>, Kim;, c@d.example",
            Some("To: =?utf-8?B?SsO2cmcncw==?=:\r\n\ta@b.example,\r\n\t<nobody>,\r\n\t\"Kim\";,\r\n\tc@d.example"),
        );
        check(
            "To: Ö <a@b.example>, \"=?utf-8?q?=3D?=?utf-8?q?x?=\" <c@d.example>",
            Some("To: =?utf-8?B?w5Y=?= <a@b.example>,\r\n\t=?utf-8?B?PT91dGYtOD9xP3g/PQ==?= <c@d.example>"),
        );
        check(
            "Content-Disposition: attachment; filename=\"grün.pdf\"; size=5",
            Some("Content-Disposition: attachment;\r\n\tfilename*=utf-8''gr%C3%BCn.pdf;\r\n\tsize=5"),
        );
    }

    #[test]
    fn line_ends_that_are_decoded_begin_no_field() {
        check(
            "To: =?utf-8?Q?x=0D=0AX-Evil:_1?= <a@b.example>, Jörg <j@c.example>",
            Some("To: =?utf-8?B?eA0KWC1FdmlsOiAx?= <a@b.example>,\r\n\t=?utf-8?B?SsO2cmc=?= <j@c.example>"),
        );
        check(
            "Content-Disposition: attachment; name=\"å\"; filename*=utf-8''x%0D%0AX-Evil:%201",
            Some(
                "Content-Disposition: attachment;\r\n\tname*=utf-8''%C3%A5;\r\n\t\
                filename*=utf-8''x%0D%0AX-Evil%3A%201",
            ),
        );
    }

    #[test]
    fn bytes_of_an_older_charset() {
        for (message, expected) in [
            (b"Subject: gr\xfcn\r\n\r\n".as_slice(), "Subject: =?utf-8?B?Z3LDvG4=?=\r\n"),
            (b"From: J\xf6rg <j@b.example>\r\n\r\n", "From: =?utf-8?B?SsO2cmc=?= <j@b.example>\r\n"),
            (
                b"Content-Type: text/plain; name=\"gr\xfcn.pdf\"\r\n\r\n",
                "Content-Type: text/plain;\r\n\tname*=utf-8''gr%C3%BCn.pdf\r\n",
            ),
        ] {
            let field = headers::fields(message).next().unwrap();
            assert_eq!(String::from_utf8(in_ascii(&field).unwrap()).unwrap(), expected);
        }
    }
}
