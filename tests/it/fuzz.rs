//! Hostile bytes for whatever reads SMTP, and reports: mutations of a stored corpus.
//!
//! In `tests/run` each target gets a number of inputs from a fixed seed, so that a finding comes again: as many as take one
//! core about ten seconds in the profile of the tests. By hand, for an hour each, with other inputs each time:
//!
//! ```text
//! POSTBACK_FUZZ_SECS=3600 cargo nextest run --config-file tests/nextest.toml --profile fuzz fuzz::
//! ```
//!
//! The corpus is what clients say in `tests/dialogs`, `tests/fuzz/<target>`, and `tests/reports`. A finding prints its input: put it there
//! under a name that says what it is, and it is tried first from then on. Nothing measures coverage: the corpus has an
//! input for each state, and mutations cut, join, repeat and spoil them.

use std::path::PathBuf;
use std::time::{Duration, Instant};

use postback::deliver::reply;
use postback::deliver::sts;
use postback::intake::report::{NotHere, ReportTo};
use postback::mail::dsn::RECIPIENTS_MAX;
use postback::mail::report;
use postback::mail::rules::Rules;
use postback::mail::tls_report::{self, Reader};
use postback::model::address::Address;
use postback::model::tenant::Grant;
use postback::model::time::Timestamp;
use postback::smtp::command::envelope::{Mail, Rcpt, Recipient};
use postback::smtp::command::{self, Command, Strictness};
use postback::smtp::connection::Connection;
use postback::smtp::data::{DataReader, Framing, Limits, LoneLf};
use postback::smtp::proxy::{self, Progress};
use postback::smtp::settings::{Kind, LineEndings, Listener, Settings};
use postback::smtp::step::{Step, Tls};
use smtp_proto::Request;
use std::sync::Arc;

use crate::dialog::{self, Turn};

/// Longest input.
const INPUT_BYTES_MAX: usize = 8 * 1024;

/// A small generator of numbers (xorshift64*), the same on every machine.
pub struct Dice(u64);

impl Dice {
    fn roll(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d)
    }

    pub fn below(&mut self, bound: usize) -> usize {
        if bound == 0 { 0 } else { usize::try_from(self.roll() >> 1).unwrap() % bound }
    }

    /// A place in, or at the end of, something of this length.
    fn place(&mut self, length: usize) -> usize {
        self.below(length + 1)
    }

    /// One of the corpus, spoilt.
    fn mutated(&mut self, corpus: &[Vec<u8>]) -> Vec<u8> {
        let mut input = corpus[self.below(corpus.len())].clone();
        for _ in 0..self.below(6) {
            self.mutate(&mut input, corpus);
        }
        input.truncate(INPUT_BYTES_MAX);
        input
    }

    fn mutate(&mut self, input: &mut Vec<u8>, corpus: &[Vec<u8>]) {
        const TOKENS: [&[u8]; 16] = [
            b"\r\n",
            b"\n",
            b"\r",
            b".",
            b"\r\n.\r\n",
            b"\n.\n",
            b"\0",
            b"<",
            b">",
            b"\"",
            b"\\",
            b"@",
            b" ",
            b"=",
            b"+0A",
            b"\xff",
        ];
        let (from, to) = (self.place(input.len()), self.place(input.len()));
        let range = from.min(to)..from.max(to);
        match self.below(8) {
            0 if !input.is_empty() => {
                let at = self.below(input.len());
                input[at] ^= 1 << self.below(8);
            }
            1 if !input.is_empty() => {
                let at = self.below(input.len());
                input[at] = u8::try_from(self.below(256)).unwrap();
            }
            2 => drop(input.drain(range)),
            3 => {
                let again = input[range].to_vec();
                input.splice(to..to, again);
            }
            4 => input.truncate(to),
            5 | 6 => {
                let token = TOKENS[self.below(TOKENS.len())];
                input.splice(from..from, token.iter().copied());
            }
            _ => {
                let other = &corpus[self.below(corpus.len())];
                let (cut, end) = (self.place(other.len()), self.place(other.len()));
                input.splice(range, other[cut.min(end)..cut.max(end)].iter().copied());
            }
        }
    }
}

/// What is kept for a target, and more.
pub fn corpus(target: &str, more: impl IntoIterator<Item = Vec<u8>>) -> Vec<Vec<u8>> {
    let folder = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/fuzz").join(target);
    let mut files: Vec<PathBuf> = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.sort();
    let kept = files.into_iter().map(|file| std::fs::read(file).unwrap());
    let corpus: Vec<Vec<u8>> = kept.chain(more).collect();
    assert!(!corpus.is_empty(), "{target} has no corpus");
    corpus
}

/// Everything that clients say in the dialogs, a dialog each.
fn dialogs() -> Vec<Vec<u8>> {
    let said = |dialog: &dialog::Dialog| {
        let segments = dialog.turns.iter().filter_map(|turn| match turn {
            Turn::Client(segment) => Some(segment.clone()),
            Turn::Server(_) | Turn::Closed | Turn::Gone | Turn::Tls | Turn::Pass(_) => None,
        });
        dialog.setup.said().into_iter().chain(segments).flatten().collect()
    };
    dialog::all().iter().map(said).collect()
}

/// Tries the corpus as it is, then spoilt, in an ordinary run so often. `check` says what is wrong with an input.
#[expect(clippy::disallowed_methods, reason = "by hand it runs for a time")]
pub fn fuzz(corpus: &[Vec<u8>], inputs: u64, check: impl Fn(&[u8], &mut Dice) -> Result<(), String>) {
    let time = std::env::var("POSTBACK_FUZZ_SECS").ok().map(|secs| Duration::from_secs(secs.parse().unwrap()));
    let begun = Instant::now();
    let seed = time.map_or(1, |_| u64::from(std::process::id()) << 20 | u64::from(begun.elapsed().subsec_nanos()) | 1);
    let mut dice = Dice(seed);
    let run = |input: &[u8], dice: &mut Dice| {
        if let Err(why) = check(input, dice) {
            panic!("{why}\nseed {seed}, input:\n{}", input.escape_ascii());
        }
    };
    corpus.iter().for_each(|input| run(input, &mut dice));
    let mut runs = 0;
    while time.map_or(runs < inputs, |time| begun.elapsed() < time) {
        runs += 1;
        let input = dice.mutated(corpus);
        run(&input, &mut dice);
    }
    eprintln!("{runs} inputs");
}

pub fn must(is_right: bool, why: &str) -> Result<(), String> {
    if is_right { Ok(()) } else { Err(why.to_owned()) }
}

/// Whether every line ends in CR LF and nothing else does.
pub fn is_lines(content: &[u8]) -> bool {
    let bare = content.split(|byte| *byte == b'\n').all(|line| {
        let line = line.strip_suffix(b"\r").unwrap_or(line);
        !line.contains(&b'\r') && !line.contains(&0)
    });
    let ended = content.iter().enumerate().all(|(at, byte)| *byte != b'\n' || at > 0 && content[at - 1] == b'\r');
    bare && ended && content.ends_with(b"\r\n")
}

/// As a client writes a text after DATA.
fn stuffed(content: &[u8]) -> Vec<u8> {
    let mut wire = Vec::with_capacity(content.len() + 8);
    for line in content.split_inclusive(|byte| *byte == b'\n') {
        if line.first() == Some(&b'.') {
            wire.push(b'.');
        }
        wire.extend_from_slice(line);
    }
    wire.extend_from_slice(b".\r\n");
    wire
}

/// Whether `wire` begins with this text as a client may write it after DATA, its end included: a dot that begins a line
/// is doubled, any other line may have one more.
fn was_sent(content: &[u8], wire: &[u8]) -> bool {
    let mut rest = wire;
    for line in content.split_inclusive(|byte| *byte == b'\n') {
        let dotted = rest.strip_prefix(b".").and_then(|rest| rest.strip_prefix(line));
        let plain = rest.strip_prefix(line).filter(|_| line.first() != Some(&b'.'));
        match dotted.or(plain) {
            Some(more) => rest = more,
            None => return false,
        }
    }
    rest.starts_with(b".\r\n")
}

/// A world that lets everybody in and keeps everything; what it was handed.
struct World {
    connection: Connection,
    grant: Arc<Grant>,
    handed: Vec<Vec<u8>>,
    heard: Vec<u8>,
    is_closed: bool,
}

impl World {
    fn new(kind: Kind, line_endings: LineEndings) -> Self {
        let settings = Settings { message_bytes_max: 4_000, recipients_max: 5, ..Settings::default() };
        let listener = Listener { kind, line_endings, ..Listener::development() };
        let (peer, now) = ("127.0.0.1".parse().unwrap(), Timestamp::default());
        let mut connection = Connection::new(Arc::new(settings), Arc::new(listener), Tls::Offered, peer, now);
        connection.greet();
        Self { connection, grant: dialog::grant(), handed: Vec::new(), heard: Vec::new(), is_closed: false }
    }

    fn hear(&mut self, segment: &[u8]) {
        if self.is_closed {
            return;
        }
        self.connection.input().extend_from_slice(segment);
        loop {
            match self.connection.step(Timestamp::default()) {
                Step::Read => break,
                Step::Write => {}
                Step::Close => {
                    self.is_closed = true;
                    break;
                }
                Step::StartTls => self.connection.secured(String::new()),
                Step::Authenticate { .. } => self.connection.authenticated(Ok(self.grant.clone())),
                Step::JudgeSender { grant, .. } => self.connection.sender_judged(Ok(grant)),
                Step::JudgeRecipient(address) => {
                    let is_ours = address.local_part().starts_with("b+");
                    self.connection.recipient_judged(if is_ours {
                        Ok(ReportTo::Complaints)
                    } else {
                        Err(NotHere::Elsewhere)
                    });
                }
                Step::Submit(handed_in) => {
                    self.handed.push(handed_in.content);
                    self.connection.submitted(Ok("msg_1".to_owned()));
                }
                Step::Report { content, .. } => {
                    self.handed.push(content);
                    self.connection.reported(Ok(()));
                }
            }
            self.heard.append(self.connection.output());
        }
        self.heard.append(self.connection.output());
    }
}

/// SECURITY E.4, 1: whatever comes, in whatever pieces, nothing is taken whose framing is not exact, and replies are
/// replies.
#[test]
fn session() {
    let corpus = corpus("session", dialogs());
    fuzz(&corpus, 150_000, |input, dice| {
        let kind = if dice.below(3) == 0 { Kind::Inbound } else { Kind::Submission };
        let line_endings = if dice.below(4) == 0 { LineEndings::Normalize } else { LineEndings::Reject };
        let mut world = World::new(kind, line_endings);
        let mut rest = input;
        while !rest.is_empty() {
            // Mostly as clients do, a line at a time; sometimes anywhere.
            let line = rest.iter().position(|byte| *byte == b'\n').map_or(rest.len(), |at| at + 1);
            let size = if dice.below(4) == 0 { dice.below(rest.len()) + 1 } else { line };
            let (segment, more) = rest.split_at(size);
            world.hear(segment);
            rest = more;
        }
        let heard = String::from_utf8(world.heard).map_err(|_| "a reply is not text")?;
        for line in heard.split_inclusive("\r\n") {
            let (is_whole, is_short) = (line.ends_with("\r\n"), line.len() <= 512);
            let has_code = line.bytes().take(3).all(|byte| byte.is_ascii_digit());
            must(is_whole && is_short && has_code, &format!("said {line:?}"))?;
        }
        let has_chunks = input.windows(4).any(|word| word.eq_ignore_ascii_case(b"BDAT"));
        let invited = heard.matches("354 end with").count();
        must(has_chunks || world.handed.len() <= invited, "a text came without being asked for")?;
        for content in &world.handed {
            must(is_lines(content), &format!("took {}", content.escape_ascii()))?;
            let is_there = (0..input.len()).any(|at| was_sent(content, &input[at..]));
            let is_exact = has_chunks || line_endings == LineEndings::Normalize || is_there;
            must(is_exact, &format!("took what was not sent: {}", content.escape_ascii()))?;
        }
        Ok(())
    });
}

/// The input as lines that a client may send.
pub fn canonical(input: &[u8]) -> Vec<u8> {
    let mut content = Vec::with_capacity(input.len() + 2);
    for line in input.split(|byte| *byte == b'\n') {
        content.extend(line.iter().filter(|byte| !matches!(byte, b'\r' | 0)));
        content.extend_from_slice(b"\r\n");
    }
    content
}

/// 2: what a client stuffs comes out as it went in, in whatever pieces, and nothing behind it is taken.
#[test]
fn dots() {
    let corpus = corpus("dots", dialogs());
    let limits = Limits {
        content_bytes_max: usize::MAX,
        line_bytes_max: None,
        header_bytes_max: usize::MAX,
        header_lines_max: usize::MAX,
        lone_lf: LoneLf::Refused,
    };
    fuzz(&corpus, 150_000, |input, dice| {
        let content = canonical(input);
        let mut wire = stuffed(&content);
        let end = wire.len();
        wire.extend_from_slice(b"QUIT\r\n");
        let mut reader = DataReader::new(limits, Framing::Dots, None);
        let (mut at, mut ended) = (0, false);
        while !ended {
            let size = 1 + dice.below(wire.len() - at);
            let (used, is_end) = reader.push(&wire[at..at + size]);
            at += used;
            ended = is_end;
        }
        must(at == end, "it did not end where it ended")?;
        must(reader.finish().as_ref() == Ok(&content), "it came out otherwise")
    });
}

/// 3: chunks of any sizes, in whatever pieces, make the text that they are, and what follows is a command.
#[test]
fn chunks() {
    let corpus = corpus("chunks", dialogs());
    fuzz(&corpus, 100_000, |input, dice| {
        let content = [b"a: b\r\n\r\n".as_slice(), &canonical(&input[..input.len().min(1_000)])].concat();
        let mut wire = b"EHLO x\r\n".to_vec();
        let envelope = b"AUTH PLAIN AGEAYg==\r\nMAIL FROM:<a@b.example>\r\nRCPT TO:<c@d.example>\r\n";
        wire.extend_from_slice(envelope);
        let mut rest = content.as_slice();
        for _ in 0..dice.below(20) {
            let (chunk, more) = rest.split_at(dice.place(rest.len()));
            wire.extend_from_slice(format!("BDAT {}\r\n", chunk.len()).as_bytes());
            wire.extend_from_slice(chunk);
            rest = more;
        }
        wire.extend_from_slice(format!("BDAT {} LAST\r\n", rest.len()).as_bytes());
        wire.extend_from_slice(rest);
        wire.extend_from_slice(b"HELP\r\n");
        let mut world = World::new(Kind::Submission, LineEndings::Reject);
        let (hello, mut rest) = wire.split_at(b"EHLO x\r\n".len());
        world.hear(hello);
        while !rest.is_empty() {
            let (segment, more) = rest.split_at(1 + dice.below(rest.len()));
            world.hear(segment);
            rest = more;
        }
        let heard = String::from_utf8_lossy(&world.heard);
        must(world.handed == [content], &format!("it came out otherwise; heard {heard}"))?;
        must(heard.lines().last().is_some_and(|line| line.starts_with("214 ")), "what followed was no command")
    });
}

/// The one line of an input.
pub fn line(input: &[u8]) -> Vec<u8> {
    input.iter().copied().filter(|byte| !matches!(byte, b'\r' | b'\n')).take(1_500).collect()
}

pub fn lines_of_dialogs() -> Vec<Vec<u8>> {
    let lines = dialogs().into_iter().flat_map(|said| said.split(|byte| *byte == b'\n').map(line).collect::<Vec<_>>());
    lines.filter(|line| line.len() < 600).collect()
}

/// 4: an address that is taken is written in one way, which is taken as the same.
#[test]
fn addresses() {
    let corpus = corpus("addresses", lines_of_dialogs());
    fuzz(&corpus, 1_000_000, |input, _| {
        let text = String::from_utf8_lossy(input);
        let inner = text.split_once('<').map_or(&*text, |(_, rest)| rest);
        let inner = inner.rsplit_once('>').map_or(inner, |(path, _)| path);
        let Ok(address) = inner.parse::<Address>() else { return Ok(()) };
        let written = address.to_string();
        must(written.parse() == Ok(address.clone()), &format!("{written} is read otherwise"))?;
        must(written.len() <= 254 && !written.contains(|char: char| char.is_control()), &format!("wrote {written:?}"))?;
        must(!written.contains(['<', '>']) || written.starts_with('"'), &format!("wrote {written:?}"))
    });
}

/// 4 and 5: a MAIL or RCPT that is taken means the same to another reader of SMTP.
#[test]
fn parameters() {
    let corpus = corpus("parameters", lines_of_dialogs());
    fuzz(&corpus, 500_000, |input, _| {
        let line = line(input);
        let ours = command::parse(&line, Strictness::Strict);
        let wire = [line.as_slice(), b"\r\n"].concat();
        let theirs = Request::parse(&mut wire.iter());
        let unquoted = |address: &Address| format!("{}@{}", address.local_part(), address.domain());
        match (ours, theirs) {
            (Ok(Command::Mail(Mail { sender: Some(sender), size_bytes, .. })), Ok(Request::Mail { from })) => {
                must(same(&unquoted(&sender), &from.address), &format!("{sender} is {} to them", from.address))?;
                // They wrap around.
                let size = size_bytes.filter(|size| *size < 1 << 32).unwrap_or(from.size as u64);
                must(from.size as u64 == size, &format!("{size} is {} to them", from.size))
            }
            (
                Ok(Command::Rcpt(Rcpt { recipient: Recipient::Address { address, .. }, .. })),
                Ok(Request::Rcpt { to }),
            ) => must(same(&unquoted(&address), &to.address), &format!("{address} is {} to them", to.address)),
            _ => Ok(()),
        }
    });
}

/// Whether two readings of an address are the same, its domain in A-labels and lower case.
fn same(ours: &str, theirs: &str) -> bool {
    let Some((local, domain)) = theirs.rsplit_once('@') else { return false };
    let domain = idna::domain_to_ascii(domain).unwrap_or_else(|_| domain.to_owned());
    ours == format!("{}@{domain}", local.replace('\\', "")) || ours == format!("{local}@{domain}")
}

/// 10: replies of another server are the same in whatever pieces they come, and bounded.
#[test]
fn replies() {
    let corpus = corpus("replies", []);
    fuzz(&corpus, 750_000, |input, dice| {
        let read = |sizes: &mut dyn FnMut(usize) -> usize| {
            let (mut reader, mut replies, mut rest) = (reply::Reader::default(), Vec::new(), input);
            while !rest.is_empty() {
                let (segment, more) = rest.split_at(sizes(rest.len()));
                reader.push(segment);
                rest = more;
                loop {
                    match reader.take() {
                        Ok(Some(reply)) => replies.push(reply),
                        Ok(None) => break,
                        Err(bad) => return (replies, Some(bad)),
                    }
                }
            }
            (replies, None)
        };
        let whole = read(&mut |left| left);
        must(whole == read(&mut |_| 1), "byte by byte it is another")?;
        must(whole == read(&mut |left| 1 + dice.below(left)), "in pieces it is another")?;
        for reply in &whole.0 {
            must((200..600).contains(&reply.code) && reply.text.len() <= 32 * 1024, &format!("read {reply:?}"))?;
            let _ = (reply.in_one_line(), reply.lines().count());
        }
        Ok(())
    });
}

/// 19: what a domain says of TLS and of reports leads to addresses and hosts that can be written down, or nowhere.
#[test]
fn words_of_domains() {
    let corpus = [
        "v=TLSRPTv1; rua=mailto:tls%2Breports@example.com?subject=a,https://r.example:8443/v1?x=y , mailto:b@example.net",
        "v=TLSRPTv1 ;\trua=https://[2001:db8::1]/,mailto:%22a%20b%22@example.com;later=1.2-3_4;",
        "version: STSv1\r\nmode: testing\r\nmx: mx.example.com\r\nmx: *.example.net\r\nmax_age: 604800\r\n",
    ];
    fuzz(&corpus.map(|text| text.as_bytes().to_vec()), 1_000_000, |input, _| {
        let text = String::from_utf8_lossy(input).into_owned();
        if let Some(policy) = sts::Policy::read(&text) {
            must(policy.max_age <= Duration::from_secs(366 * 86_400), "a policy for ever")?;
            let _ = policy.names("mx.example.net");
        }
        let readers = tls_report::readers(std::slice::from_ref(&text));
        must(readers.len() <= 8, "too many readers")?;
        for uri in readers {
            must(
                uri.bytes().all(|byte| byte.is_ascii_graphic() || byte == b' ' || byte == b'\t'),
                "a control character",
            )?;
            match tls_report::Reader::of(&uri) {
                Some(Reader::Mail(to)) => must(to.to_string().parse().as_ref() == Ok(&to), "another address")?,
                Some(Reader::Web(url)) => must(url.scheme() == "https" && url.has_host(), "no https")?,
                None => return Err(format!("nobody at {uri}")),
            }
        }
        Ok(())
    });
}

/// 17: an introduction is bounded, takes nothing behind it, and is the same with more behind it.
#[test]
fn introductions() {
    let corpus = corpus("introductions", []);
    fuzz(&corpus, 3_000_000, |input, _| {
        let mut taken = 0;
        loop {
            match proxy::progress(&input[..taken]) {
                Progress::Done(_) | Progress::Bad => break,
                Progress::Needs(0) => return Err("it needs nothing more and has no end".to_owned()),
                Progress::Needs(more) if taken + more > input.len() => break,
                Progress::Needs(more) => taken += more,
            }
            must(taken <= 16 + 4096, "it has no bound")?;
        }
        Ok(())
    });
}

/// 8: a report is read the same with each kind of line end, names somebody or nobody, and is within its bounds.
#[test]
fn reports() {
    let files = std::fs::read_dir(PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/reports")).unwrap();
    let mut files: Vec<PathBuf> = files.map(|entry| entry.unwrap().path()).collect();
    files.retain(|file| file.extension().is_some_and(|extension| extension == "eml"));
    files.sort();
    let corpus: Vec<Vec<u8>> = files.iter().map(|file| std::fs::read(file).unwrap()).collect();
    let rules = Rules::default();
    fuzz(&corpus, 10_000, |input, _| {
        let lines: Vec<u8> = input.iter().copied().filter(|byte| *byte != b'\r').collect();
        let report = report::read(&lines, &rules);
        let with_ends = lines.split(|byte| *byte == b'\n').collect::<Vec<_>>().join(&b"\r\n"[..]);
        must(report == report::read(&with_ends, &rules), "with CRLF it is another")?;
        must(!report.cut && report.recipients.len() <= RECIPIENTS_MAX, "it has no bound")?;
        must(report.recipients.iter().all(|recipient| !recipient.address.is_empty()), "it names nobody")?;
        report::read(input, &rules);
        Ok(())
    });
}
