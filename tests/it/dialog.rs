//! SMTP dialogs as transcripts that a person can read: `tests/dialogs/*.smtp`.
//!
//! ```text
//! == S01 a lone LF around the dot      a dialog begins; the name is printed when it fails
//! @ inbound at:text                    which listener, and what has been said already (see `Setup`)
//! # anything                           a comment
//! C: MAIL FROM:<a@ours.example>        the client sends this and CR LF; neighbouring C lines are one segment
//! C- a\n.\n                            the same without CR LF; \r \n \0 \t \\ \xHH are bytes, {600*x} is 600 times x
//! ~                                    the segment ends here
//! S: 250 2.1.0 *                       the server's next line; * is anything
//! S* 20 500 *                          twenty such lines
//! S- closed                            the server has hung up
//! ~ 301s                               so much time passes
//! ~ tls                                the client shakes hands
//! ~ gone                               the client hangs up
//! = 1 message                          what was taken in the whole dialog (0 of everything when not said)
//! > a\r\n                              the content of a message that was taken, in order
//! ```
//!
//! After each segment the server must have said exactly the S lines that follow, no more and no less. Here they are
//! played to the pure `Connection`, with a small world that answers its questions; `door` plays them over sockets.

use std::collections::VecDeque;
use std::fmt::Write as _;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use postback::intake::caller::AuthFailure;
use postback::intake::report::{NotHere, ReportTo, Unavailable};
use postback::intake::submission::{Refusal, Rejection, Unreadable};
use postback::mail::submitted;
use postback::model::address::Address;
use postback::model::id::{AgentId, CredentialId, DeliveryId, MessageId, TenantId};
use postback::model::tenant::{AgentSettings, CredentialKind, Grant, MailAgent, Tenant};
use postback::model::time::Timestamp;
use postback::smtp::connection::Connection;
use postback::smtp::settings::{AuthWithoutTls, Kind, LineEndings, Listener, Settings, TlsMode};
use postback::smtp::step::{HandedIn, NotNow, Step, Tls};
use uuid::Uuid;

/// The API key that the world of the dialogs knows; `{plain}` is AUTH PLAIN with it.
pub const KEY: &str = "pb_right";

/// One dialog.
#[derive(Debug, Default)]
pub struct Dialog {
    pub name: String,
    pub setup: Setup,
    pub turns: Vec<Turn>,
    pub messages: usize,
    pub reports: usize,
    pub contents: Vec<Vec<u8>>,
}

/// What the words after `@` say.
#[derive(Debug, Default)]
pub struct Setup {
    /// `inbound`; else submission.
    pub is_inbound: bool,
    /// `strict`: no reports and no passwords in the clear; else as in development.
    pub is_strict: bool,
    /// `normalize`: a lone LF is forgiven.
    pub is_normalizing: bool,
    /// `no-tls`.
    pub is_without_tls: bool,
    /// `early`: the first segment is there before the greeting.
    pub is_early: bool,
    /// `at:greeted`, `at:authenticated`, `at:transaction`, `at:text`: so much has been said.
    pub at: String,
}

/// One thing that happens.
#[derive(Debug, PartialEq)]
pub enum Turn {
    Client(Vec<u8>),
    Server(Vec<String>),
    Closed,
    Gone,
    Tls,
    Pass(Duration),
}

/// All dialogs of all files, by file name.
pub fn all() -> Vec<Dialog> {
    let folder = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/dialogs");
    let mut files: Vec<_> = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.sort();
    files.retain(|file| file.extension().is_some_and(|extension| extension == "smtp"));
    files.iter().flat_map(|file| dialogs(&std::fs::read_to_string(file).unwrap())).collect()
}

fn dialogs(text: &str) -> Vec<Dialog> {
    let mut dialogs: Vec<Dialog> = Vec::new();
    let mut is_open = false;
    for line in text.lines().filter(|line| !line.is_empty() && !line.starts_with('#')) {
        if let Some(name) = line.strip_prefix("== ") {
            dialogs.push(Dialog { name: name.to_owned(), ..Dialog::default() });
            is_open = false;
            continue;
        }
        let dialog = dialogs.last_mut().expect("a dialog begins with ==");
        is_open = take(dialog, line, is_open);
    }
    dialogs
}

/// Takes one line; says whether the client's segment may go on.
fn take(dialog: &mut Dialog, line: &str, is_open: bool) -> bool {
    let (mark, rest) = line.split_at(line.len().min(3));
    match mark.trim_end() {
        "C:" | "C-" => {
            let mut bytes = unescaped(rest);
            if mark.starts_with("C:") {
                bytes.extend(b"\r\n");
            }
            match dialog.turns.last_mut() {
                Some(Turn::Client(segment)) if is_open => segment.extend(bytes),
                _ => dialog.turns.push(Turn::Client(bytes)),
            }
            return true;
        }
        "S:" => dialog.expect(1, rest),
        "S*" => {
            let (count, pattern) = rest.split_once(' ').unwrap();
            dialog.expect(count.parse().unwrap(), pattern);
        }
        "S-" => dialog.turns.push(Turn::Closed),
        _ => match line.split_at(1) {
            ("@", words) => words.split_whitespace().for_each(|word| dialog.setup.take(word)),
            ("~", "") => {}
            ("~", " tls") => dialog.turns.push(Turn::Tls),
            ("~", " gone") => dialog.turns.push(Turn::Gone),
            ("~", time) => {
                let secs = time.trim().strip_suffix('s').unwrap().parse().unwrap();
                dialog.turns.push(Turn::Pass(Duration::from_secs(secs)));
            }
            ("=", taken) => {
                let (count, what) = taken.trim().split_once(' ').unwrap();
                let count = count.parse().unwrap();
                if what.starts_with("message") { dialog.messages = count } else { dialog.reports = count }
            }
            (">", content) => dialog.contents.push(unescaped(content.strip_prefix(' ').unwrap_or_default())),
            _ => panic!("{}: what is {line:?}?", dialog.name),
        },
    }
    false
}

impl Dialog {
    fn expect(&mut self, count: usize, pattern: &str) {
        let more = std::iter::repeat_n(pattern.to_owned(), count);
        match self.turns.last_mut() {
            Some(Turn::Server(lines)) => lines.extend(more),
            _ => self.turns.push(Turn::Server(more.collect())),
        }
    }
}

impl Setup {
    fn take(&mut self, word: &str) {
        match word {
            "inbound" => self.is_inbound = true,
            "strict" => self.is_strict = true,
            "normalize" => self.is_normalizing = true,
            "no-tls" => self.is_without_tls = true,
            "early" => self.is_early = true,
            _ => self.at = word.strip_prefix("at:").expect("a word of the setup").to_owned(),
        }
    }

    /// The listener it asks for.
    pub fn listener(&self) -> Listener {
        let mut listener = Listener::development();
        listener.kind = if self.is_inbound { Kind::Inbound } else { Kind::Submission };
        if self.is_strict || self.is_inbound {
            listener.takes_reports = false;
            listener.auth_without_tls = AuthWithoutTls::Never;
        }
        if self.is_normalizing {
            listener.line_endings = LineEndings::Normalize;
        }
        if self.is_without_tls {
            listener.tls = TlsMode::Off;
        }
        listener
    }

    /// What has been said already: segments of the client.
    pub fn said(&self) -> Vec<Vec<u8>> {
        let hello = "EHLO client.example\r\n";
        let (mail, rcpt) = if self.is_inbound {
            ("MAIL FROM:<>\r\n", "RCPT TO:<b+sealed@bounces.example>\r\n")
        } else {
            ("MAIL FROM:<sender@ours.example>\r\n", "RCPT TO:<reader@example.com>\r\n")
        };
        let all = [
            ("greeted", hello),
            ("authenticated", "AUTH PLAIN {plain}\r\n"),
            ("", mail),
            ("transaction", rcpt),
            ("text", "DATA\r\n"),
        ];
        let until = all.iter().position(|(name, _)| *name == self.at && !name.is_empty()).map_or(0, |at| at + 1);
        let lines = all[..until].iter().filter(|(name, _)| !(self.is_inbound && *name == "authenticated"));
        lines.map(|(_, line)| unescaped(line)).collect()
    }
}

/// Escapes become bytes, `{…}` what it stands for.
fn unescaped(text: &str) -> Vec<u8> {
    let mut bytes = Vec::new();
    let mut rest = text.bytes().collect::<VecDeque<_>>();
    while let Some(byte) = rest.pop_front() {
        match byte {
            b'\\' => match rest.pop_front().unwrap() {
                b'r' => bytes.push(b'\r'),
                b'n' => bytes.push(b'\n'),
                b't' => bytes.push(b'\t'),
                b'0' => bytes.push(0),
                b'x' => {
                    let hex: String = rest.drain(..2).map(char::from).collect();
                    bytes.push(u8::from_str_radix(&hex, 16).unwrap());
                }
                other => bytes.push(other),
            },
            b'{' => {
                let mut depth = 1;
                let closes = |byte: &u8| {
                    depth += i32::from(*byte == b'{') - i32::from(*byte == b'}');
                    depth == 0
                };
                let end = rest.iter().position(closes).unwrap();
                let word: String = rest.drain(..end).map(char::from).collect();
                rest.pop_front();
                bytes.extend(stand_in(&word));
            }
            other => bytes.push(other),
        }
    }
    bytes
}

fn stand_in(word: &str) -> Vec<u8> {
    match word.split_once('*') {
        Some((count, what)) => unescaped(what).repeat(count.parse().unwrap()),
        None if word == "plain" => STANDARD.encode(format!("\0emailapikey\0{KEY}")).into_bytes(),
        None => STANDARD.encode(unescaped(word.strip_prefix("base64 ").unwrap())).into_bytes(),
    }
}

/// Whether a line of the server is what was expected; `*` is anything.
pub fn fits(pattern: &str, line: &str) -> bool {
    let mut parts = pattern.split('*');
    let Some(mut rest) = line.strip_prefix(parts.next().unwrap_or_default()) else { return false };
    let mut parts: Vec<&str> = parts.collect();
    let Some(last) = parts.pop() else { return rest.is_empty() };
    for part in parts {
        let Some(at) = rest.find(part) else { return false };
        rest = &rest[at + part.len()..];
    }
    rest.ends_with(last)
}

/// The settings that the dialogs count on.
pub fn settings() -> Settings {
    Settings {
        hostname: "mail.example".into(),
        message_bytes_max: 10_000,
        recipients_max: 110,
        session_messages_max: 5,
        ..Settings::default()
    }
}

/// The pure connection, and a world that answers it.
struct World {
    connection: Connection,
    now: Timestamp,
    is_closed: bool,
    taken: Vec<Vec<u8>>,
    reports: usize,
}

impl World {
    fn new(setup: &Setup) -> Self {
        let peer = if setup.is_inbound { "192.0.2.7" } else { "127.0.0.1" };
        let now = Timestamp::from_millis(1_772_439_300_000);
        let connection =
            Connection::new(Arc::new(settings()), Arc::new(setup.listener()), Tls::Offered, peer.parse().unwrap(), now);
        Self { connection, now, is_closed: false, taken: Vec::new(), reports: 0 }
    }

    /// What the server says to a segment.
    fn hear(&mut self, segment: &[u8]) -> Vec<String> {
        self.connection.input().extend_from_slice(segment);
        self.said()
    }

    fn said(&mut self) -> Vec<String> {
        let mut said = Vec::new();
        loop {
            match self.connection.step(self.now) {
                Step::Read | Step::StartTls => break,
                Step::Write => {}
                Step::Close => {
                    self.is_closed = true;
                    break;
                }
                step => self.answer(step),
            }
            said.append(self.connection.output());
        }
        said.append(self.connection.output());
        String::from_utf8(said).unwrap().split_terminator("\r\n").map(str::to_owned).collect()
    }

    fn answer(&mut self, step: Step) {
        match step {
            Step::Authenticate { username, secret, .. } => self.connection.authenticated(match secret.reveal() {
                KEY if username == "emailapikey" => Ok(grant()),
                "down" => Err(AuthFailure::Unavailable),
                _ => Err(AuthFailure::Wrong),
            }),
            Step::JudgeSender { grant, sender } => self.connection.sender_judged(match sender {
                Some(sender) if sender.local_part() == "full" => Err(NotNow::NoRoom),
                Some(sender) if sender.local_part() == "revoked" => Err(NotNow::Revoked),
                Some(sender) if sender.local_part() == "down" => Err(NotNow::Unavailable),
                Some(sender) if grant.is_some() && !sender.domain().ends_with("ours.example") => {
                    Err(NotNow::Rejected(Rejection::SenderNotAllowed { domain: sender.domain().to_owned() }))
                }
                _ => Ok(grant),
            }),
            Step::JudgeRecipient(address) => self.connection.recipient_judged(report_to(&address)),
            Step::Submit(handed_in) => {
                let HandedIn { content, .. } = *handed_in;
                let answer = match content.split(|byte| *byte == b'\r').next().unwrap() {
                    b"X-Test: down" => Err(Refusal::Unavailable),
                    b"X-Test: loop" => Err(Refusal::Rejected(Rejection::Unreadable(Unreadable::Loop))),
                    _ => match submitted::read(&content, "localhost") {
                        Ok(_) => Ok("msg_1".to_owned()),
                        Err(why) => Err(Refusal::Rejected(Rejection::Unreadable(why))),
                    },
                };
                if answer.is_ok() {
                    self.taken.push(content);
                }
                self.connection.submitted(answer);
            }
            Step::Report { to, content, .. } => {
                let is_down = content.starts_with(b"X-Test: down");
                if !is_down {
                    self.reports += to.len();
                    self.taken.push(content);
                }
                self.connection.reported(if is_down { Err(Unavailable) } else { Ok(()) });
            }
            Step::Read | Step::Write | Step::StartTls | Step::Close => unreachable!("taken care of"),
        }
    }
}

fn report_to(address: &Address) -> Result<ReportTo, NotHere> {
    let delivery = DeliveryId { message: MessageId::from_uuid(Uuid::from_u128(1)), recipient: 0 };
    match (address.local_part(), address.domain()) {
        ("b+sealed", "bounces.example") => Ok(ReportTo::Delivery(delivery)),
        ("complaints", "bounces.example") => Ok(ReportTo::Complaints),
        (_, "bounces.example") => Err(NotHere::Unknown),
        _ => Err(NotHere::Elsewhere),
    }
}

pub fn grant() -> Arc<Grant> {
    let created_at = Timestamp::default();
    let (tenant, agent) = (TenantId::from_uuid(Uuid::from_u128(1)), AgentId::from_uuid(Uuid::from_u128(2)));
    Arc::new(Grant {
        tenant: Tenant {
            id: tenant,
            slug: "ours".into(),
            name: "Ours".into(),
            settings: Default::default(),
            created_at,
            updated_at: created_at,
            authors: Default::default(),
        },
        agent: MailAgent {
            id: agent,
            tenant,
            key: "agent".into(),
            name: "default".into(),
            settings: AgentSettings::default(),
            created_at,
            updated_at: None,
            authors: Default::default(),
        },
        credential: CredentialId::from_uuid(Uuid::from_u128(3)),
        digest: [0; 32],
        kind: CredentialKind::ApiKey,
        networks: Vec::new(),
        settings: Default::default(),
        person: None,
        domains: vec!["ours.example".into()],
    })
}

/// What went wrong in a dialog, or nothing.
fn play(dialog: &Dialog) -> Result<(), String> {
    let mut world = World::new(&dialog.setup);
    let mut turns = dialog.turns.iter().peekable();
    if dialog.setup.is_early
        && let Some(Turn::Client(segment)) = turns.next()
    {
        world.connection.input().extend_from_slice(segment);
    }
    world.connection.greet();
    let mut said = world.said();
    if !dialog.setup.is_early {
        dialog.setup.said().iter().for_each(|segment| said = world.hear(segment));
        said.clear();
    }
    for turn in turns {
        match turn {
            Turn::Server(lines) => {
                let is_right = said.len() == lines.len() && lines.iter().zip(&said).all(|(want, is)| fits(want, is));
                if !is_right {
                    return Err(format!("expected {lines:#?}\nbut heard {said:#?}"));
                }
                said.clear();
                continue;
            }
            Turn::Closed if world.is_closed => continue,
            Turn::Closed => return Err("the server did not hang up".to_owned()),
            _ if !said.is_empty() => return Err(format!("nobody expected {said:#?}")),
            _ if world.is_closed => return Err("the server hung up".to_owned()),
            Turn::Gone => break,
            Turn::Client(segment) => said = world.hear(segment),
            Turn::Tls => world.connection.secured("TLS1.3 TLS_AES_128_GCM_SHA256".to_owned()),
            Turn::Pass(time) => {
                world.now = world.now + *time;
                world.connection.pulse(world.now);
                said = world.said();
            }
        }
    }
    let messages = world.taken.len() - world.reports.min(world.taken.len());
    let mut wrong = String::new();
    if !said.is_empty() {
        let _ = write!(wrong, "nobody expected {said:#?}");
    }
    if world.is_closed != dialog.turns.contains(&Turn::Closed) {
        let _ = write!(wrong, "hung up: {}", world.is_closed);
    }
    if (messages, world.reports) != (dialog.messages, dialog.reports) {
        let _ = write!(wrong, "took {messages} messages and {} reports", world.reports);
    }
    if !dialog.contents.is_empty() && dialog.contents != world.taken {
        world.taken.iter().for_each(|content| _ = write!(wrong, "took {}", content.escape_ascii()));
    }
    if wrong.is_empty() { Ok(()) } else { Err(wrong) }
}

#[test]
fn each_dialog_goes_as_written() {
    let dialogs = all();
    assert!(dialogs.len() > 100, "only {} dialogs were found", dialogs.len());
    let failed: Vec<String> = dialogs
        .iter()
        .filter_map(|dialog| play(dialog).err().map(|why| format!("== {}\n{why}\n", dialog.name)))
        .collect();
    assert!(failed.is_empty(), "{} of {} dialogs:\n{}", failed.len(), dialogs.len(), failed.join("\n"));
}

#[test]
fn patterns() {
    let check = |pattern, line, expected| assert_eq!(fits(pattern, line), expected, "{pattern} {line}");
    check("250 ok", "250 ok", true);
    check("250 ok", "250 ok2", false);
    check("250 *", "250 ok", true);
    check("250-SIZE *", "250 SIZE 1", false);
    check("250 * queued", "250 2.0.0 msg_1 queued", true);
    check("250 *x*z", "250 abxyz", true);
    check("*", "", true);
}
