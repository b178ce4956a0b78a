//! Whom we believe when they answer over TLS: the machine's own roots, or Mozilla's where there are none, and the
//! operator's file. TLS 1.2 and 1.3 with the cryptography of aws-lc-rs.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustls::crypto::aws_lc_rs;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::{self, PemObject};
use rustls::{ClientConfig, RootCertStore};

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

/// TLS for a client that believes the usual roots, and those in the PEM file `ca_file`.
///
/// # Errors
/// The file cannot be used.
pub fn client_tls(ca_file: Option<&Path>) -> Result<ClientConfig, TrustError> {
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
    let config = ClientConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
        .with_safe_default_protocol_versions()
        .expect("the provider has cipher suites of TLS 1.2 and 1.3");
    Ok(config.with_root_certificates(roots).with_no_client_auth())
}
