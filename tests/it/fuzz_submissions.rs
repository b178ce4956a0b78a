//! Hostile bytes for what a client says of its mail: its header, whose lines are made to fit, files of the cache that it
//! names, and what the client wants to be told; as `fuzz` runs them.

use bytes::Bytes;
use mail_parser::parsers::MessageStream;
use mail_parser::{Addr, Address as Parsed, HeaderValue};
use postback::mail::compose::{File, with_files};
use postback::mail::headers::{self, Field, legible};
use postback::mail::mend::{Need, mended};
use postback::mail::submitted::{Additions, kept, read};
use postback::model::address::Address;
use postback::smtp::command::envelope::{Hold, Mail, Rcpt};
use postback::smtp::command::{self, Command, Strictness};

use crate::fuzz::{canonical, corpus, fuzz, is_lines, line, lines_of_dialogs, must};

const ADDITIONS: Additions<'_> = Additions {
    received: "by mail.example",
    date: "Mon, 02 Mar 2026 08:15:00 +0000",
    message_id: "1@mail.example",
    from: "app@ours.example",
};

/// The names of a header's fields.
fn names(mail: &[u8]) -> Vec<String> {
    headers::fields(mail).map(|field| String::from_utf8_lossy(field.name).to_ascii_lowercase()).collect()
}

/// A header whose lines are made to fit, or ASCII, says what it said: field by field, as another reader sees it. Where that
/// reader makes of it what it likes (what is no address, or a parameter without quotes), it has at least its text.
#[test]
fn lines_of_headers() {
    let corpus = corpus("headers", []);
    fuzz(&corpus, 8_000, |input, dice| {
        // Bytes that are not UTF-8 are letters of an older charset, which that reader does not know.
        let mut header = canonical(legible(input).as_bytes());
        header.truncate(headers::body_start(&header));
        // What is no field is not taken.
        let is_field = |field: Field<'_>| !field.name.is_empty() && field.name.iter().all(u8::is_ascii_graphic);
        if !headers::fields(&header).all(is_field) {
            return Ok(());
        }
        if dice.below(2) == 0 {
            header = unfolded(&header);
        }
        for need in [Need::ShortLines, Need::Ascii] {
            let mended = mended(&header, need);
            let [before, after] = [&header[..], &mended[..]].map(said);
            let is_alike = |(before, after): &(&Said, &Said)| before.is_like(after);
            let differs = before.iter().zip(&after).find(|pair| !is_alike(pair));
            must(
                differs.is_none() && before.len() == after.len(),
                &format!("{need:?}: {differs:?}\n{}", mended.escape_ascii()),
            )?;
        }
        Ok(())
    });
}

/// The header with each field in one line.
fn unfolded(header: &[u8]) -> Vec<u8> {
    let line = |field: Field<'_>| {
        let whole = header[field.range].iter().copied().filter(|byte| !matches!(byte, b'\r' | b'\n'));
        whole.chain(*b"\r\n").collect::<Vec<_>>()
    };
    headers::fields(header).flat_map(line).collect()
}

/// What a field says.
#[derive(Debug)]
struct Said {
    name: String,
    value: Vec<String>,
    /// Its text, unfolded.
    text: String,
}

impl Said {
    fn is_like(&self, other: &Said) -> bool {
        let is_none =
            |said: &String| said.contains("<?") || said.ends_with("<>") || (said.ends_with(':') && said.contains('@'));
        let is_spoilt = self.name.starts_with("content-")
            || self.value.iter().any(is_none)
            || self.text.split([' ', '\t']).any(is_half_a_word);
        self.name == other.name && (self.value == other.value || (is_spoilt && self.text == other.text))
    }
}

/// Whether a word begins as an encoded word does (RFC 2047 section 2), and is none.
fn is_half_a_word(word: &str) -> bool {
    let inner = word.strip_prefix("=?").and_then(|word| word.strip_suffix("?="));
    let is_whole = inner.is_some_and(|inner| inner.split('?').count() == 3);
    word.contains("=?") && !is_whole
}

/// What each field of a header says, but for the one that is about the body's bytes.
fn said(header: &[u8]) -> Vec<Said> {
    let of_text = headers::fields(header).filter(|field| !field.is("Content-Transfer-Encoding"));
    let said = |field: Field<'_>| Said {
        name: String::from_utf8_lossy(field.name).to_ascii_lowercase(),
        value: value(&field),
        text: field.text(),
    };
    of_text.map(said).collect()
}

fn value(field: &Field<'_>) -> Vec<String> {
    const OF_ADDRESSES: [&str; 6] = ["From", "Sender", "Reply-To", "To", "Cc", "Resent-To"];
    let line = [field.value, b"\n"].concat();
    let mut reader = MessageStream::new(&line);
    if OF_ADDRESSES.iter().any(|name| field.is(name)) {
        return match reader.parse_address() {
            HeaderValue::Address(Parsed::List(people)) => people.iter().map(person).collect(),
            HeaderValue::Address(Parsed::Group(groups)) => {
                let told = |group: &mail_parser::Group<'_>| {
                    let name = group.name.iter().map(|name| format!("{name}:"));
                    name.chain(group.addresses.iter().map(person)).collect::<Vec<_>>()
                };
                groups.iter().flat_map(told).collect()
            }
            _ => Vec::new(),
        };
    }
    if field.is("Content-Type") || field.is("Content-Disposition") {
        let HeaderValue::ContentType(read) = reader.parse_content_type() else { return Vec::new() };
        let attributes = read.attributes().unwrap_or_default().iter();
        let attributes = attributes.map(|attribute| format!("{}={}", attribute.name, attribute.value));
        return [format!("{}/{:?}", read.ctype(), read.subtype())].into_iter().chain(attributes).collect();
    }
    let HeaderValue::Text(text) = reader.parse_unstructured() else { return Vec::new() };
    // A fold is a blank, where readers look for one.
    vec![text.split_ascii_whitespace().collect()]
}

/// An address as it is dialled, or, behind a question mark, the text that is none, without the blanks that were folded at.
fn person(person: &Addr<'_>) -> String {
    let address = |text: &str| match text.parse::<Address>() {
        Ok(address) => address.to_string(),
        Err(_) => format!("?{}", text.replace(' ', "")),
    };
    let address = person.address.as_deref().map(address).unwrap_or_default();
    format!("{} <{address}>", person.name.as_deref().unwrap_or_default())
}

/// A mail that files of the cache are added to is lines, and nothing that they are called gets into its header.
#[test]
fn names_of_files() {
    let corpus = corpus("headers", []);
    fuzz(&corpus, 15_000, |input, _| {
        let mail = canonical(input);
        let Ok(submitted) = read(&mail, "mail.example") else { return Ok(()) };
        let file = |name: &str| File {
            name: if name.is_empty() { "cached.pdf".to_owned() } else { name.to_owned() },
            content_type: "application/pdf".to_owned(),
            content: Bytes::from_static(b"%PDF"),
        };
        let files: Vec<File> = submitted.files.iter().map(|cached| file(&cached.name)).collect();
        let kept = kept(&mail, &submitted, &ADDITIONS);
        let Ok(whole) = with_files(&kept, &files, "=_edge_of_the_files") else { return Ok(()) };
        must(is_lines(&whole), "it is no text")?;
        let of_both = [names(&kept), names(&whole)].map(|names| {
            let is_of_body = |name: &String| name == "mime-version" || name.starts_with("content-");
            names.into_iter().filter(|name| !is_of_body(name)).collect::<Vec<_>>()
        });
        must(of_both[0] == of_both[1], "the header is another")
    });
}

/// What a client wants to be told, and when its mail is to go, is printable and within bounds.
#[test]
fn wishes() {
    let corpus = corpus("parameters", lines_of_dialogs());
    fuzz(&corpus, 500_000, |input, _| {
        let is_printable = |text: &str| text.bytes().all(|byte| matches!(byte, b' '..=b'~'));
        match command::parse(&line(input), Strictness::Lenient) {
            Ok(Command::Mail(Mail { envelope_id, hold, .. })) => {
                let id = envelope_id.unwrap_or_default();
                must(is_printable(&id) && id.len() <= 100, &format!("{id:?}"))?;
                let is_bounded = !matches!(hold, Some(Hold::For(time)) if time.as_secs() > 999_999_999);
                must(is_bounded, &format!("{hold:?}"))
            }
            Ok(Command::Rcpt(Rcpt { wish, .. })) => {
                let original = wish.original;
                let is_whole =
                    original.is_empty() || original.split_once(';').is_some_and(|(kind, _)| !kind.is_empty());
                must(is_printable(&original) && is_whole, &format!("{original:?}"))
            }
            _ => Ok(()),
        }
    });
}
