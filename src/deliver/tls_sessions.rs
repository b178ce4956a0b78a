//! What came of TLS with exchangers, counted by day for reports to their domains (RFC 8460).
//!
//! A session is a connection that came to where TLS is begun, or that a policy ruled out before; mails that share one
//! count once, and a fall back to clear text counts as the failure before it. Counted in memory, without waiting for
//! anybody, and given to the store every now and then: what a crash loses is a minute's counts. Mail whose
//! submitter wants something else of TLS than its domain does is not counted, and reports themselves are such mail.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use super::encryption::Flaw;
use super::opening::TlsTried;
use super::policy::{Assurance, Wish, not_named};
use super::sts::{Mode, Policy};
use super::wire::Fault;
use crate::dns::{DnsError, Tlsa};
use crate::model::statistics::Day;
use crate::model::tls_session::{AppliedPolicy, FailedSession, PolicyType, ResultType, TlsSession};
use crate::store::tls_sessions::CountedSessions;
use crate::store::{Store, StoreError};

/// Different sessions that are counted between two times of writing; more are not counted.
const KINDS_MAX: usize = 20_000;
/// Of these so many are written in one commit, so that deliveries need not wait long for theirs.
const BITE: usize = 500;
/// Exchangers of one policy that are told.
const EXCHANGERS_TOLD_MAX: usize = 100;
/// Longest TLSA record that is told, in bytes.
const RECORD_BYTES_MAX: usize = 512;

/// What is counted, until the store has it.
#[derive(Debug, Default)]
pub struct TlsSessions(Mutex<HashMap<(Day, String, TlsSession), u64>>);

impl TlsSessions {
    /// Counts one session with an exchanger of `domain`.
    pub(super) fn count(&self, day: Day, domain: &str, session: TlsSession) {
        self.add((day, domain.to_owned(), session), 1);
    }

    fn add(&self, kind: (Day, String, TlsSession), sessions: u64) {
        let mut counts = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(count) = counts.get_mut(&kind) {
            *count += sessions;
        } else if counts.len() < KINDS_MAX {
            counts.insert(kind, sessions);
        }
    }

    /// Gives the store what was counted since the last time.
    ///
    /// # Errors
    /// `Unavailable`: it is kept for the next time.
    pub async fn keep(&self, store: &Store) -> Result<(), StoreError> {
        let counts = std::mem::take(&mut *self.0.lock().unwrap_or_else(PoisonError::into_inner));
        let counted = |((day, domain, session), sessions)| CountedSessions { day, domain, session, sessions };
        let mut counted = counts.into_iter().map(counted);
        loop {
            let bite: Vec<CountedSessions> = counted.by_ref().take(BITE).collect();
            if bite.is_empty() {
                return Ok(());
            }
            if let Err(fault) = store.add_tls_sessions(bite.clone()).await {
                for CountedSessions { day, domain, session, sessions } in bite.into_iter().chain(counted) {
                    self.add((day, domain, session), sessions);
                }
                return Err(fault);
            }
        }
    }
}

/// By what sessions with an exchanger are judged.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Yardstick {
    /// The recipients' domain.
    pub(super) domain: String,
    /// The exchanger; empty when it did not come to one.
    exchanger: String,
    policy: AppliedPolicy,
    /// What is wrong before any connection is made.
    flaw: Option<Flaw>,
}

impl Yardstick {
    /// For an exchanger of a domain that wants this, with what follows from it.
    pub(super) fn new(domain: &str, exchanger: &str, wish: &Wish, assurance: &Result<Assurance, Fault>) -> Self {
        let (policy, flaw) = match (assurance, &wish.policy, &wish.trouble) {
            (Ok(Assurance::Dane(records)), ..) => (tlsa(exchanger, records), None),
            (Ok(Assurance::Encrypted), ..) => {
                let text = "none of the TLSA records can be used";
                (tlsa(exchanger, &[]), Some(Flaw::new(ResultType::TlsaInvalid, "", text)))
            }
            (Err(fault @ Fault::Dns { .. }), ..) => (tlsa(exchanger, &[]), dnssec(fault)),
            (Err(Fault::Tls(flaw)), Some(policy), _) => (sts(domain, Some(policy)), Some(flaw.clone())),
            (_, Some(policy), _) => {
                let is_named = policy.names(exchanger);
                (sts(domain, Some(policy)), (!is_named).then(|| not_named(exchanger)))
            }
            (_, None, Some(trouble)) => (sts(domain, None), Some(trouble.clone())),
            (_, None, None) => (applied(PolicyType::NoPolicyFound, domain), None),
        };
        Self { domain: domain.to_owned(), exchanger: exchanger.to_owned(), policy, flaw }
    }

    /// For a domain of which it is not known what it wants, since the DNS failed so.
    pub(super) fn of_unknown(domain: &str, fault: &Fault) -> Self {
        let (domain, exchanger) = (domain.to_owned(), String::new());
        Self { policy: tlsa(&domain, &[]), domain, exchanger, flaw: dnssec(fault) }
    }

    /// How a session counts that came to this, or to no connection at all; `None`: not.
    pub(super) fn session(&self, tried: Option<&TlsTried>) -> Option<TlsSession> {
        let flaw = self.flaw.as_ref().or_else(|| tried?.flaw.as_ref());
        let failure = flaw.map(|flaw| FailedSession {
            result_type: flaw.result,
            sending_mta_ip: tried.and_then(|tried| tried.from),
            receiving_mx_hostname: self.exchanger.clone(),
            receiving_ip: tried.map(|tried| tried.to),
            failure_reason_code: flaw.code.clone(),
        });
        (failure.is_some() || tried.is_some()).then(|| TlsSession { policy: self.policy.clone(), failure })
    }
}

fn applied(policy_type: PolicyType, domain: &str) -> AppliedPolicy {
    let (policy_string, mx_host) = Default::default();
    AppliedPolicy { policy_type, policy_string, policy_domain: domain.to_owned(), mx_host }
}

/// An MTA-STS policy, or none that could be had.
fn sts(domain: &str, policy: Option<&Arc<Policy>>) -> AppliedPolicy {
    let applied = applied(PolicyType::Sts, domain);
    let Some(policy) = policy else { return applied };
    let mode = match policy.mode {
        Mode::Enforce => "enforce",
        Mode::Testing => "testing",
        Mode::None => "none",
    };
    let mx_host: Vec<String> = policy.exchangers.iter().take(EXCHANGERS_TOLD_MAX).cloned().collect();
    let head = ["version: STSv1".to_owned(), format!("mode: {mode}")].into_iter();
    let lines = head.chain(mx_host.iter().map(|host| format!("mx: {host}")));
    let policy_string = lines.chain([format!("max_age: {}", policy.max_age.as_secs())]).collect();
    AppliedPolicy { policy_string, mx_host, ..applied }
}

/// The records as RFC 6698 §2.2 writes them.
fn tlsa(host: &str, records: &[Tlsa]) -> AppliedPolicy {
    let hex = |data: &[u8]| data.iter().take(RECORD_BYTES_MAX).map(|byte| format!("{byte:02x}")).collect::<String>();
    let text = |record: &Tlsa| {
        let Tlsa { usage, selector, matching, data } = record;
        format!("{usage} {selector} {matching} {}", hex(data))
    };
    let mut policy_string: Vec<String> = records.iter().map(text).collect();
    // Name servers give them in any order.
    policy_string.sort();
    AppliedPolicy { policy_string, ..applied(PolicyType::Tlsa, host) }
}

/// A DNS that fails where a proof was wanted; one that is slow is nobody's fault.
fn dnssec(fault: &Fault) -> Option<Flaw> {
    let is_failure = matches!(fault, Fault::Dns { why: DnsError::Failed, .. });
    is_failure.then(|| Flaw::new(ResultType::DnssecInvalid, "", fault.to_string()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_dns_keeps_from_us() {
        let check = |why: DnsError, expected: Option<ResultType>| {
            let fault = Fault::Dns { host: "_25._tcp.mx.example.net".into(), why };
            for (yardstick, domain) in [
                (Yardstick::of_unknown("example.net", &fault), "example.net"),
                (
                    Yardstick::new("example.net", "mx.example.net", &Wish::default(), &Err(fault.clone())),
                    "mx.example.net",
                ),
            ] {
                let session = yardstick.session(None);
                let told =
                    session.as_ref().and_then(|session| session.failure.as_ref()).map(|failed| failed.result_type);
                assert_eq!(told, expected, "{why:?}");
                let is_tlsa = |session: TlsSession| session.policy == applied(PolicyType::Tlsa, domain);
                assert!(session.is_none_or(is_tlsa), "{why:?}");
            }
        };
        check(DnsError::Failed, Some(ResultType::DnssecInvalid));
        check(DnsError::Timeout, None);
    }

    #[test]
    fn no_more_is_counted_than_fits() {
        let sessions = TlsSessions::default();
        let session = |domain: &str| TlsSession { policy: applied(PolicyType::NoPolicyFound, domain), failure: None };
        for place in 0..KINDS_MAX + 5 {
            let domain = format!("d{place}.example");
            sessions.count(Day(0), &domain, session(&domain));
        }
        sessions.count(Day(0), "d0.example", session("d0.example"));
        let counts = sessions.0.lock().unwrap();
        assert_eq!(counts.len(), KINDS_MAX);
        assert_eq!(counts[&(Day(0), "d0.example".to_owned(), session("d0.example"))], 2);
    }
}
