//! What a POST came to, in words that are shown to whoever owns the webhook.

use std::io;
use std::time::Duration;

use hyper::StatusCode;
use hyper::header::{HeaderMap, RETRY_AFTER};
use rustls::{AlertDescription, CertificateError};

use crate::egress::{BadIdentity, Failure, Refused};
use crate::model::time::Timestamp;
use crate::model::webhook::Post;

/// Why a POST failed: a closed list.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Fault {
    /// We do not connect there.
    #[error("{0}")]
    Blocked(Refused),
    /// The URL or a header cannot be put into a request.
    #[error("the request cannot be made from these settings")]
    Unsendable,
    /// Nothing signs it.
    #[error("there is nothing to sign with: the webhook has no secret, and the mail agent no authentication key")]
    Unsigned,
    /// No such name.
    #[error("the host name does not exist")]
    DnsNoName,
    /// DNS was too slow.
    #[error("DNS gave no answer in time")]
    DnsTimeout,
    /// DNS failed.
    #[error("DNS failed")]
    DnsFailed,
    /// Nobody listens.
    #[error("the connection was refused")]
    ConnectRefused,
    /// Nobody answers.
    #[error("the connection was not answered in time")]
    ConnectTimeout,
    /// No way there.
    #[error("the connection could not be made")]
    ConnectFailed,
    /// The operator's proxy is not there, or will not lead on.
    #[error("the proxy on our side leads nowhere")]
    ProxyFailed,
    /// No common protocol version or cipher.
    #[error("the receiver offers no TLS version or cipher that we use")]
    TlsNoCommonCipher,
    /// The certificate is not to be believed.
    #[error("the receiver's certificate {0}")]
    TlsBadCertificate(Flaw),
    /// It does not believe ours, or wants one.
    #[error("the receiver wants a client certificate, or refuses the one that it was shown")]
    TlsRefusesUs,
    /// What the webhook brings for TLS cannot be used.
    #[error("{0}")]
    TlsIdentity(BadIdentity),
    /// The handshake was too slow.
    #[error("the TLS handshake did not end in time")]
    TlsTimeout,
    /// The handshake failed.
    #[error("the TLS handshake failed")]
    TlsFailed,
    /// No answer in time.
    #[error("the receiver did not answer in time")]
    HttpTimeout,
    /// The answer was not 2xx.
    #[error("the receiver answered with a status other than 2xx")]
    Status,
    /// The answer's headers were too many or too long.
    #[error("the headers of the answer are too large")]
    TooLarge,
    /// The connection ended before there was an answer, or what came was not HTTP.
    #[error("the connection ended without a complete HTTP answer")]
    Broken,
}

/// What is wrong with a certificate.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Flaw {
    /// Its time is over.
    #[error("has expired")]
    Expired,
    /// Its time has not come.
    #[error("is not valid yet")]
    NotYet,
    /// It is for others.
    #[error("is for another host name")]
    Name,
    /// Nobody whom we believe vouches for it.
    #[error("was not issued by an authority that is known here; a private one can be set as the webhook's CA")]
    Issuer,
    /// It was called back.
    #[error("was revoked")]
    Revoked,
    /// Something else.
    #[error("is not valid")]
    Other,
}

impl From<&CertificateError> for Flaw {
    fn from(error: &CertificateError) -> Self {
        use CertificateError as E;
        match error {
            E::Expired | E::ExpiredContext { .. } => Flaw::Expired,
            E::NotValidYet | E::NotValidYetContext { .. } => Flaw::NotYet,
            E::NotValidForName | E::NotValidForNameContext { .. } => Flaw::Name,
            E::UnknownIssuer => Flaw::Issuer,
            // What rustls says of a certificate that vouches for itself.
            E::Other(other) if other.to_string().contains("CaUsedAsEndEntity") => Flaw::Issuer,
            E::Revoked => Flaw::Revoked,
            _ => Flaw::Other,
        }
    }
}

impl Fault {
    /// Its word, as stored and shown.
    pub const fn as_str(self) -> &'static str {
        match self {
            Fault::Blocked(_) => "egress_blocked",
            Fault::Unsendable => "request_invalid",
            Fault::Unsigned => "unsigned",
            Fault::DnsNoName => "dns_nxdomain",
            Fault::DnsTimeout => "dns_timeout",
            Fault::DnsFailed => "dns_failed",
            Fault::ConnectRefused => "connect_refused",
            Fault::ConnectTimeout => "connect_timeout",
            Fault::ConnectFailed => "connect_failed",
            Fault::ProxyFailed => "proxy_failed",
            Fault::TlsNoCommonCipher => "tls_no_common_cipher",
            Fault::TlsBadCertificate(_) => "tls_bad_certificate",
            Fault::TlsRefusesUs => "tls_client_certificate",
            Fault::TlsIdentity(_) => "tls_bad_identity",
            Fault::TlsTimeout => "tls_timeout",
            Fault::TlsFailed => "tls_failed",
            Fault::HttpTimeout => "http_timeout",
            Fault::Status => "http_status",
            Fault::TooLarge => "response_too_large",
            Fault::Broken => "http_broken",
        }
    }
}

impl From<Failure> for Fault {
    fn from(failure: Failure) -> Self {
        match failure {
            Failure::Refused(refused) => Fault::Blocked(refused),
            Failure::NoSuchName => Fault::DnsNoName,
            Failure::DnsTimeout => Fault::DnsTimeout,
            Failure::DnsFailed => Fault::DnsFailed,
            Failure::ConnectRefused => Fault::ConnectRefused,
            Failure::ConnectTimeout => Fault::ConnectTimeout,
            Failure::ConnectFailed => Fault::ConnectFailed,
            Failure::ProxyFailed => Fault::ProxyFailed,
        }
    }
}

/// The outcome for the dispatch. A receiver may say more than its status does: `webhook-delivery: disable` is as good as
/// a 410, and `abort-message` means that this one need not be tried again.
pub(super) fn post(status: Option<StatusCode>, fault: Option<Fault>, headers: &HeaderMap, now: Timestamp) -> Post {
    let wish = headers.get("webhook-delivery").and_then(|value| value.to_str().ok()).unwrap_or_default().trim();
    if status == Some(StatusCode::GONE) || wish.eq_ignore_ascii_case("disable") {
        return Post::Gone;
    }
    let code = status.map(|status| status.as_u16());
    let Some(fault) = fault else { return Post::Arrived { status: code.unwrap_or_default() } };
    if wish.eq_ignore_ascii_case("abort-message") {
        return Post::Refused { status: code.unwrap_or_default() };
    }
    let is_asking = matches!(status, Some(StatusCode::TOO_MANY_REQUESTS | StatusCode::SERVICE_UNAVAILABLE));
    let retry_after = headers.get(RETRY_AFTER).filter(|_| is_asking);
    let wait = retry_after.and_then(|value| retry_after_wait(value.to_str().ok()?, now));
    Post::Failed { status: code, error: fault.as_str(), wait }
}

/// `Retry-After` (RFC 9110 §10.2.3): seconds, or a date in one of the three forms of §5.6.7.
fn retry_after_wait(value: &str, now: Timestamp) -> Option<Duration> {
    const FORMS: [&str; 3] = ["%a, %d %b %Y %H:%M:%S GMT", "%A, %d-%b-%y %H:%M:%S GMT", "%a %b %e %H:%M:%S %Y"];
    let value = value.trim();
    if !value.is_empty() && value.bytes().all(|byte| byte.is_ascii_digit()) {
        return Some(Duration::from_secs(value.parse().unwrap_or(u64::MAX / 1000)));
    }
    let date = FORMS.iter().find_map(|form| jiff::civil::DateTime::strptime(form, value).ok())?;
    let millis = date.to_zoned(jiff::tz::TimeZone::UTC).ok()?.timestamp().as_millisecond();
    Some(Timestamp::from_millis(millis).since(now))
}

pub(super) fn http_fault(error: &hyper::Error) -> Fault {
    let cause = std::error::Error::source(error).and_then(|cause| cause.downcast_ref::<io::Error>());
    let is_cut = cause.is_some_and(|cause| cause.kind() == io::ErrorKind::FileTooLarge);
    if is_cut || error.is_parse_too_large() {
        return Fault::TooLarge;
    }
    // In TLS 1.3 a client certificate is judged after the handshake.
    match cause.map(tls_fault) {
        Some(Fault::TlsRefusesUs) => Fault::TlsRefusesUs,
        _ => Fault::Broken,
    }
}

pub(super) fn tls_fault(error: &io::Error) -> Fault {
    use rustls::Error::{AlertReceived, InvalidCertificate, NoCertificatesPresented, PeerIncompatible};
    match error.get_ref().and_then(|inner| inner.downcast_ref::<rustls::Error>()) {
        Some(InvalidCertificate(error)) => Fault::TlsBadCertificate(Flaw::from(error)),
        Some(NoCertificatesPresented) => Fault::TlsBadCertificate(Flaw::Other),
        Some(PeerIncompatible(_)) => Fault::TlsNoCommonCipher,
        Some(AlertReceived(
            AlertDescription::HandshakeFailure
            | AlertDescription::ProtocolVersion
            | AlertDescription::InsufficientSecurity,
        )) => Fault::TlsNoCommonCipher,
        Some(AlertReceived(
            AlertDescription::CertificateRequired
            | AlertDescription::BadCertificate
            | AlertDescription::UnsupportedCertificate
            | AlertDescription::CertificateRevoked
            | AlertDescription::CertificateExpired
            | AlertDescription::CertificateUnknown
            | AlertDescription::UnknownCA
            | AlertDescription::AccessDenied,
        )) => Fault::TlsRefusesUs,
        _ => Fault::TlsFailed,
    }
}

#[cfg(test)]
mod tests {
    use hyper::header::HeaderValue;

    use super::*;

    #[test]
    fn retry_after_is_seconds_or_a_date_and_only_when_asked() {
        let now = Timestamp::from_millis(784_111_777_000); // Sun, 06 Nov 1994 08:49:37 GMT
        let check = |status: u16, value: &str, expected: Option<u64>| {
            let headers = HeaderMap::from_iter([(RETRY_AFTER, HeaderValue::from_str(value).unwrap())]);
            let status = StatusCode::from_u16(status).unwrap();
            let found = post(Some(status), Some(Fault::Status), &headers, now);
            let wait = expected.map(Duration::from_secs);
            let expected = Post::Failed { status: Some(status.as_u16()), error: "http_status", wait };
            assert_eq!(found, expected, "{value:?}");
        };
        check(429, "120", Some(120));
        check(503, "0", Some(0));
        check(503, " 7 ", Some(7));
        check(503, "Sun, 06 Nov 1994 08:51:37 GMT", Some(120));
        check(503, "Sunday, 06-Nov-94 08:51:37 GMT", Some(120));
        check(503, "Sun Nov  6 08:51:37 1994", Some(120));
        check(503, "Sun, 06 Nov 1994 08:40:00 GMT", Some(0));
        check(429, "99999999999999999999999", Some(u64::MAX / 1000));
        check(500, "120", None);
        check(429, "soon", None);
        check(429, "-5", None);
        check(429, "", None);
    }

    #[test]
    fn the_status_decides_unless_the_receiver_says_more() {
        let check_saying = |status, word: &'static str, expected| {
            let fault = (!(200..300).contains(&status)).then_some(Fault::Status);
            let headers = HeaderMap::from_iter([("webhook-delivery".parse().unwrap(), HeaderValue::from_static(word))]);
            assert_eq!(post(StatusCode::from_u16(status).ok(), fault, &headers, Timestamp::default()), expected);
        };
        let check = |status, expected| check_saying(status, "", expected);
        let failed = |status| Post::Failed { status: Some(status), error: "http_status", wait: None };
        check(200, Post::Arrived { status: 200 });
        check(204, Post::Arrived { status: 204 });
        check(302, failed(302));
        check(404, failed(404));
        check(410, Post::Gone);
        check(500, failed(500));
        check_saying(200, "Disable", Post::Gone);
        check_saying(500, "disable", Post::Gone);
        check_saying(422, "abort-message", Post::Refused { status: 422 });
        check_saying(200, "abort-message", Post::Arrived { status: 200 });
        check_saying(500, "whatever", failed(500));
    }
}
