//! Whole mails: what is not a link or the pixel must be there byte for byte, and what is signed or encrypted whole.

use std::fs;
use std::path::Path;

use mail_parser::{MessageParser, MimeHeaders};
use postback::mail::preview::{Demonstration, WANTED};
use postback::mail::rewrite::rewrite;

use super::unharmed::unharmed;
use super::{Line, files};

pub(super) fn figures(folder: &Path) -> anyhow::Result<Vec<Line>> {
    let (mut kept, mut all, mut tracked, mut sealed_kept, mut sealed, mut twice) = (0, 0, 0, 0, 0, 0);
    for path in files(&folder.join("mime"), "eml") {
        let mail = fs::read(&path)?;
        let done = rewrite(&mail, &WANTED, &mut Demonstration::default());
        all += 1;
        tracked += usize::from(*done.bytes != *mail);
        match unharmed(&mail, &done) {
            Ok(_) => kept += 1,
            Err(harm) => eprintln!("{}: {harm}", path.display()),
        }
        if is_sealed(&mail) {
            sealed += 1;
            sealed_kept += usize::from(*done.bytes == *mail);
        }
        let again = rewrite(&done.bytes, &WANTED, &mut Demonstration::default());
        twice += usize::from(*again.bytes == *done.bytes);
    }
    if all == 0 {
        return Ok(Vec::new());
    }
    Ok(vec![
        Line::told("mails: rewritten", tracked, all),
        Line::new("mails: bytes outside the spliced spans identical", kept, all, 100.0),
        Line::new("mails, signed or encrypted: wholly identical", sealed_kept, sealed, 100.0),
        Line::new("mails: a second rewriting changes nothing", twice, all, 100.0),
    ])
}

fn is_sealed(mail: &[u8]) -> bool {
    let Some(parsed) = MessageParser::default().parse(mail) else { return false };
    let sealing = |part: &mail_parser::MessagePart<'_>| {
        part.content_type().is_some_and(|kind| {
            let subtype = kind.subtype().unwrap_or_default().to_ascii_lowercase();
            matches!(subtype.as_str(), "signed" | "encrypted" | "pkcs7-mime" | "x-pkcs7-mime")
        })
    };
    parsed.parts.iter().any(sealing)
}
