//! One SMTP reply, read from bytes that anybody may have sent. Pure.
//!
//! RFC 5321 §4.2, read more kindly where it does not matter: a bare line feed ends a line, the text may be missing, and
//! may be in any charset. It is strict where a mistake would cost mail: three digits from 200 to 599, the same on each
//! line. Everything is bounded.

/// Longest line that is read, in bytes; RFC 5321 §4.5.3.1.5 allows 512.
pub const LINE_BYTES_MAX: usize = 4096;
/// Longest reply that is read, in bytes.
pub const REPLY_BYTES_MAX: usize = 16 * 1024;

/// A whole reply.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reply {
    /// 200 to 599.
    pub code: u16,
    /// As it was said, codes included, lines parted by `\n`. Not escaped. Bytes that are not UTF-8 are read as Latin-1.
    pub text: String,
}

impl Reply {
    /// 2yz.
    pub fn is_positive(&self) -> bool {
        self.code / 100 == 2
    }

    /// 5yz.
    pub fn is_permanent(&self) -> bool {
        self.code / 100 == 5
    }

    /// The lines without their codes.
    pub fn lines(&self) -> impl Iterator<Item = &str> {
        self.text.split('\n').map(|line| line.get(4..).unwrap_or_default())
    }

    /// The reply in one line: its code, then the words of all lines; an enhanced code that each line repeats once.
    pub fn in_one_line(&self) -> String {
        let mut lines = self.lines();
        let first = lines.next().unwrap_or_default().trim();
        let repeated = first.split(' ').next().filter(|word| word.split('.').count() == 3 && !word.is_empty());
        let mut text = format!("{} {first}", self.code);
        for line in lines {
            let line = repeated.and_then(|word| line.strip_prefix(word)).unwrap_or(line).trim();
            if !line.is_empty() {
                text.push(' ');
                text.push_str(line);
            }
        }
        text.truncate(text.trim_end().len());
        text
    }
}

/// Why bytes are no reply.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadReply {
    /// No code of three digits from 200 to 599 at the start of a line, or something else than a blank or hyphen after.
    #[error("the reply has no code")]
    Code,
    /// The lines of one reply have different codes.
    #[error("the lines of one reply have different codes")]
    MixedCodes,
    /// A line or the whole is longer than we read.
    #[error("the reply is too long")]
    TooLong,
}

/// Takes replies out of bytes as they arrive.
#[derive(Debug, Default)]
pub struct Reader {
    bytes: Vec<u8>,
    /// Where the line that is not whole yet begins.
    line_start: usize,
    /// Up to where that line was searched for its end.
    searched: usize,
    code: Option<u16>,
}

impl Reader {
    /// More bytes came.
    pub fn push(&mut self, bytes: &[u8]) {
        self.bytes.extend_from_slice(bytes);
    }

    /// Whether bytes are left that belong to no reply taken so far.
    pub fn has_more(&self) -> bool {
        !self.bytes.is_empty()
    }

    /// The next whole reply, when it is there.
    ///
    /// # Errors
    /// [`BadReply`]; nothing further can be understood then.
    pub fn take(&mut self) -> Result<Option<Reply>, BadReply> {
        while let Some(length) = memchr::memchr(b'\n', &self.bytes[self.searched..]) {
            let end = self.searched + length;
            let line = &self.bytes[self.line_start..end];
            if end >= REPLY_BYTES_MAX || line.len() > LINE_BYTES_MAX {
                return Err(BadReply::TooLong);
            }
            let (code, is_last) = head(line).ok_or(BadReply::Code)?;
            if *self.code.get_or_insert(code) != code {
                return Err(BadReply::MixedCodes);
            }
            self.line_start = end + 1;
            self.searched = end + 1;
            if is_last {
                return Ok(Some(self.finished(code)));
            }
        }
        self.searched = self.bytes.len();
        let is_endless = self.bytes.len() >= REPLY_BYTES_MAX || self.bytes.len() - self.line_start > LINE_BYTES_MAX;
        if is_endless { Err(BadReply::TooLong) } else { Ok(None) }
    }

    fn finished(&mut self, code: u16) -> Reply {
        let rest = self.bytes.split_off(self.line_start);
        let whole = std::mem::replace(&mut self.bytes, rest);
        (self.line_start, self.searched, self.code) = (0, 0, None);
        let lines = whole.strip_suffix(b"\n").unwrap_or(&whole).split(|byte| *byte == b'\n');
        let lines: Vec<String> = lines.map(|line| text(line.strip_suffix(b"\r").unwrap_or(line))).collect();
        Reply { code, text: lines.join("\n") }
    }
}

/// The code of a line, and whether it is the last of its reply.
fn head(line: &[u8]) -> Option<(u16, bool)> {
    let digits = line.get(..3)?;
    let code = std::str::from_utf8(digits).ok().filter(|_| digits.iter().all(u8::is_ascii_digit))?.parse().ok()?;
    let is_last = match line.get(3) {
        None | Some(b' ' | b'\r') => true,
        Some(b'-') => false,
        Some(_) => return None,
    };
    (200..600).contains(&code).then_some((code, is_last))
}

fn text(line: &[u8]) -> String {
    match std::str::from_utf8(line) {
        Ok(text) => text.to_owned(),
        Err(_) => line.iter().map(|byte| char::from(*byte)).collect(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn check(bytes: &[u8], expected: Result<Option<(u16, &str)>, BadReply>) {
        let expected = expected.map(|reply| reply.map(|(code, text)| Reply { code, text: text.into() }));
        let mut whole = Reader::default();
        whole.push(bytes);
        assert_eq!(whole.take(), expected, "{}", bytes.escape_ascii());
        let mut dripped = Reader::default();
        let mut taken = Ok(None);
        for byte in bytes {
            dripped.push(&[*byte]);
            taken = dripped.take();
            if taken != Ok(None) {
                break;
            }
        }
        assert_eq!(taken, expected, "{} byte by byte", bytes.escape_ascii());
    }

    #[test]
    fn replies() {
        check(b"250 ok\r\n", Ok(Some((250, "250 ok"))));
        check(b"250-a\r\n250-b\r\n250 c\r\n", Ok(Some((250, "250-a\n250-b\n250 c"))));
        check(b"550\r\n", Ok(Some((550, "550"))));
        check(b"550 \n", Ok(Some((550, "550 "))));
        check(b"599 odd\r\n", Ok(Some((599, "599 odd"))));
        check(b"550 bo\xeete pleine\r\n", Ok(Some((550, "550 boîte pleine"))));
        check("550 boîte\r\n".as_bytes(), Ok(Some((550, "550 boîte"))));
        check(b"250 a\0\x1b[1m\r\n", Ok(Some((250, "250 a\0\x1b[1m"))));
        check(b"250-a\r\n250", Ok(None));
        check(b"", Ok(None));
    }

    #[test]
    fn what_is_no_reply() {
        for bytes in
            ["999 x\r\n", "25\r\n", "2x0 x\r\n", "100 x\r\n", "2500\r\n", "\r\n", "HTTP/1.1 400\r\n", "250_x\r\n"]
        {
            check(bytes.as_bytes(), Err(BadReply::Code));
        }
        check(b"250-a\r\n550 b\r\n", Err(BadReply::MixedCodes));
        check(&[b'2'; LINE_BYTES_MAX + 1], Err(BadReply::TooLong));
        check("250-x\r\n".repeat(10_000).as_bytes(), Err(BadReply::TooLong));
    }

    #[test]
    fn replies_follow_each_other() {
        let mut reader = Reader::default();
        reader.push(b"250 a\r\n354-b\r\n354 c\r\n2");
        assert_eq!(reader.take().unwrap().unwrap().code, 250);
        assert_eq!(reader.take().unwrap().unwrap().text, "354-b\n354 c");
        assert_eq!(reader.take(), Ok(None));
        assert!(reader.has_more());
    }

    #[test]
    fn in_one_line() {
        let check = |text: &str, expected: &str| {
            assert_eq!(Reply { code: 550, text: text.into() }.in_one_line(), expected);
        };
        check("550 5.1.1 no such user", "550 5.1.1 no such user");
        check("550-5.1.1 The account\n550-5.1.1 does not exist.\n550 5.1.1", "550 5.1.1 The account does not exist.");
        check("550-a\n550 a b", "550 a a b");
        check("550", "550");
    }

    proptest! {
        #[test]
        fn any_bytes(pieces in proptest::collection::vec("[2-5 0\\-\r\nx\u{fc}]{0,12}", 0..20)) {
            let mut reader = Reader::default();
            for piece in pieces {
                reader.push(piece.as_bytes());
                match reader.take() {
                    Ok(Some(reply)) => prop_assert!(!reply.in_one_line().contains('\n')),
                    Ok(None) => {}
                    Err(_) => break,
                }
            }
        }
    }
}
