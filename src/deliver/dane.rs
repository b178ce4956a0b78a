//! Certificates that TLSA records vouch for (RFC 6698, as RFC 7672 §3 narrows it for mail).
//!
//! | usage | what counts |
//! |---|---|
//! | 3, DANE-EE | the host's own certificate or key is the one named; its names and dates do not matter |
//! | 2, DANE-TA | a certificate of the chain is the one named, and the host's leads to it, for the host's name, in its time |
//! | 0, 1 and others | nothing: not usable for mail |
//!
//! The records must be proved by DNSSEC before they come here; `dns` gives out no others.

use std::sync::Arc;

use aws_lc_rs::digest::{SHA256, SHA512, digest};
use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, aws_lc_rs as provider, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::server::ParsedCertificate;
use rustls::{CertificateError, DigitallySignedStruct, Error, RootCertStore, SignatureScheme};

use crate::dns::Tlsa;

const TRUST_ANCHOR: u8 = 2;
const END_ENTITY: u8 = 3;
const WHOLE: u8 = 0;
const KEY: u8 = 1;

/// Whether a record can vouch for a mail host at all (RFC 7672 §3.1).
pub fn is_usable(record: &Tlsa) -> bool {
    let length = match record.matching {
        0 => (1..=8192).contains(&record.data.len()),
        1 => record.data.len() == 32,
        2 => record.data.len() == 64,
        _ => false,
    };
    matches!(record.usage, TRUST_ANCHOR | END_ENTITY) && matches!(record.selector, WHOLE | KEY) && length
}

/// Takes certificates that one of these records vouches for.
#[derive(Debug)]
pub(super) struct Vouched {
    records: Vec<Tlsa>,
    provider: Arc<CryptoProvider>,
}

impl Vouched {
    pub(super) fn new(records: &[Tlsa]) -> Self {
        let records = records.iter().filter(|record| is_usable(record)).cloned().collect();
        Self { records, provider: Arc::new(provider::default_provider()) }
    }

    fn any(&self, usage: u8, certificate: &CertificateDer<'_>) -> bool {
        self.records.iter().filter(|record| record.usage == usage).any(|record| matches(record, certificate))
    }

    /// Whether the chain leads from `host` to the certificate that a record names.
    fn leads_to(
        &self,
        anchor: &CertificateDer<'_>,
        host: &CertificateDer<'_>,
        chain: &[CertificateDer<'_>],
        name: &ServerName<'_>,
        now: UnixTime,
    ) -> bool {
        let mut roots = RootCertStore::empty();
        if roots.add(anchor.clone().into_owned()).is_err() {
            return false;
        }
        let verifier = WebPkiServerVerifier::builder_with_provider(Arc::new(roots), self.provider.clone()).build();
        verifier.is_ok_and(|verifier| verifier.verify_server_cert(host, chain, name, &[], now).is_ok())
    }
}

fn matches(record: &Tlsa, certificate: &CertificateDer<'_>) -> bool {
    let parsed;
    let spki;
    let selected: &[u8] = if record.selector == WHOLE {
        certificate.as_ref()
    } else {
        let Ok(certificate) = ParsedCertificate::try_from(certificate) else { return false };
        parsed = certificate;
        spki = parsed.subject_public_key_info();
        spki.as_ref()
    };
    match record.matching {
        0 => selected == record.data,
        1 => digest(&SHA256, selected).as_ref() == record.data,
        2 => digest(&SHA512, selected).as_ref() == record.data,
        _ => false,
    }
}

impl ServerCertVerifier for Vouched {
    fn verify_server_cert(
        &self,
        host: &CertificateDer<'_>,
        chain: &[CertificateDer<'_>],
        name: &ServerName<'_>,
        _: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        let mut anchors = chain.iter().filter(|certificate| self.any(TRUST_ANCHOR, certificate));
        if self.any(END_ENTITY, host) || anchors.any(|anchor| self.leads_to(anchor, host, chain, name, now)) {
            return Ok(ServerCertVerified::assertion());
        }
        Err(Error::InvalidCertificate(CertificateError::ApplicationVerificationFailure))
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls12_signature(message, certificate, signature, &self.provider.signature_verification_algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls13_signature(message, certificate, signature, &self.provider.signature_verification_algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider.signature_verification_algorithms.supported_schemes()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
    use std::time::Duration;

    struct Chain {
        authority: CertificateDer<'static>,
        host: CertificateDer<'static>,
    }

    impl Chain {
        fn new() -> Self {
            let mut params = CertificateParams::new(Vec::new()).unwrap();
            params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
            let authority = CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap();
            let host = CertificateParams::new(vec!["mx.example.com".to_owned()]).unwrap();
            let host = host.signed_by(&KeyPair::generate().unwrap(), &authority).unwrap();
            Self { authority: authority.der().clone(), host: host.der().clone() }
        }

        fn check(&self, records: &[Tlsa], name: &str, expected: bool) {
            let now = UnixTime::since_unix_epoch(Duration::from_secs(1_800_000_000));
            let name = ServerName::try_from(name.to_owned()).unwrap();
            let chain = [self.authority.clone()];
            let found = Vouched::new(records).verify_server_cert(&self.host, &chain, &name, &[], now);
            assert_eq!(found.is_ok(), expected, "{records:?}");
        }
    }

    fn record(usage: u8, selector: u8, matching: u8, certificate: &CertificateDer<'_>) -> Tlsa {
        let selected = match selector {
            KEY => ParsedCertificate::try_from(certificate).unwrap().subject_public_key_info().to_vec(),
            _ => certificate.to_vec(),
        };
        let data = match matching {
            1 => digest(&SHA256, &selected).as_ref().to_vec(),
            2 => digest(&SHA512, &selected).as_ref().to_vec(),
            _ => selected,
        };
        Tlsa { usage, selector, matching, data }
    }

    #[test]
    fn what_records_vouch_for() {
        let (chain, other) = (Chain::new(), Chain::new());
        for (selector, matching) in [(0, 0), (0, 1), (0, 2), (1, 0), (1, 1), (1, 2)] {
            let own = record(END_ENTITY, selector, matching, &chain.host);
            chain.check(std::slice::from_ref(&own), "mx.example.com", true);
            chain.check(std::slice::from_ref(&own), "another.example.com", true);
            chain.check(&[record(END_ENTITY, selector, matching, &other.host)], "mx.example.com", false);
            let anchor = record(TRUST_ANCHOR, selector, matching, &chain.authority);
            chain.check(std::slice::from_ref(&anchor), "mx.example.com", true);
            chain.check(&[anchor], "another.example.com", false);
            chain.check(&[record(TRUST_ANCHOR, selector, matching, &other.authority)], "mx.example.com", false);
            chain.check(&[record(1, selector, matching, &chain.host)], "mx.example.com", false);
        }
        chain.check(&[], "mx.example.com", false);
    }

    #[test]
    fn which_records_are_of_use() {
        let check = |usage, selector, matching, length: usize, expected| {
            let record = Tlsa { usage, selector, matching, data: vec![0; length] };
            assert_eq!(is_usable(&record), expected, "{record:?}");
        };
        check(3, 1, 1, 32, true);
        check(2, 0, 2, 64, true);
        check(3, 1, 1, 31, false);
        check(3, 1, 0, 0, false);
        check(3, 2, 1, 32, false);
        check(3, 1, 3, 32, false);
        for usage in [0, 1, 4, 255] {
            check(usage, 1, 1, 32, false);
        }
    }
}
