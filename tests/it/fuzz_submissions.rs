//! Hostile bytes for what a client says of its mail: files of the cache that the header names, and what it wants to be
//! told; as `fuzz` runs them.

use bytes::Bytes;
use postback::mail::compose::{File, with_files};
use postback::mail::headers;
use postback::mail::submitted::{Additions, kept, read};
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
