//! Whom we believe when they answer over TLS: the machine's own roots, or Mozilla's where there are none, the operator's
//! file, and what one destination brings of its own. TLS 1.2 and 1.3 with the cryptography of aws-lc-rs.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{self, CryptoProvider, aws_lc_rs};
use rustls::pki_types::pem::{self, PemObject};
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use rustls::{ClientConfig, DigitallySignedStruct, RootCertStore, SignatureScheme};

use crate::model::webhook::Webhook;

/// The operator's roots could not be used.
#[derive(Debug, thiserror::Error)]
pub enum TrustError {
    /// The file is not there, or is not PEM.
    #[error("read certificates from {path}")]
    File {
        /// Which file.
        path: PathBuf,
        /// Why.
        #[source]
        source: pem::Error,
    },
    /// The file holds no certificate that could be a root.
    #[error("{path} holds no usable certificate")]
    Nothing {
        /// Which file.
        path: PathBuf,
    },
}

/// What a destination's own certificates are not.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadIdentity {
    /// The roots.
    #[error("the CA is not PEM with at least one certificate")]
    Roots,
    /// The certificate.
    #[error("the client certificate is not PEM with at least one certificate")]
    Certificate,
    /// The key.
    #[error("the client key is not PEM with a private key in PKCS#8, PKCS#1 or SEC1 form")]
    Key,
    /// Both, together.
    #[error("the client key is not the one of the client certificate")]
    Pair,
}

/// What a destination wants to be spoken to with; PEM, each empty for none.
#[derive(Clone, Copy, Default, PartialEq, Eq)]
pub struct Identity<'p> {
    /// Further roots.
    pub ca: &'p str,
    /// Our certificate, with its chain.
    pub certificate: &'p str,
    /// Its key.
    pub key: &'p str,
    /// Whoever answers there is believed: an operator has said so.
    pub is_anybody: bool,
}

impl<'w> From<&'w Webhook> for Identity<'w> {
    fn from(webhook: &'w Webhook) -> Self {
        let options = &webhook.options;
        let (ca, certificate) = (&options.ca, &options.client_certificate);
        Self { ca, certificate, key: webhook.client_key.reveal(), is_anybody: options.believes_anybody }
    }
}

impl Identity<'_> {
    /// Whether nothing out of the ordinary is wanted.
    pub fn is_usual(&self) -> bool {
        *self == Self::default()
    }
}

/// The roots that we believe.
#[derive(Clone, Debug)]
pub struct Trust(Arc<RootCertStore>);

impl Trust {
    /// The usual roots, and those in the PEM file `ca_file`.
    ///
    /// # Errors
    /// The file cannot be used.
    pub fn open(ca_file: Option<&Path>) -> Result<Self, TrustError> {
        let mut roots = RootCertStore::empty();
        roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
        if roots.is_empty() {
            roots.extend(webpki_roots::TLS_SERVER_ROOTS.iter().cloned());
        }
        if let Some(path) = ca_file {
            let unreadable = |source| TrustError::File { path: path.to_owned(), source };
            let own = CertificateDer::pem_file_iter(path).and_then(Iterator::collect::<Result<Vec<_>, _>>);
            let (added, _) = roots.add_parsable_certificates(own.map_err(unreadable)?);
            if added == 0 {
                return Err(TrustError::Nothing { path: path.to_owned() });
            }
        }
        Ok(Self(Arc::new(roots)))
    }

    /// TLS for a client that believes these roots.
    pub fn client(&self) -> ClientConfig {
        builder().with_root_certificates(self.0.clone()).with_no_client_auth()
    }

    /// TLS for a client that believes a destination's roots as well, and shows it a certificate.
    ///
    /// # Errors
    /// What of the identity cannot be used.
    pub fn client_for(&self, identity: Identity<'_>) -> Result<ClientConfig, BadIdentity> {
        let mut roots = RootCertStore::clone(&self.0);
        if !identity.ca.is_empty() {
            let (added, _) = roots.add_parsable_certificates(certificates(identity.ca).ok_or(BadIdentity::Roots)?);
            if added == 0 {
                return Err(BadIdentity::Roots);
            }
        }
        let builder = match identity.is_anybody {
            true => builder().dangerous().with_custom_certificate_verifier(Arc::new(Anybody(provider()))),
            false => builder().with_root_certificates(roots),
        };
        if identity.certificate.is_empty() && identity.key.is_empty() {
            return Ok(builder.with_no_client_auth());
        }
        let chain = certificates(identity.certificate).filter(|chain| !chain.is_empty());
        let key = PrivateKeyDer::from_pem_slice(identity.key.as_bytes()).map_err(|_| BadIdentity::Key)?;
        let config = builder.with_client_auth_cert(chain.ok_or(BadIdentity::Certificate)?, key);
        config.map_err(|_| BadIdentity::Pair)
    }
}

fn certificates(pem: &str) -> Option<Vec<CertificateDer<'static>>> {
    CertificateDer::pem_slice_iter(pem.as_bytes()).collect::<Result<_, _>>().ok()
}

fn provider() -> Arc<CryptoProvider> {
    Arc::new(aws_lc_rs::default_provider())
}

fn builder() -> rustls::ConfigBuilder<ClientConfig, rustls::WantsVerifier> {
    ClientConfig::builder_with_provider(provider())
        .with_safe_default_protocol_versions()
        .expect("the provider has cipher suites of TLS 1.2 and 1.3")
}

/// Believes every certificate, of whose key the other side has shown to be the holder.
#[derive(Debug)]
struct Anybody(Arc<CryptoProvider>);

impl ServerCertVerifier for Anybody {
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
        crypto::verify_tls12_signature(message, certificate, signature, &self.0.signature_verification_algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        crypto::verify_tls13_signature(message, certificate, signature, &self.0.signature_verification_algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}
