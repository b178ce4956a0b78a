//! From bytes to lines and texts, and from lines and texts to steps: one connection without its socket.
//!
//! Pure: bytes, answers and the time come in; replies and [`Step`]s go out. Whoever holds the socket writes
//! [`Connection::output`], does what [`Connection::step`] says, and tells it what came of it. What the client has sent
//! too early is seen here, and only here: it stands behind a line that should have been the last (RFC 2920 §3.1).

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::{Buf, BytesMut};
use memchr::memchr;

use crate::intake::caller::AuthFailure;
use crate::intake::report::{NotHere, ReportTo, Unavailable};
use crate::intake::submission::Refusal;
use crate::model::tenant::Grant;
use crate::model::time::Timestamp;

use super::command::PATH_LINE_BYTES_MAX;
use super::data::DataFault;
use super::reply;
use super::session::{Session, Summary};
use super::settings::{LineEndings, Listener, Settings};
use super::step::{NotNow, Step, Tail, Tls, Turn};

/// Replies that may wait for each other before they are sent.
const OUTPUT_BYTES_MAX: usize = 8 * 1024;
/// Room for input that a client keeps while it says nothing.
const IDLE_ROOM_BYTES: usize = 1024;
/// Over which time the speed of a text is taken.
const SPEED_WINDOW: Duration = Duration::from_secs(60);
/// How often [`Connection::pulse`] wants to be called at least.
const PULSE: Duration = Duration::from_secs(30);
/// First byte of a TLS record (RFC 8446 §5.1): a client that takes us for an implicit-TLS port.
const TLS_HANDSHAKE: u8 = 0x16;

/// One connection.
#[derive(Debug)]
pub struct Connection {
    settings: Arc<Settings>,
    line_endings: LineEndings,
    session: Session,
    input: BytesMut,
    /// So much of the input holds no LF.
    scanned: usize,
    phase: Phase,
    asked: Option<Step>,
    /// When the client's turn began.
    turn_since: Timestamp,
}

#[derive(Debug)]
enum Phase {
    Lines,
    Text(Text),
    Over,
}

/// A text on its way in; the session reads it.
#[derive(Debug)]
struct Text {
    end: TextEnd,
    read_bytes: u64,
    window_since: Timestamp,
    window_bytes: u64,
}

/// Where a text, or a piece of it, ends.
#[derive(Clone, Copy, Debug)]
enum TextEnd {
    /// At a dot alone on its line.
    Dot,
    /// After so many bytes.
    Chunk { size_bytes: u64, is_last: bool },
}

/// The next line of the input: how long it is, and how long with what ended it.
enum Line {
    Whole { bytes: usize, with_end: usize },
    LoneLf,
    Part,
}

impl Connection {
    /// A connection that has just been made.
    pub fn new(settings: Arc<Settings>, listener: Arc<Listener>, tls: Tls, peer: IpAddr, now: Timestamp) -> Self {
        Self {
            line_endings: listener.line_endings,
            session: Session::new(settings.clone(), listener, tls, peer, now),
            settings,
            input: BytesMut::new(),
            scanned: 0,
            phase: Phase::Lines,
            asked: None,
            turn_since: now,
        }
    }

    /// Greets, or shows out a client that talked first: call it when the input holds whatever came so far.
    pub fn greet(&mut self) {
        let turn = self.session.greet(if self.input.is_empty() { Tail::Empty } else { Tail::More });
        self.follow(turn);
    }

    /// Where input goes.
    pub fn input(&mut self) -> &mut BytesMut {
        &mut self.input
    }

    /// What is to be sent; the caller empties it.
    pub fn output(&mut self) -> &mut Vec<u8> {
        &mut self.session.out
    }

    /// What is to be done now.
    pub fn step(&mut self, now: Timestamp) -> Step {
        loop {
            if let Some(step) = self.asked.take() {
                return step;
            }
            let turn = match &mut self.phase {
                Phase::Over => return Step::Close,
                Phase::Lines | Phase::Text(_) if self.session.out.len() > OUTPUT_BYTES_MAX => return Step::Write,
                Phase::Lines | Phase::Text(_) if self.input.is_empty() => return Step::Read,
                Phase::Text(_) => match self.take_text() {
                    Some(is_whole) => {
                        self.turn_since = now;
                        self.end_text(is_whole)
                    }
                    None => continue,
                },
                Phase::Lines if self.input.first() == Some(&TLS_HANDSHAKE) => self.session.say(reply::NOT_SMTP),
                Phase::Lines => match self.line() {
                    Some(Line::Whole { bytes, with_end }) => {
                        self.turn_since = now;
                        self.take_line(bytes, with_end)
                    }
                    Some(Line::LoneLf) => self.session.say(reply::LONE_LF),
                    Some(Line::Part) => return Step::Read,
                    None => self.session.say(reply::LINE_FAR_TOO_LONG),
                },
            };
            self.follow(turn);
        }
    }

    /// Finds the end of the line; `None` when it is longer than anything we read.
    fn line(&mut self) -> Option<Line> {
        let max = self.session.line_bytes_max(&self.input).max(PATH_LINE_BYTES_MAX);
        let unseen = self.input.get(self.scanned..).unwrap_or_default();
        let Some(lf) = memchr(b'\n', unseen).map(|at| at + self.scanned) else {
            self.scanned = self.input.len();
            return (self.input.len() < max).then_some(Line::Part);
        };
        if lf >= max {
            return None;
        }
        Some(match (lf.checked_sub(1).and_then(|at| self.input.get(at)), self.line_endings) {
            (Some(b'\r'), _) => Line::Whole { bytes: lf - 1, with_end: lf + 1 },
            (_, LineEndings::Normalize) => Line::Whole { bytes: lf, with_end: lf + 1 },
            (_, LineEndings::Reject) => Line::LoneLf,
        })
    }

    fn take_line(&mut self, bytes: usize, with_end: usize) -> Turn {
        let line = self.input.get(..bytes).unwrap_or_default();
        let turn = if with_end > self.session.line_bytes_max(line) {
            self.session.say(reply::LINE_TOO_LONG)
        } else {
            let tail = if self.input.len() > with_end { Tail::More } else { Tail::Empty };
            self.session.line(line, tail, self.turn_since)
        };
        self.input.advance(with_end);
        self.scanned = 0;
        turn
    }

    /// Takes what there is of a text. Answers when that is over, and whether its end was found.
    fn take_text(&mut self) -> Option<bool> {
        let Phase::Text(text) = &mut self.phase else { return None };
        let (used, ended) = match text.end {
            TextEnd::Dot => match self.session.text() {
                Some(reader) => reader.push(&self.input),
                None => (0, true),
            },
            TextEnd::Chunk { size_bytes, .. } => {
                let left = usize::try_from(size_bytes - text.read_bytes).unwrap_or(usize::MAX);
                let used = left.min(self.input.len());
                if let Some(reader) = self.session.text() {
                    reader.push(self.input.get(..used).unwrap_or_default());
                }
                (used, used == left)
            }
        };
        self.input.advance(used);
        text.read_bytes += used as u64;
        text.window_bytes += used as u64;
        // A text that was refused long ago is not listened to forever.
        let bound = self.settings.message_bytes_max.saturating_mul(2).saturating_add(1 << 20);
        (ended || text.read_bytes > bound).then_some(ended)
    }

    fn end_text(&mut self, is_whole: bool) -> Turn {
        match std::mem::replace(&mut self.phase, Phase::Lines) {
            Phase::Text(Text { end: TextEnd::Chunk { size_bytes, is_last }, .. }) => {
                self.session.chunk_ended(size_bytes, is_last)
            }
            Phase::Text(_) | Phase::Lines | Phase::Over => self.session.text_ended(is_whole),
        }
    }

    fn follow(&mut self, turn: Turn) {
        match turn {
            Turn::Next => {}
            Turn::Text => self.begin_text(TextEnd::Dot),
            // Nothing need come before a chunk of nothing has ended.
            Turn::Chunk { size_bytes: 0, is_last } => {
                let turn = self.session.chunk_ended(0, is_last);
                self.follow(turn);
            }
            Turn::Chunk { size_bytes, is_last } => self.begin_text(TextEnd::Chunk { size_bytes, is_last }),
            Turn::Ask(Step::Close) => self.phase = Phase::Over,
            Turn::Ask(step) => self.asked = Some(step),
        }
    }

    fn begin_text(&mut self, end: TextEnd) {
        self.phase = Phase::Text(Text { end, read_bytes: 0, window_since: self.turn_since, window_bytes: 0 });
    }

    /// The answer to [`Step::Authenticate`].
    pub fn authenticated(&mut self, answer: Result<Arc<Grant>, AuthFailure>) {
        let turn = self.session.authenticated(answer);
        self.follow(turn);
    }

    /// The other answer to [`Step::Authenticate`] for a wrong password: one of too many from there.
    pub fn authentication_postponed(&mut self) {
        let turn = self.session.say(reply::LOGIN_TOO_SOON);
        self.follow(turn);
    }

    /// The answer to [`Step::JudgeSender`]: the grant as it is now.
    pub fn sender_judged(&mut self, answer: Result<Option<Arc<Grant>>, NotNow>) {
        let turn = self.session.sender_judged(answer);
        self.follow(turn);
    }

    /// The answer to [`Step::JudgeRecipient`].
    pub fn recipient_judged(&mut self, answer: Result<ReportTo, NotHere>) {
        let turn = self.session.recipient_judged(answer);
        self.follow(turn);
    }

    /// The answer to [`Step::Submit`]: the id of the message that is kept, or why it is not.
    pub fn submitted(&mut self, answer: Result<String, Refusal>) {
        let turn = self.session.submitted(answer);
        self.follow(turn);
    }

    /// The answer to [`Step::Report`].
    pub fn reported(&mut self, answer: Result<(), Unavailable>) {
        let turn = self.session.reported(answer);
        self.follow(turn);
    }

    /// The answer to [`Step::StartTls`]: TLS is on, with this version and cipher. Under implicit TLS it is said before
    /// the greeting.
    pub fn secured(&mut self, facts: String) {
        self.session.secured(facts);
    }

    /// We are about to stop: a text that is being sent may be finished, anything else ends now.
    pub fn stop(&mut self) {
        self.session.stop();
        if matches!(self.phase, Phase::Lines) {
            let turn = self.session.say(reply::STOPPING);
            self.follow(turn);
        }
    }

    /// Bytes of message text held.
    pub fn text_bytes(&self) -> usize {
        self.session.text_bytes()
    }

    /// There is no memory for the text that is being sent.
    pub fn put_off_text(&mut self) {
        if let Some(text) = self.session.text() {
            text.give_up(DataFault::NoRoom);
        }
    }

    /// Ends the connection of a client that takes too long: with a command, however many bytes of it trickle in, or
    /// with a text. Gives back memory that a busy client needed.
    pub fn pulse(&mut self, now: Timestamp) {
        let is_late = match &mut self.phase {
            Phase::Over => false,
            Phase::Lines => now.since(self.turn_since) >= self.settings.command_time(),
            Phase::Text(text) if now.since(text.window_since) < SPEED_WINDOW => false,
            Phase::Text(text) => {
                let taken = now.since(text.window_since).as_secs();
                let is_slow = text.window_bytes < taken.saturating_mul(self.settings.data_bytes_per_sec_min.into());
                text.window_since = now;
                text.window_bytes = 0;
                is_slow
            }
        };
        if is_late {
            let turn = self.session.say(reply::TOO_SLOW);
            self.follow(turn);
        }
        if self.input.is_empty() && self.input.capacity() > IDLE_ROOM_BYTES && matches!(self.phase, Phase::Lines) {
            self.input = BytesMut::new();
        }
    }

    /// When [`Connection::pulse`] is wanted next.
    pub fn next_pulse(&self, now: Timestamp) -> Timestamp {
        let late = match &self.phase {
            Phase::Lines | Phase::Over => self.turn_since + self.settings.command_time(),
            Phase::Text(text) => text.window_since + SPEED_WINDOW,
        };
        late.min(now + PULSE)
    }

    /// What it came to so far.
    pub fn summary(&self) -> &Summary {
        self.session.summary()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Fragments that bring a connection into every state, and out of it in every wrong way.
    fn fragment() -> impl Strategy<Value = Vec<u8>> {
        let known = prop::sample::select(vec![
            &b"EHLO a.example\r\n"[..],
            b"HELO a.example\r\n",
            b"MAIL FROM:<a@b.example>\r\n",
            b"MAIL FROM:<> SIZE=5 SMTPUTF8\r\n",
            b"RCPT TO:<c@d.example>\r\n",
            b"RCPT TO:<postmaster>\r\n",
            b"DATA\r\n",
            b"a: b\r\n\r\nc",
            b"\r\n.\r\n",
            b"\n.\n",
            b"\r.",
            b".",
            b"\r",
            b"\n",
            b"AUTH PLAIN AGEAYg==\r\n",
            b"AUTH LOGIN\r\n",
            b"*\r\n",
            b"RSET\r\n",
            b"STARTTLS\r\n",
            b"BDAT 3\r\n",
            b"BDAT 9 LAST\r\n",
            b"BDAT 0 LAST\r\n",
            b"a: b\r\n\r\nc",
            b"\0",
        ]);
        prop_oneof![
            8 => known.prop_map(<[u8]>::to_vec),
            1 => prop::collection::vec(any::<u8>(), 0..40),
            1 => prop::collection::vec(prop::sample::select(b"a<>\"\\ .\r\n".to_vec()), 0..3000),
        ]
    }

    proptest! {
        /// Whatever comes, in whatever pieces: replies are reply lines, and a content that is handed on has exact line
        /// ends, was asked for by a 354, and ends where the text ended.
        #[test]
        fn nothing_inexact_is_handed_on(segments in prop::collection::vec(fragment(), 0..60)) {
            let settings = Arc::new(Settings { message_bytes_max: 2_000, ..Settings::default() });
            let mut listener = Listener::development();
            listener.kind = super::super::settings::Kind::Inbound;
            let peer = IpAddr::from([192, 0, 2, 1]);
            let now = Timestamp::default();
            let mut connection = Connection::new(settings, Arc::new(listener), Tls::Offered, peer, now);
            connection.greet();
            let mut heard = Vec::new();
            let mut asked_for = 0;
            let chunked = segments.iter().any(|segment| segment.starts_with(b"BDAT"));
            'talk: for segment in segments {
                connection.input().extend_from_slice(&segment);
                loop {
                    match connection.step(now) {
                        Step::Read => break,
                        Step::Close => break 'talk,
                        Step::StartTls => connection.secured(String::new()),
                        Step::JudgeSender { .. } => connection.sender_judged(Ok(None)),
                        Step::JudgeRecipient(_) => connection.recipient_judged(Err(NotHere::Elsewhere)),
                        Step::Report { to, content, .. } => {
                            asked_for += 1;
                            prop_assert_eq!(to, vec![ReportTo::Postmaster]);
                            prop_assert!(content.ends_with(b"\r\n"));
                            let text = String::from_utf8_lossy(&content).replace("\r\n", "");
                            prop_assert!(!text.contains(['\r', '\n', '\0']));
                            connection.reported(Ok(()));
                        }
                        Step::Write => {}
                        step => prop_assert!(false, "nobody asked for {step:?}"),
                    }
                    heard.append(connection.output());
                }
                heard.append(connection.output());
            }
            heard.append(connection.output());
            let heard = String::from_utf8(heard).unwrap();
            prop_assert!(heard.ends_with("\r\n"));
            for line in heard.split_terminator("\r\n") {
                prop_assert!(line.len() <= 510 && line.bytes().take(3).all(|byte| byte.is_ascii_digit()), "{line:?}");
            }
            let invited = heard.matches("\r\n354 ").count() + usize::from(chunked) * asked_for;
            prop_assert!(invited >= asked_for);
        }
    }
}
