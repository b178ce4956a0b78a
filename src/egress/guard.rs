//! Making connections that the policy allows: resolve, judge every address, connect to the judged ones only.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use tokio::net::{TcpSocket, TcpStream};
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};
use url::{Host, Url};

use super::proxy::{self, Proxy};
use super::{Access, Policy, Refused, Rule, Vetted, is_at_or_under};
use crate::dns::{self, DnsError, Resolver};

/// The longest that connecting may take, over all addresses of a host.
pub const CONNECT_MAX: Duration = Duration::from_secs(5);
/// How long the admission of a URL waits for DNS.
const ADMISSION_MAX: Duration = Duration::from_secs(3);
/// A name with more addresses than this is refused.
pub const ADDRESSES_MAX: usize = 20;
/// The next address is tried when the one before has not answered for this long (RFC 8305 §5).
const STAGGER: Duration = Duration::from_millis(250);

/// Why there is no connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Failure {
    /// The policy refuses it.
    #[error(transparent)]
    Refused(#[from] Refused),
    /// The name does not exist.
    #[error("the host name does not exist")]
    NoSuchName,
    /// DNS gave no answer in time.
    #[error("DNS gave no answer in time")]
    DnsTimeout,
    /// DNS failed.
    #[error("DNS failed")]
    DnsFailed,
    /// Nobody listens there.
    #[error("the connection was refused")]
    ConnectRefused,
    /// No answer in time.
    #[error("the connection was not answered in time")]
    ConnectTimeout,
    /// No way there, or it broke at once.
    #[error("the connection could not be made")]
    ConnectFailed,
    /// The proxy is not there, or will not lead on.
    #[error("the proxy leads nowhere")]
    ProxyFailed,
}

/// How long a look-up and a connection may take.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// The look-up.
    pub dns: Duration,
    /// The connection, over all addresses.
    pub connect: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self { dns: dns::LOOKUP_MAX, connect: CONNECT_MAX }
    }
}

/// The policy in force, and the only way to a connection under it.
#[derive(Debug)]
pub struct Guard {
    policy: ArcSwap<Policy>,
    resolver: Arc<dyn Resolver>,
    limits: Limits,
}

/// A vetted URL with its addresses, each judged. Connections go to these and no others.
#[derive(Debug)]
pub struct Pinned<'v> {
    vetted: &'v Vetted,
    addresses: Vec<SocketAddr>,
    access: Access,
}

/// A connection, and whom it leads to.
#[derive(Debug)]
pub struct Reached {
    /// The connection.
    pub stream: TcpStream,
    /// Who is at its other end, behind the proxy if there is one.
    pub peer: SocketAddr,
}

impl Pinned<'_> {
    /// The judged addresses, in the order in which they are tried.
    pub fn addresses(&self) -> &[SocketAddr] {
        &self.addresses
    }

    /// By what right: the least public of the addresses decides.
    pub fn access(&self) -> Access {
        self.access
    }
}

impl Guard {
    /// A guard under `policy`.
    pub fn new(policy: Policy, resolver: Arc<dyn Resolver>) -> Self {
        Self { policy: ArcSwap::from_pointee(policy), resolver, limits: Limits::default() }
    }

    /// The same with other limits.
    pub fn with_limits(self, limits: Limits) -> Self {
        Self { limits, ..self }
    }

    /// Puts another policy in force. URLs vetted from now on tell by their generation that it is another.
    pub fn replace(&self, policy: Policy) {
        self.policy.rcu(|old| Policy { generation: old.generation + 1, ..policy.clone() });
    }

    /// Judges a URL, without asking DNS.
    ///
    /// # Errors
    /// The rule that refuses it.
    pub fn vet(&self, url: &str) -> Result<Vetted, Refused> {
        self.policy.load().judge_url(url)
    }

    /// Judges a URL that somebody wants us to remember, DNS included: better now than at the first attempt. A name that
    /// DNS does not tell of passes, since it may yet come, unless only an exception could allow it.
    ///
    /// # Errors
    /// The rule that refuses it.
    pub async fn admit(&self, url: &str) -> Result<Url, Refused> {
        let vetted = self.vet(url)?;
        let found = timeout(ADMISSION_MAX, self.pin(&vetted)).await.map(|pinned| pinned.map(drop));
        match found {
            Ok(Err(Failure::Refused(refused))) => Err(refused),
            Ok(Err(_)) | Err(_) if vetted.needs_exception() => Err(Refused { rule: Rule::Scheme }),
            _ => Ok(vetted.url),
        }
    }

    /// Judges an address that is no URL's: a mail exchanger's.
    ///
    /// # Errors
    /// [`Rule::Ip`].
    pub fn judge_address(&self, address: SocketAddr) -> Result<Access, Refused> {
        self.policy.load().judge_address(address.ip(), address.port())
    }

    /// Resolves a vetted URL and judges all its addresses: one that is refused refuses the whole.
    ///
    /// # Errors
    /// Refused, too many addresses included, or no answer from DNS.
    pub async fn pin<'v>(&self, vetted: &'v Vetted) -> Result<Pinned<'v>, Failure> {
        let found = match vetted.url.host() {
            Some(Host::Ipv4(ip)) => vec![ip.into()],
            Some(Host::Ipv6(ip)) => vec![ip.into()],
            Some(Host::Domain(name)) => self.look_up(name).await?,
            None => return Err(Refused { rule: Rule::Parse }.into()),
        };
        if found.len() > ADDRESSES_MAX {
            return Err(Refused { rule: Rule::Ip }.into());
        }
        let policy = self.policy.load_full();
        let mut access = Access::Public;
        for ip in &found {
            match (policy.judge_for(vetted, *ip)?, access) {
                (Access::Public, _) | (Access::Loopback, Access::Exception) => {}
                (other, _) => access = other,
            }
        }
        let addresses = found.into_iter().map(|ip| SocketAddr::new(ip, vetted.port)).collect();
        Ok(Pinned { vetted, addresses, access })
    }

    /// Connects to one of the pinned addresses; `TCP_NODELAY` is set.
    ///
    /// # Errors
    /// The last address's failure, or that the limit was reached.
    pub async fn connect(&self, pinned: &Pinned<'_>) -> Result<TcpStream, Failure> {
        self.connect_reading(pinned, None).await.map(|reached| reached.stream)
    }

    /// The same; the system takes in no more than about `bytes` that nobody has read yet, when there is a number. Who
    /// sends without end is held up early, and pays for it himself.
    ///
    /// # Errors
    /// As [`Self::connect`].
    pub async fn connect_reading(&self, pinned: &Pinned<'_>, bytes: Option<u32>) -> Result<Reached, Failure> {
        let proxy = self.policy.load().proxy.clone().filter(|_| pinned.access == Access::Public);
        let way = async {
            match &proxy {
                Some(proxy) => self.through(proxy, &pinned.addresses, bytes).await,
                None => self.directly(pinned, bytes).await,
            }
        };
        let reached = timeout(self.limits.connect, way).await.map_err(|_| Failure::ConnectTimeout)??;
        reached.stream.set_nodelay(true).map_err(|_| Failure::ConnectFailed)?;
        Ok(reached)
    }

    async fn directly(&self, pinned: &Pinned<'_>, bytes: Option<u32>) -> Result<Reached, Failure> {
        let stream = first(&pinned.addresses, bytes).await?;
        // Who we are connected to is judged once more: something between us and them may have other ideas.
        let peer = stream.peer_addr().map_err(|_| Failure::ConnectFailed)?;
        self.policy.load().judge_for(pinned.vetted, peer.ip())?;
        Ok(Reached { stream, peer })
    }

    /// To the first of the addresses that the proxy leads to.
    async fn through(&self, proxy: &Proxy, to: &[SocketAddr], bytes: Option<u32>) -> Result<Reached, Failure> {
        let found = match proxy.host.parse::<IpAddr>() {
            Ok(ip) => vec![ip],
            Err(_) => self.look_up(&proxy.host).await.map_err(|_| Failure::ProxyFailed)?,
        };
        let places: Vec<SocketAddr> = found.into_iter().map(|ip| SocketAddr::new(ip, proxy.port)).collect();
        for peer in to {
            let mut stream = first(&places, bytes).await.map_err(|_| Failure::ProxyFailed)?;
            if proxy::tunnel(&mut stream, *peer).await.is_ok() {
                return Ok(Reached { stream, peer: *peer });
            }
        }
        Err(Failure::ProxyFailed)
    }

    async fn look_up(&self, name: &str) -> Result<Vec<IpAddr>, Failure> {
        if is_at_or_under(name, "localhost") {
            return Ok(dns::LOOPBACK.to_vec());
        }
        match timeout(self.limits.dns, self.resolver.addresses(name)).await {
            Ok(Ok(addresses)) => Ok(addresses),
            Ok(Err(DnsError::NoSuchName)) => Err(Failure::NoSuchName),
            Ok(Err(DnsError::Timeout)) | Err(_) => Err(Failure::DnsTimeout),
            Ok(Err(DnsError::Failed | DnsError::Unavailable)) => Err(Failure::DnsFailed),
        }
    }
}

async fn connect(address: SocketAddr, receive_bytes: Option<u32>) -> io::Result<TcpStream> {
    let socket = if address.is_ipv4() { TcpSocket::new_v4()? } else { TcpSocket::new_v6()? };
    if let Some(bytes) = receive_bytes {
        // Before the connection: what is announced to the other side is not taken back.
        socket.set_recv_buffer_size(bytes)?;
    }
    socket.connect(address).await
}

/// The first of the addresses that answers, each tried a moment after the one before, or as soon as that has failed.
async fn first(addresses: &[SocketAddr], receive_bytes: Option<u32>) -> Result<TcpStream, Failure> {
    let mut failure = Failure::ConnectFailed;
    let mut waiting = addresses.iter().copied();
    let mut tries = JoinSet::new();
    loop {
        if let Some(address) = waiting.next() {
            tries.spawn(connect(address, receive_bytes));
        }
        let has_more = waiting.len() > 0;
        let ended = tokio::select! {
            ended = tries.join_next() => ended,
            () = sleep(STAGGER), if has_more => continue,
        };
        match ended {
            Some(Ok(Ok(stream))) => return Ok(stream),
            Some(Ok(Err(error))) => failure = meaning(&error),
            Some(Err(_)) => {}
            None => return Err(failure),
        }
    }
}

fn meaning(error: &std::io::Error) -> Failure {
    match error.kind() {
        std::io::ErrorKind::ConnectionRefused => Failure::ConnectRefused,
        std::io::ErrorKind::TimedOut => Failure::ConnectTimeout,
        _ => Failure::ConnectFailed,
    }
}
