//! `MAIL` and `RCPT`: paths, and the parameters of SIZE (RFC 1870), 8BITMIME (RFC 6152), SMTPUTF8 (RFC 6531), AUTH
//! (RFC 4954 §5), DSN (RFC 3461 §4), REQUIRETLS (RFC 8689) and FUTURERELEASE (RFC 4865). Pure.

use std::collections::BTreeSet;
use std::time::Duration;

use crate::model::address::{Address, BadAddress};
use crate::model::dsn::{Notify, Returned, Wish};
use crate::model::time::Timestamp;

use super::{Command, Fault, Strictness};

/// Longest value of `ENVID`, encoded (RFC 3461 §4.4).
const ENVELOPE_ID_BYTES_MAX: usize = 100;
/// Longest value of `ORCPT`, encoded (RFC 3461 §4.2).
const ORIGINAL_BYTES_MAX: usize = 500;

/// Parameters of `MAIL` that we offer.
const OFFERED: &[&str] = &["SIZE", "BODY", "SMTPUTF8", "AUTH", "RET", "ENVID", "REQUIRETLS", "HOLDFOR", "HOLDUNTIL"];
/// Those that we do not offer and whose values we know all the same (RFC 6710): a bad one is called bad.
const KNOWN: &[&str] = &["MT-PRIORITY"];

/// A `MAIL` command.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Mail {
    /// The reverse path; `None` is `<>`.
    pub sender: Option<Address>,
    /// `SIZE=`: how large the client thinks the message is (RFC 1870).
    pub size_bytes: Option<u64>,
    /// `SMTPUTF8`: addresses and headers may hold UTF-8 (RFC 6531).
    pub smtputf8: bool,
    /// `RET=`.
    pub returned: Option<Returned>,
    /// `ENVID=`, decoded.
    pub envelope_id: Option<String>,
    /// `REQUIRETLS` (RFC 8689).
    pub requires_tls: bool,
    /// `HOLDFOR=` or `HOLDUNTIL=` (RFC 4865).
    pub hold: Option<Hold>,
    /// Whether any parameter was given.
    pub extended: bool,
}

impl Mail {
    /// Whether a parameter of DSN was given.
    pub fn wishes(&self) -> bool {
        self.returned.is_some() || self.envelope_id.is_some()
    }
}

/// How long a mail is to be held before it is sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Hold {
    /// For so long.
    For(Duration),
    /// Until then.
    Until(Timestamp),
}

/// A `RCPT` command.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rcpt {
    /// The forward path.
    pub recipient: Recipient,
    /// `NOTIFY=` and `ORCPT=`.
    pub wish: Wish,
    /// Whether any parameter was given.
    pub extended: bool,
}

/// A forward path.
#[derive(Clone, Debug, PartialEq, Eq)]
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

/// What follows `MAIL`.
pub(super) fn mail(rest: &[u8], strictness: Strictness) -> Result<Command<'static>, Fault> {
    const USAGE: Fault = Fault::Usage("MAIL FROM:<address>");
    let rest = after_prefix(rest, " FROM:", strictness).ok_or(USAGE)?.map_err(Fault::Sender)?;
    let (path, parameters) = split_path(rest).ok_or(USAGE)?;
    let sender = if path.is_empty() { None } else { Some(path.parse().map_err(Fault::Sender)?) };
    let mut mail = Mail { sender, ..Mail::default() };
    let mut seen = BTreeSet::new();
    let mut is_offered = true;
    for parameter in split_parameters(parameters) {
        let (name, value) = named(parameter, OFFERED.iter().chain(KNOWN))?;
        let bad = Fault::Parameter(name);
        mail.extended = true;
        // One mail is held for a time or until one.
        if !seen.insert(if name == "HOLDUNTIL" { "HOLDFOR" } else { name }) {
            return Err(bad);
        }
        match (name, value) {
            ("SIZE", Some(value)) => mail.size_bytes = Some(size(value).ok_or(bad)?),
            // Our own listeners take 8-bit text with and without the word; it is read and forgotten.
            ("BODY", Some(value)) if is_one_of(value, &["7BIT", "8BITMIME"]) => {}
            ("SMTPUTF8", None) => mail.smtputf8 = true,
            ("REQUIRETLS", None) => mail.requires_tls = true,
            // Who the client says wrote it (RFC 4954 §5). We believe nobody about others, so it is dropped.
            ("AUTH", Some(value)) if is_xtext(value) => {}
            ("RET", Some(value)) if is_one_of(value, &["FULL"]) => mail.returned = Some(Returned::Full),
            ("RET", Some(value)) if is_one_of(value, &["HDRS"]) => mail.returned = Some(Returned::Headers),
            ("HOLDFOR", Some(value)) => mail.hold = Some(Hold::For(interval(value).ok_or(bad)?)),
            ("HOLDUNTIL", Some(value)) => mail.hold = Some(Hold::Until(Timestamp::from_rfc3339(value).ok_or(bad)?)),
            ("MT-PRIORITY", Some(value)) if is_priority(value) => is_offered = false,
            ("ENVID", Some(value)) if value.len() <= ENVELOPE_ID_BYTES_MAX => {
                mail.envelope_id = Some(from_xtext(value).ok_or(bad)?);
            }
            _ => return Err(bad),
        }
    }
    match () {
        () if !is_offered => Err(Fault::UnknownParameter),
        () if !path.is_ascii() && !mail.smtputf8 => Err(Fault::NeedsSmtpUtf8),
        () => Ok(Command::Mail(mail)),
    }
}

/// What follows `RCPT`.
pub(super) fn rcpt(rest: &[u8], strictness: Strictness) -> Result<Command<'static>, Fault> {
    const USAGE: Fault = Fault::Usage("RCPT TO:<address>");
    let rest = after_prefix(rest, " TO:", strictness).ok_or(USAGE)?.map_err(Fault::Recipient)?;
    let (path, parameters) = split_path(rest).ok_or(USAGE)?;
    let recipient = if path.eq_ignore_ascii_case("postmaster") {
        Recipient::Postmaster
    } else {
        Recipient::Address { address: path.parse().map_err(Fault::Recipient)?, unicode: !path.is_ascii() }
    };
    let mut rcpt = Rcpt { recipient, wish: Wish::default(), extended: false };
    for parameter in split_parameters(parameters) {
        let (name, value) = named(parameter, &["NOTIFY", "ORCPT"])?;
        let bad = Fault::Parameter(name);
        rcpt.extended = true;
        match (name, value) {
            ("NOTIFY", Some(value)) if rcpt.wish.notify.is_none() => {
                rcpt.wish.notify = Some(notify(value).ok_or(bad)?);
            }
            ("ORCPT", Some(value)) if rcpt.wish.original.is_empty() => {
                rcpt.wish.original = original(value).ok_or(bad)?;
            }
            _ => return Err(bad),
        }
    }
    Ok(Command::Rcpt(rcpt))
}

/// What stands behind `prefix`, if it is there and if it is text.
fn after_prefix<'a>(rest: &'a [u8], prefix: &str, strictness: Strictness) -> Option<Result<&'a str, BadAddress>> {
    let (head, rest) = rest.split_at_checked(prefix.len())?;
    if !head.eq_ignore_ascii_case(prefix.as_bytes()) {
        return None;
    }
    let rest = std::str::from_utf8(rest).map_err(|_| BadAddress::LocalPart);
    Some(rest.map(|rest| if strictness == Strictness::Lenient { rest.trim_start_matches(' ') } else { rest }))
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

fn split_parameters(parameters: &str) -> impl Iterator<Item = &str> {
    parameters.split(' ').filter(|parameter| !parameter.is_empty())
}

/// The parameter's name, if it is one of `offered`, as it stands there; and its value.
fn named(
    parameter: &str,
    offered: impl IntoIterator<Item = &'static &'static str>,
) -> Result<(&'static str, Option<&str>), Fault> {
    let (name, value) = match parameter.split_once('=') {
        Some((name, value)) => (name, Some(value)),
        None => (parameter, None),
    };
    let known = offered.into_iter().find(|known| name.eq_ignore_ascii_case(known));
    known.map(|known| (*known, value)).ok_or(Fault::UnknownParameter)
}

fn is_one_of(value: &str, words: &[&str]) -> bool {
    words.iter().any(|word| value.eq_ignore_ascii_case(word))
}

/// Up to 20 digits (RFC 1870 §4); what does not fit in 64 bits is larger than anything we take.
fn size(value: &str) -> Option<u64> {
    let digits = (1..=20).contains(&value.len()) && value.bytes().all(|byte| byte.is_ascii_digit());
    digits.then(|| value.parse().unwrap_or(u64::MAX))
}

/// Up to nine digits of seconds, the first of them no zero (RFC 4865 §3).
fn interval(value: &str) -> Option<Duration> {
    let is_number = matches!(value.as_bytes(), [b'1'..=b'9', rest @ ..] if rest.len() < 9);
    value.parse().ok().filter(|_| is_number).map(Duration::from_secs)
}

/// -9 to 9 (RFC 6710 §4.1).
fn is_priority(value: &str) -> bool {
    matches!(value.strip_prefix('-').unwrap_or(value).as_bytes(), [b'0'..=b'9'])
}

/// `NEVER` alone, or what is wanted, each once (RFC 3461 §4.1).
fn notify(value: &str) -> Option<Notify> {
    let mut notify = Notify::default();
    if value.eq_ignore_ascii_case("NEVER") {
        return Some(notify);
    }
    for word in value.split(',') {
        let wanted = match () {
            () if word.eq_ignore_ascii_case("SUCCESS") => &mut notify.success,
            () if word.eq_ignore_ascii_case("FAILURE") => &mut notify.failure,
            () if word.eq_ignore_ascii_case("DELAY") => &mut notify.delay,
            () => return None,
        };
        if std::mem::replace(wanted, true) {
            return None;
        }
    }
    Some(notify)
}

/// The kind of the address, an atom, and the address (RFC 3461 §4.2). One of kind `utf-8` may be written as it is
/// (RFC 6533 §3), and is kept in the form that is ASCII.
fn original(value: &str) -> Option<String> {
    let (kind, address) = value.split_once(';')?;
    let is_atom = !kind.is_empty() && kind.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-');
    if value.len() > ORIGINAL_BYTES_MAX || !is_atom || address.is_empty() {
        return None;
    }
    let written = if kind.eq_ignore_ascii_case("utf-8") { in_ascii(address) } else { address.to_owned() };
    Some(format!("{kind};{}", from_xtext(&written)?))
}

/// With `\x{…}` for each character beyond ASCII (RFC 6533 §3).
fn in_ascii(address: &str) -> String {
    let written = |char: char| match char.is_ascii() {
        true => char.to_string(),
        false => format!("\\x{{{:X}}}", u32::from(char)),
    };
    address.chars().map(written).collect()
}

/// RFC 3461 §4: visible ASCII but `=`, with `+` and two upper-case hexadecimal digits for the rest.
fn is_xtext(text: &str) -> bool {
    !text.is_empty() && bytes_of_xtext(text).is_some()
}

/// What it stands for, if that is printable ASCII (RFC 3461 §4.4 asks for no more): it is shown to people and put into
/// headers.
fn from_xtext(text: &str) -> Option<String> {
    let bytes = bytes_of_xtext(text).filter(|bytes| !bytes.is_empty())?;
    bytes.iter().all(|byte| matches!(byte, b' '..=b'~')).then(|| bytes.into_iter().map(char::from).collect())
}

fn bytes_of_xtext(text: &str) -> Option<Vec<u8>> {
    let digit = |byte: u8| match byte {
        b'0'..=b'9' => Some(byte - b'0'),
        b'A'..=b'F' => Some(byte - b'A' + 10),
        _ => None,
    };
    let mut bytes = text.bytes();
    let mut decoded = Vec::with_capacity(text.len());
    while let Some(byte) = bytes.next() {
        decoded.push(match byte {
            b'+' => digit(bytes.next()?)? << 4 | digit(bytes.next()?)?,
            b'!'..=b'<' | b'>'..=b'~' => byte,
            _ => return None,
        });
    }
    Some(decoded)
}

#[cfg(test)]
mod tests {
    use super::super::parse;
    use super::*;

    fn check(line: &str, expected: Result<Command<'_>, Fault>) {
        check_with(line.as_bytes(), Strictness::Strict, expected);
    }

    fn check_with(line: &[u8], strictness: Strictness, expected: Result<Command<'_>, Fault>) {
        assert_eq!(parse(line, strictness), expected, "{}", line.escape_ascii());
    }

    fn from(sender: &str) -> Mail {
        Mail { sender: (!sender.is_empty()).then(|| sender.parse().unwrap()), ..Mail::default() }
    }

    fn to(address: &str) -> Rcpt {
        let recipient = Recipient::Address { address: address.parse().unwrap(), unicode: !address.is_ascii() };
        Rcpt { recipient, wish: Wish::default(), extended: false }
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
        let check = |parameters: &str, expected: Result<Mail, &'static str>| {
            let line = format!("MAIL FROM:<a@b.example> {parameters}");
            check(&line, expected.map(Command::Mail).map_err(Fault::Parameter));
        };
        let plain = || Mail { extended: true, ..from("a@b.example") };
        let sized = |size_bytes| Ok(Mail { size_bytes: Some(size_bytes), ..plain() });
        check("SIZE=1000", sized(1000));
        check("size=0", sized(0));
        check("SIZE=99999999999999999999", sized(u64::MAX));
        for bad in ["SIZE=100000000000000000000", "SIZE=abc", "SIZE=-1", "SIZE=", "SIZE", "SIZE=1 SIZE=1"] {
            check(bad, Err("SIZE"));
        }
        check("BODY=8BITMIME", Ok(plain()));
        check(" body=7bit ", Ok(plain()));
        for bad in ["BODY=BINARYMIME", "BODY=FOO", "BODY", "BODY=7BIT BODY=7BIT"] {
            check(bad, Err("BODY"));
        }
        check("RequireTLS", Ok(Mail { requires_tls: true, ..plain() }));
        check("REQUIRETLS=1", Err("REQUIRETLS"));
        check("SMTPUTF8=1", Err("SMTPUTF8"));
        check("SMTPUTF8 SMTPUTF8", Err("SMTPUTF8"));
        check("AUTH=<>", Ok(plain()));
        check("AUTH=a+40b.example", Ok(plain()));
        for bad in ["AUTH=a+4", "AUTH=a=b", "AUTH=", "AUTH"] {
            check(bad, Err("AUTH"));
        }
        let held = |hold| Ok(Mail { hold: Some(hold), ..plain() });
        check("HOLDFOR=5", held(Hold::For(Duration::from_secs(5))));
        check("holdfor=999999999", held(Hold::For(Duration::from_secs(999_999_999))));
        for bad in ["HOLDFOR=0", "HOLDFOR=1000000000", "HOLDFOR=-1", "HOLDFOR=1.5", "HOLDFOR=", "HOLDFOR"] {
            check(bad, Err("HOLDFOR"));
        }
        check("HOLDUNTIL=1970-01-01T00:00:05Z", held(Hold::Until(Timestamp::from_millis(5_000))));
        for bad in
            ["HOLDUNTIL=5", "HOLDUNTIL=2030-13-01T00:00:00Z", "HOLDUNTIL", "HOLDFOR=5 HOLDUNTIL=2030-01-01T00:00:00Z"]
        {
            check(bad, Err("HOLDUNTIL"));
        }
        let returned = |returned| Ok(Mail { returned: Some(returned), ..plain() });
        check("RET=HDRS", returned(Returned::Headers));
        check("ret=full", returned(Returned::Full));
        for bad in ["RET=x", "RET", "RET=FULL RET=FULL"] {
            check(bad, Err("RET"));
        }
        let id = |id: &str| Ok(Mail { envelope_id: Some(id.into()), ..plain() });
        check("ENVID=QQ314159", id("QQ314159"));
        check("ENVID=a+20b+2Bc+3D", id("a b+c="));
        check(&format!("ENVID={}", "x".repeat(100)), id(&"x".repeat(100)));
        check(&format!("ENVID={}", "x".repeat(101)), Err("ENVID"));
        for bad in ["ENVID=+ZZ", "ENVID=a=b", "ENVID=", "ENVID", "ENVID=+2b", "ENVID=a+0D+0Ab", "ENVID=+E9"] {
            check(bad, Err("ENVID"));
        }
        let all = Mail { size_bytes: Some(1), smtputf8: true, ..plain() };
        check("SIZE=1 BODY=8BITMIME SMTPUTF8", Ok(all));
    }

    #[test]
    fn parameters_that_are_not_offered() {
        for parameter in ["FOO", "FOO=1", "NOTIFY=NEVER", "MT-PRIORITY=-9", "BY=1;R", "=1"] {
            check(&format!("MAIL FROM:<a@b.example> {parameter}"), Err(Fault::UnknownParameter));
        }
        check("MAIL FROM:<a@b.example> MT-PRIORITY=99", Err(Fault::Parameter("MT-PRIORITY")));
        for parameter in ["FOO", "SIZE=1", "RRVS=2014-04-03T23:01:00Z", "RET=FULL"] {
            check(&format!("RCPT TO:<a@b.example> {parameter}"), Err(Fault::UnknownParameter));
        }
    }

    #[test]
    fn recipients() {
        let check = |line: &str, expected: Result<Rcpt, Fault>| check(line, expected.map(Command::Rcpt));
        check("RCPT TO:<a@b.example>", Ok(to("a@b.example")));
        check("rcpt to:<\"a>b\"@c.example>", Ok(to("\"a>b\"@c.example")));
        check("RCPT TO:<\"a\\\"b\"@c.example>", Ok(to("\"a\\\"b\"@c.example")));
        check("RCPT TO:<\"a b\"@c.example>", Ok(to("\"a b\"@c.example")));
        check("RCPT TO:<grå@b.example>", Ok(to("grå@b.example")));
        let postmaster = Rcpt { recipient: Recipient::Postmaster, wish: Wish::default(), extended: false };
        check("RCPT TO:<Postmaster>", Ok(postmaster));
        check("RCPT TO:<>", Err(Fault::Recipient(BadAddress::Incomplete)));
        check("RCPT TO:<a@[127.0.0.1]>", Err(Fault::Recipient(BadAddress::Domain)));
        check("RCPT TO:<@a,@b:user@c.example>", Err(Fault::Recipient(BadAddress::LocalPart)));
        check("RCPT TO:<a(c)@b.example>", Err(Fault::Recipient(BadAddress::LocalPart)));
        check(&format!("RCPT TO:<{}@b.example>", "a".repeat(65)), Err(Fault::Recipient(BadAddress::TooLong)));
        check("RCPT TO: <a@b.example>", Err(Fault::Usage("RCPT TO:<address>")));
        check("RCPT TO:<\"a>", Err(Fault::Usage("RCPT TO:<address>")));
    }

    #[test]
    fn parameters_of_rcpt() {
        let check = |parameters: &str, expected: Result<(Option<&str>, &str), &'static str>| {
            let wish = |(notify, original): (Option<&str>, &str)| {
                let has = |letter| notify.is_some_and(|notify| notify.contains(letter));
                let wanted = Notify { success: has('s'), failure: has('f'), delay: has('d') };
                let wish = Wish { notify: notify.map(|_| wanted), original: original.into() };
                Command::Rcpt(Rcpt { wish, extended: true, ..to("a@b.example") })
            };
            let line = format!("RCPT TO:<a@b.example> {parameters}");
            check(&line, expected.map(wish).map_err(Fault::Parameter));
        };
        check("NOTIFY=NEVER", Ok((Some(""), "")));
        check("notify=Success,DELAY", Ok((Some("sd"), "")));
        check("NOTIFY=FAILURE,SUCCESS,DELAY", Ok((Some("sfd"), "")));
        let bad = ["=NEVER,FAILURE", "=", "", "=FAILURE,", "=FAILURE,FAILURE", "=SOMETIMES", "=NEVER NOTIFY=NEVER"];
        bad.into_iter().for_each(|bad| check(&format!("NOTIFY{bad}"), Err("NOTIFY")));
        check("ORCPT=rfc822;a+40b.example", Ok((None, "rfc822;a@b.example")));
        check("ORCPT=rfc822;a@b.example NOTIFY=FAILURE", Ok((Some("f"), "rfc822;a@b.example")));
        check("ORCPT=utf-8;grå@exämple.com", Ok((None, "utf-8;gr\\x{E5}@ex\\x{E4}mple.com")));
        check("ORCPT=UTF-8;gr\\x{E5}+2Bnews@b.example", Ok((None, "UTF-8;gr\\x{E5}+news@b.example")));
        let bad = [
            "=rfc822;grå@b.example",
            "=utf-8;å+0Ab",
            "=utf-8;å=b",
            "=a@b.example",
            "=;a",
            "=rfc822;",
            "",
            "=rfc822;a+0Ab",
            "=rf c",
            "=r\u{f6};a",
        ];
        bad.into_iter().for_each(|bad| check(&format!("ORCPT{bad}"), Err("ORCPT")));
        check(&format!("ORCPT=rfc822;{}", "x".repeat(493)), Ok((None, &format!("rfc822;{}", "x".repeat(493)))));
        check(&format!("ORCPT=rfc822;{}", "x".repeat(494)), Err("ORCPT"));
    }
}
