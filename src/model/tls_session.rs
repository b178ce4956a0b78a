//! TLS sessions with other people's mail hosts, in the words of RFC 8460 §4: by which policy one was judged, and what
//! was wrong with it. Counted by `deliver`, kept by `store`, told to their domains by `mail::tls_report`.
//!
//! As JSON these are what reports hold, field by field, and what the store keeps.

use std::net::IpAddr;

use serde::{Deserialize, Serialize};

/// Which kind of policy a session was judged by (RFC 8460 §4.4).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum PolicyType {
    /// MTA-STS.
    Sts,
    /// DANE.
    Tlsa,
    /// None was published: TLS where it can be had.
    NoPolicyFound,
}

/// The policy that a session was judged by.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct AppliedPolicy {
    /// Its kind.
    pub policy_type: PolicyType,
    /// Its lines, or the TLSA records; empty when they could not be had.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub policy_string: Vec<String>,
    /// Whose it is: the recipients' domain, or for DANE the host (RFC 8460 §1.1).
    pub policy_domain: String,
    /// The exchangers that an MTA-STS policy names.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub mx_host: Vec<String>,
}

/// What is wrong with a session (RFC 8460 §4.3). `dane-required` is left out: nobody can set here that a domain must have
/// DANE.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ResultType {
    /// The host does not offer STARTTLS, or refuses it.
    StarttlsNotSupported,
    /// The certificate is for another name.
    CertificateHostMismatch,
    /// The certificate's time is over.
    CertificateExpired,
    /// Nobody whom we trust, and no TLSA record, vouches for the certificate.
    CertificateNotTrusted,
    /// Something else.
    ValidationFailure,
    /// None of the TLSA records can be used.
    TlsaInvalid,
    /// DNSSEC shows that an answer was forged, or the name servers fail on it.
    DnssecInvalid,
    /// There is a record of an MTA-STS policy, and no policy.
    StsPolicyFetchError,
    /// What was fetched is no MTA-STS policy.
    StsPolicyInvalid,
    /// The web server of the MTA-STS policy does not prove who it is.
    StsWebpkiInvalid,
}

/// A session that failed, or would have under its policy.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct FailedSession {
    /// What is wrong.
    pub result_type: ResultType,
    /// From which address of ours.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sending_mta_ip: Option<IpAddr>,
    /// With which host; empty when it came to none.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub receiving_mx_hostname: String,
    /// At which address.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub receiving_ip: Option<IpAddr>,
    /// What exactly: one of few words, so that the same failures count as one; empty when the type says all.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub failure_reason_code: String,
}

/// One session, as far as it is told.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct TlsSession {
    /// What it was judged by.
    pub policy: AppliedPolicy,
    /// What was wrong; `None`: nothing.
    pub failure: Option<FailedSession>,
}
