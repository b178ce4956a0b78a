//! Certificates of single hosts: shown to who asks for that host by name (SNI, RFC 6066 §3), in place of the door's own.
//!
//! They stand in the folder `tls/hosts` of the data folder, a folder a host with `certificate.pem` and `key.pem`; whoever
//! obtains one, a person or a program, puts it there with [`put`], and running doors show it with the next look.

use std::collections::HashMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustls::client::verify_server_name;
use rustls::pki_types::ServerName;
use rustls::server::ParsedCertificate;
use rustls::sign::CertifiedKey;

use super::{Error, read_pair, write};

/// Hosts whose certificates are kept ready; those beyond it are shown the door's own.
const HOSTS_MAX: usize = 10_000;

/// The pairs of single hosts, by name in lower case.
pub(super) type Pairs = HashMap<String, Arc<CertifiedKey>>;

/// A host as its pair is known: in lower case, without its port.
pub fn name(host: &str) -> String {
    host.split(':').next().unwrap_or_default().to_ascii_lowercase()
}

/// Where the pair of a host stands: its certificate, its key. The host's port, if it has one, does not matter.
pub fn place(data_folder: &Path, host: &str) -> (PathBuf, PathBuf) {
    let folder = folder(data_folder).join(name(host));
    (folder.join("certificate.pem"), folder.join("key.pem"))
}

/// Puts a host's pair, given as PEM, where the doors look for it.
///
/// # Errors
/// [`Error::Pair`]: key and certificate do not belong together; [`Error::Name`]: the certificate is not the host's;
/// [`Error::Read`], [`Error::Write`]. What was there stays.
pub fn put(data_folder: &Path, host: &str, certificate: &str, key: &str) -> Result<(), Error> {
    let name = host.split(':').next().unwrap_or_default();
    let not_its_own = || Error::Name { host: name.to_owned() };
    if !matches!(ServerName::try_from(name), Ok(ServerName::DnsName(_))) {
        return Err(not_its_own());
    }
    let (certificate_path, key_path) = place(data_folder, host);
    let parent = certificate_path.parent().unwrap_or(data_folder);
    fs::create_dir_all(parent).map_err(|source| Error::Write { path: parent.to_owned(), source })?;
    let (new_certificate, new_key) = (certificate_path.with_extension("new"), key_path.with_extension("new"));
    let written = write(&new_key, key)
        .and_then(|()| write(&new_certificate, certificate))
        .and_then(|()| read_pair(&new_certificate, &new_key))
        .and_then(|pair| if is_for(&pair, name) { Ok(()) } else { Err(not_its_own()) });
    if let Err(fault) = written {
        for path in [new_certificate, new_key] {
            // What cannot be removed is overwritten the next time.
            let _ = fs::remove_file(path);
        }
        return Err(fault);
    }
    // Between the two the pair is none, and who looks keeps the one before.
    for (new, path) in [(new_key, key_path), (new_certificate, certificate_path)] {
        fs::rename(new, &path).map_err(|source| Error::Write { path, source })?;
    }
    Ok(())
}

/// Whether a certificate is good for a name.
fn is_for(pair: &CertifiedKey, name: &str) -> bool {
    let Ok(name) = ServerName::try_from(name) else { return false };
    let leaf = pair.cert.first().and_then(|leaf| ParsedCertificate::try_from(leaf).ok());
    leaf.is_some_and(|leaf| verify_server_name(&leaf, &name).is_ok())
}

/// All pairs there are, and the first fault. A pair that cannot be used is the one `before`, if there was one.
pub(super) fn read(data_folder: &Path, before: &Pairs) -> (Pairs, Option<Error>) {
    let mut pairs = Pairs::new();
    let mut fault = None;
    let entries = fs::read_dir(folder(data_folder)).into_iter().flatten().flatten();
    for entry in entries.take(HOSTS_MAX) {
        let Ok(name) = entry.file_name().into_string() else { continue };
        let (certificate, key) = place(data_folder, &name);
        if !certificate.exists() {
            continue;
        }
        let pair = match read_pair(&certificate, &key) {
            Ok(pair) => Some(Arc::new(pair)),
            Err(error) => {
                fault.get_or_insert(error);
                before.get(&name).cloned()
            }
        };
        pairs.extend(pair.map(|pair| (name, pair)));
    }
    (pairs, fault)
}

fn folder(data_folder: &Path) -> PathBuf {
    data_folder.join("tls").join("hosts")
}

#[cfg(test)]
mod tests {
    use rustls::pki_types::CertificateDer;

    use super::*;

    fn made(name: &str) -> (String, String) {
        let signing_key = rcgen::KeyPair::generate().unwrap();
        let cert = rcgen::CertificateParams::new([name.to_owned()]).unwrap().self_signed(&signing_key).unwrap();
        (cert.pem(), signing_key.serialize_pem())
    }

    fn leaf(pairs: &Pairs, name: &str) -> Option<CertificateDer<'static>> {
        Some(pairs.get(name)?.cert[0].clone())
    }

    #[test]
    fn a_pair_is_put_found_and_replaced() {
        let data = tempfile::tempdir().unwrap();
        let read = |before: &Pairs| read(data.path(), before);
        assert!(read(&Pairs::new()).0.is_empty());
        let (one, other) = (made("links.shop.example"), made("links.shop.example"));
        put(data.path(), "Links.shop.example:8443", &one.0, &one.1).unwrap();
        let (first, fault) = read(&Pairs::new());
        assert!(fault.is_none() && first.len() == 1);
        put(data.path(), "links.shop.example", &other.0, &other.1).unwrap();
        let (second, _) = read(&first);
        assert_ne!(leaf(&first, "links.shop.example"), leaf(&second, "links.shop.example"));

        for (host, pair, key) in
            [("links.shop.example", &one.0, &other.1), ("l.shop.example", &one.0, &one.1), ("..", &one.0, &one.1)]
        {
            assert!(put(data.path(), host, pair, key).is_err(), "{host}");
        }
        assert_eq!(leaf(&read(&first).0, "links.shop.example"), leaf(&second, "links.shop.example"));
        fs::write(place(data.path(), "links.shop.example").1, "junk").unwrap();
        let (kept, fault) = read(&second);
        assert!(fault.is_some());
        assert_eq!(leaf(&kept, "links.shop.example"), leaf(&second, "links.shop.example"));
    }
}
