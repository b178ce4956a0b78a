//! One field of a header, written in ASCII: encoded words (RFC 2047), encoded parameters (RFC 2231), A-labels.

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

/// What stands between two items of a list.
const FOLD: &str = "\r\n\t";

/// The whole field with its last line end; `None` when ASCII cannot say it.
pub(super) fn in_ascii(field: &Field<'_>) -> Option<Vec<u8>> {
    let text = match std::str::from_utf8(field.value) {
        Ok(text) => text.to_owned(),
        // Not UTF-8: most likely Latin-1, whose bytes are its characters.
        Err(_) => field.value.iter().map(|byte| char::from(*byte)).collect(),
    };
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
        name if name.is_ascii() && !has_controls(name) => {
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
            () if is_token(value) => format!(";{FOLD}{name}={value}"),
            () if value.is_ascii() && !has_controls(value) && !value.contains(['"', '\\']) => {
                format!(";{FOLD}{name}=\"{value}\"")
            }
            () => format!(";{FOLD}{name}*=utf-8''{}", percent(value)),
        };
    }
    Some(written)
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
