//! TLS towards mail servers: whom to trust, and what to note about a session.
//!
//! TLS 1.2 and 1.3 with the cryptography of aws-lc-rs. Certificates are checked against a CA file when one is named, else
//! against the system's store, else against Mozilla's list. Where encryption is opportunistic nothing is checked
//! (RFC 7435): whoever can forge a certificate there can as well strip STARTTLS. Where a domain tries out its MTA-STS
//! policy nothing hangs on the check either, but what it would have said is noted.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, aws_lc_rs, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::pem::{self, PemObject};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{
    CertificateError, ClientConfig, ConfigBuilder, DigitallySignedStruct, RootCertStore, SignatureScheme, WantsVerifier,
};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use super::dane::Vouched;
use super::wire::Fault;
use crate::dns::Tlsa;
use crate::model::time::Timestamp;
use crate::model::tls_session::ResultType;

/// The CA file cannot be used.
#[derive(Debug, thiserror::Error)]
#[error("read the certificates of {path}")]
pub struct BadCaFile {
    /// Which file.
    path: PathBuf,
    /// What was wrong; `None`: it holds no certificate.
    source: Option<pem::Error>,
}

/// Why TLS is not to be had as it is wanted.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{text}")]
pub struct Flaw {
    /// In the words of reports.
    pub result: ResultType,
    /// More exactly, in one of few words; empty when the result says all.
    pub code: String,
    /// For people.
    pub text: String,
}

impl Flaw {
    /// A flaw.
    pub fn new(result: ResultType, code: impl Into<String>, text: impl Into<String>) -> Self {
        Self { result, code: code.into(), text: text.into() }
    }

    /// What a handshake failed of.
    fn of_handshake(error: &io::Error) -> Self {
        match error.get_ref().and_then(|inner| inner.downcast_ref::<rustls::Error>()) {
            Some(error) => Self::from(error),
            None => Self::new(ResultType::ValidationFailure, "connection-broken", error.to_string()),
        }
    }
}

impl From<&rustls::Error> for Flaw {
    fn from(error: &rustls::Error) -> Self {
        use CertificateError::{
            ApplicationVerificationFailure, Expired, ExpiredContext, NotValidForName, NotValidForNameContext,
            NotValidYet, NotValidYetContext, UnknownIssuer,
        };
        use ResultType::{CertificateExpired, CertificateHostMismatch, CertificateNotTrusted, ValidationFailure};
        let (result, code) = match error {
            rustls::Error::InvalidCertificate(error) => match error {
                NotValidForName | NotValidForNameContext { .. } => (CertificateHostMismatch, ""),
                Expired | ExpiredContext { .. } => (CertificateExpired, ""),
                NotValidYet | NotValidYetContext { .. } => (CertificateNotTrusted, "not-valid-yet"),
                UnknownIssuer => (CertificateNotTrusted, "unknown-issuer"),
                ApplicationVerificationFailure => (CertificateNotTrusted, "no-tlsa-record-matches"),
                _ => (CertificateNotTrusted, "bad-certificate"),
            },
            rustls::Error::NoCertificatesPresented => (CertificateNotTrusted, "no-certificate"),
            rustls::Error::AlertReceived(alert) => {
                return Self::new(ValidationFailure, format!("alert-{}", u8::from(*alert)), error.to_string());
            }
            rustls::Error::PeerIncompatible(_) => (ValidationFailure, "nothing-in-common"),
            _ => (ValidationFailure, "bad-handshake"),
        };
        Self::new(result, code, error.to_string())
    }
}

/// How certificates are checked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Check {
    /// Against the trusted roots and the host's name.
    Trusted,
    /// Against TLSA records.
    Dane,
    /// Not so that anything hangs on it, but it is noted what a check against the trusted roots says.
    Watched,
    /// Not at all.
    Nothing,
}

/// How we speak TLS with a host.
#[derive(Clone)]
pub struct Encryption {
    connector: TlsConnector,
    check: Check,
    /// The trusted roots, where anybody asks for them.
    roots: Option<Arc<WebPkiServerVerifier>>,
}

impl std::fmt::Debug for Encryption {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(out, "Encryption({:?})", self.check)
    }
}

impl Encryption {
    /// With certificates checked against `ca_file`, or the system's roots.
    ///
    /// # Errors
    /// The CA file cannot be read as PEM, or holds no certificate.
    pub fn trusted(ca_file: Option<&Path>) -> Result<Self, BadCaFile> {
        let provider = Arc::new(aws_lc_rs::default_provider());
        let roots = WebPkiServerVerifier::builder_with_provider(Arc::new(roots(ca_file)?), provider)
            .build()
            .expect("there are roots, and no lists of what was revoked");
        Ok(Self { roots: Some(roots.clone()), ..Self::verified_by(roots, Check::Trusted) })
    }

    /// With whatever certificate, where it is noted what this would say of it.
    pub fn watching(&self) -> Self {
        Self { check: Check::Watched, roots: self.roots.clone(), ..Self::unchecked() }
    }

    /// With whatever certificate.
    pub fn unchecked() -> Self {
        Self::verified_by(Arc::new(Unchecked(Arc::new(aws_lc_rs::default_provider()))), Check::Nothing)
    }

    /// With a certificate that one of these TLSA records vouches for (RFC 7672).
    pub fn dane(records: &[Tlsa]) -> Self {
        Self::verified_by(Arc::new(Vouched::new(records)), Check::Dane)
    }

    fn verified_by(verifier: Arc<dyn ServerCertVerifier>, check: Check) -> Self {
        let config = versions().dangerous().with_custom_certificate_verifier(verifier).with_no_client_auth();
        Self { connector: TlsConnector::from(Arc::new(config)), check, roots: None }
    }

    /// Whether a session proves who the host is.
    pub fn proves(&self) -> bool {
        match self.check {
            Check::Trusted | Check::Dane => true,
            Check::Watched | Check::Nothing => false,
        }
    }

    /// The handshake with `host`.
    ///
    /// # Errors
    /// `Tls`, with what went wrong.
    pub async fn shake_hands(&self, socket: TcpStream, host: &str) -> Result<TlsStream<TcpStream>, Fault> {
        let no_name = |_| Flaw::new(ResultType::CertificateHostMismatch, "no-name", "the host has no name to check");
        let name = ServerName::try_from(host.to_owned()).map_err(no_name)?;
        Ok(self.connector.connect(name, socket).await.map_err(|error| Flaw::of_handshake(&error))?)
    }

    /// What is wrong with the certificate of a session that goes on all the same, where that is watched.
    pub fn doubt(&self, stream: &TlsStream<TcpStream>, host: &str, now: Timestamp) -> Option<Flaw> {
        let roots = self.roots.as_ref().filter(|_| self.check == Check::Watched)?;
        let (own, chain) = stream.get_ref().1.peer_certificates()?.split_first()?;
        let name = ServerName::try_from(host).ok()?;
        let now = Duration::from_secs(u64::try_from(now.as_secs()).unwrap_or_default());
        let checked = roots.verify_server_cert(own, chain, &name, &[], UnixTime::since_unix_epoch(now));
        checked.err().map(|error| Flaw::from(&error))
    }

    /// Version and cipher of a session, and how the certificate was checked.
    pub fn facts(&self, stream: &TlsStream<TcpStream>) -> String {
        let (_, session) = stream.get_ref();
        let version = session.protocol_version().and_then(|version| version.as_str()).unwrap_or("TLS");
        let cipher = session.negotiated_cipher_suite().and_then(|suite| suite.suite().as_str()).unwrap_or("unknown");
        let checked = match self.check {
            Check::Trusted => "verified",
            Check::Dane => "dane",
            Check::Watched | Check::Nothing => "unverified",
        };
        format!("{version} {cipher} {checked}")
    }
}

fn versions() -> ConfigBuilder<ClientConfig, WantsVerifier> {
    ClientConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
        .with_protocol_versions(&[&rustls::version::TLS13, &rustls::version::TLS12])
        .expect("the provider has ciphers for both versions")
}

fn roots(ca_file: Option<&Path>) -> Result<RootCertStore, BadCaFile> {
    let mut roots = RootCertStore::empty();
    let Some(path) = ca_file else {
        roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
        if roots.is_empty() {
            roots.extend(webpki_roots::TLS_SERVER_ROOTS.iter().cloned());
        }
        return Ok(roots);
    };
    let bad = |source| BadCaFile { path: path.to_owned(), source };
    let certificates = CertificateDer::pem_file_iter(path).map_err(|error| bad(Some(error)))?;
    for certificate in certificates {
        let certificate = certificate.map_err(|error| bad(Some(error)))?;
        roots.add(certificate).map_err(|_| bad(None))?;
    }
    if roots.is_empty() { Err(bad(None)) } else { Ok(roots) }
}

/// Takes any certificate, but not a signature that the certificate's key did not make.
#[derive(Debug)]
struct Unchecked(Arc<CryptoProvider>);

impl ServerCertVerifier for Unchecked {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls12_signature(message, certificate, signature, &self.0.signature_verification_algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls13_signature(message, certificate, signature, &self.0.signature_verification_algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_handshakes_fail_of() {
        use rustls::{AlertDescription, Error, PeerIncompatible};
        let check = |error: Error, result: ResultType, code: &str| {
            let flaw = Flaw::of_handshake(&io::Error::new(io::ErrorKind::InvalidData, error.clone()));
            assert_eq!((flaw.result, flaw.code.as_str()), (result, code), "{error:?}");
            assert_eq!(flaw.text, error.to_string());
        };
        let certificate = |error: CertificateError, result, code| check(error.into(), result, code);
        certificate(CertificateError::NotValidForName, ResultType::CertificateHostMismatch, "");
        certificate(CertificateError::Expired, ResultType::CertificateExpired, "");
        let (time, not_after) =
            (UnixTime::since_unix_epoch(Duration::from_secs(9)), UnixTime::since_unix_epoch(Duration::ZERO));
        certificate(CertificateError::ExpiredContext { time, not_after }, ResultType::CertificateExpired, "");
        certificate(CertificateError::NotValidYet, ResultType::CertificateNotTrusted, "not-valid-yet");
        certificate(CertificateError::UnknownIssuer, ResultType::CertificateNotTrusted, "unknown-issuer");
        certificate(CertificateError::BadSignature, ResultType::CertificateNotTrusted, "bad-certificate");
        let unmatched = CertificateError::ApplicationVerificationFailure;
        certificate(unmatched, ResultType::CertificateNotTrusted, "no-tlsa-record-matches");
        check(Error::NoCertificatesPresented, ResultType::CertificateNotTrusted, "no-certificate");
        check(Error::AlertReceived(AlertDescription::HandshakeFailure), ResultType::ValidationFailure, "alert-40");
        let incompatible = PeerIncompatible::NoCipherSuitesInCommon;
        check(incompatible.into(), ResultType::ValidationFailure, "nothing-in-common");
        check(Error::HandshakeNotComplete, ResultType::ValidationFailure, "bad-handshake");
        let cut = Flaw::of_handshake(&io::ErrorKind::UnexpectedEof.into());
        assert_eq!((cut.result, cut.code.as_str()), (ResultType::ValidationFailure, "connection-broken"));
    }
}
