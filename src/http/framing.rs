//! Finds requests that say in two ways where they end.
//!
//! A request with both `Content-Length` and `Transfer-Encoding` is what request smuggling is made of (RFC 9112 §6.3,
//! §11.2). hyper settles it in favour of the latter and hides the former, so the bytes of each header are looked at as
//! they come from the socket. Pure; told when a header begins, and silent about everything after its empty line.

/// Of each line, what is needed to know its name.
const NAME_BYTES: usize = 18;

/// What has been seen of one header.
#[derive(Clone, Debug, Default)]
pub(super) struct Framing {
    start: [u8; NAME_BYTES],
    length: usize,
    has_length: bool,
    has_encoding: bool,
    is_over: bool,
}

impl Framing {
    /// Looks at the next bytes of the header.
    pub(super) fn feed(&mut self, mut bytes: &[u8]) {
        while !self.is_over && !bytes.is_empty() {
            let end = memchr::memchr(b'\n', bytes);
            let line = &bytes[..end.unwrap_or(bytes.len())];
            let taken = line.len().min(NAME_BYTES - self.length);
            self.start[self.length..self.length + taken].copy_from_slice(&line[..taken]);
            self.length += taken;
            let Some(end) = end else { return };
            self.line_ends();
            bytes = &bytes[end + 1..];
        }
    }

    fn line_ends(&mut self) {
        let start = &self.start[..self.length];
        let begins = |name: &[u8]| start.get(..name.len()).is_some_and(|start| start.eq_ignore_ascii_case(name));
        self.has_length |= begins(b"content-length");
        self.has_encoding |= begins(b"transfer-encoding");
        self.is_over = matches!(start, [] | [b'\r']);
        self.length = 0;
    }

    /// Both fields are there.
    pub(super) fn is_ambiguous(&self) -> bool {
        self.has_length && self.has_encoding
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(header: &str, expected: bool) {
        for size in [1, 2, 7, 10_000] {
            let mut framing = Framing::default();
            header.as_bytes().chunks(size).for_each(|chunk| framing.feed(chunk));
            assert_eq!(framing.is_ambiguous(), expected, "{header:?} in pieces of {size}");
        }
    }

    #[test]
    fn both_or_not() {
        check("POST / HTTP/1.1\r\nContent-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n", true);
        check("POST / HTTP/1.1\r\ntransfer-encoding:chunked\r\nX: y\r\nCONTENT-LENGTH:3\r\n\r\n", true);
        check("POST / HTTP/1.1\nContent-Length: 3\nTransfer-Encoding: chunked\n\n", true);
        check("POST / HTTP/1.1\r\nContent-Length: 3\r\n\r\nTransfer-Encoding: chunked\r\n", false);
        check("POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\nX-Content-Length: 3\r\n\r\n", false);
        check("POST / HTTP/1.1\r\nX: Content-Length: 3 Transfer-Encoding\r\n\r\n", false);
        check("", false);
    }
}
