//! What a domain and its exchangers let us expect of TLS: DANE, MTA-STS, or nothing.
//!
//! | the domain | its exchanger is talked to |
//! |---|---|
//! | proves its MX and the exchanger's TLSA records by DNSSEC | with a certificate that they vouch for (RFC 7672) |
//! | the same, but none of the records is usable | encrypted, with whatever certificate |
//! | has an MTA-STS policy that it enforces | with a trusted certificate, if the policy names the exchanger (RFC 8461) |
//! | only tries one out (mode `testing`) | encrypted where that can be had; what the policy would refuse is noted |
//! | has neither | encrypted where that can be had |
//!
//! A submitter's wish comes before that (RFC 8689): mail for which TLS is waived goes to whoever answers; mail that
//! requires it, to an exchanger whose name DNSSEC or a policy proves, and whose certificate is good.
//!
//! DANE comes first where there are both. Nothing is concluded from DNSSEC where our name servers do not prove it: that
//! is tried on the root, and said in the log. A policy that was fetched holds for its time, whatever its domain's DNS
//! or web server does meanwhile; one that cannot be fetched is tried again after [`STS_AGAIN`].

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use super::dane;
use super::encryption::Flaw;
use super::settings::Mx;
use super::sts::{self, Mode, Policy};
use super::wire::Fault;
use crate::clock::Clock;
use crate::dns::{DnsError, Kind, Resolver, Tlsa};
use crate::fetch::{Ask, FetchError, Fetched, Fetcher};
use crate::model::message::TlsWish;
use crate::model::time::Timestamp;
use crate::model::tls_session::ResultType;
use crate::store::Store;
use crate::store::sts::KeptPolicy;

/// How long it is believed what a domain wants before its record is looked at again.
pub const STS_AGAIN: Duration = Duration::from_secs(600);
/// How often it is tried again whether our name servers prove DNSSEC, where they did not.
const PROOF_AGAIN: Duration = Duration::from_secs(600);
/// What fetching a policy may take.
const ASK: Ask = Ask { bytes_max: sts::POLICY_BYTES_MAX, patience: Duration::from_secs(20), authorization: None };
/// Domains whose wishes are kept in memory.
const DOMAINS_MAX: usize = 10_000;

/// What is expected of TLS with an exchanger.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Assurance {
    /// Nothing: TLS with any certificate, else in clear.
    None,
    /// The same, but it is noted whether the usual authorities vouch for the certificate.
    Watched,
    /// TLS with any certificate.
    Encrypted,
    /// TLS with a certificate that the usual authorities vouch for.
    Trusted,
    /// TLS with a certificate that one of these records vouches for.
    Dane(Vec<Tlsa>),
}

/// What a domain wants.
#[derive(Clone, Debug, Default)]
pub struct Wish {
    /// Its policy, if it is to be obeyed or tried out.
    pub(super) policy: Option<Arc<Policy>>,
    /// Why the policy that it speaks of cannot be had.
    pub(super) trouble: Option<Flaw>,
    /// Who its exchangers are is proved.
    is_proven: bool,
}

/// What was known of a domain when it was last looked at.
#[derive(Clone, Debug)]
struct Known {
    at: Timestamp,
    policy: Option<Arc<Policy>>,
    trouble: Option<Flaw>,
}

/// Knows what domains want.
#[derive(Debug)]
pub struct Policies {
    resolver: Arc<dyn Resolver>,
    store: Store,
    clock: Clock,
    fetcher: Fetcher,
    mx: Mx,
    proof: Mutex<Option<(bool, Timestamp)>>,
    known: Mutex<HashMap<String, Known>>,
}

impl Policies {
    /// Nothing is known yet.
    pub fn new(resolver: Arc<dyn Resolver>, store: Store, clock: Clock, fetcher: Fetcher, mx: Mx) -> Self {
        Self { resolver, store, clock, fetcher, mx, proof: Mutex::default(), known: Mutex::default() }
    }

    /// What `domain` wants of those who send it mail.
    ///
    /// # Errors
    /// `Dns`: whether its exchangers are the true ones cannot be found out now.
    pub async fn of_domain(&self, domain: &str, is_implicit: bool) -> Result<Wish, Fault> {
        let is_proven = self.mx.dane && self.proves_dnssec().await && {
            let kind = if is_implicit { Kind::Address } else { Kind::Mx };
            self.proven(domain, kind).await?
        };
        let (policy, trouble) = if self.mx.mta_sts { self.policy(domain).await } else { (None, None) };
        Ok(Wish { policy: policy.filter(|policy| policy.mode != Mode::None), trouble, is_proven })
    }

    /// What is expected of `host`, an exchanger of a domain that wants this, for a mail whose submitter wants that.
    ///
    /// # Errors
    /// `Dns`: its TLSA records cannot be found out now. `Tls`: the domain's policy does not name it.
    pub async fn of_exchanger(&self, wish: &Wish, host: &str, submitter: TlsWish) -> Result<Assurance, Fault> {
        if submitter == TlsWish::Waived {
            return Ok(Assurance::None);
        }
        if let Some(records) = self.tlsa(wish, host).await? {
            let is_usable = records.iter().any(dane::is_usable);
            return Ok(if is_usable { Assurance::Dane(records) } else { Assurance::Encrypted });
        }
        match &wish.policy {
            Some(policy) if policy.mode == Mode::Enforce && policy.names(host) => Ok(Assurance::Trusted),
            Some(policy) if policy.mode == Mode::Enforce => Err(not_named(host).into()),
            // Who asks for proof on every leg needs a proof of the exchanger's name, too (RFC 8689 §4.2.1).
            _ if submitter == TlsWish::Required && wish.is_proven => Ok(Assurance::Trusted),
            Some(policy) if policy.names(host) => Ok(Assurance::Watched),
            Some(_) | None => Ok(Assurance::None),
        }
    }

    /// The exchanger's TLSA records, where they count.
    async fn tlsa(&self, wish: &Wish, host: &str) -> Result<Option<Vec<Tlsa>>, Fault> {
        // A zone that is not signed has no records that count, and its name servers may fail on the question.
        if !wish.is_proven || !self.proven(host, Kind::Address).await? {
            return Ok(None);
        }
        let name = format!("_{}._tcp.{host}", self.mx.port);
        match self.resolver.tlsa(&name).await {
            Ok(records) => Ok(Some(records)),
            Err(DnsError::NoSuchName | DnsError::Unavailable) => Ok(None),
            Err(why) => Err(Fault::Dns { host: name, why }),
        }
    }

    async fn proven(&self, name: &str, kind: Kind) -> Result<bool, Fault> {
        match self.resolver.is_proven(name, kind).await {
            Ok(is_proven) => Ok(is_proven),
            Err(DnsError::NoSuchName | DnsError::Unavailable) => Ok(false),
            Err(why) => Err(Fault::Dns { host: format!("the DNSSEC signatures of {name}"), why }),
        }
    }

    /// Whether our name servers let us prove anything, tried on the root.
    async fn proves_dnssec(&self) -> bool {
        let now = self.clock.now();
        let known = *self.proof.lock().unwrap_or_else(PoisonError::into_inner);
        match known {
            Some((true, _)) => return true,
            Some((false, at)) if now.since(at) < PROOF_AGAIN => return false,
            Some(_) | None => {}
        }
        let proves = self.resolver.is_proven(".", Kind::Ns).await == Ok(true);
        *self.proof.lock().unwrap_or_else(PoisonError::into_inner) = Some((proves, now));
        match (proves, known) {
            (true, _) => tracing::info!("DANE is on: the name servers prove DNSSEC"),
            (false, None) => tracing::warn!("DANE is off: the name servers do not prove DNSSEC"),
            (false, Some(_)) => {}
        }
        proves
    }

    /// The MTA-STS policy of a domain, whatever its mode, or why there is none although the domain says so.
    async fn policy(&self, domain: &str) -> (Option<Arc<Policy>>, Option<Flaw>) {
        let now = self.clock.now();
        let known = self.known.lock().unwrap_or_else(PoisonError::into_inner).get(domain).cloned();
        if let Some(known) = known.filter(|known| now.since(known.at) < STS_AGAIN) {
            return (known.policy, known.trouble);
        }
        let (policy, trouble) = match self.kept_or_fetched(domain, now).await {
            Ok(policy) => (policy.map(Arc::new), None),
            Err(flaw) => (None, Some(flaw)),
        };
        let mut all = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        if all.len() >= DOMAINS_MAX {
            all.clear();
        }
        all.insert(domain.to_owned(), Known { at: now, policy: policy.clone(), trouble: trouble.clone() });
        (policy, trouble)
    }

    async fn kept_or_fetched(&self, domain: &str, now: Timestamp) -> Result<Option<Policy>, Flaw> {
        let records = self.resolver.txt(&format!("_mta-sts.{domain}")).await.unwrap_or_default();
        let id = sts::policy_id(&records);
        let kept = self.store.sts_policy(domain).await;
        let kept = kept.inspect_err(|fault| tracing::warn!(domain, %fault, "kept MTA-STS policies cannot be read"));
        let kept = kept.ok().flatten();
        let old = || kept.as_ref().and_then(|kept| Policy::read(&kept.text));
        let Some(id) = id.filter(|id| kept.as_ref().is_none_or(|kept| kept.id != *id)) else {
            return Ok(old());
        };
        let no_policy = || Flaw::new(ResultType::StsPolicyInvalid, "", "what was fetched is no policy");
        let read = |text: String| Policy::read(&text).map(|policy| (text, policy)).ok_or_else(no_policy);
        match self.fetched(domain).await.and_then(read) {
            Ok((text, policy)) => {
                let fresh = KeptPolicy { id: id.to_owned(), text, expires_at: now + policy.max_age };
                if let Err(fault) = self.store.keep_sts_policy(domain, &fresh).await {
                    tracing::warn!(domain, %fault, "an MTA-STS policy cannot be kept");
                }
                Ok(Some(policy))
            }
            Err(flaw) => {
                tracing::warn!(domain, why = %flaw, "the MTA-STS policy cannot be fetched");
                old().map(Some).ok_or(flaw)
            }
        }
    }

    /// The policy of a domain, as its web server gives it.
    async fn fetched(&self, domain: &str) -> Result<String, Flaw> {
        let url = format!("https://mta-sts.{domain}:{}/.well-known/mta-sts.txt", self.mx.mta_sts_port);
        let flaw = |fault: FetchError| {
            let (result, code) = match fault {
                FetchError::Tls(_) => (ResultType::StsWebpkiInvalid, ""),
                FetchError::Unreachable(_) => (ResultType::StsPolicyFetchError, "unreachable"),
                FetchError::Http(_) => (ResultType::StsPolicyFetchError, "no-answer"),
                FetchError::Slow(_) => (ResultType::StsPolicyFetchError, "timed-out"),
            };
            Flaw::new(result, code, fault.to_string())
        };
        self.fetcher.get(&url, &ASK).await.map_err(flaw).and_then(text)
    }
}

/// The text of an answer, if it is one that may hold a policy (RFC 8461 §3.3).
fn text(fetched: Fetched) -> Result<String, Flaw> {
    let (kind, status) = (&fetched.content_type, fetched.status);
    if status.as_u16() != 200 {
        let code = format!("http-{}", status.as_u16());
        return Err(Flaw::new(ResultType::StsPolicyFetchError, code, format!("the answer was {status}")));
    }
    let invalid = |code, text: String| Flaw::new(ResultType::StsPolicyInvalid, code, text);
    if !kind.split(';').next().is_some_and(|kind| kind.trim().eq_ignore_ascii_case("text/plain")) {
        return Err(invalid("content-type", format!("its type is {kind:?}, not text/plain")));
    }
    String::from_utf8(fetched.body.into()).map_err(|_| invalid("not-utf-8", "it is not UTF-8".to_owned()))
}

/// What is wrong with an exchanger that the policy of its domain does not name.
pub(super) fn not_named(host: &str) -> Flaw {
    let text = format!("the domain's MTA-STS policy does not name {host}");
    Flaw::new(ResultType::ValidationFailure, "mx-not-in-policy", text)
}

#[cfg(test)]
mod tests {
    use super::*;
    use hyper::StatusCode;

    #[test]
    fn answers_that_hold_no_policy() {
        let check = |status, kind: &str, body: &'static [u8], expected: Result<&str, (ResultType, &str)>| {
            let content_type = kind.to_owned();
            let read = text(Fetched { status, location: None, content_type, body: body.into() });
            let read = read.as_deref().map_err(|flaw| (flaw.result, flaw.code.as_str()));
            assert_eq!(read, expected, "{status} {kind}");
        };
        check(StatusCode::OK, "text/plain", b"x", Ok("x"));
        check(StatusCode::OK, "Text/Plain ; charset=utf-8", b"x", Ok("x"));
        check(StatusCode::NOT_FOUND, "text/plain", b"x", Err((ResultType::StsPolicyFetchError, "http-404")));
        check(StatusCode::FOUND, "text/plain", b"x", Err((ResultType::StsPolicyFetchError, "http-302")));
        check(StatusCode::OK, "text/html", b"x", Err((ResultType::StsPolicyInvalid, "content-type")));
        check(StatusCode::OK, "text/plain", b"\xff", Err((ResultType::StsPolicyInvalid, "not-utf-8")));
    }
}
