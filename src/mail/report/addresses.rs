//! Finds mail addresses in what mail systems write.
//!
//! Looser than `model::address`: a report may name an address that we would never send to, and it is still the one
//! that failed. What is found is compared with what we sent, never sent to.

/// Longest address that is believed.
const ADDRESS_BYTES_MAX: usize = 320;

/// An address and where it stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Spotted<'a> {
    /// The address, without brackets.
    pub address: &'a str,
    /// Where it starts, in bytes.
    pub start: usize,
    /// Where it ends.
    pub end: usize,
}

/// Every address in a line, in order.
pub fn spotted(line: &str) -> Vec<Spotted<'_>> {
    let mut found: Vec<Spotted<'_>> = Vec::new();
    for (at, _) in line.match_indices('@') {
        let from = found.last().map_or(0, |last| last.end);
        if at >= from
            && let Some(spot) = around(line, from, at)
        {
            found.push(spot);
        }
    }
    found
}

/// The addresses in a text.
pub fn all(text: &str) -> Vec<String> {
    spotted(text).into_iter().map(|spot| spot.address.to_owned()).collect()
}

/// The first address in a text.
pub fn first(text: &str) -> Option<&str> {
    spotted(text).into_iter().next().map(|spot| spot.address)
}

fn around(line: &str, from: usize, at: usize) -> Option<Spotted<'_>> {
    let before = line.get(from..at)?;
    let before = before.get(before.len() - last_chars(before, ADDRESS_BYTES_MAX)..)?;
    let local = match before.strip_suffix('"') {
        Some(quoted) => quoted.rfind('"').map(|open| before.len() - open)?,
        None => before.chars().rev().take_while(|char| is_local(*char)).map(char::len_utf8).sum(),
    };
    let start = at - local;
    let local = line.get(start..at)?;
    let skipped = local.len() - local.trim_start_matches(['.', '\'', '=', '*', '-', '/', '`', '#']).len();
    let start = match local.get(..5) {
        Some(x400) if x400.eq_ignore_ascii_case("smtp=") => start + 5,
        _ if local.starts_with('"') => start,
        _ => start + skipped,
    };
    let start = match line.get(start..at)?.as_bytes() {
        [b'2' | b'4' | b'5', b'0'..=b'9', b'0'..=b'9', b'-', _, ..] => start + 4,
        _ => start,
    };
    let after = line.get(at + 1..)?;
    let domain = match after.strip_prefix('[') {
        Some(literal) => literal.find(']')? + 2,
        None => after.chars().take_while(|char| is_domain(*char)).map(char::len_utf8).sum(),
    };
    let domain = after.get(..domain)?.trim_end_matches(['.', '-', '_']);
    let end = at + 1 + domain.len();
    let address = line.get(start..end)?;
    (start < at && !domain.is_empty() && address.len() <= ADDRESS_BYTES_MAX).then_some(Spotted { address, start, end })
}

/// The length of the end of a text, at most so many bytes, not splitting a character.
fn last_chars(text: &str, bytes: usize) -> usize {
    let mut length = bytes.min(text.len());
    while !text.is_char_boundary(text.len() - length) {
        length -= 1;
    }
    length
}

fn is_local(char: char) -> bool {
    char.is_ascii_alphanumeric() || ".!#$%&'*+-/=?^_`{|}~".contains(char) || is_letter(char)
}

fn is_domain(char: char) -> bool {
    char.is_ascii_alphanumeric() || ".-_".contains(char) || is_letter(char)
}

/// A letter of an internationalised address; full-width punctuation and the like is none.
fn is_letter(char: char) -> bool {
    !char.is_ascii() && char.is_alphanumeric()
}

/// The address in the value of a DSN field: `rfc822; <a@b.example> (comment)`, and what else is written there.
/// A bare local part is given as it stands.
pub fn of_field(value: &str) -> Option<String> {
    let mut value = value.trim();
    while let Some((kind, rest)) = value.split_once(';') {
        let known = ["rfc822", "rfc/822", "utf-8", "utf8", "smtp", "local", "system", "x400", "unknown", "dns"];
        if !known.contains(&kind.trim().to_ascii_lowercase().as_str()) {
            break;
        }
        value = rest.trim();
    }
    let value = with_unicode_escapes(value);
    if let Some(address) = first(&value) {
        return Some(address.to_owned());
    }
    let bare = value.trim_matches(|char: char| char.is_whitespace() || "<>\"'".contains(char));
    // A name of no host, as `a@#b.example`, is what fails there.
    let parts = bare.split_once('@').filter(|(local, domain)| !local.is_empty() && !domain.is_empty());
    let local = parts.map_or(bare, |(local, _)| local);
    let plausible = !local.is_empty()
        && bare.len() <= ADDRESS_BYTES_MAX
        && bare.chars().all(|char| char == '@' || is_local(char))
        && local.len() <= 64
        && !local.contains(['/', '|', '=']);
    plausible.then(|| bare.to_owned())
}

/// `\x{fc}` (RFC 6533 §3) as the character it stands for.
fn with_unicode_escapes(value: &str) -> String {
    let mut text = String::with_capacity(value.len());
    let mut rest = value;
    while let Some((before, after)) = rest.split_once("\\x{") {
        text.push_str(before);
        rest = after;
        let Some((digits, after)) = after.split_once('}').filter(|(digits, _)| digits.len() <= 6) else {
            text.push_str("\\x{");
            continue;
        };
        let char = u32::from_str_radix(digits, 16).ok().and_then(char::from_u32);
        text.push(char.unwrap_or(char::REPLACEMENT_CHARACTER));
        rest = after;
    }
    text.push_str(rest);
    text
}

/// What xtext (RFC 3461 §4) had to encode: `+2B` and `+3D` as `+` and `=`. Other `+XY` may be part of an address.
pub fn without_xtext(address: &str) -> String {
    address.replace("+2B", "+").replace("+3D", "=").replace("+40", "@")
}

/// Octal escapes of 8-bit bytes, as Exim writes them (`\303\274`), as the text they stand for.
pub fn without_octal(text: &str) -> String {
    let bytes = text.as_bytes();
    let mut plain = Vec::with_capacity(bytes.len());
    let mut rest = bytes;
    while let Some((first, after)) = rest.split_first() {
        if let [b'\\', high @ b'2'..=b'3', middle @ b'0'..=b'7', low @ b'0'..=b'7', after @ ..] = rest {
            plain.push((high - b'0') << 6 | (middle - b'0') << 3 | (low - b'0'));
            rest = after;
        } else {
            plain.push(*first);
            rest = after;
        }
    }
    String::from_utf8(plain).unwrap_or_else(|bad| super::parts::charset_text(&bad.into_bytes(), Some("windows-1252")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(line: &str, expected: &[&str]) {
        let found: Vec<&str> = spotted(line).into_iter().map(|spot| spot.address).collect();
        assert_eq!(found, expected, "{line}");
    }

    #[test]
    fn addresses_are_spotted() {
        check("<a.b@c.example>: no", &["a.b@c.example"]);
        check("to x@y.example, and z+1@w.example.", &["x@y.example", "z+1@w.example"]);
        check("\"odd one\"@y.example", &["\"odd one\"@y.example"]);
        check("c=US;dda:SMTP=u@x.example;", &["u@x.example"]);
        check("mail an münch@größe.example。", &["münch@größe.example"]);
        check("u@[192.0.2.1]", &["u@[192.0.2.1]"]);
        check("@ x@ @y", &[]);
    }

    #[track_caller]
    fn check_field(value: &str, expected: Option<&str>) {
        assert_eq!(of_field(value).as_deref(), expected, "{value}");
    }

    #[test]
    fn fields_name_addresses_in_many_ways() {
        check_field("rfc822; <a@b.example>", Some("a@b.example"));
        check_field("rfc822; rfc822;a@b.example (A)", Some("a@b.example"));
        check_field("rfc/822;a@b.example", Some("a@b.example"));
        check_field("utf-8; m\\x{fc}nch@b.example", Some("münch@b.example"));
        check_field("LOCAL; <anna>", Some("anna"));
        check_field("RFC822; anna@#b.example", Some("anna@#b.example"));
        check_field("system;<>", None);
        check_field("rfc822;|/usr/bin/filter -x", None);
    }

    #[test]
    fn escapes_are_undone() {
        assert_eq!(without_octal("m\\303\\274nch"), "münch");
        assert_eq!(without_octal("C:\\100 \\2"), "C:\\100 \\2");
        assert_eq!(without_xtext("a+2Bb@c.example"), "a+b@c.example");
    }
}
