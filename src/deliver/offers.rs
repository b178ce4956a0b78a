//! What a host offers in its reply to EHLO, as far as we make use of it. Pure.

use super::reply::Reply;
use super::transport::{Mail, Unfit};

/// What a host offers.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Offers {
    /// STARTTLS (RFC 3207).
    pub starttls: bool,
    /// PIPELINING (RFC 2920).
    pub pipelining: bool,
    /// SIZE, with the largest mail in bytes that it takes; 0 for any (RFC 1870).
    pub size: Option<u64>,
    /// 8BITMIME (RFC 6152).
    pub eight_bit: bool,
    /// SMTPUTF8 (RFC 6531).
    pub utf8: bool,
    /// DSN (RFC 3461).
    pub dsn: bool,
    /// REQUIRETLS (RFC 8689).
    pub require_tls: bool,
    /// AUTH PLAIN (RFC 4616).
    pub auth_plain: bool,
    /// AUTH LOGIN.
    pub auth_login: bool,
}

impl Offers {
    /// What a reply to EHLO offers: nothing, unless it is positive. Its first line is a greeting, the case of letters
    /// does not matter, and `AUTH=PLAIN` is read as the old servers mean it.
    pub fn of(reply: &Reply) -> Self {
        let mut offers = Self::default();
        if !reply.is_positive() {
            return offers;
        }
        for line in reply.lines().skip(1) {
            let line = line.to_ascii_uppercase();
            let mut words = line.split([' ', '=']).filter(|word| !word.is_empty());
            match words.next() {
                Some("STARTTLS") => offers.starttls = true,
                Some("PIPELINING") => offers.pipelining = true,
                Some("SIZE") => offers.size = Some(words.next().and_then(|limit| limit.parse().ok()).unwrap_or(0)),
                Some("8BITMIME") => offers.eight_bit = true,
                Some("SMTPUTF8") => offers.utf8 = true,
                Some("DSN") => offers.dsn = true,
                Some("REQUIRETLS") => offers.require_tls = true,
                Some("AUTH") => {
                    for mechanism in words {
                        offers.auth_plain |= mechanism == "PLAIN";
                        offers.auth_login |= mechanism == "LOGIN";
                    }
                }
                Some(_) | None => {}
            }
        }
        offers
    }

    /// Whether the host can take this mail as it is.
    ///
    /// # Errors
    /// What it lacks.
    pub fn suit(&self, mail: &Mail<'_>) -> Result<(), Unfit> {
        let size = u64::try_from(mail.bytes.len()).unwrap_or(u64::MAX);
        match self.size {
            Some(limit) if limit > 0 && size > limit => Err(Unfit::TooLarge { limit }),
            _ if mail.requires_tls && !self.require_tls => Err(Unfit::TlsNotPromised),
            _ if mail.recipient.needs_smtputf8() && !self.utf8 => Err(Unfit::NonAsciiAddress),
            _ if !self.eight_bit && !mail.bytes.is_ascii() => Err(Unfit::EightBit),
            _ if !self.utf8 && mail.has_utf8_header() => Err(Unfit::EightBit),
            _ => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn offers(text: &str) -> Offers {
        Offers::of(&Reply { code: text[..3].parse().unwrap(), text: text.into() })
    }

    #[test]
    fn what_is_offered() {
        let all = "250-mx\n250-STARTTLS\n250-pipelining\n250-Size 1000\n250-8BITMIME\n250-SMTPUTF8\n250-DSN\n250-RequireTLS\n250-AUTH=LOGIN\n250 AUTH CRAM-MD5 PLAIN";
        let expected = Offers {
            starttls: true,
            pipelining: true,
            size: Some(1000),
            eight_bit: true,
            utf8: true,
            dsn: true,
            require_tls: true,
            auth_plain: true,
            auth_login: true,
        };
        assert_eq!(offers(all), expected);
        assert_eq!(offers(&all.replace("250", "550")), Offers::default());
        assert_eq!(offers("250 STARTTLS"), Offers::default(), "a greeting offers nothing");
        assert_eq!(offers("250-mx\n250-SIZE\n250").size, Some(0));
        assert_eq!(offers("250-mx\n250 SIZE 99999999999999999999").size, Some(0));
    }

    #[test]
    fn what_suits() {
        let check = |recipient: &str, bytes: &str, offers: &Offers, expected| {
            let recipient = recipient.parse().unwrap();
            let (return_path, bytes) = ("b@example.com", bytes.as_bytes());
            let mail = Mail {
                return_path,
                recipient: &recipient,
                bytes,
                wishes: None,
                requires_tls: false,
                awaits_report: false,
            };
            assert_eq!(offers.suit(&mail), expected, "{}", bytes.escape_ascii());
        };
        let none = Offers::default();
        let some = Offers { size: Some(3), eight_bit: true, utf8: true, ..Offers::default() };
        check("a@example.com", "abcd", &none, Ok(()));
        check("a@example.com", "abcd", &some, Err(Unfit::TooLarge { limit: 3 }));
        check("a@example.com", "abcd", &Offers { size: Some(0), ..some.clone() }, Ok(()));
        check("a@example.com", "ü", &none, Err(Unfit::EightBit));
        check("a@example.com", "ü", &some, Ok(()));
        let only_body = Offers { eight_bit: true, ..none.clone() };
        check("a@example.com", "a: ü", &only_body, Err(Unfit::EightBit));
        check("a@example.com", "a: b\r\n\r\nü", &only_body, Ok(()));
        check("ü@example.com", "a", &none, Err(Unfit::NonAsciiAddress));
        check("ü@example.com", "a", &some, Ok(()));
    }
}
