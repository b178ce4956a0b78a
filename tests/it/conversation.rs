//! Conversations with good and bad mail hosts, over sockets: `deliver::transport` against a scripted exchanger.

use std::net::{IpAddr, Ipv4Addr};
use std::time::Duration;

use postback::deliver::dialogue::{DIALOGUE_BYTES_MAX, Dialogue};
use postback::deliver::encryption::Encryption;
use postback::deliver::opening::{Credentials, Peer, Security};
use postback::deliver::reply::{BadReply, Reply};
use postback::deliver::settings::{TimeoutSettings, Timeouts};
use postback::deliver::transport::{Connection, Failure, Mail, Unfit};
use postback::deliver::wire::Fault;
use postback::dns::{DnsError, Table};
use postback::mail::reply::Stage;
use postback::model::secret::Secret;
use postback::model::time::Timestamp;

use crate::exchanger::{Act, Exchanger, NAME, Script, say};

const MESSAGE: &[u8] = b"Subject: hello\r\n\r\n.a line with a dot\r\n..\r\nbye\r\n";
const NOW: Timestamp = Timestamp::from_millis(0);

/// An exchanger and how we talk to it.
struct Pair {
    exchanger: Exchanger,
    peer: Peer,
    resolver: Table,
    dialogue: Dialogue,
}

impl Pair {
    async fn with(script: Script) -> Self {
        let exchanger = Exchanger::start(script).await;
        let peer = Peer {
            host: NAME.into(),
            port: exchanger.address.port(),
            security: Security::None,
            credentials: None,
            hello: "postback.test".into(),
            timeouts: Timeouts::from(&TimeoutSettings::default()),
            guard: None,
            ipv6: true,
            source: None,
        };
        let resolver = Table::new().with_addresses(NAME, [IpAddr::V4(Ipv4Addr::LOCALHOST)]);
        Self { exchanger, peer, resolver, dialogue: Dialogue::default() }
    }

    fn secured(mut self, security: Security) -> Self {
        self.peer.security = security;
        self
    }

    fn with_credentials(mut self, in_clear: bool) -> Self {
        self.peer.credentials = Some(Credentials { username: "me".into(), password: Secret::new("hunter2"), in_clear });
        self
    }

    /// No patience at all: for hosts that say nothing.
    fn impatient(mut self) -> Self {
        let short = Duration::from_millis(40);
        self.peer.timeouts = Timeouts {
            connect: short,
            handshake: short,
            greeting: short,
            hello: short,
            envelope: short,
            data: short,
            block: short,
            end_of_data: short,
        };
        self
    }

    async fn connect(&mut self) -> Result<Connection, Failure> {
        self.peer.connect(&self.resolver, NOW, &mut self.dialogue).await.0
    }

    async fn hand_over(&mut self, connection: &mut Connection, recipient: &str) -> Result<Reply, Failure> {
        let recipient = recipient.parse().unwrap();
        let mail = Mail {
            return_path: "b+x@bounce.test",
            recipient: &recipient,
            bytes: MESSAGE,
            wishes: None,
            requires_tls: false,
            awaits_report: false,
        };
        connection.hand_over(mail, &mut self.dialogue).await
    }

    /// Connects and hands one mail over.
    async fn run(&mut self) -> Result<Reply, Failure> {
        let mut connection = self.connect().await?;
        self.hand_over(&mut connection, "reader@example.com").await
    }

    fn text(self) -> String {
        self.dialogue.into_text()
    }
}

fn trusting(exchanger_certificate: &str, folder: &std::path::Path) -> Encryption {
    let path = folder.join("ca.pem");
    std::fs::write(&path, exchanger_certificate).unwrap();
    Encryption::trusted(Some(&path)).unwrap()
}

fn unchecked() -> Encryption {
    Encryption::unchecked()
}

fn said(stage: Stage, text: &str) -> Failure {
    Failure::Said(stage, Reply { code: text[..3].parse().unwrap(), text: text.into() })
}

#[tokio::test]
async fn a_mail_arrives_byte_for_byte_in_two_writes() {
    let mut pair = Pair::with(Script::polite()).await;
    let reply = pair.run().await.unwrap();
    assert_eq!(reply.text, "250 2.0.0 queued");
    let arrived = pair.exchanger.next().await;
    assert_eq!(arrived.content, MESSAGE);
    assert_eq!(arrived.mail, format!("MAIL FROM:<b+x@bounce.test> SIZE={}", MESSAGE.len()));
    assert_eq!(arrived.rcpt, "RCPT TO:<reader@example.com>");
    let reads: Vec<String> =
        pair.exchanger.reads().iter().map(|read| String::from_utf8_lossy(read).into_owned()).collect();
    assert_eq!(reads.len(), 3, "EHLO, the envelope, the content: {reads:?}");
    assert!(reads[1].starts_with("MAIL FROM:") && reads[1].ends_with("DATA\r\n"));
    assert!(reads[2].ends_with("bye\r\n.\r\n"));
    let text = pair.text();
    assert!(text.contains("> EHLO postback.test\n") && text.contains(" ms < 250-mx.test greets you\n"), "{text}");
    assert!(text.contains("= 47 bytes of content\n") && text.ends_with("< 250 2.0.0 queued\n"), "{text}");
    assert!(!text.contains("a line"), "{text}");
}

#[tokio::test]
async fn without_pipelining_each_command_waits_for_its_reply() {
    let mut pair = Pair::with(Script::offering(&[])).await;
    pair.run().await.unwrap();
    assert_eq!(pair.exchanger.reads().len(), 5);
    assert_eq!(pair.exchanger.next().await.mail, "MAIL FROM:<b+x@bounce.test>");
}

/// What a refusal at each stage comes to, and whether the connection is good for more.
#[tokio::test]
async fn refusals_at_each_stage() {
    for offers in [&["PIPELINING"][..], &[]] {
        for (verb, stage) in [("MAIL", Stage::Mail), ("RCPT", Stage::Rcpt), ("DATA", Stage::Data), (".", Stage::Data)] {
            for text in ["450 4.2.0 not now", "550 5.1.1 never", "599 odd", "550", "421 4.3.2 going down"] {
                let mut pair = Pair::with(Script::offering(offers).on(verb, say(text))).await;
                let mut connection = pair.connect().await.unwrap();
                let ended = pair.hand_over(&mut connection, "reader@example.com").await;
                assert_eq!(ended, Err(said(stage, text)), "{verb}, {offers:?}");
                // With pipelining this exchanger wants content for a mail that it has refused.
                let is_stuck = !offers.is_empty() && matches!(verb, "MAIL" | "RCPT");
                let is_usable = !text.starts_with("421") && !is_stuck;
                assert_eq!(connection.is_usable_after(&ended), is_usable, "{verb} {text}, {offers:?}");
                if is_usable {
                    pair.hand_over(&mut connection, "other@example.com").await.unwrap();
                    assert_eq!(connection.mails, 2);
                    let resets = pair.exchanger.commands().iter().filter(|command| *command == "RSET").count();
                    assert_eq!(resets, usize::from(verb != "."), "{verb}");
                }
            }
        }
    }
}

#[tokio::test]
async fn a_host_that_refuses_everything_after_a_refused_recipient_stays_usable() {
    let script = Script::polite().on("RCPT", say("550 5.1.1 no")).on("DATA", say("503 5.5.1 no recipients"));
    let mut pair = Pair::with(script).await;
    let mut connection = pair.connect().await.unwrap();
    let ended = pair.hand_over(&mut connection, "nobody@example.com").await;
    assert_eq!(ended, Err(said(Stage::Rcpt, "550 5.1.1 no")));
    assert!(connection.is_usable_after(&ended));
    pair.hand_over(&mut connection, "reader@example.com").await.unwrap();
    assert!(pair.exchanger.reads().iter().any(|read| read.starts_with(b"RSET\r\nMAIL FROM:")));
    assert_eq!(pair.exchanger.connections(), 1);
}

#[tokio::test]
async fn a_host_that_will_not_forget_is_left() {
    let script = Script::offering(&["PIPELINING"])
        .on("RCPT", say("550 no"))
        .on("DATA", say("503 no"))
        .on("RSET", say("554 I remember"));
    let mut pair = Pair::with(script).await;
    let mut connection = pair.connect().await.unwrap();
    pair.hand_over(&mut connection, "nobody@example.com").await.unwrap_err();
    let ended = pair.hand_over(&mut connection, "reader@example.com").await;
    assert_eq!(ended, Err(Failure::Broke(Stage::Mail, Fault::OutOfStep)), "the second mail was not refused");
}

#[tokio::test]
async fn refusals_before_the_first_mail() {
    for (verb, stage, text) in [
        ("greeting", Stage::Connect, "554 5.7.1 no service for you"),
        ("greeting", Stage::Connect, "421 4.3.2 too many"),
        ("EHLO", Stage::Hello, "421 4.3.2 going down"),
        ("EHLO", Stage::Hello, "450 4.7.1 later"),
    ] {
        let mut pair = Pair::with(Script::polite().on(verb, say(text))).await;
        assert_eq!(pair.run().await, Err(said(stage, text)), "{verb}");
    }
}

#[tokio::test]
async fn an_old_host_gets_helo() {
    let mut pair = Pair::with(Script::polite().on("EHLO", say("502 5.5.1 what?"))).await;
    pair.run().await.unwrap();
    assert_eq!(pair.exchanger.commands()[1], "HELO postback.test");
    assert_eq!(pair.exchanger.mails()[0].mail, "MAIL FROM:<b+x@bounce.test>", "nothing was offered");
}

#[tokio::test]
async fn nonsense_ends_the_conversation() {
    let bad = |stage, why| Failure::Broke(stage, Fault::BadReply(why));
    let flood = |bytes: &str| Act::Flood(bytes.as_bytes().to_vec());
    for (verb, act, expected) in [
        ("greeting", say("999 x"), bad(Stage::Connect, BadReply::Code)),
        ("greeting", say("SSH-2.0-x"), bad(Stage::Connect, BadReply::Code)),
        ("greeting", flood("220-still here\r\n"), bad(Stage::Connect, BadReply::TooLong)),
        ("greeting", flood("220 xxxxxxxxxxxxxxxx"), bad(Stage::Connect, BadReply::TooLong)),
        ("EHLO", say("250-a\r\n550 b"), bad(Stage::Hello, BadReply::MixedCodes)),
        ("MAIL", say("25"), bad(Stage::Mail, BadReply::Code)),
        ("RCPT", say("2x0 ok"), bad(Stage::Rcpt, BadReply::Code)),
        ("DATA", say("250 thanks already"), Failure::Broke(Stage::Data, Fault::OutOfStep)),
        ("DATA", say("354 go\r\n250 and more"), Failure::Broke(Stage::Data, Fault::OutOfStep)),
        (".", say("354 more"), Failure::Unclear(Fault::OutOfStep)),
        (".", flood("250-x\r\n"), Failure::Unclear(Fault::BadReply(BadReply::TooLong))),
    ] {
        for script in [Script::polite(), Script::offering(&[])] {
            let mut pair = Pair::with(script.on(verb, act.clone())).await;
            assert_eq!(pair.run().await, Err(expected.clone()), "{verb} {act:?}");
            assert!(pair.text().len() <= DIALOGUE_BYTES_MAX);
        }
    }
}

#[tokio::test]
async fn a_reply_that_nobody_asked_for_ends_the_connection() {
    let mut pair = Pair::with(Script::polite().on(".", say("250 ok\r\n250 and again"))).await;
    let mut connection = pair.connect().await.unwrap();
    let ended = pair.hand_over(&mut connection, "reader@example.com").await;
    assert!(ended.is_ok(), "the mail was taken");
    assert!(!connection.is_usable_after(&ended));
}

#[tokio::test]
async fn foreign_letters_lose_no_code() {
    let script = Script::polite().on("RCPT", Act::Say(b"550 bo\xeete pleine\r\n".to_vec()));
    let mut pair = Pair::with(script).await;
    assert_eq!(pair.run().await, Err(said(Stage::Rcpt, "550 boîte pleine")));
    let script = Script::polite().on("RCPT", say("550 \u{1b}[31m\u{202e}x\0"));
    let mut pair = Pair::with(script).await;
    pair.run().await.unwrap_err();
    assert!(pair.text().contains("< 550 \\u{1b}[31m\\u{202e}x\\u{0}\n"));
}

#[tokio::test]
async fn connections_that_break() {
    let cut = |bytes: &str| Act::Cut(bytes.as_bytes().to_vec());
    for (verb, act, expected) in [
        ("greeting", cut(""), Failure::Broke(Stage::Connect, Fault::Closed)),
        ("EHLO", cut("250-mx"), Failure::Broke(Stage::Hello, Fault::Closed)),
        ("MAIL", cut(""), Failure::Broke(Stage::Mail, Fault::Closed)),
        ("RCPT", cut(""), Failure::Broke(Stage::Rcpt, Fault::Closed)),
        ("DATA", cut(""), Failure::Broke(Stage::Data, Fault::Closed)),
        (".", cut(""), Failure::Unclear(Fault::Closed)),
        (".", cut("250 o"), Failure::Unclear(Fault::Closed)),
        ("RCPT", cut("550 no\r\n"), said(Stage::Rcpt, "550 no")),
        (".", cut("421 4.3.2 bye\r\n"), said(Stage::Data, "421 4.3.2 bye")),
    ] {
        for script in [Script::polite(), Script::offering(&[])] {
            let mut pair = Pair::with(script.on(verb, act.clone())).await;
            let mut ended = pair.run().await;
            // A reset by the peer is a hang-up, too, whenever the system tells of it.
            if let Err(Failure::Broke(_, Fault::Network(_))) = ended {
                ended = Err(expected.clone());
            }
            assert_eq!(ended, Err(expected.clone()), "{verb} {act:?}");
        }
    }
}

#[tokio::test]
async fn silence_is_waited_for_no_longer_than_allowed() {
    let late = Fault::TimedOut(0);
    for (verb, expected) in [
        ("greeting", Failure::Broke(Stage::Connect, late.clone())),
        ("EHLO", Failure::Broke(Stage::Hello, late.clone())),
        ("MAIL", Failure::Broke(Stage::Mail, late.clone())),
        ("RCPT", Failure::Broke(Stage::Rcpt, late.clone())),
        ("DATA", Failure::Broke(Stage::Data, late.clone())),
        (".", Failure::Unclear(late.clone())),
    ] {
        let mut pair = Pair::with(Script::polite().on(verb, Act::Hang(b"250-wait".to_vec()))).await.impatient();
        assert_eq!(pair.run().await, Err(expected), "{verb}");
    }
}

#[tokio::test]
async fn content_that_nobody_takes_is_given_up_and_was_not_delivered() {
    let script = Script::offering(&["PIPELINING"]).on("DATA", Act::Deafen(b"354 go\r\n".to_vec()));
    let mut pair = Pair::with(script).await.impatient();
    let mut connection = pair.connect().await.unwrap();
    let recipient = "reader@example.com".parse().unwrap();
    let bytes = b"x\r\n".repeat(4_000_000);
    let mail = Mail {
        return_path: "b+x@bounce.test",
        recipient: &recipient,
        bytes: &bytes,
        wishes: None,
        requires_tls: false,
        awaits_report: false,
    };
    let ended = connection.hand_over(mail, &mut pair.dialogue).await;
    assert_eq!(ended, Err(Failure::Broke(Stage::Data, Fault::TimedOut(0))), "the final dot never left");
}

#[tokio::test]
async fn hosts_that_cannot_be_reached() {
    let mut pair = Pair::with(Script::polite()).await;
    pair.peer.port = 1;
    assert!(matches!(pair.run().await, Err(Failure::Broke(Stage::Connect, Fault::Network(_)))));
    pair.peer.host = "unknown.test".into();
    let dns = |why| Err(Failure::Broke(Stage::Connect, Fault::Dns { host: "unknown.test".into(), why }));
    assert_eq!(pair.run().await, dns(DnsError::NoSuchName));
    let mut pair = pair.impatient();
    pair.resolver = Table::new().with_silence("unknown.test");
    assert_eq!(pair.run().await, dns(DnsError::Timeout));
}

#[tokio::test]
async fn each_address_of_a_host_is_tried() {
    let mut pair = Pair::with(Script::polite()).await;
    let addresses = ["127.0.0.2", "127.0.0.1"].map(|ip| ip.parse::<IpAddr>().unwrap());
    pair.resolver = Table::new().with_addresses(NAME, addresses);
    pair.run().await.unwrap();
    assert!(pair.text().contains("= connect to 127.0.0.2:"));
}

#[tokio::test]
async fn starttls() {
    let folder = tempfile::tempdir().unwrap();
    let script = || Script::offering(&["STARTTLS", "PIPELINING"]);
    let pair = Pair::with(script()).await;
    let encryption = trusting(&pair.exchanger.certificate, folder.path());
    let mut pair = pair.secured(Security::Required(encryption));
    let connection = pair.connect().await.unwrap();
    assert!(connection.tls.starts_with("TLSv1_3 TLS13_") && !connection.tls.contains("unverified"));
    assert_eq!(pair.exchanger.commands(), ["EHLO postback.test", "STARTTLS", "EHLO postback.test"]);

    let mut pair = Pair::with(script()).await.secured(Security::Opportunistic(unchecked()));
    pair.run().await.unwrap();
    assert!(pair.text().contains(" unverified\n"));

    let mut pair = Pair::with(script()).await.secured(Security::Required(Encryption::trusted(None).unwrap()));
    assert!(
        matches!(pair.run().await, Err(Failure::Broke(Stage::StartTls, Fault::Tls(_)))),
        "nobody knows this authority"
    );
    assert_eq!(pair.exchanger.mails(), []);

    let mut script = Script::polite();
    script.implicit_tls = true;
    let mut pair = Pair::with(script).await.secured(Security::Implicit(unchecked()));
    pair.run().await.unwrap();
    assert_eq!(pair.exchanger.commands()[0], "EHLO postback.test");
}

#[tokio::test]
async fn nothing_said_in_clear_is_taken_for_said_in_tls() {
    let script = || {
        let injected = "220 go ahead\r\n250-mx.test\r\n250 AUTH PLAIN LOGIN";
        Script::offering(&["STARTTLS"]).on("STARTTLS", say(injected))
    };
    let mut pair = Pair::with(script()).await.secured(Security::Required(unchecked())).with_credentials(false);
    assert_eq!(pair.run().await, Err(Failure::Broke(Stage::StartTls, Fault::OutOfStep)));
    assert!(!pair.exchanger.commands().iter().any(|command| command.starts_with("AUTH")));
    // Who takes any certificate can as well go on in clear, over a new connection.
    let mut pair = Pair::with(script()).await.secured(Security::Opportunistic(unchecked()));
    pair.run().await.unwrap();
    assert_eq!(pair.exchanger.connections(), 2);
}

#[tokio::test]
async fn a_host_without_tls() {
    for script in [
        Script::polite(),
        Script::offering(&["STARTTLS"]).on("STARTTLS", say("454 4.7.0 not now")),
        Script::offering(&["STARTTLS"]).on("STARTTLS", Act::Cut(b"220 go\r\n".to_vec())),
    ] {
        let mut pair = Pair::with(script.clone()).await.secured(Security::Required(unchecked()));
        let ended = pair.run().await;
        assert!(
            matches!(ended, Err(Failure::Broke(Stage::StartTls, _) | Failure::Said(Stage::StartTls, _))),
            "{ended:?}"
        );
        let mut pair = Pair::with(script).await.secured(Security::Opportunistic(unchecked()));
        pair.run().await.unwrap();
        assert_eq!(pair.exchanger.mails().len(), 1);
    }
}

#[tokio::test]
async fn passwords() {
    let plain = "AUTH PLAIN AG1lAGh1bnRlcjI=";
    let mut pair = Pair::with(Script::offering(&["AUTH PLAIN LOGIN"])).await.with_credentials(true);
    pair.run().await.unwrap();
    assert_eq!(pair.exchanger.commands()[1], plain);
    let text = pair.text();
    assert!(text.contains("> AUTH PLAIN ***\n") && !text.contains("AG1l"));

    let login = Script::offering(&["AUTH LOGIN"])
        .on("AUTH", say("334 dXNlcm5hbWU6"))
        .on("AUTH", say("334 UGFzc3dvcmQ6"))
        .on("AUTH", say("235 ok"));
    let mut pair = Pair::with(login).await.with_credentials(true);
    pair.run().await.unwrap();
    assert_eq!(pair.exchanger.commands()[1..4], ["AUTH LOGIN", "bWU=", "aHVudGVyMg=="]);
    assert!(!pair.text().contains("aHVu"));

    let mut pair =
        Pair::with(Script::offering(&["AUTH PLAIN"]).on("AUTH", say("535 5.7.8 no"))).await.with_credentials(true);
    assert_eq!(pair.run().await, Err(said(Stage::Auth, "535 5.7.8 no")));

    let mut pair = Pair::with(Script::offering(&["AUTH PLAIN"])).await.with_credentials(false);
    assert!(matches!(pair.run().await, Err(Failure::Broke(Stage::Auth, Fault::Unwilling(_)))));
    let mut pair = Pair::with(Script::polite()).await.with_credentials(true);
    assert!(matches!(pair.run().await, Err(Failure::Broke(Stage::Auth, Fault::Unwilling(_)))));
    assert!(!pair.exchanger.commands().iter().any(|command| command.starts_with("AUTH")));
}

#[tokio::test]
async fn what_a_host_lacks() {
    let check = async |offers: &[&'static str], recipient: &str, bytes: &str, expected: Result<&str, Unfit>| {
        let mut pair = Pair::with(Script::offering(offers)).await;
        let mut connection = pair.connect().await.unwrap();
        let recipient = recipient.parse().unwrap();
        let mail = Mail {
            return_path: "b@bounce.test",
            recipient: &recipient,
            bytes: bytes.as_bytes(),
            wishes: None,
            requires_tls: false,
            awaits_report: false,
        };
        let ended = connection.hand_over(mail, &mut pair.dialogue).await;
        match expected {
            Ok(parameters) => {
                let arrived = pair.exchanger.next().await;
                assert_eq!(arrived.mail, format!("MAIL FROM:<b@bounce.test>{parameters}"), "{ended:?}");
                assert_eq!(arrived.rcpt, format!("RCPT TO:<{recipient}>"));
            }
            Err(unfit) => {
                assert_eq!(ended, Err(Failure::Unfit(unfit)));
                assert!(connection.is_usable_after(&ended));
            }
        }
    };
    let eight = "Subject: x\r\n\r\nGrüße\r\n";
    check(&["8BITMIME"], "a@example.com", eight, Ok(" BODY=8BITMIME")).await;
    check(&["8BITMIME", "SMTPUTF8"], "a@example.com", eight, Ok(" BODY=8BITMIME")).await;
    check(&["8BITMIME", "SMTPUTF8"], "a@example.com", "Subject: ü\r\n\r\n", Ok(" BODY=8BITMIME SMTPUTF8")).await;
    check(&[], "a@example.com", eight, Err(Unfit::EightBit)).await;
    check(&["SMTPUTF8"], "grå@exämple.com", "a: b\r\n\r\n", Ok(" SMTPUTF8")).await;
    check(&["8BITMIME"], "grå@example.com", "a: b\r\n\r\n", Err(Unfit::NonAsciiAddress)).await;
    check(&["SIZE 10"], "a@example.com", "a: b\r\n\r\n12345", Err(Unfit::TooLarge { limit: 10 })).await;
    check(&["SIZE"], "\"a b\"@under_score.example", "a: b\r\n\r\n", Ok(" SIZE=8")).await;
}
