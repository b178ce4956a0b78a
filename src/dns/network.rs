//! Asking name servers, with hickory-resolver.
//!
//! Two resolvers share the servers. One asks and believes, and is behind every answer that mail and webhooks need; the
//! other checks signatures from the root down (RFC 4035) and is asked only for proofs, so that what is broken about
//! DNSSEC somewhere holds up nothing that does without it. `/etc/hosts` comes first, as people expect. Answers are
//! cached for as long as they say.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use hickory_resolver::config::{ConnectionConfig, LookupIpStrategy, NameServerConfig, ResolverConfig, ResolverOpts};
use hickory_resolver::lookup::Lookup as Answer;
use hickory_resolver::net::runtime::TokioRuntimeProvider;
use hickory_resolver::net::{DnsError as Refusal, NetError};
use hickory_resolver::proto::dnssec::{Proof, TrustAnchors};
use hickory_resolver::proto::op::ResponseCode;
use hickory_resolver::proto::rr::{Name, RData, Record, RecordType};
use hickory_resolver::{ResolverBuilder, TokioResolver};
use tokio::time::timeout;

use super::{DnsError, Exchange, Kind, LOOKUP_MAX, Lookup, Resolver, Settings, Tlsa};

/// For one server to answer one question.
const ANSWER_MAX: Duration = Duration::from_secs(2);
/// Whom libc asks, too, where nothing else is said.
const LOCAL: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 53);
/// Answers kept.
const CACHED_MAX: u64 = 8192;

/// There is nobody to ask.
#[derive(Debug, thiserror::Error)]
pub enum NoResolver {
    /// The trust anchor cannot be used.
    #[error("use the DNSSEC trust anchor {path}: {why}")]
    TrustAnchor {
        /// Its file.
        path: String,
        /// Why.
        why: String,
    },
    /// The resolver cannot be built.
    #[error("make a resolver: {0}")]
    Build(NetError),
}

/// Asks name servers.
#[derive(Clone)]
pub struct Network {
    believing: TokioResolver,
    proving: Option<TokioResolver>,
}

impl std::fmt::Debug for Network {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(out, "Network(dnssec: {})", self.proving.is_some())
    }
}

impl Network {
    /// A resolver that asks whom `settings` name.
    ///
    /// # Errors
    /// [`NoResolver`].
    pub fn new(settings: &Settings) -> Result<Self, NoResolver> {
        let believing = builder(settings).build().map_err(NoResolver::Build)?;
        let proving = if settings.dnssec { Some(proving(settings)?) } else { None };
        Ok(Self { believing, proving })
    }

    async fn ask(&self, resolver: &TokioResolver, name: &str, kind: RecordType) -> Result<Answer, DnsError> {
        let name = qualified(name)?;
        match timeout(LOOKUP_MAX, resolver.lookup(name, kind)).await {
            Ok(Ok(answer)) => Ok(answer),
            Ok(Err(error)) => Err(meaning(&error)),
            Err(_) => Err(DnsError::Timeout),
        }
    }

    /// The records of this kind, read with `read`.
    async fn records<T>(
        &self,
        name: &str,
        kind: RecordType,
        read: impl Fn(&RData) -> Option<T>,
    ) -> Result<Vec<T>, DnsError> {
        let answer = self.ask(&self.believing, name, kind).await?;
        some(answer.answers().iter().filter_map(|record| read(&record.data)).collect())
    }

    async fn all_addresses(&self, name: &str) -> Result<Vec<IpAddr>, DnsError> {
        let found = timeout(LOOKUP_MAX, self.believing.lookup_ip(qualified(name)?)).await;
        match found {
            Ok(Ok(answer)) => some(answer.iter().collect()),
            Ok(Err(error)) => Err(meaning(&error)),
            Err(_) => Err(DnsError::Timeout),
        }
    }

    async fn proven(&self, name: &str, kind: RecordType) -> Result<bool, DnsError> {
        let Some(proving) = &self.proving else { return Err(DnsError::Unavailable) };
        let name = qualified(name)?;
        match timeout(LOOKUP_MAX, proving.lookup(name, kind)).await {
            Ok(Ok(answer)) => all_proven(answer.answers()),
            Ok(Err(NetError::Dns(Refusal::Nsec { proof: Proof::Secure, .. }))) => Ok(true),
            Ok(Err(NetError::Dns(Refusal::Nsec { proof: Proof::Insecure, .. }))) => Ok(false),
            Ok(Err(error)) => match meaning(&error) {
                DnsError::NoSuchName => Ok(false),
                fault => Err(fault),
            },
            Err(_) => Err(DnsError::Timeout),
        }
    }

    async fn proven_tlsa(&self, name: &str) -> Result<Vec<Tlsa>, DnsError> {
        let Some(proving) = &self.proving else { return Err(DnsError::Unavailable) };
        let answer = self.ask(proving, name, RecordType::TLSA).await?;
        if !all_proven(answer.answers())? {
            return Err(DnsError::NoSuchName);
        }
        let read = |record: &Record| match &record.data {
            RData::TLSA(tlsa) => Some(Tlsa {
                usage: tlsa.cert_usage.into(),
                selector: tlsa.selector.into(),
                matching: tlsa.matching.into(),
                data: tlsa.cert_data.clone(),
            }),
            _ => None,
        };
        some(answer.answers().iter().filter_map(read).collect())
    }
}

impl Resolver for Network {
    fn addresses<'a>(&'a self, name: &'a str) -> Lookup<'a, Vec<IpAddr>> {
        Box::pin(self.all_addresses(name))
    }

    fn mx<'a>(&'a self, domain: &'a str) -> Lookup<'a, Vec<Exchange>> {
        Box::pin(async move {
            let read = |data: &RData| match data {
                RData::MX(mx) => Some(Exchange { preference: mx.preference, host: plain(&mx.exchange) }),
                _ => None,
            };
            let mut exchanges = self.records(domain, RecordType::MX, read).await?;
            exchanges.sort();
            Ok(exchanges)
        })
    }

    fn txt<'a>(&'a self, name: &'a str) -> Lookup<'a, Vec<String>> {
        Box::pin(self.records(name, RecordType::TXT, |data| match data {
            RData::TXT(txt) => Some(String::from_utf8_lossy(&txt.txt_data.concat()).into_owned()),
            _ => None,
        }))
    }

    fn ptr<'a>(&'a self, address: IpAddr) -> Lookup<'a, Vec<String>> {
        Box::pin(async move {
            let name = plain(&Name::from(address));
            let read = |data: &RData| match data {
                RData::PTR(ptr) => Some(plain(&ptr.0)),
                _ => None,
            };
            self.records(&name, RecordType::PTR, read).await
        })
    }

    fn tlsa<'a>(&'a self, name: &'a str) -> Lookup<'a, Vec<Tlsa>> {
        Box::pin(self.proven_tlsa(name))
    }

    fn is_proven<'a>(&'a self, name: &'a str, kind: Kind) -> Lookup<'a, bool> {
        Box::pin(async move {
            match kind {
                Kind::Mx => self.proven(name, RecordType::MX).await,
                Kind::Ns => self.proven(name, RecordType::NS).await,
                Kind::Address => self.proven(name, RecordType::A).await,
            }
        })
    }
}

fn builder(settings: &Settings) -> ResolverBuilder<TokioRuntimeProvider> {
    let mut builder = match settings.servers.as_slice() {
        [] => TokioResolver::builder_tokio().unwrap_or_else(|fault| {
            tracing::warn!(%fault, "the system does not say who resolves names; asking {LOCAL}");
            asking(&[LOCAL])
        }),
        servers => asking(servers),
    };
    let options: &mut ResolverOpts = builder.options_mut();
    options.timeout = ANSWER_MAX;
    options.attempts = 2;
    options.cache_size = CACHED_MAX;
    options.ip_strategy = LookupIpStrategy::Ipv4AndIpv6;
    builder
}

fn asking(servers: &[SocketAddr]) -> ResolverBuilder<TokioRuntimeProvider> {
    let config = ResolverConfig::from_parts(None, vec![], servers.iter().map(server).collect());
    TokioResolver::builder_with_config(config, TokioRuntimeProvider::default())
}

fn proving(settings: &Settings) -> Result<TokioResolver, NoResolver> {
    let mut builder = builder(settings);
    builder.options_mut().validate = true;
    if let Some(path) = &settings.trust_anchor {
        let anchors = TrustAnchors::from_file(path)
            .map_err(|fault| NoResolver::TrustAnchor { path: path.display().to_string(), why: fault.to_string() })?;
        builder = builder.with_trust_anchor(Arc::new(anchors));
    }
    builder.build().map_err(NoResolver::Build)
}

fn server(address: &SocketAddr) -> NameServerConfig {
    let port = address.port();
    let connections = [ConnectionConfig::udp(), ConnectionConfig::tcp()].map(|mut connection| {
        connection.port = port;
        connection
    });
    NameServerConfig::new(address.ip(), true, connections.to_vec())
}

fn qualified(name: &str) -> Result<Name, DnsError> {
    // A name that is none exists no more than one that nobody registered.
    let mut name = Name::from_ascii(name).map_err(|_| DnsError::NoSuchName)?;
    name.set_fqdn(true);
    Ok(name)
}

/// A name as the house writes it: lower case, no final dot.
fn plain(name: &Name) -> String {
    name.to_ascii().trim_end_matches('.').to_ascii_lowercase()
}

fn some<T>(records: Vec<T>) -> Result<Vec<T>, DnsError> {
    if records.is_empty() { Err(DnsError::NoSuchName) } else { Ok(records) }
}

/// Whether DNSSEC proves each of these records.
fn all_proven(records: &[Record]) -> Result<bool, DnsError> {
    if records.iter().any(|record| record.proof == Proof::Bogus) {
        return Err(DnsError::Failed);
    }
    Ok(!records.is_empty() && records.iter().all(|record| record.proof == Proof::Secure))
}

fn meaning(error: &NetError) -> DnsError {
    match error {
        NetError::Dns(Refusal::NoRecordsFound(none)) => match none.response_code {
            ResponseCode::NXDomain | ResponseCode::NoError => DnsError::NoSuchName,
            _ => DnsError::Failed,
        },
        NetError::Dns(Refusal::Nsec { proof: Proof::Secure | Proof::Insecure, .. }) => DnsError::NoSuchName,
        NetError::Timeout => DnsError::Timeout,
        _ => DnsError::Failed,
    }
}
