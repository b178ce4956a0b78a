//! Our signatures, verified by an implementation that shares no code with ours (dkimpy), over mails of every shape.
//!
//! `POSTBACK_MAILS=<folder> cargo test dkim` does the same with mails of your own.

use std::collections::BTreeMap;
use std::fs::DirEntry;
use std::path::Path;
use std::process::Command;

use postback::ids::IdSource;
use postback::mail::dkim::{Key, Signer, signatures};
use postback::mail::render::{Signature, render};
use postback::model::address::Mailbox;
use postback::model::id::{AgentId, DeliveryId, MessageId, TenantId};
use postback::model::message::{Facts, Message, Source, Tracking};
use postback::model::signing_key::SigningKey;
use postback::model::time::Timestamp;
use postback::model::token::{self, KeyRing};

const NOW: Timestamp = Timestamp::from_millis(1_700_000_000_000);
/// Debian's, for which the package is installed.
const PYTHON: &str = "/usr/bin/python3";

/// Keys of both algorithms, and their records.
struct House {
    signers: Vec<Signer>,
    keys: Vec<SigningKey>,
}

impl House {
    fn new() -> Self {
        let ids = IdSource::seeded(7);
        let mut house = Self { signers: Vec::new(), keys: Vec::new() };
        for (selector, pkcs8) in [("rsa", ids.rsa_key()), ("ed", ids.ed25519_key())] {
            let key = Key::from_pkcs8(&pkcs8).unwrap();
            house.keys.push(key.described(TenantId::from_bytes([1; 16]), "example.com", selector, NOW).unwrap());
            house.signers.push(Signer { domain: "example.com".into(), selector: selector.into(), key });
        }
        house
    }

    fn signed(&self, mail: &[u8]) -> Vec<u8> {
        [signatures(mail, &self.signers, NOW).as_bytes(), mail].concat()
    }

    /// What dkimpy says of each of these mails.
    fn verdicts(&self, mails: &BTreeMap<String, Vec<u8>>) -> BTreeMap<String, String> {
        let folder = tempfile::tempdir().unwrap();
        let records = folder.path().join("records");
        let lines: Vec<String> =
            self.keys.iter().map(|key| format!("{}\t{}\n", key.record_name(), key.record())).collect();
        std::fs::write(&records, lines.concat()).unwrap();
        let mut command = Command::new(PYTHON);
        command.arg(Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/dkim/verify.py")).arg(records);
        for (name, mail) in mails {
            let path = folder.path().join(name);
            // As it arrives: the last line has its end.
            let line_end: &[u8] = if mail.ends_with(b"\r\n") { b"" } else { b"\r\n" };
            std::fs::write(&path, [mail, line_end].concat()).unwrap();
            command.arg(path);
        }
        let output = command.output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        let text = String::from_utf8(output.stdout).unwrap();
        text.lines().map(|line| line.split_once('\t').unwrap()).map(|(a, b)| (a.to_owned(), b.to_owned())).collect()
    }

    fn check(&self, mails: &BTreeMap<String, Vec<u8>>) {
        let signed = mails.iter().map(|(name, mail)| (name.clone(), self.signed(mail))).collect();
        let verdicts = self.verdicts(&signed);
        assert_eq!(verdicts.len(), mails.len());
        let wrong: Vec<_> = verdicts.iter().filter(|(_, verdict)| !verdict.starts_with("pass, pass")).collect();
        assert!(wrong.is_empty(), "{} of {}: {wrong:#?}", wrong.len(), mails.len());
    }
}

/// Every header with every body.
fn shapes() -> BTreeMap<String, Vec<u8>> {
    let long = "x".repeat(990);
    let headers = [
        "From: a@example.com\r\nSubject: x\r\n".to_owned(),
        "From: a@example.com\r\nTo: b@example.org\r\nSubject: x\r\nDate: Mon, 02 Mar 2026 08:15:00 +0000\r\nMessage-ID: <1@example.com>\r\n".to_owned(),
        "From:a@example.com\r\nSubject:   many   blanks\t\ttabs  \r\nTo: b@example.org,\r\n\tc@example.org,\r\n d@example.org\r\n".to_owned(),
        "FROM: a@example.com\r\nSUBJECT: case\r\nMime-version: 1.0\r\ncontent-TYPE: text/plain;\r\n charset=utf-8\r\n".to_owned(),
        "From: \"Gr\u{fc}\u{df}e\" <a@example.com>\r\nSubject: \u{e4}\u{f6}\u{fc}\r\n".to_owned(),
        "From: a@example.com\r\nSubject:\r\nTo:\r\n".to_owned(),
        "Received: by x\r\nReceived: by y\r\nFrom: a@example.com\r\nReferences: <1@x>\r\n <2@x>\r\nReferences: <3@x>\r\nX-Other: z\r\n".to_owned(),
        format!("From: a@example.com\r\nSubject: {long}\r\n {long}\r\n"),
        "From: a@example.com\r\nSubject: \r\n folded at once\r\nList-Unsubscribe: <https://example.com/u>\r\nList-Unsubscribe-Post: List-Unsubscribe=One-Click\r\n".to_owned(),
        "From: a@example.com\r\nDKIM-Signature: v=1; a=rsa-sha256; d=other.example; s=x; h=From; bh=AAAA; b=AAAA\r\nSubject: x\r\n".to_owned(),
    ];
    let bodies = [
        "".to_owned(),
        "\r\n".to_owned(),
        "\r\n\r\n\r\n".to_owned(),
        "hello\r\n".to_owned(),
        "hello".to_owned(),
        "hello\r\n\r\n\r\n".to_owned(),
        "hello\r\n  \r\n\t\r\n".to_owned(),
        "hello  \r\n  world\t\t \r\n".to_owned(),
        "\r\n\r\nhello\r\n".to_owned(),
        ".\r\n..\r\n.dot\r\n".to_owned(),
        "a  b\tc \t d\r\n".to_owned(),
        "\u{e4}\u{f6}\u{fc} \u{1f600}\r\n".to_owned(),
        format!("{}\r\n", "y".repeat(5000)),
        format!("{long}\r\n{long}\r\n"),
        "line one\r\n\r\n\r\nline two\r\n \r\nline three".to_owned(),
        "From: not a header\r\nSubject: nor this\r\n".to_owned(),
        " \r\n".to_owned(),
        "\t".to_owned(),
        format!("{}\r\n", "word ".repeat(20_000)),
        "--b\r\nContent-Type: text/html\r\n\r\n<p>=20</p>\r\n--b--\r\n".to_owned(),
        format!("{}end\r\n", "\r\n".repeat(10_000)),
    ];
    let mut mails = BTreeMap::new();
    for (place, header) in headers.iter().enumerate() {
        for (number, body) in bodies.iter().enumerate() {
            mails.insert(format!("{place}-{number}"), format!("{header}\r\n{body}").into_bytes());
        }
    }
    mails.insert("no-body".to_owned(), headers[0].clone().into_bytes());
    mails.insert("latin".to_owned(), b"From: a@example.com\r\nSubject: \xe4\xf6\r\n\r\n\xfc \xff\r\n".to_vec());
    mails
}

#[test]
fn more_than_two_hundred_shapes_are_verified_by_another_implementation() {
    let mails = shapes();
    assert!(mails.len() > 200);
    House::new().check(&mails);
}

/// What dkimpy says of `mail`, signed and then changed in each of these ways.
fn no_change_passes(mail: &[u8], changes: &[(&str, &str)]) {
    let house = House::new();
    let signed = String::from_utf8(house.signed(mail)).unwrap();
    let mut mails = BTreeMap::from([("unchanged".to_owned(), signed.clone().into_bytes())]);
    for (from, to) in changes {
        assert!(signed.contains(from), "{from:?} is not in it");
        mails.insert(format!("{}", mails.len()), signed.replace(from, to).into_bytes());
    }
    for (place, verdict) in house.verdicts(&mails) {
        assert_eq!(verdict.contains("pass"), place == "unchanged", "{place}: {verdict}");
    }
}

#[test]
fn a_change_is_noticed_and_so_is_an_added_field() {
    no_change_passes(
        b"From: a@example.com\r\nSubject: x\r\n\r\nhello\r\n",
        &[
            ("hello", "hallo"),
            ("Subject: x", "Subject: y"),
            ("From: a@", "From: b@"),
            ("Subject: x", "Subject: x\r\nSubject: y"),
        ],
    );
}

#[test]
fn unsubscribing_with_one_click_is_under_our_signature() {
    let facts = Facts { list_unsubscribe: true, ..facts() };
    let mail = rendered(facts, b"From: a@example.com\r\nSubject: x\r\n\r\nhello\r\n");
    let link = "List-Unsubscribe: <https://t.example.com/u/";
    let post = "List-Unsubscribe-Post: List-Unsubscribe=One-Click\r\n";
    no_change_passes(
        &mail,
        &[
            (link, "List-Unsubscribe: <https://other.example/u/"),
            (post, ""),
            (
                post,
                "List-Unsubscribe: <https://other.example/>\r\nList-Unsubscribe-Post: List-Unsubscribe=One-Click\r\n",
            ),
            ("List-Unsubscribe: <https", "X-List: <https"),
        ],
    );
}

/// What is known of a mail with tracking.
fn facts() -> Facts {
    let tracking = Tracking {
        opens: true,
        clicks: true,
        base_url: "https://t.example.com".into(),
        key_id: 1,
        ..Tracking::default()
    };
    Facts { from: Mailbox::bare("a@example.com"), tracking, ..Facts::default() }
}

/// The copy of its first recipient.
fn rendered(facts: Facts, content: &[u8]) -> Vec<u8> {
    let ring = KeyRing::new(vec![token::Key { id: 1, secret: [1; 32] }]);
    let id = MessageId::from_bytes([5; 16]);
    let message = Message {
        id,
        tenant: TenantId::from_bytes([1; 16]),
        agent: AgentId::from_bytes([2; 16]),
        agent_key: "a".into(),
        source: Source::Smtp,
        accepted_at: NOW,
        facts,
        size_bytes: 0,
    };
    let delivery = DeliveryId { message: id, recipient: 0 };
    render(content, &message, delivery, "b.example.com", &ring, Signature::Follows).unwrap().bytes
}

#[test]
fn rendered_mails_are_verified() {
    let house = House::new();
    let folder = std::env::var_os("POSTBACK_MAILS")
        .map_or(Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/rewrite"), std::path::PathBuf::from);
    let is_mail = |entry: &DirEntry| entry.path().extension().is_some_and(|ending| ending == "eml");
    let mut signed = BTreeMap::new();
    for entry in std::fs::read_dir(folder).unwrap().flatten().filter(is_mail) {
        let mail = rendered(facts(), &std::fs::read(entry.path()).unwrap());
        signed.insert(entry.file_name().to_string_lossy().into_owned(), house.signed(&mail));
    }
    assert!(!signed.is_empty());
    let verdicts = house.verdicts(&signed);
    // What came with a signature of another domain keeps it; ours stand on top. A header that dkimpy does not read at all
    // tells nothing.
    let (unreadable, read): (Vec<_>, Vec<_>) =
        verdicts.iter().partition(|(_, verdict)| verdict.starts_with("unreadable"));
    let wrong: Vec<_> = read.iter().filter(|(_, verdict)| !verdict.starts_with("pass, pass")).collect();
    assert!(wrong.is_empty(), "{} of {}: {wrong:#?}", wrong.len(), signed.len());
    eprintln!("{} verified, {} that dkimpy does not read", read.len(), unreadable.len());
}
