//! The text of a message: strict line ends, dots taken off, limits (RFC 5321 §4.5.2, §4.5.3.1; RFC 3030).
//!
//! Pure over byte slices, in pieces of any size. Only CR LF ends a line and only CR LF `.` CR LF ends the text. Whoever
//! takes a lone LF for a line end reads two messages where we read one, and that is how mail is smuggled: see
//! SMTP smuggling, 2023. A text that breaks a rule is read to its true end, so that nothing in it is ever
//! taken for a command, and then refused as a whole.
//!
//! After `BDAT` the bytes are counted: a dot is a dot, and the text ends where the client said. Its lines must be lines
//! all the same, since it goes on by `DATA`.

use memchr::memchr3;

/// What is asked of a text.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Bytes of content, dots taken off.
    pub content_bytes_max: usize,
    /// Bytes of a line without its CRLF; RFC 5321 §4.5.3.1.6 promises 998. `None`: as long as the content may be.
    pub line_bytes_max: Option<usize>,
    /// Bytes of the header.
    pub header_bytes_max: usize,
    /// Lines of the header.
    pub header_lines_max: usize,
    /// What a lone LF is.
    pub lone_lf: LoneLf,
}

/// What a LF without a CR before it is taken for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LoneLf {
    /// A reason to refuse the message.
    Refused,
    /// A line end of the content that was written wrongly; never part of the end of the text.
    LineEnd,
}

/// How the end of a text is known.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Framing {
    /// `DATA`: by a dot alone on a line; a dot that begins a line is doubled.
    Dots,
    /// `BDAT`: by counting.
    Counted,
}

/// What is wrong with a text. The first thing found counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DataFault {
    /// CR without LF, or LF without CR where that is refused.
    LineEnds,
    /// A NUL.
    Nul,
    /// Counted bytes that are not lines of text: one of the above, in its place.
    NotLines,
    /// More content than the limit.
    TooLarge,
    /// A longer line than the limit.
    LongLine,
    /// A larger header than the limit.
    LongHeader,
    /// No content at all.
    Empty,
    /// The caller has no memory for it.
    NoRoom,
}

/// Reads one text.
#[derive(Debug)]
pub struct DataReader {
    limits: Limits,
    framing: Framing,
    content: Vec<u8>,
    at: Place,
    line_bytes: usize,
    header_lines: usize,
    in_header: bool,
    fault: Option<DataFault>,
    misframed: bool,
}

/// What was read last, as far as it matters for what comes next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Place {
    /// Nothing, or CR LF.
    LineStart,
    /// A dot at the start of a line.
    Dot,
    /// A dot at the start of a line, and CR.
    DotCr,
    /// Anything else.
    InLine,
    /// CR.
    Cr,
}

impl DataReader {
    /// For a text of about `expected_bytes`, if the client said.
    pub fn new(limits: Limits, framing: Framing, expected_bytes: Option<u64>) -> Self {
        const FIRST_ROOM: u64 = 8 * 1024;
        const FIRST_ROOM_MAX: u64 = 256 * 1024;
        let room = expected_bytes.unwrap_or(0).clamp(FIRST_ROOM, FIRST_ROOM_MAX);
        Self {
            limits,
            framing,
            content: Vec::with_capacity(usize::try_from(room).unwrap_or_default()),
            at: Place::LineStart,
            line_bytes: 0,
            header_lines: 0,
            in_header: true,
            fault: None,
            misframed: false,
        }
    }

    /// Bytes of memory held.
    pub fn held_bytes(&self) -> usize {
        self.content.capacity()
    }

    /// Whether a line end was wrong or a NUL came, first fault or not: then the client may have meant another end of
    /// the text than we found, and nothing that follows can be trusted.
    pub fn is_misframed(&self) -> bool {
        self.misframed
    }

    /// Whether the text will be refused, whatever follows.
    pub fn is_refused(&self) -> bool {
        self.fault.is_some()
    }

    /// Refuses the text for a reason of the caller's; it is still read to its end.
    pub fn give_up(&mut self, fault: DataFault) {
        if self.fault.is_none() {
            self.fault = Some(fault);
            self.content = Vec::new();
        }
    }

    /// Takes the next piece. Answers how many of its bytes belong to the text, and whether that was the end of it;
    /// all of them unless it was.
    pub fn push(&mut self, input: &[u8]) -> (usize, bool) {
        let mut rest = input;
        while let Some((first, after)) = rest.split_first() {
            rest = match (self.at, first) {
                (Place::LineStart, b'.') if self.framing == Framing::Dots => {
                    self.at = Place::Dot;
                    after
                }
                (Place::Dot, b'\r') => {
                    self.at = Place::DotCr;
                    after
                }
                (Place::DotCr, b'\n') => return (input.len() - after.len(), true),
                (Place::Cr, b'\n') => {
                    self.end_line();
                    after
                }
                (Place::Cr | Place::DotCr, _) => {
                    self.misframe(DataFault::LineEnds);
                    self.at = Place::InLine;
                    rest
                }
                (Place::LineStart | Place::Dot | Place::InLine, _) => self.within_line(rest),
            };
        }
        (input.len(), false)
    }

    /// The content, or why there is none.
    ///
    /// # Errors
    /// The first thing that was wrong.
    pub fn finish(mut self) -> Result<Vec<u8>, DataFault> {
        match (self.framing, self.at) {
            (Framing::Dots, _) | (Framing::Counted, Place::LineStart) => {}
            (Framing::Counted, Place::Cr) => self.misframe(DataFault::LineEnds),
            // It may leave out its last line end.
            (Framing::Counted, Place::InLine | Place::Dot | Place::DotCr) => self.end_line(),
        }
        match self.fault {
            None if self.content.is_empty() => Err(DataFault::Empty),
            None => Ok(self.content),
            Some(fault) => Err(fault),
        }
    }

    fn misframe(&mut self, fault: DataFault) {
        match self.framing {
            Framing::Counted => self.give_up(DataFault::NotLines),
            Framing::Dots => {
                self.misframed = true;
                self.give_up(fault);
            }
        }
    }

    /// Takes from a line up to what may end it; answers what is left.
    fn within_line<'a>(&mut self, input: &'a [u8]) -> &'a [u8] {
        let end = memchr3(b'\r', b'\n', 0, input).unwrap_or(input.len());
        let (text, rest) = input.split_at(end);
        self.at = Place::InLine;
        self.keep(text);
        match rest.split_first() {
            None => rest,
            Some((b'\r', after)) => {
                self.at = Place::Cr;
                match after.split_first() {
                    Some((b'\n', after)) => {
                        self.end_line();
                        after
                    }
                    _ => after,
                }
            }
            Some((b'\n', after)) => {
                match self.limits.lone_lf {
                    LoneLf::Refused => self.misframe(DataFault::LineEnds),
                    LoneLf::LineEnd => {
                        self.end_line();
                        self.at = Place::InLine;
                    }
                }
                after
            }
            Some((_, after)) => {
                self.misframe(DataFault::Nul);
                after
            }
        }
    }

    fn keep(&mut self, text: &[u8]) {
        self.line_bytes = self.line_bytes.saturating_add(text.len());
        if self.limits.line_bytes_max.is_some_and(|max| self.line_bytes > max) {
            self.give_up(DataFault::LongLine);
        }
        self.append(text);
    }

    fn end_line(&mut self) {
        self.append(b"\r\n");
        if self.in_header {
            self.header_lines += 1;
            self.in_header = self.line_bytes > 0;
            if self.header_lines > self.limits.header_lines_max {
                self.give_up(DataFault::LongHeader);
            }
        }
        self.line_bytes = 0;
        self.at = Place::LineStart;
    }

    fn append(&mut self, bytes: &[u8]) {
        if self.fault.is_some() {
            return;
        }
        let size = self.content.len().saturating_add(bytes.len());
        if size > self.limits.content_bytes_max {
            self.give_up(DataFault::TooLarge);
        } else if self.in_header && size > self.limits.header_bytes_max {
            self.give_up(DataFault::LongHeader);
        } else {
            self.content.extend_from_slice(bytes);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMITS: Limits = Limits {
        content_bytes_max: 1_000,
        line_bytes_max: Some(60),
        header_bytes_max: 200,
        header_lines_max: 10,
        lone_lf: LoneLf::Refused,
    };

    /// Reads `input` in pieces; `None` when the end was not found.
    fn read<'a>(limits: Limits, pieces: impl Iterator<Item = &'a [u8]>) -> Option<Result<Vec<u8>, DataFault>> {
        let mut reader = DataReader::new(limits, Framing::Dots, None);
        for piece in pieces {
            let (used, ended) = reader.push(piece);
            if ended {
                assert_eq!(&piece[used..], b"", "nothing stands behind the end");
                return Some(reader.finish());
            }
            assert_eq!(used, piece.len());
        }
        None
    }

    /// The same result whole, byte by byte, and cut in two anywhere.
    fn check_with(limits: Limits, input: &[u8], expected: Option<Result<&[u8], DataFault>>) {
        let expected = expected.map(|result| result.map(<[u8]>::to_vec));
        assert_eq!(read(limits, [input].into_iter()), expected, "{}", input.escape_ascii());
        assert_eq!(read(limits, input.chunks(1)), expected, "{}, byte by byte", input.escape_ascii());
        for cut in 0..input.len() {
            let (head, tail) = input.split_at(cut);
            assert_eq!(read(limits, [head, tail].into_iter()), expected, "{}, cut at {cut}", input.escape_ascii());
        }
    }

    fn check(input: &[u8], expected: Option<Result<&[u8], DataFault>>) {
        check_with(LIMITS, input, expected);
    }

    #[test]
    fn text_ends_at_a_dot_alone_and_nowhere_else() {
        check(b"a: b\r\n\r\nc\r\n.\r\n", Some(Ok(b"a: b\r\n\r\nc\r\n")));
        check(b"a\r\n..\r\nb\r\n.\r\n", Some(Ok(b"a\r\n.\r\nb\r\n")));
        check(b".a\r\n.\r\n", Some(Ok(b"a\r\n")));
        check(b"...\r\n.\r\n", Some(Ok(b"..\r\n")));
        check(b".\r\n", Some(Err(DataFault::Empty)));
        check(b"a.\r\n.\r\n", Some(Ok(b"a.\r\n")));
        check(b"a\r\n.", None);
        check(b"a\r\n.\r", None);
        check(b"a.\r\n", None);
        check(b"a\r\n. \r\n", None);
    }

    #[test]
    fn smuggled_ends_refuse_the_whole() {
        for end in [
            "\n.\n",
            "\n.\r\n",
            "\r\n.\n",
            "\r.\r",
            "\r.\n",
            "\n.\r",
            "\r.\r\n",
            "\r\n.\r",
            "\r\r\n.\r\r\n",
            "\r\n.\r\r\n",
            "\r\n\r.\r\n",
            "\n\n.\r\n",
            "\r\n.\r.\r\n",
        ] {
            let smuggled = format!("a: b\r\n\r\nc{end}MAIL FROM:<x@y.example>\r\nd\r\n.\r\n");
            check(smuggled.as_bytes(), Some(Err(DataFault::LineEnds)));
        }
        check(b"x\rBcc: y\r\n.\r\n", Some(Err(DataFault::LineEnds)));
        check(b"a\r\n\0.\r\n\r\n.\r\n", Some(Err(DataFault::Nul)));
        check(b"a\r\n.\0\r\n\r\n.\r\n", Some(Err(DataFault::Nul)));
    }

    #[test]
    fn a_forgiven_lf_ends_a_line_but_never_the_text() {
        let limits = Limits { lone_lf: LoneLf::LineEnd, ..LIMITS };
        check_with(limits, b"a\nb\r\n.\r\n", Some(Ok(b"a\r\nb\r\n")));
        check_with(limits, b"a\n.\nb\r\n.\r\n", Some(Ok(b"a\r\n.\r\nb\r\n")));
        check_with(limits, b"a\n.\r\nb\r\n.\r\n", Some(Ok(b"a\r\n.\r\nb\r\n")));
        check_with(limits, b"a\r\n.\nb\r\n.\r\n", Some(Ok(b"a\r\n\r\nb\r\n")));
        check_with(limits, b"a\r.\r\n\r\n.\r\n", Some(Err(DataFault::LineEnds)));
    }

    #[test]
    fn limits_hold_and_the_end_is_still_found() {
        let text = |size: usize| [b"\r\n".as_slice(), &b"1234567\r\n".repeat(size / 9), b".\r\n"].concat();
        let expected = |size: usize| [b"\r\n".as_slice(), &b"1234567\r\n".repeat(size / 9)].concat();
        check(&text(990), Some(Ok(&expected(990))));
        check(&text(999), Some(Err(DataFault::TooLarge)));
        check(&[&text(999)[..1001], b"x\n.\nQUIT\r\n.\r\n"].concat(), Some(Err(DataFault::TooLarge)));
        let line = |size: usize| [&b"x".repeat(size), b"\r\n.\r\n".as_slice()].concat();
        check(&line(60), Some(Ok(&line(60)[..62])));
        check(&line(61), Some(Err(DataFault::LongLine)));
        check(&[b".", &line(60)[..]].concat(), Some(Ok(&line(60)[..62])));
        check(&[&b"a: b\r\n".repeat(10), b"\r\n.\r\n".as_slice()].concat(), Some(Err(DataFault::LongHeader)));
        check(
            &[&b"a: bcdefghijklmnopqrstuv\r\n".repeat(9), b"\r\n.\r\n".as_slice()].concat(),
            Some(Err(DataFault::LongHeader)),
        );
    }

    #[test]
    fn a_text_that_was_refused_already_can_still_be_misframed() {
        let mut reader = DataReader::new(LIMITS, Framing::Dots, None);
        reader.push(&[b'x'; 100]);
        assert!(!reader.is_misframed());
        assert_eq!(reader.push(b"\r\n.\n\r\n.\r\n"), (9, true));
        assert!(reader.is_misframed());
        assert_eq!(reader.finish(), Err(DataFault::LongLine));
    }

    #[test]
    fn counted_text_is_lines_with_dots_as_they_are() {
        let check = |input: &[u8], lone_lf, expected: Result<&[u8], DataFault>| {
            for size in [1, 2, input.len().max(1)] {
                let mut reader = DataReader::new(Limits { lone_lf, ..LIMITS }, Framing::Counted, None);
                for piece in input.chunks(size) {
                    assert_eq!(reader.push(piece), (piece.len(), false));
                }
                assert!(!reader.is_misframed());
                assert_eq!(reader.finish(), expected.map(<[u8]>::to_vec), "{}", input.escape_ascii());
            }
        };
        let strict = |input: &[u8], expected| check(input, LoneLf::Refused, expected);
        strict(b"a: b\r\n\r\n.\r\n..\r\nc\r\n", Ok(b"a: b\r\n\r\n.\r\n..\r\nc\r\n"));
        strict(b"hello", Ok(b"hello\r\n"));
        strict(b"a\r\n.", Ok(b"a\r\n.\r\n"));
        strict(b"", Err(DataFault::Empty));
        for bad in [&b"a\n.\nb"[..], b"a\r", b"a\rb", b"a\r\n.\r", b"a\0b"] {
            strict(bad, Err(DataFault::NotLines));
        }
        strict(&[b'x'; 61], Err(DataFault::LongLine));
        check(b"a\n.\nb", LoneLf::LineEnd, Ok(b"a\r\n.\r\nb\r\n"));
    }

    #[test]
    fn the_end_is_found_at_every_distance() {
        for size in 1..8_193 {
            let limits = Limits { content_bytes_max: 10_000, line_bytes_max: None, header_bytes_max: 10_000, ..LIMITS };
            let mut reader = DataReader::new(limits, Framing::Dots, Some(u64::MAX));
            let text = [&b"x".repeat(size), b"\r\n.\r\n".as_slice()].concat();
            let (head, tail) = text.split_at(size);
            assert_eq!(reader.push(head), (size, false));
            assert_eq!(reader.push(tail), (5, true));
            assert_eq!(reader.finish().map(|content| content.len()), Ok(size + 2));
        }
    }
}
