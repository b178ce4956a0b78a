//! When a certificate is valid (RFC 5280 §4.1.2.5): as much of its DER as tells that, and no more.

use crate::model::time::Timestamp;

/// From when to when.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Validity {
    /// Not before.
    pub from: Timestamp,
    /// Not after.
    pub until: Timestamp,
}

const SEQUENCE: u8 = 0x30;
const INTEGER: u8 = 0x02;
const VERSION: u8 = 0xa0;
const UTC_TIME: u8 = 0x17;
const GENERALIZED_TIME: u8 = 0x18;

/// Reads it; `None` when that is no certificate.
pub fn validity(certificate: &[u8]) -> Option<Validity> {
    let mut whole = Der(certificate);
    let mut certificate = Der(whole.take(SEQUENCE)?);
    let mut signed = Der(certificate.take(SEQUENCE)?);
    // Only the first version of certificates does not say its version.
    let _ = signed.take(VERSION);
    signed.take(INTEGER)?;
    signed.take(SEQUENCE)?;
    signed.take(SEQUENCE)?;
    let mut times = Der(signed.take(SEQUENCE)?);
    Some(Validity { from: times.time()?, until: times.time()? })
}

/// What is left of an encoding.
struct Der<'a>(&'a [u8]);

impl<'a> Der<'a> {
    /// The content of what comes next, if it has this tag.
    fn take(&mut self, tag: u8) -> Option<&'a [u8]> {
        let (found, rest) = self.0.split_first()?;
        let (length, rest) = length(rest).filter(|_| *found == tag)?;
        let (content, rest) = rest.split_at_checked(length)?;
        self.0 = rest;
        Some(content)
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
            let read = validity(&made(from, until)).unwrap();
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
    fn what_is_cut_off_or_spoilt_is_no_fault() {
        let whole = made((2026, 3, 1), (2026, 5, 30));
        for at in 0..whole.len() {
            let _ = validity(&whole[..at]);
            let mut spoilt = whole.clone();
            spoilt[at] ^= 0xff;
            let _ = validity(&spoilt);
        }
        assert_eq!(validity(&whole[..100]), None);
        assert_eq!(validity(b""), None);
    }
}
