//! Headers, parts and encodings, whole and broken.

use super::*;

#[track_caller]
fn check_lines(mail: &[u8], expected: &[u8]) {
    assert_eq!(with_line_feeds(mail).as_ref(), expected, "{}", mail.escape_ascii());
}

#[test]
fn lines_end_in_line_feeds() {
    check_lines(b"a\r\nb\r\r\nc", b"a\nb\nc");
    check_lines(b"a\rb\r", b"a\nb\n");
    check_lines(b"a\rb\n", b"a\rb\n");
    check_lines(b"a\nb", b"a\nb");
    assert_eq!(with_line_feeds(&vec![b'x'; BYTES_MAX + 1]).len(), BYTES_MAX);
}

#[track_caller]
fn check_head(mail: &str, subject: Option<&str>, body: &str) {
    let (head, rest) = Head::read(mail.as_bytes());
    assert_eq!((head.text("subject").as_deref(), std::str::from_utf8(rest).unwrap()), (subject, body), "{mail}");
}

#[test]
fn headers_are_read() {
    check_head("Subject: a\n b\nTo: c\n\nbody", Some("a b"), "body");
    check_head("\nFrom x Mon Jan  1\nSUBJECT : a\n\nbody", Some("a"), "body");
    check_head("Subject: =?utf-8?B?w6k=?= =?iso-8859-1?Q?=E9?=\n\n", Some("éé"), "");
    check_head("Subject: a\nno header here\n", Some("a"), "no header here\n");
    check_head("Subject: a\nnot indented\nReceived: b\n\nbody", Some("a"), "body");
    check_head("", None, "");
}

/// The types and texts of the leaves.
#[track_caller]
fn check_parts(mail: &str, expected: &[(&str, &str)]) {
    let (head, body) = Head::read(mail.as_bytes());
    let (_, leaves) = parts(&head, body);
    let leaves: Vec<(String, String)> =
        leaves.into_iter().map(|part| (part.media.clone(), part.text().trim().to_owned())).collect();
    let leaves: Vec<(&str, &str)> = leaves.iter().map(|(media, text)| (media.as_str(), text.as_str())).collect();
    assert_eq!(leaves, expected, "{mail}");
}

#[test]
fn parts_are_split() {
    let two = [("text/plain", "a"), ("text/html", "b")];
    let lines = "--x\n\na\n--x\nContent-Type: text/html\n\nb\n";
    check_parts(&format!("Content-Type: multipart/mixed; boundary=x\n\npreamble\n{lines}--x--\nepilogue"), &two);
    check_parts(&format!("Content-Type: multipart/mixed;\n boundary=\"x\"\n\n{lines}"), &two);
    check_parts(
        "Content-Type: text/plain\n\n--x\nContent-Type: text/html\n\nb",
        &[("text/plain", "--x\nContent-Type: text/html\n\nb")],
    );
    check_parts("Subject: a\n\n--boundary\nContent-Type: text/html\n\nb\n--boundary--", &[("text/html", "b")]);
    check_parts(
        "Content-Type: multipart/mixed; boundary=x\n\n--x\nReceived: a\nFrom: b\n\nc",
        &[("message/rfc822", "Received: a\nFrom: b\n\nc")],
    );
}

#[test]
fn encodings_are_undone() {
    let encoded = |kind: &str, charset: &str, text: &str| {
        format!("Content-Type: text/plain; charset={charset}\nContent-Transfer-Encoding: {kind}\n\n{text}")
    };
    check_parts(&encoded("base64", "utf-8", "w6kg\n!w6k="), &[("text/plain", "é é")]);
    check_parts(&encoded("quoted-printable", "iso-8859-1", "=E9 =\n=3D =xy ="), &[("text/plain", "é = =xy")]);
    check_parts(&encoded("7bit", "us-ascii", "\u{1b}$B$\"\u{1b}(B"), &[("text/plain", "あ")]);
    check_parts(&encoded("8bit", "koi8-r", "é"), &[("text/plain", "é")]);
}
