//! What a certificate says of itself (RFC 5280 §4.1): for which names, from whom, and when it is valid; as much of its DER
//! as tells that, and no more. Whether it is to be believed is not asked here.

use std::net::IpAddr;

use crate::model::time::Timestamp;

/// Names that are read of one certificate.
const NAMES_MAX: usize = 100;

/// From when to when.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Validity {
    /// Not before.
    pub from: Timestamp,
    /// Not after.
    pub until: Timestamp,
}

/// A certificate, for people.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Leaf {
    /// When it is valid.
    pub validity: Validity,
    /// Hosts and addresses that it is for; a hundred at most.
    pub names: Vec<String>,
    /// Who gave it: organization and common name.
    pub issuer: String,
    /// Whoever shows it gave it to themselves.
    pub is_self_signed: bool,
}

const SEQUENCE: u8 = 0x30;
const SET: u8 = 0x31;
const INTEGER: u8 = 0x02;
const OCTETS: u8 = 0x04;
const OBJECT: u8 = 0x06;
const VERSION: u8 = 0xa0;
const EXTENSIONS: u8 = 0xa3;
const UTC_TIME: u8 = 0x17;
const GENERALIZED_TIME: u8 = 0x18;
const UTF8_TEXT: u8 = 0x0c;
const PRINTABLE_TEXT: u8 = 0x13;
const DNS_NAME: u8 = 0x82;
const ADDRESS: u8 = 0x87;
/// 2.5.4.10 and 2.5.4.3 (RFC 5280 §4.1.2.4).
const ORGANIZATION: &[u8] = &[0x55, 4, 10];
const COMMON_NAME: &[u8] = &[0x55, 4, 3];
/// 2.5.29.17 (RFC 5280 §4.2.1.6).
const ALTERNATIVE_NAMES: &[u8] = &[0x55, 29, 17];

/// Reads it; `None` when that is no certificate.
pub fn leaf(certificate: &[u8]) -> Option<Leaf> {
    let mut whole = Der(certificate);
    let mut certificate = Der(whole.take(SEQUENCE)?);
    let mut signed = Der(certificate.take(SEQUENCE)?);
    // Only the first version of certificates does not say its version.
    let _ = signed.take(VERSION);
    signed.take(INTEGER)?;
    signed.take(SEQUENCE)?;
    let issuer = signed.take(SEQUENCE)?;
    let mut times = Der(signed.take(SEQUENCE)?);
    let validity = Validity { from: times.time()?, until: times.time()? };
    let subject = signed.take(SEQUENCE)?;
    signed.take(SEQUENCE)?;
    let names = std::iter::from_fn(|| signed.next()).find(|(tag, _)| *tag == EXTENSIONS);
    let names = names.and_then(|(_, extensions)| names_of(extensions)).unwrap_or_default();
    Some(Leaf { validity, names, issuer: issuer_of(issuer), is_self_signed: issuer == subject })
}

/// Organization and common name.
fn issuer_of(name: &[u8]) -> String {
    let (mut organization, mut common_name) = (None, None);
    let mut parts = Der(name);
    while let Some(part) = parts.take(SET) {
        let mut attribute = Der(Der(part).take(SEQUENCE).unwrap_or_default());
        let found = match attribute.take(OBJECT) {
            Some(ORGANIZATION) => &mut organization,
            Some(COMMON_NAME) => &mut common_name,
            _ => continue,
        };
        if let Some((UTF8_TEXT | PRINTABLE_TEXT, text)) = attribute.next() {
            *found = Some(String::from_utf8_lossy(text).into_owned());
        }
    }
    [organization, common_name].into_iter().flatten().collect::<Vec<_>>().join(" ")
}

/// The names in a certificate's extensions.
fn names_of(extensions: &[u8]) -> Option<Vec<String>> {
    let mut extensions = Der(Der(extensions).take(SEQUENCE)?);
    let names = std::iter::from_fn(|| extensions.take(SEQUENCE)).find_map(|extension| {
        let mut extension = Der(extension);
        (extension.take(OBJECT)? == ALTERNATIVE_NAMES).then_some(())?;
        std::iter::from_fn(|| extension.next()).find(|(tag, _)| *tag == OCTETS).map(|(_, octets)| octets)
    });
    let mut names = Der(Der(names?).take(SEQUENCE)?);
    let name = |(tag, content): (u8, &[u8])| match tag {
        DNS_NAME => Some(String::from_utf8_lossy(content).into_owned()),
        ADDRESS => {
            let four = || Some(IpAddr::from(<[u8; 4]>::try_from(content).ok()?));
            let sixteen = || Some(IpAddr::from(<[u8; 16]>::try_from(content).ok()?));
            four().or_else(sixteen).map(|address| address.to_string())
        }
        _ => None,
    };
    Some(std::iter::from_fn(|| names.next()).filter_map(name).take(NAMES_MAX).collect())
}

/// What is left of an encoding.
struct Der<'a>(&'a [u8]);

impl<'a> Der<'a> {
    /// The tag and the content of what comes next.
    fn next(&mut self) -> Option<(u8, &'a [u8])> {
        let (tag, rest) = self.0.split_first()?;
        let (length, rest) = length(rest)?;
        let (content, rest) = rest.split_at_checked(length)?;
        self.0 = rest;
        Some((*tag, content))
    }

    /// The content of what comes next, if it has this tag.
    fn take(&mut self, tag: u8) -> Option<&'a [u8]> {
        if *self.0.first()? == tag { self.next().map(|(_, content)| content) } else { None }
    }

    fn time(&mut self) -> Option<Timestamp> {
        let text = |content| std::str::from_utf8(content).ok();
        let text = match self.take(UTC_TIME) {
            // Two digits of a year are of 1950 to 2049.
            Some(content) => {
                let text = text(content)?;
                format!("{}{text}", if text.get(..2)? < "50" { "20" } else { "19" })
            }
            None => text(self.take(GENERALIZED_TIME)?)?.to_owned(),
        };
        let at = |from: usize, to: usize| text.get(from..to);
        let (date, time) = ((at(0, 4)?, at(4, 6)?, at(6, 8)?), (at(8, 10)?, at(10, 12)?, at(12, 14)?));
        let text = format!("{}-{}-{}T{}:{}:{}Z", date.0, date.1, date.2, time.0, time.1, time.2);
        text.parse().ok().map(|at: jiff::Timestamp| Timestamp::from_millis(at.as_millisecond()))
    }
}

/// A length, and what follows it (X.690 §8.1.3).
fn length(bytes: &[u8]) -> Option<(usize, &[u8])> {
    let (first, rest) = bytes.split_first()?;
    if *first < 0x80 {
        return Some((usize::from(*first), rest));
    }
    let (digits, rest) = rest.split_at_checked(usize::from(first & 0x7f))?;
    let is_fit = (1..=4).contains(&digits.len());
    is_fit.then(|| (digits.iter().fold(0, |length, digit| length << 8 | usize::from(*digit)), rest))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn made(from: (i32, u8, u8), until: (i32, u8, u8)) -> Vec<u8> {
        let mut parameters = rcgen::CertificateParams::new(vec!["mail.example.com".to_owned()]).unwrap();
        parameters.not_before = rcgen::date_time_ymd(from.0, from.1, from.2);
        parameters.not_after = rcgen::date_time_ymd(until.0, until.1, until.2);
        let key = rcgen::KeyPair::generate().unwrap();
        parameters.self_signed(&key).unwrap().der().to_vec()
    }

    #[test]
    fn times_of_either_kind_are_read() {
        let check = |from, until, expected: (&str, &str)| {
            let read = leaf(&made(from, until)).unwrap().validity;
            assert_eq!(
                (read.from.rfc3339_seconds(), read.until.rfc3339_seconds()),
                (expected.0.into(), expected.1.into())
            );
        };
        check((2026, 3, 1), (2026, 5, 30), ("2026-03-01T00:00:00Z", "2026-05-30T00:00:00Z"));
        check((1999, 12, 31), (2049, 12, 31), ("1999-12-31T00:00:00Z", "2049-12-31T00:00:00Z"));
        check((2026, 3, 1), (4096, 1, 1), ("2026-03-01T00:00:00Z", "4096-01-01T00:00:00Z"));
    }

    #[test]
    fn names_and_who_gave_it() {
        let key = || rcgen::KeyPair::generate().unwrap();
        let mut authority = rcgen::CertificateParams::new(Vec::<String>::new()).unwrap();
        authority.distinguished_name = rcgen::DistinguishedName::new();
        authority.distinguished_name.push(rcgen::DnType::CommonName, "R1");
        authority.distinguished_name.push(rcgen::DnType::OrganizationName, "Łatwe Szyfry");
        let names = ["links.shop.example", "*.shop.example", "192.0.2.7", "2001:db8::7"].map(str::to_owned);
        let given = rcgen::CertificateParams::new(names.clone()).unwrap();
        let given = given.signed_by(&key(), &rcgen::Issuer::new(authority, key())).unwrap();
        let read = leaf(given.der()).unwrap();
        assert_eq!(read.names, names);
        assert_eq!((read.issuer.as_str(), read.is_self_signed), ("Łatwe Szyfry R1", false));
        let own = leaf(&made((2026, 3, 1), (2026, 5, 30))).unwrap();
        assert_eq!(own.names, ["mail.example.com"]);
        assert!(own.is_self_signed);
    }

    #[test]
    fn what_is_cut_off_or_spoilt_is_no_fault() {
        let whole = made((2026, 3, 1), (2026, 5, 30));
        for at in 0..whole.len() {
            let _ = leaf(&whole[..at]);
            let mut spoilt = whole.clone();
            spoilt[at] ^= 0xff;
            let _ = leaf(&spoilt);
        }
        assert_eq!(leaf(&whole[..100]), None);
        assert_eq!(leaf(b""), None);
    }
}
