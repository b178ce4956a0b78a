//! One command line of a client: RFC 5321 §4.1 and the parameters of the extensions that we offer.
//!
//! Pure. Takes a line without its CRLF and judges its syntax only: whether a command may come now, and whether we
//! like what it asks, is `session`'s to say. What is not understood is a [`Fault`]; `reply` has the words for it.

use crate::model::address::{Address, BadAddress};

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
    /// `RCPT TO:<path>`.
    Rcpt(Recipient),
    /// `DATA`.
    Data,
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

/// A `MAIL` command.
#[derive(Debug, PartialEq, Eq)]
pub struct Mail {
    /// The reverse path; `None` is `<>`.
    pub sender: Option<Address>,
    /// `SIZE=`: how large the client thinks the message is (RFC 1870).
    pub size_bytes: Option<u64>,
    /// `SMTPUTF8`: addresses and headers may hold UTF-8 (RFC 6531).
    pub smtputf8: bool,
    /// Whether any parameter was given.
    pub extended: bool,
}

/// A forward path.
#[derive(Debug, PartialEq, Eq)]
pub enum Recipient {
    /// `<postmaster>` without a domain (RFC 5321 §4.5.1).
    Postmaster,
    /// Anybody else.
    Address {
        /// Who.
        address: Address,
        /// Whether it was written with more than ASCII, in either part.
        unicode: bool,
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
    /// `BDAT`: not offered, and what follows it is message text that must not be read as commands.
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
        return Err(Fault::Characters);
    }
    if is("MAIL") || is("RCPT") {
        return path_command(rest, strictness, is("MAIL"));
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
        () if is("BDAT") => Err(Fault::Chunk),
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

fn path_command(rest: &[u8], strictness: Strictness, is_mail: bool) -> Result<Command<'static>, Fault> {
    let (prefix, usage, bad): (_, _, fn(BadAddress) -> Fault) = if is_mail {
        (" FROM:", Fault::Usage("MAIL FROM:<address>"), Fault::Sender)
    } else {
        (" TO:", Fault::Usage("RCPT TO:<address>"), Fault::Recipient)
    };
    let (head, rest) = rest.split_at_checked(prefix.len()).ok_or(usage)?;
    if !head.eq_ignore_ascii_case(prefix.as_bytes()) {
        return Err(usage);
    }
    let rest = std::str::from_utf8(rest).map_err(|_| bad(BadAddress::LocalPart))?;
    let rest = if strictness == Strictness::Lenient { rest.trim_start_matches(' ') } else { rest };
    let (path, parameters) = split_path(rest).ok_or(usage)?;
    if is_mail { mail(path, parameters) } else { rcpt(path, parameters) }
}

/// What stands between the angle brackets, and what follows them. A quoted local part may hold a `>`.
fn split_path(rest: &str) -> Option<(&str, &str)> {
    let inner = rest.strip_prefix('<')?;
    let mut quoted = false;
    let mut escaped = false;
    for (at, byte) in inner.bytes().enumerate() {
        match byte {
            _ if escaped => escaped = false,
            b'\\' if quoted => escaped = true,
            b'"' => quoted = !quoted,
            b'>' if !quoted => {
                let (path, after) = inner.split_at_checked(at)?;
                let after = after.get(1..)?;
                return (after.is_empty() || after.starts_with(' ')).then_some((path, after));
            }
            _ => {}
        }
    }
    None
}

fn rcpt(path: &str, parameters: &str) -> Result<Command<'static>, Fault> {
    let recipient = if path.eq_ignore_ascii_case("postmaster") {
        Recipient::Postmaster
    } else {
        Recipient::Address { address: path.parse().map_err(Fault::Recipient)?, unicode: !path.is_ascii() }
    };
    // The parameters of RFC 3461 (NOTIFY, ORCPT) will be read here once they are offered.
    match parameters.split(' ').find(|parameter| !parameter.is_empty()) {
        None => Ok(Command::Rcpt(recipient)),
        Some(_) => Err(Fault::UnknownParameter),
    }
}

fn mail(path: &str, parameters: &str) -> Result<Command<'static>, Fault> {
    let sender = if path.is_empty() { None } else { Some(path.parse().map_err(Fault::Sender)?) };
    let mut mail = Mail { sender, size_bytes: None, smtputf8: false, extended: false };
    let (mut body, mut auth) = (false, false);
    for parameter in parameters.split(' ').filter(|parameter| !parameter.is_empty()) {
        mail.extended = true;
        let (name, value) = match parameter.split_once('=') {
            Some((name, value)) => (name, Some(value)),
            None => (parameter, None),
        };
        let once = |seen: bool, fault| if seen { Err(Fault::Parameter(fault)) } else { Ok(()) };
        if name.eq_ignore_ascii_case("SIZE") {
            once(mail.size_bytes.is_some(), "SIZE")?;
            mail.size_bytes = Some(value.and_then(size).ok_or(Fault::Parameter("SIZE"))?);
        } else if name.eq_ignore_ascii_case("BODY") {
            once(body, "BODY")?;
            // Our own listeners take 8-bit text with and without the word; it is read and forgotten.
            body = value.is_some_and(|kind| ["7BIT", "8BITMIME"].iter().any(|known| kind.eq_ignore_ascii_case(known)));
            once(!body, "BODY")?;
        } else if name.eq_ignore_ascii_case("SMTPUTF8") {
            once(mail.smtputf8 || value.is_some(), "SMTPUTF8")?;
            mail.smtputf8 = true;
        } else if name.eq_ignore_ascii_case("AUTH") {
            // Who the client says wrote it (RFC 4954 §5). We believe nobody about others, so it is dropped.
            once(auth || !value.is_some_and(is_xtext), "AUTH")?;
            auth = true;
        } else {
            // RET, ENVID (RFC 3461) and REQUIRETLS (RFC 8689) will have their places here.
            return Err(Fault::UnknownParameter);
        }
    }
    if !path.is_ascii() && !mail.smtputf8 { Err(Fault::NeedsSmtpUtf8) } else { Ok(Command::Mail(mail)) }
}

/// Up to 20 digits (RFC 1870 §4); what does not fit in 64 bits is larger than anything we take.
fn size(value: &str) -> Option<u64> {
    let digits = (1..=20).contains(&value.len()) && value.bytes().all(|byte| byte.is_ascii_digit());
    digits.then(|| value.parse().unwrap_or(u64::MAX))
}

/// RFC 3461 §4: visible ASCII but `=`, with `+` and two upper-case hexadecimal digits for the rest.
fn is_xtext(text: &str) -> bool {
    let is_hex = |digit: Option<&u8>| digit.is_some_and(|digit| matches!(digit, b'0'..=b'9' | b'A'..=b'F'));
    let bytes = text.as_bytes();
    !bytes.is_empty()
        && bytes.iter().enumerate().all(|(at, byte)| match byte {
            b'+' => is_hex(bytes.get(at + 1)) && is_hex(bytes.get(at + 2)),
            other => other.is_ascii_graphic() && *other != b'=',
        })
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

    fn from(sender: &str) -> Mail {
        let sender = (!sender.is_empty()).then(|| sender.parse().unwrap());
        Mail { sender, size_bytes: None, smtputf8: false, extended: false }
    }

    fn to(address: &str) -> Result<Command<'static>, Fault> {
        Ok(Command::Rcpt(Recipient::Address { address: address.parse().unwrap(), unicode: !address.is_ascii() }))
    }

    #[test]
    fn commands_without_a_path() {
        check("EHLO client.example", Ok(Command::Ehlo("client.example")));
        check("ehlo [127.0.0.1] ", Ok(Command::Ehlo("[127.0.0.1]")));
        check("HELO under_score", Ok(Command::Helo("under_score")));
        check("EHLO", Err(Fault::Usage("EHLO name")));
        check("EHLO a b", Err(Fault::Usage("EHLO name")));
        check("EHLO a\u{1b}[31m", Err(Fault::Characters));
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
        check("BDAT 5 LAST", Err(Fault::Chunk));
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
    fn senders() {
        let ok = |mail| Ok(Command::Mail(mail));
        let usage = || Err(Fault::Usage("MAIL FROM:<address>"));
        check("MAIL FROM:<a@b.example>", ok(from("a@b.example")));
        check("mAiL fRoM:<a@b.example>", ok(from("a@b.example")));
        check("MAIL FROM:<>", ok(from("")));
        check("MAIL FROM: <a@b.example>", usage());
        check_with(b"MAIL FROM: <a@b.example>", Strictness::Lenient, ok(from("a@b.example")));
        check("MAIL FROM:a@b.example", usage());
        check("MAIL FROM:<a@b.example", usage());
        check("MAIL FROM:<a@b.example>x", usage());
        check("MAIL", usage());
        check("MAIL TO:<a@b.example>", usage());
        check("MAIL FROM:<a b@c.example>", Err(Fault::Sender(BadAddress::LocalPart)));
        check("MAIL FROM:<a@b>", Err(Fault::Sender(BadAddress::Domain)));
        check("MAIL FROM:<grå@b.example>", Err(Fault::NeedsSmtpUtf8));
        let unicode = Mail { smtputf8: true, extended: true, ..from("grå@b.example") };
        check("MAIL FROM:<grå@b.example> SMTPUTF8", ok(unicode));
        check_with(b"MAIL FROM:<\xff@b.example>", Strictness::Strict, Err(Fault::Sender(BadAddress::LocalPart)));
    }

    #[test]
    fn parameters_of_mail() {
        let check = |parameters: &str, expected: Result<Mail, Fault>| {
            check(&format!("MAIL FROM:<a@b.example> {parameters}"), expected.map(Command::Mail));
        };
        let sized = |size_bytes| Ok(Mail { size_bytes: Some(size_bytes), extended: true, ..from("a@b.example") });
        let plain = || Ok(Mail { extended: true, ..from("a@b.example") });
        check("SIZE=1000", sized(1000));
        check("size=0", sized(0));
        check("SIZE=99999999999999999999", sized(u64::MAX));
        check("SIZE=100000000000000000000", Err(Fault::Parameter("SIZE")));
        check("SIZE=abc", Err(Fault::Parameter("SIZE")));
        check("SIZE=-1", Err(Fault::Parameter("SIZE")));
        check("SIZE=", Err(Fault::Parameter("SIZE")));
        check("SIZE", Err(Fault::Parameter("SIZE")));
        check("SIZE=1 SIZE=1", Err(Fault::Parameter("SIZE")));
        check("BODY=8BITMIME", plain());
        check(" body=7bit ", plain());
        check("BODY=BINARYMIME", Err(Fault::Parameter("BODY")));
        check("BODY=FOO", Err(Fault::Parameter("BODY")));
        check("BODY=7BIT BODY=7BIT", Err(Fault::Parameter("BODY")));
        check("SMTPUTF8=1", Err(Fault::Parameter("SMTPUTF8")));
        check("AUTH=<>", plain());
        check("AUTH=a+40b.example", plain());
        check("AUTH=a+4", Err(Fault::Parameter("AUTH")));
        check("AUTH=a=b", Err(Fault::Parameter("AUTH")));
        check("RET=HDRS", Err(Fault::UnknownParameter));
        check("FOO", Err(Fault::UnknownParameter));
    }

    #[test]
    fn recipients() {
        check("RCPT TO:<a@b.example>", to("a@b.example"));
        check("rcpt to:<\"a>b\"@c.example>", to("\"a>b\"@c.example"));
        check("RCPT TO:<\"a\\\"b\"@c.example>", to("\"a\\\"b\"@c.example"));
        check("RCPT TO:<\"a b\"@c.example>", to("\"a b\"@c.example"));
        check("RCPT TO:<grå@b.example>", to("grå@b.example"));
        check("RCPT TO:<Postmaster>", Ok(Command::Rcpt(Recipient::Postmaster)));
        check("RCPT TO:<>", Err(Fault::Recipient(BadAddress::Incomplete)));
        check("RCPT TO:<a@[127.0.0.1]>", Err(Fault::Recipient(BadAddress::Domain)));
        check("RCPT TO:<@a,@b:user@c.example>", Err(Fault::Recipient(BadAddress::LocalPart)));
        check("RCPT TO:<a(c)@b.example>", Err(Fault::Recipient(BadAddress::LocalPart)));
        check(&format!("RCPT TO:<{}@b.example>", "a".repeat(65)), Err(Fault::Recipient(BadAddress::TooLong)));
        check("RCPT TO:<a@b.example> NOTIFY=NEVER", Err(Fault::UnknownParameter));
        check("RCPT TO: <a@b.example>", Err(Fault::Usage("RCPT TO:<address>")));
        check("RCPT TO:<\"a>", Err(Fault::Usage("RCPT TO:<address>")));
    }
}
