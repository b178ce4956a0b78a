//! Finds requests that leave open where they end.
//!
//! A request with both `Content-Length` and `Transfer-Encoding` is what request smuggling is made of (RFC 9112 §6.3,
//! §11.2). hyper settles it in favour of the latter and hides the former, so all that comes from a socket is followed
//! here, request by request: a header to its empty line, then its body, counted or in chunks, then the next header. Where
//! one says two things, or anything but plain digits and `chunked`, nothing after it is believed: the doubt stays. What
//! hyper refuses by itself need not be found here; what it takes must not be read differently.
//!
//! | at | a line, or bytes | then |
//! |---|---|---|
//! | start | empty line | start |
//! | start, header | any other line | header |
//! | header | empty line | body, or chunk, or start |
//! | body | as many as announced | start |
//! | chunk | a size, CRLF | data, or trailer when it is 0 |
//! | data | as many, and CRLF | chunk |
//! | trailer | empty line, CRLF | start |

/// Of each line, what is needed to know what it says.
const LINE_BYTES: usize = 64;

/// What has been seen of one connection.
#[derive(Clone, Debug)]
pub(super) struct Framing {
    at: At,
    line: Line,
    /// `Content-Length` of this header.
    length: Option<u64>,
    is_chunked: bool,
    is_doubtful: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum At {
    Start,
    Header,
    Body(u64),
    Chunk,
    Data(u64),
    Trailer,
}

/// The beginning of a line, and how it has gone on.
#[derive(Clone, Copy, Debug)]
struct Line {
    start: [u8; LINE_BYTES],
    length: usize,
    last: u8,
    is_long: bool,
    /// A CR stands where it ends no line.
    has_cr: bool,
}

impl Default for Framing {
    fn default() -> Self {
        Self { at: At::Start, line: Line::NEW, length: None, is_chunked: false, is_doubtful: false }
    }
}

impl Line {
    const NEW: Self = Self { start: [0; LINE_BYTES], length: 0, last: 0, is_long: false, has_cr: false };

    fn add(&mut self, bytes: &[u8]) {
        let Some((last, before)) = bytes.split_last() else { return };
        self.has_cr |= self.last == b'\r' || memchr::memchr(b'\r', before).is_some();
        self.last = *last;
        let taken = bytes.len().min(LINE_BYTES - self.length);
        self.start[self.length..self.length + taken].copy_from_slice(&bytes[..taken]);
        self.length += taken;
        self.is_long |= taken < bytes.len();
    }

    /// What was kept of it, without the CR that ends it.
    fn text(&self) -> &[u8] {
        let start = &self.start[..self.length];
        if self.is_long { start } else { start.strip_suffix(b"\r").unwrap_or(start) }
    }

    fn is_empty(&self) -> bool {
        self.text().is_empty()
    }

    /// It ends as chunks and trailers must: with CRLF, and nowhere before.
    fn is_strict(&self) -> bool {
        self.last == b'\r' && !self.has_cr
    }

    /// The value of a field, blanks aside, when this is its name.
    fn value(&self, name: &[u8]) -> Option<&[u8]> {
        let text = self.text();
        let is_named = text.get(..name.len()).is_some_and(|start| start.eq_ignore_ascii_case(name));
        text.get(name.len()..).filter(|_| is_named)?.strip_prefix(b":").map(<[u8]>::trim_ascii)
    }
}

impl Framing {
    /// Looks at the next bytes of the connection.
    pub(super) fn feed(&mut self, mut bytes: &[u8]) {
        while !self.is_doubtful && !bytes.is_empty() {
            if let At::Body(left) | At::Data(left) = &mut self.at {
                let taken = usize::try_from(*left).unwrap_or(usize::MAX).min(bytes.len());
                *left -= taken as u64;
                bytes = &bytes[taken..];
                if *left == 0 {
                    self.at = if matches!(self.at, At::Body(_)) { At::Start } else { At::Chunk };
                }
                continue;
            }
            let end = memchr::memchr(b'\n', bytes);
            self.line.add(&bytes[..end.unwrap_or(bytes.len())]);
            let Some(end) = end else { return };
            self.line_ends();
            self.line = Line::NEW;
            bytes = &bytes[end + 1..];
        }
    }

    fn line_ends(&mut self) {
        self.at = match (self.at, self.line.is_empty()) {
            (At::Start, true) => At::Start,
            (At::Start | At::Header, false) => {
                self.field();
                At::Header
            }
            (At::Header, true) => match (self.length.take(), std::mem::take(&mut self.is_chunked)) {
                (Some(_), true) => self.doubt(),
                (None, true) => At::Chunk,
                (None | Some(0), false) => At::Start,
                (Some(length), false) => At::Body(length),
            },
            (At::Chunk, _) => match self.chunk_size() {
                None => self.doubt(),
                Some(0) => At::Trailer,
                Some(size) => size.checked_add(2).map_or_else(|| self.doubt(), At::Data),
            },
            (At::Trailer, is_empty) => match (self.line.is_strict(), is_empty) {
                (false, _) => self.doubt(),
                (true, true) => At::Start,
                (true, false) => At::Trailer,
            },
            (at @ (At::Body(_) | At::Data(_)), _) => at,
        };
    }

    fn doubt(&mut self) -> At {
        self.is_doubtful = true;
        At::Start
    }

    /// A line of a header.
    fn field(&mut self) {
        if let Some(value) = self.line.value(b"content-length") {
            let length = number(value, 10).filter(|_| !self.line.is_long);
            self.is_doubtful |= length.is_none() || self.length.is_some_and(|other| Some(other) != length);
            self.length = length;
        }
        if let Some(value) = self.line.value(b"transfer-encoding") {
            let is_plain = value.eq_ignore_ascii_case(b"chunked") && !self.line.is_long;
            self.is_doubtful |= !is_plain || self.is_chunked;
            self.is_chunked = true;
        }
        self.is_doubtful |= self.is_chunked && self.length.is_some();
    }

    fn chunk_size(&self) -> Option<u64> {
        let text = self.line.text();
        let end = text.iter().position(|byte| !byte.is_ascii_hexdigit()).unwrap_or(text.len());
        let is_cut = self.line.is_long && end == text.len();
        number(&text[..end], 16).filter(|_| self.line.is_strict() && !is_cut)
    }

    /// Something is said in two ways, or in one that nobody need understand alike.
    pub(super) fn is_doubtful(&self) -> bool {
        self.is_doubtful
    }
}

fn number(digits: &[u8], radix: u32) -> Option<u64> {
    let is_plain = digits.iter().all(|byte| char::from(*byte).is_digit(radix));
    u64::from_str_radix(std::str::from_utf8(digits).ok()?, radix).ok().filter(|_| is_plain)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Whether there is doubt; where there is none, the connection is between two requests at the end.
    fn check(said: &str, expected: bool) {
        for size in [1, 2, 7, 10_000] {
            let mut framing = Framing::default();
            said.as_bytes().chunks(size).for_each(|chunk| framing.feed(chunk));
            assert_eq!(framing.is_doubtful(), expected, "{said:?} in pieces of {size}");
            assert!(expected || framing.at == At::Start, "{said:?} in pieces of {size}: {framing:?}");
        }
    }

    #[test]
    fn both_or_not() {
        check("POST / HTTP/1.1\r\nContent-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n", true);
        check("POST / HTTP/1.1\r\ntransfer-encoding:chunked\r\nX: y\r\nCONTENT-LENGTH:3\r\n\r\n", true);
        check("POST / HTTP/1.1\nContent-Length: 3\nTransfer-Encoding: chunked\n\n", true);
        check("\r\n\nPOST / HTTP/1.1\r\nContent-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n", true);
        check("POST / HTTP/1.1\r\nContent-Length: 28\r\n\r\nTransfer-Encoding: chunked\r\n", false);
        check("POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\nX-Content-Length: 3\r\n\r\n0\r\n\r\n", false);
        check("POST / HTTP/1.1\r\nX: Content-Length: 3 Transfer-Encoding\r\n\r\n", false);
        check("POST / HTTP/1.1\r\nContent-Length-X: 3\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", false);
        check("", false);
    }

    #[test]
    fn what_comes_behind_is_seen() {
        const BOTH: &str = "POST / HTTP/1.1\r\nContent-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n";
        const LONE_LF: &str = "POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n0\r\nX: a\n\nGET / HTTP/1.1\r\n";
        for before in [
            "GET / HTTP/1.1\r\nHost: a\r\n\r\n",
            "GET / HTTP/1.1\n\n",
            "POST / HTTP/1.1\r\nContent-Length: 0\r\n\r\n",
            "POST / HTTP/1.1\r\nContent-Length:  005 \r\n\r\nhello",
            "POST / HTTP/1.1\r\nContent-Length: 5\r\nContent-Length: 5\r\n\r\n\r\n\r\n!",
            "POST / HTTP/1.1\r\nTransfer-Encoding: Chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n",
            "POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n00a;x=\"y\"\r\n\r\n\r\n345678\r\n1 \r\n!\r\n0\r\nX: y\r\n\r\n",
        ] {
            check(before, false);
            check(&before.repeat(3), false);
            check(&format!("{before}{BOTH}"), true);
            check(&format!("{before}{LONE_LF}"), true);
        }
        let long =
            format!("POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n5;{}\r\nhello\r\n0\r\n\r\n", "x".repeat(99));
        check(&long, false);
        check(&format!("{long}{BOTH}"), true);
    }

    #[test]
    fn what_can_be_read_in_two_ways() {
        let both = |field: &str| check(&format!("POST / HTTP/1.1\r\n{field}\r\n\r\n"), true);
        both("Content-Length: +3");
        both("Content-Length: 3, 3");
        both("Content-Length:");
        both("Content-Length: 99999999999999999999");
        both(&format!("Content-Length: {}3", "0".repeat(80)));
        both(&format!("Content-Length: {}3", " ".repeat(80)));
        both("Content-Length: 3\r\nContent-Length: 4");
        both("Transfer-Encoding: gzip, chunked");
        both("Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked");
        both(&format!("Transfer-Encoding: {}chunked", " ".repeat(80)));
        let chunk = |size: &str| check(&format!("POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n{size}"), true);
        chunk("5\n");
        chunk("5;\r \r\n");
        chunk("\r\n");
        chunk("x\r\n");
        chunk("-1\r\n");
        chunk("fffffffffffffffff\r\n");
        chunk("ffffffffffffffff\r\n");
        chunk(&format!("{}5\r\n", "0".repeat(80)));
        chunk("0\r\nX: y\n\r\n");
        chunk("0\r\nX: \r y\r\n");
    }
}
