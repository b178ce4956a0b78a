//! Which charsets can be scanned as bytes, and what a value in one of them says.
//!
//! In most charsets of mail an ASCII byte is an ASCII character, except for trail bytes that look like letters, never
//! like quotes or angle brackets. ISO-2022 switches by escapes between ASCII and runs of double bytes that may look
//! like anything, `<!--` included: those runs are masked. UTF-7, UTF-16, HZ and what nobody knows cannot be scanned.

use std::borrow::Cow;

use mail_parser::decoders::charsets::map::charset_decoder;
use memchr::{memchr, memchr_iter};

const ESCAPE: u8 = 0x1b;
const SHIFT_OUT: u8 = 0x0e;
const SHIFT_IN: u8 = 0x0f;

/// What Windows and old programs call a charset that others know by another name.
const ALIASES: [(&str, &str); 34] = [
    ("646", "us-ascii"),
    ("iso-646-us", "us-ascii"),
    ("iso646-us", "us-ascii"),
    ("cp367", "us-ascii"),
    ("utf8mb4", "utf-8"),
    ("utf-8mb4", "utf-8"),
    ("utf8-bom", "utf-8"),
    ("utf-8-bom", "utf-8"),
    ("unicode-1-1-utf-8", "utf-8"),
    ("cp65001", "utf-8"),
    ("latin-1", "iso-8859-1"),
    ("win-1250", "windows-1250"),
    ("win-1251", "windows-1251"),
    ("win-1252", "windows-1252"),
    ("cp874", "windows-874"),
    ("cp932", "shift_jis"),
    ("ms932", "shift_jis"),
    ("windows-932", "shift_jis"),
    ("eucjp-ms", "euc-jp"),
    ("cp51932", "euc-jp"),
    ("cp936", "gbk"),
    ("ms936", "gbk"),
    ("windows-936", "gbk"),
    ("euc-cn", "gb2312"),
    ("euccn", "gb2312"),
    ("x-gb18030", "gb18030"),
    ("cp949", "euc-kr"),
    ("ms949", "euc-kr"),
    ("x-windows-949", "euc-kr"),
    ("ks-c-5601", "euc-kr"),
    ("uhc", "euc-kr"),
    ("cp950", "big5"),
    ("x-big5", "big5"),
    ("big5hkscs", "big5"),
];

/// How the bytes of a part are to be read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Charset {
    /// UTF-8, ASCII, or not named at all.
    Utf8,
    /// Another one in which ASCII is ASCII.
    Ascii(String),
    /// ISO-2022 of some kind.
    Switching,
}

impl Charset {
    /// `None` for one that cannot be scanned.
    pub(super) fn named(label: Option<&str>) -> Option<Self> {
        let Some(label) = label else { return Some(Self::Utf8) };
        let label = label.trim().to_ascii_lowercase().replace('_', "-");
        let known = ALIASES.iter().find(|(alias, _)| *alias == label).map(|(_, name)| (*name).to_owned());
        let label = known.unwrap_or(label);
        match label.as_str() {
            "" | "utf-8" | "utf8" | "us-ascii" | "ascii" | "ansi-x3.4-1968" => Some(Self::Utf8),
            "replacement" | "unicode" | "csunicode" | "x-user-defined" => None,
            _ if label.starts_with("iso-2022") || label.starts_with("csiso2022") => Some(Self::Switching),
            _ if ["utf", "csutf", "ucs", "iso-10646", "hz", "unicodef"].iter().any(|odd| label.starts_with(odd)) => {
                None
            }
            _ => charset_decoder(label.as_bytes()).map(|_| Self::Ascii(label)),
        }
    }

    /// The bytes as a scanner may see them, each where it was; `None` when they end within a double-byte run or begin
    /// or look as UTF-16 does. Double-byte runs are masked whatever the label says, since readers guess too.
    pub(super) fn scannable<'a>(&self, bytes: &'a [u8]) -> Option<Cow<'a, [u8]>> {
        let is_wide = memchr(0, bytes).is_some() && memchr_iter(0, bytes).count() > bytes.len() / 4;
        if is_wide || bytes.starts_with(b"\xff\xfe") || bytes.starts_with(b"\xfe\xff") {
            return None;
        }
        let shifts = *self == Self::Switching && memchr(SHIFT_OUT, bytes).is_some();
        if memchr(ESCAPE, bytes).is_none() && !shifts {
            return Some(Cow::Borrowed(bytes));
        }
        masked(bytes, shifts).map(Cow::Owned)
    }

    /// A value of a part in this charset as text; `None` in doubt.
    pub(super) fn text<'a>(&self, bytes: &'a [u8]) -> Option<Cow<'a, str>> {
        match (self, std::str::from_utf8(bytes)) {
            (Self::Ascii(label), text) if !bytes.is_ascii() || text.is_err() => {
                let text = charset_decoder(label.as_bytes())?(bytes);
                (!text.contains('\u{fffd}')).then_some(Cow::Owned(text))
            }
            (_, text) => text.ok().map(Cow::Borrowed),
        }
    }
}

/// Double-byte runs as so many `x`: from an escape with `$` to one with `(`, and between shift out and shift in.
fn masked(bytes: &[u8], shifts: bool) -> Option<Vec<u8>> {
    let mut masked = bytes.to_vec();
    let (mut is_double, mut is_shifted) = (false, false);
    for (at, byte) in bytes.iter().enumerate() {
        match (*byte, bytes.get(at + 1)) {
            (ESCAPE, Some(b'$')) => is_double = true,
            (ESCAPE, Some(b'(')) => is_double = false,
            (SHIFT_OUT, _) if shifts => is_shifted = true,
            (SHIFT_IN, _) if shifts => is_shifted = false,
            _ => (),
        }
        if is_double || is_shifted {
            masked[at] = b'x';
        }
    }
    (!is_double && !is_shifted).then_some(masked)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names() {
        for label in [None, Some(""), Some("UTF-8"), Some("us-ascii"), Some(" utf8 "), Some("cp65001")] {
            assert_eq!(Charset::named(label), Some(Charset::Utf8), "{label:?}");
        }
        for label in [
            "windows-1252",
            "CP932",
            "ms949",
            "ISO-8859-15",
            "koi8-r",
            "Latin-1",
            "EUC-CN",
            "big5hkscs",
            "gb2312",
            "Big5",
            "Shift_JIS",
            "EUC-KR",
            "ks_c_5601-1987",
        ] {
            assert!(matches!(Charset::named(Some(label)), Some(Charset::Ascii(_))), "{label}");
        }
        for label in ["iso-2022-jp", "ISO-2022-KR", "csISO2022JP"] {
            assert_eq!(Charset::named(Some(label)), Some(Charset::Switching), "{label}");
        }
        for label in ["utf-7", "UTF-16", "utf-16le", "hz-gb-2312", "x-unknown", "ucs-2", "unicode", "ibm037"] {
            assert_eq!(Charset::named(Some(label)), None, "{label}");
        }
    }

    #[test]
    fn double_byte_runs_are_masked() {
        let scannable = |label, bytes: &[u8]| {
            Charset::named(label)?.scannable(bytes).map(|bytes| String::from_utf8_lossy(&bytes).into_owned())
        };
        assert_eq!(scannable(Some("iso-2022-jp"), b"a\x1b$B<!--\x1b(Bb").unwrap(), "axxxxxxx\x1b(Bb");
        assert_eq!(scannable(None, b"a\x1b$B<!--\x1b(Bb").unwrap(), "axxxxxxx\x1b(Bb");
        assert_eq!(scannable(Some("iso-2022-kr"), b"a\x0e<!\x0fb").unwrap(), "axxx\x0fb");
        assert_eq!(scannable(None, b"a\x0e<!\x0fb").unwrap(), "a\x0e<!\x0fb");
        assert_eq!(scannable(Some("iso-2022-jp"), b"a\x1b$B<"), None);
        assert_eq!(scannable(None, b"\xff\xfe<\0"), None);
        assert_eq!(scannable(None, b"<\0p\0>\0"), None);
        assert_eq!(scannable(None, b"<p>a\0b</p>").as_deref(), Some("<p>a\0b</p>"));
    }

    #[test]
    fn values() {
        let text = |label, bytes: &'static [u8]| Charset::named(Some(label)).unwrap().text(bytes).map(Cow::into_owned);
        assert_eq!(text("utf-8", "ü".as_bytes()).as_deref(), Some("ü"));
        assert_eq!(text("utf-8", b"\xfc"), None);
        assert_eq!(text("iso-8859-1", b"\xfc").as_deref(), Some("ü"));
        assert_eq!(text("iso-8859-1", b"u").as_deref(), Some("u"));
        assert_eq!(text("koi8-r", b"\xc1").as_deref(), Some("а"));
    }
}
