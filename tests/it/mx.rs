//! Straight to the exchangers: a true name server with a signed root, scripted exchangers, policies over HTTPS.

use std::net::{IpAddr, Ipv4Addr};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use postback::deliver::presets::Preset;
use postback::deliver::settings::{Mode, Mx, Rule, Smarthost, Source, Tls};
use postback::deliver::tls_sessions::TlsSessions;
use postback::deliver::{self, Parts, Settings};
use postback::dns::{DnsError, Exchange, Kind, Lookup, Network, Resolver, Table, Tlsa};
use postback::egress::{Guard, Policy, Settings as Egress, Trust};
use postback::ids::IdSource;
use postback::intake::provision;
use postback::model::delivery::State;
use postback::model::dsn::{DsnRequest, Notify, Returned, Wish};
use postback::model::event::{Detail, EventKind};
use postback::model::id::{DeliveryId, MessageId};
use postback::model::message::{Facts, TlsWish, Tracking};
use postback::model::queue::Mark;
use postback::model::reason::Reason;
use postback::model::retry::MAIL_LIFETIME;
use postback::model::tenant::AgentSettings;
use postback::store::deliveries::Attempt;
use postback::store::views::DeliveryView;
use postback::worker::Worker;
use sha2::{Digest, Sha256};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio::task::JoinSet;
use tokio_rustls::rustls::pki_types::CertificateDer;
use tokio_rustls::rustls::pki_types::pem::PemObject;

use crate::exchanger::{Exchanger, Script};
use crate::support::dns::NameServer;
use crate::support::engines::Engine;
use crate::support::node::{CONTENT, Node, START};
use crate::support::tls::tls_of;

pub const AWHILE: Duration = Duration::from_secs(60);

/// A node, a name server, an exchanger that offers TLS, and a web server for policies.
pub struct House {
    pub engine: Engine,
    pub node: Node,
    pub exchanger: Exchanger,
    policies: PolicyServer,
    names: NameServer,
    /// What is counted of TLS.
    pub tls_sessions: Arc<TlsSessions>,
}

impl House {
    async fn build() -> Self {
        Self::build_with("").await
    }

    /// With these records too.
    pub async fn build_with(more: &str) -> Self {
        let engine = Engine::sqlite();
        let node = Node::build(&engine, 0, AgentSettings::default()).await;
        let script = Script::offering(&["STARTTLS", "PIPELINING", "8BITMIME", "SIZE 1000000", "DSN", "REQUIRETLS"]);
        let exchanger = Exchanger::start(script).await;
        let policies = PolicyServer::start().await;
        let certificate = CertificateDer::from_pem_slice(exchanger.certificate.as_bytes()).unwrap();
        let hash: String = Sha256::digest(&certificate).iter().map(|byte| format!("{byte:02x}")).collect();
        let names = NameServer::start(&(records(exchanger.address.port(), &hash) + more), PLAIN);
        Self { engine, node, exchanger, policies, names, tls_sessions: Arc::default() }
    }

    pub fn resolver(&self) -> Arc<dyn Resolver> {
        Arc::new(Network::new(&self.names.settings()).unwrap())
    }

    pub fn settings(&self) -> Settings {
        let ca_file = self.file("exchanger.pem", &self.exchanger.certificate);
        let (port, mta_sts_port) = (self.exchanger.address.port(), self.policies.port);
        Settings {
            mode: Mode::Mx,
            mx: Mx { port, mta_sts_port, ca_file: Some(ca_file), ..Mx::default() },
            ..Settings::default()
        }
    }

    pub fn file(&self, name: &str, text: &str) -> PathBuf {
        let path = self.engine.folder().join(name);
        std::fs::write(&path, text).unwrap();
        path
    }

    pub async fn start(&self, settings: &Settings) -> Worker {
        self.start_with(self.resolver(), settings).await
    }

    async fn start_with(&self, resolver: Arc<dyn Resolver>, settings: &Settings) -> Worker {
        let port = self.policies.port;
        let names = ["sts", "out", "try"].map(|name| format!("name:mta-sts.{name}.example:{port}"));
        let allow = [vec!["127.0.0.0/8".to_owned()], names.to_vec()].concat();
        let policy = Policy::new(&Egress { allow, ..Egress::default() }).unwrap();
        let parts = Parts {
            resolver,
            guard: Arc::new(Guard::new(policy, self.resolver())),
            tls: Trust::open(Some(&self.file("policies.pem", &self.policies.certificate))).unwrap().client(),
            hostname: "own.test".into(),
            tls_sessions: Some(self.tls_sessions.clone()),
            ..self.node.deliver_parts().await
        };
        assert_eq!(settings.complaint(), None);
        deliver::start(parts, settings).await.unwrap()
    }

    async fn until(&self, message: MessageId, is: impl Fn(&DeliveryView) -> bool) -> DeliveryView {
        loop {
            let view = self.node.store.deliveries(message).await.unwrap().remove(0);
            if is(&view) {
                return view;
            }
            tokio::task::yield_now().await;
        }
    }

    /// A mail to `recipient`, once it was tried `attempts` times, and the last attempt.
    pub async fn sent(&self, recipient: &str) -> (DeliveryView, Attempt) {
        self.sent_as(recipient, |_| {}).await
    }

    /// The same of a mail of which something more is known.
    async fn sent_as(&self, recipient: &str, know: impl FnOnce(&mut Facts)) -> (DeliveryView, Attempt) {
        let mut plan = self.node.plan(&[recipient], CONTENT, Tracking::default());
        know(&mut plan.message.facts);
        let message = plan.message.id;
        self.node.store.accept(plan).await.unwrap();
        let view = self
            .until(message, |view| {
                view.delivery.state != State::Queued || (view.delivery.attempts > 0 && !view.is_leased)
            })
            .await;
        let mut attempts = self.node.store.attempts(DeliveryId { message, recipient: 0 }).await.unwrap();
        (view, attempts.pop().unwrap().1)
    }

    /// Mail to this domain is delivered, over TLS of which these are the facts.
    async fn is_delivered(&self, domain: &str, tls: &str) {
        let (view, attempt) = self.sent(&format!("a@{domain}")).await;
        assert_eq!(view.delivery.state, State::Delivered, "{domain}: {attempt:#?}");
        assert!(attempt.tls.ends_with(tls) && attempt.route == "mx", "{domain}: {attempt:#?}");
        assert_eq!(self.exchanger.next().await.rcpt, format!("RCPT TO:<a@{domain}>"));
    }

    /// Mail to this domain is not delivered; in which state it is, and why.
    async fn is_not(&self, domain: &str, state: State, reason: Reason) -> Attempt {
        let (view, attempt) = self.sent(&format!("a@{domain}")).await;
        assert_eq!((view.delivery.state, view.reason), (state, Some(reason)), "{domain}: {attempt:#?}");
        attempt
    }

    async fn end(self, worker: Worker) {
        worker.drain(AWHILE).await;
        assert!(self.exchanger.mails().iter().all(|mail| !mail.rcpt.contains("not")));
    }
}

fn records(port: u16, hash: &str) -> String {
    let nought = "0".repeat(64);
    format!(
        "mx.test. A 127.0.0.1\ndead.test. A 127.0.0.9\ninside.test. A 10.0.0.1\n\
         good.example. MX 10 mx.test.\n\
         order.example. MX 20 mx.test.\norder.example. MX 10 dead.test.\n\
         implicit.example. A 127.0.0.1\nnull.example. MX 0 .\nprivate.example. MX 10 inside.test.\n\
         private.example. MX 20 within.test.\nwithin.test. A 172.16.0.1\nwithin.test. A 192.168.0.1\n\
         mixed.example. MX 10 nothing.test.\nmixed.example. MX 20 inside.test.\n\
         loop.example. MX 10 own.test.\nloop.example. MX 20 mx.test.\nnohost.example. MX 10 nothing.test.\n\
         sts.example. MX 10 mx.test.\n_mta-sts.sts.example. TXT \"v=STSv1; id=1\"\nmta-sts.sts.example. A 127.0.0.1\n\
         out.example. MX 10 other.test.\nother.test. A 127.0.0.1\n\
         _mta-sts.out.example. TXT \"v=STSv1; id=1\"\nmta-sts.out.example. A 127.0.0.1\n\
         dane.example. MX 10 dane.test.\ndane.test. A 127.0.0.1\n_{port}._tcp.dane.test. TLSA 3 0 1 {hash}\n\
         wrong.example. MX 10 wrong.test.\nwrong.test. A 127.0.0.1\n_{port}._tcp.wrong.test. TLSA 3 0 1 {nought}\n\
         odd.example. MX 10 odd.test.\nodd.test. A 127.0.0.1\n_{port}._tcp.odd.test. TLSA 1 0 1 {nought}\n"
    )
}

const PLAIN: &str = "d.plain. MX 10 mx.plain.\nmx.plain. A 127.0.0.1\n";

/// Answers every request over TLS with one policy, for `mta-sts.sts.example` and `mta-sts.out.example`; for
/// `mta-sts.try.example` with another, which is only tried out.
struct PolicyServer {
    port: u16,
    certificate: String,
    _listening: JoinSet<()>,
}

impl PolicyServer {
    async fn start() -> Self {
        let (acceptor, certificate) = tls_of(&["mta-sts.sts.example", "mta-sts.out.example", "mta-sts.try.example"]);
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let mut listening = JoinSet::new();
        listening.spawn(async move {
            while let Ok((socket, _)) = listener.accept().await {
                let Ok(mut stream) = acceptor.accept(socket).await else { continue };
                let mut request = [0; 4096];
                let length = stream.read(&mut request).await.unwrap_or_default();
                assert!(request[..length].starts_with(b"GET /.well-known/mta-sts.txt HTTP/1.1\r\n"));
                let is_tried = request[..length].windows(11).any(|word| word == b"try.example");
                let terms = if is_tried { "testing\r\nmx: try.test" } else { "enforce\r\nmx: mx.test" };
                let policy = format!("version: STSv1\r\nmode: {terms}\r\nmax_age: 86400\r\n");
                let length = policy.len();
                let answer = format!("HTTP/1.1 200 OK\r\nContent-Type: text/plain; charset=utf-8\r\nContent-Length: {length}\r\n\r\n{policy}");
                let _ = stream.write_all(answer.as_bytes()).await;
                let _ = stream.flush().await;
            }
        });
        Self { port, certificate, _listening: listening }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_true_name_server_says() {
    let house = House::build().await;
    let resolver = house.resolver();
    let hosts = |domain: &'static str| {
        let resolver = resolver.clone();
        async move { resolver.mx(domain).await.map(|found| found.into_iter().map(|one| one.host).collect::<Vec<_>>()) }
    };
    assert_eq!(hosts("order.example").await.unwrap(), ["dead.test", "mx.test"]);
    assert_eq!(hosts("null.example").await.unwrap(), [""]);
    assert_eq!(hosts("implicit.example").await, Err(DnsError::NoSuchName));
    assert_eq!(hosts("nowhere.example").await, Err(DnsError::NoSuchName));
    assert_eq!(resolver.addresses("mx.test").await.unwrap(), ["127.0.0.1".parse::<IpAddr>().unwrap()]);
    assert_eq!(resolver.txt("_mta-sts.sts.example").await.unwrap(), ["v=STSv1; id=1"]);
    assert_eq!(resolver.is_proven(".", Kind::Ns).await, Ok(true));
    assert_eq!(resolver.is_proven("good.example", Kind::Mx).await, Ok(true));
    assert_eq!(resolver.is_proven("d.plain", Kind::Mx).await, Ok(false));
    assert_eq!(resolver.is_proven("mx.plain", Kind::Address).await, Ok(false));
    let port = house.exchanger.address.port();
    assert_eq!(resolver.tlsa(&format!("_{port}._tcp.dane.test")).await.unwrap().len(), 1);
    assert_eq!(resolver.tlsa("_25._tcp.mx.test").await, Err(DnsError::NoSuchName));
    assert_eq!(resolver.tlsa("_25._tcp.mx.plain").await, Err(DnsError::NoSuchName));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn mail_finds_its_exchanger() {
    let house = House::build().await;
    let worker = house.start(&house.settings()).await;
    house.is_delivered("good.example", "unverified").await;
    house.is_delivered("implicit.example", "unverified").await;
    house.is_delivered("d.plain", "unverified").await;
    let (_, attempt) = house.sent("a@order.example").await;
    house.exchanger.next().await;
    assert!(attempt.peer.starts_with("mx.test [127.0.0.1]"), "{attempt:#?}");
    assert!(
        attempt.dialogue.contains("= connect to 127.0.0.9:")
            && attempt.dialogue.contains("exchangers of order.example: dead.test, mx.test")
    );
    house.is_not("null.example", State::Bounced, Reason::NoMailHost).await;
    house.is_not("loop.example", State::Bounced, Reason::RoutingLoop).await;
    // R26: at once, each time, and only where no exchanger may be called.
    for _ in 0..2 {
        let attempt = house.is_not("private.example", State::Bounced, Reason::Security).await;
        assert!(attempt.dialogue.contains("10.0.0.1") && attempt.dialogue.contains("192.168.0.1"), "{attempt:#?}");
        assert!(attempt.diagnostic.contains("public"), "{attempt:#?}");
    }
    house.is_not("mixed.example", State::Queued, Reason::Security).await;
    house.is_not("nohost.example", State::Queued, Reason::NetworkError).await;
    house.end(worker).await;
}

/// Answers with other exchangers at each look, as long as it is asked for few.
#[derive(Debug, Default)]
struct Wandering {
    looks: AtomicUsize,
    others: Table,
}

impl Resolver for Wandering {
    fn addresses<'a>(&'a self, _: &'a str) -> Lookup<'a, Vec<IpAddr>> {
        Box::pin(async { Ok(vec![Ipv4Addr::LOCALHOST.into()]) })
    }

    fn mx<'a>(&'a self, _: &'a str) -> Lookup<'a, Vec<Exchange>> {
        let look = self.looks.fetch_add(1, Ordering::Relaxed).min(20);
        Box::pin(async move { Ok(vec![Exchange { preference: 10, host: format!("mx.host-{look}.example") }]) })
    }

    fn txt<'a>(&'a self, name: &'a str) -> Lookup<'a, Vec<String>> {
        self.others.txt(name)
    }

    fn ptr<'a>(&'a self, address: IpAddr) -> Lookup<'a, Vec<String>> {
        self.others.ptr(address)
    }

    fn tlsa<'a>(&'a self, name: &'a str) -> Lookup<'a, Vec<Tlsa>> {
        self.others.tlsa(name)
    }

    fn is_proven<'a>(&'a self, name: &'a str, kind: Kind) -> Lookup<'a, bool> {
        self.others.is_proven(name, kind)
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn mail_to_a_domain_that_wanders_does_not_wander_with_it() {
    let house = House::build().await;
    let names = Arc::new(Wandering::default());
    let worker = house.start_with(names.clone(), &house.settings()).await;
    house.is_delivered("wandering.example", "unverified").await;
    assert_eq!(names.looks.load(Ordering::Relaxed), 2);
    house.end(worker).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_domain_that_does_not_exist_is_looked_up_twice() {
    let house = House::build().await;
    let worker = house.start(&house.settings()).await;
    let message = house.node.accept(&["a@nowhere.example"]).await;
    let view = house.until(message, |view| view.delivery.attempts == 1 && !view.is_leased).await;
    assert_eq!((view.delivery.state, view.reason), (State::Queued, Some(Reason::DomainUnknown)));
    house.node.clock.advance(deliver::judge::SECOND_LOOK + Duration::from_secs(1));
    let view = house.until(message, |view| view.delivery.state != State::Queued).await;
    assert_eq!((view.delivery.state, view.reason), (State::Bounced, Some(Reason::DomainUnknown)));
    house.end(worker).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn policies_are_obeyed() {
    let house = House::build().await;
    let worker = house.start(&house.settings()).await;
    house.is_delivered("sts.example", "verified").await;
    let attempt = house.is_not("out.example", State::Queued, Reason::TlsFailed).await;
    assert!(attempt.diagnostic.contains("does not name other.test"), "{attempt:#?}");
    house.is_delivered("dane.example", "dane").await;
    house.is_delivered("odd.example", "unverified").await;
    house.is_not("wrong.example", State::Queued, Reason::TlsFailed).await;
    worker.drain(AWHILE).await;

    // The policy is kept: another run obeys it with nobody to ask, and here trusts another authority.
    let ca_file = Some(house.file("other.pem", &house.policies.certificate));
    let mx = Mx { ca_file, mta_sts_port: 1, dane: false, ..house.settings().mx };
    let worker = house.start(&Settings { mx, ..house.settings() }).await;
    let attempt = house.is_not("sts.example", State::Queued, Reason::TlsFailed).await;
    assert!(attempt.diagnostic.contains("certificate"), "{attempt:#?}");
    house.is_delivered("wrong.example", "unverified").await;
    house.end(worker).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn rules_choose_the_way_and_a_dead_smarthost_is_left_alone() {
    let house = House::build().await;
    let alive = Smarthost {
        host: "127.0.0.1".into(),
        port: house.exchanger.address.port(),
        tls: Tls::None,
        ..Smarthost::default()
    };
    let dead = Smarthost { host: "127.0.0.9".into(), ..alive.clone() };
    let rule = |domain: &str, tenant: &str, tag: &str, via: &[&str]| Rule {
        domain: domain.into(),
        tenant: tenant.into(),
        tag: tag.into(),
        via: via.iter().map(|via| (*via).to_owned()).collect(),
        ..Rule::default()
    };
    let settings = Settings {
        mode: Mode::Mx,
        smarthosts: [("dead".to_owned(), dead), ("alive".to_owned(), alive)].into(),
        routes: vec![
            rule("", "", "never", &["capture"]),
            rule("", "others", "", &["capture"]),
            rule("*.good.example", "", "", &["capture"]),
            rule("fails.example", "acme", "", &["dead", "alive"]),
            rule("gone.example", "", "", &["dead"]),
        ],
        ..house.settings()
    };
    let worker = house.start(&settings).await;
    house.is_delivered("good.example", "unverified").await;
    let (view, attempt) = house.sent("a@below.good.example").await;
    assert_eq!((view.delivery.state, attempt.route.as_str()), (State::Delivered, "capture"));
    for mail in 0..8 {
        let (view, attempt) = house.sent(&format!("a{mail}@fails.example")).await;
        assert_eq!((view.delivery.state, attempt.route.as_str()), (State::Delivered, "alive"), "{attempt:#?}");
        house.exchanger.next().await;
        // Three failures are enough: it rests, and nobody waits for it.
        assert_eq!(attempt.dialogue.contains("connect to 127.0.0.9:"), mail < 3, "{mail}: {}", attempt.dialogue);
    }
    house.end(worker).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn mail_of_a_domain_with_keys_is_signed() {
    let house = House::build().await;
    let (clock, ids) = (&house.node.clock, IdSource::seeded(9));
    for (key, pkcs8) in provision::signing_keys(house.node.tenant, "acme.example", clock, &ids).unwrap() {
        house.node.store.add_signing_key(&key, &pkcs8).await.unwrap();
        assert!(house.node.store.begin_signing(&key).await.unwrap());
    }
    let worker = house.start(&house.settings()).await;
    house.sent("a@good.example").await;
    let content = String::from_utf8(house.exchanger.next().await.content).unwrap();
    assert!(content.starts_with("DKIM-Signature: v=1; a="), "{content}");
    for algorithm in ["rsa", "ed25519"] {
        assert_eq!(content.matches(&format!("a={algorithm}-sha256; c=relaxed/relaxed; d=acme.example;")).count(), 1);
    }
    house.end(worker).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn tls_is_proved_or_waived_as_the_submitter_wants_it() {
    let house = House::build().await;
    let worker = house.start(&house.settings()).await;
    for (domain, wish, expected, tls) in [
        ("sts.example", TlsWish::Required, State::Delivered, "verified"),
        ("dane.example", TlsWish::Required, State::Delivered, "dane"),
        ("good.example", TlsWish::Required, State::Delivered, "verified"),
        // Nothing proves who its exchanger is; TLSA records that nobody can use prove nothing.
        ("d.plain", TlsWish::Required, State::Bounced, "unverified"),
        ("odd.example", TlsWish::Required, State::Bounced, "unverified"),
        ("wrong.example", TlsWish::Required, State::Queued, ""),
        ("wrong.example", TlsWish::Waived, State::Delivered, "unverified"),
        ("out.example", TlsWish::Waived, State::Delivered, "unverified"),
    ] {
        let (view, attempt) = house.sent_as(&format!("a@{domain}"), |facts| facts.tls = wish).await;
        assert_eq!(view.delivery.state, expected, "{domain}: {attempt:#?}");
        assert!(attempt.tls.ends_with(tls), "{domain}: {attempt:#?}");
        match expected {
            State::Delivered => {
                let mail = house.exchanger.next().await.mail;
                assert_eq!(mail.ends_with(" REQUIRETLS"), wish == TlsWish::Required, "{domain}: {mail}");
            }
            _ => assert_eq!(view.reason, Some(Reason::TlsFailed), "{domain}"),
        }
    }
    house.end(worker).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_host_that_tells_is_told_what_the_submitter_wants_to_hear() {
    let house = House::build().await;
    let worker = house.start(&house.settings()).await;
    let wish = Wish {
        notify: Some(Notify { success: true, failure: false, delay: true }),
        original: "rfc822;team@acme.example".into(),
    };
    let request = DsnRequest {
        to: "shop@acme.example".parse().unwrap(),
        envelope_id: "q1".into(),
        returned: Returned::Headers,
        unasked_failures: false,
        recipients: [(0, wish)].into(),
    };
    let (view, _) = house.sent_as("a@good.example", |facts| facts.dsn = Some(Box::new(request))).await;
    let arrived = house.exchanger.next().await;
    assert!(arrived.mail.ends_with(" RET=HDRS ENVID=q1"), "{}", arrived.mail);
    assert_eq!(arrived.rcpt, "RCPT TO:<a@good.example> NOTIFY=SUCCESS,FAILURE,DELAY ORCPT=rfc822;team@acme.example");
    let events = house.node.store.events(view.delivery.id).await.unwrap();
    let told = events.into_iter().find(|event| event.kind == EventKind::Delivered).unwrap().detail;
    assert!(matches!(told, Detail::Delivered { next_hop_tells: true, .. }), "{told:?}");
    house.end(worker).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn mail_whose_time_ran_out_takes_no_turn_from_what_is_live() {
    let house = House::build().await;
    let slow = Preset { mails_per_minute: Some(1), ..toml::from_str("hosts = ['mx.test']").unwrap() };
    let worker = house.start(&Settings { destinations: vec![slow], ..house.settings() }).await;
    house.is_delivered("good.example", "unverified").await;
    let late: [&str; 40] = ["late@good.example"; 40];
    let late = house.node.accept(&late).await;
    let all = async |is: fn(&DeliveryView) -> bool| {
        while !house.node.store.deliveries(late).await.unwrap().iter().all(is) {
            tokio::task::yield_now().await;
        }
    };
    all(|view| view.mark == Mark::Room && !view.is_leased).await;
    // The clock stands from here on: whatever had to wait for a turn of its minute would wait for ever.
    house.node.clock.advance(MAIL_LIFETIME + AWHILE);
    all(|view| view.delivery.state == State::Cancelled).await;
    house.is_delivered("good.example", "unverified").await;
    house.end(worker).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn mail_goes_out_from_its_pool_and_a_new_address_grows_warm() {
    let house = House::build().await;
    let source = |address: &str, name: &str, pool: &str, since: &str| Source {
        addresses: vec![address.parse().unwrap()],
        ehlo_name: name.into(),
        pool: pool.into(),
        warming_since: since.into(),
    };
    let settings = Settings {
        // The clock of these tests stands at eight in the morning of this day.
        sources: vec![source("127.0.0.2", "new.test", "", "2027-01-15"), source("127.0.0.3", "bulk.test", "bulk", "")],
        warm_up: vec![6],
        routes: vec![Rule { tag: "bulk".into(), via: vec!["mx".into()], pool: "bulk".into(), ..Rule::default() }],
        ..house.settings()
    };
    let worker = house.start(&settings).await;
    let went_from = |attempt: &Attempt, address: &str, name: &str| {
        let went = attempt.dialogue.contains(&format!("= from {address}\n"));
        assert!(went && attempt.dialogue.contains(&format!("> EHLO {name}\n")), "{}", attempt.dialogue);
    };
    let (_, attempt) = house.sent_as("a@good.example", |facts| facts.tags = vec!["bulk".into()]).await;
    went_from(&attempt, "127.0.0.3", "bulk.test");
    house.exchanger.next().await;
    let (_, attempt) = house.sent("a@good.example").await;
    went_from(&attempt, "127.0.0.2", "new.test");
    house.exchanger.next().await;
    // Nine hours' share of six mails a day are three.
    for _ in 0..2 {
        house.is_delivered("good.example", "unverified").await;
    }
    let message = house.node.accept(&["a@good.example"]).await;
    let view = house.until(message, |view| view.mark == Mark::Room && !view.is_leased).await;
    let hour = Duration::from_secs(3600);
    assert_eq!((view.delivery.state, view.delivery.attempts), (State::Queued, 0));
    assert!(view.due_at.is_some_and(|due| due >= START + hour && due < START + hour + hour / 12), "{view:?}");
    // It is too late for one more at nine; at twelve there is room for another.
    house.node.clock.advance(hour * 4);
    assert_eq!(house.exchanger.next().await.rcpt, "RCPT TO:<a@good.example>");
    house.until(message, |view| view.delivery.state == State::Delivered).await;
    worker.drain(AWHILE).await;

    // Another run knows what was sent today.
    let worker = house.start(&settings).await;
    let message = house.node.accept(&["b@good.example"]).await;
    house.until(message, |view| view.mark == Mark::Room && !view.is_leased).await;
    house.end(worker).await;
}
