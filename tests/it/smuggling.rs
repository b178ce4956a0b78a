//! Smuggled mail, with Debian's Postfix as the next hop: whatever we take is one message there, never two.
//!
//! Every ending of a text that some server has taken for its end stands before a second mail, by DATA and by BDAT, on a
//! listener that refuses a lone LF and on one that forgives it, and in the text of a mail by HTTP. What Postfix makes of what
//! we send on comes out at an exchanger behind it, and must be as many mails as we promised, none to the smuggler's victim.

use postback::smtp::settings::LineEndings;

use crate::exchanger::{Exchanger, Script};
use crate::support::agent::{self, Agent};
use crate::support::postfix::Postfix;
use crate::support::submitter::Submitter;

/// What has been taken for the end of a text: by the scanners for SMTP smuggling of 2023, in either direction, and more
/// of the kind.
const ENDINGS: [&str; 23] = [
    "\n.\n",
    "\n.\r\n",
    "\r\n.\n",
    "\r.\r",
    "\r.\r\n",
    "\r\n.\r",
    "\r.\n",
    "\n.\r",
    "\r\n\0.\r\n",
    "\r\n.\0\r\n",
    "\0\r\n.\r\n\0",
    "\r\r\n.\r\r\n",
    "\r\n.\r\r\n",
    "\r\n\r.\r\n",
    "\n\n.\r\n",
    "\r\n.\n\r\n",
    "\n\r.\r\n",
    "\r\n\u{85}.\r\n",
    "\u{2028}.\u{2028}",
    "\r\n..\r\n",
    "\r\n. \r\n",
    "\r\n.\t\r\n",
    "\u{b}.\u{b}",
];

fn smuggled(number: usize, ending: &str) -> Vec<u8> {
    format!(
        "From: app@tests.example\r\nTo: reader@example.com\r\nSubject: number {number}\r\n\r\nbefore{ending}\
         MAIL FROM:<app@tests.example>\r\nRCPT TO:<victim@example.com>\r\nDATA\r\nSubject: smuggled\r\n\r\nafter\r\n"
    )
    .into_bytes()
}

/// Hands the text in by DATA, dots doubled as an honest client does where lines begin; whether it was promised.
fn by_data(agent: &Agent, key: &str, door: usize, text: &[u8]) -> bool {
    let mut client = Submitter::sign_in(agent.addresses("smtp")[door], key).unwrap();
    for command in ["MAIL FROM:<app@tests.example>", "RCPT TO:<reader@example.com>", "DATA"] {
        client.say(command).unwrap();
    }
    client.finish(text).is_ok()
}

fn by_bdat(agent: &Agent, key: &str, door: usize, text: &[u8]) -> bool {
    let mut client = Submitter::sign_in(agent.addresses("smtp")[door], key).unwrap();
    for command in ["MAIL FROM:<app@tests.example>", "RCPT TO:<reader@example.com>"] {
        client.say(command).unwrap();
    }
    client.chunk(text).is_ok()
}

/// Hands the same in by HTTP, as the text of a mail; whether it was promised.
fn by_http(agent: &Agent, key: &str, text: &[u8]) -> bool {
    let mail = serde_json::json!({
        "from": "app@tests.example",
        "to": "reader@example.com",
        "subject": "by HTTP",
        "text": String::from_utf8_lossy(text),
    });
    agent::post(agent.address("http"), "/api/v1/emails", key, &mail.to_string()).is_ok()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_message_stays_one_behind_postfix() {
    let exchanger = Exchanger::start(Script::polite()).await;
    let postfix = Postfix::start(exchanger.address.port(), "");
    let folder = tempfile::tempdir().unwrap();
    let listener = |line_endings: LineEndings| {
        let line_endings = if line_endings == LineEndings::Reject { "reject" } else { "normalize" };
        format!(
            "[[smtp.listeners]]\naddress = \"127.0.0.1:0\"\nkind = \"submission\"\nauth_without_tls = \"loopback\"\n\
             line_endings = \"{line_endings}\"\n"
        )
    };
    let settings = format!(
        "hostname = \"mail.tests.example\"\nhttp.address = \"127.0.0.1:0\"\nadmin.address = \"127.0.0.1:0\"\n\
         tracking.base_url = \"http://127.0.0.1:1\"\n[deliver]\nmode = \"smarthost\"\n[deliver.smarthost]\n\
         host = \"127.0.0.1\"\nport = {}\ntls = \"none\"\n{}{}",
        postfix.address.port(),
        listener(LineEndings::Reject),
        listener(LineEndings::Normalize),
    );
    std::fs::write(folder.path().join("postback.toml"), settings).unwrap();
    let agent = Agent::start_as_set(folder.path());
    agent::printed(folder.path(), &["domain", "add", "tests.example"]);
    let key = agent::printed(folder.path(), &["key", "add"]).trim().to_owned();

    let mut promised = Vec::new();
    for (number, ending) in ENDINGS.iter().enumerate() {
        let text = smuggled(number, ending);
        for door in [0, 1] {
            let ways = [("data", by_data(&agent, &key, door, &text)), ("bdat", by_bdat(&agent, &key, door, &text))];
            let taken = ways.into_iter().filter(|(_, is_taken)| *is_taken);
            promised.extend(taken.map(|(way, _)| (number, door, way)));
        }
        // What is only text may be any (H06).
        assert!(by_http(&agent, &key, &text), "{}", ending.escape_debug());
        promised.push((number, 0, "http"));
    }
    // Where a lone LF is refused, nothing that could be read in two ways is taken; what is plain text is.
    let strict: Vec<usize> =
        promised.iter().filter(|(_, door, way)| *door == 0 && *way == "data").map(|(number, ..)| *number).collect();
    assert_eq!(strict, (17..23).collect::<Vec<_>>(), "{promised:?}");
    assert!(promised.len() > strict.len() * 3, "{promised:?}");

    for _ in &promised {
        exchanger.next().await;
    }
    // Nothing is left that Postfix could have made of them besides.
    while postfix.queued() > 0 {
        tokio::task::yield_now().await;
    }
    let mails = exchanger.mails();
    assert_eq!(mails.len(), promised.len());
    assert!(mails.iter().all(|mail| mail.rcpt.contains("<reader@example.com>")), "somebody got smuggled mail");
    assert!(agent.stop().success());
}
