//! Mail addresses as the envelope uses them.
//!
//! An [`Address`] has been checked: RFC 5321 §4.1.2 with the UTF-8 of RFC 6531 §3.3, and a domain in lower-case
//! A-labels (RFC 5890). Address literals, source routes, comments and single-label domains are refused.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// Longest local part, in octets (RFC 5321 §4.5.3.1.1).
pub const LOCAL_PART_BYTES_MAX: usize = 64;
/// Longest domain, in octets (RFC 5321 §4.5.3.1.2).
pub const DOMAIN_BYTES_MAX: usize = 255;
/// Longest address, in octets: a path of 256 less its angle brackets (RFC 5321 §4.5.3.1.3).
pub const ADDRESS_BYTES_MAX: usize = 254;

/// Why a text is not an address we can send to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum BadAddress {
    /// No `@`, or nothing on one side of it.
    #[error("an address needs a local part, an @ and a domain")]
    Incomplete,
    /// Longer than RFC 5321 §4.5.3.1 allows.
    #[error("the address is too long")]
    TooLong,
    /// The local part is neither a dot-string nor a quoted string.
    #[error("the part before the @ has a character that must be quoted")]
    LocalPart,
    /// The domain is not a domain name of at least two labels.
    #[error("the part after the @ is not a domain name")]
    Domain,
}

/// A checked mail address. Equality ignores the case of the domain only (RFC 5321 §2.4).
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Address {
    local: String,
    domain: String,
}

impl Address {
    /// The local part without quotes or backslashes.
    pub fn local_part(&self) -> &str {
        &self.local
    }

    /// The domain, lower-case A-labels, without a final dot.
    pub fn domain(&self) -> &str {
        &self.domain
    }

    /// Whether sending to it takes SMTPUTF8 (RFC 6531): the local part is not ASCII.
    pub fn needs_smtputf8(&self) -> bool {
        !self.local.is_ascii()
    }

    /// The form under which suppressions are kept: all lower case.
    pub fn folded(&self) -> String {
        self.to_string().to_lowercase()
    }
}

impl FromStr for Address {
    type Err = BadAddress;

    fn from_str(text: &str) -> Result<Self, BadAddress> {
        let (local, domain) = text.rsplit_once('@').ok_or(BadAddress::Incomplete)?;
        if local.is_empty() || domain.is_empty() {
            return Err(BadAddress::Incomplete);
        }
        if local.len() > LOCAL_PART_BYTES_MAX || text.len() > ADDRESS_BYTES_MAX {
            return Err(BadAddress::TooLong);
        }
        let address = Self { local: unquoted(local)?, domain: domain_name(domain)? };
        if address.to_string().len() > ADDRESS_BYTES_MAX {
            return Err(BadAddress::TooLong);
        }
        Ok(address)
    }
}

impl fmt::Display for Address {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        if is_dot_string(&self.local) {
            return write!(out, "{}@{}", self.local, self.domain);
        }
        out.write_str("\"")?;
        for char in self.local.chars() {
            if matches!(char, '"' | '\\') {
                out.write_str("\\")?;
            }
            write!(out, "{char}")?;
        }
        write!(out, "\"@{}", self.domain)
    }
}

impl fmt::Debug for Address {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, out)
    }
}

impl Serialize for Address {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        to.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Address {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        String::deserialize(from)?.parse().map_err(serde::de::Error::custom)
    }
}

/// A domain name in lower-case A-labels, at least two labels, no final dot.
///
/// # Errors
/// [`BadAddress::Domain`] for anything else, address literals included.
pub fn domain_name(text: &str) -> Result<String, BadAddress> {
    let domain = idna::domain_to_ascii(text).map_err(|_| BadAddress::Domain)?;
    let well_formed = domain.len() <= DOMAIN_BYTES_MAX
        && domain.contains('.')
        && domain.parse::<std::net::Ipv4Addr>().is_err()
        && domain.split('.').all(is_label);
    if well_formed { Ok(domain) } else { Err(BadAddress::Domain) }
}

/// A host name as [`domain_name`] has it, or `*.` and one for every host below it; `None` for anything else.
pub fn host_pattern(text: &str) -> Option<String> {
    let (star, name) = text.strip_prefix("*.").map_or(("", text), |name| ("*.", name));
    domain_name(name).ok().map(|name| format!("{star}{name}"))
}

/// A label as the world writes them: letters, digits, hyphens inside, and the underscore that RFC 1123 forbids but
/// real mail domains have.
fn is_label(label: &str) -> bool {
    (1..=63).contains(&label.len())
        && !label.starts_with('-')
        && !label.ends_with('-')
        && label.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_'))
}

fn unquoted(local: &str) -> Result<String, BadAddress> {
    let Some(inner) = local.strip_prefix('"') else {
        return if is_dot_string(local) { Ok(local.to_owned()) } else { Err(BadAddress::LocalPart) };
    };
    let inner = inner.strip_suffix('"').ok_or(BadAddress::LocalPart)?;
    let mut plain = String::with_capacity(inner.len());
    let mut chars = inner.chars();
    while let Some(char) = chars.next() {
        let literal = match char {
            '\\' => chars.next().ok_or(BadAddress::LocalPart)?,
            '"' => return Err(BadAddress::LocalPart),
            other => other,
        };
        if literal.is_control() {
            return Err(BadAddress::LocalPart);
        }
        plain.push(literal);
    }
    Ok(plain)
}

fn is_dot_string(local: &str) -> bool {
    !local.is_empty() && local.split('.').all(|atom| !atom.is_empty() && atom.chars().all(is_atom_char))
}

/// `atext` of RFC 5322 §3.2.3, with the UTF-8 of RFC 6532 §3.2; no control or direction-changing characters, which
/// only serve to make an address look like another.
fn is_atom_char(char: char) -> bool {
    char.is_ascii_alphanumeric()
        || "!#$%&'*+-/=?^_`{|}~".contains(char)
        || (!char.is_ascii()
            && !char.is_control()
            && !char.is_whitespace()
            && !matches!(char, '\u{200b}'..='\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2060}'..='\u{2069}' | '\u{feff}'))
}

/// An address with the name beside it, as headers and payloads show people. The address is kept as it was written.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Mailbox {
    /// The address, not necessarily one that we could send to.
    pub address: String,
    /// The display name; empty when there is none.
    #[serde(default)]
    pub name: String,
}

impl Mailbox {
    /// An address without a name.
    pub fn bare(address: impl Into<String>) -> Self {
        Self { address: address.into(), name: String::new() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(text: &str, expected: Result<&str, BadAddress>) {
        assert_eq!(text.parse::<Address>().map(|address| address.to_string()), expected.map(str::to_owned), "{text}");
    }

    #[test]
    fn addresses() {
        check("reader@example.com", Ok("reader@example.com"));
        check("Reader+tag@EXAMPLE.com", Ok("Reader+tag@example.com"));
        check("\"a b\"@example.com", Ok("\"a b\"@example.com"));
        check("\"a\\\"b\"@example.com", Ok("\"a\\\"b\"@example.com"));
        check("\"plain\"@example.com", Ok("plain@example.com"));
        check("\"a@b\"@example.com", Ok("\"a@b\"@example.com"));
        check("grå@exämple.com", Ok("grå@xn--exmple-cua.com"));
        check("a@under_score.example", Ok("a@under_score.example"));
        check("", Err(BadAddress::Incomplete));
        check("reader", Err(BadAddress::Incomplete));
        check("@example.com", Err(BadAddress::Incomplete));
        check("a..b@example.com", Err(BadAddress::LocalPart));
        check(".a@example.com", Err(BadAddress::LocalPart));
        check("a.@example.com", Err(BadAddress::LocalPart));
        check("a b@example.com", Err(BadAddress::LocalPart));
        check("a(c)@example.com", Err(BadAddress::LocalPart));
        check("a\r\nb@example.com", Err(BadAddress::LocalPart));
        check("\"a\r\nRCPT TO:<x>\"@example.com", Err(BadAddress::LocalPart));
        check("a\u{202e}b@example.com", Err(BadAddress::LocalPart));
        check("a@localhost", Err(BadAddress::Domain));
        check("a@[127.0.0.1]", Err(BadAddress::Domain));
        check("a@127.0.0.1", Err(BadAddress::Domain));
        check("a@example..com", Err(BadAddress::Domain));
        check("a@-x.example", Err(BadAddress::Domain));
        check("a@xn---", Err(BadAddress::Domain));
        check("@a,@b:user@example.com", Err(BadAddress::LocalPart));
    }

    #[test]
    fn lengths() {
        check(&format!("{}@example.com", "a".repeat(65)), Err(BadAddress::TooLong));
        let longest =
            format!("{}@{}.example", "a".repeat(64), ["b".repeat(63), "c".repeat(63), "d".repeat(53)].join("."));
        assert_eq!(longest.len(), 254);
        check(&longest, Ok(&longest));
        check(&longest.replace("dd.", "ddd."), Err(BadAddress::TooLong));
    }
}
