//! What parts become, read back by another's parser.

use super::*;
use mail_parser::{MessageParser, MimeHeaders};

const ID: &str = "1.m1@acme.example";

fn plain() -> Parts {
    Parts {
        from: Mailbox { address: "billing@acme.example".into(), name: "Acme".into() },
        to: vec![Mailbox::bare("reader@example.com")],
        subject: "s".into(),
        text: Some("Hi".into()),
        ..Parts::default()
    }
}

fn written(parts: &Parts) -> String {
    let bytes = compose(parts, Timestamp::from_millis(1_772_439_300_000), ID).unwrap();
    let text = String::from_utf8(bytes).unwrap();
    assert!(text.split("\r\n").all(|line| line.len() <= 998 && !line.contains(['\r', '\n', '\0'])), "{text}");
    text
}

fn file(name: &str, content_type: &str) -> File {
    File { name: name.into(), content_type: content_type.into(), content: Bytes::from_static(b"a\r\n\0\xff") }
}

#[test]
fn a_plain_mail_byte_for_byte() {
    let parts = Parts {
        cc: vec![Mailbox { address: "C@EXAMPLE.com".into(), name: "C, the \"third\"".into() }],
        reply_to: vec![Mailbox::bare("help@acme.example")],
        headers: vec![("X-Order".into(), "12".into())],
        ..plain()
    };
    assert_eq!(
        written(&parts),
        "From: \"Acme\" <billing@acme.example>\r\nTo: <reader@example.com>\r\n\
         Cc: \"C, the \\\"third\\\"\" <C@example.com>\r\nReply-To: <help@acme.example>\r\nSubject: s\r\n\
         Date: Mon, 02 Mar 2026 08:15:00 +0000\r\nMessage-ID: <1.m1@acme.example>\r\nX-Order: 12\r\n\
         MIME-Version: 1.0\r\nContent-Type: text/plain; charset=\"utf-8\"\r\n\
         Content-Transfer-Encoding: 7bit\r\n\r\nHi"
    );
}

#[test]
fn the_parts_nest_and_come_back_as_they_were() {
    let picture = |cid: &str| Inline { cid: cid.into(), file: file("", "image/png") };
    let parts = Parts {
        html: Some("<p>Grüße</p>\n.\n<img src=\"cid:logo1\">".into()),
        text: Some("lone\r.\n\0end".into()),
        attachments: vec![file("Übersicht 12.pdf", "application/pdf"), file("", "")],
        inline_images: vec![picture("logo1")],
        ..plain()
    };
    let text = written(&parts);
    assert_eq!(text, written(&parts));
    let mail = MessageParser::new().parse(text.as_bytes()).unwrap();
    let types = mail.parts.iter().map(|part| {
        let kind = part.content_type().unwrap();
        format!("{}/{}", kind.ctype(), kind.subtype().unwrap_or_default())
    });
    assert_eq!(
        types.collect::<Vec<_>>(),
        [
            "multipart/mixed",
            "multipart/alternative",
            "text/plain",
            "multipart/related",
            "text/html",
            "image/png",
            "application/pdf",
            "application/octet-stream"
        ]
    );
    assert_eq!(mail.body_html(0).unwrap(), "<p>Grüße</p>\r\n.\r\n<img src=\"cid:logo1\">");
    assert_eq!(mail.body_text(0).unwrap(), "lone\r\n.\r\n\u{fffd}end");
    assert_eq!(mail.parts[5].content_id(), Some("logo1"));
    assert_eq!(mail.parts[6].attachment_name(), Some("Übersicht 12.pdf"));
    assert_eq!(mail.parts[6].contents(), b"a\r\n\0\xff");
}

#[test]
fn text_of_headers_survives() {
    let long = "δ".repeat(700) + &"y".repeat(600);
    for subject in ["", " ", "Grüße, № 4711 😀", "=?utf-8?Q?not_encoded?=", "a\u{760d}\u{760a}b\u{85}\u{2028}c", &long]
    {
        let parts = Parts { subject: subject.into(), ..plain() };
        let text = written(&parts);
        let mail = MessageParser::new().parse(text.as_bytes()).unwrap();
        assert_eq!(mail.subject().unwrap_or_default().trim(), subject.trim(), "{text}");
    }
    let run = Parts { subject: "y".repeat(3_000), ..plain() };
    assert_eq!(MessageParser::new().parse(written(&run).as_bytes()).unwrap().subject(), Some(run.subject.as_str()));
}

#[test]
fn only_hidden_recipients() {
    assert!(written(&Parts { to: vec![], ..plain() }).contains("\r\nTo: undisclosed-recipients:;\r\n"));
}

fn refused(change: impl FnOnce(&mut Parts)) -> Unfit {
    let mut parts = plain();
    change(&mut parts);
    compose(&parts, Timestamp::default(), ID).unwrap_err()
}

#[test]
fn line_breaks_never_reach_a_header() {
    const EVIL: &str = "x\r\nBcc: v@e.example";
    let control = |field| Unfit::Control { field };
    assert_eq!(refused(|parts| parts.subject = EVIL.into()), control(Field::Subject));
    assert_eq!(refused(|parts| parts.subject = "x\0".into()), control(Field::Subject));
    assert_eq!(refused(|parts| parts.from.name = EVIL.into()), control(Field::From));
    assert_eq!(refused(|parts| parts.headers.push(("X-A".into(), EVIL.into()))), control(Field::Headers));
    let name = EVIL.to_owned();
    assert_eq!(refused(|parts| parts.headers.push((EVIL.into(), "x".into()))), Unfit::HeaderName { name });
    assert_eq!(refused(|parts| parts.attachments.push(file(EVIL, ""))), control(Field::Attachments));
    assert!(matches!(refused(|parts| parts.attachments.push(file("a", EVIL))), Unfit::ContentType { .. }));
    let picture = Inline { cid: EVIL.into(), file: file("", "image/png") };
    assert!(matches!(refused(|parts| parts.inline_images.push(picture)), Unfit::ContentId { .. }));
    let address = "\"a\r\nRCPT TO:<x>\"@b.example";
    assert!(matches!(refused(|parts| parts.to[0].address = address.into()), Unfit::Address { field: Field::To, .. }));
}

#[test]
fn what_cannot_be_set() {
    for name in ["From", "SENDER", "DKIM-Signature", "Content-Type", "Message-ID", "X-Postback-Tag", "ARC-Seal"] {
        let refused = refused(|parts| parts.headers.push((name.into(), "x".into())));
        assert_eq!(refused, Unfit::HeaderReserved { name: name.into() });
    }
    for name in ["", "a b", "a:b", "é", "x\u{7f}"] {
        assert!(matches!(refused(|parts| parts.headers.push((name.into(), "x".into()))), Unfit::HeaderName { .. }));
    }
    for name in ["../../x", "C:\\x", ".."] {
        assert!(matches!(refused(|parts| parts.attachments.push(file(name, ""))), Unfit::FileName { .. }));
    }
    for kind in ["x", "a/", "/b", "text/plain; charset=\"a", "text/plain;", "multipart/mixed", "a/b;c=(d)"] {
        assert!(
            matches!(refused(|parts| parts.attachments.push(file("x", kind))), Unfit::ContentType { .. }),
            "{kind}"
        );
    }
    let long = "x".repeat(HEADER_RUN_BYTES_MAX + 1);
    assert!(matches!(refused(|parts| parts.headers.push(("X-A".into(), long))), Unfit::TooLong { .. }));
    assert!(matches!(refused(|parts| parts.subject = "x".repeat(4_001)), Unfit::TooLong { .. }));
}

#[test]
fn types_that_files_may_have() {
    for (kind, expected) in [
        ("", "application/octet-stream"),
        ("text/calendar; method=REQUEST; charset=\"utf-8\"", "text/calendar; method=REQUEST; charset=\"utf-8\""),
        ("Message/RFC822", "application/octet-stream"),
    ] {
        assert_eq!(file_type(Field::Attachments, &file("x", kind)), Ok(expected));
    }
}

#[test]
fn files_join_a_whole_mail() {
    let check = |mail: &str, expected: &[&str]| {
        let files = [file("Übersicht 12.pdf", "application/pdf"), file("", "")];
        let bytes = with_files(mail.as_bytes(), &files, "=_edge").unwrap();
        let parsed = MessageParser::new().parse(&bytes).unwrap();
        assert_eq!(parsed.attachment_count(), 2);
        assert_eq!(parsed.attachment(0).unwrap().attachment_name(), Some("Übersicht 12.pdf"));
        assert_eq!(parsed.attachment(1).unwrap().contents(), b"a\r\n\0\xff");
        let text = String::from_utf8(bytes).unwrap();
        for expected in expected {
            assert!(text.contains(expected), "{expected}\n{text}");
        }
        assert!(
            !text.contains('\n') || text.split("\r\n").all(|line| line.len() <= 998 && !line.contains('\n')),
            "{text}"
        );
    };
    check(
        "Subject: a\r\nTo: b@c.example\r\n\r\nHello",
        &[
            "Subject: a\r\nTo: b@c.example\r\nMIME-Version: 1.0\r\nContent-Type: multipart/mixed; boundary=\"=_edge\"\r\n\r\n\
         --=_edge\r\n\r\nHello\r\n--=_edge\r\n",
        ],
    );
    check(
        "MIME-Version: 1.0\r\nSubject: a\r\nContent-Type: text/html;\r\n charset=utf-8\r\n\r\n<p>Hello</p>\r\n",
        &["--=_edge\r\nContent-Type: text/html;\r\n charset=utf-8\r\n\r\n<p>Hello</p>\r\n\r\n--=_edge\r\n"],
    );
    check(
        "Content-type: multipart/alternative; boundary=b\r\n\r\n--b\r\n\r\none\r\n--b\r\n\r\ntwo\r\n--b--\r\n",
        &["--=_edge\r\nContent-type: multipart/alternative; boundary=b\r\n\r\n--b\r\n\r\none"],
    );
}
