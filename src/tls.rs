//! Certificates and keys for the doors, replaced without a restart.
//!
//! A pair comes from two PEM files, or is made on the first run: a self-signed certificate in the data folder, enough
//! to encrypt and for nobody to trust. [`Certificates::reload`] swaps the pair for new handshakes only; a pair that
//! cannot be read, or whose key is not the certificate's, leaves the old one in place. TLS 1.2 and 1.3 (RFC 5246,
//! RFC 8446), with the cryptography of aws-lc-rs. Single hosts may have pairs of their own ([`hosts`]). Who may connect and
//! what is said inside is the doors' affair, and who orders a pair from an authority is `app`'s: it puts the pair into one
//! file, and answers into [`challenges`].

pub mod challenges;
pub mod hosts;
mod leaf;
pub mod orders;

use std::fs;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use arc_swap::ArcSwap;
use rustls::crypto::aws_lc_rs;
use rustls::pki_types::pem::{self, PemObject};
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;
use serde::{Deserialize, Serialize};
use tokio::io::{AsyncRead, AsyncWrite};
pub use tokio_rustls::server::TlsStream;

pub use leaf::{Leaf, Validity};
use orders::Orders;

/// Where the pair comes from.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Settings {
    /// PEM file of the certificate and its chain, the server's own first. Without it a self-signed one is made.
    pub certificate: Option<PathBuf>,
    /// PEM file of the certificate's key.
    pub key: Option<PathBuf>,
    /// An authority that certificates are ordered from, instead of files.
    pub acme: Option<Acme>,
}

/// An authority that gives certificates by ACME (RFC 8555), and what it wants to know.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Acme {
    /// Where its directory is.
    pub directory: String,
    /// A mail address that it may write to; empty for none.
    pub contact: String,
    /// Its terms of service were read, and are agreed to.
    pub agree_to_terms: bool,
    /// The names on the certificate; none: `hostname`.
    pub names: Vec<String>,
}

impl Default for Acme {
    fn default() -> Self {
        Self {
            directory: "https://acme-v02.api.letsencrypt.org/directory".to_owned(),
            contact: String::new(),
            agree_to_terms: false,
            names: Vec::new(),
        }
    }
}

impl Settings {
    /// What makes no sense, in one line.
    pub fn complaint(&self) -> Option<String> {
        if self.certificate.is_some() != self.key.is_some() {
            return Some(Error::HalfAPair.to_string());
        }
        let acme = self.acme.as_ref()?;
        if self.certificate.is_some() || self.key.is_some() {
            return Some("tls: a certificate comes from files, or by `acme`, not both".to_owned());
        }
        let unasked = "tls.acme.agree_to_terms: read the authority's terms of service, then set it to true";
        (!acme.agree_to_terms).then(|| unasked.to_owned())
    }
}

/// Why there is no pair to serve with.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// One file is named and the other is not.
    #[error("tls needs both `certificate` and `key`, or neither")]
    HalfAPair,
    /// A file cannot be read as PEM of its kind.
    #[error("read {path}")]
    Read {
        /// Which file.
        path: PathBuf,
        /// What was wrong.
        source: pem::Error,
    },
    /// A file of the first run cannot be written.
    #[error("write {path}")]
    Write {
        /// Which file.
        path: PathBuf,
        /// What was wrong.
        source: io::Error,
    },
    /// The certificate of the first run cannot be made.
    #[error("make a self-signed certificate for {hostname}")]
    Make {
        /// For which name.
        hostname: String,
        /// What was wrong.
        source: rcgen::Error,
    },
    /// The pair is not one: an unusable key, or another certificate's.
    #[error("use the certificate {path}")]
    Pair {
        /// The certificate's file.
        path: PathBuf,
        /// What was wrong.
        source: rustls::Error,
    },
    /// The certificate is good for other names.
    #[error("the certificate is not for {host}")]
    Name {
        /// Whose it was to be.
        host: String,
    },
}

/// The pair that the doors show. Clones share it.
#[derive(Clone, Debug)]
pub struct Certificates {
    certificate: PathBuf,
    key: PathBuf,
    data_folder: PathBuf,
    current: Arc<Current>,
    orders: Orders,
}

/// A pair of a host's own.
#[derive(Clone, Debug)]
pub struct HostCertificate {
    /// The host, without its port.
    pub host: String,
    /// The file that its certificate is in.
    pub file: PathBuf,
    /// What that says; `None` when it cannot be read.
    pub leaf: Option<Leaf>,
}

#[derive(Debug)]
struct Current {
    own: ArcSwap<CertifiedKey>,
    hosts: ArcSwap<hosts::Pairs>,
}

impl ResolvesServerCert for Current {
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        let hosts = self.hosts.load();
        let named = hello.server_name().and_then(|name| hosts.get(&name.to_ascii_lowercase()));
        Some(named.cloned().unwrap_or_else(|| self.own.load_full()))
    }
}

impl Certificates {
    /// Reads the pair that `settings` name. When they name none, reads `tls/certificate.pem` and `tls/key.pem` of
    /// the data folder, made now for `hostname` if they are not there.
    ///
    /// # Errors
    /// Any [`Error`]; nothing can be served over TLS then.
    pub fn open(settings: &Settings, data_folder: &Path, hostname: &str) -> Result<Self, Error> {
        let folder = data_folder.join("tls");
        let (certificate, key) = match (&settings.certificate, &settings.key, &settings.acme) {
            (Some(certificate), Some(key), _) => (certificate.clone(), key.clone()),
            (None, None, None) => own_pair(&folder, hostname)?,
            (None, None, Some(_)) => ordered_pair(&folder, hostname)?,
            (Some(_), None, _) | (None, Some(_), _) => return Err(Error::HalfAPair),
        };
        let own = ArcSwap::from_pointee(read_pair(&certificate, &key)?);
        // A host's pair that cannot be used must not keep the doors shut; the next look tells of it.
        let hosts = ArcSwap::from_pointee(hosts::read(data_folder, &hosts::Pairs::new()).0);
        Ok(Self {
            certificate,
            key,
            data_folder: data_folder.to_owned(),
            current: Arc::new(Current { own, hosts }),
            orders: Orders::default(),
        })
    }

    /// Reads the pair that `settings` name, if they name one.
    ///
    /// # Errors
    /// As [`Self::open`].
    pub fn check(settings: &Settings) -> Result<(), Error> {
        match (&settings.certificate, &settings.key) {
            (Some(certificate), Some(key)) => read_pair(certificate, key).map(drop),
            (None, None) => Ok(()),
            _ => Err(Error::HalfAPair),
        }
    }

    /// Reads the files again and shows what they hold to all who connect from now on.
    ///
    /// # Errors
    /// [`Error::Read`] or [`Error::Pair`], the first of them; for each pair that cannot be used the one shown so far stays.
    pub fn reload(&self) -> Result<(), Error> {
        let (hosts, fault) = hosts::read(&self.data_folder, &self.current.hosts.load());
        self.current.hosts.store(Arc::new(hosts));
        self.current.own.store(Arc::new(read_pair(&self.certificate, &self.key)?));
        fault.map_or(Ok(()), Err)
    }

    /// Puts a pair, key and chain as PEM, in the place of the one that was ordered before, and shows it from now on.
    ///
    /// # Errors
    /// Any [`Error`]; the pair shown so far stays, and what is no pair is not kept.
    pub fn replace(&self, pem: &str) -> Result<(), Error> {
        let new = self.certificate.with_extension("new");
        write(&new, pem)?;
        read_pair(&new, &new)?;
        let path = self.certificate.clone();
        fs::rename(&new, &path).map_err(|source| Error::Write { path, source })?;
        self.reload()
    }

    /// What the certificate that is shown says of itself; `None` when it cannot be read.
    pub fn leaf(&self) -> Option<Leaf> {
        read_leaf(&self.current.own.load())
    }

    /// When it is valid.
    pub fn validity(&self) -> Option<Validity> {
        self.leaf().map(|leaf| leaf.validity)
    }

    /// The same of a host that has a pair of its own; `None` for one that has none.
    pub fn validity_of(&self, host: &str) -> Option<Validity> {
        self.current.hosts.load().get(&hosts::name(host)).and_then(|pair| read_leaf(pair)).map(|leaf| leaf.validity)
    }

    /// The pairs of single hosts, by name.
    pub fn hosts(&self) -> Vec<HostCertificate> {
        let hosts = self.current.hosts.load();
        let known = hosts.iter().map(|(host, pair)| HostCertificate {
            host: host.clone(),
            file: hosts::place(&self.data_folder, host).0,
            leaf: read_leaf(pair),
        });
        let mut known: Vec<HostCertificate> = known.collect();
        known.sort_by(|a, b| a.host.cmp(&b.host));
        known
    }

    /// What came of orders for certificates.
    pub fn orders(&self) -> &Orders {
        &self.orders
    }

    /// The file that the certificate is in.
    pub fn file(&self) -> &Path {
        &self.certificate
    }

    /// What a web listener shakes hands with: HTTP/1.1 by ALPN (RFC 7301).
    pub fn web_acceptor(&self) -> Acceptor {
        let mut config = self.config();
        config.alpn_protocols = vec![b"http/1.1".to_vec()];
        Acceptor::new(config)
    }

    /// What an SMTP listener shakes hands with. It gives no tickets for a later session (RFC 8446 section 4.6.1): they
    /// come before the client has said a word, and some (libesmtp) then wait for more of them until they give up.
    pub fn mail_acceptor(&self) -> Acceptor {
        let mut config = self.config();
        config.send_tls13_tickets = 0;
        Acceptor::new(config)
    }

    fn config(&self) -> rustls::ServerConfig {
        rustls::ServerConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
            .with_safe_default_protocol_versions()
            .expect("aws-lc-rs speaks the versions that rustls prefers")
            .with_no_client_auth()
            .with_cert_resolver(self.current.clone())
    }
}

/// Shakes hands with clients. Cheap to clone.
#[derive(Clone)]
pub struct Acceptor(tokio_rustls::TlsAcceptor);

impl Acceptor {
    fn new(config: rustls::ServerConfig) -> Self {
        Self(tokio_rustls::TlsAcceptor::from(Arc::new(config)))
    }

    /// Shakes hands on `stream`. Waits as long as the client does; the caller sets the time limit.
    ///
    /// # Errors
    /// The client spoke something else, wanted what we do not have, or went away.
    pub async fn accept<S: AsyncRead + AsyncWrite + Unpin>(&self, stream: S) -> io::Result<TlsStream<S>> {
        self.0.accept(stream).await
    }
}

/// Version and cipher that were agreed on: `TLS1.3 TLS_AES_256_GCM_SHA384`.
pub fn facts<S>(stream: &TlsStream<S>) -> String {
    let (_, connection) = stream.get_ref();
    let version = connection.protocol_version().map_or_else(String::new, |version| format!("{version:?}"));
    let cipher = connection.negotiated_cipher_suite().map_or_else(String::new, |suite| format!("{:?}", suite.suite()));
    format!("{} {}", version.replace("TLSv1_", "TLS1."), cipher.replace("TLS13_", "TLS_"))
}

fn read_leaf(pair: &CertifiedKey) -> Option<Leaf> {
    pair.cert.first().and_then(|certificate| leaf::leaf(certificate))
}

fn read_pair(certificate: &Path, key: &Path) -> Result<CertifiedKey, Error> {
    let bad = |path: &Path| {
        let path = path.to_owned();
        move |source| Error::Read { path, source }
    };
    let chain = CertificateDer::pem_file_iter(certificate)
        .and_then(Iterator::collect::<Result<Vec<_>, _>>)
        .map_err(bad(certificate))?;
    let key = PrivateKeyDer::from_pem_file(key).map_err(bad(key))?;
    CertifiedKey::from_der(chain, key, &aws_lc_rs::default_provider())
        .map_err(|source| Error::Pair { path: certificate.to_owned(), source })
}

fn own_pair(folder: &Path, hostname: &str) -> Result<(PathBuf, PathBuf), Error> {
    let (certificate, key) = (folder.join("certificate.pem"), folder.join("key.pem"));
    // The certificate is written last: a first run that was cut short is done again.
    if !certificate.exists() {
        let made = self_signed(hostname).map_err(|source| Error::Make { hostname: hostname.to_owned(), source })?;
        fs::create_dir_all(folder).map_err(|source| Error::Write { path: folder.to_owned(), source })?;
        write(&key, &made.signing_key.serialize_pem())?;
        write(&certificate, &made.cert.pem())?;
    }
    Ok((certificate, key))
}

/// Key and chain in one file, so that they are replaced together; a pair of our own until one is ordered.
fn ordered_pair(folder: &Path, hostname: &str) -> Result<(PathBuf, PathBuf), Error> {
    let both = folder.join("acme.pem");
    if !both.exists() {
        let (certificate, key) = own_pair(folder, hostname)?;
        let read = |path: &Path| {
            fs::read_to_string(path)
                .map_err(|source| Error::Read { path: path.to_owned(), source: pem::Error::Io(source) })
        };
        write(&both, &(read(&key)? + &read(&certificate)?))?;
    }
    Ok((both.clone(), both))
}

fn self_signed(hostname: &str) -> Result<rcgen::CertifiedKey<rcgen::KeyPair>, rcgen::Error> {
    let names = [hostname, "localhost", "127.0.0.1", "::1"].map(str::to_owned);
    let mut parameters = rcgen::CertificateParams::new(names)?;
    parameters.distinguished_name.push(rcgen::DnType::CommonName, hostname);
    let signing_key = rcgen::KeyPair::generate()?;
    let cert = parameters.self_signed(&signing_key)?;
    Ok(rcgen::CertifiedKey { cert, signing_key })
}

/// Writes a whole file that only its owner may read.
///
/// # Errors
/// [`Error::Write`].
pub fn write(path: &Path, text: &str) -> Result<(), Error> {
    let mut options = fs::OpenOptions::new();
    options.write(true).create(true).truncate(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    let written = options.open(path).and_then(|mut file| {
        file.write_all(text.as_bytes())?;
        file.sync_all()
    });
    written.map_err(|source| Error::Write { path: path.to_owned(), source })
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    use super::*;

    fn shown(certificates: &Certificates) -> CertificateDer<'static> {
        certificates.current.own.load().cert[0].clone()
    }

    #[test]
    fn the_first_run_makes_a_pair_and_later_runs_keep_it() {
        let folder = tempfile::tempdir().unwrap();
        let open = || Certificates::open(&Settings::default(), folder.path(), "mail.example.com").unwrap();
        let first = open();
        assert_eq!(shown(&first), shown(&open()));
        #[cfg(unix)]
        {
            use std::os::unix::fs::PermissionsExt;
            assert_eq!(fs::metadata(folder.path().join("tls/key.pem")).unwrap().permissions().mode() & 0o777, 0o600);
        }
    }

    #[test]
    fn a_reload_takes_a_good_pair_and_keeps_the_old_one_from_a_bad() {
        let (ours, other) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let open = |folder: &Path| Certificates::open(&Settings::default(), folder, "mail.example.com").unwrap();
        let (certificates, replacement) = (open(ours.path()), open(other.path()));
        let before = shown(&certificates);
        let copy = |file: &str| fs::copy(other.path().join("tls").join(file), ours.path().join("tls").join(file));
        copy("certificate.pem").unwrap();
        assert!(matches!(certificates.reload(), Err(Error::Pair { .. })));
        assert_eq!(shown(&certificates), before);
        copy("key.pem").unwrap();
        certificates.reload().unwrap();
        assert_eq!(shown(&certificates), shown(&replacement));
        fs::write(ours.path().join("tls/certificate.pem"), "junk").unwrap();
        assert!(certificates.reload().is_err());
        assert_eq!(shown(&certificates), shown(&replacement));
    }

    #[test]
    fn half_a_pair_is_refused() {
        let settings = Settings { certificate: Some("x.pem".into()), ..Settings::default() };
        assert!(matches!(Certificates::open(&settings, Path::new("."), "a.example"), Err(Error::HalfAPair)));
    }

    #[test]
    fn an_ordered_pair_is_replaced_as_a_whole() {
        let (folder, other) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let settings = Settings { acme: Some(Acme::default()), ..Settings::default() };
        let certificates = Certificates::open(&settings, folder.path(), "mail.example.com").unwrap();
        let before = shown(&certificates);
        let both = |folder: &Path| fs::read_to_string(folder.join("tls/acme.pem")).unwrap();
        let replacement = Certificates::open(&settings, other.path(), "mail.example.com").unwrap();
        assert!(certificates.replace("junk").is_err());
        assert_eq!(shown(&certificates), before);
        certificates.replace(&both(other.path())).unwrap();
        assert_eq!(shown(&certificates), shown(&replacement));
        assert_eq!(both(folder.path()), both(other.path()));
        assert!(certificates.validity().is_some());
    }

    /// Tickets that a client has got when the first byte arrives.
    async fn tickets(acceptor: &Acceptor, certificate: CertificateDer<'static>) -> u32 {
        let mut roots = rustls::RootCertStore::empty();
        roots.add(certificate).unwrap();
        let config = rustls::ClientConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_root_certificates(roots)
            .with_no_client_auth();
        let (ours, theirs) = tokio::io::duplex(1 << 16);
        let client = tokio_rustls::TlsConnector::from(Arc::new(config));
        let name = "mail.example.com".try_into().unwrap();
        let (server, client) = tokio::join!(acceptor.accept(ours), client.connect(name, theirs));
        let (mut server, mut client) = (server.unwrap(), client.unwrap());
        server.write_all(b"2").await.unwrap();
        server.flush().await.unwrap();
        client.read_u8().await.unwrap();
        client.get_ref().1.tls13_tickets_received()
    }

    #[tokio::test]
    async fn only_the_web_gets_tickets() {
        let folder = tempfile::tempdir().unwrap();
        let certificates = Certificates::open(&Settings::default(), folder.path(), "mail.example.com").unwrap();
        let shown = || shown(&certificates);
        assert_eq!(tickets(&certificates.mail_acceptor(), shown()).await, 0);
        assert!(tickets(&certificates.web_acceptor(), shown()).await > 0);
    }
}
