//! One field of a header, written in ASCII or in short lines: encoded words (RFC 2047), encoded parameters (RFC 2231),
//! A-labels, folds where a field's syntax has blanks or might have them.

use super::LINE_BYTES_MAX;
use crate::mail::compose::{encoded_words, is_token};
use crate::mail::headers::Field;
use crate::mail::submitted::mailboxes;
use crate::model::address::{Address, Mailbox};

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
    let text = text(field);
    let field = &Field { value: text.as_bytes(), ..field.clone() };
    let value = match () {
        () if OF_ADDRESSES.iter().any(|name| field.is(name)) => addresses(field)?,
        () if field.is("Content-Type") || field.is("Content-Disposition") => parameters(field)?,
        () => unstructured(&text),
    };
    let name = std::str::from_utf8(field.name).ok()?;
    // Decoded text may hold line ends, which would begin another field.
    let is_one = value.split(FOLD).all(|item| item.is_ascii() && !has_controls(item));
    is_one.then(|| format!("{name}: {value}\r\n").into_bytes())
}

fn text(field: &Field<'_>) -> String {
    match std::str::from_utf8(field.value) {
        Ok(text) => text.to_owned(),
        // Not UTF-8: most likely Latin-1, whose bytes are its characters.
        Err(_) => field.value.iter().map(|byte| char::from(*byte)).collect(),
    }
}

/// The whole field with its last line end, with blanks enough to be folded at; `None` when its syntax allows none.
pub(super) fn shortened(field: &Field<'_>) -> Option<Vec<u8>> {
    if field.value.len() > REWRITTEN_BYTES_MAX {
        return None;
    }
    let is_of_addresses = OF_ADDRESSES.iter().any(|name| field.is(name));
    if (is_of_addresses || is_structured(field))
        && let Some(separated) = separated(field)
    {
        return Some(separated);
    }
    let text = text(field);
    let anew = &Field { value: text.as_bytes(), ..field.clone() };
    let value = match () {
        () if is_of_addresses => addresses(anew)?,
        () if field.is("Content-Type") || field.is("Content-Disposition") => parameters(anew)?,
        () if is_structured(field) => return None,
        () => encoded_words(&anew.decoded()).replace(' ', "\r\n "),
    };
    let name = std::str::from_utf8(field.name).ok()?;
    Some(format!("{name}: {value}\r\n").into_bytes())
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
    // Where the line that is being written began, and where it may end.
    let (mut line, mut fold) = (0, None);
    let (mut is_quoted, mut is_escaped, mut depth) = (false, false, 0_usize);
    for (at, byte) in field.value.iter().copied().enumerate() {
        let was_blank = out.last().is_some_and(|last| matches!(last, b' ' | b'\t'));
        out.push(byte);
        match byte {
            b'\n' => (line, fold) = (out.len(), None),
            _ if is_escaped => is_escaped = false,
            b'\\' if is_quoted || depth > 0 => is_escaped = true,
            b'"' => is_quoted = !is_quoted,
            _ if is_quoted => {}
            b'(' | b'<' => depth += 1,
            b')' | b'>' => depth = depth.saturating_sub(1),
            b' ' | b'\t' if !was_blank && out.len() - 1 > line => fold = Some(out.len() - 1),
            _ => {}
        }
        let is_open = is_quoted || depth > 0;
        let next = field.value.get(at + 1).copied();
        let is_between = matches!((byte, next), (b',' | b';', Some(_)) | (b'>', Some(b'<')));
        if is_between && !is_open && !matches!(next, Some(b' ' | b'\t' | b'\r' | b'\n')) {
            fold = Some(out.len());
        }
        if out.len() - line >= LINE_BYTES_MAX && !matches!(next, None | Some(b'\r' | b'\n')) {
            let place = fold.or_else(|| is_of_base64.then_some(out.len()))?;
            let rest = out.split_off(place);
            out.extend_from_slice(b"\r\n");
            (line, fold) = (out.len(), None);
            if !matches!(rest.first(), Some(b' ' | b'\t')) {
                out.push(b'\t');
            }
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
    let written: Option<Vec<String>> = mailboxes(field).iter().map(mailbox).collect();
    written.map(|written| written.join(&format!(",{FOLD}"))).filter(|written| !written.is_empty())
}

fn mailbox(mailbox: &Mailbox) -> Option<String> {
    let address = match mailbox.address.parse::<Address>() {
        Ok(address) if !address.needs_smtputf8() => address.to_string(),
        Ok(_) => return None,
        Err(_) => Some(mailbox.address.clone()).filter(|address| address.is_ascii())?,
    };
    Some(match mailbox.name.as_str() {
        "" => address,
        name if name.is_ascii() && !has_controls(name) && name.len() <= PIECE_BYTES_MAX => {
            format!("\"{}\" <{address}>", name.replace('\\', "\\\\").replace('"', "\\\""))
        }
        name => format!("{} <{address}>", encoded_words(name)),
    })
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

/// The words from the first that is not ASCII to the last are encoded, the blanks between them too.
fn unstructured(text: &str) -> String {
    let text = text.replace(['\r', '\n'], "");
    let text = text.trim();
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
        check("From: Jörg <j@b.example>", Some("From: =?utf-8?B?SsO2cmc=?= <j@b.example>"));
        check(
            "To: a@b.example, \"B, Ö\" <b@ö.example>",
            Some("To: a@b.example,\r\n\t=?utf-8?B?Qiwgw5Y=?= <b@xn--nda.example>"),
        );
        check("Cc: ö@b.example", None);
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
