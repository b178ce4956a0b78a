//! Hostile bytes for what makes mail tracked and opens links again: mutations of a stored corpus, as `fuzz` runs them.

use mail_parser::Encoding;
use postback::mail::preview::{Demonstration, WANTED};
use postback::mail::rewrite::{Rewritten, Wanted, rewrite};
use postback::mail::target::location;
use postback::model::id::{DeliveryId, MessageId};
use postback::model::token::{Key, KeyRing, Reference, Sealer, open};

use crate::fuzz::{corpus, fuzz, must};
use crate::unharmed::{compared, unharmed};

fn rewritten<'m>(mail: &'m [u8], wanted: &Wanted<'_>) -> Rewritten<'m> {
    rewrite(mail, wanted, &mut Demonstration::default())
}

#[test]
fn golden_mails_keep_every_other_byte() {
    for mail in golden() {
        unharmed(&mail, &rewritten(&mail, &WANTED)).unwrap();
    }
}

/// 6: whole mails. What stays is the mail itself, and a second rewriting changes nothing.
#[test]
fn mails() {
    // A scheme that asks not to be tracked is gone after the first time, and the link then like any other.
    let plain = |mail: Vec<u8>| String::from_utf8(mail).map(|mail| mail.replace("+notrack", "").into_bytes()).ok();
    let corpus = corpus("mails", golden().into_iter().filter_map(plain));
    fuzz(&corpus, 30_000, |input, dice| {
        let wanted = Wanted { text_clicks: dice.below(2) == 0, pixel_on_top: dice.below(2) == 0, ..WANTED };
        let done = rewritten(input, &wanted);
        must(!done.links.is_empty() || done.pixel || *done.bytes == *input, "changed without a link or pixel")?;
        must(*rewritten(&done.bytes, &wanted).bytes == *done.bytes, "a second rewriting changes it")
    });
}

fn golden() -> Vec<Vec<u8>> {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/rewrite");
    let files = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    let mut mails: Vec<_> = files.filter(|path| path.extension().is_some_and(|ending| ending == "eml")).collect();
    mails.sort();
    mails.into_iter().map(|path| std::fs::read(path).unwrap()).collect()
}

/// 7: one HTML body in each encoding: all bytes but links and pixel are there, spelled as they were.
#[test]
fn pages() {
    let corpus = corpus("pages", []);
    fuzz(&corpus, 60_000, |input, dice| {
        const ENCODINGS: [(&str, Encoding); 2] =
            [("8bit", Encoding::None), ("quoted-printable", Encoding::QuotedPrintable)];
        const CHARSETS: [&str; 4] = ["utf-8", "iso-8859-1", "iso-2022-jp", "shift_jis"];
        let (name, encoding) = ENCODINGS[dice.below(ENCODINGS.len())];
        let charset = CHARSETS[dice.below(CHARSETS.len())];
        let head = format!("Content-Type: text/html; charset={charset}\r\nContent-Transfer-Encoding: {name}\r\n\r\n");
        let mail = [head.as_bytes(), input].concat();
        let done = rewritten(&mail, &WANTED);
        must(done.bytes.starts_with(head.as_bytes()), "the header is another one")?;
        let body = &done.bytes[head.len()..];
        if body == input {
            return must(done.links.is_empty() && !done.pixel, "what was told is not there");
        }
        let (places, left) = compared(input, body, encoding, &done.links)?;
        must(left.is_empty() && places.len() == done.links.len(), "a link was told that is not there")?;
        for link in &done.links {
            let ascii = location(&link.target);
            must(ascii.bytes().all(|byte| byte.is_ascii_graphic()), "a redirect is not one visible word")?;
        }
        Ok(())
    });
}

/// 13: a token is opened only when it is one that was sealed, letter for letter.
#[test]
fn tokens() {
    let ring = KeyRing::new((0..3).map(|id| Key { id: id * 7, secret: [id; 32] }).collect());
    let delivery = DeliveryId { message: MessageId::from_bytes([7; 16]), recipient: 513 };
    let target = || "https://shop.example.com/orders/17?ref=mail".to_owned();
    let references = [
        Reference::Open,
        Reference::Click { link: 3, target: target() },
        Reference::TextClick { link: 300, target: target() },
        Reference::Unsubscribe,
    ];
    let sealed = |key_id| {
        let sealer = Sealer::new(&ring, key_id, "t.example.com").unwrap();
        references.iter().map(move |reference| sealer.seal(delivery, reference).into_bytes()).collect::<Vec<_>>()
    };
    let good: Vec<Vec<u8>> = [0, 7, 14].into_iter().flat_map(sealed).collect();
    fuzz(&good, 800_000, |input, _| {
        let Ok(text) = std::str::from_utf8(input) else { return Ok(()) };
        let is_good = good.iter().any(|good| good == input);
        match open(&ring, "T.example.com", text) {
            Some((opened, _)) => must(is_good && opened == delivery, "opened what nobody sealed")?,
            None => must(!is_good, "did not open what was sealed")?,
        }
        must(open(&ring, "other.example.com", text).is_none(), "opened under another host")
    });
}
