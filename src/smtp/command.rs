//! One command line of a client: RFC 5321 §4.1 and the parameters of the extensions that we offer.
//!
//! Pure. Takes a line without its CRLF and judges its syntax only: whether a command may come now, and whether we
//! like what it asks, is `session`'s to say. What is not understood is a [`Fault`]; `reply` has the words for it.

use crate::model::address::BadAddress;

pub mod envelope;

use envelope::{Mail, Rcpt};

/// Longest line of most commands, CRLF included (RFC 5321 §4.5.3.1.4).
pub const LINE_BYTES_MAX: usize = 512;
/// Longest MAIL or RCPT line, CRLF included: extensions add to the 512 (RFC 1870, 6152, 6531, 3461, 4954 ask for
/// about 1,600 in all). Also the longest line that is read to its end only to be refused.
pub const PATH_LINE_BYTES_MAX: usize = 2_048;
/// Longest AUTH line or response (RFC 4954 §4), and its CRLF.
pub const AUTH_LINE_BYTES_MAX: usize = 12_288 + 2;

/// What a client asks.
#[derive(Debug, PartialEq, Eq)]
pub enum Command<'a> {
    /// `EHLO name`.
    Ehlo(&'a str),
    /// `HELO name`.
    Helo(&'a str),
    /// `MAIL FROM:<path> parameters`.
    Mail(Mail),
    /// `RCPT TO:<path> parameters`.
    Rcpt(Rcpt),
    /// `DATA`.
    Data,
    /// `BDAT size [LAST]`: so many bytes of text follow the line (RFC 3030).
    Bdat {
        /// How many.
        size_bytes: u64,
        /// Whether they are the last.
        is_last: bool,
    },
    /// `RSET`.
    Rset,
    /// `NOOP`, with whatever follows.
    Noop,
    /// `HELP`, with whatever follows.
    Help,
    /// `VRFY something`.
    Vrfy,
    /// `QUIT`.
    Quit,
    /// `STARTTLS`.
    StartTls,
    /// `AUTH mechanism [initial response]`.
    Auth {
        /// How the client wants to prove itself.
        mechanism: Mechanism,
        /// The response that came with the command, still in base64; `=` for an empty one.
        initial: Option<&'a str>,
    },
}

/// A SASL mechanism that we know.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mechanism {
    /// RFC 4616.
    Plain,
    /// draft-murchison-sasl-login: two challenges.
    Login,
}

/// How much a listener forgives.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Strictness {
    /// RFC 5321 to the letter.
    Strict,
    /// A space after `FROM:` and `TO:` is forgiven: many a script writes one.
    Lenient,
}

/// Why a line is not a command that we carry out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// Not a command of SMTP.
    Unknown,
    /// A command of SMTP that we do not offer.
    NotImplemented,
    /// A `BDAT` that does not say how much follows: message text, which must not be read as commands.
    Chunk,
    /// Another protocol, such as HTTP: somebody makes a browser talk to us.
    OtherProtocol,
    /// A NUL.
    Nul,
    /// A control character, or 8-bit text where the command takes none.
    Characters,
    /// The arguments do not fit; holds what would.
    Usage(&'static str),
    /// The path of `MAIL` is not an address.
    Sender(BadAddress),
    /// The path of `RCPT` is not an address.
    Recipient(BadAddress),
    /// The path of `MAIL` has more than ASCII, and `SMTPUTF8` was not given.
    NeedsSmtpUtf8,
    /// A parameter has a bad value, or came twice; holds its name.
    Parameter(&'static str),
    /// A parameter that we do not offer.
    UnknownParameter,
    /// An AUTH mechanism that we do not offer.
    Mechanism,
}

/// What `line` asks.
///
/// # Errors
/// The first thing that is wrong with it.
pub fn parse(line: &[u8], strictness: Strictness) -> Result<Command<'_>, Fault> {
    if line.contains(&0) {
        return Err(Fault::Nul);
    }
    let verb_end = line.iter().position(|byte| *byte == b' ').unwrap_or(line.len());
    let (verb, rest) = line.split_at(verb_end);
    let is = |name: &str| verb.eq_ignore_ascii_case(name.as_bytes());
    if line.iter().any(u8::is_ascii_control) {
        return Err(match () {
            () if is("EHLO") => Fault::Usage("EHLO name"),
            () if is("HELO") => Fault::Usage("HELO name"),
            () => Fault::Characters,
        });
    }
    if is("MAIL") {
        return envelope::mail(rest, strictness);
    }
    if is("RCPT") {
        return envelope::rcpt(rest, strictness);
    }
    if is("BDAT") {
        return chunk(rest).ok_or(Fault::Chunk);
    }
    if !line.is_ascii() && !is("VRFY") && !is("EXPN") {
        return Err(Fault::Characters);
    }
    let argument = std::str::from_utf8(rest).map_err(|_| Fault::Characters)?.trim_matches(' ');
    let alone = |command, usage| if argument.is_empty() { Ok(command) } else { Err(Fault::Usage(usage)) };
    match () {
        () if is("EHLO") => client_name(argument).map(Command::Ehlo).ok_or(Fault::Usage("EHLO name")),
        () if is("HELO") => client_name(argument).map(Command::Helo).ok_or(Fault::Usage("HELO name")),
        () if is("DATA") => alone(Command::Data, "DATA"),
        () if is("RSET") => alone(Command::Rset, "RSET"),
        () if is("QUIT") => alone(Command::Quit, "QUIT"),
        () if is("STARTTLS") => alone(Command::StartTls, "STARTTLS"),
        () if is("NOOP") => Ok(Command::Noop),
        () if is("HELP") => Ok(Command::Help),
        () if is("VRFY") && argument.is_empty() => Err(Fault::Usage("VRFY address")),
        () if is("VRFY") => Ok(Command::Vrfy),
        () if is("AUTH") => auth(argument),
        () if ["EXPN", "TURN", "ETRN", "ATRN", "SEND", "SOML", "SAML", "XCLIENT", "XFORWARD", "BURL"]
            .into_iter()
            .any(is) =>
        {
            Err(Fault::NotImplemented)
        }
        () if ["GET", "POST", "PUT", "HEAD", "DELETE", "OPTIONS", "CONNECT", "PATCH", "TRACE", "PRI"]
            .into_iter()
            .any(is) =>
        {
            Err(Fault::OtherProtocol)
        }
        () => Err(Fault::Unknown),
    }
}

/// One word of visible characters. Whether it is the client's true name is not our business (RFC 5321 §4.1.4); many a
/// sound client says `[127.0.0.1]` or a name with an underscore.
fn client_name(argument: &str) -> Option<&str> {
    (1..=255).contains(&argument.len()).then_some(argument).filter(|name| name.bytes().all(|b| b.is_ascii_graphic()))
}

fn auth(argument: &str) -> Result<Command<'_>, Fault> {
    const USAGE: Fault = Fault::Usage("AUTH mechanism [initial-response]");
    let mut words = argument.split(' ').filter(|word| !word.is_empty());
    let mechanism = words.next().ok_or(USAGE)?;
    let initial = words.next();
    if words.next().is_some() {
        return Err(USAGE);
    }
    let mechanism = if mechanism.eq_ignore_ascii_case("PLAIN") {
        Mechanism::Plain
    } else if mechanism.eq_ignore_ascii_case("LOGIN") {
        Mechanism::Login
    } else {
        return Err(Fault::Mechanism);
    };
    Ok(Command::Auth { mechanism, initial })
}

/// ` size` or ` size LAST`. A size beyond 64 bits cannot be counted, so nothing after it can be trusted.
fn chunk(rest: &[u8]) -> Option<Command<'static>> {
    let mut words = std::str::from_utf8(rest).ok()?.split(' ').filter(|word| !word.is_empty());
    let size = words.next().filter(|size| size.bytes().all(|byte| byte.is_ascii_digit()))?;
    let is_last = words.next().map(|word| word.eq_ignore_ascii_case("LAST"));
    if words.next().is_some() || is_last == Some(false) {
        return None;
    }
    Some(Command::Bdat { size_bytes: size.parse().ok()?, is_last: is_last.is_some() })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(line: &str, expected: Result<Command<'_>, Fault>) {
        check_with(line.as_bytes(), Strictness::Strict, expected);
    }

    fn check_with(line: &[u8], strictness: Strictness, expected: Result<Command<'_>, Fault>) {
        assert_eq!(parse(line, strictness), expected, "{}", line.escape_ascii());
    }

    #[test]
    fn commands_without_a_path() {
        check("EHLO client.example", Ok(Command::Ehlo("client.example")));
        check("ehlo [127.0.0.1] ", Ok(Command::Ehlo("[127.0.0.1]")));
        check("HELO under_score", Ok(Command::Helo("under_score")));
        check("EHLO", Err(Fault::Usage("EHLO name")));
        check("EHLO a b", Err(Fault::Usage("EHLO name")));
        check("EHLO a\u{1b}[31m", Err(Fault::Usage("EHLO name")));
        check("HELO a\rb", Err(Fault::Usage("HELO name")));
        check("EHLO grün", Err(Fault::Characters));
        check("DATA", Ok(Command::Data));
        check("DATA x", Err(Fault::Usage("DATA")));
        check("rset  ", Ok(Command::Rset));
        check("RSET x", Err(Fault::Usage("RSET")));
        check("NOOP junk", Ok(Command::Noop));
        check("HELP", Ok(Command::Help));
        check("VRFY grå", Ok(Command::Vrfy));
        check("VRFY", Err(Fault::Usage("VRFY address")));
        check("QUIT", Ok(Command::Quit));
        check("STARTTLS", Ok(Command::StartTls));
        check("STARTTLS foo", Err(Fault::Usage("STARTTLS")));
    }

    #[test]
    fn lines_that_are_no_commands() {
        check("", Err(Fault::Unknown));
        check("FOO", Err(Fault::Unknown));
        check("DATAX", Err(Fault::Unknown));
        check("MAILFROM:<a@b.example>", Err(Fault::Unknown));
        check("GET / HTTP/1.1", Err(Fault::OtherProtocol));
        check("CONNECT mail.example:25 HTTP/1.1", Err(Fault::OtherProtocol));
        check("XCLIENT ADDR=127.0.0.1", Err(Fault::NotImplemented));
        check("EXPN list", Err(Fault::NotImplemented));
        check("NOOP \0", Err(Fault::Nul));
        check("NOOP \r", Err(Fault::Characters));
        check_with(b"NO\xffOP", Strictness::Strict, Err(Fault::Characters));
        check("Grüße", Err(Fault::Characters));
    }

    #[test]
    fn authentication() {
        let plain = |initial| Ok(Command::Auth { mechanism: Mechanism::Plain, initial });
        check("AUTH PLAIN", plain(None));
        check("auth plain =", plain(Some("=")));
        check("AUTH PLAIN  AGEAYg==", plain(Some("AGEAYg==")));
        check("AUTH LOGIN", Ok(Command::Auth { mechanism: Mechanism::Login, initial: None }));
        check("AUTH", Err(Fault::Usage("AUTH mechanism [initial-response]")));
        check("AUTH PLAIN a b", Err(Fault::Usage("AUTH mechanism [initial-response]")));
        check("AUTH CRAM-MD5", Err(Fault::Mechanism));
    }

    #[test]
    fn chunks() {
        let ok = |size_bytes, is_last| Ok(Command::Bdat { size_bytes, is_last });
        check("BDAT 5", ok(5, false));
        check("bdat 5 last", ok(5, true));
        check("BDAT 0 LAST", ok(0, true));
        check("BDAT 18446744073709551615", ok(u64::MAX, false));
        for bad in ["", " ", " -1", " +1", " x", " 5x", " 5 LAS", " 5 LAST LAST", " LAST", " 18446744073709551616"] {
            check(&format!("BDAT{bad}"), Err(Fault::Chunk));
        }
    }
}
